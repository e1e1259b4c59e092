"""What a delivery needs of the ledger: every call noted before and after, and what earlier runs left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from toolkit.runs import Held, Transition


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
        untold: Sequence[str] = (),
        held: Held | None = None,
    ) -> Collection[str]:
        """Record a write's answer and what the subscriber holds now; return the ids that are due now.

        *untold* are custom events that a write which went well has made untrue: they are forgotten.
        """

    def start_event(self, run_id: str, route: str, transition: Transition) -> int:
        """Record that a custom event is about to be posted."""

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

    def mark_transitions(self, external_ids: Sequence[str], state: str | None) -> None:
        """Set the state of custom events."""

    def close_calls(self, shop_id: str) -> int:
        """Note of calls without an answer that none will come."""

    def forget_subscriber(self, shop_id: str, subscriber_id: str) -> None:
        """Take a subscriber out of the mirror."""

    def judge_mirror(self, shop_id: str, *, is_dated: bool) -> None:
        """Note whether a write showed in ``updated_at``; else everybody is read anew next time."""
