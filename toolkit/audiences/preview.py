"""Preview an archive of any size: who is in each audience, and what became of every event.

Nothing is held but one part of the people at a time, so that ten million events fit into a laptop; unless
what they ask for is to be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from toolkit.contacts import check_contacts
from toolkit.segment.destination import Destination
from toolkit.statuses import check_totals

from .history import (
    OVERLAPPING,
    count_flapping,
    count_movements,
    count_overlap,
    find_moves,
    sum_movements,
    sum_overlaps,
)
from .memberships import Folded, State, ahead_notes, check_occur, fold, key_list

AUDIENCE_COUNTS = ("stated", "members", "with_phone", "with_email", "with_both", "without_contact")
"""What is counted of each audience: people with a word on it, those in it, and how those can be reached."""

SAMPLE_COLUMNS = {
    "audience_key": "str",
    "person": "str",
    "since": "datetime64[us, UTC]",
    "phone": "str",
    "email": "str",
}
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
    """Columns: ``status``, ``reason_code``, ``count``; the counts are of events × mappings."""
    traits: pd.DataFrame
    """Columns: ``trait_key``, ``people``; empty unless a mapping syncs traits."""
    people: int
    """People with a word on one of the audiences or traits."""
    state: State | None = None
    """What the archive asks for, all audiences, and everybody's contacts; None unless it was to be kept."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to warn of, a sentence each."""
        ahead = self.totals["reason_code"] == "DECIDED_AHEAD"
        notes = ahead_notes(int(self.totals.loc[ahead, "count"].sum()))
        if len(self.audiences) > OVERLAPPING:
            notes += (f"Overlaps are those of the {OVERLAPPING} largest audiences.",)
        return notes

    @property
    def received(self) -> int:
        """Rows that came in: events × mappings."""
        return int(self.totals["count"].sum())

    @property
    def statuses(self) -> dict[str, int]:
        """Status → number of events × mappings, the most frequent first."""
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
    """Count what an archive says; nothing is sent.

    Parameters
    ----------
    archive
        What read_events() returns.
    destination
        Whose mappings decide; the default destination when left out.
    audience_keys
        Only these audiences, or this one; empty takes all.
    default_region
        Country in which phones without a country code are read.
    keep_state
        Keep what the archive asks for, from which outlook() starts: about a gigabyte for a million people.
        Whether *audience_keys* occur is then told by outlook(), which also knows what is remembered.

    Returns
    -------
    Preview
        The counts that fold(), check_contacts() and audience_table() come to for the whole archive.

    Raises
    ------
    FileFormatError
        The archive is none.
    ParameterError
        One of *audience_keys* does not occur, and the state is not kept.

    Examples
    --------
    >>> from toolkit import read_events
    >>> preview(read_events("sample")).received > 0
    True
    """
    audience_keys = key_list(audience_keys)
    seen = _Seen(keep_state=keep_state)
    for payloads in archive.payloads_by_person(destination):
        folded = fold(payloads)
        state = seen.choose(folded.state, audience_keys)
        contacts = check_contacts(state.people, default_region=default_region)
        seen.add(folded, state, contacts)
    if not keep_state:
        check_occur(audience_keys, seen.keys)
    found = seen.preview()
    check_totals(seen.received, found.statuses, of="events")
    return found


def count_audiences(state: State, contacts: pd.DataFrame) -> pd.DataFrame:
    """Return the audiences of *state* with AUDIENCE_COUNTS; *contacts* are its people's, as checked."""
    usable = contacts.set_index("person")[["phone_e164", "email_clean"]].notna()
    rows = state.memberships.join(usable, on="person").fillna({"phone_e164": False, "email_clean": False})
    member, phone, email = (rows[n].astype("bool") for n in ("member", "phone_e164", "email_clean"))
    counted = rows[["audience_key", "audience_id"]].assign(
        stated=1,
        members=member,
        with_phone=member & phone,
        with_email=member & email,
        with_both=member & phone & email,
        without_contact=member & ~phone & ~email,
    )
    counted = counted.astype(dict.fromkeys(AUDIENCE_COUNTS, "int64"))
    return _summed_audiences(counted)


def _summed_audiences(counted: pd.DataFrame) -> pd.DataFrame:
    sums = dict.fromkeys(AUDIENCE_COUNTS, "sum")
    return counted.groupby("audience_key", as_index=False).agg({"audience_id": "max", **sums})


def _some_members(state: State) -> pd.DataFrame:
    """Return the first members of each audience, SAMPLE_COLUMNS."""
    members = state.memberships[state.memberships["member"]]
    some = members.groupby("audience_key").head(SAMPLE_SIZE).merge(state.people, on="person", how="left")
    return some.rename(columns={"timestamp": "since"})[[*SAMPLE_COLUMNS]].astype(SAMPLE_COLUMNS)


def _joined(states: Sequence[State]) -> State:
    """Return the state of all people from those of some."""
    frames = {
        name: pd.concat([getattr(state, name) for state in states], ignore_index=True)
        for name in ("memberships", "people", "traits")
    }
    return State(**frames)


class _Seen:
    """What the parts looked at so far come to."""

    def __init__(self, *, keep_state: bool) -> None:
        self._audiences: list[pd.DataFrame] = []
        self._totals: list[pd.DataFrame] = []
        self._traits: list[pd.DataFrame] = []
        self._movements: list[pd.DataFrame] = []
        self._flapping: list[pd.Series] = []
        self._overlaps: list[pd.DataFrame] = []
        self._samples: list[pd.DataFrame] = []
        self._people = 0
        self._states: list[State] | None = [] if keep_state else None
        self.keys: set[str] = set()
        """The audiences that occur."""
        self.received = 0

    def choose(self, state: State, audience_keys: Collection[str]) -> State:
        """Return the part of *state* on these audiences (empty: all); not each has to occur in it."""
        known = set(state.memberships["audience_key"])
        self.keys |= known
        if not audience_keys:
            return state.choose()
        here = [key for key in audience_keys if key in known]
        return state.choose(here) if here else State.empty()

    def add(self, folded: Folded, state: State, contacts: pd.DataFrame) -> None:
        """Count one part."""
        self.received += folded.received
        self._people += len(state.people)
        if self._states is not None:
            # Whole: also who has no word on a chosen audience may have a contact that counts.
            self._states.append(folded.state)
        self._totals.append(folded.events.value_counts(["status", "reason_code"], dropna=False).reset_index())
        self._audiences.append(count_audiences(state, contacts))
        words = folded.events[folded.events["audience_key"].isin(state.memberships["audience_key"].unique())]
        moves = find_moves(words)
        self._movements.append(count_movements(moves))
        self._flapping.append(count_flapping(moves))
        known = [*self._overlaps[-1].index] if self._overlaps else []
        self._overlaps.append(count_overlap(state.memberships, known))
        self._samples.append(_some_members(state))
        self._traits.append(state.traits.groupby("trait_key").size().rename("people").reset_index())

    def preview(self) -> Preview:
        """Return the sums."""
        totals = pd.concat(self._totals).fillna({"reason_code": ""})
        traits = pd.concat(self._traits)
        audiences = _summed_audiences(pd.concat(self._audiences))
        flapping = pd.concat(self._flapping).groupby(level=0).sum()
        samples = pd.concat(self._samples).groupby("audience_key").head(SAMPLE_SIZE)
        return Preview(
            audiences=audiences.assign(
                flapping=audiences["audience_key"].map(flapping).fillna(0).astype("int64")
            ),
            movements=sum_movements(self._movements),
            overlap=sum_overlaps(self._overlaps),
            sample=samples.sort_values("audience_key", kind="stable", ignore_index=True),
            totals=totals.groupby(["status", "reason_code"], as_index=False)["count"].sum(),
            traits=traits.groupby("trait_key", as_index=False)["people"].sum(),
            people=self._people,
            state=None if self._states is None else _joined(self._states),
        )
