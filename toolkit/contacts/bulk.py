"""Judge the contacts of many people: distinct ones, the plain by the column, the rest one by one.

`checks` is the authority. A phone is plain where libphonenumber takes it for digits and nothing else: no
other scripts, no letters, one plus at most. Its steps are taken here, each for all numbers at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import email_validator
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import (
    SURROGATE,
    TEXT,
    byte_lengths,
    check_columns,
    encode,
    matches,
    numbers,
    put_together,
)

from .checks import CODES, NUMBER, OK, Verdict, check_email, check_phone, check_region
from .numbering_plans import (
    LONGEST,
    NumberingPlan,
    by_code,
    country_codes,
    digits_of,
    plan_of_code,
    plan_of_region,
)

BATCH = 1 << 16
"""People whose contacts are judged at once, which bounds the memory for it."""

Judged: TypeAlias = tuple[np.ndarray, Any, Any]
"""Rows of a column, their verdicts as places in CODES, and their standard forms, None unless ok."""

_NAMES = pa.array(CODES, TEXT)
_GIVEN = ("person", "email", "phone")
_CLEAN = ("email_clean", "phone_e164")
_JUDGED = pa.schema(dict.fromkeys((*_GIVEN, "email_code", "phone_code", *_CLEAN), TEXT))
CONTACT_COLUMNS = (*_GIVEN, *_CLEAN)
"""The columns by which people are found: part of what check_contacts() returns."""

_ATOM = r"[a-z0-9_!#$%&'*+\-/=?^`{|}~]+"
_VALID = rf"^{_ATOM}(?:\.{_ATOM})*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+(?:[a-z0-9]+-)*[a-z0-9]*[a-z]$"
_PLAIN = "^[ -~]+$"
# An encoded label, or a forbidden one; the only domain that may lack a dot; a label that may be too long.
_NOT_PLAIN = "--|@test$|[a-z0-9-]{64}"
_LONGEST_EMAIL = 254

# libphonenumber drops what stands before the first digit or plus, except that ";" may start a parameter.
_PLAIN_PHONE = r"^[^0-9+;\x80-\x{10FFFF}]*\+?[0-9 ()./\-\x{A0}\x{2010}-\x{2015}]*[\t\n\r ]*$"
_LONGEST_PHONE = 100
_FEWEST_DIGITS = 3
"""So many are needed to find a country code; libphonenumber judges fewer."""
_TAIL = r"^(?:([\t\n\r ]*\+?[0-9]{7,15})\.0+[\t\n\r ]*|([^x]*) (?:x|ext\.) ?[0-9]{1,7})$"
"""A float's fraction, or an extension: what stands before it is kept."""
_FLOAT_LIKE = r"^[^0-9+]*\+?[0-9]{7,15}\.0+[^0-9]*$"


def check_contacts(people: pd.DataFrame, *, default_region: str = "US") -> pd.DataFrame:
    """Judge the contacts of people, those that are alike together.

    *people* have the columns ``person``, ``email`` and ``phone`` (text as the events had it; null when
    absent). *default_region* is the country in which numbers without a country code are read, two letters;
    ParameterError is raised when it is unknown, or a column is missing. Returned is one row per person, in
    the order given, with these columns and ``email_code``, ``phone_code`` (keys of CONTACT_VERDICTS),
    ``email_clean`` (lower case), ``phone_e164``; the last two null unless the code is ``ok``.

    >>> people = pd.DataFrame({"person": ["user:1"], "email": [None], "phone": ["415-555-0100"]})
    >>> check_contacts(people)["phone_e164"].tolist()
    ['+14155550100']
    """
    region = check_region(default_region)
    check_columns(people, _GIVEN, of="people")
    given = pa.table({name: _text(people[name]) for name in _GIVEN}, pa.schema(dict.fromkeys(_GIVEN, TEXT)))
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
    places, raw = encode(texts)  # -1 for null: the last place, which is no text's
    codes, values = np.full(len(raw) + 1, -1, np.int8), np.full(len(raw) + 1, None, object)
    codes[-1] = NUMBER["absent"]
    for rows, judged, forms in bulk(raw):
        codes[rows], values[rows] = judged, forms
    for row in np.flatnonzero(codes < 0).tolist():
        verdict = single(raw[row].as_py())
        codes[row], values[row] = NUMBER[verdict.code], verdict.value
    return _NAMES.take(pa.array(codes[places])), pa.array(values, TEXT).take(pa.array(places % len(values)))


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
    yield np.flatnonzero(good), NUMBER[OK], _objects(lower.filter(pa.array(good)))
    yield np.flatnonzero(plain & ~good), NUMBER["email_invalid"], None


def _objects(texts: pa.Array) -> np.ndarray:
    return np.asarray(texts.to_numpy(zero_copy_only=False))


def _reserved() -> str:
    """Return the pattern of addresses in reserved domains; programs may change the library's list of them."""
    names = (name for name in email_validator.SPECIAL_USE_DOMAIN_NAMES if name != "test")
    return rf"[@.](?:{'|'.join(map(re.escape, names))})$"


# --- phones ------------------------------------------------------------------------------------------------


def judge_phones(raw: pa.Array, region: str) -> Iterator[Judged]:
    """Yield the verdicts on the plainly written numbers of *raw*; other rows are left out.

    *raw* is large_string without nulls, *region* as check_region() returns it.
    """
    home = plan_of_region(region)
    if home is None:
        return
    rows, texts = _plain_phones(raw)
    digits = digits_of(texts)
    from_abroad = numbers(pc.match_substring(texts, "+"))
    dialled = ~from_abroad & _begins(digits, home.abroad)
    if dialled.any():  # what follows is a country code, as after a plus
        after = _cut(digits.filter(pa.array(dialled)), home.abroad)
        digits = pc.replace_with_mask(digits, pa.array(dialled), after)
        from_abroad |= dialled
    enough = byte_lengths(digits) >= _FEWEST_DIGITS
    coded, local = enough & from_abroad, enough & ~from_abroad
    yield from _judge_with_code(rows[coded], digits.filter(pa.array(coded)))
    yield from _judge_at_home(rows[local], digits.filter(pa.array(local)), home)


def _plain_phones(raw: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return the plainly written rows, without extension and the .0 of numbers from a float column."""
    texts = pc.replace_substring_regex(raw, _TAIL, r"\1\2")
    # A float with odd spaces around it is left out.
    plain = (
        matches(texts, _PLAIN_PHONE) & ~matches(texts, _FLOAT_LIKE) & (byte_lengths(raw) <= _LONGEST_PHONE)
    )
    return np.flatnonzero(plain), texts.filter(pa.array(plain))


def _judge_with_code(rows: np.ndarray, digits: pa.Array) -> Iterator[Judged]:
    """Judge numbers that begin with a country code, country by country; where there is none they are left."""
    for code, places, national in by_code(digits, country_codes(digits)):
        plan = plan_of_code(code) if code else None
        if plan is not None:
            yield _settle(rows[places], national, plan, plan)


def _judge_at_home(rows: np.ndarray, digits: pa.Array, home: NumberingPlan) -> Iterator[Judged]:
    """Judge numbers of the region itself, which may start with its country code all the same."""
    main = plan_of_code(home.country_code)
    if main is None:
        return
    code = str(home.country_code)
    coded = np.flatnonzero(numbers(pc.starts_with(digits, code)))
    maybe = digits.take(pa.array(coded))
    inner = _without_prefix(pc.utf8_slice_codeunits(maybe, len(code)), home)
    taken = ~_is_national(maybe, home) & _is_national(inner, home)
    taken |= _by_length(maybe, home) == NUMBER["phone_too_long"]
    yield _settle(rows[coded[taken]], inner.filter(pa.array(taken)), main, main)
    rest = np.ones(len(rows), np.bool_)
    rest[coded[taken]] = False
    yield _settle(rows[rest], digits.filter(pa.array(rest)), home, main)


def _settle(rows: np.ndarray, digits: pa.Array, plan: NumberingPlan, main: NumberingPlan) -> Judged:
    """Judge national numbers: cut their prefix by *plan*, look at their length by the code's *main* plan."""
    national = cut = _without_prefix(digits, plan)
    if cut is not digits:
        judged = _by_length(cut, plan)
        used = (judged == NUMBER[OK]) | (judged == NUMBER["phone_too_long"])
        national = pc.if_else(pa.array(used & (byte_lengths(digits) >= 2)), cut, digits)
    codes = _by_length(national, main)
    e164 = put_together(f"+{main.country_code}", national)
    return rows, codes, _objects(pc.if_else(pa.array(codes == NUMBER[OK]), e164, pa.scalar(None, TEXT)))


def _without_prefix(digits: pa.Array, plan: NumberingPlan) -> pa.Array:
    """Leave national prefixes out, or rewrite them, except where that would spoil a good number."""
    begins = _begins(digits, plan.prefix)
    if not begins.any():
        return digits
    before = digits.filter(pa.array(begins))
    after = _cut(before, plan.prefix, plan.rewrite)
    spoilt = _is_national(before, plan) & ~_is_national(after, plan)
    return pc.replace_with_mask(digits, pa.array(begins), pc.if_else(pa.array(spoilt), before, after))


def _cut(digits: pa.Array, prefix: str, rewrite: str = "") -> pa.Array:
    """Leave out the prefix that all begin with; where its last group took part, *rewrite* it."""
    if not rewrite:
        return pc.replace_substring_regex(digits, f"^(?:{prefix})", "", max_replacements=1)
    # One by one: RE2 does not show whether a group took part.
    pattern = re.compile(prefix)

    def instead(found: re.Match[str]) -> str:
        return "" if found[pattern.groups] is None else found.expand(rewrite)

    return pa.array([pattern.sub(instead, number, count=1) for number in digits.to_pylist()], TEXT)


def _by_length(national: pa.Array, plan: NumberingPlan) -> np.ndarray:
    return np.asarray(plan.lengths[np.minimum(byte_lengths(national), LONGEST + 1)])


def _is_national(digits: pa.Array, plan: NumberingPlan) -> np.ndarray:
    return matches(digits, f"^(?:{plan.national})$")


def _begins(digits: pa.Array, prefix: str) -> np.ndarray:
    return matches(digits, f"^(?:{prefix})") if prefix else np.zeros(len(digits), np.bool_)
