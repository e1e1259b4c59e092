"""jupyter-scheduler itself runs the notebooks: jobs over its REST API, judged by what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from browser import lacking
from conftest import BUDGET_FOLDER, NOTEBOOKS, PROJECT, SAMPLE, files_with
from servers import free_port

from toolkit.sandbox import Sandbox
from toolkit.sandbox.records import load_subscribers

pytestmark = pytest.mark.slow

KEY = "sk_a_key_that_must_not_be_seen_7Qx"
TOKEN = "a-token-for-this-test"
PREVIEW, SYNC = "1_preview_audiences", "3_sync_audiences"


def wait_for(find: Callable[[], Any], what: str, seconds: float = 180) -> Any:
    """Return what *find* returns as soon as that is something."""
    until = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > until:
            pytest.fail(f"{what} did not come within {seconds:.0f} seconds.")
        time.sleep(0.1)
    return found


class Server:
    """A Jupyter server with the extension, in a folder that holds all it writes."""

    def __init__(self, root: Path, sandbox: Sandbox) -> None:
        self.root, self.sandbox = root, sandbox
        self.work = root / "work"
        """What its users see: the folder it was started in, with the notebooks."""
        self.staging = root / "data" / "scheduler_staging_area"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"token {TOKEN}"

    def __enter__(self) -> Server:
        for folder in (self.work, self.root / "data"):
            folder.mkdir()
        for notebook in NOTEBOOKS:
            shutil.copy(PROJECT / "notebooks" / f"{notebook}.ipynb", self.work)
        port = free_port()
        self._address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--port={port}"]
        command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
        command += ["--ServerApp.jpserver_extensions={'jupyter_scheduler': True}"]
        with (self.root / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.work,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for(self._is_up, "The server", seconds=120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            # It waits for its jobs, which is a test that failed before its job ended.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _environment(self) -> dict[str, str]:
        other = ("POSTSCRIPT_", "TOOLKIT_", "JUPYTER")
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(other)},
            "HOME": str(self.root / "home"),
            "IPYTHONDIR": str(self.root / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.root / "config"),
            "JUPYTER_DATA_DIR": str(self.root / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.root / "runtime"),
            "TOOLKIT_BUDGET_FOLDER": BUDGET_FOLDER,
            "POSTSCRIPT_BASE_URL": self.sandbox.base_url,
            "POSTSCRIPT_SECRET_KEY": KEY,
        }

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self.root / "server.log").read_text()
        try:
            return bool(self.ask("GET", "runtime_environments"))
        except requests.ConnectionError:
            return False

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the extension's answer."""
        answer = self._session.request(method, f"{self._address}/scheduler/{path}", timeout=60, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def run(
        self, notebook: str, parameters: Mapping[str, str], *, with_folder: bool = False
    ) -> tuple[dict[str, Any], Path]:
        """Run a job to its end; return how the extension describes it, and the folder it ran in."""
        [environment] = self.ask("GET", "runtime_environments")
        order = {
            "name": notebook,
            "input_uri": f"{notebook}.ipynb",
            "runtime_environment_name": environment["name"],
            "output_formats": ["ipynb"],
            "parameters": parameters,
            "package_input_folder": with_folder,
        }
        number = self.ask("POST", "jobs", json=order)["job_id"]
        # Until its process has begun, a job is called STOPPED.
        wait_for(lambda: self.ask("GET", f"jobs/{number}")["status"] in {"COMPLETED", "FAILED"}, "The end")
        return self.ask("GET", f"jobs/{number}"), self.staging / number

    def download(self, job: Mapping[str, Any]) -> Path:
        """Ask for a job's files as the button does; return the folder they came to."""
        self.ask("GET", f"jobs/{job['job_id']}/download_files")
        folder = self.work / "jobs" / f"{Path(job['input_filename']).stem}-{job['job_id']}"
        wait_for(lambda: self.ask("GET", f"jobs/{job['job_id']}")["downloaded"], "The files")
        return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """One server for all jobs, its kernels pointed at the sample's shop."""
    if find_spec("jupyter_scheduler") is None:
        lacking("jupyter-scheduler is not installed (pip install jupyter-scheduler)")
    people = load_subscribers(SAMPLE / "subscribers.ndjson", "2026-11-01T00:00:00Z")
    with (
        Sandbox(people, keys=(KEY,)) as sandbox,
        Server(tmp_path_factory.mktemp("scheduler"), sandbox) as running,
    ):
        yield running


def executed(folder: Path, notebook: str) -> str:
    """Return the text of the notebook that a job left in its folder."""
    [path] = folder.glob(f"{notebook}-*.ipynb")
    return path.read_text("utf-8")


def summary(output: Path, notebook: str) -> dict[str, Any]:
    return json.loads((output / notebook / "summary.json").read_text("utf-8"))


def test_a_relative_output_dir_is_in_the_jobs_own_folder(server):
    """The kernel runs in the staging area; only with the input folder can its files be downloaded."""
    (server.work / "beside.txt").write_text("mine")
    job, folder = server.run(PREVIEW, {"events_path": '"sample"'}, with_folder=True)
    assert job["status"] == "COMPLETED", job["status_message"]
    found = summary(folder / "output", PREVIEW)
    assert found["status"] == "completed"
    assert found["received"] > 0
    assert not (server.work / "output").exists()

    downloaded = server.download(job)
    came = downloaded / "output" / PREVIEW / "summary.json"
    wait_for(lambda: came.exists() and came.stat().st_size, "The summary")
    assert summary(downloaded / "output", PREVIEW) == found
    assert '"execution_count": 1' in executed(downloaded, PREVIEW)
    assert (folder / "beside.txt").read_text() == "mine"


def test_a_dry_run_with_parameters_as_text(server, tmp_path):
    """Numbers, truth values and lists arrive, the result is where it was asked for, the key is in no file."""
    parameters = {
        "dry_run": "True",
        "requests_per_second": "14",
        "audience_keys": '["vip_customers"]',
        "output_dir": f'"{tmp_path}"',
    }
    job, folder = server.run(SYNC, parameters)
    assert job["status"] == "COMPLETED", job["status_message"]
    found = summary(tmp_path, SYNC)
    assert (found["mode"], found["status"]) == ("dry_run", "completed")
    assert found["change_statuses"]["would_add"] > 0
    changes = pd.read_parquet(tmp_path / SYNC / "changes.parquet")
    assert {*changes.loc[changes["status"] == "would_add", "audience_key"]} == {"vip_customers"}
    assert {entry["method"] for entry in server.sandbox.journal} == {"GET"}

    assert "requests_per_second = 14" in executed(folder, SYNC)
    assert {path.suffix for path in folder.iterdir()} == {".ipynb"}
    assert files_with(server.root, KEY) == files_with(tmp_path, KEY) == []


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        pytest.param({"dry_runn": "False"}, "has no parameter dry_runn", id="an unknown parameter"),
        pytest.param({"requests_per_second": "99"}, "give a number above 0", id="a value out of bounds"),
        pytest.param({"events_path": "segment-logs.gz"}, "NameError", id="a text without quotes"),
        pytest.param({"audience_keys": '["vip_custmers"]'}, "No event names", id="an unknown audience"),
    ],
)
def test_a_job_that_must_not_pass_ends_as_failed(server, parameters, sentence):
    """Its message holds our sentence, its notebook is kept, and nothing is written to Postscript."""
    job, folder = server.run(SYNC, parameters)
    assert job["status"] == "FAILED"
    assert sentence in job["status_message"]
    assert sentence in executed(folder, SYNC)
    assert {entry["method"] for entry in server.sandbox.journal} <= {"GET"}
    assert KEY not in job["status_message"]
