"""One row of a payload frame: what one mapping makes of one event, in cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from toolkit.statuses import EventStatus

from . import events
from .destination import Discard, Payload, TraitPayload

PAYLOAD_COLUMNS = {
    "file": "category",
    "line": "Int64",
    "message_id": "str",
    "mapping": "str",
    "status": "str",
    "reason_code": "str",
    "event_type": "str",
    "event_name": "str",
    "person": "str",
    "audience_key": "str",
    "audience_id": "str",
    "membership": "boolean",
    "trait_key": "str",
    "trait_value": "str",
    "email": "str",
    "phone": "str",
    "timestamp": "datetime64[us, UTC]",
    "received_at": "datetime64[us, UTC]",
}
"""Columns and dtypes of a payload frame: one row an event × mapping.

``status`` is null while the event may still decide something; fold() gives it its last word. A row of Sync
Audiences has audience_key, audience_id and membership; one of Sync Traits trait_key and trait_value, the
value as JSON text.
"""

ROW_COLUMNS: Final = (
    "message_id",
    "mapping",
    "status",
    "reason_code",
    "person",
    "audience_key",
    "audience_id",
    "membership",
    "trait_key",
    "trait_value",
    "email",
    "phone",
    "event_type",
    "event_name",
    "timestamp",
    "received_at",
)
"""The columns of PAYLOAD_COLUMNS that do not depend on the file; times in microseconds since 1970 UTC."""

TORN_ROW: Final[tuple[Any, ...]] = (None, None, EventStatus.MALFORMED.value, "NOT_JSON", *[None] * 12)
"""The row of a line that is not an event."""


def row_of(event: Mapping[str, Any], outcome: Payload | TraitPayload | Discard) -> tuple[Any, ...]:
    """Return the cells of ROW_COLUMNS for what one mapping made of *event*."""
    person = events.person_of(event, outcome.email, outcome.phone)
    reason_code, said = _said_by(outcome)
    status: str | None = None  # for a payload: fold() has the last word on what may still decide something
    if isinstance(outcome, Discard):
        status = outcome.status.value
    elif person is None:
        status, reason_code = EventStatus.INVALID_PAYLOAD.value, "NO_PERSON"
    return (
        events.dedupe_key(event),
        outcome.mapping or None,
        status,
        reason_code,
        person,
        *said,
        outcome.email,
        outcome.phone,
        event.get("type"),
        event.get("event"),
        events.event_time(event),
        events.received_time(event),
    )


def _said_by(outcome: Payload | TraitPayload | Discard) -> tuple[str | None, tuple[Any, ...]]:
    """Return why the event decides nothing, if so, and the cells audience_key to trait_value."""
    if isinstance(outcome, Discard):
        return outcome.reason_code, (None,) * 5
    if isinstance(outcome, TraitPayload):
        value = outcome.value_json
        reason = None
        if value is None:
            reason = "TRAIT_VALUE_MISSING" if outcome.value is None else "TRAIT_VALUE_UNSUPPORTED"
        return reason, (None, None, None, outcome.segment_trait_key, value)
    reason = None
    if outcome.membership is None:
        told = outcome.segment_audience_key in outcome.traits_or_props
        reason = "MEMBERSHIP_NOT_BOOLEAN" if told else "MEMBERSHIP_MISSING"
    return reason, (outcome.segment_audience_key, outcome.segment_audience_id, outcome.membership, None, None)
