"""Member lists: who is in which audiences at one moment. They are complete: the others are not members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS

from .formats import Format, Roles, find_format, find_roles
from .profiles import CANDIDATE_COLUMNS, NAME_COLUMNS
from .rows import MemberRows, read_list, read_profiles, read_wide
from .tables import Table, load_tables, plain_name, together

__all__ = ["MemberList", "read_member_list"]

BEFORE_THOSE_IN = pd.Timedelta(microseconds=1)
"""By how much the rows "out" of a list are taken as older: of two people who are one subscriber, the one who
is in decides."""

Source: TypeAlias = "str | Path | pd.DataFrame | Sequence[Any] | Mapping[str, Any]"

_FORMAT_OF_TABLE = {
    "usertraits": Format.USER_TRAITS,
    "useridentifiers": Format.USER_IDENTIFIERS,
    "profilemerges": Format.PROFILE_MERGES,
    "profiletraits": Format.WIDE,
    "users": Format.WIDE,
}
_TIMES = ("receivedat", "uuidts", "computedat", "takenat")
_OF_PROFILES_SYNC = {Format.USER_TRAITS, Format.USER_IDENTIFIERS, Format.PROFILE_MERGES}


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberList:
    """The complete member lists of some audiences at one moment."""

    payloads: pd.DataFrame
    """PAYLOAD_COLUMNS, one row a record × audience; fold() takes them as they are."""
    candidates: pd.DataFrame
    """CANDIDATE_COLUMNS: every contact of every person."""
    names: pd.DataFrame
    """NAME_COLUMNS: the ids that a person has besides the one it is named by."""
    audience_keys: tuple[str, ...]
    """Audiences that are listed completely, sorted."""
    taken_at: pd.Timestamp
    """When the lists were true; in UTC."""
    is_complete: bool
    """False when a row could not be read or a file is cut: who is missing may be a member all the same."""
    notes: tuple[str, ...] = ()
    """What was recognised and what was unusual, a sentence each, without contacts."""

    @property
    def members(self) -> int:
        """Rows that list a member of an audience."""
        return int((self.payloads["membership"].eq(True) & self.payloads["status"].isna()).sum())


def read_member_list(
    source: Source,
    *,
    audience_key: str = "",
    taken_at: datetime | str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> MemberList:
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
        Its ``payloads`` have one row a record × audience, ``notes`` state what was recognised.

    Raises
    ------
    InputPathError
        Nothing is at the path.
    FileFormatError
        The source lists no members, or its contacts are hashed.
    ParameterError
        Neither source nor parameters name the audience, or when the list was true.

    Examples
    --------
    >>> members = pd.DataFrame({"user_id": ["c_1042"], "phone": ["+12025550142"]})
    >>> snapshot = read_member_list(members, audience_key="vip_customers", taken_at="2025-03-04T10:15:00Z")
    >>> snapshot.payloads["person"].tolist(), snapshot.members
    (['user:c_1042'], 1)
    """
    tables = _recognised(source, audience_key, columns or {})
    moment = _moment(taken_at, [table for _form, table, _roles in tables])
    recognised = [f"{table.name} is {form}." for form, table, _roles in tables]
    return _member_list(_read(tables, audience_key, columns), audience_key, moment, recognised)


def _recognised(
    source: Source, audience_key: str, columns: Mapping[str, str | Sequence[str]]
) -> list[tuple[Format, Table, Roles]]:
    found: list[tuple[Format, Table, Roles]] = []
    for name, one in source.items() if isinstance(source, Mapping) else [(None, source)]:
        if name is not None and plain_name(str(name)) not in _FORMAT_OF_TABLE:
            raise ParameterError(
                f'The mapping names "{name}"; it can name user_traits, user_identifiers, profile_merges, '
                "profile_traits and users."
            )
        for loaded in load_tables(one):
            is_frame = name is not None and loaded.name == "(given)"
            table = replace(loaded, name=str(name)) if is_frame else loaded
            roles = find_roles(table, columns)
            form = find_format(table, roles, audience_key)
            if name is not None and form is not _FORMAT_OF_TABLE[plain_name(str(name))]:
                raise FileFormatError(f"{table.name}, given as {name}, is {form}.")
            found.append((form, table, roles))
    return found


def _read(
    tables: list[tuple[Format, Table, Roles]], audience_key: str, columns: Mapping[str, Any] | None
) -> list[MemberRows]:
    forms = {form for form, _table, _roles in tables}
    if forms & _OF_PROFILES_SYNC:
        if forms - _OF_PROFILES_SYNC or columns:
            raise FileFormatError(
                "Tables of Profiles Sync stand for themselves: read other tables apart, and without columns."
            )
        return [read_profiles([(form, table) for form, table, _roles in tables], audience_key)]
    if len(forms) > 1:
        raise FileFormatError(f"The source mixes {' and '.join(sorted(forms))}. Read each apart.")
    if forms == {Format.WIDE}:
        roles = tables[0][2]
        return [read_wide(_whole_table([table for _form, table, _roles in tables]), roles, audience_key)]
    return [read_list(table, roles, form, audience_key) for form, table, roles in tables]


def _whole_table(tables: list[Table]) -> Table:
    """Join the files of one wide table: a profile may have been merged into one of another file."""
    first, *others = tables
    if not others:
        return first
    if {table.header for table in tables} != {first.header}:
        raise FileFormatError("The tables have different columns. Read each apart.")
    columns = [pa.concat_arrays([t.text(place) for t in tables]) for place in range(len(first.header))]
    return together(tables, f"{first.name} and {len(others)} more", tuple(columns))


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
        # Not the time of the file: a copy of an old list would remove those who entered since.
        raise ParameterError(
            "Nothing states when the list was true. Give taken_at: changes after it are left alone."
        )
    return max(known).as_unit("us")


_READ: dict[str, Any] = {"format": "ISO8601", "utc": True, "errors": "coerce"}


def _member_list(
    read: Sequence[MemberRows], audience_key: str, moment: pd.Timestamp, recognised: Sequence[str]
) -> MemberList:
    files = [*dict.fromkeys(one.rows["file"].cat.categories[0] for one in read)]
    rows = pd.concat([one.rows.astype({"file": "str"}) for one in read], ignore_index=True)
    rows["file"] = pd.Categorical(rows["file"], categories=files)
    # One message for all of it; where a person's removal is as new, a row with a message goes before it.
    rows["message_id"] = f"snapshot:{moment.isoformat()}"
    rows["timestamp"] = rows["received_at"] = moment
    is_out = ~rows["membership"].fillna(value=True)
    rows.loc[is_out, "received_at"] = moment - BEFORE_THOSE_IN
    keys = frozenset[str]().union(*(one.audience_keys for one in read))
    if audience_key:
        rows, keys = _only(audience_key, rows, keys), frozenset([audience_key])
    open_rows = rows["open"]
    return MemberList(
        payloads=rows.reindex(columns=[*PAYLOAD_COLUMNS]).astype(PAYLOAD_COLUMNS).reset_index(drop=True),
        candidates=_distinct([one.candidates for one in read], CANDIDATE_COLUMNS),
        names=_distinct([one.names for one in read], NAME_COLUMNS),
        audience_keys=tuple(sorted(keys)),
        taken_at=moment,
        is_complete=not open_rows.any() and all(one.is_whole for one in read),
        notes=(*recognised, *(note for one in read for note in one.notes)),
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
