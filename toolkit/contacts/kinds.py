"""Countries and kinds of phone numbers, by the column: the steps of libphonenumber, each for all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc

from .plans import country_codes, is_shared
from .spelling import digits_of, lengths, matches, texts_of, to_numpy

TEXTING = {
    "mobile": "Can get texts.",
    "fixed line or mobile": "Can get texts if it is a mobile; the number does not tell.",
    "fixed line": "Landlines rarely get texts.",
    "toll free": "A business line, not a person's mobile.",
    "premium rate": "A business line, not a person's mobile.",
    "shared cost": "A business line, not a person's mobile.",
    "VoIP": "Internet phone: some get texts.",
    "personal number": "Forwards calls; texts may not follow.",
    "pager": "A pager.",
    "company number": "A business line, not a person's mobile.",
    "voicemail": "A mailbox for calls.",
    "unknown": "The length is right, but no such numbers are given out: look for a typing mistake.",
}
"""Kind of number → what that means for texting."""

KINDS = tuple(TEXTING)
_TYPES = {
    "premium rate": "premium_rate",
    "toll free": "toll_free",
    "shared cost": "shared_cost",
    "VoIP": "voip",
    "personal number": "personal_number",
    "pager": "pager",
    "company number": "uan",
    "voicemail": "voicemail",
}
"""Kind of number → libphonenumber's name of its pattern, in the order in which it asks."""
_NOWHERE = ""


def number_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count the usable phones by country and kind of number, the most frequent first.

    Parameters
    ----------
    contacts
        What check_contacts() returns.

    Returns
    -------
    DataFrame
        Columns: ``country`` (its two letters; ``+`` and the country code where the number belongs to none),
        ``kind`` (as libphonenumber sorts them), ``people``, ``share`` (0 to 1, of the usable phones),
        ``texting`` (what the kind means for it).

    Examples
    --------
    >>> from toolkit.contacts import check_contacts
    >>> people = pd.DataFrame({"person": ["u:1"], "email": [None], "phone": ["+44 7400 123456"]})
    >>> number_table(check_contacts(people))[["country", "kind", "people"]].values.tolist()
    [['GB', 'mobile', 1]]
    """
    phones = texts_of(contacts["phone_e164"].dropna())
    found = sort_numbers(phones)
    named = found.assign(country=found["region"].where(found["region"].str.len() == 2, "+" + found["code"]))
    table = named.groupby(["country", "kind"]).size().rename("people").reset_index()
    table = table.assign(
        share=(table["people"] / max(len(phones), 1)).round(4), texting=table["kind"].map(TEXTING)
    ).astype({"texting": "str"})
    order = ["people", "country", "kind"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)


def sort_numbers(phones: pa.Array) -> pd.DataFrame:
    """Return of each E.164 number (large_string, no nulls) its code, region and kind, as libphonenumber says.

    Columns: ``code`` (country calling code, as text), ``region`` (001 for numbers of no country, empty when
    none is found), ``kind`` (one of KINDS).
    """
    encoded = phones.dictionary_encode()
    digits = digits_of(encoded.dictionary)
    codes = country_codes(digits)
    regions, kinds = np.full(len(digits), _NOWHERE, object), np.zeros(len(digits), np.int8)
    order = np.argsort(codes, kind="stable")
    groups = zip(*np.unique(codes[order], return_index=True, return_counts=True), strict=True)
    for code, start, count in groups:
        rows = order[start : start + count]
        national = pc.utf8_slice_codeunits(digits.take(pa.array(rows)), len(str(code)))
        for region, chosen in _by_region(int(code), national):
            regions[rows[chosen]] = region
            kinds[rows[chosen]] = _kinds_in(int(code), region, national.filter(pa.array(chosen)))
    each = to_numpy(encoded.indices)
    columns = {
        "code": codes.astype("str")[each],
        "region": regions[each],
        "kind": np.array(KINDS)[kinds][each],
    }
    return pd.DataFrame(columns, dtype="str")


def _by_region(code: int, national: pa.Array) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each region of a country code with the numbers that are its own; those of none come last."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    rest = np.ones(len(national), np.bool_)
    if len(regions) == 1:
        yield regions[0], rest
        return
    for region in regions:
        own = rest.copy()
        own[rest] = _is_of(code, region, national.filter(pa.array(rest)))
        yield region, own
        rest &= ~own
    yield _NOWHERE, rest


def _is_of(code: int, region: str, national: pa.Array) -> np.ndarray:
    metadata = _metadata(code, region)
    if metadata is None:
        return np.zeros(len(national), np.bool_)
    if metadata.leading_digits is not None:
        return _found(national, metadata.leading_digits)
    return np.asarray(_kinds_in(code, region, national) != KINDS.index("unknown"))


def _kinds_in(code: int, region: str, national: pa.Array) -> np.ndarray:
    """Return the kind of each national number by the patterns of a region, as places in KINDS."""
    kinds = np.full(len(national), KINDS.index("unknown"), np.int8)
    metadata = _metadata(code, region)
    if metadata is None:
        return kinds
    open_rows = np.flatnonzero(_fits(national, metadata.general_desc))
    for kind, name in _TYPES.items():
        fits = _fits(national.take(pa.array(open_rows)), getattr(metadata, name))
        kinds[open_rows[fits]] = KINDS.index(kind)
        open_rows = open_rows[~fits]
    left = national.take(pa.array(open_rows))
    fixed, same = _fits(left, metadata.fixed_line), metadata.same_mobile_and_fixed_line_pattern
    mobile = fixed if same else _fits(left, metadata.mobile)
    for kind, chosen in (
        ("fixed line", fixed & ~mobile),
        ("mobile", mobile & ~fixed),
        ("fixed line or mobile", fixed & mobile),
    ):
        kinds[open_rows[chosen]] = KINDS.index(kind)
    return kinds


def _fits(national: pa.Array, description: Any) -> np.ndarray:
    """Return which numbers have a length and the form of a kind of number."""
    if description is None or not description.national_number_pattern:
        return np.zeros(len(national), np.bool_)
    fits = np.ones(len(national), np.bool_)
    if description.possible_length:
        fits &= np.isin(lengths(national), description.possible_length)
    if fits.any():
        fits &= _found(national, description.national_number_pattern, "$")
    return fits


def _found(texts: pa.Array, pattern: str, end: str = "") -> np.ndarray:
    """Return which texts begin with a pattern of libphonenumber's, and go on with *end*."""
    whole = f"^(?:{pattern}){end}"
    if is_shared(pattern):
        return matches(texts, whole)
    return np.array([re.search(whole, text) is not None for text in texts.to_pylist()], np.bool_)


@lru_cache(maxsize=512)
def _metadata(code: int, region: str) -> Any:
    """Return libphonenumber's data on a region; None when there is no region."""
    if region == _NOWHERE:
        return None
    return phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
