"""A mapping as a tree: each node says what it is, and makes the function that resolves it.

Lists, objects and raw values are here; each directive's node is with the rest of the directive. A node is
resolved against a *scope*: the event or, inside ``@arrayPath`` and ``@transform``, what these put in its
place. The functions are made once a mapping and run once an event, so what can be settled before is. Nothing
here is recursive over an event: it may be nested deeper than Python calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, Missing

MAX_OUTPUT: Final = 20_000_000
"""Characters that the directives of one mapping may build, in all, from one event."""
ITEM_COST: Final = 40
"""Characters that a list item or object member counts as; it takes about as long."""


class OutputBudget:
    """What is left to build in one `Mapping.resolve`: a hostile event ends in an error, not a full memory."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: float = MAX_OUTPUT

    def spend(self, characters: float, pointer: str) -> None:
        """Take *characters* away; raise `MappingError` when fewer are left."""
        self._left -= characters
        if self._left < 0:
            raise MappingError(f"this event makes the mapping build over {MAX_OUTPUT:,} characters", pointer)

    def spend_items(self, count: float, pointer: str) -> None:
        """Take *count* list items or object members away."""
        self.spend(count * ITEM_COST, pointer)


Resolver: TypeAlias = Callable[[Any, OutputBudget], Any]
"""Gives a value from the scope, and spends what it builds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node(ABC):
    """A part of a mapping, parsed and checked."""

    keeps_missing: ClassVar[bool] = False
    """Whether a missing value differs to it from an absent key: ``@merge`` lets it take another one's place.

    Within such a directive lists and objects keep missing values; from what it gives they are removed."""

    pointer: str = field(default="", compare=False, repr=False)
    """The place in the mapping, of directives that can fail."""

    @abstractmethod
    def _resolver(self, *, keep: bool) -> Resolver:
        """Return the function that resolves it, for `compile`."""

    def compile(self, *, keep: bool) -> Resolver:
        """Return the function that resolves it; with *keep* there may be missing values in the result."""
        resolve, pointer = self._resolver(keep=keep or self.keeps_missing), self.pointer
        if keep or not self.keeps_missing:
            return resolve
        return lambda scope, budget: without_missing(resolve(scope, budget), budget, pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class OfValue(Node):
    """A directive that does something to one value."""

    value: Node

    @abstractmethod
    def _apply(self, value: Any, budget: OutputBudget) -> Any:
        """Return what it makes of the value."""

    def _resolver(self, *, keep: bool) -> Resolver:
        value, apply = self.value.compile(keep=keep), self._apply
        return lambda scope, budget: apply(value(scope, budget), budget)


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw(Node):
    """A value that is the same whatever the event; as Segment reads a mapping, it may be missing."""

    value: bool | float | str | Missing | None

    def _resolver(self, *, keep: bool) -> Resolver:  # noqa: ARG002
        value = self.value
        return lambda scope, budget: value  # noqa: ARG005


NOTHING: Final = Raw(value=MISSING)
"""What is always missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOf(Node):
    """A list; an item that is missing becomes null."""

    items: tuple[Node, ...]

    def _resolver(self, *, keep: bool) -> Resolver:
        items = tuple(item.compile(keep=keep) for item in self.items)

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            values = [item(scope, budget) for item in items]
            return values if keep else [None if value is MISSING else value for value in values]

        return resolve


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectOf(Node):
    """An object; a member that is missing is left out."""

    members: tuple[tuple[str, Node], ...]

    def _resolver(self, *, keep: bool) -> Resolver:
        members = tuple((key, part.compile(keep=keep)) for key, part in self.members)

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            result = {}
            for key, member in members:
                value = member(scope, budget)
                if value is not MISSING or keep:
                    result[key] = value
            return result

        return resolve


def without_missing(value: Any, budget: OutputBudget, pointer: str, *, in_lists: bool = True) -> Any:
    """Return a copy of *value* without missing members; missing items are null, or stay unless *in_lists*."""

    def renew(part: dict[str, Any] | list[Any]) -> Any:
        if isinstance(part, dict):
            return {key: member for key, member in part.items() if member is not MISSING}
        return [None if item is MISSING and in_lists else item for item in part]

    return renew_parts(value, renew, dict | list, budget, pointer)


def renew_parts(
    value: Any, renew: Callable[[Any], Any], kinds: Any, budget: OutputBudget, pointer: str
) -> Any:
    """Return *value* with each part of one of the *kinds* renewed, and the parts within the new one."""
    top = [value]
    waiting: list[Any] = [top]
    while waiting:
        holder = waiting.pop()
        for key, part in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(part, kinds):
                budget.spend_items(len(part), pointer)
                holder[key] = new = renew(part)
                waiting.append(new)
    return top[0]
