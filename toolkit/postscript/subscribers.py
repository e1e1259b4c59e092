"""Subscribers as a frame, and the copy of them that is kept: how far it reaches, and how it is renewed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from toolkit.contacts.checks import fold_email, phone_digits
from toolkit.frames import SURROGATE, empty_table, is_in, json_text, property_value, to_frame, to_table, typed

from . import api

SUBSCRIBER_COLUMNS = {
    "subscriber_id": "str",
    "phone_digits": "str",
    "email_folded": "str",
    "audiences": "str",
    "has_property": "bool",
    "property_count": "int64",
    "properties": "str",
    "can_send": "boolean",
    "updated_at": "str",
}
"""A subscriber frame. ``audiences`` is the JSON text of a list, null when the property is no list of texts.

``properties`` is null when no traits were asked about, else the JSON text of an object: each trait and the
JSON text of its value, null where there is none.
"""


def subscribers_table(
    subscribers: Iterable[api.Subscriber], *, trait_keys: Collection[str] = ()
) -> pd.DataFrame:
    """Lay subscribers out as a frame of SUBSCRIBER_COLUMNS, one row an id; its last reading stands."""
    rows = {s.subscriber_id: s for s in subscribers}.values()
    lists = [api.read_audiences(s.properties) for s in rows]
    columns: dict[str, list[Any]] = {
        "subscriber_id": [s.subscriber_id for s in rows],
        "phone_digits": [phone_digits(s.phone) or None for s in rows],
        # A lone surrogate is in no address, and no text can hold it.
        "email_folded": [None if SURROGATE.search(s.email) else fold_email(s.email) or None for s in rows],
        "audiences": [None if keys is None else json_text(keys) for keys in lists],
        "has_property": [api.AUDIENCES_PROPERTY in s.properties for s in rows],
        "property_count": [len(s.properties) for s in rows],
        "properties": [_held_traits(s.properties, trait_keys) for s in rows],
        "can_send": [s.can_send for s in rows],
        "updated_at": [s.updated_at for s in rows],
    }
    return to_frame(to_table(columns, SUBSCRIBER_COLUMNS), SUBSCRIBER_COLUMNS)


def _held_traits(properties: Mapping[str, Any], trait_keys: Collection[str]) -> str | None:
    if not trait_keys:
        return None
    # An empty object, which no trait is, stands for what no trait can be.
    held = {key: property_value(properties[key], {}) for key in trait_keys if key in properties}
    return json_text({key: json_text(held[key]) if key in held else None for key in trait_keys})


@dataclass(frozen=True, kw_only=True)
class SubscriberCache:
    """A copy of a shop's subscribers, as far as they were read."""

    subscribers: pd.DataFrame = field(default_factory=lambda: empty_table(SUBSCRIBER_COLUMNS))
    """SUBSCRIBER_COLUMNS."""
    newest: str = ""
    """``updated_at`` up to which nothing is lacking; empty when it must be read anew."""
    is_complete: bool = False
    """True when it holds everybody; else only who was asked for, and who changed since."""
    asked: frozenset[str] = frozenset()
    """Digits and emails that were looked up, found or not; empty when it is complete."""
    trait_keys: tuple[str, ...] = ()
    """Properties that were read beside the audiences."""
    is_dated: bool = True
    """False until a write has been seen in ``updated_at``: else what others write would not be noticed."""
    page_size: int = 0
    """Subscribers a page; 0 when there was never more than one."""
    turn: int = 0
    """Readings so far: each looks another part of the people up again."""
    doubted: frozenset[str] = frozenset()
    """Digits and emails of subscribers who were taken for gone: they are looked up again next time."""
    read_at: datetime | None = None
    """When it was read, UTC; None when that is now, or never was."""

    def find_unasked(self, contacts: pd.DataFrame) -> pd.DataFrame:
        """Return the people of check_contacts() for which it is not known whether they subscribe."""
        if self.is_complete:
            return contacts.head(0)
        return absent(contacts, self.subscribers["phone_digits"].dropna(), self.asked)

    def can_be_renewed(self, *, trait_keys: Collection[str], complete: bool, dry_run: bool = False) -> bool:
        """Tell whether reading what changed is enough; for a dry run, even before a write has shown it."""
        # A shop of one page is read whole in as many calls.
        is_enough = bool(self.page_size) if self.is_complete else not complete
        is_current = bool(self.newest) and (self.is_dated or dry_run)
        return is_enough and is_current and {*trait_keys} <= {*self.trait_keys}


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """The subscribers as Postscript holds them now, and what it took to know."""

    cache: SubscriberCache
    """As it is after the reading."""
    read: pd.DataFrame
    """SUBSCRIBER_COLUMNS: the rows that were read now."""
    gone: tuple[str, ...] = ()
    """Ids that the cache had and must not have any more."""
    replaces: bool = False
    """True when nothing of the earlier cache was kept."""
    method: str
    """``listing``, ``lookups`` or ``changes``."""
    estimates: Mapping[str, int] = field(default_factory=dict)
    """Method → calls that it would have taken, as far as it was considered."""
    notes: tuple[str, ...] = ()
    """Sentences for people: what was found out about the shop on the way."""

    @property
    def subscribers(self) -> pd.DataFrame:
        """SUBSCRIBER_COLUMNS: everybody who is known."""
        return self.cache.subscribers


def phones_of(contacts: pd.DataFrame) -> pd.Series:
    """Return the phones of check_contacts() as digits."""
    return contacts["phone_e164"].str.removeprefix("+")


def absent(contacts: pd.DataFrame, digits: Collection[str], asked: Collection[str]) -> pd.DataFrame:
    """Return the people whose phone no subscriber has, and with a contact that was not asked for.

    That a subscriber has the email proves nothing until it was asked for: others may share it.
    """
    phone, email = phones_of(contacts), contacts["email_clean"]
    looked_up = pd.Series([*asked], dtype="str")
    is_known = is_in(phone, pd.Series([*digits], dtype="str"))
    was_asked = (phone.isna() | is_in(phone, looked_up)) & (email.isna() | is_in(email, looked_up))
    return contacts[~is_known & ~was_asked]


def renewed(
    before: pd.DataFrame, read: pd.DataFrame, gone: Collection[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Lay what was read over what was known; return everybody, and the ids that are not there any more.

    These are *gone*, and those with a phone that was read under another id: it belongs to one subscriber.
    """
    if before.empty:
        return read, ()
    ids = before["subscriber_id"]
    again = is_in(ids, read["subscriber_id"])
    moved = is_in(before["phone_digits"], read["phone_digits"]) | is_in(ids, pd.Series([*gone], dtype="str"))
    kept = before[~(again | moved)]
    everybody = pd.concat([kept, read], ignore_index=True) if len(read) else kept.reset_index(drop=True)
    return typed(everybody, SUBSCRIBER_COLUMNS), tuple(sorted(ids[moved & ~again]))
