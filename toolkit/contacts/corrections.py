"""contacts_to_fix.csv: the contacts that need a person, the answers written into it, and what these change.

An answer is found again by its masks; none is guessed.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import as_it_was
from toolkit.frames import empty_table, text_array

from .checks import CONTACT_VERDICTS, OK, check_contact, check_region
from .masks import mask_contact, mask_text, mask_texts
from .suggestions import slips_of_usual_domains, suggest
from .tables import formats

FIX_COLUMNS = {
    "person": "str",
    "contact": "str",
    "code": "str",
    "as_written": "str",
    "shape": "str",
    "suggestion": "str",
    "why": "str",
    "accept": "str",
    "correction": "str",
}
"""One row a contact; contacts and persons are masked. ``accept`` and ``correction`` are for answers."""

CORRECTION_COLUMNS = {"row": "int64", **{name: "str" for name in FIX_COLUMNS if name != "shape"}}
"""One row an answer: ``row`` is its number in a spreadsheet, the rest what its cells hold."""

YES = frozenset(
    {"yes", "y", "true", "1", "1.0", "x", "ja", "j", "wahr", "ok", "oui", "vrai", "si", "sí", "✓", "✔"}
)
NO = frozenset({"", "no", "n", "false", "0", "0.0", "nein", "falsch", "non", "faux", "-", "–"})
"""What people write into ``accept``, and what a spreadsheet makes of it."""


def fix_table(contacts: pd.DataFrame, *, default_region: str = "US") -> pd.DataFrame:
    """Lay out the contacts that cannot be used and those that look mistyped, for a person to answer.

    *contacts* are what check_contacts() returns with this *default_region*. Returned are FIX_COLUMNS, one row
    a contact, those with a suggestion first. Those whose code is ``ok`` are emails at a domain one slip away
    from a usual one. ``suggestion`` is null where it is not clear what was meant; ``accept`` and
    ``correction`` are empty. Contacts are masked; ``shape`` shows how they are written.

    >>> from toolkit import check_contacts
    >>> people = pd.DataFrame({"person": ["user:1"], "email": ["ana@gmail,com"], "phone": [None]})
    >>> fix_table(check_contacts(people))[["as_written", "suggestion", "why"]].values.tolist()
    [['a•••@gmail,com', 'a•••@gmail.com', 'a comma for a dot']]
    """
    region = check_region(default_region)
    both = [_rows(contacts, contact, region) for contact in ("phone", "email")]
    table = pd.concat(both).sort_index(kind="stable")
    return table.sort_values("suggestion", key=pd.isna, kind="stable", ignore_index=True)


def _rows(contacts: pd.DataFrame, contact: str, region: str) -> pd.DataFrame:
    """Return FIX_COLUMNS of one kind of contact, with the index of *contacts*."""
    needs_a_person = ~contacts[f"{contact}_code"].isin([OK, "absent"])
    if contact == "email":
        domains = contacts["email_clean"].astype("str").str.replace("^.*@", "", regex=True)
        needs_a_person |= domains.isin(slips_of_usual_domains())
    faulty = contacts[needs_a_person]
    raw = faulty[contact]
    meant = {text: suggest(contact, text, region) for text in raw.unique()}
    found = [meant[text] for text in raw]
    table = {
        "person": faulty["person"].map(mask_text),
        "contact": contact,
        "code": faulty[f"{contact}_code"],
        "as_written": raw.map(lambda text: mask_contact(contact, text)),
        "shape": formats(text_array(raw), contact),
        "suggestion": [each and mask_contact(contact, each.value) for each in found],
        "why": [each and each.why for each in found],
        "accept": "",
        "correction": "",
    }
    return pd.DataFrame(table, faulty.index).astype(FIX_COLUMNS)


# --- answers -----------------------------------------------------------------------------------------------


def read_corrections(path: str | Path, *, overwritten: Path | None = None) -> pd.DataFrame:
    """Read the answers in a contacts_to_fix.csv that has been edited, in whatever way a spreadsheet saved it.

    *path* is empty for no answers. *overwritten* is a file that the caller is about to write: ParameterError
    is raised when it holds answers. Returned are CORRECTION_COLUMNS, one row an answer; rows without one, and
    those that say no, are left out. FileFormatError is raised when the file is no CSV with the columns of
    contacts_to_fix.csv, InputPathError when it cannot be read.

    >>> len(read_corrections(""))
    0
    """
    if overwritten is not None and _holds_answers(overwritten):
        raise ParameterError(
            f"{overwritten} holds answers, which this notebook would overwrite. "
            "Move the file elsewhere, and give its new place as corrections_path."
        )
    if not str(path):
        return empty_table(CORRECTION_COLUMNS)
    try:
        file = Path(path).expanduser()
        data = file.read_bytes()
    except (OSError, RuntimeError, ValueError):  # no such user, or letters that no path can have
        shown = str(path).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
        raise InputPathError(
            f"corrections_path: {shown} cannot be read. Give the contacts_to_fix.csv with your answers."
        ) from None
    rows = [*_answers(_text(data, file.name), file.name)]
    return pd.DataFrame(rows, columns=[*CORRECTION_COLUMNS]).astype(CORRECTION_COLUMNS)


def _holds_answers(file: Path) -> bool:
    """Return whether a file holds answers, or may: one that is damaged, or a workbook."""
    try:
        return file.is_file() and not read_corrections(file).empty
    except FileFormatError:
        start = file.read_bytes()[:1000].replace(b"\0", b"")  # in UTF-16 too
        return start.startswith(b"PK") or b"accept" in start


def _text(data: bytes, name: str) -> str:
    """Decode a CSV, in whatever encoding a spreadsheet saved it."""
    if data[:2] == b"PK":
        raise FileFormatError(f'{name} is a workbook, not CSV. Save it as "CSV UTF-8" and give that file.')
    encodings = ["utf-16"] if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ["utf-8-sig", "cp1252", "mac_roman"]
    decoded = []
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            decoded.append(data.decode(encoding))
    if not decoded:
        raise FileFormatError(f'{name} is not text. Save it as "CSV UTF-8" and give that file.')
    # Of the guesses, the one in which masks are masks.
    text = next((text for text in decoded if "•••" in text), decoded[0])
    if "â€¢" in text:  # read as Windows text, then saved as UTF-8
        with suppress(UnicodeDecodeError):
            return text.encode("cp1252", "replace").decode("utf-8")
    return text


def _answers(text: str, name: str) -> Iterator[dict[str, str | int]]:
    """Yield CORRECTION_COLUMNS of each row with an answer."""
    header, *rows = _cells(text, name) or [[]]
    header = [cell.strip().lower() for cell in header]
    names = [key for key in CORRECTION_COLUMNS if key != "row"]
    if lacking := [key for key in names if key not in header]:
        raise FileFormatError(
            f"{name} lacks the column {', '.join(lacking)}. Give the contacts_to_fix.csv that "
            "2_validate_contacts wrote, with your answers in accept and correction."
        )
    for number, cells in enumerate(rows, start=2):
        row = dict.fromkeys(names, "") | dict(zip(header, map(plain, cells), strict=False))
        if row["correction"] or row["accept"].lower() not in NO:
            yield {"row": number, **{key: row[key] for key in names}}


def _cells(text: str, name: str) -> list[list[str]]:
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    limit = csv.field_size_limit(len(text) + 1)
    try:
        return [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)]
    except csv.Error:
        raise FileFormatError(
            f"{name} is not CSV: a quote is left open, or something stands behind one. Save it again."
        ) from None
    finally:
        csv.field_size_limit(limit)


def plain(cell: str) -> str:
    """Return what a cell holds, without the apostrophe that keeps it from being a formula.

    >>> plain(" '+1 415 555 0100 ")
    '+1 415 555 0100'
    """
    return as_it_was(cell.strip())


# --- what answers change

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


class _Outcome(NamedTuple):
    """What an answer leads to."""

    code: str
    place: int | None = None
    """Of the person among the people; None when it is not exactly one."""
    value: str = ""
    """The contact to put in place."""
    detail: str = ""
    """For the sentence; masked."""


def correct_people(
    people: pd.DataFrame, corrections: pd.DataFrame, region: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return *people* (``person``, ``email``, ``phone``) corrected, and OUTCOME_COLUMNS, one row an answer.

    *region* is as check_region() returns it. Answers that changed nothing come first.
    """
    answers = [*corrections.itertuples(index=False)]
    wanted = {_same(mask_text(answer.person)) for answer in answers}
    places = defaultdict(list)
    for place, name in enumerate(mask_texts(people["person"]) if wanted else ()):
        if (same := _same(name)) in wanted:
            places[same].append(place)
    found = [_find(answer, _raws(people, answer, places), region) for answer in answers]
    rows = []
    values: dict[str, dict[int, str]] = {"email": {}, "phone": {}}
    for answer, one in zip(answers, _without_contradictions(answers, found), strict=True):
        person = contact = None
        if one.place is not None:
            person, contact = mask_text(people["person"].iat[one.place]), answer.contact
            if one.code == "corrected":
                values[contact][one.place] = one.value
        rows.append((answer.row, person, contact, one.code, OUTCOMES[one.code].format(one.detail)))
    rows.sort(key=lambda row: row[3] == "corrected")
    for contact, corrected in values.items():
        if corrected:
            column = people[contact].copy()
            column.iloc[[*corrected]] = [*corrected.values()]
            people = people.assign(**{contact: column})
    return people, pd.DataFrame(rows, columns=[*OUTCOME_COLUMNS]).astype(OUTCOME_COLUMNS)


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
        return _Outcome("unusable", detail=" ".join(CONTACT_VERDICTS[typed.code]).strip())
    if not answer.correction and answer.accept.lower() not in YES:
        return _Outcome("unclear")
    now = {place: check_contact(answer.contact, raw, region) for place, raw in raws.items()}
    alike = [
        place
        for place, raw in raws.items()
        if _is_masked_so(answer, raw, answer.as_written) and now[place].code == answer.code
    ]
    if len(alike) == 1:
        return _decide(answer, alike[0], raws[alike[0]], typed.value, region)
    if alike:
        return _Outcome("ambiguous")
    if len(now) == 1:
        [(place, verdict)] = now.items()
        if verdict.value is not None and (
            verdict.value == typed.value
            if typed.value is not None
            else _is_masked_so(answer, verdict.value, answer.suggestion)
        ):
            return _Outcome("in_place", place)
    return _Outcome("not_found")


def _decide(answer: Any, place: int, raw: str, typed: str | None, region: str) -> _Outcome:
    value = typed
    if value is None:
        meant = suggest(answer.contact, raw, region)
        if meant is None:
            return _Outcome("no_suggestion", place)
        if meant.why != answer.why or not _is_masked_so(answer, meant.value, answer.suggestion):
            return _Outcome("suggestion_changed", place)
        value = meant.value
    return _Outcome("corrected", place, value, mask_contact(answer.contact, value))


def _is_masked_so(answer: Any, contact: str, shown: str) -> bool:
    return _same(mask_contact(answer.contact, contact)) == _same(shown)


def _without_contradictions(answers: Sequence[Any], found: Sequence[_Outcome]) -> list[_Outcome]:
    """Hold back the answers that another one contradicts on the same contact."""
    contacts = [(one.place, answer.contact) for answer, one in zip(answers, found, strict=True)]
    values = defaultdict(set)
    for contact, one in zip(contacts, found, strict=True):
        if one.code == "corrected":
            values[contact].add(one.value)
    return [
        one._replace(code="contradicted", detail="")
        if one.code == "corrected" and len(values[contact]) > 1
        else one
        for contact, one in zip(contacts, found, strict=True)
    ]


def _same(cell: str) -> str:
    """Return a cell in the form in which cells are compared: without what a spreadsheet changes."""
    return " ".join(plain(cell).split())
