"""Plan what is wished of subscribers who are known by their id: an undo, a repair. No person is looked up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State
from toolkit.frames import empty_table, typed

from .plan import CHANGE_COLUMNS, Plan, plan

WISH_COLUMNS = {
    "person": "str",
    "subscriber_id": "str",
    "audience_key": "str",
    "audience_id": "str",
    "member": "boolean",
    "trait_key": "str",
    "value": "str",
    "message_id": "str",
    "email_masked": "str",
    "phone_masked": "str",
    "status": "str",
    "reason_code": "str",
}
"""A wish frame: one row a subscriber × audience with ``member``, or × trait with ``value`` (JSON text).

Where ``status`` is given, nothing is wished any more: the row only tells why.
"""

_KEPT = ["person", "message_id", "email_masked", "phone_masked"]
"""What a row of changes has from its wish, and plan() cannot know."""


def plan_wishes(
    wishes: pd.DataFrame, subscribers: pd.DataFrame, *, custom_events: str, max_removal_share: float
) -> Plan:
    """Decide what each wish leads to: plan(), with subscribers found by id instead of by contact.

    *wishes* are WISH_COLUMNS, no subscriber × audience or trait twice; *subscribers* SUBSCRIBER_COLUMNS.
    Who is not among them is gone.
    """
    told = wishes["status"].notna()
    is_trait = wishes["trait_key"].notna()
    # In the order of plan(): memberships, then traits.
    asked = pd.concat([wishes[~told & ~is_trait], wishes[~told & is_trait]], ignore_index=True)
    known = subscribers.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
    found = plan(
        _state_of(asked),
        _contacts_of(asked, known),
        known.assign(phone_digits=_numbered(np.arange(len(known))), email_folded=None),
        custom_events=custom_events,
        max_removal_share=max_removal_share,
    )
    gone = found.changes["reason_code"] == "SUBSCRIBER_NOT_FOUND"
    changes = found.changes.assign(
        **{name: asked[name] for name in [*_KEPT, "subscriber_id"]},
        match_method=None,
        reason_code=found.changes["reason_code"].mask(gone, "SUBSCRIBER_GONE"),
    )
    places = pd.Index(known["subscriber_id"]).get_indexer(found.subscribers["subscriber_id"])
    return replace(
        found,
        changes=_stacked(changes, wishes[told].reindex(columns=[*CHANGE_COLUMNS])),
        subscribers=known.take(places).reset_index(drop=True),
    )


def _state_of(asked: pd.DataFrame) -> State:
    # The subscriber stands for the person: whoever that is, it is about this one.
    named = asked.assign(person=asked["subscriber_id"])
    in_or_out, traits = named[named["trait_key"].isna()], named[named["trait_key"].notna()]
    return State(
        memberships=typed(in_or_out, MEMBERSHIP_COLUMNS),
        people=empty_table(PEOPLE_COLUMNS),
        traits=typed(traits, TRAIT_COLUMNS),
    )


def _contacts_of(asked: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return contacts by which plan() finds the subscribers: the number of each one's row as its phone."""
    ids = asked["subscriber_id"].drop_duplicates().reset_index(drop=True)
    places = pd.Index(known["subscriber_id"]).get_indexer(ids)
    phone = _numbered(np.where(places < 0, len(known), places))
    columns = {"person": ids, "email": None, "phone": phone, "email_clean": None, "phone_e164": phone}
    return pd.DataFrame(columns, index=ids.index).astype("str")


def _numbered(places: np.ndarray) -> pd.Series:
    return pd.Series(places + 1).astype("str")


def _stacked(changes: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """Lay the rows that only tell something under those that were decided."""
    parts = [part.astype(CHANGE_COLUMNS) for part in (changes, told) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else empty_table(CHANGE_COLUMNS)
