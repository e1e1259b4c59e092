"""How a ledger's database is opened, and brought to the newest schema."""

from __future__ import annotations

import sqlite3
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from toolkit.errors import LedgerError
from toolkit.files import make_folder, make_private

from .address import LedgerAddress
from .locks import MAKING, lock_number
from .troubles import code_of, is_busy, sentence_of

BUSY_SECONDS = 30
"""How long SQLite waits for another program's write."""
_MIGRATING = threading.Lock()
"""Alembic keeps its context in the module: one migration at a time in this process."""
_MIGRATIONS = Path(__file__).parent / "migrations"


def file_of(url: str) -> Path | None:
    """Return the file that a ledger's URL names; None where it is no file, or no URL."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        return None
    name = (parsed.database or "").removeprefix("file:")
    return Path(name) if parsed.get_backend_name() == "sqlite" and name not in {"", ":memory:"} else None


def open_engine(url: str, address: LedgerAddress) -> sa.Engine:
    """Return the engine of a database of the newest schema; LedgerError when there is none."""
    engine = None
    try:
        engine = _make_engine(sa.make_url(url))
        _migrate(engine, address.shown)
    except Exception as error:
        if engine is not None:
            engine.dispose()
        if isinstance(error, LedgerError):
            raise
        raise LedgerError(
            f"The ledger cannot be opened ({_opening_sentence(error, address)}). Check ledger_url or "
            "TOOLKIT_LEDGER_URL, and that the folder can be written to. In a password write %40 for @, "
            "%2F for / and %3F for ?."
        ) from None
    return engine


def _migrate(engine: sa.Engine, name: str) -> None:
    scripts = _scripts()
    with engine.connect() as connection:
        # Looked at first: who only reads must not wait for a run that is writing.
        current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current and current not in {script.revision for script in scripts.walk_revisions()}:
        raise LedgerError(
            f"The ledger {name} belongs to a newer version of the toolkit: its schema is {current}. "
            "Upgrade the toolkit on this machine, then run again."
        )
    with _MIGRATING, engine.begin() as connection:
        # All or nothing, and one process at a time.
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins none before DDL
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_number("migration"))))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        # hide_parameters: an error must not print people's contacts.
        return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=keep_alive(url))
    if file := file_of(url.render_as_string(hide_password=False)):
        with MAKING:
            make_folder(file.parent)
            make_private(file)
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def keep_alive(url: sa.URL) -> dict[str, int]:
    """Return the options by which libpq keeps a connection that says nothing for long."""
    options = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    is_libpq = url.drivername.partition("+")[2] in {"", "psycopg", "psycopg2"}
    return {name: value for name, value in options.items() if is_libpq and name not in url.query}


def _opening_sentence(error: Exception, address: LedgerAddress) -> str:
    if code_of(error):
        return sentence_of(error)
    # A driver's own words name host and user; of what could not be taken apart nothing is repeated.
    reason = address.scrub(str(getattr(error, "orig", None) or error).partition("\n")[0])[:200]
    return f"{type(error).__name__}: {reason}".rstrip(": ")


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
