"""One run: carry a plan out, or rehearse it, and record how each membership and trait ended."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ParamSpec

import pandas as pd

from toolkit.audiences.memberships import Folded, count_statuses
from toolkit.errors import RunFailedError, ToolkitError
from toolkit.frames import empty_table
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import NEEDS_ATTENTION, RunStatus, check_totals

from .cost import CostEstimate, planned_calls
from .delivery import Execution, StopReason, deliver
from .delivery.transitions import expect, planned_ids
from .plan import Plan, newly_reached, settled
from .plan.removal_limit import removal_limit_sentence
from .runs import LedgerStore, RunRecord

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
        facts = self.record.facts
        return {
            **self.record.summary(),
            "event_statuses": self.event_statuses,
            "memberships": int(self.changes["audience_key"].notna().sum()),
            "traits": int(self.changes["trait_key"].notna().sum()),
            "members": facts["members"],
            "dated_ahead": facts["dated_ahead"],
            "change_statuses": self.change_statuses,
            "adds": self.plan.adds,
            "removes": self.plan.removes,
            "updates": self.plan.updates,
            "custom_events": self.plan.transitions - facts["custom_events_closed"],
            **{f"custom_events_{n}": count for n, count in facts["events"].items()},
            "removal_share": round(self.plan.removal_share, 4),
            "planned_calls_by_kind": facts["planned_calls_by_kind"],
            "planned_minutes": facts["planned_minutes"],
            "official_calls_by_kind": facts["official_calls_by_kind"],
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
    unreached is ``pending``, and the ledger knows how far it got. ShopLockedError when another live run is
    writing to the shop; ReconciliationError when the totals do not add up, a fault of the toolkit.

    Parameters
    ----------
    folded
        The events that the plan comes from; None when it comes from none, as an undo does.
    canary
        Subscribers that are written one by one first, and read before and after; when one of them lost
        something, what it held is put back and the run stops.
    read_again
        True reads every subscriber again before its write, one more call each: for shops where another tool
        writes the same list meanwhile. It switches itself on when an answer shows that.
    repeat_unknown
        True posts custom events again that were not confirmed, as far as the list still agrees; people whose
        answer was lost may get a second text.
    on_progress
        Called after each call with how many of how many are done, and status → changes that ended so far.
    cancel
        Set from another thread, it ends the run as ``canceled``; what is under way finishes, as after an
        interrupt.
    """
    clock = time.monotonic()
    run = Execution(plan, shop, postscript, ledger, on_progress=on_progress, cancel=cancel)
    options: dict[str, Any] = {"canary": canary, "read_again": read_again, "repeat_unknown": repeat_unknown}
    record = RunRecord(
        run_id=run.run_id,
        shop_id=shop.shop_id,
        shop_name=shop.name,
        mode="dry_run" if dry_run else "live",
        status=RunStatus.RUNNING.value,
        received=folded.received if folded else 0,
        started_at=run.started_at,
        facts=_facts(run, folded, cost, parameters, **options),
    )
    ledger.save_run(record)
    if plan.exceeds_removal_limit:
        run.stop(removal_limit_sentence(plan), StopReason.REMOVAL_LIMIT)
    if not dry_run:
        _carry_out(run, folded, record, **options)
    return _end(run, folded, record, clock)


def _facts(
    run: Execution,
    folded: Folded | None,
    cost: CostEstimate | None,
    parameters: Mapping[str, Any] | None,
    *,
    canary: int,
    read_again: bool,
    repeat_unknown: bool,
) -> dict[str, Any]:
    """Return what is known of a run before it begins."""
    plan, ledger, calls_so_far = run.plan, run.ledger, run.postscript.calls
    ids = planned_ids(plan, run.shop_id, run_id=run.run_id)
    closed = {ids[external_id] for external_id in ledger.find_closed(ids)}
    left = ledger.load_unknown_transitions(run.shop_id) if repeat_unknown else []
    left += ledger.load_open_transitions(run.shop_id)
    calls = planned_calls(
        plan,
        reads=sum(calls_so_far.values()),
        canary=canary,
        read_again=read_again,
        left_over=expect(plan, left, closed=closed),
    )
    return {
        # A ledger's URL may hold a password.
        "parameters": {name: value for name, value in (parameters or {}).items() if name != "ledger_url"},
        "kind": folded.kind if folded is not None and plan.kind == "sync" else plan.kind,
        "planned_calls": sum(calls.values()),
        "planned_calls_by_kind": calls,
        "planned_minutes": cost and cost.minutes,
        "official_calls_by_kind": cost and cost.official,
        "calls": calls_so_far,
        "read_again": read_again,
        "custom_events": plan.custom_events,
        "custom_events_closed": len(closed),
        "removal_share": plan.removal_share,
        "max_removal_share": plan.max_removal_share,
    }


def _carry_out(run: Execution, folded: Folded | None, record: RunRecord, **options: Any) -> None:
    try:
        if folded is not None:
            _remember(run, folded)
        if not run.plan.exceeds_removal_limit:
            deliver(run, **options)
    except Exception as error:
        # Not Postscript's doing (a full disk, say): the ledger must not show "running" for ever.
        reason = str(error) if isinstance(error, ToolkitError) else type(error).__name__
        run.ledger.save_run(replace(record, status=RunStatus.FAILED.value, error=reason))
        raise


def _remember(run: Execution, folded: Folded) -> None:
    """Keep what a live run was asked for; apart where it must not be carried out."""
    ledger, plan = run.ledger, run.plan
    if plan.exceeds_removal_limit or run.is_stopping:
        # Kept apart: what is remembered, the next run carries out unasked.
        cause = "limit" if plan.exceeds_removal_limit else "person"
        ledger.hold(run.shop_id, run.run_id, folded.state, cause=cause)
        return
    ledger.save_state(run.shop_id, run.run_id, folded.state)
    ledger.release_held(run.shop_id, folded.state)
    if plan.reached is not None:
        ledger.save_reached(run.shop_id, newly_reached(plan.changes, plan.reached))


def _end(run: Execution, folded: Folded | None, record: RunRecord, clock: float) -> Run:
    """Record how a run ended, and return it."""
    changed = run.table()
    events = empty_table(PAYLOAD_COLUMNS) if folded is None else folded.events
    _check(run.plan, folded, changed)
    run.ledger.save_results(run.run_id, events, changed)
    if record.mode == "live" and len(run.plan.left):
        run.ledger.save_reached(run.shop_id, settled(run.plan.left, changed), left_in=run.run_id)
    needing = changed.loc[changed["status"].isin([*NEEDS_ATTENTION]), "status"].value_counts()
    sentence, status = _attention_sentence(needing, run.events["unresolved"]), RunStatus.COMPLETED
    if run.error:
        status = RunStatus.CANCELED if run.stopped_by is StopReason.CANCELED else RunStatus.FAILED
    elif sentence:
        status = RunStatus.COMPLETED_WITH_ERRORS
    facts = {
        "stopped_by": run.stopped_by.value,
        "events": {name: run.events[state] for state, name in EVENT_STATES.items()},
        "read_again": record.facts["read_again"] or run.others_write,
        "notes": [*_notes(run, read_again=record.facts["read_again"])],
        "members": {} if folded is None else _count_members(folded),
        "dated_ahead": 0 if folded is None else folded.ahead,
        "calls": run.postscript.calls,
    }
    record = replace(
        record,
        status=status.value,
        error=run.error or sentence,
        facts={**record.facts, **facts},
        finished_at=datetime.now(UTC).replace(tzinfo=None),
        seconds=time.monotonic() - clock,
    )
    run.ledger.save_run(record)
    return Run(record=record, plan=run.plan, events=events, changes=changed)


def _attention_sentence(needing: pd.Series, unresolved: int) -> str:
    """Return what a run that completed left to look at; empty when there is nothing."""
    ended = [f"{n} changes ended as {status}" for status, n in needing.items()]
    if unresolved:
        ended.append(f"{unresolved} custom events left over from earlier runs were not confirmed")
    return f"{', '.join(ended)}." if ended else ""


def _notes(run: Execution, *, read_again: bool) -> Iterator[str]:
    if run.others_write and not read_again:
        yield "Others write to the same lists: from then on each subscriber was read again before its write."
    for run_id, count in run.ledger.count_held(run.shop_id).items():
        yield (
            f"{count} memberships of run {run_id} are held back; newer events replace them. "
            'Run with held_changes "apply" or "discard" to decide about them.'
        )


def _check(plan: Plan, folded: Folded | None, changed: pd.DataFrame) -> None:
    """Raise ReconciliationError unless every event and every membership and trait has its one status."""
    expected = len(plan.changes)
    if folded is not None:
        check_totals(folded.received, folded.statuses, of="events")
        # Beside what the state asks for: subscribers who have audiences because of people who are others now.
        moved = plan.changes["subscriber_id"].notna() & plan.changes["match_method"].isna()
        expected = len(folded.state.memberships) + len(folded.state.traits) + int(moved.sum())
    check_totals(expected, count_statuses(changed), of="memberships and traits")


def _count_members(folded: Folded) -> dict[str, int]:
    """Return audience → people whose latest value is in, 0 for one that everybody has left."""
    counted = folded.state.memberships.groupby("audience_key")["member"].sum()
    return {str(key): int(count) for key, count in counted.items()}
