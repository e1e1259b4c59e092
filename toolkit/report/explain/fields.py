"""Each field of an action: its value, whether that is accepted, and where it is from."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from typing import Any, Literal

from toolkit.errors import MappingError
from toolkit.segment.destination import ActionMapping, Field
from toolkit.segment.destination.actions import check_fields, is_not_finite
from toolkit.segment.mapping import MISSING, Mapping, kind_of

from .display import Display
from .explanation import FieldExplanation


def explain_fields(
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
        _explain(field, values.get(field.key, MISSING), _source(rules, field.key, event), display)
        for field in mapping.action.fields
    )


def _explain(field: Field, value: Any, source: str, display: Display) -> FieldExplanation:
    checked, problems = check_fields({} if value is MISSING else {field.key: value}, (field,))
    shown = checked.get(field.key, value)
    nothing = _nothing(value)
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
        value="" if nothing else _shown(field.key, shown, display),
        status=status,
        reason=display.text(" ".join([*problems.values(), reason]), limit=300),
    )


def _nothing(value: Any) -> str:
    """Say in which way a value is none; nothing when it is one."""
    if value is MISSING:
        return "nothing"
    if value is None or is_not_finite(value):
        return "null"
    # What keeps an @if from its other part is a common surprise.
    return "a blank text, which counts as none and yet exists" if value == "" else ""


def _shown(key: str, value: Any, display: Display) -> str:
    # The whole is the contact: it may be written in a way nobody would look for in a text.
    if key in ("email", "phone") and isinstance(value, str):
        return display.contact(key, value)
    return display.value(value)


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
