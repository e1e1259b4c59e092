"""``python -m benchmarks.headless [RUNS]``: how soon the toolkit is there, and the notebooks of a schedule.

Every round of four has a new shop and an empty folder, so the sync is live and writes everything; of its
seconds about seven are Postscript's pace, which a notebook keeps to whatever the shop allows. Ends with 1
when a run failed, or took so long that it was stopped.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import toolkit
from toolkit.notebook.parameters import PARAMETERS
from toolkit.sandbox import Sandbox
from toolkit.sandbox.records import load_subscribers

PACKAGE = Path(toolkit.__file__).parent
NOTEBOOKS = PACKAGE.parent / "notebooks"
KEY = "sk_sandbox"
LONGEST_SECONDS = 120
STARTS = {
    "the libraries alone": ("-c", "import pandas, duckdb, pyarrow, requests"),
    "import toolkit": ("-c", "import toolkit"),
    "every public name": ("-c", "from toolkit import *"),
    "run --help": ("-m", "toolkit", "run", "--help"),
}
"""What is started, the first to compare with → the words for Python."""
LONGEST_HELP_SECONDS, HIGHEST_IMPORT_RATIO = 0.5, 1.25


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one notebook."""

    seconds: float
    trouble: str
    """Why it does not count as done; empty when it does."""


def run(notebook: str, folder: Path, environment: Mapping[str, str]) -> Measured:
    """Run a notebook by the command a schedule has, and look at what it left."""
    live = ["-p", "dry_run", "False"] if "dry_run" in PARAMETERS[notebook] else []
    command = [sys.executable, "-m", "toolkit", "run", str(NOTEBOOKS / f"{notebook}.ipynb"), *live]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        trouble = done.stderr.strip() or done.stdout.strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        trouble = f"stopped after {LONGEST_SECONDS} seconds"
    seconds = time.perf_counter() - started
    return Measured(
        seconds=seconds, trouble=trouble or lacking(folder / "output" / notebook / "summary.json")
    )


def lacking(summary: Path) -> str:
    """Return what is wrong with the summary that a run must leave; empty when nothing is."""
    try:
        status = json.loads(summary.read_text("utf-8"))["status"]
    except (OSError, ValueError, KeyError) as error:
        return f"no good summary ({type(error).__name__})"
    return "" if status == "completed" else f"ended as {status}"


def measure_round(notebooks: tuple[str, ...]) -> dict[str, Measured]:
    """Run these notebooks one after the other, with a shop and a folder of their own."""
    people = load_subscribers(PACKAGE / "segment" / "sample" / "subscribers.ndjson", "2026-11-01T00:00:00Z")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTSCRIPT_", "TOOLKIT_"))}
    with TemporaryDirectory() as folder, Sandbox(people, keys=(KEY,), rate=100_000) as sandbox:
        own = {
            "IPYTHONDIR": f"{folder}/ipython",
            "TOOLKIT_BUDGET_FOLDER": f"{folder}/pace",
            "POSTSCRIPT_BASE_URL": sandbox.base_url,
            "POSTSCRIPT_SECRET_KEY": KEY,
        }
        return {notebook: run(notebook, Path(folder), kept | own) for notebook in notebooks}


def measure_starts(rounds: int = 5) -> dict[str, float]:
    """Start each of STARTS in turn, several times; return the median seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, words in STARTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], capture_output=True, check=True)
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def show_starts() -> bool:
    """Print how soon the toolkit is there, beside its libraries; return whether that is within the limits."""
    seconds = measure_starts()
    first = next(iter(seconds.values()))
    for name, taken in seconds.items():
        print(f"{name:22}{taken:>6.2f} s, {taken / first:.2f} × the libraries")
    ratio = seconds["import toolkit"] / first
    return ratio <= HIGHEST_IMPORT_RATIO and seconds["run --help"] <= LONGEST_HELP_SECONDS


def main(runs: int) -> int:
    """Print the starts, and a table: notebook, runs, seconds, how many failed; return the exit code."""
    is_soon = show_starts()
    names = tuple(PARAMETERS)
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    load = os.getloadavg()[0]
    for start in range(0, runs, len(names)):
        for name, one in measure_round(names[: runs - start]).items():
            measured[name].append(one)
            if one.trouble:
                print(f"{name}, run {len(measured[name])}: {one.trouble}", file=sys.stderr, flush=True)
    print(f"{'notebook':22}{'runs':>6}{'min s':>8}{'median s':>10}{'max s':>8}{'failed':>8}")
    for name, found in measured.items():
        if found:
            seconds = [one.seconds for one in found]
            least, middle, most = min(seconds), statistics.median(seconds), max(seconds)
            failed = sum(bool(one.trouble) for one in found)
            print(f"{name:22}{len(found):>6}{least:>8.1f}{middle:>10.1f}{most:>8.1f}{failed:>8}")
    print(f"\nmachine's load {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")
    return int(not is_soon or any(one.trouble for found in measured.values() for one in found))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
