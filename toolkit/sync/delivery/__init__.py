"""Send a plan's writes and custom events, in order, and record what became of each.

Order: subscribers who must stop receiving, then the other writes, then the custom events, so that targeting
is right before anything is triggered. One write per subscriber, its events after it. Every write is in
the journal before it leaves, and its custom events with it, so that a run that dies can be taken up.
"""

from __future__ import annotations

from toolkit.errors import LedgerError
from toolkit.sync.runs import Transition

from .execution import CANCELED, Execution, StopReason
from .transitions import Poster
from .writes import Writer

__all__ = ["Execution", "StopReason", "deliver"]


def deliver(run: Execution, *, canary: int, read_again: bool, repeat_unknown: bool) -> None:
    """Send everything, in order, until done or stopped; *run* holds what became of it.

    *canary* subscribers are written one by one first, each read before and after; with *read_again* every
    one is read before. *repeat_unknown* posts custom events again that were not confirmed.
    """
    plan = run.plan
    writer, poster = Writer(run, read_again=read_again), Poster(run)
    try:
        run.ledger.close_calls(run.shop_id)
        left_over: list[Transition] = []
        if plan.custom_events != "none":
            left_over = poster.take_up(repeat_unknown=repeat_unknown)
        removals = int(plan.writes["has_removal"].sum())
        for group in (range(removals), range(removals, len(plan.writes))):
            _write(run, writer, group, canary)
        if not run.is_stopping:
            run.check()
            # While its write is still to come, what its list will hold is unknown.
            left_over = [t for t in left_over if t.subscriber_id not in writer.unsettled]
            poster.post_all(left_over, writer.due.values())
    except LedgerError as error:
        run.stop(str(error), StopReason.LEDGER)
    except KeyboardInterrupt:
        run.stop(CANCELED, StopReason.CANCELED)


def _write(run: Execution, writer: Writer, group: range, canary: int) -> None:
    """Write a group: the first ones checked, until it is certain that writing loses nothing."""
    run.check()
    first = group.start
    while first < group.stop and not run.is_stopping:
        has_others = writer.get(first).others > 0
        if first >= canary and (writer.is_proved or not has_others):
            break
        writer.write_read_again(first)
        first += 1
    run.for_all(writer.write, range(first, group.stop))
