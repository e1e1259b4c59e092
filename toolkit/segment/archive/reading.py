"""Read the lines of files through DuckDB and turn them into rows: by SQL, and by Python for the odd ones."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ReconciliationError
from toolkit.segment.destination import Destination
from toolkit.segment.payload_rows import ROW_COLUMNS

from .files import is_gzip, numbered_lines
from .leaves import NotInSQLError
from .row_sql import ODD, PART, RowQuery
from .tables import ROW_SCHEMA, ROWS_AT_A_TIME, Rows

LINE_BYTES: Final = (1 << 20, 64 << 20)
"""Longest line that is read: the first number usually, the second when a line is longer.

Segment's events have 32 KB, but a torn file may have lost its newlines. Each thread holds two such lines."""
THREADS: Final = min(os.cpu_count() or 1, 4)

FILE: Final = "file_index"
"""Column of the rows: the position of the file within its group."""

_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")

Result = TypeVar("Result")


class _LineTooLongError(Exception):
    """Raised when a line does not fit."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files that are packed alike: DuckDB reads them in one query."""

    compression: str
    files: tuple[tuple[int, Path], ...]
    """Position among all files, and path."""

    def call(self, function: str, line_bytes: int, *options: str) -> str:
        """Return the call of one of DuckDB's reading functions."""
        # Escaped: DuckDB, too, reads brackets and stars in a name as a pattern.
        paths = ", ".join(
            "'" + glob.escape(str(path)).replace("'", "''") + "'" for _number, path in self.files
        )
        given = (
            "hive_partitioning = false",  # a folder called type=raw must not be what its events say
            "ignore_errors = true",  # a line that is not JSON becomes a null instead of ending the query
            f"compression = '{self.compression}'",
            f"maximum_object_size = {line_bytes}",
            *options,
        )
        return f"{function}([{paths}], {', '.join(given)})"

    def positions(self, index: Any) -> Any:
        """Return the positions among all files of those at *index* in this group."""
        return np.array([number for number, _path in self.files], np.int32)[index]


class Reader:
    """A DuckDB connection to the lines of some files, and the destination that decides about them.

    Raises
    ------
    FileFormatError
        DuckDB cannot read a file; raised at the end of the ``with`` block.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        destination: Destination,
        *,
        line_bytes: int,
        memory_limit: str,
        scratch: Path,
    ) -> None:
        numbered = [*enumerate(paths)]
        packed = [(number, path) for number, path in numbered if is_gzip(path)]
        plain = [each for each in numbered if each not in packed]
        self.groups: Final = [
            Group(compression=name, files=tuple(files))
            for name, files in (("gzip", packed), ("uncompressed", plain))
            if files
        ]
        self._destination = destination
        self._line_bytes = line_bytes
        try:
            self._query: RowQuery | None = RowQuery(destination)
        except NotInSQLError:
            self._query = None
        self.connection: Final = duckdb.connect(
            config={"memory_limit": memory_limit, "threads": THREADS, "temp_directory": str(scratch)}
        )
        self.connection.execute("SET enable_progress_bar = false")  # it would be printed into the notebook
        # Slow on long expressions; the queries name what they use twice.
        self.connection.execute("SET disabled_optimizers = 'common_subexpressions'")

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.connection.close()
        if isinstance(error, duckdb.Error):
            said = str(error)
            is_long = self._line_bytes > LINE_BYTES[0]  # two such lines a thread may not fit into memory
            if "maximum_object_size" in said or (is_long and isinstance(error, duckdb.OutOfMemoryException)):
                raise _LineTooLongError(said) from None
            raise FileFormatError(f"The archive cannot be read: {said.splitlines()[0][:200]}") from None

    def table(self) -> pa.Table:
        """Return every row, in ROW_SCHEMA; events are numbered in the order of reading."""
        tables = [ROW_SCHEMA.empty_table()]
        start = 0
        for group in self.groups:
            found = self._table(group, start)
            tables.append(found)
            start = pc.max(found["number"]).as_py() + 1 if len(found) else start
        return pa.concat_tables(tables)

    def _table(self, group: Group, start: int) -> pa.Table:
        if self._query is None:
            return pa.concat_tables(self.odd_tables(group, start))
        found = self.connection.sql(self.row_query(group) or "").to_arrow_table()
        numbers = start - 1 + np.cumsum(found[PART].to_numpy() == 1)
        odd = found[ODD].to_numpy(zero_copy_only=False)
        arrays = [pa.array(numbers), pa.array(group.positions(found[FILE].to_numpy()))]
        settled = as_rows([*arrays, *(found[name] for name in ROW_COLUMNS)]).filter(pa.array(~odd))
        if not odd.any():
            return settled
        return pa.concat_tables([settled, *self.odd_tables(group, numbers[odd])])

    def row_query(self, group: Group, more: Mapping[str, str] = MappingProxyType({})) -> str | None:
        """Return the query for a group's rows; None when Python has to make all of them.

        *more* has columns to be added to each line, name → expression.
        """
        if self._query is None:
            return None
        lines = group.call("read_ndjson", self._line_bytes, f"columns = {self._query.columns()}")
        added = "".join(f", {expression} AS {name}" for name, expression in more.items())
        return self._query.rows(f"SELECT *, {FILE}{added} FROM {lines}", keep=", ".join([FILE, *more]))

    def odd_tables(self, group: Group, numbers: int | Iterable[int]) -> Iterator[pa.Table]:
        """Yield the rows of the events that Python has to decide, in ROW_SCHEMA.

        *numbers* are those of the events, or the first of them.
        """
        events = self._odd_events(group)
        if isinstance(numbers, int):
            pairs: Iterable[Any] = enumerate(events, start=numbers)
        else:
            pairs = zip(numbers, events, strict=True)
        rows = Rows(self._destination)
        try:
            for number, (file, event) in pairs:
                if table := rows.add(int(number), file, event):
                    yield table
        except ValueError as error:
            if "zip()" in str(error):
                raise ReconciliationError("Two readings of the archive differ; was it written to?") from None
            raise
        yield rows.table()

    def find_event(self, message_id: str) -> dict[str, Any] | None:
        """Return the event with this ``messageId``, or the first if it is blank; None without one."""
        for group in self.groups:
            lines = group.call("read_ndjson_objects", self._line_bytes)
            asked = "json->>'messageId' = $id OR ($id = '' AND json_type(json) = 'OBJECT')"
            query = f"SELECT json::VARCHAR FROM {lines} WHERE {asked} LIMIT 1"
            found = self.connection.execute(query, {"id": message_id}).fetchone()
            event = _event_of(found[0]) if found else None
            if isinstance(event, dict):
                return event
        halved = (event for group in self.groups for _file, event in self._odd_events(group))
        asked_for = (e for e in halved if isinstance(e, dict) and message_id in ("", e.get("messageId")))
        return next(asked_for, None)

    def _odd_events(self, group: Group) -> Iterator[tuple[int, Any]]:
        """Yield the file and the event of every line that SQL leaves to Python, None for what is no JSON."""
        lines = group.call("read_ndjson_objects", self._line_bytes)
        query = f"SELECT {FILE}, json::VARCHAR AS whole FROM {lines}"
        if self._query is not None:
            line = f"from_json(json, {self._query.structure()}) AS line"
            query = f"SELECT {FILE}, json::VARCHAR AS whole, {line} FROM {lines}"
            query = self._query.odd(f"SELECT {FILE}, whole, line.* FROM ({query})", keep=f"{FILE}, whole")
        result = self.connection.execute(query)
        refused: Iterator[bytes] | None = None
        while found := result.fetchmany(ROWS_AT_A_TIME):
            for index, text in found:
                if text is None:
                    refused = refused or self._refused_lines(group)
                    event = _halved(next(refused, b""))
                else:
                    event = _event_of(text)
                yield group.files[index][0], event

    def _refused_lines(self, group: Group) -> Iterator[bytes]:
        """Yield the lines that are no JSON to DuckDB, in their order."""
        lines = group.call("read_ndjson_objects", self._line_bytes)
        with self.connection.cursor() as second:
            found = second.sql(f"SELECT {FILE}, json IS NULL AS refused FROM {lines}").fetchnumpy()
        refused = np.flatnonzero(found["refused"])
        indices, counts = np.unique(found[FILE][refused], return_counts=True)
        starts = np.searchsorted(found[FILE], indices)
        for index, start, places in zip(
            indices, starts, np.split(refused, np.cumsum(counts)[:-1]), strict=True
        ):
            for _number, line in numbered_lines(group.files[index][1], places - start):
                yield line


def read_lines(
    act: Callable[[Reader], Result],
    paths: Sequence[Path],
    destination: Destination,
    *,
    memory_limit: str,
    scratch: Path,
) -> Result:
    """Return what *act* makes of a reader of *paths*; it starts anew when a line needs more room.

    Raises
    ------
    FileFormatError
        DuckDB cannot read a file.
    """
    for line_bytes in LINE_BYTES:
        try:
            with Reader(
                paths, destination, line_bytes=line_bytes, memory_limit=memory_limit, scratch=scratch
            ) as reader:
                return act(reader)
        except _LineTooLongError:
            continue
    raise FileFormatError(
        f"A line of the archive is longer than {LINE_BYTES[-1] >> 20} MB, or than memory allows. "
        "Segment's calls have 32 KB each: look for a file without newlines, and remove it."
    )


def as_rows(columns: Iterable[Any]) -> pa.Table:
    """Return columns as a table of ROW_SCHEMA, whose types they are given."""
    arrays = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(columns, ROW_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=ROW_SCHEMA)


def _halved(line: bytes) -> Any:
    """Return the event of a line with half a character, which DuckDB refuses and JSON allows; else None."""
    try:
        return json.loads(line.decode()) if _HALF.search(line) else None
    except (ValueError, RecursionError):
        return None


def _event_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _lenient(text)


def _lenient(text: str) -> Any:
    """Read what is JSON to DuckDB but not to Python: it forgives a comma before a closing bracket."""
    with duckdb.connect() as connection:
        found = connection.execute("SELECT from_json(?, '\"JSON\"')::VARCHAR", [text]).fetchone()
    try:
        return json.loads(found[0]) if found and found[0] else None
    except (ValueError, RecursionError):
        return None
