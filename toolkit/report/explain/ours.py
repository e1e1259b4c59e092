"""What a run of this toolkit does with a payload, and where that is not what Segment's action does."""

from __future__ import annotations

from typing import Final, TypeAlias

from toolkit.contacts import CONTACT_VERDICTS, Verdict, check_email, check_phone
from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EXITED
from toolkit.segment.destination import SYNC_AUDIENCES, Action, Discard, Payload, TraitPayload
from toolkit.statuses import EventStatus, get_reason

from .display import Display
from .explanation import Outcome
from .official import official_contacts, official_event, official_list_change, official_value

Made: TypeAlias = Payload | TraitPayload | Discard
"""What a mapping made of an event."""

_LISTS: Final = {"add": "adds the audience", "remove": "removes the audience", "none": "leaves the list"}


def our_steps(
    made: Made, person: str | None, outcome: Outcome, *, region: str, display: Display
) -> tuple[str, ...]:
    """Return what a run does with what a mapping made of an event that reaches it."""
    if person is None or isinstance(made, Discard) or outcome.status is not None:
        keeps = person is not None and (made.email or made.phone)
        kept = ("The contacts are kept: other events of the person may need them.",) if keeps else ()
        return (f"Changes nothing, because: {outcome.sentence}", *kept)
    kind = "audience" if isinstance(made, Payload) else "trait"
    return (
        f"Notes that {display.person(person)} {_word(made, display)}, unless there is a newer event of this "
        f"person on the same {kind}.",
        *_contact_steps(made, region, display),
        _write_step(made),
    )


def _word(made: Payload | TraitPayload, display: Display) -> str:
    if isinstance(made, Payload):
        return f"is {'in' if made.membership else 'out of'} {display.value(made.segment_audience_key)}"
    return f"has the {display.value(made.segment_trait_key)} {display.value(made.value)}"


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


def _contact_steps(made: Payload | TraitPayload, region: str, display: Display) -> list[str]:
    verdicts = _verdicts(made, region)
    told = [
        f"{kind.capitalize()}: {verdict.code}. {CONTACT_VERDICTS[verdict.code][0]}"
        for kind, verdict in verdicts.items()
        if verdict.code != "absent"
    ]
    usable = [
        f"{kind} {display.contact(kind, verdict.value)}"
        for kind, verdict in verdicts.items()
        if verdict.value is not None
    ]
    if not usable:
        return [*told, "This event has no contact to look up; the person's other events may have one."]
    return [*told, f"Looks for the one subscriber with {', else with '.join(usable)}; waits for one if none."]


def _verdicts(made: Payload | TraitPayload, region: str) -> dict[str, Verdict]:
    return {"phone": check_phone(made.phone or "", region), "email": check_email(made.email or "")}


def differences(made: Made, action: Action, *, region: str, display: Display) -> tuple[str, ...]:
    """Return where Segment's action parts from ours over what a mapping made of an event."""
    if isinstance(made, Payload):
        return (_membership_difference(made, display), *_contact_differences(made, region))
    if isinstance(made, TraitPayload):
        return ("Segment's destination refuses computed traits; here they become properties.",)
    if action == SYNC_AUDIENCES and made.status is EventStatus.NOT_AN_AUDIENCE_EVENT:
        return ("Segment reports a failed delivery; here the event just was not meant for the action.",)
    return ()


def _membership_difference(made: Payload, display: Display) -> str:
    value = official_value(made.fields())
    event_type = official_event(value)
    if made.membership is not None:
        return f"Segment posts {event_type} each time; here it is posted once, when the list changes."
    change = _LISTS[official_list_change(value)]
    return (
        f"The value ({display.value(value)}) is not true or false: Segment {change} and posts {event_type}, "
        "here nothing changes."
    )


def _contact_differences(made: Payload, region: str) -> tuple[str, ...]:
    phone, email = official_contacts(made.fields())
    if not phone and not email:
        return ("Segment fails without a contact; here those of the person's other events are used.",)
    found = []
    judged = _verdicts(made, region)
    if phone and judged["phone"].value is None:
        found.append("Segment looks for any digits; here a phone that cannot be one is left out.")
    elif phone and judged["phone"].value != f"+{phone}":
        found.append("Segment looks for the digits as written; here for the whole international number.")
    if email and judged["email"].value is None:
        found.append("Segment looks for any text; here an email that cannot be one is left out.")
    return tuple(found)
