import dataclasses
import json
import math
import pickle
import random
from pathlib import Path

import pytest

from toolkit.destination import SYNC_AUDIENCES_FIELDS, ActionMapping, Destination, Discard, Payload
from toolkit.errors import FileFormatError, InputPathError, TriggerError
from toolkit.mapping import Mapping
from toolkit.triggers import Trigger

VECTORS = Path(__file__).parent / "data" / "vectors"
DEFAULT = Destination.default()
LABELS = {known.key: known.label for known in SYNC_AUDIENCES_FIELDS}
DEFAULT_FIELDS = {known.key: known.default for known in SYNC_AUDIENCES_FIELDS}
DIRECTIVES = {"@path", "@if", "@literal", "@template", "@case"}


def vectors(name):
    return [json.loads(line) for line in (VECTORS / name).read_text(encoding="utf-8").splitlines()]


def at_keys(value):
    """Every key with an @, and Segment's root directive, in some settings."""
    if isinstance(value, list):
        return {key for item in value for key in at_keys(item)}
    if isinstance(value, dict):
        own = {key for key in value if key.startswith(("@", "__"))}
        return own.union(*(at_keys(item) for item in value.values()))
    return set()


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
        refused = expect["error"]["fields"]
        audience = "segment_computation_action" not in refused
        assert answer.status == ("invalid_payload" if audience else "not_an_audience_event")
        assert {key for key, label in LABELS.items() if label in answer.reason} == set(refused)


# "calls" are what the action does with a payload; their quirks do not touch the payload itself.
EVENTS = [
    case for case in vectors("payload.jsonl") if "quirk" not in case or case.get("quirk_part") == "calls"
]


@pytest.mark.parametrize("case", EVENTS, ids=lambda case: case["id"])
def test_event_vector(case):
    """Segment's payload, field by field; where it reports an error, a status of ours and the same fields."""
    answer = DEFAULT.payload(case["event"])
    agrees(answer, case["expect"])
    assert DEFAULT.payloads(case["event"]) == (answer,)


SETTINGS = [
    case
    for case in vectors("trigger_mapping_settings.jsonl")
    if "quirk" not in case and at_keys(case["settings"]) <= DIRECTIVES
]
KEPT_ELSEWHERE = {
    # The secret key is a setting of the environment, not of the destination.
    "set-secret_key-87ff9705a7",
    "set-secret_key-6a4b183daf",
}
REFUSED_EARLIER = {
    # What Segment finds out event by event is an error here when the destination is made.
    "set-trigger_invalid-da078e4212",
    "set-trigger_invalid-17b624f295",
    "set-trigger_invalid-20ac7608ed",
    "set-trigger_invalid-96ec3d51b2",
    "set-mapping_invalid-d9ae1331a1",
    # No mapping at all: nothing would ever be delivered.
    "set-subscriptions-b02fdb32ed",
}


def in_file(settings):
    """A destination file with the settings of a vector; fields the vector leaves out are set to null."""
    pairs = settings.get("subscriptions", [settings])
    mappings = []
    for i, pair in enumerate(pairs):
        fields = dict.fromkeys(LABELS) | (pair["mapping"] or {}) if "mapping" in pair else {}
        known = {key: fields[key] for key in LABELS if key in fields}
        mappings.append(
            {"name": f"{i}", "fields": known}
            | ({"trigger": pair["subscribe"]} if "subscribe" in pair else {})
        )
    return {"mappings": mappings}


@pytest.mark.parametrize("case", SETTINGS, ids=lambda case: case["id"])
def test_settings_vector(case, tmp_path):
    """Custom triggers and fields give what they give at Segment, or are refused before any event."""
    if case["id"] in KEPT_ELSEWHERE:
        assert "secret_key" in json.dumps(case["expect"]) or "Secret Key" in json.dumps(case["expect"])
        return
    path = tmp_path / "destination.json"
    path.write_text(json.dumps(in_file(case["settings"])), encoding="utf-8")
    if case["id"] in REFUSED_EARLIER:
        with pytest.raises(FileFormatError):
            Destination.from_file(path)
        return
    destination = Destination.from_file(path)
    if "payloads" in case["expect"]:
        found = destination.payloads(case["event"])
        assert same([payload.fields() for payload in found], case["expect"]["payloads"])
    else:
        agrees(destination.payload(case["event"]), case["expect"])


def test_vectors_are_all_there():
    """The selections have not shrunk, and each exception is still in them."""
    assert len(EVENTS) == 246
    assert len(SETTINGS) == 76
    assert {case["id"] for case in SETTINGS} >= KEPT_ELSEWHERE | REFUSED_EARLIER


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


@pytest.mark.parametrize(
    ("traits", "email", "phone"),
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


@pytest.mark.parametrize(
    ("value", "membership"),
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


@pytest.mark.parametrize(
    ("event", "status", "code", "reason"),
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


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            DEFAULT_FIELDS | {"phone": {"@path": {"@path": "$.traits.vip"}}},
            "/phone/@path: should come to a text",
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


# --- files


YAML = """
consent_categories: [sms]
mappings:
  - name: VIPs
    trigger: context.personas.computation_key = "vip"
    fields:
      email: {"@case": {operator: lower, value: {"@path": $.traits.email}}}
  - name: Rest
    enabled: false
"""


def write(tmp_path, text, name="destination.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_file(tmp_path):
    """What a file leaves out has its default; fields are merged over the default ones."""
    destination = Destination.from_file(write(tmp_path, YAML))
    vips, rest = destination.mappings
    assert destination.consent_categories == ("sms",)
    assert (vips.name, vips.enabled, rest.name, rest.enabled) == ("VIPs", True, "Rest", False)
    assert rest.trigger == DEFAULT.mappings[0].trigger
    assert rest.fields == DEFAULT.mappings[0].fields
    payload = destination.payload(identify({"vip": True, "email": "DANA@x.test", "phone": "1"}))
    assert (payload.email, payload.phone, payload.mapping) == ("dana@x.test", "1", "VIPs")


def test_json_file(tmp_path):
    """JSON is read as JSON, so that its escapes mean what they mean there."""
    content = {"mappings": [{"name": "\N{PARTY POPPER}", "fields": {"email": "&a *b"}}]}
    for name in ("d.json", "d.JSON"):
        destination = Destination.from_file(str(write(tmp_path, "\ufeff" + json.dumps(content), name)))
        assert destination.mappings[0].name == "\N{PARTY POPPER}"


def test_no_file(tmp_path):
    """No path is the default destination; a path to nothing is an error."""
    assert Destination.from_file("") == DEFAULT
    for path in (tmp_path / "nope.yaml", tmp_path):
        with pytest.raises(InputPathError, match="There is no destination file"):
            Destination.from_file(path)


FAULTS = """
mapings: []
mappings:
  - trigger: type = track
    enabled: "yes"
  - name: A
    trigger: 5
    fields: {email: {"@path": 5}, phone: [{"@nope": 1}], mail: x}
  - name: A
    fields: []
    colour: red
  - oops
  - name: B
    fields: {email: 2025-01-01}
consent_categories: sms
"""


def test_all_faults_at_once(tmp_path):
    """One error lists everything that is wrong, each with its place."""
    with pytest.raises(FileFormatError) as caught:
        Destination.from_file(write(tmp_path, FAULTS))
    title, *problems = str(caught.value).splitlines()
    assert title == "destination.yaml cannot be used as a destination:"
    expected = [
        "- mapings: not known",
        "- mappings[0].name: should be a text",
        "- mappings[0].enabled: should be true or false, not a text",
        '- mappings[0].trigger: Put a text in quotes: "track" (at character 8)',
        "- mappings[1].trigger: should be a text, not a number",
        "- mappings[1].fields.mail: not known",
        "- mappings[1].fields/email/@path: should be a text or a directive, not a number",
        "- mappings[1].fields/phone/0/@nope: @nope is not a directive",
        "- mappings[2].colour: not known",
        "- mappings[2].fields: should be an object, not a list",
        "- mappings[3]: should be an object, not a text",
        "- mappings[4].fields/email: date is not a JSON value",
        "- mappings[2].name: 'A' is taken",
        "- consent_categories: should be a list, not a text",
    ]
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(start)


def many(count):
    return json.dumps({"mappings": [{"name": str(i)} for i in range(count)]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should be an object with mappings, not null"),
        ("[]", "should be an object with mappings, not a list"),
        ("{}", "mappings: should be a list"),
        ("mappings: []", "at least one has to be enabled"),
        ("mappings: [{name: x, enabled: false}]", "at least one has to be enabled"),
        ("mappings: [{name: ' '}]", "mappings[0].name: should be a text"),
        ("mappings: [{name: x}]\nconsent_categories: [sms, 5]", "consent_categories: each"),
        (many(51), "mappings: Segment allows 50, these are 51"),
        ("mappings: [{name: &a x}, {name: *a}]", "anchor or alias"),
        ("a: &a [x]\nb: &b [*a, *a]\nmappings: *b", "anchor or alias"),
        ("mappings: [", "neither YAML nor JSON"),
        ("mappings: !!python/object/apply:os.getcwd []", "neither YAML nor JSON"),
        ("[" * 1500 + "]" * 1500, "nested too deeply"),
    ],
)
def test_bad_files(text, message, tmp_path):
    """A file that cannot be used is refused in a sentence, whatever is wrong with it."""
    with pytest.raises(FileFormatError) as caught:
        Destination.from_file(write(tmp_path, text))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["{", '{"a": NaNa}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_bad_json_files(text, tmp_path):
    with pytest.raises(FileFormatError):
        Destination.from_file(write(tmp_path, text, "d.json"))


def test_files_in_another_encoding(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_bytes(b"mappings: [{name: \xff\xfe}]")
    with pytest.raises(FileFormatError, match="neither YAML nor JSON"):
        Destination.from_file(path)


def test_fifty_mappings_are_taken(tmp_path):
    assert len(Destination.from_file(write(tmp_path, many(50))).mappings) == 50


def test_fields_are_segments():
    """The table of the action's fields."""
    table = [(known.label, known.type, known.required, known.choices) for known in SYNC_AUDIENCES_FIELDS]
    assert table == [
        ("Audience ID", "string", False, ()),
        ("Audience Key", "string", True, ()),
        ("Segment Computation Action", "string", True, ("audience", "journey_step")),
        ("Email address", "string", False, ()),
        ("Phone", "string", False, ()),
        ("Traits or properties object", "object", True, ()),
    ]


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


@pytest.mark.parametrize("seed", range(200))
def test_whatever_comes(seed):
    """Any JSON has an answer, made of texts and JSON that can be written down."""
    chance = random.Random(seed)
    custom = Destination(
        mappings=(action("a", DEFAULT_FIELDS | {"email": {"@path": {"@path": "$.type"}}}), *DEFAULT.mappings),
        consent_categories=("sms",),
    )
    for _ in range(5):
        event = {"type": chance.choice(["identify", "track", "page", None])}
        for key in ("context", "traits", "properties"):
            event[key] = random_json(chance)
        if chance.random() < 0.3:
            event["integrations"] = chance.choice([None, {}, {"Postscript": {}}, {"All": False}, [1], "x"])
        if chance.random() < 0.5:
            event["context"] = {"personas": dict(PERSONAS), "traits": random_json(chance)}
        for destination in (DEFAULT, custom):
            for answer in (*destination.payloads(event), *destination.payloads(random_json(chance))):
                assert answer.email is None or answer.email == answer.email.strip() != ""
                assert answer.phone is None or answer.phone == answer.phone.strip() != ""
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
