"""The actions of the destination, as data: their fields, what fills them by default, what values they take.

Sync Audiences is Segment's own. Sync Traits is ours: Segment's documentation promises computed traits as
properties of the subscriber, its action refuses their events.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from toolkit.segment.javascript import number_text
from toolkit.segment.mapping import MISSING, kind_of

CLASS_FIELD: Final = "segment_computation_action"
"""The field with the class of what Engage computed; an event of another class is not meant for the action."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of an action."""

    key: str
    label: str
    """The name people see."""
    type: Literal["string", "object"] = "string"
    required: bool = False
    choices: tuple[str, ...] = ()
    """The only texts allowed; empty allows any."""
    default: AbstractMapping[str, Any]
    """The mapping used where none is given."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something the destination does with an event, and the fields it needs for it."""

    slug: str
    """How Segment names it in a stored mapping, such as ``syncAudiences``."""
    name: str
    """The name people see."""
    fields: tuple[Field, ...]
    """In Segment's order."""
    foreign_reason: str
    """The reason code of an event that was not meant for the action: its class is missing or another."""

    @property
    def default_fields(self) -> dict[str, AbstractMapping[str, Any]]:
        """The mapping of the fields where none is given."""
        return {field.key: field.default for field in self.fields}


def _first_of(path: str, other: str) -> dict[str, Any]:
    return {"@if": {"exists": {"@path": path}, "then": {"@path": path}, "else": {"@path": other}}}


def _fields(kind: str, classes: tuple[str, ...]) -> tuple[Field, ...]:
    """Return the fields of the action for one kind of computation, ``audience`` or ``trait``."""
    label, personas = kind.capitalize(), "$.context.personas.computation"
    return (
        Field(key=f"segment_{kind}_id", label=f"{label} ID", default={"@path": f"{personas}_id"}),
        Field(
            key=f"segment_{kind}_key",
            label=f"{label} Key",
            required=True,
            default={"@path": f"{personas}_key"},
        ),
        Field(
            key=CLASS_FIELD,
            label="Segment Computation Action",
            required=True,
            choices=classes,
            default={"@path": f"{personas}_class"},
        ),
        Field(
            key="email",
            label="Email address",
            default=_first_of("$.traits.email", "$.context.traits.email"),
        ),
        Field(key="phone", label="Phone", default=_first_of("$.traits.phone", "$.context.traits.phone")),
        Field(
            key="traits_or_props",
            label="Traits or properties object",
            type="object",
            required=True,
            default=_first_of("$.properties", "$.traits"),
        ),
    )


SYNC_AUDIENCES: Final = Action(
    slug="syncAudiences",
    name="Sync Audiences",
    fields=_fields("audience", ("audience", "journey_step")),
    foreign_reason="NOT_AN_AUDIENCE_EVENT",
)
"""Segment's action: who is in which audience."""

SYNC_TRAITS: Final = Action(
    slug="syncTraits",
    name="Sync Traits",
    fields=_fields("trait", ("computed_trait", "trait")),
    foreign_reason="NOT_A_COMPUTED_TRAIT",
)
"""Ours: the value of a computed trait becomes a property of the subscriber."""

ACTIONS: Final = {action.slug: action for action in (SYNC_AUDIENCES, SYNC_TRAITS)}
"""Slug → action."""


# --- values for the fields


def check_fields(
    values: AbstractMapping[str, Any], fields: Iterable[Field]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values in their fields' types, as Segment has them, and a sentence for each that fails.

    Blank and null are removed first, so a required field that is ``""`` is missing. The sentences are in
    Segment's order: what is missing, then the rest. A value without a field is dropped.
    """
    checked: dict[str, Any] = {}
    missing: dict[str, str] = {}
    refused: dict[str, str] = {}
    for known in fields:
        value = values.get(known.key)
        if value is None or value == "" or is_not_finite(value):
            if known.required:
                missing[known.key] = f"{known.label} is missing."
            continue
        is_object = known.type == "object"
        coerced = (value if isinstance(value, dict) else MISSING) if is_object else _text(value)
        if coerced is MISSING:
            wanted = "an object" if is_object else "a text"
            refused[known.key] = f"{known.label} must be {wanted} but is {kind_of(value)}."
        elif known.choices and coerced not in known.choices:
            refused[known.key] = f"{known.label} must be one of: {' or '.join(known.choices)}."
        else:
            checked[known.key] = coerced
    return checked, missing | refused


def contact_text(value: Any) -> str | None:
    """Return a resolved contact as trimmed text, None when there is none in it."""
    text = MISSING if is_not_finite(value) else _text(value)
    return (text.strip() or None) if isinstance(text, str) else None


def is_not_finite(value: Any) -> bool:
    """Return whether *value* is one of the numbers JSON does not have; they count as null."""
    return isinstance(value, float) and not math.isfinite(value)


def _text(value: Any) -> Any:
    """Return the text Segment makes of a scalar or a list of one, `MISSING` for anything else."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
        if value is None or is_not_finite(value):
            return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, int | float) else MISSING
