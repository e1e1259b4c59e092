"""Filters for numbers; all of them calculate with doubles, and read what is no number as 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from toolkit.segment.mapping.javascript import number_text
from toolkit.segment.mapping.values import MISSING

from .signature import Filter, on_values
from .state import State
from .values import number_of, to_number

_NAN: Final = float("nan")
_LARGEST_SAFE: Final = 2**53 - 1


def _on_numbers(function: Callable[..., float], arity: int) -> Filter:
    """Return a filter from a function of *arity* numbers, the value first; an absent one is no number."""

    def call(value: Any, arguments: Sequence[Any], _: State) -> float:
        given = [number_of(part) for part in [value, *arguments][:arity]]
        return function(*given, *[_NAN] * (arity - len(given)))

    return call


def _quotient(left: float, right: float) -> float:
    if right:
        return left / right
    return _NAN if left == 0 or left != left else math.copysign(math.inf, left) * math.copysign(1, right)  # noqa: PLR0124


def _divided_by(left: float, right: float, whole: float) -> float:
    quotient = _quotient(left, right)
    return _rounded_down(quotient) if whole and whole == whole else quotient  # noqa: PLR0124


def _remainder(left: float, right: float) -> float:
    return math.fmod(left, right) if right and math.isfinite(left) else _NAN


def _modulo(left: float, right: float) -> float:
    return _remainder(_remainder(left, right) + right, right)


def _rounded_down(number: float) -> float:
    return float(math.floor(number)) if math.isfinite(number) else number


def _rounded_up(number: float) -> float:
    return -_rounded_down(-number)


def _bound(choose: Callable[[list[float]], float]) -> Filter:
    """Return a filter that chooses among the value and every argument."""
    return lambda value, arguments, _: choose([number_of(part) for part in (value, *arguments)])


def _round(_: State, value: Any, digits: Any) -> float:
    number = number_of(value)
    places = 0.0 if digits is MISSING else number_of(digits)
    scaled = _shifted(abs(number), places)
    if not scaled <= _LARGEST_SAFE:
        return number
    rounded = _shifted(_rounded_down(scaled + 0.5), -places)
    return -rounded if number < 0 else rounded


def _shifted(number: float, places: float) -> float:
    """Move the decimal point in the number's text, so that 1.005 is not 1.00499."""
    mantissa, _, power = number_text(number).partition("e")
    return to_number(f"{mantissa}e{number_text(float(power or 0) + places)}")


NUMBER_FILTERS: Final[dict[str, Filter]] = {
    "abs": _on_numbers(abs, 1),
    "at_least": _bound(max),
    "at_most": _bound(min),
    "ceil": _on_numbers(_rounded_up, 1),
    "divided_by": _on_numbers(_divided_by, 3),
    "floor": _on_numbers(_rounded_down, 1),
    "minus": _on_numbers(lambda left, right: left - right, 2),
    "modulo": _on_numbers(_modulo, 2),
    "plus": _on_numbers(lambda left, right: left + right, 2),
    "round": on_values(_round, 1),
    "times": _on_numbers(lambda left, right: left * right, 2),
    "to_integer": on_values(lambda _, value: to_number(value)),
}
