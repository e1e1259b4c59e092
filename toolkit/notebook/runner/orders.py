"""What is to be run: all that can be checked before a kernel starts is checked here; nothing is written."""

from __future__ import annotations

import ast
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import blocked_by
from toolkit.notebook.parameters import PARAMETERS, read_parameters
from toolkit.segment.inputs import path_of

OUTPUT = "{output_dir}/runs/{notebook}-{started}-{random}.ipynb"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for."""

    notebook: str
    """A path, or one of the notebooks' names."""
    parameters: Mapping[str, Any]
    output: str = OUTPUT
    """Where the executed notebook goes; fields: notebook, started, random, output_dir."""
    execution_timeout: int | None = None
    """Seconds for each cell; None for no limit."""
    alert_command: str = ""
    size_change: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run that may begin: everything about it was checked."""

    source: Path
    notebook: str
    """Its name, or that of the notebook it is a copy of."""
    kernel: str
    parameters: Mapping[str, Any]
    output_dir: Path
    output: Path

    @property
    def folder(self) -> Path:
        """Where the notebook writes its files."""
        return self.output_dir / self.notebook

    @property
    def standing(self) -> Path:
        """What the next run is compared with."""
        return self.output_dir / "runs" / f"{self.notebook}.json"


def prepare(options: Options, started: datetime, secret: str = "") -> Order:
    """Check everything that can be checked before a kernel starts; write nothing.

    Raises
    ------
    InputError
        In one sentence each, what cannot be used.
    """
    source = _find_notebook(options.notebook)
    defaults, kernel = _read_notebook(source)
    copied = (name for name, names in PARAMETERS.items() if names == tuple(defaults))
    notebook = source.stem if source.stem in PARAMETERS else next(copied, source.stem)
    values = {**defaults, **options.parameters}
    problems = []
    if unknown := [name for name in options.parameters if name not in defaults]:
        problems.append(f"{notebook} has no parameter {', '.join(unknown)}. It has {', '.join(defaults)}.")
    if notebook in PARAMETERS:
        try:
            read_parameters(notebook, values)
        except ParameterError as problem:
            problems.append(str(problem))
    if secret and any(secret in str(value) for value in options.parameters.values()):
        problems = ["A parameter holds the secret key, and parameters are saved in the notebook. Remove it."]
    if problems:
        raise ParameterError(" ".join(problems))
    output_dir = path_of(str(values.get("output_dir") or ".").strip(), "output_dir ")
    return Order(
        source=source,
        notebook=notebook,
        kernel=kernel,
        parameters=options.parameters,
        output_dir=output_dir,
        output=_place(options.output, source, notebook, started, output_dir),
    )


def _find_notebook(given: str) -> Path:
    name = f"{given}.ipynb" if given in PARAMETERS else given
    for path in (path_of(name), Path("notebooks") / name):
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


def _place(template: str, source: Path, notebook: str, started: datetime, output_dir: Path) -> Path:
    """Return where the executed notebook goes; InputError when something is there already."""
    fields = {
        "notebook": notebook,
        "started": f"{started:%Y%m%dT%H%M%SZ}",
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
