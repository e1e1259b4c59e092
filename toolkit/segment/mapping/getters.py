"""Functions that follow a path as written; those of one to three keys, the common ones, made to be fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .allowance import Allowance
from .paths import walk
from .values import MISSING

Resolver: TypeAlias = Callable[[Any, Allowance], Any]
"""Gives a value from the scope, and spends what it builds."""


def getter(steps: tuple[str, ...]) -> Resolver:
    """Return the function that gives the value at the end of *steps*, as `walk` does."""
    match steps:
        case (first,):
            return _one(first)
        case (first, second):
            return _two(first, second)
        case (first, second, third):
            return _three(first, second, third)
    return lambda scope, _: walk(scope, steps)


def _one(first: str) -> Resolver:
    def resolve(scope: Any, _: Allowance) -> Any:
        return scope.get(first, MISSING) if type(scope) is dict else walk(scope, (first,))

    return resolve


def _two(first: str, second: str) -> Resolver:
    def resolve(scope: Any, _: Allowance) -> Any:
        if type(scope) is dict:
            part = scope.get(first, MISSING)
            if type(part) is dict:
                return part.get(second, MISSING)
            if part is MISSING or part is None:
                return part
        return walk(scope, (first, second))

    return resolve


def _three(first: str, second: str, third: str) -> Resolver:
    def resolve(scope: Any, _: Allowance) -> Any:
        if type(scope) is dict:
            part = scope.get(first, MISSING)
            if type(part) is dict:
                part = part.get(second, MISSING)
                if type(part) is dict:
                    return part.get(third, MISSING)
            if part is MISSING or part is None:
                return part
        return walk(scope, (first, second, third))

    return resolve
