"""The request limit: so many accepted requests in a window of time, per budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .knobs import Knobs


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the limiter said to one request."""

    at: float
    """Monotonic seconds."""
    accepted: bool
    in_window: int
    """Requests that count in the window that ends now, this one included if it does."""


class Limiter:
    """Counts requests by the knobs' algorithm; each budget is counted alone.

    >>> limiter = Limiter(clock=iter([0.0, 0.5, 1.5]).__next__)
    >>> [limiter.admit("shop", Knobs(rate=1)).accepted for _ in range(3)]
    [True, False, True]
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counted: dict[str, deque[float]] = {}
        self._full_again: dict[str, float] = {}

    def now(self) -> float:
        """Read the limiter's own clock, without asking for anything."""
        return self._clock()

    def admit(self, budget: str, knobs: Knobs) -> Admission:
        """Accept or refuse one request against *budget*, now."""
        now = self._clock()
        judge = self._by_bucket if knobs.algorithm == "bucket" else self._by_window
        accepted, in_window = judge(budget, now, knobs)
        return Admission(at=now, accepted=accepted, in_window=in_window)

    def _by_window(self, budget: str, now: float, knobs: Knobs) -> tuple[bool, int]:
        times = self._counted.setdefault(budget, deque())
        while times and _is_over(times[0], now, knobs):
            times.popleft()
        accepted = len(times) < knobs.rate
        if accepted or knobs.count_refused:
            times.append(now)
        return accepted, len(times)

    def _by_bucket(self, budget: str, now: float, knobs: Knobs) -> tuple[bool, int]:
        """Take one of ``rate`` tokens; they come back evenly, all within one window.

        The one number to remember is when the bucket will be full again.
        """
        token_seconds = knobs.window_seconds / knobs.rate
        full_again = max(self._full_again.get(budget, now), now)
        # The small part of a token is for rounding: a client that keeps the pace exactly is not refused.
        accepted = full_again + token_seconds <= now + knobs.window_seconds + token_seconds / 1000
        if accepted or knobs.count_refused:
            full_again = min(full_again + token_seconds, now + knobs.window_seconds)
        self._full_again[budget] = full_again
        return accepted, round((full_again - now) / token_seconds)


def _is_over(at: float, now: float, knobs: Knobs) -> bool:
    if knobs.algorithm == "fixed":
        return at // knobs.window_seconds < now // knobs.window_seconds
    # Strictly older: a request exactly one window ago still counts, so closed windows hold too.
    return at + knobs.window_seconds < now
