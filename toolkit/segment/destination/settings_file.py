"""A destination file: our spelling, and what is pasted from Segment; every mistake told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from toolkit.errors import FileFormatError, TriggerError
from toolkit.segment.mapping import MISSING, Mapping, check_mapping, kind_of
from toolkit.segment.triggers import Trigger

from .action_mapping import ActionMapping
from .actions import ACTIONS, SYNC_AUDIENCES, Action
from .document import (
    NO_SECRETS,
    Document,
    at,
    is_secret_name,
    parse_json,
    read_document,
    shortened,
    without_secrets,
)
from .yaml_text import UnreadableError

MAX_MAPPINGS: Final = 50
"""Segment's limit for one destination."""
MAX_READ: Final = 200
"""So many are looked at, so that mistakes beyond the limit are told, too."""
DEFAULT_TRIGGER: Final = 'type = "identify" or type = "track"'
"""Segment's default for the Sync Audiences action."""
MAX_PROBLEMS_TOLD: Final = 100

_SPELLINGS: Final = {
    "name": ("name",),
    "enabled": ("enabled",),
    "action": ("action", "actionSlug", "partnerAction"),
    "trigger": ("trigger", "subscribe"),
    "dialect": ("dialect",),
    "fields": ("fields",),
    "mapping": ("mapping", "inputs", "settings"),
}
"""What a mapping has, by our name, and how else Segment's exports and its API spell it."""
_IGNORED: Final = ("id", "actionId", "destinationId", "modelId", "type", "reverseETLSchedule")
"""What Segment stores beside it and nobody here needs."""
_FRAMEWORK_FIELDS: Final = ("enable_batching", "batch_size", "batch_keys", "_metadata")
"""Fields that Segment adds to every action; they do not concern what is sent."""
_ROOT: Final = "__segment_internal_directive"


def read_destination(path: Path) -> tuple[tuple[ActionMapping, ...], tuple[str, ...]]:
    """Return the mappings and the consent categories in the file.

    Raises
    ------
    InputPathError
        There is no such file.
    FileFormatError
        It cannot be used; the message lists every problem with its place.
    """
    document = read_document(path)
    reader = _Reader(document)
    built = reader.destination(document.content)
    if reader.problems:
        told = reader.problems[:MAX_PROBLEMS_TOLD]
        if more := len(reader.problems) - len(told):
            told.append(f"… and {more} more")
        message = "\n".join([f"{path.name} cannot be used as a destination:", *(f"- {p}" for p in told)])
        raise FileFormatError(without_secrets(message, reader.secrets))
    return built


class _Reader:
    """Builds mappings from parsed JSON, collecting problems; what it builds then is of no use."""

    def __init__(self, document: Document) -> None:
        self.problems = [*document.problems]
        self.secrets = [*document.secrets]

    def destination(self, content: Any) -> tuple[tuple[ActionMapping, ...], tuple[str, ...]]:
        """Read the whole file, whichever of its shapes it has."""
        if isinstance(content, list):
            return self.mappings(content, ""), ()
        if not isinstance(content, dict):
            self.problems.append(f"the file should be an object with mappings, not {kind_of(content)}")
            return (), ()
        if (single := _single(content)) is not None:
            return self.with_one_enabled(
                (self.mapping(single, "", name=SYNC_AUDIENCES.name),), "the file"
            ), ()
        self.keys(content, "", ("mappings", "subscriptions", "consent_categories", "settings"))
        if "mappings" in content and "subscriptions" in content:
            self.problems.append("subscriptions: is another word for mappings; keep one of them")
        listed = "subscriptions" if "subscriptions" in content else "mappings"
        self.settings(content.get("settings", {}))
        # In Segment's exports a subscription may have no name.
        name = SYNC_AUDIENCES.name if listed == "subscriptions" else ""
        built = self.mappings(self.items(content.get(listed), listed), listed, name=name)
        return built, self.categories(content.get("consent_categories", []))

    def mappings(self, items: list[Any], place: str, *, name: str = "") -> tuple[ActionMapping, ...]:
        """Read the mappings, some more than Segment takes; *name* and a number name those without one."""
        built = tuple(
            self.mapping(item, at(place, i), name=name and f"{name} {i + 1}")
            for i, item in enumerate(items[:MAX_READ])
        )
        self.names(built, place)
        if len(items) > MAX_MAPPINGS:
            told = f"Segment allows {MAX_MAPPINGS}, these are {len(items)}"
            self.problems.append(f"{at(place, MAX_MAPPINGS)}: {told}")
        return self.with_one_enabled(built, place or "the list")

    def with_one_enabled(self, built: tuple[ActionMapping, ...], place: str) -> tuple[ActionMapping, ...]:
        """Return the mappings, and tell when none of them is enabled."""
        if not any(mapping.enabled for mapping in built):
            self.problems.append(f"{place}: at least one mapping has to be enabled")
        return built

    def settings(self, content: Any) -> None:
        """Refuse whatever is among the destination's settings: Segment has one, and it is the secret."""
        if isinstance(content, dict):
            self.keys(content, "settings", ())
        else:
            self.problems.append(f"settings: should be an object, not {kind_of(content)}")

    def categories(self, content: Any) -> tuple[str, ...]:
        """Read the consent categories."""
        listed = self.items(content, "consent_categories")
        if not all(isinstance(category, str) and category.strip() for category in listed):
            self.problems.append("consent_categories: each should be a text")
        return tuple(listed)

    def mapping(self, content: Any, place: str, *, name: str = "") -> ActionMapping:
        """Read one mapping; *name* stands in for one that is not given."""
        if not isinstance(content, dict):
            self.problems.append(f"{place}: should be an object, not {kind_of(content)}")
            content, name = {}, place
        self.keys(content, place, (*(s for names in _SPELLINGS.values() for s in names), *_IGNORED))
        given = {known: self.one_of(content, place, spelled) for known, spelled in _SPELLINGS.items()}
        action = self.action(*given["action"])
        return ActionMapping(
            name=self.name(*given["name"], name=name),
            enabled=self.enabled(*given["enabled"]),
            trigger=self.trigger(*given["trigger"], dialect=self.dialect(*given["dialect"])),
            fields=self.fields(given, action or SYNC_AUDIENCES),
            action=action or SYNC_AUDIENCES,
        )

    def one_of(self, content: dict[str, Any], place: str, spelled: tuple[str, ...]) -> tuple[str, Any]:
        """Return where a thing is given, however it is spelled, and its value, which may be missing."""
        found = [at(place, key) for key in spelled if key in content]
        if len(found) > 1:
            self.problems.append(f"{' and '.join(found)}: say the same; keep one of them")
        key = next((key for key in spelled if key in content), spelled[0])
        return at(place, key), content.get(key, MISSING)

    def name(self, place: str, value: Any, *, name: str) -> str:
        """Read the mapping's name."""
        if isinstance(value, str) and value.strip():
            return value.strip().encode("utf-8", "replace").decode()  # half a character is none
        if value is not MISSING or not name:
            self.problems.append(f"{place}: should be a text")
        return name or place

    def enabled(self, place: str, value: Any) -> bool:
        """Read whether the mapping is enabled; it is when nothing is said."""
        if isinstance(value, bool):
            return value
        if value is not MISSING:
            self.problems.append(f"{place}: should be true or false, not {kind_of(value)}")
        return True

    def action(self, place: str, value: Any) -> Action | None:
        """Read the action's slug; None when there is no such action."""
        if value is MISSING:
            return SYNC_AUDIENCES
        if isinstance(value, str) and value in ACTIONS:
            return ACTIONS[value]
        what = repr(shortened(value)) if isinstance(value, str) else kind_of(value)
        self.problems.append(f"{place}: {what} is not known; there are {', '.join(ACTIONS)}")
        return None

    def dialect(self, place: str, value: Any) -> str:
        """Read the dialect of the trigger."""
        if value in ("strict", "official"):
            return str(value)
        if value is not MISSING:
            self.problems.append(f"{place}: should be strict or official")
        return "strict"

    def trigger(self, place: str, value: Any, *, dialect: str) -> Trigger:
        """Read the trigger, the default one when none is given."""
        nothing = Trigger(DEFAULT_TRIGGER)
        if value is MISSING:
            return nothing
        if not isinstance(value, str):
            self.problems.append(f"{place}: should be a text, not {kind_of(value)}")
            return nothing
        try:
            trigger = Trigger(value, dialect=dialect)
        except TriggerError as error:
            self.problems.append(f"{place}: {error}")
            return nothing
        if trigger.error is not None:
            self.problems.append(f"{place}: {trigger.error}")
        return trigger

    def fields(self, given: dict[str, tuple[str, Any]], action: Action) -> Mapping:
        """Read the fields: ours are merged over the default ones, a pasted mapping is whole as it is."""
        (place, ours), (elsewhere, pasted) = given["fields"], given["mapping"]
        if pasted is MISSING:
            made = {**action.default_fields, **self.object_of({} if ours is MISSING else ours, place, action)}
        else:
            if ours is not MISSING:
                self.problems.append(f"{place} and {elsewhere}: say the same; keep one of them")
            place = elsewhere
            made = self.object_of({} if pasted is None else pasted, place, action)
        mistakes = check_mapping(made)
        self.problems.extend(f"{place}{mistake}" for mistake in mistakes)
        return Mapping({} if mistakes else made)

    def object_of(self, value: Any, place: str, action: Action) -> dict[str, Any]:
        """Read an object of fields, which Segment may have stored as a JSON text."""
        if isinstance(value, str):
            try:
                inner = parse_json(value, place)
            except UnreadableError as error:
                self.problems.append(f"{place}: {error}")
                return {}
            self.problems += inner.problems
            self.secrets += inner.secrets
            value = inner.content
        if not isinstance(value, dict):
            self.problems.append(f"{place}: should be an object, not {kind_of(value)}")
            return {}
        directives = tuple(key for key in value if key.startswith("@") or key == _ROOT)
        self.keys(value, place, (*action.default_fields, *_FRAMEWORK_FIELDS, *directives))
        return {key: inner for key, inner in value.items() if key not in _FRAMEWORK_FIELDS}

    def keys(self, content: dict[str, Any], place: str, known: tuple[str, ...]) -> None:
        """Tell of every key that is not known, of a secret in particular."""
        there = f"; there are {', '.join(known)}" if known else ""
        for key in [key for key in content if key not in known]:
            said = NO_SECRETS if is_secret_name(key) else f"not known{there}"
            self.problems.append(f"{at(place, key)}: {said}")

    def names(self, mappings: tuple[ActionMapping, ...], place: str) -> None:
        """Tell of names that several mappings share."""
        seen: set[str] = set()
        for i, mapping in enumerate(mappings):
            if mapping.name in seen:
                taken = f"{shortened(mapping.name)!r} is taken by another mapping"
                self.problems.append(f"{at(at(place, i), 'name')}: {taken}")
            seen.add(mapping.name)

    def items(self, content: Any, place: str) -> list[Any]:
        """Read a list."""
        if isinstance(content, list):
            return content
        self.problems.append(f"{place}: should be a list, not {kind_of(content)}")
        return []


def _single(content: dict[str, Any]) -> dict[str, Any] | None:
    """Return the one mapping that the file is, None when it is a destination.

    It may be a mapping with its trigger, or only the object of its fields.
    """
    if content.keys() & {"mappings", "subscriptions"}:
        return None
    spelled = {s for known in ("action", "trigger", "fields", "mapping") for s in _SPELLINGS[known]}
    if content.keys() & (spelled - {"settings"}) or {"name", "settings"} <= content.keys():
        return content
    fields = {key for action in ACTIONS.values() for key in action.default_fields}
    return {"mapping": content} if content.keys() & {*fields, _ROOT} else None
