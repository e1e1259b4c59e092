"""The local Postscript's door: who may ask, and how often."""

from __future__ import annotations

import base64
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from asking import ANA, API, BEN, CAI, ask
from tables import every

from toolkit.sandbox import Knobs, Sandbox
from toolkit.sandbox.admission import Limiter


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000, page_size=2, max_in=3) as running:
        yield running


# Who may ask


@pytest.mark.parametrize("path", [f"{API}/me", "/nowhere", "/", f"{API}/message_requests"])
def test_without_authorization_every_path_is_401_in_plain_text(sandbox, path):
    """The key is asked for before the path is looked at."""
    answer = requests.get(sandbox.base_url + path, timeout=10)
    assert (answer.status_code, answer.text) == (401, "Missing Authorization header")
    assert answer.headers["Content-Type"].startswith("text/plain")


def basic(user):
    return "Basic " + base64.b64encode(f"{user}:".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer sk_sandbox", 200),
        ("bearer sk_sandbox", 200),
        (basic("sk_sandbox"), 200),
        ("Bearer sk_other", 401),
        ("Bearer pk_sandbox", 401),
        (basic("pk_sandbox"), 401),
        ("Bearer", 401),
        ("sk_sandbox", 401),
        ("Basic %%%", 401),
        ("Basic " + base64.b64encode(b"\xff:").decode(), 401),
        ("Bearer sk_\xe4", 401),
    ],
)
def test_bearer_and_basic_open_and_nothing_else_does(authorization, status):
    """A key is accepted in both forms of the header; public keys never are, even when listed."""
    with Sandbox(keys=("sk_sandbox", "pk_sandbox")) as sandbox:
        url = f"{sandbox.base_url}{API}/me"
        answer = requests.get(url, headers={"Authorization": authorization.encode("latin-1")}, timeout=10)
        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error_code"] == 9401
            assert answer.json()["success"] is False


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


def test_a_revoked_key_is_401_from_then_on(sandbox):
    """Revoking works in the middle of a run, also for a key inside a partner's pair."""
    assert ask(sandbox, "GET", f"{API}/me").status_code == 200
    sandbox.revoke("sk_sandbox")
    assert ask(sandbox, "GET", f"{API}/me").status_code == 401
    pair = {"X-Postscript-Shop-Token": "sk_sandbox"}
    assert ask(sandbox, "GET", f"{API}/me", key="sk_partner_sandbox", headers=pair).status_code == 401


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("LOCALHOST:{port}", True),
        ("[::1]:8015", True),
        ("rebound.test", False),
        ("rebound.test:{port}", False),
        ("127.0.0.1.rebound.test", False),
        ("127.0.0.1@rebound.test", False),
        ("[::", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", [f"{API}/me", "/control/subscribers"])
def test_a_name_that_is_not_this_machines_is_refused(sandbox, path, host, is_own):
    """A page whose name was made to lead here, by DNS, reads nothing."""
    port = sandbox.base_url.rpartition(":")[2]
    answer = ask(sandbox, "GET", path, headers={"Host": host.format(port=port)})
    assert answer.status_code == (200 if is_own else 421)
    assert is_own or "s_ana" not in answer.text
    assert len(sandbox.journal) == (is_own and path == f"{API}/me")


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
    answer = requests.post(sandbox.base_url + "/control/reset", data="{}", headers=headers, timeout=10)
    assert answer.status_code == 403
    assert "control route" in answer.json()["error"]


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


def test_all_keys_of_the_shop_share_one_budget_and_a_partner_pair_has_its_own():
    """A second key buys no second budget."""
    with Sandbox(keys=("sk_sandbox", "sk_two"), rate=2, window_seconds=30) as sandbox:
        pair = {"X-Postscript-Shop-Token": "sk_sandbox"}
        statuses = [
            ask(sandbox, "GET", f"{API}/me").status_code,
            ask(sandbox, "GET", f"{API}/me", key="sk_two").status_code,
            ask(sandbox, "GET", f"{API}/me", key="sk_two").status_code,
            ask(sandbox, "GET", f"{API}/me", key="sk_partner_sandbox", headers=pair).status_code,
        ]
        assert statuses == [200, 200, 429, 200]


def test_a_refused_key_uses_up_nothing_and_an_unknown_path_does():
    """The order is key, limit, path."""
    with Sandbox(rate=1, window_seconds=30) as sandbox:
        assert ask(sandbox, "GET", f"{API}/me", key="sk_other").status_code == 401
        assert ask(sandbox, "GET", "/nowhere").status_code == 404
        assert ask(sandbox, "GET", "/nowhere").status_code == 429


def test_no_window_of_the_journal_holds_more_than_fifteen():
    """Under a storm from several threads the recorded times prove the limit, wherever the window starts."""
    with Sandbox(window_seconds=0.3) as sandbox, ThreadPoolExecutor(4) as pool:
        until = time.monotonic() + 0.7

        def storm(_):
            while time.monotonic() < until:
                ask(sandbox, "GET", f"{API}/me")

        list(pool.map(storm, range(4)))
        accepted = [record["at"] for record in sandbox.journal if record["status"] == 200]
        refused = [record for record in sandbox.journal if record["status"] == 429]
    assert accepted == sorted(accepted)
    assert len(accepted) > 15
    assert refused
    assert max(sum(start <= at < start + 0.3 for at in accepted) for start in accepted) == 15


@every("seed", range(50))
def test_the_limiter_keeps_its_promise_at_any_rhythm(seed):
    """Whatever the times, no window holds too many, and a request with room before it is never refused."""
    chance = random.Random(seed)
    now = 0.0
    limiter = Limiter(clock=lambda: now)
    accepted = []
    for _ in range(300):
        now += chance.choice([0.0, 0.0625, 0.125, 0.25, 1.0])
        recent = sum(now - 1.0 <= at for at in accepted)
        admission = limiter.admit("shop", Knobs(rate=5))
        assert (admission.at, (admission.refusal is None)) == (now, recent < 5)
        assert admission.in_window == min(recent + 1, 5)
        if admission.refusal is None:
            accepted.append(now)
    assert all(sum(start <= at <= start + 1.0 for at in accepted) <= 5 for start in accepted)


def test_budgets_do_not_touch_each_other():
    """One caller's storm takes nothing from another."""
    limiter = Limiter(clock=lambda: 0.0)
    assert [limiter.admit(name, Knobs(rate=1)).refusal is None for name in ("a", "a", "b")] == [
        True,
        False,
        True,
    ]
