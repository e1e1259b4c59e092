"""Reading a mapping: JSON values in, a tree out, and every mistake with its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, kind_of

from .tree import NOTHING, Computed, ListOf, Node, ObjectOf, Raw, Resolution

MAX_DEPTH: Final = 100
"""How deep a mapping may be nested."""
MAX_NODES: Final = 100_000
"""How many values a mapping may hold."""
ROOT_DIRECTIVE: Final = "__segment_internal_directive"
"""Key of a root object that holds one directive, to be given the other keys as its ``mapping``."""


def parse_mapping(value: Any) -> tuple[Node, list[MappingError]]:
    """Return the tree of a mapping and every mistake in it; with mistakes the tree is of no use."""
    parsing = Parsing()
    return Part(value, "", 0, parsing).root(), parsing.problems


@dataclass(slots=True)
class Parsing:
    """What is known of a whole mapping while it is read."""

    problems: list[MappingError] = field(default_factory=list)
    nodes: int = 0
    """Values read so far."""
    is_full: bool = False
    """Whether it was refused for its size; one report is enough."""


class Part:
    """A value in a mapping, and its place: a JSON pointer, and how deep it is nested.

    The argument of a directive is one too; when it is an object, `member` has what is in it.
    """

    def __init__(self, given: Any, pointer: str, depth: int, parsing: Parsing) -> None:
        self.given = given
        """As written."""
        self.pointer = pointer
        self.parsing = parsing
        self._depth = depth
        self._members: dict[str, Node] = {}

    def at(self, key: str, given: Any, *, deeper: int = 0) -> Part:
        """Return the part under a key, which counts as nested so much deeper."""
        escaped = key.replace("~", "~0").replace("/", "~1")
        return Part(given, f"{self.pointer}/{escaped}", self._depth + deeper, self.parsing)

    def refuse(self, message: str, *keys: str) -> Node:
        """Note a mistake here, or where *keys* lead to; the node returned only holds the place."""
        place = self
        for key in keys:
            place = place.at(key, None)
        self.parsing.problems.append(MappingError(message, place.pointer))
        return NOTHING

    def root(self) -> Node:
        """Parse a value that may have a root directive: a whole mapping, or what ``@transform`` applies."""
        if not isinstance(self.given, dict) or ROOT_DIRECTIVE not in self.given:
            return self.node()
        place = self.at(ROOT_DIRECTIVE, self.given[ROOT_DIRECTIVE], deeper=1)
        if not isinstance(place.given, dict) or len(place.given) != 1:
            return place.refuse("should be an object with a single directive")
        ((name, argument),) = place.given.items()
        if not isinstance(argument, dict | list):
            return place.refuse(f"its directive should hold an object, not {kind_of(argument)}")
        if isinstance(argument, dict):
            others = {key: part for key, part in self.given.items() if key != ROOT_DIRECTIVE}
            place.given = {name: {**argument, "mapping": others}}
        return place.node()

    def node(self) -> Node:
        """Parse any value."""
        given, parsing = self.given, self.parsing
        parsing.nodes += 1
        if self._depth > MAX_DEPTH:
            return self.refuse(f"nested deeper than {MAX_DEPTH} levels")
        if parsing.nodes > MAX_NODES:
            was_full, parsing.is_full = parsing.is_full, True
            return NOTHING if was_full else self.refuse(f"the mapping holds more than {MAX_NODES:,} values")
        if isinstance(given, dict):
            return self._object()
        if isinstance(given, list):
            return ListOf(items=tuple(self.at(str(i), part, deeper=1).node() for i, part in enumerate(given)))
        if given is None or isinstance(given, bool | int | float | str):
            return Raw(value=given)
        return self.refuse(f"{type(given).__name__} is not a JSON value")

    def _object(self) -> Node:
        if not self._has_text_keys():
            return NOTHING
        if not is_directive(self.given):
            members = ((key, self.at(key, part, deeper=1).node()) for key, part in self.given.items())
            return ObjectOf(members=tuple(members))
        named = [key for key in self.given if key != "_metadata"]
        if len(named) > 1:
            return self.refuse(f"a directive stands alone, this object has {len(named)} keys")
        (name,) = named
        if name not in _DIRECTIVES:
            known = ", ".join(sorted(_DIRECTIVES))
            return self.refuse(f"{name} is not a directive; there are {known}", name)
        return _DIRECTIVES[name](self.at(name, self.given[name], deeper=1))

    def _has_text_keys(self) -> bool:
        odd = [key for key in self.given if not isinstance(key, str)]
        if odd:
            self.refuse(f"the key {odd[0]!r} is not a text; put it in quotes")
        return not odd

    # --- the argument of a directive

    def has_members(self, root: str) -> bool:
        """Parse the members of an argument, of which *root* may be a root; refuse any but an object."""
        if not isinstance(self.given, dict) or is_directive(self.given):
            self.refuse(f"should be an object, not {kind_or_directive(self.given)}")
            return False
        if not self._has_text_keys():
            return False
        # Members that no directive knows are checked all the same.
        for key, given in self.given.items():
            part, known = self.at(key, given), len(self.parsing.problems)
            self._members[key] = part.node()
            # Segment checks it as any value, then reads it as a root.
            has_root_directive = key == root and isinstance(given, dict) and ROOT_DIRECTIVE in given
            if has_root_directive and len(self.parsing.problems) == known:
                self._members[key] = part.root()
        return True

    def member(self, key: str) -> Node:
        """Return what a member of the argument parses to; something missing where there is none."""
        return self._members.get(key, NOTHING)

    def need(self, key: str) -> None:
        """Refuse the argument unless it has the member *key*."""
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

    def computed(self, call: Callable[[Any, Resolution], Any], *, keeps_missing: bool = False) -> Node:
        """Return the node of a directive that is resolved by a function, in its place."""
        return Computed(call=call, pointer=self.pointer, keeps_missing=keeps_missing)


_Make: TypeAlias = Callable[[Part], Node]
"""Makes the node of a directive from its argument."""
_DIRECTIVES: Final[dict[str, _Make]] = {"@literal": Part.node}  # directives in it count
"""Every directive, by its key."""


def directive(key: str, *, of_members: bool = True, root: str = "") -> Callable[[_Make], _Make]:
    """Decorate what makes a directive. With *of_members* it has to hold an object; *root* may be a root."""

    def decorate(make: _Make) -> _Make:
        _DIRECTIVES[key] = lambda part: make(part) if not of_members or part.has_members(root) else NOTHING
        return make

    return decorate


def is_directive(value: Any) -> bool:
    """Return whether a value is an object with a key that starts with ``@``."""
    return isinstance(value, dict) and any(isinstance(key, str) and key.startswith("@") for key in value)


def kind_or_directive(value: Any) -> str:
    """Return what a mapping's value is, for a sentence."""
    return "a directive" if is_directive(value) else kind_of(value)
