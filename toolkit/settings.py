"""What the environment says: the secret key, where Postscript is, where the ledger is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

from .errors import SettingsError

DEFAULT_BASE_URL = "https://api.postscript.io"
_FILE = re.compile(r"(?P<shown>sqlite(?:\+pysqlite)?://[^?]*)(?:\?(?P<options>.*))?", re.DOTALL)
_SERVER = re.compile(
    r"(?P<scheme>[\w+]+://)(?:(?P<user>[^:@/?]*)(?::(?P<password>[^@/?]*))?@)?(?P<place>[^@?]*)"
    r"(?:\?(?P<options>[^@]*))?"
)
_SECRET = re.compile("pass|secret|key|token", re.IGNORECASE)
"""What the name of an option has that holds a secret."""


@dataclass(frozen=True, kw_only=True)
class LedgerAddress:
    """A ledger's URL, taken apart as far as that is certain."""

    shown: str
    """What may be shown: scheme, host and database. Empty where it is not certain what the password is."""
    passwords: tuple[str, ...] = field(default=(), repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """Passwords, user and options, as they are written and as they are meant; the longest first."""

    def scrub(self, text: str) -> str:
        """Take out of a text what must not be shown."""
        for part in self.hidden:
            text = text.replace(part, "***")
        return text if self.shown else ""


def read_address(url: str) -> LedgerAddress:
    """Tell what of a ledger's URL may be shown.

    >>> read_address("postgresql://ana:hush@db.test:5432/audiences?sslmode=require").shown
    'postgresql://db.test:5432/audiences'
    >>> read_address("postgresql://ana:hu@sh@db.test/audiences").shown
    ''
    """
    if found := _FILE.fullmatch(url):
        shown, user, password = found["shown"], "", ""
    elif found := _SERVER.fullmatch(url):
        shown, user, password = found["scheme"] + found["place"], found["user"] or "", found["password"] or ""
    else:
        # An @, / or ? that is not written as %40, %2F or %3F: the password is what SQLAlchemy takes for it.
        whole = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        shown, user, password = "", "", whole
    written = (found["options"] if found else url.partition("?")[2]) or ""
    options = [part.partition("=")[::2] for part in written.split("&")]
    passwords = _both(password, *(value for name, value in options if _SECRET.search(name)))
    hidden = _both(*passwords, user, *(value for _, value in options))
    return LedgerAddress(shown=shown, passwords=passwords, hidden=hidden)


def _both(*parts: str) -> tuple[str, ...]:
    found = {form for part in parts for form in (part, unquote(part), unquote_plus(part)) if form}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


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
    budget_folder: str = ""
    """Folder in which processes share their pace; empty for this user's cache."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret of the environment: none may stay in a file of a run."""
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
        budget_folder=found.get("TOOLKIT_BUDGET_FOLDER", "").strip(),
    )
