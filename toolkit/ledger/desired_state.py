"""What is asked for: the latest value of every membership and trait, contacts, and what was not carried out.

Beside it: which subscribers people reach because of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State
from toolkit.frames import empty_table, places_in, to_arrow, to_frame, to_table, without
from toolkit.sync.plan import REACHED_COLUMNS

from .database import Database
from .schema import held, memberships, people, reached, read_frame, records, replaced, runs, traits, upsert


class _Part(NamedTuple):
    """One part of a state, and where it is kept."""

    name: str
    table: sa.Table
    columns: Mapping[str, str]
    key: str
    """What tells two rows of a person apart."""
    value: str
    stored: sa.Select[Any]
    """The rows of a shop, in the order of their keys."""


def _stored(table: sa.Table, columns: Iterable[str]) -> sa.Select[Any]:
    query = sa.select(*(table.c[name] for name in columns)).where(table.c.shop_id == sa.bindparam("shop"))
    return query.order_by(*(column for column in table.primary_key if column.name != "shop_id"))


def _part(table: sa.Table, columns: Mapping[str, str], key: str, value: str = "") -> _Part:
    return _Part(table.name, table, columns, key, value, _stored(table, columns))


_VALUES = (
    _part(memberships, MEMBERSHIP_COLUMNS, "audience_key", "member"),
    _part(traits, TRAIT_COLUMNS, "trait_key", "value"),
)
_PARTS = (*_VALUES, _part(people, PEOPLE_COLUMNS, "person"))
_REACHED = _stored(reached, REACHED_COLUMNS).where(reached.c.left_in.is_(None))
_FAILURE = "failure"
"""The cause that holds nothing back: the next run takes it up by itself."""
_HELD_ROW = sa.delete(held).where(
    held.c.shop_id == sa.bindparam("shop"),
    *(held.c[name] == sa.bindparam(f"its_{name}") for name in ("kind", "person", "key")),
)


class DesiredState(Database):
    """The part of the ledger that keeps what is asked for."""

    def load_state(self, shop_id: str) -> State:
        """Return the memberships, traits and people that earlier live runs of the shop left."""
        with self._reading() as connection:
            return State(
                **{
                    part.name: read_frame(connection, part.stored, part.columns, shop=shop_id)
                    for part in _PARTS
                }
            )

    def save_state(self, shop_id: str, run_id: str, state: State) -> None:
        """Write what *state* has and the ledger has not, and keep the values that it replaces."""
        with self._writing() as connection:
            for part in _VALUES:
                columns = {**part.columns, "run_id": "str"}
                with_run = part.stored.add_columns(part.table.c.run_id)
                before = read_frame(connection, with_run, columns, shop=shop_id)
                new, other = _compared(getattr(state, part.name), before, part, run_id)
                for rows in records(new, shop_id=shop_id):
                    upsert(connection, part.table, rows)
                for rows in records(other, shop_id=shop_id):
                    upsert(connection, replaced, [_replaced(row, run_id, part.key) for row in rows])
            known = read_frame(connection, _PARTS[2].stored, PEOPLE_COLUMNS, shop=shop_id)
            for rows in records(_new(state.people, known), shop_id=shop_id):
                upsert(connection, people, rows)

    def take_back(self, shop_id: str, run_id: str) -> int:
        """Put back the values that a run replaced, forget those it brought, and return how many there were.

        Values that later runs replaced in turn are theirs, and stay.
        """
        count = 0
        with self._writing() as connection:
            for _, table, _, key, *_ in _VALUES:
                mine = (table.c.shop_id == shop_id) & (table.c.run_id == run_id)
                ours = {
                    tuple(row)
                    for row in connection.execute(sa.select(table.c.person, table.c[key]).where(mine))
                }
                of_run = (replaced.c.shop_id == shop_id) & (replaced.c.run_id == run_id)
                kept = connection.scalars(sa.select(replaced.c.word).where(of_run, replaced.c[key] != ""))
                rows = [row for row in map(json.loads, kept) if (row["person"], row[key]) in ours]
                connection.execute(sa.delete(table).where(mine))
                upsert(connection, table, rows)
                count += len(ours)
            again = sa.update(reached).where(reached.c.shop_id == shop_id, reached.c.left_in == run_id)
            connection.execute(again.values(left_in=None))
        return count

    def load_newer_values(self, shop_id: str, run_id: str) -> pd.DataFrame:
        """Return person, audience_key and trait_key (one of them null) of the values of later runs."""
        began = sa.select(runs.c.started_at).where(runs.c.run_id == run_id).scalar_subquery()
        later = sa.select(runs.c.run_id).where(runs.c.shop_id == shop_id, runs.c.started_at > began)
        columns = dict.fromkeys(("person", "audience_key", "trait_key"), "str")
        found = [
            self._load_frame(
                sa.select(table.c.person, table.c[key]).where(
                    table.c.shop_id == shop_id, table.c.run_id.in_(later)
                ),
                columns,
            )
            for _, table, _, key, *_ in _VALUES
        ]
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
        wanted = new.after(before)
        about = {"shop_id": shop_id, "run_id": run_id, "cause": cause}
        with self._writing() as connection:
            for part in _PARTS:
                theirs = getattr(before, part.name)
                if cause != _FAILURE:
                    theirs = _new(theirs, getattr(new, part.name))
                for rows in _held_rows(part, _new(getattr(wanted, part.name), theirs)):
                    upsert(connection, held, [{**row, **about} for row in rows])

    def load_held(self, shop_id: str, *, chosen: bool = False) -> State:
        """Return what a failure held, and with *chosen* also what a limit or a person holds back."""
        query = sa.select(held.c.kind, held.c.word).where(held.c.shop_id == shop_id)
        if not chosen:
            query = query.where(held.c.cause == _FAILURE)
        found = self._load(query.order_by(held.c.person, held.c.key))
        return State(
            **{
                part.name: _frame([row["word"] for row in found if row["kind"] == part.name], part.columns)
                for part in _PARTS
            }
        )

    def release_held(self, shop_id: str, state: State) -> None:
        """Let go of what was held and *state* has, or replaces by a newer value."""
        before = self.load_held(shop_id, chosen=True)
        if before.is_empty:
            return
        left = _without(before, state)
        if not left.is_empty:
            left = _without(state.after(left), state)
        persons = pd.concat([getattr(left, part.name)["person"] for part in _PARTS])
        left = replace(left, people=before.people[before.people["person"].isin(persons)])
        with self._writing() as connection:
            for part in _PARTS:
                for rows in _held_rows(part, _new(getattr(before, part.name), getattr(left, part.name))):
                    named = [{f"its_{name}": row[name] for name in ("kind", "person", "key")} for row in rows]
                    connection.execute(_HELD_ROW, [{"shop": shop_id, **its} for its in named])

    def discard_held(self, shop_id: str) -> None:
        """Forget what a limit or a person holds back."""
        with self._writing() as connection:
            connection.execute(sa.delete(held).where(_is_chosen(shop_id)))

    def count_held(self, shop_id: str) -> dict[str, int]:
        """Return run → memberships and traits that a limit or a person holds back."""
        query = sa.select(held.c.run_id, sa.func.count().label("count")).where(
            _is_chosen(shop_id), held.c.kind != "people"
        )
        found = self._load(query.group_by(held.c.run_id).order_by(held.c.run_id))
        return {row["run_id"]: row["count"] for row in found}

    # --- the subscribers that people reach ------------------------------------------------------------------

    def load_reached(self, shop_id: str) -> pd.DataFrame:
        """Return REACHED_COLUMNS: what live runs reached, but not where nothing is left of the person."""
        return self._load_frame(_REACHED, REACHED_COLUMNS, shop=shop_id)

    def save_reached(self, shop_id: str, pairs: pd.DataFrame, *, left_in: str | None = None) -> None:
        """Write REACHED_COLUMNS; *left_in* is the run since which nothing of these people is left there."""
        with self._writing() as connection:
            for rows in records(pairs, shop_id=shop_id, left_in=left_in):
                upsert(connection, reached, rows)


def _compared(
    now: pd.DataFrame, before: pd.DataFrame, part: _Part, run_id: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to write, and the earlier rows whose value they change.

    A value that only comes again keeps the run that brought it.
    """
    if before.empty:
        return now.assign(run_id=run_id), before
    keys = ["person", part.key]
    compared = [*keys, part.value, "message_id", "timestamp"]
    new = now[places_in(to_arrow(now, compared), to_arrow(before, compared)) < 0]
    if new.empty:
        return new, before.head(0)
    at = places_in(to_arrow(new, keys), to_arrow(before, keys))
    earlier = before.iloc[at[at >= 0]]
    is_other = earlier[part.value].to_numpy() != new.loc[at >= 0, part.value].to_numpy()
    brought = np.full(len(new), run_id, object)
    brought[at >= 0] = np.where(is_other, run_id, earlier["run_id"].to_numpy(object))
    return new.assign(run_id=brought), earlier[is_other]


def _replaced(row: Mapping[str, Any], run_id: str, key: str) -> dict[str, Any]:
    # Times are whole numbers already, as the database has them.
    about = {"run_id": run_id, "shop_id": row["shop_id"], "person": row["person"], "word": json.dumps(row)}
    return {"audience_key": "", "trait_key": "", **about, key: row[key]}


def _held_rows(part: _Part, frame: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    for rows in records(frame):
        yield [
            {"kind": part.name, "person": row["person"], "key": row[part.key], "word": json.dumps(row)}
            for row in rows
        ]


def _frame(texts: Sequence[str], columns: Mapping[str, str]) -> pd.DataFrame:
    if not texts:
        return empty_table(columns)
    rows = [json.loads(text) for text in texts]
    return to_frame(to_table({name: [row[name] for row in rows] for name in columns}, columns), columns)


def _without(state: State, other: State) -> State:
    """Return what *state* has and *other* has not."""
    found = {part.name: _new(getattr(state, part.name), getattr(other, part.name)) for part in _PARTS}
    return State(**found)


def _new(after: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    return without(after, before) if len(after) and len(before) else after


def _is_chosen(shop_id: str) -> sa.ColumnElement[bool]:
    """Return the condition of what a limit or a person holds back."""
    return (held.c.shop_id == shop_id) & (held.c.cause != _FAILURE)
