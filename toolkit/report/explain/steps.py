"""What Segment's Sync Audiences action does with a payload, what a run does, and where the two differ.

Segment's action compares the membership value the way JavaScript does, and by two different rules: ``==``
decides on the list, truth alone on the custom event. So a value may change the one and not the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from toolkit.contacts.checks import CONTACT_VERDICTS, Verdict, check_email, check_phone, phone_digits
from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EXITED, Request
from toolkit.segment.destination import SYNC_AUDIENCES, Action, Discard, Payload, TraitPayload
from toolkit.segment.javascript import WHITESPACE, is_truthy, number_of, text_of
from toolkit.segment.mapping import MISSING
from toolkit.segment.triggers.official_conditions import BUILT_INS
from toolkit.statuses import EventStatus, get_reason

from .display import Display
from .explanation import Outcome

Made: TypeAlias = Payload | TraitPayload | Discard
"""What a mapping made of an event."""
ListChange = Literal["add", "remove", "none"]

SUBSCRIBERS: Final = "/api/v2/subscribers"
EVENTS: Final = "/api/v2/events"
_PARAMETERS: Final = {"phone": "phone_number__eq", "email": "email__eq"}
_LISTS: Final = {"add": "adds the audience", "remove": "removes the audience", "none": "leaves the list"}


@dataclass(frozen=True, kw_only=True)
class OfficialStep:
    """One step of Segment's action."""

    does: Literal["fail", "look_up", "end", "add", "remove", "none", "post"]
    """A look-up is skipped when an earlier one found a subscriber; ``end`` ends it when none did."""
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


def _official_value(fields: Mapping[str, Any]) -> Any:
    """Return the membership value as the action finds it, MISSING when it finds none."""
    key, holder = fields["segment_audience_key"], fields["traits_or_props"]
    # JavaScript's objects answer to some names of which they have no key; what they give is an object, too.
    return holder.get(key, {} if key in BUILT_INS else MISSING)


def _official_contacts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what the action looks up, in its order: nothing is validated."""
    contacts = {
        "phone": phone_digits(fields.get("phone", "")),
        "email": fields.get("email", "").strip(WHITESPACE),
    }
    return {kind: contact for kind, contact in contacts.items() if contact}


def official_steps(fields: Mapping[str, Any], *, show_contacts: bool = False) -> tuple[OfficialStep, ...]:
    """Return what the action does with these fields of a payload, as `Payload.fields` gives them."""
    display = Display(show_contacts=show_contacts)
    look_ups: list[OfficialStep] = []
    for kind, contact in _official_contacts(fields).items():
        query = f"GET {SUBSCRIBERS}?{_PARAMETERS[kind]}={display.contact(kind, contact)}"
        request = Request(method="GET", path=SUBSCRIBERS, query=((_PARAMETERS[kind], contact),))
        sentence = f"{query}; the first subscriber found is taken."
        if look_ups:
            sentence = f"No subscriber found: {sentence}"
        look_ups.append(OfficialStep(does="look_up", sentence=sentence, request=request))
    if not look_ups:
        sentence = "Fails with PAYLOAD_VALIDATION_FAILED (400), not retried: neither email nor phone is left."
        return (OfficialStep(does="fail", sentence=sentence),)
    sentence = "No subscriber found: ends as a success, and nothing is remembered."
    end = OfficialStep(does="end", sentence=sentence)
    return (*look_ups, end, _change_list(fields, display), _post(fields))


def _change_list(fields: Mapping[str, Any], display: Display) -> OfficialStep:
    value = _official_value(fields)
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
    event_type = official_event(_official_value(fields))
    names = {"Segment Audience ID": "segment_audience_id", "Segment Audience Key": "segment_audience_key"}
    properties = {name: fields[key] for name, key in names.items() if key in fields}
    body = {"type": event_type, "properties": properties}
    return OfficialStep(
        does="post",
        sentence=f"POST {EVENTS}, {event_type}, whether or not the list has changed.",
        request=Request(method="POST", path=EVENTS, body=body, repeatable=False),
    )


# --- a run of this toolkit


def our_steps(
    made: Made, person: str | None, outcome: Outcome, *, region: str, display: Display
) -> tuple[str, ...]:
    """Return what a run does with what a mapping made of an event that reaches it."""
    if person is None or isinstance(made, Discard) or outcome.status is not None:
        keeps = person is not None and (made.email or made.phone)
        kept = ("The contacts are kept: other events of the person may need them.",) if keeps else ()
        return (f"Changes nothing, because: {outcome.sentence}", *kept)
    if isinstance(made, Payload):
        kind = "audience"
        state = f"is {'in' if made.membership else 'out of'} {display.value(made.segment_audience_key)}"
    else:
        kind = "trait"
        state = f"has the {display.value(made.segment_trait_key)} {display.value(made.value)}"
    return (
        f"Notes that {display.person(person)} {state}, unless there is a newer event of this person on the "
        f"same {kind}.",
        *_contact_steps(made, region, display),
        _write_step(made),
    )


def _write_step(made: Payload | TraitPayload) -> str:
    if isinstance(made, TraitPayload):
        if made.segment_trait_key.strip().casefold() == AUDIENCES_PROPERTY.casefold():
            return f"Writes nothing: {get_reason('TRAIT_NAME_RESERVED').meaning}"
        return "If the subscriber's property has another value: PATCH that property. No custom event."
    place, event_type = ("not on", ENTERED) if made.membership else ("on", EXITED)
    return (
        f'If the audience is {place} the subscriber\'s "{AUDIENCES_PROPERTY}": PATCH the list, then POST '
        f"{event_type} once. Otherwise nothing is sent."
    )


def _verdicts(made: Payload | TraitPayload, region: str) -> dict[str, Verdict]:
    return {"phone": check_phone(made.phone or "", region), "email": check_email(made.email or "")}


def _contact_steps(made: Payload | TraitPayload, region: str, display: Display) -> list[str]:
    verdicts = _verdicts(made, region).items()
    steps = [
        f"{kind.capitalize()}: {verdict.code}. {CONTACT_VERDICTS[verdict.code][0]}"
        for kind, verdict in verdicts
        if verdict.code != "absent"
    ]
    usable = [
        f"{kind} {display.contact(kind, verdict.value)}"
        for kind, verdict in verdicts
        if verdict.value is not None
    ]
    if not usable:
        return [*steps, "This event has no contact to look up; the person's other events may have one."]
    return [
        *steps,
        f"Looks for the one subscriber with {', else with '.join(usable)}; waits for one if none.",
    ]


# --- where the two differ


def differences(made: Made, action: Action, *, region: str, display: Display) -> tuple[str, ...]:
    """Return where Segment's action differs from a run over what a mapping made of an event."""
    if isinstance(made, Payload):
        return (_membership_difference(made, display), *_contact_differences(made, region))
    if isinstance(made, TraitPayload):
        return ("Segment's destination refuses computed traits; here they become properties.",)
    if action == SYNC_AUDIENCES and made.status is EventStatus.NOT_AN_AUDIENCE_EVENT:
        return ("Segment reports a failed delivery; here the event just was not meant for the action.",)
    return ()


def _membership_difference(made: Payload, display: Display) -> str:
    value = _official_value(made.fields())
    event_type = official_event(value)
    if made.membership is not None:
        return f"Segment posts {event_type} each time; here it is posted once, when the list changes."
    change = _LISTS[official_list_change(value)]
    return (
        f"The value ({display.value(value)}) is not true or false: Segment {change} and posts {event_type}, "
        "here nothing changes."
    )


def _contact_differences(made: Payload, region: str) -> list[str]:
    contacts = _official_contacts(made.fields())
    if not contacts:
        return ["Segment fails without a contact; here those of the person's other events are used."]
    verdicts = _verdicts(made, region)
    unusable = {kind for kind in contacts if verdicts[kind].value is None}
    found = []
    if "phone" in unusable:
        found.append("Segment looks for any digits; here a phone that cannot be one is left out.")
    elif "phone" in contacts and verdicts["phone"].value != f"+{contacts['phone']}":
        found.append("Segment looks for the digits as written; here for the whole international number.")
    if "email" in unusable:
        found.append("Segment looks for any text; here an email that cannot be one is left out.")
    return found
