"""What is written: one row a subscriber, however many audiences and traits change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import json_text, numbers
from toolkit.postscript import api

from .columns import TEXT, frame, number, take, text
from .deciding import REMOVE, SET
from .lists import names_of, new_lists
from .reaching import PlanRows
from .traits import TraitValues

WRITE_COLUMNS = {
    "subscriber_id": "str",
    "before": "str",
    "after": "str",
    "has_removal": "bool",
    "property_count": "int64",
    "has_property": "bool",
}
"""A write frame: one row a subscriber to PATCH.

``before`` and ``after`` are JSON objects of the properties that change, as properties_of() reads them; a
trait that had no value is not in ``before``. ``property_count`` counts all properties held now, and
``has_property`` tells whether the list of audiences is one of them.
"""


_COMPARED = 8
"""Changes of one list up to which two writes are compared; with more they are taken to differ."""


def properties_of(text: str) -> dict[str, Any]:
    """Return the properties in a cell of ``before`` or ``after``.

    >>> properties_of('{"Segment Audiences":["vip"]}')
    {'Segment Audiences': ['vip']}
    """
    found: dict[str, Any] = json.loads(text)
    return found


def writes_table(rows: PlanRows, values: TraitValues, operation: np.ndarray) -> pd.DataFrame:
    """Return WRITE_COLUMNS in the order of sending; *operation* holds each row's place in OPERATIONS."""
    wanted = np.flatnonzero(operation)
    operation = operation[wanted]
    write, subscriber = number(rows.subscriber[wanted], len(rows.held.ids))
    has_removal = np.zeros(len(subscriber), np.bool_)
    has_removal[write[operation == REMOVE]] = True
    has_others = rows.held.property_count[subscriber] > rows.held.has_property[subscriber]
    order = _sending_order(has_removal, has_others)
    subscriber, write = subscriber[order], np.argsort(order)[write]
    is_set = operation == SET
    is_removal = operation[~is_set] == REMOVE
    place, before, after = _list_texts(rows, wanted[~is_set], write[~is_set], is_removal, subscriber)
    traits = _trait_texts(rows, values, wanted[is_set], write[is_set], len(subscriber))
    columns = {
        "subscriber_id": take(rows.held.ids, subscriber),
        "before": _objects(place, before, traits[0]),
        "after": _objects(place, after, traits[1]),
        "has_removal": has_removal[order],
        "property_count": rows.held.property_count[subscriber],
        "has_property": rows.held.has_property[subscriber],
    }
    return frame(columns, WRITE_COLUMNS)


def _sending_order(has_removal: np.ndarray, has_others: np.ndarray) -> np.ndarray:
    """Return the order: those with a removal first, and before each kind one that has other properties."""
    turn = np.where(has_removal, 1, 3).astype(np.int8)
    for kind in (has_removal, ~has_removal):
        # The first write of each kind shows whether writing one property keeps the others.
        turn[np.flatnonzero(kind & has_others)[:1]] -= 1
    return np.argsort(turn, kind="stable")


def _objects(place: np.ndarray, lists: pa.Array, traits: pa.Array) -> pa.Array:
    """Return the JSON object of each write: its member among *lists*, and those among *traits*, if any."""
    if traits.null_count == len(traits) and (place >= 0).all():  # equal ones are joined once
        return take(_join(lists, pa.nulls(len(lists), TEXT)), place)
    return _join(take(lists, place), traits)


def _join(lists: pa.Array, traits: pa.Array) -> pa.Array:
    both = pc.and_(lists.is_valid(), traits.is_valid())
    comma = pc.if_else(both, text(","), text(""))
    members = (lists.fill_null(""), comma, traits.fill_null(""))
    return pc.binary_join_element_wise(text("{"), *members, text("}"), text(""))


def _list_texts(
    rows: PlanRows, wanted: np.ndarray, write: np.ndarray, is_removal: np.ndarray, subscriber: np.ndarray
) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """Return the property that holds the audiences, before and after, and its place for each write.

    Equal changes are there once; the place is -1 where the list does not change.
    """
    order = np.argsort(write, kind="stable")
    write, key, is_removal = write[order], rows.key[wanted][order], is_removal[order]
    starts = np.flatnonzero(np.diff(write, prepend=-1))
    counts = np.diff(np.append(starts, len(write)))
    lists = rows.held.lists[subscriber[write[starts]]]
    change, is_first = _number_changes(lists, starts, counts, key * 2 + is_removal)
    befores = rows.held.list_texts.take(pa.array(lists[is_first]))
    once = np.repeat(is_first, counts)
    owner = np.repeat(change, counts)[once]
    afters = new_lists(befores, owner, key[once], is_removal[once], names_of(rows.keys.to_pylist()))
    place = np.full(len(subscriber), -1)
    place[write[starts]] = change
    name = text(json_text(api.AUDIENCES_PROPERTY))
    before, after = (pc.binary_join_element_wise(name, found, text(":")) for found in (befores, afters))
    return place, before, after


def _number_changes(
    lists: np.ndarray, starts: np.ndarray, counts: np.ndarray, wish: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number what each write does to which list, and say which writes are the first of their number.

    The wishes of a write stand together, *counts* of them from *starts* on.
    """
    code, width = lists.copy(), wish.max(initial=0) + 1
    longer = np.arange(len(starts))
    known = len(code) + code.max(initial=0) + 1
    for rank in range(min(counts.max(initial=0), _COMPARED)):
        longer = longer[counts[longer] > rank]
        # Beyond all numbers so far: a write with fewer wishes keeps its own.
        code[longer] = (
            known * (rank + 1) + pd.factorize(code[longer] * width + wish[starts[longer] + rank])[0]
        )
    longer = np.flatnonzero(counts > _COMPARED)
    code[longer] = -1 - longer
    change = pd.factorize(code)[0]
    # Numbered as they are met: the first of a number is above all before it.
    is_first = np.diff(np.maximum.accumulate(change), prepend=-1) > 0
    return change, is_first


def _trait_texts(
    rows: PlanRows, values: TraitValues, wanted: np.ndarray, write: np.ndarray, count: int
) -> tuple[pa.Array, pa.Array]:
    """Return the traits that are set, before and after each write."""
    order = np.argsort(write, kind="stable")
    wanted, write = wanted[order], write[order]
    place = pa.array(np.searchsorted(values.rows, wanted))
    names = pa.array([json_text(name) for name in rows.traits.to_pylist()], TEXT)
    name = names.take(pa.array(rows.trait[wanted]))
    before, after = (
        pc.binary_join_element_wise(name, column.take(place), text(":"))
        for column in (values.held, values.wanted)
    )
    had = numbers(before.is_valid())
    return _joined(before.drop_null(), write[had], count), _joined(after, write, count)


def _joined(members: pa.Array, write: np.ndarray, count: int) -> pa.Array:
    """Join the members of each write, which stand together; null for a write without."""
    if not len(members):  # binary_join() would answer with no rows at all
        return pa.nulls(count, TEXT)
    counts = np.bincount(write, minlength=count)
    offsets = np.append(0, np.cumsum(counts))
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, members), text(","))
    return pc.if_else(pa.array(counts > 0), joined, pa.scalar(None, TEXT))
