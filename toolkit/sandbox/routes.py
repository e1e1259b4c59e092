"""The API's routes: one request in, one reply out; nothing here touches the network or the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from toolkit.sandbox.listing import parse_list_query
from toolkit.sandbox.replies import (
    KEYWORD_NOT_FOUND,
    NOT_FOUND,
    WRONG_METHOD,
    RefusedError,
    Reply,
    access_denied,
    coded_error,
    invalid_body,
    json_reply,
)
from toolkit.sandbox.shop import Shop
from toolkit.sandbox.strict_json import parse_json
from toolkit.sandbox.webhooks import SIGNATURE, checked_event

KEYWORDS = (
    {
        "id": "kw_sandbox_1",
        "keyword": "SOCKS",
        "triggered_count": 12,
        "created_at": "2025-03-04T05:06:07.123456",
        "updated_at": "2025-03-04T05:06:07.123456",
    },
    {
        "id": "kw_sandbox_2",
        "keyword": "VIP",
        "triggered_count": 0,
        "created_at": "2025-04-05T06:07:08.654321",
        "updated_at": "2025-04-05T06:07:08.654321",
    },
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as far as the routes look at it."""

    method: str
    path: str
    """As it was sent, still percent-encoded, so that an id may hold a slash."""
    query: tuple[tuple[str, str], ...]
    """Decoded names and values, in the order they were sent."""
    body: bytes
    max_in: int
    """Most values one ``__in`` parameter may have."""

    def json_object(self) -> dict[str, Any]:
        """Read the body, or raise the 400 to answer with."""
        try:
            document = parse_json(self.body)
        except ValueError as problem:
            raise RefusedError(
                invalid_body([], f"not valid JSON: {problem}", "value_error.jsondecode")
            ) from None
        if not isinstance(document, dict):
            raise RefusedError(invalid_body([], "not a JSON object", "value_error.jsondecode"))
        return document


Handler = Callable[..., Reply]


def answer(shop: Shop, call: Call, *, has_shop: bool) -> Reply:
    """Route one call and carry it out; refusals are replies like any other."""
    try:
        handler, names = _route(call)
        if not has_shop:
            message = "A partner key needs the shop's key in X-Postscript-Shop-Token"
            return access_denied(message)
        return handler(shop, call, *names)
    except RefusedError as refusal:
        return refusal.reply


def _route(call: Call) -> tuple[Handler, tuple[str, ...]]:
    segments = tuple(unquote(part) for part in call.path.split("/"))
    for pattern, methods in ROUTES.items():
        names = _matched(pattern.split("/"), segments)
        if names is None:
            continue
        if call.method not in methods:
            headers = {"Allow": ", ".join(sorted(methods))}
            raise RefusedError(coded_error(405, WRONG_METHOD, "Method not allowed", headers))
        return methods[call.method], names
    raise RefusedError(coded_error(404, NOT_FOUND, "No such route"))


def _matched(pattern: list[str], segments: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what stands for each ``{}`` of the pattern, or None when the path is another."""
    if len(pattern) != len(segments):
        return None
    pairs = list(zip(pattern, segments, strict=True))
    if not all(part == given or (part == "{}" and given) for part, given in pairs):
        return None
    return tuple(given for part, given in pairs if part == "{}")


def _me(shop: Shop, call: Call) -> Reply:  # noqa: ARG001 - every handler is called alike
    identity = {"resource_id": "shop_sandbox", "resource_name": "Sandbox Shop", "resource_type": "shop"}
    return json_reply(identity)


def _list_subscribers(shop: Shop, call: Call) -> Reply:
    return json_reply(shop.page(parse_list_query(call.query, max_in=call.max_in)))


def _create_subscriber(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    return access_denied("An audience sync must never create subscribers", violation=True)


def _get_subscriber(shop: Shop, call: Call, subscriber_id: str) -> Reply:  # noqa: ARG001
    return json_reply(shop.get(subscriber_id))


def _patch_subscriber(shop: Shop, call: Call, subscriber_id: str) -> Reply:
    subscriber = shop.patch(subscriber_id, call.json_object())
    # The published sample of this answer has no ps_id.
    return json_reply({name: value for name, value in subscriber.items() if name != "ps_id"})


def _post_event(shop: Shop, call: Call) -> Reply:
    return json_reply({"event_ids": [shop.accept_custom_event(call.json_object())]}, 202)


def _list_keywords(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    return json_reply({"keywords": list(KEYWORDS)})


def _get_keyword(shop: Shop, call: Call, keyword_id: str) -> Reply:  # noqa: ARG001
    for keyword in KEYWORDS:
        if keyword["id"] == keyword_id:
            return json_reply(keyword)
    return coded_error(404, KEYWORD_NOT_FOUND, "Keyword not found")


def _unsubscribe(shop: Shop, call: Call) -> Reply:
    for subscriber_id in _meant(shop, call.json_object(), ("postscript_subscriber_id", "phone_number")):
        shop.unsubscribe(subscriber_id)
    return json_reply({"message": "OK"}, 202)


def _redact(shop: Shop, call: Call) -> Reply:
    names = ("postscript_subscriber_id", "phone_number", "email", "shopify_customer_id")
    for subscriber_id in _meant(shop, call.json_object(), names):
        shop.redact(subscriber_id)
    return json_reply({"message": "OK"}, 202)


def _meant(shop: Shop, body: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids a compliance request is about: the first identifier given decides."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise RefusedError(invalid_body([name], "must be a string", "type_error.str"))
        return _identified(shop, name, str(value))
    raise RefusedError(invalid_body([], "one of " + ", ".join(names) + " is required", "value_error.missing"))


def _identified(shop: Shop, name: str, value: str) -> tuple[str, ...]:
    if name == "phone_number":
        return shop.find_by_phone(value)
    if name == "email":
        return shop.find_by_email(value)
    field = "id" if name == "postscript_subscriber_id" else name
    return tuple(each["id"] for each in shop if str(each.get(field)) == value)


def _list_webhooks(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    return json_reply({"webhook_subscriptions": shop.webhooks.all()})


def _create_webhook(shop: Shop, call: Call) -> Reply:
    return json_reply(shop.webhooks.create(call.json_object(), shop.now()))


def _get_webhook(shop: Shop, call: Call, webhook_id: str) -> Reply:  # noqa: ARG001
    return json_reply(shop.webhooks.get(webhook_id))


def _patch_webhook(shop: Shop, call: Call, webhook_id: str) -> Reply:
    return json_reply(shop.webhooks.update(webhook_id, call.json_object(), shop.now()))


def _delete_webhook(shop: Shop, call: Call, webhook_id: str) -> Reply:  # noqa: ARG001
    shop.webhooks.delete(webhook_id)
    return json_reply({})


def _webhook_token(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    return json_reply({"token": SIGNATURE})


def _webhook_example(shop: Shop, call: Call) -> Reply:
    example = {
        "webhook_id": "00000000-0000-0000-0000-000000000000",
        "resource_type": "shop",
        "resource_id": "shop_sandbox",
        "event_time": shop.now(),
        "event": checked_event(dict(call.query).get("event")),
        "event_data": {},
    }
    return json_reply(example)


def _test_webhook(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    checked_event(call.json_object().get("event"))
    return json_reply({"message": "OK"}, 202)


def _send_message(shop: Shop, call: Call, *names: str) -> Reply:  # noqa: ARG001
    return access_denied("An audience sync must never send messages", violation=True)


ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/api/v2/me": {"GET": _me},
    "/api/v2/subscribers": {"GET": _list_subscribers, "POST": _create_subscriber},
    "/api/v2/subscribers/{}": {"GET": _get_subscriber, "PATCH": _patch_subscriber},
    "/api/v2/events": {"POST": _post_event},
    "/api/v2/keywords": {"GET": _list_keywords},
    "/api/v2/keywords/{}": {"GET": _get_keyword},
    "/api/v2/compliance/unsubscribe": {"PATCH": _unsubscribe},
    "/api/v2/compliance/redact": {"PATCH": _redact},
    "/api/v2/webhooks": {"GET": _list_webhooks, "POST": _create_webhook},
    "/api/v2/webhooks/token": {"GET": _webhook_token},
    "/api/v2/webhooks/example": {"GET": _webhook_example},
    "/api/v2/webhooks/test": {"POST": _test_webhook},
    "/api/v2/webhooks/{}": {"GET": _get_webhook, "PATCH": _patch_webhook, "DELETE": _delete_webhook},
    "/api/v2/message_requests": {"POST": _send_message},
    "/api/v2/message_requests/{}": {"GET": _send_message},
    "/api/v2/sent_messages/{}": {"GET": _send_message},
}
"""Path to method to handler; where two match, the earlier holds."""
