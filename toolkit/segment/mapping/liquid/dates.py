"""The filter for dates.

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
from toolkit.segment.mapping.tree import ResolveError

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
# English, whatever the locale.
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
        moment = _moment(value)
        shown = moment and moment.astimezone(_zone(zone))
    except OverflowError as error:
        raise ResolveError("a date is in the years 1 to 9999") from error
    if shown is None:
        return value
    pattern = _DEFAULT_FORMAT if is_nil(pattern) else rendering.text(pattern)
    return _CODE.sub(lambda found: _shown(rendering, shown, found), pattern)


def _moment(value: Any) -> datetime | None:
    if is_nil(value):
        return None
    if value in ("now", "today"):
        raise ResolveError("a mapping knows no clock; use the timestamp of the event")
    if isinstance(value, bool):
        raise ResolveError("true and false are no dates")
    text = text_of(value)
    if isinstance(value, int | float) or (text.isascii() and text.isdigit()):
        milliseconds = number_of(value) * 1000
        is_date = abs(milliseconds) <= _LARGEST_MS
        return _EPOCH + timedelta(milliseconds=int(milliseconds)) if is_date else None
    if not _ISO.fullmatch(text):
        if re.search("[0-9]", text):
            raise ResolveError("a date is written as 2026-03-04 or 2026-03-04T05:06:07Z (ISO 8601)")
        return None
    # As in Node, 30 February is a day of March.
    first = datetime.fromisoformat(f"{text[:8]}01{text[10:]}")
    return (first if first.tzinfo else first.replace(tzinfo=UTC)) + timedelta(days=int(text[8:10]) - 1)


def _zone(zone: Any) -> tzinfo:
    """Return the zone with a name, or so many minutes behind UTC, the way JavaScript counts."""
    if is_nil(zone):
        return UTC
    try:
        if isinstance(zone, str):
            return ZoneInfo(zone)
        return timezone(-timedelta(minutes=int(number_of(zone))), "")  # an offset has no name
    except (ValueError, OSError, KeyError, OverflowError) as error:
        raise ResolveError(f"there is no time zone {text_of(zone)[:40]!r}") from error


def _shown(rendering: Rendering, date: datetime, found: re.Match[str]) -> str:
    flags, digits, _, code = found.groups(default="")
    width = int(digits or 0)
    rendering.resolution.spend(width)
    if code == "N":
        text = f"{date.microsecond // 1000:03}"[: width or 9].ljust(width or 9, "0")
    elif code == "z":
        text = _offset(date, ":" if ":" in flags else "")
    elif code in _CODES:
        text = str(_CODES[code](date))
    else:
        return found[0]
    if "^" in flags:
        text = text.upper()
    elif "#" in flags:
        text = text.upper() if re.search("[a-z]", text) else text.lower()
    width = 0 if "-" in flags else width or _WIDTHS.get(code, 0)
    filler = " " if "_" in flags or (code in _PADDED_WITH_BLANKS and "0" not in flags) else "0"
    sign = "-" if filler == "0" and text.startswith("-") else ""
    return sign + text.removeprefix(sign).rjust(width - len(sign), filler)


def _offset(date: datetime, colon: str = "") -> str:
    ahead = (date.utcoffset() or timedelta()) / timedelta(minutes=1)
    hours, minutes = (number_text(part).rjust(2, "0") for part in divmod(abs(ahead), 60))
    return f"{'-' if ahead < 0 else '+'}{hours}{colon}{minutes}"


def _zone_name(date: datetime) -> str:
    return str(date.tzinfo) if isinstance(date.tzinfo, ZoneInfo) else date.tzname() or _offset(date)


def _ordinal(date: datetime) -> str:
    return "th" if date.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")


def _number(code: str) -> Callable[[datetime], int]:
    return lambda date: int(date.strftime(f"%{code}"))


_CODES: Final[dict[str, Callable[[datetime], object]]] = {
    **{code: _number(code) for code in "dHIjmMSuUwWy"},
    **{blank: _number(code) for blank, code in (("e", "d"), ("k", "H"), ("l", "I"))},
    "a": lambda date: _WEEKDAYS[date.weekday()][:3],
    "A": lambda date: _WEEKDAYS[date.weekday()],
    "b": lambda date: _MONTHS[date.month - 1][:3],
    "B": lambda date: _MONTHS[date.month - 1],
    "c": lambda date: f"{_CODES['x'](date)}, {_CODES['X'](date)}",
    "C": lambda date: date.year // 100,
    "h": lambda date: _MONTHS[date.month - 1][:3],
    "L": lambda date: date.microsecond // 1000,
    "n": lambda _: "\n",
    "p": lambda date: "AM" if date.hour < 12 else "PM",
    "P": lambda date: "am" if date.hour < 12 else "pm",
    "q": _ordinal,
    "s": lambda date: (date - _EPOCH) // timedelta(seconds=1),
    "t": lambda _: "\t",
    "x": lambda date: f"{date.month}/{date.day}/{date.year}",
    "X": lambda date: f"{date.hour % 12 or 12}:{date:%M:%S} {_CODES['p'](date)}",
    "Y": lambda date: date.year,
    "Z": _zone_name,
    "%": lambda _: "%",
}
