"""How a trigger text is cut up: as the documented language has it, and as Segment does it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

from toolkit.errors import TriggerError

from .tree import Never, Tree

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
_STRAYS: Final = {
    **dict.fromkeys("\"'", "This text is never closed; a quote inside a text is written \\\" or \\'"),
    "\\": "Nothing follows the \\",
}


def _cut(pattern: re.Pattern[str], text: str) -> Iterator[Token]:
    for match in pattern.finditer(text):
        if match.lastgroup != "space":
            yield Token(match.lastgroup or "", match[0], match.start())


def strict_tokens(text: str) -> list[Token]:
    """Cut *text* up, or raise `TriggerError`; the list ends with a token of kind ``end``."""
    found: list[Token] = []
    for token in _cut(_STRICT, text):
        if token.kind == "stray":
            means_nothing = f"{token.text!r} means nothing here; in a name write it with a \\ before it"
            raise TriggerError(_STRAYS.get(token.text, means_nothing), token.position)
        if len(found) >= MAX_TOKENS:
            raise TriggerError(f"A trigger has at most {MAX_TOKENS:,} words and signs", token.position)
        found.append(token)
    return [*found, Token("end", "", len(text))]


# --- Segment


class OfficialReading:
    """What Segment makes of a text, and where that differs from what is written."""

    def __init__(self, text: str) -> None:
        self.tree: Tree = Never()
        """`Never`, too, when Segment can use the text for no event at all."""
        self.found: list[tuple[str, int]] = []
        """The first misreadings, none behind `last`: a key of SENTENCES in `lint`, and the place."""
        self.codes: set[str] = set()
        """Of all places."""
        self.refusal: tuple[str, int] | None = None
        """The first that makes the whole text unusable to Segment."""
        self.last = float("inf")
        """Where a text in quotes turns inside out, so that no place behind it is one."""
        self._wide = [match.start() + count for count, match in enumerate(_WIDE.finditer(text))]

    def add(self, code: str, position: int) -> tuple[str, int]:
        """Note a misreading at a *position* in UTF-16 units."""
        misreading = code, position - bisect_left(self._wide, position)
        self.codes.add(code)
        if len(self.found) < MAX_FOUND and position <= self.last:
            self.found.append(misreading)
        return misreading

    def refuse(self, code: str, position: int) -> None:
        """Note one for which Segment can use the text for no event at all."""
        misreading = self.add(code, position)
        self.refusal = self.refusal or misreading


END: Final = Token("end", "eos", 0)
"""What follows the last token; Segment takes its text for a value like any other."""

_WIDE: Final = re.compile("[\U00010000-\U0010ffff]")
_ENDS = r"(?:[ \t\n,\])]|\Z)"
_GOES_ON = r"[^ \t\n,\])]"
# A kind with a _ is the code of what makes the whole text unreadable to Segment.
_OFFICIAL: Final = re.compile(
    rf"""(?P<space>[ \t\n]+)
    |(?P<null>null(?={_ENDS}))
    |(?P<joint>(?:and|or)(?={_ENDS}))
    |(?P<cut>(?:a{_GOES_ON}|n{_GOES_ON}{{1,2}})\Z)
    |(?P<name>(?:[A-Za-z_]|\\.)(?:[A-Za-z0-9_-]|\\.)*)
    |(?P<odd_number>[0-9+-][0-9]*\.(?:[0-9]*\.[0-9.]*|(?={_ENDS})))
    |(?P<number>[0-9+-][0-9.]*)
    |(?P<string>"[^"]*"(?={_ENDS})|'[^']*'(?={_ENDS}))
    |(?P<torn>"[^"]*(?=")|'[^']*(?='))
    |(?P<operator>[!<>]=(?={_ENDS})|[=<>]|!(?=[A-Za-z(]))
    |(?P<mark>[.,()\[\]])
    |(?P<open_quote>["'])
    |(?P<carriage_return>\r)
    |(?P<missing_space>!(?==))
    |(?P<bang_space>!)
    |(?P<odd_character>.)""",
    re.DOTALL | re.VERBOSE,
)
_BEYOND: Final = {"string": 2, "number": 1}
"""The quotes are not counted, and a number may be one longer."""
_TEARING: Final = frozenset(("odd-character", "odd-number", "open-quote", "too-big"))


def official_tokens(text: str, reading: OfficialReading) -> list[Token]:
    """Return the tokens, dotted names joined; what makes the text unreadable to Segment is noted.

    The tokens go on behind such a place where only a space is at fault, so that a linter can show more than
    the first mistake; otherwise there are none.
    """
    found: list[Token] = []
    for token in _cut(_OFFICIAL, text):
        if len(found) >= MAX_TOKENS:
            reading.refuse("too-big", token.position)
            break
        if "_" not in token.kind:
            end = token.position + len(token.text)
            found.append(_read(token, text[end : end + 2], reading))
            continue
        reading.refuse(token.kind.replace("_", "-"), token.position)
        if token.kind == "open_quote" or len(reading.found) >= MAX_FOUND:
            break
    return [] if reading.codes & _TEARING else [*_joined(found), END._replace(position=len(text))]


def _read(token: Token, after: str, reading: OfficialReading) -> Token:
    """Return the token as Segment takes it; *after* has the two characters that follow."""
    kind, text, position = token
    end = position + len(text)
    if kind == "name":
        text = _read_name(token, after, reading)
    elif kind == "torn":
        # What follows the closing quote is no end, so Segment opens another text with it.
        reading.add("carriage-return" if after[1:] == "\r" else "missing-space", end + 1)
        reading.last = min(reading.last, end + 1)
        kind, text = "string", text + text[0]
    elif kind == "number" and (after[:1].isalpha() or after[:1] in ("_", "\\")):
        reading.add("cut-number", position)
    elif kind == "cut":
        # Segment looks ahead for "and" or "null", and does not step back from the end of the text.
        reading.add("cut-word", position)
        kind, text = "name", text[0]
    if len(text) >= MAX_LENGTH + _BEYOND.get(kind, 0):
        reading.refuse("too-long", position)
    return Token(kind, text, position)


def _read_name(token: Token, after: str, reading: OfficialReading) -> str:
    if after and after[0] in "[<>+\"'":
        code = "list-index" if after[0] == "[" else "missing-space"
        reading.refuse(code, token.position + len(token.text))
    if re.search(r"\\[.\[\]]", token.text):
        reading.add("list-index" if ESCAPED_INDEX.search(token.text) else "dotted-key", token.position)
    return unescaped(token.text)


def _joined(tokens: list[Token]) -> list[Token]:
    """Make one token of names with dots between, spaces or not."""
    found: list[Token] = []
    for token in tokens:
        is_inner = token.kind == "name" and len(found) > 1 and found[-1].text == "."
        if is_inner and found[-2].kind == "name":
            found[-2:] = [found[-2]._replace(text=f"{found[-2].text}.{token.text}")]
        else:
            found.append(token)
    return found
