"""What goes over the wire: JSON, timestamps, and answers in the shapes Postscript gives to its refusals.

The shapes are named E0 to E6 after section 10 of the API reference. Only 3002 is Postscript's own error
code; every code that this sandbox invents is 9000 or above, mostly 9000 plus the status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

# JSON


def parse_body(raw: bytes) -> Any:
    """Read one JSON document; a ValueError says why it is none, or could not be written back."""
    value = from_json(raw, allow_inf_nan=False)
    dump_json(value)  # 1e999 is read as infinity
    return value


def dump_json(value: Any) -> str:
    """Write JSON in plain ASCII, in one line."""
    return json.dumps(value, allow_nan=False)


def copied(value: Any) -> Any:
    """Copy a JSON value; several times quicker than ``copy.deepcopy``, which matters for a million people."""
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    if isinstance(value, list):
        return [copied(each) for each in value]
    return value


def first_problem(error: ValidationError) -> str:
    """Return where the first problem lies and what it is."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


# Timestamps


def parse_timestamp(text: str) -> datetime:
    """Read an ISO 8601 date or date-time, UTC when it names no zone; a ValueError says it is neither."""
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("the date is outside the calendar") from None


def format_timestamp(instant: datetime) -> str:
    """Write a timestamp as subscribers carry it.

    >>> format_timestamp(datetime(2025, 3, 4, 5, 6, 7, 999, tzinfo=UTC))
    '2025-03-04T05:06:07Z'
    """
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


# Replies


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer, decided but not yet sent."""

    status: int
    """HTTP status code."""
    content: Any = None
    """What is sent as JSON, unless ``text`` is given."""
    text: str | None = None
    """What is sent as it is instead; None for JSON."""
    media_type: str = "application/json"
    """Content type of the answer; empty for none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    violation: bool = False
    """True when an audience sync must never make this request."""
    drip_seconds: float = 0.0
    """Time over which the body is sent byte by byte; 0 sends it at once."""

    @property
    def body(self) -> str:
        """What is sent."""
        return dump_json(self.content) if self.text is None else self.text


class RefusedError(Exception):
    """The request is refused; carries the answer to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def coded_error(status: int, message: str, *, code: int = 0, **headers: str) -> Reply:
    """Shape E1: a number and a sentence."""
    content = {"error_code": code or 9000 + status, "error_message": message, "success": False}
    return Reply(status=status, content=content, headers=headers)


def too_many_requests(retry_after_seconds: int | None) -> Reply:
    """Answer what is over the limit, in Postscript's own words."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return coded_error(429, "Rate limit exceeded", code=3002, **headers)


def access_denied(message: str, *, violation: bool = False) -> Reply:
    """Shape E4 with 403: one problem, which sits nowhere in the request."""
    problem = {"loc": [], "msg": message, "type": "v2.access_denied"}
    return Reply(status=403, content={"errors": [problem]}, violation=violation)


def invalid_body(location: Sequence[str], message: str, kind: str = "value_error") -> Reply:
    """Shape E4 with 400: one problem, and where in the body it sits."""
    problem = {"loc": ["body", *location], "msg": message, "type": kind}
    return Reply(status=400, content={"errors": [problem]})


def html_page(status: int) -> Reply:
    """Shape E6: the page of a proxy in between that has nothing from Postscript."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
    return Reply(status=status, text=page, media_type="text/html")
