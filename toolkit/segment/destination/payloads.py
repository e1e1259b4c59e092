"""What an event says once a mapping has read it: a payload of one of the actions, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from toolkit.frames import json_text
from toolkit.segment.mapping import MISSING
from toolkit.statuses import EventStatus

from .actions import CLASS_FIELD, SYNC_TRAITS, Action
from .checks import is_not_finite

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
class Payload:
    """What an event says about one person and one audience."""

    segment_audience_id: str | None
    segment_audience_key: str
    segment_computation_action: str
    """``audience`` or ``journey_step``."""
    email: str | None = field(repr=False)
    """Trimmed; None when the event has none."""
    phone: str | None = field(repr=False)
    """Trimmed, otherwise as sent; None when the event has none."""
    traits_or_props: dict[str, Any] = field(repr=False)
    mapping: str
    """Name of the mapping that made it."""
    official: dict[str, Any] = field(repr=False, compare=False)
    """The fields as Segment's action receives them; read by `fields`."""

    @property
    def membership(self) -> bool | None:
        """True in, False out; None when the value under the audience key is not a JSON boolean."""
        value = self.traits_or_props.get(self.segment_audience_key)
        return value if isinstance(value, bool) else None

    def fields(self) -> dict[str, Any]:
        """Return the payload as Segment's action receives it: contacts untrimmed, absent fields left out."""
        return dict(self.official)


@dataclass(frozen=True, kw_only=True, slots=True)
class TraitPayload:
    """What an event says about one person and one computed trait."""

    segment_trait_id: str | None
    segment_trait_key: str
    segment_computation_action: str
    """``computed_trait`` or ``trait``."""
    email: str | None = field(repr=False)
    """Trimmed; None when the event has none."""
    phone: str | None = field(repr=False)
    """Trimmed, otherwise as sent; None when the event has none."""
    traits_or_props: dict[str, Any] = field(repr=False)
    mapping: str
    """Name of the mapping that made it."""
    official: dict[str, Any] = field(repr=False, compare=False)
    """The fields as the action receives them; read by `fields`."""

    @property
    def value(self) -> Any:
        """The value under the trait's key, as a property can hold it.

        A text, a whole number, a boolean or a list of texts; None when the event says nothing or null;
        `MISSING` when it says what no property can hold.
        """
        return property_value(self.traits_or_props.get(self.segment_trait_key))

    @property
    def value_json(self) -> str | None:
        """The value as JSON text; None when there is none that a property can hold."""
        value = self.value
        return None if value is None or value is MISSING else json_text(value)

    def fields(self) -> dict[str, Any]:
        """Return the payload as the action receives it: contacts untrimmed, absent fields left out."""
        return dict(self.official)


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


def payload_of(action: Action, checked: dict[str, Any], mapping: str) -> Payload | TraitPayload:
    """Return the payload that an action's checked fields make."""
    email = checked.get("email", "").strip() or None
    phone = checked.get("phone", "").strip() or None
    if action == SYNC_TRAITS:
        return TraitPayload(
            segment_trait_id=checked.get("segment_trait_id"),
            segment_trait_key=checked["segment_trait_key"],
            segment_computation_action=checked[CLASS_FIELD],
            email=email,
            phone=phone,
            traits_or_props=checked["traits_or_props"],
            mapping=mapping,
            official=checked,
        )
    return Payload(
        segment_audience_id=checked.get("segment_audience_id"),
        segment_audience_key=checked["segment_audience_key"],
        segment_computation_action=checked[CLASS_FIELD],
        email=email,
        phone=phone,
        traits_or_props=checked["traits_or_props"],
        mapping=mapping,
        official=checked,
    )


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
