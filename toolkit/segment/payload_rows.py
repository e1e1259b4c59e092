"""Rows of a payload frame: what one mapping makes of one event, as cells, as an Arrow table, as a frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import encode, to_table, typed
from toolkit.statuses import EventStatus

from . import events
from .destination import Destination
from .destination.actions import Discard, Payload, TraitPayload
from .events import PAYLOAD_COLUMNS, ROW_COLUMNS
from .inputs import without_surrogates

_CELLS: Final = to_table(dict.fromkeys(ROW_COLUMNS, ()), ROW_COLUMNS).schema
ROW_SCHEMA: Final = pa.schema([("number", pa.int64()), ("file", pa.int32()), *_CELLS])
"""A row: the number of its event, the position of its file, ROW_COLUMNS."""

ROWS_AT_A_TIME: Final = 20_000
"""Rows of Python values that are held before they become a table."""

_TORN_ROW: Final[tuple[Any, ...]] = (None, None, EventStatus.MALFORMED.value, "NOT_JSON", *[None] * 12)
"""The row of a line that is not an event."""


def row_of(event: Mapping[str, Any], outcome: Payload | TraitPayload | Discard) -> tuple[Any, ...]:
    """Return the cells of ROW_COLUMNS for what one mapping made of *event*."""
    person = events.person_of(event, outcome.email, outcome.phone)
    reason_code, cells = _cells(outcome)
    status: str | None = None  # of a payload: fold() decides between those of one membership
    if isinstance(outcome, Discard):
        status = outcome.status.value
    elif person is None:
        status, reason_code = EventStatus.INVALID_PAYLOAD.value, "NO_PERSON"
    return (
        events.dedupe_key(event),
        outcome.mapping or None,
        status,
        reason_code,
        event.get("type"),
        event.get("event"),
        person,
        *cells,
        outcome.email,
        outcome.phone,
        events.event_time(event),
        events.received_time(event),
    )


def _cells(outcome: Payload | TraitPayload | Discard) -> tuple[str | None, tuple[Any, ...]]:
    """Return why the event decides nothing, if so, and the cells audience_key to trait_value."""
    if isinstance(outcome, Discard):
        return outcome.reason_code, (None,) * 5
    if isinstance(outcome, TraitPayload):
        value = outcome.value_json
        reason = None
        if value is None:
            reason = "TRAIT_VALUE_MISSING" if outcome.value is None else "TRAIT_VALUE_UNSUPPORTED"
        return reason, (None, None, None, outcome.segment_trait_key, value)
    reason = None
    if outcome.membership is None:
        is_given = outcome.segment_audience_key in outcome.traits_or_props
        reason = "MEMBERSHIP_NOT_BOOLEAN" if is_given else "MEMBERSHIP_MISSING"
    return reason, (outcome.segment_audience_key, outcome.segment_audience_id, outcome.membership, None, None)


class RowBuilder:
    """Collects the rows that the Python rules make of events."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._rows: list[tuple[Any, ...]] = []

    def add(self, number: int, file: int, event: Any) -> pa.Table | None:
        """Add the rows of one event, or of a line that is none; return a table when there are enough."""
        if events.is_event(event):
            outcomes = self._destination.payloads(event)
            self._rows += [(number, file, *row_of(event, outcome)) for outcome in outcomes]
        else:
            self._rows.append((number, file, *_TORN_ROW))
        return self.table() if len(self._rows) >= ROWS_AT_A_TIME else None

    def table(self) -> pa.Table:
        """Return the rows added since the last table, in ROW_SCHEMA."""
        if not self._rows:
            return ROW_SCHEMA.empty_table()
        columns = zip(zip(*self._rows, strict=True), ROW_SCHEMA.types, strict=True)
        self._rows = []
        return pa.Table.from_arrays([_array(column, kind) for column, kind in columns], schema=ROW_SCHEMA)


def _array(column: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):  # an event may have a number where a text belongs
        column = [without_surrogates(value) if isinstance(value, str) else None for value in column]
    return pa.array(column, kind)


def payload_frame(
    table: pa.Table, *, names: Sequence[str], lines: Mapping[int, Sequence[int]], damaged: Collection[int]
) -> pd.DataFrame:
    """Return the frame of PAYLOAD_COLUMNS for a table of ROW_SCHEMA, in its order.

    *names* are those of the files, by position; *lines* has the line numbers of a file's torn lines, where
    they are known. Of a *damaged* file the last torn line stands for all that could not be read.
    """
    frame = table.drop_columns(["number", "file"]).to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
    files = table["file"].to_numpy()
    frame["file"] = pd.Categorical.from_codes(files, categories=[*names])
    frame["line"] = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    torn = frame.index[frame["status"] == EventStatus.MALFORMED.value]
    for file in {*lines, *damaged}:
        mine = torn[files[torn] == file]
        if file in lines:
            frame.loc[mine, "line"] = lines[file]
        if file in damaged and len(mine):
            frame.loc[mine[-1], "reason_code"] = "FILE_DAMAGED"
    return typed(frame, PAYLOAD_COLUMNS)


# --- order and repetitions


def rows_in_order(table: pa.Table, *more: str) -> pa.Table:
    """Return the table sorted by file and number, then by the columns *more*."""
    order = pc.sort_indices(table, [(name, "ascending") for name in ("file", "number", *more)])
    return table if np.array_equal(order, np.arange(len(table))) else table.take(order)


def row_in_event(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return which row of its event each is, from 1; the rows of an event stand together."""
    rows = np.arange(len(table))
    begins = np.diff(table["number"].to_numpy(), prepend=-1) != 0
    return rows - np.maximum.accumulate(np.where(begins, rows, 0)) + 1


def repeated_events(first_rows: pa.Table) -> pa.Array:
    """Return the numbers of the events that repeat another one's message.

    The table has the first row of each event. The copy received first is the one that counts; one that was
    meant for Postscript goes before one that was not, as a replay names other destinations. Between copies
    received at once their content decides, so that the order of reading does not.
    """
    codes, ids = encode(first_rows["message_id"])
    is_copied = np.bincount(codes[codes >= 0], minlength=len(ids) + 1)[codes] > 1  # -1 finds the last, a 0
    copies = first_rows.filter(pa.array(is_copied))
    filtered = [EventStatus.FILTERED_INTEGRATIONS.value, EventStatus.FILTERED_CONSENT.value]
    copies = copies.append_column("filtered", pc.is_in(copies["status"], pa.array(filtered)))
    content = [name for name in ROW_COLUMNS if name not in ("message_id", "received_at")]
    order = ["filtered", "received_at", *content, "file", "number"]
    copies = copies.take(pc.sort_indices(copies, [(name, "ascending") for name in order]))
    is_later = pd.Series(encode(copies["message_id"])[0]).duplicated()
    return copies["number"].combine_chunks().filter(pa.array(is_later))


def mark_duplicates(table: pa.Table, repeated: pa.Array) -> pa.Table:
    """Return the table with the rows of the *repeated* events marked as duplicates, which decide nothing."""
    if not len(repeated):
        return table
    rows = pc.is_in(table["number"], repeated)
    cells = {"status": EventStatus.DUPLICATE.value, "reason_code": "DUPLICATE_MESSAGE_ID"}
    for name in ("status", "reason_code", "membership", "trait_value"):
        cell = pa.scalar(cells.get(name), ROW_SCHEMA.field(name).type)
        column = pc.if_else(rows, cell, table[name])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
