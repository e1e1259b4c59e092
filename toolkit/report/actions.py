"""What a mapping gives an action, what Segment's and a sync do with it, and where the two differ.

Segment's action compares the membership value the way JavaScript does, and by two different rules: ``==``
decides on the list, truth alone on the custom event. So a value may change the one and not the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from toolkit.contacts.checks import CONTACT_VERDICTS, Verdict, check_email, check_phone, phone_digits
from toolkit.errors import MappingError
from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EXITED
from toolkit.segment.destination.actions import (
    SYNC_AUDIENCES,
    Action,
    ActionMapping,
    Discard,
    Field,
    Payload,
    TraitPayload,
    check_fields,
    is_not_finite,
)
from toolkit.segment.javascript import WHITESPACE, is_truthy, kind_of, number_of, text_of
from toolkit.segment.mapping import MISSING
from toolkit.segment.mapping import Mapping as Fields
from toolkit.segment.triggers.official_conditions import BUILT_INS
from toolkit.statuses import EventStatus, get_reason

from .display import show_person, show_text, show_value

Made: TypeAlias = Payload | TraitPayload | Discard
"""What a mapping made of an event."""

LONG: Final = 300
"""Characters shown of what was written by hand: triggers, conditions, sentences on fields."""
SUBSCRIBERS: Final = "/api/v2/subscribers"
EVENTS: Final = "/api/v2/events"
_PARAMETERS: Final = {"phone": "phone_number__eq", "email": "email__eq"}


# --- what the action receives


def filled_fields(mapping: ActionMapping, event: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield label, value and meaning of each field of the action; nothing when the mapping fails."""
    try:
        values = mapping.fields.resolve(event)
    except MappingError:
        return
    if isinstance(values, dict):
        for field in mapping.action.fields:
            source = _source(mapping.fields.value, field.key, event)
            yield _field(field, values.get(field.key, MISSING), source)


def _field(field: Field, value: Any, source: str) -> tuple[str, str, str]:
    checked, problems = check_fields({} if value is MISSING else {field.key: value}, (field,))
    shown = checked.get(field.key, value)
    nothing = _empty(value)
    if field.key in problems:
        status = "missing" if nothing else "refused"
    else:
        status = "absent" if nothing else "filled"
    reason = f"{source} gives {nothing}." if nothing else f"From {source}."
    if isinstance(shown, str) and not isinstance(value, str):
        reason = f"From {source}: {kind_of(value)}, taken as a text."
    reason = show_text(" ".join([*problems.values(), reason]), limit=LONG)
    return field.label, "" if nothing else show_value(shown, field.key), f"{status}. {reason}"


def _empty(value: Any) -> str:
    """Return in which way a value is none; blank when it is one."""
    if value is MISSING:
        return "nothing"
    if value is None or is_not_finite(value):
        return "null"
    # What keeps an @if from its other part is a common surprise.
    return "a blank text, which counts as none and yet exists" if value == "" else ""


def _source(rules: Any, key: str, event: Mapping[str, Any]) -> str:
    if not isinstance(rules, dict) or any(name.startswith("@") for name in rules):
        return "the mapping as a whole"
    return _rule(rules[key], event) if key in rules else "a mapping without this field"


def _rule(rule: Any, event: Mapping[str, Any]) -> str:
    """Return where a rule takes its value from in this event: a path, or else what kind of rule it is."""
    names = [name for name in rule if name.startswith("@")] if isinstance(rule, dict) else []
    if not names:
        return "a fixed value"
    directive = str(names[0])
    argument = rule[directive]
    if directive == "@path" and isinstance(argument, str):
        return argument or "the whole event"
    if directive == "@if" and isinstance(argument, dict):
        tests = {name: argument[name] for name in ("exists", "blank") if name in argument}
        taken = Fields({"@if": {**tests, "then": True}}).resolve(event) is True
        branch = "then" if taken else "else"
        return _rule(argument[branch], event) if branch in argument else f"an @if without {branch}"
    return directive


# --- what Segment's action does


def official_list_change(value: Any) -> Literal["add", "remove", "none"]:
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


def official_contacts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what the action looks up, in its order: nothing is validated."""
    contacts = {
        "phone": phone_digits(fields.get("phone", "")),
        "email": fields.get("email", "").strip(WHITESPACE),
    }
    return {kind: contact for kind, contact in contacts.items() if contact}


def official_steps(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the action does with these fields of a payload, as `Payload.fields` gives them."""
    contacts = official_contacts(fields)
    if not contacts:
        return ("Fails with PAYLOAD_VALIDATION_FAILED (400), not retried: neither email nor phone is left.",)
    first, *others = (
        f"GET {SUBSCRIBERS}?{_PARAMETERS[kind]}={show_value(contact, kind)}; "
        "the first subscriber found is taken."
        for kind, contact in contacts.items()
    )
    value = official_value(fields)
    key, shown = show_value(fields["segment_audience_key"]), show_value(value)
    held = f'the subscriber\'s "{AUDIENCES_PROPERTY}"'
    change = {
        "add": f"If {key} is not on {held}: PATCH {SUBSCRIBERS}/{{id}}, the list with it at the end. "
        f"In JavaScript {shown} == true.",
        "remove": f"If {key} is on {held}: PATCH {SUBSCRIBERS}/{{id}}, the list without its first one. "
        f"In JavaScript {shown} == false.",
        "none": f"Leaves the list: in JavaScript {shown} equals neither true nor false.",
    }[official_list_change(value)]
    return (
        first,
        *(f"No subscriber found: {other}" for other in others),
        "No subscriber found: ends as a success, and nothing is remembered.",
        change,
        f"POST {EVENTS}, {official_event(value)}, whether or not the list has changed.",
    )


# --- a sync of this toolkit


def our_steps(made: Payload | TraitPayload, person: str, *, region: str) -> tuple[str, ...]:
    """Return what a sync does with a payload that counts."""
    if isinstance(made, Payload):
        kind = "audience"
        state = f"is {'in' if made.membership else 'out of'} {show_value(made.segment_audience_key)}"
    else:
        kind = "trait"
        state = f"has the {show_value(made.segment_trait_key)} {show_value(made.value)}"
    return (
        f"Notes that {show_person(person)} {state}, unless there is a newer event of this person on the "
        f"same {kind}.",
        *_contact_steps(made, region),
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


def _contact_steps(made: Payload | TraitPayload, region: str) -> list[str]:
    steps, usable = [], []
    for kind, verdict in _verdicts(made, region).items():
        if verdict.code != "absent":
            steps.append(f"{kind.capitalize()}: {verdict.code}. {CONTACT_VERDICTS[verdict.code][0]}")
        if verdict.value is not None:
            usable.append(f"{kind} {show_value(verdict.value, kind)}")
    last = f"Looks for the one subscriber with {', else with '.join(usable)}; waits for one if none."
    lacking = "This event has no contact to look up; the person's other events may have one."
    return [*steps, last if usable else lacking]


# --- where the two differ


def differences(made: Made, action: Action, *, region: str) -> tuple[str, ...]:
    """Return where Segment's action differs from a sync over what a mapping made of an event."""
    if isinstance(made, Payload):
        return (_membership_difference(made), *_contact_differences(made, region))
    if isinstance(made, TraitPayload):
        return ("Segment's destination refuses computed traits; here they become properties.",)
    if action == SYNC_AUDIENCES and made.status is EventStatus.NOT_AN_AUDIENCE_EVENT:
        return ("Segment reports a failed delivery; here the event just was not meant for the action.",)
    return ()


def _membership_difference(made: Payload) -> str:
    value = official_value(made.fields())
    event_type = official_event(value)
    if made.membership is not None:
        return f"Segment posts {event_type} each time; here it is posted once, when the list changes."
    lists = {"add": "adds the audience", "remove": "removes the audience", "none": "leaves the list"}
    change = lists[official_list_change(value)]
    return (
        f"The value ({show_value(value)}) is not true or false: Segment {change} and posts {event_type}, "
        "here nothing changes."
    )


def _contact_differences(made: Payload, region: str) -> list[str]:
    contacts = official_contacts(made.fields())
    if not contacts:
        return ["Segment fails without a contact; here those of the person's other events are used."]
    verdicts = _verdicts(made, region)
    found = []
    if "phone" in contacts and verdicts["phone"].value is None:
        found.append("Segment looks for any digits; here a phone that cannot be one is left out.")
    elif "phone" in contacts and verdicts["phone"].value != f"+{contacts['phone']}":
        found.append("Segment looks for the digits as written; here for the whole international number.")
    if "email" in contacts and verdicts["email"].value is None:
        found.append("Segment looks for any text; here an email that cannot be one is left out.")
    return found
