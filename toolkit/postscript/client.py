"""Send requests over HTTP: paced, with one deadline each, repeated only where repeating is safe.

One pacer is shared by every thread and process that uses the key. Redirects are never followed: the key must
not travel on. The time-out of requests counts anew with every byte; here one counts for the whole answer: a
server that sends a byte a second would hold a run, and its cancel, for as long as it likes.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import tenacity
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.exceptions import ConnectTimeout, InvalidURL, RequestException
from urllib3.connection import HTTPConnection
from urllib3.exceptions import InvalidHeader, NewConnectionError
from urllib3.util import Retry

from toolkit import errors

from . import api
from .rate_limit import Budget, Pacer, SharedBudget, shared_folder

TIMEOUT_SECONDS = (5.0, 10.0)
"""To connect, and for the whole answer (the official integration waits 10 s)."""
MAX_PAUSE_SECONDS = 60
"""The longest wait that a server's Retry-After is given."""
MAX_IN_FLIGHT = 32
"""Pooled connections: 14 a second stay possible up to about two seconds of latency."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Unpacked. A page of a hundred subscribers with fifty long properties each stays far below."""
_CHUNK_BYTES = 64 * 1024


class PostscriptClient:
    """A connection to one shop. Close it, or use it in a ``with`` block.

    Parameters
    ----------
    base_url
        Where the API is; plain http only on this machine itself.
    secret_key, shop_token
        The key, and for partners the shop's token. Kept out of every repr, error and log.
    requests_per_second
        Pace of all calls together; Postscript refuses more than 15. Other processes of this user that call
        the same address with the same key share it, unless *clock* is not the machine's own.
    timeout_seconds
        How long to wait for a connection, and for the whole of an answer, however slowly it comes.
    clock, sleep, transport
        Seconds that only go forward, how to wait, and what carries the requests; for tests.
    """

    def __init__(
        self,
        base_url: str,
        secret_key: str,
        *,
        shop_token: str | None = None,
        requests_per_second: float = 14,
        timeout_seconds: tuple[float, float] = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        transport: BaseAdapter | None = None,
    ) -> None:
        self._base_url = check_base_url(base_url)
        key = check_key(secret_key)
        token = None if shop_token is None else check_key(shop_token)
        self._secrets = [secret for secret in (key, token) if secret]
        is_shared = clock is time.monotonic
        budget = SharedBudget(shared_folder(), self._base_url, key, token or "") if is_shared else Budget()
        self._pacer = Pacer(requests_per_second, budget=budget, clock=clock, sleep=sleep)
        self._timeout, self._sleep = timeout_seconds, sleep
        self._calls: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json", "User-Agent": "audience-toolkit"})
        self._session.headers["Authorization"] = f"Bearer {key}"
        if token:
            self._session.headers["X-Postscript-Shop-Token"] = token
        # Without any, a .netrc entry would replace the key.
        self._session.auth = lambda request: request
        # A proxy of the environment must not be asked for this machine itself.
        self._session.trust_env = not _is_loopback(urlsplit(self._base_url).hostname or "")
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, transport or _Adapter(self._pacer.leave))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    @property
    def calls(self) -> dict[str, int]:
        """Requests made so far by route, every try counted."""
        with self._counting:
            return dict(self._calls)

    def send(self, request: api.Request, *, on_leaving: Callable[[], None] | None = None) -> api.Answer:
        """Send a request and return its answer; the answer, or the error, knows how many tries it took.

        ``on_leaving`` is called once, when its turn has come and nothing has left yet.

        Raises
        ------
        InvalidAuthenticationError
            401 or 403.
        RejectedError
            Any other refusal that trying again does not change, a redirect included.
        RateLimitError, ServerError, UnreachableError
            Transient trouble that outlasted every try.
        LostAnswerError
            A request that must not be repeated left, and no clear answer came back.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(
                (errors.RateLimitError, errors.ServerError, errors.UnreachableError)
            )
            & tenacity.retry_if_exception(lambda error: request.repeatable or not api.may_be_applied(error)),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
            stop=tenacity.stop_after_attempt(request.max_tries),
            sleep=self._sleep,
            before_sleep=self._slow_down,
            reraise=True,
        )
        try:
            answer = retrying(self._try, request, [on_leaving] if on_leaving else [])
        except errors.PostscriptError as error:
            error.tries = retrying.statistics["attempt_number"]
            raise
        return replace(answer, tries=retrying.statistics["attempt_number"])

    def _slow_down(self, state: tenacity.RetryCallState) -> None:
        if state.outcome and isinstance(state.outcome.exception(), errors.RateLimitError):
            # The budget belongs to the shop, so every thread waits, not only this one.
            self._pacer.slow_down(state.upcoming_sleep)

    def _try(self, request: api.Request, leaving: list[Callable[[], None]]) -> api.Answer:
        self._pacer.wait()
        if leaving:
            leaving.pop()()
        with self._counting:
            self._calls[request.route] += 1
        try:
            with self._session.request(
                request.method,
                self._base_url + request.path,
                params=[*request.query],
                # allow_nan=False: NaN is not JSON.
                data=None if request.body is None else json.dumps(request.body, allow_nan=False),
                headers={} if request.body is None else {"Content-Type": "application/json"},
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                status_code, headers = response.status_code, response.headers
                text = _read_body(response).decode("utf-8", "replace")
        except RequestException as error:
            raise _no_answer(error, self._base_url, request) from None  # the original may quote headers
        for secret in self._secrets:  # in case a server echoes it
            text = text.replace(secret, "•••")
        if status_code in {429, 503}:
            with suppress(InvalidHeader, ValueError, OverflowError):
                asked = Retry(0).parse_retry_after(headers.get("Retry-After", ""))
                self._pacer.pause(min(asked, MAX_PAUSE_SECONDS))
        return _read(request, status_code, headers, text)


def check_key(secret_key: str) -> str:
    """Return the key without surrounding space; SettingsError when it cannot be a header value."""
    key = secret_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise errors.SettingsError(
            "The Postscript secret key is empty or has a character that no key has. "
            "Copy it again: in Postscript, your shop's name, then API, then Show."
        )
    return key


def check_base_url(base_url: str) -> str:
    """Return the base URL without a trailing slash; SettingsError when the key would not be safe there."""
    with suppress(ValueError):  # a port that is no number, above all
        parts = urlsplit(base_url.strip())
        # The requests bring their own path; a second /api/v2 would only be reported as "not found".
        doubled = parts.path.rstrip("/").endswith("/api/v2")
        extra = "@" in parts.netloc or parts.query or parts.fragment or doubled or parts.port == 0
        if parts.scheme in {"http", "https"} and parts.hostname and not extra:
            if parts.scheme == "https" or _is_loopback(parts.hostname):
                return base_url.strip().rstrip("/")
            raise errors.SettingsError(
                f"POSTSCRIPT_BASE_URL is plain http on {parts.hostname}: the key could be read on the way. "
                "Use https, or http only on 127.0.0.1."
            )
    raise errors.SettingsError(
        "POSTSCRIPT_BASE_URL is not an address such as https://api.postscript.io or http://127.0.0.1:8015."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_LOST = "it may or may not have been carried out"
_KEY_HELP = (
    "The key is not accepted for this shop. Check POSTSCRIPT_SECRET_KEY (the private key, not the public "
    "one), that it was not deleted, and that the shop's plan allows API use; "
    "partners set POSTSCRIPT_SHOP_TOKEN beside it."
)


def _no_answer(error: RequestException, base_url: str, request: api.Request) -> errors.PostscriptError:
    """Turn a transport fault into the error that says whether the request may have been carried out."""
    if isinstance(error, InvalidURL):
        return errors.RejectedError(f"{base_url} is not an address that can be called.")
    if not request.repeatable and not _never_left(error):
        kind = type(error).__name__
        return errors.LostAnswerError(f"{request.route} was sent and its answer was lost ({kind}): {_LOST}.")
    if isinstance(error, _AnswerTooLargeError):
        return errors.RejectedError(
            f"{request.route} answered with more than {MAX_ANSWER_BYTES // 1024**2} MB, which is no answer "
            "of Postscript's. Check POSTSCRIPT_BASE_URL."
        )
    return errors.UnreachableError(
        f"{base_url} does not answer ({type(error).__name__}). "
        "Check the network and POSTSCRIPT_BASE_URL, then run again."
    )


def _never_left(error: RequestException) -> bool:
    """Tell whether no connection came about at all, be it to a proxy."""
    reason = getattr(next(iter(error.args), None), "reason", None)
    causes = (error, reason, getattr(reason, "original_error", None))
    return any(isinstance(e, ConnectTimeout | NewConnectionError) for e in causes)


def _read(request: api.Request, status_code: int, headers: Mapping[str, str], text: str) -> api.Answer:
    """Turn a status code and body into an answer or the error it stands for."""
    if 200 <= status_code < 300:
        return api.Answer(status_code=status_code, json=_json_of(request, status_code, headers, text))
    message, error_code, is_object = api.read_refusal(text)
    sentence = f"{request.route} answered {status_code}" + (f": {message}" if message else "")
    is_ours = is_object and "json" in headers.get("Content-Type", "")
    facts: dict[str, Any] = {"status_code": status_code, "error_code": error_code, "from_postscript": is_ours}
    if status_code in {401, 403}:
        raise errors.InvalidAuthenticationError(f"{sentence}. {_KEY_HELP}", **facts)
    if status_code == 429:
        raise errors.RateLimitError(f"{sentence}. Postscript allows 15 requests a second.", **facts)
    if status_code in api.TRANSIENT:
        if not request.repeatable and status_code not in api.REFUSED_UNREAD:
            raise errors.LostAnswerError(f"{sentence}: {_LOST}.", **facts)
        raise errors.ServerError(f"{sentence}. Run again later.", **facts)
    if 300 <= status_code < 400:
        sentence = f"{sentence}. Redirects are not followed: check POSTSCRIPT_BASE_URL."
    elif not is_ours:
        sentence = f"{sentence}. Postscript's own answers are JSON: check POSTSCRIPT_BASE_URL."
    raise errors.RejectedError(sentence, **facts)


def _json_of(request: api.Request, status_code: int, headers: Mapping[str, str], text: str) -> object:
    """Return the parsed body; None for the empty answer to a write.

    Anything else that is not JSON comes from something else, such as a proxy's sign-in page: a read must
    never take it for an empty list, nor a write for "done".
    """
    if "json" in headers.get("Content-Type", ""):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    # Headers that break off look like an empty answer, unless that has to announce itself.
    is_announced = status_code == 204 or "Content-Length" in headers or "Transfer-Encoding" in headers
    if request.method != "GET" and not text.strip() and is_announced:
        return None
    sentence = f"{request.route} answered {status_code} with something that is not JSON"
    if not request.repeatable:
        raise errors.LostAnswerError(f"{sentence}: {_LOST}.", status_code=status_code)
    # 502, as a gateway's fault is: it is tried again.
    raise errors.ServerError(f"{sentence}. Check POSTSCRIPT_BASE_URL, then run again.", status_code=502)


# --- how bytes travel ---------------------------------------------------------------------------------------


class _AnswerTooLargeError(RequestException):
    """The answer is larger than any answer of Postscript's."""


class _Adapter(HTTPAdapter):
    """A pool of connections that call *before_leaving* once they are open, right before a request leaves."""

    def __init__(self, before_leaving: Callable[[], None]) -> None:
        self._members = {"before_leaving": staticmethod(before_leaving)}
        # No retries in the pool: every try must pass the pacer.
        super().__init__(pool_maxsize=MAX_IN_FLIGHT, max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return the pool for a request; its connections, also those through a proxy, are ours."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not issubclass(pool.ConnectionCls, _Connection):
            pool.ConnectionCls = type("Connection", (_Connection, pool.ConnectionCls), self._members)
        return pool


def _read_body(response: requests.Response) -> bytes:
    """Return the body of a streamed response.

    A refusal is one whatever becomes of its body, so only the beginning is read, as far as it comes. Any
    other body that breaks off, or is larger than MAX_ANSWER_BYTES, is a RequestException.
    """
    body, is_refusal = bytearray(), response.status_code >= 300
    with suppress(RequestException) if is_refusal else nullcontext():
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > (_CHUNK_BYTES if is_refusal else MAX_ANSWER_BYTES):
                raise _AnswerTooLargeError
    return bytes(body)


class _Response(http.client.HTTPResponse):
    """An answer whose every byte must come before the time-out of its first has passed."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        # The socket's time-out is the one for the answer by now.
        deadline = time.monotonic() + (sock.gettimeout() or 0.0)
        raw: Any = self.fp.raw
        read_some = raw.readinto

        def read_in_time(buffer: Any) -> int | None:
            if (remaining := deadline - time.monotonic()) <= 0:
                raise TimeoutError("the answer took too long")
            sock.settimeout(remaining)
            found: int | None = read_some(buffer)
            return found

        raw.readinto = read_in_time


class _Connection(HTTPConnection):
    response_class = _Response
    before_leaving: Callable[[], None]

    def request(self, *args: Any, **options: Any) -> None:
        self.before_leaving()
        super().request(*args, **options)
