"""CSV as columns of text: delimiter and encoding found out, broken rows set apart and nothing else lost."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from toolkit.errors import FileFormatError

from .cells import TEXT

Places: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_BLOCK_BYTES = 16 << 20
_LINES_OF_A_ROW = 1000
"""A quote that is not closed within so many lines was never meant to open a cell."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parsed:
    """What a CSV file holds."""

    header: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    """Text, as many as there are names."""
    torn: tuple[int, ...]
    """Line numbers, from 1, of rows with too many or too few cells or an open quote."""
    is_utf8: bool
    """False when some bytes were no UTF-8; U+FFFD stands for them."""


def parse_csv(data: bytes, name: str) -> Parsed:
    r"""Read a whole CSV file; *name* is what messages call it.

    >>> parse_csv(b"email;phone\na@x.test;+12025550100\ntorn", "list.csv").torn
    (3,)
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in data[:400]:
        raise FileFormatError(f'{name} is UTF-16, or no text. Save it as "CSV UTF-8" and read it again.')
    data, is_utf8 = _utf8(data.removeprefix(_BOM))
    lines_above = len(data) - len(data.lstrip(b"\n"))
    first, _, body = data[lines_above:].partition(b"\n")
    if not first.strip():
        raise FileFormatError(f"{name} is empty: it has not even a line with the names of its columns.")
    delimiter = _delimiter(first.decode())
    header = tuple(cell.strip() for cell in _cells(first.decode(), delimiter) or [])
    if not header:
        raise FileFormatError(f"{name} has no readable names of columns in its first line.")
    rows = _whole_rows(body, delimiter, len(header))
    columns, torn = _columns(rows, delimiter, len(header))
    line = lines_above + 2
    torn = sorted({*torn, *rows.torn})
    return Parsed(header=header, columns=columns, torn=tuple(line + n for n in torn), is_utf8=is_utf8)


def _utf8(data: bytes) -> tuple[bytes, bool]:
    """Return the data with lines that end in a newline, and whether all of it was UTF-8."""
    try:
        data.decode("utf-8")
        is_utf8 = True
    except UnicodeDecodeError:
        data, is_utf8 = data.decode("utf-8", "replace").encode(), False
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        data = data if b"\n" in data else data.replace(b"\r", b"\n")
    return data, is_utf8


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_DELIMITERS, key=bare.count)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """The rows below the header."""

    text: bytes
    places: Places
    """The line of each row, from 0; blank lines are none."""
    longest: int
    """Bytes of the longest row, or more."""
    torn: tuple[int, ...] = ()
    """Lines that were left out."""


def _whole_rows(body: bytes, delimiter: str, width: int) -> _Rows:
    """Return the rows; where a quote stays open, only the line with it is left out."""
    letters = np.frombuffer(body, np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(body))
    lengths = np.diff(ends, prepend=-1) - 1
    quotes = np.searchsorted(np.flatnonzero(letters == ord('"')), ends)
    if not (np.diff(quotes, prepend=0) % 2).any():
        return _Rows(text=body, places=np.flatnonzero(lengths), longest=int(lengths.max()))
    return _joined_rows(body.decode().split("\n"), delimiter, width)


def _joined_rows(lines: list[str], delimiter: str, width: int) -> _Rows:
    """Bring the lines of rows that span several together."""
    rows: list[str] = []
    places: list[int] = []
    torn: list[int] = []
    place = 0
    while place < len(lines):
        row, after = lines[place], place + 1
        if row.count('"') % 2 and len(_cells(row, delimiter) or ()) != width:
            after = _line_after(lines, place)
            row = "\n".join(lines[place:after])
            if len(_cells(row, delimiter) or ()) != width:
                torn.append(place)
                row, after = "", place + 1
        if row:
            rows.append(row)
            places.append(place)
        place = after
    text = "\n".join(rows).encode()
    return _Rows(text=text, places=np.array(places, np.int64), longest=len(text), torn=tuple(torn))


def _line_after(lines: list[str], place: int) -> int:
    """Return the line after the row that begins at *place*: where its quotes are even."""
    quotes = 0
    for end in range(place, min(place + _LINES_OF_A_ROW, len(lines))):
        quotes += lines[end].count('"')
        if quotes % 2 == 0:
            return end + 1
    return place + 1


def _cells(row: str, delimiter: str) -> list[str] | None:
    """Return the cells of one row, None when it is not just one."""
    try:
        read = list(csv.reader([row], delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return read[0] if len(read) == 1 else None


def _columns(rows: _Rows, delimiter: str, width: int) -> tuple[tuple[pa.Array, ...], list[int]]:
    """Return the columns of the rows that have all cells, and the lines of the others."""
    if not len(rows.places):
        return tuple(pa.array([], TEXT) for _ in range(width)), []
    torn: list[int] = []

    def skip(row: Any) -> str:
        torn.append(int(rows.places[row.number - 1]))
        return "skip"

    names = [str(place) for place in range(width)]
    table = pacsv.read_csv(
        pa.py_buffer(rows.text),
        # One thread: only then rows are counted.
        read_options=pacsv.ReadOptions(
            column_names=names, use_threads=False, block_size=max(_BLOCK_BYTES, 2 * rows.longest + 2)
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if b'"' in rows.text else False,
            newlines_in_values=True,
            invalid_row_handler=skip,
        ),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, TEXT), check_utf8=False),
    )
    return tuple(column.combine_chunks() for column in table.columns), torn
