"""How a trigger text is cut up: as the documented language has it, and as Segment does it."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


def _cut(pattern: re.Pattern[str], text: str) -> Iterator[Token]:
    for match in pattern.finditer(text):
        if match.lastgroup != "space":
            yield Token(match.lastgroup or "", match[0], match.start())


def strict_tokens(text: str) -> list[Token]:
    """Cut *text* up, or raise `TriggerError`; the list ends with a token of kind ``end``."""
    found: list[Token] = []
    for token in _cut(_STRICT, text):
        if token.kind == "stray":
            raise TriggerError(_stray(token.text), token.position)
        if len(found) >= MAX_TOKENS:
            raise TriggerError(f"A trigger has at most {MAX_TOKENS:,} words and signs", token.position)
        found.append(token)
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
    found: list[Token] = []
    for token in _cut(_OFFICIAL, text):
        if len(found) >= MAX_TOKENS:
            misreadings.refuse("too-big", token.position)
            break
        end = token.position + len(token.text)
        if token.kind != "stray":
            found.append(_read(token, text[end : end + 2], misreadings))
            continue
        misreadings.refuse(_odd(token.text, text[end : end + 1]), token.position)
        if token.text in "\"'" or len(misreadings.found) >= MAX_FOUND:
            break
    return [] if misreadings.codes & _TEARING else [*_joined(found), end_token(len(text))]


def _odd(character: str, after: str) -> str:
    if character == "!":
        return "missing-space" if after == "=" else "bang-space"
    return {'"': "open-quote", "'": "open-quote", "\r": "carriage-return"}.get(character, "odd-character")


def _read(token: Token, after: str, misreadings: Misreadings) -> Token:
    """Return the token as Segment takes it; *after* has the two characters that follow."""
    kind, text, position = token
    end = position + len(text)
    if kind == "name":
        text = _read_name(token, after, misreadings)
    elif kind == "string" and (len(text) == 1 or text[-1] != text[0]):
        # What follows the closing quote is no end, so Segment opens another text with it.
        misreadings.add("carriage-return" if after[1:] == "\r" else "missing-space", end + 1)
        misreadings.stop_after(end + 1)
        text += text[0]
    elif kind == "number":
        if text.count(".") > 1 or (text.endswith(".") and _END.match(after)):
            misreadings.refuse("odd-number", position)
        elif after[:1].isalpha() or after[:1] in ("_", "\\"):
            misreadings.add("cut-number", position)
    elif kind == "cut":
        # Segment looks ahead for "and" or "null", and does not step back from the end of the text.
        misreadings.add("cut-word", position)
        kind, text = "name", text[0]
    if len(text) >= MAX_LENGTH + _BEYOND.get(kind, 0):
        misreadings.refuse("too-long", position)
    return Token(kind, text, position)


def _read_name(token: Token, after: str, misreadings: Misreadings) -> str:
    if after and after[0] in "[<>+\"'":
        code = "list-index" if after[0] == "[" else "missing-space"
        misreadings.refuse(code, token.position + len(token.text))
    if re.search(r"\\[.\[\]]", token.text):
        misreadings.add("list-index" if ESCAPED_INDEX.search(token.text) else "dotted-key", token.position)
    return unescaped(token.text)


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
