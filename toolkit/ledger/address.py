"""A ledger's URL: what of it may be shown, and what must be hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

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
