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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.functional_validators import AfterValidator, field_validator, model_validator

from .wire import first_problem

Seconds = Annotated[float, Field(ge=0, le=3600)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] <= bounds[1]:
        raise ValueError("must be two numbers, the smaller first")
    return bounds


Spread = (
    Seconds
    | Annotated[str, Field(pattern=r"^long_tail(:[0-9]{1,3}(\.[0-9]+)?)?$")]
    | Annotated[tuple[Seconds, Seconds], Strict(False), AfterValidator(_ascending)]
)
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
    retry_after_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """Sent with a 429; None sends no such header."""
    latency_seconds: Spread | dict[str, Spread] = 0.0
    """Time an answer takes: seconds; two bounds; ``"long_tail"`` or ``"long_tail:SECONDS"``, the median; or
    one of these by route, with ``"*"`` for all others."""

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
    unknown_event_fields: Literal["refused", "ignored"] = "refused"

    # The answers
    patch_bodies: Literal["full", "empty"] = "full"
    event_bodies: Literal["full", "empty"] = "full"
    """``empty`` also answers 200 in place of 202."""
    wrong_key: Literal[401, 403] = 401

    @field_validator("latency_seconds", mode="wrap")
    @classmethod
    def _is_latency(cls, value: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(value)
        except ValidationError:
            forms = "seconds, [least, most], 'long_tail', 'long_tail:SECONDS', or one of these by route"
            raise ValueError(f"must be {forms}") from None

    def latency_on(self, route: str, chance: random.Random) -> float:
        """Draw the seconds that one answer takes."""
        given = self.latency_seconds
        one = given.get(route, given.get("*", 0.0)) if isinstance(given, dict) else given
        if isinstance(one, str):  # one answer in 50 takes eight times the median, and none takes 100 times
            median = float(one.partition(":")[2] or 0.05)
            return median * min(chance.lognormvariate(0.0, 1.0), 100.0)
        return chance.uniform(*one) if isinstance(one, tuple) else one

    def changed(self, changes: Mapping[str, Any]) -> Knobs:
        """Return these knobs with some set anew; a ValueError names a knob or value that does not exist."""
        names = {each.name for each in fields(self)}
        if unknown := sorted(set(changes) - names):
            raise ValueError(f"There is no knob {unknown[0]!r}; there are: {', '.join(sorted(names))}.")
        try:
            return replace(self, **changes)
        except ValidationError as error:
            raise ValueError(f"The knob {first_problem(error)}.") from None


PROFILES: Mapping[str, Knobs] = {
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
"""Names of whole sets of knobs."""


# Faults

AnswerFault = Literal["status", "html", "empty", "content_type", "truncated"]
PageFault = Literal["empty_page", "short_page", "repeated_page"]
Connection = Literal["reset_before", "reset_after", "hang", "drip"]
SideEffect = Literal["revoke", "redact", "second_writer", "shrink"]
SIDE_EFFECTS = frozenset(get_args(SideEffect))


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Fault:
    """One thing that goes wrong. All conditions that are given must hold."""

    kind: AnswerFault | PageFault | Connection | SideEffect
    """``status``, ``html``, ``empty``, ``content_type`` and ``truncated`` are another answer;
    ``empty_page``, ``short_page`` (its first half) and ``repeated_page`` (the page before) another page of
    subscribers; ``reset_before``, ``reset_after``, ``hang`` and ``drip`` a connection that misbehaves;
    ``revoke`` (of the key), ``redact``, ``second_writer`` and ``shrink`` side effects of a request that then
    goes on, also with one of the others."""
    route: str = "*"
    """Such as ``"PATCH /subscribers/{id}"``; ``*`` stands for any text, alone for every request."""
    name: str = ""
    """What the journal calls it; empty for its kind."""
    subscriber: str = ""
    """Only requests about the subscriber with this id: in the path, or in a custom event."""

    # When; requests on the route and for the subscriber are counted from 1.
    nth: tuple[Count, ...] = ()
    """Only these requests."""
    first: Count | None = None
    """Only so many requests from the start."""
    every: Count | None = None
    """Only each request of such a number."""
    span_seconds: Annotated[tuple[float, float], AfterValidator(_ascending)] | None = None
    """Only from the one to the other time, since the faults were set or the latest reset."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    # What
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Status code of the answer, 200 or from 300; None for 503 (``status``) or 200 (``html``, ``empty``)."""
    body: Literal["json", "html", "empty"] = "json"
    """Body of a ``status``."""
    applied: bool | None = None
    """Whether the request is carried out behind the answer: can be set for ``status`` and ``html`` (None:
    no), ``empty`` and ``hang`` (None: yes). A ``hang`` without it ends in 504."""
    seconds: Seconds = 30.0
    """Of ``hang``, and those over which a ``drip`` sends its body byte by byte."""
    key: str = "other_writer"
    """What the ``second_writer`` appends to the list of audiences."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.status and 200 < self.status < 300:
            raise ValueError("status must be 200, or from 300 to 599")
        if self.applied is not None and self.kind not in {"empty", "hang", "html", "status"}:
            raise ValueError("applied can be set only for: empty, hang, html, status")
        return self

    @property
    def is_applied(self) -> bool:
        """Whether the request is carried out although the client does not get its answer."""
        return self.kind not in {"status", "html", "reset_before"} if self.applied is None else self.applied

    @property
    def status_code(self) -> int:
        """Status code of an answer in place of the real one."""
        return self.status or {"status": 503, "hang": 504}.get(self.kind, 200)


class FaultPlan:
    """Which faults hit a request; the same ones for the same seed and order of requests."""

    def __init__(self, faults: Iterable[Fault], *, seed: int) -> None:
        self.faults = tuple(faults)
        self._seen = [0] * len(self.faults)
        # Each fault has its own chance, so that one more fault changes nothing for the others.
        places = range(len(self.faults))
        self._chances = [random.Random(f"{seed} {place}") for place in places]  # noqa: S311

    def hitting(self, route: str, since_start: float, subscriber: str | None = None) -> tuple[Fault, ...]:
        """Count a request and return its faults: all side effects, and the first of the others."""
        hits = [
            each
            for place, each in enumerate(self.faults)
            if each.subscriber in {"", subscriber}
            and fnmatchcase(route, each.route)
            and self._hits(place, each, since_start)
        ]
        others = [each for each in hits if each.kind not in SIDE_EFFECTS]
        return (*(each for each in hits if each.kind in SIDE_EFFECTS), *others[:1])

    def _hits(self, place: int, fault: Fault, since_start: float) -> bool:
        self._seen[place] += 1
        number = self._seen[place]
        low, high = fault.span_seconds or (0.0, float("inf"))
        drawn = fault.probability >= 1 or self._chances[place].random() < fault.probability
        return (
            drawn
            and (not fault.nth or number in fault.nth)
            and (fault.first is None or number <= fault.first)
            and number % (fault.every or 1) == 0
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
