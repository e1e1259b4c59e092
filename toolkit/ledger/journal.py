"""What Postscript holds, as far as it was read, and what was sent there: each call before and after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain

import pandas as pd
import sqlalchemy as sa

from toolkit.postscript import api
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS, FetchResult, SubscriberCache
from toolkit.sync.runs import CallResult, Held, Transition

from .database import Database, chunks, delete, now, records, shop_rows, upsert
from .schema import asked, calls, doubted, mirrors, runs, subscribers, transitions

_AS_READ = ("newest", "is_complete", "page_size", "turn")
"""Fields of a cache that are columns of the same name."""
_OPEN = ("planned", "due")
"""States of a custom event that may still be posted."""
_CLOSED = ("sent", "unknown", "refused")
"""States of a custom event that is not planned again; one that is ``obsolete`` never left, and may be."""
_MAY_HAVE_LEFT = ("sent", "unknown", "posting")

# The statements of every call, made once: making one takes longer than running it.
_IS_FREE = sa.or_(*(transitions.c.state == each for each in (*_OPEN, "obsolete")))
"""True of a custom event that was not sent, cannot have been, and is not being sent: it may be planned."""
_MARK = (
    sa.update(transitions)
    .where(transitions.c.external_id.in_(sa.bindparam("ids", expanding=True)))
    .returning(transitions.c.external_id)
)
_MARK_AMONG = _MARK.where(transitions.c.state.in_(sa.bindparam("among", expanding=True)))
_START_CALL = sa.insert(calls).returning(calls.c.call_id)
_END_CALL = sa.update(calls).where(calls.c.call_id == sa.bindparam("id"))
_UPDATE_CACHE = sa.update(subscribers).where(
    subscribers.c.shop_id == sa.bindparam("shop"), subscribers.c.subscriber_id == sa.bindparam("id")
)
_OTHER = transitions.alias()
_LAST_BEFORE = (
    sa.select(_OTHER.c.entered)
    .where(transitions.c.external_id == sa.bindparam("id"), _OTHER.c.external_id != transitions.c.external_id)
    .where(*(_OTHER.c[name] == transitions.c[name] for name in ("shop_id", "subscriber_id", "audience_key")))
    .where(_OTHER.c.state.in_(_MAY_HAVE_LEFT))
    .order_by(_OTHER.c.changed_at.desc())
    .limit(1)
)
"""The direction of the last other event of an event's membership that may have left."""


class Journal(Database):
    """The part of the ledger that keeps what Postscript holds, and every call."""

    def load_cache(self, shop_id: str) -> SubscriberCache:
        """Return the cached subscribers of a shop; an empty cache when it was never read."""
        with self._reading() as connection:
            reached = sa.select(mirrors).filter_by(shop_id=shop_id)
            about = connection.execute(reached).mappings().first()
            if about is None:
                return SubscriberCache()
            return SubscriberCache(
                subscribers=shop_rows(connection, subscribers, SUBSCRIBER_COLUMNS, shop_id),
                asked=_contacts(connection, asked, shop_id),
                doubted=_contacts(connection, doubted, shop_id),
                trait_keys=tuple(json.loads(about["trait_keys"])),
                **{name: about[name] for name in (*_AS_READ, "is_dated", "read_at")},
            )

    def save_cache(self, shop_id: str, fetched: FetchResult) -> None:
        """Write what was read, all of it or nothing."""
        cache = fetched.cache
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":
                # One at a time, as SQLite has it: two that write the same rows would wait for each other.
                connection.exec_driver_sql("LOCK TABLE subscribers IN SHARE ROW EXCLUSIVE MODE")
            for table in (subscribers, asked) if fetched.replaces else ():
                connection.execute(sa.delete(table).filter_by(shop_id=shop_id))
            gone = ({"shop_id": shop_id, "subscriber_id": each} for each in fetched.gone)
            delete(connection, subscribers, gone)
            upsert(connection, subscribers, records(fetched.read, shop_id=shop_id))
            new = cache.asked - _contacts(connection, asked, shop_id)
            upsert(connection, asked, _contact_rows(shop_id, new))
            settled = _contacts(connection, doubted, shop_id) - cache.doubted
            delete(connection, doubted, _contact_rows(shop_id, settled))
            is_dated = connection.scalar(sa.select(mirrors.c.is_dated).filter_by(shop_id=shop_id))
            about = {"shop_id": shop_id, "is_dated": bool(is_dated), "read_at": now()}
            as_read = {name: getattr(cache, name) for name in _AS_READ}
            upsert(connection, mirrors, [{**about, **as_read, "trait_keys": json.dumps(cache.trait_keys)}])

    def forget_subscriber(self, shop_id: str, subscriber_id: str) -> None:
        """Take a subscriber who is gone out of the cache; the contacts are looked up again next time."""
        gone = sa.delete(subscribers).filter_by(shop_id=shop_id, subscriber_id=subscriber_id)
        known = gone.returning(*subscribers.c["phone_digits", "email_folded"])
        with self._writing() as connection:
            contacts = {contact for row in connection.execute(known) for contact in row if contact}
            upsert(connection, doubted, _contact_rows(shop_id, contacts))

    def judge_mirror(self, shop_id: str, *, is_dated: bool) -> None:
        """Note whether a write showed in ``updated_at``; only then is the cache renewed by it."""
        values = {"is_dated": is_dated} if is_dated else {"is_dated": is_dated, "newest": ""}
        with self._writing() as connection:
            connection.execute(sa.update(mirrors).filter_by(shop_id=shop_id).values(values))

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
        rows = [{**vars(transition), **about, "state": "planned"} for transition in due]

        def work(connection: sa.Connection) -> int:
            upsert(connection, transitions, rows, where=_IS_FREE)
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
            return _mark(connection, due if result.outcome == "ok" else (), "due", among=_OPEN)

        return self._commit(work)

    def start_event(self, run_id: str, transition: Transition) -> int | None:
        """Claim a custom event that is about to be posted and return the id of the call, or None.

        None where another run has claimed it, and where the last one of the same subscriber and audience went
        the same way: then it is ``obsolete``.
        """
        its, who = transition.external_id, transition.subscriber_id

        def work(connection: sa.Connection) -> int | None:
            is_repeat = connection.scalar(_LAST_BEFORE, {"id": its}) == transition.entered
            state = "obsolete" if is_repeat else "posting"
            claimed = _mark(connection, [its], state, among=_OPEN)
            if not claimed or is_repeat:
                return None
            return _start_call(connection, run_id, api.EVENT_ROUTE, who, external_id=its)

        return self._commit(work)

    def end_event(self, call_id: int, transition: Transition, state: str, result: CallResult) -> None:
        """Record how a custom event ended: ``sent``, ``unknown``, ``refused``, or ``due`` again."""

        def work(connection: sa.Connection) -> None:
            _end_call(connection, call_id, result)
            _mark(connection, [transition.external_id], state)

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
        query = sa.select(*transitions.c[*Transition.__dataclass_fields__]).filter_by(shop_id=shop_id)
        query = query.where(transitions.c.state.in_(states), transitions.c.changed_at >= since)
        ordered = query.order_by(transitions.c.planned_at, transitions.c.external_id)
        return [Transition(**row) for row in self._load(ordered)]

    def find_closed(self, external_ids: Iterable[str]) -> set[str]:
        """Return those of the custom events that were sent, refused, or may have been sent."""
        closed = sa.select(transitions.c.external_id).where(transitions.c.state.in_(_CLOSED))
        queries = (closed.where(transitions.c.external_id.in_(ids)) for ids in chunks(external_ids))
        with self._reading() as connection:
            return {found for query in queries for found in connection.scalars(query)}

    def mark_transitions(self, external_ids: Iterable[str], state: str) -> None:
        """Set the state of these custom events; ``obsolete`` closes only those that are open."""
        with self._writing() as connection:
            _mark(connection, external_ids, state, among=_OPEN if state == "obsolete" else ())

    def close_calls(self, shop_id: str) -> int:
        """Note of every call without a recorded answer that none will come; return how many."""
        values = {"finished_at": now(), "outcome": "no answer recorded: the process ended", "tries": 1}
        theirs = calls.c.run_id.in_(sa.select(runs.c.run_id).filter_by(shop_id=shop_id))
        with self._writing() as connection:
            closed = sa.update(calls).where(calls.c.finished_at.is_(None), theirs).values(values)
            return connection.execute(closed).rowcount

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes: one row a call, in the order in which they began."""
        query = sa.select(calls).filter_by(run_id=run_id).order_by(calls.c.call_id)
        return self._load_frame(query).infer_objects()


def _contacts(connection: sa.Connection, table: sa.Table, shop_id: str) -> frozenset[str]:
    return frozenset(connection.scalars(sa.select(table.c.contact).filter_by(shop_id=shop_id)))


def _contact_rows(shop_id: str, contacts: Iterable[str]) -> Iterator[dict[str, str]]:
    return ({"shop_id": shop_id, "contact": contact} for contact in sorted(contacts))


def _mark(
    connection: sa.Connection, external_ids: Iterable[str], state: str, *, among: Sequence[str] = ()
) -> frozenset[str]:
    """Set the state of those custom events that are in one *among* these, or any; return their ids."""
    values = {"state": state, "changed_at": now(), **({"among": among} if among else {})}
    statement = _MARK_AMONG if among else _MARK
    parts = (connection.scalars(statement, {**values, "ids": ids}) for ids in chunks(external_ids))
    return frozenset(chain.from_iterable(parts))


def _update_cache(connection: sa.Connection, held: Held) -> None:
    """Let the cache show what a subscriber holds; what was not written is None, and stays."""
    values = {name: value for name, value in vars(held).items() if value is not None}
    of = {"shop": values.pop("shop_id"), "id": values.pop("subscriber_id")}
    connection.execute(_UPDATE_CACHE, {**of, **values})


def _start_call(
    connection: sa.Connection, run_id: str, route: str, subscriber_id: str, **rest: str | None
) -> int:
    row = {"run_id": run_id, "route": route, "subscriber_id": subscriber_id, "started_at": now(), **rest}
    return int(connection.scalars(_START_CALL, row).one())


def _end_call(connection: sa.Connection, call_id: int, result: CallResult) -> None:
    connection.execute(_END_CALL, {"id": call_id, "finished_at": now(), **result._asdict()})
