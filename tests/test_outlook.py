"""Outlook: whom the next sync reaches and what it would change; nothing is written for it."""

from __future__ import annotations

import pytest
from stores import SHOP, Store, deliver, email, ends, make_plan, new_ledger, phone, word

from toolkit import drop_out_table, outlook, reach_table, read_subscribers
from toolkit.archive import read_events
from toolkit.contacts import check_contacts
from toolkit.destination import Destination
from toolkit.memberships import fold
from toolkit.mirror import Mirror, Reading

EVENTS = [word(1, "vip"), word(2, "vip", member=False), word(3, "vip"), word(4, "vip", phone="12")]


class Shop(Store):
    """A store that says whose it is."""

    def _answer(self, request):
        if request.path == "/api/v2/me":
            return {"resource_id": SHOP.shop_id, "resource_name": SHOP.name}
        return super()._answer(request)


@pytest.fixture
def ledger(tmp_path):
    with new_ledger(tmp_path) as opened:
        yield opened


def state_of(events):
    return fold(read_events(events).payloads()).state


def note_mirror(store, ledger, events=EVENTS):
    """Read the subscribers into the ledger, as a dry run does."""
    contacts = check_contacts(state_of(events).people)
    reading = read_subscribers(contacts, store, complete=True)
    ledger.save_mirror(SHOP.shop_id, reading)


def reasons(found):
    return dict(zip(found.changes["person"].str[5:], found.changes["reason_code"], strict=True))


def test_without_a_ledger_nobody_is_said_not_to_subscribe():
    """Everybody who can be looked up was not, and the shares are not told."""
    found = outlook(state_of(EVENTS))
    assert (found.shop_id, found.sentence[:30]) == ("", "Who subscribes is not known: n")
    unknown = dict.fromkeys(["u1", "u2", "u3"], "NOT_LOOKED_UP")
    assert reasons(found) == {**unknown, "u4": "CONTACT_INVALID"}
    row = reach_table(found.changes).iloc[0]
    assert (row["members"], row["subscribers"]) == (3, 0)
    assert row[["match_rate", "reach"]].isna().all()


def test_a_ledger_knows_what_a_sync_read(ledger):
    """Who subscribes, what would change, what earlier runs remember; nothing is sent for it."""
    store = Store({1: [], 2: ["vip"], 5: []})
    deliver([word(5, "old")], store, ledger)
    note_mirror(store, ledger)
    sent = len(store.sent)
    found = outlook(state_of(EVENTS), ledger=ledger)
    assert len(store.sent) == sent
    assert f"The subscribers of {SHOP.name}, as a sync read them on 20" in found.sentence
    assert reasons(found) == {
        "u1": "ENTERED",
        "u2": "EXITED",
        "u3": "SUBSCRIBER_NOT_FOUND",
        "u4": "CONTACT_INVALID",
        "u5": "ALREADY_IN",
    }
    whole = fold(read_events([*EVENTS, word(5, "old")]).payloads())
    assert ends(found.changes) == ends(make_plan(whole, store).changes)


def test_a_look_asks_postscript_and_writes_nothing(ledger):
    """Only GETs, and neither mirror nor run is left in the ledger."""
    shop = Shop({1: ["vip"], 3: []})
    before = ledger.load_mirror(SHOP.shop_id)
    found = outlook(state_of(EVENTS), ledger=ledger, postscript=shop)
    assert {request.method for request in shop.sent} == {"GET"}
    assert found.sentence == f"The subscribers of {SHOP.name}, as they are now."
    assert reasons(found)["u1"] == "ALREADY_IN"
    assert reasons(found)["u3"] == "ENTERED"
    assert (before.read_at, ledger.load_mirror(SHOP.shop_id).read_at) == (None, None)


def test_who_came_after_the_last_lookups_is_not_taken_for_nobody(ledger):
    """A mirror of lookups knows those who were asked for; others were not looked up."""
    store = Store({1: []})
    reading = read_subscribers(check_contacts(state_of([EVENTS[0]]).people), store)
    partial = Mirror(subscribers=reading.subscribers, asked=frozenset({phone(1)[1:], phone(2)[1:]}))
    deliver([EVENTS[0]], store, ledger)
    ledger.save_mirror(SHOP.shop_id, Reading(mirror=partial, read=store.table(), method="lookups"))
    found = outlook(state_of(EVENTS), ledger=ledger)
    assert reasons(found) == {
        "u1": "ALREADY_IN",
        "u2": "SUBSCRIBER_NOT_FOUND",
        "u3": "NOT_LOOKED_UP",
        "u4": "CONTACT_INVALID",
    }


def test_traits_of_which_nothing_was_read_are_left_out(ledger, tmp_path):
    """Without the property it cannot be told whether it would change; with a look it can."""
    path = tmp_path / "destination.yaml"
    path.write_text("mappings:\n  - {name: a}\n  - {name: t, action: syncTraits}\n")
    computed = word(1, "points", member=7)
    computed["context"]["personas"]["computation_class"] = "computed_trait"
    state = fold(read_events([*EVENTS, computed]).payloads(Destination.from_file(path))).state
    shop = Shop({1: []})
    note_mirror(shop, ledger)
    deliver([word(1, "vip")], shop, ledger)
    assert outlook(state, ledger=ledger).changes["trait_key"].isna().all()
    looked = outlook(state, ledger=ledger, postscript=shop).changes
    assert looked.loc[looked["trait_key"] == "points", "status"].tolist() == ["would_update"]


def test_members_are_counted_to_the_last_step():
    """Each step is what the one before it left, with what was lost and why; who is out counts nowhere."""
    shop = Shop({1: [], 3: [], 5: [], 6: [], 16: []})
    for name, can_send in (("s_1", True), ("s_3", False), ("s_5", True)):
        shop.people[name]["subscriptions"] = {"promotional": {"can_send": can_send}}
    shop.people["s_16"]["email"] = shop.people["s_6"]["email"]
    shared = word(9, "churn", phone=None, email=email(6))
    events = [*EVENTS, word(5, "vip"), word(6, "churn"), word(7, "vip"), word(8, "vip", phone=None), shared]
    found = outlook(state_of(events), postscript=shop)
    table = drop_out_table(found.changes)
    assert table[["step", "members", "lost", "why"]].to_numpy().tolist() == [
        ["Members", 8, 0, ""],
        ["With a contact", 7, 1, "1 no contact"],
        ["That can be used", 6, 1, "1 contact invalid"],
        ["Looked up", 6, 0, ""],
        ["One subscriber", 4, 2, "1 subscriber not found, 1 ambiguous match"],
        ["Can be texted", 2, 2, "1 opted out, 1 not told"],
    ]
    assert reach_table(found.changes).to_numpy().tolist() == [
        ["vip", 6, 3, 0.5, 2, 0.3333, 3, 0],
        ["churn", 2, 1, 0.5, 0, 0.0, 1, 0],
    ]


def test_nothing_asked_for():
    """An archive without audiences gives tables without rows, and a first step of nobody."""
    found = outlook(state_of([]))
    assert reach_table(found.changes).empty
    assert drop_out_table(found.changes)["members"].tolist() == [0] * 6
