"""The pace: one for all threads and processes of a key, slower after a refusal, and back again."""

from __future__ import annotations

import itertools
import math
import random
import struct
import subprocess
import sys
import time

import pytest

from toolkit.errors import ParameterError, SettingsError
from toolkit.postscript.client import PostscriptClient
from toolkit.postscript.rate_limit import (
    RECOVERY_SECONDS,
    Budget,
    Pacer,
    SharedBudget,
    Turns,
    shared_folder,
    this_machine,
)
from toolkit.sandbox import Sandbox

CALLS = """
import sys
from concurrent.futures import ThreadPoolExecutor

from toolkit import PostscriptClient
from toolkit.postscript import api, client, rate_limit


class Reported(rate_limit.SharedBudget):
    "The budget, which prints when each turn is over: a busy machine delays what is sent, not that."

    def _save(self, turns):
        is_turn = turns.next != self._load().next
        super()._save(turns)
        if is_turn:
            sys.stdout.write(f"{turns.next!r}\\n")


client.SharedBudget = Reported
with PostscriptClient(sys.argv[1], "sk_sandbox") as postscript, ThreadPoolExecutor(16) as pool:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in pool.map(lambda _: postscript.send(api.ask_shop()), range(int(sys.argv[2]))):
        pass
"""


class FakeTime:
    def __init__(self):
        self.now = 1000.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def turns_of(budget):
    with budget.change() as turns:
        return turns


def gaps(pacer, clock, turns):
    """Return the time between one turn and the next."""
    begun = []
    for _ in range(turns):
        pacer.wait()
        begun.append(clock.now)
    return [after - before for before, after in itertools.pairwise(begun)]


def test_a_refusal_slows_everybody_down_and_the_pace_comes_back():
    """Three quarters of the pace after the pause, then faster turn by turn, and the full pace in the end."""
    clock = FakeTime()
    pacer = Pacer(10, clock=clock.clock, sleep=clock.sleep)
    pacer.wait()
    pacer.slow_down(2.0)
    found = gaps(pacer, clock, 1000)
    assert clock.now > 1002
    assert 0.1 / 0.8 < found[0] < 0.1 / 0.75
    assert all(later <= before + 1e-9 for before, later in itertools.pairwise(found))
    assert found[-1] == pytest.approx(0.1)
    slow = [gap for gap in found if gap > 0.1 + 1e-9]
    assert sum(slow) == pytest.approx(RECOVERY_SECONDS / 4 - 2, rel=0.05)


@pytest.mark.parametrize(("late", "seconds"), [(0.001, 99.9), (0.01, 999 * 0.11)])
def test_only_the_lateness_of_a_sleep_is_made_up_for(late, seconds):
    """A millisecond at each of a thousand turns is not a second in the end; a stall shifts what follows."""
    clock = FakeTime()

    def sleep(wanted):
        clock.now += wanted + late

    found = gaps(Pacer(10, clock=clock.clock, sleep=sleep), clock, 1000)
    assert sum(found) == pytest.approx(seconds, abs=0.02)
    assert min(found) > 0.1 - 2 * late


def test_refusals_of_one_moment_are_one():
    """Thirty requests that were refused together cut the pace once; the next moment cuts it again."""
    clock = FakeTime()
    budget = Budget()
    pacer = Pacer(10, budget=budget, clock=clock.clock, sleep=clock.sleep)
    for _ in range(30):
        pacer.slow_down(0.1)
    assert turns_of(budget).speed == pytest.approx(0.75)
    clock.now += 2
    pacer.slow_down(0.1)
    assert turns_of(budget).speed == pytest.approx(0.75 * (0.75 + 2 / RECOVERY_SECONDS))
    for _ in range(100):
        clock.now += 1.5
        pacer.slow_down(0.1)
    assert turns_of(budget).speed >= 0.1


def test_two_processes_of_many_threads_share_the_turns_of_their_key():
    """Whoever takes a turn, the next is not before a fourteenth of a second later."""
    with Sandbox(rate=1000) as sandbox:
        command = [sys.executable, "-c", CALLS, sandbox.base_url, "12"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started = [subprocess.Popen(command, **pipes) for _ in range(2)]
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        turns = [[float(line) for line in process.communicate()[0].splitlines()] for process in started]
        assert [process.returncode for process in started] == [0, 0]
        assert [entry["status"] for entry in sandbox.journal] == [200] * 24
    assert [len(own) for own in turns] == [12, 12]
    together = sorted([*turns[0], *turns[1]])
    gaps = [after - before for before, after in itertools.pairwise(together)]
    assert min(gaps) >= 1 / 14 - 1e-6


def test_another_key_has_a_budget_of_its_own(tmp_path):
    """Two shops do not wait for each other."""
    one, other = SharedBudget(tmp_path, "url", "key"), SharedBudget(tmp_path, "url", "another")
    with one.change() as turns:
        turns.next = time.monotonic() + 60
    assert turns_of(other) == Turns()
    assert turns_of(SharedBudget(tmp_path, "url", "key")).next > time.monotonic() + 50


def test_two_machines_with_one_folder_keep_clocks_of_their_own(tmp_path):
    """A machine that has run for months does not hold one up that just started."""
    old, new = (SharedBudget(tmp_path, "url", "key", machine=name) for name in ("old", "new"))
    with old.change() as turns:
        turns.next = time.monotonic() + 60
    assert turns_of(new) == Turns()
    assert len([*tmp_path.glob("*.turns")]) == 2
    assert this_machine() == this_machine() != ""


@pytest.mark.parametrize("pace", [0, -1, math.nan, math.inf, -math.inf])
def test_a_pace_that_is_none_is_refused(pace):
    """The sentence names the parameter and says what to give."""
    with pytest.raises(ParameterError, match=r"requests_per_second is .*; give a number above 0\."):
        PostscriptClient("http://127.0.0.1:9", "sk_x", requests_per_second=pace)


def most_in_a_second(times):
    return max(sum(start <= at < start + 1 for at in times) for start in times)


@pytest.mark.parametrize(("pace", "most"), [(14, 15), (14.5, 15), (15, 15), (5, 6), (0.5, 1)])
def test_what_was_held_up_does_not_leave_together(pace, most):
    """However many come at once from their turns, and again a moment later, no second holds too many."""
    clock, left = FakeTime(), []
    pacer = Pacer(pace, clock=clock.clock, sleep=clock.sleep)
    for _ in range(60):
        pacer.leave()
        left.append(clock.now)
    assert most_in_a_second(left) == most


@pytest.mark.parametrize("pace", [1, 5, 14, 15])
def test_a_delay_after_the_turn_does_not_slow_the_pace(pace):
    """A ledger that takes 100 ms for a note, now and then 30 more, holds nothing up by itself."""
    clock, chance, left = FakeTime(), random.Random(1), []
    pacer = Pacer(pace, clock=clock.clock, sleep=clock.sleep)
    for number in range(1000):
        clock.now = max(clock.now, 1000 + number / pace + 0.1 + chance.choice([0, 0, 0.03]))
        pacer.leave()
        left.append(clock.now)
    assert 999 / (left[-1] - left[0]) >= 0.97 * pace
    assert most_in_a_second(left) <= 15


def test_the_bound_counts_what_other_processes_sent(tmp_path):
    """Two budgets of one file, as in two processes, let fifteen leave together, not thirty."""
    clock = FakeTime()
    clock.now = time.monotonic()
    begun, pacers = clock.now, []
    for _ in range(2):
        budget = SharedBudget(tmp_path, "url", "key")
        pacers.append(Pacer(14, budget=budget, clock=clock.clock, sleep=clock.sleep))
    for number in range(15):
        pacers[number % 2].leave()
    assert clock.now == begun
    pacers[1].leave()
    assert clock.now > begun + 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"torn",
        struct.pack("<18d", math.nan, 1.0, *[0.0] * 16),
        struct.pack("<18d", 1e12, 1.0, *[0.0] * 16),
        struct.pack("<18d", 0.0, 7.0, *[0.0] * 16),
        struct.pack("<18d", 0.0, 0.5, 1e12, *[0.0] * 15),
        struct.pack("<18d", 0.0, 0.5, *[0.0] * 15, 1e12),
    ],
    ids=[
        "empty",
        "torn",
        "no number",
        "before the machine started",
        "too fast",
        "cut in the future",
        "left in the future",
    ],
)
def test_a_file_that_makes_no_sense_is_as_new(tmp_path, content):
    """Whatever a crash or a restart of the machine left behind, no one waits for ever."""
    budget = SharedBudget(tmp_path, "url", "key")
    (path,) = tmp_path.glob("*.turns")
    path.write_bytes(content)
    with budget.change() as turns:
        assert turns == Turns()
        turns.next, turns.speed, turns.cut_at, turns.left = 5.0, 0.5, 4.0, tuple(map(float, range(15)))
    assert turns_of(budget) == turns


def test_the_key_is_not_in_the_folder(tmp_path):
    """Neither a name nor a content gives the key away."""
    folder = tmp_path / "made" / "by the first"
    for _ in range(2):
        SharedBudget(folder, "http://127.0.0.1:1", "sk_very_secret")
    assert not any("secret" in path.name or b"secret" in path.read_bytes() for path in folder.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    """The sentence names the setting to change."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SettingsError, match="TOOLKIT_BUDGET_FOLDER"):
        SharedBudget(blocked / "pace", "url", "key")
    monkeypatch.setenv("TOOLKIT_BUDGET_FOLDER", "/srv/budget")
    assert shared_folder().name == "budget"
    monkeypatch.setenv("TOOLKIT_BUDGET_FOLDER", "")
    assert shared_folder().name == "pace"
