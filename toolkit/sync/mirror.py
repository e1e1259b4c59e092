"""Make the lists of a member list come true: who is listed is in, everybody else known or found is out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, Folded, State, fold
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import OK
from toolkit.errors import ParameterError
from toolkit.frames import TEXT, check_columns, is_in
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.segment.member_lists import BEFORE_THOSE_IN, MemberList

from .plan import match_people


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

    Parameters
    ----------
    listed
        From read_member_list().
    subscribers
        Every subscriber of the shop: SUBSCRIBER_COLUMNS.
    remembered
        What earlier runs asked for.
    default_region
        Country in which numbers without a country code are read, two letters.
    accept_incomplete
        True removes people even if rows of the list were unreadable, or it has no members.

    Returns
    -------
    tuple
        The events with the state they lead to, and the frame of check_contacts() for everybody with a word
        on the list's audiences: what plan() needs, besides ``audience_keys=listed.audience_keys``.

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
    spoken_of = state.memberships["audience_key"].isin(listed.audience_keys)
    people = state.people[is_in(state.people["person"], state.memberships.loc[spoken_of, "person"])]
    options = judge_options(people, listed, default_region)
    contacts = choose_contacts(people, options, subscribers)
    state = replace(state, people=with_chosen(state.people, contacts, listed))
    strangers = _strangers(state, listed, options, contacts, subscribers)
    state = State(
        memberships=_with_more(state.memberships, _words_of(strangers, listed), ["person", "audience_key"]),
        people=_with_more(state.people, _people_of(strangers, listed), ["person"]),
        traits=state.traits,
    )
    contacts = _with_more(contacts, _contacts_of(strangers, subscribers), ["person"])
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
    words = state.memberships
    older = words["timestamp"].isna() | (words["timestamp"] < listed.taken_at)
    leaving = words["member"] & older & words["audience_key"].isin(listed.audience_keys)
    if not leaving.any():
        return state
    leaving &= ~_is_listed_otherwise(words, leaving, listed)
    out = words.copy()
    out.loc[leaving, ["member", "message_id"]] = [False, None]
    out.loc[leaving, "timestamp"] = listed.taken_at
    out.loc[leaving, "received_at"] = listed.taken_at - BEFORE_THOSE_IN
    return replace(state, memberships=out)


def _is_listed_otherwise(words: pd.DataFrame, leaving: pd.Series, listed: MemberList) -> pd.Series:
    """Mark those leaving who are another name of a person listed in the same audience."""
    known = _other_names(listed)
    known = known[is_in(known["name"], words.loc[leaving, "person"])]
    rows = _members(listed).merge(known, on="person")
    pairs = pd.MultiIndex.from_frame(words.loc[leaving, ["person", "audience_key"]])
    found = pairs.isin(pd.MultiIndex.from_frame(rows[["name", "audience_key"]]))
    return pd.Series(found, index=words.index[leaving]).reindex(words.index, fill_value=False)


def _other_names(listed: MemberList) -> pd.DataFrame:
    """Return all names of the people: their ids, and their contacts, which name who has no id."""
    contacts = [
        pd.DataFrame({"person": given["person"], "name": f"{kind}:" + given[kind]})
        for kind in CLEAN
        if len(given := listed.candidates[listed.candidates[kind].notna()])
    ]
    names = pd.concat([listed.names, *contacts], ignore_index=True)
    return names.assign(
        name=names["name"].where(~names["name"].str.startswith("email:"), names["name"].str.lower())
    )


def _members(listed: MemberList) -> pd.DataFrame:
    rows = listed.payloads
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
    listed: MemberList,
    options: pd.DataFrame,
    contacts: pd.DataFrame,
    subscribers: pd.DataFrame,
) -> pd.DataFrame:
    """Return the subscribers who hold an audience that no person of it reaches: a row each × audience."""
    out = state.memberships[~state.memberships["member"]]
    matched = match_people(contacts[is_in(contacts["person"], out["person"])], subscribers)
    found = [subscribers.head(0).assign(audience_key=pd.Series(dtype="str"))]
    for key, holds in _holders(subscribers, listed.audience_keys):
        words = state.memberships[state.memberships["audience_key"] == key]
        spoken_of = matched.loc[is_in(matched["person"], words["person"]), "subscriber_id"]
        # Members are looked at by every contact they have, which covers the one that was chosen.
        of_members = options[is_in(options["person"], words.loc[words["member"], "person"])]
        holding = subscribers[holds]
        reached = is_in(holding["subscriber_id"], spoken_of)
        for kind, clean in CLEAN.items():
            reached |= is_in(holding[HELD[kind]], as_held(of_members[clean]))
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


def _words_of(strangers: pd.DataFrame, listed: MemberList) -> pd.DataFrame:
    words = strangers.reindex(columns=[*MEMBERSHIP_COLUMNS])
    said_at = {"timestamp": listed.taken_at, "received_at": listed.taken_at - BEFORE_THOSE_IN}
    return words.assign(member=False, **said_at)


def _people_of(strangers: pd.DataFrame, listed: MemberList) -> pd.DataFrame:
    people = strangers.drop_duplicates("person").reindex(columns=[*PEOPLE_COLUMNS])
    seen = {f"{kind}_at": listed.taken_at for kind in CLEAN}
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


Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Places: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

CLEAN = {"phone": "phone_e164", "email": "email_clean"}
"""Contact → its column of standard forms in the frame of check_contacts()."""
HELD = {"phone": "phone_digits", "email": "email_folded"}
"""Contact → its column in a frame of subscribers."""

_LAST = 1 << 40
"""After every candidate of a member list."""


def judge_options(people: pd.DataFrame, listed: MemberList, default_region: str) -> pd.DataFrame:
    """Judge every contact of the people: the list's, and the one remembered where it is another."""
    given = listed.candidates[is_in(listed.candidates["person"], people["person"])]
    mine = people.assign(
        phone_first=people["phone_at"] > listed.taken_at,
        email_first=people["email_at"] > listed.taken_at,
    )
    other = mine[~_is_first_candidate(mine, given)]
    both = pd.concat([given.assign(own=False), other.assign(own=True)], ignore_index=True)
    judged = check_contacts(both, default_region=default_region)
    place = np.arange(len(both))
    for kind in CLEAN:
        first = both[f"{kind}_first"].eq(True).to_numpy(np.bool_)
        judged[f"{kind}_rank"] = np.where(first, -1, np.where(both["own"], _LAST, place))
    return judged


def _is_first_candidate(people: pd.DataFrame, candidates: pd.DataFrame) -> Marks:
    """Mark the people whose contacts are those of their first candidate: nearly all, and judged once."""
    place = pc.index_in(pa.array(people["person"]), value_set=pa.array(candidates["person"]))
    same = np.asarray(place.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    for kind in CLEAN:
        first, held = pa.array(candidates[kind]).take(place), pa.array(people[kind])
        equal = pc.if_else(first.is_valid(), pc.equal(first, held), held.is_null())
        same &= pc.fill_null(equal, fill_value=False).to_numpy(zero_copy_only=False)
    return same


def choose_contacts(people: pd.DataFrame, options: pd.DataFrame, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of check_contacts() with the best phone and the best email of each person."""
    persons = pa.array(people["person"])
    who = pc.index_in(pa.array(options["person"]), value_set=persons).to_numpy()
    chosen = {"person": people["person"].reset_index(drop=True)}
    for kind, clean in CLEAN.items():
        places = _best(who, options, kind, subscribers)
        best = options[[kind, f"{kind}_code", clean]].take(places).set_axis(who[places])
        chosen |= dict(best.reindex(range(len(people))).items())
    columns = ["person", "email", "phone", "email_code", "phone_code", "email_clean", "phone_e164"]
    return pd.DataFrame(chosen)[columns].fillna({"email_code": "absent", "phone_code": "absent"})


def _best(who: Places, options: pd.DataFrame, kind: str, subscribers: pd.DataFrame) -> Places:
    """Return the row of each person's best phone or email: one that finds a subscriber, else a usable one."""
    clean, held = as_held(options[CLEAN[kind]]), subscribers[HELD[kind]]
    shared = held[held.duplicated()]
    finds, usable = is_in(clean, held), clean.notna()
    score = np.select([finds & ~is_in(clean, shared), finds, usable], [0, 1, 2], default=3)
    given = np.flatnonzero(options[kind].notna())
    rank = options[f"{kind}_rank"].to_numpy()
    order = given[np.lexsort((rank[given], score[given], who[given]))]
    best: Places = order[np.diff(who[order], prepend=-1) != 0]
    return best


def as_held(contacts: pd.Series) -> pd.Series:
    """Return clean contacts as subscriber frames have them: phones without their plus."""
    return pd.Series(pc.utf8_ltrim(pa.array(contacts, TEXT), characters="+"), contacts.index, "str")


def with_chosen(people: pd.DataFrame, contacts: pd.DataFrame, listed: MemberList) -> pd.DataFrame:
    """Return the people with the contacts that were chosen, where the list brought theirs."""
    best = contacts.set_index("person").reindex(people["person"])
    changed = people.copy()
    for kind in CLEAN:
        from_snapshot = (people[f"{kind}_at"] == listed.taken_at) & best[kind].notna().to_numpy()
        changed[kind] = people[kind].where(~from_snapshot, best[kind].set_axis(people.index))
    return changed
