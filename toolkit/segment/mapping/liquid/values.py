"""Values in Liquid templates: JSON and `MISSING`, compared, read and printed as Segment's engine does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.segment.javascript import (
    MISSING,
    WHITESPACE,
    innermost,
    item_at,
    number_of,
    text_of,
    unit_count,
    units,
)
from toolkit.segment.mapping.tree import Resolution


class Rendering:
    """The variables of one rendering of a template, and what it may still build."""

    def __init__(self, scope: Any, resolution: Resolution) -> None:
        self.assigned: dict[str, Any] = {}
        self.resolution = resolution
        self._counters: dict[str, float] = {}
        self._scope = scope

    def variable(self, key: Any) -> Any:
        """Return a variable: one assigned here, a counter, or a member of the scope."""
        name = key_text(key)
        for known in (self.assigned, self._counters):
            if name in known:
                return known[name]
        absent = 0 if name == "size" else MISSING
        if isinstance(self._scope, dict):
            return self._scope.get(name, absent)
        # An item of a list or text, but not its size.
        is_item = name not in ("size", "first", "last") and not is_nil(self._scope)
        found = property_of(self._scope, name) if is_item else MISSING
        return absent if found is MISSING else found

    def count(self, name: str, step: int) -> float:
        """Move a counter up and return what it was, or down and return what it is; no event changes."""
        own = self._scope.get(name) if isinstance(self._scope, dict) else None
        before = self._counters.get(name, own)
        before = before if isinstance(before, int | float) and not isinstance(before, bool) else 0
        after = self._counters[name] = before + step
        return before if step > 0 else after

    def weighed(self, value: Any) -> Any:
        """Return a value after accounting for looking at the whole of it, if it is a list."""
        if isinstance(value, list):
            self.resolution.spend_items(len(innermost(value)))
        return value

    def text(self, value: Any) -> str:
        """Return how a value prints: lists without separators, null and missing as nothing."""
        text = value if isinstance(value, str) else "".join(map(text_of, innermost([value])))
        self.resolution.spend(len(text))
        return text

    def join(self, separator: str, texts: Sequence[str]) -> str:
        """Return the texts in one, unless it is longer than allowed."""
        self.resolution.spend(sum(map(len, texts)) + len(separator) * len(texts))
        return separator.join(texts)


def is_nil(value: Any) -> bool:
    """Return whether a value is null or missing."""
    return value is None or value is MISSING


def is_true(value: Any) -> bool:
    """Return whether a condition is met; only false, null and missing are not."""
    return not is_nil(value) and value is not False


def is_empty(value: Any) -> bool:
    """Return whether ``value == empty``."""
    return isinstance(value, str | list | dict) and not value


def is_blank(value: Any) -> bool:
    """Return whether ``value == blank``."""
    return not is_true(value) or is_empty(value.strip(WHITESPACE) if isinstance(value, str) else value)


def key_text(value: Any) -> str:
    """Return the text JavaScript makes of a value that it needs a text of, even of null."""
    if is_nil(value):
        return "null" if value is None else "undefined"
    return text_of(value)


def are_equal(left: Any, right: Any) -> bool:
    """Return whether ``==`` holds: lists by their items, objects only with themselves."""
    waiting = [(left, right)]
    while waiting:
        left, right = waiting.pop()
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            waiting.extend(zip(left, right, strict=True))
            continue
        are_objects = isinstance(left, dict) and isinstance(right, dict)
        if are_objects or any(value is None or isinstance(value, bool) for value in (left, right)):
            equal = left is right
        else:
            equal = not isinstance(left, list | dict) and bool(left == right)
        if not equal:
            return False
    return True


def is_less(left: Any, right: Any, *, or_equal: bool = False) -> bool:
    """Return whether ``<`` (or ``<=``) holds: texts by their characters, everything else as numbers."""
    left, right = (text_of(v) if isinstance(v, list | dict) else v for v in (left, right))
    if isinstance(left, str) and isinstance(right, str):
        left, right = units(left), units(right)
    else:
        left, right = number_of(left), number_of(right)
    return bool(left <= right if or_equal else left < right)


def contains(left: Any, right: Any) -> bool:
    """Return whether a list has an item, or a text a part; nothing else contains anything."""
    if isinstance(left, list):
        return any(are_equal(item, right) for item in left)
    return isinstance(left, str) and key_text(right) in left


def property_of(value: Any, key: Any) -> Any:
    """Return a member, item or character of a value; of texts and lists also ``size`` and ``length``."""
    if is_nil(value):
        return value
    if isinstance(value, list) and isinstance(key, int | float) and key < 0:
        key += len(value)
    name = key_text(key)
    if isinstance(value, dict):
        return value.get(name, len(value) if name == "size" else MISSING)
    if not isinstance(value, list | str):
        return MISSING
    if name in ("size", "length"):
        return unit_count(value) if isinstance(value, str) else len(value)
    if isinstance(value, list) and name in ("first", "last"):
        name = "0" if name == "first" else str(len(value) - 1)
    return item_at(value, name)
