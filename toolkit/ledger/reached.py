"""The subscribers that people reach, and those they reached before."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from toolkit.sync.plan import REACHED_COLUMNS

from .database import Database, upsert
from .frames import read_frame, records
from .schema import reached


class Reached(Database):
    """The part of the ledger that keeps who has audiences because of which person."""

    def load_reached(self, shop_id: str) -> pd.DataFrame:
        """Return REACHED_COLUMNS: what live runs reached, but not where nothing is left of the person."""
        columns = [reached.c[name] for name in REACHED_COLUMNS]
        query = sa.select(*columns).where(reached.c.shop_id == shop_id, reached.c.left_in.is_(None))
        with self._reading() as connection:
            return read_frame(connection, query.order_by(*columns), REACHED_COLUMNS)

    def save_reached(self, shop_id: str, pairs: pd.DataFrame, *, left_in: str | None = None) -> None:
        """Write REACHED_COLUMNS; *left_in* is the run since which nothing of these people is left there."""
        with self._writing() as connection:
            for rows in records(pairs.assign(shop_id=shop_id)):
                upsert(connection, reached, [{**row, "left_in": left_in} for row in rows])
