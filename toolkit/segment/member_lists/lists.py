"""Tables of one row a member or a profile: plain lists, exports of Engage, and tables of a warehouse."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import ParameterError

from .cells import TEXT, texts_of, to_text
from .merges import follow_merges, positions
from .people import ANONYMOUS, EMAIL, KIND_OF_NAME, PERSON, PHONE, PROFILE, USER, Profiles, Values
from .shapes import AUDIENCE, EXTERNAL_IDS, MEMBERSHIP, TRAITS, Parts, Shape, audience_columns
from .tables import Table, plain_name
from .words import Marks, Said, Words, judge

# Numbers stay the digits they are: a phone must not become a float. json.loads() would make a decoder a call.
_DECODE = json.JSONDecoder(parse_int=str, parse_float=str).decode
_QUOTES = str.maketrans(dict.fromkeys("“”„‟″", '"'))
_ALL_QUOTES = str.maketrans(dict.fromkeys("“”„‟″‘’‚‛", '"'))


def read_list(table: Table, parts: Parts, shape: Shape, audience_key: str) -> Words:
    """Return the words of a plain member list or an export: who is listed is in, unless a column says no."""
    if AUDIENCE not in parts and not audience_key:
        raise ParameterError(
            f"{table.name} does not say which audience it lists. Give audience_key, as it is in Segment."
        )
    profiles = _profiles(table, parts)
    export = _read_export(table, parts, profiles) if shape is Shape.EXPORT else _Export()
    said = Said(
        profiles=np.arange(table.size),
        keys=_keys(table, parts, audience_key),
        memberships=table.text(parts[MEMBERSHIP][0]) if MEMBERSHIP in parts else _same("true", table.size),
        unreadable=export.unreadable,
    )
    words = judge(said, profiles, table)
    keys = words.audience_keys if AUDIENCE in parts else frozenset([audience_key])
    return replace(words, audience_keys=keys, notes=(*words.notes, *export.notes(table.name)))


def read_wide(table: Table, parts: Parts, audience_key: str) -> Words:
    """Return the words of a table of one row a profile and one column of true and false an audience."""
    found = audience_columns(table, parts, audience_key)
    place = next(iter(parts.get(PROFILE) or table.find("segmentid")), None)
    ids = _row_names(table.size) if place is None else table.text(place)
    into = table.first("mergedto")
    today = follow_merges(ids, ids.filter(pc.is_valid(into)), into.drop_null())
    at, names = positions(today)
    is_away = pc.fill_null(pc.not_equal(ids, today), fill_value=False).to_numpy(zero_copy_only=False)
    merged = is_away & np.isin(at, at[~is_away])
    profiles = Profiles(size=len(names))
    own_first = np.argsort(is_away, kind="stable")
    for kind in _KINDS:
        for column in parts.get(kind, ()) if kind != PROFILE else ():
            texts = table.text(column).take(pa.array(own_first))
            profiles.add(kind, Values.of_rows(at[own_first], texts))
    if place is not None:
        profiles.add(PROFILE, Values.of_column(names))
    said = Said(
        profiles=np.tile(at, len(found)),
        keys=pa.concat_arrays([_same(key, table.size) for key in found]),
        memberships=pa.concat_arrays([table.text(column) for column in found.values()]),
        in_any_case=True,
        blank_is_out=True,
        merged=np.tile(merged, len(found)),
    )
    words = judge(said, profiles, table)
    note = f"{table.name}: the audiences are its columns {', '.join(found)}."
    return replace(words, audience_keys=frozenset(found), notes=(*words.notes, note))


_KINDS = (PERSON, USER, ANONYMOUS, EMAIL, PHONE, PROFILE)


def _profiles(table: Table, parts: Parts) -> Profiles:
    """Return a profile a row, with the ids and contacts of its columns."""
    profiles = Profiles(size=table.size)
    for kind in _KINDS:
        for place in parts.get(kind, ()):
            profiles.add(kind, Values.of_column(table.text(place)))
    return profiles


def _keys(table: Table, parts: Parts, audience_key: str) -> pa.Array:
    return table.text(parts[AUDIENCE][0]) if AUDIENCE in parts else _same(audience_key, table.size)


def _same(text: str, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, TEXT), size)


def _row_names(size: int) -> pa.Array:
    return pa.array(np.arange(size)).cast(TEXT)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Export:
    """What became of the JSON of an export."""

    unreadable: Marks | None = None
    repaired: int = 0

    def notes(self, name: str) -> Iterator[str]:
        """Yield what is worth telling."""
        if self.repaired:
            yield f"{self.repaired} rows of {name} had typographic quotes in their JSON and were repaired."
        if self.unreadable is not None and self.unreadable.any():
            yield f"{int(self.unreadable.sum())} rows of {name} have JSON that cannot be read."


def _read_export(table: Table, parts: Parts, profiles: Profiles) -> _Export:
    """Add to the profiles what their JSON cells say."""
    unreadable, repaired = np.zeros(table.size, np.bool_), np.zeros(table.size, np.bool_)
    for place in _json_columns(table, parts):
        objects, mended, broken = read_objects(table.text(place).to_pylist())
        repaired[mended] = True
        unreadable[broken] = True
        _add_objects(profiles, objects)
    return _Export(unreadable=unreadable, repaired=int(repaired.sum()))


def _json_columns(table: Table, parts: Parts) -> list[int]:
    """Return the columns of JSON objects: identifiers, then traits, then any other that looks like it."""
    named = [*parts.get(EXTERNAL_IDS, ()), *parts.get(TRAITS, ())]
    taken = {place for places in parts.values() for place in places}
    others = [p for p in range(len(table.header)) if p not in taken and _begins_object(table.text(p))]
    return [*named, *others]


def _begins_object(texts: pa.Array) -> bool:
    said = texts.drop_null()
    return bool(len(said)) and said[0].as_py().startswith("{")


def read_objects(texts: Iterable[str | None]) -> tuple[dict[int, dict[str, Any]], list[int], list[int]]:
    """Return the objects by row, and the rows that had to be repaired, and those that are none.

    >>> read_objects(['{“email”: ["a@x.test"]}', None, "[]"])
    ({0: {'email': ['a@x.test']}}, [0], [2])
    """
    objects: dict[int, dict[str, Any]] = {}
    repaired: list[int] = []
    broken: list[int] = []
    for row, text in enumerate(texts):
        if text is None:
            continue
        found = _object(text)
        if found is None:
            found = _object(text.translate(_QUOTES)) or _object(text.translate(_ALL_QUOTES))
            (broken if found is None else repaired).append(row)
        if found is not None:
            objects[row] = found
    return objects, repaired, broken


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = _DECODE(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _add_objects(profiles: Profiles, objects: dict[int, dict[str, Any]]) -> None:
    found: dict[str, tuple[list[int], list[str]]] = {}
    kinds: dict[str, str | None] = {}
    for row, members in objects.items():
        for name, value in members.items():
            if name not in kinds:
                kinds[name] = KIND_OF_NAME.get(plain_name(name))
            kind = kinds[name]
            if kind is None:
                continue
            rows, texts = found.setdefault(kind, ([], []))
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str):
                    rows.append(row)
                    texts.append(text)
    for kind, (rows, texts) in found.items():
        given = to_text(texts_of(texts))
        profiles.add(kind, Values.of_rows(np.array(rows, np.int64), given))
