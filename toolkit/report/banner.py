"""What a notebook shows first, a banner with its result, and last: the next step and the files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from toolkit.contacts.masks import mask_text

from .display import whole_text

_LOOK = "border-left: 0.4em solid {}; padding: 0.2em 0.8em"
_CALM, _LIVE, _ALERT = "#33658a", "#8a5a00", "#b5472f"
"""Lines that can be seen on a light page and on a dark one; the words are the page's own."""


@dataclass(frozen=True, kw_only=True)
class Banner:
    """A result in one sentence, what it is about, and what to know besides; shown as a banner."""

    sentence: str
    facts: Sequence[str] = ()
    """What, which shop, in which mode, as of when: a few words each."""
    notes: Sequence[str] = ()
    """What to warn of, a sentence each."""
    is_live: bool = False
    """Whether Postscript was or will be written to."""
    is_alert: bool = False
    """Whether something needs attention."""

    def _lines(self) -> tuple[str, str, list[str]]:
        return " · ".join(map(mask_text, self.facts)), mask_text(self.sentence), [*map(mask_text, self.notes)]

    def __repr__(self) -> str:
        facts, sentence, notes = self._lines()
        return "\n".join(filter(None, [facts, sentence, *(f"- {note}" for note in notes)]))

    def _repr_html_(self) -> str:
        facts, sentence, notes = self._lines()
        look = _LOOK.format(_ALERT if self.is_alert else _LIVE if self.is_live else _CALM)
        listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
        return (
            f'<section role="{"alert" if self.is_alert else "status"}" aria-label="Result" style="{look}">'
            f"<div>{escape(facts)}</div><strong>{escape(sentence)}</strong>"
            + (f'<ul style="margin: 0.3em 0">{listed}</ul>' if notes else "")
            + "</section>"
        )


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """How a notebook ends: what to do now, and the files it left."""

    sentence: str
    files: Sequence[Path] = ()

    def __repr__(self) -> str:
        return "\n".join([mask_text(self.sentence), *(whole_text(path) for path in self.files)])

    def _repr_html_(self) -> str:
        links = ""
        for path in self.files:
            place, name = escape(quote(os.fsencode(path))), escape(whole_text(path.name))
            links += f'<li><a href="{place}" target="_blank">{name}</a></li>'
        return f"<p>{escape(mask_text(self.sentence))}</p><ul>{links}</ul>"
