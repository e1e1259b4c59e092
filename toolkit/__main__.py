"""The command line: ``python -m toolkit run NOTEBOOK``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from toolkit.notebook.runner import OUTPUT, ExitCode, Options, run

_PARAMETER_OPTIONS: Sequence[tuple[str, str, tuple[str, ...], str]] = (
    ("-p", "--parameters", ("NAME", "VALUE"), "a parameter; True, False, None and numbers are read as such"),
    ("-r", "--parameters_raw", ("NAME", "VALUE"), "a parameter, kept as text"),
    ("-y", "--parameters_yaml", ("YAML",), "parameters as YAML"),
    ("-f", "--parameters_file", ("FILE",), "parameters in a YAML or JSON file"),
)
_OTHER_OPTIONS: Sequence[tuple[str, type, Any, str, str]] = (
    ("--output", str, OUTPUT, "TEMPLATE", "where the executed notebook goes, never over another"),
    ("--execution-timeout", int, None, "SECONDS", "longest time for one cell"),
    ("--alert-command", str, None, "COMMAND", "start this, without a shell, with the JSON on its stdin"),
    ("--alert-size-change", float, 0.2, "SHARE", "by which an audience may grow or shrink unnoticed"),
)


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    codes = "\n".join(f"  {code.value:>3}  {code.__doc__}" for code in ExitCode)
    parser = argparse.ArgumentParser(prog="python -m toolkit", description=__doc__)
    runs = parser.add_subparsers(required=True, metavar="run").add_parser(
        "run",
        help="run a notebook as a schedule does",
        description="Run a notebook through papermill. The exit code tells how it ended.",
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
    """Do what the command line says; return the exit code."""
    parser = command_parser()
    arguments = parser.parse_args(words)
    if find_spec("papermill") is None:
        parser.error('running notebooks needs papermill: pip install "audience-toolkit[lab]"')
    try:
        parameters = given_parameters(arguments)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return run(
        Options(
            notebook=arguments.notebook,
            parameters=parameters,
            output=arguments.output,
            execution_timeout=arguments.execution_timeout,
            alert_command=arguments.alert_command or "",
            size_change=arguments.alert_size_change,
        )
    )


if __name__ == "__main__":
    # jsonschema, which nbformat imports, does without where this is absent. Its grammars take two seconds to
    # build, for identifiers that no notebook has.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    sys.exit(main())
