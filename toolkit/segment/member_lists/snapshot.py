"""A snapshot as a value: who is in which audiences at one moment, and how each member can be reached."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

CANDIDATE_COLUMNS = {"person": "str", "email": "str", "phone": "str"}
"""Contacts as text, several rows a person, the preferred first."""

NAME_COLUMNS = {"person": "str", "name": "str"}
"""The other ids of a person, as persons are named: events may speak of them."""

BEFORE_THOSE_IN = pd.Timedelta(microseconds=1)
"""By how much the words "out" of a snapshot are taken as older: of two people who are one subscriber, the one
who is in decides."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """The complete member lists of some audiences at one moment."""

    payloads: pd.DataFrame
    """PAYLOAD_COLUMNS, one row a record × audience; fold() takes them as they are."""
    candidates: pd.DataFrame
    """CANDIDATE_COLUMNS: every contact of every person."""
    names: pd.DataFrame
    """NAME_COLUMNS: the ids that a person has besides the one it is named by."""
    audience_keys: tuple[str, ...]
    """Audiences that are listed completely, sorted."""
    taken_at: pd.Timestamp
    """When the lists were true; in UTC."""
    is_complete: bool
    """False when a row could not be read or a file is cut: who is missing may be a member all the same."""
    notes: tuple[str, ...] = ()
    """What was recognised and what was odd, a sentence each, without contacts."""

    @property
    def members(self) -> int:
        """Rows that say somebody is in an audience."""
        return int((self.payloads["membership"].eq(True) & self.payloads["status"].isna()).sum())
