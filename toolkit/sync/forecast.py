"""Forecast the next sync from the ledger, or from a look at Postscript; nothing is written.

Who was never looked up is not taken for one who does not subscribe.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from toolkit.audiences.memberships import State, correct
from toolkit.contacts.bulk import check_contacts
from toolkit.postscript.lookup import Postscript, connect_shop
from toolkit.postscript.reader import read_subscribers
from toolkit.postscript.subscribers import SubscriberCache
from toolkit.statuses import ChangeStatus

from .plan import plan
from .runs import LedgerStore


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What the next sync would do, as far as it is known without writing anything."""

    shop_id: str
    """Empty when no shop is known."""
    changes: pd.DataFrame
    """CHANGE_COLUMNS as planned; with ``NOT_LOOKED_UP`` where a person was not looked up yet."""
    contacts: pd.DataFrame
    """check_contacts() of the people."""
    cache: SubscriberCache
    """The subscribers it was planned against."""
    sentence: str
    """Where this is from, for people."""


def forecast(
    state: State,
    *,
    ledger: LedgerStore | None = None,
    postscript: Postscript | None = None,
    audience_keys: Collection[str] = (),
    default_region: str = "US",
    corrections: pd.DataFrame | None = None,
) -> Forecast:
    """Plan the next sync; nothing is written, neither to Postscript nor to the ledger.

    *state* is what is asked for, `Preview.state`; what the *ledger* remembers of earlier runs is added as a
    sync does. Of several shops, that of the latest live run counts. With *postscript* the subscribers are
    read now, or what changed since the ledger's cache was; without both no one was looked up. *corrections*
    are what read_corrections() returns, for a sync that is given them.

    Examples
    --------
    >>> from toolkit import preview, read_events
    >>> forecast(preview(read_events("sample"), keep_state=True).state).sentence[:30]
    'Who subscribes is not known: n'
    """
    shop_id, known = _find_shop(ledger, postscript)
    cache, reached = SubscriberCache(), None
    if ledger is not None and shop_id:
        state, cache = state.after(ledger.load_state(shop_id)), ledger.load_cache(shop_id)
        reached = ledger.load_reached(shop_id)
    sentence = _as_of(known, cache.read_at, is_now=postscript is not None)
    if corrections is not None:
        state, _ = correct(state, corrections, default_region=default_region)
    state = state.choose(audience_keys)
    contacts = check_contacts(state.people, default_region=default_region)
    if postscript is not None:
        cache = read_subscribers(
            contacts, postscript, cache=cache, trait_keys=state.trait_keys, dry_run=True, reached=reached
        ).cache
    # Of a trait whose property was not read it is not known whether it would change.
    was_read = state.traits["trait_key"].isin(cache.trait_keys)
    asked = replace(state, traits=state.traits[was_read].reset_index(drop=True))
    changes = plan(asked, contacts, cache.subscribers, reached=reached).changes
    unknown = changes["person"].isin(cache.find_unasked(contacts)["person"])
    unknown &= changes["reason_code"] == "SUBSCRIBER_NOT_FOUND"
    changes.loc[unknown, ["status", "reason_code"]] = [ChangeStatus.NOT_LOOKED_UP.value, "NOT_LOOKED_UP"]
    if not was_read.all():
        sentence += " Traits whose properties were not read are left out."
    return Forecast(shop_id=shop_id, changes=changes, contacts=contacts, cache=cache, sentence=sentence)


def _find_shop(ledger: LedgerStore | None, postscript: Postscript | None) -> tuple[str, str]:
    """Return the id of the shop of the key, else of the ledger's latest live run; and its name for people."""
    if postscript is not None:
        shop = connect_shop(postscript)
        return shop.shop_id, shop.name
    runs = [] if ledger is None else ledger.load_latest_runs()
    if not runs:
        return "", ""
    others = f" (one of {len(runs)} shops in the ledger, that of its latest run)" if len(runs) > 1 else ""
    return runs[0].shop_id, f"{runs[0].shop_name}{others}"


def _as_of(shop_name: str, read_at: datetime | None, *, is_now: bool) -> str:
    if is_now:
        return f"The subscribers of {shop_name}, as they are now."
    if read_at is None:
        return (
            "Who subscribes is not known: no sync has read the subscribers into this ledger yet. "
            "Set look_up to True to ask Postscript now."
        )
    return f"The subscribers of {shop_name}, as a sync read them on {read_at:%Y-%m-%d at %H:%M} UTC."
