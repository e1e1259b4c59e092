"""The ledger's tables.

Times of events are microseconds since 1970 UTC. A change of a table needs a migration in
``toolkit/ledger/migrations``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

REVISION = "0007"
"""The newest migration."""
metadata = sa.MetaData()
_NAMES: Mapping[Any, str] = {
    sa.String(255): "shop_id subscriber_id route",
    sa.String(64): "run_id left_in reason_code external_id",
    sa.String(32): "status",
    sa.String(16): "mode kind cause state operation match_method",
    sa.Boolean(): "member entered can_send has_property is_complete is_dated",
    sa.BigInteger(): "timestamp received_at email_at phone_at received count",
    sa.BigInteger().with_variant(sa.Integer, "sqlite"): "call_id",
    sa.Integer(): "property_count page_size status_code tries",
    sa.DateTime(): "started_at finished_at changed_at planned_at read_at since",
    sa.Float(): "seconds",
}
"""Type → the columns that have it in every table; all others are text."""
_TYPES = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def _table(name: str, keys: str, columns: str = "", *more: sa.Column[Any] | sa.Index) -> sa.Table:
    """Return a table of these keys and columns; one with a question mark may be null."""
    made = [sa.Column(each, _TYPES.get(each, sa.Text), primary_key=True) for each in keys.split()]
    for each in columns.split():
        bare = each.rstrip("?")
        made.append(sa.Column(bare, _TYPES.get(bare, sa.Text), nullable=bare != each))
    return sa.Table(name, metadata, *made, *more)


# facts is JSON: parameters, planned calls, calls made, limits.
runs = _table(
    "runs",
    "run_id",
    "shop_id shop_name mode status error received facts started_at finished_at? seconds",
    sa.Index("ix_runs_started_at", "started_at"),
)
# kind is event or change. A row is about an audience or a trait, and the key of the other is empty, here and
# below: a primary key holds no null.
totals = _table("totals", "run_id kind audience_key trait_key status reason_code", "count")
changes = _table(
    "changes",
    "run_id person audience_key trait_key",
    "audience_id? member? trait_value? operation? status reason_code status_message? subscriber_id? "
    "match_method? can_send? email_masked? phone_masked? message_id? timestamp? external_id?",
)
# Times and message are those of the deciding event, run_id is the run that brought the value, which is JSON.
memberships = _table(
    "memberships",
    "shop_id person audience_key",
    "audience_id? member timestamp? received_at? message_id? run_id",
)
traits = _table("traits", "shop_id person trait_key", "value timestamp? received_at? message_id? run_id")
people = _table("people", "shop_id person", "email? email_at? phone? phone_at?")
# word is JSON: the row that got another value, or was not carried out.
replaced = _table("replaced", "run_id shop_id person audience_key trait_key", "word")
# kind is memberships, traits or people, key that of the audience or trait, else the person; cause is failure,
# limit or person.
held = _table("held", "shop_id kind person key", "run_id cause word")
# left_in is the run since which nothing of the person's is left there.
reached = _table("reached", "shop_id person subscriber_id", "left_in?")
# audiences is a JSON list, null when the property is not a list of texts; properties is a JSON object: the
# traits that were read, and their JSON text.
subscribers = _table(
    "subscribers",
    "shop_id subscriber_id",
    "phone_digits? email_folded? audiences? has_property property_count can_send? updated_at? properties?",
)
# newest is the updated_at up to which nothing is lacking, trait_keys a JSON list of the properties that were
# read; what is not complete has only the contacts that were looked up; dated: a write was seen in updated_at;
# turn is the readings so far.
mirrors = _table(
    "mirrors",
    "shop_id",
    "newest is_complete trait_keys page_size is_dated read_at",
    sa.Column("turn", sa.Integer, nullable=False, server_default="0"),
)
# Digits and emails: those that were looked up, and those of subscribers who were taken for gone.
asked = _table("asked", "shop_id contact")
doubted = _table("doubted", "shop_id contact")
# Which process took a shop last.
locks = _table("locks", "shop_id", "holder since")
# state is planned, due, posting, sent, unknown, refused or obsolete; planned_at is their order.
transitions = _table(
    "transitions",
    "external_id",
    "shop_id run_id subscriber_id audience_key audience_id? entered state changed_at planned_at?",
    sa.Index("ix_transitions_open", "shop_id", "state"),
    sa.Index("ix_transitions_subscriber", "subscriber_id"),
)
# before and after are JSON objects: the properties that are written; outcome is ok, or the error's class and
# sentence. Without finished_at the process ended before the answer came.
calls = _table(
    "calls",
    "call_id",
    "run_id route subscriber_id? external_id? before? after? started_at finished_at? outcome? status_code? "
    "tries?",
    sa.Index("ix_calls_run_id", "run_id"),
)
_is_open = calls.c.finished_at.is_(None)
sa.Index("ix_calls_open", calls.c.run_id, sqlite_where=_is_open, postgresql_where=_is_open)
