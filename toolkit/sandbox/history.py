"""What subscribers were a moment ago, for readers that lag behind."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Any

_KEPT = timedelta(seconds=3601)
"""A little more than the longest lag that can be set."""


class History:
    """The latest changes, oldest first: when, who, and what they were before."""

    def __init__(self) -> None:
        self._changes: deque[tuple[datetime, str, dict[str, Any] | None]] = deque()

    def remember(self, at: datetime, subscriber_id: str, before: dict[str, Any] | None) -> None:
        """Note that somebody changes now; *before* is None for a sign-up."""
        while self._changes and self._changes[0][0] < at - _KEPT:
            self._changes.popleft()
        self._changes.append((at, subscriber_id, before))

    def since(self, moment: datetime) -> dict[str, dict[str, Any] | None]:
        """Return, for those who changed after *moment*, what they were then; None for nothing yet."""
        past: dict[str, dict[str, Any] | None] = {}
        for at, subscriber_id, before in reversed(self._changes):
            if at <= moment:
                break
            past[subscriber_id] = before  # the earliest change after the moment is the last one met
        return past
