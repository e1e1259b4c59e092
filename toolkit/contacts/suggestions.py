"""What a contact that cannot be used was probably meant to be; a person decides whether it was.

Only where one thing is meant and it can be used. What was cut off is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cache
from typing import NamedTuple

import phonenumbers

from .checks import OK, check_email, check_phone, phone_digits

LONGEST = 254
"""Letters of the longest text that is looked at."""
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


class Suggestion(NamedTuple):
    """What was probably meant, in the form in which it is used, and why, in a few words without it."""

    value: str
    why: str


def suggest_email(raw: str) -> Suggestion | None:
    """Return what an email was probably meant to be; None when it is fine, or it is not clear.

    >>> suggest_email("ana@gmial,com")
    Suggestion(value='ana@gmail.com', why='a comma for a dot; gmial.com for gmail.com')
    """
    text = raw.strip()
    whys: list[str] = []
    if len(text) > LONGEST:
        return None
    for why, repair in _EMAIL_REPAIRS:
        if check_email(text).code == OK:
            break
        repaired = repair(text)
        if repaired != text:
            text, whys = repaired, [*whys, why]
    found = check_email(text).value
    if found is None:
        return None
    local, _, domain = found.rpartition("@")
    if meant := slips_of_usual_domains().get(domain):
        found, whys = f"{local}@{meant}", [*whys, f"{domain} for {meant}"]
    return Suggestion(value=found, why="; ".join(whys)) if whys and check_email(found).code == OK else None


def suggest_phone(raw: str, region: str) -> Suggestion | None:
    """Return what a phone was probably meant to be; None when it is fine, or it is not clear.

    *region* is as check_region() returns it.

    >>> suggest_phone("447400123456", "US")
    Suggestion(value='+447400123456', why='lacks its plus; a number of GB')
    >>> suggest_phone("4.15555E+09", "US") is None
    True
    """
    text = raw.strip()
    if len(text) > LONGEST or check_phone(raw, region).code == OK:
        return None
    for why, readings in _PHONE_REPAIRS:
        meant = {check_phone(reading, region).value for reading in readings(text)}
        numbers = [phonenumbers.parse(e164) for e164 in meant if e164]
        # Numbers like it are given out: more than a length that is right.
        found = [number for number in numbers if phonenumbers.is_valid_number(number)]
        if len(found) > 1:
            return None
        if found:
            country = phonenumbers.region_code_for_number(found[0])
            abroad = "" if country == region else f"; a number of {country}"  # it may be a stranger's
            e164 = phonenumbers.format_number(found[0], phonenumbers.PhoneNumberFormat.E164)
            return Suggestion(value=e164, why=why + abroad)
    return None


def suggest(contact: str, raw: str, region: str) -> Suggestion | None:
    """Return what a ``phone``, or else an email, was probably meant to be."""
    return suggest_phone(raw, region) if contact == "phone" else suggest_email(raw)


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
        yield from (before + letter + after[1:] for letter in _LETTERS)
        yield before + after[1:]
        yield before + after[1:2] + after[:1] + after[2:]


# --- emails ------------------------------------------------------------------------------------------------

Repair = Callable[[str], str]

_INVISIBLE = "[\u0000-\u001f\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]+"
_SEPARATED = re.compile(r"[\s,;|/<>()\[\]\"']+")
# A separator ends what stands before it only where that is clear: ana,smith@ may be one local part.
_BEFORE = re.compile(
    r"^\s*$"
    r"|(?:^|\s)[<(\[\"']+\s*$"  # an opening mark after a space
    r"|:\s+$"  # a label
    r"|\s[|/]\s+$|\S\s+[^\s,;]+\s*[,;]\s+$"  # a mark with space around it, a comma after two words
)
_AFTER = re.compile(r"\s*(?:$|[<>()\[\];|/\"']|,(?:\s|$))")


def _replaced(pattern: str, instead: str) -> Repair:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda text: compiled.sub(instead, text)


_at_for_words = _replaced(r"\s*[(\[{]\s*at\s*[)\]}]\s*|\s+at\s+", "@")


def _with_domain(repair: Repair) -> Repair:
    def repaired(text: str) -> str:
        local, at, domain = text.rpartition("@")
        return f"{local}@{repair(domain)}" if at else text

    return repaired


def _with_dots(domain: str) -> str:
    """Put a dot for the first comma of a domain without one, and for that of endings such as co,uk."""
    dotted = re.sub(r"^([^.,]+),", r"\1.", domain)
    return re.sub(r"(\.(?:com?|org|net|ac|gov)),(?=[a-z]{2}$)", r"\1.", dotted, flags=re.IGNORECASE)


def _if_usual(repair: Repair) -> Repair:
    """Repair a domain only where that makes it a usual one."""
    return lambda domain: found if (found := repair(domain.lower())) in USUAL_DOMAINS else domain


def _only_address(text: str) -> str:
    """Return the one address beside other text; the text itself when its bounds are not clear."""
    words = {word.rstrip(".:") for word in _SEPARATED.split(text) if "@" in word}
    good = [word for word in words if check_email(word).code == OK]
    if len(good) != 1 or text.count(good[0]) != 1:
        return text
    before, _, after = text.partition(good[0])
    return good[0] if _BEFORE.search(before) and _AFTER.match(after) else text


_EMAIL_REPAIRS: tuple[tuple[str, Repair], ...] = (
    ("invisible letters", _replaced(_INVISIBLE, "")),
    ("mailto: before it", _replaced(r"^mailto:\s*", "")),
    ("a name beside it", _replaced(r"^[^<>@]*<\s*([^<>]+?)\s*>$", r"\1")),
    ("other text beside it", _only_address),
    ("its at sign in words", lambda text: text if "@" in text else _at_for_words(text)),
    ("a dot in words", _replaced(r"\s*[(\[{]\s*dot\s*[)\]}]\s*|\s+dot\s+", ".")),
    ("a doubled at sign", _replaced("@@+", "@")),
    ("a space in it", _replaced(r"\s*([@.])\s*", r"\1")),
    ("a space in it", _with_domain(_if_usual(_replaced(r"\s+", "")))),
    ("a mark at its end", _replaced(r"[\s.,;:]+$", "")),
    ("a comma for a dot", _with_domain(_with_dots)),
    ("a doubled dot", _replaced(r"\.\.+", ".")),
    ("its ending left out", _with_domain(_if_usual("{}.com".format))),
    ("its dot left out", _with_domain(lambda domain: slips_of_usual_domains().get(domain.lower(), domain))),
)
"""Why, and what is changed for it: one after the other until the address can be used."""


# --- phones ------------------------------------------------------------------------------------------------

Readings = Callable[[str], Iterable[str]]

_DIGITS_FOR = str.maketrans({"O": "0", "o": "0", "l": "1", "I": "1", "i": "1", "|": "1"})
_NUMBERS = re.compile(r"\+?[0-9(][0-9 ().\-\u2010-\u2015\u00a0]{5,}[0-9]")


def _whole(text: str) -> Iterator[str]:
    """Yield the number that scientific notation stands for, where none of its digits is lost."""
    if not re.fullmatch(r"[0-9][.,][0-9]{6,14}[eE]\+?[0-9]{1,2}", text):
        return
    number = Decimal(text.replace(",", "."))
    digits = len(number.as_tuple().digits)
    if number.adjusted() == digits - 1:  # as many digits as the number has
        yield f"{number:f}"
        yield f"+{number:f}"


def _letters_as_digits(text: str) -> Iterator[str]:
    meant = text.translate(_DIGITS_FOR)
    if meant != text and re.fullmatch(r"[0-9 ().\-/+]+", meant) and len(phone_digits(text)) >= 6:
        yield meant


def _rewritten(pattern: str, instead: str) -> Readings:
    """Return what reads a text of this pattern, but for what stands between digits."""

    def readings(text: str) -> list[str]:
        found = re.fullmatch(pattern, re.sub(r"[ ().\-/]+", "", text))
        return [found.expand(instead)] if found else []

    return readings


def _parts(text: str) -> list[str]:
    return [found[0] for found in _NUMBERS.finditer(text) if found[0] != text]


_PHONE_REPAIRS: tuple[tuple[str, Readings], ...] = (
    ("scientific notation that has all digits", _whole),
    ("letters for digits", _letters_as_digits),
    ("begins as dialled abroad", _rewritten(r"\+?(?:00|011)\+?([1-9][0-9]+)", r"+\1")),
    ("lacks its plus", _rewritten("([1-9][0-9]*)", r"+\1")),
    ("plus without a country code", _rewritten(r"\+([0-9]+)", r"\1")),
    ("one number among other text", _parts),
)
"""Why, and the readings it allows; the first that leads to one number, and only one, is taken."""
