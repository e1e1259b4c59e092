"""Send a plan's writes and custom events, in order, and know what became of each.

Order: subscribers who must stop receiving, then the other writes, then the custom events, so that targeting
is right before anything is triggered. One write per subscriber, its events after it. Every write is in
the journal before it leaves, and its custom events with it, so that a run that dies can be taken up.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pandas as pd

from . import wire
from .destination.payloads import property_json
from .errors import InvalidAuthenticationError, LostAnswerError, PostscriptError, RejectedError
from .lookup import WORKERS, Postscript
from .plan import Plan
from .runs import Transition
from .statuses import ChangeStatus, get_reason

FAILURES_IN_A_ROW = 5
"""Writes that fail one after the other before the run gives up: Postscript is down, not one subscriber."""


class Journal(Protocol):
    """The part of the ledger in which every call is noted, before and after."""

    def start_write(
        self,
        run_id: str,
        shop_id: str,
        subscriber_id: str,
        *,
        route: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        due: Iterable[Transition],
    ) -> int:
        """Record that properties of a subscriber are about to be written."""

    def end_write(
        self, call_id: int, *, outcome: str, status_code: int | None, tries: int, due: Sequence[str]
    ) -> None:
        """Record a write's answer."""

    def start_event(self, run_id: str, route: str, transition: Transition) -> int:
        """Record that a custom event is about to be posted."""

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
        """Record what became of a custom event."""

    def load_open_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that earlier runs left in the middle."""

    def mark_transitions(self, external_ids: Sequence[str], state: str | None) -> None:
        """Set the state of custom events."""


def removal_limit_sentence(plan: Plan) -> str:
    """Say by how much the plan exceeds its limit on removals, and what to do."""
    return (
        f"The plan removes {plan.removes} memberships, {plan.removal_share:.0%} of those looked at; "
        f"max_removal_share allows {plan.max_removal_share:.0%}. Nothing was written. "
        + get_reason("REMOVAL_LIMIT").fix
    )


def transition_id(shop_id: str, subscriber_id: str, audience_key: str, *, entered: bool, when: str) -> str:
    """Return the external id of one transition: the same again on a retry, another on a later re-entry."""
    parts = "\x1f".join([shop_id, subscriber_id, audience_key, "in" if entered else "out", when])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _done(transition: Transition | None) -> tuple[ChangeStatus, str]:
    if transition is None:
        return ChangeStatus.UPDATED, "TRAIT_NEW_VALUE"
    return (ChangeStatus.ADDED, "ENTERED") if transition.entered else (ChangeStatus.REMOVED, "EXITED")


@dataclass(kw_only=True)
class Delivery:
    """The state of one live run while it goes on."""

    run_id: str
    plan: Plan
    shop: wire.Shop
    postscript: Postscript
    ledger: Journal
    on_progress: Callable[[int, int], None]
    error: str = ""
    canceled: bool = False
    unresolved: int = 0
    """Custom events of earlier runs that were not confirmed: their answer was lost, or they failed again."""

    def __post_init__(self) -> None:
        wanted = self.plan.changes[self.plan.changes["operation"].notna()]
        self._rows: dict[str, list[int]] = {}
        for index, subscriber_id in zip(wanted.index, wanted["subscriber_id"], strict=True):
            self._rows.setdefault(subscriber_id, []).append(index)
        self._transitions = {
            row.Index: Transition(
                external_id=transition_id(
                    self.shop.shop_id,
                    row.subscriber_id,
                    row.audience_key,
                    entered=row.operation == "add",
                    when=str(row.message_id) if pd.isna(row.timestamp) else row.timestamp.isoformat(),
                ),
                subscriber_id=row.subscriber_id,
                audience_key=row.audience_key,
                audience_id=None if pd.isna(row.audience_id) else row.audience_id,
                entered=row.operation == "add",
            )
            for row in wanted[wanted["operation"] != "set"].itertuples()
        }
        """Row → its custom event; a trait has none."""
        self._row_of = {t.external_id: index for index, t in self._transitions.items()}
        held = self.plan.subscribers
        counts = held["property_count"] - held["has_property"].astype("int64")
        self._others: dict[str, int] = dict(zip(held["subscriber_id"], counts.tolist(), strict=True))
        """Properties beside the list of audiences."""
        self._lists = dict(zip(held["subscriber_id"], held["audiences"], strict=True))
        self._outcomes: dict[int, tuple[ChangeStatus, str, str]] = {}
        self._written: dict[str, Mapping[str, Any]] = {}
        self._stopping = threading.Event()
        self._unreached = "NOT_REACHED"
        self._lock = threading.Lock()
        self._failures = 0
        self._done = 0
        self._all = len(self.plan.writes) + self.plan.transitions

    # --- the run --------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Send everything, in order, until done or stopped."""
        if self.plan.exceeds_removal_limit:
            self.stop(removal_limit_sentence(self.plan), reason="REMOVAL_LIMIT")
            return
        writes = [*self.plan.writes.itertuples()]
        try:
            left_over = self._take_up() if self.plan.custom_events == "transitions" else []
            # The first alone: its answer shows whether writing one property keeps the others.
            self._in_parallel(self._write, writes[:1])
            self._in_parallel(self._write, [w for w in writes[1:] if w.has_removal])
            self._in_parallel(self._write, [w for w in writes[1:] if not w.has_removal])
            self._in_parallel(self._post_all, self._events_by_subscriber(left_over))
        except KeyboardInterrupt:
            self.canceled = True
            self.stop("The run was interrupted; what was under way has finished, the rest is pending.")

    def stop(self, error: str, *, reason: str = "NOT_REACHED") -> None:
        """End the run: nothing more is started. The first error stands."""
        with self._lock:
            self.error = self.error or error
            self._unreached = reason
        self._stopping.set()

    def _in_parallel(self, act: Callable[[Any], None], items: Sequence[Any]) -> None:
        def guarded(item: Any) -> None:
            if not self._stopping.is_set():
                act(item)

        with ThreadPoolExecutor(WORKERS) as pool:
            futures: list[Future[None]] = [pool.submit(guarded, item) for item in items]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stopping.set()
                wait(futures)
                raise

    # --- writes ---------------------------------------------------------------------------------------

    def _write(self, write: Any) -> None:
        rows = self._rows[write.subscriber_id]
        error = self._patch(write, write.after, rows)
        audiences = [index for index in rows if index in self._transitions]
        is_refused = isinstance(error, RejectedError) and error.status_code != 404
        if error and is_refused and 0 < len(audiences) < len(rows):
            # A trait that Postscript does not take must not keep the audiences from the subscriber.
            self._failed([index for index in rows if index not in self._transitions], error)
            rows = audiences
            keys = write.after[wire.AUDIENCES_PROPERTY]
            error = self._patch(write, {wire.AUDIENCES_PROPERTY: keys}, rows)
        if error:
            self._failed(rows, error)

    def _patch(self, write: Any, after: Mapping[str, Any], rows: Sequence[int]) -> PostscriptError | None:
        """Write these properties, for these rows; return the error when it fails."""
        is_told = self.plan.custom_events == "transitions"
        due = {i: self._transitions[i] for i in rows if is_told and i in self._transitions}
        request = wire.write_properties(write.subscriber_id, after)
        call = self.ledger.start_write(
            self.run_id,
            self.shop.shop_id,
            write.subscriber_id,
            route=request.route,
            before={name: value for name, value in write.before.items() if name in after},
            after=after,
            due=due.values(),
        )
        ids = [t.external_id for t in due.values()]
        try:
            answer = self.postscript.send(request)
        except PostscriptError as error:
            outcome = f"{type(error).__name__}: {error}"
            # A failed write may have been carried out after all: its events stay planned.
            forget = isinstance(error, RejectedError | InvalidAuthenticationError)
            self.ledger.end_write(
                call,
                outcome=outcome,
                status_code=error.status_code,
                tries=error.tries,
                due=ids if forget else [],
            )
            return error
        self.ledger.end_write(call, outcome="ok", status_code=answer.status_code, tries=answer.tries, due=ids)
        with self._lock:
            self._written[write.subscriber_id] = after
        if wire.lost_properties(self._least_after(write, after), answer):
            self._set(rows, ChangeStatus.FAILED, "PROPERTIES_LOST")
            self.stop(
                f"Subscriber {write.subscriber_id} had {write.property_count} properties before the write "
                f"and has fewer after it. {get_reason('PROPERTIES_LOST').fix}"
            )
            return None
        self._set(due, ChangeStatus.PENDING, "NOT_REACHED")  # until each one's custom event is posted
        for index in rows:
            if index not in due:
                self._set([index], *_done(self._transitions.get(index)))
        self._advance()
        return None

    def _least_after(self, write: Any, after: Mapping[str, Any]) -> int:
        """Return how many properties the subscriber has afterwards, at least; empty lists may be dropped."""
        listed = after.get(wire.AUDIENCES_PROPERTY, self._lists[write.subscriber_id])
        traits = [name for name in after if name != wire.AUDIENCES_PROPERTY]
        replaced: int = sum(name in write.before for name in traits)
        kept: int = sum(after[name] != [] for name in traits)
        return self._others[write.subscriber_id] - replaced + kept + bool(listed)

    # --- custom events --------------------------------------------------------------------------------

    def _take_up(self) -> list[Transition]:
        """Return the custom events that earlier runs left due, after settling those left half-way."""
        due: list[Transition] = []
        for transition in self.ledger.load_open_transitions(self.shop.shop_id):
            listed = self._lists.get(transition.subscriber_id)
            if transition.state == "posting":
                # The process ended before the answer came: repeating could text twice.
                self.ledger.mark_transitions([transition.external_id], "unknown")
                self.unresolved += 1
            elif transition.state == "due":
                due.append(transition)
            elif listed is not None and (transition.audience_key in listed) == transition.entered:
                self.ledger.mark_transitions([transition.external_id], "due")
                due.append(transition)
            elif listed is not None:
                self.ledger.mark_transitions([transition.external_id], None)
        return due

    def _events_by_subscriber(self, left_over: Iterable[Transition]) -> list[list[Transition]]:
        """Gather the due custom events, the older first, so that one subscriber's stay in order."""
        pending = [i for i, (status, *_) in self._outcomes.items() if status == ChangeStatus.PENDING]
        due: dict[str, dict[str, Transition]] = {}
        for transition in [*left_over, *(self._transitions[index] for index in pending)]:
            # By id: one that is left over may be planned again, when somebody else changed the list.
            due.setdefault(transition.subscriber_id, {})[transition.external_id] = transition
        return [[*mine.values()] for mine in due.values()]

    def _post_all(self, due: Sequence[Transition]) -> None:
        for transition in due:
            # One that stays due holds the later ones back: an exit is not told before its entry.
            if self._stopping.is_set() or not self._post(transition):
                return

    def _post(self, transition: Transition) -> bool:
        """Post one custom event; False when it stays due."""
        index = self._row_of.get(transition.external_id)
        rows = [] if index is None else [index]
        request = wire.post_transition(
            transition.subscriber_id,
            entered=transition.entered,
            audience_key=transition.audience_key,
            audience_id=transition.audience_id,
            external_id=transition.external_id,
        )
        call = 0

        def note() -> None:
            nonlocal call
            call = self.ledger.start_event(self.run_id, request.route, transition)

        try:
            # Noted at the last moment: what only waits for its turn is still due if the process ends.
            answer = self.postscript.send(request, on_leaving=note)
        except PostscriptError as error:
            state = {LostAnswerError: "unknown", RejectedError: "refused"}.get(type(error), "due")
            self.ledger.end_event(
                call,
                transition,
                state=state,
                outcome=f"{type(error).__name__}: {error}",
                status_code=error.status_code,
                tries=error.tries,
            )
            if index is None:
                with self._lock:
                    self.unresolved += 1
            self._failed(rows, error)
            return state != "due"
        self.ledger.end_event(
            call, transition, state="sent", outcome="ok", status_code=answer.status_code, tries=answer.tries
        )
        self._set(rows, *_done(transition))
        self._advance()
        return True

    # --- outcomes -------------------------------------------------------------------------------------

    def _set(self, rows: Iterable[int], status: ChangeStatus, reason: str, message: str = "") -> None:
        with self._lock:
            for index in rows:
                self._outcomes[index] = (status, reason, message)

    def _advance(self) -> None:
        with self._lock:
            self._failures = 0
            self._done += 1
            done = self._done
        self.on_progress(done, max(self._all, done))

    def _failed(self, rows: Iterable[int], error: PostscriptError) -> None:
        if isinstance(error, LostAnswerError):
            self._set(rows, ChangeStatus.UNKNOWN, "ANSWER_LOST", str(error))
        elif isinstance(error, RejectedError) and error.status_code == 404:
            self._set(rows, ChangeStatus.WAITING, "SUBSCRIBER_GONE", str(error))
        elif isinstance(error, RejectedError):
            self._set(rows, ChangeStatus.REJECTED, "REJECTED_BY_POSTSCRIPT", str(error))
        else:
            self._set(rows, ChangeStatus.FAILED, "TRANSPORT_FAILED", str(error))
            with self._lock:
                self._failures += 1
                in_a_row = self._failures
            if isinstance(error, InvalidAuthenticationError) or in_a_row >= FAILURES_IN_A_ROW:
                self.stop(str(error))

    def changes_now(self) -> pd.DataFrame:
        """Return the planned changes with what became of them."""
        changed = self.plan.changes.copy()
        ids = {index: t.external_id for index, t in self._transitions.items()}
        changed["external_id"] = pd.Series(ids, dtype="str").reindex(changed.index)
        if self._stopping.is_set():
            # Whatever was decided to be sent and has no outcome was not reached.
            for index in chain.from_iterable(self._rows.values()):
                self._outcomes.setdefault(index, (ChangeStatus.PENDING, self._unreached, ""))
        if self._outcomes:
            told = pd.DataFrame.from_dict(self._outcomes, orient="index")
            changed.loc[told.index, "status"] = told[0].map(str).astype("str")
            changed.loc[told.index, "reason_code"] = told[1].astype("str")
            changed.loc[told.index, "status_message"] = told[2].astype("str")
        return changed

    def subscribers_now(self) -> pd.DataFrame:
        """Return the subscribers as they were read, with the properties that were written since."""
        read = self.plan.subscribers
        written = [self._written.get(i, {}) for i in read["subscriber_id"]]
        audiences = [
            new.get(wire.AUDIENCES_PROPERTY, held)
            for new, held in zip(written, read["audiences"], strict=True)
        ]
        properties = [
            {key: property_json(new[key]) if key in new else value for key, value in held.items()} or held
            for new, held in zip(written, read["properties"], strict=True)
        ]
        return read.assign(
            audiences=pd.Series(audiences, dtype="object", index=read.index),
            has_property=read["has_property"]
            | np.array([wire.AUDIENCES_PROPERTY in new for new in written], bool),
            properties=pd.Series(properties, dtype="object", index=read.index),
        )
