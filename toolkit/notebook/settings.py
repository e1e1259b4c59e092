"""What the environment and the system's keyring say: the key, where Postscript is, where the ledger is."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.errors import SettingsError

DEFAULT_BASE_URL = "https://api.postscript.io"
KEYRING_SERVICE = "audience-toolkit"
"""What the keyring calls the toolkit; the account is the address of the API: a sandbox has its own."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of this process. The secrets show in no repr."""

    secret_key: str = field(default="", repr=False)
    """Empty when neither the environment nor the keyring has one."""
    shop_token: str = field(default="", repr=False)
    """For partners: the shop's key, beside the partner's."""
    base_url: str = DEFAULT_BASE_URL
    ledger_url: str = field(default="", repr=False)
    """SQLAlchemy URL, which may hold a password; empty for a file in the output folder."""
    alert_url: str = field(default="", repr=False)
    """Where alerts of scheduled runs are posted, which may hold a token; empty for nowhere."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret of the environment: none may stay in a file of a run."""
        if not self.ledger_url:
            return (self.secret_key, self.shop_token)
        from toolkit.ledger.messages import read_address  # SQLAlchemy: only a named ledger waits for it

        address = read_address(self.ledger_url)
        # A password that is the database's name as well is found everywhere, and hides nothing.
        passwords = (each for each in address.passwords if each not in address.shown)
        return (self.secret_key, self.shop_token, *passwords)

    def get_secret_key(self) -> str:
        """Return the secret key; SettingsError when there is none."""
        if not self.secret_key:
            raise SettingsError(
                "POSTSCRIPT_SECRET_KEY is not set, and the system's keyring has no key. In Postscript: your "
                "shop's name, then API, then Create Security Key Pair, then Show; put the private key into "
                "the environment variable POSTSCRIPT_SECRET_KEY and start again. Never write it into a "
                "notebook."
            )
        return self.secret_key


def load_settings(environment: Mapping[str, str] | None = None, *, with_keyring: bool = True) -> Settings:
    """Return the settings in *environment*; by default those of this process, and the keyring's key.

    Without *with_keyring* the keyring, which may take a moment, is not asked.
    """
    found = os.environ if environment is None else environment
    base_url = found.get("POSTSCRIPT_BASE_URL", "").strip() or DEFAULT_BASE_URL
    secret_key = found.get("POSTSCRIPT_SECRET_KEY", "").strip()
    if not secret_key and environment is None and with_keyring:
        secret_key = _GIVEN.get(base_url) or read_keyring(base_url)
    return Settings(
        secret_key=secret_key,
        shop_token=found.get("POSTSCRIPT_SHOP_TOKEN", "").strip(),
        base_url=base_url,
        ledger_url=found.get("TOOLKIT_LEDGER_URL", "").strip(),
        alert_url=found.get("TOOLKIT_ALERT_URL", "").strip(),
    )


_GIVEN: dict[str, str] = {}
"""Address of the API → the key that was typed in: this process is not asked for it twice."""


def remember_key(base_url: str, secret_key: str) -> None:
    """Keep a key for as long as this process lives."""
    _GIVEN[base_url] = secret_key


def read_keyring(base_url: str) -> str:
    """Return the key that the system's keyring holds for an address; empty without a key or a keyring."""
    try:
        return str(importlib.import_module("keyring").get_password(KEYRING_SERVICE, base_url) or "")
    except Exception:  # noqa: BLE001 - not installed, or failing in a way of its own: then there is no key
        return ""


def write_keyring(base_url: str, secret_key: str) -> bool:
    """Save a key in the system's keyring; False where there is none that takes it."""
    try:
        importlib.import_module("keyring").set_password(KEYRING_SERVICE, base_url, secret_key)
    except Exception:  # noqa: BLE001 - see above
        return False
    return True
