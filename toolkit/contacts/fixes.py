"""The contacts that need a person: what is wrong, what was probably meant, and room for an answer."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from .masks import mask_contact, mask_text
from .quality import slips_of_usual_domains
from .shapes import contact_shapes
from .single import check_region
from .suggestions import Suggestion, suggest_email, suggest_phone
from .verdicts import OK

FIX_COLUMNS = {
    "person": "str",
    "contact": "str",
    "code": "str",
    "as_written": "str",
    "shape": "str",
    "suggestion": "str",
    "why": "str",
    "accept": "str",
    "correction": "str",
}
"""One row a contact; contacts and persons are masked. ``accept`` and ``correction`` are for answers."""


def fix_table(contacts: pd.DataFrame, *, default_region: str = "US") -> pd.DataFrame:
    """Lay out the contacts that cannot be used and those that look mistyped, for a person to answer.

    Parameters
    ----------
    contacts
        What check_contacts() returns.
    default_region
        Country in which phones without a country code are read.

    Returns
    -------
    DataFrame
        FIX_COLUMNS, one row a contact, those with a suggestion first. Those whose code is ``ok`` are
        emails at a domain one slip away from a usual one. ``suggestion`` is null where nobody can
        tell what was meant; ``accept`` and ``correction`` are empty. Contacts are masked; ``shape`` shows how
        they are written.

    Raises
    ------
    ParameterError
        The region is unknown.

    Examples
    --------
    >>> from toolkit.contacts import check_contacts
    >>> people = pd.DataFrame({"person": ["user:1"], "email": ["ana@gmail,com"], "phone": [None]})
    >>> fix_table(check_contacts(people))[["as_written", "suggestion", "why"]].values.tolist()
    [['a•••@gmail,com', 'a•••@gmail.com', 'a comma for a dot']]
    """
    region = check_region(default_region)
    both = [_rows(contacts, contact, region) for contact in ("phone", "email")]
    table = pd.concat(both).sort_index(kind="stable")
    return table.sort_values("suggestion", key=pd.isna, kind="stable", ignore_index=True)


def suggest(contact: str, raw: str, region: str) -> Suggestion | None:
    """Return what a phone or an email was probably meant to be."""
    return suggest_phone(raw, region) if contact == "phone" else suggest_email(raw)


def _rows(contacts: pd.DataFrame, contact: str, region: str) -> pd.DataFrame:
    """Return FIX_COLUMNS of one kind of contact, with the index of *contacts*."""
    faulty = contacts[_needs_a_person(contacts, contact)]
    raw = faulty[contact]
    meant = _each(raw, lambda text: suggest(contact, text, region))
    table = pd.DataFrame(
        {
            "person": faulty["person"].map(mask_text),
            "contact": contact,
            "code": faulty[f"{contact}_code"],
            "as_written": raw.map(lambda text: mask_contact(contact, text)),
            "shape": contact_shapes(faulty, contact).to_numpy(),
            "suggestion": meant.map(lambda found: mask_contact(contact, found.value), na_action="ignore"),
            "why": meant.map(lambda found: found.why, na_action="ignore"),
            "accept": "",
            "correction": "",
        },
        index=faulty.index,
    )
    return table.astype(FIX_COLUMNS)


def _needs_a_person(contacts: pd.DataFrame, contact: str) -> pd.Series:
    faulty = ~contacts[f"{contact}_code"].isin([OK, "absent"])
    if contact == "email":
        domains = contacts["email_clean"].astype("str").str.replace("^.*@", "", regex=True)
        faulty |= domains.isin(slips_of_usual_domains())
    return faulty


def _each(raw: pd.Series, work: Callable[[str], Suggestion | None]) -> pd.Series:
    """Return *work* on each text, done once for those that are alike."""
    done = {text: work(text) for text in raw.unique()}
    return pd.Series([done[text] for text in raw], index=raw.index, dtype="object")
