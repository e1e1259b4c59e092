"""Subscribers who have audiences because of a person who is another subscriber by now."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from toolkit.frames import empty_table, is_in, numbers, text_array

from .columns import NONE, places, take
from .matching import REASONS, Matches

REACHED_COLUMNS = {"person": "str", "subscriber_id": "str"}
"""A frame of subscribers that people reach: a row a person × subscriber that has audiences because of them.

A person has several rows while an earlier subscriber of theirs still has audiences.
"""

_LEFT_COLUMNS = {**REACHED_COLUMNS, "place": "int64"}
_HOLDS = ("ENTERED", "ALREADY_IN")
_DONE = ("removed", "unchanged", "waiting")


def find_left(
    reached: pd.DataFrame | None, contacts: pd.DataFrame, matches: Matches, subscribers: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of *reached* whose person is another subscriber now, with the subscriber's ``place``.

    A person who matches no subscriber now has not moved. Left out are subscribers that are gone, or that
    may be a person who matches several.
    """
    if reached is None or reached.empty:
        return empty_table(_LEFT_COLUMNS)
    contact = places(text_array(reached["person"]), text_array(contacts["person"]))
    ids = text_array(subscribers["subscriber_id"])
    now = take(ids, np.append(matches.subscriber, NONE)[contact])
    left = reached[
        numbers(pc.not_equal(now, text_array(reached["subscriber_id"])), null=False).astype(np.bool_)
    ]
    if left.empty:
        return empty_table(_LEFT_COLUMNS)
    place = numbers(pc.index_in(text_array(left["subscriber_id"]), value_set=ids)).astype(np.int64)
    left = left.assign(place=place)[place >= 0]
    unclear = contacts[matches.reason == REASONS.index("AMBIGUOUS_MATCH")]
    held = subscribers.iloc[left["place"]]
    is_unclear = held["phone_digits"].isin(unclear["phone_e164"].dropna().str.removeprefix("+"))
    is_unclear |= held["email_folded"].isin(unclear["email_clean"].dropna())
    return left[~is_unclear.to_numpy()].reset_index(drop=True)


def moved_rows(
    asked: pd.DataFrame, found: np.ndarray, left: pd.DataFrame, subscribers: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows like *asked*, one a subscriber × audience to be taken away, and the subscribers' places.

    *found* is the place of each asked row's subscriber: what a row is asked about already is left to it.
    """
    words = asked[is_in(asked["person"], left["person"]) & asked["audience_key"].notna().to_numpy()]
    rows = left.merge(words[["person", "audience_key", "audience_id"]], on="person")
    lists = {place: _keys(subscribers["audiences"].iat[place]) for place in rows["place"].unique()}
    holds = [key in lists[place] for place, key in zip(rows["place"], rows["audience_key"], strict=True)]
    rows = rows[np.array(holds, np.bool_)].drop_duplicates(["place", "audience_key"])
    rows = rows.assign(person="subscriber " + rows["subscriber_id"], member=False)
    theirs = asked[np.isin(found, rows["place"])]
    spoken = {*zip(found[theirs.index], theirs["audience_key"], strict=True)}
    named = asked[is_in(asked["person"], rows["person"])]
    spoken_names = {*zip(named["person"], named["audience_key"], strict=True)}
    is_free = [
        (row.place, row.audience_key) not in spoken and (row.person, row.audience_key) not in spoken_names
        for row in rows.itertuples()
    ]
    rows = rows[np.array(is_free, np.bool_)]
    return rows.reindex(columns=asked.columns).astype(asked.dtypes), rows["place"].to_numpy()


def newly_reached(changes: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """Return REACHED_COLUMNS of *changes*: who has an audience because of which person, but not *reached*."""
    is_held = changes["reason_code"].isin([*_HOLDS]) & changes["match_method"].notna()
    pairs = changes.loc[is_held, [*REACHED_COLUMNS]].drop_duplicates(ignore_index=True)
    return pairs[~is_in(_joined(pairs), _joined(reached))].reset_index(drop=True)


def settled(left: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of *left* for whose subscriber nothing remains to be done after *changes*."""
    is_open = changes["match_method"].isna() & ~changes["status"].isin([*_DONE])
    rest = changes.loc[is_open, "subscriber_id"].dropna()
    return left.loc[~left["subscriber_id"].isin(rest), [*REACHED_COLUMNS]]


def _keys(audiences: object) -> frozenset[str]:
    return frozenset(json.loads(audiences)) if isinstance(audiences, str) else frozenset()


def _joined(pairs: pd.DataFrame) -> pd.Series:
    return pairs["person"] + "\x1f" + pairs["subscriber_id"]
