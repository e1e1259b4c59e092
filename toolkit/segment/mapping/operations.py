"""What ``@replace``, ``@merge``, ``@flatten`` and ``@json`` do to a value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

from toolkit.errors import MappingError
from toolkit.frames import SURROGATE
from toolkit.segment.javascript import MISSING, number_text, ordered_items, units, whole

from .budget import ITEM_COST, OutputBudget
from .tree import Flatten, Merge, Replace

MAX_DECODED_DEPTH: Final = 500
"""How deep the lists and objects in a JSON text may be nested."""

_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_NOT_FINITE: Final = {"NaN", "Infinity", "-Infinity"}
_MAX_DIGITS: Final = 400  # a double has none so large
_SPECIAL = re.compile(r"\$[$&`']")


def replace_text(text: str, node: Replace, budget: OutputBudget) -> str:
    """Return *text* with the patterns of *node* replaced, one pair after the other."""
    text = units(text)
    for pattern, replacement in node.pairs:
        if node.ignorecase or "$" in replacement:
            text = _replaced(text, units(pattern), replacement, node, budget)
        else:
            text = text.replace(units(pattern), units(replacement), -1 if node.everywhere else 1)
            budget.spend(len(text), node.pointer)
    return whole(text)


def _replaced(text: str, pattern: str, replacement: str, node: Replace, budget: OutputBudget) -> str:
    budget.spend(len(text), node.pointer)
    searched = _folded(text) if node.ignorecase else text
    wanted = _folded(pattern) if node.ignorecase else pattern
    pieces: list[str] = []
    done = 0
    while (start := searched.find(wanted, done)) >= 0:
        stop = start + len(pattern)
        pieces += (text[done:start], _expanded(units(replacement), text, start, stop))
        # Spent piece by piece: each may hold the whole text several times.
        budget.spend(len(pieces[-1]) + len(pieces[-2]), node.pointer)
        done = stop
        if not node.everywhere:
            break
    return "".join([*pieces, text[done:]])


def _expanded(replacement: str, text: str, start: int, stop: int) -> str:
    """Return the replacement with ``$&`` and its like filled in."""
    if "$" not in replacement:
        return replacement
    parts = {"$$": "$", "$&": text[start:stop], "$`": text[:start], "$'": text[stop:]}
    return _SPECIAL.sub(lambda found: parts[found[0]], replacement)


def _folded(text: str) -> str:
    """Return the text as a regular expression without the ``u`` flag compares it when case is ignored."""
    return text.translate({ord(unit): _folded_unit(unit) for unit in set(text)})


def _folded_unit(unit: str) -> str:
    upper = unit.upper()
    # One unit for one, and none becomes ASCII that was not.
    return unit if len(upper) != 1 or (upper.isascii() and not unit.isascii()) else upper


def merge(objects: Iterable[Any], node: Merge, budget: OutputBudget) -> dict[str, Any]:
    """Return the members of all *objects*, later ones over earlier ones; some may be missing.

    Texts and lists have their parts by position, other values nothing.
    """
    merged: dict[str, Any] = {}
    for value in objects:
        parts = units(value) if isinstance(value, str) else value
        if isinstance(parts, dict | str | list):
            budget.spend_items(len(parts), node.pointer)
            merged.update(parts if isinstance(parts, dict) else {str(i): p for i, p in enumerate(parts)})
    return merged


def flatten(value: Any, node: Flatten, budget: OutputBudget) -> dict[str, Any]:
    """Return the innermost values of *value*, each under the keys that lead to it; some may be missing."""
    if not _is_nested(value, node):
        return {"": value}
    flat: dict[str, Any] = {}
    # Not recursive: an event may be nested deeper than Python calls.
    levels: list[tuple[str, Iterator[tuple[str, Any]]]] = [("", _items(value))]
    while levels:
        prefix, items = levels[-1]
        for key, part in items:
            path = f"{prefix}{node.separator}{key}" if prefix else key
            budget.spend(len(path) + ITEM_COST, node.pointer)
            if _is_nested(part, node):
                levels.append((path, _items(part)))
                break
            flat[path] = part
        else:
            levels.pop()
    return flat


def _is_nested(value: Any, node: Flatten) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and not node.omit_arrays)


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return iter(ordered_items(value))
    return ((str(i), part) for i, part in enumerate(value))


class _Token(str):
    """Text that is already JSON."""

    __slots__ = ()


def to_json(value: Any, spend: Callable[[int], None]) -> str:
    """Return the JSON text of a value: no spaces, keys that are array indexes first, null for NaN.

    >>> to_json({"b": 5.0, "1": ["x", None]}, spend=lambda characters: None)
    '{"1":["x",null],"b":5}'
    """
    # Not recursive: an event may be nested deeper than Python calls.
    chunks: list[str] = []
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | dict):
            spend(len(part) * ITEM_COST)
            waiting.extend(reversed(_pieces(part)))
        else:
            chunks.append(part if isinstance(part, _Token) else _scalar(part))
            spend(len(chunks[-1]))
    return "".join(chunks)


def _pieces(value: list[Any] | dict[str, Any]) -> list[Any]:
    """Return the parts of a list or object, and the text before, between and after them."""
    comma = _Token(",")
    pieces: list[Any] = []
    if isinstance(value, list):
        for part in value:
            pieces += (comma, part)
        return [_Token("["), *pieces[1:], _Token("]")]
    for key, part in ordered_items(value):
        if part is not MISSING:
            pieces += (comma, _Token(_quoted(key) + ":"), part)
    return [_Token("{"), *pieces[1:], _Token("}")]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float):
        return "null" if value is None or value is MISSING else "{}"
    text = number_text(value)
    return "null" if text in _NOT_FINITE else text


def _quoted(text: str) -> str:
    if text.isascii() or not SURROGATE.search(text):
        return encode_basestring(text)
    return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", encode_basestring(whole(text)))


def from_json(text: str, pointer: str) -> Any:
    """Return what a JSON text says; the text itself when it is none."""
    if _is_too_deep(text):
        raise MappingError(f"a JSON text nested deeper than {MAX_DECODED_DEPTH} levels", pointer)
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except ValueError:
        return text


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DECODED_DEPTH:
        return False
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MAX_DECODED_DEPTH:
            return True
    return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)
