"""``python -m benchmarks.delivery``: the same audiences delivered by us and by Segment's published action.

Each side has a sandbox of its own (15 requests a second, 200 ms an answer) with the same subscribers, and
keeps to 14 a second. What is counted comes from the sandbox's journal. Takes about eleven minutes, because
requests are really paced; ``--quick`` takes three, with fewer members. Ends with 1 when a condition fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Self

import requests

import toolkit
from benchmarks import official
from benchmarks.workload import (
    BATCH,
    PAGE,
    Member,
    Minimum,
    Record,
    Workload,
    first_minimum,
    first_reads,
    later_minimum,
    make_workload,
    records,
    write_events,
)

KEY, LIMIT, REQUESTS_PER_SECOND, LATENCY_MS = "sk_sandbox", 15, 14, 200
MAX_RATIO, MAX_PACE = 1.02, 1.05
ENOUGH_CALLS = 600
"""In a sync of fewer calls the waits at its beginning and end weigh too much to judge its pace."""
SIDE_SECONDS = 3600
OFFICIAL, OURS = "official", "ours"
FIRST, AGAIN, LATE, LEFT = "first sync", "again", "late opt-ins", "some left"

Lists = dict[str, set[str]]
"""Subscriber → the audiences on its list; subscribers without any are left out."""


# --- the two sides


def sync(archive: str, ledger_path: str, base_url: str) -> None:
    """Do what the sync notebook does."""
    with (
        toolkit.PostscriptClient(base_url, KEY, requests_per_second=REQUESTS_PER_SECOND) as postscript,
        toolkit.Ledger(f"sqlite:///{ledger_path}") as ledger,
    ):
        payloads = toolkit.read_events(archive).payloads()
        shop = toolkit.connect_shop(postscript)
        ledger.lock_shop(shop.shop_id)
        folded = toolkit.fold(payloads, remembered=ledger.load_state(shop.shop_id))
        contacts = toolkit.check_contacts(folded.state.choose().people)
        fetched = toolkit.read_subscribers(contacts, postscript, cache=ledger.load_cache(shop.shop_id))
        ledger.save_cache(shop.shop_id, fetched)
        plan = toolkit.plan(folded.state, contacts, fetched.subscribers)
        run = toolkit.sync(plan, folded, shop=shop, postscript=postscript, ledger=ledger, dry_run=False)
    run.raise_if_failed()


def deliver_ours(archive: Path, ledger: Path, base_url: str) -> None:
    """Sync in a process of its own."""
    _run(sys.executable, "-m", "benchmarks.delivery", "--sync", str(archive), str(ledger), base_url)


def deliver_official(events: Path, packages: Path, base_url: str) -> None:
    """Hand the events to the published action, in a process of its own."""
    script = official.HERE / "deliver.cjs"
    options = [f"--packages={packages}", f"--events={events}", f"--base={base_url}", f"--key={KEY}"]
    report = json.loads(_run("node", str(script), *options, f"--rate={REQUESTS_PER_SECOND}"))
    assert not report["failed"], "every event is delivered, or refused for its contact"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SIDE_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


class Shop:
    """A sandbox in a process of its own."""

    def __init__(self, subscribers: Path) -> None:
        command = [sys.executable, "-m", "toolkit.sandbox", "--port", "0", "--subscribers", str(subscribers)]
        command += ["--rate", str(LIMIT), "--latency-ms", str(LATENCY_MS)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        self.base_url = next(word for word in ready.split() if word.startswith("http://"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def journal(self) -> list[dict[str, Any]]:
        """Return every request so far."""
        entries: list[dict[str, Any]] = json.loads(self._get("journal"))
        return entries

    def lists(self) -> Lists:
        """Return who is on which audiences now."""
        rows = map(json.loads, self._get("subscribers").splitlines())
        held = {row["id"]: set(row["properties"].get("Segment Audiences") or ()) for row in rows}
        return {subscriber: keys for subscriber, keys in held.items() if keys}

    def add(self, subscribers: Sequence[Record]) -> None:
        """Let people opt in, now."""
        url = f"{self.base_url}/control/subscribers"
        requests.post(url, json=subscribers, timeout=60).raise_for_status()

    def _get(self, route: str) -> str:
        return requests.get(f"{self.base_url}/control/{route}", timeout=60).text


# --- what was measured


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One sync, as the sandbox saw it."""

    reads: int
    writes: int
    custom_events: int
    refused: int
    """Answers 429; not among the others."""
    failed: int
    """Other answers that were no success; among the others."""
    seconds: float
    """From the first request to the last answer."""
    process_seconds: float
    lists: Lists
    """Afterwards."""

    @property
    def calls(self) -> int:
        """Accepted calls."""
        return self.reads + self.writes + self.custom_events

    @property
    def pace(self) -> float:
        """The seconds as a multiple of what the calls take at the full pace; 0 without calls."""
        return self.seconds * REQUESTS_PER_SECOND / self.calls if self.calls else 0.0


Runs = dict[str, Measured]
"""Which sync → how it went, for one side."""
Side = Callable[[Path, Path, str], None]
"""Delivers: what Segment sends now, everything it sent so far, and where to."""


def measure(shop: Shop, act: Callable[[], None]) -> Measured:
    """Let one side act, and read the journal."""
    before = len(shop.journal())
    started = time.perf_counter()
    act()
    process_seconds = time.perf_counter() - started
    asked = shop.journal()[before:]
    methods = [entry["method"] for entry in asked if entry["status"] != 429]
    ends = [entry["at"] + entry["delay_ms"] / 1000 for entry in asked]
    return Measured(
        reads=methods.count("GET"),
        writes=methods.count("PATCH"),
        custom_events=methods.count("POST"),
        refused=len(asked) - len(methods),
        failed=sum(entry["status"] >= 300 and entry["status"] != 429 for entry in asked),
        seconds=max(ends) - min(entry["at"] for entry in asked) if asked else 0.0,
        process_seconds=process_seconds,
        lists=shop.lists(),
    )


def measure_side(workload: Workload, folder: Path, deliver: Side) -> Runs:
    """Return the four syncs of one side, with a shop of its own.

    Synced anew, a destination gets from Segment what it got before. Nothing is sent when a person opts in
    to SMS; afterwards only what changed.
    """
    archive = folder / "archive"
    first, left = archive / "1.ndjson", archive / "2.ndjson"
    with Shop(folder / "shop.ndjson") as shop:

        def step(sent: Path, so_far: Path) -> Measured:
            return measure(shop, lambda: deliver(sent, so_far, shop.base_url))

        runs = {FIRST: step(first, first), AGAIN: step(first, first)}
        shop.add(records(workload.late))
        return {**runs, LATE: step(folder / "nothing.ndjson", first), LEFT: step(left, archive)}


def compare(workload: Workload, packages: Path | None) -> dict[str, Runs]:
    """Return both sides' syncs; without *packages* only ours."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        (folder / "nothing.ndjson").write_text("")
        lines = (json.dumps(record) + "\n" for record in workload.shop)
        (folder / "shop.ndjson").write_text("".join(lines))
        write_events(folder / "archive" / "1.ndjson", workload.members, workload.keys, entered=True)
        write_events(folder / "archive" / "2.ndjson", workload.leaving, workload.keys, entered=False)
        sides: dict[str, Side] = {
            OURS: lambda _sent, archive, url: deliver_ours(archive, folder / "ledger.db", url)
        }
        if packages is not None:
            sides = {OFFICIAL: lambda sent, _so_far, url: deliver_official(sent, packages, url), **sides}
        return {side: measure_side(workload, folder, deliver) for side, deliver in sides.items()}


# --- the conditions


def minimums(workload: Workload) -> dict[str, Minimum]:
    """Return the least for each sync; touched since the last reading is what was written or opted in."""
    changed, late = len(workload.subscribed), len(workload.late)
    return {
        FIRST: first_minimum(workload),
        AGAIN: later_minimum(workload, touched=changed, changed=0),
        LATE: later_minimum(workload, touched=late, changed=late),
        LEFT: later_minimum(workload, touched=late, changed=len(workload.leaving)),
    }


def expected_lists(workload: Workload) -> dict[str, Lists]:
    """Return who must be on which audiences after each sync."""

    def holding(members: Sequence[Member]) -> Lists:
        return {record["id"]: set(workload.keys) for record in records(members)}

    first, late, left = (holding(part) for part in (workload.subscribed, workload.late, workload.leaving))
    remaining = {who: keys for who, keys in (first | late).items() if who not in left}
    return {FIRST: first, AGAIN: first, LATE: first | late, LEFT: remaining}


def conditions(workload: Workload, found: dict[str, Runs]) -> Iterator[tuple[bool, str]]:
    """Yield whether each condition holds, and its figures."""
    ours = found[OURS]
    first, again = ours[FIRST], ours[AGAIN]
    ratio, most = first.calls / first_minimum(workload).calls, 1 + math.ceil(len(workload.shop) / PAGE)
    yield ratio <= MAX_RATIO, f"first sync: {ratio:.3f} × the minimum of calls, at most {MAX_RATIO}"
    if first.calls >= ENOUGH_CALLS:
        yield first.pace <= MAX_PACE, f"first sync: {first.pace:.4f} × calls / rate, at most {MAX_PACE}"
    wrote = again.writes + again.custom_events
    yield wrote == 0, f"again: {wrote} writes and custom events, at most 0"
    yield again.reads <= most, f"again: {again.reads} reads, at most {most}: the shop and all its pages"
    refused, failed = sum(run.refused for run in ours.values()), sum(run.failed for run in ours.values())
    yield refused == 0, f"all syncs: {refused} answers 429, at most 0"
    yield failed == 0, f"all syncs: {failed} other refusals, at most 0"
    for name, lists in expected_lists(workload).items():
        yield ours[name].lists == lists, f"{name}: exactly the {len(lists)} lists that Segment wants"
    if OFFICIAL in found:
        yield from official_conditions(workload, found[OFFICIAL], ours)


def official_conditions(workload: Workload, theirs: Runs, ours: Runs) -> Iterator[tuple[bool, str]]:
    """Yield whether each condition between the two sides holds, and its figures."""
    first, again = theirs[FIRST], theirs[AGAIN]
    events = first.custom_events, ours[FIRST].custom_events
    yield events[0] == events[1], f"first sync: {events[1]} custom events, officially {events[0]}"
    rest = first.calls - first.writes
    # After a 429 Segment begins the event anew: up to three calls of it were already made.
    slack = 3 * (first.refused + again.refused)
    same = abs(again.calls - rest) <= slack
    yield same, f"officially again: {again.calls} calls, the first {first.calls} less its PATCHes"
    repeated = again.custom_events
    yield repeated == events[0], f"officially again: {repeated} custom events, as many as at first"
    for name in (FIRST, AGAIN):
        yield theirs[name].lists == ours[name].lists, f"{name}: both sides leave the same lists"
    late = {record["id"] for record in records(workload.late)}
    for name in (LATE, LEFT):
        known = {who: keys for who, keys in ours[name].lists.items() if who not in late}
        same = theirs[name].lists == known
        yield same, f"{name}: the same lists, but for {len(late)} late ones, which the official action loses"


# --- telling


def show(workload: Workload, found: dict[str, Runs]) -> bool:
    """Print a workload's figures and conditions; True when all hold."""
    print(f"{'':24}{'reads':>7}{'writes':>8}{'events':>8}{'calls':>7}{'× min':>8}", end="")
    print(f"{'seconds':>9}{'calls/rate':>12}{'ratio':>7}{'process':>9}{'429':>5}")
    for name, least in minimums(workload).items():
        print(f"{name + ', minimum':24}{_kinds(least)}")
        for side, runs in found.items():
            run = runs[name]
            print(f"{name + ', ' + side:24}{_kinds(run)}{run.calls / least.calls:8.2f}", end="")
            print(f"{run.seconds:8.1f}s{run.calls / REQUESTS_PER_SECOND:11.1f}s{run.pace:7.2f}", end="")
            print(f"{run.process_seconds:8.1f}s{run.refused:5}")
    reads = first_reads(workload)
    print(
        f"\nminimum of the first sync: {reads.by_phone} lookups of {reads.phones} phones "
        f"({reads.found_by_phone} found) and {reads.by_email} of {reads.emails} emails "
        f"({reads.found_by_email} found), {BATCH} a call, {PAGE} a page,\n"
        f"or {reads.listing} pages of all {reads.subscribers} subscribers, whichever is less; then one PATCH "
        "a subscriber and one custom event a membership\n"
    )
    judged = list(conditions(workload, found))
    for holds, sentence in judged:
        print(f"{'PASS' if holds else 'FAIL'}  {sentence}")
    return all(holds for holds, _ in judged)


def _kinds(calls: Minimum | Measured) -> str:
    return f"{calls.reads:7,}{calls.writes:8,}{calls.custom_events:8,}{calls.calls:7,}"


def official_packages() -> Path | None:
    """Return the folder of the official side; None, with a sentence, when it cannot be measured here."""
    try:
        packages = official.prepare(Path(gettempdir()) / f"official-{os.getuid()}")
        if shutil.which("node") is None:
            raise official.OfficialSideError("node is not installed")
    except official.OfficialSideError as error:
        print(error)
        return None
    return packages


def main() -> int:
    """Measure both workloads; 1 when a condition fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery")
    parser.add_argument("--quick", action="store_true", help="a quarter of the members")
    parser.add_argument(
        "--others", type=int, default=300, help="subscribers in no audience (default: %(default)s)"
    )
    parser.add_argument("--sync", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sync:
        sync(*options.sync)
        return 0
    packages, all_hold = official_packages(), True
    for members, audiences in ((600, 1), (300, 3)):
        workload = make_workload(members // 4 if options.quick else members, audiences, options.others)
        print(
            f"\n--- {len(workload.members)} members × {audiences}, {len(workload.subscribed)} of them "
            f"subscribers, as are {options.others} others; {REQUESTS_PER_SECOND} of {LIMIT} requests "
            f"a second, {LATENCY_MS} ms an answer\n",
            flush=True,
        )
        all_hold &= show(workload, compare(workload, packages))
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
