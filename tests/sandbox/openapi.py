"""The local Postscript under the default knobs as an OpenAPI 3.1 document, made from its routes and types.

``python tests/sandbox/openapi.py`` writes the file that the sandbox serves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from toolkit.sandbox import Knobs
from toolkit.sandbox.records import CustomEvent, Subscriber, SubscriberChange
from toolkit.sandbox.routes import OPERATORS, SORT_FIELDS
from toolkit.sandbox.shop import TIMES

Schema = dict[str, Any]
TIME_PATTERN = (
    r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?Z?)?$"
)
"""All of these times are read, as the months have 28 days."""


class SubscriberPage(TypedDict):
    """One page of the list."""

    page_info: dict[Literal["page", "total_pages"], int]
    subscribers: list[Subscriber]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is sent to a route, and what a success answers."""

    answer: Any = None
    """Type of the body of its success; None when it never succeeds."""
    status: int = 200
    body: Any = None
    """Type of the body it takes; None for none."""


NEVER = Operation()
OPERATIONS = {
    "/me": {"GET": Operation(answer=dict[str, str])},
    "/subscribers": {"GET": Operation(answer=SubscriberPage), "POST": NEVER},
    "/subscribers/{id}": {
        "GET": Operation(answer=Subscriber),
        "PATCH": Operation(answer=Subscriber, body=SubscriberChange),
    },
    "/events": {"POST": Operation(answer=dict[str, list[str]], status=202, body=CustomEvent)},
    "/message_requests": {"POST": NEVER},
    "/message_requests/{id}": {"GET": NEVER},
    "/sent_messages/{id}": {"GET": NEVER},
}
"""Path → method → operation."""

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_CODED = {"type": "object", "required": ["error_code", "error_message", "success"]}
_LISTED = {"type": "object", "required": ["errors"]}
_REFUSALS: dict[str, Schema] = {
    "400": {"anyOf": [_CODED, _LISTED]},
    "401": _CODED,
    "403": _LISTED,
    "404": _CODED,
    "405": _CODED,
    "429": _CODED,
}


def openapi_document() -> Schema:
    """Return the document."""
    operations = [each for methods in OPERATIONS.values() for each in methods.values()]
    types = {each for operation in operations for each in (operation.answer, operation.body) if each}
    schemas, definitions = TypeAdapter.json_schemas(
        [(each, "validation", TypeAdapter(each)) for each in types],
        ref_template="#/components/schemas/{model}",
    )
    times = definitions["$defs"]["CustomEvent"]["properties"]["occurred_at"]["anyOf"]
    times[0]["pattern"] = TIME_PATTERN
    of_type = {each: schema for (each, _), schema in schemas.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Postscript Partner API v2, as the sandbox serves it", "version": "2"},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {
            f"/api/v2{path}": {
                method.lower(): _described(path, method, each, of_type) for method, each in methods.items()
            }
            for path, methods in OPERATIONS.items()
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": _refusals(),
            "schemas": definitions["$defs"],
        },
    }


def _described(path: str, method: str, operation: Operation, of_type: dict[Any, Any]) -> Schema:
    responses: Schema = {status: {"$ref": f"#/components/responses/{status}"} for status in _REFUSALS}
    described: Schema = {"parameters": [_ID] if path.endswith("{id}") else [], "responses": responses}
    if operation.answer is None:
        described["description"] = "Never carried out: it would create subscribers or send messages."
    else:
        responses[str(operation.status)] = _response("done", of_type[operation.answer])
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(of_type[operation.body])}
    if method == "GET" and path.endswith("/subscribers"):
        described["parameters"] = _list_parameters()
    return described


def _refusals() -> Schema:
    refusals = {status: _response("refused", schema) for status, schema in _REFUSALS.items()}
    refusals["401"]["content"]["text/plain"] = {"schema": {"const": "Missing Authorization header"}}
    return refusals


def _response(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": _json(schema)}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _list_parameters() -> list[Schema]:
    schemas: dict[str, Schema] = {
        "page": {"type": "integer", "minimum": 1},
        "sort": {"enum": [f"{name}__{way}" for name in SORT_FIELDS for way in ("asc", "desc")]},
    }
    for name, operators in OPERATORS.items():
        one: Schema = {"type": "integer"} if name == "ps_id" else {"type": "string"}
        if name in TIMES:
            one["pattern"] = TIME_PATTERN
        many = {"type": "array", "items": one, "maxItems": Knobs().max_in}
        schemas |= {f"{name}__{each}": many if each == "in" else one for each in operators}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]


if __name__ == "__main__":
    import toolkit.sandbox

    target = Path(toolkit.sandbox.__file__).with_name("openapi.json")
    target.write_text(json.dumps(openapi_document(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
