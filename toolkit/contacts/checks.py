"""Judge one phone or email, without guessing: the authority with which the columns of `bulk` agree.

Phones are judged by libphonenumber's data, emails by syntax only: no DNS, nothing leaves the machine.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from toolkit.errors import ParameterError

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
    "phone_unknown_country": ("No such country code.", "Write the number with + and its country code."),
    "phone_local_only": ("Lacks the area code.", "Write the number with its area code."),
    "phone_impossible": ("No number of that country looks like this.", "Correct it at its source."),
}
"""Verdict code → what it means, and what to do."""
CODES = tuple(CONTACT_VERDICTS)
NUMBER = {code: number for number, code in enumerate(CODES)}
"""Verdict code → its place in CODES, by which columns hold it."""

REGIONS = tuple(sorted(phonenumbers.SUPPORTED_REGIONS))
"""Every region that libphonenumber knows, by its two letters."""

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


class Verdict(NamedTuple):
    """Whether one contact can be used, and how."""

    code: str
    """A key of CONTACT_VERDICTS."""
    value: str | None = None
    """The contact in its standard form (E.164 phone, lower-case email); None unless the code is ok."""


def check_region(region: str) -> str:
    """Return the two-letter region in upper case; ParameterError when libphonenumber does not know it."""
    known = region.strip().upper()
    if known not in phonenumbers.SUPPORTED_REGIONS:
        raise ParameterError(
            f'default_region is "{region}", which is not a country code. '
            "Use two letters such as US, CA or GB."
        )
    return known


def check_contact(contact: str, raw: str, region: str) -> Verdict:
    """Judge a ``phone``, or else an email."""
    return check_phone(raw, region) if contact == "phone" else check_email(raw)


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
        return Verdict("absent")
    if _SPREADSHEET.fullmatch(text):
        return Verdict("phone_spreadsheet_damage")
    if _INTEGRAL_FLOAT.fullmatch(text):  # a number that went through a float column
        text = text.partition(".")[0]
    if len(text) > 100:  # libphonenumber refuses above 250; nothing of that length is a phone
        return Verdict("phone_not_a_number")
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        return Verdict(_UNREADABLE.get(error.error_type, "phone_not_a_number"))
    judged = phonenumbers.is_possible_number_with_reason(number)
    if judged != phonenumbers.ValidationResult.IS_POSSIBLE:
        # Not read as another country's number that lost its plus: that would be a guess at a stranger.
        return Verdict(_POSSIBLE.get(judged, "phone_impossible"))
    # An extension is left out: a text message cannot be sent to one.
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Verdict(OK, e164)


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
        return Verdict("absent")
    if len(text) > 254:  # the longest there can be; the library looks at every letter before it refuses
        return Verdict("email_invalid")
    try:
        # test_environment: the reserved .test domain is allowed, so that a rehearsal can use it.
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return Verdict("email_invalid")
    return Verdict(OK, found.normalized.lower())


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
    return re.sub(r"[^0-9]+", "", phone)
