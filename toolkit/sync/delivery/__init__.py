"""Send a plan's writes and custom events, in order, and record what became of each.

Order: subscribers who must stop receiving, then the other writes, then the custom events, so that targeting
is right before anything is triggered. One write per subscriber, its events after it. Every write is in
the journal before it leaves, and its custom events with it, so that a run that dies can be taken up.
"""

from __future__ import annotations

from toolkit.errors import LedgerError

from .custom_events import Poster, take_up
from .execution import CANCELED, Execution, StopReason
from .writes import Writer


def deliver(run: Execution) -> None:
    """Send everything, in order, until done or stopped; *run* holds what became of it."""
    plan, writer = run.plan, Writer(run)
    try:
        run.ledger.close_calls(run.shop_id)
        left_over = [] if plan.custom_events == "none" else take_up(run)
        removals = int(plan.writes["has_removal"].sum())
        for group in (range(removals), range(removals, len(plan.writes))):
            _write(run, writer, group)
        if not run.is_stopping:
            run.ledger.check_lock(run.shop_id)
            # While its write is still to come, what its list will hold is unknown.
            left_over = [t for t in left_over if t.subscriber_id not in writer.unsettled]
            Poster(run, left_over, writer.due).post_all()
    except LedgerError as error:
        run.stop(str(error), StopReason.LEDGER)
    except KeyboardInterrupt:
        run.stop(CANCELED, StopReason.CANCELED)


def _write(run: Execution, writer: Writer, group: range) -> None:
    """Write a group: the first ones checked, until it is certain that writing loses nothing."""
    run.ledger.check_lock(run.shop_id)
    first = group.start
    while first < group.stop and not run.is_stopping:
        if first >= run.canary and (writer.is_proved or not writer.get(first).others):
            break
        writer.write(first, is_checked=True)
        first += 1
    run.for_all(writer.write, range(first, group.stop))
