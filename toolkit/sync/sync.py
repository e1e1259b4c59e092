"""One run: carry a plan out, or rehearse it, and say what became of each person × audience and trait."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ParamSpec
from uuid import uuid4

import pandas as pd

from toolkit.audiences.memberships import Folded, count_statuses
from toolkit.errors import RunFailedError, ToolkitError
from toolkit.frames import empty_table
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript, connect_shop
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS
from toolkit.statuses import NEEDS_ATTENTION, RunStatus, check_totals

from .cost import CostEstimate, planned_calls
from .delivery import Cause, Delivery, Outcomes, planned_ids, removal_limit_sentence
from .leftovers import Pair, expect
from .plan import Plan, newly_reached, settled
from .runs import RunRecord
from .store import LedgerStore

EVENT_STATES = {"sent": "posted", "unknown": "unknown", "refused": "refused", "obsolete": "obsolete"}
"""State of a custom event → how the summary counts it."""
P = ParamSpec("P")


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
        return count_statuses(self.events)

    @property
    def change_statuses(self) -> dict[str, int]:
        """Status → memberships and traits."""
        return count_statuses(self.changes)

    def summary(self) -> dict[str, Any]:
        """Return the figures that a scheduler and the audit read, ready for JSON."""
        return {
            **self.record.summary(),
            "event_statuses": self.event_statuses,
            "memberships": int(self.changes["audience_key"].notna().sum()),
            "traits": int(self.changes["trait_key"].notna().sum()),
            "members": self.record.facts["members"],
            "dated_ahead": self.record.facts["dated_ahead"],
            "change_statuses": self.change_statuses,
            "adds": self.plan.adds,
            "removes": self.plan.removes,
            "updates": self.plan.updates,
            "custom_events": self.plan.transitions - self.record.facts["custom_events_closed"],
            **{f"custom_events_{n}": count for n, count in self.record.facts["events"].items()},
            "removal_share": round(self.plan.removal_share, 4),
            "planned_calls_by_kind": self.record.facts["planned_calls_by_kind"],
            "planned_minutes": self.record.facts["planned_minutes"],
            "official_calls_by_kind": self.record.facts["official_calls_by_kind"],
            "started_at": self.record.started_at.isoformat() + "Z",
        }

    def raise_if_failed(self) -> None:
        """Raise RunFailedError unless the run completed without errors."""
        if self.record.status != RunStatus.COMPLETED:
            raise RunFailedError(
                f"Run {self.record.run_id} ended as {self.record.status}. {self.record.error} "
                "Its evidence is saved; open 4_audit_report."
            )


def holding_the_shop(call: Callable[P, Run]) -> Callable[P, Run]:
    """Keep the shop while a live call lasts; its arguments name ``shop``, ``ledger`` and ``dry_run``."""
    signature = inspect.signature(call)

    @functools.wraps(call)
    def held(*args: P.args, **named: P.kwargs) -> Run:
        given = signature.bind(*args, **named).arguments
        is_live = not given.get("dry_run", True)
        with given["ledger"].holding(given["shop"].shop_id) if is_live else nullcontext():
            return call(*args, **named)

    return held


@holding_the_shop
def sync(
    plan: Plan,
    folded: Folded | None,
    *,
    shop: api.Shop,
    postscript: Postscript,
    ledger: LedgerStore,
    dry_run: bool = True,
    canary: int = 1,
    read_again: bool = False,
    repeat_unknown: bool = False,
    cost: CostEstimate | None = None,
    parameters: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int, Mapping[str, int]], None] = lambda _done, _all, _counts: None,
    cancel: threading.Event | None = None,
) -> Run:
    """Carry a plan out, or with *dry_run* only record what it would do.

    Trouble with Postscript does not raise: it ends the run as ``failed`` with its sentence, everything
    unreached is ``pending``, and the ledger knows how far it got. An interrupt, or *cancel*, lets what is
    under way finish and ends the run as ``canceled``.

    Parameters
    ----------
    plan, folded
        What to do, and the events it comes from; None when it comes from none, as an undo does.
    shop, postscript, ledger
        Where to, through what, and where it is remembered. A live run keeps the shop until it returns.
    dry_run
        True sends no write and remembers no membership.
    canary
        So many subscribers are written one by one first, and read before and after; when one of them lost
        something, what it held is put back and the run stops.
    read_again
        True reads every subscriber again before its write, one more call each: for shops where another tool
        writes the same list meanwhile. It switches itself on when an answer shows that.
    repeat_unknown
        True posts custom events again whose answer an earlier run never got, and those that were refused, as
        far as the list still agrees; people whose answer was lost may get a second text.
    cost, parameters
        Recorded with the run, to compare with what happened.
    on_progress
        Called after each call with how many of how many are done, and status → changes that ended so far.
    cancel
        Set from another thread, it ends the run.

    Returns
    -------
    Run
        Every event and change with its final status.

    Raises
    ------
    ShopLockedError
        Another live run is writing to the shop.
    ReconciliationError
        The totals do not add up: a fault of the toolkit.
    """
    started, clock = datetime.now(UTC).replace(tzinfo=None), time.monotonic()
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
    outcomes = Outcomes(
        plan,
        on_progress=on_progress,
        cancel=cancel,
        probe=lambda: connect_shop(postscript),
        check=lambda: ledger.check_lock(shop.shop_id),
    )
    reads = sum(postscript.calls.values())
    closed = _closed(plan, shop.shop_id, ledger, run_id)
    left = ledger.load_open_transitions(shop.shop_id)
    if repeat_unknown:
        left = [*ledger.load_unknown_transitions(shop.shop_id), *left]
    calls = planned_calls(
        plan,
        reads=reads,
        canary=canary,
        read_again=read_again,
        left_over=expect(plan, left, closed=closed),
    )
    facts = {
        **_facts(plan, postscript, calls, cost, parameters),
        "kind": _kind_of(plan, folded),
        "custom_events_closed": len(closed),
    }
    record = RunRecord(
        run_id=run_id,
        shop_id=shop.shop_id,
        shop_name=shop.name,
        mode="dry_run" if dry_run else "live",
        status=RunStatus.RUNNING.value,
        received=folded.received if folded else 0,
        started_at=started,
        facts=facts,
    )
    ledger.save_run(record)
    if not dry_run:
        delivery = Delivery(
            run_id=run_id,
            shop_id=shop.shop_id,
            plan=plan,
            postscript=postscript,
            journal=ledger,
            outcomes=outcomes,
            canary=canary,
            read_again=read_again,
            repeat_unknown=repeat_unknown,
        )
        try:
            _remember(plan, folded, record, ledger, is_stopping=outcomes.is_stopping)
            delivery.carry_out()
        except Exception as error:
            # Not Postscript's doing (a full disk, say): the ledger must not say "running" for ever.
            reason = str(error) if isinstance(error, ToolkitError) else type(error).__name__
            failed = replace(record, status=RunStatus.FAILED.value, error=reason)
            ledger.save_run(failed)
            raise
    elif plan.exceeds_removal_limit:
        outcomes.stop(removal_limit_sentence(plan), Cause.REMOVAL_LIMIT)
    changed = outcomes.table()
    events = empty_table(PAYLOAD_COLUMNS) if folded is None else folded.events
    _check(plan, folded, changed)
    ledger.save_results(run_id, events, changed)
    if not dry_run and len(plan.left):
        ledger.save_reached(shop.shop_id, settled(plan.left, changed), left_in=run_id)
    notes = [*_notes(outcomes, ledger.count_held(shop.shop_id), read_again=read_again)]
    ended = _end(record, outcomes, changed, notes, folded)
    facts = {**ended.facts, "calls": postscript.calls}
    record = replace(ended, facts=facts, seconds=time.monotonic() - clock)
    ledger.save_run(record)
    return Run(record=record, plan=plan, events=events, changes=changed)


def _remember(
    plan: Plan, folded: Folded | None, record: RunRecord, ledger: LedgerStore, *, is_stopping: bool
) -> None:
    """Keep what a live run was asked for; apart where it must not be carried out."""
    if folded is None:
        return
    if plan.exceeds_removal_limit or is_stopping:
        # Kept apart: what is remembered, the next run carries out unasked.
        cause = "limit" if plan.exceeds_removal_limit else "person"
        ledger.hold(record.shop_id, record.run_id, folded.state, cause=cause)
        return
    ledger.save_state(record.shop_id, record.run_id, folded.state)
    ledger.release_held(record.shop_id, folded.state)
    if plan.reached is not None:
        ledger.save_reached(record.shop_id, newly_reached(plan.changes, plan.reached))


def _end(
    record: RunRecord, outcomes: Outcomes, changed: pd.DataFrame, notes: Sequence[str], folded: Folded | None
) -> RunRecord:
    """Return the record of a run that has ended, but for what it took."""
    return replace(
        record,
        status=_run_status(outcomes, changed).value,
        error=outcomes.error or _attention_sentence(changed, outcomes.unresolved),
        facts={
            **record.facts,
            "stopped_by": outcomes.cause.value,
            "events": {name: outcomes.events[state] for state, name in EVENT_STATES.items()},
            "read_again": outcomes.reads_again,
            "notes": [*notes],
            "members": {} if folded is None else _count_members(folded),
            "dated_ahead": 0 if folded is None else folded.ahead,
        },
        finished_at=datetime.now(UTC).replace(tzinfo=None),
    )


def _kind_of(plan: Plan, folded: Folded | None) -> str:
    """Return what the plan, or the events that it comes from, were made as; one of RUN_KINDS."""
    return folded.kind if folded is not None and plan.kind == "sync" else plan.kind


def _closed(plan: Plan, shop_id: str, ledger: LedgerStore, run_id: str) -> set[Pair]:
    """Return subscriber and audience of the plan's custom events that are not posted again."""
    rows = plan.announced
    ids = planned_ids(rows, shop_id, run_id=run_id)
    done = ledger.find_closed(ids)
    pairs = zip(rows["subscriber_id"], rows["audience_key"], strict=True)
    return {pair for external_id, pair in zip(ids, pairs, strict=True) if external_id in done}


def _notes(outcomes: Outcomes, held: Mapping[str, int], *, read_again: bool) -> Iterator[str]:
    if outcomes.reads_again and not read_again:
        yield "Others write to the same lists: from then on each subscriber was read again before its write."
    for run_id, count in held.items():
        yield (
            f"{count} memberships of run {run_id} are held back; newer events replace them. "
            'Run with held_changes "apply" or "discard" to decide about them.'
        )


def _check(plan: Plan, folded: Folded | None, changed: pd.DataFrame) -> None:
    """Raise ReconciliationError unless every event and every membership and trait has its one status."""
    asked = len(plan.changes)
    if folded is not None:
        check_totals(folded.received, folded.statuses, of="events")
        # Beside what the state asks for: subscribers who have audiences because of people who are others now.
        moved = plan.changes["subscriber_id"].notna() & plan.changes["match_method"].isna()
        asked = len(folded.state.memberships) + len(folded.state.traits) + int(moved.sum())
    check_totals(asked, count_statuses(changed), of="memberships and traits")


def _facts(
    plan: Plan,
    postscript: Postscript,
    calls: Mapping[str, int],
    cost: CostEstimate | None,
    parameters: Mapping[str, Any] | None,
) -> dict[str, Any]:
    # A ledger's URL may hold a password.
    given = {name: value for name, value in (parameters or {}).items() if name != "ledger_url"}
    return {
        "parameters": given,
        "planned_calls": sum(calls.values()),
        "planned_calls_by_kind": calls,
        "planned_minutes": cost and cost.minutes,
        "official_calls_by_kind": cost and cost.official,
        "calls": postscript.calls,
        "custom_events": plan.custom_events,
        "removal_share": plan.removal_share,
        "max_removal_share": plan.max_removal_share,
    }


def _count_members(folded: Folded) -> dict[str, int]:
    """Return audience → people whose newest word says in, 0 for one that everybody has left."""
    counted = folded.state.memberships.groupby("audience_key")["member"].sum()
    return {str(key): int(count) for key, count in counted.items()}


def _run_status(outcomes: Outcomes, changed: pd.DataFrame) -> RunStatus:
    if outcomes.canceled:
        return RunStatus.CANCELED
    if outcomes.error:
        return RunStatus.FAILED
    if outcomes.unresolved or changed["status"].isin([*NEEDS_ATTENTION]).any():
        return RunStatus.COMPLETED_WITH_ERRORS
    return RunStatus.COMPLETED


def _attention_sentence(changed: pd.DataFrame, unresolved: int) -> str:
    needing = changed.loc[changed["status"].isin([*NEEDS_ATTENTION]), "status"].value_counts()
    ended = [f"{n} changes ended as {status}" for status, n in needing.items()]
    if unresolved:
        ended.append(f"{unresolved} custom events left over from earlier runs were not confirmed")
    return f"{', '.join(ended)}." if ended else ""
