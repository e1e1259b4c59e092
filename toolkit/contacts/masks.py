"""Hide contacts, so that they can be shown and kept."""

from __future__ import annotations

import hashlib
import re

from .phone_like import holds_phone
from .single import phone_digits

_LETTER = r"[^\W\d_]"
_LABEL = rf"[0-9-]*{_LETTER}(?:{_LETTER}|[0-9-])*"
# Where a comma may be a dot, only a usual ending is shown: what follows a comma may be a name or a town.
_ENDING = r"(?:[a-z]{2}|com|org|net|edu|gov|info|test|(?:com?|org|net|ac|gov)\.[a-z]{2})"
_DOMAIN = re.compile(
    r"(?=.{3,60}$)(?!(?:[^0-9]*[0-9]){7})"  # no longer than that, and no phone among the letters
    # 163.com is a domain; other labels of digits alone are not shown.
    rf"(?:(?:{_LABEL}\.)*(?:{_LABEL}|[0-9]{{3}})\.{_LETTER}(?:{_LETTER}|[0-9-])*\.?"
    rf"|{_LABEL}(?:\.{_LABEL})*,{_ENDING})",
    re.IGNORECASE,
)
_DIGEST = re.compile("[0-9a-f]{4}")
_MASKED_PHONE = re.compile("•••[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]+\.[0-9]+")


def mask_email(email: str | None) -> str:
    """Hide an email address but for its first letter and its domain, all of it where that may be none.

    >>> mask_email("ana@example.com"), mask_email("ana@415-555-0123")
    ('a•••@example.com', '•••')
    """
    if not email:
        return ""
    local, at, domain = email.strip().rpartition("@")
    if not at or not _DOMAIN.fullmatch(domain):
        return "•••"
    return f"{local[:1].replace('•', '')}•••@{domain}"


def mask_phone(phone: str | None) -> str:
    """Hide a phone number but for its last two digits.

    >>> mask_phone("+14155550123")
    '•••23'
    """
    if not phone:
        return ""
    digits = phone_digits(phone)
    return f"•••{digits[-2:]}" if len(digits) > 6 else "•••"


def mask_contact(contact: str, raw: str) -> str:
    """Hide a phone or an email that may be neither.

    >>> mask_contact("email", "ana@gmail,com"), mask_contact("email", "ana@415-555-0123 home")
    ('a•••@gmail,com', '•••')
    """
    return mask_phone(raw) if contact == "phone" else mask_email(raw)


def mask_value(text: str) -> str:
    """Hide a value where it is, or holds, a contact, as `mask_person` does with a name.

    >>> mask_value('"gold"')
    '"gold"'
    >>> "ana" in mask_value('"ana@example.com"')
    False
    """
    if _NUMBER.fullmatch(text):
        return text
    # Without the quotes of a JSON text a domain is seen to be one.
    inner = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    shown = mask_person(f"value:{inner}").removeprefix("value:")
    return text if shown == inner else shown


def mask_person(person: str) -> str:
    """Hide a person's name where it is, or holds, a contact; a short digest keeps two such apart.

    A name that is hidden already stays as it is.

    >>> mask_person("user:cus_42")
    'user:cus_42'
    >>> mask_person("user:ana@example.com")[:21]
    'user:a•••@example.com'
    """
    kind, _, name = person.partition(":")
    if _is_masked(name):
        return person
    if kind == "email" or "@" in name:
        shown = mask_email(name)
    elif kind == "phone" or holds_phone(name):
        shown = mask_phone(name)
    else:
        return person
    return f"{kind}:{shown}~{hashlib.sha256(person.encode()).hexdigest()[:4]}"


def _is_masked(name: str) -> bool:
    """Return whether a name is what mask_person() leaves of one."""
    shown, _, digest = name.rpartition("~")
    if not shown or not _DIGEST.fullmatch(digest):
        return False
    return mask_email(shown) == shown or _MASKED_PHONE.fullmatch(shown) is not None
