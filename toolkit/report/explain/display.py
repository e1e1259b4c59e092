"""Values as people see them: short, in one line, contacts hidden."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from toolkit.contacts.masks import mask_contact, mask_email, mask_phone, mask_text
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


@dataclass(frozen=True, kw_only=True)
class Display:
    """How values are shown: with contacts hidden, or as they are."""

    show_contacts: bool = False

    def value(self, value: Any) -> str:
        """Return a JSON value in a few words: scalars as JSON, of objects the keys, of lists the length.

        >>> Display().value("dana@mail.test"), Display().value({"vip": True})
        ('"d•••@mail.test"', 'an object with 1 key: vip')
        """
        if isinstance(value, str):
            return self._quoted(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return self.text(number_text(value))
        if isinstance(value, list):
            return f"a list of {len(value):,}"
        return self._keys(value) if isinstance(value, dict) else kind_of(value)

    def text(self, text: str, *, limit: int = MAX_SHOWN) -> str:
        """Return a text cut short, emails and phones in it hidden."""
        if len(text) > _MAX_READ:
            return f"a text of {len(text):,} characters"
        return _cut(self._hidden(_whole(text)), limit)

    def contact(self, kind: str, contact: str) -> str:
        """Return what should be a contact of the *kind* ``email`` or ``phone``, hidden whatever it is."""
        if self.show_contacts or len(contact) > _MAX_READ:
            return self.text(contact)
        return self.text(mask_contact(kind, contact))

    def field(self, kind: str, value: Any) -> str:
        """Return a JSON value, hidden as a whole where the *kind* is ``email`` or ``phone``.

        A contact may be written in a way in which it would not be recognised inside a text.
        """
        if kind in ("email", "phone") and isinstance(value, str):
            return self.contact(kind, value)
        return self.value(value)

    def person(self, person: str) -> str:
        """Return a person's name, such as ``user:c_1042``, or an id of the same form; plain digits stay."""
        person = _whole(person)
        return _cut(person if self.show_contacts else mask_text(person), MAX_SHOWN)

    def _hidden(self, text: str) -> str:
        if self.show_contacts:
            return text
        text = _EMAIL.sub(lambda found: mask_email(found[0]), text)
        return mask_text(_PHONE.sub(lambda found: mask_phone(found[0]), text))

    def _quoted(self, text: str) -> str:
        if len(text) > _MAX_READ:
            return self.text(text)
        return _cut(json.dumps(self._hidden(_whole(text)), ensure_ascii=False), MAX_SHOWN)

    def _keys(self, value: dict[str, Any]) -> str:
        if not value:
            return "an object without keys"
        keys = [self.text(key, limit=24) for key in islice(value, _KEYS_SHOWN)]
        more = ["…"] if len(value) > _KEYS_SHOWN else []
        count = "1 key" if len(value) == 1 else f"{len(value):,} keys"
        return _cut(f"an object with {count}: {', '.join([*keys, *more])}", MAX_SHOWN)


def _whole(text: str) -> str:
    """Return *text* without lone surrogates, which no table and no screen can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
