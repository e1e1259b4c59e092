"""Which request goes where: the table of routes, and how a path is found in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import unquote

from . import handlers
from .calls import Call
from .replies import NOT_FOUND, TOO_LONG_URL, WRONG_METHOD, RefusedError, Reply, access_denied, coded_error
from .shop import Shop

SUBSCRIBER = "/api/v2/subscribers/{}"

Handler = Callable[..., Reply]


def answer(shop: Shop, call: Call, *, has_shop: bool) -> Reply:
    """Route one call and carry it out; refusals are replies like any other."""
    try:
        if call.knobs.max_url_bytes is not None and call.url_bytes > call.knobs.max_url_bytes:
            return coded_error(414, TOO_LONG_URL, "The address is too long")
        handler, names = _route(call)
        if not has_shop:
            message = "A partner key needs the shop's key in X-Postscript-Shop-Token"
            return access_denied(message)
        return handler(shop, call, *names)
    except RefusedError as refusal:
        return refusal.reply


def route_name(call: Call) -> str:
    """Name the route without its ids, served or not: ``PATCH /subscribers/{id}``."""
    found = _pattern(call)
    path = found[0].removeprefix("/api/v2").replace("{}", "{id}") if found else call.path
    return f"{call.method} {path}"


def subscriber_asked_for(shop: Shop, call: Call) -> str | None:
    """Return the id of the subscriber whose own route is called; None when there is no such."""
    found = _pattern(call)
    if found is None or found[0] != SUBSCRIBER:
        return None
    subscriber_id = shop.id_meant(found[1][0], call.knobs)
    return subscriber_id if subscriber_id is not None and subscriber_id in shop else None


def subscriber_named(shop: Shop, call: Call) -> str | None:
    """Return the id of the subscriber that a call names, in its path or as the one a custom event is for."""
    found = _pattern(call)
    if found and found[0] == SUBSCRIBER:
        return shop.id_meant(found[1][0], call.knobs)
    if call.method != "POST":
        return None
    with suppress(RefusedError):
        given = call.json_object().get("subscriber_id")
        return None if given is None else shop.id_meant(str(given), call.knobs)
    return None


def _pattern(call: Call) -> tuple[str, tuple[str, ...]] | None:
    """Return the first pattern that the path has, with what stands for each ``{}``."""
    segments = tuple(unquote(part) for part in call.path.split("/"))
    for pattern in ROUTES:
        names = _matched(pattern.split("/"), segments)
        if names is not None:
            return pattern, names
    return None


def _route(call: Call) -> tuple[Handler, tuple[str, ...]]:
    found = _pattern(call)
    if found is None:
        raise RefusedError(coded_error(404, NOT_FOUND, "No such route"))
    pattern, names = found
    methods = ROUTES[pattern]
    if call.method not in methods:
        headers = {"Allow": ", ".join(sorted(methods))}
        raise RefusedError(coded_error(405, WRONG_METHOD, "Method not allowed", headers))
    return methods[call.method], names


def _matched(pattern: list[str], segments: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what stands for each ``{}`` of the pattern, or None when the path is another."""
    if len(pattern) != len(segments):
        return None
    pairs = list(zip(pattern, segments, strict=True))
    if not all(part == given or (part == "{}" and given) for part, given in pairs):
        return None
    return tuple(given for part, given in pairs if part == "{}")


ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/api/v2/me": {"GET": handlers.me},
    "/api/v2/subscribers": {"GET": handlers.list_subscribers, "POST": handlers.create_subscriber},
    SUBSCRIBER: {"GET": handlers.get_subscriber, "PATCH": handlers.patch_subscriber},
    "/api/v2/events": {"POST": handlers.post_event},
    "/api/v2/keywords": {"GET": handlers.list_keywords},
    "/api/v2/keywords/{}": {"GET": handlers.get_keyword},
    "/api/v2/compliance/unsubscribe": {"PATCH": handlers.unsubscribe},
    "/api/v2/compliance/redact": {"PATCH": handlers.redact},
    "/api/v2/webhooks": {"GET": handlers.list_webhooks, "POST": handlers.create_webhook},
    "/api/v2/webhooks/token": {"GET": handlers.webhook_token},
    "/api/v2/webhooks/example": {"GET": handlers.webhook_example},
    "/api/v2/webhooks/test": {"POST": handlers.try_webhook},
    "/api/v2/webhooks/{}": {
        "GET": handlers.get_webhook,
        "PATCH": handlers.patch_webhook,
        "DELETE": handlers.delete_webhook,
    },
    "/api/v2/message_requests": {"POST": handlers.send_message},
    "/api/v2/message_requests/{}": {"GET": handlers.send_message},
    "/api/v2/sent_messages/{}": {"GET": handlers.send_message},
}
"""Path to method to handler; where two match, the earlier holds."""
