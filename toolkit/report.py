"""Tables, charts and the audit document: what a run looks like to people.

Everything that came from events or from Postscript is escaped before it reaches HTML.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from .contacts import CONTACT_VERDICTS, mask_person
from .drift import DRIFT_KINDS
from .plan import Plan
from .price import Price
from .runs import Audit
from .statuses import ChangeStatus, EventStatus, get_reason

ROWS_SHOWN = 500
"""Changes listed in the report; all of them are in changes.parquet."""

_KIND_OF_METHOD = {"GET": "reads", "PATCH": "writes", "POST": "custom_events"}
_GREEN, _RED, _GREY, _BLUE = "#2f7d5b", "#b5472f", "#8a8f98", "#33658a"
_ATTENTION = {
    "malformed",
    "invalid_payload",
    "rejected",
    "failed",
    "unknown",
    "pending",
    "conflict",
    "ambiguous",
}


def reason_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Count statuses by reason, the most frequent first.

    Columns: ``status``, ``reason_code``, ``count``, ``share`` (0 to 1), ``meaning``, ``what_to_do``.
    *frame* has ``status`` and ``reason_code``, and ``count`` where its rows are totals already.
    """
    counted = frame.assign(count=1) if "count" not in frame else frame
    table = (
        counted.fillna({"reason_code": ""})
        .groupby(["status", "reason_code"], as_index=False)["count"]
        .sum()
        .sort_values(["count", "status", "reason_code"], ascending=[False, True, True], ignore_index=True)
    )
    reasons = [get_reason(code) if code else None for code in table["reason_code"]]
    return table.assign(
        share=(table["count"] / max(int(table["count"].sum()), 1)).round(4),
        meaning=[r.meaning if r else "" for r in reasons],
        what_to_do=[r.fix if r else "" for r in reasons],
    ).astype({"meaning": "str", "what_to_do": "str"})


def audience_table(audiences: pd.DataFrame) -> pd.DataFrame:
    """Lay the audiences of a preview out, one row each, the largest first.

    *audiences* has the columns of `Preview.audiences`. Columns: ``audience_key``, ``audience_id``,
    ``members`` (in now), ``left`` (stated out), and of the members the share (0 to 1) ``with_phone``,
    ``with_email``, ``without_contact`` that can be used.
    """
    members = audiences["members"]
    shares = {
        name: (audiences[name] / members.where(members > 0)).round(4)
        for name in ("with_phone", "with_email", "without_contact")
    }
    table = audiences[["audience_key", "audience_id", "members"]].assign(
        left=audiences["stated"] - members, **shares
    )
    return table.sort_values(["members", "audience_key"], ascending=[False, True], ignore_index=True)


def verdict_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts on phones and emails.

    Columns: ``contact`` (phone, email), ``code``, ``people``, ``share`` (0 to 1), ``meaning``,
    ``what_to_do``.
    """
    rows = []
    for contact in ("phone", "email"):
        for code, people in contacts[f"{contact}_code"].value_counts().items():
            meaning, fix = CONTACT_VERDICTS[str(code)]
            rows.append((contact, code, int(people), round(people / len(contacts), 4), meaning, fix))
    return pd.DataFrame(rows, columns=["contact", "code", "people", "share", "meaning", "what_to_do"])


def plan_table(plan: Plan, price: Price) -> pd.DataFrame:
    """Lay a plan and its price out, beside Segment's action. Columns: ``what``, ``value`` (text)."""
    traits = int(plan.changes["trait_key"].notna().sum())
    calls, official = price.calls, price.official
    rows = [
        ("Total records (person × audience)", f"{len(plan.changes) - traits:,}"),
        ("Expected adds", f"{plan.adds:,}"),
        ("Expected removes", f"{plan.removes:,}"),
        *([("Total traits (person × trait)", f"{traits:,}")] if traits else []),
        *([("Expected trait updates", f"{plan.updates:,}")] if traits else []),
        ("Expected custom events", f"{plan.transitions:,}"),
        ("Subscribers to write", f"{len(plan.writes):,}"),
        ("Calls made to read", f"{calls['reads']:,}"),
        ("Calls still to make", f"{sum(calls.values()) - calls['reads']:,}"),
        ("Time for all calls at this pace", f"{price.minutes:.1f} minutes"),
        ("Share of memberships removed", f"{plan.removal_share:.1%} (limit {plan.max_removal_share:.0%})"),
    ]
    if official is not None and price.official_minutes is not None:
        rows += [
            ("Segment's action, same events: calls", f"{sum(official.values()):,}"),
            ("Segment's action, same events: custom events", f"{official['custom_events']:,}"),
            ("Segment's action, same events: time", f"{price.official_minutes:.1f} minutes"),
        ]
    return pd.DataFrame(rows, columns=["what", "value"])


def change_table(totals: pd.DataFrame, *, key: str = "audience_key") -> pd.DataFrame:
    """Lay the change totals out, one row an audience, one column a status, and ``total``.

    With *key* ``trait_key``, one row a trait.
    """
    changes = totals[(totals["kind"] == "change") & (totals[key] != "")]
    table = changes.pivot_table(index=key, columns="status", values="count", aggfunc="sum", fill_value=0)
    present = [status.value for status in ChangeStatus if status.value in table.columns]
    table = table.reindex(columns=present).astype("int64")
    return table.assign(total=table.sum(axis=1)).rename_axis(columns=None).reset_index()


def styled_table(table: pd.DataFrame, *, caption: str) -> Styler:
    """Return a table to look at in a notebook: whole sentences, thousands apart, shares in per cent."""
    shares = [name for name in table if name in _SHARES]
    counts = [name for name in table.select_dtypes("number") if name not in shares]
    texts = [name for name in table if name not in {*shares, *counts}]
    top = {"vertical-align": "top", "white-space": "normal"}
    left = {_in_words(name): [{"selector": "", "props": "text-align: left"}] for name in texts}
    return (
        table.rename(columns=_in_words)
        .style.hide(axis="index")
        .format(escape="html", na_rep="–")
        .format("{:,.0f}", subset=[*map(_in_words, counts)], na_rep="–")
        .format("{:.1%}", subset=[*map(_in_words, shares)], na_rep="–")
        .set_properties(**top)
        .set_table_styles([{"selector": "caption", "props": "text-align: left; padding: 0.4em 0"}])
        .set_table_styles(left, overwrite=False)
        .set_caption(escape(caption))
    )


_SHARES = {"share", "with_phone", "with_email", "without_contact"}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with the words that stand for it."""

    png: bytes
    alternative: str
    """What the picture shows, for people who do not see it."""

    def data_uri(self) -> str:
        """Return the picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    def _repr_png_(self) -> bytes:
        return self.png


def bar_chart(counts: Mapping[str, int], *, title: str) -> Chart:
    """Draw counts as horizontal bars, in the order given; statuses that need attention are red."""
    labels = [_in_words(name) for name in counts]
    values = [*counts.values()]
    colours = [_colour(name) for name in counts]
    # parse_math: a dollar sign in a name is a dollar sign, not the start of a formula.
    with mpl.rc_context({"font.size": 10, "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(7.6, 0.9 + 0.38 * max(len(labels), 1)), layout="constrained")
        axes = figure.add_subplot()
        # Text after the bars says the number, so that nothing hangs on the colour.
        bars = axes.barh(range(len(values)), values, color=colours, height=0.66)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=4)
        axes.set_yticks(range(len(labels)), labels=labels)
        axes.invert_yaxis()
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlim(0, max([*values, 1]) * 1.15)
        axes.xaxis.set_visible(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        picture = io.BytesIO()
        FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]
    said = ", ".join(f"{label} {value:,}" for label, value in zip(labels, values, strict=True)) or "nothing"
    return Chart(png=picture.getvalue(), alternative=f"{title}: {said}.")


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _colour(name: str) -> str:
    if name in {"counted", "added", "would_add", "unchanged", "delivered"}:
        return _GREEN
    if name in {"removed", "would_remove", "updated", "would_update"}:
        return _BLUE
    return _RED if name in _ATTENTION else _GREY


def funnel_counts(audit: Audit) -> dict[str, int]:
    """Return how many events are left after each step, from received to those that decided something."""
    statuses = audit.statuses("event")
    has_traits = (audit.totals["trait_key"] != "").any()
    steps = {
        "received": (),
        "readable and once": (EventStatus.MALFORMED, EventStatus.DUPLICATE),
        "meant for Postscript": (EventStatus.FILTERED_INTEGRATIONS, EventStatus.FILTERED_CONSENT),
        "taken by a mapping": (EventStatus.NO_MATCHING_MAPPING,),
        "valid audience or trait events" if has_traits else "valid audience events": (
            EventStatus.NOT_AN_AUDIENCE_EVENT,
            EventStatus.INVALID_PAYLOAD,
        ),
        "say in, out or a value" if has_traits else "say in or out": (EventStatus.NO_MEMBERSHIP_VALUE,),
        "decide a membership or a trait" if has_traits else "decide a membership": (EventStatus.SUPERSEDED,),
    }
    left, counts = audit.record.received, {}
    for step, lost in steps.items():
        left -= sum(statuses.get(status.value, 0) for status in lost)
        counts[step] = left
    return counts


def render_report(audit: Audit) -> str:
    """Return the audit of a run as one HTML document that needs nothing else: no CDN, no JavaScript."""
    template = (resources.files("toolkit") / "templates" / "report.html.jinja").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = _in_words
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment.from_string(template).render(**_report_values(audit))


def _report_values(audit: Audit) -> dict[str, Any]:
    events, changes = audit.statuses("event"), audit.statuses("change")
    told = reason_table(audit.totals[audit.totals["kind"] == "event"])
    decided = reason_table(audit.totals[audit.totals["kind"] == "change"])
    return {
        "record": audit.record,
        "facts": audit.record.facts,
        "events": events,
        "changes": changes,
        "funnel": bar_chart(funnel_counts(audit), title="From event to decision"),
        "outcome": bar_chart(changes, title="What became of each person × audience"),
        "event_reasons": _rows(told[told["status"] != EventStatus.COUNTED]),
        "change_reasons": _rows(decided),
        "audiences": _table(change_table(audit.totals)),
        "traits": _table(change_table(audit.totals, key="trait_key")),
        "rows": _rows(_shown(audit.changes)),
        "rows_left_out": max(len(audit.changes) - ROWS_SHOWN, 0),
        "calls": _calls(audit.record.facts),
        "made": sum(audit.record.facts.get("calls", {}).values()),
        "rate": _rate(audit),
        "unknown": _rows(audit.unknown.head(ROWS_SHOWN)),
        "unknown_count": len(audit.unknown),
        "custom_events": _custom_events(audit),
        "drift": None if audit.drift is None else _rows(_shown(audit.drift)),
        "drift_counts": None if audit.drift is None else audit.drift["drift"].value_counts().to_dict(),
        "drift_kinds": DRIFT_KINDS,
    }


def _calls(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row a kind of call, and all: what was planned, made, and what Segment's action would make."""
    planned, official = facts.get("planned_calls_by_kind") or {}, facts.get("official_calls_by_kind")
    made: Counter[str] = Counter()
    for route, count in facts.get("calls", {}).items():
        made[_KIND_OF_METHOD[route.partition(" ")[0]]] += count
    rows = [
        {
            "kind": kind,
            "planned": planned.get(kind, 0) + (planned.get("reads_again", 0) if kind == "reads" else 0),
            "made": made[kind],
            "official": official[kind] if official else "",
        }
        for kind in _KIND_OF_METHOD.values()
    ]
    sums = {name: sum(row[name] for row in rows) for name in ("planned", "made")}
    return [*rows, {"kind": "all", **sums, "official": sum(official.values()) if official else ""}]


def _rate(audit: Audit) -> str:
    """Return how many calls a second the writing took, reads left out: they came before."""
    written = sum(
        n for route, n in audit.record.facts.get("calls", {}).items() if not route.startswith("GET")
    )
    return f"{written / audit.record.seconds:.1f}" if written and audit.record.seconds else "–"


def _custom_events(audit: Audit) -> dict[str, int]:
    """Return what became of the custom events that were posted: sent, and otherwise by the error's class."""
    posts = audit.calls[audit.calls["route"] == "POST /events"]
    outcome = (
        posts["outcome"]
        .astype("str")
        .fillna("no answer recorded")
        .str.split(":")
        .str[0]
        .replace("ok", "sent")
    )
    return {str(k): int(v) for k, v in outcome.value_counts().items()}


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the report lists: those that need attention first, persons masked."""
    rows = frame
    if "status" in frame:
        rank = ~frame["status"].isin([*_ATTENTION])
        rows = frame.loc[rank.sort_values(kind="stable").index]
    return rows.head(ROWS_SHOWN).assign(person=lambda f: f["person"].map(mask_person, na_action="ignore"))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.astype("object").where(frame.notna(), "").to_dict("records")
    return rows


def _table(frame: pd.DataFrame) -> dict[str, Sequence[Any]]:
    return {"columns": [*frame.columns], "rows": frame.to_numpy().tolist()}
