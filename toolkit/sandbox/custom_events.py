"""Custom events: which bodies are accepted. An accepted one comes back as a value."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from .instants import parse_instant
from .knobs import Knobs
from .replies import RefusedError, invalid_body

FIELDS = ("type", "subscriber_id", "phone", "email", "occurred_at", "properties", "external_id")
TYPE_PATTERN = "[A-Za-z0-9_]{1,255}"


def accepted_body(body: dict[str, Any], knobs: Knobs) -> dict[str, Any]:
    """Return *body* as it is stored, or raise the 400 to answer with when it is no custom event."""
    unknown = [name for name in body if name not in FIELDS]
    if unknown and knobs.unknown_event_fields == "refused":
        raise RefusedError(invalid_body([unknown[0]], "extra fields not permitted", "value_error.extra"))
    _check_type(body.get("type"))
    for name in ("subscriber_id", "phone", "email", "occurred_at", "external_id"):
        value = body.get(name)
        if value is not None and not isinstance(value, str) and not _is_number_id(name, value, knobs):
            raise RefusedError(invalid_body([name], "must be a string", "type_error.str"))
    _check_occurred_at(body.get("occurred_at"))
    _check_properties(body.get("properties"))
    stored = {name: value for name, value in body.items() if name in FIELDS}
    if knobs.event_keys == "lowercase" and stored.get("properties"):
        stored["properties"] = {name.lower(): value for name, value in stored["properties"].items()}
    return stored


def _is_number_id(name: str, value: Any, knobs: Knobs) -> bool:
    return name == "subscriber_id" and knobs.ids == "numeric" and type(value) is int


def event_id(number: int) -> str:
    """Name the accepted custom event of that number, the same way each time."""
    digest = hashlib.sha256(f"custom event {number}".encode()).hexdigest()
    return f"{digest[:4]}-{digest[4:8]}-{digest[8:12]}"


def _check_type(given: Any) -> None:
    if given is None:
        raise RefusedError(invalid_body(["type"], "field required", "value_error.missing"))
    if not isinstance(given, str) or not re.fullmatch(TYPE_PATTERN, given):
        message = "must be 1 to 255 letters, digits and underscores"
        raise RefusedError(invalid_body(["type"], message, "value_error.str.regex"))


def _check_occurred_at(given: str | None) -> None:
    if given is None:
        return
    try:
        parse_instant(given)
    except ValueError:
        message = "must be a date-time such as 2025-03-04 05:06:07.000000"
        raise RefusedError(invalid_body(["occurred_at"], message, "value_error.datetime")) from None


def _check_properties(given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, dict):
        raise RefusedError(invalid_body(["properties"], "must be an object", "type_error.dict"))
    for name, value in given.items():
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, (str, int, float)) for item in items):
            message = "must be a string, a number, a boolean or a list of these"
            raise RefusedError(invalid_body(["properties", name], message, "type_error"))
