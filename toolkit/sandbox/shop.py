"""The shop: its subscribers and accepted custom events, and every change that can come over them.

A subscriber is a dict that is never changed in place: a change puts a new dict in its stead, so
whoever holds an older one, the seed above all, holds it unharmed.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .knobs import Knobs
from .listing import ListQuery, comparable, digits_of_query
from .records import Record, accepted_event, completed, patched
from .wire import format_timestamp

_CHANGES_KEPT = timedelta(seconds=3601)
"""A little more than the longest lag that can be set."""
_INDEXED = ("phone_number", "email")
_REMEMBERED_LISTS = 8
"""How many lists are kept until something changes, so that paging is quick."""


class DuplicateIdError(ValueError):
    """A subscriber of that id is already there."""

    def __init__(self, subscriber_id: str) -> None:
        super().__init__(f"There is already a subscriber with the id {subscriber_id!r}.")


class SubscriberIndex(dict[str, Record]):
    """The subscribers of a shop by id; also found by phone and email, so that no lookup is a scan."""

    def __init__(self, subscribers: Iterable[Record]) -> None:
        super().__init__()
        self._by: dict[str, dict[str, tuple[str, ...]]] = {field: {} for field in _INDEXED}
        self._lists: dict[ListQuery, list[Record]] = {}
        for subscriber in subscribers:
            if subscriber["id"] in self:
                raise DuplicateIdError(subscriber["id"])
            self[subscriber["id"]] = subscriber

    def __setitem__(self, subscriber_id: str, subscriber: Record) -> None:
        if subscriber_id in self:
            del self[subscriber_id]
        super().__setitem__(subscriber_id, subscriber)
        for index, value in self._entries(subscriber):
            index[value] = (*index.get(value, ()), subscriber_id)
        self._lists.clear()

    def __delitem__(self, subscriber_id: str) -> None:
        for index, value in self._entries(self[subscriber_id]):
            remaining = tuple(each for each in index.pop(value) if each != subscriber_id)
            if remaining:
                index[value] = remaining
        super().__delitem__(subscriber_id)
        self._lists.clear()

    def with_phone(self, phone: str) -> tuple[str, ...]:
        """Return the ids of those with the digits of *phone*."""
        return self._by["phone_number"].get(digits_of_query(phone), ())

    def with_email(self, email: str) -> tuple[str, ...]:
        """Return the ids of those with this email, the most recent sign-up first."""
        ids = self._by["email"].get(email.casefold(), ())
        return tuple(sorted(ids, key=lambda each: (self[each]["created_at"], each), reverse=True))

    def listed(self, query: ListQuery) -> Sequence[Record]:
        """Return the subscribers on all pages of a list, in its order."""
        whole = replace(query, page=1)
        if whole not in self._lists:
            if len(self._lists) >= _REMEMBERED_LISTS:
                self._lists.clear()
            self._lists[whole] = whole.select(self._candidates(whole))
        return self._lists[whole]

    def _entries(self, subscriber: Record) -> Iterator[tuple[dict[str, tuple[str, ...]], str]]:
        for field, index in self._by.items():
            if value := comparable(field, subscriber.get(field)):
                yield index, value

    def _candidates(self, query: ListQuery) -> Iterable[Record]:
        """Return the few that the index knows to hold all matches; everyone when it cannot tell."""
        for condition in query.filters:
            if condition.field in _INDEXED and condition.operator in {"eq", "in"}:
                index = self._by[condition.field]
                ids = {each for value in condition.wanted for each in index.get(value, ())}
                return [self[each] for each in ids]
        return self.values()


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a shop holds at one moment."""

    subscribers: tuple[Record, ...]
    numbers: Mapping[str, int]
    """Of each id, the number of the sign-up, also of those who are gone."""
    custom_events: tuple[Record, ...] = ()


class Shop:
    """One shop's state, in memory."""

    def __init__(self, seed: Iterable[object], *, clock: Callable[[], datetime]) -> None:
        """Start with *seed*: subscriber records, completed where they are silent."""
        self._clock = clock
        now = self.now()
        first = tuple(completed(record, now) for record in seed)
        numbers = {subscriber["id"]: number for number, subscriber in enumerate(first, start=1)}
        self._seed = Contents(subscribers=first, numbers=numbers)
        self.restore(None)

    def now(self) -> str:
        """Write the present time as subscribers carry it."""
        return format_timestamp(self._clock())

    def contents(self) -> Contents:
        """Return all that the shop holds."""
        return Contents(
            subscribers=tuple(self.subscribers.values()),
            numbers=dict(self._numbers),
            custom_events=tuple(self.custom_events),
        )

    def restore(self, contents: Contents | None) -> None:
        """Hold these contents and nothing else; None stands for the seed."""
        held = contents or self._seed
        self.custom_events = list(held.custom_events)
        self._first_events: dict[str, str] = {
            e["external_id"]: e["event_id"] for e in reversed(held.custom_events) if e.get("external_id")
        }
        self._numbers = dict(held.numbers)
        self._ids = {number: subscriber_id for subscriber_id, number in self._numbers.items()}
        self._changes: deque[tuple[datetime, str, Record | None]] = deque()
        """When which subscriber changed, and what they were before; None before a sign-up."""
        self.subscribers = SubscriberIndex(held.subscribers)

    # Reading

    def __iter__(self) -> Iterator[Record]:
        """Go through all subscribers as they are now, oldest first, whatever changes meanwhile."""
        return iter(self.subscribers.listed(ListQuery()))

    def find(self, subscriber_id: str, knobs: Knobs) -> Record | None:
        """Return one subscriber as the API shows them, or None."""
        return self._past(knobs).get(subscriber_id, self.subscribers.get(subscriber_id))

    def number_of(self, subscriber_id: str) -> int:
        """Return which sign-up this was, from 1; the number stays for ever."""
        return self._numbers[subscriber_id]

    def id_of(self, given: str, knobs: Knobs) -> str | None:
        """Return the id that the API's own form of an id stands for; None when it stands for none."""
        if knobs.ids == "text":
            return given
        return self._ids.get(int(given)) if re.fullmatch("[0-9]{1,15}", given) else None

    def page(self, query: ListQuery, knobs: Knobs) -> tuple[Sequence[Record], int]:
        """Return the subscribers on one page of the list as the API shows them, and how many match in all."""
        past = self._past(knobs)
        if past:
            seen = [each for each in self.subscribers.values() if each["id"] not in past]
            listed: Sequence[Record] = query.select([*seen, *filter(None, past.values())])
        else:
            listed = self.subscribers.listed(query)
        start = (query.page - 1) * knobs.page_size
        return listed[start : start + knobs.page_size], len(listed)

    # Changing

    def add(self, records: Iterable[object]) -> int:
        """Add late sign-ups, all or none, and return how many; a ValueError says what is wrong."""
        now = self.now()
        subscribers = [completed(record, now) for record in records]
        taken: set[str] = set()
        for subscriber in subscribers:
            if subscriber["id"] in self.subscribers or subscriber["id"] in taken:
                raise DuplicateIdError(subscriber["id"])
            taken.add(subscriber["id"])
        for subscriber in subscribers:
            # A number is never given again, not even when its subscriber is gone or comes back.
            number = self._numbers.setdefault(subscriber["id"], len(self._numbers) + 1)
            self._ids[number] = subscriber["id"]
            self.change(subscriber["id"], subscriber)
        return len(subscribers)

    def change(self, subscriber_id: str, new: Record | None) -> None:
        """Put *new* where the subscriber was, or was not; None takes them out."""
        now = self._clock()
        while self._changes and self._changes[0][0] < now - _CHANGES_KEPT:
            self._changes.popleft()
        self._changes.append((now, subscriber_id, self.subscribers.get(subscriber_id)))
        if new is None:
            del self.subscribers[subscriber_id]
        else:
            self.subscribers[subscriber_id] = new

    def patch(self, subscriber_id: str, body: Record, knobs: Knobs) -> Record:
        """Apply a PATCH body and return the subscriber as it is then."""
        old = self.subscribers[subscriber_id]
        new = patched(old, body, self.now(), knobs)
        if new is not old:
            self.change(subscriber_id, new)
        return new

    def redact(self, subscriber_id: str) -> None:
        """Forget one subscriber."""
        self.change(subscriber_id, None)

    def append_elsewhere(self, subscriber_id: str, name: str, value: str) -> None:
        """Append to a list property, as another writer would; anything but a list is left alone."""
        old = self.subscribers[subscriber_id]
        current = old["properties"].get(name) or []
        if isinstance(current, list) and value not in current:
            properties = {**old["properties"], name: [*current, value]}
            self.change(subscriber_id, {**old, "properties": properties, "updated_at": self.now()})

    def accept_custom_event(self, body: Record, knobs: Knobs) -> str:
        """Record a custom event and the subscriber it was matched to; return its id."""
        stored = accepted_event(body, knobs)
        external_id = stored.get("external_id")
        if knobs.event_dedupe and external_id in self._first_events:
            return self._first_events[external_id]
        digest = hashlib.sha256(f"custom event {len(self.custom_events)}".encode()).hexdigest()
        event_id = f"{digest[:4]}-{digest[4:8]}-{digest[8:12]}"
        if external_id:
            self._first_events.setdefault(external_id, event_id)
        matched = self._matched(stored, knobs)
        self.custom_events.append({**stored, "event_id": event_id, "matched_subscriber_id": matched})
        return event_id

    # Inside

    def _matched(self, body: Record, knobs: Knobs) -> str | None:
        """Find the subscriber of a custom event: by id, then phone, then email."""
        given = body.get("subscriber_id")
        by_id = None if given is None else self.id_of(str(given), knobs)
        if by_id in self.subscribers:
            return by_id
        found = self.subscribers.with_phone(body.get("phone") or "") or self.subscribers.with_email(
            body.get("email") or ""
        )
        return found[0] if found else None

    def _past(self, knobs: Knobs) -> Mapping[str, Record | None]:
        """Return the subscribers that a lagging reader sees as they were before, and how they were."""
        past: dict[str, Record | None] = {}
        if knobs.read_lag_ms:
            moment = self._clock() - timedelta(milliseconds=knobs.read_lag_ms)
            for at, subscriber_id, before in reversed(self._changes):
                if at <= moment:
                    break
                past[subscriber_id] = before  # the earliest change after the moment is the last one met
        return past
