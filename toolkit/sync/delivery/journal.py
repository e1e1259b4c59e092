"""What a delivery needs of the ledger: every call noted before and after, and what earlier runs left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from toolkit.sync.runs import Held, Transition


class Journal(Protocol):
    """The part of the ledger in which every call is noted."""

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
        """Return the custom events whose answer was lost."""

    def mark_transitions(self, external_ids: Sequence[str], state: str) -> None:
        """Set the state of custom events; ``obsolete`` closes only those that are open."""

    def check_lock(self, shop_id: str) -> None:
        """Make sure that the shop is still this run's own; LedgerError when it is not."""

    def close_calls(self, shop_id: str) -> int:
        """Note of calls without an answer that none will come."""

    def forget_subscriber(self, shop_id: str, subscriber_id: str) -> None:
        """Take a subscriber out of the mirror."""

    def judge_mirror(self, shop_id: str, *, is_dated: bool) -> None:
        """Note whether a write showed in ``updated_at``; else everybody is read anew next time."""
