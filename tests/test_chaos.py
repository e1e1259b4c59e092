"""Killed again and again while everything goes wrong, a sync still ends in the truth.

The long form, ``make chaos``, kills two hundred times with a ledger in a file;
``python tests/test_chaos.py 50 postgresql`` kills fifty times with one on a server of its own.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import ARCHIVE, DATABASES, read_packed_lines
from servers import make_database, running_server

import toolkit
from toolkit.sandbox import Fault, Sandbox

Lists = dict[str, set[str]]
Transition = tuple[str, str, str]

ENTERED, EXITED = "Segment_Audience_Entered", "Segment_Audience_Exited"
CHILD = Path(__file__).parent / "one_round.py"
SHOP = "shop_sandbox"
FAULTS = (
    Fault(kind="status", status=429, probability=0.005),
    Fault(kind="status", status=503, probability=0.01),
    Fault(kind="status", status=500, body="html", applied=True, probability=0.01, route="PATCH *"),
    Fault(kind="status", status=502, applied=True, probability=0.01, route="POST *"),
    Fault(kind="reset_before", probability=0.01),
    Fault(kind="reset_after", probability=0.015),
    Fault(kind="truncated", probability=0.01),
    Fault(kind="content_type", probability=0.005, route="GET *"),
    Fault(kind="hang", seconds=1.0, probability=0.003),
)


class Chaos:
    """A shop, a ledger, and processes that do not live long."""

    def __init__(self, sandbox: Sandbox, ledger_url: str, *, audience_keys: Sequence[str], seed: int) -> None:
        self.sandbox, self.ledger_url, self._keys = sandbox, ledger_url, audience_keys
        self.kills = self.runs = 0
        self._chance = random.Random(seed)

    def sync(self, round_name: str, *, kills: int, transitions: int) -> None:
        """Sync a round; kill so many processes all along the way, then let runs come to their end."""
        target, calls = self.kills + kills, 1.8 * transitions
        self.sandbox.set_faults(FAULTS)
        while self.kills < target:
            self.kills += self._run(round_name, kill_within=2 * calls / kills)
        self._run(round_name)
        self.sandbox.set_faults(())
        self._run(round_name)

    def _run(self, round_name: str, *, kill_within: float | None = None) -> bool:
        """Run one process; tell whether it was killed before it came to its end."""
        command = [sys.executable, str(CHILD), self.sandbox.base_url, self.ledger_url]
        self.runs += 1
        with subprocess.Popen(
            [*command, str(ARCHIVE / round_name), *self._keys],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            if kill_within is not None:
                self._wait(process, kill_within)
                process.kill()
            process.communicate()
        return process.returncode == -9

    def _wait(self, process: subprocess.Popen[str], calls: float) -> None:
        """Wait for a random moment: while it plans, or some calls after it began to write."""
        if self._chance.random() < 0.1:
            time.sleep(self._chance.uniform(0, 3))
            return
        calls = self._chance.uniform(0, calls)
        for line in process.stdout or ():
            if line.strip().isdigit() and int(line) > calls:
                break
        time.sleep(self._chance.uniform(0, 0.03))

    @property
    def faults(self) -> Counter[str]:
        """What went wrong on purpose, and how often."""
        return Counter(entry["fault"] for entry in self.sandbox.journal if entry["fault"])

    def check(self, wanted: Lists, expected: Counter[Transition]) -> int:
        """Assert that lists and custom events are the truth's; return how many events are unknown."""
        assert lists_of(self.sandbox) == wanted
        posted = Counter(
            (e["subscriber_id"], e["properties"]["Segment Audience Key"], e["type"])
            for e in self.sandbox.custom_events
        )
        with toolkit.Ledger(self.ledger_url) as ledger:
            unknown = Counter(
                (t.subscriber_id, t.audience_key, ENTERED if t.entered else EXITED)
                for t in ledger.load_unknown_transitions(SHOP)
            )
            assert not ledger.load_open_transitions(SHOP)
        # Whatever was not posted is listed as unknown, and nothing was posted more often than it happened.
        assert not posted - expected
        assert not (expected - posted) - unknown
        assert not unknown - expected
        return unknown.total()


def lists_of(sandbox: Sandbox) -> Lists:
    """Return the audiences each subscriber is in, of those who are in any."""
    held = {i: {*s["properties"].get("Segment Audiences", [])} for i, s in sandbox.subscribers.items()}
    return {who: keys for who, keys in held.items() if keys}


def transitions_between(before: Lists, after: Lists) -> Counter[Transition]:
    """Return (subscriber, audience, direction) of everything that changes."""
    found: Counter[Transition] = Counter()
    for who in {*before, *after}:
        was, is_now = before.get(who, set()), after.get(who, set())
        found.update((who, key, ENTERED) for key in is_now - was)
        found.update((who, key, EXITED) for key in was - is_now)
    return found


def run_chaos(
    ledger_url: str, truth: dict[str, Any], *, kills: int, seed: int, audience_keys: Sequence[str] = ()
) -> str:
    """Sync both rounds of the archive under faults and kills, and return the figures."""
    with Sandbox(
        read_packed_lines("subscribers"), rate=100_000, latency_seconds=(0.0, 0.02), seed=seed
    ) as sandbox:
        chaos = Chaos(sandbox, ledger_url, audience_keys=audience_keys, seed=seed)
        expected, unknown = Counter[Transition](), 0
        for name, share in (("round-1", kills - kills // 3), ("round-2", kills // 3)):
            if name == "round-2":
                sandbox.add_subscribers(read_packed_lines("late_subscribers"))
            wanted = {
                who: chosen
                for who, keys in truth[name]["audiences"].items()
                if (chosen := {key for key in keys if not audience_keys or key in audience_keys})
            }
            changes = transitions_between(lists_of(sandbox), wanted)
            assert audience_keys or changes.total() == truth[name]["transitions"]
            expected += changes
            chaos.sync(name, kills=share, transitions=changes.total())
            unknown = chaos.check(wanted, expected)
        assert chaos.kills == kills
        faults = chaos.faults
        return (
            f"{chaos.kills} kills in {chaos.runs} runs, {faults.total()} faults {dict(faults)}, "
            f"{expected.total()} transitions, {unknown} of them unknown, {len(sandbox.journal)} requests."
        )


@pytest.mark.slow
@pytest.mark.parametrize("ledger_url", DATABASES, indirect=True)
def test_a_few_kills(truth, ledger_url):
    """Some processes die on the way; one audience and its custom events are the truth's in the end."""
    report = run_chaos(ledger_url, truth, kills=3, seed=1, audience_keys=["lapsed_90_days"])
    assert report.startswith("3 kills")


@pytest.mark.slow
def test_more_kills(truth, ledger_url):
    """The same with twelve, and all audiences."""
    assert run_chaos(ledger_url, truth, kills=12, seed=2).startswith("12 kills")


if __name__ == "__main__":
    with ExitStack() as stack:
        file = stack.enter_context(gzip.open(ARCHIVE / "truth.json.gz", "rt", encoding="utf-8"))
        if sys.argv[2:] == ["postgresql"]:
            place = make_database(stack.enter_context(running_server()), "chaos")
        else:
            place = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/ledger.db"
        print(run_chaos(place, json.load(file), kills=int(sys.argv[1]), seed=7))
