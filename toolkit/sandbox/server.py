"""The sandbox as a running server: uvicorn in a thread, on loopback only."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import App
from .state import SandboxState

LOOPBACK = "127.0.0.1"

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

    def __init__(self, subscribers: Iterable[Mapping[str, Any]] = (), *, port: int = 0, **options: Any):
        super().__init__(subscribers, **options)
        self._port = port
        self._server = _Server(self)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # Bound here, so that the port is known, and a taken one is an OSError, before anything runs.
        listener = _listener(self._port)
        self._port = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(_STARTUP_SECONDS):
            raise RuntimeError("The sandbox did not start.")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        if self._thread is not None:
            self._thread.join()

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._port}"


def _listener(port: int) -> socket.socket:
    # The protocol is named because asyncio switches Nagle's algorithm off only then;
    # with it on, each answer on a kept connection waits 40 ms for the client's delayed ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """Uvicorn, which waits for an event instead of looking ten times a second: it stops in milliseconds."""

    def __init__(self, state: SandboxState) -> None:
        config = uvicorn.Config(
            App(state, cut=self.cut),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=60,
            server_header=False,
            date_header=False,
        )
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask, from another thread, to finish."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    def cut(self, client: Any) -> None:
        """Reset the connection of the client with that address and port."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol) and connection.client == client:
                # With no time to linger, closing is a reset: what is under way is dropped.
                linger = struct.pack("ii", 1, 0)
                connection.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                connection.transport.abort()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._finish(time.monotonic() + _GRACE_SECONDS)

    async def _finish(self, deadline: float) -> None:
        """Let requests in hand be answered until *deadline*, then drop them."""
        state = self.server_state
        while (state.connections or state.tasks) and time.monotonic() < deadline:
            await asyncio.sleep(_TICK_SECONDS)
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # aborted transports close on the next turn
