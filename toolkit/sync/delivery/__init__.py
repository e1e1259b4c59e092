"""Send a plan's writes and custom events, in order, and know what became of each.

Order: subscribers who must stop receiving, then the other writes, then the custom events, so that targeting
is right before anything is triggered. One write per subscriber, its events after it. Every write is in
the journal before it leaves, and its custom events with it, so that a run that dies can be taken up.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.contacts import mask_text
from toolkit.errors import LedgerError
from toolkit.postscript.lookup import Postscript
from toolkit.statuses import get_reason
from toolkit.sync.plan import Plan
from toolkit.sync.runs import Transition
from toolkit.sync.store import LedgerStore

from .outcomes import Cause, Outcomes
from .transitions import Poster, planned_ids, transition_id
from .writes import Writer

__all__ = [
    "Cause",
    "Delivery",
    "Outcomes",
    "planned_ids",
    "removal_limit_sentence",
    "transition_id",
]


def removal_limit_sentence(plan: Plan) -> str:
    """Say by how much the plan exceeds its limit on removals, and what to do."""
    found = plan.removals
    which = f"{plan.removes} memberships, {found.share:.0%} of those looked at"
    if found.audience_share > max(found.share, plan.max_removal_share):
        key = mask_text(found.audience_key)
        which += f", and of the audience {key} {found.audience_removes}, {found.audience_share:.0%}"
    return (
        f"The plan removes {which}; max_removal_share allows {plan.max_removal_share:.0%}. "
        "Nothing was written. " + get_reason("REMOVAL_LIMIT").fix
    )


@dataclass(kw_only=True)
class Delivery:
    """One live run."""

    run_id: str
    shop_id: str
    plan: Plan
    postscript: Postscript
    journal: LedgerStore
    outcomes: Outcomes
    canary: int
    """Subscribers who are written one by one first, each read before and after."""
    read_again: bool
    """True reads every subscriber again before its write: another tool writes to the same list."""
    repeat_unknown: bool
    """True posts custom events again that were not confirmed."""

    def carry_out(self) -> None:
        """Send everything, in order, until done or stopped."""
        if self.plan.exceeds_removal_limit:
            self.outcomes.stop(removal_limit_sentence(self.plan), Cause.REMOVAL_LIMIT)
            return
        writer = Writer(
            run_id=self.run_id,
            shop_id=self.shop_id,
            plan=self.plan,
            postscript=self.postscript,
            journal=self.journal,
            outcomes=self.outcomes,
        )
        self.outcomes.reads_again = self.read_again
        poster = Poster(
            run_id=self.run_id,
            shop_id=self.shop_id,
            postscript=self.postscript,
            journal=self.journal,
            outcomes=self.outcomes,
        )
        try:
            self.journal.close_calls(self.shop_id)
            left_over: list[Transition] = []
            if self.plan.custom_events != "none":
                left_over = poster.take_up(repeat_unknown=self.repeat_unknown)
            removals = int(self.plan.writes["has_removal"].sum())
            self._write(writer, range(removals))
            self._write(writer, range(removals, len(self.plan.writes)))
            if not self.outcomes.is_stopping:
                self.outcomes.check()
                # While its write is still to come, what its list will hold is unknown.
                left_over = [t for t in left_over if t.subscriber_id not in writer.unsettled]
                poster.post_all(left_over, writer.due.values())
        except LedgerError as error:
            self.outcomes.stop(str(error), Cause.LEDGER)
        except KeyboardInterrupt:
            self.outcomes.cancel()

    def _write(self, writer: Writer, group: range) -> None:
        """Write a group: the first ones checked, until it is certain that writing loses nothing."""
        self.outcomes.check()
        first = group.start
        while first < group.stop and not self.outcomes.is_stopping:
            has_others = writer.get(first).others > 0
            if first >= self.canary and (writer.is_proved or not has_others):
                break
            writer.write_read_again(first)
            first += 1
        self.outcomes.for_all(writer.write, range(first, group.stop))
