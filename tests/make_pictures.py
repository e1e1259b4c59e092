"""Take the README's pictures from what ``make demo`` left: ``python tests/make_pictures.py``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import nbformat
import papermill
from browser import open_browser
from nbconvert import HTMLExporter

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROJECT = Path(__file__).parent.parent
DEMO = PROJECT / "output" / "demo"
IMAGES = PROJECT / "docs" / "images"
WIDTH, HEIGHT = 1000, 1120
FIRST, BEYOND = "Members a sync would reach", "Events by status"
"""Headings of 1_preview_audiences between which the picture of it is taken."""


def take_report(browser: Browser) -> None:
    """Write the head of the demo's report as a picture."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto((DEMO / "4_audit_report" / "report.html").as_uri())
    page.screenshot(path=IMAGES / "report.png")


def take_preview(browser: Browser) -> None:
    """Run the preview where the demo left its ledger, and write a part of it as a picture."""
    with TemporaryDirectory() as folder:
        done = Path(folder) / "preview.ipynb"
        notebook = PROJECT / "notebooks" / "1_preview_audiences.ipynb"
        papermill.execute_notebook(notebook, done, {"output_dir": str(DEMO)}, progress_bar=False)
        text, _ = HTMLExporter(exclude_input=True, exclude_output_prompt=True).from_notebook_node(
            nbformat.read(done, as_version=4)
        )
        page_file = done.with_suffix(".html")
        page_file.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(page_file.as_uri())
        top, bottom = (page.get_by_role("heading", name=name).bounding_box() for name in (FIRST, BEYOND))
        clip = {"x": 0, "y": top["y"] - 8, "width": WIDTH, "height": bottom["y"] - top["y"] - 8}
        page.screenshot(path=IMAGES / "preview.png", clip=clip, full_page=True)


def main() -> None:
    """Write docs/images/report.png and docs/images/preview.png."""
    with open_browser() as browser:
        take_report(browser)
        take_preview(browser)


if __name__ == "__main__":
    main()
