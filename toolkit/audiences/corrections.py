"""Put the contacts in place that a person accepted or typed into contacts_to_fix.csv."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

import pandas as pd

from toolkit.audiences.memberships import Folded, State
from toolkit.contacts import check_region
from toolkit.contacts.corrections import correct_people


@overload
def correct(
    asked: Folded, corrections: pd.DataFrame, *, default_region: str = ...
) -> tuple[Folded, pd.DataFrame]: ...


@overload
def correct(
    asked: State, corrections: pd.DataFrame, *, default_region: str = ...
) -> tuple[State, pd.DataFrame]: ...


def correct(
    asked: Folded | State, corrections: pd.DataFrame, *, default_region: str = "US"
) -> tuple[Folded | State, pd.DataFrame]:
    """Put the contacts in place that a person accepted or typed.

    Parameters
    ----------
    asked
        What fold() returns, or the state of it.
    corrections
        What read_corrections() returns.
    default_region
        Country in which phones without a country code are read: the one contacts_to_fix.csv was made with.

    Returns
    -------
    asked, outcomes
        The same with other contacts of its people, and OUTCOME_COLUMNS, one row an answer, those that
        changed nothing first.

    Raises
    ------
    ParameterError
        The region is unknown.
    """
    region = check_region(default_region)
    state = asked.state if isinstance(asked, Folded) else asked
    people, outcomes = correct_people(state.people, corrections, region)
    corrected = replace(state, people=people)
    return replace(asked, state=corrected) if isinstance(asked, Folded) else corrected, outcomes
