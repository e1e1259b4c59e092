"""Decide what a sync would do: memberships and traits against what subscribers hold. Nothing is sent.

Matching is by phone digits first, then by email, lower-cased; who is not clearly one subscriber is
reported, never guessed. However many audiences and traits change, a subscriber is written once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from toolkit import wire
from toolkit.contacts import mask_email, mask_phone, mask_value
from toolkit.errors import ParameterError
from toolkit.memberships import State

from .deciding import OPERATIONS, STATUS_OF_REASON, decide, lay_out, reach
from .matching import SUBSCRIBER_COLUMNS, match_people, subscribers_table

__all__ = [
    "CHANGE_COLUMNS",
    "CUSTOM_EVENTS",
    "SUBSCRIBER_COLUMNS",
    "WRITE_COLUMNS",
    "Plan",
    "match_people",
    "new_list",
    "plan",
    "subscribers_table",
]

CHANGE_COLUMNS = {
    "person": "str",
    "audience_key": "str",
    "audience_id": "str",
    "member": "boolean",
    "trait_key": "str",
    "trait_value": "str",
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
"""A change frame: one row a person × audience, or a person × trait, which has no audience_key and member.

``operation`` is ``add``, ``remove``, ``set`` or null. ``trait_value`` is JSON text, a contact in it masked.
"""

WRITE_COLUMNS = {
    "subscriber_id": "str",
    "before": "object",
    "after": "object",
    "has_removal": "bool",
    "property_count": "int64",
}
"""A write frame: one row a subscriber to PATCH.

``before`` and ``after`` are dicts of the properties that change; the list of audiences is a tuple.
"""

CUSTOM_EVENTS = ("transitions", "none")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sync would do: decided and priced, nothing sent."""

    changes: pd.DataFrame
    """CHANGE_COLUMNS; final but for rows with an operation: those say ``would_add`` and so on."""
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
    def updates(self) -> int:
        """Trait values to set."""
        return int((self.changes["operation"] == "set").sum())

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
    """Decide, for every person × audience and person × trait, what a sync would do.

    Parameters
    ----------
    state
        What is asked for: memberships, traits and people.
    contacts
        check_contacts() of the people.
    subscribers
        What Postscript holds: SUBSCRIBER_COLUMNS.
    audience_keys
        Only these audiences, and no traits; empty takes all of both.
    custom_events
        ``transitions`` posts one per real change, ``none`` posts none.
    max_removal_share
        Share of the memberships looked at that may be removed, 0 to 1.
    skip_opted_out
        Leave subscribers alone who cannot be texted.

    Returns
    -------
    Plan
        Changes in the order of the memberships, then of the traits; writes with a removal first. Nothing
        asked gives no changes and no writes.

    Raises
    ------
    ParameterError
        A value of *custom_events* or *max_removal_share* that means nothing, or *subscribers* were read
        without the traits' properties.
    """
    if custom_events not in CUSTOM_EVENTS:
        raise ParameterError(f'custom_events is "{custom_events}"; use "transitions" or "none".')
    if not 0 <= max_removal_share <= 1:
        raise ParameterError(f"max_removal_share is {max_removal_share}; use a share from 0 to 1.")
    chosen = frozenset([audience_keys] if isinstance(audience_keys, str) else audience_keys)
    rows = reach(lay_out(state), contacts, subscribers)
    reason = decide(rows, audience_keys=chosen, skip_opted_out=skip_opted_out)
    changes = _changes_table(rows, reason)
    writes = _writes_table(rows.assign(operation=changes["operation"]), subscribers)
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


def _changes_table(rows: pd.DataFrame, reason: pd.Series) -> pd.DataFrame:
    emails = {raw: mask_email(raw) for raw in rows["email"].dropna().unique()}
    phones = {raw: mask_phone(raw) for raw in rows["phone"].dropna().unique()}
    status = reason.map({code: status.value for code, status in STATUS_OF_REASON.items()})
    changes = pd.DataFrame(
        {
            **{name: rows[name] for name in CHANGE_COLUMNS if name in rows},
            "trait_value": rows["value"].map(mask_value, na_action="ignore"),
            "operation": reason.map(OPERATIONS),
            "status": status,
            "reason_code": reason,
            "status_message": pd.Series(pd.NA, index=rows.index, dtype="str"),
            "email_masked": rows["email"].map(emails),
            "phone_masked": rows["phone"].map(phones),
            "external_id": pd.Series(pd.NA, index=rows.index, dtype="str"),
        }
    )
    return changes[[*CHANGE_COLUMNS]].astype(CHANGE_COLUMNS).reset_index(drop=True)


@dataclass(kw_only=True)
class _Wish:
    """What one subscriber is to be changed by."""

    add: list[str] = field(default_factory=list)
    remove: set[str] = field(default_factory=set)
    traits: dict[str, Any] = field(default_factory=dict)

    def applied(
        self, audiences: Any, properties: dict[str, str | None]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the properties that change, as they are and as they will be."""
        before = {name: json.loads(held) for name in self.traits if (held := properties[name]) is not None}
        if not self.add and not self.remove:
            return before, self.traits
        keys = new_list(audiences, add=self.add, remove=self.remove)
        name = wire.AUDIENCES_PROPERTY
        return {name: audiences, **before}, {name: keys, **self.traits}


def _writes_table(rows: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """One row per subscriber to write: what changes, before and after, removals first."""
    wishes = _wishes(rows[rows["operation"].notna()])
    held = subscribers.set_index("subscriber_id").loc[[*wishes]]
    changed = [
        wish.applied(audiences, properties)
        for wish, audiences, properties in zip(
            wishes.values(), held["audiences"], held["properties"], strict=True
        )
    ]
    writes = pd.DataFrame(
        {
            "subscriber_id": [*wishes],
            "before": [before for before, _ in changed],
            "after": [after for _, after in changed],
            "has_removal": [bool(wish.remove) for wish in wishes.values()],
            "property_count": held["property_count"].to_numpy(),
        }
    ).astype(WRITE_COLUMNS)
    return writes.sort_values("has_removal", ascending=False, kind="stable").reset_index(drop=True)


def _wishes(wanted: pd.DataFrame) -> dict[str, _Wish]:
    """Gather the rows by subscriber, in their order."""
    wishes: dict[str, _Wish] = {}
    columns = ["subscriber_id", "audience_key", "trait_key", "value", "operation"]
    # A plain loop: pandas' groupby takes twenty times as long to make lists. As objects: Arrow's texts
    # are slow one by one.
    cells = (wanted[column].to_numpy("object") for column in columns)
    for subscriber_id, key, trait, value, operation in zip(*cells, strict=True):
        wish = wishes.get(subscriber_id) or wishes.setdefault(subscriber_id, _Wish())
        if operation == "add":
            wish.add.append(key)
        elif operation == "remove":
            wish.remove.add(key)
        else:
            wish.traits[trait] = json.loads(value)
    return wishes


def new_list(before: tuple[str, ...], *, add: Iterable[str], remove: Collection[str]) -> tuple[str, ...]:
    """Return the audience list afterwards: what stays in its order, then what is added; each key once.

    >>> new_list(("vip", "churn", "vip"), add=("new",), remove={"churn"})
    ('vip', 'new')
    """
    kept: dict[str, Any] = dict.fromkeys(key for key in before if key not in remove)
    return tuple(kept | dict.fromkeys(add))
