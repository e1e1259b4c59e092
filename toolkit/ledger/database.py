"""The database under the ledger: opened, brought to the newest schema, written by one thread at a time."""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite

from toolkit.errors import LedgerError, ShopLockedError

from .schema import locks, runs

_MIGRATING = threading.Lock()
"""Alembic keeps its context in the module: one migration at a time in this process."""
_MIGRATIONS = Path(__file__).parent.parent / "migrations"


def now() -> datetime:
    """Return the present time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def file_of(url: str) -> Path | None:
    """Return the file that a ledger's URL names; None where it is no file, or no URL."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}
    return Path(str(parsed.database)) if is_file else None


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
        try:
            parsed = sa.make_url(url)
            self.name = parsed.render_as_string(hide_password=True)
            """The URL, its password hidden."""
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            # hide_parameters: an error must not print people's contacts.
            self._engine = sa.create_engine(parsed, hide_parameters=True)
            if parsed.get_backend_name() == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            self._migrate()
        except Exception as error:  # noqa: BLE001 - whatever the database driver raises
            reason = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
            raise LedgerError(
                f"The ledger cannot be opened ({type(error).__name__}: {reason}). "
                "Check ledger_url or TOOLKIT_LEDGER_URL, and that the folder can be written to."
            ) from None
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._held: list[sqlite3.Connection | sa.Connection] = []
        self._locked: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, and let go of the shops that were locked."""
        while self._held:
            self._held.pop().close()
        self._locked.clear()
        self._engine.dispose()

    # --- one writer a shop ----------------------------------------------------------------------------

    def lock_shop(self, shop_id: str) -> None:
        """Keep the shop for this ledger alone, until it is closed or its process ends, however it ends.

        Two live runs at once would both see the same changes due, and post every custom event twice. Runs
        that still say ``running`` are those of processes that died: they are told as ``failed``.

        Raises
        ------
        ShopLockedError
            Somebody else has it; the message says who, and since when.
        """
        if shop_id in self._locked:
            return
        number = int.from_bytes(hashlib.sha256(shop_id.encode()).digest()[:6])
        if self._engine.dialect.name == "postgresql":
            connection = self._engine.connect()
            self._held.append(connection)
            is_ours = bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar())
        else:
            database = self._engine.url.database
            in_memory = not database or database == ":memory:"  # nobody else can see it
            is_ours = in_memory or self._lock_beside(f"{os.path.realpath(str(database))}.{number:x}.lock")
        if not is_ours:
            raise ShopLockedError(f"{self._who_writes(shop_id)}. Wait for it to end, then run again.")
        self._locked.add(shop_id)
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        dead = (runs.c.shop_id == shop_id) & (runs.c.mode == "live") & (runs.c.status == "running")
        died = "The process ended before the run did; the next live run takes it up."
        with self._writing() as connection:
            upsert(connection, locks, [{"shop_id": shop_id, "holder": holder, "since": now()}])
            connection.execute(sa.update(runs).where(dead).values(status="failed", error=died))

    def check_lock(self, shop_id: str) -> None:
        """Make sure that the shop is still locked for this ledger; LedgerError when it is not."""

    def _lock_beside(self, path: str) -> bool:
        """Take the lock of a file beside the ledger: SQLite's own, which goes when the process does."""
        connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
        self._held.append(connection)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        return True

    def _who_writes(self, shop_id: str) -> str:
        lock = sa.select(locks.c.holder, locks.c.since).where(locks.c.shop_id == shop_id)
        running = sa.select(runs.c.run_id, runs.c.started_at).where(
            runs.c.shop_id == shop_id, runs.c.mode == "live", runs.c.status == "running"
        )
        with self._engine.connect() as connection:
            held = connection.execute(lock).first()
            run = connection.execute(running.order_by(runs.c.started_at.desc()).limit(1)).first()
        who = f" ({held.holder})" if held else ""
        if run is not None:
            since = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"
            return f"Run {run.run_id}{who} has been writing to this shop since {since}"
        since = f" since {held.since:%Y-%m-%d %H:%M:%S} UTC" if held else ""
        return f"Another live run{who} has held this shop{since}"

    # --- reading and writing --------------------------------------------------------------------------

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        newest = ScriptDirectory.from_config(config).get_current_head()
        with self._engine.connect() as connection:
            # Looked at first: who only reads must not wait for a run that is writing.
            if MigrationContext.configure(connection).get_current_revision() == newest:
                return
        with _MIGRATING, self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # All or nothing, and one at a time: Python's driver begins no transaction before DDL.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # One writer at a time: SQLite would otherwise answer "database is locked" after a wait.
        with self._lock, self._engine.begin() as connection:
            yield connection

    def _commit(self, action: Callable[[sa.Connection], Any]) -> Any:
        """Carry *action* out and return its result once it is safe on the disk.

        What several threads want at the same moment goes into one commit: each waits for the disk, but
        they wait together.
        """
        work = _Work(action)
        self._waiting.append(work)
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
    keys = [column.name for column in table.primary_key]
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    if rest:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=rest)
    else:
        statement = statement.on_conflict_do_nothing()
    connection.execute(statement, [*rows])


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
