"""Plan what is wished of subscribers who are known by their id: an undo, a repair. No person is looked up."""

from __future__ import annotations

import numpy as np
import pandas as pd

from toolkit.frames import empty_table, text_array, typed

from .plan import CHANGE_COLUMNS, REACHED_COLUMNS, Plan, plan_rows
from .plan.matching import REASONS, Matches
from .plan.reaching import lay_beside

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


def plan_wishes(
    wishes: pd.DataFrame, subscribers: pd.DataFrame, *, custom_events: str, max_removal_share: float
) -> Plan:
    """Decide what each wish leads to, by the rules of plan().

    *wishes* are WISH_COLUMNS, no subscriber × audience or trait twice; *subscribers* SUBSCRIBER_COLUMNS.
    A subscriber who is not among them is gone.
    """
    is_open, is_trait = wishes["status"].isna(), wishes["trait_key"].notna()
    # In the order of plan(): memberships, then traits.
    asked = pd.concat([wishes[is_open & ~is_trait], wishes[is_open & is_trait]], ignore_index=True)
    never = pd.Series(pd.NaT, asked.index, "datetime64[us, UTC]")
    asked = asked.assign(timestamp=never, received_at=never)
    known = subscribers.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
    places = pd.Index(known["subscriber_id"]).get_indexer(asked["subscriber_id"])
    is_gone = places < 0
    matches = Matches(
        subscriber=places,
        method=np.zeros(len(asked), np.int8),
        reason=np.where(is_gone, REASONS.index("SUBSCRIBER_GONE"), 0).astype(np.int8),
    )
    rows = lay_beside(asked, np.arange(len(asked)), matches, known, empty_table(REACHED_COLUMNS))
    found = plan_rows(rows, {name: text_array(asked[name]) for name in ("email_masked", "phone_masked")})
    decided = found["changes"].assign(subscriber_id=asked["subscriber_id"])
    parts = [part for part in (decided, typed(wishes[~is_open], CHANGE_COLUMNS)) if len(part)]
    changes = pd.concat(parts, ignore_index=True) if parts else empty_table(CHANGE_COLUMNS)
    found |= {"changes": changes}
    return Plan(**found, custom_events=custom_events, max_removal_share=max_removal_share)
