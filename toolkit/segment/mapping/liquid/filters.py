"""The filters by name: for texts, numbers, lists and any value; and what is off or not supported."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from inspect import signature
from typing import Any, Final, TypeAlias

from toolkit.segment.javascript import (
    MISSING,
    WHITESPACE,
    is_truthy,
    number_of,
    number_text,
    text_of,
    unit_at,
    unit_count,
)
from toolkit.segment.mapping.texts import to_json
from toolkit.segment.mapping.tree import ResolveError

from .texts import SPACES, TEXT_FILTERS, date
from .values import Rendering, is_nil, is_true, property_of, whole_number

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

Filter: TypeAlias = Callable[..., Any]
"""Called with the rendering, the value and the arguments as they are given."""

_LARGEST_SAFE: Final = 2**53 - 1

# --- numbers: functions of the rendering and doubles; what is no number is 0, an absent argument NaN


def _number(value: Any) -> float:
    number = number_of(value)
    return 0.0 if math.isnan(number) else number


def _divided_by(_: Rendering, left: float, right: float, rounds: float) -> float:
    if right:
        quotient = left / right
    else:
        quotient = math.copysign(math.inf, left) * math.copysign(1, right) if left else math.nan
    return _rounded_down(quotient) if is_truthy(rounds) else quotient


def _modulo(_: Rendering, left: float, right: float) -> float:
    return _remainder(_remainder(left, right) + right, right)


def _remainder(left: float, right: float) -> float:
    return math.fmod(left, right) if right and math.isfinite(left) else math.nan


def _rounded_down(number: float) -> float:
    return float(math.floor(number)) if math.isfinite(number) else number


_NUMBERS: Final[dict[str, Callable[..., float]]] = {
    "abs": lambda _, number: abs(number),
    "ceil": lambda _, number: -_rounded_down(-number),
    "divided_by": _divided_by,
    "floor": lambda _, number: _rounded_down(number),
    "minus": lambda _, left, right: left - right,
    "modulo": _modulo,
    "plus": lambda _, left, right: left + right,
    "times": lambda _, left, right: left * right,
}


# --- any values: functions of the rendering, the value and the arguments, absent ones missing


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


def _truncate(rendering: Rendering, value: Any, length: Any, ending: Any) -> Any:
    text = rendering.text(value)
    ending = "..." if ending is MISSING else rendering.text(ending)
    wanted = 50.0 if length is MISSING else number_of(length)
    if unit_count(text) <= wanted or whole_number(wanted, len(text)) >= len(text):
        return value
    return text[: whole_number(wanted - len(ending), len(text))] + ending


def _truncate_words(rendering: Rendering, value: Any, count: Any, ending: Any) -> str:
    ending = "..." if ending is MISSING else rendering.text(ending)
    words = SPACES.split(rendering.text(value).lstrip(WHITESPACE))
    wanted = 15.0 if count is MISSING else number_of(count)
    wanted = 1.0 if wanted <= 0 else wanted
    shown = " ".join(words[: int(min(wanted, len(words))) if wanted > 0 else 0])
    return shown + ending if len(words) >= wanted else shown


def _stripper(strip: Callable[[str, str], str]) -> Callable[..., str]:
    return lambda rendering, value, characters: strip(
        rendering.text(value), rendering.text(characters) if is_truthy(characters) else WHITESPACE
    )


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


def _end(place: int) -> Callable[..., Any]:
    def end(_: Rendering, value: Any) -> Any:
        if isinstance(value, list):
            return value[place] if value else MISSING
        return unit_at(value, place % unit_count(value)) if isinstance(value, str) and value else ""

    return end


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
    first, stop = (int(min(place, len(value))) if place > 0 else 0 for place in (start, start + length))
    rendering.spend_items(max(stop - first, 0))
    return value[first:stop]


_VALUES: Final[dict[str, Callable[..., Any]]] = {
    "compact": lambda rendering, value: [item for item in _items(rendering, value) if not is_nil(item)],
    "date": date,
    "first": _end(0),
    "join": _join,
    "json": lambda rendering, value: to_json(value, rendering.resolution),
    "last": _end(-1),
    "lstrip": _stripper(str.lstrip),
    "round": _round,
    "rstrip": _stripper(str.rstrip),
    "size": _size,
    "slice": _slice,
    "strip": _stripper(str.strip),
    "sum": _sum,
    "truncate": _truncate,
    "truncatewords": _truncate_words,
}


# --- with as many arguments as there are


def _default(_: Rendering, value: Any, otherwise: Any = MISSING, *arguments: Any) -> Any:
    if isinstance(value, list | str):
        return value if value else otherwise
    # A named argument is a pair of its name and value.
    pairs = [part for part in arguments if isinstance(part, list) and len(part) == 2]
    if value is False and any(name == "allow_false" and is_truthy(given) for name, given in pairs):
        return False
    return value if is_true(value) else otherwise


def _joined(place: int) -> Filter:
    def call(rendering: Rendering, value: Any, *arguments: Any) -> str:
        if len(arguments) != 1:
            raise ResolveError("append and prepend take one argument")
        texts = [rendering.text(value)]
        texts.insert(place, rendering.text(arguments[0]))
        return "".join(texts)

    return call


def _bound(choose: Callable[[list[float]], float]) -> Filter:
    return lambda _, value, *arguments: choose([_number(part) for part in (value, *arguments)])


def _with_arity(
    functions: dict[str, Callable[..., Any]], convert: Callable[[Rendering, Any], Any], absent: Any
) -> dict[str, Filter]:
    """Return the filters that convert what is given, as much as the function takes; the rest is *absent*."""

    def made(function: Callable[..., Any]) -> Filter:
        arity = len(signature(function).parameters) - 1

        def call(rendering: Rendering, *given: Any) -> Any:
            values = [convert(rendering, value) for value in given[:arity]]
            return function(rendering, *values, *[absent] * (arity - len(values)))

        return call

    return {name: made(function) for name, function in functions.items()}


FILTERS: Final[dict[str, Filter]] = {
    **_with_arity(TEXT_FILTERS, Rendering.text, absent=""),
    **_with_arity(_NUMBERS, lambda _, value: _number(value), absent=math.nan),
    **_with_arity(_VALUES, lambda _, value: value, absent=MISSING),
    "append": _joined(1),
    "at_least": _bound(max),
    "at_most": _bound(min),
    "default": _default,
    "prepend": _joined(0),
}
"""Filters that work; more arguments than one takes do not count."""
