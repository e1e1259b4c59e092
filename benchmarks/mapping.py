"""``python -m benchmarks.mapping [EVENTS]``: events to payloads, by us and by Segment's own packages.

The same file goes, in one run, through DuckDB reading its lines (the floor), our rules in SQL, our frame,
our rules in Python, and the official action; each several times in turn, the best time counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import duckdb

from benchmarks import official
from benchmarks.generate import write_events
from toolkit import Destination, read_events
from toolkit.segment.archive.reader import Reader, read_lines
from toolkit.segment.events import ROW_COLUMNS

ROUNDS = 3
PYTHON_SHARE = 10
"""The Python rules see one event in so many."""


def floor(path: Path) -> None:
    """Let DuckDB read every line and look at nothing."""
    with duckdb.connect(config={"threads": 2}) as connection:
        lines = "read_ndjson_objects($path, maximum_object_size = 1048576)"
        connection.execute(f"SELECT count(*), sum(strlen(json::VARCHAR)) FROM {lines}", {"path": str(path)})


def rules(path: Path, destination: Destination, scratch: Path) -> None:
    """Let SQL decide every event, and count what is in its cells, so that none is left out."""

    def consume(reader: Reader) -> Any:
        counts = ", ".join(f"count({name})" for name in ROW_COLUMNS)
        query = reader.row_query()
        found = reader.connection.execute(
            f"SELECT count(*) FILTER (needs_python), {counts} FROM ({query})"
        ).fetchone()
        assert found is not None
        assert found[0] == 0, "Python would have had to help"

    read_lines(consume, [path], destination, memory_limit="1GB", scratch=scratch)


def python(lines: list[str], destination: Destination) -> None:
    """Let the Python rules parse and decide the events one by one."""
    for line in lines:
        destination.payloads(json.loads(line))


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that *act* takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def compare(path: Path, events: int, mapping: dict[str, Any] | None, packages: Path | None) -> None:
    """Measure one mapping, and print a table."""
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        if mapping is not None:
            (scratch / "destination.json").write_text(json.dumps(mapping))
        destination = Destination.from_file(scratch / "destination.json" if mapping is not None else "")
        with path.open() as file:
            sample = [line for number, line in enumerate(file) if number % PYTHON_SHARE == 0]
        acts: dict[str, tuple[int, Callable[[], object]]] = {
            "floor: DuckDB reads the lines": (events, lambda: floor(path)),
            "rules in SQL": (events, lambda: rules(path, destination, scratch)),
            "Archive.payloads(), a frame": (events, lambda: read_events(path).payloads(destination)),
            "rules in Python, one process": (len(sample), lambda: python(sample, destination)),
        }
        seconds: dict[str, float] = {}
        rates: list[dict[str, Any]] = []
        for _round in range(ROUNDS):
            for name, (count, act) in acts.items():
                seconds[name] = min(seconds.get(name, 1e9), timed(act) / count)
            if packages is not None:
                rates.append(
                    official.run(path, packages=packages, mapping=mapping, limit=min(events, 60_000))
                )
    if rates:
        best = max(rate["one_process"]["events_per_second"] for rate in rates)
        seconds["official, one process"] = 1 / best
        seconds["official, two processes"] = 1 / max(
            rate["two_processes"]["events_per_second"] for rate in rates
        )
    least = seconds["floor: DuckDB reads the lines"]
    print(f"{'':32}{'events/s':>12}{'× floor':>9}{'× official':>12}{'× two':>8}")
    for name, each in seconds.items():
        more = ""
        if rates:
            one, two = seconds["official, one process"], seconds["official, two processes"]
            more = f"{one / each:12.1f}{two / each:8.1f}"
        print(f"{name:32}{1 / each:12,.0f}{each / least:9.1f}{more}")


def main() -> None:
    """Measure the default mapping and one of many directives."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    packages = None
    try:
        packages = official.prepare(Path(gettempdir()) / f"official-{os.getuid()}")
    except official.OfficialSideError as error:
        print(error)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        write_events(path, events)
        print(f"{events:,} events, {path.stat().st_size / events:.0f} bytes each, best of {ROUNDS}\n")
        for title, mapping in (
            ("default mapping", None),
            ("@template, @case, @replace, nested @if", json.loads(official.COMPLEX.read_text("utf-8"))),
        ):
            print(f"--- {title}")
            compare(path, events, mapping, packages)
            print()


if __name__ == "__main__":
    main()
