"""Segment's side: people, what Segment says of them, and the archives that a run reads."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .world import World

AUDIENCES = ("vip", "lapsed_90d", "cart", "winback", "big_spender")


@dataclass(kw_only=True)
class Person:
    """A person Segment knows."""

    number: int
    has_user_id: bool
    phone: str | None
    """Digits with country code."""
    email: str | None

    @property
    def name(self) -> str:
        """How the toolkit names them: the user id, else the anonymous id."""
        return f"u{self.number}" if self.has_user_id else f"anon-{self.number}"


@dataclass(kw_only=True)
class Segment:
    """The workspace, and its archive so far."""

    world: World
    chance: random.Random
    people: list[Person] = field(default_factory=list)
    audiences: tuple[str, ...] = ()
    events: list[dict[str, Any]] = field(default_factory=list)
    """In the order in which they reached the archive."""
    _numbers: int = 0
    _members: dict[tuple[int, str], bool] = field(default_factory=dict)

    def new_phone(self) -> str:
        self._numbers += 1
        return (
            f"1202555{100 + self._numbers % 100:04}" if self._numbers < 100 else f"1312555{self._numbers:04}"
        )

    def new_email(self) -> str:
        self._numbers += 1
        return f"p{self._numbers}@mail.test"

    def meet(self) -> Person:
        """Let a new person appear."""
        kind = self.chance.random()
        person = Person(
            number=len(self.people),
            has_user_id=self.chance.random() < 0.8,
            phone=self.new_phone() if kind < 0.8 else None,
            email=self.new_email() if kind > 0.4 else None,
        )
        self.people.append(person)
        return person

    def say(self, count: int) -> None:
        """Add so many events about people and audiences."""
        for _ in range(count):
            person = self.chance.choice(self.people)
            kind = self.chance.choices(
                ("change", "repeat", "duplicate", "late", "contact", "move"), (12, 2, 1, 2, 2, 1)
            )[0]
            match kind:
                case "change":
                    self._speak(person, self.chance.choice(self.audiences), flip=True)
                case "repeat":
                    self._speak(person, self.chance.choice(self.audiences), flip=False)
                case "duplicate" if self.events:
                    self.events.append(self.chance.choice(self.events))
                case "late":
                    age = timedelta(hours=self.chance.randrange(1, 200))
                    self._speak(person, self.chance.choice(self.audiences), flip=True, ago=age)
                case "contact":
                    if self.chance.random() < 0.5:
                        person.phone = self.new_phone()
                    else:
                        person.email = self.new_email()
                    self._identify(person, {})
                case "move":
                    other = self.chance.choice(self.people)
                    if other is not person and person.phone:
                        other.phone, person.phone = person.phone, self.new_phone()
                        self._identify(person, {})
                        self._identify(other, {})

    def _speak(self, person: Person, key: str, *, flip: bool, ago: timedelta | None = None) -> None:
        member = self._members.get((person.number, key), False) != flip
        if ago is None:
            self._members[person.number, key] = member
        self._identify(person, {key: member}, key=key, ago=ago)

    def _identify(
        self, person: Person, traits: dict[str, Any], *, key: str | None = None, ago: timedelta | None = None
    ) -> None:
        self.world.advance(self.chance.uniform(1, 90))
        received = self.world.now()
        at = received - (ago or timedelta(seconds=self.chance.uniform(0, 30)))
        shows_contact = key is None or self.chance.random() < 0.7
        contact = {
            n: v for n, v in (("phone", person.phone and f"+{person.phone}"), ("email", person.email)) if v
        }
        event: dict[str, Any] = {
            "type": "identify",
            "messageId": f"m{len(self.events)}x{self.chance.randrange(10**6)}",
            **({"userId": person.name} if person.has_user_id else {"anonymousId": person.name}),
            "timestamp": _time(at),
            "receivedAt": _time(received),
            "traits": {**traits, **(contact if shows_contact else {})},
        }
        if key is not None:
            event["context"] = {
                "personas": {
                    "computation_class": "audience",
                    "computation_id": f"aud_{key}",
                    "computation_key": key,
                }
            }
            event["integrations"] = {"All": False, "Postscript": True}
            if self.chance.random() < 0.2:
                props = {"audience_key": key, **traits}
                event |= {"type": "track", "event": "Audience Entered", "properties": props}
                event["context"]["traits"] = event.pop("traits")
        self.events.append(event)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
