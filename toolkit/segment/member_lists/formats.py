"""Which format a table has, by the names of its columns, and which column plays which role."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import FileFormatError, ParameterError

from .profiles import ANONYMOUS, EMAIL, KIND_OF_NAME, PERSON, PHONE, PROFILE, USER
from .tables import Format, Roles, Table, plain_name, shown_names

AUDIENCE, MEMBERSHIP, EXTERNAL_IDS, TRAITS = "audience_key", "membership", "external_ids", "traits"
_NAMED_AS_THEY_ARE = (PERSON, EMAIL, PHONE, PROFILE, AUDIENCE, MEMBERSHIP, EXTERNAL_IDS, TRAITS)
ROLES: Final = {"user_id": USER, "anonymous_id": ANONYMOUS, **{role: role for role in _NAMED_AS_THEY_ARE}}
"""What `columns` may name → the role."""

_ROLE_OF_NAME: Final = {
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
_INDEXED: Final = {
    name: role for name, role in _ROLE_OF_NAME.items() if role in (USER, ANONYMOUS, EMAIL, PHONE)
}
"""Names that a number may follow: a profile can have several."""
_NOT_AUDIENCES = {*_ROLE_OF_NAME, "mergedto", "segmentid", "uuidts", "loadedat"}

OF_PROFILES_SYNC: Final = {
    Format.USER_TRAITS: {"canonicalsegmentid", "name", "value"},
    Format.USER_IDENTIFIERS: {"canonicalsegmentid", "type", "value"},
    Format.PROFILE_MERGES: {"canonicalsegmentid", "segmentid"},
}
"""Format → its columns."""


def recognise(table: Table, columns: Mapping[str, str | Sequence[str]], audience_key: str) -> Table:
    """Return the table with the roles of its columns, those in *columns* as given there, and its format.

    Raises FileFormatError when it is something that lists no members.
    """
    table = replace(table, roles=_roles_by_name(table.header) | _given_roles(table, columns))
    table = replace(table, format=_find_format(table, audience_key))
    is_unnamed = not audience_key and AUDIENCE not in table.roles
    if is_unnamed and table.format in (Format.LIST, Format.EXPORT):
        raise ParameterError(
            f"{table.name} does not say which audience it lists. Give audience_key, as it is in Segment."
        )
    return table


def _roles_by_name(header: Sequence[str]) -> Roles:
    has_user_id = "userid" in map(plain_name, header)
    numbered: list[tuple[int, int, str]] = []
    for place, name in enumerate(header):
        indexed = re.fullmatch(r"(.*[^\W\d_])[ _-]?([0-9]{1,4})", name)
        role = _ROLE_OF_NAME.get(plain_name(name))
        if role is None and indexed:
            role = _INDEXED.get(plain_name(indexed[1]))
        if role and not (has_user_id and plain_name(name) == "id"):
            numbered.append((int(indexed[2]) if indexed else 0, place, role))
    found: Roles = {}
    for _number, place, role in sorted(numbered):
        found.setdefault(role, []).append(place)
    return found


def _given_roles(table: Table, columns: Mapping[str, str | Sequence[str]]) -> Roles:
    found: Roles = {}
    for role, names in columns.items():
        if role not in ROLES:
            raise ParameterError(f'columns has "{role}"; it can name {", ".join(ROLES)}.')
        for name in [names] if isinstance(names, str) else names:
            places = [p for p, n in enumerate(table.header) if n == name] or table.find(plain_name(name))
            if not places:
                raise ParameterError(
                    f'columns says that {role} is "{name}", and {table.name} has no such column. '
                    f"It has {shown_names(table.header)}."
                )
            found.setdefault(ROLES[role], []).extend(places)
    return found


def _find_format(table: Table, audience_key: str) -> Format:
    names = [plain_name(name) for name in table.header]
    for found, needed in OF_PROFILES_SYNC.items():
        if needed <= {*names} and "mergedto" not in names:
            return found
    if names.count("key") > 1 or {"key", "value"} <= {*names}:
        raise FileFormatError(
            f"{table.name} is the export of a computed trait: it has values, and no list of members. "
            "Export an audience."
        )
    if "mergedto" in names or "canonicalsegmentid" in names:
        return Format.WIDE
    if "key" in names:
        return Format.EXPORT
    if not {PERSON, USER, ANONYMOUS, EMAIL, PHONE} & {*table.roles}:
        raise FileFormatError(
            f"{table.name} has no column of ids, emails or phones that is known: it has "
            f"{shown_names(table.header)}. Name them in columns, such as "
            '{"user_id": "Customer", "phone": "Mobile"}.'
        )
    return Format.WIDE if _is_wide(table, audience_key) else Format.LIST


def _is_wide(table: Table, audience_key: str) -> bool:
    if AUDIENCE in table.roles or MEMBERSHIP in table.roles:
        return False
    if audience_key and _column_of(table, audience_key) is not None:
        return True
    # A users table of a warehouse: all its rows are profiles, not members, if the key is mistyped.
    is_users = bool(table.find("uuidts", "receivedat"))
    return bool(_boolean_columns(table)) and (is_users or not audience_key)


def _boolean_columns(table: Table) -> list[int]:
    """Return the places of the columns of true and false that play no other role."""
    return [
        place
        for place, name in others(table)
        if plain_name(name) not in _NOT_AUDIENCES
        and not name.casefold().startswith("context_")
        and _is_true_or_false(table.columns[place])
    ]


def others(table: Table) -> list[tuple[int, str]]:
    """Return place and name of the columns that play no role."""
    taken = {place for places in table.roles.values() for place in places}
    return [(place, name) for place, name in enumerate(table.header) if place not in taken]


def _is_true_or_false(texts: pa.Array) -> bool:
    given = pc.unique(pc.utf8_lower(texts)).drop_null().to_pylist()
    return bool(given) and {*given} <= {"true", "false"}


def audience_columns(table: Table, audience_key: str) -> dict[str, int]:
    """Return audience key → place of its column, in a table with a column an audience."""
    if audience_key and (place := _column_of(table, audience_key)) is not None:
        return {audience_key: place}
    found = {table.header[place]: place for place in _boolean_columns(table)}
    if audience_key or not found:
        lacking = f"no column of the audience {audience_key}" if audience_key else "no column of an audience"
        raise ParameterError(
            f"{table.name} has {lacking}. Columns of true and false are: {shown_names(found)}."
        )
    return found


def _column_of(table: Table, audience_key: str) -> int | None:
    """Return the place of an audience's column; warehouses may write its name in capitals."""
    for written in (str, str.casefold):
        names = [*map(written, table.header)]
        if written(audience_key) in names:
            return names.index(written(audience_key))
    return None
