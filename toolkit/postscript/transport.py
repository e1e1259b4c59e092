"""How bytes travel: connections whose answer has one deadline as a whole, and a bound on its size.

The time-out of requests counts anew with every byte. A server that sends one byte a second would hold a run,
and its cancel, for as long as it likes.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Unpacked. A page of a hundred subscribers with fifty long properties each stays far below."""
_MAX_REFUSAL_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024


class AnswerTooLargeError(requests.exceptions.RequestException):
    """The answer is larger than any answer of Postscript's."""


class Adapter(HTTPAdapter):
    """A pool of connections that call *before_leaving* once they are open, right before a request leaves."""

    def __init__(self, *, before_leaving: Callable[[], None], pool_maxsize: int) -> None:
        self._before_leaving = before_leaving
        # No retries in the pool: every try must pass the pacer.
        super().__init__(pool_maxsize=pool_maxsize, max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return the pool for a request; its connections, also those through a proxy, are ours."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not hasattr(pool.ConnectionCls, "before_leaving"):
            pool.ConnectionCls = _own_kind(pool.ConnectionCls, self._before_leaving)
        return pool


def read_body(response: requests.Response) -> bytes:
    """Return the body of a streamed response.

    A refusal is one whatever becomes of its body, so only the beginning is read, as far as it comes. Any
    other body that breaks off, or is larger than MAX_ANSWER_BYTES, is a RequestException.
    """
    is_refusal = response.status_code >= 300
    most = _MAX_REFUSAL_BYTES if is_refusal else MAX_ANSWER_BYTES
    body = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > most:
                if is_refusal:
                    break
                raise AnswerTooLargeError
    except requests.exceptions.RequestException:
        if not is_refusal:
            raise
    return bytes(body)


@functools.lru_cache(maxsize=8)
def _own_kind(kind: type[HTTPConnection], before_leaving: Callable[[], None]) -> type[HTTPConnection]:
    """Return connections of that kind with our response."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        response_class = _Response

        def request(self, *args: Any, **options: Any) -> None:
            before_leaving()
            super().request(*args, **options)

    Connection.before_leaving = staticmethod(before_leaving)
    return Connection


class _Response(http.client.HTTPResponse):
    """An answer whose every byte must come before the time-out of its first has passed."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        # The socket's time-out is the one for the answer by now.
        self.fp = io.BufferedReader(_UntilDeadline(sock, self.fp.detach()))


class _UntilDeadline(io.RawIOBase):
    """A socket's bytes; each wait for some ends at the one deadline."""

    def __init__(self, sock: socket.socket, raw: Any) -> None:
        self._sock, self._raw = sock, raw
        self._deadline = time.monotonic() + cast("float", sock.gettimeout())

    def readable(self) -> bool:
        """Tell a buffer that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or comes before the deadline."""
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(remaining)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        """Close the socket's own reader as well."""
        self._raw.close()
        super().close()
