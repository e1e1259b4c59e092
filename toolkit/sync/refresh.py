"""How much of a plan still holds: what it saw against what is there now, its words against newer ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from toolkit.audiences.memberships import State, fold
from toolkit.errors import ParameterError
from toolkit.frames import json_text, typed
from toolkit.postscript import api
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS
from toolkit.statuses import ChangeStatus, EventStatus

from .plan import Plan, properties_of

_LIST = api.AUDIENCES_PROPERTY
_DONE = {"add": "ALREADY_IN", "remove": "ALREADY_OUT", "set": "TRAIT_SAME_VALUE"}
Comparable = list[str] | str | None
_KINDS = (("memberships", "audience_key", "member"), ("traits", "trait_key", "value"))


def recheck(
    plan: Plan, subscribers: pd.DataFrame, *, overruled: Sequence[bool] | np.ndarray | None = None
) -> Plan:
    """Return the part of a plan that still holds for *subscribers* as they are now.

    Parameters
    ----------
    plan
        As it was made.
    subscribers
        What Postscript holds now: SUBSCRIBER_COLUMNS.
    overruled
        One a change: True where something newer says otherwise.

    Returns
    -------
    Plan
        A write stays where its subscriber's list and traits are those that the plan saw. Else it is dropped,
        and its changes are ``pending``, ``PLAN_STALE``; or ``unchanged``, where the subscriber already holds
        what the plan wanted; or ``waiting``, ``SUBSCRIBER_GONE``. What is overruled is ``PLAN_STALE``
        together with all of its subscriber's write. The removal share is that of what is left.

    Raises
    ------
    ParameterError
        *subscribers* were read without the properties of the plan's traits.
    """
    changes = plan.changes
    is_overruled = np.zeros(len(changes), np.bool_) if overruled is None else np.asarray(overruled, np.bool_)
    now = subscribers.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
    places = pd.Index(now["subscriber_id"]).get_indexer(plan.writes["subscriber_id"])
    blocked = changes.loc[is_overruled & changes["operation"].notna(), "subscriber_id"]
    is_blocked = plan.writes["subscriber_id"].isin(blocked) & (places >= 0)
    fates = pd.Series([*_fates(plan.writes, now, places)], dtype="str").mask(is_blocked, "stale")
    kept = (fates == "kept").to_numpy()
    left = now.take(places[kept])
    counts = {name: left[name].to_numpy() for name in ("property_count", "has_property")}
    settled = _settled(changes, dict(zip(plan.writes["subscriber_id"], fates, strict=True)), is_overruled)
    return replace(
        plan,
        changes=settled,
        writes=plan.writes[kept].assign(**counts).reset_index(drop=True),
        subscribers=now.merge(plan.subscribers[["subscriber_id"]], on="subscriber_id"),
    )


def newest(state: State, remembered: State) -> State:
    """Return *state* with the newer words and contacts that are *remembered*, and no others."""
    payloads = pd.concat([*_as_payloads(state)], ignore_index=True)
    payloads = typed(payloads, PAYLOAD_COLUMNS)
    ours = {
        name: getattr(remembered, name).merge(getattr(state, name)[["person", key]], on=["person", key])
        for name, key, _ in _KINDS
    }
    people = remembered.people.merge(state.people[["person"]], on="person")
    return fold(payloads, remembered=State(people=people, **ours)).state


def says_otherwise(changes: pd.DataFrame, before: State, after: State) -> np.ndarray:
    """Tell of each of *changes* whether its value in *after* differs from that in *before*."""
    found = np.zeros(len(changes), np.bool_)
    for name, key, value in _KINDS:
        about = ["person", key]
        both = getattr(before, name).merge(getattr(after, name), on=about, suffixes=("", "_after"))
        other = both.loc[both[value] != both[f"{value}_after"], about]
        if len(other):
            found_rows = changes[about].merge(other.assign(other=True), how="left", on=about)["other"]
            found |= found_rows.notna().to_numpy()
    return found


def _as_payloads(state: State) -> Iterator[pd.DataFrame]:
    """Yield a state as payloads that fold() would make it of."""
    words = state.memberships.rename(columns={"member": "membership"})
    yield words.astype({"membership": "boolean"})
    yield state.traits.rename(columns={"value": "trait_value"})
    for contact in ("email", "phone"):
        seen = state.people[["person", contact, f"{contact}_at"]]
        seen = seen.rename(columns={f"{contact}_at": "timestamp"})
        yield seen.assign(status=EventStatus.NOT_AN_AUDIENCE_EVENT.value)


# --- what has become of each write ------------------------------------------------------------------------


def _fates(writes: pd.DataFrame, now: pd.DataFrame, places: np.ndarray) -> Iterator[str]:
    """Say of each write: ``kept``, ``done`` already, ``stale``, or ``gone`` with its subscriber."""
    columns = ["audiences", "properties", "property_count", "has_property"]
    held = [*now[columns].itertuples(index=False, name=None)]
    for place, before, after in zip(
        places.tolist(), writes["before"].tolist(), writes["after"].tolist(), strict=True
    ):
        if place < 0:
            yield "gone"
            continue
        audiences, properties, count, has_list = held[place]
        room = api.MAX_PROPERTIES - count
        if before == f'{{"{_LIST}":{audiences}}}' and (has_list or room > 0):
            yield "kept"  # as most are: nothing but the list, and that the same
        else:
            yield _fate(before, after, _held(audiences, properties), room=room, has_list=has_list)


def _fate(before: str, after: str, held: Mapping[str, Comparable], *, room: int, has_list: bool) -> str:
    saw, wanted = _written(before), _written(after)
    if absent := sorted(wanted.keys() - held.keys()):
        raise ParameterError(
            f"The subscribers were read without the plan's traits. Read them with trait_keys={absent}."
        )
    if all(held[name] == wanted[name] for name in wanted):
        return "done"
    is_same = all(held[name] == saw.get(name) for name in wanted)
    new = [name for name in wanted if (not has_list if name == _LIST else held[name] is None)]
    return "kept" if is_same and len(new) <= max(room, 0) else "stale"


def _held(audiences: Any, properties: Any) -> dict[str, Comparable]:
    """Return what a subscriber holds; None for a list that is none, and for a trait without a value."""
    listed = None if pd.isna(audiences) else sorted(json.loads(audiences))
    return {_LIST: listed, **({} if pd.isna(properties) else json.loads(properties))}


def _written(text: str) -> dict[str, Comparable]:
    """Return the properties in a cell of a write: the list in no order, traits as their JSON text."""
    return {
        name: sorted(value) if name == _LIST else json_text(value)
        for name, value in properties_of(text).items()
    }


def _settled(changes: pd.DataFrame, fates: Mapping[str, str], is_overruled: np.ndarray) -> pd.DataFrame:
    """Return the changes with what is final about them now."""
    fate = changes["subscriber_id"].map(fates).where(changes["operation"].notna())
    done, gone = (fate == "done").to_numpy(), (fate == "gone").to_numpy()
    stale = ((fate == "stale").to_numpy() | is_overruled) & ~gone
    settled = changes.copy()
    for rows, status, reason in (
        (done, ChangeStatus.UNCHANGED, changes["operation"].map(_DONE)[done]),
        (gone, ChangeStatus.WAITING, "SUBSCRIBER_GONE"),
        (stale, ChangeStatus.PENDING, "PLAN_STALE"),
    ):
        settled.loc[rows, "status"] = status.value
        settled.loc[rows, "reason_code"] = reason
        settled.loc[rows, "operation"] = None
    return settled
