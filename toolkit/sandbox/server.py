"""The sandbox as a running server: uvicorn in a thread, on loopback only."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .access import DEFAULT_SHOP_KEY
from .app import App
from .faults import Fault
from .knobs import PROFILES, Knobs
from .records import copied
from .state import State

LOOPBACK = "127.0.0.1"

_STARTUP_SECONDS = 10.0
_GRACE_SECONDS = 1.0
_TICK_SECONDS = 0.002


class Sandbox:
    """A local Postscript that serves from ``with`` to the end of its block, and can be looked into.

    Parameters
    ----------
    subscribers
        Records to start with; what they do not say is filled in, as for somebody who just signed up.
    port
        0 takes a free one.
    keys
        Shop keys that are accepted; all belong to one shop and share its limit.
    knobs
        Answers to the open questions about Postscript, such as ``PROFILES["hostile"]``.
    faults
        What goes wrong, and when.
    seed
        Decides all that is left to chance in faults and latencies.
    changes
        Single knobs set anew, such as ``rate=100``, ``page_size=10`` or ``in_encoding="comma"``.

    Raises
    ------
    ValueError
        There is no such knob, or it cannot have that value.

    Examples
    --------
    >>> with Sandbox([{"id": "s_1", "phone_number": "+12025550143"}]) as sandbox:
    ...     sandbox.subscribers["s_1"]["tags"]
    []
    """

    def __init__(
        self,
        subscribers: Iterable[Mapping[str, Any]] = (),
        *,
        port: int = 0,
        keys: Iterable[str] = (DEFAULT_SHOP_KEY,),
        knobs: Knobs = PROFILES["documented"],
        faults: Iterable[Fault] = (),
        seed: int = 1,
        **changes: Any,
    ) -> None:
        self._state = State(
            _own(subscribers), keys=keys, knobs=knobs.changed(changes), faults=faults, seed=seed
        )
        self._port = port
        self._server = _Server(self._state)
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        if self._thread is not None:
            self._thread.join()

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Every API request so far, oldest first.

        Each has ``at`` (monotonic seconds), ``key_fingerprint``, ``method``, ``path`` (as sent),
        ``query`` (list of [name, value]), ``body`` (of a write), ``status`` (None until answered),
        ``delay_ms``, ``limiter`` (requests that count in its window; None if the key was refused),
        ``violation`` (True for what an audience sync must never ask), ``fault`` (what went wrong on
        purpose, or None) and ``applied`` (True for a write that was carried out, whatever was answered).
        """
        with self._state.lock:
            return self._state.journal.records()

    @property
    def subscriber_count(self) -> int:
        """How many subscribers there are now."""
        with self._state.lock:
            return len(self._state.shop)

    @property
    def subscribers(self) -> dict[str, dict[str, Any]]:
        """The subscribers as they are now, by id."""
        with self._state.lock:
            return {subscriber["id"]: copied(subscriber) for subscriber in self._state.shop}

    @property
    def custom_events(self) -> list[dict[str, Any]]:
        """Each accepted custom event: its body, ``event_id``, and ``matched_subscriber_id`` or None there."""
        with self._state.lock:
            return [copied(event) for event in self._state.shop.custom_events]

    def add_subscribers(self, subscribers: Iterable[Mapping[str, Any]]) -> None:
        """Let people sign up late; all or none, and a ValueError when an id is taken."""
        with self._state.lock:
            self._state.shop.add(_own(subscribers))

    @property
    def knobs(self) -> Knobs:
        """The knobs as they are set now."""
        with self._state.lock:
            return self._state.knobs

    def set_knobs(self, **changes: Any) -> None:
        """Set some knobs anew, for requests that come from now on."""
        with self._state.lock:
            self._state.set_knobs(changes)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Put these faults in place of all others, and count requests from now on."""
        with self._state.lock:
            self._state.set_faults(faults)

    def reset(self) -> None:
        """Go back to the start; knobs, faults and clock stay as they are set."""
        with self._state.lock:
            self._state.reset()

    def snapshot(self) -> None:
        """Keep what the shop holds now, for restore()."""
        with self._state.lock:
            self._state.snapshot()

    def restore(self) -> None:
        """Let the shop hold again what it held at the latest snapshot, or at the start."""
        with self._state.lock:
            self._state.restore()

    def advance(self, seconds: float) -> None:
        """Put the sandbox's clock forward: its calendar, its limit and the time of its faults."""
        with self._state.lock:
            self._state.clock.advance(seconds)

    def shown_id(self, subscriber_id: str) -> str | int:
        """Return the id that the API shows for a subscriber: a number under ``ids="numeric"``."""
        with self._state.lock:
            is_text = self._state.knobs.ids == "text"
            return subscriber_id if is_text else self._state.shop.number_of(subscriber_id)

    def revoke(self, key: str) -> None:
        """Refuse *key* from now on."""
        with self._state.lock:
            self._state.keyring.revoke(key)


def _own(records: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Copy the caller's records one by one, so that a later change to them stays with the caller."""
    return (copied(dict(record)) for record in records)


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
    """Uvicorn, waiting for a word instead of looking ten times a second: stops in milliseconds."""

    def __init__(self, state: State) -> None:
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
