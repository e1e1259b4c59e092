"""Segment Engage audiences to Postscript: preview, validate, plan, sync, audit."""

from .archive import Archive, read_events
from .audit import audit
from .client import PostscriptClient
from .contacts import check_contacts
from .destination import Destination, Discard, Payload
from .errors import ToolkitError
from .ledger import Ledger
from .lookup import connect_shop, find_subscribers
from .mapping import MISSING, Mapping
from .memberships import Folded, State, fold
from .notebook import Job, begin
from .plan import Plan, plan
from .report import (
    audience_table,
    bar_chart,
    plan_table,
    reason_table,
    render_report,
    styled_table,
    verdict_table,
)
from .runs import Audit
from .sync import Run, sync
from .triggers import Trigger

__all__ = [
    "MISSING",
    "Archive",
    "Audit",
    "Destination",
    "Discard",
    "Folded",
    "Job",
    "Ledger",
    "Mapping",
    "Payload",
    "Plan",
    "PostscriptClient",
    "Run",
    "State",
    "ToolkitError",
    "Trigger",
    "audience_table",
    "audit",
    "bar_chart",
    "begin",
    "check_contacts",
    "connect_shop",
    "find_subscribers",
    "fold",
    "plan",
    "plan_table",
    "read_events",
    "reason_table",
    "render_report",
    "styled_table",
    "sync",
    "verdict_table",
]
