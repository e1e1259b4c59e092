"""Give every person × audience and person × trait its reason: what is lacking, or what is in the way."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from toolkit.postscript import api
from toolkit.statuses import ChangeStatus

from . import matching
from .columns import NONE, by_time
from .lists import is_listed, names_of
from .reaching import PlanRows
from .traits import TraitValues, check_were_read, is_beyond_limit, is_reserved

STATUS_OF_REASON = {
    "SUBSCRIBER_NOT_FOUND": ChangeStatus.WAITING,
    "SUBSCRIBER_GONE": ChangeStatus.WAITING,
    "AMBIGUOUS_MATCH": ChangeStatus.AMBIGUOUS,
    "CONTACT_INVALID": ChangeStatus.NO_USABLE_CONTACT,
    "NO_CONTACT": ChangeStatus.NO_USABLE_CONTACT,
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
OPERATION_NAMES = (None, "add", "remove", "set")
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


def decide(
    rows: PlanRows,
    values: TraitValues,
    *,
    audience_keys: frozenset[str],
    skip_opted_out: bool,
    sync_mode: str,
) -> np.ndarray:
    """Give each row its reason; the last that applies stands, from least to most particular."""
    held, subscriber = rows.held, rows.subscriber
    reason = _wish(rows, values)
    reason[rows.is_moved] = CODE["CONTACT_MOVED"]
    reason[_is_any(reason, LEFT_OUT[sync_mode])] = CODE["NOT_IN_SYNC_MODE"]
    full = (held.property_count >= api.MAX_PROPERTIES) & ~held.has_property
    reason[full[subscriber] & (reason == CODE["ENTERED"])] = CODE["PROPERTY_LIMIT"]
    is_membership = rows.trait == NONE
    reason[is_membership & (held.lists == NONE)[subscriber]] = CODE["PROPERTY_NOT_A_LIST"]
    if skip_opted_out:
        reason[held.opted_out[subscriber] & _is_any(reason, OPERATIONS)] = CODE["OPTED_OUT"]
    reason[_overruled(rows)] = CODE["SAME_SUBSCRIBER"]
    _set_unreached(reason, rows)
    if audience_keys:
        chosen = np.append(np.array([key in audience_keys for key in rows.keys.to_pylist()], np.bool_), False)
        reason[~chosen[rows.key]] = CODE["NOT_CHOSEN"]
    if len(values.rows):
        check_were_read(values, _is_any(reason, ("TRAIT_NEW_VALUE", "TRAIT_SAME_VALUE")))
        is_entry, is_set = reason == CODE["ENTERED"], reason == CODE["TRAIT_NEW_VALUE"]
        reason[is_beyond_limit(rows, values, is_entry=is_entry, is_set=is_set)] = CODE["PROPERTY_LIMIT"]
    return reason


def operations(reason: np.ndarray) -> np.ndarray:
    """Return the operation of each row, as its place in OPERATION_NAMES."""
    table = [OPERATION_NAMES.index(OPERATIONS.get(name)) for name in REASONS]
    return np.array(table, np.int8).take(reason)


def _is_any(reason: np.ndarray, among: Collection[str]) -> np.ndarray:
    return np.array([name in among for name in REASONS], np.bool_).take(reason)


def _wish(rows: PlanRows, values: TraitValues) -> np.ndarray:
    """Say of each row what its subscriber lacks, were there nothing in the way."""
    listed = is_listed(
        rows.held.lists[rows.subscriber], rows.held.list_texts, rows.key, names_of(rows.keys.to_pylist())
    )
    table = np.array([[CODE["ALREADY_OUT"], CODE["EXITED"]], [CODE["ENTERED"], CODE["ALREADY_IN"]]], np.int8)
    reason = table[rows.member.astype(np.int8), listed.astype(np.int8)]
    reason[values.rows] = np.select(
        [is_reserved(rows, values), values.is_same],
        [CODE["TRAIT_NAME_RESERVED"], CODE["TRAIT_SAME_VALUE"]],
        CODE["TRAIT_NEW_VALUE"],
    )
    return reason


def _set_unreached(reason: np.ndarray, rows: PlanRows) -> None:
    """Give the rows that reach no subscriber the reason for that."""
    names = [code if code is None else CODE[code] for code in matching.REASONS]
    lacking = np.append(rows.matches.reason, matching.REASONS.index("NO_CONTACT"))[rows.contact]
    is_lacking = (lacking > 0) & ~rows.is_moved
    reason[is_lacking] = np.array([0, *names[1:]], np.int8)[lacking[is_lacking]]


def _overruled(rows: PlanRows) -> np.ndarray:
    """Return the rows whose subscriber × audience or trait is decided by another person's newer word."""
    reached = np.flatnonzero(rows.subscriber != NONE)
    several = np.bincount(rows.subscriber[reached]) > 1
    reached = reached[several[rows.subscriber[reached]]]  # mostly none, or few
    width = len(rows.keys) + len(rows.traits)
    about = np.where(rows.key[reached] != NONE, rows.key[reached], rows.trait[reached] + len(rows.keys))
    pair = rows.subscriber[reached] * width + about
    again = pd.Series(pair).duplicated(keep=False).to_numpy()
    reached, pair = reached[again], pair[again]
    order = by_time(rows.asked.take(reached))
    overruled = pd.Series(pair[order]).duplicated(keep="last").to_numpy()
    return np.asarray(reached[order[overruled]])
