"""Columns to work on: texts as Arrow arrays, the rest as NumPy's, and lists of audiences by the column.

A name of an audience is its key as it stands between its quotes in the JSON text of a list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import (
    SURROGATE,
    TEXT,
    encode,
    json_text,
    numbers,
    places_in,
    put_together,
    text_array,
    to_arrow,
    to_frame,
    typed,
)

NONE, SEVERAL = -1, -2


def take(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """Return the values at *rows*, null for a negative one."""
    if len(rows) == len(column) and np.array_equal(rows, np.arange(len(rows))):
        return column
    return column.take(pa.array(rows, mask=rows < 0))


def spell(codes: np.ndarray, names: Iterable[str | None]) -> pa.Array:
    """Return the name of each code, null for a negative one."""
    return pa.array(names, TEXT).take(pa.array(codes, mask=codes < 0))


def frame(columns: Mapping[str, Any], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame of *dtypes*, in their order."""
    values = {name: c.to_pandas() if isinstance(c, pa.Array) else c for name, c in columns.items()}
    return typed(pd.DataFrame(values, copy=False), dtypes)


def places(wanted: pd.Series, among: pd.Series) -> np.ndarray:
    """Return where each text first stands in *among*, NONE for nowhere."""
    texts, others = text_array(wanted), text_array(among)
    if texts.equals(others) and not texts.null_count:
        return np.arange(len(texts))  # the same people in the same order
    return numbers(pc.index_in(texts, value_set=others, skip_nulls=True)).astype(np.int64)


def find_single(wanted: pa.Array, held: pa.Array) -> np.ndarray:
    """Return the place of each text in *held*, NONE or SEVERAL when there is not exactly one."""
    codes, distinct = encode(_as_numbers(pa.concat_arrays([held, wanted])))
    of_held, of_wanted = np.split(codes, [len(held)])
    place = np.full(len(distinct) + 1, NONE)
    place[of_held] = np.arange(len(held))
    place[:-1][np.bincount(of_held[of_held != NONE], minlength=len(distinct)) > 1] = SEVERAL
    place[NONE] = NONE  # that of null
    return np.asarray(place[of_wanted])


def _as_numbers(texts: pa.Array) -> pa.Array:
    """Return texts that are all whole numbers as such, which takes a quarter of the time to compare."""
    first, last = pc.min_max(texts).as_py().values()
    with suppress(pa.ArrowInvalid):
        # Each begins with 1 to 9, so that none is another spelling of the same number.
        if first is not None and "1" <= first <= last < ":":
            return texts.cast(pa.int64())
    return texts


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


def listed_keys(subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return subscriber_id and audience_key: a row for each key on each list."""
    lists = _read_lists(text_array(subscribers["audiences"]))
    codes, names = encode(lists.flatten())
    # A frame cannot hold a lone surrogate.
    keys = [SURROGATE.sub("\uffff", json.loads(f'"{name}"')) for name in names.to_pylist()]
    ids = text_array(subscribers["subscriber_id"]).take(pc.list_parent_indices(lists))
    return to_frame(pa.table({"subscriber_id": ids, "audience_key": spell(codes, keys)}))


class AudienceLists:
    """Lists of audiences, read from their JSON texts; each of *keys* has the number of its place there."""

    def __init__(self, texts: pa.Array, keys: Iterable[str]) -> None:
        lists, asked = _read_lists(texts), pa.array(_names_of(keys), TEXT)
        codes, self.names = encode(pa.concat_arrays([asked, lists.flatten()]))
        counts = numbers(pc.list_value_length(lists), null=0)
        self.texts, self.entries = texts, _lists_of(codes[len(asked) :], counts)
        """The numbers of the names on each list are its ``entries``."""

    def have(self, lists: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return whether each row's key stands on its list; False where it has none of either."""
        holder, held = _pairs(self.entries)
        # pandas looks whole numbers up in a hash table: NumPy's isin() takes four times as long.
        listed = pd.Index(lists * len(self.names) + keys).isin(holder * len(self.names) + held)
        return np.asarray((lists != NONE) & (keys != NONE) & listed)

    def after(
        self, lists: np.ndarray, owner: np.ndarray, keys: np.ndarray, is_removal: np.ndarray
    ) -> pa.Array:
        """Return the text of each of *lists* afterwards, as `new_list` does of one.

        *owner* is the place of the list that each of *keys* is added to or removed from.
        """
        count, same = max(len(self.names), 1), np.arange(len(lists))
        if len(owner) == len(lists):  # one change each, in order: equal ones are made once
            same, distinct = pd.factorize((lists * count + keys) * 2 + is_removal)
            pairs, is_removal = distinct // 2, distinct % 2 == 1
            owner, lists, keys = np.arange(len(pairs)), pairs // count, pairs % count
        holder, held = _pairs(self.entries.take(pa.array(lists)))
        of_held, of_keys = holder * count + held, owner * count + keys
        if is_removal.any():
            of_held = of_held[~pd.Index(of_held).isin(of_keys[is_removal])]
        after = np.concatenate([of_held, of_keys[~is_removal]])
        if not np.diff(np.sort(after)).all():  # a key twice on a list is rare, and sorting shows it soonest
            after = pd.unique(after)
        holder, name = np.divmod(after, count)
        inner = join_groups(self.names.take(pa.array(name)), holder, len(lists), '","')
        return take(put_together('["', inner, '"]').fill_null("[]"), same)


def join_groups(texts: pa.Array, group: np.ndarray, count: int, between: str) -> pa.Array:
    """Return the texts of each of *count* groups, in their order, as one text; null for a group without."""
    if not len(texts):  # binary_join() would answer with no rows at all
        return pa.nulls(count, TEXT)
    if len(texts) == count and np.array_equal(group, np.arange(count)):
        return texts
    counts = np.bincount(group, minlength=count)
    lists = _lists_of(take(texts, np.argsort(group, kind="stable")), counts)
    return pc.if_else(pa.array(counts > 0), pc.binary_join(lists, pa.scalar(between, TEXT)), None)


def _names_of(keys: Iterable[str]) -> list[str]:
    return [json_text(key)[1:-1] for key in keys]


def _lists_of(values: pa.Array | np.ndarray, counts: np.ndarray) -> pa.Array:
    """Return the values as lists of so many each."""
    return pa.LargeListArray.from_arrays(np.append(0, np.cumsum(counts)), pa.array(values))


def _pairs(entries: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of the list of each entry, and the entry."""
    return numbers(pc.list_parent_indices(entries)), numbers(entries.flatten())


def _read_lists(texts: pa.Array) -> pa.Array:
    """Return the names on each list, null for one without."""
    texts = pc.if_else(pc.equal(texts, "[]"), pa.scalar(None, TEXT), texts)
    lists = pc.split_pattern(pc.utf8_slice_codeunits(texts, 2, -2), '","')
    # Without a backslash every quote stands before or after a name: two of them each, if nothing else.
    quotes = pc.multiply(pc.list_value_length(lists), 2)
    is_plain = numbers(pc.equal(pc.count_substring(texts, '"'), quotes), null=True)
    odd = np.flatnonzero(~is_plain | numbers(pc.match_substring(texts, "\\"), null=False))
    if not len(odd):
        return lists
    read = [_names_of(json.loads(text)) for text in texts.take(pa.array(odd)).to_pylist()]
    place = np.arange(len(texts))
    place[odd] = len(texts) + np.arange(len(odd))
    return pa.concat_arrays([lists, pa.array(read, lists.type)]).take(pa.array(place))
