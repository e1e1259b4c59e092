"""Paths and templates: cutting them up, and filling them from a scope."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from toolkit.segment.javascript import MISSING, WHITESPACE, is_truthy, text_of, unit_at, whole

from .budget import ITEM_COST, OutputBudget, Resolver
from .tree import Path

_SEPARATOR = re.compile(r"\.|\[(?=['\"0-9])|(?<=['\"0-9])\]+")
_QUOTES = re.compile("['\"]")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_CACHED_LENGTH = 200  # a longer path is hardly written by hand: let events not fill the cache


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


def walk(scope: Any, steps: tuple[str, ...]) -> Any:
    """Return the value at the end of *steps*; a falsy value on the way ends it, and is the answer."""
    value = scope
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
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


def getter(steps: tuple[str, ...]) -> Resolver:
    """Return the function that gives what `walk` does; made fast for one to three steps."""
    match steps:
        case (only,):
            return lambda scope, _: scope.get(only, MISSING) if type(scope) is dict else walk(scope, steps)
        case (first, second):
            return _two_steps(first, second)
        case (first, second, third):
            return _three_steps(first, second, third)
    return lambda scope, _: walk(scope, steps)


def _two_steps(first: str, second: str) -> Resolver:
    def resolve(scope: Any, _: OutputBudget) -> Any:
        if type(scope) is dict:
            part = scope.get(first, MISSING)
            if type(part) is dict:
                return part.get(second, MISSING)
            if part is MISSING or part is None:
                return part
        return walk(scope, (first, second))

    return resolve


def _three_steps(first: str, second: str, third: str) -> Resolver:
    get, then = _two_steps(first, second), (third,)

    def resolve(scope: Any, budget: OutputBudget) -> Any:
        part = get(scope, budget)
        if type(part) is dict:
            return part.get(third, MISSING)
        return part if part is MISSING or part is None else walk(part, then)

    return resolve


def placeholder_parts(template: str, braces: int) -> tuple[str | Path, ...]:
    """Cut a template up at its placeholders of two or three braces: texts, and paths to fill in.

    >>> placeholder_parts("+1{{phone}}", 2)
    ('+1', Path(steps=('phone',)))
    """
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


def fill(template: str, braces: int, scope: Any, budget: OutputBudget, pointer: str) -> str:
    """Return a template with its placeholders of two or three braces filled in from *scope*."""
    scope = {} if scope is MISSING else scope  # shows when a placeholder names the whole scope
    parts = placeholder_parts(template, braces)
    texts = [part if isinstance(part, str) else text_of(walk(scope, part.steps)) for part in parts]
    return join_texts(texts, budget, pointer)


def join_texts(texts: Sequence[str], budget: OutputBudget, pointer: str) -> str:
    """Return the texts in one, unless it is longer than allowed."""
    budget.spend(sum(map(len, texts)) + ITEM_COST * len(texts), pointer)
    return whole("".join(texts))
