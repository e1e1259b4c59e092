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
from .report.audit import audit
from .report.charts import bar_chart, growth_chart
from .report.document import render_report
from .report.explain import Explanation, explain
from .report.tables import (
    audience_table,
    funnel_table,
    member_table,
    overlap_table,
    plan_table,
    reach_table,
    reason_table,
    styled_table,
    verdict_table,
)
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

# The names are in __init__.pyi. Each is imported when it is first used: a command line that only
# shows its help, or a look at one event, does not wait for pandas, SQLAlchemy and the widgets.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
