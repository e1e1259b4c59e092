"""Holes: members and items that are missing, while a mapping is being resolved.

In a result an object lacks the keys that are missing, and a missing list item is null. On the way there
some directives can tell a hole from a key that never was: ``@merge`` lets it take another value's place.
So `Keep` says of each part of a mapping where its holes have to stay for now.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from .allowance import Allowance
from .values import MISSING


class Keep(Enum):
    """Where the holes of a part stay."""

    NOWHERE = "nowhere"
    AT_THE_TOP = "at the top"
    """Among the members or items of the value itself, not within these."""
    EVERYWHERE = "everywhere"

    @property
    def within(self) -> Keep:
        """What it means for the members and items."""
        return Keep.NOWHERE if self is Keep.AT_THE_TOP else self


def without_holes(
    value: Any, allowance: Allowance, *, keep: Keep = Keep.NOWHERE, in_lists: bool = False, pointer: str = ""
) -> Any:
    """Return a copy of *value* without holes, but where *keep* has them stay, or in lists if so asked."""
    if keep is Keep.EVERYWHERE or not isinstance(value, dict | list):
        return value
    # Not recursive: an event may be nested deeper than Python calls.
    top = [value]
    waiting: list[tuple[Any, Keep]] = [(top, keep)]
    while waiting:
        holder, keep = waiting.pop()
        for key, part in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(part, dict | list):
                allowance.spend_items(len(part), pointer)
                holder[key] = copied = _without_own_holes(part, keep, in_lists=in_lists)
                waiting.append((copied, Keep.NOWHERE))
    return top[0]


def _without_own_holes(value: Any, keep: Keep, *, in_lists: bool) -> Any:
    if isinstance(value, list):
        stay = in_lists or keep is not Keep.NOWHERE
        return [None if part is MISSING and not stay else part for part in value]
    return {key: part for key, part in value.items() if keep is not Keep.NOWHERE or part is not MISSING}


def without_nulls(value: Any, keep: Keep, allowance: Allowance, pointer: str) -> Any:
    """Return *value* with holes in place of nulls, in it and in objects within objects, not inside lists."""
    if value is None:
        return MISSING
    top = {"": value}
    waiting = [(top, keep)]
    while waiting:
        holder, keep = waiting.pop()
        for key, part in holder.items():
            if isinstance(part, dict):
                allowance.spend_items(len(part), pointer)
                holder[key] = copied = _without_own_nulls(part, keep)
                waiting.append((copied, keep.within))
    return top[""]


def _without_own_nulls(value: dict[str, Any], keep: Keep) -> dict[str, Any]:
    if keep is Keep.NOWHERE:
        return {key: part for key, part in value.items() if part is not None}
    return {key: MISSING if part is None else part for key, part in value.items()}
