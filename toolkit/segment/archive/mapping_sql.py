"""The directives that SQL can say exactly, as texts over leaves; NULL stands for missing and null."""

from __future__ import annotations

from toolkit.segment.javascript import MISSING, number_text
from toolkit.segment.mapping.tree import Case, If, Node, Path, Raw, Replace, Template

from .leaves import Leaves, NotInSQLError, no_object, not_ascii, quoted, unclear

MAX_LENGTH = 10_000
"""A longer text made of parts is left to the Python rules, which bound it."""


def text_sql(node: Node, leaves: Leaves, doubts: list[str]) -> str:
    """Return the text that a field of type string gets; what makes it doubtful is added to *doubts*.

    Raises
    ------
    NotInSQLError
        The node, or one inside, is no such directive.
    """
    if isinstance(node, Raw):
        return _constant(node)
    if isinstance(node, Path):
        text = leaves.text(node.steps)
        doubts.append(unclear(text))
        return text
    if isinstance(node, If):
        return _if(node, leaves, doubts)
    if isinstance(node, Template):
        return _template(node, leaves, doubts)
    if isinstance(node, Case):
        return _case(node, leaves, doubts)
    if isinstance(node, Replace):
        return _replace(node, leaves, doubts)
    raise NotInSQLError


def object_sql(node: Node, leaves: Leaves, doubts: list[str]) -> str:
    """Return the JSON of the object that a field of type object gets; otherwise like `text_sql`."""
    if isinstance(node, Path):
        json = leaves.json(node.steps)
        doubts.append(no_object(json))
        return json
    if isinstance(node, If) and node.test == "exists" and isinstance(node.subject, Path):
        then, otherwise = (object_sql(branch, leaves, doubts) for branch in (node.then, node.otherwise))
        return f"CASE WHEN {leaves.json(node.subject.steps)} IS NOT NULL THEN {then} ELSE {otherwise} END"
    if isinstance(node, Raw) and (node.value is MISSING or node.value in (None, "")):
        return "NULL::VARCHAR"
    raise NotInSQLError


def _constant(node: Raw) -> str:
    value = node.value
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        return quoted(number_text(value))
    return "NULL::VARCHAR"


def _if(node: If, leaves: Leaves, doubts: list[str]) -> str:
    then, otherwise = (text_sql(branch, leaves, doubts) for branch in (node.then, node.otherwise))
    if node.test == "exists" and isinstance(node.subject, Path):
        # Whatever it is: objects and lists exist too.
        return f"CASE WHEN {leaves.text(node.subject.steps)} IS NOT NULL THEN {then} ELSE {otherwise} END"
    subject = text_sql(node.subject, leaves, doubts)
    if node.test == "exists":
        return f"CASE WHEN {subject} IS NOT NULL THEN {then} ELSE {otherwise} END"
    # 0 and false are blank, "0" and "false" are not.
    doubts.append(f"{subject} IN ('0', 'false')")
    return f"CASE WHEN {subject} <> '' THEN {then} ELSE {otherwise} END"


def _template(node: Template, leaves: Leaves, doubts: list[str]) -> str:
    if node.rescan:
        raise NotInSQLError
    parts = [quoted(part) if isinstance(part, str) else text_sql(part, leaves, doubts) for part in node.parts]
    joined = f"concat('', {', '.join(parts) or 'NULL'})"
    doubts.append(f"strlen({joined}) > {MAX_LENGTH}")
    return joined


def _case(node: Case, leaves: Leaves, doubts: list[str]) -> str:
    value = text_sql(node.value, leaves, doubts)
    # Other scripts have letters whose case Python and DuckDB see differently; booleans have none.
    doubts.append(not_ascii(value))
    doubts.append(f"{value} IN ('true', 'false')")
    return f"{node.operator}({value})"


def _replace(node: Replace, leaves: Leaves, doubts: list[str]) -> str:
    if node.ignorecase or not node.everywhere or any("$" in new for _old, new in node.pairs):
        raise NotInSQLError
    value = f"coalesce({text_sql(node.value, leaves, doubts)}, '')"
    for old, new in node.pairs:
        value = f"replace({value}, {quoted(old)}, {quoted(new)})"
    doubts.append(f"strlen({value}) > {MAX_LENGTH}")
    return value
