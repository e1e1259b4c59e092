"""All that a running sandbox holds; and the door, the faults, the journal and the delay around the routes."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from .door import DEFAULT_SHOP_KEY, Admission, Door, key_fingerprint, key_refusal
from .options import PROFILES, SIDE_EFFECTS, Fault, FaultPlan, Knobs
from .people import AUDIENCE_PROPERTY
from .records import Record
from .routes import Call, answer, answer_list, subscriber_named
from .shop import Contents, Shop
from .wire import Reply, coded_error, copied, html_page, too_many_requests


class SandboxState:
    """A shop, its door, its journal, its knobs and its faults.

    Nothing is awaited between reading the state and changing it, so every request acts alone;
    the lock keeps out the threads that look at it from outside.

    Absent fields of *subscribers* are filled in, as for a person who just signed up. All *keys* belong to one
    shop and share its limit. *seed* decides all that is left to chance in faults and latencies. *changes* are
    single knobs set anew, such as ``rate=100``, ``page_size=10`` or ``in_encoding="comma"``.
    """

    def __init__(
        self,
        subscribers: Iterable[Mapping[str, Any]] = (),
        *,
        keys: Iterable[str] = (DEFAULT_SHOP_KEY,),
        knobs: Knobs = PROFILES["documented"],
        faults: Iterable[Fault] = (),
        seed: int = 1,
        port: int = 0,
        **changes: Any,
    ) -> None:
        self.knobs = knobs.changed(changes)
        """The knobs as they are set now."""
        self.lock = threading.RLock()
        self._ahead_seconds = 0.0
        self.shop = Shop(
            _own(subscribers), clock=lambda: datetime.now(UTC) + timedelta(seconds=self._ahead_seconds)
        )
        self._door = Door(keys, clock=self._monotonic)
        self.records: list[dict[str, Any]] = []
        self._seed, self._port = seed, port
        self._kept: Contents | None = None
        self.set_faults(faults)

    # Looking

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Every API request so far, oldest first.

        Each has ``at`` (monotonic seconds), ``key_fingerprint``, ``method``, ``path`` (as sent),
        ``query`` (list of [name, value]), ``body`` (of a write), ``status`` (None until answered, and for
        good when the connection is cut instead), ``delay_ms`` (None until the request has acted),
        ``limiter`` (requests that count in its window; None if the key was refused),
        ``violation`` (True for a request that an audience sync must never make), ``fault`` (what went wrong
        on purpose, or None) and ``applied`` (True for a write that was carried out, whatever was answered).
        """
        with self.lock:
            return [copied(record) for record in self.records]

    @property
    def subscribers(self) -> dict[str, Record]:
        """The subscribers as they are now, by id."""
        with self.lock:
            return {subscriber["id"]: copied(subscriber) for subscriber in self.shop}

    @property
    def custom_events(self) -> list[Record]:
        """Each accepted custom event: its body, ``event_id``, and ``matched_subscriber_id`` or None there."""
        with self.lock:
            return [copied(event) for event in self.shop.custom_events]

    # Setting

    def add_subscribers(self, subscribers: Iterable[Any]) -> int:
        """Let people sign up late; all or none, and a ValueError when an id is taken. Return how many."""
        with self.lock:
            return self.shop.add(_own(subscribers))

    def redact(self, subscriber_id: str) -> None:
        """Forget one subscriber."""
        with self.lock:
            self.shop.redact(subscriber_id)

    def set_knobs(self, /, **changes: Any) -> None:
        """Set some knobs anew, for requests that come from now on."""
        with self.lock:
            self.knobs = self.knobs.changed(changes)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Put these faults in place of all others, and count requests from now on."""
        with self.lock:
            self.plan = FaultPlan(faults, seed=self._seed)
            self._started = self._monotonic()
            self._chance = random.Random(f"{self._seed} latency and victims")  # noqa: S311

    def revoke(self, key: Any) -> None:
        """Refuse *key* from now on."""
        if not isinstance(key, str):
            raise ValueError("Revoking takes a key: the one to refuse from now on.")
        with self.lock:
            self._door.revoked.add(key)

    def advance(self, seconds: Any) -> None:
        """Put the clock forward: the calendar, the limit and the time of the faults."""
        if type(seconds) not in (int, float) or not 0 <= seconds <= 10 * 365 * 86_400:
            raise ValueError("The clock can be put forward by 0 seconds to 10 years.")
        with self.lock:
            self._ahead_seconds += seconds

    def snapshot(self) -> None:
        """Keep what the shop holds now, for restore()."""
        with self.lock:
            self._kept = self.shop.contents()

    def restore(self) -> None:
        """Let the shop hold again what it held at the latest snapshot, or at the start."""
        with self.lock:
            self.shop.restore(self._kept)

    def reset(self) -> None:
        """Go back to the first subscribers, all keys and an empty journal; knobs and clock stay."""
        with self.lock:
            self.shop.restore(None)
            self._door.revoked.clear()
            self.records.clear()
            self.set_faults(self.plan.faults)

    def _monotonic(self) -> float:
        return time.monotonic() + self._ahead_seconds

    # Answering

    async def answer(
        self, call: Call, headers: Mapping[str, str], until_gone: Callable[[], Awaitable[None]]
    ) -> Reply | None:
        """Answer a request to the API after its delay; None when the connection is to be reset instead."""
        with self.lock:
            admission = self._door.admit(headers, call.knobs)
            about, since_start = subscriber_named(self.shop, call), self._monotonic() - self._started
            faults = () if admission.refusal else self.plan.hitting(call.route_name, since_start, about)
            record = _opened_record(call, headers, admission, faults)
            self.records.append(record)
            latency = call.knobs.latency_on(call.route_name, self._chance)
        await asyncio.sleep(latency)
        with self.lock:
            reply, record["applied"] = self._result(call, admission, faults)
            wait = next((fault.seconds for fault in faults if fault.kind == "hang"), 0.0)
            record["delay_ms"] = (latency + wait) * 1000
            record["violation"] = reply is not None and reply.violation
        if wait:
            with suppress(TimeoutError):
                await asyncio.wait_for(until_gone(), wait)
        with self.lock:
            record["status"] = reply and reply.status
        return reply

    def _result(self, call: Call, admission: Admission, faults: Sequence[Fault]) -> tuple[Reply | None, bool]:
        """Return the answer as the faults leave it, None for none, and whether a write was made."""
        if admission.refusal:
            return admission.refusal, False
        for each in faults:
            self._make_side_effect(call, each)
        kinds = {each.kind for each in faults}
        if "revoke" in kinds:
            self.revoke(admission.key)
            return key_refusal(call.knobs.wrong_key), False
        fault = next((each for each in faults if each.kind not in SIDE_EFFECTS), None)
        if fault and not fault.is_applied:
            return _invented(fault, call.knobs), False
        reply = answer(self.shop, call, has_shop=admission.has_shop)
        applied = call.method != "GET" and reply.status < 400
        if "shrink" in kinds:
            self._shrink(reply, call.knobs)
        return (self._disguised(fault, call, reply) if fault else reply), applied

    def _make_side_effect(self, call: Call, fault: Fault) -> None:
        """Change what a fault changes before the request itself."""
        shop, named = self.shop, subscriber_named(self.shop, call)
        subscriber = shop.subscribers.get(named or "")
        if fault.kind == "redact":
            everyone = [subscriber] if subscriber else [*shop]
            if everyone:
                shop.redact(self._chance.choice(everyone)["id"])
        elif fault.kind == "second_writer" and subscriber and call.method == "PATCH":
            # As another writer would; anything but a list is left alone.
            current = subscriber["properties"].get(AUDIENCE_PROPERTY) or []
            if isinstance(current, list) and fault.key not in current:
                properties = {**subscriber["properties"], AUDIENCE_PROPERTY: [*current, fault.key]}
                changed = {**subscriber, "properties": properties, "updated_at": shop.now()}
                shop.change(subscriber["id"], changed)

    def _shrink(self, reply: Reply, knobs: Knobs) -> None:
        """Remove the first of the people who were just listed, so that all later ones move up."""
        for shown in (_rows(reply) or [])[:1]:
            subscriber_id = self.shop.id_of(str(shown["id"]), knobs)
            if subscriber_id in self.shop.subscribers:
                self.shop.redact(subscriber_id)

    def _disguised(self, fault: Fault, call: Call, reply: Reply) -> Reply | None:
        """Return what the client sees of the answer; None for a reset connection."""
        match fault.kind:
            case "hang":
                return reply
            case "drip":
                return replace(reply, drip_seconds=fault.seconds)
            case "content_type":
                return replace(reply, media_type="text/html")
            case "truncated":
                return replace(reply, text=reply.body[: len(reply.body) // 2], media_type="application/json")
            case "empty_page" | "short_page" | "repeated_page":
                return self._another_page(fault, call, reply)
        return _invented(fault, call.knobs)

    def _another_page(self, fault: Fault, call: Call, reply: Reply) -> Reply:
        """Put the fault's rows in place of the subscribers on a page; other answers stay."""
        rows = _rows(reply)
        if rows is None:
            return reply
        shown = rows[: len(rows) // 2] if fault.kind == "short_page" else []
        if fault.kind == "repeated_page":
            shown = _rows(answer_list(self.shop, call, back=1)) or []
        return replace(reply, content={**reply.content, "subscribers": shown})


def _own(records: Iterable[Any]) -> Iterable[Any]:
    """Copy the caller's records one by one, so that a later change to them stays with the caller."""
    return (copied(dict(record) if isinstance(record, Mapping) else record) for record in records)


def _opened_record(
    call: Call, headers: Mapping[str, str], admission: Admission, faults: Sequence[Fault]
) -> dict[str, Any]:
    is_read = call.method in {"GET", "HEAD", "OPTIONS"} or isinstance(call.document, ValueError)
    return {
        "at": admission.at,
        "key_fingerprint": key_fingerprint(headers.get("authorization")),
        "method": call.method,
        "path": call.path,
        "query": [list(pair) for pair in call.query],
        "body": None if is_read else call.document,
        "status": None,
        "delay_ms": None,
        "limiter": admission.in_window,
        "violation": False,
        "fault": "+".join(fault.name or fault.kind for fault in faults) or None,
        "applied": False,
    }


def _rows(reply: Reply) -> list[dict[str, Any]] | None:
    return reply.content.get("subscribers") if isinstance(reply.content, dict) else None


def _invented(fault: Fault, knobs: Knobs) -> Reply | None:
    """Return the answer that stands in place of the real one; None for a reset connection."""
    status = fault.status_code
    if fault.kind in {"reset_before", "reset_after"}:
        return None
    if "empty" in {fault.kind, fault.body} or status == 304:
        return Reply(status=status, text="")
    if "html" in {fault.kind, fault.body}:
        return html_page(status)
    if status == 429:
        return too_many_requests(knobs.retry_after_seconds)
    return coded_error(status, "A fault of the sandbox")
