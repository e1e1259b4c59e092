"""Hide contacts, so that they can be shown and kept: one, every one in a text, a table, a column."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import TEXT, byte_lengths, encode, numbers, put_together, text_array

from .checks import phone_digits
from .numbering_plans import can_be_dialled, digits_of

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
_PERSON = re.compile(r"(user|anonymous|email|phone|):(?! )(.*)", re.DOTALL)
_MASK = re.compile(r"[^\s•]?•••(?:@[\w.,-]{1,64}|[0-9]{2})?~[0-9a-f]{4}")
_WORD = r"""[^\s"'<>(),;:=&?/\[\]{}@•~|\\]"""
# Starts of words only, and possessive: linear, whatever the text.
_EMAIL = re.compile(rf"""(?:(?<!{_WORD}){_WORD}++|"[^"\n@]{{1,64}}")(?:@\[?[\w.-]++)++""")

_DIGITS = r"[0-9](?:[ \t()./+-]{0,3}[0-9]){6,}"
_PERHAPS = "|".join(
    (
        r"[@%]|[^\x00-\x7f]|^(?:email|phone):",
        r"\+[ (]{0,2}" + _DIGITS,
        r"[0-9]{3}[ \t()./+-]{1,3}[0-9]{3}[ \t()./+-][0-9]{4}",
        r"(?:^|[^\w./-]|(?:^|\W)[./-])" + _DIGITS + r"(?:$|[^A-Za-z0-9]|x[0-9])",
    )
)
"""Pattern of the texts that mask_text() may change, read alike by re and RE2."""
_may_change = re.compile(_PERHAPS).search

_NOT_FIRST = "•@"
"""Never shown as the first letter of an address."""
_SPACES = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""What str.strip() takes off."""


def mask_email(email: str | None) -> str:
    """Hide an email address but for its first letter and its domain; hide a text that may be no email whole.

    >>> mask_email("ana@example.com"), mask_email("ana@415-555-0123")
    ('a•••@example.com', '•••')
    """
    if not email:
        return ""
    local, at, domain = email.strip().rpartition("@")
    shown = _shown_domain(at + domain)
    return f"{local[:1].strip(_NOT_FIRST)}•••{shown}" if shown else "•••"


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
    """Hide a text that was given as a phone or an email, whatever it is.

    >>> mask_contact("email", "ana@gmail,com"), mask_contact("email", "ana@415-555-0123 home")
    ('a•••@gmail,com', '•••')
    """
    return mask_phone(raw) if contact == "phone" else mask_email(raw)


def mask_text(text: str) -> str:
    """Hide every email and phone in a text, however they are written; a short digest keeps two texts apart.

    A person named by a contact is hidden whole. What is hidden already stays as it is, and so do ids, dates
    and numbers.

    >>> mask_text("user:cus_42"), mask_text("last_30days")
    ('user:cus_42', 'last_30days')
    >>> mask_text("user:ana@example.com"), mask_text("vip of ana%40example.com")
    ('user:a•••@example.com~811b', 'vip of a•••@example.com~4431')
    """
    if not _may_change(text) or _NUMBER.fullmatch(text):
        return text
    if person := _PERSON.fullmatch(text):
        return _mask_person(text, *person.groups())
    plain = _readable(text)
    # An id that is written otherwise is another id.
    salt = "" if plain == text else text
    hidden = plain
    while (more := _hide(hidden, salt)) != hidden:
        hidden = more
    return text if hidden == plain else hidden


def mask_all(value: Any) -> Any:
    """Return a value with every text in it masked: in lists and objects too, their keys included."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {mask_all(key): mask_all(inner) for key, inner in value.items()}
    return [mask_all(inner) for inner in value] if isinstance(value, list | tuple) else value


def mask_texts(column: pd.Series) -> pd.Series:
    """Return a column of texts, each as `mask_text` hides it; null stays null."""
    texts = text_array(column)
    perhaps = pc.match_substring_regex(texts, _PERHAPS).fill_null(False)
    some = texts.filter(perhaps).dictionary_encode()
    known = some.dictionary.to_pylist()
    hidden = [*map(mask_text, known)]
    if hidden == known:
        return column
    whole = pc.replace_with_mask(texts, perhaps, pa.array(hidden, TEXT).take(some.indices))
    return pd.Series(whole.to_pandas(), dtype=column.dtype).set_axis(column.index)


def mask_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the contacts hidden in each of its texts and in the names of its columns.

    The columns ``email`` and ``phone`` hold a contact, or what should be one: hidden whatever it is.
    """
    hidden = {name: _mask_column(name, table[name]) for name in table}
    return table.assign(**hidden).rename(columns=mask_all)


def masked(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as mask_table() does; ``email`` and ``phone`` are called ``…_masked`` then."""
    return mask_table(table).rename(columns={"email": "email_masked", "phone": "phone_masked"})


def _mask_column(name: object, column: pd.Series) -> pd.Series:
    if name in ("email", "phone"):
        return column.map(mask_email if name == "email" else mask_phone, na_action="ignore")
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if isinstance(column.dtype, pd.StringDtype):
        return mask_texts(column)
    return column.map(mask_all) if column.dtype == "object" else column


def mask_emails(emails: pa.Array) -> pa.Array:
    """Return a column of email addresses (large_string), each as `mask_email` hides it; null stays null."""
    trimmed = pc.utf8_trim(emails.fill_null(""), _SPACES)
    parts = pc.split_pattern(trimmed, "@", max_splits=1, reverse=True)
    ends, has_domain = numbers(parts.offsets), pc.equal(pc.list_value_length(parts), 2)
    last = parts.flatten().take(pa.array(ends[1:] - 1))
    place, domains = encode(put_together("@", pc.if_else(has_domain, last, "")))
    shown = pa.array(map(_shown_domain, domains.to_pylist()), TEXT).take(pa.array(place))
    first = pc.utf8_slice_codeunits(trimmed, 0, 1)
    first = pc.if_else(pc.is_in(first, pa.array([*_NOT_FIRST], TEXT)), "", first)
    hidden = pc.if_else(pc.equal(shown, ""), "•••", put_together(first, "•••", shown))
    return pc.if_else(pc.equal(emails, ""), "", hidden)


def mask_phones(phones: pa.Array) -> pa.Array:
    """Return a column of phone numbers (large_string), each as `mask_phone` hides it; null stays null."""
    digits = digits_of(phones)
    last = pc.if_else(pa.array(byte_lengths(digits) > 6), pc.utf8_slice_codeunits(digits, -2, None), "")
    return pc.if_else(pc.equal(phones, ""), "", put_together("•••", last))


@lru_cache(maxsize=1 << 16)
def _shown_domain(domain: str) -> str:
    """Return what a mask shows of a domain and the @ before it: all of a domain, nothing of another text."""
    return domain if domain.startswith("@") and _DOMAIN.fullmatch(domain, 1) else ""


def _mask_person(person: str, kind: str, name: str) -> str:
    if _is_masked(name):
        return person
    plain = _readable(name)
    if kind == "email" or "@" in plain:
        shown = mask_email(plain)
    elif kind == "phone" or holds_phone(plain):
        shown = mask_phone(plain)
    else:
        return person
    return f"{kind}:{shown}~{_digest(person)}"


def _hide(text: str, salt: str) -> str:
    plain = text
    found: list[tuple[tuple[int, int], Callable[[str], str]]] = []
    if "•••" in plain:
        plain = _MASK.sub(lambda mask: "•" * len(mask[0]), plain)
    if "@" in plain:
        found = [(email.span(), mask_email) for email in _EMAIL.finditer(plain)]
        plain = _EMAIL.sub(lambda email: "x" * len(email[0]), plain)
    found += [(phone.span(), mask_phone) for phone in find_phones(plain)]
    for (start, end), mask in sorted(found, key=lambda one: one[0], reverse=True):
        contact = text[start:end]
        text = f"{text[:start]}{mask(contact)}~{_digest(salt + contact)}{text[end:]}"
    return text


def _readable(text: str) -> str:
    """Return a text without percent encoding, its letters and digits the usual ones, none invisible."""
    for _ in range(min(text.count("%"), 3)):
        text = unquote(text)
    if text.isascii():
        return text
    seen = (letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
    return "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in seen)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:4]


def _is_masked(name: str) -> bool:
    """Return whether a name is what mask_text() leaves of one."""
    shown, _, digest = name.rpartition("~")
    if not shown or not _DIGEST.fullmatch(digest):
        return False
    return mask_email(shown) == shown or _MASKED_PHONE.fullmatch(shown) is not None


# --- phones in texts; ids, dates and other numbers have digits too -----------------------------------------

_BETWEEN = r"[ \t()./+\u00a0\u2010-\u2015-]"
# Starts of words only, and possessive: linear, whatever the text. A plus may follow a word, but no exponent.
_RUN = re.compile(
    rf"(?:(?<!\w)(?:\+[ (]{{0,2}}|\(?)|(?<![0-9][eE])(?<=\w)\+)\d(?:{_BETWEEN}{{0,3}}\d){{6,}}+"
)
_UUID = r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])"
_CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:?\d\d)?"
_DATES = (
    rf"(?<!\d)(?:19|20)\d\d([-/])(?:0\d|1[0-2])\1[0-3]\d(?:[T ]{_CLOCK})?(?!\d)",
    r"(?<!\d)[0-3]\d([./-])[0-3]\d\2(?:19|20)\d\d(?!\d)",
    r"(?<!\d)(?:19|20)\d\d(?:0\d|1[0-2])[0-3]\d[-_ ]\d{4}(?:\d\d)?(?!\d)",
)
_NUMBERS = (
    r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",  # an address of the internet
    r"(?<![\d.+])\d{4,}\.\d{1,6}(?![\d.])",
    r"(?<![\d-])\d{4}-\d{4}(?![\d-])",  # a range
)
_NO_PHONES = re.compile("|".join((*_DATES, _UUID, *_NUMBERS)), re.IGNORECASE)
_US = re.compile(rf"(?<!\d)\d{{3}}{_BETWEEN}{{1,3}}\d{{3}}{_BETWEEN}\d{{4}}(?!\d)")
_IN_A_WORD = (re.compile(r"\w[./-]$"), re.compile(r"[./-]?(?!x\d)[^\W\d]"))
_PHONE_LABEL = re.compile(r"(?:^|\W)(?:tel|phone|mobile|cell|sms|whatsapp):$", re.IGNORECASE)


def find_phones(text: str) -> Iterator[re.Match[str]]:
    """Yield what looks like a phone in a text.

    >>> [found[0] for found in find_phones("+1 (415) 555-0123 home, tel:4155550123")]
    ['+1 (415) 555-0123', '4155550123']
    >>> [*find_phones("cus_4155550123 of 2026-11-02T10:00:00Z, order 1000234567")]
    []
    """
    if not _RUN.search(text):
        return iter(())
    plain = _NO_PHONES.sub(lambda found: "x" * len(found[0]), text)
    return (found for found in _RUN.finditer(plain) if _is_phone(plain, found))


def holds_phone(text: str) -> bool:
    """Return whether a text holds what looks like a phone.

    >>> holds_phone("+14155550123"), holds_phone("5550123")
    (True, False)
    """
    digits = text.removeprefix("+")
    if digits.isdecimal():
        return (digits != text and len(digits) > 6) or can_be_dialled(digits)
    return any(find_phones(text))


def _is_phone(text: str, run: re.Match[str]) -> bool:
    """Judge seven digits or more, with what stands between them, by that and by what is around them."""
    before, after = text[max(run.start() - 12, 0) : run.start()], text[run.end() : run.end() + 3]
    if "+" in run[0] or _US.search(run[0]):
        return True
    parts = run[0].split()
    # Only its first or last part belongs to the word beside it.
    parts = parts[1:] if _IN_A_WORD[0].search(before) else parts
    parts = parts[:-1] if _IN_A_WORD[1].match(after) else parts
    return bool(parts) and (_PHONE_LABEL.search(before) is not None or _is_written_so(" ".join(parts)))


def _is_written_so(written: str) -> bool:
    groups = re.findall(r"\d+", written)
    digits = sum(map(len, groups))
    if max(map(len, groups)) > 8:  # an id, if it is no number of a country, alone or with what follows
        return can_be_dialled("".join(groups)) or any(map(can_be_dialled, groups))
    # More than 15 are an id, or several numbers in a row.
    return len(groups) > 1 and digits > 6 and (digits <= 15 or " " in written)
