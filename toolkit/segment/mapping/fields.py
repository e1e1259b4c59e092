"""The argument of a directive that is an object: its members, parsed and asked for by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .tree import NOTHING, Node
from .values import MISSING, kind_of

if TYPE_CHECKING:
    from .parse import Parser


class Fields:
    """The members of a directive's argument; what is wrong with them goes to the parser."""

    def __init__(
        self, parser: Parser, argument: dict[str, Any], pointer: str, depth: int, roots: tuple[str, ...]
    ) -> None:
        self.given = argument
        """As written."""
        self._parser = parser
        self._pointer = pointer
        self._nodes = {
            key: (parser.applied if key in roots else parser.node)(part, join(pointer, key), depth)
            for key, part in argument.items()
        }

    def node(self, key: str) -> Node:
        """Return what the member parses to; something missing where there is none."""
        return self._nodes.get(key, NOTHING)

    def refuse(self, message: str, *keys: str) -> None:
        """Note a mistake in the member that *keys* lead to, or in the whole."""
        pointer = self._pointer
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


def fields_of(
    parser: Parser, argument: Any, pointer: str, depth: int, roots: tuple[str, ...] = ()
) -> Fields | None:
    """Parse an argument that has to be an object; members nobody asks for are looked at all the same."""
    if not isinstance(argument, dict) or is_directive(argument):
        parser.refuse(f"should be an object, not {kind_or_directive(argument)}", pointer)
        return None
    odd = [key for key in argument if not isinstance(key, str)]
    if odd:
        parser.refuse(f"the key {odd[0]!r} is not a text; put it in quotes", pointer)
        return None
    return Fields(parser, argument, pointer, depth, roots)


def is_directive(value: Any) -> bool:
    """Tell whether a value is an object with a key that starts with ``@``."""
    return isinstance(value, dict) and any(isinstance(key, str) and key.startswith("@") for key in value)


def kind_or_directive(value: Any) -> str:
    """Return what a mapping's value is, for a sentence."""
    return "a directive" if is_directive(value) else kind_of(value)


def join(pointer: str, key: str) -> str:
    """Return the JSON pointer to the member *key* of what *pointer* points to."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
