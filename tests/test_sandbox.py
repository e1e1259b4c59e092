"""The local Postscript: what it accepts, what it refuses, and what it remembers."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import quote

import phonenumbers
import pytest
import requests

from toolkit.errors import FileFormatError
from toolkit.sandbox import Sandbox
from toolkit.sandbox.__main__ import main
from toolkit.sandbox.access import key_fingerprint
from toolkit.sandbox.limiter import Limiter
from toolkit.sandbox.listing import parse_list_query
from toolkit.sandbox.people import AUDIENCE_PROPERTY, QUIRKS, generate_people
from toolkit.sandbox.records import load_subscribers
from toolkit.sandbox.replies import RefusedError
from toolkit.sandbox.shop import Shop
from toolkit.sandbox.strict_json import parse_json

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


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000, page_size=2, max_in=3) as running:
        yield running


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


# Who may ask


@pytest.mark.parametrize("path", [f"{API}/me", "/nowhere", "/", f"{API}/message_requests"])
def test_without_authorization_every_path_is_401_in_plain_text(sandbox, path):
    """The key is asked for before the path is looked at."""
    answer = requests.get(sandbox.base_url + path, timeout=10)
    assert (answer.status_code, answer.text) == (401, "Missing Authorization header")
    assert answer.headers["Content-Type"].startswith("text/plain")


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer sk_sandbox", 200),
        ("bearer sk_sandbox", 200),
        (basic("sk_sandbox"), 200),
        ("Bearer sk_other", 401),
        ("Bearer pk_sandbox", 401),
        (basic("pk_sandbox"), 401),
        ("Bearer", 401),
        ("sk_sandbox", 401),
        ("Basic %%%", 401),
        ("Basic " + base64.b64encode(b"\xff:").decode(), 401),
        ("Bearer sk_\xe4", 401),
    ],
)
def test_bearer_and_basic_open_and_nothing_else_does(authorization, status):
    """A key is accepted in both forms of the header; public keys never are, even when listed."""
    with Sandbox(keys=("sk_sandbox", "pk_sandbox")) as sandbox:
        url = f"{sandbox.base_url}{API}/me"
        answer = requests.get(url, headers={"Authorization": authorization.encode("latin-1")}, timeout=10)
        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error_code"] == 9401
            assert answer.json()["success"] is False


@pytest.mark.parametrize(
    ("key", "token", "path", "status"),
    [
        ("sk_partner_sandbox", "sk_sandbox", f"{API}/me", 200),
        ("sk_partner_sandbox", None, f"{API}/me", 403),
        ("sk_partner_sandbox", None, f"{API}/subscribers", 403),
        ("sk_partner_sandbox", None, "/nowhere", 404),
        ("sk_partner_sandbox", "sk_other", f"{API}/me", 401),
        ("sk_partner_sandbox", "sk_partner_sandbox", f"{API}/me", 401),
        ("sk_sandbox", "anything", f"{API}/me", 200),
    ],
)
def test_a_partner_needs_the_shops_key_beside_its_own(sandbox, key, token, path, status):
    """The partner key opens the shop's routes only together with a shop key."""
    answer = ask(sandbox, "GET", path, key=key, headers={"X-Postscript-Shop-Token": token} if token else {})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["errors"][0]["type"] == "v2.access_denied"


def test_a_revoked_key_is_401_from_then_on(sandbox):
    """Revoking works in the middle of a run, also for a key inside a partner's pair."""
    assert ask(sandbox, "GET", f"{API}/me").status_code == 200
    sandbox.revoke("sk_sandbox")
    assert ask(sandbox, "GET", f"{API}/me").status_code == 401
    pair = {"X-Postscript-Shop-Token": "sk_sandbox"}
    assert ask(sandbox, "GET", f"{API}/me", key="sk_partner_sandbox", headers=pair).status_code == 401


# How often


def test_the_sixteenth_request_in_a_second_is_429():
    """Fifteen are accepted; the next one is told so in Postscript's own words, without Retry-After."""
    with Sandbox(window_seconds=30) as sandbox:
        answers = [ask(sandbox, "GET", f"{API}/me") for _ in range(16)]
        assert [answer.status_code for answer in answers] == [200] * 15 + [429]
        assert answers[-1].json() == {
            "error_code": 3002,
            "error_message": "Rate limit exceeded",
            "success": False,
        }
        assert "Retry-After" not in answers[-1].headers
        assert [record["limiter"] for record in sandbox.journal] == [*range(1, 16), 15]


def test_all_keys_of_the_shop_share_one_budget_and_a_partner_pair_has_its_own():
    """A second key buys no second budget."""
    with Sandbox(keys=("sk_sandbox", "sk_two"), rate=2, window_seconds=30) as sandbox:
        pair = {"X-Postscript-Shop-Token": "sk_sandbox"}
        statuses = [
            ask(sandbox, "GET", f"{API}/me").status_code,
            ask(sandbox, "GET", f"{API}/me", key="sk_two").status_code,
            ask(sandbox, "GET", f"{API}/me", key="sk_two").status_code,
            ask(sandbox, "GET", f"{API}/me", key="sk_partner_sandbox", headers=pair).status_code,
        ]
        assert statuses == [200, 200, 429, 200]


def test_a_refused_key_uses_up_nothing_and_an_unknown_path_does():
    """The order is key, limit, path."""
    with Sandbox(rate=1, window_seconds=30) as sandbox:
        assert ask(sandbox, "GET", f"{API}/me", key="sk_other").status_code == 401
        assert ask(sandbox, "GET", "/nowhere").status_code == 404
        assert ask(sandbox, "GET", "/nowhere").status_code == 429


def test_no_window_of_the_journal_holds_more_than_fifteen():
    """Under a storm from several threads the recorded times prove the limit, wherever the window starts."""
    with Sandbox(window_seconds=0.3) as sandbox, ThreadPoolExecutor(4) as pool:
        until = time.monotonic() + 0.7

        def storm(_):
            while time.monotonic() < until:
                ask(sandbox, "GET", f"{API}/me")

        list(pool.map(storm, range(4)))
        accepted = [record["at"] for record in sandbox.journal if record["status"] == 200]
        refused = [record for record in sandbox.journal if record["status"] == 429]
    assert accepted == sorted(accepted)
    assert len(accepted) > 15
    assert refused
    assert max(sum(start <= at < start + 0.3 for at in accepted) for start in accepted) == 15


@pytest.mark.parametrize("seed", range(50))
def test_the_limiter_keeps_its_promise_at_any_rhythm(seed):
    """Whatever the times, no window holds too many, and a request with room before it is never refused."""
    chance = random.Random(seed)
    now = 0.0
    limiter = Limiter(rate=5, window_seconds=1.0, clock=lambda: now)
    accepted = []
    for _ in range(300):
        now += chance.choice([0.0, 0.0625, 0.125, 0.25, 1.0])
        recent = sum(now - 1.0 <= at for at in accepted)
        admission = limiter.admit("shop")
        assert (admission.at, admission.accepted) == (now, recent < 5)
        assert admission.in_window == min(recent + 1, 5)
        if admission.accepted:
            accepted.append(now)
    assert all(sum(start <= at <= start + 1.0 for at in accepted) <= 5 for start in accepted)


def test_budgets_do_not_touch_each_other():
    """One caller's storm takes nothing from another."""
    limiter = Limiter(rate=1, window_seconds=1.0, clock=lambda: 0.0)
    assert [limiter.admit(name).accepted for name in ("a", "a", "b")] == [True, False, True]


# The list


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["s_cai", "s_ana"]),
        ("?page=2", ["s_ben"]),
        ("?page=3", []),
        ("?page=" + "9" * 300, []),
        ("?phone_number__eq=12025550143", ["s_ana"]),
        ("?phone_number__eq=%2B12025550143", ["s_ana"]),
        ("?phone_number__eq=%2B12025550144", ["s_ben"]),
        ("?phone_number__eq=2025550143", []),
        ("?phone_number__eq=", []),
        ("?phone_number__contains=555014", ["s_ana", "s_ben"]),
        ("?phone_number__contains=%2B1202", ["s_ana", "s_ben"]),
        ("?phone_number__contains=", []),
        ("?phone_number__in=12025550143&phone_number__in=%2B12025550144", ["s_ana", "s_ben"]),
        ("?phone_number__in=12025550143,12025550144", []),
        ("?email__eq=ANA@mail.TEST", ["s_ana"]),
        ("?email__in=ana@mail.test&email__in=CAI@mail.test", ["s_cai", "s_ana"]),
        ("?email__contains=MAIL", ["s_cai", "s_ana"]),
        ("?shopify_customer_id__eq=6110", ["s_ana"]),
        ("?shopify_customer_id__contains=9", ["s_cai"]),
        ("?shopify_customer_id__in=99&shopify_customer_id__in=6110", ["s_cai", "s_ana"]),
        ("?ps_id__eq=2", ["s_ben"]),
        ("?ps_id__eq=02", ["s_ben"]),
        ("?created_at__eq=2024-02-03T04:05:06Z", ["s_ana"]),
        ("?created_at__gt=2024-02-03T04:05:06Z", ["s_ben"]),
        ("?created_at__gte=2024-02-03T04:05:06Z", ["s_ana", "s_ben"]),
        ("?created_at__lt=2024-02-03T04:05:06Z", ["s_cai"]),
        ("?created_at__lte=2024-02-03T04:05:06Z", ["s_cai", "s_ana"]),
        ("?created_at__gt=2024-02-03T04:05:05.5Z&created_at__lt=2024-02-03T04:05:06.5Z", ["s_ana"]),
        ("?created_at__gt=2024-02-03T05:05:06%2B01:00", ["s_ben"]),
        ("?created_at__gt=2025-01-01&created_at__lt=2023-01-01", []),
        ("?updated_at__gte=2025-03-01T00:00:00Z&sort=updated_at__asc", ["s_cai", "s_ben"]),
        ("?updated_at__gte=2025-03-01T00:00:00Z", ["s_cai", "s_ben"]),
        ("?updated_at__eq=2025-03-01&sort=phone_number__asc", ["s_cai"]),
        ("?email__contains=mail&phone_number__eq=12025550143", ["s_ana"]),
        ("?email__eq=cai@mail.test&phone_number__eq=12025550143", []),
        ("?sort=created_at__asc", ["s_cai", "s_ana"]),
        ("?sort=created_at__desc", ["s_ben", "s_ana"]),
        ("?sort=updated_at__desc", ["s_ben", "s_cai"]),
        ("?sort=phone_number__desc", ["s_ben", "s_ana"]),
        ("?sort=shopify_customer_id__desc", ["s_ana", "s_cai"]),
        (
            "?phone_number__in=12025550143&phone_number__in=12025550144&sort=created_at__desc",
            ["s_ben", "s_ana"],
        ),
    ],
)
def test_filters_sorting_and_pages(sandbox, query, ids):
    """Every operator, alone and together, on pages of two."""
    assert listed(sandbox, query) == ids


@pytest.mark.parametrize(
    ("query", "page_info"),
    [
        ("", {"page": 1, "total_pages": 2}),
        ("?page=7", {"page": 7, "total_pages": 2}),
        ("?phone_number__eq=1", {"page": 1, "total_pages": 1}),
    ],
)
def test_page_info_is_always_there(sandbox, query, page_info):
    """There is at least one page, and a page past the end is empty, not an error."""
    answer = ask(sandbox, "GET", f"{API}/subscribers{query}")
    assert (answer.status_code, answer.json()["page_info"]) == (200, page_info)


@pytest.mark.parametrize(
    "query",
    [
        "?limit=100",
        "?id__eq=s_ana",
        "?email=ana@mail.test",
        "?email__gt=a",
        "?ps_id__in=1",
        "?created_at__contains=2024",
        "?phone_number__in[]=1",
        "?page=0",
        "?page=-1",
        "?page=one",
        "?page=",
        "?page=1&page=2",
        "?page=" + "9" * 5000,
        "?page=%D9%A1",
        "?sort=email__asc",
        "?sort=created_at",
        "?sort=created_at__up",
        "?ps_id__eq=x",
        "?created_at__gt=yesterday",
        "?created_at__gt=0001-01-01T00:00:00%2B23:00",
        "?created_at__gt=2025-01-01T00:00:00+00:00",
        "?phone_number__eq=1&phone_number__eq=2",
    ],
)
def test_what_the_list_does_not_know_is_400(sandbox, query):
    """Nothing is silently ignored, for an ignored filter would return everybody."""
    answer = ask(sandbox, "GET", f"{API}/subscribers{query}")
    assert (answer.status_code, answer.json()["error_code"]) == (400, 9400)


def test_in_takes_so_many_values_and_no_more(sandbox):
    """One value too many is 400 with a code of its own; other parameters do not count."""
    three = "&".join(f"phone_number__in={number}" for number in (1, 2, 12025550143))
    assert listed(sandbox, f"?{three}&email__in=ana@mail.test") == ["s_ana"]
    answer = ask(sandbox, "GET", f"{API}/subscribers?{three}&phone_number__in=4")
    assert (answer.status_code, answer.json()["error_code"]) == (400, 9414)


def test_an_unescaped_plus_is_a_space_and_is_not_repaired(sandbox):
    """``+`` in a query decodes as a space, so the phone asked for begins with one and matches nobody."""
    assert listed(sandbox, "?phone_number__eq=+12025550143") == []
    assert listed(sandbox, "?phone_number__in=+12025550143") == []
    assert listed(sandbox, "?phone_number__eq=%2B12025550143") == ["s_ana"]
    assert sandbox.journal[0]["query"] == [["phone_number__eq", " 12025550143"]]


def test_pages_cover_everybody_once():
    """Walking fifty at a time meets each subscriber exactly once, oldest sign-up first."""
    people = list(generate_people(230, seed=3))
    with Sandbox(people, rate=1000) as sandbox:
        pages = [listed(sandbox, f"?page={page}") for page in range(1, 7)]
    assert [len(page) for page in pages] == [50, 50, 50, 50, 30, 0]
    oldest_first = sorted(people, key=lambda person: (person["created_at"], person["id"]))
    assert [each for page in pages for each in page] == [person["id"] for person in oldest_first]


@pytest.mark.parametrize("seed", range(30))
def test_the_indexes_find_what_a_scan_finds(seed):
    """After any mix of changes, each query gives what its filters say of every subscriber one by one."""
    chance = random.Random(seed)
    shop = Shop(
        generate_people(60, seed=seed), clock=lambda: datetime(2026, 1, 2, tzinfo=UTC), page_size=1000
    )
    for number in range(40):
        someone = chance.choice(list(shop))["id"]
        if chance.random() < 0.3:
            shop.redact(someone)
        elif chance.random() < 0.5:
            shop.patch(someone, {"email": f"new.{number % 5}@mail.test", "properties": {"custom 0": number}})
        else:
            shop.add([{"id": f"late_{number}", "phone_number": f"+1202555{number:04d}"}])
    phones = [each["phone_number"] for each in shop if each["phone_number"]]
    parameters = chance.choice(
        [
            [("phone_number__in", phone) for phone in chance.sample(phones, 9)],
            [("email__in", f"NEW.{n}@mail.test") for n in range(4)],
            [("updated_at__gte", "2025-06-01"), ("sort", "updated_at__desc")],
            [("created_at__lt", "2025-06-01"), ("updated_at__gt", "2024-06-01")],
            [("email__eq", "new.1@mail.test"), ("updated_at__gt", "2024-06-01"), ("sort", "updated_at__asc")],
        ]
    )
    query = parse_list_query(parameters, max_in=100)
    expected = [each for each in shop if all(asked.matches(each) for asked in query.filters)]
    found = shop.page(query)["subscribers"]
    assert sorted(each["id"] for each in found) == sorted(each["id"] for each in expected)
    times = [(each[query.sort_field], each["id"]) for each in found]
    assert times == sorted(times, reverse=query.descending)


# One subscriber


def test_a_subscriber_by_id_is_whole(sandbox):
    """What was not said about somebody is filled in as for a new sign-up, and times are canonical."""
    answer = ask(sandbox, "GET", f"{API}/subscribers/s_ben")
    assert answer.headers["Content-Type"] == "application/json"
    consent = {"promotional": {"can_send": True}, "transactional": {"can_send": True}}
    assert answer.json() == {**BEN, "data": {}, "properties": {}, "tags": [], "subscriptions": consent}


@pytest.mark.parametrize("subscriber_id", ["s_nobody", "s%2Fana", "%00", "%FF", "..", "s_ana%20", "x" * 5000])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_unknown_id_is_404(sandbox, method, subscriber_id):
    """Odd characters in an id are just an id that nobody has."""
    url = f"{sandbox.base_url}{API}/subscribers/x"
    request = requests.Request(method, url, headers={"Authorization": "Bearer sk_sandbox"}, json={}).prepare()
    request.url = url[:-1] + subscriber_id  # set late, so that it is sent as it stands
    with requests.Session() as session:
        answer = session.send(request, timeout=10)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 9404)


def test_an_id_may_hold_a_slash():
    """Ids are opaque: whatever was percent-encoded is part of the id."""
    with Sandbox([{"id": "a/b c"}]) as sandbox:
        answer = ask(sandbox, "GET", f"{API}/subscribers/{quote('a/b c', safe='')}")
        assert answer.json()["id"] == "a/b c"


@pytest.mark.parametrize(
    ("body", "properties"),
    [
        ({"properties": {"new": "x"}}, {"points": 420, AUDIENCE_PROPERTY: ["vip"], "new": "x"}),
        ({"properties": {AUDIENCE_PROPERTY: ["b"]}}, {"points": 420, AUDIENCE_PROPERTY: ["b"]}),
        ({"properties": {AUDIENCE_PROPERTY: []}}, {"points": 420, AUDIENCE_PROPERTY: []}),
        ({"properties": {"points": 421}}, {"points": 421, AUDIENCE_PROPERTY: ["vip"]}),
    ],
)
def test_patch_merges_keys_and_replaces_values(sandbox, body, properties):
    """Other keys survive, a list is replaced whole, and the change is dated."""
    answer = patch(sandbox, body)
    assert answer.status_code == 200
    assert answer.json()["properties"] == properties
    assert "ps_id" not in answer.json()
    stored = sandbox.subscribers["s_ana"]
    assert stored["updated_at"] > OLD
    assert stored["ps_id"] == 1
    assert {name: value for name, value in stored.items() if name != "ps_id"} == answer.json()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"properties": None},
        {"properties": {}},
        {"properties": {"points": None, "new": None}},
        {"properties": {"points": 420}},
        {"properties": {AUDIENCE_PROPERTY: ["vip"]}},
        {"tags": None},
        {"tags": ["VIP"]},
        {"email": None},
        {"email": "other@mail.test"},
        {"phone_number": "+12025550199", "subscriptions": {}, "id": "s_x", "surprise": 1},
    ],
)
def test_patch_that_says_nothing_new_changes_nothing(sandbox, body):
    """Nulls and unknown fields are ignored, and ``updated_at`` stays."""
    before = sandbox.subscribers
    assert patch(sandbox, body).status_code == 200
    assert sandbox.subscribers == before


@pytest.mark.parametrize(
    "body",
    [
        {"properties": {"a": 1.5}},
        {"properties": {"a": {"b": 1}}},
        {"properties": {"a": ["x", 1]}},
        {"properties": {"a": [["x"]]}},
        {"properties": "text"},
        {"properties": []},
        {"properties": {f"key {number}": 1 for number in range(49)}},
        {"tags": "VIP"},
        {"tags": [1]},
        {"email": 1},
        {"email": "nobody"},
    ],
)
def test_patch_with_a_bad_part_is_400_and_changes_nothing(sandbox, body):
    """A body is applied whole or not at all."""
    before = sandbox.subscribers
    answer = patch(sandbox, {"tags": ["NEW"], "properties": {"fine": "yes"}, **body})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"][:2] == ["body", next(iter(body))]
    assert sandbox.subscribers == before


def test_the_fifty_first_property_is_refused():
    """Fifty fit; at fifty an old key may still change, and a new one may not come."""
    with Sandbox([{"id": "s_ana", "properties": {f"key {n}": n for n in range(49)}}]) as sandbox:
        assert patch(sandbox, {"properties": {"fiftieth": "x"}}).status_code == 200
        assert patch(sandbox, {"properties": {"key 1": "changed"}}).status_code == 200
        assert patch(sandbox, {"properties": {"fifty-first": "x"}}).status_code == 400
        assert patch(sandbox, {"properties": {"fifty-first": None}}).status_code == 200
        assert len(sandbox.subscribers["s_ana"]["properties"]) == 50


def test_true_is_not_one():
    """A flag in place of a number is a change, though Python holds the two for equal."""
    with Sandbox([{"id": "s_ana", "properties": {"flag": 1}, "updated_at": OLD}]) as sandbox:
        patch(sandbox, {"properties": {"flag": True}})
        assert sandbox.subscribers["s_ana"]["properties"]["flag"] is True
        assert sandbox.subscribers["s_ana"]["updated_at"] > OLD


def test_tags_are_only_added(sandbox):
    """A tag that is there stays, once; a new one comes last."""
    assert patch(sandbox, {"tags": ["B", "VIP", "A", "B"]}).json()["tags"] == ["VIP", "B", "A"]


@pytest.mark.parametrize(
    ("subscriber_id", "email"),
    [
        ("s_ana", "Ana@Mail.test"),
        ("s_ben", "new@mail.test"),
        ("s_cai", "cai@mail.test"),
        ("s_d", "new@mail.test"),
        ("s_e", "new@mail.test"),
    ],
)
def test_an_email_is_stored_only_where_none_was_or_no_customer_is_linked(sandbox, subscriber_id, email):
    """A linked customer's email stays; a new email is found at once."""
    sandbox.add_subscribers(
        [{"id": "s_d", "email": "old@mail.test"}, {"id": "s_e", "shopify_customer_id": 5}]
    )
    assert patch(sandbox, {"email": "new@mail.test"}, subscriber_id).json()["email"] == email
    found = listed(sandbox, "?email__eq=new@mail.test")
    assert found == ([subscriber_id] if email == "new@mail.test" else [])
    assert listed(sandbox, "?email__eq=old@mail.test") == ([] if subscriber_id == "s_d" else ["s_d"])


# Custom events


@pytest.mark.parametrize(
    ("identifiers", "matched"),
    [
        ({"subscriber_id": "s_cai", "phone": "+12025550143", "email": "x@mail.test"}, "s_cai"),
        ({"subscriber_id": "s_gone", "phone": "+1 (202) 555-0143", "email": "cai@mail.test"}, "s_ana"),
        ({"phone": "+12025550199", "email": "CAI@mail.test"}, "s_cai"),
        ({"email": "nobody@mail.test"}, None),
        ({"subscriber_id": None, "phone": "", "email": None}, None),
        ({}, None),
    ],
)
def test_custom_events_match_by_id_then_phone_then_email(sandbox, identifiers, matched):
    """The first identifier that finds somebody decides; an unmatched event is accepted all the same."""
    body = {"type": "Segment_Audience_Entered", "properties": {"Segment Audience Key": "vip"}, **identifiers}
    answer = ask(sandbox, "POST", f"{API}/events", json=body)
    assert answer.status_code == 202
    (event_id,) = answer.json()["event_ids"]
    assert sandbox.custom_events == [{**body, "event_id": event_id, "matched_subscriber_id": matched}]


def test_a_shared_email_means_the_latest_sign_up(sandbox):
    """Of several with one email the custom event goes to the most recent."""
    sandbox.add_subscribers([{"id": "s_new", "email": "cai@mail.test", "created_at": "2025-01-01"}])
    ask(sandbox, "POST", f"{API}/events", json={"type": "A", "email": "cai@mail.test"})
    assert sandbox.custom_events[0]["matched_subscriber_id"] == "s_new"


@pytest.mark.parametrize(
    ("changes", "location"),
    [
        ({"type": None}, "type"),
        ({"type": ""}, "type"),
        ({"type": "has space"}, "type"),
        ({"type": "ends\n"}, "type"),
        ({"type": "ümlaut"}, "type"),
        ({"type": "x" * 256}, "type"),
        ({"type": 7}, "type"),
        ({"surprise": 1}, "surprise"),
        ({"email": 1}, "email"),
        ({"subscriber_id": {}}, "subscriber_id"),
        ({"occurred_at": "noon"}, "occurred_at"),
        ({"occurred_at": 5}, "occurred_at"),
        ({"properties": []}, "properties"),
        ({"properties": {"a": {}}}, "properties"),
        ({"properties": {"a": [[]]}}, "properties"),
        ({"properties": {"a": None}}, "properties"),
    ],
)
def test_a_malformed_custom_event_is_400_and_says_where(sandbox, changes, location):
    """The refusal names the field, and nothing is recorded as accepted."""
    answer = ask(sandbox, "POST", f"{API}/events", json={"type": "Fine", **changes})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"][:2] == ["body", location]
    assert sandbox.custom_events == []


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "x" * 255},
        {"occurred_at": "2025-03-04 05:06:07.123456"},
        {"occurred_at": "2025-03-04 05:06:07.123"},
        {"occurred_at": "2025-03-04T05:06:07Z"},
        {"properties": {"a": "x", "b": True, "c": 1, "d": 1.5, "e": ["x", 1]}},
        {"properties": None},
        {"external_id": "abc"},
    ],
)
def test_a_custom_event_may_say_this_much(sandbox, changes):
    """Flat properties with lists, and times in each of the forms that are in use."""
    assert ask(sandbox, "POST", f"{API}/events", json={"type": "Fine", **changes}).status_code == 202


def test_repeated_custom_events_are_two_events(sandbox):
    """Nothing is deduplicated, not even by ``external_id``."""
    body = {"type": "Fine", "external_id": "same"}
    ids = [ask(sandbox, "POST", f"{API}/events", json=body).json()["event_ids"][0] for _ in range(2)]
    assert len(set(ids)) == len(sandbox.custom_events) == 2


# The rest of the API


def test_me_names_the_shop(sandbox):
    """The connection test shows which shop a key belongs to."""
    assert ask(sandbox, "GET", f"{API}/me").json() == {
        "resource_id": "shop_sandbox",
        "resource_name": "Sandbox Shop",
        "resource_type": "shop",
    }


def test_keywords_are_listed_and_an_unknown_one_has_postscripts_own_code(sandbox):
    """3001 is one of the two codes that are really Postscript's; times are naive with microseconds."""
    (first, *_) = ask(sandbox, "GET", f"{API}/keywords").json()["keywords"]
    assert ask(sandbox, "GET", f"{API}/keywords/{first['id']}").json() == first
    assert datetime.fromisoformat(first["created_at"]).tzinfo is None
    answer = ask(sandbox, "GET", f"{API}/keywords/kw_none")
    assert (answer.status_code, answer.json()["error_code"]) == (404, 3001)


@pytest.mark.parametrize(
    "body",
    [
        {"postscript_subscriber_id": "s_ana"},
        {"phone_number": "+12025550143"},
        {"phone_number": "1202 5550143"},
    ],
)
def test_unsubscribe_takes_back_consent(sandbox, body):
    """The person stays listed and can no longer be sent to."""
    answer = ask(sandbox, "PATCH", f"{API}/compliance/unsubscribe", json=body)
    assert (answer.status_code, answer.json()) == (202, {"message": "OK"})
    ana = sandbox.subscribers["s_ana"]
    assert [ana["subscriptions"][kind]["can_send"] for kind in ("promotional", "transactional")] == [
        False
    ] * 2
    assert ana["updated_at"] > OLD


@pytest.mark.parametrize(
    "body",
    [
        {"postscript_subscriber_id": "s_ana"},
        {"phone_number": "+12025550143"},
        {"email": "ana@mail.test"},
        {"shopify_customer_id": 6110},
    ],
)
def test_redact_forgets_the_person(sandbox, body):
    """Afterwards no route finds them."""
    assert ask(sandbox, "PATCH", f"{API}/compliance/redact", json=body).status_code == 202
    assert sorted(sandbox.subscribers) == ["s_ben", "s_cai"]
    assert listed(sandbox, "?phone_number__eq=12025550143") == []
    assert ask(sandbox, "GET", f"{API}/subscribers/s_ana").status_code == 404


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("unsubscribe", {}, 400),
        ("unsubscribe", {"email": "ana@mail.test"}, 400),
        ("unsubscribe", {"phone_number": []}, 400),
        ("redact", {"phone_number": True}, 400),
        ("redact", {"postscript_subscriber_id": "s_nobody"}, 202),
    ],
)
def test_compliance_needs_an_identifier_and_accepts_strangers(sandbox, route, body, status):
    """Nobody is touched when nobody is meant."""
    before = sandbox.subscribers
    assert ask(sandbox, "PATCH", f"{API}/compliance/{route}", json=body).status_code == status
    assert sandbox.subscribers == before


def test_webhooks_can_be_made_shown_changed_and_removed(sandbox):
    """The administration works; nothing is ever delivered."""
    body = {"callback_url": "https://hook.test/in", "event": "shop.subscriber.opt_in"}
    made = ask(sandbox, "POST", f"{API}/webhooks", json=body).json()
    path = f"{API}/webhooks/{made['id']}"
    assert ask(sandbox, "GET", path).json() == made == {**made, **body, "headers": {}}
    changed = ask(sandbox, "PATCH", path, json={"headers": {"X-A": "b"}}).json()
    assert changed["headers"] == {"X-A": "b"}
    assert ask(sandbox, "GET", f"{API}/webhooks").json() == {"webhook_subscriptions": [changed]}
    assert ask(sandbox, "DELETE", path).json() == {}
    assert ask(sandbox, "DELETE", path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/webhooks/token", None, 200),
        ("GET", "/webhooks/example?event=shop.subscriber.opt_in", None, 200),
        ("GET", "/webhooks/example", None, 400),
        ("POST", "/webhooks/test", {"event": "shop.test"}, 202),
        ("POST", "/webhooks/test", {"event": ["shop.test"]}, 400),
        ("POST", "/webhooks", {"callback_url": "http://hook.test", "event": "shop.test"}, 400),
        ("POST", "/webhooks", {"callback_url": "https://hook.test", "event": "shop.none"}, 400),
        ("POST", "/webhooks", {"callback_url": "https://h.test", "event": "shop.test", "headers": []}, 400),
        ("PATCH", "/webhooks/none", {}, 404),
    ],
)
def test_webhook_requests_are_checked(sandbox, method, path, body, status):
    """Malformed subscriptions are refused."""
    assert ask(sandbox, method, API + path, json=body).status_code == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/message_requests"),
        ("GET", "/message_requests/1"),
        ("GET", "/sent_messages/1"),
        ("POST", "/subscribers"),
    ],
)
def test_what_a_sync_must_never_do_is_refused_and_noted(sandbox, method, path):
    """Sending messages and creating people are 403, and the journal calls them violations."""
    answer = ask(sandbox, method, API + path, json={"phone_number": "+12025550177"})
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (403, "v2.access_denied")
    assert sandbox.journal[-1]["violation"] is True
    assert sorted(sandbox.subscribers) == ["s_ana", "s_ben", "s_cai"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("HEAD", "/me", "GET"),
        ("OPTIONS", "/subscribers", "GET, POST"),
        ("PUT", "/subscribers/s_ana", "GET, PATCH"),
        ("PATCH", "/subscribers", "GET, POST"),
        ("DELETE", "/subscribers/s_ana", "GET, PATCH"),
        ("GET", "/events", "POST"),
        ("GET", "/message_requests", "POST"),
    ],
)
def test_a_wrong_method_is_405(sandbox, method, path, allow):
    """The answer names the methods that would do."""
    answer = ask(sandbox, method, API + path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
    assert method == "HEAD" or answer.json()["error_code"] == 9405


@pytest.mark.parametrize("path", ["/", "/api", f"{API}/", f"{API}/subscribers/", f"{API}/me/", "/api/v1/me"])
def test_an_unknown_path_is_404(sandbox, path):
    """With an accepted key, a path that is not served says so in JSON."""
    answer = ask(sandbox, "GET", path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 9404)


BAD_BODIES = {
    "empty": b"",
    "torn": b'{"type": "A"',
    "not an object": b"[1]",
    "text": b'"A"',
    "not UTF-8": b'{"type": "\xff"}',
    "half a surrogate pair": b'{"type": "A", "email": "\\ud800"}',
    "NaN": b'{"type": "A", "properties": {"a": NaN}}',
    "infinite": b'{"type": "A", "properties": {"a": 1e999}}',
    "deep": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "rather deep": b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
    "a number too long to read": b'{"a": ' + b"9" * 5000 + b"}",
    "with a byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("raw", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_not_a_json_object_is_400(sandbox, raw):
    """Unreadable text, on every route that takes a body, is one and the same refusal."""
    for method, path in [
        ("POST", "/events"),
        ("PATCH", "/subscribers/s_ana"),
        ("PATCH", "/compliance/redact"),
        ("POST", "/webhooks"),
    ]:
        answer = ask(sandbox, method, API + path, data=raw)
        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (400, "value_error.jsondecode")


@pytest.mark.parametrize("seed", range(4))
def test_no_request_ever_gives_500(sandbox, seed):
    """Random values in random places are answered or refused, and the server goes on."""
    chance = random.Random(seed)
    values = [
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        "",
        "é",
        "\x00",
        "2025",
        [],
        [None],
        {},
        {"a": {}},
        "s_ana",
        ["a"],
    ]
    names = ["type", "properties", "tags", "email", "phone", "phone_number", "occurred_at", "subscriber_id"]
    names += ["event", "headers", "callback_url", "postscript_subscriber_id", "shopify_customer_id", "a"]
    paths = ["/events", "/subscribers/s_ana", "/compliance/redact", "/compliance/unsubscribe", "/webhooks"]
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer sk_sandbox"
        for _ in range(40):
            body = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(4))}
            body |= {"type": "A"} if chance.random() < 0.5 else {}
            url = sandbox.base_url + API + chance.choice(paths)
            answer = session.request(chance.choice(["POST", "PATCH"]), url, json=body, timeout=10)
            assert answer.status_code < 500, body
            value = quote(str(chance.choice(values)))
            name = chance.choice(
                ["page", "sort", "ps_id__eq", "email__in", "created_at__gt", "phone_number__eq"]
            )
            answer = session.get(f"{sandbox.base_url}{API}/subscribers?{name}={value}", timeout=10)
            assert answer.status_code in {200, 400}
        assert session.get(sandbox.base_url + "/control/journal", timeout=10).status_code == 200


# The journal and the control routes


def test_the_journal_tells_what_was_asked_and_never_the_key(sandbox):
    """One record a request, with the decoded query, the parsed body, and a fingerprint for the key."""
    ask(sandbox, "GET", f"{API}/subscribers?email__in=a%40mail.test&email__in=b+c")
    patch(sandbox, {"tags": ["NEW"]})
    ask(sandbox, "GET", f"{API}/me", key="sk_wrong")
    requests.get(sandbox.base_url + "/nowhere", timeout=10)
    journal = sandbox.journal
    assert [(record["method"], record["path"], record["status"]) for record in journal] == [
        ("GET", f"{API}/subscribers", 200),
        ("PATCH", f"{API}/subscribers/s_ana", 200),
        ("GET", f"{API}/me", 401),
        ("GET", "/nowhere", 401),
    ]
    assert journal[0]["query"] == [["email__in", "a@mail.test"], ["email__in", "b c"]]
    assert [record["body"] for record in journal] == [None, {"tags": ["NEW"]}, None, None]
    assert (
        journal[0]["key_fingerprint"] == journal[1]["key_fingerprint"] == key_fingerprint("Bearer sk_sandbox")
    )
    assert [record["limiter"] for record in journal] == [1, 2, None, None]
    assert journal[3]["key_fingerprint"] is None
    assert "sk_" not in json.dumps(journal)


def test_latency_delays_the_answer_and_not_the_count():
    """A request is journalled when it comes in, and acts when its time has passed."""
    with Sandbox([ANA], latency_seconds=0.2) as sandbox, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(patch, sandbox, {"tags": ["NEW"]})
        while not sandbox.journal:
            time.sleep(0.005)
        assert sandbox.journal[0]["status"] is None
        assert sandbox.subscribers["s_ana"]["tags"] == ["VIP"]
        assert waiting.result().json()["tags"] == ["VIP", "NEW"]
        assert (sandbox.journal[0]["status"], sandbox.journal[0]["delay_ms"]) == (200, 200)


def test_what_is_handed_out_is_a_copy(sandbox):
    """Changing a record given or received changes nothing in the sandbox."""
    given = {"id": "s_late", "tags": []}
    sandbox.add_subscribers([given])
    given["tags"].append("x")
    sandbox.subscribers["s_late"]["tags"].append("x")
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    sandbox.journal[0]["body"]["type"] = "B"
    sandbox.custom_events[0]["type"] = "B"
    assert sandbox.subscribers["s_late"]["tags"] == []
    assert sandbox.journal[0]["body"] == sandbox.journal[0]["body"] | {"type": "A"}
    assert sandbox.custom_events[0]["type"] == "A"


def test_control_routes_show_the_state_unasked_for_a_key_and_unrecorded(sandbox):
    """Looking leaves no trace and takes no budget."""
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    before = sandbox.journal
    get = {
        name: requests.get(f"{sandbox.base_url}/control/{name}", timeout=10)
        for name in ("journal", "subscribers", "custom_events")
    }
    assert get["journal"].json() == before
    assert get["custom_events"].json() == sandbox.custom_events
    rows = [json.loads(line) for line in get["subscribers"].text.splitlines()]
    assert {row["id"]: row for row in rows} == sandbox.subscribers
    assert sandbox.journal == before


def test_the_export_reads_back_as_it_was(tmp_path):
    """What ``GET /control/subscribers`` gives is a file that ``--subscribers`` takes."""
    path = tmp_path / "subscribers.ndjson"
    with Sandbox(generate_people(1500, seed=5)) as sandbox:
        path.write_bytes(requests.get(sandbox.base_url + "/control/subscribers", timeout=10).content)
        assert {each["id"]: each for each in load_subscribers(path, OLD)} == sandbox.subscribers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"id": "n1"}\n\n{"id": "n2", "tags": null}\n', 201),
        (b'[{"id": "n1"}, {"id": "n2"}]', 201),
        (b"", 201),
        (b'{"id": "n1"}\n{"id": "s_ana"}', 409),
        (b'[{"id": "n1"}, {"id": "n1"}]', 409),
        (b'{"id": "n1"}\n{"id": ""}', 400),
        (b'{"id": "n1"}\n{', 400),
        (b"[1]", 400),
        (b"[", 400),
        (b"\xff", 400),
        (b'{"id": "n1", "phone_number": 5}', 400),
        (b'{"id": "n1", "created_at": "soon"}', 400),
    ],
)
def test_late_sign_ups_come_all_or_none(sandbox, body, status):
    """An id that is taken is 409, an unreadable record 400, and then nobody is added."""
    answer = requests.post(sandbox.base_url + "/control/subscribers", data=body, timeout=10)
    assert answer.status_code == status
    new = set(sandbox.subscribers) - {"s_ana", "s_ben", "s_cai"}
    assert new == ({"n1", "n2"} if status == 201 and body else set())


def test_late_sign_ups_are_stamped_with_now_and_found(sandbox):
    """Somebody who signs up during a run is listed last and found by phone."""
    assert listed(sandbox, "?phone_number__contains=0150") == []
    sandbox.add_subscribers([{"id": "s_late", "phone_number": "+12025550150"}])
    assert listed(sandbox, "?phone_number__contains=0150") == ["s_late"]
    signed_up = datetime.fromisoformat(sandbox.subscribers["s_late"]["created_at"])
    assert abs((datetime.now(UTC) - signed_up).total_seconds()) < 5
    assert listed(sandbox, "?page=2") == ["s_ben", "s_late"]
    assert listed(sandbox, "?phone_number__eq=12025550150") == ["s_late"]
    with pytest.raises(ValueError, match="already"):
        sandbox.add_subscribers([{"id": "s_late"}])


def test_reset_goes_back_to_the_seed(sandbox):
    """Changes, late sign-ups, redactions, custom events and the journal are gone."""
    seed = sandbox.subscribers
    patch(sandbox, {"tags": ["NEW"]})
    sandbox.add_subscribers([{"id": "s_late"}])
    ask(sandbox, "PATCH", f"{API}/compliance/redact", json={"postscript_subscriber_id": "s_ben"})
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    assert requests.post(sandbox.base_url + "/control/reset", timeout=10).status_code == 200
    assert (sandbox.subscribers, sandbox.custom_events, sandbox.journal) == (seed, [], [])
    assert listed(sandbox) == ["s_cai", "s_ana"]


@pytest.mark.parametrize(("method", "name", "status"), [("GET", "none", 404), ("GET", "reset", 405)])
def test_other_control_requests_are_refused(sandbox, method, name, status):
    """There are four control routes and no more."""
    assert requests.request(method, f"{sandbox.base_url}/control/{name}", timeout=10).status_code == status


# People


def test_people_are_the_same_for_the_same_seed():
    """The seed decides everything, and fewer people are the beginning of more."""
    people = list(generate_people(300, seed=7))
    assert people == list(generate_people(300, seed=7))
    assert people[:120] == list(generate_people(120, seed=7))
    assert people != list(generate_people(300, seed=8))


def test_people_have_the_oddities_of_a_real_list():
    """Every oddity is there in its share, in any hundred."""
    people = list(generate_people(100, seed=1))
    emails = [person["email"] for person in people if person["email"]]
    audiences = [person["properties"].get(AUDIENCE_PROPERTY, []) for person in people]
    lists = [each for each in audiences if isinstance(each, list)]
    counts = {
        "no_email": 100 - len(emails),
        "no_phone": sum(person["phone_number"] is None for person in people),
        "shared_email": sum(emails.count(email) > 1 for email in emails),
        "opted_out": sum(not person["subscriptions"]["promotional"]["can_send"] for person in people),
        "mixed_case_email": sum(email != email.lower() for email in emails),
        "non_us_phone": sum(not (person["phone_number"] or "+1").startswith("+1") for person in people),
        "49_properties": sum(len(person["properties"]) == 49 for person in people),
        "50_properties": sum(len(person["properties"]) == 50 for person in people),
        "wrong_typed_audiences": 100 - len(lists),
        "repeated_audience": sum(len(set(each)) < len(each) for each in lists),
        "audiences": sum(bool(each) and len(set(each)) == len(each) for each in lists),
    }
    assert counts == QUIRKS


def test_people_have_reserved_contacts_only():
    """Phones are unique, from ranges set aside for fiction, and valid as numbers; emails end in .test."""
    people = list(generate_people(5000, seed=2))
    phones = [person["phone_number"] for person in people if person["phone_number"]]
    assert len(set(phones)) == len(phones)
    for phone in phones:
        assert phonenumbers.is_valid_number(phonenumbers.parse(phone)), phone
        assert not phone.startswith("+1") or phone[5:10] == "55501"
    assert all((person["email"] or ".test").lower().endswith(".test") for person in people)


def test_when_the_reserved_numbers_run_out_phones_are_nobodys():
    """Beyond the reserved supply, numbers get a country code that is not assigned, and stay unique."""
    phones = [person["phone_number"] for person in generate_people(40_000, seed=2) if person["phone_number"]]
    assert len(set(phones)) == len(phones)
    assert phones[-1].startswith("+999")


# Reading what comes from outside


@pytest.mark.parametrize(
    "parameters",
    [[("sort", "created_at__asc"), ("sort", "created_at__asc")], [("page", "")], [("__eq", "1")]],
)
def test_odd_parameters_are_refused_without_a_server(parameters):
    """The query is read by a pure function that refuses what it does not know."""
    with pytest.raises(RefusedError) as refusal:
        parse_list_query(parameters, max_in=100)
    assert refusal.value.reply.status == 400


def test_json_at_the_deepest_level_is_read():
    """Thirty-two levels are read, the thirty-third is not."""
    assert parse_json(b"[" * 32 + b"1" + b"]" * 32)
    with pytest.raises(ValueError, match="deep"):
        parse_json(b"[" * 33 + b"]" * 33)


BAD_FILES = {
    "not NDJSON": ('{"id": "a"}\nphone,email\n', 2, "JSON"),
    "no id": ('{"id": "a"}\n\n{"email": "a@mail.test"}\n', 3, "no id"),
    "an id that is a number": ('{"id": 5}\n', 1, "no id"),
    "an id twice": ('{"id": "a"}\n{"id": "a"}\n', 2, "same id"),
    "a list": ("[]\n", 1, "object"),
    "a phone that is a number": ('{"id": "a", "phone_number": 12025550143}\n', 1, "phone_number"),
    "a time that is none": ('{"id": "a", "created_at": "noon"}\n', 1, "created_at"),
    "a flag for a number": ('{"id": "a", "ps_id": true}\n', 1, "ps_id"),
}


@pytest.mark.parametrize(("text", "line", "word"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_subscribers_file_is_told_by_name_and_line(tmp_path, text, line, word):
    """The sentence says which file, which line, and what is wrong there."""
    path = tmp_path / "people.ndjson"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=word) as problem:
        load_subscribers(path, OLD)
    assert f"{path}, line {line}" in str(problem.value)


# The command line and the thread


def run_command(*arguments, **options):
    command = [sys.executable, "-W", "error", "-m", "toolkit.sandbox", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
    )


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    """It says when it is ready, accepts every key it was given, prints none of them, and ends cleanly."""
    path = tmp_path / "people.ndjson"
    path.write_text(json.dumps(ANA) + "\n", encoding="utf-8")
    arguments = ["--port", "0", "--subscribers", str(path), "--latency-ms", "0", "--key", "sk_second"]
    with run_command(*arguments, env={**os.environ, "POSTSCRIPT_SECRET_KEY": "sk_mine"}) as process:
        ready = process.stdout.readline()
        url = ready.split()[3]
        statuses = [
            requests.get(f"{url}{API}/me", headers={"Authorization": f"Bearer {key}"}, timeout=10).status_code
            for key in ("sk_sandbox", "sk_second", "sk_mine", "sk_other")
        ]
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=10)
    assert ready == f"Sandbox ready on {url} with 1 subscribers; key: sk_sandbox\n"
    assert url.startswith("http://127.0.0.1:")
    assert statuses == [200, 200, 200, 401]
    assert (process.returncode, rest, complaints) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "0", "--subscribers", "missing.ndjson"], "missing.ndjson: the subscribers file"),
        (["--port", "0", "--subscribers", "bad.ndjson"], "bad.ndjson, line 2"),
        (["--port", "0", "--profile", "hostile"], "not in this version"),
        (["--port", "0", "--rate", "0"], "whole number from 1"),
        (["--port", "0", "--subscribers", "bad.ndjson", "--people", "1"], "not allowed with"),
    ],
)
def test_a_command_that_cannot_begin_exits_2_with_a_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    """The reason is on standard error, and nothing on standard output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ndjson").write_text('{"id": "a"}\n{"id": "a"}\n', encoding="utf-8")
    assert exit_code(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err


def exit_code(arguments):
    try:
        return main(arguments, {})
    except SystemExit as ending:  # argparse leaves this way
        return ending.code


def test_a_taken_port_exits_2_with_a_sentence(capsys):
    """The reason names the port, and is a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port, "--people", "1"], {}) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"Port {port} cannot be used")


def test_it_stops_and_lets_go_of_its_port():
    """Also while a client keeps its connection open."""
    with requests.Session() as session:
        with Sandbox() as sandbox:
            assert session.get(sandbox.base_url + "/control/journal", timeout=10).json() == []
        with pytest.raises(requests.ConnectionError):
            session.get(sandbox.base_url, timeout=10)
        with Sandbox(port=int(sandbox.base_url.rpartition(":")[2])) as again:
            assert again.base_url == sandbox.base_url
