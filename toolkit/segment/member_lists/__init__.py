"""Member lists: who is in which audiences at one moment. They are complete: the others are not members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError
from toolkit.frames import TEXT, numbers, typed
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import EventStatus

from .formats import OF_PROFILES_SYNC, recognise
from .profiles import EMAIL, PHONE
from .rows import MemberRows, read_rows
from .tables import Format, Table, is_damaged, load_tables, plain_name

__all__ = ["MemberList", "read_member_list"]

BEFORE_THOSE_IN = pd.Timedelta(microseconds=1)
"""By how much the rows "out" of a list are taken as older: of two people who are one subscriber, the one who
is in decides."""

ListSource: TypeAlias = "str | Path | pd.DataFrame | Sequence[Any] | Mapping[str, Any]"

_FORMAT_OF_TABLE = {plain_name(kind.name): kind for kind in OF_PROFILES_SYNC}
_FORMAT_OF_TABLE |= {"profiletraits": Format.WIDE, "users": Format.WIDE}
_TIMES = ("receivedat", "uuidts", "computedat", "takenat")
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
    source: ListSource,
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
    tables = _recognised(source, audience_key, columns or {})
    moment = _moment(taken_at, tables)
    rows = read_rows(tables, audience_key, named=bool(columns))
    return _member_list(rows, tables, audience_key, moment)


def _recognised(source: ListSource, audience_key: str, columns: Mapping[str, Any]) -> list[Table]:
    tables = []
    for name, one in source.items() if isinstance(source, Mapping) else [("", source)]:
        wanted = _FORMAT_OF_TABLE.get(plain_name(str(name)))
        if wanted is None and isinstance(source, Mapping):
            raise ParameterError(
                f'The mapping names "{name}"; it can name user_traits, user_identifiers, profile_merges, '
                "profile_traits and users."
            )
        for loaded in load_tables(one, str(name) or "(given)"):
            table = recognise(loaded, columns, audience_key)
            if wanted and table.format is not wanted:
                raise FileFormatError(f"{table.name}, given as {name}, is {table.format}.")
            tables.append(table)
    if not tables:
        raise ParameterError("The source has no tables. Give at least one file or frame.")
    return tables


def _moment(taken_at: datetime | str | None, tables: Sequence[Table]) -> pd.Timestamp:
    """Return when the list was true: as given, else the newest time that Segment put into the data."""
    if taken_at is not None:
        moment = pd.to_datetime(taken_at, utc=True, errors="coerce") if taken_at != "" else pd.NaT
        if not isinstance(moment, pd.Timestamp) or pd.api.types.is_number(taken_at):
            # A number may count seconds or milliseconds; pandas takes it for nanoseconds.
            raise ParameterError('taken_at is no time. Write it like "2025-03-04T10:15:00Z".')
        return moment.as_unit("us")
    written = [pc.unique(table.columns[place]) for table in tables for place in table.find(*_TIMES)]
    texts = pd.Series(pa.concat_arrays([*written, pa.array([], TEXT)]), dtype="str")
    newest = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce").max()
    if pd.isna(newest):
        # Not the time of the file: a copy of an old list would remove those who entered since.
        raise ParameterError(
            "Nothing states when the list was true. Give taken_at: changes after it are left alone."
        )
    return newest.as_unit("us")


def _member_list(
    rows: MemberRows, tables: Sequence[Table], audience_key: str, moment: pd.Timestamp
) -> MemberList:
    name = " + ".join(dict.fromkeys(table.name for table in tables))
    rows.profiles.refuse_hashes(name)
    payloads, keys = _payloads(rows, tables), {*rows.audience_keys}
    if audience_key:
        if keys and audience_key not in keys:
            raise ParameterError(
                f"No row is of the audience {audience_key}. There are: {', '.join(sorted(keys))}."
            )
        # A row that could not be read may be of this audience.
        is_chosen = payloads["audience_key"].eq(audience_key) | payloads["audience_key"].isna()
        payloads, keys = payloads[is_chosen], {audience_key}
    # One message for all of it; where a person's removal is as new, a row with a message goes before it.
    is_out = ~payloads["membership"].fillna(value=True)
    received = pd.Series(moment, payloads.index).mask(is_out, moment - BEFORE_THOSE_IN)
    message = f"snapshot:{moment.isoformat()}"
    payloads = payloads.assign(message_id=message, timestamp=moment, received_at=received)
    never_in = {"MEMBERSHIP_MISSING"} if rows.of_warehouse else set()
    spoilt, lost = rows.profiles.spreadsheet_damage()
    notes = [f"{table.name} is {table.format}." for table in tables]
    notes += [note for table in tables for note in table.notes]
    if spoilt:
        notes.append(f"{spoilt} phones in {name} were destroyed by a spreadsheet (such as 1.5551E+10).")
    return MemberList(
        payloads=typed(payloads.reset_index(drop=True), PAYLOAD_COLUMNS),
        candidates=rows.profiles.candidates(),
        names=rows.profiles.names(),
        audience_keys=tuple(sorted(keys)),
        taken_at=moment,
        is_complete=not (
            lost
            or any(table.is_cut for table in tables)
            or payloads["reason_code"].isin(_MAY_BE_MEMBERS - never_in).any()
        ),
        notes=(*notes, *rows.notes),
    )


def _payloads(rows: MemberRows, tables: Sequence[Table]) -> pd.DataFrame:
    """Give each row its membership or the reason why it has none; add what could not be read."""
    profiles, at = rows.profiles, pa.array(rows.at)
    texts = pc.utf8_lower(rows.memberships) if rows.of_warehouse else rows.memberships
    is_torn = is_damaged(rows.keys)
    found: dict[str, Any] = {
        **rows.reasons,
        "ROW_TORN": profiles.damaged()[rows.at] | is_torn,
        "NO_PERSON": numbers(profiles.persons.is_null())[rows.at],
        "PAYLOAD_VALIDATION_FAILED": numbers(rows.keys.is_null()),
        "MEMBERSHIP_MISSING": numbers(texts.is_null()),
        "MEMBERSHIP_NOT_BOOLEAN": ~numbers(pc.is_in(texts, pa.array(["true", "false"], TEXT))),
    }
    first = [reason for reason in _STATUS_OF_REASON if reason in found]  # of several reasons
    places = np.select([found[reason] for reason in first], range(len(first)), -1)
    columns = {
        "audience_key": pc.if_else(pa.array(is_torn), pa.scalar(None, TEXT), rows.keys),
        "person": profiles.persons.take(at),
        **{kind: profiles.first(kind).take(at) for kind in (EMAIL, PHONE)},
    }
    frame = pd.DataFrame({name: pd.Series(column, dtype="str") for name, column in columns.items()})
    frame["reason_code"] = pd.Categorical.from_codes(places, first).astype("str")
    frame["membership"] = pd.Series(pc.equal(texts, "true"), dtype="boolean").where(places < 0)
    frame = frame.assign(file=rows.files, line=pd.NA)
    torn: list[tuple[int, int | None, str]]
    torn = [(place, line, "ROW_TORN") for place, table in enumerate(tables) for line in table.torn]
    torn += [(place, None, "FILE_DAMAGED") for place, table in enumerate(tables) if table.is_cut]
    if torn:
        more = pd.DataFrame(torn, columns=["file", "line", "reason_code"])
        frame = pd.concat([frame, more], ignore_index=True)
    files, names = pd.factorize(np.array([table.name for table in tables], object))
    frame["file"] = pd.Categorical.from_codes(files[frame["file"].to_numpy(np.int64)], names)
    return frame.assign(status=frame["reason_code"].map(_STATUS_OF_REASON))
