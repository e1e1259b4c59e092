"""Look people up in batches, in the way the shop takes; a failed lookup never means "no subscriber"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, count, product
from typing import Protocol, TypeVar

import pandas as pd

from toolkit.contacts.checks import fold_email, phone_digits
from toolkit.errors import IgnoredFilterError, RejectedError, ServerError

from . import api

WORKERS = 32
"""Requests under way at once: enough for the full pace at two seconds of latency."""
_TOO_MANY = frozenset({400, 413, 414, 422})
"""Refusals of a query that may only be too long."""
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
        """Send a request; PostscriptError when it was not carried out, or may not have been."""


def connect_shop(postscript: Postscript) -> api.Shop:
    """Return the id and name of the shop the key belongs to: a call that changes nothing.

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
    if record := api.parse_record(answer):
        return record
    sentence = "The answer to a read of a subscriber holds no subscriber. Run again later."
    raise ServerError(sentence, status_code=answer.status_code)


def in_parallel(act: Callable[[Item], Result], items: Collection[Item]) -> list[Result]:
    """Return what *act* makes of each item, in their order; after an error nothing more is begun."""
    with ThreadPoolExecutor(min(WORKERS, len(items) or 1)) as pool:
        try:
            return [*pool.map(act, items)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def ignores_filter() -> IgnoredFilterError:
    """Return the error that stops a run whose queries are not answered as they were asked."""
    return IgnoredFilterError(
        "Postscript answered a lookup with subscribers who were not asked for: it seems to ignore the "
        "filter. Nothing was written; please report this with the date and time.",
        status_code=200,
    )


class Lookup:
    """Looks people up in batches, and learns on the way what queries the shop takes."""

    def __init__(self, postscript: Postscript, sample: Sequence[api.Subscriber] = ()) -> None:
        self._postscript = postscript
        self.sample = sample
        """Subscribers who are there: some are asked for beside the first people, and must come back."""
        self.encoding = api.QueryEncoding()
        self.asked: set[str] = set()
        """Digits and emails that were asked for and answered."""
        self.refused: set[str] = set()
        """Those that Postscript does not take even alone: about them nothing is known."""
        self._is_probed = False

    def probe(self) -> None:
        """Find out how the shop takes a query for several people, by asking for two of the sample.

        Beside a single phone a number is asked for that no subscriber has; without any phone people are
        looked up one by one. IgnoredFilterError when a subscriber comes back who was not asked for.
        """
        self._is_probed = True
        phones = [*dict.fromkeys(filter(None, (phone_digits(s.phone) for s in self.sample)))][:2]
        if phones:
            styles = product(("repeated", "comma"), (False, True))
            ways = [*(api.QueryEncoding(style=style, plus=plus) for style, plus in styles), api.ONE_BY_ONE]
            last = replace(api.ONE_BY_ONE, plus=True)
            self.encoding = next((way for way in ways if self._come_back(phones, way)), last)
        elif self.sample:
            # Nothing to find out by: `__eq` is known to work, a list of values is not.
            self.encoding = api.ONE_BY_ONE

    def _come_back(self, phones: Sequence[str], way: api.QueryEncoding) -> bool:
        values = phones[:1] if way.style == "single" else [*phones, *_NO_PHONE[len(phones) - 1 :]]
        rows = self._ask_at_once(values, way) or ()
        return {phone_digits(row.phone) for row in rows} == {*values} - {*_NO_PHONE}

    def find(self, contacts: pd.DataFrame, *, asked: Collection[str] = ()) -> list[api.Subscriber]:
        """Return the subscribers with these contacts, unless they were *asked* for before."""
        digits = contacts["phone_e164"].map(phone_digits, na_action="ignore")
        phones = [value for value in digits.dropna().unique() if value not in asked]
        found = self._find(phones, [phone_digits(s.phone) for s in self.sample])
        rest = contacts[~digits.isin({phone_digits(s.phone) for s in found})]
        # As given too where it differs: whether Postscript minds the case is not known.
        emails = pd.concat([rest["email_clean"], rest["email"].str.strip()[rest["email_clean"].notna()]])
        wanted = [value for value in emails.dropna().unique() if value not in asked]
        return [*found, *self._find(wanted, [s.email for s in self.sample if "@" in s.email])]

    def _find(self, values: Sequence[str], held: Sequence[str]) -> list[api.Subscriber]:
        """Ask for all values, for the first batch alone: it shows how many values the shop takes at once."""
        if not values:
            return []
        if not self._is_probed:
            self.probe()
        first, found = self._ask_first(values, [*dict.fromkeys(filter(None, held))])
        size = self.encoding.max_in
        batches = [values[i : i + size] for i in range(first, len(values), size)]
        found += chain.from_iterable(in_parallel(self._ask, batches))
        self.refused -= {*held} - {*values}  # those were only asked for beside them
        self.asked |= {*values} - self.refused
        return found

    def _ask_first(self, values: Sequence[str], held: Sequence[str]) -> tuple[int, list[api.Subscriber]]:
        """Ask for the first batch beside some that are *held*; return how many of the values it had, and who.

        Where one that is there does not come back, so many are answered only in part: fewer are asked then.
        """
        while True:
            size = self.encoding.max_in
            room = size // 2 if len(values) >= size else max(size - len(values), size // 4)
            others = [value for value in held if value not in values[:size]]
            proof = others[: min(room, len(values))] if size > 1 else []
            batch = values[: size - len(proof)]
            # Before and behind: either end of a query may be the one that is left out.
            asked = [*proof[::2], *batch, *proof[1::2]]
            rows = self._ask(asked)
            if not self._is_partial(rows, [value for value in held if value in asked]):
                wanted = {fold_email(value) for value in batch}
                return len(batch), [row for row in rows if _is_one_of(row, wanted)]
            self.encoding = replace(self.encoding, max_in=max(1, min(len(asked), size) // 2))

    def _is_partial(self, rows: Sequence[api.Subscriber], expected: Sequence[str]) -> bool:
        """Tell whether one of the *expected* is not among the rows, though it comes back alone."""
        seen = {value for row in rows for value in (phone_digits(row.phone), fold_email(row.email))}
        lacking = (value for value in expected if fold_email(value) not in seen)
        return len(expected) > 1 and any(self._ask([value]) for value in lacking)

    def _ask(self, values: Sequence[str]) -> list[api.Subscriber]:
        """Return the subscribers with one of these values; a query that is refused is sent in halves."""
        is_fit = len(values) <= self.encoding.max_in
        if is_fit and (rows := self._ask_at_once(values, self.encoding)) is not None:
            return rows
        if len(values) == 1:
            # In the plainest way.
            alone = replace(api.ONE_BY_ONE, plus=self.encoding.plus)
            if self.encoding == alone or (rows := self._ask_at_once(values, alone)) is None:
                self.refused.update(values)
                return []
            self.encoding = alone
            return rows
        middle = len(values) // 2
        rows = [*self._ask(values[:middle]), *self._ask(values[middle:])]
        if is_fit and self.refused.isdisjoint(values):
            # Not one of the values was the trouble, but their number.
            most = min(self.encoding.max_in, len(values) - middle)
            self.encoding = replace(self.encoding, max_in=most)
        return rows

    def _ask_at_once(self, values: Sequence[str], encoding: api.QueryEncoding) -> list[api.Subscriber] | None:
        """Return who matches, of all pages of a batch; None when it is refused, and may only be too long."""
        asked = {fold_email(v) for v in values}
        found: dict[str, api.Subscriber] = {}
        for page in count(1):
            request = api.find_by_contact(values, encoding, page=page)
            try:
                rows, pages = api.parse_page(self._postscript.send(request))
            except RejectedError as error:
                if error.status_code not in _TOO_MANY:
                    raise
                return None
            matching = {s.subscriber_id: s for s in rows if _is_one_of(s, asked)}
            if any(s.subscriber_id not in matching and not _is_like_one_of(s, asked) for s in rows):
                raise ignores_filter()
            # Without a number of pages: until one is empty, or brings no new subscriber.
            is_last = not matching.keys() - found.keys() if pages is None else page >= pages
            found |= matching
            if is_last or not rows:
                break
        return [*found.values()]


def _is_one_of(row: api.Subscriber, asked: Collection[str]) -> bool:
    return phone_digits(row.phone) in asked or fold_email(row.email) in asked


def _is_like_one_of(row: api.Subscriber, asked: Collection[str]) -> bool:
    """Tell whether a looser comparison than ours may have found the row: it answers the query then."""
    national, email = phone_digits(row.phone)[-10:], row.email.strip().casefold()
    is_phone = len(national) > 6 and any(value.endswith(national) for value in asked)
    return is_phone or email in {value.casefold() for value in asked}
