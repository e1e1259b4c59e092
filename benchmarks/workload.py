"""Members of audiences and a shop, invented to measure delivery, and the fewest calls they can cost."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from benchmarks.generate import AREA_CODES, FIRST_DAY, POSTSCRIPT

FIRST_SIGN_UP = datetime(2025, 1, 2, tzinfo=UTC)
BATCH, PAGE = 100, 50
"""Values in one lookup, and subscribers on one page."""
SUBSCRIBED, UNUSABLE = 0.60, 0.02
"""Shares of the members: subscribers from the start, and those without a usable contact."""
LATE, LEAVING = 0.01, 0.02
"""Shares of the members: subscribers only after the first sync, and those who leave at the end."""
CONTACTS = ["phone"] * 10 + ["both"] * 7 + ["both, moved"] + ["email"] * 2
"""What the events of twenty members give; one subscribes with another phone than that."""

Record = Mapping[str, Any]
"""A subscriber as the shop has it."""
Joins = Literal["before", "late", "never"]
"""When a person becomes a subscriber: before the first sync, after it, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A person in every audience of a workload."""

    number: int
    contact: Mapping[str, str]
    """``phone`` and ``email`` as the events give them."""
    joins: Joins = "never"
    record: Record | None = None
    """The subscriber; None for a person who never becomes one."""
    found_by: str = ""
    """The contact that leads to the subscriber, ``phone`` or ``email``."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Members of some audiences, all new, and a shop."""

    members: Sequence[Member]
    keys: Sequence[str]
    others: Sequence[Record]
    """Subscribers in no audience."""

    @property
    def subscribed(self) -> list[Member]:
        """Members who subscribe from the start."""
        return [member for member in self.members if member.joins == "before"]

    @property
    def late(self) -> list[Member]:
        """Members who subscribe after the first sync."""
        return [member for member in self.members if member.joins == "late"]

    @property
    def leaving(self) -> list[Member]:
        """Subscribed members who leave every audience at the end."""
        return self.subscribed[: math.ceil(len(self.members) * LEAVING)]

    @property
    def shop(self) -> list[Record]:
        """Subscribers at the start."""
        return [*self.others, *records(self.subscribed)]


def records(members: Sequence[Member]) -> list[Record]:
    """Return the subscribers that these members are."""
    return [member.record for member in members if member.record is not None]


def make_workload(members: int, audiences: int, others: int) -> Workload:
    """Invent a workload, always the same one for the same numbers."""
    phones = _phones()
    unusable, subscribed = math.ceil(members * UNUSABLE), round(members * SUBSCRIBED)
    before_late = subscribed + math.ceil(members * LATE)
    made = [_unusable(number) for number in range(unusable)]
    for place in range(members - unusable):
        joins: Joins = "before" if place < subscribed else "late" if place < before_late else "never"
        made.append(_member(unusable + place, CONTACTS[place % len(CONTACTS)], joins, phones))
    random.Random(1).shuffle(made)
    return Workload(
        members=made,
        keys=[f"buyers_last_{30 * (1 + number)}_days" for number in range(audiences)],
        others=[_record(f"other{number}", next(phones), None, number) for number in range(others)],
    )


def _unusable(number: int) -> Member:
    contact = {"phone": "n/a"} if number % 2 else {"email": f"shopper{number}.example.test"}
    return Member(number=number, contact=contact)


def _member(number: int, kind: str, joins: Joins, phones: Iterator[str]) -> Member:
    phone, email = next(phones), f"shopper{number}@example.test"
    contact = {"phone": phone} if kind == "phone" else {"phone": phone, "email": email}
    if kind == "email":
        contact = {"email": email}
    if joins == "never":
        return Member(number=number, contact=contact)
    found_by = "phone" if kind in {"phone", "both"} else "email"
    own_phone = phone if found_by == "phone" else next(phones)
    record = _record(f"member{number}", own_phone, email, None if joins == "late" else number)
    return Member(number=number, contact=contact, joins=joins, record=record, found_by=found_by)


def _record(name: str, phone: str, email: str | None, number: int | None) -> Record:
    record: Record = {"id": f"s_{name}", "phone_number": phone, "email": email}
    if number is None:
        return record  # signs up when it is added
    # Long ago, one after the other: a refresh must not meet the whole shop because it was made a minute
    # before, or all at once.
    then = f"{FIRST_SIGN_UP + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}"
    return {**record, "created_at": then, "updated_at": then}


def _phones() -> Iterator[str]:
    """Yield numbers kept for fiction, those of areas in use first."""
    for area in (*AREA_CODES, *(area for area in range(200, 1000) if area not in AREA_CODES)):
        for line in range(100, 200):
            yield f"+1{area}555{line:04}"


def write_events(path: Path, members: Sequence[Member], keys: Sequence[str], *, entered: bool) -> None:
    """Write an identify call for each audience and member, one audience after the other, as Engage does."""
    first_day = FIRST_DAY + timedelta(days=0 if entered else 1)
    with path.open("w", encoding="ascii", newline="\n") as file:
        for number, (key, member) in enumerate((key, member) for key in keys for member in members):
            at = f"{first_day + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}.000Z"
            event = {
                "type": "identify",
                "messageId": f"personas_{path.stem}_{number:08}",
                "userId": f"cus_{member.number:06}",
                "timestamp": at,
                "receivedAt": at,
                "traits": {**member.contact, key: entered},
                "integrations": POSTSCRIPT,
                "context": {"personas": _personas(key)},
            }
            file.write(json.dumps(event) + "\n")


def _personas(key: str) -> dict[str, str]:
    return {"computation_class": "audience", "computation_id": f"aud_{key}", "computation_key": key}


# --- the least that must be sent


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """The fewest calls that do a job, by kind."""

    reads: int
    writes: int
    custom_events: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.reads + self.writes + self.custom_events


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What it takes to know who of the members subscribes, in either of two ways."""

    phones: int
    """Asked for."""
    found_by_phone: int
    emails: int
    """Asked for after no phone found anybody."""
    found_by_email: int
    subscribers: int
    """In the shop."""

    @property
    def by_phone(self) -> int:
        """Calls to look the phones up."""
        return lookup_calls(self.phones, self.found_by_phone)

    @property
    def by_email(self) -> int:
        """Calls to look the emails up."""
        return lookup_calls(self.emails, self.found_by_email)

    @property
    def listing(self) -> int:
        """Calls to read the whole shop."""
        return math.ceil(self.subscribers / PAGE)

    @property
    def least(self) -> int:
        """Calls of the cheaper way."""
        return min(self.by_phone + self.by_email, self.listing)


def first_reads(workload: Workload) -> Reads:
    """Return what must be read for a first sync."""
    found = {m.number for m in workload.subscribed if m.found_by == "phone"}
    unmatched = [m for m in workload.members if m.number not in found]
    return Reads(
        phones=sum(m.contact.get("phone", "").startswith("+") for m in workload.members),
        found_by_phone=len(found),
        emails=sum("@" in m.contact.get("email", "") for m in unmatched),
        found_by_email=len(workload.subscribed) - len(found),
        subscribers=len(workload.shop),
    )


def lookup_calls(asked: int, found: int) -> int:
    """Return the fewest calls that look so many values up: full batches, or full pages of those found.

    >>> lookup_calls(530, 306), lookup_calls(100, 30), lookup_calls(0, 0)
    (7, 1, 0)
    """
    return max(math.ceil(asked / BATCH), math.ceil(found / PAGE))


def first_minimum(workload: Workload) -> Minimum:
    """Return the least for a first sync: know who subscribes, one PATCH each, a custom event per audience."""
    changed = len(workload.subscribed)
    reads = first_reads(workload).least
    return Minimum(reads=reads, writes=changed, custom_events=changed * len(workload.keys))


def later_minimum(workload: Workload, *, touched: int, changed: int) -> Minimum:
    """Return the least for a later sync: pages of the subscribers *touched* since, and those *changed*."""
    reads = max(1, math.ceil(touched / PAGE))
    return Minimum(reads=reads, writes=changed, custom_events=changed * len(workload.keys))
