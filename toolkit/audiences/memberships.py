"""Fold payloads into the latest state of each membership and trait, and one set of contacts per person.

The last event by ``timestamp``, ``receivedAt`` and ``messageId`` wins (EVENT_ORDER of segment.events).
Contacts are the latest non-empty ones seen for the person, so an event without a contact still counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TypeVar, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.contacts.checks import check_region
from toolkit.contacts.corrections import correct_people
from toolkit.errors import ParameterError
from toolkit.frames import (
    check_columns,
    empty_table,
    encode,
    is_in,
    last_rows,
    numbers,
    sorted_rows,
    to_arrow,
    to_frame,
)
from toolkit.segment.events import EVENT_ORDER, PAYLOAD_COLUMNS
from toolkit.statuses import EventStatus, check_totals, get_reason

TIME = "datetime64[us, UTC]"
_DECIDING = {"timestamp": TIME, "received_at": TIME, "message_id": "str"}
MEMBERSHIP_COLUMNS = {
    **dict.fromkeys(("person", "audience_key", "audience_id"), "str"),
    "member": "bool",
    **_DECIDING,
}
"""One row per person and audience; the times and the message are those of the deciding event."""

TRAIT_COLUMNS = {**dict.fromkeys(("person", "trait_key", "value"), "str"), **_DECIDING}
"""One row per person and computed trait; ``value`` is JSON text, the rest is that of the deciding event."""

PEOPLE_COLUMNS = {"person": "str", "email": "str", "email_at": TIME, "phone": "str", "phone_at": TIME}
"""One row per person: the latest non-empty contacts, as text, and when they were seen."""

_AHEAD = timedelta(days=1)
"""A time further ahead of now is a mistake; a clock may be a little fast."""
_REASONS_NAMED = 2
"""Reasons, the most frequent, that say why an archive has no audience."""
_NAMED = 20
"""Audiences that are listed when a key does not occur."""
_SEEN = ("person", "email", "phone", *EVENT_ORDER)
_FOLDED = [
    name for name in PAYLOAD_COLUMNS if name not in {"file", "line", "mapping", "event_type", "event_name"}
]
_OUTCOMES: dict[str, tuple[str | None, ...]] = {
    "status": (None, "no_membership_value", "superseded", "counted", "counted"),
    "reason_code": (None, None, "NEWER_EVENT", "DECIDED", "DECIDED_AHEAD"),
}
"""What becomes of events: known before, without a value, superseded, deciding, deciding ahead of time."""
_NOT_OURS = {
    EventStatus.MALFORMED,
    EventStatus.DUPLICATE,
    EventStatus.FILTERED_INTEGRATIONS,
    EventStatus.FILTERED_CONSENT,
    EventStatus.NO_MATCHING_MAPPING,
}
"""Events that were not meant for Postscript: neither their values nor their contacts are used."""


def count_statuses(frame: pd.DataFrame) -> dict[str, int]:
    """Return status → number of rows, the most frequent first; rows without a status are not counted."""
    counted = pc.value_counts(pc.drop_null(pa.array(frame["status"].array))).to_pylist()
    counted.sort(key=lambda each: -each["counts"])
    return {str(each["values"]): each["counts"] for each in counted}


def key_list(audience_keys: Collection[str]) -> list[str]:
    """Return the keys of audiences as a list; a bare text is one key."""
    return [audience_keys] if isinstance(audience_keys, str) else [*audience_keys]


def check_occur(audience_keys: Collection[str], known: Collection[str]) -> None:
    """Raise ParameterError for a key that is not among the *known* ones.

    Where none is known there is nothing to choose from, and nothing to get wrong: an archive may be empty.
    """
    absent = [key for key in audience_keys if key not in known]
    if not absent or not known:
        return
    near = dict.fromkeys(close for key in absent for close in get_close_matches(key, known))
    listed = ", ".join(sorted(known)[:_NAMED])
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    raise ParameterError(
        f"No event names the audience {', '.join(absent)}. "
        + (f"Did you mean {' or '.join(near)}? " if near else "")
        + f"There are: {listed}{more}."
    )


@final
@dataclass(frozen=True, kw_only=True)
class State:
    """What is asked for: who is in which audience, has which traits, and how each can be reached."""

    memberships: pd.DataFrame
    """MEMBERSHIP_COLUMNS."""
    people: pd.DataFrame
    """PEOPLE_COLUMNS."""
    traits: pd.DataFrame = field(default_factory=lambda: empty_table(TRAIT_COLUMNS))
    """TRAIT_COLUMNS; empty unless a mapping has the action Sync Traits."""

    @property
    def trait_keys(self) -> tuple[str, ...]:
        """Keys of the traits, sorted: the properties to read of each subscriber."""
        return tuple(sorted(self.traits["trait_key"].unique()))

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing and knows no one."""
        return not (len(self.memberships) or len(self.traits) or len(self.people))

    @classmethod
    def empty(cls) -> State:
        """Return a state that asks for nothing."""
        return cls(memberships=empty_table(MEMBERSHIP_COLUMNS), people=empty_table(PEOPLE_COLUMNS))

    def after(self, before: State) -> State:
        """Return this state, and that of *before* where this one has nothing newer, as fold() does."""
        if before.is_empty:
            return self
        memberships, _ = _latest(to_arrow(self.memberships), before.memberships, "audience_key")
        traits, _ = _latest(to_arrow(self.traits), before.traits, "trait_key")
        people = _latest_contacts(to_arrow(self.people), before.people)
        return State(memberships=memberships, people=people, traits=traits)

    def choose(self, audience_keys: Collection[str] = ()) -> State:
        """Return the part on these audiences (empty: all), with only the people who are in or out of them.

        Traits are left out when audiences are named. ParameterError when one of them does not occur: a
        mistyped key must not pass for an empty audience.
        """
        audience_keys = key_list(audience_keys)
        asked = self.memberships
        check_occur(audience_keys, set(asked["audience_key"]))
        traits = self.traits
        if audience_keys:
            asked, traits = asked[asked["audience_key"].isin(audience_keys)], traits.head(0)
        kept = is_in(self.people["person"], pd.concat([asked["person"], traits["person"]]))
        return State(
            memberships=asked.reset_index(drop=True),
            people=self.people[kept].reset_index(drop=True),
            traits=traits.reset_index(drop=True),
        )


def is_ahead(times: pd.Series, now: datetime) -> pd.Series:
    """Return which times lie more than a day after *now*: until then no newer event supersedes such a one."""
    return times > now + _AHEAD


def ahead_notes(count: int) -> tuple[str, ...]:
    """Return the sentence that warns of *count* memberships and traits that are ahead; none for 0."""
    if not count:
        return ()
    return (
        f"{count:,} memberships or traits are decided by an event dated in the future, which no newer event "
        "supersedes until then. Correct the dates at their source.",
    )


def empty_notes(totals: pd.DataFrame) -> tuple[str, ...]:
    """Return the sentence that says why no event decides anything; none when one does.

    *totals* has the columns ``status``, ``reason_code`` and ``count``.
    """
    if totals["status"].isin([EventStatus.COUNTED, EventStatus.SUPERSEDED]).any():
        return ()
    if not (received := int(totals["count"].sum())):
        return ("0 audiences, because the archive has no events. Check events_path.",)
    largest = totals.sort_values("count", ascending=False, kind="stable").head(_REASONS_NAMED)
    why = [
        f"{row.count:,} ended as {row.status}: {get_reason(row.reason_code).meaning}"
        for row in largest.itertuples()
    ]
    return (f"0 audiences, because none of the {received:,} events counts. {' '.join(why)}",)


@final
@dataclass(frozen=True, kw_only=True)
class Folded:
    """The events of an archive with their final status, and the state they lead to."""

    events: pd.DataFrame
    """PAYLOAD_COLUMNS, every status filled."""
    state: State
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    """The present when it was folded."""
    kind: str = "sync"
    """What a run of it is, one of RUN_KINDS."""

    @property
    def ahead(self) -> int:
        """Memberships and traits decided by an event, of now or earlier, that is dated in the future."""
        times = pd.concat([self.state.memberships["timestamp"], self.state.traits["timestamp"]])
        return int(is_ahead(times, self.now).sum())

    @property
    def notes(self) -> tuple[str, ...]:
        """What to warn of, a sentence each."""
        totals = self.events.groupby(["status", "reason_code"]).size().rename("count").reset_index()
        return (*empty_notes(totals), *ahead_notes(self.ahead))

    @property
    def received(self) -> int:
        """Rows that came in: one an event and mapping."""
        return len(self.events)

    @property
    def statuses(self) -> dict[str, int]:
        """Status → number of rows, the most frequent first."""
        return count_statuses(self.events)


def fold(payloads: pd.DataFrame, *, remembered: State | None = None, now: datetime | None = None) -> Folded:
    """Fold payloads to one final state per membership or trait of a person.

    *payloads* are PAYLOAD_COLUMNS, one row an event and mapping, in any order; returned are they with their
    status, in the same order, and the state. *remembered* is what earlier runs asked for: where it is newer,
    it stands, and its contacts are used where these events bring none. *now* is the present, with a timezone;
    events dated more than a day after it still decide, as ``DECIDED_AHEAD``.

    >>> fold(empty_table(PAYLOAD_COLUMNS)).received
    0
    """
    check_columns(payloads, PAYLOAD_COLUMNS, of="payloads")
    before = remembered or State.empty()
    events = to_arrow(payloads, _FOLDED)
    undecided = numbers(events["status"].is_null())
    in_or_out = undecided & numbers(events["membership"].is_valid())
    valued = undecided & numbers(events["trait_value"].is_valid())
    members = _values(events, in_or_out, MEMBERSHIP_COLUMNS, member="membership")
    memberships, decided = _latest(members, before.memberships, "audience_key")
    values = _values(events, valued, TRAIT_COLUMNS, value="trait_value")
    traits, set_by = _latest(values, before.traits, "trait_key")
    deciding = np.concatenate([np.flatnonzero(in_or_out)[decided], np.flatnonzero(valued)[set_by]])
    outcomes = np.where(undecided, np.where(in_or_out | valued, 2, 1), 0)
    now = now or datetime.now(UTC)
    outcomes[deciding] = np.where(is_ahead(payloads["timestamp"].iloc[deciding], now), 4, 3)
    given = {
        name: pc.coalesce(pa.array(names, events[name].type).take(pa.array(outcomes)), events[name])
        for name, names in _OUTCOMES.items()
    }
    ours = ~numbers(pc.is_in(events["status"], value_set=pa.array([*map(str, _NOT_OURS)])))
    seen = events.select([*_SEEN]).filter(pa.array(ours & numbers(events["person"].is_valid())))
    people = _latest_contacts(seen, before.people)
    state = State(memberships=memberships, people=people, traits=traits)
    # As arrays: two archives laid together repeat their index.
    events = payloads.assign(**{name: column.array for name, column in to_frame(pa.table(given)).items()})
    folded = Folded(events=events, state=state, now=now)
    check_totals(len(payloads), folded.statuses, of="events")
    return folded


Asked = TypeVar("Asked", Folded, State)


def correct(
    asked: Asked, corrections: pd.DataFrame, *, default_region: str = "US"
) -> tuple[Asked, pd.DataFrame]:
    """Put the contacts in place that a person accepted or typed into contacts_to_fix.csv.

    *asked* is what fold() returns, or the state of it; *corrections* are what read_corrections() returns;
    *default_region* is the one that the file was made with, and ParameterError is raised when it is unknown.
    Returned are the same with other contacts of its people, and OUTCOME_COLUMNS, one row an answer, those
    that changed nothing first.
    """
    region = check_region(default_region)
    if isinstance(asked, Folded):
        state, outcomes = correct(asked.state, corrections, default_region=region)
        return replace(asked, state=state), outcomes
    people, outcomes = correct_people(asked.people, corrections, region)
    return replace(asked, people=people), outcomes


def by_time(events: pd.DataFrame) -> np.ndarray:
    """Return the places of the rows by EVENT_ORDER, nulls first; equal rows stay in their order."""
    return sorted_rows(to_arrow(events, EVENT_ORDER), EVENT_ORDER)


def _values(events: pa.Table, rows: np.ndarray, columns: Mapping[str, str], **renamed: str) -> pa.Table:
    """Return these columns in these rows of the events."""
    table = pa.table({name: events[renamed.get(name, name)] for name in columns})
    return table if rows.all() else table.filter(pa.array(rows))


def _latest(stated: pa.Table, before: pd.DataFrame, key: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the latest row of each person and *key*, and which rows of *stated* they are."""
    if not len(stated):
        return before, np.empty(0, np.int64)
    columns = MEMBERSHIP_COLUMNS if key == "audience_key" else TRAIT_COLUMNS
    everything = pa.concat_tables([to_arrow(before, columns).cast(stated.schema), stated])
    # Equal on all three: the same message read again. The one just read comes last.
    last = last_rows(everything, ["person", key], EVENT_ORDER)
    return to_frame(everything.take(last), columns), np.asarray(last[last >= len(before)] - len(before))


def _latest_contacts(seen: pa.Table, before: pd.DataFrame) -> pd.DataFrame:
    """Return the people after *seen*, events or people, each contact the latest that was not empty."""
    if not len(seen):
        return before
    known = to_arrow(before)
    codes, persons = encode(pa.concat_tables([known.select(["person"]), seen.select(["person"])])["person"])
    by_name = np.asarray(pc.sort_indices(persons))
    columns = {"person": persons.take(by_name)}
    for contact in ("email", "phone"):
        at = f"{contact}_at"
        # Those before have only a time: of two with the same one, the one in *seen* comes last and wins.
        order = [at, *(name for name in EVENT_ORDER[1:] if name in seen.column_names)]
        new = seen.rename_columns([at if name == "timestamp" else name for name in seen.column_names])
        both = [known.select([contact, at]), new.select([contact, *order])]
        contacts = pa.concat_tables(both, promote_options="permissive")
        rows = np.flatnonzero(contacts[contact].is_valid())
        rows = rows[sorted_rows(contacts.take(rows), order)]
        last = np.full(len(persons), -1)
        last[codes[rows]] = rows  # of several the last one stays
        chosen = last[by_name]
        latest = contacts.take(pa.array(chosen, mask=chosen < 0))
        columns |= {name: latest[name] for name in (contact, at)}
    return to_frame(pa.table(columns), PEOPLE_COLUMNS)
