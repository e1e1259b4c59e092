"""The ledger: what was asked for, what Postscript holds, what was sent. One database, many shops.

SQLite in WAL mode by default, so that it can be read while a scheduled run writes; PostgreSQL for a team.
"""

from __future__ import annotations

from .desired_state import DesiredState
from .history import History
from .journal import Journal
from .locks import ShopLocks


class Ledger(ShopLocks, History, DesiredState, Journal):
    """A ledger, opened and brought to the newest schema. Safe to use from several threads.

    Parameters
    ----------
    url
        SQLAlchemy URL such as ``sqlite:///ledger.db`` or ``postgresql+psycopg://…``.

    Raises
    ------
    LedgerError
        The database cannot be opened, or another version of the toolkit made it.
    """
