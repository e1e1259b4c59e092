"""How long an answer takes: fixed, between two bounds, with a long tail, or by route."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

Latency = float | str | list[float] | tuple[float, float] | Mapping[str, Any]
"""Seconds; two bounds; ``"long_tail"`` or ``"long_tail:SECONDS"`` (the median); or a mapping from routes,
``"*"`` for all others, to one of these."""

LONG_TAIL = "long_tail"
MEDIAN_SECONDS = 0.05
MOST_SECONDS = 600.0

_SPREAD = 1.0
"""Of the logarithm: one answer in 50 takes eight times the median."""
_TAIL_END = 100.0
"""No answer takes longer than so many medians."""


def check_latency(latency: Any) -> None:
    """Raise a ValueError in a sentence unless *latency* is one."""
    each = [*latency.values()] if isinstance(latency, Mapping) else [latency]
    if not all(_is_spread(one) for one in each):
        raise ValueError(
            "The knob latency_seconds must be seconds, [least, most], 'long_tail', 'long_tail:SECONDS', "
            "or an object from routes to one of these."
        )


def draw_latency(latency: Latency, route: str, chance: random.Random) -> float:
    """Draw the seconds that one answer on *route* takes.

    >>> draw_latency({"GET /me": 0.5, "*": 0.1}, "GET /events", random.Random(1))
    0.1
    """
    one: Any = latency.get(route, latency.get("*", 0.0)) if isinstance(latency, Mapping) else latency
    if isinstance(one, str):
        median = _median(one)
        return min(median * chance.lognormvariate(0.0, _SPREAD), median * _TAIL_END)
    return chance.uniform(*one) if isinstance(one, (list, tuple)) else float(one)


def _is_spread(one: Any) -> bool:
    if isinstance(one, str):
        try:
            return _is_seconds(_median(one))
        except ValueError:
            return False
    if isinstance(one, (list, tuple)):
        return len(one) == 2 and all(map(_is_seconds, one)) and bool(one[0] <= one[1])
    return _is_seconds(one)


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= MOST_SECONDS


def _median(text: str) -> float:
    name, _, seconds = text.partition(":")
    if name != LONG_TAIL:
        raise ValueError("not a spread of latencies")
    return float(seconds) if seconds else MEDIAN_SECONDS
