"""What a run asked for and could not carry out: kept until a later run does, or newer events replace it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd
import sqlalchemy as sa

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State
from toolkit.frames import to_frame, to_table, without

from .database import upsert
from .frames import records
from .schema import held
from .words import Words

_KINDS = {
    "memberships": (MEMBERSHIP_COLUMNS, "audience_key"),
    "traits": (TRAIT_COLUMNS, "trait_key"),
    "people": (PEOPLE_COLUMNS, "person"),
}
"""Part of a state → its columns, and what tells two rows of a person apart."""
_FAILURE = "failure"
"""The cause that holds nothing back: the next run takes it up by itself."""


class HeldWords(Words):
    """The part of the ledger that keeps what is asked for and was not carried out."""

    def hold(self, shop_id: str, run_id: str, state: State, *, cause: str) -> None:
        """Keep what *state* asks for and the ledger does not remember; a newer word that is held stays.

        *cause* is ``failure``, which the next run takes up by itself, or ``limit`` or ``person``, which wait.
        """
        asked = _rest(state, self.load_state(shop_id))
        if asked.is_empty:
            return
        before = self.load_held(shop_id, chosen=True)
        wanted = asked.after(before)
        with self._writing() as connection:
            for name in _KINDS:
                theirs = getattr(before, name)
                if cause != _FAILURE:
                    theirs = without(theirs, getattr(asked, name))
                for rows in _rows(name, without(getattr(wanted, name), theirs)):
                    about = {"shop_id": shop_id, "run_id": run_id, "cause": cause}
                    upsert(connection, held, [{**about, **row} for row in rows])

    def load_held(self, shop_id: str, *, chosen: bool = False) -> State:
        """Return what a failure held, and with *chosen* also what a limit or a person holds back."""
        query = sa.select(held.c.kind, held.c.word).where(held.c.shop_id == shop_id)
        if not chosen:
            query = query.where(held.c.cause == _FAILURE)
        found: dict[str, list[Mapping[str, object]]] = {name: [] for name in _KINDS}
        with self._reading() as connection:
            for kind, word in connection.execute(query.order_by(held.c.person, held.c.key)):
                found[kind].append(json.loads(word))
        return State(**{name: _frame(rows, _KINDS[name][0]) for name, rows in found.items()})

    def release_held(self, shop_id: str, state: State) -> None:
        """Let go of what was held and *state* has, or says otherwise by a newer word."""
        before = self.load_held(shop_id, chosen=True)
        left = _rest(before, state)
        if not left.is_empty:
            left = _rest(state.after(left), state)
        persons = pd.concat([left.memberships["person"], left.traits["person"]])
        mine = held.c.shop_id == shop_id
        with self._writing() as connection:
            if persons.empty:
                connection.execute(sa.delete(held).where(mine))
                return
            left = replace(left, people=before.people[before.people["person"].isin(persons)])
            named = [held.c[name] == sa.bindparam(f"_{name}") for name in ("kind", "person", "key")]
            for name in _KINDS:
                for rows in _rows(name, without(getattr(before, name), getattr(left, name))):
                    keys = [{f"_{n}": row[n] for n in ("kind", "person", "key")} for row in rows]
                    connection.execute(sa.delete(held).where(mine, *named), keys)

    def discard_held(self, shop_id: str) -> None:
        """Forget what a limit or a person holds back."""
        chosen = (held.c.shop_id == shop_id) & (held.c.cause != _FAILURE)
        with self._writing() as connection:
            connection.execute(sa.delete(held).where(chosen))

    def count_held(self, shop_id: str) -> dict[str, int]:
        """Return run → memberships and traits that a limit or a person holds back."""
        chosen = (held.c.shop_id == shop_id) & (held.c.cause != _FAILURE) & (held.c.kind != "people")
        query = sa.select(held.c.run_id, sa.func.count()).where(chosen)
        with self._reading() as connection:
            rows = connection.execute(query.group_by(held.c.run_id).order_by(held.c.run_id))
            return {run_id: count for run_id, count in rows}  # noqa: C416 - rows are no pairs to mypy


def _rows(kind: str, frame: pd.DataFrame) -> Iterator[list[dict[str, object]]]:
    key = _KINDS[kind][1]
    for rows in records(frame):
        yield [
            {"kind": kind, "person": row["person"], "key": row[key], "word": json.dumps(row)} for row in rows
        ]


def _frame(rows: list[Mapping[str, object]], columns: dict[str, str]) -> pd.DataFrame:
    return to_frame(to_table({name: [row[name] for row in rows] for name in columns}, columns), columns)


def _rest(state: State, other: State) -> State:
    """Return what *state* has and *other* has not."""
    return State(**{name: without(getattr(state, name), getattr(other, name)) for name in _KINDS})
