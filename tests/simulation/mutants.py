"""Plant one fault at a time in a copy of the toolkit, and let the simulation find it.

``python -m tests.simulation.mutants`` plays up to 2,000 histories against each planted fault;
``--known`` plays only the seed that found each before, which takes seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
MOST = 2000


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One line of the toolkit, changed."""

    name: str
    file: str
    old: str
    new: str
    seed: int | None = None
    """A history that finds it."""


def planted(mutant: Mutant, folder: Path) -> None:
    """Copy the toolkit and the simulation into *folder*, with the fault in it."""
    shutil.copytree(PROJECT / "toolkit", folder / "toolkit", ignore=shutil.ignore_patterns("__pycache__"))
    simulation = folder / "tests" / "simulation"
    shutil.copytree(Path(__file__).parent, simulation, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "toolkit" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name}: its line is {text.count(mutant.old)} times in {mutant.file}.")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def hunt(mutant: Mutant, *, histories: int, only_known: bool) -> tuple[Mutant, int | None, str]:
    """Return the mutant, the seed that found it or None, and what that history found."""
    first, count = (mutant.seed or 0, 1) if only_known else (0, histories)
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        planted(mutant, Path(place))
        command = [sys.executable, "-m", "tests.simulation", "--first", str(first), "--histories", str(count)]
        ended = subprocess.run(
            [*command, "--processes", "1", "--stop-after", "1", "--as-it-is"],
            cwd=place,
            env={**os.environ, "PYTHONPATH": place},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"^seed (\d+)\n  (.*)", ended.stdout, re.MULTILINE)
    if found is None and ended.returncode:
        return mutant, -1, (ended.stderr.strip().splitlines() or ["the simulation ended"])[-1]
    return (mutant, int(found[1]), found[2]) if found else (mutant, None, "not found")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--known", action="store_true", help="play only the seed that is known to find each")
    parser.add_argument("--histories", type=int, default=MOST)
    parser.add_argument("--only", default="", help="mutants whose name holds this text")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if given.only in m.name and not (given.known and m.seed is None)]
    missed = 0
    with ThreadPoolExecutor(given.processes) as pool:
        hunts = pool.map(lambda m: hunt(m, histories=given.histories, only_known=given.known), chosen)
        for mutant, seed, what in hunts:
            # A toolkit that does not start is no find.
            missed += seed is None or seed < 0
            print(f"{'MISSED' if seed is None else f'seed {seed}':>10}  {mutant.name}: {what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted faults were found.")
    return bool(missed)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="a write's custom events are not in the ledger before it leaves",
        seed=0,
        file="sync/delivery/writes.py",
        old="            due=posted,\n",
        new="            due=(),\n",
    ),
    Mutant(
        name="what was under way when the process died is posted again",
        seed=8,
        file="sync/delivery/custom_events.py",
        old='if transition.state == "posting":',
        new="if False:",
    ),
    Mutant(
        name="what is left over is not compared with the list",
        seed=131,
        file="sync/delivery/custom_events.py",
        old="due += find_due(chain, is_in=key in listed)",
        new="due += chain[-1:]",
    ),
    Mutant(
        name="a custom event is posted whoever claimed it",
        file="ledger/journal.py",
        old="claimed = _mark(connection, [its], state, among=_OPEN)",
        new="claimed = _mark(connection, [its], state)",
    ),
    Mutant(
        name="what was sent is planned again",
        file="ledger/journal.py",
        old="upsert(connection, transitions, rows, where=is_free)",
        new="upsert(connection, transitions, rows)",
    ),
    Mutant(
        name="a custom event may repeat the last one",
        file="ledger/journal.py",
        old='state = "obsolete" if is_repeat else "posting"',
        new='state = "posting"',
    ),
    Mutant(
        name="a custom event whose answer was lost is repeated",
        seed=120,
        file="postscript/api.py",
        old="repeatable=False)",
        new="repeatable=True)",
    ),
    Mutant(
        name="the shop's lock is not checked",
        seed=12,
        file="ledger/locks.py",
        old="            if not lock.take():\n",
        new="            if lock.take() is None:\n",
    ),
    Mutant(
        name="a phone that moved leaves its earlier subscriber in the cache",
        file="postscript/subscribers.py",
        old="before[~(again | moved)]",
        new="before[~again]",
    ),
    Mutant(
        name="changes are read from too late on",
        seed=125,
        file="postscript/reader.py",
        old="newest - OVERLAP, page_size=size",
        new="newest + OVERLAP, page_size=size",
    ),
    Mutant(
        name="the oldest event decides",
        seed=0,
        file="frames.py",
        old="last[groups[rows]] = rows",
        new="last[groups[rows[::-1]]] = rows[::-1]",
    ),
    Mutant(
        name="the oldest contact counts",
        seed=0,
        file="audiences/memberships.py",
        old="last[codes[rows]] = rows",
        new="last[codes[rows[::-1]]] = rows[::-1]",
    ),
    Mutant(
        name="of two people of one subscriber the older event decides",
        seed=2,
        file="sync/plan/deciding.py",
        old='duplicated(keep="last")',
        new='duplicated(keep="first")',
    ),
    Mutant(
        name="a list that is read again loses its other keys",
        seed=1,
        file="sync/delivery/writes.py",
        old="*new_list(listed, add=add, remove=remove)",
        new="*new_list((), add=add, remove=remove)",
    ),
    Mutant(
        name="a gateway's page means that a subscriber is gone",
        file="postscript/api.py",
        old="error.from_postscript and error.status_code in {400, 404}",
        new="error.status_code in {400, 404}",
    ),
    Mutant(
        name="a live run does not remember what it was asked for",
        seed=2,
        file="sync/sync.py",
        old="        ledger.save_state(run.shop_id, run.run_id, folded.state)\n",
        new="",
    ),
    Mutant(
        name="what the limit on removals stops is forgotten",
        seed=225,
        file="sync/sync.py",
        old="        ledger.hold(run.shop_id, run.run_id, folded.state, cause=cause)\n",
        new="        ledger.release_held(run.shop_id, folded.state)\n",
    ),
    Mutant(
        name="a re-entry has the id of the first entry",
        seed=217,
        file="sync/delivery/custom_events.py",
        old='"in" if entered else "out", when]',
        new='"in" if entered else "out"]',
    ),
    Mutant(
        name="twice the pace",
        seed=8,
        file="postscript/rate_limit.py",
        old="self._interval = 1 / requests_per_second",
        new="self._interval = 0.5 / requests_per_second",
    ),
    Mutant(
        name="failed writes do not count as errors",
        seed=9,
        file="statuses.py",
        old="{ChangeStatus.REJECTED, ChangeStatus.FAILED, ChangeStatus.UNKNOWN, ChangeStatus.PENDING}",
        new="{ChangeStatus.UNKNOWN}",
    ),
    Mutant(
        name="an undo leaves its run's events in force",
        seed=386,
        file="sync/undo.py",
        old="            ledger.take_back(shop.shop_id, record.run_id)\n",
        new="",
    ),
    Mutant(
        name="a write without effect is believed",
        seed=25,
        file="sync/delivery/writes.py",
        old="        elif after is not None and not _is_kept(write, after):\n",
        new="        elif False:\n",
    ),
    Mutant(
        name="the cache does not learn what was written",
        file="sync/delivery/writes.py",
        old="due=ids, held=held)",
        new="due=ids, held=None)",
    ),
    Mutant(
        name="a failed commit passes as done",
        file="ledger/messages.py",
        old='        raise LedgerError(f"The ledger {name} cannot',
        new='        return\n        raise LedgerError(f"The ledger {name} cannot',
    ),
    Mutant(
        name="one phone shows that a shop takes lists of values",
        seed=15,
        file="postscript/lookup.py",
        old="*_NO_PHONE[len(phones) - 1 :]",
        new="",
    ),
    Mutant(
        name="a shop that shows no phone is asked with lists of values",
        seed=10,
        file="postscript/lookup.py",
        old="elif self.sample:",
        new="elif False:",
    ),
    Mutant(
        name="a lookup that is answered in part is believed",
        file="postscript/lookup.py",
        old="return len(expected) > 1 and any(",
        new="return False and any(",
    ),
    Mutant(
        name="a gateway's 404 is taken for an empty page",
        file="postscript/listing.py",
        old="error.status_code == 404 and error.from_postscript",
        new="error.status_code == 404",
    ),
    Mutant(
        name="a page that is not full is believed",
        file="postscript/listing.py",
        old="(number < end and len(ids) < size)",
        new="False",
    ),
    Mutant(
        name="who was deleted is not looked up again",
        file="postscript/reader.py",
        old="return (part == self.before.turn % parts) | is_doubted",
        new="return is_doubted",
    ),
    Mutant(
        name="one broken record stops the others",
        seed=17,
        file="sync/delivery/execution.py",
        old="            connect_shop(self.postscript)\n",
        new='            raise PostscriptError("down")\n',
    ),
    Mutant(
        name="a contact that moved leaves the earlier subscriber as it is",
        seed=72,
        file="sync/plan/matching.py",
        old="    if reached is None or reached.empty:\n",
        new="    if True:\n",
    ),
    Mutant(
        name="the earlier subscriber of a person whose contact moved is not read",
        seed=92,
        file="postscript/reader.py",
        old="        self.rows.add(self._read_by_id(earlier))\n",
        new="",
    ),
    Mutant(
        name="a run does not remember who it reached",
        seed=72,
        file="sync/sync.py",
        old="newly_reached(plan.changes[is_sent], known)",
        new="known.head(0)",
    ),
    Mutant(
        name="who was taken for gone is not looked up again",
        file="ledger/journal.py",
        old="            upsert(connection, doubted, _contact_rows(shop_id, contacts))\n",
        new="",
    ),
)


if __name__ == "__main__":
    sys.exit(main())
