"""What a notebook has around its question: a folder of its own, connections, and an honest end.

Bad input leaves nothing; trouble later on leaves a summary with the status ``failed``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
from IPython import get_ipython

import toolkit
from toolkit.contacts.masks import mask_all, mask_text, masked
from toolkit.errors import InputError, ToolkitError, UnknownRunError
from toolkit.files import csv_text, make_folder, write_whole
from toolkit.statuses import RunStatus

from .connections import connect, open_ledger
from .settings import Settings

if TYPE_CHECKING:
    from toolkit import Ledger, PostscriptClient, Run
    from toolkit.postscript.api import Shop

    Opened = TypeVar("Opened", Ledger, PostscriptClient)

_WAITING_COLUMNS = ["person", "audience_key", "email_masked", "phone_masked", "timestamp"]


@dataclass(frozen=True)
class OpenShop:
    """A shop, and the connections to it and to its ledger."""

    shop: Shop
    postscript: PostscriptClient
    ledger: Ledger


class Session:
    """The folder, the connections and the end of one notebook."""

    def __init__(self, notebook: str, parameters: SimpleNamespace, settings: Settings) -> None:
        self.notebook = notebook
        self.parameters = parameters
        """The parameters, checked, as attributes."""
        self.folder = Path(parameters.output_dir or ".").expanduser() / notebook
        """Where its files go; made when the first is written."""
        self._settings = settings
        self._open: dict[str, Any] = {}
        self._is_planning = False
        self._has_summary = False
        self.written: list[Path] = []
        """The files it has written, in their order, without the summary."""

    # --- files: each is written whole, or not at all ----------------------------------------------------

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
        path = self.folder / name
        write_whole(path, write)
        if path not in self.written and name != "summary.json":
            self.written.append(path)
        return path

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

    # --- connections ------------------------------------------------------------------------------------

    def connect(self) -> PostscriptClient:
        """Return a connection to the Postscript of the environment; nothing is sent yet."""
        pace = getattr(self.parameters, "requests_per_second", 14)
        client = connect(requests_per_second=pace, asks=is_attended())
        return self._keep("postscript", client)

    def open_ledger(self, *, must_exist: bool = False) -> Ledger:
        """Return the ledger of ``ledger_url``, else of the environment, else the one in the output folder."""
        path = self._own_ledger
        if must_exist and not self._named_ledger and not path.exists():
            raise UnknownRunError(
                f"There is no ledger at {path}. Run 3_sync_audiences first, or give its ledger_url."
            )
        return self._keep("ledger", open_ledger(self._named_ledger, output_dir=self.folder.parent))

    def find_ledger(self) -> Ledger | None:
        """Return the ledger if there is one already, None otherwise: nothing is made."""
        from toolkit.ledger.database import file_of

        file = file_of(self._named_ledger) if self._named_ledger else self._own_ledger
        return self.open_ledger() if file is None or file.exists() else None

    @property
    def _named_ledger(self) -> str:
        """The URL that a parameter or the environment gives; empty when none does."""
        return str(self.parameters.ledger_url or self._settings.ledger_url)

    @property
    def _own_ledger(self) -> Path:
        return self.folder.parent.resolve() / "ledger.db"

    def open_shop(self, *, must_exist: bool = False) -> OpenShop:
        """Connect to the shop and its ledger; a live run holds the shop from here on, until it is closed."""
        postscript = self.connect()
        shop = toolkit.connect_shop(postscript)
        ledger = self.open_ledger(must_exist=must_exist)
        if not self.parameters.dry_run:
            ledger.lock_shop(shop.shop_id)
        return OpenShop(shop, postscript, ledger)

    def _keep(self, role: str, opened: Opened) -> Opened:
        """Close it with the run, and now what its cell opened when it ran before, which may hold the shop."""
        if (earlier := self._open.pop(role, None)) is not None:
            earlier.close()
        self._open[role] = opened
        return opened

    def close(self) -> None:
        """Close every connection."""
        while self._open:
            self._open.popitem()[1].close()

    # --- the end ----------------------------------------------------------------------------------------

    def note_start(self) -> None:
        """Leave a summary with the status running, so that an earlier one is not taken for this run's."""
        self._is_planning = True
        self._write_summary(self._no_figures(RunStatus.RUNNING))

    def note_failure(self, error: BaseException) -> None:
        """Leave a summary with the status failed, unless the input was bad or the summary is written."""
        client = self._open.get("postscript")
        self.close()
        if self._has_summary or (isinstance(error, InputError) and not self._is_planning):
            return
        # Another's message may quote data; only our own sentences are known to hold no contact.
        message = str(error) if isinstance(error, ToolkitError) else ""
        figures = {
            **self._no_figures(RunStatus.FAILED),
            "error": f"{type(error).__name__}: {message}".rstrip(": "),
            "calls": client.calls if client is not None else {},
        }
        self.write_summary(figures)


def is_attended() -> bool:
    """Return True when the page takes input, which no scheduled run does."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin"))


def watch(run: Session) -> None:
    """Let the run know when a cell fails; outside IPython there is nothing to watch."""
    if (shell := get_ipython()) is None:
        return

    def after_cell(result: Any) -> None:
        if result.error_in_exec is not None:
            run.note_failure(result.error_in_exec)

    if (earlier := getattr(shell, "_toolkit_run", None)) is not None:
        # The notebook is run again from its top: the earlier run must not hold the shop.
        earlier[0].close()
        shell.events.unregister("post_run_cell", earlier[1])
    shell._toolkit_run = (run, after_cell)
    shell.set_custom_exc((Exception,), show_masked)
    shell.events.register("post_run_cell", after_cell)


def show_masked(shell: Any, kind: type, error: Exception, frames: Any, tb_offset: Any = None) -> list[str]:
    """Show an error as IPython does, contacts masked: another's message may quote data."""
    if (render := getattr(error, "_render_traceback_", None)) is not None:
        lines = render()
    else:
        lines = shell.InteractiveTB.structured_traceback(kind, error, frames, tb_offset=tb_offset)
    shown: list[str] = mask_all(lines)
    shell._showtraceback(kind, mask_text(str(error)), shown)
    return shown


def _without_nan(value: Any) -> Any:
    """Replace every number that JSON does not have by null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value
