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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from toolkit.errors import PostscriptError, RejectedError
from toolkit.postscript import api
from toolkit.postscript.lookup import find_subscriber
from toolkit.sync.plan import Plan
from toolkit.sync.plan.writing import properties_of
from toolkit.sync.runs import Transition, result_of

if TYPE_CHECKING:
    from .execution import Execution

Pair = tuple[str, str]
"""Ids of a subscriber and an audience."""
NOT_CONFIRMED = ("unknown", "refused")
"""States of a custom event that is posted again only when that is asked for."""


def transition_id(shop_id: str, subscriber_id: str, audience_key: str, *, entered: bool, when: str) -> str:
    """Return the external id of one transition: the same again on a retry, another on a later re-entry."""
    parts = "\x1f".join([shop_id, subscriber_id, audience_key, "in" if entered else "out", when])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


TRANSITION_COLUMNS = ["subscriber_id", "audience_key", "audience_id", "operation", "timestamp", "message_id"]
"""The columns of a plan's changes that custom events are made of."""


def transitions_of(announced: pd.DataFrame, shop_id: str, *, run_id: str) -> dict[int, Transition]:
    """Return row → custom event of a plan's `announced`; without a time and a message id the run names it."""
    rows = zip(announced.index, *(announced[name] for name in TRANSITION_COLUMNS), strict=True)
    found = {}
    for index, who, key, audience_id, operation, moment, message_id in rows:
        entered, named = operation == "add", run_id if pd.isna(message_id) else message_id
        when = named if pd.isna(moment) else moment.isoformat()
        found[index] = Transition(
            external_id=transition_id(shop_id, who, key, entered=entered, when=when),
            subscriber_id=who,
            audience_key=key,
            audience_id=None if pd.isna(audience_id) else audience_id,
            entered=entered,
        )
    return found


# --- what earlier runs left -------------------------------------------------------------------------------


def take_up(run: Execution) -> list[Transition]:
    """Return the custom events that earlier runs left; those left half-way are unknown from now on."""
    left = run.ledger.load_unknown_transitions(run.shop_id) if run.repeat_unknown else []
    for transition in run.ledger.load_open_transitions(run.shop_id):
        if transition.state == "posting":
            # The process ended before the answer came: repeating could text twice.
            run.ledger.mark_transitions([transition.external_id], "unknown")
            run.count_events("unresolved")
            run.count_events("unknown")
        else:
            left.append(transition)
    return left


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """What becomes of custom events that earlier runs left."""

    reads: int = 0
    """Subscribers whose list is read before anything is posted about them."""
    posted: int = 0
    """Those that will be posted; the list contradicts the others, or they cancel out."""
    dropped: int = 0
    """The plan's own custom events that are not posted: these replace them, or they were posted before."""


def expect(plan: Plan, left: Sequence[Transition], *, closed: Collection[Pair] = ()) -> LeftOver:
    """Return what becomes of *left* in a run of the plan; *closed* are its own that were posted."""
    left = [t for t in left if t.state != "posting"]  # that one may have been posted: it is not repeated
    if plan.custom_events == "none" or not left:
        return LeftOver(dropped=len(closed))
    subscribers = {t.subscriber_id for t in left}
    announced = plan.announced[plan.announced["subscriber_id"].isin(subscribers)]
    planned = transitions_of(announced, "", run_id="").values()
    own = {t.external_id: t for t in planned if (t.subscriber_id, t.audience_key) not in closed}
    lists, due = _lists_after(plan, subscribers), []
    for (who, key), chain in _chains([*left, *own.values()]).items():
        is_in = key in lists[who] if who in lists else _as_left(chain)
        due += find_due(chain, is_in=is_in)
    own_due = sum(t.external_id in own for t in due)
    return LeftOver(
        reads=len(subscribers), posted=len(due) - own_due, dropped=len(closed) + len(own) - own_due
    )


def find_due(chain: Sequence[Transition], *, is_in: bool) -> list[Transition]:
    """Return which custom events of a subscriber and audience are due; *is_in* is what the list is now.

    *chain* has the oldest first. Of those that were never sent, the last that agrees with the list is due,
    unless they cancel out. One that was not confirmed is due again while it agrees with the list.
    """
    due = [t for t in chain if t.state in NOT_CONFIRMED and t.entered is is_in]
    unsent = [t for t in chain if t.state not in NOT_CONFIRMED]
    if unsent and unsent[0].entered is is_in:  # else it is as it was before the first of them
        due.append(next(t for t in reversed(unsent) if t.entered is is_in))
    return due


def _chains(some: Iterable[Transition]) -> dict[Pair, list[Transition]]:
    found: dict[Pair, list[Transition]] = {}
    for transition in some:
        found.setdefault((transition.subscriber_id, transition.audience_key), []).append(transition)
    return found


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
    """Posts the custom events that are due, and those that earlier runs left."""

    def __init__(
        self, run: Execution, left_over: Sequence[Transition], due: Mapping[str, Sequence[Transition]]
    ) -> None:
        self._run, self._due = run, due
        self._row_of = {external_id: row for row, external_id in run.external_ids.items()}
        self._left: dict[str, list[Transition]] = {}
        for transition in left_over:
            self._left.setdefault(transition.subscriber_id, []).append(transition)

    def post_all(self) -> None:
        """Post every custom event that is due; one subscriber's in order, the older first."""
        self._run.for_all(self._post_some, [*dict.fromkeys([*self._left, *self._due])])

    def _post_some(self, who: str) -> None:
        """Post what is due of one subscriber's custom events; earlier ones only as far as the list agrees."""
        left = self._left.get(who, [])
        # By id: one that is left over may be planned again, when another tool changed the list.
        some = [*{t.external_id: t for t in (*left, *self._due.get(who, ()))}.values()]
        if left:
            try:
                record = find_subscriber(self._run.postscript, who)
            except PostscriptError as error:
                self._run.count_events("unresolved", len(left))
                self._run.fail(who, [], error)
                return
            listed = None if record is None else api.read_audiences(record.properties) or ()
            some = self._still_due(some, listed)
        for transition in some:
            # One that stays due holds the later ones back: an exit is not posted before its entry.
            if self._run.is_stopping or not self._post(transition):
                return

    def _still_due(self, some: Sequence[Transition], listed: tuple[str, ...] | None) -> list[Transition]:
        """Return those to post, and close the others that were never sent; without a list all."""
        due = []
        if listed is not None:
            for (_, key), chain in _chains(some).items():
                due += find_due(chain, is_in=key in listed)
        self._run.ledger.mark_transitions([t.external_id for t in due if t.state in NOT_CONFIRMED], "due")
        obsolete = [t for t in some if t not in due and t.state not in NOT_CONFIRMED]
        self._run.ledger.mark_transitions([t.external_id for t in obsolete], "obsolete")
        self._run.count_events("obsolete", len(obsolete))
        for transition in obsolete:
            self._finish(transition, "EVENT_NOT_DUE")
        return [t for t in some if t in due]

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
        self._run.count_events("posted")
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
