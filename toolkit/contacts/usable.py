"""How many people can be looked up at all, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from toolkit.errors import RunFailedError


@dataclass(frozen=True, kw_only=True)
class Usable:
    """How people can be looked up, against two limits."""

    ways: Mapping[str, int]
    """By what → people: ``phone_and_email``, ``phone_only``, ``email_only``, ``neither``."""
    warn_unusable_share: float
    """0 to 1; a larger share of ``neither`` is a warning."""
    max_unusable_share: float
    """0 to 1; a larger share of ``neither`` must not pass."""

    @property
    def people(self) -> int:
        """People in all."""
        return sum(self.ways.values())

    @property
    def unusable(self) -> int:
        """People with neither phone nor email that can be used: no sync reaches them."""
        return self.ways["neither"]

    @property
    def share(self) -> float:
        """Share of people who cannot be looked up, 0 to 1."""
        return self.unusable / max(self.people, 1)

    @property
    def error(self) -> str:
        """Why this must not pass; empty when it may."""
        if self.share <= self.max_unusable_share:
            return ""
        return (
            f"{self.unusable:,} of {self.people:,} people ({self.share:.1%}) cannot be looked up; "
            f"max_unusable_share allows {self.max_unusable_share:.0%}. See contacts_to_fix.csv."
        )

    @property
    def sentence(self) -> str:
        """What to tell people: how many cannot be looked up, and whether that is too many."""
        told = f"{self.unusable:,} of {self.people:,} people ({self.share:.1%}) cannot be looked up."
        if self.error:
            return f"Too many: {self.error}"
        if self._is_worrying:
            return f"Warning: {told} That is more than warn_unusable_share, {self.warn_unusable_share:.0%}."
        return told

    @property
    def _is_worrying(self) -> bool:
        return self.share > self.warn_unusable_share

    def summary(self) -> dict[str, object]:
        """Return the figures for a scheduler, ready for JSON."""
        return {
            "status": "failed" if self.error else "completed",
            "stopped_by": "guard" if self.error else "",
            "error": self.error,
            "warning": self.sentence if self._is_worrying else "",
            "people": self.people,
            "unusable": self.unusable,
            "unusable_share": round(self.share, 4),
        }

    def raise_if_failed(self) -> None:
        """Raise RunFailedError when more people than allowed cannot be looked up."""
        if self.error:
            raise RunFailedError(self.error)


def count_usable(
    contacts: pd.DataFrame, *, warn_unusable_share: float = 0.1, max_unusable_share: float = 1.0
) -> Usable:
    """Count by what people can be looked up.

    Parameters
    ----------
    contacts
        What check_contacts() returns.
    warn_unusable_share, max_unusable_share
        Shares (0 to 1) of people who cannot be looked up, above which it is a warning, or must not pass.

    Returns
    -------
    Usable
        The counts, a sentence, and whether it may pass.

    Examples
    --------
    >>> from toolkit.contacts import check_contacts
    >>> people = pd.DataFrame({"person": ["u:1"], "email": [None], "phone": ["n/a"]})
    >>> count_usable(check_contacts(people)).sentence
    'Warning: 1 of 1 people (100.0%) cannot be looked up. That is more than warn_unusable_share, 10%.'
    """
    phone, email = contacts["phone_e164"].notna(), contacts["email_clean"].notna()
    ways = {
        "phone_and_email": phone & email,
        "phone_only": phone & ~email,
        "email_only": ~phone & email,
        "neither": ~phone & ~email,
    }
    return Usable(
        ways={way: int(people.sum()) for way, people in ways.items()},
        warn_unusable_share=warn_unusable_share,
        max_unusable_share=max_unusable_share,
    )
