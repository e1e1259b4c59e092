"""The official reading: what Segment makes of a trigger text, slips included.

Segment walks over the tokens once, left to right. A known field takes the next two tokens for operator and
value, ``contains`` and ``match`` the next five for their call, whatever these are; a parenthesis makes a
group of all up to the first closing one; the last ``and`` or ``or`` joins the whole list; everything else
is passed over without a word.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from toolkit.errors import TriggerError

from .javascript import BUILT_INS, character_finder, units
from .official_conditions import FIELDS, FUNCTIONS, called, called_field, compared
from .official_tokens import Token, cut, end_token
from .slips import SENTENCES, Slip, Slips
from .tree import And, Never, Node, Not, Or
from .watch import Watch, derails

MAX_FAILING_GROUPS: Final = 50
"""So many groups joined by ``or`` may fail half way; each puts the rest of the text one level deeper."""


class Reading(NamedTuple):
    """What Segment makes of a text."""

    tree: Node
    """`Never` when there is an error."""
    error: TriggerError | None
    """Why Segment can use the text for no event at all."""
    slips: Slips
    """Where the reading leaves what is written."""


class _UnusableError(Exception):
    def __init__(self, code: str, position: int) -> None:
        self.code = code
        self.position = position


def read_official(text: object) -> Reading:
    """Return Segment's reading of anything; what it cannot use is never true."""
    slips = Slips()
    if not isinstance(text, str):
        slips.add("not-a-text", 0)
        return Reading(Never(), TriggerError(SENTENCES["not-a-text"], None), slips)
    tree, unusable = _tree_or_slip(units(text), slips)
    place = character_finder(text)
    slips.found = [Slip(slip.code, place(slip.position)) for slip in slips.found]
    if unusable is None:
        return Reading(tree, None, slips)
    return Reading(Never(), TriggerError(SENTENCES[unusable.code], place(unusable.position)), slips)


def _tree_or_slip(text: str, slips: Slips) -> tuple[Node, Slip | None]:
    tokens, unreadable = cut(text, slips)
    try:
        return _tree(tokens, slips) if tokens else Never(), unreadable
    except _UnusableError as error:
        slips.add(error.code, error.position)
        return Never(), unreadable or Slip(error.code, error.position)


def _tree(tokens: list[Token], slips: Slips) -> Node:
    top = _List(tokens, slips)
    whole = top.read()
    if whole is None:
        raise _UnusableError("nothing-left" if len(tokens) > 1 else "empty", 0)
    if top.parts[0] == _BROKEN:
        empty = [token.text for token in tokens[:2]] == ["(", ")"]
        raise _UnusableError("empty-parentheses" if empty else "odd-path", tokens[0].position)
    return whole.holds


class _Part(NamedTuple):
    """One member of a list of conditions."""

    holds: Node
    fails: Node | None = None
    """When it is false without bringing the whole trigger down; None for the opposite of ``holds``."""


_BROKEN: Final = _Part(Never(), Never())
"""Neither true nor false: Segment stumbles over it, and the trigger fails for this event."""


class _List:
    """Reads one list of conditions: the whole text, or what stands in parentheses."""

    def __init__(self, tokens: list[Token], slips: Slips, *, inside: bool = False) -> None:
        self.tokens = tokens
        self.slips = slips
        self.inside = inside
        self.next = 0
        self.parts: list[_Part] = []
        self.watch = Watch(slips)
        self.open_call = False

    def shift(self) -> Token | None:
        if self.next >= len(self.tokens):
            return None
        self.next += 1
        return self.tokens[self.next - 1]

    def peek(self) -> Token:
        last = len(self.tokens) - 1
        return self.tokens[self.next] if self.next <= last else end_token(self.tokens[last].position)

    def demand(self, after: Token) -> Token:
        token = self.shift()
        if token is None:
            raise _UnusableError("unfinished", after.position)
        return token

    def read(self) -> _Part | None:
        """Return the whole list as one part; None when it holds no condition."""
        joint = "and"
        while (token := self.shift()) is not None and token.kind != "end":
            if token.kind == "joint":
                joint = token.text
                self.watch.joint(token)
            elif token.kind == "ident":
                self.ident(token)
            elif token.text == "(" and token.kind == "mark":
                self.add(self.group(token), token)
            elif token.text == "!" and token.kind == "operator":
                self.bang(token)
            else:
                self.watch.passed(token)
        self.watch.end()
        return _sequence(joint, self.parts) if self.parts else None

    def add(self, part: _Part, token: Token) -> None:
        self.watch.condition(token)
        self.parts.append(part)

    # --- one member

    def ident(self, token: Token) -> None:
        field = token.text.partition(".")[0]
        if field in FIELDS:
            self.comparison(token, field)
        elif field in BUILT_INS:
            # Found in Segment's table of fields, by way of JavaScript, but no field.
            self.slips.add("built-in-name", token.position)
            self.demand(self.demand(token))
        elif token.text in FUNCTIONS:
            self.call(token, negated=False)
        else:
            self.watch.unknown(token, field, self.peek())

    def bang(self, token: Token) -> None:
        name = self.peek()
        if name.kind == "ident" and name.text in FUNCTIONS:
            self.next += 1
            self.call(name, negated=True)
        else:
            self.slips.add("lost-negation", token.position)

    def group(self, opening: Token) -> _Part:
        start = self.next
        while (token := self.shift()) is None or token.text != ")" or token.kind != "mark":
            if token is None:
                raise _UnusableError(
                    "nested-parentheses" if self.inside else "open-parenthesis", opening.position
                )
        inner = [*self.tokens[start : self.next - 1], end_token(token.position)]
        content = _List(inner, self.slips, inside=True)
        whole = content.read()
        if content.open_call:
            self.watch.forgiven += 1
            if self.peek().text != ")":
                self.slips.add("call-in-group", opening.position)
        if whole is None:
            self.slips.add("empty-parentheses", opening.position)
            return _BROKEN
        return whole

    def comparison(self, token: Token, field: str) -> None:
        operator = self.demand(token)
        value = self.demand(operator)
        self.add(_part(compared(field, token, operator, value, self.slips)), token)
        self.watch.silent = derails(operator, value, self.peek())

    def call(self, name: Token, *, negated: bool) -> None:
        opening = self.demand(name)
        path = self.demand(opening)
        comma = self.demand(path)
        value = self.demand(comma)
        closing = self.peek()
        self.next += 1
        self.open_call = self.inside and closing.kind == "end"
        shape = (opening.text, path.kind, comma.text, value.kind)
        if shape != ("(", "ident", ",", "string") or (closing.text != ")" and not self.open_call):
            self.slips.add("odd-call", name.position)
        field = called_field(path.text)
        if field is None:
            self.watch.dropped(path)
        else:
            self.add(_part(called(field, name, path, value, self.slips, negated=negated)), name)


# --- lists of conditions as trees


def _part(node: Node | None) -> _Part:
    return _BROKEN if node is None else _Part(node)


def _sequence(joint: str, parts: list[_Part]) -> _Part:
    """Join parts as Segment tests them: in turn, up to the one that decides or fails the trigger."""
    cut_at = next((place for place, part in enumerate(parts) if part.fails is not None), None)
    if cut_at is None:
        return _Part(_join(joint, [part.holds for part in parts]))
    before = [part.holds for part in parts[:cut_at]]
    if joint == "and":
        fails = Not(part=_join("and", before)) if before else Never()
        return _Part(_join("and", [part.holds for part in parts]), fails)
    return _Part(_first_of(parts), Never())


def _first_of(parts: list[_Part]) -> Node:
    """Return when an ``or`` comes to a true part before one that fails the trigger."""
    depth = 0
    rest: list[Node] = []  # last part first
    for part in reversed(parts):
        if part.fails is None:
            rest.append(part.holds)
        elif isinstance(part.fails, Never) or not rest:
            rest, depth = [part.holds], 0
        else:
            rest, depth = [And(parts=(part.fails, _join("or", rest[::-1]))), part.holds], depth + 1
        if depth > MAX_FAILING_GROUPS:
            raise _UnusableError("odd-path", 0)
    return _join("or", rest[::-1])


def _join(joint: str, nodes: list[Node]) -> Node:
    if len(nodes) == 1:
        return nodes[0]
    return And(parts=tuple(nodes)) if joint == "and" else Or(parts=tuple(nodes))
