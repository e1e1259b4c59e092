"""Read a settings file, YAML or JSON, into plain JSON values, suspicious of what is in it.

YAML is read as if it were JSON: no references, no dates, no tags, and no key given twice unnoticed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from toolkit.errors import FileFormatError, InputPathError

MAX_BYTES: Final = 256 << 10
"""Fifty mappings, each with all of its fields, take less than half of it."""
MAX_DEPTH: Final = 120
"""How deep values may be nested: a little more than a mapping may."""
NO_SECRETS: Final = (
    "a secret does not belong in the file. Delete it here, and put Postscript's private key into the "
    "environment variable POSTSCRIPT_SECRET_KEY"
)

_FIELDS: Final = frozenset({"fields", "mapping", "inputs", "settings"})
"""Keys below which a place is written as a JSON pointer."""
_SECRET_NAME: Final = re.compile(
    r"secret|passw(or)?d|(api|private|shop)_?key|(access|shop|bearer)_?token|^(token|authorization)$"
)
_SECRET: Final = re.compile(
    r"Bearer\s+sk_|(?<![A-Za-z0-9])sk_(?:\w{1,40}_)?(?=[A-Za-z0-9]{12})"
    r"[A-Za-z0-9]{0,40}?(?:[0-9]{1,9}[A-Za-z]{1,9}){2}[0-9]"
)
"""How Postscript's private keys look: the key of an audience may begin like one, but has no such mix."""
_PERHAPS_SECRET: Final = re.compile(r"(?<![A-Za-z0-9])sk_\w+")
_NEITHER: Final = "is neither YAML nor JSON:"
_NO_NUMBER: Final = f"{_NEITHER} it has a number that JSON has not."


class UnreadableError(ValueError):
    """The text is not in its language; the message never quotes it."""


class _Pairs(list[tuple[str, Any]]):
    """An object in which keys may be given twice."""


class _Text(str):
    """What stands for a value that cannot be used."""

    __slots__ = ("problem",)
    problem: str


def read_document(path: Path) -> tuple[Any, list[str]]:
    """Return what the file holds, and what is wrong with it beyond its form, each with its place.

    Raises InputPathError when there is no such file, FileFormatError when it is neither YAML nor JSON, too
    large, or nested too deeply.
    """
    if not path.is_file():
        raise InputPathError(f"There is no destination file {path}; leave the path empty for the default.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileFormatError(f"{path.name} is larger than 256 KB; a destination file is not.")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return parse_json(text)
        if text.lstrip().startswith(("{", "[")):
            with suppress(UnreadableError):
                return parse_json(text)  # JSON by another name: its tabs and escapes are not YAML's
        return _parse_yaml(text)
    except OSError as error:
        raise InputPathError(f"{path.name} cannot be read: {error.strerror}.") from None
    except UnreadableError as error:
        raise FileFormatError(without_secrets(f"{path.name} {error}")) from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path.name} {_NEITHER} it is not UTF-8 text.") from None


# --- JSON


def parse_json(text: str, place: str = "") -> tuple[Any, list[str]]:
    """Return the same of a JSON text that stands at *place*; UnreadableError when it is none."""
    try:
        content = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UnreadableError(f"{_NEITHER} {error.msg} ({where}).") from None
    except RecursionError:
        raise UnreadableError("is nested too deeply.") from None
    except ValueError:  # a whole number of thousands of digits, too
        raise UnreadableError(_NO_NUMBER) from None
    return _checked(content, place)


# --- YAML

_CORE: Final = "tag:yaml.org,2002:"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader, but keys are texts, and what JSON has not is a text with a problem."""

    def object_of(self, node: yaml.MappingNode) -> _Pairs:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                line = f"(line {key.start_mark.line + 1})"
                raise UnreadableError(f"has a list or an object as a key {line}; a key is a text.")
        return _Pairs((key.value, self.construct_object(value, deep=True)) for key, value in node.value)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_CORE)
        try:
            value = getattr(self, f"construct_yaml_{kind}")(node)
        except (KeyError, ValueError):
            return self.odd(node, "cannot be read as what it should be")
        if isinstance(value, float) and not math.isfinite(value):
            return self.odd(node, "is not a number that JSON has")
        return value

    def odd(self, node: yaml.ScalarNode, problem: str = "is a date to YAML; put it in quotes") -> _Text:
        text = _Text(node.value)
        text.problem = problem
        return text

    def refuse(self, node: yaml.Node) -> NoReturn:
        raise UnreadableError(f"{_NEITHER} it has a tag, ! (line {node.start_mark.line + 1}).")


_Loader.yaml_constructors = {
    f"{_CORE}map": _Loader.object_of,
    f"{_CORE}seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    **{f"{_CORE}{kind}": _Loader.scalar for kind in ("str", "int", "float", "bool", "null")},
    **{f"{_CORE}{kind}": yaml.SafeLoader.construct_yaml_str for kind in ("merge", "value")},  # << and =
    f"{_CORE}timestamp": _Loader.odd,
    None: _Loader.refuse,
}


def _parse_yaml(text: str) -> tuple[Any, list[str]]:
    depth = 0
    try:
        events: Iterable[Any] = yaml.parse(text, Loader=_Loader)
        for event in events:
            line = f"(line {event.start_mark.line + 1})"
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                # A few references to references make a gigabyte; a destination needs none.
                raise UnreadableError(f"uses a YAML anchor or alias (& or *) {line}; write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:  # the loader would follow
                raise UnreadableError(f"is nested too deeply {line}.")
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(f"{_NEITHER} {_sentence(error, text)}") from None
    except yaml.YAMLError:
        raise UnreadableError(f"{_NEITHER} it holds characters that no text has.") from None
    return _checked(content, "")


def _sentence(error: yaml.MarkedYAMLError, text: str) -> str:
    """Say what is wrong and where, without the snippet that YAML's own message has."""
    mark = error.problem_mark
    if mark is None:
        return f"{error.problem}."
    before = "".join(text.splitlines()[mark.line : mark.line + 1])[: mark.column + 1]
    problem = f"{error.context}, {error.problem}" if error.context else error.problem
    if before.endswith("\t"):
        problem = "there is a tab where YAML wants spaces"
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})."


# --- what may be in it, and where


def _checked(content: Any, root: str) -> tuple[Any, list[str]]:
    """Return the content with its objects, what is odd in the values, and where there are secrets."""
    problems: list[str] = []

    def visit(value: Any, place: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise UnreadableError("is nested too deeply.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UnreadableError(_NO_NUMBER)  # in JSON: in YAML it is a _Text
        if isinstance(value, _Pairs):
            made = dict(value)
            times = Counter(key for key, _ in value)
            problems.extend(f"{at(place, key)}: is given twice" for key in made if times[key] > 1)
            problems.extend(f"{at(place, key)}: {NO_SECRETS}" for key in made if _is_secret(key, made[key]))
            return {key: visit(inner, at(place, key), depth + 1) for key, inner in made.items()}
        if isinstance(value, list):
            return [visit(inner, at(place, i), depth + 1) for i, inner in enumerate(value)]
        if isinstance(value, _Text) or (isinstance(value, str) and _SECRET.search(value)):
            problems.append(f"{place or 'the file'}: {getattr(value, 'problem', NO_SECRETS)}")
        return value

    return visit(content, root, 0), [*dict.fromkeys(problems)]


def _is_secret(key: str, value: Any) -> bool:
    is_named = _SECRET_NAME.search(key.lower().replace("-", "_")) and not isinstance(value, list)
    return bool(is_named or _SECRET.search(key))


def without_secrets(message: str) -> str:
    """Return the message with all that may be a private key made unreadable."""
    return _PERHAPS_SECRET.sub("•••", message)


def at(place: str, key: str | int) -> str:
    """Return the place of *key* within *place*: dots for settings, a JSON pointer below a mapping's fields.

    >>> at(at(at("mappings", 3), "fields"), "email")
    'mappings[3].fields/email'
    """
    if "/" in place or place.replace("]", ".").rpartition(".")[2] in _FIELDS:
        return f"{place}/{shortened(str(key))}"
    if isinstance(key, int):
        return f"{place}[{key}]"
    return f"{place}.{shortened(key)}" if place else shortened(key)


def shortened(text: str) -> str:
    """Return a text that fits into a sentence."""
    return text if len(text) <= 60 else f"{text[:59]}…"
