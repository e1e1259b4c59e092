"""The shop: its subscribers and accepted custom events, and every change that can come over them.

A subscriber is a dict that is never changed in place: a change puts a new dict in its stead, so
whoever holds an older one, the seed above all, holds it unharmed.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from toolkit.sandbox.custom_events import check_custom_event, event_id
from toolkit.sandbox.edits import edited
from toolkit.sandbox.instants import format_instant
from toolkit.sandbox.listing import Filter, ListQuery, comparable, phone_digits, sort_key
from toolkit.sandbox.records import completed
from toolkit.sandbox.replies import NOT_FOUND, RefusedError, coded_error
from toolkit.sandbox.webhooks import Webhooks

Subscriber = dict[str, Any]

_INDEXED = ("phone_number", "email")
_ORDERED = ("created_at", "updated_at")
_REMEMBERED_LISTS = 8
"""How many filtered or sorted lists are kept until something changes, so that paging is quick."""


class DuplicateIdError(ValueError):
    """A subscriber of that id is already there."""


class Shop:
    """One shop's state, in memory."""

    def __init__(self, seed: Iterable[Any], *, clock: Callable[[], datetime], page_size: int) -> None:
        """Start with *seed*: subscriber records, completed where they are silent."""
        self._clock = clock
        self._page_size = page_size
        self.webhooks = Webhooks()
        now = self.now()
        self._seed = tuple(completed(record, now) for record in seed)
        self.reset()

    def now(self) -> str:
        """Write the present time as subscribers carry it."""
        return format_instant(self._clock())

    def reset(self) -> None:
        """Go back to the seed."""
        self.custom_events: list[dict[str, Any]] = []
        self.webhooks.clear()
        self._subscribers: dict[str, Subscriber] = {}
        self._by: dict[str, dict[str, tuple[str, ...]]] = {field: {} for field in _INDEXED}
        self._orders: dict[str, list[str]] = {field: [] for field in _ORDERED}
        self._lists: dict[tuple[Any, ...], Sequence[str]] = {}
        self._check_new(self._seed)
        for subscriber in self._seed:
            self._subscribers[subscriber["id"]] = subscriber
            self._index(subscriber)
        for field, order in self._orders.items():
            order.extend(sorted(self._subscribers, key=self._place(field)))

    # Reading

    def __len__(self) -> int:
        return len(self._subscribers)

    def __iter__(self) -> Iterator[Subscriber]:
        """Go through all subscribers as they are now, oldest first, whatever changes meanwhile."""
        return iter([self._subscribers[each] for each in self._orders["created_at"]])

    def get(self, subscriber_id: str) -> Subscriber:
        """Return one subscriber, or raise the 404 to answer with."""
        if subscriber_id not in self._subscribers:
            raise RefusedError(coded_error(404, NOT_FOUND, "Subscriber not found"))
        return self._subscribers[subscriber_id]

    def page(self, query: ListQuery) -> dict[str, Any]:
        """Return one page of the list, in the shape the API answers with."""
        ids = self._listed(query)
        start = (query.page - 1) * self._page_size
        shown = ids[start : start + self._page_size]
        total_pages = max(1, -(-len(ids) // self._page_size))
        return {
            "page_info": {"page": query.page, "total_pages": total_pages},
            "subscribers": [self._subscribers[each] for each in shown],
        }

    def find_by_phone(self, phone: str) -> tuple[str, ...]:
        """Return the ids of those with these digits."""
        return self._by["phone_number"].get(phone_digits(phone), ())

    def find_by_email(self, email: str) -> tuple[str, ...]:
        """Return the ids of those with this email, the most recent sign-up first."""
        ids = self._by["email"].get(email.casefold(), ())
        return tuple(sorted(ids, key=self._place("created_at"), reverse=True))

    # Changing

    def add(self, records: Iterable[Any]) -> int:
        """Add late sign-ups, all or none, and return how many; a ValueError says what is wrong."""
        now = self.now()
        subscribers = [completed(record, now) for record in records]
        self._check_new(subscribers)
        for subscriber in subscribers:
            self._put(subscriber)
        return len(subscribers)

    def patch(self, subscriber_id: str, body: dict[str, Any]) -> Subscriber:
        """Apply a PATCH body and return the subscriber as it is then."""
        old = self.get(subscriber_id)
        new = edited(old, body, self.now())
        if new is not old:
            self._take(subscriber_id)
            self._put(new)
        return new

    def unsubscribe(self, subscriber_id: str) -> None:
        """Take back both consents."""
        refused = {"promotional": {"can_send": False}, "transactional": {"can_send": False}}
        self._put({**self._take(subscriber_id), "subscriptions": refused, "updated_at": self.now()})

    def redact(self, subscriber_id: str) -> None:
        """Forget one subscriber."""
        self._take(subscriber_id)

    def accept_custom_event(self, body: dict[str, Any]) -> str:
        """Record a custom event and whom it was matched to; return its id."""
        check_custom_event(body)
        name = event_id(len(self.custom_events))
        record = {**body, "event_id": name, "matched_subscriber_id": self._match(body)}
        self.custom_events.append(record)
        return name

    # Inside

    def _match(self, body: dict[str, Any]) -> str | None:
        """Find whom a custom event means: by id, then phone, then email."""
        if body.get("subscriber_id") in self._subscribers:
            return str(body["subscriber_id"])
        found = self.find_by_phone(body.get("phone") or "") or self.find_by_email(body.get("email") or "")
        return found[0] if found else None

    def _listed(self, query: ListQuery) -> Sequence[str]:
        if query.sort_field == "created_at" and not query.descending and not query.filters:
            return self._orders["created_at"]
        what = (query.filters, query.sort_field, query.descending)
        if what not in self._lists:
            if len(self._lists) >= _REMEMBERED_LISTS:
                self._lists.clear()
            self._lists[what] = self._matching(query)
        return self._lists[what]

    def _matching(self, query: ListQuery) -> list[str]:
        field = query.sort_field if query.sort_field in _ORDERED else "created_at"
        filters = tuple(asked for asked in query.filters if asked.field != field)
        ids = self._found(query.filters, field)
        if ids is None:
            ids = self._between(query.filters, field)
        else:
            filters = query.filters
        if filters:
            ids = [each for each in ids if all(asked.matches(self._subscribers[each]) for asked in filters)]
        if query.sort_field != field:
            key = sort_key(query.sort_field)
            ids.sort(key=lambda each: key(self._subscribers[each]), reverse=query.descending)
        elif query.descending:
            ids.reverse()
        return ids

    def _found(self, filters: Sequence[Filter], order_field: str) -> list[str] | None:
        """Return the few ids an index knows to hold all matches, in order; None when none can tell."""
        for asked in filters:
            if asked.field in _INDEXED and asked.operator in {"eq", "in"}:
                index = self._by[asked.field]
                found = {each for value in asked.wanted for each in index.get(value, ())}
                return sorted(found, key=self._place(order_field))
        return None

    def _between(self, filters: Sequence[Filter], field: str) -> list[str]:
        """Return the ids, in order, that pass all filters on the *field* they are ordered by."""
        order = self._orders[field]
        low, high = 0, len(order)
        for asked in filters:
            if asked.field == field:
                first, last = self._span(order, asked)
                low, high = max(low, first), min(high, last)
        return order[low:high]

    def _span(self, order: list[str], asked: Filter) -> tuple[int, int]:
        (bound,) = asked.wanted

        def instant(subscriber_id: str) -> str:
            return comparable(asked.field, self._subscribers[subscriber_id][asked.field]) or ""

        left = bisect.bisect_left(order, bound, key=instant)
        right = bisect.bisect_right(order, bound, key=instant)
        return {
            "eq": (left, right),
            "gt": (right, len(order)),
            "gte": (left, len(order)),
            "lt": (0, left),
            "lte": (0, right),
        }[asked.operator]

    def _place(self, field: str) -> Callable[[str], tuple[str, str]]:
        """Give the key that orders ids by a time, and by id at the same time."""
        return lambda subscriber_id: (self._subscribers[subscriber_id][field], subscriber_id)

    def _check_new(self, subscribers: Iterable[Subscriber]) -> None:
        taken: set[str] = set()
        for subscriber in subscribers:
            subscriber_id = subscriber["id"]
            if subscriber_id in self._subscribers or subscriber_id in taken:
                raise DuplicateIdError(f"There is already a subscriber with the id {subscriber_id!r}.")
            taken.add(subscriber_id)

    def _put(self, subscriber: Subscriber) -> None:
        """Let a subscriber in who is not there."""
        self._subscribers[subscriber["id"]] = subscriber
        self._index(subscriber)
        for field, order in self._orders.items():
            bisect.insort(order, subscriber["id"], key=self._place(field))
        self._lists.clear()

    def _take(self, subscriber_id: str) -> Subscriber:
        """Take a subscriber out who is there."""
        for field, order in self._orders.items():
            place = self._place(field)
            del order[bisect.bisect_left(order, place(subscriber_id), key=place)]
        subscriber = self._subscribers.pop(subscriber_id)
        self._unindex(subscriber)
        self._lists.clear()
        return subscriber

    def _index(self, subscriber: Subscriber) -> None:
        for field, index in self._by.items():
            value = comparable(field, subscriber.get(field))
            if value:
                index[value] = (*index.get(value, ()), subscriber["id"])

    def _unindex(self, subscriber: Subscriber) -> None:
        for field, index in self._by.items():
            value = comparable(field, subscriber.get(field))
            if value:
                remaining = tuple(each for each in index.pop(value) if each != subscriber["id"])
                if remaining:
                    index[value] = remaining
