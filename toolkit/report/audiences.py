"""What a preview shows of audiences beside their sizes: growth, overlap, and some of the members."""

from __future__ import annotations

import io
from datetime import date

import pandas as pd

from toolkit.contacts import mask_table, mask_text

from .charts import Chart, drawing

LINES = 8
"""Audiences drawn in a chart of growth: the largest."""
TICKS = 8
"""Days named below it, at most."""
_STYLES = ("-", "--", "-.", ":")
"""So that nothing hangs on the colour."""


def overlap_table(overlap: pd.DataFrame) -> pd.DataFrame:
    """Lay the overlaps out, one row a pair of audiences that share a member, the closest pair first.

    Parameters
    ----------
    overlap
        `Preview.overlap`.

    Returns
    -------
    DataFrame
        Columns: ``audience_key``, ``other_audience``, ``in_both`` (people), ``share`` (0 to 1, of the
        smaller).
    """
    keys = [*overlap.index]
    rows = [
        (one, other, int(overlap.loc[one, other]), min(overlap.loc[one, one], overlap.loc[other, other]))
        for place, one in enumerate(keys)
        for other in keys[place + 1 :]
        if overlap.loc[one, other]
    ]
    table = pd.DataFrame(rows, columns=["audience_key", "other_audience", "in_both", "smaller"])
    table["share"] = (table["in_both"] / table["smaller"]).astype("float64").round(4)
    order = table.sort_values(["share", "in_both"], ascending=False, kind="stable", ignore_index=True)
    return order.drop(columns="smaller")


def member_table(sample: pd.DataFrame) -> pd.DataFrame:
    """Return some members with their contacts masked.

    Parameters
    ----------
    sample
        `Preview.sample`.

    Returns
    -------
    DataFrame
        Columns: ``audience_key``, ``person``, ``since`` (text, UTC), ``phone``, ``email``.
    """
    return mask_table(sample).assign(since=sample["since"].dt.strftime("%Y-%m-%d %H:%M UTC"))


def growth_chart(
    movements: pd.DataFrame, *, title: str, since: date | None = None, until: date | None = None
) -> Chart:
    """Draw how many members each of the largest audiences had at the end of each day.

    Parameters
    ----------
    movements
        `Preview.movements`. Words without a time count from the first day on.
    title
        What it shows, above it.
    since, until
        The first and the last day to be drawn, UTC; None leaves that end open.

    Returns
    -------
    Chart
        A picture, and the sentence that stands for it.
    """
    members = _members_by_day(movements)
    if not members.empty:
        members = members[
            slice(since and pd.Timestamp(since, tz="UTC"), until and pd.Timestamp(until, tz="UTC"))
        ]
    picture = io.BytesIO()
    with drawing(picture, title, height=3.4) as axes:
        for place, key in enumerate(members):
            axes.plot(members.index, members[key], _STYLES[place % len(_STYLES)], marker="o", markersize=3)
        axes.set_ylim(0, 1.08 * max(members.to_numpy().max(initial=0), 1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        if len(members.columns):
            axes.legend(
                [_short(key) for key in members], loc="upper left", bbox_to_anchor=(1, 1), frameon=False
            )
        days = members.index[:: -(-len(members) // TICKS) or 1]
        axes.set_xticks(days, labels=[f"{day:%b} {day.day}" for day in days])
    return Chart(png=picture.getvalue(), alternative=f"{title}: {_said(members)}.")


def _members_by_day(movements: pd.DataFrame) -> pd.DataFrame:
    """Return day × audience → members at its end, the largest audiences first."""
    first = movements["day"].min()
    net = movements.assign(day=movements["day"].fillna(first), net=movements["entered"] - movements["left"])
    days = net.pivot_table(index="day", columns="audience_key", values="net", aggfunc="sum", fill_value=0)
    members = days.cumsum()
    if members.empty:
        return members
    return members[members.iloc[-1].sort_values(ascending=False, kind="stable").index[:LINES]]


def _said(members: pd.DataFrame) -> str:
    if members.empty:
        return "nobody entered or left"
    last = members.iloc[-1]
    return f"on {members.index[-1]:%Y-%m-%d}, " + ", ".join(
        f"{mask_text(key)} {int(last[key]):,}" for key in members
    )


def _short(key: str) -> str:
    key = mask_text(key)
    return key if len(key) <= 28 else f"{key[:27]}…"
