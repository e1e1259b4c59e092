"""Read a list of subscribers page by page, though it changes meanwhile, and know whether all of it was read.

Postscript pages by number, so whoever is removed, or moves to the end of the order, pulls everybody behind
one place forward. From a page to the one before it that makes a subscriber appear twice; the other way round
it would make one disappear. So the last page is read first, then several stretches at once, each from its
last page to its first. At the end the last page is read again: if it still begins with the same subscriber,
nothing has moved. If it does not, one may have slipped from the end of one stretch to the beginning of the
next, and the pages where stretches meet are read again.

A page that is empty, short or like another one is read again too. See docs/design/delivery.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from toolkit.errors import RejectedError
from toolkit.frames import typed

from . import api
from .lookup import WORKERS, Postscript, ignores_filter, in_parallel
from .subscribers import SUBSCRIBER_COLUMNS, subscribers_table

_ROWS_AT_ONCE = 1_000
"""Records kept as they came; beyond that they become a frame."""
_TRIES = 2
"""Times that a doubtful page is read again."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list."""

    rows: Sequence[api.Subscriber]
    total: int | None
    """Pages there are; None when the answer does not say."""

    @property
    def newest(self) -> datetime | None:
        """The latest time at which a subscriber on the page was updated."""
        return max(filter(None, (api.parse_time(row.updated_at) for row in self.rows)), default=None)

    @property
    def ids(self) -> tuple[str, ...]:
        """Who is on the page, in its order."""
        return tuple(row.subscriber_id for row in self.rows)

    @property
    def is_latest_first(self) -> bool:
        """True when it is in the order of ``updated_at__desc``."""
        times = [moment for row in self.rows if (moment := api.parse_time(row.updated_at))]
        return times == sorted(times, reverse=True)


class ListedRows:
    """Subscribers as they are read: a frame that grows."""

    def __init__(self, trait_keys: Collection[str]) -> None:
        self.trait_keys = trait_keys
        self._fresh: list[api.Subscriber] = []
        self._frames: list[pd.DataFrame] = []
        self.newest: datetime | None = None

    def add(self, page: Page) -> None:
        """Take the rows of a page in."""
        self._fresh.extend(page.rows)
        self.newest = max(filter(None, (self.newest, page.newest)), default=None)
        if len(self._fresh) >= _ROWS_AT_ONCE:
            self._settle()

    def add_all(self, others: ListedRows) -> None:
        """Take in what others hold, as read later."""
        self._settle()
        others._settle()
        self._frames += others._frames
        self.newest = max(filter(None, (self.newest, others.newest)), default=None)

    def table(self) -> pd.DataFrame:
        """Return SUBSCRIBER_COLUMNS, one row an id: the one that was updated last, else read last."""
        self._settle()
        frame = pd.concat(self._frames, ignore_index=True)
        times = pd.to_datetime(frame["updated_at"], utc=True, format="ISO8601", errors="coerce")
        newest_last = times.sort_values(kind="stable", na_position="first").index
        kept = frame.loc[newest_last].drop_duplicates("subscriber_id", keep="last").sort_index()
        return typed(kept.reset_index(drop=True), SUBSCRIBER_COLUMNS)

    def _settle(self) -> None:
        if self._fresh or not self._frames:
            self._frames.append(subscribers_table(self._fresh, trait_keys=self.trait_keys))
        self._fresh = []


def read_page(
    postscript: Postscript, *, sort: str, page: int = 1, updated_since: datetime | None = None
) -> Page:
    """Return one page; beyond the end it is empty, however Postscript itself says so."""
    request = api.list_subscribers(sort=sort, page=page, updated_since=updated_since)
    try:
        rows, total = api.parse_page(postscript.send(request))
    except RejectedError as error:
        if page > 1 and error.status_code == 404 and error.from_postscript:
            return Page(rows=(), total=None)
        raise
    if updated_since is not None:
        since = updated_since.replace(microsecond=0)
        times = (api.parse_time(row.updated_at) for row in rows)
        if any(moment is not None and moment < since for moment in times):
            raise ignores_filter()
    return Page(rows=rows, total=total)


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """How a scan went."""

    is_whole: bool
    """False when a page stayed empty, short or like another one: a subscriber may be missing."""
    is_still: bool
    """True when the end of the list was the same before and after."""
    page_size: int
    """Rows of a full page; 0 when there is only one."""


def scan(
    postscript: Postscript,
    rows: ListedRows,
    *,
    sort: str,
    first: Page,
    is_its_first: bool = False,
    updated_since: datetime | None = None,
    page_size: int = 0,
) -> Scanned:
    """Read every page into *rows*.

    *sort* must put whoever changes at the end: ``created_at__asc`` for all, ``updated_at__asc`` for changes.
    *first* is a page of the same list, in any order: it tells how many there are. With *is_its_first* it is
    this list's own first page. *page_size* is that of the shop, where it is known.
    """
    listing = _Listing(
        lambda number: read_page(postscript, sort=sort, page=number, updated_since=updated_since), rows
    )
    is_one = first.total is not None and first.total <= 1
    listing.size = max(len(first.rows), page_size if is_one else 0)
    rows.add(first)
    if is_its_first or is_one:
        listing.pages[1] = first.ids
    return listing.read_all(first.total)


class _Listing:
    """The pages of one list, as they are read."""

    def __init__(self, read: Callable[[int], Page], rows: ListedRows) -> None:
        self._read, self._rows = read, rows
        self.pages: dict[int, tuple[str, ...]] = {}
        """Page → who was on it when it was read last."""
        self.size = 0
        self._seams: list[int] = []
        """Pages that were read before the one behind them."""

    def read_all(self, total: int | None) -> Scanned:
        """Read every page of a list that should have *total*."""
        total = self._find_end() if total is None else max(total, 1)
        if total == 1 and 1 in self.pages:
            self._read_on(1)
            if self._end <= 1:
                return Scanned(is_whole=True, is_still=True, page_size=0)
            total = self._end
        self.pages = {1: self.pages[1]} if 1 in self.pages else {}
        self._seams = [*self.pages]
        before = self._take(total)
        self._read_stretches([n for n in range(total - 1, 0, -1) if n not in self.pages])
        self._repair()
        end = self._end
        after = self._take(end) if end else ()
        self._read_on(end)
        self._read_each(range(end, self._end))
        is_still = end == total and after == before
        if end != total or after[:1] != before[:1]:
            self._read_each(n for n in self._seams if n < end)
        self._repair()
        return Scanned(
            is_whole=not self._doubtful(),
            is_still=is_still,
            page_size=self.size if self._end > 1 else 0,
        )

    @property
    def _end(self) -> int:
        return max((number for number, ids in self.pages.items() if ids), default=0)

    def _take(self, number: int) -> tuple[str, ...]:
        page = self._read(number)
        self._note(number, page)
        self._rows.add(page)
        return page.ids

    def _note(self, number: int, page: Page) -> None:
        self.pages[number] = page.ids
        self.size = max(self.size, len(page.ids))

    def _read_on(self, end: int) -> None:
        """Read what comes after a last page that is full: the number of pages may be wrong, or have grown."""
        while end and len(self.pages[end]) >= self.size:
            # As sets: the first page may be known in another order.
            if {*self._take(end + 1)} in (set(), {*self.pages[end]}):
                self.pages.pop(end + 1)
                return
            end += 1

    def _read_stretches(self, numbers: Sequence[int]) -> None:
        length = -(-len(numbers) // WORKERS) or 1
        stretches = [numbers[i : i + length] for i in range(0, len(numbers), length)]
        self._seams += [stretch[0] for stretch in stretches[1:]]

        def read(stretch: Iterable[int]) -> tuple[ListedRows, dict[int, tuple[str, ...]]]:
            rows, pages = ListedRows(self._rows.trait_keys), dict[int, tuple[str, ...]]()
            for number in stretch:
                page = self._read(number)
                rows.add(page)
                pages[number] = page.ids
            return rows, pages

        for rows, pages in in_parallel(read, stretches):
            self._rows.add_all(rows)
            self.pages |= pages
        self.size = max(self.size, *map(len, self.pages.values()), 0)

    def _read_each(self, numbers: Iterable[int]) -> None:
        listed = sorted(numbers, reverse=True)
        for number, page in zip(listed, in_parallel(self._read, listed), strict=True):
            self._note(number, page)
            self._rows.add(page)

    def _repair(self) -> None:
        for _ in range(_TRIES):
            if doubtful := self._doubtful():
                self._read_each(doubtful)

    def _doubtful(self) -> list[int]:
        """Return the pages before the last that are not full, or hold mostly who is on other pages too."""
        end = self._end
        times = Counter(who for ids in self.pages.values() for who in ids)
        return [
            number
            for number in range(1, end + 1)
            if (number < end and len(self.pages.get(number, ())) < self.size)
            or 2 * sum(times[who] > 1 for who in self.pages.get(number, ())) > len(self.pages.get(number, ()))
        ]

    def _find_end(self) -> int:
        """Return the number of pages where no answer has it: by doubling, then by halving."""
        low, high = 1, 2
        ids = self._take(low)
        while ids and (beyond := self._take(high)) and beyond != ids:
            low, high, ids = high, 2 * high, beyond
        beyond = self.pages.get(high, ())
        while high - low > 1:
            middle = (low + high) // 2
            if self._take(middle) in ((), beyond):
                high = middle
            else:
                low = middle
        return low
