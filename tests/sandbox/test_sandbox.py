"""The local Postscript: the rest of its routes, its journal and controls, and its command."""

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
from asking import ANA, API, BEN, CAI, OLD, ask, listed, patch

from toolkit.sandbox import PROFILES, Sandbox
from toolkit.sandbox.__main__ import main
from toolkit.sandbox.admission import key_fingerprint
from toolkit.sandbox.people import generate_people
from toolkit.sandbox.records import load_subscribers


@pytest.fixture
def sandbox():
    with Sandbox([ANA, BEN, CAI], rate=10_000, page_size=2, max_in=3) as running:
        yield running


# The rest of the API


def test_me_names_the_shop(sandbox):
    """The connection test shows which shop a key belongs to."""
    assert ask(sandbox, "GET", f"{API}/me").json() == {
        "resource_id": "shop_sandbox",
        "resource_name": "Sandbox Shop",
        "resource_type": "shop",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/message_requests"),
        ("GET", "/message_requests/1"),
        ("GET", "/sent_messages/1"),
        ("POST", "/subscribers"),
    ],
)
def test_what_a_sync_must_never_do_is_refused_and_noted(sandbox, method, path):
    """Sending messages and creating people are 403, and the journal calls them violations."""
    answer = ask(sandbox, method, API + path, json={"phone_number": "+12025550177"})
    assert (answer.status_code, answer.json()["errors"][0]["type"]) == (403, "v2.access_denied")
    assert sandbox.journal[-1]["violation"] is True
    assert sorted(sandbox.subscribers) == ["s_ana", "s_ben", "s_cai"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("HEAD", "/me", "GET"),
        ("OPTIONS", "/subscribers", "GET, POST"),
        ("PUT", "/subscribers/s_ana", "GET, PATCH"),
        ("PATCH", "/subscribers", "GET, POST"),
        ("DELETE", "/subscribers/s_ana", "GET, PATCH"),
        ("GET", "/events", "POST"),
        ("GET", "/message_requests", "POST"),
    ],
)
def test_a_wrong_method_is_405(sandbox, method, path, allow):
    """The answer names the methods that would do."""
    answer = ask(sandbox, method, API + path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
    assert method == "HEAD" or answer.json()["error_code"] == 9405


@pytest.mark.parametrize("path", ["/", "/api", f"{API}/", f"{API}/subscribers/", f"{API}/me/", "/api/v1/me"])
def test_an_unknown_path_is_404(sandbox, path):
    """With an accepted key, a path that is not served is refused in JSON."""
    answer = ask(sandbox, "GET", path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, 9404)


BAD_BODIES = {
    "empty": b"",
    "torn": b'{"type": "A"',
    "not an object": b"[1]",
    "text": b'"A"',
    "not UTF-8": b'{"type": "\xff"}',
    "half a surrogate pair": b'{"type": "A", "email": "\\ud800"}',
    "NaN": b'{"type": "A", "properties": {"a": NaN}}',
    "infinite": b'{"type": "A", "properties": {"a": 1e999}}',
    "deep": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "rather deep": b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}",
    "a number too long to read": b'{"a": ' + b"9" * 5000 + b"}",
    "with a byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("raw", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_not_a_json_object_is_400(sandbox, raw):
    """Unreadable text, on every route that takes a body, is one and the same refusal."""
    for method, path in [
        ("POST", "/events"),
        ("PATCH", "/subscribers/s_ana"),
    ]:
        answer = ask(sandbox, method, API + path, data=raw)
        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (400, "value_error.jsondecode")


@pytest.mark.parametrize("seed", range(4))
def test_no_request_ever_gives_500(sandbox, seed):
    """Random values in random places are answered or refused, and the server goes on."""
    chance = random.Random(seed)
    values = [
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        "",
        "é",
        "\x00",
        "2025",
        [],
        [None],
        {},
        {"a": {}},
        "s_ana",
        ["a"],
    ]
    names = ["type", "properties", "tags", "email", "phone", "phone_number", "occurred_at", "subscriber_id"]
    names += ["external_id", "a"]
    paths = ["/events", "/subscribers/s_ana"]
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer sk_sandbox"
        for _ in range(40):
            body = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(4))}
            body |= {"type": "A"} if chance.random() < 0.5 else {}
            url = sandbox.base_url + API + chance.choice(paths)
            answer = session.request(chance.choice(["POST", "PATCH"]), url, json=body, timeout=10)
            assert answer.status_code < 500, body
            value = quote(str(chance.choice(values)))
            name = chance.choice(
                ["page", "sort", "ps_id__eq", "email__in", "created_at__gt", "phone_number__eq"]
            )
            answer = session.get(f"{sandbox.base_url}{API}/subscribers?{name}={value}", timeout=10)
            assert answer.status_code in {200, 400}
        assert session.get(sandbox.base_url + "/control/journal", timeout=10).status_code == 200


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
    with Sandbox([ANA], latency_seconds=0.2) as sandbox, ThreadPoolExecutor(1) as pool:
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


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"id": "n1"}\n\n{"id": "n2", "tags": null}\n', 201),
        (b'[{"id": "n1"}, {"id": "n2"}]', 201),
        (b"", 201),
        (b'{"id": "n1"}\n{"id": "s_ana"}', 409),
        (b'[{"id": "n1"}, {"id": "n1"}]', 409),
        (b'{"id": "n1"}\n{"id": ""}', 400),
        (b'{"id": "n1"}\n{', 400),
        (b"[1]", 400),
        (b"[", 400),
        (b"\xff", 400),
        (b'{"id": "n1", "phone_number": 5}', 400),
        (b'{"id": "n1", "created_at": "soon"}', 400),
    ],
)
def test_late_sign_ups_come_all_or_none(sandbox, body, status):
    """An id that is taken is 409, an unreadable record 400, and then no subscriber is added."""
    answer = requests.post(sandbox.base_url + "/control/subscribers", data=body, timeout=10)
    assert answer.status_code == status
    new = set(sandbox.subscribers) - {"s_ana", "s_ben", "s_cai"}
    assert new == ({"n1", "n2"} if status == 201 and body else set())


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


def test_reset_goes_back_to_the_seed(sandbox):
    """Changes, late sign-ups, redactions, custom events and the journal are gone."""
    seed = sandbox.subscribers
    patch(sandbox, {"tags": ["NEW"]})
    sandbox.add_subscribers([{"id": "s_late"}])
    sandbox.redact("s_ben")
    ask(sandbox, "POST", f"{API}/events", json={"type": "A"})
    assert requests.post(sandbox.base_url + "/control/reset", timeout=10).status_code == 200
    assert (sandbox.subscribers, sandbox.custom_events, sandbox.journal) == (seed, [], [])
    assert listed(sandbox) == ["s_cai", "s_ana"]


@pytest.mark.parametrize(("method", "name", "status"), [("GET", "none", 404), ("GET", "reset", 405)])
def test_other_control_requests_are_refused(sandbox, method, name, status):
    """A control route that is not there, and a wrong method."""
    assert requests.request(method, f"{sandbox.base_url}/control/{name}", timeout=10).status_code == status


# The command line and the thread


def run_command(*arguments, **options):
    command = [sys.executable, "-W", "error", "-m", "toolkit.sandbox", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
    )


def test_the_command_serves_until_a_signal(tmp_path):
    """It reports that it is ready, accepts every given key, prints none of them, and ends cleanly."""
    path = tmp_path / "people.ndjson"
    path.write_text(json.dumps(ANA) + "\n", encoding="utf-8")
    arguments = ["--port", "0", "--subscribers", str(path), "--latency-ms", "0", "--key", "sk_second"]
    with run_command(*arguments, env={**os.environ, "POSTSCRIPT_SECRET_KEY": "sk_mine"}) as process:
        ready = process.stdout.readline()
        url = ready.split()[3]
        statuses = [
            requests.get(f"{url}{API}/me", headers={"Authorization": f"Bearer {key}"}, timeout=10).status_code
            for key in ("sk_sandbox", "sk_second", "sk_mine", "sk_other")
        ]
        process.send_signal(signal.SIGTERM)
        rest, complaints = process.communicate(timeout=10)
    assert ready == f"Sandbox ready on {url} with 1 subscribers; key: sk_sandbox\n"
    assert url.startswith("http://127.0.0.1:")
    assert statuses == [200, 200, 200, 401]
    assert (process.returncode, rest, complaints) == (0, "", "")


def test_the_command_takes_a_profile_knobs_and_faults(tmp_path):
    """Knobs change the profile; a fault from a file hits."""
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": "status", "status": 502, "route": "GET /me"}]', encoding="utf-8")
    arguments = ["--port", "0", "--people", "3", "--profile", "hostile", "--latency-ms", "1", "--rate", "99"]
    arguments += ["--knob", "in_encoding=repeated", "--knob", "max_url_bytes=null", "--faults", str(path)]
    with run_command(*arguments) as process:
        url = process.stdout.readline().split()[3]
        knobs = requests.get(f"{url}/control/knobs", timeout=10).json()
        status = requests.get(f"{url}{API}/me", headers={"Authorization": "Bearer sk_sandbox"}, timeout=10)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    changes = {"rate": 99, "in_encoding": "repeated", "max_url_bytes": None, "latency_seconds": 0.001}
    assert knobs == {**asdict(PROFILES["hostile"]), **changes}
    assert status.status_code == 502


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
