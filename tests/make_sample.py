"""Make the bundled sample: a small raw archive of invented people, and the shop's subscribers.

Run ``python tests/make_sample.py`` to write ``toolkit/segment/sample`` again; the files stay the same.
"""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "toolkit" / "segment" / "sample"
START = datetime(2026, 11, 2, 8, tzinfo=UTC)
AREAS = [212, 305, 312, 404, 415, 503, 512, 617, 702, 718, 808, 917]
AUDIENCES = {
    "vip_customers": "aud_2mVq1",
    "lapsed_90_days": "aud_2mVq2",
    "cart_abandoners": "aud_2mVq3",
}
SPACE = "spa_4rT"
PEOPLE = 90


def phone_of(number: int) -> str:
    """Return a reserved number, a different one for each person."""
    return f"{AREAS[number % len(AREAS)]}55501{number // len(AREAS):02d}"


def spelled(digits: str, chance: random.Random) -> str:
    """Write ten digits in one of the ways people do."""
    forms = [
        f"+1{digits}",
        digits,
        f"({digits[:3]}) {digits[3:6]}-{digits[6:]}",
        f"{digits[:3]}.{digits[3:6]}.{digits[6:]}",
    ]
    return chance.choice(forms)


def event_of(person: int, key: str, *, member: Any, at: datetime, chance: random.Random) -> dict[str, Any]:
    """Return one Engage call, as identify or as track."""
    contact = {"email": f"shopper{person}@example.test"}
    if person % 3:
        contact["phone"] = spelled(phone_of(person), chance)
    if person % 17 == 5:
        contact = {"phone": "n/a"}
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    received = (at + timedelta(seconds=chance.randrange(5, 90))).isoformat(timespec="milliseconds")
    event: dict[str, Any] = {
        "messageId": f"personas_{chance.getrandbits(64):016x}",
        "userId": f"cus_{person:04d}",
        "timestamp": stamp,
        "receivedAt": received.replace("+00:00", "Z"),
        "integrations": {"All": False, "Postscript": True},
        "context": {
            "personas": {
                "computation_class": "audience",
                "computation_id": AUDIENCES[key],
                "computation_key": key,
                "namespace": SPACE,
                "space_id": SPACE,
            }
        },
    }
    if chance.random() < 0.5:
        return {"type": "identify", "traits": {key: member, **contact}, **event}
    event["context"]["traits"] = contact
    name = "Audience Entered" if member is True else "Audience Exited"
    return {"type": "track", "event": name, "properties": {"audience_key": key, key: member}, **event}


def events(chance: random.Random) -> list[dict[str, Any]]:
    """Return every call of the source, Postscript's and others', in no order."""
    calls = []
    for person in range(PEOPLE):
        for key in chance.sample([*AUDIENCES], chance.choice([1, 1, 1, 2])):
            at = START + timedelta(minutes=chance.randrange(4000))
            calls.append(event_of(person, key, member=True, at=at, chance=chance))
            if chance.random() < 0.35:
                later = at + timedelta(hours=chance.randrange(1, 40))
                calls.append(event_of(person, key, member=False, at=later, chance=chance))
    calls += chance.sample(calls, 9)  # delivered twice
    for person in range(0, PEOPLE, 11):
        other = event_of(person, "vip_customers", member=True, at=START, chance=chance)
        calls.append({**other, "integrations": {"All": False, "Facebook Custom Audiences": True}})
        calls.append({**event_of(person, "vip_customers", member="true", at=START, chance=chance)})
        trait = event_of(person, "lapsed_90_days", member=19.5, at=START, chance=chance)
        trait["context"]["personas"] |= {
            "computation_class": "computed_trait",
            "computation_key": "total_spend",
        }
        calls.append(trait)
        calls.append(
            {"type": "page", "messageId": f"ajs-{person}", "userId": f"cus_{person:04d}", "context": {}}
        )
    chance.shuffle(calls)
    return calls


def subscribers(chance: random.Random) -> list[dict[str, Any]]:
    """Return the shop's list: most people, some of them in an audience already."""
    rows = []
    for person in range(PEOPLE):
        if person % 6 == 4:
            continue  # not a subscriber yet
        held = chance.sample([*AUDIENCES], 2) if person % 3 == 0 else []
        rows.append(
            {
                "id": f"s_{person:05x}",
                "phone_number": f"+1{phone_of(person)}",
                "email": f"Shopper{person}@example.test" if person % 7 else None,
                "properties": {
                    "loyalty_points": person * 10,
                    **({"Segment Audiences": held} if held else {}),
                },
                "subscriptions": {
                    "promotional": {"can_send": person % 13 != 0},
                    "transactional": {"can_send": True},
                },
                "tags": [],
                "created_at": f"2025-0{person % 9 + 1}-11T10:00:00Z",
                "updated_at": "2026-10-01T00:00:00Z",
            }
        )
    return rows


def write() -> None:
    """Write the sample."""
    chance = random.Random(20261101)
    lines = [json.dumps(event, separators=(",", ":")) for event in events(chance)]
    lines.insert(40, lines[0][:50])  # torn
    source = TARGET / "segment-logs" / "kT3pEngageSrc"
    for day in range(3):
        folder = source / str(int((START + timedelta(days=day)).replace(hour=0).timestamp() * 1000))
        folder.mkdir(parents=True, exist_ok=True)
        packed = gzip.compress("\n".join([*lines[day::3], ""]).encode(), mtime=0)
        (folder / f"{1793491200 + day}.kT3pEngageSrc.0000.gz").write_bytes(packed)
    (source / "dummy-object.txt").touch()
    people = "".join(json.dumps(row) + "\n" for row in subscribers(chance))
    (TARGET / "subscribers.ndjson").write_text(people, encoding="utf-8")


if __name__ == "__main__":
    write()
