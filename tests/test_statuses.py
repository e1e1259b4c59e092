import re
from pathlib import Path

import pytest
from tables import every

import toolkit
from toolkit.errors import ReconciliationError
from toolkit.statuses import (
    NEEDS_ATTENTION,
    REASONS,
    ChangeStatus,
    EventStatus,
    Reason,
    RunStatus,
    check_totals,
    get_reason,
)
from toolkit.sync.plan.deciding import STATUS_OF_REASON

SOURCES = [p for p in Path(toolkit.__file__).parent.rglob("*.py") if p.name != "statuses.py"]


def test_words_for_events():
    """An event ends in one of ten words, in the order in which they are decided."""
    assert [*EventStatus] == [
        "malformed",
        "duplicate",
        "filtered_integrations",
        "filtered_consent",
        "no_matching_mapping",
        "not_an_audience_event",
        "invalid_payload",
        "no_membership_value",
        "superseded",
        "counted",
    ]


def test_words_for_changes():
    """Each change ends in one of thirteen words, or what a dry run says for three, a forecast for one."""
    assert {*ChangeStatus} == {
        *("added", "removed", "updated", "would_add", "would_remove", "would_update", "unchanged"),
        *("waiting", "ambiguous"),
        *("no_usable_contact", "conflict", "rejected", "failed", "pending", "unknown", "skipped"),
        "not_looked_up",
    }


def test_words_for_runs():
    """A run is running, or ended in one of four ways."""
    assert [*RunStatus] == ["running", "completed", "completed_with_errors", "failed", "canceled"]


def test_what_needs_attention():
    """Only what Postscript or the network did to a run makes it end with errors; expected data does not."""
    assert {*NEEDS_ATTENTION} == {"rejected", "failed", "unknown", "pending"}


@every("reason", REASONS.values())
def test_reasons(reason):
    """Each reason is one sentence for people, and what to do is a sentence or nothing."""
    assert re.fullmatch(r"[A-Z][A-Z_]+[A-Z]", reason.code)
    assert re.fullmatch(r"[A-Z].+\.", reason.meaning)
    assert reason.fix == "" or re.fullmatch(r"[A-Z].+\.", reason.fix)
    assert get_reason(reason.code) is reason


@every("code", REASONS)
def test_reasons_are_used(code):
    """Each reason is given by some module; a reason that none gives is not kept."""
    assert any(f'"{code}"' in path.read_text("utf-8") for path in SOURCES)


def test_reason_nobody_defined():
    """A code without a sentence is a mistake of ours, not a blank in a report."""
    with pytest.raises(KeyError):
        get_reason("NO_SUCH_REASON")


def test_reasons_of_a_plan_are_explained():
    """Every reason a plan gives has its sentence."""
    assert STATUS_OF_REASON.keys() <= REASONS.keys()


def test_reasons_are_values():
    """A reason cannot be changed, and equal ones are equal."""
    reason = Reason(code="A", meaning="B.", fix="")
    assert reason == Reason(code="A", meaning="B.", fix="")
    with pytest.raises(AttributeError):
        reason.fix = "C."


@pytest.mark.parametrize(
    ("received", "totals"),
    [
        pytest.param(0, {}, id="nothing"),
        pytest.param(0, {"counted": 0}, id="none of one"),
        pytest.param(3, {"counted": 2, "malformed": 1}, id="some"),
    ],
)
def test_totals_that_add_up(received, totals):
    """Statuses that sum to what came in pass in silence, also when nothing came in."""
    check_totals(received, totals, of="events")


@pytest.mark.parametrize(
    ("received", "totals"),
    [
        pytest.param(1, {}, id="one lost"),
        pytest.param(0, {"counted": 1}, id="one from nowhere"),
        pytest.param(3, {"counted": 2, "malformed": 2}, id="one twice"),
    ],
)
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
