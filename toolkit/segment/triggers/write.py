"""Trees as texts: for Segment to read, or for people."""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias

from toolkit.errors import TriggerError

from .canonical import canonical
from .javascript import plain_digits
from .official import read_official
from .tree import And, Comparison, Constant, Function, Node, Not, Or

MAX_DEPTH: Final = 300
"""How deep a tree may be that is written."""
MAX_GROUPS: Final = 64
"""How many groups a nested tree may become when it is multiplied out."""
MAX_CONDITIONS: Final = 10_000
"""How many conditions these groups may hold in all."""

Clauses: TypeAlias = list[list[Node]]

_ODD = re.compile(r"[^A-Za-z0-9_-]")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_WORDS: Final = ("and", "or", "null")


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
        It cannot be said in Segment's language.

    Examples
    --------
    >>> from toolkit.segment.triggers import Trigger
    >>> write_trigger(Trigger("!(type = 'page' or type = 'screen') and match(event, 'Cart*')").tree)
    'type != "page" and type != "screen" and match(event, "Cart*")'
    """
    return written(tree)[0]


def written(tree: Node) -> tuple[str, Node]:
    """Return the text of `write_trigger`, and Segment's reading of it in canonical form."""
    if _depth_exceeds(tree, MAX_DEPTH):
        raise TriggerError(f"The tree is more than {MAX_DEPTH} levels deep; make it flatter", None)
    plain = canonical(tree)
    for kind in (Or, And) if isinstance(plain, Or) else (And, Or):
        clauses = _clauses(plain, kind)
        text = None if clauses is None else _said(clauses, kind)
        if text is None or clauses is None:
            continue
        reading = read_official(text)
        read = canonical(reading.tree)
        if reading.error is None and read == _meant(clauses, kind):
            return text, read
    raise TriggerError(
        "Segment's language cannot say this; it has one level of parentheses with one call in each, no "
        "negation but != and !contains, !match, and no texts with a double quote",
        None,
    )


def _meant(clauses: Clauses, kind: type[And | Or]) -> Node:
    other = Or if kind is And else And
    return canonical(kind(parts=tuple(other(parts=tuple(clause)) for clause in clauses)))


def _depth_exceeds(tree: Node, limit: int) -> bool:
    level = [tree]
    for _ in range(limit):
        level = [
            part
            for node in level
            for part in (
                node.parts if isinstance(node, And | Or) else (node.part,) if isinstance(node, Not) else ()
            )
        ]
        if not level:
            return False
    return True


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
        if len(clauses) == 1:
            for clause in product:
                clause.extend(clauses[0])
        else:
            product = [[*clause, *more] for clause in product for more in clauses]
        if len(product) > 1 and len(product) * len(product[0]) > MAX_CONDITIONS:
            return None
    return product


def _said(clauses: Clauses, kind: type[And | Or]) -> str | None:
    outer, inner = (" and ", " or ") if kind is And else (" or ", " and ")
    if len(clauses) == 1:
        outer = inner
        clauses = [[leaf] for leaf in clauses[0]]
    groups = []
    for clause in clauses:
        # A call ends the group it stands in, so it has to be the last.
        clause.sort(key=lambda leaf: isinstance(leaf, Function))
        conditions = [_official_text(leaf) for leaf in clause]
        if None in conditions:
            return None
        text = inner.join(condition or "" for condition in conditions)
        groups.append(f"({text})" if len(clause) > 1 else text)
    return outer.join(groups)


def _official_text(leaf: Node) -> str | None:
    """Return a condition as Segment reads it; None when there are no words for it."""
    if isinstance(leaf, Comparison):
        if isinstance(leaf.value, str) and '"' in leaf.value:
            return None
        return f"{path_text(leaf.path)} {leaf.operator} {_constant_text(leaf.value)}"
    if isinstance(leaf, Function) and leaf.name != "match" and '"' not in leaf.text:
        return _call_text(leaf, path_text(leaf.path), f'"{leaf.text}"')
    return None


def _constant_text(value: Constant) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if math.isinf(value):
        return ("-" if value < 0 else "") + "1" + "0" * 309
    return plain_digits(value)


def _call_text(leaf: Function, path: str, quoted: str) -> str:
    if leaf.name == "starts_with":
        quoted = f"{quoted[:-1]}*{quoted[-1]}"
    elif leaf.name == "ends_with":
        quoted = f"{quoted[0]}*{quoted[1:]}"
    name = "contains" if leaf.name == "contains" else "match"
    return f"{'!' if leaf.negated else ''}{name}({path}, {quoted})"


def path_text(path: tuple[str, ...], *, brackets: bool = False) -> str:
    """Return a path as written; *brackets* for ``[0]``, which is easier to read, but not for Segment."""
    field, *steps = path
    written = [field]
    for step in steps:
        if brackets and _INDEX.fullmatch(step):
            written.append(f"[{step}]")
        else:
            written.append(f".{_name_text(step)}")
    return "".join(written)


def _name_text(name: str) -> str:
    escaped = _ODD.sub(lambda odd: f"\\{odd[0]}", name)
    return f"\\{escaped}" if name in _WORDS or re.match(r"[0-9-]", name) else escaped


def condition_text(leaf: Node) -> str:
    """Return a condition of a settled tree for people to read."""
    if isinstance(leaf, Not):
        return f"!({condition_text(leaf.part)})"
    if isinstance(leaf, Comparison):
        value = leaf.value
        constant = _quoted(value) if isinstance(value, str) else _constant_text(value)
        return f"{path_text(leaf.path, brackets=True)} {leaf.operator} {constant}"
    if isinstance(leaf, Function):
        return _call_text(leaf, path_text(leaf.path, brackets=True), _quoted(leaf.text))
    return "(never true)"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
