import contextlib
import re

import pytest
from tables import every

from toolkit.errors import TriggerError
from toolkit.segment.triggers import Trigger
from toolkit.segment.triggers.lint import SENTENCES, lint_trigger
from toolkit.segment.triggers.tokens import MAX_FOUND
from toolkit.segment.triggers.write import canonical

CASES = [
    # text, codes with positions, corrected
    ("type = 'track'", "7 single-quotes", 'type = "track"'),
    ('name = \'a\' or name = "b" or name = "c"', "7 single-quotes", 'name = "a" or name = "b" or name = "c"'),
    ("type = track", "7 bare-word", 'type = "track"'),
    ("properties.x = TRUE", "15 bare-word", "properties.x = true"),
    (
        'type = "a" or event = "b" and name = "c"',
        "26 mixed-connectives",
        'type = "a" or (event = "b" and name = "c")',
    ),
    (
        'type = "a" and event = "b" or name = "c"',
        "27 mixed-connectives",
        '(type = "a" and event = "b") or name = "c"',
    ),
    (
        'type = "a" and (event = "b" or (name = "c" and userId = "d"))',
        "31 nested-parentheses",
        'type = "a" and (event = "b" or name = "c") and (event = "b" or userId = "d")',
    ),
    (
        'type = "a" or (contains(event, "x") and name = "b")',
        "14 call-in-group 36 mixed-connectives",
        'type = "a" or (name = "b" and contains(event, "x"))',
    ),
    ('!(type = "a" or event = "b")', "0 lost-negation", 'type != "a" and event != "b"'),
    ('!type = "a"', "0 lost-negation", 'type != "a"'),
    ('not type = "a"', "0 lost-negation", 'type != "a"'),
    ("!(properties.x = 5)", "0 lost-negation", ""),
    ('!(contains(event, "x"))', "0 lost-negation", ""),
    ('type = "a" OR event = "b"', "11 uppercase-word", 'type = "a" or event = "b"'),
    ('type = "a" && event = "b"', "11 odd-character 12 odd-character", 'type = "a" and event = "b"'),
    ('type == "a"', "5 odd-operator", 'type = "a"'),
    ('event in ["A", "B"]', "6 in-list", 'event = "A" or event = "B"'),
    ('type !="a"', "5 missing-space", 'type != "a"'),
    ("traits.x<5", "8 missing-space", "traits.x < 5"),
    ("traits.x >=5", "9 missing-space", "traits.x >= 5"),
    ('type = "a"or event = "b"', "10 missing-space", 'type = "a" or event = "b"'),
    ('type = "a" or(event = "b")', "11 missing-space", 'type = "a" or event = "b"'),
    ('! contains(event, "x")', "0 bang-space", '!contains(event, "x")'),
    ('type = "a"\r\nand event = "b"', "10 carriage-return", 'type = "a" and event = "b"'),
    ('type = "a" \r\nand event = "b"', "11 carriage-return", 'type = "a" and event = "b"'),
    ('match(event, "A")', "13 glob", 'event = "A"'),
    ('match(event, "*A*")', "13 glob", 'contains(event, "A")'),
    ('match(event, "Cart*ed")', "13 glob", 'match(event, "Cart*") and match(event, "*ed")'),
    ('match(event, "a*a")', "13 glob", ""),
    ('!match(event, "A")', "14 glob", 'match(event, "*") and event != "A"'),
    ('contains(type, "x") and event = "b"', "9 function-on-type", ""),
    ("contains(event, 5)", "0 odd-call", ""),
    ("length(event) > 3", "0 unknown-function 12 unfinished", ""),
    ('anonymousId = "x" or type = "a"', "0 not-portable-field", ""),
    ('integrations.All = false and type = "a"', "0 not-portable-field", ""),
    ('evnt = "x" or type = "a"', "0 skipped-field", ""),
    ('evnt = "x"', "0 skipped-field 0 nothing-left", ""),
    ("event = null", "8 null-as-text", ""),
    ('type = "a" and event != null', "24 null-as-text", ""),
    ('traits.day > "2025-01-01"', "13 order-of-texts", ""),
    ("traits.x = 1e3", "11 cut-number", "traits.x = 1000"),
    ("traits.x = 1e400", "11 cut-number", ""),
    ("traits.x = 5.", "11 odd-number", "traits.x = 5"),
    ("traits.x = -.5", "11 number-form", "traits.x = -0.5"),
    ("traits.x = 1.2.3", "11 odd-number", ""),
    ("traits.x = .5", "11 odd-value", "traits.x = 0.5"),
    ("traits.x =", "9 missing-value", ""),
    ("traits.x = na", "11 cut-word 11 bare-word", ""),
    ('event starts_with "A"', "6 internal-operator", 'match(event, "A*")'),
    ('event like "A"', "6 odd-operator", ""),
    ("event", "5 unfinished", ""),
    ('(type = "a"', "0 open-parenthesis", 'type = "a"'),
    ('type = "a")', "10 extra-parenthesis", 'type = "a"'),
    ('type = "a" or ()', "14 empty-parentheses", 'type = "a"'),
    ('type = "a" event = "b"', "11 missing-connective", 'type = "a" and event = "b"'),
    ('type = "a" and', "11 stray-connective", 'type = "a"'),
    ('type = "a" "b"', "11 ignored-text", ""),
    ('type.x = "a"', "0 ignored-suffix", ""),
    ("traits = null", "0 bare-object", ""),
    (r"traits.a\.b = 5", "7 dotted-key", ""),
    (r"traits\. = 5", "0 dotted-key 0 odd-path", ""),
    ("traits.a[0].b = 5", "8 list-index", r"traits.a.\0.b = 5"),
    (r"traits.a\[0\].b = 5", "7 list-index", r"traits.a.\0.b = 5"),
    ("traits.2nd = 5", "6 digit-segment 7 cut-number", r"traits.\2nd = 5"),
    ("traits.null = 5", "6 keyword-segment", r"traits.\null = 5"),
    ("traits.constructor = null", "0 built-in-name", ""),
    (r'event = "a\"b"', "8 escape-in-text 12 missing-space", ""),
    (r"event = 'it\'s'", "8 single-quotes 8 escape-in-text 13 missing-space", 'event = "it\'s"'),
    (r"event = 'a\\\\b'", "8 single-quotes 8 escape-in-text", ""),
    ('event = "a', "8 open-quote", 'event = "a"'),
    ('event = "a and type = 5', "8 open-quote", ""),
    ("event = \"a and type = 'track'", "8 open-quote", ""),
    ('(type = "a" or type = "b" and event = "x"', "0 open-parenthesis", ""),
    ('!(type = "a" and event = "x"', "0 lost-negation 1 open-parenthesis", ""),
    ('(type = "a" or type = "b"', "0 open-parenthesis", 'type = "a" or type = "b"'),
    (r'event = "a\\b"', "8 escape-in-text", r'event = "a\b"'),
    ('traits.$x = "b"', "7 odd-character", r'traits.\$x = "b"'),
    (f'event = "{"A" * 100_000}"', "8 too-long", ""),
    ("(" * 50_001, "50000 too-big", ""),
    ("", "0 empty", ""),
    (None, "0 not-a-text", ""),
    (r"traits.x = \true", "11 reads-differently", "traits.x = true"),
]


def _shown(text):
    return " ".join(f"{lint.position} {lint.code}" for lint in lint_trigger(text))


@every("text, reported, corrected", CASES)
def test_lints(text, reported, corrected):
    """Each misreading is named at its place, with the corrected text where Segment has words for it."""
    assert _shown(text) == reported
    assert {lint.corrected for lint in lint_trigger(text)} <= {corrected}


def test_every_code_has_a_case():
    """No sentence is there that nothing leads to, and each says what to do."""
    shown = {code for _, found, _ in CASES for code in found.split()[1::2]}
    assert shown == set(SENTENCES)
    for sentence in SENTENCES.values():
        assert re.fullmatch(r"[A-Z'].{30,}[^.]", sentence)


@every("corrected", sorted({case[2] for case in CASES} - {""}))
def test_corrected_texts_are_read_alike(corrected):
    """Both dialects read a corrected text to the same meaning, and nothing more is reported."""
    strict, official = Trigger(corrected), Trigger(corrected, dialect="official")
    assert canonical(strict.tree) == canonical(official.tree)
    assert lint_trigger(corrected) == ()


@every(
    "text",
    [
        'type = "identify" or type = "track"',
        'type = "track" and (event = "A" or event = "B")',
        '(type = "a" or contains(event, "x"))',
        'type="a"and type="b"'.replace('"and', '" and'),
        'match(event, "A*") and !match(name, "*B") and !contains(userId, "C")',
        "properties.x > 5 and properties.y <= -1.5 and traits.z != null and traits.v = true",
        'context.personas.computation_class = "audience"\n\tand userId != null',
        r"properties.two\ words = 5 and traits.\2nd = 5",
        "properties.x > '5'".replace("'", '"'),
        "event = 5 and userId = 5.0 and name = null and properties.x != true",
    ],
)
def test_nothing_to_report(text):
    """Where both readings mean the same there is no lint."""
    assert lint_trigger(text) == ()


def test_at_most_a_hundred():
    """Of a thousand mistakes the first hundred are reported."""
    lints = lint_trigger(" and ".join(["type = 'a'"] * 1000))
    assert len(lints) == MAX_FOUND
    assert lints[1].position == len("type = 'a' and type = ")
    assert lints[0].corrected.count('type = "a"') == 1000


HOSTILE = {
    "one pair of quotes": lambda size: 'event = "' + "A" * size + '"',
    "ten thousand parentheses": lambda _size: "(" * 10_000,
    "parentheses": lambda size: "(" * size,
    "conditions": lambda size: " or ".join(['type = "a"'] * (size // 10)),
    "and, or by turns": lambda size: (
        " ".join(f'type = "a" {word}' for word in ("and", "or") * (size // 200)) + ' type = "b"'
    ),
    "many nested groups": lambda size: " or ".join(
        ['(type = "a" and (event = "b" or name = "c"))'] * (size // 500)
    ),
    "groups of calls": lambda size: " and ".join(
        ['(contains(event, "x") or contains(name, "y"))'] * (size // 500)
    ),
    "bangs": lambda size: "!" * size,
    "double quotes": lambda size: '"' * size,
    "single quotes": lambda size: "'" * size,
    "escaped quotes": lambda size: 'event = "' + '\\"' * (size // 2),
    "backslashes": lambda size: "\\" * (size + 1),
    "dots": lambda size: "traits" + ".a" * (size // 2) + " = 1",
    "short path of digits": lambda size: "traits" + ".1" * (size // 50) + " = 1",
    "digits": lambda size: "traits.x = " + "1" * size,
    "ampersands": lambda size: "&" * size,
    "emoji": lambda size: "🎉" * (size // 4),
    "half characters": lambda size: 'event = "' + "\ud83d" * (size // 2) + '" \ud83d',
    "lists never closed": lambda size: 'type in ["a","a" ' * (size // 20),
    "failing groups": lambda size: " or ".join([r"(type = a and traits\.\. = 1)"] * (size // 300)),
    "empty groups": lambda size: 'type = "a" or ' + " or ".join(["()"] * (size // 100)),
    "stars": lambda _size: f'match(event, "{"a*" * 49_000}")',
    "two halves of stars": lambda _size: f'match(event, "{"a" * 49_000}*{"a" * 49_000}")',
    "nested a hundred deep": lambda _size: (
        "(" * 100 + "type = a or type = b and type = c" + " and type = d)" * 100
    ),
    "spaces": lambda size: " " * size,
}
"""Name → a function of its size in characters; some are larger where their parts are, some have one size."""


@pytest.mark.parametrize(
    "size", [8_000, *(pytest.param(size, marks=pytest.mark.slow) for size in (60_000, 1_000_000))]
)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts(name, size):
    """Whatever is thrown at them, both readings and the linter come back: with a result or a TriggerError."""
    text = HOSTILE[name](size)
    official = Trigger(text, dialect="official")
    event = {"type": "a", "event": "A" * 1000}
    assert official.matches(event) in (True, False)
    assert official.error is None or not official.matches(event)
    with contextlib.suppress(TriggerError):
        assert Trigger(text).matches(event) in (True, False)
    lints = lint_trigger(text)
    assert len(lints) <= MAX_FOUND
    assert all(0 <= lint.position <= len(text) for lint in lints)
