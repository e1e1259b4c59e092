"""Look back on a run: its totals, its changes, its calls, and what Postscript holds by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from toolkit.contacts.bulk import check_contacts
from toolkit.postscript.lookup import Postscript
from toolkit.postscript.reader import read_subscribers
from toolkit.statuses import check_totals
from toolkit.sync.drift import find_drift
from toolkit.sync.runs import (
    HISTORY_COLUMNS,
    LOOK_AT,
    UNKNOWN_COLUMNS,
    Audit,
    LedgerStore,
    Previous,
    RunRecord,
    sum_statuses,
)

RUNS_SHOWN = 20
"""Runs in the history of a shop."""


def audit(
    ledger: LedgerStore, *, run_id: str = "", postscript: Postscript | None = None, default_region: str = ""
) -> Audit:
    """Gather everything about one run of the ledger; an empty *run_id* takes the latest.

    Parameters
    ----------
    postscript
        Given, every subscriber of the shop is read again and differences are reported as drift. Those who
        are gone leave the ledger's cache, so that the next sync looks their people up again.
    default_region
        Country in which phones without a country code are read, for the drift check; empty takes the run's.

    Raises
    ------
    UnknownRunError
        No such run.
    ReconciliationError
        The run's totals do not add up to what it received.
    """
    record = ledger.get_run(run_id)
    region = default_region or record.facts.get("parameters", {}).get("default_region", "US")
    found = Audit(
        record=record,
        totals=ledger.load_totals(record.run_id),
        changes=ledger.load_changes(record.run_id),
        calls=ledger.load_calls(record.run_id),
        unknown=_unknown(ledger, record),
        drift=None if postscript is None else _drift(ledger, record.shop_id, postscript, region),
        history=_history(ledger, ledger.load_runs(record, limit=RUNS_SHOWN)),
    )
    if (before := ledger.find_previous(record)) is not None:
        totals = ledger.load_totals(before.run_id)
        to_look_at = ledger.load_changes(before.run_id, statuses=LOOK_AT)
        found = replace(found, previous=Previous(record=before, totals=totals, to_look_at=to_look_at))
    if record.finished_at is not None:
        check_totals(record.received, found.statuses("event"), of="events")
    return found


def _history(ledger: LedgerStore, runs: Sequence[RunRecord]) -> pd.DataFrame:
    # By the journal: a change of which only the custom event is outstanding is not "added" yet.
    effects = ledger.count_side_effects([run.run_id for run in runs])
    rows = []
    for run in runs:
        changes = Counter(sum_statuses(ledger.load_totals(run.run_id), "change"))
        would = {"adds": changes["would_add"], "removes": changes["would_remove"]}
        calls = sum(run.facts.get("calls", {}).values())
        figures = effects[run.run_id] + Counter(**would, waiting=changes["waiting"], calls=calls)
        rows.append([getattr(run, name, figures[name]) for name in HISTORY_COLUMNS])
    return pd.DataFrame(rows, columns=[*HISTORY_COLUMNS]).astype(HISTORY_COLUMNS)


def _drift(ledger: LedgerStore, shop_id: str, postscript: Postscript, default_region: str) -> pd.DataFrame:
    """Read all subscribers anew, and compare: those that match no person are compared as well."""
    state = ledger.load_state(shop_id)
    contacts = check_contacts(state.choose().people, default_region=default_region)
    held = read_subscribers(contacts, postscript, trait_keys=state.trait_keys, complete=True).subscribers
    known = {*ledger.load_cache(shop_id).subscribers["subscriber_id"]}
    gone = known.difference(held["subscriber_id"])
    if gone != known:  # else it is another shop's list
        for subscriber_id in sorted(gone):
            ledger.forget_subscriber(shop_id, subscriber_id)
    return find_drift(state, contacts, held)


def _unknown(ledger: LedgerStore, record: RunRecord) -> pd.DataFrame:
    transitions = [
        *ledger.load_unknown_transitions(record.shop_id),
        *ledger.load_obsolete_transitions(record.shop_id, record.started_at),
    ]
    rows = [[getattr(transition, name) for name in UNKNOWN_COLUMNS] for transition in transitions]
    return pd.DataFrame(rows, columns=[*UNKNOWN_COLUMNS]).astype(UNKNOWN_COLUMNS)
