"""What rules need of a line, as columns of DuckDB's JSON reader: each line is parsed once, for these alone.

A column is the value at a path of keys, as text (a JSON text unquoted; a number, boolean, object or list
as JSON writes it) or as JSON. Missing and null are both SQL's NULL. Where that is not exact enough for an
event, it *needs Python*: the Python rules decide it, from its line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

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
_WITNESSES: Final[dict[Steps, str]] = {("context",): "library", ("context", "personas"): "namespace"}
"""Object → a key that it usually has, which shows that it is one where nothing else of it is there."""
_RESERVED: Final = {"file_index", "json", "line", "number", "whole"}
"""Names the queries give to columns beside those of a line."""


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
    witness: str = ""
    """A key of _WITNESSES, while no other is wanted that SQL takes for the same."""

    @property
    def is_struct(self) -> bool:
        """Whether the reader takes the object apart; others come as JSON, and are opened afterwards."""
        return bool(self.inside and self.witness) and not self.json and not self.text

    @property
    def type(self) -> str:
        """The type it is read as."""
        if self.is_struct:
            members = (f"{_name(key)} {inner.type}" for key, inner in self.inside.items())
            return f"STRUCT({', '.join(members)}, {_name(self.witness)} VARCHAR)"
        return "JSON" if self.json or self.inside else "VARCHAR"

    @property
    def structure(self) -> str:
        """The keys inside, as ``from_json`` takes them."""
        return quoted(json.dumps({key: inner.type for key, inner in self.inside.items()}, ensure_ascii=False))


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
            if step.lower() == branch.witness:
                branch.witness = ""
            branch = branch.inside.setdefault(step, _Branch(witness=_WITNESSES.get(steps[:depth], "")))
        if branch is self._root:
            raise NotInSQLError
        return branch

    def columns(self) -> str:
        """Return the parameter ``columns`` of ``read_ndjson``."""
        inside = self._root.inside.items()
        return "{" + ", ".join(f"{_name(key)}: {quoted(branch.type)}" for key, branch in inside) + "}"

    def structure(self) -> str:
        """Return the structure by which ``from_json`` gives the columns of `columns` for a line."""
        return self._root.structure

    def select(self, line: str, *, keep: str) -> str:
        """Return a query that names the columns of *line*, a query; *keep* lists those to pass on.

        ``has_broken_path`` is true where something on the way to a value is no object, as in ``traits: ""``:
        the walk would end there, with that value; what is read here is NULL.
        """
        named, broken = [], []
        level: list[tuple[str, Steps, _Branch]] = []
        level += [(_name(key), (key,), branch) for key, branch in self._root.inside.items()]
        while level:
            opened, level, here = [], [], level
            for place, steps, branch in here:
                text, json, within = place, f"{place}::VARCHAR", _alias("opened", steps)
                if branch.is_struct:
                    within = place
                    keys = (f"{place}.{_name(key)} IS NULL" for key in [*branch.inside, branch.witness])
                    broken.append(f"({place} IS NOT NULL AND {' AND '.join(keys)})")
                elif branch.inside:
                    opened.append(f", from_json({place}, {branch.structure}) AS {within}")
                    broken.append(no_object(json))
                if branch.type == "JSON":
                    named.append(f"{json} AS {_alias('json', steps)}")
                    text = f"CASE WHEN starts_with({json}, '\"') THEN {json}::JSON->>'$' ELSE {json} END"
                if branch.text:
                    named.append(f"{text} AS {_alias('text', steps)}")
                for key, inner in branch.inside.items():
                    level.append((f"{within}.{_name(key)}", (*steps, key), inner))
            line = f"SELECT *{''.join(opened)} FROM ({line})"
        is_broken = " OR ".join(broken) or "false"
        named.append(f"CASE WHEN {is_broken} THEN true ELSE false END AS has_broken_path")
        return f"SELECT {keep}, {', '.join(named)} FROM ({line})"


def _alias(kind: str, steps: Steps) -> str:
    return _name(f"{kind} of {'.'.join(step.replace('.', '..') for step in steps)}")
