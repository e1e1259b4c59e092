"""What is odd about contacts that can be used: many people with one, and domains that look mistyped."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pandas as pd

from .masks import mask_email, mask_phone

_USUAL = """
aol.com att.net bellsouth.net btinternet.com comcast.net cox.net fastmail.com gmail.com gmx.com gmx.de gmx.net
googlemail.com hey.com hotmail.co.uk hotmail.com hotmail.de hotmail.fr icloud.com live.com live.co.uk mac.com
mail.com mail.ru me.com msn.com orange.fr outlook.com outlook.de pm.me proton.me protonmail.com rocketmail.com
sbcglobal.net t-online.de verizon.net web.de yahoo.ca yahoo.co.uk yahoo.com yahoo.de yahoo.fr ymail.com
zoho.com
"""
USUAL_DOMAINS = frozenset(_USUAL.split())
"""Domains at which many people have their mailbox; one that is a single slip away from these is suspected."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-."


def shared_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Return the contacts that several people have, the most shared first.

    They lead to one subscriber, who then holds the audiences of all these people.

    Parameters
    ----------
    contacts
        What check_contacts() returns.

    Returns
    -------
    DataFrame
        Columns: ``contact`` (phone, email), ``masked``, ``people``.
    """
    shared = []
    for name, column, mask in (("phone", "phone_e164", mask_phone), ("email", "email_clean", mask_email)):
        people = contacts[column].value_counts()
        people = people[people > 1]
        masked = [mask(value) for value in people.index]
        shared.append(pd.DataFrame({"contact": name, "masked": masked, "people": people.to_numpy()}))
    return pd.concat(shared).sort_values("people", ascending=False, kind="stable", ignore_index=True)


def domain_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Return the domains of emails that are one slip away from a usual one, the most frequent first.

    A slip is a letter too many, too few, wrong, or two that changed places. Nothing is corrected: the domain
    may well be somebody's own.

    Parameters
    ----------
    contacts
        What check_contacts() returns.

    Returns
    -------
    DataFrame
        Columns: ``domain``, ``suggestion``, ``people``.
    """
    domains = contacts["email_clean"].dropna().str.rsplit("@", n=1).str[-1].value_counts()
    slips = slips_of_usual_domains()
    rows = [(name, slips[name], int(people)) for name, people in domains.items() if name in slips]
    return pd.DataFrame(rows, columns=["domain", "suggestion", "people"])


@cache
def slips_of_usual_domains() -> dict[str, str]:
    """Return mistyped domain → the usual one that is meant."""
    slips = {slip: domain for domain in sorted(USUAL_DOMAINS) for slip in _slips(domain)}
    return {slip: domain for slip, domain in slips.items() if slip not in USUAL_DOMAINS}


def _slips(domain: str) -> Iterator[str]:
    """Yield every text that is one slip away from *domain*."""
    for place in range(len(domain) + 1):
        before, after = domain[:place], domain[place:]
        yield from (before + letter + after for letter in _LETTERS)
        if after:
            yield before + after[1:]
            yield from (before + letter + after[1:] for letter in _LETTERS)
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
