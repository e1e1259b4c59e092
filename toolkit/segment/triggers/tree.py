"""The tree both dialects read a trigger into, a closed set of conditions, and its normal forms.

What a node means depends on the node alone, not on the dialect it was read in. A condition is about the
value found at its path::

    the event is an object; the first step is one of its keys, and so on, step by step
    in an object    the step is a key; a key that is not there gives missing
    in a list       "0", "1", ... is an item, counted from 0; "length" is the number of items
    in a text       "0", "1", ... is a character; "length" is the number of characters
                    (both in UTF-16 units, as JavaScript counts)
    in null, false, 0 or ""   the walk stops, and this is the value found, whatever steps remain
    anything else   missing

Missing counts as null. An empty list or object is walked into like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
FunctionName = Literal["contains", "match", "starts_with", "ends_with"]
Constant: TypeAlias = str | float | bool | None


@dataclass(frozen=True, kw_only=True)
class And:
    """True when every part is; so with no parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Or:
    """True when any part is; false with no parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Not:
    """True when the part is false."""

    part: Node


@dataclass(frozen=True, kw_only=True)
class Never:
    """False for every event: a condition Segment takes without being able to test it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The value found against a constant; what is compared depends on the kind of the constant.

    ================  ======================================================================
    constant          meaning
    ================  ======================================================================
    text              ``=`` a text, and exactly this one; ``!=`` anything else, null as well.
                      No order.
    number            a number (booleans are none) that stands in this relation to the
                      constant; false of all else, for ``!=`` too
    true, false       ``=`` exactly this boolean; ``!=`` anything else, null as well. No order.
    null              ``=`` null or missing; ``!=`` anything else. No order.
    ================  ======================================================================
    """

    path: tuple[str, ...]
    """Steps from the top of the event; at least one."""
    operator: Operator
    value: Constant
    """A number is a float and never NaN; it may be infinite, which is then more than any finite number."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A test of a text, exact and case sensitive; false for whatever is not a text, negated or not.

    ``contains``, ``starts_with`` and ``ends_with`` look for the text as it stands. ``match`` wants the whole
    value to fit the text as a pattern, in which ``*`` is any run of characters, wherever it stands.
    """

    name: FunctionName
    path: tuple[str, ...]
    text: str
    """What to look for, or the pattern."""
    negated: bool
    """Whether a text must fail the test."""


Leaf: TypeAlias = Comparison | Function | Never
Node: TypeAlias = And | Or | Not | Leaf


def canonical(node: Node) -> Node:
    """Return one form for trees that mean the same: the normal form, with patterns as the simplest tests.

    Every rewriting keeps the meaning exactly; what cannot be moved stays where it is.
    """
    return negation_normal_form(_simplified(node))


def negation_normal_form(node: Node, *, negate: bool = False) -> Node:
    """Return the tree with negations moved in as far as they go, and nested lists of one kind flattened.

    A `Not` that stays is around a single condition. "Not equal to 5" holds for a missing value when 5 is a
    text, and does not when it is a number, so only the first takes a negation in.
    """
    if isinstance(node, Not):
        return negation_normal_form(node.part, negate=not negate)
    if not isinstance(node, And | Or):
        return _opposite(node) if negate else node
    kind = And if isinstance(node, And) is not negate else Or
    parts: list[Node] = []
    for part in node.parts:
        inner = negation_normal_form(part, negate=negate)
        parts.extend(inner.parts if isinstance(inner, kind) else [inner])
    return parts[0] if len(parts) == 1 else kind(parts=tuple(parts))


def _opposite(leaf: Leaf) -> Node:
    if isinstance(leaf, Comparison) and (leaf.value is None or isinstance(leaf.value, str)):
        return replace(leaf, operator="!=" if leaf.operator == "=" else "=")
    return Not(part=leaf)


def _simplified(node: Node) -> Node:
    """Return the tree with every condition in its simplest form."""
    if isinstance(node, And | Or):
        return replace(node, parts=tuple(_simplified(part) for part in node.parts))
    if isinstance(node, Not):
        return Not(part=_simplified(node.part))
    if isinstance(node, Comparison) and isinstance(node.value, bool) and node.operator == "!=":
        return Not(part=replace(node, operator="="))
    if isinstance(node, Function) and node.name == "match":
        return _without_pattern(node)
    return replace(node, name="starts_with") if isinstance(node, Function) and not node.text else node


def _without_pattern(node: Function) -> Node:
    pattern = re.sub(r"\*+", "*", node.text)
    match pattern.split("*"):
        case [text]:
            return _equality(node, text)
        case [first, ""]:
            return replace(node, name="starts_with", text=first)
        case ["", last]:
            return replace(node, name="ends_with", text=last)
        case ["", middle, ""]:
            return replace(node, name="contains", text=middle)
        case [first, last] if not _overlaps(first, last):
            ends = (
                replace(node, name="starts_with", text=first),
                replace(node, name="ends_with", text=last),
            )
            return Or(parts=ends) if node.negated else And(parts=ends)
    return replace(node, text=pattern)


def _equality(node: Function, text: str) -> Node:
    if not node.negated:
        return Comparison(path=node.path, operator="=", value=text)
    is_text = Function(name="starts_with", path=node.path, text="", negated=False)
    return And(parts=(is_text, Comparison(path=node.path, operator="!=", value=text)))


def _overlaps(first: str, last: str) -> bool:
    """Tell whether a text can start with one and end with the other and be too short for both."""
    return any(first.endswith(last[:length]) for length in range(1, min(len(first), len(last)) + 1))
