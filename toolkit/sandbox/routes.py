"""The API: which request goes where, and what each route does, without the network and the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from typing_extensions import TypedDict

from .knobs import Knobs
from .listing import parse_list_query
from .records import CustomEvent, Record, Subscriber, SubscriberChange
from .shop import Shop
from .wire import RefusedError, Reply, access_denied, coded_error, invalid_body, parse_body

API = "/api/v2"
SUBSCRIBER = f"{API}/subscribers/{{id}}"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as far as the routes look at it."""

    method: str
    path: str
    """As it was sent, still percent-encoded, so that an id may hold a slash."""
    query: tuple[tuple[str, str], ...]
    """Decoded names and values, in the order they were sent."""
    body: bytes
    url_bytes: int
    """Length of path and query as they were sent."""
    knobs: Knobs
    """As they were when the request came in."""

    @cached_property
    def route(self) -> tuple[str, str]:
        """The path as `ROUTES` has it, empty for none, and what stands for its ``{id}``."""
        folder, _, last = self.path.rpartition("/")
        pattern = f"{folder}/{{id}}"
        if self.path in ROUTES and self.path != pattern:
            return self.path, ""
        return (pattern, unquote(last)) if last and pattern in ROUTES else ("", "")

    @property
    def route_name(self) -> str:
        """The route without its id, served or not: ``PATCH /subscribers/{id}``."""
        return f"{self.method} {self.route[0].removeprefix(API) or self.path}"

    def json_object(self) -> Record:
        """Read the body, or raise the 400 to answer with."""
        try:
            document = parse_body(self.body)
        except ValueError as problem:
            raise _unreadable(f"not valid JSON: {problem}") from None
        if not isinstance(document, dict):
            raise _unreadable("not a JSON object")
        return document


def decoded_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Decode a query string as a form: a plus that was not escaped is a space.

    >>> decoded_query(b"phone_number__eq=+12025550143")
    (('phone_number__eq', ' 12025550143'),)
    """
    return tuple(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, errors="replace"))


def answer(shop: Shop, call: Call, *, has_shop: bool) -> Reply:
    """Route one call and carry it out; refusals are replies like any other."""
    if call.knobs.max_url_bytes is not None and call.url_bytes > call.knobs.max_url_bytes:
        return coded_error(414, "The address is too long", code=9415)
    operations = ROUTES.get(call.route[0])
    if operations is None:
        return coded_error(404, "No such route")
    if call.method not in operations:
        return coded_error(405, "Method not allowed", Allow=", ".join(sorted(operations)))
    if not has_shop:
        return access_denied("A partner key needs the shop's key in X-Postscript-Shop-Token")
    try:
        return operations[call.method].handler(shop, call)
    except RefusedError as refusal:
        return refusal.reply


def subscriber_named(shop: Shop, call: Call) -> str | None:
    """Return the id of the subscriber that a call names, in its path or as the one a custom event is for."""
    pattern, given = call.route
    if pattern == SUBSCRIBER:
        return shop.id_of(given, call.knobs)
    if call.method == "POST":
        with suppress(RefusedError):
            named = call.json_object().get("subscriber_id")
            return None if named is None else shop.id_of(str(named), call.knobs)
    return None


# What each route does


def _me(shop: Shop, call: Call) -> Reply:  # noqa: ARG001 - every handler is called alike
    identity = {"resource_id": "shop_sandbox", "resource_name": "Sandbox Shop", "resource_type": "shop"}
    return Reply(status=200, content=identity)


def _list_subscribers(shop: Shop, call: Call) -> Reply:
    knobs = call.knobs
    query = parse_list_query(call.query, knobs)
    subscribers, matches = shop.page(query, knobs)
    total_pages = max(knobs.empty_total_pages, -(-matches // knobs.page_size))
    if query.page > max(1, total_pages) and knobs.past_the_end == "404":
        raise RefusedError(coded_error(404, "No such page"))
    page_info = {"page": query.page, "total_pages": total_pages}
    rows = [_shown(shop, call, each) for each in subscribers]
    return Reply(status=200, content={"page_info": page_info, "subscribers": rows})


def _get_subscriber(shop: Shop, call: Call) -> Reply:
    subscriber_id = shop.id_of(call.route[1], call.knobs)
    subscriber = None if subscriber_id is None else shop.find(subscriber_id, call.knobs)
    if subscriber is None:
        return _unknown_subscriber(call)
    return Reply(status=200, content=_shown(shop, call, subscriber))


def _patch_subscriber(shop: Shop, call: Call) -> Reply:
    subscriber_id = shop.id_of(call.route[1], call.knobs)
    if subscriber_id is None or subscriber_id not in shop.subscribers:
        return _unknown_subscriber(call)
    subscriber = _shown(shop, call, shop.patch(subscriber_id, call.json_object(), call.knobs))
    if call.knobs.patch_bodies == "empty":
        return _EMPTY
    # The published sample of this answer has no ps_id.
    return Reply(status=200, content={name: value for name, value in subscriber.items() if name != "ps_id"})


def _post_event(shop: Shop, call: Call) -> Reply:
    event_id = shop.accept_custom_event(call.json_object(), call.knobs)
    is_empty = call.knobs.event_bodies == "empty"
    return _EMPTY if is_empty else Reply(status=202, content={"event_ids": [event_id]})


def _refuse(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    return access_denied(
        "An audience sync never creates subscribers and never sends messages", violation=True
    )


def _shown(shop: Shop, call: Call, subscriber: Record) -> Record:
    """Return the subscriber with the id that the API shows."""
    if call.knobs.ids == "text":
        return subscriber
    return {**subscriber, "id": shop.number_of(subscriber["id"])}


def _unknown_subscriber(call: Call) -> Reply:
    if call.knobs.unknown_person == 400:
        return Reply(status=400, content={})
    return coded_error(404, "Subscriber not found")


def _unreadable(message: str) -> RefusedError:
    return RefusedError(invalid_body([], message, "value_error.jsondecode"))


_EMPTY = Reply(status=200, text="", media_type="")


class SubscriberPage(TypedDict):
    """One page of the list."""

    page_info: dict[Literal["page", "total_pages"], int]
    subscribers: list[Subscriber]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one method does on one path."""

    handler: Callable[[Shop, Call], Reply]
    answer: Any = None
    """Type of the body of its success; None when it never succeeds."""
    status: int = 200
    body: Any = None
    """Type of the body it takes; None for none."""


_LIST = Operation(handler=_list_subscribers, answer=SubscriberPage)
_READ = Operation(handler=_get_subscriber, answer=Subscriber)
_WRITE = Operation(handler=_patch_subscriber, answer=Subscriber, body=SubscriberChange)
_SEND = Operation(handler=_post_event, answer=dict[str, list[str]], status=202, body=CustomEvent)
_NEVER = Operation(handler=_refuse)
ROUTES: Mapping[str, Mapping[str, Operation]] = {
    f"{API}/me": {"GET": Operation(handler=_me, answer=dict[str, str])},
    f"{API}/subscribers": {"GET": _LIST, "POST": _NEVER},
    SUBSCRIBER: {"GET": _READ, "PATCH": _WRITE},
    f"{API}/events": {"POST": _SEND},
    f"{API}/message_requests": {"POST": _NEVER},
    f"{API}/message_requests/{{id}}": {"GET": _NEVER},
    f"{API}/sent_messages/{{id}}": {"GET": _NEVER},
}
"""Path → method → operation."""
