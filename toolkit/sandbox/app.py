"""The ASGI application: the door, the limit, the journal and the delay around the routes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from toolkit.sandbox import control
from toolkit.sandbox.access import Caller, Keyring, key_fingerprint
from toolkit.sandbox.journal import Journal
from toolkit.sandbox.limiter import Limiter
from toolkit.sandbox.replies import RATE_LIMITED, RefusedError, Reply, coded_error
from toolkit.sandbox.routes import Call, answer
from toolkit.sandbox.shop import Shop
from toolkit.sandbox.strict_json import dump_json, parse_json


class App:
    """Answers HTTP requests from a shop.

    Nothing is awaited between reading the state and changing it, so every request acts alone;
    *lock* keeps out the threads that look at the state from outside.
    """

    def __init__(
        self,
        *,
        shop: Shop,
        keyring: Keyring,
        limiter: Limiter,
        journal: Journal,
        lock: threading.RLock,
        latency_seconds: float,
        max_in: int,
    ) -> None:
        self._shop = shop
        self._keyring = keyring
        self._limiter = limiter
        self._journal = journal
        self._lock = lock
        self._latency_seconds = latency_seconds
        self._max_in = max_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        call = received_call(request, body, self._max_in)
        if call.path.startswith(control.PREFIX):
            with self._lock:
                reply = control.control(self._shop, self._journal, call)
        else:
            reply = await self._api(call, request.headers)
        await as_response(reply)(scope, receive, send)

    async def _api(self, call: Call, headers: Headers) -> Reply:
        caller, record = self._admit(call, headers)
        await asyncio.sleep(self._latency_seconds)
        with self._lock:
            if isinstance(caller, Caller):
                reply = answer(self._shop, call, has_shop=caller.has_shop)
            else:
                reply = caller
            delay_ms = self._latency_seconds * 1000
            self._journal.close(record, status=reply.status, delay_ms=delay_ms, violation=reply.violation)
        return reply

    def _admit(self, call: Call, headers: Headers) -> tuple[Caller | Reply, dict[str, Any]]:
        """Let the caller in or decide the refusal, and open the journal's record at that moment."""
        authorization = headers.get("authorization")
        with self._lock:
            caller, at, in_window = self._judge(authorization, headers.get("x-postscript-shop-token"))
            record = self._journal.open(
                at=at,
                key_fingerprint=key_fingerprint(authorization),
                method=call.method,
                path=call.path,
                query=[list(pair) for pair in call.query],
                body=journalled_body(call),
                limiter=in_window,
            )
        return caller, record

    def _judge(
        self, authorization: str | None, shop_token: str | None
    ) -> tuple[Caller | Reply, float, int | None]:
        try:
            caller = self._keyring.identify(authorization, shop_token)
        except RefusedError as refusal:
            return refusal.reply, self._limiter.now(), None
        admission = self._limiter.admit(caller.budget)
        if admission.accepted:
            return caller, admission.at, admission.in_window
        return coded_error(429, RATE_LIMITED, "Rate limit exceeded"), admission.at, admission.in_window


def received_call(request: Request, body: bytes, max_in: int) -> Call:
    """Put a request into the form the routes read."""
    raw_path: bytes = request.scope["raw_path"]
    return Call(
        method=request.method,
        path=raw_path.decode("latin-1"),
        query=decoded_query(request.scope["query_string"]),
        body=body,
        max_in=max_in,
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
        return Response(reply.text, reply.status, headers, "text/plain")
    return Response(dump_json(reply.content), reply.status, headers, "application/json")
