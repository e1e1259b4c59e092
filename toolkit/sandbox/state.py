"""All that a running sandbox holds, and the ways to look into it and to set it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from .admission import DEFAULT_SHOP_KEY, Keyring, Limiter
from .faults import Fault, FaultPlan
from .knobs import PROFILES, Knobs
from .records import Record
from .shop import Contents, Shop
from .wire import copied

_YEARS_AHEAD = 10


class SandboxState:
    """The shop, the door, the limit, the journal, the knobs and the faults of one sandbox.

    *lock* is held by whatever looks at any of it or changes it.

    Parameters
    ----------
    subscribers
        Records to start with; absent fields are filled in, as for a person who just signed up.
    keys
        Shop keys that are accepted; all belong to one shop and share its limit.
    knobs
        Answers to the open questions about Postscript, such as ``PROFILES["hostile"]``.
    faults
        What goes wrong, and when.
    seed
        Decides all that is left to chance in faults and latencies.
    changes
        Single knobs set anew, such as ``rate=100``, ``page_size=10`` or ``in_encoding="comma"``.
    """

    def __init__(
        self,
        subscribers: Iterable[Mapping[str, Any]] = (),
        *,
        keys: Iterable[str] = (DEFAULT_SHOP_KEY,),
        knobs: Knobs = PROFILES["documented"],
        faults: Iterable[Fault] = (),
        seed: int = 1,
        **changes: Any,
    ) -> None:
        self.lock = threading.RLock()
        self._ahead_seconds = 0.0
        self.knobs = knobs.changed(changes)
        """The knobs as they are set now."""
        self.shop = Shop(_own(subscribers), clock=self.now)
        self.keyring = Keyring(keys)
        self.limiter = Limiter(clock=self.monotonic)
        self.records: list[dict[str, Any]] = []
        """The journal itself."""
        self._seed = seed
        self._kept: Contents | None = None
        self.set_faults(faults)

    # Looking

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Every API request so far, oldest first.

        Each has ``at`` (monotonic seconds), ``key_fingerprint``, ``method``, ``path`` (as sent),
        ``query`` (list of [name, value]), ``body`` (of a write), ``status`` (None until answered, and for
        good when the connection is cut instead), ``delay_ms`` (None until the request has acted),
        ``limiter`` (requests that count in its window; None if the key was refused),
        ``violation`` (True for a request that an audience sync must never make), ``fault`` (what went wrong
        on purpose, or None) and ``applied`` (True for a write that was carried out, whatever was answered).
        """
        with self.lock:
            return [copied(record) for record in self.records]

    @property
    def subscribers(self) -> dict[str, Record]:
        """The subscribers as they are now, by id."""
        with self.lock:
            return {subscriber["id"]: copied(subscriber) for subscriber in self.shop}

    @property
    def custom_events(self) -> list[Record]:
        """Each accepted custom event: its body, ``event_id``, and ``matched_subscriber_id`` or None there."""
        with self.lock:
            return [copied(event) for event in self.shop.custom_events]

    def shown_id(self, subscriber_id: str) -> str | int:
        """Return the id that the API shows for a subscriber: a number under ``ids="numeric"``."""
        with self.lock:
            return subscriber_id if self.knobs.ids == "text" else self.shop.number_of(subscriber_id)

    def now(self) -> datetime:
        """Read the calendar."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_seconds)

    def monotonic(self) -> float:
        """Read the stopwatch, in seconds."""
        return time.monotonic() + self._ahead_seconds

    def since_start(self) -> float:
        """Return the seconds since the start, the latest reset or the latest setting of faults."""
        return self.monotonic() - self._started

    # Setting

    def add_subscribers(self, subscribers: Iterable[Any]) -> int:
        """Let people sign up late; all or none, and a ValueError when an id is taken. Return how many."""
        with self.lock:
            return self.shop.add(_own(subscribers))

    def redact(self, subscriber_id: str) -> None:
        """Forget one subscriber."""
        with self.lock:
            self.shop.redact(subscriber_id)

    def set_knobs(self, /, **changes: Any) -> None:
        """Set some knobs anew, for requests that come from now on."""
        with self.lock:
            self.knobs = self.knobs.changed(changes)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Put these faults in place of all others, and count requests from now on."""
        with self.lock:
            self.plan = FaultPlan(faults, seed=self._seed)
            self._restart()

    def revoke(self, key: str) -> None:
        """Refuse *key* from now on."""
        with self.lock:
            self.keyring.revoke(key)

    def advance(self, seconds: Any) -> None:
        """Put the clock forward: the calendar, the limit and the time of the faults."""
        if type(seconds) not in (int, float) or not 0 <= seconds <= _YEARS_AHEAD * 365 * 86_400:
            raise ValueError(f"The clock can be put forward by 0 seconds to {_YEARS_AHEAD} years.")
        with self.lock:
            self._ahead_seconds += seconds

    def snapshot(self) -> None:
        """Keep what the shop holds now, for restore()."""
        with self.lock:
            self._kept = self.shop.contents()

    def restore(self) -> None:
        """Let the shop hold again what it held at the latest snapshot, or at the start."""
        with self.lock:
            self.shop.restore(self._kept)

    def reset(self) -> None:
        """Go back to the first subscribers, all keys and an empty journal; knobs and clock stay."""
        with self.lock:
            self.shop.restore(None)
            self.keyring.reset()
            self.records.clear()
            self.plan.restart()
            self._restart()

    def _restart(self) -> None:
        self._started = self.monotonic()
        self.chance = random.Random(f"{self._seed} latency and victims")  # noqa: S311


def _own(records: Iterable[Any]) -> Iterable[Any]:
    """Copy the caller's records one by one, so that a later change to them stays with the caller."""
    return (copied(dict(record) if isinstance(record, Mapping) else record) for record in records)
