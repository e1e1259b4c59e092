"""contacts_to_fix.csv: the contacts that need a person, and the answers that people write into it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import as_it_was
from toolkit.frames import empty_table

from .checks import OK, check_region
from .masks import mask_contact, mask_text
from .suggestions import slips_of_usual_domains, suggest
from .tables import contact_formats

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

    Parameters
    ----------
    contacts
        What check_contacts() returns.
    default_region
        Country in which phones without a country code are read.

    Returns
    -------
    DataFrame
        FIX_COLUMNS, one row a contact, those with a suggestion first. Those whose code is ``ok`` are
        emails at a domain one slip away from a usual one. ``suggestion`` is null where it is not clear
        what was meant; ``accept`` and ``correction`` are empty. Contacts are masked; ``shape`` shows how
        they are written.

    Raises
    ------
    ParameterError
        The region is unknown.

    Examples
    --------
    >>> from toolkit.contacts import check_contacts
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
    faulty = contacts[_needs_a_person(contacts, contact)]
    raw = faulty[contact]
    meant = {text: suggest(contact, text, region) for text in raw.unique()}
    found = [meant[text] for text in raw]
    table = {
        "person": faulty["person"].map(mask_text),
        "contact": contact,
        "code": faulty[f"{contact}_code"],
        "as_written": raw.map(lambda text: mask_contact(contact, text)),
        "shape": contact_formats(faulty, contact).to_numpy(),
        "suggestion": [each and mask_contact(contact, each.value) for each in found],
        "why": [each and each.why for each in found],
        "accept": "",
        "correction": "",
    }
    return pd.DataFrame(table, faulty.index).astype(FIX_COLUMNS)


def _needs_a_person(contacts: pd.DataFrame, contact: str) -> pd.Series:
    faulty = ~contacts[f"{contact}_code"].isin([OK, "absent"])
    if contact == "email":
        domains = contacts["email_clean"].astype("str").str.replace("^.*@", "", regex=True)
        faulty |= domains.isin(slips_of_usual_domains())
    return faulty


# --- answers -----------------------------------------------------------------------------------------------


def read_corrections(path: str | Path, *, overwritten: Path | None = None) -> pd.DataFrame:
    """Read the answers in a contacts_to_fix.csv that has been edited, in whatever way a spreadsheet saved it.

    Parameters
    ----------
    path
        The file, as a spreadsheet saves CSV; empty for no answers.
    overwritten
        A file that the caller is about to write, which must not hold answers.

    Returns
    -------
    DataFrame
        CORRECTION_COLUMNS, one row an answer. Rows without one, and those that say no, are left out.

    Raises
    ------
    InputPathError
        There is no such file.
    FileFormatError
        It is no CSV with the columns of contacts_to_fix.csv.
    ParameterError
        *overwritten* holds answers.

    Examples
    --------
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
    data, name = _read(path)
    rows = [*_answers(_text(data, name), name)]
    return pd.DataFrame(rows, columns=[*CORRECTION_COLUMNS]).astype(CORRECTION_COLUMNS)


def _holds_answers(file: Path) -> bool:
    """Return whether a file holds answers, or may: one that is damaged, or a workbook."""
    try:
        return file.is_file() and not read_corrections(file).empty
    except FileFormatError:
        start = file.read_bytes()[:1000].replace(b"\0", b"")  # in UTF-16 too
        return start.startswith(b"PK") or b"accept" in start


def _read(path: str | Path) -> tuple[bytes, str]:
    """Return what is in a file, and its name."""
    try:
        file = Path(path).expanduser()
        return file.read_bytes(), file.name
    except (OSError, RuntimeError, ValueError):  # no such user, or letters that no path can have
        shown = str(path).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
        raise InputPathError(
            f"corrections_path: {shown} cannot be read. Give the contacts_to_fix.csv with your answers."
        ) from None


def _text(data: bytes, name: str) -> str:
    """Decode a CSV, in whatever encoding a spreadsheet saved it."""
    if data[:2] == b"PK":
        raise FileFormatError(f'{name} is a workbook, not CSV. Save it as "CSV UTF-8" and give that file.')
    encodings = ["utf-16"] if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ["utf-8-sig", "cp1252", "mac_roman"]
    decoded = [text for text in (_decoded(data, encoding) for encoding in encodings) if text is not None]
    if not decoded:
        raise FileFormatError(f'{name} is not text. Save it as "CSV UTF-8" and give that file.')
    # Of the guesses, the one in which masks are masks.
    text = next((text for text in decoded if "•••" in text), decoded[0])
    if "â€¢" in text:  # read as Windows text, then saved as UTF-8
        text = _decoded(text.encode("cp1252", "replace"), "utf-8") or text
    return text


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


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
