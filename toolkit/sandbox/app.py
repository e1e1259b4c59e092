"""The ASGI application: the door, the limit, the faults, the journal and the delay around the routes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .admission import Admission, admit, key_fingerprint
from .control import PREFIX, control, problem
from .faults import Fault
from .knobs import draw_latency
from .outcome import CallOutcome, carry_out
from .routes import Call, decoded_query, subscriber_named
from .state import SandboxState
from .wire import Reply, parse_body

_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?", re.IGNORECASE)
_FORM_KINDS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


class App:
    """Answers HTTP requests from the state of a sandbox.

    Nothing is awaited between reading the state and changing it, so every request acts alone;
    the state's lock keeps out the threads that look at it from outside.
    """

    def __init__(self, state: SandboxState, *, cut: Callable[[Any], None]) -> None:
        """Take the state, and a function that resets a client's connection."""
        self._state = state
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        reply: Reply | Response | None = refusal(request)
        if reply is None:
            try:
                body = await request.body()
            except ClientDisconnect:
                return
            call = self._received(request, body)
            if call.path.startswith(PREFIX):
                reply = control(self._state, call)
            else:
                reply = await self._api(call, request.headers, receive)
        if reply is None:
            self._cut(scope["client"])
            await _gone(receive)
        else:
            await as_response(reply)(scope, receive, send)

    def _received(self, request: Request, body: bytes) -> Call:
        path: bytes = request.scope["raw_path"]
        query: bytes = request.scope["query_string"]
        return Call(
            method=request.method,
            path=path.decode("latin-1"),
            query=decoded_query(query),
            body=body,
            url_bytes=len(path) + len(query) + bool(query),
            knobs=self._state.knobs,
        )

    async def _api(self, call: Call, headers: Headers, receive: Receive) -> Reply | None:
        """Return the answer, or None when the connection is to be cut instead."""
        state = self._state
        with state.lock:
            admission = admit(state.keyring, state.limiter, headers, call.knobs)
            faults = () if admission.refusal else self._faults(call)
            record = _opened_record(call, headers, admission, faults)
            state.records.append(record)
            latency = draw_latency(call.knobs.latency_seconds, call.route_name, state.chance)
        await asyncio.sleep(latency)
        with state.lock:
            outcome = self._outcome(call, admission, faults, headers.get("authorization", ""))
            record["delay_ms"] = (latency + outcome.wait_seconds) * 1000
            record["violation"] = outcome.reply is not None and outcome.reply.violation
            record["applied"] = outcome.applied
        if outcome.wait_seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(_gone(receive), outcome.wait_seconds)
        with state.lock:
            record["status"] = outcome.reply and outcome.reply.status
        return outcome.reply

    def _outcome(self, call: Call, admission: Admission, faults: Sequence[Fault], key: str) -> CallOutcome:
        if admission.refusal:
            return CallOutcome(reply=admission.refusal)
        return carry_out(self._state, call, faults, key=key, has_shop=admission.has_shop)

    def _faults(self, call: Call) -> tuple[Fault, ...]:
        named = subscriber_named(self._state.shop, call)
        return self._state.plan.hitting(call.route_name, self._state.since_start(), named)


def _opened_record(
    call: Call, headers: Headers, admission: Admission, faults: Sequence[Fault]
) -> dict[str, Any]:
    return {
        "at": admission.at,
        "key_fingerprint": key_fingerprint(headers.get("authorization")),
        "method": call.method,
        "path": call.path,
        "query": [list(pair) for pair in call.query],
        "body": _journalled_body(call),
        "status": None,
        "delay_ms": None,
        "limiter": admission.in_window,
        "violation": False,
        "fault": "+".join(fault.name or fault.kind for fault in faults) or None,
        "applied": False,
    }


def refusal(request: Request) -> Reply | None:
    """Return the refusal of a request that a web page could have a browser make; None for any other."""
    if not _OWN_HOST.fullmatch(request.headers.get("host", "")):
        return problem(421, "The sandbox answers as 127.0.0.1 or localhost only.")
    if not request.url.path.startswith(PREFIX):
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "origin" in request.headers or kind in _FORM_KINDS:
        return problem(403, "A control route takes no request of a web page, nor what a form sends.")
    return None


def _journalled_body(call: Call) -> Any:
    """Return the body of a write, as JSON; None for a read, or when it is not JSON."""
    if call.method in {"GET", "HEAD", "OPTIONS"}:
        return None
    try:
        return parse_body(call.body)
    except ValueError:
        return None


def as_response(reply: Reply | Response) -> Response:
    """Turn a reply into bytes and headers."""
    if isinstance(reply, Response):
        return reply
    whole = Response(reply.body, reply.status, dict(reply.headers), reply.media_type or None)
    if not reply.drip_seconds:
        return whole
    return StreamingResponse(_dripping(bytes(whole.body), reply.drip_seconds), reply.status, whole.headers)


async def _dripping(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    for place in range(len(body)):
        await asyncio.sleep(seconds / len(body))
        yield body[place : place + 1]


async def _gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
