"""Missing: the one value mappings know beside those of JSON; and how it leaves a result."""

from __future__ import annotations

from typing import Any, Final


class Missing:
    """The type of `MISSING`; has no truth value, so that it is not taken for null or false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError("MISSING is neither true nor false; ask 'is MISSING'")

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # copies and pickles are the one object again


MISSING: Final = Missing()
"""What a directive gives for a key that is not there."""


def kind_of(value: Any) -> str:
    """Return what JSON calls a value of this kind, with its article, for a sentence."""
    kinds: tuple[tuple[Any, str], ...] = (
        (Missing, "missing"),
        (type(None), "null"),
        (bool, "a boolean"),
        (str, "a text"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "not a JSON value")
