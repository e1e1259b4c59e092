"""Values as people see them: short, in one line, contacts hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, Final

from toolkit.contacts.masks import mask_contact, mask_email, mask_phone, mask_text
from toolkit.frames import SURROGATE
from toolkit.segment.javascript import kind_of, number_text

MAX_SHOWN: Final = 80
"""Characters shown of a value."""
_MAX_READ: Final = 10_000
"""Of a longer text only the length is shown: what is cut off may not be searched for contacts."""
_KEYS_SHOWN: Final = 10

_WORD = r"""[^\s"'<>(),;:=&?/\[\]{}@%]"""
# Starts of words only, and possessive: linear, whatever the text.
_EMAIL = re.compile(rf"(?<!{_WORD}){_WORD}++(?:@|%40){_WORD}++")
# \d: other scripts' digits are a phone number too. Not inside a word: ids have digits.
_PHONE = re.compile(r"(?<!\w)\+?\(?\d(?:[ ().-]{0,3}\d){6,}+")

_SHOWS_CONTACTS = ContextVar("shows contacts", default=False)


@contextmanager
def contacts_shown(*, is_wanted: bool) -> Iterator[None]:
    """Show contacts in clear text for as long as it lasts, if that is wanted."""
    token = _SHOWS_CONTACTS.set(is_wanted)
    try:
        yield
    finally:
        _SHOWS_CONTACTS.reset(token)


def show_value(value: Any, kind: str = "") -> str:
    """Return a JSON value in a few words: scalars as JSON, of objects the keys, of lists the length.

    Of the *kind* ``email`` or ``phone`` a text is hidden as a whole: a contact may be written in a way in
    which it would not be recognised inside a text.

    >>> show_value("dana@mail.test"), show_value("n/a", "phone"), show_value({"vip": True})
    ('"d•••@mail.test"', '•••', 'an object with 1 key: vip')
    """
    if isinstance(value, str):
        if len(value) > _MAX_READ:
            return show_text(value)
        is_contact = kind in ("email", "phone") and not _SHOWS_CONTACTS.get()
        quoted = cut(json.dumps(_hidden(value), ensure_ascii=False))
        return show_text(mask_contact(kind, value)) if is_contact else quoted
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return show_text(number_text(value))
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return _keys(value) if isinstance(value, dict) else kind_of(value)


def show_text(text: str, *, limit: int = MAX_SHOWN) -> str:
    """Return a text cut short, emails and phones in it hidden, and other numbers of seven digits or more."""
    if len(text) > _MAX_READ:
        return f"a text of {len(text):,} characters"
    return cut(_hidden(text), limit)


def show_person(person: str) -> str:
    """Return a person's name, such as ``user:c_1042``, or an id of the same form; plain digits stay."""
    return cut(whole_text(person) if _SHOWS_CONTACTS.get() else mask_text(whole_text(person)))


def whole_text(value: object) -> str:
    """Return a value as text without lone surrogates, which no table and no screen can hold."""
    return SURROGATE.sub("\ufffd", str(value))


def cut(text: str, limit: int = MAX_SHOWN) -> str:
    """Return the beginning of a text that is longer than *limit* characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _hidden(text: str) -> str:
    if _SHOWS_CONTACTS.get():
        return whole_text(text)
    text = _EMAIL.sub(lambda found: mask_email(found[0]), whole_text(text))
    return mask_text(_PHONE.sub(lambda found: mask_phone(found[0]), text))


def _keys(value: dict[str, Any]) -> str:
    if not value:
        return "an object without keys"
    keys = [show_text(key, limit=24) for key in islice(value, _KEYS_SHOWN)]
    more = ["…"] if len(value) > _KEYS_SHOWN else []
    count = "1 key" if len(value) == 1 else f"{len(value):,} keys"
    return cut(f"an object with {count}: {', '.join([*keys, *more])}")
