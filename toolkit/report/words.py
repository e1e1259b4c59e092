"""How names and statuses read, and which of them stand out."""

from __future__ import annotations

from toolkit.statuses import EventStatus
from toolkit.sync.runs import LOOK_AT

_TONES = {
    **dict.fromkeys(("counted", "added", "would_add", "unchanged", "delivered"), "good"),
    **dict.fromkeys(("removed", "would_remove", "updated", "would_update"), "change"),
    **dict.fromkeys((*LOOK_AT, EventStatus.MALFORMED, EventStatus.INVALID_PAYLOAD, "invalid"), "bad"),
    **dict.fromkeys(("pending retry", "unconfirmed"), "bad"),
}


KINDS = {
    "sync": ("Sync", ""),
    "undo": (
        "Undo",
        "This run takes back what another run wrote, where it still stands: what that run added is removed, "
        "what it removed is added.",
    ),
    "repair": (
        "Repair",
        "This run brings subscribers who drifted back to what was asked for; it comes from no events.",
    ),
    "saved_plan": (
        "Saved plan",
        "This run carries out a plan that was saved earlier, as far as it still holds.",
    ),
    "member_list": ("Member list", "This run carries out a list of members: whoever is not listed leaves."),
}
"""Kind of run → its name, and what it does."""


def in_words(name: str) -> str:
    """Return a column's or status's name as words.

    >>> in_words("would_add")
    'would add'
    """
    return name.replace("_", " ")


def tone(name: str) -> str:
    """Return how a status or a step of the funnel is shown: good, change, bad, or dim for the rest."""
    return _TONES.get(name.lower(), "dim")
