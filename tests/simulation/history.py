"""One history: what happens to a shop within some weeks, as a script that can be cut shorter."""

from __future__ import annotations

import gc
import json
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

import toolkit
from toolkit.errors import ToolkitError
from toolkit.postscript.reader import TURNS

from .analyst import TRAITS_TOO, Desk, Options, Outcome, closed_events, is_ours
from .model import EXIT_CODES, Account, Memory
from .postscript import Postscript, drawn_knobs
from .segment import AUDIENCES, TRAITS, Segment, time_text
from .trouble import Process, Weather, broken, calm, drawn_trouble, drawn_weather
from .world import KilledError, World

MEMORY = Path("/dev/shm")
LOSSES = ("lock lost", "connection lost", "database restarted")
"""Troubles by which a run can lose the shop to another."""
LEAK = re.compile(r"p[0-9]+(@|%40)mail\.test|sk_simulated|ledger_pw|1(202|312)555[0-9]{4}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that happens; all that is left open in it is drawn from its own seed."""

    kind: str
    seed: int


def script_of(seed: int) -> list[Step]:
    """Draw what happens in the history of a seed."""
    chance = random.Random(f"{seed} script")
    kinds = {"live": 16, "dry": 2, "two": 3, "plan": 2, "undo": 2, "repair": 1, "members": 2}
    steps = []
    for _ in range(chance.choices((1, 2, 3, 5), (11, 6, 2, 1))[0]):
        steps += [kind for kind in ("people", "segment") if chance.random() < 0.8]
        steps += chance.choices([*kinds], [*kinds.values()])
    return [Step(kind=kind, seed=chance.getrandbits(32)) for kind in steps]


@dataclass(kw_only=True)
class Figures:
    """What a history held."""

    runs: int = 0
    calls: int = 0
    kills: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        self.runs += other.runs
        self.calls += other.calls
        self.kills += other.kills
        self.troubles += other.troubles
        self.statuses += other.statuses


@dataclass(kw_only=True)
class Result:
    """How a history came out."""

    violations: list[str]
    trace: list[str]
    figures: Figures


class History:
    """Plays a script."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        chance = world.chance
        self.shop = Postscript(
            world=self.world,
            knobs=drawn_knobs(chance),
            ahead=timedelta(seconds=chance.choice((0, 0, 0, 3600, -3600))),
            rounded_to=chance.choice((0, 0, 0, 60)),
        )
        self.segment = Segment(world=self.world, chance=chance)
        self.segment.audiences = AUDIENCES[: chance.choice((1, 2, 3, 5))]
        self.destination = with_traits() if chance.random() < 0.25 else None
        self.segment.traits = TRAITS if self.destination else ()
        self.hosts = (0, chance.choice((3600, -3600)) if chance.random() < 0.25 else 0)
        """By how many seconds the clocks of the two machines are ahead."""
        self.memory = Memory()
        self.account = Account(shop=self.shop, memory=self.memory)
        self.figures = Figures()
        self.folder = folder
        self.ledger = folder / "ledger.db"
        self.ledger.write_bytes(empty_ledger())
        self.violations: list[str] = []
        self.held: list[Any] = []
        """Events that the limit on removals holds back until they are applied."""
        self.half_known: set[tuple[str, str]] = set()
        """Person and audience of which a run that ended in an error may have remembered or held something."""
        self.window = 0
        """Where the archive of the next run begins: what came before has rolled over."""
        self.runs: list[tuple[int, str]] = []
        """Number and id of the live runs that came to an end."""
        self.broken: dict[str, Any] = {}
        self.writes_files = chance.random() < 0.1
        self.is_repeated = chance.random() < 0.25
        """Whether a run follows on one that left nothing to do."""
        self.was_deceived = self.shop.rounded_to > 0 or not self.shop.knobs.bumps_updated_at
        for _ in range(chance.choices((5, 8, 12, 20, 36), (4, 4, 2, 1, 1))[0]):
            person = self.segment.meet()
            if chance.random() < 0.8:
                self._sign_up(person, chance)
        for _ in range(chance.randrange(4)):
            self.shop.sign_up(phone=self.segment.new_phone(), email=None, chance=chance)
        self.segment.say(len(self.segment.people) * 3)

    def play(self, script: list[Step]) -> None:
        for number, step in enumerate(script):
            self.world.advance(random.Random(step.seed).choice((60, 3600, 86_400, 7 * 86_400)))
            self.world.note(f"{number} {step.kind} at {self.world.now():%d %b %H:%M}")
            getattr(self, f"_{step.kind}")(random.Random(f"{step.seed} {step.kind}"), number)
        self._settle()

    # --- what happens ---------------------------------------------------------------------------------

    def _sign_up(self, person: Any, chance: random.Random) -> None:
        phone = person.phone if chance.random() < 0.9 else None
        self.shop.sign_up(phone=phone, email=person.email if chance.random() < 0.8 else None, chance=chance)

    def _leave_phone(self, chance: random.Random, leave: Callable[[str], None]) -> None:
        """Let someone leave their phone, and at times another subscribe with it."""
        who = chance.choice(self.shop.people)
        phone = (self.shop.record(who) or {}).get("phone_number")
        leave(who)
        if phone and chance.random() < 0.5:
            self.shop.sign_up(phone=phone.lstrip("+"), email=None, chance=chance)

    def _people(self, chance: random.Random, _number: int) -> None:
        for _ in range(chance.randrange(1, 6)):
            self._one_of_the_people(chance)

    def _one_of_the_people(self, chance: random.Random) -> str:
        kind = chance.choices(
            ("sign_up", "stranger", "redact", "consent", "contact", "other"), (4, 1, 2, 1, 2, 4)
        )[0]
        people = self.shop.people
        match kind:
            case "sign_up":
                self._sign_up(chance.choice(self.segment.people), chance)
            case "stranger":
                self.shop.sign_up(phone=self.segment.new_phone(), email=None, chance=chance)
            case _ if not people:
                return "nothing"
            case "redact":
                self._leave_phone(chance, self.shop.redact)
            case "consent":
                can_send = chance.random() < 0.5
                self.shop.edit(chance.choice(people), subscriptions={"promotional": {"can_send": can_send}})
            case "contact" if chance.random() < 0.5:
                self.shop.edit(chance.choice(people), email=self.segment.new_email())
            case "contact":
                number = f"+{self.segment.new_phone()}"
                self._leave_phone(chance, lambda who: self.shop.edit(who, phone_number=number))
            case "other":
                self.shop.edit_elsewhere(chance.choice(people), chance)
        self.world.note(f"  meanwhile: {kind}")
        return kind

    def _segment(self, chance: random.Random, _number: int) -> None:
        if chance.random() < 0.3:
            self._sign_up(self.segment.meet(), chance)
        self.segment.say(chance.randrange(1, 3 + 2 * len(self.segment.people)))
        people = self.shop.people
        if people and chance.random() < 0.15:
            who = chance.choice(people)
            self.broken = {} if self.broken else {who: drawn_trouble(chance)}
            self.world.note(f"  broken: {self.broken}")

    # --- runs -----------------------------------------------------------------------------------------

    def _live(self, chance: random.Random, number: int) -> None:
        options = Options(
            audience_keys=tuple(chance.sample(self.segment.audiences, 1)) if chance.random() < 0.2 else (),
            custom_events="none" if chance.random() < 0.15 else "transitions",
            sync_mode=chance.choices(("mirror", "add_only", "remove_only"), (8, 1, 1))[0],
            canary=chance.choice((0, 1, 1, 1, 5)),
            read_again=chance.random() < 0.15,
            scope="full" if chance.random() < 0.1 else "incremental",
            max_removal_share=0.1 if chance.random() < 0.25 else 1.0,
        )
        weather = drawn_weather(chance, calls=10 + 3 * len(self.shop.people))
        self._run(number, weather, chance, options)

    def _dry(self, chance: random.Random, number: int) -> None:
        self._run(number, drawn_weather(chance, calls=20), chance, Options(dry_run=True))

    def _two(self, chance: random.Random, number: int) -> None:
        events = self.segment.events[self.window :]
        desks = [self._desk(f"run{number}{side}", drawn_weather(chance), chance) for side in "ab"]
        first, until = desks[0].process, None
        if chance.random() < 0.7:
            # The first is slow: it is still at work when the second, which gets the shop, is.
            desks[0].pace = chance.choice((0.5, 2, 14))
            first.weather.lose_lock_at_call = 2 + chance.randrange(4 + 3 * len(self.shop.people))

            def until() -> bool:
                return bool(first.troubles["lock lost"]) or first.has_ended

        works = [(lambda d=desk: d.sync(events, Options()), desk.process) for desk in desks]
        tasks = self.world.run(*works, until=until)
        for desk, task in zip(desks, tasks, strict=True):
            self._take(task.result(), events, number)
            self._count(desk, task.result())
        if not any(desk.process.troubles[name] for desk in desks for name in LOSSES):
            self.violations += self._both_at_work(desks)
        self._look(desks[0])

    def _both_at_work(self, desks: list[Desk]) -> Iterator[str]:
        """Yield that two runs had the shop at the same time, if they had."""
        started = desks[0].started
        made = [e for e in self.shop.entries if e.at >= started and not e.path.endswith("/me")]
        turns = [each for each, _ in groupby(e.process for e in made)]
        if len(turns) > len({*turns}):
            yield f"{' and '.join(desk.process.name for desk in desks)} had the shop at the same time"

    def _plan(self, chance: random.Random, number: int) -> None:
        path, events = self.folder / "saved.plan", self.segment.events[self.window :]
        taken_until = len(self.segment.events)
        desk = self._desk(f"run{number}s", calm(), chance)
        if self._count(desk, self._worked(desk, lambda: desk.save_plan(events, path))).error is not None:
            return
        for _ in range(chance.randrange(4)):
            self._one_of_the_people(chance)
        self.segment.say(chance.randrange(4))
        self.world.advance(86_400)
        desk = self._desk(f"run{number}e", drawn_weather(chance), chance)
        outcome = self._worked(desk, lambda: desk.execute_plan(path))
        self._take(outcome, events, number, until=taken_until)
        self._count(desk, outcome)
        self._look(desk)

    def _undo(self, chance: random.Random, number: int) -> None:
        if not self.runs:
            self._live(chance, number)
            return
        number, run_id = chance.choice(self.runs)
        desk = self._desk(f"undo{number}", drawn_weather(chance), chance)
        pairs = self.memory.pairs_of(number)
        self.muddy_all()
        outcome = self._worked(desk, lambda: desk.undo(run_id))
        self._count(desk, outcome)
        self._look(desk, announces=False)
        # Of two that took the same events at once, either may be the one that brought a change.
        is_alone = [each for each, _ in self.runs].count(number) == 1
        self.memory.unsure |= self.half_known
        if outcome.run is not None and is_alone:
            self.memory.take_back(number)
        else:
            self.memory.unsure |= pairs

    def _repair(self, chance: random.Random, number: int) -> None:
        desk = self._desk(f"repair{number}", drawn_weather(chance), chance)
        self.muddy_all()
        self._count(desk, self._worked(desk, desk.repair))
        self._look(desk, announces=False)

    def _members(self, chance: random.Random, number: int) -> None:
        """Sync a complete list of an audience's members."""
        key, taken = chance.choice(self.segment.audiences), time_text(self.world.now())
        known = {
            person: {kind: value for kind, (_, value) in found.items()}
            for person, found in self.memory.contacts.items()
        }
        rows = self.segment.listing(known)
        listed = {
            f"user:{row['user_id']}" if row["user_id"] else f"anonymous:{row['anonymous_id']}": {
                kind: text.lstrip("+").lower() for kind in ("phone", "email") if (text := row[kind])
            }
            for row in rows
        }
        desk = self._desk(f"run{number}", drawn_weather(chance, calls=20), chance)
        self.memory.know_list(key, listed)
        self.memory.note_strangers(key, self.shop)
        outcome = self._worked(desk, lambda: desk.sync_list(rows, key, taken))
        if outcome.is_taken or self._written_by(desk.process):  # it is remembered before the first write
            self.memory.take_list(key, taken, listed, number)
        elif outcome.error is not None:
            self.memory.unsure |= {(person, key) for person in {*listed, *(p for p, _ in self.memory.states)}}
        self.memory.note_strangers(key, self.shop)
        self._take(outcome, [], number, until=self.window)
        self._count(desk, outcome)
        self._look(desk)
        self._judge(desk, outcome, Options(audience_keys=(key,)))

    def muddy_all(self) -> None:
        """Leave the custom events of everything so far open: an undo or a repair changes lists in silence."""
        self.account.muddied |= {(who, key) for who in self.shop.people for key in self.segment.audiences}

    # --- how a run is made and judged -----------------------------------------------------------------

    def _desk(self, name: str, weather: Weather, chance: random.Random) -> Desk:
        """Return a process with its weather, and others who act meanwhile."""
        self.was_deceived |= weather.deceives
        for who, trouble in self.broken.items():
            weather.rules.append(broken(who, trouble))
        busy = chance.choice((0.0, 0.0, 0.01, 0.05))
        others = random.Random(chance.random())

        def meanwhile() -> None:
            if others.random() < busy:
                process.troubles[f"meanwhile {self._one_of_the_people(others)}"] += 1

        process = Process(world=self.world, name=name, weather=weather, shop=self.shop, meanwhile=meanwhile)
        process.is_quiet = busy == 0.0
        process.ahead = timedelta(seconds=chance.choice(self.hosts))
        process.troubles["clock an hour off"] += process.ahead != timedelta()
        return Desk(process=process, ledger_path=self.ledger, destination=self.destination)

    def _worked(self, desk: Desk, work: Callable[[], Outcome]) -> Outcome:
        """Let one process work to its end."""
        (task,) = self.world.run((work, desk.process))
        outcome: Outcome = task.result()
        return outcome

    def _run(self, number: int, weather: Weather, chance: random.Random, options: Options) -> None:
        events = self.segment.events[self.window :]
        desk = self._desk(f"run{number}", weather, chance)
        first = len(self.shop.entries)
        self.world.note(f"  {options} weather: {weather.names}")
        outcome = self._worked(desk, lambda: desk.sync(events, options))
        self._take(outcome, events, number)
        self._count(desk, outcome)
        self._look(desk, announces=options.custom_events == "transitions")
        if not options.dry_run:
            self._judge(desk, outcome, options)
        elif any(entry.method != "GET" for entry in self.shop.entries[first:]):
            self.violations.append("a dry run wrote")

    def _written_by(self, process: Process) -> Counter[str | None]:
        """Return subscriber → how often a process wrote it, or tried to."""
        made = [entry for entry in self.shop.entries if entry.process == process.name]
        return Counter(entry.subscriber for entry in made if entry.method == "PATCH")

    def _muddy_put_backs(self, process: Process) -> None:
        """Leave open what a deceived guard wrote and put back: two changes of which nothing is posted."""
        twice = [who for who, count in self._written_by(process).items() if count > 1]
        self.account.muddied |= {(who, key) for who in twice for key in self.segment.audiences}

    def _take(self, outcome: Outcome, events: list[Any], number: int, until: int | None = None) -> None:
        # What leaves a subscriber with a contact that moved is not announced, by design.
        self.account.muddied |= self._moved(outcome)
        known = self._shadow(events, number)
        if outcome.error is not None:
            self.half_known |= known
        if outcome.is_taken:
            if outcome.is_held:
                self.held += events
            else:
                self.memory.take(events, number)
            self.window = max(self.window, len(self.segment.events) if until is None else until)
            if outcome.run is not None:
                self.runs.append((number, outcome.run.record.run_id))

    def _moved(self, outcome: Outcome) -> set[tuple[str, str]]:
        """Return subscriber and audience of what a run takes away because a person's contact moved."""
        if (plan := outcome.facts.get("plan")) is None:
            return set()
        moved = plan.changes[plan.changes["reason_code"] == "CONTACT_MOVED"]
        pairs = zip(moved["subscriber_id"], moved["audience_key"], strict=True)
        return {(self._own_id(who), key) for who, key in pairs}

    def _shadow(self, events: list[Any], number: int) -> set[tuple[str, str]]:
        """Know of events that a run may have acted on, though they need not be remembered."""
        shadow = Memory(ever_contacts=self.memory.ever_contacts, ever_states=self.memory.ever_states)
        for event in events:
            shadow.take([event], number)
        return {*shadow.states}

    def _count(self, desk: Desk, outcome: Outcome) -> Outcome:
        """Count a process's work, check what it reports, and return its outcome."""
        if desk.process.weather.deceives:
            self._muddy_put_backs(desk.process)
        self.figures.runs += 1
        self.figures.calls += desk.process.calls
        self.figures.troubles += desk.process.troubles
        self.figures.statuses[outcome.status] += 1
        self.figures.kills += isinstance(outcome.error, KilledError)
        self.violations += self._wrong_exit_code(desk, outcome)
        reported = (
            f"{outcome.error}" if outcome.error is not None else outcome.run and outcome.run.record.error
        )
        self.world.note(f"  = {outcome.status} {reported or ''}")
        if desk.process.busiest_second > 15:
            self.violations.append("more than 15 calls left in a second")
        if not is_ours(outcome.error):
            self.violations.append(f"a raw error: {type(outcome.error).__name__}: {outcome.error}")
        text = f"{reported} {outcome.facts.get('summary', '')}"
        if LEAK.search(text):
            self.violations.append(f"a contact or key in what a run reports: {text[:200]}")
        if self.writes_files and not isinstance(outcome.error, KilledError):
            self._write_files(outcome)
            self.violations += leaks(self.folder)
        return outcome

    def _wrong_exit_code(self, desk: Desk, outcome: Outcome) -> Iterator[str]:
        """Yield the exit code where docs/parameters.md has another for how the run ended."""
        has_ended = outcome.run is not None or isinstance(outcome.error, ToolkitError)
        if not has_ended:
            return
        code, status = outcome.exit_code, outcome.status
        if outcome.is_held and status == "failed":
            status = "removal limit"
        expected = {EXIT_CODES.get(status, 7)}
        if status == "failed":
            is_refused = any(name.startswith(("401", "403")) for name in desk.process.troubles)
            expected |= ({4} if self.was_deceived or self.shop.foreign_edits else set()) | (
                {5} if is_refused else set()
            )
        if code not in expected:
            yield f"exit code {code} of a run that ended as {status}, not {expected}"

    def _write_files(self, outcome: Outcome) -> None:
        """Leave what the notebook leaves."""
        given = {"run_id": "", "verify": False, "ledger_url": "", "output_dir": str(self.folder / "output")}
        job = toolkit.start("4_audit_report", given)
        if outcome.error is not None:
            job.note_start()
            job.note_failure(outcome.error)
        if outcome.run is not None:
            job.write_run(outcome.run)
            job.write_table("changes.csv", outcome.run.changes)

    def _look(self, desk: Desk, *, announces: bool = True) -> None:
        self.violations += self.account.look(
            announces=announces, started=desk.started, is_deceived=self.was_deceived
        )

    def _judge(self, desk: Desk, outcome: Outcome, options: Options) -> None:
        """Check what a live run says of itself."""
        if outcome.run is None or self.was_deceived or self.held:
            return
        weather, status = desk.process.weather, outcome.status
        whole = options.sync_mode == "mirror" and not desk.process.weather.lose_lock_at_call
        near = self.account.near_changes(desk.started)
        if whole and status == "completed":
            # A subscriber that Postscript denies is waiting: a run cannot know better, a later one does.
            wrong = self.account.wrong_lists(options.audience_keys, but=near | desk.process.denied)
            self.violations += [f"a run says completed, and {each}" for each in wrong]
        if "summary" not in outcome.facts:
            return
        if whole and weather.is_calm and self.broken and status != "canceled" and outcome.is_taken:
            wrong = self.account.wrong_lists(options.audience_keys, but=near.union(self.broken))
            self.violations += [f"one subscriber's trouble, and {each}" for each in wrong]
        if weather.is_calm and not self.broken and desk.process.is_quiet and outcome.is_taken:
            self._judge_calm(outcome, options, turned_away=desk.process.turned_away)

    def _judge_calm(self, outcome: Outcome, options: Options, *, turned_away: int) -> None:
        summary = outcome.facts["summary"]
        made, planned = sum(summary["calls"].values()) - turned_away, summary["planned_calls"]
        # An answer without a body must be followed by a read, which no plan foresees.
        silent = outcome.run.plan.writes.shape[0] if self.shop.knobs.patch_bodies == "empty" else 0
        # The plan of one audience has not seen the lists of the others, which decide what is still due there.
        unseen = outcome.facts["left_over"] if options.audience_keys else 0
        if not planned - unseen <= made <= planned + silent + unseen:
            self.violations.append(f"{planned} calls planned, {made} made: {summary['calls']}")
        if outcome.status not in {"completed", "completed_with_errors"}:
            self.violations.append(f"a calm run ended as {outcome.status}: {outcome.run.record.error}")

    def _settle(self) -> None:
        """Let healthy runs come to their end: one, and another where something is left to do.

        Where the shop showed a part of its subscribers as if it were all, or one of them has gone, people are
        looked up again in turn, everybody within seven runs.
        """
        is_late = self.was_deceived
        self.broken = {}
        self._healthy(1000)
        self.was_deceived = False
        if left := self._unsettled():
            for number in range(1001, 1001 + TURNS):
                self._healthy(number)
                left = self._unsettled()
                if not left or (not is_late and self._unsettled(self.account.near_changes())):
                    break
            self.violations += [f"after {number - 999} healthy runs {each}" for each in left]
        elif self.is_repeated:
            first = len(self.shop.entries)
            moved = {who for who, _ in self._moved(self._healthy(1001))} | self.account.near_changes()
            made = [entry for entry in self.shop.entries[first:] if entry.method != "GET"]
            written = [entry for entry in made if entry.subscriber not in moved]
            self.violations += [f"a repeated run wrote: {each.method} {each.path}" for each in written]

    def _healthy(self, number: int) -> Outcome:
        """Make a run that nothing troubles."""
        self.world.advance(86_400)
        self.world.note(f"healthy at {self.world.now():%d %b %H:%M}")
        events = self.segment.events[self.window :]
        desk = self._desk(f"run{number}", calm(), random.Random(number))
        desk.process.meanwhile = lambda: None
        outcome = self._worked(desk, lambda: desk.sync(events, Options(held_changes="apply")))
        self.memory.take(self.held, number)
        self._take(outcome, events, number)
        self._count(desk, outcome)
        self._look(desk)
        if outcome.status not in {"completed", "completed_with_errors"}:
            self.violations.append(f"a healthy run ended as {outcome.status}")
        return outcome

    def _unsettled(self, but: Collection[str] = ()) -> list[str]:
        """Return what is not as it must be in the end, *but* the lists of these."""
        closed, still_open = closed_events(self.ledger)
        known = Counter({(self._own_id(who), key): count for (who, key), count in closed.items()})
        due = [f"a custom event is open: {each}" for each in still_open]
        wrong = [*self.account.wrong_lists(but=but), *self.account.left_behind()]
        return [*wrong, *self.account.unlisted(known), *due]

    def _own_id(self, shown: str) -> str:
        return self.shop.shop.id_of(shown, self.shop.knobs) or shown


def play(seed: int, script: list[Step] | None = None) -> Result:
    """Play the history of a seed, or a part of its script."""
    folder = Path(tempfile.mkdtemp(prefix="sim-", dir=MEMORY if MEMORY.is_dir() else None))
    gc.disable()
    try:
        world = World(seed)
        with world.played():
            history = History(world, folder)
            history.play(script_of(seed) if script is None else script)
        return Result(violations=history.violations, trace=world.trace, figures=history.figures)
    finally:
        gc.enable()
        gc.collect(0)  # all that this history left is young
        shutil.rmtree(folder, ignore_errors=True)


def play_seed(seed: int) -> tuple[int, Result]:
    """Play a seed and return both: for a pool, whose results come in any order."""
    return seed, play(seed)


def shortest(seed: int, first: Result) -> tuple[list[int], Result]:
    """Leave out steps while the same kind of violation remains; return the steps kept and their result."""
    whole = script_of(seed)
    kept, best, kind = [*range(len(whole))], first, _kind(first.violations)
    is_shorter = True
    while is_shorter:
        is_shorter = False
        for size in (len(kept) // 2, 4, 2, 1):
            for start in range(0, len(kept), max(size, 1)):
                fewer = kept[:start] + kept[start + max(size, 1) :]
                result = play(seed, [whole[i] for i in fewer])
                if _kind(result.violations) == kind:
                    kept, best, is_shorter = fewer, result, True
                    break
            if is_shorter:
                break
    return kept, best


def _kind(violations: list[str]) -> str:
    """Return what a violation is about, names left out."""
    return " ".join(word for word in violations[0].split() if word.isalpha())[:60] if violations else ""


def leaks(folder: Path) -> Iterator[str]:
    """Yield the files, neither ledger nor plan, that hold a contact, the key or the ledger's password."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(("ledger.db", "saved.plan")):
            is_table = path.suffix == ".parquet"
            text = str(pd.read_parquet(path).to_dict("list")) if is_table else path.read_text("utf-8")
            if found := LEAK.search(text):
                yield f"{path.name} holds {text[max(found.start() - 60, 0) : found.end()]}"


@cache
def with_traits() -> toolkit.Destination:
    """Return a destination that takes computed traits too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "destination.json"
        path.write_text(json.dumps(TRAITS_TOO))
        return toolkit.Destination.from_file(path)


@cache
def empty_ledger() -> bytes:
    """Return the bytes of a new ledger: its migrations take longer than a history."""
    with tempfile.TemporaryDirectory() as folder:
        toolkit.Ledger(f"sqlite:///{folder}/ledger.db").close()
        return (Path(folder) / "ledger.db").read_bytes()
