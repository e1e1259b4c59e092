"""The ledger's tables, and their rows as frames: a million rows without a million objects at once.

Times of events are microseconds since 1970 UTC. A change of a table needs a migration in
``toolkit/ledger/migrations``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from toolkit.frames import empty_table, to_arrow, to_frame, to_table

REVISION = "0007"
"""The newest migration."""
metadata = sa.MetaData()
_ID = sa.String(255)
_RUN = sa.String(64)
_CODE = sa.String(64)
_STATUS = sa.String(32)
_CHOICE = sa.String(16)


def _key(name: str, kind: sa.types.TypeEngine[Any] | type = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True)


def _required(name: str, kind: sa.types.TypeEngine[Any] | type = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _decided() -> tuple[sa.Column[Any], ...]:
    """Return the columns that name the deciding event, and the run that brought the value."""
    return (
        sa.Column("timestamp", sa.BigInteger),
        sa.Column("received_at", sa.BigInteger),
        sa.Column("message_id", sa.Text),
        _required("run_id", _RUN),
    )


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

memberships = sa.Table(
    "memberships",
    metadata,
    _key("shop_id", _ID),
    _key("person"),
    _key("audience_key"),
    sa.Column("audience_id", sa.Text),
    _required("member", sa.Boolean),
    *_decided(),
)

traits = sa.Table(
    "traits",
    metadata,
    _key("shop_id", _ID),
    _key("person"),
    _key("trait_key"),
    _required("value"),  # JSON
    *_decided(),
)

people = sa.Table(
    "people",
    metadata,
    _key("shop_id", _ID),
    _key("person"),
    sa.Column("email", sa.Text),
    sa.Column("email_at", sa.BigInteger),
    sa.Column("phone", sa.Text),
    sa.Column("phone_at", sa.BigInteger),
)

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
_TIMES = ("timestamp", "received_at", "email_at", "phone_at")
"""Columns that hold microseconds since 1970 UTC."""


def records(frame: pd.DataFrame, **constants: Any) -> Iterator[list[dict[str, Any]]]:
    """Turn a frame into rows, some at a time: times to microseconds, nulls to None; each has *constants*."""
    for start in range(0, len(frame), ROWS_AT_ONCE):
        part = to_arrow(frame.iloc[start : start + ROWS_AT_ONCE])
        cells = (part[name].cast(pa.int64()) if name in _TIMES else part[name] for name in part.column_names)
        rows = zip(*(column.to_pylist() for column in cells), strict=True)
        yield [{**dict(zip(part.column_names, row, strict=True)), **constants} for row in rows]


def read_frame(
    connection: sa.Connection, query: sa.Select[Any], columns: Mapping[str, str], **given: Any
) -> pd.DataFrame:
    """Read a query whose columns are among *columns* into a frame of these dtypes; the others are null."""
    # Of the query, not of the connection: PostgreSQL writes nothing through a cursor that streams.
    result = connection.execute(
        query, given, execution_options={"stream_results": True, "yield_per": ROWS_AT_ONCE}
    )
    names = [*result.keys()]
    parts = [
        to_table(dict(zip(names, zip(*rows, strict=True), strict=True)), columns)
        for rows in result.partitions()
    ]
    return to_frame(pa.concat_tables(parts), columns) if parts else empty_table(columns)


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, over those that have their key."""
    if rows:
        connection.execute(_upsert_into(table, connection.dialect.name), [*rows])


@cache
def _upsert_into(table: sa.Table, dialect: str) -> sa.Insert:
    keys = [column.name for column in table.primary_key]
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    if not rest:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
