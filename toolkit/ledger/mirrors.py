"""The mirror of a shop's subscribers."""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from toolkit.postscript.cache import Mirror, Reading
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS

from .database import Database, now, upsert
from .frames import ROWS_AT_ONCE, read_frame, records
from .schema import asked, doubted, mirrors, subscribers


class Mirrors(Database):
    """The part of the ledger that keeps what Postscript held when it was last read."""

    def load_mirror(self, shop_id: str) -> Mirror:
        """Return the mirror of a shop; an empty one when it was never read."""
        columns = [subscribers.c[name] for name in SUBSCRIBER_COLUMNS]
        query = sa.select(*columns).where(subscribers.c.shop_id == shop_id)
        contacts = sa.select(asked.c.contact).where(asked.c.shop_id == shop_id)
        in_doubt = sa.select(doubted.c.contact).where(doubted.c.shop_id == shop_id)
        with self._reading() as connection:
            about = connection.execute(sa.select(mirrors).where(mirrors.c.shop_id == shop_id)).first()
            if about is None:
                return Mirror.empty()
            return Mirror(
                subscribers=read_frame(
                    connection, query.order_by(subscribers.c.subscriber_id), SUBSCRIBER_COLUMNS
                ),
                newest=about.newest,
                is_complete=about.is_complete,
                asked=frozenset(connection.execute(contacts).scalars()),
                trait_keys=tuple(json.loads(about.trait_keys)),
                is_dated=about.is_dated,
                page_size=about.page_size,
                turn=about.turn,
                doubted=frozenset(connection.execute(in_doubt).scalars()),
                read_at=about.read_at,
            )

    def save_mirror(self, shop_id: str, reading: Reading) -> None:
        """Write what a reading brought, all of it or nothing."""
        mirror = reading.mirror
        about = {
            "shop_id": shop_id,
            "newest": mirror.newest,
            "is_complete": mirror.is_complete,
            "trait_keys": json.dumps(mirror.trait_keys),
            "page_size": mirror.page_size,
            "turn": mirror.turn,
            "read_at": now(),
        }
        is_dated = sa.select(mirrors.c.is_dated).where(mirrors.c.shop_id == shop_id)
        mine = subscribers.c.shop_id == shop_id
        contacts_of = sa.select(asked.c.contact).where(asked.c.shop_id == shop_id)
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":
                # One at a time, as SQLite has it: two that write the same rows would wait for each other.
                connection.exec_driver_sql("LOCK TABLE subscribers IN SHARE ROW EXCLUSIVE MODE")
            if reading.replaces:
                connection.execute(sa.delete(subscribers).where(mine))
            for ids in _some(reading.gone):
                connection.execute(sa.delete(subscribers).where(mine, subscribers.c.subscriber_id.in_(ids)))
            for rows in records(reading.read.assign(shop_id=shop_id)):
                upsert(connection, subscribers, rows)
            if reading.replaces:
                connection.execute(sa.delete(asked).where(asked.c.shop_id == shop_id))
            known = frozenset(connection.scalars(contacts_of))
            for contacts in _some(sorted(mirror.asked - known)):
                upsert(connection, asked, [{"shop_id": shop_id, "contact": text} for text in contacts])
            in_doubt = frozenset(
                connection.scalars(sa.select(doubted.c.contact).where(doubted.c.shop_id == shop_id))
            )
            for contacts in _some(in_doubt - mirror.doubted):
                settled = (doubted.c.shop_id == shop_id) & doubted.c.contact.in_(contacts)
                connection.execute(sa.delete(doubted).where(settled))
            about["is_dated"] = bool(connection.scalar(is_dated))
            upsert(connection, mirrors, [about])

    def forget_subscriber(self, shop_id: str, subscriber_id: str) -> None:
        """Take a subscriber who is gone out of the mirror; the contacts are looked up again next time."""
        mine = (subscribers.c.shop_id == shop_id) & (subscribers.c.subscriber_id == subscriber_id)
        held = sa.select(subscribers.c.phone_digits, subscribers.c.email_folded).where(mine)

        def forget(connection: sa.Connection) -> None:
            contacts = {contact for row in connection.execute(held) for contact in row if contact}
            rows = [{"shop_id": shop_id, "contact": contact} for contact in sorted(contacts)]
            upsert(connection, doubted, rows)
            connection.execute(sa.delete(subscribers).where(mine))

        self._commit(forget)

    def judge_mirror(self, shop_id: str, *, is_dated: bool) -> None:
        """Note whether a write showed in ``updated_at``; the mirror is renewed by it only then."""
        values = {"is_dated": is_dated, **({} if is_dated else {"newest": ""})}
        judged = sa.update(mirrors).where(mirrors.c.shop_id == shop_id).values(**values)
        self._commit(lambda connection: connection.execute(judged))


def _some(values: Iterable[str]) -> list[list[str]]:
    """Cut values into lists that fit one statement."""
    listed = [*values]
    return [listed[i : i + ROWS_AT_ONCE] for i in range(0, len(listed), ROWS_AT_ONCE)]
