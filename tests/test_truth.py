"""The main job, end to end: a messy archive leads to exactly the truth that comes with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import ARCHIVE, DATABASES, RunNotebook, read_packed_lines

import toolkit
from toolkit.sandbox import Sandbox

KEY = "sk_sandbox"


def audiences_of(sandbox: Sandbox | SandboxProcess) -> dict[str, list[str]]:
    """Return who holds which audiences, as truth.json writes it."""
    held = {i: s["properties"].get("Segment Audiences") for i, s in sandbox.subscribers.items()}
    return {i: sorted(keys) for i, keys in held.items() if keys}


def wanted(truth: dict[str, Any], round_name: str) -> dict[str, list[str]]:
    return {i: sorted(keys) for i, keys in truth[round_name]["audiences"].items()}


def writes(journal: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in journal if entry["method"] != "GET"]


def sync_round(sandbox: Sandbox, round_name: str, ledger_url: str) -> toolkit.Run:
    """Do what the sync notebook does, at a pace no shop would allow."""
    with (
        toolkit.PostscriptClient(sandbox.base_url, KEY, requests_per_second=2000) as postscript,
        toolkit.Ledger(ledger_url) as opened,
    ):
        shop = toolkit.connect_shop(postscript)
        remembered = opened.load_state(shop.shop_id)
        folded = toolkit.fold(toolkit.read_events(ARCHIVE / round_name).payloads(), remembered=remembered)
        contacts = toolkit.check_contacts(folded.state.choose().people)
        fetched = toolkit.read_subscribers(contacts, postscript, cache=opened.load_cache(shop.shop_id))
        opened.save_cache(shop.shop_id, fetched)
        plan = toolkit.plan(folded.state, contacts, fetched.subscribers)
        return toolkit.sync(plan, folded, shop=shop, postscript=postscript, ledger=opened, dry_run=False)


@pytest.mark.parametrize("ledger_url", DATABASES, indirect=True)
def test_both_rounds_reach_the_truth_and_a_repeat_writes_nothing(truth, ledger_url):
    """Lists and custom events are exactly the truth's; the same archive again sends no write."""
    with Sandbox(read_packed_lines("subscribers"), rate=100_000) as sandbox:
        sync_round(sandbox, "round-1", ledger_url)
        assert audiences_of(sandbox) == wanted(truth, "round-1")
        assert len(sandbox.custom_events) == truth["round-1"]["transitions"]

        before = len(sandbox.journal)
        again = sync_round(sandbox, "round-1", ledger_url)
        assert writes(sandbox.journal[before:]) == []
        assert again.record.status == "completed"

        sandbox.add_subscribers(read_packed_lines("late_subscribers"))
        sync_round(sandbox, "round-2", ledger_url)
        assert audiences_of(sandbox) == wanted(truth, "round-2")
        posted = len(sandbox.custom_events) - truth["round-1"]["transitions"]
        assert posted == truth["round-2"]["transitions"]
        sent = [
            (e["subscriber_id"], e["properties"]["Segment Audience Key"], e["external_id"])
            for e in sandbox.custom_events
        ]
        assert len(set(sent)) == len(sent)


class SandboxProcess:
    """The sandbox as a person starts it: a process of its own, asked through its control routes."""

    def __init__(self, subscribers: Path) -> None:
        command = [sys.executable, "-m", "toolkit.sandbox", "--port", "0", "--subscribers", str(subscribers)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready = self._process.stdout.readline()
        self.base_url = next(word for word in ready.split() if word.startswith("http://"))

    def __enter__(self) -> SandboxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def _get(self, route: str) -> str:
        return requests.get(f"{self.base_url}/control/{route}", timeout=60).text

    @property
    def journal(self) -> list[dict[str, Any]]:
        return json.loads(self._get("journal"))

    @property
    def custom_events(self) -> list[dict[str, Any]]:
        return json.loads(self._get("custom_events"))

    @property
    def subscribers(self) -> dict[str, dict[str, Any]]:
        rows = map(json.loads, self._get("subscribers").splitlines())
        return {row["id"]: row for row in rows}

    def add_subscribers(self, rows: list[dict[str, Any]]) -> None:
        requests.post(f"{self.base_url}/control/subscribers", json=rows, timeout=60).raise_for_status()


@pytest.mark.slow
def test_the_notebook_reaches_the_truth_at_the_real_pace(truth, run_notebook: RunNotebook, tmp_path):
    """Through papermill at 14 a second, whatever else the machine does: the truth, and no call too many.

    That none leaves before its turn is tested with the pace, that none is refused where nothing else runs is
    measured in ``benchmarks.delivery``.
    """
    people = tmp_path / "subscribers.ndjson"
    people.write_text("".join(json.dumps(row) + "\n" for row in read_packed_lines("subscribers")))
    with SandboxProcess(people) as sandbox:
        settings = {"POSTSCRIPT_BASE_URL": sandbox.base_url, "POSTSCRIPT_SECRET_KEY": KEY}

        def sync(round_name: str) -> dict[str, Any]:
            before = len(sandbox.journal)
            done = run_notebook(
                "3_sync_audiences",
                {"events_path": ARCHIVE / round_name, "dry_run": "False", "output_dir": "out"},
                **settings,
            )
            assert done.returncode == 0, done.stderr
            summary = json.loads((tmp_path / "out" / "3_sync_audiences" / "summary.json").read_text())
            calls = sandbox.journal[before:]
            refused = sum(entry["status"] == 429 for entry in calls)
            assert len(calls) == sum(summary["calls"].values()) == summary["planned_calls"] + refused
            # What a busy machine holds up may arrive together and be refused: few, and each is repeated.
            assert refused <= len(calls) / 100
            assert calls[-1]["at"] - calls[0]["at"] > (len(calls) - 1) / 14 - 1
            return summary

        first = sync("round-1")
        assert audiences_of(sandbox) == wanted(truth, "round-1")
        assert len(sandbox.custom_events) == truth["round-1"]["transitions"] == first["custom_events"]

        before = len(sandbox.journal)
        sync("round-1")
        assert writes(sandbox.journal[before:]) == []

        sandbox.add_subscribers(read_packed_lines("late_subscribers"))
        second = sync("round-2")
        assert audiences_of(sandbox) == wanted(truth, "round-2")
        assert second["custom_events"] == truth["round-2"]["transitions"]
        assert len(sandbox.custom_events) == first["custom_events"] + second["custom_events"]
