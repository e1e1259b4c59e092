"""What several test files need: the archive with its truth, and a way to run a notebook."""

from __future__ import annotations

import atexit
import gc
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from servers import make_database, running_server
from stores import new_ledger

from toolkit.ledger import Ledger

# The same examples every time, nothing remembered between runs, nothing left in the checkout.
set_hypothesis_home_dir(Path(__file__).parent.parent / ".pytest_cache" / "hypothesis")
settings.register_profile("project", derandomize=True, database=None, deadline=None)
settings.load_profile("project")

# Each run of the tests shares a pace of its own, and leaves nothing in anybody's cache.
BUDGET_FOLDER = tempfile.mkdtemp(prefix="pace-")
atexit.register(shutil.rmtree, BUDGET_FOLDER, ignore_errors=True)
os.environ["TOOLKIT_BUDGET_FOLDER"] = BUDGET_FOLDER

# The keyring of this machine is neither read nor written.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# jsonschema, which comes with every notebook, builds its grammars for IRIs on import: two seconds a process.
# It does without where the package is absent, and so it is for every process of the tests.
(Path(BUDGET_FOLDER) / "rfc3987_syntax.py").write_text("raise ImportError\n")
sys.path.insert(0, BUDGET_FOLDER)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [BUDGET_FOLDER, os.environ.get("PYTHONPATH")]))


def pytest_collection_finish() -> None:
    """Keep libraries and thousands of tests out of every collection of garbage to come."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let what was kept go as usual."""
    gc.unfreeze()


PROJECT = Path(__file__).parent.parent
SAMPLE = PROJECT / "toolkit" / "segment" / "sample"
ARCHIVE = Path(__file__).parent / "data" / "engage-archive"
NOTEBOOKS = (
    *("1_preview_audiences", "2_validate_contacts", "3_sync_audiences", "4_audit_report"),
    "5_repair_and_undo",
)


def read_packed_lines(name: str) -> list[dict[str, Any]]:
    """Return the rows of a packed NDJSON file beside the archive."""
    with gzip.open(ARCHIVE / f"{name}.ndjson.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="session")
def truth() -> dict[str, Any]:
    """What each round must lead to."""
    with gzip.open(ARCHIVE / "truth.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A new ledger in an empty folder."""
    with new_ledger(tmp_path) as opened:
        yield opened


def files_with(folder: Path, secret: str) -> list[Path]:
    """Return the files below *folder* that hold the secret, read as bytes, tables unpacked too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    tables = [path for path in paths if path.suffix == ".parquet"]
    return [path for path in paths if secret.encode() in path.read_bytes()] + [
        path for path in tables if secret in pd.read_parquet(path).to_csv()
    ]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, without its database."""
    with running_server() as url:
        yield url


@pytest.fixture
def postgresql_url(server: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    return make_database(
        server, re.sub(r"\W", "_", f"{request.module.__name__}_{request.node.name}".lower())[-60:]
    )


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger, in a file or, where the test asks for it, on a server."""
    if getattr(request, "param", "sqlite") == "postgresql":
        return str(request.getfixturevalue("postgresql_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


RunNotebook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_notebook(tmp_path: Path) -> RunNotebook:
    """A function that runs a notebook through papermill in an empty folder, as a schedule would."""

    def run(
        notebook: str, parameters: Mapping[str, Any] | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTSCRIPT_", "TOOLKIT_"))}
        given = [w for k, v in (parameters or {}).items() for w in ("-r", k, str(v))]
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "papermill",
                str(PROJECT / "notebooks" / f"{notebook}.ipynb"),
                str(tmp_path / f"{notebook}.ipynb"),
                "--no-progress-bar",
                *given,
            ],
            cwd=tmp_path,
            env={
                **kept,
                "IPYTHONDIR": str(tmp_path / ".ipython"),
                "TOOLKIT_BUDGET_FOLDER": BUDGET_FOLDER,
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    return run


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: packed ones hold the time of packing, and every worker must agree."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None
