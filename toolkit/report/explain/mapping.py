"""What one mapping makes of an event: its trigger, its fields, the outcome, and what would be done."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import replace
from typing import Any, Final, Literal

from toolkit.errors import MappingError
from toolkit.segment.destination import SYNC_AUDIENCES, ActionMapping, Discard, Field, Payload
from toolkit.segment.destination.actions import check_fields, is_not_finite
from toolkit.segment.events import person_of
from toolkit.segment.mapping import MISSING, Mapping, kind_of
from toolkit.segment.payload_rows import row_of
from toolkit.segment.triggers import Condition, Trigger, lint_trigger
from toolkit.statuses import EventStatus, get_reason

from .display import Display
from .explanation import ConditionExplanation, FieldExplanation, MappingExplanation, Outcome
from .steps import Made, differences, official_steps, our_steps

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
    stopped = "" if is_delivered else "the event is not delivered"
    if is_delivered and not mapping.enabled:
        stopped = "the mapping is disabled"
    differ: tuple[str, ...] = ()
    if not stopped and fires is not fires_at_segment:
        here, there = ("fires", "does not") if fires else ("does not fire", "does")
        differ = (
            f"The trigger {here} here and {there} at Segment, which reads it otherwise: see the lints.",
        )
    elif not stopped and fires:
        differ = differences(made, mapping.action, region=region, display=display)
    lints = lint_trigger(mapping.trigger.text)
    return MappingExplanation(
        name=display.text(mapping.name),
        action=mapping.action.name,
        enabled=mapping.enabled,
        trigger=display.text(mapping.trigger.text, limit=_LONG),
        dialect=mapping.trigger.dialect,
        fires=fires,
        fires_at_segment=fires_at_segment,
        conditions=tuple(_condition(found, display) for found in mapping.trigger.conditions(event)),
        lints=tuple(replace(lint, corrected=display.text(lint.corrected, limit=_LONG)) for lint in lints),
        in_effect=fires and not stopped,
        fields=_fields(mapping, event, display),
        outcome=outcome,
        official=_nothing(stopped, at_segment, fires=fires_at_segment) or _official(mapping, made, display),
        ours=_nothing(stopped, mapping.trigger, fires=fires)
        or our_steps(made, person_of(event, made.email, made.phone), outcome, region=region, display=display),
        differences=differ,
    )


def _nothing(stopped: str, trigger: Trigger, *, fires: bool) -> tuple[str, ...]:
    """Return the sentence of a mapping that does nothing; none for one that does something."""
    reason = stopped
    if not stopped and not fires:
        usable = trigger.error is None
        reason = "the trigger does not fire" if usable else "the trigger cannot be used, see the lints"
    return (f"Nothing, because {reason}.",) if reason else ()


def _official(mapping: ActionMapping, made: Made, display: Display) -> tuple[str, ...]:
    if mapping.action != SYNC_AUDIENCES:
        return (f"Nothing, because Segment has no action {mapping.action.name}.",)
    if isinstance(made, Payload):
        steps = official_steps(made.fields(), show_contacts=display.show_contacts)
        return tuple(step.sentence for step in steps)
    return (f"Fails with status 400, not retried, before any request. {_refusal(made, display)}",)


def _refusal(made: Made, display: Display) -> str:
    return display.text(made.reason, limit=_LONG) if isinstance(made, Discard) else ""


def _condition(found: Condition, display: Display) -> ConditionExplanation:
    value = ""
    if found.path:
        value = "null or missing"
        if found.value is not None:
            kind = next((kind for kind in ("email", "phone") if kind in found.path[-1].casefold()), "")
            value = display.field(kind, found.value)
    return ConditionExplanation(
        text=display.text(found.text, limit=_LONG), value=value, holds=found.holds, decided=found.decided
    )


def _outcome(event: AbstractMapping[str, Any], made: Made, display: Display) -> Outcome:
    """Return the status and reason of the event's row, with the sentence for it."""
    cells = row_of(event, made)
    status, code = cells[2], cells[3]
    if code is None:
        sentence = "It counts, unless a newer event of the person differs."
        return Outcome(status=None, reason_code=None, sentence=sentence, fix="")
    # A row with a code and no status is a payload without a membership: fold() gives it this one.
    return outcome_of(status or EventStatus.NO_MEMBERSHIP_VALUE, code, _refusal(made, display))


def outcome_of(status: str, code: str, detail: str = "") -> Outcome:
    """Return an outcome in the words that its reason has everywhere, a *detail* after them."""
    reason = get_reason(code)
    sentence = f"{reason.meaning} {detail}".rstrip()
    return Outcome(status=EventStatus(status), reason_code=code, sentence=sentence, fix=reason.fix)


# --- fields


def _fields(
    mapping: ActionMapping, event: AbstractMapping[str, Any], display: Display
) -> tuple[FieldExplanation, ...]:
    """Return what the mapping fills each field of its action with; nothing when the mapping fails."""
    try:
        values = mapping.fields.resolve(event)
    except MappingError:
        return ()
    if not isinstance(values, dict):
        return ()
    rules = mapping.fields.value
    return tuple(
        _field(field, values.get(field.key, MISSING), _source(rules, field.key, event), display)
        for field in mapping.action.fields
    )


def _field(field: Field, value: Any, source: str, display: Display) -> FieldExplanation:
    checked, problems = check_fields({} if value is MISSING else {field.key: value}, (field,))
    shown = checked.get(field.key, value)
    nothing = _empty(value)
    status: Literal["filled", "absent", "missing", "refused"]
    if field.key in problems:
        status = "missing" if nothing else "refused"
    else:
        status = "absent" if nothing else "filled"
    reason = f"{source} gives {nothing}." if nothing else f"From {source}."
    if isinstance(shown, str) and not isinstance(value, str):
        reason = f"From {source}: {kind_of(value)}, taken as a text."
    return FieldExplanation(
        key=field.key,
        label=field.label,
        value="" if nothing else display.field(field.key, shown),
        status=status,
        reason=display.text(" ".join([*problems.values(), reason]), limit=_LONG),
    )


def _empty(value: Any) -> str:
    """Return in which way a value is none; blank when it is one."""
    if value is MISSING:
        return "nothing"
    if value is None or is_not_finite(value):
        return "null"
    # What keeps an @if from its other part is a common surprise.
    return "a blank text, which counts as none and yet exists" if value == "" else ""


def _source(rules: Any, key: str, event: AbstractMapping[str, Any]) -> str:
    if not isinstance(rules, dict) or any(name.startswith("@") for name in rules):
        return "the mapping as a whole"
    return _rule(rules[key], event) if key in rules else "a mapping without this field"


def _rule(rule: Any, event: AbstractMapping[str, Any]) -> str:
    """Return where a rule takes its value from in this event: a path, or else what kind of rule it is."""
    names = [name for name in rule if name.startswith("@")] if isinstance(rule, dict) else []
    if not names:
        return "a fixed value"
    directive = str(names[0])
    argument = rule[directive]
    if directive == "@path" and isinstance(argument, str):
        return argument or "the whole event"
    if directive == "@if" and isinstance(argument, dict):
        tests = {name: argument[name] for name in ("exists", "blank") if name in argument}
        taken = Mapping({"@if": {**tests, "then": True}}).resolve(event) is True
        branch = "then" if taken else "else"
        return _rule(argument[branch], event) if branch in argument else f"an @if without {branch}"
    return directive
