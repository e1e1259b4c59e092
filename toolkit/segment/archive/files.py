"""The files of an archive: found, recognised by content, and made readable where they are damaged."""

from __future__ import annotations

import glob
import gzip
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from io import BytesIO
from itertools import count, repeat
from pathlib import Path
from typing import BinaryIO, Final, cast

from toolkit.errors import FileFormatError, InputPathError
from toolkit.segment.inputs import Unpacked, files_below, files_like, is_gzip, is_hidden, name_of, path_of

SAMPLE = "sample"
"""The path that stands for the bundled sample archive."""

_NOT_ARCHIVES = {"dummy-object.txt"}
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
"""Bytes that show of which kind a file is."""
_BLOCK: Final = 1 << 20
_OVER_LINES: Final = re.compile(rb"\s*(?:\[\s*\{|[\[{][ \t]*\r?\n)")
"""How JSON begins that is one list, or has one call over several lines."""


def find_files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that files are named from, and the files, in a stable order.

    Raises FileFormatError when one is known to be of another kind.
    """
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
    shown = [path for path in found if not any(map(is_hidden, path.relative_to(root).parts))]
    files = [path for path in shown if path.name not in _NOT_ARCHIVES and path.stat().st_size]
    if not files:
        raise InputPathError(f'events_path "{source}" holds no events: there is no file with anything in it.')
    for path in files:
        _check_kind(path, name_of(path, root))
    return root, files


def _check_kind(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD)
    except OSError as error:
        raise InputPathError(f"{name} cannot be read: {error.strerror}.") from None
    kind = next((kind for magic, kind in _OTHER_FORMATS.items() if start.startswith(magic)), None)
    if is_gzip(start):
        start = b"".join(Unpacked(BytesIO(start)))
    if _OVER_LINES.match(start.removeprefix(_MARK)):
        kind = "JSON over several lines, such as one list of calls"
    if kind:
        raise FileFormatError(
            f"{name} is {kind}. Archives are newline-delimited JSON, gzip or plain: one call a line."
        )


def make_readable(files: Sequence[Path], scratch: Path) -> tuple[Sequence[Path], set[int], int]:
    """Give each file a plain name in *scratch*, by whose end DuckDB knows how it is packed.

    Returned are these paths, the positions of damaged files, and the bytes of all lines, unpacked.
    A copy stands in for what DuckDB does not read as it is: a damaged gzip file, which it reads up to the
    damage without an error; one that is padded with zeros, as gzip allows; the line after a byte order mark.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths, whole, sizes = zip(*pool.map(_make_readable, count(), files, repeat(scratch)), strict=True)
    return paths, {number for number, is_whole in enumerate(whole) if not is_whole}, sum(sizes)


def _make_readable(number: int, path: Path, scratch: Path) -> tuple[Path, bool, int]:
    """Return the link or copy, whether the file is whole, and the bytes of its lines."""
    plain, size, is_whole, is_usual = scratch / f"{number}.ndjson", path.stat().st_size, True, True
    with path.open("rb") as file:
        is_packed = is_gzip(file.peek(2))
        if is_packed:
            # Eight zeros are no checksum and size of anything, but padding.
            is_usual = os.pread(file.fileno(), 8, max(size - 8, 0)) != bytes(8)
            chunks = Unpacked(file)
            size, is_whole = sum(map(len, chunks)), chunks.is_whole
    with open_lines(path) as lines:
        if not is_whole or not is_usual or lines.read(len(_MARK)) == _MARK:
            return _copied(path, plain), is_whole, size
    link = plain.with_suffix(".ndjson.gz") if is_packed else plain
    link.symlink_to(path.absolute())
    return link, is_whole, size


def _copied(path: Path, copy: Path) -> Path:
    """Copy a file without its byte order mark; of a damaged one the whole lines, and one for the damage."""
    end = 0
    with path.open("rb") as file, copy.open("wb") as out:
        chunks = Unpacked(file) if is_gzip(file.peek(2)) else iter(lambda: file.read(_BLOCK), b"")
        for chunk in chunks:
            out.write(chunk if out.tell() else chunk.removeprefix(_MARK))
            if b"\n" in chunk:
                end = out.tell() - len(chunk) + chunk.rfind(b"\n") + 1
        if isinstance(chunks, Unpacked) and not chunks.is_whole:
            out.seek(end)
            out.truncate()
            out.write(b"(the file is damaged from here on)\n")  # no event: the damage is counted as a row
    return copy


def open_lines(path: Path) -> BinaryIO:
    """Open a file, gzip or plain, to read the lines in it."""
    with path.open("rb") as file:
        is_packed = is_gzip(file.read(2))
    return cast("BinaryIO", gzip.open(path)) if is_packed else path.open("rb")


def numbered_lines(path: Path, ordinals: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the *ordinals*-th lines that are not blank (counted from 0), with their numbers, from 1."""
    wanted = set(ordinals)
    with open_lines(path) as file:
        ordinal = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                if ordinal in wanted:
                    yield number, line
                ordinal += 1
