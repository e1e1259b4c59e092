"""What rules need of a line, as columns of DuckDB's JSON reader: each line is parsed once, for these alone.

A column is the value at a path of keys, as text (a JSON text unquoted; a number, boolean, object or list
as JSON writes it) or as JSON. Missing and null are both SQL's NULL. Where that is not exact enough for an
event, it *needs Python*: the Python rules decide it, from its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Steps: TypeAlias = tuple[str, ...]

_INDEX = re.compile(r"[0-9]+")
_MAY_DIFFER: Final = (
    r"^(?:[\[{]|-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)$|-?[0-9]{16,}$"
    r"|-?(?i:nan|inf|infinity)$)"
)
_MAY_BE_NO_TEXT: Final = (
    r"^(?:[\[{]|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$|(?i:true|false|-?nan|-?inf|-?infinity)$)"
)
_SPACES: Final = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
_COMPANIONS: Final[dict[Steps, str]] = {("context",): "library"}
"""Object → a key it usually has: its presence proves that it is an object, whatever else is absent."""
_RESERVED: Final = {"file_index", "json", "line", "number", "whole"}
"""Names the queries give to columns beside those of a line."""
_OPENED: Final = {("context", "traits")}
"""Objects that often have nothing of what is asked for: only their JSON shows that they are objects."""


class NotInSQLError(Exception):
    """Raised for a rule that SQL cannot express exactly."""


def quoted(text: str) -> str:
    """Return *text* as an SQL string."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise NotInSQLError
    return "'" + text.replace("'", "''") + "'"


def may_differ(text: str) -> str:
    """Return the SQL condition that the text of a column may differ from the text JavaScript makes of it.

    So it is for objects and lists, and for numbers with a point, an exponent or more than 15 digits; texts
    that look like one are taken in. NULL where the text is.
    """
    # No such text begins with a small letter or a plus; that is quickly seen of most contacts and keys.
    return f"({_outside(text, 'a{', '+,')} AND regexp_matches({text}, {quoted(_MAY_DIFFER)}))"


def may_be_no_text(text: str) -> str:
    """Return the SQL condition that the value may be no text: any number or boolean, besides `may_differ`."""
    return f"({_outside(text, 'AF', 'af', 'ot')} AND regexp_matches({text}, {quoted(_MAY_BE_NO_TEXT)}))"


def _outside(text: str, *ranges: str) -> str:
    """Return the condition that the text begins with no character of *ranges* (first and end, exclusive)."""
    # Without NOT: what it stands before is worked out for every row, and this is left early.
    return " AND ".join(f"({text} < '{each[0]}' OR {text} >= '{each[1]}')" for each in ranges)


def has_outer_space(text: str) -> str:
    """Return the SQL condition that the text of a column is empty or has space at an end, to Python."""
    perhaps = f"{text} < '!' OR {text}[-1] <= ' ' OR {not_ascii(text)}"
    return f"(({perhaps}) AND regexp_matches({text}, {quoted(f'^[{_SPACES}]|[{_SPACES}]$|^$')}))"


def stripped(text: str, *, given: str) -> str:
    """Return the text without the space at its ends; NULL when nothing is left, or *given* is not true."""
    # The trim of one argument takes off most kinds of space; that of two is slow.
    most, all_of_it = f"trim({text})", f"trim({text}, {quoted(_SPACES)})"
    return (
        f"CASE WHEN {given} AND {_has_plain_ends(text)} THEN {text} "
        f"WHEN {given} AND {_has_plain_ends(most)} THEN {most} "
        f"WHEN {given} AND {text} IS NOT NULL THEN nullif({all_of_it}, '') END"
    )


def _has_plain_ends(text: str) -> str:
    # So it is nearly always; to see that is faster than to look for something to take off.
    return f"strlen({text}) = length({text}) AND {text} >= '!' AND {text}[-1] > ' '"


def not_ascii(text: str) -> str:
    """Return the SQL condition that a character of the text is not ASCII."""
    return f"strlen({text}) <> length({text})"


def no_object(json: str) -> str:
    """Return the SQL condition that the JSON is not an object; NULL where it is."""
    # What else JSON may begin with stands before the brace.
    return f"{json} < '{{'"


def is_clearly_text(constant: str) -> bool:
    """Tell whether no value but a text has this text."""
    return not re.match(_MAY_BE_NO_TEXT, constant) and constant != "null"


def _name(key: str) -> str:
    return '"' + key.replace('"', '""') + '"'


@dataclass
class _Branch:
    """A key of the line, what is wanted of it, and the keys wanted inside."""

    inside: dict[str, _Branch] = field(default_factory=dict)
    text: bool = False
    json: bool = False
    opened: bool = False
    companion: bool = False

    @property
    def type(self) -> str:
        """How the reader takes it: an object that is wanted whole comes as JSON, and is opened afterwards."""
        if self.json or (self.inside and (self.text or self.opened)):
            return "JSON"
        return _struct(self) if self.inside else "VARCHAR"


class JsonColumns:
    """The values that rules ask for, and how they are read.

    Ask first (`text`, `json`), then read: `columns` or `structure` go to the reader, `select` names the
    columns of what it returns.
    """

    def __init__(self) -> None:
        self._root = _Branch()

    def text(self, steps: Steps) -> str:
        """Return the SQL of a value as text."""
        self._branch(steps).text = True
        return _alias("text", steps)

    def json(self, steps: Steps) -> str:
        """Return the SQL of a value as JSON text."""
        self._branch(steps).json = True
        return _alias("json", steps)

    def _branch(self, steps: Steps) -> _Branch:
        branch = self._root
        for depth, step in enumerate(steps, start=1):
            if not step or _INDEX.fullmatch(step):
                raise NotInSQLError  # an item of a list, perhaps
            quoted(step)
            if depth == 1 and step.lower() in _RESERVED:
                raise NotInSQLError
            # Names in SQL do not know upper from lower case; keys in JSON do.
            if any(key != step and key.lower() == step.lower() for key in branch.inside):
                raise NotInSQLError
            branch = branch.inside.setdefault(step, _Branch(opened=steps[:depth] in _OPENED))
        if branch is self._root:
            raise NotInSQLError
        return branch

    def columns(self) -> str:
        """Return the parameter ``columns`` of ``read_ndjson``."""
        self._add_companions()
        inside = self._root.inside.items()
        return "{" + ", ".join(f"{_name(key)}: {quoted(branch.type)}" for key, branch in inside) + "}"

    def structure(self) -> str:
        """Return the structure by which ``from_json`` gives the columns of `columns` for a line."""
        self._add_companions()
        return quoted(_structure(self._root))

    def _add_companions(self) -> None:
        for steps, key in _COMPANIONS.items():
            found = next((branch for place, branch in _walk(self._root) if place == steps), None)
            if found is not None and found.inside and key not in {k.lower() for k in found.inside}:
                companion = _Branch(inside={"name": _Branch()}, companion=True)
                found.inside.setdefault(key, companion)

    def select(self, line: str, *, keep: str) -> str:
        """Return a query that names the columns of *line*, a query; *keep* lists those to pass on."""
        opened, named = [], []
        for steps, branch in _walk(self._root):
            if branch.type == "JSON" and branch.inside:
                if any(self._is_opened(steps[:depth]) for depth in range(1, len(steps))):
                    raise NotInSQLError
                inside = f"from_json({self._access(steps)}, {quoted(_structure(branch))})"
                opened.append(f"{inside} AS {_alias('opened', steps)}")
            if branch.type == "JSON":
                json = f"{self._access(steps)}::VARCHAR"
                named.append(f"{json} AS {_alias('json', steps)}")
                if branch.text:
                    unquoted = f"CASE WHEN starts_with({json}, '\"') THEN {json}::JSON->>'$' ELSE {json} END"
                    named.append(f"{unquoted} AS {_alias('text', steps)}")
            elif branch.text:
                named.append(f"{self._access(steps)} AS {_alias('text', steps)}")
        broken = " OR ".join(self._broken_paths()) or "false"
        named.append(f"CASE WHEN {broken} THEN true ELSE false END AS has_broken_path")
        inner = f"SELECT * {''.join(', ' + each for each in opened)} FROM ({line})"
        return f"SELECT {keep}, {', '.join(named)} FROM ({inner})"

    def _broken_paths(self) -> Iterator[str]:
        """Yield the conditions that something on the way to a value may be no object, as in ``traits: ""``.

        The walk would end there, with that value; what is read here is NULL.
        """
        for steps, branch in _walk(self._root):
            place = self._access(steps)
            if branch.type == "JSON" and branch.inside:
                yield no_object(f"{place}::VARCHAR")
            elif branch.inside and not branch.companion:
                nothing = (f"{place}.{_name(key)} IS NULL" for key in branch.inside)
                yield f"({place} IS NOT NULL AND {' AND '.join(nothing)})"

    def _is_opened(self, steps: Steps) -> bool:
        return any(place == steps and branch.type == "JSON" for place, branch in _walk(self._root))

    def _access(self, steps: Steps) -> str:
        """Return the SQL of what was read at *steps*."""
        place, branch = _name(steps[0]), self._root.inside[steps[0]]
        for depth, step in enumerate(steps[1:], start=1):
            if branch.type == "JSON":
                place = _alias("opened", steps[:depth])
            place, branch = f"{place}.{_name(step)}", branch.inside[step]
        return place


def _struct(branch: _Branch) -> str:
    members = (f"{_name(key)} {inner.type}" for key, inner in branch.inside.items())
    return f"STRUCT({', '.join(members)})"


def _structure(branch: _Branch) -> str:
    """Return the branch as the JSON that ``from_json`` takes for a type."""

    def node(inner: _Branch) -> Any:
        inside = {key: node(deeper) for key, deeper in inner.inside.items()}
        return inside if inner is branch or inner.type.startswith("STRUCT") else inner.type

    return json.dumps(node(branch), ensure_ascii=False)


def _walk(branch: _Branch, steps: Steps = ()) -> Iterator[tuple[Steps, _Branch]]:
    for key, inner in branch.inside.items():
        yield (*steps, key), inner
        yield from _walk(inner, (*steps, key))


def _alias(kind: str, steps: Steps) -> str:
    return _name(f"{kind} of {'.'.join(step.replace('.', '..') for step in steps)}")
