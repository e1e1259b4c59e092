"""What a plan costs, in calls and minutes, and what Segment's own action would have spent on the same events.

The action looks a person up for every event, writes one audience at a time and posts a custom event whether
or not anything changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from toolkit.audiences.memberships import Folded, by_time
from toolkit.contacts.checks import fold_email, phone_digits
from toolkit.errors import ParameterError
from toolkit.frames import TEXT, encode, is_in, numbers, text_array
from toolkit.segment.events import EVENT_ORDER
from toolkit.statuses import EventStatus

from .delivery.custom_events import LeftOver, expect
from .plan import Plan
from .plan.columns import NONE, AudienceLists, places, take
from .runs import Transition

_ACCEPTED = (EventStatus.COUNTED, EventStatus.SUPERSEDED, EventStatus.NO_MEMBERSHIP_VALUE)
"""Events that reach the action. A repeated one does not: Segment drops it."""
_CONTACTS = {"phone": phone_digits, "email": fold_email}


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What a plan costs, beside the official action."""

    calls: Mapping[str, int]
    """Calls by kind: ``reads``, ``reads_again``, ``writes``, ``custom_events``."""
    official: Mapping[str, int] | None
    """Reads, writes and custom events of the official action, an event at a time; None without events."""
    requests_per_second: float
    left_over: int = 0
    """Custom events that earlier runs left and this one posts; they are among the calls."""

    @property
    def minutes(self) -> float:
        """Time that the calls take at that pace."""
        return sum(self.calls.values()) / self.requests_per_second / 60

    @property
    def official_minutes(self) -> float | None:
        """Time that the official action's calls take at that pace."""
        return None if self.official is None else replace(self, calls=self.official).minutes


def planned_calls(
    plan: Plan, *, reads: int, canary: int = 1, read_again: bool = False, left_over: LeftOver | None = None
) -> dict[str, int]:
    """Return the calls by kind: reads, reads before a write or custom event, writes, custom events."""
    left = left_over or LeftOver()
    return {
        "reads": reads,
        "reads_again": _reads_again(plan, canary=canary, read_again=read_again) + left.reads,
        "writes": len(plan.writes),
        "custom_events": plan.transitions - left.dropped + left.posted,
    }


def _reads_again(plan: Plan, *, canary: int, read_again: bool) -> int:
    """Return how many subscribers a run of the plan reads again before it writes them."""
    if read_again:
        return len(plan.writes)
    has_others = (plan.writes["property_count"] - plan.writes["has_property"] > 0).to_numpy()
    count = min(canary, len(has_others))
    is_proved = bool(has_others[:count].any())
    removals = int(plan.writes["has_removal"].sum())
    for first, stop in ((0, removals), (removals, len(has_others))):
        if count <= first < stop and not is_proved and has_others[first]:
            count, is_proved = count + 1, True
    return count


def estimate_cost(
    plan: Plan,
    folded: Folded | None,
    *,
    requests_per_second: float,
    reads: int = 0,
    canary: int = 1,
    read_again: bool = False,
    left_over: Sequence[Transition] | int = 0,
) -> CostEstimate:
    """Count the calls of a plan, and those of Segment's own action on the same events.

    The official side counts the events of the plan's audiences that the action accepts, in the order of their
    times, each with its own contacts; it is None without events. It knows the subscribers that the plan
    reaches; for everybody else it finds none. A membership that is not a boolean is taken to write nothing.
    *canary* and *read_again* are those of sync(). ParameterError when *requests_per_second* is not above 0.

    Parameters
    ----------
    reads
        Calls that were made, or will be, to learn what the subscribers hold.
    left_over
        Custom events that earlier runs left in the middle, `Ledger.load_open_transitions`. Counted are those
        that will be posted, and the reads that come before them; a number is taken as it is.
    """
    if not requests_per_second > 0:
        raise ParameterError(f"requests_per_second is {requests_per_second}; use a number above 0.")
    if isinstance(left_over, int):
        left = LeftOver(posted=0 if plan.custom_events == "none" else left_over)
    else:
        left = expect(plan, left_over)
    return CostEstimate(
        calls=planned_calls(plan, reads=reads, canary=canary, read_again=read_again, left_over=left),
        left_over=left.posted,
        official=_official(folded.events, plan) if folded is not None and len(folded.events) else None,
        requests_per_second=requests_per_second,
    )


def _official(events: pd.DataFrame, plan: Plan) -> dict[str, int]:
    """Count what the official action does with the events that it accepts, one after the other."""
    left_out = plan.changes.loc[plan.changes["reason_code"] == "NOT_CHOSEN", "audience_key"]
    keys = events["audience_key"]
    is_accepted = events["status"].isin([*_ACCEPTED]) & keys.notna() & ~is_in(keys, left_out)
    events = events.loc[is_accepted.to_numpy(), ["audience_key", "membership", *_CONTACTS, *EVENT_ORDER]]
    reads, subscriber = _look_up(events, plan.subscribers)
    lists, texts = encode(text_array(plan.subscribers["audiences"]))
    key, keys = encode(text_array(events["audience_key"]))
    is_found = np.append(lists, NONE)[subscriber] != NONE  # what is no list stops the action
    known = np.flatnonzero(is_found & events["membership"].notna().to_numpy())
    known = known[by_time(events.take(known))]
    subscriber, key = subscriber[known], key[known]
    writes = _count_turns(
        subscriber * len(keys) + key,
        events["membership"].array[known].to_numpy(np.bool_),
        AudienceLists(texts, keys.to_pylist()).have(lists[subscriber], key),
    )
    return {"reads": reads, "writes": writes, "custom_events": int(is_found.sum())}


def _look_up(events: pd.DataFrame, subscribers: pd.DataFrame) -> tuple[int, np.ndarray]:
    """Return the number of lookups, and the place of each event's subscriber, -1 for none."""
    digits, folded = (_cleaned(events[name], clean) for name, clean in _CONTACTS.items())
    found = places(digits.to_pandas(), subscribers["phone_digits"])
    asks = np.flatnonzero((found == NONE) & numbers(folded.is_valid()))
    found[asks] = places(take(folded, asks).to_pandas(), subscribers["email_folded"])
    return len(digits) - digits.null_count + len(asks), found


def _cleaned(column: pd.Series, clean: Callable[[str], str]) -> pa.Array:
    """Return each text cleaned, null for one of which nothing is left."""
    codes, texts = encode(text_array(column))
    return take(pa.array([clean(text) or None for text in texts.to_pylist()], TEXT), codes)


def _count_turns(pair: np.ndarray, value: np.ndarray, at_first: np.ndarray) -> int:
    """Count the values that differ from the one before of the same *pair*, or from what it had at first."""
    order = np.argsort(pair, kind="stable")
    pair, value, before = pair[order], value[order], at_first[order].copy()
    again = np.flatnonzero(pair[1:] == pair[:-1]) + 1
    before[again] = value[again - 1]
    return int((value != before).sum())
