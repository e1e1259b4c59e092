"""A run beside the run before it: its figures, its audiences, and what was written to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from toolkit.postscript import api
from toolkit.sync.runs import Audit, RunRecord, sum_statuses

from .rows import clipped, key_list
from .words import in_words

_LISTED = ("ENTERED", "ALREADY_IN", "EVENT_ALREADY_SENT", "UNDO_ADDED")
"""Reasons of a membership that stands on the subscriber's list after the run, or after a dry run would."""
_DONE = ("added", "would_add", "unchanged")


def figures_beside(audit: Audit) -> pd.DataFrame:
    """Return the figures of the run beside those of the run before: ``what``, ``now``, ``before``."""
    if audit.previous is None:
        return pd.DataFrame(columns=["what", "now", "before"])
    now, before = (
        _figures(record, totals)
        for record, totals in (
            (audit.record, audit.totals),
            (audit.previous.record, audit.previous.totals),
        )
    )
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


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """One subscriber's list before and after its write."""

    subscriber_id: str
    person: str
    """Masked; empty for a run that was killed: only its calls are known."""
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def entered(self) -> tuple[str, ...]:
        """Audiences that were added."""
        return tuple(key for key in self.after if key not in self.before)

    @property
    def exited(self) -> tuple[str, ...]:
        """Audiences that were removed."""
        return tuple(key for key in self.before if key not in self.after)


def rewritten_lists(audit: Audit, *, limit: int) -> list[Rewritten]:
    """Return the first lists that the run wrote, from the journal's before-images."""
    is_written = (audit.calls["route"] == api.WRITE_ROUTE) & (audit.calls["outcome"] == "ok")
    writes = audit.calls[is_written].drop_duplicates("subscriber_id").head(limit)
    known = audit.changes[audit.changes["subscriber_id"].isin(writes["subscriber_id"])]
    people = dict(zip(known["subscriber_id"], known["person"], strict=True))
    found = []
    for row in writes.itertuples():
        before, after = key_list(row.before), key_list(row.after)
        if after is None:  # only traits were written
            continue
        person = people.get(row.subscriber_id, "")
        found.append(
            Rewritten(
                subscriber_id=clipped(row.subscriber_id),
                person=clipped(person),
                before=tuple(map(clipped, before or ())),
                after=tuple(map(clipped, after)),
            )
        )
    return found
