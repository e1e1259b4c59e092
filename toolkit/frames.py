"""Frames of fixed columns and dtypes, and the last row of each group: what an analyst hands in is checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.arrays import DatetimeArray

from toolkit.errors import ParameterError

_MAX_BITS = 63
"""Longer numbers are no integers to most databases; Postscript's is unlikely to differ."""
_ARROW = {
    "str": pa.string(),
    "bool": pa.bool_(),
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "datetime64[us, UTC]": pa.timestamp("us", "UTC"),
}
"""Dtype → Arrow's type; times may be given as microseconds since 1970."""

TEXT = pa.large_string()
"""Arrow's type of a column of text."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""A lone surrogate: half a character, which no UTF-8 file or database can hold."""
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_text(value: Any) -> str:
    """Return *value* as compact JSON text, its letters as they are, a lone surrogate as its escape.

    >>> json_text(["a", "é"])
    '["a","é"]'
    """
    text = _COMPACT(value)
    return text if text.isascii() else SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def property_value(value: Any, otherwise: Any) -> Any:
    """Return *value* as a property of a subscriber can hold it: None for null, *otherwise* if it cannot.

    Postscript lists texts, whole numbers and lists of texts; its sample also shows a boolean. ``5.0`` is a
    whole number, as JSON makes no difference; ``5.5``, objects and other lists have no documented place.
    A number that JSON does not have is null.

    >>> property_value(5.0, "?"), property_value(["a"], "?"), property_value({"a": 1}, "?")
    (5, ['a'], '?')
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = int(value) if value.is_integer() else value
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else otherwise
    if isinstance(value, list):
        return value if all(isinstance(item, str) for item in value) else otherwise
    return value if value is None or isinstance(value, str) else otherwise


def check_columns(frame: pd.DataFrame, columns: Iterable[str], *, of: str) -> None:
    """Raise ParameterError when *frame*, called *of* in the sentence, lacks one of the columns."""
    if not isinstance(frame, pd.DataFrame):
        raise ParameterError(f"{of} must be a DataFrame, not {type(frame).__name__}.")
    if absent := [name for name in columns if name not in frame]:
        raise ParameterError(
            f"{of} lacks the {'columns' if len(absent) > 1 else 'column'} {', '.join(absent)}. "
            "Add what is missing, or rename what is there."
        )


def empty_table(columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame of these columns and dtypes without rows."""
    return _empty(tuple(columns.items())).copy(deep=False)


@cache
def _empty(columns: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns})


def typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame with these columns, in this order, and these dtypes; one it lacks is null."""
    if frame.columns.tolist() != [*columns]:
        frame = frame.reindex(columns=[*columns])
    dtypes = zip(columns.items(), frame.dtypes.tolist(), strict=True)
    # astype() of a whole frame is dear, even where there is nothing to do.
    wrong = {name: frame[name].astype(wanted) for (name, wanted), dtype in dtypes if dtype.name != wanted}
    return frame.assign(**wrong) if wrong else frame


def to_arrow(frame: pd.DataFrame, columns: Iterable[str] | None = None) -> pa.Table:
    """Return the columns of a frame, all of them by default, as a table."""
    return pa.table({name: _arrow(frame[name]) for name in (columns or frame.columns)})


def _arrow(column: pd.Series) -> pa.Array | pa.ChunkedArray:
    values = column.array
    if isinstance(values, DatetimeArray) and str(values.tz) == "UTC":
        # As they are: pa.array() would look the timezone up for each column.
        return pa.array(values.asi8.view(f"M8[{values.unit}]")).view(pa.timestamp(values.unit, "UTC"))
    return pa.array(np.asarray(values) if values.dtype == bool else values)


def to_frame(table: pa.Table, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return a table as a frame, of these columns and dtypes where they are given."""
    if columns is not None and not len(table):
        return empty_table(columns)
    # Threads cost more than they bring where rows are few, and hardly help where they are many.
    frame = table.to_pandas(use_threads=False, split_blocks=True)
    return frame if columns is None else typed(frame, columns)


def to_table(values: Mapping[str, Sequence[Any]], columns: Mapping[str, str]) -> pa.Table:
    """Return lists of Python's values as a table, of types that suit these columns and dtypes."""
    return pa.table({name: pa.array(column, _ARROW[columns[name]]) for name, column in values.items()})


def sorted_rows(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return the rows in the order of *columns*, nulls first, and where they are equal as they were."""
    # sort_values() would number all texts; here they are compared only where the columns before are equal.
    keys = [(name, "ascending", "at_start") for name in columns]
    return np.asarray(pc.sort_indices(table, sort_keys=keys))


def numbers(column: pa.Array | pa.ChunkedArray, *, null: int = -1) -> np.ndarray:
    """Return a column of integers or booleans as NumPy's, with *null* where it has none."""
    whole = column.fill_null(null) if column.null_count else column
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def text_array(column: pd.Series) -> pa.Array:
    """Return a column of text as one array of large_string."""
    array = pa.array(column, TEXT)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def put_together(*parts: str | pa.Array) -> pa.Array:
    """Return the parts put together, row by row; null where one of them is null.

    >>> put_together("+", pa.array(["1", None], TEXT)).to_pylist()
    ['+1', None]
    """
    texts = (pa.scalar(part, TEXT) if isinstance(part, str) else part for part in parts)
    return pc.binary_join_element_wise(*texts, pa.scalar("", TEXT))


def matches(texts: pa.Array, pattern: str) -> np.ndarray:
    """Return whether the RE2 *pattern* is found in each text; not in null."""
    return numbers(pc.match_substring_regex(texts, pattern), null=False)


def byte_lengths(texts: pa.Array) -> np.ndarray:
    """Return the length of each text in bytes, -1 for null."""
    return numbers(pc.binary_length(texts))


def encode(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Return the number of each value, -1 for null, and the distinct values by number."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    return numbers(encoded.indices).astype(np.int64), encoded.dictionary


def number_rows(table: pa.Table) -> np.ndarray:
    """Return a number for each row, from 0; rows that are alike have the same."""
    found = np.zeros(len(table), np.int64)
    for column in table.columns:
        codes, values = encode(column)
        found = pd.factorize(found * (len(values) + 1) + codes)[0]
    return found


def last_rows(table: pa.Table, keys: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """Return the row of each distinct *keys* that comes last in *order*, by the keys; a null key is a key."""
    groups, rows = number_rows(table.select([*keys])), sorted_rows(table, order)
    last = np.zeros(groups.max(initial=-1) + 1, np.int64)
    last[groups[rows]] = rows  # of several the last one stays
    return np.asarray(last[sorted_rows(table.select([*keys]).take(last), keys)])


def places_in(table: pa.Table, other: pa.Table) -> np.ndarray:
    """Return of each row of *table* where *other*, of the same columns, has one like it; -1 for nowhere."""
    rows = number_rows(pa.concat_tables([other, table.cast(other.schema)]))
    places = np.full(rows.max(initial=-1) + 1, -1)
    places[rows[: len(other)]] = np.arange(len(other))
    return np.asarray(places[rows[len(other) :]])


def without(after: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of *after* that *before*, of the same columns, does not have."""
    if before.empty or after.empty:
        return after
    return after[places_in(to_arrow(after), to_arrow(before)) < 0]


def is_in(values: pd.Series, others: pd.Series) -> np.ndarray:
    """Return which of the texts are among others; null is not."""
    # pandas' isin() would look them up one by one.
    found = pc.is_in(text_array(values), value_set=text_array(others.dropna()))
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


# --- cells of any kind as text

_NOTHING = pa.array(["", "NULL", "null", r"\N", "None", "NaN", "nan", "<NA>"], TEXT)
"""How databases and pandas write an empty cell."""
_OF_ONE_TYPE = {"string", "boolean", "integer", "floating", "datetime", "empty"}
_EXACT = 2.0**53
"""Up to here a float is exactly the whole number that was put into it."""


def clean_text(column: pa.Array | pa.ChunkedArray | pd.Series) -> pa.Array:
    """Return a column of any type as trimmed text, null where a cell is blank.

    Whole numbers have no point: a phone or an id that went through a float column is itself again. U+FFFD
    stands for a lone surrogate, and for what no text can be.

    >>> clean_text(pa.array([15555550100.0, None, 1.5])).to_pylist()
    ['15555550100', None, '1.5']
    """
    if isinstance(column, pd.Series):
        column = _typed_column(column)
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
        return _texts_of(column.to_pylist())
    return column.cast(TEXT)


def _float_text(column: pa.Array) -> pa.Array:
    # An infinity or NaN is not at most anything.
    whole = pc.and_(pc.less_equal(pc.abs(column), _EXACT), pc.equal(pc.floor(column), column))
    numbers = pc.if_else(whole, column, pa.scalar(None, pa.float64())).cast(pa.int64())
    return pc.coalesce(numbers.cast(TEXT), column.cast(TEXT))


def _texts_of(values: Sequence[Any]) -> pa.Array:
    """Return Python values as texts, one by one where they must be."""
    try:
        return pa.array(values, TEXT)
    except (pa.ArrowException, UnicodeError, TypeError, OverflowError):  # not all are texts that it holds
        return pa.array([_text_of(value) for value in values], TEXT)


def _text_of(value: Any) -> str | None:
    try:
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, dict | list | tuple | bool):
            value = json.dumps(value, default=str)
        elif not isinstance(value, str) and (value is None or pd.isna(value)):
            return None
        elif isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        return SURROGATE.sub("\ufffd", str(value))
    except (ValueError, TypeError, RecursionError):  # nested too deep, or a number of too many digits
        return "\ufffd"


def _typed_column(column: pd.Series) -> pa.Array | pa.ChunkedArray:
    """Return a column of a frame with the type it has; as text when its cells have several, or objects."""
    if column.dtype != object or pd.api.types.infer_dtype(column, skipna=True) in _OF_ONE_TYPE:
        with suppress(pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError, RecursionError):
            return pa.array(column, from_pandas=True)
    return _texts_of(column.tolist())
