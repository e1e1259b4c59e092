"""Give every person × audience and person × trait its reason: what is lacking, or what is in the way."""

from __future__ import annotations

import numpy as np
import pandas as pd

from toolkit import wire
from toolkit.errors import ParameterError
from toolkit.memberships import MEMBERSHIP_COLUMNS, State
from toolkit.statuses import ChangeStatus

from .matching import match_people

STATUS_OF_REASON = {
    "SUBSCRIBER_NOT_FOUND": ChangeStatus.WAITING,
    "AMBIGUOUS_MATCH": ChangeStatus.AMBIGUOUS,
    "CONTACT_INVALID": ChangeStatus.NO_USABLE_CONTACT,
    "NO_CONTACT": ChangeStatus.NO_USABLE_CONTACT,
    "SAME_SUBSCRIBER": ChangeStatus.UNCHANGED,
    "PROPERTY_NOT_A_LIST": ChangeStatus.CONFLICT,
    "PROPERTY_LIMIT": ChangeStatus.CONFLICT,
    "TRAIT_NAME_RESERVED": ChangeStatus.CONFLICT,
    "TRAIT_SAME_VALUE": ChangeStatus.UNCHANGED,
    "TRAIT_NEW_VALUE": ChangeStatus.WOULD_UPDATE,
    "ALREADY_IN": ChangeStatus.UNCHANGED,
    "ALREADY_OUT": ChangeStatus.UNCHANGED,
    "ENTERED": ChangeStatus.WOULD_ADD,
    "EXITED": ChangeStatus.WOULD_REMOVE,
    "NOT_CHOSEN": ChangeStatus.SKIPPED,
    "OPTED_OUT": ChangeStatus.SKIPPED,
}
OPERATIONS = {"ENTERED": "add", "EXITED": "remove", "TRAIT_NEW_VALUE": "set"}
"""What is sent, where something is."""

_RESERVED = wire.AUDIENCES_PROPERTY.casefold()
_ASKED_COLUMNS = {**MEMBERSHIP_COLUMNS, "member": "boolean", "trait_key": "str", "value": "str"}


def lay_out(state: State) -> pd.DataFrame:
    """Lay memberships and traits under each other: one row each is what somebody's subscriber should hold."""
    both = [state.memberships, state.traits] if len(state.traits) else [state.memberships]
    frames = [frame.reindex(columns=[*_ASKED_COLUMNS]).astype(_ASKED_COLUMNS) for frame in both]
    return pd.concat(frames, ignore_index=True)


def reach(asked: pd.DataFrame, contacts: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Lay each row that is asked beside the subscriber it would change, in the same order."""
    people = match_people(contacts, subscribers).drop(columns="person").set_index(contacts["person"])
    people["email"], people["phone"] = contacts["email"].to_numpy(), contacts["phone"].to_numpy()
    rows = asked.join(people, on="person")
    rows["reason_code"] = rows["reason_code"].where(
        rows["person"].isin(contacts["person"]), other="NO_CONTACT"
    )
    held = subscribers.set_index("subscriber_id")
    kept = ["audiences", "has_property", "property_count", "properties", "can_send"]
    rows = rows.join(held[kept], on="subscriber_id")
    rows["has_property"] = rows["has_property"].fillna(value=True).astype("bool")
    return rows


def decide(rows: pd.DataFrame, *, audience_keys: frozenset[str], skip_opted_out: bool) -> pd.Series:
    """Give each row its reason; the first that applies stands, from least to most particular."""
    is_trait = rows["trait_key"].notna()
    reason = _wish(rows)
    full = (rows["property_count"] >= wire.MAX_PROPERTIES) & ~rows["has_property"]
    reason = reason.mask(full & (reason == "ENTERED"), "PROPERTY_LIMIT")
    reached = rows["subscriber_id"].notna()
    reason = reason.mask(reached & ~is_trait & rows["audiences"].isna(), "PROPERTY_NOT_A_LIST")
    if skip_opted_out:
        blocked = ~rows["can_send"].fillna(value=True).astype("bool")
        reason = reason.mask(blocked & reason.isin([*OPERATIONS]), "OPTED_OUT")
    reason = reason.mask(_is_overruled(rows), "SAME_SUBSCRIBER")
    reason = reason.mask(rows["reason_code"].notna(), rows["reason_code"])
    if audience_keys:
        reason = reason.mask(~rows["audience_key"].isin(audience_keys), "NOT_CHOSEN")
    if is_trait.any():
        _check_traits_were_read(rows[is_trait & reason.isin(["TRAIT_NEW_VALUE", "TRAIT_SAME_VALUE"])])
        reason = reason.mask(_is_beyond_limit(rows, reason), "PROPERTY_LIMIT")
    return reason


def _wish(rows: pd.DataFrame) -> pd.Series:
    """Say of each row what its subscriber lacks, were there nothing in the way."""
    member = rows["member"].fillna(value=False).astype("bool")
    listed = pd.Series(
        [
            isinstance(held, tuple) and key in held
            for held, key in zip(rows["audiences"], rows["audience_key"].to_numpy("object"), strict=True)
        ],
        index=rows.index,
        dtype="bool",
    )
    choices = {
        "TRAIT_NAME_RESERVED": rows["trait_key"].isin(_reserved_names(rows["trait_key"])),
        "TRAIT_SAME_VALUE": _has_value(rows),
        "TRAIT_NEW_VALUE": rows["trait_key"].notna(),
        "ALREADY_IN": member & listed,
        "ENTERED": member,
        "EXITED": listed,
    }
    chosen = np.select([*choices.values()], [*choices], default="ALREADY_OUT")
    return pd.Series(chosen, index=rows.index, dtype="str")


def _reserved_names(names: pd.Series) -> list[str]:
    """Return the names that may be that of the list of audiences."""
    # Stripped and folded: how Postscript compares the names of properties is not known.
    return [name for name in names.dropna().unique() if name.strip().casefold() == _RESERVED]


def _held(rows: pd.DataFrame) -> pd.Series:
    """Return the JSON text that each trait row's subscriber holds, None where it holds nothing."""
    traits = rows[rows["trait_key"].notna()]
    held = [
        properties.get(key) if isinstance(properties, dict) else None
        for properties, key in zip(traits["properties"], traits["trait_key"], strict=True)
    ]
    return pd.Series(held, index=traits.index, dtype="object")


def _has_value(rows: pd.DataFrame) -> pd.Series:
    """Mark the traits whose subscriber holds their value."""
    held = _held(rows)
    wanted = rows.loc[held.index, "value"]
    # Whether Postscript keeps an empty list is not known; as with audiences, none and empty are the same.
    same = (held == wanted) | ((wanted == "[]") & (held.isna() | (held == "null")))
    return same.reindex(rows.index, fill_value=False).astype("bool")


def _check_traits_were_read(rows: pd.DataFrame) -> None:
    for properties, key in zip(rows["properties"], rows["trait_key"], strict=True):
        if key not in properties:
            raise ParameterError(
                "The subscribers were read without the properties of the traits. "
                "Give find_subscribers() trait_keys=state.trait_keys."
            )


def _is_beyond_limit(rows: pd.DataFrame, reason: pd.Series) -> pd.Series:
    """Mark new properties for which a subscriber has no room; the list of audiences goes first."""
    held = _held(rows[reason == "TRAIT_NEW_VALUE"])
    new = rows.loc[held.index[held.isna()]]
    gets_list = rows.loc[(reason == "ENTERED") & ~rows["has_property"], "subscriber_id"]
    room = wire.MAX_PROPERTIES - new["property_count"] - new["subscriber_id"].isin(gets_list)
    return (new.groupby("subscriber_id").cumcount() >= room).reindex(rows.index, fill_value=False)


def _is_overruled(rows: pd.DataFrame) -> pd.Series:
    """Mark rows whose subscriber × audience or trait is decided by another person's newer word."""
    order = ["timestamp", "received_at", "message_id"]
    reached = rows[rows["subscriber_id"].notna()].sort_values(order, na_position="first", kind="stable")
    overruled = reached.duplicated(["subscriber_id", "audience_key", "trait_key"], keep="last")
    return overruled.reindex(rows.index, fill_value=False)
