"""What one mapping makes of an event: its trigger, its fields, the outcome, and what would be done."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import replace
from typing import Any, Final

from toolkit.segment.destination import SYNC_AUDIENCES, ActionMapping, Discard, Payload
from toolkit.segment.events import person_of
from toolkit.segment.payload_rows import row_of
from toolkit.segment.triggers import Condition, Lint, Trigger, lint_trigger
from toolkit.statuses import EventStatus, get_reason

from .display import Display
from .explanation import ConditionExplanation, MappingExplanation, Outcome
from .fields import explain_fields
from .official import official_steps
from .ours import Made, differences, our_steps

_LONG: Final = 300
"""Characters shown of what was written by hand: triggers, conditions, sentences on fields."""


def explain_mapping(
    mapping: ActionMapping,
    event: AbstractMapping[str, Any],
    *,
    is_delivered: bool,
    region: str,
    display: Display,
) -> MappingExplanation:
    """Return what *mapping* makes of *event*, or would make of it."""
    fires = mapping.trigger.matches(event)
    at_segment = Trigger(mapping.trigger.text, dialect="official")
    fires_at_segment = at_segment.matches(event)
    made = mapping.payload(event)
    outcome = _outcome(event, made, display)
    stopped = ""
    if not is_delivered:
        stopped = "the event is not delivered"
    elif not mapping.enabled:
        stopped = "the mapping is disabled"
    parted: tuple[str, ...] = ()
    if not stopped and fires is not fires_at_segment:
        parted = (_trigger_difference(fires_here=fires),)
    elif not stopped and fires:
        parted = differences(made, mapping.action, region=region, display=display)
    return MappingExplanation(
        name=display.text(mapping.name),
        action=mapping.action.name,
        enabled=mapping.enabled,
        trigger=display.text(mapping.trigger.text, limit=_LONG),
        dialect=mapping.trigger.dialect,
        fires=fires,
        fires_at_segment=fires_at_segment,
        conditions=tuple(_condition(found, display) for found in mapping.trigger.conditions(event)),
        lints=tuple(_lint(lint, display) for lint in lint_trigger(mapping.trigger.text)),
        in_effect=fires and not stopped,
        fields=explain_fields(mapping, event, display),
        outcome=outcome,
        official=_nothing(stopped or _silence(at_segment, fires=fires_at_segment))
        or _official(mapping, made, display),
        ours=_nothing(stopped or _silence(mapping.trigger, fires=fires))
        or our_steps(made, person_of(event, made.email, made.phone), outcome, region=region, display=display),
        differences=parted,
    )


def _nothing(reason: str) -> tuple[str, ...]:
    return (f"Nothing, because {reason}.",) if reason else ()


def _silence(trigger: Trigger, *, fires: bool) -> str:
    if fires:
        return ""
    return (
        "the trigger does not fire" if trigger.error is None else "the trigger cannot be used, see the lints"
    )


def _trigger_difference(*, fires_here: bool) -> str:
    here, there = ("fires", "does not") if fires_here else ("does not fire", "does")
    return f"The trigger {here} here and {there} at Segment, which reads it otherwise: see the lints."


def _official(mapping: ActionMapping, made: Made, display: Display) -> tuple[str, ...]:
    if mapping.action != SYNC_AUDIENCES:
        return _nothing(f"Segment has no action {mapping.action.name}")
    if isinstance(made, Payload):
        steps = official_steps(made.fields(), show_contacts=display.show_contacts)
        return tuple(step.sentence for step in steps)
    return (f"Fails with status 400, not retried, before any request. {_refusal(made, display)}",)


def _refusal(made: Made, display: Display) -> str:
    return display.text(made.reason, limit=_LONG) if isinstance(made, Discard) else ""


def _condition(found: Condition, display: Display) -> ConditionExplanation:
    return ConditionExplanation(
        text=display.text(found.text, limit=_LONG),
        value=_found(found, display) if found.path else "",
        holds=found.holds,
        decided=found.decided,
    )


def _found(found: Condition, display: Display) -> str:
    if found.value is None:
        return "null or missing"
    kind = next((kind for kind in ("email", "phone") if kind in found.path[-1].casefold()), None)
    if kind is not None and isinstance(found.value, str):
        return display.contact(kind, found.value)
    return display.value(found.value)


def _lint(lint: Lint, display: Display) -> Lint:
    return replace(lint, corrected=display.text(lint.corrected, limit=_LONG))


def _outcome(event: AbstractMapping[str, Any], made: Made, display: Display) -> Outcome:
    """Return the status and reason of the event's row, with the sentence for it."""
    cells = row_of(event, made)
    status, code = cells[2], cells[3]
    if code is None:
        sentence = "It counts, unless a newer event of the person says otherwise."
        return Outcome(status=None, reason_code=None, sentence=sentence, fix="")
    # Without a status fold() has the last word: on a payload that says nothing it is this one.
    return outcome_of(status or EventStatus.NO_MEMBERSHIP_VALUE, code, _refusal(made, display))


def outcome_of(status: str, code: str, detail: str = "") -> Outcome:
    """Return an outcome in the words that its reason has everywhere, a *detail* after them."""
    reason = get_reason(code)
    return Outcome(
        status=EventStatus(status),
        reason_code=code,
        sentence=f"{reason.meaning} {detail}".rstrip(),
        fix=reason.fix,
    )
