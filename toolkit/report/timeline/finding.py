"""Who is meant by a phone, an email or an id, and which events are theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pandas as pd

from toolkit.audiences.memberships import fold
from toolkit.audiences.preview import Payloads
from toolkit.contacts import check_contacts, check_phone, fold_email
from toolkit.frames import empty_table
from toolkit.segment.destination import Destination
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS
from toolkit.sync.forecast import Outlook

from .steps import SHOW

MOST = 100
"""People and subscribers of whom is told, at most."""
_NAMED = 5
"""Of them named in a sentence, at most."""


@dataclass(frozen=True, kw_only=True)
class Who:
    """What a text may mean."""

    text: str
    names: frozenset[str]
    """Persons of that name, whatever it is."""
    email: str | None
    phone: str | None
    """E.164."""

    def has(self, contacts: pd.DataFrame) -> pd.Series:
        """Return which rows of check_contacts() have the contact."""
        return (contacts["email_clean"] == self.email) | (contacts["phone_e164"] == self.phone)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Whom a text leads to."""

    persons: frozenset[str] = frozenset()
    subscriber_ids: frozenset[str] = frozenset()

    def add(self, rows: pd.DataFrame) -> Found:
        """Return these and the persons of *rows*, and their subscribers where they are named."""
        ids = frozenset(rows["subscriber_id"].dropna()) if "subscriber_id" in rows else frozenset()
        return Found(
            persons=_some(self.persons | frozenset(rows["person"].dropna())),
            subscriber_ids=_some(self.subscriber_ids | ids),
        )

    def widen(self, outlook: Outlook) -> Found:
        """Return these, the subscribers they are, and who else leads to the same ones."""
        mine = self.add(outlook.changes[outlook.changes["person"].isin(self.persons)])
        return mine.add(outlook.changes[outlook.changes["subscriber_id"].isin(mine.subscriber_ids)])


def read_who(text: str, outlook: Outlook, region: str) -> Who:
    """Return what *text* may mean; a blank one, the first person whom a sync reaches."""
    reached = outlook.changes.loc[outlook.changes["subscriber_id"].notna(), "person"]
    first = next(iter([*reached.head(1), *outlook.changes["person"].head(1)]), "")
    meant = text.strip().encode("utf-8", "replace").decode() or first  # no half of a character
    return Who(
        text=meant,
        names=frozenset({meant, *(f"{kind}:{meant}" for kind in ("user", "anonymous", "email", "phone"))}),
        email=fold_email(meant) if "@" in meant else None,
        phone=check_phone(meant, region).value,
    )


def find_known(who: Who, outlook: Outlook) -> Found:
    """Return whom the outlook knows by that name, contact or subscriber id."""
    held, contacts = outlook.mirror.subscribers, outlook.contacts
    digits = None if who.phone is None else who.phone.removeprefix("+")
    theirs = (held["phone_digits"] == digits) | (held["email_folded"] == who.email)
    ids = held.loc[theirs | (held["subscriber_id"] == who.text), "subscriber_id"]
    named = contacts[contacts["person"].isin(who.names) | who.has(contacts)]
    return Found(subscriber_ids=_some(frozenset(ids))).add(named[["person"]]).widen(outlook)


def _some(names: frozenset[str]) -> frozenset[str]:
    """Return the first of them: a contact that is none may belong to thousands."""
    return frozenset(sorted(names)[:MOST])


def events_of(
    who: Who, found: Found, archive: Payloads, destination: Destination | None, region: str
) -> pd.DataFrame:
    """Return the events of the people found, and of who once had the contact, with their statuses."""
    names = found.persons | who.names
    parts = [empty_table(PAYLOAD_COLUMNS)]
    for part in archive.payloads_by_person(destination):
        theirs = part["person"].isin(names)
        if len(found.persons) < MOST and (who.email or who.phone):
            theirs |= part["person"].isin(_once_had(who, part, region))
        parts.append(part[theirs])
    return fold(pd.concat(parts, ignore_index=True).astype(PAYLOAD_COLUMNS)).events


def _once_had(who: Who, part: pd.DataFrame, region: str) -> frozenset[str]:
    given = part.loc[part["email"].notna() | part["phone"].notna(), ["person", "email", "phone"]]
    contacts = check_contacts(given.drop_duplicates(), default_region=region)
    return _some(frozenset(contacts.loc[who.has(contacts), "person"].dropna()))


def say_who(who: Who, found: Found, outlook: Outlook) -> str:
    """Return a sentence on who was found, and what the subscribers hold."""
    if not found.persons and not found.subscriber_ids:
        if not who.text:
            return "There is nobody to explain: no event says who is in an audience."
        return f"Nobody with this phone, email or id was found: {SHOW.value(who.text)}."
    names = [SHOW.person(name) for name in sorted(found.persons)]
    people = (
        f"Person {names[0]}"
        if len(names) == 1
        else f"{_many(names)} ({', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''})"
    )
    if not found.subscriber_ids:
        return f"{people}; no subscriber is known."
    held = outlook.mirror.subscribers.set_index("subscriber_id")
    return f"{people}; {'; '.join(_subscriber(held, name) for name in sorted(found.subscriber_ids))}."


def _many(names: list[str]) -> str:
    return f"The first {MOST} of the people" if len(names) == MOST else f"{len(names)} people"


def _subscriber(held: pd.DataFrame, subscriber_id: str) -> str:
    if subscriber_id not in held.index:
        return f"subscriber {subscriber_id}, of whom nothing is known now"
    row = held.loc[subscriber_id]
    texted = {True: "can be texted", False: "has opted out"}.get(row["can_send"], "may or may not be texted")
    keys = json.loads(row["audiences"]) if isinstance(row["audiences"], str) else []
    return f"subscriber {subscriber_id}, who {texted} and holds {SHOW.text(', '.join(keys)) or 'no audience'}"
