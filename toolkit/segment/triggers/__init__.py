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
from typing import Any, Final

from toolkit.errors import TriggerError

from .lint import SENTENCES
from .official import read_official
from .strict import read_strict
from .tree import And, Failing, FailingConditionError, Not, Or, Tree, predicate, reader
from .write import condition_text, negation_normal_form

DEFAULT_TRIGGER: Final = 'type = "identify" or type = "track"'
"""What Segment suggests for the Sync Audiences action."""


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

    An ``and`` is decided by its first part that fails, or by all of them when none fails; an ``or`` by its
    first part that holds, or by all of them. The same goes for the parts of a deciding part.
    """


class Trigger:
    """A trigger text, read once and applied to many events.

    Parameters
    ----------
    text
        The condition, such as ``type = "identify" or type = "track"``.
    dialect
        ``strict``: the documented language, whose nesting, precedence and fields Segment does not all have;
        lint_trigger() says where. ``official``: exactly what Segment makes of the text, misreadings included;
        never refused, a text that Segment cannot use matches nothing.

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

    text: str
    """The text as given; empty for what was none."""
    dialect: str
    """``strict`` or ``official``."""
    tree: Tree
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
            reading = read_official(text)
            self.tree = reading.tree
            if reading.refusal:
                code, position = reading.refusal
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
        return tuple(explain_tree(negation_normal_form(self.tree), event)[1])

    def __repr__(self) -> str:
        dialect = "" if self.dialect == "strict" else f", dialect={self.dialect!r}"
        return f"Trigger({self.text!r}{dialect})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and (self.text, self.dialect) == (other.text, other.dialect)

    def __hash__(self) -> int:
        return hash((self.text, self.dialect))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Trigger, dialect=self.dialect), (self.text,)


def explain_tree(node: Tree, event: Mapping[str, Any]) -> tuple[bool | None, list[Condition]]:
    """Return whether a tree in normal form holds (None: Segment fails), and its conditions."""
    if isinstance(node, And | Or):
        outcomes = [explain_tree(part, event) for part in node.parts]
        ends_it = isinstance(node, Or)
        first = next((outcome for outcome in outcomes if outcome[0] in (ends_it, None)), None)
        return first[0] if first else not ends_it, [
            replace(condition, decided=condition.decided and (first is None or outcome is first))
            for outcome in outcomes
            for condition in outcome[1]
        ]
    inner = node.part if isinstance(node, Not) else node
    path: tuple[str, ...] = getattr(inner, "path", ())
    value = reader(path)(event) if path else None
    holds = None if isinstance(node, Failing) else predicate(node)(event)
    text = condition_text(node)
    return holds, [Condition(text=text, path=path, value=value, holds=bool(holds), decided=True)]
