"""The calls of a run against its plan, and how long they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from toolkit.postscript import api
from toolkit.sync.runs import Audit

from .rows import sent_or_not

_KIND_OF_METHOD = {"GET": "reads", "PATCH": "writes", "POST": "custom_events"}


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
