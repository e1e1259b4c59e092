"""What the tables of a member list state: one row a record × audience, and the profiles these are about.

They are tables of one row a member or a profile (plain lists, exports of Engage, tables of a warehouse) or
the tables of Profiles Sync.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.frames import TEXT, clean_text, encode, numbers

from .formats import AUDIENCE, EXTERNAL_IDS, MEMBERSHIP, TRAITS, Format, Roles, audience_columns, others
from .profiles import (
    EMAIL,
    KIND_OF_NAME,
    KINDS,
    PHONE,
    PROFILE,
    Marks,
    Part,
    Positions,
    Profiles,
    follow_merges,
    positions,
)
from .tables import Table, is_damaged, plain_name, shown_names

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
    of_warehouse: bool = False
    """Warehouses write true and false in any case, and nothing for a profile that was never in the audience.

    Elsewhere only these two count, and a blank leaves it open.
    """
    reasons: Mapping[str, Marks] = field(default_factory=dict)
    """Reason code → rows that have it: NOT_JSON, PROFILE_MERGED."""
    notes: tuple[str, ...] = ()


# --- tables of one row a member or a profile


def read_list(tables: Sequence[Table], roles: Sequence[Roles], form: Format, audience_key: str) -> MemberRows:
    """Return the rows of plain lists or exports: who is listed is a member, unless a column has false."""
    parts: list[Part] = []
    notes: list[str] = []
    keys, memberships, is_unreadable = [], [], []
    ends = np.cumsum([table.size for table in tables])
    for table, columns, end in zip(tables, roles, ends.tolist(), strict=True):
        at = np.arange(end - table.size, end)
        if AUDIENCE not in columns and not audience_key:
            raise ParameterError(
                f"{table.name} does not say which audience it lists. Give audience_key, as it is in Segment."
            )
        parts += [(kind, at, table.columns[place]) for kind in KINDS for place in columns.get(kind, ())]
        objects = JsonCells(table, _json_columns(table, columns) if form is Format.EXPORT else ())
        parts += objects.parts(at)
        notes += objects.notes(table.name)
        is_unreadable.append(objects.is_unreadable)
        keys.append(_column_or(audience_key, table, columns.get(AUDIENCE)))
        memberships.append(_column_or("true", table, columns.get(MEMBERSHIP)))
    every = pa.concat_arrays(keys)
    return MemberRows(
        profiles=Profiles(int(ends[-1]), parts),
        at=np.arange(len(every)),
        files=_files_of(tables, tables),
        keys=every,
        memberships=pa.concat_arrays(memberships),
        audience_keys=_named_audiences(every, roles, audience_key),
        reasons={"NOT_JSON": np.concatenate(is_unreadable)},
        notes=tuple(notes),
    )


def _named_audiences(keys: pa.Array, roles: Sequence[Roles], audience_key: str) -> set[str]:
    named = {*pc.unique(keys.filter(pa.array(~is_damaged(keys)))).drop_null().to_pylist()}
    return named if all(AUDIENCE in columns for columns in roles) else {*named, audience_key}


def _column_or(text: str, table: Table, places: Sequence[int] | None) -> pa.Array:
    return table.columns[places[0]] if places else pa.repeat(pa.scalar(text, TEXT), table.size)


def _files_of(tables: Sequence[Table], every: Sequence[Table]) -> Positions:
    """Return the place among *every* table of each row of some *tables*."""
    places = [place for place, table in enumerate(every) if any(table is one for one in tables)]
    return np.repeat(places, [every[place].size for place in places])


def read_wide(tables: Sequence[Table], roles: Roles, audience_key: str) -> MemberRows:
    """Return the rows of a table of one row a profile and one column of true and false an audience."""
    table = _whole_table(tables)
    found = audience_columns(table, roles, audience_key)
    place = next(iter(roles.get(PROFILE) or table.find("segmentid")), None)
    ids = pa.array(np.arange(table.size)).cast(TEXT) if place is None else table.columns[place]
    into = table.first("mergedto")
    today = follow_merges(ids, ids.filter(pc.is_valid(into)), into.drop_null())
    at, names = positions(today)
    is_away = numbers(pc.not_equal(ids, today), null=False)
    own_first = np.argsort(is_away, kind="stable")
    parts = [
        (kind, at[own_first], table.columns[column].take(pa.array(own_first)))
        for kind in KINDS
        if kind != PROFILE
        for column in roles.get(kind, ())
    ]
    if place is not None:
        parts.append((PROFILE, np.arange(len(names)), names))
    return MemberRows(
        profiles=Profiles(len(names), parts),
        at=np.tile(at, len(found)),
        files=np.tile(_files_of(tables, tables), len(found)),
        keys=pa.concat_arrays([pa.repeat(pa.scalar(key, TEXT), table.size) for key in found]),
        memberships=pa.concat_arrays([table.columns[column] for column in found.values()]),
        audience_keys=found,
        of_warehouse=True,
        reasons={"PROFILE_MERGED": np.tile(is_away & np.isin(at, at[~is_away]), len(found))},
        notes=(f"{table.name}: the audiences are its columns {', '.join(found)}.",),
    )


def _whole_table(tables: Sequence[Table]) -> Table:
    """Join the files of one wide table: a profile may have been merged into one of another file."""
    first, *others = tables
    if not others:
        return first
    if {table.header for table in tables} != {first.header}:
        raise FileFormatError("The tables have different columns. Read each apart.")
    columns = [pa.concat_arrays([t.columns[place] for t in tables]) for place in range(len(first.header))]
    return Table(name=f"{first.name} and {len(others)} more", header=first.header, columns=tuple(columns))


# --- JSON in exports


def _json_columns(table: Table, roles: Roles) -> list[int]:
    """Return the columns of JSON objects: identifiers, then traits, then any other that looks like it."""
    named = [*roles.get(EXTERNAL_IDS, ()), *roles.get(TRAITS, ())]
    given = {place: table.columns[place].drop_null()[:1].to_pylist() for place, _name in others(table, roles)}
    return [*named, *(place for place, text in given.items() if text and text[0].startswith("{"))]


class JsonCells:
    """The ids and contacts in the JSON objects of some columns of a table."""

    def __init__(self, table: Table, places: Iterable[int]) -> None:
        self.is_unreadable = np.zeros(table.size, np.bool_)
        self._is_repaired = self.is_unreadable.copy()
        self._found: dict[tuple[int, str], tuple[list[int], list[str]]] = defaultdict(lambda: ([], []))
        for place in places:
            for row, text in enumerate(table.columns[place].to_pylist()):
                if text is not None:
                    self._add(place, row, text)

    def _add(self, place: int, row: int, text: str) -> None:
        cell = _object(text)
        if cell is None:
            cell = _object(text.translate(_QUOTES)) or _object(text.translate(_ALL_QUOTES))
            (self.is_unreadable if cell is None else self._is_repaired)[row] = True
        for name, value in (cell or {}).items():
            if (kind := KIND_OF_NAME.get(plain_name(name))) is not None:
                rows, texts = self._found[place, kind]
                given = [t for t in (value if isinstance(value, list) else [value]) if isinstance(t, str)]
                rows += [row] * len(given)
                texts += given

    def parts(self, at: Positions) -> Iterator[Part]:
        """Yield what was found, as parts of the profiles *at* the rows."""
        for (_place, kind), (rows, texts) in self._found.items():
            yield kind, at[rows], clean_text(pd.Series(texts, dtype=object))

    def notes(self, name: str) -> Iterator[str]:
        """Yield what was unusual in the table of this name."""
        if repaired := self._is_repaired.sum():
            yield f"{repaired} rows of {name} had typographic quotes in their JSON, now repaired."
        if unreadable := self.is_unreadable.sum():
            yield f"{unreadable} rows of {name} have JSON that cannot be read."


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = _DECODE(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# --- tables of Profiles Sync


def read_profiles(tables: Sequence[Table], forms: Sequence[Format], audience_key: str) -> MemberRows:
    """Return the rows of user_traits, with the contacts of user_identifiers."""
    traits, identifiers, merges = (
        [table for table, form in zip(tables, forms, strict=True) if form is wanted]
        for wanted in (Format.USER_TRAITS, Format.USER_IDENTIFIERS, Format.PROFILE_MERGES)
    )
    if not traits or not identifiers:
        lacking = "user_identifiers" if traits else "user_traits"
        raise FileFormatError(
            f"{lacking} is missing. Profiles Sync keeps members and contacts in two tables, user_traits and "
            "user_identifiers: give a folder with both, or a mapping of the two names to files or frames."
        )
    away, into = _column(merges, "segmentid"), _column(merges, "canonicalsegmentid")
    given, owners = _column(traits, "canonicalsegmentid"), _column(identifiers, "canonicalsegmentid")
    today = follow_merges(pa.concat_arrays([given, owners]), away, into)
    at, ids = positions(today)
    of_trait, of_identifier = at[: len(given)], at[len(given) :]
    names, values = _column(traits, "name"), _column(traits, "value")
    keys = [audience_key] if audience_key else _boolean_names(names, values)
    _check_occurs(keys, names)
    is_chosen = numbers(pc.is_in(names, pa.array(keys, TEXT)))
    chosen = pa.array(is_chosen)
    is_away = numbers(pc.not_equal(given, today[: len(given)]), null=False)[is_chosen]
    parts = [
        *_identifier_parts(of_identifier, identifiers),
        *_parts(of_trait, names, values, (EMAIL, PHONE)),  # a contact that is no identifier
        (PROFILE, np.arange(len(ids)), ids),
    ]
    return MemberRows(
        profiles=Profiles(len(ids), parts),
        at=of_trait[is_chosen],
        files=_files_of(traits, tables)[is_chosen],
        keys=names.filter(chosen),
        memberships=values.filter(chosen),
        audience_keys=keys,
        of_warehouse=True,
        reasons={"PROFILE_MERGED": _have_own(of_trait[is_chosen], names.filter(chosen), is_away)},
        notes=(f"The audiences are the traits {', '.join(keys)}.",),
    )


def _column(tables: Sequence[Table], name: str) -> pa.Array:
    return pa.concat_arrays([table.first(name) for table in tables] or [pa.array([], TEXT)])


def _identifier_parts(at: Positions, identifiers: Sequence[Table]) -> Iterator[Part]:
    """Yield the identifiers, those seen last first."""
    seen = pd.Series(_column(identifiers, "timestamp"), dtype="str")
    latest = pd.to_datetime(seen, format="ISO8601", utc=True, errors="coerce")
    order = latest.sort_values(ascending=False, kind="stable", na_position="last").index.to_numpy()
    types, values = (_column(identifiers, name).take(pa.array(order)) for name in ("type", "value"))
    return _parts(at[order], types, values, KINDS)


def _parts(at: Positions, names: pa.Array, values: pa.Array, kinds: Iterable[str]) -> Iterator[Part]:
    """Yield the values whose name is that of one of the kinds, in whatever way it is written."""
    places, distinct = encode(names)
    named = np.array([KIND_OF_NAME.get(plain_name(name), "") for name in distinct.to_pylist()] + [""])
    for kind in kinds:
        mine = (named == kind)[places]
        yield kind, at[mine], values.filter(pa.array(mine))


def _boolean_names(names: pa.Array, values: pa.Array) -> list[str]:
    """Return the traits that are true or false wherever they have a value."""
    is_boolean = pc.is_in(pc.utf8_lower(values), pa.array(["true", "false"], TEXT))
    others = pc.unique(names.filter(pc.and_(pc.is_valid(values), pc.invert(is_boolean))))
    found = {*pc.unique(names.filter(is_boolean)).drop_null().to_pylist()} - {*others.to_pylist()}
    return sorted(found)


def _check_occurs(keys: Sequence[str], names: pa.Array) -> None:
    there_are = pc.unique(names).drop_null().to_pylist()
    absent = [key for key in keys if key not in there_are]
    if absent or not keys:
        lacking = f"No trait is named {', '.join(absent)}" if absent else "No trait is true or false"
        raise ParameterError(f"{lacking}. The traits are: {shown_names(there_are)}.")


def _have_own(at: Positions, keys: pa.Array, is_away: Marks) -> Marks:
    """Mark the rows of merged profiles where the profile they went into has a row of its own."""
    rows = pd.DataFrame({"profile": at, "key": pd.Series(keys, dtype="str"), "own": ~is_away})
    has_own: Marks = rows.groupby(["profile", "key"])["own"].transform("any").to_numpy(np.bool_)
    return is_away & has_own
