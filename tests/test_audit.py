"""The audit: what a run did, and where Postscript differs from what was asked."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest
from stores import Store, deliver, new_ledger, word

from toolkit.audit import audit
from toolkit.errors import LostAnswerError, ReconciliationError, ServerError, UnknownRunError
from toolkit.memberships import PAYLOAD_COLUMNS, empty_table
from toolkit.plan import CHANGE_COLUMNS
from toolkit.runs import UNKNOWN_COLUMNS, RunRecord

EVENTS = [
    word(1, "vip"),
    word(2, "vip"),
    word(2, "old", member=False),
    word(3, "vip"),
    word(9, "vip"),
    {"type": "page"},
]


@pytest.fixture
def ledger(tmp_path):
    with new_ledger(tmp_path) as opened:
        yield opened


@pytest.fixture
def store():
    return Store({1: [], 2: ["old"], 3: ["vip"]})


def test_an_audit_agrees_with_its_run(ledger, store):
    """Record, totals, changes and calls are those that the run ended with."""
    run = deliver(EVENTS, store, ledger)
    found = audit(ledger)
    assert found.record == run.record
    assert found.statuses("event") == run.event_statuses == {"counted": 5, "no_matching_mapping": 1}
    assert found.statuses("change") == run.change_statuses
    assert found.statuses("change") == {"added": 2, "removed": 1, "unchanged": 1, "waiting": 1}
    worth_reading = run.changes[run.changes["status"].isin(["added", "removed"])]
    pd.testing.assert_frame_equal(found.changes, worth_reading.reset_index(drop=True))
    assert sorted(found.calls["route"]) == ["PATCH /subscribers/{id}"] * 2 + ["POST /events"] * 3
    assert set(found.calls["outcome"]) == {"ok"}
    assert found.drift is None
    assert found.summary()["drift"] is None
    assert found.unknown.empty
    assert found.summary()["unknown_custom_events"] == 0
    assert found.summary()["received"] == 6


def test_an_earlier_run_can_be_asked_for(ledger, store):
    """Each run keeps its own totals, changes and calls."""
    first = deliver(EVENTS, store, ledger)
    second = deliver(EVENTS, store, ledger)
    assert audit(ledger, run_id=first.record.run_id).statuses("change")["added"] == 2
    assert len(audit(ledger, run_id=first.record.run_id).calls) == 5
    assert audit(ledger).record.run_id == second.record.run_id
    assert audit(ledger).statuses("change") == {"unchanged": 4, "waiting": 1}
    assert audit(ledger).calls.empty


def test_an_unknown_run(ledger, store):
    """A run that is not in the ledger raises, also where there is none at all."""
    with pytest.raises(UnknownRunError):
        audit(ledger)
    deliver(EVENTS, store, ledger)
    with pytest.raises(UnknownRunError, match="nosuch"):
        audit(ledger, run_id="nosuch", postscript=store)


def test_no_drift(ledger, store):
    """Right after a run Postscript holds what was asked for."""
    deliver(EVENTS, store, ledger)
    assert audit(ledger, postscript=store).drift.empty


def test_drift_is_told_and_not_mended(ledger, store):
    """Of every subscriber, also of those nobody reaches, with masked contacts; nothing is written."""
    deliver(EVENTS, store, ledger)
    store.set_list(1, [])
    store.set_list(2, ["vip", "old", "foreign"])
    store.add(5, ["vip"])
    store.sent.clear()
    found = audit(ledger, postscript=store)
    assert {request.method for request in store.sent} == {"GET"}
    told = found.drift.astype("object").where(found.drift.notna(), None)
    assert told.drop(columns="trait_key").to_numpy().tolist() == [
        ["user:u1", "vip", "s_1", None, "•••01", "missing"],
        ["user:u2", "old", "s_2", None, "•••02", "extra"],
        ["user:u2", "foreign", "s_2", "u•••@mail.test", "•••02", "ghost key"],
        [None, "vip", "s_5", "u•••@mail.test", "•••05", "extra"],
    ]
    assert found.summary()["drift"] == 4


def test_drift_is_of_the_whole_list(ledger, store):
    """The mirror is not believed: everybody is read anew."""
    deliver(EVENTS, store, ledger)
    store.sent.clear()
    audit(ledger, postscript=store)
    asked = [{name for name, _value in request.query} for request in store.sent]
    assert {"sort", "page"} in asked
    assert not [names for names in asked if "updated_at__gte" in names]


def test_who_subscribes_late_is_missing(ledger, store):
    """Somebody who waited and has signed up since shows as missing until the next run."""
    deliver(EVENTS, store, ledger)
    store.add(9, [])
    assert audit(ledger, postscript=store).drift["person"].tolist() == ["user:u9"]
    deliver([], store, ledger)
    assert audit(ledger, postscript=store).drift.empty


def test_unknown_custom_events_are_listed(ledger, store):
    """Custom events whose answer was lost stay listed, whichever run is looked at."""

    def lose(request):
        if request.method == "POST" and request.body["subscriber_id"] == "s_2":
            raise LostAnswerError("no answer")

    store.lost = lose
    run = deliver(EVENTS, store, ledger)
    assert audit(ledger).unknown.drop(columns=["external_id", "state"]).sort_values(
        "audience_key"
    ).to_numpy().tolist() == [
        ["s_2", "old", False],
        ["s_2", "vip", True],
    ]
    store.lost = lambda request: None
    deliver([], store, ledger)
    found = audit(ledger)
    assert found.record.run_id != run.record.run_id
    assert {*found.unknown["external_id"]} <= {*run.changes["external_id"]}
    assert found.unknown.dtypes.astype("str").to_dict() == UNKNOWN_COLUMNS
    assert found.summary()["unknown_custom_events"] == 2


def test_a_failed_lookup_is_not_no_drift(ledger, store):
    """When Postscript cannot be read the audit raises instead of reporting everybody gone."""
    deliver(EVENTS, store, ledger)

    def send(request, *, on_leaving=None):
        raise ServerError("503", status_code=503)

    store.send = send
    with pytest.raises(ServerError):
        audit(ledger, postscript=store)


def test_drift_after_a_dry_run_only(ledger, store):
    """A dry run asks for nothing, so nothing can drift."""
    deliver(EVENTS, store, ledger, dry_run=True)
    found = audit(ledger, postscript=store)
    assert found.drift.empty
    assert found.statuses("change") == {"would_add": 2, "would_remove": 1, "unchanged": 1, "waiting": 1}


def record(**fields):
    known = {"shop_id": "shop_1", "shop_name": "Acme", "mode": "live", "started_at": datetime(2025, 3, 4)}
    return RunRecord(run_id="r1", **known, **fields)


def test_totals_that_do_not_add_up(ledger):
    """A finished run whose totals lack an event is the toolkit's fault and is not reported."""
    ledger.save_results("r1", empty_table(PAYLOAD_COLUMNS), empty_table(CHANGE_COLUMNS))
    ledger.save_run(record(status="completed", received=1, finished_at=datetime(2025, 3, 5)))
    with pytest.raises(ReconciliationError, match="1 events came in"):
        audit(ledger)


def test_a_run_that_still_goes_on(ledger):
    """A run under way, or one that was killed, has no totals yet and can be looked at all the same."""
    ledger.save_run(record(status="running", received=5))
    found = audit(ledger)
    assert found.record.status == "running"
    assert found.statuses("event") == found.statuses("change") == {}
    assert found.summary()["calls"] == {}
