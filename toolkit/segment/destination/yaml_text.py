"""YAML read as if it were JSON: no references, no dates, no tags, and no key given twice unnoticed."""

from __future__ import annotations

import math
from typing import Any, Final

import yaml

MAX_DEPTH: Final = 120
"""How deep values may be nested: a little more than a mapping may."""

Odd = tuple[dict[str, Any] | list[Any], str | int, str]
"""An object or list, the key or index in it, and what is wrong there."""

TWICE: Final = "is given twice"

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Final[Any] = yaml.resolver.Resolver()
_CORE: Final = "tag:yaml.org,2002:"
_CONSTRUCTOR: Final[Any] = yaml.constructor.SafeConstructor()
_CONSTRUCT: Final = {
    "int": _CONSTRUCTOR.construct_yaml_int,
    "float": _CONSTRUCTOR.construct_yaml_float,
    "bool": _CONSTRUCTOR.construct_yaml_bool,
    "null": _CONSTRUCTOR.construct_yaml_null,
}
_NOT_A_VALUE: Final = {"merge", "value"}
"""Kinds of YAML's own keys (``<<`` and ``=``): texts here, and not known as keys."""


class UnreadableError(ValueError):
    """The text is not in its language; the message never quotes it."""


def parse_yaml(text: str) -> tuple[Any, list[Odd]]:
    """Return what a YAML text holds, and where it holds something odd; UnreadableError when it is none."""
    builder = _Builder()
    try:
        # By events: depth, references and repeated keys are lost once a loader has built the values.
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(f"is neither YAML nor JSON: {_sentence(error, text)}") from None
    except yaml.YAMLError:
        raise UnreadableError("is neither YAML nor JSON: it holds characters that no text has.") from None
    return builder.content, builder.odd


def _sentence(error: yaml.MarkedYAMLError, text: str) -> str:
    """Say what is wrong and where, without the snippet that YAML's own message has."""
    mark = error.problem_mark
    if mark is None:
        return f"{error.problem}."
    before = "".join(text.splitlines()[mark.line : mark.line + 1])[: mark.column + 1]
    problem = "there is a tab where YAML wants spaces" if before.endswith("\t") else error.problem
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})."


class _Builder:
    """Puts YAML's events together."""

    def __init__(self) -> None:
        self.content: Any = None
        self.odd: list[Odd] = []
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []
        """For each open object the key whose value comes next; None where a key comes next."""
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event of the file."""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            # A few references to references make a gigabyte; a destination needs none.
            raise UnreadableError(
                f"uses a YAML anchor or alias (& or *) {_line(event)}; write the value out."
            )
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise UnreadableError(f"holds a second document after --- {_line(event)}; keep one.")
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)

    def _begin(self, event: Any) -> None:
        if self._wants_key():
            raise UnreadableError(f"has a list or an object as a key {_line(event)}; a key is a text.")
        if event.tag not in (None, "!", f"{_CORE}map", f"{_CORE}seq"):
            raise UnreadableError(f"is neither YAML nor JSON: it has a tag, ! {_line(event)}.")
        if len(self._open) >= MAX_DEPTH:
            raise UnreadableError(f"is nested too deeply {_line(event)}.")
        made: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(made)
        self._open.append(made)
        self._keys.append(None)

    def _take_scalar(self, event: Any) -> None:
        if self._wants_key():
            if event.value in self._open[-1]:
                self.odd.append((self._open[-1], event.value, TWICE))
            self._keys[-1] = event.value
            return
        value, problem = _scalar(event)
        if problem and self._open:
            key = self._keys[-1] if self._keys[-1] is not None else len(self._open[-1])
            self.odd.append((self._open[-1], key, problem))
        self._put(value)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], dict) and self._keys[-1] is None

    def _put(self, value: Any) -> None:
        holder = self._open[-1] if self._open else None
        if holder is None:
            self.content = value
        elif isinstance(holder, list):
            holder.append(value)
        else:
            holder[str(self._keys[-1])] = value
            self._keys[-1] = None


def _line(event: yaml.Event) -> str:
    return f"(line {event.start_mark.line + 1})" if event.start_mark else ""


def _scalar(event: Any) -> tuple[Any, str]:
    """Return the value that stands there, as YAML 1.1 reads it, and what is wrong with it, if anything."""
    tag = event.tag
    if tag in (None, "!"):
        is_plain = tag is None and event.implicit[0]
        tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, (is_plain, not is_plain))
    kind = tag.removeprefix(_CORE)
    if kind == "timestamp":
        return event.value, "is a date to YAML; put it in quotes"
    if kind in _NOT_A_VALUE:
        return event.value, ""
    if kind == "str":
        return event.value, ""
    if kind not in _CONSTRUCT:
        raise UnreadableError(f"is neither YAML nor JSON: it has a tag, ! {_line(event)}.")
    try:
        value = _CONSTRUCT[kind](yaml.ScalarNode(tag, event.value))
    except (KeyError, ValueError, yaml.YAMLError):
        return None, "cannot be read as what it says it is"
    if isinstance(value, float) and not math.isfinite(value):
        return None, "is not a number that JSON has"
    return value, ""
