"""One person from event to answer: Segment's events, the outcomes of runs, what was sent, what was answered.

Everything is shown with contacts hidden.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from toolkit.audiences.memberships import fold
from toolkit.audiences.preview import Payloads
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import check_phone, fold_email
from toolkit.contacts.masks import mask_table, mask_text
from toolkit.frames import empty_table
from toolkit.postscript.api import AUDIENCES_PROPERTY, ENTERED, EVENT_ROUTE, EXITED
from toolkit.report.explain.display import Display
from toolkit.segment.destination import Destination
from toolkit.segment.payload_rows import PAYLOAD_COLUMNS
from toolkit.statuses import get_meaning
from toolkit.sync.forecast import Forecast
from toolkit.sync.runs import LedgerStore

STEP_COLUMNS = {
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
_SHOW = Display()


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Everything that is known of one person, contacts hidden."""

    sentence: str
    """Who was found, for people."""
    steps: pd.DataFrame
    """STEP_COLUMNS, in the order of time."""
    standing: pd.DataFrame
    """STANDING_COLUMNS."""

    def table(self, *, most: int = 200) -> pd.DataFrame:
        """Return the steps for people: STEP_COLUMNS, times as texts (UTC).

        Of more than *most* the first and the last are shown.
        """
        shown = self.steps.assign(at=self.steps["at"].dt.strftime("%Y-%m-%d %H:%M:%S UTC").fillna("no time"))
        if (left_out := len(shown) - most) <= 0:
            return shown
        between = pd.DataFrame([dict.fromkeys(STEP_COLUMNS, "")]).assign(what=f"… {left_out:,} more steps …")
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
    """Follow one person from the events to Postscript's answers. Nothing is sent.

    Parameters
    ----------
    who
        A phone, email, user id, anonymous id or subscriber id; empty takes the first person there is.
    archive
        What read_events() returns.
    forecast
        What the next sync would do, which knows who is which subscriber.
    destination
        Whose mappings decide; the default destination when left out.
    ledger
        What earlier runs left; None when there was none.
    default_region
        Country in which phones without a country code are read.

    Returns
    -------
    Timeline
        Of every person who has or had this contact or id, and of those with the same subscriber, a hundred
        people at most. When none is found, the tables have no rows and the sentence says so.

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
        steps, more = [_event_steps(events)], found.add(events).widen(forecast)
        if ledger is not None and forecast.shop_id:
            asked = (more.persons | search.names, more.subscriber_ids | {search.text})
            outcomes = ledger.load_outcomes_of(forecast.shop_id, *asked)
            more = more.add(outcomes).widen(forecast)
            calls = ledger.load_calls_of(forecast.shop_id, more.subscriber_ids)
            steps += [outcome_steps(outcomes), _call_steps(calls)]
        read = found.persons | search.names | {*events["person"]}
        if more.persons <= read or len(more.persons) == _MOST:
            break
        found = more  # another person leads to the same subscriber: their events are lacking
    laid = pd.concat(steps, ignore_index=True).astype(STEP_COLUMNS)
    standing = _standing(forecast.changes[forecast.changes["person"].isin(more.persons)])
    return Timeline(
        sentence=mask_text(_sentence(search, more, forecast)),
        steps=mask_table(laid.sort_values("at", kind="stable", na_position="first", ignore_index=True)),
        standing=mask_table(standing),
    )


# --- which people, and which events are theirs


@dataclass(frozen=True, kw_only=True)
class _People:
    """Who was found."""

    persons: frozenset[str] = frozenset()
    subscriber_ids: frozenset[str] = frozenset()

    def add(self, rows: pd.DataFrame) -> _People:
        """Return these and the persons of *rows*, and their subscribers where they are named."""
        ids = frozenset(rows["subscriber_id"].dropna()) if "subscriber_id" in rows else frozenset()
        return _People(
            persons=_first(self.persons | frozenset(rows["person"].dropna())),
            subscriber_ids=_first(self.subscriber_ids | ids),
        )

    def widen(self, forecast: Forecast) -> _People:
        """Return these, the subscribers they are, and who else leads to the same ones."""
        mine = self.add(forecast.changes[forecast.changes["person"].isin(self.persons)])
        return mine.add(forecast.changes[forecast.changes["subscriber_id"].isin(mine.subscriber_ids)])


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
        text = text.strip().encode("utf-8", "replace").decode() or first  # no lone surrogate
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
        return _People(subscriber_ids=_first(frozenset(ids))).add(named[["person"]]).widen(forecast)


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
        return f"No person with this phone, email or id was found: {_SHOW.value(search.text)}."
    names = [_SHOW.person(name) for name in sorted(found.persons)]
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
    return (
        f"subscriber {subscriber_id}, who {texted} and holds {_SHOW.text(', '.join(keys)) or 'no audience'}"
    )


# --- events, outcomes and calls as steps, in words


def _steps(rows: Iterator[tuple[Any, ...]]) -> pd.DataFrame:
    table = pd.DataFrame([*rows], columns=[*STEP_COLUMNS])
    return table.assign(at=pd.to_datetime(table["at"], utc=True)).astype(STEP_COLUMNS)


def _event_steps(events: pd.DataFrame) -> pd.DataFrame:
    """Return Segment's events as folded, in STEP_COLUMNS."""
    return _steps(
        (
            row.timestamp,
            "Segment",
            _SHOW.person(row.person),
            _event(row),
            row.status,
            _meaning(row.reason_code),
        )
        for row in events.itertuples()
    )


def _event(row: Any) -> str:
    event = _SHOW.text(" ".join(text for text in (row.event_type, row.event_name) if isinstance(text, str)))
    if isinstance(row.audience_key, str):
        state = {True: "in", False: "out of"}.get(row.membership, "no membership in")
        return f"{event}: {state} {_SHOW.text(row.audience_key)}"
    if isinstance(row.trait_key, str):
        value = row.trait_value if isinstance(row.trait_value, str) else "no value"
        return f"{event}: {_SHOW.text(row.trait_key)} is {_SHOW.text(value)}"
    return event


def outcome_steps(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return how runs ended, STEP_COLUMNS, from `Ledger.load_outcomes_of`."""
    return _steps(
        (
            row.started_at,
            f"{_run(row)} {row.run_id}",
            _SHOW.person(row.person),
            f"{row.operation or 'nothing on'} {_SHOW.text(row.audience_key or row.trait_key)}",
            row.status,
            f"{_meaning(row.reason_code, row.kind)} {_SHOW.text(row.status_message or '')}".strip(),
        )
        for row in outcomes.itertuples()
    )


def _run(row: Any) -> str:
    name = str(row.kind).replace("_", " ").capitalize()
    if row.mode == "live":
        return name
    return "Dry run" if row.kind == "sync" else f"{name}, dry run,"


def _call_steps(calls: pd.DataFrame) -> pd.DataFrame:
    """Return what was sent and answered, STEP_COLUMNS, from `Ledger.load_calls_of`."""
    return _steps(
        (
            row.started_at,
            "Postscript",
            row.subscriber_id,
            _sent(row),
            "ok" if row.outcome == "ok" else "not answered" if row.outcome is None else "failed",
            _answer(row),
        )
        for row in calls.itertuples()
    )


def _sent(row: Any) -> str:
    if row.route == EVENT_ROUTE:
        event_type = "" if row.entered is None else ENTERED if row.entered else EXITED
        return f"{row.route}: {event_type} {_SHOW.text(row.audience_key or '')}".rstrip()
    return f"{row.route}: {_properties(row.before)} → {_properties(row.after)}"


def _properties(properties: str | None) -> str:
    shown = []
    for name, value in json.loads(properties or "{}").items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        shown.append(f"[{text}]" if name == AUDIENCES_PROPERTY else f"{name} {text}")
    return _SHOW.text(", ".join(shown), limit=_LONG) or "nothing"


def _answer(row: Any) -> str:
    code = "" if row.status_code is None else f"HTTP {row.status_code:.0f}. "
    return code if row.outcome in (None, "ok") else f"{code}{_SHOW.text(row.outcome, limit=_LONG)}"


def _meaning(reason_code: Any, kind: str = "sync") -> str:
    return get_meaning(reason_code, kind) if isinstance(reason_code, str) and reason_code else ""


def _standing(changes: pd.DataFrame) -> pd.DataFrame:
    """Return STANDING_COLUMNS from CHANGE_COLUMNS as planned."""
    rows = [
        (
            _SHOW.person(row.person),
            _SHOW.text(row.audience_key if isinstance(row.audience_key, str) else row.trait_key),
            {True: "in", False: "out"}.get(row.member, "a value"),
            row.subscriber_id if isinstance(row.subscriber_id, str) else "",
            row.status,
            _meaning(row.reason_code),
        )
        for row in changes.itertuples()
    ]
    return pd.DataFrame(rows, columns=[*STANDING_COLUMNS])
