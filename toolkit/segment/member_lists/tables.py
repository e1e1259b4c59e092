"""The tables of a member list: files and frames, their columns and broken rows, and whether one is cut."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.errors import FileFormatError, InputPathError
from toolkit.frames import TEXT
from toolkit.segment.inputs import Unpacked, files_below, is_gzip, name_of, path_of

from .text import frame_column, parse_csv, printable_cell, to_text

_OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel or zip file. Export the table as CSV",
    b"\x28\xb5\x2f\xfd": "a zstd file. Unpack it",
    b"{": "JSON. Calls of Segment are read with read_events(); export the members as CSV or Parquet",
}
_UNPACKED = 32 << 20
_PACKED = 100
"""A packed list may unpack to so many bytes, or to so many times its size if that is more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One file or frame."""

    name: str
    """What messages and rows call it: without the folders above."""
    header: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    torn: tuple[int, ...] = ()
    """Line numbers of rows that could not be read."""
    is_cut: bool = False
    """True when the end of the file is missing."""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Rows that were read."""
        return len(self.columns[0]) if self.columns else 0

    def text(self, place: int) -> pa.Array:
        """Return a column as clean text."""
        return to_text(self.columns[place])

    def find(self, *names: str) -> list[int]:
        """Return the places of the columns of these names, in whatever case."""
        return [place for place, name in enumerate(self.header) if plain_name(name) in names]

    def first(self, *names: str) -> pa.Array:
        """Return the first column of these names as clean text; nulls when there is none."""
        found = self.find(*names)
        return self.text(found[0]) if found else pa.nulls(self.size, TEXT)


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """Return a column's name as names are compared.

    >>> plain_name("User ID") == plain_name("userId") == plain_name("user_id")
    True
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def shown_names(names: Iterable[str]) -> str:
    """Return names of columns for a message; what may be a contact, where a file has no header, is hidden."""
    shown = [n if len(n) <= 60 and not re.search(r"@|[0-9]{5}", n) else "•••" for n in names]
    return ", ".join(f'"{n}"' for n in shown[:20]) + (" …" if len(shown) > 20 else "") or "none"


def load_tables(source: Any) -> list[Table]:
    """Return the tables of a file, a folder, a frame, or a list of these."""
    if isinstance(source, pd.DataFrame):
        return [_frame_table(source)]
    if isinstance(source, str | Path):
        root, files = _find_files(str(source))
        return [_load_file(path, name_of(path, root)) for path in files]
    if isinstance(source, Sequence):
        return [table for one in source for table in load_tables(one)]
    raise FileFormatError(
        "A member list is read from a path, a DataFrame, a list of these or a mapping of names to these, "
        f"not from {type(source).__name__}."
    )


def _frame_table(frame: pd.DataFrame) -> Table:
    columns = tuple(frame_column(frame.iloc[:, place]) for place in range(frame.shape[1]))
    return Table(name="(given)", header=tuple(printable_cell(str(n)) for n in frame.columns), columns=columns)


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
    if is_cut:
        data = data[: data.rfind(b"\n") + 1]
    header, columns, torn, is_utf8 = parse_csv(data, name)
    notes = [] if is_utf8 else [f"{name} is not UTF-8 throughout; unreadable letters were replaced."]
    notes += [f"{name} is damaged: what follows the damage is missing."] if is_cut else []
    return Table(name=name, header=header, columns=columns, torn=torn, is_cut=is_cut, notes=tuple(notes))


def _parquet_table(data: bytes, name: str) -> Table:
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        columns = tuple(column.combine_chunks() for column in table.columns)
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
