"""Webhook subscriptions: kept and shown, never delivered to."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from .replies import NOT_FOUND, RefusedError, coded_error, invalid_body

EVENTS = (
    "shop.test",
    "shop.incoming_message",
    "shop.subscriber.opt_in",
    "shop.subscriber.opt_out",
    "shop.shop.email_collected",
    "shop.email_collected",
)
SIGNATURE = "sandbox-signature"


class Webhooks:
    """The webhook subscriptions of the shop, oldest first."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, dict[str, Any]] = {}

    def contents(self) -> dict[str, dict[str, Any]]:
        """Return all subscriptions by id; none of them is ever changed in place."""
        return dict(self._subscriptions)

    def restore(self, contents: Mapping[str, dict[str, Any]]) -> None:
        """Hold these subscriptions and no others."""
        self._subscriptions = dict(contents)

    def all(self) -> list[dict[str, Any]]:
        """Return all subscriptions."""
        return list(self._subscriptions.values())

    def get(self, webhook_id: str) -> dict[str, Any]:
        """Return one subscription, or raise the 404 to answer with."""
        if webhook_id not in self._subscriptions:
            raise RefusedError(coded_error(404, NOT_FOUND, "Webhook not found"))
        return self._subscriptions[webhook_id]

    def create(self, body: dict[str, Any], now: str) -> dict[str, Any]:
        """Add a subscription."""
        webhook_id = str(uuid.uuid4())
        self._subscriptions[webhook_id] = {
            "id": webhook_id,
            "callback_url": _callback_url(body.get("callback_url")),
            "event": checked_event(body.get("event")),
            "headers": _headers(body.get("headers")),
            "created_at": now,
            "updated_at": now,
        }
        return self._subscriptions[webhook_id]

    def update(self, webhook_id: str, body: dict[str, Any], now: str) -> dict[str, Any]:
        """Change where a subscription is delivered to."""
        new = dict(self.get(webhook_id))
        if body.get("callback_url") is not None:
            new["callback_url"] = _callback_url(body["callback_url"])
        if body.get("headers") is not None:
            new["headers"] = _headers(body["headers"])
        self._subscriptions[webhook_id] = {**new, "updated_at": now}
        return self._subscriptions[webhook_id]

    def delete(self, webhook_id: str) -> None:
        """Remove a subscription."""
        self.get(webhook_id)
        del self._subscriptions[webhook_id]


def checked_event(given: Any) -> str:
    """Return the name of a webhook event, or raise the 400 to answer with."""
    if not isinstance(given, str) or given not in EVENTS:
        raise RefusedError(invalid_body(["event"], "must be one of " + ", ".join(EVENTS)))
    return given


def _callback_url(given: Any) -> str:
    if not isinstance(given, str) or not given.startswith("https://"):
        raise RefusedError(invalid_body(["callback_url"], "must be an https address"))
    return given


def _headers(given: Any) -> dict[str, str]:
    headers = {} if given is None else given
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise RefusedError(invalid_body(["headers"], "must be an object of strings"))
    return headers
