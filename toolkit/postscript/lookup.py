"""Look people up in batches, in the way the shop takes; a failed lookup never means "no subscriber"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Protocol, TypeVar

import pandas as pd

from toolkit.contacts.bulk import CONTACT_COLUMNS
from toolkit.contacts.checks import fold_email, phone_digits
from toolkit.errors import IgnoredFilterError, RejectedError, ServerError
from toolkit.frames import check_columns

from . import api
from .subscribers import subscribers_table

WORKERS = 32
"""Requests under way at once: enough for the full pace at two seconds of latency."""
_TOO_MANY = frozenset({400, 413, 414, 422})
"""Refusals of a question that may only be too long."""
_NO_PHONE = ("10000000000",)
"""Asked for after a single phone: a shop that takes lists in another way finds only the last of two."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Postscript(Protocol):
    """The connection that sync() writes through."""

    @property
    def calls(self) -> dict[str, int]:
        """Requests made so far by route."""

    def send(self, request: api.Request, *, on_leaving: Callable[[], None] | None = None) -> api.Answer:
        """Send a request; PostscriptError when it was not carried out, or may not have been.

        ``on_leaving`` is called once, when its turn has come and nothing has left yet.
        """


def connect_shop(postscript: Postscript) -> api.Shop:
    """Return the shop the key belongs to: a call that changes nothing.

    Parameters
    ----------
    postscript
        The connection.

    Returns
    -------
    Shop
        Its id and name.

    Raises
    ------
    InvalidAuthenticationError
        The key is not accepted.
    PostscriptError
        Postscript does not answer, or names no shop.
    """
    return api.parse_shop(postscript.send(api.ask_shop()))


def find_subscriber(postscript: Postscript, subscriber_id: str) -> api.Subscriber | None:
    """Read one subscriber by id; None when Postscript itself answers that there is none.

    Anything else that is not the subscriber raises PostscriptError: who is there is then unknown.
    """
    try:
        answer = postscript.send(api.get_subscriber(subscriber_id))
    except RejectedError as error:
        if api.is_gone(error):
            return None
        raise
    if (record := api.parse_record(answer)) is None:
        raise ServerError(
            "The answer to a read of a subscriber holds no subscriber. Run again later.",
            status_code=answer.status_code,
        )
    return record


def in_parallel(act: Callable[[Item], Result], items: Collection[Item]) -> Iterator[Result]:
    """Yield what *act* makes of each item, in their order; after an error nothing more is begun."""
    if not items:
        return
    with ThreadPoolExecutor(min(WORKERS, len(items))) as pool:
        try:
            yield from pool.map(act, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def calibrate(postscript: Postscript, sample: Sequence[api.Subscriber]) -> api.Asking:
    """Find out how the shop takes a question about several people: by asking for two who are there.

    Parameters
    ----------
    postscript
        The connection.
    sample
        Subscribers that were just read; two with different phones are enough. Beside a single one a number
        that no subscriber has is asked for; without any phone people are asked for one by one.

    Raises
    ------
    IgnoredFilterError
        A subscriber came back who was not asked for: the shop ignores the filter, and nothing is safe.
    """
    phones = [*dict.fromkeys(filter(None, (phone_digits(s.phone) for s in sample)))][:2]
    if not phones:
        # Nothing to find out by: `__eq` is known to work, a list of values is not.
        return api.Asking(encoding="single", max_in=1) if sample else api.Asking()
    for encoding, plus in product(("repeated", "comma"), (False, True)):
        asking = api.Asking(encoding=encoding, plus=plus)
        if _come_back(phones, asking, postscript, beside=_NO_PHONE[len(phones) - 1 :]):
            return asking
    plus = not _come_back(phones[:1], api.Asking(encoding="single"), postscript)
    return api.Asking(encoding="single", plus=plus, max_in=1)


def _come_back(
    phones: Sequence[str], asking: api.Asking, postscript: Postscript, *, beside: Sequence[str] = ()
) -> bool:
    try:
        rows, _ = api.parse_page(postscript.send(api.find_by_phone([*phones, *beside], asking=asking)))
    except RejectedError:
        return False
    found = {phone_digits(row.phone) for row in rows}
    if found - {*phones}:
        raise ignores_filter()
    return found == {*phones}


def ignores_filter() -> IgnoredFilterError:
    """Return the error that stops a run whose questions are not answered as they were asked."""
    return IgnoredFilterError(
        "Postscript answered a lookup with subscribers who were not asked for: it seems to ignore the "
        "filter. Nothing was written; please report this with the date and time.",
        status_code=200,
    )


@dataclass(kw_only=True)
class Found:
    """What lookups brought."""

    rows: list[api.Subscriber] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    """Digits and emails that were asked for and answered."""
    refused: set[str] = field(default_factory=set)
    """Those that Postscript does not take even alone: about them nothing is known."""


def find_subscribers(
    contacts: pd.DataFrame, postscript: Postscript, *, trait_keys: Collection[str] = ()
) -> pd.DataFrame:
    """Look people up in Postscript in batches: by phone, then by email those whose phone found no subscriber.

    Parameters
    ----------
    contacts
        From check_contacts().
    postscript
        The connection.
    trait_keys
        Properties to keep beside the audiences: those of the traits, `State.trait_keys`.

    Returns
    -------
    DataFrame
        SUBSCRIBER_COLUMNS: every subscriber that matches one of the contacts.

    Raises
    ------
    PostscriptError
        A lookup failed for good: who subscribes is then unknown, and nothing can be decided.
    """
    check_columns(contacts, CONTACT_COLUMNS, of="contacts")
    return subscribers_table(look_up(contacts, postscript).rows, trait_keys=trait_keys)


def look_up(
    contacts: pd.DataFrame,
    postscript: Postscript,
    *,
    asking: api.Asking | None = None,
    known: Collection[str] = (),
    asked: Collection[str] = frozenset(),
    sample: Sequence[api.Subscriber] = (),
) -> Found:
    """Look up the people whose contacts are neither among the *known* digits nor *asked* before.

    *sample* are subscribers who are there: some are asked for beside the first people, and must come back.
    """
    found, asking = Found(), asking or api.Asking()
    digits = contacts["phone_e164"].map(phone_digits, na_action="ignore")
    phones = [value for value in digits.dropna().unique() if value not in asked and value not in known]
    asking = _ask_all(phones, api.find_by_phone, asking, postscript, found, sample=sample)
    there = {phone_digits(s.phone) for s in found.rows}.union(known)
    rest = contacts[~digits.isin(there)]
    # As given too where it differs: whether Postscript minds the case is not known.
    emails = pd.concat([rest["email_clean"], rest["email"].str.strip()[rest["email_clean"].notna()]])
    wanted = [value for value in emails.dropna().unique() if value not in asked]
    _ask_all(wanted, api.find_by_email, asking, postscript, found, sample=sample)
    return found


def _ask_all(
    values: Sequence[str],
    ask: Callable[..., api.Request],
    asking: api.Asking,
    postscript: Postscript,
    found: Found,
    *,
    sample: Sequence[api.Subscriber],
) -> api.Asking:
    """Ask for all values; return how the shop takes questions. The very first batch, alone, shows that."""
    asker = _Asker(ask, asking, postscript)
    first = 0
    if values and (sample or not found.asked):
        held = [s.email if ask is api.find_by_email else phone_digits(s.phone) for s in sample]
        first = asker.ask_first(values, [*dict.fromkeys(filter(None, held))], found.rows)
    rest, size = values[first:], asker.asking.max_in
    batches = [rest[i : i + size] for i in range(0, len(rest), size)]
    for rows in in_parallel(asker.ask_for, batches):
        found.rows.extend(rows)
    found.refused |= asker.refused
    found.asked |= {*values} - asker.refused
    return asker.asking


class _Asker:
    """One kind of question, and how many values the shop takes in it."""

    def __init__(self, ask: Callable[..., api.Request], asking: api.Asking, postscript: Postscript) -> None:
        self._ask, self.asking, self._postscript = ask, asking, postscript
        self.refused: set[str] = set()

    def ask_first(self, values: Sequence[str], held: list[str], found: list[api.Subscriber]) -> int:
        """Ask for the first batch beside some that are *held*; return how many of the values it had.

        Where one that is there does not come back, so many are answered only in part: fewer are asked then.
        """
        while True:
            size = self.asking.max_in
            room = size // 2 if len(values) >= size else max(size - len(values), size // 4)
            others = [value for value in held if value not in values[:size]]
            proof = others[: min(room, len(values))] if size > 1 else []
            batch = values[: size - len(proof)]
            # Before and behind: either end of a question may be the one that is left out.
            asked = [*proof[::2], *batch, *proof[1::2]]
            rows = self.ask_for(asked)
            self.refused -= {*proof}
            if not self._is_partial(rows, [value for value in held if value in asked]):
                wanted = {fold_email(value) for value in batch}
                found.extend(row for row in rows if _is_one_of(row, wanted))
                return len(batch)
            self.asking = replace(self.asking, max_in=max(1, min(len(asked), self.asking.max_in) // 2))

    def _is_partial(self, rows: Sequence[api.Subscriber], expected: Sequence[str]) -> bool:
        """Tell whether one of the *expected* is not among the rows, though it comes back alone."""
        seen = {value for row in rows for value in (phone_digits(row.phone), fold_email(row.email))}
        lacking = (value for value in expected if fold_email(value) not in seen)
        return len(expected) > 1 and any(self.ask_for([value]) for value in lacking)

    def ask_for(self, values: Sequence[str]) -> list[api.Subscriber]:
        """Return the subscribers with one of these values; a question that is refused is asked in halves."""
        if len(values) > self.asking.max_in:
            return self._in_halves(values)
        try:
            return self._every_page(values, self.asking)
        except RejectedError as error:
            if error.status_code not in _TOO_MANY:
                raise
        if len(values) == 1:
            return self._ask_for_one(values)
        rows = self._in_halves(values)
        if self.refused.isdisjoint(values):
            # Not one of the values was the trouble, but their number.
            most = len(values) - len(values) // 2
            self.asking = replace(self.asking, max_in=min(self.asking.max_in, most))
        return rows

    def _ask_for_one(self, values: Sequence[str]) -> list[api.Subscriber]:
        """Ask in the plainest way for a person whose question was refused."""
        alone = replace(self.asking, encoding="single", max_in=1)
        if self.asking != alone:
            try:
                rows = self._every_page(values, alone)
            except RejectedError as error:
                if error.status_code not in _TOO_MANY:
                    raise
            else:
                self.asking = alone
                return rows
        self.refused.update(values)
        return []

    def _in_halves(self, values: Sequence[str]) -> list[api.Subscriber]:
        middle = len(values) // 2
        return [*self.ask_for(values[:middle]), *self.ask_for(values[middle:])]

    def _every_page(self, values: Sequence[str], asking: api.Asking) -> list[api.Subscriber]:
        """Ask for one batch, every page of it; only rows that match what was asked count."""
        asked = {fold_email(v) for v in values}
        found: dict[str, api.Subscriber] = {}
        page = 1
        while True:
            request = self._ask(values, asking=asking, page=page)
            rows, pages = api.parse_page(self._postscript.send(request))
            matching = {s.subscriber_id: s for s in rows if _is_one_of(s, asked)}
            if any(not _is_one_of(s, asked) and not _is_like_one_of(s, asked) for s in rows):
                raise ignores_filter()
            # Without a number of pages: until one is empty, or brings no new subscriber.
            is_last = not matching.keys() - found.keys() if pages is None else page >= pages
            found |= matching
            if is_last or not rows:
                return [*found.values()]
            page += 1


def _is_one_of(row: api.Subscriber, asked: Collection[str]) -> bool:
    return phone_digits(row.phone) in asked or fold_email(row.email) in asked


def _is_like_one_of(row: api.Subscriber, asked: Collection[str]) -> bool:
    """Tell whether a looser comparison than ours may have found the row: it answers the question then."""
    national, email = phone_digits(row.phone)[-10:], row.email.strip().casefold()
    is_phone = len(national) > 6 and any(value.endswith(national) for value in asked)
    return is_phone or email in {value.casefold() for value in asked}
