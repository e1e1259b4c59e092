"""Charts, and the colour of a status."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from toolkit.contacts import mask_text

from .words import in_words, tone

_COLOURS = {"good": "#2f7d5b", "bad": "#b5472f", "dim": "#8a8f98", "change": "#33658a"}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with the words that stand for it."""

    png: bytes = field(repr=False)
    alternative: str
    """What the picture shows, for people who do not see it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "alternative", mask_text(self.alternative))

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        return self.png, {"alt": self.alternative}


@contextmanager
def drawing(picture: BinaryIO, title: str, *, height: float) -> Iterator[Any]:
    """Yield axes to draw on; what was drawn is then written to *picture* as PNG. *height* is in inches."""
    # Imported here: it takes as long as the rest of the toolkit, and most processes draw nothing.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # parse_math: a dollar sign in a name is a dollar sign, not the start of a formula.
    with mpl.rc_context({"font.size": 10, "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(7.6, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(mask_text(title), loc="left", fontweight="bold")
        yield axes
        FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]


def bar_chart(counts: Mapping[str, int], *, title: str) -> Chart:
    """Draw counts as horizontal bars, in the order given; statuses that need attention are red.

    Parameters
    ----------
    counts
        Name → number.
    title
        What it shows, above it.

    Returns
    -------
    Chart
        A picture, and the sentence that stands for it.

    Examples
    --------
    >>> bar_chart({"added": 3, "failed": 1}, title="Outcomes").alternative
    'Outcomes: added 3, failed 1.'
    """
    labels = [mask_text(in_words(name)) for name in counts]
    values = [*counts.values()]
    colours = [_COLOURS[tone(name)] for name in counts]
    picture = io.BytesIO()
    with drawing(picture, title, height=0.9 + 0.38 * max(len(labels), 1)) as axes:
        # Text after the bars says the number, so that nothing hangs on the colour.
        bars = axes.barh(range(len(values)), values, color=colours, height=0.66)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=4)
        axes.set_yticks(range(len(labels)), labels=labels)
        axes.invert_yaxis()
        axes.set_xlim(0, max([*values, 1]) * 1.15)
        axes.xaxis.set_visible(False)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    said = ", ".join(f"{label} {value:,}" for label, value in zip(labels, values, strict=True)) or "nothing"
    return Chart(png=picture.getvalue(), alternative=f"{title}: {said}.")
