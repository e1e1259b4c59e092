"""Numbering plans: libphonenumber's data on a country, in the form in which columns are judged and sorted.

Read from the installed phonenumbers when first needed, so a newer one is followed as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from toolkit.frames import byte_lengths, encode, matches, numbers

from .checks import NUMBER, OK

LONGEST = 17
"""Digits of the longest national number that libphonenumber reads."""

_TRIED = ["premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail"]
"""libphonenumber's names of the first kinds below, in the order in which it tries their patterns."""
TEXTING = {
    "premium rate": "A business line, not a person's mobile.",
    "toll free": "A business line, not a person's mobile.",
    "shared cost": "A business line, not a person's mobile.",
    "VoIP": "Internet phone: some get texts.",
    "personal number": "Forwards calls; texts may not follow.",
    "pager": "A pager.",
    "company number": "A business line, not a person's mobile.",
    "voicemail": "A mailbox for calls.",
    "mobile": "Can get texts.",
    "fixed line or mobile": "Can get texts if it is a mobile; the number does not show which it is.",
    "fixed line": "Landlines rarely get texts.",
    "unknown": "The length is right, but no such numbers are given out: look for a typing mistake.",
}
"""Kind of number → what that means for texting."""
KINDS = tuple(TEXTING)
_UNKNOWN = KINDS.index("unknown")

# Read alike by Python's re and Arrow's RE2: digits, classes of them, groups, choices, counts; no lookaround.
_SHARED = re.compile(r"(?:\\d|[0-9]|\[[0-9-]+\]|\(\?:|[()|?$]|\{[0-9]{1,2}(?:,[0-9]{1,2})?\})*")
_NORTH_AMERICA = re.compile(r"1?[2-9]\d\d[2-9]\d{6}")
_TRUNK = re.compile(r"0[1-9]\d{8,10}")


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberingPlan:
    """The numbers of one country; patterns are such that re and RE2 find the same in them."""

    country_code: int
    national: str
    """Pattern of a whole national number, without prefixes."""
    prefix: str
    """Pattern of what is dialled before a national number; empty when nothing is."""
    rewrite: str
    """Replacement for the prefix when its last group took part; empty when it is just left out."""
    abroad: str
    """Pattern of what is dialled before another country's code; empty when unknown."""
    lengths: np.ndarray
    """Verdict on a national number by its digits, 0 to LONGEST + 1, as places in CODES."""


@lru_cache(maxsize=512)
def plan_of_region(region: str) -> NumberingPlan | None:
    """Return the plan of a region; None when its patterns are not of the plain kind."""
    return read_plan(PhoneMetadata.metadata_for_region(region, None))


@lru_cache(maxsize=512)
def plan_of_code(country_code: int) -> NumberingPlan | None:
    """Return the plan by which numbers with a country code are judged: that of its main region."""
    main = phonenumbers.region_code_for_country_code(country_code)
    return read_plan(PhoneMetadata.metadata_for_region_or_calling_code(country_code, main))


def read_plan(metadata: Any) -> NumberingPlan | None:
    """Return libphonenumber's data on a region as a plan; None when some of it is not of the plain kind."""
    general = metadata.general_desc
    prefix, abroad = metadata.national_prefix_for_parsing or "", metadata.international_prefix or ""
    patterns = (general.national_number_pattern or "", prefix, abroad)
    digits = {*general.possible_length, *general.possible_length_local_only}
    # The parser's own limits are 2 and LONGEST: within them they add nothing.
    if not patterns[0] or not all(map(is_shared, patterns)) or min(digits) < 2 or max(digits) > LONGEST:
        return None
    return NumberingPlan(
        country_code=metadata.country_code,
        national=patterns[0],
        prefix=prefix,
        rewrite=metadata.national_prefix_transform_rule or "",
        abroad=abroad,
        lengths=np.array([NUMBER[_judge_length(general, n)] for n in range(LONGEST + 2)], np.int8),
    )


def is_shared(pattern: str) -> bool:
    """Return whether re and RE2 read a pattern alike, and RE2 does not find it too big."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return _SHARED.fullmatch(pattern) is not None


def _judge_length(general: Any, digits: int) -> str:
    if digits in general.possible_length_local_only:
        return "phone_local_only"
    if digits in general.possible_length:
        return OK
    if digits < min(general.possible_length):
        return "phone_too_short"
    return "phone_too_long" if digits > max(general.possible_length) else "phone_impossible"


# --- country codes -----------------------------------------------------------------------------------------


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


@lru_cache(maxsize=1)
def codes_by_start() -> np.ndarray:
    """Return the country code that each three digits, 000 to 999, start with; 0 where there is none."""
    starts = np.zeros(1000, np.int16)
    for number in range(100, 1000):
        choices = (int(str(number)[:digits]) for digits in (1, 2, 3))
        starts[number] = next((code for code in choices if code in COUNTRY_CODE_TO_REGION_CODE), 0)
    return starts


def can_be_dialled(digits: str) -> bool:
    """Return whether bare digits are a phone: of North America, with a 0 in front, or with a country code.

    >>> can_be_dialled("4155550123"), can_be_dialled("447700900123"), can_be_dialled("1000234567")
    (True, True, False)
    """
    if _NORTH_AMERICA.fullmatch(digits) or _TRUNK.fullmatch(digits):
        return True
    abroad = digits.removeprefix("00")
    pattern = _pattern_of(abroad[:3]) if 10 <= len(abroad) <= 15 else None
    return pattern is not None and pattern.fullmatch(abroad) is not None


@lru_cache(maxsize=1024)
def _pattern_of(start: str) -> re.Pattern[str] | None:
    """Return the pattern of the numbers, with their country code, that begin with three digits."""
    code = int(codes_by_start()[int(start)])
    plan = plan_of_code(code) if code else None
    return re.compile(rf"{code}(?:{plan.national})") if plan else None


def country_codes(digits: pa.Array) -> np.ndarray:
    """Return the country code that each, three digits or more, starts with; 0 when it is none."""
    starts = numbers(pc.utf8_slice_codeunits(digits, 0, 3).cast(pa.int16()))
    return np.asarray(codes_by_start()[starts])


def by_code(digits: pa.Array, codes: np.ndarray) -> Iterator[tuple[int, np.ndarray, pa.Array]]:
    """Yield each country code with the places of its numbers, and these without it."""
    order = np.argsort(codes, kind="stable")
    groups = zip(*np.unique(codes[order], return_index=True, return_counts=True), strict=True)
    for code, start, count in groups:
        places = order[start : start + count]
        yield int(code), places, pc.utf8_slice_codeunits(digits.take(pa.array(places)), len(str(code)))


# --- kinds of numbers --------------------------------------------------------------------------------------


def sort_numbers(phones: pa.Array) -> pd.DataFrame:
    """Return the code, region and kind of each E.164 number (large_string, no nulls), as libphonenumber does.

    Columns: ``code`` (country calling code, as text), ``region`` (001 for numbers of no country, empty when
    none is found), ``kind`` (one of KINDS).
    """
    each, distinct = encode(phones)
    digits = pc.utf8_slice_codeunits(distinct, 1)
    codes = country_codes(digits)
    regions, kinds = np.full(len(digits), "", object), np.full(len(digits), _UNKNOWN, np.int8)
    for code, places, national in by_code(digits, codes):
        for region, own, found in _kinds_by_region(code, national):
            regions[places[own]], kinds[places[own]] = region, found
    columns = {"code": codes.astype("str"), "region": regions, "kind": np.array(KINDS)[kinds]}
    return pd.DataFrame({name: column[each] for name, column in columns.items()}, dtype="str")


def _kinds_by_region(code: int, national: pa.Array) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each region of a country code with the places and the kinds of its own numbers."""
    rest = np.arange(len(national))
    regions = COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    for region in regions:
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        left = national.take(pa.array(rest))
        kinds = _kinds_in(metadata, left)
        if len(regions) == 1:
            own = np.ones(len(rest), np.bool_)
        elif metadata is not None and metadata.leading_digits is not None:
            own = _found(left, metadata.leading_digits)
        else:
            own = kinds != _UNKNOWN
        yield region, rest[own], kinds[own]
        rest = rest[~own]


def _kinds_in(metadata: PhoneMetadata | None, national: pa.Array) -> np.ndarray:
    """Return the kind of each national number by the patterns of a region, as places in KINDS."""
    if metadata is None:
        return np.full(len(national), _UNKNOWN, np.int8)
    fixed, same = _fits(national, metadata.fixed_line), metadata.same_mobile_and_fixed_line_pattern
    mobile = fixed if same else _fits(national, metadata.mobile)
    names = ("unknown", "fixed line", "mobile", "fixed line or mobile")
    kinds: np.ndarray = np.array([*map(KINDS.index, names)])[fixed + 2 * mobile]
    for kind, name in reversed([*enumerate(_TRIED)]):  # the first that fits decides
        kinds[_fits(national, getattr(metadata, name))] = kind
    kinds[~_fits(national, metadata.general_desc)] = _UNKNOWN
    return kinds


def _fits(national: pa.Array, description: Any) -> np.ndarray:
    """Return which numbers have a length and the form of a kind of number."""
    if description is None or not description.national_number_pattern:
        return np.zeros(len(national), np.bool_)
    fits = np.ones(len(national), np.bool_)
    if description.possible_length:
        fits &= np.isin(byte_lengths(national), description.possible_length)
    if fits.any():
        fits &= _found(national, description.national_number_pattern, "$")
    return fits


def _found(texts: pa.Array, pattern: str, end: str = "") -> np.ndarray:
    """Return which texts begin with a pattern of libphonenumber's, and go on with *end*."""
    whole = f"^(?:{pattern}){end}"
    if is_shared(pattern):
        return matches(texts, whole)
    return np.array([re.search(whole, text) is not None for text in texts.to_pylist()], np.bool_)
