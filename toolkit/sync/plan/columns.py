"""Columns to work on: texts as Arrow arrays, the rest as NumPy's, and lists of audiences by the column.

A name of an audience is its key as it stands between its quotes in the JSON text of a list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import (
    SURROGATE,
    encode,
    json_text,
    numbers,
    places_in,
    text_array,
    to_arrow,
    to_frame,
    typed,
)

TEXT = pa.large_string()
NONE, SEVERAL = -1, -2


def take(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """Return the values at *rows*, null for a negative one."""
    if len(rows) == len(column) and np.array_equal(rows, np.arange(len(rows))):
        return column
    return column.take(pa.array(rows, mask=rows < 0))


def spell(codes: np.ndarray, names: Iterable[str]) -> pa.Array:
    """Return the name of each code, null for a negative one."""
    return pa.array(names, TEXT).take(pa.array(codes, mask=codes < 0))


def joined(*parts: pa.Array | str) -> pa.Array:
    """Return the parts of each row as one text; null where one of them is."""
    return pc.binary_join_element_wise(
        *(pa.scalar(p, TEXT) if isinstance(p, str) else p for p in (*parts, ""))
    )


def frame(columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame of *dtypes*, in their order."""
    arrays = {name: column for name, column in columns.items() if isinstance(column, pa.Array)}
    # At once, and not copied: pandas takes Arrow's texts as they are.
    rest = {name: column for name, column in columns.items() if name not in arrays}
    return typed(to_frame(pa.table(arrays)).assign(**rest), dtypes)


def places(wanted: pd.Series, among: pd.Series) -> np.ndarray:
    """Return where each text first stands in *among*, NONE for nowhere."""
    texts, others = text_array(wanted), text_array(among)
    if texts.equals(others) and not texts.null_count:
        return np.arange(len(texts))  # the same people in the same order
    return numbers(pc.index_in(texts, value_set=others, skip_nulls=True)).astype(np.int64)


def find(wanted: pa.Array, held: pa.Array, *, single: bool) -> np.ndarray:
    """Return the place of each text in *held*, NONE when there is none.

    When there are more it is the first, or SEVERAL where a *single* one is asked for.
    """
    codes = _number(pa.concat_arrays([held, wanted]))
    of_held, rows = codes[: len(held)], np.flatnonzero(codes[: len(held)] != NONE)
    place = np.full(codes.max(initial=NONE) + 2, NONE)
    place[of_held[rows][::-1]] = rows[::-1]
    if single:
        place[np.bincount(of_held[rows], minlength=len(place)) > 1] = SEVERAL
    return np.asarray(place[codes[len(held) :]])  # the last is that of null


def _number(texts: pa.Array) -> np.ndarray:
    """Return a number for each text, the same for the same text, -1 for null."""
    try:
        values = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return encode(texts)[0]
    # Phone digits are compared faster as integers; "07" is another text than "7".
    if not pc.all(pc.equal(pc.cast(values, TEXT), texts), min_count=0).as_py():
        return encode(texts)[0]
    codes = pd.factorize(numbers(values))[0]
    return np.where(numbers(values.is_valid()), codes, NONE)


def have_like(rows: pd.DataFrame, others: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return which rows have the same *columns* as one of the others; null is like nothing."""
    return places_in(to_arrow(rows, columns), to_arrow(others[[*columns]].dropna())) >= 0


# --- lists of audiences -----------------------------------------------------------------------------------


def new_list(before: Iterable[str], *, add: Iterable[str], remove: Collection[str]) -> tuple[str, ...]:
    """Return the audience list afterwards: what stays in its order, then what is added; each key once.

    >>> new_list(("vip", "churn", "vip"), add=("new",), remove={"churn"})
    ('vip', 'new')
    """
    kept = dict.fromkeys(key for key in before if key not in remove)
    return tuple(kept | dict.fromkeys(add))


def names_of(keys: Iterable[str]) -> pa.Array:
    """Return the name of each key."""
    return pa.array([json_text(key)[1:-1] for key in keys], TEXT)


def listed_keys(subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return subscriber_id and audience_key: a row for each key on each list."""
    texts, ids = (text_array(subscribers[name]) for name in ("audiences", "subscriber_id"))
    rows = np.flatnonzero(numbers(texts.is_valid()))
    owner, names = _take_apart(texts.take(pa.array(rows)))
    codes, distinct = encode(names)
    # A frame cannot hold a lone surrogate.
    keys = [SURROGATE.sub("\uffff", json.loads(f'"{name}"')) for name in distinct.to_pylist()]
    found = {"subscriber_id": ids.take(pa.array(rows[owner])), "audience_key": spell(codes, keys)}
    return frame(found, dict.fromkeys(found, "str"))


def is_listed(lists: np.ndarray, list_texts: pa.Array, keys: np.ndarray, names: pa.Array) -> np.ndarray:
    """Tell of each row whether its key stands on its list; False where it has none of either."""
    owner, held = _take_apart(list_texts)
    key = numbers(pc.index_in(held, value_set=names)).astype(np.int64)
    found = owner[key >= 0] * len(names) + key[key >= 0]
    return np.asarray((lists != NONE) & (keys != NONE) & np.isin(lists * len(names) + keys, found))


def new_lists(list_texts: pa.Array, owner: np.ndarray, names: pa.Array, is_removal: np.ndarray) -> pa.Array:
    """Return each list afterwards, as `new_list` does of one.

    *owner* is the list that each of *names* is added to or removed from.
    """
    holder, held = _take_apart(list_texts)
    codes, all_names = encode(pa.concat_arrays([held, names]))
    pairs = np.concatenate([holder, owner]) * len(all_names) + codes
    of_held, of_names = pairs[: len(held)], pairs[len(held) :]
    stays = ~np.isin(of_held, of_names[is_removal])
    after = np.concatenate([of_held[stays], of_names[~is_removal]])
    after = after[~pd.Series(after).duplicated().to_numpy()]
    holder, codes = np.divmod(after, max(len(all_names), 1))
    inner = join_groups(all_names.take(pa.array(codes)), holder, len(list_texts), '","')
    return joined('["', inner, '"]').fill_null("[]")


def join_groups(texts: pa.Array, group: np.ndarray, count: int, between: str) -> pa.Array:
    """Return the texts of each of *count* groups, in their order, as one text; null for a group without."""
    if not len(texts):  # binary_join() would answer with no rows at all
        return pa.nulls(count, TEXT)
    counts = np.bincount(group, minlength=count)
    lists = pa.LargeListArray.from_arrays(
        np.append(0, np.cumsum(counts)), take(texts, np.argsort(group, kind="stable"))
    )
    return pc.if_else(pa.array(counts > 0), pc.binary_join(lists, pa.scalar(between, TEXT)), None)


def _take_apart(list_texts: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return the place of the list of each name, and the names."""
    inner = pc.utf8_slice_codeunits(list_texts, 2, -2)
    split = pc.split_pattern(inner, '","')
    counts = numbers(pc.list_value_length(split))
    # Without a backslash every quote stands before or after a name: two of them each, if nothing else.
    plain = numbers(pc.equal(pc.count_substring(list_texts, '"'), pa.array(2 * counts)))
    plain &= ~numbers(pc.match_substring(list_texts, "\\"))
    is_empty = numbers(pc.equal(list_texts, "[]"))
    owner = np.repeat(np.flatnonzero(plain), counts[plain])
    names = split.filter(pa.array(plain)).flatten()
    odd = [(row, json.loads(list_texts[row].as_py())) for row in np.flatnonzero(~plain & ~is_empty)]
    rest = [(row, key) for row, keys in odd for key in keys]
    if not rest:
        return owner, names
    owner = np.append(owner, [row for row, _ in rest])
    return owner, pa.concat_arrays([names, names_of(key for _, key in rest)])
