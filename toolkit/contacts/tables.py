"""Tables of many contacts: who can be looked up, how they are written, numbers, domains, shared ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from toolkit.errors import RunFailedError
from toolkit.frames import TEXT, byte_lengths, encode, text_array

from .masks import mask_contact
from .plans import TEXTING, country_codes, digits_of, sort_numbers
from .suggestions import slips_of_usual_domains

DIGIT = "#"
"""Not a 9: a format must pass neither for a contact, nor in a spreadsheet for a number."""
_LONGEST = 40
"""Letters of a text whose format is shown; what follows them is an ellipsis."""
_SIGNS = {"Lu": "A", "Pd": "-", "P": "□", "S": "□", "Z": "␣", "C": "␣"}
"""Category of Unicode, or its first letter → what stands for such letters; a stands for any other."""
_USED = {"phone": "phone_e164", "email": "email_clean"}
"""Contact → its column of standard forms."""


# --- who can be looked up ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ContactCoverage:
    """How people can be looked up, against two limits."""

    ways: Mapping[str, int]
    """By what → people: ``phone_and_email``, ``phone_only``, ``email_only``, ``neither``."""
    warn_unusable_share: float
    """0 to 1; a larger share of ``neither`` is a warning."""
    max_unusable_share: float
    """0 to 1; a larger share of ``neither`` must not pass."""

    @property
    def people(self) -> int:
        """People in all."""
        return sum(self.ways.values())

    @property
    def unusable(self) -> int:
        """People with neither phone nor email that can be used: no sync reaches them."""
        return self.ways["neither"]

    @property
    def share(self) -> float:
        """Share of people who cannot be looked up, 0 to 1."""
        return self.unusable / max(self.people, 1)

    @property
    def error(self) -> str:
        """Why this must not pass; empty when it may."""
        if self.share <= self.max_unusable_share:
            return ""
        limit = f"max_unusable_share allows {self.max_unusable_share:.0%}"
        return f"{self._found}; {limit}. See contacts_to_fix.csv."

    @property
    def sentence(self) -> str:
        """How many people cannot be looked up, and whether that is too many."""
        if self.error:
            return f"Too many: {self.error}"
        if self.share <= self.warn_unusable_share:
            return f"{self._found}."
        limit = f"warn_unusable_share, {self.warn_unusable_share:.0%}"
        return f"Warning: {self._found}. That is more than {limit}."

    @property
    def _found(self) -> str:
        return f"{self.unusable:,} of {self.people:,} people ({self.share:.1%}) cannot be looked up"

    def summary(self) -> dict[str, object]:
        """Return the figures for a scheduler, ready for JSON."""
        return {
            "status": "failed" if self.error else "completed",
            "stopped_by": "guard" if self.error else "",
            "error": self.error,
            "warning": self.sentence if self.share > self.warn_unusable_share else "",
            "people": self.people,
            "unusable": self.unusable,
            "unusable_share": round(self.share, 4),
        }

    def raise_if_failed(self) -> None:
        """Raise RunFailedError when more people than allowed cannot be looked up."""
        if self.error:
            raise RunFailedError(self.error)


def measure_coverage(
    contacts: pd.DataFrame, *, warn_unusable_share: float = 0.1, max_unusable_share: float = 1.0
) -> ContactCoverage:
    """Count how people can be looked up, from the *contacts* that check_contacts() returns.

    The two limits are shares (0 to 1) of people who cannot be looked up, above which it is a warning, or must
    not pass.

    >>> from toolkit import check_contacts
    >>> people = pd.DataFrame({"person": ["u:1"], "email": [None], "phone": ["n/a"]})
    >>> measure_coverage(check_contacts(people)).sentence
    'Warning: 1 of 1 people (100.0%) cannot be looked up. That is more than warn_unusable_share, 10%.'
    """
    phone, email = contacts["phone_e164"].notna(), contacts["email_clean"].notna()
    ways = {
        "phone_and_email": phone & email,
        "phone_only": phone & ~email,
        "email_only": ~phone & email,
        "neither": ~phone & ~email,
    }
    return ContactCoverage(
        ways={way: int(people.sum()) for way, people in ways.items()},
        warn_unusable_share=warn_unusable_share,
        max_unusable_share=max_unusable_share,
    )


# --- how contacts are written ------------------------------------------------------------------------------


def format_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count how the *contacts* that check_contacts() returns are written, the most frequent format first.

    Columns: ``contact`` (phone, email), ``as_written``, ``as_used`` (null where it cannot be used), ``code``
    (a key of CONTACT_VERDICTS), ``people``. Formats show no contact: # is a digit, a is a run of small
    letters (in emails of digits, too) and A of letters with a capital, ␣ is a space at an end. Of a number
    as used the country code is shown.

    >>> from toolkit import check_contacts
    >>> people = pd.DataFrame({"person": ["u:1"], "email": [" Ana@Mail.test"], "phone": ["(415) 555-0100"]})
    >>> format_table(check_contacts(people))[["as_written", "as_used"]].values.tolist()
    [['(###) ###-####', '+1##########'], ['␣A@A.a', 'a@a.a']]
    """
    counted = []
    for contact, column in _USED.items():
        given = contacts[contacts[f"{contact}_code"] != "absent"]
        used = text_array(given[column])
        shown = _used_phones(used) if contact == "phone" else formats(used, digit="a")
        columns = {
            "contact": contact,
            "as_written": contact_formats(given, contact),
            "as_used": pd.Series(shown, given.index, "str").where(given[column].notna()),
            "code": given[f"{contact}_code"],
        }
        table = pd.DataFrame(columns, given.index)
        counted.append(table.value_counts([*columns], dropna=False).rename("people").reset_index())
    dtypes = {**dict.fromkeys(("contact", "as_written", "as_used", "code"), "str"), "people": "int64"}
    order = ["people", "contact", "as_written", "as_used"]
    found = pd.concat(counted).astype(dtypes)
    return found.sort_values(order, ascending=[False, False, True, True], ignore_index=True)


def contact_formats(contacts: pd.DataFrame, contact: str) -> pd.Series:
    """Return the formats of the phones or emails of *contacts* as they were written; null becomes empty."""
    shown = formats(text_array(contacts[contact]), digit=DIGIT if contact == "phone" else "a")
    damaged = contacts[f"{contact}_code"] == "phone_spreadsheet_damage"
    found = pd.Series(shown, contacts.index, "str")
    return found.mask(damaged, found.str.replace(r"^(#(?:[.,]#+)?)[Aa](\+?#+)$", r"\1E\2", regex=True))


def formats(texts: pa.Array, *, digit: str) -> pa.Array:
    """Return the formats of *texts* (large_string), *digit* standing for every digit; null becomes empty."""
    given = texts.fill_null("").to_pylist()
    cut = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…" for text in given]
    whole = "".join(cut)
    # All at once: a call for each text takes longer than what it does.
    shown = whole.translate({ord(letter): _sign(letter, digit) for letter in set(whole)})
    bounds = pairwise(accumulate(map(len, cut), initial=0))
    places, distinct = encode(pa.array([shown[start:end] for start, end in bounds], TEXT))
    return pa.array(map(_without_runs, distinct.to_pylist()), TEXT).take(pa.array(places))


def _sign(letter: str, digit: str) -> str:
    """Return what stands for a letter."""
    category = unicodedata.category(letter)
    if category == "Nd":
        return digit
    if letter in " …" or (letter.isascii() and category[0] in "PS"):
        return letter
    return _SIGNS.get(category) or _SIGNS.get(category[0], "a")


def _without_runs(signs: str) -> str:
    signs = re.sub("^ +| +$", "␣", signs)
    for run, instead in (("␣+", "␣"), ("a*A[Aa]*", "A"), ("a+", "a")):
        signs = re.sub(run, instead, signs)
    return signs


def _used_phones(phones: pa.Array) -> pa.Array:
    """Return E.164 numbers with their country code and a # for every other digit."""
    digits = digits_of(phones.fill_null("+000"))
    codes, sizes = country_codes(digits), byte_lengths(digits)
    kinds, places = np.unique(codes * 100 + sizes, return_inverse=True)
    shown = [f"+{kind // 100}" + DIGIT * (kind % 100 - len(str(kind // 100))) for kind in kinds.tolist()]
    return pa.array(shown, TEXT).take(pa.array(places))


# --- numbers, domains, shared contacts ---------------------------------------------------------------------


def phone_type_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count the usable phones of *contacts*, checked, by country and kind of number, the most frequent first.

    Columns: ``country`` (its two letters; ``+`` and the country code where the number belongs to none),
    ``kind`` (as libphonenumber sorts them), ``people``, ``share`` (0 to 1, of the usable phones), ``texting``
    (what the kind means for it).

    >>> from toolkit import check_contacts
    >>> people = pd.DataFrame({"person": ["u:1"], "email": [None], "phone": ["+44 7400 123456"]})
    >>> phone_type_table(check_contacts(people))[["country", "kind", "people"]].values.tolist()
    [['GB', 'mobile', 1]]
    """
    found = sort_numbers(text_array(contacts["phone_e164"].dropna()))
    country = found["region"].where(found["region"].str.len() == 2, "+" + found["code"]).rename("country")
    table = found.groupby([country, "kind"]).size().rename("people").reset_index()
    table = table.sort_values("people", ascending=False, kind="stable", ignore_index=True)
    share = (table["people"] / max(len(found), 1)).round(4)
    return table.assign(share=share, texting=table["kind"].map(TEXTING).astype("str"))


def shared_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Return the checked *contacts* that several people have, the most shared first.

    They lead to one subscriber, who then holds the audiences of all these people. Columns: ``contact``
    (phone, email), ``masked``, ``people``.
    """
    shared = []
    for contact, column in _USED.items():
        people = contacts[column].value_counts()
        people = people[people > 1]
        masked = [mask_contact(contact, value) for value in people.index]
        shared.append(pd.DataFrame({"contact": contact, "masked": masked, "people": people.to_numpy()}))
    return pd.concat(shared).sort_values("people", ascending=False, kind="stable", ignore_index=True)


def domain_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Return the domains of checked *contacts* one slip away from a usual one, the most frequent first.

    A slip is a letter too many, too few, wrong, or two that changed places. Nothing is corrected: the domain
    may be the right one. Columns: ``domain``, ``suggestion``, ``people``.
    """
    domains = contacts["email_clean"].dropna().str.rsplit("@", n=1).str[-1].value_counts()
    slips = slips_of_usual_domains()
    rows = [(name, slips[name], int(people)) for name, people in domains.items() if name in slips]
    return pd.DataFrame(rows, columns=["domain", "suggestion", "people"])
