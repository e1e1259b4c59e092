"""What a notebook needs around its question: checked parameters, connections, files, and an honest end.

Each notebook leaves ``OUTPUT_DIR/<its name>/summary.json``. Bad input leaves nothing; trouble later on
leaves a summary with the status ``failed``, whatever cell it came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from html import escape
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pandas as pd
from IPython import get_ipython

from toolkit.audiences.memberships import Folded, State
from toolkit.contacts import REGIONS, mask_all, mask_text, masked
from toolkit.errors import InputError, InputPathError, ParameterError, ToolkitError, UnknownRunError
from toolkit.files import blocked_by, csv_text, make_folder, write_whole
from toolkit.ledger import Ledger, file_of
from toolkit.postscript.api import Shop
from toolkit.postscript.client import PostscriptClient
from toolkit.report import growth_chart, styled_table
from toolkit.report.timeline import Timeline
from toolkit.segment.inputs import path_of
from toolkit.statuses import RunStatus
from toolkit.sync.cost import CostEstimate
from toolkit.sync.plan import Plan
from toolkit.sync.sync import Run, sync

from .parameters import PARAMETERS, check_injected, read_parameters
from .settings import Settings, load_settings
from .widgets import Progress, confirm, follow, is_attended, show_controls, show_dates, show_search

_ARCHIVES = {".json", ".jsonl", ".ndjson", ".gz"}
"""How the name of an archive ends, beside a notebook."""
_RUNS_OFFERED = 50


class NotebookRun:
    """One notebook's work. Made by start()."""

    def __init__(self, notebook: str, parameters: SimpleNamespace, settings: Settings) -> None:
        self.notebook = notebook
        self.parameters = parameters
        """The parameters, checked, as attributes."""
        self.folder = Path(parameters.output_dir or ".").expanduser() / notebook
        """Where this notebook's files go; made when the first is written."""
        self.notes: tuple[str, ...] = ()
        """Sentences about what earlier runs left."""
        self._settings = settings
        self._open: list[PostscriptClient | Ledger] = []
        self._started = False
        self._finished = False
        self._planned_with: dict[str, Any] = {}

    # --- controls ---------------------------------------------------------------------------------------

    def show_controls(self) -> None:
        """Show a control for each parameter; in a scheduled run nothing happens."""
        if is_attended():
            beside = sorted(p.name for p in Path().iterdir() if p.suffix in _ARCHIVES and p.is_file())
            offered = {
                "default_region": REGIONS,
                "events_path": ["sample", *beside],
                "audience_keys": self._known_audiences(),
                "run_id": self._known_runs(),
            }
            show_controls(self.notebook, self.parameters, offered)

    def show_search(self, explain: Callable[[str], Timeline]) -> None:
        """Show a field to look one person up; in a scheduled run nothing happens."""
        if is_attended():
            show_search(lambda who: _timeline_html(explain(who)))

    def show_dates(self, movements: pd.DataFrame, *, title: str) -> None:
        """Show from when to when the growth is drawn; in a scheduled run nothing happens."""

        def draw(since: date, until: date) -> tuple[bytes, str]:
            chart = growth_chart(movements, title=title, since=since, until=until)
            return chart.png, chart.alternative

        if is_attended() and len(days := movements["day"].dropna()):
            show_dates(days.min().date(), days.max().date(), draw)

    def _known_audiences(self) -> list[str]:
        """Return the audiences that the last preview into this folder found."""
        path = self.folder.parent / "1_preview_audiences" / "summary.json"
        try:
            keys = [str(row["audience_key"]) for row in json.loads(path.read_text("utf-8"))["audiences"]]
            return [key for key in keys if "•••" not in key]  # a masked one is none
        except (OSError, ValueError, LookupError, TypeError):
            return []  # only to be offered: keys can be typed

    def _known_runs(self) -> list[str]:
        if self.notebook != "4_audit_report" or (ledger := self.find_ledger()) is None:
            return []
        try:
            return [run.run_id for run in ledger.load_runs(ledger.get_run(), limit=_RUNS_OFFERED)]
        except UnknownRunError:
            return []

    # --- connections ------------------------------------------------------------------------------------

    def connect(self) -> PostscriptClient:
        """Return a connection to the Postscript of the environment; nothing is sent yet."""
        settings = self._settings
        client = PostscriptClient(
            settings.base_url,
            settings.get_secret_key(),
            shop_token=settings.shop_token or None,
            requests_per_second=getattr(self.parameters, "requests_per_second", 14),
        )
        self._keep(client)
        return client

    def open_ledger(self, *, must_exist: bool = False) -> Ledger:
        """Return the ledger of ``ledger_url``, else of the environment, else the one in the output folder."""
        path = self._own_ledger
        if must_exist and not self._named_ledger and not path.exists():
            raise UnknownRunError(
                f"There is no ledger at {path}. Run 3_sync_audiences first, or give its ledger_url."
            )
        ledger = Ledger(self._named_ledger or f"sqlite:///{path}")
        self._keep(ledger)
        return ledger

    def find_ledger(self) -> Ledger | None:
        """Return the ledger if there is one already, None otherwise: nothing is made."""
        file = file_of(self._named_ledger) if self._named_ledger else self._own_ledger
        return self.open_ledger() if file is None or file.exists() else None

    @property
    def _named_ledger(self) -> str:
        """The URL that a parameter or the environment gives; empty when none does."""
        return str(self.parameters.ledger_url or self._settings.ledger_url)

    @property
    def _own_ledger(self) -> Path:
        return self.folder.parent.resolve() / "ledger.db"

    def _keep(self, opened: PostscriptClient | Ledger) -> None:
        """Close it with the job, and now what its cell opened when it ran before, which may hold the shop."""
        for earlier in [one for one in self._open if type(one) is type(opened)]:
            self._open.remove(earlier)
            earlier.close()
        self._open.append(opened)

    def close(self) -> None:
        """Close every connection."""
        while self._open:
            self._open.pop().close()

    # --- a sync -----------------------------------------------------------------------------------------

    def claim(self, shop: Shop, ledger: Ledger) -> None:
        """Keep the shop for this run alone until the job is closed; a dry run needs no such thing.

        ShopLockedError when another live run has it.
        """
        if not self.parameters.dry_run:
            ledger.lock_shop(shop.shop_id)

    def load_state(self, shop: Shop, ledger: Ledger) -> State:
        """Return what earlier runs asked for, and what was held back, as held_changes chooses."""
        choice = self.parameters.held_changes
        if choice == "discard" and not self.parameters.dry_run:
            ledger.discard_held(shop.shop_id)
        held = ledger.load_held(shop.shop_id, chosen=choice == "apply")
        if count := len(held.memberships) + len(held.traits):
            self.notes = (f"{count:,} memberships of an earlier run, not carried out then, are taken up.",)
        return held.after(ledger.load_state(shop.shop_id))

    def hold(self, folded: Folded, shop: Shop, ledger: Ledger) -> None:
        """Keep what the events ask for until a sync has remembered it; a dry run needs no such thing."""
        if not self.parameters.dry_run:
            ledger.hold(shop.shop_id, "", folded.state, cause="failure")

    async def sync(
        self,
        plan: Plan,
        folded: Folded,
        *,
        shop: Shop,
        postscript: PostscriptClient,
        ledger: Ledger,
        cost: CostEstimate,
    ) -> Run:
        """Carry the plan out as the parameters say, showing how far it is; return the run.

        A live run at the keyboard asks first. No, the Cancel button and an interrupt end the run as
        ``canceled``, the rest pending.

        Raises
        ------
        ParameterError
            A parameter has changed since the plan was made.
        """
        if vars(self.parameters) != self._planned_with:
            raise ParameterError(
                "A parameter has changed since the plan was made. Run the cells from Load on again."
            )
        to_send = len(plan.writes) + cost.calls["custom_events"]
        cancel, progress = Event(), Progress(to_send)

        def carry_out() -> Run:
            return sync(
                plan,
                folded,
                shop=shop,
                postscript=postscript,
                ledger=ledger,
                dry_run=self.parameters.dry_run,
                read_again=self.parameters.read_again,
                cost=cost,
                parameters=vars(self.parameters),
                on_progress=progress.note,
                cancel=cancel,
            )

        if self.parameters.dry_run or plan.exceeds_removal_limit or not to_send:
            return carry_out()
        if is_attended() and not await confirm(question(plan, cost, shop), yes=f"Sync {shop.name}"):
            cancel.set()
        return await follow(carry_out, progress, cancel, what="Sync")

    # --- files ------------------------------------------------------------------------------------------

    def write_table(self, name: str, table: pd.DataFrame) -> Path:
        """Write a table as .parquet or .csv, contacts masked, whole or not at all; return its path."""
        shown = masked(table)
        if name.endswith(".parquet"):
            return self._write(name, lambda temporary: shown.to_parquet(temporary, index=False))
        text = csv_text(shown)
        # With a mark in front: without it Excel takes UTF-8 for something else.
        return self._write(
            name, lambda temporary: temporary.write_text(text, encoding="utf-8-sig", newline="")
        )

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file, whole or not at all; return its path."""
        return self._write(name, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def _write(self, name: str, write: Callable[[Path], object]) -> Path:
        make_folder(self.folder)
        write_whole(self.folder / name, write)
        return self.folder / name

    def write_run(self, run: Run) -> None:
        """Write a run's events, changes and summary."""
        self.write_table("events.parquet", run.events)
        self.write_table("changes.parquet", run.changes)
        self.write_summary(run.summary())

    def write_summary(self, figures: Mapping[str, Any]) -> None:
        """Write summary.json: what a scheduler reads."""
        self._write_summary(figures)
        self._finished = True

    def note_start(self) -> None:
        """Leave a summary with the status running, so that an earlier one is not taken for this run's."""
        self._started = True
        self._planned_with = dict(vars(self.parameters))
        self._write_summary(self._no_figures(RunStatus.RUNNING))

    def note_failure(self, error: BaseException) -> None:
        """Leave a summary with the status failed, unless the input was bad or the summary is written."""
        calls = next((c.calls for c in self._open if isinstance(c, PostscriptClient)), {})
        self.close()
        if self._finished or (isinstance(error, InputError) and not self._started):
            return
        # Another's message may quote data; only our own sentences are known to hold no contact.
        message = str(error) if isinstance(error, ToolkitError) else ""
        figures = self._no_figures(RunStatus.FAILED)
        self.write_summary(
            {**figures, "error": f"{type(error).__name__}: {message}".rstrip(": "), "calls": calls}
        )

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


def start(notebook: str, given: Mapping[str, Any]) -> NotebookRun:
    """Check a notebook's parameters and return its job.

    Parameters
    ----------
    notebook
        Its name without ending, such as ``3_sync_audiences``.
    given
        ``globals()`` of the notebook.

    Returns
    -------
    Job
        With the parameters, checked and in their own types.

    Raises
    ------
    ParameterError
        There is no such notebook, or a parameter is unknown or has a bad value; every one is named.
    """
    if notebook not in PARAMETERS:
        raise ParameterError(f'There is no notebook "{notebook}". There are {", ".join(PARAMETERS)}.')
    check_injected(notebook, given.get("In", ()), unmarked=not is_attended())
    parameters = read_parameters(notebook, given)
    try:
        path_of(parameters.output_dir, "output_dir ")
    except InputPathError as error:
        raise ParameterError(str(error)) from None
    job = NotebookRun(notebook, parameters, load_settings())
    if there := blocked_by(job.folder):
        raise ParameterError(f"output_dir: {there} is not a folder that can be written to. Name another.")
    _watch(job)
    return job


def question(plan: Plan, cost: CostEstimate, shop: Shop) -> str:
    """Return the question before a live run."""
    own = cost.calls["custom_events"] - cost.left_over
    left_over = f" and {cost.left_over:,} left over from earlier runs" if cost.left_over else ""
    return (
        f"Live, to {shop.name}: {plan.adds:,} adds, {plan.removes:,} removes, "
        f"{own:,} custom events{left_over}, about {cost.minutes:.1f} minutes."
    )


def _watch(job: NotebookRun) -> None:
    """Let the job know when a cell fails; outside IPython there is nothing to watch."""
    if (shell := get_ipython()) is None:
        return

    def after_cell(result: Any) -> None:
        if result.error_in_exec is not None:
            job.note_failure(result.error_in_exec)

    if (earlier := getattr(shell, "_toolkit_job", None)) is not None:
        # The notebook is run again from its top: the earlier job must not hold the shop.
        earlier[0].close()
        shell.events.unregister("post_run_cell", earlier[1])
    shell._toolkit_job = (job, after_cell)
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


def _timeline_html(person: Timeline) -> str:
    tables = [(person.table(), "From event to answer"), (person.standing, "What the next sync would do")]
    shown = [styled_table(table, caption=caption).to_html() for table, caption in tables if len(table)]
    return f"<p>{escape(person.sentence)}</p>{''.join(shown)}"


def _without_nan(value: Any) -> Any:
    """Replace every number that JSON does not have by null."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value
