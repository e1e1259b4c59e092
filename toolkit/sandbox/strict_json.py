"""JSON read so strictly that whatever was accepted can always be written back."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Levels of objects and arrays inside one another; more is refused, long before Python's own stack ends."""


def parse_json(raw: bytes) -> Any:
    """Read one JSON document; anything that cannot be written back as JSON is a ValueError.

    >>> parse_json(b'{"tags": ["VIP"]}')
    {'tags': ['VIP']}
    """
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the text is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("a string holds half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if _is_deeper_than(value, MAX_DEPTH):
        raise ValueError("the JSON is nested too deeply")
    return value


def dump_json(value: Any) -> str:
    """Write JSON in plain ASCII, in one line."""
    return json.dumps(value, allow_nan=False)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _is_deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return False
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return True
