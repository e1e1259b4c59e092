"""The list query: its parameters read into a value, and the subscribers it selects, in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from .knobs import Knobs
from .records import Record
from .wire import RefusedError, coded_error, parse_timestamp

TIMES = ("created_at", "updated_at")
OPERATORS: Mapping[str, tuple[str, ...]] = {
    "email": ("eq", "contains", "in"),
    "phone_number": ("eq", "contains", "in"),
    "shopify_customer_id": ("eq", "contains", "in"),
    "created_at": ("eq", "gt", "gte", "lt", "lte"),
    "updated_at": ("eq", "gt", "gte", "lt", "lte"),
    "ps_id": ("eq",),
}
SORT_FIELDS = (*TIMES, "phone_number", "shopify_customer_id")

_COMPARE: Mapping[str, Callable[[str, frozenset[str]], bool]] = {
    "eq": lambda held, wanted: held in wanted,
    "in": lambda held, wanted: held in wanted,
    "contains": lambda held, wanted: any(part in held for part in wanted),
    "gt": lambda held, wanted: all(held > bound for bound in wanted),
    "gte": lambda held, wanted: all(held >= bound for bound in wanted),
    "lt": lambda held, wanted: all(held < bound for bound in wanted),
    "lte": lambda held, wanted: all(held <= bound for bound in wanted),
}
_PHONE_FORMS: Mapping[str, str] = {
    # A leading space is what an unescaped plus decodes to. It is not repaired: it matches no subscriber.
    "any": r"\+?[0-9]+",
    "plus_required": r"\+[0-9]+",
    "digits_required": "[0-9]+",
}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One condition on one field."""

    field: str
    operator: str
    wanted: frozenset[str]
    """The values of the query in comparable form. A value that no subscriber can have is left out."""
    spelled: frozenset[str] | None = None
    """The same letter by letter, where the case of letters counts; None where it does not."""

    def matches(self, subscriber: Record) -> bool:
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


def parse_list_query(parameters: Sequence[tuple[str, str]], knobs: Knobs) -> ListQuery:
    """Read decoded query parameters, or raise the 400 to answer with."""
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        values.setdefault(name, []).append(value)
    for name in [each for each in values if each.endswith("__in")]:
        if knobs.in_encoding == "ignored":
            del values[name]
        elif knobs.in_encoding == "comma":
            values[name] = values[name][-1].split(",")
    for name, given in values.items():
        _check_count(name, len(given), knobs.max_in)
    page = _whole_number("page", values.pop("page", ["1"])[0])
    if page < 1:
        raise _refused("page starts at 1")
    field, _, direction = values.pop("sort", ["created_at__asc"])[0].rpartition("__")
    if field not in SORT_FIELDS or direction not in {"asc", "desc"}:
        raise _refused("sort must be a sortable field followed by __asc or __desc")
    return ListQuery(
        filters=tuple(_parse_filter(name, given, knobs) for name, given in values.items()),
        sort_field=field,
        descending=direction == "desc",
        hides_opted_out=knobs.opted_out == "hidden",
        page=page,
    )


def comparable(field: str, value: Any) -> str | None:
    """Put a subscriber's own value into the form that filters and sorting compare; None when absent."""
    if value is None:
        return None
    if field == "phone_number":
        return digits_of_query(value)
    if field == "email":
        return str(value).casefold()
    return str(value).removesuffix("Z") if field in TIMES else str(value)


def digits_of_query(phone: str) -> str:
    """Keep the digits of a stored phone.

    >>> digits_of_query("+1 (202) 555-0143")
    '12025550143'
    """
    # [0-9], not \d: in Python \d also matches other scripts' digits.
    return re.sub("[^0-9]", "", phone)


def _check_count(name: str, count: int, max_in: int) -> None:
    if name.endswith("__in"):
        if count > max_in:
            message = f"{name} has {count} values; at most {max_in} are accepted"
            raise RefusedError(coded_error(400, message, code=9414))
    elif count > 1:
        raise _refused("only __in parameters may be repeated")


def _parse_filter(name: str, values: list[str], knobs: Knobs) -> Filter:
    field, _, operator = name.rpartition("__")
    if operator not in OPERATORS.get(field, ()):
        raise _refused("unknown query parameter")
    if field == "phone_number":
        form = knobs.phone_form if operator == "in" else "any"
        wanted = [_wanted_phone(value, form, knobs.ten_digit_phones) for value in values]
    else:
        wanted = [_wanted(field, value) for value in values]
    is_cased = field == "email" and knobs.email_case == "sensitive"
    return Filter(
        field=field,
        operator=operator,
        wanted=frozenset(filter(None, wanted)),
        spelled=frozenset(filter(None, values)) if is_cased else None,
    )


def _wanted_phone(text: str, form: str, ten_digits: str) -> str | None:
    if not re.fullmatch(_PHONE_FORMS[form], text):
        return None
    digits = text.removeprefix("+")
    return f"1{digits}" if ten_digits == "assume_us" and re.fullmatch("[0-9]{10}", text) else digits


def _wanted(field: str, text: str) -> str | None:
    if field == "ps_id":
        return str(_whole_number(field, text))
    if field not in TIMES:
        return comparable(field, text)
    try:
        instant = parse_timestamp(text).astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        raise _refused(f"{field} must be compared with an ISO 8601 date-time") from None
    # The order of these texts is the order of time: a whole second has no fraction, and a shorter text
    # sorts before the longer one that begins with it.
    return instant.isoformat()


def _whole_number(name: str, text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,400}", text):
        raise _refused(f"{name} must be a whole number")
    return int(text)


def _refused(message: str) -> RefusedError:
    return RefusedError(coded_error(400, message))


def _is_opted_out(subscriber: Record) -> bool:
    promotional = subscriber["subscriptions"].get("promotional")
    return isinstance(promotional, dict) and promotional.get("can_send") is False
