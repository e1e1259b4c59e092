"""Give every person × audience and person × trait its reason: what is lacking, or what is in the way."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.audiences.memberships import by_time
from toolkit.errors import ParameterError
from toolkit.frames import encode, numbers, text_array
from toolkit.postscript import api
from toolkit.statuses import ChangeStatus

from .columns import NONE, TEXT, is_listed, names_of, take
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
OPERATION_NAMES = ("add", "remove", "set")
REMOVE, SET = OPERATION_NAMES.index("remove"), OPERATION_NAMES.index("set")
LEFT_OUT = {
    "mirror": (),
    "add_only": ("EXITED", "CONTACT_MOVED"),
    "remove_only": ("ENTERED", "TRAIT_NEW_VALUE"),
}
"""Sync mode → what it does not send."""

REASONS = tuple(STATUS_OF_REASON)
CODE = {reason: code for code, reason in enumerate(REASONS)}
"""Reason → its place in REASONS, by which rows hold it."""
_RESERVED = api.AUDIENCES_PROPERTY.casefold()


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanRows:
    """What is asked, one row a person × audience or trait, beside the subscriber it would change.

    Places are -1 for none.
    """

    asked: pd.DataFrame
    """MEMBERSHIP_COLUMNS, trait_key and value."""
    held: pd.DataFrame
    """SUBSCRIBER_COLUMNS: those that some row reaches."""
    subscriber: np.ndarray
    """Place of each row's subscriber in ``held``."""
    lacking: np.ndarray
    """Place in LACKING where a row reaches no subscriber."""
    is_moved: np.ndarray
    """Rows about a subscriber whose person is another by now."""
    key: np.ndarray
    keys: pa.Array
    trait: np.ndarray
    traits: pa.Array
    lists: np.ndarray
    """The list of each row's subscriber as its place in ``list_texts``, -1 when it is not a list of texts."""
    list_texts: pa.Array
    values: pa.Array
    """What is held of each row's trait, as JSON text."""
    was_read: np.ndarray
    """False where that is not known."""

    def of_held(self, name: str, *, none: bool | int) -> np.ndarray:
        """Return a column of each row's subscriber, *none* where it is null or there is no subscriber."""
        column = self.held[name].fillna(none).to_numpy(type(none))
        return np.asarray(np.append(column, none)[self.subscriber])


def lay_beside(
    asked: pd.DataFrame,
    subscribers: pd.DataFrame,
    place: np.ndarray,
    lacking: np.ndarray,
    *,
    is_moved: np.ndarray | None = None,
) -> PlanRows:
    """Lay each row of *asked* beside the subscriber at its *place*; *lacking* says why there is none."""
    is_reached = np.zeros(len(subscribers) + 1, np.bool_)
    is_reached[place] = True
    held = subscribers if is_reached[:-1].all() else subscribers[is_reached[:-1]]
    subscriber = np.where(place == NONE, NONE, (np.cumsum(is_reached) - 1)[place])
    key, keys = encode(text_array(asked["audience_key"]))
    trait, traits = encode(text_array(asked["trait_key"]))
    lists, list_texts = encode(text_array(held["audiences"]))
    values, was_read = _held_values(text_array(held["properties"]), subscriber, trait, traits)
    return PlanRows(
        asked=asked,
        held=held.reset_index(drop=True),
        subscriber=subscriber,
        lacking=lacking,
        is_moved=np.zeros(len(asked), np.bool_) if is_moved is None else is_moved,
        key=key,
        keys=keys,
        trait=trait,
        traits=traits,
        lists=np.append(lists, NONE)[subscriber],
        list_texts=list_texts,
        values=values,
        was_read=was_read,
    )


def _held_values(
    properties: pa.Array, subscriber: np.ndarray, trait: np.ndarray, traits: pa.Array
) -> tuple[pa.Array, np.ndarray]:
    """Return what the subscriber holds of each row's trait, and where that was read."""
    rows = np.flatnonzero((trait != NONE) & (subscriber != NONE))
    rows = rows[np.argsort(subscriber[rows], kind="stable")]  # the text of each is read once
    names, place = traits.to_pylist(), np.full(len(trait), NONE)
    found: list[str | None] = []
    was_read, held, last = np.zeros(len(trait), np.bool_), {}, NONE
    for row, who, name in zip(rows.tolist(), subscriber[rows].tolist(), trait[rows].tolist(), strict=True):
        if who != last:
            held, last = json.loads(properties[who].as_py() or "{}"), who
        place[row], was_read[row] = len(found), names[name] in held
        found.append(held.get(names[name]))
    return take(pa.array(found, TEXT), place), was_read


def decide(
    rows: PlanRows,
    *,
    audience_keys: frozenset[str] = frozenset(),
    skip_opted_out: bool = False,
    sync_mode: str = "mirror",
) -> np.ndarray:
    """Give each row its reason; the last that applies stands, from least to most particular."""
    reason = _difference(rows)
    reason[rows.is_moved] = CODE["CONTACT_MOVED"]
    reason[_is_any(reason, LEFT_OUT[sync_mode])] = CODE["NOT_IN_SYNC_MODE"]
    has_room = rows.of_held("has_property", none=True)
    has_room |= rows.of_held("property_count", none=0) < api.MAX_PROPERTIES
    reason[~has_room & (reason == CODE["ENTERED"])] = CODE["PROPERTY_LIMIT"]
    reason[(rows.trait == NONE) & (rows.lists == NONE)] = CODE["PROPERTY_NOT_A_LIST"]
    if skip_opted_out:
        is_out = ~rows.of_held("can_send", none=True)
        reason[is_out & _is_any(reason, OPERATIONS)] = CODE["OPTED_OUT"]
    reason[_overruled(rows)] = CODE["SAME_SUBSCRIBER"]
    codes = np.array([CODE[name] for name in LACKING])
    reason = np.where(rows.lacking == NONE, reason, codes[rows.lacking])
    if audience_keys:
        chosen = np.array([key in audience_keys for key in rows.keys.to_pylist()] + [False], np.bool_)
        reason[~chosen[rows.key]] = CODE["NOT_CHOSEN"]
    if len(rows.traits):
        _check_were_read(rows, _is_any(reason, ("TRAIT_NEW_VALUE", "TRAIT_SAME_VALUE")))
        reason[_beyond_limit(rows, reason)] = CODE["PROPERTY_LIMIT"]
    return reason


def operations(reason: np.ndarray) -> np.ndarray:
    """Return what is sent of each row, as its place in OPERATION_NAMES, -1 for nothing."""
    sent = [OPERATION_NAMES.index(OPERATIONS[name]) if name in OPERATIONS else NONE for name in REASONS]
    return np.asarray(np.array(sent, np.int8)[reason])


def _is_any(reason: np.ndarray, among: Collection[str]) -> np.ndarray:
    return np.asarray(np.isin(reason, [CODE[name] for name in among]))


def _difference(rows: PlanRows) -> np.ndarray:
    """Return what each row's subscriber lacks, were there nothing in the way."""
    listed = is_listed(rows.lists, rows.list_texts, rows.key, names_of(rows.keys.to_pylist()))
    member = rows.asked["member"].fillna(value=False).to_numpy(np.bool_)
    table = np.array([[CODE["ALREADY_OUT"], CODE["EXITED"]], [CODE["ENTERED"], CODE["ALREADY_IN"]]], np.int8)
    reason = table[member.astype(np.int8), listed.astype(np.int8)]
    if len(rows.traits):
        # Stripped and folded: how Postscript compares the names of properties is not known.
        reserved = [name.strip().casefold() == _RESERVED for name in rows.traits.to_pylist()]
        codes = [CODE["TRAIT_NAME_RESERVED"], CODE["TRAIT_SAME_VALUE"]]
        of_trait = np.select([np.array(reserved)[rows.trait], _is_same(rows)], codes, CODE["TRAIT_NEW_VALUE"])
        reason = np.where(rows.trait == NONE, reason, of_trait)
    return np.asarray(reason)


def _is_same(rows: PlanRows) -> np.ndarray:
    """Tell where the subscriber holds the trait's value."""
    wanted = text_array(rows.asked["value"])
    same = numbers(pc.equal(rows.values, wanted), null=False)
    # Whether Postscript keeps an empty list is not known; as with audiences, none and empty are the same.
    none = numbers(pc.equal(rows.values, "null"), null=True)
    return np.asarray(same | (none & numbers(pc.equal(wanted, "[]"), null=False)))


def _overruled(rows: PlanRows) -> np.ndarray:
    """Return the rows whose subscriber × audience or trait is decided by another person's newer event."""
    reached = np.flatnonzero(rows.subscriber != NONE)
    several = np.bincount(rows.subscriber[reached]) > 1
    reached = reached[several[rows.subscriber[reached]]]  # mostly none, or few
    about = np.where(rows.key[reached] != NONE, rows.key[reached], rows.trait[reached] + len(rows.keys))
    pair = rows.subscriber[reached] * (len(rows.keys) + len(rows.traits)) + about
    again = pd.Series(pair).duplicated(keep=False).to_numpy()
    reached, pair = reached[again], pair[again]
    order = by_time(rows.asked.take(reached))
    overruled = pd.Series(pair[order]).duplicated(keep="last").to_numpy()
    return np.asarray(reached[order[overruled]])


def _check_were_read(rows: PlanRows, is_decided: np.ndarray) -> None:
    """Raise ParameterError unless the traits that are decided by what is held were read."""
    if absent := {*rows.trait[is_decided & ~rows.was_read].tolist()}:
        names = sorted(rows.traits[trait].as_py() for trait in absent)
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
