"""What the flow and the ledger exchange: runs, custom events, results of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pandas as pd

from toolkit.errors import PostscriptError
from toolkit.frames import empty_table
from toolkit.postscript.api import Answer
from toolkit.statuses import NEEDS_ATTENTION, ChangeStatus, in_words, list_counts

if TYPE_CHECKING:
    from toolkit.ledger import Ledger

LedgerStore: TypeAlias = "Ledger"
"""The ledger as the flow and the reports use it: its type alone, since its room stands above this one."""

RUN_KINDS = ("sync", "undo", "repair", "saved_plan", "member_list")
"""What a run carries out."""


def kind_of_run(facts: Mapping[str, Any]) -> str:
    """Return which of RUN_KINDS the facts of a run name; those of an older ledger name only an undo."""
    undoes = facts.get("parameters", {}).get("undo_of")
    kind = facts.get("kind") or ("undo" if undoes else "sync")
    return kind if kind in RUN_KINDS else "sync"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What the ledger keeps of one run."""

    run_id: str
    shop_id: str
    shop_name: str
    mode: str
    status: str
    error: str = ""
    received: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime
    finished_at: datetime | None = None
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        """What the run carried out: one of RUN_KINDS."""
        return kind_of_run(self.facts)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the run that are no errors."""
        return tuple(self.facts.get("notes", ()))

    def sentence(self, changes: Mapping[str, int]) -> str:
        """Return how the run ended; *changes* are its memberships and traits by status."""
        ended = f"{in_words(self.status).capitalize()} in {self.seconds:.1f} s"
        return f"{ended}: {list_counts(changes) or 'nothing to do'}. {self.error}".strip()

    def summary(self) -> dict[str, Any]:
        """Return the run's own figures, ready for JSON: what every summary of it begins with."""
        return {
            "run_id": self.run_id,
            "kind": self.kind,
            "mode": self.mode,
            "status": self.status,
            "error": self.error,
            "notes": [*self.notes],
            "stopped_by": self.facts.get("stopped_by", ""),
            "shop": {"id": self.shop_id, "name": self.shop_name},
            "received": self.received,
            "planned_calls": self.facts.get("planned_calls", 0),
            "calls": self.facts.get("calls", {}),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One custom event to post, and how far it got."""

    external_id: str
    subscriber_id: str
    audience_key: str
    audience_id: str | None
    entered: bool
    state: str = "planned"


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a subscriber holds after a write, for the cache."""

    shop_id: str
    subscriber_id: str
    audiences: str | None
    """JSON list; None when it was not written."""
    has_property: bool
    property_count: int
    properties: str | None
    """JSON object of the traits that were read, and their JSON text; None when none was written."""


class CallResult(NamedTuple):
    """How a call ended, for the journal."""

    outcome: str
    """``ok``, or what went wrong."""
    status_code: int | None
    tries: int


def result_of(found: Answer | PostscriptError, outcome: str = "") -> CallResult:
    """Return how a call ended: ``ok``, or the error's class and sentence, unless *outcome* is given."""
    text = f"{type(found).__name__}: {found}" if isinstance(found, PostscriptError) else "ok"
    return CallResult(outcome or text, found.status_code, found.tries)


UNKNOWN_COLUMNS = {
    "subscriber_id": "str",
    "audience_key": "str",
    "entered": "bool",
    "external_id": "str",
    "state": "str",
}
"""Custom events that were not confirmed: one row each.

``state`` is ``unknown``, which may have been sent, ``refused``, which was not, or ``obsolete``, which never
will be: the list, or a newer change, contradicts it.
"""

LOOK_AT = frozenset({*NEEDS_ATTENTION, ChangeStatus.CONFLICT, ChangeStatus.AMBIGUOUS})
"""Statuses of changes to look at, also where the run completed."""

HISTORY_COLUMNS = {
    "run_id": "str",
    "started_at": "datetime64[us]",
    "mode": "str",
    "status": "str",
    **dict.fromkeys(
        ("received", "adds", "removes", "waiting", "custom_events", "left_over", "calls"), "int64"
    ),
    "seconds": "float64",
    "kind": "str",
}
"""The runs of a shop, the latest first: one row each.

``adds`` and ``removes`` are the memberships that the run's writes changed, as the journal has them, also
where the run ended before their custom events; of a dry run those that it would. ``custom_events`` were
posted and answered, ``left_over`` of them for changes of earlier runs. ``kind`` is one of RUN_KINDS.
"""


@dataclass(frozen=True, kw_only=True)
class Previous:
    """The run before: of the same shop and mode, the latest that has ended."""

    record: RunRecord
    totals: pd.DataFrame
    """As those of an Audit."""
    to_look_at: pd.DataFrame
    """CHANGE_COLUMNS: the changes whose status is among LOOK_AT."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that is known of one run, and where Postscript differs from what it left."""

    record: RunRecord
    totals: pd.DataFrame
    """kind (event, change), audience_key, trait_key (empty: there is none), status, reason_code, count."""
    changes: pd.DataFrame
    """CHANGE_COLUMNS: the changes worth reading, not the unchanged and waiting ones."""
    calls: pd.DataFrame
    """The journal of writes: route, subscriber_id, started_at, finished_at, outcome, status_code, tries…"""
    drift: pd.DataFrame | None
    """DRIFT_COLUMNS where Postscript differs today; None when it was not asked."""
    unknown: pd.DataFrame = field(default_factory=lambda: empty_table(UNKNOWN_COLUMNS))
    """UNKNOWN_COLUMNS: the shop's custom events, of any run, that were not confirmed."""
    history: pd.DataFrame = field(default_factory=lambda: empty_table(HISTORY_COLUMNS))
    """HISTORY_COLUMNS: this run and those before it, of both modes."""
    previous: Previous | None = None
    """None when there was no run before."""

    @property
    def side_effects(self) -> dict[str, int]:
        """What the run itself changed, or would: the numbers of its row in the history."""
        mine = self.history[self.history["run_id"] == self.record.run_id]
        names = ("adds", "removes", "custom_events", "left_over")
        return {name: int(mine[name].sum()) for name in names}

    def statuses(self, kind: str) -> dict[str, int]:
        """Return status → count of the run's ``event`` or ``change`` totals, the most frequent first."""
        return sum_statuses(self.totals, kind)

    @property
    def unconfirmed(self) -> int:
        """Custom events that may have been sent and were not confirmed; obsolete ones are closed."""
        return int((self.unknown["state"] != "obsolete").sum())

    def summary(self) -> dict[str, Any]:
        """Return the figures of the audit, ready for JSON."""
        return {
            **self.record.summary(),
            "event_statuses": self.statuses("event"),
            "change_statuses": self.statuses("change"),
            "drift": None if self.drift is None else len(self.drift),
            "unknown_custom_events": self.unconfirmed,
            "obsolete_custom_events": len(self.unknown) - self.unconfirmed,
            "previous_run_id": self.previous.record.run_id if self.previous else "",
        }


def sum_statuses(totals: pd.DataFrame, kind: str) -> dict[str, int]:
    """Return status → count of the ``event`` or ``change`` totals of a run, the most frequent first."""
    mine = totals[totals["kind"] == kind]
    summed = mine.groupby("status")["count"].sum().sort_values(ascending=False, kind="stable")
    return {str(status): int(count) for status, count in summed.items()}
