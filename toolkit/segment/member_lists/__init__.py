"""Member lists: who is in which audiences at one moment. They are complete: the others are not members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.frames import TEXT, numbers
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import EventStatus

from .formats import Format, Roles, find_format, find_roles
from .profiles import CANDIDATE_COLUMNS, EMAIL, NAME_COLUMNS, PHONE
from .rows import MemberRows, read_list, read_profiles, read_wide
from .tables import Table, is_damaged, load_tables, plain_name

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
# In this order: of several reasons a row has the first.
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

    Its ``payloads`` have one row a record × audience, ``notes`` state what was recognised.

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
    >>> listed = read_member_list(members, audience_key="vip_customers", taken_at="2025-03-04T10:15:00Z")
    >>> listed.payloads["person"].tolist(), listed.members
    (['user:c_1042'], 1)
    """
    tables, roles, forms = _recognised(source, audience_key, columns or {})
    moment = _moment(taken_at, tables)
    rows = _read(tables, roles, forms, audience_key, named=bool(columns))
    found = _member_list(rows, tables, audience_key, moment)
    recognised = (f"{table.name} is {form}." for table, form in zip(tables, forms, strict=True))
    return replace(found, notes=(*recognised, *found.notes))


def _recognised(
    source: Source, audience_key: str, columns: Mapping[str, str | Sequence[str]]
) -> tuple[list[Table], list[Roles], list[Format]]:
    """Return the tables of the source, the roles of their columns, and their formats."""
    tables, roles, forms = [], [], []
    for name, one in source.items() if isinstance(source, Mapping) else [("", source)]:
        wanted = _FORMAT_OF_TABLE.get(plain_name(str(name)))
        if wanted is None and isinstance(source, Mapping):
            raise ParameterError(
                f'The mapping names "{name}"; it can name user_traits, user_identifiers, profile_merges, '
                "profile_traits and users."
            )
        for loaded in load_tables(one):
            table = replace(loaded, name=str(name)) if wanted and loaded.name == "(given)" else loaded
            tables.append(table)
            roles.append(find_roles(table, columns))
            forms.append(find_format(table, roles[-1], audience_key))
            if wanted and forms[-1] is not wanted:
                raise FileFormatError(f"{table.name}, given as {name}, is {forms[-1]}.")
    return tables, roles, forms


def _read(
    tables: Sequence[Table],
    roles: Sequence[Roles],
    forms: Sequence[Format],
    audience_key: str,
    *,
    named: bool,
) -> MemberRows:
    kinds = {*forms}
    if kinds & _OF_PROFILES_SYNC:
        if kinds - _OF_PROFILES_SYNC or named:
            raise FileFormatError(
                "Tables of Profiles Sync stand for themselves: read other tables apart, and without columns."
            )
        return read_profiles(tables, forms, audience_key)
    if len(kinds) > 1:
        raise FileFormatError(f"The source mixes {' and '.join(sorted(kinds))}. Read each apart.")
    if kinds == {Format.WIDE}:
        return read_wide(tables, roles[0], audience_key)
    return read_list(tables, roles, forms[0], audience_key)


def _moment(taken_at: datetime | str | None, tables: Sequence[Table]) -> pd.Timestamp:
    """Return when the list was true: as given, else the newest time that Segment put into the data."""
    if taken_at is not None:
        moment = pd.to_datetime(taken_at, utc=True, errors="coerce") if taken_at != "" else pd.NaT
        if not isinstance(moment, pd.Timestamp) or pd.api.types.is_number(taken_at):
            # A number may count seconds or milliseconds; pandas takes it for nanoseconds.
            raise ParameterError('taken_at is no time. Write it like "2025-03-04T10:15:00Z".')
        return moment.as_unit("us")
    newest = [
        pd.to_datetime(pd.Series(pc.unique(table.columns[place]), dtype="str"), **_READ).max()
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
    rows: MemberRows, tables: Sequence[Table], audience_key: str, moment: pd.Timestamp
) -> MemberList:
    name = " + ".join(dict.fromkeys(table.name for table in tables))
    rows.profiles.refuse_hashes(name)
    persons = rows.profiles.persons()
    payloads = _with_torn_rows(_payloads(rows, persons), tables)
    payloads["status"] = payloads["reason_code"].map(_STATUS_OF_REASON)
    files, names = pd.factorize(np.array([table.name for table in tables], object))
    payloads["file"] = pd.Categorical.from_codes(files[payloads["file"].to_numpy(np.int64)], names)
    # One message for all of it; where a person's removal is as new, a row with a message goes before it.
    payloads["message_id"] = f"snapshot:{moment.isoformat()}"
    is_out = ~payloads["membership"].fillna(value=True)
    payloads["timestamp"] = moment
    payloads["received_at"] = pd.Series(moment, payloads.index).mask(is_out, moment - BEFORE_THOSE_IN)
    keys = {*rows.audience_keys}
    if audience_key:
        payloads, keys = _only(audience_key, payloads, keys), {audience_key}
    never_in = {"MEMBERSHIP_MISSING"} if rows.of_warehouse else set()
    spoilt, lost = rows.profiles.spreadsheet_damage()
    spoilt_note = f"{spoilt} phones in {name} were destroyed by a spreadsheet (such as 1.5551E+10)."
    return MemberList(
        payloads=payloads.reindex(columns=[*PAYLOAD_COLUMNS]).astype(PAYLOAD_COLUMNS).reset_index(drop=True),
        candidates=_distinct(rows.profiles.candidates(persons)).astype(CANDIDATE_COLUMNS),
        names=_distinct(rows.profiles.names(persons)).astype(NAME_COLUMNS),
        audience_keys=tuple(sorted(keys)),
        taken_at=moment,
        is_complete=not (
            lost
            or any(table.is_cut for table in tables)
            or payloads["reason_code"].isin(_MAY_BE_MEMBERS - never_in).any()
        ),
        notes=(
            *(note for table in tables for note in table.notes),
            *([spoilt_note] if spoilt else []),
            *rows.notes,
        ),
    )


def _payloads(rows: MemberRows, persons: pa.Array) -> pd.DataFrame:
    """Give each row its membership or the reason why it has none."""
    texts = pc.utf8_lower(rows.memberships) if rows.of_warehouse else rows.memberships
    is_torn = is_damaged(rows.keys)
    found: dict[str, Any] = {
        **rows.reasons,
        "ROW_TORN": rows.profiles.damaged()[rows.at] | is_torn,
        "NO_PERSON": numbers(persons.is_null())[rows.at],
        "PAYLOAD_VALIDATION_FAILED": numbers(rows.keys.is_null()),
        "MEMBERSHIP_MISSING": numbers(texts.is_null()),
        "MEMBERSHIP_NOT_BOOLEAN": ~numbers(pc.is_in(texts, pa.array(["true", "false"], TEXT))),
    }
    first = [reason for reason in _STATUS_OF_REASON if reason in found]  # of several reasons
    places = np.select([found[reason] for reason in first], range(len(first)), -1)
    reasons = pd.Series(pd.Categorical.from_codes(places, first)).astype("str")
    of_profiles = {"person": persons, **{kind: rows.profiles.first(kind) for kind in (EMAIL, PHONE)}}
    columns = {
        "audience_key": pc.if_else(pa.array(is_torn), pa.scalar(None, TEXT), rows.keys),
        **{name: texts.take(pa.array(rows.at)) for name, texts in of_profiles.items()},
    }
    frame = pd.DataFrame({name: pd.Series(column, dtype="str") for name, column in columns.items()})
    memberships = pd.Series(pc.equal(texts, "true"), dtype="boolean").where(reasons.isna())
    return frame.assign(reason_code=reasons, membership=memberships, file=rows.files, line=pd.NA)


def _with_torn_rows(payloads: pd.DataFrame, tables: Sequence[Table]) -> pd.DataFrame:
    """Return the rows and those that could not be read."""
    torn: list[tuple[int, int | None, str]]
    torn = [(place, line, "ROW_TORN") for place, table in enumerate(tables) for line in table.torn]
    torn += [(place, None, "FILE_DAMAGED") for place, table in enumerate(tables) if table.is_cut]
    more = pd.DataFrame(torn, columns=["file", "line", "reason_code"])
    return pd.concat([payloads, more], ignore_index=True) if torn else payloads


def _only(audience_key: str, payloads: pd.DataFrame, keys: set[str]) -> pd.DataFrame:
    """Return the rows of one audience, and those that may be of any."""
    if keys and audience_key not in keys:
        raise ParameterError(
            f"No row is of the audience {audience_key}. There are: {', '.join(sorted(keys))}."
        )
    # A row that could not be read may be of this audience.
    return payloads[payloads["audience_key"].eq(audience_key) | payloads["audience_key"].isna()]


def _distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of people, each once."""
    known = frame[frame["person"].notna()].reset_index(drop=True)
    several = known[known["person"].duplicated(keep=False)]
    return known.drop(several.index[several.duplicated()]).reset_index(drop=True)
