"""Cut an archive that is too large to be held into parts, each with every row of the people in it."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.errors import ReconciliationError
from toolkit.segment.payload_rows import ROW_COLUMNS
from toolkit.statuses import EventStatus

from .leaves import quoted
from .reading import FILE, Group, Reader, as_rows
from .row_sql import ODD, PART
from .tables import ROW_SCHEMA, Repeated, in_order, mark_duplicates, ordinals, repeated_events

_ODD_FROM: Final = 1 << 48
"""Events that Python decides are numbered from here, those of each group in a range of their own."""
_NUMBER: Final = "((random() * 4503599627370496)::BIGINT * 2048 + (random() * 2047)::BIGINT)"
"""A number of 63 bits for an event that SQL decides; counting them in order would halve the pace.

That one of ten million events shares the number of a repetition has a chance of about one to ten million."""
_ROWS_AT_ONCE: Final = 200_000
_ROWS_HELD: Final = 16_384
_ROWS_A_PART: Final = 256
_ROW: Final = ", ".join(("number", "file", *ROW_COLUMNS))


class Parts:
    """Rows of an archive on disk, cut by person."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        written = quoted(glob.escape(str(folder)) + "/*/*.parquet")
        self._written = f"read_parquet({written}, hive_partitioning = false)"
        self._repeated = np.empty(0, np.int64)
        self.rows = 0
        """Rows in all parts."""
        self.torn = 0
        """Those of lines that are no events."""

    def write(self, reader: Reader) -> None:
        """Write every row that *reader* finds, and learn which events are repetitions."""
        shutil.rmtree(self._folder, ignore_errors=True)  # it may be the second try
        self._folder.mkdir(parents=True)
        connection = reader.connection
        # So many rows a thread holds before it writes them. More, or row groups of the usual size, of which
        # every part has one in the making, fill the memory when there are many parts.
        held = max(_ROWS_HELD, _ROWS_A_PART * self._count)
        connection.execute(f"SET partitioned_write_flush_threshold = {held}")
        for position, group in enumerate(reader.groups):
            odd = self._write_settled(reader, group)
            if odd != 0:
                self._write_odd(reader, group, (position + 1) * _ODD_FROM, odd)
        if not any(self._folder.iterdir()):
            return  # every line is blank
        rows = self._all_rows()
        torn = f"count(*) FILTER (status = '{EventStatus.MALFORMED}')"
        (self.rows, self.torn) = connection.execute(f"SELECT count(*), {torn} FROM {rows}").fetchone() or (
            0,
            0,
        )
        self._repeated = _repeated(connection, rows)

    def _all_rows(self) -> str:
        return f"(SELECT * FROM {self._written} WHERE NOT {ODD})"

    def _write_settled(self, reader: Reader, group: Group) -> int | None:
        """Write the rows that SQL makes; return the number of events it does not, None for all."""
        query = reader.row_query(group, {"number": _NUMBER})
        if query is None:
            return None
        count_odd = f"SELECT count(*) FROM {self._written} WHERE {ODD}"
        before = self._count_odd(reader.connection, count_odd)
        positions = [number for number, _path in group.files]
        self._copy(reader.connection, f"SELECT *, {positions}[({FILE} + 1)::BIGINT] AS file FROM ({query})")
        return self._count_odd(reader.connection, count_odd) - before

    def _count_odd(self, connection: duckdb.DuckDBPyConnection, query: str) -> int:
        if not any(self._folder.iterdir()):
            return 0
        return int((connection.execute(query).fetchone() or (0,))[0])

    def _write_odd(self, reader: Reader, group: Group, start: int, expected: int | None) -> None:
        """Write the rows that the Python rules make."""
        events = 0
        for table in _batches(reader.odd_tables(group, start)):
            part = ordinals(table)
            decided = pa.array(np.zeros(len(table), bool))
            written = table.append_column(PART, pa.array(part)).append_column(ODD, decided)
            reader.connection.register("decided", written)
            self._copy(reader.connection, "SELECT * FROM decided")
            events += int((part == 1).sum())
        if expected is not None and events != expected:
            raise ReconciliationError("Two readings of the archive differ; was it written to?")

    def _copy(self, connection: duckdb.DuckDBPyConnection, query: str) -> None:
        part = f"hash(coalesce(person, message_id, '')) % {self._count}"
        rows = f"SELECT {_ROW}, {PART}, {ODD}, {part} AS cut FROM ({query})"
        connection.execute(
            f"COPY ({rows}) TO {quoted(str(self._folder))} "
            "(FORMAT parquet, PARTITION_BY (cut), FILENAME_PATTERN '{uuid}', APPEND, COMPRESSION lz4, "
            "ROW_GROUP_SIZE 8192)"
        )

    def tables(self) -> Iterator[pa.Table]:
        """Yield the parts, in ROW_SCHEMA, repetitions marked; a part without rows is left out."""
        for cut in range(self._count):
            folder = self._folder / f"cut={cut}"
            if not folder.is_dir():
                continue
            table = pq.ParquetDataset(folder, partitioning=None, filters=[(ODD, "=", False)]).read()
            if len(table):
                # The rows of one event stand in any order by now; between two mappings the later one decides.
                table = in_order(table, PART)
                yield mark_duplicates(as_rows(table[name] for name in ROW_SCHEMA.names), self._repeated)


def _batches(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of at least _ROWS_AT_ONCE rows, and the rest."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= _ROWS_AT_ONCE:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _repeated(connection: duckdb.DuckDBPyConnection, rows: str) -> Repeated:
    """Return the numbers of the events that repeat another one's message."""
    events = f"(SELECT * FROM {rows} WHERE {PART} = 1 AND message_id IS NOT NULL)"
    # Of hashes, as the ids of a large archive fill the memory.
    connection.execute(
        f"CREATE TEMP TABLE several AS SELECT hash(message_id) AS id FROM {events} "
        "GROUP BY ALL HAVING count(*) > 1"
    )
    found = connection.sql(f"SELECT {_ROW} FROM {events} SEMI JOIN several ON hash(message_id) = id")
    table = found.to_arrow_table()
    return repeated_events(as_rows(table[name] for name in ROW_SCHEMA.names))
