"""Custom events: what identifies one, what earlier runs left of them, and posting each once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import pandas as pd

from toolkit import wire
from toolkit.errors import LostAnswerError, PostscriptError, RejectedError
from toolkit.lookup import Postscript
from toolkit.runs import Transition
from toolkit.statuses import ChangeStatus

from .journal import Journal
from .outcomes import Outcomes


def transition_id(shop_id: str, subscriber_id: str, audience_key: str, *, entered: bool, when: str) -> str:
    """Return the external id of one transition: the same again on a retry, another on a later re-entry."""
    parts = "\x1f".join([shop_id, subscriber_id, audience_key, "in" if entered else "out", when])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def transition_of(changes: pd.DataFrame, index: int, shop_id: str, *, run_id: str) -> Transition:
    """Return the custom event of one row of a plan's changes; what nobody said is said by the run."""
    subscriber_id, key = changes.at[index, "subscriber_id"], changes.at[index, "audience_key"]
    entered = changes.at[index, "operation"] == "add"
    moment, audience_id = changes.at[index, "timestamp"], changes.at[index, "audience_id"]
    message_id = changes.at[index, "message_id"]
    when = moment.isoformat() if pd.notna(moment) else run_id if pd.isna(message_id) else str(message_id)
    return Transition(
        external_id=transition_id(shop_id, subscriber_id, key, entered=entered, when=when),
        subscriber_id=subscriber_id,
        audience_key=key,
        audience_id=None if pd.isna(audience_id) else audience_id,
        entered=entered,
    )


class Poster:
    """Posts the custom events of a run, and those that earlier runs left."""

    def __init__(
        self, *, run_id: str, shop_id: str, postscript: Postscript, journal: Journal, outcomes: Outcomes
    ) -> None:
        self._run_id, self._shop_id = run_id, shop_id
        self._postscript, self._journal, self._outcomes = postscript, journal, outcomes
        self._row_of: dict[str, int] = {}

    def take_up(self, *, repeat_unknown: bool) -> list[Transition]:
        """Return the custom events that earlier runs left due, after settling those left half-way."""
        due: list[Transition] = []
        listed: dict[str, tuple[str, ...] | None] = {}

        def still_stands(transition: Transition) -> bool:
            who = transition.subscriber_id
            held = listed[who] if who in listed else listed.setdefault(who, self._list_of(who))
            return held is not None and (transition.audience_key in held) == transition.entered

        if repeat_unknown:
            due += filter(still_stands, self._journal.load_unknown_transitions(self._shop_id))
            self._journal.mark_transitions([t.external_id for t in due], "due")
        for transition in self._journal.load_open_transitions(self._shop_id):
            if transition.state == "posting":
                # The process ended before the answer came: repeating could text twice.
                self._journal.mark_transitions([transition.external_id], "unknown")
                self._outcomes.leave_unresolved()
                continue
            if transition.state == "planned":
                # Whether the write arrived, only Postscript can tell.
                if not still_stands(transition):
                    self._journal.mark_transitions([transition.external_id], None)
                    continue
                self._journal.mark_transitions([transition.external_id], "due")
            due.append(transition)
        return [*{t.external_id: t for t in due}.values()]

    def _list_of(self, subscriber_id: str) -> tuple[str, ...] | None:
        """Return what a subscriber's list is now; None when there is none, or no such subscriber."""
        try:
            record = wire.parse_record(self._postscript.send(wire.get_subscriber(subscriber_id)))
        except RejectedError as error:
            if wire.is_gone(error):
                return None
            raise
        return wire.read_audiences(record.properties) if record else None

    def post_all(self, left_over: Iterable[Transition], due: Iterable[Sequence[Transition]]) -> None:
        """Post every custom event that is due; one subscriber's in order, the older first."""
        self._row_of = {external_id: row for row, external_id in self._outcomes.external_ids.items()}
        mine: dict[str, dict[str, Transition]] = {}
        for transition in (*left_over, *(each for some in due for each in some)):
            # By id: one that is left over may be planned again, when somebody else changed the list.
            mine.setdefault(transition.subscriber_id, {})[transition.external_id] = transition
        self._outcomes.for_all(self._post_some, [[*some.values()] for some in mine.values()])

    def _post_some(self, due: Sequence[Transition]) -> None:
        for transition in due:
            # One that stays due holds the later ones back: an exit is not told before its entry.
            if self._outcomes.is_stopping or not self._post(transition):
                return

    def _post(self, transition: Transition) -> bool:
        """Post one custom event; False when it stays due."""
        index = self._row_of.get(transition.external_id)
        rows = [] if index is None else [index]
        request = wire.post_transition(
            transition.subscriber_id,
            entered=transition.entered,
            audience_key=transition.audience_key,
            audience_id=transition.audience_id,
            external_id=transition.external_id,
        )
        call = 0

        def note() -> None:
            nonlocal call
            call = self._journal.start_event(self._run_id, request.route, transition)

        try:
            # Noted at the last moment: what only waits for its turn is still due if the process ends.
            answer = self._postscript.send(request, on_leaving=note)
        except PostscriptError as error:
            state = {LostAnswerError: "unknown", RejectedError: "refused"}.get(type(error), "due")
            self._journal.end_event(
                call,
                transition,
                state=state,
                outcome=f"{type(error).__name__}: {error}",
                status_code=error.status_code,
                tries=error.tries,
            )
            if index is None:
                self._outcomes.leave_unresolved()
            # A refused one is closed, so that stopping does not hold the next run back.
            self._outcomes.fail(rows, error, stops_when_refused=True)
            return state != "due"
        self._journal.end_event(
            call, transition, state="sent", outcome="ok", status_code=answer.status_code, tries=answer.tries
        )
        entered = transition.entered
        status = ChangeStatus.ADDED if entered else ChangeStatus.REMOVED
        self._outcomes.tell(rows, status, "ENTERED" if entered else "EXITED")
        self._outcomes.advance()
        return True
