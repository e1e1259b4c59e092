"""Custom events that earlier runs left: which of them a run will post, and what it reads for that."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from toolkit.postscript import api

from .plan import Plan, properties_of
from .runs import Transition

_LIST = api.AUDIENCES_PROPERTY
Pair = tuple[str, str]
"""Ids of a subscriber and an audience."""


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """What becomes of custom events that earlier runs left."""

    reads: int = 0
    """Subscribers whose list is read before anything is posted about them."""
    posted: int = 0
    """Those that will be posted; the list contradicts the others, or they cancel out."""
    dropped: int = 0
    """The plan's own custom events that are not posted, because of them or because they were before."""


def expect(plan: Plan, left: Sequence[Transition], *, closed: Collection[Pair] = ()) -> LeftOver:
    """Return what becomes of *left* in a run of the plan; *closed* are its own that were posted."""
    left = [t for t in left if t.state != "posting"]  # that one may have been posted: it is not repeated
    if plan.custom_events == "none" or not left:
        return LeftOver(dropped=len(closed))
    who_left = {t.subscriber_id for t in left}
    own, lists = _own(plan, who_left, closed), _lists_after(plan, who_left)
    chains: dict[Pair, list[Transition]] = {}
    for transition in left:
        chains.setdefault((transition.subscriber_id, transition.audience_key), []).append(transition)
    posted, dropped = 0, len(closed)
    for (who, key), chain in chains.items():
        unsent = [t for t in chain if t.state in ("planned", "due")]
        is_in = key in lists[who] if who in lists else _as_left(chain)
        posted += sum(t.entered is is_in for t in chain if t not in unsent)  # asked for again
        mine = own.get((who, key))
        if mine is not None:
            unsent.append(replace(chain[0], external_id="", entered=mine))
        due = find_due(unsent, is_in=is_in) if unsent else None
        is_own = due is not None and due.external_id == ""
        posted += due is not None and not is_own
        dropped += mine is not None and not is_own
    return LeftOver(reads=len(who_left), posted=posted, dropped=dropped)


def find_due(chain: Sequence[Transition], *, is_in: bool) -> Transition | None:
    """Return the one custom event of a subscriber and audience that is due; None when they cancel out.

    *chain* are those that were never sent, the oldest first; *is_in* says what the list is now.
    """
    if chain[0].entered is not is_in:
        return None  # as it was before the first of them
    return next(transition for transition in reversed(chain) if transition.entered is is_in)


def _own(plan: Plan, who: Collection[str], closed: Collection[Pair]) -> dict[Pair, bool]:
    """Return subscriber and audience → whether the plan's own custom event is an entry."""
    rows = plan.announced
    rows = rows[rows["subscriber_id"].isin(who)]
    pairs = zip(rows["subscriber_id"], rows["audience_key"], strict=True)
    entered = (rows["operation"] == "add").tolist()
    return {pair: is_entry for pair, is_entry in zip(pairs, entered, strict=True) if pair not in closed}


def _lists_after(plan: Plan, who: Collection[str]) -> dict[str, Collection[str]]:
    """Return what the lists of these subscribers will be, as far as the plan has seen them."""
    seen = plan.subscribers[plan.subscribers["subscriber_id"].isin(who)]
    held = [json.loads(text) if isinstance(text, str) else () for text in seen["audiences"]]
    writes = plan.writes[plan.writes["subscriber_id"].isin(who)]
    after = zip(writes["subscriber_id"], map(properties_of, writes["after"]), strict=True)
    return {
        **dict(zip(seen["subscriber_id"], held, strict=True)),
        **{subscriber: written[_LIST] for subscriber, written in after if _LIST in written},
    }


def _as_left(chain: Sequence[Transition]) -> bool:
    """Tell how the list is where the plan has not seen it: as the last write that went well left it."""
    arrived = [t.entered for t in chain if t.state != "planned"]
    return arrived[-1] if arrived else not chain[0].entered
