"""Hide whole columns of contacts: the plain ones by the column, the rest one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .masks import PERHAPS, hide, mask_all, mask_email, mask_phone
from .spelling import digits_of, lengths, matches, to_numpy

_BATCH = 1 << 15
"""Contacts masked at once: what is made on the way stays in the processor's cache."""
_TEXT = pa.large_string()
_RAW = {"email": mask_email, "phone": mask_phone}
"""Columns that hold a contact, or what should be one: hidden whatever it is."""
# Addresses of which mask_email() shows the domain, with nothing around them: the most of them, not all.
_PLAIN = (
    r"^[!-?A-~][^@]*@[A-Za-z][A-Za-z-]*[0-9]{0,6}[A-Za-z-]*\.(?:[A-Za-z][A-Za-z-]*\.)*[A-Za-z][A-Za-z-]*$"
)
_SHORT = "@.{3,60}$"
_PHONES = pa.array(["", "•••", *(f"•••{number:02}" for number in range(100))], _TEXT)


def mask_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the contacts hidden in each of its texts and in the names of its columns."""
    hidden = {name: _mask_column(name, table[name]) for name in table}
    return table.assign(**hidden).rename(columns=mask_all)


def mask_texts(column: pd.Series) -> pd.Series:
    """Return a column of texts, each as `mask_text` hides it; null stays null."""
    texts = pa.array(column.array, _TEXT, from_pandas=True)
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    perhaps = pc.match_substring_regex(texts, PERHAPS).fill_null(False)
    some = texts.filter(perhaps).dictionary_encode()
    known = some.dictionary.to_pylist()
    masked = [*map(hide, known)]
    if masked == known:
        return column
    hidden = pc.replace_with_mask(texts, perhaps, pa.array(masked, _TEXT).take(some.indices))
    return pd.Series(hidden.to_pandas(), dtype=column.dtype).set_axis(column.index)


def _mask_column(name: object, column: pd.Series) -> pd.Series:
    if (mask := _RAW.get(str(name))) is not None:
        return column.map(mask, na_action="ignore")
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if isinstance(column.dtype, pd.StringDtype):
        return mask_texts(column)
    return column.map(mask_all) if column.dtype == "object" else column


def mask_emails(emails: pa.Array) -> pa.Array:
    """Return a column of email addresses (large_string), each as `mask_email` hides it; null stays null."""
    return _by_batches(emails, _mask_emails)


def mask_phones(phones: pa.Array) -> pa.Array:
    """Return a column of phone numbers (large_string), each as `mask_phone` hides it; null stays null."""
    return _by_batches(phones, _mask_phones)


def masked(table: pd.DataFrame) -> pd.DataFrame:
    """Replace raw contacts by masked ones; a person who is named by a contact is masked too."""
    return mask_table(table).rename(columns={"email": "email_masked", "phone": "phone_masked"})


def _by_batches(texts: pa.Array, mask: Callable[[pa.Array], pa.Array]) -> pa.Array:
    starts = range(0, max(len(texts), 1), _BATCH)
    return pa.concat_arrays([mask(texts.slice(start, _BATCH)) for start in starts])


def _mask_emails(emails: pa.Array) -> pa.Array:
    given = emails.fill_null("")
    plain = matches(given, _PLAIN) & matches(given, _SHORT)
    if plain.all():
        return _mask_plain(emails)
    rest = emails.filter(pa.array(~plain)).dictionary_encode()
    masked = pa.array([mask_email(text) for text in rest.dictionary.to_pylist()], _TEXT).take(rest.indices)
    both = pa.concat_arrays([_mask_plain(emails.filter(pa.array(plain))), masked])
    place = np.empty(len(emails), np.int64)
    place[np.concatenate([np.flatnonzero(plain), np.flatnonzero(~plain)])] = np.arange(len(emails))
    return both.take(pa.array(place))


def _mask_phones(phones: pa.Array) -> pa.Array:
    given = phones.fill_null("")
    bounds, letters = _letters(digits_of(given))
    masks = np.minimum(lengths(given), 1)
    enough = np.flatnonzero(np.diff(bounds) > 6)
    end = bounds[1:][enough]
    masks[enough] = 2 + (letters[end - 2] - ord("0")) * 10 + (letters[end - 1] - ord("0"))
    return _PHONES.take(pa.array(masks, mask=~to_numpy(phones.is_valid())))


def _mask_plain(emails: pa.Array) -> pa.Array:
    """Mask emails that match _PLAIN."""
    parts = pc.split_pattern(emails, "@").flatten()
    places = np.arange(0, len(parts), 2)
    first = pc.utf8_slice_codeunits(parts.take(pa.array(places)), 0, 1)
    domain = parts.take(pa.array(places + 1))
    return pc.binary_join_element_wise(first, pa.scalar("•••@", _TEXT), domain, pa.scalar("", _TEXT))


def _letters(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return where each text begins and ends among the bytes of all, and these."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return bounds, np.frombuffer(data or b"", np.uint8)
