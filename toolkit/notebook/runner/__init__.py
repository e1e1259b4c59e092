"""Run one notebook as a schedule does: parameters checked first, an exit code that tells, no secret left.

papermill executes; around it, parameters are checked before a kernel starts, a signal becomes an orderly end,
and what the run left is read for its outcome. Nothing is decided from the wording of a message.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.files import make_folder
from toolkit.notebook.settings import load_settings

from .alerts import Standing, alert_body, members_of, post_alert, reasons_for_alert, run_alert_command
from .execution import execute
from .exit_codes import ExitCode, exit_code_of, own_error
from .leaks import CONTACT, cells_with_contacts, forms_of, hide_secrets
from .orders import OUTPUT, Options, Order, prepare

__all__ = ["OUTPUT", "ExitCode", "Options", "run"]


def run(options: Options) -> ExitCode:
    """Run a notebook, say how it ended, alert whom it concerns; return the exit code."""
    settings = load_settings()
    started = datetime.now(UTC)
    forms = forms_of(settings.secrets)
    try:
        order = prepare(options, started, settings.secret_key)
    except InputError as problem:
        _tell(str(problem))
        facts = _facts(options.notebook, ExitCode.BAD_INPUT, str(problem))
        _alert(options, forms, facts, ["ended as failed"])
        return ExitCode.BAD_INPUT
    before = _stamps(order.folder)
    error, is_canceled = execute(order, options.execution_timeout)
    written = [path for path, stamp in _stamps(order.folder).items() if before.get(path) != stamp]
    # An earlier run's summary must not speak for this one.
    summary_path = order.folder / "summary.json"
    summary = _read_summary(summary_path) if summary_path in written else {}
    name = "" if error is None else getattr(error, "ename", type(error).__name__)
    code = exit_code_of(name, summary, has_key=bool(settings.secret_key), is_canceled=is_canceled)
    # Another's message may quote data; only our own sentences are known to hold no contact.
    said = f"{name}: {getattr(error, 'evalue', '')}" if own_error(name) else name
    if leaks := _hide_leaks([order.output, *written], forms):
        code, said = ExitCode.UNEXPECTED, leaks
    _tell(said)
    _say(
        f"{code.status} (exit code {code.value}): run {summary.get('run_id') or 'without id'}, "
        f"notebook {order.output}, summary {summary_path if summary else 'not written'}"
    )
    facts = summary | _facts(order.notebook, code, said)
    _alert(options, forms, facts, _compare(order, code, summary, options.size_change))
    return code


def _facts(notebook: str, code: ExitCode, error: str) -> dict[str, Any]:
    # The error may come from where no contact was looked for.
    shown = CONTACT.sub("•••", error)
    return {"notebook": notebook, "status": code.status, "exit_code": code.value, "error": shown}


def _compare(order: Order, code: ExitCode, summary: Mapping[str, Any], size_change: float) -> list[str]:
    """Return the reasons for an alert, and leave how this run stands for the next one to be compared with."""
    before = Standing.load(order.standing)
    members = members_of(summary)
    known = before.members if before else {}
    if members and not order.parameters.get("audience_keys"):
        # An audience that is gone without having been left out has lost everybody.
        members = {**dict.fromkeys(known, 0), **members}
    now = Standing(status=code.status, members=members)
    try:
        make_folder(order.standing.parent)
        replace(now, members={**known, **members}).write(order.standing)
    except OSError as error:
        _tell(f"{order.standing} cannot be written ({type(error).__name__}): no recovery will be told.")
    return reasons_for_alert(before, now, size_change=size_change)


def _alert(
    options: Options, forms: Sequence[bytes], facts: Mapping[str, Any], reasons: Sequence[str]
) -> None:
    """Send what there is to tell; that it could not be sent is only said."""
    if not reasons:
        return
    body = alert_body(facts, reasons).encode()
    for form in forms:
        body = body.replace(form, b"***")
    # From the environment: an argument would show its token to everyone who lists processes.
    url = load_settings().alert_url
    if url and (problem := post_alert(url, body)):
        _tell(f"No alert was sent to {problem}.")
    if options.alert_command and (problem := run_alert_command(options.alert_command, body)):
        _tell(f"No alert was sent by {problem}.")


def _hide_leaks(paths: Iterable[Path], forms: Sequence[bytes]) -> str:
    """Take secrets out of what a run wrote; return a sentence for each file that held one."""
    told = []
    for path in filter(Path.is_file, paths):
        try:
            done = hide_secrets(path, forms)
        except OSError as error:
            told.append(f"{path} could not be searched for the key ({type(error).__name__}).")
            continue
        if done:
            told.append(
                f"{path} held the secret key, the shop token or the ledger's password: {done}. Replace it."
            )
        elif path.suffix == ".ipynb" and (cells := cells_with_contacts(path)):
            _tell(f"Warning: {path} shows contacts in clear text, in cell {', '.join(map(str, cells))}.")
    return " ".join(told)


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


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n" if line else "")
