"""Cut an archive that is too large to be held into partitions, each with every row of the people in it."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.segment.payload_rows import (
    ROW_COLUMNS,
    mark_duplicates,
    repeated_events,
    row_in_event,
    rows_in_order,
)
from toolkit.statuses import EventStatus

from .json_columns import quoted
from .reader import FILE, Reader, as_rows
from .row_sql import NEEDS_PYTHON, PART

_PYTHON_FROM: Final = 1 << 48
"""Events that Python decides are numbered from here."""
_NUMBER: Final = "((random() * 4503599627370496)::BIGINT * 2048 + (random() * 2047)::BIGINT)"
"""A number of 63 bits for an event that SQL decides; counting them in order would halve the pace.

That one of ten million events shares the number of a repetition has a chance of about one to ten million."""
_TABLES_AT_ONCE: Final = 10
_ROWS_HELD: Final = 16_384
_ROWS_A_PARTITION: Final = 256
_ROW: Final = ", ".join(("number", "file", *ROW_COLUMNS))


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
