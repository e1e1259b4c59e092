"""The project keeps its own promises: imports point one way, names and versions agree, files are clean."""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
import tomllib
from pathlib import Path

import make_sample
import pytest
import yaml
from conftest import NOTEBOOKS, PROJECT
from tables import every

import toolkit
from toolkit.parameters import PARAMETERS
from toolkit.sandbox import Sandbox
from toolkit.sandbox.records import load_subscribers

PACKAGE = PROJECT / "toolkit"

PURE = {
    "frames": {"errors"},
    "events": {"errors"},
    "triggers": {"errors"},
    "mapping": {"errors"},
    "contacts": {"errors", "frames"},
    "wire": {"errors"},
    "statuses": {"errors"},
    "settings": {"errors"},
    "destination": {"triggers", "mapping", "events", "contacts", "statuses", "errors"},
}
CORE = {
    *PURE,
    "rows",
    "parameters",
    "memberships",
    "movements",
    "plan",
    "mirror",
    "price",
    "leftovers",
    "recheck",
    "wishes",
    "opposites",
    "drift",
    "runs",
    "explain",
    "preview",
    "corrections",
    "errors",
}
FLOW = {"lookup", "scan", "reading", "outlook", "timeline", "delivery", "sync", "undo", "audit"}
ALLOWED = {
    "errors": set(),
    **PURE,
    **dict.fromkeys(CORE - {*PURE, "errors"}, CORE),
    "corrections": CORE | {"artefacts"},
    **dict.fromkeys(FLOW, CORE | FLOW),
    "report": CORE,
    "inputs": {"errors"},
    "archive": CORE | {"inputs"},
    "snapshots": CORE | {"inputs"},
    "artefacts": {"contacts"},
    "plan_file": CORE | {"artefacts"},
    "ledger": CORE | {"artefacts"},
    "pacing": {"errors"},
    "transport": set(),
    "client": CORE | {"pacing", "transport"},
    "sandbox": {"errors", "settings", "wire", "sandbox"},
    "migrations": set(),
    "widgets": CORE,
    "notebook": CORE | {"artefacts", "client", "inputs", "ledger", "report", "sync", "timeline", "widgets"},
    "rehearsal": {"sandbox"},
    "headless": CORE | {"artefacts", "inputs"},
    "__main__": {"headless"},
}
HOMES = {
    "requests": {"client", "transport", "headless"},  # the last for alerts, which are no calls of Postscript
    "urllib3": {"transport"},
    "filelock": {"pacing"},
    "platformdirs": {"pacing"},
    "sqlalchemy": {"ledger", "migrations"},
    "alembic": {"ledger", "migrations"},
    "duckdb": {"archive"},
    "liquid": {"mapping"},
    "matplotlib": {"report"},
    "papermill": {"headless"},
    "nbformat": {"headless"},
    "jupyter_client": {"headless"},
    "IPython": {"notebook", "widgets"},
    "ipywidgets": {"widgets"},
    "tqdm": {"widgets"},
    "starlette": {"sandbox"},
    "uvicorn": {"sandbox"},
}
"""Outside thing → the modules that may use it."""


def modules() -> list[tuple[str, Path]]:
    """Return every Python file of the package with the module it belongs to."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in files]


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """Return what a file imports of ours, and of others."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            depth = len(path.relative_to(PACKAGE).parts)
            inside = node.level == depth  # relative to the package itself
            if node.level and not inside:
                ours.add(path.relative_to(PACKAGE).parts[0])
                continue
            names = (
                [f"toolkit.{node.module}"]
                if inside and node.module
                else [f"toolkit.{alias.name}" for alias in node.names]
                if inside or node.module == "toolkit"
                else [str(node.module)]
            )
        for name in names:
            first, _, rest = name.partition(".")
            if first == "toolkit":
                ours.add(rest.partition(".")[0])
            else:
                others.add(first)
    return ours, others


@every("module, path", modules())
def test_imports_point_one_way(module, path):
    """A module imports only what its place allows; the face, __init__, may import all."""
    if module == "__init__":
        return
    ours, others = imports_of(path)
    assert ours - {module} <= ALLOWED[module]
    assert not {other for other in others if module not in HOMES.get(other, {module})}


def test_the_environment_is_read_in_one_place():
    """Only settings knows environment variables; the rehearsal hands its own on to processes."""
    readers = {
        module for module, path in modules() if re.search(r"os\.environ|getenv", path.read_text("utf-8"))
    }
    assert readers <= {"settings", "rehearsal"}


def test_the_face_is_sorted_and_real():
    """Every public name exists, and the README tells what each is for."""
    readme = (PROJECT / "README.md").read_text("utf-8")
    capitals_first = sorted(toolkit.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert toolkit.__all__ == capitals_first
    assert [name for name in toolkit.__all__ if not hasattr(toolkit, name)] == []
    assert [name for name in toolkit.__all__ if f"`{name}`" not in readme] == []


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


def test_the_readme_names_every_notebook_and_parameter():
    """Each notebook's row lists its parameters in order; each parameter is explained."""
    readme = (PROJECT / "README.md").read_text("utf-8")
    for notebook in NOTEBOOKS:
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{notebook}`"))
        assert ", ".join(f"`{name}`" for name in PARAMETERS[notebook]) in row
    explained = set(re.findall(r"^\| `(\w+)` \| `", readme, flags=re.MULTILINE))
    assert explained == {name for names in PARAMETERS.values() for name in names}


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    """The examples in the README work as they stand, one after the other, against a shop."""
    monkeypatch.chdir(tmp_path)
    readme = (PROJECT / "README.md").read_text("utf-8")
    people = load_subscribers(PACKAGE / "sample" / "subscribers.ndjson", "2026-11-01T00:00:00Z")
    emails = [person["email"] for person in people if person["email"]]
    Path("vip.csv").write_text("\n".join(["email", *emails[:9]]), "utf-8")
    with (
        Sandbox(people, rate=100_000) as sandbox,
        toolkit.PostscriptClient(sandbox.base_url, "sk_sandbox", requests_per_second=300) as postscript,
        toolkit.Ledger("sqlite:///ledger.db") as ledger,
    ):
        names = {"postscript": postscript, "ledger": ledger, "shop": toolkit.connect_shop(postscript)}
        for example in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL):
            exec(compile(example, "README.md", "exec"), names)
        assert sandbox.custom_events
    changes = names["plan"].changes
    would = changes["status"].isin(["would_add", "would_remove"])
    assert {*changes.loc[would, "audience_key"]} == {"vip_customers"}


def test_the_readmes_mapping_file_is_read(tmp_path):
    """The destination file in the README is a good one."""
    readme = (PROJECT / "README.md").read_text("utf-8")
    example = re.search(r"```yaml\n(.*?)```", readme, flags=re.DOTALL)
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
    assert {requirement(r) for r in declared} <= set(pins)
    for line in declared:
        floor = line.partition(">=")[2]
        if floor:
            assert [*map(int, re.findall(r"\d+", pins[requirement(line)]))] >= [*map(int, floor.split("."))]

    environment = yaml.safe_load((PROJECT / "environment.yml").read_text("utf-8"))
    python, _pip, by_pip = environment["dependencies"]
    assert python == f"python{project['requires-python']}"
    assert by_pip["pip"] == ["-c constraints.txt", f"-e .[{','.join(sorted(extras))}]"]
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    assert f"-c constraints.txt -e '.[{','.join(sorted(extras))}]'" in makefile


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

    assert read(tmp_path) == read(PACKAGE / "sample")
