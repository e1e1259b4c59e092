import json
import math
import random

import pytest
from tables import every

from toolkit.segment import events
from toolkit.segment.events import (
    dedupe_key,
    event_time,
    has_consent,
    is_event,
    is_for_postscript,
    person_of,
    received_time,
)


@pytest.mark.parametrize(
    ("event", "email", "phone", "expected"),
    [
        pytest.param({"userId": "u", "anonymousId": "a"}, "e@x.test", "1", "user:u", id="user id first"),
        pytest.param({"userId": None, "anonymousId": "a"}, "e@x.test", "1", "anonymous:a", id="null id"),
        pytest.param({"userId": " ", "anonymousId": ""}, "E@X.test ", "1", "email:e@x.test", id="blank ids"),
        pytest.param({}, "STRASSE@x.test", None, "email:strasse@x.test", id="case folded"),
        pytest.param({}, "STRAßE@x.test", None, "email:straße@x.test", id="lowered, not folded"),
        pytest.param({}, " ", " +15550100 ", "phone:+15550100", id="blank email"),
        pytest.param({}, None, None, None, id="no id or contact"),
        pytest.param({}, "", "", None, id="blank contacts"),
        pytest.param({"userId": 42}, None, None, "user:42", id="number"),
        pytest.param({"userId": 42.0}, None, None, "user:42", id="whole float"),
        pytest.param({"userId": 0}, None, None, "user:0", id="zero is an id"),
        pytest.param({"userId": 4.5}, None, None, "user:4.5", id="fraction"),
        pytest.param({"userId": math.nan}, None, "1", "phone:1", id="not a number"),
        pytest.param({"userId": True}, None, "1", "phone:1", id="boolean is no id"),
        pytest.param({"userId": ["u"]}, None, "1", "phone:1", id="list is no id"),
        pytest.param({"userId": 10**5000}, None, "1", "phone:1", id="absurd number"),
    ],
)
def test_person(event, email, phone, expected):
    """The ids come before the contacts, and what cannot be an id is passed over."""
    assert person_of(event, email, phone) == expected


@every(
    "integrations, delivered",
    [
        ({}, True),
        (None, True),
        ({"Postscript": False}, False),
        ({"Postscript": False, "All": True}, False),
        ({"Postscript": True}, True),
        ({"Postscript": True, "All": False}, True),
        ({"Postscript": {}}, True),
        ({"Postscript": {"a": 1}, "All": False}, True),
        ({"All": False}, False),
        ({"All": True}, True),
        ({"All": None}, True),
        ({"Other": True}, True),
        ({"postscript": True, "All": False}, False),
        ({"postscript": False}, True),
        ({"Actions Postscript": True, "All": False}, False),
        ({"Postscript": None}, False),
        ({"Postscript": 1}, False),
        ({"Postscript": "true"}, False),
        ({"Postscript": []}, False),
        ([], True),
        (["Postscript"], False),
        ("Postscript", False),
        (True, False),
    ],
)
def test_integrations(integrations, delivered):
    """Segment's table of the integrations object; what it leaves open is not delivered."""
    assert is_for_postscript({"integrations": integrations}) is delivered
    assert is_for_postscript({})


@every(
    "context, categories, consent",
    [
        ({"consent": {"categoryPreferences": {"sms": True}}}, ["sms"], True),
        ({"consent": {"categoryPreferences": {"sms": True, "ads": False}}}, ["sms"], True),
        ({"consent": {"categoryPreferences": {"sms": True, "ads": False}}}, ["sms", "ads"], False),
        ({"consent": {"categoryPreferences": {}}}, ["sms"], False),
        ({"consent": {"categoryPreferences": {"sms": "true"}}}, ["sms"], False),
        ({"consent": {"categoryPreferences": "sms"}}, ["sms"], False),
        ({"consent": "yes"}, ["sms"], False),
        ({"consent": {"categoryPreferences": {"sms": False}}}, [], True),
        ({"consent": {}}, ["sms"], True),
        ({}, ["sms"], True),
        (None, ["sms"], True),
        ("text", ["sms"], True),
    ],
)
def test_consent(context, categories, consent):
    """Every mapped category needs a true; an event without preferences does not use consent."""
    assert has_consent({"context": context}, categories) is consent


def _event(**changes):
    event = {
        "type": "track",
        "event": "E",
        "userId": "u",
        "anonymousId": "a",
        "timestamp": "2025-03-04T00:00:00Z",
    }
    event["properties"] = {"vip": True}
    event["context"] = {"personas": {"computation_key": "vip"}}
    return event | changes


def test_dedupe_key_is_the_message_id():
    """The id alone decides, as it does in Segment."""
    assert dedupe_key(_event(messageId="m-1")) == dedupe_key({"messageId": "m-1"}) == "m-1"


@every("message_id", [None, "", "  ", 5, ["m"]])
def test_dedupe_key_without_a_message_id_is_a_hash(message_id):
    """A blank or odd id does not make strangers duplicates."""
    key = dedupe_key(_event(messageId=message_id))
    assert key.startswith("hash:")
    assert len(key) == len("hash:") + 64
    assert key == dedupe_key(_event())


@every(
    "change",
    [
        {"type": "identify"},
        {"event": "F"},
        {"userId": "v"},
        {"anonymousId": "b"},
        {"timestamp": "2025-03-04T00:00:01Z"},
        {"properties": {"vip": False}},
        {"properties": {"vip": 1}},
        {"traits": {"email": "ana@mail.test"}},
        {"context": {"personas": {"computation_key": "vip"}, "traits": {"phone": "+15550100"}}},
        {"context": {"personas": {"computation_key": "lapsed"}}},
    ],
)
def test_dedupe_hash_sees(change):
    """Each part of the hash tells events apart."""
    assert dedupe_key(_event(**change)) != dedupe_key(_event())


def test_dedupe_hash_ignores_the_rest():
    """What a second delivery may change does not count."""
    assert dedupe_key(_event(sentAt="x", receivedAt="y")) == dedupe_key(_event())


def test_dedupe_hash_takes_the_trait_where_there_is_no_property():
    event = _event(properties=None, traits={"vip": True})
    assert dedupe_key(event) == dedupe_key(_event(properties=None, traits={"vip": True}))
    assert dedupe_key(event) != dedupe_key(_event(properties=None, traits={"vip": False}))


@every("depth", [50, 900, 100_000])
def test_dedupe_hash_survives(depth):
    """Nesting, lone surrogates and NaN have a hash as well."""
    deep: object = 1
    for _ in range(depth):
        deep = [deep]
    for value in (deep, "\ud83d", math.nan, {"b": 1, "a": 2}, 10**5000):
        assert dedupe_key(_event(properties={"vip": value})).startswith("hash:")
    assert dedupe_key(_event(context={"personas": {"computation_key": ["vip"]}})).startswith("hash:")


_MOMENT = 1_741_083_300_000_000  # 2025-03-04T10:15:00Z


@every(
    "timestamp, expected",
    [
        ("2025-03-04T10:15:00.000Z", _MOMENT),
        ("2025-03-04T10:15:00Z", _MOMENT),
        ("2025-03-04t10:15:00z", _MOMENT),
        (" 2025-03-04 10:15:00 ", _MOMENT),
        ("2025-03-04T10:15", _MOMENT),
        ("2025-03-04T12:15:00+02:00", _MOMENT),
        ("2025-03-04T05:45:00-0430", _MOMENT),
        ("2025-03-04T10:15:00.1Z", _MOMENT + 100_000),
        ("2025-03-04T10:15:00.123456Z", _MOMENT + 123_456),
        ("2025-03-04T10:15:00.123456789Z", _MOMENT + 123_456),
        ("2025-03-04", 1_741_046_400_000_000),
        ("1969-12-31T23:59:59Z", -1_000_000),
        (1_741_083_300, _MOMENT),
        (1_741_083_300_000, _MOMENT),
        (1_741_083_300.5, _MOMENT + 500_000),
        (0, 0),
        (-1, -1_000_000),
        ("1741083300000", None),
        ("20250304", None),
        ("2025-W10-2", None),
        ("2025-13-04", None),
        ("2025-03-04x10:15", None),
        ("yesterday", None),
        ("", None),
        (True, None),
        (math.nan, None),
        (math.inf, None),
        (1e300, None),
        (10**400, None),
        (None, None),
        ({}, None),
        ([2025], None),
    ],
)
def test_time(timestamp, expected):
    """ISO 8601 and epoch numbers are read, whole microseconds come back, the rest is no time."""
    assert event_time({"timestamp": timestamp}) == expected
    assert received_time({"receivedAt": timestamp, "timestamp": "2000-01-01"}) == expected


@every("missing", range(4))
def test_time_falls_back(missing):
    """What cannot be read is stood in for, in this order."""
    names = ["timestamp", "receivedAt", "originalTimestamp", "sentAt"]
    event = {name: i for i, name in enumerate(names)}
    event |= dict.fromkeys(names[:missing], "?")
    assert event_time(event) == missing * 1_000_000
    assert event_time({}) is None
    assert received_time({"timestamp": 5}) is None


@every("value, expected", [({}, True), ({"type": 5}, True), ([], False), (None, False), ("{}", False)])
def test_is_event(value, expected):
    """An object is an event, whatever it holds."""
    assert is_event(value) is expected


def random_json(chance, depth=0):
    """Any JSON value, and the odd ones Python's reader lets through."""
    kinds = [
        None,
        True,
        False,
        0,
        5,
        -1.5,
        math.nan,
        10**30,
        "",
        "x",
        " 5 ",
        "\ud83d",
        "audience",
        "2025-03-04",
    ]
    if depth < 4 and chance.random() < 0.6:
        keys = [
            "type",
            "userId",
            "context",
            "traits",
            "personas",
            "integrations",
            "consent",
            "vip",
            "timestamp",
        ]
        if chance.random() < 0.7:
            return {key: random_json(chance, depth + 1) for key in chance.sample(keys, 4)}
        return [random_json(chance, depth + 1) for _ in range(chance.randrange(3))]
    return chance.choice(kinds)


@every("seed", range(200))
def test_nothing_raises(seed):
    """Whatever is in an event, there is an answer, and a copy of it has the same key."""
    chance = random.Random(seed)
    event = {
        key: random_json(chance)
        for key in ("type", "userId", "context", "traits", "integrations", "timestamp")
    }
    assert person_of(event, None, None) is None or event["userId"] is not None
    assert is_for_postscript(event) in (True, False)
    assert has_consent(event, ["sms"]) in (True, False)
    assert dedupe_key(event) == dedupe_key(json.loads(json.dumps(event)))
    for read in (event_time, received_time):
        assert isinstance(read(event), int | None)


def test_the_name_is_segments():
    assert events.INTEGRATION_NAME == "Postscript"
