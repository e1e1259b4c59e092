"""The list query: its parameters read into a value, and what that value matches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.sandbox.instants import parse_instant, sortable_instant
from toolkit.sandbox.replies import BAD_REQUEST, TOO_MANY_VALUES, RefusedError, coded_error

OPERATORS: Mapping[str, tuple[str, ...]] = {
    "email": ("eq", "contains", "in"),
    "phone_number": ("eq", "contains", "in"),
    "shopify_customer_id": ("eq", "contains", "in"),
    "created_at": ("eq", "gt", "gte", "lt", "lte"),
    "updated_at": ("eq", "gt", "gte", "lt", "lte"),
    "ps_id": ("eq",),
}
SORT_FIELDS = ("created_at", "updated_at", "phone_number", "shopify_customer_id")

_COMPARE: Mapping[str, Callable[[str, frozenset[str]], bool]] = {
    "eq": lambda held, wanted: held in wanted,
    "in": lambda held, wanted: held in wanted,
    "contains": lambda held, wanted: any(part in held for part in wanted),
    "gt": lambda held, wanted: all(held > bound for bound in wanted),
    "gte": lambda held, wanted: all(held >= bound for bound in wanted),
    "lt": lambda held, wanted: all(held < bound for bound in wanted),
    "lte": lambda held, wanted: all(held <= bound for bound in wanted),
}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One condition on one field."""

    field: str
    operator: str
    wanted: frozenset[str]
    """What was asked, in comparable form. A value that no subscriber can have is left out."""

    def matches(self, subscriber: Mapping[str, Any]) -> bool:
        """Whether the subscriber has the field and the condition holds for it."""
        held = comparable(self.field, subscriber.get(self.field))
        return held is not None and _COMPARE[self.operator](held, self.wanted)


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """One reading of the subscriber list."""

    filters: tuple[Filter, ...] = ()
    """All must hold."""
    sort_field: str = "created_at"
    descending: bool = False
    page: int = 1
    """From 1."""


def parse_list_query(parameters: Sequence[tuple[str, str]], *, max_in: int) -> ListQuery:
    """Read decoded query parameters, or raise the 400 to answer with."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        values.setdefault(name, []).append(value)
    for name, given in values.items():
        _check_count(name, len(given), max_in)
    page = _whole_number("page", values.pop("page", ["1"])[0])
    if page < 1:
        raise _refused("page starts at 1")
    sort_field, descending = _parse_sort(values.pop("sort", ["created_at__asc"])[0])
    filters = tuple(_parse_filter(name, given) for name, given in values.items())
    return ListQuery(filters=filters, sort_field=sort_field, descending=descending, page=page)


def comparable(field: str, value: Any) -> str | None:
    """Put a subscriber's own value into the form that filters and sorting compare; None when absent."""
    if value is None:
        return None
    if field == "phone_number":
        return phone_digits(value)
    if field == "email":
        return str(value).casefold()
    if field in {"created_at", "updated_at"}:
        return str(value).removesuffix("Z")
    return str(value)


def phone_digits(phone: str) -> str:
    """Keep the digits of a stored phone.

    >>> phone_digits("+1 (202) 555-0143")
    '12025550143'
    """
    # [0-9], not \d: in Python \d also matches other scripts' digits.
    return re.sub("[^0-9]", "", phone)


def sort_key(field: str) -> Callable[[Mapping[str, Any]], tuple[int, str]]:
    """Give the key to sort by *field*: absent values first, customer ids by size."""
    padded = field == "shopify_customer_id"

    def key(subscriber: Mapping[str, Any]) -> tuple[int, str]:
        held = comparable(field, subscriber.get(field)) or ""
        return (len(held) if padded else min(len(held), 1), held)

    return key


def _check_count(name: str, count: int, max_in: int) -> None:
    if name.endswith("__in"):
        if count > max_in:
            message = f"{name} has {count} values; at most {max_in} are accepted"
            raise RefusedError(coded_error(400, TOO_MANY_VALUES, message))
    elif count > 1:
        raise _refused("only __in parameters may be repeated")


def _parse_filter(name: str, values: list[str]) -> Filter:
    field, _, operator = name.rpartition("__")
    if operator not in OPERATORS.get(field, ()):
        raise _refused("unknown query parameter")
    wanted = frozenset(asked for value in values if (asked := _asked(field, value)))
    return Filter(field=field, operator=operator, wanted=wanted)


def _asked(field: str, text: str) -> str | None:
    if field == "phone_number":
        # A leading space is what an unescaped plus decodes to. It is not repaired: it matches nobody.
        return text.removeprefix("+") if re.fullmatch(r"\+?[0-9]+", text) else None
    if field == "ps_id":
        return str(_whole_number(field, text))
    if field in {"created_at", "updated_at"}:
        try:
            return sortable_instant(parse_instant(text))
        except ValueError:
            raise _refused(f"{field} must be compared with an ISO 8601 date-time") from None
    return comparable(field, text)


def _parse_sort(text: str) -> tuple[str, bool]:
    field, _, direction = text.rpartition("__")
    if field not in SORT_FIELDS or direction not in {"asc", "desc"}:
        raise _refused("sort must be a sortable field followed by __asc or __desc")
    return field, direction == "desc"


def _whole_number(name: str, text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,400}", text):
        raise _refused(f"{name} must be a whole number")
    return int(text)


def _refused(message: str) -> RefusedError:
    return RefusedError(coded_error(400, BAD_REQUEST, message))
