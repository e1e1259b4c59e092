"""How a trigger text is cut up: as the documented language has it, and as Segment does it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from toolkit.errors import TriggerError

MAX_LENGTH: Final = 100_000
"""Segment refuses a name, number or text this long."""
MAX_TOKENS: Final = 50_000
"""How many words and signs a text may have; more would hold a run up for seconds."""
MAX_FOUND: Final = 100
"""How many misreadings are kept of one text."""
NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
"""A number that both dialects read alike."""
ESCAPED_INDEX: Final = re.compile(r"\\\[[0-9]+\\\]")


class Token(NamedTuple):
    """One piece of a text."""

    kind: str
    """``name``, ``operator``, ``string``, ``number``, ``mark`` or ``end``; officially also ``joint`` (and,
    or) and ``null``."""
    text: str
    """A string has its quotes; officially a name has lost its ``\\``."""
    position: int


def unescaped(name: str) -> str:
    r"""Return a name without its ``\``."""
    return re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL)


_STRICT: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<name>(?:[A-Za-z_]|\\.)(?:[A-Za-z0-9_-]|\\.)*)
    |(?P<number>[+-]?[0-9][A-Za-z0-9_.]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<operator><=|>=|!=|[=<>])
    |(?P<mark>[!().,\[\]])
    |(?P<stray>.)""",
    re.DOTALL | re.VERBOSE,
)


def strict_tokens(text: str) -> list[Token]:
    """Cut *text* up, or raise `TriggerError`; the list ends with a token of kind ``end``."""
    found: list[Token] = []
    for match in _STRICT.finditer(text):
        kind, position = match.lastgroup or "", match.start()
        if kind == "stray":
            raise TriggerError(_stray(match[0]), position)
        if kind != "space":
            if len(found) >= MAX_TOKENS:
                raise TriggerError(f"A trigger has at most {MAX_TOKENS:,} words and signs", position)
            found.append(Token(kind, match[0], position))
    return [*found, Token("end", "", len(text))]


def _stray(character: str) -> str:
    if character in "\"'":
        return "This text is never closed; a quote inside a text is written \\\" or \\'"
    if character == "\\":
        return "Nothing follows the \\"
    return f"{character!r} means nothing here; in a name write it with a \\ before it"


# --- Segment


class Misreading(NamedTuple):
    """One place where Segment's reading differs from what is written."""

    code: str
    """A key of SENTENCES, in `lint`."""
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


def end_token(position: int) -> Token:
    """Return what follows the last token; Segment takes its text for a value like any other."""
    return Token("end", "eos", position)


_ENDS = r"(?:[ \t\n,\])]|\Z)"
_GOES_ON = r"[^ \t\n,\])]"
_OFFICIAL: Final = re.compile(
    rf"""(?P<space>[ \t\n]+)
    |(?P<null>null(?={_ENDS}))
    |(?P<joint>(?:and|or)(?={_ENDS}))
    |(?P<cut>(?:a{_GOES_ON}|n{_GOES_ON}{{1,2}})\Z)
    |(?P<name>(?:[A-Za-z_]|\\.)(?:[A-Za-z0-9_-]|\\.)*)
    |(?P<number>[0-9+-][0-9.]*)
    |(?P<string>"[^"]*(?:"(?={_ENDS})|(?="))|'[^']*(?:'(?={_ENDS})|(?=')))
    |(?P<operator>[!<>]=(?={_ENDS})|[=<>]|!(?=[A-Za-z(]))
    |(?P<mark>[.,()\[\]])
    |(?P<stray>.)""",
    re.DOTALL | re.VERBOSE,
)
_END: Final = re.compile(_ENDS)
_BEYOND: Final = {"string": 2, "number": 1}
"""The quotes are not counted, and a number may be one longer."""
_TEARING: Final = frozenset(("odd-character", "odd-number", "open-quote", "too-big"))


def official_tokens(text: str, misreadings: Misreadings) -> list[Token]:
    """Return the tokens, dotted names joined; what makes the text unreadable to Segment is noted.

    The tokens go on behind such a place where only a space is at fault, so that a linter can show more than
    the first mistake; otherwise there are none.
    """
    tokens = _joined(_Cutter(text, misreadings).tokens())
    return [] if misreadings.codes & _TEARING else [*tokens, end_token(len(text))]


class _Cutter:
    def __init__(self, text: str, misreadings: Misreadings) -> None:
        self.text = text
        self.misreadings = misreadings

    def tokens(self) -> list[Token]:
        found: list[Token] = []
        for match in _OFFICIAL.finditer(self.text):
            kind, text, position = match.lastgroup or "", match[0], match.start()
            if kind == "space":
                continue
            if len(found) >= MAX_TOKENS:
                self.misreadings.refuse("too-big", position)
                break
            if kind == "stray":
                self.stray(text, position)
                if text in "\"'" or len(self.misreadings.found) >= MAX_FOUND:
                    break
                continue
            found.append(self.token(kind, text, position))
        return found

    def token(self, kind: str, text: str, position: int) -> Token:
        if kind == "name":
            text = self.name(text, position)
        elif kind == "string":
            text = self.string(text, position)
        elif kind == "number":
            self.number(text, position)
        elif kind == "cut":
            # Segment looks ahead for "and" or "null", and does not step back from the end of the text.
            self.misreadings.add("cut-word", position)
            kind, text = "name", text[0]
        if len(text) >= MAX_LENGTH + _BEYOND.get(kind, 0):
            self.misreadings.refuse("too-long", position)
        return Token(kind, text, position)

    def name(self, text: str, position: int) -> str:
        end = position + len(text)
        after = self.text[end : end + 1]
        if after == "[":
            self.misreadings.refuse("list-index", end)
        elif after in ("<", ">", "+", '"', "'"):
            self.misreadings.refuse("missing-space", end)
        if any(mark in text for mark in ("\\.", "\\[", "\\]")):
            self.misreadings.add("list-index" if ESCAPED_INDEX.search(text) else "dotted-key", position)
        return unescaped(text)

    def string(self, text: str, position: int) -> str:
        if len(text) == 1 or text[-1] != text[0]:
            # What follows the closing quote is no end, so Segment opens another text with it.
            end = position + len(text) + 1
            follows = self.text[end : end + 1]
            self.misreadings.add("carriage-return" if follows == "\r" else "missing-space", end)
            self.misreadings.stop_after(end)
            text += text[0]
        return text

    def number(self, text: str, position: int) -> None:
        end = position + len(text)
        after = self.text[end : end + 1]
        if text.count(".") > 1 or (text.endswith(".") and _END.match(self.text, end)):
            self.misreadings.refuse("odd-number", position)
        elif after.isalpha() or after in ("_", "\\"):
            self.misreadings.add("cut-number", position)

    def stray(self, text: str, position: int) -> None:
        if text == "!":
            after = self.text[position + 1 : position + 2]
            self.misreadings.refuse("missing-space" if after == "=" else "bang-space", position)
        else:
            code = {'"': "open-quote", "'": "open-quote", "\r": "carriage-return"}.get(text, "odd-character")
            self.misreadings.refuse(code, position)


def _joined(tokens: list[Token]) -> list[Token]:
    """Make one token of names with dots between, spaces or not."""
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        end = at + 1
        if tokens[at].kind == "name":
            while end + 1 < len(tokens) and tokens[end].text == "." and tokens[end + 1].kind == "name":
                end += 2
        found.append(tokens[at]._replace(text=".".join(token.text for token in tokens[at:end:2])))
        at = end
    return found
