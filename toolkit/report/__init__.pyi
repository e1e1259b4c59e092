"""The names of toolkit.report, and the modules they come from."""

from .banner import Banner, NextStep
from .charts import Chart, bar_chart, growth_chart
from .document import render_report
from .tables import (
    audience_table,
    change_table,
    funnel_table,
    member_table,
    overlap_table,
    plan_table,
    reach_table,
    reason_table,
    styled_table,
    verdict_table,
)

__all__ = [
    "Banner",
    "Chart",
    "NextStep",
    "audience_table",
    "bar_chart",
    "change_table",
    "funnel_table",
    "growth_chart",
    "member_table",
    "overlap_table",
    "plan_table",
    "reach_table",
    "reason_table",
    "render_report",
    "styled_table",
    "verdict_table",
]
