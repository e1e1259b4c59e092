"""The history of audiences: entries and exits by day, people who go in and out, people in two audiences.

Everything here is counted by person, so the counts of some of the people and of the others add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from toolkit.frames import empty_table

from .memberships import in_order

MOVEMENT_COLUMNS = {
    "audience_key": "str",
    "day": "datetime64[us, UTC]",
    "entered": "int64",
    "left": "int64",
}
"""One row per audience and day with an entry or an exit; ``day`` is its midnight in UTC, or null."""

FLAPPING = 3
"""A person who entered and left an audience so many times, all together, flaps."""
OVERLAPPING = 100
"""Number of audiences, the largest, that are compared with each other: the work grows with its square."""
_PEOPLE_AT_ONCE = 20_000


def find_moves(events: pd.DataFrame) -> pd.DataFrame:
    """Return the events that changed a membership, one row each: person, audience_key, member, timestamp.

    *events* are PAYLOAD_COLUMNS as folded. A person whose first event is an exit has not left: no entry is
    known.
    """
    stated = in_order(events[events["membership"].notna() & events["status"].isin(["counted", "superseded"])])
    member = stated["membership"].astype("bool")
    before = member.groupby([stated["person"], stated["audience_key"]]).shift(fill_value=False)
    moved = stated.assign(member=member)[member != before]
    return moved[["person", "audience_key", "member", "timestamp"]]


def count_movements(moves: pd.DataFrame) -> pd.DataFrame:
    """Return MOVEMENT_COLUMNS, in the order of audience and day, from what find_moves() returns.

    Over all days ``entered`` less ``left`` is the number of members.
    """
    counted = moves.assign(day=moves["timestamp"].dt.floor("D"), left=~moves["member"])
    return _summed(counted.rename(columns={"member": "entered"}))


def sum_movements(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the MOVEMENT_COLUMNS of all people from those of some."""
    return _summed(pd.concat([empty_table(MOVEMENT_COLUMNS), *parts]))


def count_flapping(moves: pd.DataFrame) -> pd.Series:
    """Return audience → people who flap, where there are any, from what find_moves() returns."""
    changes = moves.value_counts(["audience_key", "person"])
    return changes[changes >= FLAPPING].groupby("audience_key").size().astype("int64")


def largest_audiences(memberships: pd.DataFrame, known: Sequence[str] = ()) -> list[str]:
    """Return the *known* keys and the largest others, OVERLAPPING in all; an equal number by key."""
    sizes = memberships.groupby("audience_key")["member"].sum().sort_values(ascending=False, kind="stable")
    return [*dict.fromkeys([*known, *sizes.index])][:OVERLAPPING]


def count_overlap(memberships: pd.DataFrame, known: Sequence[str] = ()) -> pd.DataFrame:
    """Return how many are in both of two audiences: a row and a column each, its members where they meet.

    Of more than OVERLAPPING audiences only the *known* ones and the largest are looked at.
    """
    keys = sorted(largest_audiences(memberships, known))
    members = memberships[memberships["member"] & memberships["audience_key"].isin(keys)]
    columns = pd.Index(keys).get_indexer(members["audience_key"])
    people, names = pd.factorize(members["person"])
    counts = np.zeros((len(keys), len(keys)))
    for first in range(0, len(names), _PEOPLE_AT_ONCE):
        some = (people >= first) & (people < first + _PEOPLE_AT_ONCE)
        # Floats multiply fast, and are exact far beyond the number of people there are.
        held = np.zeros((min(_PEOPLE_AT_ONCE, len(names) - first), len(keys)))
        held[people[some] - first, columns[some]] = 1
        counts += held.T @ held
    index = pd.Index(keys, name="audience_key", dtype="str")
    return pd.DataFrame(counts.astype("int64"), index=index, columns=keys)


def sum_overlaps(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the overlap of all people from those of some."""
    keys = sorted({key for part in parts for key in part.index})
    whole = pd.DataFrame(0, index=pd.Index(keys, name="audience_key", dtype="str"), columns=keys)
    for part in parts:
        whole.loc[part.index, part.columns] += part
    return whole


def _summed(counted: pd.DataFrame) -> pd.DataFrame:
    sums = counted.groupby(["audience_key", "day"], as_index=False, dropna=False)[["entered", "left"]].sum()
    return sums[[*MOVEMENT_COLUMNS]].astype(MOVEMENT_COLUMNS)
