"""When a request may leave: evenly spaced over all threads and processes of one key.

Postscript counts requests for the shop, whoever sends them. So the next start is kept in a small file that
every process of this user on this machine opens for the same key; two runs at once take turns. After a
refusal (429) all of them slow down, because the official integration may use the same budget, and recover
little by little. Two machines share no file: each learns of the other only through a 429. How long the pause
after a 429 is, PostscriptClient decides: what the answer asks for, at most MAX_PAUSE_SECONDS.
"""

from __future__ import annotations

import hashlib
import os
import platform
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from toolkit.errors import ParameterError, SettingsError

SLOWER = 0.75
"""What a refusal leaves of the pace."""
SLOWEST = 0.1
RECOVERY_SECONDS = 120.0
"""From a standstill to the full pace; a quarter comes back in thirty seconds."""
MOST_A_SECOND = 15
"""Requests that Postscript takes from a shop in any second."""
_SECOND = 1.02
"""A second, and what the way there may take from it."""
_PUNCTUAL = 0.02
"""Share of the time between two turns by which one may begin late without shifting the next."""
_LONGEST_HOLD_SECONDS = 300.0
"""A start further away than this was kept before the machine restarted, when its clock began anew."""


@dataclass(kw_only=True)
class Turns:
    """The state of one budget, in seconds of a clock that all its users share."""

    next: float = float("-inf")
    """No request starts before this."""
    speed: float = 1.0
    """Share of the pace that was left when it was last cut."""
    cut_at: float = float("-inf")
    left: tuple[float, ...] = (float("-inf"),) * MOST_A_SECOND
    """When the last requests left, oldest first."""

    def speed_at(self, now: float) -> float:
        """Return the share of the pace that may be used, 0 to 1."""
        return min(1.0, self.speed + (now - self.cut_at) / RECOVERY_SECONDS)


class Budget:
    """The turns of one key, in one process."""

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._turns = Turns()

    @contextmanager
    def change(self) -> Iterator[Turns]:
        """Give the turns to one caller at a time, and keep what it changed."""
        with self._threads:
            yield self._turns


class SharedBudget(Budget):
    """The turns of all processes of this user on one machine that call one address with one key.

    The file is named by a fingerprint of all three; the key is not in it. Machines with one home folder keep
    a file each: a clock that counts from the start of a machine means nothing on another.
    """

    _FORM = struct.Struct(f"<{3 + MOST_A_SECOND}d")

    def __init__(self, folder: Path, *secrets: str, machine: str = "") -> None:
        super().__init__()
        names = (machine or this_machine(), *secrets)
        name = hashlib.sha256("\x1f".join(names).encode()).hexdigest()[:24]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"{name}.turns"
            self._lock = FileLock(folder / f"{name}.lock", thread_local=False, poll_interval=0.002)
            with self._lock:
                self._path.touch()
        except OSError as error:
            raise SettingsError(
                f"The pace cannot be shared with other runs: {folder} cannot be written "
                f"({error.strerror}). Set TOOLKIT_BUDGET_FOLDER to a folder that can."
            ) from None

    @contextmanager
    def change(self) -> Iterator[Turns]:
        """Give the turns to one thread of one process at a time, and keep what it changed."""
        with self._threads, self._lock:
            turns = self._load()
            before = replace(turns)
            yield turns
            if turns != before:
                self._save(turns)

    def _load(self) -> Turns:
        """Return the turns; new ones for what cannot be read, or is of an earlier start of the machine."""
        found = b""
        with suppress(OSError):
            found = self._path.read_bytes()
        if len(found) != self._FORM.size:
            return Turns()
        start, speed, cut_at, *left = self._FORM.unpack(found)
        now = time.monotonic()
        if not max(start, cut_at, *left) - now < _LONGEST_HOLD_SECONDS or not SLOWEST <= speed <= 1:
            return Turns()
        return Turns(next=start, speed=speed, cut_at=cut_at, left=tuple(left))

    def _save(self, turns: Turns) -> None:
        # One write of 144 bytes over the old ones: a process that is killed leaves the old or the new.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, self._FORM.pack(turns.next, turns.speed, turns.cut_at, *turns.left))
        finally:
            os.close(descriptor)


def shared_folder() -> Path:
    """Return the folder in which processes share their pace: TOOLKIT_BUDGET_FOLDER, or the user's cache."""
    named = os.environ.get("TOOLKIT_BUDGET_FOLDER", "").strip()
    return Path(named) if named else user_cache_path("audience-toolkit") / "pace"


def this_machine() -> str:
    """Name this machine's clock: the start of Linux that it counts from, else the machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return platform.node()


class Pacer:
    """Hands out start times, evenly spaced, to any number of threads and processes."""

    def __init__(
        self,
        requests_per_second: float,
        *,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < requests_per_second < float("inf"):
            raise ParameterError(
                f"requests_per_second is {requests_per_second}; give a number above 0. Postscript allows 15."
            )
        self._interval = 1 / requests_per_second
        self._most = min(int(requests_per_second) + 1, MOST_A_SECOND)
        self._is_bounded = requests_per_second <= MOST_A_SECOND
        self._budget = budget or Budget()
        self._clock = clock
        self._sleep = sleep
        self._turn = threading.Lock()

    def wait(self) -> None:
        """Block until it is this caller's turn.

        The next turn counts from when this one was due if it began punctually, else from when it really
        began: after a stall nothing is made up for, because what is sent together is counted together.
        """
        with self._turn:
            late = 0.0
            while True:
                with self._budget.change() as turns:
                    now, due = self._clock(), turns.next
                    if due <= now:
                        # Woken late, the machine is busy, and what was just sent may be late at the other end
                        # as well: one turn is left out, so that two do not arrive for one.
                        gap = self._interval / turns.speed_at(now) * (2 if late > self._interval / 4 else 1)
                        # A sleep ends a little late; added up over an hour that would be minutes.
                        turns.next = (due if now - due < self._interval * _PUNCTUAL else now) + gap
                        return
                self._sleep(due - now)
                late = self._clock() - due

    def leave(self) -> None:
        """Block until one more may leave: in any second one more than the pace, and never more than 15.

        A slow note, or a machine that stood still, holds requests up after their turns; they must not leave
        together then. A pace above Postscript's limit is for a stand-in, and is not bounded.
        """
        while self._is_bounded:
            with self._budget.change() as turns:
                now, free = self._clock(), turns.left[-self._most] + _SECOND
                if free <= now:
                    turns.left = (*turns.left[1:], now)
                    return
            self._sleep(free - now)

    def pause(self, seconds: float) -> None:
        """Let no request start for that long."""
        with self._budget.change() as turns:
            turns.next = max(turns.next, self._clock() + seconds)

    def slow_down(self, seconds: float) -> None:
        """After a 429: let no request start for that long, then go on at three quarters of the pace.

        PostscriptClient decides how long: as Retry-After says, else at random, twice as long each time.
        """
        self.pause(seconds)
        with self._budget.change() as turns:
            now = self._clock()
            # Refusals of one moment are one refusal, however many requests were under way.
            if now - turns.cut_at > 1.0:
                turns.speed, turns.cut_at = max(SLOWEST, turns.speed_at(now) * SLOWER), now
