"""A browser for the tests of documents: Debian's Chromium without a network, and the axe-core rules."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = Path(__file__).parent.parent / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Open a browser; the test is skipped where there is none, and fails where CI is set."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        lacking("no browser is installed (apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("Playwright is not installed (pip install playwright)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


def keep_picture(page: Page, name: str) -> None:
    """Keep a picture of the page in the folder that SCREENSHOTS names, if it names one."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def axe_source() -> str:
    """Return axe-core: the file that AXE_CORE names, else that of node_modules."""
    path = Path(os.environ.get("AXE_CORE") or AXE)
    if not path.is_file():
        lacking("axe-core is not installed (npm install axe-core)")
    return path.read_text("utf-8")


def violations(page: Page, axe: str) -> list[str]:
    """Return the serious and critical findings of axe-core, each with its rule and the first places."""
    page.evaluate(axe)
    found: list[dict[str, Any]] = page.evaluate("axe.run().then((results) => results.violations)")
    return [
        f"{rule['id']}: {[node['target'] for node in rule['nodes'][:3]]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def lacking(what: str) -> None:
    """Skip the test with a reason; where CI is set nothing may be lacking."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)
