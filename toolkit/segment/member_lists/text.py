"""Columns of text, whatever a file or a frame held: cells are trimmed, null where there is nothing.

A CSV file is read by Arrow where each line has an even number of quotes. Elsewhere it is read by hand, line
by line, so that a quote that stays open costs its own line only: Arrow and DuckDB lose all up to the next
quote. DuckDB also takes rows with surplus cells that are blank, and these may be shifted.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from toolkit.errors import FileFormatError

TEXT = pa.large_string()

_NOTHING = pa.array(["", "NULL", "null", r"\N", "None", "NaN", "nan", "<NA>"], TEXT)
"""How databases and pandas write an empty cell."""
_OF_ONE_TYPE = {"string", "boolean", "integer", "floating", "datetime", "empty"}
_EXACT = 2.0**53
"""Up to here a float is exactly the whole number that was put into it."""


def to_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of any type as trimmed text, null where a cell is blank.

    Whole numbers have no point: a phone or an id that went through a float column is itself again.

    >>> to_text(pa.array([15555550100.0, None, 1.5])).to_pylist()
    ['15555550100', None, '1.5']
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    texts = pc.utf8_trim_whitespace(_as_text(column))
    return pc.if_else(pc.is_in(texts, _NOTHING), pa.scalar(None, TEXT), texts)


def _as_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.dictionary_decode())
    if pa.types.is_floating(kind):
        return _float_text(column.cast(pa.float64()))
    if pa.types.is_timestamp(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return texts_of(column.to_pylist())
    return column.cast(TEXT)


def _float_text(column: pa.Array) -> pa.Array:
    # An infinity or NaN is not at most anything.
    whole = pc.and_(pc.less_equal(pc.abs(column), _EXACT), pc.equal(pc.floor(column), column))
    numbers = pc.if_else(whole, column, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.coalesce(numbers.cast(TEXT), column.cast(TEXT))


def texts_of(values: Sequence[Any]) -> pa.Array:
    """Return Python values as texts, one by one where they must be."""
    try:
        return pa.array(values, TEXT)
    except (pa.ArrowException, UnicodeError, TypeError, OverflowError):  # not all are texts that it holds
        return pa.array([_text_of(value) for value in values], TEXT)


def _text_of(value: Any) -> str | None:
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, dict | list | tuple | bool):
            value = json.dumps(value, default=str)
        elif not isinstance(value, str) and (value is None or pd.isna(value)):
            return None
        elif isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        return printable_cell(str(value))
    except (ValueError, TypeError, RecursionError):  # nested too deep, or a number of too many digits
        return "\ufffd"


def printable_cell(text: str) -> str:
    """Return a text that tables can hold: U+FFFD, which `is_damaged` finds, for a lone surrogate."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def frame_column(column: pd.Series) -> pa.Array:
    """Return a column of a frame with the type it has; as text when its cells have several, or objects."""
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _OF_ONE_TYPE:
        return texts_of(column.tolist())
    try:
        found = pa.array(column, from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError, RecursionError):
        return texts_of(column.tolist())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def is_damaged(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the texts with a line break or U+FFFD: two rows run together, or bytes that were no text."""
    found = pc.fill_null(pc.match_substring_regex(texts, "[\n\r\ufffd]"), fill_value=False)
    return np.asarray(found.to_numpy(zero_copy_only=False))


def is_true_or_false(texts: pa.Array) -> bool:
    """Tell whether a column holds true or false, in any case, wherever it holds something."""
    given = texts.drop_null()
    if not len(given) or given[0].as_py().lower() not in {"true", "false"}:
        return False
    return {text.lower() for text in pc.unique(given).to_pylist()} <= {"true", "false"}


# --- CSV

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_LINES_OF_A_ROW = 1000
"""A quote that is not closed within so many lines was never meant to open a cell."""
_BLOCK_BYTES: Final = 16 << 20
_ROWS_AT_ONCE: Final = 50_000

_Read: TypeAlias = tuple[tuple[pa.Array, ...], list[int]]
"""Columns, and the lines, from 0, of torn rows."""


class Parsed(NamedTuple):
    """A CSV file."""

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
    names = first.decode()
    delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", names).count)
    header = tuple(cell.strip() for cell in _cells(names, delimiter))
    if not header:
        raise FileFormatError(f"{name} has no readable names of columns in its first line.")
    width = len(header)
    columns, torn = _read_csv(body, delimiter, width) or _read_by_hand(body.decode(), delimiter, width)
    lines = tuple(sorted(lines_above + 2 + line for line in torn))
    return Parsed(header=header, columns=columns, torn=lines, is_utf8=is_utf8)


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


def _read_csv(body: bytes, delimiter: str, width: int) -> _Read | None:
    """Read rows of one line each; None where some may span several, or there is none."""
    letters = np.frombuffer(body, np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(body))
    lengths = np.diff(ends, prepend=-1) - 1
    quotes = np.searchsorted(np.flatnonzero(letters == ord('"')), ends)
    if not lengths.any() or (np.diff(quotes, prepend=0) % 2).any():
        return None
    lines = np.flatnonzero(lengths)  # blank lines are no rows
    torn: list[int] = []

    def skip(row: Any) -> str:
        torn.append(int(lines[row.number - 1]))
        return "skip"

    names = [str(place) for place in range(width)]
    table = pacsv.read_csv(
        pa.py_buffer(body),
        # One thread: only then rows are counted.
        read_options=pacsv.ReadOptions(
            column_names=names,
            use_threads=False,
            block_size=max(_BLOCK_BYTES, 2 * int(lengths.max()) + 2),
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quotes[-1] else False,
            newlines_in_values=True,
            invalid_row_handler=skip,
        ),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, TEXT), check_utf8=False),
    )
    return tuple(column.combine_chunks() for column in table.columns), torn


def _read_by_hand(text: str, delimiter: str, width: int) -> _Read:
    """Read rows that may span several lines; where a quote stays open, only its own line is given up."""
    torn: list[int] = []
    rows = _rows(text.split("\n"), delimiter, width, torn)
    columns: list[list[pa.Array]] = [[pa.array([], TEXT)] for _ in range(width)]
    while some := [*islice(rows, _ROWS_AT_ONCE)]:
        for column, cells in zip(columns, zip(*some, strict=True), strict=True):
            column.append(pa.array(cells, TEXT))
    return tuple(map(pa.concat_arrays, columns)), torn


def _rows(lines: list[str], delimiter: str, width: int, torn: list[int]) -> Iterator[list[str]]:
    """Yield the cells of whole rows; the lines of the others are added to *torn*."""
    after = 0
    for place, row in enumerate(lines):
        if place < after or not row:
            continue
        is_odd = row.count('"') % 2 == 1
        cells, after = _cells(row, delimiter, strict=is_odd), place + 1
        if is_odd and len(cells) != width:
            after = _line_after(lines, place)
            cells = _cells("\n".join(lines[place:after]), delimiter)
        if len(cells) == width:
            yield cells
        else:
            torn.append(place)
            after = place + 1


def _line_after(lines: list[str], place: int) -> int:
    """Return the line after the row that begins at *place*: where its quotes are even."""
    quotes = 0
    for end in range(place, min(place + _LINES_OF_A_ROW, len(lines))):
        quotes += lines[end].count('"')
        if quotes % 2 == 0:
            return end + 1
    return place + 1


def _cells(row: str, delimiter: str, *, strict: bool = True) -> list[str]:
    """Return the cells of one row, none when it is not just one."""
    if '"' not in row:
        return row.split(delimiter)
    try:
        read = list(csv.reader([row], delimiter=delimiter, strict=strict))
    except csv.Error:
        return []
    return read[0] if len(read) == 1 else []
