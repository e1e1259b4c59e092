"""Points in time as the API writes and reads them; without a zone they are UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 date or date-time, with ``T`` or a space; a ValueError says it is neither."""
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("the date is outside the calendar") from None


def format_instant(instant: datetime) -> str:
    """Write an instant as subscribers carry it.

    >>> format_instant(datetime(2025, 3, 4, 5, 6, 7, 999, tzinfo=UTC))
    '2025-03-04T05:06:07Z'
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def sortable_instant(instant: datetime) -> str:
    """Write an instant so that the order of texts is the order of time.

    A whole second has no fraction, and a shorter text sorts before the longer one that begins with it.
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat()
