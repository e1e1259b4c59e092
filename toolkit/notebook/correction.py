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
from toolkit.sync.plan import DESIRED_COLUMNS, plan_desired
from toolkit.sync.runs import HISTORY_COLUMNS
from toolkit.sync.undo import plan_undo

if TYPE_CHECKING:
    from toolkit import Ledger, Plan, PostscriptClient, Run
    from toolkit.postscript.api import Shop
    from toolkit.sync.runs import RunRecord, Transition

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


def plan_correction(
    given: SimpleNamespace, *, shop: Shop, postscript: PostscriptClient, ledger: Ledger
) -> Correction:
    """Plan the task that the parameters name; nothing is written.

    Raises
    ------
    ParameterError
        A live undo names no run, an event or a kind of drift is not there.
    UnknownRunError
        The ledger holds no such run.
    """
    return _TASKS[given.task](given, shop, postscript, ledger)


def _undo(given: SimpleNamespace, shop: Shop, postscript: PostscriptClient, ledger: Ledger) -> Correction:
    latest = next((run for run in ledger.load_latest_runs() if run.shop_id == shop.shop_id), None)
    history = empty_table(HISTORY_COLUMNS) if latest is None else _history(ledger, latest)
    live = history[history["mode"] == "live"].reset_index(drop=True)
    if not given.run_id and not given.dry_run:
        raise ParameterError("run_id is empty. Name the run: a live undo takes none by default.")
    if not (run_id := given.run_id or next(iter(live["run_id"]), "")):
        plan = _plan_nothing("none")
        send = partial(toolkit.sync, plan, None, shop=shop, postscript=postscript, ledger=ledger)
        return Correction(plan=plan, carry_out=send, choices=live, caption="There is no live run to undo")
    # A run that only added is taken back by removals alone: there is no limit to keep.
    options = {"custom_events": given.custom_events, "max_removal_share": 1.0}
    plan = plan_undo(ledger, run_id, postscript, shop=shop, **options)
    return Correction(
        plan=plan,
        carry_out=partial(toolkit.undo_run, ledger, run_id, postscript, shop=shop, planned=plan, **options),
        choices=live,
        caption=f"Live runs, the latest first; this is about {run_id}",
    )


def _repair(given: SimpleNamespace, shop: Shop, postscript: PostscriptClient, ledger: Ledger) -> Correction:
    state, region = ledger.load_state(shop.shop_id), _region_of(ledger, shop)
    contacts = toolkit.check_contacts(state.choose().people, default_region=region)
    fetched = toolkit.read_subscribers(contacts, postscript, trait_keys=state.trait_keys, complete=True)
    plan = toolkit.plan_repair(
        state,
        contacts,
        fetched.subscribers,
        **({"kinds": given.drift_kinds} if given.drift_kinds else {}),
        ghost_keys=given.ghost_keys,
        custom_events=given.custom_events,
        max_removal_share=given.max_removal_share,
    )
    return Correction(
        plan=plan,
        carry_out=partial(
            toolkit.sync,
            plan,
            None,
            shop=shop,
            postscript=postscript,
            ledger=ledger,
            read_again=True,
            parameters={"default_region": region},
        ),
        choices=toolkit.find_drift(state, contacts, fetched.subscribers),
        caption="Where Postscript differs from what should be",
    )


def _resend(given: SimpleNamespace, shop: Shop, postscript: PostscriptClient, ledger: Ledger) -> Correction:
    unconfirmed = {each.external_id: each for each in ledger.load_unknown_transitions(shop.shop_id)}
    ids = tuple(given.event_ids)
    if not ids and not given.dry_run:
        raise ParameterError("event_ids is empty. Name the custom events that are to be posted again.")
    if unknown := [each for each in ids if each not in unconfirmed]:
        raise ParameterError(f"No unconfirmed custom event has the id {', '.join(unknown)}.")
    plan = _plan_nothing("transitions")

    def carry_out(*, dry_run: bool, cancel: Event | None = None, **how: Any) -> Run:
        with nullcontext() if dry_run else ledger.holding(shop.shop_id):
            if not dry_run and not (cancel is not None and cancel.is_set()):
                # As if they had never left: they are posted where the list still agrees, and else closed.
                left = {each.external_id for each in ledger.load_unknown_transitions(shop.shop_id)}
                ledger.mark_transitions(left.intersection(ids), "due")
            how |= {"shop": shop, "postscript": postscript, "ledger": ledger, "cancel": cancel}
            how["parameters"] = {"default_region": _region_of(ledger, shop)}
            return toolkit.sync(plan, None, dry_run=dry_run, **how)

    rows = [vars(each) | {"chosen": each.external_id in ids} for each in unconfirmed.values()]
    columns = ["chosen", "external_id", "subscriber_id", "audience_key", "entered", "state"]
    return Correction(
        plan=plan,
        carry_out=carry_out,
        left_over=[replace(unconfirmed[each], state="due") for each in ids],
        choices=pd.DataFrame(rows, columns=columns),
        caption="Custom events whose answer was lost, or that Postscript refused",
    )


def _region_of(ledger: Ledger, shop: Shop) -> str:
    """Return the country in which the latest run of the shop that named one read its phones."""
    latest = next((run for run in ledger.load_latest_runs() if run.shop_id == shop.shop_id), None)
    runs = [] if latest is None else ledger.load_runs(latest, limit=_RUNS_LOOKED_AT)
    named = (run.facts.get("parameters", {}).get("default_region") for run in runs)
    return next(filter(None, named), "US")


def _history(ledger: Ledger, latest: RunRecord) -> pd.DataFrame:
    return toolkit.audit(ledger, run_id=latest.run_id).history


def _plan_nothing(custom_events: str) -> Plan:
    nothing = (empty_table(DESIRED_COLUMNS), empty_table(SUBSCRIBER_COLUMNS))
    return plan_desired(*nothing, custom_events=custom_events, max_removal_share=1.0)


_TASKS: Mapping[str, Callable[..., Correction]] = {"undo": _undo, "repair": _repair, "resend": _resend}
