"""Subscribers and custom events: what records and bodies may hold, and what a PATCH makes of a subscriber.

A body that is accepted is used as it was sent; each check raises the 400 to answer with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from toolkit.errors import FileFormatError, InputPathError

from . import wire
from .options import Knobs

MAX_PROPERTIES = 50
"""Custom properties one subscriber can have."""

Record = dict[str, Any]
"""A `Subscriber`, or one that is not complete yet; also a custom event."""
Timestamp = Annotated[str, AfterValidator(lambda text: wire.format_timestamp(wire.parse_timestamp(text)))]


@with_config(ConfigDict(strict=True, extra="allow"))
class Subscriber(TypedDict):
    """One subscriber as Postscript shows them; other fields are kept as they are."""

    id: Annotated[str, Field(min_length=1)]
    ps_id: NotRequired[int | None]
    phone_number: NotRequired[str | None]
    email: NotRequired[str | None]
    shopify_customer_id: NotRequired[int | None]
    created_at: Timestamp
    updated_at: Timestamp
    data: dict[str, Any]
    properties: dict[str, Any]
    subscriptions: dict[str, Any]
    tags: list[Any]


_SUBSCRIBER = TypeAdapter(Subscriber)
_DEFAULTS: Record = {
    "properties": {},
    "subscriptions": {"promotional": {"can_send": True}, "transactional": {"can_send": True}},
    "tags": [],
    "data": {},
}


def completed(record: Any, now: str) -> Record:
    """Return a full subscriber made from *record*; a ValueError says in a sentence why it cannot be one.

    Absent ``properties``, ``tags``, ``subscriptions`` and times get the values of a person who signed
    up *now* and agreed to everything.
    """
    if not isinstance(record, dict):
        raise ValueError("a subscriber must be a JSON object")
    given = {name: value for name, value in record.items() if name not in _DEFAULTS or value is not None}
    full = {**_DEFAULTS, "created_at": now, "updated_at": now, **given}
    try:
        return {**_SUBSCRIBER.validate_python(full)}
    except ValidationError as error:
        raise ValueError(wire.first_problem(error)) from None


def read_records(lines: Iterable[bytes], source: str, now: str) -> Iterator[Record]:
    """Read NDJSON into full subscribers; a FileFormatError names *source* and the line."""
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{source}, line {number}"
        try:
            subscriber = completed(wire.parse_body(line), now)
        except ValueError as problem:
            raise FileFormatError(f"{place}: a line must be one subscriber as JSON: {problem}.") from None
        if subscriber["id"] in seen:
            raise FileFormatError(f"{place}: an earlier line has the same id.")
        seen.add(subscriber["id"])
        yield subscriber


def load_subscribers(path: Path, now: str) -> list[Record]:
    """Read a subscribers file, such as ``GET /control/subscribers`` writes."""
    try:
        with path.open("rb") as lines:
            return list(read_records(lines, str(path), now))
    except OSError as problem:
        raise InputPathError(f"{path}: the subscribers file cannot be read ({problem.strerror}).") from None


EventValue = str | int | float | bool


@with_config(ConfigDict(strict=True, extra="forbid"))
class CustomEvent(TypedDict):
    """The body of ``POST /events``."""

    type: Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,255}$")]
    subscriber_id: NotRequired[str | None]
    phone: NotRequired[str | None]
    email: NotRequired[str | None]
    occurred_at: NotRequired[Annotated[str, AfterValidator(wire.parse_timestamp)] | None]
    properties: NotRequired[dict[str, EventValue | list[EventValue]] | None]
    external_id: NotRequired[str | None]


@with_config(ConfigDict(strict=True, extra="ignore"))
class SubscriberChange(TypedDict):
    """The body of ``PATCH /subscribers/{id}``."""

    email: NotRequired[Annotated[str, Field(pattern="@")] | None]
    tags: NotRequired[list[str] | None]
    properties: NotRequired[dict[str, str | int | bool | list[str] | None] | None]


_CUSTOM_EVENT = TypeAdapter(CustomEvent)
_SUBSCRIBER_CHANGE = TypeAdapter(SubscriberChange)
_KINDS = {"missing": "value_error.missing", "extra_forbidden": "value_error.extra"}


def accepted_event(body: Record, knobs: Knobs) -> Record:
    """Return the custom event as it is stored."""
    given = body.get("subscriber_id")
    is_number = knobs.ids == "numeric" and type(given) is int
    checked = {**body, "subscriber_id": str(given)} if is_number else body
    _check(_CUSTOM_EVENT, checked, unknown=knobs.unknown_event_fields)
    body = {name: value for name, value in body.items() if name in CustomEvent.__annotations__}
    if knobs.event_keys == "lowercase" and body.get("properties"):
        return {**body, "properties": {name.lower(): value for name, value in body["properties"].items()}}
    return body


def patched(subscriber: Record, body: Record, now: str, knobs: Knobs) -> Record:
    """Return the subscriber after a PATCH; the same object when it changes nothing.

    By default properties merge by key and a value is replaced whole; tags are only ever added; fields
    that are not known are ignored.
    """
    _check(_SUBSCRIBER_CHANGE, body, unknown=knobs.unknown_patch_fields)
    added = [tag for tag in dict.fromkeys(body.get("tags") or ()) if tag not in subscriber["tags"]]
    new = {
        **subscriber,
        "properties": _patched_properties(subscriber["properties"], body.get("properties"), knobs),
        "tags": [*subscriber["tags"], *added],
    }
    # An email is stored only if there was none, or no Shopify customer is linked yet.
    is_linked = subscriber.get("shopify_customer_id") is not None
    if body.get("email") is not None and not (subscriber.get("email") and is_linked):
        new["email"] = body["email"]
    # As JSON, because Python holds True and 1 for equal.
    if wire.dump_json(new) == wire.dump_json(subscriber):
        return subscriber
    return {**new, "updated_at": now} if knobs.bumps_updated_at else new


def _patched_properties(current: Record, given: Record | None, knobs: Knobs) -> Record:
    if given is None:
        return current
    merged = {} if knobs.writes == "replace" else dict(current)
    for name, value in given.items():
        is_removed = value is None and knobs.null_value == "delete"
        if is_removed or (value == [] and knobs.empty_list == "drop"):
            merged.pop(name, None)
        elif value is not None or knobs.null_value == "store":
            merged[name] = value
    # A subscriber that had more than the limit keeps them.
    most = max(MAX_PROPERTIES, len(current))
    if len(merged) <= most:
        return merged
    if knobs.property_limit == "drop":
        return dict(list(merged.items())[:most])  # the new ones are last
    raise wire.RefusedError(
        wire.invalid_body(["properties"], f"a subscriber has at most {MAX_PROPERTIES} properties")
    )


def _check(adapter: TypeAdapter[Any], body: Record, *, unknown: str) -> None:
    try:
        adapter.validate_python(body, extra="forbid" if unknown == "refused" else "ignore")
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        # What follows the name of a property is a part of its type.
        place = [str(part) for part in problem["loc"][:2]]
        kind = _KINDS.get(problem["type"], "value_error")
        raise wire.RefusedError(wire.invalid_body(place, problem["msg"], kind)) from None
