"""What one condition of a trigger means to Segment."""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias

from .javascript import BUILT_INS, joined, number_of, number_text
from .official_tokens import Token
from .slips import Slips
from .tree import And, Comparison, Function, FunctionName, Leaf, Never, Node, Not, Operator, Or

Written: TypeAlias = str | float | bool
"""What stands for the value: a text or word, a number, true or false."""

TEXT_FIELDS: Final = ("type", "event", "name", "userId")
OBJECT_FIELDS: Final = ("properties", "traits", "context")
FIELDS: Final = frozenset(TEXT_FIELDS + OBJECT_FIELDS)
FUNCTIONS: Final = frozenset(("contains", "match"))

_RELATIONS: Final[dict[str, Operator]] = {
    "number_equals": "=",
    "number_not_equals": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_TEXT_TESTS: Final[dict[str, tuple[FunctionName, bool]]] = {
    "contains": ("contains", False),
    "not_contains": ("contains", True),
    "starts_with": ("starts_with", False),
    "not_starts_with": ("starts_with", True),
    "ends_with": ("ends_with", False),
    "not_ends_with": ("ends_with", True),
}
_STATES: Final[dict[str, tuple[Operator, bool | None]]] = {
    "exists": ("!=", None),
    "not_exists": ("=", None),
    "is_true": ("=", True),
    "is_false": ("=", False),
}
_INTERNAL: Final = frozenset((*_TEXT_TESTS, *_STATES, "number_equals", "number_not_equals"))
_WRITTEN_STATES: Final = {
    ("=", "null"): "not_exists",
    ("!=", "null"): "exists",
    ("=", "true"): "is_true",
    ("=", "false"): "is_false",
}
_KEYS = re.compile(r"[^\[.\]]+")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_ESCAPES = re.compile(r"\\[\"'\\]")
_ONE_STAR = re.compile(r'"(?:[^*]*\*|\*[^*]+)"')


def compared(field: str, name: Token, operator: Token, value: Token, slips: Slips) -> Node | None:
    """Return what ``name operator value`` means; None when Segment stumbles over it."""
    if operator.kind != "operator" or operator.text == "!":
        slips.add(_odd_operator(operator, value), operator.position)
    else:
        _check_name(field, name, slips)
    if operator.kind in ("operator", "ident") and operator.text != "in":
        _check_value(field, operator, value, slips)
    state = _WRITTEN_STATES.get((operator.text, value.text))
    if state is not None and _has_state(field, state):
        return _placed(field, name, state, "", slips)
    constant = _constant(value)
    if field in TEXT_FIELDS:
        constant = _string(constant)
    elif value.kind == "number" and operator.text in ("=", "!="):
        return _placed(
            field, name, "number_equals" if operator.text == "=" else "number_not_equals", constant, slips
        )
    return _placed(field, name, operator.text, constant, slips)


def called_field(path: str) -> str | None:
    """Return the field that contains or match look into; None when Segment drops the call."""
    if path in ("event", "name", "userId"):
        return path
    return next((field for field in OBJECT_FIELDS if path.startswith(field)), None)


def called(field: str, name: Token, path: Token, value: Token, slips: Slips, *, negated: bool) -> Node | None:
    """Return what a call of contains or match means; None when Segment stumbles over it."""
    _check_name(field, path, slips)
    if value.kind == "string":
        _check_string(value, slips)
    text = _string(_constant(value))
    test = "contains"
    if name.text == "match":
        if not _ONE_STAR.fullmatch(value.text):
            slips.add("glob", value.position)
        starts = value.text.endswith('*"')
        test, text = ("starts_with", text[:-1]) if starts else ("ends_with", text[1:])
    return _placed(field, path, f"not_{test}" if negated else test, text, slips)


def _has_state(field: str, state: str) -> bool:
    return field in OBJECT_FIELDS or field == "userId" or (field == "name" and state.endswith("exists"))


def _constant(value: Token) -> Written:
    if value.kind == "string":
        return value.text[1:-1] if value.text[0] == '"' else value.text
    if value.kind == "number":
        return number_of(value.text)
    if value.kind == "ident" and value.text in ("true", "false"):
        return value.text == "true"
    return value.text


def _string(constant: Written) -> str:
    if isinstance(constant, bool):
        return "true" if constant else "false"
    return constant if isinstance(constant, str) else number_text(constant)


# --- operator and constant as a node


def _placed(field: str, name: Token, operator: str, constant: Written, slips: Slips) -> Node | None:
    """Return the test of what the name leads to."""
    if field in TEXT_FIELDS:
        return _leaf((field,), operator, constant)
    within = name.text.removeprefix(f"{field}.")
    keys = _KEYS.findall(joined(within))
    if keys:
        return _with_built_ins(_leaf((field, *keys), operator, constant), name, slips)
    slips.add("odd-path", name.position)
    return None if within else _of_nothing(_leaf((field,), operator, constant))


def _leaf(path: tuple[str, ...], operator: str, constant: Written) -> Leaf:
    if operator in ("=", "!="):
        equal: Operator = "=" if operator == "=" else "!="
        return Comparison(path=path, operator=equal, value=joined(_string(constant)))
    if operator in _RELATIONS:
        return _number_leaf(path, _RELATIONS[operator], constant)
    if operator in _TEXT_TESTS:
        test, negated = _TEXT_TESTS[operator]
        return Function(name=test, path=path, text=joined(_string(constant)), negated=negated)
    if operator in _STATES:
        relation, state = _STATES[operator]
        return Comparison(path=path, operator=relation, value=state)
    return Never()


def _number_leaf(path: tuple[str, ...], relation: Operator, constant: Written) -> Leaf:
    number = number_of(constant) if isinstance(constant, str) else float(constant)
    if not math.isnan(number):
        return Comparison(path=path, operator=relation, value=number)
    # No number is NaN, so each one differs from it.
    return Comparison(path=path, operator=">=", value=-math.inf) if relation == "!=" else Never()


def _of_nothing(leaf: Leaf) -> Node:
    """Return the leaf's answer for a missing value, whatever the event."""
    if not isinstance(leaf, Comparison):
        return Never()
    wants_null = leaf.value is None and leaf.operator == "="
    wants_other = isinstance(leaf.value, str) and leaf.operator == "!="
    return Not(part=Never()) if wants_null or wants_other else Never()


def _with_built_ins(leaf: Leaf, name: Token, slips: Slips) -> Node:
    """Return the leaf as JavaScript answers it where every object has something of the last name."""
    if not isinstance(leaf, Comparison) or leaf.value is not None or leaf.path[-1] not in BUILT_INS:
        return leaf
    slips.add("built-in-name", name.position)
    holder = Comparison(path=leaf.path[:-1], operator=leaf.operator, value=None)
    return Or(parts=(leaf, holder)) if leaf.operator == "!=" else And(parts=(leaf, holder))


# --- what to tell the linter


def _check_name(field: str, name: Token, slips: Slips) -> None:
    if field in TEXT_FIELDS and name.text != field:
        slips.add("ignored-suffix", name.position)
    elif field in OBJECT_FIELDS and not name.text.startswith(f"{field}."):
        slips.add("bare-object", name.position)


def _odd_operator(operator: Token, value: Token) -> str:
    if operator.text in _INTERNAL:
        return "internal-operator"
    if operator.text == ".":
        return _AFTER_DOT.get(value.kind, "odd-path")
    return {"in": "in-list", "[": "list-index"}.get(operator.text, "odd-operator")


_AFTER_DOT: Final = {"number": "digit-segment", "null": "keyword-segment", "joint": "keyword-segment"}


def _check_value(field: str, operator: Token, value: Token, slips: Slips) -> None:
    orders = operator.text in ("<", "<=", ">", ">=")
    if value.kind == "operator" and value.position == operator.position + len(operator.text):
        slips.add("missing-space" if orders and value.text == "=" else "odd-operator", operator.position)
    elif value.kind == "end":
        slips.add("missing-value", operator.position)
    elif orders and value.kind != "number" and not _NUMBER.fullmatch(value.text.strip('"')):
        slips.add("order-of-texts", value.position)
    elif value.kind == "string":
        _check_string(value, slips)
    elif value.kind == "number" and not _NUMBER.fullmatch(value.text):
        slips.add(
            "number-form" if any(digit in value.text for digit in "0123456789") else "odd-value",
            value.position,
        )
    elif value.kind == "null" and field in ("type", "event"):
        slips.add("null-as-text", value.position)
    elif value.kind == "ident" and value.text not in ("true", "false", "null"):
        slips.add("bare-word", value.position)
    elif value.kind in ("operator", "mark", "joint"):
        slips.add("odd-value", value.position)


def _check_string(value: Token, slips: Slips) -> None:
    if value.text[0] == "'":
        slips.add("single-quotes", value.position)
    if _ESCAPES.search(value.text):
        slips.add("escape-in-text", value.position)
