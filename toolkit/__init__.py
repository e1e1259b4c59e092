"""Segment Engage audiences to Postscript: preview, validate, plan, sync, audit."""

from .archive import Archive, read_events
from .audit import audit
from .client import PostscriptClient
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
from .corrections import correct, read_corrections
from .destination import Destination, Discard, Payload, TraitPayload
from .drift import DRIFT_KINDS, find_drift, plan_repair
from .errors import ToolkitError
from .explain import Explanation, explain
from .ledger import Ledger
from .lookup import connect_shop, find_subscribers
from .mapping import MISSING, Mapping
from .memberships import Folded, State, fold
from .mirror import Mirror, Reading
from .notebook import Job, begin
from .outlook import Outlook, outlook
from .plan import Plan, plan
from .plan_file import SavedPlan, load_plan, save_plan
from .preview import Preview, preview
from .price import Price, price
from .reading import read_subscribers
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
from .runs import Audit
from .snapshots import Snapshot, mirror_snapshot, read_snapshot
from .sync import Run, sync
from .timeline import Timeline, explain_person
from .triggers import Trigger, lint_trigger
from .undo import UNDO_NOTE, undo_run

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
