"""The destination: up to fifty mappings, each turning the events it is triggered by into payloads.

Fields, defaults and the order of work are those of Segment's Sync Audiences action. One thing differs on
purpose: a payload without email and phone is kept, because another event of the same person may have them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from .errors import FileFormatError, InputPathError, MappingError, TriggerError
from .events import INTEGRATION_NAME, has_consent, is_event, is_for_postscript
from .mapping import MISSING, Mapping, check_mapping, kind_of, number_text
from .statuses import EventStatus
from .triggers import Trigger

MAX_MAPPINGS: Final = 50
"""Segment's limit for one destination."""
DEFAULT_TRIGGER: Final = 'type = "identify" or type = "track"'
"""Segment's default for the Sync Audiences action."""
REASON_CODES: Final[dict[EventStatus, str]] = {
    EventStatus.FILTERED_INTEGRATIONS: "FILTERED_BY_INTEGRATIONS_OBJECT",
    EventStatus.FILTERED_CONSENT: "FILTERED_BY_END_USER_CONSENT",
    EventStatus.NO_MATCHING_MAPPING: "NO_MATCHING_MAPPING",
    EventStatus.NOT_AN_AUDIENCE_EVENT: "NOT_AN_AUDIENCE_EVENT",
    EventStatus.INVALID_PAYLOAD: "PAYLOAD_VALIDATION_FAILED",
}
"""Each status in the words of Segment's delivery overview, where it has them."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of the action."""

    key: str
    label: str
    """The name people see."""
    type: Literal["string", "object"]
    required: bool
    choices: tuple[str, ...] = ()
    """The only texts allowed; empty allows any."""
    default: AbstractMapping[str, Any]
    """The mapping used where none is given."""


def _first_of(path: str, other: str) -> dict[str, Any]:
    return {"@if": {"exists": {"@path": path}, "then": {"@path": path}, "else": {"@path": other}}}


_CLASS: Final = "segment_computation_action"

SYNC_AUDIENCES_FIELDS: Final = (
    Field(
        key="segment_audience_id",
        label="Audience ID",
        type="string",
        required=False,
        default={"@path": "$.context.personas.computation_id"},
    ),
    Field(
        key="segment_audience_key",
        label="Audience Key",
        type="string",
        required=True,
        default={"@path": "$.context.personas.computation_key"},
    ),
    Field(
        key=_CLASS,
        label="Segment Computation Action",
        type="string",
        required=True,
        choices=("audience", "journey_step"),
        default={"@path": "$.context.personas.computation_class"},
    ),
    Field(
        key="email",
        label="Email address",
        type="string",
        required=False,
        default=_first_of("$.traits.email", "$.context.traits.email"),
    ),
    Field(
        key="phone",
        label="Phone",
        type="string",
        required=False,
        default=_first_of("$.traits.phone", "$.context.traits.phone"),
    ),
    Field(
        key="traits_or_props",
        label="Traits or properties object",
        type="object",
        required=True,
        default=_first_of("$.properties", "$.traits"),
    ),
)
"""The fields of the Sync Audiences action, in Segment's order."""

_DEFAULT_FIELDS: Final = {known.key: known.default for known in SYNC_AUDIENCES_FIELDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """What an event says about one person and one audience."""

    segment_audience_id: str | None
    segment_audience_key: str
    segment_computation_action: str
    """``audience`` or ``journey_step``."""
    email: str | None = field(repr=False)
    """Trimmed; None when the event has none."""
    phone: str | None = field(repr=False)
    """Trimmed, otherwise as sent; None when the event has none."""
    traits_or_props: dict[str, Any] = field(repr=False)
    mapping: str
    """Name of the mapping that made it."""
    official: dict[str, Any] = field(repr=False, compare=False)
    """The fields as Segment's action receives them; read by `fields`."""

    @property
    def membership(self) -> bool | None:
        """True in, False out; None when the value under the audience key is not a JSON boolean."""
        value = self.traits_or_props.get(self.segment_audience_key)
        return value if isinstance(value, bool) else None

    def fields(self) -> dict[str, Any]:
        """Return the payload as Segment's action receives it: contacts untrimmed, absent fields left out."""
        return dict(self.official)


@dataclass(frozen=True, kw_only=True, slots=True)
class Discard:
    """Why an event, or one mapping's part of it, leads to no payload."""

    status: EventStatus
    reason: str
    """A sentence for people; holds no contact."""
    mapping: str = ""
    """Name of the mapping that refused; empty when the whole event was discarded."""
    email: str | None = field(default=None, repr=False)
    """The contact the event has all the same, trimmed: another event of the person may need it."""
    phone: str | None = field(default=None, repr=False)

    @property
    def reason_code(self) -> str:
        """The reason in one word, such as ``NO_MATCHING_MAPPING``."""
        return REASON_CODES[self.status]


@dataclass(frozen=True, kw_only=True)
class ActionMapping:
    """One mapping of a destination: which events it takes, and how it fills the fields."""

    name: str
    trigger: Trigger
    fields: Mapping
    """Gives an object with the keys of `SYNC_AUDIENCES_FIELDS`."""
    enabled: bool = True

    def payload(self, event: AbstractMapping[str, Any]) -> Payload | Discard:
        """Return what the fields make of *event*, whether or not the trigger takes it."""
        try:
            values = self.fields.resolve(event)
        except MappingError as error:
            return Discard(
                status=EventStatus.INVALID_PAYLOAD, reason=f"The mapping fails at {error}.", mapping=self.name
            )
        if not isinstance(values, dict):
            reason = "The mapping gives no object of fields."
            return Discard(status=EventStatus.INVALID_PAYLOAD, reason=reason, mapping=self.name)
        checked, problems = _checked(values)
        if problems:
            return self._refusal(values, problems)
        return Payload(
            segment_audience_id=checked.get("segment_audience_id"),
            segment_audience_key=checked["segment_audience_key"],
            segment_computation_action=checked[_CLASS],
            email=checked.get("email", "").strip() or None,
            phone=checked.get("phone", "").strip() or None,
            traits_or_props=checked["traits_or_props"],
            mapping=self.name,
            official=checked,
        )

    def _refusal(self, values: dict[str, Any], problems: dict[str, str]) -> Discard:
        """Say why: without an audience's class the event was never meant for the action."""
        return Discard(
            status=EventStatus.NOT_AN_AUDIENCE_EVENT if _CLASS in problems else EventStatus.INVALID_PAYLOAD,
            reason=" ".join(problems.values()),
            mapping=self.name,
            email=_contact(values.get("email")),
            phone=_contact(values.get("phone")),
        )


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
        trigger, fields = Trigger(DEFAULT_TRIGGER), Mapping(_DEFAULT_FIELDS)
        return cls(mappings=(ActionMapping(name="Sync Audiences", trigger=trigger, fields=fields),))

    @classmethod
    def from_file(cls, path: str | Path) -> Destination:
        """Return the destination that a YAML or JSON file describes; the default one for an empty path.

        The file has ``mappings``, a list of objects with ``name``, ``enabled`` (true), ``trigger`` (the
        default) and ``fields`` (merged over the default ones), and optionally ``consent_categories``.

        Raises
        ------
        InputPathError
            There is no such file.
        FileFormatError
            The file cannot be used; the message lists every problem with its place.
        """
        return cls.default() if path == "" else _destination_of(Path(path))

    def payload(self, event: AbstractMapping[str, Any]) -> Payload | Discard:
        """Return the first of `payloads`; with a single mapping there is no other."""
        return self.payloads(event)[0]

    def payloads(self, event: AbstractMapping[str, Any]) -> tuple[Payload | Discard, ...]:
        """Return one answer for each enabled mapping whose trigger matches, or a single `Discard`.

        Never empty and never raises, whatever the event holds.
        """
        if not is_event(event):
            return (Discard(status=EventStatus.NO_MATCHING_MAPPING, reason="The event is not an object."),)
        if not is_for_postscript(event):
            reason = f"The event's integrations object does not include {INTEGRATION_NAME}."
            return (Discard(status=EventStatus.FILTERED_INTEGRATIONS, reason=reason),)
        if not has_consent(event, self.consent_categories):
            reason = "The person has not consented to every category of the destination."
            return (Discard(status=EventStatus.FILTERED_CONSENT, reason=reason),)
        found = [m.payload(event) for m in self.mappings if m.enabled and m.trigger.matches(event)]
        if not found:
            reason = "No enabled mapping has a trigger that matches the event."
            return (Discard(status=EventStatus.NO_MATCHING_MAPPING, reason=reason),)
        return tuple(found)


# --- checking resolved values against the fields


def _checked(values: AbstractMapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values as their fields' types want them, and a sentence for each field that fails.

    Blank and null are removed first, so a required field that comes to ``""`` is missing. The sentences
    come in Segment's order: what is missing, then the rest.
    """
    checked: dict[str, Any] = {}
    missing: dict[str, str] = {}
    refused: dict[str, str] = {}
    for known in SYNC_AUDIENCES_FIELDS:
        value = values.get(known.key)
        if value is None or value == "" or _is_not_finite(value):
            if known.required:
                missing[known.key] = f"{known.label} is missing."
            continue
        coerced = _coerced(value, known)
        if coerced is MISSING:
            wanted = "an object" if known.type == "object" else "a text"
            refused[known.key] = f"{known.label} must be {wanted} but is {kind_of(value)}."
        elif known.choices and coerced not in known.choices:
            refused[known.key] = f"{known.label} must be one of: {' or '.join(known.choices)}."
        else:
            checked[known.key] = coerced
    return checked, missing | refused


def _coerced(value: Any, known: Field) -> Any:
    """Return *value* in the field's type, `MISSING` if it cannot be."""
    if known.type == "object":
        return value if isinstance(value, dict) else MISSING
    return value if isinstance(value, str) else _coerced_text(value)


def _coerced_text(value: Any) -> Any:
    """Return the text Segment makes of a scalar or a list of one, `MISSING` for anything else."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
        if value is None or _is_not_finite(value):
            return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, int | float) else MISSING


def _is_not_finite(value: Any) -> bool:
    """Tell whether *value* is one of the numbers JSON does not have; they count as null."""
    return isinstance(value, float) and not math.isfinite(value)


def _contact(value: Any) -> str | None:
    if _is_not_finite(value):
        return None
    text = _coerced_text(value)
    return (text.strip() or None) if isinstance(text, str) else None


# --- reading a destination file


def _destination_of(path: Path) -> Destination:
    """Read the file and build what it describes, or report everything that is wrong with it at once."""
    reader = _Reader()
    destination = reader.destination(_parsed(path))
    if reader.problems:
        listed = "\n".join(f"- {problem}" for problem in reader.problems)
        raise FileFormatError(f"{path.name} cannot be used as a destination:\n{listed}")
    return destination


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise InputPathError(f"There is no destination file {path}; leave the path empty for the default.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content, has_alias = (json.loads(text), False) if path.suffix.lower() == ".json" else _yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise FileFormatError(f"{path.name} is neither YAML nor JSON: {error}") from error
    except RecursionError as error:
        raise FileFormatError(f"{path.name} is nested too deeply.") from error
    if has_alias:
        raise FileFormatError(f"{path.name} uses a YAML anchor or alias (& or *); write the value out.")
    return content


def _yaml(text: str) -> tuple[Any, bool]:
    """Return the content, or that it is not read because it has an anchor or alias."""
    # A few aliases of aliases make a gigabyte; a destination needs none.
    if any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in yaml.scan(text)):
        return None, True
    return yaml.safe_load(text), False


class _Reader:
    """Builds a destination from parsed JSON, collecting problems; what it builds then is of no use."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def destination(self, content: Any) -> Destination:
        if not isinstance(content, dict):
            self.problems.append(f"the file should be an object with mappings, not {kind_of(content)}")
            return Destination(mappings=())
        self.keys(content, "", ("mappings", "consent_categories"))
        mappings = self.items(content.get("mappings"), "mappings")
        built = tuple(self.mapping(item, f"mappings[{i}]") for i, item in enumerate(mappings))
        self.names(built)
        if len(built) > MAX_MAPPINGS:
            self.problems.append(f"mappings: Segment allows {MAX_MAPPINGS}, these are {len(built)}")
        if not any(mapping.enabled for mapping in built):
            self.problems.append("mappings: at least one has to be enabled")
        categories = self.items(content.get("consent_categories", []), "consent_categories")
        if not all(isinstance(category, str) and category.strip() for category in categories):
            self.problems.append("consent_categories: each should be a text")
        return Destination(mappings=built, consent_categories=tuple(categories))

    def mapping(self, content: Any, place: str) -> ActionMapping:
        if not isinstance(content, dict):
            self.problems.append(f"{place}: should be an object, not {kind_of(content)}")
            content = {"name": place}
        self.keys(content, f"{place}.", ("name", "enabled", "trigger", "fields"))
        name, enabled = content.get("name"), content.get("enabled", True)
        if not isinstance(name, str) or not name.strip():
            self.problems.append(f"{place}.name: should be a text")
            name = place
        if not isinstance(enabled, bool):
            self.problems.append(f"{place}.enabled: should be true or false, not {kind_of(enabled)}")
        return ActionMapping(
            name=name.strip(),
            trigger=self.trigger(content.get("trigger", DEFAULT_TRIGGER), f"{place}.trigger"),
            fields=self.fields(content.get("fields", {}), f"{place}.fields"),
            enabled=enabled is True,
        )

    def trigger(self, content: Any, place: str) -> Trigger:
        if not isinstance(content, str):
            self.problems.append(f"{place}: should be a text, not {kind_of(content)}")
            return Trigger(DEFAULT_TRIGGER)
        try:
            return Trigger(content)
        except TriggerError as error:
            self.problems.append(f"{place}: {error}")
            return Trigger(DEFAULT_TRIGGER)

    def fields(self, content: Any, place: str) -> Mapping:
        if not isinstance(content, dict):
            self.problems.append(f"{place}: should be an object, not {kind_of(content)}")
            content = {}
        self.keys(content, f"{place}.", tuple(_DEFAULT_FIELDS))
        merged = {key: content.get(key, default) for key, default in _DEFAULT_FIELDS.items()}
        mistakes = check_mapping(merged)
        self.problems.extend(f"{place}{mistake}" for mistake in mistakes)
        return Mapping({} if mistakes else merged)

    def keys(self, content: dict[Any, Any], place: str, known: tuple[str, ...]) -> None:
        for key in content:
            if key not in known:
                self.problems.append(f"{place}{key}: not known; there are {', '.join(known)}")

    def names(self, mappings: tuple[ActionMapping, ...]) -> None:
        seen: set[str] = set()
        for i, mapping in enumerate(mappings):
            if mapping.name in seen:
                self.problems.append(f"mappings[{i}].name: {mapping.name!r} is taken by another mapping")
            seen.add(mapping.name)

    def items(self, content: Any, place: str) -> list[Any]:
        if isinstance(content, list):
            return content
        self.problems.append(f"{place}: should be a list, not {kind_of(content)}")
        return []
