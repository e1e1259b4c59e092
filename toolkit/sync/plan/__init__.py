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
from toolkit.frames import TEXT, check_columns, empty_table, text_array
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS

from .columns import NONE, frame, places, spell, take
from .deciding import LEFT_OUT, OPERATIONS, STATUS_OF_REASON, PlanRows, decide
from .matching import LACKING, REACHED_COLUMNS, Matches, find_left, match, moved_rows
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

DESIRED_COLUMNS = {**CHANGE_COLUMNS, "value": "str"}
"""Desired changes of subscribers: one row a subscriber × audience with ``member``, or × trait with ``value``.

``value`` is JSON text. Where ``status`` is given nothing changes: the row only says why. What plan_desired()
finds out is not read.
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
    left: pd.DataFrame = field(default_factory=lambda: empty_table(REACHED_COLUMNS), repr=False)
    """Subscribers that earlier runs reached, and whose person is another one now."""

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
    ParameterError when an option means nothing, one of the keys has no membership where others have, or the
    subscribers were read without the traits' properties.

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
    """
    if sync_mode not in LEFT_OUT:
        raise ParameterError(f'sync_mode is "{sync_mode}"; use "mirror", "add_only" or "remove_only".')
    check_columns(contacts, CONTACT_COLUMNS, of="contacts")
    check_columns(subscribers, SUBSCRIBER_COLUMNS, of="subscribers")
    chosen = frozenset(key_list(audience_keys))
    check_occur(chosen, state.memberships["audience_key"].unique().tolist())
    matches = match(contacts, subscribers)
    asked = _lay_out(state, contacts, matches)
    left = find_left(reached, contacts, matches, subscribers)
    if len(left):
        asked = pd.concat([asked, moved_rows(asked, left, subscribers)], ignore_index=True)
    decided = _plan_rows(
        asked, subscribers, audience_keys=chosen, skip_opted_out=skip_opted_out, sync_mode=sync_mode
    )
    return Plan(
        **decided,
        left=left,
        custom_events=custom_events,
        max_removal_share=max_removal_share,
    )


def _lay_out(state: State, contacts: pd.DataFrame, matches: Matches) -> pd.DataFrame:
    """Lay memberships and traits below each other, as PlanRows needs them: beside what is found of people."""
    asked = state.memberships.reset_index(drop=True)
    asked["member"] = asked["member"].astype("boolean")
    if len(state.traits):
        asked = pd.concat([asked, state.traits], ignore_index=True)
    else:
        nothing = pa.nulls(len(asked), TEXT).to_pandas()
        asked = asked.assign(trait_key=nothing, value=nothing)
    contact = places(asked["person"], contacts["person"])
    shown = {
        "match_method": matches.method,
        "email_masked": mask_emails(text_array(contacts["email"])),
        "phone_masked": mask_phones(text_array(contacts["phone"])),
    }
    return asked.assign(
        place=np.append(matches.subscriber, NONE)[contact],
        lacking=np.append(matches.lacking, LACKING.index("NO_CONTACT"))[contact],
        is_moved=False,
        **{name: take(column, contact).to_pandas() for name, column in shown.items()},
    )


def plan_desired(
    desired: pd.DataFrame, subscribers: pd.DataFrame, *, custom_events: str, max_removal_share: float
) -> Plan:
    """Decide what each desired change leads to, by the rules of plan(); no person is looked up.

    *desired* are DESIRED_COLUMNS, no subscriber × audience or trait twice, and become the plan's changes row
    by row; *subscribers* SUBSCRIBER_COLUMNS. A subscriber who is not among them is gone.
    """
    is_open = desired["status"].isna().to_numpy()
    known = subscribers.drop_duplicates("subscriber_id", keep="last", ignore_index=True)
    place = pd.Index(known["subscriber_id"]).get_indexer(desired["subscriber_id"])
    asked = desired.reset_index(drop=True).assign(
        received_at=desired["timestamp"].array,
        place=np.where(is_open, place, NONE),
        lacking=np.where(is_open & (place != NONE), NONE, LACKING.index("SUBSCRIBER_GONE")),
        is_moved=False,
    )
    decided = _plan_rows(asked, known)
    decided["changes"].update(asked[["status", "reason_code"]])
    return Plan(**decided, custom_events=custom_events, max_removal_share=max_removal_share)


def _plan_rows(asked: pd.DataFrame, subscribers: pd.DataFrame, **options: Any) -> dict[str, pd.DataFrame]:
    """Return the frames of a plan for the rows asked of PlanRows; *options* are those of decide()."""
    rows = PlanRows(asked, subscribers)
    reason = decide(rows, **options)
    values, nothing = asked["value"], pa.nulls(len(reason), TEXT)
    columns = {
        **dict.fromkeys(("status_message", "external_id"), nothing),
        "subscriber_id": take(text_array(rows.held["subscriber_id"]), rows.subscriber),
        **{name: asked[name] for name in CHANGE_COLUMNS if name in asked},
        "trait_value": values.map(mask_text, na_action="ignore") if values.notna().any() else values,
        "operation": spell(reason, [OPERATIONS.get(name) for name in STATUS_OF_REASON]),
        "status": spell(reason, [status.value for status in STATUS_OF_REASON.values()]),
        "reason_code": spell(reason, STATUS_OF_REASON),
        "can_send": rows.held["can_send"].array.take(rows.subscriber, allow_fill=True),
    }
    return {
        "changes": frame(columns, CHANGE_COLUMNS),
        "writes": writes_table(rows, reason),
        "subscribers": rows.held,
    }
