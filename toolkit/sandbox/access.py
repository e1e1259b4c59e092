"""Who is asking: keys, the two forms of the header, and the partner's pair."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from .replies import UNAUTHORIZED, RefusedError, Reply, access_denied, coded_error, missing_authorization

DEFAULT_SHOP_KEY = "sk_sandbox"
PARTNER_KEY = "sk_partner_sandbox"
PUBLIC_PREFIX = "pk_"
SHOP = "shop_sandbox"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An accepted caller."""

    budget: str
    """Name of the limiter's budget this caller uses: all keys of the shop share one."""
    has_shop: bool
    """False for a partner who did not say which shop is meant."""


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

    def identify(self, authorization: str | None, shop_token: str | None, *, wrong_key: int = 401) -> Caller:
        """Tell who is calling, or raise the refusal to answer with: *wrong_key* is its status."""
        if authorization is None:
            raise RefusedError(missing_authorization())
        key = presented_key(authorization)
        if key in self._shop_keys:
            return Caller(budget=SHOP, has_shop=True)
        if key in self._partner_keys and shop_token is None:
            return Caller(budget="partner", has_shop=False)
        if key in self._partner_keys and shop_token in self._shop_keys:
            return Caller(budget=f"partner+{SHOP}", has_shop=True)
        raise RefusedError(key_refusal(wrong_key))


def key_refusal(status: int) -> Reply:
    """Answer a key that opens nothing: 401 with a code, or 403 as for a route that is not allowed."""
    message = "Invalid API key"
    return access_denied(message) if status == 403 else coded_error(status, UNAUTHORIZED, message)


def presented_key(authorization: str) -> str:
    """Take the key out of an Authorization header; empty when there is none in it.

    >>> presented_key("Bearer sk_sandbox"), presented_key("Basic c2tfc2FuZGJveDo=")
    ('sk_sandbox', 'sk_sandbox')
    """
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        return _basic_user(rest.strip())
    return ""


def key_fingerprint(authorization: str | None) -> str | None:
    """Name a key without giving it away; None when no key was presented."""
    key = presented_key(authorization or "")
    return hashlib.sha256(key.encode()).hexdigest()[:12] if key else None


def _basic_user(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")[0]
    except ValueError:  # bad base64 and bad UTF-8 alike
        return ""
