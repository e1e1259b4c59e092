import copy
import json
import math
import pickle

from conftest import PROJECT
from tables import every

from toolkit.errors import TriggerError
from toolkit.segment.triggers import Trigger
from toolkit.segment.triggers.tree import And, Comparison, Failing, Function, Never, Not, Or

VECTORS = PROJECT / "tests" / "data" / "vectors"


def _lines(name):
    return [json.loads(line) for line in (VECTORS / name).read_text("utf-8").splitlines()]


def official(text):
    return Trigger(text, dialect="official")


def test_vectors():
    """Segment's own answer, misreadings included; a text it cannot use matches nothing and says why."""
    cases = _lines("fql.jsonl")
    assert len(cases) == 543
    for case in cases:
        trigger = official(case["fql"])
        unusable = isinstance(case["expect"], dict)
        assert trigger.matches(case["event"]) is (case["expect"] is True), case["id"]
        assert (trigger.error is not None) is (unusable and case["event"] is not None), case["id"]


def test_more_vectors():
    """Segment's answers to random texts: T and F, and E where it fails at this event."""
    cases = _lines("fql_more.jsonl")
    assert len(cases) == 2351
    events = cases[0]["events"]
    for case in cases[1:]:
        trigger = official(case["fql"])
        if case["expect"] == "unusable":
            assert trigger.error is not None, case["fql"]
            assert trigger.tree == Never()
        expected = case["expect"] if trigger.error is None else "F" * len(events)
        answers = "".join("T" if trigger.matches(event) else "F" for event in events)
        assert answers == expected.replace("E", "F"), case["fql"]


A, B, C = (Comparison(path=("event",), operator="=", value=name) for name in "ABC")


def on(path, operator, value):
    return Comparison(path=tuple(path.split(".")), operator=operator, value=value)


def check(name, text, path="event", *, negated=False):
    return Function(name=name, path=tuple(path.split(".")), text=text, negated=negated)


@every(
    "text, tree",
    [
        # joining
        ('event = "A" or event = "B" and event = "C"', And(parts=(A, B, C))),
        ('event = "A" and event = "B" or event = "C"', Or(parts=(A, B, C))),
        ('event = "A" event = "B"', And(parts=(A, B))),
        ('event = "A" OR event = "B"', And(parts=(A, B))),
        ('event = "A" or(event = "B")', And(parts=(A, B))),
        ('event = "A" or', A),
        ('(event = "A" or event = "B") and event = "C"', And(parts=(Or(parts=(A, B)), C))),
        ('event = "A") and event = "B"', And(parts=(A, B))),
        # parentheses and calls
        (
            'event = "A" or (contains(event, "x") and event = "B")',
            And(parts=(A, check("contains", "x"), B)),
        ),
        (
            'event = "A" or (event = "B" and contains(event, "x"))',
            Or(parts=(A, And(parts=(B, check("contains", "x"))))),
        ),
        ('event = "A" or ()', Or(parts=(A, Failing()))),
        ('event = "A" or () or event = "B"', Or(parts=(A, Failing(), B))),
        ('event = "A" and ()', And(parts=(A, Failing()))),
        # negation
        ('!(event = "A")', A),
        ('!event = "A"', A),
        ('not event = "A"', A),
        ('!contains(event, "x")', check("contains", "x", negated=True)),
        # patterns
        ('match(event, "A*")', check("starts_with", "A")),
        ('!match(event, "A*")', check("starts_with", "A", negated=True)),
        ('match(event, "*A")', check("ends_with", "A")),
        ('match(event, "abc")', check("ends_with", "bc")),
        ('match(event, "A*B")', check("ends_with", "*B")),
        ('match(event, "*A*")', check("starts_with", "*A")),
        ('match(event, "")', check("ends_with", "")),
        ("match(event, 'A*')", check("ends_with", "A*'")),
        ("match(event, 55)", check("ends_with", "5")),
        # values
        ("event = 'A'", on("event", "=", "'A'")),
        ("type = track", on("type", "=", "track")),
        ("type =", on("type", "=", "eos")),
        ("event = null", on("event", "=", "null")),
        ("name = null", on("name", "=", None)),
        ("name = true", on("name", "=", "true")),
        ("userId = true", on("userId", "=", True)),
        ("userId = 5.0", on("userId", "=", "5")),
        ("properties.x = 5.0", on("properties.x", "=", 5.0)),
        ("properties.x != false", on("properties.x", "!=", "false")),
        ("properties.x = 1e3", on("properties.x", "=", 1.0)),
        ("properties.x = -", Never()),
        ("properties.x != -", on("properties.x", ">=", -math.inf)),
        ('properties.x > "0x10"', on("properties.x", ">", 16.0)),
        ('properties.x > ""', on("properties.x", ">", 0.0)),
        ("properties.x > true", on("properties.x", ">", 1.0)),
        ("properties.x > null", Never()),
        ('properties.x > "2025-01-01"', Never()),
        ("properties.x >=5", Never()),
        ('event in ["A"]', Never()),
        ('event starts_with "A"', check("starts_with", "A")),
        # paths
        ("traits = 5", on("traits.traits", "=", 5.0)),
        ('event.name = "A"', A),
        (r"traits.a\.b = 5", on("traits.a.b", "=", 5.0)),
        (r"traits.a\[0\].b = 5", on("traits.a.0.b", "=", 5.0)),
        (r"traits.\2nd = 5", on("traits.2nd", "=", 5.0)),
        ('anonymousId = "x" and event = "A"', A),
        (r"traits\. = null", Not(part=Never())),
        (r"traits\. = 5", Never()),
        # the end of the text is lost after an "a" or "n"
        ("type = a!", on("type", "=", "a")),
        ("type = nul", on("type", "=", "n")),
        ("type = ab ", on("type", "=", "ab")),
        # a closing quote that something follows opens another text
        ('event = "A"and event = "B"', A),
    ],
)
def test_reading(text, tree):
    """Segment's reading of one text, as the tree both dialects share."""
    trigger = official(text)
    assert trigger.error is None
    assert trigger.tree == tree


@every(
    "text, message, position",
    [
        ("", "nothing here", 0),
        ("  \n", "nothing here", 0),
        ("foo", "no condition it knows", 0),
        ('anonymousId = "x"', "no condition it knows", 0),
        ('contains(type, "x")', "no condition it knows", 0),
        ("type", "ends inside a condition", 4),
        ("contains(event", "ends inside a condition", 14),
        ('(type = "x"', "never closed", 0),
        ('type = "x" and (event = "A" or (event = "B"))', "inside parentheses", 31),
        ("()", "Empty parentheses", 0),
        ('() or type = "x"', "Empty parentheses", 0),
        (r"properties\.\. = 5", "no key in this path", 0),
        ('type = "x', "never closed", 7),
        ('type ="x" && type ="y"', "unreadable", 10),
        ('type = "x"\nand event = $a', "unreadable", 23),
        ('event = "🎉" & 1', "unreadable", 12),
        ("traits.x<5", "needs a space", 8),
        ('type !="x"', "needs a space", 5),
        ('! contains(event, "x")', "right before", 0),
        ("traits.x = 1.2.3", "two points", 11),
        ("traits.x = 5.", "two points", 11),
        ("traits.x[0] = 5", "no [0]", 8),
        ("type = track\r\n", "carriage return", 12),
        ("traits.ü = 1", "unreadable", 7),
        (f'event = "{"A" * 100_000}"', "100,000 characters", 8),
        (f"traits.{'a' * 100_000} = 5", "100,000 characters", 7),
    ],
)
def test_unusable(text, message, position):
    """What Segment cannot use is no exception: it matches nothing, and the place is named."""
    trigger = official(text)
    assert isinstance(trigger.error, TriggerError)
    assert message in str(trigger.error)
    assert trigger.error.position == position
    assert not trigger.matches({"type": "x", "event": "x"})
    assert trigger.conditions({"type": "x"}) == ()


@every("given", [None, 5, b"type = 'a'", ["type"], {}, float("nan")])
def test_what_is_no_text(given):
    """Even that gives a trigger, which matches nothing."""
    trigger = official(given)
    assert not trigger.matches({"type": "a"})
    assert "not a text" in str(trigger.error)
    assert trigger == pickle.loads(pickle.dumps(trigger))
    assert hash(trigger) == hash(official(given))


@every("length", [99_999, 100_000])
def test_long_texts(length):
    """A text of 99,999 characters is the longest that Segment reads; an emoji counts twice."""
    fits = length < 100_000
    assert official(f'event = "{"A" * length}"').matches({"event": "A" * length}) is fits
    emoji = "🎉" * (length // 2) + "A" * (length % 2)
    assert official(f'event = "{emoji}"').matches({"event": emoji}) is fits


@every(
    "event, expected",
    [(None, False), ("x", True), (5, True), ([], True), ([{"type": "track"}], True), ({}, True)],
)
def test_events_that_are_no_objects(event, expected):
    """Segment takes them for empty events, except null; the strict dialect never matches them."""
    assert official('type != "track"').matches(event) is expected
    assert Trigger('type != "track"').matches(event) is (event == {})


def test_half_characters():
    """The first half of an emoji is dropped from a pattern, and the other is found in whole ones."""
    trigger = official('match(event, "🎉x")')
    assert trigger.matches({"event": "a🎉x"})
    assert trigger.matches({"event": "\udf89x"})
    assert not trigger.matches({"event": "ax"})
    assert official('contains(event, "\ud83c")').matches({"event": "🎉"})


def test_failing_groups():
    """A group that fails half way ends an 'or' there, unless a condition before it was false."""
    trigger = official(r'type = "a" or (event = "x" and traits\.\. = 1) or type = "b"')
    assert trigger.matches({"type": "a", "event": "x"})
    assert trigger.matches({"type": "b", "event": "y"})
    assert not trigger.matches({"type": "b", "event": "x"})
    conditions = trigger.conditions({"type": "b", "event": "x"})
    assert [condition.decided for condition in conditions] == [False, False, True, False]


def test_built_ins_of_javascript():
    """Every object has a toString at Segment: seen by tests for null, in whatever holds it."""
    assert official("properties.toString != null").matches({"properties": {}})
    assert official("properties.x.toString != null").matches({"properties": {"x": 5}})
    assert not official("properties.x.toString != null").matches({"properties": {}})
    assert official("properties.toString = null").matches({})
    assert official('toString = event = "x" and type = "a"').matches({"type": "a"})


@every(
    "text, number",
    [
        ("", 0),
        (" \t\n\v\f\r\u00a0\ufeff\u2028 7 ", 7),
        ("-7.50", -7.5),
        ("+.5", 0.5),
        ("5.", 5),
        ("1e3", 1000),
        ("1e999", math.inf),
        ("-Infinity", -math.inf),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b11", 3),
        (f"0x{'F' * 300}", math.inf),
        *(
            (text, None)
            for text in ("nan", "inf", "infinity", "1_0", "-0x1", "٣", "1 0", ".", "e3", "\x1c5", "\x855")
        ),
    ],
)
def test_numbers_in_quotes(text, number):
    """What is ordered against a text in quotes is the number JavaScript makes of it, or nothing at all."""
    tree = official(f'traits.x <= "{text}"').tree
    assert tree == (Never() if number is None else on("traits.x", "<=", number))


@every("dialect", ["strict", "official"])
def test_value(dialect):
    """A trigger is a value: equal by text and dialect, hashable, copied and pickled."""
    trigger, same = Trigger("type = 'a'", dialect=dialect), Trigger("type = 'a'", dialect=dialect)
    assert trigger == same == pickle.loads(pickle.dumps(trigger)) == copy.deepcopy(trigger)
    assert pickle.loads(pickle.dumps(trigger)).dialect == dialect
    assert trigger != Trigger("type='a'", dialect=dialect)
    assert len({trigger, same, Trigger("type = 'a'"), official("type = 'a'")}) == 2
    shown = "" if dialect == "strict" else ", dialect='official'"
    assert repr(trigger) == f"Trigger(\"type = 'a'\"{shown})"
