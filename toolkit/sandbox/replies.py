"""Answers as values, and the shapes Postscript gives to its refusals.

The shapes are named E0 to E4 after section 10 of the API reference. Only 3001 and 3002 are
Postscript's own error codes; every code this sandbox invents is 9000 or above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KEYWORD_NOT_FOUND = 3001
RATE_LIMITED = 3002
BAD_REQUEST = 9400
UNAUTHORIZED = 9401
NOT_FOUND = 9404
WRONG_METHOD = 9405
TOO_MANY_VALUES = 9414
TOO_LONG_URL = 9415


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer, decided but not yet sent."""

    status: int
    """HTTP status code."""
    content: Any = None
    """What is sent as JSON, unless ``text`` is given."""
    text: str | None = None
    """What is sent as it is instead; None for JSON."""
    media_type: str | None = None
    """Content type of the answer; None for ``application/json``, or ``text/plain`` with a text."""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0
    """Time over which the body is sent, byte by byte."""
    violation: bool = False
    """True when an audience sync must never have asked for this."""


class RefusedError(Exception):
    """The request is refused; carries the answer to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(content: Any, status: int = 200) -> Reply:
    """Answer with JSON."""
    return Reply(status=status, content=content)


def too_many_requests(retry_after_seconds: int | None) -> Reply:
    """Answer what is over the limit, in Postscript's own words."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return coded_error(429, RATE_LIMITED, "Rate limit exceeded", headers)


def gateway_page(status: int) -> Reply:
    """Shape E6: what a proxy in between says when it has nothing from Postscript."""
    text = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
    return Reply(status=status, text=text, media_type="text/html")


def missing_authorization() -> Reply:
    """Shape E0, the one refusal in plain text."""
    return Reply(status=401, text="Missing Authorization header")


def coded_error(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Shape E1: a number and a sentence."""
    content = {"error_code": code, "error_message": message, "success": False}
    return Reply(status=status, content=content, headers=headers or {})


def access_denied(message: str, *, violation: bool = False) -> Reply:
    """Shape E4 with 403."""
    problem = {"loc": [], "msg": message, "type": "v2.access_denied"}
    return Reply(status=403, content={"errors": [problem]}, violation=violation)


def invalid_body(location: Sequence[str], message: str, kind: str = "value_error") -> Reply:
    """Shape E4 with 400: one problem, and where in the body it sits."""
    problem = {"loc": ["body", *location], "msg": message, "type": kind}
    return Reply(status=400, content={"errors": [problem]})
