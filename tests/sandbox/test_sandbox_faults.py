"""What goes wrong on purpose at the local Postscript: on which requests, when, and with what effect."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from asking import ANA, API, BEN, CAI, ask, listed, patch
from tables import every

from toolkit.sandbox import Fault, Sandbox
from toolkit.sandbox.options import FaultPlan, parse_faults
from toolkit.sandbox.people import AUDIENCE_PROPERTY, generate_people

PATCH = "PATCH /subscribers/{id}"
LIST = "GET /subscribers"
NEW_LIST = {"properties": {AUDIENCE_PROPERTY: ["vip", "churn"]}}


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000) as running:
        yield running


def outcome(sandbox):
    """Return what became of the latest request, and Ana's audiences."""
    record = sandbox.journal[-1]
    audiences = sandbox.subscribers["s_ana"]["properties"][AUDIENCE_PROPERTY]
    return record["status"], record["fault"], record["applied"], audiences


# In place of the answer

JSON, HTML = "application/json", "text/html"
ANSWERS = [
    (Fault(kind="status"), 503, JSON, False, True),
    (Fault(kind="status", status=429), 429, JSON, False, True),
    (Fault(kind="status", status=502, body="html"), 502, HTML, False, False),
    (Fault(kind="status", status=409, body="html", applied=True), 409, HTML, True, False),
    (Fault(kind="status", status=500, applied=True), 500, JSON, True, True),
    (Fault(kind="status", status=302), 302, JSON, False, True),
    (Fault(kind="status", status=422, body="empty"), 422, JSON, False, False),
    (Fault(kind="status", status=200, body="html"), 200, HTML, False, False),
    (Fault(kind="html"), 200, HTML, False, False),
    (Fault(kind="html", status=504, applied=True), 504, HTML, True, False),
    (Fault(kind="empty"), 200, JSON, True, False),
    (Fault(kind="empty", applied=False), 200, JSON, False, False),
    (Fault(kind="content_type"), 200, HTML, True, True),
    (Fault(kind="truncated"), 200, JSON, True, False),
    (Fault(kind="drip", seconds=0.05), 200, JSON, True, True),
    (Fault(kind="hang", seconds=0.05), 200, JSON, True, True),
    (Fault(kind="hang", seconds=0.05, applied=False), 504, JSON, False, True),
]


def test_another_answer_comes_and_the_journal_knows_the_truth(sandbox):
    """The client sees the fault; the journal names it and has whether the write was carried out."""
    sandbox.set_knobs(retry_after_seconds=7)
    for fault, status, kind, applied, is_json in ANSWERS:
        patch(sandbox, {"properties": {AUDIENCE_PROPERTY: ["vip"]}})
        sandbox.set_faults([fault])
        answer = patch(sandbox, NEW_LIST)
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (status, kind)
        audiences = ["vip", "churn"] if applied else ["vip"]
        assert outcome(sandbox) == (status, fault.kind, applied, audiences)
        if is_json:
            answer.json()
        else:
            with pytest.raises(json.JSONDecodeError):
                answer.json()
        if status == 429:
            assert answer.json()["error_code"] == 3002  # Postscript's own
        assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
        sandbox.set_faults([])


def test_a_body_drips_byte_by_byte(sandbox):
    """The head comes at once, the body in its time."""
    sandbox.set_faults([Fault(kind="drip", seconds=0.3)])
    started = time.monotonic()
    answer = ask(sandbox, "GET", f"{API}/me", stream=True)
    assert time.monotonic() - started < 0.25
    assert answer.json()["resource_type"] == "shop"
    assert time.monotonic() - started >= 0.3


def test_a_page_of_the_list_is_another(sandbox):
    """Empty, its first half, or the one before, with the true number of pages; other routes are as ever."""
    late = [{"id": name, "created_at": "2025-01-01T00:00:00Z"} for name in ("s_eve", "s_fay")]
    sandbox.add_subscribers(late)
    sandbox.set_knobs(page_size=2)
    for kind, page in [("empty_page", []), ("short_page", ["s_ben"]), ("repeated_page", ["s_cai", "s_ana"])]:
        sandbox.set_faults([Fault(kind=kind, nth=(2, 4))])
        found = [listed(sandbox, f"?sort=created_at__asc&page={page}") for page in (1, 2, 3)]
        assert found == [["s_cai", "s_ana"], page, ["s_fay"]]
        assert ask(sandbox, "GET", f"{API}/me").json()["resource_type"] == "shop"
    sandbox.set_knobs(page_size=1, in_encoding="comma", max_url_bytes=67)
    sandbox.set_faults([Fault(kind="repeated_page", nth=(2,))])
    asked = "?phone_number__in=12025550143,12025550144&page="  # with the page as long as may be
    assert [listed(sandbox, f"{asked}{page}") for page in (1, 2, 2)] == [["s_ana"], ["s_ana"], ["s_ben"]]


def test_a_fault_hits_one_subscriber_only(sandbox):
    """In the path or as the one a custom event is for; others' requests are not even counted."""
    for ids, ana, ben in [("text", "s_ana", "s_ben"), ("numeric", 1, 2)]:
        sandbox.set_knobs(ids=ids)
        sandbox.set_faults([Fault(kind="status", status=500, subscriber="s_ana", first=3)])
        statuses = []
        for person in (ben, ana):
            statuses.append(ask(sandbox, "GET", f"{API}/subscribers/{person}").status_code)
            statuses.append(patch(sandbox, NEW_LIST, person).status_code)
            body = {"type": "Segment_Audience_Entered", "subscriber_id": person}
            statuses.append(ask(sandbox, "POST", f"{API}/events", json=body).status_code)
        assert statuses == [200, 200, 202, 500, 500, 500]
        assert ask(sandbox, "GET", f"{API}/subscribers/{ana}").status_code == 200
        assert listed(sandbox)


# In place of the connection


@pytest.mark.parametrize(("kind", "applied"), [("reset_before", False), ("reset_after", True)])
def test_a_reset_connection_gives_no_answer(sandbox, kind, applied):
    """The connection is reset before or after the write, and the sandbox goes on."""
    sandbox.set_faults([Fault(kind=kind, nth=(1,))])
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        patch(sandbox, NEW_LIST)
    assert outcome(sandbox) == (None, kind, applied, ["vip", "churn"] if applied else ["vip"])
    assert ask(sandbox, "GET", f"{API}/me").status_code == 200


def test_a_reset_hits_one_connection_only(sandbox):
    """Other clients' requests in flight are not harmed."""
    sandbox.set_faults([Fault(kind="reset_after", route=PATCH), Fault(kind="hang", seconds=0.3)])
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask, sandbox, "GET", f"{API}/me")
        while not sandbox.journal:
            time.sleep(0.005)
        with pytest.raises(requests.ConnectionError):
            patch(sandbox, NEW_LIST)
        assert other.result().status_code == 200


def test_a_hanging_answer_outlasts_the_clients_patience(sandbox):
    """The client gives up, the write was made, and the sandbox still stops at once."""
    sandbox.set_faults([Fault(kind="hang", seconds=3600)])
    headers = {"Authorization": "Bearer sk_sandbox"}
    with pytest.raises(requests.ReadTimeout):
        requests.patch(
            f"{sandbox.base_url}{API}/subscribers/s_ana", json=NEW_LIST, headers=headers, timeout=0.2
        )
    assert outcome(sandbox) in [
        (status, "hang", True, ["vip", "churn"]) for status in (None, 200)
    ]  # 200 once the sandbox has noticed that the client is gone


# Changes in the shop


def test_a_second_writer_is_lost_when_the_list_was_read_before(sandbox):
    """Another writer appends just before the PATCH, which then overwrites it."""
    sandbox.set_faults([Fault(kind="second_writer", route=PATCH, key="birthday")])
    sandbox.snapshot()
    patch(sandbox, {"tags": ["NEW"]})
    assert outcome(sandbox) == (200, "second_writer", True, ["vip", "birthday"])
    sandbox.restore()
    patch(sandbox, NEW_LIST)
    assert outcome(sandbox) == (200, "second_writer", True, ["vip", "churn"])


def test_the_subscriber_of_the_request_vanishes(sandbox):
    """A redacted person is 404 from that request on."""
    sandbox.set_faults([Fault(kind="redact", route=PATCH)])
    assert patch(sandbox, NEW_LIST).status_code == 404
    assert sorted(sandbox.subscribers) == ["s_ben", "s_cai"]
    assert sandbox.journal[-1]["applied"] is False


def test_a_subscriber_vanishes_the_same_one_for_the_same_seed():
    """On a route about no subscriber in particular, the seed chooses which one is redacted."""
    left = []
    for seed in (1, 1, 2, 3):
        faults = [Fault(kind="redact", route=LIST)]
        with Sandbox(generate_people(30, seed=1), faults=faults, seed=seed) as sandbox:
            listed(sandbox)
            left.append(sorted(sandbox.subscribers))
    assert [len(each) for each in left] == [29] * 4
    assert left[0] == left[1]
    assert left[0] != left[2] or left[0] != left[3]


@pytest.mark.parametrize("ids", ["text", "numeric"])
def test_a_shrinking_list_skips_a_subscriber(ids):
    """One listed person goes after the first page, so the walk misses one who was there all the time."""
    people = [{"id": f"s_{n}", "created_at": f"2024-01-0{n}"} for n in range(1, 6)]
    fault = Fault(kind="shrink", route=LIST, nth=(1,))
    with Sandbox(people, page_size=2, ids=ids, faults=[fault]) as sandbox:
        pages = [[f"s_{str(each)[-1]}" for each in listed(sandbox, f"?page={page}")] for page in (1, 2, 3)]
        assert pages == [["s_1", "s_2"], ["s_4", "s_5"], []]
        assert sorted(sandbox.subscribers) == ["s_2", "s_3", "s_4", "s_5"]


def test_a_key_is_revoked_in_the_middle_and_back_after_a_reset(sandbox):
    """From the third request on the key opens nothing, that request included."""
    sandbox.set_faults([Fault(kind="revoke", nth=(3,))])
    assert [patch(sandbox, {"tags": [str(n)]}).status_code for n in range(4)] == [200, 200, 401, 401]
    assert [record["fault"] for record in sandbox.journal] == [None, None, "revoke", None]
    assert sandbox.subscribers["s_ana"]["tags"] == ["VIP", "0", "1"]
    sandbox.set_faults([])
    sandbox.reset()
    assert ask(sandbox, "GET", f"{API}/me").status_code == 200


def test_a_change_in_the_shop_comes_together_with_another_fault(sandbox):
    """The side effect happens and the answer is lost as well; the journal names both."""
    faults = [Fault(kind="reset_after", name="lost"), Fault(kind="second_writer"), Fault(kind="status")]
    sandbox.set_faults(faults)
    with pytest.raises(requests.ConnectionError):
        patch(sandbox, {"tags": ["NEW"]})
    assert outcome(sandbox) == (None, "second_writer+lost", True, ["vip", "other_writer"])


# Which, and when


def test_the_order_is_key_limit_fault_route():
    """A fault neither hits nor counts what the door or the limit refused, and hits unknown paths."""
    with Sandbox(rate=2, window_seconds=60, faults=[Fault(kind="status", nth=(2,))]) as sandbox:
        keys = ("sk_wrong", "sk_sandbox", "sk_sandbox", "sk_sandbox")
        statuses = [ask(sandbox, "GET", "/nowhere", key=key).status_code for key in keys]
        assert statuses == [401, 404, 503, 429]
        sandbox.set_knobs(rate=100)
        for again in (lambda: sandbox.set_faults([Fault(kind="status", nth=(1,))]), sandbox.reset):
            again()  # counts anew
            assert [ask(sandbox, "GET", f"{API}/me").status_code for _ in range(2)] == [503, 200]


def test_a_span_runs_on_the_sandboxs_clock(sandbox):
    """Putting the clock forward brings a fault on, and over."""
    sandbox.set_faults([Fault(kind="status", span_seconds=(100, 200))])
    statuses = []
    for _ in range(3):
        statuses.append(ask(sandbox, "GET", f"{API}/me").status_code)
        sandbox.advance(100)
    assert statuses == [200, 503, 200]


@every(
    "when, hits",
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"nth": (2, 5)}, [2, 5]),
        ({"first": 2}, [1, 2]),
        ({"every": 3}, [3, 6]),
        ({"first": 5, "every": 2}, [2, 4]),
        ({"span_seconds": (2.0, 4.0)}, [3, 4]),
        ({"nth": (2, 3, 4), "every": 2}, [2, 4]),
        ({"probability": 0.0}, []),
    ],
)
def test_conditions_choose_among_six_requests(when, hits):
    """Requests come at seconds 0 to 5; all conditions must hold; other routes are not counted."""
    plan = FaultPlan([Fault(kind="status", route=PATCH, **when)], seed=1)
    found = []
    for number in range(1, 7):
        assert plan.hitting(LIST, 0.0) == ()
        if plan.hitting(PATCH, float(number - 1)):
            found.append(number)
    assert found == hits


@every(
    "pattern, route, hits",
    [
        ("*", "GET /me", True),
        ("*", "BREW /coffee", True),
        (PATCH, PATCH, True),
        (PATCH, "GET /subscribers/{id}", False),
        ("PATCH *", "PATCH /anything", True),
        ("* /subscribers*", "GET /subscribers/{id}", True),
        (LIST, "GET /subscribers/{id}", False),
    ],
)
def test_a_route_is_named_or_patterned(pattern, route, hits):
    """A star stands for any text."""
    plan = FaultPlan([Fault(kind="status", route=pattern)], seed=1)
    assert bool(plan.hitting(route, 0.0)) is hits


@every("seed", range(5))
def test_chance_is_the_seeds_and_each_faults_own(seed):
    """The same seed and order give the same hits, whatever other faults there are."""
    faults = [Fault(kind="status", route=PATCH, probability=0.3), Fault(kind="redact", probability=0.5)]
    plan, alone = FaultPlan(faults, seed=seed), FaultPlan(faults[:1], seed=seed)
    order = random.Random(seed)
    routes = [order.choice([PATCH, LIST]) for _ in range(400)]
    hits = [faults[0] in plan.hitting(route, 0.0) for route in routes]
    assert hits == [faults[0] in alone.hitting(route, 0.0) for route in routes]
    assert 30 < sum(hits) < 90
    other = FaultPlan(faults, seed=seed + 1)
    assert hits != [faults[0] in other.hitting(route, 0.0) for route in routes]


@every(
    "document, words",
    [
        ({"kind": "status"}, "JSON list"),
        ([1], "JSON list"),
        ([{}], "0.kind: Field required"),
        ([{"kind": "fire"}], "0.kind"),
        ([{"kind": ["status"]}], "0.kind"),
        ([{"kind": "status", "when": 1}], "0.when: Unexpected keyword"),
        ([{"kind": "status", "nth": [0]}], "0.nth.0: Input should be greater than or equal to 1"),
        ([{"kind": "status", "nth": 1}], "0.nth: "),
        ([{"kind": "status", "every": True}], "0.every: "),
        ([{"kind": "status", "probability": 2}], "0.probability: "),
        ([{"kind": "status", "probability": "0.5"}], "0.probability: "),
        ([{"kind": "status", "probability": -1}], "0.probability: "),
        ([{"kind": "status", "first": True}], "0.first: "),
        ([{"kind": "status", "span_seconds": [2, 1]}], "span_seconds"),
        ([{"kind": "status", "span_seconds": [2]}], "span_seconds"),
        ([{"kind": "status", "status": 201}], "status must be 200, or from 300"),
        ([{"kind": "status", "status": 600}], "0.status: "),
        ([{"kind": "status", "body": "xml"}], "0.body: "),
        ([{"kind": "truncated", "applied": True}], "applied can be set only for"),
        ([{"kind": "hang", "seconds": 1e9}], "0.seconds: "),
        ([{"kind": "hang", "seconds": -1}], "0.seconds: "),
        ([{"kind": "status", "route": 7}], "0.route: "),
    ],
)
def test_a_fault_that_cannot_be_set_is_refused_in_a_sentence(document, words):
    """The sentence names the fault, the field and the problem."""
    with pytest.raises(ValueError, match="Faults are a JSON list of objects; ") as problem:
        parse_faults(json.dumps(document).encode())
    assert words in str(problem.value)


@every("number", [float("nan"), float("inf")])
def test_odd_numbers_are_refused(number):
    """Not a number and endless times are no times."""
    for name in ("seconds", "probability"):
        with pytest.raises(ValueError, match=name):
            Fault(kind="hang", **{name: number})


def test_it_stops_within_moments_while_an_answer_hangs():
    """Leaving the block ends a request that would have hung for an hour."""
    with ThreadPoolExecutor(1) as pool:
        with Sandbox(faults=[Fault(kind="hang", seconds=3600)]) as sandbox:
            waiting = pool.submit(ask, sandbox, "GET", f"{API}/me")
            while not sandbox.journal:
                time.sleep(0.005)
            started = time.monotonic()
        assert time.monotonic() - started < 8
        # The client learns nothing: its connection is dropped, or a last 500 gets through.
        assert waiting.exception(timeout=10) or waiting.result().status_code == 500
