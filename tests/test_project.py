"""The project keeps its own promises: imports point one way, names and versions agree, files are clean."""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
import tomllib
from contextlib import ExitStack
from functools import partial
from inspect import ismodule
from pathlib import Path
from typing import Any

import make_sample
import pytest
import yaml
from conftest import NOTEBOOKS, PROJECT, SAMPLE

import toolkit
from toolkit.notebook.parameters import PARAMETERS
from toolkit.sandbox import Sandbox
from toolkit.sandbox.records import load_subscribers

PACKAGE = PROJECT / "toolkit"
ROOMS = {f"toolkit.{entry.stem}" for entry in PACKAGE.iterdir()}

HOMES = {
    "toolkit": {"notebook"},  # the face, all that the rooms have
    "requests": {"postscript", "notebook.alerts"},  # the latter for alerts, which are no calls of Postscript
    "urllib3": {"postscript.client"},
    "tenacity": {"postscript.client", "ledger.database", "notebook.alerts"},
    "filelock": {"postscript.rate_limit", "ledger.locks"},
    "platformdirs": {"postscript.rate_limit"},
    "sqlalchemy": {"ledger"},
    "alembic": {"ledger"},
    "phonenumbers": {"contacts"},
    "email_validator": {"contacts"},
    "duckdb": {"segment.archive"},
    "liquid": {"segment.mapping"},
    "yaml": {"segment.destination", "__main__"},  # the latter for the parameters of a scheduled run
    "matplotlib": {"report"},
    "jinja2": {"report.document"},
    "markupsafe": {"report.document"},
    "papermill": {"notebook.runner"},
    "nbformat": {"notebook.runner"},
    "jupyter_client": {"notebook.runner"},
    "jupyter_core": {"notebook.runner"},
    "IPython": {"notebook"},
    "ipywidgets": {"notebook.widgets"},
    "tqdm": {"notebook.widgets"},
    "pydantic": {"sandbox"},
    "starlette": {"sandbox"},
    "uvicorn": {"sandbox"},
}
"""Outside library → where it may be imported."""


def modules() -> list[tuple[str, Path]]:
    """Return every Python file of the package with the name of its module."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [(".".join(path.relative_to(PACKAGE).with_suffix("").parts), path) for path in files]


def libraries_of(path: Path) -> set[str]:
    """Return what a file imports from outside its room: libraries, and ``toolkit`` where it is the face."""
    nodes = [*ast.walk(ast.parse(path.read_text("utf-8")))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.partition(".")[0] for name in names if ".".join(name.split(".")[:2]) not in ROOMS}


def test_each_outside_library_has_one_home():
    """The layers are contracts in pyproject.toml; what is not ours is imported in its own place only."""
    strays = [
        f"{module} imports {library}"
        for module, path in modules()
        for library in libraries_of(path) & HOMES.keys()
        if not f"{module}.".startswith(tuple(f"{home}." for home in HOMES[library]))
    ]
    assert strays == []


TWICE = {
    "Shop": "the client's shop, and the stand-in's",
    "Subscriber": "what the client reads of a record, and the stand-in's whole record",
    "main": "each command line has one",
}
"""Public name that two modules define → why it may."""


def defined(node: ast.stmt) -> str:
    """Return the name of the class, type or function that a statement defines, if it does."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    is_type = isinstance(target, ast.Name) and re.match("[A-Z][a-z]", target.id)
    # A variable of a type is made by a call, and is each module's own.
    return target.id if is_type and not isinstance(node.value, ast.Call) else ""


def test_a_public_name_means_one_thing():
    """No two modules define a class, type or function of the same name, but for those with a reason."""
    homes: dict[str, set[str]] = {}
    for module, path in modules():
        for node in ast.parse(path.read_text("utf-8")).body:
            if (name := defined(node)) and not name.startswith("_"):
                homes.setdefault(name, set()).add(module)
    assert {name for name, found in homes.items() if len(found) > 1} == {*TWICE}


def test_the_environment_is_read_in_one_place():
    """Settings, and the folder of the pace that all processes share; the demo hands its own on."""
    readers = {m for m, path in modules() if re.search(r"os\.environ|getenv", path.read_text("utf-8"))}
    assert readers <= {"notebook.settings", "notebook.workspace", "postscript.rate_limit"}


def test_the_face_is_sorted_and_real():
    """Every public name exists and is no room that hides it, and a page names what each is for."""
    page = (PROJECT / "docs" / "python.md").read_text("utf-8")
    import toolkit.sync.sync

    rooms = [name for name in toolkit.__all__ if ismodule(getattr(toolkit, name))]
    assert (rooms, len(toolkit.__all__)) == (["contacts", "report"], 52)
    assert [name for name in toolkit.__all__ if f"`{name}`" not in page] == []


def test_every_link_in_the_documents_leads_somewhere():
    """A page that is named relative to another is there."""
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *PROJECT.glob("docs/**/*.md")]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        if "://" not in target
    ]
    assert len(links) > 20
    assert [(p.name, target) for p, target in links if not (p.parent / target).exists()] == []


def test_the_readme_is_short():
    """A stranger reads it in five minutes: at most 900 words."""
    assert len((PROJECT / "README.md").read_text("utf-8").split()) <= 900


def test_a_page_names_every_notebook_and_parameter():
    """Each notebook's row lists its parameters in order; each parameter is explained."""
    page = (PROJECT / "docs" / "parameters.md").read_text("utf-8")
    for notebook in NOTEBOOKS:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{notebook}`"))
        assert ", ".join(f"`{name}`" for name in PARAMETERS[notebook]) in row
    explained = set(re.findall(r"^\| `(\w+)` \| `", page, flags=re.MULTILINE))
    assert explained == {name for names in PARAMETERS.values() for name in names}


def test_the_documents_python_runs(tmp_path, monkeypatch):
    """The examples work as they stand, one after the other, against a shop."""
    monkeypatch.chdir(tmp_path)
    pages = [PROJECT / "README.md", *(PROJECT / "docs" / f"{name}.md" for name in ("mappings", "python"))]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    people = load_subscribers(SAMPLE / "subscribers.ndjson", "2026-11-01T00:00:00Z")
    emails = [person["email"] for person in people if person["email"]]
    Path("vip.csv").write_text("\n".join(["email", *emails[:9]]), "utf-8")
    faster = partial(toolkit.PostscriptClient, requests_per_second=300)
    monkeypatch.setattr(toolkit, "PostscriptClient", faster)
    names: dict[str, Any] = {}
    with Sandbox(people, rate=100_000) as sandbox, ExitStack() as opened:
        monkeypatch.setenv("POSTSCRIPT_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("POSTSCRIPT_SECRET_KEY", "sk_sandbox")
        opened.callback(lambda: [names[name].close() for name in ("postscript", "ledger")])
        for example in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
            exec(compile(example, "docs", "exec"), names)
        assert sandbox.custom_events
    changes = names["plan"].changes
    would = changes["status"].isin(["would_add", "would_remove"])
    assert {*changes.loc[would, "audience_key"]} == {"vip_customers"}


def test_the_documents_mapping_file_is_read(tmp_path):
    """The destination file in the page about mappings is a good one."""
    page = (PROJECT / "docs" / "mappings.md").read_text("utf-8")
    example = re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "destination.yaml").write_text(example[1])
    assert len(toolkit.Destination.from_file(tmp_path / "destination.yaml").mappings) == 1


def requirement(line: str) -> str:
    """Return a requirement's name in its normal form."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~! ;]", line, maxsplit=1)[0]).lower()


def test_the_three_lists_of_packages_agree():
    """Every declared package is pinned, pins satisfy what is declared, and conda installs the same."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (PROJECT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {requirement(line): line.partition("==")[2] for line in lines if line and not line.startswith("#")}
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(r for group in extras.values() for r in group)]
    declared = [line for line in declared if not line.startswith(project["name"])]
    assert {requirement(r) for r in declared} <= set(pins)
    for line in declared:
        floor = line.partition(">=")[2]
        if floor:
            assert [*map(int, re.findall(r"\d+", pins[requirement(line)]))] >= [*map(int, floor.split("."))]

    environment = yaml.safe_load((PROJECT / "environment.yml").read_text("utf-8"))
    python, _pip, by_pip = environment["dependencies"]
    assert python == f"python{project['requires-python']}"
    # Who uses the toolkit has no use for what tests it.
    assert by_pip["pip"] == ["-c constraints.txt", "-e .[lab,schedule]"]
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    assert "INSTALL = $(PIP) -c constraints.txt -e '.[lab,schedule]'" in makefile
    assert "INSTALL_TESTS = $(PIP) -c constraints.txt -e '.[lab,schedule,test]'" in makefile


def test_every_pin_has_its_hashes():
    """requirements.txt has the versions of constraints.txt, with hashes of their files; else: make lock."""
    pins = (PROJECT / "constraints.txt").read_text("utf-8").splitlines()
    text = (PROJECT / "requirements.txt").read_text("utf-8").replace("\\\n", "")
    locked = dict(line.split(maxsplit=1) for line in text.splitlines())
    form = r"--hash=sha256:[0-9a-f]{64}( +--hash=sha256:[0-9a-f]{64})*"
    assert all(re.fullmatch(form, hashes.strip()) for hashes in locked.values())
    wanted = {(requirement(pin), pin.partition("==")[2]) for pin in pins if not pin.startswith("#")}
    assert {(requirement(pin), pin.partition("==")[2]) for pin in locked} == wanted


def test_the_pins_name_no_place():
    """No download address, no path of a machine, no editable."""
    for line in (PROJECT / "constraints.txt").read_text("utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line)


def test_what_is_kept_in_git_is_clean():
    """No notebook output, no ledger, no environment, nothing above a megabyte is committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [PROJECT / name for name in listed.stdout.split("\0") if name]
    assert not [f for f in files if f.suffix in {".db", ".pyc"} or ".venv" in f.parts]
    assert not [f for f in files if f.exists() and f.stat().st_size > 1_000_000]


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.mark.parametrize("name", ["segment-logs", "subscribers.ndjson"])
def test_the_sample_is_what_its_maker_makes(tmp_path, monkeypatch, name):
    """The bundled sample can be made again, line by line."""
    monkeypatch.setattr(make_sample, "TARGET", tmp_path)
    make_sample.write()

    def read(folder: Path) -> dict[str, bytes]:
        root = folder / name
        paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): unpacked(p) for p in paths}

    assert read(tmp_path) == read(PACKAGE / "segment" / "sample")
