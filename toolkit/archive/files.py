"""The files of an archive: found, told apart by content, and made readable where they are damaged."""

from __future__ import annotations

import glob
import gzip
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from ..errors import FileFormatError, InputPathError

SAMPLE = "sample"
"""The path that stands for the bundled sample archive."""

_NOT_ARCHIVES = {"dummy-object.txt"}
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip file", b"\x28\xb5\x2f\xfd": "a zstd file"}


def find_files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that files are named from, and the files, in a stable order."""
    if source == SAMPLE:
        source = str(resources.files("toolkit") / "sample" / "segment-logs")
    path = Path(source).expanduser()
    if path.is_file():
        root, found = path.parent, [path]
    elif path.is_dir():
        root, found = path, [Path(folder, name) for folder, _dirs, names in os.walk(path) for name in names]
    else:
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [Path(name) for name in names if Path(name).is_file()]
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
        if not found:
            what = "matches no file" if glob.has_magic(source) else "does not exist"
            raise InputPathError(
                f'events_path "{source}" {what}. Check the path; it is read from {Path.cwd()}.'
            )
    files = sorted(p for p in found if p.name not in _NOT_ARCHIVES and not _is_hidden(p, root))
    if not any(p.stat().st_size for p in files):
        raise InputPathError(f'events_path "{source}" holds no events: there is no file with anything in it.')
    return root, [p for p in files if p.stat().st_size]


def _is_hidden(path: Path, root: Path) -> bool:
    """Tell whether a tool put the file there for itself, such as ``.ipynb_checkpoints``, ``_SUCCESS``."""
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def check_kind(path: Path, root: Path) -> None:
    """Raise FileFormatError when the file is known to be of another kind."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputPathError(f"{name_of(path, root)} cannot be read: {error.strerror}.") from None
    for magic, kind in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise FileFormatError(
                f"{name_of(path, root)} is {kind}. Archives are newline-delimited JSON, gzip or plain."
            )


def name_of(path: Path, root: Path) -> str:
    """Return how the file is named to people: without the folders above the archive."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def is_gzip(path: Path) -> bool:
    """Tell whether the content is gzip, whatever the name."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def make_readable(files: Sequence[Path], scratch: Path) -> tuple[set[int], list[Path]]:
    """Return which files are damaged, and the files to read: a copy where DuckDB cannot read one as it is.

    DuckDB reads a gzip file whose middle is broken up to the break and says nothing, so each is checked
    first: its checksum is at its end. It refuses one that is padded with zeros, which gzip itself allows.
    """

    def readable(numbered: tuple[int, Path]) -> tuple[Path, bool]:
        number, path = numbered
        if not is_gzip(path):
            return path, False
        copy = scratch / f"{number}.ndjson"
        if not _is_intact(path):
            _salvage(path, copy)
            return copy, True
        if not _ends_in_zeros(path):
            return path, False
        with gzip.open(path) as packed, copy.open("wb") as out:
            shutil.copyfileobj(packed, out)
        return copy, False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [*pool.map(readable, enumerate(files))]
    damaged = {number for number, (_path, is_damaged) in enumerate(found) if is_damaged}
    return damaged, [path for path, _is_damaged in found]


def _ends_in_zeros(path: Path) -> bool:
    """Tell whether the last eight bytes are zeros: padding, as no checksum and size of anything are."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return file.read() == bytes(8)


def _is_intact(path: Path) -> bool:
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def _salvage(path: Path, copy: Path) -> None:
    """Copy the whole lines of a damaged gzip file, then one line that is no event, so that it is counted."""
    rest = b""
    with copy.open("wb") as out:
        for chunk in _unpacked(path):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            out.write(whole + newline)
        out.write(b"(the file is damaged from here on)\n")


def _unpacked(path: Path) -> Iterator[bytes]:
    """Unpack a gzip file, member after member, until it ends or fails."""
    unpacker = zlib.decompressobj(wbits=31)  # 31: gzip, its checksum included
    with path.open("rb") as file:
        # Byte by byte: what a failing step had already unpacked is lost.
        while byte := file.read(1):
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            try:
                chunk = unpacker.decompress(byte)
            except zlib.error:
                return
            if chunk:
                yield chunk


def line_numbers(path: Path, ordinals: Sequence[int]) -> list[int]:
    """Return the line numbers, from 1, of the *ordinals*-th lines that are not blank (counted from 0)."""
    wanted, found, ordinal = set(ordinals), [], 0
    with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                if ordinal in wanted:
                    found.append(number)
                ordinal += 1
    return found
