"""The local Postscript against its own OpenAPI document, by generated requests over real HTTP."""

from __future__ import annotations

import itertools
import socket
from functools import cache

import pytest
import requests
import schemathesis
from asking import API
from hypothesis import HealthCheck, given, settings
from openapi import openapi_document
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from toolkit.sandbox import Sandbox
from toolkit.sandbox.routes import ROUTES

PEOPLE = [{"id": f"s_{n}", "phone_number": f"+1202555010{n}", "email": f"{n}@mail.test"} for n in range(5)]
KEY = {"Authorization": "Bearer sk_sandbox"}
OPERATIONS = [f"{method} {path}" for path, methods in ROUTES.items() for method in methods]

QUERIED = {"GET /api/v2/subscribers"}


@pytest.fixture(scope="module")
def sandbox():
    # Generated PATCHes pile up on five people; where a fifty-first property is refused, so would they be.
    with Sandbox(PEOPLE, rate=1_000_000, property_limit="drop") as running:
        yield running


def test_the_document_has_exactly_the_routes(sandbox):
    """No route is undocumented and none is made up; the control route serves the document."""
    served = requests.get(sandbox.base_url + "/control/openapi.json", timeout=10).json()
    documented = [f"{method.upper()} {path}" for path, each in served["paths"].items() for method in each]
    assert sorted(documented) == sorted(OPERATIONS)
    assert served == openapi_document(), "tests/sandbox/openapi.py writes it anew"


@cache
def document():
    return schemathesis.openapi.from_dict(openapi_document())


def conform(sandbox, operation, mode, examples):
    """Send generated requests to one operation and hold each answer to the document."""
    method, path = operation.split(" ")
    # In a query a list of one looks like a text, and what is not known is left alone outside of lists.
    excluded = [negative_data_rejection] if operation in QUERIED else []

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=document()[path][method].as_strategy(generation_mode=mode))
    def each(case):
        answer = case.call(base_url=sandbox.base_url, headers=KEY)
        case.validate_response(answer, excluded_checks=excluded)
        assert answer.status_code < 500

    each()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_good_requests_get_what_the_document_says(sandbox, operation):
    """Whatever fits the document is answered as it says, and nothing is a server error."""
    conform(sandbox, operation, GenerationMode.POSITIVE, 5)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bad_requests_are_refused_as_the_document_says(sandbox, operation):
    """Whatever does not fit is a documented refusal."""
    conform(sandbox, operation, GenerationMode.NEGATIVE, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.name
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_many_requests_conform(sandbox, operation, mode):
    """The long form: hundreds of requests an operation, fitting and not."""
    conform(sandbox, operation, mode, 200)


# What no client library would send

RAW = {
    "bytes in the path": b"GET /api/v2/subscribers/%ff%00\xff\xfe HTTP/1.1\r\n",
    "a path of dots": b"GET /../../api/v2/me HTTP/1.1\r\n",
    "no path": b"GET ? HTTP/1.1\r\n",
    "a whole address": b"GET http://elsewhere.test/api/v2/me HTTP/1.1\r\n",
    "a broken escape": b"GET /api/v2/subscribers/%zz?email__eq=%e9%zz HTTP/1.1\r\n",
    "bytes in the query": b"GET /api/v2/subscribers?\xff\xfe=\xff&email__in=%00 HTTP/1.1\r\n",
    "semicolons": b"GET /api/v2/subscribers?a;b=c;&&&==&? HTTP/1.1\r\n",
    "a long query": b"GET /api/v2/subscribers?email__eq=" + b"x" * 50_000 + b" HTTP/1.1\r\n",
    "ten thousand parameters": b"GET /api/v2/subscribers?" + b"a&" * 10_000 + b" HTTP/1.1\r\n",
    "an unknown method": b"BREW /api/v2/me HTTP/1.1\r\n",
    "another version": b"GET /api/v2/me HTTP/9.9\r\n",
    "a bad length": b"POST /api/v2/events HTTP/1.1\r\nContent-Length: -1\r\n",
    "two lengths": b"POST /api/v2/events HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
    "a header of bytes": b"GET /api/v2/me HTTP/1.1\r\nX-Odd: \xff\xfe\r\n",
}


@pytest.mark.parametrize("head", RAW.values(), ids=RAW)
def test_odd_bytes_are_answered_and_survived(sandbox, head):
    """Anything on the wire gets an answer below 500, and the next request is served."""
    port = int(sandbox.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(head + b"Host: sandbox\r\nAuthorization: Bearer sk_sandbox\r\nConnection: close\r\n\r\n")
        status = int(wire.makefile("rb").readline().split()[1])
    assert 200 <= status < 500
    assert requests.get(sandbox.base_url + f"{API}/me", headers=KEY, timeout=10).status_code == 200


BODIES = {
    "a text of a megabyte": b'{"type": "A", "properties": {"a": "' + b"x" * 1_000_000 + b'"}}',
    "ten thousand keys": b'{"type": "A", "properties": {'
    + b",".join(b'"%d": 1' % n for n in range(10_000))
    + b"}}",
    "a number of four thousand digits": b'{"type": "A", "properties": {"a": ' + b"9" * 4000 + b"}}",
    "ten thousand levels": b'{"type": "A", "properties": {"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
    "a key twice": b'{"type": "A", "type": "B"}',
    "NUL": b'{"type": "A", "properties": {"\\u0000": "\\u0000"}}',
    "half a pair as a key": b'{"type": "A", "properties": {"\\udfff": 1}}',
}


def test_huge_and_odd_bodies_are_answered_and_can_be_looked_at(sandbox):
    """Accepted or refused, and whatever was journalled or stored can be read back."""
    kinds = ["application/json", "text/plain", "\x01;;", ""]
    sent = [*((raw, kinds[0]) for raw in BODIES.values()), *((BODIES["a key twice"], kind) for kind in kinds)]
    routes = [("POST", f"{API}/events"), ("PATCH", f"{API}/subscribers/s_0")]
    for (raw, kind), (method, path) in itertools.product(sent, routes):
        url, headers = sandbox.base_url + path, {**KEY, "Content-Type": kind.encode()}
        answer = requests.request(method, url, data=raw, headers=headers, timeout=10)
        assert answer.status_code in {200, 202, 400}, (raw[:40], kind)
    for name in ("journal", "custom_events", "subscribers", "knobs", "faults"):
        assert requests.get(f"{sandbox.base_url}/control/{name}", timeout=10).status_code == 200


@pytest.mark.parametrize("route", ["PUT knobs", "PUT faults", "POST clock", "POST revoke"])
def test_control_routes_refuse_nonsense(sandbox, route):
    """400 with a sentence; nothing changes."""
    nonsense = [b"", b"\xff", b"[" * 10_000, b'{"a": 1e999}', b"null", b"[[]]", b'[{"kind": {}}]']
    nonsense += [b'{"advance": ' + b"9" * 400 + b"}", b'{"key": "\\ud800"}', b'{"key": 1}']
    nonsense += [b'{"latency_seconds": {"*": []}}']
    method, name = route.split()
    before = sandbox.knobs
    for raw in nonsense:
        answer = requests.request(method, f"{sandbox.base_url}/control/{name}", data=raw, timeout=10)
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), raw[:40]
    assert sandbox.knobs == before
