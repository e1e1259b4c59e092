"""The subscribers in their orders, and by what they are looked up by, so that no lookup is a scan."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from .listing import Filter, ListQuery, comparable, sort_key

Subscriber = dict[str, Any]

ORDERED = ("created_at", "updated_at")
"""Fields that lists can be ordered by without sorting."""

_INDEXED = ("phone_number", "email")
_REMEMBERED_LISTS = 8
"""How many filtered or sorted lists are kept until something changes, so that paging is quick."""


class DuplicateIdError(ValueError):
    """A subscriber of that id is already there."""


class Roll:
    """Who is there now, by id; each id once."""

    def __init__(self, subscribers: Iterable[Subscriber]) -> None:
        """Enrol *subscribers* all at once."""
        self._subscribers: dict[str, Subscriber] = {}
        self._by: dict[str, dict[str, tuple[str, ...]]] = {field: {} for field in _INDEXED}
        self._lists: dict[ListQuery, Sequence[str]] = {}
        for subscriber in subscribers:
            if subscriber["id"] in self._subscribers:
                raise DuplicateIdError(f"There is already a subscriber with the id {subscriber['id']!r}.")
            self._subscribers[subscriber["id"]] = subscriber
            self._index(subscriber)
        self._orders = {field: sorted(self._subscribers, key=self._place(field)) for field in ORDERED}

    def __len__(self) -> int:
        return len(self._subscribers)

    def __contains__(self, subscriber_id: object) -> bool:
        return subscriber_id in self._subscribers

    def __getitem__(self, subscriber_id: str) -> Subscriber:
        return self._subscribers[subscriber_id]

    def get(self, subscriber_id: str) -> Subscriber | None:
        """Return one subscriber, or None."""
        return self._subscribers.get(subscriber_id)

    def in_order_of_arrival(self) -> tuple[Subscriber, ...]:
        """Return all subscribers in the order in which they were enrolled or last changed."""
        return tuple(self._subscribers.values())

    def oldest_first(self) -> list[Subscriber]:
        """Return all subscribers, the oldest sign-up first."""
        return [self._subscribers[each] for each in self._orders["created_at"]]

    def with_phone(self, digits: str) -> tuple[str, ...]:
        """Return the ids of those with these digits."""
        return self._by["phone_number"].get(digits, ())

    def with_email(self, email: str) -> tuple[str, ...]:
        """Return the ids of those with this email, the most recent sign-up first."""
        ids = self._by["email"].get(email.casefold(), ())
        return tuple(sorted(ids, key=self._place("created_at"), reverse=True))

    def listed(self, query: ListQuery) -> Sequence[str]:
        """Return the ids on all pages of a list, in its order."""
        what = query.whole
        if what == ListQuery():
            return self._orders["created_at"]
        if what not in self._lists:
            if len(self._lists) >= _REMEMBERED_LISTS:
                self._lists.clear()
            self._lists[what] = self._matching(query)
        return self._lists[what]

    def put(self, subscriber: Subscriber) -> None:
        """Enrol a subscriber who is not there."""
        self._subscribers[subscriber["id"]] = subscriber
        self._index(subscriber)
        for field, order in self._orders.items():
            bisect.insort(order, subscriber["id"], key=self._place(field))
        self._lists.clear()

    def take(self, subscriber_id: str) -> None:
        """Remove a subscriber who is there."""
        for field, order in self._orders.items():
            place = self._place(field)
            del order[bisect.bisect_left(order, place(subscriber_id), key=place)]
        self._unindex(self._subscribers.pop(subscriber_id))
        self._lists.clear()

    # Inside

    def _matching(self, query: ListQuery) -> list[str]:
        field = query.sort_field if query.sort_field in ORDERED else "created_at"
        ids, unchecked = self._found(query.filters, field), query
        if ids is None:
            ids = self._between(query.filters, field)
            unchecked = replace(query, filters=tuple(each for each in query.filters if each.field != field))
        if unchecked.filters or unchecked.hides_opted_out:
            ids = [each for each in ids if unchecked.matches(self._subscribers[each])]
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
