"""Text of member lists, whatever a file or a frame held: cells are trimmed, null where there is nothing."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from toolkit.errors import FileFormatError
from toolkit.frames import TEXT, matches

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
    return matches(texts, "[\n\r\ufffd]")


# --- CSV

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_LINES_OF_A_ROW = 1000
"""A quote that is not closed within so many lines was never meant to open a cell."""
_BLOCK_BYTES: Final = 16 << 20


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
    delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", first.decode()).count)
    header = tuple(cell.strip() for cell in _cells(first, delimiter))
    if not header:
        raise FileFormatError(f"{name} has no readable names of columns in its first line.")
    columns, torn = _read_rows(body, delimiter, len(header))
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


def _read_rows(body: bytes, delimiter: str, width: int) -> tuple[tuple[pa.Array, ...], list[int]]:
    """Return the columns of the rows below the header, and the lines, from 0, of torn rows."""
    lines = body.split(b"\n")
    torn = _repair(lines, delimiter, width) if b'"' in body or b"\r" in body else []
    starts = [place for place, line in enumerate(lines) if line]  # a blank line is no row
    if not starts:
        return (pa.array([], TEXT),) * width, torn

    def skip(row: Any) -> str:
        torn.append(starts[row.number - 1])
        return "skip"

    names = [str(place) for place in range(width)]
    longest = max(map(len, lines))
    table = pacsv.read_csv(
        pa.py_buffer(b"\n".join(lines)),
        # One thread: only then rows are counted.
        read_options=pacsv.ReadOptions(
            column_names=names, use_threads=False, block_size=max(_BLOCK_BYTES, 2 * longest + 2)
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if b'"' in body else False,
            newlines_in_values=True,
            invalid_row_handler=skip,
        ),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, TEXT), check_utf8=False),
    )
    return tuple(column.combine_chunks() for column in table.columns), torn


def _repair(lines: list[bytes], delimiter: str, width: int) -> list[int]:
    """Change *lines* so that Arrow reads each whole row and no torn one; return the places of these.

    Where a quote stays open, its own line alone is given up: Arrow and DuckDB lose all up to the next quote.
    """
    cell = rf'(?:"(?:[^"]|"")*+"|[^"\r{delimiter}]*+)'  # quoted as a whole, or without a quote
    is_regular = re.compile(f"{cell}(?:{delimiter}{cell})*+".encode()).fullmatch
    torn, after = [], 0
    for place in [place for place, line in enumerate(lines) if not is_regular(line)]:
        if place < after:
            continue
        is_odd = lines[place].count(b'"') % 2 == 1
        cells, after = _cells(lines[place], delimiter, strict=is_odd), place + 1
        if is_odd and len(cells) != width:
            after = _line_after(lines, place)
            cells = _cells(b"\n".join(lines[place:after]), delimiter)
        if len(cells) == width:
            quoted = (cell.replace('"', '""') for cell in cells)
            row = delimiter.join(f'"{cell}"' for cell in quoted).encode()
            lines[place:after] = [row, *[b""] * (after - place - 1)]
        else:
            torn.append(place)
            lines[place], after = b"", place + 1
    return torn


def _line_after(lines: list[bytes], place: int) -> int:
    """Return the line after the row that begins at *place*: where its quotes are even."""
    quotes = 0
    for end in range(place, min(place + _LINES_OF_A_ROW, len(lines))):
        quotes += lines[end].count(b'"')
        if quotes % 2 == 0:
            return end + 1
    return place + 1


def _cells(row: bytes, delimiter: str, *, strict: bool = True) -> list[str]:
    """Return the cells of one row, none when it is not just one."""
    try:
        read = list(csv.reader([row.decode()], delimiter=delimiter, strict=strict))
    except csv.Error:
        return []
    return read[0] if len(read) == 1 else []
