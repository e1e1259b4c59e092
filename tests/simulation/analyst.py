"""The analyst, and her schedules: what she runs, as the notebooks do."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import toolkit
from toolkit.errors import ToolkitError
from toolkit.notebook.exit_codes import exit_code_of

from .postscript import KEY
from .trouble import Process, Transport, shared_cache
from .world import KilledError

PASSWORD = "ledger_pw_7c2e"
TRAITS_TOO = {"mappings": [{"name": "Audiences"}, {"name": "Traits", "action": "syncTraits"}]}


@dataclass(kw_only=True)
class Options:
    """The parameters of a run."""

    dry_run: bool = False
    audience_keys: tuple[str, ...] = ()
    custom_events: str = "transitions"
    max_removal_share: float = 1.0
    sync_mode: str = "mirror"
    canary: int = 1
    read_again: bool = False
    scope: str = "incremental"
    held_changes: str = "keep"


@dataclass(kw_only=True)
class Outcome:
    """How a run ended."""

    run: Any = None
    error: BaseException | None = None
    is_taken: bool = False
    """Whether what the archive says must be remembered from now on."""
    is_held: bool = False
    """Whether the limit on removals holds it back."""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        if self.run is not None:
            return str(self.run.record.status)
        if self.error is None:
            return "planned"
        return "killed" if isinstance(self.error, KilledError) else type(self.error).__name__

    @property
    def exit_code(self) -> int:
        """What a scheduler gets to see."""
        error, summary = self.error, {}
        if self.run is not None:
            summary = self.run.record.summary()
            try:
                self.run.raise_if_failed()
            except ToolkitError as failed:
                error = failed
        name = "" if error is None else type(error).__name__
        return int(exit_code_of(name, summary, has_key=True, is_canceled=False))


@dataclass(kw_only=True)
class Desk:
    """A process at work: its connection and its ledger."""

    process: Process
    ledger_path: Path
    destination: toolkit.Destination | None = None
    pace: float = 14.0
    """Calls a second."""

    def __post_init__(self) -> None:
        self.started = self.process.world.seconds

    def connect(self) -> toolkit.PostscriptClient:
        world = self.process.world
        return toolkit.PostscriptClient(
            "http://127.0.0.1:9",
            KEY,
            requests_per_second=self.pace,
            clock=world.monotonic,
            sleep=world.advance,
            transport=Transport(self.process),
        )

    def open_ledger(self) -> toolkit.Ledger:
        ledger = toolkit.Ledger(f"sqlite:///file:{self.ledger_path}?uri=true&password={PASSWORD}")
        shared_cache(ledger._engine)
        self.process.watch(ledger)

        def lose_lock() -> None:
            for lock, _ in ledger._held.values():
                lock.release()

        self.process.lose_lock = lose_lock
        return ledger

    def guarded(self, work: Callable[[Outcome], None], *, is_live: bool = True) -> Outcome:
        """Do the work, with the shop kept where it *is_live*; whatever ends it is its outcome."""
        outcome = self.outcome = Outcome()
        try:
            with self.connect() as self.postscript, self.open_ledger() as self.ledger:
                self.shop = toolkit.connect_shop(self.postscript)
                self.shop_id = self.shop.shop_id
                if is_live:
                    self.ledger.lock_shop(self.shop_id)
                work(outcome)
        except BaseException as error:
            outcome.error = error
        self.process.has_ended = True
        return outcome

    def sync(self, events: Sequence[dict[str, Any]], options: Options) -> Outcome:
        """Run notebook 3."""

        def work(outcome: Outcome) -> None:
            folded, contacts, fetched = self._read_all(events, options, outcome)
            known = {*folded.state.memberships["audience_key"]}
            plan = toolkit.plan(
                folded.state,
                contacts,
                fetched.subscribers,
                audience_keys=[key for key in options.audience_keys if key in known],
                custom_events=options.custom_events,
                max_removal_share=options.max_removal_share,
                sync_mode=options.sync_mode,
                reached=self.ledger.load_reached(self.shop_id),
            )
            left_over = len(self.ledger.load_open_transitions(self.shop_id))
            outcome.facts["left_over"] = left_over
            outcome.is_held = plan.exceeds_removal_limit
            cancel = threading.Event()
            self.process.cancel = cancel.set
            outcome.run = self._deliver(
                plan,
                folded,
                dry_run=options.dry_run,
                canary=options.canary,
                read_again=options.read_again,
                cancel=cancel,
            )
            outcome.facts["summary"] = json.loads(json.dumps(outcome.run.summary(), default=str))

        return self.guarded(work, is_live=not options.dry_run)

    def save_plan(self, events: Sequence[dict[str, Any]], path: Path) -> Outcome:
        """Plan, and keep the plan in a file."""

        def work(outcome: Outcome) -> None:
            folded, contacts, fetched = self._read_all(events, Options(dry_run=True), outcome)
            reached = self.ledger.load_reached(self.shop_id)
            plan = toolkit.plan(
                folded.state, contacts, fetched.subscribers, max_removal_share=1.0, reached=reached
            )
            toolkit.save_plan(path, plan, folded, shop=self.shop, default_region="US")

        return self.guarded(work, is_live=False)

    def execute_plan(self, path: Path) -> Outcome:
        """Carry a saved plan out, as far as it still holds."""

        def work(outcome: Outcome) -> None:
            saved = toolkit.load_plan(path)
            traits = saved.folded.state.trait_keys if saved.folded else ()
            fetched = self._read(saved.contacts, trait_keys=traits)
            remembered = self.ledger.load_state(self.shop_id)
            ready = saved.refresh(fetched.subscribers, shop=self.shop, remembered=remembered)
            outcome.run = self._deliver(ready.plan, ready.folded)
            outcome.is_taken = True

        return self.guarded(work)

    def undo(self, run_id: str) -> Outcome:
        """Take a run back."""

        def work(outcome: Outcome) -> None:
            outcome.run = toolkit.undo_run(
                self.ledger, run_id, self.postscript, shop=self.shop, dry_run=False
            )

        return self.guarded(work, is_live=False)

    def sync_list(self, members: Sequence[dict[str, Any]], key: str, taken_at: str) -> Outcome:
        """Bring Postscript to a complete list of an audience's members."""

        def work(outcome: Outcome) -> None:
            member_list = toolkit.read_member_list(pd.DataFrame(members), audience_key=key, taken_at=taken_at)
            # With what an interrupted run left: an older state that the list contradicts must not stand.
            held = self.ledger.load_held(self.shop_id)
            remembered = held.after(self.ledger.load_state(self.shop_id))
            contacts = toolkit.check_contacts(remembered.people)
            fetched = toolkit.read_subscribers(contacts, self.postscript, complete=True)
            folded, contacts = toolkit.mirror_member_list(
                member_list, fetched.subscribers, remembered=remembered
            )
            plan = toolkit.plan(
                folded.state,
                contacts,
                fetched.subscribers,
                audience_keys=member_list.audience_keys,
                max_removal_share=1.0,
            )
            outcome.run = self._deliver(plan, folded)
            outcome.is_taken = True

        return self.guarded(work)

    def repair(self) -> Outcome:
        """Bring Postscript back to what the ledger remembers."""

        def work(outcome: Outcome) -> None:
            state = self.ledger.load_state(self.shop_id)
            contacts = toolkit.check_contacts(state.people)
            fetched = self._read(contacts, trait_keys=state.trait_keys, complete=True)
            plan = toolkit.plan_repair(state, contacts, fetched.subscribers, max_removal_share=1.0)
            outcome.run = self._deliver(plan, None)

        return self.guarded(work)

    def _read_all(self, events: Sequence[dict[str, Any]], options: Options, outcome: Outcome) -> Any:
        """Fold the events on what is remembered, and look the people up."""
        payloads = toolkit.read_events([*events]).payloads(self.destination)
        held = self.ledger.load_held(self.shop_id, chosen=options.held_changes == "apply")
        folded = toolkit.fold(payloads, remembered=held.after(self.ledger.load_state(self.shop_id)))
        known = {*folded.state.memberships["audience_key"]}
        chosen = folded.state.choose([key for key in options.audience_keys if key in known])
        contacts = toolkit.check_contacts(chosen.people)
        if not options.dry_run:
            self.ledger.hold(self.shop_id, "", folded.state, cause="failure")
            outcome.is_taken = True
        fetched = self._read(
            contacts, trait_keys=chosen.trait_keys, scope=options.scope, dry_run=options.dry_run
        )
        self.process.world.note(f"  read by {fetched.method} {' '.join(fetched.notes)}")
        return folded, contacts, fetched

    def _read(self, contacts: Any, **options: Any) -> Any:
        """Read subscribers by way of the ledger's copy."""
        cache, reached = self.ledger.load_cache(self.shop_id), self.ledger.load_reached(self.shop_id)
        fetched = toolkit.read_subscribers(contacts, self.postscript, cache=cache, reached=reached, **options)
        self.ledger.save_cache(self.shop_id, fetched)
        return fetched

    def _deliver(self, plan: Any, folded: Any, *, dry_run: bool = False, **options: Any) -> Any:
        self.outcome.facts["plan"] = plan
        return toolkit.sync(
            plan,
            folded,
            shop=self.shop,
            postscript=self.postscript,
            ledger=self.ledger,
            dry_run=dry_run,
            **options,
        )


def is_ours(error: BaseException | None) -> bool:
    """Return whether an error is one that the toolkit raises on purpose, or the end of the process."""
    return error is None or isinstance(error, ToolkitError | KilledError)


def closed_events(ledger_path: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Return the custom events that the ledger lists as not posted, and those it still means to post."""
    import sqlite3

    with sqlite3.connect(ledger_path) as connection:
        rows = connection.execute("SELECT subscriber_id, audience_key, state FROM transitions").fetchall()
    connection.close()
    listed = Counter((who, key) for who, key, state in rows if state in {"unknown", "refused", "obsolete"})
    return listed, [
        f"{state} {who} {key}" for who, key, state in rows if state in {"planned", "due", "posting"}
    ]
