import random

import pandas as pd
import pytest
from tables import every

from toolkit.audiences.memberships import (
    _OUTCOMES,
    MEMBERSHIP_COLUMNS,
    PEOPLE_COLUMNS,
    TRAIT_COLUMNS,
    State,
    check_occur,
    count_statuses,
    empty_table,
    fold,
)
from toolkit.errors import ParameterError, ReconciliationError, ToolkitError
from toolkit.segment.events import PAYLOAD_COLUMNS

NOT_OURS = (
    "malformed",
    "duplicate",
    "filtered_integrations",
    "filtered_consent",
    "no_matching_mapping",
)


def at(second):
    return None if second is None else pd.Timestamp("2026-03-01", tz="UTC") + pd.Timedelta(seconds=second)


def word(second=0, *, received=None, message_id="m", person="user:1", key="vip", member=True, **other):
    """Return one payload row; times are seconds, ``received`` is *second* unless given."""
    return {
        "message_id": message_id,
        "mapping": "Audiences",
        "event_type": "identify",
        "person": person,
        "audience_key": key,
        "membership": member,
        "timestamp": at(second),
        "received_at": at(second if received is None else received),
        **other,
    }


def payloads(*rows):
    return pd.DataFrame([*rows], columns=[*PAYLOAD_COLUMNS]).astype(PAYLOAD_COLUMNS)


def remembered(*words, people=()):
    """Return a state of (person, key, member, second, message_id) and (person, email, second)."""
    memberships = pd.DataFrame(
        [
            {
                "person": person,
                "audience_key": key,
                "member": member,
                "timestamp": at(second),
                "received_at": at(second),
                "message_id": message_id,
            }
            for person, key, member, second, message_id in words
        ],
        columns=[*MEMBERSHIP_COLUMNS],
    )
    known = pd.DataFrame(
        [{"person": person, "email": email, "email_at": at(second)} for person, email, second in people],
        columns=[*PEOPLE_COLUMNS],
    )
    return State(memberships=memberships.astype(MEMBERSHIP_COLUMNS), people=known.astype(PEOPLE_COLUMNS))


def members(state):
    return {(m.person, m.audience_key): m.member for m in state.memberships.itertuples()}


def contacts(state):
    frame = state.people.astype("object").where(state.people.notna(), None)
    return {p.person: (p.email, p.phone) for p in frame.itertuples()}


def records(frame):
    """Return the rows as dicts, None for whatever is null."""
    return frame.astype("object").where(frame.notna(), None).to_dict("records")


def same_state(one, other):
    pd.testing.assert_frame_equal(one.memberships, other.memberships)
    pd.testing.assert_frame_equal(one.people, other.people)


# --- the last word -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param(word(1), word(2), id="timestamp"),
        pytest.param(word(1, received=9), word(2, received=3), id="timestamp before receivedAt"),
        pytest.param(word(1, received=2), word(1, received=3), id="receivedAt when timestamps tie"),
        pytest.param(
            word(1, received=2, message_id="z"),
            word(1, received=3, message_id="a"),
            id="receivedAt before messageId",
        ),
        pytest.param(word(1, message_id="a"), word(1, message_id="b"), id="messageId when all else ties"),
        pytest.param(word(None, received=9), word(1, received=2), id="no timestamp is oldest"),
        pytest.param({**word(1), "received_at": None}, word(1, received=0), id="no receivedAt is oldest"),
    ],
)
@pytest.mark.parametrize("newest_says", [True, False])
def test_order(older, newer, newest_says):
    """The last by timestamp, then receivedAt, then messageId decides, wherever it stands in the archive."""
    rows = [{**older, "membership": not newest_says}, {**newer, "membership": newest_says}]
    for read, statuses in ((rows, ["superseded", "counted"]), (rows[::-1], ["counted", "superseded"])):
        folded = fold(payloads(*read))
        assert members(folded.state) == {("user:1", "vip"): newest_says}
        assert folded.events["status"].tolist() == statuses


def test_deciding_event_is_named():
    """A membership carries the id, the times and the message of the event that decided it."""
    folded = fold(
        payloads(
            word(1, message_id="m1", audience_id="aud_old"),
            word(2, received=5, message_id="m2", member=False, audience_id="aud_1"),
        )
    )
    assert records(folded.state.memberships) == [
        {
            "person": "user:1",
            "audience_key": "vip",
            "audience_id": "aud_1",
            "member": False,
            "timestamp": at(2),
            "received_at": at(5),
            "message_id": "m2",
        }
    ]


DAY = 86_400


@every("second, ahead", [(0, 0), (DAY, 0), (DAY + 1, 1)])
def test_a_word_dated_in_the_future_is_counted(second, ahead):
    """A word more than a day ahead still decides and is counted; so it is when it is remembered."""
    rows = payloads(word(second, member=False, message_id="ahead"), word(0, message_id="today"))
    folded = fold(rows, now=at(0))
    assert folded.events["reason_code"][0] == ("DECIDED_AHEAD" if ahead else "DECIDED") or second == 0
    later = fold(payloads(word(30)), remembered=folded.state, now=at(0))
    assert (folded.ahead, later.ahead) == (ahead, ahead)
    assert [note[:13] for note in (*folded.notes, *later.notes)] == ["1 memberships"] * 2 * ahead
    assert fold(rows, now=at(second)).ahead == 0  # when its day has come


def test_persons_and_audiences_do_not_mix():
    """Each membership has a latest value of its own; rows come by person, then audience."""
    folded = fold(
        payloads(
            word(3, message_id="a", person="user:2", key="vip"),
            word(1, message_id="b", person="user:1", key="vip"),
            word(2, message_id="c", person="user:1", key="churn", member=False),
            word(9, message_id="d", person="user:10", key="vip", member=False),
        )
    )
    assert [*members(folded.state).items()] == [
        (("user:1", "churn"), False),
        (("user:1", "vip"), True),
        (("user:10", "vip"), False),
        (("user:2", "vip"), True),
    ]
    assert folded.statuses == {"counted": 4}


def test_reasons_of_words():
    """The deciding event and the overruled one each carry their reason."""
    folded = fold(payloads(word(1, message_id="a"), word(2, message_id="b")))
    assert folded.events["reason_code"].tolist() == ["NEWER_EVENT", "DECIDED"]


def test_two_mappings_of_one_event_give_one_word():
    """An event that two mappings took decides once; its other row is superseded, and both are counted."""
    folded = fold(payloads(word(1), {**word(1), "mapping": "Again"}))
    assert folded.statuses == {"superseded": 1, "counted": 1}
    assert len(folded.state.memberships) == 1


# --- events without a word ---------------------------------------------------------------------------------


@every("status", NOT_OURS)
def test_events_not_for_us_contribute_nothing(status):
    """A duplicate, filtered, unmapped or torn event has neither word nor contact, and keeps its status."""
    row = {**word(9, email="ana@mail.test", phone="+14155550100"), "status": status, "reason_code": "X"}
    folded = fold(payloads(row, word(1, message_id="kept", member=False)))
    assert members(folded.state) == {("user:1", "vip"): False}
    assert contacts(folded.state) == {"user:1": (None, None)}
    assert folded.events["status"].tolist() == [status, "counted"]
    assert folded.events["reason_code"].tolist() == ["X", "DECIDED"]


@every("status", ["not_an_audience_event", "invalid_payload"])
def test_other_events_lend_their_contacts(status):
    """An ordinary event of the person decides nothing, but its email and phone are used."""
    row = {**word(1, email="ana@mail.test", phone="+14155550100"), "status": status, "audience_key": None}
    folded = fold(payloads(row, word(2, message_id="n")))
    assert contacts(folded.state) == {"user:1": ("ana@mail.test", "+14155550100")}
    assert folded.statuses == {status: 1, "counted": 1}


def test_membership_that_is_not_boolean_changes_nothing():
    """A later event without true or false leaves the earlier word standing, and keeps why."""
    silent = {**word(5, message_id="n", member=None), "reason_code": "MEMBERSHIP_NOT_BOOLEAN"}
    folded = fold(payloads(word(1), silent))
    assert members(folded.state) == {("user:1", "vip"): True}
    assert folded.events["status"].tolist() == ["counted", "no_membership_value"]
    assert folded.events["reason_code"].tolist() == ["DECIDED", "MEMBERSHIP_NOT_BOOLEAN"]


def test_membership_that_is_not_boolean_still_lends_its_contact():
    """Saying neither in nor out does not make an event's email worthless."""
    folded = fold(payloads(word(1), word(5, message_id="n", member=None, email="ana@mail.test")))
    assert contacts(folded.state) == {"user:1": ("ana@mail.test", None)}


def test_an_event_without_a_status_raises(monkeypatch):
    """That every event has one is checked, not taken for granted."""
    monkeypatch.setitem(_OUTCOMES, "status", (None,) * len(_OUTCOMES["status"]))
    with pytest.raises(ReconciliationError):
        fold(payloads(word()))


def test_event_without_person():
    """An event without a person is counted by its status, and makes no person."""
    row = {**word(1, person=None), "status": "invalid_payload", "reason_code": "NO_PERSON"}
    folded = fold(payloads(row))
    assert folded.statuses == {"invalid_payload": 1}
    assert len(folded.state.people) == 0


# --- contacts ----------------------------------------------------------------------------------------------


def test_contacts_are_the_latest_not_empty():
    """Email and phone are each the latest one seen, so an event without them takes nothing away."""
    folded = fold(
        payloads(
            word(3, message_id="c", email="new@mail.test"),
            word(1, message_id="a", email="old@mail.test", phone="+14155550100"),
            word(9, message_id="d"),
            word(2, message_id="b", phone="+14155550101"),
            word(4, message_id="e", person="user:2"),
        )
    )
    assert records(folded.state.people) == [
        {
            "person": "user:1",
            "email": "new@mail.test",
            "email_at": at(3),
            "phone": "+14155550101",
            "phone_at": at(2),
        },
        {"person": "user:2", "email": None, "email_at": None, "phone": None, "phone_at": None},
    ]


@pytest.mark.parametrize(
    ("second", "email"),
    [
        pytest.param(4, "old@mail.test", id="an older event"),
        pytest.param(5, "new@mail.test", id="an event of the same instant"),
        pytest.param(6, "new@mail.test", id="a newer event"),
    ],
)
def test_remembered_contacts(second, email):
    """A remembered contact is used until an event brings one that is not older."""
    before = remembered(people=[("user:1", "old@mail.test", 5), ("user:2", "ben@mail.test", 1)])
    folded = fold(payloads(word(second, email="new@mail.test")), remembered=before)
    assert contacts(folded.state) == {"user:1": (email, None), "user:2": ("ben@mail.test", None)}


# --- what earlier runs asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "message_id", "status", "member"),
    [
        pytest.param(6, "m", "counted", True, id="newer event"),
        pytest.param(4, "z", "superseded", False, id="remembered word is newer"),
        pytest.param(5, "n", "counted", True, id="same instant, later id"),
        pytest.param(5, "l", "superseded", False, id="same instant, earlier id"),
        pytest.param(5, "m", "counted", True, id="the same message read again"),
    ],
)
def test_remembered_words(second, message_id, status, member):
    """A remembered word stands against older events; the message it came from may be read again."""
    before = remembered(("user:1", "vip", False, 5, "m"))
    folded = fold(payloads(word(second, message_id=message_id)), remembered=before)
    assert folded.statuses == {status: 1}
    assert members(folded.state) == {("user:1", "vip"): member}


def test_other_remembered_words_stay():
    """Latest values of people and audiences that no event mentions are carried over."""
    before = remembered(("user:1", "churn", True, 1, "a"), ("user:3", "vip", False, 2, "b"))
    folded = fold(payloads(word(5)), remembered=before)
    assert members(folded.state) == {
        ("user:1", "churn"): True,
        ("user:1", "vip"): True,
        ("user:3", "vip"): False,
    }


def test_fold_again_gives_the_same_state():
    """Reading the same archive on top of what it led to changes neither state nor statuses."""
    rows = payloads(word(1, message_id="a", email="ana@mail.test"), word(2, message_id="b", member=False))
    once = fold(rows)
    again = fold(rows, remembered=once.state)
    same_state(once.state, again.state)
    assert once.statuses == again.statuses


@every("seed", range(20), quick=8)
def test_what_is_remembered_may_be_laid_under_a_state(seed):
    """State.after() returns what fold() returns with the earlier state remembered, ties and nulls too."""
    chance = random.Random(seed)

    def some():
        rows = [
            word(
                chance.choice([None, 1, 2, 2, 3]),
                message_id=chance.choice(["a", "b", "c"]),
                person=f"user:{chance.randrange(4)}",
                key=chance.choice(["vip", "churn"]),
                member=chance.random() < 0.5,
                email=chance.choice([None, "a@x.test", "b@x.test"]),
                phone=chance.choice([None, "1", "2"]),
            )
            for _ in range(chance.randrange(8))
        ]
        values = [valued(chance.choice([1, 2, 3]), str(n)) for n in range(chance.randrange(3))]
        return payloads(*rows, *values)

    before, now = fold(some()).state, some()
    same_state(fold(now).state.after(before), fold(now, remembered=before).state)


# --- frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, remembered(("user:1", "vip", True, 1, "m"))], ids=["new", "known"])
def test_no_events(before):
    """Without events there are no statuses, and the remembered state stands."""
    folded = fold(payloads(), remembered=before)
    assert (folded.received, folded.statuses) == (0, {})
    assert members(folded.state) == members(before or State.empty())
    assert {**folded.events.dtypes.astype("str")} == PAYLOAD_COLUMNS
    assert {**folded.state.memberships.dtypes.astype("str")} == MEMBERSHIP_COLUMNS
    assert len(folded.state.people) == 0


@every("columns", [PAYLOAD_COLUMNS, MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS])
def test_empty_table_has_its_types(columns):
    """A frame without rows has the promised columns and dtypes."""
    assert {**empty_table(columns).dtypes.astype("str")} == columns


def test_archives_laid_together():
    """Rows that share an index label, as after a plain concat, keep their own statuses and their index."""
    one = payloads(word(1, message_id="a"), word(2, message_id="b", key="churn"))
    two = payloads(word(3, message_id="c"), {**word(4, message_id="b"), "status": "duplicate"})
    folded = fold(pd.concat([one, two]))
    assert folded.events["status"].tolist() == ["superseded", "counted", "counted", "duplicate"]
    assert folded.events.index.tolist() == [0, 1, 0, 1]


# --- properties --------------------------------------------------------------------------------------------


def some_rows(chance):
    """Return random payload rows, ties, silences, discards and all; message ids do not repeat."""
    rows = []
    for number in range(chance.randrange(60)):
        member = chance.choice([True, False, True, False, None])
        status = chance.choice([None] * 8 + ["duplicate", "filtered_consent", "not_an_audience_event"])
        rows.append(
            {
                **word(
                    chance.choice([None, *range(6)]),
                    received=chance.randrange(3),
                    message_id=f"m{number}",
                    person=f"user:{chance.randrange(5)}",
                    key=chance.choice(["vip", "churn", "new"]),
                    member=member,
                    email=chance.choice([None, None, f"p{number}@mail.test"]),
                    phone=chance.choice([None, None, f"+141555501{number:02}"]),
                ),
                "line": number,
                "status": status,
            }
        )
    chance.shuffle(rows)
    return rows


def naive_fold(rows):
    """Return the statuses by line, the members and the contacts, in plain Python."""

    def order(row):
        # Absent times are the oldest.
        times = [(row[n] is not None, row[n] or 0) for n in ("timestamp", "received_at")]
        return (*times, row["message_id"])

    statuses, last, people = {}, {}, {}
    for row in sorted(rows, key=order):
        statuses[row["line"]] = row["status"]
        if row["status"] in NOT_OURS:
            continue
        email, phone = people.get(row["person"], (None, None))
        people[row["person"]] = (row["email"] or email, row["phone"] or phone)
        if row["status"] is None and row["membership"] is None:
            statuses[row["line"]] = "no_membership_value"
        elif row["status"] is None:
            place = (row["person"], row["audience_key"])
            if place in last:
                statuses[last[place]["line"]] = "superseded"
            statuses[row["line"]] = "counted"
            last[place] = row
    return statuses, {place: row["membership"] for place, row in last.items()}, people


def outcome(folded):
    """Return what the fold made of its events, in the words of naive_fold()."""
    statuses = dict(zip(folded.events["line"], folded.events["status"], strict=True))
    return statuses, members(folded.state), contacts(folded.state)


def hundred_archives():
    """Return archives of different people, and the outcome of all their rows shuffled and folded once."""
    archives = []
    for seed in range(100):
        archives.append(some_rows(random.Random(seed)))
        for row in archives[-1]:
            row.update(person=f"{row['person']}-{seed}", line=row["line"] + 1000 * seed)
    rows = [row for archive in archives for row in archive]
    random.Random(0).shuffle(rows)
    folded = fold(payloads(*rows))
    assert sum(folded.statuses.values()) == folded.received == len(rows)
    return archives, outcome(folded)


def test_fold_agrees_with_plain_python():
    """In any order, among any others, the fold gives what a loop over the sorted events gives."""
    archives, found = hundred_archives()
    expected = [naive_fold(archive) for archive in archives]
    for name, whole, parts in zip(
        ("statuses", "memberships", "people"), found, zip(*expected, strict=True), strict=True
    ):
        assert whole == {key: value for part in parts for key, value in part.items()}, name


@every("seed", range(12))
def test_reading_order_does_not_matter(seed):
    """The same events in any order lead to the very same frames; nothing given is changed in place."""
    chance = random.Random(seed)
    rows = some_rows(chance)
    frame = payloads(*rows)
    before = frame.copy(deep=True)
    places = [*range(len(frame))]
    chance.shuffle(places)
    one, other = fold(frame), fold(frame.iloc[places])
    assert outcome(one) == naive_fold(rows)
    same_state(one.state, other.state)
    pd.testing.assert_series_equal(one.events["status"], other.events["status"].sort_index())
    pd.testing.assert_frame_equal(frame, before)
    decided = ["status", "reason_code"]
    pd.testing.assert_frame_equal(one.events.drop(columns=decided), before.drop(columns=decided))


@every("seed", range(8))
def test_two_runs_lead_where_one_would(seed):
    """An archive read in two halves, the first remembered, leads to the memberships of the whole."""
    chance = random.Random(seed)
    rows = some_rows(chance)
    cut = chance.randrange(len(rows) + 1)
    first = fold(payloads(*rows[:cut]))
    kept = (first.state.memberships.copy(deep=True), first.state.people.copy(deep=True))
    second = fold(payloads(*rows[cut:]), remembered=first.state)
    pd.testing.assert_frame_equal(second.state.memberships, fold(payloads(*rows)).state.memberships)
    same_state(first.state, State(memberships=kept[0], people=kept[1]))  # not changed in place


# --- choosing ----------------------------------------------------------------------------------------------

TWO_AUDIENCES = fold(
    payloads(
        word(1, message_id="a", person="user:1", key="vip", email="ana@mail.test"),
        word(2, message_id="b", person="user:2", key="churn", member=False),
        word(3, message_id="c", person="user:3", member=None, email="cai@mail.test"),
    )
).state


@every(
    "keys, chosen, persons",
    [
        ((), {("user:1", "vip"), ("user:2", "churn")}, ["user:1", "user:2"]),
        (["vip"], {("user:1", "vip")}, ["user:1"]),
        (["churn"], {("user:2", "churn")}, ["user:2"]),
        (["churn", "vip"], {("user:1", "vip"), ("user:2", "churn")}, ["user:1", "user:2"]),
    ],
)
def test_choose(keys, chosen, persons):
    """Only the audiences asked for remain, with only the people who are in or out of them."""
    state = TWO_AUDIENCES.choose(keys)
    assert {*members(state)} == chosen
    assert state.people["person"].tolist() == persons
    for name, frame in vars(state).items():
        assert [*frame.columns] == [*getattr(TWO_AUDIENCES, name).columns]
        assert [*frame.index] == [*range(len(frame))]
    assert len(TWO_AUDIENCES.people) == 3


def test_statuses_are_counted_the_most_frequent_first():
    """Rows without a status do not count."""
    frame = pd.DataFrame({"status": ["malformed", "counted", None, None, None, "counted"]})
    assert [*count_statuses(frame).items()] == [("counted", 2), ("malformed", 1)]


def test_choose_of_nothing():
    """A state without memberships can be chosen from, and has no people."""
    assert len(State.empty().choose().people) == 0


def test_choose_a_mistyped_audience():
    """A key that does not occur is refused, naming it, those like it and those there are."""
    with pytest.raises(ParameterError, match="No event names the audience vpi") as caught:
        TWO_AUDIENCES.choose(["vpi"])
    assert "Did you mean vip? There are: churn, vip." in str(caught.value)
    assert isinstance(caught.value, ToolkitError)


def test_choose_of_many_audiences():
    """Of many audiences only some are named."""
    with pytest.raises(ParameterError, match=r"the audience none\. There are: k00, .*, k19 and 10 more\."):
        check_occur(["none"], [f"k{n:02}" for n in range(30)])


def test_choose_where_there_is_no_audience():
    """An empty archive knows no audience, so none can be mistyped."""
    assert len(State.empty().choose(["vip"]).memberships) == 0


# --- computed traits ----------------------------------------------------------------------------------------


def valued(second=0, text="1", *, key="orders", **other):
    """Return one payload row of Sync Traits: a value as JSON text, None when there is none to use."""
    row = word(second, key=None, member=None, **{"message_id": f"t{second}", **other})
    return {**row, "trait_key": key, "trait_value": text}


def values(state):
    return {(t.person, t.trait_key): t.value for t in state.traits.itertuples()}


def test_the_newest_value_per_person_and_trait():
    """Traits are folded as memberships are, each key by itself; an audience of that name is another thing."""
    folded = fold(
        payloads(
            valued(2, "2"),
            valued(1, "1"),
            valued(1, '"a"', key="item"),
            valued(1, "9", person="user:2"),
            word(3, key="orders", member=True),
        )
    )
    assert values(folded.state) == {
        ("user:1", "item"): '"a"',
        ("user:1", "orders"): "2",
        ("user:2", "orders"): "9",
    }
    assert members(folded.state) == {("user:1", "orders"): True}
    assert folded.events["status"].tolist() == ["counted", "superseded", "counted", "counted", "counted"]
    assert {**folded.state.traits.dtypes.astype("str")} == TRAIT_COLUMNS
    assert folded.state.trait_keys == ("item", "orders")


def test_a_row_without_a_value_decides_nothing():
    """It has its reason already, and the value before it stands."""
    silent = {**valued(5, None), "reason_code": "TRAIT_VALUE_MISSING"}
    folded = fold(payloads(valued(1, "1"), silent))
    assert values(folded.state) == {("user:1", "orders"): "1"}
    assert folded.statuses == {"counted": 1, "no_membership_value": 1}
    assert folded.events["reason_code"].tolist() == ["DECIDED", "TRAIT_VALUE_MISSING"]


def test_what_is_remembered_of_traits():
    """A remembered value that is newer stands, one that is older gives way, the rest is kept."""
    before = fold(payloads(valued(5, "5"), valued(1, "1", key="item"), valued(1, "7", key="size"))).state
    folded = fold(payloads(valued(3, "3"), valued(2, "2", key="item")), remembered=before)
    assert values(folded.state) == {
        ("user:1", "item"): "2",
        ("user:1", "orders"): "5",
        ("user:1", "size"): "7",
    }
    assert folded.events["status"].tolist() == ["superseded", "counted"]
    again = fold(empty_table(PAYLOAD_COLUMNS), remembered=folded.state)
    pd.testing.assert_frame_equal(again.state.traits, folded.state.traits)


def test_choosing_audiences_leaves_traits_and_their_people_out():
    """Nothing named is everything, traits included; an audience named is that one."""
    state = fold(
        payloads(
            word(1, email="a@x.test"),
            word(1, key="new", person="user:3", email="c@x.test"),
            valued(1, person="user:2", email="b@x.test"),
        )
    ).state
    assert {*state.choose().people["person"]} == {"user:1", "user:2", "user:3"}
    assert state.choose().trait_keys == ("orders",)
    chosen = state.choose(["vip"])
    assert chosen.people["person"].tolist() == ["user:1"]
    assert chosen.traits.empty
    assert {**chosen.traits.dtypes.astype("str")} == TRAIT_COLUMNS


@every("seed", range(20))
def test_folding_traits_in_any_order_and_in_parts(seed):
    """Shuffled, repeated, and split over two runs: the same values."""
    chance = random.Random(seed)
    rows = [
        valued(n, str(n), key=chance.choice("ab"), person=f"user:{chance.randrange(3)}") for n in range(30)
    ]
    newest = {(row["person"], row["trait_key"]): row["trait_value"] for row in rows}
    chance.shuffle(rows)
    cut = chance.randrange(len(rows))
    first = fold(payloads(*rows[:cut])).state
    assert values(fold(payloads(*rows[cut:], *rows[:5]), remembered=first).state) == newest
