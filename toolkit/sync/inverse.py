"""What a run wrote, and the opposite of it, as wishes.

What a run did is read from its journal of calls, which is complete even when the run was killed. A membership
or value that is no longer as the run left it, or that a later run brought anew, is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from toolkit.errors import ParameterError
from toolkit.frames import json_text
from toolkit.postscript import api
from toolkit.segment.destination.payloads import property_value
from toolkit.segment.mapping import MISSING
from toolkit.statuses import ChangeStatus

from .desired import WISH_COLUMNS
from .plan import properties_of

_LIST = api.AUDIENCES_PROPERTY
_NOT_CARRIED_OUT = ("RejectedError", "InvalidAuthenticationError", "RateLimitError")
"""How the outcome of the only try begins that changed nothing, unless it ends in UNCLEAR."""
_UNKNOWN = "{}"
"""Stands for a value that no trait can be: a plan keeps no more of it."""
_FROM_CHANGES = ["person", "audience_id", "email_masked", "phone_masked"]
_ABOUT = ["subscriber_id", "audience_key", "trait_key"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a run wrote to one subscriber."""

    subscriber_id: str
    entered: tuple[str, ...]
    exited: tuple[str, ...]
    traits: Mapping[str, tuple[str | None, str]]
    """Trait → JSON text before (None: it had no value; ``{}``: one that no trait can be) and after."""


def read_writes(calls: pd.DataFrame) -> list[Written]:
    """Return the writes of a run that arrived, or may have: a run writes a subscriber once."""
    found: dict[str, Written] = {}
    patches = calls[calls["route"] == api.WRITE_ROUTE]
    for row in patches.to_dict("records"):
        who, outcome = str(row["subscriber_id"]), str(row["outcome"])
        # What follows the first that was taken only puts back what was lost by it.
        is_refused = outcome.startswith(_NOT_CARRIED_OUT) and not outcome.endswith(api.UNCLEAR)
        if who not in found and not (is_refused and row["tries"] == 1):
            found[who] = _written(who, properties_of(row["before"]), properties_of(row["after"]))
    return [*found.values()]


def _written(subscriber_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Written:
    old, new = (dict.fromkeys(held.get(_LIST) or ()) for held in (before, after))
    return Written(
        subscriber_id=subscriber_id,
        entered=tuple(key for key in new if key not in old),
        exited=tuple(key for key in old if key not in new) if _LIST in after else (),
        traits={
            name: (_trait_json(before.get(name)), json_text(value))
            for name, value in after.items()
            if name != _LIST
        },
    )


def _trait_json(value: Any) -> str | None:
    held = property_value(value)
    if held is MISSING:
        return _UNKNOWN
    return None if held is None else json_text(held)


def opposite_wishes(
    run_id: str,
    writes: Sequence[Written],
    changes: pd.DataFrame,
    newer: pd.DataFrame,
    subscribers: pd.DataFrame,
) -> pd.DataFrame:
    """Return WISH_COLUMNS: the opposite of each thing that was written, or why it is left as it is."""
    held = _held_traits(writes, subscribers)
    rows = [row for write in writes for row in _opposites(write, held.get(write.subscriber_id))]
    wishes = pd.DataFrame(rows, columns=[*WISH_COLUMNS]).astype(WISH_COLUMNS)
    known = changes.loc[changes["operation"].notna(), [*_ABOUT, *_FROM_CHANGES]].drop_duplicates(_ABOUT)
    wishes = wishes.drop(columns=_FROM_CHANGES).merge(known, how="left", on=_ABOUT)
    # A run that was killed has no changes, only calls.
    person = wishes["person"].fillna("subscriber " + wishes["subscriber_id"])
    wishes = wishes.assign(person=person, message_id=f"undo of {run_id}")
    for who in ("person", "subscriber_id"):  # of others too who are the same subscriber
        about = [who, "audience_key", "trait_key"]
        words = newer.dropna(subset=who)[about].drop_duplicates().assign(newer=True)
        is_newer = wishes.merge(words, how="left", on=about)["newer"].notna().to_numpy()
        wishes.loc[is_newer, ["status", "reason_code"]] = [ChangeStatus.UNCHANGED.value, "CHANGED_SINCE"]
    return wishes[[*WISH_COLUMNS]].astype(WISH_COLUMNS)


def _opposites(write: Written, held: Mapping[str, str | None] | None) -> Iterator[dict[str, Any]]:
    who = {"subscriber_id": write.subscriber_id}
    for keys, member in ((write.entered, False), (write.exited, True)):
        for key in keys:
            yield {**who, "audience_key": key, "member": member}
    for name, (before, after) in write.traits.items():
        status, reason = _why_not(before, after, held, name)
        yield {**who, "trait_key": name, "value": before, "status": status, "reason_code": reason}


def _why_not(
    before: str | None, after: str, held: Mapping[str, str | None] | None, name: str
) -> tuple[str | None, str | None]:
    """Return why a trait is not set back; nothing when it is."""
    if held is None:
        return ChangeStatus.WAITING.value, "SUBSCRIBER_GONE"
    if held[name] != after:
        is_back = before is not None and held[name] == before
        return ChangeStatus.UNCHANGED.value, "TRAIT_SAME_VALUE" if is_back else "CHANGED_SINCE"
    if before == _UNKNOWN:
        return ChangeStatus.CONFLICT.value, "TRAIT_VALUE_UNSUPPORTED"
    if before is None:
        return ChangeStatus.CONFLICT.value, "TRAIT_CANNOT_BE_DELETED"
    return None, None


def _held_traits(writes: Sequence[Written], subscribers: pd.DataFrame) -> dict[str, Mapping[str, str | None]]:
    """Return subscriber → trait → JSON text now, for those whose traits the run set and who are there."""
    named = {write.subscriber_id: write.traits for write in writes if write.traits}
    rows = subscribers[subscribers["subscriber_id"].isin([*named])]
    found: dict[str, Mapping[str, str | None]] = {}
    for who, text in zip(rows["subscriber_id"], rows["properties"], strict=True):
        held = {} if pd.isna(text) else json.loads(text)
        if absent := named[who].keys() - held.keys():
            raise ParameterError(
                "The subscribers were read without the properties that the run set. "
                f"Read them with trait_keys={sorted(absent)}."
            )
        found[who] = held
    return found
