"""What one condition of a trigger means to Segment, and how that differs from what is written."""

from __future__ import annotations

import json
import math
import re
from typing import Final, get_args

from toolkit.segment.javascript import number_of, text_of, whole

from .tokens import NUMBER, OfficialReading, Token
from .tree import And, Comparison, Failing, Function, FunctionName, Never, Not, Operator, Or, Tree, predicate

TEXT_FIELDS: Final = ("type", "event", "name", "userId")
OBJECT_FIELDS: Final = ("properties", "traits", "context")
BUILT_INS: Final = frozenset(
    (
        *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString"),
        *("toString", "valueOf", "__proto__", "__defineGetter__", "__defineSetter__"),
        *("__lookupGetter__", "__lookupSetter__"),
    )
)
"""Names that every object answers to in JavaScript, whether or not it has such a key."""

_RELATIONS: Final[dict[str, Operator]] = {
    **{operator: operator for operator in get_args(Operator)},
    "number_equals": "=",
    "number_not_equals": "!=",
}
_TEXT_TESTS: Final = {test: test for test in get_args(FunctionName) if test != "match"}
_STATES: Final[dict[str, tuple[Operator, bool | None]]] = {
    "exists": ("!=", None),
    "not_exists": ("=", None),
    "is_true": ("=", True),
    "is_false": ("=", False),
}
_WRITTEN_STATES: Final[dict[tuple[str, str], str]] = {
    (relation, json.dumps(value)): state for state, (relation, value) in _STATES.items()
}
_KEYS: Final = re.compile(r"[^\[.\]]+")
_ESCAPES: Final = re.compile(r"\\[\"'\\]")
_ONE_STAR: Final = re.compile(r'"(?:[^*]*\*|\*[^*]+)"')


def compared(field: str, name: Token, operator: Token, value: Token, reading: OfficialReading) -> Tree:
    """Return what ``name operator value`` means."""
    if operator.kind != "operator" or operator.text == "!":
        reading.add(_odd_operator(operator, value), operator.position)
    else:
        _check_name(field, name, reading)
    if operator.kind in ("operator", "name") and operator.text != "in":
        _check_value(field, operator, value, reading)
    state = _WRITTEN_STATES.get((operator.text, value.text), "")
    has_states = field in (*OBJECT_FIELDS, "userId") or (field == "name" and state.endswith("exists"))
    return _placed(field, name, (has_states and state) or operator.text, _constant(value), reading)


def called(name: Token, path: Token, value: Token, reading: OfficialReading, *, negated: bool) -> Tree | None:
    """Return what a call of contains or match means; None when Segment drops it."""
    field = next((f for f in OBJECT_FIELDS if path.text.startswith(f)), path.text)
    if field == "type" or field not in TEXT_FIELDS + OBJECT_FIELDS:
        return None
    _check_name(field, path, reading)
    if value.kind == "string":
        _check_string(value, reading)
    test, text = "contains", text_of(_constant(value))
    if name.text == "match":
        if not _ONE_STAR.fullmatch(value.text):
            reading.add("glob", value.position)
        starts = value.text.endswith('*"')
        test, text = ("starts_with", text[:-1]) if starts else ("ends_with", text[1:])
    return _placed(field, path, f"not_{test}" if negated else test, text, reading)


def _constant(value: Token) -> str | float:
    if value.kind == "number":
        return number_of(value.text)
    if value.kind == "name" and value.text in ("true", "false"):
        return value.text == "true"
    return value.text[1:-1] if value.kind == "string" and value.text[0] == '"' else value.text


# --- operator and constant as a node


def _placed(field: str, name: Token, operator: str, constant: str | float, reading: OfficialReading) -> Tree:
    """Return the test of the value that the name leads to."""
    if field in TEXT_FIELDS:
        return _leaf((field,), operator, text_of(constant))
    within = name.text.removeprefix(f"{field}.")
    keys = _KEYS.findall(whole(within))
    if keys:
        return _with_built_ins(_leaf((field, *keys), operator, constant), name, reading)
    reading.add("odd-path", name.position)
    if within:
        return Failing()
    missing = predicate(_leaf((field,), operator, constant))({})
    return Not(part=Never()) if missing else Never()


def _leaf(path: tuple[str, ...], operator: str, constant: str | float) -> Comparison | Function | Never:
    text = whole(text_of(constant))
    if test := _TEXT_TESTS.get(operator.removeprefix("not_")):
        return Function(name=test, path=path, text=text, negated=operator != test)
    if operator in _STATES:
        relation, state = _STATES[operator]
        return Comparison(path=path, operator=relation, value=state)
    if operator not in _RELATIONS:
        return Never()
    relation = _RELATIONS[operator]
    if operator in ("=", "!=") and not isinstance(constant, float):
        return Comparison(path=path, operator=relation, value=text)
    number = number_of(constant)
    if not math.isnan(number):
        return Comparison(path=path, operator=relation, value=number)
    # No number is NaN, so each one differs from it.
    return Comparison(path=path, operator=">=", value=-math.inf) if relation == "!=" else Never()


def _with_built_ins(leaf: Tree, name: Token, reading: OfficialReading) -> Tree:
    """Return the leaf as JavaScript answers it where every object has something of the last name."""
    if not isinstance(leaf, Comparison) or leaf.value is not None or leaf.path[-1] not in BUILT_INS:
        return leaf
    reading.add("built-in-name", name.position)
    holder = Comparison(path=leaf.path[:-1], operator=leaf.operator, value=None)
    return Or(parts=(leaf, holder)) if leaf.operator == "!=" else And(parts=(leaf, holder))


# --- what is misread


def _check_name(field: str, name: Token, reading: OfficialReading) -> None:
    if field in TEXT_FIELDS and name.text != field:
        reading.add("ignored-suffix", name.position)
    elif field in OBJECT_FIELDS and not name.text.startswith(f"{field}."):
        reading.add("bare-object", name.position)


def _odd_operator(operator: Token, value: Token) -> str:
    if operator.kind == "name" and not isinstance(_leaf(("type",), operator.text, 0.0), Never):
        return "internal-operator"
    if operator.text == ".":
        after_dot = {"number": "digit-segment", "null": "keyword-segment", "joint": "keyword-segment"}
        return after_dot.get(value.kind, "odd-path")
    return {"in": "in-list", "[": "list-index"}.get(operator.text, "odd-operator")


def _check_value(field: str, operator: Token, value: Token, reading: OfficialReading) -> None:
    orders = operator.text in ("<", "<=", ">", ">=")
    if value.kind == "operator" and value.position == operator.position + len(operator.text):
        reading.add("missing-space" if orders and value.text == "=" else "odd-operator", operator.position)
    elif value.kind == "end":
        reading.add("missing-value", operator.position)
    elif orders and value.kind != "number" and not NUMBER.fullmatch(value.text.strip('"')):
        reading.add("order-of-texts", value.position)
    elif value.kind == "string":
        _check_string(value, reading)
    elif value.kind == "number" and not NUMBER.fullmatch(value.text):
        reading.add("number-form" if re.search("[0-9]", value.text) else "odd-value", value.position)
    elif value.kind == "null" and field in ("type", "event"):
        reading.add("null-as-text", value.position)
    elif value.kind == "name" and value.text not in ("true", "false", "null"):
        reading.add("bare-word", value.position)
    elif value.kind in ("operator", "mark", "joint"):
        reading.add("odd-value", value.position)


def _check_string(value: Token, reading: OfficialReading) -> None:
    if value.text[0] == "'":
        reading.add("single-quotes", value.position)
    if _ESCAPES.search(value.text):
        reading.add("escape-in-text", value.position)
