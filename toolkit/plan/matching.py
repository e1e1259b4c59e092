"""Subscribers as a frame, and who of them each person is. Nothing is guessed: who is not one is nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit import wire
from toolkit.contacts import fold_email, phone_digits
from toolkit.destination.payloads import property_json, property_value
from toolkit.frames import numbers, to_frame, to_table
from toolkit.mapping import MISSING

from .columns import NONE, SEVERAL, find, frame, spell, take, texts

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

_HALF = re.compile("[\ud800-\udfff]")
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ESCAPED = json.JSONEncoder(separators=(",", ":")).encode


def json_text(value: Any) -> str:
    """Return *value* as compact JSON text, its letters as they are."""
    text = _COMPACT(value)
    # Half a character is no text: only its escape is.
    return text if text.isascii() or not _HALF.search(text) else _ESCAPED(value)


def subscribers_table(
    subscribers: Iterable[wire.Subscriber], *, trait_keys: Collection[str] = ()
) -> pd.DataFrame:
    """Lay subscribers out as a frame of SUBSCRIBER_COLUMNS, one row an id; its last reading stands."""
    rows = {s.subscriber_id: s for s in subscribers}
    columns: dict[str, list[Any]] = {
        "subscriber_id": [*rows],
        "phone_digits": [phone_digits(s.phone) or None for s in rows.values()],
        "email_folded": [_held_email(s.email) for s in rows.values()],
        "audiences": [_held_audiences(s.properties) for s in rows.values()],
        "has_property": [wire.AUDIENCES_PROPERTY in s.properties for s in rows.values()],
        "property_count": [len(s.properties) for s in rows.values()],
        "properties": [_held_traits(s.properties, trait_keys) for s in rows.values()],
        "can_send": [s.can_send for s in rows.values()],
        "updated_at": [s.updated_at for s in rows.values()],
    }
    return to_frame(to_table(columns, SUBSCRIBER_COLUMNS), SUBSCRIBER_COLUMNS)


def _held_email(email: str) -> str | None:
    # Half a character is in nobody's address, and no text can hold it.
    return None if _HALF.search(email) else fold_email(email) or None


def _held_audiences(properties: Mapping[str, Any]) -> str | None:
    keys = wire.read_audiences(properties)
    return None if keys is None else json_text(keys)


def _held_traits(properties: Mapping[str, Any], trait_keys: Collection[str]) -> str | None:
    if not trait_keys:
        return None
    return json_text({key: _held_json(properties[key]) if key in properties else None for key in trait_keys})


def _held_json(value: Any) -> str:
    """Return what a property holds as JSON text; ``{}``, which no trait is, for what no trait can be."""
    held = property_value(value)
    return "{}" if held is MISSING else property_json(held)


REASONS = (None, "SUBSCRIBER_NOT_FOUND", "AMBIGUOUS_MATCH", "CONTACT_INVALID", "NO_CONTACT")
METHODS = (None, "phone", "email")


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """Who of the subscribers each person is."""

    subscriber: np.ndarray
    """Their place in the frame, -1 when none or several."""
    method: np.ndarray
    """Place in METHODS."""
    reason: np.ndarray
    """Place in REASONS."""


def match(contacts: pd.DataFrame, subscribers: pd.DataFrame) -> Matches:
    """Find each person's one subscriber, by phone, else by email."""
    phone, email = texts(contacts["phone_e164"]), texts(contacts["email_clean"])
    found = find(_without_plus(phone), texts(subscribers["phone_digits"]), single=True)
    method = np.ones(len(found), np.int8)
    rest = np.flatnonzero(found == NONE)
    if len(rest):
        found[rest] = find(take(email, rest), texts(subscribers["email_folded"]), single=True)
        method[rest] = METHODS.index("email")
    reason = np.select([found == NONE, found == SEVERAL], [1, 2], 0).astype(np.int8)
    absent = rest[~numbers(pc.or_(take(phone, rest).is_valid(), take(email, rest).is_valid()))]
    given = contacts["phone"].notna().to_numpy()[absent] | contacts["email"].notna().to_numpy()[absent]
    reason[absent] = np.where(given, REASONS.index("CONTACT_INVALID"), REASONS.index("NO_CONTACT"))
    method[reason > 0] = 0
    return Matches(subscriber=np.where(reason > 0, NONE, found), method=method, reason=reason)


def _without_plus(phones: pa.Array) -> pa.Array:
    return pc.utf8_ltrim(phones, characters="+")


def match_people(contacts: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Find each person's one subscriber.

    Parameters
    ----------
    contacts
        From check_contacts().
    subscribers
        SUBSCRIBER_COLUMNS; rows that match nobody are ignored.

    Returns
    -------
    DataFrame
        One row per person, same order: ``person``, ``subscriber_id`` (null when none or several),
        ``match_method`` (``phone``, ``email`` or null), ``reason_code`` (null when matched).
    """
    matches = match(contacts, subscribers)
    found = {
        "person": texts(contacts["person"]),
        "subscriber_id": take(texts(subscribers["subscriber_id"]), matches.subscriber),
        "match_method": spell(matches.method, METHODS),
        "reason_code": spell(matches.reason, REASONS),
    }
    return frame(found, dict.fromkeys(found, "str")).set_axis(contacts.index)
