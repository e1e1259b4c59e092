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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
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
from .row_sql import NEEDS_PYTHON, PART, RowQuery, row_query

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
_PLACES: Final = "cut=-1"
"""Folder of the rows that hold the place of an event."""
_ROW: Final = ", ".join(("number", "file", *ROW_COLUMNS))


@dataclass(frozen=True)
class Reader:
    """A DuckDB connection to the lines of some files, and the destination that decides about them."""

    connection: duckdb.DuckDBPyConnection
    paths: Sequence[Path]
    destination: Destination
    query: RowQuery
    line_bytes: int

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

    def row_query(self, *, numbered: bool = False) -> str:
        """Return the query for the rows; *numbered* adds a number that all rows of one event have."""
        lines = self._lines("read_ndjson", f"columns = {self.query.line.columns()}")
        if numbered:
            return self.query.rows(f"SELECT *, {FILE}, {_NUMBER} AS number FROM {lines}", f"{FILE}, number")
        return self.query.rows(f"SELECT *, {FILE} FROM {lines}", FILE)

    def python_tables(self, numbers: Iterable[int]) -> Iterator[pa.Table]:
        """Yield the rows of the events that Python has to decide, in ROW_SCHEMA; *numbers* are theirs."""
        rows = RowBuilder(self.destination)
        for number, found in zip_longest(numbers, self._python_events()):
            if number is None or found is None:
                raise ReconciliationError("Two readings of the archive differ; was it written to?")
            if table := rows.add(int(number), *found):
                yield table
        yield rows.table()

    def _python_events(self) -> Iterator[tuple[int, Any]]:
        """Yield the file and the event of every line that SQL leaves to Python, None for what is no JSON."""
        query = f"SELECT {FILE}, json AS whole FROM {self._lines('read_ndjson_objects')}"
        line = f"from_json(whole, {self.query.line.structure()}) AS line"
        query = f"SELECT {FILE}, whole, line.* FROM (SELECT *, {line} FROM ({query}))"
        query = self.query.for_python(query, f"{FILE}, whole")
        # Written anew: DuckDB forgives a comma before a closing bracket, Python does not.
        query = f"SELECT {FILE}, json(whole)::VARCHAR FROM ({query})"
        result = self.connection.cursor().execute(query)  # of its own: rows are written while it is read
        refused = self._refused_lines()
        while found := result.fetchmany(ROWS_AT_A_TIME):
            for file, text in found:
                if text is not None:
                    yield file, event_of(text)
                else:
                    raw = next(refused, b"")
                    # DuckDB refuses a lone surrogate, which JSON allows.
                    yield file, event_of(raw) if _SURROGATE.search(raw) else None

    def _refused_lines(self) -> Iterator[bytes]:
        """Yield the lines that are no JSON to DuckDB, in their order."""
        query = f"SELECT {FILE}, json IS NULL AS refused FROM {self._lines('read_ndjson_objects')}"
        found = self.connection.sql(query).fetchnumpy()
        for file in np.unique(found[FILE][found["refused"]]):
            ordinals = np.flatnonzero(found["refused"][found[FILE] == file])
            for _number, line in numbered_lines(self.paths[file], ordinals.tolist()):
                yield line

    def _lines(self, function: str, *options: str) -> str:
        # Escaped: DuckDB reads brackets and stars in a name as a pattern.
        paths = ", ".join(quoted(glob.escape(str(path))) for path in self.paths)
        given = (
            "hive_partitioning = false",  # a folder called type=raw must not become a field of its events
            "ignore_errors = true",  # a line that is not JSON becomes a null instead of ending the query
            f"maximum_object_size = {self.line_bytes}",
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

    *paths* are those of `make_readable`. Raises FileFormatError when DuckDB cannot read a file.
    """
    query = row_query(destination)
    config: dict[str, Any] = {
        "memory_limit": memory_limit,
        "threads": THREADS,
        "temp_directory": str(scratch),
    }
    for line_bytes in LINE_BYTES:
        with duckdb.connect(config=config) as connection:
            connection.execute("SET enable_progress_bar = false")  # it would be printed into the notebook
            # Slow on long expressions; the queries name what they use twice.
            connection.execute("SET disabled_optimizers = 'common_subexpressions'")
            try:
                return act(Reader(connection, paths, destination, query, line_bytes))
            except duckdb.Error as error:
                # Two long lines a thread may not fit into memory.
                is_full = line_bytes > LINE_BYTES[0] and isinstance(error, duckdb.OutOfMemoryException)
                if not is_full and "maximum_object_size" not in (message := str(error)):
                    reason = message.splitlines()[0][:200]
                    raise FileFormatError(f"The archive cannot be read: {reason}") from None
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
        self._repeated = pa.array([], pa.int64())

    def write(self, reader: Reader) -> tuple[int, int]:
        """Write every row that *reader* finds; return how many there are, and how many are of torn lines."""
        shutil.rmtree(self._folder, ignore_errors=True)  # it may be the second try
        self._folder.mkdir(parents=True)
        # So many rows a thread holds before it writes them. More, or row groups of the usual size, of which
        # every partition has one in the making, fill the memory when there are many partitions.
        held = max(_ROWS_HELD, _ROWS_A_PARTITION * self._count)
        reader.connection.execute(f"SET partitioned_write_flush_threshold = {held}")
        self._copy(reader, f"SELECT *, {FILE} AS file FROM ({reader.row_query(numbered=True)})")
        places, _torn = self._counted(reader, _PLACES)
        if places:
            shutil.rmtree(self._folder / _PLACES)
            tables = reader.python_tables(range(_PYTHON_FROM, _PYTHON_FROM + places))
            while several := [*islice(tables, _TABLES_AT_ONCE)]:
                table = pa.concat_tables(several)
                table = table.append_column(PART, pa.array(row_in_event(table)))
                reader.connection.register("decided", table)
                self._copy(reader, f"SELECT *, false AS {NEEDS_PYTHON} FROM decided")
        rows, torn = self._counted(reader, "*")
        if rows:
            self._repeated = self._find_repeated(reader)
        return rows, torn

    def _copy(self, reader: Reader, query: str) -> None:
        """Write the rows of a query, those that only hold a place apart."""
        cut = f"hash(coalesce(person, message_id, '')) % {self._count}"
        cut = f"CASE WHEN {NEEDS_PYTHON} THEN -1 ELSE ({cut})::BIGINT END AS cut"
        reader.connection.execute(
            f"COPY (SELECT {_ROW}, {PART}, {cut} FROM ({query})) TO {quoted(str(self._folder))} "
            "(FORMAT parquet, PARTITION_BY (cut), FILENAME_PATTERN '{uuid}', APPEND, COMPRESSION lz4, "
            "ROW_GROUP_SIZE 8192)"
        )

    def _written(self, folder: str) -> str:
        files = quoted(f"{glob.escape(str(self._folder))}/{folder}/*.parquet")
        return f"read_parquet({files}, hive_partitioning = false)"

    def _counted(self, reader: Reader, folder: str) -> tuple[int, int]:
        if not any(self._folder.glob(folder)):
            return 0, 0
        torn = f"count(*) FILTER (status = {quoted(EventStatus.MALFORMED.value)})"
        query = f"SELECT count(*), {torn} FROM {self._written(folder)}"
        ((rows, torn_rows),) = reader.connection.execute(query).fetchall()
        return rows, torn_rows

    def _find_repeated(self, reader: Reader) -> pa.Array:
        events = f"(SELECT * FROM {self._written('*')} WHERE {PART} = 1 AND message_id IS NOT NULL)"
        # Of hashes, as the ids of a large archive fill the memory.
        several = f"(SELECT hash(message_id) AS id FROM {events} GROUP BY ALL HAVING count(*) > 1)"
        query = f"SELECT {_ROW} FROM {events} SEMI JOIN {several} ON hash(message_id) = id"
        return repeated_events(as_rows(reader.connection.sql(query).to_arrow_table()))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the partitions, in ROW_SCHEMA, repetitions marked; one without rows is left out."""
        for cut in range(self._count):
            if (folder := self._folder / f"cut={cut}").is_dir():
                table = pq.ParquetDataset(folder, partitioning=None).read()
                # The rows of one event stand in any order by now; between two mappings the later one decides.
                yield mark_duplicates(as_rows(rows_in_order(table, PART)), self._repeated)
