"""The control routes: how a test or a person looks into the sandbox. Postscript has nothing like them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from toolkit.errors import FileFormatError
from toolkit.sandbox.journal import Journal
from toolkit.sandbox.records import read_subscribers
from toolkit.sandbox.replies import Reply, json_reply
from toolkit.sandbox.routes import Call
from toolkit.sandbox.shop import DuplicateIdError, Shop, Subscriber
from toolkit.sandbox.strict_json import dump_json, parse_json

PREFIX = "/control/"

_ROWS_AT_ONCE = 1000


def control(shop: Shop, journal: Journal, call: Call) -> Reply | Response:
    """Carry out one request to a control route."""
    routes: dict[str, dict[str, Callable[[], Reply | Response]]] = {
        "journal": {"GET": lambda: json_reply(journal.records())},
        "subscribers": {"GET": lambda: _export(shop), "POST": lambda: _add(shop, call.body)},
        "custom_events": {"GET": lambda: json_reply(shop.custom_events)},
        "reset": {"POST": lambda: _reset(shop, journal)},
    }
    methods = routes.get(call.path.removeprefix(PREFIX))
    if methods is None:
        return _problem(404, "There is no such control route.")
    if call.method not in methods:
        return _problem(405, "This control route answers to " + " and ".join(methods) + ".")
    return methods[call.method]()


def _export(shop: Shop) -> Response:
    return StreamingResponse(_ndjson(iter(shop)), media_type="application/x-ndjson")


async def _ndjson(subscribers: Iterator[Subscriber]) -> AsyncIterator[str]:
    rows: list[str] = []
    for subscriber in subscribers:
        rows.append(dump_json(subscriber) + "\n")
        if len(rows) == _ROWS_AT_ONCE:
            yield "".join(rows)
            rows = []
    yield "".join(rows)


def _add(shop: Shop, body: bytes) -> Reply:
    try:
        return json_reply({"added": shop.add(_records(body, shop.now()))}, 201)
    except DuplicateIdError as problem:
        return _problem(409, str(problem))
    except ValueError as problem:
        return _problem(400, str(problem))


def _records(body: bytes, now: str) -> list[Any]:
    """Read a JSON list, or NDJSON."""
    if body.lstrip().startswith(b"["):
        records = parse_json(body)
        return records if isinstance(records, list) else [records]
    try:
        return list(read_subscribers(body.splitlines(), "the request body", now))
    except FileFormatError as problem:
        raise ValueError(str(problem)) from None


def _reset(shop: Shop, journal: Journal) -> Reply:
    shop.reset()
    journal.clear()
    return json_reply({"message": "OK"})


def _problem(status: int, message: str) -> Reply:
    return json_reply({"error": message}, status)
