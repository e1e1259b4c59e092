import dataclasses
import json
import math
import pickle
import random

import pytest
from conftest import PROJECT
from tables import every

from toolkit.errors import SettingsError, TriggerError
from toolkit.frames import json_text, property_value
from toolkit.notebook.settings import load_settings
from toolkit.segment.destination import Destination
from toolkit.segment.destination.actions import (
    CLASS_FIELD,
    SYNC_AUDIENCES,
    SYNC_TRAITS,
    ActionMapping,
    Discard,
    Payload,
    TraitPayload,
)
from toolkit.segment.mapping import MISSING, Mapping, check_mapping
from toolkit.segment.triggers import DEFAULT_TRIGGER, Trigger

DEFAULT = Destination.default()
LABELS = {known.key: known.label for known in SYNC_AUDIENCES.fields}
DEFAULT_FIELDS = SYNC_AUDIENCES.default_fields
VECTORS = PROJECT / "tests" / "data" / "vectors"


def vectors(name):
    return [json.loads(line) for line in (VECTORS / name).read_text(encoding="utf-8").splitlines()]


def same(left, right):
    """JSON equality, in which booleans are not numbers."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left is right if isinstance(left, bool) or isinstance(right, bool) else left == right


def agrees(answer, expect):
    """Whether our answer is what Segment's outcome means in our words."""
    if "payload" in expect:
        assert isinstance(answer, Payload), answer
        assert same(answer.fields(), expect["payload"])
    elif "discard" in expect:
        assert answer.status == "no_matching_mapping"
    else:
        refused = expect["error"].get("fields", [])
        audience = CLASS_FIELD not in refused
        assert answer.status == ("invalid_payload" if audience else "not_an_audience_event")
        assert {key for key, label in LABELS.items() if label in answer.reason} == set(refused)


# --- what Segment's own code does ---------------------------------------------------------------------------

# "calls" are what the action does with a payload; their quirks do not touch the payload itself.
EVENTS = [
    case for case in vectors("payload.jsonl") if "quirk" not in case or case.get("quirk_part") == "calls"
]
SETTINGS = [case for case in vectors("trigger_mapping_settings.jsonl") if "quirk" not in case]


@every("case", EVENTS)
def test_event_vector(case):
    """Segment's payload, field by field; where it reports an error, a status of ours and the same fields."""
    answer = DEFAULT.payload(case["event"])
    agrees(answer, case["expect"])
    assert DEFAULT.payloads(case["event"]) == (answer,)


def as_stored(settings):
    """The mappings of a vector as Segment holds them: read by its own dialect, checked only at the event."""
    for pair in settings.get("subscriptions", [settings]):
        fields = (pair["mapping"] or {}) if "mapping" in pair else DEFAULT_FIELDS
        text = pair.get("subscribe", DEFAULT_TRIGGER)
        trigger = Trigger(text, dialect="official")
        yield trigger, fields, check_mapping(fields)


@every("case", SETTINGS)
def test_settings_vector(case):
    """Custom triggers and fields give what they give at Segment; what it only finds late is found at once."""
    expect, secret = case["expect"], case["settings"].get("secret_key")
    if expect.get("error", {}).get("fields") == ["secret_key"]:
        # The key is a setting of the environment here: a text or nothing, and nothing is refused as well.
        assert not isinstance(secret, str)
        with pytest.raises(SettingsError):
            load_settings({}).get_secret_key()
        return
    stored = [*as_stored(case["settings"])]
    if mistakes := [mistake for _, _, found in stored for mistake in found]:
        assert [mistake.pointer for mistake in mistakes] == [expect["error"]["message"].split(" ")[0]]
        return
    destination = Destination(
        mappings=tuple(
            ActionMapping(name=f"{i}", trigger=trigger, fields=Mapping(fields))
            for i, (trigger, fields, _) in enumerate(stored)
        )
    )
    if "payloads" in expect:
        found = [answer for answer in destination.payloads(case["event"]) if isinstance(answer, Payload)]
        assert same([payload.fields() for payload in found], expect["payloads"])
        return
    agrees(destination.payload(case["event"]), expect)
    is_readable = stored[0][0].error is None
    assert is_readable is (expect.get("discard", "not subscribed") == "not subscribed")


def test_vectors_are_all_there():
    """The selections have not shrunk: all but those that show an accident of Segment's code."""
    assert (len(EVENTS), len(vectors("payload.jsonl"))) == (246, 256)
    assert (len(SETTINGS), len(vectors("trigger_mapping_settings.jsonl"))) == (104, 105)


# --- payloads -----------------------------------------------------------------------------------------------

PERSONAS = {"computation_class": "audience", "computation_id": "aud_7Qx", "computation_key": "vip"}


def identify(traits, **changes):
    """An identify that Engage could have sent."""
    return {"type": "identify", "userId": "u", "traits": traits, "context": {"personas": PERSONAS}} | changes


def test_payload():
    """Contacts are trimmed, the fields as Segment has them are not."""
    event = identify({"vip": True, "email": " Dana@example.test\n", "phone": 15551234567.0})
    payload = DEFAULT.payload(event)
    assert payload == Payload(
        segment_audience_id="aud_7Qx",
        segment_audience_key="vip",
        segment_computation_action="audience",
        email="Dana@example.test",
        phone="15551234567",
        traits_or_props=event["traits"],
        mapping="Sync Audiences",
        official={},
    )
    assert payload.fields()["email"] == " Dana@example.test\n"
    assert payload.fields() is not payload.fields()
    assert "Dana" not in repr(payload)
    assert "1555" not in repr(payload)
    with pytest.raises(dataclasses.FrozenInstanceError):
        payload.email = "x"


@every(
    "traits, email, phone",
    [
        ({}, None, None),
        ({"email": "", "phone": None}, None, None),
        ({"email": "  ", "phone": [None]}, None, None),
        ({"email": math.nan, "phone": math.inf}, None, None),
        ({"email": [math.nan], "phone": " n/a "}, None, "n/a"),
        ({"email": ["a@x.test"], "phone": ["+1 (555) 010-0100"]}, "a@x.test", "+1 (555) 010-0100"),
        ({"email": True, "phone": 0}, "true", "0"),
        ({"phone": 15550100}, None, "15550100"),
        ({"phone": 1e21}, None, "1e+21"),
    ],
)
def test_contacts(traits, email, phone):
    """A payload without a usable contact is a payload all the same."""
    payload = DEFAULT.payload(identify({"vip": True} | traits))
    assert (payload.email, payload.phone, payload.membership) == (email, phone, True)


@every(
    "value, membership",
    [
        (True, True),
        (False, False),
        ("true", None),
        (1, None),
        (0, None),
        (None, None),
        ("", None),
        ({}, None),
        ([], None),
    ],
)
def test_membership(value, membership):
    """Only a JSON boolean says in or out."""
    assert DEFAULT.payload(identify({"vip": value})).membership is membership
    assert DEFAULT.payload(identify({})).membership is None


def test_membership_takes_the_key_as_it_stands():
    """Dots and spaces in an audience's key are part of it."""
    event = identify({"a.b c": True}, context={"personas": PERSONAS | {"computation_key": "a.b c"}})
    assert DEFAULT.payload(event).membership is True


@every(
    "event, status, code, reason",
    [
        (
            identify({}, integrations={"All": False}),
            "filtered_integrations",
            "FILTERED_BY_INTEGRATIONS_OBJECT",
            "does not include Postscript",
        ),
        ({"type": "page"}, "no_matching_mapping", "NO_MATCHING_MAPPING", "No enabled mapping"),
        ([], "no_matching_mapping", "NO_MATCHING_MAPPING", "not an object"),
        ({"type": "track"}, "not_an_audience_event", "NOT_AN_AUDIENCE_EVENT", "Audience Key is missing."),
        (
            identify({}, context={"personas": PERSONAS | {"computation_class": "trait"}}),
            "not_an_audience_event",
            "NOT_AN_AUDIENCE_EVENT",
            "Segment Computation Action must be one of: audience or journey_step.",
        ),
        (
            identify({}, context={"personas": PERSONAS | {"computation_key": ""}}),
            "invalid_payload",
            "PAYLOAD_VALIDATION_FAILED",
            "Audience Key is missing.",
        ),
        (
            identify(
                {"email": {}, "phone": [1, 2]}, context={"personas": PERSONAS | {"computation_key": None}}
            ),
            "invalid_payload",
            "PAYLOAD_VALIDATION_FAILED",
            "Audience Key is missing. Email address must be a text but is an object. "
            "Phone must be a text but is a list.",
        ),
        (identify([]), "invalid_payload", "PAYLOAD_VALIDATION_FAILED", "must be an object but is a list"),
        (
            identify({}, context={"personas": PERSONAS | {"computation_key": [["x"]]}}),
            "invalid_payload",
            "PAYLOAD_VALIDATION_FAILED",
            "Audience Key must be a text but is a list.",
        ),
    ],
)
def test_discards(event, status, code, reason):
    """Each way not to be a payload has its status, its code and its sentence."""
    discard = DEFAULT.payload(event)
    assert isinstance(discard, Discard)
    assert (discard.status, discard.reason_code) == (status, code)
    assert reason in discard.reason
    assert DEFAULT.payloads(event) == (discard,)


def test_discards_keep_contacts():
    """An ordinary event may have the contact that an audience event lacks; filtered ones show none."""
    event = {"type": "identify", "traits": {"email": " a@x.test ", "phone": [15550100.0]}}
    discard = DEFAULT.payload(event)
    assert (discard.status, discard.mapping) == ("not_an_audience_event", "Sync Audiences")
    assert (discard.email, discard.phone) == ("a@x.test", "15550100")
    assert "a@x.test" not in repr(discard) + discard.reason
    filtered = DEFAULT.payload(event | {"integrations": {"All": False}})
    assert (filtered.email, filtered.phone, filtered.mapping) == (None, None, "")
    odd = DEFAULT.payload({"type": "identify", "traits": {"email": {}, "phone": math.nan}})
    assert (odd.email, odd.phone) == (None, None)


def test_integrations_come_before_consent_and_both_before_triggers():
    """An event is filtered once, by the first filter that wants to."""
    destination = dataclasses.replace(DEFAULT, consent_categories=("sms",))
    refused = {"context": {"consent": {"categoryPreferences": {"sms": False}}}}
    assert (
        destination.payload({"type": "page", "integrations": {"All": False}} | refused).status
        == "filtered_integrations"
    )
    assert destination.payload({"type": "page"} | refused).status == "filtered_consent"
    assert destination.payload({"type": "page"}).status == "no_matching_mapping"
    assert DEFAULT.payload({"type": "page"} | refused).status == "no_matching_mapping"


def action(name, fields, *, trigger="type != null", enabled=True):
    return ActionMapping(name=name, trigger=Trigger(trigger), fields=Mapping(fields), enabled=enabled)


def test_every_matching_mapping_answers():
    """Mappings are independent of each other, in their order; disabled ones are not asked."""
    destination = Destination(
        mappings=(
            action("off", DEFAULT_FIELDS, enabled=False),
            action("tracks", DEFAULT_FIELDS, trigger='type = "track"'),
            action("broken", DEFAULT_FIELDS | {"email": 5, "phone": []}),
            action("fixed", DEFAULT_FIELDS | {"segment_audience_key": "vips"}),
        )
    )
    broken, fixed = destination.payloads(identify({"vip": True}))
    assert (broken.status, broken.mapping, broken.email) == ("invalid_payload", "broken", "5")
    assert (fixed.mapping, fixed.segment_audience_key, fixed.membership) == ("fixed", "vips", None)
    assert destination.payload(identify({})) == broken


@every(
    "fields, reason",
    [
        (
            DEFAULT_FIELDS | {"phone": {"@path": {"@path": "$.traits.vip"}}},
            "/phone/@path: should give a text",
        ),
        ({"@path": "$.traits.vip"}, "gives no object of fields"),
        ({"@path": "$.nope"}, "gives no object of fields"),
    ],
)
def test_mappings_that_fail_at_an_event(fields, reason):
    """What an event makes go wrong in a mapping costs that event, and nothing raises."""
    discard = Destination(mappings=(action("m", fields),)).payload(identify({"vip": True}))
    assert (discard.status, discard.mapping) == ("invalid_payload", "m")
    assert reason in discard.reason


def test_nothing_in_the_event_changes():
    event = identify({"vip": True, "email": " a@x.test "})
    before = json.dumps(event)
    DEFAULT.payload(event).fields()["email"] = "x"
    assert json.dumps(event) == before


def test_destinations_travel():
    """A destination can be sent to another process."""
    destination = pickle.loads(pickle.dumps(DEFAULT))
    assert destination == DEFAULT
    assert destination.payload(identify({"vip": True})) == DEFAULT.payload(identify({"vip": True}))


def test_fields_are_segments():
    """The table of the action's fields."""
    table = [(known.label, known.type, known.required, known.choices) for known in SYNC_AUDIENCES.fields]
    assert table == [
        ("Audience ID", "string", False, ()),
        ("Audience Key", "string", True, ()),
        ("Segment Computation Action", "string", True, ("audience", "journey_step")),
        ("Email address", "string", False, ()),
        ("Phone", "string", False, ()),
        ("Traits or properties object", "object", True, ()),
    ]


# --- computed traits

TRAIT = {"computation_class": "computed_trait", "computation_id": "tra_9", "computation_key": "orders"}
TRAITS = ActionMapping(
    name="Traits",
    trigger=Trigger(DEFAULT_TRIGGER),
    fields=Mapping(SYNC_TRAITS.default_fields),
    action=SYNC_TRAITS,
)


def test_trait_payload():
    """A trait's payload has its own fields and the value under its key; contacts show in no repr."""
    event = identify({"orders": 7.0, "email": " a@x.test "}, context={"personas": TRAIT})
    payload = Destination(mappings=(TRAITS,)).payload(event)
    assert payload == TraitPayload(
        segment_trait_id="tra_9",
        segment_trait_key="orders",
        segment_computation_action="computed_trait",
        email="a@x.test",
        phone=None,
        traits_or_props=event["traits"],
        mapping="Traits",
        official={},
    )
    assert (payload.value, payload.value_json) == (7, "7")
    assert payload.fields()["email"] == " a@x.test "
    assert "a@x.test" not in repr(payload)


def test_each_action_takes_its_own_events():
    """Audiences and traits are distinguished by the class of the computation; each refusal has its code."""
    destination = Destination(mappings=(*DEFAULT.mappings, TRAITS))
    audience, trait = destination.payloads(identify({"vip": True}))
    assert isinstance(audience, Payload)
    assert (trait.status, trait.reason_code) == ("not_an_audience_event", "NOT_A_COMPUTED_TRAIT")
    audience, trait = destination.payloads(identify({"orders": 1}, context={"personas": TRAIT}))
    assert audience.reason_code == "NOT_AN_AUDIENCE_EVENT"
    assert trait.value == 1
    documented = identify({"orders": 1}, context={"personas": TRAIT | {"computation_class": "trait"}})
    assert isinstance(destination.payloads(documented)[1], TraitPayload)


def test_traits_of_a_track_event():
    """The value is taken from the properties where there are any, as for audiences."""
    event = {
        "type": "track",
        "properties": {"trait_key": "orders", "orders": ["a"]},
        "traits": {"orders": 1},
        "context": {"personas": TRAIT},
    }
    assert TRAITS.payload(event).value == ["a"]


@every(
    "value, held",
    [
        ("", ""),
        ("2025-03-04T10:00:00Z", "2025-03-04T10:00:00Z"),
        (0, 0),
        (-3.0, -3),
        (True, True),
        ([], []),
        (["a", ""], ["a", ""]),
        (2**63 - 1, 2**63 - 1),
        (None, None),
        (math.nan, None),
        (-math.inf, None),
        (2.5, MISSING),
        (1e300, MISSING),
        (2**63, MISSING),
        ({}, MISSING),
        ([1], MISSING),
        ([None], MISSING),
        ([["a"]], MISSING),
    ],
)
def test_property_values(value, held):
    """What a property can hold stays as it is; null and what is no number is nothing; the rest is refused."""
    found = property_value(value, MISSING)
    assert type(found) is type(held)
    assert found is held or found == held


def test_property_json_is_text_that_can_be_kept():
    """Compact, in its own letters, and without a lone surrogate."""
    assert json_text(["é", "b"]) == '["é","b"]'
    assert json_text("a\ud83d") == '"a\\ud83d"'
    assert json_text(True) == "true"


# --- whatever comes


def random_json(chance, depth=0):
    keys = [
        "context",
        "traits",
        "personas",
        "computation_class",
        "computation_key",
        "email",
        "phone",
        "vip",
        "consent",
    ]
    if depth < 5 and chance.random() < 0.6:
        return {key: random_json(chance, depth + 1) for key in chance.sample(keys, 5)}
    if depth < 5 and chance.random() < 0.2:
        return [random_json(chance, depth + 1) for _ in range(chance.randrange(3))]
    return chance.choice(
        [None, True, False, 0, 1e21, math.nan, 10**400, "", " ", "vip", "audience", "\ud83d", [], {}]
    )


@every("seed", range(200), quick=30)
def test_whatever_comes(seed):
    """Any JSON has an answer, made of texts and JSON that can be written down."""
    chance = random.Random(seed)
    custom = Destination(
        mappings=(
            action("a", DEFAULT_FIELDS | {"email": {"@path": {"@path": "$.type"}}}),
            *DEFAULT.mappings,
            TRAITS,
        ),
        consent_categories=("sms",),
    )
    for _ in range(5):
        event = {"type": chance.choice(["identify", "track", "page", None])}
        for key in ("context", "traits", "properties"):
            event[key] = random_json(chance)
        if chance.random() < 0.3:
            event["integrations"] = chance.choice([None, {}, {"Postscript": {}}, {"All": False}, [1], "x"])
        if chance.random() < 0.5:
            personas = chance.choice([PERSONAS, TRAIT | {"computation_key": "vip"}])
            event["context"] = {"personas": dict(personas), "traits": random_json(chance)}
        for destination in (DEFAULT, custom):
            for answer in (*destination.payloads(event), *destination.payloads(random_json(chance))):
                assert answer.email is None or answer.email == answer.email.strip() != ""
                assert answer.phone is None or answer.phone == answer.phone.strip() != ""
                if isinstance(answer, TraitPayload):
                    assert answer.value_json is None or json.loads(answer.value_json) == answer.value
                if isinstance(answer, Payload):
                    assert answer.membership in (True, False, None)
                    assert isinstance(answer.segment_audience_key, str)
                    json.dumps(answer.fields())


def test_deep_events():
    """An event nested beyond what Python can call is answered."""
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert DEFAULT.payload(identify({"vip": True, "email": deep})).status == "invalid_payload"
    assert DEFAULT.payload(identify({"vip": deep})).membership is None


def test_trigger_errors_have_positions():
    with pytest.raises(TriggerError):
        action("x", {}, trigger="type")
