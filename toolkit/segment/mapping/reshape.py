"""``@merge`` and ``@flatten``: several objects in one, several levels in one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .allowance import ITEM_COST, Allowance
from .javascript import ordered_items, units
from .tree import Flatten, Merge


def merge(objects: Iterable[Any], node: Merge, allowance: Allowance) -> dict[str, Any]:
    """Return the members of all *objects*, later ones over earlier ones; may have holes.

    Texts and lists have their parts by position, other values nothing.
    """
    merged: dict[str, Any] = {}
    for value in objects:
        parts = units(value) if isinstance(value, str) else value
        if isinstance(parts, dict | str | list):
            allowance.spend_items(len(parts), node.pointer)
            merged.update(parts if isinstance(parts, dict) else {str(i): p for i, p in enumerate(parts)})
    return merged


def flatten(value: Any, node: Flatten, allowance: Allowance) -> dict[str, Any]:
    """Return the innermost values of *value*, each under the keys that lead to it; may have holes."""
    if not _is_nested(value, node):
        return {"": value}
    flat: dict[str, Any] = {}
    # Not recursive: an event may be nested deeper than Python calls.
    levels: list[tuple[str, Iterator[tuple[str, Any]]]] = [("", _items(value))]
    while levels:
        prefix, items = levels[-1]
        for key, part in items:
            path = f"{prefix}{node.separator}{key}" if prefix else key
            allowance.spend(len(path) + ITEM_COST, node.pointer)
            if _is_nested(part, node):
                levels.append((path, _items(part)))
                break
            flat[path] = part
        else:
            levels.pop()
    return flat


def _is_nested(value: Any, node: Flatten) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and not node.omit_arrays)


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return iter(ordered_items(value))
    return ((str(i), part) for i, part in enumerate(value))
