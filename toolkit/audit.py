"""Look back on a run: its totals, its changes, its calls, and what Postscript holds by now."""

from __future__ import annotations

from typing import Protocol

import pandas as pd

from .contacts import check_contacts
from .lookup import Postscript, find_subscribers
from .memberships import State
from .plan import plan
from .runs import Audit, RunRecord
from .statuses import check_totals

DRIFT = {"ENTERED": "missing", "EXITED": "extra", "TRAIT_NEW_VALUE": "other value"}
"""What a new plan would do, in words of what is wrong now."""


class History(Protocol):
    """The part of the ledger that audit() reads."""

    def get_run(self, run_id: str = "") -> RunRecord:
        """Return a run's record, the latest when no id is given."""

    def load_totals(self, run_id: str) -> pd.DataFrame:
        """Return the totals of a run."""

    def load_changes(self, run_id: str) -> pd.DataFrame:
        """Return the changes of a run that are worth reading."""

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes."""

    def load_state(self, shop_id: str) -> State:
        """Return what earlier live runs of the shop asked for."""


def audit(
    ledger: History, *, run_id: str = "", postscript: Postscript | None = None, default_region: str = ""
) -> Audit:
    """Gather everything about one run.

    Parameters
    ----------
    ledger
        Where the run was recorded.
    run_id
        Which run; empty takes the latest.
    postscript
        Given, the people of the ledger are looked up again and differences reported as drift.
    default_region
        Country in which phones without a country code are read, for the drift check; empty takes the run's.

    Returns
    -------
    Audit
        Record, totals, changes, calls, and drift (None without *postscript*).

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
        drift=None if postscript is None else _drift(ledger.load_state(record.shop_id), postscript, region),
    )
    if record.finished_at is not None:
        check_totals(record.received, found.statuses("event"), of="events")
    return found


def _drift(state: State, postscript: Postscript, default_region: str) -> pd.DataFrame:
    """Compare what was asked for with what Postscript holds: a plan that is never carried out."""
    contacts = check_contacts(state.choose().people, default_region=default_region)
    again = plan(state, contacts, find_subscribers(contacts, postscript, trait_keys=state.trait_keys))
    wrong = again.changes[again.changes["operation"].notna()]
    columns = ["person", "audience_key", "trait_key", "subscriber_id", "email_masked", "phone_masked"]
    return wrong[columns].assign(drift=wrong["reason_code"].map(DRIFT)).reset_index(drop=True)
