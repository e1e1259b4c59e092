"""A mapping as a tree: each node says what it is, and resolves itself.

Raw values, lists and objects are here, and what directives share. A node is resolved against a *scope*:
the event or, inside ``@arrayPath`` and ``@transform``, what these put in its place. Nothing here is recursive
over an event: it may be nested deeper than Python calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, Missing

MAX_OUTPUT: Final = 20_000_000
"""Characters that the directives of one mapping may build, in all, from one event."""
ITEM_COST: Final = 40
"""Characters that a list item or object member counts as; it takes about as long."""


class ResolveError(Exception):
    """An event gives a directive something it cannot work with; `Directive` adds the place."""


class Resolution:
    """One `Mapping.resolve`: what it may still build, so that a hostile event ends in an error."""

    __slots__ = ("_left", "keeps_missing")

    def __init__(self) -> None:
        self.keeps_missing = False
        """Whether lists and objects keep missing values; see `Computed`."""
        self._left: float = MAX_OUTPUT

    def spend(self, characters: float) -> None:
        """Take *characters* off the output budget; raise `ResolveError` when fewer are left."""
        self._left -= characters
        if self._left < 0:
            raise ResolveError(f"this event makes the mapping build over {MAX_OUTPUT:,} characters")

    def spend_items(self, count: float) -> None:
        """Take *count* list items or object members off."""
        self.spend(count * ITEM_COST)


class Node(ABC):
    """A part of a mapping, parsed and checked."""

    __slots__ = ()

    @abstractmethod
    def resolve(self, scope: Any, resolution: Resolution) -> Any:
        """Return its value, which may be missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw(Node):
    """A value that is the same whatever the event; as Segment reads a mapping, it may be missing."""

    value: bool | float | str | Missing | None

    def resolve(self, scope: Any, resolution: Resolution) -> Any:  # noqa: ARG002, D102
        return self.value


NOTHING: Final = Raw(value=MISSING)
"""What is always missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOf(Node):
    """A list; an item that is missing becomes null."""

    items: tuple[Node, ...]

    def resolve(self, scope: Any, resolution: Resolution) -> Any:  # noqa: D102
        values = [item.resolve(scope, resolution) for item in self.items]
        return values if resolution.keeps_missing else [None if v is MISSING else v for v in values]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectOf(Node):
    """An object; a member that is missing is left out."""

    members: tuple[tuple[str, Node], ...]

    def resolve(self, scope: Any, resolution: Resolution) -> Any:  # noqa: D102
        result = {}
        for key, member in self.members:
            value = member.resolve(scope, resolution)
            if value is not MISSING or resolution.keeps_missing:
                result[key] = value
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Directive(Node):
    """A directive that an event can make fail; the error has its place."""

    pointer: str = field(default="", compare=False, repr=False)

    @abstractmethod
    def _value(self, scope: Any, resolution: Resolution) -> Any:
        """Return its value, or raise `ResolveError`."""

    def resolve(self, scope: Any, resolution: Resolution) -> Any:  # noqa: D102
        try:
            return self._value(scope, resolution)
        except ResolveError as error:
            raise MappingError(str(error), self.pointer) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed(Directive):
    """A directive of which no more is known than the function that resolves it."""

    call: Callable[[Any, Resolution], Any]
    keeps_missing: bool = False
    """Whether a missing value differs to it from an absent key: ``@merge`` lets it take another one's place.

    Within such a directive lists and objects keep missing values; from what it gives they are removed."""

    def _value(self, scope: Any, resolution: Resolution) -> Any:
        if not self.keeps_missing or resolution.keeps_missing:
            return self.call(scope, resolution)
        resolution.keeps_missing = True
        value = without_missing(self.call(scope, resolution), resolution)
        resolution.keeps_missing = False
        return value


def without_missing(value: Any, resolution: Resolution, *, in_lists: bool = True) -> Any:
    """Return a copy of *value* without missing members; missing items are null, or stay unless *in_lists*."""

    def renew(part: dict[str, Any] | list[Any]) -> Any:
        if isinstance(part, dict):
            return {key: member for key, member in part.items() if member is not MISSING}
        return [None if item is MISSING and in_lists else item for item in part]

    return renew_parts(value, renew, dict | list, resolution)


def renew_parts(value: Any, renew: Callable[[Any], Any], kinds: Any, resolution: Resolution) -> Any:
    """Return *value* with each part of one of the *kinds* renewed, and the parts within the new one."""
    top = [value]
    waiting: list[Any] = [top]
    while waiting:
        holder = waiting.pop()
        for key, part in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(part, kinds):
                resolution.spend_items(len(part))
                holder[key] = new = renew(part)
                waiting.append(new)
    return top[0]
