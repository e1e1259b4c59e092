"""Triggers as SQL conditions over leaves, with the meaning their tree has, never NULL."""

from __future__ import annotations

import math
import re

from toolkit.segment.triggers.tree import And, Comparison, Function, Never, Node, Not, Or

from .leaves import Leaves, NotInSQLError, is_clearly_text, quoted

_LONG_NUMBER = r"^-?[0-9.]*[eE]|^-?[0-9]{16}|^-?[niNI]"


def trigger_sql(node: Node, leaves: Leaves, doubts: list[str]) -> str:
    """Return the condition; what makes its answer doubtful is added to *doubts*.

    Raises
    ------
    NotInSQLError
        The tree asks for something that leaves cannot say exactly.
    """
    if isinstance(node, And | Or):
        word, nothing = (" AND ", "true") if isinstance(node, And) else (" OR ", "false")
        return f"({word.join(trigger_sql(part, leaves, doubts) for part in node.parts) or nothing})"
    if isinstance(node, Not):
        return f"(NOT {trigger_sql(node.part, leaves, doubts)})"
    if isinstance(node, Never):
        return "false"
    if "length" in node.path:
        raise NotInSQLError  # of a list or a text, perhaps
    if isinstance(node, Function):
        return _function(node, leaves)
    return _comparison(node, leaves, doubts)


def _comparison(node: Comparison, leaves: Leaves, doubts: list[str]) -> str:
    value, negated = node.value, node.operator == "!="
    if isinstance(value, float):
        return _number(node.operator, value, leaves.json(node.path), doubts)
    if isinstance(value, str) and not is_clearly_text(value):
        json, text = leaves.json(node.path), leaves.text(node.path)
        same = f"coalesce(starts_with({json}, '\"') AND {text} = {quoted(value)}, false)"
        return f"(NOT {same})" if negated else same
    if isinstance(value, str):
        place, constant = leaves.text(node.path), quoted(value)
    else:
        place = leaves.json(node.path)
        constant = "NULL" if value is None else quoted("true" if value else "false")
    return f"({place} IS {'' if negated else 'NOT '}DISTINCT FROM {constant})"


def _number(operator: str, value: float, json: str, doubts: list[str]) -> str:
    if not math.isfinite(value) or abs(value) >= 2**53:
        raise NotInSQLError
    doubts.append(f"regexp_matches({json}, {quoted(_LONG_NUMBER)})")
    number = f"CASE WHEN regexp_matches({json}, '^-?[0-9]') THEN TRY_CAST({json} AS DOUBLE) END"
    return f"coalesce({number} {operator} {value!r}::DOUBLE, false)"


def _function(node: Function, leaves: Leaves) -> str:
    json, text = leaves.json(node.path), leaves.text(node.path)
    if node.name == "match":
        pattern = ".*".join(re.escape(part) for part in node.text.split("*"))
        test = f"regexp_full_match({text}, {quoted(pattern)}, 's')"
    else:
        test = f"{node.name}({text}, {quoted(node.text)})"
    return f"coalesce(starts_with({json}, '\"') AND {'NOT ' if node.negated else ''}{test}, false)"
