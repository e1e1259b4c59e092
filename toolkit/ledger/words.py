"""What is asked for: the newest word on every membership and trait, and everybody's contacts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State
from toolkit.frames import places_in, to_arrow, without

from .database import Database, upsert
from .frames import read_frame, records
from .schema import memberships, people, reached, replaced, runs, traits

_KINDS = (
    (memberships, MEMBERSHIP_COLUMNS, "audience_key", "member"),
    (traits, TRAIT_COLUMNS, "trait_key", "value"),
)
"""Table, its columns, the column that says what a word is on, and the one that says what it says."""


class Words(Database):
    """The part of the ledger that keeps what is asked for."""

    def load_state(self, shop_id: str) -> State:
        """Return the memberships, traits and people that earlier live runs of the shop left."""
        return State(
            memberships=self._load(memberships, shop_id, MEMBERSHIP_COLUMNS),
            people=self._load(people, shop_id, PEOPLE_COLUMNS),
            traits=self._load(traits, shop_id, TRAIT_COLUMNS),
        )

    def save_state(self, shop_id: str, run_id: str, state: State) -> None:
        """Write what *state* has that the ledger has not, and keep the words that get another value."""
        known = self._load(people, shop_id, PEOPLE_COLUMNS)
        with self._writing() as connection:
            for table, columns, key, value in _KINDS:
                now = state.memberships if table is memberships else state.traits
                query = _select(table, shop_id, {**columns, "run_id": "str"})
                before = read_frame(connection, query, {**columns, "run_id": "str"})
                new, other = _compared(now, before, key, value, run_id)
                for rows in records(new.assign(shop_id=shop_id)):
                    upsert(connection, table, rows)
                for rows in records(other):
                    upsert(connection, replaced, [_kept(row, run_id, shop_id, key) for row in rows])
            for rows in records(without(state.people, known).assign(shop_id=shop_id)):
                upsert(connection, people, rows)

    def take_back(self, shop_id: str, run_id: str) -> int:
        """Put the words back that a run replaced, forget those it brought, and return how many there were.

        Words that later runs replaced in turn are theirs, and stay.
        """
        count = 0
        with self._writing() as connection:
            for table, _, key, _ in _KINDS:
                mine = (table.c.shop_id == shop_id) & (table.c.run_id == run_id)
                ours = connection.execute(sa.select(table.c.person, table.c[key]).where(mine)).all()
                of_run = (replaced.c.shop_id == shop_id) & (replaced.c.run_id == run_id)
                kept = connection.execute(sa.select(replaced.c.word).where(of_run, replaced.c[key] != ""))
                still = {(row[0], row[1]) for row in ours}
                rows = [json.loads(word) for word in kept.scalars()]
                connection.execute(sa.delete(table).where(mine))
                upsert(connection, table, [row for row in rows if (row["person"], row[key]) in still])
                count += len(ours)
            again = sa.update(reached).where(reached.c.shop_id == shop_id, reached.c.left_in == run_id)
            connection.execute(again.values(left_in=None))
        return count

    def load_newer_words(self, shop_id: str, run_id: str) -> pd.DataFrame:
        """Return person, audience_key and trait_key (one of them null) of the words of later runs."""
        began = sa.select(runs.c.started_at).where(runs.c.run_id == run_id).scalar_subquery()
        later = sa.select(runs.c.run_id).where(runs.c.shop_id == shop_id, runs.c.started_at > began)
        columns = ("person", "audience_key", "trait_key")
        found = []
        with self._reading() as connection:
            for table, *_ in _KINDS:
                query = sa.select(*(table.c[name] for name in columns if name in table.c))
                query = query.where(table.c.shop_id == shop_id, table.c.run_id.in_(later))
                found.append(read_frame(connection, query, dict.fromkeys(columns, "str")))
        return pd.concat(found, ignore_index=True)

    def _load(self, table: sa.Table, shop_id: str, columns: Mapping[str, str]) -> pd.DataFrame:
        with self._reading() as connection:
            return read_frame(connection, _select(table, shop_id, columns), columns)


def _select(table: sa.Table, shop_id: str, columns: Mapping[str, str]) -> sa.Select[Any]:
    query = sa.select(*(table.c[name] for name in columns)).where(table.c.shop_id == shop_id)
    return query.order_by(*(column for column in table.primary_key if column.name != "shop_id"))


def _compared(
    now: pd.DataFrame, before: pd.DataFrame, key: str, value: str, run_id: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to write, and the earlier rows whose value they change.

    A word that is only said again keeps the run that brought its value.
    """
    keys = ["person", key]
    compared = [*keys, value, "message_id", "timestamp"]
    new = now[places_in(to_arrow(now, compared), to_arrow(before, compared)) < 0]
    if new.empty:
        return new, before.head(0)
    at = places_in(to_arrow(new, keys), to_arrow(before, keys))
    earlier = before.iloc[at[at >= 0]]
    is_other = earlier[value].to_numpy() != new.loc[at >= 0, value].to_numpy()
    brought = np.full(len(new), run_id, object)
    brought[at >= 0] = np.where(is_other, run_id, earlier["run_id"].to_numpy(object))
    return new.assign(run_id=brought), earlier[is_other]


def _kept(row: dict[str, Any], run_id: str, shop_id: str, key: str) -> dict[str, Any]:
    # The database's own form: times are whole numbers already.
    word = {name: bool(held) if name == "member" else held for name, held in row.items()}
    none = {"audience_key": "", "trait_key": ""}
    return {
        **none,
        "run_id": run_id,
        "shop_id": shop_id,
        "person": row["person"],
        key: row[key],
        "word": json.dumps({**word, "shop_id": shop_id}),
    }
