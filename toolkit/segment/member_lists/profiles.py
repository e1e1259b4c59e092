"""Tables of Profiles Sync: traits and identifiers of profiles, and the profiles that were merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError

from .cells import TEXT
from .merges import follow_merges, positions
from .people import EMAIL, KIND_OF_NAME, PHONE, PROFILE, Positions, Profiles, Values
from .shapes import Shape
from .tables import Table, plain_name, shown_names
from .words import Marks, Said, Words, judge


def read_profiles(tables: Sequence[tuple[Shape, Table]], audience_key: str) -> Words:
    """Return the words of user_traits, with the contacts of user_identifiers.

    Raises
    ------
    FileFormatError
        One of the two tables is not there.
    ParameterError
        No trait is of that name, or none is an audience.
    """
    of_shape = {shape: [t for s, t in tables if s is shape] for shape in Shape}
    traits, identifiers = of_shape[Shape.USER_TRAITS], of_shape[Shape.USER_IDENTIFIERS]
    if not traits or not identifiers:
        lacking = "user_identifiers" if traits else "user_traits"
        raise FileFormatError(
            f"{lacking} is missing. Profiles Sync keeps members and contacts in two tables, user_traits and "
            "user_identifiers: give a folder with both, or a mapping of the two names to files or frames."
        )
    merges = of_shape[Shape.PROFILE_MERGES]
    away, into = _column(merges, "segmentid"), _column(merges, "canonicalsegmentid")
    given, owners = _column(traits, "canonicalsegmentid"), _column(identifiers, "canonicalsegmentid")
    today = follow_merges(pa.concat_arrays([given, owners]), away, into)
    at, ids = positions(today)
    profiles = Profiles(size=len(ids))
    _add_identifiers(profiles, at[len(given) :], identifiers)
    names, values = _column(traits, "name"), _column(traits, "value")
    for kind in (EMAIL, PHONE):  # a trait may hold a contact that is no identifier
        _add(profiles, kind, at[: len(given)], names, values)
    profiles.add(PROFILE, Values.of_column(ids))

    keys = [audience_key] if audience_key else _boolean_names(names, values)
    _check_occurs(keys, names)
    chosen = pc.is_in(names, pa.array(keys, TEXT))
    rows = chosen.to_numpy(zero_copy_only=False)
    is_away = pc.fill_null(pc.not_equal(given, today[: len(given)]), fill_value=False)
    profile_of_row, key_of_row = at[: len(given)][rows], names.filter(chosen)
    said = Said(
        profiles=profile_of_row,
        keys=key_of_row,
        memberships=values.filter(chosen),
        in_any_case=True,
        blank_is_out=True,
        merged=_have_own(profile_of_row, key_of_row, is_away.filter(chosen).to_numpy(zero_copy_only=False)),
    )
    words = judge(said, profiles, _together([table for _shape, table in tables]))
    note = f"The audiences are the traits {', '.join(keys)}."
    return replace(words, audience_keys=frozenset(keys), notes=(*words.notes, note))


def _column(tables: Sequence[Table], name: str) -> pa.Array:
    return pa.concat_arrays([table.first(name) for table in tables] or [pa.array([], TEXT)])


def _add_identifiers(profiles: Profiles, at: Positions, identifiers: Sequence[Table]) -> None:
    """Add the identifiers, those seen last first."""
    types, values = _column(identifiers, "type"), _column(identifiers, "value")
    seen = pd.Series(_column(identifiers, "timestamp"), dtype="str")
    latest = pd.to_datetime(seen, format="ISO8601", utc=True, errors="coerce")
    order = latest.sort_values(ascending=False, kind="stable", na_position="last").index.to_numpy()
    types, values = types.take(pa.array(order)), values.take(pa.array(order))
    for kind in {*KIND_OF_NAME.values()}:
        _add(profiles, kind, at[order], types, values)


def _add(profiles: Profiles, kind: str, at: Positions, names: pa.Array, values: pa.Array) -> None:
    """Add the values whose name is that of the kind, however it is spelt."""
    spelt = [n for n in pc.unique(names).drop_null().to_pylist() if KIND_OF_NAME.get(plain_name(n)) == kind]
    mine = pc.is_in(names, pa.array(spelt, TEXT))
    profiles.add(kind, Values.of_rows(at[mine.to_numpy(zero_copy_only=False)], values.filter(mine)))


def _boolean_names(names: pa.Array, values: pa.Array) -> list[str]:
    """Return the traits that are true or false wherever they have a value."""
    is_word = pc.is_in(pc.utf8_lower(values), pa.array(["true", "false"], TEXT))
    others = pc.unique(names.filter(pc.and_(pc.is_valid(values), pc.invert(is_word))))
    found = {*pc.unique(names.filter(is_word)).drop_null().to_pylist()} - {*others.to_pylist()}
    return sorted(found)


def _check_occurs(keys: Sequence[str], names: pa.Array) -> None:
    there_are = pc.unique(names).drop_null().to_pylist()
    if not keys:
        raise ParameterError(f"No trait is true or false. The traits are: {shown_names(there_are)}.")
    if absent := {*keys} - {*there_are}:
        raise ParameterError(
            f"No trait is named {', '.join(absent)}. The traits are: {shown_names(there_are)}."
        )


def _have_own(profiles: Positions, keys: pa.Array, is_away: Marks) -> Marks:
    """Mark the rows of merged profiles where the profile they went into has a word of its own."""
    rows = pd.DataFrame({"profile": profiles, "key": pd.Series(keys, dtype="str"), "own": ~is_away})
    has_own: Marks = rows.groupby(["profile", "key"])["own"].transform("any").to_numpy(np.bool_)
    return is_away & has_own


def _together(tables: Sequence[Table]) -> Table:
    """Return what is to be told of several tables as if they were one, without their rows."""
    return Table(
        name=" + ".join(dict.fromkeys(table.name for table in tables)),
        header=(),
        columns=(),
        torn=tuple(line for table in tables for line in table.torn),
        is_cut=any(table.is_cut for table in tables),
        notes=tuple(note for table in tables for note in table.notes),
    )
