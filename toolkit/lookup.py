"""Look people up in Postscript, in batches; a failed lookup is never "nobody"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pandas as pd

from . import wire
from .contacts import fold_email, phone_digits
from .errors import ServerError
from .plan import subscribers_table

WORKERS = 32
"""Requests under way at once: enough for the full pace at two seconds of latency."""


class Postscript(Protocol):
    """The connection that sync() writes through."""

    @property
    def calls(self) -> dict[str, int]:
        """Requests made so far by route."""

    def send(self, request: wire.Request, *, on_leaving: Callable[[], None] | None = None) -> wire.Answer:
        """Send a request; PostscriptError when it was not carried out, or may not have been.

        ``on_leaving`` is called once, when its turn has come and nothing has left yet.
        """


def connect_shop(postscript: Postscript) -> wire.Shop:
    """Return the shop the key belongs to: a call that changes nothing."""
    return wire.parse_shop(postscript.send(wire.ask_shop()))


def find_subscribers(
    contacts: pd.DataFrame, postscript: Postscript, *, trait_keys: Collection[str] = ()
) -> pd.DataFrame:
    """Look people up in Postscript in batches: by phone, then by email those whose phone found nobody.

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
    digits = contacts["phone_e164"].map(phone_digits, na_action="ignore")
    by_phone = _look_up(digits.dropna().unique().tolist(), wire.find_by_phone, postscript)
    found = {phone_digits(s.phone) for s in by_phone}
    rest = contacts[~digits.isin(found)]
    # As given too where it differs: whether Postscript minds the case is not known.
    emails = pd.concat([rest["email_clean"], rest["email"].str.strip()[rest["email_clean"].notna()]])
    by_email = _look_up(emails.dropna().unique().tolist(), wire.find_by_email, postscript)
    return subscribers_table([*by_phone, *by_email], trait_keys=trait_keys)


def _look_up(
    values: Sequence[str], ask: Callable[..., wire.Request], postscript: Postscript
) -> list[wire.Subscriber]:
    batches = [values[i : i + wire.MAX_IN] for i in range(0, len(values), wire.MAX_IN)]
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            found = [*pool.map(lambda batch: _look_up_batch(batch, ask, postscript), batches)]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one failed lookup makes the others useless
            raise
    return [subscriber for batch in found for subscriber in batch]


def _look_up_batch(
    values: Sequence[str], ask: Callable[..., wire.Request], postscript: Postscript
) -> list[wire.Subscriber]:
    """Ask for one batch, every page of it; only rows that match what was asked count."""
    asked = {fold_email(v) for v in values}
    found: dict[str, wire.Subscriber] = {}
    page = 1
    while True:
        rows, pages = wire.parse_page(postscript.send(ask(values, page=page)))
        matching = {
            s.subscriber_id: s for s in rows if phone_digits(s.phone) in asked or fold_email(s.email) in asked
        }
        if rows and not matching:
            raise ServerError(
                "Postscript answered a lookup with subscribers nobody asked for: it seems to ignore the "
                "filter. Nothing was written; please report this with the date and time.",
                status_code=200,
            )
        # Without a number of pages: until one is empty, or brings nobody new.
        is_last = not matching.keys() - found.keys() if pages is None else page >= pages
        found |= matching
        if is_last or not rows:
            return [*found.values()]
        page += 1
