"""Rows of member lists: one a record × audience, each with a membership, or with the reason why it has none.

They come from tables of one row a member or a profile (plain lists, exports of Engage, tables of a
warehouse) and from the tables of Profiles Sync.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.statuses import EventStatus

from .formats import AUDIENCE, EXTERNAL_IDS, MEMBERSHIP, TRAITS, Format, Roles, audience_columns
from .profiles import (
    EMAIL,
    KIND_OF_NAME,
    KINDS,
    PHONE,
    PROFILE,
    Marks,
    Positions,
    Profiles,
    Values,
    follow_merges,
    positions,
)
from .tables import Table, plain_name, shown_names, together
from .text import TEXT, is_damaged, texts_of, to_text

# Numbers stay the digits they are: a phone must not become a float. json.loads() would make a decoder a call.
_DECODE = json.JSONDecoder(parse_int=str, parse_float=str).decode
_QUOTES = str.maketrans(dict.fromkeys("“”„‟″", '"'))
_ALL_QUOTES = str.maketrans(dict.fromkeys("“”„‟″‘’‚‛", '"'))


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberRows:
    """Rows of some tables, and the people they are about."""

    rows: pd.DataFrame
    """Columns file, line, person, audience_key, membership, status, reason_code, email, phone, and open.

    ``open`` is true where a row has no membership and may have meant a member.
    """
    candidates: pd.DataFrame
    """CANDIDATE_COLUMNS."""
    names: pd.DataFrame
    """NAME_COLUMNS."""
    audience_keys: frozenset[str]
    is_whole: bool
    """False when a file is cut, or a spreadsheet left a member without contacts."""
    notes: tuple[str, ...]


# --- tables of one row a member or a profile


def read_list(table: Table, roles: Roles, form: Format, audience_key: str) -> MemberRows:
    """Return the rows of a plain list or an export: who is listed is a member, unless a column has false."""
    if AUDIENCE not in roles and not audience_key:
        raise ParameterError(
            f"{table.name} does not say which audience it lists. Give audience_key, as it is in Segment."
        )
    profiles = Profiles(size=table.size)
    for kind in KINDS:
        for place in roles.get(kind, ()):
            profiles.add(kind, Values.of_column(table.text(place)))
    json_places = _json_columns(table, roles) if form is Format.EXPORT else []
    is_unreadable, notes = _add_json(profiles, table, json_places)
    keys = table.text(roles[AUDIENCE][0]) if AUDIENCE in roles else _same(audience_key, table.size)
    return _member_rows(
        table,
        profiles,
        at=np.arange(table.size),
        keys=keys,
        memberships=table.text(roles[MEMBERSHIP][0]) if MEMBERSHIP in roles else _same("true", table.size),
        audience_keys=pc.unique(_undamaged(keys)).drop_null().to_pylist()
        if AUDIENCE in roles
        else [audience_key],
        is_unreadable=is_unreadable,
        notes=notes,
    )


def read_wide(table: Table, roles: Roles, audience_key: str) -> MemberRows:
    """Return the rows of a table of one row a profile and one column of true and false an audience."""
    found = audience_columns(table, roles, audience_key)
    place = next(iter(roles.get(PROFILE) or table.find("segmentid")), None)
    ids = pa.array(np.arange(table.size)).cast(TEXT) if place is None else table.text(place)
    into = table.first("mergedto")
    today = follow_merges(ids, ids.filter(pc.is_valid(into)), into.drop_null())
    at, names = positions(today)
    is_away = _marks(pc.not_equal(ids, today))
    merged = is_away & np.isin(at, at[~is_away])
    profiles = Profiles(size=len(names))
    own_first = np.argsort(is_away, kind="stable")
    for kind in KINDS:
        for column in roles.get(kind, ()) if kind != PROFILE else ():
            profiles.add(kind, Values.of_rows(at[own_first], table.text(column).take(pa.array(own_first))))
    if place is not None:
        profiles.add(PROFILE, Values.of_column(names))
    return _member_rows(
        table,
        profiles,
        at=np.tile(at, len(found)),
        keys=pa.concat_arrays([_same(key, table.size) for key in found]),
        memberships=pa.concat_arrays([table.text(column) for column in found.values()]),
        audience_keys=found,
        of_warehouse=True,
        is_merged=np.tile(merged, len(found)),
        notes=[f"{table.name}: the audiences are its columns {', '.join(found)}."],
    )


def _same(text: str, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, TEXT), size)


def _marks(condition: pa.Array) -> Marks:
    return np.asarray(pc.fill_null(condition, fill_value=False).to_numpy(zero_copy_only=False))


def _json_columns(table: Table, roles: Roles) -> list[int]:
    """Return the columns of JSON objects: identifiers, then traits, then any other that looks like it."""
    named = [*roles.get(EXTERNAL_IDS, ()), *roles.get(TRAITS, ())]
    taken = {place for places in roles.values() for place in places}
    others = [p for p in range(len(table.header)) if p not in taken and _begins_object(table.text(p))]
    return [*named, *others]


def _add_json(profiles: Profiles, table: Table, places: Sequence[int]) -> tuple[Marks, list[str]]:
    """Add what JSON cells hold to the profiles; return the rows whose JSON is unreadable, and notes."""
    is_unreadable, is_repaired = np.zeros(table.size, np.bool_), np.zeros(table.size, np.bool_)
    for place in places:
        objects, repaired, unreadable = read_objects(table.text(place).to_pylist())
        is_repaired[repaired] = True
        is_unreadable[unreadable] = True
        _add_objects(profiles, objects)
    notes = []
    if is_repaired.any():
        notes.append(
            f"{is_repaired.sum()} rows of {table.name} had typographic quotes in their JSON, now repaired."
        )
    if is_unreadable.any():
        notes.append(f"{is_unreadable.sum()} rows of {table.name} have JSON that cannot be read.")
    return is_unreadable, notes


def _begins_object(texts: pa.Array) -> bool:
    given = texts.drop_null()
    return bool(len(given)) and given[0].as_py().startswith("{")


def read_objects(texts: Iterable[str | None]) -> tuple[dict[int, dict[str, Any]], list[int], list[int]]:
    """Return the objects by row, and the rows that had to be repaired, and those that are none.

    >>> read_objects(['{“email”: ["a@x.test"]}', None, "[]"])
    ({0: {'email': ['a@x.test']}}, [0], [2])
    """
    objects: dict[int, dict[str, Any]] = {}
    repaired: list[int] = []
    unreadable: list[int] = []
    for row, text in enumerate(texts):
        if text is None:
            continue
        found = _object(text)
        if found is None:
            found = _object(text.translate(_QUOTES)) or _object(text.translate(_ALL_QUOTES))
            (unreadable if found is None else repaired).append(row)
        if found is not None:
            objects[row] = found
    return objects, repaired, unreadable


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = _DECODE(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _add_objects(profiles: Profiles, objects: dict[int, dict[str, Any]]) -> None:
    found: dict[str, tuple[list[int], list[str]]] = {}
    kinds = {name: KIND_OF_NAME.get(plain_name(name)) for members in objects.values() for name in members}
    for row, members in objects.items():
        for name, value in members.items():
            if (kind := kinds[name]) is not None:
                rows, texts = found.setdefault(kind, ([], []))
                given = [t for t in (value if isinstance(value, list) else [value]) if isinstance(t, str)]
                rows += [row] * len(given)
                texts += given
    for kind, (rows, texts) in found.items():
        profiles.add(kind, Values.of_rows(np.array(rows, np.int64), to_text(texts_of(texts))))


# --- tables of Profiles Sync


def read_profiles(tables: Sequence[tuple[Format, Table]], audience_key: str) -> MemberRows:
    """Return the rows of user_traits, with the contacts of user_identifiers.

    FileFormatError is raised where one of the two tables is not there, ParameterError where no trait is of
    that name or none is an audience.
    """
    of_format = {form: [t for f, t in tables if f is form] for form in Format}
    traits, identifiers = of_format[Format.USER_TRAITS], of_format[Format.USER_IDENTIFIERS]
    if not traits or not identifiers:
        lacking = "user_identifiers" if traits else "user_traits"
        raise FileFormatError(
            f"{lacking} is missing. Profiles Sync keeps members and contacts in two tables, user_traits and "
            "user_identifiers: give a folder with both, or a mapping of the two names to files or frames."
        )
    merges = of_format[Format.PROFILE_MERGES]
    away, into = _column(merges, "segmentid"), _column(merges, "canonicalsegmentid")
    given, owners = _column(traits, "canonicalsegmentid"), _column(identifiers, "canonicalsegmentid")
    today = follow_merges(pa.concat_arrays([given, owners]), away, into)
    at, ids = positions(today)
    of_trait, of_identifier = at[: len(given)], at[len(given) :]
    profiles = Profiles(size=len(ids))
    _add_identifiers(profiles, of_identifier, identifiers)
    names, values = _column(traits, "name"), _column(traits, "value")
    for kind in (EMAIL, PHONE):  # a trait may hold a contact that is no identifier
        _add(profiles, kind, of_trait, names, values)
    profiles.add(PROFILE, Values.of_column(ids))

    keys = [audience_key] if audience_key else _boolean_names(names, values)
    _check_occurs(keys, names)
    chosen = pc.is_in(names, pa.array(keys, TEXT))
    rows = _marks(chosen)
    is_away = _marks(pc.not_equal(given, today[: len(given)]))[rows]
    every = [table for _form, table in tables]
    return _member_rows(
        together(every, " + ".join(dict.fromkeys(table.name for table in every))),
        profiles,
        at=of_trait[rows],
        keys=names.filter(chosen),
        memberships=values.filter(chosen),
        audience_keys=keys,
        of_warehouse=True,
        is_merged=_have_own(of_trait[rows], names.filter(chosen), is_away),
        notes=[f"The audiences are the traits {', '.join(keys)}."],
    )


def _column(tables: Sequence[Table], name: str) -> pa.Array:
    return pa.concat_arrays([table.first(name) for table in tables] or [pa.array([], TEXT)])


def _add_identifiers(profiles: Profiles, at: Positions, identifiers: Sequence[Table]) -> None:
    """Add the identifiers, those seen last first."""
    types, values = _column(identifiers, "type"), _column(identifiers, "value")
    seen = pd.Series(_column(identifiers, "timestamp"), dtype="str")
    latest = pd.to_datetime(seen, format="ISO8601", utc=True, errors="coerce")
    order = latest.sort_values(ascending=False, kind="stable", na_position="last").index.to_numpy()
    types, values = types.take(pa.array(order)), values.take(pa.array(order))
    for kind in {*KIND_OF_NAME.values()}:
        _add(profiles, kind, at[order], types, values)


def _add(profiles: Profiles, kind: str, at: Positions, names: pa.Array, values: pa.Array) -> None:
    """Add the values whose name is that of the kind, however it is spelt."""
    spelt = [n for n in pc.unique(names).drop_null().to_pylist() if KIND_OF_NAME.get(plain_name(n)) == kind]
    mine = pc.is_in(names, pa.array(spelt, TEXT))
    profiles.add(kind, Values.of_rows(at[_marks(mine)], values.filter(mine)))


def _boolean_names(names: pa.Array, values: pa.Array) -> list[str]:
    """Return the traits that are true or false wherever they have a value."""
    is_boolean = pc.is_in(pc.utf8_lower(values), pa.array(["true", "false"], TEXT))
    others = pc.unique(names.filter(pc.and_(pc.is_valid(values), pc.invert(is_boolean))))
    found = {*pc.unique(names.filter(is_boolean)).drop_null().to_pylist()} - {*others.to_pylist()}
    return sorted(found)


def _check_occurs(keys: Sequence[str], names: pa.Array) -> None:
    there_are = pc.unique(names).drop_null().to_pylist()
    if not keys:
        raise ParameterError(f"No trait is true or false. The traits are: {shown_names(there_are)}.")
    if absent := {*keys} - {*there_are}:
        raise ParameterError(
            f"No trait is named {', '.join(absent)}. The traits are: {shown_names(there_are)}."
        )


def _have_own(at: Positions, keys: pa.Array, is_away: Marks) -> Marks:
    """Mark the rows of merged profiles where the profile they went into has a row of its own."""
    rows = pd.DataFrame({"profile": at, "key": pd.Series(keys, dtype="str"), "own": ~is_away})
    has_own: Marks = rows.groupby(["profile", "key"])["own"].transform("any").to_numpy(np.bool_)
    return is_away & has_own


# --- from all of them


_STATUS_OF_REASON = {
    "NOT_JSON": EventStatus.MALFORMED.value,
    "ROW_TORN": EventStatus.MALFORMED.value,
    "NO_PERSON": EventStatus.INVALID_PAYLOAD.value,
    "PAYLOAD_VALIDATION_FAILED": EventStatus.INVALID_PAYLOAD.value,
    "PROFILE_MERGED": EventStatus.SUPERSEDED.value,
    "MEMBERSHIP_MISSING": EventStatus.NO_MEMBERSHIP_VALUE.value,
    "MEMBERSHIP_NOT_BOOLEAN": EventStatus.NO_MEMBERSHIP_VALUE.value,
    "FILE_DAMAGED": EventStatus.MALFORMED.value,
}
_MAY_BE_MEMBERS = {*_STATUS_OF_REASON} - {"NO_PERSON", "PROFILE_MERGED"}
"""Rows that may have meant a member; one without id and contact can be found by nothing in any case."""


def _member_rows(
    table: Table,
    profiles: Profiles,
    *,
    at: Positions,
    keys: pa.Array,
    memberships: pa.Array,
    audience_keys: Iterable[str],
    of_warehouse: bool = False,
    is_unreadable: Marks | None = None,
    is_merged: Marks | None = None,
    notes: Sequence[str] = (),
) -> MemberRows:
    """Give each row its membership or its reason.

    *at* has the profile of each row, *memberships* are texts. Warehouses write true and false in any case,
    and nothing for a profile that was never in the audience; elsewhere only these two count, and a blank
    leaves it open. *table* has the name, the torn rows and the end of the file.
    """
    profiles.refuse_hashes(table.name)
    persons = profiles.persons()
    texts = pc.utf8_lower(memberships) if of_warehouse else memberships
    nothing = np.zeros(len(at), np.bool_)
    reasons = _reasons(
        {
            "NOT_JSON": nothing if is_unreadable is None else is_unreadable,
            "ROW_TORN": profiles.damaged()[at] | is_damaged(keys),
            "NO_PERSON": _marks(pc.is_null(persons))[at],
            "PAYLOAD_VALIDATION_FAILED": pc.is_null(keys),
            "PROFILE_MERGED": nothing if is_merged is None else is_merged,
            "MEMBERSHIP_MISSING": pc.is_null(texts),
            "MEMBERSHIP_NOT_BOOLEAN": ~_marks(pc.is_in(texts, pa.array(["true", "false"], TEXT))),
        }
    )
    columns = {
        "line": pd.Series(pd.NA, index=range(len(at)), dtype="Int64"),
        "person": _series(persons.take(pa.array(at))),
        "audience_key": _series(_undamaged(keys)),
        "membership": pd.Series(
            pc.if_else(pc.is_null(reasons), pc.equal(texts, "true"), None), dtype="boolean"
        ),
        "reason_code": _series(reasons),
        "email": _series(profiles.first(EMAIL).take(pa.array(at))),
        "phone": _series(profiles.first(PHONE).take(pa.array(at))),
    }
    rows = _with_torn_rows(pd.DataFrame(columns), table)
    never_in = {"MEMBERSHIP_MISSING"} if of_warehouse else set()
    rows["open"] = rows["reason_code"].isin(_MAY_BE_MEMBERS - never_in)
    spoilt, lost = profiles.spreadsheet_damage()
    spoilt_note = f"{spoilt} phones in {table.name} were destroyed by a spreadsheet (such as 1.5551E+10)."
    return MemberRows(
        rows=rows,
        candidates=profiles.candidates(persons),
        names=profiles.names(persons),
        audience_keys=frozenset(audience_keys),
        is_whole=not (lost or table.is_cut),
        notes=(*table.notes, *([spoilt_note] if spoilt else []), *notes),
    )


def _reasons(conditions: dict[str, Any]) -> pa.Array:
    """Return the first reason of each row whose condition holds, null where none does."""
    marks = pa.StructArray.from_arrays([pa.array(mark) for mark in conditions.values()], names=[*conditions])
    return pc.case_when(marks, *(pa.scalar(reason, TEXT) for reason in conditions))


def _undamaged(keys: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(is_damaged(keys)), pa.scalar(None, TEXT), keys)


def _with_torn_rows(rows: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the rows and those that could not be read, with their status and file."""
    lines: list[int | None] = [*table.torn, *[None] * table.is_cut]
    reasons = [*["ROW_TORN"] * len(table.torn), *["FILE_DAMAGED"] * table.is_cut]
    if lines:
        torn = {"line": pd.Series(lines, dtype="Int64"), "reason_code": pd.Series(reasons, dtype="str")}
        rows = pd.concat([rows, pd.DataFrame(torn)], ignore_index=True)
    rows["status"] = rows["reason_code"].map(_STATUS_OF_REASON).astype("str")
    rows["file"] = pd.Categorical.from_codes(np.zeros(len(rows), np.int8), categories=[table.name])
    return rows


def _series(texts: pa.Array) -> pd.Series:
    return pd.Series(texts, dtype="str")
