"""Read lines of files through DuckDB and turn them into rows: by SQL, by Python where that is not exact.

Rows of an archive that is too large to be held are cut into partitions on disk, each with every row of the
people in it.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.errors import FileFormatError, ReconciliationError
from toolkit.segment.destination import Destination
from toolkit.segment.events import ROW_COLUMNS
from toolkit.segment.payload_rows import (
    ROW_SCHEMA,
    ROWS_AT_A_TIME,
    RowBuilder,
    mark_duplicates,
    repeated_events,
    row_in_event,
    rows_in_order,
)
from toolkit.statuses import EventStatus

from .files import numbered_lines
from .json_columns import quoted
from .row_sql import NEEDS_PYTHON, PART, row_query

LINE_BYTES: Final = (1 << 20, 64 << 20)
"""Longest line that is read: the first number usually, the second when a line is longer.

Segment's events have 32 KB, but a torn file may have lost its newlines. Each thread holds two such lines."""
THREADS: Final = min(os.cpu_count() or 1, 4)

FILE: Final = "file_index"
"""DuckDB's column for the position of a line's file."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of a surrogate."""

Result = TypeVar("Result")
_PYTHON_FROM: Final = 1 << 48
"""Events that Python decides are numbered from here."""
_NUMBER: Final = "((random() * 4503599627370496)::BIGINT * 2048 + (random() * 2047)::BIGINT)"
"""A number of 63 bits for an event that SQL decides; counting them in order would halve the pace.

That one of ten million events shares the number of a repetition has a chance of about one to ten million."""
_TABLES_AT_ONCE: Final = 10
_ROWS_HELD: Final = 16_384
_ROWS_A_PARTITION: Final = 256
_ROW: Final = ", ".join(("number", "file", *ROW_COLUMNS))


class _LineTooLongError(Exception):
    """Raised when a line does not fit."""


class Reader:
    """A DuckDB connection to the lines of some files, and the destination that decides about them.

    *paths* are those of `make_readable`: DuckDB knows by their ends how they are packed.

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
        self._paths = paths
        self._destination = destination
        self._line_bytes = line_bytes
        self._query = row_query(destination)
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
            message = str(error)
            is_long = self._line_bytes > LINE_BYTES[0]  # two such lines a thread may not fit into memory
            if "maximum_object_size" in message or (
                is_long and isinstance(error, duckdb.OutOfMemoryException)
            ):
                raise _LineTooLongError(message) from None
            raise FileFormatError(f"The archive cannot be read: {message.splitlines()[0][:200]}") from None

    def table(self) -> pa.Table:
        """Return every row, in ROW_SCHEMA; events are numbered from 0 in the order of reading."""
        found = self.connection.sql(self.row_query()).to_arrow_table()
        numbers = np.cumsum(found[PART].to_numpy() == 1) - 1
        found = found.append_column("number", pa.array(numbers)).append_column("file", found[FILE])
        needs_python = found[NEEDS_PYTHON].to_numpy()
        if not needs_python.any():
            return as_rows(found)
        settled = as_rows(found.filter(pa.array(~needs_python)))
        return pa.concat_tables([settled, *self.python_tables(numbers[needs_python])])

    def row_query(self, more: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return the query for the rows; *more* has columns to be added to each line, name → expression."""
        added = "".join(f", {expression} AS {name}" for name, expression in more.items())
        lines = self._lines("read_ndjson", f"columns = {self._query.columns()}")
        return self._query.rows(f"SELECT *, {FILE}{added} FROM {lines}", keep=", ".join([FILE, *more]))

    def python_tables(self, numbers: Iterable[int]) -> Iterator[pa.Table]:
        """Yield the rows of the events that Python has to decide, in ROW_SCHEMA; *numbers* are theirs."""
        rows = RowBuilder(self._destination)
        for number, found in zip_longest(numbers, self._python_events()):
            if number is None or found is None:
                raise ReconciliationError("Two readings of the archive differ; was it written to?")
            if table := rows.add(int(number), *found):
                yield table
        yield rows.table()

    def _python_events(self) -> Iterator[tuple[int, Any]]:
        """Yield the file and the event of every line that SQL leaves to Python, None for what is no JSON."""
        query = f"SELECT {FILE}, json AS whole FROM {self._lines('read_ndjson_objects')}"
        line = f"from_json(whole, {self._query.structure()}) AS line"
        query = f"SELECT {FILE}, whole, line.* FROM (SELECT *, {line} FROM ({query}))"
        query = self._query.for_python(query, keep=f"{FILE}, whole")
        # Written anew: DuckDB forgives a comma before a closing bracket, Python does not.
        query = f"SELECT {FILE}, json(whole)::VARCHAR FROM ({query})"
        result = self.connection.cursor().execute(query)  # of its own: rows are written while it is read
        refused: Iterator[bytes] | None = None
        while found := result.fetchmany(ROWS_AT_A_TIME):
            for file, text in found:
                if text is not None:
                    yield file, event_of(text)
                else:
                    refused = refused or self._refused_lines()
                    raw = next(refused, b"")
                    # DuckDB refuses a lone surrogate, which JSON allows.
                    yield file, event_of(raw) if _SURROGATE.search(raw) else None

    def _refused_lines(self) -> Iterator[bytes]:
        """Yield the lines that are no JSON to DuckDB, in their order."""
        query = f"SELECT {FILE}, json IS NULL AS refused FROM {self._lines('read_ndjson_objects')}"
        found = self.connection.sql(query).fetchnumpy()
        for file in np.unique(found[FILE][found["refused"]]):
            ordinals = np.flatnonzero(found["refused"][found[FILE] == file])
            for _number, line in numbered_lines(self._paths[file], ordinals.tolist()):
                yield line

    def _lines(self, function: str, *options: str) -> str:
        """Return the call of one of DuckDB's reading functions."""
        # Escaped: DuckDB reads brackets and stars in a name as a pattern.
        paths = ", ".join(quoted(glob.escape(str(path))) for path in self._paths)
        given = (
            "hive_partitioning = false",  # a folder called type=raw must not become a field of its events
            "ignore_errors = true",  # a line that is not JSON becomes a null instead of ending the query
            f"maximum_object_size = {self._line_bytes}",
            *options,
        )
        return f"{function}([{paths}], {', '.join(given)})"


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


def as_rows(table: pa.Table) -> pa.Table:
    """Return a table with the columns of ROW_SCHEMA, and others, as one of that schema."""
    return table.select(ROW_SCHEMA.names).cast(ROW_SCHEMA)


def event_of(line: bytes | str) -> Any:
    """Return what the JSON of a line means; None for what is no JSON."""
    try:
        return json.loads(line.decode() if isinstance(line, bytes) else line)
    except (ValueError, RecursionError):
        return None


# --- an archive that is too large to be held


class Partitions:
    """Rows of an archive on disk, cut by person."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        written = quoted(glob.escape(str(folder)) + "/*/*.parquet")
        self._written = f"read_parquet({written}, hive_partitioning = false)"
        self._repeated = pa.array([], pa.int64())
        self.rows = 0
        """Rows in all partitions."""
        self.torn = 0
        """Those of lines that are no events."""

    def write(self, reader: Reader) -> None:
        """Write every row that *reader* finds, and find the events that are repetitions."""
        shutil.rmtree(self._folder, ignore_errors=True)  # it may be the second try
        self._folder.mkdir(parents=True)
        # So many rows a thread holds before it writes them. More, or row groups of the usual size, of which
        # every partition has one in the making, fill the memory when there are many partitions.
        held = max(_ROWS_HELD, _ROWS_A_PARTITION * self._count)
        reader.connection.execute(f"SET partitioned_write_flush_threshold = {held}")
        self._copy(reader, f"SELECT *, {FILE} AS file FROM ({reader.row_query({'number': _NUMBER})})")
        if count := self._counted(reader, NEEDS_PYTHON):
            self._write_python_rows(reader, count)
        rows = f"NOT {NEEDS_PYTHON}"
        self.rows = self._counted(reader, rows)
        self.torn = self._counted(reader, f"{rows} AND status = {quoted(EventStatus.MALFORMED.value)}")
        if self.rows:
            self._repeated = self._find_repeated(reader)

    def _counted(self, reader: Reader, condition: str) -> int:
        if not any(self._folder.iterdir()):
            return 0  # every line is blank
        query = f"SELECT count(*) FROM {self._written} WHERE {condition}"
        ((count,),) = reader.connection.execute(query).fetchall()
        return int(count)

    def _write_python_rows(self, reader: Reader, count: int) -> None:
        tables = reader.python_tables(range(_PYTHON_FROM, _PYTHON_FROM + count))
        while several := [*islice(tables, _TABLES_AT_ONCE)]:
            table = pa.concat_tables(several)
            reader.connection.register("decided", table.append_column(PART, pa.array(row_in_event(table))))
            self._copy(reader, f"SELECT *, false AS {NEEDS_PYTHON} FROM decided")

    def _copy(self, reader: Reader, query: str) -> None:
        partition = f"hash(coalesce(person, message_id, '')) % {self._count}"
        rows = f"SELECT {_ROW}, {PART}, {NEEDS_PYTHON}, {partition} AS cut FROM ({query})"
        reader.connection.execute(
            f"COPY ({rows}) TO {quoted(str(self._folder))} "
            "(FORMAT parquet, PARTITION_BY (cut), FILENAME_PATTERN '{uuid}', APPEND, COMPRESSION lz4, "
            "ROW_GROUP_SIZE 8192)"
        )

    def _find_repeated(self, reader: Reader) -> pa.Array:
        first = f"NOT {NEEDS_PYTHON} AND {PART} = 1 AND message_id IS NOT NULL"
        events = f"(SELECT * FROM {self._written} WHERE {first})"
        # Of hashes, as the ids of a large archive fill the memory.
        several = f"(SELECT hash(message_id) AS id FROM {events} GROUP BY ALL HAVING count(*) > 1)"
        query = f"SELECT {_ROW} FROM {events} SEMI JOIN {several} ON hash(message_id) = id"
        return repeated_events(as_rows(reader.connection.sql(query).to_arrow_table()))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the partitions, in ROW_SCHEMA, repetitions marked; one without rows is left out."""
        for cut in range(self._count):
            folder = self._folder / f"cut={cut}"
            if not folder.is_dir():
                continue
            table = pq.ParquetDataset(folder, partitioning=None, filters=[(NEEDS_PYTHON, "=", False)]).read()
            if len(table):
                # The rows of one event stand in any order by now; between two mappings the later one decides.
                yield mark_duplicates(as_rows(rows_in_order(table, PART)), self._repeated)
