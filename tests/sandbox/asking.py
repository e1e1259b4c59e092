"""What the sandbox's tests share: three subscribers, and short ways to ask."""

from __future__ import annotations

from datetime import UTC, datetime

import requests

from toolkit.sandbox import Knobs
from toolkit.sandbox.people import AUDIENCE_PROPERTY
from toolkit.sandbox.routes import Call, answer
from toolkit.sandbox.shop import Shop
from toolkit.sandbox.wire import dump_json

API = "/api/v2"
OLD = "2025-01-01T00:00:00Z"
ANA = {
    "id": "s_ana",
    "ps_id": 1,
    "phone_number": "+12025550143",
    "email": "Ana@Mail.test",
    "shopify_customer_id": 6110,
    "created_at": "2024-02-03T04:05:06Z",
    "updated_at": OLD,
    "properties": {"points": 420, AUDIENCE_PROPERTY: ["vip"]},
    "tags": ["VIP"],
}
BEN = {
    "id": "s_ben",
    "ps_id": 2,
    "phone_number": "12025550144",
    "email": None,
    "created_at": "2024-02-04T00:00:00Z",
    "updated_at": "2025-06-01T00:00:00Z",
}
CAI = {
    "id": "s_cai",
    "ps_id": 3,
    "email": "cai@mail.test",
    "shopify_customer_id": 99,
    "created_at": "2023-01-01T00:00:00Z",
    "updated_at": "2025-03-01T00:00:00Z",
}


class LocalShop:
    """A shop with its routes and without its server, asked with an accepted key."""

    def __init__(self, *people, **knobs):
        self.knobs, self.time = Knobs(**knobs), datetime(2026, 1, 2, tzinfo=UTC)
        self.shop = Shop(people or [ANA, BEN, CAI], clock=lambda: self.time)

    def ask(self, method, path, body=None, *, raw=None):
        """Return the reply to a request whose path may hold a query."""
        path, _, query = path.partition("?")
        sent = raw if raw is not None else b"" if body is None else dump_json(body).encode()
        call = Call(method=method, path=API + path, raw_query=query, body=sent, knobs=self.knobs)
        return answer(self.shop, call, has_shop=True)

    def listed(self, query=""):
        """Return the ids on one page of the list."""
        reply = self.ask("GET", f"/subscribers{query}")
        assert reply.status == 200, reply.content
        return [each["id"] for each in reply.content["subscribers"]]

    def patch(self, body, subscriber_id="s_ana"):
        return self.ask("PATCH", f"/subscribers/{subscriber_id}", body)

    def post(self, **body):
        return self.ask("POST", "/events", body)

    def __getitem__(self, subscriber_id):
        return self.shop.subscribers[subscriber_id]


def ask(sandbox, method, path, *, key="sk_sandbox", headers=None, **options):
    """Send one request with a Bearer key over HTTP and return the answer."""
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    return requests.request(method, sandbox.base_url + path, headers=headers, timeout=10, **options)


def listed(sandbox, query=""):
    """Return the ids on one page of the list, over HTTP."""
    answer = ask(sandbox, "GET", f"{API}/subscribers{query}")
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["subscribers"]]


def patch(sandbox, body, subscriber_id="s_ana"):
    return ask(sandbox, "PATCH", f"{API}/subscribers/{subscriber_id}", json=body)
