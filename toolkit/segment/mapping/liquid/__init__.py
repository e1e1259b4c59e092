"""Liquid templates as Segment takes them: a part of the language, within limits.

python-liquid parses a template, and each part becomes a function of the rendering, which renders it as
Segment's engine does; docs/design/mapping.md lists what is supported. There is no file access, no clock and
no chance, and nothing of Python shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from liquid import Environment, Mode, Token, ast
from liquid.builtin import content, output, tags
from liquid.builtin.expressions import Filter, FilteredExpression, Literal, Nil, Path, logical, primitive
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.expression import Expression
from liquid.token import TOKEN_EXPRESSION, TOKEN_TAG

from toolkit.segment.javascript import is_truthy, whole
from toolkit.segment.mapping.parse import Part
from toolkit.segment.mapping.tree import Node

from .filters import DISABLED_FILTERS, FILTERS, UNSUPPORTED_FILTERS
from .values import Rendering, are_equal, contains, is_blank, is_empty, is_less, is_nil, is_true, property_of

Renderer: TypeAlias = Callable[[Rendering], str]
"""Does what a part of the template says, and returns what it prints."""
Value: TypeAlias = Callable[[Rendering], Any]
"""Gives the value of an expression."""

DISABLED_TAGS: Final = ("case", "for", "include", "layout", "render", "tablerow")
"""Tags that Segment has turned off."""
UNSUPPORTED_TAGS: Final = ("block", "break", "continue")
"""Tags that Segment takes; without loops and layouts they serve no purpose."""

_OPEN_OUTPUT = re.compile(r"\{\{%-?\s*\Z")
_QUOTED = re.compile("""'[^']*'|"[^"]*\"""")
_READ_DIFFERENTLY = re.compile(r"<>|(?:\A|:)\s*,|(?![0-9])\d|(?<=[\w\]?])\s+[.\[]")
_NAME = re.compile(r"[A-Za-z_][-\w]*\Z", re.ASCII)

_WORDS: Final[dict[type, Callable[[Any], bool]]] = {
    Nil: is_nil,
    primitive.Empty: is_empty,
    primitive.Blank: is_blank,
}
_COMPARISONS: Final[dict[type, Callable[[Any, Any], bool]]] = {
    logical.EqExpression: are_equal,
    logical.NeExpression: lambda left, right: not are_equal(left, right),
    logical.GtExpression: lambda left, right: is_less(right, left),
    logical.LtExpression: is_less,
    logical.GeExpression: lambda left, right: is_less(right, left, or_equal=True),
    logical.LeExpression: lambda left, right: is_less(left, right, or_equal=True),
    logical.ContainsExpression: contains,
}


class _Environment(Environment):
    """python-liquid without the tags that are not supported."""

    block_nesting_limit = 60

    def tokenizer(self) -> Callable[[str], Iterator[Token]]:
        read = super().tokenizer()
        return lambda source: _checked(read(source))

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        for name in (*DISABLED_TAGS, *UNSUPPORTED_TAGS, "doc", "ifchanged"):
            self.tags.pop(name, None)  # of any other tag the compiler knows the node, or refuses it
        for strict in ("if", "unless"):  # an else with a condition, and a second else, are mistakes
            vars(self.tags[strict])["mode"] = Mode.STRICT


def _checked(tokens: Iterator[Token]) -> Iterator[Token]:
    """Pass tokens on, but not those that python-liquid reads in another way than Segment."""
    for token in tokens:
        if token.kind == TOKEN_TAG and _OPEN_OUTPUT.search(token.source, 0, token.start_index):
            raise LiquidSyntaxError("{{ is not closed", token=token)
        if token.kind == TOKEN_EXPRESSION:
            if "\\" in token.value:
                raise _unsupported("a backslash within a tag or output")
            if found := _READ_DIFFERENTLY.search(_QUOTED.sub("''", token.value)):
                raise _unsupported(f"{found[0]!r} within a tag or output")
        yield token


_ENVIRONMENT = _Environment()


def template_node(argument: Part) -> Node:
    """Return the node that renders a template with the members of a scope as variables."""
    try:
        run = _TemplateCompiler().block(_ENVIRONMENT.from_string(argument.given).nodes)
    except LiquidError as error:
        return argument.refuse(f"cannot be read: {_reason(error)}")
    return argument.computed(lambda scope, resolution: whole(run(Rendering(scope, resolution))))


def _reason(error: LiquidError) -> str:
    message = str(error.message)
    name = message.removeprefix("unexpected tag '").removesuffix("'")
    if name in DISABLED_TAGS:
        return f"Segment has turned the tag {name} off"
    if name in UNSUPPORTED_TAGS:
        return f"the tag {name} is not supported here"
    if message.startswith("expected an identifier"):
        return f"{message}; a number or a word of the language as a key stands in brackets: a[0], a['limit']"
    return message


class _TemplateCompiler:
    """Compiles the parts of one template."""

    def __init__(self) -> None:
        self._has_cycle = False

    def block(self, nodes: Iterable[ast.Node]) -> Renderer:
        steps = [self.step(node) for node in nodes if not isinstance(node, tags.comment_tag.CommentNode)]
        return lambda rendering: "".join([step(rendering) for step in steps])

    def step(self, node: ast.Node) -> Renderer:  # noqa: PLR0911 - one for each kind of node
        match node:
            case content.ContentNode(text=text):
                return lambda rendering: rendering.text(text)
            case output.OutputNode(expression=FilteredExpression(left=Nil(), filters=[])):
                return self.block(())
            case output.OutputNode(expression=expression):  # echo as well
                value = _value(expression)
                return lambda rendering: rendering.text(value(rendering))
            case tags.assign_tag.AssignNode(name=name, expression=expression):
                return _assign(name, _value(expression))
            case tags.capture_tag.CaptureNode(name=name, block=block):
                return _assign(name, self.block(block.nodes))
            case tags.if_tag.IfNode() | tags.unless_tag.UnlessNode():
                return self.branches(node)
            case tags.cycle_tag.CycleNode(args=values):
                return self.cycle(_value(values[0]))
            case tags.increment_tag.IncrementNode(name=name) | tags.decrement_tag.DecrementNode(name=name):
                counter, step = _checked_name(name), 1 if node.token.value == "increment" else -1
                return lambda rendering: rendering.text(rendering.count(counter, step))
            case tags.liquid_tag.LiquidNode(block=block):
                return self.block(block.nodes)
        raise _unsupported(str(node))

    def branches(self, node: tags.if_tag.IfNode | tags.unless_tag.UnlessNode) -> Renderer:
        # Only the first condition of unless is turned round.
        parts = [(node.condition, isinstance(node, tags.if_tag.IfNode), node.consequence)]
        parts += [(other.expression, True, other.block) for other in node.alternatives]
        branches = [
            (_condition(*condition.children()), wanted, self.block(block.nodes))
            for condition, wanted, block in parts
        ]
        default = self.block(node.default.nodes if node.default else ())

        def run(rendering: Rendering) -> str:
            for condition, wanted, block in branches:
                if condition(rendering) is wanted:
                    return block(rendering)
            return default(rendering)

        return run

    def cycle(self, first: Value) -> Renderer:
        """Print the first value of a cycle: without loops no other one has its turn."""
        if self._has_cycle:
            raise _unsupported("a second cycle in a template")
        self._has_cycle = True
        # 0 and false do not show.
        return lambda rendering: rendering.text(value) if is_truthy(value := first(rendering)) else ""


def _assign(name: str, value: Value) -> Renderer:
    name = _checked_name(name)

    def run(rendering: Rendering) -> str:
        rendering.assigned[name] = value(rendering)
        return ""

    return run


def _checked_name(name: str) -> str:
    if not _NAME.match(name):
        raise _unsupported(f"the variable name {name!r}")
    return str(name)


# --- expressions


def _unsupported(what: str) -> LiquidSyntaxError:
    return LiquidSyntaxError(f"{what} is not supported here", token=None)


def _value(expression: Expression) -> Value:
    """Return the function that gives the value of an expression, filtered or not."""
    match expression:
        case FilteredExpression(left=left, filters=filters):
            value = _value(left)
            for call in filters or ():
                value = _filtered(value, call)
            return value
        case Path(path=segments):
            return _path([_key(segment) for segment in segments])
        case Literal(value=constant):
            return lambda _: constant
        case Nil() | primitive.Empty() | primitive.Blank():
            raise _unsupported("nil, empty or blank as a value")
    raise _unsupported(str(expression)[:60])


def _path(keys: list[Value]) -> Value:
    first, *others = keys

    def value(rendering: Rendering) -> Any:
        found = rendering.variable(first(rendering))
        for key in others:
            found = property_of(found, key(rendering))
        return found

    return value


def _key(segment: str | int | Path) -> Value:
    if not isinstance(segment, Path):
        if isinstance(segment, str) and ('"' in segment or "'" in segment):
            raise _unsupported("a quote within a key in brackets")
        return lambda _: segment
    if any(isinstance(part, Path) for part in segment.path):
        raise _unsupported("a bracket within brackets")
    value = _value(segment)
    return lambda rendering: rendering.weighed(value(rendering))


def _filtered(value: Value, call: Filter) -> Value:
    """Return the value after a filter; a filter that Segment does not know leaves it as it is."""
    if call.name in DISABLED_FILTERS:
        raise LiquidSyntaxError(f"Segment has turned the filter {call.name} off", token=call.token)
    if call.name in UNSUPPORTED_FILTERS:
        raise _unsupported(f"the filter {call.name}")
    if call.name == "json" and call.args:
        raise _unsupported("an argument of the filter json")
    function = FILTERS.get(call.name)
    parts = [value, *[_argument(argument) for argument in call.args]]
    if function is None:
        return value
    return lambda rendering: function(rendering, *[rendering.weighed(part(rendering)) for part in parts])


def _argument(argument: Any) -> Value:
    """Return the value of a filter's argument; of a named one, the name and the value."""
    value, name = _value(argument.value), getattr(argument, "name", None)
    return value if name is None else lambda rendering: [name, value(rendering)]


def _condition(part: Any) -> Callable[[Rendering], bool]:
    """Return the function that says whether a condition is met; ``and`` and ``or`` bind from the right."""
    if not isinstance(part, logical.LogicalAndExpression | logical.LogicalOrExpression):
        value = _comparison(part)
        return lambda rendering: is_true(value(rendering))
    left, right = _condition(part.left), _condition(part.right)
    combine = all if isinstance(part, logical.LogicalAndExpression) else any
    # Both are looked at, the last one first.
    return lambda rendering: combine([right(rendering), left(rendering)])


def _comparison(expression: Any) -> Value:
    compare = _COMPARISONS.get(type(expression))
    if compare is None:
        return _value(expression)
    is_equality = isinstance(expression, logical.EqExpression)
    if is_equality or isinstance(expression, logical.NeExpression):
        for word, other in ((expression.right, expression.left), (expression.left, expression.right)):
            if type(word) in _WORDS:
                test, value = _WORDS[type(word)], _value(other)
                return lambda rendering: test(value(rendering)) is is_equality
    left, right = _value(expression.left), _value(expression.right)
    return lambda rendering: compare(*[rendering.weighed(part(rendering)) for part in (left, right)])
