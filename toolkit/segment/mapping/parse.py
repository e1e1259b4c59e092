"""Reading a mapping: JSON values in, a tree out, and every mistake with its place."""

from __future__ import annotations

from typing import Any, Final

from toolkit.errors import MappingError

from .arguments import DIRECTIVES
from .fields import is_directive, join
from .tree import NOTHING, ListOf, Node, ObjectOf, Raw
from .values import kind_of

MAX_DEPTH: Final = 100
"""How deep a mapping may be nested."""
MAX_NODES: Final = 100_000
"""How many values a mapping may hold."""
ROOT_DIRECTIVE: Final = "__segment_internal_directive"
"""Key of a root object that holds one directive, to be given the other keys as its ``mapping``."""


def parse_mapping(value: Any) -> tuple[Node, list[MappingError]]:
    """Return the tree of a mapping and every mistake in it; with mistakes the tree is of no use."""
    parser = Parser()
    tree = parser.root(value, "", 0)
    return tree, parser.problems


class Parser:
    """Turns JSON values into nodes, collecting the mistakes it meets."""

    def __init__(self) -> None:
        self.problems: list[MappingError] = []
        self.nodes = 0
        self._is_full = False

    def root(self, value: Any, pointer: str, depth: int) -> Node:
        """Parse a value that may have a root directive: a whole mapping, or what ``@transform`` applies."""
        if isinstance(value, dict) and ROOT_DIRECTIVE in value:
            return self._root_directive(value, join(pointer, ROOT_DIRECTIVE), depth)
        return self.node(value, pointer, depth)

    def applied(self, value: Any, pointer: str, depth: int) -> Node:
        """Parse what ``@transform`` applies: Segment checks it as any value, then reads it as a root."""
        known = len(self.problems)
        node = self.node(value, pointer, depth)
        has_root_directive = isinstance(value, dict) and ROOT_DIRECTIVE in value
        return (
            self.root(value, pointer, depth) if has_root_directive and len(self.problems) == known else node
        )

    def _root_directive(self, value: dict[Any, Any], pointer: str, depth: int) -> Node:
        directive = value[ROOT_DIRECTIVE]
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
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            return self.refuse(f"the key {odd[0]!r} is not a text; put it in quotes", pointer)
        if is_directive(value):
            return self._directive(value, pointer, depth)
        members = [(key, self.node(part, join(pointer, key), depth + 1)) for key, part in value.items()]
        return ObjectOf(members=tuple(members))

    def _directive(self, value: dict[str, Any], pointer: str, depth: int) -> Node:
        named = [key for key in value if key != "_metadata"]
        if len(named) > 1:
            return self.refuse(f"a directive stands alone, this object has {len(named)} keys", pointer)
        (name,) = named
        here = join(pointer, name)
        if name not in DIRECTIVES:
            return self.refuse(f"{name} is not a directive; there are {', '.join(DIRECTIVES)}", here)
        return DIRECTIVES[name](self, value[name], here, depth + 1)

    def refuse(self, message: str, pointer: str) -> Node:
        """Note a mistake; the node returned only holds its place."""
        self.problems.append(MappingError(message, pointer))
        return NOTHING

    def _refuse_size(self, pointer: str) -> Node:
        if self._is_full:
            return NOTHING  # said once
        self._is_full = True
        return self.refuse(f"the mapping holds more than {MAX_NODES:,} values", pointer)
