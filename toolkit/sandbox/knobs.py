"""What can be set: each open question about Postscript is a knob, each set of answers to them a profile.

Postscript does not publish most of what is decided here. ``documented`` takes the likeliest answer to each
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
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, ValidationError, WrapValidator
from pydantic.dataclasses import dataclass

from .wire import first_problem

MEDIAN_SECONDS = 0.05
"""Of a ``"long_tail"`` that names none."""
_SPREAD = 1.0
"""Of the logarithm: one answer in 50 takes eight times the median."""
_TAIL_END = 100.0
"""No answer takes longer than so many medians."""

Seconds = Annotated[float, Field(ge=0, le=600)]
Spread = (
    Seconds
    | Annotated[str, Field(pattern=r"^long_tail(:[0-9]{1,3}(\.[0-9]+)?)?$")]
    | Annotated[tuple[Seconds, Seconds], Strict(False)]
)


def _checked_latency(value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        latency = check(value)
    except ValidationError:
        latency = None
    each = latency.values() if isinstance(latency, dict) else [latency]
    if latency is None or any(isinstance(one, tuple) and one[0] > one[1] for one in each):
        raise ValueError(
            "must be seconds, [least, most], 'long_tail', 'long_tail:SECONDS', "
            "or an object from routes to one of these"
        )
    return latency


Latency = Annotated[Spread | dict[str, Spread], WrapValidator(_checked_latency)]
"""Seconds; two bounds; ``"long_tail"`` or ``"long_tail:SECONDS"`` (the median); or a mapping from routes,
``"*"`` for all others, to one of these."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
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
    latency_seconds: Latency = 0.0
    """Time an answer takes: seconds, two bounds, ``"long_tail"``, or one of these by route."""

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
    patch_bodies: Literal["full", "empty"] = "full"
    ids: Literal["text", "numeric"] = "text"
    """``numeric`` shows the number of each sign-up in place of its id."""

    # Custom events
    event_keys: Literal["stored", "lowercase"] = "stored"
    event_dedupe: bool = False
    """Whether a repeated ``external_id`` is taken once."""
    unknown_event_fields: Literal["refused", "ignored"] = "refused"
    event_bodies: Literal["full", "empty"] = "full"
    """``empty`` also answers 200 in place of 202."""

    # The door
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


def draw_latency(latency: Latency, route: str, chance: random.Random) -> float:
    """Draw the seconds that one answer on *route* takes.

    >>> draw_latency({"GET /me": 0.5, "*": 0.1}, "GET /events", random.Random(1))
    0.1
    """
    one: Any = latency.get(route, latency.get("*", 0.0)) if isinstance(latency, dict) else latency
    if isinstance(one, str):
        median = float(one.partition(":")[2] or MEDIAN_SECONDS)
        return min(median * chance.lognormvariate(0.0, _SPREAD), median * _TAIL_END)
    return chance.uniform(*one) if isinstance(one, tuple) else float(one)


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
