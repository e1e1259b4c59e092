"""Mappings: how Segment fills a payload's fields from an event, by directives such as ``@path``.

*Missing* (no such key) and None (JSON null) are two things all the way through: the first is `MISSING`.
The rules, and the results in every odd case, are Segment's; docs/design/mapping.md lists the liberties. A
mapping is checked to its last corner when it is made, also inside lists, where Segment finds a mistake
only once an event runs into it.
"""

from __future__ import annotations

from typing import Any, Final

from toolkit.errors import MappingError
from toolkit.segment.javascript import MISSING, kind_of

from . import directives, paths, texts  # noqa: F401 - they register what they can parse
from .parse import parse_mapping
from .tree import Node, Resolution

__all__ = ["MISSING", "Mapping", "check_mapping", "kind_of"]


class Mapping:
    """A mapping, checked once and applied to many events.

    *value* is as Segment keeps it: raw JSON values, lists and objects, with directives anywhere in it. Raises
    MappingError for a mistake; ``pointer`` says where, and further ones are attached as notes.

    >>> mapping = Mapping({"email": {"@path": "$.traits.email"}, "id": {"@path": "$.nope"}})
    >>> mapping.resolve({"traits": {"email": "dana@example.test"}})
    {'email': 'dana@example.test'}
    """

    def __init__(self, value: Any) -> None:
        self.value: Final = value
        """The mapping as given."""
        parsed, problems = parse_mapping(value)
        if problems:
            first, *others = problems
            for other in others:
                first.add_note(str(other))
            raise first
        self.tree: Final[Node] = parsed
        """What the mapping says; see `toolkit.segment.mapping.tree`."""

    def resolve(self, event: Any) -> Any:
        """Return what the mapping makes of *event*: a value, None or `MISSING`.

        Objects lack the keys that are missing; missing list items are None. Parts of the event are
        returned as they are, not copied. Raises MappingError when the event is not an object, or gives a
        directive something it cannot work with.
        """
        if not isinstance(event, dict):
            raise MappingError(f"an event is an object, not {kind_of(event)}")
        return self.tree.resolve(event, Resolution())

    def __repr__(self) -> str:
        return f"Mapping({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # holds lists and objects

    def __reduce__(self) -> tuple[type[Mapping], tuple[Any]]:
        return Mapping, (self.value,)


def check_mapping(value: Any) -> list[MappingError]:
    """Return every mistake in the mapping *value*, in its order; none when `Mapping` takes it.

    >>> [problem.pointer for problem in check_mapping({"email": {"@path": 5}, "phone": {"@pth": "x"}})]
    ['/email/@path', '/phone/@pth']
    """
    return parse_mapping(value)[1]
