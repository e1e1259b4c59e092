"""The flow: who is written, in which order, once each, and what is left for the next run when it breaks."""

from __future__ import annotations

import copy
import shutil
import signal
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from unittest.mock import DEFAULT, Mock

import pandas as pd
import pytest
import sqlalchemy as sa
import stores
from stores import find_subscribers, states

from toolkit.audiences.memberships import Folded, State, fold
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import (
    InvalidAuthenticationError,
    LedgerError,
    LostAnswerError,
    RateLimitError,
    ReconciliationError,
    RejectedError,
    RunFailedError,
    ServerError,
    UnreachableError,
)
from toolkit.frames import empty_table
from toolkit.ledger import Ledger
from toolkit.ledger.schema import transitions
from toolkit.postscript import api
from toolkit.postscript.api import AUDIENCES_PROPERTY, Answer, Shop
from toolkit.postscript.lookup import connect_shop
from toolkit.postscript.subscribers import FetchResult, SubscriberCache
from toolkit.segment.archive import read_events
from toolkit.sync.cost import estimate_cost
from toolkit.sync.delivery import execution
from toolkit.sync.delivery.custom_events import transition_id
from toolkit.sync.delivery.writes import Write
from toolkit.sync.plan import plan
from toolkit.sync.plan.matching import REACHED_COLUMNS
from toolkit.sync.sync import sync

SHOP = Shop(shop_id="shop_1", name="Acme Socks")
FIRST, SECOND = "2025-03-04T10:00:00Z", "2025-03-05T10:00:00Z"


def phone(number):
    return f"+1202555{100 + number:04}"


def word(number, key, *, member=True, at=FIRST):
    """Return an event: person *number* is in or out of the audience."""
    return {
        "type": "identify",
        "messageId": f"{number}-{key}-{member}-{at}",
        "userId": f"u{number}",
        "timestamp": at,
        "receivedAt": at,
        "traits": {key: member, "phone": phone(number)},
        "context": {
            "personas": {"computation_class": "audience", "computation_id": "aud_1", "computation_key": key}
        },
    }


class Store:
    """Postscript in memory. ``fault`` may raise before a request is carried out, ``lost`` after it."""

    def __init__(self, lists, *, others=1, page_size=50):
        self.people = {
            f"s_{number}": {
                "id": f"s_{number}",
                "phone_number": phone(number),
                "properties": {AUDIENCES_PROPERTY: [*held]} | {f"p{i}": i for i in range(others)},
            }
            for number, held in lists.items()
        }
        self.page_size = page_size
        self.dates = False
        """True when a write moves ``updated_at``."""
        self.sent = []
        self.fault = self.lost = lambda request: None
        self._lock = threading.Lock()

    @property
    def calls(self):
        return dict(Counter(request.route for request in self.sent))

    @property
    def writes(self):
        return [request for request in self.sent if request.method == "PATCH"]

    @property
    def posted(self):
        """(subscriber, audience, direction) of each custom event that was taken, in order."""
        return [
            (r.body["subscriber_id"], r.body["properties"]["Segment Audience Key"], r.body["type"][17:])
            for r in self.taken
        ]

    @property
    def taken(self):
        return [request for request in self.sent if request.method == "POST"]

    def lists(self):
        return {i: row["properties"].get(AUDIENCES_PROPERTY) for i, row in self.people.items()}

    def send(self, request, *, on_leaving=None):
        if on_leaving:
            on_leaving()
        with self._lock:
            self.fault(request)
            self.sent.append(request)
            found = self.answer(request)
            self.lost(request)
            return Answer(status_code=200, json=found)

    def answer(self, request):
        if request.path == "/api/v2/me":
            return {"resource_id": SHOP.shop_id, "resource_name": SHOP.name}
        if request.method == "GET" and request.path.count("/") == 4:
            found = self.people.get(request.path.rpartition("/")[2])
            if found is None:
                raise RejectedError("404", status_code=404, from_postscript=True)
            return found
        if request.method == "GET":
            asked = {value for name, value in request.query if name.endswith("__in")}
            rows = [row for row in self.people.values() if row["phone_number"][1:] in asked]
            page = int(dict(request.query)["page"])
            pages = max(1, -(-len(rows) // self.page_size))
            shown = rows[(page - 1) * self.page_size : page * self.page_size]
            return {"page_info": {"page": page, "total_pages": pages}, "subscribers": shown}
        if request.method == "PATCH":
            row = self.people[request.path.rpartition("/")[2]]
            row["properties"] = {**row["properties"], **request.body["properties"]}
            if self.dates:
                row["updated_at"] = datetime.now(UTC).isoformat()
            return row
        return {"event_ids": ["e"]}


class Notes:
    """A ledger in memory that remembers what it was reported, in order."""

    def __init__(self):
        self.reported = []
        self.runs = {}

    def load_state(self, _shop_id):
        return State.empty()

    def load_reached(self, _shop_id):
        return empty_table(REACHED_COLUMNS)

    def load_open_transitions(self, _shop_id):
        return []

    def find_closed(self, _external_ids):
        return set()

    def count_held(self, _shop_id):
        return {}

    def end_write(self, *args, **named):
        self.reported.append(("end_write", args, named))
        return frozenset(named.get("due", ()))

    @contextmanager
    def holding(self, shop_id):
        self.reported.append(("holding", (shop_id,), {}))
        yield

    def save_run(self, run):
        self.runs[run.run_id] = run

    def __getattr__(self, name):
        def record(*args, **named):
            self.reported.append((name, args, named))
            return len(self.reported)

        return record

    def names(self):
        return [name for name, _args, _named in self.reported]


def prepare(events, postscript, ledger, **options):
    """Return the plan and the folded events, as a notebook has them before it syncs."""
    folded = fold(read_events(events).payloads(), remembered=ledger.load_state(SHOP.shop_id))
    contacts = check_contacts(folded.state.people)
    found = find_subscribers(contacts, postscript)
    return plan(folded.state, contacts, found, **{"max_removal_share": 1.0, **options}), folded


def deliver(events, postscript, ledger, *, dry_run=False, **options):
    planned, folded = prepare(events, postscript, ledger, **options)
    return sync(planned, folded, shop=SHOP, postscript=postscript, ledger=ledger, dry_run=dry_run)


def ends(run):
    """Return (subscriber, audience) → (status, reason)."""
    rows = run.changes
    return {
        (s, k): (status, reason)
        for s, k, status, reason in zip(
            rows["subscriber_id"].fillna(""),
            rows["audience_key"],
            rows["status"],
            rows["reason_code"],
            strict=True,
        )
    }


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    Ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def new_ledger(empty_ledger, tmp_path):
    """Return a function that opens a new ledger of that name, or the one there is."""
    opened = []

    def open_(name="ledger"):
        path = tmp_path / f"{name}.db"
        if not path.exists():
            shutil.copy(empty_ledger, path)
        opened.append(Ledger(f"sqlite:///{path}"))
        return opened[-1]

    yield open_
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(new_ledger):
    return new_ledger()


# --- order and number of calls ----------------------------------------------------------------------------

MIXED = [
    word(1, "vip"),
    word(2, "vip"),
    word(2, "new"),
    word(2, "old", member=False),
    word(3, "old", member=False),
    word(4, "vip"),
]


def mixed_store():
    return Store({1: [], 2: ["kept", "old"], 3: ["old"], 4: ["vip"]})


def test_removals_then_additions_then_events():
    """Whoever must stop receiving is written first, and nothing is triggered before targeting is right."""
    store = mixed_store()
    run = deliver(MIXED, store, Notes())
    kinds = [request.method for request in store.sent]
    assert kinds == ["GET", "GET", *["PATCH"] * 3, *["POST"] * 5]
    written = [request.path.rpartition("/")[2] for request in store.writes]
    assert sorted(written[:2]) == ["s_2", "s_3"]
    assert written[2] == "s_1"
    assert store.lists() == {"s_1": ["vip"], "s_2": ["kept", "new", "vip"], "s_3": [], "s_4": ["vip"]}
    assert run.record.status == "completed"
    assert run.change_statuses == {"added": 3, "removed": 2, "unchanged": 1}
    run.raise_if_failed()


def test_one_write_a_subscriber_however_many_audiences():
    """Twenty audiences of one person are one write and twenty events."""
    store = Store({1: ["a3", "x"]})
    deliver([word(1, f"a{i}", member=i != 3) for i in range(20)], store, Notes())
    assert len(store.writes) == 1
    assert store.lists()["s_1"] == ["x", *sorted(f"a{i}" for i in range(20) if i != 3)]
    assert len(store.posted) == 20
    assert len({request.body["external_id"] for request in store.taken}) == 20
    assert ("s_1", "a3", "Exited") in store.posted


def test_a_second_run_sends_nothing(ledger):
    """What is as it should be costs no write and no event."""
    store = mixed_store()
    deliver(MIXED, store, ledger)
    before = len(store.sent)
    run = deliver(MIXED, store, ledger)
    assert [request.method for request in store.sent[before:]] == ["GET"]
    assert run.change_statuses == {"unchanged": 6}
    assert run.record.status == "completed"


def test_everything_is_noted_before_it_leaves():
    """Each write and event is in the ledger before it is sent, and its answer after."""
    store, notes = Store({1: [], 2: ["old"]}), Notes()
    order = notes.reported
    store.fault = lambda request: order.append((request.method, (), {}))
    deliver([word(1, "vip"), word(2, "old", member=False)], store, notes)
    write, post = ["start_write", "PATCH", "end_write"], ["start_event", "POST", "end_event"]
    named = [name for name in notes.names() if name not in {"GET", "check_lock"}]
    remembered = ["save_state", "release_held", "save_reached"]
    assert named[:11] == ["holding", *remembered, "close_calls", *write, *write]
    assert Counter(named[11:17]) == Counter([*post, *post])
    assert named[17:] == ["save_results"]
    assert all(args[-1].tries == 1 for name, args, _named in order if name in {"end_write", "end_event"})


def test_without_custom_events():
    """Asked to post none, a run writes lists and nothing else."""
    store = mixed_store()
    run = deliver(MIXED, store, Notes(), custom_events="none")
    assert not store.posted
    assert run.changes["external_id"].isna().all()
    assert run.record.facts["custom_events"] == "none"
    assert Counter(ends(run).values()) == {
        ("added", "ENTERED"): 3,
        ("removed", "EXITED"): 2,
        ("unchanged", "ALREADY_IN"): 1,
    }


def test_without_custom_events_nothing_old_is_posted_either(ledger):
    """Events that an earlier run left due wait until a run posts events again."""
    store = Store({1: []})
    store.fault = refuse("POST", RateLimitError("429", status_code=429, from_postscript=True))
    deliver([word(1, "vip")], store, ledger)
    store.fault = lambda request: None
    deliver([word(1, "vip")], store, ledger, custom_events="none")
    assert not store.posted
    deliver([word(1, "vip")], store, ledger)
    assert store.posted == [("s_1", "vip", "Entered")]


def test_a_dry_run_sends_and_remembers_nothing(ledger):
    """A dry run leaves a record of what it would do, and no other trace."""
    store = mixed_store()
    run = deliver(MIXED, store, ledger, dry_run=True)
    assert {request.method for request in store.sent} == {"GET"}
    assert run.change_statuses == {"would_add": 3, "would_remove": 2, "unchanged": 1}
    assert (run.record.mode, run.record.status) == ("dry_run", "completed")
    assert ledger.load_state(SHOP.shop_id).memberships.empty
    assert ledger.load_state(SHOP.shop_id).people.empty
    assert ledger.load_calls(run.record.run_id).empty
    assert ledger.get_run().run_id == run.record.run_id
    assert run.summary()["planned_calls"] == 1 + 1 + 3 + 5


def test_progress_counts_every_call():
    """Progress ends at all of all, never goes back, and shows how the changes ended."""
    reported = []
    store, notes = mixed_store(), Notes()
    planned, folded = prepare(MIXED, store, notes)
    run = sync(
        planned,
        folded,
        shop=SHOP,
        postscript=store,
        ledger=notes,
        dry_run=False,
        on_progress=lambda done, of, counts: reported.append((done, of, dict(counts))),
    )
    assert sorted((done, of) for done, of, _ in reported) == [(n, 8) for n in range(1, 9)]
    assert max(reported, key=lambda t: t[0])[2] == {
        status: n for status, n in run.change_statuses.items() if status != "unchanged"
    }


def test_the_run_is_recorded_from_its_start(ledger):
    """Another program sees the run while it goes on, and its end afterwards."""
    store = mixed_store()
    store.fault = lambda r: seen.append(ledger.get_run().status) if r.method == "PATCH" else None
    seen = []
    run = deliver(MIXED, store, ledger)
    assert set(seen) == {"running"}
    assert ledger.get_run() == run.record
    assert run.record.finished_at >= run.record.started_at
    assert 0 < run.record.seconds < 600
    assert run.record.facts["calls"] == {
        "GET /subscribers": 1,
        "GET /subscribers/{id}": 1,
        "PATCH /subscribers/{id}": 3,
        "POST /events": 5,
    }


def test_totals_reconcile(ledger):
    """Events and memberships add up in the run and in the ledger."""
    events = [*MIXED, MIXED[0], {"type": "page"}, word(1, "vip", member="true", at=SECOND), word(9, "vip")]
    run = deliver(events, mixed_store(), ledger)
    assert sum(run.event_statuses.values()) == run.record.received == len(events)
    assert sum(run.change_statuses.values()) == len(run.changes) == 7
    totals = ledger.load_totals(run.record.run_id).groupby("kind")["count"].sum()
    assert totals.to_dict() == {"event": len(events), "change": 7}
    assert run.change_statuses["waiting"] == 1


def test_totals_that_do_not_add_up_raise():
    """A plan that lacks a membership is the toolkit's fault, and is stated to be."""
    store, notes = mixed_store(), Notes()
    planned, folded = prepare(MIXED, store, notes)
    short = Folded(
        events=folded.events,
        state=State(memberships=folded.state.memberships[1:], people=folded.state.people),
    )
    with pytest.raises(ReconciliationError):
        sync(planned, short, shop=SHOP, postscript=store, ledger=notes)


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_summary_counts_the_members_of_each_audience(ledger, dry_run):
    """By the latest event of each person, an audience that everybody left included."""
    events = [word(1, "vip"), word(2, "vip"), word(3, "old"), word(3, "old", member=False, at=SECOND)]
    run = deliver(events, Store({1: [], 3: ["old"]}), ledger, dry_run=dry_run, max_removal_share=1)
    assert run.summary()["members"] == {"vip": 2, "old": 0}


def test_no_events_at_all(ledger):
    """Nothing to do is a completed run."""
    run = deliver([], Store({}), ledger)
    assert run.record.status == "completed"
    assert run.summary()["memberships"] == 0
    assert run.change_statuses == run.event_statuses == {}


# --- guards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [True, False])
def test_one_audience_is_emptied(ledger, dry_run):
    """A third of all is under the limit, the whole of one audience is not: it is named, nothing written."""
    held = {
        number: [key]
        for key, first in (("a", 10), ("b", 30), ("c", 50))
        for number in range(first, first + 12)
    }
    store = Store(held)
    events = [word(number, "a", member=False) for number in range(10, 22)]
    events += [word(number, held[number][0]) for number in range(30, 62) if number in held]
    run = deliver(events, store, ledger, dry_run=dry_run, max_removal_share=0.5)
    assert {request.method for request in store.sent} == {"GET"}
    assert run.summary()["stopped_by"] == "removal_limit"
    assert "12 memberships, 33% of those looked at, and of the audience a 12, 100%" in run.record.error


@pytest.mark.parametrize("dry_run", [True, False])
def test_too_many_removals(ledger, dry_run):
    """A plan that removes more than it may writes nothing; its error has both figures."""
    store = Store({1: ["vip"], 2: ["vip"], 3: ["vip"]})
    events = [word(1, "vip", member=False), word(2, "vip", member=False), word(3, "vip")]
    run = deliver(events, store, ledger, dry_run=dry_run, max_removal_share=0.5)
    assert {request.method for request in store.sent} == {"GET"}
    assert (run.record.status, run.summary()["stopped_by"]) == ("failed", "removal_limit")
    assert "67%" in run.record.error
    assert "50%" in run.record.error
    assert ends(run) == {
        ("s_1", "vip"): ("pending", "REMOVAL_LIMIT"),
        ("s_2", "vip"): ("pending", "REMOVAL_LIMIT"),
        ("s_3", "vip"): ("unchanged", "ALREADY_IN"),
    }
    with pytest.raises(RunFailedError, match="failed"):
        run.raise_if_failed()


class Replacing(Store):
    """A Postscript that replaces all properties instead of merging."""

    def answer(self, request):
        found = super().answer(request)
        if request.method == "PATCH":
            self.people[found["id"]]["properties"] = dict(request.body["properties"])
        return found


@pytest.mark.parametrize("held", [["old"], None], ids=["has the property", "has it not"])
@pytest.mark.parametrize("others", [1, 2, 10])
def test_the_first_lost_property_stops_the_run(ledger, held, others):
    """One write shows that properties are replaced; it is put back, there is no other, and no event."""
    store = Replacing({n: ["old"] for n in range(1, 6)}, others=others)
    if held is None:
        for row in store.people.values():
            del row["properties"][AUDIENCES_PROPERTY]
    before = copy.deepcopy(store.people)
    run = deliver([word(n, "vip") for n in range(1, 6)], store, ledger)
    assert len(store.writes) == 2
    assert store.people == before
    assert "put back" in run.record.error
    assert not ledger.load_open_transitions(SHOP.shop_id)
    assert not store.posted
    assert (run.record.status, run.summary()["stopped_by"]) == ("failed", "guard")
    assert "properties" in run.record.error
    assert Counter(ends(run).values()) == {("failed", "PROPERTIES_LOST"): 1, ("pending", "NOT_REACHED"): 4}


def test_the_check_goes_on_until_a_write_has_shown_something(ledger):
    """The first write fails: the second is read again as well, whatever the canary is."""
    store = Replacing({n: ["old"] for n in range(1, 6)})
    store.fault = refuse("PATCH", ServerError("503", status_code=503), times=1)
    run = deliver([word(n, "vip") for n in range(1, 6)], store, ledger)
    assert len(store.writes) == 2  # one, and what puts it back
    lost, rest = ("failed", "PROPERTIES_LOST"), ("pending", "NOT_REACHED")
    assert Counter(ends(run).values()) == {FAILED: 1, lost: 1, rest: 3}


@pytest.mark.parametrize(
    ("before", "after", "has_list", "held"),
    [
        ({}, {AUDIENCES_PROPERTY: ["vip"], "orders": 5}, False, (4, True, '["vip"]')),
        ({"orders": 4}, {"orders": 5}, False, (2, False, None)),
        ({AUDIENCES_PROPERTY: ["a"]}, {AUDIENCES_PROPERTY: [], "orders": 5}, True, (3, True, "[]")),
    ],
)
def test_what_a_subscriber_holds_after_a_write_that_shows_nothing(before, after, has_list, held):
    """The cache counts the properties that the write brought, the list among them."""
    about = {"subscriber_id": "s_1", "rows": {}, "traits": None, "property_count": 2}
    written = Write(before=before, after=after, has_list=has_list, **about).held("shop_1", None)
    assert (written.property_count, written.has_property, written.audiences) == held
    assert Write(before=before, after=after, has_list=has_list, **about).held("shop_1", 9).property_count == 9


class Dropping(Store):
    """A Postscript that keeps no empty list."""

    def answer(self, request):
        found = super().answer(request)
        if request.method == "PATCH" and not found["properties"][AUDIENCES_PROPERTY]:
            del found["properties"][AUDIENCES_PROPERTY]
        return found


def test_a_dropped_empty_list_is_no_lost_property(ledger):
    """Missing, null and empty are the same, so a list that vanishes with its last audience is fine."""
    store = Dropping({1: ["vip"], 2: ["vip"]})
    run = deliver([word(1, "vip", member=False), word(2, "vip", member=False)], store, ledger)
    assert run.change_statuses == {"removed": 2}
    assert run.record.status == "completed"


class Silent(Store):
    """A Postscript that answers writes with nothing."""

    def answer(self, request):
        found = super().answer(request)
        return found if request.method == "GET" else None


def test_an_empty_answer_to_a_write_proves_nothing():
    """Segment's own tests answer writes with nothing; that is no reason to stop."""
    store = Silent({1: [], 2: [], 3: []})
    run = deliver([word(n, "vip") for n in (1, 2, 3)], store, Notes())
    assert run.change_statuses == {"added": 3}
    assert store.lists() == {"s_1": ["vip"], "s_2": ["vip"], "s_3": ["vip"]}
    # The first write is read again, because its answer was empty; that it lost nothing is then known.
    assert [r.method for r in store.sent][1:6] == ["GET", "PATCH", "GET", "PATCH", "PATCH"]


class SilentReplacing(Silent, Replacing):
    """A Postscript that replaces all properties, and answers with nothing."""


def test_a_property_that_is_lost_in_silence_stops_the_run(ledger):
    """Reading again after the first write shows it; what the subscriber held is put back."""
    store = SilentReplacing({n: ["old"] for n in range(3)})
    before = copy.deepcopy(store.people)
    run = deliver([word(n, "vip") for n in range(3)], store, ledger)
    assert (len(store.writes), store.people) == (2, before)
    assert run.summary()["stopped_by"] == "guard"


def test_a_property_that_a_later_write_loses_stops_the_run():
    """Whoever is not read before the write is compared by number; it is left as it is."""
    store = Store({n: [] for n in range(9)}, others=2)
    store.lost = lambda request: (
        request in store.writes[2:] and store.people[request.path.rpartition("/")[2]]["properties"].pop("p0")
    )
    run = deliver([word(n, "vip") for n in range(9)], store, Notes())
    assert run.summary()["stopped_by"] == "guard"
    assert "What it held was not put back." in run.record.error


def test_a_later_write_without_effect_is_a_conflict(ledger):
    """It is noted as that, its event is not posted, and the others are served."""
    store = Store({n: [] for n in range(3)})
    store.lost = lambda request: (
        request in store.writes[2:]
        and store.people[request.path.rpartition("/")[2]].update(properties={"p0": 0, AUDIENCES_PROPERTY: []})
    )
    run = deliver([word(n, "vip") for n in range(3)], store, ledger)
    assert Counter(ends(run).values()) == {("added", "ENTERED"): 2, ("conflict", "WRITE_NOT_KEPT"): 1}
    calls = ledger.load_calls(run.record.run_id)
    assert calls.loc[calls["outcome"] == "WriteNotKept", "tries"].tolist() == [1]
    assert len(store.posted) == 2


def test_what_cannot_be_put_back_is_left_to_the_next_run(ledger):
    """The run reports it, the journal has both calls with their ends, and the custom event stays planned."""
    store = Replacing({1: ["old"]}, others=2)
    refused = refuse("PATCH", ServerError("500", status_code=500))
    store.fault = lambda request: refused(request) if store.writes else None
    run = deliver([word(1, "vip")], store, ledger)
    assert "What it held was not put back." in run.record.error
    calls = ledger.load_calls(run.record.run_id)
    assert [outcome.partition(":")[0] for outcome in calls["outcome"]] == ["PropertiesLost", "ServerError"]
    assert states(ledger) == {("s_1", "vip"): "planned"}


# --- trouble with single requests -------------------------------------------------------------------------


def refuse(method, error, *, subscriber="", times=1_000_000):
    """Return a fault: the first *times* such requests end in *error* before they are carried out."""
    left = [times]

    def fault(request):
        who = (
            request.path.rpartition("/")[2]
            if method in ("PATCH", "GET")
            else (request.body or {}).get("subscriber_id")
        )
        if request.method == method and left[0] and (not subscriber or who == subscriber):
            left[0] -= 1
            raise error

    return fault


GONE = RejectedError("404", status_code=404, from_postscript=True)
GATEWAY_404 = RejectedError("404", status_code=404)
FAILED = ("failed", "TRANSPORT_FAILED")
NOT_CONFIRMED = "Not all was done: custom events of earlier runs that were not confirmed: 1."
REFUSED = ("rejected", "REJECTED_BY_POSTSCRIPT")


@pytest.mark.parametrize(
    ("method", "error", "end"),
    [
        ("any", GONE, ("waiting", "SUBSCRIBER_GONE")),
        ("PATCH", GONE, FAILED),
        ("any", GATEWAY_404, FAILED),
        ("PATCH", RejectedError("400", status_code=400, from_postscript=True), REFUSED),
        ("PATCH", RejectedError("400", status_code=400), FAILED),
        ("PATCH", InvalidAuthenticationError("403", status_code=403), FAILED),
        ("PATCH", ServerError("503", status_code=503), FAILED),
    ],
    ids=["gone", "there", "page", "refused", "gateway", "forbidden", "server"],
)
def test_one_refused_write(ledger, method, error, end):
    """It ends as itself, its events are not sent, the others are; the next run sends it once."""
    store = Store({1: [], 2: [], 3: []})
    faults = [refuse(one, error, subscriber="s_2") for one in ("PATCH", "GET")]
    words = [word(n, "vip") for n in (1, 2, 3)]
    held = prepare(words, store, ledger)[0].subscribers
    ledger.save_cache(SHOP.shop_id, FetchResult(cache=SubscriberCache(), read=held, method="lookups"))
    store.fault = lambda request: [fault(request) for fault in faults[: 1 + (method == "any")]]
    run = deliver(words, store, ledger)
    assert ends(run)["s_2", "vip"] == end
    # One who is gone is looked up again.
    is_known = "s_2" in {*ledger.load_cache(SHOP.shop_id).subscribers["subscriber_id"]}
    assert is_known is (end[0] != "waiting")
    assert run.change_statuses["added"] == 2
    assert sorted(store.posted) == [("s_1", "vip", "Entered"), ("s_3", "vip", "Entered")]
    assert run.record.status == ("completed" if end[0] == "waiting" else "completed_with_errors")
    # Whatever the answer was, the write may have arrived: its event is settled later.
    assert states(ledger)["s_2", "vip"] == "planned"
    store.fault = lambda request: None
    again = deliver([], store, ledger)
    assert again.change_statuses == {"added": 1, "unchanged": 2}
    assert Counter(store.posted)["s_2", "vip", "Entered"] == 1
    assert set(states(ledger).values()) == {"sent"}


def test_a_write_whose_answer_was_lost_is_settled_by_the_list(ledger):
    """The write arrived although it failed: the next run sees the list, and posts the event once."""
    store = Store({1: [], 2: []})
    store.lost = refuse("PATCH", UnreachableError("no answer"), subscriber="s_2")
    run = deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    assert ends(run)["s_2", "vip"] == ("failed", "TRANSPORT_FAILED")
    assert states(ledger) == {("s_1", "vip"): "sent", ("s_2", "vip"): "planned"}
    store.lost = lambda request: None
    deliver([], store, ledger)
    assert store.posted == [("s_1", "vip", "Entered"), ("s_2", "vip", "Entered")]
    assert len(store.writes) == 2


@pytest.mark.parametrize("canary", [1, 3])
def test_a_record_that_always_fails_holds_no_other_back(ledger, canary):
    """One subscriber answers 500 to everything: the others are served, and its event is sent in the end."""
    people, leaving = range(1, 8), [word(n, "vip", member=False, at=SECOND) for n in range(1, 7)]
    store = Store({n: [] for n in people})
    store.lost = refuse("PATCH", ServerError("500", status_code=500), subscriber="s_7")
    deliver([word(n, "vip") for n in people], store, ledger)
    assert states(ledger)["s_7", "vip"] == "planned"
    store.lost = lambda request: None
    planned, folded = prepare([*leaving, word(7, "gold")], store, ledger)

    def fault(request):
        if "s_7" in str(request):
            raise ServerError("500", status_code=500)

    store.fault = fault
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False, canary=canary)
    assert run.record.status == "completed_with_errors"
    assert run.change_statuses == {"removed": 6, "failed": 1, "unchanged": 1}
    assert store.lists() == {f"s_{n}": ["vip"] if n == 7 else [] for n in people}
    assert states(ledger)["s_7", "vip"] == "planned"
    store.fault = lambda request: None
    assert deliver([], store, ledger).record.status == "completed"
    assert Counter(store.posted)["s_7", "vip", "Entered"] == 1
    assert {*states(ledger).values()} == {"sent"}


def test_what_was_left_of_a_broken_record_is_not_confirmed(ledger):
    """A run that has nothing for that subscriber reports that a custom event could not be confirmed."""
    store = Store({1: [], 2: []})
    store.lost = refuse("PATCH", UnreachableError("no answer"), subscriber="s_2")
    deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    store.lost = lambda request: None
    store.fault = refuse("GET", ServerError("503", status_code=503), subscriber="s_2")
    run = deliver([word(1, "gold")], store, ledger)
    assert run.record.status == "completed_with_errors"
    assert run.record.error == NOT_CONFIRMED
    assert ends(run)["s_1", "gold"] == ("added", "ENTERED")
    assert states(ledger)["s_2", "vip"] == "planned"
    store.fault = lambda request: None
    deliver([], store, ledger)
    assert [*Counter(store.posted).values()] == [1, 1, 1]


def test_what_is_left_of_many_who_cannot_be_read_stops_the_run(ledger):
    """Postscript is down: what is left over is not asked for subscriber by subscriber, to the last."""
    store = Store({n: [] for n in range(20)})
    store.lost = refuse("PATCH", UnreachableError("no answer"))
    deliver([word(n, "vip") for n in range(20)], store, ledger)
    assert len(ledger.load_open_transitions(SHOP.shop_id)) == 20
    store.lost = lambda request: None
    planned, folded = prepare([], store, ledger)
    down, asked = refuse("GET", ServerError("503", status_code=503)), []
    store.fault = lambda request: (asked.append(request), down(request))
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert (run.record.status, run.summary()["stopped_by"]) == ("failed", "transport")
    assert len(asked) < 20


def leave(people):
    return [word(n, "vip", member=False, at=SECOND) for n in people]


def test_a_spell_of_404_loses_no_subscriber(ledger):
    """A gateway's pages for every write: nothing counts as gone, and the next run does it all."""
    people = range(12)
    store = Store({n: ["vip"] for n in people})
    store.fault = refuse("PATCH", GATEWAY_404)
    run = deliver(leave(people), store, ledger)
    assert (run.record.status, run.change_statuses) == ("completed_with_errors", {"failed": 12})
    store.fault = lambda request: None
    run = deliver([], store, ledger)
    assert run.change_statuses == {"removed": 12}
    assert [*store.lists().values()] == [[]] * 12


@pytest.mark.parametrize("is_up", [True, False])
def test_many_who_are_gone_in_a_row_are_believed_of_a_healthy_shop_only(ledger, is_up):
    """A shop that answers for itself has lost them; one that does not is down, and the run stops."""
    people = range(90)
    store = Store({n: ["vip"] for n in people}, page_size=1000)

    def fault(request):
        if request.path.count("/") == 4 and request.method != "POST":
            raise GONE
        if request.path.endswith("/me") and not is_up:
            raise ServerError("503", status_code=503)

    store.fault = fault
    run = deliver(leave(people), store, ledger)
    assert (run.record.status, run.record.error) == (("completed", "") if is_up else ("failed", "503"))
    assert run.change_statuses["waiting"] == 90 if is_up else run.change_statuses["waiting"] < 60


def test_a_lost_event_is_never_repeated(ledger):
    """Whether the text went out is not known, so it is listed as unknown and left alone."""
    store = Store({1: [], 2: []})
    store.lost = refuse("POST", LostAnswerError("lost"), subscriber="s_1")
    run = deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    assert ends(run)["s_1", "vip"] == ("unknown", "ANSWER_LOST")
    assert run.record.status == "completed_with_errors"
    store.lost = lambda request: None
    for _ in range(2):
        deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    assert Counter(store.posted)["s_1", "vip", "Entered"] == 1
    assert states(ledger) == {("s_1", "vip"): "unknown", ("s_2", "vip"): "sent"}


@pytest.mark.parametrize(
    "error",
    [RateLimitError("429", status_code=429, from_postscript=True), UnreachableError("refused")],
    ids=["429", "unreachable"],
)
def test_an_event_that_did_not_leave_stays_due(ledger, error):
    """The next run posts it exactly once, under the same external id, and the one after posts nothing."""
    store, tried = Store({1: [], 2: []}), []
    refusing = refuse("POST", error, subscriber="s_1")

    def fault(request):
        if request.method == "POST" and request.body["subscriber_id"] == "s_1":
            tried.append(request.body["external_id"])
        refusing(request)

    store.fault = fault
    run = deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    assert ends(run)["s_1", "vip"] == ("failed", "TRANSPORT_FAILED")
    assert states(ledger)["s_1", "vip"] == "due"
    assert run.record.error == "Not all was done: changes that ended as failed: 1."
    assert deliver([], store, ledger).record.error == NOT_CONFIRMED
    store.fault = lambda request: None
    for _ in range(2):
        deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    mine = [r.body["external_id"] for r in store.taken if r.body["subscriber_id"] == "s_1"]
    assert len(mine) == 1
    assert tried == mine * 2


def test_an_event_that_stays_due_holds_the_later_ones_back(ledger):
    """Of one subscriber none is posted after one that was not."""
    store = Store({1: ["old"]})
    store.fault = refuse("POST", UnreachableError("refused"), times=1)
    deliver([word(1, "vip"), word(1, "old", member=False)], store, ledger)
    assert store.posted == []
    assert {*states(ledger).values()} == {"due"}
    deliver([], store, ledger)
    assert sorted(store.posted) == [("s_1", "old", "Exited"), ("s_1", "vip", "Entered")]


def test_an_event_that_another_run_has_claimed_holds_none_back(ledger, monkeypatch):
    """The other run posts it: the subscriber's later ones are posted by this one."""
    store = Store({1: []})
    claim = Mock(wraps=ledger.start_event, side_effect=[None, DEFAULT])
    monkeypatch.setattr(ledger, "start_event", claim)
    run = deliver([word(1, "vip"), word(1, "gold")], store, ledger)
    assert run.record.status == "completed"
    assert [reason for _, reason in ends(run).values()].count("EVENT_ALREADY_SENT") == 1
    assert len(store.posted) == 1


def post_again(store, ledger):
    """Run with nothing new, and ask for the custom events that were not confirmed."""
    planned, folded = prepare([], store, ledger)
    return sync(
        planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False, repeat_unknown=True
    )


@pytest.mark.parametrize("status", [400, 404])
def test_a_refused_event_is_tried_again_only_on_request(ledger, status):
    """It is reported as refused, listed with those of unknown fate, and posted when someone asks for it."""
    store = Store({1: []})
    store.fault = refuse("POST", RejectedError("no", status_code=status, from_postscript=True))
    run = deliver([word(1, "vip")], store, ledger)
    assert ends(run)["s_1", "vip"] == ("rejected", "REJECTED_BY_POSTSCRIPT")
    assert run.record.status == "completed_with_errors"
    store.fault = lambda request: None
    deliver([word(1, "vip")], store, ledger)
    assert not store.posted
    assert [t.state for t in ledger.load_unknown_transitions(SHOP.shop_id)] == ["refused"]
    post_again(store, ledger)
    assert store.posted == [("s_1", "vip", "Entered")]
    assert not ledger.load_unknown_transitions(SHOP.shop_id)


def test_events_that_are_all_refused_stop_the_run(ledger):
    """Then it is not one event's fault: what is left stays due, and the next run gets beyond it."""
    count = 200
    store = Store({n: [] for n in range(count)}, page_size=1000)
    store.fault = refuse("POST", RejectedError("404", status_code=404, from_postscript=True))
    run = deliver([word(n, "vip") for n in range(count)], store, ledger)
    assert run.record.status == "failed"
    left = Counter(states(ledger).values())
    assert left["refused"] < 60
    assert left["due"] == count - left["refused"]
    store.fault = lambda request: None
    deliver([], store, ledger)
    assert len(store.posted) == left["due"]


def test_a_repeat_tells_nothing_that_is_not_so_any_more(ledger):
    """An entry of unknown fate is not posted after its exit was, whoever asks for it."""
    store = Store({1: []})
    store.lost = refuse("POST", LostAnswerError("lost"))
    deliver([word(1, "vip")], store, ledger)
    store.lost = lambda request: None
    deliver([word(1, "vip", member=False, at=SECOND)], store, ledger)
    before = len(store.posted)
    post_again(store, ledger)
    assert len(store.posted) == before
    assert [t.state for t in ledger.load_unknown_transitions(SHOP.shop_id)] == ["unknown"]


def test_what_is_due_is_closed_when_a_silent_run_undoes_it(ledger):
    """A run without custom events removes who entered before: the entry is not reported afterwards."""
    store = Store({1: [], 2: []})
    store.fault = refuse("POST", RateLimitError("429", status_code=429, from_postscript=True))
    deliver([word(1, "vip"), word(2, "vip")], store, ledger)
    store.fault = lambda request: None
    exit_ = [word(1, "vip", member=False, at=SECOND)]
    deliver(exit_, store, ledger, custom_events="none")
    deliver([], store, ledger)
    assert store.lists() == {"s_1": [], "s_2": ["vip"]}
    assert store.posted == [("s_2", "vip", "Entered")]
    assert states(ledger) == {("s_1", "vip"): "obsolete", ("s_2", "vip"): "sent"}


def test_what_a_limit_held_back_is_not_carried_out_unasked(ledger):
    """The values of a run that removes too much are not remembered; a later, milder run removes no one."""
    store = Store({n: [] for n in range(13)})
    deliver([word(n, "vip") for n in range(10)], store, ledger)
    leaving = [word(n, "vip", member=False, at=SECOND) for n in range(6)]
    run = deliver(leaving, store, ledger, max_removal_share=0.5)
    assert (run.record.status, run.change_statuses["pending"]) == ("failed", 6)
    deliver([word(n, "vip", at=SECOND) for n in (10, 11, 12)], store, ledger, max_removal_share=0.5)
    assert set(map(tuple, store.lists().values())) == {("vip",)}
    again = deliver(leaving, store, ledger, max_removal_share=0.6)
    assert again.change_statuses["removed"] == 6
    assert ledger.count_held(SHOP.shop_id) == {}


def deliver_held(events, store, ledger, *, chosen, **options):
    """Do what the sync notebook does with what was held back."""
    remembered = ledger.load_held(SHOP.shop_id, chosen=chosen).after(ledger.load_state(SHOP.shop_id))
    folded = fold(read_events(events).payloads(), remembered=remembered)
    planned = stores.make_plan(folded, store, **options)
    return sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)


@pytest.mark.parametrize("cause", ["limit", "person"])
def test_what_was_held_back_is_kept_until_it_is_decided(ledger, cause):
    """The archive rolls over: a newer event replaces its held value, the others are applied when chosen."""
    store = stores.Store({n: ["vip"] for n in (1, 2, 3)})
    deliver([stores.word(n, "vip") for n in (1, 2, 3)], store, ledger)
    cancel = threading.Event()
    if cause == "person":
        cancel.set()
    folded = stores.fold_events([stores.word(n, "vip", member=False, at=SECOND) for n in (1, 2)], ledger)
    planned = stores.make_plan(folded, store, max_removal_share=0.5 if cause == "limit" else 1)
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False, cancel=cancel)
    assert run.change_statuses == {"pending": 2, "unchanged": 1}
    assert ledger.count_held(SHOP.shop_id) == {run.record.run_id: 2}
    assert ledger.load_held(SHOP.shop_id).is_empty

    kept = deliver_held([stores.word(1, "vip", at=THIRD)], store, ledger, chosen=False)
    assert kept.change_statuses == {"unchanged": 3}
    assert kept.record.notes == (
        f"1 memberships of run {run.record.run_id} are held back; newer events replace them. "
        'Run with held_changes "apply" or "discard" to decide about them.',
    )
    applied = deliver_held([], store, ledger, chosen=True)
    assert (applied.change_statuses, applied.record.notes) == ({"removed": 1, "unchanged": 2}, ())
    assert store.lists() == {"s_1": ["vip"], "s_2": [], "s_3": ["vip"]}
    assert ledger.load_held(SHOP.shop_id, chosen=True).people.empty


def test_what_a_failed_run_held_is_taken_up_by_the_next(ledger):
    """The reading failed and the archive rolled over: contacts and values are there for the next run."""
    store = stores.Store({1: [], 2: []})
    folded = stores.fold_events([stores.word(n, "vip", score=n) for n in (1, 2)], ledger)
    ledger.hold(SHOP.shop_id, "", folded.state, cause="failure")
    held = ledger.load_held(SHOP.shop_id)
    for name in ("memberships", "people", "traits"):
        pd.testing.assert_frame_equal(getattr(held, name), getattr(folded.state, name))
    run = deliver_held([stores.word(2, "vip", member=False, at=SECOND)], store, ledger, chosen=False)
    assert run.change_statuses == {"added": 1, "unchanged": 1}
    assert run.record.notes == ()
    assert ledger.load_held(SHOP.shop_id).memberships.empty


def test_a_contact_that_is_held_alone_is_kept(ledger):
    """A limit held back a newer phone of a membership that stayed: only a run that knows it lets it go."""
    known = stores.fold_events([stores.word(1, "vip")], ledger).state
    ledger.save_state(SHOP.shop_id, "r0", known)
    newer = known.people.assign(phone=stores.phone(9), phone_at=pd.Timestamp(THIRD).as_unit("us")).astype(
        known.people.dtypes
    )
    ledger.hold(SHOP.shop_id, "r1", replace(known, people=newer), cause="limit")
    ledger.release_held(SHOP.shop_id, known)
    assert ledger.load_held(SHOP.shop_id, chosen=True).people["phone"].tolist() == [stores.phone(9)]
    ledger.release_held(SHOP.shop_id, replace(known, people=newer))
    assert ledger.load_held(SHOP.shop_id, chosen=True).is_empty


def test_what_is_held_can_be_discarded(ledger):
    """Words that a limit holds go, those of a failure stay; a failure frees nothing that a limit holds."""
    state = stores.fold_events([stores.word(1, "vip")], ledger).state
    more = stores.fold_events([stores.word(n, "vip") for n in (1, 2)], ledger).state
    ledger.hold(SHOP.shop_id, "r1", state, cause="limit")
    ledger.hold(SHOP.shop_id, "r2", more, cause="failure")
    assert ledger.count_held(SHOP.shop_id) == {"r1": 1}
    ledger.discard_held(SHOP.shop_id)
    assert ledger.load_held(SHOP.shop_id, chosen=True).memberships["person"].tolist() == ["user:u2"]


THIRD, FOURTH = "2025-03-06T10:00:00Z", "2025-03-07T10:00:00Z"


def all_states(ledger):
    """Return how many custom events of the ledger are in which state."""
    engine = sa.create_engine(ledger.name)
    with engine.connect() as connection:
        found = Counter(connection.scalars(sa.select(transitions.c.state)))
    engine.dispose()
    return dict(found)


def test_an_entry_that_was_never_sent_and_its_exit_cancel_out(ledger):
    """Lists were written, no custom event was; everyone leaves: nothing is posted, and none disappears."""
    people = range(8)
    store = Store({n: [] for n in people})
    store.fault = refuse("POST", InvalidAuthenticationError("401", status_code=401, from_postscript=True))
    run = deliver([word(n, "vip") for n in people], store, ledger)
    assert run.change_statuses == {"failed": 8}
    store.fault = lambda request: None
    run = deliver(leave(people), store, ledger)
    assert (run.record.status, run.change_statuses) == ("completed", {"removed": 8})
    assert {*ends(run).values()} == {("removed", "EVENT_NOT_DUE")}
    assert store.posted == []
    assert all_states(ledger) == {"obsolete": 16}
    deliver([word(n, "vip", at=THIRD) for n in people], store, ledger)
    assert {*store.posted} == {(f"s_{n}", "vip", "Entered") for n in people}


@pytest.mark.parametrize(
    ("unsent", "then", "posted"),
    [
        ([], False, ["Exited"]),
        ([False], True, []),
        ([False, True], False, ["Exited"]),
        ([False], None, ["Exited"]),
    ],
    ids=["none", "re-entry", "out, in, out", "nothing new"],
)
def test_custom_events_alternate(ledger, unsent, then, posted):
    """After an entry that was sent: of those that were not, only the last is posted, if it is news."""
    store = Store({1: []})
    deliver([word(1, "vip")], store, ledger)
    days = iter([SECOND, THIRD, FOURTH])
    store.fault = refuse("POST", RateLimitError("429", status_code=429, from_postscript=True))
    for member in unsent:
        deliver([word(1, "vip", member=member, at=next(days))], store, ledger)
    store.fault = lambda request: None
    last = [] if then is None else [word(1, "vip", member=then, at=next(days))]
    assert deliver(last, store, ledger).record.status == "completed"
    assert [direction for _who, _key, direction in store.posted] == ["Entered", *posted]
    assert not ledger.load_open_transitions(SHOP.shop_id)


def test_what_another_hand_took_away_is_not_entered_twice(ledger):
    """A list that was cleared is written again; without an exit no second entry is posted."""
    store = Store({1: []})
    deliver([word(1, "vip")], store, ledger)
    for at, state in ((FIRST, {"sent": 1}), (SECOND, {"sent": 1, "obsolete": 1})):
        store.people["s_1"]["properties"][AUDIENCES_PROPERTY] = []
        run = deliver([word(1, "vip", at=at)], store, ledger)
        assert ends(run)["s_1", "vip"] == ("added", "EVENT_ALREADY_SENT")
        assert all_states(ledger) == state
    assert store.posted == [("s_1", "vip", "Entered")]


@pytest.mark.parametrize(
    ("state", "listed"),
    [("planned", ["vip"]), ("planned", []), ("due", []), ("due", None)],
    ids=["in", "out", "out although due", "gone"],
)
def test_an_event_that_is_left_over_is_checked_against_the_list(ledger, state, listed):
    """It is posted where the list agrees, and else closed; it never disappears."""
    store = Store({1: []})
    if state == "planned":
        store.lost = refuse("PATCH", ServerError("500", status_code=500))
    else:
        store.fault = refuse("POST", RateLimitError("429", status_code=429, from_postscript=True))
    deliver([word(1, "vip")], store, ledger)
    assert states(ledger)["s_1", "vip"] == state
    store.fault = store.lost = lambda request: None
    planned, folded = prepare([], Store({1: ["vip"]}), ledger)
    if listed is None:
        del store.people["s_1"]
    else:
        store.people["s_1"]["properties"][AUDIENCES_PROPERTY] = listed
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert run.record.status == "completed"
    assert len(store.posted) == bool(listed)
    assert states(ledger)["s_1", "vip"] == ("sent" if listed else "obsolete")
    assert run.summary()["custom_events_obsolete"] == (not listed)


def test_what_is_left_of_one_whose_write_fails_waits(ledger):
    """Their entry was never sent and their exit does not arrive: nothing is posted before it does."""
    store = Store({1: []})
    store.fault = refuse("POST", RateLimitError("429", status_code=429, from_postscript=True))
    deliver([word(1, "vip")], store, ledger)
    store.fault = refuse("PATCH", ServerError("500", status_code=500))
    run = deliver(leave([1]), store, ledger)
    assert (ends(run)["s_1", "vip"], store.posted) == (FAILED, [])
    store.fault = lambda request: None
    deliver([], store, ledger)
    assert (store.posted, store.lists()) == ([], {"s_1": []})


def test_a_custom_event_is_claimed_once(new_ledger):
    """Of two runs without a lock between them the ledger lets one post; the other reports it as sent."""
    store, first, second = Store({1: []}), new_ledger("one"), new_ledger("one")
    calls = []

    def fault(request):
        if request.method == "POST":
            transition = second.load_open_transitions(SHOP.shop_id)[0]
            calls.append(second.start_event("other", transition))

    store.fault = fault
    deliver([word(1, "vip")], store, first)
    assert calls == [None]
    claimed = []

    class Claiming:
        """A ledger in which another run is always a moment earlier."""

        def __getattr__(self, name):
            return getattr(first, name)

        def start_event(self, run_id, transition):
            claimed.append(second.start_event("other", transition))
            return first.start_event(run_id, transition)

    store.fault, before = (lambda request: None), len(store.taken)
    run = deliver(leave([1]), store, Claiming())
    assert [type(call) for call in claimed] == [int]
    assert ends(run)["s_1", "vip"] == ("removed", "EVENT_ALREADY_SENT")
    assert len(store.taken) == before


@pytest.mark.parametrize("checks", [0, 2, 3])
def test_a_lost_lock_ends_the_run(ledger, checks):
    """Before each group the run makes sure that the shop is its own; else nothing more leaves."""

    class Losing:
        left = checks

        def __getattr__(self, name):
            return getattr(ledger, name)

        def check_lock(self, _shop_id):
            self.left -= 1
            if self.left < 0:
                raise LedgerError("The lock of the shop was lost. Run again.")

    store = Store({1: ["old"], 2: []})
    run = deliver([word(1, "old", member=False), word(2, "vip")], store, Losing())
    assert (len(store.writes), len(store.posted)) == [(0, 0), (1, 0), (2, 0), (2, 2)][checks]
    ended = ("completed", "") if checks == 3 else ("failed", "ledger")
    assert (run.record.status, run.summary()["stopped_by"]) == ended


@pytest.mark.parametrize(("writes", "posts"), [(7, 0), (12, 6)])
def test_a_lock_that_is_lost_within_a_group_ends_the_run(monkeypatch, writes, posts):
    """Every so many calls the run makes sure that the shop is still its own; else nothing more leaves."""
    monkeypatch.setattr(execution, "CHECK_EVERY", 2)
    monkeypatch.setattr(execution, "WORKERS", 1)
    store, notes = Store({n: [] for n in range(12)}), Notes()

    def check_lock(_shop_id):
        if (len(store.writes), len(store.posted)) >= (writes, posts):
            raise LedgerError("The lock of the shop was lost. Run again.")

    notes.check_lock = check_lock
    run = deliver([word(n, "vip") for n in range(12)], store, notes)
    assert (len(store.writes) - writes, len(store.posted) - posts) in {(0, 0), (1, 0), (0, 1)}
    assert (run.record.status, run.summary()["stopped_by"]) == ("failed", "ledger")


@pytest.mark.parametrize("seen", ["before the write", "in the answer"])
def test_lists_that_move_are_read_again(ledger, seen):
    """Another tool's key that comes between plan and write survives, once an answer showed that keys come."""
    people = range(5)
    store = Store({n: [] for n in people})
    planned, folded = prepare([word(n, "vip") for n in people], store, ledger)
    rows = [*store.people.values()]

    def add_theirs(request):
        if request.method == "PATCH":
            row = store.people[request.path.rpartition("/")[2]]
            row["properties"][AUDIENCES_PROPERTY] = [*row["properties"][AUDIENCES_PROPERTY], "theirs"]
            store.lost = lambda request: None

    for row in rows[1:] if seen == "in the answer" else rows:
        row["properties"][AUDIENCES_PROPERTY] = ["theirs"]
    if seen == "in the answer":
        store.lost = add_theirs
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert {*map(frozenset, store.lists().values())} == {frozenset({"vip", "theirs"})}
    assert run.record.facts["read_again"] is True
    assert run.record.notes[0].startswith("Others write to the same lists")
    assert run.record.status == "completed"


def test_figures_of_custom_events_are_those_that_were_made(ledger):
    """Planned and posted are separate figures; what the ledger knows as closed is not planned."""
    store = Store({1: [], 2: []})
    run = deliver([word(1, "vip")], store, ledger)
    assert (run.summary()["custom_events"], run.summary()["custom_events_posted"]) == (1, 1)
    store.people["s_1"]["properties"][AUDIENCES_PROPERTY] = []
    store.fault = refuse(
        "POST", RejectedError("400", status_code=400, from_postscript=True), subscriber="s_2"
    )
    for dry_run, refused in ((True, 0), (False, 1)):
        figures = deliver([word(1, "vip"), word(2, "vip")], store, ledger, dry_run=dry_run).summary()
        assert (figures["custom_events"], figures["custom_events_posted"]) == (1, 0)
        assert (figures["custom_events_refused"], figures["custom_events_obsolete"]) == (refused, 0)
        assert figures["planned_calls_by_kind"]["custom_events"] == 1


def test_a_list_that_is_none_when_it_is_read_again_is_left_alone(ledger):
    """Between plan and write the property became a text: a conflict, and nothing is written."""
    store = Store({1: []})
    planned, folded = prepare([word(1, "vip")], store, ledger)
    store.people["s_1"]["properties"][AUDIENCES_PROPERTY] = "vip"
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert ends(run)["s_1", "vip"] == ("conflict", "PROPERTY_NOT_A_LIST")
    assert (store.writes, store.lists()) == ([], {"s_1": "vip"})


def test_a_read_that_shows_no_subscriber_is_no_ground_for_a_write(ledger):
    """What the first one holds is not known then: the change failed, and the next run makes it."""
    store = Store({1: []})
    answer = store.answer
    store.answer = lambda r: {} if r.method == "GET" and r.path.count("/") == 4 else answer(r)
    run = deliver([word(1, "vip")], store, ledger)
    assert (ends(run)["s_1", "vip"], store.writes) == (FAILED, [])
    store.answer = answer
    assert deliver([], store, ledger).change_statuses == {"added": 1}


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("canary", [1, 3])
def test_as_many_are_read_again_as_are_asked_for(canary, others):
    """That the first write lost nothing makes the canary no smaller; nothing to lose, no larger."""
    store = Store({n: [] for n in range(5)}, others=others)
    planned, folded = prepare([word(n, "vip") for n in range(5)], store, Notes())
    sync(planned, folded, shop=SHOP, postscript=store, ledger=Notes(), dry_run=False, canary=canary)
    assert len([r for r in store.sent if r.method == "GET" and not r.query]) == canary


def test_a_write_after_reading_again_is_noted_as_it_is(ledger):
    """The journal has the list that was read, and only what was still lacking is written and posted."""
    store = Store({1: []})
    planned, folded = prepare([word(1, "vip"), word(1, "new")], store, ledger)
    store.people["s_1"]["properties"][AUDIENCES_PROPERTY] = ["vip", "theirs"]
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False)
    assert ends(run) == {("s_1", "new"): ("added", "ENTERED"), ("s_1", "vip"): ("unchanged", "ALREADY_IN")}
    assert store.posted == [("s_1", "new", "Entered")]
    call = ledger.load_calls(run.record.run_id).iloc[0]
    assert call["before"] == '{"Segment Audiences":["vip","theirs"]}'
    assert call["after"] == '{"Segment Audiences":["vip","theirs","new"]}'


def test_an_event_left_due_and_planned_again_is_posted_once(ledger):
    """Someone cleared the list before the event was reported: it is written again and reported once."""
    store = Store({1: []})
    store.fault = refuse("POST", RateLimitError("429", status_code=429, from_postscript=True))
    deliver([word(1, "vip")], store, ledger)
    store.people["s_1"]["properties"][AUDIENCES_PROPERTY] = []
    store.fault = lambda request: None
    deliver([word(1, "vip")], store, ledger)
    assert store.posted == [("s_1", "vip", "Entered")]
    assert store.lists() == {"s_1": ["vip"]}


def test_re_entry_is_another_transition(ledger):
    """In, out, and in again are three transitions with three ids."""
    store = Store({1: []})
    for member, at in [(True, FIRST), (False, SECOND), (True, "2025-03-06T00:00:00Z")]:
        deliver([word(1, "vip", member=member, at=at)], store, ledger)
    assert [direction for _s, _k, direction in store.posted] == ["Entered", "Exited", "Entered"]
    assert len({r.body["external_id"] for r in store.taken}) == 3


def test_transition_ids():
    """An id is the same for the same transition and no other."""
    one = transition_id("shop", "s_1", "vip", entered=True, when="t")
    assert one == transition_id("shop", "s_1", "vip", entered=True, when="t")
    others = {
        transition_id("shop2", "s_1", "vip", entered=True, when="t"),
        transition_id("shop", "s_2", "vip", entered=True, when="t"),
        transition_id("shop", "s_1", "vi", entered=True, when="t"),
        transition_id("shop", "s_1", "vip", entered=False, when="t"),
        transition_id("shop", "s_1", "vip", entered=True, when="u"),
        transition_id("shop", "s_1v", "ip", entered=True, when="t"),
        transition_id("shop", "s_1", "\ud83d", entered=True, when="t"),
    }
    assert len(others | {one}) == 8
    # Another version of the toolkit must not post what this one has posted.
    assert one == "11a693b8cf11248a7939c29c20072fb2"


@pytest.mark.parametrize(
    ("age", "dated", "trusted"),
    [
        # As the shop's clock shows it, ahead: a run has nine seconds until it is long ago.
        (timedelta(seconds=-4), False, None),
        (timedelta(days=1), False, False),
        (timedelta(days=1), True, True),
        (timedelta(seconds=-4), True, True),
    ],
    ids=["same moment", "undated", "dated", "dated at once"],
)
def test_a_mirror_is_trusted_once_a_change_was_seen_to_show(ledger, age, dated, trusted):
    """A write must move the time of the last change; one within the same moment proves nothing."""
    store = Store({1: []})
    unread = replace(SubscriberCache(), newest=FIRST)
    ledger.save_cache(SHOP.shop_id, FetchResult(cache=unread, read=unread.subscribers, method="lookups"))
    store.dates = dated
    for was in (False, True):
        store.people["s_1"]["updated_at"] = (datetime.now(UTC) - age).isoformat()
        ledger.judge_mirror(SHOP.shop_id, is_dated=was)
        deliver([word(1, "vip", member=not was, at=SECOND if was else FIRST)], store, ledger)
        assert ledger.load_cache(SHOP.shop_id).is_dated is (was if trusted is None else trusted)


# --- runs that end early ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PATCH", "POST"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_key_revoked_on_the_way(ledger, method, after):
    """The run fails, what was not reached is pending, and the next run finishes with every event once."""
    store, people = Store({n: ["old"] for n in range(1, 9)}), range(1, 9)
    events = [*(word(n, "vip") for n in people), *(word(n, "old", member=False) for n in people)]
    passed = [0]

    def fault(request):
        passed[0] += request.method == method
        if (request.method == method or request.path.endswith("/me")) and passed[0] > after:
            raise InvalidAuthenticationError(
                "401: the key is not accepted", status_code=401, from_postscript=True
            )

    store.fault = fault
    run = deliver(events, store, ledger)
    assert (run.record.status, run.summary()["stopped_by"]) == ("failed", "authentication")
    assert "key" in run.record.error
    assert sum(run.change_statuses.values()) == 16
    assert set(run.change_statuses) <= {"added", "removed", "failed", "pending"}
    assert len(store.writes if method == "PATCH" else store.posted) == after
    if method == "PATCH":
        assert not store.posted
    store.fault = lambda request: None
    again = deliver(events, store, ledger)
    assert again.record.status == "completed"
    assert store.lists() == {f"s_{n}": ["vip"] for n in people}
    assert Counter(store.posted) == {
        (f"s_{n}", key, direction): 1
        for n in people
        for key, direction in [("vip", "Entered"), ("old", "Exited")]
    }
    assert set(states(ledger).values()) == {"sent"}


def test_postscript_down(ledger):
    """When one write after another fails, the run gives up instead of trying everybody."""
    people = range(1, 99)
    store = Store({n: [] for n in people})
    tried = []

    def fault(request):
        if request.method == "PATCH":
            tried.append(request)
            raise UnreachableError("no answer")

    store.fault = fault
    run = deliver([word(n, "vip") for n in people], store, ledger)
    assert (run.record.status, run.summary()["stopped_by"]) == ("failed", "transport")
    assert 5 <= len(tried) < 60
    assert run.change_statuses["failed"] == len(tried)
    assert run.change_statuses["pending"] == 98 - len(tried)


def test_what_fails_in_a_row_is_tried_less():
    """After three failures each further write is tried twice; after each five the shop is asked for once."""
    store = Store({n: [] for n in range(99)})
    planned, folded = prepare([word(n, "vip") for n in range(99)], store, Notes())
    tried = []

    def fault(request):
        tried.append((request.method, request.path == "/api/v2/me", request.max_tries))
        if request.method == "PATCH":
            raise UnreachableError("no answer")

    store.fault = fault
    run = sync(planned, folded, shop=SHOP, postscript=store, ledger=Notes(), dry_run=False, canary=99)
    assert run.summary()["stopped_by"] == "transport"
    assert [most for method, _, most in tried if method == "PATCH"] == [8] * 3 + [2] * 22
    probes = [n for n, (_, is_probe, _) in enumerate(tried) if is_probe]
    assert [sum(method == "PATCH" for method, *_ in tried[:n]) for n in probes] == [5, 10, 15, 20]


def test_single_failures_do_not_end_the_run(ledger):
    """Four failures, a success, two more failures: those are single subscribers, Postscript is not down."""
    store = Store({n: ["old"] for n in range(1, 6)} | {6: []})

    def fault(request):
        who = request.path.rpartition("/")[2]
        if request.method == "POST" or (request.method == "PATCH" and who not in {"s_1", "s_6"}):
            raise RateLimitError("429", status_code=429, from_postscript=True)

    store.fault = fault
    events = [*(word(n, "old", member=False) for n in range(1, 6)), word(6, "vip")]
    run = deliver(events, store, ledger)
    assert run.record.status == "completed_with_errors"
    assert run.change_statuses == {"failed": 6}
    assert store.lists()["s_1"] == []
    assert store.lists()["s_6"] == ["vip"]


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_an_interrupt_cancels(ledger, method):
    """Ctrl-C lets what is under way finish; the rest is pending, and the next run finishes it."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread can be interrupted")
    people = range(1, 101)
    store = Store({n: [] for n in people})
    seen = [0]
    answered = threading.Event()

    def lost(request):
        seen[0] += request.method == method
        if seen[0] == 5 and not answered.is_set():
            answered.set()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            threading.Event().wait(0.1)

    store.lost = lost
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = deliver([word(n, "vip") for n in people], store, ledger)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.record.status == ledger.get_run().status == "canceled"
    assert "canceled" in run.record.error
    assert run.summary()["stopped_by"] == ledger.get_run().summary()["stopped_by"] == "canceled"
    assert run.change_statuses["pending"] > 30
    assert sum(run.change_statuses.values()) == 100
    again = deliver([word(n, "vip") for n in people], store, ledger)
    assert again.record.status == "completed"
    assert Counter(store.posted) == {(f"s_{n}", "vip", "Entered"): 1 for n in people}


def test_a_list_that_was_written_is_not_reported_as_untouched(ledger):
    """Canceled before the custom events: they are left over, priced, and sent by the next run."""
    events = [stores.word(n, "vip") for n in range(1, 9)]
    store, cancel = stores.Store({n: [] for n in range(1, 9)}), threading.Event()

    def lost(request):
        if len(store.writes) == 8:
            cancel.set()

    store.lost = lost
    folded = stores.fold_events(events, ledger)
    run = sync(
        stores.make_plan(folded, store),
        folded,
        shop=SHOP,
        postscript=store,
        ledger=ledger,
        dry_run=False,
        cancel=cancel,
    )
    assert {*ends(run).values()} == {("pending", "EVENT_NOT_SENT")}
    assert store.posted == []

    folded = stores.fold_events(events, ledger)
    left_over = len(ledger.load_open_transitions(SHOP.shop_id))
    planned = stores.make_plan(folded, store)
    priced = estimate_cost(planned, folded, requests_per_second=14, left_over=left_over)
    store.lost = lambda request: None
    again = sync(planned, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False, cost=priced)
    assert again.record.status == "completed"
    assert len(store.posted) == left_over == priced.calls["custom_events"] == 8


class CrashError(Exception):
    """The machine was switched off."""


class Fuse:
    """Lets so many steps pass; from then on every step crashes."""

    def __init__(self, steps):
        self.left = steps
        self._lock = threading.Lock()

    def step(self):
        with self._lock:
            self.left -= 1
            if self.left < 0:
                raise CrashError


class Mortal:
    """Anything whose every call may find the machine off, the one before having had its effect."""

    def __init__(self, inner, fuse):
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if not callable(found) or name.startswith("load"):
            return found

        def call(*args, **named):
            self._fuse.step()
            return found(*args, **named)

        return call


CRASHED = [
    word(1, "vip"),
    word(1, "old", member=False),
    word(2, "vip"),
    word(2, "new"),
    word(3, "old", member=False),
]
CRASHED_EVENTS = {
    ("s_1", "vip", "Entered"),
    ("s_1", "old", "Exited"),
    ("s_2", "vip", "Entered"),
    ("s_2", "new", "Entered"),
    ("s_3", "old", "Exited"),
}


BEFORE_THE_CRASH = {1: ["old"], 2: [], 3: ["kept", "old"]}


@cache
def plan_before_the_crash():
    return prepare(CRASHED, Store(BEFORE_THE_CRASH), Notes())


def crash_after(steps, ledger):
    """Run until the fuse blows, then again; return the store, whether it blew, and the second's status."""
    store, fuse = Store(BEFORE_THE_CRASH), Fuse(steps)
    planned, folded = plan_before_the_crash()
    try:
        sync(
            planned,
            folded,
            shop=SHOP,
            postscript=Mortal(store, fuse),
            ledger=Mortal(ledger, fuse),
            dry_run=False,
        )
        crashed = False
    except CrashError:
        crashed = True
    again = deliver(CRASHED, store, ledger)
    assert sum(again.change_statuses.values()) == 5
    return store, crashed, again.record.status


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))])
def test_a_crash_anywhere_is_taken_up(new_ledger, part):
    """Wherever a run dies, the next one repairs every list, and tells each transition once or as unknown."""
    steps = part
    while True:
        ledger = new_ledger(f"crash-{steps}")
        store, crashed, status = crash_after(steps, ledger)
        assert store.lists() == {"s_1": ["vip"], "s_2": ["new", "vip"], "s_3": ["kept"]}, steps
        reported = Counter(store.posted)
        assert max(reported.values()) == 1, steps
        known = states(ledger)
        for subscriber, key, direction in CRASHED_EVENTS:
            state = known[subscriber, key]
            assert state == "unknown" or (state, reported[subscriber, key, direction]) == ("sent", 1), steps
        assert not ledger.load_open_transitions(SHOP.shop_id)
        unknown = list(known.values()).count("unknown")
        assert unknown <= 3  # one for each subscriber written at once
        assert status == ("completed_with_errors" if unknown else "completed"), steps
        ledger.close()
        if not crashed:
            assert steps > 25
            break
        steps += 4


class Dying(Store):
    """A shop to which no event gets through while ``alive`` is false: the machine goes off at its turn."""

    alive = False

    def send(self, request, *, on_leaving=None):
        if request.method == "POST" and not self.alive:
            raise CrashError
        return super().send(request, on_leaving=on_leaving)


def test_an_event_that_only_waited_for_its_turn_is_not_lost(ledger):
    """What had not left when the process ended is due, not unknown: the next run posts it."""
    store = Dying({1: []})
    with pytest.raises(CrashError):
        deliver([word(1, "vip")], store, ledger)
    assert ledger.get_run().status == "failed"
    store.alive = True
    assert deliver([word(1, "vip")], store, ledger).record.status == "completed"
    assert store.posted == [("s_1", "vip", "Entered")]


# --- looking people up ------------------------------------------------------------------------------------


def contacts_of(phones=(), emails=()):
    rows = [{"person": f"user:p{i}", "phone": p, "email": None} for i, p in enumerate(phones)]
    rows += [{"person": f"user:e{i}", "phone": None, "email": e} for i, e in enumerate(emails)]
    return check_contacts(pd.DataFrame(rows, columns=["person", "phone", "email"]))


class Directory:
    """Answers every lookup with what a function makes of the values asked for and the page."""

    def __init__(self, found, pages=1):
        self.calls = {}
        self.found, self.pages, self.asked = found, pages, []
        self._lock = threading.Lock()

    def send(self, request, *, on_leaving=None):
        if on_leaving:
            on_leaving()
        values = [value for name, value in request.query if name.endswith("__in")]
        page = int(dict(request.query)["page"])
        with self._lock:
            self.asked.append((request.query[0][0], values, page))
        rows = self.found(values, page)
        info = {"page": page, "total_pages": self.pages}
        return Answer(status_code=200, json={"page_info": info, "subscribers": rows})


def test_lookups_are_batches_of_a_hundred():
    """Two hundred and one emails are three questions, each value asked once."""
    emails = [f"p{n}@mail.test" for n in range(201)]
    directory = Directory(lambda values, page: [{"id": v, "email": v} for v in values])
    found = find_subscribers(contacts_of(emails=[*emails, *emails]), directory)
    assert sorted(len(values) for _name, values, _page in directory.asked) == [1, 100, 100]
    assert sorted(v for _name, values, _page in directory.asked for v in values) == sorted(emails)
    assert sorted(found["subscriber_id"]) == sorted(emails)


def test_every_page_is_read():
    """A lookup with three pages is read to its end, and no further."""
    phones = [phone(n) for n in range(6)]
    directory = Directory(lambda v, page: [{"id": str(page), "phone_number": phones[page]}], pages=3)
    found = find_subscribers(contacts_of(phones), directory)
    assert [page for name, _values, page in directory.asked if name == "phone_number__in"] == [1, 2, 3]
    assert found["subscriber_id"].tolist() == ["1", "2", "3"]


def test_an_empty_page_ends_the_lookup():
    """When the pages are fewer than announced, the first empty one is the last."""
    directory = Directory(
        lambda v, page: [{"id": "s", "phone_number": phone(1)}] if page == 1 else [], pages=9
    )
    find_subscribers(contacts_of([phone(1)]), directory)
    assert [page for _name, _values, page in directory.asked] == [1, 2]


@pytest.mark.parametrize("after_the_end", ["empty", "the last again"])
def test_a_lookup_without_a_number_of_pages(after_the_end):
    """When an answer does not count its pages, they are read until one brings no one new."""
    phones = [phone(n) for n in range(3)]

    def found(values, page):
        number = min(page, 2)
        return (
            []
            if page > number and after_the_end == "empty"
            else [{"id": str(number), "phone_number": phones[number]}]
        )

    directory = Directory(found, pages=None)
    assert find_subscribers(contacts_of(phones), directory)["subscriber_id"].tolist() == ["1", "2"]
    assert [page for name, _values, page in directory.asked if name == "phone_number__in"] == [1, 2, 3]


def test_emails_are_looked_up_where_the_phone_finds_none():
    """A phone that is found settles the person; only the others cost a second question, as given too."""
    people = pd.DataFrame(
        {
            "person": ["user:1", "user:2", "user:3"],
            "phone": [phone(1), phone(2), None],
            "email": ["one@mail.test", "Two@Mail.test", "not an address"],
        }
    )
    directory = Directory(
        lambda values, page: [{"id": "s_1", "phone_number": "12025550101"}] if phone(1)[1:] in values else []
    )
    find_subscribers(check_contacts(people), directory)
    (_, phones, _), (name, emails, _) = directory.asked
    assert sorted(phones) == [phone(1)[1:], phone(2)[1:]]
    assert name == "email__in"
    assert sorted(emails) == ["Two@Mail.test", "two@mail.test"]


def test_rows_of_a_looser_comparison_are_ignored():
    """A row that the question may have meant is passed over when it is not what was asked for."""
    rows = [
        {"id": "other", "phone_number": phone(1)[2:], "email": "x@mail.test"},
        {"id": "local", "phone_number": phone(1)[-7:], "email": None},
        {"id": "mine", "phone_number": "+1 (202) 555-0101", "email": None},
    ]
    found = find_subscribers(contacts_of([phone(1)]), Directory(lambda values, page: rows))
    assert found["subscriber_id"].tolist() == ["mine"]


@pytest.mark.parametrize("bad_page", [1, 2])
def test_a_page_of_strangers_stops_the_run(bad_page):
    """A server that ignores the filter answers with everyone, and nothing may be concluded from that."""
    mine, strangers = [{"id": "m", "phone_number": phone(1)}], [{"id": "o", "phone_number": phone(50)}]
    directory = Directory(lambda values, page: strangers if page == bad_page else mine, pages=2)
    with pytest.raises(ServerError, match="not asked for"):
        find_subscribers(contacts_of([phone(1)]), directory)


@pytest.mark.parametrize(
    "error", [ServerError("500", status_code=500), UnreachableError("x"), RejectedError("400")]
)
def test_a_failed_lookup_raises(error):
    """Who subscribes is then unknown, and unknown does not mean none."""

    def found(values, page):
        if "p150@mail.test" in values:
            raise error
        return []

    with pytest.raises(type(error)):
        find_subscribers(contacts_of(emails=[f"p{n}@mail.test" for n in range(300)]), Directory(found))


def test_no_person_to_look_up():
    """No usable contact costs no call and finds no one."""
    directory = Directory(lambda values, page: [])
    assert find_subscribers(contacts_of(["n/a"], ["not an address"]), directory).empty
    assert find_subscribers(contacts_of(), directory).empty
    assert not directory.asked


def test_the_shop_is_named_by_its_key():
    """The first call asks whose key it is, and changes nothing."""
    store = Store({})
    store.answer = lambda request: {"resource_id": "shop_9", "resource_name": "Acme"}
    assert connect_shop(store) == Shop(shop_id="shop_9", name="Acme")
    assert [(r.method, r.path) for r in store.sent] == [("GET", "/api/v2/me")]
    assert store.sent == [api.ask_shop()]
