"""The audit: what a run did, and where Postscript differs from what was asked."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest

from toolkit.archive import read_events
from toolkit.audit import audit
from toolkit.contacts import check_contacts
from toolkit.errors import ReconciliationError, ServerError, UnknownRunError
from toolkit.ledger import Ledger
from toolkit.lookup import find_subscribers
from toolkit.memberships import PAYLOAD_COLUMNS, empty_table, fold
from toolkit.plan import CHANGE_COLUMNS, plan
from toolkit.runs import RunRecord
from toolkit.sync import sync
from toolkit.wire import AUDIENCES_PROPERTY, Answer, Shop

SHOP = Shop(shop_id="shop_1", name="Acme Socks")


def word(number, key, *, member=True):
    return {
        "type": "identify",
        "messageId": f"{number}-{key}",
        "userId": f"u{number}",
        "timestamp": "2025-03-04T10:00:00Z",
        "traits": {key: member, "email": f"u{number}@mail.test"},
        "context": {"personas": {"computation_class": "audience", "computation_key": key}},
    }


class Store:
    """Postscript in memory; people are found by email."""

    def __init__(self, lists):
        self.lists = {f"s_{number}": [*held] for number, held in lists.items()}
        self.methods = []

    @property
    def calls(self):
        return {}

    def send(self, request, *, on_leaving=None):
        if on_leaving:
            on_leaving()
        self.methods.append(request.method)
        if request.method == "GET":
            asked = {value for name, value in request.query if name == "email__in"}
            rows = [
                {"id": i, "email": f"u{i[2:]}@mail.test", "properties": {AUDIENCES_PROPERTY: held}}
                for i, held in self.lists.items()
            ]
            found = {
                "subscribers": [row for row in rows if row["email"] in asked],
                "page_info": {"total_pages": 1},
            }
            return Answer(status_code=200, json=found)
        if request.method == "PATCH":
            self.lists[request.path.rpartition("/")[2]] = request.body["properties"][AUDIENCES_PROPERTY]
        return Answer(status_code=200)


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
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def store():
    return Store({1: [], 2: ["old"], 3: ["vip"]})


def deliver(events, store, ledger, *, dry_run=False):
    folded = fold(read_events(events).payloads(), remembered=ledger.load_state(SHOP.shop_id))
    contacts = check_contacts(folded.state.people)
    planned = plan(folded.state, contacts, find_subscribers(contacts, store), max_removal_share=1.0)
    return sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=dry_run)


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
    """What is missing and what is too much is listed with masked contacts; nothing is written."""
    deliver(EVENTS, store, ledger)
    store.lists = {"s_1": [], "s_2": ["vip", "old", "foreign"], "s_3": ["vip"]}
    store.methods.clear()
    found = audit(ledger, postscript=store)
    assert set(store.methods) == {"GET"}
    assert found.drift.drop(columns="trait_key").to_dict("records") == [
        {
            "person": "user:u1",
            "audience_key": "vip",
            "subscriber_id": "s_1",
            "email_masked": "u•••@mail.test",
            "phone_masked": found.drift["phone_masked"][0],
            "drift": "missing",
        },
        {
            "person": "user:u2",
            "audience_key": "old",
            "subscriber_id": "s_2",
            "email_masked": "u•••@mail.test",
            "phone_masked": found.drift["phone_masked"][1],
            "drift": "extra",
        },
    ]
    assert found.drift["phone_masked"].isna().all()
    assert found.summary()["drift"] == 2


def test_who_subscribes_late_is_missing(ledger, store):
    """Somebody who waited and has signed up since shows as missing until the next run."""
    deliver(EVENTS, store, ledger)
    store.lists["s_9"] = []
    assert audit(ledger, postscript=store).drift["person"].tolist() == ["user:u9"]
    deliver([], store, ledger)
    assert audit(ledger, postscript=store).drift.empty


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
