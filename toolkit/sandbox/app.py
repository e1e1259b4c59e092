"""The ASGI application: the door, the limit, the faults, the journal and the delay around the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from . import control
from .access import Caller, key_fingerprint
from .calls import Call
from .faults import Fault
from .knobs import Knobs
from .latency import draw_latency
from .mishaps import Ending, carried_out
from .replies import RefusedError, Reply, too_many_requests
from .routes import route_name, subscriber_named
from .state import State
from .strict_json import dump_json, parse_json


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A request that was let in or refused, before it acts."""

    caller: Caller | Reply
    """A reply when the request is refused."""
    key: str
    """Authorization header, as a fault may revoke the key in it."""
    record: dict[str, Any]
    """Of the journal, still open."""
    latency_seconds: float
    faults: Sequence[Fault]


class App:
    """Answers HTTP requests from the state of a sandbox.

    Nothing is awaited between reading the state and changing it, so every request acts alone;
    the state's lock keeps out the threads that look at it from outside.
    """

    def __init__(self, state: State, *, cut: Callable[[Any], None]) -> None:
        """Take the state, and a function that resets a client's connection."""
        self._state = state
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        if problem := control.refused(request):
            await as_response(problem)(scope, receive, send)
            return
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        with self._state.lock:
            call = received_call(request, body, self._state.knobs)
        if call.path.startswith(control.PREFIX):
            with self._state.lock:
                reply = control.control(self._state, call)
        else:
            ending = await self._api(call, request.headers, receive)
            if ending is None:
                self._cut(scope["client"])
                await _gone(receive)
                return
            reply = ending
        await as_response(reply)(scope, receive, send)

    async def _api(self, call: Call, headers: Headers, receive: Receive) -> Reply | None:
        """Return the answer, or None when the connection is to be cut instead."""
        admitted = self._admit(call, headers)
        await asyncio.sleep(admitted.latency_seconds)
        with self._state.lock:
            ending = self._end(call, admitted)
            self._state.journal.close(
                admitted.record,
                delay_ms=(admitted.latency_seconds + ending.wait_seconds) * 1000,
                violation=ending.reply is not None and ending.reply.violation,
                fault="+".join(fault.name or fault.kind for fault in admitted.faults) or None,
                applied=ending.applied,
            )
        if ending.wait_seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(_gone(receive), ending.wait_seconds)
        with self._state.lock:
            self._state.journal.answered(
                admitted.record, None if ending.reply is None else ending.reply.status
            )
        return ending.reply

    def _admit(self, call: Call, headers: Headers) -> Admitted:
        """Let the caller in or decide the refusal, and open the journal's record at that moment."""
        authorization = headers.get("authorization")
        state = self._state
        with state.lock:
            caller, at, in_window = self._judge(call, authorization, headers.get("x-postscript-shop-token"))
            route = route_name(call)
            record = state.journal.open(
                at=at,
                key_fingerprint=key_fingerprint(authorization),
                method=call.method,
                path=call.path,
                query=[list(pair) for pair in call.query],
                body=journalled_body(call),
                limiter=in_window,
            )
            return Admitted(
                caller=caller,
                key=authorization or "",
                record=record,
                latency_seconds=draw_latency(call.knobs.latency_seconds, route, state.chance),
                faults=self._faults(call, route) if isinstance(caller, Caller) else (),
            )

    def _faults(self, call: Call, route: str) -> Sequence[Fault]:
        state = self._state
        return state.faults.hitting(route, state.since_start(), subscriber_named(state.shop, call))

    def _judge(
        self, call: Call, authorization: str | None, shop_token: str | None
    ) -> tuple[Caller | Reply, float, int | None]:
        knobs, limiter = call.knobs, self._state.limiter
        try:
            caller = self._state.keyring.identify(authorization, shop_token, wrong_key=knobs.wrong_key)
        except RefusedError as refusal:
            return refusal.reply, limiter.now(), None
        admission = limiter.admit(caller.budget, knobs)
        if admission.accepted:
            return caller, admission.at, admission.in_window
        return too_many_requests(knobs.retry_after_seconds), admission.at, admission.in_window

    def _end(self, call: Call, admitted: Admitted) -> Ending:
        if isinstance(admitted.caller, Reply):
            return Ending(reply=admitted.caller, applied=False)
        return carried_out(
            self._state, call, admitted.faults, authorization=admitted.key, has_shop=admitted.caller.has_shop
        )


def received_call(request: Request, body: bytes, knobs: Knobs) -> Call:
    """Put a request into the form the routes read."""
    raw_path: bytes = request.scope["raw_path"]
    raw_query: bytes = request.scope["query_string"]
    return Call(
        method=request.method,
        path=raw_path.decode("latin-1"),
        query=decoded_query(raw_query),
        body=body,
        url_bytes=len(raw_path) + len(raw_query) + bool(raw_query),
        knobs=knobs,
    )


def decoded_query(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Decode a query string as a form: a plus that was not escaped is a space.

    >>> decoded_query(b"phone_number__eq=+12025550143")
    (('phone_number__eq', ' 12025550143'),)
    """
    return tuple(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, errors="replace"))


def journalled_body(call: Call) -> Any:
    """Return what a write sent, as JSON; None for a read, or when it is not JSON."""
    if call.method in {"GET", "HEAD", "OPTIONS"}:
        return None
    try:
        return parse_json(call.body)
    except ValueError:
        return None


def as_response(reply: Reply | Response) -> Response:
    """Turn a reply into bytes and headers."""
    if isinstance(reply, Response):
        return reply
    headers = dict(reply.headers)
    if reply.text is not None:
        kind = "text/plain" if reply.media_type is None else reply.media_type or None
        whole = Response(reply.text, reply.status, headers, kind)
    else:
        kind = reply.media_type or "application/json"
        whole = Response(dump_json(reply.content), reply.status, headers, kind)
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
