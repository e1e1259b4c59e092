"""Give every person × audience and person × trait its reason: what is lacking, or what is in the way."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.audiences.memberships import by_time
from toolkit.errors import ParameterError
from toolkit.frames import TEXT, encode, numbers, text_array
from toolkit.postscript import api
from toolkit.statuses import ChangeStatus

from .columns import NONE, AudienceLists, take
from .matching import LACKING

STATUS_OF_REASON = {
    "SUBSCRIBER_NOT_FOUND": ChangeStatus.WAITING,
    "AMBIGUOUS_MATCH": ChangeStatus.AMBIGUOUS,
    "CONTACT_INVALID": ChangeStatus.NO_USABLE_CONTACT,
    "NO_CONTACT": ChangeStatus.NO_USABLE_CONTACT,
    "SUBSCRIBER_GONE": ChangeStatus.WAITING,
    "SAME_SUBSCRIBER": ChangeStatus.UNCHANGED,
    "PROPERTY_NOT_A_LIST": ChangeStatus.CONFLICT,
    "PROPERTY_LIMIT": ChangeStatus.CONFLICT,
    "TRAIT_NAME_RESERVED": ChangeStatus.CONFLICT,
    "TRAIT_SAME_VALUE": ChangeStatus.UNCHANGED,
    "TRAIT_NEW_VALUE": ChangeStatus.WOULD_UPDATE,
    "ALREADY_IN": ChangeStatus.UNCHANGED,
    "ALREADY_OUT": ChangeStatus.UNCHANGED,
    "ENTERED": ChangeStatus.WOULD_ADD,
    "EXITED": ChangeStatus.WOULD_REMOVE,
    "CONTACT_MOVED": ChangeStatus.WOULD_REMOVE,
    "NOT_IN_SYNC_MODE": ChangeStatus.SKIPPED,
    "NOT_CHOSEN": ChangeStatus.SKIPPED,
    "OPTED_OUT": ChangeStatus.SKIPPED,
}
OPERATIONS = {"ENTERED": "add", "EXITED": "remove", "CONTACT_MOVED": "remove", "TRAIT_NEW_VALUE": "set"}
"""What is sent, where something is."""
REMOVALS = ("EXITED", "CONTACT_MOVED")
LEFT_OUT = {"mirror": (), "add_only": REMOVALS, "remove_only": ("ENTERED", "TRAIT_NEW_VALUE")}
"""Sync mode → what it does not send."""

CODE = {reason: code for code, reason in enumerate(STATUS_OF_REASON)}
"""Reason → the number by which rows hold it."""
_UNREAD = ""
_RESERVED = api.AUDIENCES_PROPERTY.casefold()


class PlanRows:
    """What is asked, one row a person × audience or trait, beside the subscriber it would change.

    Places are -1 for none.
    """

    def __init__(self, asked: pd.DataFrame, subscribers: pd.DataFrame) -> None:
        self.asked = asked
        """MEMBERSHIP_COLUMNS, trait_key, value, and ``place``: that of the row's subscriber.

        ``lacking`` is the place in LACKING where there is none. ``is_moved`` marks a subscriber whose person
        is another by now.
        """
        place = asked["place"].to_numpy()
        is_reached = np.zeros(len(subscribers) + 1, np.bool_)
        is_reached[place] = True
        held = subscribers if is_reached[:-1].all() else subscribers[is_reached[:-1]]
        self.held = held.reset_index(drop=True)
        """SUBSCRIBER_COLUMNS: those that some row reaches."""
        self.subscriber = np.where(place == NONE, NONE, (np.cumsum(is_reached) - 1)[place])
        """Place of each row's subscriber in ``held``."""
        self.key, keys = encode(text_array(asked["audience_key"]))
        self.trait, traits = encode(text_array(asked["trait_key"]))
        self.keys: list[str] = keys.to_pylist()
        self.traits: list[str] = traits.to_pylist()
        lists, texts = encode(text_array(held["audiences"]))
        self.lists = AudienceLists(texts, self.keys)
        self.list_of = np.append(lists, NONE)[self.subscriber]
        """Place in ``lists`` of the list of each row's subscriber, -1 when it is not a list of texts."""
        self.values = self._held_values(text_array(held["properties"]))
        """What is held of each row's trait, as JSON text; _UNREAD where that is not known."""

    def _held_values(self, properties: pa.Array) -> pa.Array:
        held_by = lru_cache(1)(lambda who: json.loads(properties[who].as_py() or "{}"))
        rows = np.flatnonzero((self.trait != NONE) & (self.subscriber != NONE))
        rows = rows[np.argsort(self.subscriber[rows], kind="stable")]  # the text of each is read once
        pairs = zip(self.subscriber[rows].tolist(), self.trait[rows].tolist(), strict=True)
        held = [held_by(who).get(self.traits[trait], _UNREAD) for who, trait in pairs]
        place = np.full(len(self.trait), NONE)
        place[rows] = np.arange(len(rows))
        return take(pa.array(held, TEXT), place)

    def of_held(self, name: str, *, none: bool | int) -> np.ndarray:
        """Return a column of each row's subscriber, *none* where it is null or there is no subscriber."""
        column = self.held[name].fillna(none).to_numpy(type(none))
        return np.asarray(np.append(column, none)[self.subscriber])


def decide(
    rows: PlanRows,
    *,
    audience_keys: frozenset[str] = frozenset(),
    skip_opted_out: bool = False,
    sync_mode: str = "mirror",
) -> np.ndarray:
    """Give each row its reason; the last that applies stands, from least to most particular."""
    reason = _difference(rows)
    reason[rows.asked["is_moved"].to_numpy()] = CODE["CONTACT_MOVED"]
    reason[is_any(reason, LEFT_OUT[sync_mode])] = CODE["NOT_IN_SYNC_MODE"]
    has_room = rows.of_held("has_property", none=True)
    has_room |= rows.of_held("property_count", none=0) < api.MAX_PROPERTIES
    reason[~has_room & (reason == CODE["ENTERED"])] = CODE["PROPERTY_LIMIT"]
    reason[(rows.trait == NONE) & (rows.list_of == NONE)] = CODE["PROPERTY_NOT_A_LIST"]
    if skip_opted_out:
        is_out = ~rows.of_held("can_send", none=True)
        reason[is_out & is_any(reason, OPERATIONS)] = CODE["OPTED_OUT"]
    reason[_overruled(rows)] = CODE["SAME_SUBSCRIBER"]
    codes, lacking = np.array([CODE[name] for name in LACKING]), rows.asked["lacking"].to_numpy()
    reason = np.where(lacking == NONE, reason, codes[lacking])
    if audience_keys:
        chosen = np.array([key in audience_keys for key in rows.keys] + [False], np.bool_)
        reason[~chosen[rows.key]] = CODE["NOT_CHOSEN"]
    if rows.traits:
        _check_were_read(rows, is_any(reason, ("TRAIT_NEW_VALUE", "TRAIT_SAME_VALUE")))
        reason[_beyond_limit(rows, reason)] = CODE["PROPERTY_LIMIT"]
    return reason


def is_any(reason: np.ndarray, among: Collection[str]) -> np.ndarray:
    """Return which rows have one of these reasons."""
    return np.asarray(np.isin(reason, [CODE[name] for name in among]))


def _difference(rows: PlanRows) -> np.ndarray:
    """Return what each row's subscriber lacks, were there nothing in the way."""
    listed = rows.lists.have(rows.list_of, rows.key)
    member = rows.asked["member"].fillna(value=False).to_numpy(np.bool_)
    table = np.array([[CODE["ALREADY_OUT"], CODE["EXITED"]], [CODE["ENTERED"], CODE["ALREADY_IN"]]], np.int8)
    reason = table[member.astype(np.int8), listed.astype(np.int8)]
    if rows.traits:
        # Stripped and folded: how Postscript compares the names of properties is not known.
        reserved = np.array([name.strip().casefold() == _RESERVED for name in rows.traits])
        codes = [CODE["TRAIT_NAME_RESERVED"], CODE["TRAIT_SAME_VALUE"]]
        of_trait = np.select([reserved[rows.trait], _is_same(rows)], codes, CODE["TRAIT_NEW_VALUE"])
        reason = np.where(rows.trait == NONE, reason, of_trait)
    return np.asarray(reason)


def _is_same(rows: PlanRows) -> np.ndarray:
    """Return where the subscriber holds the trait's value."""
    wanted = text_array(rows.asked["value"])
    same = numbers(pc.equal(rows.values, wanted), null=False)
    # Whether Postscript keeps an empty list is not known; as with audiences, none and empty are the same.
    none = numbers(pc.equal(rows.values, "null"), null=True)
    return np.asarray(same | (none & numbers(pc.equal(wanted, "[]"), null=False)))


def _overruled(rows: PlanRows) -> np.ndarray:
    """Return the rows whose subscriber × audience or trait is decided by another person's newer event."""
    reached = np.flatnonzero(rows.subscriber != NONE)
    about = np.where(rows.key != NONE, rows.key, rows.trait + len(rows.keys))[reached]
    pair = rows.subscriber[reached] * (len(rows.keys) + len(rows.traits)) + about
    again = pd.Series(pair).duplicated(keep=False).to_numpy()
    reached, pair = reached[again], pair[again]
    order = by_time(rows.asked.take(reached))
    overruled = pd.Series(pair[order]).duplicated(keep="last").to_numpy()
    return np.asarray(reached[order[overruled]])


def _check_were_read(rows: PlanRows, is_decided: np.ndarray) -> None:
    """Raise ParameterError unless the traits that are decided by what is held were read."""
    is_unread = is_decided & numbers(pc.equal(rows.values, _UNREAD), null=False)
    if is_unread.any():
        names = sorted(rows.traits[trait] for trait in np.unique(rows.trait[is_unread]))
        raise ParameterError(
            "The subscribers were read without the properties of the traits. "
            f"Read them with trait_keys={names}."
        )


def _beyond_limit(rows: PlanRows, reason: np.ndarray) -> np.ndarray:
    """Return the rows of new properties that a subscriber has no room for; the audiences go first."""
    new = np.flatnonzero((reason == CODE["TRAIT_NEW_VALUE"]) & ~numbers(rows.values.is_valid()))
    subscriber = rows.subscriber[new]
    gets_list = rows.subscriber[(reason == CODE["ENTERED"]) & ~rows.of_held("has_property", none=True)]
    room = api.MAX_PROPERTIES - rows.of_held("property_count", none=0)[new] - np.isin(subscriber, gets_list)
    return np.asarray(new[pd.Series(subscriber).groupby(subscriber).cumcount().to_numpy() >= room])
