"""Mirror a member list: who is listed is in the audience, and everybody else who is known or found is out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from toolkit.audiences.memberships import Folded, State, fold
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import OK
from toolkit.errors import ParameterError
from toolkit.frames import check_columns, is_in
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.segment.member_lists import BEFORE_THOSE_IN, MemberList

from .plan.columns import have_like, listed_keys
from .plan.matching import match_people, phones_held

CLEAN = {"phone": "phone_e164", "email": "email_clean"}
"""Contact → its column of standard forms in the frame of check_contacts()."""
HELD = {"phone": "phone_digits", "email": "email_folded"}
"""Contact → its column in a frame of subscribers."""


def mirror_member_list(
    listed: MemberList,
    subscribers: pd.DataFrame,
    *,
    remembered: State | None = None,
    default_region: str = "US",
    accept_incomplete: bool = False,
) -> tuple[Folded, pd.DataFrame]:
    """Fold a member list: who is listed is in, and everyone else is out.

    A membership newer than the list stands. Of several contacts of a person the one that finds a
    subscriber is taken. A subscriber who holds an audience of the list, and is reached by no person of
    that audience, becomes a person named ``subscriber <id>`` who is out.

    Returned are the events with the state they lead to, and the frame of check_contacts() for everybody with
    a membership in the list's audiences: what plan() needs, besides ``audience_keys=listed.audience_keys``.

    Parameters
    ----------
    subscribers
        Every subscriber of the shop: SUBSCRIBER_COLUMNS.
    accept_incomplete
        True removes people even if rows of the list were unreadable, or it has no members.

    Raises
    ------
    ParameterError
        The list is incomplete or empty, and that was not accepted.
    """
    check_columns(subscribers, SUBSCRIBER_COLUMNS, of="subscribers")
    if not accept_incomplete:
        _check_is_safe(listed)
    folded = fold(listed.payloads, remembered=remembered)
    state = _with_leavers(folded.state, listed)
    memberships = state.memberships[state.memberships["audience_key"].isin(listed.audience_keys)]
    people = state.people[is_in(state.people["person"], memberships["person"])]
    options = _judge_options(people, listed, default_region)
    contacts = _choose_contacts(people, options, subscribers)
    unreached = _find_unreached(memberships, listed, options, contacts, subscribers)
    at = {"timestamp": listed.taken_at, "received_at": listed.taken_at - BEFORE_THOSE_IN}
    more = unreached.drop_duplicates("person")
    seen = {f"{kind}_at": listed.taken_at for kind in CLEAN}
    state = State(
        memberships=_with_more(state.memberships, unreached.assign(member=False, **at), "audience_key"),
        people=_with_more(_with_chosen(state.people, contacts, listed), more.assign(**seen)),
        traits=state.traits,
    )
    contacts = _with_more(contacts, _own_contacts(more, subscribers))
    return Folded(events=folded.events, state=state, kind="member_list"), contacts


def _check_is_safe(listed: MemberList) -> None:
    members = "fold(listed.payloads) takes its members without removing a subscriber."
    if not listed.is_complete:
        raise ParameterError(
            "Some rows of the list could not be read, so who is missing from it may be a member all the "
            "same, and no one is removed. Repair the source (its notes and the rows with a status say "
            f"where), or give accept_incomplete=True to remove them nevertheless. {members}"
        )
    if not listed.members:
        raise ParameterError(
            "The list has no members: mirrored, it would remove everybody from "
            f"{', '.join(listed.audience_keys) or 'its audiences'}. Check the source, or give "
            "accept_incomplete=True if the audience is really empty."
        )


# --- who leaves ---------------------------------------------------------------------------------------


def _with_leavers(state: State, listed: MemberList) -> State:
    """Return the state in which older members who are not listed are out."""
    memberships = state.memberships
    is_older = memberships["timestamp"].isna() | (memberships["timestamp"] < listed.taken_at)
    leaving = memberships["member"] & is_older & memberships["audience_key"].isin(listed.audience_keys)
    leaving &= ~have_like(memberships, _listed_names(listed), ["person", "audience_key"])
    out = memberships.copy()
    out.loc[leaving, ["member", "message_id"]] = [False, None]
    out.loc[leaving, "timestamp"] = listed.taken_at
    out.loc[leaving, "received_at"] = listed.taken_at - BEFORE_THOSE_IN
    return replace(state, memberships=out)


def _listed_names(listed: MemberList) -> pd.DataFrame:
    """Return the members by all their names: their ids, and their contacts, which name who has no id."""
    contacts = [
        listed.candidates[["person"]].assign(name=f"{kind}:" + listed.candidates[kind]) for kind in CLEAN
    ]
    names = pd.concat([listed.names, *contacts], ignore_index=True).dropna()
    is_email = names["name"].str.startswith("email:")
    names = names.assign(name=names["name"].mask(is_email, names["name"].str.lower()))
    rows = listed.payloads
    is_member = rows["status"].isna() & rows["membership"].fillna(value=False)
    members = rows.loc[is_member, ["person", "audience_key"]].merge(names, on="person")
    return members.assign(person=members["name"])


def _with_more(rows: pd.DataFrame, more: pd.DataFrame, *about: str) -> pd.DataFrame:
    """Return *rows* with *more* behind them; of those about the same person the last stands."""
    more = more.reindex(columns=rows.columns).astype(rows.dtypes)
    return pd.concat([rows, more]).drop_duplicates(["person", *about], keep="last", ignore_index=True)


# --- subscribers without a person ---------------------------------------------------------------------


def _find_unreached(
    memberships: pd.DataFrame,
    listed: MemberList,
    options: pd.DataFrame,
    contacts: pd.DataFrame,
    subscribers: pd.DataFrame,
) -> pd.DataFrame:
    """Return the subscribers who hold an audience that no person of it reaches: a row each × audience."""
    held = listed_keys(subscribers).drop_duplicates()
    held = held[held["audience_key"].isin(listed.audience_keys)].merge(subscribers, on="subscriber_id")
    reached = match_people(contacts, subscribers).merge(memberships, on="person")
    is_reached = have_like(held, reached, ["subscriber_id", "audience_key"])
    # Members are looked at by every contact they have.
    of_members = options.merge(memberships[memberships["member"]], on="person")
    for kind in HELD.values():
        is_reached |= have_like(held, of_members, [kind, "audience_key"])
    held = held[~is_reached]
    return held.assign(
        person="subscriber " + held["subscriber_id"],
        phone="+" + held["phone_digits"],
        email=held["email_folded"],
    )


def _own_contacts(people: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the contacts by which each finds its own subscriber: what others share is left out."""
    contacts = people[["person", "email", "phone"]].copy()
    for kind, clean in CLEAN.items():
        held = subscribers[HELD[kind]]
        is_own = people[HELD[kind]].notna() & ~is_in(people[HELD[kind]], held[held.duplicated()])
        # Not judged: what Postscript holds is what it is found by.
        contacts[clean] = people[kind].where(is_own)
        contacts[f"{kind}_code"] = np.where(is_own, OK, "absent")
    return contacts


# --- of several contacts the one that finds a subscriber ----------------------------------------------


def _judge_options(people: pd.DataFrame, listed: MemberList, default_region: str) -> pd.DataFrame:
    """Judge every contact of the people: the list's, and the one remembered, ``first`` where it is newer."""
    given = listed.candidates[is_in(listed.candidates["person"], people["person"])]
    newer = {f"{kind}_first": people[f"{kind}_at"] > listed.taken_at for kind in CLEAN}
    both = pd.concat([given, people.assign(**newer)], ignore_index=True)
    judged = check_contacts(both, default_region=default_region)
    first = {name: both[name].eq(True) for name in newer}
    return judged.assign(
        phone_digits=phones_held(judged).to_pandas(), email_folded=judged["email_clean"], **first
    )


def _choose_contacts(people: pd.DataFrame, options: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of check_contacts() with the best phone and the best email of each person.

    The best is one that finds a subscriber of its own, else one that finds several, else a usable one.
    """
    chosen = people[["person"]]
    for kind, clean in CLEAN.items():
        value, held = options[HELD[kind]], subscribers[HELD[kind]]
        finds, is_shared = is_in(value, held), is_in(value, held[held.duplicated()])
        rank = np.select([finds & ~is_shared, finds, value.notna()], [0, 2, 4], default=6)
        given = options.assign(rank=rank - options[f"{kind}_first"])[options[kind].notna()]
        best = given.sort_values("rank", kind="stable").drop_duplicates("person")
        chosen = chosen.merge(best[["person", kind, f"{kind}_code", clean]], how="left", on="person")
    columns = ["person", "email", "phone", "email_code", "phone_code", "email_clean", "phone_e164"]
    return chosen[columns].fillna({"email_code": "absent", "phone_code": "absent"})


def _with_chosen(people: pd.DataFrame, contacts: pd.DataFrame, listed: MemberList) -> pd.DataFrame:
    """Return the people with the contacts that were chosen, where the list brought theirs."""
    best = contacts.set_index("person").reindex(people["person"]).set_axis(people.index)
    changed = {
        kind: people[kind].mask((people[f"{kind}_at"] == listed.taken_at) & best[kind].notna(), best[kind])
        for kind in CLEAN
    }
    return people.assign(**changed)
