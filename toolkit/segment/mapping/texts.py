"""The directives for texts: ``@case``, ``@replace`` and ``@json``, and JSON text as JavaScript writes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, NoReturn

from toolkit.frames import json_text
from toolkit.segment.javascript import MISSING, is_truthy, ordered_items, text_of, unit_count, units, whole

from .parse import Part, directive
from .tree import NOTHING, Directive, Node, Resolution, ResolveError

MAX_REPLACE_LENGTH: Final = 10
"""UTF-16 units in a pattern or replacement."""
MAX_DECODED_DEPTH: Final = 500
"""How deep the lists and objects in a JSON text may be nested."""

_SPECIAL = re.compile(r"\$[$&`']")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_DEPTHS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_NOT_NUMBERS: Final = {**dict.fromkeys(("", "NaN", "Infinity", "-Infinity"), "null"), "[object Object]": "{}"}
_MAX_DIGITS: Final = 400  # a double has none so large


@directive("@case")
def _case(argument: Part) -> Node:
    operator: Any = argument.given.get("operator")
    if operator not in ("lower", "upper"):
        argument.refuse('should be "lower" or "upper"', "operator")
    argument.expect("value", str, "a text", directive=True)
    if argument.given.get("value") == "":
        return NOTHING  # to Segment a blank text, as written, is no value
    return Case(operator=operator, value=argument.member("value"), pointer=argument.pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case(Directive):
    """``@case``: a text in lower or upper case; any other value as it is."""

    value: Node
    operator: Literal["lower", "upper"]

    def _value(self, scope: Any, resolution: Resolution) -> Any:
        value = self.value.resolve(scope, resolution)
        if not isinstance(value, str):
            return value
        resolution.spend(len(value))
        return value.lower() if self.operator == "lower" else value.upper()


@directive("@replace")
def _replace(argument: Part) -> Node:
    argument.need("pattern")
    argument.need("value")
    for key in ("pattern", "replacement"):
        argument.expect(key, str, "a text")
    argument.expect("value", str, "a text", directive=True)
    for key in ("ignorecase", "global"):
        argument.expect(key, bool, "true or false")
    if argument.given.get("pattern") == "":
        argument.refuse("should not be blank", "pattern")
    pairs = _pairs(argument)
    if argument.given.get("value") == "":
        return NOTHING  # as for `Case`
    return Replace(
        value=argument.member("value"),
        pairs=pairs,
        ignorecase=argument.given.get("ignorecase", False),
        everywhere=argument.given.get("global", True),
        pointer=argument.pointer,
    )


def _pairs(argument: Part) -> tuple[tuple[str, str], ...]:
    """Return the pattern and replacement, and the second ones when they are texts."""
    pairs = []
    for end in ("", "2"):
        pattern, replacement = argument.given.get("pattern" + end), argument.given.get("replacement" + end)
        replacement = "" if replacement is None else replacement
        if isinstance(pattern, str) and pattern and isinstance(replacement, str):
            for key, text in (("pattern", pattern), ("replacement", replacement)):
                if unit_count(text) > MAX_REPLACE_LENGTH:
                    argument.refuse(f"should have at most {MAX_REPLACE_LENGTH} characters", key + end)
            pairs.append((pattern, replacement))
    return tuple(pairs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replace(Directive):
    """``@replace``: a text (or the text of a number or boolean) with texts replaced in it; else ``""``."""

    value: Node
    pairs: tuple[tuple[str, str], ...]
    """One or two of (pattern, replacement), applied in turn. The pattern is literal; ``$&``, ``$$``,
    ``` $` ``` and ``$'`` in the replacement stand for parts of the text."""
    ignorecase: bool
    everywhere: bool
    """False replaces the first occurrence only."""

    def _value(self, scope: Any, resolution: Resolution) -> str:
        value = self.value.resolve(scope, resolution)
        if not isinstance(value, str | int | float):
            return ""
        text = units(text_of(value))
        for pattern, replacement in self.pairs:
            resolution.spend(len(text))
            if self.ignorecase or "$" in replacement:
                text = self._replaced(text, units(pattern), units(replacement), resolution)
            else:
                # At most ten times as long, the longest replacement there is.
                text = text.replace(units(pattern), units(replacement), -1 if self.everywhere else 1)
                resolution.spend(len(text))
        return whole(text)

    def _replaced(self, text: str, pattern: str, replacement: str, resolution: Resolution) -> str:
        searched, wanted = (_folded(text), _folded(pattern)) if self.ignorecase else (text, pattern)
        pieces: list[str] = []
        done = 0
        while (start := searched.find(wanted, done)) >= 0:
            stop = start + len(pattern)
            pieces += (text[done:start], _expanded(replacement, text, start, stop))
            # Spent piece by piece: each may hold the whole text several times.
            resolution.spend(len(pieces[-1]) + len(pieces[-2]))
            done = stop
            if not self.everywhere:
                break
        return "".join([*pieces, text[done:]])


def _expanded(replacement: str, text: str, start: int, stop: int) -> str:
    """Return the replacement with ``$&`` and its like filled in."""
    # Cut out when it is there only: each may be the whole text, at every place of the pattern.
    parts = {"$&": slice(start, stop), "$`": slice(start), "$'": slice(stop, None)}
    return _SPECIAL.sub(lambda found: "$" if found[0] == "$$" else text[parts[found[0]]], replacement)


def _folded(text: str) -> str:
    """Return the text as a regular expression without the ``u`` flag compares it when case is ignored."""
    uppers = {unit: unit.upper() for unit in set(text)}
    # One unit for one, and none becomes ASCII that was not.
    kept = {ord(u): up for u, up in uppers.items() if len(up) == 1 and (u.isascii() or not up.isascii())}
    return text.translate(kept)


# --- JSON text


@directive("@json")
def _json(argument: Part) -> Node:
    """Return the JSON text of a value, or what a JSON text says; anything else but a JSON text as it is."""
    if not is_truthy(argument.given.get("value", MISSING)):
        argument.refuse("needs a value, and not null, false, 0 or a blank text as written", "value")
    mode = argument.given.get("mode")
    if mode not in ("encode", "decode"):
        # Segment takes ENCODE too, and then gives nothing.
        argument.refuse('should be "encode" or "decode", in lower case', "mode")
    value, convert = argument.member("value"), to_json if mode == "encode" else _decoded
    return argument.computed(lambda scope, resolution: convert(value.resolve(scope, resolution), resolution))


def to_json(value: Any, resolution: Resolution) -> Any:
    """Return the JSON text of a value: no spaces, keys that are array indexes first, null for NaN.

    A missing value stays missing.

    >>> to_json({"b": 5.0, "1": ["x", None]}, Resolution())
    '{"1":["x",null],"b":5}'
    """
    if value is MISSING:
        return value
    chunks: list[str] = []
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | dict):
            resolution.spend_items(len(part))
            waiting.extend(reversed(_pieces(part)))
        else:
            chunks.append(part if isinstance(part, _Token) else _scalar(part))
            resolution.spend(len(chunks[-1]))
    return "".join(chunks)


class _Token(str):
    """Text that is already JSON."""

    __slots__ = ()


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
            pieces += (comma, _Token(json_text(whole(key)) + ":"), part)
    return [_Token("{"), *pieces[1:], _Token("}")]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return json_text(whole(value))
    text = text_of(value)
    return _NOT_NUMBERS.get(text, text)


def _decoded(text: Any, resolution: Resolution) -> Any:
    """Return what a JSON text says; anything else as it is."""
    if not isinstance(text, str):
        return text
    resolution.spend(4 * len(text))  # it takes that much longer than building text
    if _is_too_deep(text):
        raise ResolveError(f"a JSON text nested deeper than {MAX_DECODED_DEPTH} levels")
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except ValueError:
        return text


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DECODED_DEPTH:
        return False
    steps = (_DEPTHS.get(found[0], 0) for found in _BRACKET.finditer(text))
    return any(depth > MAX_DECODED_DEPTH for depth in accumulate(steps))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
