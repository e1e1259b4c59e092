"""The ledger's tables. Their history is in ``toolkit/ledger/migrations``; a test compares the two.

Times of events are microseconds since 1970 UTC.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()


def _name(length: int = 255) -> sa.String:
    return sa.String(length)


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("shop_id", _name(), nullable=False),
    sa.Column("shop_name", sa.Text, nullable=False),
    sa.Column("mode", _name(16), nullable=False),
    sa.Column("status", _name(32), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column(
        "facts", sa.Text, nullable=False, comment="JSON: parameters, planned calls, calls made, limits"
    ),
    sa.Column("started_at", sa.DateTime, nullable=False, index=True),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("seconds", sa.Float, nullable=False),
)

totals = sa.Table(
    "totals",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("kind", _name(16), primary_key=True, comment="event or change"),
    sa.Column("audience_key", sa.Text, primary_key=True),
    sa.Column("trait_key", sa.Text, primary_key=True),
    sa.Column("status", _name(32), primary_key=True),
    sa.Column("reason_code", _name(64), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)

memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("audience_key", sa.Text, primary_key=True),
    sa.Column("audience_id", sa.Text),
    sa.Column("member", sa.Boolean, nullable=False),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("received_at", sa.BigInteger),
    sa.Column("message_id", sa.Text),
    sa.Column("run_id", _name(64), nullable=False, comment="the run that brought this value"),
)

traits = sa.Table(
    "traits",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("trait_key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False, comment="JSON"),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("received_at", sa.BigInteger),
    sa.Column("message_id", sa.Text),
    sa.Column("run_id", _name(64), nullable=False),
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("email", sa.Text),
    sa.Column("email_at", sa.BigInteger),
    sa.Column("phone", sa.Text),
    sa.Column("phone_at", sa.BigInteger),
)

subscribers = sa.Table(
    "subscribers",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("subscriber_id", _name(), primary_key=True),
    sa.Column("phone_digits", sa.Text),
    sa.Column("email_folded", sa.Text),
    sa.Column("audiences", sa.Text, comment="JSON list; null when the property is not a list of texts"),
    sa.Column("has_property", sa.Boolean, nullable=False),
    sa.Column("property_count", sa.Integer, nullable=False),
    sa.Column("can_send", sa.Boolean),
    sa.Column("updated_at", sa.Text),
    sa.Column(
        "properties", sa.Text, comment="JSON object: the traits that were asked about, and their JSON text"
    ),
)

mirrors = sa.Table(
    "mirrors",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("newest", sa.Text, nullable=False, comment="updated_at up to which nothing is lacking"),
    sa.Column("is_complete", sa.Boolean, nullable=False, comment="else only who was asked for"),
    sa.Column("trait_keys", sa.Text, nullable=False, comment="JSON list: the properties that were read"),
    sa.Column("page_size", sa.Integer, nullable=False),
    sa.Column("is_dated", sa.Boolean, nullable=False, comment="a write was seen in updated_at"),
    sa.Column("read_at", sa.DateTime, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False, server_default="0", comment="readings so far"),
)

doubted = sa.Table(
    "doubted",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("contact", sa.Text, primary_key=True, comment="of a subscriber who was taken for gone"),
)

asked = sa.Table(
    "asked",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("contact", sa.Text, primary_key=True, comment="digits or email that was looked up"),
)

reached = sa.Table(
    "reached",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("subscriber_id", _name(), primary_key=True),
    sa.Column("left_in", _name(64), comment="the run since which nothing of the person's is left there"),
)

locks = sa.Table(
    "locks",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("holder", sa.Text, nullable=False, comment="who took the lock last"),
    sa.Column("since", sa.DateTime, nullable=False),
)

replaced = sa.Table(
    "replaced",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("audience_key", sa.Text, primary_key=True, comment="empty for a trait"),
    sa.Column("trait_key", sa.Text, primary_key=True, comment="empty for an audience"),
    sa.Column("word", sa.Text, nullable=False, comment="JSON: the row that got another value"),
)

held = sa.Table(
    "held",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("kind", _name(16), primary_key=True, comment="memberships, traits or people"),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True, comment="of the audience or trait; for contacts the person"),
    sa.Column("run_id", _name(64), nullable=False),
    sa.Column("cause", _name(16), nullable=False, comment="failure, limit or person"),
    sa.Column("word", sa.Text, nullable=False, comment="JSON: the row that is asked for"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("audience_key", sa.Text, primary_key=True, comment="empty for a trait"),
    sa.Column("trait_key", sa.Text, primary_key=True, comment="empty for an audience"),
    sa.Column("audience_id", sa.Text),
    sa.Column("member", sa.Boolean),
    sa.Column("trait_value", sa.Text),
    sa.Column("operation", _name(16)),
    sa.Column("status", _name(32), nullable=False),
    sa.Column("reason_code", _name(64), nullable=False),
    sa.Column("status_message", sa.Text),
    sa.Column("subscriber_id", _name()),
    sa.Column("match_method", _name(16)),
    sa.Column("can_send", sa.Boolean),
    sa.Column("email_masked", sa.Text),
    sa.Column("phone_masked", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("external_id", _name(64)),
)

transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("external_id", _name(64), primary_key=True),
    sa.Column("shop_id", _name(), nullable=False),
    sa.Column("run_id", _name(64), nullable=False),
    sa.Column("subscriber_id", _name(), nullable=False),
    sa.Column("audience_key", sa.Text, nullable=False),
    sa.Column("audience_id", sa.Text),
    sa.Column("entered", sa.Boolean, nullable=False),
    sa.Column(
        "state", _name(16), nullable=False, comment="planned, due, posting, sent, unknown, refused, obsolete"
    ),
    sa.Column("changed_at", sa.DateTime, nullable=False),
    sa.Column("planned_at", sa.DateTime, comment="their order; null: before there was this column"),
    sa.Index("ix_transitions_open", "shop_id", "state"),
    sa.Index("ix_transitions_subscriber", "subscriber_id"),
)

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("call_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("run_id", _name(64), nullable=False, index=True),
    sa.Column("route", _name(), nullable=False),
    sa.Column("subscriber_id", _name()),
    sa.Column("external_id", _name(64)),
    sa.Column("before", sa.Text, comment="JSON object: the written properties before it"),
    sa.Column("after", sa.Text),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("finished_at", sa.DateTime, comment="null: the process ended before the answer came"),
    sa.Column("outcome", sa.Text, comment="ok, or the error's class and sentence"),
    sa.Column("status_code", sa.Integer),
    sa.Column("tries", sa.Integer),
)
sa.Index(
    "ix_calls_open",
    calls.c.run_id,
    sqlite_where=calls.c.finished_at.is_(None),
    postgresql_where=calls.c.finished_at.is_(None),
)
