"""Triggers worth having ready, in words both dialects read alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from toolkit.errors import TriggerError

from .lint import lint_trigger
from .tree import Comparison, Node, Or
from .write import write_trigger

PRESETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "default": 'type = "identify" or type = "track"',
        "audiences": 'context.personas.computation_class = "audience"',
    }
)
"""Name → text: what Segment suggests; calls of audiences alone, without computed traits and journeys."""


def audience_trigger(key: str) -> str:
    """Return the trigger for the calls of one audience.

    Parameters
    ----------
    key
        The audience's key, such as ``vip_customers``.

    Returns
    -------
    str
        A text for `Trigger`, read alike in both dialects.

    Raises
    ------
    TriggerError
        A text in Segment's language cannot hold the key.

    Examples
    --------
    >>> audience_trigger("vip_customers")
    'context.personas.computation_key = "vip_customers"'
    """
    return _written(_equal("context.personas.computation_key", key))


def events_trigger(*names: str) -> str:
    """Return the trigger for track calls of these names.

    Parameters
    ----------
    names
        Event names, exact; at least one.

    Returns
    -------
    str
        A text for `Trigger`, read alike in both dialects.

    Raises
    ------
    TriggerError
        There is no name, or a text in Segment's language cannot hold one.

    Examples
    --------
    >>> events_trigger("Audience Entered", "Audience Exited")
    'event = "Audience Entered" or event = "Audience Exited"'
    """
    if not names:
        raise TriggerError("Name at least one event", None)
    return _written(Or(parts=tuple(_equal("event", name) for name in names)))


def activation_trigger(emitter_id: str) -> str:
    """Return the trigger for the calls of one activation: one audience connected to one destination.

    Parameters
    ----------
    emitter_id
        ``context.personas.event_emitter_id`` of its events, such as ``ee_3xYp``.

    Returns
    -------
    str
        A text for `Trigger`, read alike in both dialects.

    Raises
    ------
    TriggerError
        A text in Segment's language cannot hold the id.

    Examples
    --------
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
