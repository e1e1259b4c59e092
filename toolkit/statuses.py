"""The statuses of events, memberships, traits and runs, the reasons for them, and the check of their totals.

Every surface (frames, ledger, notebooks, report) quotes these names and sentences; none makes its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from toolkit.errors import ReconciliationError


class EventStatus(StrEnum):
    """The final status of one event × mapping, in the order in which they are decided."""

    MALFORMED = "malformed"
    DUPLICATE = "duplicate"
    FILTERED_INTEGRATIONS = "filtered_integrations"
    FILTERED_CONSENT = "filtered_consent"
    NO_MATCHING_MAPPING = "no_matching_mapping"
    NOT_AN_AUDIENCE_EVENT = "not_an_audience_event"
    INVALID_PAYLOAD = "invalid_payload"
    NO_MEMBERSHIP_VALUE = "no_membership_value"
    SUPERSEDED = "superseded"
    COUNTED = "counted"


class ChangeStatus(StrEnum):
    """How one run ended for one membership or trait of a person."""

    ADDED = "added"
    REMOVED = "removed"
    UPDATED = "updated"
    WOULD_ADD = "would_add"
    WOULD_REMOVE = "would_remove"
    WOULD_UPDATE = "would_update"
    UNCHANGED = "unchanged"
    WAITING = "waiting"
    AMBIGUOUS = "ambiguous"
    NO_USABLE_CONTACT = "no_usable_contact"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    FAILED = "failed"
    PENDING = "pending"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    NOT_LOOKED_UP = "not_looked_up"
    """In a forecast only: a run looks up all people that it decides about."""


class RunStatus(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELED = "canceled"


NEEDS_ATTENTION = frozenset(
    {ChangeStatus.REJECTED, ChangeStatus.FAILED, ChangeStatus.UNKNOWN, ChangeStatus.PENDING}
)
"""Statuses that make a finished run ``completed_with_errors``."""


class Reason(NamedTuple):
    """Why a status was given."""

    meaning: str
    """One sentence for people."""
    fix: str = ""
    """What to do about it; empty when there is nothing to do."""


_MEANINGS = {
    # Events
    "NOT_JSON": "The line is torn or is not a JSON object.",
    "FILE_DAMAGED": "The file is damaged from this line on; the lines before it were read.",
    "ROW_TORN": "The row has too many or too few cells, an open quote, or letters that are no text.",
    "PROFILE_MERGED": "The profile was merged into another, whose own events count.",
    "DUPLICATE_MESSAGE_ID": "The same message was already read; a messageId counts once.",
    "FILTERED_BY_INTEGRATIONS_OBJECT": (
        "The event's integrations object does not let it through to Postscript."
    ),
    "FILTERED_BY_END_USER_CONSENT": (
        "The person has not consented to a category this destination is mapped to."
    ),
    "NO_MATCHING_MAPPING": "No enabled mapping's trigger matches the event.",
    "NOT_AN_AUDIENCE_EVENT": "The event was not computed by an Engage audience or journey step.",
    "NOT_A_COMPUTED_TRAIT": (
        "The event was not computed by an Engage computed trait, and the mapping takes no other."
    ),
    "PAYLOAD_VALIDATION_FAILED": "A field of the payload is missing or has the wrong type.",
    "MEMBERSHIP_MISSING": "The event does not say whether the person is in or out.",
    "MEMBERSHIP_NOT_BOOLEAN": (
        'The membership value is not true or false: text such as "true" changes nothing.'
    ),
    "TRAIT_VALUE_MISSING": "The event carries no value of the trait, or null; nothing is written then.",
    "TRAIT_VALUE_UNSUPPORTED": (
        "The trait's value is not a text, a whole number, true or false, or a list of texts."
    ),
    "NO_PERSON": "The event has no user id, no anonymous id and no contact.",
    "NEWER_EVENT": "A newer event decides this person and audience, or trait.",
    "DECIDED": "The newest event on this person and audience, or trait.",
    "DECIDED_AHEAD": "The newest event on this person and audience, or trait; it is dated in the future.",
    # Memberships and traits
    "ENTERED": "In the audience, and was not on the subscriber's list.",
    "EXITED": "Out of the audience, and was still on the subscriber's list.",
    "CONTACT_MOVED": (
        "The person is another subscriber by now, and no other person with this audience is this one."
    ),
    "ALREADY_IN": "In the audience, and already on the subscriber's list.",
    "ALREADY_OUT": "Out of the audience, and not on the subscriber's list.",
    "TRAIT_NEW_VALUE": "The subscriber's property had another value than the trait has, or none.",
    "TRAIT_SAME_VALUE": "The subscriber's property already has the trait's value.",
    "TRAIT_NAME_RESERVED": (
        'The trait is named like the property that holds the audiences, "Segment Audiences".'
    ),
    "SAME_SUBSCRIBER": "Another person with the same contact has a newer event for this audience or trait.",
    "SUBSCRIBER_NOT_FOUND": "No one with this phone or email subscribes to the shop yet.",
    "NOT_LOOKED_UP": "It is not known whether this person subscribes: Postscript was not asked yet.",
    "AMBIGUOUS_MATCH": "Several subscribers share this email, and the phone does not decide.",
    "NO_CONTACT": "No event of this person carried a phone or an email.",
    "CONTACT_INVALID": "The person's phone and email can not be used.",
    "PROPERTY_NOT_A_LIST": 'The subscriber\'s "Segment Audiences" is not a list of texts; it was left alone.',
    "PROPERTY_LIMIT": "The subscriber would have more than 50 properties, Postscript's limit.",
    "REJECTED_BY_POSTSCRIPT": "Postscript refused the write.",
    "SUBSCRIBER_GONE": "The subscriber vanished between reading and writing.",
    "TRANSPORT_FAILED": "Postscript could not be reached, or kept failing.",
    "PROPERTIES_LOST": "Postscript's answer to the write lacks other properties the subscriber had.",
    "WRITE_NOT_KEPT": "Postscript confirmed the write, and the subscriber's list is not what was written.",
    "NOT_REACHED": "The run ended before this write.",
    "EVENT_NOT_SENT": "The subscriber's list was written; the run ended before the custom event was sent.",
    "EVENT_ALREADY_SENT": (
        "The subscriber's list was changed; the custom event was closed before and is not sent again."
    ),
    "EVENT_NOT_DUE": (
        "The subscriber's list was changed; no custom event was due, as the one before was never sent."
    ),
    "REMOVAL_LIMIT": (
        "The plan removes a larger share of memberships, over all or of one audience, than "
        "max_removal_share allows."
    ),
    "ANSWER_LOST": "The custom event was sent and its answer was lost; it is not repeated.",
    "NOT_CHOSEN": "The audience is not among audience_keys; traits are left out when there are any.",
    "NOT_IN_SYNC_MODE": (
        "The run's sync mode leaves this out: add_only removes nothing, remove_only only removes."
    ),
    "OPTED_OUT": "The subscriber has opted out and the run was asked to skip those.",
    "PLAN_STALE": "What the plan saw has changed since: the subscriber, or a newer event of the person.",
    "UNDO_ADDED": "The undone run removed the subscriber from the audience; this puts it back.",
    "UNDO_REMOVED": "The undone run added the subscriber to the audience; this takes it out again.",
    "UNDO_SET": "The undone run wrote another value; this writes the earlier one again.",
    "CHANGED_SINCE": "It is no longer as the run left it, or a later run wrote it anew; it was left alone.",
    "TRAIT_CANNOT_BE_DELETED": (
        "The property had no value before the run, and Postscript documents no way to delete a property."
    ),
    "KEY_LISTED_TWICE": "The audience stands on the subscriber's list more than once.",
}
"""Reason code → what it means."""

_FIXES = {
    # Events
    "NOT_JSON": "Fetch the file again; if the line is torn in the bucket too, nothing can be done.",
    "FILE_DAMAGED": "Fetch the file again and repeat the run: what follows the damage is missing.",
    "ROW_TORN": "Export the list again; until then it removes no one.",
    "FILTERED_BY_INTEGRATIONS_OBJECT": (
        "Connect the audience to the Postscript destination in Segment if it should have been."
    ),
    "NO_MATCHING_MAPPING": "Widen a trigger if such events should count.",
    "NOT_AN_AUDIENCE_EVENT": (
        "Nothing, for ordinary events; computed traits have an action of their own, syncTraits."
    ),
    "NOT_A_COMPUTED_TRAIT": "Nothing, for ordinary events and audiences.",
    "PAYLOAD_VALIDATION_FAILED": "Compare the mapping's fields with the event.",
    "MEMBERSHIP_MISSING": "Nothing, for journey steps: Segment sends no true or false with them.",
    "MEMBERSHIP_NOT_BOOLEAN": "Send a JSON true or false in the audience's key.",
    "TRAIT_VALUE_MISSING": "Nothing: Postscript documents no way to delete a property.",
    "TRAIT_VALUE_UNSUPPORTED": "Round the number, or make it a text, with the mapping's directives.",
    "NO_PERSON": "Send a user id with the event.",
    "DECIDED_AHEAD": "Correct the date at its source: until then no newer event outdoes it.",
    "TRAIT_NAME_RESERVED": "Give the trait another name in Segment.",
    "SAME_SUBSCRIBER": "Merge the two profiles in Segment if they are one person.",
    "SUBSCRIBER_NOT_FOUND": "Nothing: it is kept, and delivered on the first run after they opt in.",
    "NOT_LOOKED_UP": "Nothing: the next sync asks. Or set look_up in 1_preview_audiences.",
    "AMBIGUOUS_MATCH": "Send the phone with the audience, or remove the duplicate subscriber in Postscript.",
    "NO_CONTACT": "Add phone and email to the connection's Customized setup in Engage.",
    "CONTACT_INVALID": "See the verdicts of 2_validate_contacts.",
    "PROPERTY_NOT_A_LIST": "Clear the property in Postscript.",
    "PROPERTY_LIMIT": "Delete an unused property of this subscriber.",
    "REJECTED_BY_POSTSCRIPT": "Read the status code and message in the journal of calls.",
    "SUBSCRIBER_GONE": "Nothing: the next run looks the person up again.",
    "TRANSPORT_FAILED": "Run the sync again.",
    "PROPERTIES_LOST": "Stop, compare the subscriber in Postscript, and write to Postscript's support.",
    "WRITE_NOT_KEPT": "Look the subscriber up in Postscript: it may have more than 50 properties.",
    "NOT_REACHED": "Fix what ended the run, then run the sync again.",
    "EVENT_NOT_SENT": "Run the sync again: it sends the custom event, and plans no other change for it.",
    "REMOVAL_LIMIT": (
        "Check that the archive is complete; if the removals are meant, run again with the same events "
        "and a larger max_removal_share."
    ),
    "ANSWER_LOST": "Look the subscriber up in Postscript before you decide to repeat it.",
    "NOT_IN_SYNC_MODE": 'Run with sync_mode "mirror" to have it sent.',
    "PLAN_STALE": "Make a new plan.",
    "TRAIT_CANNOT_BE_DELETED": "Clear the property in Postscript.",
    "KEY_LISTED_TWICE": "Nothing: it is listed once as soon as the list is written.",
}
"""Reason code → what to do, where there is something to do."""

REASONS = {code: Reason(meaning, _FIXES.get(code, "")) for code, meaning in _MEANINGS.items()}
"""Reason code → what it means, and what to do."""


def get_reason(code: str) -> Reason:
    """Return the reason of that code; KeyError for an unknown code."""
    return REASONS[code]


_MEANINGS_IN = {
    ("repair", "ENTERED"): "In the audience, and it was missing on the subscriber's list.",
    ("repair", "EXITED"): "On the subscriber's list, and nothing says that it should be.",
    ("member_list", "EXITED"): "The member list does not name the subscriber, or a newer event says out.",
}
"""Kind of run and reason → what the reason means there."""


def get_meaning(code: str, kind: str = "sync") -> str:
    """Return what a reason means in a run of that kind: a repair comes from no event."""
    return _MEANINGS_IN.get((kind, code)) or get_reason(code).meaning


def in_words(name: str) -> str:
    """Return a column's or status's name as words.

    >>> in_words("would_add")
    'would add'
    """
    return name.replace("_", " ")


def list_counts(counts: Mapping[str, int]) -> str:
    """Return statuses, and how many have each, as words.

    >>> list_counts({"added": 1200, "no_usable_contact": 3})
    '1,200 added, 3 no usable contact'
    """
    return ", ".join(f"{count:,} {in_words(status)}" for status, count in counts.items())


def count_of(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun; *many* is the plural where it is not *one* with an s.

    >>> count_of(1, "audience"), count_of(1200, "person", "people")
    ('1 audience', '1,200 people')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def check_totals(received: int, totals: Mapping[str, int], *, of: str) -> None:
    """Raise ReconciliationError unless the *totals* sum to what was *received*.

    >>> check_totals(3, {"counted": 2, "malformed": 1}, of="events")
    """
    if (summed := sum(totals.values())) != received:
        raise ReconciliationError(
            f"{received} {of} came in, but their statuses add up to {summed}. "
            "This is a fault of the toolkit: nothing in this run's figures should be relied on."
        )
