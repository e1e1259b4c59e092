"""Tables of many contacts: who can be looked up, how they are written, numbers, domains, shared ones."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import RunFailedError
from toolkit.frames import TEXT, encode, text_array

from .masks import mask_contact
from .numbering_plans import TEXTING, country_codes, digits_of, sort_numbers
from .suggestions import slips_of_usual_domains

DIGIT = "#"
"""Not a 9: a format must pass neither for a contact, nor in a spreadsheet for a number."""
_LONGEST = 40
"""Letters of a text whose format is shown; what follows them is an ellipsis."""
_SIGNS = {"Lu": "A", "Pd": "-", "P": "□", "S": "□", "Z": "␣", "C": "␣"}
"""Category of Unicode, or its first letter → what stands for such letters; a stands for any other."""
_RUNS = (("^ +| +$", "␣"), ("␣+", "␣"), ("a*A[Aa]*", "A"), ("a+", "a"))
_DAMAGED = re.compile(r"#(?:[.,]#+)?[eE]\+?#{1,3}")
_USED = {"phone": "phone_e164", "email": "email_clean"}
"""Contact → its column of standard forms."""


# --- who can be looked up ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ContactCoverage:
    """How people can be looked up, against two limits."""

    ways: Mapping[str, int]
    """By what → people: ``phone_and_email``, ``phone_only``, ``email_only``, ``neither``."""
    people: int
    """People in all."""
    unusable: int
    """People with neither phone nor email that can be used: no sync reaches them."""
    share: float
    """Share of people who cannot be looked up, 0 to 1."""
    error: str
    """Why this must not pass; empty when it may."""
    warning: str
    """The sentence, where it is a warning; empty otherwise."""
    sentence: str
    """How many people cannot be looked up, and whether that is too many."""

    def summary(self) -> dict[str, object]:
        """Return the figures for a scheduler, ready for JSON."""
        return {
            "status": "failed" if self.error else "completed",
            "stopped_by": "guard" if self.error else "",
            "error": self.error,
            "warning": self.warning,
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
    counts = {way: int(people.sum()) for way, people in ways.items()}
    share = counts["neither"] / max(len(contacts), 1)
    found = f"{counts['neither']:,} of {len(contacts):,} people ({share:.1%}) cannot be looked up"
    sentence, error = f"{found}.", ""
    if share > max_unusable_share:
        error = f"{found}; max_unusable_share allows {max_unusable_share:.0%}. See contacts_to_fix.csv."
        sentence = f"Too many: {error}"
    elif share > warn_unusable_share:
        limit = f"warn_unusable_share, {warn_unusable_share:.0%}"
        sentence = f"Warning: {found}. That is more than {limit}."
    return ContactCoverage(
        ways=counts,
        people=len(contacts),
        unusable=counts["neither"],
        share=share,
        error=error,
        warning=sentence if share > warn_unusable_share else "",
        sentence=sentence,
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
        columns = {
            "contact": contact,
            "as_written": formats(text_array(given[contact]), contact),
            "as_used": _used_phones(used) if contact == "phone" else formats(used, contact),
            "code": given[f"{contact}_code"].array,
        }
        table = pd.DataFrame(columns, range(len(given)), dtype="str")
        counted.append(table.value_counts([*columns], dropna=False).rename("people").reset_index())
    order = ["people", "contact", "as_written", "as_used"]
    ascending = [False, False, True, True]
    return pd.concat(counted).sort_values(order, ascending=ascending, ignore_index=True)


def formats(texts: pa.Array, contact: str) -> pa.Array:
    """Return the formats of a ``phone`` or ``email`` column (large_string); null stays null."""
    digit = DIGIT if contact == "phone" else "a"
    usual = (string.digits if contact == "phone" else string.digits + string.ascii_lowercase).encode()
    cut = pc.utf8_slice_codeunits(texts, 0, _LONGEST + 1)
    valid, offsets, data = cut.buffers()
    # The usual letters of all texts at once, byte for byte: few different texts are left.
    signs = (data.to_pybytes() if data else b"").translate(
        bytes.maketrans(usual, digit.encode() * len(usual))
    )
    rough = pa.LargeStringArray.from_buffers(len(cut), offsets, pa.py_buffer(signs), valid)
    places, distinct = encode(rough)
    shown = [_format(text, digit) for text in distinct.to_pylist()]
    return pa.array(shown, TEXT).take(pa.array(places, mask=places < 0))


def _format(text: str, digit: str) -> str:
    if _DAMAGED.fullmatch(text):  # by a spreadsheet: its E is part of the number
        return text.upper()
    signs = "".join(_sign(letter, digit) for letter in text[:_LONGEST])
    signs += "…" * (len(text) > _LONGEST)
    for run, instead in _RUNS:
        signs = re.sub(run, instead, signs)
    return signs


def _sign(letter: str, digit: str) -> str:
    category = unicodedata.category(letter)
    if category == "Nd":
        return digit
    if letter in " …" or (letter.isascii() and category[0] in "PS"):
        return letter
    return _SIGNS.get(category) or _SIGNS.get(category[0], "a")


def _used_phones(phones: pa.Array) -> list[str | None]:
    """Return E.164 numbers with their country code and a # for every other digit."""
    codes = map(str, country_codes(digits_of(phones.fill_null("+000"))).tolist())
    given = zip(phones.to_pylist(), codes, strict=True)
    return [phone and f"+{code}".ljust(len(phone), DIGIT) for phone, code in given]


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
