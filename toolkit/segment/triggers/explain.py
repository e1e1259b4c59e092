"""Why a trigger fired for an event, or did not: its conditions one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .canonical import settled, settled_leaves
from .evaluate import predicate, reader
from .tree import And, Node, Not, Or
from .write import condition_text


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a trigger, and what became of it for one event.

    Negations of groups are moved in, so that a condition is shown as it counts: in ``!(type = "page" or
    event = "Sale")`` they are ``type != "page"`` and ``event != "Sale"``.
    """

    text: str
    """The condition as read, not as written."""
    path: tuple[str, ...]
    """Where it looks; no steps for a condition that looks nowhere."""
    value: Any
    """What was found there, as it stands in the event; None for missing."""
    holds: bool
    """Whether the condition is met."""
    decided: bool
    """Whether the outcome hangs on it.

    Of a list joined by ``and`` the first part that fails decides, or all of them when none does; of one
    joined by ``or`` the first that holds, or all. What decides a part that decides decides the whole.
    """


def explain(tree: Node, event: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions of *tree*, left to right, with what they found in *event*."""
    tree = settled(tree)
    found = [_observed(leaf, event) for leaf in settled_leaves(tree)]
    _, deciding = _outcome(tree, iter(enumerate(condition[-1] for condition in found)))
    chosen = set(deciding)
    return tuple(
        Condition(text=text, path=path, value=value, holds=holds, decided=place in chosen)
        for place, (text, path, value, holds) in enumerate(found)
    )


def _observed(leaf: Node, event: Mapping[str, Any]) -> tuple[str, tuple[str, ...], Any, bool]:
    inner = leaf.part if isinstance(leaf, Not) else leaf
    path: tuple[str, ...] = getattr(inner, "path", ())
    value = reader(path)(event) if path else None
    return condition_text(leaf), path, value, predicate(leaf)(event)


def _outcome(node: Node, results: Iterator[tuple[int, bool]]) -> tuple[bool, list[int]]:
    """Return whether *node* holds, and the places of the conditions that decide it."""
    if not isinstance(node, And | Or):
        place, holds = next(results)
        return holds, [place]
    outcomes = [_outcome(part, results) for part in node.parts]
    settling = isinstance(node, Or)
    first = next((outcome for outcome in outcomes if outcome[0] is settling), None)
    return first or (not settling, [place for _, places in outcomes for place in places])
