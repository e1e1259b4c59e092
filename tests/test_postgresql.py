"""The ledger in PostgreSQL: a real server, and what a file is tested for told again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import lacking
from conftest import free_port, read_packed_lines
from stores import SHOP, Store, deliver, email, word
from test_truth import audiences_of, sync_round, wanted, writes

import toolkit
from toolkit.errors import LedgerError, ShopLockedError
from toolkit.sandbox import Sandbox

pytestmark = pytest.mark.slow

_USER = "postgres"
"""Whom the server runs as where the tests run as root, which it refuses."""


def find_programs() -> Path:
    """Return the folder of the newest installed server."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else [*Path("/usr/lib/postgresql").glob("*/bin")]
    if not folders:
        lacking("no PostgreSQL server is installed (apt-get install postgresql)")
    return max(folders, key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server of our own, without its database; it ends with the tests."""
    programs = find_programs()
    port = free_port()
    # Not below pytest's folder, into which nobody but the tests' user may look.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        become = []
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
            become = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]

        def call(program: str, *options: str) -> None:
            command = [*become, str(programs / program), "-D", f"{folder}/data", *options]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        call("initdb", "-U", "toolkit", "-A", "trust", "--encoding=UTF8", "--locale=C")
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        call("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://toolkit@127.0.0.1:{port}/"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture
def url(server, request) -> str:
    """The URL of an empty database."""
    import psycopg

    name = request.node.name.lower()[:60]
    with psycopg.connect(f"{server.replace('+psycopg', '')}postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server}{name}"


def test_both_rounds_reach_the_truth_and_a_run_is_undone(truth, url):
    """Lists and custom events are the truth's, a repeat writes nothing, undo and audit find what was done."""
    with Sandbox(read_packed_lines("subscribers"), rate=100_000) as sandbox:
        first = sync_round(sandbox, "round-1", url)
        assert audiences_of(sandbox) == wanted(truth, "round-1")
        assert len(sandbox.custom_events) == truth["round-1"]["transitions"]
        before = len(sandbox.journal)
        sync_round(sandbox, "round-1", url)
        assert writes(sandbox.journal[before:]) == []
        sandbox.add_subscribers(read_packed_lines("late_subscribers"))
        second = sync_round(sandbox, "round-2", url)
        assert audiences_of(sandbox) == wanted(truth, "round-2")
        with (
            toolkit.Ledger(url) as ledger,
            toolkit.PostscriptClient(sandbox.base_url, "sk_sandbox", requests_per_second=2000) as postscript,
        ):
            audit = toolkit.audit(ledger, postscript=postscript)
            assert audit.record.run_id == second.record.run_id
            assert audit.previous.record.run_id != first.record.run_id
            assert audit.drift.empty
            assert sum(audit.statuses("event").values()) == audit.record.received
            shop = toolkit.connect_shop(postscript)
            undone = toolkit.undo_run(
                ledger, second.record.run_id, postscript, shop=shop, dry_run=False, max_removal_share=1.0
            )
            assert undone.record.status == "completed"
            assert undone.change_statuses["added"] + undone.change_statuses["removed"] > 0
        assert sum(map(len, audiences_of(sandbox).values())) > 0


def test_one_live_run_a_shop(url):
    """The lock is the database's: another ledger is refused, and has it as soon as the first is closed."""
    with toolkit.Ledger(url) as ledger, toolkit.Ledger(url) as other:
        ledger.lock_shop(SHOP.shop_id)
        with pytest.raises(ShopLockedError, match="held this shop"):
            other.lock_shop(SHOP.shop_id)
        other.lock_shop("another shop")
        ledger.close()
        other.lock_shop(SHOP.shop_id)


def test_one_person_is_told_from_event_to_answer(url):
    """What runs and calls left of somebody is found there, too."""
    events = [word(1, "vip", email=email(1))]
    with toolkit.Ledger(url) as ledger:
        store = Store({1: []})
        deliver(events, store, ledger)
        archive = toolkit.read_events(events)
        contacts = toolkit.check_contacts(toolkit.fold(archive.payloads()).state.people)
        ledger.save_mirror(SHOP.shop_id, toolkit.read_subscribers(contacts, store))
        known = toolkit.outlook(toolkit.preview(archive, keep_state=True).state, ledger=ledger)
        steps = toolkit.explain_person(email(1), archive, known, ledger=ledger).steps
    assert [source.split()[0] for source in steps["source"]] == [
        "Segment",
        "Sync",
        "Postscript",
        "Postscript",
    ]


def test_a_server_that_is_not_there_is_told_without_the_password():
    """A sentence that says what to check; neither password nor contact is in it."""
    with pytest.raises(LedgerError, match="cannot be opened") as raised:
        toolkit.Ledger("postgresql+psycopg://toolkit:hush@127.0.0.1:9/audiences")
    assert "hush" not in str(raised.value)
