"""What goes wrong between the toolkit and Postscript, and on the toolkit's own machine.

A `Trouble` is one thing that happens to one call. A `Weather` decides which calls have which, from its seed.
"""

from __future__ import annotations

import io
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import requests
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import pysqlite
from urllib3 import HTTPResponse

from toolkit.sandbox.wire import Reply, coded_error, copied, html_page

from .postscript import Postscript
from .world import KilledError, World

STATUSES = (301, 302, 307, 400, 401, 403, 404, 404, 404, 404, 409, 413, 422, 429, 500, 502, 503, 504)
"""404 more often than others: it can mean that a subscriber is gone, and mostly does not."""
NO_ANSWER = ("reset_before", "reset_after", "refused", "timeout", "timeout_after")
GARBLED = ("truncated", "content_type", "empty", "dripping")
DECEPTIONS = (
    "page_empty",
    "page_short",
    "page_repeated",
    "pages_lie",
    "partial",
    "no_effect",
    "ignored",
    "stale",
)
"""Answers that look right and are not."""
APPLIED = frozenset({"reset_after", "timeout_after", *GARBLED})
LATENCY_SECONDS = (0.05, 0.4)
KINDS = {
    "spell": 6,
    "sprinkle": 5,
    "deception": 5,
    "kill at a call": 2,
    "kill at a commit": 2,
    "disk full": 2,
    "cancel": 2,
    "lock lost": 1,
    "connection lost": 1,
    "database restarted": 1,
}
"""What the weather of a run can bring, and how often beside the others."""
MOMENTS = {
    "kill at a call": "kill_at_call",
    "kill at a commit": "kill_at_commit",
    "cancel": "cancel_at_call",
    "lock lost": "lose_lock_at_call",
    "connection lost": "lose_connection_at_commit",
    "database restarted": "restart_at_call",
}
"""What happens at one call or commit → the field of the weather that says at which."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What happens to one call."""

    kind: str
    status: int = 200
    body: str = "json"
    """``json``, ``html`` or ``none``, of a status."""
    is_applied: bool = False
    """Whether the call is carried out behind its answer."""

    @property
    def name(self) -> str:
        return f"{self.status} {self.body}" if self.kind == "status" else self.kind

    def applies_to(self, method: str) -> bool:
        """Whether a call is carried out behind its answer; a limit turns custom events away unread."""
        return self.is_applied and not (method == "POST" and self.status == 429)

    @property
    def denies(self) -> bool:
        """Whether it says, as only Postscript does, that there is no such subscriber, or no such contact."""
        return self.kind == "status" and self.body == "json" and self.status in {400, 404}


def drawn_trouble(chance: random.Random) -> Trouble:
    """Draw what happens to a call that goes wrong."""
    kind = chance.choice(("status", "status", "no answer", "garbled"))
    if kind == "status":
        status, body = chance.choice(STATUSES), chance.choice(("json", "html", "none"))
        # Postscript judges a key before it does anything: its own refusal of one is no lost answer.
        may_apply = not (status in {401, 403} and body == "json")
        return Trouble(
            kind="status", status=status, body=body, is_applied=chance.random() < 0.3 and may_apply
        )
    kind = chance.choice(NO_ANSWER if kind == "no answer" else GARBLED)
    return Trouble(kind=kind, is_applied=kind in APPLIED)


Rule = Callable[[int, requests.PreparedRequest, "str | None"], Trouble | None]


@dataclass(kw_only=True)
class Weather:
    """The troubles of one run."""

    rules: list[Rule] = field(default_factory=list)
    deceives: bool = False
    """True when some answer looks right and is not: what a run concludes from it may be wrong."""
    is_calm: bool = False
    names: list[str] = field(default_factory=list)
    kill_at_call: int = 0
    kill_at_commit: int = 0
    refuse_commits: tuple[int, int] = (0, 0)
    """From which commit of the ledger on, and how many, the disk is full."""
    cancel_at_call: int = 0
    lose_lock_at_call: int = 0
    lose_connection_at_commit: int = 0
    restart_at_call: int = 0

    def on(self, number: int, request: requests.PreparedRequest, subscriber: str | None) -> Trouble | None:
        """Return what happens to the call with that number."""
        return next(filter(None, (rule(number, request, subscriber) for rule in self.rules)), None)


def calm() -> Weather:
    return Weather(is_calm=True)


def drawn_weather(chance: random.Random, *, calls: int = 60) -> Weather:
    """Draw the weather of one run that makes about so many calls."""
    if chance.random() < 0.15:
        return calm()
    weather = Weather()
    for _ in range(chance.choice((1, 1, 2))):
        _worsen(weather, chance, calls)
    return weather


def _worsen(weather: Weather, chance: random.Random, calls: int) -> None:
    """Add one more thing that goes wrong."""
    kind = chance.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    at = 1 + int(chance.random() ** 2 * calls)
    weather.names.append(kind)
    match kind:
        case "spell":
            weather.rules.append(_spell(chance, calls))
        case "sprinkle":
            weather.rules.append(_sprinkle(chance, chance.choice((0.03, 0.1, 0.3))))
        case "deception":
            weather.deceives = True
            weather.rules.append(_deception(chance, weather.names))
        case "disk full":
            weather.refuse_commits = (at, chance.choice((1, 3, 1000)))
        case _:
            setattr(weather, MOMENTS[kind], at)


def broken(subscriber: str, trouble: Trouble) -> Rule:
    """Return a rule by which every call about one subscriber goes wrong in the same way."""
    return lambda _number, _request, about: trouble if about == subscriber else None


def _spell(chance: random.Random, calls: int) -> Rule:
    start, length = 1 + chance.randrange(calls), chance.choice((1, 3, 10, 30, 1000))
    method = chance.choice(("", "GET", "PATCH", "POST"))
    trouble = drawn_trouble(chance)

    def rule(number: int, request: requests.PreparedRequest, _about: str | None) -> Trouble | None:
        is_hit = start <= number < start + length and method in ("", request.method)
        return trouble if is_hit else None

    return rule


def _sprinkle(chance: random.Random, share: float) -> Rule:
    method = chance.choice(("", "", "PATCH", "POST"))

    def rule(_number: int, request: requests.PreparedRequest, _about: str | None) -> Trouble | None:
        is_hit = chance.random() < share and method in ("", request.method)
        return drawn_trouble(chance) if is_hit else None

    return rule


def _deception(chance: random.Random, names: list[str]) -> Rule:
    kind = chance.choice(DECEPTIONS)
    names.append(kind)
    share = chance.choice((0.2, 0.5, 1.0))
    if kind == "stale":
        stale = Trouble(kind=kind, is_applied=True)
        return lambda _number, request, _about: (
            stale if request.method == "GET" and chance.random() < share else None
        )
    method = "PATCH" if kind == "no_effect" else "GET"

    def rule(_number: int, request: requests.PreparedRequest, _about: str | None) -> Trouble | None:
        if request.method != method or chance.random() >= share:
            return None
        query = request.url or ""
        is_lookup = "__in=" in query or "__eq=" in query
        is_list = method == "PATCH" or (
            "/subscribers?" in query and is_lookup == (kind in ("partial", "ignored"))
        )
        return Trouble(kind=kind, is_applied=kind != "no_effect") if is_list else None

    return rule


@dataclass(kw_only=True)
class Process:
    """One kernel or scheduled job: its calls, its commits, and its end."""

    world: World
    name: str
    weather: Weather
    shop: Postscript
    meanwhile: Callable[[], None] = lambda: None
    """What others do while a call is under way."""
    calls: int = 0
    left_at: list[float] = field(default_factory=list)
    """When each call left."""
    turned_away: int = 0
    """Calls that met the limit because earlier ones took longer on their way; each is sent again."""
    commits: int = 0
    is_dead: bool = False
    has_ended: bool = False
    is_quiet: bool = True
    """True when others do nothing while it runs."""
    troubles: Counter[str] = field(default_factory=Counter)
    denied: set[str] = field(default_factory=set)
    """Subscribers whose last read or lookup Postscript's own answer refused: a run takes them for none."""
    cancel: Callable[[], None] = lambda: None
    lose_lock: Callable[[], None] = lambda: None
    ahead: timedelta = timedelta()
    """How far the clock of its machine is ahead of the world's."""
    connections: set[sqlite3.Connection] = field(default_factory=set)

    @property
    def busiest_second(self) -> int:
        """The most calls that left within a second."""
        return max((sum(t <= other < t + 1 for other in self.left_at) for t in self.left_at), default=0)

    def check(self) -> None:
        """Raise KilledError when the process is not there any more."""
        if self.is_dead:
            raise KilledError

    def die(self, where: str) -> None:
        self.is_dead = True
        self.troubles["killed at a " + where.split()[1]] += 1
        self.world.note(f"  {self.name}: killed {where}")
        raise KilledError

    def watch(self, ledger: Any) -> None:
        """Let this process's commits be counted, refused, and be the moment of its end."""
        dialect = ledger._engine.dialect
        if self.weather.restart_at_call:
            ledger._engine.pool._pre_ping = True  # as it is for a database that can be restarted
            sa.event.listen(ledger._engine, "checkout", lambda opened, *_: self.connections.add(opened))
        commit = dialect.do_commit
        first, count = self.weather.refuse_commits

        def do_commit(connection: Any) -> None:
            self.check()
            self.commits += 1
            is_last = self.commits == self.weather.kill_at_commit
            if is_last and self.commits % 2:
                self.die(f"before commit {self.commits}")
            if first and first <= self.commits < first + count:
                self.troubles["disk full"] += 1
                self.world.note(f"  {self.name}: commit {self.commits} refused")
                raise sqlite3.OperationalError("database or disk is full")
            if self.commits == self.weather.lose_connection_at_commit:
                self.troubles["connection lost"] += 1
                if self.commits % 2:
                    commit(connection)
                self.world.note(f"  {self.name}: connection lost at commit {self.commits}")
                connection.dbapi_connection.close()
                raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
            commit(connection)
            if is_last:
                self.die(f"after commit {self.commits}")

        dialect.do_commit = do_commit

    def restart_database(self) -> None:
        """End every session of the database, and with it the lock."""
        self.troubles["database restarted"] += 1
        while self.connections:
            self.connections.pop().close()
        self.lose_lock()


class Transport(requests.adapters.BaseAdapter):
    """Carries a process's requests to the shop, through its weather."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process, self._world, self._shop = process, process.world, process.shop
        self._chance = random.Random(f"{process.name} {process.world.chance.random()}")

    def close(self) -> None:
        """Nothing is open."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        """Let time pass, others act, and the weather have its way; return what comes back."""
        process, weather = self._process, self._process.weather
        process.check()
        process.calls += 1
        process.left_at.append(self._world.seconds)
        number = process.calls
        path = (request.url or "").partition("/api/v2")[2]
        if number == weather.cancel_at_call:
            process.troubles["cancel"] += 1
            process.cancel()
        if number == weather.lose_lock_at_call:
            process.troubles["lock lost"] += 1
            process.lose_lock()
        if number == weather.restart_at_call:
            process.restart_database()
        if number == weather.kill_at_call and number % 3 == 0:
            process.die(f"before call {number}")
        call, about = self._shop.read(request)
        trouble = weather.on(number, request, about)
        self._travel()
        process.meanwhile()
        entry, reply = self._shop.enter(call, about, process.name), None
        if trouble is None or trouble.applies_to(call.method):
            kind = trouble.kind if trouble else ""
            reply = self._shop.carry_out(entry, call, request.headers, kind)
            process.turned_away += trouble is None and reply.status == 429
        if number == weather.kill_at_call:
            process.die(f"after call {number}")
        self._travel()
        what = f"{request.method} {path} {call.body.decode()[:160]}"
        self._world.note(f"  {process.name} {number}: {what} -> {trouble.name if trouble else reply.status}")
        if request.method == "GET":
            named = {about} if about else self._shop.named_in(path)
            (process.denied.update if trouble and trouble.denies else process.denied.difference_update)(named)
        if trouble:
            process.troubles[trouble.name] += 1
        return self._outcome(request, trouble, reply, about)

    def _travel(self) -> None:
        self._world.advance(
            self._chance.uniform(*LATENCY_SECONDS) / 2 if self._chance.random() < 0.3 else 0.0
        )
        self._world.scheduler.pause()
        self._process.check()

    def _outcome(
        self,
        request: requests.PreparedRequest,
        trouble: Trouble | None,
        reply: Reply | None,
        about: str | None,
    ) -> requests.Response:
        match trouble:
            case None:
                assert reply is not None
                return _response(request, self._rounded(reply))
            case Trouble(kind="status"):
                return _response(request, _refusal(trouble))
            case Trouble(kind="refused"):
                cause = type("NewConnectionError", (OSError,), {})("refused")
                raise requests.exceptions.ConnectionError(cause)
            case Trouble(kind="timeout" | "timeout_after"):
                self._world.advance(10)
                raise requests.exceptions.ReadTimeout("no answer in time")
            case Trouble(kind="reset_before" | "reset_after"):
                raise requests.exceptions.ConnectionError("Connection aborted.")
        if reply is None:  # no_effect: what was there is shown, and stays
            found = self._shop.record(about)
            gone = _refusal(Trouble(kind="status", status=404))
            return _response(request, Reply(status=200, content={**found}) if found else gone)
        drip = (lambda: self._world.advance(3)) if trouble.kind == "dripping" else None
        return _response(request, _disguised(trouble, reply, self._chance), dripping=drip)

    def _rounded(self, reply: Reply) -> Reply:
        """Round the times that the shop shows, where it does."""
        step = self._shop.rounded_to
        if not step or reply.status != 200 or not isinstance(reply.content, dict):
            return reply
        content = copied(reply.content)
        for record in [*(content.get("subscribers") or []), content]:
            if isinstance(record, dict) and "updated_at" in record:
                shown = record["updated_at"]
                record["updated_at"] = f"{shown[:17]}00Z" if step >= 60 else shown
        return replace(reply, content=content)


def _disguised(trouble: Trouble, reply: Reply, chance: random.Random) -> Reply:
    """Return the answer as it arrives."""
    match trouble.kind:
        case "truncated":
            return replace(reply, text=reply.body[: len(reply.body) // 2], media_type="application/json")
        case "content_type":
            return replace(reply, media_type="text/html")
        case "empty":
            return replace(reply, text="", media_type="application/json")
    page = reply.content
    if not isinstance(page, dict) or not isinstance(page.get("subscribers"), list):
        return reply
    rows, info = [*page["subscribers"]], dict(page.get("page_info") or {})
    match trouble.kind:
        case "page_empty":
            rows = []
        case "page_short" | "partial":
            rows = rows[: len(rows) // 2] if chance.random() < 0.5 else rows[len(rows) // 2 :]
        case "page_repeated":
            rows = [*rows, *rows[:1]] if chance.random() < 0.5 else rows[:1] * len(rows)
        case "pages_lie":
            lie = chance.choice((-1, 1, None))
            info["total_pages"] = None if lie is None else max(0, int(info.get("total_pages") or 0) + lie)
    return replace(reply, content={**page, "subscribers": rows, "page_info": info})


def _refusal(trouble: Trouble) -> Reply:
    status, headers = trouble.status, {"Location": "/elsewhere"} if 300 <= trouble.status < 400 else {}
    match trouble.body:
        case "html":
            return replace(html_page(status), headers=headers)
        case "none":
            return Reply(status=status, text="", media_type="", headers=headers)
    return coded_error(status, "A fault of the simulation", **headers)


class _Drip(io.BytesIO):
    """A body that comes a few bytes at a time."""

    def __init__(self, body: bytes, on_read: Callable[[], None]) -> None:
        super().__init__(body)
        self._on_read = on_read

    def read(self, size: int | None = -1) -> bytes:
        self._on_read()
        return super().read(min(size, 50) if size and size > 0 else 50)

    read1 = read


def _response(
    request: requests.PreparedRequest, reply: Reply, *, dripping: Callable[[], None] | None = None
) -> requests.Response:
    body, kind = reply.body.encode(), reply.media_type
    response = requests.Response()
    response.status_code = reply.status
    # As a server does, also of an empty body: headers that break off are known by its absence.
    response.headers["Content-Length"] = str(len(body))
    response.headers.update({"Content-Type": kind, **reply.headers} if kind else dict(reply.headers))
    source = _Drip(body, dripping) if dripping else io.BytesIO(body)
    response.raw = HTTPResponse(
        source, status=reply.status, preload_content=False, headers=dict(response.headers)
    )
    response.url, response.request = request.url or "", request
    return response


def shared_cache(engine: sa.Engine) -> None:
    """Let every ledger of the simulation reuse what SQLAlchemy compiled for the first."""
    engine._compiled_cache = _COMPILED
    engine.dialect.__class__ = _Dialect


class _Dialect(pysqlite.dialect):  # type: ignore[misc]
    """SQLite's, of which any two are equal: what is compiled is kept by statement and dialect."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Dialect)

    def __hash__(self) -> int:
        return 1


_COMPILED = sa.util.LRUCache(2000)
