"""One form for trees that mean the same, so that two readings can be compared.

Every rewriting keeps the meaning exactly; what cannot be moved stays where it is. Texts, for instance: "not
equal to 5" holds for a missing value when 5 is a text, and does not when it is a number, so only the first
takes a negation in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .tree import And, Comparison, Function, FunctionName, Leaf, Node, Not, Or

_STARS = re.compile(r"\*+")


def canonical(node: Node) -> Node:
    """Return the tree with negations moved in, lists flattened and patterns made the simplest tests."""
    return settled(_simple(node))


def settled(node: Node) -> Node:
    """Return the tree with negations moved in as far as they go, and lists in lists of their kind flattened.

    A `Not` that stays is around a single condition.
    """
    return _settled(node, negate=False)


def _settled(node: Node, *, negate: bool) -> Node:
    if isinstance(node, Not):
        return _settled(node.part, negate=not negate)
    if not isinstance(node, And | Or):
        return _opposite(node) if negate else node
    kind = And if isinstance(node, And) is not negate else Or
    parts: list[Node] = []
    for part in node.parts:
        inner = _settled(part, negate=negate)
        parts.extend(inner.parts if isinstance(inner, kind) else [inner])
    return parts[0] if len(parts) == 1 else kind(parts=tuple(parts))


def _opposite(leaf: Leaf) -> Node:
    if isinstance(leaf, Comparison) and (leaf.value is None or isinstance(leaf.value, str)):
        return Comparison(path=leaf.path, operator="!=" if leaf.operator == "=" else "=", value=leaf.value)
    return Not(part=leaf)


def _simple(node: Node) -> Node:
    """Return the tree with every leaf in its simplest form."""
    if isinstance(node, And | Or):
        return type(node)(parts=tuple(_simple(part) for part in node.parts))
    if isinstance(node, Not):
        return Not(part=_simple(node.part))
    if isinstance(node, Comparison) and isinstance(node.value, bool) and node.operator == "!=":
        return Not(part=Comparison(path=node.path, operator="=", value=node.value))
    if not isinstance(node, Function):
        return node
    if node.name == "match":
        return _without_pattern(node)
    return _test(node, "starts_with", "") if node.text == "" else node


def _without_pattern(node: Function) -> Node:
    pattern = _STARS.sub("*", node.text)
    first, *middle, last = pattern.split("*") if "*" in pattern else (pattern, pattern)
    if "*" not in pattern:
        return _equality(node)
    if middle == [] and not last:
        return _test(node, "starts_with", first)
    if middle == [] and not first:
        return _test(node, "ends_with", last)
    if len(middle) == 1 and not first and not last:
        return _test(node, "contains", middle[0])
    if middle == [] and not _overlaps(first, last):
        ends = (_test(node, "starts_with", first), _test(node, "ends_with", last))
        return Or(parts=ends) if node.negated else And(parts=ends)
    return _test(node, "match", pattern)


def _test(node: Function, name: FunctionName, text: str) -> Function:
    return Function(name=name, path=node.path, text=text, negated=node.negated)


def _equality(node: Function) -> Node:
    if not node.negated:
        return Comparison(path=node.path, operator="=", value=node.text)
    is_text = Function(name="starts_with", path=node.path, text="", negated=False)
    return And(parts=(is_text, Comparison(path=node.path, operator="!=", value=node.text)))


def _overlaps(first: str, last: str) -> bool:
    """Tell whether a text can start with one and end with the other and be too short for both."""
    return any(first.endswith(last[:length]) for length in range(1, min(len(first), len(last)) + 1))


def settled_leaves(node: Node) -> Iterator[Node]:
    """Yield the conditions of a settled tree, left to right, a negation around one included."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, And | Or):
            waiting.extend(reversed(here.parts))
        else:
            yield here
