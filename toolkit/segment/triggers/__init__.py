"""Triggers: which events start the action, written in Segment's FQL.

A text is read in one of two dialects into one kind of tree::

    strict      the documented language; refuses what Segment would misread
    official    what Segment makes of the text, slips included; never refuses
                (official_tokens, official_conditions, javascript)
    tree        the conditions, each with one meaning; both dialects end here
    canonical   one form for trees that mean the same
    evaluate    trees as functions; explain: which condition decided
    write       trees as texts that Segment reads back; presets: some worth having
    lint        where the two readings differ, why (slips), and what to write instead
"""

from .lint import Lint, lint_trigger
from .presets import DEFAULT_TRIGGER, PRESETS, activation_trigger, audience_trigger, events_trigger
from .tree import And, Comparison, Constant, Function, FunctionName, Leaf, Never, Node, Not, Operator, Or
from .trigger import Condition, Dialect, Trigger
from .write import write_trigger

__all__ = [
    "DEFAULT_TRIGGER",
    "PRESETS",
    "And",
    "Comparison",
    "Condition",
    "Constant",
    "Dialect",
    "Function",
    "FunctionName",
    "Leaf",
    "Lint",
    "Never",
    "Node",
    "Not",
    "Operator",
    "Or",
    "Trigger",
    "activation_trigger",
    "audience_trigger",
    "events_trigger",
    "lint_trigger",
    "write_trigger",
]
