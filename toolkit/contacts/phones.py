"""Judge plainly written phones by the column: the steps of libphonenumber, each for all numbers at once.

`checks.check_phone` is the authority, and judges what is not plainly written. Plain is what libphonenumber
takes for digits and nothing else, whatever stands before the first of them: no other scripts, no letters but
those of a usual extension, one plus at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.frames import byte_lengths, matches, numbers

from .checks import NUMBER, OK
from .plans import LONGEST, NumberingPlan, by_code, country_codes, plan_of_code, plan_of_region

_TEXT = pa.large_string()
# libphonenumber drops what stands before the first digit or plus, except that ";" may start a parameter.
_HEAD = r"^[^0-9+;\x80-\x{10FFFF}]*\+?[0-9 ()./\-\x{A0}\x{2010}-\x{2015}]*"
_PLAIN = rf"{_HEAD}[\t\n\r ]*$"
_PLAIN_BYTES = 100
_EXTENDED = rf"({_HEAD}[0-9]) *(?:[xX]|[eE]xt(?:ension)?|EXT)[.:]? *[0-9]{{1,9}}$"
_FLOAT = r"^([\t\n\r ]*\+?[0-9]{7,15})\.0+[\t\n\r ]*$"
_FLOAT_LIKE = r"^[^0-9+]*\+?[0-9]{7,15}\.0+[^0-9]*$"


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """The verdicts on some contacts of a column."""

    rows: np.ndarray
    """Their places in the column."""
    codes: np.ndarray
    """Verdicts, as places in CODES."""
    values: pa.Array
    """Standard forms; null unless the verdict is ok."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    """The digits of some rows of a column."""

    rows: np.ndarray
    """Their places in the column."""
    digits: pa.Array
    """ASCII digits alone."""

    def where(self, chosen: np.ndarray) -> Numbers:
        """Return the numbers for which *chosen* is true."""
        if chosen.all():
            return self
        return Numbers(rows=self.rows[chosen], digits=self.digits.filter(pa.array(chosen)))


def refused(rows: np.ndarray, code: str) -> Judged:
    """Return one verdict, which is not ok, for all *rows*."""
    codes = np.full(len(rows), NUMBER[code], np.int8)
    return Judged(rows=rows, codes=codes, values=pa.nulls(len(rows), _TEXT))


def judge_phones(raw: pa.Array, region: str) -> Iterator[Judged]:
    """Yield the verdicts on the plainly written numbers of *raw*; other rows are left out.

    *raw* is large_string without nulls, *region* as check_region() returns it.
    """
    home = plan_of_region(region)
    found, plus = _read_plain(raw)
    if home is None or not len(found.rows):
        return
    codes = np.where(plus, country_codes(found.digits), 0)
    yield from _with_codes(found.where(codes > 0), codes[codes > 0])
    rest, plus = found.where(codes == 0), plus[codes == 0]
    # What is no code after a plus may still be dialled abroad: +011 44 ...
    dialled = np.flatnonzero(_begins(rest.digits, home.abroad))
    after = _cut(rest.digits.take(pa.array(dialled)), home.abroad)
    is_code = ~numbers(pc.starts_with(after, "0"))
    yield from _dialled_abroad(Numbers(rows=rest.rows[dialled], digits=after).where(is_code))
    abroad = np.zeros(len(plus), np.bool_)
    abroad[dialled[is_code]] = True
    yield refused(rest.rows[plus & ~abroad], "phone_unknown_country")
    yield from _dialled_at_home(rest.where(~plus & ~abroad), home)


def digits_of(texts: pa.Array) -> pa.Array:
    """Return *texts* (large_string) with only their ASCII digits left, all bytes of all taken as one row."""
    _, offsets, data = texts.buffers()
    if not data:  # no letter in any of them
        return texts
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    kept = (letters >= ord("0")) & (letters <= ord("9"))
    before = np.concatenate(([0], np.cumsum(kept)))
    ends = pa.py_buffer(before[bounds - bounds[0]])
    return pa.LargeStringArray.from_buffers(len(texts), ends, pa.py_buffer(letters[kept]))


def _read_plain(raw: pa.Array) -> tuple[Numbers, np.ndarray]:
    """Return the numbers of the plainly written rows, three digits at least, and whether each has a plus."""
    short = byte_lengths(raw) <= _PLAIN_BYTES
    plain, tailed = matches(raw, _PLAIN) & short, numbers(pc.match_substring(raw, ".0"))
    chosen = [
        _select(raw, plain & ~tailed),
        _without_tails(*_select(raw, plain & tailed)),
        _without_extensions(*_select(raw, short & ~plain)),
    ]
    texts = pa.concat_arrays([texts for _, texts in chosen])
    found = Numbers(rows=np.concatenate([rows for rows, _ in chosen]), digits=digits_of(texts))
    enough = byte_lengths(found.digits) >= 3
    return found.where(enough), numbers(pc.match_substring(texts, "+"))[enough]


def _select(texts: pa.Array, chosen: np.ndarray) -> tuple[np.ndarray, pa.Array]:
    return np.flatnonzero(chosen), texts.filter(pa.array(chosen))


def _without_tails(rows: np.ndarray, texts: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Cut the .0 of numbers that went through a float column; leave out those with odd spaces around them."""
    clear = matches(texts, _FLOAT) | ~matches(texts, _FLOAT_LIKE)
    return rows[clear], pc.replace_substring_regex(texts.filter(pa.array(clear)), _FLOAT, r"\1")


def _without_extensions(rows: np.ndarray, texts: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Keep the numbers that are plain but for an extension, and cut that."""
    extended = matches(texts, _EXTENDED)
    return rows[extended], pc.replace_substring_regex(texts.filter(pa.array(extended)), _EXTENDED, r"\1")


def _with_codes(found: Numbers, codes: np.ndarray) -> Iterator[Judged]:
    """Judge numbers that start with the country *codes* found in them, country by country."""
    for code, places, national in by_code(found.digits, codes):
        plan = plan_of_code(code)
        if plan is not None:
            yield _settle(Numbers(rows=found.rows[places], digits=national), plan, plan)


def _dialled_abroad(found: Numbers) -> Iterator[Judged]:
    """Judge what follows a prefix dialled abroad: a country code and a number."""
    short = byte_lengths(found.digits) <= 2
    yield refused(found.rows[short], "phone_too_short")
    found = found.where(~short)
    codes = country_codes(found.digits)
    yield refused(found.rows[codes == 0], "phone_unknown_country")
    yield from _with_codes(found.where(codes > 0), codes[codes > 0])


def _dialled_at_home(found: Numbers, home: NumberingPlan) -> Iterator[Judged]:
    """Judge numbers of the region itself, which may start with its country code all the same."""
    main = plan_of_code(home.country_code)
    if main is None:
        return
    code = str(home.country_code)
    coded = np.flatnonzero(numbers(pc.starts_with(found.digits, code)))
    maybe = found.digits.take(pa.array(coded))
    inner = _without_prefix(pc.utf8_slice_codeunits(maybe, len(code)), home)
    taken = ~_is_national(maybe, home) & _is_national(inner, home)
    taken |= _by_length(maybe, home) == NUMBER["phone_too_long"]
    yield _settle(Numbers(rows=found.rows[coded], digits=inner).where(taken), main, main)
    rest = np.ones(len(found.rows), np.bool_)
    rest[coded[taken]] = False
    yield _settle(found.where(rest), home, main)


def _settle(found: Numbers, plan: NumberingPlan, main: NumberingPlan) -> Judged:
    """Judge national numbers: cut their prefix by *plan*, look at their length by the code's *main* plan."""
    national = cut = _without_prefix(found.digits, plan)
    if cut is not found.digits:
        judged = _by_length(cut, plan)
        used = (judged == NUMBER[OK]) | (judged == NUMBER["phone_too_long"])
        national = pc.if_else(pa.array(used & (byte_lengths(found.digits) >= 2)), cut, found.digits)
    codes = _by_length(national, main)
    e164 = pc.binary_join_element_wise(
        pa.scalar(f"+{main.country_code}", _TEXT), national, pa.scalar("", _TEXT)
    )
    values = pc.if_else(pa.array(codes == NUMBER[OK]), e164, pa.scalar(None, _TEXT))
    return Judged(rows=found.rows, codes=codes, values=values)


def _without_prefix(digits: pa.Array, plan: NumberingPlan) -> pa.Array:
    """Leave national prefixes out, or rewrite them, except where that would spoil a good number."""
    begins = _begins(digits, plan.prefix)
    if not begins.any():
        return digits
    before = digits.filter(pa.array(begins))
    after = _rewrite(before, plan) if plan.rewrite else _cut(before, plan.prefix)
    spoilt = _is_national(before, plan) & ~_is_national(after, plan)
    return pc.replace_with_mask(digits, pa.array(begins), pc.if_else(pa.array(spoilt), before, after))


def _rewrite(digits: pa.Array, plan: NumberingPlan) -> pa.Array:
    """Rewrite national prefixes one by one, for RE2 does not show whether their last group took part."""
    prefix = re.compile(plan.prefix)

    def replacement(found: re.Match[str]) -> str:
        return "" if found[prefix.groups] is None else found.expand(plan.rewrite)

    return pa.array([prefix.sub(replacement, number, count=1) for number in digits.to_pylist()], _TEXT)


def _by_length(national: pa.Array, plan: NumberingPlan) -> np.ndarray:
    return np.asarray(plan.lengths[np.minimum(byte_lengths(national), LONGEST + 1)])


def _is_national(digits: pa.Array, plan: NumberingPlan) -> np.ndarray:
    return matches(digits, f"^(?:{plan.national})$")


def _begins(digits: pa.Array, prefix: str) -> np.ndarray:
    return matches(digits, f"^(?:{prefix})") if prefix else np.zeros(len(digits), np.bool_)


def _cut(digits: pa.Array, prefix: str) -> pa.Array:
    return pc.replace_substring_regex(digits, f"^(?:{prefix})", "", max_replacements=1) if prefix else digits
