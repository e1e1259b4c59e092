"""Preview an archive of any size: who is in each audience, and what became of every event.

Only one part of the people is held at a time, so that ten million events fit into a laptop; unless the state
they lead to is to be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from toolkit.contacts.bulk import check_contacts
from toolkit.frames import is_in, typed
from toolkit.segment.destination import Destination
from toolkit.statuses import check_totals, count_of

from .memberships import TIME, Folded, State, ahead_notes, by_time, check_occur, empty_notes, fold, key_list

MOVEMENT_COLUMNS = {"audience_key": "str", "day": TIME, "entered": "int64", "left": "int64"}
"""One row per audience and day with an entry or an exit; ``day`` is its midnight in UTC, or null."""

FLAPPING = 3
"""A person who entered and left an audience so many times, all together, flaps."""
OVERLAPPING = 100
"""Number of audiences, the largest, that are compared with each other: the work grows with its square."""
_PEOPLE_AT_ONCE = 20_000

AUDIENCE_COUNTS = ("stated", "members", "with_phone", "with_email", "with_both", "without_contact")
"""What is counted of each audience: people in or out of it, those in it, and how those can be reached."""

SAMPLE_COLUMNS = {"audience_key": "str", "person": "str", "since": TIME, "phone": "str", "email": "str"}
SAMPLE_SIZE = 5
"""Members of each audience that a preview names."""


class Payloads(Protocol):
    """An archive, read some of the people at a time."""

    def payloads_by_person(self, destination: Destination | None = None) -> Iterator[pd.DataFrame]:
        """Yield payload frames, each with every row of some of the people."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What an archive says, counted."""

    audiences: pd.DataFrame
    """Columns: ``audience_key``, ``audience_id``, AUDIENCE_COUNTS, ``flapping`` (people who entered and left
    three times or more, all together); one row an audience."""
    movements: pd.DataFrame
    """MOVEMENT_COLUMNS: who entered and left, by audience and day."""
    overlap: pd.DataFrame
    """How many are in both of two audiences: a row and a column an audience; of the OVERLAPPING largest."""
    sample: pd.DataFrame
    """SAMPLE_COLUMNS: some members of each audience, their contacts as they came."""
    totals: pd.DataFrame
    """Columns: ``status``, ``reason_code``, ``count``; one event and mapping counts once."""
    traits: pd.DataFrame
    """Columns: ``trait_key``, ``people``; empty unless a mapping syncs traits."""
    people: int
    """People with a state in one of the audiences, or a trait."""
    state: State | None = None
    """What the archive asks for, all audiences and all contacts; None unless it was to be kept."""

    @property
    def sentence(self) -> str:
        """How many audiences and members there are."""
        members = count_of(int(self.audiences["members"].sum()), "membership")
        people, events = count_of(self.people, "person", "people"), count_of(self.received, "event")
        return f"{count_of(len(self.audiences), 'audience')} with {members}, of {people}, from {events}."

    @property
    def notes(self) -> tuple[str, ...]:
        """What to warn of, a sentence each."""
        ahead = self.totals["reason_code"] == "DECIDED_AHEAD"
        notes = empty_notes(self.totals) + ahead_notes(int(self.totals.loc[ahead, "count"].sum()))
        if len(self.audiences) > OVERLAPPING:
            notes += (f"Overlaps are those of the {OVERLAPPING} largest audiences.",)
        return notes

    @property
    def received(self) -> int:
        """Rows that came in: one an event and mapping."""
        return int(self.totals["count"].sum())

    @property
    def statuses(self) -> dict[str, int]:
        """Status → number of rows, the most frequent first."""
        counts = self.totals.groupby("status")["count"].sum().sort_values(ascending=False, kind="stable")
        return {str(status): int(count) for status, count in counts.items()}


def preview(
    archive: Payloads,
    destination: Destination | None = None,
    *,
    audience_keys: Collection[str] = (),
    default_region: str = "US",
    keep_state: bool = False,
) -> Preview:
    """Count what fold() and check_contacts() make of the whole archive; nothing is sent.

    *archive* is what read_events() returns. The mappings of *destination* decide, or the default one.
    *audience_keys* are the only audiences to count, or the only one; empty takes all. With *keep_state* what
    the archive asks for is kept, from which forecast() starts: about a gigabyte for a million people.
    ParameterError is raised when one of *audience_keys* does not occur; where the state is kept that is left
    to forecast(), which also knows what is remembered.

    >>> from toolkit import read_events
    >>> preview(read_events("sample")).received > 0
    True
    """
    audience_keys = key_list(audience_keys)
    parts: list[dict[str, pd.DataFrame]] = []
    states: list[State] = []
    keys: set[str] = set()
    received = people = 0
    for payloads in archive.payloads_by_person(destination):
        folded = fold(payloads)
        known = set(folded.state.memberships["audience_key"])
        here = [key for key in audience_keys if key in known]  # not each occurs in each part
        state = folded.state.choose(here) if here or not audience_keys else State.empty()
        contacts = check_contacts(state.people, default_region=default_region)
        parts.append(_count(folded, state, contacts, [*parts[-1]["overlap"].index] if parts else []))
        if keep_state:  # whole: also people who are in no chosen audience may have a contact that counts
            states.append(folded.state)
        keys |= known
        received += len(payloads)
        people += len(state.people)
    if not keep_state:
        check_occur(audience_keys, keys)
    every = {name: pd.concat([part[name] for part in parts]) for name in parts[0]}
    sample = every["sample"].groupby("audience_key").head(SAMPLE_SIZE)
    found = Preview(
        audiences=sum_counts(every["audiences"], "audience_key"),
        movements=sum_counts(every["movements"], "audience_key", "day"),
        overlap=sum_overlaps(every["overlap"]),
        sample=sample.sort_values("audience_key", kind="stable", ignore_index=True),
        totals=sum_counts(every["totals"], "status", "reason_code"),
        traits=sum_counts(every["traits"], "trait_key"),
        people=people,
        state=_together(states) if keep_state else None,
    )
    check_totals(received, found.statuses, of="events")
    return found


def _count(
    folded: Folded, state: State, contacts: pd.DataFrame, largest: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return the tables of a preview of some people; *largest* are the audiences compared before."""
    audiences = count_audiences(state, contacts)
    moves = find_moves(folded.events[folded.events["audience_key"].isin(audiences["audience_key"])])
    flapping = audiences["audience_key"].map(count_flapping(moves)).fillna(0).astype("int64")
    totals = folded.events.value_counts(["status", "reason_code"], dropna=False).reset_index()
    members = state.memberships[state.memberships["member"]].rename(columns={"timestamp": "since"})
    sample = members.groupby("audience_key").head(SAMPLE_SIZE).merge(state.people, on="person", how="left")
    return {
        "audiences": audiences.assign(flapping=flapping),
        "movements": count_movements(moves),
        "overlap": count_overlap(state.memberships, largest),
        "sample": typed(sample, SAMPLE_COLUMNS),
        "totals": totals.fillna({"reason_code": ""}),
        "traits": state.traits.groupby("trait_key").size().rename("people").reset_index(),
    }


def _together(parts: Sequence[State]) -> State:
    names = ("memberships", "people", "traits")
    return State(**{n: pd.concat([getattr(p, n) for p in parts], ignore_index=True) for n in names})


def count_audiences(state: State, contacts: pd.DataFrame) -> pd.DataFrame:
    """Return the audiences of *state* with AUDIENCE_COUNTS; *contacts* are its people's, as checked."""
    rows = state.memberships
    member = rows["member"].to_numpy()
    phone, email = (
        member & is_in(rows["person"], contacts.loc[contacts[name].notna(), "person"])
        for name in ("phone_e164", "email_clean")
    )
    counted = rows[["audience_key", "audience_id"]].assign(
        stated=1,
        members=member,
        with_phone=phone,
        with_email=email,
        with_both=phone & email,
        without_contact=member & ~phone & ~email,
    )
    return sum_counts(counted.astype(dict.fromkeys(AUDIENCE_COUNTS, "int64")), "audience_key")


def sum_counts(counted: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Add up the counts of rows that are alike; an audience has the largest of its ids."""
    how = {name: "max" if name == "audience_id" else "sum" for name in counted if name not in by}
    return counted.groupby([*by], as_index=False, dropna=False).agg(how)


# --- history: counted by person, so that the counts of some people and of the others add up


def find_moves(events: pd.DataFrame) -> pd.DataFrame:
    """Return the events that changed a membership, one row each: person, audience_key, member, timestamp.

    *events* are PAYLOAD_COLUMNS as folded. A person whose first event is an exit has not left: no entry is
    known.
    """
    stated = events[events["membership"].notna() & events["status"].isin(["counted", "superseded"])]
    stated = stated.take(by_time(stated))
    member = stated["membership"].astype("bool")
    before = member.groupby([stated["person"], stated["audience_key"]]).shift(fill_value=False)
    moved = stated.assign(member=member)[member != before]
    return moved[["person", "audience_key", "member", "timestamp"]]


def count_movements(moves: pd.DataFrame) -> pd.DataFrame:
    """Return MOVEMENT_COLUMNS, in the order of audience and day, from what find_moves() returns.

    Over all days ``entered`` less ``left`` is the number of members.
    """
    entered = moves["member"].astype("int64")
    counted = moves.assign(day=moves["timestamp"].dt.floor("D"), entered=entered, left=1 - entered)
    return typed(sum_counts(counted[[*MOVEMENT_COLUMNS]], "audience_key", "day"), MOVEMENT_COLUMNS)


def count_flapping(moves: pd.DataFrame) -> pd.Series:
    """Return audience → people who flap, where there are any, from what find_moves() returns."""
    changes = moves.value_counts(["audience_key", "person"])
    return changes[changes >= FLAPPING].groupby("audience_key").size().astype("int64")


def count_overlap(memberships: pd.DataFrame, known: Sequence[str] = ()) -> pd.DataFrame:
    """Return how many are in both of two audiences: a row and a column each, its members where they meet.

    Of more than OVERLAPPING audiences only the *known* ones and the largest are looked at.
    """
    sizes = memberships.groupby("audience_key")["member"].sum().sort_values(ascending=False, kind="stable")
    keys = sorted([*dict.fromkeys([*known, *sizes.index])][:OVERLAPPING])
    members = memberships[memberships["member"] & memberships["audience_key"].isin(keys)]
    columns = pd.Index(keys).get_indexer(members["audience_key"])
    people, names = pd.factorize(members["person"])
    counts = np.zeros((len(keys), len(keys)))
    for first in range(0, len(names), _PEOPLE_AT_ONCE):
        some = (people >= first) & (people < first + _PEOPLE_AT_ONCE)
        # Floats multiply fast, and are exact far beyond the number of people there are.
        held = np.zeros((min(_PEOPLE_AT_ONCE, len(names) - first), len(keys)))
        held[people[some] - first, columns[some]] = 1
        counts += held.T @ held
    index = pd.Index(keys, name="audience_key", dtype="str")
    return pd.DataFrame(counts.astype("int64"), index=index, columns=keys)


def sum_overlaps(parts: pd.DataFrame) -> pd.DataFrame:
    """Return the overlap of all people from those of some, one below the other."""
    whole = parts.groupby(level="audience_key").sum().astype("int64")
    return whole.reindex(columns=[*whole.index])
