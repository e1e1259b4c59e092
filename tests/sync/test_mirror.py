"""Mirroring a member list: who is listed is in, everybody else is out, and a doubtful list removes no one."""

from __future__ import annotations

import json
import random

import pandas as pd
import pytest
from tables import every

import toolkit
from toolkit.audiences.memberships import State, fold
from toolkit.errors import ParameterError
from toolkit.postscript import api
from toolkit.postscript.subscribers import subscribers_table
from toolkit.sandbox import Sandbox
from toolkit.segment.member_lists import MemberList, read_member_list
from toolkit.sync.mirror import mirror_member_list
from toolkit.sync.plan import plan

AT, EARLIER, LATER = "2025-03-04T10:00:00Z", "2025-03-01T00:00:00Z", "2025-03-05T00:00:00Z"


def phone(number: int) -> str:
    return f"+1202555{100 + number:04}"


def listed(*rows: dict[str, str], at: str = AT, **options) -> MemberList:
    columns = ["user_id", "email", "phone"]
    frame = pd.DataFrame(rows, columns=[*columns, *({*rows[0]} - {*columns})] if rows else columns)
    return read_member_list(frame, **{"audience_key": "vip", "taken_at": at, **options})


def subscriber(name: str, *keys: str, phone: str = "", email: str = "", **properties) -> api.Subscriber:
    if keys:
        properties[api.AUDIENCES_PROPERTY] = [*keys]
    return api.Subscriber(
        subscriber_id=name,
        phone=phone,
        email=email,
        properties=properties,
        can_send=True,
        updated_at="",
    )


def remember(*people: tuple[str, bool, str], key: str = "vip", **contacts: str) -> State:
    """Return a state with these words: person, membership, time; contacts by person's id."""
    rows = [{"user_id": p, "member": str(m).lower(), "at": t, "phone": contacts.get(p)} for p, m, t in people]
    folded = None
    for row in rows:
        words = read_member_list(pd.DataFrame([row]), audience_key=key, taken_at=row["at"]).payloads
        folded = fold(words, remembered=folded.state if folded else None)
    return folded.state


def words(state: State, key: str = "vip") -> dict[str, bool]:
    mine = state.memberships[state.memberships["audience_key"] == key]
    return dict(zip(mine["person"], mine["member"], strict=True))


def lists_after(listed: MemberList, *subscribers: api.Subscriber, **options) -> dict[str, list[str]]:
    """Return who would hold which audiences after the plan."""
    table = subscribers_table(subscribers)
    folded, contacts = mirror_member_list(listed, table, **options)
    decided = plan(folded.state, contacts, table, audience_keys=listed.audience_keys, max_removal_share=1)
    held = {s.subscriber_id: set(api.read_audiences(s.properties) or ()) for s in subscribers}
    for row in decided.changes[decided.changes["operation"].notna()].itertuples():
        (held[row.subscriber_id].add if row.operation == "add" else held[row.subscriber_id].remove)(
            row.audience_key
        )
    return {name: sorted(keys) for name, keys in held.items()}


ANA = {"user_id": "ana", "phone": phone(1)}


# --- doubtful lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "match"),
    [
        (listed({"user_id": "ana\nben", "phone": phone(1)}), "could not be read"),
        (listed({**ANA, "member": "perhaps"}), "could not be read"),
        (listed(), "no members"),
        (listed({**ANA, "member": "false"}), "no members"),
    ],
    ids=["torn", "unreadable membership", "empty", "all out"],
)
def test_a_doubtful_list_removes_no_one_unless_accepted(listed, match):
    """Incomplete or empty: refused with a sentence; accepted, it removes like any other."""
    stranger = subscriber("s_9", "vip", phone=phone(9))
    with pytest.raises(ParameterError, match=match) as raised:
        mirror_member_list(listed, subscribers_table([stranger]))
    assert "accept_incomplete=True" in str(raised.value)
    assert lists_after(listed, stranger, accept_incomplete=True) == {"s_9": []}


# --- who is in, who is out ----------------------------------------------------------------------------


def test_who_is_listed_enters_and_who_is_not_leaves():
    """Members get the audience, strangers lose it, other audiences stay."""
    assert lists_after(
        listed(ANA),
        subscriber("s_1", "churn", phone=phone(1)),
        subscriber("s_2", "churn", "vip", phone=phone(2)),
        subscriber("s_3", "churn"),
    ) == {"s_1": ["churn", "vip"], "s_2": ["churn"], "s_3": ["churn"]}


def test_a_remembered_member_who_is_not_listed_is_out_since_the_snapshot():
    """The word "out" bears the time of the list; a person who was out already keeps the older word."""
    before = remember(("ben", True, EARLIER), ("cas", False, EARLIER), ben=phone(2))
    folded, contacts = mirror_member_list(listed(ANA), subscribers_table([]), remembered=before)
    assert words(folded.state) == {"user:ana": True, "user:ben": False, "user:cas": False}
    at = folded.state.memberships.set_index("person")["timestamp"]
    assert at["user:ben"] == pd.Timestamp(AT)
    assert at["user:cas"] == pd.Timestamp(EARLIER)
    assert contacts.set_index("person")["phone_e164"]["user:ben"] == phone(2)


def test_a_newer_word_stands():
    """Who entered or left after the list was taken is left as the newer event says."""
    before = remember(("ana", False, LATER), ("ben", True, LATER), ana=phone(1), ben=phone(2))
    people = [subscriber("s_1", "vip", phone=phone(1)), subscriber("s_2", phone=phone(2))]
    assert lists_after(listed(ANA), *people, remembered=before) == {"s_1": [], "s_2": ["vip"]}


def test_other_audiences_are_not_touched():
    """Words and lists of audiences that the list is not about stay as they are."""
    before = remember(("ben", True, EARLIER), key="churn", ben=phone(2))
    folded, contacts = mirror_member_list(listed(ANA), subscribers_table([]), remembered=before)
    assert words(folded.state, "churn") == {"user:ben": True}
    assert "user:ben" not in contacts["person"].tolist()
    assert lists_after(listed(ANA), subscriber("s_2", "churn", phone=phone(2)), remembered=before) == {
        "s_2": ["churn"]
    }


def test_a_membership_in_another_audience_keeps_no_one_in_this_one():
    """A subscriber reached by a person without a membership in the audience is a stranger to it."""
    before = remember(("ben", True, EARLIER), key="churn", ben=phone(2))
    people = [subscriber("s_1", phone=phone(1)), subscriber("s_2", "vip", "churn", phone=phone(2))]
    assert lists_after(listed(ANA), *people, remembered=before) == {"s_1": ["vip"], "s_2": ["churn"]}


@pytest.mark.parametrize("name", ["user:b", "anonymous:x", "email:ana@shop.test", f"phone:{phone(1)}"])
def test_another_name_of_a_listed_person_does_not_leave(name):
    """A profile's further ids and contacts are its names too: no word "out" for them."""
    ids = {"user_id": ["a", "b"], "anonymous_id": ["x"], "email": ["Ana@shop.test"], "phone": [phone(1)]}
    listed = read_member_list(
        pd.DataFrame({"key": ["use_1"], "external_ids": [json.dumps(ids)]}), audience_key="vip", taken_at=AT
    )
    frame = pd.DataFrame({"person": [name, "user:zoe"]})
    before = fold(read_member_list(frame, audience_key="vip", taken_at=EARLIER).payloads).state
    folded, _contacts = mirror_member_list(listed, subscribers_table([]), remembered=before)
    assert words(folded.state) == {"user:a": True, name: True, "user:zoe": False}


def test_a_listed_person_goes_before_an_old_name_with_the_same_subscriber():
    """The list knows the person by another id than memory does: the subscriber stays in."""
    before = remember(
        ("zz_old_id", True, EARLIER), ("aa_old_id", True, EARLIER), zz_old_id=phone(1), aa_old_id=phone(1)
    )
    assert lists_after(listed(ANA), subscriber("s_1", "vip", phone=phone(1)), remembered=before) == {
        "s_1": ["vip"]
    }


@pytest.mark.parametrize("names", [("ana", "guest"), ("zoe", "guest")])
def test_of_two_profiles_of_one_subscriber_the_one_who_is_in_decides(names):
    """Whatever they are called: a guest's "false" removes no one who is listed."""
    rows = [
        {"user_id": name, "phone": phone(1), "member": member}
        for name, member in zip(names, ("true", "false"), strict=True)
    ]
    assert lists_after(listed(*rows), subscriber("s_1", "vip", phone=phone(1))) == {"s_1": ["vip"]}


def test_several_audiences_are_mirrored_each_by_itself():
    """A table of two audiences moves people between them."""
    table = pd.DataFrame(
        {
            "user_id": ["ana", "ben"],
            "phone": [phone(1), phone(2)],
            "vip": [True, False],
            "churn": [False, True],
        }
    )
    listed = read_member_list(table, taken_at=AT)
    people = [subscriber("s_1", "churn", phone=phone(1)), subscriber("s_2", "vip", phone=phone(2))]
    people.append(subscriber("s_3", "vip", "churn", "old", phone=phone(3)))
    assert lists_after(listed, *people) == {"s_1": ["vip"], "s_2": ["churn"], "s_3": ["old"]}


# --- which contact ------------------------------------------------------------------------------------


def chosen(
    rows: list[dict[str, str]], *subscribers: api.Subscriber, **options
) -> tuple[str | None, str | None]:
    _folded, contacts = mirror_member_list(listed(*rows), subscribers_table(subscribers), **options)
    mine = contacts.set_index("person").loc["user:ana"]
    return tuple(None if pd.isna(mine[name]) else mine[name] for name in ("phone_e164", "email_clean"))


def ana(*contacts: tuple[str, str]) -> list[dict[str, str]]:
    return [{"user_id": "ana", "phone": p, "email": e} for p, e in contacts]


TWO = ana((phone(1), "a@shop.test"), (phone(2), "b@shop.test"))


@pytest.mark.parametrize(
    ("rows", "subscribers", "expected"),
    [
        (TWO, [], (phone(1), "a@shop.test")),
        (TWO, [subscriber("s", phone=phone(2))], (phone(2), "a@shop.test")),
        (TWO, [subscriber("s", email="b@shop.test")], (phone(1), "b@shop.test")),
        (
            TWO,
            [subscriber("s", phone=phone(2), email="a@shop.test"), subscriber("t", email="b@shop.test")],
            (phone(2), "a@shop.test"),
        ),
        (
            ana(("", "a@shop.test"), ("", "b@shop.test")),
            [
                subscriber(name, email=e)
                for name, e in [("s", "a@shop.test"), ("t", "a@shop.test"), ("u", "b@shop.test")]
            ],
            (None, "b@shop.test"),
        ),
        (ana(("n/a", "x"), (phone(2), "b@shop.test")), [], (phone(2), "b@shop.test")),
        (ana(("n/a", "x")), [], (None, None)),
    ],
    ids=[
        "first usable",
        "phone that finds",
        "email that finds",
        "each by itself",
        "not the shared one",
        "usable",
        "none",
    ],
)
def test_the_contact_that_finds_a_subscriber_is_taken(rows, subscribers, expected):
    """One that finds exactly one subscriber goes first, then a usable one; else the first as it was given."""
    assert chosen(rows, *subscribers) == expected


def test_the_chosen_contact_is_remembered():
    """Later runs, which have no list of candidates, find the person by the contact that worked."""
    table = subscribers_table([subscriber("s", phone=phone(1), email="a@shop.test")])
    folded, _contacts = mirror_member_list(listed(*TWO), table)
    assert folded.state.people[["phone", "email"]].to_numpy().tolist() == [[phone(1), "a@shop.test"]]


def test_a_remembered_contact_is_used_where_the_snapshot_has_none():
    """A list of ids alone reaches people by earlier events' contacts; a newer one goes before the list's."""
    before = remember(("ana", True, EARLIER), ana=phone(5))
    assert chosen([{"user_id": "ana"}], remembered=before) == (phone(5), None)
    assert chosen([ANA], remembered=before) == (phone(1), None)
    newer = remember(("ana", True, LATER), ana=phone(5))
    assert chosen([ANA], remembered=newer) == (phone(5), None)


def test_subscribers_reached_by_any_contact_of_a_member_are_no_strangers():
    """A member's second subscriber keeps the audience: it is theirs."""
    people = [subscriber("s_1", phone=phone(1)), subscriber("s_2", "vip", phone=phone(2))]
    people += [subscriber(name, "vip", email="b@shop.test") for name in ("s_3", "s_4")]
    assert lists_after(listed(*TWO), *people) == {
        "s_1": ["vip"],
        "s_2": ["vip"],
        "s_3": ["vip"],
        "s_4": ["vip"],
    }


# --- strangers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stranger",
    [
        subscriber("s_9", "vip", phone="+1 (202) 555-0109"),
        subscriber("s_9", "vip", email="Zoe@Shop.test"),
        subscriber("s_9", "vip", phone="99"),
        subscriber("s_9", "vip", email="no address"),
        subscriber("s_9", "vip", phone=phone(9), email="shared@shop.test"),
        subscriber("s_9", "vip", phone="+12025550177", email="zoe@shop.test"),
    ],
    ids=["phone", "email", "odd phone", "odd email", "shared email", "shared phone"],
)
def test_a_stranger_is_removed_by_what_it_alone_has(stranger):
    """Each is found by its own contact as Postscript holds it, usable or not, and no one else is hit."""
    others = [
        subscriber("s_1", phone=phone(1)),
        subscriber("s_7", email="shared@shop.test", phone="+12025550177"),
    ]
    assert lists_after(listed(ANA), stranger, *others) == {"s_9": [], "s_1": ["vip"], "s_7": []}


def test_a_stranger_is_a_person_of_its_own():
    """It is named after the subscriber, is out since the list, and is remembered."""
    table = subscribers_table([subscriber("s_9", "vip", phone=phone(9), email="zoe@shop.test")])
    folded, contacts = mirror_member_list(listed(ANA), table)
    assert words(folded.state) == {"user:ana": True, "subscriber s_9": False}
    person = folded.state.people.set_index("person").loc["subscriber s_9"]
    assert (person["phone"], person["email"], person["phone_at"]) == (
        phone(9),
        "zoe@shop.test",
        pd.Timestamp(AT),
    )
    assert contacts.columns.tolist() == toolkit.check_contacts(folded.state.people).columns.tolist()
    assert folded.received == 1


def test_a_stranger_that_nothing_identifies_is_seen_in_the_plan():
    """Without a contact of its own a subscriber is not guessed at: the plan names it and why it waits."""
    people = [subscriber("s_9", "vip"), *(subscriber(n, "vip", phone=phone(8)) for n in ("s_7", "s_8"))]
    table = subscribers_table([*people, subscriber("s_1", phone=phone(1))])
    folded, contacts = mirror_member_list(listed(ANA), table)
    changes = plan(folded.state, contacts, table).changes.set_index("person")["reason_code"]
    assert changes["subscriber s_9"] == "NO_CONTACT"
    assert {"subscriber s_7", "subscriber s_8"} < {*changes.index}


def test_the_same_stranger_twice_is_one_person():
    """Mirrored again after someone put the audience back by hand: one word, the newer."""
    person = subscriber("s_9", "vip", phone=phone(9))
    folded, _contacts = mirror_member_list(listed(ANA), subscribers_table([person]))
    moved = subscriber("s_9", "vip", phone=phone(10))
    again, _contacts = mirror_member_list(
        listed(ANA, at=LATER), subscribers_table([moved]), remembered=folded.state
    )
    assert words(again.state) == {"user:ana": True, "subscriber s_9": False}
    assert again.state.people.set_index("person")["phone"]["subscriber s_9"] == phone(10)
    assert lists_after(listed(ANA, at=LATER), moved, remembered=folded.state) == {"s_9": []}


def test_lists_that_are_none_are_left_alone():
    """A property that is no list of texts names no audience."""
    odd = subscriber("s_9", phone=phone(9), **{api.AUDIENCES_PROPERTY: "vip"})
    folded, _contacts = mirror_member_list(listed(ANA), subscribers_table([odd]))
    assert words(folded.state) == {"user:ana": True}


# --- the whole ----------------------------------------------------------------------------------------


@every("seed", range(30), quick=5)
def test_lists_are_the_snapshot_whatever_was_before(seed):
    """Random people, memories and lists: afterwards a subscriber is in exactly if a member has its phone."""
    chance = random.Random(seed)
    shop = range(12)
    people = [
        subscriber(f"s_{n}", *chance.sample(["vip", "churn"], chance.randrange(3)), phone=phone(n))
        for n in shop
    ]
    before = remember(
        *((f"u{n}", chance.random() < 0.6, EARLIER) for n in chance.sample(shop, 6)),
        **{f"u{n}": phone(n) for n in shop},
    )
    members = chance.sample(range(15), 5)
    after = lists_after(
        listed(*({"user_id": f"u{n}", "phone": phone(n)} for n in members)), *people, remembered=before
    )
    assert {name for name, keys in after.items() if "vip" in keys} == {f"s_{n}" for n in members if n in shop}
    assert {n: "churn" in keys for n, keys in after.items()} == {
        s.subscriber_id: "churn" in (api.read_audiences(s.properties) or ()) for s in people
    }


def sync_snapshot(sandbox: Sandbox, listed: MemberList, ledger_path) -> toolkit.Run:
    with (
        toolkit.PostscriptClient(sandbox.base_url, "sk_sandbox", requests_per_second=2000) as postscript,
        toolkit.Ledger(f"sqlite:///{ledger_path}") as ledger,
    ):
        shop = toolkit.connect_shop(postscript)
        everybody = subscribers_table(api.parse_subscriber(row) for row in sandbox.subscribers.values())
        folded, contacts = mirror_member_list(listed, everybody, remembered=ledger.load_state(shop.shop_id))
        decided = plan(
            folded.state, contacts, everybody, audience_keys=listed.audience_keys, max_removal_share=0.9
        )
        return toolkit.sync(decided, folded, shop=shop, postscript=postscript, ledger=ledger, dry_run=False)


def test_from_file_to_lists_in_the_shop(tmp_path):
    """Read, mirrored, planned and sent: the shop has the lists it asks for; a second time nothing is sent."""
    rows = [{"id": f"s_{n}", "phone_number": phone(n), "properties": {"tier": "gold"}} for n in range(40)]
    for row in rows[20:30]:
        row["properties"] |= {api.AUDIENCES_PROPERTY: ["vip_customers", "kept"]}
    rows.append(
        {
            "id": "s_mail",
            "email": "Mail@Shop.test",
            "properties": {api.AUDIENCES_PROPERTY: ["vip_customers"]},
        }
    )

    def listed(members: range, at: str) -> MemberList:
        path = tmp_path / "members.csv"
        lines = [f"u{n},{phone(n + 50)},{phone(n)}" for n in members]
        path.write_text("\n".join(["user_id,phone,phone_1", *lines, ""]))
        return read_member_list(path, audience_key="vip_customers", taken_at=at)

    def holders(sandbox: Sandbox) -> set[str]:
        held = {i: s["properties"].get(api.AUDIENCES_PROPERTY) or [] for i, s in sandbox.subscribers.items()}
        assert {i for i, keys in held.items() if "kept" in keys} == {f"s_{n}" for n in range(20, 30)}
        return {i for i, keys in held.items() if "vip_customers" in keys}

    with Sandbox(rows, rate=100_000) as sandbox:
        run = sync_snapshot(sandbox, listed(range(15, 25), AT), tmp_path / "ledger.db")
        assert run.record.status == "completed"
        assert holders(sandbox) == {f"s_{n}" for n in range(15, 25)}
        assert len(sandbox.custom_events) == 5 + 5 + 1

        before = len(sandbox.journal)
        sync_snapshot(sandbox, listed(range(15, 25), AT), tmp_path / "ledger.db")
        assert {entry["method"] for entry in sandbox.journal[before:]} == {"GET"}

        sync_snapshot(sandbox, listed(range(10, 20), LATER), tmp_path / "ledger.db")
        assert holders(sandbox) == {f"s_{n}" for n in range(10, 20)}
        assert all(
            row["properties"]["tier"] == "gold" for i, row in sandbox.subscribers.items() if i != "s_mail"
        )


@pytest.mark.slow
def test_a_large_list_is_mirrored():
    """A hundred thousand rows are read and mirrored."""
    rows = range(100_000)
    frame = pd.DataFrame({"user_id": [f"u{n}" for n in rows], "email": [f"u{n}@shop.test" for n in rows]})
    table = subscribers_table([subscriber("s_9", "vip", phone=phone(9))])
    listed = read_member_list(frame, audience_key="vip", taken_at=AT)
    folded, contacts = mirror_member_list(listed, table)
    assert folded.statuses == {"counted": 100_000}
    assert len(contacts) == 100_001
