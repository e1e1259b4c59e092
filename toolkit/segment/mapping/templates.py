"""Templates: texts with ``{{path}}`` placeholders, cut up and filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .allowance import ITEM_COST, Allowance
from .javascript import WHITESPACE, text_of, whole
from .paths import steps_of, walk
from .tree import Path
from .values import MISSING


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
            parts += (template[done:start], Path(steps=steps_of(path)))
            done = position = stop + braces
    parts.append(template[done:])
    return tuple(part for part in parts if part != "")


def fill(template: str, braces: int, scope: Any, allowance: Allowance, pointer: str) -> str:
    """Return a template with its placeholders of two or three braces filled in from *scope*."""
    scope = {} if scope is MISSING else scope  # shows when a placeholder names the whole scope
    parts = placeholder_parts(template, braces)
    texts = [part if isinstance(part, str) else text_of(walk(scope, part.steps)) for part in parts]
    return joined(texts, allowance, pointer)


def joined(texts: Sequence[str], allowance: Allowance, pointer: str) -> str:
    """Return the texts in one, unless it is longer than allowed."""
    allowance.spend(sum(map(len, texts)) + ITEM_COST * len(texts), pointer)
    return whole("".join(texts))
