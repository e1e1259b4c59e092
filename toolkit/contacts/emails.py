"""Judge plainly written emails by the column; `single.check_email` is the authority on all.

Plain is printable ASCII without encoded labels. What email-validator, as it is called there, asks of that
comes to one pattern and a list of reserved domains, for quotes, brackets and names beside an address are
not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import email_validator
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .verdicts import NUMBER, OK, Judged, refused

_ATOM = r"[a-z0-9_!#$%&'*+\-/=?^`{|}~]+"
_VALID = rf"^{_ATOM}(?:\.{_ATOM})*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+(?:[a-z0-9]+-)*[a-z0-9]*[a-z]$"
_PLAIN = "^[ -~]+$"
# An encoded label, or a forbidden one; the only domain that may lack a dot; a label that may be too long.
_NOT_PLAIN = "--|@test$|[a-z0-9-]{64}"
_PLAIN_BYTES = 254
"""The longest address there can be; a domain may have one less."""


def judge_emails(raw: pa.Array) -> Iterator[Judged]:
    """Yield the verdicts on the plainly written addresses of *raw*; of other rows nothing is said.

    *raw* is large_string without nulls.
    """
    lower = pc.ascii_lower(pc.utf8_trim(raw, " \t\n\r"))
    valid = _matches(lower, _VALID)
    plain = (valid | _matches(lower, _PLAIN)) & ~_matches(lower, _NOT_PLAIN)
    plain &= np.asarray(pc.binary_length(lower)) <= _PLAIN_BYTES
    good = plain & valid & ~_matches(lower, _reserved())
    rows = np.flatnonzero(good)
    codes = np.full(len(rows), NUMBER[OK], np.int8)
    yield Judged(rows=rows, codes=codes, values=lower.filter(pa.array(good)))
    yield refused(np.flatnonzero(plain & ~good), "email_invalid")


def _reserved() -> str:
    """Return the pattern of addresses in reserved domains; programs may change the library's list of them."""
    names = (name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name != "test")
    return rf"[@.](?:{'|'.join(map(re.escape, names))})$"


def _matches(texts: pa.Array, pattern: str) -> np.ndarray:
    return np.asarray(pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False))
