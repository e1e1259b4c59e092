"""Missing values in lists and objects, while a mapping is being resolved.

In a result an object lacks the keys that are missing, and a missing list item is null. Before that, to some
directives a missing value is not the same as an absent key: ``@merge`` lets it take another value's place.
A mapping that has such a directive keeps missing values everywhere until its result is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.segment.javascript import MISSING

from .budget import OutputBudget
from .tree import ArrayPath, ExcludeWhenNull, Flatten, Merge, Node, Transform, children


def first_keeper(node: Node) -> ArrayPath | ExcludeWhenNull | Flatten | Merge | Transform | None:
    """Return the first directive in a tree that needs missing values kept; None when none does."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ExcludeWhenNull | Flatten | Merge | Transform):
            return node
        if isinstance(node, ArrayPath) and node.shape is not None:
            return node
        waiting.extend(reversed(children(node)))
    return None


def without_missing(value: Any, budget: OutputBudget, pointer: str, *, in_lists: bool = True) -> Any:
    """Return a copy of *value* without missing members; missing items are null, or stay unless *in_lists*."""

    def renew(part: dict[str, Any] | list[Any]) -> Any:
        if isinstance(part, dict):
            return {key: member for key, member in part.items() if member is not MISSING}
        return [None if item is MISSING and in_lists else item for item in part]

    return _renewed(value, renew, dict | list, budget, pointer)


def without_nulls(value: Any, budget: OutputBudget, pointer: str) -> Any:
    """Return *value* with missing in place of null, in it and in objects within objects, not inside lists."""

    def renew(part: dict[str, Any]) -> dict[str, Any]:
        return {key: MISSING if member is None else member for key, member in part.items()}

    return MISSING if value is None else _renewed(value, renew, dict, budget, pointer)


def _renewed(value: Any, renew: Callable[[Any], Any], kinds: Any, budget: OutputBudget, pointer: str) -> Any:
    """Return *value* with each part of one of the *kinds* renewed, and the parts within the new one."""
    # Not recursive: an event may be nested deeper than Python calls.
    top = [value]
    waiting: list[Any] = [top]
    while waiting:
        holder = waiting.pop()
        for key, part in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(part, kinds):
                budget.spend_items(len(part), pointer)
                holder[key] = renewed = renew(part)
                waiting.append(renewed)
    return top[0]
