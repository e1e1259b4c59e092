"""The official reading: what Segment makes of a trigger text, misreadings included.

Segment walks over the tokens once, left to right. A known field takes the next two tokens for operator and
value, ``contains`` and ``match`` the next five for their call, whatever these are; a parenthesis makes a
group of all up to the first closing one; the last ``and`` or ``or`` joins the whole list; everything else
is passed over without a word. Where that differs from what is written, it is noted for the linter.
"""

from __future__ import annotations

import contextlib
from typing import Final, NoReturn

from toolkit.segment.javascript import units

from .official_conditions import BUILT_INS, OBJECT_FIELDS, TEXT_FIELDS, called, compared
from .tokens import END, OfficialReading, Token, official_tokens
from .tree import And, Failing, Never, Or, Tree, unite

_FUNCTIONS: Final = ("contains", "match")
_ELSEWHERE: Final = ("anonymousId", "messageId", "groupId", "integrations")
"""Fields of an event that conditions could be about, but not at Segment."""


def read_official(text: object) -> OfficialReading:
    """Return Segment's reading of anything; what it cannot use is never true."""
    reading = OfficialReading(text if isinstance(text, str) else "")
    if not isinstance(text, str):
        reading.refuse("not-a-text", 0)
    elif tokens := official_tokens(units(text), reading):
        with contextlib.suppress(_UnusableError):
            top = _List(tokens, reading)
            reading.tree = top.read() or top.stop("nothing-left" if len(tokens) > 1 else "empty", 0)
            if top.parts[0] == Failing():
                is_empty = tokens[0].text == "(" and tokens[1].text == ")"
                top.stop("empty-parentheses" if is_empty else "odd-path", tokens[0].position)
    if reading.refusal:
        reading.tree = Never()
    return reading


class _UnusableError(Exception):
    """Segment can use the text for no event; the reason is noted."""


class _List:
    """Reads one list of conditions: the whole text, or what stands in parentheses."""

    def __init__(self, tokens: list[Token], reading: OfficialReading, *, inside: bool = False) -> None:
        self.tokens = tokens
        self.reading = reading
        self.inside = inside
        self.next = 0
        self.parts: list[Tree] = []
        self.joint = "and"
        """The last and or or, which joins the list."""
        self.joints: set[str] = set()
        self.open_call = False
        """Whether the last call took the group's closing parenthesis for its own."""
        self.waiting: Token | None = None
        """The and or or that no condition has followed yet."""
        self.silent = False
        """Whether what is ignored next belongs to something already noted."""
        self.forgiven = 0
        """Closing parentheses to come that were used up by a call."""

    def peek(self) -> Token:
        return self.tokens[min(self.next, len(self.tokens) - 1)]

    def take(self, count: int, after: Token) -> list[Token]:
        """Return so many tokens, whatever they are."""
        taken = self.tokens[self.next : self.next + count]
        if len(taken) < count:
            self.stop("unfinished", [after, *taken][-1].position)
        self.next += count
        return taken

    def stop(self, code: str, position: int) -> NoReturn:
        self.reading.refuse(code, position)
        raise _UnusableError

    def read(self) -> Tree | None:
        """Return the whole list; None when it holds no condition."""
        while (token := self.peek()).kind != "end":
            self.next += 1
            match token:
                case Token("joint"):
                    self.connective(token)
                case Token("name"):
                    self.name(token)
                case Token("mark", "("):
                    self.add(self.group(token), token)
                case Token("operator", "!"):
                    self.bang(token)
                case Token("mark", ")") if self.forgiven:
                    self.forgiven -= 1
                case Token("mark", ")"):
                    self.reading.add("extra-parenthesis", token.position)
                case _:
                    self.pass_over("ignored-text", token)
        if self.waiting is not None:
            self.reading.add("stray-connective", self.waiting.position)
        return unite(And if self.joint == "and" else Or, self.parts) if self.parts else None

    def add(self, node: Tree, token: Token) -> None:
        if self.parts and self.waiting is None and not self.silent:
            self.reading.add("missing-connective", token.position)
        self.waiting, self.silent = None, False
        self.parts.append(node)

    def pass_over(self, code: str, token: Token) -> None:
        """Note the first of what is ignored in a row."""
        if not self.silent or code not in ("ignored-text", "skipped-field"):
            self.reading.add(code, token.position)
        self.waiting, self.silent = None, True

    # --- one member

    def connective(self, token: Token) -> None:
        if self.waiting is not None or not (self.parts or self.silent):
            self.reading.add("stray-connective", token.position)
        if self.joints - {token.text}:
            self.reading.add("mixed-connectives", token.position)
        self.joint = token.text
        self.joints.add(token.text)
        self.waiting, self.silent = token, False

    def name(self, token: Token) -> None:
        field = token.text.partition(".")[0]
        if field in TEXT_FIELDS + OBJECT_FIELDS:
            operator, value = self.take(2, token)
            self.add(compared(field, token, operator, value, self.reading), token)
            self.silent = _is_torn(operator, value, self.peek())
        elif field in BUILT_INS:
            # Found in Segment's table of fields, by way of JavaScript, but no field.
            self.reading.add("built-in-name", token.position)
            self.take(2, token)
        elif token.text in _FUNCTIONS:
            self.call(token, negated=False)
        else:
            self.pass_over(_unknown_name(token, field, self.peek()), token)

    def bang(self, token: Token) -> None:
        name = self.peek()
        if name.kind == "name" and name.text in _FUNCTIONS:
            self.call(*self.take(1, token), negated=True)
        else:
            self.reading.add("lost-negation", token.position)

    def group(self, opening: Token) -> Tree:
        places = range(self.next, len(self.tokens))
        end = next((place for place in places if self.tokens[place][:2] == ("mark", ")")), None)
        if end is None:
            self.stop("nested-parentheses" if self.inside else "open-parenthesis", opening.position)
        inner = [*self.tokens[self.next : end], END._replace(position=self.tokens[end].position)]
        self.next = end + 1
        content = _List(inner, self.reading, inside=True)
        whole = content.read()
        if content.open_call:
            self.forgiven += 1
            if self.peek().text != ")":
                self.reading.add("call-in-group", opening.position)
        if whole is None:
            self.reading.add("empty-parentheses", opening.position)
        return whole or Failing()

    def call(self, name: Token, *, negated: bool) -> None:
        opening, path, comma, value = self.take(4, name)
        closing = self.peek()
        self.next += 1
        self.open_call = self.inside and closing.kind == "end"
        shape = (opening.text, path.kind, comma.text, value.kind)
        if shape != ("(", "name", ",", "string") or (closing.text != ")" and not self.open_call):
            self.reading.add("odd-call", name.position)
        if node := called(name, path, value, self.reading, negated=negated):
            self.add(node, name)
            return
        head = path.text.partition(".")[0]
        code = "function-on-type" if head == "type" else "skipped-field"
        self.pass_over("not-portable-field" if head in _ELSEWHERE else code, path)


def _is_torn(operator: Token, value: Token, follower: Token) -> bool:
    """Tell whether a condition was torn apart, so that what follows is no mistake of its own."""
    if operator.kind != "operator" or value.kind in ("operator", "mark", "joint"):
        return True
    end = value.position + len(value.text)
    return value.kind in ("string", "number") and follower.position < end + (follower.kind == "name")


def _unknown_name(token: Token, field: str, follower: Token) -> str:
    if token.text in ("and", "or"):
        return "missing-space"
    if (word := token.text.lower()) in ("and", "or", "not"):
        return "lost-negation" if word == "not" else "uppercase-word"
    if field in _ELSEWHERE:
        return "not-portable-field"
    return "unknown-function" if follower.text == "(" else "skipped-field"
