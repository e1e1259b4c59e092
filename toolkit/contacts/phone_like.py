"""Find phones in texts, however they are written; ids, dates and numbers that have digits too are none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from .plans import codes_by_start, plan_of_code

_BETWEEN = r"[ \t()./+\u00a0\u2010-\u2015-]"
# Starts of words only, and possessive: linear, whatever the text. A plus may follow a word, but no exponent.
_RUN = re.compile(
    rf"(?:(?<!\w)(?:\+[ (]{{0,2}}|\(?)|(?<![0-9][eE])(?<=\w)\+)\d(?:{_BETWEEN}{{0,3}}\d){{6,}}+"
)
_UUID = r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])"
_CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:?\d\d)?"
_DATES = (
    rf"(?<!\d)(?:19|20)\d\d([-/])(?:0\d|1[0-2])\1[0-3]\d(?:[T ]{_CLOCK})?(?!\d)",
    r"(?<!\d)[0-3]\d([./-])[0-3]\d\2(?:19|20)\d\d(?!\d)",
    r"(?<!\d)(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d[-_ ]\d{4}(?:\d\d)?(?!\d)",
)
_NUMBERS = (
    r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",  # an address of the internet
    r"(?<![\d.+])\d{4,}\.\d{1,6}(?![\d.])",
    r"(?<![\d-])\d{4}-\d{4}(?![\d-])",  # a range
)
NO_PHONES = re.compile("|".join((*_DATES, _UUID, *_NUMBERS)), re.IGNORECASE)
_US = re.compile(rf"(?<!\d)\d{{3}}{_BETWEEN}{{1,3}}\d{{3}}{_BETWEEN}\d{{4}}(?!\d)")
_IN_A_WORD = (re.compile(r"\w[./-]$"), re.compile(r"[./-]?(?!x\d)[^\W\d]"))
_LABEL = re.compile(r"(?:^|\W)(?:tel|phone|mobile|cell|sms|whatsapp):$", re.IGNORECASE)
_NORTH_AMERICA = re.compile(r"1?[2-9]\d\d[2-9]\d{6}")
_TRUNK = re.compile(r"0[1-9]\d{8,10}")


def find_phones(text: str) -> Iterator[re.Match[str]]:
    """Yield what looks like a phone in a text.

    >>> [found[0] for found in find_phones("+1 (415) 555-0123 home, tel:4155550123")]
    ['+1 (415) 555-0123', '4155550123']
    >>> [*find_phones("cus_4155550123 of 2026-11-02T10:00:00Z, order 1000234567")]
    []
    """
    if not _RUN.search(text):
        return iter(())
    plain = NO_PHONES.sub(lambda found: "x" * len(found[0]), text)
    return (found for found in _RUN.finditer(plain) if _is_phone(plain, found))


def holds_phone(text: str) -> bool:
    """Return whether a text holds what looks like a phone.

    >>> holds_phone("+14155550123"), holds_phone("5550123")
    (True, False)
    """
    digits = text.removeprefix("+")
    if digits.isdecimal():
        return (digits != text and len(digits) > 6) or can_be_dialled(digits)
    return any(find_phones(text))


def _is_phone(text: str, run: re.Match[str]) -> bool:
    """Judge seven digits or more, with what stands between them, by that and by what is around them."""
    before, after = text[max(run.start() - 12, 0) : run.start()], text[run.end() : run.end() + 3]
    if "+" in run[0] or _US.search(run[0]):
        return True
    parts = run[0].split()
    # Only its first or last part belongs to the word beside it.
    parts = parts[1:] if _IN_A_WORD[0].search(before) else parts
    parts = parts[:-1] if _IN_A_WORD[1].match(after) else parts
    return bool(parts) and (_LABEL.search(before) is not None or _is_written_so(" ".join(parts)))


def _is_written_so(written: str) -> bool:
    groups = re.findall(r"\d+", written)
    digits = sum(map(len, groups))
    if max(map(len, groups)) > 8:  # an id, if it is no number of a country, alone or with what follows
        return can_be_dialled("".join(groups)) or any(map(can_be_dialled, groups))
    # More than 15 are an id, or several numbers in a row.
    return len(groups) > 1 and digits > 6 and (digits <= 15 or " " in written)


def can_be_dialled(digits: str) -> bool:
    """Return whether bare digits are a phone: of North America, with a 0 in front, or with a country code.

    >>> can_be_dialled("4155550123"), can_be_dialled("447700900123"), can_be_dialled("1000234567")
    (True, True, False)
    """
    if _NORTH_AMERICA.fullmatch(digits) or _TRUNK.fullmatch(digits):
        return True
    abroad = digits.removeprefix("00")
    pattern = _pattern_of(abroad[:3]) if 10 <= len(abroad) <= 15 else None
    return pattern is not None and pattern.fullmatch(abroad) is not None


@lru_cache(maxsize=1024)
def _pattern_of(start: str) -> re.Pattern[str] | None:
    """Return the pattern of the numbers, with their country code, that begin with three digits."""
    code = int(codes_by_start()[int(start)])
    plan = plan_of_code(code) if code else None
    return re.compile(rf"{code}(?:{plan.national})") if plan else None
