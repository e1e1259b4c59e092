"""The rows of a snapshot: one a record × audience, each with its word, or with the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.statuses import EventStatus

from .cells import TEXT, is_damaged
from .people import EMAIL, PHONE, Positions, Profiles
from .tables import Table

Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """What some tables say."""

    rows: pd.DataFrame
    """Columns file, line, person, audience_key, membership, status, reason_code, email, phone, and open.

    ``open`` is true where a row has no word and may have meant a member.
    """
    candidates: pd.DataFrame
    names: pd.DataFrame
    audience_keys: frozenset[str]
    is_whole: bool
    """False when a file is cut, or a spreadsheet left a member without contacts."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """What rows say before it is judged."""

    profiles: Positions
    """Which profile each row is about."""
    keys: pa.Array
    """Audience keys, null where there is none."""
    memberships: pa.Array
    """Text."""
    in_any_case: bool = False
    """Warehouses write true and false in their own way; elsewhere only the two words themselves count."""
    blank_is_out: bool = False
    """A profile without the trait was never in the audience; elsewhere a blank leaves it open."""
    unreadable: Marks | None = None
    """Rows whose JSON could not be read."""
    merged: Marks | None = None
    """Rows of profiles that were merged into one that has a word of its own."""


def judge(said: Said, profiles: Profiles, table: Table) -> Words:
    """Give each row its word or its reason; *table* has the name, the broken rows and the end of the file."""
    profiles.refuse_hashes(table.name)
    persons = profiles.persons()
    reasons, membership = _reasons(said, profiles, persons)
    at = pa.array(said.profiles)
    rows = pd.DataFrame(
        {
            "line": pd.Series(pd.NA, index=range(len(said.profiles)), dtype="Int64"),
            "person": _series(persons.take(at)),
            "audience_key": _series(_undamaged(said.keys)),
            "membership": pd.Series(membership, dtype="boolean"),
            "status": pd.Series(reasons, dtype="str").map(_STATUS_OF_REASON).astype("str"),
            "reason_code": pd.Series(reasons, dtype="str"),
            "email": _series(profiles.first(EMAIL).take(at)),
            "phone": _series(profiles.first(PHONE).take(at)),
        }
    )
    torn = _torn_rows(table)
    rows = pd.concat([rows, torn], ignore_index=True) if len(torn) else rows
    rows["file"] = pd.Categorical.from_codes(np.zeros(len(rows), np.int8), categories=[table.name])
    spoilt, lost = profiles.spreadsheet_damage()
    notes = list(table.notes)
    if spoilt:
        notes.append(f"{spoilt} phones in {table.name} were destroyed by a spreadsheet (such as 1.5551E+10).")
    open_ended = _MAY_BE_MEMBERS - ({"MEMBERSHIP_MISSING"} if said.blank_is_out else set())
    rows["open"] = rows["reason_code"].isin(open_ended)
    return Words(
        rows=rows,
        candidates=profiles.candidates(persons),
        names=profiles.names(persons),
        audience_keys=frozenset(pc.unique(_undamaged(said.keys)).drop_null().to_pylist()),
        is_whole=not (lost or table.is_cut),
        notes=tuple(notes),
    )


_STATUS_OF_REASON = {
    "ROW_TORN": EventStatus.MALFORMED.value,
    "FILE_DAMAGED": EventStatus.MALFORMED.value,
    "NOT_JSON": EventStatus.MALFORMED.value,
    "NO_PERSON": EventStatus.INVALID_PAYLOAD.value,
    "PAYLOAD_VALIDATION_FAILED": EventStatus.INVALID_PAYLOAD.value,
    "MEMBERSHIP_MISSING": EventStatus.NO_MEMBERSHIP_VALUE.value,
    "MEMBERSHIP_NOT_BOOLEAN": EventStatus.NO_MEMBERSHIP_VALUE.value,
    "PROFILE_MERGED": EventStatus.SUPERSEDED.value,
}
_MAY_BE_MEMBERS = {*_STATUS_OF_REASON} - {"NO_PERSON", "PROFILE_MERGED"}
"""Rows that may have meant a member; one without id and contact can be found by nothing in any case."""


def _reasons(said: Said, profiles: Profiles, persons: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return why each row has no word (null: it has one), and the words."""
    texts = pc.utf8_lower(said.memberships) if said.in_any_case else said.memberships
    is_true, is_false = pc.equal(texts, "true"), pc.equal(texts, "false")
    is_word = pc.or_(pc.fill_null(is_true, fill_value=False), pc.fill_null(is_false, fill_value=False))
    nothing = np.zeros(len(said.profiles), np.bool_)
    no_person = pc.is_null(persons).to_numpy(zero_copy_only=False)[said.profiles]
    marks = {
        "NOT_JSON": nothing if said.unreadable is None else said.unreadable,
        "ROW_TORN": profiles.damaged()[said.profiles] | is_damaged(said.keys).to_numpy(zero_copy_only=False),
        "NO_PERSON": no_person,
        "PAYLOAD_VALIDATION_FAILED": pc.is_null(said.keys),
        "PROFILE_MERGED": nothing if said.merged is None else said.merged,
        "MEMBERSHIP_MISSING": pc.is_null(said.memberships),
        "MEMBERSHIP_NOT_BOOLEAN": pc.invert(is_word),
    }
    conditions = pa.StructArray.from_arrays([pa.array(mark) for mark in marks.values()], names=[*marks])
    reasons = pc.case_when(conditions, *(pa.scalar(reason, TEXT) for reason in marks))
    return reasons, pc.if_else(pc.is_null(reasons), is_true, pa.scalar(None, pa.bool_()))


def _undamaged(keys: pa.Array) -> pa.Array:
    return pc.if_else(is_damaged(keys), pa.scalar(None, TEXT), keys)


def _torn_rows(table: Table) -> pd.DataFrame:
    lines = [*table.torn, None] if table.is_cut else [*table.torn]
    rows = pd.DataFrame({"line": pd.Series(lines, dtype="Int64")})
    reasons = ["ROW_TORN"] * len(table.torn) + ["FILE_DAMAGED"] * table.is_cut
    rows["reason_code"] = pd.Series(reasons, dtype="str")
    rows["status"] = EventStatus.MALFORMED.value
    return rows


def _series(texts: pa.Array) -> pd.Series:
    return pd.Series(texts, dtype="str")
