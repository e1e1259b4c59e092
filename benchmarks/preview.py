"""``python -m benchmarks.preview [EVENTS]``: time and memory of a preview, and of one ten times as large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.generate import write_events

_ONE = """
import json, resource, sys, time
import toolkit
started = time.perf_counter()
found = toolkit.preview(toolkit.read_events(sys.argv[1]))
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([found.received, found.people, seconds, peak]))
"""


def measure(events: int) -> float:
    """Preview that many generated events in a process of its own; print the figures, return the seconds."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        started = time.perf_counter()
        write_events(path, events)
        os.sync()  # what is measured is not the disk writing this
        made = time.perf_counter() - started
        given = {**os.environ, "TMPDIR": folder}
        answer = subprocess.run(
            [sys.executable, "-c", _ONE, str(path)], capture_output=True, text=True, check=True, env=given
        )
        received, people, seconds, peak = json.loads(answer.stdout)
        assert received == events, "every event is counted"
        size = path.stat().st_size / 2**30
    print(
        f"{events:12,} events {size:7.2f} GB {people:10,} people {seconds:8.1f} s "
        f"{events / seconds:10,.0f} events/s {peak:8.0f} MB at most   (made in {made:.0f} s)",
        flush=True,
    )
    return seconds


def main() -> None:
    """Measure both sizes, the small one before and after, and how the time grows."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    small, large, again = (measure(count) for count in (events // 10, events, events // 10))
    print(f"ten times as many events take {large / ((small + again) / 2):.1f} times as long")


if __name__ == "__main__":
    main()
