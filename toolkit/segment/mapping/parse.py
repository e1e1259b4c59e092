"""Reading a mapping: JSON values in, a tree out, and every mistake with its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, kind_of

from .tree import NOTHING, ListOf, Node, ObjectOf, Raw

MAX_DEPTH: Final = 100
"""How deep a mapping may be nested."""
MAX_NODES: Final = 100_000
"""How many values a mapping may hold."""
ROOT_DIRECTIVE: Final = "__segment_internal_directive"
"""Key of a root object that holds one directive, to be given the other keys as its ``mapping``."""


class Parser:
    """Turns JSON values into nodes, collecting the mistakes it meets.

    Every method takes the place of its value in the mapping, as a JSON pointer, and how deep it is nested.
    """

    def __init__(self) -> None:
        self.problems: list[MappingError] = []
        self.nodes = 0
        """Values read so far."""
        self._is_full = False

    def root(self, value: Any, pointer: str, depth: int) -> Node:
        """Parse a value that may have a root directive: a whole mapping, or what ``@transform`` applies."""
        if not isinstance(value, dict) or ROOT_DIRECTIVE not in value:
            return self.node(value, pointer, depth)
        directive, pointer = value[ROOT_DIRECTIVE], join(pointer, ROOT_DIRECTIVE)
        if not isinstance(directive, dict) or len(directive) != 1:
            return self.refuse("should be an object with a single directive", pointer)
        ((name, argument),) = directive.items()
        if not isinstance(argument, dict | list):
            return self.refuse(f"its directive should hold an object, not {kind_of(argument)}", pointer)
        others = {key: part for key, part in value.items() if key != ROOT_DIRECTIVE}
        argument = {**argument, "mapping": others} if isinstance(argument, dict) else argument
        return self.node({name: argument}, pointer, depth + 1)

    def node(self, value: Any, pointer: str, depth: int) -> Node:
        """Parse any value."""
        self.nodes += 1
        if depth > MAX_DEPTH:
            return self.refuse(f"nested deeper than {MAX_DEPTH} levels", pointer)
        if self.nodes > MAX_NODES:
            return self._refuse_size(pointer)
        if isinstance(value, dict):
            return self._object(value, pointer, depth)
        if isinstance(value, list):
            items = [self.node(item, f"{pointer}/{i}", depth + 1) for i, item in enumerate(value)]
            return ListOf(items=tuple(items))
        if value is None or isinstance(value, bool | int | float | str):
            return Raw(value=value)
        return self.refuse(f"{type(value).__name__} is not a JSON value", pointer)

    def _object(self, value: dict[Any, Any], pointer: str, depth: int) -> Node:
        if not self.has_text_keys(value, pointer):
            return NOTHING
        if not is_directive(value):
            members = [(key, self.node(part, join(pointer, key), depth + 1)) for key, part in value.items()]
            return ObjectOf(members=tuple(members))
        named = [key for key in value if key != "_metadata"]
        if len(named) > 1:
            return self.refuse(f"a directive stands alone, this object has {len(named)} keys", pointer)
        (name,) = named
        here = join(pointer, name)
        if name not in _DIRECTIVES:
            known = ", ".join(sorted(_DIRECTIVES))
            return self.refuse(f"{name} is not a directive; there are {known}", here)
        return _DIRECTIVES[name](self, value[name], here, depth + 1)

    def has_text_keys(self, value: dict[Any, Any], pointer: str) -> bool:
        """Return whether every key of an object is a text; refuse it otherwise."""
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            self.refuse(f"the key {odd[0]!r} is not a text; put it in quotes", pointer)
        return not odd

    def refuse(self, message: str, pointer: str) -> Node:
        """Note a mistake; the node returned only holds its place."""
        self.problems.append(MappingError(message, pointer))
        return NOTHING

    def _refuse_size(self, pointer: str) -> Node:
        if self._is_full:
            return NOTHING  # one report is enough
        self._is_full = True
        return self.refuse(f"the mapping holds more than {MAX_NODES:,} values", pointer)


def parse_mapping(value: Any) -> tuple[Node, list[MappingError]]:
    """Return the tree of a mapping and every mistake in it; with mistakes the tree is of no use."""
    parser = Parser()
    return parser.root(value, "", 0), parser.problems


# --- what a directive takes as its argument

_DirectiveParser: TypeAlias = Callable[[Parser, Any, str, int], Node]
"""Takes the parser, the argument of a directive, its place and its depth."""
_DIRECTIVES: Final[dict[str, _DirectiveParser]] = {"@literal": Parser.node}  # directives in it count
"""Every directive, by its key."""


def directive(key: str) -> Callable[[_DirectiveParser], _DirectiveParser]:
    """Decorate the function that parses a directive's argument, to be found by the directive's key."""

    def decorate(parse: _DirectiveParser) -> _DirectiveParser:
        return _DIRECTIVES.setdefault(key, parse)

    return decorate


class Fields:
    """The members of a directive's argument; what is wrong with them goes to the parser."""

    def __init__(self, parser: Parser, given: dict[str, Any], pointer: str, depth: int, *, root: str) -> None:
        self.given = given
        """As written."""
        self.pointer = pointer
        self._parser = parser
        # Members that no directive knows are checked all the same.
        self._nodes: dict[str, Node] = {}
        for key, part in given.items():
            place, known = join(pointer, key), len(parser.problems)
            self._nodes[key] = parser.node(part, place, depth)
            # Segment checks it as any value, then reads it as a root.
            has_root_directive = key == root and isinstance(part, dict) and ROOT_DIRECTIVE in part
            if has_root_directive and len(parser.problems) == known:
                self._nodes[key] = parser.root(part, place, depth)

    def node(self, key: str) -> Node:
        """Return what the member parses to; something missing where there is none."""
        return self._nodes.get(key, NOTHING)

    def refuse(self, message: str, *keys: str) -> None:
        """Note a mistake in the member that *keys* lead to, or in the whole."""
        pointer = self.pointer
        for key in keys:
            pointer = join(pointer, key)
        self._parser.refuse(message, pointer)

    def need(self, key: str) -> None:
        """Refuse the whole unless it has the member *key*."""
        if key not in self.given:
            self.refuse(f"needs {key}")

    def expect(self, key: str, kind: type, wanted: str, *, directive: bool = False) -> None:
        """Refuse the member *key*, when there is one, unless it is of this kind (or a directive)."""
        value = self.given.get(key, MISSING)
        if value is MISSING or (directive and is_directive(value)):
            return
        if not isinstance(value, kind) or is_directive(value):
            wanted = f"{wanted} or a directive" if directive else wanted
            self.refuse(f"should be {wanted}, not {kind_or_directive(value)}", key)


def directive_of_fields(key: str, root: str = "") -> Callable[[Callable[[Fields], Node]], _DirectiveParser]:
    """Decorate the same for an argument that has to be an object; its member *root* may be a root."""

    def decorate(make: Callable[[Fields], Node]) -> _DirectiveParser:
        @directive(key)
        def parse(parser: Parser, argument: Any, pointer: str, depth: int) -> Node:
            if not isinstance(argument, dict) or is_directive(argument):
                return parser.refuse(f"should be an object, not {kind_or_directive(argument)}", pointer)
            if not parser.has_text_keys(argument, pointer):
                return NOTHING
            return make(Fields(parser, argument, pointer, depth, root=root))

        return parse

    return decorate


def is_directive(value: Any) -> bool:
    """Return whether a value is an object with a key that starts with ``@``."""
    return isinstance(value, dict) and any(isinstance(key, str) and key.startswith("@") for key in value)


def kind_or_directive(value: Any) -> str:
    """Return what a mapping's value is, for a sentence."""
    return "a directive" if is_directive(value) else kind_of(value)


def join(pointer: str, key: str) -> str:
    """Return the JSON pointer to the member *key* of what *pointer* points to."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
