"""Compare what Postscript holds with what should be, and plan the repair. Nothing is read or sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pandas as pd

from toolkit.audiences.memberships import State, key_list
from toolkit.contacts.masks import mask_emails, mask_phones
from toolkit.errors import ParameterError
from toolkit.frames import is_in, text_array, typed
from toolkit.statuses import ChangeStatus

from .plan import DESIRED_COLUMNS, Plan, plan, plan_desired
from .plan.columns import have_like, listed_keys
from .plan.matching import are_reached

DRIFT_COLUMNS = dict.fromkeys(
    ("person", "audience_key", "trait_key", "subscriber_id", "email_masked", "phone_masked", "drift"), "str"
)
"""A drift frame: one row a subscriber × audience or trait that is not as it should be.

``person`` is null where no person reaches the subscriber, and so are both keys where the whole list is
malformed. ``drift`` is one of DRIFT_KINDS.
"""

DRIFT_KINDS = {
    "missing": "a person is in the audience, and it is not on their subscriber's list",
    "extra": "the audience is on the list of a subscriber who should not be in it",
    "ghost key": "nothing is known of the audience on the list: it was deleted or renamed, or is not ours",
    "malformed value": "the list is not a list of texts, or has the audience more than once",
    "other value": "the property has another value than the trait, or none",
}
"""Kind of drift → what it means."""

REPAIRED = ("missing", "extra", "malformed value", "other value")
"""What a repair changes by default: what the ledger does not know stays."""

_KIND_OF_REASON = {"ENTERED": "missing", "EXITED": "extra", "TRAIT_NEW_VALUE": "other value"}
"""Reason of a new plan → what is wrong now."""


def find_drift(state: State, contacts: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return DRIFT_COLUMNS: where Postscript differs from what should be.

    First what concerns the people of the state, in its order, then the rest by subscriber. A person who is
    ambiguous, or cannot be reached, is not drift: their list is not known. Nor is any key extra or a ghost
    while the state knows no audience at all.

    Parameters
    ----------
    state, contacts
        What should be, `Ledger.load_state`, and check_contacts() of its people.
    subscribers
        What Postscript holds: SUBSCRIBER_COLUMNS, of everybody; read with `State.trait_keys`.
    """
    changes = plan(state, contacts, subscribers).changes
    wrong = changes[changes["operation"].notna()]
    wrong = wrong.assign(drift=wrong["reason_code"].map(_KIND_OF_REASON))
    listed = listed_keys(subscribers)
    twice = listed[listed.duplicated()].drop_duplicates()
    no_list = subscribers.loc[subscribers["audiences"].isna(), ["subscriber_id"]]
    rest = pd.concat([twice, no_list]).assign(drift="malformed value")
    if len(state.memberships):
        rest = pd.concat([_not_ours(listed.drop_duplicates(), changes, contacts, subscribers), rest])
    reached = changes.dropna(subset="subscriber_id").drop_duplicates("subscriber_id")
    held = subscribers[is_in(subscribers["subscriber_id"], rest["subscriber_id"])]
    shown = held[["subscriber_id"]].assign(
        email_masked=mask_emails(text_array(held["email_folded"])).to_pylist(),
        phone_masked=mask_phones(text_array(held["phone_digits"])).to_pylist(),
    )
    for more in (reached[["subscriber_id", "person"]], shown.drop_duplicates("subscriber_id")):
        rest = rest.merge(more, how="left", on="subscriber_id")
    rest = rest.sort_values(["subscriber_id", "drift", "audience_key"], kind="stable")
    return pd.concat([typed(part, DRIFT_COLUMNS) for part in (wrong, rest)], ignore_index=True)


def plan_repair(
    state: State,
    contacts: pd.DataFrame,
    subscribers: pd.DataFrame,
    *,
    drift: pd.DataFrame | None = None,
    kinds: Collection[str] = REPAIRED,
    ghost_keys: Collection[str] = (),
    custom_events: str = "none",
    max_removal_share: float = 0.5,
) -> Plan:
    """Decide what would bring Postscript back to what should be; `sync(plan, None, …)` carries it out.

    The plan has one row for each drift that is repaired. A list that is not one is a ``conflict`` and left
    alone. A key listed twice is ``unchanged``: each write leaves it once. For a subscriber that no person
    reaches the person is ``subscriber <id>``.

    Parameters
    ----------
    drift
        What find_drift() returns for these, where it is known already.
    kinds, ghost_keys
        Which of DRIFT_KINDS to repair, with ``ghost key`` every one of them; and ghost keys by name.
    custom_events
        ``none``, or ``transitions`` to post one for each membership that is added or removed.
    max_removal_share
        Share of the keys on all lists, and of those to add, that may be removed, 0 to 1: over all, and of
        each key that is there ten times or more. To remove a ghost key from everybody, raise it.

    Raises
    ------
    ParameterError
        There is no such kind, or *custom_events* or *max_removal_share* mean nothing.
    """
    kinds = key_list(kinds)
    if unknown := sorted({*kinds} - {*DRIFT_KINDS}):
        raise ParameterError(
            f"There is no drift of kind {', '.join(unknown)}. Use: {', '.join(DRIFT_KINDS)}."
        )
    drift = find_drift(state, contacts, subscribers) if drift is None else drift
    named = (drift["drift"] == "ghost key") & drift["audience_key"].isin(key_list(ghost_keys))
    desired = _desired(drift[drift["drift"].isin(kinds) | named], state)
    repair = plan_desired(
        desired, subscribers, custom_events=custom_events, max_removal_share=max_removal_share
    )
    removed = repair.changes.loc[repair.changes["operation"] == "remove", "audience_key"].value_counts()
    listed = listed_keys(subscribers).drop_duplicates()["audience_key"].value_counts()
    beside = listed.sub(removed, fill_value=0).astype("int64").to_dict()
    return replace(repair, kind="repair", looked_at_beside=beside)


def _not_ours(
    listed: pd.DataFrame, changes: pd.DataFrame, contacts: pd.DataFrame, subscribers: pd.DataFrame
) -> pd.DataFrame:
    """Return what is listed without a membership: extra where the audience is known, else a ghost key."""
    known = changes[changes["reason_code"].isin(["ALREADY_IN", "EXITED"])]
    pairs = listed[~have_like(listed, known, ["subscriber_id", "audience_key"])]
    ambiguous = changes.loc[changes["reason_code"] == "AMBIGUOUS_MATCH", "person"]
    # Subscribers who may be one of several people: what is extra on their lists is not known.
    is_unclear = are_reached(subscribers, contacts[contacts["person"].isin(ambiguous)])
    is_known = pairs["audience_key"].isin(changes["audience_key"].dropna())
    is_left = is_known & pairs["subscriber_id"].isin(subscribers.loc[is_unclear, "subscriber_id"])
    return pairs.assign(drift=is_known.map({True: "extra", False: "ghost key"}))[~is_left]


def _desired(drift: pd.DataFrame, state: State) -> pd.DataFrame:
    """Return DESIRED_COLUMNS: what would repair each drift, or why nothing does."""
    about = ["person", "audience_key", "trait_key"]
    values = pd.concat([state.memberships, state.traits])
    values = values.reindex(columns=[*about, "audience_id", "value", "message_id"]).astype("str")
    desired = drift.merge(values, how="left", on=about)
    is_malformed, is_list = desired["drift"] == "malformed value", desired["audience_key"].notna()
    desired["member"] = (desired["drift"] == "missing").astype("boolean").mask(desired["trait_key"].notna())
    desired["person"] = desired["person"].fillna("subscriber " + desired["subscriber_id"])
    desired = typed(desired, DESIRED_COLUMNS)
    decided = ["status", "reason_code"]
    desired.loc[is_malformed & is_list, decided] = [ChangeStatus.UNCHANGED.value, "KEY_LISTED_TWICE"]
    desired.loc[is_malformed & ~is_list, decided] = [ChangeStatus.CONFLICT.value, "PROPERTY_NOT_A_LIST"]
    return desired
