"""Computed traits: what the subscribers hold in their place, and for which there is no room."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import ParameterError
from toolkit.frames import encode, numbers, text_array
from toolkit.postscript import api

from .columns import NONE, TEXT
from .reaching import PlanRows

_RESERVED = api.AUDIENCES_PROPERTY.casefold()


@dataclass(frozen=True, kw_only=True, eq=False)
class TraitValues:
    """The values that are asked for, beside what is held."""

    rows: np.ndarray
    """Which of the rows are traits."""
    wanted: pa.Array
    """JSON text."""
    held: pa.Array
    """JSON text; null where there is none."""
    was_read: np.ndarray
    """False where it is not known what is held."""

    @property
    def is_same(self) -> np.ndarray:
        """Tell where the subscriber holds the value."""
        same = numbers(pc.equal(self.held, self.wanted), null=False)
        # Whether Postscript keeps an empty list is not known; as with audiences, none and empty are the same.
        none = numbers(pc.equal(self.held, "null"), null=True)
        return np.asarray(same | (none & numbers(pc.equal(self.wanted, "[]"))))


def read_values(rows: PlanRows) -> TraitValues:
    """Read what is held of the traits that are asked for; each text once."""
    asked = np.flatnonzero(rows.trait != NONE)
    subscriber, trait = rows.subscriber[asked], rows.trait[asked]
    codes, held_texts = encode(rows.held.properties)
    codes = np.append(codes, NONE)[subscriber]
    pairs, questions = pd.factorize(codes * len(rows.traits) + trait)
    order = np.argsort(questions)
    places, names = np.divmod(questions[order], max(len(rows.traits), 1))
    parsed: dict[str, str | None] = {}
    last = NONE
    found: list[str | None] = [None] * len(questions)
    known = np.zeros(len(questions), np.bool_)
    keys, names = rows.traits.to_pylist(), names.tolist()
    for question, place, name in zip(order.tolist(), places.tolist(), names, strict=True):
        if place != last:
            parsed, last = json.loads(held_texts[place].as_py()) if place >= 0 else {}, place
        found[question] = parsed.get(keys[name])
        known[question] = keys[name] in parsed
    return TraitValues(
        rows=asked,
        wanted=text_array(rows.asked["value"]).take(pa.array(asked)),
        held=pa.array(found, TEXT).take(pa.array(pairs)),
        was_read=known[pairs],
    )


def is_reserved(rows: PlanRows, values: TraitValues) -> np.ndarray:
    """Tell which traits may have the name of the list of audiences."""
    # Stripped and folded: how Postscript compares the names of properties is not known.
    names = [name.strip().casefold() == _RESERVED for name in rows.traits.to_pylist()]
    return np.asarray(np.array(names, np.bool_)[rows.trait[values.rows]])


def check_were_read(values: TraitValues, is_decided: np.ndarray) -> None:
    """Raise ParameterError unless the traits that are decided by what is held were read."""
    if not values.was_read[is_decided[values.rows]].all():
        raise ParameterError(
            "The subscribers were read without the properties of the traits. "
            "Give find_subscribers() trait_keys=state.trait_keys."
        )


def is_beyond_limit(
    rows: PlanRows, values: TraitValues, *, is_entry: np.ndarray, is_set: np.ndarray
) -> np.ndarray:
    """Tell for which new properties a subscriber has no room; the list of audiences goes first."""
    new = values.rows[is_set[values.rows] & ~numbers(values.held.is_valid())]
    subscriber = rows.subscriber[new]
    room = api.MAX_PROPERTIES - rows.held.property_count
    gets_list = np.zeros(len(room), np.bool_)
    gets_list[rows.subscriber[is_entry]] = True
    room = room - (gets_list & ~rows.held.has_property)
    beyond = np.zeros(len(rows.trait), np.bool_)
    beyond[new] = pd.Series(subscriber).groupby(subscriber).cumcount().to_numpy() >= room[subscriber]
    return beyond
