"""What a database complains about, as a sentence without the values that it quotes."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from toolkit.errors import LedgerError

_FULL = "the disk is full. Make room, then run again"
_BUSY = "another program kept it locked for too long. Close what else has it open, then run again"
_READ_ONLY = "this user may not write to it. Change its permissions, or name another ledger"
_DAMAGED = "its file is damaged. Put back a copy of it"
_DISK = "the disk answered with an error. Check the disk, then run again"
_GONE = "the connection to the database was lost. Check that the database runs, then run again"
_SENTENCES: Mapping[str, str] = {
    "SQLITE_FULL": _FULL,
    "SQLITE_BUSY": _BUSY,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_IOERR": _DISK,
    "SQLITE_CANTOPEN": "its file cannot be opened. Check that its folder is there and can be written to",
    "53100": _FULL,
    "55P03": _BUSY,
    "40P01": _BUSY,
    "25006": "the database server only answers reads. Connect to the one that takes writes, then run again",
    "42501": _READ_ONLY,
    "58030": _DISK,
    "3D000": "there is no such database. Make it, or name another ledger",
    "28P01": "the database does not accept the password. Correct TOOLKIT_LEDGER_URL",
}
"""SQLite's error name, or SQLSTATE → what is the matter, and what to do."""
_OF_FILES = {errno.ENOSPC: _FULL, errno.EACCES: _READ_ONLY, errno.EPERM: _READ_ONLY, errno.EROFS: _READ_ONLY}
_ANY = "the database refused it ({}). Run again; if it is refused again, ask who keeps the database"


def code_of(error: BaseException) -> str:
    """Return SQLite's error name or the SQLSTATE of a driver's error; empty when it has none."""
    cause = getattr(error, "orig", None) or error
    return str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "")


def is_busy(error: BaseException) -> bool:
    """Tell whether another connection has what SQLite wanted to lock."""
    return code_of(error).startswith("SQLITE_BUSY")


def sentence_of(error: BaseException) -> str:
    """Return what is the matter and what to do; a driver's own words may quote data, so none is in it.

    >>> sentence_of(sqlite3.OperationalError("near +15550100: syntax error"))
    'the connection to the database was lost. Check that the database runs, then run again'
    """
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OSError):
        return _OF_FILES.get(cause.errno or 0, _DISK)
    code = code_of(error)
    for known in (code, "_".join(code.split("_")[:2])):
        if known in _SENTENCES:
            return _SENTENCES[known]
    is_connection = type(cause).__name__ in {"OperationalError", "InterfaceError", "TimeoutError"}
    if code.startswith(("08", "57P")) or (not code and is_connection):
        return _GONE
    return _ANY.format(f"{type(cause).__name__} {code}".strip())


@contextmanager
def as_ledger_errors(name: str) -> Iterator[None]:
    """Turn whatever the database raises into a LedgerError."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise LedgerError(f"The ledger {name} cannot be read or written: {sentence_of(error)}.") from None
