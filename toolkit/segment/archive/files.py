"""The files of an archive: found, told apart by content, and made readable where they are damaged."""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO, Final, cast

from toolkit.errors import FileFormatError, InputPathError
from toolkit.segment.inputs import files_below, files_like, is_hidden, name_of, path_of, printable, unpacked

SAMPLE = "sample"
"""The path that stands for the bundled sample archive."""

_NOT_ARCHIVES = {"dummy-object.txt"}
_GZIP = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"
"""What some Windows programs put in front of UTF-8."""
_OTHER_FORMATS = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
}
_HEAD: Final = 1 << 12
"""Bytes that tell of which kind a file is."""
_OVER_LINES: Final = re.compile(rb"\s*(?:\[\s*\{|[\[{][ \t]*\r?\n)")
"""How JSON begins that is one list, or has one call over several lines."""


def find_files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that files are named from, and the files, in a stable order."""
    if source == SAMPLE:
        source = str(resources.files("toolkit.segment") / "sample" / "segment-logs")
    path = path_of(source, "events_path ")
    if path.is_file():
        root, found = path.parent, [path]
    elif path.is_dir():
        root, found = path, files_below(path)
    else:
        found = files_like(path) if glob.has_magic(str(path)) else []
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
        if not found:
            what = "matches no file" if glob.has_magic(source) else "does not exist"
            raise InputPathError(
                f'events_path "{source}" {what}. Check the path; it is read from {Path.cwd()}.'
            )
    files = [p for p in found if p.name not in _NOT_ARCHIVES and not _is_hidden(p, root) and p.stat().st_size]
    if not files:
        raise InputPathError(f'events_path "{source}" holds no events: there is no file with anything in it.')
    return root, files


def _is_hidden(path: Path, root: Path) -> bool:
    return any(map(is_hidden, path.relative_to(root).parts))


def check_kind(path: Path, root: Path) -> None:
    """Raise FileFormatError when the file is known to be of another kind."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD)
    except OSError as error:
        raise InputPathError(f"{name_of(path, root)} cannot be read: {error.strerror}.") from None
    kind = next((kind for magic, kind in _OTHER_FORMATS.items() if start.startswith(magic)), None)
    if start.startswith(_GZIP):
        start = b"".join(unpacked(io.BytesIO(start)))
    if _OVER_LINES.match(start.removeprefix(_MARK)):
        kind = "JSON over several lines, such as one list of calls"
    if kind:
        raise FileFormatError(
            f"{name_of(path, root)} is {kind}. Archives are newline-delimited JSON, gzip or plain: "
            "one call a line."
        )


def is_gzip(path: Path) -> bool:
    """Tell whether the content is gzip, whatever the name."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


@dataclass(frozen=True, kw_only=True)
class Readable:
    """Files that DuckDB can read: those of an archive, or copies."""

    paths: tuple[Path, ...]
    damaged: frozenset[int]
    """Positions of those that are damaged."""
    size: int
    """Bytes of all their lines, unpacked."""


def make_readable(files: Sequence[Path], scratch: Path) -> Readable:
    """Return the files to read: a copy where DuckDB cannot read one as it is.

    DuckDB reads a gzip file whose middle is broken up to the break and says nothing, so each is checked
    first: its checksum is at its end. It refuses one that is padded with zeros, which gzip itself allows, and
    the line after a byte order mark.
    """

    def readable(numbered: tuple[int, Path]) -> tuple[Path, bool, int]:
        number, path = numbered
        salvaged, copy = scratch / f"{number}.salvaged", scratch / f"{number}.ndjson"
        is_packed = is_gzip(path)
        size = _intact_size(path) if is_packed else path.stat().st_size
        if size is None:
            _salvage(path, salvaged)
            path, is_packed = salvaged, False
        if _has_mark(path) or (is_packed and _ends_in_zeros(path)):
            with _open(path) as file, copy.open("wb") as out:
                file.seek(len(_MARK) if _has_mark(path) else 0)
                shutil.copyfileobj(file, out)
            path = copy
        elif not _is_plainly_named(path):
            copy.symlink_to(path.absolute())
            path = copy
        return path, size is None, salvaged.stat().st_size if size is None else size

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [*pool.map(readable, enumerate(files))]
    return Readable(
        paths=tuple(path for path, _is_damaged, _size in found),
        damaged=frozenset(number for number, (_path, is_damaged, _size) in enumerate(found) if is_damaged),
        size=sum(size for _path, _is_damaged, size in found),
    )


def _open(path: Path) -> BinaryIO:
    """Open a file, gzip or plain, to read what is in it."""
    return cast("BinaryIO", gzip.open(path)) if is_gzip(path) else path.open("rb")


def _has_mark(path: Path) -> bool:
    with _open(path) as file:
        return file.read(len(_MARK)) == _MARK


def _is_plainly_named(path: Path) -> bool:
    """Tell whether DuckDB can be given the name: UTF-8, and no backslash, which begins a pattern."""
    return "\\" not in str(path) and printable(path) == str(path)


def _ends_in_zeros(path: Path) -> bool:
    """Tell whether the last eight bytes are zeros: padding, as no checksum and size of anything are."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return file.read() == bytes(8)


def _intact_size(path: Path) -> int | None:
    """Return how many bytes a gzip file unpacks to; None when it is damaged."""
    size = 0
    try:
        with gzip.open(path) as file:
            while read := len(file.read(1 << 20)):
                size += read
    except (OSError, EOFError, zlib.error):
        return None
    return size


def _salvage(path: Path, copy: Path) -> None:
    """Copy the whole lines of a damaged gzip file, then one line that is no event, so that it is counted."""
    end = 0
    with path.open("rb") as packed, copy.open("wb") as out:
        for chunk in unpacked(packed):
            if b"\n" in chunk:
                end = out.tell() + chunk.rfind(b"\n") + 1
            out.write(chunk)
        out.seek(end)
        out.truncate()
        out.write(b"(the file is damaged from here on)\n")


def numbered_lines(path: Path, ordinals: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the *ordinals*-th lines that are not blank (counted from 0), with their numbers, from 1."""
    wanted = set(ordinals)
    with _open(path) as file:
        ordinal = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                if ordinal in wanted:
                    yield number, line
                ordinal += 1
