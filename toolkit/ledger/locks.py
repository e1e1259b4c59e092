"""One live run a shop: a lock of the database server, or of a file beside the ledger."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from toolkit.errors import LedgerError
from toolkit.files import make_private

from .troubles import is_busy

MAKING = threading.Lock()
"""Held while a file is made and opened: closing any descriptor of a file frees this process's locks on it."""
_HELD = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() "
    "AND classid = :high AND objid = :low AND objsubid = 1"
)


def lock_number(shop_id: str) -> int:
    """Return the number of a shop's lock."""
    return int.from_bytes(hashlib.sha256(shop_id.encode()).digest()[:6])


class NoLock:
    """A ledger in memory: no other process can see it."""

    def take(self) -> bool:
        """Take nothing."""
        return True

    is_held = take

    def release(self) -> None:
        """Let go of nothing."""


class ServerLock:
    """PostgreSQL's advisory lock, in a session of its own in which no transaction is ever open."""

    def __init__(self, url: sa.URL, number: int, connect_args: dict[str, int]) -> None:
        self._number = number
        self._engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,  # to close the session is to let go
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            hide_parameters=True,
            connect_args=connect_args,
        )
        self._session: sa.Connection | None = None

    def take(self) -> bool:
        """Take the lock in a new session; False when another session has it."""
        self.release()
        self._session = self._engine.connect()
        if self._session.scalar(sa.select(sa.func.pg_try_advisory_lock(self._number))):
            return True
        self.release()
        return False

    def is_held(self) -> bool:
        """Tell whether the session is still there, and has the lock."""
        if self._session is None:
            return False
        try:
            return bool(
                self._session.scalar(_HELD, {"high": self._number >> 32, "low": self._number & 0xFFFFFFFF})
            )
        except sa.exc.DBAPIError:
            return False

    def release(self) -> None:
        """End the session, and with it the lock."""
        if self._session is not None:
            with suppress(sa.exc.DBAPIError):
                self._session.close()
            self._session = None


class FileLock:
    """SQLite's own lock on a file beside the ledger, which goes when the process does."""

    def __init__(self, ledger: Path, number: int) -> None:
        self._ledger = Path(os.path.realpath(ledger))
        self._path = Path(f"{self._ledger}.{number:x}.lock")
        self._connection: sqlite3.Connection | None = None
        self._locked: tuple[int, int] | None = None

    def take(self) -> bool:
        """Take the lock; False when another process has it."""
        self.release()
        with MAKING:
            # Who may write the ledger may lock it.
            make_private(self._path, like=self._ledger)
            if not os.access(self._path, os.W_OK):
                # SQLite would open it to read, and share what must be exclusive.
                raise LedgerError(
                    f"The shop cannot be locked: {self._path} belongs to another user and cannot be written "
                    f"to. Give it the owner and the mode of {self._ledger.name}, then run again."
                )
            self._connection = sqlite3.connect(self._path, timeout=0, check_same_thread=False)
            try:
                self._connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                self.release()
                if is_busy(error):
                    return False
                raise
            self._locked = self._on_path()
        return True

    def is_held(self) -> bool:
        """Tell whether the file that is locked is still the one that others would lock."""
        return self._connection is not None and self._locked == self._on_path()

    def release(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _on_path(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
