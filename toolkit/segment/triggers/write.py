"""Trees in one form, and as texts: for Segment to read, or for people."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from itertools import chain, product
from typing import Final

from toolkit.errors import TriggerError

from .official import read_official
from .strict import read_strict
from .tree import INDEX, And, Comparison, Constant, Function, Leaf, Not, Or, Tree, unite

MAX_GROUPS: Final = 64
"""How many groups a nested tree may become when it is multiplied out."""
MAX_CONDITIONS: Final = 10_000
"""How many conditions these groups may hold in all."""


def write_trigger(tree: Tree) -> str:
    """Write a tree as a text that both dialects read with the same meaning; blank when there is none.

    Segment has no nested parentheses, no negation of a group and one call a group at most; a tree is turned
    over and multiplied out until it fits.
    """
    plain = canonical(tree)
    for kind, other in ((Or, And), (And, Or)) if isinstance(plain, Or) else ((And, Or), (Or, And)):
        clauses = _clauses(plain, kind)
        if clauses is not None:
            text = _official_text(clauses, kind)
            meaning = canonical(kind(parts=tuple(other(parts=tuple(clause)) for clause in clauses)))
            reading = read_official(text)
            with suppress(TriggerError):
                if not reading.refusal and canonical(reading.tree) == canonical(read_strict(text)) == meaning:
                    return text
    return ""


def _clauses(node: Tree, kind: type[And | Or]) -> list[list[Tree]] | None:
    """Return the tree as a list, joined by *kind*, of lists joined by the other; None when too long."""
    if not isinstance(node, And | Or):
        return [[node]]
    parts = [clauses for part in node.parts if (clauses := _clauses(part, kind)) is not None]
    if len(parts) < len(node.parts):
        return None
    if isinstance(node, kind):
        return [*chain.from_iterable(parts)]
    groups = math.prod(map(len, parts))
    if groups > MAX_GROUPS or (groups > 1 and groups * sum(len(part[0]) for part in parts) > MAX_CONDITIONS):
        return None
    return [[*chain.from_iterable(chosen)] for chosen in product(*parts)]


def _official_text(clauses: list[list[Tree]], kind: type[And | Or]) -> str:
    outer, inner = (" and ", " or ") if kind is And else (" or ", " and ")
    groups = []
    for clause in clauses:
        if len(clauses) > 1:  # a call ends the group it stands in, so it has to be the last
            clause.sort(key=lambda leaf: isinstance(leaf, Function))
        text = inner.join(condition_text(leaf, official=True) for leaf in clause)
        groups.append(f"({text})" if len(clause) > 1 and len(clauses) > 1 else text)
    return outer.join(groups)


def condition_text(leaf: Tree, *, official: bool = False) -> str:
    r"""Return a condition of a tree in normal form: for people, or as Segment reads it.

    People see ``[0]`` and ``\"``, which are easier to read, but not for Segment.
    """
    if isinstance(leaf, Not):
        return f"!({condition_text(leaf.part)})"
    if isinstance(leaf, Comparison):
        return f"{_path(leaf.path, official)} {leaf.operator} {_constant(leaf.value, official)}"
    if isinstance(leaf, Function):
        before, after = leaf.name == "ends_with", leaf.name == "starts_with"
        quoted = _constant(leaf.text, official)
        pattern = f'"{"*" * before}{quoted[1:-1]}{"*" * after}"'
        name = "contains" if leaf.name == "contains" else "match"
        return f"{'!' * leaf.negated}{name}({_path(leaf.path, official)}, {pattern})"
    return "(never true)"


def _constant(value: Constant, official: bool) -> str:  # noqa: FBT001
    if isinstance(value, str):
        text = value if official else value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if math.isinf(value):
        return ("-" if value < 0 else "") + "1" + "0" * 309
    return format(Decimal(repr(value)), "f").removesuffix(".0")


def _path(path: tuple[str, ...], official: bool) -> str:  # noqa: FBT001
    steps = (f"[{s}]" if not official and INDEX.fullmatch(s) else f".{_name(s)}" for s in path[1:])
    return path[0] + "".join(steps)


def _name(name: str) -> str:
    escaped = re.sub(r"[^A-Za-z0-9_-]", lambda odd: f"\\{odd[0]}", name)
    return f"\\{escaped}" if name in ("and", "or", "null") or re.match(r"[0-9-]", name) else escaped


# --- one form for trees that mean the same


def canonical(node: Tree) -> Tree:
    """Return one form for trees that mean the same: the normal form, with patterns as the simplest tests.

    Every rewriting keeps the meaning exactly; what cannot be moved stays where it is.
    """
    return negation_normal_form(node, simplify=_simplest)


def negation_normal_form(
    node: Tree, *, negate: bool = False, simplify: Callable[[Leaf], Tree] = lambda leaf: leaf
) -> Tree:
    """Return the tree with negations moved in as far as they go, and nested lists of one kind flattened.

    A `Not` that stays is around a single condition. "Not equal to 5" holds for a missing value when 5 is a
    text, and does not when it is a number, so only the first takes a negation in.
    """
    if not isinstance(node, And | Or | Not):
        node = simplify(node)
    if isinstance(node, Not):
        return negation_normal_form(node.part, negate=not negate, simplify=simplify)
    if not isinstance(node, And | Or):
        if negate and isinstance(node, Comparison) and (node.value is None or isinstance(node.value, str)):
            return replace(node, operator="!=" if node.operator == "=" else "=")
        return Not(part=node) if negate else node
    kind = And if isinstance(node, And) is not negate else Or
    parts: list[Tree] = []
    for part in node.parts:
        inner = negation_normal_form(part, negate=negate, simplify=simplify)
        parts.extend(inner.parts if isinstance(inner, kind) else [inner])
    return unite(kind, parts)


def _simplest(leaf: Leaf) -> Tree:
    if isinstance(leaf, Comparison) and isinstance(leaf.value, bool) and leaf.operator == "!=":
        return Not(part=replace(leaf, operator="="))
    if isinstance(leaf, Function) and leaf.name == "match":
        return _without_pattern(leaf)
    return replace(leaf, name="starts_with") if isinstance(leaf, Function) and not leaf.text else leaf


def _without_pattern(node: Function) -> Tree:
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
        # In a text that is too short for both, the two could overlap.
        case [first, last] if not any(first.endswith(last[:n]) for n in range(1, len(last) + 1)):
            starts = replace(node, name="starts_with", text=first)
            ends = starts, replace(node, name="ends_with", text=last)
            return Or(parts=ends) if node.negated else And(parts=ends)
    return replace(node, text=pattern)


def _equality(node: Function, text: str) -> Tree:
    if not node.negated:
        return Comparison(path=node.path, operator="=", value=text)
    is_text = Function(name="starts_with", path=node.path, text="", negated=False)
    return And(parts=(is_text, Comparison(path=node.path, operator="!=", value=text)))
