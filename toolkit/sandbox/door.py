"""Who may ask, and how often: keys in the two forms of the header, the partner's pair, the request limit."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .options import Knobs
from .wire import Reply, access_denied, coded_error, too_many_requests

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
    key: str = ""
    """As it was presented."""
    refusal: Reply | None = None
    """None when the request is let in."""
    in_window: int | None = None
    """Requests that count in the window that ends now, with this one if it counts; None for a refused key."""
    has_shop: bool = True
    """False for a partner who does not name a shop."""


class Door:
    """Lets requests in, or refuses them for their key or for the limit; each budget is counted alone.

    >>> door = Door(["sk_a"], clock=iter([0.0, 0.5, 1.5]).__next__)
    >>> asked = {"authorization": "Bearer sk_a"}
    >>> [door.admit(asked, Knobs(rate=1)).refusal is None for _ in range(3)]
    [True, False, True]
    """

    def __init__(self, shop_keys: Iterable[str], *, clock: Callable[[], float]) -> None:
        """Accept these keys of the shop; *clock* returns monotonic seconds."""
        # A public key is not valid for the API, whoever lists it.
        self._shop_keys = frozenset(key for key in shop_keys if key and not key.startswith(PUBLIC_PREFIX))
        self.revoked: set[str] = set()
        self._clock = clock
        self._counted: dict[str, deque[float]] = defaultdict(deque)
        self._full_again: dict[str, float] = {}

    def admit(self, headers: Mapping[str, str], knobs: Knobs) -> Admission:
        """Accept or refuse one request, now. A refused key uses nothing up."""
        now = self._clock()
        authorization = headers.get("authorization")
        if authorization is None:
            # Shape E0, the one refusal in plain text.
            text = "Missing Authorization header"
            return Admission(at=now, refusal=Reply(status=401, text=text, media_type="text/plain"))
        key = presented_key(authorization)
        budget = self._budget(key, headers.get("x-postscript-shop-token"))
        if budget is None:
            return Admission(at=now, refusal=key_refusal(knobs.wrong_key))
        count = self._by_bucket if knobs.algorithm == "bucket" else self._by_window
        accepted, in_window = count(budget, now, knobs)
        refusal = None if accepted else too_many_requests(knobs.retry_after_seconds)
        return Admission(at=now, key=key, refusal=refusal, in_window=in_window, has_shop=budget != PARTNER)

    def _budget(self, key: str, shop_token: str | None) -> str | None:
        """Return the budget that the caller uses, None for no caller. All keys of the shop share one."""
        if {key, shop_token} & self.revoked:
            return None
        if key in self._shop_keys:
            return SHOP
        if key == PARTNER_KEY and shop_token is None:
            return PARTNER
        return f"{PARTNER}+{SHOP}" if key == PARTNER_KEY and shop_token in self._shop_keys else None

    def _by_window(self, budget: str, now: float, knobs: Knobs) -> tuple[bool, int]:
        times = self._counted[budget]
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


def key_refusal(status: int) -> Reply:
    """Answer a key that opens nothing: 401 with a code, or 403 as for a route that is not allowed."""
    message = "Invalid API key"
    return access_denied(message) if status == 403 else coded_error(status, message)


def _is_over(at: float, now: float, knobs: Knobs) -> bool:
    if knobs.algorithm == "fixed":
        return at // knobs.window_seconds < now // knobs.window_seconds
    # Strictly older: a request exactly one window ago still counts, so closed windows hold too.
    return at + knobs.window_seconds < now
