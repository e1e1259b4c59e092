"""Undo a run: what it wrote is put back where it still stands, and its values are taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.frames import json_text, property_value
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript, find_subscriber, in_parallel
from toolkit.postscript.subscribers import subscribers_table
from toolkit.statuses import ChangeStatus

from .desired import WISH_COLUMNS, plan_wishes
from .plan import Plan, match_people, properties_of
from .runs import LedgerStore, RunRecord, Transition
from .sync import Run, holding_the_shop, sync

UNDO_NOTE = "Custom events that the run posted, and texts that they started, cannot be unsent."
"""What an undo cannot do; recorded with every undo."""
_REASONS = {"ENTERED": "UNDO_ADDED", "EXITED": "UNDO_REMOVED", "TRAIT_NEW_VALUE": "UNDO_SET"}


def plan_undo(
    ledger: LedgerStore,
    run_id: str,
    subscribers: pd.DataFrame,
    *,
    custom_events: str = "none",
    max_removal_share: float = 1.0,
) -> Plan:
    """Decide what would undo a live run; nothing is sent, and its values are not taken back.

    *subscribers* is what Postscript holds now: SUBSCRIBER_COLUMNS, read with the traits that the run set. The
    plan has one row for each membership and trait that the run wrote; of a run that was killed only its calls
    are known. Changed back is what still is as the run left it; the rest is ``unchanged``: ``ALREADY_IN`` or
    ``ALREADY_OUT`` as before the run, or ``CHANGED_SINCE``. A trait that had no value before is a
    ``conflict``, ``TRAIT_CANNOT_BE_DELETED``. There is no limit on removals unless one is given: to undo a
    run that only added removes all of them.
    """
    record = _get_live(ledger, run_id)
    wishes = _opposite_wishes(ledger, record, subscribers)
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
    """Undo a run: read its subscribers again, take its values back, and put back what it wrote.

    Once its values are gone, the next sync no longer asks for what only this run brought; a sync of the same
    archive states it anew, and it is written again. What an earlier run had asked for and this one only
    delivered is still asked for.

    The undo is a run of its own, whose parameters name the run that it undid; with *dry_run* it is only
    recorded. *custom_events* is ``none``, or ``transitions`` to post one for each membership that changes
    back. Of the memberships looked at *max_removal_share* may be removed; 1.0 is no limit.

    Raises
    ------
    UnknownRunError, ParameterError
        No such run; none is named, it was a dry run, or it wrote to another shop.
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
    writes = _read_writes(ledger.load_calls(record.run_id))
    planned = plan_undo(
        ledger,
        run_id,
        _read(writes, postscript, ledger, shop),
        custom_events=custom_events,
        max_removal_share=max_removal_share,
    )
    if not dry_run and not planned.exceeds_removal_limit:
        # The values go first: should the process end half-way, no later run brings back what was undone.
        # With custom events, the one of the undo and the one that it undoes cancel out by themselves.
        open_ = ledger.load_open_transitions(shop.shop_id) if custom_events == "none" else []
        ledger.mark_transitions(_undone(open_, planned), "obsolete")
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


def _newer_values(ledger: LedgerStore, record: RunRecord, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return the values of later runs, each with the subscriber that its person is."""
    values = ledger.load_newer_values(record.shop_id, record.run_id)
    people = ledger.load_state(record.shop_id).people
    people = people[people["person"].isin(values["person"])]
    contacts = check_contacts(people, default_region=_region_of(record).get("default_region", "US"))
    matched = match_people(contacts, subscribers)[["person", "subscriber_id"]]
    return values.merge(matched, how="left", on="person")


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


def _read(
    writes: Sequence[Written], postscript: Postscript, ledger: LedgerStore, shop: api.Shop
) -> pd.DataFrame:
    """Read the subscribers of the writes, each by its id; who is gone is left out."""
    keys = {name for write in writes for name in write.traits}
    if keys:
        # The cache keeps one object of traits a subscriber: what is written back must hold all of them.
        keys.update(ledger.load_cache(shop.shop_id).trait_keys)
    found = in_parallel(lambda write: find_subscriber(postscript, write.subscriber_id), writes)
    return subscribers_table(filter(None, found), trait_keys=sorted(keys))


_LIST = api.AUDIENCES_PROPERTY
_NOT_CARRIED_OUT = ("RejectedError", "InvalidAuthenticationError", "RateLimitError")
"""How the outcome of the only try begins that changed nothing, unless it ends in UNCLEAR."""
_UNKNOWN = "{}"
"""Stands for a value that no trait can be: a plan keeps no more of it."""
_FROM_CHANGES = ["person", "audience_id", "email_masked", "phone_masked"]
_ABOUT = ["subscriber_id", "audience_key", "trait_key"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a run wrote to one subscriber."""

    subscriber_id: str
    entered: tuple[str, ...]
    exited: tuple[str, ...]
    traits: Mapping[str, tuple[str | None, str]]
    """Trait → JSON text before (None: it had no value; ``{}``: one that no trait can be) and after."""


def _read_writes(calls: pd.DataFrame) -> list[Written]:
    """Return the writes of a run that arrived, or may have: a run writes a subscriber once."""
    found: dict[str, Written] = {}
    patches = calls[calls["route"] == api.WRITE_ROUTE]
    for row in patches.to_dict("records"):
        who, outcome = str(row["subscriber_id"]), str(row["outcome"])
        # What follows the first that was taken only puts back what was lost by it.
        is_refused = outcome.startswith(_NOT_CARRIED_OUT) and not outcome.endswith(api.UNCLEAR)
        if who not in found and not (is_refused and row["tries"] == 1):
            found[who] = _written(who, properties_of(row["before"]), properties_of(row["after"]))
    return [*found.values()]


def _written(subscriber_id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Written:
    old, new = (dict.fromkeys(held.get(_LIST) or ()) for held in (before, after))
    return Written(
        subscriber_id=subscriber_id,
        entered=tuple(key for key in new if key not in old),
        exited=tuple(key for key in old if key not in new) if _LIST in after else (),
        traits={
            name: (_trait_json(before.get(name)), json_text(value))
            for name, value in after.items()
            if name != _LIST
        },
    )


def _trait_json(value: Any) -> str | None:
    held = property_value(value, {})
    return None if held is None else json_text(held)


def _opposite_wishes(ledger: LedgerStore, record: RunRecord, subscribers: pd.DataFrame) -> pd.DataFrame:
    """Return WISH_COLUMNS: the opposite of each thing that was written, or why it is left as it is."""
    writes = _read_writes(ledger.load_calls(record.run_id))
    changes, newer = ledger.load_changes(record.run_id), _newer_values(ledger, record, subscribers)
    held = _held_traits(writes, subscribers)
    rows = [row for write in writes for row in _opposites(write, held.get(write.subscriber_id))]
    wishes = pd.DataFrame(rows, columns=[*WISH_COLUMNS]).astype(WISH_COLUMNS)
    known = changes.loc[changes["operation"].notna(), [*_ABOUT, *_FROM_CHANGES]].drop_duplicates(_ABOUT)
    wishes = wishes.drop(columns=_FROM_CHANGES).merge(known, how="left", on=_ABOUT)
    # A run that was killed has no changes, only calls.
    person = wishes["person"].fillna("subscriber " + wishes["subscriber_id"])
    wishes = wishes.assign(person=person, message_id=f"undo of {record.run_id}")
    for who in ("person", "subscriber_id"):  # of others too who are the same subscriber
        about = [who, "audience_key", "trait_key"]
        values = newer.dropna(subset=who)[about].drop_duplicates().assign(newer=True)
        is_newer = wishes.merge(values, how="left", on=about)["newer"].notna().to_numpy()
        wishes.loc[is_newer, ["status", "reason_code"]] = [ChangeStatus.UNCHANGED.value, "CHANGED_SINCE"]
    return wishes[[*WISH_COLUMNS]].astype(WISH_COLUMNS)


def _opposites(write: Written, held: Mapping[str, str | None] | None) -> Iterator[dict[str, Any]]:
    who = {"subscriber_id": write.subscriber_id}
    for keys, member in ((write.entered, False), (write.exited, True)):
        for key in keys:
            yield {**who, "audience_key": key, "member": member}
    for name, (before, after) in write.traits.items():
        status, reason = _why_not(before, after, held, name)
        yield {**who, "trait_key": name, "value": before, "status": status, "reason_code": reason}


def _why_not(
    before: str | None, after: str, held: Mapping[str, str | None] | None, name: str
) -> tuple[str | None, str | None]:
    """Return why a trait is not set back; nothing when it is."""
    if held is None:
        return ChangeStatus.WAITING.value, "SUBSCRIBER_GONE"
    if held[name] != after:
        is_back = before is not None and held[name] == before
        return ChangeStatus.UNCHANGED.value, "TRAIT_SAME_VALUE" if is_back else "CHANGED_SINCE"
    if before == _UNKNOWN:
        return ChangeStatus.CONFLICT.value, "TRAIT_VALUE_UNSUPPORTED"
    if before is None:
        return ChangeStatus.CONFLICT.value, "TRAIT_CANNOT_BE_DELETED"
    return None, None


def _held_traits(writes: Sequence[Written], subscribers: pd.DataFrame) -> dict[str, Mapping[str, str | None]]:
    """Return subscriber → trait → JSON text now, for those whose traits the run set and who are there."""
    named = {write.subscriber_id: write.traits for write in writes if write.traits}
    rows = subscribers[subscribers["subscriber_id"].isin([*named])]
    found: dict[str, Mapping[str, str | None]] = {}
    for who, text in zip(rows["subscriber_id"], rows["properties"], strict=True):
        held = {} if pd.isna(text) else json.loads(text)
        if absent := named[who].keys() - held.keys():
            raise ParameterError(
                "The subscribers were read without the properties that the run set. "
                f"Read them with trait_keys={sorted(absent)}."
            )
        found[who] = held
    return found
