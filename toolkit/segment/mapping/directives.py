"""The directives one by one: what each takes as its argument, and the node it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, cast

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, is_truthy, kind_of, unit_count

from . import tree
from .parse import DirectiveParser, Fields, Parser, is_directive, kind_or_directive
from .paths import parse_path, placeholder_parts
from .tree import NOTHING, Node

MAX_REPLACE_LENGTH: Final = 10
"""UTF-16 units in a pattern or replacement."""
TEMPLATE_NODES: Final = 100
"""As how many values of the mapping a Liquid template counts."""
MAX_LIQUID_LENGTH: Final = 1000
"""UTF-16 units in a Liquid template."""


def parse_mapping(value: Any) -> tuple[Node, list[MappingError]]:
    """Return the tree of a mapping and every mistake in it; with mistakes the tree is of no use."""
    parser = Parser(DIRECTIVES)
    return parser.root(value, "", 0), parser.problems


def _text_or_directive(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if isinstance(argument, str) or is_directive(argument):
        return parser.node(argument, pointer, depth)
    return parser.refuse(f"should be a text or a directive, not {kind_of(argument)}", pointer)


def _path(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if isinstance(argument, str):
        return parse_path(argument)
    return tree.ComputedPath(path=_text_or_directive(parser, argument, pointer, depth), pointer=pointer)


def _template(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if not isinstance(argument, str):
        template = _text_or_directive(parser, argument, pointer, depth)
        return tree.ComputedTemplate(template=template, pointer=pointer)
    triple = placeholder_parts(argument, 3)
    if any(not isinstance(part, str) for part in triple):
        return tree.Template(parts=triple, rescan=True, pointer=pointer)
    return tree.Template(parts=placeholder_parts(argument, 2), rescan=False, pointer=pointer)


def _literal(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    return parser.node(argument, pointer, depth)  # directives in it count


def _exclude_when_null(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    return tree.ExcludeWhenNull(value=parser.node(argument, pointer, depth), pointer=pointer)


def _liquid(parser: Parser, argument: Any, pointer: str, _: int) -> Node:
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
    return tree.Liquid(template=argument, pointer=pointer)


def _array_path(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if not isinstance(argument, list):
        return parser.refuse(f"should be a list, not {kind_of(argument)}", pointer)
    nodes = [
        parse_path(part) if i == 0 and isinstance(part, str) else parser.node(part, f"{pointer}/{i}", depth)
        for i, part in enumerate(argument)
    ]
    first = argument[0] if argument else MISSING
    if not isinstance(first, str) and not is_directive(first):
        return parser.refuse(f"should be a text or a directive, not {kind_of(first)}", f"{pointer}/0")
    has_shape = len(argument) > 1 and isinstance(argument[1], dict) and argument[1]
    return tree.ArrayPath(value=nodes[0], shape=nodes[1] if has_shape else None, pointer=pointer)


def _of_fields(make: Callable[[Fields], Node], root: str = "") -> DirectiveParser:
    """Return the parser of a directive whose argument is an object."""

    def parse(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
        fields = parser.fields(argument, pointer, depth, root)
        return NOTHING if fields is None else make(fields)

    return parse


def _if(fields: Fields) -> Node:
    # A falsy condition or else, as written, is none at all in JavaScript.
    truthy = {key for key, part in fields.given.items() if is_truthy(part)}
    if not truthy & {"exists", "blank"}:
        fields.refuse("needs exists or blank, and not null, false, 0 or a blank text there")
    test: Literal["exists", "blank"] = "exists" if "exists" in fields.given else "blank"
    otherwise = fields.node("else") if "else" in truthy else NOTHING
    return tree.If(test=test, subject=fields.node(test), then=fields.node("then"), otherwise=otherwise)


def _case(fields: Fields) -> Node:
    operator = fields.given.get("operator")
    if operator not in ("lower", "upper"):
        fields.refuse('should be "lower" or "upper"', "operator")
    fields.expect("value", str, "a text", directive=True)
    if fields.given.get("value") == "":
        return NOTHING  # to Segment a blank text, as written, is no value
    operator = cast("Literal['lower', 'upper']", operator)
    return tree.Case(operator=operator, value=fields.node("value"), pointer=fields.pointer)


def _replace(fields: Fields) -> Node:
    fields.need("pattern")
    fields.need("value")
    for key in ("pattern", "replacement"):
        fields.expect(key, str, "a text")
    fields.expect("value", str, "a text", directive=True)
    for key in ("ignorecase", "global"):
        fields.expect(key, bool, "true or false")
    if fields.given.get("pattern") == "":
        fields.refuse("should not be blank", "pattern")
    pairs = _pairs(fields)
    if fields.given.get("value") == "":
        return NOTHING  # to Segment a blank text, as written, is no value
    return tree.Replace(
        value=fields.node("value"),
        pairs=pairs,
        ignorecase=fields.given.get("ignorecase", False),
        everywhere=fields.given.get("global", True),
        pointer=fields.pointer,
    )


def _pairs(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Return the pattern and replacement, and the second ones when they are texts."""
    pairs = []
    for end in ("", "2"):
        pattern, replacement = fields.given.get("pattern" + end), fields.given.get("replacement" + end)
        replacement = "" if replacement is None else replacement
        if isinstance(pattern, str) and pattern and isinstance(replacement, str):
            for key, text in (("pattern", pattern), ("replacement", replacement)):
                if unit_count(text) > MAX_REPLACE_LENGTH:
                    fields.refuse(f"should have at most {MAX_REPLACE_LENGTH} characters", key + end)
            pairs.append((pattern, replacement))
    return tuple(pairs)


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
    return tree.Merge(
        objects=getattr(fields.node("objects"), "items", ()),
        direction="left" if direction == "left" else "right",
        pointer=fields.pointer,
    )


def _transform(fields: Fields) -> Node:
    for key in ("apply", "mapping"):
        fields.need(key)
        fields.expect(key, dict, "an object", directive=True)
    return tree.Transform(apply=fields.node("apply"), mapping=fields.node("mapping"), pointer=fields.pointer)


def _flatten(fields: Fields) -> Node:
    fields.need("value")
    separator = fields.given.get("separator")
    if not isinstance(separator, str) or not separator:
        fields.refuse("should be a text that is not blank", "separator")
    return tree.Flatten(
        value=fields.node("value"),
        separator=cast("str", separator),
        omit_arrays=is_truthy(fields.given.get("omitArrays", False)),
        pointer=fields.pointer,
    )


def _json(fields: Fields) -> Node:
    if not is_truthy(fields.given.get("value", MISSING)):
        fields.refuse("needs a value, and not null, false, 0 or a blank text as written", "value")
    mode = fields.given.get("mode")
    if mode not in ("encode", "decode"):
        # Segment takes ENCODE too, and then gives nothing.
        fields.refuse('should be "encode" or "decode", in lower case', "mode")
    kind = tree.JsonEncode if mode == "encode" else tree.JsonDecode
    return kind(value=fields.node("value"), pointer=fields.pointer)


DIRECTIVES: Final[dict[str, DirectiveParser]] = {
    "@arrayPath": _array_path,
    "@case": _of_fields(_case),
    "@excludeWhenNull": _exclude_when_null,
    "@flatten": _of_fields(_flatten),
    "@if": _of_fields(_if),
    "@json": _of_fields(_json),
    "@liquid": _liquid,
    "@literal": _literal,
    "@merge": _of_fields(_merge),
    "@path": _path,
    "@replace": _of_fields(_replace),
    "@template": _template,
    "@transform": _of_fields(_transform, root="apply"),
}
"""Every directive, by its key."""
