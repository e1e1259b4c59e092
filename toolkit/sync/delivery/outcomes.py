"""What became of each change of a plan, as it becomes known, and whether the run goes on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from enum import StrEnum
from itertools import islice
from typing import TypeVar

import pandas as pd

from toolkit.errors import InvalidAuthenticationError, LostAnswerError, PostscriptError, RejectedError
from toolkit.postscript import api
from toolkit.postscript.lookup import WORKERS
from toolkit.statuses import ChangeStatus
from toolkit.sync.plan import Plan

FAILURES_IN_A_ROW = 5
"""Subscribers whose calls fail one after the other before the run asks whether Postscript answers at all."""
DOUBTFUL_FROM = 3
"""Subscribers who fail in a row before each further one is tried twice only."""
FAILURES_AT_MOST = 25
"""Subscribers whose calls fail one after the other before the run stops although Postscript answers."""
CHECK_EVERY = 500
"""Items of a group after which the run makes sure again that the shop is still its own."""
CANCELED = "The run was canceled; what was under way has finished, the rest is pending."

_DONE = {"add": ChangeStatus.ADDED, "remove": ChangeStatus.REMOVED, "set": ChangeStatus.UPDATED}

Item = TypeVar("Item")


class Cause(StrEnum):
    """What ended a run before its time; a scheduler reads it as ``stopped_by``."""

    NONE = ""
    REMOVAL_LIMIT = "removal_limit"
    GUARD = "guard"
    AUTHENTICATION = "authentication"
    TRANSPORT = "transport"
    LEDGER = "ledger"
    CANCELED = "canceled"


def cause_of(error: PostscriptError) -> Cause:
    """Return the cause of a run that this error ends."""
    return Cause.AUTHENTICATION if isinstance(error, InvalidAuthenticationError) else Cause.TRANSPORT


class Outcomes:
    """The state of one live run while it goes on. Safe to use from several threads."""

    def __init__(
        self,
        plan: Plan,
        *,
        on_progress: Callable[[int, int, Mapping[str, int]], None],
        cancel: threading.Event | None = None,
        probe: Callable[[], object] = lambda: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.error = ""
        self.cause = Cause.NONE
        self.canceled = False
        self.unresolved = 0
        """Custom events of earlier runs that were not confirmed: no answer came, or they failed again."""
        self.events: Counter[str] = Counter()
        """State → custom events that this run brought to it, such as ``sent`` and ``obsolete``."""
        self.reads_again = False
        """True once an answer showed that others write to the lists too."""
        self.check = check
        """Raises LedgerError when the shop is no longer this run's own."""
        self.external_ids: dict[int, str] = {}
        """Row → its custom event's id, once its subscriber's turn came."""
        self._plan = plan
        self._on_progress = on_progress
        self._cancel = cancel or threading.Event()
        self._recorded: dict[int, tuple[str, str, str]] = {}
        self._counts: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._probe = probe
        self._suspects: set[str] = set()
        self._failed: set[str] = set()
        self._done = 0
        self._all = len(plan.writes) + plan.transitions

    @property
    def is_stopping(self) -> bool:
        """True when nothing more may be begun."""
        if self._cancel.is_set() and not self._stopping.is_set():
            self.cancel()
        return self._stopping.is_set()

    def stop(self, error: str, cause: Cause) -> None:
        """End the run: nothing more is started. The first error stands, and its cause."""
        with self._lock:
            if not self.error:
                self.error, self.cause = error, cause
        self._stopping.set()

    def cancel(self) -> None:
        """End the run because a person asked for it."""
        self.canceled = True
        self.stop(CANCELED, Cause.CANCELED)

    def record(self, rows: Iterable[int], status: ChangeStatus, reason: str, message: str = "") -> None:
        """Say what became of these rows of the plan."""
        with self._lock:
            for index in rows:
                if index in self._recorded:
                    self._counts[self._recorded[index][0]] -= 1
                self._recorded[index] = (status.value, reason, message)
                self._counts[status.value] += 1

    def finish(self, index: int, reason: str = "") -> None:
        """Say that a row was carried out, for the plan's reason unless there is another."""
        planned = self._plan.changes
        self.record(
            [index], _DONE[planned.at[index, "operation"]], reason or planned.at[index, "reason_code"]
        )

    def fail(
        self,
        subscriber_id: str,
        rows: Iterable[int],
        error: PostscriptError,
        *,
        is_event: bool = False,
    ) -> None:
        """Say that these rows failed, and stop when everything else would fail too.

        Refusals count towards that only for custom events: a write that is refused today is refused again in
        the next run, which would never get beyond it.
        """
        if isinstance(error, LostAnswerError) or (is_event and api.may_be_applied(error)):
            self.record(rows, ChangeStatus.UNKNOWN, "ANSWER_LOST", str(error))
        elif isinstance(error, RejectedError):
            self.record(rows, ChangeStatus.REJECTED, "REJECTED_BY_POSTSCRIPT", str(error))
        else:
            self.record(rows, ChangeStatus.FAILED, "TRANSPORT_FAILED", str(error))
        if not isinstance(error, LostAnswerError | RejectedError) or (
            is_event and isinstance(error, RejectedError)
        ):
            with self._lock:
                self._failed.add(subscriber_id)
                is_hopeless = len(self._failed) >= FAILURES_AT_MOST
            if is_hopeless:
                self.stop(str(error), cause_of(error))
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
            self._probe()
        except PostscriptError as error:
            self.stop(str(error), cause_of(error))

    @property
    def is_doubtful(self) -> bool:
        """True while so many failed in a row that a further one is not worth many tries."""
        return len(self._failed) >= DOUBTFUL_FROM

    def leave_unresolved(self, count: int = 1) -> None:
        """Count custom events of earlier runs that could not be confirmed."""
        with self._lock:
            self.unresolved += count

    def count_events(self, state: str, count: int = 1) -> None:
        """Count custom events that reached this state."""
        with self._lock:
            self.events[state] += count

    def advance(self) -> None:
        """Count one more call that went well."""
        with self._lock:
            self._suspects.clear()
            self._failed.clear()
            self._done += 1
            done, counts = self._done, +self._counts
        self._on_progress(done, max(self._all, done), counts)

    def for_all(self, act: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Act on every item, several at once, in their order, until done or stopped.

        What is under way when the run stops, or is interrupted, still finishes.
        """
        left, turn = enumerate(items, 1), threading.Lock()

        def work() -> None:
            while not self.is_stopping:
                with turn:
                    found = [*islice(left, 1)]
                    if found and found[0][0] % CHECK_EVERY == 0:
                        self.check()
                if not found:
                    return
                act(found[0][1])

        if not items:
            return
        with ThreadPoolExecutor(min(WORKERS, len(items))) as pool:
            futures: list[Future[None]] = []
            try:
                futures += [pool.submit(work) for _ in range(min(WORKERS, len(items)))]
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future.done():
                        future.result()
            except BaseException:
                self._stopping.set()
                wait(futures)
                raise

    def table(self) -> pd.DataFrame:
        """Return the planned changes (CHANGE_COLUMNS) with what became of them."""
        changed = self._plan.changes.copy()
        if self.external_ids:
            ids = pd.Series(self.external_ids, dtype="str")
            changed.loc[ids.index, "external_id"] = ids
        if self._stopping.is_set():
            # Whatever was decided to be sent and has no outcome was not reached.
            reason = "REMOVAL_LIMIT" if self.cause is Cause.REMOVAL_LIMIT else "NOT_REACHED"
            for index in changed.index[changed["operation"].notna()]:
                self._recorded.setdefault(index, (ChangeStatus.PENDING.value, reason, ""))
        if self._recorded:
            recorded = pd.DataFrame.from_dict(self._recorded, orient="index").astype("str")
            for position, name in enumerate(("status", "reason_code", "status_message")):
                changed.loc[recorded.index, name] = recorded[position]
        return changed
