"""Take Segment Engage audiences to Postscript: at the keyboard, on a schedule, or as a rehearsal."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolkit.errors import InputError, ParameterError
from toolkit.notebook.exit_codes import ExitCode

_PACKAGE = "audience-toolkit"
_NEEDS: Mapping[str, Sequence[str]] = {
    "init": (),
    **dict.fromkeys(("run", "undo"), ("papermill",)),
    "lab": ("jupyterlab", "uvicorn"),
    "sandbox": ("uvicorn", "starlette", "pydantic"),
    **dict.fromkeys(("demo", "simulate"), ("papermill", "ipykernel", "uvicorn")),
}
"""Command → what it needs besides the toolkit itself."""

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
    ("--cwd", str, None, "FOLDER", "where the notebook runs, and relative paths begin"),
    ("--autosave-cell-every", int, 30, "SECONDS", "how often the notebook is saved while a cell runs"),
    ("--alert-command", str, None, "COMMAND", "start this, without a shell, with the JSON on its stdin"),
    ("--alert-size-change", float, 0.2, "SHARE", "by which an audience may grow or shrink unnoticed"),
)


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="audience-toolkit", description=__doc__)
    parser.add_argument("--version", action="version", version=f"audience-toolkit {version(_PACKAGE)}")
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
    runs.add_argument("--log-output", action="store_true", help="show what the cells print as they print it")
    commands.add_parser("demo", help="run the four notebooks on the sample, live against a sandbox")
    init = commands.add_parser("init", help="write the notebooks and a destination file into a folder")
    init.add_argument("folder", metavar="DIR")
    lab = commands.add_parser("lab", help="open JupyterLab on the notebooks, a sandbox beside it")
    lab.add_argument("--no-sandbox", action="store_true", help="talk to the shop of the environment's key")
    undone = commands.add_parser("undo", help="take a run back; without --live only show it")
    undone.add_argument("run_id", metavar="RUN_ID")
    undone.add_argument("--live", action="store_true", help="write to Postscript")
    undone.add_argument("--ledger-url", default="", metavar="URL", help="where the ledger is")
    undone.add_argument("--output-dir", default="output", metavar="DIR", help="default: output")
    simulated = commands.add_parser(
        "simulate",
        help="run the four notebooks on an archive of yours, live against a sandbox",
        description="The archive's people subscribe to a sandbox. Nothing is sent to Postscript.",
    )
    simulated.add_argument("events_path", metavar="EVENTS", help="file, folder or glob of Segment calls")
    simulated.add_argument("--mappings-path", default="", metavar="FILE", help="destination file")
    simulated.add_argument(
        "--share", type=float, default=0.8, help="of the people that subscribes (%(default)s)"
    )
    commands.add_parser("sandbox", help="start a stand-in for Postscript; see sandbox --help", add_help=False)
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
    arguments, others = parser.parse_known_args(words)
    if arguments.command in ("lab", "sandbox"):
        arguments.words = others  # options of what is started
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    lacking = [module for module in _NEEDS[arguments.command] if find_spec(module) is None]
    if lacking:
        extra = "sandbox" if arguments.command == "sandbox" else "lab"
        needs = f"{arguments.command} needs {', '.join(lacking)}"
        parser.error(f'{needs}: pip install "{_PACKAGE}[{extra}]"')
    if arguments.command not in ("run", "undo"):
        try:
            return _do(arguments)
        except (InputError, OSError) as error:
            parser.error(str(error))
    if arguments.command == "undo":
        arguments = parser.parse_args(["run", "5_repair_and_undo", *_undo_words(arguments)])
    try:
        parameters = given_parameters(arguments)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    from toolkit.notebook.runner import run  # --help does without all that it imports

    return run(
        arguments.notebook,
        parameters,
        output=arguments.output,
        options={
            "execution_timeout": arguments.execution_timeout,
            "cwd": arguments.cwd,
            "autosave_cell_every": arguments.autosave_cell_every,
            "log_output": arguments.log_output,
        },
        alert_command=arguments.alert_command or "",
        size_change=arguments.alert_size_change,
    )


def _undo_words(arguments: argparse.Namespace) -> Sequence[str]:
    """Return the parameters with which the notebook for corrections undoes the run."""
    given = {"task": "undo", "run_id": arguments.run_id, "dry_run": str(not arguments.live)}
    given |= {"ledger_url": arguments.ledger_url, "output_dir": arguments.output_dir}
    return [word for name, value in given.items() for word in ("-r", name, value)]


def _do(arguments: argparse.Namespace) -> int:
    """Do what is not the run of one notebook; return the exit code."""
    from toolkit.notebook import workspace

    if arguments.command == "init":
        written = workspace.make_workspace(Path(arguments.folder).expanduser())
        print(*[*map(str, written)] or ["Everything is there already."], sep="\n")
        print(f"Next: cd {arguments.folder}, then audience-toolkit lab.")
        return 0
    if arguments.command == "sandbox":
        command = [sys.executable, "-m", "toolkit.sandbox", *arguments.words]
        return subprocess.run(command, check=False).returncode  # noqa: S603
    # A plain kill ends it as an exit does, so that no sandbox stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.command == "demo":
        return workspace.run_demo()
    if arguments.command == "simulate":
        if not 0 <= arguments.share <= 1:
            raise ParameterError(f"--share is {arguments.share:g}; give a number from 0 to 1.")
        given = {"mappings_path": arguments.mappings_path, "share": arguments.share}
        return workspace.simulate(arguments.events_path, **given)
    return workspace.open_lab(arguments.words, has_sandbox=not arguments.no_sandbox)


def command() -> None:
    """Do what this process was started for, and end it with the exit code."""
    # jsonschema, which nbformat imports, does without where this is absent. Its grammars take two seconds to
    # build, for identifiers that no notebook has.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    sys.exit(main())


if __name__ == "__main__":
    command()
