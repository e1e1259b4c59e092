"""The command line: ``python -m toolkit run NOTEBOOK``, and ``demo`` and ``lab`` beside a sandbox."""

from __future__ import annotations

import argparse
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
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolkit.notebook.exit_codes import ExitCode

_PARAMETER_OPTIONS: Sequence[tuple[str, str, tuple[str, ...], str]] = (
    ("-p", "--parameters", ("NAME", "VALUE"), "a parameter; True, False, None and numbers are read as such"),
    ("-r", "--parameters_raw", ("NAME", "VALUE"), "a parameter, kept as text"),
    ("-y", "--parameters_yaml", ("YAML",), "parameters as YAML"),
    ("-f", "--parameters_file", ("FILE",), "parameters in a YAML or JSON file"),
)
_OUTPUT = "{output_dir}/runs/{notebook}-{started}-{random}.ipynb"
_OTHER_OPTIONS: Sequence[tuple[str, type, Any, str, str]] = (
    ("--output", str, _OUTPUT, "TEMPLATE", "where the executed notebook goes, never over another"),
    ("--execution-timeout", int, None, "SECONDS", "longest time for one cell"),
    ("--alert-command", str, None, "COMMAND", "start this, without a shell, with the JSON on its stdin"),
    ("--alert-size-change", float, 0.2, "SHARE", "by which an audience may grow or shrink unnoticed"),
)


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m toolkit", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    codes = "\n".join(f"  {code.value:>3}  {code.__doc__}" for code in ExitCode)
    runs = commands.add_parser(
        "run",
        help="run a notebook as a schedule does",
        description="Run a notebook through papermill. The exit code shows how it ended.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    runs.add_argument("notebook", metavar="NOTEBOOK", help="a path, or a name such as 3_sync_audiences")
    for short, name, words, meaning in _PARAMETER_OPTIONS:
        runs.add_argument(
            *(short, name), nargs=len(words), action="append", default=[], metavar=words, help=meaning
        )
    for name, kind, default, word, meaning in _OTHER_OPTIONS:
        runs.add_argument(name, type=kind, default=default, metavar=word, help=f"{meaning} (%(default)s)")
    commands.add_parser("demo", help="run the four notebooks on the sample, live against a sandbox")
    lab = commands.add_parser("lab", help="open JupyterLab on the notebooks, a sandbox beside it")
    lab.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="options of JupyterLab")
    return parser


def given_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of a command line, the more specific over the general, as papermill has it.

    Raises
    ------
    ValueError
        A file or text is no YAML that names parameters.
    OSError
        A file cannot be read.
    """
    import yaml

    found: dict[str, Any] = {}
    texts = [Path(name).read_text("utf-8") for [name] in arguments.parameters_file]
    for text in (*texts, *(text for [text] in arguments.parameters_yaml)):
        try:
            named = yaml.safe_load(text) or {}
        except yaml.YAMLError:
            named = None
        if not isinstance(named, Mapping):
            raise ValueError("-y and -f take YAML that names parameters, such as 'dry_run: false'.")
        found |= {str(name): value for name, value in named.items()}
    found |= {name: _typed(value) for name, value in arguments.parameters}
    return found | dict(arguments.parameters_raw)


def _typed(text: str) -> Any:
    """Return what papermill takes a text for."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line names; return the exit code."""
    parser = command_parser()
    arguments = parser.parse_args(words)
    if arguments.command != "run":
        return _beside_a_sandbox(parser, arguments)
    if find_spec("papermill") is None:
        parser.error('running notebooks needs papermill: pip install "audience-toolkit[lab]"')
    try:
        parameters = given_parameters(arguments)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    from toolkit.notebook.runner import run  # --help does without all that it imports

    return run(
        arguments.notebook,
        parameters,
        output=arguments.output,
        execution_timeout=arguments.execution_timeout,
        alert_command=arguments.alert_command or "",
        size_change=arguments.alert_size_change,
    )


# --- beside a sandbox: whatever the environment has of Postscript is set aside ----------------------------

NOTEBOOKS = Path("notebooks")
OUTPUT = Path("output", "demo")
SANDBOX_KEY = "sk_sandbox"
"""The key that every sandbox accepts; it opens nothing else."""
_STEPS: Mapping[str, Mapping[str, Any]] = {
    "1_preview_audiences": {},
    "2_validate_contacts": {},
    "3_sync_audiences": {"dry_run": False},
    "4_audit_report": {},
}


def _beside_a_sandbox(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if not NOTEBOOKS.is_dir():
        parser.error("demo and lab run in the project's folder, which has a folder named notebooks.")
    # A plain kill ends it as an exit does, so that no sandbox stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running_sandbox():
        return demo() if arguments.command == "demo" else lab(arguments.words)


@contextmanager
def running_sandbox() -> Iterator[None]:
    """Run a sandbox in a process of its own, and point this process and its children there."""
    for name in [name for name in os.environ if name.startswith(("POSTSCRIPT_", "TOOLKIT_"))]:
        del os.environ[name]
    people = resources.files("toolkit.segment") / "sample" / "subscribers.ndjson"
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


def demo() -> int:
    """Run the four notebooks on the sample, live against the sandbox; return the exit code."""
    from toolkit.notebook.runner import run

    started = time.monotonic()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    for notebook, parameters in _STEPS.items():
        place = {"output_dir": str(OUTPUT)}
        if code := run(notebook, {**parameters, **place}, output="{output_dir}/{notebook}.ipynb"):
            return code
    found = json.loads((OUTPUT / "3_sync_audiences" / "summary.json").read_text("utf-8"))
    statuses = ", ".join(f"{n} {status}" for status, n in found["change_statuses"].items())
    print(
        f"\n{found['received']} events received, {found['memberships']} memberships: {statuses}.\n"
        f"{sum(found['calls'].values())} calls in {found['seconds']:.0f} s of syncing; "
        f"all four notebooks took {time.monotonic() - started:.0f} s.\n"
        f"Report: {(OUTPUT / '4_audit_report' / 'report.html').resolve()}"
    )
    return 0


def lab(words: Sequence[str]) -> int:
    """Open JupyterLab on the notebooks; return its exit code when it is closed.

    The sandbox is a new shop each time, and so is the ledger: what an earlier one held would not be true of
    it, and a real shop's ledger must not get a sandbox's runs.
    """
    with TemporaryDirectory(prefix="sandbox-") as folder:
        os.environ["TOOLKIT_LEDGER_URL"] = f"sqlite:///{folder}/ledger.db"
        # In a container one is often root, which Jupyter refuses by default; it listens on this machine only.
        root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command = [sys.executable, "-m", "jupyterlab", *root, *words]
        return subprocess.run(command, cwd=NOTEBOOKS, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    # jsonschema, which nbformat imports, does without where this is absent. Its grammars take two seconds to
    # build, for identifiers that no notebook has.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    sys.exit(main())
