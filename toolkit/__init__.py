"""Segment Engage audiences to Postscript: preview, validate, plan, sync, audit."""

from .audiences.corrections import correct
from .audiences.memberships import Folded, State, fold
from .audiences.preview import Preview, preview
from .contacts import (
    ContactCoverage,
    check_contacts,
    domain_table,
    fix_table,
    format_table,
    measure_coverage,
    phone_type_table,
    shared_table,
)
from .contacts.fixes import read_corrections
from .errors import ToolkitError
from .ledger import Ledger
from .notebook.run import NotebookRun, start
from .postscript.cache import FetchResult, SubscriberCache
from .postscript.client import PostscriptClient
from .postscript.lookup import connect_shop, find_subscribers
from .postscript.reader import read_subscribers
from .report import (
    audience_table,
    bar_chart,
    funnel_table,
    growth_chart,
    member_table,
    overlap_table,
    plan_table,
    reach_table,
    reason_table,
    render_report,
    styled_table,
    verdict_table,
)
from .report.audit import audit
from .report.explain import Explanation, explain
from .report.timeline import Timeline, explain_person
from .segment.archive import Archive, read_events
from .segment.destination import Destination, Discard, Payload, TraitPayload
from .segment.mapping import MISSING, Mapping
from .segment.member_lists import MemberList, read_member_list
from .segment.triggers import Trigger, lint_trigger
from .sync.cost import CostEstimate, estimate_cost
from .sync.drift import DRIFT_KINDS, find_drift, plan_repair
from .sync.forecast import Forecast, forecast
from .sync.mirror import mirror_member_list
from .sync.plan import Plan, plan
from .sync.plan_file import SavedPlan, load_plan, save_plan
from .sync.runs import Audit
from .sync.sync import Run, sync
from .sync.undo import UNDO_NOTE, undo_run

__all__ = [
    "DRIFT_KINDS",
    "MISSING",
    "UNDO_NOTE",
    "Archive",
    "Audit",
    "ContactCoverage",
    "CostEstimate",
    "Destination",
    "Discard",
    "Explanation",
    "FetchResult",
    "Folded",
    "Forecast",
    "Ledger",
    "Mapping",
    "MemberList",
    "NotebookRun",
    "Payload",
    "Plan",
    "PostscriptClient",
    "Preview",
    "Run",
    "SavedPlan",
    "State",
    "SubscriberCache",
    "Timeline",
    "ToolkitError",
    "TraitPayload",
    "Trigger",
    "audience_table",
    "audit",
    "bar_chart",
    "check_contacts",
    "connect_shop",
    "correct",
    "domain_table",
    "estimate_cost",
    "explain",
    "explain_person",
    "find_drift",
    "find_subscribers",
    "fix_table",
    "fold",
    "forecast",
    "format_table",
    "funnel_table",
    "growth_chart",
    "lint_trigger",
    "load_plan",
    "measure_coverage",
    "member_table",
    "mirror_member_list",
    "overlap_table",
    "phone_type_table",
    "plan",
    "plan_repair",
    "plan_table",
    "preview",
    "reach_table",
    "read_corrections",
    "read_events",
    "read_member_list",
    "read_subscribers",
    "reason_table",
    "render_report",
    "save_plan",
    "shared_table",
    "start",
    "styled_table",
    "sync",
    "undo_run",
    "verdict_table",
]
