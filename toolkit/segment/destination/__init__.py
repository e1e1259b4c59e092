"""The destination: up to fifty mappings, each turning the events it is triggered by into payloads.

Fields, defaults and the order of work are those of Segment's Sync Audiences action. One thing differs on
purpose: a payload without email and phone is kept, because another event of the same person may have them.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.segment.events import INTEGRATION_NAME, has_consent, is_event, is_for_postscript
from toolkit.segment.mapping import Mapping
from toolkit.segment.triggers import DEFAULT_TRIGGER, Trigger
from toolkit.statuses import EventStatus

from .actions import REASON_CODES, SYNC_AUDIENCES, ActionMapping, Discard, Payload, TraitPayload
from .lint import lint_mapping
from .settings_file import read_destination


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The mappings that decide what becomes of an event.

    Examples
    --------
    >>> Destination.default().payload({"type": "identify", "traits": {"vip": True}}).status.value
    'not_an_audience_event'
    """

    mappings: tuple[ActionMapping, ...]
    consent_categories: tuple[str, ...] = ()
    """Consent categories the destination is mapped to; all of them need consent."""

    @classmethod
    def default(cls) -> Destination:
        """Return the destination as Segment suggests it: one mapping, default trigger, default fields."""
        fields = Mapping(SYNC_AUDIENCES.default_fields)
        mapping = ActionMapping(name=SYNC_AUDIENCES.name, trigger=Trigger(DEFAULT_TRIGGER), fields=fields)
        return cls(mappings=(mapping,))

    @classmethod
    def from_file(cls, path: str | Path) -> Destination:
        """Return the destination that a YAML or JSON file describes; the default one for an empty path.

        The file has ``mappings``, a list of objects with ``name``, ``enabled`` (true), ``action``
        (``syncAudiences``), ``trigger`` (the default), ``dialect`` of the trigger (``strict``) and ``fields``
        (merged over the default ones), and optionally ``consent_categories``. What Segment stores is read
        too: ``subscriptions`` with ``partnerAction``, ``subscribe`` and ``mapping``, which is taken whole.
        Raises InputPathError when there is no such file, and FileFormatError, whose message lists every
        problem with its place, when it cannot be used.
        """
        if path == "":
            return cls.default()
        mappings, consent_categories = read_destination(Path(path))
        return cls(mappings=mappings, consent_categories=consent_categories)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the mappings, a sentence each: triggers that Segment reads otherwise than they are
        written, with what to write instead, and mappings that can take no event.
        """
        return tuple(sentence for mapping in self.mappings for sentence in lint_mapping(mapping))

    def payload(self, event: AbstractMapping[str, Any]) -> Payload | TraitPayload | Discard:
        """Return the first of `payloads`; with a single mapping there is no other."""
        return self.payloads(event)[0]

    def payloads(self, event: AbstractMapping[str, Any]) -> tuple[Payload | TraitPayload | Discard, ...]:
        """Return one answer for each enabled mapping whose trigger matches, or a single `Discard`.

        Never empty and never raises, whatever the event holds.
        """
        status = EventStatus.NO_MATCHING_MAPPING
        if not is_event(event):
            reason = "The event is not an object."
        elif not is_for_postscript(event):
            status = EventStatus.FILTERED_INTEGRATIONS
            reason = f"The event's integrations object does not include {INTEGRATION_NAME}."
        elif not has_consent(event, self.consent_categories):
            status = EventStatus.FILTERED_CONSENT
            reason = "The person has not consented to every category of the destination."
        elif found := [m.payload(event) for m in self.mappings if m.enabled and m.trigger.matches(event)]:
            return tuple(found)
        else:
            reason = "No enabled mapping has a trigger that matches the event."
        return (Discard(status=status, reason=reason, reason_code=REASON_CODES[status]),)
