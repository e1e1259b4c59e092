"""Frames to rows of a database and back: a million of them without a million objects at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from toolkit.frames import ARROW, empty_table, to_arrow, to_frame, typed

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
    parts = []
    # Of the query, not of the connection: PostgreSQL writes nothing through a cursor that streams.
    result = connection.execute(query, execution_options={"stream_results": True, "yield_per": ROWS_AT_ONCE})
    names = [*result.keys()]
    for rows in result.partitions():
        cells = zip(*rows, strict=True)
        parts.append(pa.table({n: _column(n, c, columns) for n, c in zip(names, cells, strict=True)}))
    if not parts:
        return empty_table(columns)
    return to_frame(pa.concat_tables(parts), columns)


def read_objects(connection: sa.Connection, query: sa.Select[Any]) -> pd.DataFrame:
    """Read a query into a frame of objects: beside a null, pandas would make floats of whole numbers."""
    result = connection.execute(query)
    return pd.DataFrame(result.fetchall(), columns=[*result.keys()], dtype="object")


def to_dtypes(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Give a frame of objects the columns and dtypes it was written with."""
    times = {
        name: pd.to_datetime(frame[name].astype("Int64"), unit="us", utc=True)
        for name in TIMES
        if name in columns
    }
    return typed(frame.assign(**times), columns)


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; none is fine."""
    if rows:
        connection.execute(sa.insert(table), [*rows])


def _column(name: str, cells: Sequence[Any], columns: Mapping[str, str]) -> pa.Array:
    if name in TIMES:
        return pa.array(cells, type=pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.array(cells, type=ARROW[columns[name]])
