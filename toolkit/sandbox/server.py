"""The sandbox as a running server: uvicorn's protocol in a thread, on loopback only.

Also the control routes, by which a test or a person looks into the sandbox. Postscript has nothing like them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from typing import Any, Self

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .options import parse_faults
from .records import Record, read_records
from .routes import Call
from .shop import DuplicateIdError
from .state import SandboxState
from .wire import RefusedError, Reply, dump_json, parse_body

LOOPBACK = "127.0.0.1"
PREFIX = "/control/"

_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?", re.IGNORECASE)
_FORM_KINDS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})

_STARTUP_SECONDS = 10.0
_GRACE_SECONDS = 1.0
_TICK_SECONDS = 0.002


class Sandbox(SandboxState):
    """A local Postscript that serves from ``with`` to the end of its block, and can be looked into.

    Port 0 takes a free one. A ValueError names a knob, or the value of one, that does not exist.

    >>> with Sandbox([{"id": "s_1", "phone_number": "+12025550143"}]) as sandbox:
    ...     sandbox.subscribers["s_1"]["tags"]
    []
    """

    def __enter__(self) -> Self:
        self._clients, self._ready = ServerState(), threading.Event()
        # Bound here, so that the port is known, and a taken one is an OSError, before anything runs.
        # The protocol is named because asyncio switches Nagle's algorithm off only then; with it on, each
        # answer on a kept connection waits 40 ms for the client's delayed ACK.
        number = socket.create_server((LOOPBACK, self._port)).detach()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=number)
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener)), name="sandbox", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(_STARTUP_SECONDS):
            raise RuntimeError("The sandbox did not start.")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._port}"

    async def _serve(self, listener: socket.socket) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        config = Config(
            self,
            interface="asgi3",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=60,
        )
        config.load()
        server = await self._loop.create_server(
            partial(H11Protocol, config, self._clients, {}), sock=listener
        )
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for connection in list(self._clients.connections):
            connection.shutdown()
        # Requests in hand are answered for a while, and then dropped.
        deadline = time.monotonic() + _GRACE_SECONDS
        while (self._clients.connections or self._clients.tasks) and time.monotonic() < deadline:
            await asyncio.sleep(_TICK_SECONDS)
        for task in list(self._clients.tasks):
            task.cancel()
        await asyncio.gather(*self._clients.tasks, return_exceptions=True)
        for connection in list(self._clients.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # aborted transports close on the next turn

    # Answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        reply = _refusal(request)
        if reply is None:
            try:
                body = await request.body()
            except ClientDisconnect:
                return
            call = Call(
                method=request.method,
                path=scope["raw_path"].decode("latin-1"),
                raw_query=scope["query_string"].decode("latin-1"),
                body=body,
                knobs=self.knobs,
            )
            if call.path.startswith(PREFIX):
                reply = _controlled(self, call)
            else:
                reply = await self.answer(call, request.headers, partial(_gone, receive))
        if reply is None:
            self._cut(scope["client"])
            await _gone(receive)
        else:
            await _as_response(reply)(scope, receive, send)

    def _cut(self, client: Any) -> None:
        """Reset the connection of the client with that address and port."""
        for connection in list(self._clients.connections):
            if isinstance(connection, H11Protocol) and connection.client == client:
                # With no time to linger, closing is a reset: what is under way is dropped.
                linger = struct.pack("ii", 1, 0)
                its: socket.socket = connection.transport.get_extra_info("socket")
                its.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.transport.abort()


def _refusal(request: Request) -> Reply | None:
    """Return the refusal of a request that a web page could have a browser make; None for any other."""
    if not _OWN_HOST.fullmatch(request.headers.get("host", "")):
        return _problem(421, "The sandbox answers as 127.0.0.1 or localhost only.")
    if not request.url.path.startswith(PREFIX):
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "origin" in request.headers or kind in _FORM_KINDS:
        return _problem(403, "A control route takes no request of a web page, nor what a form sends.")
    return None


async def _gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _as_response(reply: Reply) -> Response:
    whole = Response(reply.body, reply.status, dict(reply.headers), reply.media_type or None)
    if not reply.drip_seconds:
        return whole
    return StreamingResponse(_dripping(bytes(whole.body), reply.drip_seconds), reply.status, whole.headers)


async def _dripping(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    for place in range(len(body)):
        await asyncio.sleep(seconds / len(body))
        yield body[place : place + 1]


# Control routes


def _controlled(state: SandboxState, call: Call) -> Reply:
    """Carry out one request to a control route."""
    methods = _CONTROLS.get(call.path.removeprefix(PREFIX))
    if methods is None:
        return _problem(404, "There is no such control route.")
    if call.method not in methods:
        return _problem(405, "This control route answers to " + " and ".join(methods) + ".")
    try:
        with state.lock:
            content = methods[call.method](state, call)
    except RefusedError:
        return _problem(400, "The body must be a JSON object.")
    except ValueError as error:
        return _problem(409 if isinstance(error, DuplicateIdError) else 400, str(error))
    return content if isinstance(content, Reply) else Reply(status=200, content=content)


def _problem(status: int, message: str) -> Reply:
    """Refuse a request that is not one to the API."""
    return Reply(status=status, content={"error": message})


def _export(state: SandboxState, _: Call) -> Reply:
    rows = "".join(f"{dump_json(subscriber)}\n" for subscriber in state.shop)
    return Reply(status=200, text=rows, media_type="application/x-ndjson")


def _sign_up(state: SandboxState, call: Call) -> Reply:
    """Add the subscribers of a JSON list, or of NDJSON."""
    if call.body.lstrip().startswith(b"["):
        records = parse_body(call.body)
    else:
        records = read_records(call.body.splitlines(), "the request body", state.shop.now())
    return Reply(status=201, content={"added": state.shop.add(records)})


def _knobs(state: SandboxState, call: Call) -> Record:
    if call.method == "PUT":
        state.set_knobs(**call.json_object())
    return asdict(state.knobs)


def _faults(state: SandboxState, call: Call) -> list[Record]:
    if call.method != "GET":
        state.set_faults(parse_faults(call.body) if call.method == "PUT" else ())
    return [asdict(fault) for fault in state.plan.faults]


def _clock(state: SandboxState, call: Call) -> Record:
    if call.method == "POST":
        state.advance(call.json_object().get("advance"))
    return {"now": state.shop.now()}


_CONTROLS: Mapping[str, Mapping[str, Callable[[SandboxState, Call], Any]]] = {
    "journal": {"GET": lambda state, _: state.records},
    "subscribers": {"GET": _export, "POST": _sign_up},
    "custom_events": {"GET": lambda state, _: state.shop.custom_events},
    "openapi.json": {"GET": lambda *_: parse_body((files(__package__) / "openapi.json").read_bytes())},
    "knobs": {"GET": _knobs, "PUT": _knobs},
    "faults": {"GET": _faults, "PUT": _faults, "DELETE": _faults},
    "clock": {"GET": _clock, "POST": _clock},
    "revoke": {"POST": lambda state, call: state.revoke(call.json_object().get("key"))},
    "reset": {"POST": lambda state, _: state.reset()},
    "snapshot": {"POST": lambda state, _: state.snapshot()},
    "restore": {"POST": lambda state, _: state.restore()},
}
