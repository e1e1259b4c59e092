"""``@json``: JSON text as JavaScript writes and reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

from toolkit.errors import MappingError

from .allowance import ITEM_COST
from .javascript import number_text, ordered_items, whole
from .values import MISSING

MAX_DECODED_DEPTH: Final = 500
"""How deep the lists and objects in a JSON text may be nested."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_NOT_FINITE: Final = {"NaN", "Infinity", "-Infinity"}
_MAX_DIGITS: Final = 400  # a double has none so large


class _Token(str):
    """Text that is already JSON."""

    __slots__ = ()


def encode(value: Any, spend: Callable[[int], None], *, indent: str = "") -> str:
    """Return the JSON text of a value: no spaces, keys that are array indexes first, null for NaN.

    >>> encode({"b": 5.0, "1": ["x", None]}, spend=lambda characters: None)
    '{"1":["x",null],"b":5}'
    """
    # Not recursive: an event may be nested deeper than Python calls.
    chunks: list[str] = []
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, list | dict):
            waiting.extend(_parts(part, depth, spend, indent))
        elif isinstance(part, _Token):
            chunks.append(part)
        else:
            chunks.append(_scalar(part))
            spend(len(chunks[-1]))
    return "".join(chunks)


def _parts(
    value: list[Any] | dict[str, Any], depth: int, spend: Callable[[int], None], indent: str
) -> list[tuple[Any, int]]:
    """Return the lists and objects in *value*, last first, and the text before, between and after them."""
    opening, closing = ("[", "]") if isinstance(value, list) else ("{", "}")
    members = _members(value, ": " if indent else ":")
    outer, inner = (f"\n{indent * d}" if indent and members else "" for d in (depth, depth + 1))
    spend(len(members) * (len(inner) + ITEM_COST))
    parts: list[tuple[Any, int]] = []
    texts = [opening]
    for head, part in members:
        texts += (inner, head)
        if isinstance(part, list | dict):
            parts += ((_Token("".join(texts)), 0), (part, depth + 1))
            texts = [","]
        else:
            text = _scalar(part)
            spend(len(text))
            texts += (text, ",")
    if members:
        texts.pop()  # the last comma
    parts.append((_Token("".join([*texts, outer, closing])), 0))
    parts.reverse()
    return parts


def _members(value: list[Any] | dict[str, Any], colon: str) -> list[tuple[str, Any]]:
    """Return the parts of a list or object, each with what stands before it."""
    if isinstance(value, list):
        return [("", part) for part in value]
    return [(_quoted(key) + colon, part) for key, part in ordered_items(value) if part is not MISSING]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float):
        return "null" if value is None or value is MISSING else "{}"
    text = number_text(value)
    return "null" if text in _NOT_FINITE else text


def _quoted(text: str) -> str:
    if text.isascii() or not _SURROGATE.search(text):
        return encode_basestring(text)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", encode_basestring(whole(text)))


def decode(text: str, pointer: str) -> Any:
    """Return what a JSON text says; the text itself when it is none."""
    if _is_too_deep(text):
        raise MappingError(f"a JSON text nested deeper than {MAX_DECODED_DEPTH} levels", pointer)
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except ValueError:
        return text


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
