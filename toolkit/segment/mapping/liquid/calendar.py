"""Days and years, for any year: Python's own dates end at 1 and 9999, JavaScript's do not."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_MS = 86_400_000


def days_since_1970(year: int, month: int, day: int) -> int:
    """Return the number of a day, 0 being 1 January 1970; a day beyond the month runs on.

    >>> days_since_1970(1970, 3, 1)
    59
    """
    # Years that begin in March, so that leap days come last.
    year, month = (year - 1, month + 9) if month < 3 else (year, month - 3)
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A moment, as a calendar and a clock on the wall show it."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    millisecond: int
    weekday: int
    """0 is Sunday."""

    @property
    def day_of_year(self) -> int:
        """1 is 1 January."""
        return days_since_1970(self.year, self.month, self.day) - days_since_1970(self.year, 1, 1) + 1


def moment_of(milliseconds: int) -> Moment:
    """Return what clocks show *milliseconds* after 1970 began."""
    days, rest = divmod(milliseconds, _DAY_MS)
    seconds, millisecond = divmod(rest, 1000)
    shifted = days + 719468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    return Moment(
        year=era * 400 + year_of_era + (month >= 10),
        month=month + 3 if month < 10 else month - 9,
        day=day,
        hour=seconds // 3600,
        minute=seconds // 60 % 60,
        second=seconds % 60,
        millisecond=millisecond,
        weekday=(days + 4) % 7,
    )
