"""What becomes of a request: carried out, with the faults that hit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .admission import key_refusal, presented_key
from .faults import PAGES, SIDE_EFFECTS, Fault
from .knobs import Knobs
from .people import AUDIENCE_PROPERTY
from .routes import Call, answer, subscriber_named
from .state import SandboxState
from .wire import Reply, coded_error, too_many_requests


@dataclass(frozen=True, kw_only=True)
class CallOutcome:
    """What becomes of a request."""

    reply: Reply | None
    """None: no answer, the connection is reset."""
    applied: bool = False
    """Whether it was a write and was carried out."""
    wait_seconds: float = 0.0
    """Time that passes before the answer."""


def carry_out(
    state: SandboxState, call: Call, faults: Sequence[Fault], *, key: str, has_shop: bool
) -> CallOutcome:
    """Make the faults' side effects, then answer the request as the one other fault lets it be answered."""
    kinds = {fault.kind for fault in faults}
    for each in faults:
        _make_side_effect(state, call, each, key)
    if "revoke" in kinds:
        return CallOutcome(reply=key_refusal(call.knobs.wrong_key))
    fault = next((fault for fault in faults if fault.kind not in SIDE_EFFECTS), None)
    wait_seconds = fault.seconds if fault and fault.kind == "hang" else 0.0
    if fault and not fault.is_applied:
        return CallOutcome(reply=_invented(fault, call.knobs), wait_seconds=wait_seconds)
    reply = answer(state.shop, call, has_shop=has_shop)
    applied = call.method != "GET" and reply.status < 400
    if "shrink" in kinds:
        _shrink(state, call, reply)
    seen = _disguised(state, call, fault, reply) if fault else reply
    return CallOutcome(reply=seen, applied=applied, wait_seconds=wait_seconds)


def _make_side_effect(state: SandboxState, call: Call, fault: Fault, authorization: str) -> None:
    """Change what the fault changes before the request itself."""
    named = subscriber_named(state.shop, call)
    subscriber_id = named if named in state.shop.subscribers else None
    if fault.kind == "revoke":
        state.keyring.revoke(presented_key(authorization))
    elif fault.kind == "redact":
        everyone = [] if subscriber_id else [each["id"] for each in state.shop]
        victim = subscriber_id or (state.chance.choice(everyone) if everyone else None)
        if victim is not None:
            state.shop.redact(victim)
    elif fault.kind == "second_writer" and subscriber_id and call.method == "PATCH":
        state.shop.append_elsewhere(subscriber_id, AUDIENCE_PROPERTY, fault.key)


def _shrink(state: SandboxState, call: Call, reply: Reply) -> None:
    """Remove the first of the people who were just listed, so that all later ones move up."""
    for shown in (_rows(reply) or [])[:1]:
        subscriber_id = state.shop.id_of(str(shown["id"]), call.knobs)
        if subscriber_id is not None and subscriber_id in state.shop.subscribers:
            state.shop.redact(subscriber_id)


def _another_page(state: SandboxState, call: Call, fault: Fault, reply: Reply) -> Reply:
    """Put the fault's rows in place of the subscribers on a page; other answers stay."""
    rows = _rows(reply)
    if rows is None:
        return reply
    shown = rows[: len(rows) // 2] if fault.kind == "short_page" else []
    if fault.kind == "repeated_page":
        before = max(1, int(dict(call.query).get("page", "1")) - 1)
        query = (*(pair for pair in call.query if pair[0] != "page"), ("page", str(before)))
        shown = _rows(answer(state.shop, replace(call, query=query), has_shop=True)) or []
    return replace(reply, content={**reply.content, "subscribers": shown})


def _rows(reply: Reply) -> list[dict[str, object]] | None:
    return reply.content.get("subscribers") if isinstance(reply.content, dict) else None


def _disguised(state: SandboxState, call: Call, fault: Fault, reply: Reply) -> Reply | None:
    """Return what the client sees of the answer."""
    if fault.kind in PAGES:
        return _another_page(state, call, fault, reply)
    match fault.kind:
        case "hang":
            return reply
        case "drip":
            return replace(reply, drip_seconds=fault.seconds)
        case "content_type":
            return replace(reply, media_type="text/html")
        case "truncated":
            return replace(reply, text=reply.body[: len(reply.body) // 2], media_type="application/json")
    return _invented(fault, call.knobs)


def _invented(fault: Fault, knobs: Knobs) -> Reply | None:
    """Return the answer that stands in place of the real one; None for a reset connection."""
    status = fault.status_code
    if fault.kind in {"reset_before", "reset_after"}:
        return None
    if fault.kind == "empty" or fault.body == "empty" or status == 304:
        return Reply(status=status, text="")
    if fault.kind == "html" or fault.body == "html":
        # Shape E6: the page of a proxy in between that has nothing from Postscript.
        page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
        return Reply(status=status, text=page, media_type="text/html")
    if status == 429:
        return too_many_requests(knobs.retry_after_seconds)
    return coded_error(status, "A fault of the sandbox")
