"""The ledger: everything written is there tomorrow, and can be read during a write."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
import stores
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import PROJECT
from tables import every

from toolkit.audiences.memberships import (
    MEMBERSHIP_COLUMNS,
    PEOPLE_COLUMNS,
    TRAIT_COLUMNS,
    State,
    empty_table,
)
from toolkit.errors import LedgerError, ShopLockedError, UnknownRunError
from toolkit.ledger import Ledger, database
from toolkit.ledger.database import lock_number, now, read_frame
from toolkit.ledger.locks import ShopFile
from toolkit.ledger.messages import opening_sentence, read_address, sentence_of
from toolkit.ledger.schema import REVISION, metadata
from toolkit.notebook.exit_codes import exit_code_of
from toolkit.postscript.api import EVENT_ROUTE, WRITE_ROUTE
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS, FetchResult, SubscriberCache
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.sync.plan import CHANGE_COLUMNS
from toolkit.sync.runs import CallResult, Held, RunRecord, Transition

SHOP = "shop_1"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(tmp_path):
    with stores.new_ledger(tmp_path) as opened:
        yield opened


def rows(url, query):
    """Ask the database itself."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def run_record(run_id="r1", **fields):
    facts = {"parameters": {"name": "Änne", "keys": ["vip"]}, "calls": {"GET /me": 1}}
    defaults = {
        "shop_id": SHOP,
        "shop_name": "Acme Socks",
        "mode": "live",
        "status": "completed",
        "started_at": datetime(2025, 3, 4, 10, 0, 0, 123456),
        "facts": facts,
    }
    return RunRecord(run_id=run_id, **{**defaults, **fields})


def table(columns, records):
    """Lay records out as a frame of these columns; what they lack is null."""
    values = {name: [record.get(name) for record in records] for name in columns}
    return pd.DataFrame({name: pd.Series(values[name], dtype=dtype) for name, dtype in columns.items()})


def memberships(*records):
    return table(MEMBERSHIP_COLUMNS, [*records])


def word(number, key="vip", **fields):
    at = pd.Timestamp("2025-03-04T10:15:00.123456Z")
    return {
        "person": f"user:u{number}",
        "audience_key": key,
        "audience_id": "aud_1",
        "member": True,
        "timestamp": at,
        "received_at": at + pd.Timedelta(seconds=1),
        "message_id": f"m{number}",
        **fields,
    }


def contact(number, **fields):
    at = pd.Timestamp("2025-03-04T10:15:00Z")
    known = {"email": f"u{number}@mail.test", "email_at": at, "phone": "+12025550143", "phone_at": at}
    return {"person": f"user:u{number}", **known, **fields}


def transition(number, **fields):
    known = {"subscriber_id": f"s_{number}", "audience_key": "vip", "audience_id": "aud_1", "entered": True}
    return Transition(external_id=f"x{number}", **{**known, **fields})


def begin_write(ledger, *due, run_id="r1", shop_id=SHOP, subscriber="s_1"):
    return ledger.start_write(
        run_id,
        shop_id,
        subscriber,
        before='{"Segment Audiences":["a"]}',
        after='{"Segment Audiences":["a","vip"],"orders":3}',
        due=due,
    )


# --- opening ----------------------------------------------------------------------------------------------


def test_a_new_ledger_is_one_that_can_be_read_while_written(url, ledger):
    """SQLite is in WAL mode, for every program that opens the file."""
    assert rows(url, "PRAGMA journal_mode") == [("wal",)]


def test_folders_are_made(tmp_path):
    """The folder of the ledger need not be there yet."""
    path = tmp_path / "a" / "b" / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    assert path.is_file()


DUMP = PROJECT / "tests" / "data" / "ledger-0007.sql"
"""A ledger of the first schema, as ``sqlite3 .dump`` writes it: never changed, because users have such."""


@pytest.fixture
def first(url):
    """The URL of a ledger of the first schema, with two people and one run in it."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.executescript(DUMP.read_text("utf-8"))
    return url


@pytest.mark.parametrize("start", ["url", "first"])
def test_new_and_migrated_ledgers_have_the_schema_in_the_code(request, start):
    """Both have exactly the tables, columns, types, keys and indexes that are declared."""
    url = request.getfixturevalue(start)
    Ledger(url).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION
        inspector = sa.inspect(connection)
        assert set(inspector.get_table_names()) == {*metadata.tables, "alembic_version"}
        for name, declared in metadata.tables.items():
            made = {
                c["name"]: (str(c["type"]), c["nullable"], bool(c["primary_key"]))
                for c in inspector.get_columns(name)
            }
            expected = {
                c.name: (c.type.compile(engine.dialect), c.nullable, c.primary_key) for c in declared.columns
            }
            assert made == expected, name
            assert inspector.get_pk_constraint(name)["constrained_columns"] == [
                c.name for c in declared.primary_key
            ]
            indexes = {i["name"]: i["column_names"] for i in inspector.get_indexes(name)}
            assert indexes == {i.name: [c.name for c in i.columns] for i in declared.indexes}
    engine.dispose()


def test_a_new_ledger_is_as_the_first_one_was(url, first, tmp_path):
    """Until a migration changes it, the database's own description of the tables is the same."""
    Ledger(f"sqlite:///{tmp_path / 'new.db'}").close()
    master = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    old, new = (
        [tuple(re.sub(r'[\s"]+', " ", text or "") for text in row) for row in rows(each, master)]
        for each in (first, f"sqlite:///{tmp_path / 'new.db'}")
    )
    assert {*old} == {*new}


def test_a_ledger_of_the_first_schema_keeps_what_it_holds(first):
    """Runs, totals, changes, desired state, subscribers and the journal are read as they were written."""
    with Ledger(first) as ledger:
        record = ledger.get_run()
        assert (record.status, record.facts["members"]) == ("completed", {"vip": 2})
        assert sorted(ledger.load_totals(record.run_id)["status"]) == ["added", "counted", "waiting"]
        assert ledger.load_changes(record.run_id)["person"].tolist() == ["user:u1"]
        state = ledger.load_state(SHOP)
        assert (
            state.memberships["person"].tolist() == state.people["person"].tolist() == ["user:u1", "user:u2"]
        )
        assert ledger.load_cache(SHOP).subscribers["audiences"].tolist() == ['["vip"]']
        assert ledger.load_calls(record.run_id)["outcome"].tolist() == ["ok", "ok"]
        ledger.lock_shop(SHOP)
        assert begin_write(ledger, transition(1)) == 3


def test_reopening_keeps_everything(url):
    """A ledger that is closed and opened again is the same, however often."""
    state = State(memberships=memberships(word(1)), people=table(PEOPLE_COLUMNS, [contact(1)]))
    with Ledger(url) as ledger:
        ledger.save_run(run_record())
        ledger.save_state(SHOP, "r1", state)
        begin_write(ledger, transition(1))
    for _ in range(2):
        with Ledger(url) as ledger:
            assert ledger.get_run("r1") == run_record()
            pd.testing.assert_frame_equal(ledger.load_state(SHOP).memberships, state.memberships)
            assert ledger.load_open_transitions(SHOP) == [transition(1)]
            assert len(ledger.load_calls("r1")) == 1


def test_opening_does_not_wait_for_a_run_that_writes(url, ledger):
    """A reader is not held up, and gets no error about the address."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        with Ledger(url) as other:
            assert other.load_latest_runs() == []
        writing.execute("ROLLBACK")


def test_opening_at_once_from_several_threads(url):
    """Several notebooks that start together find one ledger, made once."""
    with ThreadPoolExecutor(6) as pool:
        opened = [*pool.map(lambda _: Ledger(url), range(6))]
    for ledger in opened:
        ledger.close()
    assert len(rows(url, "SELECT version_num FROM alembic_version")) == 1


def test_a_schema_half_made_is_not_kept(url, monkeypatch):
    """A first opening that dies in the middle leaves nothing that the next one stumbles over."""

    def fail(*_args, **_named):
        raise RuntimeError("switched off")

    with monkeypatch.context() as patched:
        patched.setattr(MigrationContext, "stamp", fail)
        with pytest.raises(LedgerError, match="switched off"):
            Ledger(url)
    assert rows(url, "SELECT name FROM sqlite_master") == []
    Ledger(url).close()


def test_a_database_of_something_else_is_left_alone(url):
    """A table of the same name that no ledger made is not written to."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        other.execute("CREATE TABLE runs (distance REAL)")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(url)
    assert rows(url, "SELECT name FROM sqlite_master") == [("runs",)]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "ledger.db",
        "nosuch://user:hunter2@db.example.test/x",
        "postgresql+nosuch://user:hunter2@db.example.test/x",
        "postgresql+psycopg://user:hunter2@127.0.0.1:1/x",
        "postgresql://user:hunter2@db.example.test:port/x",
        "postgresql+psycopg://user:hunter@hunter2@127.0.0.1:1/x",
        "postgresql+psycopg://127.0.0.1:1/x?user=hunter2&password=hunter2&application_name=hunter2",
        "hunter2",
    ],
)
def test_an_address_that_leads_nowhere(bad):
    """The sentence names what to check, and never quotes a password."""
    with pytest.raises(LedgerError, match="Check ledger_url or TOOLKIT_LEDGER_URL") as caught:
        Ledger(bad)
    assert "hunter" not in f"{caught.value} {caught.value.__cause__}"


def test_a_place_that_cannot_be_written(tmp_path):
    """A folder in the place of the file, or a file in the place of the folder, is one sentence."""
    (tmp_path / "file").write_text("")
    (tmp_path / "junk.db").write_bytes(b"this is no database, whatever its name says" * 99)
    for path in (tmp_path, tmp_path / "file" / "ledger.db", tmp_path / "junk.db"):
        with pytest.raises(LedgerError, match="folder can be written to"):
            Ledger(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("revision", "sentence"),
    [
        ("9999", r"newer version of the toolkit: its schema is 9999\. Upgrade"),
        ("0006", r"older than this toolkit can read: its schema is 0006\. Name a new ledger"),
    ],
)
def test_a_ledger_of_another_toolkit(first, revision, sentence):
    """A schema that this toolkit does not know is refused, and left as it is."""
    with closing(sqlite3.connect(first.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    with pytest.raises(LedgerError, match=sentence):
        Ledger(first)
    assert rows(first, "SELECT version_num FROM alembic_version") == [(revision,)]


def test_a_later_migration_is_carried_out(first, tmp_path, monkeypatch):
    """A ledger of an earlier revision gets what a later one adds, and keeps what it holds."""
    folder = shutil.copytree(PROJECT / "toolkit" / "ledger" / "migrations", tmp_path / "migrations")
    step = 'revision, down_revision = "0008", "0007"\nbranch_labels = depends_on = None\n'
    change = 'from alembic import op\ndef upgrade():\n    op.execute("CREATE TABLE later (number INTEGER)")\n'
    (folder / "0008_later.py").write_text(step + change)
    monkeypatch.setattr(database, "_MIGRATIONS", str(folder))
    monkeypatch.setattr(database, "REVISION", "0008")
    with Ledger(first) as ledger:
        assert ledger.get_run().status == "completed"
    assert rows(first, "SELECT version_num FROM alembic_version") == [("0008",)]
    assert rows(first, "SELECT * FROM later") == []


@pytest.mark.parametrize("in_memory", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused(in_memory):
    """Threads do not share one, so a run would find no tables in it."""
    with pytest.raises(LedgerError, match="Name a file"):
        Ledger(in_memory)


@every(
    "url_, shown, passwords",
    [
        ("sqlite:////home/a@b/ledger.db?timeout=5", "sqlite:////home/a@b/ledger.db", ()),
        ("postgresql+psycopg://ana@db.test/x", "postgresql+psycopg://db.test/x", ()),
        ("postgresql://ana:hush%2F1@db.test:5432/x", "postgresql://db.test:5432/x", ("hush%2F1", "hush/1")),
        ("postgresql://db.test/x?user=ana&password=hu%26sh", "postgresql://db.test/x", ("hu%26sh", "hu&sh")),
        ("postgresql://db.test/x?auth_token=hush", "postgresql://db.test/x", ("hush",)),
        ("postgresql://ana:hu@sh@db.test/x", "", ("hu@sh",)),
        ("postgresql://ana:hu@s/h@db.test/x", "", ("hu@s/h",)),
        ("postgresql://ana:hu?s@db.test/x", "", ("hu?s",)),
        ("postgresql://db.test:1/x?sslpassword=a@b", "", ("1/x?sslpassword=a", "a@b")),
        ("hush", "", ()),
    ],
)
def test_what_of_an_address_may_be_shown(url_, shown, passwords):
    """Scheme, host and database, and nothing where a password makes it uncertain what they are."""
    address = read_address(url_)
    assert (address.shown, {*address.passwords}) == (shown, {*passwords})
    assert not passwords or "hu" not in address.scrub(f"no host for {url_}, {passwords[-1]}")


def test_a_ledger_that_cannot_be_opened_says_why():
    """A code of the database is a sentence; of a driver's own text its first line, without what it names."""
    refused = sqlite3.OperationalError("attempt to write a readonly database")
    refused.sqlite_errorname = "SQLITE_READONLY"
    error = sa.exc.OperationalError("PRAGMA", None, refused)
    address = read_address("postgresql://ana:hush@db.test/x")
    assert opening_sentence(error, address).startswith("this user may not write to it.")
    full = OSError(errno.ENOSPC, "No space left on device")
    assert opening_sentence(full, address).startswith("OSError: ")
    assert sentence_of(full).startswith("the disk is full. Make room")
    unknown = sa.exc.OperationalError("SELECT", None, OSError("no route to host for hush\nmore"))
    assert opening_sentence(unknown, address) == "OperationalError: no route to host for ***"


def test_its_name_shows_no_password(ledger, url):
    """The name of a ledger may be printed."""
    assert ledger.name == url


# --- runs -------------------------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was_saved(ledger):
    """Facts, times and texts survive; saving again overwrites."""
    ledger.save_run(run_record(status="running"))
    done = run_record(
        status="failed", error="Ü", finished_at=datetime(2025, 3, 4, 11), seconds=1.5, received=2**40
    )
    ledger.save_run(done)
    assert ledger.get_run("r1") == ledger.get_run() == done


def test_the_latest_run_is_the_one_that_began_last(ledger):
    """Not the one that was saved last."""
    for run_id, hour in [("b", 11), ("a", 12), ("c", 10)]:
        ledger.save_run(run_record(run_id, started_at=datetime(2025, 3, 4, hour)))
    assert ledger.get_run().run_id == "a"


def test_no_such_run(ledger):
    """An unknown run, or none at all, is an error with the next step."""
    with pytest.raises(UnknownRunError, match="no run yet"):
        ledger.get_run()
    ledger.save_run(run_record())
    with pytest.raises(UnknownRunError, match=r'no run "r2".*3_sync_audiences') as caught:
        ledger.get_run("r2")
    assert isinstance(caught.value, LookupError)


def change(number, status, reason, **fields):
    return {
        "person": f"user:u{number}",
        "audience_key": "vip",
        "member": True,
        "status": status,
        "reason_code": reason,
        **fields,
    }


def trait_change(number, **fields):
    return {
        "person": f"user:u{number}",
        "trait_key": "orders",
        "trait_value": "5",
        "status": "updated",
        "reason_code": "TRAIT_NEW_VALUE",
        "operation": "set",
        **fields,
    }


def test_results_of_traits(ledger):
    """An audience and a trait of one name and one person are two rows, each null where the other is not."""
    changes = table(
        CHANGE_COLUMNS,
        [
            trait_change(1),
            trait_change(1, trait_key="vip"),
            change(1, "added", "ENTERED", operation="add"),
            trait_change(2, status="unchanged", reason_code="TRAIT_SAME_VALUE"),
        ],
    )
    decided = {"status": "counted", "reason_code": "DECIDED", "trait_key": "vip"}
    events = table(PAYLOAD_COLUMNS, [decided])
    ledger.save_results("r1", events, changes)
    assert sorted(ledger.load_totals("r1").itertuples(index=False, name=None)) == [
        ("change", "", "orders", "unchanged", "TRAIT_SAME_VALUE", 1),
        ("change", "", "orders", "updated", "TRAIT_NEW_VALUE", 1),
        ("change", "", "vip", "updated", "TRAIT_NEW_VALUE", 1),
        ("change", "vip", "", "added", "ENTERED", 1),
        ("event", "", "vip", "counted", "DECIDED", 1),
    ]
    expected = changes.iloc[[0, 1, 2]].reset_index(drop=True)
    pd.testing.assert_frame_equal(ledger.load_changes("r1"), expected)


def value(number, key="orders", text="5", **fields):
    known = word(number)
    kept = {name: known[name] for name in ("person", "timestamp", "received_at", "message_id")}
    return {**kept, "trait_key": key, "value": text, **fields}


def test_traits_are_remembered(url, ledger):
    """Values come back as they were saved, a newer one stands, and only what is new is written."""
    empty = State.empty()
    first = [value(1), value(1, "item", '"Söck"'), value(2, timestamp=pd.NaT, received_at=pd.NaT)]
    state = replace(empty, traits=table(TRAIT_COLUMNS, first))
    ledger.save_state(SHOP, "r1", state)
    loaded = ledger.load_state(SHOP).traits
    pd.testing.assert_frame_equal(
        loaded.sort_values(["person", "trait_key"], ignore_index=True),
        state.traits.sort_values(["person", "trait_key"], ignore_index=True),
    )
    newer = table(TRAIT_COLUMNS, [value(1, text="6", message_id="later"), *first[1:]])
    ledger.save_state(SHOP, "r2", replace(empty, traits=newer))
    assert rows(url, "SELECT person, trait_key, value, run_id FROM traits ORDER BY 1, 2") == [
        ("user:u1", "item", '"Söck"', "r1"),
        ("user:u1", "orders", "6", "r2"),
        ("user:u2", "orders", "5", "r1"),
    ]
    assert ledger.load_state("shop_2").traits.empty


def test_results(ledger):
    """All events and changes are counted; only the changes worth reading are kept row by row."""
    events = table(
        PAYLOAD_COLUMNS,
        [
            {"status": "counted", "reason_code": "DECIDED", "audience_key": "vip"},
            {"status": "counted", "reason_code": "DECIDED", "audience_key": "vip"},
            {"status": "malformed", "reason_code": "NOT_JSON"},
            {"status": "counted"},
        ],
    )
    at = pd.Timestamp("2025-03-04T10:15:00.000001Z")
    changes = table(
        CHANGE_COLUMNS,
        [
            change(2, "unchanged", "ALREADY_IN"),
            change(3, "waiting", "SUBSCRIBER_NOT_FOUND"),
            change(1, "added", "ENTERED", subscriber_id="s_1", can_send=False, timestamp=at, operation="add"),
            change(0, "conflict", "PROPERTY_LIMIT"),
        ],
    )
    ledger.save_results("r1", events, changes)
    ledger.save_results("r1", events, changes)  # saved again, not added
    ledger.save_results("r2", events, changes.iloc[[2]])
    counted = ledger.load_totals("r1")
    assert list(counted.columns) == ["kind", "audience_key", "trait_key", "status", "reason_code", "count"]
    assert sorted(counted.itertuples(index=False, name=None)) == [
        ("change", "vip", "", "added", "ENTERED", 1),
        ("change", "vip", "", "conflict", "PROPERTY_LIMIT", 1),
        ("change", "vip", "", "unchanged", "ALREADY_IN", 1),
        ("change", "vip", "", "waiting", "SUBSCRIBER_NOT_FOUND", 1),
        ("event", "", "", "counted", "", 1),
        ("event", "", "", "malformed", "NOT_JSON", 1),
        ("event", "vip", "", "counted", "DECIDED", 2),
    ]
    expected = changes.iloc[[3, 2]].reset_index(drop=True)
    pd.testing.assert_frame_equal(ledger.load_changes("r1"), expected)


def test_a_run_without_results(ledger):
    """No events and no changes are no rows, of the right columns and dtypes."""
    ledger.save_results("r1", empty_table(PAYLOAD_COLUMNS), empty_table(CHANGE_COLUMNS))
    assert ledger.load_totals("r1").empty
    pd.testing.assert_frame_equal(
        ledger.load_changes("r1"), empty_table(CHANGE_COLUMNS), check_index_type=False
    )
    assert ledger.load_calls("r1").empty


# --- what is asked for ------------------------------------------------------------------------------------


def test_an_empty_ledger_asks_for_nothing(ledger):
    """The first run starts from a state with the usual columns and no rows."""
    state = ledger.load_state(SHOP)
    pd.testing.assert_frame_equal(state.memberships, empty_table(MEMBERSHIP_COLUMNS))
    pd.testing.assert_frame_equal(state.people, empty_table(PEOPLE_COLUMNS))


def test_a_state_comes_back_as_it_was_saved(ledger):
    """Nulls, unknown times, microseconds and far dates survive, each column with its dtype."""
    state = State(
        memberships=memberships(
            word(1),
            word(2, audience_id=None, timestamp=pd.NaT, received_at=pd.NaT, message_id=None, member=False),
            word(3, timestamp=pd.Timestamp("9999-12-31T23:59:59.999999Z")),
            word(4, timestamp=pd.Timestamp("1901-01-01T00:00:00.000001Z")),
        ),
        people=table(
            PEOPLE_COLUMNS,
            [contact(1), contact(2, phone=None, phone_at=pd.NaT), {"person": "email:änne@mail.test"}],
        ),
    )
    ledger.save_state(SHOP, "r1", state)
    loaded = ledger.load_state(SHOP)
    pd.testing.assert_frame_equal(loaded.memberships, state.memberships)
    pd.testing.assert_frame_equal(
        loaded.people, state.people.sort_values("person", ignore_index=True), check_dtype=True
    )
    assert ledger.load_state("shop_2").memberships.empty


@pytest.mark.parametrize("nulls", [{"audience_id": None}, {"timestamp": pd.NaT, "received_at": pd.NaT}])
def test_a_column_of_nulls(ledger, nulls):
    """A column without a value keeps its dtype."""
    state = State(memberships=memberships(word(1, **nulls)), people=empty_table(PEOPLE_COLUMNS))
    ledger.save_state(SHOP, "r1", state)
    pd.testing.assert_frame_equal(ledger.load_state(SHOP).memberships, state.memberships)


def test_only_what_is_new_is_written(url, ledger):
    """A value that was there keeps the run that brought it; only a new or changed one has the later run's."""
    first = [word(1), word(2), word(3, timestamp=pd.NaT, audience_id=None)]
    ledger.save_state(
        SHOP, "r1", State(memberships=memberships(*first), people=table(PEOPLE_COLUMNS, [contact(1)]))
    )
    newer = [first[0], {**first[1], "member": False, "message_id": "later"}, first[2], word(4)]
    people = table(PEOPLE_COLUMNS, [contact(1, phone="+12025550199"), contact(5)])
    ledger.save_state(SHOP, "r2", State(memberships=memberships(*newer), people=people))
    found = rows(url, "SELECT person, run_id, member FROM memberships ORDER BY person")
    assert found == [("user:u1", "r1", 1), ("user:u2", "r2", 0), ("user:u3", "r1", 1), ("user:u4", "r2", 1)]
    assert rows(url, "SELECT person, phone FROM people ORDER BY person") == [
        ("user:u1", "+12025550199"),
        ("user:u5", "+12025550143"),
    ]


def test_shops_do_not_mix(ledger):
    """A sandbox and a live shop share a ledger and nothing else."""
    for shop, number in [("shop_1", 1), ("shop_2", 2)]:
        ledger.save_state(
            shop, "r", State(memberships=memberships(word(number)), people=empty_table(PEOPLE_COLUMNS))
        )
        begin_write(ledger, transition(number), shop_id=shop)
    assert ledger.load_state("shop_2").memberships["person"].tolist() == ["user:u2"]
    assert [t.external_id for t in ledger.load_open_transitions("shop_2")] == ["x2"]


def mirrored(number, audiences, has_property, count, properties):
    return {
        "subscriber_id": f"s_{number}",
        "phone_digits": f"1202555{number:04}",
        "audiences": audiences,
        "has_property": has_property,
        "property_count": count,
        "properties": properties,
    }


def a_reading(*records, **about):
    """Return a reading that brought these subscribers."""
    read = table(SUBSCRIBER_COLUMNS, [*records])
    known = {"newest": "2026-01-01T00:00:00+00:00", "trait_keys": ("orders",), "page_size": 50}
    gone, replaces = about.pop("gone", ()), about.pop("replaces", False)
    cache = SubscriberCache(subscribers=read, **{**known, **about})
    return FetchResult(cache=cache, read=read, gone=gone, replaces=replaces, method="changes")


def test_the_mirror_is_renewed(ledger):
    """The last reading of a subscriber stands, who is gone goes, and how far it reaches is remembered."""
    first = a_reading(
        mirrored(1, '["vip","ä"]', True, 3, '{"orders": "5", "item": null}'),
        mirrored(2, "[]", False, 0, None),
        mirrored(3, None, True, 1, None),
        is_complete=True,
    )
    ledger.save_cache(SHOP, first)
    kept = ledger.load_cache(SHOP)
    pd.testing.assert_frame_equal(kept.subscribers, first.read)
    assert (kept.newest, kept.is_complete, kept.trait_keys, kept.page_size) == (
        "2026-01-01T00:00:00+00:00",
        True,
        ("orders",),
        50,
    )
    ledger.save_cache(SHOP, a_reading(mirrored(2, '["x"]', True, 7, None), gone=("s_3",), newest="later"))
    again = ledger.load_cache(SHOP)
    assert again.subscribers["subscriber_id"].tolist() == ["s_1", "s_2"]
    assert again.subscribers["property_count"].tolist() == [3, 7]
    assert again.newest == "later"
    ledger.save_cache(SHOP, a_reading(mirrored(9, "[]", False, 0, None), replaces=True))
    assert ledger.load_cache(SHOP).subscribers["subscriber_id"].tolist() == ["s_9"]
    assert ledger.load_cache("another").subscribers.empty


def test_the_contacts_that_were_looked_up_are_remembered(ledger):
    """What was looked up adds up over runs, until everything is read anew."""
    ledger.save_cache(SHOP, a_reading(asked=frozenset({"1202", "a@mail.test"})))
    ledger.save_cache(SHOP, a_reading(asked=frozenset({"1202", "1203"})))
    assert ledger.load_cache(SHOP).asked == {"1202", "1203", "a@mail.test"}
    ledger.save_cache(SHOP, a_reading(is_complete=True, replaces=True))
    assert ledger.load_cache(SHOP).asked == frozenset()


def test_the_mirror_shows_what_was_written(ledger):
    """A write's answer and what the subscriber holds then are one commit; the gone and doubted are noted."""
    ledger.save_cache(
        SHOP, a_reading(mirrored(1, "[]", False, 2, '{"orders": "5"}'), mirrored(2, "[]", False, 0, None))
    )
    held = Held(
        shop_id=SHOP,
        subscriber_id="s_1",
        audiences='["vip"]',
        has_property=True,
        property_count=3,
        properties='{"orders": "6"}',
    )
    call = begin_write(ledger, transition(1))
    ledger.end_write(call, CallResult("ok", 200, 1), due=["x1"], held=held)
    ledger.forget_subscriber(SHOP, "s_2")
    ledger.judge_mirror(SHOP, is_dated=True)
    assert ledger.load_cache(SHOP).is_dated
    ledger.judge_mirror(SHOP, is_dated=False)
    cache = ledger.load_cache(SHOP)
    assert not cache.is_dated
    (row,) = cache.subscribers.to_dict("records")
    assert (row["audiences"], row["has_property"], row["property_count"]) == ('["vip"]', True, 3)
    assert row["properties"] == '{"orders": "6"}'
    assert cache.newest == ""


def test_values_are_taken_back(ledger):
    """A run's values go and those they replaced return; what only came again, or in later runs, stays."""
    people_of = empty_table(PEOPLE_COLUMNS)
    later = {"timestamp": pd.Timestamp("2025-04-01T00:00:00Z"), "message_id": "later"}

    def save(run_id, *words):
        ledger.save_state(SHOP, run_id, State(memberships=memberships(*words), people=people_of))

    save("r1", word(1), word(2), word(3))
    save("r2", word(1, member=False, **later), word(2, **later), word(3), word(4, **later))
    save("r3", word(4, member=False, timestamp=pd.Timestamp("2025-05-01T00:00:00Z")))
    assert ledger.take_back(SHOP, "r2") == 1
    now = ledger.load_state(SHOP).memberships.set_index("person")
    assert now["member"].to_dict() == {
        "user:u1": True,
        "user:u2": True,
        "user:u3": True,
        "user:u4": False,
    }
    assert now["message_id"]["user:u1"] == "m1"
    assert now["message_id"]["user:u2"] == "later"
    assert ledger.take_back(SHOP, "r1") == 3
    assert ledger.load_state(SHOP).memberships["person"].tolist() == ["user:u4"]


# --- what was sent ----------------------------------------------------------------------------------------


def open_states(ledger):
    return {t.external_id: t.state for t in ledger.load_open_transitions(SHOP)}


def test_the_life_of_a_custom_event(ledger):
    """Planned with its write, due after it, posting while it is sent, then no longer open."""
    one = transition(1)
    call = begin_write(ledger, one, transition(2))
    assert open_states(ledger) == {"x1": "planned", "x2": "planned"}
    ledger.end_write(call, CallResult("ok", 200, 1), due=["x1", "x2"])
    assert open_states(ledger) == {"x1": "due", "x2": "due"}
    call = ledger.start_event("r1", one)
    assert open_states(ledger) == {"x1": "posting", "x2": "due"}
    ledger.end_event(call, one, "sent", CallResult("ok", 202, 2))
    assert open_states(ledger) == {"x2": "due"}


@pytest.mark.parametrize(
    ("state", "is_open"), [("sent", False), ("unknown", False), ("refused", False), ("due", True)]
)
def test_how_a_custom_event_ends(url, ledger, state, is_open):
    """Only one that stays due is open; the others are kept and never taken up again."""
    one = transition(1)
    begin_write(ledger, one)
    call = ledger.start_event("r1", one)
    ledger.end_event(call, one, state, CallResult("whatever", None, 1))
    assert bool(ledger.load_open_transitions(SHOP)) is is_open
    assert rows(url, "SELECT external_id, state FROM transitions") == [("x1", state)]


def test_a_write_that_failed_keeps_its_events_planned(ledger):
    """Whatever the answer was: whether the write arrived is read later."""
    refused = begin_write(ledger, transition(1))
    ledger.end_write(refused, CallResult("RejectedError: no", 400, 1), due=["x1"])
    assert open_states(ledger) == {"x1": "planned"}


@pytest.mark.parametrize(
    ("state", "entered", "claimed"),
    [
        *[(state, True, False) for state in ("sent", "unknown", "posting")],
        *[("refused", True, True), ("sent", False, True)],
    ],
)
def test_a_custom_event_is_claimed_once_and_alternates(ledger, state, entered, claimed):
    """What another run has, or what goes the same way as the last that may have left, is not claimed."""
    first, second = transition(1, entered=entered), replace(transition(2), subscriber_id="s_1")
    begin_write(ledger, first, second)
    call = ledger.start_event("r1", first)
    begin_write(ledger, first, run_id="r2")
    assert ledger.start_event("r2", first) is None
    if state != "posting":  # that is how a process leaves it that is killed
        ledger.end_event(call, first, state, CallResult("whatever", None, 1))
    since = now()
    assert (ledger.start_event("r1", second) is not None) is claimed
    assert open_states(ledger).get("x2") == ("posting" if claimed else None)
    obsolete = ledger.load_obsolete_transitions(SHOP, since)
    assert [t.external_id for t in obsolete] == ([] if claimed else ["x2"])


def test_an_open_transition_comes_back_whole(ledger):
    """Every field of it survives, an absent audience id too."""
    exits = transition(1, entered=False, audience_id=None)
    begin_write(ledger, exits)
    assert ledger.load_open_transitions(SHOP) == [exits]


def test_marking(ledger):
    """Transitions can be set to a state, several at once or none; obsolete closes only open ones."""
    begin_write(ledger, *(transition(n) for n in range(6)))
    ledger.mark_transitions(["x0", "x1"], "unknown")
    ledger.mark_transitions(["x5"], "obsolete")
    since = now()
    ledger.mark_transitions(["x1", "x2"], "obsolete")
    assert [t.external_id for t in ledger.load_obsolete_transitions(SHOP, since)] == ["x2"]
    ledger.mark_transitions(["x3"], "due")
    ledger.mark_transitions([], "due")
    assert open_states(ledger) == {"x3": "due", "x4": "planned"}
    assert ledger.find_closed([f"x{n}" for n in range(5)]) == {"x0", "x1"}


def test_the_journal(ledger):
    """Each call is there from its start, in order, with its answer once there is one."""
    ledger.save_run(run_record())
    first = begin_write(ledger, transition(1))
    begin_write(ledger, run_id="another")
    second = ledger.start_event("r1", transition(1))
    ledger.end_write(first, CallResult("ok", 200, 3), due=["x1"])
    calls = ledger.load_calls("r1")
    assert calls["call_id"].tolist() == [first, second]
    assert calls["route"].tolist() == [WRITE_ROUTE, EVENT_ROUTE]
    assert json.loads(calls["before"][0]) == {"Segment Audiences": ["a"]}
    assert json.loads(calls["after"][0]) == {"Segment Audiences": ["a", "vip"], "orders": 3}
    assert calls["external_id"].tolist()[1] == "x1"
    assert calls[["outcome", "status_code", "tries"]].iloc[0].tolist() == ["ok", 200, 3]
    assert calls["finished_at"].isna().tolist() == [False, True]
    assert ledger.close_calls(SHOP) == 1  # its process ended: it was sent once, if at all
    closed = ledger.load_calls("r1").iloc[1]
    assert (closed["outcome"], closed["tries"]) == ("no answer recorded: the process ended", 1)


# --- several at once --------------------------------------------------------------------------------------


def test_one_reads_while_another_writes(url, ledger):
    """While a scheduled run is in the midst of writing, a notebook reads what was there before."""
    ledger.save_run(run_record())
    writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE runs SET status = 'failed'")
        found = []
        thread = threading.Thread(target=lambda: found.append(ledger.get_run().status))
        thread.start()
        thread.join(10)
        assert found == ["completed"]
        writer.execute("COMMIT")
    finally:
        writer.close()
    assert ledger.get_run().status == "failed"


def test_writers_from_sixteen_threads_lose_nothing(ledger):
    """Every call and transition of sixteen threads is there, each with its own answer."""

    def work(number):
        call = begin_write(ledger, transition(number), subscriber=f"s_{number}")
        ledger.end_write(call, CallResult("ok", 200, number), due=[f"x{number}"])
        return call

    with ThreadPoolExecutor(16) as pool:
        ids = [*pool.map(work, range(160))]
    calls = ledger.load_calls("r1").set_index("call_id").loc[ids]
    assert len(set(ids)) == 160
    assert calls["subscriber_id"].tolist() == [f"s_{n}" for n in range(160)]
    assert calls["tries"].tolist() == list(range(160))
    assert open_states(ledger) == {f"x{n}": "due" for n in range(160)}


def test_two_programs_write_to_one_ledger(url, ledger):
    """A second program's writes wait their turn instead of failing."""
    with Ledger(url) as other, ThreadPoolExecutor(8) as pool:
        both = [ledger, other] * 30
        ids = [*pool.map(lambda pair: begin_write(pair[1], transition(pair[0])), enumerate(both))]
    assert len(set(ids)) == len(ledger.load_calls("r1")) == 60


def test_nothing_is_left_beside_the_file(url):
    """A closed ledger is one file, which can be copied."""
    with Ledger(url) as ledger:
        ledger.save_run(run_record())
    path = Path(url.removeprefix("sqlite:///"))
    assert [p.name for p in path.parent.iterdir()] == ["ledger.db"]


def test_one_writer_a_shop(tmp_path):
    """The second gets the holder's name; another shop is free; closing lets go."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as first, Ledger(url) as second:
        first.lock_shop("shop_1")
        with pytest.raises(ShopLockedError, match=r"process \d+ on .* has held this shop since 20"):
            second.lock_shop("shop_1")
        first.save_run(
            RunRecord(
                run_id="r-1",
                shop_id="shop_1",
                shop_name="One",
                mode="live",
                status="running",
                started_at=datetime(2026, 1, 2, 3, 4, 5),
            )
        )
        with pytest.raises(
            ShopLockedError, match=r"Run r-1 \(process \d+ .*has been .* since 2026-01-02 03:04:05"
        ):
            second.lock_shop("shop_1")
        second.lock_shop("shop_2")
        first.close()
        second.lock_shop("shop_1")


def test_a_killed_writer_holds_nothing(tmp_path):
    """The lock goes with its process, even one that had no time to release it."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    code = f"""
import sys, time
from toolkit.ledger import Ledger
ledger = Ledger({url!r})
ledger.lock_shop("shop_1")
print("locked", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with Ledger(url) as ledger, pytest.raises(ShopLockedError):
            ledger.lock_shop("shop_1")
        process.kill()
    with Ledger(url) as ledger:
        ledger.lock_shop("shop_1")


def test_the_lock_is_let_go_when_the_call_that_took_it_ends(tmp_path):
    """An earlier claim stays, also when the call fails; the sentence names what to close."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as first, Ledger(url) as second:
        close = rf"close the .* that is process {os.getpid()} on "
        with pytest.raises(ShopLockedError, match=close), first.holding("shop_1"):
            second.lock_shop("shop_1")
        second.lock_shop("shop_1")
        with second.holding("shop_1"):
            pass
        with pytest.raises(ShopLockedError), first.holding("shop_1"):
            pass


def test_a_lock_file_that_was_deleted_is_noticed(tmp_path):
    """It is taken again while no other run has had the shop; once one had, nothing more is sent."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger(url) as first, Ledger(url) as second:
        with pytest.raises(ShopLockedError):
            first.check_lock("shop_1")
        first.lock_shop("shop_1")
        (lock,) = tmp_path.glob("*.lock")
        first.check_lock("shop_1")
        lock.unlink()
        first.check_lock("shop_1")
        with pytest.raises(ShopLockedError):
            second.lock_shop("shop_1")
        lock.unlink()
        with second.holding("shop_1"):
            second.check_lock("shop_1")
            with pytest.raises(ShopLockedError, match="Nothing more is sent"):
                first.check_lock("shop_1")
        with pytest.raises(ShopLockedError, match="Nothing more is sent"):
            first.check_lock("shop_1")
        second.lock_shop("shop_1")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_lock_file_of_another_user():
    """Who cannot write to it is refused in a sentence, and never shares the lock; who can, waits."""
    code = (
        "import os, sys, toolkit.ledger.locks as locks, pathlib\n"
        "os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
        "for path in map(pathlib.Path, sys.argv[1:]): print(locks.ShopFile(path, 7).take(), flush=True)"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        # The one that is refused comes last: it ends the process.
        ledgers = {Path(folder) / "waits.db": 0o666, Path(folder) / "refused.db": 0o644}
        locks = [ShopFile(path, 7) for path in ledgers]
        for path, mode in ledgers.items():
            path.touch()
            path.chmod(mode)
        assert [lock.take() for lock in locks] == [True, True]
        command = [sys.executable, "-c", code, *map(str, ledgers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for lock in locks:
            lock.release()
    assert done.stdout == "False\n"
    assert "belongs to another user" in done.stderr


def test_a_lock_that_fails_is_not_another_run(tmp_path):
    """Only a lock that is taken is an error of that kind; a file that is no lock is another trouble."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        (tmp_path / f"ledger.db.{lock_number('shop_1'):x}.lock").mkdir()
        with pytest.raises(LedgerError, match="cannot be opened") as raised:
            ledger.lock_shop("shop_1")
        assert not isinstance(raised.value, ShopLockedError)


def _fill(ledger, path):
    with ledger._reading() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")


def _keep(ledger, path):
    with ledger._reading() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    keeper = sqlite3.connect(path, isolation_level=None)
    keeper.execute("BEGIN IMMEDIATE")
    return keeper


def _seal(ledger, path):
    with ledger._reading() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")


def _drop(ledger, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE calls")


@pytest.mark.parametrize(
    ("spoil", "what_to_do"),
    [
        (_fill, "the disk is full. Make room"),
        (_keep, "Close what else has it open"),
        (_seal, "Change its permissions"),
        (_drop, "the database refused it .* Run again"),
    ],
)
def test_a_ledger_that_cannot_be_written(url, ledger, spoil, what_to_do):
    """Every write ends in one sentence with the next step, the exit code that of a ledger that failed."""
    kept = spoil(ledger, url.removeprefix("sqlite:///"))
    note = "x" * 10_000
    for _ in range(2):
        with pytest.raises(LedgerError, match=what_to_do) as raised:
            ledger.start_write("r1", SHOP, "s_1", before=note, after=note, due=[])
    assert exit_code_of(type(raised.value).__name__, {}, has_key=True, is_canceled=False) == 7
    if kept is not None:
        kept.close()


def test_a_commit_that_cannot_begin_fails_at_once(ledger):
    """Without a connection the caller gets the error at once, and nothing of it is written later."""

    def fail(_connection):
        raise sqlite3.OperationalError("gone")

    sa.event.listen(ledger._engine, "begin", fail)
    with pytest.raises(LedgerError, match="was lost"):
        begin_write(ledger, transition(1))
    sa.event.remove(ledger._engine, "begin", fail)
    begin_write(ledger, transition(2))
    assert open_states(ledger) == {"x2": "planned"}


def test_everything_a_ledger_makes_is_its_users_alone(tmp_path):
    """Database, its journal and lock, and new folders; an older database keeps its mode, its lock has it."""
    with Ledger(f"sqlite:///{tmp_path}/a/b/ledger.db") as ledger:
        ledger.lock_shop("shop_1")
        made = {path.name[-4:]: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
        assert made == {"b": 0o700, "r.db": 0o600, "-wal": 0o600, "-shm": 0o600, "lock": 0o600}
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    path = tmp_path / "a" / "b" / "ledger.db"
    path.chmod(0o664)
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.lock_shop("shop_2")
        assert {stat.S_IMODE(p.stat().st_mode) for p in path.parent.glob("*[bml]")} == {0o664}
        (lock,) = path.parent.glob(f"*{lock_number('shop_2'):x}.lock")
        assert stat.S_IMODE(lock.stat().st_mode) == 0o664


def test_reading_leaves_the_connection_fit_for_writing(ledger):
    """PostgreSQL refuses to write many rows through a connection that streams: only the query does."""
    engine = sa.create_engine(ledger.name)
    with engine.connect() as connection:
        table_ = metadata.tables["people"]
        read_frame(connection, sa.select(table_.c.person), {"person": "str"})
        assert not connection.get_execution_options().get("stream_results")
    engine.dispose()


def test_a_write_that_fails_shows_no_contacts(ledger):
    """The database's complaint is shown without the values that were to be written."""
    engine = sa.create_engine(ledger.name)
    with engine.begin() as connection:
        picky = (
            "CREATE TRIGGER picky BEFORE INSERT ON people BEGIN SELECT RAISE(ABORT, 'no ana@mail.test'); END"
        )
        connection.execute(sa.text(picky))
    engine.dispose()
    known = table(PEOPLE_COLUMNS, [{"person": "user:u1", "email": "ana@mail.test", "phone": "+12025550100"}])
    with pytest.raises(LedgerError, match=r"SQLITE_CONSTRAINT_TRIGGER.*Run again") as raised:
        ledger.save_state(SHOP, "run", State(memberships=memberships(word(1)), people=known))
    assert "mail.test" not in str(raised.value)


# --- queries ----------------------------------------------------------------------------------------------


def test_the_questions_of_the_ledgers_page_are_answered(tmp_path):
    """Each SQL example runs, and returns what a run did and which members Segment has."""
    page = (PROJECT / "docs" / "ledger.md").read_text("utf-8")
    runs, members, trouble = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    with stores.new_ledger(tmp_path) as opened:
        run = stores.deliver([stores.word(1, "vip"), stores.word(2, "vip")], stores.Store({1: []}), opened)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        ended = {(row[0], row[4]): row[5] for row in connection.execute(runs)}
        assert ended == {(run.record.run_id, "added"): 1, (run.record.run_id, "waiting"): 1}
        assert connection.execute(members).fetchall() == [(stores.SHOP.shop_id, "vip", 2)]
        assert connection.execute(trouble).fetchall() == []
