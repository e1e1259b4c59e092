"""``@path`` and ``@template``: cutting paths and templates up, and filling them from a scope."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.segment.javascript import MISSING, WHITESPACE, is_truthy, item_at, kind_of, text_of, whole

from .parse import Part, directive, is_directive
from .tree import ITEM_COST, Directive, Node, Resolution, ResolveError

_SEPARATOR = re.compile(r"\.|\[(?=['\"0-9])|(?<=['\"0-9])\]+")
_QUOTES = re.compile("['\"]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Path(Node):
    """``@path`` with a path as written: the value at the end of the steps.

    The walk ends early, with that value, at null, false, 0, NaN or a blank text. A step into a list is an
    index; into a text it gives a character (a UTF-16 unit); into a number or true nothing.
    """

    steps: tuple[str, ...]
    """Keys and indexes; none gives the whole scope."""

    def resolve(self, scope: Any, resolution: Resolution | None = None) -> Any:  # noqa: ARG002, D102
        value = scope
        for step in self.steps:
            if isinstance(value, dict):
                value = value.get(step, MISSING)
            elif value is MISSING or value is None:
                return value
            elif isinstance(value, list | str) and value != "":
                value = item_at(value, step)
            else:
                return MISSING if is_truthy(value) else value
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Template(Directive):
    """``@template`` with a template as written: the text forms of its parts, joined."""

    parts: tuple[str | Path, ...]
    """Texts, and a path for each placeholder; missing and null show as nothing."""
    rescan: bool
    """True when the paths are triple placeholders: double ones in the joined text are filled in next."""

    def _value(self, scope: Any, resolution: Resolution) -> str:
        text = _filled(self.parts, scope, resolution)
        return _filled(_parts(text, 2), scope, resolution) if self.rescan else text


@directive("@path", of_members=False)
def _path(argument: Part) -> Node:
    if isinstance(argument.given, str):
        return parse_path(argument.given)
    path = _text_by_event(argument)
    return argument.computed(lambda scope, resolution: parse_path(path(scope, resolution)).resolve(scope))


@directive("@template", of_members=False)
def _template(argument: Part) -> Node:
    if isinstance(argument.given, str):
        return _parse_template(argument.given, argument.pointer)
    template, pointer = _text_by_event(argument), argument.pointer

    def fill(scope: Any, resolution: Resolution) -> Any:
        return _parse_template(template(scope, resolution), pointer).resolve(scope, resolution)

    return argument.computed(fill)


def _text_by_event(argument: Part) -> Callable[[Any, Resolution], str]:
    """Return the function that gives the path or template that an event decides."""
    wrong = f"should be a text or a directive, not {kind_of(argument.given)}"
    node = argument.node() if is_directive(argument.given) else argument.refuse(wrong)

    def text(scope: Any, resolution: Resolution) -> str:
        value = node.resolve(scope, resolution)
        if not isinstance(value, str):
            raise ResolveError(f"should give a text here, not {kind_of(value)}")
        return value

    return text


def parse_path(path: str) -> Path:
    """Return what ``@path`` reads in *path*: the first ``$.`` anywhere in it does not count.

    >>> parse_path("$.products[0].sku").steps
    ('products', '0', 'sku')
    """
    return _path_of(path.replace("$.", "", 1))


def _path_of(path: str) -> Path:
    """Cut a path up the way Segment does: quotes and empty steps do not count."""
    return Path(steps=tuple(_QUOTES.sub("", step) for step in _SEPARATOR.split(path) if step))


def _parse_template(template: str, pointer: str) -> Template:
    triple = _parts(template, 3)
    rescan = any(not isinstance(part, str) for part in triple)
    return Template(parts=triple if rescan else _parts(template, 2), rescan=rescan, pointer=pointer)


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
            parts += (template[done:start], _path_of(path))
            done = position = stop + braces
    parts.append(template[done:])
    return tuple(part for part in parts if part != "")


def _filled(parts: Sequence[str | Path], scope: Any, resolution: Resolution) -> str:
    """Return the parts of a template in one text, the placeholders filled in from *scope*."""
    scope = {} if scope is MISSING else scope  # shows when a placeholder names the whole scope
    texts = [part if isinstance(part, str) else text_of(part.resolve(scope)) for part in parts]
    resolution.spend(sum(map(len, texts)) + ITEM_COST * len(texts))
    return whole("".join(texts))
