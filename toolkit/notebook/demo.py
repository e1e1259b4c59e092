"""Run the notebooks, or JupyterLab, beside a sandbox: ``python -m toolkit.notebook.demo demo`` or ``lab``.

Whatever the environment says about Postscript is set aside: a rehearsal never talks to a real shop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

NOTEBOOKS = Path("notebooks")
OUTPUT = Path("output", "demo")
SANDBOX_KEY = "sk_sandbox"
"""The key that every sandbox accepts; it opens nothing else."""

_STEPS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("1_preview_audiences", {}),
    ("2_validate_contacts", {}),
    ("3_sync_audiences", {"dry_run": "False"}),
    ("4_audit_report", {}),
)


@contextmanager
def running_sandbox(port: int = 0) -> Iterator[dict[str, str]]:
    """Run a sandbox in a process of its own; yield the environment that points there."""
    people = resources.files("toolkit.segment") / "sample" / "subscribers.ndjson"
    command = [sys.executable, "-m", "toolkit.sandbox", "--port", str(port), "--subscribers", str(people)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("POSTSCRIPT_", "TOOLKIT_"))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603
        try:
            ready = process.stdout.readline() if process.stdout else ""
            base_url = next((word for word in ready.split() if word.startswith("http://127.0.0.1:")), "")
            if not base_url:
                raise SystemExit(f"The sandbox did not start on port {port}. Is the port in use?")
            print(ready, end="", flush=True)
            yield {
                **environment,
                "POSTSCRIPT_BASE_URL": base_url,
                "POSTSCRIPT_SECRET_KEY": SANDBOX_KEY,
                # The notebooks' kernel, and every command in it, is this environment's.
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            }
        finally:
            process.terminate()


def demo() -> int:
    """Run the four notebooks headless on the sample, live against the sandbox; return the exit code."""
    started = time.monotonic()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    with running_sandbox() as environment:
        for notebook, parameters in _STEPS:
            print(f"{notebook} …", flush=True)
            if (code := _execute(notebook, parameters, environment)) != 0:
                return code
    _print_summary(time.monotonic() - started)
    return 0


def _execute(notebook: str, parameters: Mapping[str, str], environment: Mapping[str, str]) -> int:
    given = [word for name, value in parameters.items() for word in ("-p", name, value)]
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOKS / f"{notebook}.ipynb"),
        str(OUTPUT / f"{notebook}.ipynb"),
        *["-p", "output_dir", str(OUTPUT), "--no-progress-bar", *given],
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
    return done.returncode


def _print_summary(seconds: float) -> None:
    found = json.loads((OUTPUT / "3_sync_audiences" / "summary.json").read_text("utf-8"))
    statuses = ", ".join(f"{n} {status}" for status, n in found["change_statuses"].items())
    print(
        f"\n{found['received']} events received, {found['memberships']} persons × audiences: {statuses}.\n"
        f"{sum(found['calls'].values())} calls in {found['seconds']:.0f} s of syncing; "
        f"all four notebooks took {seconds:.0f} s.\n"
        f"Report: {(OUTPUT / '4_audit_report' / 'report.html').resolve()}"
    )


def lab() -> int:
    """Open JupyterLab on the notebooks, a sandbox beside it; return its exit code when it is closed.

    The sandbox is a new shop each time, and so is the ledger: what an earlier one held would not be true of
    it, and a real shop's ledger is none of its business.
    """
    with running_sandbox() as shop, TemporaryDirectory(prefix="rehearsal-") as folder:
        environment = {**shop, "TOOLKIT_LEDGER_URL": f"sqlite:///{folder}/ledger.db"}
        # In a container one is often root, whom Jupyter refuses unless told; it listens on this machine only.
        root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command = [sys.executable, "-m", "jupyterlab", *root, *sys.argv[2:]]
        return subprocess.run(command, env=environment, cwd=NOTEBOOKS, check=False).returncode  # noqa: S603


def main() -> int:
    """Run what the command line names."""
    choice = sys.argv[1] if len(sys.argv) > 1 else ""
    if choice not in {"demo", "lab"} or not NOTEBOOKS.is_dir():
        print("From the project's folder: python -m toolkit.notebook.demo demo, or … lab", file=sys.stderr)
        return 2
    # A plain kill leaves the way an exit does, so that no sandbox stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return demo() if choice == "demo" else lab()


if __name__ == "__main__":
    sys.exit(main())
