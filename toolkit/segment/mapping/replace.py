"""``@replace``: literal patterns, found and replaced the way JavaScript's regular expressions do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .allowance import Allowance
from .javascript import units, whole
from .tree import Replace

_SPECIAL = re.compile(r"\$[$&`']")


def replace_text(text: str, node: Replace, allowance: Allowance) -> str:
    """Return *text* with the patterns of *node* replaced, one pair after the other."""
    text = units(text)
    for pattern, replacement in node.pairs:
        if node.ignorecase or "$" in replacement:
            text = _replaced(text, units(pattern), replacement, node, allowance)
        else:
            text = text.replace(units(pattern), units(replacement), -1 if node.everywhere else 1)
            allowance.spend(len(text), node.pointer)
    return whole(text)


def _replaced(text: str, pattern: str, replacement: str, node: Replace, allowance: Allowance) -> str:
    allowance.spend(len(text), node.pointer)
    searched = _folded(text) if node.ignorecase else text
    wanted = _folded(pattern) if node.ignorecase else pattern
    pieces: list[str] = []
    done = 0
    for start in _starts(searched, wanted):
        stop = start + len(pattern)
        pieces += (text[done:start], _expanded(units(replacement), text, start, stop))
        # Spent piece by piece: each may hold the whole text several times.
        allowance.spend(len(pieces[-1]) + len(pieces[-2]), node.pointer)
        done = stop
        if not node.everywhere:
            break
    return "".join([*pieces, text[done:]])


def _starts(text: str, pattern: str) -> Iterator[int]:
    start = text.find(pattern)
    while start >= 0:
        yield start
        start = text.find(pattern, start + len(pattern))


def _expanded(replacement: str, text: str, start: int, stop: int) -> str:
    """Return the replacement with ``$&`` and its like filled in."""
    if "$" not in replacement:
        return replacement
    parts = {"$$": "$", "$&": text[start:stop], "$`": text[:start], "$'": text[stop:]}
    return _SPECIAL.sub(lambda found: parts[found[0]], replacement)


def _folded(text: str) -> str:
    """Return the text as a regular expression without the ``u`` flag compares it when case is ignored."""
    return text.translate({ord(unit): _folded_unit(unit) for unit in set(text)})


def _folded_unit(unit: str) -> str:
    upper = unit.upper()
    # One unit for one, and none becomes ASCII that was not.
    return unit if len(upper) != 1 or (upper.isascii() and not unit.isascii()) else upper
