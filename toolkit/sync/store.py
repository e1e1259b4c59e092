"""What a sync, an undo, a forecast and the audit need of a ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import pandas as pd

from toolkit.audiences.memberships import State
from toolkit.postscript.cache import SubscriberCache

from .runs import Held, RunRecord, Transition


class LedgerStore(Protocol):
    """The ledger as its users see it; a test hands in a stand-in."""

    def start_write(
        self,
        run_id: str,
        shop_id: str,
        subscriber_id: str,
        *,
        route: str,
        before: str,
        after: str,
        due: Iterable[Transition],
    ) -> int:
        """Record that properties of a subscriber are about to be written."""

    def end_write(
        self,
        call_id: int,
        *,
        outcome: str,
        status_code: int | None,
        tries: int,
        due: Sequence[str],
        held: Held | None = None,
    ) -> Collection[str]:
        """Record a write's answer and what the subscriber holds now; return the ids that are due now."""

    def start_event(self, run_id: str, route: str, transition: Transition) -> int | None:
        """Claim a custom event that is about to be posted; None when it must not be."""

    def end_event(
        self,
        call_id: int,
        transition: Transition,
        *,
        state: str,
        outcome: str,
        status_code: int | None,
        tries: int,
    ) -> None:
        """Record what became of a custom event."""

    def load_open_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events that earlier runs left in the middle."""

    def load_unknown_transitions(self, shop_id: str) -> list[Transition]:
        """Return the custom events whose answer was lost, or that were refused."""

    def mark_transitions(self, external_ids: Sequence[str], state: str) -> None:
        """Set the state of custom events; ``obsolete`` closes only those that are open."""

    def check_lock(self, shop_id: str) -> None:
        """Make sure that the shop is still this run's own; LedgerError when it is not."""

    def close_calls(self, shop_id: str) -> int:
        """Note of calls without an answer that none will come."""

    def forget_subscriber(self, shop_id: str, subscriber_id: str) -> None:
        """Take a subscriber who is gone out of the cache; the contacts are looked up again next time."""

    def judge_mirror(self, shop_id: str, *, is_dated: bool) -> None:
        """Note whether a write showed in ``updated_at``; else everybody is read anew next time."""

    def holding(self, shop_id: str) -> AbstractContextManager[None]:
        """Keep the shop for this run alone."""

    def save_run(self, run: RunRecord) -> None:
        """Write a run's record."""

    def save_results(self, run_id: str, events: pd.DataFrame, changed: pd.DataFrame) -> None:
        """Write how the events and changes of a run ended."""

    def save_state(self, shop_id: str, run_id: str, state: State) -> None:
        """Write what is asked for."""

    def hold(self, shop_id: str, run_id: str, state: State, *, cause: str) -> None:
        """Keep what is asked for, and must not be carried out yet."""

    def release_held(self, shop_id: str, state: State) -> None:
        """Let go of what was held and is in *state*, or older than what it says."""

    def count_held(self, shop_id: str) -> dict[str, int]:
        """Return run → memberships and traits that a limit or a person holds back."""

    def find_closed(self, external_ids: Sequence[str]) -> set[str]:
        """Return those of the custom events that are not posted again."""

    def save_reached(self, shop_id: str, pairs: pd.DataFrame, *, left_in: str | None = None) -> None:
        """Write which subscribers people reach."""

    def get_run(self, run_id: str = "") -> RunRecord:
        """Return a run's record, the latest when no id is given."""

    def load_changes(self, run_id: str, *, statuses: Collection[str] = ()) -> pd.DataFrame:
        """Return the changes of a run that are worth reading, or those of some statuses."""

    def load_calls(self, run_id: str) -> pd.DataFrame:
        """Return the journal of a run's writes."""

    def load_state(self, shop_id: str) -> State:
        """Return what earlier live runs of the shop asked for."""

    def load_newer_words(self, shop_id: str, run_id: str) -> pd.DataFrame:
        """Return the people and keys that later runs brought newer values for."""

    def load_cache(self, shop_id: str) -> SubscriberCache:
        """Return the cache of a shop; an empty one when it was never read."""

    def take_back(self, shop_id: str, run_id: str) -> int:
        """Put the words back that a run replaced."""

    def load_latest_runs(self) -> list[RunRecord]:
        """Return a run of each shop, that of the likeliest shop first."""

    def load_reached(self, shop_id: str) -> pd.DataFrame:
        """Return which subscribers live runs of the shop reached for each person."""

    def load_runs(self, until: RunRecord, *, limit: int) -> list[RunRecord]:
        """Return this run and those of its shop that began before it, the latest first."""

    def find_previous(self, record: RunRecord) -> RunRecord | None:
        """Return the run of the same shop and mode that began last before this one, and has ended."""

    def load_totals(self, run_id: str) -> pd.DataFrame:
        """Return the totals of a run."""

    def count_deeds(self, run_ids: Collection[str]) -> dict[str, Counter[str]]:
        """Return run → adds, removes, custom events and those left over, by the journal."""

    def load_obsolete_transitions(self, shop_id: str, since: datetime) -> list[Transition]:
        """Return the custom events that were closed since then, and never sent."""

    def load_outcomes_of(
        self, shop_id: str, persons: Collection[str], subscriber_ids: Collection[str]
    ) -> pd.DataFrame:
        """Return how the runs of a shop ended for these people."""

    def load_calls_of(self, shop_id: str, subscriber_ids: Collection[str]) -> pd.DataFrame:
        """Return what was sent about these subscribers."""
