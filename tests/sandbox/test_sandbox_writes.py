"""One subscriber read and written, and custom events, at the local Postscript."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import requests
from asking import ANA, API, BEN, CAI, OLD, ask, listed, patch

from toolkit.sandbox import Sandbox
from toolkit.sandbox.people import AUDIENCE_PROPERTY


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000, page_size=2, max_in=3) as running:
        yield running


# One subscriber


def test_a_subscriber_by_id_is_whole(sandbox):
    """Absent fields are filled in as for a new sign-up, and times are canonical."""
    answer = ask(sandbox, "GET", f"{API}/subscribers/s_ben")
    assert answer.headers["Content-Type"] == "application/json"
    consent = {"promotional": {"can_send": True}, "transactional": {"can_send": True}}
    assert answer.json() == {**BEN, "data": {}, "properties": {}, "tags": [], "subscriptions": consent}


@pytest.mark.parametrize("subscriber_id", ["s_none", "s%2Fana", "%00", "%FF", "..", "s_ana%20", "x" * 5000])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_unknown_id_is_404(sandbox, method, subscriber_id):
    """Odd characters in an id are just an id that no subscriber has."""
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
def test_a_patch_of_what_is_there_changes_nothing(sandbox, body):
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
        {"email": "no address"},
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
        ({"email": "none@mail.test"}, None),
        ({"subscriber_id": None, "phone": "", "email": None}, None),
        ({}, None),
    ],
)
def test_custom_events_match_by_id_then_phone_then_email(sandbox, identifiers, matched):
    """The first identifier that finds a subscriber decides; an unmatched event is accepted all the same."""
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
def test_a_malformed_custom_event_is_400_and_names_the_field(sandbox, changes, location):
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
def test_what_a_custom_event_may_hold(sandbox, changes):
    """Flat properties with lists, and times in each of the forms that are in use."""
    assert ask(sandbox, "POST", f"{API}/events", json={"type": "Fine", **changes}).status_code == 202


def test_repeated_custom_events_are_two_events(sandbox):
    """Nothing is deduplicated, not even by ``external_id``."""
    body = {"type": "Fine", "external_id": "same"}
    ids = [ask(sandbox, "POST", f"{API}/events", json=body).json()["event_ids"][0] for _ in range(2)]
    assert len(set(ids)) == len(sandbox.custom_events) == 2
