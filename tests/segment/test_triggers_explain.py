from tables import every

from toolkit.segment.triggers import Trigger

EVENT = {"type": "track", "event": "Cart", "properties": {"n": 5, "list": ["x"]}, "traits": None}


def _shown(text, event=EVENT, dialect="strict"):
    """Return the conditions as words: + or - for held or not, a star for those that decided."""
    return [
        f"{'+' if c.holds else '-'}{'*' if c.decided else ''} {c.text}"
        for c in Trigger(text, dialect=dialect).conditions(event)
    ]


@every(
    "text, shown",
    [
        ("type = 'track'", ['+* type = "track"']),
        ("type = 'track' and event = 'Cart'", ['+* type = "track"', '+* event = "Cart"']),
        ("type = 'page' or event = 'Sale'", ['-* type = "page"', '-* event = "Sale"']),
        (
            "type = 'track' and event = 'Sale' and event = 'Sold'",
            ['+ type = "track"', '-* event = "Sale"', '- event = "Sold"'],
        ),
        (
            "type = 'page' or event = 'Cart' or type = 'track'",
            ['- type = "page"', '+* event = "Cart"', '+ type = "track"'],
        ),
        (
            "type = 'track' and (event = 'Sale' or properties.n > 7)",
            ['+ type = "track"', '-* event = "Sale"', "-* properties.n > 7"],
        ),
        (
            "(type = 'track' and event = 'Sale') or (type = 'track' and event = 'Cart')",
            ['+ type = "track"', '- event = "Sale"', '+* type = "track"', '+* event = "Cart"'],
        ),
        ("!(type = 'page' or event = 'Cart')", ['+ type != "page"', '-* event != "Cart"']),
        ("!(properties.n = 5)", ["-* !(properties.n = 5)"]),
        ("!!match(event, 'C*')", ['+* match(event, "C*")']),
        ("!contains(event, 'C')", ['-* !contains(event, "C")']),
        ("!(contains(event, 'C'))", ['-* !(contains(event, "C"))']),
        (
            r"properties.list[0] = 'x' and traits.a\.b = null",
            ['+* properties.list[0] = "x"', r"+* traits.a\.b = null"],
        ),
        (r"event = 'say \"hi\"'", [r'-* event = "say \"hi\""']),
        ("properties.x != true", ['+* properties.x != "true"']),
    ],
)
def test_conditions(text, shown):
    """Each condition in order, whether it held, and whether the outcome hangs on it."""
    assert _shown(text) == shown


def test_official_conditions_are_shown_as_segment_reads_them():
    """Not as they are written: quotes are part of the text, a negation is gone, a list is never true."""
    text = "!(type = 'track') or event in [1] or match(event, \"ab\")"
    shown = ["-* type = \"'track'\"", "-* (never true)", '-* match(event, "*b")']
    assert _shown(text, dialect="official") == shown
    assert _shown("traits\\. = null", dialect="official") == ["+* !((never true))"]


def test_values_are_what_was_found():
    """Raw, None for missing, and nothing for a condition that looks nowhere."""
    text = 'properties.list = "x" and properties.n = 5 and userId = "u" and event in [1]'
    conditions = Trigger(text, dialect="official").conditions(EVENT)
    assert [condition.value for condition in conditions] == [["x"], 5, None, None]
    assert [condition.path for condition in conditions] == [
        ("properties", "list"),
        ("properties", "n"),
        ("userId",),
        (),
    ]
    assert conditions[0].value is EVENT["properties"]["list"]


@every("event", [None, "x", [], 5])
def test_no_conditions_without_an_event(event):
    """What is no object has no conditions to show, and neither has a text that cannot be used."""
    assert Trigger("type = 'a'").conditions(event) == ()
    assert Trigger("", dialect="official").conditions(EVENT) == ()


def test_eight_thousand_conditions():
    """A long list is explained at once."""
    conditions = Trigger(" or ".join(f"properties.n = {n}" for n in range(8_000))).conditions(EVENT)
    assert [place for place, condition in enumerate(conditions) if condition.decided] == [5]


def test_deep_and_odd_events():
    """Ten thousand levels, NaN, half characters and huge numbers are values like any other."""
    deep = {}
    for _ in range(10_000):
        deep = {"a": deep, "b": [deep]}
    event = {"type": "\ud83d", "properties": deep, "traits": {"x": float("nan"), "y": 10**5000}}
    for text in (
        "properties.a.a.a.b[0].x = 5",
        "traits.x > 5",
        "traits.y > 5",
        'contains(type, "a")',
        "type = 'x'",
    ):
        conditions = Trigger(text).conditions(event)
        assert conditions[0].holds is Trigger(text).matches(event) is (text == "traits.y > 5")
        assert conditions[0].decided
