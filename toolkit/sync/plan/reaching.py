"""Lay what is asked, row by row, beside the subscriber it would change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from toolkit.audiences.memberships import State
from toolkit.frames import encode, text_array

from .columns import NONE, no_texts, places
from .matching import Matches, match
from .moving import find_left, moved_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldColumns:
    """What the subscribers hold that some row reaches; each column ends with the value of no subscriber."""

    frame: pd.DataFrame
    """SUBSCRIBER_COLUMNS, without that value."""
    ids: pa.Array
    lists: np.ndarray
    """Each one's list of audiences as its place in ``list_texts``, -1 when it is not a list of texts."""
    list_texts: pa.Array
    has_property: np.ndarray
    property_count: np.ndarray
    properties: pa.Array
    opted_out: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanRows:
    """What is asked, one row a person × audience, then one a person × trait; places are -1 for none."""

    asked: pd.DataFrame
    """MEMBERSHIP_COLUMNS, trait_key and value."""
    key: np.ndarray
    keys: pa.Array
    """The audience of each row as its place in ``keys``."""
    trait: np.ndarray
    traits: pa.Array
    member: np.ndarray
    """False for a trait, too."""
    contact: np.ndarray
    """Place of each row's person among the contacts; -1 for a row that no person reaches."""
    matches: Matches
    subscriber: np.ndarray
    """Place of each row's subscriber in ``held``; -1, no subscriber, stands at its end."""
    held: HeldColumns
    left: pd.DataFrame
    """Rows of *reached* whose person is another subscriber now."""

    @property
    def is_moved(self) -> np.ndarray:
        """Tell which rows are about a subscriber whose person is another by now."""
        return np.asarray((self.contact == NONE) & (self.subscriber != NONE))


def reach(
    state: State, contacts: pd.DataFrame, subscribers: pd.DataFrame, reached: pd.DataFrame | None = None
) -> PlanRows:
    """Lay each row beside the subscriber it reaches; last come the subscribers whose person has moved."""
    asked, matches = lay_out(state), match(contacts, subscribers)
    contact = places(text_array(asked["person"]), text_array(contacts["person"]))
    return lay_beside(
        asked, contact, matches, subscribers, find_left(reached, contacts, matches, subscribers)
    )


def lay_beside(
    asked: pd.DataFrame, contact: np.ndarray, matches: Matches, subscribers: pd.DataFrame, left: pd.DataFrame
) -> PlanRows:
    """Lay each row of *asked* beside the subscriber that its *contact* matches."""
    found = np.append(matches.subscriber, NONE)[contact]
    if len(left):
        more, place = moved_rows(asked, found, left, subscribers)
        asked = pd.concat([asked, more], ignore_index=True)
        contact = np.append(contact, np.full(len(more), NONE))
        found = np.append(found, place)
    key, keys = encode(text_array(asked["audience_key"]))
    trait, traits = encode(text_array(asked["trait_key"]))
    is_reached = np.zeros(len(subscribers) + 1, np.bool_)
    is_reached[found] = True
    is_reached[NONE] = False
    return PlanRows(
        asked=asked,
        key=key,
        keys=keys,
        trait=trait,
        traits=traits,
        member=asked["member"].fillna(value=False).to_numpy(np.bool_),
        contact=contact,
        matches=matches,
        subscriber=np.where(is_reached, np.cumsum(is_reached) - 1, NONE)[found],
        held=_held(subscribers, is_reached[:-1]),
        left=left,
    )


def lay_out(state: State) -> pd.DataFrame:
    """Lay memberships and traits under each other: one row each is what a person's subscriber should hold."""
    asked = state.memberships.astype({"member": "boolean"})
    if len(state.traits):
        return pd.concat([asked, state.traits], ignore_index=True)
    return asked.reset_index(drop=True).assign(trait_key=no_texts(len(asked)), value=no_texts(len(asked)))


def _held(subscribers: pd.DataFrame, is_reached: np.ndarray) -> HeldColumns:
    reached = subscribers if is_reached.all() else subscribers[is_reached]
    lists, list_texts = encode(text_array(reached["audiences"]))
    can_send = reached["can_send"].fillna(value=True).to_numpy(np.bool_)
    return HeldColumns(
        frame=reached.reset_index(drop=True),
        ids=text_array(reached["subscriber_id"]),
        lists=np.append(lists, NONE),
        list_texts=list_texts,
        has_property=np.append(reached["has_property"].to_numpy(np.bool_), True),
        property_count=np.append(reached["property_count"].to_numpy(), 0),
        properties=text_array(reached["properties"]),
        opted_out=np.append(~can_send, False),
    )
