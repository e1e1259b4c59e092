"""Forecast: which members the next sync reaches and what it would change; nothing is written for it."""

from __future__ import annotations

import pandas as pd
import pytest
from stores import (
    OTHER_SHOP,
    SECOND,
    SHOP,
    Store,
    deliver,
    email,
    ends,
    fold_events,
    make_plan,
    phone,
    word,
)

from toolkit import (
    correct,
    forecast,
    plan,
    preview,
    read_corrections,
    read_subscribers,
)
from toolkit.audiences.memberships import fold
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.corrections import fix_table
from toolkit.postscript.subscribers import FetchResult, SubscriberCache
from toolkit.report import funnel_table, reach_table
from toolkit.segment.archive import read_events
from toolkit.segment.destination import Destination
from toolkit.sync.sync import sync

EVENTS = [word(1, "vip"), word(2, "vip", member=False), word(3, "vip"), word(4, "vip", phone="12")]


class Shop(Store):
    """A store that says whose it is."""

    def _answer(self, request):
        if request.path == "/api/v2/me":
            return {"resource_id": SHOP.shop_id, "resource_name": SHOP.name}
        return super()._answer(request)


def state_of(events):
    return fold(read_events(events).payloads()).state


def note_mirror(store, ledger, events=EVENTS):
    """Read the subscribers into the ledger, as a dry run does."""
    contacts = check_contacts(state_of(events).people)
    fetched = read_subscribers(contacts, store, complete=True)
    ledger.save_cache(SHOP.shop_id, fetched)


def reasons(found):
    return dict(zip(found.changes["person"].str[5:], found.changes["reason_code"], strict=True))


def test_without_a_ledger_no_one_was_looked_up():
    """Everybody who can be looked up was not, and the shares are not reported."""
    found = forecast(state_of(EVENTS))
    assert (found.shop_id, found.sentence[:30]) == ("", "Who subscribes is not known: n")
    unknown = dict.fromkeys(["u1", "u2", "u3"], "NOT_LOOKED_UP")
    assert reasons(found) == {**unknown, "u4": "CONTACT_INVALID"}
    row = reach_table(found.changes).iloc[0]
    assert row["members"] == 3
    assert row.drop(["audience_key", "members"]).isna().all()
    assert funnel_table(found.changes)["members"].tolist() == [3, 3, 2, 0]
    assert "look_up" in found.sentence


def test_a_ledger_knows_what_a_sync_read(ledger):
    """Who subscribes, what would change, what earlier runs remember; nothing is sent for it."""
    store = Store({1: [], 2: ["vip"], 5: []})
    deliver([word(5, "old")], store, ledger)
    note_mirror(store, ledger)
    sent = len(store.sent)
    found = forecast(state_of(EVENTS), ledger=ledger)
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
    before = ledger.load_cache(SHOP.shop_id)
    found = forecast(state_of(EVENTS), ledger=ledger, postscript=shop)
    assert {request.method for request in shop.sent} == {"GET"}
    assert found.sentence == f"The subscribers of {SHOP.name}, as they are now."
    assert reasons(found)["u1"] == "ALREADY_IN"
    assert reasons(found)["u3"] == "ENTERED"
    assert (before.read_at, ledger.load_cache(SHOP.shop_id).read_at) == (None, None)


def test_who_came_after_the_last_lookups_is_not_taken_for_not_subscribing(ledger):
    """A mirror of lookups knows those who were asked for; others were not looked up."""
    store = Store({1: []})
    fetched = read_subscribers(check_contacts(state_of([EVENTS[0]]).people), store)
    partial = SubscriberCache(subscribers=fetched.subscribers, asked=frozenset({phone(1)[1:], phone(2)[1:]}))
    deliver([EVENTS[0]], store, ledger)
    ledger.save_cache(SHOP.shop_id, FetchResult(cache=partial, read=store.table(), method="lookups"))
    found = forecast(state_of(EVENTS), ledger=ledger)
    assert reasons(found) == {
        "u1": "ALREADY_IN",
        "u2": "SUBSCRIBER_NOT_FOUND",
        "u3": "NOT_LOOKED_UP",
        "u4": "CONTACT_INVALID",
    }


def test_traits_of_which_nothing_was_read_are_left_out(ledger, tmp_path):
    """Without the property it cannot be reported whether it would change; with a look it can."""
    path = tmp_path / "destination.yaml"
    path.write_text("mappings:\n  - {name: a}\n  - {name: t, action: syncTraits}\n")
    computed = word(1, "points", member=7)
    computed["context"]["personas"]["computation_class"] = "computed_trait"
    state = fold(read_events([*EVENTS, computed]).payloads(Destination.from_file(path))).state
    shop = Shop({1: []})
    note_mirror(shop, ledger)
    deliver([word(1, "vip")], shop, ledger)
    assert forecast(state, ledger=ledger).changes["trait_key"].isna().all()
    looked = forecast(state, ledger=ledger, postscript=shop).changes
    assert looked.loc[looked["trait_key"] == "points", "status"].tolist() == ["would_update"]


def test_members_are_counted_to_the_last_step():
    """Each step is what the one before it left, with what was lost and why; who is out counts nowhere."""
    shop = Shop({1: [], 3: [], 5: [], 6: [], 16: []})
    for name, can_send in (("s_1", True), ("s_3", False), ("s_5", True)):
        shop.people[name]["subscriptions"] = {"promotional": {"can_send": can_send}}
    shop.people["s_16"]["email"] = shop.people["s_6"]["email"]
    shared = word(9, "churn", phone=None, email=email(6))
    events = [*EVENTS, word(5, "vip"), word(6, "churn"), word(7, "vip"), word(8, "vip", phone=None), shared]
    found = forecast(state_of(events), postscript=shop)
    table = funnel_table(found.changes)
    assert table[["step", "members", "lost", "why"]].to_numpy().tolist() == [
        ["Members", 8, 0, ""],
        ["With a phone or email", 7, 1, "1 no contact"],
        ["That can be used", 6, 1, "1 contact invalid"],
        ["Looked up", 6, 0, ""],
        ["One subscriber", 4, 2, "1 subscriber not found, 1 ambiguous match"],
        ["Can be texted", 2, 2, "1 opted out, 1 not known"],
    ]
    assert reach_table(found.changes).to_numpy().tolist() == [
        ["vip", 6, 3, 0.5, 2, 0.3333, 3, 0],
        ["churn", 2, 1, 0.5, 0, 0.0, 1, 0],
    ]


def test_every_rate_has_one_definition():
    """Rates are of the members who were looked up; one audience's are the same when it is chosen alone."""
    shop = Shop({number: ["vip"] for number in (1, 3, 5)})
    shop.people["s_3"]["subscriptions"] = {"promotional": {"can_send": False}}
    shop.people["s_1"]["subscriptions"] = {"promotional": {"can_send": True}}
    events = [
        *EVENTS,
        word(5, "churn"),
        word(6, "churn"),
        word(7, "churn", member=False),
        word(8, "vip", phone=None),
    ]
    folded = fold(read_events(events).payloads())
    whole = make_plan(folded, shop).changes
    tables = {"all": reach_table(whole)}
    for key in ("vip", "churn"):
        contacts = check_contacts(folded.state.choose([key]).people)
        changes = plan(folded.state, contacts, shop.table(), audience_keys=[key]).changes
        tables[key] = reach_table(changes)
        assert tables[key]["audience_key"].tolist() == [key]
        assert funnel_table(changes)["members"].iat[0] == tables[key]["members"].iat[0]
    together = pd.concat([tables["vip"], tables["churn"]], ignore_index=True)
    pd.testing.assert_frame_equal(tables["all"], together)
    for row in tables["all"].itertuples():
        mine = whole[(whole["audience_key"] == row.audience_key) & whole["member"].astype("bool")]
        looked_up = mine[mine["reason_code"] != "NOT_LOOKED_UP"]
        assert row.match_rate == round(looked_up["subscriber_id"].notna().sum() / len(looked_up), 4)
        assert row.reach == round(looked_up["can_send"].fillna(False).sum() / len(looked_up), 4)


def test_not_looked_up_is_not_waiting():
    """A state of its own, which no reason of a subscriber who does not exist shares."""
    found = forecast(state_of(EVENTS)).changes
    unknown = found.loc[found["reason_code"] == "NOT_LOOKED_UP", "status"]
    assert {*unknown} == {"not_looked_up"}
    assert "waiting" not in {*found["status"]}


def test_nothing_asked_for():
    """An archive without audiences gives tables without rows, and a first step of no one."""
    found = forecast(state_of([]))
    assert reach_table(found.changes).empty
    assert funnel_table(found.changes)["members"].tolist() == [0] * 6


def both(events, store, ledger, *, keys=(), corrections=None, region="US"):
    """Return how each person × audience would end by the preview's cells, and by those of the sync."""
    archive = read_events(events)
    state = preview(archive, audience_keys=keys, default_region=region, keep_state=True).state
    reported = {} if corrections is None else {"corrections": corrections}
    seen = forecast(state, ledger=ledger, audience_keys=keys, default_region=region, **reported).changes
    folded = fold(archive.payloads(), remembered=ledger.load_state(SHOP.shop_id))
    if corrections is not None:
        folded, _ = correct(folded, corrections, default_region=region)
    contacts = check_contacts(folded.state.choose(keys).people, default_region=region)
    planned = plan(folded.state, contacts, store.table(), audience_keys=keys).changes
    columns = ["person", "audience_key", "status", "reason_code", "subscriber_id"]
    chosen = planned[planned["audience_key"].isin(keys)] if keys else planned
    return seen[columns].reset_index(drop=True), chosen[columns].reset_index(drop=True)


NO_WORD = {**word(4, "vip"), "traits": {"phone": phone(4)}, "messageId": "no word", "timestamp": SECOND}


@pytest.mark.parametrize(
    ("events", "keys"),
    [
        pytest.param([NO_WORD], (), id="a contact from an event without a word"),
        pytest.param([word(4, "churn", at=SECOND)], ["vip"], id="a contact from another audience"),
        pytest.param([word(1, "churn", at=SECOND)], ["vip"], id="an audience that is only remembered"),
        pytest.param([word(1, "vip", member=False, at=SECOND), word(2, "new")], (), id="newer words"),
        pytest.param([word(1, "vip", at=SECOND)], ["vip"], id="the same word again"),
    ],
)
def test_the_outlook_is_what_the_sync_plans(ledger, events, keys):
    """Row by row what the next sync's own cells plan, remembered memberships and contacts among them."""
    store = Store({1: [], 2: [], 4: []})
    deliver([word(1, "vip"), word(4, "vip", phone="12"), word(2, "vip")], store, ledger)
    note_mirror(store, ledger)
    seen, planned = both(events, store, ledger, keys=keys)
    assert len(planned)
    pd.testing.assert_frame_equal(seen, planned)


def test_the_outlook_knows_the_region_and_the_answers(ledger, tmp_path):
    """A British phone is read as one, and a corrected contact is used."""
    store = Store({1: [], 2: []})
    store.people["s_1"]["phone_number"] = "+442079460018"
    events = [word(1, "vip", phone="020 7946 0018"), word(2, "vip", phone="12")]
    deliver([word(2, "old")], store, ledger)
    note_mirror(store, ledger, [word(1, "vip")])
    broken = check_contacts(state_of(events).people, default_region="GB")
    fixes = fix_table(broken, default_region="GB").assign(correction=phone(2))
    (tmp_path / "answers.csv").write_text(fixes.to_csv(index=False))
    seen, planned = both(
        events, store, ledger, corrections=read_corrections(tmp_path / "answers.csv"), region="GB"
    )
    pd.testing.assert_frame_equal(seen, planned)
    assert {*seen["reason_code"]} == {"ENTERED", "ALREADY_IN"}


def test_of_several_shops_that_of_the_latest_live_run_counts(ledger):
    """A later dry run at another shop, such as a rehearsal, does not answer for it; the sentence says so."""
    store, elsewhere = Store({1: ["vip"]}), Store({})
    note_mirror(store, ledger)
    deliver([word(1, "vip")], store, ledger)
    folded = fold_events(EVENTS, ledger, shop=OTHER_SHOP)
    sync(
        make_plan(folded, elsewhere),
        folded,
        shop=OTHER_SHOP,
        postscript=elsewhere,
        ledger=ledger,
        dry_run=True,
    )
    found = forecast(state_of(EVENTS), ledger=ledger)
    assert found.shop_id == SHOP.shop_id
    assert f"{SHOP.name} (one of 2 shops in the ledger, that of its latest run)" in found.sentence
    assert reasons(found)["u1"] == "ALREADY_IN"
