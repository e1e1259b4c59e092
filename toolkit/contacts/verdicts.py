"""What can be said of a contact: the verdicts, for one contact and for a column of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

OK = "ok"

CONTACT_VERDICTS = {
    OK: ("Can be used as it is or after cleaning.", ""),
    "absent": ("No event carried one.", "Add it to the connection's Customized setup in Engage."),
    "email_invalid": ("Not the form of an email address.", "Correct it at its source."),
    "phone_not_a_number": ("Not a phone number.", "Correct it at its source."),
    "phone_spreadsheet_damage": (
        "Scientific notation: a spreadsheet destroyed the digits.",
        "Export the column as text.",
    ),
    "phone_too_short": ("Too few digits for its country.", "Correct it at its source."),
    "phone_too_long": (
        "Too many digits for its country.",
        "Correct it at its source; write numbers of other countries with + and their country code.",
    ),
    "phone_unknown_country": (
        "No such country code.",
        "Write the number with + and its country code.",
    ),
    "phone_local_only": (
        "Lacks the area code.",
        "Write the number with its area code.",
    ),
    "phone_impossible": ("No number of that country looks like this.", "Correct it at its source."),
}
"""Verdict code → what it means, and what to do."""

CODES = tuple(CONTACT_VERDICTS)
NUMBER = {code: number for number, code in enumerate(CODES)}
"""Verdict code → its place in CODES, by which columns hold it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was made of one contact."""

    code: str
    """A key of CONTACT_VERDICTS."""
    value: str | None
    """The contact in its standard form (E.164 phone, lower-case email); None unless the code is ok."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What was made of some contacts of a column."""

    rows: np.ndarray
    """Their places in the column."""
    codes: np.ndarray
    """Verdicts, as places in CODES."""
    values: pa.Array
    """Standard forms; null unless the verdict is ok."""


def refused(rows: np.ndarray, code: str) -> Judged:
    """Return one verdict, which is not ok, for all *rows*."""
    codes = np.full(len(rows), NUMBER[code], np.int8)
    return Judged(rows=rows, codes=codes, values=pa.nulls(len(rows), pa.large_string()))
