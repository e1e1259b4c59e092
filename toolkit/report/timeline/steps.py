"""The steps of a timeline, in words, contacts hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EVENT_ROUTE, EXITED
from toolkit.report.explain.display import Display
from toolkit.statuses import get_meaning

STEP_COLUMNS = {
    "at": "datetime64[us, UTC]",
    "source": "str",
    "person": "str",
    "what": "str",
    "status": "str",
    "meaning": "str",
}
"""One row a step. ``source`` is Segment, a run, or Postscript; ``person`` is a subscriber there."""

STANDING_COLUMNS = ("person", "audience", "segment_says", "subscriber", "status", "meaning")
"""One row an audience or trait: what the next sync would make of it."""

SHOW = Display()
_LONG = 400
"""Characters shown of what was written."""


def _steps(rows: Iterator[tuple[Any, ...]]) -> pd.DataFrame:
    table = pd.DataFrame([*rows], columns=[*STEP_COLUMNS])
    return table.assign(at=pd.to_datetime(table["at"], utc=True)).astype(STEP_COLUMNS)


def event_steps(events: pd.DataFrame) -> pd.DataFrame:
    """Return what Segment said, STEP_COLUMNS, from events as folded."""
    return _steps(
        (
            row.timestamp,
            "Segment",
            SHOW.person(row.person),
            _said(row),
            row.status,
            _meaning(row.reason_code),
        )
        for row in events.itertuples()
    )


def _said(row: Any) -> str:
    event = " ".join(text for text in (row.event_type, row.event_name) if isinstance(text, str))
    if isinstance(row.audience_key, str):
        word = {True: "in", False: "out of"}.get(row.membership, "no word on")
        return f"{SHOW.text(event)}: {word} {SHOW.text(row.audience_key)}"
    if isinstance(row.trait_key, str):
        value = row.trait_value if isinstance(row.trait_value, str) else "no value"
        return f"{SHOW.text(event)}: {SHOW.text(row.trait_key)} is {SHOW.text(value)}"
    return SHOW.text(event)


def outcome_steps(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return how runs ended, STEP_COLUMNS, from `Ledger.load_outcomes_of`."""
    return _steps(
        (
            row.started_at,
            f"{_run(row)} {row.run_id}",
            SHOW.person(row.person),
            f"{row.operation or 'nothing on'} {SHOW.text(row.audience_key or row.trait_key)}",
            row.status,
            " ".join(
                filter(None, (_meaning(row.reason_code, row.kind), SHOW.text(row.status_message or "")))
            ),
        )
        for row in outcomes.itertuples()
    )


def _run(row: Any) -> str:
    name = str(row.kind).replace("_", " ").capitalize()
    if row.mode == "live":
        return name
    return "Dry run" if row.kind == "sync" else f"{name}, dry run,"


def call_steps(calls: pd.DataFrame) -> pd.DataFrame:
    """Return what was sent and answered, STEP_COLUMNS, from `Ledger.load_calls_of`."""
    return _steps(
        (
            row.started_at,
            "Postscript",
            row.subscriber_id,
            _sent(row),
            "ok" if row.outcome == "ok" else "not answered" if row.outcome is None else "failed",
            _answer(row),
        )
        for row in calls.itertuples()
    )


def _sent(row: Any) -> str:
    if row.route == EVENT_ROUTE:
        event_type = "" if row.entered is None else ENTERED if row.entered else EXITED
        return f"{row.route}: {event_type} {SHOW.text(row.audience_key or '')}".rstrip()
    return f"{row.route}: {_written(row.before)} → {_written(row.after)}"


def _written(properties: str | None) -> str:
    held = json.loads(properties or "{}")
    shown = ", ".join(_value(name, value) for name, value in held.items())
    return SHOW.text(shown, limit=_LONG) or "nothing"


def _value(name: str, value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"[{text}]" if name == AUDIENCES_PROPERTY else f"{name} {text}"


def _answer(row: Any) -> str:
    code = "" if row.status_code is None else f"HTTP {row.status_code:.0f}. "
    return code if row.outcome in (None, "ok") else f"{code}{SHOW.text(row.outcome, limit=_LONG)}"


def _meaning(reason_code: Any, kind: str = "sync") -> str:
    return get_meaning(reason_code, kind) if isinstance(reason_code, str) and reason_code else ""


def standing_table(changes: pd.DataFrame) -> pd.DataFrame:
    """Return STANDING_COLUMNS from CHANGE_COLUMNS as planned."""
    rows = [
        (
            SHOW.person(row.person),
            SHOW.text(row.audience_key if isinstance(row.audience_key, str) else row.trait_key),
            {True: "in", False: "out"}.get(row.member, "a value"),
            row.subscriber_id if isinstance(row.subscriber_id, str) else "",
            row.status,
            _meaning(row.reason_code),
        )
        for row in changes.itertuples()
    ]
    return pd.DataFrame(rows, columns=[*STANDING_COLUMNS])
