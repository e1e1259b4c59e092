"""The actions of the destination, as data: their fields and what fills them where nothing else is asked.

Sync Audiences is Segment's own. Sync Traits is ours: Segment's documentation promises computed traits as
properties of the subscriber, its action refuses their events.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from typing import Any, Final, Literal

CLASS_FIELD: Final = "segment_computation_action"
"""The field that says what Engage computed; an event whose class is another was not meant for the action."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of an action."""

    key: str
    label: str
    """The name people see."""
    type: Literal["string", "object"]
    required: bool
    choices: tuple[str, ...] = ()
    """The only texts allowed; empty allows any."""
    default: AbstractMapping[str, Any]
    """The mapping used where none is given."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something the destination does with an event, and the fields it needs for it."""

    slug: str
    """How Segment names it in a stored mapping, such as ``syncAudiences``."""
    name: str
    """The name people see."""
    fields: tuple[Field, ...]
    """In Segment's order."""
    foreign_reason: str
    """The reason code of an event that was not meant for the action: its class is missing or another."""

    @property
    def default_fields(self) -> dict[str, AbstractMapping[str, Any]]:
        """The mapping of the fields where none is given."""
        return {field.key: field.default for field in self.fields}


def _first_of(path: str, other: str) -> dict[str, Any]:
    return {"@if": {"exists": {"@path": path}, "then": {"@path": path}, "else": {"@path": other}}}


def _computed(key: str, label: str, path: str, *, required: bool, choices: tuple[str, ...] = ()) -> Field:
    return Field(
        key=key,
        label=label,
        type="string",
        required=required,
        choices=choices,
        default={"@path": f"$.context.personas.{path}"},
    )


def _contact(key: str, label: str) -> Field:
    default = _first_of(f"$.traits.{key}", f"$.context.traits.{key}")
    return Field(key=key, label=label, type="string", required=False, default=default)


_SHARED: Final = (
    _contact("email", "Email address"),
    _contact("phone", "Phone"),
    Field(
        key="traits_or_props",
        label="Traits or properties object",
        type="object",
        required=True,
        default=_first_of("$.properties", "$.traits"),
    ),
)

SYNC_AUDIENCES: Final = Action(
    slug="syncAudiences",
    name="Sync Audiences",
    fields=(
        _computed("segment_audience_id", "Audience ID", "computation_id", required=False),
        _computed("segment_audience_key", "Audience Key", "computation_key", required=True),
        _computed(
            CLASS_FIELD,
            "Segment Computation Action",
            "computation_class",
            required=True,
            choices=("audience", "journey_step"),
        ),
        *_SHARED,
    ),
    foreign_reason="NOT_AN_AUDIENCE_EVENT",
)
"""Segment's action: who is in which audience."""

SYNC_TRAITS: Final = Action(
    slug="syncTraits",
    name="Sync Traits",
    fields=(
        _computed("segment_trait_id", "Trait ID", "computation_id", required=False),
        _computed("segment_trait_key", "Trait Key", "computation_key", required=True),
        _computed(
            CLASS_FIELD,
            "Segment Computation Action",
            "computation_class",
            required=True,
            choices=("computed_trait", "trait"),
        ),
        *_SHARED,
    ),
    foreign_reason="NOT_A_COMPUTED_TRAIT",
)
"""Ours: the value of a computed trait becomes a property of the subscriber."""

ACTIONS: Final = {action.slug: action for action in (SYNC_AUDIENCES, SYNC_TRAITS)}
"""Slug → action."""
