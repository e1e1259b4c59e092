"""Frames to rows of a database and back: a million of them without a million objects at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from toolkit.frames import empty_table, to_arrow, to_frame, to_table

ROWS_AT_ONCE = 20_000
TIMES = ("timestamp", "received_at", "email_at", "phone_at")
"""Columns that hold microseconds since 1970 UTC."""


def records(frame: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    """Turn a frame into rows for the database, some at a time: times to microseconds, nulls to None."""
    for start in range(0, len(frame), ROWS_AT_ONCE):
        part = to_arrow(frame.iloc[start : start + ROWS_AT_ONCE])
        cells = (part[name].cast(pa.int64()) if name in TIMES else part[name] for name in part.column_names)
        rows = zip(*(column.to_pylist() for column in cells), strict=True)
        yield [dict(zip(part.column_names, row, strict=True)) for row in rows]


def read_frame(connection: sa.Connection, query: sa.Select[Any], columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a query whose columns are *columns*, in that order, into a frame of these dtypes.

    A column that the frame has and the query has not is null.
    """
    # Of the query, not of the connection: PostgreSQL writes nothing through a cursor that streams.
    result = connection.execute(query, execution_options={"stream_results": True, "yield_per": ROWS_AT_ONCE})
    names = [*result.keys()]
    parts = [
        to_table(dict(zip(names, zip(*rows, strict=True), strict=True)), columns)
        for rows in result.partitions()
    ]
    if not parts:
        return empty_table(columns)
    return to_frame(pa.concat_tables(parts), columns)


def read_objects(connection: sa.Connection, query: sa.Select[Any]) -> pd.DataFrame:
    """Read a query into a frame of objects: beside a null, pandas would make floats of whole numbers."""
    result = connection.execute(query)
    return pd.DataFrame(result.fetchall(), columns=[*result.keys()], dtype="object")


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; none is fine."""
    if rows:
        connection.execute(sa.insert(table), [*rows])
