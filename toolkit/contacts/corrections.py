"""Read the answers that somebody wrote into contacts_to_fix.csv, whichever way a spreadsheet saved it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import as_it_was
from toolkit.frames import empty_table

CORRECTION_COLUMNS = {
    "row": "int64",
    "person": "str",
    "contact": "str",
    "code": "str",
    "as_written": "str",
    "suggestion": "str",
    "why": "str",
    "accept": "str",
    "correction": "str",
}
"""One row an answer: ``row`` is its number in a spreadsheet, the rest what its cells say."""

YES = frozenset(
    {"yes", "y", "true", "1", "1.0", "x", "ja", "j", "wahr", "ok", "oui", "vrai", "si", "sí", "✓", "✔"}
)
NO = frozenset({"", "no", "n", "false", "0", "0.0", "nein", "falsch", "non", "faux", "-", "–"})
"""What people write into ``accept``, and what a spreadsheet makes of it."""

_CELLS = [name for name in CORRECTION_COLUMNS if name != "row"]


def read_corrections(path: str | Path, *, overwritten: Path | None = None) -> pd.DataFrame:
    """Read the answers in a contacts_to_fix.csv that somebody has edited.

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
    rows = [*_rows(_text(data, name), name)]
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
    """Decode a CSV, whichever way a spreadsheet saved it."""
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


def _rows(text: str, name: str) -> Iterator[dict[str, str | int]]:
    """Yield CORRECTION_COLUMNS of each row with an answer."""
    limit = csv.field_size_limit(len(text) + 1)
    try:
        table = [*csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)]
    except csv.Error:
        raise FileFormatError(
            f"{name} is not CSV: a quote is left open, or something stands behind one. Save it again."
        ) from None
    finally:
        csv.field_size_limit(limit)
    header = [cell.strip().lower() for cell in table[0]] if table else []
    if lacking := [cell for cell in _CELLS if cell not in header]:
        raise FileFormatError(
            f"{name} lacks the column {', '.join(lacking)}. Give the contacts_to_fix.csv that "
            "2_validate_contacts wrote, with your answers in accept and correction."
        )
    for number, cells in enumerate(table[1:], start=2):
        row = {key: plain(cell) for key, cell in zip(header, cells, strict=False)}
        row = {key: row.get(key, "") for key in _CELLS}
        if row["correction"] or row["accept"].lower() not in NO:
            yield {"row": number, **row}


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def plain(cell: str) -> str:
    """Return what a cell says, without the apostrophe that keeps it from being a formula.

    >>> plain(" '+1 415 555 0100 ")
    '+1 415 555 0100'
    """
    return as_it_was(cell.strip())
