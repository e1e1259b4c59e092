"""How a filter is called: with as many arguments as it knows, the absent ones missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from toolkit.segment.mapping.values import MISSING

from .state import State
from .values import plain

Filter: TypeAlias = Callable[[Any, Sequence[Any], State], Any]
"""Called with the value, the arguments, and the state of the rendering."""


def on_values(function: Callable[..., Any], arity: int = 0) -> Filter:
    """Return a filter from a function of state, value and *arity* arguments; the value counts as plain."""

    def call(value: Any, arguments: Sequence[Any], state: State) -> Any:
        given = arguments[:arity]
        return function(state, plain(value), *given, *[MISSING] * (arity - len(given)))

    return call


def on_texts(function: Callable[..., Any], arity: int = 0) -> Filter:
    """Return a filter from a function of state, the value's text and *arity* arguments."""

    def call(state: State, value: Any, *arguments: Any) -> Any:
        text = state.text(value)
        state.spend(len(text))
        return function(state, text, *arguments)

    return on_values(call, arity)
