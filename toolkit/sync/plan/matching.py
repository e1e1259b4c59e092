"""Find the one subscriber of each person, and the earlier ones of people who are another subscriber now.

Nothing is guessed: where there is no subscriber or there are several, a reason.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import empty_table, is_in, text_array

from .columns import NONE, SEVERAL, find_single, frame, have_like, listed_keys, places, spell, take

LACKING = ("SUBSCRIBER_NOT_FOUND", "AMBIGUOUS_MATCH", "CONTACT_INVALID", "NO_CONTACT", "SUBSCRIBER_GONE")

REACHED_COLUMNS = {"person": "str", "subscriber_id": "str"}
"""A frame of subscribers that people reach: a row a person × subscriber that has audiences because of them.

A person has several rows while an earlier subscriber of theirs still has audiences.
"""

_LEFT_COLUMNS = {**REACHED_COLUMNS, "place": "int64"}


class Matches(NamedTuple):
    """Of each person the place of their one subscriber, the method, and the place in LACKING; -1 for none."""

    subscriber: np.ndarray
    method: pa.Array
    lacking: np.ndarray


def match(contacts: pd.DataFrame, subscribers: pd.DataFrame) -> Matches:
    """Find each person's one subscriber, by phone, else by email.

    The email counts only where the phone finds none: several with one phone, or one email, are ambiguous.
    """
    phones, emails = phones_held(contacts), text_array(contacts["email_clean"])
    found = find_single(phones, text_array(subscribers["phone_digits"]))
    is_by_email = found == NONE
    if len(rest := np.flatnonzero(is_by_email)):
        found[rest] = find_single(take(emails, rest), text_array(subscribers["email_folded"]))
    is_given = contacts["phone"].notna() | contacts["email"].notna()
    is_usable = contacts["phone_e164"].notna() | contacts["email_clean"].notna()
    names = ("NO_CONTACT", "CONTACT_INVALID", "SUBSCRIBER_NOT_FOUND", "AMBIGUOUS_MATCH")
    cases = [~is_given & ~is_usable, ~is_usable, found == NONE, found == SEVERAL]
    lacking = np.select(cases, [LACKING.index(name) for name in names], NONE)
    is_one = lacking == NONE
    method = spell(np.where(is_one, is_by_email, NONE), ("phone", "email"))
    return Matches(np.where(is_one, found, NONE), method, lacking)


def phones_held(contacts: pd.DataFrame) -> pa.Array:
    """Return the phones as subscriber frames have them: without their plus."""
    return pc.utf8_ltrim(text_array(contacts["phone_e164"]), characters="+")


def are_reached(subscribers: pd.DataFrame, contacts: pd.DataFrame) -> np.ndarray:
    """Return which subscribers have the phone or the email of one of the contacts."""
    by_phone = is_in(subscribers["phone_digits"], phones_held(contacts).to_pandas())
    return np.asarray(by_phone | is_in(subscribers["email_folded"], contacts["email_clean"]))


def match_people(contacts: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Find each person's one subscriber: one row per person of check_contacts(), in the same order.

    Columns: ``person``, ``subscriber_id`` (null when none or several), ``match_method`` (``phone``, ``email``
    or null), ``reason_code`` (null when matched). *subscribers* are SUBSCRIBER_COLUMNS.
    """
    matches = match(contacts, subscribers)
    found = {
        "person": text_array(contacts["person"]),
        "subscriber_id": take(text_array(subscribers["subscriber_id"]), matches.subscriber),
        "match_method": matches.method,
        "reason_code": spell(matches.lacking, LACKING),
    }
    return frame(found, dict.fromkeys(found, "str")).set_axis(contacts.index)


# --- people who are another subscriber now ----------------------------------------------------------------


def find_left(
    reached: pd.DataFrame | None, contacts: pd.DataFrame, matches: Matches, subscribers: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of *reached* whose person is another subscriber now, with the subscriber's ``place``.

    A person who matches no subscriber now has not moved. Left out are subscribers that are gone, or that
    may be a person who matches several.
    """
    if reached is None or reached.empty:
        return empty_table(_LEFT_COLUMNS)
    now = np.append(matches.subscriber, NONE)[places(reached["person"], contacts["person"])]
    place = places(reached["subscriber_id"], subscribers["subscriber_id"])
    left = reached.assign(place=place)[(now != NONE) & (place != NONE) & (now != place)]
    ambiguous = contacts[matches.lacking == LACKING.index("AMBIGUOUS_MATCH")]
    is_unclear = are_reached(subscribers.take(left["place"]), ambiguous)
    return left[~is_unclear].reset_index(drop=True)


def moved_rows(asked: pd.DataFrame, left: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return rows like *asked*: a subscriber × audience each to be taken away, that no row is about yet."""
    memberships = asked.loc[asked["audience_key"].notna(), ["person", "audience_key", "audience_id"]]
    rows = left.merge(memberships, on="person").drop_duplicates(["place", "audience_key"])
    rows = rows.assign(
        person="subscriber " + rows["subscriber_id"], member=False, lacking=NONE, is_moved=True
    )
    pair = ["subscriber_id", "audience_key"]
    ids = take(text_array(subscribers["subscriber_id"]), asked["place"].to_numpy())
    theirs = asked.assign(subscriber_id=ids.to_pandas())
    is_decided = have_like(rows, theirs, pair) | have_like(rows, theirs, ["person", "audience_key"])
    rows = rows[~is_decided & have_like(rows, listed_keys(subscribers.take(left["place"])), pair)]
    return rows.reindex(columns=asked.columns).astype(asked.dtypes)


def newly_reached(changes: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """Return REACHED_COLUMNS of *changes*: who has an audience because of which person, but not *reached*."""
    is_held = changes["reason_code"].isin(["ENTERED", "ALREADY_IN"]) & changes["match_method"].notna()
    pairs = changes.loc[is_held, [*REACHED_COLUMNS]].drop_duplicates(ignore_index=True)
    return pairs[~have_like(pairs, reached, [*REACHED_COLUMNS])].reset_index(drop=True)


def settled(left: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of *left* for whose subscriber nothing remains to be done after *changes*."""
    is_open = changes["match_method"].isna() & ~changes["status"].isin(["removed", "unchanged", "waiting"])
    rest = changes.loc[is_open, "subscriber_id"].dropna()
    return left.loc[~left["subscriber_id"].isin(rest), [*REACHED_COLUMNS]]
