"""Segment events: who they are about, when they happened, and whether they are meant for Postscript.

An event is one JSON object, a ``Mapping`` as Python's ``json`` reads it. Archives hold bad data: every
function here takes whatever is in such an object and answers without raising.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

ROW_COLUMNS: Final = {
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
"""The columns of PAYLOAD_COLUMNS that do not depend on the file; times in microseconds since 1970 UTC."""

EVENT_ORDER: Final = ("timestamp", "received_at", "message_id")
"""Order of two events about one membership: the later by these columns wins, and null is the earliest."""

PAYLOAD_COLUMNS = {"file": "category", "line": "Int64", **ROW_COLUMNS}
"""Columns and dtypes of a payload frame: one row an event × mapping.

``status`` is null while the event may still decide something; fold() gives its final status. A row of Sync
Audiences has audience_key, audience_id and membership; one of Sync Traits trait_key and trait_value, the
value as JSON text.
"""

INTEGRATION_NAME = "Postscript"
"""Segment's name of the destination in an event's ``integrations``; case matters."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_MICROSECOND = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MILLISECONDS_FROM = 1e11
"""Epoch numbers from here on are milliseconds: as seconds it is the year 5138, as milliseconds March 1973."""
_TIMES = ("timestamp", "receivedAt", "originalTimestamp", "sentAt")


def is_event(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether *value* is an event at all: a JSON object, of whatever content.

    An object without a ``type`` is an event that no trigger matches; anything else is malformed.
    """
    return isinstance(value, dict)


def person_of(event: Mapping[str, Any], email: str | None, phone: str | None) -> str | None:
    """Return the name under which the events of one person are brought together, None without any.

    The first there is of ``userId``, ``anonymousId``, *email* (lower-cased) and *phone*.

    >>> person_of({"userId": "c_1042"}, "dana@example.test", None)
    'user:c_1042'
    >>> person_of({}, "Dana@Example.test", None)
    'email:dana@example.test'
    """
    for kind, key in (("user", "userId"), ("anonymous", "anonymousId")):
        if name := _id_text(event.get(key)):
            return f"{kind}:{name}"
    if email and (address := email.strip()):
        return f"email:{address.lower()}"
    if phone and (number := phone.strip()):
        return f"phone:{number}"
    return None


def is_for_postscript(event: Mapping[str, Any]) -> bool:
    """Return whether the event's ``integrations`` object lets it through to Postscript.

    Segment's documented rules: ``"Postscript"`` set to true or to an object delivers, false does not;
    without that key, ``"All": false`` does not. Undocumented content does not deliver, so that no one is
    texted on a guess: any other value of the key, and ``integrations`` that are not an object. An empty
    list counts as an empty object, which is how PHP writes one.
    """
    integrations = event.get("integrations")
    if integrations is None or integrations == []:
        return True
    if not isinstance(integrations, Mapping):
        return False
    if INTEGRATION_NAME in integrations:
        choice = integrations[INTEGRATION_NAME]
        return choice is True or isinstance(choice, Mapping)
    return integrations.get("All") is not False


def has_consent(event: Mapping[str, Any], categories: Collection[str]) -> bool:
    """Return whether the person consented to every one of the *categories* the destination is mapped to.

    Segment evaluates ``context.consent.categoryPreferences`` before ``integrations``; one category without
    consent is enough to deliver nothing. An event that carries no preferences at all does not use consent
    and passes. Preferences that are not an object, and answers that are not true, are no consent.
    """
    if not categories:
        return True
    consent = _within(event, "context", "consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, Mapping) else consent
    if preferences is None:
        return True
    return isinstance(preferences, Mapping) and all(preferences.get(name) is True for name in categories)


def dedupe_key(event: Mapping[str, Any]) -> str:
    """Return what two copies of one event have in common: the ``messageId``, else a hash of its content.

    >>> dedupe_key({"messageId": "personas_9f2k"})
    'personas_9f2k'
    """
    message_id = event.get("messageId")
    if isinstance(message_id, str) and message_id.strip():
        return message_id
    key = _within(event, "context", "personas", "computation_key")
    holders = [event.get("properties"), event.get("traits")] if isinstance(key, str) else []
    value = next((holder[key] for holder in holders if isinstance(holder, Mapping) and key in holder), None)
    parts = [event.get(name) for name in ("type", "event", "userId", "anonymousId")]
    parts += [key, value, event.get("timestamp")]
    # The contacts as well: they are the person where there is no id.
    parts += [event.get("traits"), event.get("properties"), _within(event, "context", "traits")]
    # ASCII output: a lone surrogate cannot be encoded, its escape can.
    try:
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    except (RecursionError, TypeError, ValueError):
        # Nested beyond what json writes; no such value can be a membership, so its kind will do.
        plain = [value if isinstance(value, str | bool | None) else type(value).__name__ for value in parts]
        text = json.dumps(plain, separators=(",", ":"))
    return "hash:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def _within(value: object, *path: str) -> object:
    """Return what stands at *path*, None where an object or the key is missing."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def event_time(event: Mapping[str, Any]) -> int | None:
    """Return when the event happened, in microseconds since 1970 UTC; None if it does not say.

    ``timestamp`` is Segment's corrected time; ``receivedAt``, ``originalTimestamp`` and ``sentAt`` stand in
    for it where it cannot be read.

    >>> event_time({"timestamp": "2025-03-04T10:15:00.000Z"})
    1741083300000000
    """
    moments = (_microseconds(event.get(key)) for key in _TIMES)
    return next((moment for moment in moments if moment is not None), None)


def received_time(event: Mapping[str, Any]) -> int | None:
    """Return when Segment received the event, in microseconds since 1970 UTC; None if it does not say."""
    return _microseconds(event.get("receivedAt"))


def _id_text(value: object) -> str:
    """Return an id as text, blank when it is absent or cannot be one; whole numbers without a point."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not math.isfinite(value) if isinstance(value, float) else value.bit_length() > 1024:
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def _microseconds(value: object) -> int | None:
    if isinstance(value, str):
        return _microseconds_of_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    scale = 1_000_000 if abs(value) < _MILLISECONDS_FROM else 1_000
    # Compared before multiplying: NaN fails the comparison, and nothing overflows.
    if not _FIRST_MICROSECOND / scale <= value <= _LAST_MICROSECOND / scale:
        return None
    return round(value * scale)


def _microseconds_of_text(text: str) -> int | None:
    text = text.strip().upper()
    # Python also reads "1741082100000" as a day of the year 1741, and any character before the hour.
    if text[4:5] != "-" or text[7:8] != "-" or text[10:11] not in ("", "T", " "):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND
