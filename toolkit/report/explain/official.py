"""What Segment's Sync Audiences action does with a payload, step by step, as data.

It compares the membership value the way JavaScript does, and by two different rules: ``==`` decides on the
list, truth alone on the custom event. So a value may change the one and not the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from toolkit.contacts import phone_digits
from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EXITED, Request
from toolkit.segment.javascript import WHITESPACE, is_truthy, text_of
from toolkit.segment.mapping import MISSING
from toolkit.segment.triggers.javascript import BUILT_INS, number_of

from .display import Display

ListChange = Literal["add", "remove", "none"]

SUBSCRIBERS: Final = "/api/v2/subscribers"
EVENTS: Final = "/api/v2/events"
_PARAMETERS: Final = {"phone": "phone_number__eq", "email": "email__eq"}


@dataclass(frozen=True, kw_only=True)
class OfficialStep:
    """One step of Segment's action."""

    does: Literal["fail", "look_up", "end", "add", "remove", "none", "post"]
    """A look-up is skipped when an earlier one found somebody; ``end`` ends it when none did."""
    sentence: str
    request: Request | None = field(default=None, repr=False)
    """What is sent, contacts as they are; the body without the subscriber's id, which a look-up finds. None
    where nothing is sent, or where that depends on the subscriber's list."""


def official_list_change(value: Any) -> ListChange:
    """Return what a membership value does to the subscriber's list: ``value == true``, ``value == false``.

    JavaScript makes a number of either side: lists are joined to a text first, a blank text is 0; objects are
    no number; null and missing are equal to neither.

    >>> [official_list_change(v) for v in (True, "1", 0, "", [], None, "true", "false", {})]
    ['add', 'add', 'remove', 'remove', 'remove', 'none', 'none', 'none', 'none']
    """
    number = math.nan
    if isinstance(value, int | float):
        number = value
    elif isinstance(value, str | list):
        number = number_of(text_of(value))
    return "add" if number == 1 else "remove" if number == 0 else "none"


def official_event(value: Any) -> str:
    """Return the type of the custom event that a membership value leads to: the truth of it decides.

    >>> official_event("false"), official_event([]), official_event(None)
    ('Segment_Audience_Entered', 'Segment_Audience_Entered', 'Segment_Audience_Exited')
    """
    return ENTERED if is_truthy(value) else EXITED


def official_value(fields: Mapping[str, Any]) -> Any:
    """Return the membership value as the action finds it, MISSING when it finds none."""
    key, holder = fields["segment_audience_key"], fields["traits_or_props"]
    # JavaScript's objects answer to some names of which they have no key; what they give is an object, too.
    return holder.get(key, {} if key in BUILT_INS else MISSING)


def official_contacts(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Return phone and email as the action looks them up, blank where there is none: nothing is validated."""
    return phone_digits(fields.get("phone", "")), fields.get("email", "").strip(WHITESPACE)


def official_steps(fields: Mapping[str, Any], *, show_contacts: bool = False) -> tuple[OfficialStep, ...]:
    """Return what the action does with these fields of a payload, as `Payload.fields` gives them."""
    display = Display(show_contacts=show_contacts)
    phone, email = official_contacts(fields)
    if not phone and not email:
        sentence = "Fails with PAYLOAD_VALIDATION_FAILED (400), not retried: neither email nor phone is left."
        return (OfficialStep(does="fail", sentence=sentence),)
    asked = [(kind, contact) for kind, contact in (("phone", phone), ("email", email)) if contact]
    return (
        *(_look_up(*question, display, is_second=place > 0) for place, question in enumerate(asked)),
        OfficialStep(does="end", sentence="Nobody found: ends as a success, and nothing is remembered."),
        _change_list(fields, display),
        _post(fields),
    )


def _look_up(kind: str, contact: str, display: Display, *, is_second: bool) -> OfficialStep:
    name = _PARAMETERS[kind]
    sentence = (
        f"GET {SUBSCRIBERS}?{name}={display.contact(kind, contact)}; the first subscriber found is taken."
    )
    return OfficialStep(
        does="look_up",
        sentence=f"Nobody found: {sentence}" if is_second else sentence,
        request=Request(method="GET", path=SUBSCRIBERS, query=((name, contact),)),
    )


def _change_list(fields: Mapping[str, Any], display: Display) -> OfficialStep:
    value = official_value(fields)
    key, shown = display.value(fields["segment_audience_key"]), display.value(value)
    change = official_list_change(value)
    held = f'the subscriber\'s "{AUDIENCES_PROPERTY}"'
    sentences = {
        "add": f"If {key} is not on {held}: PATCH {SUBSCRIBERS}/{{id}}, the list with it at the end. "
        f"In JavaScript {shown} == true.",
        "remove": f"If {key} is on {held}: PATCH {SUBSCRIBERS}/{{id}}, the list without its first one. "
        f"In JavaScript {shown} == false.",
        "none": f"Leaves the list: in JavaScript {shown} equals neither true nor false.",
    }
    return OfficialStep(does=change, sentence=sentences[change])


def _post(fields: Mapping[str, Any]) -> OfficialStep:
    event_type = official_event(official_value(fields))
    properties = {"Segment Audience Key": fields["segment_audience_key"]}
    if "segment_audience_id" in fields:
        properties = {"Segment Audience ID": fields["segment_audience_id"], **properties}
    body = {"type": event_type, "properties": properties}
    return OfficialStep(
        does="post",
        sentence=f"POST {EVENTS}, {event_type}, whether or not the list has changed.",
        request=Request(method="POST", path=EVENTS, body=body, repeatable=False),
    )
