"""``make bench``: the stages of a run side by side with the least they could take, on generated events."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import duckdb
import pandas as pd

import toolkit
from toolkit import wire
from toolkit.plan import subscribers_table

Result = TypeVar("Result")
KEYS = [f"audience_{n}" for n in range(5)]


def event_line(number: int, chance: random.Random) -> str:
    """Return one Engage call as it stands in an archive, about 600 bytes."""
    person, key = chance.randrange(number // 2 + 1), chance.choice(KEYS)
    phone = f"+1{chance.randrange(201, 990)}55501{chance.randrange(100):02d}"
    return json.dumps(
        {
            "type": "identify",
            "messageId": f"personas_{number:032x}",
            "userId": f"cus_{person:09d}",
            "timestamp": f"2026-11-{chance.randrange(1, 28):02d}T10:{chance.randrange(60):02d}:00.000Z",
            "receivedAt": "2026-11-28T10:00:00.000Z",
            "integrations": {"All": False, "Postscript": True},
            "traits": {key: chance.random() < 0.8, "email": f"shopper{person}@example.test", "phone": phone},
            "context": {
                "library": {"name": "unknown", "version": "unknown"},
                "personas": {
                    "computation_class": "audience",
                    "computation_id": f"aud_{key}",
                    "computation_key": key,
                    "namespace": "spa_1",
                    "space_id": "spa_1",
                },
            },
        }
    )


def timed(name: str, times: dict[str, float], act: Callable[[], Result]) -> Result:
    """Run *act*, note its seconds under *name*, and return its result."""
    started = time.perf_counter()
    result = act()
    times[name] = time.perf_counter() - started
    return result


def floor(path: Path) -> Any:
    """Let DuckDB read every line and look at nothing."""
    with duckdb.connect() as connection:
        query = "SELECT count(*), sum(strlen(json::VARCHAR)) FROM read_ndjson_objects($path)"
        return connection.execute(query, {"path": str(path)}).fetchone()


def subscribers_of(contacts: pd.DataFrame) -> pd.DataFrame:
    """Return one subscriber for each person, who holds nothing yet."""
    rows = zip(contacts["person"], contacts["email_clean"], strict=True)
    return subscribers_table(
        wire.parse_subscriber({"id": f"s_{person}", "email": email, "phone_number": f"+{n}"})
        for n, (person, email) in enumerate(rows)
    )


def main() -> None:
    """Measure, and print a table: seconds, events a second, and the ratio to the floor."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    chance, times = random.Random(1), dict[str, float]()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.ndjson"
        with path.open("w") as file:
            file.writelines(event_line(number, chance) + "\n" for number in range(events))
        timed("floor: DuckDB reads the lines", times, lambda: floor(path))
        payloads = timed("payloads", times, lambda: toolkit.read_events(path).payloads())
    folded = timed("fold", times, lambda: toolkit.fold(payloads))
    contacts = timed("check_contacts", times, lambda: toolkit.check_contacts(folded.state.people))
    held = subscribers_of(contacts)
    plan = timed("plan", times, lambda: toolkit.plan(folded.state, contacts, held))
    least = times["floor: DuckDB reads the lines"]
    print(f"{events:,} events, {len(plan.changes):,} persons × audiences, {len(contacts):,} people\n")
    print(f"{'stage':32}{'seconds':>9}{'events/s':>12}{'× floor':>9}")
    for name, seconds in times.items():
        print(f"{name:32}{seconds:9.2f}{events / seconds:12,.0f}{seconds / least:9.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
