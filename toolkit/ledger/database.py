"""The database under the ledger: opened, brought to the newest schema, written by one thread at a time."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from toolkit.errors import ShopLockedError

from .address import read_address
from .locks import FileLock, NoLock, ServerLock, lock_number
from .opening import file_of, keep_alive, open_engine
from .schema import locks, runs
from .troubles import as_ledger_errors


def now() -> datetime:
    """Return the present time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Database:
    """A database of the newest schema. Safe to use from several threads.

    Parameters
    ----------
    url
        SQLAlchemy URL such as ``sqlite:///ledger.db`` or ``postgresql+psycopg://…``.

    Raises
    ------
    LedgerError
        The database cannot be opened, or belongs to a newer version of the toolkit.
    """

    def __init__(self, url: str) -> None:
        address = read_address(url)
        self.name = address.shown
        """The URL without user, password and options."""
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._held: dict[str, _Hold] = {}
        self._checking = threading.Lock()
        self._engine = open_engine(url, address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, and let go of the shops that were locked."""
        while self._held:
            self._held.popitem()[1].lock.release()
        self._engine.dispose()

    # --- one writer a shop ----------------------------------------------------------------------------

    def lock_shop(self, shop_id: str) -> None:
        """Keep the shop for this ledger alone, until it is closed or its process ends, however it ends.

        Two live runs at once would both see the same changes due, and post every custom event twice. Runs
        that still say ``running`` are those of processes that died: they are recorded as ``failed``.

        Raises
        ------
        ShopLockedError
            Another ledger has it; the message says which process, and since when.
        """
        if shop_id in self._held:
            return
        lock = self._make_lock(shop_id)
        with as_ledger_errors(self.name):
            is_ours = lock.take()
        if not is_ours:
            raise ShopLockedError(self._who_writes(shop_id))
        hold = _Hold(lock, f"process {os.getpid()} on {socket.gethostname()}", now())
        self._held[shop_id] = hold
        dead = (runs.c.shop_id == shop_id) & (runs.c.mode == "live") & (runs.c.status == "running")
        died = "The process ended before the run did; the next live run takes it up."
        with self._writing() as connection:
            upsert(connection, locks, [{"shop_id": shop_id, "holder": hold.holder, "since": hold.since}])
            connection.execute(sa.update(runs).where(dead).values(status="failed", error=died))

    @contextmanager
    def holding(self, shop_id: str) -> Iterator[None]:
        """Keep the shop as lock_shop() does, and let go of it at the end unless it was kept before."""
        is_kept = shop_id in self._held
        self.lock_shop(shop_id)
        try:
            yield
        finally:
            if not is_kept and (hold := self._held.pop(shop_id, None)):
                hold.lock.release()

    def check_lock(self, shop_id: str) -> None:
        """Make sure that the shop is still kept for this ledger; to be asked before something is sent.

        A lock that the database lost, as it does when it restarts or drops the connection, is taken again,
        unless another live run has had the shop since.

        Raises
        ------
        ShopLockedError
            The shop is not kept, or not any more: another live run has it, or has had it.
        """
        with self._checking, as_ledger_errors(self.name):
            hold = self._held.get(shop_id)
            if hold is not None and hold.lock.is_held():
                return
            if hold is not None and hold.lock.take():
                if self._holds_last(shop_id, hold):
                    return
                hold.lock.release()
        raise ShopLockedError(
            "This run does not hold the shop any more: its lock was lost, and another live run may have the "
            "shop. Nothing more is sent. Wait until no other run is under way, then run again."
        )

    def _make_lock(self, shop_id: str) -> ServerLock | FileLock | NoLock:
        url = self._engine.url
        if url.get_backend_name() == "postgresql":
            return ServerLock(url, lock_number(shop_id), keep_alive(url))
        file = file_of(url.render_as_string(hide_password=False))
        return NoLock() if file is None else FileLock(file, lock_number(shop_id))

    def _holds_last(self, shop_id: str, hold: _Hold) -> bool:
        last = sa.select(locks.c.holder, locks.c.since).where(locks.c.shop_id == shop_id)
        with self._reading() as connection:
            return connection.execute(last).first() == (hold.holder, hold.since)

    def _who_writes(self, shop_id: str) -> str:
        lock = sa.select(locks.c.holder, locks.c.since).where(locks.c.shop_id == shop_id)
        running = sa.select(runs.c.run_id, runs.c.started_at).where(
            runs.c.shop_id == shop_id, runs.c.mode == "live", runs.c.status == "running"
        )
        with self._reading() as connection:
            held = connection.execute(lock).first()
            run = connection.execute(running.order_by(runs.c.started_at.desc()).limit(1)).first()
        who = held.holder if held else "another process"
        if run is not None:
            since = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"
            first = f"Run {run.run_id} ({who}) has been writing to this shop since {since}."
        else:
            since = f" since {held.since:%Y-%m-%d %H:%M:%S} UTC" if held else ""
            first = f"Another live run ({who}) has held this shop{since}."
        return (
            f"{first} Wait for it to end, then run again. If it has ended, close the notebook or the Python "
            f"session that is {who}: it still holds the shop."
        )

    # --- reading and writing --------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with as_ledger_errors(self.name), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # One writer at a time: SQLite would otherwise answer "database is locked" after a wait.
        with as_ledger_errors(self.name), self._lock, self._engine.begin() as connection:
            yield connection

    def _commit(self, action: Callable[[sa.Connection], Any]) -> Any:
        """Carry *action* out and return its result once it is safe on the disk.

        What several threads want at the same moment goes into one commit: each waits for the disk, but
        they wait together.
        """
        work = _Work(action)
        self._waiting.append(work)
        with as_ledger_errors(self.name):
            with self._lock:
                if not work.done:
                    self._commit_waiting()
            if work.error is not None:
                raise work.error
        return work.result

    def _commit_waiting(self) -> None:
        batch: list[_Work] = []
        try:
            with self._engine.begin() as connection:
                while self._waiting:
                    batch.append(self._waiting.popleft())
                    batch[-1].result = batch[-1].action(connection)
        except BaseException as error:
            for work in batch:
                work.error = error
            raise
        finally:
            for work in batch:
                work.done = True


class _Hold(NamedTuple):
    """A lock that was taken, and the words in the ledger that say so."""

    lock: ServerLock | FileLock | NoLock
    holder: str
    since: datetime


class _Work:
    """Something to be written, and what came of it."""

    def __init__(self, action: Callable[[sa.Connection], Any]) -> None:
        self.action = action
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, over those that have their key."""
    if not rows:
        return
    connection.execute(_upsert_into(table, connection.dialect.name), [*rows])


@cache
def _upsert_into(table: sa.Table, dialect: str) -> sa.Insert:
    keys = [column.name for column in table.primary_key]
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    if not rest:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)
