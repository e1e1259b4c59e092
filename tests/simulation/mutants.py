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
    given = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name]
    missed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hunts = pool.map(lambda m: hunt(m, histories=given.histories, only_known=given.known), chosen)
        for mutant, seed, what in hunts:
            missed += seed is None
            print(f"{'MISSED' if seed is None else f'seed {seed}':>10}  {mutant.name}: {what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted faults were found.")
    return bool(missed)


MUTANTS: tuple[Mutant, ...] = ()


if __name__ == "__main__":
    sys.exit(main())
