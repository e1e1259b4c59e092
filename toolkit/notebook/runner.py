"""Run one notebook as a schedule does: parameters checked first, a telling exit code, no secret left.

papermill executes; around it, parameters are checked before a kernel starts, a signal becomes an orderly end,
and what the run left is read for its outcome. Nothing is decided from the text of a message.
"""

from __future__ import annotations

import ast
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.errors import FileFormatError, InputError, InputPathError, ParameterError
from toolkit.files import blocked_by, make_folder
from toolkit.segment.inputs import path_of

from .alerts import Baseline, alert_body, members_of, reasons_for_alert, send_alert
from .exit_codes import ExitCode, exit_code_of, own_error
from .parameters import PARAMETERS, read_parameters
from .secret_scan import CONTACT, cells_with_contacts, forms_of, hide_secrets
from .settings import load_settings

_KERNEL_END_SECONDS = 60
"""How long a kernel may take to end a cell that was interrupted, before it is killed."""
_SURELY_BEGUN_SECONDS = 0.5
"""After so long a kernel has begun the cell it was sent; it ignores interrupts between cells."""
SHIPPED = Path(__file__).parent / "notebooks"
"""The notebooks that came with the toolkit."""
SYNC_TAG = "sync"
"""A cell with this tag turns an interrupt into an outcome, which the next cells write down."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A run that may begin: everything about it was checked."""

    source: Path
    notebook: str
    """Its name, or that of the notebook it is a copy of."""
    kernel: str
    parameters: Mapping[str, Any]
    output_dir: Path
    output: Path
    """Where the executed notebook goes."""

    @property
    def folder(self) -> Path:
        """Where the notebook writes its files."""
        return self.output_dir / self.notebook

    @property
    def baseline(self) -> Path:
        """The file that the next run is compared with."""
        return self.output_dir / "runs" / f"{self.notebook}.json"


def run(
    notebook: str,
    parameters: Mapping[str, Any],
    *,
    output: str,
    options: Mapping[str, Any] | None = None,
    alert_command: str = "",
    size_change: float = 0.2,
) -> ExitCode:
    """Run a notebook, print how it ended, send an alert if there is a reason to; return the exit code.

    *notebook* is a path, or one of the notebooks' names, *output* where the executed notebook goes, with the
    fields notebook, started, random and output_dir, *options* what papermill is given besides.
    """
    settings = load_settings()
    forms = forms_of(settings.secrets)
    try:
        spec = prepare(
            notebook, parameters, output, settings.secret_key, cwd=(options or {}).get("cwd") or ""
        )
    except InputError as problem:
        _warn(str(problem))
        code, reasons = ExitCode.BAD_INPUT, ["ended as failed"]
        facts = _facts(notebook, code, str(problem))
    else:
        code, error, summary = _carry_out(spec, options or {}, forms, has_key=bool(settings.secret_key))
        facts = summary | _facts(spec.notebook, code, error) | {"executed": str(spec.output)}
        reasons = _compare(spec, code, summary, size_change)
    if reasons:
        body = alert_body(facts, reasons).encode()
        for form in forms:
            body = body.replace(form, b"***")
        # The URL is from the environment: an argument would show its token to everyone who lists processes.
        for failure in send_alert(body, url=settings.alert_url, command=alert_command):
            _warn(failure)
    return code


def _carry_out(
    spec: RunSpec, options: Mapping[str, Any], forms: Sequence[bytes], *, has_key: bool
) -> tuple[ExitCode, str, dict[str, Any]]:
    """Execute the notebook; return the exit code, the error in a sentence, and the summary it wrote."""
    before = _stamps(spec.folder)
    error, is_canceled = execute(spec, options)
    written = [path for path, stamp in _stamps(spec.folder).items() if before.get(path) != stamp]
    # An earlier run's summary does not count for this one.
    summary_path = spec.folder / "summary.json"
    summary = _read_summary(summary_path) if summary_path in written else {}
    name = "" if error is None else getattr(error, "ename", type(error).__name__)
    code = exit_code_of(name, summary, has_key=has_key, is_canceled=is_canceled)
    # Another's message may quote data; only our own sentences are known to hold no contact.
    sentence = f"{name}: {getattr(error, 'evalue', '')}" if own_error(name) else name
    if leaks := _hide_leaks([spec.output, *written], forms):
        code, sentence = ExitCode.UNEXPECTED, leaks
    if sentence:
        _warn(sentence)
    sys.stdout.write(
        f"{code.status} (exit code {code.value}): run {summary.get('run_id') or 'without id'}, "
        f"notebook {spec.output}, summary {summary_path if summary else 'not written'}\n"
    )
    return code, sentence, summary


def _facts(notebook: str, code: ExitCode, error: str) -> dict[str, Any]:
    # The error may come from where no contact was looked for.
    shown = CONTACT.sub("•••", error)
    return {"notebook": notebook, "status": code.status, "exit_code": code.value, "error": shown}


def _compare(spec: RunSpec, code: ExitCode, summary: Mapping[str, Any], size_change: float) -> list[str]:
    """Return the reasons for an alert, and leave the baseline for the next run."""
    before = Baseline.load(spec.baseline)
    members = members_of(summary)
    known = before.members if before else {}
    if members and not spec.parameters.get("audience_keys"):
        # An audience that is gone without having been left out has lost all its members.
        members = {**dict.fromkeys(known, 0), **members}
    now = Baseline(status=code.status, members=members)
    try:
        make_folder(spec.baseline.parent)
        replace(now, members={**known, **members}).write(spec.baseline)
    except OSError as error:
        _warn(f"{spec.baseline} cannot be written ({type(error).__name__}): a recovery sends no alert.")
    return reasons_for_alert(before, now, size_change=size_change)


def _hide_leaks(paths: Iterable[Path], forms: Sequence[bytes]) -> str:
    """Take secrets out of what a run wrote; return a sentence for each file that held one."""
    found = []
    for path in filter(Path.is_file, paths):
        try:
            done = hide_secrets(path, forms)
        except OSError as error:
            found.append(f"{path} could not be searched for the key ({type(error).__name__}).")
            continue
        if done:
            found.append(
                f"{path} held the secret key, the shop token or the ledger's password: {done}. Replace it."
            )
        elif path.suffix == ".ipynb" and (cells := cells_with_contacts(path)):
            _warn(f"Warning: {path} shows contacts in clear text, in cell {', '.join(map(str, cells))}.")
    return " ".join(found)


def _stamps(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Return what changes with every writing of a file, for all below *folder*."""
    stats = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for path, stat in stats}


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _warn(line: str) -> None:
    sys.stderr.write(f"{line}\n")


# --- before a kernel starts -------------------------------------------------------------------------------


def prepare(
    given: str, parameters: Mapping[str, Any], output: str, secret: str = "", *, cwd: str = ""
) -> RunSpec:
    """Check everything that can be checked before a kernel starts; write nothing.

    *cwd* is where the notebook will run: its paths begin there.

    Raises
    ------
    InputError
        In one sentence each, what cannot be used.
    """
    source = _find_notebook(given)
    defaults, kernel = _read_notebook(source)
    copied = (name for name, names in PARAMETERS.items() if names == tuple(defaults))
    notebook = source.stem if source.stem in PARAMETERS else next(copied, source.stem)
    values = {**defaults, **parameters}
    problems = []
    if unknown := [name for name in parameters if name not in defaults]:
        problems.append(f"{notebook} has no parameter {', '.join(unknown)}. It has {', '.join(defaults)}.")
    if notebook in PARAMETERS:
        try:
            read_parameters(notebook, values)
        except ParameterError as problem:
            problems.append(str(problem))
    if secret and any(secret in str(value) for value in parameters.values()):
        problems = ["A parameter holds the secret key, and parameters are saved in the notebook. Remove it."]
    if problems:
        raise ParameterError(" ".join(problems))
    place = path_of(cwd or ".", "--cwd ")
    if not place.is_dir():
        raise ParameterError(f"--cwd: {cwd} is not a folder. Name one that is there.")
    output_dir = place / path_of(str(values.get("output_dir") or ".").strip(), "output_dir ")
    return RunSpec(
        source=source,
        notebook=notebook,
        kernel=kernel,
        parameters=parameters,
        output_dir=output_dir,
        output=_place(output, source, notebook, output_dir),
    )


def _find_notebook(given: str) -> Path:
    name = f"{given}.ipynb" if given in PARAMETERS else given
    for path in (path_of(name), Path("notebooks") / name, SHIPPED / name):
        if path.is_file():
            return path
    raise InputPathError(f"There is no notebook {given}. Give a path, or one of {', '.join(PARAMETERS)}.")


def _read_notebook(path: Path) -> tuple[dict[str, Any], str]:
    """Return the parameters with their defaults, and the name of the kernel."""
    import nbformat

    try:
        notebook = nbformat.reads(path.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
        cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        source = cells[0].source if len(cells) == 1 else ""
        defaults = {
            ast.unparse(target): ast.literal_eval(statement.value)
            for statement in ast.parse(source).body
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value
            for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        }
    except Exception as error:  # whatever nbformat meets in what is no notebook
        raise FileFormatError(f"{path} is not a notebook whose parameters are literals.") from error
    if len(cells) != 1:
        raise FileFormatError(f"{path} has {len(cells)} cells tagged parameters; it needs one.")
    return defaults, str(notebook.metadata.get("kernelspec", {}).get("name", "python3"))


def _place(template: str, source: Path, notebook: str, output_dir: Path) -> Path:
    """Return where the executed notebook goes; InputError when something is there already."""
    fields = {
        "notebook": notebook,
        "started": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
        "random": secrets.token_hex(3),
        "output_dir": str(output_dir),
    }
    if unknown := [name for name in re.findall(r"{(.*?)}", template) if name not in fields]:
        raise ParameterError(f"--output has no field {', '.join(unknown)}. It has {', '.join(fields)}.")
    path = path_of(re.sub(r"{(.*?)}", lambda found: fields[found[1]], template), "--output ")
    if path.resolve() == source.resolve():
        raise ParameterError("--output is the notebook itself, which a run must not change. Name another.")
    if path.exists() or path.is_symlink():
        raise ParameterError(f"--output: {path} is there already, and is never overwritten. Name another.")
    if path.suffix != ".ipynb" or blocked_by(path.parent):
        raise ParameterError(f"--output: {path} cannot be written, or does not end in .ipynb. Name another.")
    return path


# --- papermill --------------------------------------------------------------------------------------------


class Canceling:
    """Turns a signal into an interrupt of the cell that runs; a second signal ends everything at once."""

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self.is_asked = False
        self.is_urgent = False
        self._pid = pid
        self._begun: float | None = None
        self._goes_on = False

    def on_signal(self, *_: object) -> None:
        """Interrupt the cell; without one, or asked again, end the run from here."""
        pid, self.is_urgent, self.is_asked = self._pid(), self.is_asked, True
        if self.is_urgent or self._begun is None or pid is None:
            raise KeyboardInterrupt
        time.sleep(max(self._begun + _SURELY_BEGUN_SECONDS - time.monotonic(), 0))
        os.kill(pid, signal.SIGINT)

    def before_cell(self, **_: object) -> None:
        """Let no further cell begin, except those that write down how a sync ended."""
        if self.is_asked and not self._goes_on:
            raise KeyboardInterrupt
        self._begun = time.monotonic()

    def after_cell(self, cell: Mapping[str, Any], **_: object) -> None:
        """Note that none runs."""
        self._begun = None
        if self.is_asked and SYNC_TAG in cell["metadata"].get("tags", []):
            self._goes_on = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM, then leave them as they were."""
        before = {number: signal.signal(number, self.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def execute(spec: RunSpec, options: Mapping[str, Any]) -> tuple[BaseException | None, bool]:
    """Run the notebook; return the error that ended it, and whether the runner was asked to end.

    Whatever happens, the notebook is saved as far as it came, and no kernel is left behind.
    """
    import papermill  # by now it is known to be there
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync

    kernel = AsyncKernelManager(kernel_name=spec.kernel)
    kernel.shutdown_wait_time = _KERNEL_END_SECONDS
    canceling = Canceling(lambda: getattr(kernel.provisioner, "pid", None))
    # papermill formats its paths, so a brace in one has to be doubled.
    source, output = (str(path).replace("{", "{{").replace("}", "}}") for path in (spec.source, spec.output))
    error: BaseException | None = None
    with canceling.listening():
        try:
            make_folder(spec.output.parent)
            spec.output.touch(mode=0o600, exist_ok=False)
            papermill.execute_notebook(
                source,
                output,
                dict(spec.parameters),
                kernel_name=spec.kernel,
                progress_bar=sys.stderr.isatty(),
                **options,
                km=kernel,
                # Every start of a kernel would warn that it listens on TCP.
                extra_arguments=["--IPKernelApp.log_level=ERROR"] if kernel.ipykernel else [],
                on_cell_execute=canceling.before_cell,
                on_cell_executed=canceling.after_cell,
            )
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - of any kind: the caller judges
            error = caught
        try:
            if kernel.has_kernel:
                run_sync(kernel.shutdown_kernel)(now=canceling.is_urgent)
        except KeyboardInterrupt:
            run_sync(kernel.shutdown_kernel)(now=True)
    return error, canceling.is_asked
