"""Write one subscriber: once, whole lists, and never unchecked in a shop where a write lost something."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from toolkit.errors import PostscriptError, RejectedError, ServerError
from toolkit.frames import json_text
from toolkit.postscript import api
from toolkit.postscript.lookup import find_subscriber
from toolkit.statuses import ChangeStatus, get_reason
from toolkit.sync.plan import new_list, properties_of
from toolkit.sync.runs import Held, Transition, result_of

from .execution import Execution, StopReason
from .transitions import transition_of

LIST = api.AUDIENCES_PROPERTY
_ONE_MOMENT = timedelta(seconds=5)
_ALREADY = {("add", True): "ALREADY_IN", ("remove", False): "ALREADY_OUT"}
"""Operation, and whether the list has the audience → why nothing is left to do."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One subscriber to write, and the rows of the plan it is for."""

    subscriber_id: str
    before: Mapping[str, Any]
    """The properties that change; a trait that the subscriber has not is left out."""
    after: Mapping[str, Any]
    rows: Mapping[int, tuple[str, str]]
    """Row → operation, and key of the audience unless it sets a trait."""
    property_count: int
    """All properties before the write."""
    has_list: bool
    """True when the list of audiences is one of them."""
    traits: str | None
    """JSON object of the traits that were read, and their JSON text."""

    @property
    def others(self) -> int:
        """Properties beside the list of audiences."""
        return self.property_count - self.has_list

    def without_traits(self) -> Write:
        """Return the write of the list of audiences alone."""
        return replace(
            self,
            before={LIST: self.before[LIST]} if self.before else {},
            after={LIST: self.after[LIST]},
            rows={index: row for index, row in self.rows.items() if row[0] != "set"},
        )

    def held(self, shop_id: str, count: int | None) -> Held:
        """Return what the subscriber holds once this was written."""
        traits = None
        if self.traits is not None:
            was = json.loads(self.traits)
            now = {key: json_text(self.after[key]) for key in was if key in self.after}
            traits = json.dumps({**was, **now}, ensure_ascii=False)
        names = {*self.after} - {*self.before, LIST}
        is_new = LIST in self.after and not self.has_list
        return Held(
            shop_id=shop_id,
            subscriber_id=self.subscriber_id,
            audiences=json_text([*self.after[LIST]]) if LIST in self.after else None,
            has_property=self.has_list or is_new,
            property_count=self.property_count + len(names) + is_new if count is None else count,
            properties=traits,
        )


class Writer:
    """Carries the writes of a plan out."""

    def __init__(self, run: Execution, *, read_again: bool) -> None:
        self._run, self._read_again, changes = run, read_again, run.plan.changes
        writes = pd.Index(run.plan.writes["subscriber_id"])
        wanted = changes.index[changes["operation"].notna()].to_numpy()
        codes = writes.get_indexer(changes.loc[wanted, "subscriber_id"])
        order = np.argsort(codes, kind="stable")
        self._rows = wanted[order]
        self._starts = np.searchsorted(codes[order], np.arange(len(writes) + 1))
        self._writes = {name: run.plan.writes[name].array for name in run.plan.writes}
        self._changes = {name: changes[name] for name in ("operation", "audience_key", "reason_code")}
        places = pd.Index(run.plan.subscribers["subscriber_id"]).get_indexer(writes)
        self._traits = run.plan.subscribers["properties"].array.take(places)
        self.due: dict[str, list[Transition]] = {}
        """Subscriber → the custom events that are due after its write."""
        self.unsettled = {*writes}
        """Subscribers whose write is still to come, or did not succeed."""
        self.is_proved = False
        """True once a write was seen to keep the subscriber's other properties."""

    def get(self, position: int) -> Write:
        """Return the write at that place of the plan."""
        row = {name: column[position] for name, column in self._writes.items()}
        traits = self._traits[position]
        operations, keys = self._changes["operation"], self._changes["audience_key"]
        rows = self._rows[self._starts[position] : self._starts[position + 1]].tolist()
        return Write(
            subscriber_id=row["subscriber_id"],
            before=properties_of(row["before"]),
            after=properties_of(row["after"]),
            rows={index: (operations.at[index], keys.at[index]) for index in rows},
            property_count=int(row["property_count"]),
            has_list=bool(row["has_property"]),
            traits=None if pd.isna(traits) else traits,
        )

    def write(self, position: int) -> None:
        """Write one subscriber as planned, or as it is now, once others were seen to write the lists."""
        if self._read_again or self._run.others_write:
            self.write_read_again(position)
        else:
            self._write(self.get(position), None)

    def write_read_again(self, position: int) -> None:
        """Read the subscriber again, write what is still lacking, and see that nothing was lost by it."""
        write = self.get(position)
        try:
            record = self._read(write)
        except PostscriptError as error:
            if api.is_gone(error):
                self._forget(write)
            else:
                self._run.fail(write.subscriber_id, write.rows, error)
            return
        fresh = write if record is None else self._as_it_is_now(write, record)
        if fresh is not None:
            self._write(fresh, record)

    def _read(self, write: Write) -> api.Subscriber | None:
        return api.parse_record(self._run.postscript.send(api.get_subscriber(write.subscriber_id)))

    def _as_it_is_now(self, write: Write, record: api.Subscriber) -> Write | None:
        """Return the write for what the subscriber holds now; None when nothing is left of it."""
        listed = api.read_audiences(record.properties)
        if listed is None and LIST in write.after:
            self._run.record(write.rows, ChangeStatus.CONFLICT, "PROPERTY_NOT_A_LIST")
            return None
        listed = listed or ()
        if {*listed} != {*write.before.get(LIST, listed)}:
            self._run.others_write = True
        rows = dict(write.rows)
        for index, (operation, key) in write.rows.items():
            if reason := _ALREADY.get((operation, key in listed)):
                self._run.record([index], ChangeStatus.UNCHANGED, reason)
                del rows[index]
        if not rows:
            self.unsettled.discard(write.subscriber_id)
            return None
        add = [key for operation, key in rows.values() if operation == "add"]
        remove = {key for operation, key in rows.values() if operation == "remove"}
        has_list = LIST in record.properties
        if add and not has_list and len(record.properties) >= api.MAX_PROPERTIES:
            self._run.record(rows, ChangeStatus.CONFLICT, "PROPERTY_LIMIT")
            return None
        traits = {name: value for name, value in write.after.items() if name != LIST}
        lists = {LIST: [*new_list(listed, add=add, remove=remove)]} if add or remove else {}
        held = {name: record.properties[name] for name in traits if name in record.properties}
        return replace(
            write,
            before={**({LIST: [*listed]} if lists else {}), **held},
            after={**lists, **traits},
            rows=rows,
            property_count=len(record.properties),
            has_list=has_list,
        )

    def _write(self, write: Write, record: api.Subscriber | None) -> None:
        error = self._patch(write, record)
        if isinstance(error, RejectedError) and error.status_code in {400, 404} and self._is_gone(write):
            self._forget(write)
            return
        error = _as_failure(error)
        audiences = {index for index, row in write.rows.items() if row[0] != "set"}
        if isinstance(error, RejectedError) and 0 < len(audiences) < len(write.rows):
            # A trait that Postscript does not take must not keep the audiences from the subscriber.
            self._run.fail(write.subscriber_id, write.rows.keys() - audiences, error)
            write = write.without_traits()
            error = _as_failure(self._patch(write, record))
        if error is not None:
            self._run.fail(write.subscriber_id, write.rows, error)

    def _is_gone(self, write: Write) -> bool:
        """Return whether a refusal with 400 or 404 means that there is no such subscriber."""
        try:
            return find_subscriber(self._run.postscript, write.subscriber_id) is None
        except PostscriptError:
            return False

    def _forget(self, write: Write) -> None:
        meaning = get_reason("SUBSCRIBER_GONE").meaning
        self._run.record(write.rows, ChangeStatus.WAITING, "SUBSCRIBER_GONE", meaning)
        self._run.ledger.forget_subscriber(self._run.shop_id, write.subscriber_id)
        # A shop does not lose several subscribers in a row between reading and writing.
        self._run.suspect(write.subscriber_id)

    def _patch(self, write: Write, record: api.Subscriber | None) -> PostscriptError | None:
        """Send the write and record what came of it; return the error when it failed."""
        transitions = self._transitions(write.rows)
        is_posted = self._run.plan.custom_events != "none"
        posted = [*transitions.values()] if is_posted else []
        request = api.write_properties(write.subscriber_id, write.after)
        if self._run.is_doubtful:
            # An outage of writes alone, perhaps: twenty more with all their tries would take half an hour.
            request = replace(request, max_tries=2)
        call, answer = self._send(write.subscriber_id, request, write.before, write.after, posted)
        if isinstance(answer, PostscriptError):
            return answer
        after = api.parse_written(write.subscriber_id, answer)
        problem = self._problem_of(write, record, after)
        if problem:
            self._stop(write, record, problem, call=call, answer=answer, posted=posted)
        elif after is not None and not _is_kept(write, after):
            self._run.ledger.end_write(call, result_of(answer, "WriteNotKept"))
            self._run.record(write.rows, ChangeStatus.CONFLICT, "WRITE_NOT_KEPT")
        else:
            if after is not None and LIST in write.after:
                others = {*(api.read_audiences(after.properties) or ())} - {*write.after[LIST]}
                self._run.others_write |= bool(others)
            held = write.held(self._run.shop_id, len(after.properties) if after else None)
            ids = [transition.external_id for transition in posted]
            open_ids = self._run.ledger.end_write(call, result_of(answer), due=ids, held=held)
            self._settle(write, transitions if is_posted else {}, open_ids)
        return None

    def _send(
        self,
        subscriber_id: str,
        request: api.Request,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        posted: Iterable[Transition] = (),
    ) -> tuple[int, api.Answer | PostscriptError]:
        """Write properties, in the journal before it leaves; an error is recorded there and returned."""
        call = self._run.ledger.start_write(
            self._run.run_id,
            self._run.shop_id,
            subscriber_id,
            before=json_text(before),
            after=json_text(after),
            due=posted,
        )
        try:
            return call, self._run.postscript.send(request)
        except PostscriptError as error:
            # A failed write may have been carried out after all: its events stay planned.
            unclear = f" {api.UNCLEAR}" if api.may_be_applied(error) else ""
            self._run.ledger.end_write(call, result_of(error, f"{type(error).__name__}: {error}{unclear}"))
            return call, error

    def _settle(self, write: Write, transitions: Mapping[int, Transition], open_ids: Collection[str]) -> None:
        """Record what the write did; rows whose custom event is still to come wait for it."""
        self.unsettled.discard(write.subscriber_id)
        for index in write.rows:
            transition = transitions.get(index)
            if transition is not None and transition.external_id in open_ids:
                self._run.record([index], ChangeStatus.PENDING, "EVENT_NOT_SENT")
                self.due.setdefault(write.subscriber_id, []).append(transition)
            else:
                self._run.finish(index, "EVENT_ALREADY_SENT" if transition else "")
        self._run.advance()

    def _transitions(self, rows: Mapping[int, tuple[str, str]]) -> dict[int, Transition]:
        """Return row → custom event; a trait has none, and a contact that moved has one only if asked for."""
        plan, reasons = self._run.plan, self._changes["reason_code"]
        takes_moves = plan.custom_events == "transitions_and_moves"
        found = {
            index: transition_of(plan.changes, index, self._run.shop_id, run_id=self._run.run_id)
            for index, (operation, _) in rows.items()
            if operation != "set" and (takes_moves or reasons.at[index] != "CONTACT_MOVED")
        }
        self._run.external_ids.update({index: t.external_id for index, t in found.items()})
        return found

    # --- the guard ------------------------------------------------------------------------------------

    def _problem_of(self, write: Write, before: api.Subscriber | None, after: api.Subscriber | None) -> str:
        """Return what a write did wrong, in a sentence; empty when it did nothing wrong.

        The API is believed to merge by key. If it replaced them instead, every further write would erase
        other integrations' data. An empty answer shows nothing, so the first writes are read again.
        """
        if before is not None and after is None:
            try:
                after = self._read(write)
            except PostscriptError:
                return ""
        if after is None:
            return ""
        if _has_lost(write, before, after):
            return (
                f"Subscriber {write.subscriber_id} had {write.property_count} properties before the write "
                f"and has lost some by it. {get_reason('PROPERTIES_LOST').fix}"
            )
        if before is None:
            return ""
        if not _is_kept(write, after):
            return f"Subscriber {write.subscriber_id}: {get_reason('WRITE_NOT_KEPT').meaning}"
        self.is_proved = self.is_proved or write.others > 0
        is_dated = after.updated_at != before.updated_at
        if before.updated_at and (is_dated or not _is_recent(before.updated_at)):
            self._run.ledger.judge_mirror(self._run.shop_id, is_dated=is_dated)
        return ""

    def _stop(
        self,
        write: Write,
        before: api.Subscriber | None,
        problem: str,
        *,
        call: int,
        answer: api.Answer,
        posted: Iterable[Transition],
    ) -> None:
        """Put back what the subscriber held, where that was read, and end the run."""
        is_back = False
        if before is not None:
            held = {name: value for name, value in before.properties.items() if value is not None}
            request = api.write_properties(write.subscriber_id, held)
            again, restored = self._send(write.subscriber_id, request, {}, held)
            if not isinstance(restored, PostscriptError):
                is_back = True
                self._run.ledger.end_write(again, result_of(restored, "put back"))
        self._run.ledger.end_write(call, result_of(answer, f"PropertiesLost: {problem}"))
        if is_back:
            self._run.ledger.mark_transitions([transition.external_id for transition in posted], "obsolete")
        self._run.record(write.rows, ChangeStatus.FAILED, "PROPERTIES_LOST", problem)
        ending = f"What it held was {'' if is_back else 'not '}put back."
        self._run.stop(f"{problem} {ending}", StopReason.GUARD)


def _has_lost(write: Write, before: api.Subscriber | None, after: api.Subscriber) -> bool:
    """Return whether a property that was not written has gone: by name if they are known, else by number."""
    if before is not None:
        kept = {name for name, value in before.properties.items() if value not in (None, [])}
        return bool(kept - {*write.after, *after.properties})
    left = [name for name in after.properties if name not in write.after and name != LIST]
    return len(left) < write.others - len([name for name in write.before if name != LIST])


def _is_kept(write: Write, after: api.Subscriber) -> bool:
    """Return whether the list holds what was added and not what was removed; others may have added to it."""
    if LIST not in write.after:
        return True
    wanted, held = {*write.after[LIST]}, {*(api.read_audiences(after.properties) or ())}
    before = {*write.before.get(LIST, ())}
    return wanted - before <= held and not (before - wanted) & held


def _as_failure(error: PostscriptError | None) -> PostscriptError | None:
    """Return a refusal as a failure: a gateway's, and a 404 about a subscriber who is there."""
    if isinstance(error, RejectedError) and (error.status_code == 404 or not error.from_postscript):
        return ServerError(str(error), status_code=error.status_code)
    return error


def _is_recent(updated_at: str) -> bool:
    """Return whether that was only just now, so that a further change may show the same time."""
    moment = api.parse_time(updated_at)
    return moment is not None and abs(datetime.now(UTC) - moment) < _ONE_MOMENT
