"""The filter ``date``: ISO 8601 texts and seconds since 1970, shown by the codes of ``strftime``.

Segment's engine takes what Node takes for a date. Here a text is ISO 8601, with a blank for its ``T`` if need
be, in UTC unless it names an offset; any other text with a digit, which Node might read, is an error. A text
without digits is no date to either, and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from toolkit.segment.javascript import number_of, number_text, text_of

from .values import Rendering, is_nil

_DEFAULT_FORMAT: Final = "%A, %B %-e, %Y at %-l:%M %P %z"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_MS: Final = 8.64e15
"""The last millisecond JavaScript has a date for."""
_ISO = re.compile(
    r"(?!00)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])?)?"
)
_CODE = re.compile("%([-_0^#:]+)?([0-9]+)?([EO])?([^\n\r\u2028\u2029])")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WIDTHS: Final = {**dict.fromkeys("CdeHIklmMSUWy", 2), **dict.fromkeys("jL", 3), "Y": 4}
_PADDED_WITH_BLANKS: Final = frozenset("aAbBceklpP")


def date(rendering: Rendering, value: Any, pattern: Any, zone: Any) -> Any:
    """Return a date as text, in UTC unless a zone is given; what is no date as it is."""
    try:
        moment = _moment(rendering, value)
        shown = moment and moment.astimezone(_zone(rendering, zone))
    except OverflowError as error:
        raise rendering.refuse("a date is in the years 1 to 9999") from error
    if shown is None:
        return value
    pattern = _DEFAULT_FORMAT if is_nil(pattern) else rendering.text(pattern)
    rendering.spend(len(pattern))
    return _CODE.sub(lambda found: _shown(rendering, shown, found), pattern)


def _moment(rendering: Rendering, value: Any) -> datetime | None:
    if is_nil(value):
        return None
    if value in ("now", "today"):
        raise rendering.refuse("a mapping knows no clock; use the timestamp of the event")
    if isinstance(value, bool):
        raise rendering.refuse("true and false are no dates")
    text = text_of(value)
    if isinstance(value, int | float) or (text.isascii() and text.isdigit()):
        milliseconds = number_of(value) * 1000
        is_date = abs(milliseconds) <= _LARGEST_MS
        return _EPOCH + timedelta(milliseconds=int(milliseconds)) if is_date else None
    if not _ISO.fullmatch(text):
        if re.search("[0-9]", text):
            raise rendering.refuse("a date is written as 2026-03-04 or 2026-03-04T05:06:07Z (ISO 8601)")
        return None
    # As in Node, 30 February is a day of March.
    first = datetime.fromisoformat(f"{text[:8]}01{text[10:]}")
    return (first if first.tzinfo else first.replace(tzinfo=UTC)) + timedelta(days=int(text[8:10]) - 1)


def _zone(rendering: Rendering, zone: Any) -> tzinfo:
    """Return the zone with a name, or so many minutes behind UTC, the way JavaScript counts."""
    if is_nil(zone):
        return UTC
    try:
        if isinstance(zone, str):
            return ZoneInfo(zone)
        return timezone(-timedelta(minutes=int(number_of(zone))), "")  # an offset has no name
    except (ValueError, OSError, KeyError, OverflowError) as error:
        raise rendering.refuse(f"there is no time zone {text_of(zone)[:40]!r}") from error


def _shown(rendering: Rendering, date: datetime, found: re.Match[str]) -> str:
    flags, digits, _, code = found.groups(default="")
    if code not in _CODES:
        return found[0]
    width = int(digits or 0)
    rendering.spend(width)
    text = _fraction(date, width or 9) if code == "N" else _CODES[code](date, ":" if ":" in flags else "")
    if "^" in flags:
        text = text.upper()
    elif "#" in flags:
        text = text.upper() if re.search("[a-z]", text) else text.lower()
    width = 0 if "-" in flags else width or _WIDTHS.get(code, 0)
    filler = " " if "_" in flags or (code in _PADDED_WITH_BLANKS and "0" not in flags) else "0"
    sign = "-" if filler == "0" and text.startswith("-") else ""
    return sign + text.removeprefix(sign).rjust(width - len(sign), filler)


def _fraction(date: datetime, digits: int) -> str:
    return f"{date.microsecond // 1000:03}"[:digits].ljust(digits, "0")


def _offset(date: datetime, colon: str) -> str:
    ahead = (date.utcoffset() or timedelta()) / timedelta(minutes=1)
    hours, minutes = (number_text(part).rjust(2, "0") for part in divmod(abs(ahead), 60))
    return f"{'-' if ahead < 0 else '+'}{hours}{colon}{minutes}"


def _zone_name(date: datetime, colon: str) -> str:
    return str(date.tzinfo) if isinstance(date.tzinfo, ZoneInfo) else date.tzname() or _offset(date, colon)


def _ordinal(date: datetime) -> str:
    return "th" if date.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")


def _half(date: datetime) -> str:
    return "AM" if date.hour < 12 else "PM"


def _day_text(date: datetime) -> str:
    return f"{date.month}/{date.day}/{date.year}"


def _clock_text(date: datetime) -> str:
    return f"{date.hour % 12 or 12}:{date.minute:02}:{date.second:02} {_half(date)}"


def _of(function: Callable[[datetime], object]) -> Callable[[datetime, str], str]:
    return lambda date, _colon: str(function(date))


_CODES: Final[dict[str, Callable[[datetime, str], str]]] = {
    "a": _of(lambda date: _WEEKDAYS[date.weekday()][:3]),
    "A": _of(lambda date: _WEEKDAYS[date.weekday()]),
    "b": _of(lambda date: _MONTHS[date.month - 1][:3]),
    "B": _of(lambda date: _MONTHS[date.month - 1]),
    "c": _of(lambda date: f"{_day_text(date)}, {_clock_text(date)}"),
    "C": _of(lambda date: date.year // 100),
    "d": _of(lambda date: date.day),
    "e": _of(lambda date: date.day),
    "h": _of(lambda date: _MONTHS[date.month - 1][:3]),
    "H": _of(lambda date: date.hour),
    "I": _of(lambda date: date.hour % 12 or 12),
    "j": _of(lambda date: date.timetuple().tm_yday),
    "k": _of(lambda date: date.hour),
    "l": _of(lambda date: date.hour % 12 or 12),
    "L": _of(lambda date: date.microsecond // 1000),
    "m": _of(lambda date: date.month),
    "M": _of(lambda date: date.minute),
    "n": _of(lambda _: "\n"),
    "N": _of(lambda date: _fraction(date, 9)),
    "p": _of(_half),
    "P": _of(lambda date: _half(date).lower()),
    "q": _of(_ordinal),
    "s": _of(lambda date: (date - _EPOCH) // timedelta(seconds=1)),
    "S": _of(lambda date: date.second),
    "t": _of(lambda _: "\t"),
    "u": _of(lambda date: date.isoweekday()),
    "U": _of(lambda date: int(date.strftime("%U"))),
    "w": _of(lambda date: date.isoweekday() % 7),
    "W": _of(lambda date: int(date.strftime("%W"))),
    "x": _of(_day_text),
    "X": _of(_clock_text),
    "y": _of(lambda date: date.year % 100),
    "Y": _of(lambda date: date.year),
    "z": _offset,
    "Z": _zone_name,
    "%": _of(lambda _: "%"),
}
