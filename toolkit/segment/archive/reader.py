"""Read lines of files through DuckDB and turn them into rows: by SQL, by Python where that is not exact."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from toolkit.errors import FileFormatError, ReconciliationError
from toolkit.segment.destination import Destination
from toolkit.segment.payload_rows import ROW_SCHEMA, ROWS_AT_A_TIME, RowBuilder

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
