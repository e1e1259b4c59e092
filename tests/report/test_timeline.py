"""Explain a person: from the events over the runs to the calls, found by whatever is known of them."""

from __future__ import annotations

import pandas as pd
import pytest
from stores import (
    OTHER_SHOP,
    SECOND,
    SHOP,
    THIRD,
    Store,
    deliver,
    email,
    fold_events,
    make_plan,
    phone,
    word,
)

from toolkit import explain_person, forecast, read_subscribers
from toolkit.audiences.memberships import fold
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import LostAnswerError
from toolkit.report.timeline import STANDING_COLUMNS, TIMELINE_COLUMNS
from toolkit.segment.archive import read_events
from toolkit.segment.destination import Destination
from toolkit.sync.sync import sync

ENTERED, LEFT = word(1, "vip", email=email(1)), word(1, "vip", member=False, at=SECOND, email=email(1))
TWIN = {**word(2, "churn", at=SECOND, phone=phone(1)), "userId": "twin"}
MOVED = [
    {**word(3, "vip", phone="+1 202 555 0999"), "userId": "mover"},
    {**word(3, "vip", at=THIRD), "userId": "mover"},
]
EVENTS = [ENTERED, LEFT, TWIN, *MOVED, word(4, "vip")]


@pytest.fixture
def store():
    return Store({1: [], 3: []})


def look(events, store, ledger):
    state = fold(read_events(events).payloads()).state
    fetched = read_subscribers(check_contacts(state.people), store, complete=True)
    ledger.save_cache(SHOP.shop_id, fetched)
    return forecast(state, ledger=ledger)


@pytest.fixture
def synced(store, ledger):
    """One person entered, was synced, left, and was synced again."""
    deliver([ENTERED], store, ledger)
    deliver(EVENTS, store, ledger)
    return look(EVENTS, store, ledger)


def explain(who, forecast, ledger, events=EVENTS):
    return explain_person(who, read_events(events), forecast, ledger=ledger)


@pytest.mark.parametrize(
    "who", ["u1", "user:u1", phone(1), " (202) 555-0101 ", email(1), email(1).upper(), "s_1"]
)
def test_one_person_is_found_by_whatever_is_known(synced, ledger, who):
    """User id, phone and email in any spelling, subscriber id: the same two people and their subscriber."""
    found = explain(who, synced, ledger)
    assert found.sentence.startswith("2 people (user:twin, user:u1); subscriber s_1, who ")
    assert found.sentence.endswith("holds churn.")
    assert {*found.steps["person"]} == {"user:u1", "user:twin", "s_1"}


def test_the_story_runs_from_event_to_answer(synced, ledger):
    """Events, outcomes and calls of both syncs, in the order of time, none of anybody else."""
    steps = explain("u1", synced, ledger).steps
    assert steps["at"].is_monotonic_increasing
    shown = steps["source"].str.partition(" ")[0] + ": " + steps["what"] + ": " + steps["status"]
    assert shown.tolist() == [
        "Segment: identify: in vip: superseded",
        "Segment: identify: out of vip: counted",
        "Segment: identify: in churn: counted",
        "Sync: add vip: added",
        "Postscript: PATCH /subscribers/{id}: [] → [vip]: ok",
        "Postscript: POST /events: Segment_Audience_Entered vip: ok",
        "Sync: add churn: added",
        "Sync: remove vip: removed",
        "Postscript: PATCH /subscribers/{id}: [vip] → [churn]: ok",
        "Postscript: POST /events: Segment_Audience_Entered churn: ok",
        "Postscript: POST /events: Segment_Audience_Exited vip: ok",
    ]
    assert steps["meaning"].str.contains("HTTP 200").sum() == 5


def test_where_the_person_stands(synced, ledger):
    """What Segment says, and what the next sync would do about it, by audience."""
    standing = explain("u1", synced, ledger).standing
    assert [*standing.columns] == [*STANDING_COLUMNS]
    assert standing[["person", "audience", "segment_says", "status"]].to_numpy().tolist() == [
        ["user:twin", "churn", "in", "unchanged"],
        ["user:u1", "vip", "out", "unchanged"],
    ]


def test_an_earlier_phone_still_leads_to_its_person(synced, ledger):
    """A complaint names a number that a later event has replaced."""
    found, same = explain("202-555-0999", synced, ledger), explain("mover", synced, ledger)
    assert found.sentence.startswith("Person user:mover; subscriber s_3, who ")
    assert {step.split()[0] for step in found.steps["source"]} == {"Segment", "Sync", "Postscript"}
    pd.testing.assert_frame_equal(found.steps, same.steps)


def test_who_shares_a_subscriber_with_an_earlier_phone_is_shown_too(store, ledger):
    """The earlier phone leads to a person, that one to a subscriber, and the subscriber to another person."""
    other = {**word(3, "old"), "userId": "other"}
    deliver([*MOVED, other], store, ledger)
    found = explain("202-555-0999", look([*MOVED, other], store, ledger), ledger, [*MOVED, other])
    assert found.sentence.startswith("2 people (user:mover, user:other); subscriber s_3")
    assert "identify: in old" in {*found.steps["what"]}


def test_shops_do_not_mix(store, ledger):
    """What another shop's run did to a person and subscriber of the same names is not shown."""
    deliver([ENTERED], store, ledger)
    known = look([ENTERED], store, ledger)
    before = explain("u1", known, ledger, [ENTERED]).steps
    folded = fold_events([ENTERED], ledger, shop=OTHER_SHOP)
    elsewhere = Store({1: []})
    run = sync(
        make_plan(folded, elsewhere),
        folded,
        shop=OTHER_SHOP,
        postscript=elsewhere,
        ledger=ledger,
        dry_run=False,
    )
    assert run.change_statuses == {"added": 1}
    pd.testing.assert_frame_equal(explain("u1", known, ledger, [ENTERED]).steps, before)


def test_the_region_reads_the_phone_that_is_asked_for():
    """A number as dialled in Britain is found among British people, now and once."""
    british = {**word(1, "vip", phone="020 7946 0018"), "userId": "brit"}
    moved = {**word(1, "vip", at=SECOND, phone="020 7946 0019"), "userId": "brit"}
    archive = read_events([british, moved])
    known = forecast(fold(archive.payloads()).state, default_region="GB")
    for number in ("020 7946 0019", "+44 20 7946 0018"):
        found = explain_person(number, archive, known, default_region="GB")
        assert found.sentence.startswith("Person user:brit;")
        assert len(found.steps) == 2


def test_the_destination_decides_what_events_say(tmp_path):
    """With a mapping that takes no identify calls, none of them is about an audience."""
    path = tmp_path / "destination.yaml"
    path.write_text('mappings:\n  - {name: a, trigger: type = "track"}\n')
    archive = read_events([ENTERED])
    known = forecast(fold(archive.payloads()).state)
    found = explain_person("u1", archive, known, destination=Destination.from_file(path))
    assert found.steps["status"].tolist() == ["no_matching_mapping"]


def test_thousands_with_one_contact_are_not_all_shown():
    """A phone that many share: a hundred people, and the first and last steps of one who has many."""
    crowd = [{**word(1, "vip"), "userId": f"u{n:04}", "messageId": str(n)} for n in range(150)]
    archive = read_events(crowd)
    found = explain_person(phone(1), archive, forecast(fold(archive.payloads()).state))
    assert found.sentence.startswith("The first 100 of the people (user:u0000, user:u0001, ")
    assert len(found.standing) == 100
    busy = [word(1, "vip", at=f"2025-03-04T10:{n // 60:02}:{n % 60:02}Z") for n in range(300)]
    long = explain_person("u1", read_events(busy), forecast(fold(read_events(busy).payloads()).state))
    assert (len(long.steps), len(long.table(most=10))) == (300, 11)
    assert long.table(most=10)["what"].iloc[5] == "… 290 more steps …"


def test_a_subscriber_who_is_gone_is_known_to_the_ledger(synced, store, ledger):
    """Removed in Postscript since: what was sent about them is still shown."""
    del store.people["s_1"]
    found = explain("s_1", look(EVENTS, store, ledger), ledger)
    assert "subscriber s_1, who is not known now" in found.sentence
    assert "Postscript" in {*found.steps["source"]}
    assert "Segment" in {*found.steps["source"]}


def test_a_lost_answer_is_shown_as_one(store, ledger):
    """The call failed for all that is known, with its class and sentence."""

    def lose(request):
        if request.method == "POST":
            raise LostAnswerError("No answer came.")

    store.lost = lose
    deliver([ENTERED], store, ledger)
    steps = explain("u1", look([ENTERED], store, ledger), ledger, [ENTERED]).steps
    last = steps.iloc[-1]
    assert (last["status"], last["meaning"]) == ("failed", "LostAnswerError: No answer came.")


def test_without_a_ledger_the_events_are_shown():
    """Nothing is known of runs and subscribers, and the sentence says so."""
    state = fold(read_events(EVENTS).payloads()).state
    found = explain_person("u1", read_events(EVENTS), forecast(state))
    assert found.sentence == "Person user:u1; no subscriber is known."
    assert {*found.steps["source"]} == {"Segment"}


@pytest.mark.parametrize("events", [EVENTS, []], ids=["others", "no event"])
@pytest.mark.parametrize("who", ["no-one", "", "x" * 5000, "ana@mail.test", "<b>\ud800"])
def test_a_search_that_finds_no_person(events, who):
    """A sentence, which shows no contact, and tables without rows; left blank, the first person is taken."""
    state = fold(read_events(events).payloads()).state
    found = explain_person(who, read_events(events), forecast(state))
    assert [*found.steps.columns] == [*TIMELINE_COLUMNS]
    assert [*found.table().columns] == [*TIMELINE_COLUMNS]
    assert found.steps.empty == found.standing.empty == (who != "" or not events)
    assert "ana" not in found.sentence


def test_contacts_are_shown_nowhere(store, ledger):
    """Not in names, keys, values or answers of what is shown."""
    events = [
        {**word(1, "ana@mail.test", email=email(1)), "userId": email(1)},
        {**word(1, "vip", email=email(1)), "userId": None, "anonymousId": phone(1)},
    ]
    deliver(events, store, ledger)
    found = explain("s_1", look(events, store, ledger), ledger, events)
    shown = pd.concat([found.table(), found.standing]).to_csv() + found.sentence
    assert "vip" in shown
    for contact in (email(1), phone(1), phone(1)[2:], "ana@"):
        assert contact not in shown
