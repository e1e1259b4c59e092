"""The ledger in PostgreSQL: a real server, and the tests of a file once more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from conftest import read_packed_lines
from stores import SHOP, Store, deliver, email, word
from test_truth import sync_round

import toolkit
from toolkit.errors import LedgerError, ShopLockedError
from toolkit.postscript.subscribers import FetchResult, SubscriberCache
from toolkit.sandbox import Sandbox

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgresql_url: str) -> str:
    """The URL of an empty database."""
    return postgresql_url


@pytest.fixture
def admin(server) -> Iterator[Any]:
    """A session of the tests' own, in which nothing is left open."""
    with psycopg.connect(f"{server.replace('+psycopg', '')}postgres", autocommit=True) as connection:
        yield connection


def test_a_run_is_audited_and_undone(url):
    """Undo and audit find what was done."""
    with Sandbox(read_packed_lines("subscribers"), rate=100_000) as sandbox:
        first = sync_round(sandbox, "round-1", url)
        sandbox.add_subscribers(read_packed_lines("late_subscribers"))
        second = sync_round(sandbox, "round-2", url)
        with (
            toolkit.Ledger(url) as ledger,
            toolkit.PostscriptClient(sandbox.base_url, "sk_sandbox", requests_per_second=2000) as postscript,
        ):
            audit = toolkit.audit(ledger, postscript=postscript)
            assert audit.record.run_id == second.record.run_id
            assert audit.previous.record.run_id == first.record.run_id
            assert audit.drift.empty
            assert sum(audit.statuses("event").values()) == audit.record.received
            shop = toolkit.connect_shop(postscript)
            undone = toolkit.undo_run(
                ledger, second.record.run_id, postscript, shop=shop, dry_run=False, max_removal_share=1.0
            )
            assert undone.record.status == "completed"
            assert undone.change_statuses["added"] + undone.change_statuses["removed"] > 0


def test_one_live_run_a_shop(url):
    """The lock is the database's: another ledger is refused, and has it as soon as the first is closed."""
    with toolkit.Ledger(url) as ledger, toolkit.Ledger(url) as other:
        ledger.lock_shop(SHOP.shop_id)
        with pytest.raises(ShopLockedError, match="held this shop"):
            other.lock_shop(SHOP.shop_id)
        other.lock_shop("another shop")
        ledger.close()
        other.lock_shop(SHOP.shop_id)


def end_sessions(admin, url, where="true"):
    """End the sessions of a database, as a failover or a proxy does; return how many there were."""
    name = url.rpartition("/")[2]
    ended = admin.execute(
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s AND {where}",
        [name],
    )
    return len(ended.fetchall())


LOCKING = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"


def test_the_lock_is_in_no_transaction(admin, url):
    """A server that ends what is idle in a transaction does not free the shop."""
    with toolkit.Ledger(url) as ledger, toolkit.Ledger(url) as other:
        ledger.lock_shop(SHOP.shop_id)
        found = admin.execute(f"SELECT state, xact_start FROM pg_stat_activity WHERE {LOCKING}").fetchall()
        assert found == [("idle", None)]
        with pytest.raises(ShopLockedError):
            other.lock_shop(SHOP.shop_id)
        ledger.check_lock(SHOP.shop_id)


def test_a_lost_lock_is_noticed(admin, url):
    """It is taken again at once; where another run has the shop, or has had it, nothing more is sent."""
    with toolkit.Ledger(url) as ledger, toolkit.Ledger(url) as other:
        ledger.lock_shop(SHOP.shop_id)
        assert end_sessions(admin, url, LOCKING) == 1
        ledger.check_lock(SHOP.shop_id)
        with pytest.raises(ShopLockedError, match="held this shop"):
            other.lock_shop(SHOP.shop_id)
        assert end_sessions(admin, url, LOCKING) == 1
        with other.holding(SHOP.shop_id):
            other.check_lock(SHOP.shop_id)
            with pytest.raises(ShopLockedError, match="Nothing more is sent"):
                ledger.check_lock(SHOP.shop_id)
        with pytest.raises(ShopLockedError, match="Nothing more is sent"):
            ledger.check_lock(SHOP.shop_id)
        other.lock_shop(SHOP.shop_id)


def test_a_lost_connection_is_made_again_and_a_lost_database_is_a_sentence(admin, url):
    """What is read or written next goes through a new session; without a database the error names it."""
    name = url.rpartition("/")[2]
    with toolkit.Ledger(url) as ledger:
        ledger.lock_shop(SHOP.shop_id)
        end_sessions(admin, url)
        ledger.mark_transitions(["x"], None)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        end_sessions(admin, url)
        for write in (lambda: ledger.mark_transitions(["x"], None), lambda: ledger.check_lock(SHOP.shop_id)):
            with pytest.raises(LedgerError, match=r"connection .* was lost. Check that the database runs"):
                write()


def test_what_the_server_refuses_is_shown_without_values(admin, url):
    """Its DETAIL quotes the row that was to be written."""
    events = [word(1, "vip", email=email(1))]
    with toolkit.Ledger(url) as ledger:
        deliver(events, Store({1: []}), ledger)
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("ALTER TABLE people ADD CHECK (email NOT LIKE '%u2%')")
        with pytest.raises(LedgerError, match="CheckViolation 23514") as raised:
            deliver([word(2, "vip", email=email(2))], Store({2: []}), ledger)
    assert "u2" not in str(raised.value)


def test_contacts_may_be_saved_at_once(admin, url):
    """A contact that another process is just noting is waited for, and is no error."""
    with toolkit.Ledger(url) as ledger:
        cache = replace(SubscriberCache(), asked=frozenset({email(1)}))
        fetched = FetchResult(cache=cache, read=cache.subscribers, method="lookups")
        with psycopg.connect(url.replace("+psycopg", "")) as other, ThreadPoolExecutor(1) as pool:
            other.execute("INSERT INTO asked VALUES (%s, %s)", [SHOP.shop_id, email(1)])
            saving = pool.submit(ledger.save_cache, SHOP.shop_id, fetched)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not admin.execute(waiting).fetchall():
                assert not saving.done()
            other.commit()
            saving.result()
        assert ledger.load_cache(SHOP.shop_id).asked == {email(1)}


def test_a_new_ledger_is_opened_by_several_at_once(url):
    """Processes that start together find one ledger, made once."""
    command = [sys.executable, "-c", f"import toolkit; toolkit.Ledger({url!r}).close()"]
    opening = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in opening] == [""] * 3


def test_one_person_is_explained_from_event_to_answer(url):
    """What runs and calls left of one person is found there, too."""
    events = [word(1, "vip", email=email(1))]
    with toolkit.Ledger(url) as ledger:
        store = Store({1: []})
        deliver(events, store, ledger)
        archive = toolkit.read_events(events)
        contacts = toolkit.check_contacts(toolkit.fold(archive.payloads()).state.people)
        ledger.save_cache(SHOP.shop_id, toolkit.read_subscribers(contacts, store))
        known = toolkit.forecast(toolkit.preview(archive, keep_state=True).state, ledger=ledger)
        steps = toolkit.explain_person(email(1), archive, known, ledger=ledger).steps
    assert [source.split()[0] for source in steps["source"]] == [
        "Segment",
        "Sync",
        "Postscript",
        "Postscript",
    ]


def test_a_server_that_is_not_there_is_named_without_the_password():
    """A sentence that names what to check; neither password nor contact is in it."""
    with pytest.raises(LedgerError, match="cannot be opened") as raised:
        toolkit.Ledger("postgresql+psycopg://toolkit:hush@127.0.0.1:9/audiences")
    assert "hush" not in str(raised.value)
