"""The API that the sandbox serves, as an OpenAPI 3.1 document under the default knobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .custom_events import TYPE_PATTERN
from .listing import OPERATORS, SORT_FIELDS
from .webhooks import EVENTS

Schema = dict[str, Any]


def openapi_document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, Any] = {}
    for route, operation in _OPERATIONS.items():
        method, path = route.split(" ")
        paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Postscript Partner API v2, as the sandbox serves it", "version": "2"},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS,
        },
    }


# Small words for schemas


def _object(properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_WHOLE: Schema = {"type": "integer"}
_TEXT_OR_NUMBER: Schema = {"type": ["string", "integer"]}
_TIME: Schema = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"}
_ASKED_TIME: Schema = {
    "type": "string",
    "pattern": r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?Z?)?$",
}
"""Narrower than what is read, so that it holds nothing that is not: all months have 28 days."""
_EMAIL: Schema = {"type": "string", "pattern": "@"}

_SCHEMAS: dict[str, Schema] = {
    "Subscriber": _object(
        {
            "id": {"type": ["string", "integer"]},
            "ps_id": _WHOLE,
            "phone_number": {"type": ["string", "null"]},
            "email": {"type": ["string", "null"]},
            "shopify_customer_id": {"type": ["integer", "null"]},
            "created_at": _TIME,
            "updated_at": _TIME,
            "data": {"type": "object"},
            "properties": {"type": "object"},
            "subscriptions": {"type": "object"},
            "tags": {"type": "array"},
        },
        ("id", "created_at", "updated_at", "properties", "subscriptions", "tags"),
    ),
    "SubscriberPage": _object(
        {
            "page_info": _object({"page": _WHOLE, "total_pages": _WHOLE}, ("page", "total_pages")),
            "subscribers": _list_of(_ref("Subscriber")),
        },
        ("page_info", "subscribers"),
    ),
    "PropertyValue": {"anyOf": [_TEXT, _WHOLE, _FLAG, _list_of(_TEXT), {"type": "null"}]},
    "SubscriberChange": _object(
        {
            "properties": _or_null({"type": "object", "additionalProperties": _ref("PropertyValue")}),
            "tags": _or_null(_list_of(_TEXT)),
            "email": _or_null(_EMAIL),
        }
    ),
    "EventValue": {"anyOf": [_TEXT, _FLAG, {"type": "number"}]},
    "CustomEvent": {
        **_object(
            {
                "type": {"type": "string", "pattern": f"^{TYPE_PATTERN}$"},
                "subscriber_id": {"type": ["string", "null"]},
                "phone": {"type": ["string", "null"]},
                "email": {"type": ["string", "null"]},
                "occurred_at": _or_null(_ASKED_TIME),
                "external_id": {"type": ["string", "null"]},
                "properties": _or_null(
                    {
                        "type": "object",
                        "additionalProperties": {"anyOf": [_ref("EventValue"), _list_of(_ref("EventValue"))]},
                    }
                ),
            },
            ("type",),
        ),
        "additionalProperties": False,
    },
    "AcceptedEvent": _object(
        {"event_ids": {**_list_of(_TEXT), "minItems": 1, "maxItems": 1}}, ("event_ids",)
    ),
    "Shop": _object(
        {"resource_id": _TEXT, "resource_name": _TEXT, "resource_type": _TEXT},
        ("resource_id", "resource_name", "resource_type"),
    ),
    "Keyword": _object(
        {"id": _TEXT, "keyword": _TEXT, "triggered_count": _WHOLE, "created_at": _TEXT, "updated_at": _TEXT},
        ("id", "keyword", "triggered_count", "created_at", "updated_at"),
    ),
    "Keywords": _object({"keywords": _list_of(_ref("Keyword"))}, ("keywords",)),
    "Webhook": _object(
        {
            "id": _TEXT,
            "callback_url": _TEXT,
            "event": {"enum": list(EVENTS)},
            "headers": {"type": "object", "additionalProperties": _TEXT},
            "created_at": _TIME,
            "updated_at": _TIME,
        },
        ("id", "callback_url", "event", "headers", "created_at", "updated_at"),
    ),
    "Webhooks": _object({"webhook_subscriptions": _list_of(_ref("Webhook"))}, ("webhook_subscriptions",)),
    "WebhookToken": _object({"token": _TEXT}, ("token",)),
    "WebhookExample": _object(
        {"event": {"enum": list(EVENTS)}, "event_data": {"type": "object"}}, ("event",)
    ),
    "Done": _object({"message": {"const": "OK"}}, ("message",)),
    "Nothing": {"type": "object", "maxProperties": 0},
    "CodedError": _object(
        {"error_code": _WHOLE, "error_message": _TEXT, "success": {"const": False}},
        ("error_code", "error_message", "success"),
    ),
    "ListedErrors": _object(
        {
            "errors": _list_of(
                _object({"loc": _list_of(_TEXT), "msg": _TEXT, "type": _TEXT}, ("loc", "msg", "type"))
            )
        },
        ("errors",),
    ),
}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_CODED, _LISTED = _ref("CodedError"), _ref("ListedErrors")
_WEBHOOK_HEADERS: Schema = _or_null({"type": "object", "additionalProperties": _TEXT})
_CALLBACK: Schema = {"type": "string", "pattern": "^https://"}
_REFUSALS: dict[str, Any] = {
    "400": {"description": "something is wrong with it", "content": _json({"anyOf": [_CODED, _LISTED]})},
    "401": {
        "description": "no key, or one that opens nothing",
        "content": {**_json(_CODED), "text/plain": {"schema": {"const": "Missing Authorization header"}}},
    },
    "403": {"description": "not allowed", "content": _json(_LISTED)},
    "404": {"description": "there is no such thing", "content": _json(_CODED)},
    "405": {"description": "not by this method", "content": _json(_CODED)},
    "429": {"description": "too many requests", "content": _json(_CODED)},
}


def _operation(
    answer: str, *, status: int = 200, body: Schema | None = None, parameters: tuple[Schema, ...] = ()
) -> dict[str, Any]:
    """Describe one operation; *answer* names the schema of its success."""
    described: dict[str, Any] = {
        "parameters": list(parameters),
        "responses": {str(status): {"description": "done", "content": _json(_ref(answer))}, **_REFUSALS},
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": _json(body)}
    return described


def _never(parameters: tuple[Schema, ...] = ()) -> dict[str, Any]:
    """Describe an operation that is refused whatever is asked."""
    return {
        "description": "Never carried out: it would create people or send messages.",
        "parameters": list(parameters),
        "responses": _REFUSALS,
    }


def _query(name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "required": required}


_ID = ({"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},)
_ASKED: Mapping[str, Schema] = {"created_at": _ASKED_TIME, "updated_at": _ASKED_TIME, "ps_id": _WHOLE}


def _filters() -> tuple[Schema, ...]:
    found = []
    for name, operators in OPERATORS.items():
        for operator in operators:
            one = _ASKED.get(name, _TEXT)
            many = {**_list_of(one), "maxItems": 100}
            found.append(_query(f"{name}__{operator}", many if operator == "in" else one))
    return tuple(found)


_LIST_QUERY = (
    *_filters(),
    _query("page", {**_WHOLE, "minimum": 1}),
    _query("sort", {"enum": [f"{name}__{way}" for name in SORT_FIELDS for way in ("asc", "desc")]}),
)
_EVENT_NAME: Schema = {"enum": list(EVENTS)}
_WHO = dict.fromkeys(("postscript_subscriber_id", "phone_number"), _TEXT_OR_NUMBER)
_WHO_ELSE = dict.fromkeys(("email", "shopify_customer_id"), _TEXT_OR_NUMBER)


def _one_of(names: Mapping[str, Schema]) -> Schema:
    return {**_object(names), "anyOf": [{"required": [name]} for name in names]}


_OPERATIONS: Mapping[str, dict[str, Any]] = {
    "GET /api/v2/me": _operation("Shop"),
    "GET /api/v2/subscribers": _operation("SubscriberPage", parameters=_LIST_QUERY),
    "POST /api/v2/subscribers": _never(),
    "GET /api/v2/subscribers/{id}": _operation("Subscriber", parameters=_ID),
    "PATCH /api/v2/subscribers/{id}": _operation("Subscriber", parameters=_ID, body=_ref("SubscriberChange")),
    "POST /api/v2/events": _operation("AcceptedEvent", status=202, body=_ref("CustomEvent")),
    "GET /api/v2/keywords": _operation("Keywords"),
    "GET /api/v2/keywords/{id}": _operation("Keyword", parameters=_ID),
    "PATCH /api/v2/compliance/unsubscribe": _operation("Done", status=202, body=_one_of(_WHO)),
    "PATCH /api/v2/compliance/redact": _operation("Done", status=202, body=_one_of({**_WHO, **_WHO_ELSE})),
    "GET /api/v2/webhooks": _operation("Webhooks"),
    "POST /api/v2/webhooks": _operation(
        "Webhook",
        body=_object(
            {"callback_url": _CALLBACK, "event": _EVENT_NAME, "headers": _WEBHOOK_HEADERS},
            ("callback_url", "event"),
        ),
    ),
    "GET /api/v2/webhooks/token": _operation("WebhookToken"),
    "GET /api/v2/webhooks/example": _operation(
        "WebhookExample", parameters=(_query("event", _EVENT_NAME, required=True),)
    ),
    "POST /api/v2/webhooks/test": _operation(
        "Done", status=202, body=_object({"event": _EVENT_NAME}, ("event",))
    ),
    "GET /api/v2/webhooks/{id}": _operation("Webhook", parameters=_ID),
    "PATCH /api/v2/webhooks/{id}": _operation(
        "Webhook",
        parameters=_ID,
        body=_object({"callback_url": _or_null(_CALLBACK), "headers": _WEBHOOK_HEADERS}),
    ),
    "DELETE /api/v2/webhooks/{id}": _operation("Nothing", parameters=_ID),
    "POST /api/v2/message_requests": _never(),
    "GET /api/v2/message_requests/{id}": _never(_ID),
    "GET /api/v2/sent_messages/{id}": _never(_ID),
}
