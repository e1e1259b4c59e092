"""What the environment says: the secret key, where Postscript is, where the ledger is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.errors import SettingsError

DEFAULT_BASE_URL = "https://api.postscript.io"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of this process. The secrets show in no repr."""

    secret_key: str = field(default="", repr=False)
    """Empty when the environment has none."""
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
                "POSTSCRIPT_SECRET_KEY is not set. In Postscript: your shop's name, then API, then Create "
                "Security Key Pair, then Show; put the private key into the environment variable "
                "POSTSCRIPT_SECRET_KEY and start again. Never write it into a notebook."
            )
        return self.secret_key


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in *environment*, or in that of this process."""
    found = os.environ if environment is None else environment
    return Settings(
        secret_key=found.get("POSTSCRIPT_SECRET_KEY", "").strip(),
        shop_token=found.get("POSTSCRIPT_SHOP_TOKEN", "").strip(),
        base_url=found.get("POSTSCRIPT_BASE_URL", "").strip() or DEFAULT_BASE_URL,
        ledger_url=found.get("TOOLKIT_LEDGER_URL", "").strip(),
        alert_url=found.get("TOOLKIT_ALERT_URL", "").strip(),
    )
