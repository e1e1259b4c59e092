"""Undo: a run's memberships go back where they still are as it left them, and its values are forgotten."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from stores import (
    OTHER_SHOP,
    SECOND,
    SHOP,
    THIRD,
    Store,
    deliver,
    ends,
    make_plan,
    states,
    word,
)

from toolkit.audiences.memberships import TRAIT_COLUMNS, Folded, empty_table
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import (
    InvalidAuthenticationError,
    ParameterError,
    RateLimitError,
    RejectedError,
    ServerError,
    ShopLockedError,
    UnknownRunError,
)
from toolkit.ledger import Ledger
from toolkit.postscript.client import PostscriptClient
from toolkit.postscript.lookup import connect_shop
from toolkit.postscript.reader import read_subscribers
from toolkit.sandbox import Sandbox
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.sync.sync import sync
from toolkit.sync.undo import UNDO_NOTE, undo_run

MIXED = [
    word(1, "vip"),
    word(2, "vip"),
    word(2, "old", member=False),
    word(3, "old", member=False),
    word(4, "vip"),
    word(9, "vip"),
]
BEFORE = {"s_1": [], "s_2": ["kept", "old"], "s_3": ["old"], "s_4": ["vip"]}
AFTER = {"s_1": ["vip"], "s_2": ["kept", "vip"], "s_3": [], "s_4": ["vip"]}
UNDONE = {"s_1": [], "s_2": ["kept", "old"], "s_3": ["old"], "s_4": ["vip"]}


@pytest.fixture
def store():
    return Store({int(i[2:]): [*held] for i, held in BEFORE.items()})


def undo(ledger, run, store, **options):
    return undo_run(ledger, run.record.run_id, store, shop=SHOP, **{"dry_run": False, **options})


def plan_undo(ledger, run, store):
    """Return what a dry undo of the run plans."""
    return undo(ledger, run, store, dry_run=True).plan


def remembered(ledger):
    state = ledger.load_state(SHOP.shop_id).memberships
    return {(p, k): m for p, k, m in state[["person", "audience_key", "member"]].itertuples(index=False)}


# --- the plan ---------------------------------------------------------------------------------------------


def test_what_a_run_did_is_planned_the_other_way_round(ledger, store):
    """Each membership that was written has one row with its person and contact; others have none."""
    run = deliver(MIXED, store, ledger)
    assert store.lists() == AFTER
    before = len(store.sent)
    planned = plan_undo(ledger, run, store)
    assert {request.method for request in store.sent[before:]} == {"GET"}
    assert ends(planned.changes) == {
        ("s_1", "vip"): ("would_remove", "UNDO_REMOVED"),
        ("s_2", "vip"): ("would_remove", "UNDO_REMOVED"),
        ("s_2", "old"): ("would_add", "UNDO_ADDED"),
        ("s_3", "old"): ("would_add", "UNDO_ADDED"),
    }
    row = planned.changes.set_index("subscriber_id").loc["s_1"]
    assert (row["person"], row["phone_masked"], row["audience_id"]) == ("user:u1", "•••01", "aud_1")
    assert row["message_id"] == f"undo of {run.record.run_id}"
    assert (planned.adds, planned.removes, planned.transitions, planned.removal_share) == (2, 2, 0, 0.5)
    assert len(planned.writes) == 3
    read = planned.subscribers.sort_values("subscriber_id", ignore_index=True)
    pd.testing.assert_frame_equal(read, store.table().head(3))


def test_an_undo_may_tell_of_what_it_changes(ledger, store):
    """On request each membership that changes back gets a custom event, another one than the run's."""
    run = deliver(MIXED, store, ledger)
    store.sent.clear()
    undone = undo(ledger, run, store, custom_events="transitions")
    assert sorted(store.posted) == [
        ("s_1", "vip", "Exited"),
        ("s_2", "old", "Entered"),
        ("s_2", "vip", "Exited"),
        ("s_3", "old", "Entered"),
    ]
    assert not {*undone.changes["external_id"]} & {*run.changes["external_id"]}


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda store: store.set_list(1, []), ("unchanged", "ALREADY_OUT")),
        (lambda store: store.set_list(1, ["foreign", "vip"]), ("would_remove", "UNDO_REMOVED")),
        (lambda store: store.set_list(1, "vip"), ("conflict", "PROPERTY_NOT_A_LIST")),
        (lambda store: store.people.pop("s_1"), ("waiting", "SUBSCRIBER_GONE")),
    ],
    ids=["gone already", "others added", "no list any more", "no subscriber any more"],
)
def test_what_has_moved_since(ledger, store, change, left):
    """Only what still is as the run left it is put back, and other keys stay."""
    run = deliver(MIXED, store, ledger)
    change(store)
    planned = plan_undo(ledger, run, store)
    assert ends(planned.changes)["s_1", "vip"] == left
    assert ends(planned.changes)["s_3", "old"] == ("would_add", "UNDO_ADDED")
    undo(ledger, run, store)
    held = {"would_remove": ["foreign"], "conflict": "vip", "unchanged": []}
    assert store.lists().get("s_1") == held.get(left[0])


@pytest.mark.parametrize("kind", [RejectedError, RateLimitError, InvalidAuthenticationError])
@pytest.mark.parametrize("is_applied", [True, False])
def test_a_write_that_a_gateway_refused(ledger, is_applied, kind):
    """It may have been carried out: where it was, the undo takes it back, and else there is nothing to do."""
    store = Store({1: []})

    def refuse(request):
        if request.method == "PATCH":
            raise kind("403", status_code=403)

    setattr(store, "lost" if is_applied else "fault", refuse)
    run = deliver([word(1, "vip")], store, ledger)
    store.lost = store.fault = lambda request: None
    assert store.lists() == {"s_1": ["vip"] if is_applied else []}
    undone = undo(ledger, run, store)
    assert store.lists() == {"s_1": []}
    ended = ("removed", "UNDO_REMOVED") if is_applied else ("unchanged", "ALREADY_OUT")
    assert ends(undone.changes)["s_1", "vip"] == ended


def test_another_persons_later_word_is_left_alone_too(ledger):
    """Two people are one subscriber: what a later run stated of the second holds the membership."""
    store = Store({1: []})
    run = deliver([word(1, "vip")], store, ledger)
    deliver([{**word(1, "vip", at=SECOND), "userId": "u9", "messageId": "u9"}], store, ledger)
    undone = undo(ledger, run, store)
    assert ends(undone.changes)["s_1", "vip"] == ("unchanged", "CHANGED_SINCE")
    assert store.lists() == {"s_1": ["vip"]}


def test_a_later_runs_word_is_left_alone(ledger, store):
    """What a later run took out and another put in again is theirs, though it looks as the run left it."""
    run = deliver(MIXED, store, ledger)
    deliver([word(1, "vip", member=False, at=SECOND)], store, ledger)
    deliver([word(1, "vip", at=THIRD)], store, ledger)
    assert store.lists() == AFTER
    undone = undo(ledger, run, store)
    assert ends(undone.changes)["s_1", "vip"] == ("unchanged", "CHANGED_SINCE")
    assert store.lists() == {**UNDONE, "s_1": ["vip"]}
    assert remembered(ledger) == {("user:u1", "vip"): True}


def test_a_later_run_that_stated_the_same_again(ledger, store):
    """A repeat brings no other value: the memberships are still the first run's to undo."""
    run = deliver(MIXED, store, ledger)
    deliver([word(1, "vip", at=SECOND)], store, ledger)
    undo(ledger, run, store)
    assert store.lists() == UNDONE


# --- carried out ------------------------------------------------------------------------------------------


def test_lists_words_and_record(ledger, store):
    """Lists are as before the run, its values are gone, and the undo is a run that reports what it did."""
    run = deliver(MIXED, store, ledger)
    undone = undo(ledger, run, store)
    assert store.lists() == UNDONE
    assert undone.change_statuses == {"removed": 2, "added": 2}
    assert remembered(ledger) == {}
    assert undone.record.status == "completed"
    kept = ledger.get_run(undone.record.run_id)
    assert kept.facts["parameters"] == {"undo_of": run.record.run_id, "note": UNDO_NOTE}
    assert "cannot be unsent" in UNDO_NOTE


def test_words_that_the_run_replaced_come_back(ledger, store):
    """After an undo the earlier value counts again: the next run has nothing to do."""
    deliver(MIXED, store, ledger)
    second = deliver([word(1, "vip", member=False, at=SECOND)], store, ledger)
    assert store.lists()["s_1"] == []
    undo(ledger, second, store)
    assert store.lists() == AFTER
    store.sent.clear()
    deliver([], store, ledger)
    assert store.writes == store.posted == []


def test_the_next_run_does_not_bring_it_back_but_the_same_archive_does(ledger, store):
    """Words that were taken back are not asked for; stated anew they are written again."""
    run = deliver(MIXED, store, ledger)
    undo(ledger, run, store)
    store.add(9, [])
    deliver([], store, ledger)
    assert store.lists() == {**UNDONE, "s_9": []}
    deliver(MIXED, store, ledger)
    assert store.lists() == {**AFTER, "s_9": ["vip"]}


def test_undoing_twice_does_nothing(ledger, store):
    """The second undo writes nothing, also after the same archive was synced again."""
    run = deliver(MIXED, store, ledger)
    undo(ledger, run, store)
    store.sent.clear()
    again = undo(ledger, run, store)
    assert store.writes == []
    assert again.change_statuses == {"unchanged": 4}
    deliver(MIXED, store, ledger)
    third = undo(ledger, run, store)
    assert store.lists() == AFTER
    assert {reason for _status, reason in ends(third.changes).values()} == {"CHANGED_SINCE"}


def test_an_undo_can_be_undone(ledger, store):
    """An undo is a run like any other."""
    run = deliver(MIXED, store, ledger)
    undone = undo(ledger, run, store)
    undo(ledger, undone, store)
    assert {i: sorted(keys) for i, keys in store.lists().items()} == AFTER


def test_a_dry_undo_changes_nothing(ledger, store):
    """Without dry_run=False nothing is written and no value is taken back."""
    run = deliver(MIXED, store, ledger)
    stated = remembered(ledger)
    rehearsed = undo_run(ledger, run.record.run_id, store, shop=SHOP)
    assert rehearsed.change_statuses == {"would_remove": 2, "would_add": 2}
    assert store.lists() == AFTER
    assert remembered(ledger) == stated


def test_an_undo_over_its_limit_keeps_the_words(ledger, store):
    """Stopped by max_removal_share, it leaves lists and values as they were."""
    run = deliver(MIXED, store, ledger)
    stated = remembered(ledger)
    stopped = undo(ledger, run, store, max_removal_share=0.1)
    assert stopped.record.status == "failed"
    assert {reason for _status, reason in ends(stopped.changes).values()} == {"REMOVAL_LIMIT"}
    assert (store.lists(), remembered(ledger)) == (AFTER, stated)


def test_a_crash_half_way_brings_nothing_back(ledger, store):
    """Words go before the first write: no run brings back what was undone, and a second undo ends it."""
    run = deliver(MIXED, store, ledger)
    written = []

    def crash(request):
        if request.method == "PATCH":
            written.append(request)
            assert remembered(ledger) == {}
            if len(written) > 1:
                raise OSError("the process dies here")

    store.fault = crash
    with pytest.raises(OSError, match="dies"):
        undo(ledger, run, store)
    store.fault = lambda request: None
    half = store.lists()
    assert half not in (AFTER, UNDONE)
    deliver([], store, ledger)
    assert store.lists() == half
    undo(ledger, run, store)
    assert store.lists() == UNDONE


def test_a_run_that_was_killed_is_undone_by_its_journal(ledger, store):
    """No change was saved, and the last write has no answer: the calls show what was written."""

    def die(request):
        if request.method == "PATCH" and len(store.writes) == 2:
            raise KeyError("killed")

    store.lost = die
    with pytest.raises(KeyError, match="killed"):
        deliver(MIXED, store, ledger)
    store.lost = lambda request: None
    assert store.lists() not in (BEFORE, AFTER)
    run_id = ledger.get_run().run_id
    assert ledger.load_changes(run_id).empty
    undone = undo_run(ledger, run_id, store, shop=SHOP, dry_run=False)
    assert {i: sorted(keys) for i, keys in store.lists().items()} == BEFORE
    assert {*undone.changes["person"]} <= {f"subscriber s_{n}" for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("error", "tries", "planned"),
    [
        (RejectedError("400", status_code=422, from_postscript=True), 1, 0),
        (RejectedError("400", status_code=422, from_postscript=True), 2, 1),
        (ServerError("503", status_code=503), 1, 1),
    ],
    ids=["refused", "refused at the second try", "perhaps arrived"],
)
def test_a_write_that_failed(ledger, error, tries, planned):
    """A refused write did nothing; what was tried before, or in trouble, may have arrived: the list tells."""
    store = Store({1: []})
    error.tries = tries

    def refuse(request):
        if request.method == "PATCH":
            raise error

    store.lost = refuse  # too late: it was carried out
    run = deliver([word(1, "vip")], store, ledger)
    store.lost = lambda request: None
    found = plan_undo(ledger, run, store)
    assert (len(found.changes), found.removes) == (planned, planned)


def test_events_that_were_still_due_are_not_posted_any_more(ledger, store):
    """The run's custom events that never left must not tell of what was undone."""

    def throttle(request):
        if request.method == "POST":
            raise RateLimitError("429", status_code=429, from_postscript=True)

    store.fault = throttle
    run = deliver(MIXED, store, ledger)
    assert ledger.load_open_transitions(SHOP.shop_id)
    store.fault = lambda request: None
    undo(ledger, run, store)
    assert ledger.load_open_transitions(SHOP.shop_id) == []
    assert {*states(ledger).values()} == {"obsolete"}
    deliver([], store, ledger)
    assert store.posted == []


def test_an_event_that_may_have_left_is_no_less_unknown_after_an_undo(ledger, store):
    """The process was killed while one was posted: it is listed as unknown, not as one that never left."""

    def die(request):
        if request.method == "POST":
            raise KeyError("killed")

    store.lost = die
    with pytest.raises(KeyError, match="killed"):
        deliver(MIXED, store, ledger)
    store.lost = lambda request: None
    posting = [key for key, state in states(ledger).items() if state == "posting"]
    undo_run(ledger, ledger.get_run().run_id, store, shop=SHOP, dry_run=False)
    again = deliver([], store, ledger)
    assert {states(ledger)[key] for key in posting} == {"unknown"}
    assert again.summary()["custom_events_unknown"] == len(posting) > 0


# --- traits -----------------------------------------------------------------------------------------------


def set_traits(store, ledger, values):
    """Sync these traits of person 1 and return the run."""
    rows = [
        {"person": "user:u1", "trait_key": key, "value": value, "message_id": "m"}
        for key, value in values.items()
    ]
    state = replace(
        ledger.load_state(SHOP.shop_id),
        people=pd.DataFrame({"person": ["user:u1"], "phone": ["+12025550101"]})
        .reindex(columns=["person", "email", "email_at", "phone", "phone_at"])
        .astype({"person": "str", "email": "str", "phone": "str", "email_at": "datetime64[us, UTC]"})
        .astype({"phone_at": "datetime64[us, UTC]"}),
        traits=pd.DataFrame(rows).reindex(columns=[*TRAIT_COLUMNS]).astype(TRAIT_COLUMNS),
    )
    folded = Folded(events=empty_table(PAYLOAD_COLUMNS), state=state)
    return sync(make_plan(folded, store), folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)


def test_traits_get_their_values_back(ledger):
    """A value that there was is written again; a property that is new cannot be deleted."""
    store = Store({1: []}, tier="gold", sizes=["S"], moved=1, back=1, odd={"a": 1})
    run = set_traits(
        store, ledger, {"tier": '"dust"', "sizes": '["M"]', "moved": "2", "back": "2", "new": "5", "odd": "1"}
    )
    assert run.change_statuses == {"updated": 6}
    store.people["s_1"]["properties"] |= {"moved": 3, "back": 1}
    undone = undo(ledger, run, store)
    assert ends(undone.changes) == {
        ("s_1", "tier"): ("updated", "UNDO_SET"),
        ("s_1", "sizes"): ("updated", "UNDO_SET"),
        ("s_1", "moved"): ("unchanged", "CHANGED_SINCE"),
        ("s_1", "back"): ("unchanged", "TRAIT_SAME_VALUE"),
        ("s_1", "new"): ("conflict", "TRAIT_CANNOT_BE_DELETED"),
        ("s_1", "odd"): ("conflict", "TRAIT_VALUE_UNSUPPORTED"),
    }
    held = store.people["s_1"]["properties"]
    assert (held["tier"], held["sizes"], held["moved"], held["new"]) == ("gold", ["S"], 3, 5)
    assert ledger.load_state(SHOP.shop_id).traits.empty
    store.people.clear()
    planned = plan_undo(ledger, run, store)
    assert {*ends(planned.changes).values()} == {("waiting", "SUBSCRIBER_GONE")}


# --- what cannot be undone --------------------------------------------------------------------------------


def test_refusals(ledger, store, tmp_path):
    """A dry run, another shop, an unknown run and a shop that is being written to are reported apart."""
    with pytest.raises(UnknownRunError):
        undo_run(ledger, "nosuch", store, shop=SHOP)
    rehearsed = deliver(MIXED, store, ledger, dry_run=True)
    with pytest.raises(ParameterError, match="Name the run"):
        undo_run(ledger, "", store, shop=SHOP)
    with pytest.raises(ParameterError, match="was a dry run"):
        undo(ledger, rehearsed, store)
    run = deliver(MIXED, store, ledger)
    with pytest.raises(ParameterError, match=r"Acme Socks \(shop_1\).*Other Socks \(shop_2\)"):
        undo_run(ledger, run.record.run_id, store, shop=OTHER_SHOP)
    ledger.lock_shop(SHOP.shop_id)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as another, pytest.raises(ShopLockedError):
        undo(another, run, store)
    assert store.lists() == AFTER


def test_a_live_call_lets_go_of_the_shop(ledger, store, tmp_path):
    """After a sync and an undo have returned, another process may write while this one lives on."""
    run = deliver(MIXED, store, ledger)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as another:
        another.lock_shop(SHOP.shop_id)
        another.close()
        undo(ledger, run, store)
        another.lock_shop(SHOP.shop_id)


def test_nothing_is_undone_while_it_is_not_known_what_there_is(ledger, store):
    """When the subscribers cannot be read no value is taken back."""
    run = deliver(MIXED, store, ledger)
    stated = remembered(ledger)

    def down(request):
        raise ServerError("503", status_code=503)

    store.fault = down
    with pytest.raises(ServerError):
        undo(ledger, run, store)
    assert remembered(ledger) == stated


# --- the real thing ---------------------------------------------------------------------------------------


def test_against_the_sandbox(ledger):
    """Over HTTP, with the client and the mirror: lists as before, and a repeat brings them forth again."""
    people = [*Store({n: [*held] for n, held in enumerate(BEFORE.values(), start=1)}).people.values()]
    with (
        Sandbox(people, rate=100_000) as sandbox,
        PostscriptClient(sandbox.base_url, "sk_sandbox", requests_per_second=2000) as postscript,
    ):
        shop = connect_shop(postscript)

        def go():
            from stores import fold_events

            from toolkit.sync.plan import plan

            folded = fold_events(MIXED, ledger)
            contacts = check_contacts(folded.state.people)
            fetched = read_subscribers(contacts, postscript, cache=ledger.load_cache(shop.shop_id))
            ledger.save_cache(shop.shop_id, fetched)
            planned = plan(folded.state, contacts, fetched.subscribers, max_removal_share=1.0)
            return sync(planned, folded, shop=shop, postscript=postscript, ledger=ledger, dry_run=False)

        def lists():
            return {i: s["properties"]["Segment Audiences"] for i, s in sandbox.subscribers.items()}

        run = go()
        assert lists() == AFTER
        undone = undo_run(ledger, run.record.run_id, postscript, shop=shop, dry_run=False)
        assert undone.record.status == "completed"
        assert lists() == UNDONE
        go()
        assert lists() == AFTER
