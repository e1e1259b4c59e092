"""What notebook 5 does: take a run back, repair what differs, post unconfirmed custom events again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd

import toolkit
from toolkit.errors import ParameterError
from toolkit.frames import empty_table
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.sync.drift import REPAIRED
from toolkit.sync.plan import DESIRED_COLUMNS, plan_desired
from toolkit.sync.runs import HISTORY_COLUMNS
from toolkit.sync.undo import plan_undo

if TYPE_CHECKING:
    from toolkit import Plan, Run
    from toolkit.sync.runs import RunRecord, Transition

    from .session import OpenShop

_RUNS_LOOKED_AT = 1000


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What would be corrected, and how to do it."""

    plan: Plan
    carry_out: Callable[..., Run]
    """Takes ``dry_run``, ``on_progress`` and ``cancel``, as sync() does."""
    left_over: Sequence[Transition] = ()
    """Custom events of earlier runs that it makes due, besides those that are due anyway."""
    choices: pd.DataFrame
    """What can be chosen: live runs, drift, or unconfirmed custom events; contacts masked."""
    caption: str
    """What `choices` are."""


def plan_correction(given: SimpleNamespace, to: OpenShop) -> Correction:
    """Plan the task that the parameters name; nothing is written.

    Raises
    ------
    ParameterError
        A live undo names no run, an event or a kind of drift is not there.
    UnknownRunError
        The ledger holds no such run.
    """
    return _TASKS[given.task](given, to)


def _undo(given: SimpleNamespace, to: OpenShop) -> Correction:
    runs = _runs_of(to)
    latest = toolkit.audit(to.ledger, run_id=runs[0].run_id) if runs else None
    history = latest.history if latest else empty_table(HISTORY_COLUMNS)
    live = history[history["mode"] == "live"].reset_index(drop=True)
    if not given.run_id and not given.dry_run:
        raise ParameterError("run_id is empty. Name the run: a live undo takes none by default.")
    if not (run_id := given.run_id or next(iter(live["run_id"]), "")):
        plan = _plan_nothing("none")
        send = partial(toolkit.sync, plan, None, **vars(to))
        return Correction(plan=plan, carry_out=send, choices=live, caption="There is no live run to undo")
    about: dict[str, Any] = {
        "ledger": to.ledger,
        "run_id": run_id,
        "postscript": to.postscript,
        "shop": to.shop,
        # A run that only added is taken back by removals alone: there is no limit to keep.
        "custom_events": given.custom_events,
        "max_removal_share": 1.0,
    }
    plan = plan_undo(**about)
    return Correction(
        plan=plan,
        carry_out=partial(toolkit.undo_run, **about, planned=plan),
        choices=live,
        caption=f"Live runs, the latest first; this is about {run_id}",
    )


def _repair(given: SimpleNamespace, to: OpenShop) -> Correction:
    state, region = to.ledger.load_state(to.shop.shop_id), _region_of(to)
    contacts = toolkit.check_contacts(state.choose().people, default_region=region)
    fetched = toolkit.read_subscribers(contacts, to.postscript, trait_keys=state.trait_keys, complete=True)
    drift = toolkit.find_drift(state, contacts, fetched.subscribers)
    plan = toolkit.plan_repair(
        state,
        contacts,
        fetched.subscribers,
        drift=drift,
        kinds=given.drift_kinds or REPAIRED,
        ghost_keys=given.ghost_keys,
        custom_events=given.custom_events,
        max_removal_share=given.max_removal_share,
    )
    options: dict[str, Any] = {"read_again": True, "parameters": {"default_region": region}}
    return Correction(
        plan=plan,
        carry_out=partial(toolkit.sync, plan, None, **vars(to), **options),
        choices=drift,
        caption="Where Postscript differs from what should be",
    )


def _resend(given: SimpleNamespace, to: OpenShop) -> Correction:
    ledger, shop_id, ids = to.ledger, to.shop.shop_id, tuple(given.event_ids)
    unconfirmed = {each.external_id: each for each in ledger.load_unknown_transitions(shop_id)}
    if not ids and not given.dry_run:
        raise ParameterError("event_ids is empty. Name the custom events that are to be posted again.")
    if unknown := [each for each in ids if each not in unconfirmed]:
        raise ParameterError(f"No unconfirmed custom event has the id {', '.join(unknown)}.")
    plan, region = _plan_nothing("transitions"), _region_of(to)

    def carry_out(*, dry_run: bool, cancel: Event | None = None, **how: Any) -> Run:
        with nullcontext() if dry_run else ledger.holding(shop_id):
            if not dry_run and not (cancel is not None and cancel.is_set()):
                # As if they had never left: they are posted where the list still agrees, and else closed.
                left = {each.external_id for each in ledger.load_unknown_transitions(shop_id)}
                ledger.mark_transitions(left.intersection(ids), "due")
            how |= {"cancel": cancel, "parameters": {"default_region": region}}
            return toolkit.sync(plan, None, **vars(to), dry_run=dry_run, **how)

    rows = [vars(each) | {"chosen": each.external_id in ids} for each in unconfirmed.values()]
    columns = ["chosen", "external_id", "subscriber_id", "audience_key", "entered", "state"]
    return Correction(
        plan=plan,
        carry_out=carry_out,
        left_over=[replace(unconfirmed[each], state="due") for each in ids],
        choices=pd.DataFrame(rows, columns=columns),
        caption="Custom events whose answer was lost, or that Postscript refused",
    )


def _runs_of(to: OpenShop) -> list[RunRecord]:
    """Return the runs of the shop up to its latest live one, else its latest, the latest first."""
    latest = next((run for run in to.ledger.load_latest_runs() if run.shop_id == to.shop.shop_id), None)
    return [] if latest is None else to.ledger.load_runs(latest, limit=_RUNS_LOOKED_AT)


def _region_of(to: OpenShop) -> str:
    """Return the country in which the latest run of the shop that named one read its phones."""
    named = (run.facts.get("parameters", {}).get("default_region") for run in _runs_of(to))
    return next(filter(None, named), "US")


def _plan_nothing(custom_events: str) -> Plan:
    nothing = (empty_table(DESIRED_COLUMNS), empty_table(SUBSCRIBER_COLUMNS))
    return plan_desired(*nothing, custom_events=custom_events, max_removal_share=1.0)


_TASKS: Mapping[str, Callable[..., Correction]] = {"undo": _undo, "repair": _repair, "resend": _resend}
