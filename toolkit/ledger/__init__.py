"""The ledger: what was asked, what Postscript holds, what was sent. One database, many shops.

SQLite in WAL mode by default, so that it can be read while a scheduled run writes; PostgreSQL for a team.
"""

from __future__ import annotations

from .held import HeldWords
from .history import History
from .journal import Journal
from .mirrors import Mirrors
from .opening import file_of
from .reached import Reached
from .schema import metadata, transitions
from .traces import Traces

__all__ = ["Ledger", "file_of", "metadata", "transitions"]


class Ledger(History, HeldWords, Mirrors, Reached, Journal, Traces):
    """A ledger, opened and brought to the newest schema. Safe to use from several threads.

    Parameters
    ----------
    url
        SQLAlchemy URL such as ``sqlite:///ledger.db`` or ``postgresql+psycopg://…``.

    Raises
    ------
    LedgerError
        The database cannot be opened, or belongs to a newer version of the toolkit.
    """
