"""What stands around the code: image, compose file, workflows. Parsed, and their commands are ours."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import PROJECT

from toolkit.__main__ import command_parser, given_parameters
from toolkit.notebook.parameters import PARAMETERS

WORKFLOWS = [*(PROJECT / ".github" / "workflows").glob("*.yml")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_what_it_uses(path):
    """By commit, with the version beside it; it may only read, and ends in time."""
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    used = re.findall(r"uses: (.*)", text)
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90


def test_the_workflow_knows_every_supported_python():
    """The oldest runs everything, the others the tests."""
    jobs = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]
    oldest = [
        s["with"]["python-version"] for s in jobs["whole"]["steps"] if "setup-python" in s.get("uses", "")
    ]
    assert oldest + jobs["pythons"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]


def test_compose_starts_a_sync_beside_its_ledger():
    """No secret in the file, a ledger that is awaited, and a command that our parser takes: a dry run."""
    text = (PROJECT / "compose.yaml").read_text("utf-8")
    services = yaml.safe_load(text)["services"]
    sync, ledger = services["sync"], services["ledger"]
    assert sync["depends_on"] == {"ledger": {"condition": "service_healthy"}}
    assert ledger["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    secret = re.compile(r"(?:POSTSCRIPT_SECRET_KEY|POSTGRES_PASSWORD): (.*)")
    assert all(value.startswith("${") for value in secret.findall(text))
    arguments = command_parser().parse_args([str(word) for word in sync["command"]])
    assert {*given_parameters(arguments)} <= {*PARAMETERS[arguments.notebook]}


def test_the_image_holds_the_package_and_runs_as_a_user():
    """What is copied is what the wheel needs; not root; our command is the entry point."""
    lines = (PROJECT / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER analyst$", lines, flags=re.MULTILINE)
    assert lines.index("USER analyst") < lines.index('ENTRYPOINT ["audience-toolkit"]')
    assert {*re.findall(r"^FROM (\S+)", lines, flags=re.MULTILINE)} == {"python:3.12-slim"}
    ignored = (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert kept == {
        "constraints.txt",
        "LICENSE",
        "notebooks/*.ipynb",
        "pyproject.toml",
        "README.md",
        "toolkit",
    }


def test_the_wheel_has_what_the_commands_need():
    """Each file of the package, and each notebook, that is no module is declared as its data."""
    command = ["git", "ls-files", "toolkit", "notebooks"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    shipped = {
        re.sub(r"^notebooks/", "toolkit/notebook/notebooks/", name)
        for name in listed.stdout.split()
        if not name.endswith((".py", "notebook/notebooks"))
    }
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["toolkit"]
    paths = [path for pattern in patterns for path in (PROJECT / "toolkit").glob(pattern)]
    assert shipped <= {path.relative_to(PROJECT).as_posix() for path in paths}
