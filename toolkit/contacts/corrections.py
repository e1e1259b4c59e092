"""Put the answers to contacts_to_fix.csv in place: each row is found again by its masks, none is guessed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .checks import CONTACT_VERDICTS, OK, Verdict, check_contact
from .fixes import YES, plain
from .masks import mask_contact, mask_text, mask_texts
from .suggestions import suggest

OUTCOME_COLUMNS = {"row": "int64", "person": "str", "contact": "str", "outcome": "str", "sentence": "str"}
"""One row an answer: ``outcome`` is a key of OUTCOMES, persons and contacts are masked."""

OUTCOMES = {
    "corrected": "Now {}.",
    "in_place": "It is in place already.",
    "unclear": "The answer is neither yes nor no. Write yes into accept, or the contact into correction.",
    "unusable": "The correction cannot be used: {}",
    "no_suggestion": "There is no suggestion to accept. Write the contact into correction.",
    "suggestion_changed": "Another value is suggested by now. Look at a new contacts_to_fix.csv.",
    "not_found": "No person has this contact, written so, any more. Look at a new contacts_to_fix.csv.",
    "ambiguous": "Several people look like this. Correct it at its source.",
    "contradicted": "Another row has a different answer for the same contact.",
}
"""What became of an answer → the sentence for it."""


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What an answer leads to."""

    code: str
    detail: str = ""
    """For the sentence; masked."""
    place: int | None = None
    """Of the person among the people; None when it is not exactly one."""
    value: str = ""
    """The contact to put in place."""


def correct_people(
    people: pd.DataFrame, corrections: pd.DataFrame, region: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return *people* (``person``, ``email``, ``phone``) corrected, and OUTCOME_COLUMNS, one row an answer.

    *region* is as check_region() returns it. Answers that changed nothing come first.
    """
    answers = [*corrections.itertuples(index=False)]
    places = _places(people["person"], {_same(mask_text(answer.person)) for answer in answers})
    found = [_find(answer, _raws(people, answer, places), region) for answer in answers]
    found = _without_contradictions(answers, found)
    rows = []
    values: dict[str, dict[int, str]] = {"email": {}, "phone": {}}
    for answer, one in zip(answers, found, strict=True):
        person = contact = None
        if one.place is not None:
            person, contact = mask_text(people["person"].iat[one.place]), answer.contact
            if one.code == "corrected":
                values[contact][one.place] = one.value
        rows.append((answer.row, person, contact, one.code, OUTCOMES[one.code].format(one.detail)))
    rows.sort(key=lambda row: row[3] == "corrected")
    outcomes = pd.DataFrame(rows, columns=[*OUTCOME_COLUMNS]).astype(OUTCOME_COLUMNS)
    for contact, corrected in values.items():
        if corrected:
            column = people[contact].copy()
            column.iloc[[*corrected]] = [*corrected.values()]
            people = people.assign(**{contact: column})
    return people, outcomes


def _places(persons: pd.Series, names: set[str]) -> dict[str, list[int]]:
    """Return masked name → the places of the people who have it, for these *names*."""
    places = defaultdict(list)
    for place, name in enumerate(mask_texts(persons) if names else ()):
        if (same := _same(name)) in names:
            places[same].append(place)
    return places


def _raws(people: pd.DataFrame, answer: Any, places: dict[str, list[int]]) -> dict[int, str]:
    """Return place → contact as written, of the people that the row may be about."""
    if answer.contact not in ("phone", "email"):
        return {}
    column = people[answer.contact]
    raws = {place: column.iat[place] for place in places.get(_same(mask_text(answer.person)), ())}
    return {place: raw for place, raw in raws.items() if isinstance(raw, str) and raw}


def _find(answer: Any, raws: dict[int, str], region: str) -> _Outcome:
    """Return what an answer leads to, taken alone."""
    typed = check_contact(answer.contact, answer.correction, region)
    if answer.correction and typed.value is None:
        return _Outcome(code="unusable", detail=" ".join(CONTACT_VERDICTS[typed.code]).strip())
    if not answer.correction and answer.accept.lower() not in YES:
        return _Outcome(code="unclear")
    alike = [place for place, raw in raws.items() if _is_written_so(answer, raw, region)]
    if len(alike) == 1:
        return _decide(answer, alike[0], raws[alike[0]], typed, region)
    if alike:
        return _Outcome(code="ambiguous")
    if len(raws) == 1:
        [(place, raw)] = raws.items()
        if _is_in_place(answer, check_contact(answer.contact, raw, region), typed):
            return _Outcome(code="in_place", place=place)
    return _Outcome(code="not_found")


def _decide(answer: Any, place: int, raw: str, typed: Verdict, region: str) -> _Outcome:
    value = typed.value
    if value is None:
        meant = suggest(answer.contact, raw, region)
        if meant is None:
            return _Outcome(code="no_suggestion", place=place)
        shown = mask_contact(answer.contact, meant.value)
        if (_same(shown), meant.why) != (_same(answer.suggestion), answer.why):
            return _Outcome(code="suggestion_changed", place=place)
        value = meant.value
    return _Outcome(code="corrected", place=place, value=value, detail=mask_contact(answer.contact, value))


def _is_written_so(answer: Any, raw: str, region: str) -> bool:
    if _same(mask_contact(answer.contact, raw)) != _same(answer.as_written):
        return False
    return bool(check_contact(answer.contact, raw, region).code == answer.code)


def _is_in_place(answer: Any, now: Verdict, typed: Verdict) -> bool:
    if now.code != OK or now.value is None:
        return False
    if typed.value is not None:
        return now.value == typed.value
    return _same(mask_contact(answer.contact, now.value)) == _same(answer.suggestion)


def _without_contradictions(answers: Sequence[Any], found: Sequence[_Outcome]) -> list[_Outcome]:
    """Hold back the answers that another one contradicts on the same contact."""
    values = defaultdict(set)
    for answer, one in zip(answers, found, strict=True):
        if one.code == "corrected":
            values[one.place, answer.contact].add(one.value)
    return [
        _Outcome(code="contradicted", place=one.place)
        if one.code == "corrected" and len(values[one.place, answer.contact]) > 1
        else one
        for answer, one in zip(answers, found, strict=True)
    ]


def _same(cell: str) -> str:
    """Return a cell in the form in which cells are compared: without what a spreadsheet changes."""
    return " ".join(plain(cell).split())
