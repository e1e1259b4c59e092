"""Make the lists of a snapshot come true: who is listed is in, everybody else known or found is out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, Folded, State, fold
from toolkit.contacts import OK
from toolkit.errors import ParameterError
from toolkit.frames import check_columns
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.segment.member_lists import BEFORE_THOSE_IN, Snapshot

from .choosing import CLEAN, HELD, Marks, as_held, choose_contacts, is_in, judge_options, with_chosen
from .plan import match_people


def mirror_snapshot(
    snapshot: Snapshot,
    subscribers: pd.DataFrame,
    *,
    remembered: State | None = None,
    default_region: str = "US",
    accept_incomplete: bool = False,
) -> tuple[Folded, pd.DataFrame]:
    """Fold a snapshot: who is listed is in, and everyone else is out.

    A membership newer than the snapshot stands. Of several contacts of a person the one that finds a
    subscriber is taken. A subscriber who holds an audience of the snapshot, and is reached by no person of
    that audience, becomes a person named ``subscriber <id>`` who is out.

    Parameters
    ----------
    snapshot
        From read_snapshot().
    subscribers
        Every subscriber of the shop: SUBSCRIBER_COLUMNS.
    remembered
        What earlier runs asked for.
    default_region
        Country in which numbers without a country code are read, two letters.
    accept_incomplete
        True removes people even if rows of the snapshot were unreadable, or it has no members.

    Returns
    -------
    tuple
        The events with the state they lead to, and the frame of check_contacts() for everybody with a word
        on the snapshot's audiences: what plan() needs, besides ``audience_keys=snapshot.audience_keys``.

    Raises
    ------
    ParameterError
        The snapshot is incomplete or empty, and that was not accepted.
    """
    check_columns(subscribers, SUBSCRIBER_COLUMNS, of="subscribers")
    if not accept_incomplete:
        _check_is_safe(snapshot)
    folded = fold(snapshot.payloads, remembered=remembered)
    state = _with_leavers(folded.state, snapshot)
    spoken_of = state.memberships["audience_key"].isin(snapshot.audience_keys)
    people = state.people[is_in(state.people["person"], state.memberships.loc[spoken_of, "person"])]
    options = judge_options(people, snapshot, default_region)
    contacts = choose_contacts(people, options, subscribers)
    state = replace(state, people=with_chosen(state.people, contacts, snapshot))
    strangers = _strangers(state, snapshot, options, contacts, subscribers)
    state = State(
        memberships=_with_more(state.memberships, _words_of(strangers, snapshot), ["person", "audience_key"]),
        people=_with_more(state.people, _people_of(strangers, snapshot), ["person"]),
        traits=state.traits,
    )
    contacts = _with_more(contacts, _contacts_of(strangers, subscribers), ["person"])
    return Folded(events=folded.events, state=state, kind="member_list"), contacts


def _check_is_safe(snapshot: Snapshot) -> None:
    members = "fold(snapshot.payloads) takes its members without removing anybody."
    if not snapshot.is_complete:
        raise ParameterError(
            "Some rows of the snapshot could not be read, so who is missing from it may be a member all the "
            "same, and no one is removed. Repair the source (snapshot.notes and the rows with a status say "
            f"where), or give accept_incomplete=True to remove them nevertheless. {members}"
        )
    if not snapshot.members:
        raise ParameterError(
            "The snapshot has no members: mirrored, it would remove everybody from "
            f"{', '.join(snapshot.audience_keys) or 'its audiences'}. Check the source, or give "
            "accept_incomplete=True if the audience is really empty."
        )


# --- who leaves ---------------------------------------------------------------------------------------


def _with_leavers(state: State, snapshot: Snapshot) -> State:
    """Return the state in which older members who are not listed are out."""
    words = state.memberships
    older = words["timestamp"].isna() | (words["timestamp"] < snapshot.taken_at)
    leaving = words["member"] & older & words["audience_key"].isin(snapshot.audience_keys)
    if not leaving.any():
        return state
    leaving &= ~_is_listed_otherwise(words, leaving, snapshot)
    out = words.copy()
    out.loc[leaving, ["member", "message_id"]] = [False, None]
    out.loc[leaving, "timestamp"] = snapshot.taken_at
    out.loc[leaving, "received_at"] = snapshot.taken_at - BEFORE_THOSE_IN
    return replace(state, memberships=out)


def _is_listed_otherwise(words: pd.DataFrame, leaving: pd.Series, snapshot: Snapshot) -> pd.Series:
    """Mark those leaving who are another name of a person listed in the same audience."""
    known = _other_names(snapshot)
    known = known[is_in(known["name"], words.loc[leaving, "person"])]
    listed = _members(snapshot).merge(known, on="person")
    pairs = pd.MultiIndex.from_frame(words.loc[leaving, ["person", "audience_key"]])
    found = pairs.isin(pd.MultiIndex.from_frame(listed[["name", "audience_key"]]))
    return pd.Series(found, index=words.index[leaving]).reindex(words.index, fill_value=False)


def _other_names(snapshot: Snapshot) -> pd.DataFrame:
    """Return all names of the people: their ids, and their contacts, which name who has no id."""
    contacts = [
        pd.DataFrame({"person": given["person"], "name": f"{kind}:" + given[kind]})
        for kind in CLEAN
        if len(given := snapshot.candidates[snapshot.candidates[kind].notna()])
    ]
    names = pd.concat([snapshot.names, *contacts], ignore_index=True)
    return names.assign(
        name=names["name"].where(~names["name"].str.startswith("email:"), names["name"].str.lower())
    )


def _members(snapshot: Snapshot) -> pd.DataFrame:
    rows = snapshot.payloads
    listed = rows["status"].isna() & rows["membership"].fillna(value=False)
    return rows.loc[listed, ["person", "audience_key"]]


def _with_more(rows: pd.DataFrame, more: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return *rows* with *more* behind them; of those with the same key the last stands."""
    again = is_in(rows["person"], more["person"])
    last = pd.concat([rows[again], more[[*rows.columns]].astype(rows.dtypes)]).drop_duplicates(
        key, keep="last"
    )
    return pd.concat([rows[~again], last], ignore_index=True)


# --- subscribers without a person ---------------------------------------------------------------------


def _strangers(
    state: State,
    snapshot: Snapshot,
    options: pd.DataFrame,
    contacts: pd.DataFrame,
    subscribers: pd.DataFrame,
) -> pd.DataFrame:
    """Return the subscribers who hold an audience that no person of it reaches: a row each × audience."""
    out = state.memberships[~state.memberships["member"]]
    matched = match_people(contacts[is_in(contacts["person"], out["person"])], subscribers)
    found = [subscribers.head(0).assign(audience_key=pd.Series(dtype="str"))]
    for key, holds in _holders(subscribers, snapshot.audience_keys):
        words = state.memberships[state.memberships["audience_key"] == key]
        spoken_of = matched.loc[is_in(matched["person"], words["person"]), "subscriber_id"]
        # Members are looked at by every contact they have, which covers the one that was chosen.
        listed = options[is_in(options["person"], words.loc[words["member"], "person"])]
        holding = subscribers[holds]
        reached = is_in(holding["subscriber_id"], spoken_of)
        for kind, clean in CLEAN.items():
            reached |= is_in(holding[HELD[kind]], as_held(listed[clean]))
        found.append(holding[~reached].assign(audience_key=key))
    return pd.concat(found, ignore_index=True).assign(
        person=lambda rows: "subscriber " + rows["subscriber_id"],
        phone=lambda rows: "+" + rows["phone_digits"],
        email=lambda rows: rows["email_folded"],
    )


def _holders(subscribers: pd.DataFrame, keys: tuple[str, ...]) -> Iterator[tuple[str, Marks]]:
    """Yield each key with the marks of the subscribers who hold it; a list that is none holds nothing."""
    numbers, texts = pd.factorize(subscribers["audiences"], use_na_sentinel=False)
    lists = [frozenset(json.loads(text)) if isinstance(text, str) else frozenset() for text in texts]
    for key in keys:
        has_key = np.array([key in held for held in lists], np.bool_)
        if has_key.any():
            yield key, has_key[numbers]


def _words_of(strangers: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    words = strangers.reindex(columns=[*MEMBERSHIP_COLUMNS])
    said_at = {"timestamp": snapshot.taken_at, "received_at": snapshot.taken_at - BEFORE_THOSE_IN}
    return words.assign(member=False, **said_at)


def _people_of(strangers: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    people = strangers.drop_duplicates("person").reindex(columns=[*PEOPLE_COLUMNS])
    seen = {f"{kind}_at": snapshot.taken_at for kind in CLEAN}
    return people.assign(**seen)


def _contacts_of(strangers: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the strangers' contacts so that each finds its own subscriber: what others share is left out."""
    contacts = strangers.drop_duplicates("person")[["person", "email", "phone"]].copy()
    rows = strangers.drop_duplicates("person")
    for kind, clean in CLEAN.items():
        held = subscribers[HELD[kind]]
        own = rows[HELD[kind]].notna() & ~is_in(rows[HELD[kind]], held[held.duplicated()])
        # Not judged: what Postscript holds is what it is found by.
        contacts[clean] = rows[kind].where(own)
        contacts[f"{kind}_code"] = np.where(own, OK, "absent")
    return contacts
