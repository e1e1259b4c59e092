"""contacts_to_fix.csv: the contacts that need a person, the answers written into it, and what these change.

An answer is found again by its masks; none is guessed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import as_it_was
from toolkit.frames import empty_table, text_array, typed

from .checks import CONTACT_VERDICTS, OK, check_contact, check_region
from .masks import mask_contact, mask_text, mask_texts
from .suggestions import slips_of_usual_domains, suggest
from .tables import formats

FIX_COLUMNS = dict.fromkeys(
    ("person", "contact", "code", "as_written", "shape", "suggestion", "why", "accept", "correction"), "str"
)
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
        # Of tens of thousands of slips only those that occur: pandas would prepare them all.
        needs_a_person |= domains.isin(slips_of_usual_domains().keys() & domains.unique())
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
    return _answers(_text(data, file.name), file.name)


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


def _answers(text: str, name: str) -> pd.DataFrame:
    """Return CORRECTION_COLUMNS of each row with an answer."""
    header, *rows = _cells(text, name) or [[]]
    header = [cell.strip().lower() for cell in header]
    names = [key for key in CORRECTION_COLUMNS if key != "row"]
    if lacking := [key for key in names if key not in header]:
        raise FileFormatError(
            f"{name} lacks the column {', '.join(lacking)}. Give the contacts_to_fix.csv that "
            "2_validate_contacts wrote, with your answers in accept and correction."
        )
    records = [dict(zip(header, map(_plain, cells), strict=False)) for cells in rows]
    table = pd.DataFrame(records, columns=names, dtype="str").fillna("")
    table = typed(table.assign(row=range(2, len(table) + 2)), CORRECTION_COLUMNS)
    is_no = table["accept"].str.lower().isin(NO)
    return table[(table["correction"] != "") | ~is_no].reset_index(drop=True)


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


def _plain(cell: str) -> str:
    """Return what a cell holds, without the apostrophe that keeps it from being a formula."""
    return as_it_was(cell.strip())


def _same(cell: str) -> str:
    """Return a cell in the form in which cells are compared: without what a spreadsheet changes."""
    return " ".join(_plain(cell).split())


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


def correct_people(
    people: pd.DataFrame, corrections: pd.DataFrame, region: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return *people* (``person``, ``email``, ``phone``) corrected, and OUTCOME_COLUMNS, one row an answer.

    *region* is as check_region() returns it. Answers that changed nothing come first.
    """
    if corrections.empty:
        return people, empty_table(OUTCOME_COLUMNS)
    candidates = _candidates(people, corrections)
    found = corrections[["row", "contact"]].reset_index(drop=True)
    found[["outcome", "place", "text"]] = [
        _judge_answer(answer, raws, region)
        for answer, raws in zip(corrections.itertuples(), candidates, strict=True)
    ]
    corrected = found[found["outcome"] == "corrected"]
    several = corrected.groupby(["contact", "place"])["text"].transform("nunique") > 1
    found.loc[corrected.index[several], "outcome"] = "contradicted"
    for contact, rows in corrected[~several].groupby("contact"):
        column = people[contact].copy()
        column.iloc[rows["place"].to_numpy(int)] = rows["text"].to_numpy()
        people = people.assign(**{contact: column})
    found["sentence"] = [
        OUTCOMES[outcome].format(mask_contact(contact, text) if outcome == "corrected" else text)
        for contact, outcome, text in zip(found["contact"], found["outcome"], found["text"], strict=True)
    ]
    found["person"] = [
        mask_text(people["person"].iat[place]) if place >= 0 else None for place in found["place"]
    ]
    found["contact"] = found["contact"].where(found["place"] >= 0)
    found = found.sort_values("outcome", key=lambda outcome: outcome == "corrected", kind="stable")
    return people, typed(found.reset_index(drop=True), OUTCOME_COLUMNS)


def _candidates(people: pd.DataFrame, corrections: pd.DataFrame) -> Iterator[dict[int, str]]:
    """Yield place → contact as written, of the people that each answer may be about."""
    wanted = [_same(mask_text(person)) for person in corrections["person"]]
    places: dict[str, list[int]] = {name: [] for name in wanted}
    for place, name in enumerate(map(_same, mask_texts(people["person"]))):
        if name in places:
            places[name].append(place)
    for name, contact in zip(wanted, corrections["contact"], strict=True):
        known = places[name] if contact in ("phone", "email") else []
        raws = {place: people[contact].iat[place] for place in known}
        yield {place: raw for place, raw in raws.items() if isinstance(raw, str) and raw}


def _judge_answer(answer: Any, raws: dict[int, str], region: str) -> tuple[str, int, str]:
    """Return what an answer leads to, taken alone: outcome, place of the person or -1, contact or detail."""
    given = check_contact(answer.contact, answer.correction, region)
    if answer.correction and given.value is None:
        return "unusable", -1, " ".join(CONTACT_VERDICTS[given.code]).strip()
    if not answer.correction and answer.accept.lower() not in YES:
        return "unclear", -1, ""
    now = {place: check_contact(answer.contact, raw, region) for place, raw in raws.items()}
    as_shown = (_same(answer.as_written), answer.code)
    alike = [place for place, raw in raws.items() if (_shown(answer, raw), now[place].code) == as_shown]
    if len(alike) > 1:
        return "ambiguous", -1, ""
    if alike:
        return _accept(answer, alike[0], raws[alike[0]], given.value, region)
    if len(now) == 1:
        [(place, verdict)] = now.items()
        wanted = given.value or _same(answer.suggestion)
        if verdict.value is not None and wanted in (verdict.value, _shown(answer, verdict.value)):
            return "in_place", place, ""
    return "not_found", -1, ""


def _accept(answer: Any, place: int, raw: str, given: str | None, region: str) -> tuple[str, int, str]:
    if given is not None:
        return "corrected", place, given
    meant = suggest(answer.contact, raw, region)
    if meant is None:
        return "no_suggestion", place, ""
    if (meant.why, _shown(answer, meant.value)) != (answer.why, _same(answer.suggestion)):
        return "suggestion_changed", place, ""
    return "corrected", place, meant.value


def _shown(answer: Any, contact: str) -> str:
    """Return a contact as a cell of the file shows it."""
    return _same(mask_contact(answer.contact, contact))
