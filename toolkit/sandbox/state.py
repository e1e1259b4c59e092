"""All that a running sandbox holds, and the ways to set it: by code, by control route, by fault."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from .access import Keyring
from .faults import Fault, FaultPlan
from .journal import Journal
from .knobs import Knobs
from .limiter import Limiter
from .shop import Contents, Shop


class Clock:
    """The wall's time and the stopwatch's, both put forward at will."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0

    def now(self) -> datetime:
        """Read the calendar."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_seconds)

    def monotonic(self) -> float:
        """Read the stopwatch, in seconds."""
        return time.monotonic() + self._ahead_seconds

    def advance(self, seconds: float) -> None:
        """Put both forward; a ValueError says that a clock does not go back."""
        if not 0 <= seconds <= 10 * 365 * 86_400:
            raise ValueError("The clock can be put forward by 0 seconds to ten years.")
        self._ahead_seconds += seconds


class State:
    """The shop, the door, the limit, the journal, the knobs and the faults of one sandbox.

    *lock* is held by whoever looks at any of it or changes it.
    """

    def __init__(
        self,
        subscribers: Iterable[Any],
        *,
        keys: Iterable[str],
        knobs: Knobs,
        faults: Iterable[Fault],
        seed: int,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = Clock()
        self.shop = Shop(subscribers, clock=self.clock.now)
        self.keyring = Keyring(keys)
        self.limiter = Limiter(clock=self.clock.monotonic)
        self.journal = Journal()
        self.knobs = knobs
        self._seed = seed
        self._kept: Contents | None = None
        self.set_faults(faults)

    def set_knobs(self, changes: Mapping[str, Any]) -> None:
        """Set some knobs anew, from the next request on."""
        self.knobs = self.knobs.changed(changes)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Put these faults in place of all others, and count requests from now on."""
        self.faults = FaultPlan(faults, seed=self._seed)
        self._restart()

    def reset(self) -> None:
        """Go back to the start: the first subscribers, all keys, an empty journal, faults counted anew."""
        self.shop.reset()
        self.keyring.reset()
        self.journal.clear()
        self.faults.restart()
        self._restart()

    def snapshot(self) -> None:
        """Keep what the shop holds now, in place of what was kept before."""
        self._kept = self.shop.contents()

    def restore(self) -> None:
        """Let the shop hold again what was kept; without a snapshot, what it held at the start."""
        self.shop.restore(self._kept)

    def since_start(self) -> float:
        """Return the seconds since the start, the latest reset or the latest setting of faults."""
        return self.clock.monotonic() - self._started

    def _restart(self) -> None:
        self._started = self.clock.monotonic()
        self.chance = random.Random(f"{self._seed} latency and victims")  # noqa: S311
