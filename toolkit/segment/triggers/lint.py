"""The linter: where Segment would read a trigger differently from what is written."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Final

from toolkit.errors import TriggerError

from .official import read_official
from .strict import read_strict
from .tokens import MAX_TOKENS, OfficialReading
from .tree import Tree
from .write import canonical, write_trigger

SENTENCES: Final = {
    # the whole text is lost
    "not-a-text": "This is not a text, so Segment never matches; write the condition as a text",
    "empty": "There is nothing here, so Segment never matches; write a condition",
    "nothing-left": "Segment finds no condition it knows here and never matches; write <field> = <value>",
    "unfinished": "The text ends inside a condition, so Segment never matches; finish the condition",
    "carriage-return": "A carriage return makes the whole text unreadable to Segment, which then never "
    "matches; end lines with a newline alone",
    "odd-character": "This character makes the whole text unreadable to Segment, which then never matches; "
    "leave it out, or write a \\ before it when it belongs to a key",
    "odd-number": "A number with two points, or none of its digits after the point, makes the whole text "
    "unreadable to Segment; write it like 12.5",
    "open-quote": "This quote is never closed, so Segment never matches; a text cannot contain its own quote",
    "too-long": "Segment reads no name, number or text of 100,000 characters and never matches; shorten it",
    "too-big": f"Texts of more than {MAX_TOKENS:,} words and signs are not read here, whatever Segment does; "
    "split the trigger",
    "bang-space": "Segment takes ! only right before contains, match or =, and never matches otherwise; "
    "leave the space out",
    "open-parenthesis": "This parenthesis is never closed, so Segment never matches; close it",
    "nested-parentheses": "Segment cannot read parentheses inside parentheses and never matches; "
    "write one level only",
    "odd-path": "Segment finds no key in this path, and the condition fails; write names between single dots",
    # read, but not as written
    "missing-space": "Segment needs a space here, otherwise it misreads the text or refuses all of it; put "
    "spaces around operators and words, and after a closing quote",
    "cut-number": "Segment cuts the number off here and ignores the rest; write it with digits and one point",
    "number-form": "Segment takes this for a number all the same; write digits on both sides of the point",
    "cut-word": "Segment loses the end of this word; finish the condition",
    "single-quotes": "Segment takes single quotes for a part of the text, which then never fits; "
    "use double quotes",
    "escape-in-text": "To Segment a \\ in a text is a character like any other, and it never hides a quote; "
    "leave it out",
    "bare-word": "Segment takes a word without quotes for a text; put it in double quotes",
    "odd-value": "Segment takes this sign for the value; write a text in double quotes, a number, true, "
    "false or null",
    "missing-value": 'Segment compares with the text "eos" when no value follows; write the value',
    "null-as-text": 'In event and type Segment compares with the text "null", not with nothing; compare '
    'with "" or leave the condition out',
    "order-of-texts": "Segment orders numbers only: it makes a number of the value, and where it cannot the "
    "condition is never true; compare with a number",
    "internal-operator": "This works at Segment by accident; write contains(...) or match(...), = or !=",
    "in-list": "Segment takes 'in' without testing it, so the condition is never true; write one = for each "
    "value, joined by or",
    "odd-operator": "Segment does not know this operator, so the condition is never true; use one of "
    "= != < <= > >= with spaces around it",
    "skipped-field": "Segment knows no such field and skips the condition; use type, event, name, userId, "
    "properties, traits or context",
    "not-portable-field": "Segment has no conditions on this field and skips this one; the trigger works "
    "here only",
    "unknown-function": "Segment has no such function and skips it; there are contains and match",
    "function-on-type": "Segment drops contains and match on type; compare type with =",
    "odd-call": "Segment takes whatever stands in the places of path and text; write contains(path, "
    '"text") or match(path, "text*")',
    "glob": "Segment's match knows a * at the end (starts with) and otherwise drops the first character of "
    "the pattern (ends with); use one * at the start or at the end, or =",
    "lost-negation": "Segment ignores this negation and reads what follows as if it were not there; "
    "use != or !contains, !match",
    "uppercase-word": "Segment knows and, or in lower case only and ignores this word, the conditions are "
    "joined by the last other one or by and; write it in lower case",
    "mixed-connectives": "With and beside or, the last of them joins all the conditions at Segment; put "
    "parentheses around those that belong together",
    "missing-connective": "Segment joins conditions without a word between them by the last and/or of the "
    "text, or by and; write the word",
    "stray-connective": "No condition on one side of this and/or: Segment ignores that, but the word may "
    "join all the others; leave it out",
    "empty-parentheses": "Empty parentheses fail every event that gets so far at Segment; leave them out",
    "extra-parenthesis": "Segment ignores this parenthesis; leave it out",
    "call-in-group": "The call's own parenthesis ends the group at Segment, what follows stands outside it; "
    "make the call the last in the group",
    "ignored-text": "Segment ignores this; leave it out, or finish the condition",
    "ignored-suffix": "Segment ignores what follows the field's name; leave it out",
    "bare-object": "Segment looks for a key of the same name inside the object; say which key, such as "
    "properties.name",
    "dotted-key": "Segment splits a name at a dot or bracket even after a \\, so such a key is out of its "
    "reach; rename the key at the source",
    "list-index": "Segment reads no [0]; write .\\0 for an item of a list",
    "digit-segment": "A name that starts with a digit breaks the condition apart at Segment, which is then "
    "never true; write a \\ before the digit",
    "keyword-segment": "A key named and, or or null breaks the condition apart at Segment; write a \\ "
    "before it",
    "built-in-name": "In Segment every object has something of this name, by way of JavaScript; test another "
    "key",
    "reads-differently": "Segment reads this text otherwise than it is written; look at both trees",
}


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

    The text is read in both dialects. Nothing is reported when the trees mean the same; otherwise at most a
    hundred places, in the order of the text, all with the same ``corrected``.

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
    found = sorted(dict.fromkeys(reading.found), key=itemgetter(1))
    found = found or [("reads-differently", (error and error.position) or 0)]
    return tuple(
        Lint(code=code, position=position, sentence=f"{SENTENCES[code]}.", corrected=corrected)
        for code, position in found
    )


def _strictly(text: str) -> tuple[Tree | None, TriggerError | None]:
    try:
        return read_strict(text), None
    except TriggerError as error:
        return None, error


# --- what was meant, in words that both dialects read alike


def _corrected(text: str, strict: Tree | None, reading: OfficialReading) -> str:
    if "too-big" in reading.codes or not isinstance(text, str):
        return ""
    meant = strict or _strictly(_repaired(text))[0]
    if meant is None and reading.refusal is None and reading.codes <= _ACCEPTED:
        meant = reading.tree
    return write_trigger(meant) if meant else ""


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
    **{word: word for word in ("and", "or", "true", "false", "null")},
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
"""A number that would take more in the form that both dialects read stays as it is."""


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
        plain = f"{Decimal(found):f}".lstrip("+")
        return plain if len(plain) <= _MOST_DIGITS else found
    return _SAME_WORDS.get(found.lower()) or _DIGIT.sub(r".\\", found)
