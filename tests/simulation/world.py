"""Time, chance, and the order of concurrent work, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import greenlet
import pyarrow as pa
import time_machine

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
SMALL_SCALE = {
    "toolkit.postscript.api.MAX_IN": 2,
    "toolkit.postscript.reader._PART": 3,
    "toolkit.sync.delivery.execution.CHECK_EVERY": 2,
    "toolkit.sync.delivery.execution.FAILURES_IN_A_ROW": 1,
}
"""Limits of the toolkit that are divided, so that a few people take as many calls and checks as thousands."""
NONE = timedelta()


class KilledError(BaseException):
    """The process was killed: nothing that it would still do happens."""


class Task:
    """One line of work. Has the methods of a future, so that a pool can return it."""

    def __init__(self, work: Callable[[], Any], *, process: Any, until: Callable[[], bool] | None) -> None:
        self.process, self.until = process, until
        self.let = greenlet.greenlet(self._run)
        self._work, self._value, self._error = work, None, None
        self._done = False
        self.scheduler: Scheduler | None = None

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        self._done = True

    @property
    def is_ready(self) -> bool:
        return not self._done and (self.until is None or self.until())

    def done(self) -> bool:
        return self._done

    def exception(self) -> BaseException | None:
        return self._error

    def cancel(self) -> bool:
        """Drop work that has not begun."""
        if self.let.dead or self.let:
            return False
        self._done, self._error = True, futures.CancelledError()
        return True

    def result(self) -> Any:
        """Return what came of it; waits for that."""
        if not self._done and self.scheduler:
            self.scheduler.pause(until=self.done)
        if self._error is not None:
            raise self._error
        return self._value


class Scheduler:
    """Runs tasks in turn. A task runs until it pauses; which is next is decided by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._hub = greenlet.getcurrent()
        self.on_switch: Callable[[], None] = lambda: None

    @property
    def process(self) -> Any:
        """The process whose task is running."""
        return self._current and self._current.process

    def spawn(
        self, work: Callable[[], Any], *, process: Any = None, until: Callable[[], bool] | None = None
    ) -> Task:
        """Add a task; it belongs to the process that adds it."""
        task = Task(work, process=process or self.process, until=until)
        task.let.parent = self._hub
        task.scheduler = self
        self._tasks.append(task)
        return task

    def pause(self, until: Callable[[], bool] | None = None) -> None:
        """Let others work, at least until *until* holds."""
        if self._current is not None:
            self._current.until = until
            self._hub.switch()

    def run(self, *tasks: Task) -> None:
        """Work until these tasks have ended."""
        self._hub = greenlet.getcurrent()
        while not all(task.done() for task in tasks):
            self._tasks = [task for task in self._tasks if not task.done()]
            ready = [task for task in self._tasks if task.is_ready]
            if not ready:
                raise RuntimeError("Every task waits for another.")
            self._current = self._chance.choice(ready)
            self._current.until = None
            self.on_switch()
            self._current.let.switch()
            self._current = None


class Pool:
    """Stands in for a pool of threads."""

    scheduler: Scheduler
    workers = 4

    def __init__(self, _max_workers: int | None = None) -> None:
        self._tasks: list[Task] = []
        self._running = 0

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Task:
        def run() -> Any:
            self._running += 1
            try:
                return work(*arguments)
            finally:
                self._running -= 1

        task = self.scheduler.spawn(run, until=lambda: self._running < self.workers)
        self._tasks.append(task)
        return task

    def map(self, work: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        tasks = [self.submit(work, *each) for each in zip(*items, strict=True)]
        return (task.result() for task in tasks)

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        for task in self._tasks if cancel_futures else ():
            task.cancel()
        if wait and not all(task.done() for task in self._tasks):
            self.scheduler.pause(until=lambda: all(task.done() for task in self._tasks))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def wait(tasks: Iterable[Task], *, return_when: str = futures.ALL_COMPLETED, **_: Any) -> None:
    """Wait for tasks, as ``concurrent.futures.wait`` does for futures."""
    tasks = [*tasks]

    def is_over() -> bool:
        failed = return_when == futures.FIRST_EXCEPTION and any(t.done() and t.exception() for t in tasks)
        return failed or all(task.done() for task in tasks)

    if tasks and not is_over():
        Pool.scheduler.pause(until=is_over)


class World:
    """One seed's time, chance and order of work. Use it in a ``with`` block of `played`."""

    def __init__(self, seed: int | str) -> None:
        self.chance = random.Random(f"{seed} world")
        self.scheduler = Scheduler(random.Random(f"{seed} order"))
        self._is_small = random.Random(f"{seed} scale").random() < 0.5
        self.trace: list[str] = []
        self.seconds = 0.0
        self._traveller: Any = None
        self._ahead = NONE
        self.scheduler.on_switch = self._change_host

    def note(self, line: str) -> None:
        """Add a line to the history's trace."""
        self.trace.append(line)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        ahead = getattr(self.scheduler.process, "ahead", NONE)
        if seconds <= 0 and ahead == self._ahead:
            return
        self.seconds += max(0.0, seconds)
        self._ahead = ahead
        if self._traveller is not None:
            self._traveller.move_to((self.now() + ahead).timestamp())

    def _change_host(self) -> None:
        """Show the clock of the machine that works now."""
        if getattr(self.scheduler.process, "ahead", NONE) != self._ahead:
            self.advance(0)

    def run(
        self, *works: tuple[Callable[[], Any], Any], until: Callable[[], bool] | None = None
    ) -> list[Task]:
        """Run each work in its process, to their ends, all at once; the last begins when *until* holds."""
        tasks = [self.scheduler.spawn(work, process=process) for work, process in works]
        tasks[-1].until = until
        self.scheduler.run(*tasks)
        return tasks

    @contextmanager
    def played(self) -> Iterator[World]:
        """Put this world's time, chance and order in the place of the machine's."""
        Pool.scheduler = self.scheduler
        threads = pa.cpu_count()
        pa.set_cpu_count(1)  # for tables of a few rows, other threads cost more than they help
        Pool.workers = self.chance.choice((1, 2, 4, 8))
        state = random.getstate()
        random.seed(self.chance.random())
        ids = random.Random(self.chance.random())

        def drawn_id() -> UUID:
            return UUID(int=ids.getrandbits(128))

        patches = (
            mock.patch("toolkit.postscript.lookup.ThreadPoolExecutor", Pool),
            mock.patch("toolkit.sync.delivery.execution.ThreadPoolExecutor", Pool),
            mock.patch("toolkit.sync.delivery.execution.wait", wait),
            mock.patch("toolkit.sync.delivery.execution.uuid4", drawn_id),
        )
        scale = SMALL_SCALE if self._is_small else {}
        patches = (*patches, *(mock.patch(name, value) for name, value in scale.items()))
        try:
            with time_machine.travel(self.now(), tick=False) as self._traveller:
                for patch in patches:
                    patch.start()
                yield self
        finally:
            self._traveller = None
            pa.set_cpu_count(threads)
            mock.patch.stopall()
            random.setstate(state)
