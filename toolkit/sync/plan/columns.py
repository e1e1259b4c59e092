"""Columns to work on: texts as Arrow arrays, the rest as NumPy's, and the places of one's rows in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import encode, numbers, text_array, to_frame, typed

TEXT = pa.large_string()
NONE, SEVERAL = -1, -2
_TENS = 10 ** np.arange(19)


def text(value: str | None) -> pa.Scalar:
    """Return one text, to be laid beside columns."""
    return pa.scalar(value, TEXT)


def spell(codes: np.ndarray, names: tuple[str | None, ...]) -> pa.Array:
    """Return the name of each code."""
    return pa.array(names, TEXT).take(pa.array(codes))


def take(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """Return the values at *rows*, null for a negative one."""
    if len(rows) == len(column) and np.array_equal(rows, np.arange(len(rows))):
        return column
    return column.take(pa.array(rows, mask=rows < 0))


def no_texts(count: int) -> pd.Series:
    """Return a column of texts that are all null."""
    return pa.table({"": pa.nulls(count, TEXT)}).to_pandas()[""]


def frame(columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame of *dtypes*, in their order."""
    arrays = {name: column for name, column in columns.items() if isinstance(column, pa.Array)}
    # At once, and not copied: pandas takes Arrow's texts as they are.
    rest = {name: column for name, column in columns.items() if name not in arrays}
    return typed(to_frame(pa.table(arrays)).assign(**rest), dtypes)


def places(wanted: pa.Array, among: pa.Array) -> np.ndarray:
    """Return where each text stands in *among*, -1 for nowhere; equal neighbours are looked up once."""
    if not len(wanted):
        return np.empty(0, np.int64)
    starts = np.ones(len(wanted), np.bool_)
    starts[1:] = numbers(pc.not_equal(wanted[1:], wanted[:-1]), null=True)
    firsts = wanted if starts.all() else wanted.filter(pa.array(starts))
    if (
        firsts.equals(among) and not firsts.null_count
    ):  # the same people in the same order: nothing to look up
        found = np.arange(len(among))
    else:
        found = numbers(pc.index_in(firsts, value_set=among, skip_nulls=True)).astype(np.int64)
    return found if len(firsts) == len(wanted) else found[np.cumsum(starts) - 1]


def number(places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Number *places*, all below *count*, as they are met; return the numbers, and the places by number."""
    rows = np.arange(len(places))
    first = np.empty(count, np.int64)
    first[places[::-1]] = rows[::-1]
    met = first[places]
    is_first = met == rows
    return (np.cumsum(is_first) - 1)[met], places[is_first]


def find(wanted: pa.Array, held: pa.Array, *, single: bool) -> np.ndarray:
    """Return the place of each text in *held*, NONE when there is none.

    When there are more it is the first, or SEVERAL where a *single* one is asked for.
    """
    asked, given = (np.flatnonzero(numbers(column.is_valid())) for column in (wanted, held))
    codes = _numbered(held.drop_null(), wanted.drop_null())
    of_held, of_wanted = codes[: len(given)], codes[len(given) :]
    place = np.full(codes.max(initial=-1) + 1, NONE)
    place[of_held[::-1]] = given[::-1]
    if single:
        place[np.bincount(of_held, minlength=len(place)) > 1] = SEVERAL
    found = np.full(len(wanted), NONE)
    found[asked] = place[of_wanted]
    return found


def _numbered(*columns: pa.Array) -> np.ndarray:
    """Number the texts of all columns, one after the other: equal texts have equal numbers."""
    values = [value for column in columns if (value := _as_integers(column)) is not None]
    if len(values) == len(columns):
        return np.asarray(pd.factorize(np.concatenate(values))[0])
    return encode(pa.concat_arrays(columns))[0]


def _as_integers(column: pa.Array) -> np.ndarray | None:
    """Return phone digits as integers, which are found faster than texts; None when one is not just that."""
    length = numbers(pc.binary_length(column), null=0)
    if length.max(initial=0) > 18:
        return None
    try:
        value = numbers(pc.cast(column, pa.int64()))
    except pa.ArrowInvalid:
        return None
    # Those with a zero before them are other texts than those without.
    return value if (value >= _TENS[length - 1]).all() else None


def by_time(events: pd.DataFrame) -> np.ndarray:
    """Return the order of the rows by their times, nulls first, and where those are equal as they are."""
    times = {name: pa.array(events[name]) for name in ("timestamp", "received_at")}
    keys = {**times, "message_id": text_array(events["message_id"]), "place": np.arange(len(events))}
    sort_keys = [(name, "ascending", "at_start") for name in keys]
    return np.asarray(pc.sort_indices(pa.table(keys), sort_keys=sort_keys).to_numpy())
