"""Undo a run: what it wrote is put back where it still stands, and its values are taken back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pandas as pd

from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.frames import json_text, property_value, typed
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript, find_subscriber, in_parallel
from toolkit.postscript.subscribers import subscribers_table
from toolkit.statuses import ChangeStatus

from .plan import DESIRED_COLUMNS, Plan, plan_desired
from .plan.matching import match_people
from .plan.writing import properties_of
from .runs import LedgerStore, RunRecord
from .sync import Run, sync

UNDO_NOTE = "Custom events that the run posted, and texts that they started, cannot be unsent."
"""What an undo cannot do; recorded with every undo."""
_REASONS = {"ENTERED": "UNDO_ADDED", "EXITED": "UNDO_REMOVED", "TRAIT_NEW_VALUE": "UNDO_SET"}
_LIST = api.AUDIENCES_PROPERTY
_NOT_CARRIED_OUT = ("RejectedError", "InvalidAuthenticationError", "RateLimitError")
"""How the outcome of the only try begins that changed nothing, unless it ends in UNCLEAR."""
_UNKNOWN = "{}"
"""Stands for a value that no trait can be: a plan keeps no more of it."""
_FROM_CHANGES = ["person", "audience_id", "email_masked", "phone_masked"]
_ABOUT = ["subscriber_id", "audience_key", "trait_key"]


def undo_run(
    ledger: LedgerStore,
    run_id: str,
    postscript: Postscript,
    *,
    shop: api.Shop,
    dry_run: bool = True,
    custom_events: str = "none",
    max_removal_share: float = 1.0,
    planned: Plan | None = None,
    on_progress: Callable[[int, int, Mapping[str, int]], None] = lambda _done, _all, _counts: None,
    cancel: threading.Event | None = None,
) -> Run:
    """Undo a run: read its subscribers again, take its values back, and put back what it wrote.

    Once its values are gone, the next sync no longer asks for what only this run brought; a sync of the same
    archive states it anew, and it is written again. What an earlier run had asked for and this one only
    delivered is still asked for.

    The undo is a run of its own, whose parameters name the run that it undid; with *dry_run* it is only
    recorded. *custom_events* is ``none``, or ``transitions`` to post one for each membership that changes
    back. Of the memberships looked at *max_removal_share* may be removed; 1.0 is no limit. *planned* is what
    plan_undo() returned, with those options: each subscriber is read again before its write. Without it
    the subscribers are read now.
    *on_progress* and *cancel* are those of sync().

    Raises
    ------
    UnknownRunError, ParameterError
        No such run; none is named, it was a dry run, or it wrote to another shop.
    ShopLockedError
        Another live run is writing to the shop, perhaps the one to be undone.
    PostscriptError
        The subscribers could not be read; nothing was written.
    """
    record = _get_live(ledger, run_id, shop)
    options: dict[str, Any] = {"custom_events": custom_events, "max_removal_share": max_removal_share}
    with nullcontext() if dry_run else ledger.holding(shop.shop_id):
        is_earlier = planned is not None
        planned = planned or _plan_undo(ledger, record, postscript, **options)
        is_refused = planned.exceeds_removal_limit or (cancel is not None and cancel.is_set())
        if not dry_run and not is_refused:
            # The values go first: should the process end half-way, no later run brings back what was undone.
            # With custom events, the one of the undo and the one that it undoes cancel out by themselves.
            if custom_events == "none":
                ledger.mark_transitions(_undone(ledger, planned, shop), "obsolete")
            ledger.take_back(shop.shop_id, record.run_id)
        return sync(
            planned,
            None,
            shop=shop,
            postscript=postscript,
            ledger=ledger,
            dry_run=dry_run,
            read_again=is_earlier,  # others may have written meanwhile
            parameters={**_region_of(record), "undo_of": record.run_id, "note": UNDO_NOTE},
            on_progress=on_progress,
            cancel=cancel,
        )


def plan_undo(
    ledger: LedgerStore, run_id: str, postscript: Postscript, *, shop: api.Shop, **options: Any
) -> Plan:
    """Return what undo_run() would do with these options; nothing is written or recorded.

    It raises what undo_run() raises.
    """
    return _plan_undo(ledger, _get_live(ledger, run_id, shop), postscript, **options)


def _get_live(ledger: LedgerStore, run_id: str, shop: api.Shop) -> RunRecord:
    if not run_id:
        raise ParameterError("Name the run to undo by its run_id; none is undone by default.")
    record = ledger.get_run(run_id)
    if record.mode != "live":
        raise ParameterError(
            f"Run {run_id} was a dry run: it wrote nothing, so there is nothing to undo. Name a live run."
        )
    if record.shop_id != shop.shop_id:
        raise ParameterError(
            f"Run {record.run_id} wrote to the shop {record.shop_name} ({record.shop_id}); this key belongs "
            f"to {shop.name} ({shop.shop_id}). Use that shop's key."
        )
    return record


def _region_of(record: RunRecord) -> dict[str, str]:
    """Return the parameter by which an audit of the undo reads phones: that of the run."""
    given = record.facts.get("parameters", {})
    return {name: given[name] for name in ("default_region",) if name in given}


def _plan_undo(ledger: LedgerStore, record: RunRecord, postscript: Postscript, **options: Any) -> Plan:
    """Decide what would undo a run: a row for each membership and trait that it wrote, and may have."""
    rows = [*_opposites(ledger.load_calls(record.run_id))]
    traits = [row for row in rows if "trait_key" in row]
    keys = {row["trait_key"] for row in traits}
    if keys:
        # The cache keeps one object of traits a subscriber: what is written back must hold all of them.
        keys.update(ledger.load_cache(record.shop_id).trait_keys)
    ids = [*dict.fromkeys(row["subscriber_id"] for row in rows)]
    found = in_parallel(lambda subscriber_id: find_subscriber(postscript, subscriber_id), ids)
    subscribers = subscribers_table(filter(None, found), trait_keys=sorted(keys))
    held = dict(zip(subscribers["subscriber_id"], subscribers["properties"], strict=True))
    for row in traits:
        row["status"], row["reason_code"] = _why_not(row, held.get(row["subscriber_id"]))
    desired = pd.DataFrame(rows, columns=[*DESIRED_COLUMNS]).astype(DESIRED_COLUMNS)
    changes = ledger.load_changes(record.run_id)
    known = changes.loc[changes["operation"].notna(), [*_ABOUT, *_FROM_CHANGES]].drop_duplicates(_ABOUT)
    desired = desired.drop(columns=_FROM_CHANGES).merge(known, how="left", on=_ABOUT)
    # A run that was killed has no changes, only calls.
    person = desired["person"].fillna("subscriber " + desired["subscriber_id"])
    desired = desired.assign(person=person, message_id=f"undo of {record.run_id}")
    newer = _newer_values(ledger, record, subscribers)
    for who in ("person", "subscriber_id"):  # of others too who are the same subscriber
        about = [who, "audience_key", "trait_key"]
        values = newer.dropna(subset=who)[about].drop_duplicates().assign(newer=True)
        is_newer = desired.merge(values, how="left", on=about)["newer"].notna().to_numpy()
        desired.loc[is_newer, ["status", "reason_code"]] = [ChangeStatus.UNCHANGED.value, "CHANGED_SINCE"]
    planned = plan_desired(typed(desired, DESIRED_COLUMNS), subscribers, **options)
    return replace(planned, kind="undo", changes=planned.changes.replace({"reason_code": _REASONS}))


def _opposites(calls: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the opposite of all that a run wrote, or may have, in the columns of a desired change.

    ``value`` is what a trait was before (None: it had no value; ``{}``: one that no trait can be), and
    ``written`` what the run made of it.
    """
    patches = calls[calls["route"] == api.WRITE_ROUTE]
    outcome = patches["outcome"].astype("str")
    is_refused = outcome.str.startswith(_NOT_CARRIED_OUT) & ~outcome.str.endswith(api.UNCLEAR)
    # A run writes a subscriber once: what follows the first that was taken only puts back what it lost.
    taken = patches[~is_refused | (patches["tries"] != 1)].drop_duplicates("subscriber_id")
    for who, *texts in taken[["subscriber_id", "before", "after"]].itertuples(index=False):
        before, after = map(properties_of, texts)
        old, new = (dict.fromkeys(held.get(_LIST) or ()) for held in (before, after))
        for key in (old | new) if _LIST in after else ():
            if (key in old) is not (key in new):
                yield {"subscriber_id": who, "audience_key": key, "member": key in old}
        for name in (name for name in after if name != _LIST):
            held = property_value(before.get(name), {})
            value = None if held is None else json_text(held)
            yield {"subscriber_id": who, "trait_key": name, "value": value, "written": json_text(after[name])}


def _why_not(trait: Mapping[str, Any], properties: Any) -> tuple[str | None, str | None]:
    """Return why a trait is not set back; nothing when it is. *properties* are the subscriber's now."""
    if properties is None:
        return ChangeStatus.WAITING.value, "SUBSCRIBER_GONE"
    before, now = trait["value"], json.loads(properties)[trait["trait_key"]]
    if now != trait["written"]:
        is_back = before is not None and now == before
        return ChangeStatus.UNCHANGED.value, "TRAIT_SAME_VALUE" if is_back else "CHANGED_SINCE"
    if before == _UNKNOWN:
        return ChangeStatus.CONFLICT.value, "TRAIT_VALUE_UNSUPPORTED"
    if before is None:
        return ChangeStatus.CONFLICT.value, "TRAIT_CANNOT_BE_DELETED"
    return None, None


def _newer_values(ledger: LedgerStore, record: RunRecord, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the values of later runs, each with the subscriber that its person is."""
    values = ledger.load_newer_values(record.shop_id, record.run_id)
    people = ledger.load_state(record.shop_id).people
    people = people[people["person"].isin(values["person"])]
    contacts = check_contacts(people, default_region=_region_of(record).get("default_region", "US"))
    matched = match_people(contacts, subscribers)[["person", "subscriber_id"]]
    return values.merge(matched, how="left", on="person")


def _undone(ledger: LedgerStore, planned: Plan, shop: api.Shop) -> list[str]:
    """Return the ids of the custom events of what is undone that are open: they must not be posted now."""
    rows = planned.changes[planned.changes["audience_key"].notna()]
    rows = rows[rows["reason_code"] != "CHANGED_SINCE"]
    undone = {*zip(rows["subscriber_id"], rows["audience_key"], ~rows["member"].astype("bool"), strict=True)}
    return [
        t.external_id
        for t in ledger.load_open_transitions(shop.shop_id)
        if (t.subscriber_id, t.audience_key, t.entered) in undone
    ]
