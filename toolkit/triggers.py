r"""Triggers: which events start the action, written in Segment's FQL.

The reading here is the strict one: real precedence (``and`` binds closer than ``or``), parentheses and ``!``
wherever they make sense, both kinds of quotes, and a refusal with a position for everything that Segment
would skip or misread without a word. Grammar::

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from .errors import TriggerError

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
FunctionName = Literal["contains", "match"]
Constant: TypeAlias = str | float | bool | None
Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]

MAX_DEPTH: Final = 100
"""How many parentheses may be open at once."""
TEXT_FIELDS: Final = ("type", "event", "name", "userId", "anonymousId", "messageId", "groupId")
"""Fields that hold one text; nothing can follow them in a path."""
OBJECT_FIELDS: Final = ("properties", "traits", "context", "integrations")
"""Fields that hold an object; a path has to go on into it."""


@dataclass(frozen=True, kw_only=True)
class And:
    """True when every part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Or:
    """True when any part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Not:
    """True when the part is not."""

    part: Node


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One value of the event against a constant; a missing value counts as null."""

    path: tuple[str, ...]
    """Keys from the top of the event; digits are also the index of a list item, from 0."""
    operator: Operator
    value: Constant
    """As Segment compares it: a number in a text field is text, and so is the true of ``!= true``."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A test of a text; false of whatever is not a text, negated or not."""

    name: FunctionName
    path: tuple[str, ...]
    text: str
    """What has to be contained, or the pattern."""
    negated: bool


Node: TypeAlias = And | Or | Not | Comparison | Function


class Trigger:
    """A trigger text, read once and applied to many events.

    Parameters
    ----------
    text
        The condition, such as ``type = "identify" or type = "track"``.
    dialect
        ``strict``: the documented language, what Segment would misread refused. There is no other yet.

    Raises
    ------
    TriggerError
        The text cannot be read; ``position`` says where.
    ValueError
        Another dialect is named.

    Examples
    --------
    >>> trigger = Trigger('type = "track" and match(event, "Audience *")')
    >>> trigger.matches({"type": "track", "event": "Audience Entered"})
    True
    """

    __slots__ = ("_matches", "text", "tree")

    def __init__(self, text: str, *, dialect: str = "strict") -> None:
        if dialect != "strict":
            raise ValueError(f'This version reads the dialect "strict" only, not "{dialect}".')
        self.text: Final = text
        """The text as given."""
        self.tree: Final[Node] = _Parser(text).parse()
        """What the text means, for those who compile it to something else."""
        self._matches: Final = _predicate(self.tree)

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Tell whether the trigger fires for *event*; false for what is not an object. Never raises."""
        return isinstance(event, dict) and self._matches(event)

    def __repr__(self) -> str:
        return f"Trigger({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[Trigger], tuple[str]]:
        return Trigger, (self.text,)


# --- reading


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<name>(?:[A-Za-z_]|\\.)(?:[A-Za-z0-9_-]|\\.)*)
    |(?P<number>[+-]?[0-9][A-Za-z0-9_.]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<operator><=|>=|!=|[=<>])
    |(?P<mark>[!().,\[\]])""",
    re.DOTALL | re.VERBOSE,
)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_ESCAPED_INDEX = re.compile(r"\\\[[0-9]+\\\]")
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}


def _tokens(text: str) -> list[_Token]:
    """Cut *text* up; the list ends with a token of kind ``end``."""
    found: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise TriggerError(_stray(text[position]), position)
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup or "", match.group(), position))
        position = match.end()
    return [*found, _Token("end", "", len(text))]


def _stray(character: str) -> str:
    if character in "\"'":
        return "This text is never closed; a quote inside a text is written \\\" or \\'"
    if character == "\\":
        return "Nothing follows the \\"
    return f"{character!r} means nothing here; in a name write it with a \\ before it"


class _Parser:
    """Reads one text by recursive descent."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.next = 0
        self.depth = 0

    def parse(self) -> Node:
        tree = self.any_of()
        token = self.peek()
        if token.kind == "name" and token.text.lower() in ("and", "or"):
            raise TriggerError(f"Write {token.text.lower()} in lower case", token.position)
        if token.kind != "end":
            raise TriggerError(f"Expected 'and', 'or' or the end, not {token.text}", token.position)
        return tree

    def peek(self) -> _Token:
        return self.tokens[self.next]

    def take(self) -> _Token:
        token = self.tokens[self.next]
        self.next += 1
        return token

    def found(self, kind: str, text: str) -> bool:
        """Take the next token if it is this one, and tell whether it was."""
        here = self.peek()[:2] == (kind, text)
        self.next += here
        return here

    def expect(self, mark: str, why: str) -> None:
        if not self.found("mark", mark):
            raise TriggerError(f"Expected '{mark}' {why}", self.peek().position)

    def any_of(self) -> Node:
        parts = [self.all_of()]
        while self.found("name", "or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else Or(parts=tuple(parts))

    def all_of(self) -> Node:
        parts = [self.unary()]
        while self.found("name", "and"):
            parts.append(self.unary())
        return parts[0] if len(parts) == 1 else And(parts=tuple(parts))

    def unary(self) -> Node:
        negated = False
        while self.found("mark", "!"):
            negated = not negated
        opening = self.peek().position
        if self.found("mark", "("):
            if self.depth >= MAX_DEPTH:
                raise TriggerError(f"More than {MAX_DEPTH} parentheses are open", opening)
            self.depth += 1
            group = self.any_of()
            self.depth -= 1
            self.expect(")", f"for the '(' at character {opening + 1}")
            return Not(part=group) if negated else group
        if self.peek().kind == "name" and self.tokens[self.next + 1].text == "(":
            return self.function(negated=negated)
        comparison = self.comparison()
        return Not(part=comparison) if negated else comparison

    def function(self, *, negated: bool) -> Function:
        token = self.take()
        names = {name: name for name in get_args(FunctionName)}
        if token.text not in names:
            raise TriggerError(f"No function {token.text}; there are contains and match", token.position)
        self.take()
        path = self.path()
        self.expect(",", "and a text")
        value = self.take()
        if value.kind != "string":
            raise TriggerError(f"{token.text} needs a text in quotes here", value.position)
        self.expect(")", f"at the end of {token.text}")
        return Function(name=names[token.text], path=path, text=_unquoted(value.text), negated=negated)

    def path(self) -> tuple[str, ...]:
        token = self.take()
        if token.kind != "name" or token.text in ("and", "or", *_CONSTANTS):
            shown = token.text or "the end"
            raise TriggerError(
                f"Expected a condition, which starts with a field, not {shown}", token.position
            )
        field = _unescaped(token.text)
        if field not in TEXT_FIELDS + OBJECT_FIELDS:
            known = ", ".join(TEXT_FIELDS + OBJECT_FIELDS)
            raise TriggerError(f"No field {field}; there are {known}", token.position)
        parts = [field, *self.steps()]
        if field in TEXT_FIELDS and len(parts) > 1:
            raise TriggerError(f"{field} is a text, nothing is inside it", token.position)
        if field in OBJECT_FIELDS and len(parts) == 1:
            raise TriggerError(f"Say what in {field}, such as {field}.name", token.position)
        return tuple(parts)

    def steps(self) -> list[str]:
        parts = []
        while True:
            if self.found("mark", "."):
                token = self.take()
                if token.kind == "number":
                    raise TriggerError(
                        "Write [0] for a list item, \\2nd for a key with a digit", token.position
                    )
                if token.kind != "name":
                    raise TriggerError("Expected a name after the '.'", token.position)
                if _ESCAPED_INDEX.search(token.text):
                    # The one way to a list item in Segment; here it would be a key that nothing has.
                    raise TriggerError("Write [0] for a list item, without \\", token.position)
                parts.append(_unescaped(token.text))
            elif self.found("mark", "["):
                token = self.take()
                if not _INDEX.fullmatch(token.text):
                    raise TriggerError("Expected the number of a list item, from 0", token.position)
                self.expect("]", "after the number of the list item")
                parts.append(token.text)
            else:
                return parts

    def comparison(self) -> Comparison:
        path = self.path()
        token = self.take()
        operators = {operator: operator for operator in get_args(Operator)}
        if token.text not in operators or token.kind != "operator":
            raise TriggerError(f"Expected one of {' '.join(operators)}", token.position)
        value = self.take()
        constant = self.constant(value)
        return _comparison(path, operators[token.text], constant, value.position)

    def constant(self, token: _Token) -> Constant:
        if token.kind == "string":
            return _unquoted(token.text)
        if token.kind == "name" and token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        if token.kind == "number" and _NUMBER.fullmatch(token.text):
            return float(token.text)
        if token.kind == "number":
            raise TriggerError("A number has digits and at most one point, such as -12.5", token.position)
        if token.kind == "name":
            raise TriggerError(f'Put a text in quotes: "{token.text}"', token.position)
        raise TriggerError("Expected a text in quotes, a number, true, false or null", token.position)


def _comparison(path: tuple[str, ...], operator: Operator, value: Constant, position: int) -> Comparison:
    """Return the comparison that Segment makes of it; refuse an order that is never true."""
    if operator not in ("=", "!="):
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if not isinstance(value, float):
            raise TriggerError(f"{operator} orders numbers only, not texts, dates or null", position)
    elif isinstance(value, bool):
        # Segment tests for a boolean only with "=", and not in these fields; the rest compares texts.
        if operator == "!=" or path[0] in ("type", "event", "name"):
            value = "true" if value else "false"
    elif isinstance(value, float) and path[0] in TEXT_FIELDS:
        value = _number_text(value)
    return Comparison(path=path, operator=operator, value=value)


def _number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _unquoted(text: str) -> str:
    return re.sub(r"\\([\\\"'])", r"\1", text[1:-1])


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL)


# --- evaluating


def _predicate(node: Node) -> Predicate:
    """Compile the tree to functions: the archive asks each of them millions of times."""
    if isinstance(node, And):
        return _all(tuple(_predicate(part) for part in node.parts))
    if isinstance(node, Or):
        return _any(tuple(_predicate(part) for part in node.parts))
    if isinstance(node, Not):
        inner = _predicate(node.part)
        return lambda event: not inner(event)
    if isinstance(node, Function):
        return _function(node)
    return _test(node)


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    def every(event: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - a loop costs half of what all() with a generator does
            if not part(event):
                return False
        return True

    return every


def _any(parts: tuple[Predicate, ...]) -> Predicate:
    def some(event: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(event):
                return True
        return False

    return some


def _function(node: Function) -> Predicate:
    read = _reader(node.path)
    test = _glob(node.text) if node.name == "match" else _containing(node.text)
    expected = not node.negated

    def holds(event: Mapping[str, Any]) -> bool:
        value = read(event)
        return isinstance(value, str) and test(value) is expected

    return holds


def _containing(part: str) -> Callable[[str], bool]:
    return lambda text: part in text


def _glob(pattern: str) -> Callable[[str], bool]:
    """Return a test of the whole text, in time proportional to it: each piece is sought once."""
    first, *rest = pattern.split("*")
    if not rest:
        return lambda text: text == pattern
    *middle, last = rest

    def fits(text: str) -> bool:
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for piece in middle:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return fits


def _test(node: Comparison) -> Predicate:
    read, value = _reader(node.path), node.value
    if value is None or isinstance(value, bool):
        if node.operator == "=":
            return lambda event: read(event) is value
        return lambda event: read(event) is not value
    if isinstance(value, str):
        if node.operator == "=":
            return lambda event: bool(read(event) == value)
        return lambda event: bool(read(event) != value)
    compare = _NUMBER_TESTS[node.operator]
    number = value

    def holds(event: Mapping[str, Any]) -> bool:
        found = read(event)
        # bool is an int in Python, and not a number in JSON.
        return isinstance(found, int | float) and not isinstance(found, bool) and compare(found, number)

    return holds


_NUMBER_TESTS: Final[dict[Operator, Callable[[float, float], bool]]] = {
    "=": lambda found, number: found == number,
    "!=": lambda found, number: found != number,
    "<": lambda found, number: found < number,
    "<=": lambda found, number: found <= number,
    ">": lambda found, number: found > number,
    ">=": lambda found, number: found >= number,
}


def _reader(path: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function from an event to the value at *path*, None where there is none."""
    if len(path) == 1:
        field = path[0]
        return lambda event: event.get(field)

    def read(event: Mapping[str, Any]) -> Any:
        value: Any = event
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif value and isinstance(value, list | str):
                value = _inside(value, step)
            else:
                # Segment stops at the first falsy value, and that is what it compares.
                return None if value else value
        return value

    return read


def _inside(value: list[Any] | str, step: str) -> Any:
    """Return a list item, or the length Segment shows of lists and texts (in UTF-16 units, as it counts)."""
    if step == "length":
        return len(value) if isinstance(value, list) else len(value.encode("utf-16-le", "surrogatepass")) // 2
    if isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
        return value[int(step)]
    return None
