"""Filters for lists, and those that choose among values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from toolkit.segment.mapping.javascript import text_of, unit_at, unit_count, units
from toolkit.segment.mapping.values import MISSING

from .signature import Filter, on_values
from .state import State
from .values import are_equal, is_js_true, is_nil, is_true, plain, property_of, to_number, whole_number

_KEY = re.compile(r"""\.?([-\w?]+)|\[\s*(?:(["'])(.*?)\2|([-+]?[0-9]+))\s*\]""")


def _items(state: State, value: Any) -> list[Any]:
    """Return a value as a list: null as none, anything else as the only item."""
    if is_nil(value):
        return []
    items = value if isinstance(value, list) else [value]
    state.spend_items(len(items))
    return items


def _join(state: State, value: Any, separator: Any) -> str:
    separator = " " if is_nil(separator) else state.text(separator)
    return state.join(separator, [text_of(item) for item in _items(state, value)])


def _first(_: State, value: Any) -> Any:
    return property_of(value, 0) if isinstance(value, list | str) and value else _nothing(value)


def _last(_: State, value: Any) -> Any:
    if isinstance(value, str) and value:
        return unit_at(value, unit_count(value) - 1)
    return value[-1] if isinstance(value, list) and value else _nothing(value)


def _nothing(value: Any) -> Any:
    return MISSING if isinstance(value, list) else ""


def _size(_: State, value: Any) -> int:
    if isinstance(value, str):
        return unit_count(value)
    return len(value) if isinstance(value, list) else 0


def _sum(state: State, value: Any, key: Any) -> float:
    keys = state.text(key).split(".") if is_js_true(key) else []
    total = 0.0
    for item in _items(state, value):
        part = item
        for name in keys:
            part = property_of(part, name)
        number = to_number(part)
        total += 0 if number != number else number  # noqa: PLR0124 - NaN
    return total


def _compact(state: State, value: Any) -> list[Any]:
    return [item for item in _items(state, value) if not is_nil(item)]


def _push(value: Any, arguments: Sequence[Any], state: State) -> list[Any]:
    return [*_items(state, plain(value)), *(arguments[:1] or [MISSING])]


def _unshift(value: Any, arguments: Sequence[Any], state: State) -> list[Any]:
    return [*(arguments[:1] or [MISSING]), *_items(state, plain(value))]


def _slice(state: State, value: Any, start: Any, length: Any) -> Any:
    if is_nil(value):
        return []
    value = value if isinstance(value, list) else state.text(value)
    start = to_number(start)
    length = 1.0 if length is MISSING else to_number(length)
    start = start + len(value) if start < 0 else start
    if start < 0 or length < 0:
        return value[:0]
    if isinstance(value, str):
        first = whole_number(start, len(value))
        return value[first : first + whole_number(length, len(value))]
    first, stop = _index(start, len(value)), _index(start + length, len(value))
    state.spend_items(max(stop - first, 0))
    return value[first:stop]


def _index(number: float, largest: int) -> int:
    return int(min(number, largest)) if number > 0 else 0


def _where(value: Any, arguments: Sequence[Any], state: State) -> list[Any]:
    key, expected = [*arguments, MISSING, MISSING][:2]
    keys = _keys(state.text(key))
    found = []
    for item in _items(state, plain(value)):
        part = _part(item, keys)
        if is_true(part) if expected is MISSING else are_equal(part, expected):
            found.append(item)
    return found


def _keys(path: str) -> list[Any]:
    """Return the keys in the path of a property, such as ``a.b[0]``."""
    keys: list[Any] = []
    found = _KEY.match(path.strip())
    while found:
        name, _, quoted, index = found.groups()
        keys.append(int(index) if index else name or quoted)
        found = _KEY.match(path.strip(), found.end())
    return keys


def _part(item: Any, keys: Sequence[Any]) -> Any:
    if not keys:
        return MISSING
    for key in keys:
        item = property_of(item, key)
    return item


def _sample(state: State, value: Any, count: Any) -> Any:
    """Return the first items: the same event shall always give the same."""
    if is_nil(value):
        return []
    items = value if isinstance(value, list) else list(units(state.text(value)))
    if count is MISSING or to_number(count) == 1:
        return items[0] if items else MISSING
    return items[: _index(to_number(count), len(items))]


def _default(value: Any, arguments: Sequence[Any], _: State) -> Any:
    value = plain(value)
    otherwise = arguments[0] if arguments else MISSING
    if isinstance(value, list | str):
        return value if value else otherwise
    if value is False and any(part[0] == "allow_false" and is_js_true(part[1]) for part in arguments[1:]):
        return False
    return value if is_true(value) else otherwise


LIST_FILTERS: Final[dict[str, Filter]] = {
    "compact": on_values(_compact),
    "default": _default,
    "first": on_values(_first),
    "join": on_values(_join, 1),
    "last": on_values(_last),
    "pop": on_values(lambda state, value: _items(state, value)[:-1]),
    "push": _push,
    "raw": lambda value, _arguments, _state: value,
    "sample": on_values(_sample, 1),
    "shift": on_values(lambda state, value: _items(state, value)[1:]),
    "size": on_values(_size),
    "slice": on_values(_slice, 2),
    "sum": on_values(_sum, 1),
    "unshift": _unshift,
    "where": _where,
}
