"""``python -m benchmarks.report [200000]``: the report of a run with so many changes.

Seconds to make it, its size, and with a browser those until it is open and until a search is answered. An
exclamation mark is a limit exceeded: 2 MB for 10,000 changes, three seconds to open any.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from toolkit.postscript.api import AUDIENCES_PROPERTY
from toolkit.report.document import render_report
from toolkit.sync.plan import CHANGE_COLUMNS
from toolkit.sync.runs import Audit, RunRecord

MAX_BYTES, MAX_SECONDS = 2_000_000, 3.0
STARTED = datetime(2026, 3, 1, 12)


def make_audit(count: int, *, refused_share: float = 0.01) -> Audit:
    """Return the audit of a live run with *count* changes, some refused, no two lists alike."""
    numbers = np.arange(count)
    is_refused = np.random.default_rng(1).random(count) < refused_share
    ids = [f"s_{n * 7919 % 10_000_019:08}" for n in numbers]
    event_ids = [f"{n:032x}" for n in numbers]
    changes = pd.DataFrame(
        {
            "person": [f"user:customer_{n:08}" for n in numbers],
            "audience_key": "vip_90_days",
            "member": True,
            "operation": "add",
            "status": np.where(is_refused, "rejected", "added"),
            "reason_code": np.where(is_refused, "REJECTED_BY_POSTSCRIPT", "ENTERED"),
            "subscriber_id": ids,
            "match_method": "phone",
            "email_masked": [f"{chr(97 + n % 26)}•••@mail.test" for n in numbers],
            "phone_masked": [f"•••{n % 100:02}" for n in numbers],
            "external_id": event_ids,
        }
    )
    times = pd.Series(pd.to_datetime(STARTED) + pd.to_timedelta(numbers / 14, unit="s"))
    before = [json.dumps({AUDIENCES_PROPERTY: ["newsletter", f"store {n}"]}) for n in numbers]
    after = [json.dumps({AUDIENCES_PROPERTY: ["newsletter", f"store {n}", "vip_90_days"]}) for n in numbers]
    call = {
        "subscriber_id": ids,
        "started_at": times,
        "finished_at": times,
        "tries": 1,
        "status_code": 200,
        "outcome": "ok",
    }
    writes = {**call, "route": "PATCH /subscribers/{id}", "before": before, "after": after}
    events = {**call, "route": "POST /events", "external_id": event_ids}
    totals = changes.groupby(["audience_key", "status", "reason_code"]).size().rename("count").reset_index()
    return Audit(
        record=RunRecord(
            run_id="20260301T120000Z-abc123",
            shop_id="shop_1",
            shop_name="Acme",
            mode="live",
            status="completed_with_errors",
            started_at=STARTED,
            facts={"calls": {"PATCH /subscribers/{id}": count, "POST /events": count}},
        ),
        totals=totals.assign(kind="change", trait_key=""),
        changes=changes.reindex(columns=[*CHANGE_COLUMNS]).astype(CHANGE_COLUMNS),
        calls=pd.concat([pd.DataFrame(writes), pd.DataFrame(events)], ignore_index=True),
        drift=None,
    )


def time_browser(path: Path) -> tuple[float, float]:
    """Return the seconds until the document is loaded and its script has run, and those of a search."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        started = time.monotonic()
        page.goto(path.as_uri())
        opened = time.monotonic() - started
        started = time.monotonic()
        page.get_by_label("Search in all columns").fill("customer_00009")
        page.get_by_text("found.").wait_for()
        searched = time.monotonic() - started
        browser.close()
        return opened, searched


def mark(*, is_exceeded: bool) -> str:
    return "!" if is_exceeded else ""


def main(largest: int) -> None:
    print(f"{'changes':>9} {'make s':>8} {'MB':>7} {'open s':>8} {'search s':>9}")
    for count in sorted({10_000, largest}):
        audit = make_audit(count)
        started = time.monotonic()
        html = render_report(audit)
        made = time.monotonic() - started
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.html"
            path.write_text(html, encoding="utf-8")
            size = path.stat().st_size
            opened, searched = time_browser(path) if shutil.which("chromium") else (0.0, 0.0)
        large, slow = mark(is_exceeded=size > MAX_BYTES), mark(is_exceeded=opened > MAX_SECONDS)
        print(f"{count:>9,} {made:>8.1f} {size / 1e6:>6.2f}{large:1} {opened:>7.2f}{slow:1} {searched:>9.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
