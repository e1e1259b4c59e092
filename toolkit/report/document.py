"""The audit document: one HTML file that loads nothing and sends nothing.

Its script is ours and known to the Content-Security-Policy by its hash; without it the report still says
everything but the rows beyond the first page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from toolkit.contacts.masks import mask_text
from toolkit.statuses import EventStatus, in_words
from toolkit.sync.drift import DRIFT_KINDS
from toolkit.sync.runs import Audit

from .charts import tone
from .figures import (
    FILES,
    answer_times,
    calls_a_second,
    calls_by_kind,
    figures_beside,
    next_steps,
    posted_events,
    run_funnel_table,
    sizes_beside,
)
from .rows import ROW_HEADINGS, about, clipped, newly_to_look_at, rewritten_lists, row_log
from .tables import change_table, reason_table

ROWS_EMBEDDED = 10_000
"""Changes that can be searched in the report; all of them are in changes.csv and changes.parquet."""
BYTES_EMBEDDED = 1_700_000
"""Size of the embedded rows: there are fewer of them where their texts are long."""
PAGE = 100
"""Changes shown at once."""
SAMPLE = 50
"""Rows of the lists that are only a sample."""

_RUN_KINDS = {
    "undo": "This run takes back what another run wrote, where it still stands: what that run added is "
    "removed, what it removed is added.",
    "repair": "This run brings subscribers who drifted back to what was asked for; it comes from no events.",
    "saved_plan": "This run carries out a plan that was saved earlier, as far as it still holds.",
    "member_list": "This run carries out a list of members: people who are not listed leave.",
}
"""Kind of run → what it does; a sync needs no words."""
_ALWAYS = ("person", "about", "status")
_DELIVERED = ("added", "removed", "updated", "would_add", "would_remove", "would_update", "unchanged")
_NO_TEXT = re.compile("[\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Lone surrogates, which no file can hold, and the characters that turn the order of letters round."""
_NO_MARKUP = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def render_report(audit: Audit) -> str:
    """Return what audit() returns as one HTML document that needs nothing else: no CDN, no network.

    Contacts are masked, and what came from events or Postscript is escaped.
    """
    html = _template().render(**_values(audit))
    return _NO_TEXT.sub("\ufffd", html)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("toolkit.report"),
        autoescape=True,
        finalize=_hidden,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": in_words,
        "tone": tone,
        "count": lambda value: "–" if value is None else f"{value:,}",
        "clip": clipped,
        "about": about,
        "person": lambda value: clipped(value) if isinstance(value, str) else "not known",
    }
    return environment.get_template("report.html.jinja")


def _hidden(value: Any) -> Any:
    """Mask what a template shows; Markup is ours, or was masked when it was packed."""
    return mask_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _values(audit: Audit) -> dict[str, Any]:
    """Return what the template shows, by the name it has there."""
    record, script = audit.record, _source("report.js")
    totals = {kind: audit.totals[audit.totals["kind"] == kind] for kind in ("event", "change")}
    undecided = totals["event"][totals["event"]["status"] != EventStatus.COUNTED]
    undelivered = totals["change"][~totals["change"]["status"].isin(_DELIVERED)]
    newly = newly_to_look_at(audit)
    return {
        "audit": audit,
        "kind": in_words(record.kind).capitalize(),
        "does": _RUN_KINDS.get(record.kind, ""),
        "style": _source("report.css"),
        "script": script,
        # The source by which a Content-Security-Policy knows an inline script.
        "script_hash": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        "audiences": change_table(audit.totals).to_dict("split"),
        "traits": change_table(audit.totals, key="trait_key").to_dict("split"),
        "funnel": [*run_funnel_table(audit).itertuples()],
        "event_reasons": [*reason_table(undecided).itertuples()],
        "change_reasons": [*reason_table(undelivered, kind=record.kind).itertuples()],
        **_row_values(audit),
        "rewritten": rewritten_lists(audit, limit=SAMPLE),
        "drift": None if audit.drift is None else [*audit.drift.head(SAMPLE).itertuples()],
        "drift_counts": {} if audit.drift is None else audit.drift["drift"].value_counts().to_dict(),
        "drift_kinds": DRIFT_KINDS,
        "posted": posted_events(audit.calls),
        "would_post": _would_post(audit),
        "unknown": [*audit.unknown.head(SAMPLE).itertuples()],
        "calls": calls_by_kind(record.facts),
        "calls_a_second": calls_a_second(audit),
        "answer_times": answer_times(audit.calls),
        "figures": figures_beside(audit),
        "sizes": sizes_beside(audit),
        "newly": [*newly.head(SAMPLE).itertuples()],
        "newly_count": len(newly),
        "history": [*audit.history.itertuples()],
        "tallest": max([*(audit.history["adds"] + audit.history["removes"]), 1]),
        "steps": next_steps(audit),
        "files": FILES,
    }


def _would_post(audit: Audit) -> int:
    """Return how many custom events a live run would post: none where a person became another subscriber."""
    would = audit.totals[audit.totals["status"].isin(["would_add", "would_remove"])]
    counted = would.loc[would["reason_code"] != "CONTACT_MOVED", "count"]
    return 0 if audit.record.facts.get("custom_events") == "none" else int(counted.sum())


def _row_values(audit: Audit) -> dict[str, Any]:
    rows = row_log(audit, limit=ROWS_EMBEDDED)
    # A column that says nothing in this run is left out.
    headings = {n: h for n, h in ROW_HEADINGS.items() if n in _ALWAYS or (rows[n] != "").any()}
    while (size := len((packed := _packed_rows(rows, headings)).encode("utf-8", "replace"))) > BYTES_EMBEDDED:
        rows = rows.head(len(rows) * BYTES_EMBEDDED // size)
    return {
        "headings": [*headings.values()],
        "page": PAGE,
        "first_rows": rows[[*headings]].head(PAGE).to_numpy().tolist(),
        "row_data": packed,
        "rows_embedded": len(rows),
        "rows_all": len(audit.changes),
        "statuses_embedded": rows["status"].value_counts().to_dict(),
    }


def _source(name: str) -> Markup:
    """Return one of our own files, to stand in the document as it is."""
    text = (resources.files("toolkit.report") / "templates" / name).read_text("utf-8")
    return Markup(text)  # noqa: S704 - ours, nothing of the data is in it


def _packed_rows(rows: pd.DataFrame, headings: Mapping[str, str]) -> Markup:
    r"""Return a table of texts as JSON for a script element: of each column the distinct texts, and where.

    A column whose texts all differ needs no places: ``at`` is null.

    >>> print(_packed_rows(pd.DataFrame({"a": ["x", "</script>", "x"]}), {"a": "A"}))
    {"count":3,"columns":[{"heading":"A","values":["x","\u003c/script\u003e"],"at":[0,1,0]}]}
    """
    columns = []
    for name, heading in headings.items():
        at, values = pd.factorize(rows[name].to_numpy("object"))
        places = at.tolist() if len(values) < len(at) else None
        columns.append({"heading": heading, "values": [*values], "at": places})
    packed = {"count": len(rows), "columns": columns}
    text = json.dumps(packed, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate(_NO_MARKUP))  # noqa: S704 - that is what makes it safe
