"""Read the digits of plainly written phones, by the column.

Plain is what libphonenumber takes for digits and nothing else, whatever stands before the first of them: no
other scripts, no letters but those of a usual extension, one plus at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# libphonenumber drops what stands before the first digit or plus, except that ";" may start a parameter.
_HEAD = r"^[^0-9+;\x80-\x{10FFFF}]*\+?[0-9 ()./\-\x{A0}\x{2010}-\x{2015}]*"
_PLAIN = rf"{_HEAD}[\t\n\r ]*$"
_PLAIN_BYTES = 100
_EXTENDED = rf"({_HEAD}[0-9]) *(?:[xX]|[eE]xt(?:ension)?|EXT)[.:]? *[0-9]{{1,9}}$"
_FLOAT = r"^([\t\n\r ]*\+?[0-9]{7,15})\.0+[\t\n\r ]*$"
_FLOAT_LIKE = r"^[^0-9+]*\+?[0-9]{7,15}\.0+[^0-9]*$"


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


def read_plain(raw: pa.Array) -> tuple[Numbers, np.ndarray]:
    """Return the numbers of the plainly written rows, three digits at least, and whether each has a plus."""
    short = lengths(raw) <= _PLAIN_BYTES
    plain, tailed = matches(raw, _PLAIN) & short, to_numpy(pc.match_substring(raw, ".0"))
    chosen = [
        _select(raw, plain & ~tailed),
        _without_tails(*_select(raw, plain & tailed)),
        _without_extensions(*_select(raw, short & ~plain)),
    ]
    texts = pa.concat_arrays([texts for _, texts in chosen])
    numbers = Numbers(rows=np.concatenate([rows for rows, _ in chosen]), digits=digits_of(texts))
    enough = lengths(numbers.digits) >= 3
    return numbers.where(enough), to_numpy(pc.match_substring(texts, "+"))[enough]


def matches(texts: pa.Array, pattern: str) -> np.ndarray:
    """Return whether the RE2 *pattern* is found in each text."""
    return to_numpy(pc.match_substring_regex(texts, pattern))


def lengths(texts: pa.Array) -> np.ndarray:
    """Return the length of each text, in bytes."""
    return to_numpy(pc.binary_length(texts))


def texts_of(column: pd.Series) -> pa.Array:
    """Return a column of text as one array of large_string."""
    array = pa.array(column, pa.large_string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def to_numpy(column: pa.Array) -> np.ndarray:
    """Return a column without nulls as an array of its own, free to be changed."""
    return np.array(column.to_numpy(zero_copy_only=False))


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


def digits_of(texts: pa.Array) -> pa.Array:
    """Return *texts* with only their ASCII digits left, all bytes of all texts taken as one row."""
    _, offsets, data = texts.buffers()
    if not data:  # no letter in any of them
        return texts
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    kept = (letters >= ord("0")) & (letters <= ord("9"))
    before = np.concatenate(([0], np.cumsum(kept)))
    ends = pa.py_buffer(before[bounds - bounds[0]])
    return pa.LargeStringArray.from_buffers(len(texts), ends, pa.py_buffer(letters[kept]))
