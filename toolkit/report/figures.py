"""The figures of a report: the funnel, calls against the plan, the run before, the lists that were written.

The funnel shows where the events of a run went, in the words of Segment's Delivery Overview. Up to
"Superseded" events are counted, from "Unmatched" on memberships and traits: what earlier runs asked for is
among them, so the second number is not what is left of the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from toolkit.postscript import api
from toolkit.statuses import ChangeStatus, EventStatus
from toolkit.sync.runs import Audit, RunRecord, sum_statuses

from .charts import in_words
from .rows import audience_list, clipped, sent_or_not

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
_LISTED = ("ENTERED", "ALREADY_IN", "EVENT_ALREADY_SENT", "UNDO_ADDED")
"""Reasons of a membership that stands on the subscriber's list after the run, or after a dry run would."""
_DONE = ("added", "would_add", "unchanged")
_KIND_OF_METHOD = {"GET": "reads", "PATCH": "writes", "POST": "custom_events"}


def run_funnel_table(audit: Audit) -> pd.DataFrame:
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
            listed = ", ".join(f"{found[s]:,} {in_words(s)}" for s in statuses if s in found)
            if step != other and (count or step not in _SHOWN_ONLY_WITH_ROWS):
                rows.append((of, step, count, count / max(whole, 1), listed))
    return pd.DataFrame(rows, columns=["of", "step", "count", "share", "statuses"])


# --- calls -------------------------------------------------------------------------------------------------


def calls_by_kind(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row a kind of call, and all: what was planned, made, and what Segment's action would make."""
    planned, official = facts.get("planned_calls_by_kind") or {}, facts.get("official_calls_by_kind")
    made: Counter[str] = Counter()
    for route, count in facts.get("calls", {}).items():
        made[_KIND_OF_METHOD[route.partition(" ")[0]]] += count
    rows = [
        {
            "kind": kind,
            "planned": planned.get(kind, 0) + (planned.get("reads_again", 0) if kind == "reads" else 0),
            "made": made[kind],
            "official": official[kind] if official else None,
        }
        for kind in _KIND_OF_METHOD.values()
    ]
    sums = {name: sum(row[name] for row in rows) for name in ("planned", "made")}
    return [*rows, {"kind": "all", **sums, "official": sum(official.values()) if official else None}]


def calls_a_second(audit: Audit) -> float | None:
    """Return how many calls a second the writing took, reads left out: they came before."""
    made = audit.record.facts.get("calls", {}).items()
    written = sum(count for route, count in made if not route.startswith("GET"))
    return written / audit.record.seconds if written and audit.record.seconds else None


def answer_times(calls: pd.DataFrame) -> dict[str, float]:
    """Return ``median`` and ``slowest`` of the seconds from leaving to answer, and how many took more tries.

    Waiting for the pace and for another try is in it. Nothing when no call has ended.
    """
    seconds = (pd.to_datetime(calls["finished_at"]) - pd.to_datetime(calls["started_at"])).dt.total_seconds()
    if not seconds.notna().any():
        return {}
    again = int((pd.to_numeric(calls["tries"]) > 1).sum())
    return {"median": float(seconds.median()), "slowest": float(seconds.max()), "again": again}


def posted_events(calls: pd.DataFrame) -> dict[str, int]:
    """Return what became of the custom events that were posted: sent, and otherwise by the error's class."""
    posts = calls[calls["route"] == api.EVENT_ROUTE]
    return {str(k): int(v) for k, v in posts["outcome"].map(sent_or_not).value_counts().items()}


# --- the run before ----------------------------------------------------------------------------------------


def figures_beside(audit: Audit) -> pd.DataFrame:
    """Return the figures of the run beside those of the run before: ``what``, ``now``, ``before``."""
    if audit.previous is None:
        return pd.DataFrame(columns=["what", "now", "before"])
    now = _figures(audit.record, audit.totals)
    before = _figures(audit.previous.record, audit.previous.totals)
    names = dict.fromkeys((*now, *before))
    rows = [(name, now.get(name, 0), before.get(name, 0)) for name in names]
    return pd.DataFrame(rows, columns=["what", "now", "before"])


def _figures(record: RunRecord, totals: pd.DataFrame) -> Mapping[str, int]:
    changes = {in_words(name): count for name, count in sum_statuses(totals, "change").items()}
    calls = sum(record.facts.get("calls", {}).values())
    return {"events received": record.received, "calls made": calls, **changes}


def sizes_beside(audit: Audit) -> pd.DataFrame:
    """Return how many subscribers have each audience on their list: audience_key, ``now``, ``before``."""
    if audit.previous is None:
        return pd.DataFrame(columns=["audience_key", "now", "before"])
    both = {"now": _sizes(audit.totals), "before": _sizes(audit.previous.totals)}
    table = pd.DataFrame(both).fillna(0).astype("int64")
    # Of an audience that one of the two runs did not look at, the sizes cannot be compared.
    frames = pd.concat([audit.totals, audit.previous.totals])
    unseen = frames.loc[frames["reason_code"] == "NOT_CHOSEN", "audience_key"].astype("str")
    table = table[~table.index.isin(unseen)]
    return table.rename_axis("audience_key").reset_index()


def _sizes(totals: pd.DataFrame) -> pd.Series:
    known = totals[(totals["kind"] == "change") & (totals["audience_key"] != "")]
    listed = known["reason_code"].isin(_LISTED) & known["status"].isin(_DONE)
    return known["count"].where(listed, 0).groupby(known["audience_key"].astype("str")).sum()


def rewritten_lists(audit: Audit, *, limit: int) -> list[dict[str, Any]]:
    """Return the first lists that the run wrote: subscriber_id, person (masked), ``before`` and ``after``.

    From the journal's before-images. ``person`` is empty for a run that was killed: only its calls are known.
    """
    is_written = (audit.calls["route"] == api.WRITE_ROUTE) & (audit.calls["outcome"] == "ok")
    writes = audit.calls[is_written].drop_duplicates("subscriber_id").head(limit)
    known = audit.changes[audit.changes["subscriber_id"].isin(writes["subscriber_id"])]
    people = dict(zip(known["subscriber_id"], known["person"], strict=True))
    return [
        {
            "subscriber_id": clipped(row.subscriber_id),
            "person": clipped(people.get(row.subscriber_id, "")),
            "before": [*map(clipped, audience_list(row.before) or ())],
            "after": [*map(clipped, after)],
        }
        for row in writes.itertuples()
        if (after := audience_list(row.after)) is not None  # else only traits were written
    ]
