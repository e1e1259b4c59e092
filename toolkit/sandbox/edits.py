"""PATCH of one subscriber: the rules, as a function from the old record to the new one."""

from __future__ import annotations

from typing import Any

from .knobs import Knobs
from .replies import RefusedError, invalid_body
from .strict_json import dump_json

MAX_PROPERTIES = 50
"""Custom properties one subscriber can have."""


FIELDS = ("email", "tags", "properties")


def edited(subscriber: dict[str, Any], body: dict[str, Any], now: str, knobs: Knobs) -> dict[str, Any]:
    """Apply a PATCH body; the same object comes back when it changes nothing.

    By default properties merge by key and a value is replaced whole; tags are only ever added; fields
    that are not known are ignored. Raises the 400 to answer with, before anything is applied.
    """
    unknown = [name for name in body if name not in FIELDS]
    if unknown and knobs.unknown_patch_fields == "refused":
        raise RefusedError(invalid_body([unknown[0]], "extra fields not permitted", "value_error.extra"))
    new = dict(subscriber)
    new["properties"] = _edited_properties(subscriber["properties"], body.get("properties"), knobs)
    new["tags"] = _added_tags(subscriber["tags"], body.get("tags"))
    email = _accepted_email(subscriber, body.get("email"))
    if email is not None:
        new["email"] = email
    # As JSON, because Python holds True and 1 for equal.
    if dump_json(new) == dump_json(subscriber):
        return subscriber
    return {**new, "updated_at": now} if knobs.bumps_updated_at else new


def _edited_properties(current: dict[str, Any], given: Any, knobs: Knobs) -> dict[str, Any]:
    if given is None:
        return current
    if not isinstance(given, dict):
        raise RefusedError(invalid_body(["properties"], "must be an object", "type_error.dict"))
    for name, value in given.items():
        if not _is_property_value(value):
            message = "must be a string, an integer, a boolean or a list of strings"
            raise RefusedError(invalid_body(["properties", name], message, "type_error"))
    stored = {
        name: value for name, value in given.items() if value is not None or knobs.null_value == "store"
    }
    removed = {name for name, value in given.items() if value is None and knobs.null_value == "delete"}
    if knobs.empty_list == "drop":
        removed |= {name for name, value in given.items() if value == []}
    kept = {} if knobs.writes == "replace" else current
    merged = {name: value for name, value in {**kept, **stored}.items() if name not in removed}
    return _limited(merged, len(current), knobs)


def _limited(merged: dict[str, Any], before: int, knobs: Knobs) -> dict[str, Any]:
    """Hold the limit on properties; who had more already keeps them."""
    most = max(MAX_PROPERTIES, before)
    if len(merged) <= most:
        return merged
    if knobs.property_limit == "drop":
        return dict(list(merged.items())[:most])  # the new ones are last
    message = f"a subscriber has at most {MAX_PROPERTIES} properties"
    raise RefusedError(invalid_body(["properties"], message))


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
