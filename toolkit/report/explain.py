"""Why an event counts or does not: one event followed through a destination, decision by decision.

Nothing is sent and Postscript is not asked. The statuses and reasons are those of a run; values are shown
short, with contacts hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import pandas as pd

from toolkit.contacts.checks import check_region
from toolkit.segment import events
from toolkit.segment.destination import Destination
from toolkit.segment.destination.actions import SYNC_AUDIENCES, ActionMapping, Discard, Payload
from toolkit.segment.events import INTEGRATION_NAME, has_consent, is_for_postscript
from toolkit.segment.javascript import kind_of
from toolkit.segment.payload_rows import row_of
from toolkit.segment.triggers import Trigger
from toolkit.segment.triggers.lint import lint_trigger
from toolkit.statuses import EventStatus, get_reason

from .actions import LONG, Made, differences, filled_fields, official_steps, our_steps
from .display import contacts_shown, show_person, show_text, show_value

__all__ = ["Explanation", "Outcome", "explain"]

STEP_COLUMNS: Final = ("step", "what", "value", "meaning")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_CATEGORY: Final = "\0"
"""A category that no person consents to: only an event without any preferences passes with it."""
_YES: Final = {True: "yes", False: "no"}

_Row = tuple[str, str, str, str]


class Outcome(NamedTuple):
    """What becomes of the event, in the words of a run."""

    status: EventStatus | None
    """None while it depends on the other events: ``counted`` or ``superseded``."""
    reason_code: str | None
    sentence: str
    fix: str
    """What to do about it; empty when there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What becomes of one event, and why. Made by explain(); holds nothing of the event but shown texts."""

    outcomes: tuple[Outcome, ...]
    """One for each row that the event has among the payloads."""
    steps: tuple[tuple[str, str, str, str], ...]
    """The rows of table()."""

    def table(self) -> pd.DataFrame:
        """Lay the explanation out, one row a decision, condition, field or step, in the order decided.

        Columns, all text: ``step``, ``what``, ``value``, ``meaning``. ``step`` is event, integrations,
        consent, outcome, and for each mapping: mapping, trigger, condition, lint, field, outcome, Segment
        would, we would, difference. Fields and outcome of a mapping that is not in effect are those that
        would be.
        """
        return pd.DataFrame([*self.steps], columns=[*STEP_COLUMNS]).astype("str")


def explain(
    event: Any, destination: Destination, *, default_region: str = "US", show_contacts: bool = False
) -> Explanation:
    r"""Follow one event through a destination, and state at each step what was decided and why.

    *event* is one Segment call, as ``json.loads`` gives it; it is not changed. Mappings that are disabled or
    do not fire are explained too, as what would be. A phone without a country code is read in the
    *default_region*, two letters. Unless *show_contacts* is given, contacts are masked wherever they are
    recognised, and so is any other number of seven digits or more.

    Raises
    ------
    ParameterError
        The region is unknown.

    Examples
    --------
    >>> event = {"type": "identify", "userId": "c_1", "traits": {"email": "dana@mail.test", "vip": "true"}}
    >>> event["context"] = {"personas": {"computation_class": "audience", "computation_key": "vip"}}
    >>> explanation = explain(event, Destination.default())
    >>> [(outcome.status.value, outcome.reason_code) for outcome in explanation.outcomes]
    [('no_membership_value', 'MEMBERSHIP_NOT_BOOLEAN')]
    >>> print(*explanation.table().query("step == 'Segment would'")["meaning"], sep="\n")
    GET /api/v2/subscribers?email__eq=d•••@mail.test; the first subscriber found is taken.
    No subscriber found: ends as a success, and nothing is remembered.
    Leaves the list: in JavaScript "true" equals neither true nor false.
    POST /api/v2/events, Segment_Audience_Entered, whether or not the list has changed.
    """
    region = check_region(default_region)
    if not events.is_event(event):
        outcome = Outcome(EventStatus.MALFORMED, "NOT_JSON", *get_reason("NOT_JSON"))
        return Explanation(outcomes=(outcome,), steps=(_outcome_row(outcome),))
    categories = destination.consent_categories
    is_delivered = is_for_postscript(event) and has_consent(event, categories)
    made = destination.payloads(event)
    outcomes = tuple(_outcome_of(event, one) for one in made)
    with contacts_shown(is_wanted=show_contacts):
        steps = [*_event_rows(event, categories)]
        steps += [_outcome_row(o) for one, o in zip(made, outcomes, strict=True) if not one.mapping]
        for mapping in destination.mappings:
            steps += _mapping_rows(mapping, event, is_delivered=is_delivered, region=region)
    return Explanation(outcomes=outcomes, steps=tuple(steps))


# --- what is decided before any mapping


def _event_rows(event: dict[str, Any], categories: tuple[str, ...]) -> Iterator[_Row]:
    moment = events.event_time(event)
    time = "" if moment is None else (_EPOCH + timedelta(microseconds=moment)).isoformat()
    yield "event", "type", show_value(event["type"]) if "type" in event else "", ""
    yield "event", "name", show_value(event["event"]) if "event" in event else "", ""
    yield "event", "person", show_person(events.person_of(event, None, None) or ""), ""
    yield "event", "message", show_person(f":{events.dedupe_key(event)}").removeprefix(":"), ""
    yield "event", "time", time, ""
    holds = is_for_postscript(event)
    sentence = (
        f"{_integrations(event.get('integrations'))}, so the event is {'' if holds else 'not '}delivered."
    )
    yield "integrations", "delivered", _YES[holds], sentence
    yield "consent", "given", _YES[has_consent(event, categories)], _consent(event, categories)


def _integrations(integrations: Any) -> str:
    """Return the rule by which the integrations object lets the event through, or does not."""
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
    return rule if alike is None else f"{rule} ({show_value(alike)} is not its name; case matters)"


def _consent(event: Mapping[str, Any], categories: tuple[str, ...]) -> str:
    """Return which of the categories that the destination is mapped to the person consented to."""
    needed = show_text(", ".join(categories))
    lacking = [name for name in categories if not has_consent(event, (name,))]
    if not categories:
        return "The destination is mapped to no consent category."
    if lacking:
        return f"No consent to {show_text(', '.join(lacking))}; needed: {needed}."
    if has_consent(event, (*categories, _NO_CATEGORY)):
        return f"The event carries no consent preferences, so none of {needed} is withheld."
    return f"Consent to {needed}."


def _outcome_of(event: Mapping[str, Any], made: Made) -> Outcome:
    """Return the status and reason of the event's row, with the sentence for it."""
    cells = row_of(event, made)
    status, code = cells[2], cells[3]
    if code is None:
        return Outcome(None, None, "It counts, unless a newer event of the person differs.", "")
    # A row with a code and no status is a payload without a membership: fold() gives it this one.
    status, reason = status or EventStatus.NO_MEMBERSHIP_VALUE, get_reason(code)
    sentence = f"{reason.meaning} {_refusal(made) if made.mapping else ''}".rstrip()
    return Outcome(EventStatus(status), code, sentence, reason.fix)


def _outcome_row(outcome: Outcome, would: str = "") -> _Row:
    status = "counted or superseded" if outcome.status is None else outcome.status.value
    return f"outcome{would}", status, outcome.reason_code or "", f"{outcome.sentence} {outcome.fix}".rstrip()


def _refusal(made: Made) -> str:
    return show_text(made.reason, limit=LONG) if isinstance(made, Discard) else ""


# --- one mapping


def _mapping_rows(
    mapping: ActionMapping, event: Mapping[str, Any], *, is_delivered: bool, region: str
) -> Iterator[_Row]:
    """Yield what *mapping* makes of *event*, or would make of it."""
    official = Trigger(mapping.trigger.text, dialect="official")
    fires, fires_there = mapping.trigger.matches(event), official.matches(event)
    stopped = "" if is_delivered else "the event is not delivered"
    if is_delivered and not mapping.enabled:
        stopped = "the mapping is disabled"
    would, state = ("", "in effect") if fires and not stopped else (" (would be)", "not in effect")
    made = mapping.payload(event)
    outcome = _outcome_of(event, made)
    enabled = "enabled" if mapping.enabled else "disabled"
    yield "mapping", show_text(mapping.name), enabled, f"{mapping.action.name}, {state}"
    fired = f"fires: {_YES[fires]}; at Segment: {_YES[fires_there]}"
    yield "trigger", mapping.trigger.dialect, show_text(mapping.trigger.text, limit=LONG), fired
    yield from _trigger_rows(mapping.trigger, event)
    for label, value, meaning in filled_fields(mapping, event):
        yield f"field{would}", label, value, meaning
    yield _outcome_row(outcome, would)
    there = _nothing(stopped, official, fires=fires_there) or _official(mapping, made)
    here = _nothing(stopped, mapping.trigger, fires=fires) or _ours(event, made, outcome, region)
    for step, sentences in (("Segment would", there), ("we would", here)):
        for number, sentence in enumerate(sentences, start=1):
            yield step, str(number), "", sentence
    if not stopped and fires is not fires_there:
        does = ("fires here and does not" if fires else "does not fire here and does") + " at Segment"
        yield "difference", "", "", f"The trigger {does}, which reads it otherwise: see the lints."
    elif not stopped and fires:
        for sentence in differences(made, mapping.action, region=region):
            yield "difference", "", "", sentence


def _trigger_rows(trigger: Trigger, event: Mapping[str, Any]) -> Iterator[_Row]:
    for found in trigger.conditions(event):
        value = ""
        if found.path:
            kind = next((kind for kind in ("email", "phone") if kind in found.path[-1].casefold()), "")
            value = "null or missing" if found.value is None else show_value(found.value, kind)
        verdict = f"{'holds' if found.holds else 'fails'}{', decides' if found.decided else ''}"
        yield "condition", show_text(found.text, limit=LONG), value, verdict
    lints = lint_trigger(trigger.text)
    for lint in lints:
        yield "lint", lint.code, f"character {lint.position + 1}", lint.sentence
    if lints and lints[0].corrected:
        corrected = show_text(lints[0].corrected, limit=LONG)
        yield "lint", "corrected", corrected, "Read alike here and at Segment."


def _nothing(stopped: str, trigger: Trigger, *, fires: bool) -> tuple[str, ...]:
    """Return the sentence of a mapping that does nothing; none for one that does something."""
    reason = stopped
    if not stopped and not fires:
        usable = trigger.error is None
        reason = "the trigger does not fire" if usable else "the trigger cannot be used, see the lints"
    return (f"Nothing, because {reason}.",) if reason else ()


def _official(mapping: ActionMapping, made: Made) -> tuple[str, ...]:
    if mapping.action != SYNC_AUDIENCES:
        return (f"Nothing, because Segment has no action {mapping.action.name}.",)
    if isinstance(made, Payload):
        return official_steps(made.fields())
    return (f"Fails with status 400, not retried, before any request. {_refusal(made)}",)


def _ours(event: Mapping[str, Any], made: Made, outcome: Outcome, region: str) -> tuple[str, ...]:
    """Return what a sync does with what a mapping made of an event that reaches it."""
    person = events.person_of(event, made.email, made.phone)
    if person is not None and not isinstance(made, Discard) and outcome.status is None:
        return our_steps(made, person, region=region)
    keeps = person is not None and (made.email or made.phone)
    kept = ("The contacts are kept: other events of the person may need them.",) if keeps else ()
    return (f"Changes nothing, because: {outcome.sentence}", *kept)
