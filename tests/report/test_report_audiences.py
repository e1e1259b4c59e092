"""What a preview shows: overlaps as pairs, growth as a chart with its words, members masked."""

from __future__ import annotations

import pandas as pd
from tables import every

from toolkit.audiences.memberships import empty_table
from toolkit.audiences.preview import MOVEMENT_COLUMNS, SAMPLE_COLUMNS
from toolkit.report.charts import growth_chart
from toolkit.report.tables import member_table, overlap_table, styled_table

HOSTILE = '<script>alert("$x$")</script>'


def movements(*rows):
    return pd.DataFrame(rows, columns=[*MOVEMENT_COLUMNS]).astype(MOVEMENT_COLUMNS)


def test_pairs_that_share_members_the_closest_first():
    """Each pair once, its share that of the smaller audience; pairs without a shared member are left out."""
    keys = ["a", "b", "c"]
    overlap = pd.DataFrame([[10, 5, 0], [5, 100, 40], [0, 40, 50]], index=keys, columns=keys)
    assert overlap_table(overlap).to_numpy().tolist() == [["b", "c", 40, 0.8], ["a", "b", 5, 0.5]]


def test_growth_is_described_as_it_is_drawn():
    """Members add up from day to day; words without a time count from the first day."""
    day = pd.Timestamp("2026-01-30", tz="UTC")
    rows = [
        ("vip", None, 2, 0),
        ("vip", day, 5, 1),
        ("vip", day + pd.Timedelta(days=2), 0, 3),
        ("b", day, 4, 0),
    ]
    chart = growth_chart(movements(*rows), title="Members")
    assert chart.alternative == "Members: on 2026-02-01, b 4, vip 3."
    assert chart.png.startswith(b"\x89PNG")


@every("days", [0, 1, 500])
def test_any_number_of_days_is_drawn(days):
    """None, one, or more than can be named."""
    start = pd.Timestamp("2026-01-01", tz="UTC")
    rows = [(HOSTILE * 20, start + pd.Timedelta(days=n), 1, 0) for n in range(days)]
    assert growth_chart(movements(*rows), title="Members").png


def test_members_are_masked_and_escaped():
    """No contact is shown whole, whoever is named by one neither, and no key is markup."""
    rows = [
        (
            HOSTILE,
            "email:jane@shop.test",
            pd.Timestamp("2026-01-01", tz="UTC"),
            "+14155550123",
            "jane@shop.test",
        )
    ]
    sample = pd.DataFrame(rows, columns=[*SAMPLE_COLUMNS]).astype(SAMPLE_COLUMNS)
    shown = styled_table(member_table(sample), caption="Members").to_html()
    assert "jane@" not in shown
    assert "415555" not in shown
    assert "<script>" not in shown
    assert "2026-01-01 00:00 UTC" in shown
    assert member_table(empty_table(SAMPLE_COLUMNS)).empty
