"""Put the contacts in place that somebody accepted or typed; tell what became of each answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import overload

import pandas as pd

from toolkit.audiences.memberships import Folded, State
from toolkit.contacts import (
    CONTACT_VERDICTS,
    OK,
    Verdict,
    check_email,
    check_phone,
    check_region,
    mask_contact,
    mask_text,
    suggest,
)
from toolkit.contacts.corrections import YES, plain

OUTCOME_COLUMNS = {"row": "int64", "person": "str", "contact": "str", "outcome": "str", "sentence": "str"}
"""One row an answer: ``outcome`` is a key of OUTCOMES, persons and contacts are masked."""

OUTCOMES = {
    "corrected": "Now {}.",
    "in_place": "It is in place already.",
    "unclear": "The answer is neither yes nor no. Write yes into accept, or the contact into correction.",
    "unusable": "The correction cannot be used: {}",
    "no_suggestion": "There is no suggestion to accept. Write the contact into correction.",
    "suggestion_changed": "Another value is suggested by now. Look at a new contacts_to_fix.csv.",
    "not_found": "Nobody has this contact, written so, any more. Look at a new contacts_to_fix.csv.",
    "ambiguous": "Several people look like this. Correct it at its source.",
    "contradicted": "Another row says something else of the same contact.",
}
"""What became of an answer → the sentence for it."""


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
    """Put the contacts in place that somebody accepted or typed.

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
        The same with other contacts of its people, and OUTCOME_COLUMNS, one row an answer, those that came
        to nothing first.

    Raises
    ------
    ParameterError
        The region is unknown.
    """
    region = check_region(default_region)
    if isinstance(asked, Folded):
        state, outcomes = _correct_state(asked.state, corrections, region)
        return replace(asked, state=state), outcomes
    return _correct_state(asked, corrections, region)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """One row of the file."""

    row: int
    person: str
    contact: str
    code: str
    as_written: str
    suggestion: str
    why: str
    accept: str
    correction: str


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What an answer leads to."""

    outcome: str
    detail: str = ""
    """For the sentence; masked."""
    place: int | None = None
    """Of the person among the people; None when it is not one."""
    value: str = ""
    """The contact to put in place."""


def _correct_state(state: State, corrections: pd.DataFrame, region: str) -> tuple[State, pd.DataFrame]:
    answers = [_Answer(**row) for row in corrections.to_dict("records")]
    people = _Crowd(state.people, {_same(mask_text(answer.person)) for answer in answers}, region)
    found = [people.find(answer) for answer in answers]
    found = _without_contradictions(answers, found)
    corrected = {
        contact: _put(
            state.people[contact],
            {
                one.place: one.value
                for answer, one in zip(answers, found, strict=True)
                if one.outcome == "corrected" and answer.contact == contact and one.place is not None
            },
        )
        for contact in ("email", "phone")
    }
    rows = [
        {
            "row": answer.row,
            "person": None if one.place is None else mask_text(state.people["person"].iat[one.place]),
            "contact": answer.contact if one.place is not None else None,
            "outcome": one.outcome,
            "sentence": OUTCOMES[one.outcome].format(one.detail),
        }
        for answer, one in zip(answers, found, strict=True)
    ]
    rows.sort(key=lambda row: row["outcome"] == "corrected")
    outcomes = pd.DataFrame(rows, columns=[*OUTCOME_COLUMNS]).astype(OUTCOME_COLUMNS)
    return replace(state, people=state.people.assign(**corrected)), outcomes


def _put(column: pd.Series, values: Mapping[int, str]) -> pd.Series:
    """Return a column with other values at some places."""
    if not values:
        return column
    texts = column.to_numpy("object", copy=True)
    texts[[*values]] = [*values.values()]
    return pd.Series(texts, column.index, column.dtype, name=column.name)


class _Crowd:
    """The people whose name, as it is masked, is among those asked for."""

    def __init__(self, people: pd.DataFrame, names: set[str], region: str) -> None:
        self._raws = {contact: people[contact].to_numpy("object") for contact in ("phone", "email")}
        self._region = region
        self._places: Mapping[str, list[int]] = defaultdict(list)
        masked = people["person"].map(mask_text) if names else []
        for place, name in enumerate(masked):
            if (same := _same(name)) in names:
                self._places[same].append(place)

    def find(self, answer: _Answer) -> _Found:
        """Return what an answer leads to, taken alone."""
        typed = self._check(answer.contact, answer.correction)
        if answer.correction and typed.value is None:
            return _Found(outcome="unusable", detail=" ".join(CONTACT_VERDICTS[typed.code]).strip())
        if not answer.correction and answer.accept.lower() not in YES:
            return _Found(outcome="unclear")
        return self._place(answer, typed)

    def _place(self, answer: _Answer, typed: Verdict) -> _Found:
        """Find the one person whom the row is about."""
        if answer.contact not in {"phone", "email"}:
            return _Found(outcome="not_found")
        named = [
            place
            for place in self._places.get(_same(mask_text(answer.person)), [])
            if self._raw(answer, place)
        ]
        alike = [place for place in named if self._is_written_so(answer, place)]
        if len(alike) == 1:
            return self._decide(answer, alike[0], typed)
        if alike:
            return _Found(outcome="ambiguous")
        if len(named) == 1 and self._is_in_place(answer, named[0], typed):
            return _Found(outcome="in_place", place=named[0])
        return _Found(outcome="not_found")

    def _decide(self, answer: _Answer, place: int, typed: Verdict) -> _Found:
        value = typed.value
        if value is None:
            meant = suggest(answer.contact, self._raw(answer, place), self._region)
            if meant is None:
                return _Found(outcome="no_suggestion", place=place)
            shown = mask_contact(answer.contact, meant.value)
            if (_same(shown), meant.why) != (_same(answer.suggestion), answer.why):
                return _Found(outcome="suggestion_changed", place=place)
            value = meant.value
        return _Found(
            outcome="corrected", place=place, value=value, detail=mask_contact(answer.contact, value)
        )

    def _is_written_so(self, answer: _Answer, place: int) -> bool:
        raw = self._raw(answer, place)
        return (
            _same(mask_contact(answer.contact, raw)) == _same(answer.as_written)
            and self._check(answer.contact, raw).code == answer.code
        )

    def _is_in_place(self, answer: _Answer, place: int, typed: Verdict) -> bool:
        now = self._check(answer.contact, self._raw(answer, place))
        if now.code != OK or now.value is None:
            return False
        if typed.value is not None:
            return now.value == typed.value
        return _same(mask_contact(answer.contact, now.value)) == _same(answer.suggestion)

    def _raw(self, answer: _Answer, place: int) -> str:
        raw = self._raws[answer.contact][place]
        return raw if isinstance(raw, str) else ""

    def _check(self, contact: str, raw: str) -> Verdict:
        return check_phone(raw, self._region) if contact == "phone" else check_email(raw)


def _without_contradictions(answers: list[_Answer], found: list[_Found]) -> list[_Found]:
    """Hold back the answers of which another says something else of the same contact."""
    values = defaultdict(set)
    for answer, one in zip(answers, found, strict=True):
        if one.outcome == "corrected":
            values[one.place, answer.contact].add(one.value)
    return [
        _Found(outcome="contradicted", place=one.place)
        if len(values[one.place, answer.contact]) > 1 and one.outcome == "corrected"
        else one
        for answer, one in zip(answers, found, strict=True)
    ]


def _same(cell: str) -> str:
    """Return a cell in the form in which cells are compared: what a spreadsheet changes is left out."""
    return " ".join(plain(cell).split())
