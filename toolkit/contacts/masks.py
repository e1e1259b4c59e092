"""Hide contacts, so that they can be shown and kept."""

from __future__ import annotations

import hashlib
import re

from .single import phone_digits

_MASKED = re.compile(r"(?:.?•••@[^@]*|•••(?:[0-9]{2})?)~[0-9a-f]{4}", re.DOTALL)
_PHONE_LIKE = re.compile(r"\+[0-9 ().-]{7,20}|\(?[0-9]{3}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}")


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


def mask_value(text: str) -> str:
    """Hide a value where it is, or holds, a contact, as `mask_person` does with a name.

    >>> mask_value('"gold"')
    '"gold"'
    >>> "ana" in mask_value('"ana@example.com"')
    False
    """
    return mask_person(f"value:{text}").removeprefix("value:")


def mask_person(person: str) -> str:
    """Hide a person's name where it is, or holds, a contact; a short digest keeps two such apart.

    A name that is hidden already stays as it is.

    >>> mask_person("user:cus_42")
    'user:cus_42'
    >>> mask_person("user:ana@example.com")[:21]
    'user:a•••@example.com'
    """
    kind, _, name = person.partition(":")
    if _MASKED.fullmatch(name):
        return person
    if kind == "email" or "@" in name:
        shown = mask_email(name)
    elif kind == "phone" or _PHONE_LIKE.fullmatch(name):
        shown = mask_phone(name)
    else:
        return person
    return f"{kind}:{shown}~{hashlib.sha256(person.encode()).hexdigest()[:4]}"
