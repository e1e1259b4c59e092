"""Who is meant by a phone, an email or an id, and which events are theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from typing import Protocol

import pandas as pd

from toolkit.contacts import check_contacts, check_phone, fold_email
from toolkit.destination import Destination
from toolkit.memberships import PAYLOAD_COLUMNS, empty_table, fold
from toolkit.outlook import Outlook

from .steps import SHOW

_NAMED = 5
"""People named in a sentence, at most."""


class Payloads(Protocol):
    """The archive, as far as a timeline needs it."""

    def payloads_by_person(self, destination: Destination | None = None) -> Iterator[pd.DataFrame]:
        """Yield payload frames, each with every row of some of the people."""
        ...


class Wanted:
    """Who is meant: the contacts and ids that a text may be, and whom they lead to."""

    def __init__(self, who: str, outlook: Outlook, region: str) -> None:
        changes, contacts = outlook.changes, outlook.contacts
        reached = changes.loc[changes["subscriber_id"].notna(), "person"]
        first = next(iter([*reached.head(1), *changes["person"].head(1)]), "")
        self.text = who.strip().encode("utf-8", "replace").decode() or first  # no half of a character
        self.email = fold_email(self.text) if "@" in self.text else None
        self.phone = check_phone(self.text, region).value
        self.names = {self.text, *(f"{kind}:{self.text}" for kind in ("user", "anonymous", "email", "phone"))}
        has_contact = (contacts["email_clean"] == self.email) | (contacts["phone_e164"] == self.phone)
        direct = {*contacts.loc[contacts["person"].isin(self.names) | has_contact, "person"]}
        mine = changes["person"].isin(direct) | (changes["subscriber_id"] == self.text)
        self.subscriber_ids: Set[str] = {*changes.loc[mine, "subscriber_id"].dropna(), *self._held(outlook)}
        """Subscribers whom these people are, or who have the contact or id."""
        same = changes["subscriber_id"].isin(self.subscriber_ids)
        self.persons: Set[str] = direct | {*changes.loc[same, "person"]}

    def add(self, found: pd.DataFrame) -> None:
        """Add the people, and the subscribers where they are named, of what was found."""
        self.persons |= {*found["person"].dropna()}
        self.subscriber_ids |= {*found.get("subscriber_id", pd.Series()).dropna()}

    def _held(self, outlook: Outlook) -> Set[str]:
        held = outlook.mirror.subscribers
        digits = None if self.phone is None else self.phone.removeprefix("+")
        theirs = (held["phone_digits"] == digits) | (held["email_folded"] == self.email)
        return {*held.loc[theirs | (held["subscriber_id"] == self.text), "subscriber_id"]}


def events_of(
    wanted: Wanted, archive: Payloads, destination: Destination | None, region: str
) -> pd.DataFrame:
    """Return the events of the people who are meant, and of who once had the contact, with their statuses."""
    names = wanted.persons | wanted.names
    found = [empty_table(PAYLOAD_COLUMNS)]
    for part in archive.payloads_by_person(destination):
        theirs = part["person"].isin(names)
        if wanted.email or wanted.phone:
            theirs |= part["person"].isin(_once_had(wanted, part, region))
        found.append(part[theirs])
    return fold(pd.concat(found, ignore_index=True).astype(PAYLOAD_COLUMNS)).events


def _once_had(wanted: Wanted, part: pd.DataFrame, region: str) -> Set[str]:
    given = part.loc[part["email"].notna() | part["phone"].notna(), ["person", "email", "phone"]]
    contacts = check_contacts(given.drop_duplicates(), default_region=region)
    had = (contacts["email_clean"] == wanted.email) | (contacts["phone_e164"] == wanted.phone)
    return {*contacts.loc[had, "person"].dropna()}


def say_who(wanted: Wanted, outlook: Outlook) -> str:
    """Return a sentence on who was found, and what the subscribers hold."""
    if not wanted.persons and not wanted.subscriber_ids:
        if not wanted.text:
            return "There is nobody to explain: no event says who is in an audience."
        return f"Nobody with this phone, email or id was found: {SHOW.value(wanted.text)}."
    names = [SHOW.person(name) for name in sorted(wanted.persons)]
    people = f"Person {names[0]}" if len(names) == 1 else f"{len(names)} people ({', '.join(names[:_NAMED])})"
    if not wanted.subscriber_ids:
        return f"{people}; no subscriber is known."
    held = outlook.mirror.subscribers.set_index("subscriber_id")
    return f"{people}; {'; '.join(_subscriber(held, name) for name in sorted(wanted.subscriber_ids))}."


def _subscriber(held: pd.DataFrame, subscriber_id: str) -> str:
    if subscriber_id not in held.index:
        return f"subscriber {subscriber_id}, of whom nothing is known now"
    row = held.loc[subscriber_id]
    texted = {True: "can be texted", False: "has opted out"}.get(row["can_send"], "may or may not be texted")
    keys = json.loads(row["audiences"]) if isinstance(row["audiences"], str) else []
    return f"subscriber {subscriber_id}, who {texted} and holds {SHOW.text(', '.join(keys)) or 'no audience'}"
