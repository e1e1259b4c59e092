"""Expressions in a template: what `Reader` makes of them, and how they are evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from toolkit.segment.mapping.values import MISSING

from .filters import apply_filter
from .state import State
from .values import are_equal, contains, is_less, is_true, plain, property_of, to_number


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written in the template."""

    value: Any
    text: str

    def evaluate(self, _: State) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Lookup:
    """A variable, or a value written in the template, and the keys that lead on from it."""

    start: Operand | None
    keys: Sequence[Operand]
    text: str

    def evaluate(self, state: State) -> Any:
        """Return what is at the last key; missing where there is nothing."""
        keys = [plain(key.evaluate(state)) for key in self.keys]
        for key in keys:
            if isinstance(key, list):
                state.weigh(key)
        value = state.variable(keys.pop(0)) if self.start is None else self.start.evaluate(state)
        for key in keys:
            value = property_of(value, key)
        return value


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from one to another."""

    low: Operand
    high: Operand
    text: str

    def evaluate(self, state: State) -> Any:
        """Return the numbers as a list."""
        low, high = to_number(self.low.evaluate(state)), to_number(self.high.evaluate(state))
        count = high - low + 1
        if not count > 0:
            return []
        state.spend_items(count)
        numbers = [low]
        for _ in range(math.ceil(count) - 1):
            numbers.append(numbers[-1] + 1)  # step by step, for the same rounding
        return numbers


Operand: TypeAlias = Constant | Lookup | Range
"""A value in an expression; ``text`` is how it is written."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator in a condition."""

    name: str


_PRECEDENCE: Final = {"and": 0, "or": 0, "not": 1}  # comparisons: 2
_OPERATIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": are_equal,
    "!=": lambda left, right: not are_equal(left, right),
    ">": lambda left, right: is_less(right, left),
    "<": is_less,
    ">=": lambda left, right: is_less(right, left, or_equal=True),
    "<=": lambda left, right: is_less(left, right, or_equal=True),
    "contains": contains,
    "and": lambda left, right: is_true(left) and is_true(right),
    "or": lambda left, right: is_true(left) or is_true(right),
}


@dataclass(frozen=True, slots=True)
class FilterCall:
    """A filter and its arguments; a named one is a pair."""

    name: str
    arguments: Sequence[Operand | tuple[str, Operand]]

    def apply(self, value: Any, state: State) -> Any:
        """Return what the filter makes of *value*."""
        arguments = [
            [part[0], part[1].evaluate(state)] if isinstance(part, tuple) else part.evaluate(state)
            for part in self.arguments
        ]
        return apply_filter(self.name, value, arguments, state)


class FilteredValue:
    """A value or condition and the filters after it."""

    def __init__(
        self, *, tokens: Iterable[Operand | Operator], filters: Sequence[FilterCall], text: str
    ) -> None:
        self.text: Final = text
        self._tokens: Final = _postfix(tokens)
        self._filters: Final = filters

    def evaluate(self, state: State) -> Any:
        """Return the filtered value."""
        if len(self._tokens) == 1 and not isinstance(self._tokens[0], Operator):  # the common case
            value = self._tokens[0].evaluate(state)
        else:
            value = self._condition(state)
        for call in self._filters:
            value = call.apply(value, state)
        return value

    def _condition(self, state: State) -> Any:
        stack: list[Any] = []
        for token in self._tokens:
            if not isinstance(token, Operator):
                stack.append(token.evaluate(state))
                continue
            # An operand too few is missing, as it is to Segment.
            right = stack.pop() if stack else MISSING
            if token.name == "not":
                stack.append(not is_true(right))
            else:
                left = stack.pop() if stack else MISSING
                state.weigh(left)
                state.weigh(right)
                stack.append(_OPERATIONS[token.name](left, right))
        return stack[0]


def _postfix(tokens: Iterable[Operand | Operator]) -> list[Operand | Operator]:
    """Put the operators behind their operands; those of the same rank are taken from the right."""
    ordered: list[Operand | Operator] = []
    operators: list[Operator] = []
    for token in tokens:
        if isinstance(token, Operator):
            while operators and _rank(operators[-1]) > _rank(token):
                ordered.append(operators.pop())
            operators.append(token)
        else:
            ordered.append(token)
    return ordered + operators[::-1]


def _rank(operator: Operator) -> int:
    return _PRECEDENCE.get(operator.name, 2)
