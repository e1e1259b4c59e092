"""What one notebook leaves: tables and texts, each whole or not at all, and its summary."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd

from toolkit.contacts import mask_all, mask_text, masked
from toolkit.files import csv_text, make_folder, write_whole
from toolkit.statuses import RunStatus

if TYPE_CHECKING:
    from toolkit import Run

_WAITING_COLUMNS = ["person", "audience_key", "email_masked", "phone_masked", "timestamp"]


class OutputFolder:
    """The folder ``output_dir/<notebook>``; it is made when the first file is written."""

    def __init__(self, notebook: str, parameters: SimpleNamespace) -> None:
        self.notebook = notebook
        self.parameters = parameters
        """The parameters, checked, as attributes."""
        self.folder = Path(parameters.output_dir or ".").expanduser() / notebook
        self._has_summary = False

    def write_table(self, name: str, table: pd.DataFrame) -> Path:
        """Write a table as .parquet or .csv, contacts masked; return its path."""
        shown = masked(table)
        if name.endswith(".parquet"):
            return self._write(name, lambda temporary: shown.to_parquet(temporary, index=False))
        # With a mark in front: without it Excel takes UTF-8 for something else.
        return self.write_text(name, csv_text(shown), encoding="utf-8-sig", newline="")

    def write_text(self, name: str, text: str, encoding: str = "utf-8", newline: str | None = None) -> Path:
        """Write a text file; return its path."""
        return self._write(name, lambda temporary: temporary.write_text(text, encoding, newline=newline))

    def write_run(self, run: Run) -> None:
        """Write a run's events, changes, the members who wait to subscribe, and the summary."""
        waiting = run.changes[run.changes["status"] == "waiting"]
        self.write_table("events.parquet", run.events)
        self.write_table("changes.parquet", run.changes)
        self.write_table("waiting.csv", waiting[_WAITING_COLUMNS])
        self.write_summary(run.summary())

    def write_summary(self, figures: Mapping[str, Any]) -> None:
        """Write summary.json: what a scheduler reads."""
        self._write_summary(figures)
        self._has_summary = True

    def _write(self, name: str, write: Callable[[Path], object]) -> Path:
        make_folder(self.folder)
        write_whole(self.folder / name, write)
        return self.folder / name

    def _write_summary(self, figures: Mapping[str, Any]) -> None:
        written = {
            "notebook": self.notebook,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **_without_nan(figures),
        }
        text = json.dumps(
            mask_all(written), indent=2, default=lambda value: mask_text(str(value)), allow_nan=False
        )
        self.write_text("summary.json", text + "\n")

    def _no_figures(self, status: RunStatus) -> dict[str, Any]:
        return {
            "run_id": "",
            "mode": "dry_run" if getattr(self.parameters, "dry_run", True) else "live",
            "status": status.value,
            "stopped_by": "",
            "error": "",
            "received": 0,
            "event_statuses": {},
            "change_statuses": {},
            "planned_calls": 0,
            "calls": {},
            "seconds": 0,
        }


def _without_nan(value: Any) -> Any:
    """Replace every number that JSON does not have by null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value
