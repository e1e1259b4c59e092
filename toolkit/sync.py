"""Carry a plan out against Postscript, and say what became of each person × audience.

Order: subscribers who must stop receiving, then the other writes, then the custom events, so that targeting
is right before anything is triggered. One write per subscriber, its events after it. Every write is in
the ledger before it leaves, and its custom events with it, so that a run that dies can be taken up.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import pandas as pd

from . import wire
from .contacts import phone_digits
from .errors import (
    InvalidAuthenticationError,
    LostAnswerError,
    PostscriptError,
    RejectedError,
    RunFailedError,
    ServerError,
)
from .memberships import Folded, State
from .plan import Plan, subscribers_table
from .runs import RunRecord, Transition
from .statuses import NEEDS_ATTENTION, ChangeStatus, RunStatus, check_totals, get_reason

WORKERS = 32
"""Requests under way at once: enough for the full pace at two seconds of latency."""
FAILURES_IN_A_ROW = 5
"""Writes that fail one after the other before the run gives up: Postscript is down, not one subscriber."""


class Postscript(Protocol):
    """The connection that sync() writes through."""

    @property
    def calls(self) -> dict[str, int]:
        """Requests made so far by route."""

    def send(self, request: wire.Request) -> wire.Answer:
        """Send a request; PostscriptError when it was not carried out, or may not have been."""


class Book(Protocol):
    """The ledger that sync() writes into."""

    def save_run(self, run: RunRecord) -> None:
        """Write a run's record."""

    def save_results(self, run_id: str, events: pd.DataFrame, changed: pd.DataFrame) -> None:
        """Write how the events and changes of a run ended."""

    def save_state(self, shop_id: str, run_id: str, state: State) -> None:
        """Write what is asked for."""

    def save_subscribers(self, shop_id: str, run_id: str, read: pd.DataFrame) -> None:
        """Refresh the mirror."""

    def start_write(
        self,
        run_id: str,
        shop_id: str,
        subscriber_id: str,
        *,
        route: str,
        before: Sequence[str],
        after: Sequence[str],
        due: Iterable[Transition],
    ) -> int:
        """Record that a subscriber is about to be written."""

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


def connect_shop(postscript: Postscript) -> wire.Shop:
    """Return the shop the key belongs to: a call that changes nothing."""
    return wire.parse_shop(postscript.send(wire.ask_shop()))


def find_subscribers(contacts: pd.DataFrame, postscript: Postscript) -> pd.DataFrame:
    """Look people up in Postscript in batches: by phone, then by email those whose phone found nobody.

    Parameters
    ----------
    contacts
        From check_contacts().
    postscript
        The connection.

    Returns
    -------
    DataFrame
        SUBSCRIBER_COLUMNS: every subscriber that matches one of the contacts.

    Raises
    ------
    PostscriptError
        A lookup failed for good: who subscribes is then unknown, and nothing can be decided.
    """
    digits = contacts["phone_e164"].map(phone_digits, na_action="ignore")
    by_phone = _look_up(digits.dropna().unique().tolist(), wire.find_by_phone, postscript)
    found = {phone_digits(s.phone) for s in by_phone}
    rest = contacts[~digits.isin(found)]
    # As given too where it differs: whether Postscript minds the case is not known.
    emails = pd.concat([rest["email_clean"], rest["email"].str.strip()[rest["email_clean"].notna()]])
    by_email = _look_up(emails.dropna().unique().tolist(), wire.find_by_email, postscript)
    return subscribers_table([*by_phone, *by_email])


def _look_up(
    values: Sequence[str], ask: Callable[..., wire.Request], postscript: Postscript
) -> list[wire.Subscriber]:
    batches = [values[i : i + wire.MAX_IN] for i in range(0, len(values), wire.MAX_IN)]
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            found = [*pool.map(lambda batch: _look_up_batch(batch, ask, postscript), batches)]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one failed lookup makes the others useless
            raise
    return [subscriber for batch in found for subscriber in batch]


def _look_up_batch(
    values: Sequence[str], ask: Callable[..., wire.Request], postscript: Postscript
) -> list[wire.Subscriber]:
    """Ask for one batch, every page of it; only rows that match what was asked count."""
    asked = {v.casefold() for v in values}
    found: dict[str, wire.Subscriber] = {}
    page = 1
    while True:
        rows, pages = wire.parse_page(postscript.send(ask(values, page=page)))
        matching = {
            s.subscriber_id: s
            for s in rows
            if phone_digits(s.phone) in asked or s.email.strip().casefold() in asked
        }
        if rows and not matching:
            raise ServerError(
                "Postscript answered a lookup with subscribers nobody asked for: it seems to ignore the "
                "filter. Nothing was written; please report this with the date and time.",
                status_code=200,
            )
        # Without a number of pages: until one is empty, or brings nobody new.
        is_last = not matching.keys() - found.keys() if pages is None else page >= pages
        found |= matching
        if is_last or not rows:
            return [*found.values()]
        page += 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """One execution: what was planned, what became of it."""

    record: RunRecord
    plan: Plan
    events: pd.DataFrame
    """PAYLOAD_COLUMNS: one row an event × mapping."""
    changes: pd.DataFrame
    """CHANGE_COLUMNS, every status final."""

    @property
    def event_statuses(self) -> dict[str, int]:
        """Status → events × mappings."""
        return _tally(self.events)

    @property
    def change_statuses(self) -> dict[str, int]:
        """Status → persons × audiences."""
        return _tally(self.changes)

    def summary(self) -> dict[str, Any]:
        """Return the figures that a scheduler and the audit read, ready for JSON."""
        facts = self.record.facts
        return {
            "run_id": self.record.run_id,
            "mode": self.record.mode,
            "status": self.record.status,
            "error": self.record.error,
            "shop": {"id": self.record.shop_id, "name": self.record.shop_name},
            "received": self.record.received,
            "event_statuses": self.event_statuses,
            "memberships": len(self.changes),
            "change_statuses": self.change_statuses,
            "adds": self.plan.adds,
            "removes": self.plan.removes,
            "custom_events": self.plan.transitions,
            "removal_share": round(self.plan.removal_share, 4),
            "planned_calls": facts["planned_calls"],
            "planned_calls_by_kind": facts["planned_calls_by_kind"],
            "calls": facts["calls"],
            "started_at": self.record.started_at.isoformat() + "Z",
            "seconds": round(self.record.seconds, 3),
        }

    def raise_if_failed(self) -> None:
        """Raise RunFailedError unless the run completed without errors."""
        if self.record.status != RunStatus.COMPLETED:
            raise RunFailedError(
                f"Run {self.record.run_id} ended as {self.record.status}. {self.record.error} "
                "Its evidence is saved; open 4_audit_report."
            )


def _tally(frame: pd.DataFrame) -> dict[str, int]:
    return {str(k): int(v) for k, v in frame["status"].value_counts().items()}


def sync(
    plan: Plan,
    folded: Folded,
    *,
    shop: wire.Shop,
    postscript: Postscript,
    ledger: Book,
    dry_run: bool = True,
    parameters: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Run:
    """Carry a plan out, or with *dry_run* only record what it would do.

    Trouble with Postscript does not raise: it ends the run as ``failed`` with its sentence, everything
    unreached is ``pending``, and the ledger knows how far it got. An interrupt lets what is under way
    finish and ends the run as ``canceled``.

    Parameters
    ----------
    plan, folded
        What to do, and the events it comes from.
    shop, postscript, ledger
        Where to, through what, and where it is remembered.
    dry_run
        True sends no write and remembers no membership.
    parameters
        Recorded with the run.
    on_progress
        Told after each call how many of how many are done.

    Returns
    -------
    Run
        Every event and change with its final status.

    Raises
    ------
    ReconciliationError
        The totals do not add up: a fault of the toolkit.
    """
    started, clock = datetime.now(UTC).replace(tzinfo=None), time.monotonic()
    delivery = _Delivery(plan=plan, shop=shop, postscript=postscript, ledger=ledger, on_progress=on_progress)
    facts = _facts(plan, postscript, parameters)
    record = RunRecord(
        run_id=delivery.run_id,
        shop_id=shop.shop_id,
        shop_name=shop.name,
        mode="dry_run" if dry_run else "live",
        status=RunStatus.RUNNING.value,
        received=folded.received,
        started_at=started,
        facts=facts,
    )
    ledger.save_run(record)
    if not dry_run:
        ledger.save_state(shop.shop_id, record.run_id, folded.state)
        delivery.carry_out()
        ledger.save_subscribers(shop.shop_id, record.run_id, delivery.subscribers_now())
    elif plan.exceeds_removal_limit:
        delivery.stop(_removal_limit_sentence(plan), reason="REMOVAL_LIMIT")
    changed = delivery.changes_now()
    check_totals(folded.received, folded.statuses, of="events")
    check_totals(len(folded.state.memberships), _tally(changed), of="memberships")
    ledger.save_results(record.run_id, folded.events, changed)
    record = replace(
        record,
        status=_run_status(delivery, changed).value,
        error=delivery.error or _attention_sentence(changed),
        facts={**facts, "calls": postscript.calls},
        finished_at=datetime.now(UTC).replace(tzinfo=None),
        seconds=time.monotonic() - clock,
    )
    ledger.save_run(record)
    return Run(record=record, plan=plan, events=folded.events, changes=changed)


def _facts(plan: Plan, postscript: Postscript, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    kinds = {"reads": sum(postscript.calls.values()), **plan.planned_calls}
    return {
        "parameters": dict(parameters or {}),
        "planned_calls": sum(kinds.values()),
        "planned_calls_by_kind": kinds,
        "calls": postscript.calls,
        "custom_events": plan.custom_events,
        "removal_share": plan.removal_share,
        "max_removal_share": plan.max_removal_share,
    }


def _run_status(delivery: _Delivery, changed: pd.DataFrame) -> RunStatus:
    if delivery.canceled:
        return RunStatus.CANCELED
    if delivery.error:
        return RunStatus.FAILED
    if changed["status"].isin([*NEEDS_ATTENTION]).any():
        return RunStatus.COMPLETED_WITH_ERRORS
    return RunStatus.COMPLETED


def _attention_sentence(changed: pd.DataFrame) -> str:
    needing = changed.loc[changed["status"].isin([*NEEDS_ATTENTION]), "status"].value_counts()
    if needing.empty:
        return ""
    return "Of the changes, " + ", ".join(f"{n} ended as {status}" for status, n in needing.items()) + "."


def _removal_limit_sentence(plan: Plan) -> str:
    return (
        f"The plan removes {plan.removes} memberships, {plan.removal_share:.0%} of those looked at; "
        f"max_removal_share allows {plan.max_removal_share:.0%}. Nothing was written. "
        + get_reason("REMOVAL_LIMIT").fix
    )


def transition_id(shop_id: str, subscriber_id: str, audience_key: str, *, entered: bool, when: str) -> str:
    """Return the external id of one transition: the same again on a retry, another on a later re-entry."""
    parts = "\x1f".join([shop_id, subscriber_id, audience_key, "in" if entered else "out", when])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(kw_only=True)
class _Delivery:
    """The state of one live run while it goes on."""

    plan: Plan
    shop: wire.Shop
    postscript: Postscript
    ledger: Book
    on_progress: Callable[[int, int], None]
    run_id: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}")
    error: str = ""
    canceled: bool = False

    def __post_init__(self) -> None:
        wanted = self.plan.changes[self.plan.changes["operation"].notna()]
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
            for row in wanted.itertuples()
        }
        self._rows: dict[str, list[int]] = {}
        for index, transition in self._transitions.items():
            self._rows.setdefault(transition.subscriber_id, []).append(index)
        self._row_of = {t.external_id: index for index, t in self._transitions.items()}
        held = self.plan.subscribers
        counts = held["property_count"] - held["has_property"].astype("int64")
        self._others = dict(zip(held["subscriber_id"], counts, strict=True))
        """Properties beside ours; an empty list of ours may be kept or dropped."""
        self._outcomes: dict[int, tuple[ChangeStatus, str, str]] = {}
        self._written: dict[str, tuple[str, ...]] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._failures = 0
        self._done = 0
        self._all = len(self.plan.writes) + self.plan.transitions

    # --- the run --------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Send everything, in order, until done or stopped."""
        if self.plan.exceeds_removal_limit:
            self.stop(_removal_limit_sentence(self.plan), reason="REMOVAL_LIMIT")
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

    _unreached = "NOT_REACHED"

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
        due = [self._transitions[i] for i in rows] if self.plan.custom_events == "transitions" else []
        request = wire.write_audiences(write.subscriber_id, write.after)
        call = self.ledger.start_write(
            self.run_id,
            self.shop.shop_id,
            write.subscriber_id,
            route=request.route,
            before=write.before,
            after=write.after,
            due=due,
        )
        ids = [t.external_id for t in due]
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
            self._failed(rows, error)
            return
        self.ledger.end_write(call, outcome="ok", status_code=answer.status_code, tries=answer.tries, due=ids)
        with self._lock:
            self._written[write.subscriber_id] = write.after
        if wire.lost_properties(self._others[write.subscriber_id] + bool(write.after), answer):
            self._set(rows, ChangeStatus.FAILED, "PROPERTIES_LOST")
            self.stop(
                f"Subscriber {write.subscriber_id} had {write.property_count} properties before the write "
                f"and has fewer after it. {get_reason('PROPERTIES_LOST').fix}"
            )
            return
        for index in rows:
            done = ChangeStatus.ADDED if self._transitions[index].entered else ChangeStatus.REMOVED
            self._set([index], done if not due else ChangeStatus.PENDING, self._reason(index, done=not due))
        self._advance()

    def _reason(self, index: int, *, done: bool) -> str:
        if not done:
            return "NOT_REACHED"
        return "ENTERED" if self._transitions[index].entered else "EXITED"

    # --- custom events --------------------------------------------------------------------------------

    def _take_up(self) -> list[Transition]:
        """Return the custom events that earlier runs left due, after settling those left half-way."""
        held = dict(
            zip(self.plan.subscribers["subscriber_id"], self.plan.subscribers["audiences"], strict=True)
        )
        due: list[Transition] = []
        for transition in self.ledger.load_open_transitions(self.shop.shop_id):
            listed = held.get(transition.subscriber_id)
            if transition.state == "posting":
                # The process ended before the answer came: repeating could text twice.
                self.ledger.mark_transitions([transition.external_id], "unknown")
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
        call = self.ledger.start_event(self.run_id, request.route, transition)
        try:
            answer = self.postscript.send(request)
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
            self._failed(rows, error)
            return state != "due"
        self.ledger.end_event(
            call, transition, state="sent", outcome="ok", status_code=answer.status_code, tries=answer.tries
        )
        done = ChangeStatus.ADDED if transition.entered else ChangeStatus.REMOVED
        self._set(rows, done, "ENTERED" if transition.entered else "EXITED")
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
            for index in self._transitions:
                self._outcomes.setdefault(index, (ChangeStatus.PENDING, self._unreached, ""))
        if self._outcomes:
            told = pd.DataFrame.from_dict(self._outcomes, orient="index")
            changed.loc[told.index, "status"] = told[0].map(str).astype("str")
            changed.loc[told.index, "reason_code"] = told[1].astype("str")
            changed.loc[told.index, "status_message"] = told[2].astype("str")
        return changed

    def subscribers_now(self) -> pd.DataFrame:
        """Return the subscribers as they were read, with the lists that were written since."""
        read = self.plan.subscribers
        audiences = [
            self._written.get(i, held)
            for i, held in zip(read["subscriber_id"], read["audiences"], strict=True)
        ]
        return read.assign(
            audiences=pd.Series(audiences, dtype="object", index=read.index),
            has_property=read["has_property"] | read["subscriber_id"].isin([*self._written]),
        )
