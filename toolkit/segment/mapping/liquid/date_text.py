"""Reading dates from text as Node does: ISO 8601 first, and otherwise whatever looks like a date.

Where a text says nothing of the time zone it is UTC.
"""

from __future__ import annotations

import re
from typing import Final

from toolkit.segment.mapping.javascript import WHITESPACE

from .calendar import days_since_1970

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_HALVES: Final = {"am": 0, "pm": 12}
_UTC: Final = dict.fromkeys(("ut", "utc", "z", "gmt"), 0)
_AMERICAN: Final = {"cdt": -5, "cst": -6, "edt": -4, "est": -5, "mdt": -6, "mst": -7, "pdt": -7, "pst": -8}
_ZONES: Final = _UTC | _AMERICAN
_LONGEST: Final = 1000  # no date has so many characters
_LARGEST_MS: Final = 8.64e15
_ISO_DATE = re.compile(r"([0-9]{4}|[-+](?!000000)[0-9]{6}|\+000000)(?:-(0[1-9]|1[0-2])(?:-([0-9]{2}))?)?")
_ISO_TIME = re.compile(
    r"[Tt]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?(?:[Zz]|([-+])([0-9]{2}):?([0-9]{2}))?\Z"
)
_TOKEN = re.compile(
    rf"(?P<number>[0-9]+)|(?P<sign>[-+])|(?P<symbol>[:.)])|(?P<word>(?:(?![{WHITESPACE}])[A-\U0010ffff])+)"
    rf"|(?P<space>[{WHITESPACE}]+)|(?P<other>.)",
    re.DOTALL,
)


def parse_date(text: str) -> float | None:
    """Return the milliseconds since 1970 that a text names; None when it names no date."""
    date = _ISO_DATE.match(text)
    if date and not (date[3] and not 1 <= int(date[3]) <= 31):
        rest = text[date.end() :]
        if not rest or re.match("[Tt](?![^0-9])", rest):
            return _iso(date, rest)
    return _LooseReader(text).read() if len(text) <= _LONGEST else None


def _iso(date: re.Match[str], rest: str) -> float | None:
    days = days_since_1970(int(date[1]), int(date[2] or 1), int(date[3] or 1))
    if not rest:
        return _within(days, 0, 0)
    time = _ISO_TIME.match(rest)
    if time is None:
        return None
    hour, minute, second = (int(part or 0) for part in time.groups()[:3])
    if minute > 59 or second > 59 or hour > 24:
        return None
    milliseconds = _milliseconds(time[4] or "0")
    if hour == 24 and (minute or second or int(time[4] or 0)):
        return None
    zone_hour, zone_minute = int(time[6] or 0), int(time[7] or 0)
    if zone_hour > 23 or zone_minute > 59:
        return None
    offset = (zone_hour * 60 + zone_minute) * (-1 if time[5] == "-" else 1)
    return _within(days, ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds, offset)


def _milliseconds(digits: str) -> int:
    return int(digits[:3].ljust(3, "0"))


def _within(days: int, milliseconds: int, offset_minutes: int) -> float | None:
    total = days * 86_400_000 + milliseconds - offset_minutes * 60_000
    return total if abs(total) <= _LARGEST_MS else None


class _NoDateError(Exception):
    """The text names no date."""


class _LooseReader:
    """Takes words, numbers and signs one by one; each finds its place by what has been read before it."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._day: list[int] = []
        self._time: list[int] = []
        self._month: int | None = None
        self._half: int | None = None
        self._zone_sign = 0
        self._zone: list[int] = []  # hour, minute
        self._has_number = False

    def read(self) -> float | None:
        try:
            while self._at < len(self._tokens):
                kind, text = self._tokens[self._at]
                self._at += 1
                if kind == "number":
                    self._has_number = True
                    self._number(text)
                elif kind == "word":
                    self._word(text)
                elif kind == "sign" and (self._zone == [0, 0] or self._time):
                    self._offset(text)
                elif (kind == "sign" or text == ")") and self._has_number:
                    return None
            return self._date()
        except _NoDateError:
            return None

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, text: str) -> bool:
        found = self._peek()[1] == text
        self._at += found
        return found

    def _number(self, digits: str) -> None:
        number = _value(digits)
        if self._take(":"):
            self._before_colon(number)
        elif self._take(".") and self._is_time(number):
            kind, fraction = self._peek()
            if kind != "number":
                raise _NoDateError
            self._at += 1
            self._end_time(number, _milliseconds(fraction))
        elif len(self._zone) == 1 and number < 60:
            self._zone.append(number)
        elif self._is_time(number):
            self._end_time(number)
            kind, text = self._peek()
            if kind not in ("end", "space", "sign") and text.lower() != "z":
                raise _NoDateError
        else:
            if len(self._day) == 3:
                raise _NoDateError
            self._day.append(number)
            self._take("-")

    def _before_colon(self, number: int) -> None:
        if self._take(":"):
            if self._time:
                raise _NoDateError
            self._time += (number, 0)
            return
        if len(self._time) == 4:
            raise _NoDateError
        self._time.append(number)
        self._take(".")

    def _is_time(self, number: int) -> bool:
        return 1 <= len(self._time) <= 3 and number < (60, 60, 1000)[len(self._time) - 1]

    def _end_time(self, *numbers: int) -> None:
        self._time += numbers
        if len(self._time) > 4:
            raise _NoDateError
        self._time += [0] * (4 - len(self._time))

    def _word(self, word: str) -> None:
        word = word.lower()
        if word in _HALVES and self._time:
            self._half = _HALVES[word]
        elif word[:3] in _MONTHS:
            self._month = _MONTHS.index(word[:3]) + 1
            self._take("-")
        elif word in _ZONES and self._has_number:
            self._zone_sign = -1 if _ZONES[word] < 0 else 1
            self._zone = [abs(_ZONES[word]), 0]
        elif self._has_number or self._peek()[0] == "number":
            raise _NoDateError

    def _offset(self, sign: str) -> None:
        self._zone_sign = -1 if sign == "-" else 1
        kind, digits = self._peek()
        digits = digits if kind == "number" else ""
        self._at += bool(digits)
        self._has_number = True
        number = _value(digits)
        if self._peek()[1] == ":":
            self._zone = [number]
        elif len(digits) in (1, 2):
            self._zone = [number, 0]
        elif len(digits) in (3, 4):
            self._zone = [number // 100, number % 100]
        else:
            raise _NoDateError

    def _date(self) -> float | None:
        year, month, day = self._year_month_day()
        if not 1 <= month <= 12 or not 1 <= day <= 31:
            return None
        hour, minute, second, millisecond = [*self._time, 0, 0, 0, 0][:4]
        if self._half is not None:
            if hour > 12:
                return None
            hour = hour % 12 + self._half
        if minute > 59 or second > 59 or millisecond > 999 or hour > 24:
            return None
        if hour == 24 and (minute or second or millisecond):
            return None
        zone_hour, zone_minute = [*self._zone, 0, 0][:2]
        milliseconds = ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
        offset = self._zone_sign * (zone_hour * 60 + zone_minute)
        return _within(days_since_1970(year, month, day), milliseconds, offset)

    def _year_month_day(self) -> tuple[int, int, int]:
        if not self._day:
            raise _NoDateError
        first, second, third = [*self._day, 1, 1][:3]
        has_day_first = 1 <= first <= 31
        if self._month is not None:
            if has_day_first:
                year, month, day = second, self._month, first
            else:
                year, month, day = first, self._month, second
        elif has_day_first:
            year, month, day = third, first, second
        else:
            year, month, day = first, second, third
        if 0 <= year <= 99:
            year += 2000 if year < 50 else 1900
        return year, month, day


def _tokens(text: str) -> list[tuple[str, str]]:
    """Cut a text up; what is in round brackets is left out."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            at = _behind_brackets(text, at)
            found.append(("other", "("))
            continue
        token = _TOKEN.match(text, at)
        if token is None:
            break
        found.append((str(token.lastgroup), token[0]))
        at = token.end()
    return found


def _behind_brackets(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
        if not depth:
            break
    return at


def _value(digits: str) -> int:
    return int(digits.lstrip("0")[:9] or 0)
