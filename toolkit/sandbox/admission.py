"""Who may ask, and how often: keys in the two forms of the header, the partner's pair, the request limit."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from .knobs import Knobs
from .wire import RefusedError, Reply, access_denied, coded_error, too_many_requests

DEFAULT_SHOP_KEY = "sk_sandbox"
PARTNER_KEY = "sk_partner_sandbox"
PUBLIC_PREFIX = "pk_"
SHOP = "shop_sandbox"
PARTNER = "partner"


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The door's answer to one request."""

    at: float
    """Monotonic seconds."""
    refusal: Reply | None = None
    """None when the request is let in."""
    in_window: int | None = None
    """Requests that count in the window that ends now, with this one if it counts; None for a refused key."""
    has_shop: bool = True
    """False for a partner who does not name a shop."""


def admit(keyring: Keyring, limiter: Limiter, headers: Mapping[str, str], knobs: Knobs) -> Admission:
    """Let a request in, or refuse it for its key or for the limit."""
    shop_token = headers.get("x-postscript-shop-token")
    try:
        budget = keyring.budget(headers.get("authorization"), shop_token, wrong_key=knobs.wrong_key)
    except RefusedError as refused:
        return Admission(at=limiter.now(), refusal=refused.reply)
    return replace(limiter.admit(budget, knobs), has_shop=budget != PARTNER)


class Keyring:
    """The keys that open the sandbox; a revoked one opens it no more until a reset."""

    def __init__(self, shop_keys: Iterable[str]) -> None:
        # A public key is not valid for the API, whoever lists it.
        self._listed = frozenset(key for key in shop_keys if key and not key.startswith(PUBLIC_PREFIX))
        self.reset()

    def reset(self) -> None:
        """Accept the first keys again."""
        self._shop_keys = set(self._listed)
        self._partner_keys = {PARTNER_KEY}

    def revoke(self, key: str) -> None:
        """Refuse *key* from now on."""
        self._shop_keys.discard(key)
        self._partner_keys.discard(key)

    def budget(self, authorization: str | None, shop_token: str | None, *, wrong_key: int) -> str:
        """Return the budget that the caller uses, or raise the refusal: *wrong_key* is its status.

        All keys of the shop share one.
        """
        if authorization is None:
            # Shape E0, the one refusal in plain text.
            text = "Missing Authorization header"
            raise RefusedError(Reply(status=401, text=text, media_type="text/plain"))
        key = presented_key(authorization)
        if key in self._shop_keys:
            return SHOP
        if key in self._partner_keys and shop_token is None:
            return PARTNER
        if key in self._partner_keys and shop_token in self._shop_keys:
            return f"{PARTNER}+{SHOP}"
        raise RefusedError(key_refusal(wrong_key))


def key_refusal(status: int) -> Reply:
    """Answer a key that opens nothing: 401 with a code, or 403 as for a route that is not allowed."""
    message = "Invalid API key"
    return access_denied(message) if status == 403 else coded_error(status, message)


def presented_key(authorization: str) -> str:
    """Take the key out of an Authorization header; empty when there is none in it.

    >>> presented_key("Bearer sk_sandbox"), presented_key("Basic c2tfc2FuZGJveDo=")
    ('sk_sandbox', 'sk_sandbox')
    """
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")[0]
    except ValueError:  # bad base64 and bad UTF-8 alike
        return ""


def key_fingerprint(authorization: str | None) -> str | None:
    """Name a key without giving it away; None when no key was presented."""
    key = presented_key(authorization or "")
    return hashlib.sha256(key.encode()).hexdigest()[:12] if key else None


class Limiter:
    """Counts requests by the knobs' algorithm; each budget is counted alone.

    >>> limiter = Limiter(clock=iter([0.0, 0.5, 1.5]).__next__)
    >>> [limiter.admit("shop", Knobs(rate=1)).refusal is None for _ in range(3)]
    [True, False, True]
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counted: dict[str, deque[float]] = {}
        self._full_again: dict[str, float] = {}

    def now(self) -> float:
        """Read the limiter's clock."""
        return self._clock()

    def admit(self, budget: str, knobs: Knobs) -> Admission:
        """Accept or refuse one request against *budget*, now."""
        now = self._clock()
        judge = self._by_bucket if knobs.algorithm == "bucket" else self._by_window
        accepted, in_window = judge(budget, now, knobs)
        refusal = None if accepted else too_many_requests(knobs.retry_after_seconds)
        return Admission(at=now, refusal=refusal, in_window=in_window)

    def _by_window(self, budget: str, now: float, knobs: Knobs) -> tuple[bool, int]:
        times = self._counted.setdefault(budget, deque())
        while times and _is_over(times[0], now, knobs):
            times.popleft()
        accepted = len(times) < knobs.rate
        if accepted or knobs.count_refused:
            times.append(now)
        return accepted, len(times)

    def _by_bucket(self, budget: str, now: float, knobs: Knobs) -> tuple[bool, int]:
        """Take one of ``rate`` tokens; they come back evenly, all within one window.

        The one number to remember is when the bucket will be full again.
        """
        token_seconds = knobs.window_seconds / knobs.rate
        full_again = max(self._full_again.get(budget, now), now)
        # The small part of a token is for rounding: a client that keeps the pace exactly is not refused.
        accepted = full_again + token_seconds <= now + knobs.window_seconds + token_seconds / 1000
        if accepted or knobs.count_refused:
            full_again = min(full_again + token_seconds, now + knobs.window_seconds)
        self._full_again[budget] = full_again
        return accepted, round((full_again - now) / token_seconds)


def _is_over(at: float, now: float, knobs: Knobs) -> bool:
    if knobs.algorithm == "fixed":
        return at // knobs.window_seconds < now // knobs.window_seconds
    # Strictly older: a request exactly one window ago still counts, so closed windows hold too.
    return at + knobs.window_seconds < now
