"""The local Postscript over HTTP: its routes, journal, control routes, knobs and its command."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
import requests
from asking import ANA, API, BEN, CAI, OLD, LocalShop, ask, listed, patch
from tables import every

from toolkit.sandbox import PROFILES, Fault, Knobs, Sandbox
from toolkit.sandbox.__main__ import main
from toolkit.sandbox.door import key_fingerprint
from toolkit.sandbox.people import generate_people
from toolkit.sandbox.records import load_subscribers


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000, page_size=2, max_in=3) as running:
        yield running


# The rest of the API


def test_me_names_the_shop():
    """The connection test shows which shop a key belongs to."""
    assert LocalShop().ask("GET", "/me").content == {
        "resource_id": "shop_sandbox",
        "resource_name": "Sandbox Shop",
        "resource_type": "shop",
    }


@every(
    "method, path",
    [
        ("POST", "/message_requests"),
        ("GET", "/message_requests/1"),
        ("GET", "/sent_messages/1"),
        ("POST", "/subscribers"),
    ],
)
def test_what_a_sync_must_never_do_is_refused_and_noted(method, path):
    """Sending messages and creating people are 403, and violations."""
    shop = LocalShop()
    reply = shop.ask(method, path, {"phone_number": "+12025550177"})
    assert (reply.status, reply.content["errors"][0]["type"]) == (403, "v2.access_denied")
    assert reply.violation
    assert sorted(shop.shop.subscribers) == ["s_ana", "s_ben", "s_cai"]


def test_a_wrong_method_is_405(sandbox):
    """The answer names the methods that would do."""
    for method, path, allow in [
        ("HEAD", "/me", "GET"),
        ("OPTIONS", "/subscribers", "GET, POST"),
        ("PUT", "/subscribers/s_ana", "GET, PATCH"),
        ("PATCH", "/subscribers", "GET, POST"),
        ("DELETE", "/subscribers/s_ana", "GET, PATCH"),
        ("GET", "/events", "POST"),
        ("GET", "/message_requests", "POST"),
    ]:
        answer = ask(sandbox, method, API + path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
        assert method == "HEAD" or answer.json()["error_code"] == 9405


def test_an_unknown_path_is_404(sandbox):
    """With an accepted key, a path that is not served is refused in JSON."""
    for path in ("/", "/api", f"{API}/", f"{API}/subscribers/", f"{API}/me/", "/api/v1/me"):
        answer = ask(sandbox, "GET", path)
        assert (answer.status_code, answer.json()["error_code"]) == (404, 9404)


VALUES = [None, True, 0, -1, 1.5, 10**30, "", "é", "\x00", "2025", [], [None], {}, {"a": {}}, "s_ana", ["a"]]
NAMES = ["type", "properties", "tags", "email", "phone", "phone_number", "occurred_at", "subscriber_id"]
NAMES += ["external_id", "a"]


@every("seed", range(8))
def test_no_request_ever_fails(seed):
    """Random values in random places are answered or refused."""
    chance, shop = random.Random(seed), LocalShop()
    for _ in range(100):
        body = {chance.choice(NAMES): chance.choice(VALUES) for _ in range(chance.randrange(4))}
        body |= {"type": "A"} if chance.random() < 0.5 else {}
        path = chance.choice(["/events", "/subscribers/s_ana"])
        assert shop.ask(chance.choice(["POST", "PATCH"]), path, body).status < 500, body
        name = chance.choice(["page", "sort", "ps_id__eq", "email__in", "created_at__gt", "phone_number__eq"])
        value = quote(str(chance.choice(VALUES)))
        assert shop.ask("GET", f"/subscribers?{name}={value}").status in {200, 400}


# The journal and the control routes


def test_the_journal_has_every_request_and_never_the_key(sandbox):
    """One record a request, with the decoded query, the parsed body, and a fingerprint for the key."""
    ask(sandbox, "GET", f"{API}/subscribers?email__in=a%40mail.test&email__in=b+c")
    patch(sandbox, {"tags": ["NEW"]})
    ask(sandbox, "GET", f"{API}/me", key="sk_wrong")
    requests.get(sandbox.base_url + "/nowhere", timeout=10)
    journal = sandbox.journal
    assert [(record["method"], record["path"], record["status"]) for record in journal] == [
        ("GET", f"{API}/subscribers", 200),
        ("PATCH", f"{API}/subscribers/s_ana", 200),
        ("GET", f"{API}/me", 401),
        ("GET", "/nowhere", 401),
    ]
    assert journal[0]["query"] == [["email__in", "a@mail.test"], ["email__in", "b c"]]
    assert [record["body"] for record in journal] == [None, {"tags": ["NEW"]}, None, None]
    assert (
        journal[0]["key_fingerprint"] == journal[1]["key_fingerprint"] == key_fingerprint("Bearer sk_sandbox")
    )
    assert [record["limiter"] for record in journal] == [1, 2, None, None]
    assert journal[3]["key_fingerprint"] is None
    assert "sk_" not in json.dumps(journal)


def test_latency_delays_the_answer_and_not_the_count():
    """A request is journalled when it comes in, and acts when its time has passed."""
    with Sandbox([ANA], latency_seconds={"GET /me": 0, "*": 0.2}) as sandbox, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(patch, sandbox, {"tags": ["NEW"]})
        while not sandbox.journal:
            time.sleep(0.005)
        assert sandbox.journal[0]["status"] is None
        assert sandbox.subscribers["s_ana"]["tags"] == ["VIP"]
        assert waiting.result().json()["tags"] == ["VIP", "NEW"]
        assert (sandbox.journal[0]["status"], sandbox.journal[0]["delay_ms"]) == (200, 200)


def test_what_is_handed_out_is_a_copy(sandbox):
    """Changing a record given or received changes nothing in the sandbox."""
    given = {"id": "s_late", "tags": []}
    sandbox.add_subscribers([given])
    given["tags"].append("x")
    sandbox.subscribers["s_late"]["tags"].append("x")
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    sandbox.journal[0]["body"]["type"] = "B"
    sandbox.custom_events[0]["type"] = "B"
    assert sandbox.subscribers["s_late"]["tags"] == []
    assert sandbox.journal[0]["body"] == sandbox.journal[0]["body"] | {"type": "A"}
    assert sandbox.custom_events[0]["type"] == "A"


def test_control_routes_show_the_state_without_a_key_and_without_a_record(sandbox):
    """Looking leaves no trace and takes no budget."""
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    before = sandbox.journal
    get = {
        name: requests.get(f"{sandbox.base_url}/control/{name}", timeout=10)
        for name in ("journal", "subscribers", "custom_events")
    }
    assert get["journal"].json() == before
    assert get["custom_events"].json() == sandbox.custom_events
    rows = [json.loads(line) for line in get["subscribers"].text.splitlines()]
    assert {row["id"]: row for row in rows} == sandbox.subscribers
    assert sandbox.journal == before


def test_the_export_reads_back_as_it_was(tmp_path):
    """What ``GET /control/subscribers`` gives is a file that ``--subscribers`` takes."""
    path = tmp_path / "subscribers.ndjson"
    with Sandbox(generate_people(1500, seed=5)) as sandbox:
        path.write_bytes(requests.get(sandbox.base_url + "/control/subscribers", timeout=10).content)
        assert {each["id"]: each for each in load_subscribers(path, OLD)} == sandbox.subscribers


def test_late_sign_ups_come_all_or_none():
    """An id that is taken is 409, an unreadable record 400, and then no subscriber is added."""
    for body, status in [
        (b'{"id": "n1"}\n\n{"id": "n2", "tags": null}\n', 201),
        (b'[{"id": "n1"}, {"id": "n2"}]', 201),
        (b"", 201),
        (b'{"id": "n1"}\n{"id": "s_ana"}', 409),
        (b'[{"id": "n1"}, {"id": "n1"}]', 409),
        (b'{"id": "n1"}\n{"id": ""}', 400),
        (b'{"id": "n1"}\n{', 400),
        (b"[1]", 400),
        (b"[" * 10_000, 400),
        (b'{"a": 1e999}', 400),
        (b"\xff", 400),
        (b'{"id": "n1", "phone_number": 5}', 400),
        (b'{"id": "n1", "created_at": "soon"}', 400),
    ]:
        with Sandbox([ANA]) as sandbox:
            answer = requests.post(sandbox.base_url + "/control/subscribers", data=body, timeout=10)
            assert answer.status_code == status
            assert {*sandbox.subscribers} == {"s_ana"} | ({"n1", "n2"} if status == 201 and body else set())


def test_late_sign_ups_are_stamped_with_now_and_found(sandbox):
    """A person who signs up during a run is listed last and found by phone."""
    assert listed(sandbox, "?phone_number__contains=0150") == []
    sandbox.add_subscribers([{"id": "s_late", "phone_number": "+12025550150"}])
    assert listed(sandbox, "?phone_number__contains=0150") == ["s_late"]
    signed_up = datetime.fromisoformat(sandbox.subscribers["s_late"]["created_at"])
    assert abs((datetime.now(UTC) - signed_up).total_seconds()) < 5
    assert listed(sandbox, "?page=2") == ["s_ben", "s_late"]
    assert listed(sandbox, "?phone_number__eq=12025550150") == ["s_late"]
    with pytest.raises(ValueError, match="already"):
        sandbox.add_subscribers([{"id": "s_late"}])


def test_no_subscriber_is_there_twice_from_the_start():
    """Two records with one id are refused before anything runs."""
    with pytest.raises(ValueError, match="already a subscriber with the id 's_ana'"):
        Sandbox([ANA, BEN, ANA])


def test_reset_goes_back_to_the_start(sandbox):
    """Changes, late sign-ups, redactions, custom events and the journal are gone."""
    start = sandbox.subscribers
    patch(sandbox, {"tags": ["NEW"]})
    sandbox.add_subscribers([{"id": "s_late"}])
    sandbox.redact("s_ben")
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    assert control(sandbox, "POST", "reset").status_code == 200
    assert (sandbox.subscribers, sandbox.custom_events, sandbox.journal) == (start, [], [])
    assert listed(sandbox) == ["s_cai", "s_ana"]


def test_a_snapshot_brings_the_shop_back_and_leaves_the_journal(sandbox):
    """Subscribers, custom events and sign-ups' numbers are as they were then, again and again."""
    start = sandbox.subscribers
    sandbox.set_knobs(event_dedupe=True)
    patch(sandbox, {"tags": ["NEW"]})
    sandbox.restore()
    assert sandbox.subscribers == start  # without a snapshot
    patch(sandbox, {"tags": ["NEW"]})
    sandbox.redact("s_cai")
    first = ask(sandbox, "POST", f"{API}/events", json={"type": "A", "external_id": "x"}).json()
    assert control(sandbox, "POST", "snapshot").status_code == 200
    then = (sandbox.subscribers, sandbox.custom_events)
    for late in ("s_late", "s_later"):
        patch(sandbox, {"tags": ["NEWER"]})
        ask(sandbox, "POST", f"{API}/events", json={"type": "B", "external_id": late})
        sandbox.add_subscribers([{"id": late, "phone_number": "+12025550150"}])
        assert sandbox.shop.number_of(late) == 4
        assert control(sandbox, "POST", "restore").status_code == 200
        assert (sandbox.subscribers, sandbox.custom_events) == then
    assert listed(sandbox, "?sort=updated_at__desc")[0] == "s_ana"
    assert listed(sandbox, "?phone_number__eq=12025550150") == []
    again = ask(sandbox, "POST", f"{API}/events", json={"type": "A", "external_id": "x"}).json()
    assert (again, len(sandbox.custom_events), len(sandbox.journal)) == (first, 1, 10)


def test_a_violation_is_in_the_journal(sandbox):
    """A message request is one; a read is none."""
    ask(sandbox, "POST", f"{API}/message_requests", json={})
    ask(sandbox, "GET", f"{API}/me")
    assert [record["violation"] for record in sandbox.journal] == [True, False]


def test_a_key_can_be_revoked_by_a_control_route(sandbox):
    """It opens nothing from then on."""
    assert control(sandbox, "POST", "revoke", json={"key": "sk_sandbox"}).ok
    assert ask(sandbox, "GET", f"{API}/me").status_code == 401


def test_the_clock_puts_dates_and_the_limit_forward():
    """A year later the window is empty, and what is written is dated a year later."""
    with Sandbox([ANA], rate=1, window_seconds=3000) as sandbox:
        assert [ask(sandbox, "GET", f"{API}/me").status_code for _ in range(2)] == [200, 429]
        before = control(sandbox, "GET", "clock").json()["now"]
        after = control(sandbox, "POST", "clock", json={"advance": 86_400 * 366}).json()["now"]
        assert int(after[:4]) in {int(before[:4]) + 1, int(before[:4]) + 2}
        assert patch(sandbox, {"tags": ["NEW"]}).json()["updated_at"] >= after
        for back in (-1, None, True, "1", 1e12):
            assert control(sandbox, "POST", "clock", json={"advance": back}).status_code == 400


def test_faults_are_set_and_cleared_by_a_control_route(sandbox):
    """What is put comes back complete, works, stays when the next are refused, and is gone after DELETE."""
    given = {"kind": "status", "status": 500, "route": "GET /me"}
    put = control(sandbox, "PUT", "faults", json=[given])
    assert put.status_code == 200
    (shown,) = put.json()
    assert shown == {**asdict(Fault(kind="status")), **given, "nth": []}
    assert control(sandbox, "PUT", "faults", json=[shown]).json() == [shown]
    refused = control(sandbox, "PUT", "faults", json=[{"kind": "fire"}])
    assert (refused.status_code, "0.kind" in refused.json()["error"]) == (400, True)
    assert control(sandbox, "GET", "faults").json() == [shown]
    assert ask(sandbox, "GET", f"{API}/me").status_code == 500
    assert control(sandbox, "DELETE", "faults").json() == []


def control(sandbox, method, name, **options):
    return requests.request(method, f"{sandbox.base_url}/control/{name}", timeout=10, **options)


@pytest.mark.parametrize(("method", "name", "status"), [("GET", "none", 404), ("GET", "reset", 405)])
def test_other_control_requests_are_refused(sandbox, method, name, status):
    """A control route that is not there, and a wrong method."""
    assert requests.request(method, f"{sandbox.base_url}/control/{name}", timeout=10).status_code == status


# Setting them


def test_knobs_are_set_for_the_next_request(sandbox):
    """What is given changes, by code or by control route, and the rest stays."""
    sandbox.set_knobs(page_size=1)
    assert sandbox.knobs == Knobs(rate=10_000, page_size=1, max_in=3)
    assert listed(sandbox) == ["s_cai"]
    assert control(sandbox, "GET", "knobs").json() == asdict(sandbox.knobs)
    changed = control(sandbox, "PUT", "knobs", json={"page_size": 2, "latency_seconds": [0, 0.001]})
    assert changed.json() == {
        **asdict(Knobs(rate=10_000, max_in=3, page_size=2)),
        "latency_seconds": [0, 0.001],
    }
    refused = control(sandbox, "PUT", "knobs", json={"page_size": 3, "speed": 1})
    assert (refused.status_code, "no knob 'speed'" in refused.json()["error"]) == (400, True)
    assert control(sandbox, "GET", "knobs").json() == changed.json()
    assert listed(sandbox) == ["s_cai", "s_ana"]


@every("name", PROFILES)
def test_a_profile_can_be_written_down_and_read_back(name):
    """As JSON, the way the control route shows knobs."""
    assert Knobs(**json.loads(json.dumps(asdict(PROFILES[name])))) == PROFILES[name]


@every(
    "latency, least, most",
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
    chance, knobs = random.Random(1), Knobs(latency_seconds=latency)
    drawn = [knobs.latency_on("GET /me", chance) for _ in range(2000)]
    assert least <= min(drawn) <= max(drawn) <= most
    assert (least == most) == (len(set(drawn)) == 1)


def test_a_long_tail_has_its_median_and_its_tail():
    """Half are quicker than the median; one in fifty takes more than seven times as long."""
    chance, knobs = random.Random(1), Knobs(latency_seconds="long_tail:2")
    drawn = sorted(knobs.latency_on("GET /me", chance) for _ in range(5000))
    assert 1.9 < drawn[2500] < 2.1
    assert 0.01 < sum(each > 14 for each in drawn) / 5000 < 0.04


@every(
    "changes, words",
    [
        ({"speed": 1}, "no knob 'speed'"),
        ({"algorithm": "leaky"}, "should be 'sliding', 'fixed' or 'bucket'"),
        ({"wrong_key": "401"}, "wrong_key: Input should be 401 or 403"),
        ({"event_dedupe": 1}, "event_dedupe: Input should be a valid boolean"),
        ({"rate": 0}, "rate: Input should be greater than or equal to 1"),
        ({"page_size": 1.5}, "page_size: Input should be a valid integer"),
        ({"max_in": None}, "max_in: Input should be a valid integer"),
        ({"window_seconds": 0}, "window_seconds: Input should be greater"),
        ({"rate": 10**40}, "rate: Input should be less than or equal to 1000000"),
        ({"read_lag_ms": 3_600_001}, "read_lag_ms: Input should be less than or equal to 3600000"),
        ({"retry_after_seconds": -1}, "retry_after_seconds: Input should be greater"),
        *(
            ({"latency_seconds": each}, "latency_seconds: must be seconds")
            for each in ("slow", [0, -1], [2, 1], -1, "long_tail:nan", {"*": {"*": 1}}, {"*": []})
        ),
    ],
)
def test_a_knob_that_cannot_be_set_is_refused_in_a_sentence(changes, words):
    """A ValueError, and everything stays as it was."""
    sandbox = Sandbox()
    with pytest.raises(ValueError, match=words):
        sandbox.set_knobs(**changes, email_case="sensitive")
    assert sandbox.knobs == Knobs()


def test_the_profiles_are_three_and_none_is_without_a_way_on():
    """The hostile one leaves out the modes under which a client can only stop."""
    assert sorted(PROFILES) == ["documented", "hostile", "official-mock"]
    assert PROFILES["documented"] == Knobs()
    hostile = PROFILES["hostile"]
    assert (hostile.writes, hostile.in_encoding, hostile.opted_out) == ("merge", "comma", "listed")


# The command line and the thread


def test_the_command_serves_until_a_signal(tmp_path):
    """It takes a profile with other knobs, and faults; accepts every key, prints none, and ends cleanly."""
    people, faults = tmp_path / "people.ndjson", tmp_path / "faults.json"
    people.write_text(json.dumps(ANA) + "\n", encoding="utf-8")
    faults.write_text('[{"kind": "status", "status": 502, "route": "GET /gone"}]', encoding="utf-8")
    arguments = ["--port", "0", "--subscribers", str(people), "--latency-ms", "1", "--key", "sk_second"]
    arguments += ["--profile", "hostile", "--rate", "99", "--faults", str(faults)]
    arguments += ["--knob", "in_encoding=repeated", "--knob", "max_url_bytes=null"]
    too_many = "&".join(f"email__in={n}@mail.test" for n in range(26))
    asked = [
        *(("/api/v2/me", key) for key in ("sk_sandbox", "sk_second", "sk_mine", "sk_other")),
        ("/gone", "sk_sandbox"),
        *((f"{API}/subscribers?{q}", "sk_mine") for q in ("email__eq=" + "x" * 2100, too_many, "page=2")),
    ]
    command = [sys.executable, "-W", "error", "-m", "toolkit.sandbox", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(
        command, env={**os.environ, "POSTSCRIPT_SECRET_KEY": "sk_mine"}, **pipes
    ) as process:
        ready = process.stdout.readline()
        url = ready.split()[3]
        statuses = [
            requests.get(url + path, headers={"Authorization": f"Bearer {key}"}, timeout=10).status_code
            for path, key in asked
        ]
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=10)
    assert ready == f"Sandbox ready on {url} with 1 subscribers; key: sk_sandbox\n"
    assert url.startswith("http://127.0.0.1:")
    assert statuses == [200, 200, 200, 403, 502, 200, 400, 404]
    assert (process.returncode, rest, complaints) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "0", "--subscribers", "missing.ndjson"], "missing.ndjson: the subscribers file"),
        (["--port", "0", "--subscribers", "bad.ndjson"], "bad.ndjson, line 2"),
        (["--port", "0", "--profile", "lenient"], "invalid choice"),
        (["--port", "0", "--knob", "page_sise=5"], "no knob 'page_sise'"),
        (["--port", "0", "--knob", "page_size=0"], "The knob page_size: Input should be"),
        (["--port", "0", "--faults", "missing.json"], "missing.json: the faults file"),
        (["--port", "0", "--faults", "bad.ndjson"], "bad.ndjson: "),
        (["--port", "0", "--rate", "0"], "The knob rate: Input should be"),
        (["--port", "0", "--subscribers", "bad.ndjson", "--people", "1"], "not allowed with"),
    ],
)
def test_a_command_that_cannot_begin_exits_2_with_a_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    """The reason is on standard error, and nothing on standard output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ndjson").write_text('{"id": "a"}\n{"id": "a"}\n', encoding="utf-8")
    assert exit_code(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err


def exit_code(arguments):
    try:
        return main(arguments, {})
    except SystemExit as ending:  # argparse leaves this way
        return ending.code


def test_a_taken_port_exits_2_with_a_sentence(capsys):
    """The reason names the port, and is a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port, "--people", "1"], {}) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"Port {port} cannot be used")


def test_it_stops_and_lets_go_of_its_port():
    """Also while a client keeps its connection open."""
    with requests.Session() as session:
        with Sandbox() as sandbox:
            assert session.get(sandbox.base_url + "/control/journal", timeout=10).json() == []
        with pytest.raises(requests.ConnectionError):
            session.get(sandbox.base_url, timeout=10)
        with Sandbox(port=int(sandbox.base_url.rpartition(":")[2])) as again:
            assert again.base_url == sandbox.base_url
