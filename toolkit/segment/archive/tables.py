"""Payload rows as Arrow tables: made by the Python rules here, by SQL elsewhere; joined to one frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import typed
from toolkit.segment import events
from toolkit.segment.destination import Destination
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS, ROW_COLUMNS, TORN_ROW, row_of
from toolkit.statuses import EventStatus

Repeated: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

ROWS_AT_A_TIME: Final = 20_000
"""Rows of Python values that are held before they become a table."""

_TYPES: Final = {
    "membership": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "received_at": pa.timestamp("us", "UTC"),
}
ROW_SCHEMA: Final = pa.schema(
    [
        pa.field("number", pa.int64()),
        pa.field("file", pa.int32()),
        *(pa.field(name, _TYPES.get(name, pa.string())) for name in ROW_COLUMNS),
    ]
)
"""A row: the number of its event, from 0 in the order of reading; its file's position; ROW_COLUMNS."""


class Rows:
    """Collects the rows that the Python rules make."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._rows: list[tuple[Any, ...]] = []

    def add(self, number: int, file: int, event: Any) -> pa.Table | None:
        """Add the rows of one event, or of a line that is none; return a table when there are enough."""
        if events.is_event(event):
            outcomes = self._destination.payloads(event)
            self._rows += [(number, file, *row_of(event, outcome)) for outcome in outcomes]
        else:
            self._rows.append((number, file, *TORN_ROW))
        return self.table() if len(self._rows) >= ROWS_AT_A_TIME else None

    def table(self) -> pa.Table:
        """Return what was added since the last table, in ROW_SCHEMA."""
        if not self._rows:
            return ROW_SCHEMA.empty_table()
        arrays = [
            pa.array([_printable(v) for v in column] if pa.types.is_string(kind.type) else column, kind.type)
            for column, kind in zip(zip(*self._rows, strict=True), ROW_SCHEMA, strict=True)
        ]
        self._rows = []
        return pa.Table.from_arrays(arrays, schema=ROW_SCHEMA)


def _printable(value: Any) -> str | None:
    """Return a text without lone surrogates, which no table can hold; None for what is no text."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def payload_frame(
    table: pa.Table, *, names: Sequence[str], lines: Mapping[int, Sequence[int]], damaged: Collection[int]
) -> pd.DataFrame:
    """Return the frame of PAYLOAD_COLUMNS for a table of ROW_SCHEMA, in its order.

    Parameters
    ----------
    table
        Rows in the order of files and numbers.
    names
        The files, by position.
    lines
        File → the line numbers of its torn lines, in their order; may be left out.
    damaged
        Files of which the last torn line stands for all that could not be read.
    """
    frame = table.drop_columns(["number", "file"]).to_pandas(types_mapper=_dtype_of)
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


def in_order(table: pa.Table, *more: str) -> pa.Table:
    """Return the table sorted by file and number, then by the columns *more*."""
    order = pc.sort_indices(table, [(name, "ascending") for name in ("file", "number", *more)])
    return table if np.array_equal(order, np.arange(len(table))) else table.take(order)


def first_rows(table: pa.Table) -> pa.Table:
    """Return the first row of each event, in the order of the table."""
    return table.filter(pa.array(ordinals(table) == 1))


def ordinals(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return which row of its event each is, from 1; the rows of an event stand together."""
    rows = np.arange(len(table))
    begins = np.diff(table["number"].to_numpy(), prepend=-1) != 0
    return rows - np.maximum.accumulate(np.where(begins, rows, 0)) + 1


def torn_lines(table: pa.Table) -> dict[int, list[int]]:
    """Return file → the ordinals, among its lines that are not blank, of those that are no events."""
    torn = table.filter(pc.equal(table["status"], EventStatus.MALFORMED.value)).select(["file", "number"])
    firsts = table.select(["file", "number"]).group_by("file").aggregate([("number", "min")]).to_pydict()
    first = dict(zip(firsts["file"], firsts["number_min"], strict=True))
    found: dict[int, list[int]] = {}
    for file, number in sorted(zip(*torn.to_pydict().values(), strict=True)):
        found.setdefault(file, []).append(number - first[file])
    return found


def _dtype_of(kind: pa.DataType) -> Any:
    return {pa.bool_(): pd.BooleanDtype()}.get(kind)


def mark_duplicates(table: pa.Table, repeated: Repeated) -> pa.Table:
    """Return the table with the rows of the *repeated* events marked as duplicates, which decide nothing."""
    if not len(repeated):
        return table
    rows = pc.is_in(table["number"], pa.array(repeated))
    said = {"status": EventStatus.DUPLICATE.value, "reason_code": "DUPLICATE_MESSAGE_ID"}
    for name in ("status", "reason_code", "membership", "trait_value"):
        word = pa.scalar(said.get(name), ROW_SCHEMA.field(name).type)
        table = table.set_column(
            table.schema.get_field_index(name), name, pc.if_else(rows, word, table[name])
        )
    return table


def repeated_events(events: pa.Table) -> Repeated:
    """Return the numbers of the events that repeat another one's message.

    *events* has the first row of each, in ROW_SCHEMA. The copy received first is the one that counts; one
    that was meant for Postscript goes before one that was not, as a replay names other destinations.
    Between copies received at once their content decides, so that the order of reading does not.
    """
    several = _several(events["message_id"])
    if not len(several):
        return np.empty(0, np.int64)
    chosen = events.filter(pc.is_in(events["message_id"], several)).to_pandas(types_mapper=_dtype_of)
    filtered = [EventStatus.FILTERED_INTEGRATIONS.value, EventStatus.FILTERED_CONSENT.value]
    chosen["filtered"] = chosen["status"].isin(filtered)
    content = [name for name in ROW_COLUMNS if name not in ("message_id", "received_at")]
    order = ["filtered", "received_at", *content, "file", "number"]
    chosen = chosen.sort_values(order, kind="stable")
    return np.asarray(chosen.loc[chosen["message_id"].duplicated(), "number"], np.int64)


def _several(ids: pa.ChunkedArray) -> pa.Array:
    """Return the ids that occur more than once."""
    counted = pc.value_counts(ids)
    values, counts = counted.field("values"), counted.field("counts")
    return values.filter(pc.and_(pc.greater(counts, 1), pc.is_valid(values)))
