"""The control routes: how a test or a person looks into the sandbox. Postscript has nothing like them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from toolkit.errors import FileFormatError

from .calls import Call
from .faults import faults_as_json, parse_faults
from .openapi import openapi_document
from .records import read_subscribers
from .replies import Reply, json_reply
from .roll import DuplicateIdError, Subscriber
from .state import State
from .strict_json import dump_json, parse_json

PREFIX = "/control/"

_ROWS_AT_ONCE = 1000
_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?", re.IGNORECASE)
_FORM_KINDS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


def control(state: State, call: Call) -> Reply | Response:
    """Carry out one request to a control route."""
    methods = _ROUTES.get(call.path.removeprefix(PREFIX))
    if methods is None:
        return _problem(404, "There is no such control route.")
    if call.method not in methods:
        return _problem(405, "This control route answers to " + " and ".join(methods) + ".")
    try:
        return methods[call.method](state, call)
    except DuplicateIdError as problem:
        return _problem(409, str(problem))
    except ValueError as problem:
        return _problem(400, str(problem))


def refused(request: Request) -> Reply | None:
    """Return the refusal of a request that a web page could have a browser make; None for any other."""
    if not _OWN_HOST.fullmatch(request.headers.get("host", "")):
        return _problem(421, "The sandbox answers as 127.0.0.1 or localhost only.")
    if not request.url.path.startswith(PREFIX):
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "origin" in request.headers or kind in _FORM_KINDS:
        return _problem(403, "A control route takes no request of a web page, nor what a form sends.")
    return None


def _journal(state: State, call: Call) -> Reply:
    since = dict(call.query).get("since", "0")
    if not (since.isascii() and since.isdigit() and len(since) < 16):
        raise ValueError("since must be a whole number: how many records to leave out.")
    return json_reply(state.journal.records(int(since)))


def _custom_events(state: State, call: Call) -> Reply:  # noqa: ARG001 - every handler is called alike
    return json_reply(state.shop.custom_events)


def _get_knobs(state: State, call: Call) -> Reply:  # noqa: ARG001
    return json_reply(asdict(state.knobs))


def _put_knobs(state: State, call: Call) -> Reply:
    state.set_knobs(_object(call))
    return _get_knobs(state, call)


def _get_faults(state: State, call: Call) -> Reply:  # noqa: ARG001
    return json_reply(faults_as_json(state.faults.faults))


def _put_faults(state: State, call: Call) -> Reply:
    state.set_faults(parse_faults(parse_json(call.body)))
    return _get_faults(state, call)


def _delete_faults(state: State, call: Call) -> Reply:
    state.set_faults(())
    return _get_faults(state, call)


def _get_clock(state: State, call: Call) -> Reply:  # noqa: ARG001
    return json_reply({"now": state.shop.now()})


def _advance(state: State, call: Call) -> Reply:
    seconds = _object(call).get("advance")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError("The clock takes an object with advance: seconds to put it forward.")
    state.clock.advance(seconds)
    return _get_clock(state, call)


def _revoke(state: State, call: Call) -> Reply:
    key = _object(call).get("key")
    if not isinstance(key, str):
        raise ValueError("Revoking takes an object with key: the key to refuse from now on.")
    state.keyring.revoke(key)
    return _DONE


def _reset(state: State, call: Call) -> Reply:  # noqa: ARG001
    state.reset()
    return _DONE


def _snapshot(state: State, call: Call) -> Reply:  # noqa: ARG001
    state.snapshot()
    return _DONE


def _restore(state: State, call: Call) -> Reply:  # noqa: ARG001
    state.restore()
    return _DONE


def _openapi(state: State, call: Call) -> Reply:  # noqa: ARG001
    return json_reply(openapi_document())


def _object(call: Call) -> dict[str, Any]:
    document = parse_json(call.body)
    if not isinstance(document, dict):
        raise ValueError("The body must be a JSON object.")
    return document


def _export(state: State, call: Call) -> Response:  # noqa: ARG001
    return StreamingResponse(_ndjson(iter(state.shop)), media_type="application/x-ndjson")


async def _ndjson(subscribers: Iterator[Subscriber]) -> AsyncIterator[str]:
    rows: list[str] = []
    for subscriber in subscribers:
        rows.append(dump_json(subscriber) + "\n")
        if len(rows) == _ROWS_AT_ONCE:
            yield "".join(rows)
            rows = []
    yield "".join(rows)


def _add(state: State, call: Call) -> Reply:
    return json_reply({"added": state.shop.add(_records(call.body, state.shop.now()))}, 201)


def _records(body: bytes, now: str) -> list[Any]:
    """Read a JSON list, or NDJSON."""
    if body.lstrip().startswith(b"["):
        records = parse_json(body)
        return records if isinstance(records, list) else [records]
    try:
        return list(read_subscribers(body.splitlines(), "the request body", now))
    except FileFormatError as problem:
        raise ValueError(str(problem)) from None


def _problem(status: int, message: str) -> Reply:
    return json_reply({"error": message}, status)


_DONE = json_reply({"message": "OK"})
_ROUTES: Mapping[str, Mapping[str, Callable[[State, Call], Reply | Response]]] = {
    "journal": {"GET": _journal},
    "subscribers": {"GET": _export, "POST": _add},
    "custom_events": {"GET": _custom_events},
    "openapi.json": {"GET": _openapi},
    "knobs": {"GET": _get_knobs, "PUT": _put_knobs},
    "faults": {"GET": _get_faults, "PUT": _put_faults, "DELETE": _delete_faults},
    "clock": {"GET": _get_clock, "POST": _advance},
    "revoke": {"POST": _revoke},
    "reset": {"POST": _reset},
    "snapshot": {"POST": _snapshot},
    "restore": {"POST": _restore},
}
