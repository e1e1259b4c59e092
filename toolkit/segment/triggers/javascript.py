"""What JavaScript makes of numbers and texts, where Segment's answers hang on it."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_SPACE = " \t\n\v\f\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NUMBER = re.compile(
    rf"[{_SPACE}]*(?:(?P<whole>0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)"
    r"|(?P<decimal>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    rf"|(?P<infinity>[+-]?Infinity)|)[{_SPACE}]*"
)
_WIDE = re.compile("[\U00010000-\U0010ffff]")
_BASES: Final = {"x": 16, "o": 8, "b": 2}


def number_of(text: str) -> float:
    """Return what ``Number(text)`` gives: 0 for a blank, NaN for what is no number."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return math.nan
    if whole := match["whole"]:
        return as_double(int(whole[2:], _BASES[whole[1].lower()]))
    return float(match["decimal"] or match["infinity"] or 0)


def as_double(number: int) -> float:
    """Return the nearest double, infinite when there is none: JavaScript has no other numbers."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def number_text(number: float) -> str:
    """Return what ``String(number)`` gives."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "0"
    if 1e-6 <= abs(number) < 1e21:
        return format(Decimal(repr(number)), "f").removesuffix(".0")
    mantissa, exponent = repr(number).split("e")
    return f"{mantissa}e{int(exponent):+d}"


def units(text: str) -> str:
    """Return the text with one character for each UTF-16 unit: what lies beyond U+FFFF becomes two."""
    return text if text.isascii() else _WIDE.sub(lambda wide: _pair(ord(wide[0]) - 0x10000), text)


def _pair(offset: int) -> str:
    return chr(0xD800 + (offset >> 10)) + chr(0xDC00 + (offset & 0x3FF))


def whole(text: str) -> str:
    """Undo `units`: return *text* with every surrogate pair as one character."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
