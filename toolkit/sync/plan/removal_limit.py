"""The limit on removals: a run stops before its first write when too many would leave.

The share is removals ÷ memberships looked at: those that a subscriber holds now or should hold. It is taken
over all audiences, and of each audience of MIN_MEMBERSHIPS or more. `Plan.exceeds_removal_limit` compares it
with ``max_removal_share``; `sync()` stops the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from toolkit.contacts.masks import mask_text
from toolkit.statuses import get_reason

if TYPE_CHECKING:
    from . import Plan

MIN_MEMBERSHIPS = 10
"""An audience with fewer memberships has no limit of its own: one person is a large share of five."""
_STAYS = ("ALREADY_IN", "ENTERED", "UNDO_ADDED")


class Removals(NamedTuple):
    """Removals ÷ memberships looked at, 0 to 1: over all audiences, and of the one with the highest share."""

    share: float
    audience_key: str = ""
    """Empty when no audience has MIN_MEMBERSHIPS."""
    audience_share: float = 0.0
    audience_removes: int = 0


def count_removals(changes: pd.DataFrame, beside: Mapping[str, int]) -> Removals:
    """Measure the removals among *changes*; *beside* holds audience → memberships looked at beside those."""
    is_removal = changes["operation"] == "remove"
    removed = changes.loc[is_removal, "audience_key"].value_counts()
    if removed.empty:
        return Removals(0.0)
    stays = changes["reason_code"].isin([*_STAYS]) & ~is_removal
    looked_at = changes.loc[is_removal | stays, "audience_key"].value_counts()
    looked_at = looked_at.add(pd.Series(beside, dtype="int64"), fill_value=0)
    share = float(removed.sum() / looked_at.sum())
    shares = (removed / looked_at)[looked_at >= MIN_MEMBERSHIPS].dropna()
    if shares.empty:
        return Removals(share)
    most = shares.idxmax()
    return Removals(share, most, float(shares[most]), int(removed[most]))


def removal_limit_sentence(plan: Plan) -> str:
    """Return by how much the plan exceeds its limit on removals, and what to do."""
    found = plan.removals
    which = f"{plan.removes} memberships, {found.share:.0%} of those looked at"
    if found.audience_share > max(found.share, plan.max_removal_share):
        key = mask_text(found.audience_key)
        which += f", and of the audience {key} {found.audience_removes}, {found.audience_share:.0%}"
    return (
        f"The plan removes {which}; max_removal_share allows {plan.max_removal_share:.0%}. "
        "Nothing was written. " + get_reason("REMOVAL_LIMIT").fix
    )
