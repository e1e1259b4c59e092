"""The people in a member list: ids and contacts of profiles, and the profiles that were merged.

A profile is a position, from 0: a row of a member list, or a canonical id of Profiles Sync.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError

from .text import TEXT, is_damaged

Positions: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """Ids or contacts of one kind."""

    profiles: Positions
    ranks: Positions
    """Place among those of the profile, from 0; for each profile the preferred stand first."""
    texts: pa.Array

    @classmethod
    def of_column(cls, texts: pa.Array) -> Values:
        """Return the values of a column with one text a profile."""
        given = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        return cls(profiles=given, ranks=np.zeros(len(given), np.int64), texts=texts.drop_null())

    @classmethod
    def of_rows(cls, profiles: Positions, texts: pa.Array) -> Values:
        """Return the values of rows, of which several may be about one profile, the preferred first."""
        given = texts.is_valid().to_numpy(zero_copy_only=False)
        frame = pd.DataFrame({"profile": profiles[given], "text": pd.Series(texts.drop_null(), dtype="str")})
        frame = frame.drop_duplicates()
        ranks = frame.groupby("profile").cumcount().to_numpy(np.int64)
        kept = pa.array(frame["text"], TEXT, from_pandas=True)
        return cls(profiles=frame["profile"].to_numpy(np.int64), ranks=ranks, texts=kept)

    def first(self, size: int) -> pa.Array:
        """Return the preferred text of each profile, null where there is none."""
        places = np.full(size, -1, np.int64)
        # Backwards, as the last one written stays.
        places[self.profiles[::-1]] = np.arange(len(self.profiles))[::-1]
        return self.texts.take(pa.array(places, mask=places < 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """The ids and contacts of profiles."""

    size: int
    found: dict[str, Values] = field(default_factory=dict)
    """Kind → values."""

    def add(self, kind: str, more: Values) -> None:
        """Add values of a kind, less preferred than those already there."""
        if kind in self.found:
            had = self.found[kind]
            more = Values(
                profiles=np.concatenate([had.profiles, more.profiles]),
                ranks=np.concatenate([had.ranks, more.ranks + had.ranks.max(initial=-1) + 1]),
                texts=pa.concat_arrays([had.texts, more.texts]),
            )
        if len(more.profiles):
            self.found[kind] = more

    def first(self, kind: str) -> pa.Array:
        """Return the preferred id or contact of a kind of each profile."""
        return self.found[kind].first(self.size) if kind in self.found else pa.nulls(self.size, TEXT)

    def persons(self) -> pa.Array:
        """Return the name of each profile, null where it has no id and no contact."""
        names = pa.nulls(self.size, TEXT)
        for kind in KINDS:
            if names.null_count:
                names = pc.coalesce(names, named_texts(kind, self.first(kind)))
        return names

    def names(self, persons: pa.Array) -> pd.DataFrame:
        """Return the ids that a person has besides the one that is its name: NAME_COLUMNS."""
        tables = [pa.table({"person": pa.array([], TEXT), "name": pa.array([], TEXT)})]
        for kind in (USER, ANONYMOUS):
            if kind in self.found:
                values = self.found[kind]
                owners = persons.take(pa.array(values.profiles))
                tables.append(pa.table({"person": owners, "name": named_texts(kind, values.texts)}))
        every = pa.concat_tables(tables)
        other = every.filter(pc.not_equal(every["person"], every["name"]))
        return other.to_pandas().astype(NAME_COLUMNS)

    def candidates(self, persons: pa.Array) -> pd.DataFrame:
        """Return the contacts of each person, an email and a phone of the same rank in a row."""
        given = {kind: self.found[kind] for kind in (EMAIL, PHONE) if kind in self.found}
        places = {kind: values.ranks * self.size + values.profiles for kind, values in given.items()}
        rows = _united([*places.values()])
        columns = {"person": persons.take(pa.array(rows % max(self.size, 1)))}
        for kind in (EMAIL, PHONE):
            columns[kind] = pa.nulls(len(rows), TEXT)
            if kind in given:
                at = np.full(len(rows), -1, np.int64)
                at[np.searchsorted(rows, places[kind])] = np.arange(len(places[kind]))
                columns[kind] = given[kind].texts.take(pa.array(at, mask=at < 0))
        return pa.table(columns).to_pandas().astype(CANDIDATE_COLUMNS)

    def damaged(self) -> Marks:
        """Mark the profiles with an id or contact that holds what none can hold."""
        marked = np.zeros(self.size, np.bool_)
        for values in self.found.values():
            marked[values.profiles[is_damaged(values.texts)]] = True
        return marked

    def spreadsheet_damage(self) -> tuple[int, int]:
        """Return how many phones a spreadsheet destroyed, and how many profiles have no other contact."""
        if PHONE not in self.found:
            return 0, 0
        phones = self.found[PHONE]
        bad = pc.match_substring_regex(phones.texts, _SPREADSHEET).to_numpy(zero_copy_only=False)
        usable = np.zeros(self.size, np.bool_)
        usable[phones.profiles[~bad]] = True
        if EMAIL in self.found:
            usable[self.found[EMAIL].profiles] = True
        spoilt = phones.profiles[bad]
        return len(spoilt), int((~usable[spoilt]).sum())

    def refuse_hashes(self, name: str) -> None:
        """Raise FileFormatError when the contacts of a kind are digests."""
        for kind in (EMAIL, PHONE):
            texts = self.found[kind].texts if kind in self.found else []
            if len(texts) and pc.mean(pc.match_substring_regex(texts, _HASHED)).as_py() > 0.5:
                raise FileFormatError(
                    f"The {kind}s in {name} are hashed (64 hexadecimal digits). Postscript has them in clear "
                    f"text, so no subscriber can be found by them. Export the {kind}s without hashing."
                )


def _united(places: list[Positions]) -> Positions:
    """Return all places, rising, each once; nothing is sorted where all kinds have the same."""
    if places and all(np.array_equal(places[0], more) for more in places) and (np.diff(places[0]) > 0).all():
        return places[0]
    return np.unique(np.concatenate([*places, np.empty(0, np.int64)]))


def named_texts(kind: str, texts: pa.Array) -> pa.Array:
    """Return ids or contacts as names of persons, as events name theirs.

    >>> named_texts("email", pa.array(["Dana@Example.test"], pa.large_string())).to_pylist()
    ['email:dana@example.test']
    """
    if kind == PERSON:  # already a name, or the id of a user
        is_name = pc.match_substring_regex(texts, _NAMED)
        return pc.if_else(is_name, texts, named_texts(USER, texts))
    texts = pc.utf8_lower(texts) if kind == EMAIL else texts
    return pc.binary_join_element_wise(pa.scalar(f"{kind}:", TEXT), texts, pa.scalar("", TEXT))


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


def positions(ids: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return where each id stands among the distinct ones, and these; a null is one of its own."""
    encoded = ids.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
