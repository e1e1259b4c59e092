"""Controls at the keyboard. In a scheduled run nothing is shown and nothing waits.

A cell that waits for a click awaits it: the kernel then takes messages of the page while the cell runs.
"""

from __future__ import annotations

import asyncio
import html
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from threading import Event
from types import SimpleNamespace
from typing import Any, TypeVar

import ipywidgets as ipw
from IPython.display import display
from tqdm import tqdm
from tqdm.notebook import tqdm as tqdm_notebook

from toolkit.contacts.masks import mask_text
from toolkit.errors import ParameterError, ToolkitError

from .parameters import CHOICES, PARAMETERS, read_parameter

LOOKS_EVERY_SECONDS = 0.2
_ROWS = 6
"""Lines of a list to choose from, at most."""
_WIDE = "38em"

Result = TypeVar("Result")


def _show(*children: Any) -> ipw.VBox:
    box = ipw.VBox([*children])
    display(box)  # type: ignore[no-untyped-call]
    return box


def _sentence(text: str, *, role: str = "status") -> str:
    return f'<p role="{role}">{html.escape(mask_text(text))}</p>'


def _button(text: str, **look: Any) -> ipw.Button:
    return ipw.Button(description=text, layout=ipw.Layout(width="auto"), **look)


# --- parameters -----------------------------------------------------------------------------------------


def show_controls(
    notebook: str, parameters: SimpleNamespace, suggestions: Mapping[str, Sequence[str]]
) -> ipw.VBox:
    """Show a control for each parameter; a change that is good is written into *parameters* at once.

    *suggestions* maps a parameter to values that are offered; anything else can be typed.
    """
    status = ipw.HTML(
        _sentence("These are the values of the cell above. Change one, then run the cells below.")
    )
    controls = [_control(name, getattr(parameters, name), suggestions) for name in PARAMETERS[notebook]]
    for name, control in zip(PARAMETERS[notebook], controls, strict=True):
        control.observe(_writes(name, parameters, status), names="value")
    return _show(*controls, status)


def _control(name: str, value: Any, suggestions: Mapping[str, Sequence[str]]) -> Any:
    look: dict[str, Any] = {
        "description": name,
        "style": {"description_width": "11em"},
        "layout": ipw.Layout(width=_WIDE),
    }
    if isinstance(value, bool):
        return ipw.Checkbox(value=value, **look)
    if name in CHOICES:
        return ipw.Dropdown(options=CHOICES[name], value=value, **look)
    offered = suggestions.get(name)
    if offered and isinstance(value, tuple):
        known = tuple(dict.fromkeys([*value, *offered]))
        look["tooltip"] = "None chosen takes all; Ctrl and a click choose several"
        return ipw.SelectMultiple(options=known, value=value, rows=min(len(known), _ROWS), **look)
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    if offered:
        return ipw.Combobox(value=text, options=tuple(offered), continuous_update=False, **look)
    return ipw.Text(value=text, continuous_update=False, **look)


def _writes(name: str, parameters: SimpleNamespace, status: ipw.HTML) -> Callable[[Any], None]:
    def on_change(change: Any) -> None:
        given = change["new"]
        if isinstance(getattr(parameters, name), tuple) and isinstance(given, str):
            given = [key.strip() for key in given.split(",") if key.strip()]
        try:
            value = read_parameter(name, given)
        except ParameterError as problem:
            status.value = _sentence(f"Not taken. {problem}", role="alert")
            return
        setattr(parameters, name, value)
        status.value = _sentence(f"{name} is now {value!r}. Run the cells below again.")

    return on_change


# --- a look at one person, or at some days --------------------------------------------------------------


def show_search(explain: Callable[[str], str]) -> ipw.VBox:
    """Show a field for a person's name, and the answer of *explain*: HTML, which must be escaped already."""
    who = ipw.Text(
        description="Explain",
        placeholder="phone, email, user id or subscriber id",
        layout=ipw.Layout(width=_WIDE),
        continuous_update=False,
    )
    button, answer = _button("Explain this person"), ipw.HTML()
    answered: list[str] = []

    def on_ask(_: Any) -> None:
        # Enter and the button both end the typing: a click after Enter was answered already.
        if not who.value.strip() or [who.value] == answered:
            return
        answered[:] = [who.value]
        answer.value = _sentence("Looking through the archive …")
        try:
            answer.value = explain(who.value)
        except Exception as problem:  # noqa: BLE001 - else the page would wait for ever
            answered.clear()
            # Another's message may hold contacts.
            text = (
                f"No answer was found ({type(problem).__name__}). Run the cells above again, then ask again."
            )
            is_ours = isinstance(problem, ToolkitError)
            answer.value = _sentence(str(problem) if is_ours else text, role="alert")

    button.on_click(on_ask)
    who.observe(on_ask, names="value")
    return _show(ipw.HBox([who, button]), answer)


def show_dates(first: date, last: date, draw: Callable[[date, date], tuple[bytes, str]]) -> ipw.VBox:
    """Show two dates to choose, and the picture that *draw* makes of the days between them."""
    look = {"min": first, "max": last, "layout": ipw.Layout(width="18em")}
    since = ipw.DatePicker(description="From", value=first, **look)
    until = ipw.DatePicker(description="Until", value=last, **look)
    picture, status = ipw.Image(layout=ipw.Layout(width="760px", display="none")), ipw.HTML()

    def on_change(_: Any) -> None:
        if since.value is None or until.value is None or since.value > until.value:
            status.value = _sentence("Not taken. Give a first day, and a last one that is not before it.")
            return
        picture.value, alternative = draw(since.value, until.value)
        picture.layout.display = ""
        status.value = _sentence(alternative)

    for chosen in (since, until):
        chosen.observe(on_change, names="value")
    return _show(ipw.HBox([since, until]), picture, status)


# --- a step that must be confirmed ----------------------------------------------------------------------


async def confirm(question: str, *, yes: str, no: str = "Cancel") -> bool:
    """Ask, and wait for one of two buttons; an interrupt is a no."""
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    agree, refuse = _button(yes, button_style="primary"), _button(no)

    def choose(pressed: ipw.Button) -> None:
        if not answer.done():
            answer.set_result(pressed is agree)

    for button in (agree, refuse):
        button.on_click(choose)
    status = ipw.HTML(_sentence(question))
    _show(status, ipw.HBox([agree, refuse]))
    try:
        is_agreed = await answer
    except asyncio.CancelledError:
        is_agreed = False
    agree.disabled = refuse.disabled = True
    status.value = _sentence(f"{question} {yes if is_agreed else no}: chosen.")
    return is_agreed


# --- a step that takes long -----------------------------------------------------------------------------


class Progress:
    """How many calls are done, of how many, and how changes ended. Noted from any thread, shown from one."""

    def __init__(self, total: int) -> None:
        self.done, self.all = 0, total
        self.counts: Mapping[str, int] = {}

    def note(self, done: int, total: int, counts: Mapping[str, int]) -> None:
        """Note how many calls are done, of how many, and how many changes have each status."""
        if done >= self.done:
            self.done, self.all, self.counts = done, total, counts


async def follow(
    work: Callable[[], Result], progress: Progress, cancel: Event, *, what: str, attended: bool
) -> Result:
    """Do *work* in a thread and show how far it is; return what it returns, or raise what it raises.
    The button, or an interrupt, sets *cancel*; the work is then awaited all the same.
    """
    look: dict[str, Any] = {"desc": what, "unit": " calls", "total": progress.all}
    # In a scheduled run the bar is text: a widget saved in a notebook shows nothing without the network.
    bar = tqdm_notebook(**look) if attended else tqdm(**look, file=sys.stdout, ascii=True, ncols=100)
    button = _cancel_button(cancel) if attended else None
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    while not doing.done():
        try:
            await asyncio.wait([doing], timeout=LOOKS_EVERY_SECONDS)
        except asyncio.CancelledError:
            cancel.set()
        if bar.total != progress.all:
            bar.reset(total=progress.all)
        if cancel.is_set():
            bar.set_description_str(f"{what} is being canceled", refresh=False)
        bar.n = progress.done
        bar.set_postfix(progress.counts)
    bar.close()
    if button is not None:
        button.disabled = True
    return doing.result()


def _cancel_button(cancel: Event) -> ipw.Button:
    button = _button("Cancel", tooltip="What is under way finishes; the rest stays pending")

    def on_click(_: Any) -> None:
        button.disabled = True
        cancel.set()

    button.on_click(on_click)
    display(button)  # type: ignore[no-untyped-call]
    return button
