"""Lists of audiences as JSON texts: what they hold, and what they become; taken apart by the column.

A name here is a key as it stands between its quotes in such a text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import encode, json_text, numbers

from .columns import NONE, TEXT, text

_BATCH = 1 << 16
"""Lists taken apart at once, which bounds the memory for it."""


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


def is_listed(lists: np.ndarray, list_texts: pa.Array, keys: np.ndarray, names: pa.Array) -> np.ndarray:
    """Tell of each row whether its key stands on its list; False where it has none of either."""
    found = [np.empty(0, np.int64)]
    for start in range(0, len(list_texts), _BATCH):
        owner, held = _take_apart(list_texts.slice(start, _BATCH))
        key = numbers(pc.index_in(held, value_set=names)).astype(np.int64)
        found.append((owner[key >= 0] + start) * len(names) + key[key >= 0])
    known = (lists != NONE) & (keys != NONE)
    return np.asarray(known & np.isin(lists * len(names) + keys, np.concatenate(found)))


def new_lists(
    list_texts: pa.Array, owner: np.ndarray, keys: np.ndarray, is_removal: np.ndarray, names: pa.Array
) -> pa.Array:
    """Return each list afterwards, as `new_list` does of one.

    *owner* is the list that each key is added to or removed from, and ascends.
    """
    parts = [pa.array([], TEXT)]
    for start in range(0, len(list_texts), _BATCH):
        mine = slice(*np.searchsorted(owner, [start, start + _BATCH]))
        batch = list_texts.slice(start, _BATCH)
        parts.append(_new_lists(batch, owner[mine] - start, keys[mine], is_removal[mine], names))
    return pa.concat_arrays(parts)


def _new_lists(
    list_texts: pa.Array, owner: np.ndarray, keys: np.ndarray, is_removal: np.ndarray, names: pa.Array
) -> pa.Array:
    holder, held = _take_apart(list_texts)
    codes, all_names = encode(pa.concat_arrays([held, names.take(pa.array(keys))]))
    pairs = np.concatenate([holder, owner]) * len(all_names) + codes
    of_held, of_keys = pairs[: len(held)], pairs[len(held) :]
    stays = ~np.isin(of_held, of_keys[is_removal])
    after = np.concatenate([of_held[stays], of_keys[~is_removal]])
    after = after[~pd.Series(after).duplicated().to_numpy()]
    holder, codes = np.divmod(after, max(len(all_names), 1))
    order = np.argsort(holder, kind="stable")
    counts = np.bincount(holder, minlength=len(list_texts))
    return _put_together(all_names.take(pa.array(codes[order])), counts)


def _take_apart(list_texts: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return the place of the list of each name, and the names."""
    inner = pc.utf8_slice_codeunits(list_texts, 2, -2)
    split = pc.split_pattern(inner, '","')
    counts = numbers(pc.list_value_length(split))
    # Without a backslash every quote stands before or after a name: two of them each, if nothing else.
    plain = numbers(pc.equal(pc.count_substring(list_texts, '"'), pa.array(2 * counts)))
    plain &= ~numbers(pc.match_substring(list_texts, "\\"))
    owner = np.repeat(np.flatnonzero(plain), counts[plain])
    names = split.filter(pa.array(plain)).flatten()
    odd = [(row, json.loads(list_texts[row].as_py())) for row in np.flatnonzero(~plain).tolist()]
    rest = [(row, key) for row, keys in odd for key in keys]
    if not rest:
        return owner, names
    owner = np.append(owner, [row for row, _ in rest])
    return owner, pa.concat_arrays([names, names_of(key for _, key in rest)])


def _put_together(names: pa.Array, counts: np.ndarray) -> pa.Array:
    """Return the texts of lists that have so many *names* each."""
    if not len(names):
        return pa.array(["[]"], TEXT).take(pa.array(np.zeros(len(counts), np.int64)))
    offsets = pa.array(np.append(0, np.cumsum(counts)))
    inner = pc.binary_join(pa.LargeListArray.from_arrays(offsets, names), text('","'))
    filled = pc.binary_join_element_wise(text('["'), inner, text('"]'), text(""))
    return pc.if_else(pa.array(counts > 0), filled, text("[]"))
