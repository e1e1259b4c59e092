"""Liquid templates as Segment takes them: a part of the language, within limits.

Parsed by python-liquid, rendered as Segment's engine does; docs/design/mapping.md lists the differences.
There is no file access, no clock and no chance, and nothing of Python shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from liquid import Environment, Node
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.token import TOKEN_TAG, Token

from toolkit.segment.mapping.allowance import Allowance
from toolkit.segment.mapping.javascript import whole

from .nodes import render
from .reader import ExpressionError
from .state import State
from .tags import DISABLED_TAGS, TAGS


class TemplateError(Exception):
    """A template cannot be read; the message says why."""


class _Environment(Environment):
    """python-liquid with Segment's tags and none of its own."""

    block_nesting_limit = 60

    def tokenizer(self) -> Callable[[str], Iterator[Token]]:
        read = super().tokenizer()
        return lambda source: _refusing_open_outputs(read(source))

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:  # noqa: ARG002
        for tag in TAGS:
            self.add_tag(tag)


def _refusing_open_outputs(tokens: Iterator[Token]) -> Iterator[Token]:
    """Pass tokens on, but not the ``{{%`` that python-liquid takes for a brace and a tag."""
    for token in tokens:
        if token.kind == TOKEN_TAG and _OPEN_OUTPUT.search(token.source, 0, token.start_index):
            raise LiquidSyntaxError("{{ is not closed", token=token)
        yield token


_OPEN_OUTPUT = re.compile(r"\{\{%-?\s*\Z")
_ENVIRONMENT = _Environment()


@lru_cache(maxsize=256)
def parse_template(template: str) -> Sequence[Node]:
    """Return the parts of a template; raise `TemplateError` when it cannot be read."""
    try:
        return _ENVIRONMENT.from_string(template).nodes
    except ExpressionError as error:
        raise TemplateError(str(error)) from error
    except LiquidError as error:
        raise TemplateError(_reason(error)) from error


def _reason(error: LiquidError) -> str:
    cause = error.__cause__
    if isinstance(cause, ExpressionError):
        return str(cause)
    disabled = next((tag for tag in DISABLED_TAGS if str(error.message) == f"unexpected tag '{tag}'"), None)
    return f"Segment has turned the tag {disabled} off" if disabled else str(error.message)


def render_template(parts: Sequence[Node], scope: Any, allowance: Allowance, pointer: str) -> str:
    """Return what the *parts* of a template print, with the members of *scope* as variables."""
    output: list[str] = []
    render(parts, State(scope, allowance, pointer), output)
    return whole("".join(output))
