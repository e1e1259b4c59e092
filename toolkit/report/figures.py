"""What a report states of a run: the funnel, the calls, the run before, what to do next.

The funnel shows where the events of a run went, in the words of Segment's Delivery Overview: first events,
then memberships and traits. Those of earlier runs are among these: they are not what is left of the events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from toolkit.postscript import api
from toolkit.statuses import get_reason, in_words, list_counts
from toolkit.sync.runs import Audit, RunRecord, sum_statuses

from .rows import sent_or_not

EVENT_STEPS = {
    "Filtered": (
        *("duplicate", "filtered_integrations", "filtered_consent", "no_matching_mapping"),
        "not_an_audience_event",
    ),
    "Invalid": ("malformed", "invalid_payload", "no_membership_value"),
    "Superseded": ("superseded",),
    "Counted": ("counted",),
}
CHANGE_STEPS = {
    "Unmatched": ("waiting", "ambiguous", "no_usable_contact", "not_looked_up"),
    "Unchanged": ("unchanged",),
    "Skipped": ("skipped",),
    "Delivered": ("added", "removed", "updated"),
    "To deliver": ("would_add", "would_remove", "would_update"),
    "Rejected": ("rejected", "conflict"),
    "Pending retry": ("failed", "pending"),
    "Unconfirmed": ("unknown",),
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
    events, changes = audit.statuses("event"), audit.statuses("change")
    rows = []
    for of, first, whole, found, steps in (
        ("events", "Received", audit.record.received, events, EVENT_STEPS),
        ("changes", "To sync", sum(changes.values()), changes, CHANGE_STEPS),
    ):
        rows.append((of, first, whole, 1.0, ""))
        for step, statuses in steps.items():
            count = sum(found.get(status, 0) for status in statuses)
            listed = list_counts({status: found[status] for status in statuses if status in found})
            if step != other and (count or step not in _SHOWN_ONLY_WITH_ROWS):
                rows.append((of, step, count, count / max(whole, 1), listed))
    return pd.DataFrame(rows, columns=["of", "step", "count", "share", "statuses"])


# --- calls


def calls_by_kind(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row a kind of call, and all: what was planned, made, and what Segment's action would make."""
    official = facts.get("official_calls_by_kind")
    planned = Counter[str](facts.get("planned_calls_by_kind"))
    planned["reads"] += planned.pop("reads_again", 0)
    made: Counter[str] = Counter()
    for route, count in facts.get("calls", {}).items():
        made[_KIND_OF_METHOD[route.partition(" ")[0]]] += count
    counted = {"planned": planned, "made": made, "official": Counter[str](official)}
    rows = [
        {"kind": kind, **{name: counts[kind] for name, counts in counted.items()}}
        for kind in _KIND_OF_METHOD.values()
    ]
    rows.append({"kind": "all", **{name: counts.total() for name, counts in counted.items()}})
    return rows if official else [{**row, "official": None} for row in rows]


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


# --- the run before


class Beside(NamedTuple):
    """A figure of the run, and of the run before."""

    what: str
    now: int
    before: int


def figures_beside(audit: Audit) -> list[Beside]:
    """Return the figures of the run beside those of the run before; nothing without one."""
    if audit.previous is None:
        return []
    runs = (audit.record, audit.totals), (audit.previous.record, audit.previous.totals)
    now, before = (_figures(record, totals) for record, totals in runs)
    return _beside(dict.fromkeys((*now, *before)), now, before)


def _figures(record: RunRecord, totals: pd.DataFrame) -> Mapping[str, int]:
    changes = {in_words(name): count for name, count in sum_statuses(totals, "change").items()}
    calls = sum(record.facts.get("calls", {}).values())
    return {"events received": record.received, "calls made": calls, **changes}


def sizes_beside(audit: Audit) -> list[Beside]:
    """Return how many subscribers have each audience on their list; nothing without a run before."""
    if audit.previous is None:
        return []
    now, before = _sizes(audit.totals), _sizes(audit.previous.totals)
    # Of an audience that one of the two runs did not look at, the sizes cannot be compared.
    frames = pd.concat([audit.totals, audit.previous.totals])
    unseen = {*frames.loc[frames["reason_code"] == "NOT_CHOSEN", "audience_key"].astype("str")}
    return _beside(sorted((now.keys() | before.keys()) - unseen), now, before)


def _sizes(totals: pd.DataFrame) -> dict[str, int]:
    known = totals[(totals["kind"] == "change") & (totals["audience_key"] != "")]
    listed = known["reason_code"].isin(_LISTED) & known["status"].isin(_DONE)
    sizes = known["count"].where(listed, 0).groupby(known["audience_key"].astype("str")).sum()
    return {str(key): int(size) for key, size in sizes.items()}


def _beside(names: Iterable[str], now: Mapping[str, int], before: Mapping[str, int]) -> list[Beside]:
    return [Beside(name, now.get(name, 0), before.get(name, 0)) for name in names]


# --- what to do next


FILES = {
    "4_audit_report/report.html": "this document; it needs nothing else",
    "4_audit_report/changes.csv": "the changes worth reading, for a spreadsheet: masked, no formulas",
    "4_audit_report/changes.parquet": "the same rows, with their types",
    "4_audit_report/summary.json": "the figures, for a scheduler",
    "3_sync_audiences/events.parquet": "of the latest sync: one row an event and mapping, with its status",
    "3_sync_audiences/changes.parquet": "of the latest sync: one row a membership or trait of a person, "
    "the unchanged and the waiting too",
    "ledger.db": "all runs, the desired memberships, and each call; not masked, so keep it private. "
    "ledger_url may name another place",
}
"""File → what it holds."""

_OF_CHANGES = {
    "would_": (
        "Changes that would be sent",
        "This was a dry run. To send them, run 3_sync_audiences with dry_run = False.",
    ),
    "failed": (
        "Could not be written",
        "Postscript could not be reached, or kept failing. Run the sync again.",
    ),
    "pending": ("Not reached", "The run ended before. Fix what ended it, then run the sync again."),
    "rejected": (
        "Refused by Postscript",
        "Read the message in the row table, fix the cause, then run the sync again.",
    ),
    "conflict": (
        "Left alone",
        "The write would overwrite what is not ours, or pass a limit: see the reasons above.",
    ),
    "ambiguous": ("Several subscribers match", get_reason("AMBIGUOUS_MATCH").fix),
    "no_usable_contact": ("No phone or email that can be used", get_reason("NO_CONTACT").fix),
    "waiting": ("Not subscribed yet", "Nothing to do: each is delivered on the first run after they opt in."),
}
"""Status, or how several begin → what it is, and what to do."""
_OF_EVENTS = {
    "malformed": (
        "Events that cannot be read",
        "See the reasons above, and fetch the files again.",
    ),
    "invalid_payload": ("Invalid events", get_reason("PAYLOAD_VALIDATION_FAILED").fix),
    "no_membership_value": ("Events that do not say in or out", "See the reasons above."),
}


@dataclass(frozen=True)
class Step:
    """Something to do, or to know that nothing is to be done."""

    what: str
    text: str
    count: int | None = None
    """Of how many; None for the run as a whole."""


def next_steps(audit: Audit) -> list[Step]:
    """Return what to do after this run, the most urgent first; never nothing."""
    changes = audit.statuses("change")
    held_back = int(audit.totals.loc[audit.totals["reason_code"] == "REMOVAL_LIMIT", "count"].sum())
    if held_back:
        changes["pending"] -= held_back
    steps = [
        *_of_run(audit.record, held_back),
        *_of_statuses(changes, _OF_CHANGES),
        *_of_postscript(audit),
        *_of_statuses(audit.statuses("event"), _OF_EVENTS),
    ]
    return steps or [Step("Nothing to do", "Everything arrived.")]


def _of_run(record: RunRecord, held_back: int) -> Iterator[Step]:
    if record.status == "running":
        yield Step("The run has not ended, or its process died", "If it died, run the sync again.")
    elif held_back:
        yield Step("Held back by the limit on removals", get_reason("REMOVAL_LIMIT").fix, held_back)
    elif record.status in ("failed", "canceled"):
        yield Step(f"The run ended as {record.status}", "Fix what ended it, then run the sync again.")
    if ahead := int(record.facts.get("dated_ahead", 0)):
        text = f"{get_reason('DECIDED_AHEAD').fix} The reasons under Rows show which people they are."
        yield Step("Decided by an event dated in the future", text, ahead)


def _of_statuses(counts: Mapping[str, int], texts: Mapping[str, tuple[str, str]]) -> Iterator[Step]:
    for status, (what, text) in texts.items():
        if count := sum(number for name, number in counts.items() if name.startswith(status)):
            yield Step(what, text, count)


def _of_postscript(audit: Audit) -> Iterator[Step]:
    if count := audit.unconfirmed:
        text = (
            "Look the subscribers up in Postscript; toolkit.sync(…, repeat_unknown=True) posts them again, "
            "and people who got one already may get a second text."
        )
        yield Step("Custom events of the shop that were not confirmed", text, count)
    if audit.drift is not None and len(audit.drift):
        what = "Differences between Postscript and what was asked for"
        yield Step(what, "toolkit.plan_repair() plans how to repair them.", len(audit.drift))
