"""What Postscript holds, as far as it was read, and what was sent there: each call before and after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import pandas as pd
import sqlalchemy as sa

from toolkit.postscript.cache import FetchResult, SubscriberCache
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.sync.runs import Held, Transition

from .database import Database, now
from .schema import (
    ROWS_AT_ONCE,
    asked,
    calls,
    doubted,
    mirrors,
    read_frame,
    records,
    runs,
    subscribers,
    transitions,
    upsert,
)

_OPEN = ("planned", "due")
"""States of a custom event that may still be posted."""
_CLOSED = ("sent", "unknown", "refused")
"""States of a custom event that is not planned again; one that is ``obsolete`` never left, and may be."""
_MAY_HAVE_LEFT = ("sent", "unknown", "posting")
# Made once: to build a statement takes as long as to carry it out.
_ITS_CALL = sa.update(calls).where(calls.c.call_id == sa.bindparam("its"))
_ITS_EVENT = sa.update(transitions).where(transitions.c.external_id == sa.bindparam("its"))


class CacheStore(Database):
    """The part of the ledger that keeps what Postscript held when it was last read."""

    def load_cache(self, shop_id: str) -> SubscriberCache:
        """Return the cached subscribers of a shop; an empty cache when it was never read."""
        columns = [subscribers.c[name] for name in SUBSCRIBER_COLUMNS]
        rows = sa.select(*columns).where(subscribers.c.shop_id == shop_id)
        with self._reading() as connection:
            about = connection.execute(sa.select(mirrors).where(mirrors.c.shop_id == shop_id)).first()
            if about is None:
                return SubscriberCache.empty()
            return SubscriberCache(
                subscribers=read_frame(
                    connection, rows.order_by(subscribers.c.subscriber_id), SUBSCRIBER_COLUMNS
                ),
                newest=about.newest,
                is_complete=about.is_complete,
                asked=_contacts(connection, asked, shop_id),
                trait_keys=tuple(json.loads(about.trait_keys)),
                is_dated=about.is_dated,
                page_size=about.page_size,
                turn=about.turn,
                doubted=_contacts(connection, doubted, shop_id),
                read_at=about.read_at,
            )

    def save_cache(self, shop_id: str, fetched: FetchResult) -> None:
        """Write what was read, all of it or nothing."""
        cache = fetched.cache
        mine = subscribers.c.shop_id == shop_id
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":
                # One at a time, as SQLite has it: two that write the same rows would wait for each other.
                connection.exec_driver_sql("LOCK TABLE subscribers IN SHARE ROW EXCLUSIVE MODE")
            if fetched.replaces:
                connection.execute(sa.delete(subscribers).where(mine))
                connection.execute(sa.delete(asked).where(asked.c.shop_id == shop_id))
            for ids in _chunks(fetched.gone):
                connection.execute(sa.delete(subscribers).where(mine, subscribers.c.subscriber_id.in_(ids)))
            for rows in records(fetched.read, shop_id=shop_id):
                upsert(connection, subscribers, rows)
            for contacts in _chunks(sorted(cache.asked - _contacts(connection, asked, shop_id))):
                upsert(connection, asked, [{"shop_id": shop_id, "contact": text} for text in contacts])
            for contacts in _chunks([*_contacts(connection, doubted, shop_id) - cache.doubted]):
                settled = (doubted.c.shop_id == shop_id) & doubted.c.contact.in_(contacts)
                connection.execute(sa.delete(doubted).where(settled))
            is_dated = connection.scalar(sa.select(mirrors.c.is_dated).where(mirrors.c.shop_id == shop_id))
            about = {
                "shop_id": shop_id,
                "newest": cache.newest,
                "is_complete": cache.is_complete,
                "trait_keys": json.dumps(cache.trait_keys),
                "page_size": cache.page_size,
                "turn": cache.turn,
                "read_at": now(),
                "is_dated": bool(is_dated),
            }
            upsert(connection, mirrors, [about])

    def forget_subscriber(self, shop_id: str, subscriber_id: str) -> None:
        """Take a subscriber who is gone out of the cache; the contacts are looked up again next time."""
        mine = (subscribers.c.shop_id == shop_id) & (subscribers.c.subscriber_id == subscriber_id)
        known = sa.select(subscribers.c.phone_digits, subscribers.c.email_folded).where(mine)

        def forget(connection: sa.Connection) -> None:
            contacts = {contact for row in connection.execute(known) for contact in row if contact}
            rows = [{"shop_id": shop_id, "contact": contact} for contact in sorted(contacts)]
            upsert(connection, doubted, rows)
            connection.execute(sa.delete(subscribers).where(mine))

        self._commit(forget)

    def judge_mirror(self, shop_id: str, *, is_dated: bool) -> None:
        """Note whether a write showed in ``updated_at``; only then is the cache renewed by it."""
        values = {"is_dated": is_dated, **({} if is_dated else {"newest": ""})}
        judged = sa.update(mirrors).where(mirrors.c.shop_id == shop_id).values(**values)
        self._commit(lambda connection: connection.execute(judged))


def _contacts(connection: sa.Connection, table: sa.Table, shop_id: str) -> frozenset[str]:
    return frozenset(connection.scalars(sa.select(table.c.contact).where(table.c.shop_id == shop_id)))


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut values into parts that fit one statement."""
    for start in range(0, len(values), ROWS_AT_ONCE):
        yield values[start : start + ROWS_AT_ONCE]


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
            # One that was sent, may have been, or is being sent, is not planned a second time.
            closed = sa.select(transitions.c.external_id).where(
                transitions.c.external_id.in_([row["external_id"] for row in rows]),
                transitions.c.state.in_((*_CLOSED, "posting")),
            )
            done = {*connection.scalars(closed.with_for_update())} if rows else set()
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
        held: Held | None = None,
    ) -> frozenset[str]:
        """Record a write's answer; after ``ok`` the transitions of these external ids are due.

        After anything else they stay planned, and a later run reads whether the write arrived. *held* is what
        the subscriber holds now: the cache shows it from the same moment on. Returns the ids that are due
        now; one that was sent by an earlier run, or may have been, is not.
        """
        mine = transitions.c.external_id.in_(due) & transitions.c.state.in_(_OPEN)

        def work(connection: sa.Connection) -> frozenset[str]:
            _end_call(connection, call_id, outcome, status_code, tries)
            if held is not None:
                _update_cache(connection, held)
            if outcome != "ok":
                return frozenset()
            found = frozenset(connection.scalars(sa.select(transitions.c.external_id).where(mine)))
            connection.execute(sa.update(transitions).where(mine).values(state="due", changed_at=now()))
            return found

        return frozenset(self._commit(work))

    def start_event(self, run_id: str, route: str, transition: Transition) -> int | None:
        """Claim a custom event that is about to be posted; None when it must not be.

        Either another run has claimed it, or the last one of the same subscriber and audience went the same
        way: then it is ``obsolete``.
        """
        mine = (transitions.c.external_id == transition.external_id) & transitions.c.state.in_(_OPEN)

        def work(connection: sa.Connection) -> int | None:
            state = "obsolete" if _is_repeat(connection, transition) else "posting"
            claim = sa.update(transitions).where(mine).values(state=state, changed_at=now())
            if not connection.execute(claim).rowcount or state == "obsolete":
                return None
            its = transition.external_id
            return _start_call(connection, run_id, route, transition.subscriber_id, external_id=its)

        found: int | None = self._commit(work)
        return found

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
        """Record how a custom event ended: ``sent``, ``unknown``, ``refused``, or ``due`` again."""

        def work(connection: sa.Connection) -> None:
            _end_call(connection, call_id, outcome, status_code, tries)
            values = {"its": transition.external_id, "state": state, "changed_at": now()}
            connection.execute(_ITS_EVENT, values)

        self._commit(work)

    def load_open_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that earlier runs left in the middle: planned, due or posting."""
        return self._transitions(shop_id, "planned", "due", "posting")

    def load_unknown_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that were not confirmed: their answer was lost, or they were refused."""
        return self._transitions(shop_id, "unknown", "refused")

    def load_obsolete_transitions(self, shop_id: str, since: datetime) -> list[Transition]:
        """Return the custom events that were closed unsent since then, because they were true no more."""
        return self._transitions(shop_id, "obsolete", since=since)

    def _transitions(self, shop_id: str, *states: str, since: datetime = datetime.min) -> list[Transition]:
        columns = [transitions.c[name] for name in Transition.__dataclass_fields__]
        query = sa.select(*columns).where(
            transitions.c.shop_id == shop_id,
            transitions.c.state.in_(states),
            transitions.c.changed_at >= since,
        )
        ordered = query.order_by(transitions.c.planned_at, transitions.c.external_id)
        return [Transition(**row) for row in self._load(ordered)]

    def find_closed(self, external_ids: Sequence[str]) -> set[str]:
        """Return those of the custom events that were sent, refused, or may have been sent."""
        found: set[str] = set()
        with self._reading() as connection:
            for ids in _chunks(external_ids):
                is_closed = transitions.c.external_id.in_(ids) & transitions.c.state.in_(_CLOSED)
                found.update(connection.scalars(sa.select(transitions.c.external_id).where(is_closed)))
        return found

    def mark_transitions(self, external_ids: Sequence[str], state: str) -> None:
        """Set the state of these custom events; ``obsolete`` closes only those that are open."""
        marked = sa.update(transitions).where(transitions.c.external_id.in_(external_ids))
        if state == "obsolete":
            marked = marked.where(transitions.c.state.in_(_OPEN))
        marked = marked.values(state=state, changed_at=now())
        self._commit(lambda connection: connection.execute(marked))

    def close_calls(self, shop_id: str) -> int:
        """Note of every call without a recorded answer that none will come; return how many."""
        ours = sa.select(runs.c.run_id).where(runs.c.shop_id == shop_id)
        left = calls.c.finished_at.is_(None) & calls.c.run_id.in_(ours)
        values = {"finished_at": now(), "outcome": "no answer recorded: the process ended", "tries": 1}
        closed = sa.update(calls).where(left).values(**values)
        return int(self._commit(lambda connection: connection.execute(closed).rowcount))

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes: one row a call, in the order in which they began."""
        query = sa.select(calls).where(calls.c.run_id == run_id).order_by(calls.c.call_id)
        return self._load_objects(query).infer_objects()


def _is_repeat(connection: sa.Connection, transition: Transition) -> bool:
    """Return True when the last custom event of this subscriber and audience went the same way."""
    mine = transitions.c.external_id == transition.external_id
    shop = sa.select(transitions.c.shop_id).where(mine).scalar_subquery()
    last = sa.select(transitions.c.entered).where(
        transitions.c.shop_id == shop,
        transitions.c.subscriber_id == transition.subscriber_id,
        transitions.c.audience_key == transition.audience_key,
        transitions.c.state.in_(_MAY_HAVE_LEFT),
        ~mine,
    )
    return connection.scalar(last.order_by(transitions.c.changed_at.desc()).limit(1)) == transition.entered


def _update_cache(connection: sa.Connection, held: Held) -> None:
    values: dict[str, object] = {"has_property": held.has_property, "property_count": held.property_count}
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
    key = connection.execute(sa.insert(calls), row).inserted_primary_key
    return int(key[0]) if key else 0


def _end_call(
    connection: sa.Connection, call_id: int, outcome: str, status_code: int | None, tries: int
) -> None:
    values = {"finished_at": now(), "outcome": outcome, "status_code": status_code, "tries": tries}
    connection.execute(_ITS_CALL, {"its": call_id, **values})
