"""Computed traits through the whole flow, against the sandbox over HTTP; off unless a mapping asks."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
from stores import find_subscribers

from toolkit.audiences.memberships import fold
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.postscript.api import write_properties
from toolkit.postscript.client import PostscriptClient
from toolkit.postscript.lookup import connect_shop
from toolkit.postscript.subscribers import FetchResult, SubscriberCache
from toolkit.report.audit import audit
from toolkit.report.document import render_report
from toolkit.report.figures import run_funnel_table
from toolkit.report.tables import change_table, plan_table
from toolkit.sandbox import Sandbox
from toolkit.segment.archive import read_events
from toolkit.segment.destination import Destination
from toolkit.sync.cost import estimate_cost
from toolkit.sync.plan import plan
from toolkit.sync.sync import sync

FIRST, SECOND, THIRD = (f"2025-03-0{day}T10:00:00Z" for day in (4, 5, 6))
WITH_TRAITS = """
mappings:
  - name: Audiences
  - name: Traits
    action: syncTraits
"""


def phone(number):
    return f"+1202555{100 + number:04}"


def computed(number, key, value, *, kind="computed_trait", at=FIRST, user=None):
    """Return an event of Engage: person *number*'s value of a trait, or membership of an audience."""
    return {
        "type": "identify",
        "messageId": f"{user or number}-{key}-{at}",
        "userId": user or f"u{number}",
        "timestamp": at,
        "receivedAt": at,
        "traits": {key: value, "phone": phone(number)},
        "context": {
            "personas": {"computation_class": kind, "computation_id": "tra_1", "computation_key": key}
        },
    }


def member(number, key, value=True, **more):
    return computed(number, key, value, kind="audience", **more)


def subscriber(number, **properties):
    return {"id": f"s_{number}", "phone_number": phone(number), "properties": properties}


@pytest.fixture
def destination(tmp_path):
    path = tmp_path / "destination.yaml"
    path.write_text(WITH_TRAITS)
    return Destination.from_file(path)


class Deliver:
    """Everything the sync notebook does, in one call; remembers its sandbox and ledger."""

    def __init__(self, sandbox, ledger, destination):
        self.sandbox, self.ledger, self.destination = sandbox, ledger, destination

    def __call__(self, events, *, dry_run=False, wrap=lambda client: client, audience_keys=(), **options):
        with PostscriptClient(self.sandbox.base_url, "sk_sandbox", requests_per_second=2000) as client:
            postscript = wrap(client)
            shop = connect_shop(postscript)
            remembered = self.ledger.load_state(shop.shop_id)
            folded = fold(read_events(events).payloads(self.destination), remembered=remembered)
            state = folded.state.choose(audience_keys)
            contacts = check_contacts(state.people)
            found = find_subscribers(contacts, postscript, trait_keys=state.trait_keys)
            fetched = FetchResult(
                cache=SubscriberCache(subscribers=found), read=found, replaces=True, method="lookups"
            )
            self.ledger.save_cache(shop.shop_id, fetched)
            planned = plan(
                folded.state, contacts, found, audience_keys=audience_keys, max_removal_share=1, **options
            )
            self.plan, self.folded = planned, folded
            return sync(
                planned, folded, shop=shop, postscript=postscript, ledger=self.ledger, dry_run=dry_run
            )

    @property
    def written(self):
        """The properties of each write so far, in order."""
        return [e["body"]["properties"] for e in self.sandbox.journal if e["method"] == "PATCH"]

    def properties(self, number):
        return self.sandbox.subscribers[f"s_{number}"]["properties"]


@pytest.fixture
def deliver(request, ledger, destination):
    with Sandbox(request.param, rate=100_000) as sandbox:
        yield Deliver(sandbox, ledger, destination)


def starting_with(*subscribers):
    return pytest.mark.parametrize("deliver", [[*subscribers]], indirect=True, ids=["sandbox"])


def ends(run):
    """Return (person, audience or trait) → (status, reason)."""
    rows = run.changes
    about = rows["audience_key"].fillna(rows["trait_key"])
    return {
        (person.removeprefix("user:"), key): (status, reason)
        for person, key, status, reason in zip(
            rows["person"], about, rows["status"], rows["reason_code"], strict=True
        )
    }


EVENTS = [
    member(1, "vip"),
    computed(1, "orders", 12.0),
    computed(1, "last_item", "Sock, red"),
    computed(2, "orders", 3),
    computed(3, "sizes", ["M", "L"]),
    computed(4, "orders", 1),
    computed(1, "orders", 11, at="2025-03-03T10:00:00Z"),
]
PEOPLE = [subscriber(1, other=1), subscriber(2, orders=3), subscriber(3, sizes=["S"])]


@starting_with(*PEOPLE)
def test_traits_and_audiences_are_one_write(deliver):
    """Each subscriber is written once, with only what changes; a second run sends nothing."""
    run = deliver(EVENTS)
    assert sorted(deliver.written, key=str) == [
        {"Segment Audiences": ["vip"], "last_item": "Sock, red", "orders": 12},
        {"sizes": ["M", "L"]},
    ]
    assert deliver.properties(1) == {
        "other": 1,
        "Segment Audiences": ["vip"],
        "last_item": "Sock, red",
        "orders": 12,
    }
    assert ends(run) == {
        ("u1", "vip"): ("added", "ENTERED"),
        ("u1", "last_item"): ("updated", "TRAIT_NEW_VALUE"),
        ("u1", "orders"): ("updated", "TRAIT_NEW_VALUE"),
        ("u2", "orders"): ("unchanged", "TRAIT_SAME_VALUE"),
        ("u3", "sizes"): ("updated", "TRAIT_NEW_VALUE"),
        ("u4", "orders"): ("waiting", "SUBSCRIBER_NOT_FOUND"),
    }
    assert [event["properties"]["Segment Audience Key"] for event in deliver.sandbox.custom_events] == ["vip"]
    assert run.record.status == "completed"
    before = len(deliver.sandbox.journal)
    again = deliver(EVENTS)
    assert {entry["method"] for entry in deliver.sandbox.journal[before:]} == {"GET"}
    assert again.change_statuses == {"unchanged": 5, "waiting": 1}


@starting_with(*PEOPLE)
def test_a_changed_trait_is_one_write(deliver, ledger):
    """The latest value per person and trait is written, alone; an older one changes nothing."""
    deliver(EVENTS)
    before = len(deliver.written)
    deliver([computed(1, "orders", 13, at=SECOND), computed(2, "orders", 2, at="2025-03-01T00:00:00Z")])
    assert deliver.written[before:] == [{"orders": 13}]
    held = ledger.load_cache("shop_sandbox").subscribers.set_index("subscriber_id")["properties"]
    assert json.loads(held["s_1"]) == {"last_item": '"Sock, red"', "orders": "13", "sizes": None}
    assert deliver.properties(1)["last_item"] == "Sock, red"
    assert deliver([]).change_statuses == {"unchanged": 5, "waiting": 1}


@starting_with(*PEOPLE)
def test_who_subscribes_late_gets_the_traits(deliver):
    """A value waits in the ledger until someone can hold it."""
    deliver(EVENTS)
    deliver.sandbox.add_subscribers([subscriber(4)])
    run = deliver([])
    assert deliver.properties(4) == {"orders": 1}
    assert ends(run)["u4", "orders"] == ("updated", "TRAIT_NEW_VALUE")


@starting_with(*PEOPLE)
def test_the_figures_add_up(deliver, ledger):
    """Events, changes, totals, summary and report all know of the traits."""
    run = deliver(EVENTS)
    # Each mapping answers for each event: what is no audience's is no audience event.
    assert run.event_statuses == {"not_an_audience_event": 7, "counted": 6, "superseded": 1}
    summary = run.summary()
    assert (summary["memberships"], summary["traits"], summary["updates"]) == (1, 5, 3)
    assert sum(summary["change_statuses"].values()) == len(run.changes) == 6
    by_kind = {"reads": 2, "reads_again": 1, "writes": 2, "custom_events": 1}
    assert summary["planned_calls_by_kind"] == by_kind
    totals = ledger.load_totals(run.record.run_id)
    assert totals.groupby("kind")["count"].sum().to_dict() == {"change": 6, "event": 14}
    table = change_table(totals, key="trait_key").set_index("trait_key")
    assert table["updated"].to_dict() == {"last_item": 1, "orders": 1, "sizes": 1}
    assert table.loc["orders", ["unchanged", "waiting", "total"]].tolist() == [1, 1, 3]
    assert change_table(totals)["audience_key"].tolist() == ["vip"]
    kept = ledger.load_changes(run.record.run_id)
    assert kept[["trait_key", "trait_value"]].fillna("").to_numpy().tolist() == [
        ["last_item", '"Sock, red"'],
        ["orders", "12"],
        ["", ""],
        ["sizes", '["M","L"]'],
    ]
    cost = estimate_cost(deliver.plan, deliver.folded, requests_per_second=14)
    prices = dict(plan_table(deliver.plan, cost).itertuples(index=False))
    assert prices["Traits"] == "5"
    assert prices["Expected trait updates"] == "3"
    found = audit(ledger)
    assert run_funnel_table(found).set_index("step").loc["Counted", "count"] == 6
    html = render_report(found)
    assert "By trait" in html
    assert "Traits updated</dt><dd>3" in html
    assert "trait sizes = [&#34;M&#34;,&#34;L&#34;]" in html


@starting_with(*PEOPLE)
def test_off_by_default(deliver):
    """Without a mapping of that action a computed trait is what it was: not an audience event."""
    deliver.destination = Destination.default()
    run = deliver(EVENTS)
    assert run.event_statuses == {"not_an_audience_event": 6, "counted": 1}
    assert deliver.written == [{"Segment Audiences": ["vip"]}]
    assert run.summary()["traits"] == 0
    assert run.changes["trait_key"].isna().all()


@starting_with(*PEOPLE)
def test_chosen_audiences_leave_traits_out(deliver):
    """Whoever names audiences means those alone; the values stay in the ledger for a later run."""
    run = deliver(EVENTS, audience_keys=["vip"])
    assert deliver.written == [{"Segment Audiences": ["vip"]}]
    assert ends(run)["u1", "orders"] == ("skipped", "NOT_CHOSEN")
    assert run.change_statuses == {"skipped": 5, "added": 1}
    deliver([])
    assert deliver.properties(1)["orders"] == 12


@starting_with(*PEOPLE)
def test_a_dry_run_says_would_update(deliver, ledger):
    """It writes nothing and remembers nothing."""
    run = deliver(EVENTS, dry_run=True)
    assert deliver.written == []
    assert run.change_statuses == {"would_update": 3, "would_add": 1, "unchanged": 1, "waiting": 1}
    assert ledger.load_state(run.record.shop_id).traits.empty


def full(count, **properties):
    return {f"p{i}": i for i in range(count - len(properties))} | properties


@starting_with(
    subscriber(1, **full(48)),
    subscriber(2, **full(48)),
    subscriber(3, **full(50, orders=1)),
    subscriber(4, **full(50)),
)
def test_the_fifty_first_property(deliver):
    """All new names count together, the list of audiences first; a name that is there needs no room."""
    events = [
        *(computed(1, key, 1) for key in ("a", "b", "c")),
        *(computed(2, key, 1) for key in ("a", "b")),
        member(2, "vip"),
        computed(3, "orders", 2),
        computed(4, "a", []),
        member(4, "vip"),
    ]
    run = deliver(events)
    updated, conflict = ("updated", "TRAIT_NEW_VALUE"), ("conflict", "PROPERTY_LIMIT")
    assert ends(run) == {
        ("u1", "a"): updated,
        ("u1", "b"): updated,
        ("u1", "c"): conflict,
        ("u2", "vip"): ("added", "ENTERED"),
        ("u2", "a"): updated,
        ("u2", "b"): conflict,
        ("u3", "orders"): updated,
        ("u4", "a"): ("unchanged", "TRAIT_SAME_VALUE"),  # none and empty are the same
        ("u4", "vip"): conflict,
    }
    assert run.record.status == "completed"
    assert {len(row["properties"]) for row in deliver.sandbox.subscribers.values()} == {50}
    assert deliver(events).change_statuses == {"unchanged": 6, "conflict": 3}


@starting_with(subscriber(1, **{"Segment Audiences": "vip"}), subscriber(2))
def test_names_and_values_that_are_in_the_way(deliver):
    """A trait never touches the audiences' property, and a broken list does not keep traits out."""
    events = [
        computed(1, "Segment Audiences", "x"),
        computed(2, " segment audiences", ["x"]),
        member(1, "vip"),
        computed(1, "orders", 5),
    ]
    run = deliver(events)
    assert ends(run) == {
        ("u1", "Segment Audiences"): ("conflict", "TRAIT_NAME_RESERVED"),
        ("u2", " segment audiences"): ("conflict", "TRAIT_NAME_RESERVED"),
        ("u1", "vip"): ("conflict", "PROPERTY_NOT_A_LIST"),
        ("u1", "orders"): ("updated", "TRAIT_NEW_VALUE"),
    }
    assert deliver.written == [{"orders": 5}]


@starting_with(subscriber(1))
def test_two_people_with_one_subscriber(deliver):
    """The newer value stands, trait by trait, whoever stated it."""
    events = [
        computed(1, "orders", 1, user="old", at=FIRST),
        computed(1, "orders", 2, user="new", at=SECOND),
        computed(1, "size", "M", user="old", at=SECOND),
        computed(1, "size", "L", user="new", at=FIRST),
    ]
    run = deliver(events)
    assert deliver.written == [{"size": "M", "orders": 2}]
    assert ends(run) == {
        ("old", "orders"): ("unchanged", "SAME_SUBSCRIBER"),
        ("new", "orders"): ("updated", "TRAIT_NEW_VALUE"),
        ("old", "size"): ("updated", "TRAIT_NEW_VALUE"),
        ("new", "size"): ("unchanged", "SAME_SUBSCRIBER"),
    }
    assert deliver(events).change_statuses == {"unchanged": 4}


@starting_with(subscriber(1, a=1, b=True, c=None, d="1", e=["x"]))
def test_values_are_compared_as_json(deliver):
    """The number 1, the text "1" and true are three values; 1.0 is the number 1."""
    wanted = {"a": True, "b": 1, "c": "x", "d": 1, "e": ["x"]}
    deliver([computed(1, key, value) for key, value in wanted.items()])
    assert deliver.written == [{"a": True, "b": 1, "c": "x", "d": 1}]
    assert json.dumps(deliver.properties(1)) == json.dumps(wanted)
    deliver([computed(1, "b", 1.0, at=SECOND)])
    assert len(deliver.written) == 1


class SwitchedOffError(Exception):
    """The machine was switched off."""


class Mortal:
    """A connection that breaks for good once so many writes have left."""

    def __init__(self, client, writes):
        self._client, self._left = client, writes

    @property
    def calls(self):
        return self._client.calls

    def send(self, request, *, on_leaving=None):
        if request.method != "GET":
            self._left -= 1
            if self._left < 0:
                raise SwitchedOffError
        return self._client.send(request, on_leaving=on_leaving)


@pytest.mark.parametrize("writes", range(6))
@starting_with(*(subscriber(n) for n in range(1, 4)))
def test_a_killed_run_is_taken_up(deliver, writes):
    """Wherever it stops, the next run brings everything, writes no one twice and posts each event once."""
    events = [e for n in range(1, 4) for e in (member(n, "vip"), computed(n, "orders", n))]
    with pytest.raises(SwitchedOffError):
        deliver(events, wrap=lambda client: Mortal(client, writes))
    run = deliver([])
    assert run.record.status == "completed"
    for n in range(1, 4):
        assert deliver.properties(n) == {"Segment Audiences": ["vip"], "orders": n}
    assert len(deliver.written) == 3
    sent = [event["subscriber_id"] for event in deliver.sandbox.custom_events]
    assert len(sent) == len(set(sent))
    assert deliver([]).change_statuses == {"unchanged": 6}


@starting_with(subscriber(1), subscriber(2))
def test_a_refused_trait_does_not_keep_the_audience_out(deliver, ledger):
    """When Postscript takes no such value, the list is written without it, and the trait is rejected."""

    # The sandbox refuses what no property can be; the plan would never ask for it, so it is put in by hand.
    class Wrong:
        def __init__(self, client):
            self._client = client

        @property
        def calls(self):
            return self._client.calls

        def send(self, request, *, on_leaving=None):
            body = request.body or {}
            if "orders" in body.get("properties", {}):
                body["properties"]["orders"] = {"no": "property"}
            return self._client.send(request, on_leaving=on_leaving)

    run = deliver([member(1, "vip"), computed(1, "orders", 1), computed(2, "orders", 2)], wrap=Wrong)
    assert deliver.properties(1) == {"Segment Audiences": ["vip"]}
    assert ends(run) == {
        ("u1", "vip"): ("added", "ENTERED"),
        ("u1", "orders"): ("rejected", "REJECTED_BY_POSTSCRIPT"),
        ("u2", "orders"): ("rejected", "REJECTED_BY_POSTSCRIPT"),
    }
    assert run.record.status == "completed_with_errors"
    calls = ledger.load_calls(run.record.run_id)
    written = calls.loc[calls["route"].str.startswith("PATCH"), ["subscriber_id", "after", "status_code"]]
    assert sorted(written.itertuples(index=False, name=None)) == [
        ("s_1", '{"Segment Audiences":["vip"],"orders":1}', 400),
        ("s_1", '{"Segment Audiences":["vip"]}', 200),
        ("s_2", '{"orders":2}', 400),
    ]
    assert len(deliver.sandbox.custom_events) == 1


class Replacing:
    """A connection to a Postscript that would replace all properties by those of a write."""

    def __init__(self, client):
        self._client = client

    @property
    def calls(self):
        return self._client.calls

    def send(self, request, *, on_leaving=None):
        answer = self._client.send(request, on_leaving=on_leaving)
        return replace(answer, json=request.body) if request.method == "PATCH" else answer


@starting_with(*(subscriber(n, other=1, orders=0) for n in range(1, 4)))
@pytest.mark.parametrize("key", ["orders", "new"])
def test_the_first_lost_property_stops_the_run(deliver, key):
    """A write of traits alone shows as well whether others' properties are kept."""
    run = deliver([computed(n, key, n) for n in range(1, 4)], wrap=Replacing)
    # The write, and what the subscriber held before it.
    assert [{*written} for written in deliver.written] == [{key}, {"other", "orders"}]
    assert run.record.status == "failed"
    assert sorted(ends(run).values()) == [("failed", "PROPERTIES_LOST"), *[("pending", "NOT_REACHED")] * 2]


@starting_with(subscriber(1, sizes=["M"], other=1))
def test_a_dropped_empty_list_is_no_lost_property(deliver):
    """Postscript may drop a property that becomes an empty list; nothing is lost then."""

    class Dropping(Replacing):
        def send(self, request, *, on_leaving=None):
            answer = self._client.send(request, on_leaving=on_leaving)
            return replace(answer, json={"properties": {"other": 1}}) if request.method == "PATCH" else answer

    run = deliver([computed(1, "sizes", [])], wrap=Dropping)
    assert deliver.written == [{"sizes": []}]
    assert run.record.status == "completed"


@starting_with(*PEOPLE)
def test_drift_of_a_trait(deliver, ledger):
    """An audit that looks again tells of a property that someone else changed."""
    deliver(EVENTS)
    deliver([computed(2, "orders", 4, at=THIRD)])
    with PostscriptClient(deliver.sandbox.base_url, "sk_sandbox", requests_per_second=2000) as client:
        assert audit(ledger, postscript=client).drift.empty
        client.send(write_properties("s_2", {"orders": 99}))
        found = audit(ledger, postscript=client)
    rows = found.drift[["person", "trait_key", "drift"]].to_numpy().tolist()
    assert rows == [["user:u2", "orders", "other value"]]
    assert "trait orders</td><td>other value" in render_report(found)


@starting_with(*PEOPLE)
def test_subscribers_read_without_the_traits_are_refused(deliver, ledger):
    """A plan that cannot know what a subscriber holds would write everybody again; it raises instead."""
    folded = fold(read_events(EVENTS).payloads(deliver.destination))
    contacts = check_contacts(folded.state.people)
    with PostscriptClient(deliver.sandbox.base_url, "sk_sandbox", requests_per_second=2000) as client:
        found = find_subscribers(contacts, client)
    with pytest.raises(ParameterError, match=r"trait_keys=\['last_item', 'orders', 'sizes'\]"):
        plan(folded.state, contacts, found)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "TRAIT_VALUE_MISSING"),
        (2.5, "TRAIT_VALUE_UNSUPPORTED"),
        ({"a": 1}, "TRAIT_VALUE_UNSUPPORTED"),
        (["a", 1], "TRAIT_VALUE_UNSUPPORTED"),
        (2**80, "TRAIT_VALUE_UNSUPPORTED"),
    ],
)
def test_values_that_no_property_can_hold(destination, value, code):
    """They are counted with their reason, and ask for nothing."""
    folded = fold(read_events([computed(1, "x", value)]).payloads(destination))
    mine = folded.events[folded.events["mapping"] == "Traits"]
    assert mine[["status", "reason_code"]].to_numpy().tolist() == [["no_membership_value", code]]
    assert mine["trait_key"].tolist() == ["x"]
    assert folded.state.traits.empty
    assert pd.isna(mine["trait_value"].iloc[0])
