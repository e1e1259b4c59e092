"""PATCH of one subscriber: the rules, as a function from the old record to the new one."""

from __future__ import annotations

from typing import Any

from toolkit.sandbox.replies import RefusedError, invalid_body
from toolkit.sandbox.strict_json import dump_json

MAX_PROPERTIES = 50
"""Custom properties one subscriber can have."""


def edited(subscriber: dict[str, Any], body: dict[str, Any], now: str) -> dict[str, Any]:
    """Apply a PATCH body; the same object comes back when it changes nothing.

    Properties merge by key and a value is replaced whole; tags are only ever added; fields that
    are not known are ignored. Raises the 400 to answer with, before anything is applied.
    """
    new = dict(subscriber)
    new["properties"] = _merged_properties(subscriber["properties"], body.get("properties"))
    new["tags"] = _added_tags(subscriber["tags"], body.get("tags"))
    email = _accepted_email(subscriber, body.get("email"))
    if email is not None:
        new["email"] = email
    # As JSON, because Python holds True and 1 for equal.
    if dump_json(new) == dump_json(subscriber):
        return subscriber
    return {**new, "updated_at": now}


def _merged_properties(current: dict[str, Any], given: Any) -> dict[str, Any]:
    if given is None:
        return current
    if not isinstance(given, dict):
        raise RefusedError(invalid_body(["properties"], "must be an object", "type_error.dict"))
    for name, value in given.items():
        if not _is_property_value(value):
            message = "must be a string, an integer, a boolean or a list of strings"
            raise RefusedError(invalid_body(["properties", name], message, "type_error"))
    merged = {**current, **{name: value for name, value in given.items() if value is not None}}
    if len(merged) > max(MAX_PROPERTIES, len(current)):
        message = f"a subscriber has at most {MAX_PROPERTIES} properties"
        raise RefusedError(invalid_body(["properties"], message))
    return merged


def _is_property_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, (str, int))  # bool is an int


def _added_tags(current: list[Any], given: Any) -> list[Any]:
    if given is None:
        return current
    if not isinstance(given, list) or not all(isinstance(tag, str) for tag in given):
        raise RefusedError(invalid_body(["tags"], "must be a list of strings", "type_error.list"))
    return [*current, *(tag for tag in dict.fromkeys(given) if tag not in current)]


def _accepted_email(subscriber: dict[str, Any], given: Any) -> str | None:
    """Return the email to store, or None to leave what is there."""
    if given is None:
        return None
    if not isinstance(given, str) or "@" not in given:
        raise RefusedError(invalid_body(["email"], "must be an email address", "value_error.email"))
    # Stored only if there was none, or no Shopify customer is linked yet.
    linked = subscriber.get("shopify_customer_id") is not None
    return None if subscriber.get("email") and linked else given
