"""What Postscript holds, as far as it was read, and what was sent there: each call before and after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import pandas as pd
import sqlalchemy as sa
from sqlalchemy import bindparam

from toolkit.postscript import api
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS, FetchResult, SubscriberCache
from toolkit.sync.runs import CallResult, Held, Transition

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

_AS_READ = ("newest", "is_complete", "page_size", "turn")
"""Fields of a cache that are columns of the same name."""
_OPEN = ("planned", "due")
"""States of a custom event that may still be posted."""
_CLOSED = ("sent", "unknown", "refused")
"""States of a custom event that is not planned again; one that is ``obsolete`` never left, and may be."""
_MAY_HAVE_LEFT = ("sent", "unknown", "posting")
# Made once: to build a statement takes longer than to carry it out.
_NEW_CALL = sa.insert(calls)
_OPEN_CALLS = sa.update(calls).where(
    calls.c.finished_at.is_(None),
    calls.c.run_id.in_(sa.select(runs.c.run_id).where(runs.c.shop_id == bindparam("shop_id"))),
)
_ITS_CALL = sa.update(calls).where(calls.c.call_id == bindparam("its"))
_ITS_EVENT = sa.update(transitions).where(transitions.c.external_id == bindparam("its"))
_AMONG = transitions.c.external_id.in_(bindparam("ids", expanding=True))
_OF_THESE = sa.select(transitions.c.external_id).where(_AMONG)
_CLOSED_OF_THESE = _OF_THESE.where(transitions.c.state.in_(_CLOSED))
_TAKEN_OF_THESE = _OF_THESE.where(transitions.c.state.in_((*_CLOSED, "posting"))).with_for_update()
_OPEN_OF_THESE = _OF_THESE.where(transitions.c.state.in_(_OPEN))
_MARK = sa.update(transitions).where(_AMONG)
_MARK_OPEN = _MARK.where(transitions.c.state.in_(_OPEN))
_ITS_SUBSCRIBER = sa.update(subscribers).where(
    subscribers.c.shop_id == bindparam("its_shop"), subscribers.c.subscriber_id == bindparam("its")
)
_ITS_SHOP = sa.select(transitions.c.shop_id).where(transitions.c.external_id == bindparam("its"))
_LAST_BEFORE = (
    sa.select(transitions.c.entered)
    .where(
        transitions.c.shop_id == _ITS_SHOP.scalar_subquery(),
        transitions.c.subscriber_id == bindparam("who"),
        transitions.c.audience_key == bindparam("key"),
        transitions.c.state.in_(_MAY_HAVE_LEFT),
        transitions.c.external_id != bindparam("its"),
    )
    .order_by(transitions.c.changed_at.desc())
    .limit(1)
)
_IN_STATES = (
    sa.select(*(transitions.c[name] for name in Transition.__dataclass_fields__))
    .where(
        transitions.c.shop_id == bindparam("shop_id"),
        transitions.c.state.in_(bindparam("states", expanding=True)),
        transitions.c.changed_at >= bindparam("since"),
    )
    .order_by(transitions.c.planned_at, transitions.c.external_id)
)


class Journal(Database):
    """The part of the ledger that keeps what Postscript holds, and every call."""

    def load_cache(self, shop_id: str) -> SubscriberCache:
        """Return the cached subscribers of a shop; an empty cache when it was never read."""
        columns = [subscribers.c[name] for name in SUBSCRIBER_COLUMNS]
        rows = sa.select(*columns).where(subscribers.c.shop_id == shop_id)
        with self._reading() as connection:
            reached = sa.select(mirrors).where(mirrors.c.shop_id == shop_id)
            about = connection.execute(reached).mappings().first()
            if about is None:
                return SubscriberCache.empty()
            return SubscriberCache(
                subscribers=read_frame(
                    connection, rows.order_by(subscribers.c.subscriber_id), SUBSCRIBER_COLUMNS
                ),
                asked=_contacts(connection, asked, shop_id),
                doubted=_contacts(connection, doubted, shop_id),
                trait_keys=tuple(json.loads(about["trait_keys"])),
                **{name: about[name] for name in (*_AS_READ, "is_dated", "read_at")},
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
                **{name: getattr(cache, name) for name in _AS_READ},
                "shop_id": shop_id,
                "trait_keys": json.dumps(cache.trait_keys),
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
        values = {"is_dated": is_dated} if is_dated else {"is_dated": is_dated, "newest": ""}
        judged = sa.update(mirrors).where(mirrors.c.shop_id == shop_id).values(**values)
        self._commit(lambda connection: connection.execute(judged))

    # --- what was sent ----------------------------------------------------------------------------------

    def start_write(
        self,
        run_id: str,
        shop_id: str,
        subscriber_id: str,
        *,
        before: str,
        after: str,
        due: Iterable[Transition],
    ) -> int:
        """Record which properties are about to be written, and the custom events that will then be due.

        *before* and *after* are JSON objects. Returns the id of the call.
        """
        about = {"shop_id": shop_id, "run_id": run_id, "changed_at": now(), "planned_at": now()}
        rows = [{**vars(t), **about, "state": "planned"} for t in due]

        def work(connection: sa.Connection) -> int:
            # One that was sent, may have been, or is being sent, is not planned a second time.
            ids = {"ids": [row["external_id"] for row in rows]}
            done = {*connection.scalars(_TAKEN_OF_THESE, ids)} if rows else set()
            upsert(connection, transitions, [row for row in rows if row["external_id"] not in done])
            return _start_call(connection, run_id, api.WRITE_ROUTE, subscriber_id, before=before, after=after)

        return self._commit(work)

    def end_write(
        self, call_id: int, result: CallResult, *, due: Sequence[str] = (), held: Held | None = None
    ) -> frozenset[str]:
        """Record a write's answer; after ``ok`` the transitions of these external ids are due.

        After anything else they stay planned, and a later run reads whether the write arrived. *held* is what
        the subscriber holds now: the cache shows it from the same moment on. Returns the ids that are due
        now; one that was sent by an earlier run, or may have been, is not.
        """

        def work(connection: sa.Connection) -> frozenset[str]:
            _end_call(connection, call_id, result)
            if held is not None:
                _update_cache(connection, held)
            if result.outcome != "ok" or not due:
                return frozenset()
            ids = {"ids": [*due]}
            found = frozenset(connection.scalars(_OPEN_OF_THESE, ids))
            connection.execute(_MARK_OPEN, {**ids, **_changed("due")})
            return found

        return self._commit(work)

    def start_event(self, run_id: str, transition: Transition) -> int | None:
        """Claim a custom event that is about to be posted and return the id of the call, or None.

        None where another run has claimed it, and where the last one of the same subscriber and audience went
        the same way: then it is ``obsolete``.
        """
        its = transition.external_id
        about = {"its": its, "who": transition.subscriber_id, "key": transition.audience_key}

        def work(connection: sa.Connection) -> int | None:
            is_repeat = connection.scalar(_LAST_BEFORE, about) == transition.entered
            state = "obsolete" if is_repeat else "posting"
            claimed = connection.execute(_MARK_OPEN, {"ids": [its], **_changed(state)})
            if not claimed.rowcount or state == "obsolete":
                return None
            who = transition.subscriber_id
            return _start_call(connection, run_id, api.EVENT_ROUTE, who, external_id=its)

        return self._commit(work)

    def end_event(self, call_id: int, transition: Transition, state: str, result: CallResult) -> None:
        """Record how a custom event ended: ``sent``, ``unknown``, ``refused``, or ``due`` again."""

        def work(connection: sa.Connection) -> None:
            _end_call(connection, call_id, result)
            connection.execute(_ITS_EVENT, {"its": transition.external_id, **_changed(state)})

        self._commit(work)

    def load_open_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that earlier runs left in the middle: planned, due or posting."""
        return self._transitions(shop_id, *_OPEN, "posting")

    def load_unknown_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that were not confirmed: their answer was lost, or they were refused."""
        return self._transitions(shop_id, "unknown", "refused")

    def load_obsolete_transitions(self, shop_id: str, since: datetime) -> list[Transition]:
        """Return the custom events that were closed unsent since then, because they were true no more."""
        return self._transitions(shop_id, "obsolete", since=since)

    def _transitions(self, shop_id: str, *states: str, since: datetime = datetime.min) -> list[Transition]:
        found = self._load(_IN_STATES, shop_id=shop_id, states=states, since=since)
        return [Transition(**row) for row in found]

    def find_closed(self, external_ids: Iterable[str]) -> set[str]:
        """Return those of the custom events that were sent, refused, or may have been sent."""
        with self._reading() as connection:
            parts = _chunks([*external_ids])
            return {found for ids in parts for found in connection.scalars(_CLOSED_OF_THESE, {"ids": ids})}

    def mark_transitions(self, external_ids: Iterable[str], state: str) -> None:
        """Set the state of these custom events; ``obsolete`` closes only those that are open."""
        mark = _MARK_OPEN if state == "obsolete" else _MARK

        def work(connection: sa.Connection) -> None:
            for ids in _chunks([*external_ids]):
                connection.execute(mark, {"ids": ids, **_changed(state)})

        self._commit(work)

    def close_calls(self, shop_id: str) -> int:
        """Note of every call without a recorded answer that none will come; return how many."""
        values = {"finished_at": now(), "outcome": "no answer recorded: the process ended", "tries": 1}
        closed = _OPEN_CALLS.values(**values)
        return self._commit(lambda connection: connection.execute(closed, {"shop_id": shop_id}).rowcount)

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes: one row a call, in the order in which they began."""
        query = sa.select(calls).where(calls.c.run_id == run_id).order_by(calls.c.call_id)
        return self._load_objects(query).infer_objects()


def _contacts(connection: sa.Connection, table: sa.Table, shop_id: str) -> frozenset[str]:
    return frozenset(connection.scalars(sa.select(table.c.contact).where(table.c.shop_id == shop_id)))


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut values into parts that fit one statement."""
    for start in range(0, len(values), ROWS_AT_ONCE):
        yield values[start : start + ROWS_AT_ONCE]


def _changed(state: str) -> dict[str, object]:
    return {"state": state, "changed_at": now()}


def _update_cache(connection: sa.Connection, held: Held) -> None:
    values: dict[str, object] = {"has_property": held.has_property, "property_count": held.property_count}
    if held.audiences is not None:
        values["audiences"] = held.audiences
    if held.properties is not None:
        values["properties"] = held.properties
    connection.execute(_ITS_SUBSCRIBER, {"its_shop": held.shop_id, "its": held.subscriber_id, **values})


def _start_call(
    connection: sa.Connection, run_id: str, route: str, subscriber_id: str, **rest: str | None
) -> int:
    row = {"run_id": run_id, "route": route, "subscriber_id": subscriber_id, "started_at": now(), **rest}
    key = connection.execute(_NEW_CALL, row).inserted_primary_key
    return int(key[0]) if key else 0


def _end_call(connection: sa.Connection, call_id: int, result: CallResult) -> None:
    connection.execute(_ITS_CALL, {"its": call_id, "finished_at": now(), **result._asdict()})
