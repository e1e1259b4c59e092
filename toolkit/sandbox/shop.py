"""The shop: its subscribers and accepted custom events, and every change that can come over them.

A subscriber is a dict that is never changed in place: a change puts a new dict in its stead, so
whoever holds an older one, the seed above all, holds it unharmed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .custom_events import accepted_body, event_id
from .edits import edited
from .history import History
from .instants import format_instant
from .knobs import Knobs
from .listing import ListQuery, phone_digits, sort_key
from .records import completed
from .roll import ORDERED, DuplicateIdError, Roll, Subscriber
from .webhooks import Webhooks


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a shop holds at one moment."""

    subscribers: tuple[Subscriber, ...]
    numbers: Mapping[str, int]
    """Of each id, the number of the sign-up, also of those who are gone."""
    custom_events: tuple[dict[str, Any], ...] = ()
    webhooks: Mapping[str, dict[str, Any]]


class Shop:
    """One shop's state, in memory."""

    def __init__(self, seed: Iterable[Any], *, clock: Callable[[], datetime]) -> None:
        """Start with *seed*: subscriber records, completed where they are silent."""
        self._clock = clock
        self.webhooks = Webhooks()
        now = self.now()
        first = tuple(completed(record, now) for record in seed)
        numbers = {subscriber["id"]: number for number, subscriber in enumerate(first, start=1)}
        self._seed = Contents(subscribers=first, numbers=numbers, webhooks={})
        self.reset()

    def now(self) -> str:
        """Write the present time as subscribers carry it."""
        return format_instant(self._clock())

    def reset(self) -> None:
        """Go back to the seed."""
        self.restore(self._seed)

    def contents(self) -> Contents:
        """Return all that the shop holds."""
        return Contents(
            subscribers=self._roll.in_order_of_arrival(),
            numbers=dict(self._numbers),
            custom_events=tuple(self.custom_events),
            webhooks=self.webhooks.contents(),
        )

    def restore(self, contents: Contents | None) -> None:
        """Hold these contents and nothing else; None stands for the seed."""
        held = contents or self._seed
        self.custom_events = list(held.custom_events)
        self._first_events: dict[str, str] = {
            e["external_id"]: e["event_id"] for e in reversed(held.custom_events) if e.get("external_id")
        }
        self.webhooks.restore(held.webhooks)
        self._numbers = dict(held.numbers)
        self._ids = {number: subscriber_id for subscriber_id, number in self._numbers.items()}
        self._history = History()
        self._roll = Roll(held.subscribers)

    # Reading

    def __len__(self) -> int:
        return len(self._roll)

    def __contains__(self, subscriber_id: object) -> bool:
        return subscriber_id in self._roll

    def __iter__(self) -> Iterator[Subscriber]:
        """Go through all subscribers as they are now, oldest first, whatever changes meanwhile."""
        return iter(self._roll.oldest_first())

    def find(self, subscriber_id: str, knobs: Knobs) -> Subscriber | None:
        """Return one subscriber as the API shows it, or None."""
        return self._past(knobs).get(subscriber_id, self._roll.get(subscriber_id))

    def number_of(self, subscriber_id: str) -> int:
        """Return which sign-up this was, from 1; the number stays for ever."""
        return self._numbers[subscriber_id]

    def numbered(self, number: int) -> str | None:
        """Return the id of the sign-up with that number; None when there was none."""
        return self._ids.get(number)

    def page(self, query: ListQuery, knobs: Knobs) -> tuple[list[Subscriber], int]:
        """Return the subscribers on one page of the list as the API shows them, and how many match in all."""
        past = self._past(knobs)
        ids = self._listed_then(past, query) if past else self._roll.listed(query)
        start = (query.page - 1) * knobs.page_size
        shown = ids[start : start + knobs.page_size]
        return [past.get(each) or self._roll[each] for each in shown], len(ids)

    def find_by_phone(self, phone: str) -> tuple[str, ...]:
        """Return the ids of those with these digits."""
        return self._roll.with_phone(phone_digits(phone))

    def find_by_email(self, email: str) -> tuple[str, ...]:
        """Return the ids of those with this email, the most recent sign-up first."""
        return self._roll.with_email(email)

    # Changing

    def add(self, records: Iterable[Any]) -> int:
        """Add late sign-ups, all or none, and return how many; a ValueError says what is wrong."""
        now = self.now()
        subscribers = [completed(record, now) for record in records]
        self._check_new(subscribers)
        for subscriber in subscribers:
            # A number is never given again, not even when its person is gone or comes back.
            number = self._numbers.setdefault(subscriber["id"], len(self._numbers) + 1)
            self._ids[number] = subscriber["id"]
            self._change(subscriber["id"], subscriber)
        return len(subscribers)

    def patch(self, subscriber_id: str, body: dict[str, Any], knobs: Knobs) -> Subscriber:
        """Apply a PATCH body and return the subscriber as it is then."""
        old = self._roll[subscriber_id]
        new = edited(old, body, self.now(), knobs)
        if new is not old:
            self._change(subscriber_id, new)
        return new

    def unsubscribe(self, subscriber_id: str) -> None:
        """Take back both consents."""
        refused = {"promotional": {"can_send": False}, "transactional": {"can_send": False}}
        old = self._roll[subscriber_id]
        self._change(subscriber_id, {**old, "subscriptions": refused, "updated_at": self.now()})

    def redact(self, subscriber_id: str) -> None:
        """Forget one subscriber."""
        self._change(subscriber_id, None)

    def append_elsewhere(self, subscriber_id: str, name: str, value: str) -> None:
        """Append to a list property, as another writer would; anything but a list is left alone."""
        old = self._roll[subscriber_id]
        current = old["properties"].get(name) or []
        if isinstance(current, list) and value not in current:
            properties = {**old["properties"], name: [*current, value]}
            self._change(subscriber_id, {**old, "properties": properties, "updated_at": self.now()})

    def accept_custom_event(self, body: dict[str, Any], knobs: Knobs) -> str:
        """Record a custom event and whom it was matched to; return its id."""
        stored = accepted_body(body, knobs)
        external_id = stored.get("external_id")
        if knobs.event_dedupe and external_id in self._first_events:
            return self._first_events[external_id]
        name = event_id(len(self.custom_events))
        if external_id:
            self._first_events.setdefault(external_id, name)
        record = {**stored, "event_id": name, "matched_subscriber_id": self._match(stored, knobs)}
        self.custom_events.append(record)
        return name

    def id_meant(self, given: str, knobs: Knobs) -> str | None:
        """Return the id that the API's own form of an id stands for; None when it stands for none."""
        if knobs.ids == "text":
            return given
        return self.numbered(int(given)) if re.fullmatch("[0-9]{1,15}", given) else None

    # Inside

    def _match(self, body: dict[str, Any], knobs: Knobs) -> str | None:
        """Find whom a custom event means: by id, then phone, then email."""
        given = body.get("subscriber_id")
        by_id = None if given is None else self.id_meant(str(given), knobs)
        if by_id in self._roll:
            return by_id
        found = self.find_by_phone(body.get("phone") or "") or self.find_by_email(body.get("email") or "")
        return found[0] if found else None

    def _past(self, knobs: Knobs) -> Mapping[str, Subscriber | None]:
        """Return those whom a lagging reader sees as they were before, and how they were."""
        if not knobs.read_lag_ms:
            return {}
        return self._history.since(self._clock() - timedelta(milliseconds=knobs.read_lag_ms))

    def _listed_then(self, past: Mapping[str, Subscriber | None], query: ListQuery) -> list[str]:
        """Return the ids on all pages of the list that a lagging reader sees."""
        seen = [(each, self._roll[each]) for each in self._roll.listed(query) if each not in past]
        seen += [(each, then) for each, then in past.items() if then is not None and query.matches(then)]
        if query.sort_field in ORDERED:
            seen.sort(key=lambda pair: (pair[1][query.sort_field], pair[0]), reverse=query.descending)
        else:
            key = sort_key(query.sort_field)
            seen.sort(key=lambda pair: (pair[1]["created_at"], pair[0]))
            seen.sort(key=lambda pair: key(pair[1]), reverse=query.descending)
        return [each for each, _ in seen]

    def _check_new(self, subscribers: Iterable[Subscriber]) -> None:
        taken: set[str] = set()
        for subscriber in subscribers:
            subscriber_id = subscriber["id"]
            if subscriber_id in self._roll or subscriber_id in taken:
                raise DuplicateIdError(f"There is already a subscriber with the id {subscriber_id!r}.")
            taken.add(subscriber_id)

    def _change(self, subscriber_id: str, new: Subscriber | None) -> None:
        """Put *new* where the subscriber was, or was not; None takes them out."""
        old = self._roll.get(subscriber_id)
        self._history.remember(self._clock(), subscriber_id, old)
        if old is not None:
            self._roll.take(subscriber_id)
        if new is not None:
            self._roll.put(new)
