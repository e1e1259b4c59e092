"""Where the notebooks are, and what happens beside a sandbox: the demo, JupyterLab, and a simulated sync."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import toolkit
from toolkit.errors import InputPathError
from toolkit.files import make_folder, write_whole

from .parameters import PARAMETERS
from .runner import SHIPPED, run

_TEMPLATES = Path(__file__).parent / "templates"
_FILES = {"destination.yaml": "destination.yaml", ".env.example": "env.example", ".gitignore": "gitignore"}
"""File of a workspace → its template."""
_SAMPLE = Path(toolkit.__file__).parent / "segment" / "sample" / "subscribers.ndjson"
SANDBOX_KEY = "sk_sandbox"
"""The key that every sandbox accepts; it opens nothing else."""
_STEPS = ("1_preview_audiences", "2_validate_contacts", "3_sync_audiences", "4_audit_report")


def make_workspace(folder: Path) -> list[Path]:
    """Write the notebooks and the files that go with them into a folder; return what was written.

    A file that is there stays as it is: a notebook may have been changed.
    """
    sources = {f"{name}.ipynb": SHIPPED / f"{name}.ipynb" for name in PARAMETERS}
    sources |= {name: _TEMPLATES / template for name, template in _FILES.items()}
    folder.mkdir(parents=True, exist_ok=True)
    missing = {folder / name: source for name, source in sources.items() if not (folder / name).exists()}
    for path, source in missing.items():
        shutil.copyfile(source, path)
    return [*missing]


def open_lab(words: Sequence[str], *, has_sandbox: bool) -> int:
    """Open JupyterLab on the notebooks of this folder; return its exit code when it is closed.

    The sandbox is a new shop each time, and so is the ledger: what an earlier one held would not be true of
    it, and a real shop's ledger must not get a sandbox's runs.
    """
    folders = [Path(), Path("notebooks")]
    folder = next((f for f in folders if any((f / f"{name}.ipynb").is_file() for name in PARAMETERS)), None)
    if folder is None:
        raise InputPathError('There are no notebooks here. Write them with "audience-toolkit init .".')
    # In a container one is often root, which Jupyter refuses by default; it listens on this machine only.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", *root, *words]
    if not has_sandbox:
        return subprocess.run(command, cwd=folder, check=False).returncode  # noqa: S603
    with running_sandbox(), TemporaryDirectory(prefix="sandbox-") as temporary:
        os.environ["TOOLKIT_LEDGER_URL"] = f"sqlite:///{temporary}/ledger.db"
        return subprocess.run(command, cwd=folder, check=False).returncode  # noqa: S603


def run_demo() -> int:
    """Run the four notebooks on the sample, live against a sandbox; return the exit code."""
    with running_sandbox():
        return _run_steps({}, Path("output", "demo"))


def simulate(events_path: str, *, mappings_path: str = "", share: float = 0.8) -> int:
    """Run the four notebooks on an archive, live against a sandbox to which its people subscribe.

    *share* of the people with a usable phone or email are subscribers there, none of them in an audience.
    """
    with TemporaryDirectory(prefix="sandbox-") as temporary:
        people = Path(temporary) / "subscribers.ndjson"
        count = _write_subscribers(people, events_path, mappings_path, share)
        print(f"{count:,} subscribers made up from the people of {events_path}.", flush=True)
        given = {"events_path": events_path, "mappings_path": mappings_path}
        with running_sandbox(people):
            return _run_steps(given, Path("output", "simulation"))


def _write_subscribers(path: Path, events_path: str, mappings_path: str, share: float) -> int:
    destination = toolkit.Destination.from_file(mappings_path)
    state = toolkit.fold(toolkit.read_events(events_path).payloads(destination)).state
    contacts = toolkit.check_contacts(state.people)[["phone_e164", "email_clean"]].dropna(how="all")
    some = contacts.sample(frac=share, random_state=1).sort_index()
    some = some[~some["phone_e164"].duplicated() | some["phone_e164"].isna()]
    some = some[~some["email_clean"].duplicated() | some["email_clean"].isna()]
    day = "2025-01-01T00:00:00Z"
    lines = (
        {"id": f"s_{number}", "created_at": day, "updated_at": day}
        | {"phone_number": row.phone_e164 or None, "email": row.email_clean or None}
        for number, row in enumerate(some.astype("object").where(some.notna(), None).itertuples())
    )
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    write_whole(path, lambda temporary: temporary.write_text(text, "utf-8"))
    return len(some)


@contextmanager
def running_sandbox(people: Path = _SAMPLE) -> Iterator[None]:
    """Run a sandbox in a process of its own, and point this process and its children there.

    Whatever the environment has of Postscript is set aside.
    """
    for name in [name for name in os.environ if name.startswith(("POSTSCRIPT_", "TOOLKIT_"))]:
        del os.environ[name]
    command = [sys.executable, "-m", "toolkit.sandbox", "--port", "0", "--subscribers", str(people)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            ready = process.stdout.readline() if process.stdout else ""
            base_url = next((word for word in ready.split() if word.startswith("http://127.0.0.1:")), "")
            if not base_url:
                raise SystemExit("The sandbox did not start.")
            print(ready, end="", flush=True)
            os.environ |= {
                "POSTSCRIPT_BASE_URL": base_url,
                "POSTSCRIPT_SECRET_KEY": SANDBOX_KEY,
                # The notebooks' kernel, and every command in it, is this environment's.
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            }
            yield
        finally:
            process.terminate()


def _run_steps(given: Mapping[str, Any], output: Path) -> int:
    started = time.monotonic()
    shutil.rmtree(output, ignore_errors=True)
    make_folder(output)
    values = {**given, "dry_run": False, "output_dir": str(output)}
    for notebook in _STEPS:
        parameters = {name: value for name, value in values.items() if name in PARAMETERS[notebook]}
        if code := run(notebook, parameters, output="{output_dir}/{notebook}.ipynb"):
            return code
    found = json.loads((output / "3_sync_audiences" / "summary.json").read_text("utf-8"))
    statuses = ", ".join(f"{n} {status}" for status, n in found["change_statuses"].items())
    print(
        f"\n{found['received']} events received, {found['memberships']} memberships: {statuses}.\n"
        f"{sum(found['calls'].values())} calls in {found['seconds']:.0f} s of syncing; "
        f"all four notebooks took {time.monotonic() - started:.0f} s.\n"
        f"Report: {(output / '4_audit_report' / 'report.html').resolve()}"
    )
    return 0
