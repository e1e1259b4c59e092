import copy
import dataclasses
import json
import random
import re
import time

import pytest
from conftest import PROJECT
from made_events import some_destination, some_event
from tables import every

from toolkit.audiences.memberships import fold
from toolkit.errors import MappingError, ParameterError
from toolkit.report.actions import (
    EVENTS,
    SUBSCRIBERS,
    official_contacts,
    official_event,
    official_list_change,
    official_value,
)
from toolkit.report.display import MAX_SHOWN, show_person, show_text, show_value
from toolkit.report.explain import STEP_COLUMNS, explain
from toolkit.segment.archive import read_events
from toolkit.segment.destination import Destination
from toolkit.segment.destination.actions import SYNC_AUDIENCES, SYNC_TRAITS, ActionMapping, Discard, Payload
from toolkit.segment.events import has_consent, is_for_postscript
from toolkit.segment.mapping import MISSING, Mapping
from toolkit.segment.payload_rows import row_of
from toolkit.segment.triggers import Trigger

DEFAULT = Destination.default()
PERSONAS = {"computation_class": "audience", "computation_id": "aud_7Qx", "computation_key": "vip"}
VECTORS = PROJECT / "tests" / "data" / "vectors" / "payload.jsonl"


def identify(traits, **changes):
    """An identify that Engage could have sent."""
    return {"type": "identify", "userId": "u", "traits": traits, "context": {"personas": PERSONAS}} | changes


class Seen:
    """What the table shows of one mapping."""

    def __init__(self, rows):
        self.rows = rows
        self.name, (fires, fires_there) = rows[0][1], re.findall("yes|no", rows[1][3])
        self.in_effect = rows[0][3].endswith(", in effect")
        self.fires, self.fires_at_segment = fires == "yes", fires_there == "yes"
        self.official, self.ours, self.differences = (
            [meaning for *_, meaning in self.of(step)] for step in ("Segment would", "we would", "difference")
        )
        self.fields = {label: (value, *reason.split(". ", 1)) for _, label, value, reason in self.of("field")}

    def of(self, step):
        return [row for row in self.rows if row[0].removesuffix(" (would be)") == step]


def mappings_of(explanation):
    """The rows of each mapping; those before the first are left out."""
    starts = [place for place, row in enumerate(explanation.steps) if row[0] == "mapping"]
    return [
        Seen(explanation.steps[start:end]) for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]


def decision(explanation, step):
    """What was decided about the event before any mapping, and why."""
    [(_, _, holds, sentence)] = [row for row in explanation.steps if row[0] == step]
    return holds == "yes", sentence


LABELS = {field.key: field.label for field in SYNC_AUDIENCES.fields}


def one_mapping(event, destination=DEFAULT, **options):
    """What is shown of the only mapping."""
    [mapping] = mappings_of(explain(event, destination, **options))
    return mapping


def with_mapping(trigger="type != null", fields=None, *, dialect="strict", action=SYNC_AUDIENCES, **changes):
    """A destination of one mapping."""
    fields = action.default_fields | (fields or {})
    return Destination(
        mappings=(
            ActionMapping(
                name="m",
                trigger=Trigger(trigger, dialect=dialect),
                fields=Mapping(fields),
                action=action,
                **changes,
            ),
        )
    )


# --- the same word as a run ---------------------------------------------------------------------------------


def expected_outcomes(event, destination):
    """Status and reason of each row among the payloads, as fold() completes them."""
    for made in destination.payloads(event):
        cells = row_of(event, made)
        yield cells[2] or ("no_membership_value" if cells[3] else None), cells[3]


def made_destination(chance):
    """A destination that can be made; others are not what is tested here."""
    while True:
        try:
            return some_destination(chance)
        except MappingError:
            continue


@every("seed", range(60), quick=15)
def test_agrees_with_payloads_and_rows(seed):
    """Statuses, reasons, mappings in effect and filled fields are those of the payloads."""
    chance = random.Random(seed)
    destination = made_destination(chance)
    for _ in range(25):
        event = some_event(chance)
        before = json.dumps(event)
        explanation = explain(event, destination)
        found = [(outcome.status, outcome.reason_code) for outcome in explanation.outcomes]
        assert found == [*expected_outcomes(event, destination)]
        assert json.dumps(event) == before
        consents = has_consent(event, destination.consent_categories)
        assert decision(explanation, "integrations")[0] is is_for_postscript(event)
        assert decision(explanation, "consent")[0] is consents
        seen = mappings_of(explanation)
        made = {m.mapping: m for m in destination.payloads(event) if m.mapping}
        assert [*made] == [m.name for m in seen if m.in_effect]
        for mapping, declared in zip(seen, destination.mappings, strict=True):
            status_of = {label: status for label, (_, status, _) in mapping.fields.items()}
            wrong = [label for label, status in status_of.items() if status in ("missing", "refused")]
            if (found := made.get(mapping.name)) is None:
                assert mapping.ours[0].startswith("Nothing, because")
            elif isinstance(found, Discard):
                assert all(label in found.reason for label in wrong)
                assert wrong or not mapping.fields
            else:
                labels = {field.label for field in declared.action.fields if field.key in found.fields()}
                filled = {label for label, status in status_of.items() if status == "filled"}
                assert (filled, wrong) == (labels, [])
        table = explanation.table()
        assert table["value"].str.len().max() <= 300


def test_the_last_word_is_that_of_fold():
    """What only fold() decides is left open; a payload without a membership has its status."""
    events = [
        identify({"vip": True}, messageId="1", userId="a"),
        identify({"vip": "true"}, messageId="2", userId="b"),
        identify({}, messageId="3", userId="c"),
        identify({"vip": True}, messageId="4", userId="d", integrations={"All": False}),
        identify({"vip": True}, messageId="5", context={}),
    ]
    folded = fold(read_events(events).payloads(DEFAULT)).events.set_index("message_id")
    for event in events:
        (outcome,) = explain(event, DEFAULT).outcomes
        status, reason = folded.loc[event["messageId"], ["status", "reason_code"]]
        expected = (None, None) if status == "counted" else (status, reason)
        assert (outcome.status, outcome.reason_code) == expected


# --- whatever comes in --------------------------------------------------------------------------------------


@every("event", [None, [], "x", 5, True, float("nan")])
def test_what_is_no_object_is_malformed(event):
    """There is nothing to ask the mappings about."""
    explanation = explain(event, DEFAULT)
    (outcome,) = explanation.outcomes
    assert (outcome.status, outcome.reason_code) == ("malformed", "NOT_JSON")
    assert explanation.table()[["step", "what"]].to_numpy().tolist() == [["outcome", "malformed"]]


def nested(make):
    """A value 10,000 levels deep."""
    value = None
    for _ in range(10_000):
        value = make(value)
    return value


LONG = "x" * (1 << 20)
HOSTILE = {
    "empty": {},
    "deep list": identify({"vip": nested(lambda v: [v]), "email": nested(lambda v: [v])}),
    "deep object": identify({"vip": nested(lambda v: {"a": v})}, integrations=nested(lambda v: {"a": v})),
    "deep all over": dict.fromkeys(identify({}), nested(lambda v: {"traits": v})),
    "long": identify(
        {"vip": LONG, "email": LONG, "phone": "1" * (1 << 20)}, userId=LONG, event=LONG, messageId=LONG
    ),
    "long email": identify(
        {"vip": "1" + " " * (1 << 20) + "1", "email": f"{LONG}@{LONG}", "phone": "@" * 999_999}
    ),
    "long key": identify({LONG: True}, context={"personas": PERSONAS | {"computation_key": LONG}}),
    "many keys": identify(
        {f"k{i}": i for i in range(10_000)}, integrations={f"k{i}": i for i in range(10_000)}
    ),
    "halves": identify(
        {"vip": "\ud800", "email": "\udc00@\ud800", "phone": "\ud800"},
        type="\ud800",
        userId="\ud800@x",
        messageId="\ud800@\ud800",
        integrations={"\ud800postscript": True},
        context={"personas": PERSONAS | {"computation_key": "\ud800", "computation_id": "\ud800"}},
    ),
    "not numbers": identify(
        {"vip": float("nan"), "email": float("inf"), "phone": float("nan")}, userId=1e999
    ),
    "huge numbers": identify({"vip": 10**5000, "phone": 10**5000, "email": -(10**400)}, timestamp=10**400),
    "null all over": dict.fromkeys(identify({})),
    "lists all over": {key: [] for key in identify({})},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_events_are_explained(name):
    """No event raises; the answer is soon there, of a bearable size, and can be written to a file."""
    destination = Destination(
        mappings=(
            *DEFAULT.mappings,
            *with_mapping('traits.vip != "x" or contains(userId, "x")').mappings,
            *with_mapping(action=SYNC_TRAITS, enabled=False).mappings,
        ),
        consent_categories=("ads",),
    )
    started = time.monotonic()
    explanation = explain(HOSTILE[name], destination)
    table = explanation.table()
    assert time.monotonic() - started < 30
    assert [outcome.status for outcome in explanation.outcomes]
    assert len(table.to_csv().encode()) < 20_000


def test_nothing_is_changed():
    """The event, however it is built, is the same afterwards."""
    event = identify({"vip": [{"a": 1}], "email": ["a@mail.test"]}, integrations={"Postscript": {"b": []}})
    before = copy.deepcopy(event)
    explain(event, DEFAULT).table()
    assert event == before


# --- contacts stay hidden -----------------------------------------------------------------------------------

EMAIL, PHONE = "dana.lee@mail.test", "+1 (415) 555-0123"


def planted():
    """An event and a destination with the contacts wherever a text can be."""
    both = f"write to {EMAIL} or call {PHONE}."
    personas = PERSONAS | {"computation_key": both, "computation_id": both}
    event = identify(
        {both: both, "email": EMAIL, "phone": PHONE, "note": both, EMAIL: 1},
        type="identify",
        event=both,
        userId=EMAIL,
        messageId=f"m-{EMAIL}",
        integrations={"Postscript": True, both: 1},
        context={"personas": personas, "page": {"url": f"https://x.test/?e={EMAIL.replace('@', '%40')}&x=1"}},
    )
    trigger = f'traits.email = "{EMAIL}" or traits.phone = "{PHONE}" or traits.note != "{both}"'
    trigger += ' or context.page.url = "x" or contains(traits.note, "call")'
    destination = with_mapping(trigger, {"email": {"@template": both}})
    mappings = (*DEFAULT.mappings, *destination.mappings, *with_mapping(action=SYNC_TRAITS).mappings)
    return event, Destination(mappings=mappings)


@every(
    "person, begins",
    [
        *((f"user:{name}", "user:•••03~") for name in ("(202)555-0103", "1-202-555-0103", "202 5550103")),
        *((f"user:{name}", "user:•••03~") for name in ("+12025550103 home", "tel:+12025550103")),
        ("user:dana@mail.test", "user:d•••@mail.test~"),
        ("email:dana@gmail.com,bob.jones", "email:•••~"),
        (":dana@mail.test", ":d•••@mail.test~"),
    ],
)
def test_persons_named_by_a_contact_are_masked(person, begins):
    """The digest keeps two such apart; shown again, it is the same."""
    shown = show_person(person)
    assert shown.startswith(begins)
    assert len(shown) == len(begins) + 4
    assert show_person(shown) == shown


@every(
    "person",
    [
        *("user:cus_000123456", "user:1025550103", "user:2026-11-02", "user:5f1234567abc"),
        "anonymous:12345678-1234-4123-8123-123456789012",
    ],
)
def test_ids_are_shown(person):
    """Digits that no phone has, or within a word, are no phone."""
    assert show_person(person) == person


def test_contacts_are_masked_everywhere():
    """Neither the table nor a repr holds a contact, unless that is asked for."""
    event, destination = planted()
    explanation = explain(event, destination)
    shown = repr(explanation) + explanation.table().to_csv()
    for secret in ("dana.lee", "555-0123", "4155550123", "555"):
        assert secret not in shown
    assert "d•••@mail.test" in shown
    assert "•••23" in shown
    openly = explain(event, destination, show_contacts=True).table().to_csv()
    assert EMAIL in openly
    assert PHONE in openly
    assert f"user:{EMAIL}" in openly
    assert explain(event, destination).table().to_csv() == explanation.table().to_csv()


@every(
    "text, shown",
    [
        ("no contact", "no contact"),
        ("a@b.test,c@d.test", "a•••@b.test,c•••@d.test"),
        ("mailto:dana@x.test?subject=1", "mailto:d•••@x.test?subject=1"),
        ("e=dana%40x.test", "e=•••"),
        ("@template", "@template"),
        ("tel:+14155550100", "tel:•••00"),
        ("٠١٢٣٤٥٦٧٨٩", "•••"),
        ("415.555.0100 x5", "•••00 x5"),
        ("personas_12345678", "personas_12345678"),
        ("123456", "123456"),
        ("1234567", "•••67"),
        ("\ud800", "\ufffd"),
        ("x" * 90, "x" * 79 + "…"),
    ],
)
def test_texts_are_masked(text, shown):
    """Emails and phones are found inside texts; numbers inside words, and short ones, are left."""
    assert show_text(text) == shown


@every(
    "value, shown",
    [
        ("vip", '"vip"'),
        ("", '""'),
        ("a\nb", '"a\\nb"'),
        ("x" * 10_001, "a text of 10,001 characters"),
        (True, "true"),
        (None, "null"),
        (MISSING, "missing"),
        (5.0, "5"),
        (14155550100, "•••00"),
        ([1, 2], "a list of 2"),
        ({}, "an object without keys"),
        ({"dana@mail.test": 1}, "an object with 1 key: d•••@mail.test"),
    ],
)
def test_values_are_shown_short(value, shown):
    """Scalars as JSON, the rest in words: of objects the keys, never the values."""
    assert show_value(value) == shown
    assert len(shown) <= MAX_SHOWN


# --- what Segment's action does -----------------------------------------------------------------------------


@every(
    "value, change, event",
    [
        (True, "add", "Entered"),
        (1, "add", "Entered"),
        (1.0, "add", "Entered"),
        ("1", "add", "Entered"),
        (False, "remove", "Exited"),
        (0, "remove", "Exited"),
        (-0.0, "remove", "Exited"),
        ("", "remove", "Exited"),
        (MISSING, "none", "Exited"),
        (None, "none", "Exited"),
        (float("nan"), "none", "Exited"),
        ("true", "none", "Entered"),
        ("TRUE", "none", "Entered"),
        ("no", "none", "Entered"),
        ({}, "none", "Entered"),
        ({"a": 1}, "none", "Entered"),
        ("false", "none", "Entered"),
        ("0", "remove", "Entered"),
        (" ", "remove", "Entered"),
        ([], "remove", "Entered"),
        # the rule behind it
        ("\u2003\ufeff", "remove", "Entered"),
        (" 1.0\n", "add", "Entered"),
        ("0x1", "add", "Entered"),
        ("1e0", "add", "Entered"),
        ("1_0", "none", "Entered"),
        ("-0", "remove", "Entered"),
        ("Infinity", "none", "Entered"),
        (2, "none", "Entered"),
        (0.5, "none", "Entered"),
        (10**400, "none", "Entered"),
        ([1], "add", "Entered"),
        ([["1"]], "add", "Entered"),
        ([None], "remove", "Entered"),
        ([[], []], "none", "Entered"),
        ([True], "none", "Entered"),
        ([{}], "none", "Entered"),
        ([0, 0], "none", "Entered"),
    ],
)
def test_membership_in_javascript(value, change, event):
    """== decides on the list, truth on the custom event, whatever the value."""
    assert official_list_change(value) == change
    assert official_event(value) == f"Segment_Audience_{event}"


def carry_out(fields, subscribers):
    """Do what is shown on a shop that holds these subscribers; return the requests and what went wrong."""
    calls, found = [], None
    for kind, contact in official_contacts(fields).items():
        if found is None:
            query = {{"phone": "phone_number__eq", "email": "email__eq"}[kind]: contact}
            calls.append(("GET", SUBSCRIBERS, query, None))
            found = next((s for s in subscribers if is_found_by(s, kind, contact)), None)
    if found is None:
        return calls, None if calls else "PayloadValidationError"
    key, value = fields["segment_audience_key"], official_value(fields)
    if (change := official_list_change(value)) != "none":
        held = (found.get("properties") or {}).get("Segment Audiences") or []
        if not isinstance(held, list | str):
            return calls, "TypeError"
        if (key in held) is not (change == "add"):
            if isinstance(held, str):
                return calls, "TypeError"
            after = [*held]
            after.append(key) if change == "add" else after.remove(key)
            body = {"properties": {"Segment Audiences": after}}
            calls.append(("PATCH", f"{SUBSCRIBERS}/{found['id']}", {}, body))
    names = {"Segment Audience ID": "segment_audience_id", "Segment Audience Key": "segment_audience_key"}
    properties = {name: fields[key] for name, key in names.items() if key in fields}
    body = {"type": official_event(value), "properties": properties, "subscriber_id": found["id"]}
    return [*calls, ("POST", EVENTS, {}, body)], None


def is_found_by(subscriber, kind, value):
    """Whether Postscript would return the subscriber."""
    if kind == "phone":
        return "".join(c for c in subscriber.get("phone_number") or "" if c in "0123456789") == value
    return (subscriber.get("email") or "").lower() == value.lower()


WITH_CALLS = [
    case for line in VECTORS.read_text(encoding="utf-8").splitlines() if "calls" in (case := json.loads(line))
]


def test_vectors_are_all_there():
    """Every recorded exchange takes part, accidents of Segment's code included."""
    assert len(WITH_CALLS) == 178


@every("case", WITH_CALLS)
def test_official_calls(case):
    """What is shown, carried out, makes the very requests that Segment's action was seen to make."""
    made = DEFAULT.payload(case["event"])
    expected = [(c["method"], c["path"], c["query"], c["body"]) for c in case["calls"]]
    if not isinstance(made, Payload):
        assert expected == []
        assert one_mapping(case["event"]).official[0].startswith(("Fails with status 400", "Nothing"))
        return
    calls, error = carry_out(made.fields(), case["subscribers"])
    if "fail" in case:
        calls, error = calls[: case["fail"]["call"]], "HTTPError"
    assert calls == expected
    assert error == case.get("perform_error", {}).get("name")


def test_official_sentences():
    """The steps are listed in order, contacts masked, what each hangs on included."""
    event = identify({"vip": 0, "email": EMAIL, "phone": PHONE})
    assert one_mapping(event).official == [
        "GET /api/v2/subscribers?phone_number__eq=•••23; the first subscriber found is taken.",
        "No subscriber found: GET /api/v2/subscribers?email__eq=d•••@mail.test; the first subscriber found "
        "is taken.",
        "No subscriber found: ends as a success, and nothing is remembered.",
        'If "vip" is on the subscriber\'s "Segment Audiences": PATCH /api/v2/subscribers/{id}, the list '
        "without its first one. In JavaScript 0 == false.",
        "POST /api/v2/events, Segment_Audience_Exited, whether or not the list has changed.",
    ]
    assert one_mapping(identify({"vip": True, "phone": "n/a"})).official == [
        "Fails with PAYLOAD_VALIDATION_FAILED (400), not retried: neither email nor phone is left.",
    ]


# --- what decided -------------------------------------------------------------------------------------------


@every(
    "integrations, delivered, why",
    [
        (MISSING, True, "names no integrations"),
        ({}, True, "names no integrations"),
        (None, True, "names no integrations"),
        ({"Postscript": False, "All": True}, False, '"Postscript" is false, whatever'),
        ({"Postscript": True, "All": False}, True, '"Postscript" is true, whatever'),
        ({"Postscript": {}}, True, "object of options"),
        ({"All": False}, False, '"All" is false'),
        ({"All": True}, True, 'either "Postscript" nor "All" is false'),
        ({"Postscript": None}, False, "is null, which has no documented"),
        ({"Postscript": "yes"}, False, "is a text, which has no documented"),
        ("none", False, "are a text, which has no documented"),
        ({"All": False, "Actions Postscript": True}, False, '"Actions Postscript" is not its name'),
        ({"postscript": False}, True, '"postscript" is not its name'),
    ],
)
def test_integrations(integrations, delivered, why):
    """The rule that decided is named, a misspelt name too."""
    changes = {} if integrations is MISSING else {"integrations": integrations}
    explanation = explain(identify({"vip": True}, **changes), DEFAULT)
    holds, sentence = decision(explanation, "integrations")
    assert holds is delivered
    assert why in sentence
    assert sentence.endswith("is delivered." if delivered else "is not delivered.")
    [mapping] = mappings_of(explanation)
    if not delivered:
        assert mapping.official == mapping.ours == ["Nothing, because the event is not delivered."]


@every(
    "consent, given, why",
    [
        (MISSING, True, "carries no consent preferences"),
        ({"categoryPreferences": {"ads": True, "sms": True}}, True, "Consent to ads, sms."),
        ({"categoryPreferences": {"ads": True}}, False, "No consent to sms; needed: ads, sms."),
        ({"categoryPreferences": []}, False, "No consent to ads, sms; "),
    ],
)
def test_consent(consent, given, why):
    """The categories that lack consent are named."""
    destination = Destination(mappings=DEFAULT.mappings, consent_categories=("ads", "sms"))
    context = {"personas": PERSONAS} | ({} if consent is MISSING else {"consent": consent})
    explanation = explain(identify({"vip": True}, context=context), destination)
    holds, sentence = decision(explanation, "consent")
    assert holds is given
    assert why in sentence
    assert [outcome.status for outcome in explanation.outcomes] == [None if given else "filtered_consent"]


def test_no_category_to_ask_for():
    """Without categories no consent is asked for."""
    assert "no consent category" in decision(explain({}, DEFAULT), "consent")[1]


def test_conditions():
    """Each condition is shown with what it found, and which of them decided."""
    destination = with_mapping('type = "track" and (traits.plan = null or traits.email = "a@b.test")')
    assert one_mapping(identify({"email": "dana@mail.test"}), destination).of("condition") == [
        ("condition", 'type = "track"', '"identify"', "fails, decides"),
        ("condition", "traits.plan = null", "null or missing", "holds"),
        ("condition", 'traits.email = "a•••@b.test"', "d•••@mail.test", "fails"),
    ]


@every(
    "text, dialect, here, there",
    [
        ("type = 'identify'", "strict", True, False),
        ("type = 'identify'", "official", False, False),
        ('!(type = "track")', "strict", True, False),
        ('!(type = "identify")', "strict", False, True),
        ('messageId = "m" or type = "identify"', "strict", True, True),
        ("(", "official", False, False),
    ],
)
def test_both_readings_of_a_trigger(text, dialect, here, there):
    """What fires here and what fires at Segment is shown apart, each with what it would do."""
    destination = with_mapping(text, dialect=dialect)
    mapping = one_mapping(identify({"vip": True, "email": EMAIL}), destination)
    assert (mapping.fires, mapping.fires_at_segment, mapping.in_effect) == (here, there, here)
    assert mapping.ours[0].startswith("Nothing, because the trigger") is not here
    assert mapping.official[0].startswith("Nothing, because the trigger") is not there
    assert any("see the lints" in difference for difference in mapping.differences) is (here is not there)
    assert mapping.of("lint")


# --- fields -------------------------------------------------------------------------------------------------


@every(
    "key, event, value, status, reason",
    [
        ("email", identify({"email": " a@b.test "}), "a•••@b.test", "filled", "From $.traits.email."),
        ("email", identify({"email": ""}), "", "absent", "$.traits.email gives a blank text"),
        ("email", identify({"email": None}), "", "absent", "$.context.traits.email gives nothing."),
        ("email", identify({"email": float("nan")}), "", "absent", "$.traits.email gives null."),
        ("email", identify({"email": {"a": 1}}), "an object with 1 key: a", "refused", "must be a text"),
        ("phone", identify({"phone": 14155550100}), "•••00", "filled", "a number, taken as a text."),
        ("phone", identify({"phone": ["x"]}), "•••", "filled", "From $.traits.phone: a list, taken as"),
        ("traits_or_props", identify({}), "an object without keys", "filled", "From $.traits."),
        (
            "traits_or_props",
            {},
            "",
            "missing",
            "Traits or properties object is missing. $.traits gives nothing.",
        ),
        ("traits_or_props", identify({}, properties=[]), "a list of 0", "refused", "From $.properties."),
        ("segment_audience_key", {}, "", "missing", "Audience Key is missing."),
        ("segment_audience_id", {}, "", "absent", "computation_id gives nothing."),
        (
            "segment_computation_action",
            identify({}, context={"personas": {"computation_class": "trait"}}),
            '"trait"',
            "refused",
            "must be one of: audience or journey_step. From $.context.personas.computation_class.",
        ),
    ],
)
def test_field(key, event, value, status, reason):
    """Each field has its value, whether that will do, and where it is from in this event."""
    *found, why = one_mapping(event).fields[LABELS[key]]
    assert found == [value, status]
    assert reason in why


@every(
    "rule, reason",
    [
        ("a@b.test", "From a fixed value."),
        ({"@template": "{{traits.x}}@b.test"}, "From @template."),
        ({"@path": "$.traits.x"}, "From $.traits.x."),
        ({"@path": {"@path": "$.traits.name"}}, "From @path."),
        ({"@if": {"exists": {"@path": "$.nope"}, "then": 1}}, "an @if without else gives nothing."),
        ({"@if": {"blank": {"@path": "$.traits.x"}, "then": {"@path": "$.traits.x"}}}, "From $.traits.x."),
        ({"@if": {"exists": 1, "then": {"@if": {"exists": 1, "then": "x"}}}}, "From a fixed value."),
    ],
)
def test_where_a_value_is_from(rule, reason):
    """Conditions are followed to the path that was taken; other directives are named."""
    destination = with_mapping(fields={"email": rule})
    mapping = one_mapping(identify({"x": "c", "name": "traits.x"}), destination)
    assert mapping.fields[LABELS["email"]][2] == reason


@every(
    "fields, count, reason",
    [
        ({"@path": "$.traits"}, 6, "the mapping as a whole gives nothing."),
        ({"@path": "$.userId"}, 0, ""),
        ({"email": {"@path": {"@path": "$.nope"}}}, 0, ""),
        ({}, 6, "a mapping without this field gives nothing."),
    ],
)
def test_mappings_without_fields(fields, count, reason):
    """A mapping that fails has no fields to show; its outcome says why."""
    mapping = ActionMapping(name="m", trigger=Trigger("type != null"), fields=Mapping(fields))
    found = one_mapping(identify({"vip": True}), Destination(mappings=(mapping,)))
    assert len(found.fields) == count
    assert found.of("outcome")[0][1] in ("invalid_payload", "not_an_audience_event")
    assert all(why.endswith(reason) for *_, why in found.fields.values())
    assert found.official[0].startswith("Fails with status 400")


# --- what we would do ---------------------------------------------------------------------------------------


@every(
    "event, ours, difference",
    [
        (
            identify({"vip": True, "phone": PHONE}),
            'Notes that user:u is in "vip", unless',
            "Segment posts Segment_Audience_Entered each time; here it is posted once",
        ),
        (
            identify({"vip": False, "email": EMAIL}),
            'is out of "vip"',
            "Segment posts Segment_Audience_Exited each",
        ),
        (
            identify({"vip": "true", "email": EMAIL}),
            "Changes nothing, because: The membership value is not true or false",
            '("true") is not true or false: Segment leaves the list and posts Segment_Audience_Entered',
        ),
        (
            identify({"vip": [], "email": EMAIL}),
            "The contacts are kept",
            "not true or false: Segment removes the audience and posts Segment_Audience_Entered",
        ),
        (
            identify({"email": EMAIL}),
            "Changes nothing, because: The event does not say",
            "(missing) is not true or false: Segment leaves the list and posts Segment_Audience_Exited",
        ),
        (identify({"vip": True}), "has no contact to look up", "Segment fails without a contact"),
        (
            identify({"vip": True, "phone": "(415) 555-0100"}),
            "Looks for the one subscriber with phone •••00; waits",
            "the digits as written; here for the whole international number",
        ),
        (
            identify({"vip": True, "phone": "n/a 5", "email": EMAIL}),
            "Phone: phone_not_a_number. Not a phone number.",
            "Segment looks for any digits; here a phone",
        ),
        (
            identify({"vip": True, "phone": PHONE, "email": "no email"}),
            "Email: email_invalid. Not the form",
            "Segment looks for any text; here an email",
        ),
        (
            identify({"vip": True, "phone": PHONE, "email": EMAIL}),
            "with phone •••23, else with email d•••@mail.test; waits",
            "each time",
        ),
        (
            identify({"vip": True}, userId=None),
            "Changes nothing, because: The event has no user id",
            "without a",
        ),
        (
            identify({}, context={}),
            "Changes nothing, because: The event was not computed",
            "a failed delivery",
        ),
    ],
)
def test_what_we_would_do(event, ours, difference):
    """The membership, the verdicts on the contacts and the write are stated, and where Segment differs."""
    mapping = one_mapping(event)
    assert ours in " ".join(mapping.ours)
    assert difference in " ".join(mapping.differences)


@every(
    "member, place, custom_event",
    [(True, "not on", "Segment_Audience_Entered"), (False, "on", "Segment_Audience_Exited")],
)
def test_what_we_would_write(member, place, custom_event):
    """The last step says when the list is written, and which custom event follows."""
    write = one_mapping(identify({"vip": member, "email": EMAIL})).ours[-1]
    assert write.startswith(f"If the audience is {place} the subscriber's")
    assert f"POST {custom_event} once" in write


def test_a_plain_event_differs_in_one_way():
    """Differences are listed only where there are any."""
    assert len(one_mapping(identify({"vip": True, "phone": PHONE})).differences) == 1


def test_region():
    """A phone without a country code is read in the region asked for; an unknown one is refused."""
    event = identify({"vip": True, "phone": "020 7946 0000"})
    assert "Phone: ok." in " ".join(one_mapping(event, default_region="GB").ours)
    assert "Phone: ok." not in " ".join(one_mapping(event, default_region="US").ours)
    with pytest.raises(ParameterError):
        explain(event, DEFAULT, default_region="XX")


@every(
    "key, value, ours",
    [
        ("ltv", 120.0, 'Notes that user:u has the "ltv" 120, unless'),
        ("ltv", None, "Changes nothing, because: The event carries no value of the trait"),
        ("ltv", 1.5, "Changes nothing, because: The trait's value is not"),
        ("segment audiences", "x", "Writes nothing: The trait is named like"),
    ],
)
def test_computed_traits(key, value, ours):
    """Traits are ours alone: Segment's destination has no action for them."""
    personas = {"computation_class": "computed_trait", "computation_key": key}
    event = identify({key: value, "email": EMAIL}, context={"personas": personas})
    mapping = one_mapping(event, with_mapping(action=SYNC_TRAITS))
    assert ours in " ".join(mapping.ours)
    assert mapping.official == ["Nothing, because Segment has no action Sync Traits."]
    assert mapping.differences == [
        "Segment's destination refuses computed traits; here they become properties."
    ]


# --- the table ----------------------------------------------------------------------------------------------


def test_table():
    """One row a decision, condition, field and step; what is not in effect says that it would be."""
    destination = Destination(
        mappings=(
            *DEFAULT.mappings,
            *with_mapping('type = "track"').mappings,
            *with_mapping('type = "identify"', enabled=False).mappings,
        )
    )
    event = identify({"vip": True, "email": EMAIL}, messageId="m1", timestamp="2025-03-04T10:15:00Z")
    table = explain(event, destination).table()
    assert tuple(table.columns) == STEP_COLUMNS
    assert set(table.dtypes) == {table.astype("str").dtypes["step"]}
    assert not table.isna().any().any()
    counts = table["step"].value_counts(sort=False).to_dict()
    assert counts == {
        "event": 5,
        "integrations": 1,
        "consent": 1,
        "mapping": 3,
        "trigger": 3,
        "condition": 4,
        "field": 6,
        "outcome": 1,
        "Segment would": 6,
        "we would": 6,
        "difference": 1,
        "field (would be)": 12,
        "outcome (would be)": 2,
    }
    facts = dict(zip(table["what"][:5], table["value"][:5], strict=True))
    assert facts == {
        "type": '"identify"',
        "name": "",
        "person": "user:u",
        "message": "m1",
        "time": "2025-03-04T10:15:00+00:00",
    }
    ours = table[table["step"] == "we would"]["meaning"].tolist()
    assert ours[-2:] == [
        "Nothing, because the trigger does not fire.",
        "Nothing, because the mapping is disabled.",
    ]


def test_lints_are_in_the_table():
    """Each slip has its place, and the corrected text stands once below them."""
    table = explain(identify({}), with_mapping("type = 'identify' and !(event = 'Paused')")).table()
    lints = table[table["step"] == "lint"]
    assert lints["what"].tolist() == ["single-quotes", "lost-negation", "single-quotes", "corrected"]
    assert lints["value"].tolist()[0::3] == ["character 8", 'type = "identify" and event != "Paused"']


def test_no_mapping_takes_the_event():
    """The event has one outcome of its own when no mapping is in effect."""
    explanation = explain({"type": "page"}, DEFAULT)
    (outcome,) = explanation.outcomes
    assert (outcome.status, outcome.reason_code) == ("no_matching_mapping", "NO_MATCHING_MAPPING")
    assert [step for step in explanation.table()["step"] if step.startswith("outcome")] == [
        "outcome",
        "outcome (would be)",
    ]


def test_values_are_frozen():
    """An explanation is a value."""
    explanation = explain({}, DEFAULT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.steps = ()
