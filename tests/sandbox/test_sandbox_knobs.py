"""The local Postscript's knobs and profiles: each open question answered each way."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import pytest
import requests
from asking import ANA, API, BEN, CAI, OLD, ask, listed, patch
from tables import every

from toolkit.sandbox import PROFILES, Knobs, Sandbox
from toolkit.sandbox.admission import Limiter
from toolkit.sandbox.knobs import draw_latency
from toolkit.sandbox.people import AUDIENCE_PROPERTY, generate_people

ANAS, BENS = "%2B12025550143", "%2B12025550144"
OPTED_OUT = {"promotional": {"can_send": False}, "transactional": {"can_send": True}}


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000) as running:
        yield running


# The list

LISTS = {
    "repeated": ({}, f"?phone_number__in={ANAS}&phone_number__in={BENS}", ["s_ana", "s_ben"]),
    "repeated, joined": ({}, f"?phone_number__in={ANAS},{BENS}", []),
    "comma": ({"in_encoding": "comma"}, f"?phone_number__in={ANAS},{BENS}", ["s_ana", "s_ben"]),
    "comma, escaped": ({"in_encoding": "comma"}, f"?phone_number__in={ANAS}%2C{BENS}", ["s_ana", "s_ben"]),
    "comma, repeated": (
        {"in_encoding": "comma"},
        f"?phone_number__in={ANAS}&phone_number__in={BENS}",
        ["s_ben"],
    ),
    "ignored": ({"in_encoding": "ignored"}, f"?phone_number__in={ANAS}", ["s_cai", "s_ana", "s_ben"]),
    "ignored, too many": (
        {"in_encoding": "ignored", "max_in": 1},
        "?email__in=1&email__in=2",
        ["s_cai", "s_ana", "s_ben"],
    ),
    "ignored, eq counts": ({"in_encoding": "ignored"}, f"?email__in=x&phone_number__eq={ANAS}", ["s_ana"]),
    "plus": ({"phone_form": "plus_required"}, f"?phone_number__in={ANAS}", ["s_ana"]),
    "plus, digits asked": ({"phone_form": "plus_required"}, "?phone_number__in=12025550143", []),
    "plus, digits by eq": ({"phone_form": "plus_required"}, "?phone_number__eq=12025550143", ["s_ana"]),
    "digits": ({"phone_form": "digits_required"}, "?phone_number__in=12025550143", ["s_ana"]),
    "digits, plus asked": ({"phone_form": "digits_required"}, f"?phone_number__in={ANAS}", []),
    "ten digits": ({}, "?phone_number__eq=2025550143", []),
    "ten digits at home": ({"ten_digit_phones": "assume_us"}, "?phone_number__eq=2025550143", ["s_ana"]),
    "ten digits with a plus": ({"ten_digit_phones": "assume_us"}, "?phone_number__eq=%2B2025550143", []),
    "any case": ({}, "?email__eq=ana@mail.test", ["s_ana"]),
    "own case": ({"email_case": "sensitive"}, "?email__eq=Ana@Mail.test", ["s_ana"]),
    "other case": ({"email_case": "sensitive"}, "?email__in=ana@mail.test", []),
    "part in other case": ({"email_case": "sensitive"}, "?email__contains=MAIL", []),
    "part in own case": ({"email_case": "sensitive"}, "?email__contains=Mail", ["s_ana"]),
    "past the end": ({}, "?page=2", []),
}


@pytest.mark.parametrize(("knobs", "query", "ids"), LISTS.values(), ids=LISTS)
def test_which_subscribers_are_listed(sandbox, knobs, query, ids):
    """Every way to read a filter, and the default."""
    sandbox.set_knobs(**knobs)
    assert listed(sandbox, query) == ids


REFUSALS = {
    "too many after a comma": ({"in_encoding": "comma", "max_in": 2}, "?email__in=1,2,3", 400),
    "just enough": ({"in_encoding": "comma", "max_in": 3}, "?email__in=1,2,3", 200),
    "a long address": ({"max_url_bytes": 64}, "?email__eq=" + "x" * 35, 414),
    "not too long": ({"max_url_bytes": 64}, "?email__eq=" + "x" * 34, 200),
    "past the end": ({"past_the_end": "404"}, "?page=2", 404),
    "the last page": ({"past_the_end": "404"}, "?page=1", 200),
    "the one page of an empty list": ({"past_the_end": "404", "empty_total_pages": 0}, "?email__eq=x", 200),
}


@pytest.mark.parametrize(("knobs", "query", "status"), REFUSALS.values(), ids=REFUSALS)
def test_which_lists_are_refused(sandbox, knobs, query, status):
    """Limits hold at their edge."""
    sandbox.set_knobs(**knobs)
    assert ask(sandbox, "GET", f"{API}/subscribers{query}").status_code == status


@pytest.mark.parametrize("pages", [0, 1])
def test_an_empty_list_has_no_page_or_one(sandbox, pages):
    """How many pages an empty list has can be set; a list of one always has one."""
    sandbox.set_knobs(empty_total_pages=pages)
    for email, expected in (("none@mail.test", pages), ("ana@mail.test", 1)):
        answer = ask(sandbox, "GET", f"{API}/subscribers?email__eq={email}").json()
        assert answer["page_info"] == {"page": 1, "total_pages": expected}


def test_opted_out_people_can_be_hidden_from_lists(sandbox):
    """They are on no page then, alone or filtered, and can still be read by id."""
    sandbox.add_subscribers([{"id": "s_out", "phone_number": "+12025550150", "subscriptions": OPTED_OUT}])
    assert listed(sandbox)[-1] == "s_out"
    sandbox.set_knobs(opted_out="hidden")
    assert listed(sandbox) == ["s_cai", "s_ana", "s_ben"]
    assert listed(sandbox, "?phone_number__eq=12025550150") == []
    assert ask(sandbox, "GET", f"{API}/subscribers/s_out").status_code == 200
    sandbox.set_knobs(read_lag_ms=60_000)
    sandbox.advance(100)
    patch(sandbox, {"tags": ["NEW"]}, "s_out")
    assert listed(sandbox) == ["s_cai", "s_ana", "s_ben"]


# Lagging reads


def test_reads_lag_and_writes_do_not(sandbox):
    """Lists and reads by id show the past; the PATCH's own answer, and a later read, the present."""
    sandbox.set_knobs(read_lag_ms=60_000)
    assert patch(sandbox, {"properties": {"points": 1}}).json()["properties"]["points"] == 1
    sandbox.add_subscribers([{"id": "s_late", "phone_number": "+12025550150"}])
    assert ask(sandbox, "GET", f"{API}/subscribers/s_ana").json()["properties"]["points"] == 420
    assert ask(sandbox, "GET", f"{API}/subscribers/s_late").status_code == 404
    assert listed(sandbox, "?phone_number__contains=0150") == []
    assert listed(sandbox, "?updated_at__lte=2025-01-01") == ["s_ana"]
    sandbox.advance(61)
    assert ask(sandbox, "GET", f"{API}/subscribers/s_ana").json()["properties"]["points"] == 1
    assert listed(sandbox, "?phone_number__contains=0150") == ["s_late"]
    assert listed(sandbox, "?updated_at__lte=2025-01-01") == []


@every("seed", range(20), quick=8)
def test_a_lagging_list_is_the_list_of_then(seed):
    """After any mix of changes, every query gives what it gave before them."""
    chance = random.Random(seed)
    queries = [
        "?sort=updated_at__asc",
        "?sort=updated_at__desc",
        "?sort=phone_number__desc",
        "?sort=shopify_customer_id__asc&email__contains=shopper",
        "?created_at__gte=2025-01-01",
        "?page=2",
    ]
    with Sandbox(generate_people(60, seed=seed), rate=10_000, page_size=40) as sandbox:
        before = [listed(sandbox, query) for query in queries]
        sandbox.advance(100)
        for number in range(30):
            someone = chance.choice(sorted(sandbox.subscribers))
            if number % 3 == 0:
                sandbox.redact(someone)
            elif number % 3 == 1:
                patch(sandbox, {"tags": [f"new {number}"]}, someone)
            else:
                sandbox.add_subscribers(
                    [{"id": f"late_{number}", "created_at": f"2025-0{number % 9 + 1}-01"}]
                )
        after = [listed(sandbox, query) for query in queries]
        sandbox.set_knobs(read_lag_ms=50_000)
        assert [listed(sandbox, query) for query in queries] == before != after


# One subscriber

START = {"points": 420, AUDIENCE_PROPERTY: ["vip"]}
WRITES = {
    "merge": ({}, {"new": 1}, {**START, "new": 1}),
    "replace": ({"writes": "replace"}, {"new": 1}, {"new": 1}),
    "replace by nothing": ({"writes": "replace"}, {}, {}),
    "null ignored": ({}, {"points": None}, START),
    "null deletes": ({"null_value": "delete"}, {"points": None, "x": None}, {AUDIENCE_PROPERTY: ["vip"]}),
    "null stored": ({"null_value": "store"}, {"points": None}, {**START, "points": None}),
    "empty list stored": ({}, {AUDIENCE_PROPERTY: []}, {"points": 420, AUDIENCE_PROPERTY: []}),
    "null and empty list": (
        {"null_value": "delete", "empty_list": "drop"},
        {"points": None, AUDIENCE_PROPERTY: []},
        {},
    ),
    "empty list dropped": ({"empty_list": "drop"}, {AUDIENCE_PROPERTY: []}, {"points": 420}),
}


@pytest.mark.parametrize(("knobs", "properties", "after"), WRITES.values(), ids=WRITES)
def test_what_a_patch_leaves(sandbox, knobs, properties, after):
    """Merging, nulls and empty lists, in every way they may be meant; the answer shows what is stored."""
    sandbox.set_knobs(**knobs)
    answer = patch(sandbox, {"properties": properties})
    assert answer.status_code == 200
    assert answer.json()["properties"] == sandbox.subscribers["s_ana"]["properties"] == after


def test_the_fifty_first_property_can_be_dropped_in_silence():
    """The answer is 200, the old fifty stay, changes to them count, and the new one is not there."""
    full = {f"key {n}": n for n in range(50)}
    with Sandbox([{"id": "s_ana", "properties": full}], property_limit="drop") as sandbox:
        assert patch(sandbox, {"properties": {"new": 1, "key 1": "changed"}}).status_code == 200
        assert sandbox.subscribers["s_ana"]["properties"] == {**full, "key 1": "changed"}


def test_a_patch_can_leave_no_date(sandbox):
    """Then a list by ``updated_at`` does not show the change."""
    sandbox.set_knobs(bumps_updated_at=False)
    patch(sandbox, {"tags": ["NEW"]})
    assert sandbox.subscribers["s_ana"]["tags"] == ["VIP", "NEW"]
    assert sandbox.subscribers["s_ana"]["updated_at"] == OLD


@pytest.mark.parametrize(("knob", "status"), [("ignored", 200), ("refused", 400)])
def test_unknown_fields_of_a_patch_are_ignored_or_refused(sandbox, knob, status):
    """Refused is refused as a whole."""
    sandbox.set_knobs(unknown_patch_fields=knob)
    assert patch(sandbox, {"first_name": "Ana", "tags": ["NEW"]}).status_code == status
    assert ("NEW" in sandbox.subscribers["s_ana"]["tags"]) is (status == 200)


@pytest.mark.parametrize(("status", "body"), [(404, "error_code"), (400, None)])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_unknown_person_is_404_or_a_bare_400(sandbox, method, status, body):
    """The bare one is what the published pages show for most refusals."""
    sandbox.set_knobs(unknown_person=status)
    answer = ask(sandbox, method, f"{API}/subscribers/s_none", json={})
    assert answer.status_code == status
    assert next(iter(answer.json()), None) == body


def test_numbers_stand_for_ids_on_every_route(sandbox):
    """Each sign-up's number is its id in lists, reads, writes, and custom events."""
    sandbox.set_knobs(ids="numeric")
    assert listed(sandbox) == [3, 1, 2]
    assert ask(sandbox, "GET", f"{API}/subscribers/2").json()["id"] == 2
    assert patch(sandbox, {"tags": ["NEW"]}, "1").json()["id"] == 1
    assert [
        ask(sandbox, "GET", f"{API}/subscribers/{i}").status_code for i in ("s_ana", "4", "9" * 5000)
    ] == [404] * 3
    for number in (1, "1"):
        ask(sandbox, "POST", f"{API}/events", json={"type": "A", "subscriber_id": number})
    assert sandbox.subscribers["s_ana"]["tags"] == ["VIP", "NEW"]
    assert [event["matched_subscriber_id"] for event in sandbox.custom_events] == ["s_ana", "s_ana"]
    assert sandbox.shown_id("s_cai") == 3


def test_a_number_is_never_given_twice(sandbox):
    """Who signs up after a redaction gets the next number; a snapshot remembers all numbers."""
    sandbox.set_knobs(ids="numeric")
    sandbox.redact("s_cai")
    sandbox.add_subscribers([{"id": "s_late"}])
    sandbox.snapshot()
    sandbox.add_subscribers([{"id": "s_later"}])
    assert [sandbox.shown_id(each) for each in ("s_late", "s_later")] == [4, 5]
    sandbox.restore()
    sandbox.add_subscribers([{"id": "s_other"}])
    assert [sandbox.shown_id(each) for each in ("s_late", "s_other")] == [4, 5]


def test_the_official_mocks_answer_writes_with_nothing():
    """PATCH and POST are 200 with an empty body and no content type, and are carried out."""
    with Sandbox([ANA], knobs=PROFILES["official-mock"]) as sandbox:
        for answer in (
            patch(sandbox, {"tags": ["NEW"]}, "1"),
            ask(sandbox, "POST", f"{API}/events", json={"type": "A", "subscriber_id": 1}),
        ):
            assert (answer.status_code, answer.text, answer.headers.get("Content-Type")) == (200, "", None)
        assert sandbox.subscribers["s_ana"]["tags"] == ["VIP", "NEW"]
        assert [event["matched_subscriber_id"] for event in sandbox.custom_events] == ["s_ana"]


# Custom events


def test_the_keys_of_an_event_can_be_lowered(sandbox):
    """The properties' names only, not their values."""
    sandbox.set_knobs(event_keys="lowercase")
    ask(sandbox, "POST", f"{API}/events", json={"type": "A", "properties": {"Segment Audience Key": "VIP"}})
    assert sandbox.custom_events[0]["properties"] == {"segment audience key": "VIP"}


def test_a_repeated_external_id_can_be_taken_once(sandbox):
    """The second answer names the first event; without an ``external_id`` nothing is a repeat."""
    sandbox.set_knobs(event_dedupe=True)
    bodies = (
        [{"type": "A", "external_id": "x"}] * 2 + [{"type": "B", "external_id": "y"}] + [{"type": "C"}] * 2
    )
    ids = [ask(sandbox, "POST", f"{API}/events", json=body).json()["event_ids"][0] for body in bodies]
    assert ids[0] == ids[1]
    assert len(set(ids)) == len(sandbox.custom_events) == 4


def test_unknown_fields_of_an_event_can_be_left_out(sandbox):
    """The event is accepted without them."""
    sandbox.set_knobs(unknown_event_fields="ignored")
    assert ask(sandbox, "POST", f"{API}/events", json={"type": "A", "surprise": 1}).status_code == 202
    assert "surprise" not in sandbox.custom_events[0]


# The door and the limit


@pytest.mark.parametrize(("status", "name"), [(401, "error_code"), (403, "errors")])
def test_a_wrong_key_is_401_or_403(sandbox, status, name):
    """A missing one is 401 in any case."""
    sandbox.set_knobs(wrong_key=status)
    answer = ask(sandbox, "GET", f"{API}/me", key="sk_wrong")
    assert (answer.status_code, name in answer.json()) == (status, True)
    assert requests.get(f"{sandbox.base_url}{API}/me", timeout=10).status_code == 401


def test_a_429_can_name_the_time_to_come_back():
    """In whole seconds, by the header that HTTP has for it."""
    with Sandbox(rate=1, window_seconds=60, retry_after_seconds=3) as sandbox:
        answers = [ask(sandbox, "GET", f"{API}/me") for _ in range(2)]
        assert [answer.headers.get("Retry-After") for answer in answers] == [None, "3"]


RHYTHM = [0.0, 0.1, 0.9, 1.0, 1.05, 1.5, 2.05, 2.6]
LIMITS = {
    "sliding": ({}, "yynnyyny"),
    "sliding, all counted": ({"count_refused": True}, "yynnnnny"),
    "fixed": ({"algorithm": "fixed"}, "yynyynyy"),
    "bucket": ({"algorithm": "bucket"}, "yyyynyyy"),
    "bucket, all counted": ({"algorithm": "bucket", "count_refused": True}, "yyyynnyy"),
}


@pytest.mark.parametrize(("knobs", "verdicts"), LIMITS.values(), ids=LIMITS)
def test_algorithms_count_the_same_rhythm_differently(knobs, verdicts):
    """Two a second, eight requests."""
    times = iter(RHYTHM)
    limiter = Limiter(clock=lambda: next(times))
    accepted = [limiter.admit("shop", Knobs(rate=2, **knobs)).refusal is None for _ in RHYTHM]
    assert "".join("ny"[each] for each in accepted) == verdicts


@pytest.mark.parametrize("algorithm", ["sliding", "fixed", "bucket"])
@pytest.mark.parametrize("count_refused", [False, True])
def test_an_even_pace_below_the_limit_is_never_refused(algorithm, count_refused):
    """Fourteen a second pass under every algorithm."""
    now = 0.0
    limiter = Limiter(clock=lambda: now)
    knobs = Knobs(algorithm=algorithm, count_refused=count_refused)
    for _ in range(2000):
        assert limiter.admit("shop", knobs).refusal is None
        now += 1 / 14


KNOBS = {name: Knobs(algorithm=name) for name in ("sliding", "fixed", "bucket")}


@pytest.mark.parametrize("rate", [7, 14, 15])
def test_a_bucket_takes_its_own_pace_for_ever(rate):
    """After the first burst, one request for each token that comes back is never refused."""
    now = 0.0
    limiter = Limiter(clock=lambda: now)
    knobs = Knobs(algorithm="bucket", rate=rate)
    assert [limiter.admit("shop", knobs).refusal is None for _ in range(rate + 1)] == [True] * rate + [False]
    for _ in range(5000):
        now += 1 / rate
        assert limiter.admit("shop", knobs).refusal is None


@every("seed", range(20))
def test_what_the_hostile_limit_accepts_every_limit_accepts(seed):
    """A client that is never refused by the strictest one is refused by none."""
    chance = random.Random(seed)
    now = 0.0
    strict, hostile = Limiter(clock=lambda: now), PROFILES["hostile"]
    others = {name: Limiter(clock=lambda: now) for name in KNOBS}
    for _ in range(1000):
        now += chance.choice([0.001, 0.01, 0.05, 0.1, 0.2])
        if strict.admit("shop", hostile).refusal is None:
            for name, limiter in others.items():
                assert limiter.admit("shop", KNOBS[name]).refusal is None, name


# Latency


@pytest.mark.parametrize(
    ("latency", "least", "most"),
    [
        (0.2, 0.2, 0.2),
        ([0.1, 0.3], 0.1, 0.3),
        ("long_tail", 0.0, 5.0),
        ("long_tail:0.001", 0.0, 0.1),
        ({"GET /me": 1, "*": 0.5}, 1.0, 1.0),
        ({"GET /events": 1}, 0.0, 0.0),
    ],
)
def test_latencies_lie_where_they_should(latency, least, most):
    """Two thousand draws keep within the bounds, and a spread is spread."""
    chance = random.Random(1)
    checked = Knobs(latency_seconds=latency).latency_seconds
    drawn = [draw_latency(checked, "GET /me", chance) for _ in range(2000)]
    assert least <= min(drawn) <= max(drawn) <= most
    assert (least == most) == (len(set(drawn)) == 1)


def test_a_long_tail_has_its_median_and_its_tail():
    """Half are quicker than the median; one in fifty takes more than seven times as long."""
    chance = random.Random(1)
    drawn = sorted(draw_latency("long_tail:2", "GET /me", chance) for _ in range(5000))
    assert 1.9 < drawn[2500] < 2.1
    assert 0.01 < sum(each > 14 for each in drawn) / 5000 < 0.04


def test_the_journal_knows_each_delay():
    """The time that the knob gives a route is the time in the journal."""
    with Sandbox([ANA], latency_seconds={"GET /me": 0.02, "*": 0}) as sandbox:
        ask(sandbox, "GET", f"{API}/me")
        ask(sandbox, "GET", f"{API}/subscribers")
        assert [record["delay_ms"] for record in sandbox.journal] == [20, 0]


# Setting them


def test_knobs_are_shown_and_set_by_a_control_route(sandbox):
    """What is put changes, the rest stays, and the next request sees it."""
    url = sandbox.base_url + "/control/knobs"
    assert requests.get(url, timeout=10).json() == asdict(sandbox.knobs)
    changed = requests.put(url, json={"page_size": 1, "latency_seconds": [0, 0.001]}, timeout=10)
    assert changed.json() == {
        **asdict(Knobs(rate=10_000)),
        "page_size": 1,
        "latency_seconds": [0, 0.001],
    }
    assert requests.get(url, timeout=10).json() == changed.json()
    assert listed(sandbox) == ["s_cai"]


BAD_KNOBS = {
    "no such knob": ({"speed": 1}, "no knob 'speed'"),
    "a word there is not": (
        {"algorithm": "leaky"},
        "should be 'sliding', 'fixed' or 'bucket'",
    ),
    "a text for a number": ({"wrong_key": "401"}, "wrong_key: Input should be 401 or 403"),
    "one for true": ({"event_dedupe": 1}, "event_dedupe: Input should be a valid boolean"),
    "too few": ({"rate": 0}, "rate: Input should be greater than or equal to 1"),
    "a fraction": ({"page_size": 1.5}, "page_size: Input should be a valid integer"),
    "null for a number": ({"max_in": None}, "max_in: Input should be a valid integer"),
    "no time at all": (
        {"window_seconds": 0},
        "window_seconds: Input should be greater",
    ),
    "a huge number": ({"rate": 10**40}, "rate: Input should be less than or equal to 1000000"),
    "a long lag": ({"read_lag_ms": 3_600_001}, "read_lag_ms: Input should be less than or equal to 3600000"),
    "a latency by another name": (
        {"latency_seconds": "slow"},
        "latency_seconds: must be seconds",
    ),
    "bounds the wrong way": ({"latency_seconds": [2, 1]}, "latency_seconds: must be seconds"),
    "a negative latency": ({"latency_seconds": -1}, "latency_seconds: must be seconds"),
    "a tail that is no number": (
        {"latency_seconds": "long_tail:nan"},
        "latency_seconds: must be seconds",
    ),
    "latencies within latencies": (
        {"latency_seconds": {"*": {"*": 1}}},
        "latency_seconds: must be seconds",
    ),
}


@pytest.mark.parametrize(("changes", "words"), BAD_KNOBS.values(), ids=BAD_KNOBS)
def test_a_knob_that_cannot_be_set_is_refused_in_a_sentence(sandbox, changes, words):
    """By code a ValueError, by control route 400, and everything stays as it was."""
    before = sandbox.knobs
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        sandbox.set_knobs(**changes, email_case="sensitive")
    answer = requests.put(
        sandbox.base_url + "/control/knobs", json={"email_case": "sensitive", **changes}, timeout=10
    )
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert sandbox.knobs == before


def test_the_profiles_are_three_and_none_is_without_a_way_on():
    """The hostile one leaves out the modes under which a client can only stop."""
    assert sorted(PROFILES) == ["documented", "hostile", "official-mock"]
    assert PROFILES["documented"] == Knobs()
    hostile = PROFILES["hostile"]
    assert (hostile.writes, hostile.in_encoding, hostile.opted_out) == ("merge", "comma", "listed")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_can_be_written_down_and_read_back(name):
    """As JSON, the way the control route shows knobs."""
    assert Knobs(**json.loads(json.dumps(asdict(PROFILES[name])))) == PROFILES[name]


# The clock, and going back


def test_the_clock_puts_dates_and_the_limit_forward():
    """An hour later the window is empty, and what is written is dated an hour later."""
    with Sandbox([ANA], rate=1, window_seconds=3000) as sandbox:
        assert [ask(sandbox, "GET", f"{API}/me").status_code for _ in range(2)] == [200, 429]
        url = sandbox.base_url + "/control/clock"
        before = requests.get(url, timeout=10).json()["now"]
        after = requests.post(url, json={"advance": 86_400 * 366}, timeout=10).json()["now"]
        assert int(after[:4]) in {int(before[:4]) + 1, int(before[:4]) + 2}
        assert patch(sandbox, {"tags": ["NEW"]}).json()["updated_at"] >= after


@pytest.mark.parametrize("advance", [-1, None, True, "1", 1e12])
def test_the_clock_does_not_go_back(sandbox, advance):
    """Only numbers, and only forward."""
    answer = requests.post(sandbox.base_url + "/control/clock", json={"advance": advance}, timeout=10)
    assert answer.status_code == 400


def test_a_snapshot_brings_the_shop_back_and_leaves_the_journal(sandbox):
    """Subscribers and custom events are as they were then, again and again."""
    control = sandbox.base_url + "/control/"
    patch(sandbox, {"tags": ["NEW"]})
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    assert requests.post(control + "snapshot", timeout=10).status_code == 200
    then = (sandbox.subscribers, sandbox.custom_events)
    for _ in range(2):
        patch(sandbox, {"tags": ["NEWER"]})
        ask(sandbox, "POST", f"{API}/events", json={"type": "B"})
        assert requests.post(control + "restore", timeout=10).status_code == 200
        assert (sandbox.subscribers, sandbox.custom_events) == then
    assert listed(sandbox, "?sort=updated_at__desc")[0] == "s_ana"
    assert len(sandbox.journal) == 7


def test_without_a_snapshot_restoring_is_the_start(sandbox):
    """The first subscribers come back, and keys stay as they are."""
    start = sandbox.subscribers
    patch(sandbox, {"tags": ["NEW"]})
    sandbox.restore()
    assert sandbox.subscribers == start


def test_the_journal_can_be_read_from_a_place_on(sandbox):
    """``since`` leaves out as many records as it says."""
    for _ in range(3):
        ask(sandbox, "GET", f"{API}/me")
    url = sandbox.base_url + "/control/journal"
    assert requests.get(url + "?since=2", timeout=10).json() == sandbox.journal[2:]
    assert requests.get(url + "?since=9", timeout=10).json() == []
    assert requests.get(url + "?since=-1", timeout=10).status_code == 400


def test_a_key_can_be_revoked_by_a_control_route(sandbox):
    """It opens nothing from then on."""
    assert requests.post(sandbox.base_url + "/control/revoke", json={"key": "sk_sandbox"}, timeout=10).ok
    assert ask(sandbox, "GET", f"{API}/me").status_code == 401
