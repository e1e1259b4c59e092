"""The actions of the destination as data, and what one mapping makes of an event.

Sync Audiences is Segment's own. Sync Traits is ours: Segment's documentation promises computed traits as
properties of the subscriber, its action refuses their events. Their trigger: triggers.DEFAULT_TRIGGER.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from toolkit.errors import MappingError
from toolkit.frames import json_text, property_value
from toolkit.segment.javascript import text_of
from toolkit.segment.mapping import MISSING, Mapping, kind_of
from toolkit.segment.triggers import Trigger
from toolkit.statuses import EventStatus

CLASS_FIELD: Final = "segment_computation_action"
"""The field with the class of what Engage computed; an event of another class is not meant for the action."""


@dataclass(frozen=True)
class Field:
    """One field of an action."""

    key: str
    label: str
    """The name people see."""
    default: AbstractMapping[str, Any]
    """The mapping used where none is given."""
    type: Literal["string", "object"] = "string"
    required: bool = False
    choices: tuple[str, ...] = ()
    """The only texts allowed; empty allows any."""


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


def _fields(kind: str, classes: tuple[str, ...]) -> tuple[Field, ...]:
    """Return the fields of the action for one kind of computation, ``audience`` or ``trait``."""
    label, held = kind.capitalize(), _first_of("properties", "traits")
    own_id, own_key, own_class = (
        _first_of(f"context.personas.computation_{name}") for name in ("id", "key", "class")
    )
    return (
        Field(f"segment_{kind}_id", f"{label} ID", own_id),
        Field(f"segment_{kind}_key", f"{label} Key", own_key, required=True),
        Field(CLASS_FIELD, "Segment Computation Action", own_class, required=True, choices=classes),
        Field("email", "Email address", _first_of("traits.email", "context.traits.email")),
        Field("phone", "Phone", _first_of("traits.phone", "context.traits.phone")),
        Field("traits_or_props", "Traits or properties object", held, type="object", required=True),
    )


def _first_of(name: str, other: str = "") -> dict[str, Any]:
    path = {"@path": f"$.{name}"}
    return {"@if": {"exists": path, "then": path, "else": _first_of(other)}} if other else path


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
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
        if value is None or is_not_finite(value):
            return ""
    return text_of(value) if isinstance(value, str | int | float) else MISSING


# --- what one mapping makes of an event

REASON_CODES: Final[dict[EventStatus, str]] = {
    EventStatus.FILTERED_INTEGRATIONS: "FILTERED_BY_INTEGRATIONS_OBJECT",
    EventStatus.FILTERED_CONSENT: "FILTERED_BY_END_USER_CONSENT",
    EventStatus.NO_MATCHING_MAPPING: "NO_MATCHING_MAPPING",
    EventStatus.NOT_AN_AUDIENCE_EVENT: "NOT_AN_AUDIENCE_EVENT",
    EventStatus.INVALID_PAYLOAD: "PAYLOAD_VALIDATION_FAILED",
}
"""Each status in the words of Segment's delivery overview, where it has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fields:
    """What both kinds of payload hold."""

    segment_computation_action: str
    """``audience`` or ``journey_step``; of a trait ``computed_trait`` or ``trait``."""
    email: str | None = field(repr=False)
    """Trimmed; None when the event has none."""
    phone: str | None = field(repr=False)
    """Trimmed, otherwise as sent; None when the event has none."""
    traits_or_props: dict[str, Any] = field(repr=False)
    mapping: str
    """Name of the mapping that made it."""
    official: dict[str, Any] = field(repr=False, compare=False)
    """The fields as the action receives them; read by `fields`."""

    def fields(self) -> dict[str, Any]:
        """Return the payload as the action receives it: contacts untrimmed, absent fields left out."""
        return dict(self.official)


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload(_Fields):
    """What an event states about one person and one audience."""

    segment_audience_id: str | None
    segment_audience_key: str

    @property
    def membership(self) -> bool | None:
        """True in, False out; None when the value under the audience key is not a JSON boolean."""
        value = self.traits_or_props.get(self.segment_audience_key)
        return value if isinstance(value, bool) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TraitPayload(_Fields):
    """What an event states about one person and one computed trait."""

    segment_trait_id: str | None
    segment_trait_key: str

    @property
    def value(self) -> Any:
        """The value under the trait's key, as a property can hold it.

        A text, a whole number, a boolean or a list of texts; None when the event has no value or null;
        `MISSING` when it has what no property can hold.
        """
        return property_value(self.traits_or_props.get(self.segment_trait_key), MISSING)

    @property
    def value_json(self) -> str | None:
        """The value as JSON text; None when there is none that a property can hold."""
        value = self.value
        return None if value is None or value is MISSING else json_text(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Discard:
    """Why an event, or one mapping's part of it, leads to no payload."""

    status: EventStatus
    reason: str
    """A sentence for people; holds no contact."""
    mapping: str = ""
    """Name of the mapping that refused; empty when the whole event was discarded."""
    email: str | None = field(default=None, repr=False)
    """The contact the event has all the same, trimmed: another event of the person may need it."""
    phone: str | None = field(default=None, repr=False)
    reason_code: str
    """The reason in one word, such as ``NO_MATCHING_MAPPING``."""


@dataclass(frozen=True, kw_only=True)
class ActionMapping:
    """One mapping of a destination: which events it takes, and how it fills the action's fields."""

    name: str
    trigger: Trigger
    fields: Mapping
    """Gives an object with the keys of the action's fields."""
    enabled: bool = True
    action: Action = SYNC_AUDIENCES

    def payload(self, event: AbstractMapping[str, Any]) -> Payload | TraitPayload | Discard:
        """Return what the fields make of *event*, whether or not the trigger takes it."""
        try:
            values = self.fields.resolve(event)
        except MappingError as error:
            return self._refusal({}, {"": f"The mapping fails at {error}."})
        if not isinstance(values, dict):
            return self._refusal({}, {"": "The mapping gives no object of fields."})
        checked, problems = check_fields(values, self.action.fields)
        contacts = {kind: contact_text(values.get(kind)) for kind in ("email", "phone")}
        if problems:
            return self._refusal(contacts, problems)
        made = TraitPayload if self.action.slug == SYNC_TRAITS.slug else Payload
        absent = {known.key: None for known in self.action.fields}
        return made(**(absent | checked | contacts), mapping=self.name, official=checked)

    def _refusal(self, contacts: dict[str, str | None], problems: dict[str, str]) -> Discard:
        """Say why: with another class, or none, the event was never meant for the action."""
        foreign = CLASS_FIELD in problems
        status = EventStatus.NOT_AN_AUDIENCE_EVENT if foreign else EventStatus.INVALID_PAYLOAD
        return Discard(
            status=status,
            reason=" ".join(problems.values()),
            mapping=self.name,
            **contacts,
            reason_code=self.action.foreign_reason if foreign else REASON_CODES[status],
        )
