"""What each route does: one request in, one reply out; nothing here touches the network or the clock."""

from __future__ import annotations

from .calls import Call
from .listing import parse_list_query
from .replies import (
    KEYWORD_NOT_FOUND,
    NOT_FOUND,
    RefusedError,
    Reply,
    access_denied,
    coded_error,
    invalid_body,
    json_reply,
)
from .roll import Subscriber
from .shop import Shop
from .webhooks import SIGNATURE, checked_event

EMPTY = Reply(status=200, text="", media_type="")

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


def me(shop: Shop, call: Call) -> Reply:  # noqa: ARG001 - every handler is called alike
    """Tell whose key this is."""
    identity = {"resource_id": "shop_sandbox", "resource_name": "Sandbox Shop", "resource_type": "shop"}
    return json_reply(identity)


def list_subscribers(shop: Shop, call: Call) -> Reply:
    """Return one page of the list."""
    knobs = call.knobs
    query = parse_list_query(call.query, knobs)
    subscribers, matches = shop.page(query, knobs)
    total_pages = max(knobs.empty_total_pages, -(-matches // knobs.page_size))
    if query.page > max(1, total_pages) and knobs.past_the_end == "404":
        raise RefusedError(coded_error(404, NOT_FOUND, "No such page"))
    return json_reply(
        {
            "page_info": {"page": query.page, "total_pages": total_pages},
            "subscribers": [_shown(shop, call, each) for each in subscribers],
        }
    )


def _shown(shop: Shop, call: Call, subscriber: Subscriber) -> Subscriber:
    """Return the subscriber with the id that the API shows."""
    if call.knobs.ids == "text":
        return subscriber
    return {**subscriber, "id": shop.number_of(subscriber["id"])}


def _unknown_person(call: Call) -> RefusedError:
    if call.knobs.unknown_person == 400:
        return RefusedError(json_reply({}, 400))
    return RefusedError(coded_error(404, NOT_FOUND, "Subscriber not found"))


def create_subscriber(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    """Refuse to make people up."""
    return access_denied("An audience sync must never create subscribers", violation=True)


def get_subscriber(shop: Shop, call: Call, given: str) -> Reply:
    """Return one subscriber."""
    subscriber_id = shop.id_meant(given, call.knobs)
    subscriber = None if subscriber_id is None else shop.find(subscriber_id, call.knobs)
    if subscriber is None:
        raise _unknown_person(call)
    return json_reply(_shown(shop, call, subscriber))


def patch_subscriber(shop: Shop, call: Call, given: str) -> Reply:
    """Change one subscriber."""
    subscriber_id = shop.id_meant(given, call.knobs)
    if subscriber_id is None or subscriber_id not in shop:
        raise _unknown_person(call)
    subscriber = _shown(shop, call, shop.patch(subscriber_id, call.json_object(), call.knobs))
    if call.knobs.patch_bodies == "empty":
        return EMPTY
    # The published sample of this answer has no ps_id.
    return json_reply({name: value for name, value in subscriber.items() if name != "ps_id"})


def post_event(shop: Shop, call: Call) -> Reply:
    """Accept a custom event."""
    event_id = shop.accept_custom_event(call.json_object(), call.knobs)
    return EMPTY if call.knobs.event_bodies == "empty" else json_reply({"event_ids": [event_id]}, 202)


def list_keywords(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    """Return all keywords."""
    return json_reply({"keywords": list(KEYWORDS)})


def get_keyword(shop: Shop, call: Call, keyword_id: str) -> Reply:  # noqa: ARG001
    """Return one keyword."""
    for keyword in KEYWORDS:
        if keyword["id"] == keyword_id:
            return json_reply(keyword)
    return coded_error(404, KEYWORD_NOT_FOUND, "Keyword not found")


def unsubscribe(shop: Shop, call: Call) -> Reply:
    """Take back a person's consent."""
    for subscriber_id in _meant(shop, call, ("postscript_subscriber_id", "phone_number")):
        shop.unsubscribe(subscriber_id)
    return json_reply({"message": "OK"}, 202)


def redact(shop: Shop, call: Call) -> Reply:
    """Forget a person."""
    names = ("postscript_subscriber_id", "phone_number", "email", "shopify_customer_id")
    for subscriber_id in _meant(shop, call, names):
        shop.redact(subscriber_id)
    return json_reply({"message": "OK"}, 202)


def _meant(shop: Shop, call: Call, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids a compliance request is about: the first identifier given decides."""
    body = call.json_object()
    given = [name for name in names if name in body]
    for name in given:
        if isinstance(body[name], bool) or not isinstance(body[name], (str, int)):
            raise RefusedError(invalid_body([name], "must be a string", "type_error.str"))
    if not given:
        message = "one of " + ", ".join(names) + " is required"
        raise RefusedError(invalid_body([], message, "value_error.missing"))
    return _identified(shop, call, given[0], str(body[given[0]]))


def _identified(shop: Shop, call: Call, name: str, value: str) -> tuple[str, ...]:
    if name == "phone_number":
        return shop.find_by_phone(value)
    if name == "email":
        return shop.find_by_email(value)
    if name == "postscript_subscriber_id":
        subscriber_id = shop.id_meant(value, call.knobs)
        return (subscriber_id,) if subscriber_id is not None and subscriber_id in shop else ()
    return tuple(each["id"] for each in shop if str(each.get(name)) == value)


def list_webhooks(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    """Return all webhook subscriptions."""
    return json_reply({"webhook_subscriptions": shop.webhooks.all()})


def create_webhook(shop: Shop, call: Call) -> Reply:
    """Add a webhook subscription."""
    return json_reply(shop.webhooks.create(call.json_object(), shop.now()))


def get_webhook(shop: Shop, call: Call, webhook_id: str) -> Reply:  # noqa: ARG001
    """Return one webhook subscription."""
    return json_reply(shop.webhooks.get(webhook_id))


def patch_webhook(shop: Shop, call: Call, webhook_id: str) -> Reply:
    """Change where a webhook subscription is delivered to."""
    return json_reply(shop.webhooks.update(webhook_id, call.json_object(), shop.now()))


def delete_webhook(shop: Shop, call: Call, webhook_id: str) -> Reply:  # noqa: ARG001
    """Remove a webhook subscription."""
    shop.webhooks.delete(webhook_id)
    return json_reply({})


def webhook_token(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    """Return what deliveries would be signed with."""
    return json_reply({"token": SIGNATURE})


def webhook_example(shop: Shop, call: Call) -> Reply:
    """Return what a delivery would look like."""
    example = {
        "webhook_id": "00000000-0000-0000-0000-000000000000",
        "resource_type": "shop",
        "resource_id": "shop_sandbox",
        "event_time": shop.now(),
        "event": checked_event(dict(call.query).get("event")),
        "event_data": {},
    }
    return json_reply(example)


def try_webhook(shop: Shop, call: Call) -> Reply:  # noqa: ARG001
    """Accept a trial delivery, which is never made."""
    checked_event(call.json_object().get("event"))
    return json_reply({"message": "OK"}, 202)


def send_message(shop: Shop, call: Call, *names: str) -> Reply:  # noqa: ARG001
    """Refuse to send or show messages."""
    return access_denied("An audience sync must never send messages", violation=True)
