"""Why an event counts or does not: one event followed through a destination, decision by decision.

Nothing is sent and Postscript is not asked. The statuses and reasons are those of a run; the values are shown
texts, with contacts hidden::

    mapping      one mapping: its trigger, its fields, its outcome
    steps        what Segment's action would do, what a run would do, and where the two differ
    display      values as texts
    explanation  what is handed back, and its table
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from toolkit.contacts.checks import check_region
from toolkit.segment import events
from toolkit.segment.destination import Destination, Discard
from toolkit.segment.events import INTEGRATION_NAME, has_consent, is_for_postscript
from toolkit.segment.mapping import kind_of
from toolkit.statuses import EventStatus

from .display import Display
from .explanation import (
    ConditionExplanation,
    Decision,
    Explanation,
    FieldExplanation,
    MappingExplanation,
    Outcome,
)
from .mapping import explain_mapping, outcome_of
from .steps import OfficialStep, official_event, official_list_change, official_steps

__all__ = [
    "ConditionExplanation",
    "Decision",
    "Explanation",
    "FieldExplanation",
    "MappingExplanation",
    "OfficialStep",
    "Outcome",
    "explain",
    "official_event",
    "official_list_change",
    "official_steps",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_CATEGORY: Final = "\0"
"""A category without anyone's consent: only an event without any preferences passes with it."""


def explain(
    event: Any, destination: Destination, *, default_region: str = "US", show_contacts: bool = False
) -> Explanation:
    r"""Follow one event through a destination, and state at each step what was decided and why.

    Parameters
    ----------
    event
        One Segment call, as ``json.loads`` gives it. Not changed. What is no JSON object is malformed.
    destination
        Its mappings; those that are disabled or do not fire are explained too, as what would be.
    default_region
        Country in which a phone without a country code is read, two letters.
    show_contacts
        Show emails and phones as they are. Otherwise they are masked wherever they are recognised, and so is
        any other number of seven digits or more.

    Returns
    -------
    Explanation
        Its ``table()`` is for people; ``outcomes`` has the status and reason of each row that
        ``destination.payloads(event)`` leads to.

    Raises
    ------
    ParameterError
        The region is unknown.

    Examples
    --------
    >>> event = {"type": "identify", "userId": "c_1", "traits": {"email": "dana@mail.test", "vip": "true"}}
    >>> event["context"] = {"personas": {"computation_class": "audience", "computation_key": "vip"}}
    >>> (mapping,) = explain(event, Destination.default()).mappings
    >>> print(mapping.outcome.status.value, mapping.outcome.reason_code)
    no_membership_value MEMBERSHIP_NOT_BOOLEAN
    >>> print(*mapping.official, sep="\n")
    GET /api/v2/subscribers?email__eq=d•••@mail.test; the first subscriber found is taken.
    No subscriber found: ends as a success, and nothing is remembered.
    Leaves the list: in JavaScript "true" equals neither true nor false.
    POST /api/v2/events, Segment_Audience_Entered, whether or not the list has changed.
    """
    region = check_region(default_region)
    display = Display(show_contacts=show_contacts)
    if not events.is_event(event):
        untested = Decision(holds=False, sentence="Not tested: this is no event.")
        outcome = outcome_of(EventStatus.MALFORMED, "NOT_JSON")
        return Explanation(integrations=untested, consent=untested, outcome=outcome)
    integrations = _integrations(event, display)
    consent = _consent(event, destination.consent_categories, display)
    is_delivered = integrations.holds and consent.holds
    mappings = tuple(
        explain_mapping(mapping, event, is_delivered=is_delivered, region=region, display=display)
        for mapping in destination.mappings
    )
    made = None if any(mapping.in_effect for mapping in mappings) else destination.payload(event)
    return Explanation(
        **_facts(event, display),
        integrations=integrations,
        consent=consent,
        mappings=mappings,
        outcome=outcome_of(made.status, made.reason_code) if isinstance(made, Discard) else None,
    )


def _facts(event: dict[str, Any], display: Display) -> dict[str, str]:
    moment = events.event_time(event)
    return {
        "event_type": display.value(event["type"]) if "type" in event else "",
        "event_name": display.value(event["event"]) if "event" in event else "",
        "person": display.person(events.person_of(event, None, None) or ""),
        "message_id": display.person(f":{events.dedupe_key(event)}").removeprefix(":"),
        "time": "" if moment is None else (_EPOCH + timedelta(microseconds=moment)).isoformat(),
    }


def _integrations(event: Mapping[str, Any], display: Display) -> Decision:
    """Return whether the integrations object lets the event through."""
    holds = is_for_postscript(event)
    rule = _integrations_rule(event.get("integrations"), display)
    return Decision(holds=holds, sentence=f"{rule}, so the event is {'' if holds else 'not '}delivered.")


def _integrations_rule(integrations: Any, display: Display) -> str:
    if not integrations and (integrations is None or isinstance(integrations, list | Mapping)):
        return "The event names no integrations"
    if not isinstance(integrations, Mapping):
        return f"Integrations are {kind_of(integrations)}, which has no documented meaning"
    name = f'"{INTEGRATION_NAME}"'
    if INTEGRATION_NAME in integrations:
        choice = integrations[INTEGRATION_NAME]
        if isinstance(choice, bool):
            return f'{name} is {"true" if choice else "false"}, whatever "All" is'
        if isinstance(choice, Mapping):
            return f"{name} is an object of options, which counts as true"
        return f"{name} is {kind_of(choice)}, which has no documented meaning"
    rule = f'"All" is false and {name} is not named'
    if integrations.get("All") is not False:
        rule = f'Neither {name} nor "All" is false'
    alike = next((key for key in integrations if INTEGRATION_NAME.casefold() in key.casefold()), None)
    return rule if alike is None else f"{rule} ({display.value(alike)} is not its name; case matters)"


def _consent(event: Mapping[str, Any], categories: tuple[str, ...], display: Display) -> Decision:
    """Return whether the person consented to every category the destination is mapped to."""
    asked = display.text(", ".join(categories))
    lacking = [name for name in categories if not has_consent(event, (name,))]
    if not categories:
        sentence = "The destination is mapped to no consent category."
    elif lacking:
        sentence = f"No consent to {display.text(', '.join(lacking))}; asked for: {asked}."
    elif has_consent(event, (*categories, _NO_CATEGORY)):
        sentence = f"The event carries no consent preferences, so none of {asked} is withheld."
    else:
        sentence = f"Consent to {asked}."
    return Decision(holds=has_consent(event, categories), sentence=sentence)
