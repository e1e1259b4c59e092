"""Decide what a sync would do: memberships and traits against what subscribers hold. Nothing is sent.

Matching is by phone digits first, then by email, lower-cased; who is not clearly one subscriber is
reported, never guessed. However many audiences and traits change, a subscriber is written once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from toolkit.audiences.memberships import State, check_occur, key_list
from toolkit.contacts.bulk import CONTACT_COLUMNS
from toolkit.contacts.masks import mask_emails, mask_phones, mask_text
from toolkit.errors import ParameterError
from toolkit.frames import TEXT, check_columns, empty_table, text_array, to_frame
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS

from .columns import NONE, frame, places, spell, take
from .deciding import LEFT_OUT, OPERATIONS, STATUS_OF_REASON, PlanRows, decide
from .matching import LACKING, METHODS, REACHED_COLUMNS, find_left, match, moved_rows
from .removal_limit import Removals, count_removals
from .writing import writes_table

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

A row that no person reaches names the subscriber as ``subscriber <id>`` and has no match_method.

``operation`` is ``add``, ``remove``, ``set`` or null. ``trait_value`` is JSON text, a contact in it masked.
"""

CUSTOM_EVENTS = ("transitions", "none", "transitions_and_moves")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sync would do: decided and priced, nothing sent."""

    changes: pd.DataFrame
    """CHANGE_COLUMNS; final but for rows with an operation: those say ``would_add`` and so on."""
    writes: pd.DataFrame
    """WRITE_COLUMNS, those with a removal first."""
    subscribers: pd.DataFrame
    """SUBSCRIBER_COLUMNS, as they were read: those that some change reaches."""
    custom_events: str
    """One of CUSTOM_EVENTS."""
    max_removal_share: float
    """Holds over all audiences, and for each one of which ten memberships or more are looked at."""
    looked_at_beside: Mapping[str, int] = field(default_factory=dict)
    """Audience → memberships looked at that have no row among the changes: a repair has such."""
    kind: str = "sync"
    """What a run of it is, one of RUN_KINDS."""
    reached: pd.DataFrame | None = field(default=None, repr=False)
    """REACHED_COLUMNS that plan() was given."""
    left: pd.DataFrame = field(default_factory=lambda: empty_table(REACHED_COLUMNS), repr=False)
    """Those of them whose person is another subscriber now."""

    def __post_init__(self) -> None:
        if self.custom_events not in CUSTOM_EVENTS:
            raise ParameterError(f'custom_events is "{self.custom_events}"; use "transitions" or "none".')
        if not 0 <= self.max_removal_share <= 1:
            raise ParameterError(f"max_removal_share is {self.max_removal_share}; use a share from 0 to 1.")

    @cached_property
    def removals(self) -> Removals:
        """Shares of the memberships looked at that are removed."""
        return count_removals(self.changes, self.looked_at_beside)

    @property
    def removal_share(self) -> float:
        """Planned removals ÷ memberships looked at (held now or wanted), 0 to 1."""
        return self.removals.share

    @cached_property
    def adds(self) -> int:
        """Memberships to add."""
        return int((self.changes["operation"] == "add").sum())

    @cached_property
    def removes(self) -> int:
        """Memberships to remove."""
        return int((self.changes["operation"] == "remove").sum())

    @property
    def updates(self) -> int:
        """Trait values to set."""
        return int((self.changes["operation"] == "set").sum())

    @cached_property
    def transitions(self) -> int:
        """Custom events to post."""
        return len(self.announced)

    @cached_property
    def announced(self) -> pd.DataFrame:
        """The changes that have a custom event; where a contact moved, the person has not left."""
        if self.custom_events == "none":
            return self.changes.head(0)
        is_posted = self.changes["operation"].isin(["add", "remove"])
        if self.custom_events != "transitions_and_moves":
            is_posted &= self.changes["reason_code"] != "CONTACT_MOVED"
        return self.changes[is_posted]

    @property
    def planned_calls(self) -> dict[str, int]:
        """Calls still to make, by kind: ``writes``, ``custom_events``."""
        return {"writes": len(self.writes), "custom_events": self.transitions}

    @property
    def exceeds_removal_limit(self) -> bool:
        """True when the plan removes more than it may, over all or of one audience."""
        return max(self.removals.share, self.removals.audience_share) > self.max_removal_share


def plan(
    state: State,
    contacts: pd.DataFrame,
    subscribers: pd.DataFrame,
    *,
    audience_keys: Collection[str] = (),
    custom_events: str = "transitions",
    max_removal_share: float = 0.5,
    skip_opted_out: bool = False,
    sync_mode: str = "mirror",
    reached: pd.DataFrame | None = None,
) -> Plan:
    """Decide, for every person × audience and person × trait, what a sync would do.

    Changes are in the order of the memberships, then of the traits, then of the contacts that moved; writes
    have those with a removal first. *contacts* are check_contacts() of the people, *subscribers* what
    Postscript holds, SUBSCRIBER_COLUMNS. *audience_keys* leave out other audiences and all traits.

    Parameters
    ----------
    custom_events
        ``transitions`` posts one per real change, ``none`` posts none. ``transitions_and_moves`` also posts
        an exit about an earlier subscriber who loses an audience because the person's contact moved.
    max_removal_share
        Share of the memberships looked at that may be removed, 0 to 1: over all, and of each audience of
        which ten or more are looked at.
    sync_mode
        ``mirror`` adds and removes, ``add_only`` never removes, ``remove_only`` never adds and sets no
        trait; what the mode leaves out is ``skipped``.
    reached
        Subscribers that earlier live runs reached, `Ledger.load_reached`. A person who is another subscriber
        now leaves no audience behind: the earlier subscriber has a row ``CONTACT_MOVED`` for each one that no
        other person has a membership in.

    Raises
    ------
    ParameterError
        An option that means nothing, one of *audience_keys* that has no membership where others have, or
        *subscribers* that were read without the traits' properties.
    """
    if sync_mode not in LEFT_OUT:
        raise ParameterError(f'sync_mode is "{sync_mode}"; use "mirror", "add_only" or "remove_only".')
    check_columns(contacts, CONTACT_COLUMNS, of="contacts")
    check_columns(subscribers, SUBSCRIBER_COLUMNS, of="subscribers")
    chosen = frozenset(key_list(audience_keys))
    check_occur(chosen, state.memberships["audience_key"].unique().tolist())
    asked, matches = _lay_out(state), match(contacts, subscribers)
    contact = places(asked["person"], contacts["person"])
    place = np.append(matches.subscriber, NONE)[contact]
    lacking = np.append(matches.lacking, LACKING.index("NO_CONTACT"))[contact]
    left = find_left(reached, contacts, matches, subscribers)
    if len(left):
        more, theirs = moved_rows(asked, place, left, subscribers)
        asked, place = pd.concat([asked, more], ignore_index=True), np.append(place, theirs)
        contact, lacking = (np.append(each, np.full(len(more), NONE)) for each in (contact, lacking))
    shown = {
        "match_method": spell(matches.method, METHODS),
        "email_masked": mask_emails(text_array(contacts["email"])),
        "phone_masked": mask_phones(text_array(contacts["phone"])),
    }
    decided = plan_rows(
        PlanRows.lay_beside(asked, subscribers, place),
        lacking,
        {name: take(column, contact) for name, column in shown.items()},
        is_moved=(contact == NONE) & (place != NONE),
        audience_keys=chosen,
        skip_opted_out=skip_opted_out,
        sync_mode=sync_mode,
    )
    return Plan(
        **decided,
        left=left,
        custom_events=custom_events,
        max_removal_share=max_removal_share,
        reached=reached,
    )


def _lay_out(state: State) -> pd.DataFrame:
    """Lay memberships and traits under each other: one row each is what a person's subscriber should hold."""
    asked = state.memberships.reset_index(drop=True)
    asked["member"] = asked["member"].astype("boolean")
    if len(state.traits):
        return pd.concat([asked, state.traits], ignore_index=True)
    nothing = pa.nulls(len(asked), TEXT)
    return asked.assign(**to_frame(pa.table({"trait_key": nothing, "value": nothing})))


def plan_rows(
    rows: PlanRows, lacking: np.ndarray, shown: Mapping[str, Any], **options: Any
) -> dict[str, pd.DataFrame]:
    """Return the frames of a plan; *shown* are more columns of changes, *options* those of decide()."""
    reason = decide(rows, lacking, **options)
    values, nothing = rows.asked["value"], pa.nulls(len(reason), TEXT)
    columns = {
        **{name: rows.asked[name] for name in CHANGE_COLUMNS if name in rows.asked},
        "trait_value": values.map(mask_text, na_action="ignore") if values.notna().any() else values,
        "operation": spell(reason, [OPERATIONS.get(name) for name in STATUS_OF_REASON]),
        "status": spell(reason, [status.value for status in STATUS_OF_REASON.values()]),
        "reason_code": spell(reason, STATUS_OF_REASON),
        "subscriber_id": take(text_array(rows.held["subscriber_id"]), rows.subscriber),
        "can_send": rows.held["can_send"].array.take(rows.subscriber, allow_fill=True),
        **shown,
        **dict.fromkeys(("status_message", "external_id"), nothing),
    }
    return {
        "changes": frame(columns, CHANGE_COLUMNS),
        "writes": writes_table(rows, reason),
        "subscribers": rows.held,
    }
