"""The shop: its subscribers and accepted custom events, how they are found, and how they change.

A subscriber is a dict that is never changed in place: a change puts a new dict in its stead, so
whoever holds an older one holds it unharmed.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from .options import Knobs
from .records import Record, accepted_event, completed
from .wire import format_timestamp

TIMES = ("created_at", "updated_at")

_CHANGES_KEPT = timedelta(seconds=3601)
"""A little more than the longest lag that can be set."""
_INDEXED = ("phone_number", "email")
_COMPARE: Mapping[str, Callable[[str, frozenset[str]], bool]] = {
    "eq": lambda held, wanted: held in wanted,
    "in": lambda held, wanted: held in wanted,
    "contains": lambda held, wanted: any(part in held for part in wanted),
    "gt": lambda held, wanted: all(held > bound for bound in wanted),
    "gte": lambda held, wanted: all(held >= bound for bound in wanted),
    "lt": lambda held, wanted: all(held < bound for bound in wanted),
    "lte": lambda held, wanted: all(held <= bound for bound in wanted),
}


class DuplicateIdError(ValueError):
    """A subscriber of that id is already there."""


def comparable(field: str, value: Any) -> str | None:
    """Put a subscriber's own value into the form that filters and sorting compare; None when absent.

    >>> comparable("phone_number", "+1 (202) 555-0143"), comparable("email", "Ana@Mail.test")
    ('12025550143', 'ana@mail.test')
    """
    if value is None:
        return None
    if field == "phone_number":
        # [0-9], not \d: in Python \d also matches other scripts' digits.
        return re.sub("[^0-9]", "", value)
    if field == "email":
        return str(value).casefold()
    return str(value).removesuffix("Z") if field in TIMES else str(value)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One condition on one field."""

    field: str
    operator: str
    wanted: frozenset[str]
    """The values of the query in comparable form. A value that no subscriber can have is left out."""
    is_cased: bool = False
    """Whether the case of letters counts: the values are as they were sent then."""

    def matches(self, subscriber: Record) -> bool:
        """Whether the subscriber has the field and the condition holds for it."""
        value = subscriber.get(self.field)
        held = value if self.is_cased else comparable(self.field, value)
        return held is not None and _COMPARE[self.operator](held, self.wanted)


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """One reading of the subscriber list."""

    filters: tuple[Filter, ...] = ()
    """All must hold."""
    sort_field: str = "created_at"
    descending: bool = False
    hides_opted_out: bool = False
    """Whether people without consent are left out."""
    page: int = 1
    """From 1."""

    def select(self, subscribers: Iterable[Record]) -> list[Record]:
        """Return those that are on the list, on all pages, in its order."""
        found = [
            each
            for each in subscribers
            if not (self.hides_opted_out and _is_opted_out(each))
            and all(condition.matches(each) for condition in self.filters)
        ]
        by_time = self.sort_field if self.sort_field in TIMES else "created_at"
        found.sort(key=lambda each: (each[by_time], each["id"]))
        if self.sort_field not in TIMES:
            found.sort(key=self._sort_key, reverse=self.descending)
        elif self.descending:
            found.reverse()
        return found

    def _sort_key(self, subscriber: Record) -> tuple[int, str]:
        """Absent values first, customer ids by size."""
        held = comparable(self.sort_field, subscriber.get(self.sort_field)) or ""
        return (len(held) if self.sort_field == "shopify_customer_id" else min(len(held), 1), held)


Contents = tuple[tuple[Record, ...], Mapping[str, int], tuple[Record, ...]]
"""What a shop holds at one moment: subscribers, the number of each sign-up, custom events."""


class Shop:
    """One shop's state, in memory."""

    def __init__(self, subscribers: Iterable[object], *, clock: Callable[[], datetime]) -> None:
        """Start with these subscriber records, completed where they are silent."""
        self._clock = clock
        self.subscribers: dict[str, Record] = {}
        """By id, in the order of sign-up. Changed by `add` and `change` alone."""
        self.custom_events: list[Record] = []
        self._holders: dict[tuple[str, str], tuple[str, ...]] = {}
        """Phone or email → the ids of those who have it, so that no lookup is a scan."""
        self._numbers: dict[str, int] = {}
        """Id → number of the sign-up, from 1, in that order; none is given again, whoever is gone."""
        self._latest: tuple[ListQuery, list[Record]] | None = None
        """The latest list that was selected, until something changes, so that paging is quick."""
        self._changes: deque[tuple[datetime, str, Record | None]] = deque()
        """When which subscriber changed, and what they were before; None before a sign-up."""
        self.add(subscribers)
        self._changes.clear()
        self._start = self.contents()

    def now(self) -> str:
        """Write the present time as subscribers carry it."""
        return format_timestamp(self._clock())

    # Reading

    def __iter__(self) -> Iterator[Record]:
        """Go through all subscribers as they are now, oldest first, whatever changes meanwhile."""
        return iter([*self.subscribers.values()])

    def find(self, subscriber_id: str | None, knobs: Knobs) -> Record | None:
        """Return one subscriber as the API shows them, or None."""
        key = subscriber_id or ""
        return self._past(knobs).get(key, self.subscribers.get(key))

    def number_of(self, subscriber_id: str) -> int:
        """Return which sign-up this was, from 1."""
        return self._numbers[subscriber_id]

    def id_of(self, given: str, knobs: Knobs) -> str | None:
        """Return the id that the API's own form of an id stands for; None when it stands for none."""
        if knobs.ids == "text":
            return given
        number = int(given) if re.fullmatch("[0-9]{1,15}", given) else 0
        return next(islice(self._numbers, number - 1, number), None) if number else None

    def having(self, field: str, value: str | None) -> tuple[str, ...]:
        """Return the ids of those with the digits of this phone, or with this email in any case."""
        return self._holders.get((field, comparable(field, value) or ""), ())

    def page(self, query: ListQuery, knobs: Knobs) -> tuple[Sequence[Record], int]:
        """Return the subscribers on one page of the list as the API shows them, and how many match in all."""
        start = (query.page - 1) * knobs.page_size
        past, whole = self._past(knobs), replace(query, page=1)
        if past:
            seen = (each for each in self if each["id"] not in past)
            listed = query.select([*seen, *filter(None, past.values())])
        else:
            if not self._latest or self._latest[0] != whole:
                self._latest = (whole, whole.select(self._candidates(whole)))
            listed = self._latest[1]
        return listed[start : start + knobs.page_size], len(listed)

    # Changing

    def add(self, subscribers: Iterable[object]) -> int:
        """Let people sign up, all or none, as of now; return how many."""
        now = self.now()
        new: dict[str, Record] = {}
        for record in (completed(each, now) for each in subscribers):
            if record["id"] in new or record["id"] in self.subscribers:
                raise DuplicateIdError(f"There is already a subscriber with the id {record['id']!r}.")
            new[record["id"]] = record
        for subscriber_id, record in new.items():
            self._numbers.setdefault(subscriber_id, len(self._numbers) + 1)
            self.change(subscriber_id, record)
        self.subscribers = {each["id"]: each for each in ListQuery().select(self)}
        return len(new)

    def change(self, subscriber_id: str, new: Record | None) -> None:
        """Put *new* where the subscriber was, with the same time of sign-up; None takes them out."""
        old = self.subscribers.get(subscriber_id) if new else self.subscribers.pop(subscriber_id)
        if new:
            self.subscribers[subscriber_id] = new
        for field in _INDEXED:
            self._move(field, subscriber_id, old and old.get(field), new and new.get(field))
        now = self._clock()
        while self._changes and self._changes[0][0] < now - _CHANGES_KEPT:
            self._changes.popleft()
        self._changes.append((now, subscriber_id, old))
        self._latest = None

    def redact(self, subscriber_id: str) -> None:
        """Forget one subscriber."""
        self.change(subscriber_id, None)

    def contents(self) -> Contents:
        """Return all that the shop holds, for `restore`."""
        return (*self.subscribers.values(),), dict(self._numbers), (*self.custom_events,)

    def restore(self, contents: Contents | None) -> None:
        """Hold these contents and nothing else; None stands for those of the start."""
        subscribers, numbers, custom_events = contents or self._start
        self.subscribers, self._holders = {}, {}
        self._numbers, self.custom_events = dict(numbers), list(custom_events)
        self.add(subscribers)
        self._changes.clear()

    def accept_custom_event(self, body: Record, knobs: Knobs) -> str:
        """Record a custom event and the subscriber it was matched to; return its id."""
        stored = accepted_event(body, knobs)
        external_id = stored.get("external_id")
        for earlier in self.custom_events if knobs.event_dedupe and external_id else ():
            if earlier.get("external_id") == external_id:
                return str(earlier["event_id"])
        digest = hashlib.sha256(f"custom event {len(self.custom_events)}".encode()).hexdigest()
        event_id = f"{digest[:4]}-{digest[4:8]}-{digest[8:12]}"
        matched = self._matched(stored, knobs)
        self.custom_events.append({**stored, "event_id": event_id, "matched_subscriber_id": matched})
        return event_id

    # Inside

    def _matched(self, body: Record, knobs: Knobs) -> str | None:
        """Find the subscriber of a custom event: by id, then phone, then email, the latest sign-up."""
        given = body.get("subscriber_id")
        by_id = None if given is None else self.id_of(str(given), knobs)
        if by_id in self.subscribers:
            return by_id
        if found := self.having("phone_number", body.get("phone")):
            return found[0]
        same_email = self.having("email", body.get("email"))
        return max(same_email, key=lambda each: (self.subscribers[each]["created_at"], each), default=None)

    def _move(self, field: str, subscriber_id: str, old: Any, new: Any) -> None:
        """Note that the subscriber has another phone or email."""
        left, taken = comparable(field, old), comparable(field, new)
        if left == taken:
            return
        if left:
            remaining = tuple(each for each in self._holders.pop((field, left)) if each != subscriber_id)
            if remaining:
                self._holders[field, left] = remaining
        if taken:
            self._holders[field, taken] = (*self._holders.get((field, taken), ()), subscriber_id)

    def _candidates(self, query: ListQuery) -> Iterable[Record]:
        """Return the few that the index knows to hold all matches; everyone when it cannot tell."""
        for condition in query.filters:
            if condition.field in _INDEXED and condition.operator in {"eq", "in"}:
                ids = {each for value in condition.wanted for each in self.having(condition.field, value)}
                return [self.subscribers[each] for each in ids]
        return self

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


def _is_opted_out(subscriber: Record) -> bool:
    promotional = subscriber["subscriptions"].get("promotional")
    return isinstance(promotional, dict) and promotional.get("can_send") is False
