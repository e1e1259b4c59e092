"""Custom events: what identifies one, what becomes of those that earlier runs left, and posting each once.

========= ==========================================================================================
state     what the next run does
========= ==========================================================================================
planned   posts it when its write is known to have been carried out
due       posts it, if it still agrees with the list
posting   closes it as unknown: the process died on the way
unknown   nothing, its answer was lost and it may have been sent; ``repeat_unknown`` posts it again
refused   nothing, Postscript did not take it; ``repeat_unknown`` posts it again
sent      nothing
obsolete  nothing, a later change contradicts it
========= ==========================================================================================

A post is repeated within a run only if it surely did not arrive (``post_transition`` in postscript/api).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from toolkit.errors import PostscriptError, RejectedError
from toolkit.postscript import api
from toolkit.postscript.lookup import find_subscriber
from toolkit.sync.plan import Plan, properties_of
from toolkit.sync.runs import Transition, result_of

from .execution import Execution

Pair = tuple[str, str]
"""Ids of a subscriber and an audience."""
NOT_CONFIRMED = ("unknown", "refused")
"""States of a custom event that is posted again only when that is asked for."""


def transition_id(shop_id: str, subscriber_id: str, audience_key: str, *, entered: bool, when: str) -> str:
    """Return the external id of one transition: the same again on a retry, another on a later re-entry."""
    parts = "\x1f".join([shop_id, subscriber_id, audience_key, "in" if entered else "out", when])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def transition_of(changes: pd.DataFrame, index: int, shop_id: str, *, run_id: str) -> Transition:
    """Return the custom event of one row of a plan's changes; without a message id the run names it."""
    subscriber_id, key = changes.at[index, "subscriber_id"], changes.at[index, "audience_key"]
    entered = changes.at[index, "operation"] == "add"
    audience_id = changes.at[index, "audience_id"]
    when = _when(changes.at[index, "timestamp"], changes.at[index, "message_id"], run_id)
    return Transition(
        external_id=transition_id(shop_id, subscriber_id, key, entered=entered, when=when),
        subscriber_id=subscriber_id,
        audience_key=key,
        audience_id=None if pd.isna(audience_id) else audience_id,
        entered=entered,
    )


def planned_ids(plan: Plan, shop_id: str, *, run_id: str) -> dict[str, Pair]:
    """Return the external ids of the plan's custom events, and the subscriber and audience of each."""
    columns = ("subscriber_id", "audience_key", "operation", "timestamp", "message_id")
    rows = zip(*(plan.announced[name] for name in columns), strict=True)
    found = {}
    for who, key, operation, moment, message_id in rows:
        when = _when(moment, message_id, run_id)
        found[transition_id(shop_id, who, key, entered=operation == "add", when=when)] = (who, key)
    return found


def _when(moment: Any, message_id: Any, run_id: str) -> str:
    if pd.notna(moment):
        return str(moment.isoformat())
    return run_id if pd.isna(message_id) else str(message_id)


# --- what earlier runs left -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """What becomes of custom events that earlier runs left."""

    reads: int = 0
    """Subscribers whose list is read before anything is posted about them."""
    posted: int = 0
    """Those that will be posted; the list contradicts the others, or they cancel out."""
    dropped: int = 0
    """The plan's own custom events that are not posted, because of them or because they were before."""


def expect(plan: Plan, left: Sequence[Transition], *, closed: Collection[Pair] = ()) -> LeftOver:
    """Return what becomes of *left* in a run of the plan; *closed* are its own that were posted."""
    left = [t for t in left if t.state != "posting"]  # that one may have been posted: it is not repeated
    if plan.custom_events == "none" or not left:
        return LeftOver(dropped=len(closed))
    subscribers = {t.subscriber_id for t in left}
    own, lists = _own(plan, subscribers, closed), _lists_after(plan, subscribers)
    chains: dict[Pair, list[Transition]] = {}
    for transition in left:
        chains.setdefault((transition.subscriber_id, transition.audience_key), []).append(transition)
    posted, dropped = 0, len(closed)
    for (who, key), chain in chains.items():
        is_in = key in lists[who] if who in lists else _as_left(chain)
        posted += sum(t.entered is is_in for t in chain if t.state in NOT_CONFIRMED)
        unsent = [t for t in chain if t.state not in NOT_CONFIRMED]
        mine = own.get((who, key))
        if mine is not None:
            unsent.append(replace(chain[0], external_id="", entered=mine))
        due = find_due(unsent, is_in=is_in) if unsent else None
        is_own = due is not None and due.external_id == ""
        posted += due is not None and not is_own
        dropped += mine is not None and not is_own
    return LeftOver(reads=len(subscribers), posted=posted, dropped=dropped)


def find_due(chain: Sequence[Transition], *, is_in: bool) -> Transition | None:
    """Return the one custom event of a subscriber and audience that is due; None when they cancel out.

    *chain* are those that were never sent, the oldest first; *is_in* is what the list is now.
    """
    if chain[0].entered is not is_in:
        return None  # as it was before the first of them
    return next(transition for transition in reversed(chain) if transition.entered is is_in)


def _own(plan: Plan, subscribers: Collection[str], closed: Collection[Pair]) -> dict[Pair, bool]:
    """Return subscriber and audience → whether the plan's own custom event is an entry."""
    rows = plan.announced
    rows = rows[rows["subscriber_id"].isin(subscribers)]
    found = zip(rows["subscriber_id"], rows["audience_key"], rows["operation"] == "add", strict=True)
    return {(who, key): bool(entered) for who, key, entered in found if (who, key) not in closed}


def _lists_after(plan: Plan, subscribers: Collection[str]) -> dict[str, Collection[str]]:
    """Return what the lists of these subscribers will be, as far as the plan has seen them."""
    seen = plan.subscribers[plan.subscribers["subscriber_id"].isin(subscribers)]
    held = [json.loads(text) if isinstance(text, str) else () for text in seen["audiences"]]
    writes = plan.writes[plan.writes["subscriber_id"].isin(subscribers)]
    after = zip(writes["subscriber_id"], map(properties_of, writes["after"]), strict=True)
    lists = dict(zip(seen["subscriber_id"], held, strict=True))
    return lists | {who: new[api.AUDIENCES_PROPERTY] for who, new in after if api.AUDIENCES_PROPERTY in new}


def _as_left(chain: Sequence[Transition]) -> bool:
    """Return how the list is where the plan has not seen it: as the last write that went well left it."""
    arrived = [t.entered for t in chain if t.state != "planned"]
    return arrived[-1] if arrived else not chain[0].entered


# --- posting ----------------------------------------------------------------------------------------------


class _NotClaimedError(Exception):
    """Another run has the custom event, or it is not due any more."""


class Poster:
    """Posts the custom events of a run, and those that earlier runs left."""

    def __init__(self, run: Execution) -> None:
        self._run = run
        self._row_of: dict[str, int] = {}
        self._left_over: set[str] = set()

    def take_up(self, *, repeat_unknown: bool) -> list[Transition]:
        """Return the custom events that earlier runs left; those left half-way are unknown from now on."""
        ledger, shop_id = self._run.ledger, self._run.shop_id
        left = ledger.load_unknown_transitions(shop_id) if repeat_unknown else []
        for transition in ledger.load_open_transitions(shop_id):
            if transition.state == "posting":
                # The process ended before the answer came: repeating could text twice.
                ledger.mark_transitions([transition.external_id], "unknown")
                self._run.count_events("unresolved")
                self._run.count_events("unknown")
            else:
                left.append(transition)
        return left

    def post_all(self, left_over: Sequence[Transition], due: Iterable[Sequence[Transition]]) -> None:
        """Post every custom event that is due; one subscriber's in order, the older first."""
        self._row_of = {external_id: row for row, external_id in self._run.external_ids.items()}
        self._left_over = {t.external_id for t in left_over}
        mine: dict[str, dict[str, Transition]] = {}
        for transition in (*left_over, *(each for some in due for each in some)):
            # By id: one that is left over may be planned again, when another tool changed the list.
            mine.setdefault(transition.subscriber_id, {})[transition.external_id] = transition
        self._run.for_all(self._post_some, [[*some.values()] for some in mine.values()])

    def _post_some(self, some: Sequence[Transition]) -> None:
        """Post what is due of one subscriber's custom events; earlier ones only as far as the list agrees."""
        if count := sum(t.external_id in self._left_over for t in some):
            who = some[0].subscriber_id
            try:
                record = find_subscriber(self._run.postscript, who)
            except PostscriptError as error:
                self._run.count_events("unresolved", count)
                self._run.fail(who, [], error)
                return
            listed = None if record is None else api.read_audiences(record.properties) or ()
            some = self._still_due(some, listed)
        for transition in some:
            # One that stays due holds the later ones back: an exit is not posted before its entry.
            if self._run.is_stopping or not self._post(transition):
                return

    def _still_due(self, some: Sequence[Transition], listed: tuple[str, ...] | None) -> Sequence[Transition]:
        """Return those to post, and close the others that were never sent; without a list all."""
        chains: dict[str, list[Transition]] = {}
        due: set[str] = set()
        for transition in some:
            if transition.state not in NOT_CONFIRMED:
                chains.setdefault(transition.audience_key, []).append(transition)
            elif listed is not None and (transition.audience_key in listed) is transition.entered:
                due.add(transition.external_id)
        self._run.ledger.mark_transitions([*due], "due")
        for key, chain in chains.items():
            found = None if listed is None else find_due(chain, is_in=key in listed)
            due |= {found.external_id} if found else set()
            self._close([t for t in chain if t is not found])
        return [t for t in some if t.external_id in due]

    def _close(self, obsolete: Sequence[Transition]) -> None:
        self._run.ledger.mark_transitions([t.external_id for t in obsolete], "obsolete")
        self._run.count_events("obsolete", len(obsolete))
        for transition in obsolete:
            self._finish(transition, "EVENT_NOT_DUE")

    def _finish(self, transition: Transition, reason: str = "") -> None:
        """Record for the row, if this run has one, that its membership changed."""
        index = self._row_of.get(transition.external_id)
        if index is not None:
            self._run.finish(index, reason)

    def _post(self, transition: Transition) -> bool:
        """Post one custom event; False when it stays due."""
        request = api.post_transition(
            transition.subscriber_id,
            entered=transition.entered,
            audience_key=transition.audience_key,
            audience_id=transition.audience_id,
            external_id=transition.external_id,
        )
        call = 0

        def claim() -> None:
            nonlocal call
            claimed = self._run.ledger.start_event(self._run.run_id, transition)
            if claimed is None:
                raise _NotClaimedError
            call = claimed

        try:
            # Claimed at the last moment: what only waits for its turn is still due if the process ends.
            answer = self._run.postscript.send(request, on_leaving=claim)
        except _NotClaimedError:
            self._finish(transition, "EVENT_ALREADY_SENT")
            return True
        except PostscriptError as error:
            return self._fail(transition, call, error)
        self._run.ledger.end_event(call, transition, "sent", result_of(answer))
        self._run.count_events("sent")
        self._finish(transition)
        self._run.advance()
        return True

    def _fail(self, transition: Transition, call: int, error: PostscriptError) -> bool:
        """Record that a custom event failed; False when it stays due."""
        # Whatever a gateway's page says: it may have been carried out, and repeating could text twice.
        refused = "refused" if isinstance(error, RejectedError) else "due"
        state = "unknown" if api.may_be_applied(error) else refused
        self._run.ledger.end_event(call, transition, state, result_of(error))
        if state != "due":
            self._run.count_events(state)
        index = self._row_of.get(transition.external_id)
        if index is None:
            self._run.count_events("unresolved")
        # A refused one is closed, so that stopping does not hold the next run back.
        rows = [] if index is None else [index]
        self._run.fail(transition.subscriber_id, rows, error, is_event=True)
        return state != "due"
