"""What can be set: each open question about Postscript is a knob, each set of answers to them a profile.

Postscript does not publish most of what is decided here. ``documented`` takes the likeliest answer to each
question. ``hostile`` takes the answer that is hardest on a client, as long as a careful one can still finish:

- What the two disagree on is no trouble for a client that calibrates (``in_encoding``, ``phone_form``,
  ``max_in``, ``page_size``), asks for an email as it was given too (``email_case``), reads every answer
  (``unknown_person``, ``wrong_key``, ``past_the_end``, ``empty_total_pages``, ``max_url_bytes``), and sends
  no more than it must (the rest).
- ``sliding`` with ``count_refused`` is the hardest limit: whatever it accepts, the other two accept as well,
  and a client that does not wait after a 429 never gets in again.
- ``property_limit="drop"`` says 200 and drops the property, which is worse than a refusal.
- ``replace``, ``ignored`` and ``hidden`` are not in it: under them there is no right way to go on, only to
  stop.

``official-mock`` answers as the mocks in the official integration's own tests do: empty bodies and numbers
for ids; all else is as documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .latency import Latency, check_latency


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """The answers to all open questions; the defaults are the likeliest ones."""

    # The limit
    rate: int = 15
    """Requests accepted in a window."""
    window_seconds: float = 1.0
    algorithm: Literal["sliding", "fixed", "bucket"] = "sliding"
    count_refused: bool = False
    """Whether a 429 uses up the limit as well."""
    retry_after_seconds: int | None = None
    """Sent with a 429; None sends no such header."""
    latency_seconds: Latency = 0.0
    """Time an answer takes: seconds, two bounds, ``"long_tail"``, or one of these by route."""

    # The list
    page_size: int = 50
    max_in: int = 100
    """Most values in one ``__in`` parameter."""
    max_url_bytes: int | None = None
    """A longer path and query is 414; None for no limit."""
    in_encoding: Literal["repeated", "comma", "ignored"] = "repeated"
    """``comma`` takes the last of repeated parameters; ``ignored`` drops them and returns everybody."""
    phone_form: Literal["any", "plus_required", "digits_required"] = "any"
    """What a phone in ``__in`` must look like to match; ``__eq`` is known to take digits."""
    ten_digit_phones: Literal["no_match", "assume_us"] = "no_match"
    email_case: Literal["insensitive", "sensitive"] = "insensitive"
    empty_total_pages: Literal[0, 1] = 1
    past_the_end: Literal["empty", "404"] = "empty"
    opted_out: Literal["listed", "hidden"] = "listed"
    read_lag_ms: int = 0
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

    def __post_init__(self) -> None:
        for name, hint in _hints().items():
            _check(name, getattr(self, name), hint)

    def changed(self, changes: Mapping[str, Any]) -> Knobs:
        """Return these knobs with some set anew; a ValueError names a knob or value that does not exist."""
        unknown = sorted(set(changes) - KNOB_NAMES)
        if unknown:
            raise ValueError(f"There is no knob {unknown[0]!r}; there are: {', '.join(sorted(KNOB_NAMES))}.")
        return replace(self, **changes)


KNOB_NAMES = frozenset(each.name for each in fields(Knobs))

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "rate": (1, 1_000_000),
    "window_seconds": (0.001, 86_400),
    "retry_after_seconds": (0, 86_400),
    "page_size": (1, 1_000_000),
    "max_in": (1, 1_000_000),
    "max_url_bytes": (64, 60_000),
    "read_lag_ms": (0, 3_600_000),
}


@cache
def _hints() -> Mapping[str, Any]:
    return get_type_hints(Knobs)


def _check(name: str, value: Any, hint: Any) -> None:
    """Raise a ValueError in a sentence unless *value* is one that the knob can have."""
    if name == "latency_seconds":
        check_latency(value)
    elif get_origin(hint) is Literal:
        choices = get_args(hint)
        # By type too: to Python, True is 1.
        if (type(value), value) not in [(type(each), each) for each in choices]:
            raise ValueError(f"The knob {name} must be one of: {', '.join(map(str, choices))}.")
    elif hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"The knob {name} must be true or false.")
    elif not (value is None and type(None) in get_args(hint)):
        _check_number(name, value, whole=hint is not float)


def _check_number(name: str, value: Any, *, whole: bool) -> None:
    least, most = _BOUNDS[name]
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not least <= value <= most:
        kind = "whole number" if whole else "number"
        raise ValueError(f"The knob {name} must be a {kind} from {least} to {most}.")


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
