"""Of several contacts of a person, the one that finds a subscriber."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.contacts import check_contacts
from toolkit.segment.member_lists import Snapshot
from toolkit.segment.member_lists.text import TEXT

Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Places: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

CLEAN = {"phone": "phone_e164", "email": "email_clean"}
"""Contact → its column of standard forms in the frame of check_contacts()."""
HELD = {"phone": "phone_digits", "email": "email_folded"}
"""Contact → its column in a frame of subscribers."""

_LAST = 1 << 40
"""After every candidate of a snapshot."""


def judge_options(people: pd.DataFrame, snapshot: Snapshot, default_region: str) -> pd.DataFrame:
    """Judge every contact of the people: the snapshot's, and the one remembered where it is another."""
    given = snapshot.candidates[is_in(snapshot.candidates["person"], people["person"])]
    mine = people.assign(
        phone_first=people["phone_at"] > snapshot.taken_at, email_first=people["email_at"] > snapshot.taken_at
    )
    other = mine[~_is_first_candidate(mine, given)]
    both = pd.concat([given.assign(own=False), other.assign(own=True)], ignore_index=True)
    judged = check_contacts(both, default_region=default_region)
    place = np.arange(len(both))
    for kind in CLEAN:
        first = both[f"{kind}_first"].eq(True).to_numpy(np.bool_)
        judged[f"{kind}_rank"] = np.where(first, -1, np.where(both["own"], _LAST, place))
    return judged


def _is_first_candidate(people: pd.DataFrame, candidates: pd.DataFrame) -> Marks:
    """Mark the people whose contacts are those of their first candidate: nearly all, and judged once."""
    place = pc.index_in(pa.array(people["person"]), value_set=pa.array(candidates["person"]))
    same = np.asarray(place.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    for kind in CLEAN:
        first, held = pa.array(candidates[kind]).take(place), pa.array(people[kind])
        equal = pc.if_else(first.is_valid(), pc.equal(first, held), held.is_null())
        same &= pc.fill_null(equal, fill_value=False).to_numpy(zero_copy_only=False)
    return same


def choose_contacts(people: pd.DataFrame, options: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of check_contacts() with the best phone and the best email of each person."""
    persons = pa.array(people["person"])
    who = pc.index_in(pa.array(options["person"]), value_set=persons).to_numpy()
    chosen = {"person": people["person"].reset_index(drop=True)}
    for kind, clean in CLEAN.items():
        places = _best(who, options, kind, subscribers)
        best = options[[kind, f"{kind}_code", clean]].take(places).set_axis(who[places])
        chosen |= dict(best.reindex(range(len(people))).items())
    columns = ["person", "email", "phone", "email_code", "phone_code", "email_clean", "phone_e164"]
    return pd.DataFrame(chosen)[columns].fillna({"email_code": "absent", "phone_code": "absent"})


def _best(who: Places, options: pd.DataFrame, kind: str, subscribers: pd.DataFrame) -> Places:
    """Return the row of each person's best phone or email: one that finds a subscriber, else a usable one."""
    clean, held = as_held(options[CLEAN[kind]]), subscribers[HELD[kind]]
    shared = held[held.duplicated()]
    finds, usable = is_in(clean, held), clean.notna()
    score = np.select([finds & ~is_in(clean, shared), finds, usable], [0, 1, 2], default=3)
    given = np.flatnonzero(options[kind].notna())
    rank = options[f"{kind}_rank"].to_numpy()
    order = given[np.lexsort((rank[given], score[given], who[given]))]
    best: Places = order[np.diff(who[order], prepend=-1) != 0]
    return best


def as_held(contacts: pd.Series) -> pd.Series:
    """Return clean contacts as subscriber frames have them: phones without their plus."""
    return pd.Series(pc.utf8_ltrim(pa.array(contacts, TEXT), characters="+"), contacts.index, "str")


def is_in(texts: pd.Series, known: pd.Series) -> Marks:
    """Mark the texts that are known; a null never is. Series.isin() would look them up one by one."""
    values = pa.array(known.dropna(), TEXT)
    found = pc.is_in(pa.array(texts, TEXT), value_set=values)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def with_chosen(people: pd.DataFrame, contacts: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    """Return the people with the contacts that were chosen, where the snapshot brought theirs."""
    best = contacts.set_index("person").reindex(people["person"])
    changed = people.copy()
    for kind in CLEAN:
        from_snapshot = (people[f"{kind}_at"] == snapshot.taken_at) & best[kind].notna().to_numpy()
        changed[kind] = people[kind].where(~from_snapshot, best[kind].set_axis(people.index))
    return changed
