"""Liquid templates as Segment takes them: a part of the language, within limits.

python-liquid parses a template, and each part becomes a function of the rendering, which renders it as
Segment's engine does; docs/design/mapping.md lists what is supported. There is no file access, no clock and
no chance, and nothing of Python shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

from liquid import Environment, Mode, Node, Token
from liquid.builtin.content import ContentNode
from liquid.builtin.content import Literal as Content
from liquid.builtin.expressions import FilteredExpression, Nil
from liquid.builtin.illegal import Illegal
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.assign_tag import AssignNode, AssignTag
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.comment_tag import CommentNode, CommentTag
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.decrement_tag import DecrementNode, DecrementTag
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.builtin.tags.if_tag import IfNode, IfTag
from liquid.builtin.tags.increment_tag import IncrementNode, IncrementTag
from liquid.builtin.tags.inline_comment_tag import InlineCommentTag
from liquid.builtin.tags.liquid_tag import LiquidNode, LiquidTag
from liquid.builtin.tags.unless_tag import UnlessNode, UnlessTag
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.token import TOKEN_EXPRESSION, TOKEN_TAG

from toolkit.segment.javascript import is_truthy, whole
from toolkit.segment.mapping.tree import OutputBudget

from .expressions import Value, condition_of, unsupported, value_of
from .values import Rendering

Step: TypeAlias = Callable[[Rendering], str]
"""Does what a part of the template says, and returns what it prints."""

DISABLED_TAGS: Final = ("case", "for", "include", "layout", "render", "tablerow")
"""Tags that Segment has turned off."""
UNSUPPORTED_TAGS: Final = ("block", "break", "continue")
"""Tags that Segment takes; without loops and layouts they serve no purpose."""

_OPEN_OUTPUT = re.compile(r"\{\{%-?\s*\Z")
_QUOTED = re.compile("""'[^']*'|"[^"]*\"""")
_READ_DIFFERENTLY = re.compile(r"<>|(?:\A|:)\s*,|(?![0-9])\d|(?<=[\w\]?])\s+[.\[]")
_NAME = re.compile(r"[A-Za-z_][-\w]*\Z", re.ASCII)


class TemplateError(Exception):
    """A template cannot be read; the message says why."""


class _StrictIfTag(IfTag):
    mode = Mode.STRICT  # an else with a condition, and a second else, are mistakes


class _StrictUnlessTag(UnlessTag):
    mode = Mode.STRICT


class _Environment(Environment):
    """python-liquid with the tags that are supported, and none of its filters."""

    block_nesting_limit = 60

    def tokenizer(self) -> Callable[[str], Iterator[Token]]:
        read = super().tokenizer()
        return lambda source: _checked(read(source))

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:  # noqa: ARG002
        for tag in (
            *(AssignTag, CaptureTag, CommentTag, Content, CycleTag, DecrementTag, EchoTag, Illegal),
            *(IncrementTag, InlineCommentTag, LiquidTag, Output, _StrictIfTag, _StrictUnlessTag),
        ):
            self.add_tag(tag)


def _checked(tokens: Iterator[Token]) -> Iterator[Token]:
    """Pass tokens on, but not those that python-liquid reads in another way than Segment."""
    for token in tokens:
        if token.kind == TOKEN_TAG and _OPEN_OUTPUT.search(token.source, 0, token.start_index):
            raise LiquidSyntaxError("{{ is not closed", token=token)
        if token.kind == TOKEN_EXPRESSION:
            if "\\" in token.value:
                raise unsupported("a backslash within a tag or output")
            if found := _READ_DIFFERENTLY.search(_QUOTED.sub("''", token.value)):
                raise unsupported(f"{found[0]!r} within a tag or output")
        yield token


_ENVIRONMENT = _Environment()


@lru_cache(maxsize=256)
def compile_template(template: str) -> Callable[[Any, OutputBudget, str], str]:
    """Return the function that renders a template with the members of a scope as variables.

    It takes the scope, the budget, and the place of the template in the mapping for errors.

    Raises
    ------
    TemplateError
        The template cannot be read, or has something that is turned off or not supported.
    """
    try:
        run = _TemplateCompiler().block(_ENVIRONMENT.from_string(template).nodes)
    except LiquidError as error:
        raise TemplateError(_reason(error)) from error
    return lambda scope, budget, pointer: whole(run(Rendering(scope, budget, pointer)))


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

    def block(self, nodes: Iterable[Node]) -> Step:
        steps = [self.step(node) for node in nodes if not isinstance(node, CommentNode)]
        return lambda rendering: "".join([step(rendering) for step in steps])

    def step(self, node: Node) -> Step:  # noqa: PLR0911 - one for each kind of node
        match node:
            case ContentNode(text=text):
                return lambda rendering: rendering.text(text)
            case OutputNode(expression=FilteredExpression(left=Nil(), filters=[])):
                return self.block(())
            case OutputNode(expression=expression):  # echo as well
                value = value_of(expression)
                return lambda rendering: rendering.text(value(rendering))
            case AssignNode(name=name, expression=expression):
                return _assign(name, value_of(expression))
            case CaptureNode(name=name, block=block):
                return _assign(name, self.block(block.nodes))
            case IfNode() | UnlessNode():
                return self.branches(node)
            case CycleNode(args=values):
                return self.cycle(value_of(values[0]))
            case IncrementNode(name=name) | DecrementNode(name=name):
                return _count(name, 1 if isinstance(node, IncrementNode) else -1)
            case LiquidNode(block=block):
                return self.block(block.nodes)
        raise unsupported(str(node))

    def branches(self, node: IfNode | UnlessNode) -> Step:
        # Only the first condition of unless is turned round.
        first = (condition_of(node.condition), isinstance(node, IfNode), self.block(node.consequence.nodes))
        others = [
            (condition_of(other.expression), True, self.block(other.block.nodes))
            for other in node.alternatives
        ]
        default = self.block(node.default.nodes if node.default else ())

        def run(rendering: Rendering) -> str:
            for condition, wanted, block in (first, *others):
                if condition(rendering) is wanted:
                    return block(rendering)
            return default(rendering)

        return run

    def cycle(self, first: Value) -> Step:
        """Print the first value of a cycle: without loops no other one has its turn."""
        if self._has_cycle:
            raise unsupported("a second cycle in a template")
        self._has_cycle = True

        def run(rendering: Rendering) -> str:
            value = first(rendering)
            return rendering.text(value) if is_truthy(value) else ""  # 0 and false do not show

        return run


def _assign(name: str, value: Value) -> Step:
    name = _checked_name(name)

    def run(rendering: Rendering) -> str:
        rendering.assigned[name] = value(rendering)
        return ""

    return run


def _count(name: str, step: int) -> Step:
    """Print a counter and then move it up, or move it down first."""
    name = _checked_name(name)

    def run(rendering: Rendering) -> str:
        before, after = rendering.count(name, step)
        return rendering.text(before if step > 0 else after)

    return run


def _checked_name(name: str) -> str:
    if not _NAME.match(name):
        raise unsupported(f"the variable name {name!r}")
    return str(name)
