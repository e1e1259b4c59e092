"""Read a settings file, YAML or JSON, into plain JSON values, suspicious of what is in it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from toolkit.errors import FileFormatError, InputPathError

from .yaml_text import MAX_DEPTH, TWICE, Odd, UnreadableError, parse_yaml

MAX_BYTES: Final = 256 << 10
"""Fifty mappings, each with all of its fields, take less than half of it."""
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


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a file holds, and what is wrong with it beyond its form."""

    content: Any
    problems: tuple[str, ...]
    """Each with its place."""
    secrets: tuple[str, ...]
    """Texts that must not be repeated in a message."""


def read_document(path: Path) -> Document:
    """Return what the file holds.

    Raises
    ------
    InputPathError
        There is no such file.
    FileFormatError
        It is neither YAML nor JSON, too large, or nested too deeply.
    """
    if not path.is_file():
        raise InputPathError(f"There is no destination file {path}; leave the path empty for the default.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileFormatError(f"{path.name} is larger than 256 KB; a destination file is not.")
        text = path.read_text(encoding="utf-8-sig")
        return parse_json(text) if path.suffix.lower() == ".json" else _parse_either(text)
    except OSError as error:
        raise InputPathError(f"{path.name} cannot be read: {error.strerror}.") from None
    except UnreadableError as error:
        raise FileFormatError(without_secrets(f"{path.name} {error}")) from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path.name} is neither YAML nor JSON: it is not UTF-8 text.") from None


def without_secrets(message: str, secrets: Iterable[str] = ()) -> str:
    """Return the message with these texts, and all that may be a private key, made unreadable."""
    for secret in secrets:
        message = message.replace(secret, "•••")
    return _PERHAPS_SECRET.sub("•••", message)


def parse_json(text: str, place: str = "") -> Document:
    """Return what a JSON text holds that stands at *place*; UnreadableError when it is none."""
    odd: list[Odd] = []

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            counted = Counter(key for key, _ in pairs)
            odd.extend((made, key, TWICE) for key, times in counted.items() if times > 1)
        return made

    try:
        content = json.loads(
            text, object_pairs_hook=as_object, parse_constant=_refuse_number, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise UnreadableError(f"is neither YAML nor JSON: {error.msg} ({where}).") from None
    except RecursionError:
        raise UnreadableError("is nested too deeply.") from None
    except ValueError:  # a whole number of thousands of digits, too
        raise UnreadableError("is neither YAML nor JSON: it has a number that JSON has not.") from None
    return _checked(content, odd, place)


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse_number(digits)


def _refuse_number(_digits: str) -> NoReturn:
    raise ValueError


def _parse_either(text: str) -> Document:
    if text.lstrip().startswith(("{", "[")):
        try:
            return parse_json(text)  # JSON by another name: its tabs and escapes are not YAML's
        except UnreadableError:
            pass
    return _checked(*parse_yaml(text))


def _checked(content: Any, odd: list[Odd], root: str = "") -> Document:
    """Give what is odd its place, and look for secrets."""
    told: dict[int, list[tuple[str | int, str]]] = {}
    for holder, key, sentence in odd:
        told.setdefault(id(holder), []).append((key, sentence))
    problems, secrets = [], []
    for trail, value in _walk(content):
        inside = [*told.get(id(value), ())]
        if isinstance(value, dict):
            inside += [(key, NO_SECRETS) for key in value if isinstance(key, str) and _has_secret(key)]
        problems += [f"{at(_place(trail, root), key)}: {sentence}" for key, sentence in inside]
        if not isinstance(value, str):
            continue
        if _has_secret(value):
            problems.append(f"{_place(trail, root)}: {NO_SECRETS}")
        if trail and is_secret_name(str(trail[1])) and len(value.strip()) > 3:
            secrets.append(value.strip())
    return Document(content=content, problems=tuple(problems), secrets=tuple(secrets))


def _has_secret(text: str) -> bool:
    return bool(_SECRET.search(text))


def is_secret_name(name: str) -> bool:
    """Tell whether a setting of that name holds a secret.

    >>> is_secret_name("secretKey"), is_secret_name("segment_audience_key")
    (True, False)
    """
    return bool(_SECRET_NAME.search(name.lower().replace("-", "_")))


_Trail: TypeAlias = "tuple[_Trail | None, str | int]"
"""Where a value stands: its holder's trail, and its key there. Written out only when there is a problem."""


def _walk(content: Any) -> Iterator[tuple[_Trail | None, Any]]:
    """Yield everything in *content* with its trail, in its order."""
    rest: list[tuple[_Trail | None, Any, int]] = [(None, content, 0)]
    while rest:
        trail, value, depth = rest.pop()
        if depth > MAX_DEPTH:
            raise UnreadableError("is nested too deeply.")
        yield trail, value
        if isinstance(value, dict):
            rest += [((trail, key), value[key], depth + 1) for key in reversed(value)]
        elif isinstance(value, list):
            rest += [((trail, i), item, depth + 1) for i, item in reversed([*enumerate(value)])]


def _place(trail: _Trail | None, root: str) -> str:
    return at(_place(trail[0], root), trail[1]) if trail else root


def at(place: str, key: str | int) -> str:
    """Return the place of *key* within *place*: dots for settings, a JSON pointer below a mapping's fields.

    >>> at(at(at("mappings", 3), "fields"), "email")
    'mappings[3].fields/email'
    """
    if "/" in place or re.split(r"[.\]]", place)[-1] in _FIELDS:
        return f"{place}/{shortened(str(key))}"
    if isinstance(key, int):
        return f"{place}[{key}]"
    return f"{place}.{shortened(key)}" if place else shortened(key)


def shortened(text: str) -> str:
    """Return a text that fits into a sentence."""
    return text if len(text) <= 60 else f"{text[:59]}…"
