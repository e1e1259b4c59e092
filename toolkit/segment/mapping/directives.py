"""The directives for any value, for lists and for objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from toolkit.segment.javascript import MISSING, is_truthy, kind_of, ordered_items, text_of, unit_count, units

from .parse import Part, directive, is_directive, kind_or_directive
from .paths import parse_path
from .tree import ITEM_COST, NOTHING, Node, Resolution, ResolveError, renew_parts, without_missing

TEMPLATE_NODES: Final = 100
"""As how many values of the mapping a Liquid template counts."""
MAX_LIQUID_LENGTH: Final = 1000
"""UTF-16 units in a Liquid template."""


@directive("@if")
def _if(argument: Part) -> Node:
    # A falsy condition or else, as written, is none at all in JavaScript.
    truthy = {key for key, part in argument.given.items() if is_truthy(part)}
    if not truthy & {"exists", "blank"}:
        argument.refuse("needs exists or blank, and not null, false, 0 or a blank text there")
    test: Literal["exists", "blank"] = "exists" if "exists" in argument.given else "blank"
    subject, then = argument.member(test), argument.member("then")
    return If(
        test=test,
        subject=then if subject == then else subject,
        then=then,
        otherwise=argument.member("else") if "else" in truthy else NOTHING,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class If(Node):
    """``@if``: one of two branches."""

    test: Literal["exists", "blank"]
    """``exists`` takes `then` unless the subject is missing or null. ``blank``, read the wrong way round
    as Segment does, also wants it to differ from ``""``, to which 0, false and lists of nothing are equal."""
    subject: Node
    then: Node
    otherwise: Node

    def resolve(self, scope: Any, resolution: Resolution) -> Any:  # noqa: D102
        found = self.subject.resolve(scope, resolution)
        if found is MISSING or found is None or (self.test == "blank" and _is_blank(found)):
            return self.otherwise.resolve(scope, resolution)
        # The common "this, else that" is looked up once.
        return found if self.then is self.subject else self.then.resolve(scope, resolution)


def _is_blank(value: Any) -> bool:
    """Return whether JavaScript finds a value that is there loosely equal to a blank text."""
    if not isinstance(value, list):
        return not value and not isinstance(value, dict)
    while isinstance(value, list) and len(value) == 1:
        (value,) = value
    # Of several items at least the commas show.
    return not value if isinstance(value, list) else text_of(value) == ""


@directive("@arrayPath", of_members=False)
def _array_path(argument: Part) -> Node:
    """Return a list reshaped item by item, each with the shape resolved against it; an object as one item."""
    given = argument.given
    if not isinstance(given, list):
        return argument.refuse(f"should be a list, not {kind_of(given)}")
    nodes, before = [], [argument.parsing.nodes]
    for i, part in enumerate(given):
        is_path = i == 0 and isinstance(part, str)
        nodes.append(parse_path(part) if is_path else argument.at(str(i), part).node())
        before.append(argument.parsing.nodes)
    first = given[0] if given else MISSING
    if not isinstance(first, str) and not is_directive(first):
        return argument.refuse(f"should be a text or a directive, not {kind_of(first)}", "0")
    if len(given) == 1 or not isinstance(given[1], dict) or not given[1]:
        return nodes[0]
    value, shape, *_others = nodes
    size = before[2] - before[1]

    def reshape(scope: Any, resolution: Resolution) -> Any:
        found = value.resolve(scope, resolution)
        if not isinstance(found, list | dict):
            return found
        items = [found] if isinstance(found, dict) else found
        resolution.spend_items(len(items) * size)
        return [shape.resolve(item, resolution) for item in items]

    return argument.computed(reshape, keeps_missing=True)


# --- objects


@directive("@merge")
def _merge(argument: Part) -> Node:
    """Return the members of several objects in one; texts and lists give theirs by position.

    A member that is missing still takes the place of an earlier one, and is left out at the end.
    """
    argument.need("objects")
    argument.expect("objects", list, "a list")
    given = argument.given.get("objects")
    for i, part in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(part, dict):
            argument.refuse(f"should be an object or a directive, not {kind_of(part)}", "objects", str(i))
    direction = argument.given.get("direction")
    if not isinstance(direction, str) or (direction != "left" and direction.lower() != "right"):
        # Segment takes LEFT too, and then merges to the right.
        argument.refuse('should be "left" or "right", in lower case', "direction")
    objects = getattr(argument.member("objects"), "items", ())
    last_wins = objects[::-1] if direction == "left" else objects

    def merge(scope: Any, resolution: Resolution) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in last_wins:
            found = part.resolve(scope, resolution)
            found = units(found) if isinstance(found, str) else found
            if isinstance(found, dict | str | list):
                resolution.spend_items(len(found))
                merged.update(found if isinstance(found, dict) else _members(found))
        return merged

    return argument.computed(merge, keeps_missing=True)


def _members(value: str | list[Any] | dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return ordered_items(value) if isinstance(value, dict) else ((str(i), v) for i, v in enumerate(value))


@directive("@transform", root="apply")
def _transform(argument: Part) -> Node:
    """Return what ``mapping`` makes of what ``apply`` gives."""
    for key in ("apply", "mapping"):
        argument.need(key)
        argument.expect(key, dict, "an object", directive=True)
    apply, mapping = argument.member("apply"), argument.member("mapping")

    def transform(scope: Any, resolution: Resolution) -> Any:
        scope = {} if scope is MISSING else scope
        if not isinstance(scope, dict):
            raise ResolveError(f"takes an object to work on, not {kind_of(scope)}")
        applied = apply.resolve(scope, resolution)
        return mapping.resolve(without_missing(applied, resolution, in_lists=False), resolution)

    return argument.computed(transform, keeps_missing=True)


@directive("@flatten")
def _flatten(argument: Part) -> Node:
    """Return the innermost values, each under the keys that lead to it."""
    argument.need("value")
    separator: Any = argument.given.get("separator")
    if not isinstance(separator, str) or not separator:
        argument.refuse("should be a text that is not blank", "separator")
    value = argument.member("value")
    nested = dict if is_truthy(argument.given.get("omitArrays", False)) else dict | list

    def flatten(scope: Any, resolution: Resolution) -> dict[str, Any]:
        found = value.resolve(scope, resolution)
        if not isinstance(found, nested):
            return {"": found}
        flat: dict[str, Any] = {}
        levels = [("", iter(_members(found)))]
        while levels:
            prefix, members = levels[-1]
            for key, part in members:
                path = f"{prefix}{separator}{key}" if prefix else key
                resolution.spend(len(path) + ITEM_COST)
                if isinstance(part, nested):
                    levels.append((path, iter(_members(part))))
                    break
                flat[path] = part
            else:
                levels.pop()
        return flat

    return argument.computed(flatten, keeps_missing=True)


@directive("@excludeWhenNull", of_members=False)
def _exclude_when_null(argument: Part) -> Node:
    """Return a value in which null is missing, also in objects within objects, not inside lists."""
    value = argument.node()

    def renew(part: dict[str, Any]) -> dict[str, Any]:
        return {key: MISSING if member is None else member for key, member in part.items()}

    def exclude(scope: Any, resolution: Resolution) -> Any:
        found = value.resolve(scope, resolution)
        return MISSING if found is None else renew_parts(found, renew, dict, resolution)

    return argument.computed(exclude, keeps_missing=True)


# --- Liquid


@directive("@liquid", of_members=False)
def _liquid(argument: Part) -> Node:
    """Return a Liquid template rendered with the scope's members as variables."""
    template = argument.given
    if not isinstance(template, str):
        return argument.refuse(f"should be a text, not {kind_or_directive(template)}")
    if unit_count(template) > MAX_LIQUID_LENGTH:
        return argument.refuse(f"should have at most {MAX_LIQUID_LENGTH} characters")
    argument.parsing.nodes += TEMPLATE_NODES
    from .liquid import template_node

    return template_node(argument)
