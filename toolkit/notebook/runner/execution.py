"""papermill, run so that a signal is an orderly end and no kernel stays behind."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from toolkit.files import make_folder

from .orders import Order

_KERNEL_END_SECONDS = 60
"""How long a kernel may take to end a cell that was interrupted, before it is killed."""
_SURELY_BEGUN_SECONDS = 0.5
"""After so long a kernel has begun the cell it was sent; it ignores interrupts between cells."""
_ENDS_BY_ITSELF = re.compile(r"\bsync\(")
"""A cell with this turns an interrupt into an outcome, which the next cells write down."""


class Canceling:
    """Turns a signal into an interrupt of the cell that runs; a second signal ends everything at once."""

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self.is_asked = False
        self.is_urgent = False
        self._pid = pid
        self._begun: float | None = None
        self._goes_on = False

    def on_signal(self, *_: object) -> None:
        """Interrupt the cell; without one, or asked again, end the run from here."""
        pid, self.is_urgent, self.is_asked = self._pid(), self.is_asked, True
        if self.is_urgent or self._begun is None or pid is None:
            raise KeyboardInterrupt
        time.sleep(max(self._begun + _SURELY_BEGUN_SECONDS - time.monotonic(), 0))
        os.kill(pid, signal.SIGINT)

    def before_cell(self, **_: object) -> None:
        """Let no further cell begin, but those that write down how a sync ended."""
        if self.is_asked and not self._goes_on:
            raise KeyboardInterrupt
        self._begun = time.monotonic()

    def after_cell(self, cell: Mapping[str, Any], **_: object) -> None:
        """Note that none runs."""
        self._begun = None
        self._goes_on = self._goes_on or (
            self.is_asked and _ENDS_BY_ITSELF.search(cell["source"]) is not None
        )

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM, then leave them as they were."""
        before = {number: signal.signal(number, self.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def execute(order: Order, timeout: int | None) -> tuple[BaseException | None, bool]:
    """Run the notebook; return the error that ended it, and whether the runner was asked to end.

    Whatever happens, the notebook is saved as far as it came, and no kernel is left behind.
    """
    import papermill  # by now it is known to be there
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync

    kernel = AsyncKernelManager(kernel_name=order.kernel)
    kernel.shutdown_wait_time = _KERNEL_END_SECONDS
    canceling = Canceling(lambda: getattr(kernel.provisioner, "pid", None))
    # papermill formats its paths, so a brace in one has to be doubled.
    source, output = (
        str(path).replace("{", "{{").replace("}", "}}") for path in (order.source, order.output)
    )
    error: BaseException | None = None
    with canceling.listening():
        try:
            make_folder(order.output.parent)
            order.output.touch(mode=0o600, exist_ok=False)
            papermill.execute_notebook(
                source,
                output,
                dict(order.parameters),
                kernel_name=order.kernel,
                progress_bar=sys.stderr.isatty(),
                execution_timeout=timeout,
                km=kernel,
                on_cell_execute=canceling.before_cell,
                on_cell_executed=canceling.after_cell,
            )
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - of any kind: the caller judges
            error = caught
        try:
            if kernel.has_kernel:
                run_sync(kernel.shutdown_kernel)(now=canceling.is_urgent)
        except KeyboardInterrupt:
            run_sync(kernel.shutdown_kernel)(now=True)
    return error, canceling.is_asked
