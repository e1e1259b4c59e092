"""From the tree to Python: each node becomes a function of the scope.

The functions are made once a mapping and run once an event, so what can be settled before is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, kind_of, text_of

from . import tree
from .budget import OutputBudget, Resolver
from .missing import first_keeper, without_missing, without_nulls
from .operations import flatten, from_json, merge, replace_text, to_json
from .paths import fill, getter, join_texts, parse_path, walk
from .tree import Node


def compile_tree(node: Node) -> Resolver:
    """Return the function that resolves a tree."""
    keeper = first_keeper(node)
    resolve = _Compiler(keeps_missing=keeper is not None).compile(node)
    if keeper is None:
        return resolve
    pointer = keeper.pointer
    return lambda scope, budget: without_missing(resolve(scope, budget), budget, pointer)


class _Compiler:
    """Compiles the nodes of one tree."""

    def __init__(self, *, keeps_missing: bool) -> None:
        self._keeps_missing = keeps_missing
        self._compiled = 0

    def compile(self, node: Node) -> Resolver:
        self._compiled += 1
        make: Callable[[_Compiler, Any], Resolver] = _MAKERS[type(node)]
        return make(self, node)

    def raw(self, node: tree.Raw) -> Resolver:
        value = node.value
        return lambda scope, budget: value  # noqa: ARG005 - the same whatever the event

    def list_of(self, node: tree.ListOf) -> Resolver:
        items = tuple(self.compile(item) for item in node.items)
        keeps_missing = self._keeps_missing

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            values = [item(scope, budget) for item in items]
            return values if keeps_missing else [None if value is MISSING else value for value in values]

        return resolve

    def object_of(self, node: tree.ObjectOf) -> Resolver:
        members = tuple((key, self.compile(part)) for key, part in node.members)
        if self._keeps_missing:
            return lambda scope, budget: {key: part(scope, budget) for key, part in members}

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            result = {}
            for key, member in members:
                value = member(scope, budget)
                if value is not MISSING:
                    result[key] = value
            return result

        return resolve

    def path(self, node: tree.Path) -> Resolver:
        return getter(node.steps)

    def computed_path(self, node: tree.ComputedPath) -> Resolver:
        path = self.compile(node.path)
        pointer = node.pointer

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            text = _needed_text(path(scope, budget), pointer)
            return walk(scope, parse_path(text).steps)

        return resolve

    def template(self, node: tree.Template) -> Resolver:
        parts = [part if isinstance(part, str) else getter(part.steps) for part in node.parts]
        pointer = node.pointer

        def resolve(scope: Any, budget: OutputBudget) -> str:
            scope = {} if scope is MISSING else scope  # as in `fill`
            texts = [part if isinstance(part, str) else text_of(part(scope, budget)) for part in parts]
            return join_texts(texts, budget, pointer)

        if not node.rescan:
            return resolve
        return lambda scope, budget: fill(resolve(scope, budget), 2, scope, budget, pointer)

    def computed_template(self, node: tree.ComputedTemplate) -> Resolver:
        template = self.compile(node.template)
        pointer = node.pointer

        def resolve(scope: Any, budget: OutputBudget) -> str:
            text = _needed_text(template(scope, budget), pointer)
            for braces in (3, 2):
                text = fill(text, braces, scope, budget, pointer)
            return text

        return resolve

    def if_(self, node: tree.If) -> Resolver:
        test = _exists if node.test == "exists" else _is_filled
        then, otherwise = self.compile(node.then), self.compile(node.otherwise)
        if node.subject == node.then:  # the common "this, else that": looked up once
            return _first_of(then, otherwise, test)
        subject = self.compile(node.subject)

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            branch = then if test(subject(scope, budget)) else otherwise
            return branch(scope, budget)

        return resolve

    def case(self, node: tree.Case) -> Resolver:
        value = self.compile(node.value)
        change = str.lower if node.operator == "lower" else str.upper
        pointer = node.pointer

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            found = value(scope, budget)
            if not isinstance(found, str):
                return found
            budget.spend(len(found), pointer)
            return change(found)

        return resolve

    def replace(self, node: tree.Replace) -> Resolver:
        value = self.compile(node.value)

        def resolve(scope: Any, budget: OutputBudget) -> str:
            found = value(scope, budget)
            if not isinstance(found, str | int | float):
                return ""
            return replace_text(text_of(found), node, budget)

        return resolve

    def array_path(self, node: tree.ArrayPath) -> Resolver:
        value = self.compile(node.value)
        if node.shape is None:
            return value
        before = self._compiled
        shape = self.compile(node.shape)
        size, pointer = self._compiled - before, node.pointer

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            found = value(scope, budget)
            if not isinstance(found, list | dict):
                return found
            items = [found] if isinstance(found, dict) else found
            budget.spend_items(len(items) * size, pointer)
            return [shape(item, budget) for item in items]

        return resolve

    def merge(self, node: tree.Merge) -> Resolver:
        objects = [self.compile(part) for part in node.objects]
        if node.direction == "left":
            objects.reverse()
        return lambda scope, budget: merge((part(scope, budget) for part in objects), node, budget)

    def transform(self, node: tree.Transform) -> Resolver:
        apply, mapping = self.compile(node.apply), self.compile(node.mapping)
        pointer = node.pointer

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            scope = {} if scope is MISSING else scope
            if not isinstance(scope, dict):
                raise MappingError(f"takes an object to work on, not {kind_of(scope)}", pointer)
            applied = without_missing(apply(scope, budget), budget, pointer, in_lists=False)
            return mapping(applied, budget)

        return resolve

    def flatten(self, node: tree.Flatten) -> Resolver:
        value = self.compile(node.value)
        return lambda scope, budget: flatten(value(scope, budget), node, budget)

    def json_encode(self, node: tree.JsonEncode) -> Resolver:
        value = self.compile(node.value)

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            found = value(scope, budget)
            if found is MISSING:
                return MISSING
            return to_json(found, lambda cost: budget.spend(cost, node.pointer))

        return resolve

    def json_decode(self, node: tree.JsonDecode) -> Resolver:
        value = self.compile(node.value)

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            found = value(scope, budget)
            if not isinstance(found, str):
                return found
            budget.spend(4 * len(found), node.pointer)  # it takes that much longer than building text
            return from_json(found, node.pointer)

        return resolve

    def liquid(self, node: tree.Liquid) -> Resolver:
        from .liquid import compile_template

        render, pointer = compile_template(node.template), node.pointer
        return lambda scope, budget: render(scope, budget, pointer)

    def exclude_when_null(self, node: tree.ExcludeWhenNull) -> Resolver:
        value = self.compile(node.value)
        return lambda scope, budget: without_nulls(value(scope, budget), budget, node.pointer)


def _first_of(subject: Resolver, otherwise: Resolver, test: Callable[[Any], bool]) -> Resolver:
    def resolve(scope: Any, budget: OutputBudget) -> Any:
        found = subject(scope, budget)
        return found if test(found) else otherwise(scope, budget)

    return resolve


def _exists(value: Any) -> bool:
    return value is not MISSING and value is not None


def _is_filled(value: Any) -> bool:
    """Return whether ``blank`` takes its ``then``: 0, false and lists of nothing are loosely equal to ""."""
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
        raise MappingError(f"should give a text here, not {kind_of(value)}", pointer)
    return value


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
