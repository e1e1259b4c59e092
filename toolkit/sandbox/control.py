"""The control routes: how a test or a person looks into the sandbox. Postscript has nothing like them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from starlette.responses import Response, StreamingResponse

from toolkit.errors import FileFormatError

from .faults import parse_faults
from .openapi import openapi_document
from .records import Record, read_records
from .routes import Call
from .shop import DuplicateIdError
from .state import SandboxState
from .wire import Reply, dump_json, parse_body

PREFIX = "/control/"

_ROWS_AT_ONCE = 1000


def control(state: SandboxState, call: Call) -> Reply | Response:
    """Carry out one request to a control route."""
    methods = _ROUTES.get(call.path.removeprefix(PREFIX))
    if methods is None:
        return problem(404, "There is no such control route.")
    if call.method not in methods:
        return problem(405, "This control route answers to " + " and ".join(methods) + ".")
    try:
        with state.lock:
            content = methods[call.method](state, call)
    except DuplicateIdError as error:
        return problem(409, str(error))
    except (ValueError, FileFormatError) as error:
        return problem(400, str(error))
    return content if isinstance(content, (Reply, Response)) else Reply(status=200, content=content)


def problem(status: int, message: str) -> Reply:
    """Refuse a request that is not one to the API."""
    return Reply(status=status, content={"error": message})


def _journal(state: SandboxState, call: Call) -> Any:
    since = dict(call.query).get("since", "0")
    if not (since.isascii() and since.isdigit() and len(since) < 16):
        raise ValueError("since must be a whole number: how many records to leave out.")
    return state.records[int(since) :]


def _export(state: SandboxState, _: Call) -> Response:
    return StreamingResponse(_ndjson(iter(state.shop)), media_type="application/x-ndjson")


async def _ndjson(subscribers: Iterator[Record]) -> AsyncIterator[str]:
    rows: list[str] = []
    for subscriber in subscribers:
        rows.append(dump_json(subscriber) + "\n")
        if len(rows) == _ROWS_AT_ONCE:
            yield "".join(rows)
            rows = []
    yield "".join(rows)


def _add(state: SandboxState, call: Call) -> Reply:
    """Add the subscribers of a JSON list, or of NDJSON."""
    if call.body.lstrip().startswith(b"["):
        records = parse_body(call.body)
    else:
        records = read_records(call.body.splitlines(), "the request body", state.shop.now())
    return Reply(status=201, content={"added": state.add_subscribers(records)})


def _knobs(state: SandboxState, call: Call) -> Any:
    if call.method == "PUT":
        state.set_knobs(**_object(call))
    return asdict(state.knobs)


def _faults(state: SandboxState, call: Call) -> Any:
    if call.method != "GET":
        state.set_faults(parse_faults(call.body) if call.method == "PUT" else ())
    return [asdict(fault) for fault in state.plan.faults]


def _clock(state: SandboxState, call: Call) -> Any:
    if call.method == "POST":
        state.advance(_object(call).get("advance"))
    return {"now": state.shop.now()}


def _revoke(state: SandboxState, call: Call) -> None:
    key = _object(call).get("key")
    if not isinstance(key, str):
        raise ValueError("Revoking takes an object with key: the key to refuse from now on.")
    state.revoke(key)


def _object(call: Call) -> Record:
    document = parse_body(call.body)
    if not isinstance(document, dict):
        raise ValueError("The body must be a JSON object.")
    return document


_ROUTES: Mapping[str, Mapping[str, Callable[[SandboxState, Call], Any]]] = {
    "journal": {"GET": _journal},
    "subscribers": {"GET": _export, "POST": _add},
    "custom_events": {"GET": lambda state, _: state.shop.custom_events},
    "openapi.json": {"GET": lambda *_: openapi_document()},
    "knobs": {"GET": _knobs, "PUT": _knobs},
    "faults": {"GET": _faults, "PUT": _faults, "DELETE": _faults},
    "clock": {"GET": _clock, "POST": _clock},
    "revoke": {"POST": _revoke},
    "reset": {"POST": lambda state, _: state.reset()},
    "snapshot": {"POST": lambda state, _: state.snapshot()},
    "restore": {"POST": lambda state, _: state.restore()},
}
