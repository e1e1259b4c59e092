"""The directives for any value, for lists and for objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, is_truthy, kind_of, ordered_items, text_of, unit_count, units

from .parse import Fields, Parser, directive, directive_of_fields, is_directive, kind_or_directive
from .paths import parse_path
from .tree import ITEM_COST, NOTHING, Node, OfValue, OutputBudget, Resolver, renew_parts, without_missing

TEMPLATE_NODES: Final = 100
"""As how many values of the mapping a Liquid template counts."""
MAX_LIQUID_LENGTH: Final = 1000
"""UTF-16 units in a Liquid template."""


@directive_of_fields("@if")
def _if(fields: Fields) -> Node:
    # A falsy condition or else, as written, is none at all in JavaScript.
    truthy = {key for key, part in fields.given.items() if is_truthy(part)}
    if not truthy & {"exists", "blank"}:
        fields.refuse("needs exists or blank, and not null, false, 0 or a blank text there")
    test: Literal["exists", "blank"] = "exists" if "exists" in fields.given else "blank"
    otherwise = fields.node("else") if "else" in truthy else NOTHING
    return If(test=test, subject=fields.node(test), then=fields.node("then"), otherwise=otherwise)


@dataclass(frozen=True, kw_only=True, slots=True)
class If(Node):
    """``@if``: one of two branches."""

    test: Literal["exists", "blank"]
    """``exists`` takes `then` unless the subject is missing or null. ``blank``, read the wrong way round
    as Segment does, also wants it to differ from ``""``, to which 0, false and lists of nothing are equal."""
    subject: Node
    then: Node
    otherwise: Node

    def _resolver(self, *, keep: bool) -> Resolver:
        test = _exists if self.test == "exists" else _is_filled
        then, otherwise = self.then.compile(keep=keep), self.otherwise.compile(keep=keep)
        if self.subject == self.then:  # the common "this, else that": looked up once
            return _first_of(then, otherwise, test)
        subject = self.subject.compile(keep=keep)

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            branch = then if test(subject(scope, budget)) else otherwise
            return branch(scope, budget)

        return resolve


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


@directive("@arrayPath")
def _array_path(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if not isinstance(argument, list):
        return parser.refuse(f"should be a list, not {kind_of(argument)}", pointer)
    nodes, before = [], [parser.nodes]
    for i, part in enumerate(argument):
        is_path = i == 0 and isinstance(part, str)
        nodes.append(parse_path(part) if is_path else parser.node(part, f"{pointer}/{i}", depth))
        before.append(parser.nodes)
    first = argument[0] if argument else MISSING
    if not isinstance(first, str) and not is_directive(first):
        return parser.refuse(f"should be a text or a directive, not {kind_of(first)}", f"{pointer}/0")
    if len(argument) == 1 or not isinstance(argument[1], dict) or not argument[1]:
        return nodes[0]
    return ArrayPath(value=nodes[0], shape=nodes[1], size=before[2] - before[1], pointer=pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayPath(Node):
    """``@arrayPath`` with a shape: a list is reshaped item by item, an object as a list of one."""

    keeps_missing: ClassVar[bool] = True

    value: Node
    shape: Node
    """Resolved with each item as scope."""
    size: int
    """Values in the shape."""

    def _resolver(self, *, keep: bool) -> Resolver:
        value, shape = self.value.compile(keep=keep), self.shape.compile(keep=keep)
        size, pointer = self.size, self.pointer

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            found = value(scope, budget)
            if not isinstance(found, list | dict):
                return found
            items = [found] if isinstance(found, dict) else found
            budget.spend_items(len(items) * size, pointer)
            return [shape(item, budget) for item in items]

        return resolve


# --- objects


@directive_of_fields("@merge")
def _merge(fields: Fields) -> Node:
    fields.need("objects")
    fields.expect("objects", list, "a list")
    objects = fields.given.get("objects")
    for i, part in enumerate(objects if isinstance(objects, list) else ()):
        if not isinstance(part, dict):
            fields.refuse(f"should be an object or a directive, not {kind_of(part)}", "objects", str(i))
    direction = fields.given.get("direction")
    if not isinstance(direction, str) or (direction != "left" and direction.lower() != "right"):
        # Segment takes LEFT too, and then merges to the right.
        fields.refuse('should be "left" or "right", in lower case', "direction")
    return Merge(
        objects=getattr(fields.node("objects"), "items", ()),
        direction="left" if direction == "left" else "right",
        pointer=fields.pointer,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge(Node):
    """``@merge``: the members of several objects in one; texts and lists give theirs by position.

    A member that is missing still takes the place of an earlier one, and is left out at the end.
    """

    keeps_missing: ClassVar[bool] = True

    objects: tuple[Node, ...]
    direction: Literal["left", "right"]
    """Which end wins: ``right`` the later, ``left`` the earlier object."""

    def _resolver(self, *, keep: bool) -> Resolver:
        objects = [part.compile(keep=keep) for part in self.objects]
        if self.direction == "left":
            objects.reverse()
        pointer = self.pointer

        def resolve(scope: Any, budget: OutputBudget) -> dict[str, Any]:
            merged: dict[str, Any] = {}
            for part in objects:
                found = part(scope, budget)
                found = units(found) if isinstance(found, str) else found
                if isinstance(found, dict | str | list):
                    budget.spend_items(len(found), pointer)
                    merged.update(found if isinstance(found, dict) else _by_position(found))
            return merged

        return resolve


def _by_position(parts: str | list[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(i), part) for i, part in enumerate(parts))


@directive_of_fields("@transform", root="apply")
def _transform(fields: Fields) -> Node:
    for key in ("apply", "mapping"):
        fields.need(key)
        fields.expect(key, dict, "an object", directive=True)
    return Transform(apply=fields.node("apply"), mapping=fields.node("mapping"), pointer=fields.pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform(Node):
    """``@transform``: `mapping` resolved against what `apply` gives."""

    keeps_missing: ClassVar[bool] = True

    apply: Node
    mapping: Node

    def _resolver(self, *, keep: bool) -> Resolver:
        apply, mapping = self.apply.compile(keep=keep), self.mapping.compile(keep=keep)
        pointer = self.pointer

        def resolve(scope: Any, budget: OutputBudget) -> Any:
            scope = {} if scope is MISSING else scope
            if not isinstance(scope, dict):
                raise MappingError(f"takes an object to work on, not {kind_of(scope)}", pointer)
            applied = without_missing(apply(scope, budget), budget, pointer, in_lists=False)
            return mapping(applied, budget)

        return resolve


@directive_of_fields("@flatten")
def _flatten(fields: Fields) -> Node:
    fields.need("value")
    separator: Any = fields.given.get("separator")
    if not isinstance(separator, str) or not separator:
        fields.refuse("should be a text that is not blank", "separator")
    return Flatten(
        value=fields.node("value"),
        separator=separator,
        omit_arrays=is_truthy(fields.given.get("omitArrays", False)),
        pointer=fields.pointer,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Flatten(OfValue):
    """``@flatten``: the innermost values, each under the keys that lead to it."""

    keeps_missing: ClassVar[bool] = True

    separator: str
    omit_arrays: bool
    """Leave lists as they are."""

    def _apply(self, value: Any, budget: OutputBudget) -> dict[str, Any]:
        if not self._is_nested(value):
            return {"": value}
        flat: dict[str, Any] = {}
        levels: list[tuple[str, Iterator[tuple[str, Any]]]] = [("", self._items(value))]
        while levels:
            prefix, items = levels[-1]
            for key, part in items:
                path = f"{prefix}{self.separator}{key}" if prefix else key
                budget.spend(len(path) + ITEM_COST, self.pointer)
                if self._is_nested(part):
                    levels.append((path, self._items(part)))
                    break
                flat[path] = part
            else:
                levels.pop()
        return flat

    def _is_nested(self, value: Any) -> bool:
        return isinstance(value, dict) or (isinstance(value, list) and not self.omit_arrays)

    def _items(self, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
        return iter(ordered_items(value)) if isinstance(value, dict) else _by_position(value)


@directive("@excludeWhenNull")
def _exclude_when_null(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    return ExcludeWhenNull(value=parser.node(argument, pointer, depth), pointer=pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcludeWhenNull(OfValue):
    """``@excludeWhenNull``: null becomes missing, also in objects within objects, not inside lists."""

    keeps_missing: ClassVar[bool] = True

    def _apply(self, value: Any, budget: OutputBudget) -> Any:
        def renew(part: dict[str, Any]) -> dict[str, Any]:
            return {key: MISSING if member is None else member for key, member in part.items()}

        return MISSING if value is None else renew_parts(value, renew, dict, budget, self.pointer)


# --- Liquid


@directive("@liquid")
def _liquid(parser: Parser, argument: Any, pointer: str, _depth: int) -> Node:
    if not isinstance(argument, str):
        return parser.refuse(f"should be a text, not {kind_or_directive(argument)}", pointer)
    if unit_count(argument) > MAX_LIQUID_LENGTH:
        return parser.refuse(f"should have at most {MAX_LIQUID_LENGTH} characters", pointer)
    parser.nodes += TEMPLATE_NODES
    from .liquid import TemplateError, compile_template

    try:
        compile_template(argument)
    except TemplateError as error:
        return parser.refuse(f"cannot be read: {error}", pointer)
    return Liquid(template=argument, pointer=pointer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Liquid(Node):
    """``@liquid``: a Liquid template rendered with the scope's members as variables."""

    template: str

    def _resolver(self, *, keep: bool) -> Resolver:  # noqa: ARG002
        from .liquid import compile_template

        render, pointer = compile_template(self.template), self.pointer
        return lambda scope, budget: render(scope, budget, pointer)
