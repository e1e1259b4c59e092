"""A contact that moves to another subscriber leaves no audience behind."""

from __future__ import annotations

from collections import Counter

import pytest
from stores import (
    SECOND,
    SHOP,
    THIRD,
    Store,
    deliver,
    email,
    ends,
    fold_events,
    make_plan,
    phone,
    word,
)

from toolkit import forecast, read_subscribers
from toolkit.contacts.bulk import check_contacts
from toolkit.sync.plan_file import load_plan, save_plan
from toolkit.sync.sync import sync
from toolkit.sync.undo import undo_run

MOVED = ("removed", "CONTACT_MOVED")
VIP = [word(1, "vip")]


def moves(to, *, at=SECOND, number=1, key="vip", **traits):
    """Return an event: the person is still in, and has the phone of subscriber *to*."""
    return word(number, key, at=at, **{"phone": phone(to), **traits})


def sync_again(events, store, ledger, **options):
    return deliver(events, store, ledger, reached=ledger.load_reached(SHOP.shop_id), **options)


def plan_again(events, store, ledger, **options):
    reached = ledger.load_reached(SHOP.shop_id)
    return make_plan(fold_events(events, ledger), store, reached=reached, **options)


def left(ledger):
    """Return the subscribers that may hold something of the first person, the present one included."""
    return ledger.load_reached(SHOP.shop_id)["subscriber_id"].tolist()


@pytest.fixture
def store():
    return Store({1: [], 2: [], 3: []})


@pytest.fixture
def begun(ledger, store):
    """A ledger in which the first person got the audience as the first subscriber."""
    sync_again(VIP, store, ledger)
    return ledger


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_earlier_subscriber_loses_the_audience(begun, store, dry_run):
    """As a row of its own that adds up, without a custom event; nothing is left for the next run."""
    store.sent.clear()
    run = sync_again([moves(2)], store, begun, dry_run=dry_run)
    assert run.record.status == "completed"
    made = {"s_1": ("removed", "CONTACT_MOVED"), "s_2": ("added", "ENTERED")}
    if dry_run:
        made = {"s_1": ("would_remove", "CONTACT_MOVED"), "s_2": ("would_add", "ENTERED")}
    assert ends(run.changes) == {(who, "vip"): end for who, end in made.items()}
    assert (run.plan.adds, run.plan.removes, run.plan.transitions) == (1, 1, 1)
    assert run.changes["person"].tolist() == ["user:u1", "subscriber s_1"]
    if dry_run:
        assert store.writes == []
        return
    assert store.lists() == {"s_1": [], "s_2": ["vip"], "s_3": []}
    assert store.posted == [("s_2", "vip", "Entered")]
    assert left(begun) == ["s_2"]
    again = sync_again([moves(2)], store, begun)
    assert again.change_statuses == {"unchanged": 1}


def test_an_exit_is_posted_where_a_contact_moved_if_asked_for(begun, store):
    """``transitions_and_moves`` plans, prices and posts it; nothing else does."""
    store.sent.clear()
    run = sync_again([moves(2)], store, begun, custom_events="transitions_and_moves")
    assert run.record.status == "completed"
    assert {*store.posted} == {("s_1", "vip", "Exited"), ("s_2", "vip", "Entered")}
    assert run.summary()["custom_events"] == run.plan.transitions == 2
    assert run.summary()["planned_calls"] == len(store.sent)


def test_a_contact_that_moves_in_postscript(ledger, store):
    """Found by email first and by a new subscriber's phone later, the person is that one alone."""
    store.people["s_2"]["phone_number"] = phone(9)
    sync_again([word(1, "vip", phone=phone(2), email=email(1))], store, ledger)
    assert store.lists()["s_1"] == ["vip"]
    store.people["s_2"]["phone_number"] = phone(2)
    sync_again([], store, ledger)
    assert store.lists() == {"s_1": [], "s_2": ["vip"], "s_3": []}


@pytest.mark.parametrize(
    ("events", "change"),
    [
        pytest.param([word(3, "vip", phone=phone(1))], None, id="another person is the earlier one"),
        pytest.param([word(3, "vip", phone=phone(1), member=False)], None, id="with a word of their own"),
        pytest.param([], lambda s: s.set_list(1, ["other"]), id="it is off the list already"),
        pytest.param([], lambda s: s.people.pop("s_1"), id="the earlier one was deleted"),
        pytest.param([], lambda s: s.people.pop("s_2"), id="the person matches no subscriber now"),
        pytest.param(
            [word(3, "vip", phone="", email="twin@mail.test")],
            lambda s: [s.people[i].update(email="twin@mail.test") for i in ("s_1", "s_3")],
            id="one of several that a person may be",
        ),
    ],
)
def test_where_nothing_is_taken_away(begun, store, events, change):
    """Not where another person may be that subscriber, nor where there is nothing to take away."""
    if change:
        change(store)
    found = plan_again([moves(2), word(2, "old", phone=phone(3)), *events], store, begun)
    assert "subscriber s_1" not in {*found.changes["person"]}


@pytest.mark.parametrize("contact", [{"phone": "", "email": "twin@mail.test"}, {"phone": phone(9)}])
def test_what_neither_has_makes_no_one_the_same(begun, store, contact):
    """A person who may be several, and lacks a contact, is not whoever lacks it there, too."""
    store.people["s_1"].update(phone_number=None, email=None)
    for who in ("s_3", "s_4"):
        twin = {"phone_number": contact["phone"] or None, "email": contact.get("email")}
        store.people[who] = {**store.people["s_3"], "id": who, **twin}
    found = plan_again([moves(2), word(3, "old", **contact)], store, begun)
    assert {"AMBIGUOUS_MATCH", "CONTACT_MOVED"} <= {*found.changes["reason_code"]}


def test_what_a_mode_or_a_choice_leaves_out_is_left_for_later(begun, store):
    """add_only takes nothing away, one audience only its own; the next whole run does the rest."""
    store.set_list(1, ["vip", "old"])
    sync_again([word(1, "old")], store, begun)
    events = [moves(2), moves(2, key="old")]
    added = sync_again(events, store, begun, sync_mode="add_only")
    assert ends(added.changes)["s_1", "vip"] == ("skipped", "NOT_IN_SYNC_MODE")
    one = sync_again(events, store, begun, audience_keys=["old"])
    assert ends(one.changes)["s_1", "old"] == MOVED
    assert store.lists()["s_1"] == ["vip"]
    assert ends(sync_again(events, store, begun).changes)["s_1", "vip"] == MOVED
    assert left(begun) == ["s_2"]


def test_two_moves_and_the_way_back(begun, store):
    """What a canceled run leaves behind is taken away after a second move; moving back is a move, too."""
    store.fault = lambda request: (
        (_ for _ in ()).throw(KeyboardInterrupt) if request.method == "PATCH" else None
    )
    assert sync_again([moves(2)], store, begun).record.status == "canceled"
    store.fault = lambda request: None
    run = sync_again([moves(3, at=THIRD)], store, begun)
    assert ends(run.changes) == {("s_1", "vip"): MOVED, ("s_3", "vip"): ("added", "ENTERED")}
    assert store.lists() == {"s_1": [], "s_2": [], "s_3": ["vip"]}
    back = sync_again([moves(1, at="2025-03-07T10:00:00Z")], store, begun)
    assert ends(back.changes) == {("s_3", "vip"): MOVED, ("s_1", "vip"): ("added", "EVENT_ALREADY_SENT")}
    assert Counter(store.posted)["s_1", "vip", "Entered"] == 1
    assert left(begun) == ["s_1"]


def test_several_people_who_were_one_subscriber(ledger, store):
    """Whoever leaves last takes the audience along, in one row."""
    both = [word(1, "vip"), word(2, "vip", phone=phone(1))]
    sync_again(both, store, ledger)
    sync_again([moves(3)], store, ledger)
    assert store.lists() == {"s_1": ["vip"], "s_2": [], "s_3": ["vip"]}
    sync_again([moves(2, number=2)], store, ledger)
    assert store.lists() == {"s_1": [], "s_2": ["vip"], "s_3": ["vip"]}


def test_an_undo_is_known_of(begun, store):
    """What an undo gives back to the earlier subscriber, the next sync takes away again."""
    run = sync_again([moves(2)], store, begun)
    undo_run(begun, run.record.run_id, store, shop=SHOP, dry_run=False)
    assert store.lists() == {"s_1": ["vip"], "s_2": [], "s_3": []}
    assert {*left(begun)} == {"s_1", "s_2"}
    sync_again([], store, begun)
    assert store.lists() == {"s_1": [], "s_2": ["vip"], "s_3": []}


def test_moves_count_as_removals(begun, store):
    """The limit on removals holds for them; a run that it stops leaves the move for the next one."""
    stopped = sync_again([moves(2)], store, begun, max_removal_share=0.4)
    assert stopped.summary()["stopped_by"] == "removal_limit"
    assert sync_again([moves(2)], store, begun).plan.removes == 1


def test_a_saved_plan_looks_again(begun, store, tmp_path):
    """Whoever became the earlier subscriber since a plan was saved keeps the audience."""
    folded = fold_events([moves(2)], begun)
    planned = plan_again([moves(2)], store, begun)
    path = save_plan(tmp_path / "a.plan", planned, folded, shop=SHOP, default_region="US")
    fresh = load_plan(path).refresh(store.table(), shop=SHOP, remembered=begun.load_state(SHOP.shop_id))
    assert ends(fresh.plan.changes)["s_1", "vip"] == ("would_remove", "CONTACT_MOVED")
    run = sync(fresh.plan, fresh.folded, shop=SHOP, postscript=store, ledger=begun, dry_run=True)
    assert run.record.status == "completed"
    sync_again([word(3, "vip", phone=phone(1))], store, begun)
    stale = load_plan(path).refresh(store.table(), shop=SHOP, remembered=begun.load_state(SHOP.shop_id))
    assert ends(stale.plan.changes)["s_1", "vip"] == ("pending", "PLAN_STALE")


def test_the_outlook_tells_of_it(begun, store):
    """What the next sync would take away is in the preview, as a row of the subscriber."""
    folded = fold_events([moves(2)], begun)
    fetched = read_subscribers(check_contacts(folded.state.people), store, complete=True)
    begun.save_cache(SHOP.shop_id, fetched)
    assert ends(forecast(folded.state, ledger=begun).changes)["s_1", "vip"] == (
        "would_remove",
        "CONTACT_MOVED",
    )


def test_live_runs_remember_who_they_reach(ledger, store):
    """Also one whose plan was not given who was reached before; a dry run did nothing."""
    sync_again(VIP, store, ledger, dry_run=True)
    assert left(ledger) == []
    deliver(VIP, store, ledger)
    assert left(ledger) == ["s_1"]


def test_an_old_plan_does_not_bring_back_who_was_left(begun, store, tmp_path):
    """What it does not send says nothing about who people are by now."""
    folded = fold_events([], begun)
    path = save_plan(
        tmp_path / "a.plan", plan_again([], store, begun), folded, shop=SHOP, default_region="US"
    )
    sync_again([moves(2)], store, begun)
    assert left(begun) == ["s_2"]
    fresh = load_plan(path).refresh(store.table(), shop=SHOP, remembered=begun.load_state(SHOP.shop_id))
    sync(fresh.plan, fresh.folded, shop=SHOP, postscript=store, ledger=begun, dry_run=False)
    assert left(begun) == ["s_2"]


def test_a_saved_plan_remembers_who_it_reaches(ledger, store, tmp_path):
    """When the contact moves later, the audience that the plan gave is taken away."""
    folded = fold_events(VIP, ledger)
    planned = plan_again(VIP, store, ledger)
    path = save_plan(tmp_path / "a.plan", planned, folded, shop=SHOP, default_region="US")
    fresh = load_plan(path).refresh(store.table(), shop=SHOP, remembered=ledger.load_state(SHOP.shop_id))
    sync(fresh.plan, fresh.folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert left(ledger) == ["s_1"]
    sync_again([moves(2)], store, ledger)
    assert store.lists() == {"s_1": [], "s_2": ["vip"], "s_3": []}
