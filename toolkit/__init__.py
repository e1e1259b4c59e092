"""Segment Engage audiences to Postscript: preview, validate, plan, sync, audit."""

from .audiences.corrections import correct
from .audiences.memberships import Folded, State, fold
from .audiences.preview import Preview, preview
from .contacts import (
    Usable,
    check_contacts,
    count_usable,
    domain_table,
    fix_table,
    number_table,
    shared_table,
    spelling_table,
)
from .contacts.fixes import read_corrections
from .errors import ToolkitError
from .ledger import Ledger
from .notebook.run import Job, begin
from .postscript.cache import Mirror, Reading
from .postscript.client import PostscriptClient
from .postscript.lookup import connect_shop, find_subscribers
from .postscript.reader import read_subscribers
from .report import (
    audience_table,
    bar_chart,
    drop_out_table,
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
from .segment.member_lists import Snapshot, read_snapshot
from .segment.triggers import Trigger, lint_trigger
from .sync.cost import Price, price
from .sync.drift import DRIFT_KINDS, find_drift, plan_repair
from .sync.forecast import Outlook, outlook
from .sync.mirror import mirror_snapshot
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
    "Destination",
    "Discard",
    "Explanation",
    "Folded",
    "Job",
    "Ledger",
    "Mapping",
    "Mirror",
    "Outlook",
    "Payload",
    "Plan",
    "PostscriptClient",
    "Preview",
    "Price",
    "Reading",
    "Run",
    "SavedPlan",
    "Snapshot",
    "State",
    "Timeline",
    "ToolkitError",
    "TraitPayload",
    "Trigger",
    "Usable",
    "audience_table",
    "audit",
    "bar_chart",
    "begin",
    "check_contacts",
    "connect_shop",
    "correct",
    "count_usable",
    "domain_table",
    "drop_out_table",
    "explain",
    "explain_person",
    "find_drift",
    "find_subscribers",
    "fix_table",
    "fold",
    "growth_chart",
    "lint_trigger",
    "load_plan",
    "member_table",
    "mirror_snapshot",
    "number_table",
    "outlook",
    "overlap_table",
    "plan",
    "plan_repair",
    "plan_table",
    "preview",
    "price",
    "reach_table",
    "read_corrections",
    "read_events",
    "read_snapshot",
    "read_subscribers",
    "reason_table",
    "render_report",
    "save_plan",
    "shared_table",
    "spelling_table",
    "styled_table",
    "sync",
    "undo_run",
    "verdict_table",
]
