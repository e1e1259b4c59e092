"""The audit: what a run did, and where Postscript differs from what was asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from html import unescape

import pandas as pd
import pytest
from stores import SHOP, Store, deliver, email, fold_events, make_plan, phone, word
from tables import every

from toolkit.audiences.memberships import empty_table
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import (
    InvalidAuthenticationError,
    LostAnswerError,
    ReconciliationError,
    RejectedError,
    ServerError,
    UnknownRunError,
    UnreachableError,
)
from toolkit.postscript.reader import read_subscribers
from toolkit.report.audit import RUNS_SHOWN, audit
from toolkit.report.document import render_report
from toolkit.report.tables import reason_table
from toolkit.report.timeline import outcome_step, rows_of
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.segment.member_lists import read_member_list
from toolkit.statuses import get_meaning
from toolkit.sync.drift import plan_repair
from toolkit.sync.mirror import mirror_member_list
from toolkit.sync.plan import CHANGE_COLUMNS, plan
from toolkit.sync.plan_file import load_plan, save_plan
from toolkit.sync.runs import HISTORY_COLUMNS, UNKNOWN_COLUMNS, RunRecord
from toolkit.sync.sync import sync
from toolkit.sync.undo import undo_run

EVENTS = [
    word(1, "vip"),
    word(2, "vip"),
    word(2, "old", member=False),
    word(3, "vip"),
    word(9, "vip"),
    {"type": "page"},
]


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
    assert found.summary()["received"] == sum(found.summary()["event_statuses"].values()) == 6


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


def test_drift_is_shown_and_not_repaired(ledger, store):
    """Of every subscriber, also of those that match no person, with masked contacts; nothing is written."""
    deliver(EVENTS, store, ledger)
    store.set_list(1, [])
    store.set_list(2, ["vip", "old", "foreign"])
    store.add(5, ["vip"])
    store.sent.clear()
    found = audit(ledger, postscript=store)
    assert {request.method for request in store.sent} == {"GET"}
    drift = found.drift.astype("object").where(found.drift.notna(), None)
    assert drift.drop(columns="trait_key").to_numpy().tolist() == [
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
    """A person who waited and has signed up since shows as missing until the next run."""
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
    return RunRecord(**{"run_id": "r1", **known, **fields})


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


def test_the_history_of_a_shop(ledger, store):
    """The run and those before it, of both modes, the latest first, each with its figures."""
    dry = deliver(EVENTS, store, ledger, dry_run=True)
    live = deliver(EVENTS, store, ledger)
    deliver(EVENTS, store, ledger)
    found = audit(ledger, run_id=live.record.run_id).history
    assert found["run_id"].tolist() == [live.record.run_id, dry.record.run_id]
    assert found.dtypes.astype("str").to_dict() == HISTORY_COLUMNS
    shown = ["mode", "status", "received", "adds", "removes", "waiting", "custom_events", "calls"]
    assert found[shown].to_numpy().tolist() == [
        ["live", "completed", 6, 2, 1, 1, 3, sum(live.record.facts["calls"].values())],
        ["dry_run", "completed", 6, 2, 1, 1, 0, sum(dry.record.facts["calls"].values())],
    ]


def lists_only(request):
    if request.method == "POST":
        raise InvalidAuthenticationError("401", status_code=401, from_postscript=True)


def lose_a_write(request):
    if request.method == "PATCH" and request.path.endswith("s_2"):
        raise UnreachableError("no answer")


def lose_an_event(request):
    if request.method == "POST" and request.body["subscriber_id"] == "s_1":
        raise LostAnswerError("no answer")


@pytest.mark.parametrize(
    ("before", "after", "first", "second"),
    [
        pytest.param(lists_only, None, (2, 1, 0, 0), (0, 0, 3, 3), id="stopped before the custom events"),
        pytest.param(
            None, lose_a_write, (2, 1, 1, 0), (0, 0, 2, 2), id="a write arrived, its answer did not"
        ),
        pytest.param(None, lose_an_event, (2, 1, 2, 0), (0, 0, 0, 0), id="the answer to an event was lost"),
    ],
)
def test_what_one_run_began_and_another_finished_is_counted_once(ledger, store, before, after, first, second):
    """Memberships count in the run that wrote them, custom events in the one that posted them."""
    store.fault, store.lost = before or store.fault, after or store.lost
    one = deliver(EVENTS, store, ledger)
    store.fault = store.lost = lambda request: None
    two = deliver(EVENTS, store, ledger)
    history = audit(ledger).history.set_index("run_id")
    shown = ["adds", "removes", "custom_events", "left_over"]
    counted = [tuple(history.loc[run.record.run_id, shown]) for run in (one, two)]
    assert counted == [first, second]
    posted = audit(ledger).calls
    assert int((posted["outcome"] == "ok").sum()) == second[2]
    assert audit(ledger).side_effects == dict(zip(shown, second, strict=True))


def test_an_undo_is_called_one(ledger, store):
    """In the record, the history, and what a person's steps say; an older ledger's undo as well."""
    run = deliver(EVENTS, store, ledger)
    undone = undo_run(ledger, run.record.run_id, store, shop=SHOP, dry_run=False)
    found = audit(ledger)
    assert (found.record.run_id, found.record.kind) == (undone.record.run_id, "undo")
    assert found.history["kind"].tolist() == ["undo", "sync"]
    traced = ledger.load_outcomes_of(SHOP.shop_id, ["user:u1"], [])
    assert traced["kind"].tolist() == ["sync", "undo"]
    steps = [outcome_step(row) for row in rows_of(traced)]
    assert [source.partition(" ")[0] for _at, source, *_ in steps] == ["Sync", "Undo"]
    assert steps[1][-1] == get_meaning("UNDO_REMOVED")


def make_repair(ledger, store, _folder):
    store.set_list(2, [])
    state = ledger.load_state(SHOP.shop_id)
    return plan_repair(state, check_contacts(state.people), store.table()), None


def make_saved(ledger, store, folder):
    folded = fold_events([word(1, "new")], ledger)
    path = save_plan(folder / "a.plan", make_plan(folded, store), folded, shop=SHOP, default_region="US")
    saved = load_plan(path).refresh(store.table(), shop=SHOP, remembered=ledger.load_state(SHOP.shop_id))
    return saved.plan, saved.folded


def make_list(ledger, store, _folder):
    listed = pd.DataFrame({"phone": [phone(1), phone(3)]})
    member_list = read_member_list(listed, audience_key="vip", taken_at="2025-03-06T10:00:00Z")
    remembered = ledger.load_state(SHOP.shop_id)
    folded, contacts = mirror_member_list(member_list, store.table(), remembered=remembered)
    return plan(folded.state, contacts, store.table(), audience_keys=["vip"], max_removal_share=1.0), folded


@pytest.mark.parametrize(
    ("make", "kind", "meaning"),
    [
        (make_repair, "repair", "was missing on the subscriber's list"),
        (make_saved, "saved_plan", get_meaning("ENTERED")),
        (make_list, "member_list", "does not name the subscriber"),
    ],
)
def test_a_run_is_called_what_its_plan_was_made_as(ledger, store, tmp_path, make, kind, meaning):
    """In record, summary, history, reasons and report, without anything passed to sync()."""
    deliver(EVENTS, store, ledger)
    planned, folded = make(ledger, store, tmp_path)
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert run.record.status == "completed"
    found = audit(ledger)
    assert (found.record.kind, run.summary()["kind"]) == (kind, kind)
    assert found.history["kind"].tolist() == [kind, "sync"]
    assert meaning in " ".join(reason_table(found.changes, kind=kind)["meaning"])
    text = unescape(render_report(found))
    assert f"LIVE · {kind.replace('_', ' ').capitalize()} · completed" in text
    assert meaning in text


@every(
    "facts, kind",
    [
        ({}, "sync"),
        ({"kind": "repair"}, "repair"),
        ({"parameters": {"undo_of": "r0"}}, "undo"),
        ({"kind": "?"}, "sync"),
    ],
)
def test_the_kind_of_a_run(facts, kind):
    """As its facts say; a run without a kind is a sync unless it undid another."""
    assert record(facts=facts, status="completed").kind == kind


def test_obsolete_custom_events_are_listed(ledger, store):
    """What was closed because it became untrue is listed beside what was not confirmed, and counted apart."""
    store.fault = lists_only
    deliver(EVENTS, store, ledger)
    ids = [transition.external_id for transition in ledger.load_open_transitions(SHOP.shop_id)]
    ledger.mark_transitions(ids[:2], "obsolete")
    ledger.mark_transitions(ids[2:], "refused")
    found = audit(ledger)
    assert found.unknown["state"].tolist() == ["refused", "obsolete", "obsolete"]
    assert found.summary()["unknown_custom_events"] == 1
    assert found.summary()["obsolete_custom_events"] == 2


def test_the_history_is_of_the_shop_and_has_an_end(ledger):
    """The last twenty runs of the shop, none of another; of the same second the greater id is later."""
    started = datetime(2025, 3, 4)
    for number in range(RUNS_SHOWN + 5):
        ledger.save_run(
            record(run_id=f"r{number:02}", status="running", started_at=started + timedelta(days=number // 2))
        )
    ledger.save_run(
        record(run_id="foreign", shop_id="shop_2", status="running", started_at=started + timedelta(hours=1))
    )
    assert audit(ledger, run_id="r24").history["run_id"].tolist() == [f"r{n:02}" for n in range(24, 4, -1)]
    assert audit(ledger, run_id="r02").history["run_id"].tolist() == ["r02", "r01", "r00"]


def test_the_run_before(ledger, store):
    """Of the same shop and mode, with totals and changes to look at; one that never ended is passed over."""

    def refuse(request):
        if request.method == "PATCH" and request.path.endswith("s_2"):
            raise RejectedError("no", status_code=400, from_postscript=True)

    store.fault = refuse
    first = deliver(EVENTS, store, ledger)
    deliver(EVENTS, store, ledger, dry_run=True)
    other = record(run_id="other", shop_id="shop_2", status="completed", started_at=datetime(2099, 1, 1))
    ledger.save_run(other)
    ledger.save_run(record(run_id="died", status="failed", started_at=datetime(2099, 1, 2)))
    ledger.save_run(record(run_id="last", status="running", started_at=datetime(2099, 1, 3)))
    previous = audit(ledger, run_id="last").previous
    assert previous.record == first.record
    pd.testing.assert_frame_equal(previous.totals, audit(ledger, run_id=first.record.run_id).totals)
    assert previous.to_look_at[["person", "audience_key", "status"]].to_numpy().tolist() == [
        ["user:u2", "old", "rejected"],
        ["user:u2", "vip", "rejected"],
    ]
    assert audit(ledger, run_id="last").summary()["previous_run_id"] == first.record.run_id


def test_the_first_run_has_none_before(ledger, store):
    """A first run is compared with nothing, and a dry run not with a live one."""
    deliver(EVENTS, store, ledger)
    assert audit(ledger).previous is None
    assert audit(ledger).summary()["previous_run_id"] == ""
    deliver(EVENTS, store, ledger, dry_run=True)
    assert audit(ledger).previous is None


def test_who_is_gone_leaves_the_mirror(ledger, store):
    """An audit that reads everybody takes out of the mirror who is not there any more."""
    deliver([word(1, "vip")], store, ledger)
    found = read_subscribers(check_contacts(ledger.load_state(SHOP.shop_id).people), store, complete=True)
    ledger.save_cache(SHOP.shop_id, found)
    del store.people["s_1"]
    audit(ledger, postscript=store)
    cache = ledger.load_cache(SHOP.shop_id)
    assert "s_1" not in {*cache.subscribers["subscriber_id"]}
    assert cache.doubted == {phone(1)[1:], email(1)}
