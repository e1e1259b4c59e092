"""Values in Liquid templates: JSON, `MISSING`, and the three words that stand for nothing.

A word keeps its nature in a comparison; anywhere else it counts as its plain value (`plain`).
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Final

from toolkit.segment.mapping.javascript import (
    WHITESPACE,
    innermost,
    is_truthy,
    number_text,
    text_of,
    unit_at,
    unit_count,
    units,
)
from toolkit.segment.mapping.values import MISSING


class Word(Enum):
    """``nil``, ``empty`` and ``blank``, written in a template."""

    NIL = None
    EMPTY = ""
    BLANK = " "


_NUMBER_WORDS: Final = {"Infinity": float("inf"), "+Infinity": float("inf"), "-Infinity": float("-inf")}
_DIGITS: Final = frozenset("0123456789abcdefABCDEFxXoO.+-")
_BASES: Final = {"0x": 16, "0o": 8, "0b": 2}


def plain(value: Any) -> Any:
    """Return what a value counts as outside comparisons."""
    if isinstance(value, Word):
        return None if value is Word.NIL else ""
    return value


def is_nil(value: Any) -> bool:
    """Tell whether a value is null or missing."""
    return value is None or value is MISSING or value is Word.NIL


def is_true(value: Any) -> bool:
    """Tell whether a condition is met; only false, null and missing are not."""
    return not is_nil(value) and value is not False


def is_js_true(value: Any) -> bool:
    """Tell whether JavaScript, where it is asked, takes a value for true; also the words are."""
    return isinstance(value, Word) or is_truthy(value)


def texts_of(value: Any) -> list[str]:
    """Return the texts that together are how a value prints; lists print without separators."""
    items = innermost(value) if isinstance(value, list) else [value]
    return [text_of(plain(item)) for item in items if not is_nil(item)]


def key_text(value: Any) -> str:
    """Return the text JavaScript makes of a value that it needs a text of, even of null."""
    if isinstance(value, str):
        return value
    value = plain(value)
    if value is None or value is MISSING:
        return "null" if value is None else "undefined"
    return text_of(value)


def number_of(value: Any) -> float:
    """Return a value as a number, 0 where it is none; the way the arithmetic filters read it."""
    number = to_number(value)
    return 0.0 if number != number else number  # noqa: PLR0124 - NaN


def whole_number(number: float, largest: int) -> int:
    """Return how often a loop runs that counts from 0 while below *number*, *largest* at most."""
    return math.ceil(min(number, largest)) if number > 0 else 0


def to_number(value: Any) -> float:
    """Return a value as JavaScript's ``Number`` does; NaN where it is none."""
    value = plain(value)
    if isinstance(value, int | float):  # booleans too
        return _float(value)
    if value is None:
        return 0.0
    if isinstance(value, dict) or value is MISSING:
        return float("nan")
    return _read_number(text_of(value).strip(WHITESPACE))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _read_number(text: str) -> float:
    if text == "" or text in _NUMBER_WORDS:
        return _NUMBER_WORDS.get(text, 0.0)
    if not text.isascii() or not _DIGITS.issuperset(text):
        return float("nan")
    try:
        base = _BASES.get(text[:2].lower())
        return _float(int(text[2:].replace("+", "x").replace("-", "x"), base)) if base else float(text)
    except ValueError:
        return float("nan")


def are_equal(left: Any, right: Any) -> bool:
    """Tell whether ``==`` holds: lists by their items, objects only with themselves."""
    # Not recursive: an event may be nested deeper than Python calls.
    waiting = [(left, right)]
    while waiting:
        left, right = waiting.pop()
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            waiting.extend(zip(left, right, strict=True))
        elif not _are_equal_alone(left, right):
            return False
    return True


def _are_equal_alone(left: Any, right: Any) -> bool:
    if isinstance(left, Word):
        return _is_word_equal(left, right)
    if isinstance(right, Word):
        return _is_word_equal(right, left)
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return left is right and isinstance(left, dict)
    return bool(left == right)


def _is_word_equal(word: Word, value: Any) -> bool:
    if word is Word.NIL:
        return is_nil(value)
    if isinstance(value, Word):
        return word is Word.BLANK and value is Word.NIL
    if word is Word.BLANK:
        if value is False or is_nil(value):
            return True
        value = value.strip(WHITESPACE) if isinstance(value, str) else value
    return isinstance(value, str | list | dict) and not value


def is_less(left: Any, right: Any, *, or_equal: bool = False) -> bool:
    """Tell whether ``<`` (or ``<=``) holds: texts by their characters, everything else as numbers."""
    if isinstance(left, Word) or isinstance(right, Word):
        return False
    left, right = (text_of(v) if isinstance(v, list | dict) else v for v in (left, right))
    if isinstance(left, str) and isinstance(right, str):
        left, right = units(left), units(right)
    else:
        left, right = to_number(left), to_number(right)
    return bool(left <= right if or_equal else left < right)


def contains(left: Any, right: Any) -> bool:
    """Tell whether a list has an item, or a text a part; nothing else contains anything."""
    left = plain(left)
    if isinstance(left, list):
        return any(are_equal(item, right) for item in left)
    return isinstance(left, str) and key_text(right) in left


def property_of(value: Any, key: Any) -> Any:  # noqa: PLR0911 - one for each kind of value
    """Return a member, item or character of a value; of texts and lists also ``size`` and ``length``."""
    if isinstance(value, dict) and isinstance(key, str):  # the common case
        return value.get(key, len(value) if key == "size" else MISSING)
    if is_nil(value) or isinstance(value, Word):
        return plain(value)
    key = plain(key)
    if isinstance(value, list) and isinstance(key, int | float) and not isinstance(key, bool):
        return _item(value, key + len(value) if key < 0 else key)
    name = key_text(key)
    if isinstance(value, dict):
        return property_of(value, name)
    if not isinstance(value, list | str):
        return MISSING
    if name in ("size", "length"):
        return unit_count(value) if isinstance(value, str) else len(value)
    if isinstance(value, list) and name in ("first", "last"):
        return _item(value, 0 if name == "first" else len(value) - 1)
    index = to_number(name) if name.isascii() and name.isdigit() else -1
    return _item(value, index) if number_text(index) == name else MISSING


def _item(value: list[Any] | str, index: float) -> Any:
    if not index >= 0 or index != index // 1:
        return MISSING
    if isinstance(value, str):
        return unit_at(value, int(min(index, len(value) * 2))) or MISSING
    return value[int(index)] if index < len(value) else MISSING
