"""Postscript's subscribers as a frame: contacts as they are compared, the audience list, what traits hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from toolkit.contacts.checks import fold_email, phone_digits
from toolkit.frames import SURROGATE, json_text, to_frame, to_table

from . import api

SUBSCRIBER_COLUMNS = {
    "subscriber_id": "str",
    "phone_digits": "str",
    "email_folded": "str",
    "audiences": "str",
    "has_property": "bool",
    "property_count": "int64",
    "properties": "str",
    "can_send": "boolean",
    "updated_at": "str",
}
"""A subscriber frame. ``audiences`` is the JSON text of a list, null when the property is no list of texts.

``properties`` is null when no traits were asked about, else the JSON text of an object: each trait and the
JSON text of its value, null where there is none.
"""

_MAX_BITS = 63
"""Longer numbers are no integers to most databases."""


def subscribers_table(
    subscribers: Iterable[api.Subscriber], *, trait_keys: Collection[str] = ()
) -> pd.DataFrame:
    """Lay subscribers out as a frame of SUBSCRIBER_COLUMNS, one row an id; its last reading stands."""
    rows = {s.subscriber_id: s for s in subscribers}
    columns: dict[str, list[Any]] = {
        "subscriber_id": [*rows],
        "phone_digits": [phone_digits(s.phone) or None for s in rows.values()],
        # A lone surrogate is in no address, and no text can hold it.
        "email_folded": [
            None if SURROGATE.search(s.email) else fold_email(s.email) or None for s in rows.values()
        ],
        "audiences": [
            None if (keys := api.read_audiences(s.properties)) is None else json_text(keys)
            for s in rows.values()
        ],
        "has_property": [api.AUDIENCES_PROPERTY in s.properties for s in rows.values()],
        "property_count": [len(s.properties) for s in rows.values()],
        "properties": [_held_traits(s.properties, trait_keys) for s in rows.values()],
        "can_send": [s.can_send for s in rows.values()],
        "updated_at": [s.updated_at for s in rows.values()],
    }
    return to_frame(to_table(columns, SUBSCRIBER_COLUMNS), SUBSCRIBER_COLUMNS)


def _held_traits(properties: Mapping[str, Any], trait_keys: Collection[str]) -> str | None:
    if not trait_keys:
        return None
    return json_text({key: _held_json(properties[key]) if key in properties else None for key in trait_keys})


def _held_json(value: Any) -> str:
    """Return what a property holds as JSON text; ``{}``, which no trait is, for what no trait can be."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None if not math.isfinite(value) else {}
    is_trait = (
        value.bit_length() <= _MAX_BITS
        if isinstance(value, int)
        else all(isinstance(item, str) for item in value)
        if isinstance(value, list)
        else value is None or isinstance(value, str)
    )
    return json_text(value) if is_trait else "{}"
