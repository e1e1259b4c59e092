"""Triggers worth having ready, in words both dialects read alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from toolkit.errors import TriggerError

from .lint import lint_trigger
from .tree import Comparison, Node, Or
from .write import write_trigger

DEFAULT_TRIGGER: Final = 'type = "identify" or type = "track"'
"""What Segment suggests for the Sync Audiences action."""
PRESETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "default": DEFAULT_TRIGGER,
        "audiences": 'context.personas.computation_class = "audience"',
    }
)
"""Name → text: what Segment suggests; calls of audiences alone, without computed traits and journeys."""


def audience_trigger(key: str) -> str:
    """Return the trigger for the calls of the audience with this key; TriggerError if no text can hold it.

    >>> audience_trigger("vip_customers")
    'context.personas.computation_key = "vip_customers"'
    """
    return _written(_equal("context.personas.computation_key", key))


def events_trigger(*names: str) -> str:
    """Return the trigger for track calls of these names, one at least; TriggerError if no text can hold one.

    >>> events_trigger("Audience Entered", "Audience Exited")
    'event = "Audience Entered" or event = "Audience Exited"'
    """
    if not names:
        raise TriggerError("Name at least one event", None)
    return _written(Or(parts=tuple(_equal("event", name) for name in names)))


def activation_trigger(emitter_id: str) -> str:
    """Return the trigger for one activation, an audience connected to a destination; TriggerError as above.

    *emitter_id* is ``context.personas.event_emitter_id`` of its events.

    >>> activation_trigger("ee_3xYp")
    'context.personas.event_emitter_id = "ee_3xYp"'
    """
    return _written(_equal("context.personas.event_emitter_id", emitter_id))


def _equal(path: str, value: str) -> Node:
    if not isinstance(value, str) or not value:
        raise TriggerError("A trigger compares with a text that is not empty; give one", None)
    return Comparison(path=tuple(path.split(".")), operator="=", value=value)


def _written(tree: Node) -> str:
    text = write_trigger(tree)
    if lint_trigger(text):
        raise TriggerError(
            "Segment reads no text with a \\ before a quote or another \\; choose a value without", None
        )
    return text
