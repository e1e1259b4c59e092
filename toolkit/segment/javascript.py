"""JavaScript's view of JSON values: missing ones, numbers, texts, truth, order of keys, UTF-16 units."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from toolkit.frames import SURROGATE

_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")


class Missing:
    """The type of `MISSING`; has no truth value, so that it is not taken for null or false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError("MISSING is neither true nor false; ask 'is MISSING'")

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # copies and pickles are the one object again


MISSING: Final = Missing()
"""The value of a key that is not there: JavaScript's ``undefined``."""

WHITESPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What ``trim`` takes away; not what Python's ``strip`` does."""

_UTF_16: Final = f"utf-16-{sys.byteorder[0]}e"
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_ARRAY_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z")
_LAST_ARRAY_INDEX: Final = 2**32 - 2
_NUMBER = re.compile(
    r"(?P<whole>0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)"
    r"|(?P<decimal>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<infinity>[+-]?Infinity)|"
)
_KINDS: Final[tuple[tuple[Any, str], ...]] = (
    (Missing, "missing"),
    (type(None), "null"),
    (bool, "a boolean"),
    (str, "a text"),
    ((int, float), "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def kind_of(value: Any) -> str:
    """Return what JSON calls a value of this kind, with its article, for a sentence."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "not a JSON value")


def number_text(number: float) -> str:
    """Return the text JavaScript makes of *number*; whole ones beyond 2**53 keep all their digits.

    >>> [number_text(n) for n in (5.0, 1415.5, 1e21, 1e-7, 0.00001)]
    ['5', '1415.5', '1e+21', '1e-7', '0.00001']
    """
    if isinstance(number, int) and abs(number) < 10**21:
        return str(number)
    number = as_double(number)
    shortest = repr(number)
    if shortest in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[shortest]
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        plain = format(Decimal(shortest), "f")
        return plain.removesuffix(".0").removeprefix("-" if number == 0 else "")
    return re.sub(r"e([+-])0", r"e\1", shortest)


def as_double(number: float) -> float:
    """Return the nearest double, infinite when there is none: JavaScript has no other numbers."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def number_of(value: Any) -> float:
    """Return what ``Number(value)`` gives: 0 for null and a blank text, NaN for what is no number.

    >>> [number_of(value) for value in (" 12 ", "0x1f", "", None, True, "1,5")]
    [12.0, 31.0, 0.0, 0.0, 1.0, nan]
    """
    if isinstance(value, int | float):  # booleans too
        return as_double(value)
    if isinstance(value, dict) or value is MISSING:
        return math.nan
    match = _NUMBER.fullmatch(text_of(value).strip(WHITESPACE))
    if match is None:
        return math.nan
    if digits := match["whole"]:
        return as_double(int(digits, 0))
    return float(match["decimal"] or match["infinity"] or 0)


def text_of(value: Any) -> str:
    """Return the text form of a value: lists are joined by commas, objects do not show.

    >>> text_of([1, [2, None]]), text_of({})
    ('1,2,', '[object Object]')
    """
    if isinstance(value, list):
        return ",".join(map(text_of, innermost(value)))
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, int | float) else "[object Object]"


def innermost(value: list[Any]) -> list[Any]:
    """Return the innermost items of a list of lists; null stands for an empty list in it."""
    # Not recursive: an event may be nested deeper than Python calls.
    found: list[Any] = []
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list) and part:
            waiting.extend(reversed(part))
        else:
            found.append(None if isinstance(part, list) else part)
    return found


def is_truthy(value: Any) -> bool:
    """Return whether a value counts as true: empty lists and objects do, NaN does not."""
    if isinstance(value, list | dict):
        return True
    return value is not MISSING and bool(value) and value == value  # noqa: PLR0124 - NaN


def ordered_items(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return the items as JavaScript orders them: keys that are array indexes first, by number."""
    indexes = [key for key in value if key[:1].isdigit() and _is_array_index(key)]
    if not indexes:
        return value.items()
    others = [item for item in value.items() if not _is_array_index(item[0])]
    return [(key, value[key]) for key in sorted(indexes, key=int)] + others


def _is_array_index(key: str) -> bool:
    return _ARRAY_INDEX.match(key) is not None and int(key) <= _LAST_ARRAY_INDEX


def units(text: str) -> str:
    r"""Return *text* with one character for each UTF-16 unit: what JavaScript counts and cuts.

    >>> len(units("\U0001f389!"))
    3
    """
    if text.isascii() or not _ASTRAL.search(text):
        return text
    return "".join(map(chr, memoryview(text.encode(_UTF_16, "surrogatepass")).cast("H")))


def unit_count(text: str) -> int:
    """Return how many UTF-16 units a text has."""
    return len(text) if text.isascii() else len(text.encode(_UTF_16, "surrogatepass")) // 2


def unit_at(text: str, index: int) -> str:
    """Return the UTF-16 unit at *index*; blank beyond the end."""
    # The first index + 1 characters have as many units at least.
    return units(text[: index + 1])[index : index + 1]


def item_at(value: list[Any] | str, step: str) -> Any:
    """Return the item of a list, or the UTF-16 unit of a text, that *step* is the index of."""
    if not _INDEX.match(step):
        return MISSING
    index = int(step)
    if isinstance(value, str):
        return unit_at(value, index) or MISSING
    return value[index] if index < len(value) else MISSING


def whole(text: str) -> str:
    """Undo `units`: return *text* with every surrogate pair as one character."""
    if text.isascii() or not SURROGATE.search(text):
        return text
    return text.encode(_UTF_16, "surrogatepass").decode(_UTF_16, "surrogatepass")
