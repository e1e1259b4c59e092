"""What can be said about a node before any event: its size, and whether its value may have holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .tree import ArrayPath, ExcludeWhenNull, Flatten, ListOf, Merge, Node, ObjectOf, children

_MAKE_LIST_HOLES: Final = (ListOf, ArrayPath)
_MAKE_HOLES: Final = (*_MAKE_LIST_HOLES, ObjectOf, Merge, Flatten, ExcludeWhenNull)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What `FactFinder` says about a node."""

    size: int
    """Nodes in it, itself included."""
    may_have_holes: bool
    """Its value may, if every hole is kept; whatever the scope has."""
    may_have_list_holes: bool
    """The same, of holes in lists alone."""


class FactFinder:
    """Finds the facts about each node of a tree once, however often it is asked."""

    def __init__(self) -> None:
        self._known: dict[int, Facts] = {}  # by identity: comparing nodes would read all below them

    def about(self, node: Node) -> Facts:
        """Return the facts about *node*."""
        if id(node) not in self._known:
            parts = [self.about(child) for child in children(node)]
            self._known[id(node)] = Facts(
                size=1 + sum(part.size for part in parts),
                may_have_holes=isinstance(node, _MAKE_HOLES) or any(p.may_have_holes for p in parts),
                may_have_list_holes=isinstance(node, _MAKE_LIST_HOLES)
                or any(p.may_have_list_holes for p in parts),
            )
        return self._known[id(node)]
