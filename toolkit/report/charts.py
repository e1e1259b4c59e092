"""Charts, and how names and statuses read: in which words, in which colour."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO

import pandas as pd

from toolkit.contacts.masks import mask_text
from toolkit.statuses import EventStatus, in_words
from toolkit.sync.runs import LOOK_AT

from .display import cut

LINES = 8
"""Audiences drawn in a chart of growth: the largest."""
TICKS = 8
"""Days named below it, at most."""
_STYLES = ("-", "--", "-.", ":")
"""So that nothing hangs on the colour."""
_INK = "#767676"
"""Of words and lines: it can be read on a white page and on a black one, and the pictures are transparent."""
_COLOURS = {"good": "#2f7d5b", "bad": "#b5472f", "dim": "#8a8f98", "change": "#33658a"}
_TONES = {
    **dict.fromkeys(("counted", "added", "would_add", "unchanged", "delivered"), "good"),
    **dict.fromkeys(("removed", "would_remove", "updated", "would_update"), "change"),
    **dict.fromkeys((*LOOK_AT, EventStatus.MALFORMED, EventStatus.INVALID_PAYLOAD, "invalid"), "bad"),
    **dict.fromkeys(("pending retry", "unconfirmed"), "bad"),
}


def tone(name: str) -> str:
    """Return how a status or a step of the funnel is shown: good, change, bad, or dim for the rest."""
    return _TONES.get(name.lower(), "dim")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture, and the sentence that stands for it."""

    png: bytes = field(repr=False)
    alternative: str
    """What the picture shows, for people who do not see it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "alternative", mask_text(self.alternative))

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return self.png, {"alt": self.alternative}


@contextmanager
def _drawing(picture: BinaryIO, title: str, *, height: float) -> Iterator[Any]:
    """Yield axes to draw on; what was drawn is then written to *picture* as PNG. *height* is in inches."""
    # Imported here: it takes as long as the rest of the toolkit, and most processes draw nothing.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ink: dict[Any, str] = dict.fromkeys(
        ("text.color", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK
    )
    # parse_math: a dollar sign in a name is a dollar sign, not the start of a formula.
    with mpl.rc_context({"font.size": 10, "font.family": "DejaVu Sans", "text.parse_math": False, **ink}):
        figure = Figure(figsize=(7.6, height), layout="constrained", facecolor="none")
        axes = figure.add_subplot(facecolor="none")
        axes.set_title(mask_text(title), loc="left", fontweight="bold")
        yield axes
        FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]


def bar_chart(counts: Mapping[str, int], *, title: str) -> Chart:
    """Draw *counts* (name → number) as horizontal bars, in the order given; trouble is red.

    >>> bar_chart({"added": 3, "failed": 1}, title="Outcomes").alternative
    'Outcomes: added 3, failed 1.'
    """
    labels = [mask_text(in_words(name)) for name in counts]
    values = [*counts.values()]
    colours = [_COLOURS[tone(name)] for name in counts]
    picture = io.BytesIO()
    with _drawing(picture, title, height=0.9 + 0.38 * max(len(labels), 1)) as axes:
        # The number stands behind its bar, so that nothing hangs on the colour.
        bars = axes.barh(range(len(values)), values, color=colours, height=0.66)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=4)
        axes.set_yticks(range(len(labels)), labels=labels)
        axes.invert_yaxis()
        axes.set_xlim(0, max([*values, 1]) * 1.15)
        axes.xaxis.set_visible(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    listed = ", ".join(f"{label} {value:,}" for label, value in zip(labels, values, strict=True))
    return Chart(png=picture.getvalue(), alternative=f"{title}: {listed or 'nothing'}.")


def growth_chart(
    movements: pd.DataFrame, *, title: str, since: date | None = None, until: date | None = None
) -> Chart:
    """Draw how many members each of the largest audiences had at the end of each day.

    *movements* is `Preview.movements`; memberships without a time count from the first day on. *since* and
    *until* are the first and the last day drawn, UTC; None leaves that end open.
    """
    members = _members_by_day(movements)
    if not members.empty:
        first, last = (day and pd.Timestamp(day, tz="UTC") for day in (since, until))
        members = members[first:last]
    picture = io.BytesIO()
    with _drawing(picture, title, height=0.7 if members.empty else 3.4) as axes:
        if members.empty:
            axes.text(0, 0.5, "No person entered or left.")
            axes.set_axis_off()
        for place, key in enumerate(members):
            axes.plot(members.index, members[key], _STYLES[place % len(_STYLES)], marker="o", markersize=3)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0, 1.08 * max(members.to_numpy().max(initial=0), 1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        if len(members.columns):
            names = [cut(mask_text(key), 28) for key in members]
            axes.legend(names, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        days = members.index[:: -(-len(members) // TICKS) or 1]
        axes.set_xticks(days, labels=[f"{day:%b} {day.day}" for day in days])
    return Chart(png=picture.getvalue(), alternative=f"{title}: {_last_day(members)}.")


def _members_by_day(movements: pd.DataFrame) -> pd.DataFrame:
    """Return day × audience → members at its end, the largest audiences first."""
    first = movements["day"].min()
    net = movements.assign(day=movements["day"].fillna(first), net=movements["entered"] - movements["left"])
    days = net.pivot_table(index="day", columns="audience_key", values="net", aggfunc="sum", fill_value=0)
    members = days.cumsum()
    if members.empty:
        return members
    return members[members.iloc[-1].sort_values(ascending=False, kind="stable").index[:LINES]]


def _last_day(members: pd.DataFrame) -> str:
    if members.empty:
        return "no person entered or left"
    sizes = ", ".join(f"{mask_text(key)} {int(size):,}" for key, size in members.iloc[-1].items())
    return f"on {members.index[-1]:%Y-%m-%d}, {sizes}"
