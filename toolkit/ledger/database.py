"""The ledger's database: opened, brought to the newest schema, read by many threads, written by one."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pandas as pd
import sqlalchemy as sa

from toolkit.errors import LedgerError
from toolkit.files import make_folder, make_private

from .messages import as_ledger_errors, is_busy, opening_sentence, read_address
from .schema import REVISION, metadata, read_frame

BUSY_SECONDS = 30
"""How long SQLite waits for another program's write."""
MAKING = threading.Lock()
"""Held while a file is made and opened: closing any descriptor of a file frees this process's locks on it."""
_MIGRATING = threading.Lock()
"""Alembic keeps its context in the module: one migration at a time in this process."""
_MIGRATIONS = str(Path(__file__).parent / "migrations")
Result = TypeVar("Result")


def now() -> datetime:
    """Return the present time in UTC, without a zone, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def lock_number(name: str) -> int:
    """Return the number of a lock, such as that of a shop."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])


class Database:
    """A database of the newest schema. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        address = read_address(url)
        self.name = address.shown
        """The URL without user, password and options."""
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[sa.Connection], Any], Future[Any]]] = deque()
        engine = None
        try:
            engine = _make_engine(sa.make_url(url))
            _bring_up_to_date(engine, self.name)
        except Exception as error:
            if engine is not None:
                engine.dispose()
            if isinstance(error, LedgerError):
                raise
            raise LedgerError(
                f"The ledger cannot be opened ({opening_sentence(error, address)}). Check ledger_url or "
                "TOOLKIT_LEDGER_URL, and that the folder can be written to. In a password write %40 for @, "
                "%2F for / and %3F for ?."
            ) from None
        self._engine = engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with as_ledger_errors(self.name), self._engine.connect() as connection:
            yield connection

    def _load(self, query: sa.Select[Any], **given: Any) -> list[dict[str, Any]]:
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query, given).mappings()]

    def _load_frame(self, query: sa.Select[Any], columns: Mapping[str, str], **given: Any) -> pd.DataFrame:
        with self._reading() as connection:
            return read_frame(connection, query, columns, **given)

    def _load_objects(self, query: sa.Select[Any]) -> pd.DataFrame:
        """Read into a frame of objects: beside a null, pandas would make floats of whole numbers."""
        with self._reading() as connection:
            result = connection.execute(query)
            return pd.DataFrame(result.fetchall(), columns=[*result.keys()], dtype="object")

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # One writer at a time: SQLite would otherwise answer "database is locked" after a wait.
        with as_ledger_errors(self.name), self._lock, self._engine.begin() as connection:
            yield connection

    def _commit(self, action: Callable[[sa.Connection], Result]) -> Result:
        """Carry *action* out and return its result once it is safe on the disk.

        What several threads want at the same moment goes into one commit: each waits for the disk, but
        they wait together.
        """
        done: Future[Result] = Future()
        self._waiting.append((action, done))
        with as_ledger_errors(self.name):
            with self._lock:
                if not done.done():
                    self._commit_waiting()
            return done.result()

    def _commit_waiting(self) -> None:
        batch: list[Future[Any]] = []
        results = []
        try:
            with self._engine.begin() as connection:
                while self._waiting:
                    action, done = self._waiting.popleft()
                    batch.append(done)
                    results.append(action(connection))
        except BaseException as error:  # noqa: BLE001 - of any kind: each waiting thread raises it
            if not batch:  # without a connection nothing was begun: all that wait have failed
                batch = [self._waiting.popleft()[1] for _ in range(len(self._waiting))]
            for done in batch:
                done.set_exception(error)
        else:
            for done, result in zip(batch, results, strict=True):
                done.set_result(result)


# --- opening ----------------------------------------------------------------------------------------------


def file_of(url: str | sa.URL) -> Path | None:
    """Return the file that a ledger's URL names; None where it names a server, no file, or is no URL."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        return None
    name = (parsed.database or "").removeprefix("file:")
    return Path(name) if parsed.get_backend_name() == "sqlite" and name not in {"", ":memory:"} else None


def keep_alive(url: sa.URL) -> dict[str, int]:
    """Return the options by which libpq keeps a connection that is idle for long."""
    options = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    is_libpq = url.drivername.partition("+")[2] in {"", "psycopg", "psycopg2"}
    return {name: value for name, value in options.items() if is_libpq and name not in url.query}


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        # hide_parameters: an error must not print people's contacts.
        return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=keep_alive(url))
    if (file := file_of(url)) is None:
        raise LedgerError(
            "A ledger in memory is empty in each thread, and gone with the process. Name a file, such as "
            "sqlite:///ledger.db."
        )
    with MAKING:
        make_folder(file.parent)
        make_private(file)
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    try:
        for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        _begin_wal(connection)
    except sqlite3.Error:
        connection.close()
        raise


def _begin_wal(connection: sqlite3.Connection) -> None:
    """Keep the journal in a file of its own; two that begin so at once refuse each other without waiting."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _bring_up_to_date(engine: sa.Engine, name: str) -> None:
    """Make the tables of a new ledger, or carry out the migrations that an older one lacks."""
    with engine.connect() as connection:
        # Looked at first: a reader must not wait for a run that is writing.
        if (current := _revision(connection)) == REVISION:
            return
    # Only here: it takes a quarter of a second to import.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(_MIGRATIONS, version_locations=[_MIGRATIONS])
    _check_revision(current, [script.revision for script in scripts.walk_revisions()], name)
    with _MIGRATING, engine.begin() as connection:
        # All or nothing, and one process at a time.
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins none before DDL
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_number("migration"))))
        if _revision(connection) is None:
            metadata.create_all(connection, checkfirst=False)
            MigrationContext.configure(connection).stamp(scripts, REVISION)
            return
        # As `alembic upgrade` does it, without an env.py.
        steps = {"fn": lambda old, _: scripts._upgrade_revs(REVISION, old)}
        with EnvironmentContext(Config(), scripts, **steps) as upgrade:
            upgrade.configure(connection=connection, render_as_batch=True)
            upgrade.run_migrations()


def _revision(connection: sa.Connection) -> str | None:
    """Return the newest migration that the database has; None for a new one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _check_revision(current: str | None, known: list[str], name: str) -> None:
    if current is None or current in known:
        return
    if current < min(known):
        raise LedgerError(
            f"The ledger {name} is older than this toolkit can read: its schema is {current}. Name a new "
            "ledger: the next run reads the shop's subscribers anew."
        )
    raise LedgerError(
        f"The ledger {name} belongs to a newer version of the toolkit: its schema is {current}. "
        "Upgrade the toolkit on this machine, then run again."
    )
