"""Know what Postscript holds, at the least calls: the whole list, lookups, or only what changed since.

The ledger's cache is renewed by asking who was updated since; that also finds people who subscribed late.
What is never dated, a deleted subscriber above all, is found by looking a part of the people up again each
time. Without a cache, the shop is read page by page, or people are asked for in batches: whichever is
cheaper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from math import ceil
from typing import Any

import pandas as pd

from toolkit.contacts.bulk import CONTACT_COLUMNS
from toolkit.contacts.checks import fold_email
from toolkit.errors import InvalidAuthenticationError, ParameterError, PostscriptError, ServerError
from toolkit.frames import check_columns

from . import api
from .cache import FetchResult, SubscriberCache, absent, renewed, without_ids
from .listing import ListedRows, Page, read_page, scan
from .lookup import Found, Postscript, calibrate, find_subscriber, in_parallel, look_up
from .subscribers import subscribers_table

SCOPES = ("incremental", "full")
OVERLAP = timedelta(minutes=15)
"""How far behind the newest known change is asked again: clocks differ, times are rounded, copies lag."""
TURNS = 7
"""Readings within which everybody is looked up again, whatever changes show."""
_PART = 80
"""People in such a part at least, where there are so many: about one question."""
_A_DAY = timedelta(days=1)
_NOT_WHOLE = "The list of subscribers has pages that stay empty, short or like others."


def read_subscribers(
    contacts: pd.DataFrame,
    postscript: Postscript,
    *,
    cache: SubscriberCache | None = None,
    trait_keys: Collection[str] = (),
    complete: bool = False,
    scope: str = "incremental",
    dry_run: bool = False,
) -> FetchResult:
    """Read the subscribers that a plan needs, in the way that takes the fewest calls.

    Parameters
    ----------
    contacts
        check_contacts() of the people who matter.
    postscript
        The connection.
    cache
        What is known from earlier, `Ledger.load_cache`; only what changed since is read then, and a part of
        the people is looked up again, so that a subscriber who was deleted is noticed.
    trait_keys
        Properties to keep beside the audiences: those of the traits, `State.trait_keys`.
    complete
        True reads all subscribers, also those who match no contact: for snapshots and for drift.
    scope
        ``incremental``, or ``full`` to read anew what the cache has.
    dry_run
        True when nothing will be written: the cache then is renewed even if no write has shown yet that
        changes are dated.

    Returns
    -------
    Reading
        For `plan` and for `Ledger.save_cache`.

    Raises
    ------
    PostscriptError
        Reading failed for good, or not the whole list could be read where it is needed: who subscribes is
        then unknown, and nothing can be decided.
    ParameterError
        No such *scope*.
    """
    if scope not in SCOPES:
        raise ParameterError(f'scope is "{scope}"; use "incremental" or "full".')
    check_columns(contacts, CONTACT_COLUMNS, of="contacts")
    before = cache or SubscriberCache.empty()
    reader = _Reader(contacts, postscript, before, tuple(trait_keys))
    is_renewable = before.can_be_renewed(trait_keys=trait_keys, complete=complete, dry_run=dry_run)
    if scope == "incremental" and is_renewable:
        fetched = reader.read_changes()
        if fetched is not None:
            return fetched
    return reader.read_anew(complete=complete)


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """What looking people up again brought."""

    found: Found = field(default_factory=Found)
    gone: frozenset[str] = frozenset()
    """Ids of subscribers who are not there any more."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reader:
    """One reading, and what it starts from."""

    contacts: pd.DataFrame
    postscript: Postscript
    before: SubscriberCache
    trait_keys: tuple[str, ...]

    # --- renewing a cache ----------------------------------------------------------------------------

    def read_changes(self) -> FetchResult | None:
        """Return the cache renewed; None when that takes more calls than reading anew, or fails."""
        newest = api.parse_time(self.before.newest)
        if newest is None:
            return None
        since, size, is_partial = newest - OVERLAP, self.before.page_size, not self.before.is_complete
        first = read_page(self.postscript, sort="updated_at__asc", updated_since=since)
        due = self._due()
        unasked = self.contacts.index.isin(self.before.find_unasked(self.contacts).index)
        lookups = self._cost_of_lookups(self.contacts[due | unasked], size=size)
        cost = _cost_of_pages(first.total or 1) + lookups
        estimates = {"changes": cost, **self._cost_anew(size)}
        if cost > min(estimates.values()):
            return None
        rows = ListedRows(self.before.trait_keys)
        scanned = scan(
            self.postscript,
            rows,
            sort="updated_at__asc",
            first=first,
            is_its_first=True,
            updated_since=since,
            page_size=size,
        )
        if not scanned.is_whole:
            return None
        if not scanned.is_still:
            self._follow_up(rows)
        read = rows.table()
        everybody, gone = renewed(self.before.subscribers, read)
        was_read = self.contacts["phone_e164"].str.removeprefix("+").isin(read["phone_digits"].dropna())
        due = self.contacts[due & ~was_read]
        checked = self._check(due, everybody)
        read, everybody, gone = self._lay_over(read, checked, gone)
        asked = self.before.asked - self.before.doubted | checked.found.asked
        notes = checked.notes
        if is_partial:
            # Also those whose subscriber has just turned out to be gone.
            found, more = self._look_up(everybody, asked=asked)
            checked = _Checked(found=found)
            read, everybody, gone = self._lay_over(read, checked, gone)
            asked, notes = asked | found.asked, (*notes, *more)
        after = SubscriberCache(
            subscribers=everybody,
            newest=_text(max(filter(None, (newest, rows.newest)))),
            is_complete=self.before.is_complete,
            asked=frozenset(asked) if is_partial else frozenset(),
            trait_keys=self.before.trait_keys,
            page_size=size,
            turn=self.before.turn + 1,
            doubted=self.before.doubted - asked - {*due["email_clean"], *_contacts_of(read)},
        )
        return FetchResult(
            cache=after, read=read, gone=gone, method="changes", estimates=estimates, notes=notes
        )

    def _due(self) -> pd.Series:
        """Mark the people whose turn it is to be looked up again, and those whose subscriber is in doubt."""
        parts = min(TURNS, max(1, ceil(len(self.contacts) / _PART)))
        part = pd.util.hash_pandas_object(self.contacts["person"], index=False) % parts
        doubted = pd.Series([*self.before.doubted], dtype="str")
        phone, email = self.contacts["phone_e164"].str.removeprefix("+"), self.contacts["email_clean"]
        return (part == self.before.turn % parts) | phone.isin(doubted) | email.isin(doubted)

    def _check(self, due: pd.DataFrame, everybody: pd.DataFrame) -> _Checked:
        """Look people up again; a subscriber that this does not find, and that is not there, is gone."""
        phones = {*due["phone_e164"].dropna().str.removeprefix("+")}
        emails = {*due["email_clean"].dropna()}
        if not phones and not emails:
            return _Checked()
        found, lacking, notes = Found(), set[str](), list[str]()
        there, gone = list[api.Subscriber](), set[str]()
        held = _holders(everybody, phones | emails)
        if held:
            # They also show whether the shop takes the usual question.
            found = look_up(due, self.postscript)
            lacking = _holders(everybody, found.asked) - {row.subscriber_id for row in found.rows}
            if 2 * len(lacking) <= len(held):
                there, gone = self._read_by_id(lacking)
        if not held or there or 2 * len(lacking) > len(held):
            found, notes = self._ask(due)
            lacking = _holders(everybody, found.asked) - {row.subscriber_id for row in found.rows}
            there, gone = self._read_by_id(lacking - gone)
        found.rows += there
        return _Checked(found=found, gone=frozenset(gone), notes=(*notes,))

    def _read_by_id(self, ids: Collection[str]) -> tuple[list[api.Subscriber], set[str]]:
        """Return those who are there, and the ids of those who are gone; of the rest nothing is known."""

        def read(subscriber_id: str) -> api.Subscriber | None:
            try:
                found = find_subscriber(self.postscript, subscriber_id)
            except InvalidAuthenticationError:
                raise
            except PostscriptError:
                return None
            if found is None:
                gone.add(subscriber_id)
            return found

        gone: set[str] = set()
        return [row for row in in_parallel(read, sorted(ids)) if row and row.subscriber_id in ids], gone

    def _lay_over(
        self, read: pd.DataFrame, checked: _Checked, gone: Collection[str]
    ) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
        """Return what was read so far, everybody who is there, and the ids that are gone."""
        fresh = subscribers_table(checked.found.rows, trait_keys=self.before.trait_keys)
        read = pd.concat([read, fresh], ignore_index=True)
        read = read.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
        everybody, moved = renewed(self.before.subscribers, read)
        gone = {*gone, *moved, *checked.gone} - {*read["subscriber_id"]}
        return read, without_ids(everybody, gone), tuple(sorted(gone))

    def _follow_up(self, rows: ListedRows) -> None:
        """Read what changed while several pages were read: back from the latest, to what is known."""
        since = rows.newest
        if since is None:
            return
        known = rows.table().set_index("subscriber_id")["updated_at"]
        for number in count(1):
            page = read_page(self.postscript, sort="updated_at__desc", page=number, updated_since=since)
            rows.add(page)
            reaches_known = any(known.get(row.subscriber_id) == row.updated_at for row in page.rows)
            if reaches_known or not page.rows or number == page.total:
                return

    # --- reading anew ---------------------------------------------------------------------------------

    def read_anew(self, *, complete: bool) -> FetchResult:
        """Read the whole list, or ask for the people: whichever takes fewer calls."""
        first = read_page(self.postscript, sort="updated_at__desc")
        pages = first.total or 1
        size = len(first.rows) if pages > 1 else 0
        lookups = self._cost_of_lookups(self.contacts, size=size, subscribers=pages * len(first.rows))
        estimates = {"listing": pages + 4 if pages > 1 else 2, "lookups": 2 + lookups}
        # A shop that ignores filters is left alone, also where its list is cheaper.
        asking = calibrate(self.postscript, first.rows) if pages > 1 else api.Asking()
        if not complete and first.total is not None and estimates["lookups"] < estimates["listing"]:
            return self._by_lookups(first, asking, size, estimates)
        return self._by_listing(first, estimates, complete=complete)

    def _by_listing(self, first: Page, estimates: dict[str, int], *, complete: bool) -> FetchResult:
        rows = ListedRows(self.trait_keys)
        scanned = scan(self.postscript, rows, sort="created_at__asc", first=first)
        is_whole, newest = scanned.is_whole, rows.newest
        if scanned.page_size and first.newest is not None and first.is_latest_first:
            is_whole &= self._read_what_changed(rows, first.newest, scanned.page_size)
            newest = rows.newest
        elif scanned.page_size and newest is not None:
            # Not in the order that was asked for: when reading began is not known. The next one looks back.
            newest -= _A_DAY
        found, notes = Found(), list[str]()
        if not is_whole:
            if complete:
                raise ServerError(f"{_NOT_WHOLE} Nothing is concluded from it; run again later.")
            found, more = self._look_up(rows.table())
            rows.add(Page(rows=found.rows, total=1))
            notes = [f"{_NOT_WHOLE} People were looked up as well; it is read again next time.", *more]
        return self._read_anew(
            rows.table(),
            "listing",
            estimates,
            notes,
            newest=_text(newest if is_whole else None),
            is_complete=is_whole,
            asked=frozenset(found.asked),
            page_size=scanned.page_size,
        )

    def _read_what_changed(self, rows: ListedRows, since: datetime, size: int) -> bool:
        """Read who changed since reading began; return whether that was everybody."""
        changed = read_page(self.postscript, sort="updated_at__asc", updated_since=since)
        scanned = scan(
            self.postscript,
            rows,
            sort="updated_at__asc",
            first=changed,
            is_its_first=True,
            updated_since=since,
            page_size=size,
        )
        if not scanned.is_still:
            self._follow_up(rows)
        return scanned.is_whole

    def _by_lookups(
        self, first: Page, asking: api.Asking, size: int, estimates: dict[str, int]
    ) -> FetchResult:
        found = look_up(self.contacts, self.postscript, asking=asking, sample=first.rows)
        return self._read_anew(
            subscribers_table(found.rows, trait_keys=self.trait_keys),
            "lookups",
            estimates,
            [*_notes(asking), *_refused(found)],
            newest=_text(first.newest),
            asked=frozenset(found.asked),
            page_size=size,
        )

    def _read_anew(
        self,
        read: pd.DataFrame,
        method: str,
        estimates: Mapping[str, int],
        notes: Sequence[str],
        **about: Any,
    ) -> FetchResult:
        after = SubscriberCache(
            subscribers=read, trait_keys=self.trait_keys, turn=self.before.turn + 1, **about
        )
        return FetchResult(
            cache=after, read=read, replaces=True, method=method, estimates=estimates, notes=(*notes,)
        )

    # --- parts ----------------------------------------------------------------------------------------

    def _look_up(
        self, everybody: pd.DataFrame, *, asked: Collection[str] = frozenset()
    ) -> tuple[Found, list[str]]:
        """Ask for the people that the cache does not show, unless they were asked for before."""
        known = {*everybody["phone_digits"].dropna()}
        wanted = absent(self.contacts, known, asked)
        return (Found(), []) if wanted.empty else self._ask(wanted, known=known, asked=asked)

    def _ask(
        self, wanted: pd.DataFrame, *, known: Collection[str] = (), asked: Collection[str] = frozenset()
    ) -> tuple[Found, list[str]]:
        """Ask for people in the way that is found out with some who are there."""
        sample = read_page(self.postscript, sort="updated_at__desc").rows
        asking = calibrate(self.postscript, sample)
        found = look_up(wanted, self.postscript, asking=asking, known=known, asked=asked, sample=sample)
        return found, [*_notes(asking), *_refused(found)]

    def _cost_anew(self, size: int) -> dict[str, int]:
        """Predict the calls for reading anew what the cache has."""
        if self.before.is_complete:
            return {"listing": 4 + ceil(len(self.before.subscribers) / size)}
        return {"lookups": 2 + self._cost_of_lookups(self.contacts, size=size)}

    def _cost_of_lookups(
        self, contacts: pd.DataFrame, *, size: int = 0, subscribers: int | None = None
    ) -> int:
        """Predict the calls for asking for people (`postscript_api` calls it the minimum by lookups)."""
        phones = int(contacts["phone_e164"].nunique())
        emails = contacts["email_clean"].notna()
        share = 1.0 if subscribers is None else min(1.0, subscribers / max(phones, 1))
        pages = max(1, ceil(share * min(api.MAX_IN, phones) / size)) if size else 1
        alone = int((emails & contacts["phone_e164"].isna()).sum())
        beside = 0 if subscribers is None else ceil((int(emails.sum()) - alone) * (1 - share))
        return ceil(phones / api.MAX_IN) * pages + ceil((alone + beside) / api.MAX_IN)


def _contacts_of(subscribers: pd.DataFrame) -> set[str]:
    return {*subscribers["phone_digits"].dropna(), *subscribers["email_folded"].dropna()}


def _holders(subscribers: pd.DataFrame, contacts: Collection[str]) -> set[str]:
    """Return the ids of the subscribers with one of these digits or emails."""
    folded = {fold_email(contact) for contact in contacts}
    holds = subscribers["phone_digits"].isin(contacts) | subscribers["email_folded"].isin(folded)
    return {*subscribers.loc[holds, "subscriber_id"]}


def _cost_of_pages(pages: int) -> int:
    """Return the calls for reading so many pages of changes: the last one twice."""
    return pages if pages <= 1 else pages + 1


def _notes(asking: api.Asking) -> list[str]:
    if asking.encoding == "single":
        return ["The shop does not take lookups of several people; they are asked for one by one."]
    return []


def _refused(found: Found) -> list[str]:
    if not found.refused:
        return []
    return [f"Postscript refused to look up {len(found.refused)} contacts; they are tried again next time."]


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
