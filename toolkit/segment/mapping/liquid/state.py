"""What a template knows and changes while it is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.errors import MappingError
from toolkit.segment.mapping.allowance import Allowance
from toolkit.segment.mapping.javascript import innermost
from toolkit.segment.mapping.values import MISSING

from .values import key_text, property_of, texts_of


class State:
    """The variables of one rendering, and what it may still build."""

    def __init__(self, scope: Any, allowance: Allowance, pointer: str) -> None:
        self.is_stopped = False
        """After ``break`` or ``continue`` nothing more is rendered."""
        self._assigned: dict[str, Any] = {}
        self._counters: dict[str, float] = {}
        self._cycles: dict[str, int] = {}
        self._scope = scope
        self._allowance = allowance
        self._pointer = pointer

    def variable(self, key: Any) -> Any:
        """Return a variable: one assigned here, a counter, or a member of the event."""
        name = key_text(key)
        for known in (self._assigned, self._counters):
            if name in known:
                return known[name]
        if self._scope is None or self._scope is MISSING:
            return property_of({}, key)
        return property_of(self._scope if self._has(name) else {}, key)

    def _has(self, name: str) -> bool:
        if isinstance(self._scope, dict):
            return name in self._scope
        return name not in ("size", "first", "last") and property_of(self._scope, name) is not MISSING

    def assign(self, name: str, value: Any) -> None:
        """Set a variable."""
        self._assigned[name] = value

    def count(self, name: str, step: int) -> tuple[float, float]:
        """Move a counter; return what it was and what it is. The event itself is left as it is."""
        own = self._scope.get(name) if isinstance(self._scope, dict) else None
        before = self._counters.get(name, own)
        before = before if isinstance(before, int | float) and not isinstance(before, bool) else 0
        after = self._counters[name] = before + step
        return before, after

    def next_in_cycle(self, key: str, length: int) -> int:
        """Return the index of the next of *length* values that go by *key*."""
        index = self._cycles.get(key, 0)
        self._cycles[key] = (index + 1) % length
        return index

    def spend(self, characters: float) -> None:
        """Account for text that will be built."""
        if characters > 0:
            self._allowance.spend(characters, self._pointer)

    def spend_items(self, count: float) -> None:
        """Account for list items that will be made or looked at."""
        if count > 0:
            self._allowance.spend_items(count, self._pointer)

    def weigh(self, value: Any) -> None:
        """Account for looking at the whole of a list."""
        if isinstance(value, list):
            self.spend_items(len(innermost(value)))

    def text(self, value: Any) -> str:
        """Return how a value prints."""
        return value if isinstance(value, str) else self.join("", texts_of(value))

    def join(self, separator: str, texts: Sequence[str]) -> str:
        """Return the texts in one, unless it is longer than allowed."""
        self.spend(sum(map(len, texts)) + len(separator) * len(texts))
        return separator.join(texts)

    def refuse(self, message: str) -> MappingError:
        """Return the error to raise for *message*."""
        return MappingError(message, self._pointer)
