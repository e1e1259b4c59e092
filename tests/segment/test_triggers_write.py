import math

from tables import every

from toolkit.segment.triggers import Trigger
from toolkit.segment.triggers.tree import And, Comparison, Function, Never, Not, Or
from toolkit.segment.triggers.write import canonical, write_trigger

A, B, C, D = (Comparison(path=("event",), operator="=", value=name) for name in "ABCD")


def on(path, operator, value):
    return Comparison(path=tuple(path.split(".")), operator=operator, value=value)


def call(name, text, *, negated=False):
    return Function(name=name, path=("event",), text=text, negated=negated)


X, Y = call("contains", "x"), call("contains", "y")


@every(
    "tree, text",
    [
        (A, 'event = "A"'),
        (on("properties.x", "=", 5.0), "properties.x = 5"),
        (on("properties.x", ">=", -1.5), "properties.x >= -1.5"),
        (on("properties.x", "<", 1e22), "properties.x < 10000000000000000000000"),
        (on("properties.x", "<", 1e-7), "properties.x < 0.0000001"),
        (on("properties.x", "<", math.inf), f"properties.x < 1{'0' * 309}"),
        (on("properties.x", "=", True), "properties.x = true"),
        (on("properties.x", "!=", None), "properties.x != null"),
        (on("type", "=", "null"), 'type = "null"'),
        (on("traits.2nd", "=", ""), 'traits.\\2nd = ""'),
        (on("traits.two words", "=", ""), 'traits.two\\ words = ""'),
        (on("traits.items.0.or", "=", ""), 'traits.items.\\0.\\or = ""'),
        (on("traits.-é", "=", ""), 'traits.\\-\\é = ""'),
        (call("starts_with", "A"), 'match(event, "A*")'),
        (call("ends_with", "A", negated=True), '!match(event, "*A")'),
        (call("match", "*A*"), 'contains(event, "A")'),
        (call("match", "**"), 'match(event, "*")'),
        (call("match", "A*B"), 'match(event, "A*") and match(event, "*B")'),
        (call("match", "A*B", negated=True), '!match(event, "A*") or !match(event, "*B")'),
        (call("match", "A"), 'event = "A"'),
        (call("ends_with", ""), 'match(event, "*")'),
        (And(parts=(A, B, C)), 'event = "A" and event = "B" and event = "C"'),
        (And(parts=(A, And(parts=(B, C)))), 'event = "A" and event = "B" and event = "C"'),
        (Or(parts=(A, And(parts=(B, C)))), 'event = "A" or (event = "B" and event = "C")'),
        (Or(parts=(A, And(parts=(X, C)))), 'event = "A" or (event = "C" and contains(event, "x"))'),
        (
            Or(parts=(A, And(parts=(X, Y)))),
            '(event = "A" or contains(event, "x")) and (event = "A" or contains(event, "y"))',
        ),
        (
            And(parts=(A, Or(parts=(B, And(parts=(C, D)))))),
            'event = "A" and (event = "B" or event = "C") and (event = "B" or event = "D")',
        ),
        (Not(part=Or(parts=(A, Not(part=B)))), 'event != "A" and event = "B"'),
    ],
)
def test_written(tree, text):
    """A tree is written in words that Segment reads to the same meaning."""
    assert write_trigger(tree) == text
    assert canonical(Trigger(text, dialect="official").tree) == canonical(Trigger(text).tree)


@every(
    "tree",
    [
        Never(),
        Not(part=Never()),
        And(parts=()),
        Or(parts=(A, And(parts=()))),
        on("event", "=", 'say "hi"'),
        call("contains", 'say "hi"'),
        on("event", "=", None),
        on("type", "!=", None),
        on("event", "=", True),
        on("event", "=", 5.0),
        on("event", "<", "5"),
        on("properties.x", "!=", True),
        on("anonymousId", "=", "x"),
        on("properties", "=", None),
        on("properties.toString", "=", None),
        Comparison(path=("traits", "a.b"), operator="=", value="x"),
        Comparison(path=("traits", "a[0]"), operator="=", value="x"),
        Comparison(path=("traits", ""), operator="=", value="x"),
        Comparison(path=("traits", "🎉"), operator="=", value="x"),
        Function(name="contains", path=("type",), text="x", negated=False),
        call("match", "a*a"),
        call("ends_with", "A*"),
        Not(part=X),
        Not(part=on("properties.x", "=", 5.0)),
        And(parts=(Or(parts=(X, Y)), Or(parts=(A, And(parts=(X, Y)))))),
        on("event", "=", "A" * 100_000),
        Or(parts=(And(parts=(X, Y)),) * 40),
    ],
)
def test_what_cannot_be_written(tree):
    """Segment has no words for it: no text, and none that means something else."""
    assert write_trigger(tree) == ""
