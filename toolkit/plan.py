"""Decide what a sync would do: desired memberships against what subscribers hold. Nothing is sent.

Matching is by phone digits first, then by email, lower-cased; who is not clearly one subscriber is
reported, never guessed. However many audiences change, a subscriber is written once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from . import wire
from .contacts import fold_email, mask_email, mask_phone, phone_digits
from .errors import ParameterError
from .memberships import State
from .statuses import ChangeStatus

SUBSCRIBER_COLUMNS = {
    "subscriber_id": "str",
    "phone_digits": "str",
    "email_folded": "str",
    "audiences": "object",
    "has_property": "bool",
    "property_count": "int64",
    "can_send": "boolean",
    "updated_at": "str",
}
"""A subscriber frame. ``audiences`` is a tuple of keys, or None when the property is not a list of texts."""

CHANGE_COLUMNS = {
    "person": "str",
    "audience_key": "str",
    "audience_id": "str",
    "member": "bool",
    "operation": "str",
    "status": "str",
    "reason_code": "str",
    "status_message": "str",
    "subscriber_id": "str",
    "match_method": "str",
    "can_send": "boolean",
    "email_masked": "str",
    "phone_masked": "str",
    "message_id": "str",
    "timestamp": "datetime64[us, UTC]",
    "external_id": "str",
}
"""A change frame: one row a person × audience. ``operation`` is ``add``, ``remove`` or null."""

WRITE_COLUMNS = {
    "subscriber_id": "str",
    "before": "object",
    "after": "object",
    "has_removal": "bool",
    "property_count": "int64",
}
"""A write frame: one row a subscriber to PATCH. ``before`` and ``after`` are tuples of audience keys."""

CUSTOM_EVENTS = ("transitions", "none")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sync would do: decided and priced, nothing sent."""

    changes: pd.DataFrame
    """CHANGE_COLUMNS; the status is final but for rows with an operation: ``would_add``, ``would_remove``."""
    writes: pd.DataFrame
    """WRITE_COLUMNS, those with a removal first."""
    subscribers: pd.DataFrame
    """SUBSCRIBER_COLUMNS, as they were read."""
    custom_events: str
    """``transitions`` or ``none``."""
    max_removal_share: float
    removal_share: float
    """Planned removals ÷ memberships looked at (held now or wanted), 0 to 1."""

    @property
    def adds(self) -> int:
        """Memberships to add."""
        return int((self.changes["operation"] == "add").sum())

    @property
    def removes(self) -> int:
        """Memberships to remove."""
        return int((self.changes["operation"] == "remove").sum())

    @property
    def transitions(self) -> int:
        """Custom events to post."""
        return self.adds + self.removes if self.custom_events == "transitions" else 0

    @property
    def planned_calls(self) -> dict[str, int]:
        """Calls still to make, by kind: ``writes``, ``custom_events``."""
        return {"writes": len(self.writes), "custom_events": self.transitions}

    @property
    def exceeds_removal_limit(self) -> bool:
        """True when the plan removes more than it may."""
        return self.removal_share > self.max_removal_share


def subscribers_table(subscribers: Iterable[wire.Subscriber]) -> pd.DataFrame:
    """Lay subscribers out as a frame of SUBSCRIBER_COLUMNS, one row an id; its last reading stands."""
    rows = {s.subscriber_id: s for s in subscribers}
    frame = pd.DataFrame(
        {
            "subscriber_id": [*rows],
            "phone_digits": [phone_digits(s.phone) or None for s in rows.values()],
            "email_folded": [fold_email(s.email) or None for s in rows.values()],
            "audiences": [wire.read_audiences(s.properties) for s in rows.values()],
            "has_property": [wire.AUDIENCES_PROPERTY in s.properties for s in rows.values()],
            "property_count": [len(s.properties) for s in rows.values()],
            "can_send": [s.can_send for s in rows.values()],
            "updated_at": [s.updated_at for s in rows.values()],
        }
    )
    return frame.astype(SUBSCRIBER_COLUMNS)


def match_people(contacts: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Find each person's one subscriber.

    Parameters
    ----------
    contacts
        From check_contacts().
    subscribers
        SUBSCRIBER_COLUMNS; rows that match nobody are ignored.

    Returns
    -------
    DataFrame
        One row per person, same order: ``person``, ``subscriber_id`` (null when none or several),
        ``match_method`` (``phone``, ``email`` or null), ``reason_code`` (null when matched).
    """
    digits = contacts["phone_e164"].str.removeprefix("+")
    by_phone = _one_id(subscribers, "phone_digits")
    by_email = _one_id(subscribers, "email_folded")
    # An id of "" stands for several subscribers.
    # astype: where nothing is found, map() gives floats.
    phone_id = digits.map(by_phone).astype("str")
    email_id = contacts["email_clean"].map(by_email).astype("str")
    found = phone_id.fillna(email_id)
    method = pd.Series(np.where(phone_id.notna(), "phone", "email"), index=contacts.index, dtype="str")
    reason = pd.Series(pd.NA, index=contacts.index, dtype="str")
    reason = reason.mask(found.isna(), "SUBSCRIBER_NOT_FOUND").mask(found == "", "AMBIGUOUS_MATCH")
    unusable = contacts["phone_e164"].isna() & contacts["email_clean"].isna()
    given = contacts["phone"].notna() | contacts["email"].notna()
    reason = reason.mask(unusable & given, "CONTACT_INVALID").mask(unusable & ~given, "NO_CONTACT")
    return pd.DataFrame(
        {
            "person": contacts["person"],
            "subscriber_id": found.where(reason.isna()),
            "match_method": method.where(reason.isna()),
            "reason_code": reason,
        }
    )


def _one_id(subscribers: pd.DataFrame, contact: str) -> pd.Series:
    """Map each contact to its subscriber's id, or to "" when several share it."""
    known = subscribers.loc[subscribers[contact].notna(), [contact, "subscriber_id"]]
    several = known[contact].duplicated(keep=False)
    ids = known["subscriber_id"].mask(several, "")
    return pd.Series(ids.to_numpy(), index=known[contact].to_numpy(), dtype="str").loc[
        lambda s: ~s.index.duplicated()
    ]


_STATUS_OF_REASON = {
    "SUBSCRIBER_NOT_FOUND": ChangeStatus.WAITING,
    "AMBIGUOUS_MATCH": ChangeStatus.AMBIGUOUS,
    "CONTACT_INVALID": ChangeStatus.NO_USABLE_CONTACT,
    "NO_CONTACT": ChangeStatus.NO_USABLE_CONTACT,
    "SAME_SUBSCRIBER": ChangeStatus.UNCHANGED,
    "PROPERTY_NOT_A_LIST": ChangeStatus.CONFLICT,
    "PROPERTY_LIMIT": ChangeStatus.CONFLICT,
    "ALREADY_IN": ChangeStatus.UNCHANGED,
    "ALREADY_OUT": ChangeStatus.UNCHANGED,
    "ENTERED": ChangeStatus.WOULD_ADD,
    "EXITED": ChangeStatus.WOULD_REMOVE,
    "NOT_CHOSEN": ChangeStatus.SKIPPED,
    "OPTED_OUT": ChangeStatus.SKIPPED,
}


def plan(
    state: State,
    contacts: pd.DataFrame,
    subscribers: pd.DataFrame,
    *,
    audience_keys: Collection[str] = (),
    custom_events: str = "transitions",
    max_removal_share: float = 0.5,
    skip_opted_out: bool = False,
) -> Plan:
    """Decide, for every person × audience, what a sync would do.

    Parameters
    ----------
    state
        What is asked for: memberships and people.
    contacts
        check_contacts() of the people.
    subscribers
        What Postscript holds: SUBSCRIBER_COLUMNS.
    audience_keys
        Only these audiences; empty takes all.
    custom_events
        ``transitions`` posts one per real change, ``none`` posts none.
    max_removal_share
        Share of the memberships looked at that may be removed, 0 to 1.
    skip_opted_out
        Leave subscribers alone who cannot be texted.

    Returns
    -------
    Plan
        Changes in the order of the memberships; writes with a removal first. No memberships give no
        changes and no writes.

    Raises
    ------
    ParameterError
        A value of *custom_events* or *max_removal_share* that means nothing.
    """
    if custom_events not in CUSTOM_EVENTS:
        raise ParameterError(f'custom_events is "{custom_events}"; use "transitions" or "none".')
    if not 0 <= max_removal_share <= 1:
        raise ParameterError(f"max_removal_share is {max_removal_share}; use a share from 0 to 1.")
    chosen = frozenset([audience_keys] if isinstance(audience_keys, str) else audience_keys)
    rows = _reach(state.memberships, contacts, subscribers)
    reason = _decide(rows, audience_keys=chosen, skip_opted_out=skip_opted_out)
    changes = _changes_table(rows, reason)
    writes = _writes_table(changes, subscribers)
    held = reason.isin(["ALREADY_IN", "EXITED"])
    looked_at = int((held | (reason == "ENTERED")).sum())
    removes = int((reason == "EXITED").sum())
    return Plan(
        changes=changes,
        writes=writes,
        subscribers=subscribers,
        custom_events=custom_events,
        max_removal_share=max_removal_share,
        removal_share=removes / looked_at if looked_at else 0.0,
    )


def _reach(memberships: pd.DataFrame, contacts: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Lay each membership beside the subscriber it would change, in the order of the memberships."""
    people = match_people(contacts, subscribers).drop(columns="person").set_index(contacts["person"])
    people["email"], people["phone"] = contacts["email"].to_numpy(), contacts["phone"].to_numpy()
    rows = memberships.join(people, on="person")
    rows["reason_code"] = rows["reason_code"].where(
        rows["person"].isin(contacts["person"]), other="NO_CONTACT"
    )
    held = subscribers.set_index("subscriber_id")
    return rows.join(held[["audiences", "has_property", "property_count", "can_send"]], on="subscriber_id")


def _decide(rows: pd.DataFrame, *, audience_keys: frozenset[str], skip_opted_out: bool) -> pd.Series:
    """Give each row its reason; the first that applies stands, from least to most particular."""
    reached = rows["subscriber_id"].notna()
    listed = pd.Series(
        [
            isinstance(held, tuple) and key in held
            for held, key in zip(rows["audiences"], rows["audience_key"], strict=True)
        ],
        index=rows.index,
        dtype="bool",
    )
    reason = pd.Series(
        np.select(
            [rows["member"] & listed, rows["member"], listed],
            ["ALREADY_IN", "ENTERED", "EXITED"],
            default="ALREADY_OUT",
        ),
        index=rows.index,
        dtype="str",
    )
    full = (rows["property_count"] >= wire.MAX_PROPERTIES) & ~rows["has_property"].fillna(value=True).astype(
        "bool"
    )
    reason = reason.mask(full & (reason == "ENTERED"), "PROPERTY_LIMIT")
    reason = reason.mask(reached & rows["audiences"].isna(), "PROPERTY_NOT_A_LIST")
    if skip_opted_out:
        blocked = ~rows["can_send"].fillna(value=True).astype("bool")
        reason = reason.mask(blocked & reason.isin(["ENTERED", "EXITED"]), "OPTED_OUT")
    reason = reason.mask(_is_overruled(rows), "SAME_SUBSCRIBER")
    reason = reason.mask(rows["reason_code"].notna(), rows["reason_code"])
    if audience_keys:
        reason = reason.mask(~rows["audience_key"].isin(audience_keys), "NOT_CHOSEN")
    return reason


def _is_overruled(rows: pd.DataFrame) -> pd.Series:
    """Mark rows whose subscriber × audience is decided by another person's newer word."""
    order = ["timestamp", "received_at", "message_id"]
    reached = rows[rows["subscriber_id"].notna()].sort_values(order, na_position="first", kind="stable")
    overruled = reached.duplicated(["subscriber_id", "audience_key"], keep="last")
    return overruled.reindex(rows.index, fill_value=False)


def _changes_table(rows: pd.DataFrame, reason: pd.Series) -> pd.DataFrame:
    emails = {raw: mask_email(raw) for raw in rows["email"].dropna().unique()}
    phones = {raw: mask_phone(raw) for raw in rows["phone"].dropna().unique()}
    status = reason.map({code: status.value for code, status in _STATUS_OF_REASON.items()})
    changes = pd.DataFrame(
        {
            **{name: rows[name] for name in CHANGE_COLUMNS if name in rows},
            "operation": reason.map({"ENTERED": "add", "EXITED": "remove"}),
            "status": status,
            "reason_code": reason,
            "status_message": pd.Series(pd.NA, index=rows.index, dtype="str"),
            "email_masked": rows["email"].map(emails),
            "phone_masked": rows["phone"].map(phones),
            "external_id": pd.Series(pd.NA, index=rows.index, dtype="str"),
        }
    )
    return changes[[*CHANGE_COLUMNS]].astype(CHANGE_COLUMNS).reset_index(drop=True)


def _writes_table(changes: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """One row per subscriber to write: its whole list before and after, removals first."""
    wanted = changes[changes["operation"].notna()]
    added: dict[str, list[str]] = {}
    removed: dict[str, set[str]] = {}
    # A plain loop: pandas' groupby takes twenty times as long to make lists.
    for subscriber_id, key, operation in zip(
        wanted["subscriber_id"], wanted["audience_key"], wanted["operation"], strict=True
    ):
        if operation == "add":
            added.setdefault(subscriber_id, []).append(key)
        else:
            removed.setdefault(subscriber_id, set()).add(key)
    ids = wanted["subscriber_id"].drop_duplicates()
    held = subscribers.set_index("subscriber_id").loc[ids, ["audiences", "property_count"]]
    after = [
        new_list(before, add=added.get(i, ()), remove=removed.get(i, ()))
        for i, before in zip(ids, held["audiences"], strict=True)
    ]
    writes = pd.DataFrame(
        {
            "subscriber_id": ids.to_numpy(),
            "before": held["audiences"].to_numpy(),
            "after": pd.Series(after, dtype="object").to_numpy(),
            "has_removal": ids.isin([*removed]).to_numpy(),
            "property_count": held["property_count"].to_numpy(),
        }
    ).astype(WRITE_COLUMNS)
    return writes.sort_values("has_removal", ascending=False, kind="stable").reset_index(drop=True)


def new_list(before: tuple[str, ...], *, add: Iterable[str], remove: Collection[str]) -> tuple[str, ...]:
    """Return the audience list afterwards: what stays in its order, then what is added; each key once.

    >>> new_list(("vip", "churn", "vip"), add=("new",), remove={"churn"})
    ('vip', 'new')
    """
    kept: dict[str, Any] = dict.fromkeys(key for key in before if key not in remove)
    return tuple(kept | dict.fromkeys(add))
