"""Runs: their records, how their events and changes ended, and what they left of single people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd
import sqlalchemy as sa

from toolkit.errors import UnknownRunError
from toolkit.frames import to_arrow, typed
from toolkit.postscript import api
from toolkit.sync.plan import CHANGE_COLUMNS
from toolkit.sync.runs import RunRecord, kind_of_run

from .database import Database, chunks, records, upsert
from .schema import calls, changes, runs, totals, transitions

_KEPT_OUT_OF_CHANGES = ("unchanged", "waiting")
"""Statuses that most rows of most runs have: counted in totals, not stored row by row."""
_KEYS = ("audience_key", "trait_key")
"""The key of a row is one of them, the other is empty; a primary key holds no null."""
_LATEST_FIRST = (runs.c.started_at.desc(), runs.c.run_id.desc())


class History(Database):
    """The part of the ledger that keeps runs."""

    def save_run(self, run: RunRecord) -> None:
        """Write a run's record, over an earlier one of the same id."""
        with self._writing() as connection:
            upsert(connection, runs, [{**vars(run), "facts": json.dumps(run.facts)}])

    def get_run(self, run_id: str = "") -> RunRecord:
        """Return a run's record, the latest when no id is given; UnknownRunError when there is none."""
        query = sa.select(runs).order_by(*_LATEST_FIRST).limit(1)
        if found := self._runs(query.filter_by(run_id=run_id) if run_id else query):
            return found[0]
        what = f'holds no run "{run_id}"' if run_id else "holds no run yet"
        raise UnknownRunError(f"The ledger {self.name} {what}. Run 3_sync_audiences first.")

    def load_latest_runs(self) -> list[RunRecord]:
        """Return the latest live run of each shop, else its latest dry run.

        Live runs come first, and the later before the earlier.
        """
        latest = ((runs.c.mode == "live").desc(), *_LATEST_FIRST)
        place = sa.func.row_number().over(partition_by=runs.c.shop_id, order_by=latest).label("place")
        ranked = sa.select(runs.c.run_id, place).subquery()
        first = sa.select(ranked.c.run_id).where(ranked.c.place == 1)
        return self._runs(sa.select(runs).where(runs.c.run_id.in_(first)).order_by(*latest))

    def load_runs(self, until: RunRecord, *, limit: int) -> list[RunRecord]:
        """Return this run and those of its shop that began before it, the latest first."""
        return self._runs(_up_to(until).limit(limit))

    def find_previous(self, record: RunRecord) -> RunRecord | None:
        """Return the run of the same shop and mode that began last before this one, and has ended."""
        ended = _up_to(record).where(runs.c.run_id != record.run_id, runs.c.finished_at.is_not(None))
        return next(iter(self._runs(ended.filter_by(mode=record.mode).limit(1))), None)

    def _runs(self, query: sa.Select[Any]) -> list[RunRecord]:
        return [RunRecord(**{**row, "facts": json.loads(row["facts"])}) for row in self._load(query)]

    def save_results(self, run_id: str, events: pd.DataFrame, changed: pd.DataFrame) -> None:
        """Write how the events and changes of a run ended: totals of all, rows of those worth reading."""
        kept = typed(changed[~changed["status"].isin(_KEPT_OUT_OF_CHANGES)], CHANGE_COLUMNS)
        counts = [*_count(run_id, "event", events), *_count(run_id, "change", changed)]
        keyed = records(kept.fillna(dict.fromkeys(_KEYS, "")), run_id=run_id)
        with self._writing() as connection:
            for table, rows in ((totals, counts), (changes, keyed)):
                connection.execute(sa.delete(table).filter_by(run_id=run_id))
                for part in chunks(rows):
                    connection.execute(sa.insert(table), part)

    def load_totals(self, run_id: str) -> pd.DataFrame:
        """Return kind, audience_key, trait_key, status, reason_code and count, one row a combination."""
        found = self._load_frame(sa.select(totals).filter_by(run_id=run_id))
        return found.drop(columns="run_id").infer_objects()

    def load_changes(self, run_id: str, *, statuses: Collection[str] = ()) -> pd.DataFrame:
        """Return the changes of a run that are worth reading (CHANGE_COLUMNS): not unchanged, not waiting.

        With *statuses* only those that ended so.
        """
        query = sa.select(*changes.c[*CHANGE_COLUMNS]).filter_by(run_id=run_id)
        if statuses:
            query = query.where(changes.c.status.in_([*map(str, sorted(statuses))]))
        found = self._load_frame(query.order_by(changes.c.person, *changes.c[_KEYS]), CHANGE_COLUMNS)
        found[[*_KEYS]] = found[[*_KEYS]].replace("", None)
        return found

    def count_side_effects(self, run_ids: Collection[str]) -> dict[str, Counter[str]]:
        """Return run → ``adds``, ``removes``, ``custom_events`` and ``left_over``, by the journal.

        A membership counts when the write of its list went well, or was found to have arrived although its
        answer was lost. Custom events that are left over belong to changes of earlier runs.
        """
        of_runs, outcome = calls.c.run_id.in_(run_ids), sa.func.coalesce(calls.c.outcome, "")
        is_write, is_event = calls.c.route == api.WRITE_ROUTE, calls.c.route == api.EVENT_ROUTE
        # Most lists are alike: each pair of texts is read once.
        lists = (calls.c.run_id, calls.c.before, calls.c.after)
        writes = sa.select(*lists, sa.func.count()).where(of_runs, is_write, outcome == "ok")
        of_write = (transitions.c[name] == calls.c[name] for name in ("run_id", "subscriber_id"))
        is_lost = (outcome != "ok") & outcome.not_like("RejectedError%")
        arrived = (
            sa.select(*transitions.c["run_id", "entered", "external_id"])
            .distinct()
            .join(calls, sa.and_(*of_write))
            .where(of_runs, is_write, is_lost, transitions.c.state != "planned")
        )
        is_earlier = sa.func.sum(sa.case((transitions.c.run_id != calls.c.run_id, 1), else_=0))
        events = (
            sa.select(calls.c.run_id, sa.func.count(), is_earlier)
            .outerjoin(transitions, transitions.c.external_id == calls.c.external_id)
            .where(of_runs, is_event, outcome == "ok")
        )
        found: dict[str, Counter[str]] = {run_id: Counter() for run_id in run_ids}
        with self._reading() as connection:
            for run_id, before, after, count in connection.execute(writes.group_by(*lists)):
                old, new = (_audiences(text) for text in (before, after))
                found[run_id] += Counter(adds=count * len(new - old), removes=count * len(old - new))
            for run_id, entered, _ in connection.execute(arrived):
                found[run_id]["adds" if entered else "removes"] += 1
            for run_id, count, earlier in connection.execute(events.group_by(calls.c.run_id)):
                found[run_id] += Counter(custom_events=count, left_over=int(earlier))
        return found

    def load_outcomes_of(
        self, shop_id: str, persons: Collection[str], subscriber_ids: Collection[str]
    ) -> pd.DataFrame:
        """Return how the runs of a shop ended for these people, the earliest first.

        Columns: run_id, started_at, mode, kind, person, audience_key, trait_key (one of the two is empty),
        operation, status, reason_code, status_message, subscriber_id. Runs in which nothing was due left no
        row.
        """
        names = ("person", *_KEYS, "operation", "status", "reason_code", "status_message", "subscriber_id")
        theirs = changes.c.person.in_([*persons]) | changes.c.subscriber_id.in_([*subscriber_ids])
        query = (
            sa.select(*runs.c["run_id", "started_at", "mode", "facts"], *changes.c[names])
            .join(runs, runs.c.run_id == changes.c.run_id)
            .where(runs.c.shop_id == shop_id, theirs)
            .order_by(runs.c.started_at, runs.c.run_id, changes.c.person, changes.c.audience_key)
        )
        found = self._load_frame(query)
        kinds = {text: kind_of_run(json.loads(text)) for text in found["facts"].unique()}
        return found.assign(kind=found.pop("facts").map(kinds))

    def load_calls_of(self, shop_id: str, subscriber_ids: Collection[str]) -> pd.DataFrame:
        """Return what was sent about these subscribers of a shop, in the order in which it began.

        Columns: run_id, subscriber_id, route, started_at, before, after (JSON objects, null for a custom
        event), outcome, status_code, audience_key and entered (null unless it is a custom event).
        """
        names = ("run_id", "subscriber_id", "route", "started_at", "before", "after", "outcome")
        query = (
            sa.select(*calls.c[*names, "status_code"], transitions.c.audience_key, transitions.c.entered)
            .join(runs, runs.c.run_id == calls.c.run_id)
            .outerjoin(transitions, transitions.c.external_id == calls.c.external_id)
            .where(runs.c.shop_id == shop_id, calls.c.subscriber_id.in_([*subscriber_ids]))
        )
        return self._load_frame(query.order_by(calls.c.call_id))


def _audiences(properties: str | None) -> set[str]:
    """Return the audiences that a write names; a write of traits alone has none on either side."""
    listed = json.loads(properties or "{}").get(api.AUDIENCES_PROPERTY)
    return {*listed} if isinstance(listed, list) else set()


def _up_to(run: RunRecord) -> sa.Select[Any]:
    """Return a query of the shop's runs, the latest first, from this one on."""
    is_earlier = sa.tuple_(runs.c.started_at, runs.c.run_id) <= sa.tuple_(run.started_at, run.run_id)
    return sa.select(runs).where(runs.c.shop_id == run.shop_id, is_earlier).order_by(*_LATEST_FIRST)


def _count(run_id: str, kind: str, frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    keys = [*_KEYS, "status", "reason_code"]
    rows = to_arrow(frame[keys].fillna(""))
    counted = rows.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    for row in counted.to_pylist():
        yield {"run_id": run_id, "kind": kind, "count": row.pop("count_all"), **row}
