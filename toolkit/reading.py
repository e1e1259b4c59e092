"""Know what Postscript holds, at the least calls: the whole list, lookups, or only what changed since.

The ledger's mirror is renewed by asking who was updated since; that also finds people who subscribed late.
Without one, the shop is read page by page, or people are asked for in batches: whichever is cheaper.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from math import ceil

import pandas as pd

from . import wire
from .contacts import CONTACT_COLUMNS
from .errors import ParameterError
from .frames import check_columns
from .lookup import Found, Postscript, calibrate, look_up
from .mirror import Mirror, Reading, absent, renewed
from .plan import subscribers_table
from .scan import Page, Rows, read_page, scan

SCOPES = ("incremental", "full")
OVERLAP = timedelta(seconds=120)
"""How far behind the newest known change is asked again: clocks differ, and copies lag."""


def read_subscribers(
    contacts: pd.DataFrame,
    postscript: Postscript,
    *,
    mirror: Mirror | None = None,
    trait_keys: Collection[str] = (),
    complete: bool = False,
    scope: str = "incremental",
) -> Reading:
    """Read the subscribers that a plan needs, in the way that takes the fewest calls.

    Parameters
    ----------
    contacts
        check_contacts() of the people who matter.
    postscript
        The connection.
    mirror
        What is known from earlier, `Ledger.load_mirror`; only what changed since is read then.
    trait_keys
        Properties to keep beside the audiences: those of the traits, `State.trait_keys`.
    complete
        True reads everybody, also people who are nobody's contact: for snapshots and for drift.
    scope
        ``incremental``, or ``full`` to read anew what the mirror has.

    Returns
    -------
    Reading
        For `plan` and for `Ledger.save_mirror`.

    Raises
    ------
    PostscriptError
        Reading failed for good: who subscribes is then unknown, and nothing can be decided.
    ParameterError
        No such *scope*.
    """
    if scope not in SCOPES:
        raise ParameterError(f'scope is "{scope}"; use "incremental" or "full".')
    check_columns(contacts, CONTACT_COLUMNS, of="contacts")
    before = mirror or Mirror.empty()
    reader = _Reader(contacts, postscript, before, tuple(trait_keys))
    if scope == "incremental" and before.can_be_renewed(trait_keys=trait_keys, complete=complete):
        reading = reader.read_changes()
        if reading is not None:
            return reading
    return reader.read_anew(complete=complete)


@dataclass(frozen=True)
class _Reader:
    """One reading, and what it starts from."""

    contacts: pd.DataFrame
    postscript: Postscript
    before: Mirror
    trait_keys: tuple[str, ...]

    # --- renewing a mirror ----------------------------------------------------------------------------

    def read_changes(self) -> Reading | None:
        """Return the mirror renewed; None when reading it anew is cheaper."""
        newest = wire.parse_time(self.before.newest)
        if newest is None:
            return None
        since = newest - OVERLAP
        first = read_page(self.postscript, sort="updated_at__asc", updated_since=since)
        cost = _cost_of_pages(first.total or 1)
        size = self.before.page_size
        lacking = 0 if self.before.is_complete else self._cost_of_lookups(asked=self.before.asked, size=size)
        anew = 2 + self._cost_of_lookups(size=size)
        if (first.total or 1) > 1 and not self.before.is_complete and cost + lacking > anew:
            return None
        rows = Rows(self.before.trait_keys)
        listed = scan(self.postscript, rows, sort="updated_at__asc", updated_since=since, first=first)
        self._follow_up(rows, first)
        found, notes = Found(), list[str]()
        everybody, _ = renewed(self.before.subscribers, rows.table())
        if not self.before.is_complete or listed > len(rows.table()):
            found, notes = self._look_up(everybody, asked=self.before.asked)
        read = pd.concat([rows.table(), self._as_table(found)], ignore_index=True)
        read = read.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
        everybody, gone = renewed(self.before.subscribers, read)
        after = Mirror(
            subscribers=everybody,
            newest=_text(max(filter(None, (newest, rows.newest)))),
            is_complete=self.before.is_complete,
            asked=frozenset() if self.before.is_complete else self.before.asked | found.asked,
            trait_keys=self.before.trait_keys,
            page_size=self.before.page_size,
        )
        estimates = {"changes": cost + lacking, "lookups": anew}
        return Reading(
            mirror=after, read=read, gone=gone, method="changes", estimates=estimates, notes=(*notes,)
        )

    def _follow_up(self, rows: Rows, first: Page) -> None:
        """Read what changed while several pages were read: back from the latest, to what is known."""
        since = rows.newest
        if since is None or (first.total or 1) <= 1:
            return
        known = rows.table().set_index("subscriber_id")["updated_at"]
        for number in count(1):
            page = read_page(self.postscript, sort="updated_at__desc", page=number, updated_since=since)
            rows.add(page)
            reaches_known = any(known.get(row.subscriber_id) == row.updated_at for row in page.rows)
            if reaches_known or not page.rows or number == page.total:
                return

    # --- reading anew ---------------------------------------------------------------------------------

    def read_anew(self, *, complete: bool) -> Reading:
        """Read the whole list, or ask for the people: whichever takes fewer calls."""
        first = read_page(self.postscript, sort="updated_at__desc")
        pages = first.total or 1
        size = len(first.rows) if pages > 1 else 0
        asking = calibrate(self.postscript, first.rows)
        estimates = {
            "listing": 2 + (pages + 1 if pages > 1 else 0),
            "lookups": 2 + self._cost_of_lookups(size=size, subscribers=pages * max(size, 1)),
        }
        notes = _notes(asking)
        if not complete and first.total is not None and estimates["lookups"] < estimates["listing"]:
            return self._by_lookups(first, asking, size, estimates, notes)
        return self._by_listing(first, asking, size, estimates, notes)

    def _by_listing(
        self, first: Page, asking: wire.Asking, size: int, estimates: dict[str, int], notes: list[str]
    ) -> Reading:
        rows = Rows(self.trait_keys)
        rows.add(first)
        if first.total is None or first.total > 1:
            listed = scan(self.postscript, rows, sort="created_at__asc", first=first)
            if first.newest is not None:
                changed = read_page(self.postscript, sort="updated_at__asc", updated_since=first.newest)
                scan(self.postscript, rows, sort="updated_at__asc", updated_since=first.newest, first=changed)
                self._follow_up(rows, changed)
            if listed > len(rows.table()):
                # Somebody was removed while the list was read, and may have hidden somebody else.
                found, more = self._look_up(rows.table(), asking=asking)
                rows.add(Page(rows=found.rows, total=1))
                notes = [*notes, *more, "Subscribers were removed while the list was read."]
        read = rows.table()
        after = Mirror(
            subscribers=read,
            newest=_text(rows.newest),
            is_complete=True,
            trait_keys=self.trait_keys,
            page_size=size,
        )
        return Reading(
            mirror=after,
            read=read,
            replaces=True,
            method="listing",
            estimates=estimates,
            notes=(*notes,),
        )

    def _by_lookups(
        self, first: Page, asking: wire.Asking, size: int, estimates: dict[str, int], notes: list[str]
    ) -> Reading:
        found = look_up(self.contacts, self.postscript, asking=asking)
        read = self._as_table(found)
        after = Mirror(
            subscribers=read,
            newest=_text(first.newest),
            asked=frozenset(found.asked),
            trait_keys=self.trait_keys,
            page_size=size,
        )
        return Reading(
            mirror=after,
            read=read,
            replaces=True,
            method="lookups",
            estimates=estimates,
            notes=(*notes, *_refused(found)),
        )

    # --- parts ----------------------------------------------------------------------------------------

    def _look_up(
        self,
        everybody: pd.DataFrame,
        *,
        asked: Collection[str] = frozenset(),
        asking: wire.Asking | None = None,
    ) -> tuple[Found, list[str]]:
        """Ask for the people whom the mirror does not show, unless they were asked for before."""
        known = {*everybody["phone_digits"].dropna()}
        wanted = absent(self.contacts, known, asked)
        if wanted.empty:
            return Found(), []
        notes: list[str] = []
        if asking is None:
            sample = read_page(self.postscript, sort="updated_at__desc").rows
            asking = calibrate(self.postscript, sample)
            notes = _notes(asking)
        found = look_up(wanted, self.postscript, asking=asking, known=known, asked=asked)
        return found, [*notes, *_refused(found)]

    def _as_table(self, found: Found) -> pd.DataFrame:
        return subscribers_table(found.rows, trait_keys=self.trait_keys)

    def _cost_of_lookups(
        self, *, asked: Collection[str] = frozenset(), size: int = 0, subscribers: int | None = None
    ) -> int:
        """Predict the calls for asking for everybody (`postscript_api` calls it the minimum by lookups)."""
        phones = [*self.contacts["phone_e164"].dropna().unique()]
        phones = [phone for phone in phones if phone.removeprefix("+") not in asked]
        emails = self.contacts.loc[self.contacts["email_clean"].notna(), ["email_clean", "phone_e164"]]
        emails = emails[~emails["email_clean"].isin([*asked])] if asked else emails
        share = 1.0 if subscribers is None else min(1.0, subscribers / max(len(phones), 1))
        pages = max(1, ceil(share * min(wire.MAX_IN, len(phones)) / size)) if size else 1
        alone = int(emails["phone_e164"].isna().sum())
        beside = 0 if subscribers is None else ceil((len(emails) - alone) * (1 - share))
        return ceil(len(phones) / wire.MAX_IN) * pages + ceil((alone + beside) / wire.MAX_IN)


def _cost_of_pages(pages: int) -> int:
    """Return the calls for reading so many pages: the first twice, and what changed meanwhile."""
    return pages if pages <= 1 else pages + 2


def _notes(asking: wire.Asking) -> list[str]:
    if asking.encoding == "single":
        return ["The shop does not take lookups of several people; they are asked for one by one."]
    return []


def _refused(found: Found) -> list[str]:
    if not found.refused:
        return []
    return [f"Postscript refused to look up {len(found.refused)} contacts; they are tried again next time."]


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
