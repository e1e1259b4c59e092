"""What was sent: each call before and after it, and how far every custom event got."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from toolkit.runs import Held, Transition

from .database import Database, now, upsert
from .frames import read_objects
from .schema import calls, runs, subscribers, transitions

_CLOSED = ("sent", "unknown", "refused")
"""States of a custom event that is not posted, or not again."""


class Journal(Database):
    """The part of the ledger in which every call is noted."""

    def start_write(
        self,
        run_id: str,
        shop_id: str,
        subscriber_id: str,
        *,
        route: str,
        before: str,
        after: str,
        due: Iterable[Transition],
    ) -> int:
        """Record which properties are about to be written, and the custom events that will then be due.

        *before* and *after* are JSON objects.
        """
        about = {"shop_id": shop_id, "run_id": run_id, "changed_at": now(), "planned_at": now()}
        rows = [{**vars(t), **about, "state": "planned"} for t in due]

        def work(connection: sa.Connection) -> int:
            # One that was sent, or may have been, is not planned a second time.
            closed = sa.select(transitions.c.external_id).where(
                transitions.c.external_id.in_([row["external_id"] for row in rows]),
                transitions.c.state.in_(_CLOSED),
            )
            done = {*connection.scalars(closed)} if rows else set()
            upsert(connection, transitions, [row for row in rows if row["external_id"] not in done])
            return _start_call(connection, run_id, route, subscriber_id, before=before, after=after)

        return int(self._commit(work))

    def end_write(
        self,
        call_id: int,
        *,
        outcome: str,
        status_code: int | None,
        tries: int,
        due: Sequence[str],
        untold: Sequence[str] = (),
        held: Held | None = None,
    ) -> frozenset[str]:
        """Record a write's answer; after ``ok`` the transitions of these external ids are due.

        After a refusal they are forgotten: nothing changed, so there is nothing to tell; after ``ok`` those
        are that are *untold*, because they are true no more. *held* is what the
        subscriber holds now: the mirror shows it from the same moment on. Returns the ids that are due now;
        one that was sent by an earlier run, or may have been, is not.
        """
        mine = transitions.c.external_id.in_(due) & transitions.c.state.not_in(_CLOSED)

        def work(connection: sa.Connection) -> frozenset[str]:
            _end_call(connection, call_id, outcome, status_code, tries)
            if held is not None:
                _mirror(connection, held)
            if outcome != "ok":
                connection.execute(sa.delete(transitions).where(mine))
                return frozenset()
            untrue = transitions.c.external_id.in_(untold) & transitions.c.state.not_in(_CLOSED)
            connection.execute(sa.delete(transitions).where(untrue))
            found = frozenset(connection.scalars(sa.select(transitions.c.external_id).where(mine)))
            connection.execute(sa.update(transitions).where(mine).values(state="due", changed_at=now()))
            return found

        return frozenset(self._commit(work))

    def start_event(self, run_id: str, route: str, transition: Transition) -> int:
        """Record that a custom event is about to be posted."""

        def work(connection: sa.Connection) -> int:
            _mark(connection, transition.external_id, "posting")
            return _start_call(
                connection, run_id, route, transition.subscriber_id, external_id=transition.external_id
            )

        return int(self._commit(work))

    def end_event(
        self,
        call_id: int,
        transition: Transition,
        *,
        state: str,
        outcome: str,
        status_code: int | None,
        tries: int,
    ) -> None:
        """Record what became of a custom event: ``sent``, ``unknown``, ``refused``, or ``due`` again."""

        def work(connection: sa.Connection) -> None:
            _end_call(connection, call_id, outcome, status_code, tries)
            _mark(connection, transition.external_id, state)

        self._commit(work)

    def load_open_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that earlier runs left in the middle: planned, due or posting."""
        return self._transitions(shop_id, "planned", "due", "posting")

    def load_unknown_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that were not confirmed: their answer was lost, or they were refused."""
        return self._transitions(shop_id, "unknown", "refused")

    def _transitions(self, shop_id: str, *states: str) -> list[Transition]:
        columns = [transitions.c[name] for name in Transition.__dataclass_fields__]
        query = sa.select(*columns).where(transitions.c.shop_id == shop_id, transitions.c.state.in_(states))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(transitions.c.planned_at, transitions.c.external_id))
            return [Transition(**row) for row in rows.mappings()]

    def mark_transitions(self, external_ids: Sequence[str], state: str | None) -> None:
        """Set the state of these custom events; None forgets them."""
        mine = transitions.c.external_id.in_(external_ids)

        def work(connection: sa.Connection) -> None:
            if state is None:
                connection.execute(sa.delete(transitions).where(mine))
            else:
                connection.execute(sa.update(transitions).where(mine).values(state=state, changed_at=now()))

        self._commit(work)

    def close_calls(self, shop_id: str) -> int:
        """Note of every call whose answer was never recorded that it will not be; return how many."""
        ours = sa.select(runs.c.run_id).where(runs.c.shop_id == shop_id)
        left = calls.c.finished_at.is_(None) & calls.c.run_id.in_(ours)
        values = {"finished_at": now(), "outcome": "no answer recorded: the process ended", "tries": 1}

        def work(connection: sa.Connection) -> int:
            return connection.execute(sa.update(calls).where(left).values(**values)).rowcount

        return int(self._commit(work))

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes: one row a call, in the order in which they began."""
        query = sa.select(calls).where(calls.c.run_id == run_id).order_by(calls.c.call_id)
        with self._reading() as connection:
            return read_objects(connection, query).infer_objects()


def _mark(connection: sa.Connection, external_id: str, state: str) -> None:
    connection.execute(
        sa.update(transitions)
        .where(transitions.c.external_id == external_id)
        .values(state=state, changed_at=now())
    )


def _mirror(connection: sa.Connection, held: Held) -> None:
    values: dict[str, Any] = {"has_property": held.has_property, "property_count": held.property_count}
    if held.audiences is not None:
        values["audiences"] = held.audiences
    if held.properties is not None:
        values["properties"] = held.properties
    mine = (subscribers.c.shop_id == held.shop_id) & (subscribers.c.subscriber_id == held.subscriber_id)
    connection.execute(sa.update(subscribers).where(mine).values(**values))


def _start_call(
    connection: sa.Connection, run_id: str, route: str, subscriber_id: str, **rest: str | None
) -> int:
    row = {"run_id": run_id, "route": route, "subscriber_id": subscriber_id, "started_at": now(), **rest}
    key = connection.execute(sa.insert(calls).values(**row)).inserted_primary_key
    return int(key[0]) if key else 0


def _end_call(
    connection: sa.Connection, call_id: int, outcome: str, status_code: int | None, tries: int
) -> None:
    values = {"finished_at": now(), "outcome": outcome, "status_code": status_code, "tries": tries}
    connection.execute(sa.update(calls).where(calls.c.call_id == call_id).values(**values))
