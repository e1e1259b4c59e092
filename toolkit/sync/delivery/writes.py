"""Write one subscriber, once, with the whole list of audiences.

Once a write has lost something in a shop, every write there is checked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from toolkit.errors import PostscriptError, RejectedError, ServerError
from toolkit.frames import json_text
from toolkit.postscript import api
from toolkit.postscript.lookup import find_subscriber
from toolkit.statuses import ChangeStatus, get_reason
from toolkit.sync.plan.columns import new_list
from toolkit.sync.plan.writing import properties_of
from toolkit.sync.runs import Held, Transition, result_of

from .custom_events import TRANSITION_COLUMNS, transitions_of
from .execution import Execution, StopReason

LIST = api.AUDIENCES_PROPERTY
_ONE_MOMENT = timedelta(seconds=5)
_ALREADY = {("add", True): "ALREADY_IN", ("remove", False): "ALREADY_OUT"}
"""Operation, and whether the list has the audience → why nothing is left to do."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One subscriber to write, and the rows of the plan it is for."""

    subscriber_id: str
    before: Mapping[str, Any]
    """The properties that change; a trait that the subscriber does not have is left out."""
    after: Mapping[str, Any]
    rows: Mapping[int, tuple[str, str]]
    """Row → operation, and key of the audience unless it sets a trait."""
    property_count: int
    """All properties before the write."""
    has_list: bool
    """True when the list of audiences is one of them."""
    traits: str | None
    """JSON object of the traits that were read, and their JSON text."""
    record: api.Subscriber | None = None
    """What was read right before the write; None when it was not."""

    @property
    def others(self) -> int:
        """Properties beside the list of audiences."""
        return self.property_count - self.has_list

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

    def __init__(self, run: Execution) -> None:
        self._run, plan = run, run.plan
        self._rows: dict[str, list[int]] = {}
        for index, who in plan.changes.loc[plan.changes["operation"].notna(), "subscriber_id"].items():
            self._rows.setdefault(who, []).append(index)
        self._announced = plan.announced[TRANSITION_COLUMNS]
        self._traits = plan.subscribers.set_index("subscriber_id")["properties"]
        self.due: dict[str, list[Transition]] = {}
        """Subscriber → the custom events that are due after its write."""
        self.unsettled = {*plan.writes["subscriber_id"]}
        """Subscribers whose write is still to come, or did not succeed."""
        self.is_proved = False
        """True once a write was seen to keep the subscriber's other properties."""

    def get(self, position: int) -> Write:
        """Return the write at that place of the plan."""
        row, changes = self._run.plan.writes.iloc[position], self._run.plan.changes
        who = row["subscriber_id"]
        traits = self._traits[who]
        return Write(
            subscriber_id=who,
            before=properties_of(row["before"]),
            after=properties_of(row["after"]),
            rows={i: (changes.at[i, "operation"], changes.at[i, "audience_key"]) for i in self._rows[who]},
            property_count=int(row["property_count"]),
            has_list=bool(row["has_property"]),
            traits=None if pd.isna(traits) else traits,
        )

    def _transitions(self, rows: Iterable[int]) -> dict[int, Transition]:
        """Return row → custom event, of the rows that have one."""
        theirs = self._announced.loc[[index for index in rows if index in self._announced.index]]
        return transitions_of(theirs, self._run.shop_id, run_id=self._run.run_id)

    def write(self, position: int, *, is_checked: bool = False) -> None:
        """Write one subscriber as planned; as it is now when it *is_checked*, or others write lists."""
        write: Write | None = self.get(position)
        if write and (is_checked or self._run.read_again or self._run.others_write):
            write = self._as_it_is_now(write)
        if write:
            self._write(write)

    def _as_it_is_now(self, write: Write) -> Write | None:
        """Return the write for what the subscriber holds now; None when nothing is left of it."""
        try:
            record = find_subscriber(self._run.postscript, write.subscriber_id)
        except PostscriptError as error:
            self._run.fail(write.subscriber_id, write.rows, error)
            return None
        if record is None:
            self._forget(write)
            return None
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
            record=record,
        )

    def _write(self, write: Write) -> None:
        error = self._patch(write)
        if error is not None and error.status_code in {400, 404}:
            # It may mean that there is no such subscriber.
            with suppress(PostscriptError):
                if find_subscriber(self._run.postscript, write.subscriber_id) is None:
                    self._forget(write)
                    return
        audiences = {index: row for index, row in write.rows.items() if row[0] != "set"}
        if isinstance(error, RejectedError) and 0 < len(audiences) < len(write.rows):
            # A trait that Postscript does not take must not keep the audiences from the subscriber.
            self._run.fail(write.subscriber_id, write.rows.keys() - audiences.keys(), error)
            before, after = ({LIST: held[LIST]} for held in (write.before, write.after))
            write = replace(write, before=before, after=after, rows=audiences)
            error = self._patch(write)
        if error is not None:
            self._run.fail(write.subscriber_id, write.rows, error)

    def _forget(self, write: Write) -> None:
        meaning = get_reason("SUBSCRIBER_GONE").meaning
        self._run.record(write.rows, ChangeStatus.WAITING, "SUBSCRIBER_GONE", meaning)
        self._run.ledger.forget_subscriber(self._run.shop_id, write.subscriber_id)
        # A shop does not lose several subscribers in a row between reading and writing.
        self._run.suspect(write.subscriber_id)

    def _patch(self, write: Write) -> PostscriptError | None:
        """Send the write and record what came of it; return the error when it failed."""
        transitions = self._transitions(write.rows)
        posted = [*transitions.values()]
        self._run.external_ids.update({index: t.external_id for index, t in transitions.items()})
        request = api.write_properties(write.subscriber_id, write.after)
        if self._run.is_doubtful:
            # An outage of writes alone, perhaps: twenty more with all their tries would take half an hour.
            request = replace(request, max_tries=2)
        call, answer = self._send(write, request, posted)
        if isinstance(answer, PostscriptError):
            return _as_failure(answer)
        after = api.parse_written(write.subscriber_id, answer)
        if problem := self._problem_of(write, after):
            is_back = self._put_back(write)
            self._run.ledger.end_write(call, result_of(answer, f"PropertiesLost: {problem}"))
            if is_back:
                self._run.ledger.mark_transitions([t.external_id for t in posted], "obsolete")
            self._run.record(write.rows, ChangeStatus.FAILED, "PROPERTIES_LOST", problem)
            ending = f"What it held was {'' if is_back else 'not '}put back."
            self._run.stop(f"{problem} {ending}", StopReason.GUARD)
        elif after is not None and not _is_kept(write, after):
            self._run.ledger.end_write(call, result_of(answer, "WriteNotKept"))
            self._run.record(write.rows, ChangeStatus.CONFLICT, "WRITE_NOT_KEPT")
        else:
            if after is not None and LIST in write.after and _listed(after) - {*write.after[LIST]}:
                self._run.others_write = True
            held = write.held(self._run.shop_id, len(after.properties) if after else None)
            ids = [transition.external_id for transition in posted]
            open_ids = self._run.ledger.end_write(call, result_of(answer), due=ids, held=held)
            self._settle(write, transitions, open_ids)
        return None

    def _send(
        self, write: Write, request: api.Request, posted: Iterable[Transition] = ()
    ) -> tuple[int, api.Answer | PostscriptError]:
        """Write properties, in the journal before it leaves; an error is recorded there and returned."""
        call = self._run.ledger.start_write(
            self._run.run_id,
            self._run.shop_id,
            write.subscriber_id,
            before=json_text(write.before),
            after=json_text(write.after),
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

    # --- the guard ------------------------------------------------------------------------------------

    def _problem_of(self, write: Write, after: api.Subscriber | None) -> str:
        """Return what a write did wrong, in a sentence; empty when it did nothing wrong.

        The API is believed to merge by key. If it replaced them instead, every further write would erase
        other integrations' data. An empty answer shows nothing, so the first writes are read again.
        """
        before = write.record
        if before is not None and after is None:
            with suppress(PostscriptError):
                after = find_subscriber(self._run.postscript, write.subscriber_id)
        if after is None:
            return ""
        if _has_lost(write, after):
            return (
                f"Subscriber {write.subscriber_id} had {write.property_count} properties before the write "
                f"and has lost some by it. {get_reason('PROPERTIES_LOST').fix}"
            )
        if before is None:
            return ""
        if not _is_kept(write, after):
            return f"Subscriber {write.subscriber_id}: {get_reason('WRITE_NOT_KEPT').meaning}"
        self.is_proved = self.is_proved or write.others > 0
        is_dated, changed_at = after.updated_at != before.updated_at, api.parse_time(before.updated_at)
        # One that was only just now proves nothing: a further change may show the same time.
        is_recent = changed_at is not None and abs(datetime.now(UTC) - changed_at) < _ONE_MOMENT
        if before.updated_at and (is_dated or not is_recent):
            self._run.ledger.judge_mirror(self._run.shop_id, is_dated=is_dated)
        return ""

    def _put_back(self, write: Write) -> bool:
        """Write what the subscriber held, where that was read; False when it could not be."""
        if write.record is None:
            return False
        held = {name: value for name, value in write.record.properties.items() if value is not None}
        request = api.write_properties(write.subscriber_id, held)
        call, answer = self._send(replace(write, before={}, after=held), request)
        if isinstance(answer, PostscriptError):
            return False
        self._run.ledger.end_write(call, result_of(answer, "put back"))
        return True


def _listed(record: api.Subscriber) -> set[str]:
    return {*(api.read_audiences(record.properties) or ())}


def _has_lost(write: Write, after: api.Subscriber) -> bool:
    """Return whether a property that was not written has gone: by name if they are known, else by number."""
    if write.record is not None:
        kept = {name for name, value in write.record.properties.items() if value not in (None, [])}
        return bool(kept - {*write.after, *after.properties})
    left = [name for name in after.properties if name not in write.after and name != LIST]
    return len(left) < write.others - len([name for name in write.before if name != LIST])


def _is_kept(write: Write, after: api.Subscriber) -> bool:
    """Return whether the list holds what was added and not what was removed; others may have added to it."""
    if LIST not in write.after:
        return True
    wanted, held = {*write.after[LIST]}, _listed(after)
    before = {*write.before.get(LIST, ())}
    return wanted - before <= held and not (before - wanted) & held


def _as_failure(error: PostscriptError) -> PostscriptError:
    """Return a refusal as a failure: a gateway's, and a 404 about a subscriber who is there."""
    if isinstance(error, RejectedError) and (error.status_code == 404 or not error.from_postscript):
        return ServerError(str(error), status_code=error.status_code)
    return error
