"""Write one subscriber: once, whole lists, and never on the word of a shop that lost something before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd

from toolkit.errors import PostscriptError, RejectedError, ServerError
from toolkit.frames import json_text
from toolkit.postscript import api
from toolkit.postscript.lookup import Postscript, find_subscriber
from toolkit.statuses import ChangeStatus, get_reason
from toolkit.sync.plan import Plan, new_list, properties_of
from toolkit.sync.runs import Transition
from toolkit.sync.store import LedgerStore

from .outcomes import Cause, Outcomes
from .transitions import transition_of
from .write import LIST, Write, has_lost, is_kept

_ONE_MOMENT = timedelta(seconds=5)


class Writer:
    """Carries the writes of a plan out."""

    def __init__(
        self,
        *,
        run_id: str,
        shop_id: str,
        plan: Plan,
        postscript: Postscript,
        journal: LedgerStore,
        outcomes: Outcomes,
    ) -> None:
        self._run_id, self._shop_id, self._plan = run_id, shop_id, plan
        self._postscript, self._journal, self._outcomes = postscript, journal, outcomes
        wanted = plan.changes.index[plan.changes["operation"].notna()].to_numpy()
        writes = pd.Index(plan.writes["subscriber_id"])
        codes = writes.get_indexer(plan.changes.loc[wanted, "subscriber_id"])
        order = np.argsort(codes, kind="stable")
        self._rows = wanted[order]
        self._starts = np.searchsorted(codes[order], np.arange(len(writes) + 1))
        self._places = pd.Index(plan.subscribers["subscriber_id"]).get_indexer(writes)
        self.due: dict[str, list[Transition]] = {}
        """Subscriber → the custom events that are due after its write."""
        self.unsettled = {*writes}
        """Subscribers whose write is still to come, or did not succeed."""
        self.is_proved = False
        """True once a write was seen to keep the subscriber's other properties."""

    def get(self, position: int) -> Write:
        """Return the write at that place of the plan."""
        row = self._plan.writes.iloc[position]
        return Write(
            subscriber_id=row["subscriber_id"],
            before=properties_of(row["before"]),
            after=properties_of(row["after"]),
            rows=tuple(self._rows[self._starts[position] : self._starts[position + 1]].tolist()),
            property_count=int(row["property_count"]),
            has_list=bool(row["has_property"]),
            traits=self._traits(position),
        )

    def _traits(self, position: int) -> str | None:
        held = self._plan.subscribers["properties"].iat[self._places[position]]
        return None if pd.isna(held) else held

    def write(self, position: int) -> None:
        """Write one subscriber as planned, or as it is now, once others were seen to write the lists."""
        if self._outcomes.reads_again:
            self.write_read_again(position)
        else:
            self._write(self.get(position), None)

    def write_read_again(self, position: int) -> None:
        """Read the subscriber again, write what is still lacking, and see that nothing was lost by it."""
        write = self.get(position)
        try:
            record = api.parse_record(self._postscript.send(api.get_subscriber(write.subscriber_id)))
        except PostscriptError as error:
            if api.is_gone(error):
                self._gone(write)
            else:
                self._outcomes.fail(write.subscriber_id, write.rows, error)
            return
        if record is None:
            self._write(write, None)
            return
        fresh = self._as_it_is_now(write, record)
        if fresh is not None:
            self._write(fresh, record)

    def _as_it_is_now(self, write: Write, record: api.Subscriber) -> Write | None:
        """Return the write for what the subscriber holds now; None when nothing is left of it."""
        listed = api.read_audiences(record.properties)
        if listed is None and LIST in write.after:
            self._outcomes.record(write.rows, ChangeStatus.CONFLICT, "PROPERTY_NOT_A_LIST")
            return None
        listed = listed or ()
        if {*listed} != {*write.before.get(LIST, listed)}:
            self._outcomes.reads_again = True
        rows: list[int] = []
        add: list[str] = []
        remove: set[str] = set()
        for index in write.rows:
            operation = self._plan.changes.at[index, "operation"]
            key = self._plan.changes.at[index, "audience_key"]
            if operation == "add" and key in listed:
                self._outcomes.record([index], ChangeStatus.UNCHANGED, "ALREADY_IN")
            elif operation == "remove" and key not in listed:
                self._outcomes.record([index], ChangeStatus.UNCHANGED, "ALREADY_OUT")
            else:
                rows.append(index)
                add += [key] if operation == "add" else []
                remove |= {key} if operation == "remove" else set()
        if not rows:
            self.unsettled.discard(write.subscriber_id)
            return None
        has_list = LIST in record.properties
        if add and not has_list and len(record.properties) >= api.MAX_PROPERTIES:
            self._outcomes.record(rows, ChangeStatus.CONFLICT, "PROPERTY_LIMIT")
            return None
        traits = {name: value for name, value in write.after.items() if name != LIST}
        lists = {LIST: [*new_list(listed, add=add, remove=remove)]} if add or remove else {}
        after = {**lists, **traits}
        return replace(
            write,
            before={
                **({LIST: [*listed]} if lists else {}),
                **{name: record.properties[name] for name in traits if name in record.properties},
            },
            after=after,
            rows=tuple(rows),
            property_count=len(record.properties),
            has_list=has_list,
        )

    def _write(self, write: Write, record: api.Subscriber | None) -> None:
        error = self._patch(write, record)
        audiences = tuple(i for i in write.rows if self._plan.changes.at[i, "operation"] != "set")
        if isinstance(error, RejectedError) and error.status_code in {400, 404} and self._is_gone(write):
            self._gone(write)
            return
        error = _as_failure(error)
        if isinstance(error, RejectedError) and 0 < len(audiences) < len(write.rows):
            # A trait that Postscript does not take must not keep the audiences from the subscriber.
            self._outcomes.fail(write.subscriber_id, [i for i in write.rows if i not in audiences], error)
            write = replace(write.only_audiences(), rows=audiences)
            error = _as_failure(self._patch(write, record))
        if error is not None:
            self._outcomes.fail(write.subscriber_id, write.rows, error)

    def _is_gone(self, write: Write) -> bool:
        """Tell whether a refusal with 400 or 404 means that there is no such subscriber."""
        try:
            return find_subscriber(self._postscript, write.subscriber_id) is None
        except PostscriptError:
            return False

    def _gone(self, write: Write) -> None:
        meaning = get_reason("SUBSCRIBER_GONE").meaning
        self._outcomes.record(write.rows, ChangeStatus.WAITING, "SUBSCRIBER_GONE", meaning)
        self._journal.forget_subscriber(self._shop_id, write.subscriber_id)
        # A shop does not lose several subscribers in a row between reading and writing.
        self._outcomes.suspect(write.subscriber_id)

    def _patch(self, write: Write, record: api.Subscriber | None) -> PostscriptError | None:
        """Send the write; return the error when it failed."""
        is_posted = self._plan.custom_events != "none"
        due = self._transitions(write.rows)
        posted = list(due.values()) if is_posted else []
        request = api.write_properties(write.subscriber_id, write.after)
        if self._outcomes.is_doubtful:
            # An outage of writes alone, perhaps: twenty more with all their tries would take half an hour.
            request = replace(request, max_tries=2)
        call = self._journal.start_write(
            self._run_id,
            self._shop_id,
            write.subscriber_id,
            route=request.route,
            before=json_text(write.before),
            after=json_text(write.after),
            due=posted,
        )
        try:
            answer = self._postscript.send(request)
        except PostscriptError as error:
            # A failed write may have been carried out after all: its events stay planned.
            unclear = f" {api.UNCLEAR}" if api.may_be_applied(error) else ""
            self._end_failed(call, error, unclear)
            return error
        end = partial(self._journal.end_write, call, status_code=answer.status_code, tries=answer.tries)
        ids = [transition.external_id for transition in posted]
        after = api.parse_written(write.subscriber_id, answer)
        problem = self._problem_of(write, record, after)
        if problem:
            is_back = record is not None and self._put_back(write.subscriber_id, record)
            end(outcome=f"PropertiesLost: {problem}", due=[])
            if is_back:
                self._journal.mark_transitions(ids, "obsolete")
            self._outcomes.record(write.rows, ChangeStatus.FAILED, "PROPERTIES_LOST", problem)
            held = f"What it held was {'' if is_back else 'not '}put back."
            self._outcomes.stop(f"{problem} {held}", Cause.GUARD)
        elif after is not None and not is_kept(write, after):
            end(outcome="WriteNotKept", due=[])
            self._outcomes.record(write.rows, ChangeStatus.CONFLICT, "WRITE_NOT_KEPT")
        else:
            if after is not None and LIST in write.after:
                others = {*(api.read_audiences(after.properties) or ())} - {*write.after[LIST]}
                self._outcomes.reads_again |= bool(others)
            held_now = write.held(self._shop_id, len(after.properties) if after else None)
            self._settle(write, due, end(outcome="ok", due=ids, held=held_now))
        return None

    def _end_failed(self, call: int, error: PostscriptError, more: str = "") -> None:
        """Note in the journal how a write failed."""
        self._journal.end_write(
            call,
            outcome=f"{type(error).__name__}: {error}{more}",
            status_code=error.status_code,
            tries=error.tries,
            due=[],
        )

    def _settle(self, write: Write, due: Mapping[int, Transition], open_ids: Collection[str]) -> None:
        """Say what the write did; rows whose custom event is still to come wait for it."""
        self.unsettled.discard(write.subscriber_id)
        for index in write.rows:
            transition = due.get(index)
            if transition is not None and transition.external_id in open_ids:
                self._outcomes.record([index], ChangeStatus.PENDING, "EVENT_NOT_SENT")
                self.due.setdefault(write.subscriber_id, []).append(transition)
            else:
                is_closed = transition is not None and self._plan.custom_events != "none"
                self._outcomes.finish(index, "EVENT_ALREADY_SENT" if is_closed else "")
        self._outcomes.advance()

    def _transitions(self, rows: Sequence[int]) -> dict[int, Transition]:
        """Return row → custom event; a trait has none, and a contact that moved has one only if asked for."""
        found = {
            index: transition_of(self._plan.changes, index, self._shop_id, run_id=self._run_id)
            for index in rows
            if self._plan.changes.at[index, "operation"] != "set"
            and (
                self._plan.custom_events == "transitions_and_moves"
                or self._plan.changes.at[index, "reason_code"] != "CONTACT_MOVED"
            )
        }
        self._outcomes.external_ids.update({index: t.external_id for index, t in found.items()})
        return found

    # --- the guard ------------------------------------------------------------------------------------

    def _problem_of(self, write: Write, before: api.Subscriber | None, after: api.Subscriber | None) -> str:
        """Return what a write did wrong, in a sentence; empty when nothing did.

        The API is believed to merge by key. If it replaced them instead, every further write would erase
        other integrations' data. An empty answer says nothing, so the first writes are read again.
        """
        if before is not None and after is None:
            try:
                after = api.parse_record(self._postscript.send(api.get_subscriber(write.subscriber_id)))
            except PostscriptError:
                return ""
        if after is None:
            return ""
        if has_lost(write, before, after):
            return (
                f"Subscriber {write.subscriber_id} had {write.property_count} properties before the write "
                f"and has lost some by it. {get_reason('PROPERTIES_LOST').fix}"
            )
        if before is None:
            return ""
        if not is_kept(write, after):
            return f"Subscriber {write.subscriber_id}: {get_reason('WRITE_NOT_KEPT').meaning}"
        self.is_proved = self.is_proved or write.others > 0
        is_dated = after.updated_at != before.updated_at
        if before.updated_at and (is_dated or not _is_recent(before.updated_at)):
            self._journal.judge_mirror(self._shop_id, is_dated=is_dated)
        return ""

    def _put_back(self, subscriber_id: str, before: api.Subscriber) -> bool:
        """Write everything that the subscriber held; tell whether that went well."""
        held = {name: value for name, value in before.properties.items() if value is not None}
        request = api.write_properties(subscriber_id, held)
        call = self._journal.start_write(
            self._run_id,
            self._shop_id,
            subscriber_id,
            route=request.route,
            before="{}",
            after=json_text(held),
            due=(),
        )
        try:
            answer = self._postscript.send(request)
        except PostscriptError as error:
            self._end_failed(call, error)
            return False
        self._journal.end_write(
            call, outcome="put back", status_code=answer.status_code, tries=answer.tries, due=[]
        )
        return True


def _as_failure(error: PostscriptError | None) -> PostscriptError | None:
    """Return a refusal as a failure: a gateway's, and a 404 about a subscriber who is there."""
    if isinstance(error, RejectedError) and (error.status_code == 404 or not error.from_postscript):
        return ServerError(str(error), status_code=error.status_code)
    return error


def _is_recent(updated_at: str) -> bool:
    """Tell whether that was only just now, so that a further change may show the same time."""
    moment = api.parse_time(updated_at)
    return moment is not None and abs(datetime.now(UTC) - moment) < _ONE_MOMENT
