"""Profiles that were merged: which profile each id means today."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .cells import TEXT

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
    moved = moved[~moved.isin(moved.index)]  # a circle leads nowhere: who is in it stays as it is
    if moved.empty:
        return ids
    old = pd.Series(ids, dtype="str")
    return pa.array(old.map(moved).astype("str").fillna(old), TEXT, from_pandas=True)


def positions(ids: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return where each id stands among the distinct ones, and these; a null is one of its own."""
    encoded = ids.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
