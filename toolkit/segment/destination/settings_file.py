"""A destination file: our spelling, and what is pasted from Segment; every mistake is reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from toolkit.errors import FileFormatError, TriggerError
from toolkit.segment.mapping import MISSING, Mapping, check_mapping, kind_of
from toolkit.segment.mapping.parse import ROOT_DIRECTIVE
from toolkit.segment.triggers import DEFAULT_TRIGGER, Trigger

from .actions import ACTIONS, SYNC_AUDIENCES, Action, ActionMapping
from .document import NO_SECRETS, UnreadableError, at, parse_json, read_document, shortened, without_secrets

MAX_MAPPINGS: Final = 50
"""Segment's limit for one destination."""
MAX_READ: Final = 200
"""So many are looked at, so that mistakes beyond the limit are reported, too."""
MAX_PROBLEMS: Final = 100
"""So many are listed."""

_SPELLINGS: Final = {
    "name": ("name",),
    "enabled": ("enabled",),
    "action": ("action", "actionSlug", "action_slug", "partnerAction"),
    "trigger": ("trigger", "subscribe"),
    "dialect": ("dialect",),
    "fields": ("fields",),
    "mapping": ("mapping", "inputs", "settings"),
}
"""What a mapping has, by our name, and how else Segment's exports and its API spell it."""
_IGNORED: Final = (
    *("id", "actionId", "destinationId", "modelId", "type", "reverseETLSchedule"),
    *("action_id", "destination_id", "model_id", "reverse_etl_schedule"),
)
"""What Segment stores beside it, in its own words and in its Terraform provider's, and is not needed here."""
_LISTS: Final = ("mappings", "subscriptions")
"""How a file names its list, here and in what Segment stores."""
_DESTINATION: Final = ("id", "name", "enabled", "sourceId", "metadata")
"""What Segment stores of a destination beside its subscriptions, and is not needed here."""
_TERRAFORM_TYPE: Final = "segment_destination_subscription"
_FRAMEWORK_FIELDS: Final = ("enable_batching", "batch_size", "batch_keys", "_metadata")
"""Fields that Segment adds to every action; they do not concern what is sent."""


def read_destination(path: Path) -> tuple[tuple[ActionMapping, ...], tuple[str, ...]]:
    """Return the mappings and the consent categories in the file; see `Destination.from_file`."""
    content, problems = read_document(path)
    built = _Reader(problems).destination(content)
    if problems:
        # Of a file with a secret nothing else is repeated.
        listed = [problem for problem in problems if problem.endswith(NO_SECRETS)] or problems
        more = len(listed) - MAX_PROBLEMS
        shown = [*listed[:MAX_PROBLEMS], *([f"… and {more} more"] if more > 0 else [])]
        message = "\n- ".join([f"{path.name} cannot be used as a destination:", *shown])
        raise FileFormatError(without_secrets(message))
    return built


class _Reader:
    """Builds mappings from parsed JSON, collecting problems; what it builds then is of no use."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems

    def wrong(self, place: str, sentence: str) -> None:
        self.problems.append(f"{place}: {sentence}")

    def typed(self, kind: type, content: Any, place: str, wanted: str) -> Any:
        """Return *content* if it is of the *kind*, an empty one otherwise."""
        if isinstance(content, kind):
            return content
        self.wrong(place, f"should be {wanted}, not {kind_of(content)}")
        return kind()

    def destination(self, content: Any) -> tuple[tuple[ActionMapping, ...], tuple[str, ...]]:
        """Read the whole file, whichever of its shapes it has."""
        content, categories = self.unpacked(content), []
        if isinstance(content, list):
            built, place = self.mappings(content, ""), "the list"
        elif not isinstance(content, dict):
            self.typed(dict, content, "the file", "an object with mappings")
            return (), ()
        elif lists := _lists_of(content):
            stored = _DESTINATION if "subscriptions" in content else ()
            self.keys(content, "", (*_LISTS, "consent_categories", "settings"), stored)
            if len(lists) > 1:
                self.wrong(" and ".join(lists), "say the same; keep one of them, named mappings")
            # Segment has one setting, and it is the secret.
            self.keys(self.typed(dict, content.get("settings", {}), "settings", "an object"), "settings", ())
            place, built = lists[0], ()
            for key in lists:
                # In Segment's exports a subscription may have no name.
                name = "" if key == "mappings" else SYNC_AUDIENCES.name
                built += self.mappings(self.listed(content.get(key), key), key, name=name)
            categories = content.get("consent_categories", [])
        else:
            single = _single(content)
            built, place = (self.mapping(single, "", name=SYNC_AUDIENCES.name),), "the file"
        if not any(mapping.enabled for mapping in built):
            self.wrong(place, "at least one mapping has to be enabled")
        listed = self.typed(list, categories, "consent_categories", "a list")
        if not all(isinstance(category, str) and category.strip() for category in listed):
            self.wrong("consent_categories", "each should be a text")
        return built, tuple(listed)

    def unpacked(self, content: Any) -> Any:
        """Return the subscriptions in an answer of Segment's API, or in ``terraform show -json``."""
        if not isinstance(content, dict):
            return content
        if isinstance(answer := content.get("data"), dict):
            page = answer.get("pagination")
            if isinstance(page, dict) and page.get("next"):
                self.wrong("data.pagination", "Segment has more subscriptions than the file; get all of them")
            inner = {key: value for key, value in answer.items() if key != "pagination"}
            return inner.get("subscription", inner)
        if isinstance(values := content.get("values"), dict):
            return {"subscriptions": [*_resources(values.get("root_module"))]}
        return content

    def listed(self, content: Any, place: str) -> list[Any]:
        """Return the list; an object that should stand in one is read as well."""
        return self.typed(list, content, place, "a list") or ([content] if isinstance(content, dict) else [])

    def mappings(self, items: list[Any], place: str, *, name: str = "") -> tuple[ActionMapping, ...]:
        """Read the mappings, some more than Segment takes; *name* and a number name those without one."""
        built = tuple(
            self.mapping(item, at(place, i), name=name and f"{name} {i + 1}")
            for i, item in enumerate(items[:MAX_READ])
        )
        names = [mapping.name for mapping in built]
        for i, taken in enumerate(names):
            if taken in names[:i]:
                self.wrong(f"{at(place, i)}.name", f"{shortened(taken)!r} is taken by another mapping")
        if len(items) > MAX_MAPPINGS:
            self.wrong(at(place, MAX_MAPPINGS), f"Segment allows {MAX_MAPPINGS}, these are {len(items)}")
        return built

    def mapping(self, content: Any, place: str, *, name: str = "") -> ActionMapping:
        """Read one mapping; *name* stands in for one that is not given."""
        if not isinstance(content, dict):
            content, name = self.typed(dict, content, place, "an object"), place
        stored = (*(s for names in _SPELLINGS.values() for s in names), *_IGNORED)
        self.keys(content, place, tuple(_SPELLINGS), stored)
        given = {known: self.one_of(content, place, spelled) for known, spelled in _SPELLINGS.items()}
        action = ACTIONS[self.choice(*given["action"], tuple(ACTIONS))]
        dialect = self.choice(*given["dialect"], ("strict", "official"))
        place_of_enabled, enabled = given["enabled"]
        return ActionMapping(
            name=self.name(*given["name"], name=name),
            enabled=enabled is MISSING or self.typed(bool, enabled, place_of_enabled, "true or false"),
            trigger=self.trigger(*given["trigger"], dialect=dialect),
            fields=self.fields(given, action),
            action=action,
        )

    def one_of(self, content: dict[str, Any], place: str, spelled: tuple[str, ...]) -> tuple[str, Any]:
        """Return where a thing is given, however it is spelled, and its value, which may be missing."""
        found = [key for key in spelled if key in content] or [spelled[0]]
        if len(found) > 1:
            self.wrong(" and ".join(at(place, key) for key in found), "say the same; keep one of them")
        return at(place, found[0]), content.get(found[0], MISSING)

    def name(self, place: str, value: Any, *, name: str) -> str:
        if isinstance(value, str) and value.strip():
            return value.strip().encode("utf-8", "replace").decode()  # a lone surrogate fits in no file
        if value is not MISSING or not name:
            self.wrong(place, "should be a text")
        return name or place

    def choice(self, place: str, value: Any, choices: tuple[str, ...]) -> str:
        """Return *value*, or the first of the *choices* when it is missing or none of them."""
        if value in choices:
            return str(value)
        if value is not MISSING:
            what = repr(shortened(value)) if isinstance(value, str) else kind_of(value)
            self.wrong(place, f"{what} is not known; there are {', '.join(choices)}")
        return choices[0]

    def trigger(self, place: str, value: Any, *, dialect: str) -> Trigger:
        if value is not MISSING and self.typed(str, value, place, "a text") is value:
            try:
                trigger = Trigger(value, dialect=dialect)
                if trigger.error is None:
                    return trigger
                self.wrong(place, str(trigger.error))
            except TriggerError as error:
                self.wrong(place, str(error))
        return Trigger(DEFAULT_TRIGGER)

    def fields(self, given: dict[str, tuple[str, Any]], action: Action) -> Mapping:
        """Read the fields: ours are merged over the default ones, a pasted mapping is whole as it is."""
        (place, ours), (elsewhere, pasted) = given["fields"], given["mapping"]
        if pasted is MISSING:
            made = {**action.default_fields, **self.object_of({} if ours is MISSING else ours, place, action)}
        else:
            if ours is not MISSING:
                self.wrong(f"{place} and {elsewhere}", "say the same; keep one of them")
            place = elsewhere
            made = self.object_of({} if pasted is None else pasted, place, action)
        mistakes = check_mapping(made)
        self.problems.extend(f"{place}{mistake}" for mistake in mistakes)
        return Mapping({} if mistakes else made)

    def object_of(self, value: Any, place: str, action: Action) -> dict[str, Any]:
        """Read an object of fields, which Segment may have stored as a JSON text."""
        if isinstance(value, str):
            try:
                value, problems = parse_json(value, place)
            except UnreadableError as error:
                self.wrong(place, str(error))
                return {}
            self.problems += problems
        value = self.typed(dict, value, place, "an object")
        directives = tuple(key for key in value if key.startswith("@") or key == ROOT_DIRECTIVE)
        self.keys(value, place, (*action.default_fields, *_FRAMEWORK_FIELDS, *directives))
        return {key: inner for key, inner in value.items() if key not in _FRAMEWORK_FIELDS}

    def keys(
        self, content: dict[str, Any], place: str, known: tuple[str, ...], stored: tuple[str, ...] = ()
    ) -> None:
        """Refuse a key that is neither *known* nor, without being listed, *stored* by Segment."""
        there = f"; there are {', '.join(known)}" if known else ""
        for key in [key for key in content if key not in known + stored]:
            self.wrong(at(place, key), f"not known{there}")


def _lists_of(content: dict[str, Any]) -> list[str]:
    """Return under which keys the file lists mappings, misspelt ones included; none when it is a mapping."""
    lists: list[str] = [key for key in _LISTS if key in content]
    single = _single(content)
    misspelt = [
        key
        for key, items in content.items()
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
        if not single or all(_single(item) is item for item in items)
    ]
    return lists or misspelt or ([] if single else ["mappings"])


def _single(content: dict[str, Any]) -> dict[str, Any] | None:
    """Return the mapping that an object is, perhaps only its fields; None when it is none."""
    spelled = {s for known in ("action", "trigger", "fields", "mapping") for s in _SPELLINGS[known]}
    if content.keys() & (spelled - {"settings"}) or {"name", "settings"} <= content.keys():
        return content
    fields = {key for action in ACTIONS.values() for key in action.default_fields}
    return {"mapping": content} if content.keys() & {*fields, ROOT_DIRECTIVE} else None


def _resources(module: Any) -> Iterator[Any]:
    """Yield the subscriptions of a Terraform module and of those in it."""
    for resource in _listed_in(module, "resources"):
        if isinstance(resource, dict) and resource.get("type") == _TERRAFORM_TYPE:
            stored = resource.get("values")
            # A workspace has other destinations, too.
            if not isinstance(stored, dict) or stored.get("action_slug") in (None, *ACTIONS):
                yield stored
    for child in _listed_in(module, "child_modules"):
        yield from _resources(child)


def _listed_in(module: Any, key: str) -> list[Any]:
    items = module.get(key) if isinstance(module, dict) else None
    return items if isinstance(items, list) else []
