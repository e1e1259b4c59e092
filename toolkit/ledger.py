"""The ledger: what was asked, what Postscript holds, what was sent. One database, many shops.

SQLite in WAL mode by default, so that it can be read while a scheduled run writes; PostgreSQL for a team.
The schema's history is in ``toolkit/migrations``. Times of events are microseconds since 1970 UTC.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite

from .errors import LedgerError, ShopLockedError, UnknownRunError
from .memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State, empty_table
from .plan import CHANGE_COLUMNS
from .runs import RunRecord, Transition

if TYPE_CHECKING:
    from collections.abc import Iterator

metadata = sa.MetaData()


def _name(length: int = 255) -> sa.String:
    return sa.String(length)


runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("shop_id", _name(), nullable=False),
    sa.Column("shop_name", sa.Text, nullable=False),
    sa.Column("mode", _name(16), nullable=False),
    sa.Column("status", _name(32), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column(
        "facts", sa.Text, nullable=False, comment="JSON: parameters, planned calls, calls made, limits"
    ),
    sa.Column("started_at", sa.DateTime, nullable=False, index=True),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("seconds", sa.Float, nullable=False),
)

totals = sa.Table(
    "totals",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("kind", _name(16), primary_key=True, comment="event or change"),
    sa.Column("audience_key", sa.Text, primary_key=True),
    sa.Column("trait_key", sa.Text, primary_key=True),
    sa.Column("status", _name(32), primary_key=True),
    sa.Column("reason_code", _name(64), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)

memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("audience_key", sa.Text, primary_key=True),
    sa.Column("audience_id", sa.Text),
    sa.Column("member", sa.Boolean, nullable=False),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("received_at", sa.BigInteger),
    sa.Column("message_id", sa.Text),
    sa.Column("run_id", _name(64), nullable=False),
)

traits = sa.Table(
    "traits",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("trait_key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False, comment="JSON"),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("received_at", sa.BigInteger),
    sa.Column("message_id", sa.Text),
    sa.Column("run_id", _name(64), nullable=False),
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("email", sa.Text),
    sa.Column("email_at", sa.BigInteger),
    sa.Column("phone", sa.Text),
    sa.Column("phone_at", sa.BigInteger),
)

subscribers = sa.Table(
    "subscribers",
    metadata,
    sa.Column("shop_id", _name(), primary_key=True),
    sa.Column("subscriber_id", _name(), primary_key=True),
    sa.Column("phone_digits", sa.Text),
    sa.Column("email_folded", sa.Text),
    sa.Column("audiences", sa.Text, comment="JSON list; null when the property is not a list of texts"),
    sa.Column("has_property", sa.Boolean, nullable=False),
    sa.Column("property_count", sa.Integer, nullable=False),
    sa.Column("can_send", sa.Boolean),
    sa.Column("updated_at", sa.Text),
    sa.Column("run_id", _name(64), nullable=False),
    sa.Column(
        "properties", sa.Text, comment="JSON object: the traits that were asked about, and their JSON text"
    ),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("run_id", _name(64), primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("audience_key", sa.Text, primary_key=True, comment="empty for a trait"),
    sa.Column("trait_key", sa.Text, primary_key=True, comment="empty for an audience"),
    sa.Column("audience_id", sa.Text),
    sa.Column("member", sa.Boolean),
    sa.Column("trait_value", sa.Text),
    sa.Column("operation", _name(16)),
    sa.Column("status", _name(32), nullable=False),
    sa.Column("reason_code", _name(64), nullable=False),
    sa.Column("status_message", sa.Text),
    sa.Column("subscriber_id", _name()),
    sa.Column("match_method", _name(16)),
    sa.Column("can_send", sa.Boolean),
    sa.Column("email_masked", sa.Text),
    sa.Column("phone_masked", sa.Text),
    sa.Column("message_id", sa.Text),
    sa.Column("timestamp", sa.BigInteger),
    sa.Column("external_id", _name(64)),
)

transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("external_id", _name(64), primary_key=True),
    sa.Column("shop_id", _name(), nullable=False),
    sa.Column("run_id", _name(64), nullable=False),
    sa.Column("subscriber_id", _name(), nullable=False),
    sa.Column("audience_key", sa.Text, nullable=False),
    sa.Column("audience_id", sa.Text),
    sa.Column("entered", sa.Boolean, nullable=False),
    sa.Column("state", _name(16), nullable=False, comment="planned, due, posting, sent, unknown, refused"),
    sa.Column("changed_at", sa.DateTime, nullable=False),
    sa.Index("ix_transitions_open", "shop_id", "state"),
)

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("call_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("run_id", _name(64), nullable=False, index=True),
    sa.Column("route", _name(), nullable=False),
    sa.Column("subscriber_id", _name()),
    sa.Column("external_id", _name(64)),
    sa.Column("before", sa.Text, comment="JSON object: the written properties before it"),
    sa.Column("after", sa.Text),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("finished_at", sa.DateTime, comment="null: the process ended before the answer came"),
    sa.Column("outcome", sa.Text, comment="ok, or the error's class and sentence"),
    sa.Column("status_code", sa.Integer),
    sa.Column("tries", sa.Integer),
)

_KEPT_OUT_OF_CHANGES = ("unchanged", "waiting")
"""Statuses that most rows of most runs have: counted in totals, not stored row by row."""
_MIGRATING = threading.Lock()
"""Alembic keeps its context in the module: one migration at a time in this process."""
_KEYS = ("audience_key", "trait_key")
"""What a row is about: one of them, the other is empty; a primary key holds no null."""
_TIMES = ("timestamp", "received_at", "email_at", "phone_at")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Ledger:
    """A ledger, opened and brought to the newest schema. Safe to use from several threads.

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
            self._engine = sa.create_engine(parsed)
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
        self._held: list[sqlite3.Connection | sa.Connection] = []

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
        self._engine.dispose()

    def lock_shop(self, shop_id: str) -> None:
        """Keep the shop for this ledger alone, until it is closed or its process ends, however it ends.

        Two live runs at once would both see the same changes due, and post every custom event twice.

        Raises
        ------
        ShopLockedError
            Somebody else has it.
        """
        number = int.from_bytes(hashlib.sha256(shop_id.encode()).digest()[:6])
        if self._engine.dialect.name == "postgresql":
            connection = self._engine.connect()
            self._held.append(connection)
            is_ours = bool(connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar())
        else:
            database = self._engine.url.database
            in_memory = not database or database == ":memory:"  # nobody else can see it
            is_ours = in_memory or self._lock_beside(f"{database}.{number:x}.lock")
        if not is_ours:
            raise ShopLockedError(f"{self._who_writes(shop_id)}. Wait for it to end, then run again.")

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
        query = sa.select(runs.c.run_id, runs.c.started_at).where(
            runs.c.shop_id == shop_id, runs.c.mode == "live", runs.c.status == "running"
        )
        with self._engine.connect() as connection:
            run = connection.execute(query.order_by(runs.c.started_at.desc()).limit(1)).first()
        if run is None:
            return "Another live run is planning to write to this shop"
        return f"Run {run.run_id} has been writing to this shop since {run.started_at:%Y-%m-%d %H:%M:%S} UTC"

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with _MIGRATING, self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # All or nothing, and one at a time: Python's driver begins no transaction before DDL.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        # One writer at a time: SQLite would otherwise answer "database is locked" after a wait.
        with self._lock, self._engine.begin() as connection:
            yield connection

    # --- runs -----------------------------------------------------------------------------------------

    def save_run(self, run: RunRecord) -> None:
        """Write a run's record, over an earlier one of the same id."""
        row = {**vars(run), "facts": json.dumps(run.facts)}
        with self._writing() as connection:
            self._upsert(connection, runs, [row])

    def get_run(self, run_id: str = "") -> RunRecord:
        """Return a run's record, the latest when no id is given; UnknownRunError when there is none."""
        query = sa.select(runs).order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(1)
        if run_id:
            query = query.where(runs.c.run_id == run_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            what = f'holds no run "{run_id}"' if run_id else "holds no run yet"
            raise UnknownRunError(f"The ledger {self.name} {what}. Run 3_sync_audiences first.")
        return RunRecord(**{**row, "facts": json.loads(row["facts"])})

    def save_results(self, run_id: str, events: pd.DataFrame, changed: pd.DataFrame) -> None:
        """Write how the events and changes of a run ended: totals of all, rows of those worth reading."""
        counted = [*_count(run_id, "event", events), *_count(run_id, "change", changed)]
        rows = changed[~changed["status"].isin(_KEPT_OUT_OF_CHANGES)].assign(run_id=run_id)
        rows = rows.fillna(dict.fromkeys(_KEYS, ""))
        with self._writing() as connection:
            for table, values in ((totals, counted), (changes, _records(rows))):
                connection.execute(sa.delete(table).where(table.c.run_id == run_id))
                _insert(connection, table, values)

    def load_totals(self, run_id: str) -> pd.DataFrame:
        """Return kind, audience_key, trait_key, status, reason_code and count, one row a combination."""
        frame = self._read(sa.select(totals).where(totals.c.run_id == run_id))
        return frame.drop(columns="run_id").infer_objects()

    def load_changes(self, run_id: str) -> pd.DataFrame:
        """Return the changes of a run that are worth reading (CHANGE_COLUMNS): not unchanged, not waiting."""
        query = sa.select(changes).where(changes.c.run_id == run_id)
        frame = self._read(query.order_by(changes.c.person, *(changes.c[key] for key in _KEYS)))
        frame[[*_KEYS]] = frame[[*_KEYS]].replace("", None)
        return _typed(frame, CHANGE_COLUMNS)

    # --- what is asked for ----------------------------------------------------------------------------

    def load_state(self, shop_id: str) -> State:
        """Return the memberships, traits and people that earlier live runs of the shop left."""

        def load(table: sa.Table, columns: Mapping[str, str]) -> pd.DataFrame:
            frame = self._read(sa.select(table).where(table.c.shop_id == shop_id))
            return _typed(frame, columns) if len(frame) else empty_table(dict(columns))

        return State(
            memberships=load(memberships, MEMBERSHIP_COLUMNS),
            people=load(people, PEOPLE_COLUMNS),
            traits=load(traits, TRAIT_COLUMNS),
        )

    def save_state(self, shop_id: str, run_id: str, state: State) -> None:
        """Write what *state* has that the ledger has not."""
        before = self.load_state(shop_id)
        new_words = _without(state.memberships, before.memberships).assign(shop_id=shop_id, run_id=run_id)
        new_values = _without(state.traits, before.traits).assign(shop_id=shop_id, run_id=run_id)
        new_people = _without(state.people, before.people).assign(shop_id=shop_id)
        with self._writing() as connection:
            self._upsert(connection, memberships, _records(new_words))
            self._upsert(connection, traits, _records(new_values))
            self._upsert(connection, people, _records(new_people))

    def save_subscribers(self, shop_id: str, run_id: str, read: pd.DataFrame) -> None:
        """Refresh the mirror with subscribers as they were just read (SUBSCRIBER_COLUMNS)."""
        listed = [None if held is None else json.dumps(held) for held in read["audiences"]]
        asked = [json.dumps(held) if held else None for held in read["properties"]]
        rows = read.assign(audiences=listed, properties=asked, shop_id=shop_id, run_id=run_id)
        with self._writing() as connection:
            self._upsert(connection, subscribers, _records(rows))

    # --- what was sent --------------------------------------------------------------------------------

    def start_write(
        self,
        run_id: str,
        shop_id: str,
        subscriber_id: str,
        *,
        route: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        due: Iterable[Transition],
    ) -> int:
        """Record which properties are about to be written, and the custom events that will then be due."""
        rows = [
            {**vars(t), "state": "planned", "shop_id": shop_id, "run_id": run_id, "changed_at": _now()}
            for t in due
        ]
        with self._writing() as connection:
            self._upsert(connection, transitions, rows)
            return _start_call(
                connection,
                run_id,
                route,
                subscriber_id,
                before=json.dumps(before),
                after=json.dumps(after),
            )

    def end_write(
        self, call_id: int, *, outcome: str, status_code: int | None, tries: int, due: Sequence[str]
    ) -> None:
        """Record a write's answer; after ``ok`` the transitions of these external ids are due.

        After a refusal they are forgotten: nothing changed, so there is nothing to tell.
        """
        mine = transitions.c.external_id.in_(due)
        with self._writing() as connection:
            _end_call(connection, call_id, outcome, status_code, tries)
            if outcome == "ok":
                connection.execute(sa.update(transitions).where(mine).values(state="due", changed_at=_now()))
            else:
                connection.execute(sa.delete(transitions).where(mine))

    def start_event(self, run_id: str, route: str, transition: Transition) -> int:
        """Record that a custom event is about to be posted."""
        with self._writing() as connection:
            self._mark(connection, transition.external_id, "posting")
            return _start_call(
                connection, run_id, route, transition.subscriber_id, external_id=transition.external_id
            )

    def end_event(
        self,
        call_id: int,
        transition: Transition,
        *,
        state: str,
        outcome: str,
        status_code: int | None,
        tries: int,
    ) -> None:
        """Record what became of a custom event: ``sent``, ``unknown``, ``refused``, or ``due`` again."""
        with self._writing() as connection:
            _end_call(connection, call_id, outcome, status_code, tries)
            self._mark(connection, transition.external_id, state)

    def load_open_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that earlier runs left in the middle: planned, due or posting."""
        columns = [transitions.c[name] for name in Transition.__dataclass_fields__]
        query = sa.select(*columns).where(
            transitions.c.shop_id == shop_id, transitions.c.state.in_(["planned", "due", "posting"])
        )
        with self._engine.connect() as connection:
            return [Transition(**row) for row in connection.execute(query).mappings()]

    def mark_transitions(self, external_ids: Sequence[str], state: str | None) -> None:
        """Set the state of these custom events; None forgets them."""
        mine = transitions.c.external_id.in_(external_ids)
        with self._writing() as connection:
            if state is None:
                connection.execute(sa.delete(transitions).where(mine))
            else:
                connection.execute(sa.update(transitions).where(mine).values(state=state, changed_at=_now()))

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes: one row a call, in the order in which they began."""
        query = sa.select(calls).where(calls.c.run_id == run_id).order_by(calls.c.call_id)
        return self._read(query).infer_objects()

    # --- plumbing -------------------------------------------------------------------------------------

    @staticmethod
    def _mark(connection: sa.Connection, external_id: str, state: str) -> None:
        connection.execute(
            sa.update(transitions)
            .where(transitions.c.external_id == external_id)
            .values(state=state, changed_at=_now())
        )

    def _read(self, query: sa.Select[Any]) -> pd.DataFrame:
        with self._engine.connect() as connection:
            result = connection.execute(query)
            # As objects: beside a null, pandas would make floats of whole numbers.
            return pd.DataFrame(result.fetchall(), columns=[*result.keys()], dtype="object")

    def _upsert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        keys = [column.name for column in table.primary_key]
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = insert(table)
        rest = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), [*rows])


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _start_call(
    connection: sa.Connection, run_id: str, route: str, subscriber_id: str, **rest: str | None
) -> int:
    row = {"run_id": run_id, "route": route, "subscriber_id": subscriber_id, "started_at": _now(), **rest}
    key = connection.execute(sa.insert(calls).values(**row)).inserted_primary_key
    return int(key[0]) if key else 0


def _end_call(
    connection: sa.Connection, call_id: int, outcome: str, status_code: int | None, tries: int
) -> None:
    values = {"finished_at": _now(), "outcome": outcome, "status_code": status_code, "tries": tries}
    connection.execute(sa.update(calls).where(calls.c.call_id == call_id).values(**values))


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), [*rows])


def _count(run_id: str, kind: str, frame: pd.DataFrame) -> list[dict[str, Any]]:
    keys = [*_KEYS, "status", "reason_code"]
    counted = frame[keys].fillna("").value_counts(sort=False).rename("count").reset_index()
    return _records(counted.assign(run_id=run_id, kind=kind))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a frame into rows for the database: times to microseconds, every kind of null to None."""
    times = {
        name: frame[name].astype("int64").astype("Int64").mask(frame[name].isna())
        for name in _TIMES
        if name in frame
    }
    plain = frame.assign(**times).astype("object")
    rows: list[dict[str, Any]] = plain.where(plain.notna(), None).to_dict("records")
    return rows


def _typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Give a frame read from the database the columns and dtypes it was written with."""
    times = {
        name: pd.to_datetime(frame[name].astype("Int64"), unit="us", utc=True)
        for name in _TIMES
        if name in columns
    }
    return frame.assign(**times)[[*columns]].astype(dict(columns))


def _without(after: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of *after* that *before* does not have, all columns compared."""
    if before.empty:
        return after
    merged = after.merge(before, how="left", on=[*after.columns], indicator=True)
    return after[(merged["_merge"] == "left_only").to_numpy()]
