"""One run while it goes on: what became of each change of its plan, and whether it goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

import pandas as pd

from toolkit.audiences.memberships import Folded
from toolkit.errors import InvalidAuthenticationError, LostAnswerError, PostscriptError, RejectedError
from toolkit.postscript import api
from toolkit.postscript.lookup import WORKERS, Postscript, connect_shop
from toolkit.statuses import ChangeStatus
from toolkit.sync.plan import Plan
from toolkit.sync.runs import LedgerStore

FAILURES_IN_A_ROW = 5
"""Subscribers whose calls fail one after the other before the run probes Postscript."""
DOUBTFUL_FROM = 3
"""Subscribers who fail in a row before each further one is tried twice only."""
FAILURES_AT_MOST = 25
"""Subscribers whose calls fail one after the other before the run stops although Postscript answers."""
CHECK_EVERY = 500
"""Items of a group after which the run makes sure again that the shop is still its own."""
CANCELED = "The run was canceled; what was under way has finished, the rest is pending."

_DONE = {"add": ChangeStatus.ADDED, "remove": ChangeStatus.REMOVED, "set": ChangeStatus.UPDATED}


class StopReason(StrEnum):
    """What ended a run before its time; a scheduler reads it as ``stopped_by``."""

    NONE = ""
    REMOVAL_LIMIT = "removal_limit"
    GUARD = "guard"
    AUTHENTICATION = "authentication"
    TRANSPORT = "transport"
    LEDGER = "ledger"
    CANCELED = "canceled"


@dataclass(kw_only=True)
class Execution:
    """One run of a plan. Safe to use from several threads."""

    plan: Plan
    folded: Folded | None
    shop: api.Shop
    postscript: Postscript
    ledger: LedgerStore
    canary: int
    """Subscribers that are written one by one first, each read before and after."""
    read_again: bool
    repeat_unknown: bool
    on_progress: Callable[[int, int, Mapping[str, int]], None]
    cancel: threading.Event
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    error: str = ""
    stopped_by: StopReason = StopReason.NONE
    events: Counter[str] = field(default_factory=Counter)
    """What became of custom events → how many; ``unresolved`` are those of earlier runs that were not
    confirmed: no answer came, or they failed again."""
    others_write: bool = False
    """True once an answer showed that others write to the lists too."""
    external_ids: dict[int, str] = field(default_factory=dict)
    """Row → its custom event's id, once its subscriber's turn came."""

    def __post_init__(self) -> None:
        self.run_id = f"{self.started_at:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
        self.shop_id = self.shop.shop_id
        self._recorded: dict[int, tuple[str, str, str]] = {}
        self._counts: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._suspects: set[str] = set()
        self._failed: set[str] = set()
        self._done = 0

    @property
    def is_stopping(self) -> bool:
        """True when nothing more may be begun."""
        if self.cancel.is_set() and not self._stopping.is_set():
            self.stop(CANCELED, StopReason.CANCELED)
        return self._stopping.is_set()

    @property
    def is_doubtful(self) -> bool:
        """True while so many failed in a row that a further one is not worth many tries."""
        return len(self._failed) >= DOUBTFUL_FROM

    def stop(self, error: str, reason: StopReason) -> None:
        """End the run: nothing more is started. The first error stands, and its reason."""
        with self._lock:
            if not self.error:
                self.error, self.stopped_by = error, reason
        self._stopping.set()

    def record(self, rows: Iterable[int], status: ChangeStatus, reason: str, message: str = "") -> None:
        """Record what became of these rows of the plan."""
        with self._lock:
            for index in rows:
                if index in self._recorded:
                    self._counts[self._recorded[index][0]] -= 1
                self._recorded[index] = (status.value, reason, message)
                self._counts[status.value] += 1

    def finish(self, index: int, reason: str = "") -> None:
        """Record that a row was carried out, for the plan's reason unless there is another."""
        changes = self.plan.changes
        status = _DONE[changes.at[index, "operation"]]
        self.record([index], status, reason or changes.at[index, "reason_code"])

    def count_events(self, end: str, count: int = 1) -> None:
        """Count custom events that ended so."""
        with self._lock:
            self.events[end] += count

    def advance(self) -> None:
        """Count one more call that went well."""
        with self._lock:
            self._suspects.clear()
            self._failed.clear()
            self._done += 1
            done, counts = self._done, +self._counts
        self.on_progress(done, max(len(self.plan.writes) + self.plan.transitions, done), counts)

    def fail(
        self, subscriber_id: str, rows: Iterable[int], error: PostscriptError, *, is_event: bool = False
    ) -> None:
        """Record that these rows failed, and stop when everything else would fail too.

        Refusals count towards that only for custom events: a write that is refused today is refused again in
        the next run, which would never get beyond it.
        """
        is_lost, is_refused = isinstance(error, LostAnswerError), isinstance(error, RejectedError)
        status, reason = ChangeStatus.FAILED, "TRANSPORT_FAILED"
        if is_lost or (is_event and api.may_be_applied(error)):
            status, reason = ChangeStatus.UNKNOWN, "ANSWER_LOST"
        elif is_refused:
            status, reason = ChangeStatus.REJECTED, "REJECTED_BY_POSTSCRIPT"
        self.record(rows, status, reason, str(error))
        if is_lost or (is_refused and not is_event):
            return
        with self._lock:
            self._failed.add(subscriber_id)
            is_hopeless = len(self._failed) >= FAILURES_AT_MOST
        if is_hopeless:
            self._stop_for(error)
        self.suspect(subscriber_id, at_once=isinstance(error, InvalidAuthenticationError))

    def suspect(self, subscriber_id: str, *, at_once: bool = False) -> None:
        """Note trouble with one subscriber; after some in a row, stop unless Postscript answers a probe.

        One broken record must not keep the others from being served, and an outage must not be taken for
        many broken records.
        """
        with self._lock:
            self._suspects.add(subscriber_id)
            if not at_once and len(self._suspects) < FAILURES_IN_A_ROW:
                return
            self._suspects.clear()
        if self.is_stopping:
            return
        try:
            connect_shop(self.postscript)
        except PostscriptError as error:
            self._stop_for(error)

    def _stop_for(self, error: PostscriptError) -> None:
        is_key = isinstance(error, InvalidAuthenticationError)
        self.stop(str(error), StopReason.AUTHENTICATION if is_key else StopReason.TRANSPORT)

    def for_all(self, act: Callable[[Any], None], items: Sequence[Any]) -> None:
        """Act on every item, several at once, in their order, until done or stopped.

        What is under way when the run stops, or is interrupted, still finishes.
        """
        if not items:
            return
        left, turn, count = self._in_turn(items), threading.Lock(), min(WORKERS, len(items))

        def work() -> None:
            while not self.is_stopping:
                with turn:
                    item = next(left, None)
                if item is None:
                    return
                act(item)

        with ThreadPoolExecutor(count) as pool:
            try:
                futures = [pool.submit(work) for _ in range(count)]
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future.done():
                        future.result()
            except BaseException:
                self._stopping.set()  # the pool waits for what is under way
                raise

    def _in_turn(self, items: Sequence[Any]) -> Iterator[Any]:
        """Yield the items; every so often, make sure that the shop is still this run's own."""
        for number, item in enumerate(items, 1):
            if number % CHECK_EVERY == 0:
                self.ledger.check_lock(self.shop_id)
            yield item

    def table(self) -> pd.DataFrame:
        """Return the planned changes (CHANGE_COLUMNS) with what became of them."""
        changed = self.plan.changes.copy()
        if self.external_ids:
            ids = pd.Series(self.external_ids, dtype="str")
            changed.loc[ids.index, "external_id"] = ids
        if self._stopping.is_set():
            # Whatever was decided to be sent and has no outcome was not reached.
            reason = "REMOVAL_LIMIT" if self.stopped_by is StopReason.REMOVAL_LIMIT else "NOT_REACHED"
            for index in changed.index[changed["operation"].notna()]:
                self._recorded.setdefault(index, (ChangeStatus.PENDING.value, reason, ""))
        if self._recorded:
            ends = ["status", "reason_code", "status_message"]
            recorded = pd.DataFrame.from_dict(self._recorded, orient="index", columns=ends).astype("str")
            changed.loc[recorded.index, ends] = recorded
        return changed
