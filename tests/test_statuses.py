import re
from pathlib import Path

import pytest
from tables import every

import toolkit
from toolkit.errors import ReconciliationError
from toolkit.statuses import (
    _FIXES,
    NEEDS_ATTENTION,
    REASONS,
    ChangeStatus,
    EventStatus,
    RunStatus,
    check_totals,
    get_reason,
)
from toolkit.sync.plan.deciding import STATUS_OF_REASON

SOURCES = [p for p in Path(toolkit.__file__).parent.rglob("*.py") if p.name != "statuses.py"]


def test_statuses():
    """Events end in one of ten statuses, decided in this order; changes and runs in those named here."""
    assert [*EventStatus] == [
        *("malformed", "duplicate", "filtered_integrations", "filtered_consent", "no_matching_mapping"),
        *("not_an_audience_event", "invalid_payload", "no_membership_value", "superseded", "counted"),
    ]
    assert {*ChangeStatus} == {
        *("added", "removed", "updated", "would_add", "would_remove", "would_update", "unchanged"),
        *("waiting", "ambiguous", "no_usable_contact", "conflict", "rejected", "failed", "pending"),
        *("unknown", "skipped", "not_looked_up"),
    }
    assert [*RunStatus] == ["running", "completed", "completed_with_errors", "failed", "canceled"]


def test_what_needs_attention():
    """Only what Postscript or the network did to a run makes it end with errors; expected data does not."""
    assert {*NEEDS_ATTENTION} == {"rejected", "failed", "unknown", "pending"}


def test_reasons():
    """Each reason is a sentence for people, what to do is a sentence or nothing, and some module gives it."""
    sources = "".join(path.read_text("utf-8") for path in SOURCES)
    for code, reason in REASONS.items():
        assert re.fullmatch(r"[A-Z][A-Z_]+[A-Z]", code)
        assert re.fullmatch(r"[A-Z].+\.", reason.meaning), code
        assert reason.fix == "" or re.fullmatch(r"[A-Z].+\.", reason.fix), code
        assert f'"{code}"' in sources, code
        assert get_reason(code) is reason
    assert _FIXES.keys() <= REASONS.keys()


def test_an_unknown_reason():
    """A code without a sentence is a mistake of ours, not a blank in a report."""
    with pytest.raises(KeyError):
        get_reason("NO_SUCH_REASON")


def test_reasons_of_a_plan_are_explained():
    """Every reason a plan gives has its sentence."""
    assert STATUS_OF_REASON.keys() <= REASONS.keys()


@every("received, totals", [(0, {}), (0, {"counted": 0}), (3, {"counted": 2, "malformed": 1})])
def test_totals_that_add_up(received, totals):
    """Statuses that sum to what came in pass in silence, also when nothing came in."""
    check_totals(received, totals, of="events")


@every("received, totals", [(1, {}), (0, {"counted": 1}), (3, {"counted": 2, "malformed": 2})])
def test_totals_that_do_not_add_up(received, totals):
    """A sum that is off raises, and the message names both numbers and what was counted."""
    with pytest.raises(ReconciliationError) as caught:
        check_totals(received, totals, of="changes")
    sentence = str(caught.value)
    assert f"{received} changes" in sentence
    assert f"add up to {sum(totals.values())}" in sentence
    # Our own mistake is shown with every frame, where other errors show their sentence alone.
    shown = caught.value._render_traceback_()
    assert any("test_statuses.py" in line for line in shown)
    assert shown[-1].endswith(sentence)
