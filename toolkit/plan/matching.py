"""Subscribers as a frame, and who of them each person is. Nothing is guessed: who is not one is nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from toolkit import wire
from toolkit.contacts import fold_email, phone_digits
from toolkit.destination.payloads import property_json, property_value
from toolkit.mapping import MISSING

SUBSCRIBER_COLUMNS = {
    "subscriber_id": "str",
    "phone_digits": "str",
    "email_folded": "str",
    "audiences": "object",
    "has_property": "bool",
    "property_count": "int64",
    "properties": "object",
    "can_send": "boolean",
    "updated_at": "str",
}
"""A subscriber frame. ``audiences`` is a tuple of keys, or None when the property is not a list of texts;
``properties`` maps each trait that was asked about to its JSON text, or None where there is none."""


def subscribers_table(
    subscribers: Iterable[wire.Subscriber], *, trait_keys: Collection[str] = ()
) -> pd.DataFrame:
    """Lay subscribers out as a frame of SUBSCRIBER_COLUMNS, one row an id; its last reading stands."""
    rows = {s.subscriber_id: s for s in subscribers}
    frame = pd.DataFrame(
        {
            "subscriber_id": [*rows],
            "phone_digits": [phone_digits(s.phone) or None for s in rows.values()],
            "email_folded": [fold_email(s.email) or None for s in rows.values()],
            "audiences": [wire.read_audiences(s.properties) for s in rows.values()],
            "has_property": [wire.AUDIENCES_PROPERTY in s.properties for s in rows.values()],
            "property_count": [len(s.properties) for s in rows.values()],
            "properties": [_held_traits(s.properties, trait_keys) for s in rows.values()],
            "can_send": [s.can_send for s in rows.values()],
            "updated_at": [s.updated_at for s in rows.values()],
        }
    )
    return frame.astype(SUBSCRIBER_COLUMNS)


_NO_TRAITS: dict[str, str | None] = {}
"""One for all: a million empty objects would be worth mentioning."""


def _held_traits(properties: Mapping[str, Any], trait_keys: Collection[str]) -> dict[str, str | None]:
    if not trait_keys:
        return _NO_TRAITS
    return {key: _held_json(properties[key]) if key in properties else None for key in trait_keys}


def _held_json(value: Any) -> str:
    """Return what a property holds as JSON text; ``{}``, which no trait is, for what no trait can be."""
    held = property_value(value)
    return "{}" if held is MISSING else property_json(held)


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
    digits = contacts["phone_e164"].str.removeprefix("+")
    by_phone = _one_id(subscribers, "phone_digits")
    by_email = _one_id(subscribers, "email_folded")
    # An id of "" stands for several subscribers.
    # astype: where nothing is found, map() gives floats.
    phone_id = digits.map(by_phone).astype("str")
    email_id = contacts["email_clean"].map(by_email).astype("str")
    found = phone_id.fillna(email_id)
    method = pd.Series(np.where(phone_id.notna(), "phone", "email"), index=contacts.index, dtype="str")
    reason = pd.Series(pd.NA, index=contacts.index, dtype="str")
    reason = reason.mask(found.isna(), "SUBSCRIBER_NOT_FOUND").mask(found == "", "AMBIGUOUS_MATCH")
    unusable = contacts["phone_e164"].isna() & contacts["email_clean"].isna()
    given = contacts["phone"].notna() | contacts["email"].notna()
    reason = reason.mask(unusable & given, "CONTACT_INVALID").mask(unusable & ~given, "NO_CONTACT")
    return pd.DataFrame(
        {
            "person": contacts["person"],
            "subscriber_id": found.where(reason.isna()),
            "match_method": method.where(reason.isna()),
            "reason_code": reason,
        }
    )


def _one_id(subscribers: pd.DataFrame, contact: str) -> pd.Series:
    """Map each contact to its subscriber's id, or to "" when several share it."""
    known = subscribers.loc[subscribers[contact].notna(), [contact, "subscriber_id"]]
    several = known[contact].duplicated(keep=False)
    ids = known["subscriber_id"].mask(several, "")
    return pd.Series(ids.to_numpy(), index=known[contact].to_numpy(), dtype="str").loc[
        lambda s: ~s.index.duplicated()
    ]
