"""The ledger's tables, and their rows as frames: a million rows without a million objects at once.

Times of events are microseconds since 1970 UTC. A change of a table needs a migration in
``toolkit/ledger/migrations``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS
from toolkit.frames import empty_table, to_arrow, to_frame, to_table

REVISION = "0007"
"""The newest migration."""
metadata = sa.MetaData()
_ID = sa.String(255)
_RUN = sa.String(64)
_CODE = sa.String(64)
_STATUS = sa.String(32)
_CHOICE = sa.String(16)
_TYPES = {"str": sa.Text, "bool": sa.Boolean, "datetime64[us, UTC]": sa.BigInteger}
"""A frame's dtype → the type of the column that keeps it."""


def _key(name: str, kind: sa.types.TypeEngine[Any] | type = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True)


def _required(name: str, kind: sa.types.TypeEngine[Any] | type = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _remembered(
    name: str, columns: Mapping[str, str], keys: Iterable[str], *more: sa.Column[Any]
) -> sa.Table:
    """Return the table that keeps a frame's rows for each shop; what is asked for is never null."""
    required = {*keys, "member", "value"}
    kept: Iterator[sa.Column[Any]] = (
        sa.Column(each, _TYPES[dtype], primary_key=each in keys, nullable=each not in required)
        for each, dtype in columns.items()
    )
    return sa.Table(name, metadata, _key("shop_id", _ID), *kept, *more)


runs = sa.Table(
    "runs",
    metadata,
    _key("run_id", _RUN),
    _required("shop_id", _ID),
    _required("shop_name"),
    _required("mode", _CHOICE),
    _required("status", _STATUS),
    _required("error"),
    _required("received", sa.BigInteger),
    _required("facts"),  # JSON: parameters, planned calls, calls made, limits
    sa.Column("started_at", sa.DateTime, nullable=False, index=True),
    sa.Column("finished_at", sa.DateTime),
    _required("seconds", sa.Float),
)

totals = sa.Table(
    "totals",
    metadata,
    _key("run_id", _RUN),
    _key("kind", _CHOICE),  # event or change
    _key("audience_key"),
    _key("trait_key"),
    _key("status", _STATUS),
    _key("reason_code", _CODE),
    _required("count", sa.BigInteger),
)

changes = sa.Table(
    "changes",
    metadata,
    _key("run_id", _RUN),
    _key("person"),
    _key("audience_key"),  # empty for a trait: a primary key holds no null
    _key("trait_key"),  # empty for an audience
    sa.Column("audience_id", sa.Text),
    sa.Column("member", sa.Boolean),
    sa.Column("trait_value", sa.Text),
    sa.Column("operation", _CHOICE),
    _required("status", _STATUS),
    _required("reason_code", _CODE),
    sa.Column("status_message", sa.Text),
    sa.Column("subscriber_id", _ID),
    sa.Column("match_method", _CHOICE),
    sa.Column("can_send", sa.Boolean),
    sa.Column("email_masked", sa.Text),
    sa.Column("phone_masked", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("external_id", _CODE),
)

# The times and the message of a value are those of the deciding event, the run is the one that brought it.
memberships = _remembered(
    "memberships", MEMBERSHIP_COLUMNS, ("person", "audience_key"), _required("run_id", _RUN)
)
traits = _remembered("traits", TRAIT_COLUMNS, ("person", "trait_key"), _required("run_id", _RUN))
people = _remembered("people", PEOPLE_COLUMNS, ("person",))

replaced = sa.Table(
    "replaced",
    metadata,
    _key("run_id", _RUN),
    _key("shop_id", _ID),
    _key("person"),
    _key("audience_key"),  # empty for a trait
    _key("trait_key"),  # empty for an audience
    _required("word"),  # JSON: the row that got another value
)

held = sa.Table(
    "held",
    metadata,
    _key("shop_id", _ID),
    _key("kind", _CHOICE),  # memberships, traits or people
    _key("person"),
    _key("key"),  # of the audience or trait; for contacts the person
    _required("run_id", _RUN),
    _required("cause", _CHOICE),  # failure, limit or person
    _required("word"),  # JSON: the row that was not carried out
)

reached = sa.Table(
    "reached",
    metadata,
    _key("shop_id", _ID),
    _key("person"),
    _key("subscriber_id", _ID),
    sa.Column("left_in", _RUN),  # the run since which nothing of the person's is left there
)

subscribers = sa.Table(
    "subscribers",
    metadata,
    _key("shop_id", _ID),
    _key("subscriber_id", _ID),
    sa.Column("phone_digits", sa.Text),
    sa.Column("email_folded", sa.Text),
    sa.Column("audiences", sa.Text),  # JSON list; null when the property is not a list of texts
    _required("has_property", sa.Boolean),
    _required("property_count", sa.Integer),
    sa.Column("can_send", sa.Boolean),
    sa.Column("updated_at", sa.Text),
    sa.Column("properties", sa.Text),  # JSON object: the traits that were read, and their JSON text
)

mirrors = sa.Table(
    "mirrors",
    metadata,
    _key("shop_id", _ID),
    _required("newest"),  # updated_at up to which nothing is lacking
    _required("is_complete", sa.Boolean),  # else it has only the contacts that were looked up
    _required("trait_keys"),  # JSON list: the properties that were read
    _required("page_size", sa.Integer),
    _required("is_dated", sa.Boolean),  # a write was seen in updated_at
    _required("read_at", sa.DateTime),
    sa.Column("turn", sa.Integer, nullable=False, server_default="0"),  # readings so far
)

asked = sa.Table("asked", metadata, _key("shop_id", _ID), _key("contact"))
"""Digits and emails that were looked up."""

doubted = sa.Table("doubted", metadata, _key("shop_id", _ID), _key("contact"))
"""Digits and emails of subscribers who were taken for gone."""

locks = sa.Table(
    "locks", metadata, _key("shop_id", _ID), _required("holder"), _required("since", sa.DateTime)
)
"""Which process took a shop last."""

transitions = sa.Table(
    "transitions",
    metadata,
    _key("external_id", _CODE),
    _required("shop_id", _ID),
    _required("run_id", _RUN),
    _required("subscriber_id", _ID),
    _required("audience_key"),
    sa.Column("audience_id", sa.Text),
    _required("entered", sa.Boolean),
    _required("state", _CHOICE),  # planned, due, posting, sent, unknown, refused, obsolete
    _required("changed_at", sa.DateTime),
    sa.Column("planned_at", sa.DateTime),  # their order
    sa.Index("ix_transitions_open", "shop_id", "state"),
    sa.Index("ix_transitions_subscriber", "subscriber_id"),
)

calls = sa.Table(
    "calls",
    metadata,
    _key("call_id", sa.BigInteger().with_variant(sa.Integer, "sqlite")),
    sa.Column("run_id", _RUN, nullable=False, index=True),
    _required("route", _ID),
    sa.Column("subscriber_id", _ID),
    sa.Column("external_id", _CODE),
    sa.Column("before", sa.Text),  # JSON object: the written properties before it
    sa.Column("after", sa.Text),
    _required("started_at", sa.DateTime),
    sa.Column("finished_at", sa.DateTime),  # null: the process ended before the answer came
    sa.Column("outcome", sa.Text),  # ok, or the error's class and sentence
    sa.Column("status_code", sa.Integer),
    sa.Column("tries", sa.Integer),
)
_is_open = calls.c.finished_at.is_(None)
sa.Index("ix_calls_open", calls.c.run_id, sqlite_where=_is_open, postgresql_where=_is_open)

# --- rows -------------------------------------------------------------------------------------------------

ROWS_AT_ONCE = 20_000
Item = TypeVar("Item")


def chunks(values: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut values into parts that fit one statement."""
    left = iter(values)
    while part := [*islice(left, ROWS_AT_ONCE)]:
        yield part


def records(frame: pd.DataFrame, **constants: Any) -> Iterator[dict[str, Any]]:
    """Yield a frame's rows, each with *constants*: times as microseconds since 1970, nulls as None."""
    for start in range(0, len(frame), ROWS_AT_ONCE):
        part = to_arrow(frame.iloc[start : start + ROWS_AT_ONCE])
        cells = (c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in part.columns)
        for row in zip(*(column.to_pylist() for column in cells), strict=True):
            yield {**dict(zip(part.column_names, row, strict=True)), **constants}


def read_frame(connection: sa.Connection, query: sa.Select[Any], columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a query whose columns are among *columns* into a frame of these dtypes; the others are null."""
    # Of the query, not of the connection: PostgreSQL writes nothing through a cursor that streams.
    streamed = query.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE)
    result = connection.execute(streamed)
    names = [*result.keys()]
    parts = [
        to_table(dict(zip(names, zip(*rows, strict=True), strict=True)), columns)
        for rows in result.partitions()
    ]
    return to_frame(pa.concat_tables(parts), columns) if parts else empty_table(columns)


def select_rows(table: sa.Table, columns: Iterable[str], shop_id: str) -> sa.Select[Any]:
    """Return a query of these columns of a shop's rows, in the order of their keys."""
    query = sa.select(*(table.c[name] for name in columns)).where(table.c.shop_id == shop_id)
    return query.order_by(*table.primary_key)


def upsert(connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, over those that have their key."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    rest = {c.name: c for c in statement.excluded if c.name not in table.primary_key}
    if rest:
        statement = statement.on_conflict_do_update(index_elements=table.primary_key, set_=rest)
    else:
        statement = statement.on_conflict_do_nothing()
    for part in chunks(rows):
        connection.execute(statement, part)


def delete(connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Delete the rows that have the keys of these."""
    statement = sa.delete(table).where(*(c == sa.bindparam(c.name) for c in table.primary_key))
    for part in chunks(rows):
        connection.execute(statement, part)
