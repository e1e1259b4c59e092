"""One run: carry a plan out, or rehearse it, and record how each membership and trait ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from toolkit.audiences.memberships import Folded, count_statuses
from toolkit.errors import RunFailedError, ToolkitError
from toolkit.frames import empty_table
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import NEEDS_ATTENTION, RunStatus, check_totals

from .cost import CostEstimate, planned_calls
from .delivery import deliver
from .delivery.custom_events import expect, transitions_of
from .delivery.execution import Execution, StopReason
from .plan import Plan
from .plan.matching import newly_reached, settled
from .plan.removal_limit import removal_limit_sentence
from .runs import LedgerStore, RunRecord


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
            "change_statuses": self.change_statuses,
            "adds": self.plan.adds,
            "removes": self.plan.removes,
            "updates": self.plan.updates,
            "custom_events": self.plan.transitions - facts["custom_events_closed"],
            **{f"custom_events_{n}": count for n, count in facts["events"].items()},
            "removal_share": round(self.plan.removal_share, 4),
            **{name: facts[name] for name in ("members", "dated_ahead", "planned_minutes")},
            **{name: facts[name] for name in ("planned_calls_by_kind", "official_calls_by_kind")},
            "started_at": self.record.started_at.isoformat() + "Z",
        }

    def raise_if_failed(self) -> None:
        """Raise RunFailedError unless the run completed without errors."""
        if self.record.status != RunStatus.COMPLETED:
            raise RunFailedError(
                f"Run {self.record.run_id} ended as {self.record.status}. {self.record.error} "
                "Its evidence is saved; open 4_audit_report."
            )


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
    run = Execution(
        plan=plan,
        folded=folded,
        shop=shop,
        postscript=postscript,
        ledger=ledger,
        canary=canary,
        read_again=read_again,
        repeat_unknown=repeat_unknown,
        on_progress=on_progress,
        cancel=cancel or threading.Event(),
    )
    with nullcontext() if dry_run else ledger.holding(shop.shop_id):
        return _run(run, cost, parameters or {}, mode="dry_run" if dry_run else "live")


def _run(run: Execution, cost: CostEstimate | None, parameters: Mapping[str, Any], *, mode: str) -> Run:
    """Record a run from its start to its end, and carry it out if it is a live one."""
    clock = time.monotonic()
    record = RunRecord(
        run_id=run.run_id,
        shop_id=run.shop_id,
        shop_name=run.shop.name,
        mode=mode,
        status=RunStatus.RUNNING.value,
        received=run.folded.received if run.folded else 0,
        started_at=run.started_at,
        facts=_facts(run, cost, parameters),
    )
    run.ledger.save_run(record)
    if run.plan.exceeds_removal_limit:
        run.stop(removal_limit_sentence(run.plan), StopReason.REMOVAL_LIMIT)
    if mode == "live":
        try:
            _remember(run)
            if not run.is_stopping:
                deliver(run)
        except Exception as error:
            # Not Postscript's doing (a full disk, say): the ledger must not show "running" for ever.
            reason = str(error) if isinstance(error, ToolkitError) else type(error).__name__
            run.ledger.save_run(replace(record, status=RunStatus.FAILED.value, error=reason))
            raise
    return _end(run, record, clock)


def _facts(run: Execution, cost: CostEstimate | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a run before it begins."""
    plan, ledger, calls_so_far = run.plan, run.ledger, run.postscript.calls
    own = transitions_of(plan.announced, run.shop_id, run_id=run.run_id).values()
    done = ledger.find_closed(t.external_id for t in own)
    closed = {(t.subscriber_id, t.audience_key) for t in own if t.external_id in done}
    left = ledger.load_unknown_transitions(run.shop_id) if run.repeat_unknown else []
    left += ledger.load_open_transitions(run.shop_id)
    calls = planned_calls(
        plan,
        reads=sum(calls_so_far.values()),
        canary=run.canary,
        read_again=run.read_again,
        left_over=expect(plan, left, closed=closed),
    )
    return {
        # A ledger's URL may hold a password.
        "parameters": {name: value for name, value in parameters.items() if name != "ledger_url"},
        "kind": run.folded.kind if run.folded is not None and plan.kind == "sync" else plan.kind,
        "planned_calls": sum(calls.values()),
        "planned_calls_by_kind": calls,
        "planned_minutes": cost and cost.minutes,
        "official_calls_by_kind": cost and cost.official,
        "calls": calls_so_far,
        "read_again": run.read_again,
        "custom_events": plan.custom_events,
        "custom_events_closed": len(closed),
    }


def _remember(run: Execution) -> None:
    """Keep what a live run was asked for; apart where it must not be carried out."""
    ledger, plan, folded = run.ledger, run.plan, run.folded
    if run.is_stopping and folded:
        # Kept apart: what is remembered, the next run carries out unasked.
        cause = "limit" if plan.exceeds_removal_limit else "person"
        ledger.hold(run.shop_id, run.run_id, folded.state, cause=cause)
    elif folded:
        ledger.save_state(run.shop_id, run.run_id, folded.state)
        ledger.release_held(run.shop_id, folded.state)
        # Of a saved plan, what is not sent was not compared with who people are now.
        is_sent = (plan.kind != "saved_plan") | plan.changes["operation"].notna()
        known = ledger.load_reached(run.shop_id)
        ledger.save_reached(run.shop_id, newly_reached(plan.changes[is_sent], known))


def _end(run: Execution, record: RunRecord, clock: float) -> Run:
    """Record how a run ended, and return it."""
    folded, changed = run.folded, run.table()
    events = folded.events if folded else empty_table(PAYLOAD_COLUMNS)
    _check(run.plan, folded, changed)
    run.ledger.save_results(run.run_id, events, changed)
    if record.mode == "live" and len(run.plan.left):
        run.ledger.save_reached(run.shop_id, settled(run.plan.left, changed), left_in=run.run_id)
    needing = changed.loc[changed["status"].isin([*NEEDS_ATTENTION]), "status"].value_counts()
    ended = [f"changes that ended as {status}: {count}" for status, count in needing.items()]
    if unresolved := run.events["unresolved"]:
        ended.append(f"custom events of earlier runs that were not confirmed: {unresolved}")
    status = RunStatus.COMPLETED_WITH_ERRORS if ended else RunStatus.COMPLETED
    if run.error:
        status = RunStatus.CANCELED if run.stopped_by is StopReason.CANCELED else RunStatus.FAILED
    # Audience → people whose latest value is in, 0 for one that everybody has left.
    members = folded.state.memberships.groupby("audience_key")["member"].sum().to_dict() if folded else {}
    facts = {
        "stopped_by": run.stopped_by.value,
        "events": {name: run.events[name] for name in ("posted", "unknown", "refused", "obsolete")},
        "read_again": run.read_again or run.others_write,
        "notes": [*_notes(run)],
        "members": members,
        "dated_ahead": folded.ahead if folded else 0,
        "calls": run.postscript.calls,
    }
    record = replace(
        record,
        status=status.value,
        error=run.error or (f"Not all was done: {', '.join(ended)}." if ended else ""),
        facts={**record.facts, **facts},
        finished_at=datetime.now(UTC).replace(tzinfo=None),
        seconds=time.monotonic() - clock,
    )
    run.ledger.save_run(record)
    return Run(record=record, plan=run.plan, events=events, changes=changed)


def _notes(run: Execution) -> Iterator[str]:
    if run.others_write and not run.read_again:
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
