"""Where the events of a run went, step by step, in the words of Segment's Delivery Overview.

Up to "Superseded" events are counted, from "Unmatched" on persons × audiences and traits: what is asked for
outlives the events of one run, so the second number is not what is left of the first.
"""

from __future__ import annotations

import pandas as pd

from toolkit.statuses import ChangeStatus, EventStatus
from toolkit.sync.runs import Audit

EVENT_STEPS = {
    "Filtered": (
        EventStatus.DUPLICATE,
        EventStatus.FILTERED_INTEGRATIONS,
        EventStatus.FILTERED_CONSENT,
        EventStatus.NO_MATCHING_MAPPING,
        EventStatus.NOT_AN_AUDIENCE_EVENT,
    ),
    "Invalid": (EventStatus.MALFORMED, EventStatus.INVALID_PAYLOAD, EventStatus.NO_MEMBERSHIP_VALUE),
    "Superseded": (EventStatus.SUPERSEDED,),
    "Counted": (EventStatus.COUNTED,),
}
CHANGE_STEPS = {
    "Unmatched": (
        ChangeStatus.WAITING,
        ChangeStatus.AMBIGUOUS,
        ChangeStatus.NO_USABLE_CONTACT,
        ChangeStatus.NOT_LOOKED_UP,
    ),
    "Unchanged": (ChangeStatus.UNCHANGED,),
    "Skipped": (ChangeStatus.SKIPPED,),
    "Delivered": (ChangeStatus.ADDED, ChangeStatus.REMOVED, ChangeStatus.UPDATED),
    "To deliver": (ChangeStatus.WOULD_ADD, ChangeStatus.WOULD_REMOVE, ChangeStatus.WOULD_UPDATE),
    "Rejected": (ChangeStatus.REJECTED, ChangeStatus.CONFLICT),
    "Pending retry": (ChangeStatus.FAILED, ChangeStatus.PENDING),
    "Unconfirmed": (ChangeStatus.UNKNOWN,),
}
"""Step → the statuses that end there. Each status is in one step."""
_SHOWN_ONLY_WITH_ROWS = ("Skipped", "Unconfirmed")


def funnel_table(audit: Audit) -> pd.DataFrame:
    """Lay the funnel out, one row a step.

    Columns: ``of`` (events, changes), ``step``, ``count``, ``share`` (0 to 1, of all of its kind),
    ``statuses`` (text).
    """
    other = "To deliver" if audit.record.mode == "live" else "Delivered"
    rows = []
    for kind, of, steps in (("event", "events", EVENT_STEPS), ("change", "changes", CHANGE_STEPS)):
        found = audit.statuses(kind)
        whole = sum(found.values())
        first = "Received" if kind == "event" else "Asked for"
        rows.append((of, first, audit.record.received if kind == "event" else whole, 1.0, ""))
        for step, statuses in steps.items():
            count = sum(found.get(status.value, 0) for status in statuses)
            said = ", ".join(f"{found[s]:,} {s.replace('_', ' ')}" for s in statuses if s in found)
            if step != other and (count or step not in _SHOWN_ONLY_WITH_ROWS):
                rows.append((of, step, count, count / max(whole, 1), said))
    return pd.DataFrame(rows, columns=["of", "step", "count", "share", "statuses"])
