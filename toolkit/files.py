"""Files that a person or a scheduler reads later: whole or not at all, contacts masked, nothing that runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

_SEPARATORS = r"[;|\t\r\n]"
"""Where a spreadsheet of some locale begins a new cell, in quotes too. A comma in quotes is never one."""
_STARTS = r"[ ']*[=+\-@＝＋－＠\t\r\n]"
"""How text begins that a spreadsheet would run, an apostrophe put before it included."""
_PERHAPS = rf"^{_STARTS}|{_SEPARATORS}{_STARTS}"
_FORMULA = re.compile(rf"(?:\A(?!-[0-9]+(?:\.[0-9]+)?\Z)|(?<={_SEPARATORS}))(?={_STARTS})")
_ESCAPED = re.compile(rf"(?:\A|(?<={_SEPARATORS}))'(?={_STARTS})")


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no cell is a formula."""
    # With this end of a line, a lone \r in a cell is quoted, too.
    return str(
        table.apply(_without_formulas)
        .rename(columns=without_formula)
        .to_csv(index=False, lineterminator="\r\n")
    )


def without_formula(text: str) -> str:
    """Put an apostrophe where a spreadsheet, of whatever locale, would begin to run a cell.

    >>> without_formula("vip;=cmd()"), without_formula("-12.5")
    ("vip;'=cmd()", '-12.5')
    """
    return _FORMULA.sub("'", text)


def as_it_was(text: str) -> str:
    """Undo without_formula().

    >>> as_it_was("vip;'=cmd()")
    'vip;=cmd()'
    """
    return _ESCAPED.sub("", text)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside *path*, then move into place, so that no reader meets half a file.

    A new file is this user's alone; one that is replaced keeps its mode.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        make_private(temporary, like=path)
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_private(path: Path, *, like: Path | None = None) -> None:
    """Make an empty file that only this user reads, or who may read *like*; one that exists stays."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    if like is not None and like.exists():
        about = like.stat()
        path.chmod(about.st_mode & 0o666)
        with suppress(OSError):  # only an administrator gives a file away
            os.chown(path, about.st_uid, about.st_gid)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, for this user alone; one that exists stays as it is."""
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)


def blocked_by(folder: Path) -> Path | None:
    """Return the place that keeps *folder* from being made or written to; None when nothing does."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return None if there.is_dir() and os.access(there, os.W_OK) else there


def _without_formulas(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.StringDtype):
        perhaps = column.str.contains(_PERHAPS, na=False)
        return column.mask(perhaps, column[perhaps].map(without_formula)) if perhaps.any() else column
    if column.dtype.kind != "O":
        return column
    return column.map(
        lambda cell: cell if isinstance(cell, int | float) else without_formula(str(cell)), na_action="ignore"
    )
