"""From the tree to Python: each node becomes a function of the scope.

The functions are made once a mapping and run once an event, so what can be settled before is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from toolkit.errors import MappingError

from . import tree
from .allowance import Allowance
from .facts import FactFinder
from .getters import Resolver, getter
from .holes import Keep, without_holes, without_nulls
from .javascript import text_of
from .json_text import decode, encode
from .paths import path_of, walk
from .replace import replace_text
from .reshape import flatten, merge
from .templates import fill, joined
from .tree import Node
from .values import MISSING, kind_of


def compile_tree(node: Node) -> Resolver:
    """Return the function that resolves a tree."""
    return _Compiler().compile(node, _Place())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a node stands, as far as holes are concerned."""

    keep: Keep = Keep.NOWHERE
    """Where the holes of the node's value stay."""
    is_holed: bool = False
    """The scope may have holes."""

    @property
    def within(self) -> _Place:
        """The place of the members and items of the node's value."""
        return replace(self, keep=self.keep.within)

    def keeping(self, keep: Keep) -> _Place:
        return replace(self, keep=keep)


class _Compiler:
    """Compiles the nodes of one tree."""

    def __init__(self) -> None:
        self._facts = FactFinder()

    def compile(self, node: Node, place: _Place) -> Resolver:
        make: Callable[[_Compiler, Any, _Place], Resolver] = _MAKERS[type(node)]
        return make(self, node, place)

    def plain(self, node: Node, place: _Place) -> Resolver:
        """Compile a part whose value does not go into the result, so that its holes do not matter."""
        return self.compile(node, place.keeping(Keep.NOWHERE))

    def raw(self, node: tree.Raw, _: _Place) -> Resolver:
        value = node.value
        return lambda scope, allowance: value  # noqa: ARG005 - the same whatever the event

    def list_of(self, node: tree.ListOf, place: _Place) -> Resolver:
        items = tuple(self.compile(item, place.within) for item in node.items)
        keep = place.keep is not Keep.NOWHERE

        def resolve(scope: Any, allowance: Allowance) -> Any:
            values = [item(scope, allowance) for item in items]
            return values if keep else [None if value is MISSING else value for value in values]

        return resolve

    def object_of(self, node: tree.ObjectOf, place: _Place) -> Resolver:
        members = tuple((key, self.compile(part, place.within)) for key, part in node.members)
        if place.keep is not Keep.NOWHERE:
            return lambda scope, allowance: {key: part(scope, allowance) for key, part in members}

        def resolve(scope: Any, allowance: Allowance) -> Any:
            result = {}
            for key, member in members:
                value = member(scope, allowance)
                if value is not MISSING:
                    result[key] = value
            return result

        return resolve

    def path(self, node: tree.Path, place: _Place) -> Resolver:
        get = getter(node.steps)
        if not place.is_holed:
            return get
        return lambda scope, allowance: without_holes(get(scope, allowance), allowance, keep=place.keep)

    def computed_path(self, node: tree.ComputedPath, place: _Place) -> Resolver:
        path = self.plain(node.path, place)
        pointer = node.pointer

        def resolve(scope: Any, allowance: Allowance) -> Any:
            text = _needed_text(path(scope, allowance), pointer)
            value = walk(scope, path_of(text).steps)
            return without_holes(value, allowance, keep=place.keep) if place.is_holed else value

        return resolve

    def template(self, node: tree.Template, _: _Place) -> Resolver:
        parts = [part if isinstance(part, str) else getter(part.steps) for part in node.parts]
        pointer = node.pointer

        def resolve(scope: Any, allowance: Allowance) -> str:
            scope = {} if scope is MISSING else scope  # as in `fill`
            texts = [part if isinstance(part, str) else text_of(part(scope, allowance)) for part in parts]
            return joined(texts, allowance, pointer)

        if not node.rescan:
            return resolve
        return lambda scope, allowance: fill(resolve(scope, allowance), 2, scope, allowance, pointer)

    def computed_template(self, node: tree.ComputedTemplate, place: _Place) -> Resolver:
        template = self.plain(node.template, place)
        pointer = node.pointer

        def resolve(scope: Any, allowance: Allowance) -> str:
            text = _needed_text(template(scope, allowance), pointer)
            for braces in (3, 2):
                text = fill(text, braces, scope, allowance, pointer)
            return text

        return resolve

    def if_(self, node: tree.If, place: _Place) -> Resolver:
        test = _exists if node.test == "exists" else _is_filled
        then, otherwise = self.compile(node.then, place), self.compile(node.otherwise, place)
        if node.subject == node.then:  # the common "this, else that": looked up once
            return _first_of(then, otherwise, test)
        subject = self.plain(node.subject, place)

        def resolve(scope: Any, allowance: Allowance) -> Any:
            branch = then if test(subject(scope, allowance)) else otherwise
            return branch(scope, allowance)

        return resolve

    def case(self, node: tree.Case, place: _Place) -> Resolver:
        value = self.compile(node.value, place)
        change = str.lower if node.operator == "lower" else str.upper
        pointer = node.pointer

        def resolve(scope: Any, allowance: Allowance) -> Any:
            found = value(scope, allowance)
            if not isinstance(found, str):
                return found
            allowance.spend(len(found), pointer)
            return change(found)

        return resolve

    def replace(self, node: tree.Replace, place: _Place) -> Resolver:
        value = self.plain(node.value, place)

        def resolve(scope: Any, allowance: Allowance) -> str:
            found = value(scope, allowance)
            if not isinstance(found, str | int | float):
                return ""
            return replace_text(text_of(found), node, allowance)

        return resolve

    def array_path(self, node: tree.ArrayPath, place: _Place) -> Resolver:
        if node.shape is None:
            return self.compile(node.value, place)
        value = self.compile(node.value, place.keeping(Keep.EVERYWHERE))
        is_holed = place.is_holed or self._facts.about(node.value).may_have_holes
        shape = self.compile(node.shape, _Place(keep=place.keep.within, is_holed=is_holed))
        size, pointer = self._facts.about(node.shape).size, node.pointer
        keep = place.keep is not Keep.NOWHERE

        def resolve(scope: Any, allowance: Allowance) -> Any:
            found = value(scope, allowance)
            if not isinstance(found, list | dict):
                return found
            items = [found] if isinstance(found, dict) else found
            allowance.spend_items(len(items) * size, pointer)
            shaped = [shape(item, allowance) for item in items]
            return shaped if keep else [None if item is MISSING else item for item in shaped]

        return resolve

    def merge(self, node: tree.Merge, place: _Place) -> Resolver:
        inner = place.keeping(Keep.AT_THE_TOP if place.keep is Keep.NOWHERE else place.keep)
        objects = [self.compile(part, inner) for part in node.objects]
        if node.direction == "left":
            objects.reverse()

        def resolve(scope: Any, allowance: Allowance) -> Any:
            merged = merge((part(scope, allowance) for part in objects), node, allowance)
            return merged if place.keep is not Keep.NOWHERE else _without_missing(merged)

        return resolve

    def transform(self, node: tree.Transform, place: _Place) -> Resolver:
        holed = place.is_holed or self._facts.about(node.apply).may_have_list_holes
        apply = self.compile(node.apply, place.keeping(Keep.EVERYWHERE if holed else Keep.NOWHERE))
        mapping = self.compile(node.mapping, _Place(keep=place.keep, is_holed=holed))
        pointer = node.pointer

        def resolve(scope: Any, allowance: Allowance) -> Any:
            scope = {} if scope is MISSING else scope
            if not isinstance(scope, dict):
                raise MappingError(f"takes an object to work on, not {kind_of(scope)}", pointer)
            applied = apply(scope, allowance)
            if holed:
                applied = without_holes(applied, allowance, in_lists=True, pointer=pointer)
            return mapping(applied, allowance)

        return resolve

    def flatten(self, node: tree.Flatten, place: _Place) -> Resolver:
        value = self.compile(node.value, place.keeping(Keep.EVERYWHERE))
        is_holed = place.is_holed or self._facts.about(node.value).may_have_list_holes

        def resolve(scope: Any, allowance: Allowance) -> Any:
            flat = flatten(value(scope, allowance), node, allowance)
            if node.omit_arrays and is_holed:
                return without_holes(flat, allowance, keep=place.keep, pointer=node.pointer)
            return flat if place.keep is not Keep.NOWHERE else _without_missing(flat)

        return resolve

    def json_encode(self, node: tree.JsonEncode, place: _Place) -> Resolver:
        value = self.plain(node.value, place)

        def resolve(scope: Any, allowance: Allowance) -> Any:
            found = value(scope, allowance)
            if found is MISSING:
                return MISSING
            return encode(found, lambda cost: allowance.spend(cost, node.pointer))

        return resolve

    def json_decode(self, node: tree.JsonDecode, place: _Place) -> Resolver:
        value = self.compile(node.value, place)

        def resolve(scope: Any, allowance: Allowance) -> Any:
            found = value(scope, allowance)
            if not isinstance(found, str):
                return found
            allowance.spend(4 * len(found), node.pointer)  # it takes that much longer than building text
            return decode(found, node.pointer)

        return resolve

    def liquid(self, node: tree.Liquid, _: _Place) -> Resolver:
        from .liquid import parse_template, render_template

        parts, pointer = parse_template(node.template), node.pointer
        return lambda scope, allowance: render_template(parts, scope, allowance, pointer)

    def exclude_when_null(self, node: tree.ExcludeWhenNull, place: _Place) -> Resolver:
        value = self.compile(node.value, place)
        return lambda scope, allowance: without_nulls(
            value(scope, allowance), place.keep, allowance, node.pointer
        )


def _first_of(subject: Resolver, otherwise: Resolver, test: Callable[[Any], bool]) -> Resolver:
    def resolve(scope: Any, allowance: Allowance) -> Any:
        found = subject(scope, allowance)
        return found if test(found) else otherwise(scope, allowance)

    return resolve


def _exists(value: Any) -> bool:
    return value is not MISSING and value is not None


def _is_filled(value: Any) -> bool:
    """Tell whether ``blank`` takes its ``then``: 0, false and lists of nothing are loosely equal to ""."""
    if value is MISSING or value is None:
        return False
    if isinstance(value, dict | str | int | float):
        return bool(value) or isinstance(value, dict)
    while isinstance(value, list) and len(value) == 1:
        (value,) = value
    # Of several items at least the commas show.
    return bool(value) if isinstance(value, list) else text_of(value) != ""


def _needed_text(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise MappingError(f"should come to a text here, not {kind_of(value)}", pointer)
    return value


def _without_missing(value: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if part is not MISSING}


_MAKERS: Final[dict[type, Any]] = {
    tree.ArrayPath: _Compiler.array_path,
    tree.Case: _Compiler.case,
    tree.ComputedPath: _Compiler.computed_path,
    tree.ComputedTemplate: _Compiler.computed_template,
    tree.ExcludeWhenNull: _Compiler.exclude_when_null,
    tree.Flatten: _Compiler.flatten,
    tree.If: _Compiler.if_,
    tree.JsonDecode: _Compiler.json_decode,
    tree.JsonEncode: _Compiler.json_encode,
    tree.Liquid: _Compiler.liquid,
    tree.ListOf: _Compiler.list_of,
    tree.Merge: _Compiler.merge,
    tree.ObjectOf: _Compiler.object_of,
    tree.Path: _Compiler.path,
    tree.Raw: _Compiler.raw,
    tree.Replace: _Compiler.replace,
    tree.Template: _Compiler.template,
    tree.Transform: _Compiler.transform,
}
