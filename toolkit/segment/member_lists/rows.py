"""What the tables of a member list state: one row a record × audience, and the profiles these are about.

They are tables of one row a member or a profile (plain lists, exports of Engage, tables of a warehouse) or
the tables of Profiles Sync.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.frames import TEXT, clean_text, encode, numbers

from .formats import AUDIENCE, EXTERNAL_IDS, MEMBERSHIP, OF_PROFILES_SYNC, TRAITS, audience_columns, others
from .profiles import (
    EMAIL,
    KIND_OF_NAME,
    KINDS,
    PHONE,
    PROFILE,
    Marks,
    Positions,
    ProfilePart,
    Profiles,
    follow_merges,
    positions,
)
from .tables import Format, Table, is_damaged, plain_name, shown_names

# Numbers stay the digits they are: a phone must not become a float. json.loads() would make a decoder a call.
_DECODE = json.JSONDecoder(parse_int=str, parse_float=str).decode
_QUOTES = str.maketrans(dict.fromkeys("“”„‟″", '"'))
_ALL_QUOTES = str.maketrans(dict.fromkeys("“”„‟″‘’‚‛", '"'))


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberRows:
    """Rows as their tables state them: whether each can be used is not decided yet."""

    profiles: Profiles
    at: Positions
    """Profile of each row."""
    files: Positions
    """Table of each row, by its place."""
    keys: pa.Array
    """Audience of each row."""
    memberships: pa.Array
    """Texts."""
    audience_keys: Collection[str]
    """Audiences that are listed completely."""
    of_warehouse: bool
    """Warehouses write true in any case, and nothing for a profile that was never in the audience."""
    reasons: Mapping[str, Marks]
    """Reason code → rows that have it: NOT_JSON, PROFILE_MERGED."""
    notes: Sequence[str]


def read_rows(tables: Sequence[Table], audience_key: str, *, named: bool) -> MemberRows:
    """Return the rows of tables that can be read together; *named* when columns were given for them."""
    formats = {table.format for table in tables}
    if formats & {*OF_PROFILES_SYNC}:
        if formats - {*OF_PROFILES_SYNC} or named:
            raise FileFormatError(
                "Tables of Profiles Sync stand for themselves: read other tables apart, and without columns."
            )
        return _read_profiles(tables, audience_key)
    if len(formats) > 1:
        raise FileFormatError(f"The source mixes {' and '.join(sorted(formats))}. Read each apart.")
    return (_read_wide if formats == {Format.WIDE} else _read_list)(tables, audience_key)


def _files_of(tables: Sequence[Table], kind: Format) -> Positions:
    places = [place for place, table in enumerate(tables) if table.format is kind]
    return np.repeat(places, [tables[place].size for place in places])


# --- tables of one row a member or a profile


def _read_list(tables: Sequence[Table], audience_key: str) -> MemberRows:
    """Return the rows of plain lists or exports: who is listed is a member, unless a column has false."""
    parts: list[ProfilePart] = []
    notes: list[str] = []
    files = _files_of(tables, tables[0].format)
    is_unreadable = np.zeros(len(files), np.bool_)
    for place, table in enumerate(tables):
        at = np.flatnonzero(files == place)
        parts += [(kind, at, table.columns[place]) for kind in KINDS for place in table.roles.get(kind, ())]
        if table.format is Format.EXPORT:
            found, is_unreadable[at], odd = _read_json(table, at)
            parts += found
            notes += odd
    keys = _column_or(audience_key, tables, AUDIENCE)
    named = {*_distinct_texts(keys.filter(pa.array(~is_damaged(keys))))}
    is_named = all(AUDIENCE in table.roles for table in tables)
    return MemberRows(
        profiles=Profiles(len(files), parts),
        at=np.arange(len(files)),
        files=files,
        keys=keys,
        memberships=_column_or("true", tables, MEMBERSHIP),
        audience_keys=named if is_named else {*named, audience_key},
        of_warehouse=False,
        reasons={"NOT_JSON": is_unreadable},
        notes=notes,
    )


def _column_or(text: str, tables: Sequence[Table], role: str) -> pa.Array:
    def column(table: Table) -> pa.Array:
        places = table.roles.get(role)
        return table.columns[places[0]] if places else pa.repeat(pa.scalar(text, TEXT), table.size)

    return pa.concat_arrays([*map(column, tables)])


def _read_wide(tables: Sequence[Table], audience_key: str) -> MemberRows:
    """Return the rows of a table of one row a profile and one column of true and false an audience."""
    table = _whole_table(tables)
    found = audience_columns(table, audience_key)
    place = next(iter(table.roles.get(PROFILE) or table.find("segmentid")), None)
    ids = pa.nulls(table.size, TEXT) if place is None else table.columns[place]
    into = table.first("mergedto")
    today = follow_merges(pc.coalesce(ids, into), ids, into)
    at, names = positions(today)
    is_away = numbers(pc.not_equal(pc.fill_null(ids, ""), pc.fill_null(today, "")))
    own_first = np.argsort(is_away, kind="stable")
    parts = [
        (kind, at[own_first], table.columns[column].take(pa.array(own_first)))
        for kind in KINDS
        if kind != PROFILE
        for column in table.roles.get(kind, ())
    ]
    if place is not None:
        parts.append((PROFILE, np.arange(len(names)), names))
    rows = np.tile(np.arange(table.size), len(found))
    keys = pa.concat_arrays([pa.repeat(pa.scalar(key, TEXT), table.size) for key in found])
    return MemberRows(
        profiles=Profiles(len(names), parts),
        at=at[rows],
        files=_files_of(tables, Format.WIDE)[rows],
        keys=keys,
        memberships=pa.concat_arrays([table.columns[column] for column in found.values()]),
        audience_keys=found,
        of_warehouse=True,
        reasons={"PROFILE_MERGED": _have_own(at[rows], keys, is_away[rows])},
        notes=(f"{table.name}: the audiences are its columns {', '.join(found)}.",),
    )


def _whole_table(tables: Sequence[Table]) -> Table:
    """Join the files of one wide table: a profile may have been merged into one of another file."""
    first, *others = tables
    if not others:
        return first
    if {table.header for table in tables} != {first.header}:
        raise FileFormatError("The tables have different columns. Read each apart.")
    columns = tuple(map(pa.concat_arrays, zip(*(table.columns for table in tables), strict=True)))
    return replace(first, name=f"{first.name} and {len(others)} more", columns=columns)


# --- JSON in exports


def _read_json(table: Table, at: Positions) -> tuple[list[ProfilePart], Marks, list[str]]:
    """Return the ids and contacts in JSON objects, marks of the rows that cannot be read, and notes."""
    found: list[tuple[int, str, str]] = []
    is_unreadable, is_repaired = np.zeros((2, table.size), np.bool_)
    for place in _json_columns(table):
        for row, text in enumerate(table.columns[place].to_pylist()):
            cell = _object(text or "{}")
            if cell is None:
                cell = _object(text.translate(_QUOTES)) or _object(text.translate(_ALL_QUOTES))
                (is_unreadable if cell is None else is_repaired)[row] = True
            found += ((row, kind, contact) for kind, contact in _contacts(cell or {}))
    frame = pd.DataFrame(found, columns=["row", "kind", "text"], dtype=object).groupby("kind")
    parts = [(kind, at[mine["row"].to_numpy(np.int64)], clean_text(mine["text"])) for kind, mine in frame]
    odd = {"had typographic quotes in their JSON, now repaired": is_repaired}
    odd |= {"have JSON that cannot be read": is_unreadable}
    notes = [f"{marks.sum()} rows of {table.name} {what}." for what, marks in odd.items() if marks.any()]
    return parts, is_unreadable, notes


def _contacts(cell: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in cell.items():
        if (kind := KIND_OF_NAME.get(plain_name(name))) is not None:
            texts = value if isinstance(value, list) else [value]
            yield from ((kind, text) for text in texts if isinstance(text, str))


def _json_columns(table: Table) -> list[int]:
    named = [*table.roles.get(EXTERNAL_IDS, ()), *table.roles.get(TRAITS, ())]
    given = {place: table.columns[place].drop_null()[:1].to_pylist() for place, _name in others(table)}
    return [*named, *(place for place, text in given.items() if text and text[0].startswith("{"))]


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = _DECODE(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# --- tables of Profiles Sync


def _read_profiles(tables: Sequence[Table], audience_key: str) -> MemberRows:
    """Return the rows of user_traits, with the contacts of user_identifiers."""
    traits, identifiers, merges = ([t for t in tables if t.format is kind] for kind in OF_PROFILES_SYNC)
    if not traits or not identifiers:
        lacking = "user_identifiers" if traits else "user_traits"
        raise FileFormatError(
            f"{lacking} is missing. Profiles Sync keeps members and contacts in two tables, user_traits and "
            "user_identifiers: give a folder with both, or a mapping of the two names to files or frames."
        )
    given = _column([*traits, *identifiers], "canonicalsegmentid")
    today = follow_merges(given, _column(merges, "segmentid"), _column(merges, "canonicalsegmentid"))
    at, ids = positions(today)
    is_away = numbers(pc.not_equal(given, today), null=False)
    names, values = _column(traits, "name"), _column(traits, "value")
    of_trait, of_identifier = np.split(at, [len(names)])
    audiences = _audiences(names, values, audience_key)
    rows = np.flatnonzero(pc.is_in(names, pa.array(audiences, TEXT)))
    keys = names.take(pa.array(rows))
    parts = [
        *_identifier_parts(of_identifier, identifiers),
        *_parts(of_trait, names, values, (EMAIL, PHONE)),  # a contact that is no identifier
        (PROFILE, np.arange(len(ids)), ids),
    ]
    return MemberRows(
        profiles=Profiles(len(ids), parts),
        at=at[rows],
        files=_files_of(tables, Format.USER_TRAITS)[rows],
        keys=keys,
        memberships=values.take(pa.array(rows)),
        audience_keys=audiences,
        of_warehouse=True,
        reasons={"PROFILE_MERGED": _have_own(at[rows], keys, is_away[rows])},
        notes=(f"The audiences are the traits {', '.join(audiences)}.",),
    )


def _column(tables: Sequence[Table], name: str) -> pa.Array:
    return pa.concat_arrays([table.first(name) for table in tables] or [pa.array([], TEXT)])


def _identifier_parts(at: Positions, identifiers: Sequence[Table]) -> Iterator[ProfilePart]:
    """Yield the identifiers, those seen last first."""
    seen = pd.Series(_column(identifiers, "timestamp"), dtype="str")
    latest = pd.to_datetime(seen, format="ISO8601", utc=True, errors="coerce")
    order = latest.sort_values(ascending=False, kind="stable", na_position="last").index.to_numpy()
    types, values = (_column(identifiers, name).take(pa.array(order)) for name in ("type", "value"))
    return _parts(at[order], types, values, KINDS)


def _parts(at: Positions, names: pa.Array, values: pa.Array, kinds: Iterable[str]) -> Iterator[ProfilePart]:
    """Yield the values whose name is that of one of the kinds, in whatever way it is written."""
    places, distinct = encode(names)
    named = np.array([KIND_OF_NAME.get(plain_name(name), "") for name in distinct.to_pylist()] + [""])
    for kind in kinds:
        mine = (named == kind)[places]
        yield kind, at[mine], values.filter(pa.array(mine))


def _audiences(names: pa.Array, values: pa.Array, audience_key: str) -> list[str]:
    """Return the audience, or the traits that are true or false wherever they have a value."""
    there_are = _distinct_texts(names)
    if audience_key:
        found = [audience_key] if audience_key in there_are else []
    else:
        is_other = pc.invert(pc.is_in(pc.utf8_lower(values), pa.array(["true", "false", None], TEXT)))
        others = {*_distinct_texts(names.filter(is_other))}
        found = sorted({*_distinct_texts(names.filter(values.is_valid()))} - others)
    if not found:
        lacking = f"No trait is named {audience_key}" if audience_key else "No trait is true or false"
        raise ParameterError(f"{lacking}. The traits are: {shown_names(there_are)}.")
    return found


def _distinct_texts(texts: pa.Array) -> list[str]:
    return list(pc.unique(texts).drop_null().to_pylist())


def _have_own(at: Positions, keys: pa.Array, is_away: Marks) -> Marks:
    """Mark the rows of merged profiles where the profile they went into has a row of its own."""
    codes, distinct = encode(keys)
    rows, found = at * len(distinct) + codes, is_away.copy()
    found[is_away] = np.isin(rows[is_away], rows[~is_away])
    return found
