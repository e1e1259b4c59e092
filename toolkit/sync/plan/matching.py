"""Find the one subscriber of each person. Nothing is guessed: where there is none or several, a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import numbers, text_array

from .columns import NONE, SEVERAL, find, frame, spell, take

REASONS = (
    None,
    "SUBSCRIBER_NOT_FOUND",
    "AMBIGUOUS_MATCH",
    "CONTACT_INVALID",
    "NO_CONTACT",
    "SUBSCRIBER_GONE",
)
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
    phone, email = text_array(contacts["phone_e164"]), text_array(contacts["email_clean"])
    found = find(_without_plus(phone), text_array(subscribers["phone_digits"]), single=True)
    method = np.ones(len(found), np.int8)
    rest = np.flatnonzero(found == NONE)
    if len(rest):
        found[rest] = find(take(email, rest), text_array(subscribers["email_folded"]), single=True)
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
        SUBSCRIBER_COLUMNS; rows that match no person are ignored.

    Returns
    -------
    DataFrame
        One row per person, same order: ``person``, ``subscriber_id`` (null when none or several),
        ``match_method`` (``phone``, ``email`` or null), ``reason_code`` (null when matched).
    """
    matches = match(contacts, subscribers)
    found = {
        "person": text_array(contacts["person"]),
        "subscriber_id": take(text_array(subscribers["subscriber_id"]), matches.subscriber),
        "match_method": spell(matches.method, METHODS),
        "reason_code": spell(matches.reason, REASONS),
    }
    return frame(found, dict.fromkeys(found, "str")).set_axis(contacts.index)
