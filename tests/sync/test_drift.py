"""Drift: where Postscript differs from what should be, and the plan that repairs it."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import strategies as st
from stores import FIRST, SECOND, SHOP, Store, email, ends, new_ledger, phone
from tables import examples

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, TRAIT_COLUMNS, State
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.sync.drift import DRIFT_COLUMNS, DRIFT_KINDS, find_drift, plan_repair
from toolkit.sync.plan.writing import properties_of
from toolkit.sync.sync import sync


def table(columns, rows):
    return pd.DataFrame(rows, columns=[*columns]).astype(columns)


def state_of(words, *, traits=(), by_email=()):
    """Return a state of (number, key, member) and (number, trait, value); some are known by email alone."""
    numbers = sorted({number for number, *_ in [*words, *traits]})
    at = {"timestamp": pd.Timestamp(FIRST), "received_at": pd.Timestamp(FIRST)}
    return State(
        memberships=table(
            MEMBERSHIP_COLUMNS,
            [
                {"person": f"user:u{n}", "audience_key": k, "audience_id": "aud_1", "member": m, **at}
                for n, k, m in words
            ],
        ),
        people=table(
            PEOPLE_COLUMNS,
            [
                {"person": f"user:u{n}", **({"email": email(n)} if n in by_email else {"phone": phone(n)})}
                for n in numbers
            ],
        ),
        traits=table(
            TRAIT_COLUMNS,
            [{"person": f"user:u{n}", "trait_key": k, "value": v, **at} for n, k, v in traits],
        ),
    )


def found(state, store):
    """Return (person, subscriber, key, kind) of each drift."""
    drift = find_drift(state, check_contacts(state.people), store.table(*state.trait_keys))
    assert [*drift.columns] == [*DRIFT_COLUMNS]
    assert {*drift["drift"]} <= {*DRIFT_KINDS}
    about = drift["audience_key"].fillna(drift["trait_key"])
    rows = zip(drift["person"], drift["subscriber_id"], about, drift["drift"], strict=True)
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in rows]


def repair_of(state, store, **options):
    contacts = check_contacts(state.people)
    options = {"max_removal_share": 1.0, **options}
    return plan_repair(state, contacts, store.table(*state.trait_keys), **options)


IN, OUT = True, False
VIP = state_of([(1, "vip", IN), (2, "old", OUT)])


# --- what is reported -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "lists", "drift"),
    [
        (VIP, {1: ["vip"], 2: []}, []),
        (VIP, {1: [], 2: []}, [("user:u1", "s_1", "vip", "missing")]),
        (VIP, {1: None, 2: []}, [("user:u1", "s_1", "vip", "missing")]),
        (VIP, {1: ["vip"], 2: ["old"]}, [("user:u2", "s_2", "old", "extra")]),
        (
            VIP,
            {1: ["vip"], 3: ["old", "vip"]},
            [(None, "s_3", "old", "extra"), (None, "s_3", "vip", "extra")],
        ),
        (VIP, {1: ["vip", "old"]}, [("user:u1", "s_1", "old", "extra")]),
        (VIP, {1: ["vip", "gone"]}, [("user:u1", "s_1", "gone", "ghost key")]),
        (VIP, {3: ["gone"]}, [(None, "s_3", "gone", "ghost key")]),
        (VIP, {1: "vip"}, [("user:u1", "s_1", None, "malformed value")]),
        (VIP, {3: ["vip", 7]}, [(None, "s_3", None, "malformed value")]),
        (VIP, {1: ["vip", "vip"]}, [("user:u1", "s_1", "vip", "malformed value")]),
        (
            VIP,
            {2: ["old", "old"]},
            [("user:u2", "s_2", "old", "extra"), ("user:u2", "s_2", "old", "malformed value")],
        ),
        (VIP, {}, []),
        (State.empty(), {1: ["vip"], 2: ["a", "a"]}, [(None, "s_2", "a", "malformed value")]),
    ],
    ids=[
        "as it should be",
        "missing",
        "no list at all",
        "out and still listed",
        "without a person",
        "no one says so",
        "a ghost",
        "a ghost of no one",
        "a text",
        "a number in the list",
        "twice",
        "out and twice",
        "no one subscribes",
        "a ledger that knows nothing",
    ],
)
def test_kinds_of_drift(state, lists, drift):
    """Each difference has its kind, its subscriber, and the person where one is reached."""
    assert found(state, Store(lists)) == drift


def test_other_values():
    """A property that is not the trait's value is reported with its trait."""
    state = state_of([], traits=[(1, "tier", '"gold"'), (2, "tier", '"gold"'), (3, "tier", '"gold"')])
    store = Store({1: [], 2: [], 3: []}, tier="gold")
    store.people["s_2"]["properties"]["tier"] = "dust"
    del store.people["s_3"]["properties"]["tier"]
    assert found(state, store) == [
        ("user:u2", "s_2", "tier", "other value"),
        ("user:u3", "s_3", "tier", "other value"),
    ]


def test_of_two_persons_the_newer_word_counts():
    """Who shares a subscriber with another person's newer word is not drift by the older one."""
    state = state_of([(1, "vip", OUT), (2, "vip", IN)])
    state.people["phone"] = phone(1)
    state.memberships["timestamp"] = pd.to_datetime([FIRST, SECOND], utc=True)
    assert found(state, Store({1: ["vip"]})) == []
    assert found(state, Store({1: []})) == [("user:u2", "s_1", "vip", "missing")]


def test_subscribers_of_an_ambiguous_person_are_left_alone():
    """Of subscribers who share an ambiguous person's email no one knows what is extra."""
    state = state_of([(1, "vip", IN), (2, "vip", IN)], by_email=[1])
    store = Store({2: ["vip"], 3: ["vip"], 4: ["vip", "ghost"], 5: ["vip"]})
    store.people["s_3"]["email"] = store.people["s_4"]["email"] = email(1)
    assert found(state, store) == [(None, "s_4", "ghost", "ghost key"), (None, "s_5", "vip", "extra")]
    assert repair_of(state, store).changes["subscriber_id"].tolist() == ["s_5"]


def test_contacts_are_masked_also_without_a_person():
    """The person's contact, else the subscriber's; neither in full."""
    drift = find_drift(VIP, check_contacts(VIP.people), Store({1: [], 3: ["vip"]}).table())
    assert drift["phone_masked"].tolist() == ["•••01", "•••03"]
    assert drift["email_masked"].fillna("").tolist() == ["", "u•••@mail.test"]
    assert drift["drift"].to_dict() == {0: "missing", 1: "extra"}


HOSTILE = [
    ["x" * 1_000_000],
    [f"k{i}" for i in range(10_000)],
    ["", "\x00", "\x1f", "=1+1", "<b>"],
    ["half\ud83d"],
    {"a": "object"},
    json.loads("[" * 500 + "]" * 500),
    [None],
    float("nan"),
]


def shorten(value):
    return repr(value)[:12]


@pytest.mark.parametrize("value", HOSTILE, ids=shorten)
def test_hostile_lists(value):
    """Whatever stands in the property is reported as a ghost or as malformed, and can be repaired around."""
    store = Store({1: ["vip"], 3: value})
    kinds = {kind for _, who, _, kind in found(VIP, store) if who == "s_3"}
    is_list = isinstance(value, list) and all(isinstance(key, str) for key in value)
    assert kinds == {"ghost key" if is_list else "malformed value"}
    repair_of(VIP, store, kinds=[*DRIFT_KINDS])


# --- repair -----------------------------------------------------------------------------------------------

MESS = {1: ["other"], 2: ["old", "kept", "kept"], 3: ["vip", "gone"], 4: "vip", 5: ["gone"]}
MESSY = state_of([(1, "vip", IN), (2, "old", OUT), (2, "kept", IN), (6, "other", IN)])


def after(plan):
    """Return subscriber → the one property that is written."""
    rows = zip(plan.writes["subscriber_id"], plan.writes["after"], strict=True)
    return {who: next(iter(properties_of(text).values())) for who, text in rows}


def test_a_repair_brings_back_what_should_be():
    """Missing is added and extra removed; ghosts stay, and what is no list is reported and left alone."""
    repair = repair_of(MESSY, Store(MESS))
    assert after(repair) == {"s_1": ["vip"], "s_2": ["kept"], "s_3": ["gone"]}
    assert ends(repair.changes[repair.changes["audience_key"].notna()]) == {
        ("s_1", "vip"): ("would_add", "ENTERED"),
        ("s_1", "other"): ("would_remove", "EXITED"),
        ("s_2", "old"): ("would_remove", "EXITED"),
        ("s_3", "vip"): ("would_remove", "EXITED"),
        ("s_2", "kept"): ("unchanged", "KEY_LISTED_TWICE"),
    }
    no_list = repair.changes[repair.changes["audience_key"].isna()]
    assert no_list[["person", "status", "reason_code"]].to_numpy().tolist() == [
        ["subscriber s_4", "conflict", "PROPERTY_NOT_A_LIST"]
    ]
    assert repair.changes.set_index("subscriber_id").at["s_3", "person"] == "subscriber s_3"
    assert repair.transitions == 0
    # Six keys are listed (one of them twice), one is to be added; three are removed.
    assert repair.removal_share == 3 / 7


@pytest.mark.parametrize(
    ("options", "lists"),
    [
        ({"kinds": ["missing"]}, {"s_1": ["other", "vip"]}),
        ({"kinds": "missing"}, {"s_1": ["other", "vip"]}),
        ({"kinds": ["extra"]}, {"s_1": [], "s_2": ["kept"], "s_3": ["gone"]}),
        ({"kinds": ["ghost key"]}, {"s_3": ["vip"], "s_5": []}),
        ({"kinds": [], "ghost_keys": ["gone"]}, {"s_3": ["vip"], "s_5": []}),
        ({"kinds": [], "ghost_keys": "gone"}, {"s_3": ["vip"], "s_5": []}),
        ({"kinds": [], "ghost_keys": ["other ghost"]}, {}),
        ({"kinds": ["malformed value"]}, {}),
    ],
    ids=str,
)
def test_only_what_is_asked_for(options, lists):
    """Kinds, and ghost keys by name, choose what is repaired."""
    assert after(repair_of(MESSY, Store(MESS), **options)) == lists


def test_traits_are_set_again():
    """A value that someone else changed gets the trait's value back."""
    state = state_of([], traits=[(1, "tier", '"gold"'), (2, "tier", '"gold"')])
    store = Store({1: [], 2: []}, tier="dust")
    store.people["s_2"]["properties"]["tier"] = "gold"
    assert after(repair_of(state, store)) == {"s_1": "gold"}
    assert after(repair_of(state, store, kinds=["missing"])) == {}


def test_nothing_to_repair():
    """As it should be, there are no rows and no writes."""
    repair = repair_of(VIP, Store({1: ["vip"], 2: []}))
    assert (len(repair.changes), len(repair.writes), repair.removal_share) == (0, 0, 0.0)


def test_a_repair_stops_at_its_limit():
    """The share is of all keys on all lists, so a ledger that knows little cannot empty them."""
    store = Store({1: ["vip"], **{n: ["vip"] for n in range(3, 9)}})
    assert repair_of(VIP, store, max_removal_share=0.5).exceeds_removal_limit
    store = Store({1: ["vip"], 3: ["vip"]})
    assert not repair_of(VIP, store, max_removal_share=0.5).exceeds_removal_limit


@pytest.mark.parametrize(
    "options",
    [{"kinds": ["mising"]}, {"kinds": "ghosts"}, {"custom_events": "all"}, {"max_removal_share": 2}],
    ids=str,
)
def test_bad_options(options):
    """A word that means nothing is refused, with those that do."""
    with pytest.raises(ParameterError, match=r"missing, extra|transitions|0 to 1"):
        repair_of(VIP, Store({}), **options)


def test_a_repair_is_carried_out_once(tmp_path):
    """After it nothing has drifted but what it leaves alone, and a second one writes nothing."""
    store = Store(MESS)
    with new_ledger(tmp_path) as ledger:

        def repair():
            repair = repair_of(MESSY, store, ghost_keys=["gone"])
            return sync(repair, None, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)

        run = repair()
        assert run.record.status == "completed"
        assert store.lists() == {"s_1": ["vip"], "s_2": ["kept"], "s_3": [], "s_4": "vip", "s_5": []}
        assert store.posted == []
        assert ledger.load_state(SHOP.shop_id).memberships.empty
        assert found(MESSY, store) == [(None, "s_4", None, "malformed value")]
        store.sent.clear()
        repair()
        assert store.writes == []


def test_a_repair_without_an_entry_between_posts_no_second_exit(tmp_path):
    """The same key taken off twice, by two repairs, are two transitions; exits and entries alternate."""
    store = Store({1: ["vip"], 2: ["vip"]})
    state = state_of([(1, "vip", IN)])
    with new_ledger(tmp_path) as ledger:
        for _ in range(2):
            store.set_list(2, ["vip"])
            repair = repair_of(state, store, custom_events="transitions")
            run = sync(repair, None, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert store.posted == [("s_2", "vip", "Exited")]
    assert run.changes["reason_code"].tolist() == ["EVENT_ALREADY_SENT"]


KEYS = st.sampled_from(["a", "b", "c", "ghost"])
LISTS = st.dictionaries(st.integers(1, 6), st.lists(KEYS, max_size=4), max_size=6)
WORDS = st.dictionaries(st.tuples(st.integers(1, 5), st.sampled_from("abc")), st.booleans(), max_size=10)


@examples(8, 40, lists=LISTS, words=WORDS)
def test_what_is_repaired_has_not_drifted(lists, words):
    """For any lists and words: carried out, a repair of everything leaves exactly the members listed."""
    state = state_of([(n, k, m) for (n, k), m in words.items()])
    store = Store(lists)
    repair = repair_of(state, store, kinds=[*DRIFT_KINDS])
    for who, listed in after(repair).items():
        store.set_list(int(who[2:]), listed)
    left = found(state, store)
    assert {kind for *_, kind in left} <= {"malformed value"}
    if words:
        members = {(n, k) for (n, k), m in words.items() if m}
        assert {(n, k) for n in lists for k in store.lists()[f"s_{n}"]} == {
            (n, k) for n, k in members if n in lists
        }
