"""The tags of a template, on python-liquid's parser: it cuts templates up and nests their blocks.

What stands inside a tag is read by `Reader` and done by `nodes`: values and filters behave as in Segment's
engine, which differs from python-liquid in both.
"""

from __future__ import annotations

from typing import ClassVar, Final

from liquid import Environment, Tag, TokenStream
from liquid.ast import BlockNode
from liquid.ast import Node as LiquidAst
from liquid.builtin.content import Literal
from liquid.builtin.illegal import Illegal
from liquid.builtin.tags.comment_tag import CommentTag
from liquid.builtin.tags.inline_comment_tag import InlineCommentTag
from liquid.builtin.tags.liquid_tag import LiquidTag
from liquid.exceptions import LiquidSyntaxError
from liquid.parser import get_parser
from liquid.token import TOKEN_EXPRESSION, TOKEN_OUTPUT, TOKEN_TAG, Token

from .expressions import FilteredValue
from .nodes import Assign, Branches, Capture, Count, Cycle, Print, Stop
from .reader import Reader

DISABLED_TAGS: Final = ("case", "for", "include", "layout", "render", "tablerow")
"""Tags that raise."""


class OutputTag(Tag):
    """``{{ value | filter }}``."""

    name = TOKEN_OUTPUT
    block = False

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        token = stream.eat(TOKEN_OUTPUT)
        return Print(token, Reader(stream.expect(TOKEN_EXPRESSION).value).filtered_value())


class EchoTag(Tag):
    """``echo value``; alone it prints nothing."""

    name = "echo"
    block = False

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        token, reader = _inside(stream)
        return BlockNode(token, []) if reader.is_at_end() else Print(token, reader.filtered_value())


class AssignTag(Tag):
    """``assign name = value``."""

    name = "assign"
    block = False

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        token, reader = _inside(stream)
        name = reader.identifier()
        if not name or not reader.take("="):
            raise LiquidSyntaxError("assign needs a name, = and a value", token=token)
        return Assign(token, name, reader.filtered_value())


class CaptureTag(Tag):
    """``capture name``."""

    name = "capture"
    end = "endcapture"

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        token, reader = _inside(stream, eat=True)
        name = reader.identifier() or reader.quoted()
        if not name:
            raise LiquidSyntaxError("capture needs a name", token=token)
        block = _block(self.env, stream, (self.end,))
        _end(stream, self.end)
        return Capture(token, name, block)


class IfTag(Tag):
    """``if``, with ``elsif`` and ``else``."""

    name = "if"
    end = "endif"
    negated: ClassVar = False

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        ends = ("elsif", "else", self.end)
        token, reader = _inside(stream, eat=True)
        branches: list[tuple[FilteredValue | None, BlockNode]] = []
        branches.append((reader.filtered_value(), _block(self.env, stream, ends)))
        while stream.current.is_tag("elsif"):
            _, reader = _inside(stream, eat=True)
            branches.append((reader.filtered_value(), _block(self.env, stream, ends)))
        if stream.current.is_tag("else"):
            _, reader = _inside(stream, eat=True)
            self._check_nothing_in(reader, token)
            branches.append((None, _block(self.env, stream, ends)))
        self._check_nothing_in(_end(stream, self.end), token)
        return Branches(token, branches, negated=self.negated)

    def _check_nothing_in(self, reader: Reader, token: Token) -> None:
        if not self.negated and not reader.is_at_end():
            raise LiquidSyntaxError("else and endif stand alone", token=token)


class UnlessTag(IfTag):
    """``unless``: `IfTag` with its first condition turned round."""

    name = "unless"
    end = "endunless"
    negated: ClassVar = True


class CycleTag(Tag):
    """``cycle group: value, value``."""

    name = "cycle"
    block = False

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        token, reader = _inside(stream)
        start = reader.position
        group = reader.value()
        if group is None or not reader.take(":"):
            group, reader.position = None, start
        values = []
        while not reader.is_at_end():
            values.append(reader.filtered_value())
            reader.skip_to(",")
        if not values:
            raise LiquidSyntaxError("cycle needs values", token=token)
        return Cycle(token, group, values)


class IncrementTag(Tag):
    """``increment name``."""

    name = "increment"
    block = False
    step: ClassVar = 1

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        token, reader = _inside(stream)
        return Count(token, reader.identifier(), self.step)


class DecrementTag(IncrementTag):
    """``decrement name``."""

    name = "decrement"
    step: ClassVar = -1


class BreakTag(Tag):
    """``break``."""

    name = "break"
    block = False

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        return Stop(_inside(stream)[0])


class ContinueTag(BreakTag):
    """``continue``."""

    name = "continue"


class BlockTag(Tag):
    """``block name``: without layouts, what it holds."""

    name = "block"
    end = "endblock"

    def parse(self, stream: TokenStream) -> LiquidAst:
        """Return the node of this tag."""
        _inside(stream, eat=True)
        block = _block(self.env, stream, (self.end,))
        _end(stream, self.end)
        return block


TAGS: Final[tuple[type[Tag], ...]] = (
    AssignTag,
    BlockTag,
    BreakTag,
    CaptureTag,
    CommentTag,
    ContinueTag,
    CycleTag,
    DecrementTag,
    EchoTag,
    IfTag,
    Illegal,
    IncrementTag,
    InlineCommentTag,
    LiquidTag,
    Literal,
    OutputTag,
    UnlessTag,
)
"""Every tag there is; any other is an error."""


def _inside(stream: TokenStream, *, eat: bool = False) -> tuple[Token, Reader]:
    """Take a tag's name off the stream; return it, and a reader of what follows in the tag.

    Tags without a block leave their last token to the parser; those with one have to eat it.
    """
    token = stream.eat(TOKEN_TAG)
    if stream.current.kind != TOKEN_EXPRESSION:
        stream.pos -= 0 if eat else 1
        return token, Reader("")
    text = stream.current.value
    stream.pos += 1 if eat else 0
    return token, Reader(text)


def _block(env: Environment, stream: TokenStream, ends: tuple[str, ...]) -> BlockNode:
    return get_parser(env).parse_block(stream, ends)


def _end(stream: TokenStream, name: str) -> Reader:
    """Check that the block is closed; return a reader of what else stands in the closing tag."""
    stream.expect(TOKEN_TAG, value=name)
    if stream.peek.kind != TOKEN_EXPRESSION:
        return Reader("")
    next(stream)
    return Reader(stream.current.value)
