"""Destination files: our spelling and Segment's, every mistake at once, and nothing that takes long."""

import json

import pytest
from conftest import PROJECT

from toolkit.errors import FileFormatError, InputPathError
from toolkit.segment.destination import Destination
from toolkit.segment.destination.actions import SYNC_TRAITS, Payload
from toolkit.segment.triggers import Trigger

DEFAULT = Destination.default()
PERSONAS = {"computation_class": "audience", "computation_id": "aud_7Qx", "computation_key": "vip"}
VIP = 'context.personas.computation_key = "vip"'


def identify(traits, **changes):
    """An identify that Engage could have sent."""
    return {"type": "identify", "userId": "u", "traits": traits, "context": {"personas": PERSONAS}} | changes


def problems_of(path):
    """What the one error says: its title, and each problem."""
    with pytest.raises(FileFormatError) as caught:
        Destination.from_file(path)
    title, *problems = str(caught.value).splitlines()
    return title, [problem.removeprefix("- ") for problem in problems]


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


STORED = {"@path": "$.context.personas.computation_key"}
PASTED = {
    "segment_audience_key": STORED,
    "segment_computation_action": {"@path": "$.context.personas.computation_class"},
    "phone": {"@path": "$.traits.mobile"},
    "traits_or_props": {"@path": "$.traits"},
    "enable_batching": False,
    "batch_size": 10,
}


def shapes():
    """One mapping in every shape in which Segment's pages, its API and its framework write it."""
    stored = {"name": "VIPs", "enabled": True, "partnerAction": "syncAudiences", "subscribe": VIP}
    by_api = {
        "id": "x1",
        "name": "VIPs",
        "actionId": "a1",
        "actionSlug": "syncAudiences",
        "destinationId": "d1",
        "enabled": True,
        "trigger": VIP,
        "settings": PASTED,
    }
    yield "subscriptions", {"settings": {}, "subscriptions": [{**stored, "mapping": PASTED}]}
    yield "mappings", {"mappings": [{**stored, "inputs": PASTED}]}
    yield "a list", [{**stored, "mapping": PASTED}]
    yield "as a JSON text", [{**stored, "mapping": json.dumps(PASTED)}]
    yield "by the API", [by_api]
    answer = {"data": {"subscriptions": [by_api], "pagination": {"current": "MA==", "totalEntries": 1}}}
    yield "the API's answer", answer
    yield "the API's answer for one", {"data": {"subscription": by_api}}
    yield "a destination of the API", {"id": "d1", "name": "Postscript", "subscriptions": [by_api]}
    by_terraform = {
        "id": "x1",
        "name": "VIPs",
        "action_id": "a1",
        "action_slug": "syncAudiences",
        "destination_id": "d1",
        "enabled": True,
        "model_id": None,
        "trigger": VIP,
        "settings": json.dumps(PASTED),
    }
    yield "by Terraform", [by_terraform]
    resources = [
        {"type": "segment_destination", "values": {"name": "Postscript"}},
        {"type": "segment_destination_subscription", "values": {**by_terraform, "action_slug": "postEvent"}},
    ]
    module = {"resources": [{"type": "segment_destination_subscription", "values": by_terraform}]}
    yield "terraform show", {"values": {"root_module": {"resources": resources, "child_modules": [module]}}}
    yield "one mapping", {**stored, "mapping": PASTED}
    yield "one by the API", by_api
    yield "without a name", {"subscribe": VIP, "mapping": PASTED}
    yield "its fields", PASTED


@pytest.mark.parametrize(("shape", "content"), [*shapes()], ids=[name for name, _ in shapes()])
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_what_is_pasted_from_segment(tmp_path, shape, content, suffix):
    """A pasted mapping is taken whole: what it leaves out has no mapping, as at Segment."""
    text = json.dumps(content, indent="\t")
    destination = Destination.from_file(write(tmp_path, text, f"d.{suffix}"))
    (mapping,) = destination.mappings
    assert mapping.enabled
    assert mapping.name == ("Sync Audiences" if shape in ("without a name", "its fields") else "VIPs")
    assert mapping.trigger == (DEFAULT.mappings[0].trigger if shape == "its fields" else Trigger(VIP))
    payload = destination.payload(identify({"vip": True, "email": "a@x.test", "mobile": "1"}))
    assert payload.fields() == {
        "segment_audience_key": "vip",
        "segment_computation_action": "audience",
        "phone": "1",
        "traits_or_props": {"vip": True, "email": "a@x.test", "mobile": "1"},
    }


def test_our_fields_are_merged_and_a_pasted_mapping_is_not(tmp_path):
    """The same object under fields and under mapping: only the first has the defaults besides."""
    event = identify({"vip": True, "email": "a@x.test", "mobile": "1"})
    fields = {"phone": {"@path": "$.traits.mobile"}, "segment_audience_id": None}
    ours = Destination.from_file(write(tmp_path, json.dumps([{"name": "x", "fields": fields}])))
    assert ours.payload(event).email == "a@x.test"
    assert (ours.payload(event).phone, ours.payload(event).segment_audience_id) == ("1", None)
    for whole in (fields, None, {}):
        theirs = Destination.from_file(write(tmp_path, json.dumps([{"name": "x", "mapping": whole}])))
        assert theirs.payload(event).status == "not_an_audience_event"
    (default,) = Destination.from_file(write(tmp_path, "[{name: x}]")).mappings
    assert default.fields == DEFAULT.mappings[0].fields


def test_directives_at_the_root_of_a_pasted_mapping(tmp_path):
    """A mapping may be one directive, or be wrapped in Segment's own."""
    root = {"@merge": {"objects": [PASTED_FIELDS, {"email": "b@x.test"}], "direction": "right"}}
    wrapped = {
        "__segment_internal_directive": {"@transform": {"apply": {"traits": {"@path": "$.traits"}}}},
        "segment_audience_key": "vip",
        "segment_computation_action": "audience",
        "traits_or_props": {"@path": "$.traits"},
    }
    event = identify({"vip": True})
    content = [{"name": "root", "mapping": root}, {"name": "wrapped", "mapping": wrapped}]
    first, second = Destination.from_file(write(tmp_path, json.dumps(content))).payloads(event)
    assert (first.email, first.membership) == ("b@x.test", True)
    assert (second.email, second.membership) == (None, True)


PASTED_FIELDS = {key: value for key, value in PASTED.items() if "batch" not in key}


def test_actions_and_dialects(tmp_path):
    """Each mapping has its action and the dialect of its trigger; the defaults are ours and strict."""
    text = """
      - {name: A, dialect: official, trigger: "type = 'identify'"}
      - {name: B, action: syncTraits, fields: {phone: null}}
      - {name: C, dialect: strict, trigger: "type = 'identify'"}
    """
    official, traits, strict = Destination.from_file(write(tmp_path, text)).mappings
    assert (official.trigger.dialect, strict.trigger.dialect) == ("official", "strict")
    assert [m.trigger.matches({"type": "identify"}) for m in (official, strict)] == [False, True]
    assert traits.action == SYNC_TRAITS
    event = identify(
        {"ltv": 5, "phone": "1"},
        context={"personas": PERSONAS | {"computation_class": "computed_trait", "computation_key": "ltv"}},
    )
    payload = traits.payload(event)
    assert (payload.value, payload.phone) == (5, None)


# --- secrets ------------------------------------------------------------------------------------------------

SECRET = "sk_live_9f8e7d6c5b4a"


@pytest.mark.parametrize(
    "content",
    [
        {"secret_key": SECRET, "mappings": [{"name": "x"}]},
        {"secretKey": SECRET, "mappings": [{"name": SECRET}, {"name": SECRET}]},
        {"settings": {"secret_key": SECRET}, "subscriptions": [{"name": "x"}]},
        {"settings": {"apiKey": "abcdef"}, "mappings": [{"name": "x"}]},
        {"mappings": [{"name": "x", "authorization": f"Bearer {SECRET}"}]},
        {"mappings": [{"name": "x", "fields": {"secret_key": SECRET}}]},
        {"mappings": [{"name": "x", "fields": {"email": SECRET}}]},
        {"mappings": [{"name": "x", "action": SECRET}]},
        {"mappings": [{"name": "x", "mapping": json.dumps({"email": SECRET})}]},
        {"secret_key": SECRET, "subscribe": SECRET, "mapping": {}},
        [{"name": "x", "secret_key": 12345}],
        {"mappings": [{"name": f"my {SECRET} mapping"}]},
        {"mappings": [{"name": f"x_{SECRET}", "action": f"x_{SECRET}"}]},
        {"mappings": [{"name": "sk_9f8A7b6C5d4E3f2G1h0J"}]},
        {"mappings": [{"name": "x", "trigger": f"event = {SECRET} and"}]},
        {"mappings": [{"name": "x", "trigger": f'type = "{SECRET}"'}]},
        {"mappings": [{"name": "x", "fields": {"email": {f"@{SECRET}": 1}}}]},
        {"mappings": [{"name": "x", "fields": {"email": {"@template": f"a {SECRET} b"}}}]},
        {"mappings": [{"name": "x", SECRET: 1}]},
        {"mappings": [{"name": "x", "fields": {"email": "key: Bearer sk_abc"}}]},
        {"mappings": [{"name": "x", "mapping": json.dumps({"email": {"@path": f"$.{SECRET}"}})}]},
    ],
)
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_secrets_are_refused_and_never_repeated(tmp_path, content, suffix):
    """Whatever looks like a key has to go, by its place; no message holds it."""
    path = write(tmp_path, json.dumps(content), f"d.{suffix}")
    with pytest.raises(FileFormatError, match="POSTSCRIPT_SECRET_KEY") as caught:
        Destination.from_file(path)
    message = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert not [secret for secret in (SECRET, "abcdef", "12345") if secret in message]


def test_keys_that_only_begin_like_a_secret(tmp_path):
    """An audience may be called so."""
    trigger = 'event = "sk_buyers_last_30_days" or event = "sk_campaign2024abc" or event = "task_1"'
    fields = {"email": "risk_management12", "segment_audience_key": "sk_buyers_last_30_days"}
    content = [{"name": "sk_launch_2026", "trigger": trigger, "fields": fields}]
    assert Destination.from_file(write(tmp_path, json.dumps(content), "d.json"))


@pytest.mark.parametrize("text", [f"secret_key: {SECRET}: x", f"a: [{SECRET}", f"\tsecret: {SECRET}"])
def test_a_file_that_cannot_be_read_is_not_quoted(tmp_path, text):
    """What is wrong is reported by line and column, not by the line itself."""
    title, problems = problems_of(write(tmp_path, text))
    assert problems == []
    assert SECRET not in title
    assert "line" in title


def test_names_can_be_written_down(tmp_path):
    """Half a character in a name, which no file can hold, is replaced."""
    (mapping,) = Destination.from_file(write(tmp_path, '[{"name": "a\\ud83d"}]', "d.json")).mappings
    assert mapping.name == "a?"


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
  - {name: C, action: syncPeople, dialect: fql}
  - {name: D, dialect: official, trigger: nonsense}
consent_categories: sms
"""


def test_all_faults_at_once(tmp_path):
    """One error lists everything that is wrong, each with its place."""
    title, problems = problems_of(write(tmp_path, FAULTS))
    assert title == "destination.yaml cannot be used as a destination:"
    expected = [
        "mappings[4].fields/email: is a date to YAML",
        "mapings: not known; there are mappings, subscriptions, consent_categories, settings",
        "mappings[0].name: should be a text",
        "mappings[0].enabled: should be true or false, not a text",
        'mappings[0].trigger: Put a text in quotes: "track" (at character 8)',
        "mappings[1].trigger: should be a text, not a number",
        "mappings[1].fields/mail: not known",
        "mappings[1].fields/email/@path: should be a text or a directive, not a number",
        "mappings[1].fields/phone/0/@nope: @nope is not a directive",
        "mappings[2].colour: not known",
        "mappings[2].fields: should be an object, not a list",
        "mappings[3]: should be an object, not a text",
        "mappings[5].action: 'syncPeople' is not known; there are syncAudiences, syncTraits",
        "mappings[5].dialect: 'fql' is not known; there are strict, official",
        "mappings[6].trigger: ",
        "mappings[2].name: 'A' is taken",
        "consent_categories: should be a list, not a text",
    ]
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ({"mapings": [{"name": "x", "colour": 1}]}, "mapings: not known; there are mappings"),
        (
            {"mapping": [{"name": "x", "trigger": "a = b", "colour": 1}]},
            "mapping: not known; there are mappings",
        ),
        ({"mappings": {"name": "x", "colour": 1}}, "mappings: should be a list, not an object"),
        ({"mappings": [{"name": "y"}], "subscriptions": [{"name": "x", "colour": 1}]}, "mappings and subscr"),
        (
            {"data": {"subscriptions": [{"name": "x", "colour": 1}], "pagination": {"next": "Mg=="}}},
            "data.pagin",
        ),
    ],
)
def test_a_mistake_at_the_top_hides_none_below(tmp_path, content, first):
    """What stands under a wrong key, or in a wrong shape, is read all the same."""
    _, problems = problems_of(write(tmp_path, json.dumps(content), "d.json"))
    assert any(problem.startswith(first) for problem in problems)
    assert any("colour: not known; there are name, enabled, action" in problem for problem in problems)


NOTED = """
- {name: Quotes, dialect: official, trigger: 'type = ''track'' and event != "Paused"'}
- {name: Or, trigger: 'type = "identify" or type = "track" and event != "Paused"'}
- {name: Class, fields: {segment_computation_action: null}}
- {name: Unused, enabled: false, trigger: 'type = "identify" or type = "track" and event != "Paused"'}
- {name: Fine}
- {name: Whole, mapping: {"@path": $.properties}}
"""


def test_notes(tmp_path):
    """A trigger that Segment reads otherwise, with what to write; a mapping that no event gets through."""
    quotes, or_, lacking = Destination.from_file(write(tmp_path, NOTED)).notes
    assert quotes.startswith(
        'Mapping "Quotes": its trigger is read as Segment reads it. Segment takes single'
    )
    assert "(at character 8)" in quotes
    assert quotes.endswith('Both read this alike: type = "track" and event != "Paused"')
    assert or_.startswith('Mapping "Or": its trigger is read as written, and Segment reads it otherwise.')
    assert or_.endswith('type = "identify" or (type = "track" and event != "Paused")')
    assert lacking == (
        'Mapping "Class" has no Segment Computation Action (segment_computation_action), so no event counts. '
        'Segment fills it with "segment_computation_action": '
        '{"@path": "$.context.personas.computation_class"}.'
    )
    assert DEFAULT.notes == ()


def many(count):
    return json.dumps({"mappings": [{"name": str(i)} for i in range(count)]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should be an object with mappings, not null"),
        ("text", "should be an object with mappings, not a text"),
        ("[]", "the list: at least one mapping has to be enabled"),
        ("[5]", "[0]: should be an object, not a number"),
        ("{}", "mappings: should be a list"),
        ("mappings: []", "mappings: at least one mapping has to be enabled"),
        ("mappings: [{name: x, enabled: false}]", "at least one mapping has to be enabled"),
        ("enabled: false\nsubscribe: a = b", "the file: at least one mapping has to be enabled"),
        ("mappings: [{name: ' '}]", "mappings[0].name: should be a text"),
        ("mappings: [{name: x}]\nconsent_categories: [sms, 5]", "consent_categories: each"),
        (many(51), "mappings[50]: Segment allows 50, these are 51"),
        ("mappings: [{name: &a x}, {name: *a}]", "anchor or alias (& or *) (line 1)"),
        ("[{name: &a x}]", "anchor or alias (& or *) (line 1)"),
        ("a: &a [x]\nb: &b [*a, *a]\nmappings: *b", "anchor or alias"),
        ("mappings: [", "neither YAML nor JSON"),
        ("mappings: !!python/object/apply:os.getcwd []", "it has a tag"),
        ("mappings: !!binary aGk=", "it has a tag"),
        ("name: !x y", "it has a tag"),
        ("mappings: [{name: x}]\n---\nmappings: []", "but found another document (line 2, column 1)"),
        ("mappings:\n\t- name: x", "there is a tab where YAML wants spaces (line 2, column 1)"),
        ("? [a]\n: b", "has a list or an object as a key (line 1)"),
        ("mappings: [{name: x, name: y}]", "mappings[0].name: is given twice"),
        (
            "mappings: [{name: x, fields: {email: {'@case': {operator: lower, operator: upper}}}}]",
            "mappings[0].fields/email/@case/operator: is given twice",
        ),
        ("mappings: [{name: x, fields: {email: .inf}}]", "mappings[0].fields/email: is not a number"),
        ("mappings: [{name: x, fields: {email: .NaN}}]", "mappings[0].fields/email: is not a number"),
        ("mappings: [{name: x, fields: {email: 2025-01-01 10:00:00}}]", "fields/email: is a date to YAML"),
        ("name: " + "9" * 5000, "cannot be read"),
        ("mappings: [{name: \x00}]", "characters that no text has"),
        ("mappings: []\nsubscriptions: []", "mappings and subscriptions: say the same"),
        ("settings: {colour: red}\nmappings: [{name: x}]", "settings/colour: not known"),
        ("settings: 5\nmappings: [{name: x}]", "settings: should be an object, not a number"),
        ("data: {pagination: 5}", "mappings: should be a list"),
        ("data: {pagination: [next], subscriptions: 5}", "subscriptions: should be a list, not a number"),
        ("values: {root_module: {resources: 5, child_modules: true}}", "subscriptions: at least one"),
        ("values: {root_module: [5]}", "subscriptions: at least one mapping"),
        ("[{name: x, trigger: a, subscribe: b}]", "[0].trigger and [0].subscribe: say the same"),
        ("[{name: x, fields: {}, mapping: {}}]", "[0].fields and [0].mapping: say the same"),
        ("[{name: x, mapping: '{'}]", "[0].mapping: is neither YAML nor JSON"),
        ('[{name: x, mapping: \'{"email": 1, "email": 2}\'}]', "[0].mapping/email: is given twice"),
        ("[{name: x, mapping: '5'}]", "[0].mapping: should be an object, not a number"),
        ("[{name: x, mapping: {segment_trait_key: k}}]", "[0].mapping/segment_trait_key: not known"),
        ("[{name: x, action: 5}]", "[0].action: a number is not known"),
        ("trigger: 5\nmapping: {mail: x}", "mapping/mail: not known"),
        ("[" * 1500 + "]" * 1500, "nested too deeply"),
        ("mappings: " + "[" * 1500, "nested too deeply"),
    ],
)
def test_bad_files(text, message, tmp_path):
    """A file that cannot be used is refused in a sentence, whatever is wrong with it."""
    with pytest.raises(FileFormatError) as caught:
        Destination.from_file(write(tmp_path, text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "(line 1, column 2)"),
        ('{"a": NaN}', "a number that JSON has not"),
        ('{"a": 1e999}', "a number that JSON has not"),
        ('{"a": ' + "9" * 5000 + "}", "a number that JSON has not"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 500 + "]" * 500, "nested too deeply"),
        ('{"mappings": [{"name": "x", "name": "x"}]}', "mappings[0].name: is given twice"),
    ],
    ids=lambda value: value[:20],
)
def test_bad_json_files(text, message, tmp_path):
    """JSON has its own ways to be wrong."""
    with pytest.raises(FileFormatError) as caught:
        Destination.from_file(write(tmp_path, text, "d.json"))
    assert message in str(caught.value)


@pytest.mark.parametrize("size", [32_000, 10 << 20], ids=["just below", "ten megabytes"])
@pytest.mark.parametrize("kind", ["text", "list", "keys"])
def test_large_files(kind, size, tmp_path, monkeypatch):
    """A file that is far too large is refused, whatever fills it."""
    monkeypatch.setattr("toolkit.segment.destination.document.MAX_BYTES", 32 << 10)
    filling = {"text": "x", "list": "- {name: x}\n", "keys": "kkkkk: 1\n"}[kind]
    start = {"text": "mappings: ", "list": "", "keys": ""}[kind]
    title, _ = problems_of(write(tmp_path, start + filling * (size // len(filling))))
    assert len(title) < 200


def test_the_list_of_problems_ends(tmp_path):
    """Of thousands of mistakes a hundred are listed, and how many more there are."""
    _, problems = problems_of(write(tmp_path, json.dumps({f"k{i}": 1 for i in range(5000)})))
    assert len(problems) == 101
    assert problems[-1] == "… and 4902 more"


def test_long_names_are_shortened(tmp_path):
    """A key of ten thousand letters does not fill the message."""
    _, problems = problems_of(write(tmp_path, json.dumps([{"name": "n", "k" * 9999: 1}] * 2)))
    assert max(map(len, problems)) < 300


def test_files_in_another_encoding(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_bytes(b"mappings: [{name: \xff\xfe}]")
    with pytest.raises(FileFormatError, match="not UTF-8"):
        Destination.from_file(path)


def test_fifty_mappings_are_taken(tmp_path):
    assert len(Destination.from_file(write(tmp_path, many(50))).mappings) == 50


def test_mistakes_beyond_the_limit(tmp_path):
    """A mapping too many is read all the same."""
    mappings = [{"name": f"m{i}"} for i in range(51)] + [{"name": "m0", "trigger": "type ="}]
    _, problems = problems_of(write(tmp_path, json.dumps({"mappings": mappings})))
    assert [problem.split(":")[0] for problem in problems] == [
        "mappings[51].trigger",
        "mappings[51].name",
        "mappings[50]",
    ]


def test_subscriptions_without_a_name(tmp_path):
    """They are named by the action and their number; a mapping of ours has to have a name."""
    pasted = [{"subscribe": 'type = "track"', "reverseETLSchedule": None}, {"name": "mine"}, {}]
    found = Destination.from_file(write(tmp_path, json.dumps({"subscriptions": pasted}), "d.json"))
    assert [m.name for m in found.mappings] == ["Sync Audiences 1", "mine", "Sync Audiences 3"]


# --- Segment's own answers, through a file ------------------------------------------------------------------

VECTORS = PROJECT / "tests" / "data" / "vectors" / "trigger_mapping_settings.jsonl"
CASES = [case for case in map(json.loads, VECTORS.read_text("utf-8").splitlines()) if "quirk" not in case]
REFUSED = {
    # Segment finds these out event by event; here they are errors when the destination is made.
    "set-trigger_invalid-da078e4212",
    "set-trigger_invalid-17b624f295",
    "set-trigger_invalid-20ac7608ed",
    "set-trigger_invalid-96ec3d51b2",
    "set-mapping_invalid-d9ae1331a1",
    "set-mapping_invalid-6a8b900654",
    # A field that no action has, which Segment drops.
    "set-mapping-69e376cc41",
    # No mapping at all: nothing would ever be delivered.
    "set-subscriptions-b02fdb32ed",
}


def test_settings_in_a_file(tmp_path):
    """A file with a vector's triggers and mappings makes the same payloads, or is refused."""
    for case in CASES:
        given = {key: value for key, value in case["settings"].items() if key != "secret_key"}
        path = write(tmp_path, json.dumps({"subscriptions": given.get("subscriptions", [given])}), "d.json")
        if case["id"] in REFUSED:
            assert problems_of(path)[1], case["id"]
            continue
        found = Destination.from_file(path).payloads(case["event"])
        expect = case["expect"]
        if "secret_key" in expect.get("error", {}).get("fields", ()):
            continue  # kept in the environment
        expected = expect.get("payloads", [expect["payload"]] if "payload" in expect else [])
        assert [answer.fields() for answer in found if isinstance(answer, Payload)] == expected, case["id"]
