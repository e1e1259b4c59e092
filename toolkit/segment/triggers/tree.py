"""The tree both dialects read a trigger into, a closed set of conditions, and its answer for an event.

What a node means depends on the node alone, not on the dialect it was read in. A condition is about the
value found at its path::

    the event is an object; the first step is one of its keys, and so on, step by step
    in an object    the step is a key; a key that is not there gives missing
    in a list       "0", "1", ... is an item, counted from 0; "length" is the number of items
    in a text       "0", "1", ... is a character; "length" is the number of characters
                    (both in UTF-16 units, as JavaScript counts)
    in null, false, 0 or ""   the walk stops, and this is the value found, whatever steps remain
    anything else   missing

Missing counts as null. An empty list or object is walked into like any other.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from toolkit.segment.javascript import as_double, units

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
FunctionName = Literal["contains", "match", "starts_with", "ends_with"]
Constant: TypeAlias = str | float | bool | None


@dataclass(frozen=True, kw_only=True)
class And:
    """True when every part is; so with no parts."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, kw_only=True)
class Or:
    """True when any part is; false with no parts."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, kw_only=True)
class Not:
    """True when the part is false."""

    part: Tree


@dataclass(frozen=True, kw_only=True)
class Never:
    """False for every event: a condition Segment takes without being able to test it."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A condition at which Segment fails: the whole trigger is false for an event that gets so far."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The value found against a constant, whose kind decides what is compared; only numbers have an order.

    A text: ``=`` exactly this text, ``!=`` anything else, null as well. A number: a number (booleans are
    none) that stands in this relation to it; false of all else, for ``!=`` too. True or false: ``=`` exactly
    this boolean, ``!=`` anything else, null as well. Null: ``=`` null or missing, ``!=`` anything else.
    """

    path: tuple[str, ...]
    """Steps from the top of the event; at least one."""
    operator: Operator
    value: Constant
    """A number is a float and never NaN; it may be infinite, which is then more than any finite number."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A test of a text, exact and case sensitive; false for whatever is not a text, negated or not.

    ``contains``, ``starts_with`` and ``ends_with`` look for the text as it stands. ``match`` wants the whole
    value to fit the text as a pattern, in which ``*`` is any run of characters, wherever it stands.
    """

    name: FunctionName
    path: tuple[str, ...]
    text: str
    """What to look for, or the pattern."""
    negated: bool
    """Whether a text must fail the test."""


Leaf: TypeAlias = Comparison | Function | Never | Failing
Tree: TypeAlias = And | Or | Not | Leaf


def unite(kind: type[And | Or], parts: list[Tree]) -> Tree:
    """Return the parts as one node, or the only part as it is."""
    return parts[0] if len(parts) == 1 else kind(parts=tuple(parts))


# --- trees as functions, which are called millions of times

Event: TypeAlias = Mapping[str, Any]
Predicate: TypeAlias = Callable[[Event], bool]
FieldReader: TypeAlias = Callable[[Event], Any]

INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
"""A step that is the position of a list item."""
_RELATIONS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class FailingConditionError(Exception):
    """Raised for an event that gets to a condition at which Segment fails."""


def predicate(node: Tree) -> Predicate:
    """Return the function that tells whether *node* holds; it may raise FailingConditionError."""
    match node:
        case And() | Or():
            return _joined([predicate(part) for part in node.parts], ends_it=isinstance(node, Or))
        case Not():
            inner = predicate(node.part)
            return lambda event: not inner(event)
        case Never():
            return lambda event: False  # noqa: ARG005 - every predicate takes an event
        case Failing():
            return _fail
        case Function():
            return _function(node, reader(node.path))
        case Comparison():
            return _comparison(node, reader(node.path))


def _fail(event: Event) -> bool:  # noqa: ARG001
    raise FailingConditionError


def _joined(parts: list[Predicate], *, ends_it: bool) -> Predicate:
    """Return the list as one: the first part with the answer *ends_it* decides."""

    def holds(event: Event) -> bool:
        for part in parts:  # twice as fast as any() and all()
            if part(event) is ends_it:
                return ends_it
        return not ends_it

    return holds


def _comparison(node: Comparison, read: FieldReader) -> Predicate:
    constant, is_equal = node.value, node.operator == "="
    if isinstance(constant, float):
        return _number(_RELATIONS[node.operator], constant, read)
    same = operator.eq if isinstance(constant, str) else operator.is_
    return lambda event: same(read(event), constant) is is_equal


def _number(compare: Callable[[float, float], bool], number: float, read: FieldReader) -> Predicate:
    def holds(event: Event) -> bool:
        value = read(event)
        # bool is an int in Python, and not a number in JSON.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return compare(as_double(value), number)

    return holds


def _function(node: Function, read: FieldReader) -> Predicate:
    # In UTF-16 units, so that half a character is found inside a whole one, as in JavaScript.
    test, expected = _TESTS[node.name](units(node.text)), not node.negated

    def holds(event: Event) -> bool:
        value = read(event)
        return isinstance(value, str) and test(units(value)) is expected

    return holds


def _glob(pattern: str) -> Callable[[str], bool]:
    """Return a test of the whole text, in time proportional to it: each piece is sought once."""
    first, *rest = pattern.split("*")
    if not rest:
        return lambda text: text == pattern
    *middle, last = rest

    def fits(text: str) -> bool:
        if not text.startswith(first):
            return False
        at = len(first)
        for piece in middle:
            if (found := text.find(piece, at)) < 0:
                return False
            at = found + len(piece)
        return text.endswith(last, at)

    return fits


_TESTS: Final[dict[str, Callable[[str], Callable[[str], bool]]]] = {
    "contains": lambda part: lambda text: part in text,
    "starts_with": lambda part: lambda text: text.startswith(part),
    "ends_with": lambda part: lambda text: text.endswith(part),
    "match": _glob,
}


def reader(path: tuple[str, ...]) -> FieldReader:
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
    return value[int(step)] if INDEX.fullmatch(step) and int(step) < len(value) else None
