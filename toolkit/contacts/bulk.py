"""Judge the contacts of many people: distinct ones, the plain by the column, the rest one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import email_validator
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import SURROGATE, byte_lengths, check_columns, matches

from .checks import CODES, NUMBER, OK, Verdict, check_email, check_phone, check_region
from .phones import Judged, judge_phones, refused

BATCH = 1 << 16
"""People whose contacts are judged at once, which bounds the memory for it."""

_TEXT = pa.large_string()
_NAMES = pa.array(CODES, _TEXT)
_GIVEN = ("person", "email", "phone")
_CLEAN = ("email_clean", "phone_e164")
_JUDGED = pa.schema(dict.fromkeys((*_GIVEN, "email_code", "phone_code", *_CLEAN), _TEXT))
CONTACT_COLUMNS = (*_GIVEN, *_CLEAN)
"""The columns by which people are found: part of what check_contacts() returns."""

_ATOM = r"[a-z0-9_!#$%&'*+\-/=?^`{|}~]+"
_VALID = rf"^{_ATOM}(?:\.{_ATOM})*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+(?:[a-z0-9]+-)*[a-z0-9]*[a-z]$"
_PLAIN = "^[ -~]+$"
# An encoded label, or a forbidden one; the only domain that may lack a dot; a label that may be too long.
_NOT_PLAIN = "--|@test$|[a-z0-9-]{64}"
_LONGEST_EMAIL = 254


def check_contacts(people: pd.DataFrame, *, default_region: str = "US") -> pd.DataFrame:
    """Judge the contacts of people, those that are alike together.

    Parameters
    ----------
    people
        Columns ``person``, ``email``, ``phone`` (text as the events had it; null when absent).
    default_region
        Country in which numbers without a country code are read, two letters.

    Returns
    -------
    DataFrame
        One row per person, in the order given. Columns: ``person``, ``email``, ``phone`` (as given),
        ``email_code``, ``phone_code`` (keys of CONTACT_VERDICTS), ``email_clean`` (lower case),
        ``phone_e164``; both null unless the code is ``ok``.

    Raises
    ------
    ParameterError
        The region is unknown, or a column is missing.

    Examples
    --------
    >>> people = pd.DataFrame({"person": ["user:1"], "email": [None], "phone": ["415-555-0100"]})
    >>> check_contacts(people)["phone_e164"].tolist()
    ['+14155550100']
    """
    region = check_region(default_region)
    check_columns(people, _GIVEN, of="people")
    given = pa.table({name: _text(people[name]) for name in _GIVEN}, pa.schema(dict.fromkeys(_GIVEN, _TEXT)))
    batches = given.combine_chunks().to_batches(max_chunksize=BATCH)
    judged = [_judge_batch(batch, region) for batch in batches]
    return pa.Table.from_batches(judged, _JUDGED).to_pandas().set_axis(people.index)


def _text(column: pd.Series) -> pd.Series:
    """Return a column as text; U+FFFF, which is no character, for a lone surrogate, which no column holds."""
    try:
        return column.astype("str")
    except UnicodeEncodeError:
        clean = SURROGATE.sub
        return column.map(lambda raw: clean("\uffff", raw) if isinstance(raw, str) else raw).astype("str")


def _judge_batch(people: pa.RecordBatch, region: str) -> pa.RecordBatch:
    email_code, email_clean = _judge(people["email"], judge_emails, check_email)
    phone_code, phone_e164 = _judge(
        people["phone"], lambda raw: judge_phones(raw, region), lambda raw: check_phone(raw, region)
    )
    return pa.record_batch([*people, email_code, phone_code, email_clean, phone_e164], _JUDGED)


def _judge(
    texts: pa.Array, bulk: Callable[[pa.Array], Iterable[Judged]], single: Callable[[str], Verdict]
) -> tuple[pa.Array, pa.Array]:
    """Return code and standard form of each text: by *bulk* where that gives a verdict, else by *single*."""
    encoded = texts.dictionary_encode()
    raw = encoded.dictionary
    parts = list(bulk(raw))
    rest = np.ones(len(raw), np.bool_)
    for part in parts:
        rest[part.rows] = False
    parts.append(_judge_singly(raw, np.flatnonzero(rest), single))
    place = np.empty(len(raw), np.int64)
    place[np.concatenate([part.rows for part in parts])] = np.arange(len(raw))
    places = pa.array(place).take(encoded.indices)
    codes = pa.array(np.concatenate([part.codes for part in parts])).take(places)
    values = pa.concat_arrays([part.values for part in parts])
    return _NAMES.take(pc.fill_null(codes, NUMBER["absent"])), values.take(places)


def _judge_singly(raw: pa.Array, rows: np.ndarray, single: Callable[[str], Verdict]) -> Judged:
    verdicts = [single(text) for text in raw.take(pa.array(rows)).to_pylist()]
    codes = np.array([NUMBER[verdict.code] for verdict in verdicts], np.int8)
    return Judged(rows=rows, codes=codes, values=pa.array([v.value for v in verdicts], _TEXT))


def judge_emails(raw: pa.Array) -> Iterator[Judged]:
    """Yield the verdicts on the plainly written addresses of *raw*; other rows are left out.

    Plain is printable ASCII without encoded labels. Of that email-validator, as check_email() calls it, asks
    no more than one pattern and a list of reserved domains: quotes, brackets and names beside an address are
    not allowed. *raw* is large_string without nulls.
    """
    lower = pc.ascii_lower(pc.utf8_trim(raw, " \t\n\r"))
    valid = matches(lower, _VALID)
    plain = (valid | matches(lower, _PLAIN)) & ~matches(lower, _NOT_PLAIN)
    plain &= byte_lengths(lower) <= _LONGEST_EMAIL
    good = plain & valid & ~matches(lower, _reserved())
    rows = np.flatnonzero(good)
    codes = np.full(len(rows), NUMBER[OK], np.int8)
    yield Judged(rows=rows, codes=codes, values=lower.filter(pa.array(good)))
    yield refused(np.flatnonzero(plain & ~good), "email_invalid")


def _reserved() -> str:
    """Return the pattern of addresses in reserved domains; programs may change the library's list of them."""
    names = (name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name != "test")
    return rf"[@.](?:{'|'.join(map(re.escape, names))})$"
