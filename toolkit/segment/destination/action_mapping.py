"""One mapping of a destination: the events it takes, and the payload it makes of each."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from typing import Any

from toolkit.errors import MappingError
from toolkit.segment.mapping import Mapping
from toolkit.segment.triggers import Trigger
from toolkit.statuses import EventStatus

from .actions import CLASS_FIELD, SYNC_AUDIENCES, Action
from .checks import check_fields, contact_text
from .payloads import REASON_CODES, Discard, Payload, TraitPayload, payload_of


@dataclass(frozen=True, kw_only=True)
class ActionMapping:
    """One mapping of a destination: which events it takes, and how it fills the action's fields."""

    name: str
    trigger: Trigger
    fields: Mapping
    """Gives an object with the keys of the action's fields."""
    enabled: bool = True
    action: Action = SYNC_AUDIENCES

    def payload(self, event: AbstractMapping[str, Any]) -> Payload | TraitPayload | Discard:
        """Return what the fields make of *event*, whether or not the trigger takes it."""
        try:
            values = self.fields.resolve(event)
        except MappingError as error:
            return self._invalid(f"The mapping fails at {error}.")
        if not isinstance(values, dict):
            return self._invalid("The mapping gives no object of fields.")
        checked, problems = check_fields(values, self.action.fields)
        return self._refusal(values, problems) if problems else payload_of(self.action, checked, self.name)

    def _invalid(self, reason: str) -> Discard:
        return Discard(status=EventStatus.INVALID_PAYLOAD, reason=reason, mapping=self.name)

    def _refusal(self, values: dict[str, Any], problems: dict[str, str]) -> Discard:
        """Say why: with another class, or none, the event was never meant for the action."""
        foreign = CLASS_FIELD in problems
        status = EventStatus.NOT_AN_AUDIENCE_EVENT if foreign else EventStatus.INVALID_PAYLOAD
        return Discard(
            status=status,
            reason=" ".join(problems.values()),
            mapping=self.name,
            email=contact_text(values.get("email")),
            phone=contact_text(values.get("phone")),
            reason_code=self.action.foreign_reason if foreign else REASON_CODES[status],
        )
