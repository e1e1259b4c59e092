"""The directives one by one: what each takes as its argument, and the node it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from .fields import Fields, fields_of, is_directive, kind_or_directive
from .javascript import is_truthy, unit_count
from .paths import path_of
from .templates import placeholder_parts
from .tree import (
    NOTHING,
    ArrayPath,
    Case,
    ComputedPath,
    ComputedTemplate,
    ExcludeWhenNull,
    Flatten,
    If,
    JsonDecode,
    JsonEncode,
    Liquid,
    Merge,
    Node,
    Replace,
    Template,
    Transform,
)
from .values import MISSING, kind_of

if TYPE_CHECKING:
    from .parse import Parser

DirectiveParser: TypeAlias = "Callable[[Parser, Any, str, int], Node]"

MAX_REPLACE_LENGTH: Final = 10
"""UTF-16 units in a pattern or replacement."""
TEMPLATE_NODES: Final = 100
"""As how many values of the mapping a Liquid template counts."""
MAX_LIQUID_LENGTH: Final = 1000
"""UTF-16 units in a Liquid template."""


def _text_or_directive(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if isinstance(argument, str) or is_directive(argument):
        return parser.node(argument, pointer, depth)
    return parser.refuse(f"should be a text or a directive, not {kind_of(argument)}", pointer)


def _path(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if isinstance(argument, str):
        return path_of(argument)
    return ComputedPath(path=_text_or_directive(parser, argument, pointer, depth), pointer=pointer)


def _template(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if not isinstance(argument, str):
        return ComputedTemplate(
            template=_text_or_directive(parser, argument, pointer, depth), pointer=pointer
        )
    triple = placeholder_parts(argument, 3)
    if any(not isinstance(part, str) for part in triple):
        return Template(parts=triple, rescan=True, pointer=pointer)
    return Template(parts=placeholder_parts(argument, 2), rescan=False, pointer=pointer)


def _literal(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    return parser.node(argument, pointer, depth)  # directives in it count


def _if(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth)
    if fields is None:
        return NOTHING
    # A falsy condition or else, as written, is none at all in JavaScript.
    truthy = {key for key, part in fields.given.items() if is_truthy(part)}
    if not truthy & {"exists", "blank"}:
        fields.refuse("needs exists or blank, and not null, false, 0 or a blank text there")
    test: Literal["exists", "blank"] = "exists" if "exists" in fields.given else "blank"
    return If(
        test=test,
        subject=fields.node(test),
        then=fields.node("then"),
        otherwise=fields.node("else") if "else" in truthy else NOTHING,
    )


def _case(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth)
    if fields is None:
        return NOTHING
    operator = fields.given.get("operator")
    if operator not in ("lower", "upper"):
        fields.refuse('should be "lower" or "upper"', "operator")
    fields.expect("value", str, "a text", directive=True)
    if fields.given.get("value") == "":
        return NOTHING  # to Segment a blank text, as written, is no value
    return Case(
        operator=cast("Literal['lower', 'upper']", operator), value=fields.node("value"), pointer=pointer
    )


def _replace(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth)
    if fields is None:
        return NOTHING
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
    return Replace(
        value=fields.node("value"),
        pairs=pairs,
        ignorecase=fields.given.get("ignorecase", False),
        everywhere=fields.given.get("global", True),
        pointer=pointer,
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


def _array_path(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if not isinstance(argument, list):
        return parser.refuse(f"should be a list, not {kind_of(argument)}", pointer)
    nodes = [
        path_of(part) if i == 0 and isinstance(part, str) else parser.node(part, f"{pointer}/{i}", depth)
        for i, part in enumerate(argument)
    ]
    first = argument[0] if argument else MISSING
    if not isinstance(first, str) and not is_directive(first):
        return parser.refuse(f"should be a text or a directive, not {kind_of(first)}", f"{pointer}/0")
    has_shape = len(argument) > 1 and isinstance(argument[1], dict) and argument[1]
    return ArrayPath(value=nodes[0], shape=nodes[1] if has_shape else None, pointer=pointer)


def _merge(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth)
    if fields is None:
        return NOTHING
    fields.need("objects")
    fields.expect("objects", list, "a list")
    objects = fields.given.get("objects")
    for i, part in enumerate(objects if isinstance(objects, list) else ()):
        if not isinstance(part, dict):
            fields.refuse(f"should be an object or a directive, not {kind_of(part)}", "objects", str(i))
    node = fields.node("objects")
    return Merge(objects=getattr(node, "items", ()), direction=_direction(fields), pointer=pointer)


def _direction(fields: Fields) -> Literal["left", "right"]:
    direction = fields.given.get("direction")
    if direction == "left":
        return "left"
    if not isinstance(direction, str) or direction.lower() != "right":
        # Segment takes LEFT too, and then merges to the right.
        fields.refuse('should be "left" or "right", in lower case', "direction")
    return "right"


def _transform(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth, roots=("apply",))
    if fields is None:
        return NOTHING
    for key in ("apply", "mapping"):
        fields.need(key)
        fields.expect(key, dict, "an object", directive=True)
    return Transform(apply=fields.node("apply"), mapping=fields.node("mapping"), pointer=pointer)


def _flatten(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth)
    if fields is None:
        return NOTHING
    fields.need("value")
    separator = fields.given.get("separator")
    if not isinstance(separator, str) or not separator:
        fields.refuse("should be a text that is not blank", "separator")
    return Flatten(
        value=fields.node("value"),
        separator=cast("str", separator),
        omit_arrays=is_truthy(fields.given.get("omitArrays", False)),
        pointer=pointer,
    )


def _json(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    fields = fields_of(parser, argument, pointer, depth)
    if fields is None:
        return NOTHING
    if not is_truthy(fields.given.get("value", MISSING)):
        fields.refuse("needs a value, and not null, false, 0 or a blank text as written", "value")
    mode = fields.given.get("mode")
    if mode not in ("encode", "decode"):
        # Segment takes ENCODE too, and then gives nothing.
        fields.refuse('should be "encode" or "decode", in lower case', "mode")
    kind = JsonEncode if mode == "encode" else JsonDecode
    return kind(value=fields.node("value"), pointer=pointer)


def _exclude_when_null(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    return ExcludeWhenNull(value=parser.node(argument, pointer, depth), pointer=pointer)


def _liquid(parser: Parser, argument: Any, pointer: str, _: int) -> Node:
    if not isinstance(argument, str):
        return parser.refuse(f"should be a text, not {kind_or_directive(argument)}", pointer)
    if unit_count(argument) > MAX_LIQUID_LENGTH:
        return parser.refuse(f"should have at most {MAX_LIQUID_LENGTH} characters", pointer)
    parser.nodes += TEMPLATE_NODES
    from .liquid import TemplateError, parse_template

    try:
        parse_template(argument)
    except TemplateError as error:
        return parser.refuse(f"is not a template: {error}", pointer)
    return Liquid(template=argument, pointer=pointer)


DIRECTIVES: Final[dict[str, DirectiveParser]] = {
    "@arrayPath": _array_path,
    "@case": _case,
    "@excludeWhenNull": _exclude_when_null,
    "@flatten": _flatten,
    "@if": _if,
    "@json": _json,
    "@liquid": _liquid,
    "@literal": _literal,
    "@merge": _merge,
    "@path": _path,
    "@replace": _replace,
    "@template": _template,
    "@transform": _transform,
}
"""Every directive, by its key."""
