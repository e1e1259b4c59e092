"""Play many histories, or one again: ``python -m tests.simulation --help``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

from .history import Figures, Result, play, play_seed, script_of, shortest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="play this seed alone, and show its trace")
    parser.add_argument("--steps", help="with --seed: only these steps of it, such as 0,2,5")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--as-it-is", action="store_true", help="do not look for a shorter form of a failure")
    parser.add_argument("--stop-after", type=int, default=5, help="end after so many failures")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return replay(given.seed, given.steps)
    seeds = range(given.first, given.first + given.histories)
    return play_all(seeds, given=given)


def replay(seed: int, steps: str | None) -> int:
    """Play one history and print all of it."""
    script = script_of(seed)
    chosen = script if steps is None else [script[int(number)] for number in steps.split(",") if number]
    result = play(seed, chosen)
    print("\n".join([*result.trace, "", *(result.violations or ["Nothing is wrong."])]))
    return bool(result.violations)


def play_all(seeds: range, *, given: argparse.Namespace) -> int:
    """Play every seed and print the figures; each failure with the command that replays it."""
    figures, failures, played, began = Figures(), 0, 0, time.perf_counter()
    with multiprocessing.get_context("fork").Pool(given.processes) as pool:
        for seed, result in pool.imap_unordered(play_seed, seeds, chunksize=4):
            figures.add(result.figures)
            played += 1
            if result.violations:
                failures += 1
                print(failure(seed, result, is_shortened=not given.as_it_is), flush=True)
                if failures >= given.stop_after:
                    pool.terminate()
                    break
    seconds = time.perf_counter() - began
    print(summary(figures, played, failures, seconds))
    return bool(failures)


def failure(seed: int, result: Result, *, is_shortened: bool) -> str:
    """Return what went wrong, and how to see it again in its shortest form."""
    kept, best = shortest(seed, result) if is_shortened else ([*range(len(script_of(seed)))], result)
    listed = "\n  ".join(dict.fromkeys(best.violations))
    steps = ",".join(map(str, kept))
    return f"seed {seed}\n  {listed}\n  python -m tests.simulation --seed {seed} --steps {steps!r}"


def summary(figures: Figures, played: int, failures: int, seconds: float) -> str:
    """Return the figures as text."""
    troubles = ", ".join(f"{name} {count:,}" for name, count in sorted(figures.troubles.items()))
    statuses = ", ".join(f"{name} {count:,}" for name, count in figures.statuses.most_common())
    return (
        f"{played:,} histories, {figures.runs:,} runs, {figures.calls:,} calls, {figures.kills:,} kills "
        f"in {seconds / 60:.1f} minutes; {failures} failed.\nRuns: {statuses}.\n"
        f"Faults ({figures.troubles.total():,}): {troubles}."
    )


if __name__ == "__main__":
    sys.exit(main())
