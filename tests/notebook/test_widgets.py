"""Controls: a good change is taken, a bad one is refused; a long step is shown, and can be ended."""

from __future__ import annotations

import asyncio
import threading
from datetime import date
from types import SimpleNamespace

import ipywidgets as ipw
import pytest

from toolkit.errors import ParameterError
from toolkit.notebook.parameters import PARAMETERS
from toolkit.notebook.session import is_attended
from toolkit.notebook.widgets import Progress, follow, show_controls, show_dates, show_search

SYNC = {
    "events_path": "sample",
    "audience_keys": ("vip",),
    "mappings_path": "",
    "default_region": "US",
    "dry_run": True,
    "requests_per_second": 14.0,
    "custom_events": "transitions",
    "max_removal_share": 0.5,
    "full_read": False,
    "read_again": False,
    "held_changes": "keep",
    "plan_path": "",
    "sync_mode": "mirror",
    "skip_opted_out": False,
    "canary": 1,
    "repeat_unknown": False,
    "corrections_path": "",
    "ledger_url": "",
    "output_dir": "output",
}


@pytest.fixture
def desk():
    """The parameters of the sync notebook, its controls by name, and the sentence below them."""
    parameters = SimpleNamespace(**SYNC)
    box = show_controls("3_sync_audiences", parameters, {"default_region": ["CA", "US"]})
    *controls, status = box.children
    return parameters, {control.description: control for control in controls}, status


def test_a_test_is_not_attended():
    """Without a kernel there is no one to ask."""
    assert not is_attended()


def test_each_parameter_has_a_control_that_shows_its_value(desk):
    """In the order of the parameters cell: a box for a flag, a list for a choice, offers where there are."""
    _, controls, _ = desk
    assert tuple(controls) == PARAMETERS["3_sync_audiences"]
    assert isinstance(controls["dry_run"], ipw.Checkbox)
    assert controls["custom_events"].options == ("transitions", "none")
    assert controls["default_region"].options == ("CA", "US")
    assert controls["audience_keys"].value == "vip"


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("dry_run", False, False),
        ("audience_keys", "vip, churn ,", ("vip", "churn")),
        ("audience_keys", "", ()),
        ("requests_per_second", "7.5", 7.5),
        ("default_region", "ca", "CA"),
        ("custom_events", "none", "none"),
        ("events_path", " logs/*.gz ", "logs/*.gz"),
    ],
)
def test_a_good_change_is_taken_at_once(desk, name, given, taken):
    """It is read as the parameters cell is, and nothing else changes."""
    parameters, controls, status = desk
    controls[name].value = given
    assert vars(parameters) == {**SYNC, name: taken}
    assert f"{name} is now" in status.value


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [("requests_per_second", "16", "give a number"), ("default_region", "<b>", "&lt;b&gt;")],
)
def test_a_bad_change_is_reported_and_not_taken(desk, name, given, sentence):
    """The old value stays, and what was typed is no markup."""
    parameters, controls, status = desk
    controls[name].value = given
    assert vars(parameters) == SYNC
    assert "Not taken" in status.value
    assert sentence in status.value
    assert 'role="alert"' in status.value


def test_known_audiences_are_chosen_from_a_list():
    """What an earlier preview found is offered, with what is chosen already; none chosen is all."""
    parameters = SimpleNamespace(**SYNC)
    box = show_controls("3_sync_audiences", parameters, {"audience_keys": ["churn", "vip"]})
    (control,) = [c for c in box.children[:-1] if c.description == "audience_keys"]
    assert (control.options, control.value) == (("vip", "churn"), ("vip",))
    control.value = ("vip", "churn")
    assert parameters.audience_keys == ("vip", "churn")
    control.value = ()
    assert parameters.audience_keys == ()


def explain(who: str) -> str:
    """Stand in for the toolkit's."""
    if who == "bad":
        raise ParameterError("Give another <name>.")
    if who == "moved":
        raise FileNotFoundError("ana@mail.test")
    return f"<table>{who}</table>"


def test_a_person_is_asked_for_by_enter_or_button():
    """The answer is shown once for each name; what went wrong is shown, as no markup; blank asks nothing."""
    box = show_search(explain)
    (who, button), answer = box.children[0].children, box.children[1]
    button.click()
    assert answer.value == ""
    who.value = "u1"
    assert answer.value == "<table>u1</table>"
    answer.value = "kept"
    button.click()
    assert answer.value == "kept"
    who.value = "bad"
    assert "Give another &lt;name&gt;." in answer.value
    assert 'role="alert"' in answer.value
    who.value = "moved"
    assert "FileNotFoundError" in answer.value
    assert "ana" not in answer.value
    answer.value = ""
    button.click()
    assert "FileNotFoundError" in answer.value


def test_days_are_drawn_as_they_are_chosen():
    """Both dates lead to a picture and its text; a range that is none is refused."""
    drawn = []

    def draw(since: date, until: date) -> tuple[bytes, str]:
        drawn.append((since.day, until.day))
        return b"png", f"{since.day} to {until.day}"

    box = show_dates(date(2026, 1, 1), date(2026, 1, 9), draw)
    (since, until), picture, answer = box.children[0].children, *box.children[1:]
    since.value = date(2026, 1, 3)
    assert (picture.value, drawn) == (b"png", [(3, 9)])
    assert "3 to 9" in answer.value
    until.value = date(2026, 1, 2)
    assert "Not taken" in answer.value
    assert drawn == [(3, 9)]


def test_a_step_is_followed_to_its_end(capsys):
    """What it returns comes back, and the last line says all of all, with the outcomes."""
    progress = Progress(2)

    def work() -> str:
        progress.note(1, 3, {"added": 1})
        progress.note(3, 3, {"added": 2, "failed": 1})
        progress.note(2, 3, {"added": 2})  # noted late by a slower thread
        return "done"

    assert asyncio.run(follow(work, progress, threading.Event(), what="Sync", attended=False)) == "done"
    last = capsys.readouterr().out.split("\r")[-1]
    assert "3/3" in last
    assert "added=2, failed=1" in last


def test_an_interrupt_cancels_and_waits_for_what_is_under_way():
    """The step gets the cancel, ends by itself, and its result is not lost; so too when asked twice."""
    cancel, begun = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        cancel.wait(30)
        return "half"

    async def interrupted() -> str:
        step = asyncio.ensure_future(follow(work, Progress(1), cancel, what="Sync", attended=False))
        await asyncio.to_thread(begun.wait)
        step.cancel()
        await asyncio.sleep(0)
        step.cancel()
        return await step

    assert asyncio.run(interrupted()) == "half"


def test_what_a_step_raises_comes_through():
    """An error is the caller's to see, not the bar's."""

    def work() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        asyncio.run(follow(work, Progress(1), threading.Event(), what="Sync", attended=False))
