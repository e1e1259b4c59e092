"""Segment's side: people, what Segment says of them, and the archives that a run reads."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from .world import World

AUDIENCES = ("vip", "lapsed_90d", "cart", "winback", "big_spender")
TRAITS = ("t_tier", "t_score")
"""Computed traits, where a workspace sends them."""


@dataclass(kw_only=True)
class Person:
    """A person Segment knows."""

    number: int
    has_user_id: bool
    phone: str | None
    """Digits with country code."""
    email: str | None
    written_as: str = ""
    """The user id where it is a contact."""

    @property
    def name(self) -> str:
        """How the toolkit names them: the user id, else the anonymous id."""
        return (self.written_as or f"u{self.number}") if self.has_user_id else f"anon-{self.number}"


@dataclass(kw_only=True)
class Segment:
    """The workspace, and its archive so far."""

    world: World
    chance: random.Random
    people: list[Person] = field(default_factory=list)
    audiences: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
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
        if self.chance.random() < 0.1:
            contact = person.email or f"+{person.phone}"
            person.written_as = quote(contact) if self.chance.random() < 0.5 else contact
        self.people.append(person)
        return person

    def say(self, count: int) -> None:
        """Add so many events about people and audiences."""
        for _ in range(count):
            person = self.chance.choice(self.people)
            if self.traits and self.chance.random() < 0.3:
                self._compute(person, self.chance.choice(self.traits))
            else:
                self._happen(person)

    def _happen(self, person: Person) -> None:
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

    def _compute(self, person: Person, trait: str) -> None:
        value = self.chance.choice(("gold", "silver", 7, 12, True, ["a", "b"]))
        ago = timedelta(hours=self.chance.randrange(1, 200)) if self.chance.random() < 0.2 else None
        self._identify(person, {trait: value}, key=trait, ago=ago, kind="computed_trait")

    def listing(self, known: dict[str, dict[str, str]]) -> list[dict[str, str | None]]:
        """Return a part of the people as a member list, with the contacts that are *known* of them."""
        rows: list[dict[str, str | None]] = []
        for person in self.chance.sample(self.people, self.chance.randint(1, len(self.people))):
            own = {"phone": person.phone, "email": person.email}
            name = f"user:{person.name}" if person.has_user_id else f"anonymous:{person.name}"
            found = known.get(name, own)
            ids = ("user_id", "anonymous_id") if person.has_user_id else ("anonymous_id", "user_id")
            phone = found.get("phone")
            rows.append(
                {
                    ids[0]: person.name,
                    ids[1]: None,
                    "phone": phone and f"+{phone}",
                    "email": found.get("email"),
                }
            )
        return rows

    def _identify(
        self,
        person: Person,
        traits: dict[str, Any],
        *,
        key: str | None = None,
        ago: timedelta | None = None,
        kind: str = "audience",
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
            "timestamp": time_text(at),
            "receivedAt": time_text(received),
            "traits": {**traits, **(contact if shows_contact else {})},
        }
        if key is not None:
            event["context"] = {
                "personas": {
                    "computation_class": kind,
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


def time_text(moment: datetime) -> str:
    """Write a time as Segment does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
