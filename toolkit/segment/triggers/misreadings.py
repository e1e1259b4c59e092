"""Where Segment's reading differs from what is written: one code and one sentence for each way."""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_TOKENS: Final = 50_000
"""How many words and signs a text may have; more would hold a run up for seconds."""
MAX_FOUND: Final = 100
"""How many places are kept of one text."""

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


class Misreading(NamedTuple):
    """One place where Segment's reading differs from what is written."""

    code: str
    """A key of SENTENCES."""
    position: int


class Misreadings:
    """Collects misreadings: the first places of a text, and every code."""

    def __init__(self) -> None:
        self.found: list[Misreading] = []
        self.codes: set[str] = set()
        self.refusal: Misreading | None = None
        """The first that makes the whole text unusable to Segment."""
        self._last = float("inf")

    def add(self, code: str, position: int) -> None:
        """Note one."""
        self.codes.add(code)
        if len(self.found) < MAX_FOUND and position <= self._last:
            self.found.append(Misreading(code, position))

    def refuse(self, code: str, position: int) -> None:
        """Note one for which Segment can use the text for no event at all."""
        self.add(code, position)
        self.refusal = self.refusal or Misreading(code, position)

    def stop_after(self, position: int) -> None:
        """Keep no place behind the first such *position*: there a text in quotes turns inside out."""
        self._last = min(self._last, position)
