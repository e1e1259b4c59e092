"""Read a snapshot from whatever lists members: recognised by its columns, told in its notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS

from .cells import to_text
from .lists import read_list, read_wide
from .profiles import read_profiles
from .shapes import Parts, Shape, find_parts, find_shape
from .snapshot import BEFORE_THOSE_IN, CANDIDATE_COLUMNS, NAME_COLUMNS, Snapshot
from .tables import Table, load_tables, plain_name
from .words import Words

Source: TypeAlias = "str | Path | pd.DataFrame | Sequence[Any] | Mapping[str, Any]"

_SHAPE_OF_TABLE = {
    "usertraits": Shape.USER_TRAITS,
    "useridentifiers": Shape.USER_IDENTIFIERS,
    "profilemerges": Shape.PROFILE_MERGES,
    "profiletraits": Shape.WIDE,
    "users": Shape.WIDE,
}
_TIMES = ("receivedat", "uuidts", "computedat", "takenat")
_IN_PROFILES = {Shape.USER_TRAITS, Shape.USER_IDENTIFIERS, Shape.PROFILE_MERGES}


def read_snapshot(
    source: Source,
    *,
    audience_key: str = "",
    taken_at: datetime | str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> Snapshot:
    """Read the complete member list of one or more audiences.

    Parameters
    ----------
    source
        A CSV file (plain or gzip), a Parquet file, a folder, a DataFrame, a list of these, or a mapping of
        the tables of Profiles Sync to these (``user_traits``, ``user_identifiers``, ``profile_merges``).
        It may be a plain member list, an Engage export, tables of Profiles Sync, or a warehouse table with
        one column of true and false an audience.
    audience_key
        The audience, where the source does not name it; where it names several, only this one.
    taken_at
        When the list was true; without a timezone it is UTC. May be left out where the source has times of
        receipt or computation: then the newest of these.
    columns
        Our name of a column → its name in the source, or several: ``user_id``, ``anonymous_id``, ``person``,
        ``email``, ``phone``, ``profile``, ``audience_key``, ``membership``, ``external_ids``, ``traits``.

    Returns
    -------
    Snapshot
        Its ``payloads`` have one row a record × audience, ``notes`` say what was recognised.

    Raises
    ------
    InputPathError
        Nothing is at the path.
    FileFormatError
        The source lists no members, or its contacts are hashed.
    ParameterError
        Neither source nor parameters say which audience it is, or when the list was true.

    Examples
    --------
    >>> members = pd.DataFrame({"user_id": ["c_1042"], "phone": ["+12025550142"]})
    >>> snapshot = read_snapshot(members, audience_key="vip_customers", taken_at="2025-03-04T10:15:00Z")
    >>> snapshot.payloads["person"].tolist(), snapshot.members
    (['user:c_1042'], 1)
    """
    tables = _recognised(source, audience_key, columns or {})
    moment = _moment(taken_at, [table for _shape, table, _parts in tables])
    shapes = {shape for shape, _table, _parts in tables}
    if shapes & _IN_PROFILES:
        if shapes - _IN_PROFILES or columns:
            raise FileFormatError(
                "Tables of Profiles Sync stand for themselves: read other tables apart, and without columns."
            )
        read = [read_profiles([(shape, table) for shape, table, _parts in tables], audience_key)]
    elif len(shapes) > 1:
        raise FileFormatError(f"The source mixes {' and '.join(sorted(shapes))}. Read each apart.")
    else:
        read = [_read(shape, table, parts, audience_key) for shape, table, parts in _joined(tables)]
    recognised = tuple(f"{table.name} is {shape}." for shape, table, _parts in tables)
    return _snapshot(read, audience_key, moment, recognised)


def _recognised(
    source: Source, audience_key: str, columns: Mapping[str, str | Sequence[str]]
) -> list[tuple[Shape, Table, Parts]]:
    if not isinstance(source, Mapping):
        loaded = [(table, find_parts(table, columns)) for table in load_tables(source)]
        return [(find_shape(table, parts, audience_key), table, parts) for table, parts in loaded]
    found: list[tuple[Shape, Table, Parts]] = []
    for name, one in source.items():
        if plain_name(str(name)) not in _SHAPE_OF_TABLE:
            raise ParameterError(
                f'The mapping names "{name}"; it can name user_traits, user_identifiers, profile_merges, '
                "profile_traits and users."
            )
        for table in load_tables(one):
            shown = replace(table, name=str(name) if table.name == "(given)" else table.name)
            parts = find_parts(shown, columns)
            shape = find_shape(shown, parts, audience_key)
            if shape is not _SHAPE_OF_TABLE[plain_name(str(name))]:
                raise FileFormatError(f"{shown.name}, given as {name}, is {shape}.")
            found.append((shape, shown, parts))
    return found


def _joined(tables: list[tuple[Shape, Table, Parts]]) -> list[tuple[Shape, Table, Parts]]:
    """Lay parts of one wide table together: a profile may have been merged into one of another part."""
    shape, first, parts = tables[0]
    if shape is not Shape.WIDE or len(tables) == 1:
        return tables
    several = [table for _shape, table, _parts in tables]
    if {table.header for table in several} != {first.header}:
        raise FileFormatError("The tables have different columns. Read each apart.")
    columns = tuple(
        pa.concat_arrays([to_text(table.columns[place]) for table in several])
        for place in range(len(first.header))
    )
    whole = Table(
        name=f"{first.name} and {len(several) - 1} more",
        header=first.header,
        columns=columns,
        torn=tuple(line for table in several for line in table.torn),
        is_cut=any(table.is_cut for table in several),
        notes=tuple(note for table in several for note in table.notes),
    )
    return [(shape, whole, parts)]


def _read(shape: Shape, table: Table, parts: Parts, audience_key: str) -> Words:
    if shape is Shape.WIDE:
        return read_wide(table, parts, audience_key)
    return read_list(table, parts, shape, audience_key)


def _moment(taken_at: datetime | str | None, tables: Sequence[Table]) -> pd.Timestamp:
    """Return when the snapshot was taken: as given, else the newest time that Segment put into the data."""
    if taken_at is not None:
        moment = pd.to_datetime(taken_at, utc=True, errors="coerce") if taken_at != "" else pd.NaT
        if not isinstance(moment, pd.Timestamp) or pd.api.types.is_number(taken_at):
            # A number may count seconds or milliseconds; pandas takes it for nanoseconds.
            raise ParameterError('taken_at is no time. Write it like "2025-03-04T10:15:00Z".')
        return moment.as_unit("us")
    newest = [
        pd.to_datetime(pd.Series(pc.unique(table.text(place)), dtype="str"), **_READ).max()
        for table in tables
        for place in table.find(*_TIMES)
    ]
    known = [moment for moment in newest if not pd.isna(moment)]
    if not known:
        # Not the time of the file: a copy of an old list would remove who has entered since.
        raise ParameterError(
            "Nothing says when the list was true. Give taken_at: who entered or left after it is left alone."
        )
    return max(known).as_unit("us")


_READ: dict[str, Any] = {"format": "ISO8601", "utc": True, "errors": "coerce"}


def _snapshot(
    read: Sequence[Words], audience_key: str, moment: pd.Timestamp, recognised: tuple[str, ...]
) -> Snapshot:
    categories = [*dict.fromkeys(words.rows["file"].cat.categories[0] for words in read)]
    rows = pd.concat([words.rows.astype({"file": "str"}) for words in read], ignore_index=True)
    rows["file"] = pd.Categorical(rows["file"], categories=categories)
    # One message for all of it; where a person's removal is as new, a row with a message goes before it.
    rows["message_id"] = f"snapshot:{moment.isoformat()}"
    rows["timestamp"] = rows["received_at"] = moment
    is_out = ~rows["membership"].fillna(value=True)
    rows.loc[is_out, "received_at"] = moment - BEFORE_THOSE_IN
    keys = frozenset[str]().union(*(words.audience_keys for words in read))
    if audience_key:
        rows, keys = _only(audience_key, rows, keys), frozenset([audience_key])
    open_rows = rows["open"]
    return Snapshot(
        payloads=rows.reindex(columns=[*PAYLOAD_COLUMNS]).astype(PAYLOAD_COLUMNS).reset_index(drop=True),
        candidates=_distinct([words.candidates for words in read], CANDIDATE_COLUMNS),
        names=_distinct([words.names for words in read], NAME_COLUMNS),
        audience_keys=tuple(sorted(keys)),
        taken_at=moment,
        is_complete=not open_rows.any() and all(words.is_whole for words in read),
        notes=(*recognised, *(note for words in read for note in words.notes)),
    )


def _only(audience_key: str, rows: pd.DataFrame, keys: frozenset[str]) -> pd.DataFrame:
    """Return the rows of one audience, and those that may be of any."""
    if keys and audience_key not in keys:
        raise ParameterError(
            f"No row is of the audience {audience_key}. There are: {', '.join(sorted(keys))}."
        )
    # A row that could not be read may be of this audience.
    return rows[rows["audience_key"].eq(audience_key) | rows["audience_key"].isna()]


def _distinct(frames: Sequence[pd.DataFrame], columns: dict[str, str]) -> pd.DataFrame:
    every = pd.concat(frames, ignore_index=True)
    every = every[every["person"].notna()]
    several = every[every["person"].duplicated(keep=False)]
    return every.drop(several.index[several.duplicated()]).reset_index(drop=True).astype(columns)
