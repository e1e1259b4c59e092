"""One notebook, a call for each step: what ``docs/python.md`` shows as several calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from html import escape
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd

import toolkit
from toolkit.contacts.checks import REGIONS
from toolkit.errors import InputPathError, ParameterError, UnknownRunError
from toolkit.files import blocked_by
from toolkit.segment.inputs import path_of
from toolkit.statuses import RunStatus, count_of
from toolkit.sync.plan_file import recheck
from toolkit.sync.undo import UNDO_NOTE

from .parameters import PARAMETERS, check_injected, read_parameters
from .session import OpenShop, Session, is_attended, watch
from .settings import Settings, load_settings

if TYPE_CHECKING:
    from toolkit import (
        Archive,
        Audit,
        CostEstimate,
        Destination,
        Explanation,
        FetchResult,
        Folded,
        Forecast,
        Ledger,
        Plan,
        Preview,
        Run,
        SavedPlan,
        State,
        Timeline,
    )
    from toolkit.postscript.api import Shop
    from toolkit.report import Banner, NextStep
    from toolkit.sync.runs import RunRecord

    from .correction import Correction

_ARCHIVES = {".json", ".jsonl", ".ndjson", ".gz"}
"""How the name of an archive ends, beside a notebook."""
_RUNS_OFFERED = 50
_NEXT_STEPS = {
    "1_preview_audiences": "Next: 2_validate_contacts, or 3_sync_audiences with dry_run on.",
    "2_validate_contacts": "Next: answer in a copy of contacts_to_fix.csv, or go on to 3_sync_audiences.",
    "3_sync_audiences": "Next: when the plan is right, set dry_run to False and run the cells again.",
    "3_sync_audiences live": "Next: 4_audit_report writes the report of this run.",
    "5_repair_and_undo": "Next: when the plan is right, set dry_run to False and run the cells again.",
    "5_repair_and_undo live": "Next: 4_audit_report writes the report of this run.",
    "failed": "Next: do what the banner above says, then run the cells again.",
    "4_audit_report": "Next: open report.html. It needs nothing else and can be sent on.",
}


@dataclass(frozen=True)
class Source:
    """What a notebook works on."""

    archive: Archive
    destination: Destination
    corrections: pd.DataFrame
    """The answers in ``corrections_path``; see read_corrections()."""


@dataclass(frozen=True)
class _Planned:
    """A plan, how it is carried out, for which shop, and the parameters that it was made with."""

    plan: Plan
    carry_out: Callable[..., Run]
    shop: Shop
    parameters: Mapping[str, Any]


class NotebookRun(Session):
    """One notebook's work. Made by start(). Later steps use what the earlier ones found."""

    source: Source
    cost: CostEstimate
    """What the plan costs, after plan()."""
    plan_sentence: str
    """What it would do, after plan()."""
    corrected: pd.DataFrame
    """What became of each answer in ``corrections_path``, after check_contacts() or plan()."""

    def __init__(self, notebook: str, parameters: SimpleNamespace, settings: Settings) -> None:
        super().__init__(notebook, parameters, settings)
        self.notes: tuple[str, ...] = ()
        """Sentences about what the last step found."""
        self._shop_name = ""
        self._has_failed = False
        self._preview: Preview | None = None
        self._forecast: Forecast | None = None
        self._planned: _Planned | None = None

    # --- steps ------------------------------------------------------------------------------------------

    def read(self) -> Source:
        """Read the destination file and the corrections, and open the archive that the parameters name."""
        given = self.parameters
        self.source = Source(
            destination=toolkit.Destination.from_file(given.mappings_path),
            corrections=toolkit.read_corrections(
                given.corrections_path, overwritten=self.folder / "contacts_to_fix.csv"
            ),
            archive=toolkit.read_events(given.events_path),
        )
        self.notes = self.source.destination.notes
        return self.source

    def preview(self) -> Preview:
        """Count what the archive says of each audience."""
        self._preview = toolkit.preview(
            self.source.archive,
            self.source.destination,
            audience_keys=getattr(self.parameters, "audience_keys", ()),
            default_region=self.parameters.default_region,
            keep_state=True,
        )
        self.notes = (*self.source.destination.notes, *self._preview.notes)
        return self._preview

    def check_contacts(self) -> pd.DataFrame:
        """Judge the contacts of every person of the preview, corrected; one row a person."""
        region = self.parameters.default_region
        state, self.corrected = toolkit.correct(
            self._after("preview", self._preview).state, self.source.corrections, default_region=region
        )
        return toolkit.check_contacts(state.choose().people, default_region=region)

    def forecast(self) -> Forecast:
        """Say which members a sync would reach, by the ledger's copy of the subscribers or a look now."""
        given = self.parameters
        preview = self._after("preview", self._preview)
        self._forecast = toolkit.forecast(
            preview.state,
            ledger=self.find_ledger(),
            postscript=self.connect() if given.look_up else None,
            audience_keys=given.audience_keys,
            default_region=given.default_region,
            corrections=self.source.corrections,
        )
        self.notes = (self._forecast.sentence,)
        return self._forecast

    def explain_person(self, who: str = "") -> Timeline:
        """Return one person from event to answer; an empty name takes the first that a sync reaches."""
        return toolkit.explain_person(
            who,
            self.source.archive,
            self._after("forecast", self._forecast),
            destination=self.source.destination,
            ledger=self._open.get("ledger") or self.find_ledger(),
            default_region=self.parameters.default_region,
        )

    def explain(self, message_id: str = "") -> Explanation:
        """Return one event step by step; an empty id takes the first event of the archive."""
        event = self.source.archive.get_event(message_id)
        return toolkit.explain(event, self.source.destination, default_region=self.parameters.default_region)

    def plan(self) -> Plan:
        """Return what a sync would do: the events over what the ledger remembers, against Postscript now.

        A live run holds the shop from here on, until the run is closed.

        Raises
        ------
        ShopLockedError
            Another live run holds the shop.
        """
        given, parameters = self.parameters, dict(vars(self.parameters))
        to = self.open_shop()
        make = self._plan_saved if given.plan_path and not given.dry_run else self._plan_archive
        plan, folded, fetched = make(to)
        if given.plan_path and given.dry_run:
            toolkit.save_plan(
                given.plan_path, plan, folded, shop=to.shop, default_region=given.default_region
            )
            where = f"The plan is in {given.plan_path}: a live run with this plan_path carries it out."
            self.notes = (*self.notes, where)
        how = {"canary": given.canary, "read_again": given.read_again}
        left_over = to.ledger.load_open_transitions(to.shop.shop_id)
        self._price(to, plan, folded, left_over=left_over, **how)
        carry_out = partial(
            toolkit.sync,
            folded=folded,
            **vars(to),
            **how,
            repeat_unknown=given.repeat_unknown,
            cost=self.cost,
            parameters=parameters,
        )
        self._planned = _Planned(plan, carry_out, to.shop, parameters)
        known = f"{len(fetched.subscribers):,} subscribers known, read by {fetched.method}."
        about = f"Shop: {to.shop.name} ({to.shop.shop_id}). Ledger: {to.ledger.name}."
        warned = (*self.source.destination.notes, *(folded.notes if folded else ()))
        self.notes = (*warned, about, known, *fetched.notes, *self.notes)
        return plan

    def _price(self, to: OpenShop, plan: Plan, folded: Folded | None, **options: Any) -> None:
        """Estimate what the plan costs beside the calls made so far, and put it into words."""
        pace, reads = self.parameters.requests_per_second, sum(to.postscript.calls.values())
        self.cost = toolkit.estimate_cost(plan, folded, requests_per_second=pace, reads=reads, **options)
        self.plan_sentence = plan_sentence(plan, self.cost)
        self._shop_name = to.shop.name

    def _plan_archive(self, to: OpenShop) -> tuple[Plan, Folded, FetchResult]:
        """Plan what the archive says, over what the ledger remembers."""
        given, shop, ledger = self.parameters, to.shop, to.ledger
        payloads = self.source.archive.payloads(self.source.destination)
        folded, self.corrected = toolkit.correct(
            toolkit.fold(payloads, remembered=self._remembered(shop, ledger)),
            self.source.corrections,
            default_region=given.default_region,
        )
        state = folded.state.choose(given.audience_keys)
        contacts = toolkit.check_contacts(state.people, default_region=given.default_region)
        self.note_start()
        if not given.dry_run:
            # Kept until a sync has remembered it: a later run takes it up when this one fails.
            ledger.hold(shop.shop_id, "", folded.state, cause="failure")
        reached = ledger.load_reached(shop.shop_id)
        fetched = self._fetch(to, contacts, state.trait_keys, reached)
        plan = toolkit.plan(
            folded.state,
            contacts,
            fetched.subscribers,
            audience_keys=given.audience_keys,
            custom_events=given.custom_events,
            max_removal_share=given.max_removal_share,
            skip_opted_out=given.skip_opted_out,
            sync_mode=given.sync_mode,
            reached=reached,
        )
        return plan, folded, fetched

    def _plan_saved(self, to: OpenShop) -> tuple[Plan, Folded | None, FetchResult]:
        """Return the plan in ``plan_path`` as far as it still holds."""
        shop, ledger = to.shop, to.ledger
        saved = toolkit.load_plan(self.parameters.plan_path)
        saved.check_shop(shop)
        self._check_saved(saved)
        self.note_start()
        traits = tuple(saved.plan.changes["trait_key"].dropna().unique())
        fetched = self._fetch(to, saved.contacts, traits, ledger.load_reached(shop.shop_id))
        remembered = ledger.load_state(shop.shop_id)
        ready = saved.refresh(fetched.subscribers, shop=shop, remembered=remembered)
        if self.parameters.skip_opted_out:
            held, changes = fetched.subscribers, ready.plan.changes
            out = held.loc[held["can_send"].eq(False).fillna(False), "subscriber_id"]
            is_out = (changes["operation"] == "add") & changes["subscriber_id"].isin(out)
            ready = replace(ready, plan=recheck(ready.plan, held, overruled=is_out.to_numpy()))
        self.corrected = self.source.corrections.head(0)
        self.notes = (
            f"The plan of {self.parameters.plan_path}, made {saved.saved_at:%Y-%m-%d %H:%M} UTC: "
            f"{len(ready.plan.writes):,} of {count_of(len(saved.plan.writes), 'write')} still hold. "
            "Archive, audiences and limits are those that it was made with.",
        )
        return ready.plan, ready.folded, fetched

    def _check_saved(self, saved: SavedPlan) -> None:
        """Raise ParameterError where the parameters would be ignored: the plan was made with others."""
        given = vars(self.parameters)
        made = {"default_region": saved.default_region, "held_changes": "keep"}
        made |= {name: getattr(saved.plan, name) for name in ("custom_events", "max_removal_share")}
        if others := [f"{name} = {value!r}" for name, value in made.items() if given[name] != value]:
            made_with = f"The plan in {given['plan_path']} was made with {', '.join(others)}."
            raise ParameterError(f"{made_with} Give the same, or make a new plan.")

    def _fetch(
        self, to: OpenShop, contacts: pd.DataFrame, trait_keys: tuple[str, ...], reached: pd.DataFrame
    ) -> FetchResult:
        """Read what Postscript holds of the people, and keep it in the ledger."""
        fetched = toolkit.read_subscribers(
            contacts,
            to.postscript,
            cache=to.ledger.load_cache(to.shop.shop_id),
            reached=reached,
            trait_keys=trait_keys,
            scope="full" if self.parameters.full_read else "incremental",
            dry_run=self.parameters.dry_run,
        )
        to.ledger.save_cache(to.shop.shop_id, fetched)
        return fetched

    def _remembered(self, shop: Shop, ledger: Ledger) -> State:
        """Return what earlier runs asked for, and what was held back, as held_changes chooses."""
        choice = self.parameters.held_changes
        if choice == "discard" and not self.parameters.dry_run:
            ledger.discard_held(shop.shop_id)
        held = ledger.load_held(shop.shop_id, chosen=choice == "apply")
        count = len(held.memberships) + len(held.traits)
        taken_up = f"{count:,} memberships of an earlier run, not carried out then, are taken up."
        self.notes = (taken_up,) if count else ()
        return held.after(ledger.load_state(shop.shop_id))

    async def sync(self, plan: Plan) -> Run:
        """Carry the plan out as the parameters say, showing how far it is; return the run.

        A live run at the keyboard asks first. No, the Cancel button and an interrupt end the run as
        ``canceled``, the rest pending.

        Raises
        ------
        ParameterError
            A parameter has changed since the plan was made.
        """
        made = self._after("plan", self._planned)
        return await self._attend(plan, partial(made.carry_out, plan), made)

    async def _attend(self, plan: Plan, carry_out: Callable[..., Run], made: _Planned) -> Run:
        """Carry a plan out; a live one is asked for first at the keyboard, followed, and can be canceled.

        A live plan is carried out once: after it, the subscribers are others.
        """
        from .widgets import Progress, confirm, follow

        given = self.parameters
        self._check_unchanged(made)
        to_send = len(plan.writes) + self.cost.calls["custom_events"]
        cancel, progress = Event(), Progress(to_send)
        if given.dry_run or plan.exceeds_removal_limit or not to_send:
            return carry_out(dry_run=given.dry_run)
        asked = question(plan, self.cost, made.shop, given)
        if is_attended() and not await confirm(asked, yes=f"Sync {made.shop.name}"):
            cancel.set()
        self._check_unchanged(made)
        self._planned = None
        work = partial(carry_out, dry_run=False, on_progress=progress.note, cancel=cancel)
        return await follow(work, progress, cancel, what="Sync", attended=is_attended())

    def _check_unchanged(self, made: _Planned) -> None:
        if vars(self.parameters) != made.parameters:
            raise ParameterError(
                "A parameter has changed since the plan was made. Run the cells from Plan on again."
            )

    def plan_correction(self) -> Correction:
        """Plan what the parameters name: to undo a run, to repair, or to post custom events again.

        A live run holds the shop from here on, until the run is closed.
        """
        from .correction import plan_correction

        to = self.open_shop(must_exist=True)
        self.note_start()
        found = plan_correction(self.parameters, to)
        due = to.ledger.load_open_transitions(to.shop.shop_id) if found.plan.custom_events != "none" else []
        self._price(to, found.plan, None, read_again=True, left_over=[*due, *found.left_over])
        self._planned = _Planned(found.plan, found.carry_out, to.shop, dict(vars(self.parameters)))
        self.notes = (UNDO_NOTE,) if self.parameters.task == "undo" else ()
        return found

    async def correct(self) -> Run:
        """Carry the correction out as the parameters say; like sync()."""
        made = self._after("plan_correction", self._planned)
        return await self._attend(made.plan, made.carry_out, made)

    def audit(self) -> Audit:
        """Read one run from the ledger, with ``verify`` also what Postscript holds by now."""
        audit = toolkit.audit(
            self.open_ledger(must_exist=True),
            run_id=self.parameters.run_id,
            postscript=self.connect() if self.parameters.verify else None,
        )
        self._shop_name = audit.record.shop_name
        return audit

    def banner(self, sentence: str, *, is_alert: bool = False) -> Banner:
        """Return a banner with that sentence: what it is about, as of when, and the last step's notes."""
        given = vars(self.parameters)
        mode = given.get("dry_run")
        now = datetime.now().astimezone()
        utc = f" ({now.astimezone(UTC):%H:%M} UTC)" if now.utcoffset() else ""
        facts = [
            self.notebook[2:].replace("_", " ").capitalize(),
            given.get("events_path", ""),
            self._shop_name,
            "" if mode is None else "DRY RUN: nothing is written" if mode else "LIVE",
            f"{now:%d %b %Y, %H:%M %Z}{utc}",
        ]
        return toolkit.report.Banner(
            sentence=sentence,
            facts=[fact for fact in facts if fact],
            notes=self.notes,
            is_live=mode is False,
            is_alert=is_alert,
        )

    def outcome(self, record: RunRecord, changes: Mapping[str, int]) -> Banner:
        """Return a banner that says how a run ended; *changes* are its memberships and traits by status."""
        self.notes = record.notes
        is_alert = record.status not in {RunStatus.COMPLETED, RunStatus.RUNNING}
        self._has_failed = record.status == RunStatus.FAILED and self.notebook != "4_audit_report"
        return self.banner(record.sentence(changes), is_alert=is_alert)

    def close(self) -> None:
        """Close every connection; what was planned is not carried out any more."""
        super().close()
        self._planned = None

    def end(self) -> NextStep:
        """Close every connection; return what to do now, and the files that were written."""
        self.close()
        is_live = getattr(self.parameters, "dry_run", True) is False
        step = f"{self.notebook} live" if is_live else self.notebook
        if self._has_failed:
            step = "failed"
        return toolkit.report.NextStep(sentence=_NEXT_STEPS[step], files=self.written)

    def _after(self, step: str, found: Any) -> Any:
        if found is None:
            raise ParameterError(f"Run the cell with run.{step}() first: this step uses what it finds.")
        return found

    # --- controls: in a scheduled run none of them shows anything ---------------------------------------

    def show_controls(self) -> None:
        """Show a control for each parameter."""
        if is_attended():
            from .widgets import show_controls

            beside = sorted(p.name for p in Path().iterdir() if p.suffix in _ARCHIVES and p.is_file())
            offered = {
                "default_region": REGIONS,
                "events_path": ["sample", *beside],
                "audience_keys": self._known_audiences(),
                "run_id": self._known_runs(),
            }
            show_controls(self.notebook, self.parameters, offered)

    def show_search(self) -> None:
        """Show a field to look one person up."""
        if is_attended():
            from .widgets import show_search

            show_search(lambda who: _timeline_html(self.explain_person(who)))

    def show_dates(self, movements: pd.DataFrame, *, title: str) -> None:
        """Show from when to when the growth is drawn."""

        def draw(since: date, until: date) -> tuple[bytes, str]:
            chart = toolkit.report.growth_chart(movements, title=title, since=since, until=until)
            return chart.png, chart.alternative

        if is_attended() and len(days := movements["day"].dropna()):
            from .widgets import show_dates

            show_dates(days.min().date(), days.max().date(), draw)

    def _known_audiences(self) -> list[str]:
        """Return the audiences that the last preview into this folder found."""
        path = self.folder.parent / "1_preview_audiences" / "summary.json"
        try:
            keys = [str(row["audience_key"]) for row in json.loads(path.read_text("utf-8"))["audiences"]]
            return [key for key in keys if "•••" not in key]  # a masked one is none
        except (OSError, ValueError, LookupError, TypeError):
            return []  # only to be offered: keys can be typed

    def _known_runs(self) -> list[str]:
        if "run_id" not in vars(self.parameters) or (ledger := self.find_ledger()) is None:
            return []
        try:
            return [run.run_id for run in ledger.load_runs(ledger.get_run(), limit=_RUNS_OFFERED)]
        except UnknownRunError:
            return []


def start(notebook: str, given: Mapping[str, Any]) -> NotebookRun:
    """Check a notebook's parameters and return its run.

    Parameters
    ----------
    notebook
        Its name without ending, such as ``3_sync_audiences``.
    given
        ``globals()`` of the notebook.

    Returns
    -------
    NotebookRun
        With the parameters, checked and in their own types.

    Raises
    ------
    ParameterError
        There is no such notebook, or a parameter is unknown or has a bad value; every one is named.
    """
    if notebook not in PARAMETERS:
        raise ParameterError(f'There is no notebook "{notebook}". There are {", ".join(PARAMETERS)}.')
    check_injected(notebook, given.get("In", ()), unmarked=not is_attended())
    parameters = read_parameters(notebook, given)
    try:
        path_of(parameters.output_dir, "output_dir ")
    except InputPathError as error:
        raise ParameterError(str(error)) from None
    run = NotebookRun(notebook, parameters, load_settings(with_keyring=False))
    if there := blocked_by(run.folder):
        raise ParameterError(f"output_dir: {there} is not a folder that can be written to. Name another.")
    watch(run)
    return run


def plan_sentence(plan: Plan, cost: CostEstimate) -> str:
    """Return what a run of the plan does and how long it takes."""
    own = cost.calls["custom_events"] - cost.left_over
    left_over = f" and {cost.left_over:,} left over from earlier runs" if cost.left_over else ""
    added = plan.changes[plan.changes["operation"] == "add"]
    opted_out = added.loc[added["can_send"].eq(False).fillna(False), "subscriber_id"].nunique()
    figures = [
        count_of(plan.adds, "add"),
        count_of(plan.removes, "remove"),
        *([count_of(plan.updates, "trait update")] if plan.updates else []),
        count_of(own, "custom event") + left_over,
        f"about {_duration(cost.minutes)}",
    ]
    consent = f" {count_of(opted_out, 'subscriber')} to add to cannot be texted." if opted_out else ""
    return f"{', '.join(figures)}.{consent}"


def _duration(minutes: float) -> str:
    return f"{minutes:,.1f} minutes" if minutes >= 1 else count_of(round(minutes * 60), "second")


def question(plan: Plan, cost: CostEstimate, shop: Shop, parameters: SimpleNamespace) -> str:
    """Return the question before a live run: where, from what, for which audiences, and how much."""
    given = vars(parameters)
    audiences = ", ".join(given.get("audience_keys", ())) or "all audiences"
    about = given.get("task") or f"from {given['events_path']}, {audiences}"
    if given.get("plan_path"):
        about = f"the plan in {given['plan_path']}"
    return f"Live, to {shop.name}, {about}: {plan_sentence(plan, cost)}"


def _timeline_html(person: Timeline) -> str:
    tables = [(person.table(), "From event to answer"), (person.standing, "What the next sync would do")]
    shown = [
        toolkit.report.styled_table(table, caption=text).to_html() for table, text in tables if len(table)
    ]
    return f"<p>{escape(person.sentence)}</p>{''.join(shown)}"
