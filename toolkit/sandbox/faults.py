"""Faults: what goes wrong, on which requests, and when.

Four sorts of kinds:

- The answer is another: ``status``, ``html``, ``empty``, ``content_type``, ``truncated``.
- The page of subscribers is another: ``empty_page``, ``short_page`` (its first half), ``repeated_page`` (the
  page before).
- The connection misbehaves: ``reset_before``, ``reset_after``, ``hang``, ``drip``.
- The shop changes meanwhile: ``revoke``, ``redact``, ``second_writer``, ``shrink``. Such a fault is a side
  effect of a request that then goes on, so it can come together with one of the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from .wire import first_problem

SideEffect = Literal["revoke", "redact", "second_writer", "shrink"]
"""Kinds that change the shop, not the answer."""
PageKind = Literal["empty_page", "short_page", "repeated_page"]
Kind = (
    Literal[
        "status", "html", "empty", "content_type", "truncated", "reset_before", "reset_after", "hang", "drip"
    ]
    | PageKind
    | SideEffect
)
SIDE_EFFECTS = frozenset(get_args(SideEffect))
PAGES = frozenset(get_args(PageKind))

_EITHER_WAY = frozenset({"status", "html", "empty", "hang"})
_NOT_APPLIED = frozenset({"status", "html", "reset_before"})

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
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
    nth: tuple[Count, ...] = ()
    """Only these requests."""
    first: Count | None = None
    """Only so many requests from the start."""
    every: Count | None = None
    """Only each request of such a number."""
    span_seconds: tuple[float, float] | None = None
    """Only from the one to the other time, since the start or the latest reset."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    # What
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Status code of the answer, 200 or from 300; None for 503 (``status``) or 200 (``html``, ``empty``)."""
    body: Literal["json", "html", "empty"] = "json"
    """Of ``status``."""
    applied: bool | None = None
    """Whether the request is carried out behind the answer: can be set for ``status`` and ``html`` (None:
    no), ``empty`` and ``hang`` (None: yes). A ``hang`` without it ends in 504."""
    seconds: Seconds = 30.0
    """Of ``hang``, and those over which a ``drip`` sends its body byte by byte."""
    key: str = "other_writer"
    """What the ``second_writer`` appends to the list of audiences."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.span_seconds and not self.span_seconds[0] <= self.span_seconds[1]:
            raise ValueError("span_seconds must be two numbers, the smaller first")
        if self.status and 200 < self.status < 300:
            raise ValueError("status must be 200, or from 300 to 599")
        if self.applied is not None and self.kind not in _EITHER_WAY:
            raise ValueError("applied can be set only for: " + ", ".join(sorted(_EITHER_WAY)))
        return self

    @property
    def is_applied(self) -> bool:
        """Whether the request is carried out although the client does not get its answer."""
        return self.kind not in _NOT_APPLIED if self.applied is None else self.applied

    @property
    def status_code(self) -> int:
        """Status code of the answer."""
        return self.status or {"status": 503, "hang": 504}.get(self.kind, 200)


class FaultPlan:
    """Which faults hit a request; the same ones for the same seed and order of requests."""

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
        """Count a request and return its faults: all side effects, and the first of the others."""
        hits = [
            fault
            for place, fault in enumerate(self.faults)
            if fault.subscriber in {"", subscriber} and self._hits(place, fault, route, since_start)
        ]
        others = [fault for fault in hits if fault.kind not in SIDE_EFFECTS]
        return (*(fault for fault in hits if fault.kind in SIDE_EFFECTS), *others[:1])

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


_FAULTS = TypeAdapter(tuple[Fault, ...])


def parse_faults(raw: bytes) -> tuple[Fault, ...]:
    """Read a JSON list of faults; a ValueError names the fault, counted from 0, and what is wrong with it.

    >>> parse_faults(b'[{"kind": "status", "status": 429, "nth": [2, 3]}]')[0].nth
    (2, 3)
    """
    try:
        return _FAULTS.validate_json(raw)
    except ValidationError as error:
        raise ValueError(f"Faults are a JSON list of objects; {first_problem(error)}.") from None
