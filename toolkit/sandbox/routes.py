"""The API: which request goes where, what the list's query means, and what each route does.

Without the network and the clock. A handler raises `RefusedError` with the answer to a request it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from .options import Knobs
from .records import Record, patched
from .shop import TIMES, Filter, ListQuery, Shop, comparable
from .wire import RefusedError, Reply, access_denied, coded_error, invalid_body, parse_body, parse_timestamp

API = "/api/v2"
SUBSCRIBER = f"{API}/subscribers/{{id}}"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as far as the routes look at it."""

    method: str
    path: str
    """As it was sent, still percent-encoded, so that an id may hold a slash."""
    raw_query: str = ""
    """As it was sent."""
    body: bytes = b""
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

    @cached_property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Decoded names and values, in the order they were sent: a plus that was not escaped is a space."""
        raw = self.raw_query.encode("latin-1").decode("utf-8", "replace")
        return tuple(parse_qsl(raw, keep_blank_values=True, errors="replace"))

    @cached_property
    def document(self) -> Any:
        """The body as JSON; where it cannot be read, the ValueError that says why."""
        try:
            return parse_body(self.body)
        except ValueError as problem:
            return problem

    def json_object(self) -> Record:
        """Return the body, or raise the 400 to answer with."""
        if isinstance(self.document, dict):
            return self.document
        is_read = not isinstance(self.document, ValueError)
        message = "not a JSON object" if is_read else f"not valid JSON: {self.document}"
        raise RefusedError(invalid_body([], message, "value_error.jsondecode"))


def answer(shop: Shop, call: Call, *, has_shop: bool) -> Reply:
    """Route one call and carry it out; refusals are replies like any other."""
    url_bytes = len(call.path) + len(call.raw_query) + bool(call.raw_query)
    if call.knobs.max_url_bytes is not None and url_bytes > call.knobs.max_url_bytes:
        return coded_error(414, "The address is too long", code=9415)
    handlers = ROUTES.get(call.route[0])
    if handlers is None:
        return coded_error(404, "No such route")
    if call.method not in handlers:
        return coded_error(405, "Method not allowed", Allow=", ".join(sorted(handlers)))
    if not has_shop:
        return access_denied("A partner key needs the shop's key in X-Postscript-Shop-Token")
    try:
        return handlers[call.method](shop, call)
    except RefusedError as refusal:
        return refusal.reply


def subscriber_named(shop: Shop, call: Call) -> str | None:
    """Return the id of the subscriber that a call names, in its path or as the one a custom event is for."""
    pattern, given = call.route
    if pattern != SUBSCRIBER and call.method == "POST" and isinstance(call.document, dict):
        given = str(call.document.get("subscriber_id") or "")
    return shop.id_of(given, call.knobs) if given else None


# The list's query

OPERATORS: Mapping[str, tuple[str, ...]] = {
    "email": ("eq", "contains", "in"),
    "phone_number": ("eq", "contains", "in"),
    "shopify_customer_id": ("eq", "contains", "in"),
    "created_at": ("eq", "gt", "gte", "lt", "lte"),
    "updated_at": ("eq", "gt", "gte", "lt", "lte"),
    "ps_id": ("eq",),
}
SORT_FIELDS = (*TIMES, "phone_number", "shopify_customer_id")
_PHONE_FORMS: Mapping[str, str] = {
    # A leading space is what an unescaped plus decodes to. It is not repaired: it matches no subscriber.
    "any": r"\+?[0-9]+",
    "plus_required": r"\+[0-9]+",
    "digits_required": "[0-9]+",
}


def parse_list_query(parameters: Sequence[tuple[str, str]], knobs: Knobs) -> ListQuery:
    """Read decoded query parameters, or raise the 400 to answer with."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        values.setdefault(name, []).append(value)
    if knobs.in_encoding == "ignored":
        values = {name: given for name, given in values.items() if not name.endswith("__in")}
    for name, given in values.items():
        if not name.endswith("__in"):
            if len(given) > 1:
                raise _refused("only __in parameters may be repeated")
            continue
        if knobs.in_encoding == "comma":
            given[:] = given[-1].split(",")
        if len(given) > knobs.max_in:
            message = f"{name} has {len(given)} values; at most {knobs.max_in} are accepted"
            raise RefusedError(coded_error(400, message, code=9414))
    page = _whole_number("page", values.pop("page", ["1"])[0])
    if page < 1:
        raise _refused("page starts at 1")
    field, _, direction = values.pop("sort", ["created_at__asc"])[0].rpartition("__")
    if field not in SORT_FIELDS or direction not in {"asc", "desc"}:
        raise _refused("sort must be a sortable field followed by __asc or __desc")
    return ListQuery(
        filters=tuple(_parse_filter(name, given, knobs) for name, given in values.items()),
        sort_field=field,
        descending=direction == "desc",
        hides_opted_out=knobs.opted_out == "hidden",
        page=page,
    )


def _parse_filter(name: str, values: list[str], knobs: Knobs) -> Filter:
    field, _, operator = name.rpartition("__")
    if operator not in OPERATORS.get(field, ()):
        raise _refused("unknown query parameter")
    is_cased = field == "email" and knobs.email_case == "sensitive"
    if field == "phone_number":
        form = knobs.phone_form if operator == "in" else "any"
        wanted = [_wanted_phone(value, form, knobs.ten_digit_phones) for value in values]
    else:
        wanted = [value if is_cased else _wanted(field, value) for value in values]
    return Filter(field=field, operator=operator, wanted=frozenset(filter(None, wanted)), is_cased=is_cased)


def _wanted_phone(text: str, form: str, ten_digits: str) -> str | None:
    if not re.fullmatch(_PHONE_FORMS[form], text):
        return None
    digits = text.removeprefix("+")
    return f"1{digits}" if ten_digits == "assume_us" and re.fullmatch("[0-9]{10}", text) else digits


def _wanted(field: str, text: str) -> str | None:
    if field == "ps_id":
        return str(_whole_number(field, text))
    if field not in TIMES:
        return comparable(field, text)
    try:
        instant = parse_timestamp(text).astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        raise _refused(f"{field} must be compared with an ISO 8601 date-time") from None
    # The order of these texts is the order of time: a whole second has no fraction, and a shorter text
    # sorts before the longer one that begins with it.
    return instant.isoformat()


def _whole_number(name: str, text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,400}", text):
        raise _refused(f"{name} must be a whole number")
    return int(text)


def _refused(message: str) -> RefusedError:
    return RefusedError(coded_error(400, message))


# What each route does

_EMPTY = Reply(status=200, text="", media_type="")
_IDENTITY = {"resource_id": "shop_sandbox", "resource_name": "Sandbox Shop", "resource_type": "shop"}
_NEVER = access_denied("An audience sync never creates subscribers and never sends messages", violation=True)


def answer_list(shop: Shop, call: Call, *, back: int = 0) -> Reply:
    """Answer with a page of the list: the one that is asked for, or so many before it."""
    knobs = call.knobs
    asked = parse_list_query(call.query, knobs)
    query = replace(asked, page=max(1, asked.page - back))
    subscribers, matches = shop.page(query, knobs)
    total_pages = max(knobs.empty_total_pages, -(-matches // knobs.page_size))
    if query.page > max(1, total_pages) and knobs.past_the_end == "404":
        return coded_error(404, "No such page")
    page_info = {"page": query.page, "total_pages": total_pages}
    rows = [_shown(shop, call, each) for each in subscribers]
    return Reply(status=200, content={"page_info": page_info, "subscribers": rows})


def _get_subscriber(shop: Shop, call: Call) -> Reply:
    subscriber = shop.find(subscriber_named(shop, call), call.knobs)
    if subscriber is None:
        return _unknown_subscriber(call)
    return Reply(status=200, content=_shown(shop, call, subscriber))


def _patch_subscriber(shop: Shop, call: Call) -> Reply:
    old = shop.subscribers.get(subscriber_named(shop, call) or "")
    if old is None:
        return _unknown_subscriber(call)
    new = patched(old, call.json_object(), shop.now(), call.knobs)
    if new is not old:
        shop.change(new["id"], new)
    subscriber = _shown(shop, call, new)
    if call.knobs.patch_bodies == "empty":
        return _EMPTY
    # The published sample of this answer has no ps_id.
    return Reply(status=200, content={name: value for name, value in subscriber.items() if name != "ps_id"})


def _post_event(shop: Shop, call: Call) -> Reply:
    event_id = shop.accept_custom_event(call.json_object(), call.knobs)
    is_empty = call.knobs.event_bodies == "empty"
    return _EMPTY if is_empty else Reply(status=202, content={"event_ids": [event_id]})


def _shown(shop: Shop, call: Call, subscriber: Record) -> Record:
    """Return the subscriber with the id that the API shows."""
    if call.knobs.ids == "text":
        return subscriber
    return {**subscriber, "id": shop.number_of(subscriber["id"])}


def _unknown_subscriber(call: Call) -> Reply:
    if call.knobs.unknown_person == 400:
        return Reply(status=400, content={})
    return coded_error(404, "Subscriber not found")


ROUTES: Mapping[str, Mapping[str, Callable[[Shop, Call], Reply]]] = {
    f"{API}/me": {"GET": lambda *_: Reply(status=200, content=_IDENTITY)},
    f"{API}/subscribers": {"GET": answer_list, "POST": lambda *_: _NEVER},
    SUBSCRIBER: {"GET": _get_subscriber, "PATCH": _patch_subscriber},
    f"{API}/events": {"POST": _post_event},
    f"{API}/message_requests": {"POST": lambda *_: _NEVER},
    f"{API}/message_requests/{{id}}": {"GET": lambda *_: _NEVER},
    f"{API}/sent_messages/{{id}}": {"GET": lambda *_: _NEVER},
}
"""Path → method → what it does."""
