"""What is asked for: the latest value of every membership and trait, contacts, and what was not carried out.

Beside it: which subscribers people reach because of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State
from toolkit.frames import places_in, to_arrow, to_frame, to_table, without
from toolkit.sync.plan.matching import REACHED_COLUMNS

from .database import Database, delete, records, shop_rows, upsert
from .schema import held, memberships, people, reached, replaced, runs, traits


class _Part(NamedTuple):
    """One part of a state, and where it is kept."""

    table: sa.Table
    columns: Mapping[str, str]
    key: str
    """What tells two rows of a person apart."""
    value: str = ""


_VALUES = (
    _Part(memberships, MEMBERSHIP_COLUMNS, "audience_key", "member"),
    _Part(traits, TRAIT_COLUMNS, "trait_key", "value"),
)
_PARTS = {part.table.name: part for part in (*_VALUES, _Part(people, PEOPLE_COLUMNS, "person"))}
"""Name of a field of State → the part."""
_FAILURE = "failure"
"""The cause that holds nothing back: the next run takes it up by itself."""


class DesiredState(Database):
    """The part of the ledger that keeps what is asked for."""

    def load_state(self, shop_id: str) -> State:
        """Return the memberships, traits and people that earlier live runs of the shop left."""
        with self._reading() as connection:
            return _state(lambda _, part: shop_rows(connection, part.table, part.columns, shop_id))

    def save_state(self, shop_id: str, run_id: str, state: State) -> None:
        """Write what *state* has and the ledger has not, and keep the values that it replaces."""
        with self._writing() as connection:
            for part in _VALUES:
                before = shop_rows(connection, part.table, {**part.columns, "run_id": "str"}, shop_id)
                new, other = _compared(getattr(state, part.table.name), before, part, run_id)
                upsert(connection, part.table, records(new, shop_id=shop_id))
                upsert(connection, replaced, _replaced(records(other, shop_id=shop_id), run_id, part.key))
            new = without(state.people, shop_rows(connection, people, PEOPLE_COLUMNS, shop_id))
            upsert(connection, people, records(new, shop_id=shop_id))

    def take_back(self, shop_id: str, run_id: str) -> int:
        """Put back the values that a run replaced, forget those it brought, and return how many there were.

        Values that later runs replaced in turn are theirs, and stay.
        """
        count = 0
        of_run = (replaced.c.shop_id == shop_id) & (replaced.c.run_id == run_id)
        again = sa.update(reached).filter_by(shop_id=shop_id, left_in=run_id).values(left_in=None)
        with self._writing() as connection:
            for table, _, key, _ in _VALUES:
                ours = (table.c.shop_id == shop_id) & (table.c.run_id == run_id)
                still = ours & (table.c.person == replaced.c.person) & (table.c[key] == replaced.c[key])
                kept = sa.select(replaced.c.word).join(table, still).where(of_run, replaced.c[key] != "")
                rows = [json.loads(text) for text in connection.scalars(kept)]
                count += connection.execute(sa.delete(table).where(ours)).rowcount
                upsert(connection, table, rows)
            connection.execute(again)
        return count

    def load_newer_values(self, shop_id: str, run_id: str) -> pd.DataFrame:
        """Return person, audience_key and trait_key (one of them null) of the values of later runs."""
        began = sa.select(runs.c.started_at).where(runs.c.run_id == run_id).scalar_subquery()
        later = sa.select(runs.c.run_id).where(runs.c.shop_id == shop_id, runs.c.started_at > began)
        columns = dict.fromkeys(("person", "audience_key", "trait_key"), "str")
        found = []
        for table, _, key, _ in _VALUES:
            newer = sa.select(table.c.person, table.c[key]).where(table.c.run_id.in_(later))
            found.append(self._load_frame(newer.filter_by(shop_id=shop_id), columns))
        return pd.concat(found, ignore_index=True)

    # --- what was not carried out -------------------------------------------------------------------------

    def hold(self, shop_id: str, run_id: str, state: State, *, cause: str) -> None:
        """Keep what *state* asks for and the ledger does not remember; a newer value that is held stays.

        *cause* is ``failure``, which the next run takes up by itself, or ``limit`` or ``person``, which wait.
        """
        new = _without(state, self.load_state(shop_id))
        if new.is_empty:
            return
        before = self.load_held(shop_id, chosen=True)
        # What a limit or a person holds has its run and cause, also where nothing but these are new.
        kept = before if cause == _FAILURE else _without(before, new)
        held_now = _without(new.after(before), kept)
        with self._writing() as connection:
            upsert(connection, held, _held_rows(held_now, shop_id=shop_id, run_id=run_id, cause=cause))

    def load_held(self, shop_id: str, *, chosen: bool = False) -> State:
        """Return what a failure held, and with *chosen* also what a limit or a person holds back."""
        query = sa.select(held).filter_by(shop_id=shop_id, **({} if chosen else {"cause": _FAILURE}))
        found = self._load(query.order_by(*held.primary_key))

        def load(name: str, part: _Part) -> pd.DataFrame:
            rows = [json.loads(row["word"]) for row in found if row["kind"] == name]
            columns = {column: [row[column] for row in rows] for column in part.columns}
            return to_frame(to_table(columns, part.columns), part.columns)

        return _state(load)

    def release_held(self, shop_id: str, state: State) -> None:
        """Let go of what was held and *state* has, or replaces by a newer value."""
        before = self.load_held(shop_id, chosen=True)
        if before.is_empty:
            return
        left = _without(before, state)
        if not left.is_empty:
            left = _without(state.after(left), state)
        persons = pd.concat([left.memberships["person"], left.traits["person"], left.people["person"]])
        left = replace(left, people=before.people[before.people["person"].isin(persons)])
        with self._writing() as connection:
            delete(connection, held, _held_rows(_without(before, left), shop_id=shop_id))

    def discard_held(self, shop_id: str) -> None:
        """Forget what a limit or a person holds back."""
        with self._writing() as connection:
            connection.execute(sa.delete(held).filter_by(shop_id=shop_id).where(held.c.cause != _FAILURE))

    def count_held(self, shop_id: str) -> dict[str, int]:
        """Return run → memberships and traits that a limit or a person holds back."""
        counted = sa.select(held.c.run_id, sa.func.count().label("count")).filter_by(shop_id=shop_id)
        query = counted.where(held.c.cause != _FAILURE, held.c.kind != "people")
        found = self._load(query.group_by(held.c.run_id).order_by(held.c.run_id))
        return {row["run_id"]: row["count"] for row in found}

    # --- the subscribers that people reach ------------------------------------------------------------------

    def load_reached(self, shop_id: str) -> pd.DataFrame:
        """Return REACHED_COLUMNS: what live runs reached, but not where nothing is left of the person."""
        query = sa.select(*reached.c[*REACHED_COLUMNS]).filter_by(shop_id=shop_id, left_in=None)
        return self._load_frame(query.order_by(*reached.primary_key), REACHED_COLUMNS)

    def save_reached(self, shop_id: str, pairs: pd.DataFrame, *, left_in: str | None = None) -> None:
        """Write REACHED_COLUMNS; *left_in* is the run since which nothing of these people is left there."""
        with self._writing() as connection:
            upsert(connection, reached, records(pairs, shop_id=shop_id, left_in=left_in))


def _state(make: Callable[[str, _Part], pd.DataFrame]) -> State:
    return State(**{name: make(name, part) for name, part in _PARTS.items()})


def _without(state: State, other: State) -> State:
    """Return what *state* has and *other* has not."""
    return _state(lambda name, _: without(getattr(state, name), getattr(other, name)))


def _compared(
    now: pd.DataFrame, before: pd.DataFrame, part: _Part, run_id: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to write, and the earlier rows whose value they change.

    A value that only comes again keeps the run that brought it.
    """
    new = without(now, before[[*part.columns]])
    keys = ["person", part.key]
    places = places_in(to_arrow(new, keys), to_arrow(before, keys))
    known = np.flatnonzero(places >= 0)
    earlier = before.take(places[known])
    is_other = earlier[part.value].to_numpy() != new[part.value].to_numpy()[known]
    brought = np.full(len(new), run_id, object)
    brought[known[~is_other]] = earlier.loc[~is_other, "run_id"]
    return new.assign(run_id=brought), earlier[is_other]


def _replaced(rows: Iterator[dict[str, Any]], run_id: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of `replaced` that keep these; in them, times are whole numbers as in the database."""
    for row in rows:
        about = {
            "run_id": run_id,
            "shop_id": row["shop_id"],
            "person": row["person"],
            "word": json.dumps(row),
        }
        yield {"audience_key": "", "trait_key": "", **about, key: row[key]}


def _held_rows(state: State, **about: str) -> Iterator[dict[str, Any]]:
    for name, part in _PARTS.items():
        for row in records(getattr(state, name)):
            kept = {"kind": name, "person": row["person"], "key": row[part.key], "word": json.dumps(row)}
            yield {**kept, **about}
