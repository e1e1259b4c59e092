"""Segment Engage audiences to Postscript: preview, validate, plan, sync, audit."""

from .archive import Archive, read_events
from .audit import audit
from .client import PostscriptClient
from .contacts import check_contacts
from .destination import Destination, Discard, Payload, TraitPayload
from .errors import ToolkitError
from .explain import Explanation, explain
from .ledger import Ledger
from .lookup import connect_shop, find_subscribers
from .mapping import MISSING, Mapping
from .memberships import Folded, State, fold
from .notebook import Job, begin
from .plan import Plan, plan
from .preview import Preview, preview
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
from .triggers import Trigger, lint_trigger

__all__ = [
    "MISSING",
    "Archive",
    "Audit",
    "Destination",
    "Discard",
    "Explanation",
    "Folded",
    "Job",
    "Ledger",
    "Mapping",
    "Payload",
    "Plan",
    "PostscriptClient",
    "Preview",
    "Run",
    "State",
    "ToolkitError",
    "TraitPayload",
    "Trigger",
    "audience_table",
    "audit",
    "bar_chart",
    "begin",
    "check_contacts",
    "connect_shop",
    "explain",
    "find_subscribers",
    "fold",
    "lint_trigger",
    "plan",
    "plan_table",
    "preview",
    "read_events",
    "reason_table",
    "render_report",
    "styled_table",
    "sync",
    "verdict_table",
]
