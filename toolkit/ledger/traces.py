"""What runs left of some people: how they ended, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Collection

import pandas as pd
import sqlalchemy as sa

from toolkit.sync.runs import kind_of

from .database import Database
from .frames import read_objects
from .schema import calls, changes, runs, transitions


class Traces(Database):
    """The part of the ledger that is read for one person."""

    def load_outcomes_of(
        self, shop_id: str, persons: Collection[str], subscriber_ids: Collection[str]
    ) -> pd.DataFrame:
        """Return how the runs of a shop ended for these people, the earliest first.

        Columns: run_id, started_at, mode, kind, person, audience_key, trait_key (one of the two is empty),
        operation, status, reason_code, status_message, subscriber_id. Runs in which nothing was due left no
        row.
        """
        names = ("person", "audience_key", "trait_key", "operation", "status", "reason_code")
        columns = [changes.c[name] for name in (*names, "status_message", "subscriber_id")]
        theirs = changes.c.person.in_([*persons]) | changes.c.subscriber_id.in_([*subscriber_ids])
        query = (
            sa.select(runs.c.run_id, runs.c.started_at, runs.c.mode, runs.c.facts, *columns)
            .join(runs, runs.c.run_id == changes.c.run_id)
            .where(runs.c.shop_id == shop_id, theirs)
            .order_by(runs.c.started_at, runs.c.run_id, changes.c.person, changes.c.audience_key)
        )
        with self._reading() as connection:
            found = read_objects(connection, query)
        kinds = {text: kind_of(json.loads(text)) for text in found["facts"].unique()}
        return found.assign(kind=found.pop("facts").map(kinds))

    def load_calls_of(self, shop_id: str, subscriber_ids: Collection[str]) -> pd.DataFrame:
        """Return what was sent about these subscribers of a shop, in the order in which it began.

        Columns: run_id, subscriber_id, route, started_at, before, after (JSON objects, null for a custom
        event), outcome, status_code, audience_key and entered (null unless it is a custom event).
        """
        names = ("run_id", "subscriber_id", "route", "started_at", "before", "after", "outcome")
        query = (
            sa.select(
                *(calls.c[name] for name in (*names, "status_code")),
                transitions.c.audience_key,
                transitions.c.entered,
            )
            .join(runs, runs.c.run_id == calls.c.run_id)
            .outerjoin(transitions, transitions.c.external_id == calls.c.external_id)
            .where(runs.c.shop_id == shop_id, calls.c.subscriber_id.in_([*subscriber_ids]))
            .order_by(calls.c.call_id)
        )
        with self._reading() as connection:
            return read_objects(connection, query)
