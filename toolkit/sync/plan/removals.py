"""How much of what it looks at a plan removes: over all, and of the audience that loses most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from toolkit.frames import encode, numbers, text_array

from .columns import NONE, text

MIN_MEMBERSHIPS = 10
"""Memberships looked at from which an audience has a limit of its own: of five people one may leave."""

_STAYS = ("ALREADY_IN", "ENTERED", "UNDO_ADDED")


@dataclass(frozen=True, kw_only=True)
class Removals:
    """Shares of removals, 0 to 1: removals ÷ memberships looked at, which are held now or wanted."""

    share: float
    """Over all audiences."""
    audience_key: str = ""
    """The audience with the highest share; empty when none has MIN_MEMBERSHIPS."""
    audience_share: float = 0.0
    """Its share."""
    audience_removes: int = 0
    """Its removals."""


def count_removals(changes: pd.DataFrame, beside: Mapping[str, int]) -> Removals:
    """Measure the removals among *changes*; *beside* holds audience → memberships looked at beside those."""
    codes, keys = encode(text_array(changes["audience_key"]))
    is_removal = numbers(pc.equal(text_array(changes["operation"]), text("remove")), null=False).astype(
        np.bool_
    )
    stays = numbers(pc.is_in(text_array(changes["reason_code"]), value_set=text_array(pd.Series(_STAYS))))
    is_known = codes != NONE
    removed = np.bincount(codes[is_known & is_removal], minlength=len(keys))
    looked_at = removed + np.bincount(codes[is_known & ~is_removal & stays], minlength=len(keys))
    looked_at = looked_at + np.array([beside.get(key, 0) for key in keys.to_pylist()], np.int64)
    elsewhere = sum(beside.values()) - sum(beside.get(key, 0) for key in keys.to_pylist())
    whole = int(looked_at.sum()) + elsewhere
    share = int(removed.sum()) / whole if whole else 0.0
    shares = np.where(looked_at >= MIN_MEMBERSHIPS, removed / np.maximum(looked_at, 1), 0.0)
    if not shares.any():
        return Removals(share=share)
    most = int(shares.argmax())
    return Removals(
        share=share,
        audience_key=keys[most].as_py(),
        audience_share=float(shares[most]),
        audience_removes=int(removed[most]),
    )
