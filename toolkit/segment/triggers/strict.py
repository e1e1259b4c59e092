r"""The strict reading: the documented language, with an error and its position for what leaves it.

Real precedence (``and`` binds closer than ``or``), parentheses and ``!`` wherever they make sense, and both
kinds of quotes. What is accepted means what it says, also where Segment reads it otherwise: the linter names
those places. Grammar::

    expr  := and ("or" and)*              and  := unary ("and" unary)*
    unary := "!" unary | "(" expr ")" | func | cmp
    func  := ("contains" | "match") "(" path "," string ")"
    cmp   := path ("=" | "!=" | "<" | "<=" | ">" | ">=") (string | number | "true" | "false" | "null")
    path  := name ("." name | "[" digits "]")*          "\" takes any character into a name

In a string ``\"``, ``\'`` and ``\\`` stand for the second character; any other ``\`` is itself, as in
Segment. In the pattern of ``match`` a ``*`` is any run of characters, wherever it stands; all else is
literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, get_args

from toolkit.errors import TriggerError
from toolkit.segment.javascript import number_text

from .tokens import ESCAPED_INDEX, NUMBER, Token, strict_tokens, unescaped
from .tree import INDEX, And, Comparison, Constant, Function, FunctionName, Not, Operator, Or, Tree, unite

MAX_DEPTH: Final = 100
"""How many parentheses may be open at once."""
TEXT_FIELDS: Final = ("type", "event", "name", "userId", "anonymousId", "messageId", "groupId")
"""Fields that hold one text; nothing can follow them in a path."""
OBJECT_FIELDS: Final = ("properties", "traits", "context", "integrations")
"""Fields that hold an object; a path has to go on into it."""

_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_FUNCTIONS: Final[dict[str, FunctionName]] = {"contains": "contains", "match": "match"}
_OPERATORS: Final[dict[str, Operator]] = {operator: operator for operator in get_args(Operator)}


def read_strict(text: str) -> Tree:
    """Return the tree of *text*, or raise `TriggerError` with the place where it leaves the language."""
    if not isinstance(text, str):
        raise TriggerError(f"A trigger is a text, not {type(text).__name__}", 0)
    return _Parser(text).parse()


class _Parser:
    """Reads one text by recursive descent."""

    def __init__(self, text: str) -> None:
        self.tokens = strict_tokens(text)
        self.next = 0
        self.depth = 0

    def parse(self) -> Tree:
        tree = self.any_of()
        token = self.peek()
        if token.kind == "name" and token.text.lower() in ("and", "or"):
            raise TriggerError(f"Write {token.text.lower()} in lower case", token.position)
        if token.kind != "end":
            raise TriggerError(f"Expected 'and', 'or' or the end, not {token.text}", token.position)
        return tree

    def peek(self) -> Token:
        return self.tokens[self.next]

    def take(self) -> Token:
        self.next += 1
        return self.tokens[self.next - 1]

    def found(self, kind: str, text: str) -> bool:
        """Take the next token if it is this one, and return whether it was."""
        here = self.peek()[:2] == (kind, text)
        self.next += here
        return here

    def expect(self, mark: str, why: str) -> None:
        if not self.found("mark", mark):
            raise TriggerError(f"Expected '{mark}' {why}", self.peek().position)

    def any_of(self) -> Tree:
        return self.list_of(lambda: self.list_of(self.unary, "and", And), "or", Or)

    def list_of(self, part: Callable[[], Tree], word: str, kind: type[And | Or]) -> Tree:
        parts = [part()]
        while self.found("name", word):
            parts.append(part())
        return unite(kind, parts)

    def unary(self) -> Tree:
        negated = False
        while self.found("mark", "!"):
            negated = not negated
        token = self.peek()
        if token.kind == "name" and self.tokens[self.next + 1].text == "(":
            return self.function(negated=negated)
        part = self.group(token.position) if self.found("mark", "(") else self.comparison()
        return Not(part=part) if negated else part

    def group(self, opening: int) -> Tree:
        if self.depth >= MAX_DEPTH:
            raise TriggerError(f"More than {MAX_DEPTH} parentheses are open", opening)
        self.depth += 1
        group = self.any_of()
        self.depth -= 1
        self.expect(")", f"for the '(' at character {opening + 1}")
        return group

    def function(self, *, negated: bool) -> Function:
        token = self.take()
        if token.text not in _FUNCTIONS:
            raise TriggerError(f"No function {token.text}; there are contains and match", token.position)
        self.take()
        path = self.path()
        self.expect(",", "and a text")
        value = self.take()
        if value.kind != "string":
            raise TriggerError(f"{token.text} needs a text in quotes here", value.position)
        self.expect(")", f"at the end of {token.text}")
        return Function(name=_FUNCTIONS[token.text], path=path, text=_unquoted(value.text), negated=negated)

    def comparison(self) -> Comparison:
        path = self.path()
        token = self.take()
        if token.kind != "operator":
            raise TriggerError(f"Expected one of {' '.join(_OPERATORS)}", token.position)
        value = self.take()
        return _comparison(path, _OPERATORS[token.text], _constant(value), value.position)

    def path(self) -> tuple[str, ...]:
        token = self.take()
        if token.kind != "name" or token.text in ("and", "or", *_CONSTANTS):
            why = f"Expected a condition, which starts with a field, not {token.text or 'the end'}"
            raise TriggerError(why, token.position)
        field = unescaped(token.text)
        if field not in TEXT_FIELDS + OBJECT_FIELDS:
            known = ", ".join(TEXT_FIELDS + OBJECT_FIELDS)
            raise TriggerError(f"No field {field}; there are {known}", token.position)
        steps = []
        while True:
            if self.found("mark", "."):
                steps.append(_key(self.take()))
            elif self.found("mark", "["):
                steps.append(_index(self.take()))
                self.expect("]", "after the number of the list item")
            else:
                break
        if field in TEXT_FIELDS and steps:
            raise TriggerError(f"{field} is a text, nothing is inside it", token.position)
        if field in OBJECT_FIELDS and not steps:
            raise TriggerError(f"Say what in {field}, such as {field}.name", token.position)
        return (field, *steps)


def _key(token: Token) -> str:
    if token.kind == "number":
        raise TriggerError("Write [0] for a list item, \\2nd for a key with a digit", token.position)
    if token.kind != "name":
        raise TriggerError("Expected a name after the '.'", token.position)
    if ESCAPED_INDEX.search(token.text):
        # The one way to a list item in Segment; here it would be a key that nothing has.
        raise TriggerError("Write [0] for a list item, without \\", token.position)
    return unescaped(token.text)


def _index(token: Token) -> str:
    if not INDEX.fullmatch(token.text):
        raise TriggerError("Expected the number of a list item, from 0", token.position)
    return token.text


def _constant(token: Token) -> Constant:
    if token.kind == "string":
        return _unquoted(token.text)
    if token.kind == "name" and token.text in _CONSTANTS:
        return _CONSTANTS[token.text]
    if token.kind == "number" and NUMBER.fullmatch(token.text):
        return float(token.text)
    if token.kind == "number":
        raise TriggerError("A number has digits and at most one point, such as -12.5", token.position)
    if token.kind == "name":
        raise TriggerError(f'Put a text in quotes: "{token.text}"', token.position)
    raise TriggerError("Expected a text in quotes, a number, true, false or null", token.position)


def _comparison(path: tuple[str, ...], operator: Operator, value: Constant, position: int) -> Comparison:
    """Return the comparison that Segment makes of it; refuse an order that is never true."""
    if operator not in ("=", "!="):
        if isinstance(value, str) and NUMBER.fullmatch(value):
            value = float(value)
        if not isinstance(value, float):
            raise TriggerError(f"{operator} orders numbers only, not texts, dates or null", position)
    elif isinstance(value, bool):
        # Segment tests for a boolean only with "=", and not in these fields; the rest compares texts.
        if operator == "!=" or path[0] in ("type", "event", "name"):
            value = "true" if value else "false"
    elif isinstance(value, float) and path[0] in TEXT_FIELDS:
        value = number_text(value)
    return Comparison(path=path, operator=operator, value=value)


def _unquoted(text: str) -> str:
    return re.sub(r"\\([\\\"'])", r"\1", text[1:-1])
