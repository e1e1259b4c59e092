import contextlib

from hypothesis import strategies as st
from tables import examples

from toolkit.errors import TriggerError
from toolkit.segment.triggers import Trigger, explain_tree
from toolkit.segment.triggers.lint import lint_trigger
from toolkit.segment.triggers.tree import And, Comparison, Function, Never, Not, Or, predicate
from toolkit.segment.triggers.write import canonical, condition_text, negation_normal_form, write_trigger

texts = st.sampled_from(
    ["", "A", "AB", "xA", "5", "null", "true", "eos", "'A'", 'a"b', "a\\b", "é🎉", "\ud83d"]
)
numbers = st.sampled_from([0.0, 5.0, -1.5, 1e300, float("inf")])
scalars = st.one_of(texts, numbers, st.sampled_from([None, True, False, 0, 5, 10**400, float("nan")]))
keys = st.sampled_from(["x", "y", "0", "length", "or", "2nd", "a b", "toString"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)
objects = st.one_of(st.dictionaries(keys, values, max_size=4), values)
events = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("type", "event", "name", "userId", "anonymousId"), scalars),
        **dict.fromkeys(("properties", "traits", "context"), objects),
    },
)

fields = st.sampled_from(["type", "event", "name", "userId", "anonymousId"])
paths = st.one_of(
    fields.map(lambda field: (field,)),
    st.tuples(st.sampled_from(["properties", "traits", "context"]), keys),
    st.tuples(st.just("properties"), keys, keys),
)
comparisons = st.one_of(
    st.builds(
        lambda path, operator, value: Comparison(path=path, operator=operator, value=value),
        paths,
        st.sampled_from(["=", "!="]),
        st.one_of(texts, numbers, st.sampled_from([None, True, False])),
    ),
    st.builds(
        lambda path, operator, value: Comparison(path=path, operator=operator, value=value),
        paths,
        st.sampled_from(["<", "<=", ">", ">="]),
        numbers,
    ),
)
functions = st.builds(
    lambda name, path, text, negated: Function(name=name, path=path, text=text, negated=negated),
    st.sampled_from(["contains", "match", "starts_with", "ends_with"]),
    paths,
    st.one_of(texts, st.sampled_from(["A*", "*A", "*A*", "A*B", "A*A", "**", "*"])),
    st.booleans(),
)
leaves = st.one_of(comparisons, functions)


def lists_of(parts):
    return st.one_of(
        st.builds(lambda inner: And(parts=tuple(inner)), st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda inner: Or(parts=tuple(inner)), st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda inner: Not(part=inner), parts),
    )


trees = st.recursive(leaves, lists_of, max_leaves=8)


def strict_text(node):
    """Write a tree in full parentheses."""
    if isinstance(node, Not):
        return f"!({strict_text(node.part)})"
    if isinstance(node, And | Or):
        word = " and " if isinstance(node, And) else " or "
        return word.join(f"({strict_text(part)})" for part in node.parts)
    return condition_text(node)


WORDS = (
    *(
        "type",
        "event",
        "properties",
        "traits.x",
        ".",
        "x",
        "and",
        "or",
        "AND",
        "not",
        "null",
        "true",
        "an",
        "nu",
    ),
    *(
        "=",
        "!=",
        "<",
        ">=",
        "!",
        "(",
        ")",
        "[",
        "]",
        ",",
        '"A"',
        "'A'",
        '"',
        "'",
        "5",
        "-",
        "1.5",
        "5.",
        "in",
    ),
    *("contains(", "match(", '"A*"', "\\", "é", "🎉", "\r", "\n", "&", "\ud83d", "toString", "contains"),
)
CONDITIONS = (
    *('type = "a"', "event = 'A'", "properties.x >= 5", 'traits.x !="A"', 'contains(event, "A")'),
    *('match(event, "A")', '!match(name, "A*")', "event = null", "properties.x = null", "userId = 5"),
    *("name = track", "anonymousId = 'x'"),
)
words, conditions = st.sampled_from(WORDS), st.sampled_from(CONDITIONS)
scraps = st.lists(st.tuples(words, st.sampled_from([" ", " ", ""])).map("".join), max_size=12).map("".join)
joined = st.lists(
    st.tuples(
        st.sampled_from(["", "", "", "!", "(", "!(", "not "]),
        conditions,
        st.sampled_from(["", "", "", ")", ") "]),
        st.sampled_from([" and ", " or ", " OR ", " ", ""]),
    ).map("".join),
    max_size=5,
).map("".join)
anything = st.one_of(scraps, joined, trees.map(strict_text))


def strictly(text):
    """Return the strict reading, None for a text that it refuses at a place within it."""
    try:
        return Trigger(text)
    except TriggerError as error:
        position = error.position
    assert 0 <= position <= len(text)
    return None


@examples(50, 150, anything, events)
def test_both_dialects_come_back(text, event):
    """Any text is a trigger or a TriggerError within the text; officially, always a trigger."""
    official = Trigger(text, dialect="official")
    assert official.matches(event) in (True, False)
    assert official.error is None or official.tree == Never()
    if official.error is not None:
        assert 0 <= official.error.position <= len(text)
    strict = strictly(text)
    assert strict is None or strict.matches(event) in (True, False)


@examples(50, 150, trees, trees, events)
def test_combined_conditions_answer_as_their_parts(left, right, event):
    """Conditions joined by either word, or negated, answer the same as their parts."""
    left, right = strict_text(left), strict_text(right)
    with contextlib.suppress(TriggerError):  # a tree may hold what the strict language has no words for
        one, two = Trigger(left).matches(event), Trigger(right).matches(event)
        assert Trigger(f"({left}) and ({right})").matches(event) is (one and two)
        assert Trigger(f"({left}) or ({right})").matches(event) is (one or two)
        assert Trigger(f"!(({left}) or ({right}))").matches(event) is (not (one or two))


@examples(60, 250, anything, events)
def test_no_lint_means_same_answers(text, event):
    """Where the linter is silent, both dialects read the text and give the same answer to any event."""
    lints = lint_trigger(text)
    strict, official = strictly(text), Trigger(text, dialect="official")
    if not lints:
        assert strict is not None
        assert official.error is None
        assert strict.matches(event) is official.matches(event)
    elif strict is not None:
        assert canonical(strict.tree) != canonical(official.tree)


@examples(60, 250, anything, events)
def test_corrected_texts_mean_what_was_written(text, event):
    """A corrected text has no lints, and means to Segment what the written one means strictly."""
    for corrected in {lint.corrected for lint in lint_trigger(text)} - {""}:
        assert lint_trigger(corrected) == ()
        strict = strictly(text)
        if strict is not None:
            assert Trigger(corrected, dialect="official").matches(event) is strict.matches(event)


@examples(60, 250, trees, events)
def test_written_trees_read_back(tree, event):
    """Segment reads what is written to a tree of the same meaning, or nothing is written."""
    if text := write_trigger(tree):
        again = Trigger(text, dialect="official")
        assert again.error is None
        assert again.matches(event) is predicate(tree)(event)
        assert write_trigger(again.tree) == text


sayable = st.builds(
    lambda path, operator, value: Comparison(path=path, operator=operator, value=value),
    st.tuples(
        st.sampled_from(["properties", "traits", "context"]), st.sampled_from(["x", "0", "or", "2nd", "a b"])
    ),
    st.sampled_from(["=", "!="]),
    st.sampled_from(["", "A", "null", "a\\b", "é🎉", None, 5.0, -1.5, 1e-300]),
)


@examples(50, 150, st.lists(st.lists(sayable, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_lists_of_groups_come_back_the_same(groups, all_of):
    """One level of parentheses is written as it stands, and read back to the very same tree."""
    outer, inner = (And, Or) if all_of else (Or, And)
    tree = outer(parts=tuple(inner(parts=tuple(group)) for group in groups))
    for dialect in ("official", "strict"):
        assert canonical(Trigger(write_trigger(tree), dialect=dialect).tree) == canonical(tree)


@examples(50, 150, trees, events)
def test_canonical_form_keeps_the_meaning(tree, event):
    """Moving negations in and taking patterns apart changes no answer, and doing it again changes nothing."""
    plain = canonical(tree)
    assert predicate(plain)(event) is predicate(tree)(event)
    assert canonical(plain) == plain


@examples(50, 150, trees, events, st.randoms(use_true_random=False))
def test_only_what_decided_matters(tree, event, chance):
    """Whatever the other conditions had been, the outcome would be the same."""
    _, found = explain_tree(negation_normal_form(tree), event)
    assert any(condition.decided for condition in found)
    outcomes = iter([c.holds if c.decided else chance.random() < 0.5 for c in found])
    changed = _with_outcomes(negation_normal_form(tree), outcomes)
    assert next(outcomes, None) is None
    assert predicate(changed)(event) is predicate(tree)(event)


def _with_outcomes(node, outcomes):
    """Return the tree with each condition replaced by a constant."""
    if isinstance(node, And | Or):
        return type(node)(parts=tuple(_with_outcomes(part, outcomes) for part in node.parts))
    return Not(part=Never()) if next(outcomes) else Never()
