"""``@path`` and ``@template``: cutting paths and templates up, and filling them from a scope."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, WHITESPACE, is_truthy, kind_of, text_of, unit_at, whole

from .parse import Parser, directive, is_directive
from .tree import ITEM_COST, Node, OutputBudget, Resolver

_SEPARATOR = re.compile(r"\.|\[(?=['\"0-9])|(?<=['\"0-9])\]+")
_QUOTES = re.compile("['\"]")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_CACHED_LENGTH = 200  # a longer path is hardly written by hand: let events not fill the cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Path(Node):
    """``@path`` with a path as written: the value at the end of the steps.

    The walk ends early, with that value, at null, false, 0, NaN or a blank text. A step into a list is an
    index; into a text it gives a character (a UTF-16 unit); into a number or true nothing.
    """

    steps: tuple[str, ...]
    """Keys and indexes; none gives the whole scope."""

    def _resolver(self, *, keep: bool) -> Resolver:  # noqa: ARG002
        return partial(_walk, self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputedPath(Node):
    """``@path`` whose path comes from the event; anything but a text is an error."""

    path: Node

    def _resolver(self, *, keep: bool) -> Resolver:
        path, pointer = self.path.compile(keep=keep), self.pointer
        return lambda scope, budget: _walk(parse_path(_text(path(scope, budget), pointer)).steps, scope)


@dataclass(frozen=True, kw_only=True, slots=True)
class Template(Node):
    """``@template`` with a template as written: the text forms of its parts, joined."""

    parts: tuple[str | Path, ...]
    """Texts, and a path for each placeholder; missing and null show as nothing."""
    rescan: bool
    """True when the paths are triple placeholders: double ones in the joined text are filled in next."""

    def _resolver(self, *, keep: bool) -> Resolver:  # noqa: ARG002
        parts, pointer = self.parts, self.pointer
        if not self.rescan:
            return lambda scope, budget: _fill(parts, scope, budget, pointer)
        return lambda scope, budget: _fill(
            _parts(_fill(parts, scope, budget, pointer), 2), scope, budget, pointer
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputedTemplate(Node):
    """``@template`` whose template comes from the event; anything but a text is an error."""

    template: Node

    def _resolver(self, *, keep: bool) -> Resolver:
        template, pointer = self.template.compile(keep=keep), self.pointer

        def resolve(scope: Any, budget: OutputBudget) -> str:
            text = _text(template(scope, budget), pointer)
            for braces in (3, 2):
                text = _fill(_parts(text, braces), scope, budget, pointer)
            return text

        return resolve


def _text_or_directive(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if isinstance(argument, str) or is_directive(argument):
        return parser.node(argument, pointer, depth)
    return parser.refuse(f"should be a text or a directive, not {kind_of(argument)}", pointer)


@directive("@path")
def _path(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if isinstance(argument, str):
        return parse_path(argument)
    return ComputedPath(path=_text_or_directive(parser, argument, pointer, depth), pointer=pointer)


@directive("@template")
def _template(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
    if not isinstance(argument, str):
        template = _text_or_directive(parser, argument, pointer, depth)
        return ComputedTemplate(template=template, pointer=pointer)
    triple = _parts(argument, 3)
    rescan = any(not isinstance(part, str) for part in triple)
    return Template(parts=triple if rescan else _parts(argument, 2), rescan=rescan, pointer=pointer)


def _text(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise MappingError(f"should give a text here, not {kind_of(value)}", pointer)
    return value


# --- paths


def parse_path(path: str) -> Path:
    """Return what ``@path`` reads in *path*: the first ``$.`` anywhere in it does not count.

    >>> parse_path("$.products[0].sku").steps
    ('products', '0', 'sku')
    """
    return Path(steps=_steps_of(path.replace("$.", "", 1)))


def _steps_of(path: str) -> tuple[str, ...]:
    """Cut a path up the way Segment does: quotes and empty steps do not count."""
    return _cached_steps(path) if len(path) <= _CACHED_LENGTH else _steps(path)


def _steps(path: str) -> tuple[str, ...]:
    return tuple(_QUOTES.sub("", step) for step in _SEPARATOR.split(path) if step)


_cached_steps = lru_cache(maxsize=4096)(_steps)


def _walk(steps: tuple[str, ...], scope: Any, _: OutputBudget | None = None) -> Any:
    """Return the value at the end of *steps*; a falsy value on the way ends it, and is the answer."""
    value = scope
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif value is MISSING or value is None:
            return value
        elif isinstance(value, list | str) and value != "":
            value = _item(value, step)
        else:
            return MISSING if is_truthy(value) else value
    return value


def _item(value: list[Any] | str, step: str) -> Any:
    if not _INDEX.match(step):
        return MISSING
    index = int(step)
    if isinstance(value, str):
        return unit_at(value, index) or MISSING
    return value[index] if index < len(value) else MISSING


# --- templates


def _parts(template: str, braces: int) -> tuple[str | Path, ...]:
    """Cut a template up at its placeholders of two or three braces: texts, and paths to fill in."""
    # Not a regular expression: on a text of nothing but braces its time would grow as the square.
    parts: list[str | Path] = []
    opening, closing = "{" * braces, "}" * braces
    done = position = 0
    while (start := template.find(opening, position)) >= 0:
        stop = template.find("}", start + braces)
        if stop < 0:
            break
        position = stop + 1
        if stop > start + braces and template.startswith(closing, stop):
            path = template[start + braces : stop].strip(WHITESPACE)
            parts += (template[done:start], Path(steps=_steps_of(path)))
            done = position = stop + braces
    parts.append(template[done:])
    return tuple(part for part in parts if part != "")


def _fill(parts: Sequence[str | Path], scope: Any, budget: OutputBudget, pointer: str) -> str:
    """Return the parts of a template in one text, the placeholders filled in from *scope*."""
    scope = {} if scope is MISSING else scope  # shows when a placeholder names the whole scope
    texts = [part if isinstance(part, str) else text_of(_walk(part.steps, scope)) for part in parts]
    budget.spend(sum(map(len, texts)) + ITEM_COST * len(texts), pointer)
    return whole("".join(texts))
