"""What can be set: each open question about Postscript is a knob, each set of answers a profile; and faults.

Postscript does not publish most of what the knobs decide. ``documented`` takes the likeliest answer to each
question. ``hostile`` takes the answer that is hardest on a client, as long as a careful one can still finish:

- What the two disagree on is no trouble for a client that calibrates (``in_encoding``, ``phone_form``,
  ``max_in``, ``page_size``), asks for an email as it was given too (``email_case``), reads every answer
  (``unknown_person``, ``wrong_key``, ``past_the_end``, ``empty_total_pages``, ``max_url_bytes``), and sends
  no more than it must (the rest).
- ``sliding`` with ``count_refused`` is the hardest limit: whatever it accepts, the other two accept as well,
  and a client that does not wait after a 429 never gets in again.
- ``property_limit="drop"`` answers 200 and drops the property, which is worse than a refusal.
- ``replace``, ``ignored`` and ``hidden`` are not in it: under them there is no right way to go on, only to
  stop.

``official-mock`` answers as the mocks in the official integration's own tests do: empty bodies and numbers
for ids; all else is as documented.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from .wire import first_problem

Seconds = Annotated[float, Field(ge=0, le=3600)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Knobs:
    """The answers to all open questions; the defaults are the likeliest ones."""

    # The limit
    rate: Count = 15
    """Requests accepted in a window."""
    window_seconds: Annotated[float, Field(ge=0.001, le=86_400)] = 1.0
    algorithm: Literal["sliding", "fixed", "bucket"] = "sliding"
    count_refused: bool = False
    """Whether a 429 uses up the limit as well."""
    latency_seconds: Annotated[tuple[Seconds, Seconds], Strict(False)] = (0.0, 0.0)
    """Least and most time that an answer takes."""

    # The list
    page_size: Count = 50
    max_in: Count = 100
    """Most values in one ``__in`` parameter."""
    max_url_bytes: Annotated[int, Field(ge=64, le=60_000)] | None = None
    """A longer path and query is 414; None for no limit."""
    in_encoding: Literal["repeated", "comma", "ignored"] = "repeated"
    """``comma`` takes the last of repeated parameters; ``ignored`` drops them and lists every subscriber."""
    phone_form: Literal["any", "plus_required", "digits_required"] = "any"
    """What a phone in ``__in`` must look like to match; ``__eq`` is known to take digits."""
    ten_digit_phones: Literal["no_match", "assume_us"] = "no_match"
    email_case: Literal["insensitive", "sensitive"] = "insensitive"
    empty_total_pages: Literal[0, 1] = 1
    past_the_end: Literal["empty", "404"] = "empty"
    opted_out: Literal["listed", "hidden"] = "listed"
    read_lag_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 0
    """Lists and reads by id show subscribers as they were so long ago."""

    # One subscriber
    unknown_person: Literal[404, 400] = 404
    writes: Literal["merge", "replace"] = "merge"
    null_value: Literal["ignored", "delete", "store"] = "ignored"
    empty_list: Literal["store", "drop"] = "store"
    property_limit: Literal["reject", "drop"] = "reject"
    unknown_patch_fields: Literal["ignored", "refused"] = "ignored"
    bumps_updated_at: bool = True
    """Whether a PATCH that changes something is dated."""
    ids: Literal["text", "numeric"] = "text"
    """``numeric`` shows the number of each sign-up in place of its id."""

    # Custom events
    event_keys: Literal["stored", "lowercase"] = "stored"
    event_dedupe: bool = False
    """Whether a repeated ``external_id`` is taken once."""

    # The answers
    patch_bodies: Literal["full", "empty"] = "full"
    event_bodies: Literal["full", "empty"] = "full"
    """``empty`` also answers 200 in place of 202."""
    wrong_key: Literal[401, 403] = 401

    def changed(self, changes: Mapping[str, Any]) -> Knobs:
        """Return these knobs with some set anew; a ValueError names a knob or value that does not exist."""
        names = {each.name for each in fields(self)}
        if unknown := sorted(set(changes) - names):
            raise ValueError(f"There is no knob {unknown[0]!r}; there are: {', '.join(sorted(names))}.")
        try:
            return replace(self, **changes)
        except ValidationError as error:
            raise ValueError(f"The knob {first_problem(error)}.") from None


PROFILES: Mapping[str, Knobs] = MappingProxyType(
    {
        "documented": Knobs(),
        "hostile": Knobs(
            count_refused=True,
            page_size=25,
            max_in=25,
            max_url_bytes=2048,
            in_encoding="comma",
            phone_form="plus_required",
            email_case="sensitive",
            empty_total_pages=0,
            past_the_end="404",
            unknown_person=400,
            null_value="store",
            empty_list="drop",
            property_limit="drop",
            unknown_patch_fields="refused",
            event_keys="lowercase",
            wrong_key=403,
        ),
        "official-mock": Knobs(patch_bodies="empty", event_bodies="empty", ids="numeric"),
    }
)
"""Names of whole sets of knobs."""


# Faults

Answer = Literal["status", "content_type", "truncated", "reset_before", "reset_after", "hang"]
SideEffect = Literal["redact", "second_writer", "shrink"]
SIDE_EFFECTS = frozenset(get_args(SideEffect))


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Fault:
    """One thing that goes wrong. All conditions that are given must hold."""

    kind: Answer | SideEffect
    """``status``, ``content_type`` and ``truncated`` are another answer; ``reset_before``, ``reset_after``
    and ``hang`` a connection that misbehaves; ``redact``, ``second_writer`` and ``shrink`` side effects of a
    request that then goes on, also with one of the others."""
    route: str = "*"
    """Such as ``"PATCH /subscribers/{id}"``; ``*`` stands for any text, alone for every request."""

    # When; requests on the route are counted from 1.
    nth: tuple[Count, ...] = ()
    """Only these requests."""
    every: Count = 1
    """Only each request of such a number."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    # What
    status: Annotated[int, Field(ge=400, le=599)] = 503
    """Status code of a ``status``."""
    body: Literal["json", "html"] = "json"
    """Body of a ``status``."""
    applied: bool = False
    """Whether the request is carried out behind a ``status``."""
    seconds: Seconds = 30.0
    """Of ``hang``."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.applied and self.kind != "status":
            raise ValueError("applied can be set only for the kind status")
        return self

    @property
    def is_applied(self) -> bool:
        """Whether the request is carried out although the client does not get its answer."""
        return self.applied if self.kind == "status" else self.kind != "reset_before"


class FaultPlan:
    """Which faults hit a request; the same ones for the same seed and order of requests."""

    def __init__(self, faults: Iterable[Fault], *, seed: int) -> None:
        self.faults = tuple(faults)
        self._seen = [0] * len(self.faults)
        # Each fault has its own chance, so that one more fault changes nothing for the others.
        places = range(len(self.faults))
        self._chances = [random.Random(f"{seed} {place}") for place in places]  # noqa: S311

    def hitting(self, route: str) -> tuple[Fault, ...]:
        """Count a request and return its faults: all side effects, and the first of the others."""
        hits = [each for place, each in enumerate(self.faults) if self._hits(place, each, route)]
        others = [each for each in hits if each.kind not in SIDE_EFFECTS]
        return (*(each for each in hits if each.kind in SIDE_EFFECTS), *others[:1])

    def _hits(self, place: int, fault: Fault, route: str) -> bool:
        if not fnmatchcase(route, fault.route):
            return False
        self._seen[place] += 1
        number = self._seen[place]
        drawn = fault.probability >= 1 or self._chances[place].random() < fault.probability
        return drawn and (not fault.nth or number in fault.nth) and number % fault.every == 0


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
