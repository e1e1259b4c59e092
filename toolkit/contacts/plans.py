"""Numbering plans: what libphonenumber's data says of a country, in the form that columns are judged by.

Read from the installed phonenumbers when first asked for, so a newer one is followed as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

from .spelling import to_numpy
from .verdicts import NUMBER, OK

LONGEST = 17
"""Digits of the longest national number that libphonenumber reads."""

# Read alike by Python's re and Arrow's RE2: digits, classes of them, groups, choices, counts; no lookaround.
_SHARED = re.compile(r"(?:\\d|[0-9]|\[[0-9-]+\]|\(\?:|[()|?$]|\{[0-9]{1,2}(?:,[0-9]{1,2})?\})*")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
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
def plan_of_region(region: str) -> Plan | None:
    """Return the plan of a region; None when its patterns are not of the plain kind."""
    return read_plan(phonenumbers.PhoneMetadata.metadata_for_region(region, None))


@lru_cache(maxsize=512)
def plan_of_code(country_code: int) -> Plan | None:
    """Return the plan by which numbers with a country code are judged: that of its main region."""
    main = phonenumbers.region_code_for_country_code(country_code)
    return read_plan(phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(country_code, main))


@lru_cache(maxsize=1)
def codes_by_start() -> np.ndarray:
    """Return the country code that each three digits, 000 to 999, start with; 0 where there is none."""
    starts = np.zeros(1000, np.int16)
    for number in range(100, 1000):
        choices = (int(str(number)[:digits]) for digits in (1, 2, 3))
        starts[number] = next((c for c in choices if c in phonenumbers.COUNTRY_CODE_TO_REGION_CODE), 0)
    return starts


def country_codes(digits: pa.Array) -> np.ndarray:
    """Return the country code that each, three digits or more, starts with; 0 when it is none."""
    starts = to_numpy(pc.utf8_slice_codeunits(digits, 0, 3).cast(pa.int16()))
    return np.asarray(codes_by_start()[starts])


def read_plan(metadata: Any) -> Plan | None:
    """Return libphonenumber's data on a region as a plan; None when some of it is not of the plain kind."""
    numbers = metadata.general_desc
    prefix, abroad = metadata.national_prefix_for_parsing or "", metadata.international_prefix or ""
    patterns = (numbers.national_number_pattern or "", prefix, abroad)
    digits = {*numbers.possible_length, *numbers.possible_length_local_only}
    # The parser's own limits are 2 and LONGEST: within them they add nothing.
    if not patterns[0] or not all(map(is_shared, patterns)) or min(digits) < 2 or max(digits) > LONGEST:
        return None
    return Plan(
        country_code=metadata.country_code,
        national=patterns[0],
        prefix=prefix,
        rewrite=metadata.national_prefix_transform_rule or "",
        abroad=abroad,
        lengths=np.array([NUMBER[_judge_length(numbers, n)] for n in range(LONGEST + 2)], np.int8),
    )


def is_shared(pattern: str) -> bool:
    """Tell whether re and RE2 read a pattern alike, and RE2 does not find it too big."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return _SHARED.fullmatch(pattern) is not None


def _judge_length(numbers: Any, digits: int) -> str:
    if digits in numbers.possible_length_local_only:
        return "phone_local_only"
    if digits in numbers.possible_length:
        return OK
    if digits < min(numbers.possible_length):
        return "phone_too_short"
    return "phone_too_long" if digits > max(numbers.possible_length) else "phone_impossible"
