"""What may be shown of a database: its URL without secrets, its complaints without the values they quote."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_plus

import sqlalchemy as sa

from toolkit.errors import LedgerError

_SECRET = re.compile("pass|secret|key|token", re.IGNORECASE)
"""Part of the name of an option that holds a secret."""

_DISK = "the disk answered with an error. Check the disk, then run again"
_GONE = "the connection to the database was lost. Check that the database runs, then run again"
_CODES: Mapping[str, str] = {
    "the disk is full. Make room, then run again": "SQLITE_FULL 53100 ENOSPC",
    "another program kept it locked for too long. Close what else has it open, then run again": (
        "SQLITE_BUSY 55P03 40P01"
    ),
    "this user may not write to it. Change its permissions, or name another ledger": (
        "SQLITE_READONLY 42501 EACCES EPERM EROFS"
    ),
    "its file is damaged. Put back a copy of it": "SQLITE_CORRUPT SQLITE_NOTADB",
    "its file cannot be opened. Check that its folder is there and can be written to": (
        "SQLITE_CANTOPEN EISDIR ELOOP"
    ),
    "the database server only answers reads. Connect to the one that takes writes, then run again": "25006",
    "the server takes no more connections. Close what else uses it, then run again": "53300",
    "there is no such database. Make it, or name another ledger": "3D000",
    "the database does not accept the password. Correct TOOLKIT_LEDGER_URL": "28P01",
    _DISK: "SQLITE_IOERR 58030",
}
"""What is the matter, and what to do → SQLite's names of errors, SQLSTATE and names of errno."""
_SENTENCES = {code: sentence for sentence, codes in _CODES.items() for code in codes.split()}
_ANY = "the database refused it ({}). Run again; if it is refused again, ask who keeps the database"


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
    """Return what of a ledger's URL may be shown.

    >>> read_address("postgresql://ana:hush@db.test:5432/audiences?sslmode=require").shown
    'postgresql://db.test:5432/audiences'
    >>> read_address("postgresql://ana:hu@sh@db.test/audiences").shown
    ''
    """
    scheme, _, rest = url.partition("://")
    is_file = scheme in {"sqlite", "sqlite+pysqlite"}
    account, _, place = ("", "", rest) if is_file else rest.rpartition("@")
    user, _, password = account.partition(":")
    # An @, / or ? that is not written as %40, %2F or %3F: the password is what SQLAlchemy takes for it.
    is_certain = rest and re.fullmatch(r"[\w+]+", scheme) and not re.search("[@/?]", account)
    shown = f"{scheme}://{place.partition('?')[0]}" if is_certain else ""
    options = [part.partition("=")[::2] for part in url.partition("?")[2].split("&")]
    passwords = _both(password, *(value for name, value in options if _SECRET.search(name)))
    hidden = _both(*passwords, user, *(value for _, value in options))
    return LedgerAddress(shown=shown, passwords=passwords, hidden=hidden)


def _both(*parts: str) -> tuple[str, ...]:
    found = {form for part in parts for form in (part, unquote(part), unquote_plus(part)) if form}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def is_busy(error: BaseException) -> bool:
    """Return whether another connection has what SQLite wanted to lock."""
    return _code_of(error).startswith("SQLITE_BUSY")


@contextmanager
def as_ledger_errors(name: str) -> Iterator[None]:
    """Turn whatever the database raises into a LedgerError."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise LedgerError(f"The ledger {name} cannot be read or written: {sentence_of(error)}.") from None


def sentence_of(error: BaseException) -> str:
    """Return what is the matter and what to do; a driver's own text may quote data, so none is in it.

    >>> sentence_of(sqlite3.OperationalError("near +15550100: syntax error"))
    'the connection to the database was lost. Check that the database runs, then run again'
    """
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OSError):
        return _SENTENCES.get(errno.errorcode.get(cause.errno or 0, ""), _DISK)
    code = _code_of(error)
    if known := _SENTENCES.get(code) or _SENTENCES.get("_".join(code.split("_")[:2])):
        return known
    is_connection = type(cause).__name__ in {"OperationalError", "InterfaceError", "TimeoutError"}
    if code.startswith(("08", "57P")) or (not code and is_connection):
        return _GONE
    return _ANY.format(f"{type(cause).__name__} {code}".strip())


def opening_sentence(error: Exception, address: LedgerAddress) -> str:
    """Return why a database could not be opened."""
    if _code_of(error):
        return sentence_of(error)
    # A driver's own text names host and user; of what could not be taken apart nothing is repeated.
    reason = address.scrub(str(getattr(error, "orig", None) or error).partition("\n")[0])[:200]
    return f"{type(error).__name__}: {reason}".rstrip(": ")


def _code_of(error: BaseException) -> str:
    """Return SQLite's error name or the SQLSTATE of a driver's error; empty when it has none."""
    cause = getattr(error, "orig", None) or error
    return str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "")
