"""The client: paced, patient where repeating is safe, silent about its key."""

from __future__ import annotations

import gc
import gzip
import io
import itertools
import json
import math
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from toolkit.errors import (
    InvalidAuthenticationError,
    LostAnswerError,
    PostscriptError,
    RateLimitError,
    RejectedError,
    ServerError,
    SettingsError,
    UnreachableError,
)
from toolkit.postscript import api
from toolkit.postscript.client import MAX_ANSWER_BYTES, PostscriptClient, check_base_url, check_key
from toolkit.postscript.rate_limit import Pacer

KEY = "sk_test_4f9a_never_shown"
TOKEN = "sk_shop_77c1_never_shown"

READ = api.find_by_contact(["12025550143"])
WRITE = api.write_properties("s_1", {api.AUDIENCES_PROPERTY: ["vip"]})
EVENT = api.post_transition("s_1", entered=True, audience_key="vip", audience_id="aud_1", external_id="x1")


class FakeTime:
    """A clock that moves only when someone sleeps."""

    def __init__(self):
        self.now = 100.0
        self.naps = []
        self._lock = threading.Lock()

    def clock(self):
        return self.now

    def sleep(self, seconds):
        with self._lock:
            self.now += seconds
            self.naps.append(seconds)


# --- a server that misbehaves on demand -------------------------------------------------------------------


def answer(status=200, body='{"ok": true}', kind="application/json", **headers):
    """Answer as a server should."""

    def act(handler):
        content = body if isinstance(body, bytes) else body.encode()
        handler.send_response_only(status)  # no Date but the given one
        for name, value in {"Content_Type": kind, "Content_Length": len(content), **headers}.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        handler.wfile.write(content)

    return act


def reset(handler):
    """Break the connection off without an answer."""
    linger = struct.pack("ii", 1, 0)  # close with RST
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    for stream in (handler.rfile, handler.wfile, handler.connection):
        stream.close()


def hang(handler):
    """Do not answer before the test is over."""
    handler.server.over.wait(10)


def break_off(handler):
    """Answer 200 and stop in the middle of the body."""
    answer(200, '{"ok"', Content_Length=500)(handler)


def drip(part):
    """Answer as a server should, but each byte of one part long after the last."""

    def act(handler):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
        body = b'{"ok": true}'
        quick, slow = (b"", head + body) if part == "headers" else (head, body)
        handler.wfile.write(quick)
        for place in range(len(slow)):
            if handler.server.over.wait(0.06):
                return
            handler.wfile.write(slow[place : place + 1])

    act.__name__ = f"drip {part}"
    return act


def raw(text):
    """Answer these bytes and close the connection."""

    def act(handler):
        handler.wfile.write(text)

    return act


def silent(handler):
    """Close the connection in an orderly way, saying nothing."""


DRIPS = [drip("headers"), drip("body")]
SLOW = [hang, *DRIPS]


class Faulty:
    """An HTTP server on loopback that acts out a script, one act a request; the last act is repeated."""

    def __init__(self, *script):
        self.script = [*script]
        self.seen = []
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            def act(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                faulty.seen.append((self.command, self.path, dict(self.headers), body))
                step = faulty.script.pop(0) if len(faulty.script) > 1 else faulty.script[0]
                step(self)

            do_GET = do_PATCH = do_POST = do_CONNECT = act  # noqa: N815 - names of http.server

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass  # a client that gave up is what these tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.over = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def fake_time():
    return FakeTime()


def connect(url, fake_time, **options):
    """Return a client that waits for no one."""
    options = {"timeout_seconds": (5.0, 5.0), "clock": fake_time.clock, "sleep": fake_time.sleep, **options}
    return PostscriptClient(url, KEY, **options)


@pytest.fixture
def play(fake_time):
    """Return a function that sends one request against a script: (answer or error, requests seen)."""

    def run(request, *script):
        is_slow = any(act in SLOW for act in script)
        options = {"timeout_seconds": (5.0, 0.4)} if is_slow else {}
        with Faulty(*script) as server, connect(server.url, fake_time, **options) as client:
            try:
                outcome = client.send(request)
            except PostscriptError as error:
                outcome = error
            assert sum(client.calls.values()) == len(server.seen) == outcome.tries
            return outcome, server.seen

    return run


@pytest.fixture
def no_collection():
    """Keep finalizers from running, and failing for want of stack, in the depth of nested JSON."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# --- what is sent -----------------------------------------------------------------------------------------


def test_a_request_arrives_as_it_was_built(play):
    """Method, path, repeated query values, body and headers are those of the request value."""
    _, seen = play(api.find_by_contact(["12025550143", "12025550144"], page=2), answer())
    method, path, headers, body = seen[0]
    assert (method, body) == ("GET", b"")
    assert path == (
        "/api/v2/subscribers?phone_number__in=12025550143&phone_number__in=12025550144"
        "&sort=created_at__asc&page=2"
    )
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Accept"] == "application/json"
    assert "X-Postscript-Shop-Token" not in headers
    _, seen = play(EVENT, answer(202))
    assert seen[0][2]["Content-Type"] == "application/json"
    assert json.loads(seen[0][3]) == EVENT.body


def test_plus_and_at_survive_the_query(play):
    """A plus is sent as %2B: a bare one would be read as a space."""
    _, seen = play(api.find_by_contact(["a+b@mail.test"]), answer())
    assert "email__in=a%2Bb%40mail.test" in seen[0][1]


def test_a_partner_sends_both_keys(fake_time):
    """The partner's key goes into Authorization, the shop's into its own header."""
    with Faulty(answer()) as server, connect(server.url, fake_time, shop_token=TOKEN) as client:
        client.send(READ)
        assert server.seen[0][2]["Authorization"] == f"Bearer {KEY}"
        assert server.seen[0][2]["X-Postscript-Shop-Token"] == TOKEN


def test_not_a_number_is_never_sent(fake_time):
    """NaN is not JSON, and is refused before anything leaves."""
    with Faulty(answer()) as server, connect(server.url, fake_time) as client:
        request = api.Request(method="PATCH", path="/api/v2/subscribers/s_1", body={"a": math.nan})
        with pytest.raises(ValueError, match="JSON"):
            client.send(request)
        assert not server.seen


# --- pace -------------------------------------------------------------------------------------------------


def test_starts_are_evenly_spaced(fake_time):
    """Forty turns of eight threads are exactly one interval apart, in whatever order they come."""
    pacer, starts = Pacer(10, clock=fake_time.clock, sleep=fake_time.sleep), []

    def take(_):
        pacer.wait()
        starts.append(None)

    with ThreadPoolExecutor(8) as pool:
        [*pool.map(take, range(40))]
    assert len(starts) == 40
    # The first turn is free, each later one costs an interval.
    assert fake_time.now == pytest.approx(100 + 39 * 0.1)
    assert max(fake_time.naps) == pytest.approx(0.1)
    assert len(fake_time.naps) == 39


def test_idle_time_is_not_saved_up(fake_time):
    """After a long silence there is no burst: the second request waits as ever."""
    pacer = Pacer(10, clock=fake_time.clock, sleep=fake_time.sleep)
    pacer.wait()
    fake_time.now += 60
    starts = []
    for _ in range(3):
        pacer.wait()
        starts.append(fake_time.now)
    assert starts == pytest.approx([160, 160.1, 160.2])


def test_a_sleep_that_ends_early_is_continued(fake_time):
    """A turn is never taken early, however short the system sleeps."""
    pacer = Pacer(10, clock=fake_time.clock, sleep=lambda seconds: fake_time.sleep(min(seconds, 0.03)))
    pacer.wait()
    pacer.wait()
    assert fake_time.now == pytest.approx(100.1)
    assert len(fake_time.naps) == 4


def test_a_pause_holds_those_who_already_wait(fake_time):
    """Who waits for a turn when the pause comes waits for its end, and spacing goes on after it."""
    asleep, awake, starts = threading.Semaphore(0), threading.Event(), []

    def sleep(seconds):
        asleep.release()
        assert awake.wait(10)
        fake_time.sleep(seconds)

    pacer = Pacer(10, clock=fake_time.clock, sleep=sleep)
    pacer.wait()

    def take():
        pacer.wait()
        starts.append(fake_time.now)

    waiting = threading.Thread(target=take)
    waiting.start()
    assert asleep.acquire(timeout=10)
    pacer.pause(5)
    awake.set()
    waiting.join()
    take()
    assert starts == pytest.approx([105, 105.1])


# --- trouble, and what is repeated ------------------------------------------------------------------------


def named(trouble):
    return trouble.__name__ if callable(trouble) else str(trouble)


TRANSIENT = [408, 423, 429, 500, 502, 503, 504]
FINAL = [400, 404, 405, 409, 413, 422, 501]


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["GET", "PATCH"])
@pytest.mark.parametrize("trouble", [*TRANSIENT, reset, silent, hang, break_off, *DRIPS], ids=named)
def test_what_is_repeatable_is_repeated(play, request_, trouble):
    """A read or write that met passing trouble is sent again, and its answer counts the tries."""
    fault = answer(trouble, "{}") if isinstance(trouble, int) else trouble
    outcome, seen = play(request_, fault, fault, answer())
    assert isinstance(outcome, api.Answer)
    assert outcome.json == {"ok": True}
    assert outcome.tries == 3
    assert seen[0][1] == seen[2][1]
    assert seen[0][3] == seen[2][3]


@pytest.mark.parametrize("request_", [READ, WRITE, EVENT], ids=["GET", "PATCH", "POST"])
@pytest.mark.parametrize("status_code", FINAL)
def test_a_refusal_is_final(play, request_, status_code):
    """What trying again cannot change is asked once."""
    outcome, _ = play(request_, answer(status_code, '{"error_code": 9400, "error_message": "No."}'))
    assert type(outcome) is RejectedError
    assert (outcome.status_code, outcome.error_code, outcome.tries) == (status_code, 9400, 1)
    assert str(outcome) == f"{request_.route} answered {status_code}: No."


@pytest.mark.parametrize("request_", [READ, WRITE, EVENT], ids=["GET", "PATCH", "POST"])
@pytest.mark.parametrize("status_code", [401, 403])
def test_a_refused_key_is_final(play, request_, status_code):
    """A key that is not accepted is not tried again, and the sentence says what to check."""
    outcome, _ = play(request_, answer(status_code, "Missing Authorization header", "text/plain"))
    assert type(outcome) is InvalidAuthenticationError
    assert (outcome.status_code, outcome.tries) == (status_code, 1)
    assert "POSTSCRIPT_SECRET_KEY" in str(outcome)


@pytest.mark.parametrize(
    "trouble", [408, 500, 502, 503, 504, reset, silent, hang, break_off, *DRIPS], ids=named
)
def test_an_event_is_never_sent_twice(play, trouble):
    """A custom event that may have been taken is not repeated: a second one could be a second text."""
    fault = answer(trouble, "{}") if isinstance(trouble, int) else trouble
    outcome, seen = play(EVENT, fault, answer(202))
    assert type(outcome) is LostAnswerError
    assert outcome.status_code == (trouble if isinstance(trouble, int) else None)
    assert outcome.tries == len(seen) == 1
    assert "may or may not" in str(outcome)


@pytest.mark.parametrize("status_code", [423, 429])
def test_an_event_refused_unread_is_repeated(play, status_code):
    """Over the limit an event was not taken, so that it may be sent again."""
    outcome, _ = play(EVENT, answer(status_code, "{}"), answer(status_code, "{}"), answer(202))
    assert (outcome.status_code, outcome.tries) == (202, 3)


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("request_", [READ, WRITE, EVENT], ids=["GET", "PATCH", "POST"])
def test_no_server_listens(fake_time, request_):
    """Without a connection nothing left, so even an event is tried again, and stays due."""
    with connect(f"http://127.0.0.1:{closed_port()}", fake_time) as client:
        with pytest.raises(UnreachableError, match="does not answer") as caught:
            client.send(request_)
        assert caught.value.tries == READ.max_tries
        assert client.calls == {request_.route: request_.max_tries}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (answer(429, '{"error_code": 3002, "error_message": "Rate limit exceeded"}'), RateLimitError),
        (answer(503, "{}"), ServerError),
        (reset, UnreachableError),
    ],
    ids=["429", "503", "reset"],
)
def test_patience_ends(play, fake_time, error, fault):
    """After the last try the error is the one that was met, with the number of tries."""
    outcome, seen = play(READ, fault)
    assert type(outcome) is error
    assert outcome.tries == len(seen) == READ.max_tries
    # Waits grow, each at most double the one before, none above thirty seconds.
    assert fake_time.now - 100 < sum(0.5 * 2**n for n in range(8)) + 8


def test_different_requests_count_their_own_tries(play, fake_time):
    """Tries belong to one request; calls are the sum, by route."""
    script = (answer(500), answer(), answer(), answer(429), answer(202))
    with Faulty(*script) as server, connect(server.url, fake_time) as client:
        assert [client.send(r).tries for r in (READ, WRITE, EVENT)] == [2, 1, 2]
        assert client.calls == {"GET /subscribers": 2, "PATCH /subscribers/{id}": 1, "POST /events": 2}


@pytest.mark.parametrize(("status_code", "are_paused"), [(429, True), (503, False)])
def test_429_pauses_every_thread(fake_time, monkeypatch, status_code, are_paused):
    """While one thread backs off from a 429, no other thread sends; from other answers it backs off alone."""
    monkeypatch.setattr("random.uniform", lambda least, most: most)  # longer than a turn takes
    backed_off, other_sent = [], []
    with Faulty(answer(status_code), answer()) as server, connect(server.url, fake_time) as client:

        def sleep(seconds):
            if not backed_off:  # the first nap is the back-off: the other thread comes in its midst
                backed_off.append(fake_time.now + seconds)
                other = threading.Thread(
                    target=lambda: (client.send(WRITE), other_sent.append(fake_time.now))
                )
                other.start()
                other.join()
            else:
                fake_time.sleep(seconds)

        client._sleep = sleep
        client.send(READ)
    assert (other_sent[0] >= backed_off[0]) is are_paused


def test_retry_after_is_honoured(fake_time):
    """A server that says how long to wait is given that long; a foolish number is cut."""

    def date(**ahead):
        return format_datetime(datetime.now(UTC) + timedelta(**ahead), usegmt=True)

    for asked, waited in [
        ("7", 7),
        ("86400", 60),
        ("9" * 5000, 0),
        ("soon", 0),
        ("-5", 0),
        (date(seconds=20), 20),
        (date(hours=-1), 0),
        (date(days=1), 60),
        ("Wed, 99 Mar 2026 05:06:16", 0),
    ]:
        begun = fake_time.now
        script = (answer(429, "{}", Retry_After=asked), answer())
        with Faulty(*script) as server, connect(server.url, fake_time) as client:
            client.send(READ)
        assert waited / 2 <= fake_time.now - begun <= waited + 1


# --- answers that are not what they should be -------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        answer(200, "<html>Sign in</html>", "text/html"),
        answer(200, '{"subscribers": [', "application/json"),
        answer(200, '{"subscribers": []}', "text/html"),
        answer(200, "", "application/json"),
        answer(200, b"\xff\xfe", "application/json"),
        answer(200, "[" * 200_000, "application/json"),
        answer(204, "", ""),
    ],
    ids=["html", "torn json", "wrong kind", "empty", "not text", "deep", "no content"],
)
@pytest.mark.usefixtures("no_collection")
def test_a_read_without_json_is_not_an_empty_list(play, act):
    """A proxy's page must never pass for an empty list; it is tried again, as it may pass."""
    outcome, _ = play(READ, act)
    assert type(outcome) is ServerError
    assert outcome.tries == READ.max_tries
    assert "not JSON" in str(outcome)
    outcome, _ = play(READ, act, answer(200, '{"subscribers": []}'))
    assert outcome.json == {"subscribers": []}


@pytest.mark.parametrize("request_", [WRITE, EVENT], ids=["PATCH", "POST"])
@pytest.mark.parametrize("kind", ["", "application/json", "text/plain"])
def test_an_empty_answer_to_a_write_is_fine(play, request_, kind):
    """Segment's own tests answer writes with nothing, so nothing is an answer."""
    outcome, _ = play(request_, answer(200, "", kind))
    assert (outcome.json, outcome.status_code, outcome.tries) == (None, 200, 1)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "application/problem+json"]
)
def test_json_is_read_as_utf8(play, kind):
    """Names with accents arrive whole, whatever the header says of the encoding."""
    outcome, _ = play(api.ask_shop(), answer(200, '{"resource_name": "Änne’s"}', kind))
    assert outcome.json == {"resource_name": "Änne’s"}


@pytest.mark.parametrize(
    "body",
    ["", "<html>down</html>", '{"errors": 3}', "[]", "\x00", '{"error_message": {"a": 1}}', "[" * 100_000],
)
@pytest.mark.usefixtures("no_collection")
def test_any_error_body_leads_to_the_same_error(play, body):
    """The body of an error never changes what kind of error it is."""
    outcome, _ = play(READ, answer(404, body))
    assert type(outcome) is RejectedError
    assert len(str(outcome)) < 300


BODIES = {
    "json": ('{"error_message": "No."}', "application/json"),
    "html": ("<html><head><title>Oh</title></head><body>Bad  <b>gate</b></body></html>", "text/html"),
    "html as json": ("<h1>Oh</h1>", "application/json"),
    "none": ("", ""),
}
REFUSED_ANYHOW = [300, 301, 302, 303, 307, 308, 400, 404, 405, 409, 410, 413, 414, 422, 431, 451, 501]


@pytest.mark.parametrize(
    "status_code", [*REFUSED_ANYHOW, 401, 403, 408, 423, 429, 500, 502, 503, 504, 520, 599]
)
@pytest.mark.parametrize("form", BODIES)
def test_what_each_refusal_leads_to(play, status_code, form):
    """The status code decides the error; the body the words, and whether an event may be sent again."""
    expected = RejectedError
    if status_code in {401, 403}:
        expected = InvalidAuthenticationError
    elif status_code == 429:
        expected = RateLimitError
    elif status_code not in REFUSED_ANYHOW:
        expected = ServerError
    is_passing = expected in {RateLimitError, ServerError}
    body, kind = BODIES[form]
    for request in (READ, WRITE, EVENT):
        is_lost = request is EVENT and expected is ServerError and status_code != 423
        # Only Postscript's own word, which is JSON, shows that an event was not taken.
        is_repeated = is_passing and not is_lost and (request is not EVENT or form == "json")
        outcome, seen = play(request, answer(status_code, body, kind))
        assert type(outcome) is (LostAnswerError if is_lost else expected)
        assert (outcome.status_code, len(seen)) == (status_code, request.max_tries if is_repeated else 1)
        assert outcome.from_postscript is (form == "json")
        sentence = str(outcome)
        assert sentence.startswith(f"{request.route} answered {status_code}")
        assert not {*"<>\n"} & {*sentence}
        assert sentence.endswith(".")
        assert ("No." in sentence, "gate" in sentence) == (form == "json", form == "html")
        assert "POSTSCRIPT_BASE_URL" in sentence or is_passing or form == "json" or status_code in {401, 403}


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CUT = {
    "in the status line": b"HTTP/1.1 2",
    "in the headers": HEAD,
    "in the length": HEAD + b"Content-Length: 12\r\n\r\n",
    "in a body with a length": HEAD + b'Content-Length: 14\r\n\r\n{"ok": true}',
    "in a chunk": HEAD + b'Transfer-Encoding: chunked\r\n\r\ne\r\n{"ok": true}',
    "after the first chunk": HEAD + b'Transfer-Encoding: chunked\r\n\r\nc\r\n{"ok": true}\r\n',
    "before the first chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    "in a body without a length": HEAD + b'\r\n{"ok": tr',
    "after the headers": HEAD + b"\r\n",
    "in a packed body": HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b'{"ok": true}')[:12],
}


@pytest.mark.parametrize("text", CUT.values(), ids=CUT)
@pytest.mark.parametrize("request_", [READ, WRITE, EVENT], ids=["GET", "PATCH", "POST"])
def test_half_an_answer_is_none(play, request_, text):
    """An answer that breaks off anywhere is sent for again, and is the lost answer of a custom event."""
    outcome, seen = play(request_, raw(text), answer())
    if request_ is EVENT:
        assert type(outcome) is LostAnswerError
        assert len(seen) == 1
    else:
        assert (outcome.json, outcome.tries) == ({"ok": True}, 2)


@pytest.mark.parametrize(
    ("request_", "status_code", "is_packed", "error"),
    [
        (READ, 200, False, RejectedError),
        (READ, 200, True, RejectedError),
        (EVENT, 200, False, LostAnswerError),
        (READ, 409, True, RejectedError),
    ],
)
def test_an_answer_has_a_bound(play, request_, status_code, is_packed, error):
    """More than any page of subscribers is read no further, and not asked for again; a refusal is cut."""
    text = b'"' + b"x" * MAX_ANSWER_BYTES + b'"'
    body, headers = (gzip.compress(text, 1), {"Content_Encoding": "gzip"}) if is_packed else (text, {})
    outcome, seen = play(request_, answer(status_code, body, **headers))
    assert (type(outcome), len(seen)) == (error, 1)
    assert outcome.status_code == (409 if status_code == 409 else None)
    assert ("16 MB" in str(outcome)) is (request_ is READ and status_code == 200)


def test_a_refusal_that_breaks_off_is_still_one(play):
    """Its status code came, so it is neither sent again nor a lost answer."""
    for request in (READ, WRITE, EVENT):
        outcome, seen = play(request, answer(422, '{"error', Content_Length=500))
        assert (type(outcome), outcome.status_code, len(seen)) == (RejectedError, 422, 1)


# --- the key stays here -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status_code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("request_", [READ, WRITE, EVENT], ids=["GET", "PATCH", "POST"])
def test_redirects_are_not_followed(fake_time, request_, status_code):
    """A redirect is a refusal; the place it names hears nothing, least of all the key."""
    with Faulty(answer()) as other:
        to = f"{other.url}/api/v2/me"
        with Faulty(answer(status_code, "", Location=to)) as server, connect(server.url, fake_time) as client:
            with pytest.raises(RejectedError) as caught:
                client.send(request_)
            assert caught.value.status_code == status_code
            assert len(server.seen) == 1
        assert not other.seen


def test_the_environment_cannot_turn_requests_aside(tmp_path, monkeypatch, fake_time):
    """On this machine itself neither a proxy nor a .netrc entry of the environment is used."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password stolen\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Faulty(answer(200, "[]")) as proxy, Faulty(answer()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with connect(server.url, fake_time) as client:
            client.send(READ)
        assert not proxy.seen
        assert server.seen[0][2]["Authorization"] == f"Bearer {KEY}"


def test_netrc_does_not_replace_the_key_elsewhere(tmp_path, monkeypatch, fake_time):
    """Also on the real host, a .netrc entry for it does not take the key's place."""
    (tmp_path / ".netrc").write_text("machine api.shop.test login other password stolen\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    sent = []

    def send(_adapter, request, **_options):
        sent.append(request)
        found = requests.Response()
        found.status_code, found.url, found.raw, found.request = 200, request.url, io.BytesIO(b"{}"), request
        found.headers["Content-Type"] = "application/json"
        return found

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    with connect("https://api.shop.test", fake_time) as client:
        client.send(READ)
    assert sent[0].headers["Authorization"] == f"Bearer {KEY}"
    assert sent[0].url.startswith("https://api.shop.test/api/v2/subscribers?")


@pytest.mark.parametrize(
    "echo",
    [
        answer(400, f'{{"error_message": "Bearer {KEY} and {TOKEN}"}}'),
        answer(401, f"unknown key {KEY} {TOKEN}", "text/plain"),
        answer(500, f"<pre>Authorization: Bearer {KEY} {TOKEN}</pre>", "text/html"),
        answer(429, f'{{"error": "{KEY} {TOKEN}"}}'),
        answer(302, f"{KEY} {TOKEN}", Location=f"/?key={KEY}{TOKEN}"),
        answer(200, f"{KEY} {TOKEN}", "text/html"),
        reset,
        hang,
    ],
    ids=["400", "401", "500", "429", "302", "html", "reset", "hang"],
)
@pytest.mark.parametrize("request_", [READ, EVENT], ids=["GET", "POST"])
def test_no_error_shows_a_key(fake_time, request_, echo):
    """Whatever a server echoes, neither key is in an error, its facts or its causes."""
    with (
        Faulty(echo) as server,
        connect(server.url, fake_time, shop_token=TOKEN, timeout_seconds=(1, 0.05)) as client,
    ):
        try:
            shown = repr(client.send(request_))
        except PostscriptError as error:
            shown = f"{error} {error!r} {vars(error)} {error.__cause__!r}"
    assert KEY not in shown
    assert TOKEN not in shown


def test_no_answer_shows_a_key(play, fake_time):
    """A successful answer that echoes the keys comes without them."""
    outcome, _ = play(READ, answer(200, json.dumps({"you": KEY})))
    assert KEY not in repr(outcome)


def test_nothing_about_the_client_shows_a_key(fake_time):
    """Printing the client, its settings or its calls gives nothing away."""
    with connect("https://api.shop.test", fake_time, shop_token=TOKEN) as client:
        shown = f"{client!r} {client} {client.calls}"
    assert KEY not in shown
    assert TOKEN not in shown


@pytest.mark.parametrize(
    "url",
    [
        "http://api.postscript.io",
        "http://127.0.0.1.evil.test",
        "http://localhost.evil.test",
        "http://10.0.0.1:8015",
        "http://0.0.0.0:8015",
        "ftp://127.0.0.1",
        "127.0.0.1:8015",
        "api.postscript.io",
        "https://",
        "",
        "https://user:pw@api.postscript.io",
        "https://:pw@api.postscript.io",
        "https://api.postscript.io?x=1",
        "https://api.postscript.io#x",
        "http://[::1",
        "https://api.postscript.io:port",
        "https://api.postscript.io:99999",
    ],
)
def test_an_address_where_the_key_would_not_be_safe(url):
    """Such an address is refused when the client is made, before the key could leave."""
    with pytest.raises(SettingsError, match="POSTSCRIPT_BASE_URL") as caught:
        PostscriptClient(url, KEY)
    assert "pw" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.postscript.io", "https://api.postscript.io"),
        (" https://api.postscript.io/ ", "https://api.postscript.io"),
        ("http://127.0.0.1:8015/", "http://127.0.0.1:8015"),
        ("http://localhost:8015", "http://localhost:8015"),
        ("http://[::1]:8015", "http://[::1]:8015"),
        ("HTTP://LOCALHOST", "HTTP://LOCALHOST"),
    ],
)
def test_an_address_that_may_be_used(url, expected):
    """Https anywhere, plain http on this machine only."""
    assert check_base_url(url) == expected


@pytest.mark.parametrize("key", ["", "  ", "sk a", "sk_\n1", "sk_é", "sk_\x00", "sk\t1"])
def test_a_key_that_cannot_be_one(key):
    """A key with characters that no header carries is refused without being quoted."""
    with pytest.raises(SettingsError, match="Copy it again") as caught:
        PostscriptClient("https://api.shop.test", key)
    assert not key.strip() or key not in str(caught.value)
    with pytest.raises(SettingsError):
        PostscriptClient("https://api.shop.test", KEY, shop_token=key or " ")


def test_space_around_a_key_is_dropped():
    """A newline that came along when the key was copied does no harm."""
    assert check_key(f" {KEY}\n") == KEY


@pytest.mark.parametrize(("overslept", "gaps"), [(0.0, [0.1, 0.1, 0.1]), (0.05, [0.15, 0.25, 0.25])])
def test_after_a_late_wake_one_turn_is_left_out(overslept, gaps):
    """A busy machine delays what was just sent, too: two requests must not arrive for one turn."""
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds + overslept

    pacer, begun = Pacer(10, clock=lambda: now, sleep=sleep), []
    for _ in range(4):
        pacer.wait()
        begun.append(now)
    assert [b - a for a, b in itertools.pairwise(begun)] == pytest.approx(gaps)


def test_a_page_is_no_answer_to_a_write(play):
    """A proxy's page with 200 is not "done": a write is tried again, an event's fate is unknown."""
    page = answer(200, "<html>Sign in</html>", "text/html")
    outcome, seen = play(WRITE, page)
    assert type(outcome) is ServerError
    assert len(seen) == WRITE.max_tries
    outcome, seen = play(EVENT, page)
    assert type(outcome) is LostAnswerError
    assert len(seen) == 1
    outcome, _ = play(WRITE, answer(200, "", "text/plain"))
    assert outcome.json is None


def test_what_is_noted_on_leaving_is_noted_once_and_at_its_turn(fake_time):
    """The note is taken after the wait for the turn, and not again when the request is repeated."""
    begun = []
    with Faulty(answer(), answer(429, "{}"), answer()) as server, connect(server.url, fake_time) as client:
        client.send(READ)
        client.send(EVENT, on_leaving=lambda: begun.append(fake_time.now))
        assert [method for method, *_ in server.seen] == ["GET", "POST", "POST"]
    assert begun == pytest.approx([100 + 1 / 14])


def test_requests_whose_notes_end_together_do_not_leave_together(fake_time):
    """A disk that stood still lets many notes end at once; a second passes before the sixteenth leaves."""
    together = threading.Barrier(20)
    ended = []

    def note():
        together.wait(10)
        ended.append(fake_time.now)

    with Faulty(answer()) as server, connect(server.url, fake_time) as client, ThreadPoolExecutor(20) as pool:
        for _ in pool.map(lambda _: client.send(EVENT, on_leaving=note), range(20)):
            pass
        assert len(server.seen) == 20
    assert fake_time.now >= ended[0] + 1
