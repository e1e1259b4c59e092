"""Dates as text, by the codes of ``strftime`` in Segment's engine; month and day names are English."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from toolkit.segment.mapping.javascript import number_text

from .calendar import Moment

_CODE = re.compile("%([-_0^#:]+)?([0-9]+)?([EO])?([^\n\r\u2028\u2029])")
_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WEEKDAYS: Final = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
_WIDTHS: Final = {**dict.fromkeys("CdeHIklmMSUWy", 2), **dict.fromkeys("jL", 3), "Y": 4}
_PADDED_WITH_SPACES: Final = frozenset("aAbBceklpP")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownDate:
    """A date, as it shows in a time zone."""

    milliseconds: int
    """Since 1970, in UTC."""
    offset_minutes: float
    """How far the zone is behind UTC, the way JavaScript counts."""
    zone: str
    """Blank when only its offset is known."""
    wall: Moment
    """What calendar and clock show there."""


def format_date(date: ShownDate, pattern: str, spend: Callable[[int], None]) -> str:
    """Return *pattern* with its codes filled in; unknown codes stay as they are."""
    spend(len(pattern))
    return _CODE.sub(lambda found: _shown(date, found, spend), pattern)


def ordinal(date: ShownDate) -> str:
    """Return the ending of the day of the month in English."""
    day = date.wall.day
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _shown(date: ShownDate, found: re.Match[str], spend: Callable[[int], None]) -> str:
    flags, digits, _, code = found.groups(default="")
    if code not in _CODES:
        return found[0]
    width = int(digits or 0)
    spend(width)
    text = _fraction(date, width) if code == "N" else _CODES[code](date, flags)
    if "^" in flags:
        text = text.upper()
    elif "#" in flags:
        text = text.upper() if re.search("[a-z]", text) else text.lower()
    width = 0 if "-" in flags else width or _WIDTHS.get(code, 0)
    filler = " " if code in _PADDED_WITH_SPACES else "0"
    filler = " " if "_" in flags else "0" if "0" in flags else filler
    if filler == "0" and text.startswith("-"):
        return "-" + text[1:].rjust(width - 1, "0")
    return text.rjust(width, filler)


def _fraction(date: ShownDate, width: int) -> str:
    return f"{date.wall.millisecond:03}"[: width or 9].ljust(width or 9, "0")


def _offset(date: ShownDate, flags: str) -> str:
    hours, minutes = divmod(abs(date.offset_minutes), 60)
    sign = "-" if date.offset_minutes > 0 else "+"
    colon = ":" if ":" in flags else ""
    return f"{sign}{number_text(hours).rjust(2, '0')}{colon}{number_text(minutes).rjust(2, '0')}"


def _week(wall: Moment, first_weekday: int) -> str:
    """Return the week of the year; the days before the first such weekday are in week 0."""
    return str((wall.day_of_year - 1 - (wall.weekday - first_weekday) % 7 + 7) // 7)


def _day_text(wall: Moment) -> str:
    return f"{wall.month}/{wall.day}/{wall.year}"


def _clock_text(wall: Moment) -> str:
    half = "AM" if wall.hour < 12 else "PM"
    return f"{wall.hour % 12 or 12}:{wall.minute:02}:{wall.second:02} {half}"


def _of_wall(function: Callable[[Moment], object]) -> Callable[[ShownDate, str], str]:
    return lambda date, _flags: str(function(date.wall))


_CODES: Final[dict[str, Callable[[ShownDate, str], str]]] = {
    "a": _of_wall(lambda wall: _WEEKDAYS[wall.weekday][:3]),
    "A": _of_wall(lambda wall: _WEEKDAYS[wall.weekday]),
    "b": _of_wall(lambda wall: _MONTHS[wall.month - 1][:3]),
    "B": _of_wall(lambda wall: _MONTHS[wall.month - 1]),
    "c": _of_wall(lambda wall: f"{_day_text(wall)}, {_clock_text(wall)}"),
    "C": _of_wall(lambda wall: wall.year // 100),
    "d": _of_wall(lambda wall: wall.day),
    "e": _of_wall(lambda wall: wall.day),
    "h": _of_wall(lambda wall: _MONTHS[wall.month - 1][:3]),
    "H": _of_wall(lambda wall: wall.hour),
    "I": _of_wall(lambda wall: wall.hour % 12 or 12),
    "j": _of_wall(lambda wall: wall.day_of_year),
    "k": _of_wall(lambda wall: wall.hour),
    "l": _of_wall(lambda wall: wall.hour % 12 or 12),
    "L": _of_wall(lambda wall: wall.millisecond),
    "m": _of_wall(lambda wall: wall.month),
    "M": _of_wall(lambda wall: wall.minute),
    "n": lambda _date, _flags: "\n",
    "N": lambda date, _flags: _fraction(date, 9),
    "p": _of_wall(lambda wall: "AM" if wall.hour < 12 else "PM"),
    "P": _of_wall(lambda wall: "am" if wall.hour < 12 else "pm"),
    "q": lambda date, _flags: ordinal(date),
    "s": lambda date, _flags: str(date.milliseconds // 1000),
    "S": _of_wall(lambda wall: wall.second),
    "t": lambda _date, _flags: "\t",
    "u": _of_wall(lambda wall: wall.weekday or 7),
    "U": _of_wall(lambda wall: _week(wall, 0)),
    "w": _of_wall(lambda wall: wall.weekday),
    "W": _of_wall(lambda wall: _week(wall, 1)),
    "x": _of_wall(_day_text),
    "X": _of_wall(_clock_text),
    "y": _of_wall(lambda wall: wall.year % 100),
    "Y": _of_wall(lambda wall: wall.year),
    "z": _offset,
    "Z": lambda date, flags: date.zone or _offset(date, flags),
    "%": lambda _date, _flags: "%",
}
