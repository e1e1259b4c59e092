"""Runs, and how their events and changes ended."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa

from toolkit.errors import UnknownRunError
from toolkit.plan import CHANGE_COLUMNS
from toolkit.runs import RunRecord

from .database import Database, upsert
from .frames import insert, read_objects, records, typed
from .schema import changes, runs, totals

_KEPT_OUT_OF_CHANGES = ("unchanged", "waiting")
"""Statuses that most rows of most runs have: counted in totals, not stored row by row."""
_KEYS = ("audience_key", "trait_key")
"""What a row is about: one of them, the other is empty; a primary key holds no null."""


class History(Database):
    """The part of the ledger that keeps runs."""

    def save_run(self, run: RunRecord) -> None:
        """Write a run's record, over an earlier one of the same id."""
        row = {**vars(run), "facts": json.dumps(run.facts)}
        with self._writing() as connection:
            upsert(connection, runs, [row])

    def get_run(self, run_id: str = "") -> RunRecord:
        """Return a run's record, the latest when no id is given; UnknownRunError when there is none."""
        query = sa.select(runs).order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(1)
        if run_id:
            query = query.where(runs.c.run_id == run_id)
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            what = f'holds no run "{run_id}"' if run_id else "holds no run yet"
            raise UnknownRunError(f"The ledger {self.name} {what}. Run 3_sync_audiences first.")
        return _record(row)

    def load_latest_runs(self) -> list[RunRecord]:
        """Return the latest live run of each shop, else its latest dry run.

        Live runs come first, and the later before the earlier.
        """
        latest = ((runs.c.mode == "live").desc(), runs.c.started_at.desc(), runs.c.run_id.desc())
        query = sa.select(runs.c.shop_id, runs.c.run_id).order_by(*latest)
        first: dict[str, str] = {}
        with self._reading() as connection:
            for shop_id, run_id in connection.execute(query):
                first.setdefault(shop_id, run_id)
        return [self.get_run(run_id) for run_id in first.values()]

    def load_runs(self, until: RunRecord, *, limit: int) -> list[RunRecord]:
        """Return this run and those of its shop that began before it, the latest first."""
        return self._runs(_up_to(until).limit(limit))

    def find_previous(self, record: RunRecord) -> RunRecord | None:
        """Return the run of the same shop and mode that began last before this one, and has ended."""
        query = _up_to(record).where(
            runs.c.run_id != record.run_id, runs.c.mode == record.mode, runs.c.finished_at.is_not(None)
        )
        return next(iter(self._runs(query.limit(1))), None)

    def _runs(self, query: sa.Select[Any]) -> list[RunRecord]:
        with self._reading() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def save_results(self, run_id: str, events: pd.DataFrame, changed: pd.DataFrame) -> None:
        """Write how the events and changes of a run ended: totals of all, rows of those worth reading."""
        rows = changed[~changed["status"].isin(_KEPT_OUT_OF_CHANGES)]
        rows = rows.reindex(columns=[*CHANGE_COLUMNS]).assign(run_id=run_id)
        rows = rows.fillna(dict.fromkeys(_KEYS, ""))[[*changes.columns.keys()]]
        with self._writing() as connection:
            for table in (totals, changes):
                connection.execute(sa.delete(table).where(table.c.run_id == run_id))
            for kind, frame in (("event", events), ("change", changed)):
                for counted in _count(run_id, kind, frame):
                    insert(connection, totals, counted)
            for some in records(rows):
                insert(connection, changes, some)

    def load_totals(self, run_id: str) -> pd.DataFrame:
        """Return kind, audience_key, trait_key, status, reason_code and count, one row a combination."""
        with self._reading() as connection:
            frame = read_objects(connection, sa.select(totals).where(totals.c.run_id == run_id))
        return frame.drop(columns="run_id").infer_objects()

    def load_changes(self, run_id: str, *, statuses: Collection[str] = ()) -> pd.DataFrame:
        """Return the changes of a run that are worth reading (CHANGE_COLUMNS): not unchanged, not waiting.

        With *statuses* only those that ended so.
        """
        query = sa.select(changes).where(changes.c.run_id == run_id)
        if statuses:
            query = query.where(changes.c.status.in_([*map(str, sorted(statuses))]))
        query = query.order_by(changes.c.person, *(changes.c[key] for key in _KEYS))
        with self._reading() as connection:
            frame = read_objects(connection, query)
        frame[[*_KEYS]] = frame[[*_KEYS]].replace("", None)
        return typed(frame.reindex(columns=[*CHANGE_COLUMNS]), CHANGE_COLUMNS)


def _record(row: Mapping[Any, Any]) -> RunRecord:
    return RunRecord(**{**row, "facts": json.loads(row["facts"])})


def _up_to(run: RunRecord) -> sa.Select[Any]:
    """Return a query of the shop's runs, the latest first, from this one on."""
    is_earlier = sa.tuple_(runs.c.started_at, runs.c.run_id) <= sa.tuple_(
        sa.literal(run.started_at), sa.literal(run.run_id)
    )
    return (
        sa.select(runs)
        .where(runs.c.shop_id == run.shop_id, is_earlier)
        .order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
    )


def _count(run_id: str, kind: str, frame: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    keys = [*_KEYS, "status", "reason_code"]
    counted = frame[keys].fillna("").value_counts(sort=False).rename("count").reset_index()
    return records(counted.assign(run_id=run_id, kind=kind))
