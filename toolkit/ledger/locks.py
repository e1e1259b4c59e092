"""One live run a shop: a lock of the database server, or of a file beside the ledger."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import filelock
import sqlalchemy as sa

from toolkit.errors import LedgerError, ShopLockedError
from toolkit.files import make_private

from .database import Database, file_of, lock_number, now, upsert
from .messages import as_ledger_errors
from .schema import locks, runs

_HELD = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() "
    "AND classid = :high AND objid = :low AND objsubid = 1"
)
_RUNNING = {"mode": "live", "status": "running"}


class _ServerLock:
    """PostgreSQL's advisory lock, in a session of its own in which no transaction is ever open."""

    def __init__(self, engine: sa.Engine, number: int) -> None:
        self._engine, self._number = engine, number
        self._session: sa.Connection | None = None

    def take(self) -> bool:
        """Take the lock in a new session; False when another session has it."""
        self.release()
        self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._session.detach()  # from the pool: to close the session is to let go
        if self._session.scalar(sa.func.pg_try_advisory_lock(self._number)):
            return True
        self.release()
        return False

    def is_held(self) -> bool:
        """Return True while the session is there and has the lock."""
        high, low = divmod(self._number, 1 << 32)
        with suppress(sa.exc.DBAPIError):
            return bool(self._session and self._session.scalar(_HELD, {"high": high, "low": low}))
        return False

    def release(self) -> None:
        """End the session, and with it the lock."""
        if self._session is not None:
            with suppress(sa.exc.SQLAlchemyError):
                # First, because the server notices later that a session has ended.
                self._session.scalar(sa.func.pg_advisory_unlock_all())
            self._session.close()
            self._session = None


class ShopFile:
    """A lock on a file beside the ledger, which goes when the process does."""

    def __init__(self, ledger: Path, number: int) -> None:
        self._ledger = Path(os.path.realpath(ledger))
        self._path = Path(f"{self._ledger}.{number:x}.lock")
        self._lock = filelock.FileLock(self._path, timeout=0, thread_local=False)

    def take(self) -> bool:
        """Take the lock; False when another process has it."""
        self.release()
        # Who may write the ledger may lock it.
        make_private(self._path, like=self._ledger)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            return False
        except PermissionError:
            raise LedgerError(
                f"The shop cannot be locked: {self._path} belongs to another user and cannot be written to. "
                f"Give it the owner and the mode of {self._ledger.name}, then run again."
            ) from None
        self._locked = self._path.stat()
        return True

    def is_held(self) -> bool:
        """Return True while the file that is locked is still the one that others would lock."""
        with suppress(FileNotFoundError):
            return self._lock.is_locked and os.path.samestat(self._locked, self._path.stat())
        return False

    def release(self) -> None:
        """Let go of the file."""
        self._lock.release(force=True)


class ShopLocks(Database):
    """The part of the ledger that keeps a shop for one live run."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._held: dict[str, tuple[_ServerLock | ShopFile, tuple[str, datetime]]] = {}
        """Shop → its lock, and who holds it since when, as the ledger has it."""
        self._checking = threading.Lock()

    def close(self) -> None:
        """Close every connection, and let go of the shops that were locked."""
        while self._held:
            self._held.popitem()[1][0].release()
        super().close()

    def lock_shop(self, shop_id: str) -> None:
        """Keep the shop for this ledger alone, until it is closed or its process ends, however it ends.

        Two live runs at once would both see the same changes due, and post every custom event twice. Runs
        whose status is still ``running`` belong to processes that died: they are recorded as ``failed``.
        ShopLockedError when another ledger has it; the message names the process, and since when.
        """
        if shop_id in self._held:
            return
        file, number = file_of(self._engine.url), lock_number(shop_id)
        lock = ShopFile(file, number) if file else _ServerLock(self._engine, number)
        with as_ledger_errors(self.name):
            if not lock.take():
                raise ShopLockedError(self._who_writes(shop_id))
        holder, since = f"process {os.getpid()} on {socket.gethostname()}", now()
        self._held[shop_id] = lock, (holder, since)
        died = "The process ended before the run did; the next live run takes it up."
        with self._writing() as connection:
            upsert(connection, locks, [{"shop_id": shop_id, "holder": holder, "since": since}])
            running = sa.update(runs).filter_by(shop_id=shop_id, **_RUNNING)
            connection.execute(running.values(status="failed", error=died))

    @contextmanager
    def holding(self, shop_id: str) -> Iterator[None]:
        """Keep the shop as lock_shop() does, and let go of it at the end unless it was kept before."""
        is_kept = shop_id in self._held
        self.lock_shop(shop_id)
        try:
            yield
        finally:
            if not is_kept and shop_id in self._held:
                self._held.pop(shop_id)[0].release()

    def check_lock(self, shop_id: str) -> None:
        """Make sure that the shop is still kept for this ledger; call it before something is sent.

        A lock that the database lost, as it does when it restarts or drops the connection, is taken again.
        ShopLockedError when the shop is not kept, or another live run has it, or has had it since.
        """
        with self._checking, as_ledger_errors(self.name):
            lock, holder = self._held.get(shop_id, (None, None))
            if lock and (lock.is_held() or (lock.take() and self._last_holder(shop_id) == holder)):
                return
            if lock:
                lock.release()
        raise ShopLockedError(
            "This run does not hold the shop any more: its lock was lost, and another live run may have the "
            "shop. Nothing more is sent. Wait until no other run is under way, then run again."
        )

    def _last_holder(self, shop_id: str) -> tuple[str, datetime | None]:
        found = self._load(sa.select(locks).filter_by(shop_id=shop_id))
        return (found[0]["holder"], found[0]["since"]) if found else ("another process", None)

    def _who_writes(self, shop_id: str) -> str:
        running = sa.select(runs).filter_by(shop_id=shop_id, **_RUNNING).order_by(runs.c.started_at.desc())
        who, since = self._last_holder(shop_id)
        first = f"Another live run ({who}) has held this shop"
        if found := self._load(running.limit(1)):
            since = found[0]["started_at"]
            first = f"Run {found[0]['run_id']} ({who}) has been writing to this shop"
        first += f" since {since:%Y-%m-%d %H:%M:%S} UTC." if since else "."
        return (
            f"{first} Wait for it to end, then run again. If it has ended, close the notebook or the Python "
            f"session that is {who}: it still holds the shop."
        )
