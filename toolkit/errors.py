"""Every error the toolkit raises on purpose.

ToolkitError
├── InputError                      what was given cannot be used as it is
│   ├── SettingsError               the environment lacks a setting, or holds a wrong one
│   ├── ParameterError              a notebook parameter is unknown or has a bad value   (ValueError)
│   ├── InputPathError              nothing to read at the path                          (FileNotFoundError)
│   ├── FileFormatError             not the archive it claims to be                      (ValueError)
│   ├── TriggerError                the trigger text cannot be read; has a position      (ValueError)
│   ├── MappingError                a directive is malformed; has a JSON pointer         (ValueError)
│   └── UnknownRunError             the ledger holds no such run                         (LookupError)
├── LedgerError                     the ledger cannot be opened or written
│   └── ShopLockedError             another live run is writing to the shop
├── ReconciliationError             the totals do not add up: our bug
├── RunFailedError                  a run ended in a way that must not pass
└── PostscriptError                 the API refused or could not be reached; has status_code
    ├── InvalidAuthenticationError  401, 403: the key is not accepted
    ├── RejectedError               any other refusal that will not change by trying again
    ├── RateLimitError              429 until the tries ran out
    ├── ServerError                 5xx, or an answer that is not what it should be
    │   └── IgnoredFilterError      other subscribers came back than were looked up: nothing is safe
    ├── UnreachableError            no connection, or no answer, until the tries ran out
    └── LostAnswerError             sent, but what became of it is unknown
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import ClassVar


class ToolkitError(Exception):
    """Base of every error raised on purpose.

    A notebook shows its sentence and notes alone, which state what to do next; ``%debug`` opens the place.
    """

    mask: ClassVar[Callable[[str], str]] = str
    """Hides the contacts in a message; set by contacts, which stands on top of this module."""

    def __str__(self) -> str:
        return type(self).mask(super().__str__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        cause = [] if self.__cause__ is None else [f"Because of {type(self.__cause__).__name__}"]
        notes = map(type(self).mask, getattr(self, "__notes__", ()))
        return [f"{type(self).__name__}: {self}", *notes, *cause]


class InputError(ToolkitError):
    """What was given cannot be used; nothing was done."""


class SettingsError(InputError):
    """A setting in the environment is absent or wrong."""


class ParameterError(InputError, ValueError):
    """A notebook parameter is unknown, or its value cannot be used."""


class InputPathError(InputError, FileNotFoundError):
    """There is nothing to read at the path."""


class FileFormatError(InputError, ValueError):
    """The file is not the archive it claims to be."""


class TriggerError(InputError, ValueError):
    """The trigger text cannot be read."""

    def __init__(self, message: str, position: int | None) -> None:
        place = "" if position is None else f" (at character {position + 1})"
        super().__init__(f"{message}{place}")
        self.position = position
        """Index into the trigger text, from 0; None when there is no text yet."""


class MappingError(InputError, ValueError):
    """A mapping directive is malformed, or cannot be resolved."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(f"{pointer or '/'}: {message}")
        self.pointer = pointer
        """JSON pointer into the mapping, such as ``/phone/@path``; empty for the whole."""


class UnknownRunError(InputError, LookupError):
    """The ledger holds no run of that id."""


class LedgerError(ToolkitError):
    """The ledger cannot be opened, read or written."""


class ShopLockedError(LedgerError):
    """Another live run is writing to the shop; one at a time."""


class ReconciliationError(ToolkitError):
    """Totals that must add up do not; shown with every frame, to be reported."""

    def _render_traceback_(self) -> list[str]:
        return "".join(traceback.format_exception(self)).splitlines()


class RunFailedError(ToolkitError):
    """The run ended in a way that must not pass; its evidence is saved."""


class PostscriptError(ToolkitError):
    """The Postscript API refused a request or could not be reached."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_code: int | None = None,
        from_postscript: bool = False,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        """HTTP status code; None when no answer came."""
        self.error_code = error_code
        """Postscript's own number, where the answer had one."""
        self.from_postscript = from_postscript
        """True when the refusal is a JSON object, as Postscript's own are; a gateway answers with a page."""
        self.tries = 1
        """Times the request was sent."""


class InvalidAuthenticationError(PostscriptError):
    """The key is not accepted (401, 403); nothing else will work either."""


class RejectedError(PostscriptError):
    """Refused in a way that trying again does not change."""


class RateLimitError(PostscriptError):
    """Still 429 after the last try."""


class ServerError(PostscriptError):
    """5xx after the last try, or an answer that is not what the API promises."""


class IgnoredFilterError(ServerError):
    """A lookup brought other subscribers than were looked up; no match is certain then."""


class UnreachableError(PostscriptError):
    """No connection or no answer after the last try."""


class LostAnswerError(PostscriptError):
    """The request left, its answer did not arrive: it may or may not have been carried out."""
