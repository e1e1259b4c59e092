"""Trees made into functions from an event to a bool, which are called millions of times."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from toolkit.frames import SURROGATE
from toolkit.segment.javascript import as_double, units

from .tree import And, Comparison, Function, Never, Node, Not, Operator, Or

Event: TypeAlias = Mapping[str, Any]
Predicate: TypeAlias = Callable[[Event], bool]
Reader: TypeAlias = Callable[[Event], Any]

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_EXACT: Final = 2**53
"""Integers up to here are doubles as they stand."""
_RELATIONS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def predicate(node: Node) -> Predicate:
    """Return the function that tells whether *node* holds for an event."""
    if isinstance(node, And | Or):
        return _joined([predicate(part) for part in node.parts], ends_it=isinstance(node, Or))
    if isinstance(node, Not):
        inner = predicate(node.part)
        return lambda event: not inner(event)
    if isinstance(node, Never):
        return lambda event: False  # noqa: ARG005 - every predicate takes an event
    read = reader(node.path)
    return _function(node, read) if isinstance(node, Function) else _comparison(node, read)


def _joined(parts: list[Predicate], *, ends_it: bool) -> Predicate:
    """Return the list as one: the first part with the answer *ends_it* decides."""
    if len(parts) == 2:  # half of the time that the loop takes
        first, second = parts
        if ends_it:
            return lambda event: first(event) or second(event)
        return lambda event: first(event) and second(event)

    def joined(event: Event) -> bool:
        for part in parts:
            if part(event) is ends_it:
                return ends_it
        return not ends_it

    return joined


def _comparison(node: Comparison, read: Reader) -> Predicate:
    constant, equal = node.value, node.operator == "="
    if isinstance(constant, float):
        return _number(_RELATIONS[node.operator], constant, read)
    if isinstance(constant, str):
        if equal:
            return lambda event: read(event) == constant
        return lambda event: read(event) != constant
    if equal:
        return lambda event: read(event) is constant
    return lambda event: read(event) is not constant


def _number(compare: Callable[[float, float], bool], number: float, read: Reader) -> Predicate:
    def holds(event: Event) -> bool:
        value = read(event)
        if isinstance(value, float):
            return compare(value, number)
        # bool is an int in Python, and not a number in JSON.
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return compare(value if -_EXACT <= value <= _EXACT else as_double(value), number)

    return holds


def _function(node: Function, read: Reader) -> Predicate:
    test = _TESTS[node.name](node.text)
    if SURROGATE.search(node.text):
        # It is found inside a whole character, as in JavaScript.
        test_units = _TESTS[node.name](units(node.text))
        test = lambda text: test_units(units(text))  # noqa: E731
    expected = not node.negated

    def holds(event: Event) -> bool:
        value = read(event)
        return isinstance(value, str) and test(value) is expected

    return holds


def _glob(pattern: str) -> Callable[[str], bool]:
    """Return a test of the whole text, in time proportional to it: each piece is sought once."""
    first, *rest = pattern.split("*")
    if not rest:
        return lambda text: text == pattern
    *middle, last = rest

    def fits(text: str) -> bool:
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return fits


_TESTS: Final[dict[str, Callable[[str], Callable[[str], bool]]]] = {
    "contains": lambda part: lambda text: part in text,
    "starts_with": lambda part: lambda text: text.startswith(part),
    "ends_with": lambda part: lambda text: text.endswith(part),
    "match": _glob,
}


def reader(path: tuple[str, ...]) -> Reader:
    """Return a function from an event to the value at *path*, None where there is none."""
    field, *steps = path
    if not steps:
        return lambda event: event.get(field)

    def read(event: Event) -> Any:
        value = event.get(field)
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) or (isinstance(value, str) and value):
                value = _item(value, step)
            else:  # a falsy value ends Segment's walk, and is what it compares
                is_falsy = isinstance(value, str | int | float) and (not value or value != value)  # noqa: PLR0124
                return value if is_falsy else None
        return value

    return read


def _item(value: list[Any] | str, step: str) -> Any:
    """Return a list item, a character, or the length that Segment shows of lists and texts."""
    if isinstance(value, str):
        value = units(value)
    if step == "length":
        return len(value)
    return value[int(step)] if _INDEX.fullmatch(step) and int(step) < len(value) else None
