"""Custom events: what identifies one, what earlier runs left of them, and posting each once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from toolkit.errors import PostscriptError, RejectedError
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript, find_subscriber
from toolkit.sync.leftovers import find_due
from toolkit.sync.runs import Transition
from toolkit.sync.store import LedgerStore

from .outcomes import Outcomes


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


def planned_ids(rows: pd.DataFrame, shop_id: str, *, run_id: str) -> list[str]:
    """Return the external ids of the custom events of these changes, `Plan.announced`."""
    columns = ("subscriber_id", "audience_key", "operation", "timestamp", "message_id")
    return [
        transition_id(shop_id, who, key, entered=operation == "add", when=_when(moment, message_id, run_id))
        for who, key, operation, moment, message_id in zip(*(rows[name] for name in columns), strict=True)
    ]


def _when(moment: Any, message_id: Any, run_id: str) -> str:
    if pd.notna(moment):
        return str(moment.isoformat())
    return run_id if pd.isna(message_id) else str(message_id)


class _NotClaimedError(Exception):
    """Another run has the custom event, or it is not due any more."""


class Poster:
    """Posts the custom events of a run, and those that earlier runs left."""

    def __init__(
        self, *, run_id: str, shop_id: str, postscript: Postscript, journal: LedgerStore, outcomes: Outcomes
    ) -> None:
        self._run_id, self._shop_id = run_id, shop_id
        self._postscript, self._journal, self._outcomes = postscript, journal, outcomes
        self._row_of: dict[str, int] = {}
        self._left_over: dict[str, Transition] = {}

    def take_up(self, *, repeat_unknown: bool) -> list[Transition]:
        """Return the custom events that earlier runs left; those left half-way are unknown from now on."""
        left = self._journal.load_unknown_transitions(self._shop_id) if repeat_unknown else []
        for transition in self._journal.load_open_transitions(self._shop_id):
            if transition.state == "posting":
                # The process ended before the answer came: repeating could text twice.
                self._journal.mark_transitions([transition.external_id], "unknown")
                self._outcomes.leave_unresolved()
                self._outcomes.count_events("unknown")
            else:
                left.append(transition)
        return left

    def post_all(self, left_over: Sequence[Transition], due: Iterable[Sequence[Transition]]) -> None:
        """Post every custom event that is due; one subscriber's in order, the older first."""
        self._row_of = {external_id: row for row, external_id in self._outcomes.external_ids.items()}
        self._left_over = {t.external_id: t for t in left_over}
        mine: dict[str, dict[str, Transition]] = {}
        for transition in (*left_over, *(each for some in due for each in some)):
            # By id: one that is left over may be planned again, when another tool changed the list.
            mine.setdefault(transition.subscriber_id, {})[transition.external_id] = transition
        self._outcomes.for_all(self._post_some, [[*some.values()] for some in mine.values()])

    def _post_some(self, some: Sequence[Transition]) -> None:
        """Post what is due of one subscriber's custom events; earlier ones only as far as the list agrees."""
        left_over = [t for t in some if t.external_id in self._left_over]
        if left_over:
            who = some[0].subscriber_id
            try:
                some = self._still_due(some, self._list_of(who))
            except PostscriptError as error:
                self._outcomes.leave_unresolved(len(left_over))
                self._outcomes.fail(who, [], error)
                return
        for transition in some:
            # One that stays due holds the later ones back: an exit is not posted before its entry.
            if self._outcomes.is_stopping or not self._post(transition):
                return

    def _still_due(self, some: Sequence[Transition], listed: tuple[str, ...] | None) -> Sequence[Transition]:
        """Return those to post, and close the others that were never sent; without a list all."""
        chains: dict[str, list[Transition]] = {}
        due: set[str] = set()
        for transition in some:
            if transition.state in ("unknown", "refused"):  # asked for again
                if listed is not None and (transition.audience_key in listed) is transition.entered:
                    due.add(transition.external_id)
            else:
                chains.setdefault(transition.audience_key, []).append(transition)
        self._journal.mark_transitions([*due], "due")
        for key, chain in chains.items():
            found = None if listed is None else find_due(chain, is_in=key in listed)
            due |= {found.external_id} if found else set()
            self._close([t for t in chain if t is not found])
        return [t for t in some if t.external_id in due]

    def _close(self, obsolete: Sequence[Transition]) -> None:
        self._journal.mark_transitions([t.external_id for t in obsolete], "obsolete")
        self._outcomes.count_events("obsolete", len(obsolete))
        for transition in obsolete:
            self._finish(transition, "EVENT_NOT_DUE")

    def _finish(self, transition: Transition, reason: str = "") -> None:
        """Say of the row, if this run has one, that its membership changed."""
        index = self._row_of.get(transition.external_id)
        if index is not None:
            self._outcomes.finish(index, reason)

    def _list_of(self, subscriber_id: str) -> tuple[str, ...] | None:
        """Return what a subscriber's list is now; None when there is no such subscriber."""
        record = find_subscriber(self._postscript, subscriber_id)
        return None if record is None else api.read_audiences(record.properties) or ()

    def _post(self, transition: Transition) -> bool:
        """Post one custom event; False when it stays due."""
        index = self._row_of.get(transition.external_id)
        rows = [] if index is None else [index]
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
            claimed = self._journal.start_event(self._run_id, request.route, transition)
            if claimed is None:
                raise _NotClaimedError
            call = claimed

        try:
            # Claimed at the last moment: what only waits for its turn is still due if the process ends.
            answer = self._postscript.send(request, on_leaving=claim)
        except _NotClaimedError:
            self._finish(transition, "EVENT_ALREADY_SENT")
            return True
        except PostscriptError as error:
            # Whatever a gateway's page says: it may have been carried out, and repeating could text twice.
            refused = "refused" if isinstance(error, RejectedError) else "due"
            state = "unknown" if api.may_be_applied(error) else refused
            self._journal.end_event(
                call,
                transition,
                state=state,
                outcome=f"{type(error).__name__}: {error}",
                status_code=error.status_code,
                tries=error.tries,
            )
            if state != "due":
                self._outcomes.count_events(state)
            if index is None:
                self._outcomes.leave_unresolved()
            # A refused one is closed, so that stopping does not hold the next run back.
            self._outcomes.fail(transition.subscriber_id, rows, error, is_event=True)
            return state != "due"
        self._journal.end_event(
            call, transition, state="sent", outcome="ok", status_code=answer.status_code, tries=answer.tries
        )
        self._outcomes.count_events("sent")
        self._finish(transition)
        self._outcomes.advance()
        return True
