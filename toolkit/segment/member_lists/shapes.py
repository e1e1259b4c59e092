"""What a table is, told by the names of its columns, and which column plays which part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

from toolkit.errors import FileFormatError, ParameterError

from .cells import is_true_or_false
from .people import ANONYMOUS, EMAIL, KIND_OF_NAME, PERSON, PHONE, PROFILE, USER
from .tables import Table, plain_name, shown_names

Parts: TypeAlias = dict[str, list[int]]
"""Part → places of its columns, in their order."""

AUDIENCE, MEMBERSHIP, EXTERNAL_IDS, TRAITS = "audience_key", "membership", "external_ids", "traits"
PARTS: Final = {
    "person": PERSON,
    "user_id": USER,
    "anonymous_id": ANONYMOUS,
    "email": EMAIL,
    "phone": PHONE,
    "profile": PROFILE,
    "audience_key": AUDIENCE,
    "membership": MEMBERSHIP,
    "external_ids": EXTERNAL_IDS,
    "traits": TRAITS,
}
"""What `columns` may name → the part."""

_PART_OF_NAME: Final = {
    **KIND_OF_NAME,
    "key": PROFILE,
    "canonicalsegmentid": PROFILE,
    "audiencekey": AUDIENCE,
    "computationkey": AUDIENCE,
    "membership": MEMBERSHIP,
    "member": MEMBERSHIP,
    "ismember": MEMBERSHIP,
    "externalids": EXTERNAL_IDS,
    "traits": TRAITS,
}
_INDEXED = {USER, ANONYMOUS, EMAIL, PHONE}
_NOT_AUDIENCES = {*_PART_OF_NAME, "mergedto", "segmentid", "uuidts", "loadedat"}


class Shape(StrEnum):
    """The tables a snapshot may come as; the value is how notes call it."""

    LIST = "a plain member list"
    EXPORT = "an Engage audience export"
    WIDE = "one row a profile with a column an audience"
    USER_TRAITS = "user_traits of Profiles Sync"
    USER_IDENTIFIERS = "user_identifiers of Profiles Sync"
    PROFILE_MERGES = "profile_merges of Profiles Sync"


_BY_COLUMNS: Final = {
    Shape.USER_TRAITS: {"canonicalsegmentid", "name", "value"},
    Shape.USER_IDENTIFIERS: {"canonicalsegmentid", "type", "value"},
    Shape.PROFILE_MERGES: {"canonicalsegmentid", "segmentid"},
}


def find_parts(table: Table, columns: Mapping[str, str | Sequence[str]]) -> Parts:
    """Return which columns play which part: those given in *columns*, the others by their names.

    Raises
    ------
    ParameterError
        *columns* names a part or a column that there is not.
    """
    numbered: dict[str, list[tuple[int, int]]] = {}
    has_user_id = "userid" in map(plain_name, table.header)
    for place, name in enumerate(table.header):
        indexed = re.fullmatch(r"(.*[^\W\d_])[ _-]?([0-9]{1,4})", name)
        part = _PART_OF_NAME.get(plain_name(name))
        if part is None and indexed:
            part = _PART_OF_NAME.get(plain_name(indexed[1]))
            part = part if part in _INDEXED else None
        if part and not (has_user_id and plain_name(name) == "id"):
            number = int(indexed[2]) if indexed else 0
            numbered.setdefault(part, []).append((number, place))
    found = {part: [place for _number, place in sorted(places)] for part, places in numbered.items()}
    return {**found, **_given_parts(table, columns)}


def _given_parts(table: Table, columns: Mapping[str, str | Sequence[str]]) -> Parts:
    found: Parts = {}
    for part, names in columns.items():
        if part not in PARTS:
            raise ParameterError(f'columns has "{part}"; it can name {", ".join(PARTS)}.')
        for name in [names] if isinstance(names, str) else names:
            places = [p for p, n in enumerate(table.header) if n == name] or table.find(plain_name(name))
            if not places:
                raise ParameterError(
                    f'columns says that {part} is "{name}", and {table.name} has no such column. '
                    f"It has {shown_names(table.header)}."
                )
            found.setdefault(PARTS[part], []).extend(places)
    return found


def find_shape(table: Table, parts: Parts, audience_key: str) -> Shape:
    """Return what the table is.

    Raises
    ------
    FileFormatError
        It is something that lists no members.
    ParameterError
        It lists members, and nothing says of which audience.
    """
    names = [plain_name(name) for name in table.header]
    for shape, needed in _BY_COLUMNS.items():
        if needed <= {*names} and "mergedto" not in names:
            return shape
    if names.count("key") > 1 or {"key", "value"} <= {*names}:
        raise FileFormatError(
            f"{table.name} is the export of a computed trait: it has values, and no list of members. "
            "Export an audience."
        )
    if "mergedto" in names or "canonicalsegmentid" in names:
        return Shape.WIDE
    if "key" in names:
        return Shape.EXPORT
    if not {PERSON, USER, ANONYMOUS, EMAIL, PHONE} & {*parts}:
        raise FileFormatError(
            f"{table.name} has no column of ids, emails or phones that is known: it has "
            f"{shown_names(table.header)}. Name them in columns, such as "
            '{"user_id": "Customer", "phone": "Mobile"}.'
        )
    return Shape.WIDE if _is_wide(table, parts, audience_key) else Shape.LIST


def _is_wide(table: Table, parts: Parts, audience_key: str) -> bool:
    if AUDIENCE in parts or MEMBERSHIP in parts:
        return False
    if not audience_key:
        if boolean_columns(table, parts):
            return True
        raise ParameterError(
            f"{table.name} does not say which audience it lists. Give audience_key, as it is in Segment."
        )
    if _column_of(table, audience_key) is not None:
        return True
    names = {plain_name(name) for name in table.header}
    # A users table of a warehouse: all its rows are profiles, not members, if the key is misspelt.
    return bool({"uuidts", "receivedat"} & names) and bool(boolean_columns(table, parts))


def boolean_columns(table: Table, parts: Parts) -> list[int]:
    """Return the places of the columns that say true or false and play no other part."""
    taken = {place for places in parts.values() for place in places}
    return [
        place
        for place, name in enumerate(table.header)
        if place not in taken
        and plain_name(name) not in _NOT_AUDIENCES
        and not name.casefold().startswith("context_")
        and is_true_or_false(table.text(place))
    ]


def audience_columns(table: Table, parts: Parts, audience_key: str) -> dict[str, int]:
    """Return audience key → place of its column, in a table with a column an audience.

    Raises
    ------
    ParameterError
        The audience has no column, or none has true and false in it.
    """
    if audience_key and (place := _column_of(table, audience_key)) is not None:
        return {audience_key: place}
    found = {table.header[place]: place for place in boolean_columns(table, parts)}
    if audience_key or not found:
        lacking = f"no column of the audience {audience_key}" if audience_key else "no column of an audience"
        raise ParameterError(
            f"{table.name} has {lacking}. Columns of true and false are: {shown_names(found)}."
        )
    return found


def _column_of(table: Table, audience_key: str) -> int | None:
    """Return the place of an audience's column; warehouses may write its name in capitals."""
    for spelt in (str, str.casefold):
        places = [place for place, name in enumerate(table.header) if spelt(name) == spelt(audience_key)]
        if places:
            return places[0]
    return None
