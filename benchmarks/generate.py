"""Engage events as an archive holds them, invented by the million."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

KEYS = [
    f"{who}_last_{days}_days"
    for who in ("buyers", "browsers", "abandoners", "openers")
    for days in (7, 14, 30, 60, 90)
]
"""Twenty audience keys."""
TRAITS = ["total_spend", "orders_count", "last_order_number"]
FIRST_DAY = datetime(2026, 8, 1, tzinfo=UTC)
MINUTES = 90 * 24 * 60
"""Minutes within which the events happen."""
CHUNK = 10_000
"""Lines written at a time; a repeat is in the same chunk as its original."""

EMAILS = [""] * 3 + [" Shopper%d@mail%d.example.test "] + ["shopper%d@mail%d.example.test"] * 16
"""How people give their address, each as often as the others: three of twenty do not."""
PHONES = (
    [""] * 30 + ["+1%s%s%s"] * 14 + ["(%s) %s-%s", "%s-%s-%s", "%s.%s.%s", "1%s%s%s", "%s%s%s", "+1 %s %s %s"]
)
"""How people give their number: most do not, most others in E.164."""
AREA_CODES = (212, 305, 312, 404, 415, 469, 503, 512, 602, 615, 646, 702, 713, 718, 720, 737, 770, 832)
FIRST_NUMBER = 555_0000
"""Within an area; no one is ever called."""

LIBRARY = {"name": "unknown", "version": "unknown"}
CONTACT = {"<contact>": 0, "country": "US"}
"""Traits of a person; the first member stands for email and phone."""
POSTSCRIPT = {"All": False, "Warehouses": {"all": False}, "Postscript": True}
ELSEWHERE = {"All": False, "Warehouses": {"all": False}, "Facebook Custom Audiences": True}

ODD_PLACES = ["type", "event", "userId", "messageId", "timestamp", "traits", "properties", "properties.email"]
ODD_PLACES += [
    f"{traits}.{contact}" for traits in ("traits", "context.traits") for contact in ("email", "phone")
]
ODD_PLACES += [f"context.personas.computation_{what}" for what in ("class", "id", "key")]
ODD_PLACES += ["context", "context.personas", "context.traits", "integrations", "integrations.Postscript"]
_ODD_NUMBERS = (15551234567, 15551234567.0, 1.55512e10, 1e21, -0.0)
_ODD_TEXTS = ("", "  ", "Ünïcode ☃", "\ud800", "track", "constructor")
_ODD_LISTS: tuple[Any, ...] = ([], [None], ["+12125550123"], ["a", "b"])
ODD_VALUES = (None, True, False, {}, {"value": 1}, *_ODD_NUMBERS, *_ODD_TEXTS, *_ODD_LISTS)


def write_events(
    path: Path, events: int, *, people: int | None = None, seed: int = 1, odd_share: float = 0.0
) -> None:
    """Write *events* lines about *people* persons (a tenth as many, if None), the same for the same *seed*.

    Of a hundred lines, 90 are about an audience (three identify calls to two track calls), 5 about a
    computed trait, 3 meant for another destination, 1 a journey's and 1 the repeat of another line.
    *odd_share* of the lines are spoilt: torn, without context, with a number for a phone, and the like.
    """
    chance = random.Random(seed)
    lines = _lines(chance, people or max(events // 10, 1))
    with path.open("w", encoding="ascii", newline="\n") as file:
        for start in range(0, events, CHUNK):
            chunk = list(islice(lines, min(CHUNK, events - start)))
            for _ in range(len(chunk) // 100):
                chunk[chance.randrange(len(chunk))] = chance.choice(chunk)
            if odd_share:
                chunk = [_spoilt(line, chance) if chance.random() < odd_share else line for line in chunk]
            file.writelines(chunk)


def _lines(chance: random.Random, people: int) -> Iterator[str]:
    """Yield line after line: an id, a person and two times before one of the shapes, a contact within it."""
    shapes, weights = zip(*_shapes(), strict=True)
    texts = [_around_contact(event) for event in shapes]
    minutes = [f"{FIRST_DAY + timedelta(minutes=minute):%Y-%m-%dT%H:%M:}" for minute in range(MINUTES + 1)]
    moments = [f"{moment // 1000:02d}.{moment % 1000:03d}Z" for moment in range(60_000)]
    draw, bits = chance.random, chance.getrandbits
    while True:
        for before, after in chance.choices(texts, weights, k=CHUNK):
            person, minute = int(draw() * people), int(draw() * MINUTES)
            sent = minutes[minute] + moments[int(draw() * 60_000)]
            received = minutes[minute + 1] + moments[bits(15)]
            yield (
                f'{{"messageId": "personas_{bits(104):026x}", "userId": "cus_{person:09d}", '
                f'"timestamp": "{sent}", "originalTimestamp": "{sent}", "sentAt": "{sent}", '
                f'"receivedAt": "{received}", {before}{_contact(person)}{after}'
            )


def _contact(person: int) -> str:
    """Return the members of a traits object that tell where to reach *person*, always the same ones."""
    mixed = person * 2_654_435_761 >> 7  # Knuth's multiplier: neighbours have nothing in common
    email, phone = EMAILS[mixed % 20], PHONES[mixed // 20 % 50]
    members = f'"email": "{email % (person, mixed % 8)}", ' if email else ""
    if phone:
        number = str(FIRST_NUMBER + person // len(AREA_CODES))
        area = AREA_CODES[person % len(AREA_CODES)]
        members += f'"phone": "{phone % (area, number[:3], number[3:])}", '
    return members


def _shapes() -> Iterator[tuple[dict[str, Any], float]]:
    """Yield each kind of event, without ids and times, and how many of a hundred lines are of it."""
    for number, key in enumerate(KEYS):
        audience = _context("audience", f"aud_{number:02d}x", key)
        for member, share in ((True, 0.75 / len(KEYS)), (False, 0.25 / len(KEYS))):
            yield _event(audience, type="identify", traits=CONTACT | {key: member}), 55 * share
            name = "Audience Entered" if member else "Audience Exited"
            called = audience | {"traits": CONTACT}
            properties = {"audience_key": key, key: member}
            yield _event(called, type="track", event=name, properties=properties), 36 * share
    for number, trait in enumerate(TRAITS):
        computed = _context("computed_trait", f"tra_{number}", trait)
        yield _event(computed, type="identify", traits=CONTACT | {trait: 210.95}), 5 / len(TRAITS)
    journey = _context("journey_step", "welcome__step_1", "welcome__step_1") | {"traits": CONTACT}
    step = {"journey_metadata": {"journey_name": "welcome", "epoch_id": "ep_1"}}
    yield _event(journey, type="track", event="Welcome Step", properties=step), 1
    order = {"order_id": "5150", "total": 84.5, "products": [{"sku": "mug-7", "quantity": 2}]}
    called = {"library": LIBRARY, "traits": CONTACT}
    yield _event(called, ELSEWHERE, type="track", event="Order Completed", properties=order), 3


def _context(kind: str, computation: str, key: str) -> dict[str, Any]:
    personas = {"computation_class": kind, "computation_id": computation, "computation_key": key}
    personas |= {"namespace": "spa_9f", "space_id": "spa_9f", "event_emitter_id": "ee_1"}
    return {"library": LIBRARY, "personas": personas}


def _event(context: dict[str, Any], integrations: dict[str, Any] = POSTSCRIPT, **call: Any) -> dict[str, Any]:
    return {"channel": "server", "version": 2, "integrations": integrations, "context": context, **call}


def _around_contact(event: dict[str, Any]) -> tuple[str, str]:
    """Return the text of *event* before and after the place of the contact, to go on an open line."""
    before, after = json.dumps(event)[1:].split('"<contact>": 0, ')
    return before, after + "\n"


def _spoilt(line: str, chance: random.Random) -> str:
    """Return *line* with something about it that an archive should not have, but may."""
    kind = chance.random()
    if kind < 0.1:
        return line[: chance.randrange(1, len(line) - 1)] + "\n"
    if kind < 0.12:
        return chance.choice(["[]", "null", "5", '"text"', "{}"]) + "\n"
    event = json.loads(line)
    *parents, name = chance.choice(ODD_PLACES).split(".")
    holder = event
    for parent in parents:
        holder = holder.setdefault(parent, {})
    if kind < 0.3:
        holder.pop(name, None)
    else:
        holder[name] = chance.choice(ODD_VALUES)
    return json.dumps(event) + "\n"
