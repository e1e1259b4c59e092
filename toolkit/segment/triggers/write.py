"""Trees in one form, and as texts: for Segment to read, or for people."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from decimal import Decimal
from typing import Final, TypeAlias

from toolkit.errors import TriggerError

from .official import read_official
from .strict import read_strict
from .tree import INDEX, And, Comparison, Constant, Function, Leaf, Node, Not, Or

MAX_GROUPS: Final = 64
"""How many groups a nested tree may become when it is multiplied out."""
MAX_CONDITIONS: Final = 10_000
"""How many conditions these groups may hold in all."""

Clauses: TypeAlias = list[list[Node]]


def write_trigger(tree: Node) -> str:
    """Write a tree as a text that both dialects read with the same meaning.

    Segment has no nested parentheses, no negation of a group and one call a group at most; a tree is turned
    over and multiplied out until it fits. TriggerError is raised where that language has no words for it.

    >>> from toolkit.segment.triggers import Trigger
    >>> write_trigger(Trigger("!(type = 'page' or type = 'screen') and match(event, 'Cart*')").tree)
    'type != "page" and type != "screen" and match(event, "Cart*")'
    """
    try:
        plain = canonical(tree)
        for kind in (Or, And) if isinstance(plain, Or) else (And, Or):
            clauses = _clauses(plain, kind)
            text = None if clauses is None else _official_text(clauses, kind)
            if text is not None and clauses is not None and _is_read_as(text, _meaning(clauses, kind)):
                return text
    except RecursionError:
        raise TriggerError("The tree is too many levels deep; make it flatter", None) from None
    raise TriggerError(
        "Segment's language cannot say this; it has one level of parentheses with one call in each, no "
        "negation but != and !contains, !match, and no texts with a double quote or with \\\\ or \\'",
        None,
    )


def _is_read_as(text: str, meaning: Node) -> bool:
    reading = read_official(text)
    if reading.notes.refusal or canonical(reading.tree) != meaning:
        return False
    try:
        return canonical(read_strict(text)) == meaning
    except TriggerError:
        return False


def _meaning(clauses: Clauses, kind: type[And | Or]) -> Node:
    other = Or if kind is And else And
    return canonical(kind(parts=tuple(other(parts=tuple(clause)) for clause in clauses)))


def _clauses(node: Node, kind: type[And | Or]) -> Clauses | None:
    """Return the tree as a list, joined by *kind*, of lists joined by the other; None when too long."""
    if not isinstance(node, And | Or):
        return [[node]]
    inner = [_clauses(part, kind) for part in node.parts]
    if isinstance(node, kind):
        return None if None in inner else [clause for clauses in inner for clause in clauses or ()]
    product: Clauses = [[]]
    for clauses in inner:
        if clauses is None or len(product) * len(clauses) > max(MAX_GROUPS, len(product)):
            return None
        if len(clauses) == 1:  # in place: a long list of single conditions would be copied for each
            for clause in product:
                clause.extend(clauses[0])
        else:
            product = [[*clause, *more] for clause in product for more in clauses]
        if len(product) > 1 and len(product) * len(product[0]) > MAX_CONDITIONS:
            return None
    return product


def _official_text(clauses: Clauses, kind: type[And | Or]) -> str | None:
    outer, inner = (" and ", " or ") if kind is And else (" or ", " and ")
    if len(clauses) == 1:
        outer = inner
        clauses = [[leaf] for leaf in clauses[0]]
    groups = []
    for clause in clauses:
        # A call ends the group it stands in, so it has to be the last.
        clause.sort(key=lambda leaf: isinstance(leaf, Function))
        if not all(_has_words(leaf) for leaf in clause):
            return None
        text = inner.join(condition_text(leaf, official=True) for leaf in clause)
        groups.append(f"({text})" if len(clause) > 1 else text)
    return outer.join(groups)


def _has_words(leaf: Node) -> bool:
    if isinstance(leaf, Function):
        return leaf.name != "match" and '"' not in leaf.text
    return isinstance(leaf, Comparison) and not (isinstance(leaf.value, str) and '"' in leaf.value)


def condition_text(leaf: Node, *, official: bool = False) -> str:
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
    field, *steps = path
    names = (f"[{s}]" if not official and INDEX.fullmatch(s) else f".{_name(s)}" for s in steps)
    return field + "".join(names)


def _name(name: str) -> str:
    escaped = re.sub(r"[^A-Za-z0-9_-]", lambda odd: f"\\{odd[0]}", name)
    return f"\\{escaped}" if name in ("and", "or", "null") or re.match(r"[0-9-]", name) else escaped


# --- one form for trees that mean the same


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
