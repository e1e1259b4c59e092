"""What is written: one row a subscriber, however many audiences and traits change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from toolkit.frames import TEXT, json_text, numbers, put_together, text_array
from toolkit.postscript import api

from .columns import frame, join_groups, take
from .deciding import CODE, OPERATIONS, REMOVALS, PlanRows, is_any

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


def properties_of(text: str) -> dict[str, Any]:
    """Return the properties in a cell of ``before`` or ``after``.

    >>> properties_of('{"Segment Audiences":["vip"]}')
    {'Segment Audiences': ['vip']}
    """
    found: dict[str, Any] = json.loads(text)
    return found


def writes_table(rows: PlanRows, reason: np.ndarray) -> pd.DataFrame:
    """Return WRITE_COLUMNS in the order of sending."""
    wanted = np.flatnonzero(is_any(reason, OPERATIONS))
    is_removal = is_any(reason[wanted], REMOVALS)
    write, subscriber = pd.factorize(rows.subscriber[wanted])
    has_removal = np.zeros(len(subscriber), np.bool_)
    has_removal[write[is_removal]] = True
    count, has_list = (rows.held[name].to_numpy()[subscriber] for name in ("property_count", "has_property"))
    turn = np.where(has_removal, 1, 3)  # those with a removal first
    for kind in (has_removal, ~has_removal):
        # The first write of each kind shows whether writing one property keeps the others.
        turn[np.flatnonzero(kind & (count > has_list))[:1]] -= 1
    order = np.argsort(turn, kind="stable")
    subscriber, write = subscriber[order], np.argsort(order)[write]
    is_set = reason[wanted] == CODE["TRAIT_NEW_VALUE"]
    lists = _list_members(rows, wanted[~is_set], write[~is_set], is_removal[~is_set])
    traits = _trait_members(rows, wanted[is_set], write[is_set])
    columns = {
        "subscriber_id": take(text_array(rows.held["subscriber_id"]), subscriber),
        "before": _objects(len(subscriber), lists[:2], traits[:2]),
        "after": _objects(len(subscriber), lists[::2], traits[::2]),
        "has_removal": has_removal[order],
        "property_count": count[order],
        "has_property": has_list[order],
    }
    return frame(columns, WRITE_COLUMNS)


def _objects(count: int, *members: tuple[np.ndarray, pa.Array]) -> pa.Array:
    """Return the JSON object of each write, of the members whose writes and texts are given."""
    texts = pa.concat_arrays([text for _, text in members])
    write = np.concatenate([write for write, _ in members])[numbers(texts.is_valid())]
    return put_together("{", join_groups(texts.drop_null(), write, count, ",").fill_null(""), "}")


def _list_members(
    rows: PlanRows, wanted: np.ndarray, write: np.ndarray, is_removal: np.ndarray
) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """Return the writes that change the list of audiences, and that property before and after."""
    owner, writes = pd.factorize(write)
    lists = np.empty(len(writes), np.int64)
    lists[owner] = rows.list_of[wanted]
    afters = rows.lists.after(lists, owner, rows.key[wanted], is_removal)
    head = json_text(api.AUDIENCES_PROPERTY) + ":"
    return writes, put_together(head, rows.lists.texts.take(pa.array(lists))), put_together(head, afters)


def _trait_members(
    rows: PlanRows, wanted: np.ndarray, write: np.ndarray
) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """Return the writes of the traits that are set, and each property before, null for none, and after."""
    heads = pa.array([json_text(name) + ":" for name in rows.traits], TEXT).take(pa.array(rows.trait[wanted]))
    held, asked = rows.values.take(pa.array(wanted)), text_array(rows.asked["value"].take(wanted))
    return write, put_together(heads, held), put_together(heads, asked)
