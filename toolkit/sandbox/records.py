"""Subscriber records from outside: checked, completed, and read from NDJSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toolkit.errors import FileFormatError, InputPathError

from .instants import format_instant, parse_instant
from .strict_json import parse_json

_TYPES: dict[str, tuple[type, ...]] = {
    "ps_id": (int, type(None)),
    "phone_number": (str, type(None)),
    "email": (str, type(None)),
    "shopify_customer_id": (int, type(None)),
    "created_at": (str,),
    "updated_at": (str,),
    "properties": (dict, type(None)),
    "tags": (list, type(None)),
    "subscriptions": (dict, type(None)),
    "data": (dict, type(None)),
}


def completed(record: Any, now: str) -> dict[str, Any]:
    """Return a full subscriber made from *record*; a ValueError says in a sentence why it cannot be one.

    Absent ``properties``, ``tags``, ``subscriptions`` and times get the values of somebody who signed
    up *now* and agreed to everything. Inner objects are shared, not copied: the shop never changes one.
    """
    if not isinstance(record, dict):
        raise ValueError("a subscriber must be a JSON object.")
    _check_types(record)
    given = {name: value for name, value in record.items() if name not in _DEFAULTS or value is not None}
    full = {**_DEFAULTS, "created_at": now, "updated_at": now, **given}
    for name in ("created_at", "updated_at"):
        full[name] = _canonical_instant(name, full[name])
    return {"id": full.pop("id"), **full}


def copied(value: Any) -> Any:
    """Copy a JSON value; several times quicker than ``copy.deepcopy``, which matters for a million people."""
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    if isinstance(value, list):
        return [copied(each) for each in value]
    return value


def read_subscribers(lines: Iterable[bytes], source: str, now: str) -> Iterator[dict[str, Any]]:
    """Read NDJSON into full subscribers; a FileFormatError names *source* and the line."""
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        subscriber = _read_line(line, f"{source}, line {number}", now)
        if subscriber["id"] in seen:
            raise FileFormatError(f"{source}, line {number}: an earlier line has the same id.")
        seen.add(subscriber["id"])
        yield subscriber


def load_subscribers(path: Path, now: str) -> list[dict[str, Any]]:
    """Read a subscribers file, such as ``GET /control/subscribers`` writes."""
    try:
        with path.open("rb") as lines:
            return list(read_subscribers(lines, str(path), now))
    except OSError as problem:
        raise InputPathError(f"{path}: the subscribers file cannot be read ({problem.strerror}).") from None


_DEFAULTS: dict[str, Any] = {
    "properties": {},
    "subscriptions": {"promotional": {"can_send": True}, "transactional": {"can_send": True}},
    "tags": [],
    "data": {},
}


def _read_line(line: bytes, place: str, now: str) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except ValueError as problem:
        raise FileFormatError(f"{place}: this is not one JSON object a line ({problem}).") from None
    try:
        return completed(record, now)
    except ValueError as problem:
        raise FileFormatError(f"{place}: {problem}") from None


def _check_types(record: dict[str, Any]) -> None:
    subscriber_id = record.get("id")
    if not isinstance(subscriber_id, str) or not subscriber_id:
        raise ValueError("the subscriber has no id (a text that is not empty).")
    for name, types in _TYPES.items():
        value = record.get(name)
        # bool is an int in Python, never in a subscriber's own fields.
        if name in record and (isinstance(value, bool) or not isinstance(value, types)):
            raise ValueError(f"{name} has the wrong type.")


def _canonical_instant(name: str, text: str) -> str:
    try:
        return format_instant(parse_instant(text))
    except ValueError:
        raise ValueError(f"{name} is not an ISO 8601 date-time.") from None
