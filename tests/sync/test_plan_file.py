"""A plan as a file: it comes back as it was, and is carried out only as far as the world has not moved."""

from __future__ import annotations

import csv
import io
import json
import stat
import zipfile
from dataclasses import replace

import pandas as pd
import pytest
from stores import (
    FIRST,
    OTHER_SHOP,
    SECOND,
    SHOP,
    Store,
    deliver,
    ends,
    fold_events,
    make_plan,
    phone,
    word,
)

from toolkit.audiences.memberships import PEOPLE_COLUMNS, TRAIT_COLUMNS, Folded, State
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.postscript.api import MAX_PROPERTIES
from toolkit.sync.drift import plan_repair
from toolkit.sync.plan import CHANGE_COLUMNS
from toolkit.sync.plan_file import SavedPlan, load_plan, recheck, save_plan
from toolkit.sync.sync import sync

EVENTS = [
    word(1, "vip"),
    word(2, "vip"),
    word(2, "old", member=False),
    word(3, "old", member=False),
    word(4, "vip"),
    word(9, "vip", email="waiting@mail.test"),
    {"type": "page"},
]
LISTS = {1: [], 2: ["kept", "old"], 3: ["old"], 4: ["vip"]}
AFTER = {"s_1": ["vip"], "s_2": ["kept", "vip"], "s_3": [], "s_4": ["vip"]}
STALE = ("pending", "PLAN_STALE")


@pytest.fixture
def store():
    return Store({number: [*held] for number, held in LISTS.items()})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plans" / "monday.plan"


@pytest.fixture
def saved(ledger, store, path):
    """A plan that was saved and loaded again."""
    folded = fold_events(EVENTS, ledger)
    return load_plan(save_plan(path, make_plan(folded, store), folded, shop=SHOP, default_region="US"))


def carry_out(saved, store, ledger):
    """Do what a person does who executes a saved plan."""
    ready = saved.refresh(store.table(), shop=SHOP, remembered=ledger.load_state(SHOP.shop_id))
    return sync(ready.plan, ready.folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)


# --- the file ---------------------------------------------------------------------------------------------


def test_it_comes_back_as_it_was(ledger, store, path):
    """Plan, state and events are the same, dtypes too; only the events' contacts are left out."""
    folded = fold_events(EVENTS, ledger)
    planned = make_plan(folded, store, custom_events="none", max_removal_share=0.4)
    assert save_plan(path, planned, folded, shop=SHOP, default_region="DE") == path
    saved = load_plan(str(path))
    for name in ("changes", "writes", "subscribers"):
        pd.testing.assert_frame_equal(getattr(saved.plan, name), getattr(planned, name))
    for name in ("memberships", "people", "traits"):
        pd.testing.assert_frame_equal(getattr(saved.folded.state, name), getattr(folded.state, name))
    contacts = ["email", "phone"]
    pd.testing.assert_frame_equal(
        saved.folded.events.drop(columns=contacts), folded.events.drop(columns=contacts)
    )
    assert saved.folded.events[contacts].isna().all(axis=None)
    assert saved.folded.statuses == folded.statuses
    mine = (saved.plan.custom_events, saved.plan.max_removal_share, saved.plan.removal_share)
    assert mine == ("none", 0.4, planned.removal_share)
    assert (saved.shop_id, saved.shop_name) == (SHOP.shop_id, SHOP.name)
    assert saved.saved_at.tzinfo is not None
    expected = check_contacts(folded.state.choose().people, default_region="DE")
    pd.testing.assert_frame_equal(saved.contacts, expected)


def test_only_its_owner_can_read_it(saved, path):
    """The file holds contacts as they are, so no one else may open it; nothing is left beside it."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_people_read_is_masked_and_does_not_run(ledger, store, path):
    """changes.csv shows no contact in full, and a cell that looks like a formula is text."""
    evil = {**word(1, "=cmd()"), "userId": "ana@mail.test"}
    folded = fold_events([evil], ledger)
    save_plan(path, make_plan(folded, store), folded, shop=SHOP, default_region="US")
    with zipfile.ZipFile(path) as packed:
        text = packed.read("changes.csv").decode()
    (row,) = csv.DictReader(io.StringIO(text))
    assert [*row] == [*CHANGE_COLUMNS]
    assert row["audience_key"] == "'=cmd()"
    assert row["status"] == "would_add"
    assert "ana@mail.test" not in text
    assert "2025550101" not in text


def test_an_empty_plan(ledger, path):
    """Nothing asked, nothing planned: that can be saved too."""
    folded = fold_events([], ledger)
    saved = load_plan(save_plan(path, make_plan(folded, Store({})), folded, shop=SHOP, default_region="US"))
    assert (len(saved.plan.changes), saved.folded.received, len(saved.contacts)) == (0, 0, 0)
    assert carry_out(saved, Store({}), ledger).record.status == "completed"


def test_a_plan_of_no_events(ledger, store, path):
    """A repair, which comes from no events, is saved and carried out the same way."""
    deliver(EVENTS, store, ledger)
    store.set_list(1, [])
    store.set_list(4, [])
    state = ledger.load_state(SHOP.shop_id)
    repair = plan_repair(state, check_contacts(state.people), store.table())
    saved = load_plan(save_plan(path, repair, None, shop=SHOP, default_region="US"))
    assert saved.folded is None
    # What the limit on removals is a share of.
    assert saved.plan.looked_at_beside == repair.looked_at_beside != {}
    store.set_list(4, ["foreign"])
    run = carry_out(saved, store, ledger)
    assert ends(run.changes) == {("s_1", "vip"): ("added", "ENTERED"), ("s_4", "vip"): STALE}
    assert store.lists() == {**AFTER, "s_4": ["foreign"]}


def rewritten(path, change):
    """Pack the file again with its members changed, its seal as it was."""
    with zipfile.ZipFile(path) as packed:
        members, seal = {n: packed.read(n) for n in packed.namelist()}, packed.comment
    change(members)
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
        packed.comment = seal


def about_set(members, **values):
    members["plan.json"] = json.dumps({**json.loads(members["plan.json"]), **values}).encode()


@pytest.mark.parametrize(
    ("damage", "stated"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-200]), "is not a saved plan, or is torn"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "was changed after it was saved"),
        (lambda p: p.write_bytes(b""), "is not a saved plan, or is torn"),
        (lambda p: p.write_text("[" * 20_000), "is not a saved plan, or is torn"),
        (lambda p: rewritten(p, lambda m: m.pop("plan.json")), "is not a saved plan, or is torn"),
        (lambda p: rewritten(p, lambda m: m.update({"plan.json": b"[]"})), "is not a saved plan, or is torn"),
        (
            lambda p: rewritten(p, lambda m: m.update({"plan.json": b"[" * 20_000})),
            "is not a saved plan, or is torn",
        ),
        (
            lambda p: rewritten(p, lambda m: m.update({"changes.csv": b"mine"})),
            "was changed after it was saved",
        ),
        (lambda p: rewritten(p, lambda m: m.pop("writes.parquet")), "was changed after it was saved"),
        (lambda p: rewritten(p, lambda m: m.update({"more": b""})), "was changed after it was saved"),
        (
            lambda p: rewritten(p, lambda m: about_set(m, max_removal_share=1)),
            "was changed after it was saved",
        ),
        (lambda p: rewritten(p, lambda m: about_set(m, shop_id="shop_2")), "was changed after it was saved"),
        (lambda p: rewritten(p, lambda m: about_set(m, format=2)), "its format is 2, and this one reads 1"),
    ],
    ids=[
        "torn",
        "torn at the seal",
        "empty",
        "another file",
        "without plan.json",
        "a list for plan.json",
        "deep plan.json",
        "edited for reading",
        "a member less",
        "a member more",
        "another limit",
        "another shop",
        "a newer format",
    ],
)
def test_a_file_that_is_not_as_it_was_saved(saved, path, damage, stated):
    """Torn, edited or newer, it is refused whole, and the sentence says what to do."""
    damage(path)
    with pytest.raises(FileFormatError, match=stated) as caught:
        load_plan(path)
    assert "make another plan" in str(caught.value) or "make a new plan" in str(caught.value)
    assert "monday.plan" in str(caught.value)


def test_no_such_file(tmp_path):
    """A path that leads nowhere is reported as such."""
    with pytest.raises(InputPathError, match="There is no saved plan"):
        load_plan(tmp_path / "nothing.plan")


def test_a_write_that_fails_leaves_the_earlier_file(saved, path, monkeypatch):
    """Written whole or not at all."""
    before = path.read_bytes()

    def fail(*_args, **_named):
        raise OSError("disk full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        save_plan(path, saved.plan, saved.folded, shop=SHOP, default_region="US")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


# --- carried out ------------------------------------------------------------------------------------------


def test_carried_out_as_it_was_planned(saved, store, ledger):
    """If nothing moved, everything planned is sent, and who waits is remembered with the contact."""
    run = carry_out(saved, store, ledger)
    assert store.lists() == AFTER
    assert run.change_statuses == {"added": 2, "removed": 2, "unchanged": 1, "waiting": 1}
    assert run.event_statuses == {"counted": 6, "no_matching_mapping": 1}
    assert run.record.status == "completed"
    people = ledger.load_state(SHOP.shop_id).people.set_index("person")
    assert people.at["user:u9", "email"] == "waiting@mail.test"
    store.add(9, [])
    deliver([], store, ledger)
    assert store.lists()["s_9"] == ["vip"]


def test_carried_out_twice_sends_nothing_the_second_time(saved, store, ledger):
    """What the first execution did is already so."""
    carry_out(saved, store, ledger)
    store.sent.clear()
    run = carry_out(saved, store, ledger)
    assert store.writes == store.posted == []
    assert ends(run.changes)["s_2", "old"] == ("unchanged", "ALREADY_OUT")
    assert ends(run.changes)["s_2", "vip"] == ("unchanged", "ALREADY_IN")
    assert run.record.status == "completed"


def test_another_shop_is_refused(saved, store):
    """A plan is only for the shop it was made for."""
    with pytest.raises(ParameterError, match=r"Acme Socks \(shop_1\).*Other Socks \(shop_2\)"):
        saved.check_shop(OTHER_SHOP)
    with pytest.raises(ParameterError, match="make a new plan"):
        saved.refresh(store.table(), shop=OTHER_SHOP)
    saved.check_shop(replace(SHOP, name="Acme, renamed"))


def add_properties(number, count):
    def change(store):
        properties = store.people[f"s_{number}"]["properties"]
        properties |= {f"p{i}": i for i in range(count - len(properties))}

    return change


def drop_list(number):
    return lambda store: store.people[f"s_{number}"]["properties"].pop("Segment Audiences")


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (lambda s: s.set_list(1, ["foreign"]), {("s_1", "vip"): STALE}),
        (lambda s: s.set_list(1, "vip"), {("s_1", "vip"): STALE}),
        (lambda s: s.set_list(2, ["kept"]), {("s_2", "vip"): STALE, ("s_2", "old"): STALE}),
        (
            lambda s: s.set_list(2, ["vip", "kept"]),
            {("s_2", "vip"): ("unchanged", "ALREADY_IN"), ("s_2", "old"): ("unchanged", "ALREADY_OUT")},
        ),
        (lambda s: s.set_list(2, ["old", "kept"]), {}),
        (lambda s: s.set_list(2, ["old", "old", "kept"]), {("s_2", "vip"): STALE, ("s_2", "old"): STALE}),
        (lambda s: s.people.pop("s_3"), {("s_3", "old"): ("waiting", "SUBSCRIBER_GONE")}),
        (lambda s: s.people["s_1"].update(id="s_77"), {("s_1", "vip"): ("waiting", "SUBSCRIBER_GONE")}),
        (lambda s: (add_properties(2, MAX_PROPERTIES)(s), drop_list(1)(s)), {}),
        (
            lambda s: (drop_list(1)(s), add_properties(1, MAX_PROPERTIES)(s)),
            {("s_1", "vip"): STALE},
        ),
        (lambda s: s.add(8, ["vip"]), {}),
    ],
    ids=[
        "another key",
        "no list any more",
        "one of two done",
        "all done already",
        "another order",
        "listed twice",
        "gone",
        "gone, come back as another",
        "more properties",
        "no room any more",
        "someone else came",
    ],
)
def test_what_has_moved_is_not_written(saved, store, change, moved):
    """Only writes whose subscriber is as the plan saw it stay; each other row says why it does not."""
    before = ends(saved.plan.changes)
    change(store)
    left = recheck(saved.plan, store.table())
    assert ends(left.changes) == {**before, **moved}
    assert left.changes.loc[left.changes["operation"].notna(), "status"].str.startswith("would_").all()
    written = {who for who, _ in before} - {"s_4", ""} - {who for who, _ in moved}
    assert {*left.writes["subscriber_id"]} == written
    held = store.table().set_index("subscriber_id")
    for row in left.writes.itertuples():
        assert row.property_count == held.at[row.subscriber_id, "property_count"]
    assert {*left.subscribers["subscriber_id"]} == {*held.index} & {"s_1", "s_2", "s_3", "s_4"}
    assert ends(saved.plan.changes) == before


def test_what_is_left_is_still_sent_in_order(saved, store, ledger):
    """The rest of a plan goes out as usual, the run needs a look, and a new plan ends it."""
    store.set_list(1, ["foreign"])
    run = carry_out(saved, store, ledger)
    assert store.lists() == {**AFTER, "s_1": ["foreign"]}
    assert run.record.status == "completed_with_errors"
    assert ends(run.changes)["s_1", "vip"] == STALE
    deliver([], store, ledger)
    assert store.lists() == {**AFTER, "s_1": ["foreign", "vip"]}


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda store: None, 2 / 5),
        (lambda store: store.set_list(1, ["foreign"]), 2 / 4),
        (lambda store: store.set_list(3, []), 1 / 4),
        (lambda store: store.set_list(1, ["vip"]), 2 / 5),
        (lambda store: store.people.clear(), 0.0),
    ],
    ids=["nothing moved", "an entry is stale", "a removal is done", "an entry is done", "all gone"],
)
def test_the_share_of_removals_is_that_of_what_is_left(saved, store, change, share):
    """Removals left ÷ memberships still looked at: so many fewer entries may make it pass the limit."""
    assert saved.plan.removal_share == 2 / 5
    change(store)
    assert recheck(saved.plan, store.table()).removal_share == pytest.approx(share)


def test_who_is_another_subscriber_by_now_is_not_written(saved, store):
    """When the phone belongs to someone else, the old subscriber must not get the membership."""
    store.add(55, [])
    store.people["s_55"]["phone_number"] = phone(1)
    store.people["s_1"]["phone_number"] = phone(66)
    ready = saved.refresh(store.table(), shop=SHOP)
    assert ends(ready.plan.changes)["s_1", "vip"] == STALE


# --- words that came meanwhile ----------------------------------------------------------------------------


def test_a_newer_word_stands(saved, store, ledger):
    """A run between plan and execution stated otherwise: its word stays, here and in the ledger."""
    deliver([word(1, "vip", member=False, at=SECOND), word(4, "vip", member=False, at=SECOND)], store, ledger)
    store.set_list(4, ["vip"])  # as the plan saw it: only the ledger knows better
    run = carry_out(saved, store, ledger)
    assert ends(run.changes)["s_1", "vip"] == STALE
    assert ends(run.changes)["s_4", "vip"] == STALE
    assert store.lists() == {**AFTER, "s_1": [], "s_4": ["vip"]}
    state = ledger.load_state(SHOP.shop_id).memberships.set_index(["person", "audience_key"])
    assert not state.at[("user:u1", "vip"), "member"]
    assert state.at[("user:u1", "vip"), "timestamp"] == pd.Timestamp(SECOND)
    assert state.at[("user:u2", "vip"), "member"]


@pytest.mark.parametrize("owner", [5, 6], ids=["a subscriber", "no one that was read"])
def test_who_has_another_phone_by_now_is_not_written_by_the_old_one(saved, store, ledger, owner):
    """The ledger has learned that the person's phone is someone else's: the old holder is left alone."""
    store.add(5, [])
    deliver([word(1, "other", at=SECOND, phone=phone(owner))], store, ledger)
    run = carry_out(saved, store, ledger)
    assert ends(run.changes)["s_1", "vip"] == STALE
    assert store.lists()["s_1"] == []


def test_a_newer_word_stands_against_a_plan_of_no_events(store, ledger, path):
    """A repair that was saved is stale where the person has left meanwhile."""
    deliver([word(1, "vip"), word(4, "vip")], store, ledger)
    store.set_list(1, [])
    store.set_list(4, [])
    state = ledger.load_state(SHOP.shop_id)
    repair = plan_repair(state, check_contacts(state.people, default_region="US"), store.table())
    waiting = load_plan(save_plan(path, repair, None, shop=SHOP, default_region="US"))
    deliver([word(1, "vip", member=False, at=SECOND)], store, ledger)
    store.set_list(4, [])
    run = carry_out(waiting, store, ledger)
    assert ends(run.changes)["s_1", "vip"] == STALE
    assert (store.lists()["s_1"], store.lists()["s_4"]) == ([], ["vip"])


def test_who_is_gone_is_gone_whatever_was_asked(saved, store):
    """Without a subscriber there is nothing that could be stale."""
    del store.people["s_1"]
    gone = recheck(saved.plan, store.table(), overruled=[True] * len(saved.plan.changes))
    assert ends(gone.changes)["s_1", "vip"] == ("waiting", "SUBSCRIBER_GONE")
    assert ends(gone.changes)["s_4", "vip"] == STALE
    assert gone.writes.empty


def test_a_newer_word_that_says_the_same(saved, store, ledger):
    """Sent again meanwhile, the newer word is remembered and the plan still holds."""
    stated = fold_events([word(1, "vip", at=SECOND)], ledger)
    ledger.save_state(SHOP.shop_id, "between", stated.state)
    run = carry_out(saved, store, ledger)
    assert store.lists() == AFTER
    assert ends(run.changes)["s_1", "vip"] == ("added", "ENTERED")
    state = ledger.load_state(SHOP.shop_id).memberships.set_index(["person", "audience_key"])
    assert state.at[("user:u1", "vip"), "timestamp"] == pd.Timestamp(SECOND)


def test_an_older_word_in_the_ledger_gives_way(saved, store, ledger):
    """What the ledger heard later but was stated earlier does not make the plan stale."""
    old = fold_events([word(1, "vip", member=False, at="2024-01-01T00:00:00Z")], ledger)
    ledger.save_state(SHOP.shop_id, "between", old.state)
    assert ends(carry_out(saved, store, ledger).changes)["s_1", "vip"] == ("added", "ENTERED")


def test_other_peoples_words_stay_where_they_are(saved, store, ledger):
    """Words that the plan does not speak of are neither lost nor counted."""
    deliver([word(5, "vip"), word(1, "new", at=SECOND)], store, ledger)
    run = carry_out(saved, store, ledger)
    assert len(run.changes) == len(saved.plan.changes)
    state = ledger.load_state(SHOP.shop_id).memberships
    assert {*zip(state["person"], state["audience_key"], strict=True)} >= {
        ("user:u5", "vip"),
        ("user:u1", "new"),
    }


def test_newer_contacts_stay(saved, store, ledger):
    """An email that came later than the plan's is kept; one that came earlier is not taken back."""
    at = pd.Timestamp(SECOND)
    people = pd.DataFrame([{"person": "user:u9", "email": "newer@mail.test", "email_at": at}])
    people = people.reindex(columns=[*PEOPLE_COLUMNS]).astype(PEOPLE_COLUMNS)
    ledger.save_state(SHOP.shop_id, "between", replace(State.empty(), people=people))
    carry_out(saved, store, ledger)
    kept = ledger.load_state(SHOP.shop_id).people.set_index("person").loc["user:u9"]
    assert (kept["email"], kept["phone"]) == ("newer@mail.test", "+12025550109")


# --- traits -----------------------------------------------------------------------------------------------


@pytest.fixture
def with_traits(ledger, path):
    """A saved plan that sets a trait and adds an audience, and its store."""
    store = Store({1: [], 2: []}, tier="dust", score=1)
    folded = fold_events([word(1, "vip")], ledger)
    rows = [
        {"person": "user:u1", "trait_key": key, "value": value, "timestamp": pd.Timestamp(FIRST)}
        for key, value in (("tier", '"gold"'), ("new", "5"))
    ]
    traits = pd.DataFrame(rows).reindex(columns=[*TRAIT_COLUMNS]).astype(TRAIT_COLUMNS)
    folded = Folded(events=folded.events, state=replace(folded.state, traits=traits))
    planned = make_plan(folded, store)
    assert planned.updates == 2
    saved = load_plan(save_plan(path, planned, folded, shop=SHOP, default_region="US"))
    return saved, store


@pytest.mark.parametrize(
    ("held", "left"),
    [
        ({}, {("would_update", "TRAIT_NEW_VALUE"), ("would_add", "ENTERED")}),
        ({"score": 2}, {("would_update", "TRAIT_NEW_VALUE"), ("would_add", "ENTERED")}),
        ({"tier": "silver"}, {STALE}),
        ({"new": 4}, {STALE}),
        (
            {"tier": "gold", "new": 5, "Segment Audiences": ["vip"]},
            {("unchanged", "TRAIT_SAME_VALUE"), ("unchanged", "ALREADY_IN")},
        ),
    ],
    ids=["nothing moved", "another property", "another value", "a value that was absent", "all done"],
)
def test_traits_are_rechecked_too(with_traits, held, left):
    """One write, list and traits: it is sent when all it writes is as the plan saw it."""
    saved, store = with_traits
    store.people["s_1"]["properties"] |= held
    again = recheck(saved.plan, store.table("tier", "new", "more"))
    assert {*ends(again.changes).values()} == left
    assert len(again.writes) == (1 if "would_add" in {status for status, _ in left} else 0)


def test_traits_must_have_been_read(with_traits):
    """Without the plan's traits nothing can be stated of its writes."""
    saved, store = with_traits
    with pytest.raises(ParameterError, match=r"trait_keys=\['new', 'tier'\]"):
        recheck(saved.plan, store.table())


def test_a_newer_value_of_a_trait_stands(with_traits, ledger):
    """A trait that got another value meanwhile makes its write stale, and its word stays."""
    saved, store = with_traits
    traits = saved.folded.state.traits
    newer = traits[traits["trait_key"] == "tier"].assign(value='"silver"', timestamp=pd.Timestamp(SECOND))
    ledger.save_state(SHOP.shop_id, "between", replace(State.empty(), traits=newer.astype(TRAIT_COLUMNS)))
    ready = saved.refresh(store.table("tier", "new"), shop=SHOP, remembered=ledger.load_state(SHOP.shop_id))
    assert {*ends(ready.plan.changes).values()} == {STALE}
    values = ready.folded.state.traits.set_index("trait_key")["value"].to_dict()
    assert values == {"tier": '"silver"', "new": "5"}


def test_a_saved_plan_is_a_value(saved):
    """Refreshing makes another; the one that was loaded stays as it was."""
    assert isinstance(saved, SavedPlan)
    with pytest.raises(AttributeError):
        saved.shop_id = "shop_2"
