"""Check resolved values against an action's fields, and turn them into the fields' types, as Segment does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping as AbstractMapping
from typing import Any

from toolkit.segment.javascript import MISSING, kind_of, number_text

from .actions import Field


def check_fields(
    values: AbstractMapping[str, Any], fields: Iterable[Field]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values as their fields' types want them, and a sentence for each field that fails.

    Blank and null are removed first, so a required field that comes to ``""`` is missing. The sentences
    come in Segment's order: what is missing, then the rest. A value without a field is dropped.
    """
    checked: dict[str, Any] = {}
    missing: dict[str, str] = {}
    refused: dict[str, str] = {}
    for known in fields:
        value = values.get(known.key)
        if value is None or value == "" or is_not_finite(value):
            if known.required:
                missing[known.key] = f"{known.label} is missing."
            continue
        coerced = _coerced(value, known)
        if coerced is MISSING:
            wanted = "an object" if known.type == "object" else "a text"
            refused[known.key] = f"{known.label} must be {wanted} but is {kind_of(value)}."
        elif known.choices and coerced not in known.choices:
            refused[known.key] = f"{known.label} must be one of: {' or '.join(known.choices)}."
        else:
            checked[known.key] = coerced
    return checked, missing | refused


def contact_text(value: Any) -> str | None:
    """Return a resolved contact as trimmed text, None when there is none in it."""
    if is_not_finite(value):
        return None
    text = _coerced_text(value)
    return (text.strip() or None) if isinstance(text, str) else None


def is_not_finite(value: Any) -> bool:
    """Tell whether *value* is one of the numbers JSON does not have; they count as null."""
    return isinstance(value, float) and not math.isfinite(value)


def _coerced(value: Any, known: Field) -> Any:
    """Return *value* in the field's type, `MISSING` if it cannot be."""
    if known.type == "object":
        return value if isinstance(value, dict) else MISSING
    return value if isinstance(value, str) else _coerced_text(value)


def _coerced_text(value: Any) -> Any:
    """Return the text Segment makes of a scalar or a list of one, `MISSING` for anything else."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
        if value is None or is_not_finite(value):
            return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, int | float) else MISSING
