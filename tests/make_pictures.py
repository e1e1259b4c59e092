"""Take the README's pictures from what ``make demo`` left: ``python tests/make_pictures.py``."""

from __future__ import annotations

from pathlib import Path

from browser import open_browser

PROJECT = Path(__file__).parent.parent
REPORT = PROJECT / "output" / "demo" / "4_audit_report" / "report.html"
WIDTH, HEIGHT = 1000, 1120


def main() -> None:
    """Write docs/images/report.png."""
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(REPORT.as_uri())
        page.screenshot(path=PROJECT / "docs" / "images" / "report.png")


if __name__ == "__main__":
    main()
