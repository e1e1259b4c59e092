"""Judge plainly written phones by the column: the steps of libphonenumber, each for all numbers at once.

`single.check_phone` is the authority, and judges what is not plainly written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .plans import LONGEST, Plan, country_codes, plan_of_code, plan_of_region
from .spelling import Numbers, lengths, matches, read_plain, to_numpy
from .verdicts import NUMBER, OK, Judged, refused

_TEXT = pa.large_string()


def judge_phones(raw: pa.Array, region: str) -> Iterator[Judged]:
    """Yield the verdicts on the plainly written numbers of *raw*; of other rows nothing is said.

    *raw* is large_string without nulls, *region* as check_region() returns it.
    """
    home = plan_of_region(region)
    numbers, plus = read_plain(raw)
    if home is None or not len(numbers.rows):
        return
    codes = np.where(plus, country_codes(numbers.digits), 0)
    yield from _with_codes(numbers.where(codes > 0), codes[codes > 0])
    rest, plus = numbers.where(codes == 0), plus[codes == 0]
    # What is no code after a plus may still be dialled abroad: +011 44 ...
    abroad = _begins(rest.digits, home.abroad)
    dialled = rest.where(abroad)
    after = Numbers(rows=dialled.rows, digits=_cut(dialled.digits, home.abroad))
    begins_code = ~to_numpy(pc.starts_with(after.digits, "0"))
    yield from _dialled_abroad(after.where(begins_code))
    abroad[abroad] = begins_code
    yield refused(rest.rows[plus & ~abroad], "phone_unknown_country")
    yield from _dialled_at_home(rest.where(~plus & ~abroad), home)


def _with_codes(numbers: Numbers, codes: np.ndarray) -> Iterator[Judged]:
    """Judge numbers that start with the country *codes* found in them, country by country."""
    order = np.argsort(codes, kind="stable")
    rows, digits = numbers.rows[order], numbers.digits.take(pa.array(order))
    groups = zip(*np.unique(codes[order], return_index=True, return_counts=True), strict=True)
    for code, start, count in groups:
        plan = plan_of_code(int(code))
        if plan is not None:
            national = pc.utf8_slice_codeunits(digits.slice(start, count), len(str(code)))
            yield _settle(Numbers(rows=rows[start : start + count], digits=national), plan, plan)


def _dialled_abroad(numbers: Numbers) -> Iterator[Judged]:
    """Judge what follows a prefix dialled abroad: a country code and a number."""
    short = lengths(numbers.digits) <= 2
    yield refused(numbers.rows[short], "phone_too_short")
    numbers = numbers.where(~short)
    codes = country_codes(numbers.digits)
    yield refused(numbers.rows[codes == 0], "phone_unknown_country")
    yield from _with_codes(numbers.where(codes > 0), codes[codes > 0])


def _dialled_at_home(numbers: Numbers, home: Plan) -> Iterator[Judged]:
    """Judge numbers of the region itself, which may start with its country code all the same."""
    main = plan_of_code(home.country_code)
    if main is None:
        return
    coded = to_numpy(pc.starts_with(numbers.digits, str(home.country_code)))
    maybe = numbers.where(coded)
    inner = _without_prefix(pc.utf8_slice_codeunits(maybe.digits, len(str(home.country_code))), home)
    better = ~_is_national(maybe.digits, home) & _is_national(inner, home)
    taken = better | (_by_length(maybe.digits, home) == NUMBER["phone_too_long"])
    yield _settle(Numbers(rows=maybe.rows, digits=inner).where(taken), main, main)
    coded[coded] = taken
    yield _settle(numbers.where(~coded), home, main)


def _settle(numbers: Numbers, plan: Plan, main: Plan) -> Judged:
    """Judge national numbers: cut their prefix by *plan*, look at their length by the code's *main* plan."""
    national = cut = _without_prefix(numbers.digits, plan)
    if cut is not numbers.digits:
        judged = _by_length(cut, plan)
        used = (judged == NUMBER[OK]) | (judged == NUMBER["phone_too_long"])
        national = pc.if_else(pa.array(used & (lengths(numbers.digits) >= 2)), cut, numbers.digits)
    codes = _by_length(national, main)
    e164 = pc.binary_join_element_wise(
        pa.scalar(f"+{main.country_code}", _TEXT), national, pa.scalar("", _TEXT)
    )
    values = pc.if_else(pa.array(codes == NUMBER[OK]), e164, pa.scalar(None, _TEXT))
    return Judged(rows=numbers.rows, codes=codes, values=values)


def _without_prefix(digits: pa.Array, plan: Plan) -> pa.Array:
    """Leave national prefixes out, or rewrite them, except where that would spoil a good number."""
    begins = _begins(digits, plan.prefix)
    if not begins.any():
        return digits
    before = digits.filter(pa.array(begins))
    after = _rewrite(before, plan) if plan.rewrite else _cut(before, plan.prefix)
    spoilt = _is_national(before, plan) & ~_is_national(after, plan)
    return pc.replace_with_mask(digits, pa.array(begins), pc.if_else(pa.array(spoilt), before, after))


def _rewrite(digits: pa.Array, plan: Plan) -> pa.Array:
    """Rewrite national prefixes one by one, for RE2 does not tell whether their last group took part."""
    prefix = re.compile(plan.prefix)

    def replacement(found: re.Match[str]) -> str:
        return "" if found[prefix.groups] is None else found.expand(plan.rewrite)

    return pa.array([prefix.sub(replacement, number, count=1) for number in digits.to_pylist()], _TEXT)


def _by_length(national: pa.Array, plan: Plan) -> np.ndarray:
    return np.asarray(plan.lengths[np.minimum(lengths(national), LONGEST + 1)])


def _is_national(digits: pa.Array, plan: Plan) -> np.ndarray:
    return matches(digits, f"^(?:{plan.national})$")


def _begins(digits: pa.Array, prefix: str) -> np.ndarray:
    return matches(digits, f"^(?:{prefix})") if prefix else np.zeros(len(digits), np.bool_)


def _cut(digits: pa.Array, prefix: str) -> pa.Array:
    return pc.replace_substring_regex(digits, f"^(?:{prefix})", "", max_replacements=1) if prefix else digits
