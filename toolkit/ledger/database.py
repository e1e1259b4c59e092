"""The ledger's database: opened, brought to the newest schema, read by many threads, written by one."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
import tenacity
from sqlalchemy.dialects import postgresql, sqlite

from toolkit.errors import LedgerError
from toolkit.files import make_folder, make_private
from toolkit.frames import empty_table, to_arrow, to_frame, to_table

from .messages import as_ledger_errors, is_busy, opening_sentence, read_address
from .schema import REVISION, metadata

ROWS_AT_ONCE = 20_000
"""Rows or values of one statement."""
Item = TypeVar("Item")
Result = TypeVar("Result")
Rows = Iterable[Mapping[str, Any]]
BUSY_SECONDS = 30
"""How long SQLite waits for another program's write."""
_MAKING = threading.Lock()
"""Held while a file is made: closing any descriptor of a file frees this process's locks on it."""
_MIGRATING = threading.Lock()
"""Alembic keeps its context in the module: one migration at a time in this process."""
_MIGRATIONS = str(Path(__file__).parent / "migrations")
_KEEP_ALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
"""Options by which libpq keeps a connection that is idle for long."""


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
        self._turn = threading.Lock()
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with as_ledger_errors(self.name), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # One writer at a time: SQLite would otherwise answer "database is locked" after a wait, and a server
        # may have few connections left.
        with as_ledger_errors(self.name), self._turn, self._engine.begin() as connection:
            yield connection

    def _commit(self, action: Callable[[sa.Connection], Result]) -> Result:
        """Carry *action* out and return its result once it is safe on the disk.

        What several threads want at the same moment goes into one commit: each waits for the disk, but
        they wait together. So a disk of 50 ms a commit still keeps up with Postscript.
        """
        done: Future[Result] = Future()
        self._waiting.append((action, done))
        with as_ledger_errors(self.name):
            with self._turn:
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

    def _load(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _load_frame(self, query: sa.Select[Any], columns: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Read into a frame of these dtypes, else of objects: beside a null, integers would be floats."""
        with self._reading() as connection:
            if columns is not None:
                return read_frame(connection, query, columns)
            result = connection.execute(query)
            return pd.DataFrame(result.fetchall(), columns=[*result.keys()], dtype="object")


# --- opening ----------------------------------------------------------------------------------------------


def file_of(url: str | sa.URL) -> Path | None:
    """Return the file that a ledger's URL names; None where it names a server, no file, or is no URL."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # the latter for a port that is no number
        return None
    name = (parsed.database or "").removeprefix("file:")
    return Path(name) if parsed.get_backend_name() == "sqlite" and name not in {"", ":memory:"} else None


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        if url.drivername.partition("+")[2] in {"", "psycopg", "psycopg2"}:
            url = url.set(query={**_KEEP_ALIVE, **url.query})
        # hide_parameters: an error must not print people's contacts.
        return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
    if (file := file_of(url)) is None:
        raise LedgerError(
            "A ledger in memory is empty in each thread, and gone with the process. Name a file, such as "
            "sqlite:///ledger.db."
        )
    with _MAKING:
        make_folder(file.parent)
        make_private(file)
    engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # Two that begin to keep the journal in a file of its own refuse each other without waiting.
    patient = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_busy),
        stop=tenacity.stop_after_delay(BUSY_SECONDS),
        wait=tenacity.wait_fixed(0.01),
        reraise=True,
    )
    try:
        patient(connection.executescript, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    except sqlite3.Error:
        connection.close()
        raise


def _bring_up_to_date(engine: sa.Engine, name: str) -> None:
    """Make the tables of a new ledger, or carry out the migrations that an older one lacks."""
    with engine.connect() as connection:
        # Looked at first: a reader must not wait for a run that is writing.
        if (current := _revision(connection)) == REVISION:
            return
    # Only here: it takes a quarter of a second to import.
    from alembic.operations import Operations
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
        # As `alembic upgrade` does it, without an env.py.
        steps = {"fn": lambda old, _: scripts._upgrade_revs(REVISION, old)}
        context = MigrationContext.configure(connection, opts=steps)
        if _revision(connection) is None:
            metadata.create_all(connection, checkfirst=False)
            context.stamp(scripts, REVISION)
        else:
            with Operations.context(context):
                context.run_migrations()


def _revision(connection: sa.Connection) -> str | None:
    """Return the newest migration that the database has; None for a new one."""
    is_new = not sa.inspect(connection).has_table("alembic_version")
    return None if is_new else str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def _check_revision(current: str | None, known: list[str], name: str) -> None:
    if current is None or current in known:
        return
    what = "belongs to a newer version of the toolkit"
    advice = "Upgrade the toolkit on this machine, then run again"
    if current < min(known):
        what = "is older than this toolkit can read"
        advice = "Name a new ledger: the next run reads the shop's subscribers anew"
    raise LedgerError(f"The ledger {name} {what}: its schema is {current}. {advice}.")


# --- rows, some at a time: a million without a million objects at once --------------------------------------


def chunks(values: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut values into parts that fit one statement."""
    left = iter(values)
    while part := [*islice(left, ROWS_AT_ONCE)]:
        yield part


def records(frame: pd.DataFrame, **constants: Any) -> Iterator[dict[str, Any]]:
    """Yield a frame's rows, each with *constants*: times as microseconds since 1970, nulls as None."""
    for start in range(0, len(frame), ROWS_AT_ONCE):
        part = to_arrow(frame.iloc[start : start + ROWS_AT_ONCE])
        cells = (c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in part.columns)
        for row in zip(*(column.to_pylist() for column in cells), strict=True):
            yield {**dict(zip(part.column_names, row, strict=True)), **constants}


def read_frame(connection: sa.Connection, query: sa.Select[Any], columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a query whose columns are among *columns* into a frame of these dtypes; the others are null."""
    # Of the query, not of the connection: PostgreSQL writes nothing through a cursor that streams.
    result = connection.execute(query.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE))
    names = [*result.keys()]
    parts = [
        to_table(dict(zip(names, zip(*rows, strict=True), strict=True)), columns)
        for rows in result.partitions()
    ]
    return to_frame(pa.concat_tables(parts), columns) if parts else empty_table(columns)


def shop_rows(
    connection: sa.Connection, table: sa.Table, columns: Mapping[str, str], shop_id: str
) -> pd.DataFrame:
    """Read a shop's rows into a frame of these columns and dtypes, in the order of their keys."""
    query = sa.select(*table.c[*columns]).filter_by(shop_id=shop_id).order_by(*table.primary_key)
    return read_frame(connection, query, columns)


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Rows, *, where: sa.ColumnElement[bool] | None = None
) -> None:
    """Insert rows, over those that have their key, or over those of them that *where* is true of."""
    for part in chunks(rows):
        connection.execute(_upsert(connection.dialect.name, table, where), part)


@lru_cache
def _upsert(dialect: str, table: sa.Table, where: sa.ColumnElement[bool] | None) -> sa.Insert:
    statement = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    rest = {c.name: c for c in statement.excluded if c.name not in table.primary_key}
    if not rest:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=rest, where=where)


def delete(connection: sa.Connection, table: sa.Table, rows: Rows) -> None:
    """Delete the rows that have the keys of these."""
    statement = sa.delete(table).where(*(c == sa.bindparam(c.name) for c in table.primary_key))
    for part in chunks(rows):
        connection.execute(statement, part)
