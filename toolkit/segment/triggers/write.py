"""Trees as texts: for Segment to read, or for people."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final, TypeAlias

from toolkit.errors import TriggerError

from .official import read_official
from .tree import And, Comparison, Constant, Function, Node, Not, Or, canonical

MAX_GROUPS: Final = 64
"""How many groups a nested tree may become when it is multiplied out."""
MAX_CONDITIONS: Final = 10_000
"""How many conditions these groups may hold in all."""

Clauses: TypeAlias = list[list[Node]]

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def write_trigger(tree: Node) -> str:
    """Write a tree as a text that Segment reads with the same meaning.

    Segment has no nested parentheses, no negation of a group and one call a group at most; a tree is turned
    over and multiplied out until it fits.

    Parameters
    ----------
    tree
        As read in either dialect, or built by hand.

    Returns
    -------
    str
        The text; `Trigger` reads it in the official dialect to a tree of the same meaning.

    Raises
    ------
    TriggerError
        Segment's language has no words for it.

    Examples
    --------
    >>> from toolkit.segment.triggers import Trigger
    >>> write_trigger(Trigger("!(type = 'page' or type = 'screen') and match(event, 'Cart*')").tree)
    'type != "page" and type != "screen" and match(event, "Cart*")'
    """
    return written(tree)[0]


def written(tree: Node) -> tuple[str, Node]:
    """Return the text of `write_trigger`, and Segment's reading of it in canonical form."""
    try:
        plain = canonical(tree)
        for kind in (Or, And) if isinstance(plain, Or) else (And, Or):
            clauses = _clauses(plain, kind)
            text = None if clauses is None else _official_text(clauses, kind)
            if text is None or clauses is None:
                continue
            reading = read_official(text)
            read = canonical(reading.tree)
            if reading.error is None and read == _meaning(clauses, kind):
                return text, read
    except RecursionError:
        raise TriggerError("The tree is too many levels deep; make it flatter", None) from None
    raise TriggerError(
        "Segment's language cannot say this; it has one level of parentheses with one call in each, no "
        "negation but != and !contains, !match, and no texts with a double quote",
        None,
    )


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
    brackets = (not official and _INDEX.fullmatch(step) for step in steps)
    names = (f"[{step}]" if index else f".{_name(step)}" for step, index in zip(steps, brackets, strict=True))
    return field + "".join(names)


def _name(name: str) -> str:
    escaped = re.sub(r"[^A-Za-z0-9_-]", lambda odd: f"\\{odd[0]}", name)
    return f"\\{escaped}" if name in ("and", "or", "null") or re.match(r"[0-9-]", name) else escaped
