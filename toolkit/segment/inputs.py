"""Files that people name: found below folders and by patterns, unpacked as far as they go.

What cannot be looked at is an error that names it: a day that is passed over in silence is a wrong sync.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from toolkit.errors import InputPathError

_HERE: Final = Path()
_STEP: Final = 1 << 14
"""Bytes that are unpacked at a time: they may become a thousand times as many."""


def path_of(text: str, name: str = "") -> Path:
    """Return the path that *text* is; InputPathError, which begins with *name*, when there can be none."""
    shown = printable(text).replace("\0", "\\0")
    try:
        path = Path(text).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it may be a pattern
    except RuntimeError:
        raise InputPathError(
            f'{name}"{shown}" begins with a user that this machine does not have. Write the whole path.'
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path holds such a letter"
        raise InputPathError(f'{name}"{shown[:80]}" cannot be read: {reason}. Check the path.') from None
    return path


def printable(name: str | Path) -> str:
    r"""Return a name that tables and messages can hold: bytes that are no UTF-8 as ``\udcff``."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def name_of(path: Path, root: Path) -> str:
    """Return how a file is named to people: without the folders above *root*."""
    named = path != root and path.is_relative_to(root)
    return printable(path.relative_to(root) if named else path)


def is_hidden(name: str) -> bool:
    """Tell whether a tool put it there for itself, such as ``.ipynb_checkpoints`` and ``_SUCCESS``."""
    return name.startswith((".", "_"))


def files_below(root: Path) -> list[Path]:
    """Return the files in a folder and below, in a stable order; InputPathError names what is unreadable.

    Links are followed, each folder once, so that a link to a folder above ends. Hidden names are left out.
    """
    return sorted(file for _folder, files in _walk(root, root) for file in files)


def files_like(pattern: Path) -> list[Path]:
    """Return the files that match a pattern; ``**`` stands for any folders. InputPathError as above."""
    start, parts = Path(pattern.anchor), pattern.parts[bool(pattern.anchor) :]
    return sorted({path for path in _matching(start, parts) if not _is_folder(path, _HERE)})


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if not glob.has_magic(first):
        if _is_there(folder / first):
            yield from _matching(folder / first, rest)
    elif not _is_folder(folder, _HERE):
        return
    elif first == "**":
        for below, _files in _walk(folder, _HERE):
            yield from _matching(below, rest or ["*"])
    else:
        for name in _names(folder, _HERE):
            is_shown = first.startswith(".") or not name.startswith(".")
            if is_shown and fnmatch.fnmatch(name, first):
                yield from _matching(folder / name, rest)


def _walk(folder: Path, root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each folder with its files."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        place = _looked_at(folder, root)
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        shown = [folder / name for name in _names(folder, root) if not is_hidden(name)]
        folders = [path for path in shown if _is_folder(path, root)]
        yield folder, [*set(shown).difference(folders)]
        waiting += folders


def _names(folder: Path, root: Path) -> list[str]:
    with _named(folder, root):
        return sorted(path.name for path in folder.iterdir())


def _is_folder(path: Path, root: Path) -> bool:
    mode = _looked_at(path, root).st_mode
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise InputPathError(f"{name_of(path, root)} is neither a file nor a folder. Remove it.")
    return stat.S_ISDIR(mode)


def _is_there(path: Path) -> bool:
    with _named(path, _HERE), suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()
        return True
    return False


def _looked_at(path: Path, root: Path) -> os.stat_result:
    with _named(path, root):
        return path.stat()


@contextmanager
def _named(path: Path, root: Path) -> Iterator[None]:
    """Raise an error that names the *path* where it cannot be looked at."""
    try:
        yield
    except OSError as error:
        is_dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
        reason = "it is a link to nothing" if is_dangling else error.strerror
        raise InputPathError(
            f"{name_of(path, root)} cannot be read: {reason}. Nothing was read. Repair or remove it."
        ) from None


def without_surrogates(text: str) -> str:
    """Return a text that tables can hold: a question mark for each lone surrogate."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def is_gzip(start: bytes) -> bool:
    """Tell from a file's first bytes whether it is gzip, whatever its name."""
    return start.startswith(b"\x1f\x8b")


class Unpacked:
    """Chunks of what a gzip file holds, member after member, up to its end or its damage.

    ``is_whole`` is true once the end was reached and every checksum held. Zeros between and after members
    are padding, as for gzip itself.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        new_unpacker = partial(zlib.decompressobj, wbits=31)  # 31: gzip, its checksum included
        unpacker, step = new_unpacker(), b""
        while step := step or self._file.read(_STEP):
            if unpacker.eof:
                if not (step := step.lstrip(b"\0")):
                    continue
                unpacker = new_unpacker()
            before = unpacker.copy()
            try:
                yield unpacker.decompress(step)
            except zlib.error:
                yield from _up_to_the_damage(before, step)
                return
            step = unpacker.unused_data
        self.is_whole = unpacker.eof


def _up_to_the_damage(unpacker: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    # Byte by byte: what a failing step had already unpacked is lost.
    for place in range(len(data)):
        try:
            yield unpacker.decompress(data[place : place + 1])
        except zlib.error:
            return
