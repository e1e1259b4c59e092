"""At the keyboard: JupyterLab in a real browser, operated by role and name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from browser import keep_picture, open_browser
from conftest import BUDGET_FOLDER, NOTEBOOKS, PROJECT, read_packed_lines
from servers import free_port

from toolkit.sandbox import Sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOKEN = "a-token-for-this-test"
QUIET = {"fetchNews": "false", "checkForUpdates": False}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(read_packed_lines("subscribers"), rate=100_000) as running:
        yield running


@pytest.fixture
def lab(tmp_path, sandbox) -> Iterator[str]:
    """The address of a JupyterLab on copies of the notebooks, its kernels pointed at a sandbox."""
    for notebook in NOTEBOOKS:
        shutil.copy(PROJECT / "notebooks" / f"{notebook}.ipynb", tmp_path)
    settings = tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTSCRIPT_", "TOOLKIT_", "JUPYTER"))}
    environment = {
        **kept,
        "HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "TOOLKIT_BUDGET_FOLDER": BUDGET_FOLDER,
        "POSTSCRIPT_BASE_URL": sandbox.base_url,
        "POSTSCRIPT_SECRET_KEY": "sk_sandbox",
    }
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", f"--port={port}"]
    command += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0"]
    with (
        (tmp_path / "lab.log").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: is_up(address), what="JupyterLab")
            yield address
        finally:
            server.terminate()


def is_up(address: str) -> bool:
    try:
        return requests.get(f"{address}/api/status?token={TOKEN}", timeout=5).ok
    except requests.ConnectionError:
        return False


def wait_until(is_so, *, what: str, seconds: float = 60) -> None:
    for _ in range(int(seconds * 10)):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail(f"{what} did not come within {seconds:.0f} seconds.")


def open_notebook(browser, lab: str, notebook: str) -> Page:
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.goto(f"{lab}/lab/tree/{notebook}.ipynb?token={TOKEN}&reset")
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    return page


def run_all(page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def run_again_from(page, text: str) -> None:
    """Run the cell that holds *text* and all below it."""
    page.locator(".jp-CodeCell .jp-InputPrompt").locator("visible=true").first.click()
    page.locator(".jp-CodeCell").filter(has_text=text).first.locator(".jp-InputPrompt").click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run Selected Cell and All Below", exact=True).click()


def set_pace(page, requests_per_second: int) -> None:
    """Change the pace by its control."""
    pace = page.get_by_role("textbox", name="requests_per_second")
    pace.fill(str(requests_per_second))
    pace.press("Enter")
    page.get_by_text(f"requests_per_second is now {requests_per_second}.0").wait_for()


def summary_of(folder: Path) -> dict:
    path = folder / "output" / "3_sync_audiences" / "summary.json"
    return json.loads(path.read_text()) if path.exists() else {"status": "none yet"}


def wait_for_run(page, folder: Path, status: str) -> dict:
    """Wait until the run has this status and the kernel is idle again; return the run's summary."""
    wait_until(lambda: summary_of(folder)["status"] == status, what=f"A run that ended as {status}")
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    return summary_of(folder)


@pytest.mark.slow
def test_a_live_sync_is_asked_for_canceled_and_taken_up(lab, sandbox, tmp_path):
    """No writes nothing and remembers nothing; Cancel and ■ leave the rest pending; the next run does it."""
    with open_browser() as browser:
        page = open_notebook(browser, lab, "3_sync_audiences")
        run_all(page)
        planned = wait_for_run(page, tmp_path, "completed")
        assert planned["mode"] == "dry_run"

        # The control decides what the cell below will do.
        page.get_by_role("checkbox", name="dry_run").uncheck()
        page.get_by_text("dry_run is now False").wait_for()
        pace = page.get_by_role("textbox", name="requests_per_second")
        pace.fill("nine")
        pace.press("Enter")
        page.get_by_role("alert").filter(has_text="give a number").wait_for()
        set_pace(page, 8)

        run_again_from(page, "run.read()")
        page.get_by_role("button", name="Cancel").click()
        refused = wait_for_run(page, tmp_path, "canceled")
        assert refused["change_statuses"]["pending"] == planned["adds"] + planned["removes"]
        assert {entry["method"] for entry in sandbox.journal} == {"GET"}

        run_again_from(page, "run.read()")
        page.get_by_role("button", name="Sync Sandbox Shop").click()
        wait_until(lambda: any(e["method"] == "PATCH" for e in sandbox.journal), what="The first write")
        keep_picture(page, "sync_writing")
        page.get_by_role("button", name="Cancel").locator("visible=true").last.click()
        assert wait_for_run(page, tmp_path, "canceled")["change_statuses"]["pending"]
        assert not sandbox.custom_events

        set_pace(page, 3)  # a busy machine may take its time for the next click
        run_again_from(page, "run.read()")
        page.get_by_role("button", name="Sync Sandbox Shop").click()
        before = len(sandbox.journal)
        wait_until(lambda: len(sandbox.journal) > before + 8, what="Some calls")
        page.get_by_role("button", name="Interrupt the kernel").click()
        wait_for_run(page, tmp_path, "canceled")
        assert len(sandbox.custom_events) < planned["custom_events"]

        set_pace(page, 14)
        run_again_from(page, "run.read()")
        page.get_by_role("button", name="Sync Sandbox Shop").click()
        done = wait_for_run(page, tmp_path, "completed")
        keep_picture(page, "sync_done")
        assert "pending" not in done["change_statuses"]
        assert len(sandbox.custom_events) == planned["custom_events"]
        posted = [
            (e["matched_subscriber_id"], e["type"], str(e["properties"])) for e in sandbox.custom_events
        ]
        assert len(posted) == len(set(posted))


def ask_around(page, notebook: str) -> None:
    """Use the controls that a notebook has beside its parameters."""
    if notebook == "1_preview_audiences":
        page.get_by_role("textbox", name="Explain").fill("cus_0001")
        page.get_by_role("button", name="Explain this person").click()
        page.get_by_text("Person user:cus_0001").wait_for()
        page.get_by_label("From", exact=True).fill("2026-11-04")
        page.get_by_text("Members by day (UTC): on ").wait_for()
    if notebook == "3_sync_audiences":
        page.get_by_role("listbox", name="audience_keys").select_option(["vip_customers"])
        page.get_by_text("audience_keys is now ('vip_customers',)").wait_for()


@pytest.mark.slow
def test_every_notebook_runs_from_top_to_bottom(lab, tmp_path):
    """Opened, run and operated by a person, one after the other, no cell ends in an error."""
    with open_browser() as browser:
        for notebook in NOTEBOOKS:
            page = open_notebook(browser, lab, notebook)
            run_all(page)
            summary = tmp_path / "output" / notebook / "summary.json"
            wait_until(summary.exists, what=f"{notebook}'s summary")
            page.get_by_text("| Idle").wait_for(timeout=60_000)
            ask_around(page, notebook)
            keep_picture(page, notebook)
            assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
