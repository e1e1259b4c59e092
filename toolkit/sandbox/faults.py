"""Faults: what goes wrong, on which requests, and when; decided here and carried out by the application.

Four sorts of kinds:

- The answer is another: ``status``, ``html``, ``empty``, ``content_type``, ``truncated``.
- The page of subscribers is another: ``empty_page``, ``short_page`` (its first half), ``repeated_page`` (the
  page before).
- The connection misbehaves: ``reset_before``, ``reset_after``, ``hang``, ``drip``.
- The shop changes meanwhile: ``revoke``, ``redact``, ``second_writer``, ``shrink``. Such a fault does its
  deed and the request then goes on, so it can come together with one of the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args, get_type_hints

Kind = Literal[
    "status",
    "html",
    "empty",
    "content_type",
    "truncated",
    "empty_page",
    "short_page",
    "repeated_page",
    "reset_before",
    "reset_after",
    "hang",
    "drip",
    "revoke",
    "redact",
    "second_writer",
    "shrink",
]
DEEDS = frozenset({"revoke", "redact", "second_writer", "shrink"})
"""Kinds that change the shop, not the answer."""
PAGES = frozenset({"empty_page", "short_page", "repeated_page"})

_EITHER_WAY = frozenset({"status", "html", "empty", "hang"})
_APPLIED = frozenset({"empty", "hang", "drip", "content_type", "truncated", "reset_after"}) | PAGES | DEEDS
_STATUS = {"status": 503}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong. All conditions that are given must hold."""

    kind: Kind
    route: str = "*"
    """Such as ``"PATCH /subscribers/{id}"``; ``*`` stands for any text, alone for every request."""
    name: str = ""
    """What the journal calls it; empty for its kind."""

    subscriber: str = ""
    """Only requests about the subscriber with this id: in the path, or in a custom event."""

    # When; requests are counted from 1, those on the route and for the subscriber only.
    nth: tuple[int, ...] = ()
    """Only these requests."""
    first: int | None = None
    """Only so many requests from the start."""
    every: int | None = None
    """Only each request of such a number."""
    span_seconds: tuple[float, float] | None = None
    """Only from the one to the other time, since the start or the latest reset."""
    probability: float = 1.0

    # What
    status: int | None = None
    """Status code of the answer; None for 503 (``status``) or 200 (``html`` and ``empty``)."""
    body: Literal["json", "html", "empty"] = "json"
    """Of ``status``."""
    applied: bool | None = None
    """Whether the request is carried out behind the answer: may be said for ``status`` and ``html`` (None:
    no), ``empty`` and ``hang`` (None: yes). A ``hang`` without it ends in 504."""
    seconds: float = 30.0
    """Of ``hang``, and those over which a ``drip`` sends its body byte by byte."""
    key: str = "other_writer"
    """What the ``second_writer`` appends to the list of audiences."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ValueError(f"A fault's {problem}.")

    @property
    def is_applied(self) -> bool:
        """Whether the request is carried out although the client does not get its answer."""
        return self.kind in _APPLIED if self.applied is None else self.applied

    @property
    def status_code(self) -> int:
        """Status code of the answer."""
        return self.status or _STATUS.get(self.kind, 200)


class FaultPlan:
    """Tells which faults hit a request; the same ones for the same seed and order of requests."""

    def __init__(self, faults: Iterable[Fault], *, seed: int) -> None:
        self.faults = tuple(faults)
        self._seed = seed
        self.restart()

    def restart(self) -> None:
        """Count from the start again."""
        self._seen = [0] * len(self.faults)
        # Each fault has its own, so that one more fault changes nothing for the others.
        places = range(len(self.faults))
        self._chances = [random.Random(f"{self._seed} {place}") for place in places]  # noqa: S311

    def hitting(self, route: str, since_start: float, subscriber: str | None = None) -> tuple[Fault, ...]:
        """Count a request and return its faults: all deeds, and the first of the others."""
        hits = [
            fault
            for place, fault in enumerate(self.faults)
            if fault.subscriber in {"", subscriber} and self._hits(place, fault, route, since_start)
        ]
        others = [fault for fault in hits if fault.kind not in DEEDS]
        return (*(fault for fault in hits if fault.kind in DEEDS), *others[:1])

    def _hits(self, place: int, fault: Fault, route: str, since_start: float) -> bool:
        if not fnmatchcase(route, fault.route):
            return False
        self._seen[place] += 1
        number = self._seen[place]
        low, high = fault.span_seconds or (0.0, float("inf"))
        drawn = fault.probability >= 1 or self._chances[place].random() < fault.probability
        return (
            drawn
            and (not fault.nth or number in fault.nth)
            and (fault.first is None or number <= fault.first)
            and (fault.every is None or number % fault.every == 0)
            and low <= since_start < high
        )


def parse_faults(document: Any) -> tuple[Fault, ...]:
    """Read a JSON list of faults; a ValueError says in a sentence what is wrong.

    >>> parse_faults([{"kind": "status", "status": 429, "nth": [2, 3]}])[0].nth
    (2, 3)
    """
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise ValueError("Faults are a JSON list of objects.")
    return tuple(_parse_fault(each) for each in document)


def faults_as_json(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """Write faults as JSON values that parse_faults() reads."""
    return [asdict(fault) for fault in faults]


_NAMES = frozenset(each.name for each in fields(Fault))


def _parse_fault(given: Mapping[str, Any]) -> Fault:
    unknown = sorted(set(given) - _NAMES)
    if unknown or "kind" not in given:
        what = f"has no {unknown[0]!r}" if unknown else "needs a kind"
        raise ValueError(f"A fault {what}; it has: {', '.join(sorted(_NAMES))}.")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    return Fault(**values)


def _problem(fault: Fault) -> str:
    """Say what is wrong with a fault; empty when nothing is."""
    hints = get_type_hints(Fault)
    checks = {
        f"kind must be one of: {', '.join(get_args(Kind))}": fault.kind in get_args(Kind),
        "body must be json, html or empty": fault.body in get_args(hints["body"]),
        "route, name, subscriber and key must be texts": all(
            isinstance(text, str) for text in (fault.route, fault.name, fault.subscriber, fault.key)
        ),
        "nth must be whole numbers from 1": isinstance(fault.nth, tuple) and all(map(_is_count, fault.nth)),
        "first and every must be whole numbers from 1": all(
            count is None or _is_count(count) for count in (fault.first, fault.every)
        ),
        "span_seconds must be two numbers, the smaller first": _is_span(fault.span_seconds),
        "probability must be from 0 to 1": _is_number(fault.probability) and 0 <= fault.probability <= 1,
        "seconds must be from 0 to 3600": _is_number(fault.seconds) and 0 <= fault.seconds <= 3600,
        "status must be 200, or from 300 to 599": fault.status is None
        or (_is_count(fault.status) and (fault.status == 200 or 300 <= fault.status <= 599)),
        "applied must be true or false": fault.applied is None or isinstance(fault.applied, bool),
        "applied can be said only of: " + ", ".join(sorted(_EITHER_WAY)): fault.applied is None
        or fault.kind in _EITHER_WAY,
    }
    return next((problem for problem, fine in checks.items() if not fine), "")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_span(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]
    )
