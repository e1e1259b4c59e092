"""Carrying a request out together with the faults that hit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .access import key_refusal, presented_key
from .calls import Call
from .faults import DEEDS, PAGES, Fault
from .knobs import Knobs
from .people import AUDIENCE_PROPERTY
from .replies import Reply, coded_error, gateway_page, too_many_requests
from .routes import answer, subscriber_asked_for
from .state import State
from .strict_json import dump_json

_INVENTED_CODES = 9000


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What becomes of a request."""

    reply: Reply | None
    """None: no answer, the connection is reset."""
    applied: bool
    """Whether it was a write and was carried out."""
    wait_seconds: float = 0.0
    """Time that passes before the answer."""


def carried_out(
    state: State, call: Call, faults: Sequence[Fault], *, authorization: str, has_shop: bool
) -> Ending:
    """Do what the faults do to the shop, then answer the request as they let it be answered."""
    deeds = [fault for fault in faults if fault.kind in DEEDS]
    others = [fault for fault in faults if fault.kind not in DEEDS]
    for fault in deeds:
        _do(state, call, fault, authorization)
    if any(fault.kind == "revoke" for fault in deeds):
        return Ending(reply=key_refusal(call.knobs.wrong_key), applied=False)
    if others and not others[0].is_applied:
        return _not_applied(others[0], call.knobs)
    reply = answer(state.shop, call, has_shop=has_shop)
    applied = call.method != "GET" and reply.status < 400
    if any(fault.kind == "shrink" for fault in deeds):
        _shrink(state, reply)
    if others and others[0].kind in PAGES:
        return Ending(reply=_another_page(state, call, others[0], reply), applied=applied)
    ending = Ending(reply=reply, applied=applied)
    return _disguised(others[0], ending, reply, call.knobs) if others else ending


def _do(state: State, call: Call, fault: Fault, authorization: str) -> None:
    """Do what comes before the request itself."""
    person = subscriber_asked_for(state.shop, call)
    if fault.kind == "revoke":
        state.keyring.revoke(presented_key(authorization))
    elif fault.kind == "redact":
        everybody = [] if person else [each["id"] for each in state.shop]
        victim = person or (state.chance.choice(everybody) if everybody else None)
        if victim is not None:
            state.shop.redact(victim)
    elif fault.kind == "second_writer" and person and call.method == "PATCH":
        state.shop.append_elsewhere(person, AUDIENCE_PROPERTY, fault.key)


def _shrink(state: State, reply: Reply) -> None:
    """Remove the first of the people who were just listed, so that all later ones move up."""
    listed = reply.content.get("subscribers") if isinstance(reply.content, dict) else None
    for shown in (listed or [])[:1]:
        subscriber_id = shown["id"] if isinstance(shown["id"], str) else state.shop.numbered(shown["id"])
        if subscriber_id is not None and subscriber_id in state.shop:
            state.shop.redact(subscriber_id)


def _another_page(state: State, call: Call, fault: Fault, reply: Reply) -> Reply:
    """Put what the fault shows in place of the subscribers that were asked for; other answers stay."""
    rows = reply.content.get("subscribers") if isinstance(reply.content, dict) else None
    if rows is None:
        return reply
    shown = rows[: len(rows) // 2] if fault.kind == "short_page" else []
    if fault.kind == "repeated_page":
        before = max(1, int(dict(call.query).get("page", "1")) - 1)
        query = (*((name, value) for name, value in call.query if name != "page"), ("page", str(before)))
        shown = answer(state.shop, replace(call, query=query), has_shop=True).content["subscribers"]
    return replace(reply, content={**reply.content, "subscribers": shown})


def _not_applied(fault: Fault, knobs: Knobs) -> Ending:
    if fault.kind == "reset_before":
        return Ending(reply=None, applied=False)
    if fault.kind == "hang":
        return Ending(reply=_invented(504), applied=False, wait_seconds=fault.seconds)
    return Ending(reply=_in_place(fault, knobs), applied=False)


def _disguised(fault: Fault, ending: Ending, reply: Reply, knobs: Knobs) -> Ending:
    """Let the request be carried out and its answer not be seen, or not as it is."""
    if fault.kind == "reset_after":
        return replace(ending, reply=None)
    if fault.kind == "hang":
        return replace(ending, wait_seconds=fault.seconds)
    if fault.kind == "drip":
        return replace(ending, reply=replace(reply, drip_seconds=fault.seconds))
    text = dump_json(reply.content) if reply.text is None else reply.text
    if fault.kind == "content_type":
        return replace(ending, reply=replace(reply, text=text, media_type="text/html"))
    if fault.kind == "truncated":
        cut = text[: len(text) // 2]
        return replace(ending, reply=replace(reply, text=cut, media_type="application/json"))
    return replace(ending, reply=_in_place(fault, knobs))


def _in_place(fault: Fault, knobs: Knobs) -> Reply:
    """Give the answer that stands in place of the real one."""
    if fault.kind == "empty" or fault.body == "empty" or fault.status_code == 304:
        return Reply(status=fault.status_code, text="", media_type="application/json")
    if fault.kind == "html" or fault.body == "html":
        return gateway_page(fault.status_code)
    return (
        too_many_requests(knobs.retry_after_seconds)
        if fault.status_code == 429
        else _invented(fault.status_code)
    )


def _invented(status: int) -> Reply:
    return coded_error(status, _INVENTED_CODES + status, "A fault of the sandbox")
