"""Postscript and its people in this process: the sandbox's shop without a server, and every call it had."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from toolkit.sandbox import PROFILES, Knobs
from toolkit.sandbox.door import Door
from toolkit.sandbox.routes import Call, answer, subscriber_named
from toolkit.sandbox.shop import Shop
from toolkit.sandbox.wire import Reply

from .world import World

KEY = "sk_simulated_7f3a"
LIST = "Segment Audiences"
FOREIGN = ("other_tool", "loyalty_gold")
"""Keys of another tool in the same list."""
WRONG = {"ignored": {"in_encoding": "ignored"}, "stale": {"read_lag_ms": 600_000}}
"""Troubles in which the shop itself answers another question."""


@dataclass(kw_only=True)
class Entry:
    """One call on its way to the shop."""

    at: float
    process: str
    method: str
    path: str
    body: Any
    status: int = 0
    """0 where something between answered, or nothing did, and the shop never had it."""
    subscriber: str | None = None
    before: dict[str, Any] | None = None
    """The subscriber as the call met them."""
    after: dict[str, Any] | None = None


def listed(record: dict[str, Any] | None) -> list[str]:
    """Return the audiences of a subscriber record."""
    held = (record or {}).get("properties", {}).get(LIST)
    return [*held] if isinstance(held, list) else []


@dataclass(kw_only=True)
class Postscript:
    """One shop, what it was asked, and what its people and other tools do."""

    world: World
    knobs: Knobs
    ahead: timedelta = timedelta()
    """How far its clock is ahead of the toolkit's."""
    rounded_to: int = 0
    """Seconds to which it rounds ``updated_at``; 0 for none."""
    entries: list[Entry] = field(default_factory=list)
    foreign_edits: list[tuple[float, str]] = field(default_factory=list)
    """When another tool changed the list or a property of which subscriber."""
    contacts_of: dict[str, set[str]] = field(default_factory=dict)
    """Subscriber → every phone (digits) and email (folded) they ever had."""
    changed_at: dict[str, float] = field(default_factory=dict)
    """Subscriber → when they last signed up, or changed their contacts."""
    redacted: dict[str, float] = field(default_factory=dict)
    sign_ups: int = 0

    def __post_init__(self) -> None:
        self.shop = Shop([], clock=lambda: self.world.now() + self.ahead)
        self.door = Door([KEY], clock=self.world.monotonic)

    # --- answering ------------------------------------------------------------------------------------

    def read(self, request: requests.PreparedRequest) -> tuple[Call, str | None]:
        """Return a request as the shop reads it, and the subscriber that it is about."""
        parts, body = urlsplit(request.url or ""), request.body or b""
        call = Call(
            method=request.method or "",
            path=parts.path,
            raw_query=parts.query,
            body=body.encode() if isinstance(body, str) else body,
            knobs=self.knobs,
        )
        return call, subscriber_named(self.shop, call)

    def enter(self, call: Call, subscriber: str | None, process: str) -> Entry:
        """Write down a call that has come as far as the shop's door."""
        entry = Entry(
            at=self.world.seconds,
            process=process,
            method=call.method,
            path=call.path,
            body=call.document if call.body else None,
            subscriber=subscriber,
            before=self.record(subscriber),
        )
        self.entries.append(entry)
        return entry

    def carry_out(self, entry: Entry, call: Call, headers: Any, trouble: str = "") -> Reply:
        """Carry a request out and return the answer."""
        if trouble in WRONG:
            call = replace(call, knobs=self.knobs.changed(WRONG[trouble]))
        reply = self.door.admit(headers, self.knobs).refusal or answer(self.shop, call, has_shop=True)
        entry.status, entry.after = reply.status, self.record(entry.subscriber)
        return reply

    # --- looking --------------------------------------------------------------------------------------

    def record(self, subscriber: str | None) -> dict[str, Any] | None:
        return self.shop.subscribers.get(subscriber) if subscriber else None

    @property
    def people(self) -> list[str]:
        return [record["id"] for record in self.shop]

    def lists(self) -> dict[str, list[str]]:
        return {record["id"]: listed(record) for record in self.shop}

    def named_in(self, lookup: str) -> set[str]:
        """Return the subscribers that the path of a lookup asks for."""
        asked = {value.lstrip("+").lower() for value in re.split("[=&,]", unquote(lookup))}
        return {who for who, known in self.contacts_of.items() if known & asked}

    # --- what others do -------------------------------------------------------------------------------

    def sign_up(self, *, phone: str | None, email: str | None, chance: random.Random) -> str:
        """Let a person subscribe; no phone twice in a shop."""
        phone = None if self.shop.having("phone_number", phone) else phone
        self.sign_ups += 1
        new = f"s_{self.sign_ups:03}x{chance.randrange(100)}"
        properties: dict[str, Any] = {"points": chance.randrange(100)} if chance.random() < 0.7 else {}
        if chance.random() < 0.2:
            properties[LIST] = [chance.choice(FOREIGN)]
        record: dict[str, Any] = {"id": new, "phone_number": phone and f"+{phone}", "properties": properties}
        if email:
            record["email"] = (
                email.upper() if chance.random() < 0.2 and self.knobs.email_case != "sensitive" else email
            )
        self.shop.add([record])
        self._moved(new, phone, email)
        return new

    def redact(self, subscriber: str) -> None:
        self.shop.redact(subscriber)
        self.redacted[subscriber] = self.world.seconds

    def edit(self, subscriber: str, **fields: Any) -> None:
        """Change a subscriber as Postscript's own app would."""
        old = self.record(subscriber)
        if old is None:
            return
        new = {**old, **fields, "updated_at": self.shop.now()}
        self.shop.change(subscriber, new)
        if fields.keys() & {"phone_number", "email"}:
            self._moved(subscriber, (new.get("phone_number") or "").lstrip("+"), new.get("email"))

    def edit_elsewhere(self, subscriber: str, chance: random.Random) -> None:
        """Let another tool change its own key in the list, or a property of its own."""
        old = self.record(subscriber)
        if old is None:
            return
        properties, key = dict(old["properties"]), chance.choice(FOREIGN)
        if chance.random() < 0.5:
            properties[chance.choice(("points", "tier", "note"))] = chance.randrange(1000)
        else:
            held = listed(old)
            properties[LIST] = [k for k in held if k != key] if key in held else [*held, key]
        self.foreign_edits.append((self.world.seconds, subscriber))
        self.edit(subscriber, properties=properties)

    def _moved(self, subscriber: str, phone: str | None, email: str | None) -> None:
        known = self.contacts_of.setdefault(subscriber, set())
        known |= {contact for contact in (phone, (email or "").lower()) if contact}
        self.changed_at[subscriber] = self.world.seconds


def drawn_knobs(chance: random.Random) -> Knobs:
    """Draw how this shop answers the questions that Postscript leaves open."""
    knobs = PROFILES[chance.choices(("documented", "hostile", "official-mock"), (6, 3, 2))[0]]
    changes: dict[str, Any] = {
        "page_size": chance.choice((2, 3, 5, 10, 50)),
        "max_in": chance.choice((2, 5, 25, 100)),
        "bumps_updated_at": chance.random() < 0.9,
    }
    if chance.random() < 0.3:
        changes["in_encoding"] = chance.choice(("repeated", "comma"))
        changes["phone_form"] = chance.choice(("any", "digits_required", "plus_required"))
    return knobs.changed(changes)
