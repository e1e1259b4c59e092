"""What the sandbox's tests share: three subscribers, and short ways to ask."""

from __future__ import annotations

import requests

from toolkit.sandbox.people import AUDIENCE_PROPERTY

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


def ask(sandbox, method, path, *, key="sk_sandbox", headers=None, **options):
    """Send one request with a Bearer key and return the answer."""
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    return requests.request(method, sandbox.base_url + path, headers=headers, timeout=10, **options)


def listed(sandbox, query=""):
    """Return the ids on one page of the list."""
    answer = ask(sandbox, "GET", f"{API}/subscribers{query}")
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["subscribers"]]


def patch(sandbox, body, subscriber_id="s_ana"):
    return ask(sandbox, "PATCH", f"{API}/subscribers/{subscriber_id}", json=body)
