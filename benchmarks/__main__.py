"""``make bench``: the stages of a run side by side with the least they could take, on generated events."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pandas as pd

import toolkit
from benchmarks.generate import write_events
from benchmarks.mapping import floor
from toolkit.postscript import api
from toolkit.postscript.subscribers import subscribers_table

Result = TypeVar("Result")


def timed(name: str, times: dict[str, float], act: Callable[[], Result]) -> Result:
    """Run *act*, note its seconds under *name*, and return its result."""
    started = time.perf_counter()
    result = act()
    times[name] = time.perf_counter() - started
    return result


def subscribers_of(contacts: pd.DataFrame) -> pd.DataFrame:
    """Return one subscriber for each person, who holds nothing yet."""
    rows = zip(contacts["person"], contacts["email_clean"], strict=True)
    return subscribers_table(
        api.parse_subscriber({"id": f"s_{person}", "email": email, "phone_number": f"+{n}"})
        for n, (person, email) in enumerate(rows)
    )


def main() -> None:
    """Measure, and print a table: seconds, events a second, and the ratio to the floor."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    times = dict[str, float]()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        write_events(path, events)
        timed("floor: DuckDB reads the lines", times, lambda: floor(path))
        payloads = timed("payloads", times, lambda: toolkit.read_events(path).payloads())
    folded = timed("fold", times, lambda: toolkit.fold(payloads))
    contacts = timed("check_contacts", times, lambda: toolkit.check_contacts(folded.state.people))
    held = subscribers_of(contacts)
    plan = timed("plan", times, lambda: toolkit.plan(folded.state, contacts, held))
    least = times["floor: DuckDB reads the lines"]
    print(f"{events:,} events, {len(plan.changes):,} memberships, {len(contacts):,} people\n")
    print(f"{'stage':32}{'seconds':>9}{'events/s':>12}{'× floor':>9}")
    for name, seconds in times.items():
        print(f"{name:32}{seconds:9.2f}{events / seconds:12,.0f}{seconds / least:9.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
