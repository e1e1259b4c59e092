"""Paths: cutting them up, and walking an event along them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from .javascript import is_truthy, unit_at
from .tree import Path
from .values import MISSING

_SEPARATOR = re.compile(r"\.|\[(?=['\"0-9])|(?<=['\"0-9])\]+")
_QUOTES = re.compile("['\"]")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_CACHED_LENGTH = 200  # a longer path is hardly written by hand: let events not fill the cache


def path_of(path: str) -> Path:
    """Return what ``@path`` reads in *path*: the first ``$.`` anywhere in it does not count.

    >>> path_of("$.products[0].sku").steps
    ('products', '0', 'sku')
    """
    return Path(steps=steps_of(path.replace("$.", "", 1)))


def steps_of(path: str) -> tuple[str, ...]:
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
    """Return a list item, or a character of a text."""
    if not _INDEX.match(step):
        return MISSING
    index = int(step)
    if isinstance(value, str):
        return unit_at(value, index) or MISSING
    return value[index] if index < len(value) else MISSING
