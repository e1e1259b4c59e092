"""Tell names that hold a phone, however it is written, from ids that have digits too."""

from __future__ import annotations

import re

_BETWEEN = r"[ \t()./\u00a0\u2010-\u2015-]"
# Starts of words only, and possessive: linear, whatever the text.
_RUN = re.compile(rf"(?<!\w)(?:\+[ (]{{0,2}}|\(?)\d(?:{_BETWEEN}{{0,3}}\d){{6,}}+")
_UUID = r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])"
_DATE = r"(?<!\d)(?:19|20)\d\d([-/])(?:0\d|1[0-2])\1[0-3]\d"
_TIME = r"[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:?\d\d)?"
_NO_PHONES = re.compile(rf"{_DATE}(?:{_TIME})?(?!\d)|{_UUID}", re.IGNORECASE)
_US = re.compile(rf"(?<!\d)\d{{3}}{_BETWEEN}{{1,3}}\d{{3}}{_BETWEEN}\d{{4}}(?!\d)")
_IN_A_WORD = (re.compile(r"\w[./-]$"), re.compile(r"[./-]?(?!x\d)[^\W\d]"))
_LABEL = re.compile(r"(?:^|\W)(?:tel|phone|mobile|cell|sms|whatsapp):$", re.IGNORECASE)


def holds_phone(name: str) -> bool:
    """Return whether a name holds what looks like a phone; plain digits, dates and ids of words do not.

    >>> holds_phone("+1 (415) 555-0123 home"), holds_phone("tel:4155550123")
    (True, True)
    >>> holds_phone("4155550123"), holds_phone("cus_4155550123"), holds_phone("2026-11-02T10:00:00Z")
    (False, False, False)
    """
    if name.isalnum():  # plain digits among them
        return False
    text = _NO_PHONES.sub("x", name)
    return any(_is_phone(text, found) for found in _RUN.finditer(text))


def _is_phone(text: str, run: re.Match[str]) -> bool:
    """Judge seven digits or more, with what stands between them, by that and by what is around them."""
    before, after = text[max(run.start() - 12, 0) : run.start()], text[run.end() : run.end() + 3]
    if "+" in run[0] or _US.search(run[0]):
        return True
    if _IN_A_WORD[0].search(before) or _IN_A_WORD[1].match(after):
        return False
    if not run[0].isdecimal() or _LABEL.search(before):
        return True
    # Plain digits: an id, where they are joined to other text.
    around = (before[-1:], after[:1])
    return all(not near or near.isspace() or near in "(),;" for near in around)
