"""What an explanation holds, and its table. All texts are ready to be shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from toolkit.segment.triggers import Lint
from toolkit.statuses import EventStatus

TABLE_COLUMNS = ("step", "what", "value", "meaning")
"""Columns of `Explanation.table`, all text."""

_Row = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about an event before any mapping."""

    holds: bool
    """True lets the event through."""
    sentence: str


@dataclass(frozen=True, kw_only=True)
class ConditionExplanation:
    """One condition of a trigger, and what it found."""

    text: str
    value: str
    """What was found; blank for a condition that looks nowhere."""
    holds: bool
    decided: bool
    """Whether the trigger's outcome hangs on it."""


@dataclass(frozen=True, kw_only=True)
class FieldExplanation:
    """One field of the action, and what the mapping filled it with."""

    key: str
    label: str
    """The name people see."""
    value: str
    """As the action receives it; as the mapping gave it where it was refused."""
    status: Literal["filled", "absent", "missing", "refused"]
    """``absent`` fields are not needed, ``missing`` ones are."""
    reason: str
    """Where the value is from, or what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of the event, in the words of a run."""

    status: EventStatus | None
    """None while it depends on the other events: ``counted`` or ``superseded``."""
    reason_code: str | None
    sentence: str
    fix: str
    """What to do about it; empty when there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class MappingExplanation:
    """What one mapping makes of the event."""

    name: str
    action: str
    enabled: bool
    trigger: str
    dialect: str
    """``strict`` or ``official``: how the trigger is read here."""
    fires: bool
    fires_at_segment: bool
    """Whether it fires as Segment reads it; the lints say why that may differ."""
    conditions: tuple[ConditionExplanation, ...]
    lints: tuple[Lint, ...]
    in_effect: bool
    """False: the event does not reach the mapping; fields and outcome are what would be."""
    fields: tuple[FieldExplanation, ...]
    """In Segment's order; none where the mapping itself fails."""
    outcome: Outcome
    official: tuple[str, ...]
    """Step by step, what Segment's action would do."""
    ours: tuple[str, ...]
    """What a run of this toolkit would do."""
    differences: tuple[str, ...]
    """Where the two differ, and how."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What becomes of one event, and why. Made by explain(); holds nothing of the event but shown texts."""

    event_type: str = ""
    event_name: str = ""
    person: str = ""
    """By the event's ids alone; the mappings have the person by contact."""
    message_id: str = ""
    time: str = ""
    """ISO 8601, UTC."""
    integrations: Decision
    consent: Decision
    mappings: tuple[MappingExplanation, ...] = ()
    """All of the destination, in its order; none for what is no event."""
    outcome: Outcome | None
    """What became of the event before any mapping; None when the mappings decide."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each row that the event has among the payloads."""
        if self.outcome is not None:
            return (self.outcome,)
        return tuple(mapping.outcome for mapping in self.mappings if mapping.in_effect)

    def table(self) -> pd.DataFrame:
        """Lay the explanation out, one row a decision, condition, field or step.

        Returns
        -------
        DataFrame
            TABLE_COLUMNS, in the order in which things are decided. ``step`` is event, integrations, consent,
            outcome, and for each mapping: mapping, trigger, condition, lint, field, outcome, Segment would,
            we would, difference. Fields and outcome that would be, were the mapping in effect, say so.
        """
        return pd.DataFrame([*self._rows()], columns=[*TABLE_COLUMNS]).astype("str")

    def _rows(self) -> Iterator[_Row]:
        yield "event", "type", self.event_type, ""
        yield "event", "name", self.event_name, ""
        yield "event", "person", self.person, ""
        yield "event", "message", self.message_id, ""
        yield "event", "time", self.time, ""
        yield "integrations", "delivered", _YES[self.integrations.holds], self.integrations.sentence
        yield "consent", "given", _YES[self.consent.holds], self.consent.sentence
        if self.outcome is not None:
            yield _outcome_row(self.outcome)
        for mapping in self.mappings:
            yield from _mapping_rows(mapping)


def _mapping_rows(mapping: MappingExplanation) -> Iterator[_Row]:
    would = "" if mapping.in_effect else " (would be)"
    state = "in effect" if mapping.in_effect else "not in effect"
    yield "mapping", mapping.name, "enabled" if mapping.enabled else "disabled", f"{mapping.action}, {state}"
    fires = f"fires: {_YES[mapping.fires]}; at Segment: {_YES[mapping.fires_at_segment]}"
    yield "trigger", mapping.dialect, mapping.trigger, fires
    for condition in mapping.conditions:
        verdict = f"{'holds' if condition.holds else 'fails'}{', decides' if condition.decided else ''}"
        yield "condition", condition.text, condition.value, verdict
    for lint in mapping.lints:
        yield "lint", lint.code, f"character {lint.position + 1}", lint.sentence
    if mapping.lints and mapping.lints[0].corrected:
        yield "lint", "corrected", mapping.lints[0].corrected, "Read alike here and at Segment."
    for field in mapping.fields:
        yield f"field{would}", field.label, field.value, f"{field.status}. {field.reason}"
    yield _outcome_row(mapping.outcome, would)
    for step, sentences in (("Segment would", mapping.official), ("we would", mapping.ours)):
        for number, sentence in enumerate(sentences, start=1):
            yield step, str(number), "", sentence
    for sentence in mapping.differences:
        yield "difference", "", "", sentence


def _outcome_row(outcome: Outcome, would: str = "") -> _Row:
    status = "counted or superseded" if outcome.status is None else outcome.status.value
    return f"outcome{would}", status, outcome.reason_code or "", f"{outcome.sentence} {outcome.fix}".rstrip()


_YES: Final = {True: "yes", False: "no"}
