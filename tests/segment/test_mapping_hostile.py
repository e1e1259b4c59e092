import copy
import itertools
import json
import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import every, examples

from toolkit.errors import MappingError
from toolkit.segment.mapping import MISSING, Mapping, check_mapping


def nested(part, levels, wrap):
    for _ in range(levels):
        part = wrap(part)
    return part


LISTS = nested([], 10_000, lambda part: [part])
OBJECTS = nested({"k": None}, 10_000, lambda part: {"k": part})
BIG = "x" * 1_000_000
EVENT = {
    "lists": LISTS,
    "objects": OBJECTS,
    "big": BIG,
    "emoji": "\U0001f389" * 250_000,
    "braces": "{" * 1_000_000,
    "brackets": "[" * 500_000 + "]" * 500_000,
    "placeholders": "{{big}}" * 100_000,
    "dots": "a." * 500_000,
    "halves": "\ud83c x \udf89" * 10_000,
    "keys": {f"k{i}": i for i in range(10_000)},
    "indexes": {str(i): None for i in range(10_000, 0, -1)},
    "items": [{"i": i} for i in range(10_000)],
    "odd": [math.nan, math.inf, -math.inf, 10**5000, -0.0],
}
DIRECTIVES = {
    "@path": lambda v: v,
    "@path of it": lambda v: {"@path": v},
    "@template": lambda v: {"@template": f"{{{{{v['@path']}}}}}{{{{{{{v['@path']}}}}}}}"},
    "@template of it": lambda v: {"@template": v},
    "@if": lambda v: {"@if": {"blank": v, "then": v, "else": "blank"}},
    "@case": lambda v: {"@case": {"operator": "upper", "value": v}},
    "@replace": lambda v: {
        "@replace": {"value": v, "pattern": "x", "replacement": "$`$'$&", "ignorecase": True}
    },
    "@arrayPath": lambda v: {"@arrayPath": [v, {"v": {"@path": ""}, "w": [{"@path": "gone"}]}]},
    "@merge": lambda v: {"@merge": {"objects": [{"z": {"@path": "gone"}}, v], "direction": "left"}},
    "@transform": lambda v: {
        "@transform": {"apply": {"a": [v, {"@path": "gone"}]}, "mapping": {"@path": "a"}}
    },
    "@flatten": lambda v: {"@flatten": {"value": v, "separator": "."}},
    "@json encode": lambda v: {"@json": {"mode": "encode", "value": v}},
    "@json decode": lambda v: {"@json": {"mode": "decode", "value": v}},
    "@excludeWhenNull": lambda v: {"@excludeWhenNull": v},
    "@liquid": lambda v: {
        "@liquid": "{{ X }}{{ X | json }}{{ X | join }}{{ X | size }}{% if X == X %}{{ X | date }}"
        "{% endif %}{{ X | compact | size }}{{ X | strip_html | squish }}{{ X | split: '' }}".replace(
            "X", v["@path"]
        )
    },
}


def _turn(case):
    """Put every directive with one key before every directive with the next."""
    directive, key = case
    return ([*EVENT].index(key) - [*DIRECTIVES].index(directive)) % len(EVENT)


@every("directive, key", sorted(itertools.product(DIRECTIVES, EVENT), key=_turn), quick=2 * len(DIRECTIVES))
def test_huge_events(directive, key):
    """Depth, length and width of an event lead to a value or a documented error, never to another one."""
    mapping = Mapping({"out": DIRECTIVES[directive]({"@path": key})})
    try:
        result = mapping.resolve(EVENT)
    except MappingError as error:
        result = str(error)
    assert isinstance(result, dict) or result.startswith("/out/@")


@pytest.mark.parametrize(
    "mapping",
    [
        {"@template": "{{big}}" * 5000},
        {"@template": {"@path": "placeholders"}},
        [{"@template": "{{big}}"}] * 1000,
        [{"@case": {"operator": "lower", "value": {"@path": "big"}}}] * 1000,
        [{"@replace": {"value": {"@path": "big"}, "pattern": "y"}}] * 1000,
        [{"@json": {"mode": "encode", "value": {"@path": "keys"}}}] * 1000,
        [{"@json": {"mode": "decode", "value": {"@path": "big"}}}] * 1000,
        [{"@flatten": {"value": {"@path": "keys"}, "separator": "."}}] * 1000,
        [{"@merge": {"objects": [{"@path": "keys"}], "direction": "left"}}] * 1000,
        [{"@excludeWhenNull": {"@path": "keys"}}] * 1000,
        [{"@arrayPath": ["items", {"@path": "i"}]}] * 1000,
        [{"@transform": {"apply": {"a": [{"@path": "keys"}]}, "mapping": {"@path": "a"}}}] * 1000,
        [{"@liquid": "{{ keys | json }}"}] * 100,
        [{"@liquid": "{% if items == items %}{% endif %}"}] * 100,
        {"@replace": {"value": {"@path": "big"}, "pattern": "x", "replacement": "$`$`$`$`$`"}},
    ],
    ids=lambda mapping: json.dumps(mapping)[:60],
)
def test_output_is_limited(mapping, monkeypatch):
    """However often a mapping builds something large, together it stays below a limit."""
    monkeypatch.setattr("toolkit.segment.mapping.tree.MAX_OUTPUT", 2_000_000)
    with pytest.raises(MappingError, match="build over 2,000,000 characters"):
        Mapping(mapping).resolve(EVENT)


def test_the_limit_starts_anew():
    """What one event used up is there for the next one."""
    mapping = Mapping([{"@template": "{{big}}"}] * 15)
    assert [len(text) for text in mapping.resolve(EVENT)] == [1_000_000] * 15
    assert mapping.resolve(EVENT) == [BIG] * 15


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ([1] * 10_001, "more than 10,000 values"),
        ([{"@liquid": "x"}] * 100, "more than 10,000 values"),
        (nested("x", 90, lambda part: [part, part]), "more than 10,000 values"),
        (
            nested({"@path": "x"}, 40, lambda part: {"@if": {"exists": part, "then": part}}),
            "more than 10,000 values",
        ),
        (nested("x", 101, lambda part: {"@literal": part}), "nested deeper than 100 levels"),
        (nested("x", 100_000, lambda part: {"_metadata": part}), "nested deeper than 100 levels"),
    ],
    ids=["values", "templates", "shared", "shared branches", "depth", "metadata"],
)
def test_huge_mappings(mapping, problem, monkeypatch):
    """A mapping is refused when it holds too much, however it is written."""
    monkeypatch.setattr("toolkit.segment.mapping.parse.MAX_NODES", 10_000)
    with pytest.raises(MappingError, match=problem):
        Mapping(mapping)


def test_large_mappings():
    """Twenty thousand directives, and ninety levels, are a mapping like any other."""
    paths = {f"k{i}": {"@path": f"$.keys.k{i % 10_000}"} for i in range(20_000)}
    result = Mapping(nested(paths, 90, lambda part: {"@literal": part})).resolve(EVENT)
    assert result["k19999"] == 9999
    assert len(check_mapping([{"@nope": 1}] * 10_000)) == 10_000
    ignored = nested({}, 100_000, lambda part: {"_metadata": part, "@path": 5})
    assert Mapping({"_metadata": ignored, "@path": "keys.k1"}).resolve(EVENT) == 1


def test_a_mapping_within_itself(monkeypatch):
    """A value that holds itself is too deep, not endless."""
    monkeypatch.setattr("toolkit.segment.mapping.parse.MAX_NODES", 10_000)
    loop: list = []
    loop += [loop, {"again": loop}]
    assert any("deeper than" in str(problem) for problem in check_mapping(loop))


# --- properties

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["", "a", "b.c", "$.a[0]", "{{a}}{{{b}}}", "encode", "left", "{{ a | json }}", "\ud800"]
    )
    | st.text(max_size=6)
)
KEYS = st.sampled_from(["a", "b", "0", "1", ""]) | st.text(max_size=3)
EVENTS = st.dictionaries(
    KEYS,
    st.recursive(SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3)),
    max_size=4,
)


def _directives(part):
    """Directives with arguments of the right form, and of any."""
    argument = st.fixed_dictionaries(
        {},
        optional={
            "exists": part,
            "blank": part,
            "then": part,
            "else": part,
            "value": part,
            "pattern": st.sampled_from(["a", ".", ""]) | part,
            "replacement": st.sampled_from(["$&", "b"]) | part,
            "operator": st.sampled_from(["lower", "upper"]),
            "mode": st.sampled_from(["encode", "decode"]),
            "objects": st.lists(part, max_size=3),
            "direction": st.sampled_from(["left", "right"]),
            "apply": part,
            "mapping": part,
            "separator": st.just("."),
        },
    )
    names = ["@if", "@case", "@replace", "@merge", "@transform", "@flatten", "@json", "@nope"]
    return (
        st.builds(lambda name, value: {name: value}, st.sampled_from(names), argument)
        | st.builds(lambda value: {"@arrayPath": value}, st.lists(part, max_size=3))
        | st.builds(
            lambda name, value: {name: value},
            st.sampled_from(["@path", "@template", "@literal", "@excludeWhenNull", "@liquid"]),
            part,
        )
    )


MAPPINGS = st.recursive(
    SCALARS | st.builds(lambda path: {"@path": path}, st.sampled_from(["a", "$.b.a", "", "a[0]", "a.b.c.d"])),
    lambda part: _directives(part) | st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3),
    max_leaves=8,
)


def _has_missing(value):
    if isinstance(value, dict):
        return any(map(_has_missing, value.values()))
    return any(map(_has_missing, value)) if isinstance(value, list) else value is MISSING


def outcome(mapping, event):
    """The result, or the error's text."""
    try:
        return mapping.resolve(event)
    except MappingError as error:
        return str(error)


@examples(60, 500, mapping=MAPPINGS, event=EVENTS)
def test_whatever_comes(mapping, event):
    """A mapping is refused or resolves to JSON, MISSING or an error: the same each time, changing nothing."""
    before = repr((mapping, event))
    problems = check_mapping(mapping)
    if problems:
        with pytest.raises(MappingError):
            Mapping(mapping)
        return
    made = Mapping(mapping)
    result = outcome(made, event)
    assert repr(result) == repr(outcome(made, copy.deepcopy(event)))
    assert repr(result) == repr(outcome(pickle.loads(pickle.dumps(made)), event))
    assert result is MISSING or not _has_missing(result)
    assert repr((mapping, event)) == before


WORDS = ["{{", "}}", "{%", "%}", *"ab.|:,'\"[]()1", "if", "endif", "=="]


@settings(max_examples=100)
@given(template=st.lists(st.sampled_from(WORDS), max_size=25))
def test_any_text_as_a_template(template):
    """Any text is a template or is refused with a reason."""
    mapping = {"@liquid": " ".join(template)}
    if check_mapping(mapping):
        return
    assert isinstance(outcome(Mapping(mapping), {"a": {"b": [1]}}), str)
