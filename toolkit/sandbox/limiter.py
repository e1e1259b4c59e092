"""The request limit: so many accepted requests in any window of time, per budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the limiter said to one request."""

    at: float
    """Monotonic seconds."""
    accepted: bool
    in_window: int
    """Accepted requests in the window that ends now, this one included."""


class Limiter:
    """A sliding window; refused requests do not use it up.

    >>> limiter = Limiter(rate=1, window_seconds=1.0, clock=iter([0.0, 0.5, 1.5]).__next__)
    >>> [limiter.admit("shop").accepted for _ in range(3)]
    [True, False, True]
    """

    def __init__(self, *, rate: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._window_seconds = window_seconds
        self._clock = clock
        self._accepted: dict[str, deque[float]] = {}

    def now(self) -> float:
        """Read the limiter's own clock, without asking for anything."""
        return self._clock()

    def admit(self, budget: str) -> Admission:
        """Accept or refuse one request against *budget*, now."""
        now = self._clock()
        times = self._accepted.setdefault(budget, deque())
        # Strictly older: a request exactly one window ago still counts, so closed windows hold too.
        while times and times[0] + self._window_seconds < now:
            times.popleft()
        accepted = len(times) < self._rate
        if accepted:
            times.append(now)
        return Admission(at=now, accepted=accepted, in_window=len(times))
