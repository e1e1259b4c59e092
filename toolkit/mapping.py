"""Mappings: how Segment fills a payload's fields from an event, by directives such as ``@path``.

*Missing* (no such key) and None (JSON null) are two things all the way through: the first is `MISSING`.
The rules, and the results in every odd case, are Segment's; two liberties are taken. A mapping is checked
to its last corner when it is made, also inside lists, where Segment finds a mistake only once an event
runs into it. And what JavaScript lets paths reach by accident (``length``, ``constructor``) is missing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias

from .errors import MappingError

Resolver: TypeAlias = Callable[[Any], Any]

MAX_DEPTH: Final = 100
"""How deep a mapping may be nested."""


class Missing:
    """The type of `MISSING`; has no truth value, so that it is not taken for null or false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError("MISSING is neither true nor false; ask 'is MISSING'")

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # copies and pickles are the one object again


MISSING: Final = Missing()
"""What a directive gives for a key that is not there."""


class Mapping:
    """A mapping, checked once and applied to many events.

    Parameters
    ----------
    value
        The mapping as Segment keeps it: raw JSON values, lists and objects, with directives anywhere in it.

    Raises
    ------
    MappingError
        The mapping has a mistake; ``pointer`` says where. Further ones are attached as notes.

    Examples
    --------
    >>> mapping = Mapping({"email": {"@path": "$.traits.email"}, "id": {"@path": "$.nope"}})
    >>> mapping.resolve({"traits": {"email": "dana@example.test"}})
    {'email': 'dana@example.test'}
    """

    __slots__ = ("_resolve", "value")

    def __init__(self, value: Any) -> None:
        self.value: Final = value
        """The mapping as given."""
        compiler = _Compiler()
        self._resolve: Final = compiler.compile(value, "", 0)
        if compiler.problems:
            first, *others = compiler.problems
            for other in others:
                first.add_note(str(other))
            raise first

    def resolve(self, event: Any) -> Any:
        """Return what the mapping makes of *event*: a value, None or `MISSING`.

        Objects lack the keys that are missing; missing list items are None. Parts of the event are
        returned as they are, not copied.

        Raises
        ------
        MappingError
            The event is not an object, or gives a directive something it cannot work with.
        """
        if not isinstance(event, dict):
            raise MappingError(f"an event is an object, not {kind_of(event)}")
        return self._resolve(event)

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
    compiler = _Compiler()
    compiler.compile(value, "", 0)
    return compiler.problems


def kind_of(value: Any) -> str:
    """Return what JSON calls a value of this kind, with its article, for a sentence."""
    kinds: tuple[tuple[Any, str], ...] = (
        (Missing, "missing"),
        (type(None), "null"),
        (bool, "a boolean"),
        (str, "a text"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "not a JSON value")


def number_text(number: float) -> str:
    """Return the text JavaScript makes of *number*; whole ones beyond 2**53 keep all their digits.

    >>> [number_text(n) for n in (5.0, 1415.5, 1e21, 1e-7, 0.00001)]
    ['5', '1415.5', '1e+21', '1e-7', '0.00001']
    """
    if isinstance(number, int) and abs(number) < 10**21:
        return str(number)
    try:
        number = float(number)
    except OverflowError:
        number = float("inf") if number > 0 else float("-inf")
    shortest = repr(number)
    if shortest in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[shortest]
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        plain = format(Decimal(shortest), "f")
        return plain.removesuffix(".0").removeprefix("-" if number == 0 else "")
    return re.sub(r"e([+-])0", r"e\1", shortest)


# --- paths


_SEPARATOR = re.compile(r"\.|\[(?=['\"0-9])|(?<=['\"0-9])\]")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_PLACEHOLDERS = (re.compile(r"\{\{\{([^}]+)\}\}\}"), re.compile(r"\{\{([^}]+)\}\}"))


@lru_cache(maxsize=4096)
def _steps(path: str) -> tuple[str, ...]:
    """Cut a path up the way Segment does: quotes and empty steps do not count."""
    return tuple(re.sub("['\"]", "", step) for step in _SEPARATOR.split(path) if step)


def _walk(scope: Any, steps: tuple[str, ...]) -> Any:
    """Return the value at the end of *steps*; a falsy value on the way ends it, and is the answer."""
    value = scope
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list | str) and value != "":
            value = _item(value, step)
        else:
            return value if value is MISSING or not value else MISSING
    return value


def _item(value: list[Any] | str, step: str) -> Any:
    """Return a list item or a character (a whole one, where JavaScript would cut an emoji in two)."""
    if not _INDEX.fullmatch(step) or int(step) >= len(value):
        return MISSING
    return value[int(step)]


def _render(template: str, scope: Any) -> str:
    """Fill in the placeholders: the triple ones first, whose result is then read again."""
    for placeholder in _PLACEHOLDERS:
        template = placeholder.sub(lambda found: _text(_walk(scope, _steps(found[1].strip()))), template)
    return template


def _text(value: Any) -> str:
    """Return the text form of a value: lists are joined by commas, objects do not show."""
    if not isinstance(value, list):
        return _scalar_text(value)
    # Not recursive: an event may be nested deeper than Python calls.
    found: list[str] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list) and part:
            waiting.extend(reversed(part))
        else:
            found.append("" if isinstance(part, list) else _scalar_text(part))
    return ",".join(found)


def _scalar_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, int | float) else "[object Object]"


# --- compiling: each part of a mapping becomes a function from the event to the part's value


class _Compiler:
    """Turns a mapping into one function, and collects its mistakes on the way."""

    def __init__(self) -> None:
        self.problems: list[MappingError] = []

    def compile(self, value: Any, pointer: str, depth: int) -> Resolver:
        if depth > MAX_DEPTH:
            return self.refuse(f"nested deeper than {MAX_DEPTH} levels", pointer)
        if isinstance(value, dict):
            return self.object(value, pointer, depth)
        if isinstance(value, list):
            items = [self.compile(item, f"{pointer}/{i}", depth + 1) for i, item in enumerate(value)]
            return _list(tuple(items))
        if value is None or isinstance(value, bool | int | float | str):
            return _constant(value)
        return self.refuse(f"{type(value).__name__} is not a JSON value", pointer)

    def object(self, value: dict[Any, Any], pointer: str, depth: int) -> Resolver:
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            return self.refuse(f"the key {odd[0]!r} is not a text; put it in quotes", pointer)
        if "__segment_internal_directive" in value:
            return self.refuse("__segment_internal_directive is not a directive this version reads", pointer)
        named = [key for key in value if key != "_metadata"]
        directives = [key for key in named if key.startswith("@")]
        if not directives:
            # Keys with _metadata too: it is ignored only beside a directive.
            members = [
                (key, self.compile(part, _join(pointer, key), depth + 1)) for key, part in value.items()
            ]
            return _object(tuple(members))
        if len(named) > 1:
            return self.refuse(f"a directive stands alone, this object has {len(named)} keys", pointer)
        (name,) = named
        here = _join(pointer, name)
        if name not in _DIRECTIVES:
            return self.refuse(f"{name} is not a directive this version reads", here)
        return _DIRECTIVES[name](self, value[name], here, depth + 1)

    def text(self, value: Any, pointer: str, depth: int) -> Resolver:
        """Compile a part that has to be a text, or a directive that gives one."""
        if isinstance(value, str) or _is_directive(value):
            return self.compile(value, pointer, depth)
        return self.refuse(f"should be a text or a directive, not {kind_of(value)}", pointer)

    def refuse(self, message: str, pointer: str) -> Resolver:
        self.problems.append(MappingError(message, pointer))
        return _constant(MISSING)


def _join(pointer: str, key: str) -> str:
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def _is_directive(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(key, str) and key.startswith("@") for key in value)


def _constant(value: Any) -> Resolver:
    return lambda scope: value  # noqa: ARG005 - the same whatever the event


def _list(items: tuple[Resolver, ...]) -> Resolver:
    def resolve(scope: Any) -> Any:
        values = [item(scope) for item in items]
        return [None if value is MISSING else value for value in values]

    return resolve


def _object(members: tuple[tuple[str, Resolver], ...]) -> Resolver:
    def resolve(scope: Any) -> Any:
        result = {}
        for key, member in members:
            value = member(scope)
            if value is not MISSING:
                result[key] = value
        return result

    return resolve


def _path(compiler: _Compiler, argument: Any, pointer: str, depth: int) -> Resolver:
    """``@path``: the value at a path; the first ``$.`` in it does not count."""
    if isinstance(argument, str):
        steps = _steps(argument.replace("$.", "", 1))
        return lambda scope: _walk(scope, steps)
    path = compiler.text(argument, pointer, depth)
    return lambda scope: _walk(scope, _steps(_needed(path(scope), pointer).replace("$.", "", 1)))


def _template(compiler: _Compiler, argument: Any, pointer: str, depth: int) -> Resolver:
    """``@template``: a text with ``{{path}}`` placeholders."""
    template = compiler.text(argument, pointer, depth)
    return lambda scope: _render(_needed(template(scope), pointer), scope)


def _needed(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise MappingError(f"should come to a text here, not {kind_of(value)}", pointer)
    return value


def _literal(compiler: _Compiler, argument: Any, pointer: str, depth: int) -> Resolver:
    """``@literal``: its argument, in which directives still count."""
    return compiler.compile(argument, pointer, depth)


def _if(compiler: _Compiler, argument: Any, pointer: str, depth: int) -> Resolver:
    """``@if``: one of two branches, by whether a value exists, or is not blank."""
    if not isinstance(argument, dict):
        return compiler.refuse(f"should be an object, not {kind_of(argument)}", pointer)
    parts = {
        key: compiler.compile(argument[key], _join(pointer, key), depth)
        for key in ("exists", "blank", "then", "else")
        if key in argument
    }
    # A falsy condition or else, as written, is none at all in JavaScript; [] and {} are not falsy there.
    given = {key for key in parts if argument[key] or isinstance(argument[key], list | dict)}
    then = parts.get("then", _constant(MISSING))
    otherwise = parts["else"] if "else" in given else _constant(MISSING)
    if "exists" in given:
        return _branch(parts["exists"], _exists, then, otherwise)
    if "blank" in given:
        return _branch(parts["blank"], _is_filled, then, otherwise)
    return compiler.refuse("needs exists or blank", pointer)


def _branch(subject: Resolver, test: Callable[[Any], bool], then: Resolver, otherwise: Resolver) -> Resolver:
    return lambda scope: then(scope) if test(subject(scope)) else otherwise(scope)


def _exists(value: Any) -> bool:
    return value is not MISSING and value is not None


def _is_filled(value: Any) -> bool:
    """Tell whether ``blank`` takes its ``then``: 0, false and lists of nothing are loosely equal to ""."""
    if value is MISSING or value is None:
        return False
    if isinstance(value, list):
        return _text(value) != ""
    return bool(value) or isinstance(value, dict)


def _case(compiler: _Compiler, argument: Any, pointer: str, depth: int) -> Resolver:
    """``@case``: a text in lower or upper case; other values as they are."""
    if not isinstance(argument, dict):
        return compiler.refuse(f"should be an object, not {kind_of(argument)}", pointer)
    if argument.get("operator") not in ("lower", "upper"):
        compiler.refuse('should be "lower" or "upper"', _join(pointer, "operator"))
    if "value" not in argument:
        return compiler.refuse("needs a value", pointer)
    if argument["value"] == "":
        return _constant(MISSING)  # to Segment a blank text, as written, is no value
    value = compiler.text(argument["value"], _join(pointer, "value"), depth)
    change = str.lower if argument.get("operator") == "lower" else str.upper

    def resolve(scope: Any) -> Any:
        found = value(scope)
        return change(found) if isinstance(found, str) else found

    return resolve


_DIRECTIVES: Final[dict[str, Callable[[_Compiler, Any, str, int], Resolver]]] = {
    "@case": _case,
    "@if": _if,
    "@literal": _literal,
    "@path": _path,
    "@template": _template,
}
