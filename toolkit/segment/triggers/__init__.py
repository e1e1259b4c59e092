"""Triggers: which events start the action, written in Segment's FQL.

A text is read in one of two dialects into one kind of tree::

    tokens      how each dialect cuts a text up
    strict      the documented language; refuses what Segment would misread
    official    what Segment makes of the text; never refuses (official_conditions)
    tree        the conditions, each with one meaning, and their answers
    write       trees in one form, and as texts that Segment reads back
    lint        where the two readings differ, why, and what to write instead
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from toolkit.errors import TriggerError

from .lint import SENTENCES, Lint, lint_trigger
from .official import read_official
from .strict import read_strict
from .tree import And, Comparison, Failing, FailingConditionError, Node, Not, Or, predicate, reader
from .write import condition_text, negation_normal_form, write_trigger

__all__ = [
    "DEFAULT_TRIGGER",
    "PRESETS",
    "Condition",
    "Lint",
    "Trigger",
    "activation_trigger",
    "audience_trigger",
    "events_trigger",
    "lint_trigger",
]

DEFAULT_TRIGGER: Final = 'type = "identify" or type = "track"'
"""What Segment suggests for the Sync Audiences action."""
PRESETS: Final[Mapping[str, str]] = MappingProxyType(
    {"default": DEFAULT_TRIGGER, "audiences": 'context.personas.computation_class = "audience"'}
)
"""Name → text: what Segment suggests; calls of audiences alone, without computed traits and journeys."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a trigger, and what became of it for one event.

    Negations of groups are moved in, so that a condition is shown as it counts: in ``!(type = "page" or
    event = "Sale")`` they are ``type != "page"`` and ``event != "Sale"``.
    """

    text: str
    """The condition as read, not as written."""
    path: tuple[str, ...]
    """Where it looks; no steps for a condition that looks nowhere."""
    value: Any
    """What was found there, as it stands in the event; None for missing."""
    holds: bool
    """Whether the condition is met."""
    decided: bool
    """Whether the outcome hangs on it.

    Of a list joined by ``and`` the first part that fails decides, or all of them when none does; of one
    joined by ``or`` the first that holds, or all. What decides a part that decides decides the whole.
    """


class Trigger:
    """A trigger text, read once and applied to many events.

    Parameters
    ----------
    text
        The condition, such as ``type = "identify" or type = "track"``.
    dialect
        ``strict``: the documented language, what Segment would misread refused. ``official``: exactly what
        Segment makes of the text, misreadings included; never refused, a text that Segment cannot use matches
        nothing.

    Raises
    ------
    TriggerError
        The text cannot be read strictly; ``position`` says where.
    ValueError
        Another dialect is named.

    Examples
    --------
    >>> trigger = Trigger('type = "track" and match(event, "Audience *")')
    >>> trigger.matches({"type": "track", "event": "Audience Entered"})
    True
    >>> Trigger("type = 'track'", dialect="official").matches({"type": "track"})
    False
    >>> print(Trigger("", dialect="official").error)
    There is nothing here, so Segment never matches; write a condition (at character 1)
    """

    __slots__ = ("_matches", "dialect", "error", "text", "tree")

    text: str
    """The text as given; empty for what was none."""
    dialect: str
    """``strict`` or ``official``."""
    tree: Node
    """What the text means, for those who compile it to something else."""
    error: TriggerError | None
    """Why Segment cannot use the text; always None in the strict dialect, which raises."""

    def __init__(self, text: str, *, dialect: str = "strict") -> None:
        if dialect not in ("strict", "official"):
            raise ValueError(f'There are the dialects "strict" and "official", not "{dialect}".')
        self.text = text if isinstance(text, str) else ""
        self.dialect = dialect
        self.error = None
        if dialect == "strict":
            self.tree = read_strict(text)
        else:
            self.tree, notes = read_official(text)
            if notes.refusal:
                code, position = notes.refusal
                self.error = TriggerError(SENTENCES[code], position if isinstance(text, str) else None)
        self._matches: Final = predicate(self.tree)

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Return whether the trigger fires for *event*. Never raises.

        Strictly, it does not for what is no object; Segment takes that, null excepted, for an empty one.
        """
        if not isinstance(event, dict):
            return self.dialect == "official" and event is not None and self.matches({})
        try:
            return self._matches(event)
        except FailingConditionError:
            return False

    def conditions(self, event: Mapping[str, Any]) -> tuple[Condition, ...]:
        """Return every condition in the order written, with what it found in *event*.

        There is none when there is nothing to test: the text cannot be used, or the event is no object.

        Examples
        --------
        >>> trigger = Trigger('type = "track" and !(event = "Paused" or event = "Ended")')
        >>> for condition in trigger.conditions({"type": "track", "event": "Ended"}):
        ...     print(condition.text, condition.holds, condition.decided)
        type = "track" True False
        event != "Paused" True False
        event != "Ended" False True
        """
        if self.error is not None or not isinstance(event, dict):
            return ()
        return explain_tree(self.tree, event)

    def __repr__(self) -> str:
        dialect = "" if self.dialect == "strict" else f", dialect={self.dialect!r}"
        return f"Trigger({self.text!r}{dialect})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and (self.text, self.dialect) == (other.text, other.dialect)

    def __hash__(self) -> int:
        return hash((self.text, self.dialect))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Trigger, dialect=self.dialect), (self.text,)


def explain_tree(tree: Node, event: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions of *tree*, left to right, with what they found in *event*."""
    found: list[Condition] = []
    _, deciding = _outcome(negation_normal_form(tree), event, found)
    for place in deciding:
        found[place] = replace(found[place], decided=True)
    return tuple(found)


def _outcome(node: Node, event: Mapping[str, Any], found: list[Condition]) -> tuple[bool | None, list[int]]:
    """Return whether *node* holds (None: Segment fails) and what decides it; add to *found*."""
    if isinstance(node, And | Or):
        outcomes = [_outcome(part, event, found) for part in node.parts]
        ends_it = isinstance(node, Or)
        first = next((outcome for outcome in outcomes if outcome[0] in (ends_it, None)), None)
        return first or (not ends_it, [place for _, places in outcomes for place in places])
    inner = node.part if isinstance(node, Not) else node
    path: tuple[str, ...] = getattr(inner, "path", ())
    value = reader(path)(event) if path else None
    holds = None if isinstance(node, Failing) else predicate(node)(event)
    found.append(
        Condition(text=condition_text(node), path=path, value=value, holds=bool(holds), decided=False)
    )
    return holds, [len(found) - 1]


# --- presets


def audience_trigger(key: str) -> str:
    """Return the trigger for the calls of the audience with this key; TriggerError if no text can hold it.

    >>> audience_trigger("vip_customers")
    'context.personas.computation_key = "vip_customers"'
    """
    return _any_equal("context.personas.computation_key", key)


def events_trigger(*names: str) -> str:
    """Return the trigger for track calls of these names, one at least; TriggerError if no text can hold one.

    >>> events_trigger("Audience Entered", "Audience Exited")
    'event = "Audience Entered" or event = "Audience Exited"'
    """
    return _any_equal("event", *names)


def activation_trigger(emitter_id: str) -> str:
    """Return the trigger for one activation, an audience connected to a destination; TriggerError as above.

    *emitter_id* is ``context.personas.event_emitter_id`` of its events.
    """
    return _any_equal("context.personas.event_emitter_id", emitter_id)


def _any_equal(path: str, *values: str) -> str:
    if not values or not all(isinstance(value, str) and value for value in values):
        raise TriggerError("Name at least one event, audience or activation; no name may be empty", None)
    steps = tuple(path.split("."))
    return write_trigger(Or(parts=tuple(Comparison(path=steps, operator="=", value=v) for v in values)))
