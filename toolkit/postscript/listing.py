"""Read a list of subscribers page by page, though it changes meanwhile, and know whether all of it was read.

Postscript pages by number: a subscriber who is removed, or moves to the end of the order, pulls everybody
behind one place forward. From a page to the one before it that makes a subscriber appear twice; the other way
round it would make one disappear. So pages are read from last to first. See docs/design/delivery.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from math import ceil

import pandas as pd

from toolkit.errors import RejectedError
from toolkit.frames import typed

from . import api
from .api import Page
from .lookup import WORKERS, Postscript, ignores_filter, in_parallel
from .subscribers import SUBSCRIBER_COLUMNS, subscribers_table

_TRIES = 2
"""Times that a doubtful page is read again."""


class ListedRows:
    """Subscribers in the order they are read, by any number of threads: a frame that grows."""

    def __init__(self, trait_keys: Collection[str]) -> None:
        self.trait_keys = tuple(trait_keys)
        self._frames = [subscribers_table([])]

    def add(self, rows: Sequence[api.Subscriber]) -> None:
        """Take in the rows of a page or lookup."""
        if rows:
            self._frames.append(subscribers_table(rows, trait_keys=self.trait_keys))

    def table(self) -> pd.DataFrame:
        """Return SUBSCRIBER_COLUMNS, one row an id: the one that was updated last, else read last."""
        if len(self._frames) > 1:
            frame = pd.concat(self._frames[not len(self._frames[0]) :], ignore_index=True)
            newest_last = _times(frame).sort_values(kind="stable", na_position="first").index
            kept = frame.loc[newest_last].drop_duplicates("subscriber_id", keep="last").sort_index()
            self._frames = [typed(kept.reset_index(drop=True), SUBSCRIBER_COLUMNS)]
        return self._frames[0]

    @property
    def newest(self) -> datetime | None:
        """The latest time at which one of the subscribers was updated."""
        times = _times(self.table()).dropna()
        return None if times.empty else times.max().to_pydatetime()


def _times(frame: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(frame["updated_at"], utc=True, format="ISO8601", errors="coerce")


def read_page(postscript: Postscript, *, sort: str, page: int = 1, since: datetime | None = None) -> Page:
    """Return one page; beyond the end it is empty, however Postscript itself answers there."""
    request = api.list_subscribers(sort=sort, page=page, since=since)
    try:
        found = api.parse_page(postscript.send(request))
    except RejectedError as error:
        if page > 1 and error.status_code == 404 and error.from_postscript:
            return Page([])
        raise
    times = (api.parse_time(row.updated_at) for row in found.rows)
    if since and any(moment and moment < since.replace(microsecond=0) for moment in times):
        raise ignores_filter()
    return found


class Listing:
    """The list of all subscribers, or of those updated since a time; its pages as they are read into *rows*.

    Its order puts a subscriber who changes at the end. *page_size* is that of the shop, where it is known.
    """

    def __init__(
        self, postscript: Postscript, rows: ListedRows, *, since: datetime | None = None, page_size: int = 0
    ) -> None:
        self._postscript, self._rows, self._since = postscript, rows, since
        self._least_size = page_size
        self._pages: dict[int, tuple[str, ...]] = {}
        """Page → who was on it when it was read last."""

    def read(self, number: int) -> Page:
        """Return one page as it is now."""
        sort = "created_at__asc" if self._since is None else "updated_at__asc"
        return read_page(self._postscript, sort=sort, page=number, since=self._since)

    def read_all(self, first: Page) -> bool:
        """Read every page and return True; False where one stayed empty, short or like another one.

        *first* says how many there are: of all subscribers it may be the first page in another order.
        """
        total = max(first.total or 1, 1)
        self._rows.add(first.rows)
        if total > 1:
            self._least_size = len(first.rows)
        if total == 1 or self._since is not None:
            self._pages[1] = first.ids
        if total == 1:
            # Without a number of pages, they are read up to an empty one.
            self._read_on(1)
            if (total := self._end) <= 1:
                return True
            self._pages = {1: first.ids}
        seams = [*self._pages, *self._read_backwards(total)]
        before = self._pages[total]
        self._repair()
        # If the end begins with another subscriber, something has moved: one may have slipped from the end of
        # one stretch to the beginning of the next, and the pages where stretches meet are read again.
        end = self._end
        after = self._take(end) if end else ()
        self._read_on(end)
        self._read_each(range(end, self._end))
        if end != total or after[:1] != before[:1]:
            self._read_each(n for n in seams if n < end)
        self._repair()
        return not self._doubtful()

    @property
    def page_size(self) -> int:
        """Rows of a full page; 0 when there is only one."""
        return self._size if self._end > 1 else 0

    @property
    def _size(self) -> int:
        return max(self._least_size, *map(len, self._pages.values()), 0)

    @property
    def _end(self) -> int:
        return max((number for number, ids in self._pages.items() if ids), default=0)

    def _take(self, number: int) -> tuple[str, ...]:
        page = self.read(number)
        self._pages[number] = page.ids
        self._rows.add(page.rows)
        return page.ids

    def _read_on(self, end: int) -> None:
        """Read what comes after a last page that is full: the number of pages may be wrong, or have grown."""
        while end and len(self._pages[end]) >= self._size:
            # As sets: the first page may be known in another order.
            if {*self._take(end + 1)} in (set(), {*self._pages[end]}):
                self._pages.pop(end + 1)
                return
            end += 1

    def _read_backwards(self, total: int) -> list[int]:
        """Read all pages, the last one first; return those that were read before the one behind them."""
        self._take(total)
        numbers = [n for n in range(total - 1, 0, -1) if n not in self._pages]
        length = ceil(len(numbers) / WORKERS) or 1
        stretches = [numbers[i : i + length] for i in range(0, len(numbers), length)]
        in_parallel(lambda stretch: [*map(self._take, stretch)], stretches)
        return [stretch[0] for stretch in stretches[1:]]

    def _read_each(self, numbers: Iterable[int]) -> None:
        in_parallel(self._take, sorted(numbers, reverse=True))

    def _repair(self) -> None:
        for _ in range(_TRIES):
            self._read_each(self._doubtful())

    def _doubtful(self) -> list[int]:
        """Return the pages before the last that are not full, or hold mostly who is on other pages too."""
        end, size = self._end, self._size
        times = Counter(who for ids in self._pages.values() for who in ids)

        def is_doubtful(number: int) -> bool:
            ids = self._pages.get(number, ())
            return (number < end and len(ids) < size) or 2 * sum(times[who] > 1 for who in ids) > len(ids)

        return [*filter(is_doubtful, range(1, end + 1))]
