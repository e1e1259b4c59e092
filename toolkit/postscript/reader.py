"""Know what Postscript holds, at the least calls: the whole list, lookups, or only what changed since.

The ledger's cache is renewed by asking who was updated since; that also finds people who subscribed late.
What is never dated, a deleted subscriber above all, is found by looking a part of the people up again each
time. Without a cache, the shop is read page by page, or people are asked for in batches: whichever is
cheaper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import pandas as pd

from toolkit.contacts.bulk import CONTACT_COLUMNS
from toolkit.contacts.checks import fold_email
from toolkit.errors import InvalidAuthenticationError, ParameterError, PostscriptError, ServerError
from toolkit.frames import check_columns, is_in

from . import api
from .listing import ListedRows, Listing, read_page
from .lookup import Lookup, Postscript, find_subscriber, in_parallel
from .subscribers import FetchResult, SubscriberCache, absent, phones_of, renewed

OVERLAP = timedelta(minutes=15)
"""How far behind the newest known change is asked again: clocks differ, times are rounded, copies lag."""
TURNS = 7
"""Readings within which everybody is looked up again, whatever changes show."""
_PART = 75
"""People in such a part at least, where there are so many: about one query, with some who are there."""
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
    reached: pd.DataFrame | None = None,
) -> FetchResult:
    """Read the subscribers that a plan needs, in the way that takes the fewest calls.

    Parameters
    ----------
    contacts
        check_contacts() of the people who matter.
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
    reached
        Subscribers that earlier live runs reached, `Ledger.load_reached`. Where a person is another one now,
        the earlier one is read too: the plan takes audiences away from it.

    Returns
    -------
    FetchResult
        For `plan` and for `Ledger.save_cache`.

    Raises
    ------
    PostscriptError
        Reading failed for good, or not the whole list could be read where it is needed: who subscribes is
        then unknown, and nothing can be decided.
    ParameterError
        No such *scope*.
    """
    if scope not in {"incremental", "full"}:
        raise ParameterError(f'scope is "{scope}"; use "incremental" or "full".')
    check_columns(contacts, CONTACT_COLUMNS, of="contacts")
    before = cache or SubscriberCache()
    if scope == "incremental" and before.can_be_renewed(
        trait_keys=trait_keys, complete=complete, dry_run=dry_run
    ):
        fetched = _Reading(contacts, postscript, before, reached, before.trait_keys).renew()
        if fetched is not None:
            return fetched
    return _Reading(contacts, postscript, before, reached, trait_keys).read_anew(complete=complete)


class _Reading:
    """One reading: what it starts from, and what it has found so far."""

    def __init__(
        self,
        contacts: pd.DataFrame,
        postscript: Postscript,
        before: SubscriberCache,
        reached: pd.DataFrame | None,
        trait_keys: Collection[str],
    ) -> None:
        self.contacts, self.postscript, self.before, self.reached = contacts, postscript, before, reached
        self.kept = before.subscribers.head(0)
        """SUBSCRIBER_COLUMNS: what is known without reading it now."""
        self.settled: frozenset[str] = frozenset()
        """Digits and emails that were looked up earlier, and need not be again."""
        self.rows, self.lookup = ListedRows(trait_keys), Lookup(postscript)
        self.gone: set[str] = set()
        """Ids of subscribers who are not there any more."""
        self.notes: list[str] = []

    def renew(self) -> FetchResult | None:
        """Return the cache renewed; None when that takes more calls than reading anew, or fails."""
        before, size = self.before, self.before.page_size
        if (newest := api.parse_time(before.newest)) is None:
            return None
        changes = Listing(self.postscript, self.rows, since=newest - OVERLAP, page_size=size)
        first = changes.read(1)
        due, pages = self._due(), first.total or 1
        unasked = self.contacts.index.isin(before.find_unasked(self.contacts).index)
        lookups = _cost_of_lookups(self.contacts[due | unasked], size=size)
        # The last of several pages is read twice; how to ask is found out by one call.
        estimates = {"changes": pages + (pages > 1) + lookups + (lookups > 0)}
        if before.is_complete:
            estimates["listing"] = 4 + ceil(len(before.subscribers) / size)
        else:
            estimates["lookups"] = 2 + _cost_of_lookups(self.contacts, size=size)
        if estimates["changes"] > min(estimates.values()) or not changes.read_all(first):
            return None
        if lookups and not any(row.phone for row in first.rows):
            first = read_page(self.postscript, sort="updated_at__desc")
        self.kept, self.lookup.sample = before.subscribers, first.rows
        was_read = phones_of(self.contacts).isin(self.rows.table()["phone_digits"].dropna())
        due_again = self.contacts[due & ~was_read]
        self._look_again(due_again)
        self.settled = before.asked - before.doubted
        if not before.is_complete:
            # Also those whose subscriber has just turned out to be gone.
            self._look_up_unknown()
        read = self.rows.table()
        done = self.lookup.asked.union(due_again["email_clean"], read["phone_digits"], read["email_folded"])
        return self._result(
            "changes",
            estimates,
            max(filter(None, (newest, self.rows.newest))),
            is_complete=before.is_complete,
            page_size=size,
            doubted=before.doubted - done,
        )

    def read_anew(self, *, complete: bool) -> FetchResult:
        """Read the whole list, or ask for the people: whichever takes fewer calls."""
        first = read_page(self.postscript, sort="updated_at__desc")
        self.lookup.sample = first.rows
        times = [*filter(None, (api.parse_time(row.updated_at) for row in first.rows))]
        pages = first.total or 1
        size = len(first.rows) if pages > 1 else 0
        lookups = _cost_of_lookups(self.contacts, size=size, subscribers=pages * len(first.rows))
        estimates = {"listing": pages + 4 if pages > 1 else 2, "lookups": 2 + lookups}
        if pages > 1:
            # A shop that ignores filters is left alone, also where its list is cheaper.
            self.lookup.probe()
        if not (complete or first.total is None or estimates["lookups"] >= estimates["listing"]):
            self._look_up_unknown()
            return self._result("lookups", estimates, max(times, default=None), page_size=size)
        listing = Listing(self.postscript, self.rows)
        is_whole, size, back = listing.read_all(first), listing.page_size, timedelta()
        if size and times and times == sorted(times, reverse=True):
            changes = Listing(self.postscript, self.rows, since=times[0], page_size=size)
            is_whole &= changes.read_all(changes.read(1))
        elif size:
            # Not in the order that was asked for: when reading began is not known. The next one looks back.
            back = timedelta(days=1)
        newest = self.rows.newest
        if not is_whole:
            if complete:
                raise ServerError(f"{_NOT_WHOLE} Nothing is concluded from it; run again later.")
            self._look_up_unknown()
            self.notes += [f"{_NOT_WHOLE} People were looked up as well; it is read again next time."]
        newest = newest - back if newest and is_whole else None
        return self._result("listing", estimates, newest, is_complete=is_whole, page_size=size)

    # --- parts ----------------------------------------------------------------------------------------

    def _due(self) -> pd.Series:
        """Mark the people whose turn it is to be looked up again, and those whose subscriber is in doubt."""
        parts = min(TURNS, max(1, ceil(len(self.contacts) / _PART)))
        part = pd.util.hash_pandas_object(self.contacts["person"], index=False) % parts
        doubted, phone = self.before.doubted, phones_of(self.contacts)
        is_doubted = phone.isin(doubted) | self.contacts["email_clean"].isin(doubted)
        return (part == self.before.turn % parts) | is_doubted

    def _look_again(self, due: pd.DataFrame) -> None:
        """Look people up again; a subscriber that this does not find, and that is not there, is gone."""
        found = self.lookup.find(due)
        lacking = {*self._holders(self.lookup.asked)["subscriber_id"]} - {row.subscriber_id for row in found}
        there = self._read_by_id(lacking)
        self.rows.add([*found, *there])
        if there:
            # Lookups show only a part of who is there: that others were not found means nothing.
            self.lookup.asked.clear()

    def _read_by_id(self, ids: Collection[str]) -> list[api.Subscriber]:
        """Return those who are there, and note the others as gone; those that cannot be read are neither."""

        def read(subscriber_id: str) -> api.Subscriber | None:
            try:
                found = find_subscriber(self.postscript, subscriber_id)
            except InvalidAuthenticationError:
                raise
            except PostscriptError:
                return None
            if found is None:
                self.gone.add(subscriber_id)
            return found

        there = [row for row in in_parallel(read, sorted(ids)) if row and row.subscriber_id in ids]
        if count := len({*ids} - self.gone) - len(there):
            self.notes += [f"Subscribers that could not be read by id, and stay as they were known: {count}."]
        return there

    def _look_up_unknown(self) -> None:
        """Ask for people without a known subscriber, but for those asked for; read who they were earlier."""
        asked = self.settled | self.lookup.asked
        known = self._holders(phones_of(self.contacts).dropna())["phone_digits"].dropna()
        self.rows.add(self.lookup.find(absent(self.contacts, known, asked), asked=asked))
        self._read_earlier()

    def _read_earlier(self) -> None:
        """Read the earlier subscribers, unless they are known, of people whose present one was read now."""
        if self.reached is None:
            return
        read = self.rows.table()
        is_read = is_in(phones_of(self.contacts), read["phone_digits"])
        is_read |= is_in(self.contacts["email_clean"], read["email_folded"])
        theirs = is_in(self.reached["person"], self.contacts["person"][is_read])
        earlier = {*self.reached["subscriber_id"][theirs]}
        for known in (self.kept, read):
            earlier.difference_update(known["subscriber_id"])
        self.rows.add(self._read_by_id(earlier))

    def _holders(self, contacts: Collection[str]) -> pd.DataFrame:
        """Return the known subscribers with one of these digits or emails."""
        texts = pd.Series([*contacts], dtype="str")
        folded = texts.map(fold_email)

        def among(frame: pd.DataFrame) -> pd.DataFrame:
            return frame[is_in(frame["phone_digits"], texts) | is_in(frame["email_folded"], folded)]

        # Chosen first: to renew everybody takes a pass over all subscribers.
        return among(renewed(among(self.kept), self.rows.table(), self.gone)[0])

    def _result(
        self, method: str, estimates: Mapping[str, int], newest: datetime | None, **about: Any
    ) -> FetchResult:
        read, lookup = self.rows.table(), self.lookup
        everybody, gone = renewed(self.kept, read, self.gone)
        if lookup.encoding.style == "single" and (lookup.asked or lookup.refused):
            self.notes += ["The shop does not take lookups of several people; they are asked for one by one."]
        if count := len(lookup.refused):
            self.notes += [f"Postscript refused to look up {count} contacts; they are tried again next time."]
        cache = SubscriberCache(
            subscribers=everybody,
            newest=newest.isoformat() if newest else "",
            asked=frozenset() if about.get("is_complete") else self.settled | lookup.asked,
            trait_keys=self.rows.trait_keys,
            turn=self.before.turn + 1,
            **about,
        )
        return FetchResult(
            cache=cache,
            read=read,
            gone=gone,
            replaces=method != "changes",
            method=method,
            estimates=estimates,
            notes=tuple(self.notes),
        )


def _cost_of_lookups(contacts: pd.DataFrame, *, size: int = 0, subscribers: int | None = None) -> int:
    """Predict the calls for asking for people (`postscript_api` calls it the minimum by lookups)."""
    phones = int(contacts["phone_e164"].nunique())
    emails = contacts["email_clean"].notna()
    share = 1.0 if subscribers is None else min(1.0, subscribers / max(phones, 1))
    pages = max(1, ceil(share * min(api.MAX_IN, phones) / size)) if size else 1
    alone = int((emails & contacts["phone_e164"].isna()).sum())
    beside = 0 if subscribers is None else ceil((int(emails.sum()) - alone) * (1 - share))
    return ceil(phones / api.MAX_IN) * pages + ceil((alone + beside) / api.MAX_IN)
