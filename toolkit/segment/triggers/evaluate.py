"""Trees made into functions from an event to a bool: each is asked millions of times."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from .javascript import as_double, units
from .tree import And, Comparison, Function, Never, Node, Not, Operator, Or

Event: TypeAlias = Mapping[str, Any]
Predicate: TypeAlias = Callable[[Event], bool]
Reader: TypeAlias = Callable[[Event], Any]

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_HALF = re.compile("[\ud800-\udfff]")
_EXACT: Final = 2**53
"""Integers up to here are doubles as they stand."""


def predicate(node: Node) -> Predicate:
    """Return the function that tells whether *node* holds for an event."""
    if isinstance(node, And):
        return _all(tuple(predicate(part) for part in node.parts))
    if isinstance(node, Or):
        return _any(tuple(predicate(part) for part in node.parts))
    if isinstance(node, Not):
        inner = predicate(node.part)
        return lambda event: not inner(event)
    if isinstance(node, Never):
        return lambda event: False  # noqa: ARG005 - every predicate takes an event
    read = reader(node.path)
    return _function(node, read) if isinstance(node, Function) else _comparison(node, read)


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    if len(parts) == 2:
        first, second = parts
        return lambda event: first(event) and second(event)

    def every(event: Event) -> bool:
        for part in parts:  # noqa: SIM110 - a loop costs half of what all() with a generator does
            if not part(event):
                return False
        return True

    return every


def _any(parts: tuple[Predicate, ...]) -> Predicate:
    if len(parts) == 2:
        first, second = parts
        return lambda event: first(event) or second(event)

    def some(event: Event) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(event):
                return True
        return False

    return some


def _comparison(node: Comparison, read: Reader) -> Predicate:
    constant, equal = node.value, node.operator == "="
    if constant is None or isinstance(constant, bool):
        if equal:
            return lambda event: read(event) is constant
        return lambda event: read(event) is not constant
    if not isinstance(constant, str):
        return _number(node.operator, constant, read)
    text = constant

    def is_it(event: Event) -> bool:
        value = read(event)
        return isinstance(value, str) and value == text

    return is_it if equal else lambda event: not is_it(event)


def _number(operator: Operator, number: float, read: Reader) -> Predicate:
    compare = _RELATIONS[operator]

    def holds(event: Event) -> bool:
        value = read(event)
        if isinstance(value, float):
            return compare(value, number)
        # bool is an int in Python, and not a number in JSON.
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return compare(value if -_EXACT <= value <= _EXACT else as_double(value), number)

    return holds


_RELATIONS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    "=": lambda found, number: found == number,
    "!=": lambda found, number: found != number,
    "<": lambda found, number: found < number,
    "<=": lambda found, number: found <= number,
    ">": lambda found, number: found > number,
    ">=": lambda found, number: found >= number,
}


def _function(node: Function, read: Reader) -> Predicate:
    test = _TESTS[node.name](node.text)
    if _HALF.search(node.text):
        # Half a character is found inside a whole one, as in JavaScript.
        whole = _TESTS[node.name](units(node.text))
        test = lambda text: whole(units(text))  # noqa: E731
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
            elif isinstance(value, list | str) and value != "":
                value = _inside(value, step)
            else:
                return _last(value)
        return value

    return read


def _inside(value: list[Any] | str, step: str) -> Any:
    """Return a list item, a character, or the length that Segment shows of lists and texts."""
    if isinstance(value, str):
        value = units(value)
    if step == "length":
        return len(value)
    if _INDEX.fullmatch(step) and int(step) < len(value):
        return value[int(step)]
    return None


def _last(value: Any) -> Any:
    """Return a falsy value, which ends Segment's walk and is what it compares; None for all else."""
    return value if isinstance(value, str | int | float) and (not value or value != value) else None  # noqa: PLR0124
