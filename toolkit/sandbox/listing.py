"""The list query: its parameters read into a value, and what that value matches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .instants import parse_instant, sortable_instant
from .knobs import Knobs
from .replies import BAD_REQUEST, TOO_MANY_VALUES, RefusedError, coded_error

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
    spelled: frozenset[str] | None = None
    """What was asked, letter by letter, where the case of letters counts; None where it does not."""

    def matches(self, subscriber: Mapping[str, Any]) -> bool:
        """Whether the subscriber has the field and the condition holds for it."""
        value = subscriber.get(self.field)
        held = comparable(self.field, value)
        if held is None or not _COMPARE[self.operator](held, self.wanted):
            return False
        return self.spelled is None or _COMPARE[self.operator](str(value), self.spelled)


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

    @property
    def whole(self) -> ListQuery:
        """The query without its page: what decides the whole list."""
        return replace(self, page=1)

    def matches(self, subscriber: Mapping[str, Any]) -> bool:
        """Whether the subscriber is on the list."""
        return not (self.hides_opted_out and _is_opted_out(subscriber)) and all(
            asked.matches(subscriber) for asked in self.filters
        )


def parse_list_query(parameters: Sequence[tuple[str, str]], knobs: Knobs) -> ListQuery:
    """Read decoded query parameters, or raise the 400 to answer with."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        values.setdefault(name, []).append(value)
    values = {
        name: _in_values(given, knobs) if name.endswith("__in") else given
        for name, given in values.items()
        if not (name.endswith("__in") and knobs.in_encoding == "ignored")
    }
    for name, given in values.items():
        _check_count(name, len(given), knobs.max_in)
    page = _whole_number("page", values.pop("page", ["1"])[0])
    if page < 1:
        raise _refused("page starts at 1")
    sort_field, descending = _parse_sort(values.pop("sort", ["created_at__asc"])[0])
    filters = tuple(_parse_filter(name, given, knobs) for name, given in values.items())
    return ListQuery(
        filters=filters,
        sort_field=sort_field,
        descending=descending,
        hides_opted_out=knobs.opted_out == "hidden",
        page=page,
    )


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


def _in_values(given: list[str], knobs: Knobs) -> list[str]:
    return given[-1].split(",") if knobs.in_encoding == "comma" else given


def _check_count(name: str, count: int, max_in: int) -> None:
    if name.endswith("__in"):
        if count > max_in:
            message = f"{name} has {count} values; at most {max_in} are accepted"
            raise RefusedError(coded_error(400, TOO_MANY_VALUES, message))
    elif count > 1:
        raise _refused("only __in parameters may be repeated")


def _parse_filter(name: str, values: list[str], knobs: Knobs) -> Filter:
    field, _, operator = name.rpartition("__")
    if operator not in OPERATORS.get(field, ()):
        raise _refused("unknown query parameter")
    if field == "phone_number":
        form = knobs.phone_form if operator == "in" else "any"
        wanted = [_asked_phone(value, form, knobs.ten_digit_phones) for value in values]
    else:
        wanted = [_asked(field, value) for value in values]
    cased = field == "email" and knobs.email_case == "sensitive"
    return Filter(
        field=field,
        operator=operator,
        wanted=frozenset(filter(None, wanted)),
        spelled=frozenset(filter(None, values)) if cased else None,
    )


_PHONE_FORMS: Mapping[str, str] = {
    # A leading space is what an unescaped plus decodes to. It is not repaired: it matches nobody.
    "any": r"\+?[0-9]+",
    "plus_required": r"\+[0-9]+",
    "digits_required": "[0-9]+",
}


def _asked_phone(text: str, form: str, ten_digits: str) -> str | None:
    if not re.fullmatch(_PHONE_FORMS[form], text):
        return None
    digits = text.removeprefix("+")
    return f"1{digits}" if ten_digits == "assume_us" and re.fullmatch("[0-9]{10}", text) else digits


def _asked(field: str, text: str) -> str | None:
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


def _is_opted_out(subscriber: Mapping[str, Any]) -> bool:
    promotional = subscriber["subscriptions"].get("promotional")
    return isinstance(promotional, dict) and promotional.get("can_send") is False
