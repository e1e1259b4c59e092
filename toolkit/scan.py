"""Read a list of subscribers page by page, though it changes meanwhile.

Postscript pages by number, so whoever is removed, or moves to the end of the order, pulls everybody behind
one place forward. From the last page to the first that makes somebody appear twice; from the first to the
last it would make somebody disappear. So one page is read to learn how many there are, then the last, the
last but one, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from . import wire
from .errors import RejectedError
from .lookup import Postscript, ignores_filter, in_parallel
from .plan import SUBSCRIBER_COLUMNS, subscribers_table

_ROWS_AT_ONCE = 5_000
"""Records kept as they came; beyond that they become a frame."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list."""

    rows: Sequence[wire.Subscriber]
    total: int | None
    """Pages there are; None when the answer does not say."""

    @property
    def newest(self) -> datetime | None:
        """The latest time at which somebody on the page was updated."""
        return max(filter(None, (wire.parse_time(row.updated_at) for row in self.rows)), default=None)


class Rows:
    """Subscribers as they are read: a frame that grows."""

    def __init__(self, trait_keys: Collection[str]) -> None:
        self._trait_keys = trait_keys
        self._fresh: list[wire.Subscriber] = []
        self._frames: list[pd.DataFrame] = []
        self.newest: datetime | None = None

    def add(self, page: Page) -> None:
        """Take the rows of a page in."""
        self._fresh.extend(page.rows)
        self.newest = max(filter(None, (self.newest, page.newest)), default=None)
        if len(self._fresh) >= _ROWS_AT_ONCE:
            self._settle()

    def table(self) -> pd.DataFrame:
        """Return SUBSCRIBER_COLUMNS, one row an id: the one that was updated last, else read last."""
        self._settle()
        frame = pd.concat(self._frames, ignore_index=True)
        times = pd.to_datetime(frame["updated_at"], utc=True, format="ISO8601", errors="coerce")
        newest_last = times.sort_values(kind="stable", na_position="first").index
        kept = frame.loc[newest_last].drop_duplicates("subscriber_id", keep="last").sort_index()
        return kept.reset_index(drop=True).astype(SUBSCRIBER_COLUMNS)

    def _settle(self) -> None:
        self._frames.append(subscribers_table(self._fresh, trait_keys=self._trait_keys))
        self._fresh = []


def read_page(
    postscript: Postscript, *, sort: str, page: int = 1, updated_since: datetime | None = None
) -> Page:
    """Return one page; beyond the end it is empty, however the shop says so."""
    request = wire.list_subscribers(sort=sort, page=page, updated_since=updated_since)
    try:
        rows, total = wire.parse_page(postscript.send(request))
    except RejectedError as error:
        if page > 1 and error.status_code == 404:
            return Page(rows=(), total=None)
        raise
    if updated_since is not None:
        since = updated_since.replace(microsecond=0)
        times = (wire.parse_time(row.updated_at) for row in rows)
        if any(moment is not None and moment < since for moment in times):
            raise ignores_filter()
    return Page(rows=rows, total=total)


def scan(
    postscript: Postscript,
    rows: Rows,
    *,
    sort: str,
    first: Page,
    updated_since: datetime | None = None,
) -> int:
    """Read every page into *rows*; return how many subscribers there were when it began.

    *sort* must put whoever changes at the end: ``created_at__asc`` for all, ``updated_at__asc`` for changes.
    *first* is a page of the same list, in any order: it tells how many there are.
    """

    def read(number: int) -> Page:
        return read_page(postscript, sort=sort, page=number, updated_since=updated_since)

    rows.add(first)
    if first.total is None:
        return len(first.rows) + _until_empty(read, rows)
    if first.total <= 1:
        return len(first.rows)
    count = (first.total - 1) * len(first.rows)
    for place, page in enumerate(in_parallel(read, range(first.total, 0, -1))):
        rows.add(page)
        count += 0 if place else len(page.rows)
    return count


def _until_empty(read: Callable[[int], Page], rows: Rows) -> int:
    """Read on until a page is empty or the same again; return how many rows there were."""
    count, number, before = 0, 1, ""
    while True:
        page = read(number)
        ids = "\x1f".join(row.subscriber_id for row in page.rows)
        if not page.rows or ids == before:
            return count
        rows.add(page)
        count, number, before = count + len(page.rows), number + 1, ids
