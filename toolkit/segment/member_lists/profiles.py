"""The people in a member list: ids and contacts of profiles, and the profiles that were merged.

A profile is a position, from 0: a row of a member list, or a canonical id of Profiles Sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError
from toolkit.frames import TEXT, encode, matches, put_together, text_array

from .tables import is_damaged

Positions: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
ProfilePart: TypeAlias = tuple[str, Positions, pa.Array]
"""Kind, profiles, and one text of that kind of each; null where it has none."""

CANDIDATE_COLUMNS = {"person": "str", "email": "str", "phone": "str"}
"""Contacts as text, several rows a person, the preferred first."""

NAME_COLUMNS = {"person": "str", "name": "str"}
"""The other ids of a person, as persons are named: events may have them."""

USER, ANONYMOUS, EMAIL, PHONE, PERSON, PROFILE = "user", "anonymous", "email", "phone", "person", "profile"
KIND_OF_NAME: Final = {
    "userid": USER,
    "id": USER,
    "anonymousid": ANONYMOUS,
    "email": EMAIL,
    "emailaddress": EMAIL,
    "phone": PHONE,
    "phonenumber": PHONE,
    "person": PERSON,
}
"""How a column, a trait or a type of identifier may be called, compared by plain_name()."""

KINDS: Final = (PERSON, USER, ANONYMOUS, EMAIL, PHONE, PROFILE)
"""The first of these that a profile has is its name, as with the person of an event."""
_NAMED = "^(user|anonymous|email|phone|profile):|^subscriber "
_HASHED = "^[0-9a-fA-F]{64}$"
_SPREADSHEET = r"^\+?[0-9]([.,][0-9]+)?[eE]\+?[0-9]{1,3}$"


class Profiles:
    """The ids and contacts of *size* profiles; of several parts of a kind the first is preferred."""

    def __init__(self, size: int, parts: Iterable[ProfilePart]) -> None:
        self.size = size
        by_kind: dict[str, list[ProfilePart]] = {kind: [] for kind in KINDS}
        for part in parts:
            by_kind[part[0]].append(part)
        self._found = {kind: _ranked(given) for kind, given in by_kind.items()}
        self.persons = pa.nulls(size, TEXT)
        """Name of each profile, null where it has no id and no contact."""
        for kind in KINDS:
            if self.persons.null_count:
                self.persons = pc.coalesce(self.persons, named_texts(kind, self.first(kind)))

    def first(self, kind: str) -> pa.Array:
        """Return the preferred id or contact of a kind of each profile; null where it has none."""
        found, places = self._found[kind], np.full(self.size, -1)
        preferred = np.flatnonzero(found["rank"] == 0)
        places[found["profile"].to_numpy()[preferred]] = preferred
        return text_array(found["text"]).take(pa.array(places, mask=places < 0))

    def names(self) -> pd.DataFrame:
        """Return the ids that a person has besides the one that is its name: NAME_COLUMNS."""
        ids = {kind: self._found[kind] for kind in (USER, ANONYMOUS)}
        texts = pa.concat_arrays([named_texts(kind, text_array(ids[kind]["text"])) for kind in ids])
        found = pd.concat([*ids.values()], ignore_index=True).assign(name=pd.Series(texts, dtype="str"))
        named = self._of_persons(found, NAME_COLUMNS)
        return named[named["person"] != named["name"]].reset_index(drop=True)

    def candidates(self) -> pd.DataFrame:
        """Return the contacts of each person, an email and a phone of the same rank in a row."""
        email, phone = (self._found[kind].rename(columns={"text": kind}) for kind in (EMAIL, PHONE))
        return self._of_persons(email.merge(phone, "outer", ["rank", "profile"]), CANDIDATE_COLUMNS)

    def _of_persons(self, found: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
        """Return these columns of what was found for profiles, each row once, where they have a name."""
        owners = pd.Series(self.persons.take(pa.array(found["profile"])), dtype="str")
        named = found.assign(person=owners).dropna(subset="person")
        return _distinct(named[[*columns]], "person").astype(columns).reset_index(drop=True)

    def damaged(self) -> Marks:
        """Mark the profiles with an id or contact that holds what none can hold."""
        marked = np.zeros(self.size, np.bool_)
        for found in self._found.values():
            marked[found["profile"][is_damaged(text_array(found["text"]))]] = True
        return marked

    def spreadsheet_damage(self) -> tuple[int, int]:
        """Return how many phones a spreadsheet destroyed, and how many profiles have no other contact."""
        phones = self._found[PHONE]
        bad = matches(text_array(phones["text"]), _SPREADSHEET)
        usable = np.zeros(self.size, np.bool_)
        usable[phones["profile"][~bad]] = usable[self._found[EMAIL]["profile"]] = True
        return int(bad.sum()), int((~usable[phones["profile"][bad]]).sum())

    def refuse_hashes(self, name: str) -> None:
        """Raise FileFormatError when the contacts of a kind are digests."""
        for kind in (EMAIL, PHONE):
            hashed = matches(text_array(self._found[kind]["text"]), _HASHED)
            if hashed.sum() > len(hashed) / 2:
                raise FileFormatError(
                    f"The {kind}s in {name} are hashed (64 hexadecimal digits). Postscript has them in clear "
                    f"text, so no subscriber can be found by them. Export the {kind}s without hashing."
                )


def _ranked(parts: Iterable[ProfilePart]) -> pd.DataFrame:
    """Return ``profile``, ``text`` and ``rank`` of one kind: each text once a profile, the preferred 0."""
    table = pa.table({"profile": pa.array([], pa.int64()), "text": pa.array([], TEXT)})
    more = (pa.table({"profile": profiles, "text": texts}) for _kind, profiles, texts in parts)
    table = pa.concat_tables([table, *more])
    found = _distinct(table.filter(table["text"].is_valid()).to_pandas(), "profile")
    return found.assign(rank=found.groupby("profile").cumcount())


def _distinct(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return each row once; only those with the same value in *column*, which are few, are compared."""
    several = frame[frame[column].duplicated(keep=False)]
    return frame.drop(several.index[several.duplicated()])


def named_texts(kind: str, texts: pa.Array) -> pa.Array:
    """Return ids or contacts as names of persons, as events name theirs.

    >>> named_texts("email", pa.array(["Dana@Example.test"], pa.large_string())).to_pylist()
    ['email:dana@example.test']
    """
    if kind == PERSON:  # already a name, or the id of a user
        is_name = pc.match_substring_regex(texts, _NAMED)
        return pc.if_else(is_name, texts, named_texts(USER, texts))
    return put_together(f"{kind}:", pc.utf8_lower(texts) if kind == EMAIL else texts)


# --- merged profiles

_STEPS = 64
"""Each doubles how far a chain is followed, so only a circle is left after these."""


def follow_merges(ids: pa.Array, away: pa.Array, into: pa.Array) -> pa.Array:
    """Return the id of today for each of *ids*, when each id *away* was merged *into* another, or itself.

    >>> follow_merges(pa.array(["a", "x"]), pa.array(["a", "b"]), pa.array(["b", "c"])).to_pylist()
    ['c', 'x']
    """
    table = pa.table({"away": away.cast(TEXT), "into": into.cast(TEXT)})
    moved = table.filter(pc.not_equal(table["away"], table["into"])).to_pandas()
    moved = moved.drop_duplicates("away", keep="last").set_index("away")["into"]
    for _ in range(_STEPS):
        further = moved.map(moved)
        if further.isna().all():
            break
        moved = further.fillna(moved)
    moved = moved[~moved.isin(moved.index)]  # a circle leads nowhere: its profiles stay themselves
    if moved.empty:
        return ids
    old = pd.Series(ids, dtype="str")
    return pa.array(old.map(moved).astype("str").fillna(old), TEXT, from_pandas=True)


def positions(ids: pa.Array) -> tuple[Positions, pa.Array]:
    """Return the profile of each row, by its id, and the ids of the profiles.

    A blank id is none: its row is a profile of its own.
    """
    at, names = encode(ids)
    blank = np.flatnonzero(at < 0)
    at[blank] = len(names) + np.arange(len(blank))
    return at, pa.concat_arrays([names, pa.nulls(len(blank), TEXT)])
