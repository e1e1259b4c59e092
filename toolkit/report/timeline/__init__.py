"""One person from event to answer: what Segment said, what runs made of it, what was sent, what came back.

Everything is shown with contacts hidden::

    finding      who is meant, and which events are theirs
    steps        events, outcomes and calls as steps, in words
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from toolkit.audiences.preview import Payloads
from toolkit.contacts import mask_table, mask_text
from toolkit.segment.destination import Destination
from toolkit.sync.forecast import Outlook

from .finding import MOST, events_of, find_known, read_who, say_who
from .steps import STANDING_COLUMNS, STEP_COLUMNS, call_steps, event_steps, outcome_steps, standing_table

__all__ = ["STANDING_COLUMNS", "STEP_COLUMNS", "Timeline", "explain_person"]


class Traces(Protocol):
    """The part of the ledger that a timeline reads."""

    def load_outcomes_of(
        self, shop_id: str, persons: Collection[str], subscriber_ids: Collection[str]
    ) -> pd.DataFrame:
        """Return how the runs of a shop ended for these people."""

    def load_calls_of(self, shop_id: str, subscriber_ids: Collection[str]) -> pd.DataFrame:
        """Return what was sent about these subscribers."""


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
    outlook: Outlook,
    *,
    destination: Destination | None = None,
    ledger: Traces | None = None,
    default_region: str = "US",
) -> Timeline:
    """Follow one person from the events to Postscript's answers. Nothing is sent.

    Parameters
    ----------
    who
        A phone, email, user id, anonymous id or subscriber id; empty takes the first person there is.
    archive
        What read_events() returns.
    outlook
        What the next sync would come to, which knows who is which subscriber.
    destination
        Whose mappings decide; the default destination when left out.
    ledger
        What earlier runs left; None when there was none.
    default_region
        Country in which phones without a country code are read.

    Returns
    -------
    Timeline
        Of everybody who has or had this contact or id, and of who leads to the same subscriber, a hundred
        people at most. Nobody found gives tables without rows, and a sentence.

    Examples
    --------
    >>> from toolkit import outlook, preview, read_events
    >>> archive = read_events("sample")
    >>> explain_person("nobody", archive, outlook(preview(archive, keep_state=True).state)).sentence
    'Nobody with this phone, email or id was found: "nobody".'
    """
    meant = read_who(who, outlook, default_region)
    found = find_known(meant, outlook)
    while True:
        events = events_of(meant, found, archive, destination, default_region)
        steps, more = [event_steps(events)], found.add(events).widen(outlook)
        if ledger is not None and outlook.shop_id:
            asked = (more.persons | meant.names, more.subscriber_ids | {meant.text})
            outcomes = ledger.load_outcomes_of(outlook.shop_id, *asked)
            more = more.add(outcomes).widen(outlook)
            calls = ledger.load_calls_of(outlook.shop_id, more.subscriber_ids)
            steps += [outcome_steps(outcomes), call_steps(calls)]
        read = found.persons | meant.names | {*events["person"]}
        if more.persons <= read or len(more.persons) == MOST:
            break
        found = more  # somebody else leads to the same subscriber: their events are lacking
    laid = pd.concat(steps, ignore_index=True).astype(STEP_COLUMNS)
    return Timeline(
        sentence=mask_text(say_who(meant, more, outlook)),
        steps=mask_table(laid.sort_values("at", kind="stable", na_position="first", ignore_index=True)),
        standing=mask_table(standing_table(outlook.changes[outlook.changes["person"].isin(more.persons)])),
    )
