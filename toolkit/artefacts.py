"""Files that a person or a scheduler reads later: whole or not at all, contacts masked, nothing that runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from .contacts import mask_table

_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""How text begins that a spreadsheet would run."""


def masked(table: pd.DataFrame) -> pd.DataFrame:
    """Replace raw contacts by masked ones; a person who is named by a contact is masked too."""
    return mask_table(table).rename(columns={"email": "email_masked", "phone": "phone_masked"})


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no cell is a formula."""
    return str(table.apply(_without_formulas).to_csv(index=False))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside *path*, then move into place, so that no reader meets half a file."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def blocked_by(folder: Path) -> Path | None:
    """Return the place that keeps *folder* from being made or written to; None when nothing does."""
    there = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return None if there.is_dir() and os.access(there, os.W_OK) else there


def _without_formulas(column: pd.Series) -> pd.Series:
    """Keep a spreadsheet from running a cell: such text begins with an apostrophe."""
    if isinstance(column.dtype, pd.StringDtype):
        return column.mask(column.str.startswith(_STARTS), "'" + column)
    if column.dtype.kind != "O":
        return column
    return column.map(lambda v: f"'{v}" if isinstance(v, str) and v.startswith(_STARTS) else v)
