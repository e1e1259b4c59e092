"""What to do after a run, and which files it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from toolkit.statuses import get_reason
from toolkit.sync.runs import Audit, RunRecord

FILES = {
    "4_audit_report/report.html": "this document; it needs nothing else",
    "4_audit_report/changes.csv": "the changes worth reading, for a spreadsheet: masked, no formulas",
    "4_audit_report/changes.parquet": "the same rows, with their types",
    "4_audit_report/summary.json": "the figures, for a scheduler",
    "3_sync_audiences/events.parquet": "of the latest sync: one row an event and mapping, with its status",
    "3_sync_audiences/changes.parquet": "of the latest sync: one row a membership or trait of a person, "
    "the unchanged and the waiting too",
    "ledger.db": "all runs, what was asked for, and each call; not masked, so keep it private. It may be "
    "elsewhere: ledger_url says where",
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
        "The write would overwrite what is not ours, or pass a limit: see the reasons under Rejections.",
    ),
    "ambiguous": ("Several subscribers match", get_reason("AMBIGUOUS_MATCH").fix),
    "no_usable_contact": ("No phone or email that can be used", get_reason("NO_CONTACT").fix),
    "waiting": ("Not subscribed yet", "Nothing to do: each is delivered on the first run after they opt in."),
}
"""Status, or how several begin → what it is, and what to do."""
_OF_EVENTS = {
    "malformed": (
        "Events that cannot be read",
        "See the reasons under Rejections, and fetch the files again.",
    ),
    "invalid_payload": ("Invalid events", get_reason("PAYLOAD_VALIDATION_FAILED").fix),
    "no_membership_value": ("Events that do not say in or out", "See the reasons under Rejections."),
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do, or to know that nothing is to be done."""

    what: str
    count: int | None = None
    """Of how many; None for the run as a whole."""
    text: str


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
    return steps or [Step(what="Nothing to do", text="Everything arrived.")]


def _of_run(record: RunRecord, held_back: int) -> Iterator[Step]:
    if record.status == "running":
        yield Step(what="The run has not ended, or its process died", text="If it died, run the sync again.")
    elif held_back:
        what = "Held back by the limit on removals"
        yield Step(what=what, count=held_back, text=get_reason("REMOVAL_LIMIT").fix)
    elif record.status in ("failed", "canceled"):
        text = "Fix what ended it, then run the sync again."
        yield Step(what=f"The run ended as {record.status}", text=text)
    if ahead := int(record.facts.get("dated_ahead", 0)):
        text = f"{get_reason('DECIDED_AHEAD').fix} The reasons under Rows show which people they are."
        yield Step(what="Decided by an event dated in the future", count=ahead, text=text)


def _of_statuses(counts: Mapping[str, int], texts: Mapping[str, tuple[str, str]]) -> Iterator[Step]:
    for status, (what, text) in texts.items():
        if count := sum(number for name, number in counts.items() if name.startswith(status)):
            yield Step(what=what, count=count, text=text)


def _of_postscript(audit: Audit) -> Iterator[Step]:
    if count := audit.unconfirmed:
        text = (
            "Look the subscribers up in Postscript; toolkit.sync(…, repeat_unknown=True) posts them again, "
            "and people who got one already may get a second text."
        )
        yield Step(what="Custom events of the shop that were not confirmed", count=count, text=text)
    if audit.drift is not None and len(audit.drift):
        what = "Differences between Postscript and what was asked for"
        yield Step(what=what, count=len(audit.drift), text="toolkit.plan_repair() plans how to repair them.")
