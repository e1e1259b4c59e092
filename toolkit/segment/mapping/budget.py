"""How much one event may make a mapping build: a hostile one ends in an error, not in a full memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from toolkit.errors import MappingError

MAX_OUTPUT: Final = 20_000_000
"""Characters that the directives of one mapping may build, in all, from one event."""
ITEM_COST: Final = 40
"""Characters that a list item or object member counts as; it takes about as long."""


class OutputBudget:
    """What is left to build in one `Mapping.resolve`."""

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
