"""What ``papermill --help-notebook`` shows of each notebook."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import papermill
import pytest
from conftest import NOTEBOOKS, PROJECT

from toolkit.notebook.parameters import PARAMETERS


def path_of(notebook: str) -> Path:
    return PROJECT / "notebooks" / f"{notebook}.ipynb"


def written(notebook: str) -> list[dict[str, str]]:
    """Return name, type, default and help of each line of the parameters cell."""
    cells = json.loads(path_of(notebook).read_text("utf-8"))["cells"]
    [cell] = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    lines = "".join(cell["source"]).splitlines()
    statements: list[Any] = [ast.parse(line).body[0] for line in lines]
    return [
        {
            "name": statement.target.id,
            "inferred_type_name": ast.unparse(statement.annotation),
            "default": line[statement.value.col_offset : statement.value.end_col_offset],
            "help": line.partition("#")[2].strip(),
        }
        for line, statement in zip(lines, statements, strict=True)
    ]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_papermill_reads_every_parameter(notebook):
    """Each with its type, its default and its help, none empty, in the order of the cell."""
    found = papermill.inspect_notebook(str(path_of(notebook)))
    assert [*found.values()] == written(notebook)
    assert tuple(found) == PARAMETERS[notebook]
    assert all(value for parameter in found.values() for value in parameter.values())


@pytest.mark.parametrize(
    "notebook",
    [NOTEBOOKS[2], *(pytest.param(n, marks=pytest.mark.slow) for n in NOTEBOOKS[:2] + NOTEBOOKS[3:])],
)
def test_the_command_shows_them(notebook):
    """The real command prints every one of them."""
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(path_of(notebook))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shown = " ".join(done.stdout.split())
    for parameter in written(notebook):
        line = "{name}: {inferred_type_name} (default {default}) {help}".format(**parameter)
        assert " ".join(line.split()) in shown
