"""What one mapping makes of an event: a payload of its action, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from typing import Any, Final

from toolkit.errors import MappingError
from toolkit.frames import json_text
from toolkit.segment.mapping import MISSING, Mapping
from toolkit.segment.triggers import Trigger
from toolkit.statuses import EventStatus

from .actions import (
    CLASS_FIELD,
    SYNC_AUDIENCES,
    SYNC_TRAITS,
    Action,
    check_fields,
    contact_text,
    is_not_finite,
)

REASON_CODES: Final[dict[EventStatus, str]] = {
    EventStatus.FILTERED_INTEGRATIONS: "FILTERED_BY_INTEGRATIONS_OBJECT",
    EventStatus.FILTERED_CONSENT: "FILTERED_BY_END_USER_CONSENT",
    EventStatus.NO_MATCHING_MAPPING: "NO_MATCHING_MAPPING",
    EventStatus.NOT_AN_AUDIENCE_EVENT: "NOT_AN_AUDIENCE_EVENT",
    EventStatus.INVALID_PAYLOAD: "PAYLOAD_VALIDATION_FAILED",
}
"""Each status in the words of Segment's delivery overview, where it has them."""

_MAX_BITS: Final = 63
"""Longer numbers are no integers to most databases; Postscript's is unlikely to differ."""


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
        return property_value(self.traits_or_props.get(self.segment_trait_key))

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
    reason_code: str = ""
    """The reason in one word, such as ``NO_MATCHING_MAPPING``; when not given, that of the status."""

    def __post_init__(self) -> None:
        if not self.reason_code:
            object.__setattr__(self, "reason_code", REASON_CODES[self.status])


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
            return self._invalid(f"The mapping fails at {error}.")
        if not isinstance(values, dict):
            return self._invalid("The mapping gives no object of fields.")
        checked, problems = check_fields(values, self.action.fields)
        return self._refusal(values, problems) if problems else self._accepted(checked)

    def _invalid(self, reason: str) -> Discard:
        return Discard(status=EventStatus.INVALID_PAYLOAD, reason=reason, mapping=self.name)

    def _refusal(self, values: dict[str, Any], problems: dict[str, str]) -> Discard:
        """Say why: with another class, or none, the event was never meant for the action."""
        foreign = CLASS_FIELD in problems
        status = EventStatus.NOT_AN_AUDIENCE_EVENT if foreign else EventStatus.INVALID_PAYLOAD
        return Discard(
            status=status,
            reason=" ".join(problems.values()),
            mapping=self.name,
            email=contact_text(values.get("email")),
            phone=contact_text(values.get("phone")),
            reason_code=self.action.foreign_reason if foreign else REASON_CODES[status],
        )

    def _accepted(self, checked: dict[str, Any]) -> Payload | TraitPayload:
        made = TraitPayload if self.action == SYNC_TRAITS else Payload
        absent = {known.key: None for known in self.action.fields}
        contacts = {kind: checked.get(kind, "").strip() or None for kind in ("email", "phone")}
        return made(**(absent | checked | contacts), mapping=self.name, official=checked)


def property_value(value: Any) -> Any:
    """Return *value* as a property of a subscriber can hold it: None for null, `MISSING` if it cannot.

    Postscript lists texts, whole numbers and lists of texts; its sample also shows a boolean. ``5.0`` is a
    whole number, as JSON makes no difference; ``5.5``, objects and other lists have no documented place.

    >>> property_value(5.0), property_value(["a"]), property_value({"a": 1})
    (5, ['a'], MISSING)
    """
    if value is None or is_not_finite(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else MISSING
    if isinstance(value, list):
        return value if all(isinstance(item, str) for item in value) else MISSING
    return value if isinstance(value, str) else MISSING
