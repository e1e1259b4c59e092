"""How Segment cuts a trigger text up."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .slips import MAX_SLIPS, Slip, Slips
from .tree import MAX_TOKENS

MAX_LENGTH: Final = 100_000
"""A name, number or text this long is refused."""


class Token(NamedTuple):
    """One piece of the text."""

    kind: str
    """``ident``, ``operator``, ``joint`` (and, or), ``null``, ``string``, ``number``, ``mark`` or ``end``."""
    text: str
    """A name without its ``\\``; a string with its quotes."""
    position: int


def end_token(position: int) -> Token:
    """Return what follows the last token; Segment takes its text for a value like any other."""
    return Token("end", "eos", position)


_ENDS = r"(?:[ \t\n,\])]|\Z)"
_GOES_ON = r"[^ \t\n,\])]"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\n]+)
    |(?P<null>null(?={_ENDS}))
    |(?P<joint>(?:and|or)(?={_ENDS}))
    |(?P<cut>(?:a{_GOES_ON}|n{_GOES_ON}{{1,2}})\Z)
    |(?P<ident>(?:[A-Za-z_]|\\.)(?:[A-Za-z0-9_-]|\\.)*)
    |(?P<number>[0-9+-][0-9.]*)
    |(?P<string>"[^"]*(?:"(?={_ENDS})|(?="))|'[^']*(?:'(?={_ENDS})|(?=')))
    |(?P<operator>[!<>]=(?={_ENDS})|[=<>]|!(?=[A-Za-z(]))
    |(?P<mark>[.,()\[\]])
    |(?P<stray>.)""",
    re.DOTALL | re.VERBOSE,
)
_END = re.compile(_ENDS)
_REFUSED_AFTER_NAME: Final = frozenset("<>+\"'")
"""Beside ``[`` and whatever begins no token at all."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED_INDEX = re.compile(r"\\\[[0-9]+\\\]")


def cut(text: str, slips: Slips) -> tuple[list[Token], Slip | None]:
    """Return the tokens, dotted names joined, and what makes the text unreadable to Segment, if it is.

    The tokens go on behind such a place where only a space is at fault, so that a linter can tell more than
    the first mistake; otherwise there are none.
    """
    cutter = _Cutter(text, slips)
    tokens = _joined(cutter.tokens())
    return [] if slips.codes & _TEARING else [*tokens, end_token(len(text))], cutter.unreadable


class _Cutter:
    def __init__(self, text: str, slips: Slips) -> None:
        self.text = text
        self.slips = slips
        self.unreadable: Slip | None = None

    def tokens(self) -> list[Token]:
        found: list[Token] = []
        for match in _TOKEN.finditer(self.text):
            kind, text, position = match.lastgroup or "", match[0], match.start()
            if len(found) >= MAX_TOKENS and kind != "space":
                self.refuse("too-big", position)
                break
            if kind in _PLAIN:
                found.append(Token(kind, text, position))
            elif kind == "ident":
                found.append(Token(kind, self.name(text, match.end()), position))
            elif kind == "string":
                found.append(self.string(text, position))
            elif kind == "number":
                found.append(self.number(text, position))
            elif kind == "cut":
                # Segment looks ahead for "and" or "null", and does not step back from the end of the text.
                self.slips.add("cut-word", position)
                found.append(Token("ident", text[0], position))
            elif kind == "stray" and self.stray(text, position):
                break
        return found

    def refuse(self, code: str, position: int) -> None:
        """Note what makes the whole text unreadable."""
        self.slips.add(code, position)
        if self.unreadable is None:
            self.unreadable = Slip(code, position)

    def name(self, text: str, end: int) -> str:
        after = self.text[end : end + 1]
        if after == "[":
            self.refuse("list-index", end)
        elif after in _REFUSED_AFTER_NAME:
            self.refuse("missing-space", end)
        if "\\" not in text:
            unescaped = text
        else:
            if any(mark in text for mark in ("\\.", "\\[", "\\]")):
                index = _ESCAPED_INDEX.search(text)
                self.slips.add("list-index" if index else "dotted-key", end - len(text))
            unescaped = _ESCAPE.sub(r"\1", text)
        if len(unescaped) >= MAX_LENGTH:
            self.refuse("too-long", end - len(text))
        return unescaped

    def string(self, text: str, position: int) -> Token:
        end = position + len(text)
        whole = text
        if len(text) == 1 or text[-1] != text[0]:
            # What follows the closing quote is no end, so Segment opens another text with it.
            after = self.text[end + 1 : end + 2]
            self.slips.add("carriage-return" if after == "\r" else "missing-space", end + 1)
            self.slips.end = end + 1 if self.slips.end is None else self.slips.end
            whole = text + text[0]
        if len(whole) - 2 >= MAX_LENGTH:
            self.refuse("too-long", position)
        return Token("string", whole, position)

    def number(self, text: str, position: int) -> Token:
        end = position + len(text)
        after = self.text[end : end + 1]
        if text.count(".") > 1 or (text.endswith(".") and _END.match(self.text, end)):
            self.refuse("odd-number", position)
        elif len(text) > MAX_LENGTH:
            self.refuse("too-long", position)
        elif after.isalpha() or after in ("_", "\\"):
            self.slips.add("cut-number", position)
        return Token("number", text, position)

    def stray(self, text: str, position: int) -> bool:
        """Note a character that begins nothing; tell whether there is no point in going on."""
        if text in "\"'":
            self.refuse("open-quote", position)
            return True
        if text == "\r":
            self.refuse("carriage-return", position)
        elif text == "!":
            after = self.text[position + 1 : position + 2]
            self.refuse("missing-space" if after == "=" else "bang-space", position)
        else:
            self.refuse("odd-character", position)
        return len(self.slips.found) >= MAX_SLIPS


_PLAIN: Final = frozenset(("null", "joint", "operator", "mark"))
_TEARING: Final = frozenset(("odd-character", "odd-number", "open-quote", "too-big"))
_DOT: Final = ("mark", ".")


def _joined(tokens: list[Token]) -> list[Token]:
    """Make one token of names with dots between, spaces or not."""
    found: list[Token] = []
    at, count = 0, len(tokens)
    while at < count:
        token = tokens[at]
        at += 1
        if token.kind == "ident":
            names = [token.text]
            while at + 1 < count and tokens[at][:2] == _DOT and tokens[at + 1].kind == "ident":
                names.append(tokens[at + 1].text)
                at += 2
            if len(names) > 1:
                token = Token("ident", ".".join(names), token.position)
        found.append(token)
    return found
