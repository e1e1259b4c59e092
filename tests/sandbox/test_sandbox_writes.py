"""One subscriber read and written, and custom events, at the local Postscript, and the knobs of all that."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from asking import ANA, BEN, CAI, OLD, LocalShop
from tables import every

from toolkit.sandbox import PROFILES
from toolkit.sandbox.people import AUDIENCE_PROPERTY

START = {"points": 420, AUDIENCE_PROPERTY: ["vip"]}


@pytest.fixture
def shop():
    return LocalShop()


# One subscriber


def test_a_subscriber_by_id_is_whole(shop):
    """Absent fields are filled in as for a new sign-up, and times are canonical."""
    consent = {"promotional": {"can_send": True}, "transactional": {"can_send": True}}
    filled = {**BEN, "data": {}, "properties": {}, "tags": [], "subscriptions": consent}
    assert shop.ask("GET", "/subscribers/s_ben").content == filled


@every("subscriber_id", ["s_none", "s%2Fana", "%00", "%FF", "..", "s_ana%20", "x" * 5000])
def test_an_unknown_id_is_404(subscriber_id):
    """Odd characters in an id are just an id that no subscriber has."""
    for method in ("GET", "PATCH"):
        reply = LocalShop().ask(method, f"/subscribers/{subscriber_id}", {})
        assert (reply.status, reply.content["error_code"]) == (404, 9404)


def test_an_unknown_person_can_be_a_bare_400():
    """The bare one is what the published pages show for most refusals."""
    for method in ("GET", "PATCH"):
        reply = LocalShop(unknown_person=400).ask(method, "/subscribers/s_none", {})
        assert (reply.status, reply.content) == (400, {})


def test_an_id_may_hold_a_slash():
    """Ids are opaque: whatever was percent-encoded is part of the id."""
    reply = LocalShop({"id": "a/b c"}).ask("GET", f"/subscribers/{quote('a/b c', safe='')}")
    assert reply.content["id"] == "a/b c"


@every(
    "knobs, properties, after",
    [
        ({}, {"new": "x"}, {**START, "new": "x"}),
        ({}, {AUDIENCE_PROPERTY: ["b"]}, {**START, AUDIENCE_PROPERTY: ["b"]}),
        ({}, {AUDIENCE_PROPERTY: []}, {**START, AUDIENCE_PROPERTY: []}),
        ({}, {"points": 421}, {**START, "points": 421}),
        ({}, {"points": True}, {**START, "points": True}),
        ({"writes": "replace"}, {"new": 1}, {"new": 1}),
        ({"writes": "replace"}, {}, {}),
        ({"null_value": "delete"}, {"points": None, "x": None}, {AUDIENCE_PROPERTY: ["vip"]}),
        ({"null_value": "store"}, {"points": None}, {**START, "points": None}),
        ({"null_value": "delete", "empty_list": "drop"}, {"points": None, AUDIENCE_PROPERTY: []}, {}),
        ({"empty_list": "drop"}, {AUDIENCE_PROPERTY: []}, {"points": 420}),
    ],
)
def test_what_a_patch_leaves(knobs, properties, after):
    """Keys merge, values are replaced whole, the change is dated; the rest is as the knobs say."""
    shop = LocalShop(**knobs)
    reply = shop.patch({"properties": properties})
    stored = shop["s_ana"]
    assert reply.status == 200
    assert reply.content["properties"] == stored["properties"] == after
    assert "ps_id" not in reply.content
    assert {name: value for name, value in stored.items() if name != "ps_id"} == reply.content
    assert (stored["ps_id"], stored["updated_at"] > OLD) == (1, True)


@every(
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
def test_a_patch_of_what_is_there_changes_nothing(body):
    """Nulls and unknown fields are ignored, and ``updated_at`` stays."""
    shop = LocalShop()
    before = dict(shop.shop.subscribers)
    assert shop.patch(body).status == 200
    assert shop.shop.subscribers == before


@every(
    "knobs, body",
    [
        ({}, {"properties": {"a": 1.5}}),
        ({}, {"properties": {"a": {"b": 1}}}),
        ({}, {"properties": {"a": ["x", 1]}}),
        ({}, {"properties": {"a": [["x"]]}}),
        ({}, {"properties": "text"}),
        ({}, {"properties": []}),
        ({}, {"properties": {f"key {number}": 1 for number in range(49)}}),
        ({}, {"tags": "VIP"}),
        ({}, {"tags": [1]}),
        ({}, {"email": 1}),
        ({}, {"email": "no address"}),
        ({"unknown_patch_fields": "refused"}, {"first_name": "Ana"}),
    ],
)
def test_patch_with_a_bad_part_is_400_and_changes_nothing(knobs, body):
    """A body is applied whole or not at all."""
    shop = LocalShop(**knobs)
    before = dict(shop.shop.subscribers)
    reply = shop.patch({"tags": ["NEW"], "properties": {"fine": "yes"}, **body})
    assert reply.status == 400
    assert reply.content["errors"][0]["loc"][:2] == ["body", next(iter(body))]
    assert shop.shop.subscribers == before


def test_the_fifty_first_property_is_refused():
    """Fifty fit; at fifty an old key may still change, and a new one may not come."""
    shop = LocalShop({"id": "s_ana", "properties": {f"key {n}": n for n in range(49)}})
    bodies = [{"fiftieth": "x"}, {"key 1": "changed"}, {"fifty-first": "x"}, {"fifty-first": None}]
    assert [shop.patch({"properties": each}).status for each in bodies] == [200, 200, 400, 200]
    assert len(shop["s_ana"]["properties"]) == 50


def test_the_fifty_first_property_can_be_dropped_in_silence():
    """The answer is 200, the old fifty stay, changes to them count, and the new one is not there."""
    full = {f"key {n}": n for n in range(50)}
    shop = LocalShop({"id": "s_ana", "properties": full}, property_limit="drop")
    assert shop.patch({"properties": {"new": 1, "key 1": "changed"}}).status == 200
    assert shop["s_ana"]["properties"] == {**full, "key 1": "changed"}


def test_true_is_not_one():
    """A flag in place of a number is a change, though Python holds the two for equal."""
    shop = LocalShop({"id": "s_ana", "properties": {"flag": 1}, "updated_at": OLD})
    shop.patch({"properties": {"flag": True}})
    assert shop["s_ana"]["properties"]["flag"] is True
    assert shop["s_ana"]["updated_at"] > OLD


def test_tags_are_only_added(shop):
    """A tag that is there stays, once; a new one comes last."""
    assert shop.patch({"tags": ["B", "VIP", "A", "B"]}).content["tags"] == ["VIP", "B", "A"]


def test_a_patch_can_leave_no_date():
    """Then a list by ``updated_at`` does not show the change."""
    shop = LocalShop(bumps_updated_at=False)
    shop.patch({"tags": ["NEW"]})
    assert (shop["s_ana"]["tags"], shop["s_ana"]["updated_at"]) == (["VIP", "NEW"], OLD)


@every(
    "subscriber_id, email",
    [
        ("s_ana", "Ana@Mail.test"),
        ("s_ben", "new@mail.test"),
        ("s_cai", "cai@mail.test"),
        ("s_d", "new@mail.test"),
        ("s_e", "new@mail.test"),
    ],
)
def test_an_email_is_stored_only_where_none_was_or_no_customer_is_linked(subscriber_id, email):
    """A linked customer's email stays; a new email is found at once."""
    others = [{"id": "s_d", "email": "old@mail.test"}, {"id": "s_e", "shopify_customer_id": 5}]
    shop = LocalShop(ANA, BEN, CAI, *others)
    assert shop.patch({"email": "new@mail.test"}, subscriber_id).content["email"] == email
    found = shop.listed("?email__eq=new@mail.test")
    assert found == ([subscriber_id] if email == "new@mail.test" else [])
    assert shop.listed("?email__eq=old@mail.test") == ([] if subscriber_id == "s_d" else ["s_d"])


# Numbers for ids, and empty answers


def test_numbers_stand_for_ids_on_every_route():
    """Each sign-up's number is its id in lists, reads, writes, and custom events."""
    shop = LocalShop(ids="numeric")
    assert shop.listed() == [3, 1, 2]
    assert shop.ask("GET", "/subscribers/2").content["id"] == 2
    assert shop.patch({"tags": ["NEW"]}, "1").content["id"] == 1
    assert [shop.ask("GET", f"/subscribers/{i}").status for i in ("s_ana", "4", "9" * 5000)] == [404] * 3
    for number in (1, "1"):
        shop.post(type="A", subscriber_id=number)
    assert shop["s_ana"]["tags"] == ["VIP", "NEW"]
    assert [event["matched_subscriber_id"] for event in shop.shop.custom_events] == ["s_ana", "s_ana"]


def test_a_number_is_never_given_twice():
    """Who signs up after a redaction gets the next number; who comes back has the old one."""
    shop = LocalShop(ids="numeric")
    shop.shop.redact("s_cai")
    shop.shop.add([{"id": "s_late"}, {"id": "s_cai"}])
    assert sorted(shop.listed()) == [1, 2, 3, 4]
    assert shop.shop.number_of("s_cai") == 3


def test_the_official_mocks_answer_writes_with_nothing():
    """PATCH and POST are 200 with an empty body and no content type, and are carried out."""
    shop = LocalShop(ANA)
    shop.knobs = PROFILES["official-mock"]
    for reply in (shop.patch({"tags": ["NEW"]}, "1"), shop.post(type="A", subscriber_id=1)):
        assert (reply.status, reply.body, reply.media_type) == (200, "", "")
    assert shop["s_ana"]["tags"] == ["VIP", "NEW"]
    assert [event["matched_subscriber_id"] for event in shop.shop.custom_events] == ["s_ana"]


# Custom events


@every(
    "identifiers, matched",
    [
        ({"subscriber_id": "s_cai", "phone": "+12025550143", "email": "x@mail.test"}, "s_cai"),
        ({"subscriber_id": "s_gone", "phone": "+1 (202) 555-0143", "email": "cai@mail.test"}, "s_ana"),
        ({"phone": "+12025550199", "email": "BEN@mail.test"}, "s_new"),
        ({"email": "none@mail.test"}, None),
        ({"subscriber_id": None, "phone": "", "email": None}, None),
        ({}, None),
    ],
)
def test_custom_events_match_by_id_then_phone_then_email(identifiers, matched):
    """The first identifier decides, and a shared email means the latest sign-up; no match is accepted too."""
    shared = [{"id": "s_new", "email": "ben@mail.test", "created_at": "2025-01-01"}]
    shared.append({"id": "s_old", "email": "ben@mail.test", "created_at": "2024-01-01"})
    shop = LocalShop(ANA, BEN, CAI, *shared)
    body = {"type": "Segment_Audience_Entered", "properties": {"Segment Audience Key": "vip"}, **identifiers}
    reply = shop.post(**body)
    assert reply.status == 202
    (event_id,) = reply.content["event_ids"]
    assert shop.shop.custom_events == [{**body, "event_id": event_id, "matched_subscriber_id": matched}]


@every(
    "changes, location",
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
def test_a_malformed_custom_event_is_400_and_names_the_field(changes, location):
    """The refusal names the field, and nothing is recorded as accepted."""
    shop = LocalShop()
    reply = shop.post(**{"type": "Fine", **changes})
    assert reply.status == 400
    assert reply.content["errors"][0]["loc"][:2] == ["body", location]
    assert shop.shop.custom_events == []


@every(
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
def test_what_a_custom_event_may_hold(changes):
    """Flat properties with lists, and times in each of the forms that are in use."""
    assert LocalShop().post(**{"type": "Fine", **changes}).status == 202


@pytest.mark.parametrize(("knob", "accepted"), [(False, 5), (True, 4)])
def test_a_repeated_external_id_can_be_taken_once(knob, accepted):
    """The second answer names the first event then; without an ``external_id`` nothing is a repeat."""
    shop = LocalShop(event_dedupe=knob)
    bodies = [{"external_id": "x"}] * 2 + [{"external_id": "y"}] + [{}] * 2
    ids = [shop.post(type="A", **body).content["event_ids"][0] for body in bodies]
    assert (ids[0] == ids[1]) is knob
    assert len(set(ids)) == len(shop.shop.custom_events) == accepted


def test_unknown_fields_of_an_event_can_be_left_out():
    """The event is accepted without them."""
    shop = LocalShop(unknown_event_fields="ignored")
    assert shop.post(type="A", surprise=1).status == 202
    assert "surprise" not in shop.shop.custom_events[0]


def test_the_keys_of_an_event_can_be_lowered():
    """The properties' names only, not their values."""
    shop = LocalShop(event_keys="lowercase")
    shop.post(type="A", properties={"Segment Audience Key": "VIP"})
    assert shop.shop.custom_events[0]["properties"] == {"segment audience key": "VIP"}


# Bodies


BAD_BODIES = [
    b"",
    b'{"type": "A"',
    b"[1]",
    b'"A"',
    b'{"type": "\xff"}',
    b'{"type": "A", "email": "\\ud800"}',
    b'{"type": "A", "properties": {"a": NaN}}',
    b'{"type": "A", "properties": {"a": 1e999}}',
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"a": ' + b"9" * 5000 + b"}",
    b"\xef\xbb\xbf{}",
]


@every("raw", BAD_BODIES)
def test_a_body_that_is_not_a_json_object_is_400(raw):
    """Unreadable text, on every route that takes a body, is one and the same refusal."""
    for method, path in [("POST", "/events"), ("PATCH", "/subscribers/s_ana")]:
        reply = LocalShop().ask(method, path, raw=raw)
        assert (reply.status, reply.content["errors"][0]["type"]) == (400, "value_error.jsondecode")
