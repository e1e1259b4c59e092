"""Filters for dates, in UTC unless they are given a zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from toolkit.segment.mapping.javascript import text_of
from toolkit.segment.mapping.values import MISSING

from .calendar import days_since_1970, moment_of
from .date_format import ShownDate, format_date, ordinal
from .date_text import parse_date
from .signature import Filter
from .state import State
from .values import is_nil, plain, to_number

_DEFAULT_FORMAT: Final = "%A, %B %-e, %Y at %-l:%M %P %z"
_LARGEST_MS: Final = 8.64e15
_DAY_MS: Final = 86_400_000
_CYCLE_MS: Final = 146_097 * _DAY_MS
_YEAR_2_MS: Final = days_since_1970(2, 1, 1) * _DAY_MS
_YEAR_2000_MS: Final = days_since_1970(2000, 1, 1) * _DAY_MS
_YEAR_9999_MS: Final = days_since_1970(9999, 1, 1) * _DAY_MS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _date(value: Any, arguments: Sequence[Any], state: State) -> Any:
    pattern, zone = [*arguments, MISSING, MISSING][:2]
    date = _date_of(state, plain(value), zone)
    if date is None:
        return value
    return format_date(date, _DEFAULT_FORMAT if is_nil(pattern) else state.text(pattern), state.spend)


def _in_format(pattern: str) -> Filter:
    return lambda value, _arguments, state: _date(value, [pattern], state)


def _in_words(month: str) -> Filter:
    def call(value: Any, arguments: Sequence[Any], state: State) -> Any:
        style, country = [*arguments, MISSING, MISSING][:2]
        date = _date_of(state, plain(value), MISSING)
        if date is None:
            return value
        pattern = f"%d {month} %Y"
        if style == "ordinal":
            day = f"{date.wall.day}{ordinal(date)}"
            pattern = f"{month} {day}, %Y" if country == "US" else f"{day} {month} %Y"
        return format_date(date, pattern, state.spend)

    return call


def _date_of(state: State, value: Any, zone: Any) -> ShownDate | None:
    """Return the date a value names, as it shows in a zone; None when it names none."""
    milliseconds = _milliseconds(state, value)
    if milliseconds is None or not abs(milliseconds) <= _LARGEST_MS:
        return None
    offset, name = _offset_and_name(state, zone, int(milliseconds))
    shown = int(milliseconds) - offset * 60_000
    if not abs(shown) <= _LARGEST_MS:
        return None
    wall = moment_of(int(shown))
    return ShownDate(milliseconds=int(milliseconds), offset_minutes=offset, zone=name, wall=wall)


def _milliseconds(state: State, value: Any) -> float | None:
    if is_nil(value):
        return None
    if value in ("now", "today"):
        raise state.refuse("a mapping knows no clock; use the timestamp of the event")
    if isinstance(value, int | float):
        return to_number(value) * (1 if isinstance(value, bool) else 1000)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return to_number(value) * 1000
    return parse_date(text_of(value))


def _offset_and_name(state: State, zone: Any, milliseconds: int) -> tuple[float, str]:
    """Return how many minutes a zone is behind UTC, and its name."""
    if is_nil(zone):
        return 0, "UTC"
    if not isinstance(zone, str):
        return to_number(zone), ""
    try:
        local = (_EPOCH + timedelta(milliseconds=_in_python_years(milliseconds))).astimezone(ZoneInfo(zone))
    except (ValueError, OSError, KeyError) as error:
        raise state.refuse(f"there is no time zone {zone[:40]!r}") from error
    ahead = local.utcoffset() or timedelta()
    return -ahead / timedelta(minutes=1), zone


def _in_python_years(milliseconds: int) -> int:
    """Return the same moment in a year Python has: calendars repeat every 400 years."""
    if milliseconds < _YEAR_2_MS:
        return _YEAR_2_MS + (milliseconds - _YEAR_2_MS) % _CYCLE_MS
    if milliseconds >= _YEAR_9999_MS:
        return _YEAR_2000_MS + (milliseconds - _YEAR_2000_MS) % _CYCLE_MS
    return milliseconds


DATE_FILTERS: Final[dict[str, Filter]] = {
    "date": _date,
    "date_to_long_string": _in_words("%B"),
    "date_to_rfc822": _in_format("%a, %d %b %Y %H:%M:%S %z"),
    "date_to_string": _in_words("%b"),
    "date_to_xmlschema": _in_format("%Y-%m-%dT%H:%M:%S%:z"),
}
