"""One request in the form that the routes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .knobs import Knobs
from .replies import RefusedError, invalid_body
from .strict_json import parse_json


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as far as the routes look at it."""

    method: str
    path: str
    """As it was sent, still percent-encoded, so that an id may hold a slash."""
    query: tuple[tuple[str, str], ...]
    """Decoded names and values, in the order they were sent."""
    body: bytes
    url_bytes: int
    """Length of path and query as they were sent."""
    knobs: Knobs
    """As they were when the request came in."""

    def json_object(self) -> dict[str, Any]:
        """Read the body, or raise the 400 to answer with."""
        try:
            document = parse_json(self.body)
        except ValueError as problem:
            raise RefusedError(
                invalid_body([], f"not valid JSON: {problem}", "value_error.jsondecode")
            ) from None
        if not isinstance(document, dict):
            raise RefusedError(invalid_body([], "not a JSON object", "value_error.jsondecode"))
        return document
