"""The directives for texts: ``@case``, ``@replace`` and ``@json``, and JSON text as JavaScript writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Final, Literal, NoReturn

from toolkit.errors import MappingError
from toolkit.frames import SURROGATE
from toolkit.segment.javascript import MISSING, is_truthy, ordered_items, text_of, unit_count, units, whole

from .parse import Fields, directive_of_fields
from .tree import ITEM_COST, NOTHING, Node, OfValue, OutputBudget

MAX_REPLACE_LENGTH: Final = 10
"""UTF-16 units in a pattern or replacement."""
MAX_DECODED_DEPTH: Final = 500
"""How deep the lists and objects in a JSON text may be nested."""

_SPECIAL = re.compile(r"\$[$&`']")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_NOT_FINITE: Final = {"NaN", "Infinity", "-Infinity"}
_MAX_DIGITS: Final = 400  # a double has none so large


@directive_of_fields("@case")
def _case(fields: Fields) -> Node:
    operator: Any = fields.given.get("operator")
    if operator not in ("lower", "upper"):
        fields.refuse('should be "lower" or "upper"', "operator")
    fields.expect("value", str, "a text", directive=True)
    if fields.given.get("value") == "":
        return NOTHING  # to Segment a blank text, as written, is no value
    return Case(operator=operator, value=fields.node("value"), pointer=fields.pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case(OfValue):
    """``@case``: a text in lower or upper case; any other value as it is."""

    operator: Literal["lower", "upper"]

    def _apply(self, value: Any, budget: OutputBudget) -> Any:
        if not isinstance(value, str):
            return value
        budget.spend(len(value), self.pointer)
        return value.lower() if self.operator == "lower" else value.upper()


@directive_of_fields("@replace")
def _replace(fields: Fields) -> Node:
    fields.need("pattern")
    fields.need("value")
    for key in ("pattern", "replacement"):
        fields.expect(key, str, "a text")
    fields.expect("value", str, "a text", directive=True)
    for key in ("ignorecase", "global"):
        fields.expect(key, bool, "true or false")
    if fields.given.get("pattern") == "":
        fields.refuse("should not be blank", "pattern")
    pairs = _pairs(fields)
    if fields.given.get("value") == "":
        return NOTHING  # as for `Case`
    return Replace(
        value=fields.node("value"),
        pairs=pairs,
        ignorecase=fields.given.get("ignorecase", False),
        everywhere=fields.given.get("global", True),
        pointer=fields.pointer,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Replace(OfValue):
    """``@replace``: a text (or the text of a number or boolean) with texts replaced in it; else ``""``."""

    pairs: tuple[tuple[str, str], ...]
    """One or two of (pattern, replacement), applied in turn. The pattern is literal; ``$&``, ``$$``,
    ``` $` ``` and ``$'`` in the replacement stand for parts of the text."""
    ignorecase: bool
    everywhere: bool
    """False replaces the first occurrence only."""

    def _apply(self, value: Any, budget: OutputBudget) -> str:
        if not isinstance(value, str | int | float):
            return ""
        text = units(text_of(value))
        for pattern, replacement in self.pairs:
            budget.spend(len(text), self.pointer)
            if self.ignorecase or "$" in replacement:
                text = self._replaced(text, units(pattern), units(replacement), budget)
            else:
                # At most ten times as long, the longest replacement there is.
                text = text.replace(units(pattern), units(replacement), -1 if self.everywhere else 1)
                budget.spend(len(text), self.pointer)
        return whole(text)

    def _replaced(self, text: str, pattern: str, replacement: str, budget: OutputBudget) -> str:
        searched, wanted = (_folded(text), _folded(pattern)) if self.ignorecase else (text, pattern)
        pieces: list[str] = []
        done = 0
        while (start := searched.find(wanted, done)) >= 0:
            stop = start + len(pattern)
            pieces += (text[done:start], _expanded(replacement, text, start, stop))
            # Spent piece by piece: each may hold the whole text several times.
            budget.spend(len(pieces[-1]) + len(pieces[-2]), self.pointer)
            done = stop
            if not self.everywhere:
                break
        return "".join([*pieces, text[done:]])


def _pairs(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Return the pattern and replacement, and the second ones when they are texts."""
    pairs = []
    for end in ("", "2"):
        pattern, replacement = fields.given.get("pattern" + end), fields.given.get("replacement" + end)
        replacement = "" if replacement is None else replacement
        if isinstance(pattern, str) and pattern and isinstance(replacement, str):
            for key, text in (("pattern", pattern), ("replacement", replacement)):
                if unit_count(text) > MAX_REPLACE_LENGTH:
                    fields.refuse(f"should have at most {MAX_REPLACE_LENGTH} characters", key + end)
            pairs.append((pattern, replacement))
    return tuple(pairs)


def _expanded(replacement: str, text: str, start: int, stop: int) -> str:
    """Return the replacement with ``$&`` and its like filled in."""

    def part(found: re.Match[str]) -> str:
        # No other part is cut out: each may be the whole text, at every place of the pattern.
        match found[0]:
            case "$&":
                return text[start:stop]
            case "$`":
                return text[:start]
            case "$'":
                return text[stop:]
        return "$"

    return _SPECIAL.sub(part, replacement)


def _folded(text: str) -> str:
    """Return the text as a regular expression without the ``u`` flag compares it when case is ignored."""
    return text.translate({ord(unit): _folded_unit(unit) for unit in set(text)})


def _folded_unit(unit: str) -> str:
    upper = unit.upper()
    # One unit for one, and none becomes ASCII that was not.
    return unit if len(upper) != 1 or (upper.isascii() and not unit.isascii()) else upper


# --- JSON text


@directive_of_fields("@json")
def _json(fields: Fields) -> Node:
    if not is_truthy(fields.given.get("value", MISSING)):
        fields.refuse("needs a value, and not null, false, 0 or a blank text as written", "value")
    mode: Any = fields.given.get("mode")
    if mode not in ("encode", "decode"):
        # Segment takes ENCODE too, and then gives nothing.
        fields.refuse('should be "encode" or "decode", in lower case', "mode")
    return Json(mode=mode, value=fields.node("value"), pointer=fields.pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Json(OfValue):
    """``@json``: the JSON text of a value, as JavaScript writes it; or what a JSON text says.

    A missing value stays missing; decoding leaves anything but a JSON text as it is.
    """

    mode: Literal["encode", "decode"]

    def _apply(self, value: Any, budget: OutputBudget) -> Any:
        if value is MISSING or (self.mode == "decode" and not isinstance(value, str)):
            return value
        if self.mode == "encode":
            return to_json(value, lambda characters: budget.spend(characters, self.pointer))
        budget.spend(4 * len(value), self.pointer)  # it takes that much longer than building text
        if _is_too_deep(value):
            raise MappingError(f"a JSON text nested deeper than {MAX_DECODED_DEPTH} levels", self.pointer)
        try:
            return json.loads(value, parse_constant=_refuse, parse_int=_integer)
        except ValueError:
            return value


class _Token(str):
    """Text that is already JSON."""

    __slots__ = ()


def to_json(value: Any, spend: Callable[[int], None]) -> str:
    """Return the JSON text of a value: no spaces, keys that are array indexes first, null for NaN.

    >>> to_json({"b": 5.0, "1": ["x", None]}, spend=lambda characters: None)
    '{"1":["x",null],"b":5}'
    """
    chunks: list[str] = []
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | dict):
            spend(len(part) * ITEM_COST)
            waiting.extend(reversed(_pieces(part)))
        else:
            chunks.append(part if isinstance(part, _Token) else _scalar(part))
            spend(len(chunks[-1]))
    return "".join(chunks)


def _pieces(value: list[Any] | dict[str, Any]) -> list[Any]:
    """Return the parts of a list or object, and the text before, between and after them."""
    comma = _Token(",")
    pieces: list[Any] = []
    if isinstance(value, list):
        for part in value:
            pieces += (comma, part)
        return [_Token("["), *pieces[1:], _Token("]")]
    for key, part in ordered_items(value):
        if part is not MISSING:
            pieces += (comma, _Token(_quoted(key) + ":"), part)
    return [_Token("{"), *pieces[1:], _Token("}")]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool | int | float):
        text = text_of(value)
        return "null" if text in _NOT_FINITE else text
    return "null" if value is None or value is MISSING else "{}"


def _quoted(text: str) -> str:
    if text.isascii() or not SURROGATE.search(text):
        return encode_basestring(text)
    return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", encode_basestring(whole(text)))


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DECODED_DEPTH:
        return False
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_DECODED_DEPTH:
            return True
    return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
