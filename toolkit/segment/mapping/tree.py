"""A mapping as a tree: what its directives say, parsed and checked, before anything is computed.

`parse_mapping` makes the tree, `compile_tree` makes Python functions of it; other compilers may read it
too. The classes here are all there are (`Node`). A node is resolved against a *scope*: the event, or,
inside `ArrayPath.shape` and `Transform.mapping`, what these put in its place. Where a node can fail,
``pointer`` is its place in the mapping; it does not count when nodes are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from toolkit.segment.javascript import MISSING, Missing

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """A value that is the same whatever the event; as Segment reads a mapping, it may be missing."""

    value: Scalar | Missing


NOTHING: Final = Raw(value=MISSING)
"""What is always missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOf:
    """A list; an item that is missing becomes null."""

    items: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectOf:
    """An object; a member that is missing is left out."""

    members: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """``@path`` with a path as written: the value at the end of the steps.

    The walk ends early, with that value, at null, false, 0, NaN or a blank text. A step into a list is an
    index; into a text it gives a character (a UTF-16 unit); into a number or true nothing.
    """

    steps: tuple[str, ...]
    """Keys and indexes; none gives the whole scope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputedPath:
    """``@path`` whose path comes from the event."""

    path: Node
    """Anything but a text is an error; see `parse_path`."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """``@template`` with a template as written: the text forms of its parts, joined."""

    parts: tuple[str | Path, ...]
    """Texts, and a path for each placeholder; missing and null show as nothing."""
    rescan: bool
    """True when the paths are triple placeholders: double ones in the joined text are filled in next."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputedTemplate:
    """``@template`` whose template comes from the event."""

    template: Node
    """Anything but a text is an error; see `fill`."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class If:
    """``@if``: one of two branches."""

    test: Literal["exists", "blank"]
    """``exists`` takes `then` unless the subject is missing or null. ``blank``, read the wrong way round
    as Segment does, also wants it to differ from ``""``, to which 0, false and lists of nothing are equal."""
    subject: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """``@case``: a text in lower or upper case; any other value as it is."""

    operator: Literal["lower", "upper"]
    value: Node
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replace:
    """``@replace``: a text (or the text of a number or boolean) with texts replaced in it; else ``""``."""

    value: Node
    pairs: tuple[tuple[str, str], ...]
    """One or two of (pattern, replacement), applied in turn. The pattern is literal; ``$&``, ``$$``,
    ``` $` ``` and ``$'`` in the replacement stand for parts of the text."""
    ignorecase: bool
    everywhere: bool
    """False replaces the first occurrence only."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayPath:
    """``@arrayPath``: a value; with a shape, a list or object is reshaped item by item."""

    value: Node
    shape: Node | None
    """Resolved with each item as scope; an object counts as a list of one. None leaves the value as it is."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """``@merge``: the members of several objects in one; texts and lists give theirs by position.

    A member that is missing still takes the place of an earlier one, and is left out at the end.
    """

    objects: tuple[Node, ...]
    direction: Literal["left", "right"]
    """Which end wins: ``right`` the later, ``left`` the earlier object."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform:
    """``@transform``: `mapping` resolved against what `apply` gives."""

    apply: Node
    mapping: Node
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flatten:
    """``@flatten``: nested keys joined into one level."""

    value: Node
    separator: str
    omit_arrays: bool
    """Leave lists as they are."""
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonEncode:
    """``@json`` encode: the JSON text of a value, as JavaScript writes it."""

    value: Node
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonDecode:
    """``@json`` decode: what a JSON text says; any other value as it is."""

    value: Node
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Liquid:
    """``@liquid``: a Liquid template rendered with the scope's members as variables."""

    template: str
    pointer: str = field(compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcludeWhenNull:
    """``@excludeWhenNull``: null becomes missing, also in objects within objects, not inside lists."""

    value: Node
    pointer: str = field(compare=False)


Node: TypeAlias = (
    Raw
    | ListOf
    | ObjectOf
    | Path
    | ComputedPath
    | Template
    | ComputedTemplate
    | If
    | Case
    | Replace
    | ArrayPath
    | Merge
    | Transform
    | Flatten
    | JsonEncode
    | JsonDecode
    | Liquid
    | ExcludeWhenNull
)
"""Every kind of node."""


def children(node: Node) -> tuple[Node, ...]:  # noqa: PLR0911 - one for each shape of node
    """Return the nodes that *node* is made of, in their order; not theirs in turn.

    >>> children(If(test="exists", subject=Path(steps=("a",)), then=Raw(value=1), otherwise=NOTHING))
    (Path(steps=('a',)), Raw(value=1), Raw(value=MISSING))
    """
    match node:
        case ListOf(items=nodes) | Merge(objects=nodes):
            return nodes
        case ObjectOf(members=members):
            return tuple(part for _, part in members)
        case Template(parts=parts):
            return tuple(part for part in parts if not isinstance(part, str))
        case If(subject=subject, then=then, otherwise=otherwise):
            return subject, then, otherwise
        case ArrayPath(value=value, shape=shape):
            return (value,) if shape is None else (value, shape)
        case Transform(apply=apply, mapping=mapping):
            return apply, mapping
        case ComputedPath(path=value) | ComputedTemplate(template=value):
            return (value,)
        case Raw() | Path() | Liquid():
            return ()
        case _:
            return (node.value,)
