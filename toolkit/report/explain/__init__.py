"""Why an event counts or does not: one event followed through a destination, decision by decision.

Nothing is sent and nothing is asked of Postscript. The statuses and reasons are those of a run; the values
are shown texts, with contacts hidden::

    routing      integrations and consent
    mappings     one mapping: its trigger, its outcome, and the parts below
    fields       where each field's value is from, and whether it is accepted
    official     what Segment's action would do, JavaScript's comparisons included
    ours         what a run would do, and where the two part
    display      values as texts
    explanation  what is handed back, and its table
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from toolkit.contacts import check_region
from toolkit.segment import events
from toolkit.segment.destination import REASON_CODES, Destination
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
from .mappings import explain_mapping, outcome_of
from .official import OfficialStep, official_event, official_list_change, official_steps
from .routing import decide_consent, decide_integrations

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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def explain(
    event: Any, destination: Destination, *, default_region: str = "US", show_contacts: bool = False
) -> Explanation:
    r"""Follow one event through a destination, and say at each step what was decided and why.

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
    Nobody found: ends as a success, and nothing is remembered.
    Leaves the list: in JavaScript "true" equals neither true nor false.
    POST /api/v2/events, Segment_Audience_Entered, whether or not the list has changed.
    """
    region = check_region(default_region)
    display = Display(show_contacts=show_contacts)
    if not events.is_event(event):
        return _malformed()
    integrations = decide_integrations(event, display)
    consent = decide_consent(event, destination.consent_categories, display)
    is_delivered = integrations.holds and consent.holds
    mappings = tuple(
        explain_mapping(mapping, event, is_delivered=is_delivered, region=region, display=display)
        for mapping in destination.mappings
    )
    status = None
    if not integrations.holds:
        status = EventStatus.FILTERED_INTEGRATIONS
    elif not consent.holds:
        status = EventStatus.FILTERED_CONSENT
    elif not any(mapping.in_effect for mapping in mappings):
        status = EventStatus.NO_MATCHING_MAPPING
    return Explanation(
        **_facts(event, display),
        integrations=integrations,
        consent=consent,
        mappings=mappings,
        outcome=None if status is None else outcome_of(status, REASON_CODES[status]),
    )


def _facts(event: dict[str, Any], display: Display) -> dict[str, str]:
    moment = events.event_time(event)
    return {
        "event_type": _said(event, "type", display),
        "event_name": _said(event, "event", display),
        "person": display.person(events.person_of(event, None, None) or ""),
        "message_id": display.person(f":{events.dedupe_key(event)}").removeprefix(":"),
        "time": "" if moment is None else (_EPOCH + timedelta(microseconds=moment)).isoformat(),
    }


def _said(event: dict[str, Any], key: str, display: Display) -> str:
    return display.value(event[key]) if key in event else ""


def _malformed() -> Explanation:
    unasked = Decision(holds=False, sentence="Not asked: this is no event.")
    return Explanation(
        **dict.fromkeys(("event_type", "event_name", "person", "message_id", "time"), ""),
        integrations=unasked,
        consent=unasked,
        mappings=(),
        outcome=outcome_of(EventStatus.MALFORMED, "NOT_JSON"),
    )
