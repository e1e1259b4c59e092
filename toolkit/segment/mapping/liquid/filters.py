"""The filters by name: those for numbers, lists and any value, and what is turned off or not supported."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

from toolkit.segment.javascript import (
    MISSING,
    is_truthy,
    number_of,
    number_text,
    text_of,
    unit_at,
    unit_count,
)
from toolkit.segment.mapping.texts import to_json

from .dates import date
from .texts import TEXT_FILTERS
from .values import Filter, Rendering, is_nil, is_true, on_values, property_of, whole_number

DISABLED_FILTERS: Final = frozenset(
    (
        *("array_to_sentence_string", "concat", "find", "find_exp", "find_index", "find_index_exp"),
        *("group_by", "group_by_exp", "has", "has_exp", "map", "newline_to_br", "reject", "reject_exp"),
        *("reverse", "sort", "sort_natural", "type", "uniq", "where_exp"),
    )
)
"""Filters that Segment has turned off."""
UNSUPPORTED_FILTERS: Final = frozenset(
    (
        *("base64_decode", "cgi_escape", "date_to_long_string", "date_to_rfc822", "date_to_string"),
        *("date_to_xmlschema", "inspect", "jsonify", "number_of_words", "pop", "push", "raw", "sample"),
        *("shift", "slugify", "to_integer", "unshift", "uri_escape", "where"),
    )
)
"""Filters that Segment takes. Any name that is in no list leaves the value as it is."""

_LARGEST_SAFE: Final = 2**53 - 1


def _on_numbers(function: Callable[..., float], arity: int = 0) -> Filter:
    """Return a filter that calculates with doubles; what is no number is 0, an absent argument NaN."""

    def call(_: Rendering, value: Any, *arguments: Any) -> float:
        given = [_number(part) for part in (value, *arguments[:arity])]
        return function(*given, *[math.nan] * (arity + 1 - len(given)))

    return call


def _number(value: Any) -> float:
    number = number_of(value)
    return 0.0 if math.isnan(number) else number


# --- numbers


def _quotient(left: float, right: float) -> float:
    if right:
        return left / right
    return math.copysign(math.inf, left) * math.copysign(1, right) if left else math.nan


def _divided_by(left: float, right: float, rounds: float) -> float:
    quotient = _quotient(left, right)
    return _rounded_down(quotient) if is_truthy(rounds) else quotient


def _remainder(left: float, right: float) -> float:
    return math.fmod(left, right) if right and math.isfinite(left) else math.nan


def _modulo(left: float, right: float) -> float:
    return _remainder(_remainder(left, right) + right, right)


def _rounded_down(number: float) -> float:
    return float(math.floor(number)) if math.isfinite(number) else number


def _bound(choose: Callable[[list[float]], float]) -> Filter:
    """Return a filter that chooses among the value and every argument."""
    return lambda _, value, *arguments: choose([_number(part) for part in (value, *arguments)])


def _round(_: Rendering, value: Any, digits: Any) -> float:
    number = _number(value)
    places = 0.0 if digits is MISSING else _number(digits)
    scaled = _shifted(abs(number), places)
    if not scaled <= _LARGEST_SAFE:
        return number
    rounded = _shifted(_rounded_down(scaled + 0.5), -places)
    return -rounded if number < 0 else rounded


def _shifted(number: float, places: float) -> float:
    """Move the decimal point in the number's text, so that 1.005 is not 1.00499."""
    mantissa, _, power = number_text(number).partition("e")
    return number_of(f"{mantissa}e{number_text(float(power or 0) + places)}")


# --- lists and choices


def _items(rendering: Rendering, value: Any) -> list[Any]:
    """Return a value as a list: null as none, anything else as the only item."""
    if is_nil(value):
        return []
    items = value if isinstance(value, list) else [value]
    rendering.spend_items(len(items))
    return items


def _join(rendering: Rendering, value: Any, separator: Any) -> str:
    separator = " " if is_nil(separator) else rendering.text(separator)
    return rendering.join(separator, [text_of(item) for item in _items(rendering, value)])


def _first(_: Rendering, value: Any) -> Any:
    return property_of(value, 0) if isinstance(value, list | str) and value else _nothing(value)


def _last(_: Rendering, value: Any) -> Any:
    if isinstance(value, str) and value:
        return unit_at(value, unit_count(value) - 1)
    return value[-1] if isinstance(value, list) and value else _nothing(value)


def _nothing(value: Any) -> Any:
    return MISSING if isinstance(value, list) else ""


def _size(_: Rendering, value: Any) -> int:
    if isinstance(value, str):
        return unit_count(value)
    return len(value) if isinstance(value, list) else 0


def _sum(rendering: Rendering, value: Any, key: Any) -> float:
    keys = rendering.text(key).split(".") if is_truthy(key) else []
    total = 0.0
    for item in _items(rendering, value):
        total += _number(reduce(property_of, keys, item))
    return total


def _slice(rendering: Rendering, value: Any, start: Any, length: Any) -> Any:
    if is_nil(value):
        return []
    value = value if isinstance(value, list) else rendering.text(value)
    start = number_of(start)
    length = 1.0 if length is MISSING else number_of(length)
    start = start + len(value) if start < 0 else start
    if start < 0 or length < 0:
        return value[:0]
    if isinstance(value, str):
        first = whole_number(start, len(value))
        return value[first : first + whole_number(length, len(value))]
    first, stop = _index(start, len(value)), _index(start + length, len(value))
    rendering.spend_items(max(stop - first, 0))
    return value[first:stop]


def _index(number: float, largest: int) -> int:
    return int(min(number, largest)) if number > 0 else 0


def _default(_: Rendering, value: Any, *arguments: Any) -> Any:
    otherwise = arguments[0] if arguments else MISSING
    if isinstance(value, list | str):
        return value if value else otherwise
    # A named argument is a pair of its name and value.
    pairs = [part for part in arguments[1:] if isinstance(part, list) and len(part) == 2]
    if value is False and any(name == "allow_false" and is_truthy(given) for name, given in pairs):
        return False
    return value if is_true(value) else otherwise


def _json(rendering: Rendering, value: Any) -> Any:
    return MISSING if value is MISSING else to_json(value, rendering.spend)


FILTERS: Final[dict[str, Filter]] = {
    **TEXT_FILTERS,
    "abs": _on_numbers(abs),
    "at_least": _bound(max),
    "at_most": _bound(min),
    "ceil": _on_numbers(lambda number: -_rounded_down(-number)),
    "compact": on_values(lambda rendering, value: [v for v in _items(rendering, value) if not is_nil(v)]),
    "date": on_values(date, 2),
    "default": _default,
    "divided_by": _on_numbers(_divided_by, 2),
    "first": on_values(_first),
    "floor": _on_numbers(_rounded_down),
    "join": on_values(_join, 1),
    "json": on_values(_json),
    "last": on_values(_last),
    "minus": _on_numbers(lambda left, right: left - right, 1),
    "modulo": _on_numbers(_modulo, 1),
    "plus": _on_numbers(lambda left, right: left + right, 1),
    "round": on_values(_round, 1),
    "size": on_values(_size),
    "slice": on_values(_slice, 2),
    "sum": on_values(_sum, 1),
    "times": _on_numbers(lambda left, right: left * right, 1),
}
"""Filters that work."""
