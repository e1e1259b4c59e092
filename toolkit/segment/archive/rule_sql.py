"""Triggers and directives as SQL over the columns of a line, with exactly the meaning of their trees.

NULL stands for missing and null; a condition is never NULL. What would make an answer differ from the one
of the Python rules is added to *fallback*: conditions in SQL under which Python decides the event. A tree
that SQL cannot express at all raises NotInSQLError.
"""

from __future__ import annotations

import math
import re

from toolkit.segment.javascript import MISSING, text_of
from toolkit.segment.mapping.directives import If
from toolkit.segment.mapping.paths import Path, Template
from toolkit.segment.mapping.texts import Case, Replace
from toolkit.segment.mapping.tree import Node, Raw
from toolkit.segment.triggers.tree import And, Comparison, Failing, Function, Never, Not, Or, Tree

from .json_columns import (
    JsonColumns,
    NotInSQLError,
    is_clearly_text,
    may_differ,
    no_object,
    not_ascii,
    quoted,
)

MAX_LENGTH = 10_000
"""A longer text made of several is left to the Python rules, which bound it."""
_LONG_NUMBER = r"^-?[0-9.]*[eE]|^-?[0-9]{16}|^-?[niNI]"


def trigger_sql(node: Tree, columns: JsonColumns, fallback: list[str]) -> str:
    """Return the condition that the trigger takes the event."""
    if isinstance(node, And | Or):
        word, nothing = (" AND ", "true") if isinstance(node, And) else (" OR ", "false")
        return f"({word.join(trigger_sql(part, columns, fallback) for part in node.parts) or nothing})"
    if isinstance(node, Not):
        return f"(NOT {trigger_sql(node.part, columns, fallback)})"
    if isinstance(node, Never):
        return "false"
    if isinstance(node, Failing) or "length" in node.path:
        raise NotInSQLError  # length: of a list or a text, perhaps
    if isinstance(node, Function):
        return _function(node, columns)
    return _comparison(node, columns, fallback)


def _comparison(node: Comparison, columns: JsonColumns, fallback: list[str]) -> str:
    value, negated = node.value, node.operator == "!="
    if isinstance(value, float):
        return _number(node.operator, value, columns.json(node.path), fallback)
    if isinstance(value, str) and not is_clearly_text(value):
        json, text = columns.json(node.path), columns.text(node.path)
        same = f"coalesce(starts_with({json}, '\"') AND {text} = {quoted(value)}, false)"
        return f"(NOT {same})" if negated else same
    if isinstance(value, str):
        place, constant = columns.text(node.path), quoted(value)
    else:
        place = columns.json(node.path)
        constant = "NULL" if value is None else quoted("true" if value else "false")
    return f"({place} IS {'' if negated else 'NOT '}DISTINCT FROM {constant})"


def _number(operator: str, value: float, json: str, fallback: list[str]) -> str:
    if not math.isfinite(value) or abs(value) >= 2**53:
        raise NotInSQLError
    fallback.append(f"regexp_matches({json}, {quoted(_LONG_NUMBER)})")
    number = f"CASE WHEN regexp_matches({json}, '^-?[0-9]') THEN TRY_CAST({json} AS DOUBLE) END"
    return f"coalesce({number} {operator} {value!r}::DOUBLE, false)"


def _function(node: Function, columns: JsonColumns) -> str:
    json, text = columns.json(node.path), columns.text(node.path)
    if node.name == "match":
        pattern = ".*".join(re.escape(part) for part in node.text.split("*"))
        test = f"regexp_full_match({text}, {quoted(pattern)}, 's')"
    else:
        test = f"{node.name}({text}, {quoted(node.text)})"
    return f"coalesce(starts_with({json}, '\"') AND {'NOT ' if node.negated else ''}{test}, false)"


def text_sql(node: Node, columns: JsonColumns, fallback: list[str]) -> str:
    """Return the text that a field of type string gets."""
    match node:
        case Raw():
            is_plain = isinstance(node.value, str | bool | int | float)
            return quoted(text_of(node.value)) if is_plain else "NULL::VARCHAR"
        case Path():
            text = columns.text(node.steps)
            fallback.append(may_differ(text))
            return text
        case If():
            return _if(node, columns, fallback)
        case Template():
            return _template(node, columns, fallback)
        case Case():
            return _case(node, columns, fallback)
        case Replace():
            return _replace(node, columns, fallback)
    raise NotInSQLError


def object_sql(node: Node, columns: JsonColumns, fallback: list[str]) -> str:
    """Return the JSON that a field of type object gets."""
    if isinstance(node, Path):
        json = columns.json(node.steps)
        fallback.append(no_object(json))
        return json
    if isinstance(node, If) and node.test == "exists" and isinstance(node.subject, Path):
        then, otherwise = (object_sql(branch, columns, fallback) for branch in (node.then, node.otherwise))
        return f"CASE WHEN {columns.json(node.subject.steps)} IS NOT NULL THEN {then} ELSE {otherwise} END"
    if isinstance(node, Raw) and (node.value is MISSING or node.value in (None, "")):
        return "NULL::VARCHAR"
    raise NotInSQLError


def _if(node: If, columns: JsonColumns, fallback: list[str]) -> str:
    then, otherwise = (text_sql(branch, columns, fallback) for branch in (node.then, node.otherwise))
    if node.test == "exists" and isinstance(node.subject, Path):
        # Whatever it is: objects and lists exist too.
        return f"CASE WHEN {columns.text(node.subject.steps)} IS NOT NULL THEN {then} ELSE {otherwise} END"
    subject = text_sql(node.subject, columns, fallback)
    if node.test == "exists":
        return f"CASE WHEN {subject} IS NOT NULL THEN {then} ELSE {otherwise} END"
    # 0 and false are blank, "0" and "false" are not.
    fallback.append(f"{subject} IN ('0', 'false')")
    return f"CASE WHEN {subject} <> '' THEN {then} ELSE {otherwise} END"


def _template(node: Template, columns: JsonColumns, fallback: list[str]) -> str:
    if node.rescan:
        raise NotInSQLError
    parts = [
        quoted(part) if isinstance(part, str) else text_sql(part, columns, fallback) for part in node.parts
    ]
    joined = f"concat('', {', '.join(parts) or 'NULL'})"
    fallback.append(f"strlen({joined}) > {MAX_LENGTH}")
    return joined


def _case(node: Case, columns: JsonColumns, fallback: list[str]) -> str:
    value = text_sql(node.value, columns, fallback)
    # Other scripts have letters whose case Python and DuckDB see differently; booleans have none.
    fallback.append(not_ascii(value))
    fallback.append(f"{value} IN ('true', 'false')")
    return f"{node.operator}({value})"


def _replace(node: Replace, columns: JsonColumns, fallback: list[str]) -> str:
    if node.ignorecase or not node.everywhere or any("$" in new for _old, new in node.pairs):
        raise NotInSQLError
    value = f"coalesce({text_sql(node.value, columns, fallback)}, '')"
    for old, new in node.pairs:
        value = f"replace({value}, {quoted(old)}, {quoted(new)})"
    fallback.append(f"strlen({value}) > {MAX_LENGTH}")
    return value
