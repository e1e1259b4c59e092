import json
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from toolkit.audiences.memberships import (
    MEMBERSHIP_COLUMNS,
    PEOPLE_COLUMNS,
    TRAIT_COLUMNS,
    State,
    count_statuses,
)
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.frames import TEXT, json_text
from toolkit.postscript.api import AUDIENCES_PROPERTY, Subscriber
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS, subscribers_table
from toolkit.sync.plan import CHANGE_COLUMNS, plan
from toolkit.sync.plan.columns import NONE, SEVERAL, find_single, new_list
from toolkit.sync.plan.matching import match_people
from toolkit.sync.plan.removal_limit import count_removals
from toolkit.sync.plan.writing import WRITE_COLUMNS, properties_of
from toolkit.sync.plan_file import recheck

PHONE, OTHER_PHONE = "+14155550100", "+14155550101"
EMAIL, OTHER_EMAIL = "ana@mail.test", "ben@mail.test"


def subscriber(number=1, *, phone="", email="", held=(), properties=None, can_send=True):
    if properties is None:
        properties = {"Segment Audiences": [*held]} if held else {}
    return Subscriber(
        subscriber_id=f"s_{number}",
        phone=phone,
        email=email,
        properties=properties,
        can_send=can_send,
        updated_at="2025-01-02T00:00:00Z",
    )


def asked(*words, people):
    """Return a state of (person, key, member[, second]) and {person: (email, phone)}."""
    memberships = pd.DataFrame(
        [
            {
                "person": person,
                "audience_key": key,
                "audience_id": f"aud_{key}",
                "member": member,
                "timestamp": pd.Timestamp("2026-03-01", tz="UTC") + pd.Timedelta(seconds=sum(second)),
                "received_at": pd.Timestamp("2026-03-02", tz="UTC"),
                "message_id": f"m{number:03}",
            }
            for number, (person, key, member, *second) in enumerate(words)
        ],
        columns=[*MEMBERSHIP_COLUMNS],
    ).astype(MEMBERSHIP_COLUMNS)
    known = pd.DataFrame(
        [{"person": person, "email": email, "phone": phone} for person, (email, phone) in people.items()],
        columns=[*PEOPLE_COLUMNS],
    )
    return State(memberships=memberships, people=known.astype(PEOPLE_COLUMNS))


def make_plan(state, subscribers, **options):
    return plan(state, check_contacts(state.people), subscribers_table(subscribers), **options)


def ana(*words):
    """Return a state of (key, member) of one person with an email and a phone."""
    return asked(*(("user:1", *word) for word in words), people={"user:1": (EMAIL, PHONE)})


def decisions(found):
    changes = found.changes
    return list(zip(changes["status"], changes["reason_code"], strict=True))


def lists(found):
    after = {w.subscriber_id: properties_of(w.after) for w in found.writes.itertuples()}
    return {i: tuple(properties[AUDIENCES_PROPERTY]) for i, properties in after.items()}


def writes(found):
    """Return the writes, their texts read."""
    read = {name: found.writes[name].map(properties_of) for name in ("before", "after")}
    return found.writes.assign(**read).to_dict("records")


def plain(series):
    return series.astype("object").where(series.notna(), None).tolist()


# --- matching ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contact", "subscribers", "expected"),
    [
        pytest.param(
            (EMAIL, PHONE),
            [subscriber(1, phone=PHONE), subscriber(2, email=EMAIL)],
            ("s_1", "phone", None),
            id="the phone comes first",
        ),
        pytest.param(
            (EMAIL, PHONE),
            [subscriber(1, phone=OTHER_PHONE), subscriber(2, email=EMAIL)],
            ("s_2", "email", None),
            id="then the email",
        ),
        pytest.param(
            (None, "(415) 555-0100"),
            [subscriber(1, phone="+1 (415) 555-0100")],
            ("s_1", "phone", None),
            id="only digits are compared",
        ),
        pytest.param(
            (None, PHONE), [subscriber(1, phone="14155550100")], ("s_1", "phone", None), id="without a plus"
        ),
        pytest.param(
            (" ANA@Mail.test", None),
            [subscriber(1, email="aNa@mail.TEST ")],
            ("s_1", "email", None),
            id="email in any case",
        ),
        pytest.param(
            ("STRAßE@mail.test", None),
            [subscriber(1, email="strasse@mail.test")],
            (None, None, "SUBSCRIBER_NOT_FOUND"),
            id="another letter is another address",
        ),
        pytest.param(
            ("Ana@xn--bcher-kva.mail.test", None),
            [subscriber(1, email="ana@BÜCHER.mail.test")],
            ("s_1", "email", None),
            id="an encoded domain is the same domain",
        ),
        pytest.param(
            (EMAIL, None),
            [subscriber(1, email=EMAIL), subscriber(2, email="Ana@mail.test")],
            (None, None, "AMBIGUOUS_MATCH"),
            id="several share the email",
        ),
        pytest.param(
            (EMAIL, PHONE),
            [subscriber(1, email=EMAIL), subscriber(2, email=EMAIL, phone=PHONE)],
            ("s_2", "phone", None),
            id="the phone decides between several",
        ),
        pytest.param(
            (OTHER_EMAIL, PHONE),
            [subscriber(1, phone=PHONE), subscriber(2, phone=PHONE), subscriber(3, email=OTHER_EMAIL)],
            (None, None, "AMBIGUOUS_MATCH"),
            id="several share the phone",
        ),
        pytest.param(
            (EMAIL, PHONE),
            [subscriber(1), subscriber(2, phone=OTHER_PHONE, email=OTHER_EMAIL)],
            (None, None, "SUBSCRIBER_NOT_FOUND"),
            id="no one",
        ),
        pytest.param((EMAIL, PHONE), [], (None, None, "SUBSCRIBER_NOT_FOUND"), id="no subscribers at all"),
        pytest.param(
            ("ana", "n/a"),
            [subscriber(1)],
            (None, None, "CONTACT_INVALID"),
            id="contacts that cannot be used",
        ),
        pytest.param(
            (EMAIL, "n/a"), [subscriber(1, email=EMAIL)], ("s_1", "email", None), id="one of two can be used"
        ),
        pytest.param((None, None), [subscriber(1)], (None, None, "NO_CONTACT"), id="no contact"),
    ],
)
def test_matching(contact, subscribers, expected):
    """Phone first, then email; several or none is stated, never guessed; an absent contact finds no one."""
    people = pd.DataFrame([("user:1", *contact)], columns=["person", "email", "phone"], dtype="str")
    found = match_people(check_contacts(people), subscribers_table(subscribers))
    columns = ["person", "subscriber_id", "match_method", "reason_code"]
    assert [*found.columns] == columns
    assert tuple(plain(found.loc[0, columns])) == ("user:1", *expected)


def test_matching_keeps_order_and_index():
    """People come back in the order and under the index given."""
    people = pd.DataFrame(
        [("b", None, PHONE), ("a", OTHER_EMAIL, None)],
        columns=["person", "email", "phone"],
        index=[7, 3],
        dtype="str",
    )
    subscribers = [subscriber(1, email=OTHER_EMAIL), subscriber(2, phone=PHONE)]
    found = match_people(check_contacts(people), subscribers_table(subscribers))
    assert found.index.tolist() == [7, 3]
    assert found["person"].tolist() == ["b", "a"]
    assert found["subscriber_id"].tolist() == ["s_2", "s_1"]


# --- one membership ----------------------------------------------------------------------------------------

FIFTY = {f"p{n}": n for n in range(50)}


@pytest.mark.parametrize(
    ("member", "held", "decision", "operation"),
    [
        pytest.param(True, (), ("would_add", "ENTERED"), "add", id="enters"),
        pytest.param(True, ("old",), ("would_add", "ENTERED"), "add", id="enters beside another"),
        pytest.param(True, ("VIP",), ("would_add", "ENTERED"), "add", id="keys differ by case"),
        pytest.param(False, ("vip",), ("would_remove", "EXITED"), "remove", id="leaves"),
        pytest.param(True, ("vip",), ("unchanged", "ALREADY_IN"), None, id="already in"),
        pytest.param(True, ("vip", "vip"), ("unchanged", "ALREADY_IN"), None, id="already in twice"),
        pytest.param(False, ("old",), ("unchanged", "ALREADY_OUT"), None, id="already out"),
        pytest.param(False, (), ("unchanged", "ALREADY_OUT"), None, id="out of nothing"),
    ],
)
def test_one_membership(member, held, decision, operation):
    """Only a difference between what is asked and what is held is an operation and a write."""
    found = make_plan(ana(("vip", member)), [subscriber(phone=PHONE, held=held)])
    assert decisions(found) == [decision]
    assert plain(found.changes["operation"]) == [operation]
    assert len(found.writes) == found.transitions == (operation is not None)


@pytest.mark.parametrize(
    ("properties", "word", "decision"),
    [
        pytest.param(
            {"Segment Audiences": "vip"}, True, ("conflict", "PROPERTY_NOT_A_LIST"), id="a text, to add"
        ),
        pytest.param(
            {"Segment Audiences": "vip"}, False, ("conflict", "PROPERTY_NOT_A_LIST"), id="a text, to remove"
        ),
        pytest.param({"Segment Audiences": 7}, True, ("conflict", "PROPERTY_NOT_A_LIST"), id="a number"),
        pytest.param(
            {"Segment Audiences": ["vip", 7]}, True, ("conflict", "PROPERTY_NOT_A_LIST"), id="a mixed list"
        ),
        pytest.param({"Segment Audiences": None}, True, ("would_add", "ENTERED"), id="null is empty"),
        pytest.param({"Segment Audiences": []}, True, ("would_add", "ENTERED"), id="an empty list"),
        pytest.param(FIFTY, True, ("conflict", "PROPERTY_LIMIT"), id="a 51st property"),
        pytest.param(FIFTY, False, ("unchanged", "ALREADY_OUT"), id="50 properties, nothing to add"),
        pytest.param(
            {**FIFTY, "Segment Audiences": ["x"]}, True, ("would_add", "ENTERED"), id="ours is among 51"
        ),
        pytest.param(
            {k: v for k, v in FIFTY.items() if v}, True, ("would_add", "ENTERED"), id="ours is the 50th"
        ),
    ],
)
def test_properties_that_stand_in_the_way(properties, word, decision):
    """A property that is not a list, or a 51st one, is reported and never written over."""
    found = make_plan(ana(("vip", word)), [subscriber(phone=PHONE, properties=properties)])
    assert decisions(found) == [decision]
    assert len(found.writes) == (decision[1] == "ENTERED")


@pytest.mark.parametrize(
    ("contact", "subscribers", "decision"),
    [
        ((EMAIL, PHONE), [], ("waiting", "SUBSCRIBER_NOT_FOUND")),
        (
            (EMAIL, None),
            [subscriber(1, email=EMAIL), subscriber(2, email=EMAIL)],
            ("ambiguous", "AMBIGUOUS_MATCH"),
        ),
        (("ana", "n/a"), [], ("no_usable_contact", "CONTACT_INVALID")),
        ((None, None), [], ("no_usable_contact", "NO_CONTACT")),
    ],
    ids=["waiting", "ambiguous", "invalid", "none"],
)
def test_people_who_cannot_be_reached(contact, subscribers, decision):
    """Who is not clearly one subscriber ends in a status that says why, with no subscriber and no write."""
    found = make_plan(asked(("user:1", "vip", True), people={"user:1": contact}), subscribers)
    assert decisions(found) == [decision]
    assert plain(found.changes["subscriber_id"]) == plain(found.changes["match_method"]) == [None]
    assert len(found.writes) == 0


def test_person_unknown_to_the_contacts():
    """A membership of someone whose contacts were not given has no contact; no one else's are used."""
    state = asked(("user:1", "vip", True), ("user:2", "vip", True), people={"user:2": (EMAIL, None)})
    found = make_plan(state, [subscriber(email=EMAIL)])
    assert decisions(found) == [("no_usable_contact", "NO_CONTACT"), ("would_add", "ENTERED")]


@pytest.mark.parametrize(
    ("can_send", "skip", "statuses"),
    [
        pytest.param(False, True, ["skipped", "skipped", "unchanged"], id="opted out, skipped"),
        pytest.param(False, False, ["would_add", "would_remove", "unchanged"], id="opted out, not asked"),
        pytest.param(True, True, ["would_add", "would_remove", "unchanged"], id="can be texted"),
        pytest.param(None, True, ["would_add", "would_remove", "unchanged"], id="not stated"),
    ],
)
def test_opted_out(can_send, skip, statuses):
    """Those known to have opted out are left alone when that is asked, and otherwise synced like others."""
    state = ana(("new", True), ("old", False), ("vip", True))
    subscribers = [subscriber(phone=PHONE, held=("old", "vip"), can_send=can_send)]
    found = make_plan(state, subscribers, skip_opted_out=skip)
    assert found.changes["status"].tolist() == statuses
    assert found.changes["can_send"].tolist() == [can_send if can_send is not None else pd.NA] * 3
    assert len(found.writes) == ("would_add" in statuses)


def test_audiences_not_chosen():
    """Audiences outside audience_keys are skipped, whatever else is true of them, and stay on the list."""
    state = asked(
        ("user:1", "new", True),
        ("user:1", "old", False),
        ("user:1", "vip", False),
        ("user:2", "old", True),
        people={"user:1": (EMAIL, PHONE), "user:2": (None, None)},
    )
    found = make_plan(state, [subscriber(phone=PHONE, held=("old", "vip"))], audience_keys=["new", "vip"])
    assert decisions(found) == [
        ("would_add", "ENTERED"),
        ("skipped", "NOT_CHOSEN"),
        ("would_remove", "EXITED"),
        ("skipped", "NOT_CHOSEN"),
    ]
    assert lists(found) == {"s_1": ("old", "new")}


# --- several people, several audiences ---------------------------------------------------------------------


def test_one_write_however_many_audiences():
    """Every change of a subscriber is in one write; what stays keeps its order, and new keys come last."""
    state = ana(("a", True), ("b", True), ("c", False), ("d", False), ("e", True))
    held = ("z", "c", "y", "a", "d", "c", "z")
    found = make_plan(state, [subscriber(phone=PHONE, held=held)])
    assert found.changes["operation"].fillna("").tolist() == ["", "add", "remove", "remove", "add"]
    assert len(found.writes) == 1
    (write,) = writes(found)
    assert write == {
        "subscriber_id": "s_1",
        "before": {AUDIENCES_PROPERTY: [*held]},
        "after": {AUDIENCES_PROPERTY: ["z", "y", "a", "b", "e"]},
        "has_removal": True,
        "property_count": 1,
        "has_property": True,
    }
    assert found.planned_calls == {"writes": 1, "custom_events": 4}


def test_duplicates_in_the_list_are_no_reason_to_write():
    """A key that is listed twice is tidied when the list is written anyway, and only then."""
    twice = subscriber(phone=PHONE, held=("vip", "old", "vip"))
    assert len(make_plan(ana(("vip", True)), [twice]).writes) == 0
    assert lists(make_plan(ana(("new", True)), [twice])) == {"s_1": ("vip", "old", "new")}
    assert lists(make_plan(ana(("vip", False)), [twice])) == {"s_1": ("old",)}


def test_last_audience_removed():
    """Leaving the only audience writes an empty list."""
    found = make_plan(ana(("vip", False)), [subscriber(phone=PHONE, held=("vip",))])
    assert lists(found) == {"s_1": ()}


def test_removals_are_written_first():
    """Writes that end a membership come before those that only add, each kind in the order of the people."""
    words, people, subscribers = [], {}, []
    for number, leaves in enumerate([False, True, False, True]):
        person, phone = f"user:{number}", f"+1415555010{number}"
        people[person] = (None, phone)
        subscribers.insert(0, subscriber(number, phone=phone, held=("old",)))
        words += [(person, "new", True), (person, "old", not leaves)]
    found = make_plan(asked(*words, people=people), subscribers)
    assert found.writes["subscriber_id"].tolist() == ["s_1", "s_3", "s_0", "s_2"]
    assert found.writes["has_removal"].tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("others", "order"),
    [
        ([0, 0, 0, 0], ["s_1", "s_3", "s_0", "s_2"]),
        ([1, 0, 1, 1], ["s_3", "s_1", "s_0", "s_2"]),
        ([0, 1, 1, 0], ["s_1", "s_3", "s_2", "s_0"]),
    ],
    ids=["none has others", "the second that leaves", "the second that enters"],
)
def test_the_first_write_of_each_kind_has_other_properties(others, order):
    """What is written first, of each kind, shows whether writing one property keeps the others."""
    words, people, subscribers = [], {}, []
    for number, leaves in enumerate([False, True, False, True]):
        person, phone = f"user:{number}", f"+1415555010{number}"
        people[person] = (None, phone)
        properties = {AUDIENCES_PROPERTY: ["old"]} | ({"other": 1} if others[number] else {})
        subscribers.append(subscriber(number, phone=phone, properties=properties))
        words += [(person, "new", True), (person, "old", not leaves)]
    found = make_plan(asked(*words, people=people), subscribers)
    assert found.writes["subscriber_id"].tolist() == order


@pytest.mark.parametrize(
    ("mode", "statuses", "share"),
    [
        ("mirror", ["would_add", "would_remove", "unchanged"], 1 / 3),
        ("add_only", ["would_add", "skipped", "unchanged"], 0),
        ("remove_only", ["skipped", "would_remove", "unchanged"], 1 / 2),
    ],
)
def test_sync_modes(mode, statuses, share):
    """A mode leaves out what it does not send, and removals that are not sent are not counted."""
    state = ana(("new", True), ("old", False), ("vip", True))
    found = make_plan(state, [subscriber(phone=PHONE, held=("old", "vip"))], sync_mode=mode)
    assert found.changes["status"].tolist() == statuses
    skipped = found.changes.loc[found.changes["status"] == "skipped", "reason_code"]
    assert set(skipped) <= {"NOT_IN_SYNC_MODE"}
    assert found.removal_share == pytest.approx(share)
    assert found.removes == ("would_remove" in statuses)


@pytest.mark.parametrize("mode", ["mirror", "add_only", "remove_only"])
def test_traits_are_not_written_where_only_removals_are(mode):
    """remove_only leaves traits alone."""
    found = plan_traits(of_ana(t="5"), [subscriber(phone=PHONE)], sync_mode=mode)
    assert found.updates == len(found.writes) == (mode != "remove_only")


def test_a_plan_holds_the_subscribers_it_reaches():
    """A large mirror is not dragged along: the plan keeps the subscribers that some row reaches."""
    state = asked(("user:1", "vip", True), people={"user:1": (None, PHONE), "user:2": (None, OTHER_PHONE)})
    subscribers = [subscriber(1), subscriber(2, phone=PHONE), subscriber(3, phone="+14155550109")]
    found = make_plan(state, subscribers)
    assert found.subscribers["subscriber_id"].tolist() == ["s_2"]
    assert {**found.subscribers.dtypes.astype("str")} == SUBSCRIBER_COLUMNS


@pytest.mark.parametrize(
    ("listed", "after"),
    [
        ('["old", "vip"]', ["vip", "new"]),
        ('["old","\\u0076ip"]', ["vip", "new"]),
        ('[ "old" ,"vip"]', ["vip", "new"]),
        ('["vip","old"]', ["vip", "new"]),
    ],
    ids=["spaced", "escaped", "spaced oddly", "compact"],
)
def test_lists_however_they_are_written(listed, after):
    """A list is read as JSON, whatever wrote it."""
    state = ana(("new", True), ("old", False), ("vip", True))
    held = subscribers_table([subscriber(phone=PHONE, held=("x",))]).assign(audiences=listed)
    found = plan(state, check_contacts(state.people), held.astype(SUBSCRIBER_COLUMNS))
    assert found.changes["reason_code"].tolist() == ["ENTERED", "EXITED", "ALREADY_IN"]
    assert writes(found)[0]["after"] == {AUDIENCES_PROPERTY: after}


@pytest.mark.parametrize(
    "phone",
    ["0" + PHONE[1:], "0" * 30 + PHONE[1:], "", "1" * 19, "9" * 1_000_000, "-5", "٣"],
    ids=[
        "a zero before it",
        "zeros before it",
        "none",
        "19 digits",
        "a million digits",
        "a sign",
        "other digits",
    ],
)
def test_odd_phones_match_no_one_else(phone):
    """A subscriber whose phone is no number disturbs no one, and is found by no one's."""
    found = make_plan(ana(("vip", True)), [subscriber(1, phone=phone), subscriber(2, phone=PHONE)])
    assert found.changes["subscriber_id"].tolist() == ["s_2"]
    alone = make_plan(ana(("vip", True)), [subscriber(1, phone=phone)])
    assert decisions(alone) == [("waiting", "SUBSCRIBER_NOT_FOUND")]


@pytest.mark.parametrize("other", ["15555550100", "015", "-15", "0x0f", "+15", "15 ", "", "²", "1" * 20])
def test_a_text_is_found_by_its_spelling_also_where_all_look_like_numbers(other):
    held, wanted = ["15", "31", "31", other, None], ["15", other, "31", "015", None, "7"]
    found = find_single(pa.array(wanted, TEXT), pa.array(held, TEXT))
    assert found.tolist() == [0, 3, SEVERAL, 3 if other == "015" else NONE, NONE, NONE]
    assert find_single(pa.array(["15"], TEXT), pa.array([other], TEXT)).tolist() == [NONE]
    assert find_single(pa.array([other], TEXT), pa.array(["15", other], TEXT)).tolist() == [1]


def test_an_email_that_is_no_text():
    """Half a character in an email, which no text can hold, is no address."""
    table = subscribers_table([subscriber(1, email="a\ud800@mail.test")])
    assert plain(table["email_folded"]) == [None]


def test_many_changes_of_two_subscribers():
    """However many changes two writes have, each is made to its own list."""
    keys = [f"key {n}" for n in range(20)]
    words = [("user:1", key, True) for key in keys] + [("user:2", key, True) for key in keys[::-1]]
    state = asked(*words, people={"user:1": (None, PHONE), "user:2": (None, OTHER_PHONE)})
    found = make_plan(state, [subscriber(1, phone=PHONE), subscriber(2, phone=OTHER_PHONE)])
    assert lists(found) == {"s_1": tuple(keys), "s_2": tuple(keys[::-1])}


def test_ten_thousand_audiences_and_a_key_of_a_megabyte():
    """Size changes nothing but the time, and that little."""
    keys = [f"key {n}" for n in range(10_000)]
    big = "x" * 1_000_000
    found = make_plan(ana(*((key, True) for key in [*keys, big])), [subscriber(phone=PHONE, held=keys[::2])])
    assert count_statuses(found.changes) == {"unchanged": 5_000, "would_add": 5_001}
    assert lists(found) == {"s_1": (*keys[::2], *keys[1::2], big)}


@pytest.mark.parametrize("newer_says", [True, False])
@pytest.mark.parametrize("newer", ["user:1", "user:2"])
def test_two_people_one_subscriber(newer, newer_says):
    """When two persons reach one subscriber, the newer event decides and the other has that reason."""
    words = [(p, "vip", newer_says == (p == newer), int(p == newer)) for p in ("user:1", "user:2")]
    state = asked(*words, people={"user:1": (EMAIL, None), "user:2": (None, PHONE)})
    held = () if newer_says else ("vip",)
    found = make_plan(state, [subscriber(email=EMAIL, phone=PHONE, held=held)])
    decided = ("would_add", "ENTERED") if newer_says else ("would_remove", "EXITED")
    overruled = ("unchanged", "SAME_SUBSCRIBER")
    assert decisions(found) == ([decided, overruled] if newer == "user:1" else [overruled, decided])
    assert lists(found) == {"s_1": ("vip",) if newer_says else ()}
    assert found.transitions == 1


def test_two_people_one_subscriber_two_audiences():
    """Latest values of two people on different audiences of one subscriber both count, in one write."""
    state = asked(
        ("user:1", "a", True),
        ("user:2", "b", True),
        people={"user:1": (EMAIL, None), "user:2": (None, PHONE)},
    )
    found = make_plan(state, [subscriber(email=EMAIL, phone=PHONE)])
    assert decisions(found) == [("would_add", "ENTERED")] * 2
    assert lists(found) == {"s_1": ("a", "b")}


# --- the price and the limit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "share", "limit", "exceeds"),
    [
        pytest.param([("new", True)], 0.0, 0.0, False, id="only additions"),
        pytest.param([("gone", False)], 0.0, 0.0, False, id="nothing looked at"),
        pytest.param([("a", False), ("b", True)], 0.5, 0.5, False, id="at the limit"),
        pytest.param([("a", False), ("b", True)], 0.5, 0.49, True, id="above the limit"),
        pytest.param([("a", False), ("b", True), ("new", True)], 1 / 3, 0.5, False, id="additions count"),
        pytest.param([("a", False), ("b", False)], 1.0, 1.0, False, id="all, and all may go"),
        pytest.param([("a", False), ("gone", False)], 1.0, 0.5, True, id="already out does not dilute"),
    ],
)
def test_removal_share(words, share, limit, exceeds):
    """The share is removals over memberships held or wanted; a plan exceeds its limit only above it."""
    found = make_plan(ana(*words), [subscriber(phone=PHONE, held=("a", "b"))], max_removal_share=limit)
    assert found.removal_share == pytest.approx(share)
    assert found.exceeds_removal_limit is exceeds


def test_an_audience_without_memberships():
    """A key without a membership is refused with the nearest; an empty archive has none to get wrong."""
    with pytest.raises(ParameterError, match=r"the audience vpi\. Did you mean vip\?"):
        make_plan(ana(("vip", True)), [], audience_keys=["vpi"])
    assert len(make_plan(State.empty(), [], audience_keys=["vpi"]).changes) == 0


def crowd(**audiences):
    """Return a state and its subscribers; *audiences*: key → how many hold it, and how many leave."""
    words, people, subscribers = [], {}, []
    for key, (held, leaving) in audiences.items():
        for number in range(held):
            person, phone = f"user:{key}{number}", f"+1415555{len(people):04}"
            people[person] = (None, phone)
            words.append((person, key, number >= leaving))
            subscribers.append(subscriber(len(people), phone=phone, held=(key,)))
    return asked(*words, people=people), subscribers


@pytest.mark.parametrize(
    ("audiences", "limit", "most", "exceeds"),
    [
        pytest.param({"a": (12, 12), "b": (12, 0), "c": (12, 0)}, 0.5, ("a", 1.0), True, id="one is emptied"),
        pytest.param({"a": (12, 6), "b": (12, 3)}, 0.5, ("a", 0.5), False, id="at the limit"),
        pytest.param({"a": (10, 6), "b": (30, 0)}, 0.5, ("a", 0.6), True, id="ten are enough"),
        pytest.param({"a": (9, 9), "b": (30, 0)}, 0.5, ("", 0.0), False, id="nine are a handful"),
        pytest.param({"a": (12, 12), "b": (12, 0)}, 1.0, ("a", 1.0), False, id="all may go"),
    ],
)
def test_the_limit_holds_for_each_audience(audiences, limit, most, exceeds):
    """An audience of ten or more that loses more than the limit stops the plan, however small it is."""
    found = make_plan(*crowd(**audiences), max_removal_share=limit)
    assert (found.removals.audience_key, found.removals.audience_share) == most
    assert found.exceeds_removal_limit is exceeds
    assert recheck(found, found.subscribers).removals == found.removals


def test_memberships_of_other_audiences_count_in_the_whole():
    """What was looked at beside the changes counts in the share, also where its audience has no change."""
    changes = make_plan(*crowd(a=(12, 6))).changes
    assert count_removals(changes, {"a": 4}).share == 6 / 16
    assert count_removals(changes, {"b": 12}).share == 6 / 24
    assert count_removals(changes, {}).audience_removes == 6


def test_price():
    """Adds, removes, writes and custom events are counted; without custom events only the writes remain."""
    state = asked(
        ("user:1", "a", True),
        ("user:1", "b", False),
        ("user:2", "a", True),
        people={"user:1": (None, PHONE), "user:2": (None, OTHER_PHONE)},
    )
    subscribers = [subscriber(1, phone=PHONE, held=("b",)), subscriber(2, phone=OTHER_PHONE)]
    found = make_plan(state, subscribers)
    assert (found.adds, found.removes, found.transitions) == (2, 1, 3)
    assert found.planned_calls == {"writes": 2, "custom_events": 3}
    silent = make_plan(state, subscribers, custom_events="none")
    assert silent.planned_calls == {"writes": 2, "custom_events": 0}
    pd.testing.assert_frame_equal(silent.changes, found.changes)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"custom_events": "all"}, "custom_events"),
        ({"sync_mode": "both"}, "sync_mode"),
        ({"max_removal_share": -0.1}, "max_removal_share"),
        ({"max_removal_share": 1.1}, "max_removal_share"),
        ({"max_removal_share": float("nan")}, "max_removal_share"),
    ],
)
def test_options_that_mean_nothing(options, name):
    """An option outside its range is refused by name."""
    with pytest.raises(ParameterError, match=name):
        make_plan(ana(("vip", True)), [], **options)


# --- frames ------------------------------------------------------------------------------------------------


def test_change_row():
    """A change tells who, what, why, which subscriber and by what, contacts masked, and its source."""
    found = make_plan(ana(("vip", True)), [subscriber(email=EMAIL)])
    assert dict(zip(found.changes, plain(found.changes.loc[0]), strict=True)) == {
        "person": "user:1",
        "audience_key": "vip",
        "audience_id": "aud_vip",
        "member": True,
        "trait_key": None,
        "trait_value": None,
        "operation": "add",
        "status": "would_add",
        "reason_code": "ENTERED",
        "status_message": None,
        "subscriber_id": "s_1",
        "match_method": "email",
        "can_send": True,
        "email_masked": "a•••@mail.test",
        "phone_masked": "•••00",
        "message_id": "m000",
        "timestamp": pd.Timestamp("2026-03-01", tz="UTC"),
        "external_id": None,
    }


@pytest.mark.parametrize(
    "state", [State.empty(), ana(("vip", True)), ana(("vip", False))], ids=["nothing", "add", "remove"]
)
@pytest.mark.parametrize(
    "subscribers", [[], [subscriber(phone=PHONE, held=("vip",))]], ids=["no one", "someone"]
)
def test_plan_keeps_its_types(state, subscribers):
    """Whatever is asked, also nothing, changes and writes have their dtypes."""
    found = make_plan(state, subscribers)
    assert {**found.changes.dtypes.astype("str")} == CHANGE_COLUMNS
    assert {**found.writes.dtypes.astype("str")} == WRITE_COLUMNS
    assert len(found.changes) == len(state.memberships)


def test_subscribers_table():
    """A subscriber becomes one row, contacts in the form they are compared in, its last reading standing."""
    table = subscribers_table(
        [
            subscriber(1, phone="old", held=("x",)),
            subscriber(2, can_send=None, properties={"Segment Audiences": "x", "p": 1}),
            subscriber(1, phone="+1 (415) 555-0100", email=" Ana@Mail.test", held=("vip",), can_send=False),
        ]
    )
    assert {**table.dtypes.astype("str")} == SUBSCRIBER_COLUMNS
    updated = "2025-01-02T00:00:00Z"
    assert [plain(row) for _, row in table.iterrows()] == [
        ["s_1", "14155550100", EMAIL, '["vip"]', True, 1, None, False, updated],
        ["s_2", None, None, None, True, 2, None, None, updated],
    ]


def test_no_subscribers():
    """No one gives the same columns and no rows."""
    table = subscribers_table([])
    assert {**table.dtypes.astype("str")} == SUBSCRIBER_COLUMNS
    assert len(table) == 0


@pytest.mark.parametrize(
    ("before", "add", "remove", "after"),
    [
        ((), (), (), ()),
        (("b", "a"), ("c", "a"), (), ("b", "a", "c")),
        (("b", "a", "b"), (), {"a"}, ("b",)),
        (("a",), ("b", "b"), {"a", "x"}, ("b",)),
        (("a",), ("a",), {"a"}, ("a",)),
    ],
    ids=["nothing", "add", "duplicates", "both", "taken out and put back"],
)
def test_new_list(before, add, remove, after):
    """What stays keeps its order, what is new comes last, and each key is there once."""
    assert new_list(before, add=add, remove=remove) == after


# --- computed traits ----------------------------------------------------------------------------------------


def valued(*words, people):
    """Return a state of (person, trait, JSON text[, second]) and {person: (email, phone)}."""
    state = asked(*((person, key, True, *second) for person, key, _, *second in words), people=people)
    rows = state.memberships.rename(columns={"audience_key": "trait_key"})
    traits = rows.assign(value=[text for _, _, text, *_ in words])[[*TRAIT_COLUMNS]].astype(TRAIT_COLUMNS)
    return replace(state, memberships=state.memberships.head(0), traits=traits)


def plan_traits(state, subscribers, **options):
    found = subscribers_table(subscribers, trait_keys=state.trait_keys)
    return plan(state, check_contacts(state.people), found, **options)


def of_ana(**texts):
    return valued(*(("user:1", key, text) for key, text in texts.items()), people={"user:1": (EMAIL, PHONE)})


@pytest.mark.parametrize(
    ("text", "held", "reason"),
    [
        ("5", {}, "TRAIT_NEW_VALUE"),
        ("5", {"t": 5}, "TRAIT_SAME_VALUE"),
        ("5", {"t": 5.0}, "TRAIT_SAME_VALUE"),
        ("5", {"t": "5"}, "TRAIT_NEW_VALUE"),
        ("1", {"t": True}, "TRAIT_NEW_VALUE"),
        ("true", {"t": True}, "TRAIT_SAME_VALUE"),
        ('""', {"t": None}, "TRAIT_NEW_VALUE"),
        ('"é"', {"t": "é"}, "TRAIT_SAME_VALUE"),
        ('["a","b"]', {"t": ["a", "b"]}, "TRAIT_SAME_VALUE"),
        ('["a","b"]', {"t": ["b", "a"]}, "TRAIT_NEW_VALUE"),
        ("[]", {"t": None}, "TRAIT_SAME_VALUE"),
        ("[]", {}, "TRAIT_SAME_VALUE"),
        ("[]", {"t": []}, "TRAIT_SAME_VALUE"),
        ("[]", {"t": ["a"]}, "TRAIT_NEW_VALUE"),
        ("5", {"t": {"deep": [1]}}, "TRAIT_NEW_VALUE"),
        ("5", {"t": 5.5}, "TRAIT_NEW_VALUE"),
        ("5", {"t": 10**400}, "TRAIT_NEW_VALUE"),
    ],
)
def test_a_trait_against_what_is_held(text, held, reason):
    """Values are compared as JSON; only one that differs is written."""
    found = plan_traits(of_ana(t=text), [subscriber(phone=PHONE, properties=held)])
    (decision,) = decisions(found)
    assert decision[1] == reason
    assert [w["after"] for w in writes(found)] == [{"t": json.loads(text)}] * ("NEW" in reason)
    assert found.updates == len(found.writes)
    assert (found.adds, found.removes, found.transitions, found.removal_share) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("contact", "subscribers", "decision"),
    [
        ((EMAIL, None), [], ("waiting", "SUBSCRIBER_NOT_FOUND")),
        ((None, None), [], ("no_usable_contact", "NO_CONTACT")),
        (("no mail", "n/a"), [], ("no_usable_contact", "CONTACT_INVALID")),
        (
            (EMAIL, None),
            [subscriber(1, email=EMAIL), subscriber(2, email=EMAIL)],
            ("ambiguous", "AMBIGUOUS_MATCH"),
        ),
        ((EMAIL, None), [subscriber(1, email=EMAIL, can_send=False)], ("skipped", "OPTED_OUT")),
    ],
)
def test_a_trait_that_reaches_no_subscriber(contact, subscribers, decision):
    """A trait ends in the same words as a membership does."""
    state = valued(("user:1", "t", "5"), people={"user:1": contact})
    found = plan_traits(state, subscribers, skip_opted_out=True)
    assert decisions(found) == [decision]
    assert found.writes.empty


def test_audiences_and_traits_of_one_subscriber():
    """They share one write; what it names is only what changes, before and after."""
    traits = of_ana(b="2", a="1", same="0").traits
    state = replace(ana(("vip", True), ("old", False)), traits=traits)
    held = {"Segment Audiences": ["old"], "a": 0, "same": 0, "other": 9}
    found = plan_traits(state, [subscriber(phone=PHONE, properties=held)])
    (write,) = writes(found)
    assert write == {
        "subscriber_id": "s_1",
        "before": {AUDIENCES_PROPERTY: ["old"], "a": 0},
        "after": {AUDIENCES_PROPERTY: ["vip"], "a": 1, "b": 2},
        "has_removal": True,
        "property_count": 4,
        "has_property": True,
    }
    assert found.planned_calls == {"writes": 1, "custom_events": 2}
    assert found.changes["operation"].fillna("").tolist() == ["add", "remove", "set", "set", ""]
    assert plain(found.changes["member"]) == [True, False, None, None, None]
    assert {**found.changes.dtypes.astype("str")} == CHANGE_COLUMNS


def test_a_contact_in_a_value_is_masked():
    """The plan is for people to read; what is written is the value itself."""
    found = plan_traits(of_ana(mail='"ben@mail.test"', n="14155550100"), [subscriber(phone=PHONE)])
    shown = found.changes["trait_value"].tolist()
    assert "ben@" not in shown[0]
    assert "mail.test" in shown[0]
    assert writes(found)[0]["after"] == {"mail": "ben@mail.test", "n": 14155550100}


def test_values_of_a_megabyte_and_ten_thousand_traits():
    """Size changes nothing but the time, and that little."""
    big = json.dumps("x" * 1_000_000)
    state = of_ana(big=big, **{f"t{i}": str(i) for i in range(10_000)})
    found = plan_traits(state, [subscriber(phone=PHONE)])
    assert count_statuses(found.changes) == {"conflict": 10_001 - 50, "would_update": 50}
    assert len(writes(found)[0]["after"]) == 50


@pytest.mark.parametrize(
    ("value", "text"),
    [("Zoë 😀", '"Zoë 😀"'), (["é", "\ud83d"], '["é","\\ud83d"]')],
    ids=["whole", "half"],
)
def test_a_value_is_kept_as_it_is_written(value, text):
    """Letters stay letters in the text of a value, unless half a character is among them."""
    assert json_text(value) == text
