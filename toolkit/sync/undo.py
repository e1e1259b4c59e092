"""Undo a run: what it wrote is put back where it still stands, and its words are taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from toolkit.contacts import check_contacts
from toolkit.errors import ParameterError
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript, find_subscriber, in_parallel
from toolkit.postscript.subscribers import subscribers_table

from .desired import plan_wishes
from .inverse import Written, opposite_wishes, read_writes
from .plan import Plan, match_people
from .runs import RunRecord, Transition
from .store import LedgerStore
from .sync import Run, holding_the_shop, sync

UNDO_NOTE = "Custom events that the run posted, and texts that they started, cannot be unsent."
"""What an undo cannot do; recorded with every undo."""
_REASONS = {"ENTERED": "UNDO_ADDED", "EXITED": "UNDO_REMOVED", "TRAIT_NEW_VALUE": "UNDO_SET"}
_AT_ONCE = 1000
"""Ids in one statement."""


def plan_undo(
    ledger: LedgerStore,
    run_id: str,
    subscribers: pd.DataFrame,
    *,
    custom_events: str = "none",
    max_removal_share: float = 1.0,
) -> Plan:
    """Decide what would undo a run; nothing is sent, and its words are not taken back: undo_run() does both.

    Parameters
    ----------
    ledger
        Where the run was recorded.
    run_id
        Which run; it must have been live. Of a run that was killed only what it wrote is known.
    subscribers
        What Postscript holds now: SUBSCRIBER_COLUMNS, read with the traits that the run set.
    custom_events
        ``none``, or ``transitions`` to post one for each membership that changes back. Those that the run
        posted cannot be unsent.
    max_removal_share
        Share of the memberships looked at that may be removed. To undo a run that only added removes all
        of them, so there is no limit unless one is given.

    Returns
    -------
    Plan
        One row for each membership and trait that the run wrote. Changed back is what still is as the run
        left it; the rest is ``unchanged``: ``ALREADY_IN`` or ``ALREADY_OUT`` as before the run, or
        ``CHANGED_SINCE``. A trait that had no value before is a ``conflict``, ``TRAIT_CANNOT_BE_DELETED``.

    Raises
    ------
    UnknownRunError
        No such run.
    ParameterError
        No run is named, it was a dry run, or *subscribers* were read without the traits that the run set.
    """
    record = _get_live(ledger, run_id)
    wishes = opposite_wishes(
        record.run_id,
        read_writes(ledger.load_calls(record.run_id)),
        ledger.load_changes(record.run_id),
        _newer_words(ledger, record, subscribers),
        subscribers,
    )
    planned = plan_wishes(
        wishes, subscribers, custom_events=custom_events, max_removal_share=max_removal_share
    )
    return replace(planned, kind="undo", changes=planned.changes.replace({"reason_code": _REASONS}))


@holding_the_shop
def undo_run(
    ledger: LedgerStore,
    run_id: str,
    postscript: Postscript,
    *,
    shop: api.Shop,
    dry_run: bool = True,
    custom_events: str = "none",
    max_removal_share: float = 1.0,
    on_progress: Callable[[int, int, Mapping[str, int]], None] = lambda _done, _all, _counts: None,
) -> Run:
    """Undo a run: read its subscribers again, take its words back, and put back what it wrote.

    The words go first: should the process end half-way, no later run can bring back what was already undone,
    and undoing once more does the rest. Once they are gone, the next sync no longer asks for what only this
    run brought; a sync of the same archive states it anew, and it is written again. What an earlier run had
    asked for and this one only delivered is still asked for.

    Parameters
    ----------
    ledger, run_id
        Where the run was recorded, and which it was.
    postscript, shop
        Through what, and where to: one read a subscriber, and one write where something changes.
    dry_run
        True only records what would be undone.
    custom_events, max_removal_share
        As for plan_undo().
    on_progress
        Called after each call with how many of how many are done.

    Returns
    -------
    Run
        A run of its own, recorded in the ledger; its parameters name the run that it undid.

    Raises
    ------
    UnknownRunError
        No such run.
    ParameterError
        No run is named, it was a dry run, or it wrote to another shop.
    ShopLockedError
        Another live run is writing to the shop, perhaps the one to be undone.
    PostscriptError
        The subscribers could not be read; nothing was written.
    """
    record = _get_live(ledger, run_id)
    if record.shop_id != shop.shop_id:
        raise ParameterError(
            f"Run {record.run_id} wrote to the shop {record.shop_name} ({record.shop_id}); this key belongs "
            f"to {shop.name} ({shop.shop_id}). Use that shop's key."
        )
    writes = read_writes(ledger.load_calls(record.run_id))
    planned = plan_undo(
        ledger,
        record.run_id,
        _read(writes, postscript, _trait_keys(ledger, shop, writes)),
        custom_events=custom_events,
        max_removal_share=max_removal_share,
    )
    if not dry_run and not planned.exceeds_removal_limit:
        # With custom events, the one of the undo and the one that it undoes cancel out by themselves.
        open_ = ledger.load_open_transitions(shop.shop_id) if custom_events == "none" else []
        obsolete = _undone(open_, planned)
        for start in range(0, len(obsolete), _AT_ONCE):
            ledger.mark_transitions(obsolete[start : start + _AT_ONCE], "obsolete")
        ledger.take_back(shop.shop_id, record.run_id)
    return sync(
        planned,
        None,
        shop=shop,
        postscript=postscript,
        ledger=ledger,
        dry_run=dry_run,
        parameters={**_region_of(record), "undo_of": record.run_id, "note": UNDO_NOTE},
        on_progress=on_progress,
    )


def _get_live(ledger: LedgerStore, run_id: str) -> RunRecord:
    if not run_id:
        raise ParameterError("Name the run to undo by its run_id; none is undone by default.")
    record = ledger.get_run(run_id)
    if record.mode != "live":
        raise ParameterError(
            f"Run {run_id} was a dry run: it wrote nothing, so there is nothing to undo. Name a live run."
        )
    return record


def _newer_words(ledger: LedgerStore, record: RunRecord, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the words of later runs, each with the subscriber that its person is."""
    words = ledger.load_newer_words(record.shop_id, record.run_id)
    people = ledger.load_state(record.shop_id).people
    people = people[people["person"].isin(words["person"])]
    contacts = check_contacts(people, default_region=_region_of(record).get("default_region", "US"))
    matched = match_people(contacts, subscribers)[["person", "subscriber_id"]]
    return words.merge(matched, how="left", on="person")


def _undone(open_: Iterable[Transition], planned: Plan) -> list[str]:
    """Return the custom events of what is undone that are not posted yet, and must not be any more."""
    rows = planned.changes[planned.changes["audience_key"].notna()]
    rows = rows[rows["reason_code"] != "CHANGED_SINCE"]
    undone = {*zip(rows["subscriber_id"], rows["audience_key"], ~rows["member"].astype("bool"), strict=True)}
    return [
        t.external_id
        for t in open_
        if t.state != "posting" and (t.subscriber_id, t.audience_key, t.entered) in undone
    ]


def _region_of(record: RunRecord) -> dict[str, str]:
    """Return the parameter by which an audit of the undo reads phones: that of the run."""
    given = record.facts.get("parameters", {})
    return {name: given[name] for name in ("default_region",) if name in given}


def _trait_keys(ledger: LedgerStore, shop: api.Shop, writes: Sequence[Written]) -> list[str]:
    keys = {name for write in writes for name in write.traits}
    # The mirror keeps one object of traits a subscriber: what is written back must hold all of them.
    return sorted(keys.union(ledger.load_mirror(shop.shop_id).trait_keys)) if keys else []


def _read(writes: Sequence[Written], postscript: Postscript, trait_keys: list[str]) -> pd.DataFrame:
    """Read the subscribers of the writes, each by its id; who is gone is left out."""
    found = in_parallel(lambda write: find_subscriber(postscript, write.subscriber_id), writes)
    return subscribers_table(filter(None, found), trait_keys=trait_keys)
