"""Clean and judge email addresses and phone numbers, without guessing.

Phones are judged by libphonenumber's data, emails by syntax only: no DNS, nothing leaves the machine.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import phonenumbers
from email_validator import EmailNotValidError, validate_email

from .errors import ParameterError

OK = "ok"

CONTACT_VERDICTS = {
    OK: ("Can be used as it is or after cleaning.", ""),
    "absent": ("No event carried one.", "Add it to the connection's Customized setup in Engage."),
    "email_invalid": ("Not the form of an email address.", "Correct it at its source."),
    "phone_not_a_number": ("Not a phone number.", "Correct it at its source."),
    "phone_spreadsheet_damage": (
        "Scientific notation: a spreadsheet destroyed the digits.",
        "Export the column as text.",
    ),
    "phone_too_short": ("Too few digits for its country.", "Correct it at its source."),
    "phone_too_long": (
        "Too many digits for its country.",
        "Correct it at its source; write numbers of other countries with + and their country code.",
    ),
    "phone_unknown_country": (
        "No such country code.",
        "Write the number with + and its country code.",
    ),
    "phone_local_only": (
        "Lacks the area code.",
        "Write the number with its area code.",
    ),
    "phone_impossible": ("No number of that country looks like this.", "Correct it at its source."),
}
"""Verdict code → what it means, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was made of one contact."""

    code: str
    """A key of CONTACT_VERDICTS."""
    value: str | None
    """The contact in its standard form (E.164 phone, lower-case email); None unless the code is ok."""


_PHONE_LIKE = re.compile(r"\+[0-9 ().-]{7,20}|\(?[0-9]{3}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}")
_SPREADSHEET = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_INTEGRAL_FLOAT = re.compile(r"\+?[0-9]{7,15}\.0+")
_POSSIBLE = {
    phonenumbers.ValidationResult.TOO_SHORT: "phone_too_short",
    phonenumbers.ValidationResult.TOO_LONG: "phone_too_long",
    phonenumbers.ValidationResult.INVALID_COUNTRY_CODE: "phone_unknown_country",
    phonenumbers.ValidationResult.INVALID_LENGTH: "phone_impossible",
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "phone_local_only",
}
_UNREADABLE = {
    phonenumbers.NumberParseException.INVALID_COUNTRY_CODE: "phone_unknown_country",
    phonenumbers.NumberParseException.TOO_SHORT_AFTER_IDD: "phone_too_short",
    phonenumbers.NumberParseException.TOO_SHORT_NSN: "phone_too_short",
    phonenumbers.NumberParseException.TOO_LONG: "phone_too_long",
}


def check_region(region: str) -> str:
    """Return the two-letter region in upper case; ParameterError when libphonenumber does not know it."""
    known = region.strip().upper()
    if known not in phonenumbers.SUPPORTED_REGIONS:
        raise ParameterError(
            f'default_region is "{region}", which is not a country code. '
            "Use two letters such as US, CA or GB."
        )
    return known


@lru_cache(maxsize=1 << 16)
def check_phone(raw: str, region: str) -> Verdict:
    """Judge one phone number; numbers without a country code are read as dialled in *region*.

    >>> check_phone("(415) 555-0100", "US").value
    '+14155550100'
    >>> check_phone("n/a", "US").code
    'phone_not_a_number'
    """
    text = raw.strip()
    if not text:
        return Verdict(code="absent", value=None)
    if _SPREADSHEET.fullmatch(text):
        return Verdict(code="phone_spreadsheet_damage", value=None)
    if _INTEGRAL_FLOAT.fullmatch(text):  # a number that went through a float column
        text = text.partition(".")[0]
    if len(text) > 100:  # libphonenumber refuses above 250; nothing of that length is a phone
        return Verdict(code="phone_not_a_number", value=None)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        return Verdict(code=_UNREADABLE.get(error.error_type, "phone_not_a_number"), value=None)
    judged = phonenumbers.is_possible_number_with_reason(number)
    if judged != phonenumbers.ValidationResult.IS_POSSIBLE:
        # Not read as another country's number that lost its plus: that would be a guess at a stranger.
        return Verdict(code=_POSSIBLE.get(judged, "phone_impossible"), value=None)
    # An extension is left out: a text message cannot be sent to one.
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Verdict(code=OK, value=e164)


@lru_cache(maxsize=1 << 16)
def check_email(raw: str) -> Verdict:
    """Judge one email address by its syntax.

    >>> check_email("  Ana@Example.COM ").value
    'ana@example.com'
    >>> check_email("not-an-email").code
    'email_invalid'
    """
    text = raw.strip()
    if not text:
        return Verdict(code="absent", value=None)
    try:
        # test_environment: the reserved .test domain is allowed, so that a rehearsal can use it.
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return Verdict(code="email_invalid", value=None)
    return Verdict(code=OK, value=found.normalized.lower())


def fold_email(email: str) -> str:
    """Return the form in which emails are compared: lower-cased, an encoded domain in its own letters.

    Lower-cased, not case-folded: folding would make "ss" of "ß", which is another domain.

    >>> fold_email(" Ana@XN--BCHER-KVA.example.com ")
    'ana@bücher.example.com'
    """
    folded = email.strip().lower()
    if folded.isascii() and "xn--" not in folded:
        return folded
    return check_email(folded).value or folded


def phone_digits(phone: str) -> str:
    """Return only the digits of *phone*, the form in which numbers are compared.

    >>> phone_digits("+1 (415) 555-0100")
    '14155550100'
    """
    # [0-9], not \d: in Python \d also matches other scripts' digits.
    return re.sub(r"[^0-9]", "", phone)


def mask_email(email: str | None) -> str:
    """Hide an email address but for its first letter and its domain.

    >>> mask_email("ana@example.com")
    'a•••@example.com'
    """
    if not email:
        return ""
    local, at, domain = email.strip().rpartition("@")
    return f"{local[:1]}•••@{domain}" if at else "•••"


def mask_phone(phone: str | None) -> str:
    """Hide a phone number but for its last two digits.

    >>> mask_phone("+14155550123")
    '•••23'
    """
    if not phone:
        return ""
    digits = phone_digits(phone)
    return f"•••{digits[-2:]}" if len(digits) > 6 else "•••"


def mask_person(person: str) -> str:
    """Hide a person's name where it is, or holds, a contact; a short digest keeps two such apart.

    >>> mask_person("user:cus_42")
    'user:cus_42'
    >>> mask_person("user:ana@example.com")[:21]
    'user:a•••@example.com'
    """
    kind, _, name = person.partition(":")
    if kind == "email" or "@" in name:
        shown = mask_email(name)
    elif kind == "phone" or _PHONE_LIKE.fullmatch(name):
        shown = mask_phone(name)
    else:
        return person
    return f"{kind}:{shown}~{hashlib.sha256(person.encode()).hexdigest()[:4]}"


def check_contacts(people: pd.DataFrame, *, default_region: str = "US") -> pd.DataFrame:
    """Judge the contacts of people, each distinct contact once.

    Parameters
    ----------
    people
        Columns ``person``, ``email``, ``phone`` (text as the events had it; null when absent).
    default_region
        Country in which numbers without a country code are read, two letters.

    Returns
    -------
    DataFrame
        One row per person, in the order given. Columns: ``person``, ``email``, ``phone`` (as given),
        ``email_code``, ``phone_code`` (keys of CONTACT_VERDICTS), ``email_clean`` (lower case),
        ``phone_e164``; both null unless the code is ``ok``.

    Raises
    ------
    ParameterError
        The region is unknown.

    Examples
    --------
    >>> people = pd.DataFrame({"person": ["user:1"], "email": [None], "phone": ["415-555-0100"]})
    >>> check_contacts(people)["phone_e164"].tolist()
    ['+14155550100']
    """
    region = check_region(default_region)
    emails = {raw: check_email(raw) for raw in people["email"].dropna().unique()}
    phones = {raw: check_phone(raw, region) for raw in people["phone"].dropna().unique()}
    absent = Verdict(code="absent", value=None)
    email_verdicts = [emails.get(raw, absent) for raw in people["email"]]
    phone_verdicts = [phones.get(raw, absent) for raw in people["phone"]]
    return pd.DataFrame(
        {
            "person": people["person"].astype("str"),
            "email": people["email"].astype("str"),
            "phone": people["phone"].astype("str"),
            "email_code": pd.Series([v.code for v in email_verdicts], dtype="str", index=people.index),
            "phone_code": pd.Series([v.code for v in phone_verdicts], dtype="str", index=people.index),
            "email_clean": pd.Series([v.value for v in email_verdicts], dtype="str", index=people.index),
            "phone_e164": pd.Series([v.value for v in phone_verdicts], dtype="str", index=people.index),
        }
    )
