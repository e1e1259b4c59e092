"""The filters by name: for texts, numbers, lists and any value; and what is off or not supported."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from inspect import signature
from typing import Any, Final

from toolkit.segment.javascript import MISSING, WHITESPACE, is_truthy, number_of, number_text, text_of, units
from toolkit.segment.mapping.texts import to_json
from toolkit.segment.mapping.tree import ResolveError

from .dates import date
from .values import Rendering, is_nil, is_true, property_of

DISABLED_FILTERS: Final = (
    *("array_to_sentence_string", "concat", "find", "find_exp", "find_index", "find_index_exp", "group_by"),
    *("group_by_exp", "has", "has_exp", "map", "newline_to_br", "reject", "reject_exp", "reverse", "sort"),
    *("sort_natural", "type", "uniq", "where_exp"),
)
"""Filters that Segment has turned off."""
UNSUPPORTED_FILTERS: Final = (
    *("base64_decode", "base64_encode", "cgi_escape", "date_to_long_string", "date_to_rfc822"),
    *("date_to_string", "date_to_xmlschema", "escape", "escape_once", "hmac_sha256", "inspect", "jsonify"),
    *("number_of_words", "pop", "push", "raw", "sample", "sha256", "shift", "slugify", "sum", "to_integer"),
    *("truncatewords", "unshift", "uri_escape", "url_decode", "url_encode", "where", "xml_escape"),
)
"""Filters that Segment takes. Any name that is in no list leaves the value as it is."""

_SPACES = re.compile(f"[{WHITESPACE}]+")
_NEWLINE = re.compile(r"\r?\n")
_HTML_BLOCKS: Final = (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->"), ("<", ">"))
_LARGEST_SAFE: Final = 2**53 - 1


# --- texts: functions of the rendering, the text of the value and those of the arguments, absent ones blank


def _capitalize(_: Rendering, text: str) -> str:
    first = text[:1]
    # JavaScript sees a lone surrogate where a letter is beyond U+FFFF, and leaves it.
    return (first.upper() if first <= "\uffff" else first) + text[1:].lower()


def _strip_html(_: Rendering, text: str) -> str:
    """Leave tags, comments, scripts and styles out; an opening that is never closed stays."""
    blocks = [(opening, closing, text.rfind(closing)) for opening, closing in _HTML_BLOCKS]
    kept = []
    done = 0
    while (start := text.find("<", done)) >= 0:
        closed = [(o, c) for o, c, last in blocks if text.startswith(o, start) and last >= start + len(o)]
        if not closed:
            break
        kept.append(text[done:start])
        opening, closing = closed[0]
        done = text.index(closing, start + len(opening)) + len(closing)
    return "".join([*kept, text[done:]])


def _replace(rendering: Rendering, text: str, part: str, other: str) -> str:
    if not part:
        return rendering.join(other, list(units(text)))
    rendering.resolution.spend(text.count(part) * len(other))
    return text.replace(part, other)


def _replace_last(_: Rendering, text: str, part: str, other: str) -> str:
    start = text.rfind(part)
    return text if start < 0 else text[:start] + other + text[start + len(part) :]


def _split(rendering: Rendering, text: str, separator: str) -> list[str]:
    rendering.resolution.spend_items(text.count(separator))
    parts = text.split(separator) if separator else list(units(text))
    while parts and parts[-1] == "":
        parts.pop()
    return parts


_TEXTS: Final[dict[str, Callable[..., Any]]] = {
    "capitalize": _capitalize,
    "downcase": lambda _, text: text.lower(),
    "normalize_whitespace": lambda _, text: _SPACES.sub(" ", text),
    "remove": lambda _, text, part: text.replace(part, "") if part else text,
    "remove_first": lambda _, text, part: text.replace(part, "", 1),
    "remove_last": lambda _, text, part: _replace_last(_, text, part, ""),
    "replace": _replace,
    "replace_first": lambda _, text, part, other: text.replace(part, other, 1),
    "replace_last": _replace_last,
    "split": _split,
    "squish": lambda _, text: _SPACES.sub(" ", text).strip(WHITESPACE),
    "strip_html": _strip_html,
    "strip_newlines": lambda _, text: _NEWLINE.sub("", text),
    "upcase": lambda _, text: text.upper(),
}


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
    if len(units(text)) <= wanted or _whole_number(wanted, len(text)) >= len(text):
        return value
    return text[: _whole_number(wanted - len(ending), len(text))] + ending


def _whole_number(number: float, largest: int) -> int:
    """Return how often a loop runs that counts from 0 while below *number*, *largest* at most."""
    return math.ceil(min(number, largest)) if number > 0 else 0


def _stripper(strip: Callable[[str, str], str]) -> Callable[..., str]:
    return lambda rendering, value, characters: strip(
        rendering.text(value), rendering.text(characters) if is_truthy(characters) else WHITESPACE
    )


def _items(rendering: Rendering, value: Any) -> list[Any]:
    """Return a value as a list: null as none, anything else as the only item."""
    if is_nil(value):
        return []
    items = value if isinstance(value, list) else [value]
    rendering.resolution.spend_items(len(items))
    return items


def _join(rendering: Rendering, value: Any, separator: Any) -> str:
    separator = " " if is_nil(separator) else rendering.text(separator)
    return rendering.join(separator, [text_of(item) for item in _items(rendering, value)])


def _end(place: int) -> Callable[..., Any]:
    def end(_: Rendering, value: Any) -> Any:
        if isinstance(value, list):
            return value[place] if value else MISSING
        return units(value)[place] if isinstance(value, str) and value else ""

    return end


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
        first = _whole_number(start, len(value))
        return value[first : first + _whole_number(length, len(value))]
    first, stop = (int(min(place, len(value))) if place > 0 else 0 for place in (start, start + length))
    rendering.resolution.spend_items(max(stop - first, 0))
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
    "size": lambda _, value: property_of(value, "size") if isinstance(value, str | list) else 0,
    "slice": _slice,
    "strip": _stripper(str.strip),
    "truncate": _truncate,
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


def _only_text(rendering: Rendering, arguments: tuple[Any, ...]) -> str:
    if len(arguments) != 1:
        raise ResolveError("append and prepend take one argument")
    return rendering.text(arguments[0])


def _bound(choose: Callable[[list[float]], float]) -> Callable[..., Any]:
    return lambda _, value, *arguments: choose([_number(part) for part in (value, *arguments)])


def _with_arity(
    functions: dict[str, Callable[..., Any]], convert: Callable[[Rendering, Any], Any], absent: Any
) -> dict[str, Callable[..., Any]]:
    """Return the filters that convert what is given, as much as the function takes; the rest is *absent*."""

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        arity = len(signature(function).parameters) - 1

        def call(rendering: Rendering, *given: Any) -> Any:
            values = [convert(rendering, value) for value in given[:arity]]
            return function(rendering, *values, *[absent] * (arity - len(values)))

        return call

    return {name: made(function) for name, function in functions.items()}


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    **_with_arity(_TEXTS, Rendering.text, absent=""),
    **_with_arity(_NUMBERS, lambda _, value: _number(value), absent=math.nan),
    **_with_arity(_VALUES, lambda _, value: value, absent=MISSING),
    "append": lambda rendering, value, *given: rendering.text(value) + _only_text(rendering, given),
    "at_least": _bound(max),
    "at_most": _bound(min),
    "default": _default,
    "prepend": lambda rendering, value, *given: _only_text(rendering, given) + rendering.text(value),
}
"""Filters that work, called with the rendering, the value and all arguments; spare ones do not count."""
