"""The public names, and the modules they come from."""

from . import contacts, report
from .audiences.memberships import Folded, State, correct, fold
from .audiences.preview import Preview, preview
from .contacts.bulk import check_contacts
from .contacts.corrections import read_corrections
from .errors import ToolkitError
from .ledger import Ledger
from .notebook.connections import connect, open_ledger
from .notebook.run import NotebookRun, start
from .postscript.client import PostscriptClient
from .postscript.lookup import connect_shop
from .postscript.reader import read_subscribers
from .postscript.subscribers import FetchResult
from .report.audit import audit
from .report.explain import Explanation, explain
from .report.timeline import Timeline, explain_person
from .segment.archive import Archive, read_events
from .segment.destination import Destination
from .segment.destination.actions import Discard, Payload
from .segment.mapping import MISSING, Mapping
from .segment.member_lists import MemberList, read_member_list
from .segment.triggers import Trigger
from .segment.triggers.lint import lint_trigger
from .sync.cost import CostEstimate, estimate_cost
from .sync.drift import find_drift, plan_repair
from .sync.forecast import Forecast, forecast
from .sync.mirror import mirror_member_list
from .sync.plan import Plan, plan
from .sync.plan_file import SavedPlan, load_plan, save_plan
from .sync.runs import Audit
from .sync.sync import Run, sync
from .sync.undo import undo_run

__all__ = [
    "MISSING",
    "Archive",
    "Audit",
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
    "Timeline",
    "ToolkitError",
    "Trigger",
    "audit",
    "check_contacts",
    "connect",
    "connect_shop",
    "contacts",
    "correct",
    "estimate_cost",
    "explain",
    "explain_person",
    "find_drift",
    "fold",
    "forecast",
    "lint_trigger",
    "load_plan",
    "mirror_member_list",
    "open_ledger",
    "plan",
    "plan_repair",
    "preview",
    "read_corrections",
    "read_events",
    "read_member_list",
    "read_subscribers",
    "report",
    "save_plan",
    "start",
    "sync",
    "undo_run",
]
