"""Plan desired changes of subscribers that are known by their id: an undo, a repair, a saved plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from toolkit.frames import json_text, typed
from toolkit.postscript import api
from toolkit.statuses import ChangeStatus

from .plan import Plan, plan_rows
from .plan.columns import NONE
from .plan.deciding import PlanRows
from .plan.matching import LACKING
from .plan.writing import properties_of

_LIST = api.AUDIENCES_PROPERTY

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
"""A frame of desired changes: one row a subscriber × audience with ``member``, or × trait with ``value``.

``value`` is JSON text. Where ``status`` is given nothing changes: the row only says why.
"""


def plan_wishes(
    wishes: pd.DataFrame, subscribers: pd.DataFrame, *, custom_events: str, max_removal_share: float
) -> Plan:
    """Decide what each desired change leads to, by the rules of plan(); no person is looked up.

    *wishes* are WISH_COLUMNS, no subscriber × audience or trait twice, and become the plan's changes row by
    row; *subscribers* SUBSCRIBER_COLUMNS. A subscriber who is not among them is gone.
    """
    is_open = wishes["status"].isna().to_numpy()
    known = subscribers.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
    place = pd.Index(known["subscriber_id"]).get_indexer(wishes["subscriber_id"])
    place = np.where(is_open, place, NONE)
    lacking = np.where(place == NONE, LACKING.index("SUBSCRIBER_GONE"), NONE)
    shown = {name: wishes[name].array for name in ("subscriber_id", "email_masked", "phone_masked")}
    never = pd.Series(pd.NaT, range(len(wishes)), "datetime64[us, UTC]")
    asked = wishes.reset_index(drop=True).assign(timestamp=never, received_at=never)
    decided = plan_rows(PlanRows.lay_beside(asked, known, place), lacking, shown)
    given = {
        name: decided["changes"][name].where(is_open, wishes[name].array)
        for name in ("status", "reason_code")
    }
    decided["changes"] = decided["changes"].assign(**given)
    return Plan(**decided, custom_events=custom_events, max_removal_share=max_removal_share)


def recheck(
    plan: Plan, subscribers: pd.DataFrame, *, overruled: Sequence[bool] | np.ndarray | None = None
) -> Plan:
    """Return the part of a plan that still holds for *subscribers*, SUBSCRIBER_COLUMNS as they are now.

    A write stays where it would be made now as it was planned, from the same list and traits. Else its
    changes are ``pending``, ``PLAN_STALE``; or ``unchanged``, where the subscriber holds all that the plan
    wanted; or ``waiting``, ``SUBSCRIBER_GONE``. *overruled* is one a change, True where something newer says
    otherwise: ``PLAN_STALE``, together with all of its subscriber's write. The removal share is that of what
    is left. ParameterError when *subscribers* were read without the properties of the plan's traits.
    """
    changes = plan.changes.reset_index(drop=True)
    is_overruled = pd.Series(False if overruled is None else np.asarray(overruled, np.bool_), changes.index)
    sent = changes[changes["operation"].notna()]
    now = plan_wishes(
        _wishes_of(plan, sent),
        subscribers,
        custom_events=plan.custom_events,
        max_removal_share=plan.max_removal_share,
    )
    rows = now.changes.set_index(sent.index)
    who = rows["subscriber_id"]

    def all_of_subscriber(is_so: pd.Series) -> pd.Series:
        return is_so.groupby(who).transform("all").astype("bool")

    seen = plan.writes.set_index("subscriber_id")["before"].reindex(now.writes["subscriber_id"])
    is_same = [
        a == b or _unordered(a) == _unordered(b) for a, b in zip(seen, now.writes["before"], strict=True)
    ]
    is_gone = rows["reason_code"] == "SUBSCRIBER_GONE"
    is_free = all_of_subscriber(~is_overruled[sent.index])
    is_done = is_free & all_of_subscriber(rows["status"] == ChangeStatus.UNCHANGED.value)
    is_kept = rows["operation"].notna() & who.isin(now.writes.loc[is_same, "subscriber_id"])
    is_kept = is_free & all_of_subscriber(is_kept)
    is_stale = is_overruled.copy()
    is_stale[sent.index] = ~(is_gone | is_done | is_kept)
    settled = changes.copy()
    settled.loc[sent.index[~is_kept], "operation"] = None
    settled.update(rows.loc[is_gone | is_done, ["status", "reason_code"]])
    settled.loc[is_stale, ["status", "reason_code"]] = [ChangeStatus.PENDING.value, "PLAN_STALE"]
    there = subscribers.drop_duplicates("subscriber_id", keep="last")
    return replace(
        plan,
        changes=settled,
        writes=now.writes[now.writes["subscriber_id"].isin(who[is_kept])].reset_index(drop=True),
        subscribers=there.merge(plan.subscribers[["subscriber_id"]], on="subscriber_id"),
    )


def _wishes_of(plan: Plan, sent: pd.DataFrame) -> pd.DataFrame:
    """Return WISH_COLUMNS: what the plan wants of each row that it sends."""
    after, read = plan.writes.set_index("subscriber_id")["after"], lru_cache(1)(properties_of)
    # In the changes contacts are masked.
    values = [
        json_text(read(after[who])[trait]) if isinstance(trait, str) else None
        for who, trait in zip(sent["subscriber_id"], sent["trait_key"], strict=True)
    ]
    return typed(sent.assign(value=values, status=None, reason_code=None), WISH_COLUMNS)


def _unordered(text: str) -> dict[str, Any]:
    """Return the properties in a cell of ``before``, the list of audiences in no order."""
    found = properties_of(text)
    return found | {_LIST: sorted(found[_LIST])} if _LIST in found else found
