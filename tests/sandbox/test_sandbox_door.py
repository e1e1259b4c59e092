"""The local Postscript's door: who may ask, and how often."""

from __future__ import annotations

import base64
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from asking import ANA, API, ask
from tables import every

from toolkit.sandbox import PROFILES, Knobs, Sandbox
from toolkit.sandbox.door import Door

PAIR = {"x-postscript-shop-token": "sk_sandbox"}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox([ANA], rate=10_000) as running:
        yield running


class Clocked:
    """A door with a clock that is set by hand."""

    def __init__(self, *keys, **knobs):
        self.now, self.knobs = 0.0, Knobs(**knobs)
        self.door = Door(keys or ("sk_sandbox", "sk_two", "pk_sandbox"), clock=lambda: self.now)

    def admit(self, key="sk_sandbox", knobs=None, **headers):
        asked = {"authorization": key if " " in key else f"Bearer {key}", **headers}
        return self.door.admit(asked, knobs or self.knobs)

    def lets_in(self, *given, **headers):
        return self.admit(*given, **headers).refusal is None


# Who may ask


@pytest.mark.parametrize("path", [f"{API}/me", "/nowhere", "/", f"{API}/message_requests"])
def test_without_authorization_every_path_is_401_in_plain_text(sandbox, path):
    """The key is asked for before the path is looked at."""
    answer = requests.get(sandbox.base_url + path, timeout=10)
    assert (answer.status_code, answer.text) == (401, "Missing Authorization header")
    assert answer.headers["Content-Type"].startswith("text/plain")


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


@every(
    "authorization, is_open",
    [
        ("Bearer sk_sandbox", True),
        ("bearer sk_sandbox", True),
        (basic("sk_sandbox"), True),
        ("Bearer sk_other", False),
        ("Bearer pk_sandbox", False),
        (basic("pk_sandbox"), False),
        ("Bearer ", False),
        (" sk_sandbox", False),
        ("Basic %%%", False),
        ("Basic " + base64.b64encode(b"\xff:").decode(), False),
        ("Bearer sk_\xe4", False),
    ],
)
def test_bearer_and_basic_open_and_nothing_else_does(authorization, is_open):
    """A key is accepted in both forms of the header; public keys never are, even when listed."""
    refusal = Clocked().admit(authorization).refusal
    assert (refusal is None) is is_open
    assert is_open or (refusal.status, refusal.content["error_code"]) == (401, 9401)
    if not is_open:
        refusal = Clocked(wrong_key=403).admit(authorization).refusal
        assert (refusal.status, [*refusal.content]) == (403, ["errors"])


@pytest.mark.parametrize(
    ("key", "token", "path", "status"),
    [
        ("sk_partner_sandbox", "sk_sandbox", f"{API}/me", 200),
        ("sk_partner_sandbox", None, f"{API}/me", 403),
        ("sk_partner_sandbox", None, f"{API}/subscribers", 403),
        ("sk_partner_sandbox", None, "/nowhere", 404),
        ("sk_partner_sandbox", "sk_other", f"{API}/me", 401),
        ("sk_partner_sandbox", "sk_partner_sandbox", f"{API}/me", 401),
        ("sk_sandbox", "anything", f"{API}/me", 200),
    ],
)
def test_a_partner_needs_the_shops_key_beside_its_own(sandbox, key, token, path, status):
    """The partner key opens the shop's routes only together with a shop key."""
    answer = ask(sandbox, "GET", path, key=key, headers={"X-Postscript-Shop-Token": token} if token else {})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["errors"][0]["type"] == "v2.access_denied"


@pytest.mark.parametrize("path", [f"{API}/me", "/control/subscribers"])
def test_a_name_that_is_not_this_machines_is_refused(sandbox, path):
    """A page whose name was made to lead here, by DNS, reads nothing."""
    port = sandbox.base_url.rpartition(":")[2]
    for host, is_own in {
        "127.0.0.1": True,
        f"LOCALHOST:{port}": True,
        "[::1]:8015": True,
        "rebound.test": False,
        f"rebound.test:{port}": False,
        "127.0.0.1.rebound.test": False,
        "127.0.0.1@rebound.test": False,
        "[::": False,
        "": False,
    }.items():
        before = len(sandbox.journal)
        answer = ask(sandbox, "GET", path, headers={"Host": host})
        assert answer.status_code == (200 if is_own else 421), host
        assert is_own or "s_ana" not in answer.text
        assert len(sandbox.journal) - before == (is_own and path == f"{API}/me")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://page.test"},
        {"Origin": "null"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "Text/Plain;charset=UTF-8"},
    ],
)
def test_a_web_page_controls_nothing(sandbox, headers):
    """What a browser would send for a page of another origin, or for a form, changes nothing."""
    for name in ("subscribers", "revoke", "reset"):
        url = f"{sandbox.base_url}/control/{name}"
        answer = requests.post(url, data='{"id": "s_page", "key": "sk_sandbox"}', headers=headers, timeout=10)
        assert answer.status_code == 403
        assert "control route" in answer.json()["error"]
    assert [*sandbox.subscribers] == ["s_ana"]
    assert ask(sandbox, "GET", f"{API}/me").status_code == 200


# How often


def test_the_sixteenth_request_in_a_second_is_429():
    """Fifteen are accepted; the next one is refused in Postscript's own words, without Retry-After."""
    with Sandbox(window_seconds=30) as sandbox:
        answers = [ask(sandbox, "GET", f"{API}/me") for _ in range(16)]
        assert [answer.status_code for answer in answers] == [200] * 15 + [429]
        assert answers[-1].json() == {
            "error_code": 3002,
            "error_message": "Rate limit exceeded",
            "success": False,
        }
        assert "Retry-After" not in answers[-1].headers
        assert [record["limiter"] for record in sandbox.journal] == [*range(1, 16), 15]


def test_a_429_can_name_the_time_to_come_back():
    """In whole seconds, by the header that HTTP has for it."""
    with Sandbox(rate=1, window_seconds=60, retry_after_seconds=3) as sandbox:
        answers = [ask(sandbox, "GET", f"{API}/me") for _ in range(2)]
        assert [answer.headers.get("Retry-After") for answer in answers] == [None, "3"]


def test_a_revoked_key_opens_nothing_alone_or_for_a_partner():
    """Other keys go on; a reset accepts it again."""
    partner = {"key": "sk_partner_sandbox", "headers": {"X-Postscript-Shop-Token": "sk_sandbox"}}
    asked = [{"key": "sk_second"}, {"key": "sk_sandbox"}, partner]
    with Sandbox(keys=["sk_sandbox", "sk_second"]) as running:
        for change, statuses in [
            (lambda: running.revoke("sk_sandbox"), [200, 401, 401]),
            (running.reset, [200, 200, 200]),
            (lambda: running.revoke("sk_partner_sandbox"), [200, 200, 401]),
        ]:
            change()
            assert [ask(running, "GET", f"{API}/me", **each).status_code for each in asked] == statuses


def test_all_keys_of_the_shop_share_one_budget_and_a_partner_pair_has_its_own():
    """A second key buys no second budget, and one caller's storm takes nothing from another."""
    door = Clocked(rate=2)
    keys = ["sk_sandbox", "sk_two", "sk_two"]
    assert [door.lets_in(key) for key in keys] == [True, True, False]
    assert door.lets_in("sk_partner_sandbox", **PAIR)
    assert door.lets_in("sk_partner_sandbox")


def test_a_refused_key_uses_up_nothing_and_an_unknown_path_does():
    """The order is key, limit, path."""
    with Sandbox(rate=1, window_seconds=30) as sandbox:
        assert ask(sandbox, "GET", f"{API}/me", key="sk_other").status_code == 401
        assert ask(sandbox, "GET", "/nowhere").status_code == 404
        assert ask(sandbox, "GET", "/nowhere").status_code == 429


def test_no_window_of_the_journal_holds_more_than_fifteen():
    """Under a storm from several threads the recorded times prove the limit, wherever the window starts."""
    statuses = []
    with Sandbox(window_seconds=0.3) as sandbox, ThreadPoolExecutor(4) as pool:

        def storm(_):
            while statuses.count(200) < 20 or 429 not in statuses:
                statuses.append(ask(sandbox, "GET", f"{API}/me").status_code)

        list(pool.map(storm, range(4)))
        accepted = [record["at"] for record in sandbox.journal if record["status"] == 200]
    assert accepted == sorted(accepted)
    assert max(sum(start <= at < start + 0.3 for at in accepted) for start in accepted) == 15


@every("seed", range(50))
def test_the_limit_keeps_its_promise_at_any_rhythm(seed):
    """Whatever the times, no window holds too many, and a request with room before it is never refused."""
    chance = random.Random(seed)
    door, accepted = Clocked(rate=5), []
    for _ in range(300):
        door.now += chance.choice([0.0, 0.0625, 0.125, 0.25, 1.0])
        recent = sum(door.now - 1.0 <= at for at in accepted)
        admission = door.admit()
        assert (admission.at, (admission.refusal is None)) == (door.now, recent < 5)
        assert admission.in_window == min(recent + 1, 5)
        if admission.refusal is None:
            accepted.append(door.now)
    assert all(sum(start <= at <= start + 1.0 for at in accepted) <= 5 for start in accepted)


@every(
    "knobs, verdicts",
    [
        ({}, "yynnyyny"),
        ({"count_refused": True}, "yynnnnny"),
        ({"algorithm": "fixed"}, "yynyynyy"),
        ({"algorithm": "bucket"}, "yyyynyyy"),
        ({"algorithm": "bucket", "count_refused": True}, "yyyynnyy"),
    ],
)
def test_algorithms_count_the_same_rhythm_differently(knobs, verdicts):
    """Two a second, eight requests."""
    door, found = Clocked(rate=2, **knobs), ""
    for door.now in (0.0, 0.1, 0.9, 1.0, 1.05, 1.5, 2.05, 2.6):
        found += "ny"[door.lets_in()]
    assert found == verdicts


ALGORITHMS = ("sliding", "fixed", "bucket")


@every("algorithm, count_refused", [(each, counts) for each in ALGORITHMS for counts in (False, True)])
def test_an_even_pace_below_the_limit_is_never_refused(algorithm, count_refused):
    """Fourteen a second pass under every algorithm."""
    door = Clocked(algorithm=algorithm, count_refused=count_refused)
    for _ in range(2000):
        assert door.lets_in()
        door.now += 1 / 14


@every("rate", [7, 14, 15])
def test_a_bucket_takes_its_own_pace_for_ever(rate):
    """After the first burst, one request for each token that comes back is never refused."""
    door = Clocked(algorithm="bucket", rate=rate)
    assert [door.lets_in() for _ in range(rate + 1)] == [True] * rate + [False]
    for _ in range(5000):
        door.now += 1 / rate
        assert door.lets_in()


@every("seed", range(20))
def test_what_the_hostile_limit_accepts_every_limit_accepts(seed):
    """A client that is never refused by the strictest one is refused by none."""
    chance = random.Random(seed)
    strict, others = Clocked(), [Clocked(algorithm=name) for name in ALGORITHMS]
    for _ in range(1000):
        strict.now += chance.choice([0.001, 0.01, 0.05, 0.1, 0.2])
        if strict.lets_in("sk_sandbox", PROFILES["hostile"]):
            for door in others:
                door.now = strict.now
                assert door.lets_in(), door.knobs.algorithm
