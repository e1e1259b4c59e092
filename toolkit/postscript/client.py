"""Send wire requests over HTTP: paced, timed out, repeated only where repeating is safe.

One pacer is shared by every thread and process that uses the key. Redirects are never followed: the key must
not travel on.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

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

from . import api
from .rate_limit import Budget, Pacer, SharedBudget, shared_folder
from .transport import MAX_ANSWER_BYTES, Adapter, AnswerTooLargeError, read_body

TIMEOUT_SECONDS = (5.0, 10.0)
"""To connect, and for the whole answer (the official integration waits 10 s)."""
MAX_PAUSE_SECONDS = 60
"""The longest wait that a server's Retry-After is given."""
MAX_IN_FLIGHT = 32
"""Pooled connections: 14 a second stay possible up to about two seconds of latency."""


class _SecretKeyAuth(AuthBase):
    """Puts the key on a request. As an auth object, so that no .netrc entry can replace it."""

    def __init__(self, secret_key: str, shop_token: str | None) -> None:
        self._headers = {"Authorization": f"Bearer {secret_key}"}
        if shop_token:
            self._headers["X-Postscript-Shop-Token"] = shop_token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


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
    clock, sleep
        Seconds that only go forward, and how to wait; for tests.
    transport
        What carries the requests instead of a pool of connections; for tests.
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
        folder = shared_folder()
        budget = SharedBudget(folder, self._base_url, key, token or "") if is_shared else Budget()
        self._pacer = Pacer(requests_per_second, budget=budget, clock=clock, sleep=sleep)
        self._timeout = timeout_seconds
        self._sleep = sleep
        self._calls: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._session = requests.Session()
        self._session.auth = _SecretKeyAuth(key, token)
        self._session.headers.update({"Accept": "application/json", "User-Agent": "audience-toolkit"})
        # A proxy of the environment must not be asked for this machine itself.
        self._session.trust_env = not _is_loopback(urlsplit(self._base_url).hostname or "")
        adapter = transport or Adapter(before_leaving=self._pacer.leave, pool_maxsize=MAX_IN_FLIGHT)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        retrying = Retrying(
            retry=retry_if_exception(lambda error: _is_worth_repeating(error, request)),
            wait=wait_random_exponential(multiplier=0.5, max=30),
            stop=stop_after_attempt(request.max_tries),
            sleep=self._sleep,
            before_sleep=self._slow_down,
            reraise=True,
        )
        try:
            answer = retrying(self._try, request, [on_leaving] if on_leaving else [])
        except PostscriptError as error:
            error.tries = retrying.statistics["attempt_number"]
            raise
        return replace(answer, tries=retrying.statistics["attempt_number"])

    def _slow_down(self, state: object) -> None:
        outcome = getattr(state, "outcome", None)
        if outcome is not None and isinstance(outcome.exception(), RateLimitError):
            # The budget belongs to the shop, so everybody waits, not only this thread.
            self._pacer.slow_down(getattr(state, "upcoming_sleep", 0.0))

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
                text = read_body(response).decode("utf-8", "replace")
        except requests.exceptions.RequestException as error:
            raise _no_answer(error, self._base_url, request) from None  # the original may quote headers
        for secret in self._secrets:  # should a server ever echo it
            text = text.replace(secret, "•••")
        if status_code in {429, 503} and (pause := _asked_pause(headers)):
            self._pacer.pause(min(pause, MAX_PAUSE_SECONDS))
        return _read(request, status_code, headers, text)


def check_key(secret_key: str) -> str:
    """Return the key without surrounding space; SettingsError when it cannot be a header value."""
    key = secret_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            "The Postscript secret key is empty or has a character that no key has. "
            "Copy it again: in Postscript, your shop's name, then API, then Show."
        )
    return key


def check_base_url(base_url: str) -> str:
    """Return the base URL without a trailing slash; SettingsError when the key would not be safe there."""
    wrong = SettingsError(
        "POSTSCRIPT_BASE_URL is not an address such as https://api.postscript.io or http://127.0.0.1:8015."
    )
    try:
        parts = urlsplit(base_url.strip())
        parts.port  # noqa: B018 - read, because it raises when it is no number
    except ValueError:
        raise wrong from None
    # The requests bring their own path; a second /api/v2 would only be reported as "not found".
    doubled = parts.path.rstrip("/").endswith("/api/v2")
    extra = "@" in parts.netloc or parts.query or parts.fragment or doubled
    if parts.scheme not in {"http", "https"} or not parts.hostname or extra:
        raise wrong
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise SettingsError(
            f"POSTSCRIPT_BASE_URL is plain http on {parts.hostname}: the key could be read on the way. "
            "Use https, or http only on 127.0.0.1."
        )
    return base_url.strip().rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _asked_pause(headers: Mapping[str, str]) -> float:
    """Return the seconds that Retry-After asks for, as a number or as a date; 0 when it asks for none.

    >>> date = "Wed, 04 Mar 2026 05:06:07 GMT"
    >>> _asked_pause({"Retry-After": "Wed, 04 Mar 2026 05:06:10 GMT", "Date": date})
    3.0
    """
    asked = headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return int(asked[:9])
    try:
        until = parsedate_to_datetime(asked)
        # The server's own clock, where it shows it: ours may be an hour off.
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
        return 0.0


def _is_worth_repeating(error: BaseException, request: api.Request) -> bool:
    if not request.repeatable and api.may_be_applied(error):
        return False
    if isinstance(error, RateLimitError):
        return True
    if isinstance(error, UnreachableError):
        return True  # raised only when repeating is safe: see _no_answer
    if not isinstance(error, ServerError):
        return False
    safe = api.TRANSIENT if request.repeatable else api.REFUSED_UNREAD
    return error.status_code in safe


def _no_answer(
    error: requests.exceptions.RequestException, base_url: str, request: api.Request
) -> PostscriptError:
    """Turn a transport fault into the error that says whether the request may have been carried out."""
    if isinstance(error, requests.exceptions.InvalidURL):
        return RejectedError(f"{base_url} is not an address that can be called.")
    if isinstance(error, AnswerTooLargeError) and request.repeatable:
        megabytes = MAX_ANSWER_BYTES // 1024**2
        return RejectedError(
            f"{request.route} answered with more than {megabytes} MB, which is no answer of Postscript's. "
            "Check POSTSCRIPT_BASE_URL."
        )
    never_left = isinstance(error, requests.exceptions.ConnectTimeout) or _was_refused(error)
    if request.repeatable or never_left:
        return UnreachableError(
            f"{base_url} does not answer ({type(error).__name__}). "
            "Check the network and POSTSCRIPT_BASE_URL, then run again."
        )
    return LostAnswerError(
        f"{request.route} was sent and its answer was lost ({type(error).__name__}): "
        "it may or may not have been carried out."
    )


def _was_refused(error: BaseException | None) -> bool:
    """Tell whether no connection came about at all, looking through the wrapped causes."""
    seen = 0
    while error is not None and seen < 10:
        if type(error).__name__ in {"NewConnectionError", "NameResolutionError"}:
            return True
        inner = next((a for a in error.args if isinstance(a, BaseException)), None)
        error = getattr(error, "reason", None) or inner or error.__cause__ or error.__context__
        seen += 1
    return False


def _read(request: api.Request, status_code: int, headers: Mapping[str, str], text: str) -> api.Answer:
    """Turn a status code and body into an answer or the error it stands for."""
    if 200 <= status_code < 300:
        return api.Answer(status_code=status_code, json=_json_of(request, status_code, headers, text))
    message, error_code = api.error_message(text)
    sentence = f"{request.route} answered {status_code}" + (f": {message}" if message else "")
    is_ours = "json" in headers.get("Content-Type", "") and api.is_json_object(text)
    facts: dict[str, Any] = {"status_code": status_code, "error_code": error_code, "from_postscript": is_ours}
    if status_code in {401, 403}:
        raise InvalidAuthenticationError(f"{sentence}. {_KEY_HELP}", **facts)
    if status_code == 429:
        raise RateLimitError(f"{sentence}. Postscript allows 15 requests a second.", **facts)
    if status_code in api.TRANSIENT:
        if not request.repeatable and status_code not in api.REFUSED_UNREAD:
            raise LostAnswerError(f"{sentence}: it may or may not have been carried out.", **facts)
        raise ServerError(f"{sentence}. Run again later.", **facts)
    if 300 <= status_code < 400:
        sentence = f"{sentence}. Redirects are not followed: check POSTSCRIPT_BASE_URL."
    elif not is_ours:
        sentence = f"{sentence}. Postscript's own answers are JSON: check POSTSCRIPT_BASE_URL."
    raise RejectedError(sentence, **facts)


_KEY_HELP = (
    "The key is not accepted for this shop. Check POSTSCRIPT_SECRET_KEY (the private key, not the public "
    "one), that it was not deleted, and that the shop's plan allows API use; "
    "partners set POSTSCRIPT_SHOP_TOKEN beside it."
)


def _json_of(request: api.Request, status_code: int, headers: Mapping[str, str], text: str) -> object:
    """Return the parsed body; None for the empty answer to a write.

    Anything else that is not JSON comes from something else, a proxy's sign-in page say: a read must never
    take it for an empty list, nor a write for "done".
    """
    if "json" in headers.get("Content-Type", ""):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    # Headers that break off look like an empty answer, unless that has to announce itself.
    is_announced = status_code == 204 or "Content-Length" in headers or "Transfer-Encoding" in headers
    if request.method != "GET" and not text.strip() and is_announced:
        return None
    sentence = f"{request.route} answered {status_code} with something that is not JSON"
    if not request.repeatable:
        raise LostAnswerError(
            f"{sentence}: it may or may not have been carried out.", status_code=status_code
        )
    # 502, as a gateway's fault is: it is tried again.
    raise ServerError(f"{sentence}. Check POSTSCRIPT_BASE_URL, then run again.", status_code=502)
