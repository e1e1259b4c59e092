"""How a scheduled run ended, as a number: by the class of its error and its summary, never by a message."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Self

from toolkit import errors
from toolkit.statuses import RunStatus


class ExitCode(IntEnum):
    """How a scheduled run ended; each member's docstring is its meaning."""

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member with its meaning as docstring, so that --help can quote it."""
        member = int.__new__(cls, value)
        member._value_, member.__doc__ = value, meaning
        return member

    COMPLETED = 0, "The notebook ran to its end."
    UNEXPECTED = 1, "An unexpected error: a fault of ours, a dead kernel, a secret found in a file."
    BAD_INPUT = 2, "Something given cannot be used: a parameter, a path, a file."
    COMPLETED_WITH_ERRORS = 3, "Everything was tried; some changes failed, were refused or are unknown."
    STOPPED_BY_GUARD = 4, "A guard stopped the run, such as the limit on removals."
    NO_ACCESS = 5, "Postscript does not accept the key, or the environment has none."
    LOCKED = 6, "Another live run is writing to the shop."
    FAILED = 7, "Postscript or the ledger failed or could not be reached, or a cell ran out of time."
    INTERRUPTED = 130, "Interrupted or canceled."

    @property
    def status(self) -> RunStatus:
        """The run status in the last line of the output and in an alert."""
        return {
            ExitCode.COMPLETED: RunStatus.COMPLETED,
            ExitCode.COMPLETED_WITH_ERRORS: RunStatus.COMPLETED_WITH_ERRORS,
            ExitCode.INTERRUPTED: RunStatus.CANCELED,
        }.get(self, RunStatus.FAILED)


_BY_STOP = {
    "removal_limit": ExitCode.STOPPED_BY_GUARD,
    "guard": ExitCode.STOPPED_BY_GUARD,
    "authentication": ExitCode.NO_ACCESS,
    "canceled": ExitCode.INTERRUPTED,
}
_BY_ERROR = {
    errors.InputError: ExitCode.BAD_INPUT,
    errors.InvalidAuthenticationError: ExitCode.NO_ACCESS,
    errors.ShopLockedError: ExitCode.LOCKED,
    errors.IgnoredFilterError: ExitCode.STOPPED_BY_GUARD,
    errors.LedgerError: ExitCode.FAILED,
    errors.PostscriptError: ExitCode.FAILED,
}
"""Our class of error → its code; the first that fits counts."""
_OF_OTHERS = {"KeyboardInterrupt": ExitCode.INTERRUPTED, "CellTimeoutError": ExitCode.FAILED}


def own_error(name: str) -> type[errors.ToolkitError] | None:
    """Return our error class of that name; None when it is another's."""
    kind = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, errors.ToolkitError) else None


def exit_code_of(error: str, summary: Mapping[str, Any], *, has_key: bool, is_canceled: bool) -> ExitCode:
    """Return the exit code for the class of the error that ended a notebook, empty for none.

    *summary* is the one this run wrote, *has_key* whether the environment has a key, *is_canceled* whether
    the runner was asked to end.

    >>> exit_code_of("RunFailedError", {"stopped_by": "removal_limit"}, has_key=True, is_canceled=False).value
    4
    """
    if not error:
        return ExitCode.COMPLETED
    if error == "RunFailedError":
        if summary.get("status") == RunStatus.COMPLETED_WITH_ERRORS:
            return ExitCode.COMPLETED_WITH_ERRORS
        return _BY_STOP.get(summary.get("stopped_by", ""), ExitCode.FAILED)
    if error == "SettingsError" and not has_key:
        return ExitCode.NO_ACCESS
    found = _OF_OTHERS.get(error, ExitCode.UNEXPECTED)
    if (kind := own_error(error)) is not None:
        found = next((code for base, code in _BY_ERROR.items() if issubclass(kind, base)), found)
    # Libraries have errors of their own for an interrupt, and a kernel that is killed is just dead.
    return ExitCode.INTERRUPTED if is_canceled and found is ExitCode.UNEXPECTED else found
