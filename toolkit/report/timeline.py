"""One person from event to answer: Segment's events, the outcomes of runs, what was sent, what was answered.

Everything is shown with contacts hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from toolkit.audiences.memberships import fold
from toolkit.audiences.preview import Payloads
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import check_phone, fold_email
from toolkit.contacts.masks import mask_table, mask_text
from toolkit.frames import empty_table
from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EVENT_ROUTE, EXITED
from toolkit.segment.destination import Destination
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import get_meaning, in_words
from toolkit.sync.forecast import Forecast
from toolkit.sync.runs import LedgerStore

from .display import show_person, show_text, show_value, whole_text

TIMELINE_COLUMNS = {
    "at": "datetime64[us, UTC]",
    "source": "str",
    "person": "str",
    "what": "str",
    "status": "str",
    "meaning": "str",
}
"""One row a step. ``source`` is Segment, a run, or Postscript; ``person`` is a subscriber there."""

STANDING_COLUMNS = ("person", "audience", "segment_says", "subscriber", "status", "meaning")
"""One row an audience or trait: what the next sync would make of it."""

_MOST = 100
"""People and subscribers that are followed, at most."""
_NAMED = 5
"""Of them named in a sentence, at most."""
_LONG = 400
"""Characters shown of what was written."""
_Step = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Everything that is known of one person, contacts hidden."""

    sentence: str
    """Who was found, for people."""
    steps: pd.DataFrame
    """TIMELINE_COLUMNS, in the order of time."""
    standing: pd.DataFrame
    """STANDING_COLUMNS."""

    def table(self, *, most: int = 200) -> pd.DataFrame:
        """Return the steps for people: TIMELINE_COLUMNS, times as texts (UTC).

        Of more than *most* the first and the last are shown.
        """
        shown = self.steps.assign(at=self.steps["at"].dt.strftime("%Y-%m-%d %H:%M:%S UTC").fillna("no time"))
        if (left_out := len(shown) - most) <= 0:
            return shown
        gap = {**dict.fromkeys(TIMELINE_COLUMNS, ""), "what": f"… {left_out:,} more steps …"}
        between = pd.DataFrame([gap])
        return pd.concat([shown.head(most // 2), between, shown.tail(most - most // 2)], ignore_index=True)


def explain_person(
    who: str,
    archive: Payloads,
    forecast: Forecast,
    *,
    destination: Destination | None = None,
    ledger: LedgerStore | None = None,
    default_region: str = "US",
) -> Timeline:
    """Follow one person from the events of *archive* over the runs of *ledger* to Postscript's answers.

    Shown is every person who has or had this contact or id, and those with the same subscriber: a hundred at
    most. When none is found, the tables have no rows and the sentence states it. Nothing is sent.

    Parameters
    ----------
    who
        A phone, email, user id, anonymous id or subscriber id; empty takes the first person there is.
    forecast
        What the next sync would do, which knows who is which subscriber.
    destination
        Whose mappings decide; the default destination when left out.
    default_region
        Country in which phones without a country code are read.

    Examples
    --------
    >>> from toolkit import forecast, preview, read_events
    >>> archive = read_events("sample")
    >>> explain_person("u_0", archive, forecast(preview(archive, keep_state=True).state)).sentence
    'No person with this phone, email or id was found: "u_0".'
    """
    search = _Search.read(who, forecast, default_region)
    found = search.known(forecast)
    while True:
        events = _events_of(search, found, archive, destination, default_region)
        steps = [_event_step(row) for row in rows_of(events)]
        more = found.join(events, forecast)
        if ledger is not None and forecast.shop_id:
            ids = more.subscriber_ids | {search.text}
            outcomes = ledger.load_outcomes_of(forecast.shop_id, more.persons | search.names, ids)
            more = more.join(outcomes, forecast)
            calls = ledger.load_calls_of(forecast.shop_id, more.subscriber_ids)
            steps += map(outcome_step, rows_of(outcomes))
            steps += map(_call_step, rows_of(calls))
        read = found.persons | search.names | {*events["person"]}
        if more.persons <= read or len(more.persons) == _MOST:
            break
        found = more  # another person leads to the same subscriber: their events are lacking
    laid = pd.DataFrame(steps, columns=[*TIMELINE_COLUMNS])
    laid = laid.assign(at=pd.to_datetime(laid["at"], utc=True)).astype(TIMELINE_COLUMNS)
    changes = forecast.changes[forecast.changes["person"].isin(more.persons)]
    standing = pd.DataFrame(map(_standing, rows_of(changes)), columns=[*STANDING_COLUMNS])
    return Timeline(
        sentence=mask_text(_sentence(search, more, forecast)),
        steps=mask_table(laid.sort_values("at", kind="stable", na_position="first", ignore_index=True)),
        standing=mask_table(standing),
    )


# --- which people, and which events are theirs


class _People(NamedTuple):
    """Who was found."""

    persons: frozenset[str]
    subscriber_ids: frozenset[str]

    def join(self, rows: pd.DataFrame, forecast: Forecast) -> _People:
        """Return these and those of *rows*, the subscribers they are, and who else leads to the same ones."""
        changes = forecast.changes
        persons = _first(self.persons.union(rows["person"].dropna()))
        ids = self.subscriber_ids.union(rows["subscriber_id"].dropna() if "subscriber_id" in rows else ())
        mine = changes.loc[changes["person"].isin(persons), "subscriber_id"]
        ids = _first(ids.union(mine.dropna()))
        others = changes.loc[changes["subscriber_id"].isin(ids), "person"]
        return _People(_first(persons.union(others.dropna())), ids)


def _first(names: frozenset[str]) -> frozenset[str]:
    """Return the first of them: a contact that is none may belong to thousands."""
    return frozenset(sorted(names)[:_MOST])


@dataclass(frozen=True, kw_only=True)
class _Search:
    """What a text may mean."""

    text: str
    names: frozenset[str]
    """Persons of that name, whatever it is."""
    email: str | None
    phone: str | None
    """E.164."""

    @classmethod
    def read(cls, text: str, forecast: Forecast, region: str) -> _Search:
        """Return what *text* may mean; a blank one, the first person whose subscriber is known."""
        reached = forecast.changes.loc[forecast.changes["subscriber_id"].notna(), "person"]
        first = next(iter([*reached.head(1), *forecast.changes["person"].head(1)]), "")
        text = whole_text(text.strip()) or first
        kinds = ("user", "anonymous", "email", "phone")
        return cls(
            text=text,
            names=frozenset({text, *(f"{kind}:{text}" for kind in kinds)}),
            email=fold_email(text) if "@" in text else None,
            phone=check_phone(text, region).value,
        )

    def matches(self, contacts: pd.DataFrame) -> pd.Series:
        """Return which rows of check_contacts() have the contact."""
        return (contacts["email_clean"] == self.email) | (contacts["phone_e164"] == self.phone)

    def known(self, forecast: Forecast) -> _People:
        """Return the people that the forecast has by that name, contact or subscriber id."""
        held, contacts = forecast.cache.subscribers, forecast.contacts
        digits = None if self.phone is None else self.phone.removeprefix("+")
        theirs = (held["phone_digits"] == digits) | (held["email_folded"] == self.email)
        ids = held.loc[theirs | (held["subscriber_id"] == self.text), "subscriber_id"]
        named = contacts[contacts["person"].isin(self.names) | self.matches(contacts)]
        return _People(frozenset(), _first(frozenset(ids))).join(named[["person"]], forecast)


def _events_of(
    search: _Search, found: _People, archive: Payloads, destination: Destination | None, region: str
) -> pd.DataFrame:
    """Return the events of the people found, and of those who once had the contact, with their statuses."""
    names = found.persons | search.names
    parts = [empty_table(PAYLOAD_COLUMNS)]
    for part in archive.payloads_by_person(destination):
        theirs = part["person"].isin(names)
        if len(found.persons) < _MOST and (search.email or search.phone):
            given = part.loc[part["email"].notna() | part["phone"].notna(), ["person", "email", "phone"]]
            contacts = check_contacts(given.drop_duplicates(), default_region=region)
            once = frozenset(contacts.loc[search.matches(contacts), "person"].dropna())
            theirs |= part["person"].isin(_first(once))
        parts.append(part[theirs])
    return fold(pd.concat(parts, ignore_index=True).astype(PAYLOAD_COLUMNS)).events


def _sentence(search: _Search, found: _People, forecast: Forecast) -> str:
    """Return who was found, and what the subscribers hold."""
    if not found.persons and not found.subscriber_ids:
        if not search.text:
            return "There is no person to explain: no event names a member of an audience."
        return f"No person with this phone, email or id was found: {show_value(search.text)}."
    names = [show_person(name) for name in sorted(found.persons)]
    people = f"The first {_MOST} of the people" if len(names) == _MOST else f"{len(names)} people"
    people += f" ({', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''})"
    if len(names) == 1:
        people = f"Person {names[0]}"
    if not found.subscriber_ids:
        return f"{people}; no subscriber is known."
    held = forecast.cache.subscribers.set_index("subscriber_id")
    return f"{people}; {'; '.join(_subscriber(held, name) for name in sorted(found.subscriber_ids))}."


def _subscriber(held: pd.DataFrame, subscriber_id: str) -> str:
    if subscriber_id not in held.index:
        return f"subscriber {subscriber_id}, who is not known now"
    row = held.loc[subscriber_id]
    texted = {True: "can be texted", False: "has opted out"}.get(row["can_send"], "may or may not be texted")
    keys = json.loads(row["audiences"]) if isinstance(row["audiences"], str) else []
    return f"subscriber {subscriber_id}, who {texted} and holds {show_text(', '.join(keys)) or 'no audience'}"


# --- events, outcomes and calls as steps, in words


def rows_of(table: pd.DataFrame) -> Iterator[Any]:
    """Return the rows of a table; a missing value is None."""
    return iter(table.astype("object").where(table.notna(), None).itertuples())


def _event_step(row: Any) -> _Step:
    """Return one of Segment's events, as folded."""
    meaning = _meaning(row.reason_code)
    return row.timestamp, "Segment", show_person(row.person), _event(row), row.status, meaning


def _event(row: Any) -> str:
    event = show_text(" ".join(text for text in (row.event_type, row.event_name) if text is not None))
    if row.audience_key is not None:
        state = {True: "in", False: "out of"}.get(row.membership, "no membership in")
        return f"{event}: {state} {show_text(row.audience_key)}"
    if row.trait_key is not None:
        value = "no value" if row.trait_value is None else row.trait_value
        return f"{event}: {show_text(row.trait_key)} is {show_text(value)}"
    return event


def outcome_step(row: Any) -> _Step:
    """Return how a run ended, from `Ledger.load_outcomes_of`."""
    what = f"{row.operation or 'nothing on'} {show_text(row.audience_key or row.trait_key)}"
    meaning = f"{_meaning(row.reason_code, row.kind)} {show_text(row.status_message or '')}".strip()
    return row.started_at, f"{_run(row)} {row.run_id}", show_person(row.person), what, row.status, meaning


def _run(row: Any) -> str:
    name = in_words(row.kind).capitalize()
    if row.mode == "live":
        return name
    return "Dry run" if row.kind == "sync" else f"{name}, dry run,"


def _call_step(row: Any) -> _Step:
    """Return what was sent and answered, from `Ledger.load_calls_of`."""
    status = "ok" if row.outcome == "ok" else "not answered" if row.outcome is None else "failed"
    return row.started_at, "Postscript", row.subscriber_id, _sent(row), status, _answer(row)


def _sent(row: Any) -> str:
    if row.route == EVENT_ROUTE:
        event_type = "" if row.entered is None else ENTERED if row.entered else EXITED
        return f"{row.route}: {event_type} {show_text(row.audience_key or '')}".rstrip()
    return f"{row.route}: {_properties(row.before)} → {_properties(row.after)}"


def _properties(properties: str | None) -> str:
    shown = []
    for name, value in json.loads(properties or "{}").items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        shown.append(f"[{text}]" if name == AUDIENCES_PROPERTY else f"{name} {text}")
    return show_text(", ".join(shown), limit=_LONG) or "nothing"


def _answer(row: Any) -> str:
    code = "" if row.status_code is None else f"HTTP {row.status_code:.0f}. "
    return code if row.outcome in (None, "ok") else f"{code}{show_text(row.outcome, limit=_LONG)}"


def _meaning(reason_code: str | None, kind: str = "sync") -> str:
    return get_meaning(reason_code, kind) if reason_code else ""


def _standing(row: Any) -> _Step:
    """Return STANDING_COLUMNS of one row of CHANGE_COLUMNS as planned."""
    about = show_text(row.trait_key if row.audience_key is None else row.audience_key)
    state = {True: "in", False: "out"}.get(row.member, "a value")
    return (
        show_person(row.person),
        about,
        state,
        row.subscriber_id or "",
        row.status,
        _meaning(row.reason_code),
    )
