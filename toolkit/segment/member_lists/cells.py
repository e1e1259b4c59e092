"""The cells of a column as clean text, whatever a file or a frame had in it; null where there is nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_string()

_NOTHING = pa.array(["", "NULL", "null", r"\N", "None", "NaN", "nan", "<NA>"], TEXT)
"""How databases and pandas write an empty cell."""
_OF_ONE_TYPE = {"string", "boolean", "integer", "floating", "datetime", "empty"}
_EXACT = 2.0**53
"""Up to here a float is exactly the whole number that was put into it."""


def to_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of any type as trimmed text, null where a cell is blank.

    Whole numbers have no point: a phone or an id that went through a float column is itself again.

    >>> to_text(pa.array([15555550100.0, None, 1.5])).to_pylist()
    ['15555550100', None, '1.5']
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    texts = pc.utf8_trim_whitespace(_as_text(column))
    return pc.if_else(pc.is_in(texts, _NOTHING), pa.scalar(None, TEXT), texts)


def _as_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.dictionary_decode())
    if pa.types.is_floating(kind):
        return _float_text(column.cast(pa.float64()))
    if pa.types.is_timestamp(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        return texts_of(column.to_pylist())
    return column.cast(TEXT)


def _float_text(column: pa.Array) -> pa.Array:
    # An infinity or NaN is not at most anything.
    whole = pc.and_(pc.less_equal(pc.abs(column), _EXACT), pc.equal(pc.floor(column), column))
    numbers = pc.if_else(whole, column, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.coalesce(numbers.cast(TEXT), column.cast(TEXT))


def texts_of(values: Sequence[Any]) -> pa.Array:
    """Return Python values as texts, one by one where they must be."""
    try:
        return pa.array(values, TEXT)
    except (pa.ArrowException, UnicodeError, TypeError, OverflowError):  # not all are texts, or one is odd
        return pa.array([_text_of(value) for value in values], TEXT)


def _text_of(value: Any) -> str | None:
    try:
        return _written(value)
    except (ValueError, TypeError, RecursionError):  # nested too deep, or a number of too many digits
        return "\ufffd"


def _written(value: Any) -> str | None:
    text: str | None
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
    elif isinstance(value, dict | list | tuple | bool):
        text = json.dumps(value, default=str)
    elif value is None or pd.isna(value):
        return None
    elif isinstance(value, float) and math.isfinite(value) and value == int(value):
        text = str(int(value))
    else:
        text = str(value)
    return printable(text)


def printable(text: str) -> str:
    """Return a text that tables can hold: U+FFFD for the halves of a character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def frame_column(column: pd.Series) -> pa.Array:
    """Return a column of a frame with the type it has; as text when its cells have several, or objects."""
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _OF_ONE_TYPE:
        return texts_of(column.tolist())
    try:
        found = pa.array(column, from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError, RecursionError):
        return texts_of(column.tolist())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def is_damaged(texts: pa.Array) -> pa.Array:
    """Tell which texts hold a line break or U+FFFD: two rows run together, or bytes that were no text."""
    return pc.fill_null(pc.match_substring_regex(texts, "[\n\r\ufffd]"), fill_value=False)


def is_true_or_false(texts: pa.Array) -> bool:
    """Tell whether a column says true or false, in any case, wherever it says something."""
    said = texts.drop_null()
    if not len(said) or said[0].as_py().lower() not in {"true", "false"}:
        return False
    return {text.lower() for text in pc.unique(said).to_pylist()} <= {"true", "false"}
