"""What becomes of a request: carried out, with the faults that hit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .admission import key_refusal, presented_key
from .faults import PAGES, SIDE_EFFECTS, Fault
from .knobs import Knobs
from .people import AUDIENCE_PROPERTY
from .routes import Call, answer, subscriber_named
from .state import State
from .wire import FAULT, Reply, coded_error, gateway_page, too_many_requests


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of a request."""

    reply: Reply | None
    """None: no answer, the connection is reset."""
    applied: bool = False
    """Whether it was a write and was carried out."""
    wait_seconds: float = 0.0
    """Time that passes before the answer."""


def carry_out(
    state: State, call: Call, faults: Sequence[Fault], *, authorization: str, has_shop: bool
) -> Outcome:
    """Make the faults' side effects, then answer the request as the one other fault lets it be answered."""
    kinds = {fault.kind for fault in faults}
    for each in faults:
        _make_side_effect(state, call, each, authorization)
    if "revoke" in kinds:
        return Outcome(reply=key_refusal(call.knobs.wrong_key))
    fault = next((fault for fault in faults if fault.kind not in SIDE_EFFECTS), None)
    if fault and not fault.is_applied:
        return _not_applied(fault, call.knobs)
    reply = answer(state.shop, call, has_shop=has_shop)
    outcome = Outcome(reply=reply, applied=call.method != "GET" and reply.status < 400)
    if "shrink" in kinds:
        _shrink(state, call, reply)
    if fault is None:
        return outcome
    if fault.kind in PAGES:
        return replace(outcome, reply=_another_page(state, call, fault, reply))
    if fault.kind == "hang":
        return replace(outcome, wait_seconds=fault.seconds)
    return replace(outcome, reply=_disguised(fault, reply, call.knobs))


def _make_side_effect(state: State, call: Call, fault: Fault, authorization: str) -> None:
    """Change what the fault changes before the request itself."""
    named = subscriber_named(state.shop, call)
    subscriber_id = named if named in state.shop else None
    if fault.kind == "revoke":
        state.keyring.revoke(presented_key(authorization))
    elif fault.kind == "redact":
        everyone = [] if subscriber_id else [each["id"] for each in state.shop]
        victim = subscriber_id or (state.chance.choice(everyone) if everyone else None)
        if victim is not None:
            state.shop.redact(victim)
    elif fault.kind == "second_writer" and subscriber_id and call.method == "PATCH":
        state.shop.append_elsewhere(subscriber_id, AUDIENCE_PROPERTY, fault.key)


def _shrink(state: State, call: Call, reply: Reply) -> None:
    """Remove the first of the people who were just listed, so that all later ones move up."""
    for shown in (_rows(reply) or [])[:1]:
        subscriber_id = state.shop.id_of(str(shown["id"]), call.knobs)
        if subscriber_id is not None and subscriber_id in state.shop:
            state.shop.redact(subscriber_id)


def _another_page(state: State, call: Call, fault: Fault, reply: Reply) -> Reply:
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


def _not_applied(fault: Fault, knobs: Knobs) -> Outcome:
    if fault.kind == "reset_before":
        return Outcome(reply=None)
    if fault.kind == "hang":
        return Outcome(reply=_invented(504), wait_seconds=fault.seconds)
    return Outcome(reply=_in_place(fault, knobs))


def _disguised(fault: Fault, reply: Reply, knobs: Knobs) -> Reply | None:
    """Return what the client sees of the answer."""
    match fault.kind:
        case "reset_after":
            return None
        case "drip":
            return replace(reply, drip_seconds=fault.seconds)
        case "content_type":
            return replace(reply, media_type="text/html")
        case "truncated":
            return replace(reply, text=reply.body[: len(reply.body) // 2], media_type="application/json")
    return _in_place(fault, knobs)


def _in_place(fault: Fault, knobs: Knobs) -> Reply:
    """Return the answer that stands in place of the real one."""
    if fault.kind == "empty" or fault.body == "empty" or fault.status_code == 304:
        return Reply(status=fault.status_code, text="")
    if fault.kind == "html" or fault.body == "html":
        return gateway_page(fault.status_code)
    if fault.status_code == 429:
        return too_many_requests(knobs.retry_after_seconds)
    return _invented(fault.status_code)


def _invented(status: int) -> Reply:
    return coded_error(status, FAULT + status, "A fault of the sandbox")
