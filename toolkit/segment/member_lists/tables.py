"""The tables of a member list: files and frames, their columns and broken rows, and whether one is cut."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from toolkit.errors import FileFormatError, InputPathError
from toolkit.frames import SURROGATE, TEXT, clean_text, matches
from toolkit.segment.inputs import Unpacked, files_below, is_gzip, name_of, path_of

_OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel or zip file. Export the table as CSV",
    b"\x28\xb5\x2f\xfd": "a zstd file. Unpack it",
    b"{": "JSON. Calls of Segment are read with read_events(); export the members as CSV or Parquet",
}
_UNPACKED = 32 << 20
_PACKED = 100
"""A packed list may unpack to so many bytes, or to so many times its size if that is more."""

Roles: TypeAlias = dict[str, list[int]]
"""Role → places of its columns, in their order."""


class Format(StrEnum):
    """The formats of a member list; the value is how notes call it."""

    LIST = "a plain member list"
    EXPORT = "an Engage audience export"
    WIDE = "one row a profile with a column an audience"
    USER_TRAITS = "user_traits of Profiles Sync"
    USER_IDENTIFIERS = "user_identifiers of Profiles Sync"
    PROFILE_MERGES = "profile_merges of Profiles Sync"


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One file or frame; `recognise` finds its roles and format."""

    name: str
    """What messages and rows call it: without the folders above."""
    header: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    """Clean text."""
    torn: tuple[int, ...] = ()
    """Line numbers of rows that could not be read."""
    is_cut: bool = False
    """True when the end of the file is missing."""
    notes: tuple[str, ...] = ()
    roles: Roles = field(default_factory=dict)
    format: Format = Format.LIST

    @property
    def size(self) -> int:
        """Rows that were read."""
        return len(self.columns[0]) if self.columns else 0

    def find(self, *names: str) -> list[int]:
        """Return the places of the columns of these names, in whatever case."""
        return [place for place, name in enumerate(self.header) if plain_name(name) in names]

    def first(self, *names: str) -> pa.Array:
        """Return the first column of these names as clean text; nulls when there is none."""
        found = self.find(*names)
        return self.columns[found[0]] if found else pa.nulls(self.size, TEXT)


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """Return a column's name as names are compared.

    >>> plain_name("User ID") == plain_name("userId") == plain_name("user_id")
    True
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def is_damaged(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the texts with a line break or U+FFFD: two rows run together, or bytes that were no text."""
    return matches(texts, "[\n\r\ufffd]")


def shown_names(names: Iterable[str]) -> str:
    """Return names of columns for a message; what may be a contact, where a file has no header, is hidden."""
    shown = [n if len(n) <= 60 and not re.search(r"@|[0-9]{5}", n) else "•••" for n in names]
    return ", ".join(f'"{n}"' for n in shown[:20]) + (" …" if len(shown) > 20 else "") or "none"


def load_tables(source: Any, name: str) -> list[Table]:
    """Return the tables of a file, a folder, a frame, or a list of these; frames have this *name*."""
    if isinstance(source, pd.DataFrame):
        columns = tuple(clean_text(source.iloc[:, place]) for place in range(source.shape[1]))
        header = tuple(SURROGATE.sub("\ufffd", str(name)) for name in source.columns)
        return [Table(name=name, header=header, columns=columns)]
    if isinstance(source, str | Path):
        root, files = _find_files(str(source))
        return [_load_file(path, name_of(path, root)) for path in files]
    if isinstance(source, Sequence):
        return [table for one in source for table in load_tables(one, name)]
    raise FileFormatError(
        "A member list is read from a path, a DataFrame, a list of these or a mapping of names to these, "
        f"not from {type(source).__name__}."
    )


def _find_files(source: str) -> tuple[Path, list[Path]]:
    path = path_of(source)
    if path.is_file():
        return path.parent, [path]
    if not source.strip() or not path.is_dir():
        raise InputPathError(f'"{source}" does not exist. Check the path; it is read from {Path.cwd()}.')
    files = files_below(path)
    if not files:
        raise InputPathError(f'The folder "{source}" holds no files.')
    return path, files


def _load_file(path: Path, name: str) -> Table:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputPathError(f"{name} cannot be read: {error.strerror}.") from None
    if data.startswith(b"PAR1"):
        return _parquet_table(data, name)
    data, is_cut = _unpack(data, name) if is_gzip(data) else (data, False)
    for magic, kind in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise FileFormatError(f"{name} is {kind}.")
    if not is_cut:
        return parse_csv(data, name)
    table = parse_csv(data[: data.rfind(b"\n") + 1], name)
    damage = f"{name} is damaged: what follows the damage is missing."
    return replace(table, is_cut=True, notes=(*table.notes, damage))


def _parquet_table(data: bytes, name: str) -> Table:
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        columns = tuple(map(clean_text, table.columns))
    except (pa.ArrowException, OSError):
        raise FileFormatError(f"{name} is a damaged Parquet file. Fetch it again.") from None
    return Table(name=name, header=tuple(table.column_names), columns=columns)


def _unpack(data: bytes, name: str) -> tuple[bytes, bool]:
    """Unpack gzip up to its end or its damage; return the content, and whether some is missing."""
    limit = max(_UNPACKED, _PACKED * len(data))
    held, chunks = bytearray(), Unpacked(io.BytesIO(data))
    for chunk in chunks:
        held += chunk
        if len(held) > limit:
            raise FileFormatError(
                f"{name} unpacks to more than {limit >> 20} MB, far too much for a list of its size. "
                "If it does list members, unpack it first."
            )
    return bytes(held), not chunks.is_whole


# --- CSV

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_LINES_OF_A_ROW = 1000
"""A quote that is not closed within so many lines was never meant to open a cell."""
_BLOCK_BYTES: Final = 16 << 20


def parse_csv(data: bytes, name: str) -> Table:
    r"""Read a whole CSV file; a row is torn that has too many or too few cells, or an open quote.

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
    notes = () if is_utf8 else (f"{name} is not UTF-8 throughout; unreadable letters were replaced.",)
    return Table(name=name, header=header, columns=tuple(map(clean_text, columns)), torn=lines, notes=notes)


def _utf8(data: bytes) -> tuple[bytes, bool]:
    """Return the data with lines that end in a newline, and whether all of it was UTF-8."""
    utf8 = data.decode("utf-8", "replace").encode()
    lines = utf8.replace(b"\r\n", b"\n")
    return lines if b"\n" in lines else lines.replace(b"\r", b"\n"), utf8 == data


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
    block = max(_BLOCK_BYTES, 2 * max(map(len, lines)) + 2)
    table = pacsv.read_csv(
        pa.py_buffer(b"\n".join(lines)),
        # One thread: only then rows are counted.
        read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=block),
        parse_options=pacsv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip
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
    quotes = accumulate(line.count(b'"') for line in lines[place : place + _LINES_OF_A_ROW])
    return next((end for end, found in enumerate(quotes, place + 1) if found % 2 == 0), place + 1)


def _cells(row: bytes, delimiter: str, *, strict: bool = True) -> list[str]:
    """Return the cells of one row, none when it is not just one."""
    try:
        read = list(csv.reader([row.decode()], delimiter=delimiter, strict=strict))
    except csv.Error:
        return []
    return read[0] if len(read) == 1 else []
