"""The linter: where Segment would read a trigger differently from what is written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from toolkit.errors import TriggerError

from .misreadings import SENTENCES, Misreading
from .official import OfficialReading, read_official
from .strict import read_strict
from .tree import Node, canonical
from .write import written


@dataclass(frozen=True, kw_only=True)
class Lint:
    """One place where Segment's reading differs from what is written."""

    code: str
    """One word for the kind, such as ``single-quotes``; stable."""
    position: int
    """Index into the text, from 0."""
    sentence: str
    """What Segment does there, and what to do instead."""
    corrected: str
    """The whole text as both dialects read it alike; empty where Segment has no words for it, or where what
    is meant is not clear."""


def lint_trigger(text: str) -> tuple[Lint, ...]:
    """Return where Segment would misread, skip or refuse a trigger text; nothing where it would not.

    The text is read in both dialects. Nothing is reported when the trees mean the same.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    tuple of Lint
        In the order of the text, at most a hundred; all with the same ``corrected``.

    Examples
    --------
    >>> for lint in lint_trigger("type = 'track' and !(event = 'Paused')"):
    ...     print(lint.position, lint.code)
    7 single-quotes
    19 lost-negation
    29 single-quotes
    >>> lint.corrected
    'type = "track" and event != "Paused"'
    >>> lint_trigger('type = "track" and event != "Paused"')
    ()
    """
    reading = read_official(text)
    strict, error = _strictly(text)
    if strict is not None and canonical(strict) == canonical(reading.tree):
        return ()
    corrected = _corrected(text, strict, reading)
    found = sorted(dict.fromkeys(reading.notes.found), key=lambda misreading: misreading.position)
    if not found:
        found = [Misreading("reads-differently", (error and error.position) or 0)]
    return tuple(
        Lint(code=code, position=position, sentence=f"{SENTENCES[code]}.", corrected=corrected)
        for code, position in found
    )


def _strictly(text: str) -> tuple[Node | None, TriggerError | None]:
    try:
        return read_strict(text), None
    except TriggerError as error:
        return None, error


# --- what was meant, in words that both dialects read alike


def _corrected(text: str, strict: Node | None, reading: OfficialReading) -> str:
    meant = strict
    if "too-big" in reading.notes.codes or not isinstance(text, str):
        return ""
    if meant is None:
        meant, _ = _strictly(_repaired(text))
    if meant is None and reading.error is None and reading.notes.codes <= _ACCEPTED:
        meant = reading.tree
    if meant is None:
        return ""
    try:
        corrected, read = written(meant)
        return corrected if canonical(read_strict(corrected)) == read else ""
    except TriggerError:
        return ""


_ACCEPTED: Final = frozenset(
    (
        *("bare-word", "number-form", "list-index", "internal-operator"),
        *("missing-connective", "stray-connective", "extra-parenthesis"),
    )
)
"""Misreadings after which Segment's reading is what was meant, if the strict one refuses the text."""

_NAME = r"(?:[A-Za-z_]|\\.)(?:[A-Za-z0-9_.-]|\\.)*+"
_TEXT = r'"[^"]*+"|' + r"'[^']*+'"
_ITEM = rf"\s*+(?:{_TEXT}|[+-]?[0-9.]++)\s*+"
_REPAIR = re.compile(
    rf"""(?P<text>"(?:[^"\\]|\\.)*+(?:"|\Z)|'(?:[^'\\]|\\.)*+(?:'|\Z))
    |(?P<path>{_NAME})\s++in\s*+[\[(](?P<items>{_ITEM}(?:,{_ITEM})*+)[\])]
    |(?P<nothing>\b(?:and|or|not)\s*+\(\s*+\)|(?<![\w.])\(\s*+\)\s*+(?:and|or)\b)
    |(?P<word>{_NAME})
    |(?P<number>[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]{{1,3}})?(?![\w.]))
    |(?P<sign>&&|\|\||===?|<>|[$@\#])
    |(?P<bracket>[()])""",
    re.DOTALL | re.VERBOSE,
)
_SAME_WORDS: Final = {
    **dict.fromkeys(("==", "==="), "="),
    **{sign: f"\\{sign}" for sign in "$@#"},
    "not": "!",
    "&&": " and ",
    "||": " or ",
    "<>": "!=",
}
_CONDITION = re.compile(r"[=<>!()\"&|]|\b(?:and|or|not|in)\b", re.IGNORECASE)
_DIGIT = re.compile(r"\.(?=[0-9])")
_MOST_DIGITS: Final = 30
_CONSTANTS: Final = ("and", "or", "true", "false", "null")


def _repaired(text: str) -> str:
    """Return the text with what other languages write put into this one's words.

    A quote or parenthesis that is open at the end is closed there, if it can only have been meant so.
    """
    signs: Counter[str] = Counter()

    def repair(match: re.Match[str]) -> str:
        repaired = _repair(match)
        signs[match["bracket"] or (repaired.strip() if match["word"] or match["sign"] else "")] += 1
        return repaired

    repaired = _REPAIR.sub(repair, text)
    is_plain = not (signs["and"] and signs["or"]) and not signs["!"] and "!" not in text
    return repaired + ")" * (signs["("] - signs[")"]) if is_plain else repaired


def _repair(match: re.Match[str]) -> str:
    if match["path"]:
        items = re.findall(_ITEM, match["items"])
        return "(" + " or ".join(f"{match['path']} = {item.strip()}" for item in items) + ")"
    found = match[0]
    if match["text"] and (len(found) == 1 or found[-1] != found[0]):
        # With any of these it may have swallowed other conditions.
        return found if _CONDITION.search(found, 1) else found + found[0]
    if match["nothing"]:
        return ""
    if match["number"]:
        return _plain_number(found)
    if found.lower() in _CONSTANTS:
        return found.lower()
    return _SAME_WORDS.get(found.lower()) or _DIGIT.sub(r".\\", found)


def _plain_number(digits: str) -> str:
    """Return a number in the form both dialects read, as it is when that would take too many digits."""
    plain = f"{Decimal(digits):f}".lstrip("+")
    return plain if len(plain) <= _MOST_DIGITS else digits
