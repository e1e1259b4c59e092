"""The tree both dialects read a trigger into: a closed set of conditions, each with one meaning.

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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
FunctionName = Literal["contains", "match", "starts_with", "ends_with"]
Constant: TypeAlias = str | float | bool | None

MAX_TOKENS: Final = 50_000
"""How many words and signs a text may have; more would hold a run up for seconds."""


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
    """False of every event: a condition Segment takes without being able to test it."""


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
    """A test of a text, exact and case sensitive; false of whatever is not a text, negated or not.

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


def leaves(node: Node) -> Iterator[Leaf]:
    """Yield the conditions of a tree, left to right."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, And | Or):
            waiting.extend(reversed(here.parts))
        elif isinstance(here, Not):
            waiting.append(here.part)
        else:
            yield here
