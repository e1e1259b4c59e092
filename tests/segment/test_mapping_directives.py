import itertools
import math

import pytest
from tables import every

from toolkit.errors import MappingError
from toolkit.segment.mapping import MISSING, Mapping, check_mapping
from toolkit.segment.mapping.directives import If
from toolkit.segment.mapping.paths import Path, Template
from toolkit.segment.mapping.texts import Case, Replace
from toolkit.segment.mapping.tree import NOTHING, ListOf, ObjectOf, Raw

_SHAPE = {"id": {"@path": "$.i"}}
_GONE = {"@path": "$.gone"}


def _replace(pattern, replacement, **others):
    return {"@replace": {"value": {"@path": "$.v"}, "pattern": pattern, "replacement": replacement, **others}}


def _merge(direction, *objects):
    return {"@merge": {"objects": list(objects), "direction": direction}}


def _flatten(value, separator=".", **others):
    return {"@flatten": {"value": value, "separator": separator, **others}}


def _json(mode, value):
    return {"@json": {"mode": mode, "value": value}}


def _transform(apply, mapping):
    return {"@transform": {"apply": apply, "mapping": mapping}}


_V = {"@path": "$.v"}


@every(
    "directive, event, expected",
    [
        (_replace("-", ""), {"v": "1-2-3"}, "123"),
        (_replace("-", "", **{"global": False}), {"v": "1-2-3"}, "12-3"),
        (_replace("a", "x"), {"v": "aA"}, "xA"),
        (_replace("a", "x", ignorecase=True), {"v": "aA"}, "xx"),
        (_replace("K", "x", ignorecase=True), {"v": "kK\u212a"}, "xx\u212a"),
        (_replace("s", "x", ignorecase=True), {"v": "sS\u017f"}, "xx\u017f"),
        (_replace("\u00df", "x", ignorecase=True), {"v": "\u00df\u1e9eSS"}, "x\u1e9eSS"),
        (_replace("\u03c3", "x", ignorecase=True), {"v": "\u03a3\u03c3\u03c2"}, "xxx"),
        (_replace(".", "x"), {"v": "a.b"}, "axb"),
        (_replace("$&", "x"), {"v": "a$&"}, "ax"),
        (_replace("b", "[$&$&]"), {"v": "abc"}, "a[bb]c"),
        (_replace("b", "$$$`$'$1"), {"v": "abc"}, "a$ac$1c"),
        (_replace("aa", "$'"), {"v": "aaaaa"}, "aaaaa"),
        (_replace("\ud83c", "x"), {"v": "\U0001f389"}, "x\udf89"),
        (_replace("\U0001f389", "\u00e9"), {"v": "<\U0001f389>"}, "<\u00e9>"),
        (_replace("1", "x"), {"v": 1.0}, "x"),
        (_replace("t", "T"), {"v": True}, "True"),
        (_replace("x", "y"), {"v": None}, ""),
        (_replace("x", "y"), {}, ""),
        (_replace("x", "y"), {"v": ["x"]}, ""),
        (_replace("a", "b", pattern2="b", replacement2="c"), {"v": "ab"}, "cc"),
        (_replace("a", "b", pattern2="b"), {"v": "ab"}, ""),
        (_replace("a", "b", pattern2="", replacement2="c" * 11), {"v": "ab"}, "bb"),
        (_replace("a", "b", pattern2=5, replacement2="c"), {"v": "ab"}, "bb"),
        (_replace("a", "b", pattern2="b", replacement2=5), {"v": "ab"}, "bb"),
        ({"@replace": {"pattern": "a", "value": ""}}, {}, MISSING),
        ({"@replace": {"pattern": "a", "value": "bab"}}, {}, "bb"),
        ({"@arrayPath": ["$.p", _SHAPE]}, {"p": [{"i": 1}, 1, None]}, [{"id": 1}, {}, {"id": None}]),
        ({"@arrayPath": ["$.p", _SHAPE]}, {"p": {"i": 1}}, [{"id": 1}]),
        ({"@arrayPath": ["$.p", _SHAPE]}, {"p": "s"}, "s"),
        ({"@arrayPath": ["$.p", _SHAPE]}, {"p": None}, None),
        ({"@arrayPath": ["$.p", _SHAPE]}, {}, MISSING),
        ({"@arrayPath": ["$.p"]}, {"p": {"i": 1}}, {"i": 1}),
        ({"@arrayPath": ["$.p", {}]}, {"p": [1]}, [1]),
        ({"@arrayPath": ["$.p", ["x"]]}, {"p": [1]}, [1]),
        ({"@arrayPath": ["$.p", {"@path": "$.i"}]}, {"p": [{"i": 1}, {}]}, [1, None]),
        ({"@arrayPath": [{"@literal": [{"i": 2}]}, _SHAPE]}, {}, [{"id": 2}]),
        ({"@arrayPath": [[1], _SHAPE]}, {}, MappingError),
        (_merge("right", {"a": 1}, _V), {}, {"a": 1}),
        (_merge("right", {"a": 1}, _V), {"v": "ab"}, {"0": "a", "1": "b", "a": 1}),
        (_merge("right", {"a": 1}, _V), {"v": ["x"]}, {"0": "x", "a": 1}),
        (_merge("right", {"a": 1}, _V), {"v": 5}, {"a": 1}),
        (_merge("right", {"a": {"b": 1}}, {"a": {"c": 1}}), {}, {"a": {"c": 1}}),
        (_merge("left", {"a": 1}, {"a": 2, "b": 2}), {}, {"a": 1, "b": 2}),
        (_merge("Right", {"a": 1}, {"a": 2}), {}, {"a": 2}),
        (_merge("right", {"a": 1}, {"a": None}), {}, {"a": None}),
        (_merge("right", {"a": 1}, {"a": _GONE}), {}, {}),
        (_merge("left", {"a": 1}, {"a": _GONE}), {}, {"a": 1}),
        (_merge("right", {"a": 1}, {"@excludeWhenNull": _V}), {"v": {"a": None}}, {}),
        (_merge("right", {"a": 1}, _merge("right", {"a": _GONE})), {}, {}),
        (_merge("right", {"a": 1}, {"@literal": {"a": {"b": _GONE}}}), {}, {"a": {}}),
        (_merge("right", {"0": 1}, {"@literal": [_GONE]}), {}, {}),
        (_merge("right", {"0": 1}, {"@if": {"exists": 1, "then": [_GONE]}}), {}, {}),
        (_transform({"step": {"@path": "$.raw"}}, {"final": {"@path": "$.raw"}}), {"raw": 7}, {}),
        (_transform({"s": {"@path": "$.raw"}}, {"f": {"@path": "$.s"}}), {"raw": 7}, {"f": 7}),
        (_transform({"s": 1}, {"f": {"@path": "$.raw"}}), {"raw": 7}, {}),
        (_transform({"l": [_GONE]}, {"f": {"@path": "$.l[0]"}, "l": {"@path": "$.l"}}), {}, {"l": [None]}),
        (_transform({"o": {"a": _GONE}}, {"@path": "$.o"}), {}, {}),
        (_transform({"@path": "$.t"}, {"@template": "<{{0}}>"}), {"t": "ab"}, "<a>"),
        (_transform(_GONE, {"@template": "<{{.}}>"}), {}, "<[object Object]>"),
        (
            {"@arrayPath": ["$.p", _transform({"a": {"@path": "i"}}, {"@path": "a"})]},
            {"p": [{"i": 1}]},
            [1],
        ),
        ({"@arrayPath": ["$.p", _transform({"a": 1}, {"@path": "a"})]}, {"p": [5]}, MappingError),
        (
            _flatten(_V),
            {"v": {"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None, "f": {}, "g": []}},
            {"a.b": 1, "a.c.0": 1, "a.c.1.d": 2, "e": None},
        ),
        (_flatten(_V, "_", omitArrays=True), {"v": {"a": [{"b": 1}]}}, {"a": [{"b": 1}]}),
        (_flatten(_V, "_", omitArrays=0), {"v": {"a": [1]}}, {"a_0": 1}),
        (_flatten(_V, "_", omitArrays={}), {"v": {"a": [1]}}, {"a": [1]}),
        (_flatten(_V), {"v": [1, [2]]}, {"0": 1, "1.0": 2}),
        (_flatten(_V), {"v": {"": {"a": 1}}}, {"a": 1}),
        (_flatten(_V), {"v": {"1.2": "late", "1": {"2": "early"}}}, {"1.2": "late"}),
        (_flatten(_V), {"v": 5}, {"": 5}),
        (_flatten(_V), {"v": None}, {"": None}),
        (_flatten(_V), {}, {}),
        (_flatten({"a": _GONE, "b": [_GONE]}), {}, {}),
        (_flatten({"b": [_GONE]}, omitArrays=True), {}, {"b": [None]}),
        (_json("encode", _V), {"v": {"b": 1.0, "a": [True, None, "x"]}}, '{"b":1,"a":[true,null,"x"]}'),
        (_json("encode", _V), {"v": {"b": 1, "10": 2, "9": 3}}, '{"9":3,"10":2,"b":1}'),
        (
            _json("encode", _V),
            {"v": {"b": 0, "4294967295": 1, "4294967294": 2, "01": 3}},
            '{"4294967294":2,"b":0,"4294967295":1,"01":3}',
        ),
        (_json("encode", _V), {"v": [1e21, 1e-7, -0.0, 0.00001]}, "[1e+21,1e-7,0,0.00001]"),
        (_json("encode", _V), {"v": [math.nan, -math.inf, 10**400]}, "[null,null,null]"),
        (
            _json("encode", _V),
            {"v": '"\\/\b\f\n\r\t\x01\x7f\u2028\u00e9'},
            '"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\u2028\u00e9"',
        ),
        (_json("encode", _V), {"v": "\ud800 \udc00 \ud83c\udf89"}, '"\\ud800 \\udc00 \U0001f389"'),
        (_json("encode", _V), {"v": {"\ud800": {}}}, '{"\\ud800":{}}'),
        (_json("encode", {"a": _GONE, "b": [_GONE]}), {}, '{"b":[null]}'),
        (_json("encode", _V), {"v": None}, "null"),
        (_json("encode", _V), {}, MISSING),
        (_json("decode", _V), {"v": ' {"a":[1.0,"\\ud83c\\udf89"]} '}, {"a": [1, "\U0001f389"]}),
        (_json("decode", _V), {"v": "null"}, None),
        (_json("decode", _V), {"v": "bad"}, "bad"),
        (_json("decode", _V), {"v": ""}, ""),
        (_json("decode", _V), {"v": "NaN"}, "NaN"),
        (_json("decode", _V), {"v": "[-Infinity]"}, "[-Infinity]"),
        (_json("decode", _V), {"v": "\ufeff1"}, "\ufeff1"),
        (_json("decode", _V), {"v": "12345678901234567890"}, 12345678901234567890),
        (_json("decode", _V), {"v": "1" * 5000}, math.inf),
        (_json("decode", _V), {"v": 5}, 5),
        (_json("decode", _V), {}, MISSING),
        ({"@excludeWhenNull": _V}, {"v": None}, MISSING),
        ({"@excludeWhenNull": _V}, {"v": ""}, ""),
        ({"@excludeWhenNull": _V}, {"v": {"a": None, "b": [None], "d": {"e": None}}}, {"b": [None], "d": {}}),
        ({"@excludeWhenNull": {"a": _V, "b": [{"c": None}]}}, {"v": None}, {"b": [{"c": None}]}),
        (
            {"__segment_internal_directive": {"@transform": {"apply": {"p": _V}}}, "x": {"@path": "$.p"}},
            {"v": 1},
            {"x": 1},
        ),
        ({"__segment_internal_directive": {"@literal": {"z": 1}}, "x": 2}, {}, {"z": 1, "mapping": {"x": 2}}),
        ({"__segment_internal_directive": {"@literal": ["z"]}, "x": 2}, {}, ["z"]),
        ({"__segment_internal_directive": {"@literal": {"mapping": 1}}, "x": 2}, {}, {"mapping": {"x": 2}}),
        (
            {"a": {"__segment_internal_directive": {"z": 1}}},
            {},
            {"a": {"__segment_internal_directive": {"z": 1}}},
        ),
        (
            _transform(
                {"__segment_internal_directive": {"@merge": {"objects": [{"a": 1}], "direction": "left"}}},
                _SHAPE,
            ),
            {},
            {},
        ),
    ],
)
def test_directive(directive, event, expected):
    """Segment's results, also in the odd cases: missing, null, other types, lone surrogates."""
    if expected is MappingError:
        with pytest.raises(MappingError):
            Mapping(directive).resolve(event)
        return
    result = Mapping(directive).resolve(event)
    assert type(result) is type(expected)
    assert result == expected


def test_decoded_keys_keep_their_order():
    """JSON text shows the order of keys: as merged, as flattened, indexes first."""
    mapping = Mapping(_json("encode", _merge("left", _flatten(_V), {"z": 1, "2": 1, "a.b": 0})))
    assert mapping.resolve({"v": {"b": 1, "a": {"b": 2}}}) == '{"2":1,"z":1,"a.b":2,"b":1}'


def test_no_missing_value_stays():
    """Wherever a missing value passes through, the result holds null or nothing in its place."""
    wraps = [
        lambda m: m,
        lambda m: {"@literal": m},
        lambda m: {"@if": {"exists": 1, "then": m}},
        lambda m: {"@if": {"exists": m, "then": m}},
        lambda m: {"@excludeWhenNull": m},
        lambda m: _transform({"x": m}, {"@path": "x"}),
        lambda m: _transform({"x": 1}, {"y": m})["@transform"]["mapping"],
        lambda m: {"@arrayPath": [{"@literal": [{}]}, {"y": m}]},
        lambda m: {"@arrayPath": [{"@literal": {"y": m}}, {"@path": ""}]},
        lambda m: _merge("right", {"y": m}),
        lambda m: _json("decode", m),
        lambda m: {"@case": {"operator": "lower", "value": {"@literal": m}}},
    ]
    for first, second, third in itertools.product(wraps, repeat=3):
        mapping = first(second(third([{"a": _GONE, "b": [_GONE, 1]}, _GONE])))
        text = repr(Mapping({"out": mapping}).resolve({}))
        assert "MISSING" not in text
        assert "None, 1]" in text


@pytest.mark.parametrize(
    ("mapping", "tree"),
    [
        ("x", Raw(value="x")),
        ([None, {"k": 1.5}], ListOf(items=(Raw(value=None), ObjectOf(members=(("k", Raw(value=1.5)),))))),
        ({"@path": "$.a['b'][0]"}, Path(steps=("a", "b", "0"))),
        ({"@path": ""}, Path(steps=())),
        ({"@literal": {"@literal": 1}}, Raw(value=1)),
        (
            {"@template": "+1{{ p.q }}-{{r}}"},
            Template(parts=("+1", Path(steps=("p", "q")), "-", Path(steps=("r",))), rescan=False, pointer=""),
        ),
        (
            {"@template": "{{a}}{{{b}}}"},
            Template(parts=("{{a}}", Path(steps=("b",))), rescan=True, pointer=""),
        ),
        (
            {"@if": {"blank": {"@path": "a"}, "then": 1, "else": 0}},
            If(test="blank", subject=Path(steps=("a",)), then=Raw(value=1), otherwise=NOTHING),
        ),
        (
            _replace("a", "b", pattern2="c", ignorecase=True),
            Replace(
                value=Path(steps=("v",)),
                pairs=(("a", "b"), ("c", "")),
                ignorecase=True,
                everywhere=True,
                pointer="",
            ),
        ),
        ({"@arrayPath": ["$.a", []]}, Path(steps=("a",))),
        (
            {"@case": {"operator": "upper", "value": {"@path": "a"}}},
            Case(operator="upper", value=Path(steps=("a",))),
        ),
    ],
)
def test_tree(mapping, tree):
    """A mapping's tree says what its directives do, the same for the same text; places do not count."""
    assert Mapping(mapping).tree == tree
    assert hash(Mapping(mapping).tree) == hash(tree)


def test_places_in_the_tree():
    """A node that can fail knows its place."""
    tree = Mapping({"a/b": [{"@path": {"@path": "p"}}]}).tree
    (node,) = dict(tree.members)["a/b"].items
    assert node.pointer == "/a~1b/0/@path"


@pytest.mark.parametrize(
    ("mapping", "event", "pointer"),
    [
        ({"a": [{"@template": {"@path": "p"}}]}, {"p": 5}, "/a/0/@template"),
        (
            {"a": {"@arrayPath": ["p", _transform({"x": 1}, {"y": 1})]}},
            {"p": [5]},
            "/a/@arrayPath/1/@transform",
        ),
        ({"a": _json("decode", {"@path": "p"})}, {"p": "[" * 501 + "]" * 501}, "/a/@json"),
        ({"a": {"@liquid": "{{ p | date }}"}}, {"p": "3/4/2026"}, "/a/@liquid"),
    ],
)
def test_errors_have_their_place(mapping, event, pointer):
    """What only an event can get wrong is an error with the directive's place."""
    assert check_mapping(mapping) == []
    with pytest.raises(MappingError) as caught:
        Mapping(mapping).resolve(event)
    assert caught.value.pointer == pointer


def test_no_missing_value_of_an_object_stays():
    """An object that is reshaped as a list of one shows no missing values either."""
    mapping = {"@arrayPath": [{"@literal": {"a": _GONE}}, {"whole": {"@path": ""}}]}
    assert Mapping(mapping).resolve({}) == [{"whole": {}}]


def test_unused_parts_do_not_fail():
    """A branch that is not taken cannot be at fault, nor can what stands beside a directive."""
    fault = {"@path": {"@path": "p"}}
    assert Mapping({"@if": {"exists": {"@path": "x"}, "then": fault, "else": 1}}).resolve({}) == 1
    assert Mapping({"@path": "x", "_metadata": {"@nope": [fault]}}).resolve({"x": 1}) == 1
    assert Mapping({"_metadata": {"@path": "x"}}).resolve({"x": 1}) == {"_metadata": 1}
