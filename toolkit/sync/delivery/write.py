"""One subscriber to write, as a value, and what an answer says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from toolkit.frames import json_text
from toolkit.postscript import api
from toolkit.sync.runs import Held

LIST = api.AUDIENCES_PROPERTY


@dataclass(frozen=True, kw_only=True)
class Write:
    """One subscriber to write, and the rows of the plan it is for."""

    subscriber_id: str
    before: Mapping[str, Any]
    """The properties that change; a trait that the subscriber has not is left out."""
    after: Mapping[str, Any]
    rows: tuple[int, ...]
    property_count: int
    """All properties before the write."""
    has_list: bool
    """True when the list of audiences is one of them."""
    traits: str | None
    """JSON object of the traits that were read, and their JSON text."""

    @property
    def others(self) -> int:
        """Properties beside the list of audiences."""
        return self.property_count - self.has_list

    @property
    def untouched(self) -> int:
        """Properties that are there and that the write does not name."""
        return self.others - len([name for name in self.before if name != LIST])

    def only_audiences(self) -> Write:
        """Return the write without its traits."""
        return replace(
            self, after={LIST: self.after[LIST]}, before={LIST: self.before[LIST]} if self.before else {}
        )

    def held(self, shop_id: str, count: int | None) -> Held:
        """Return what the subscriber holds once this was written."""
        traits = None
        if self.traits is not None:
            was = json.loads(self.traits)
            now = {key: json_text(self.after[key]) for key in was if key in self.after}
            traits = json.dumps({**was, **now}, ensure_ascii=False)
        names = {*self.after} - {*self.before, LIST}
        is_new = LIST in self.after and not self.has_list
        return Held(
            shop_id=shop_id,
            subscriber_id=self.subscriber_id,
            audiences=json_text([*self.after[LIST]]) if LIST in self.after else None,
            has_property=self.has_list or is_new,
            property_count=self.property_count + len(names) + is_new if count is None else count,
            properties=traits,
        )


def has_lost(write: Write, before: api.Subscriber | None, after: api.Subscriber) -> bool:
    """Tell whether a property that was not written has gone: by name where they are known, else by number."""
    left = [name for name in after.properties if name not in write.after and name != LIST]
    if before is None:
        return len(left) < write.untouched
    kept = {name for name, value in before.properties.items() if value not in (None, [])}
    return bool(kept - {*write.after, *after.properties})


def is_kept(write: Write, after: api.Subscriber) -> bool:
    """Tell whether the list holds what was added and not what was removed; others may have added to it."""
    if LIST not in write.after:
        return True
    wanted, held = {*write.after[LIST]}, {*(api.read_audiences(after.properties) or ())}
    before = {*write.before.get(LIST, ())}
    return wanted - before <= held and not (before - wanted) & held
