"""How contacts are written, before and after: their shapes, in which no contact can be read."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_lowercase, ascii_uppercase

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .plans import country_codes
from .spelling import digits_of, lengths, texts_of

LONGEST_SHAPE = 40
"""Letters of a text whose shape is shown; what follows them is an ellipsis."""
DIGIT = "#"
"""Not a 9: a shape must pass neither for a contact, nor in a spreadsheet for a number."""
_TEXT = pa.large_string()
_COLUMNS = {"contact": "str", "as_written": "str", "as_used": "str", "code": "str", "people": "int64"}
_STEPS = (
    (r"\p{Lu}", "A"),
    (r"[^\x00-\x7F\p{P}\p{Z}\p{C}\p{S}]", "a"),
    (r"\p{Pd}", "-"),
    (r"[^ -~…\p{Z}\p{C}]", "□"),
    (r"[^!-~□… ]|^ +| +$", "␣"),
    (r"␣+", "␣"),
    (r"a*A[Aa]*", "A"),
    (r"a+", "a"),
)
"""Patterns of RE2 and what stands for what they find, one after the other, once ASCII is done."""
_SCIENTIFIC = r"^(#(?:[.,]#+)?)[Aa](\+?#+)$"


def spelling_table(contacts: pd.DataFrame) -> pd.DataFrame:
    """Count how contacts are written, and in what form they are used, the most frequent first.

    Parameters
    ----------
    contacts
        What check_contacts() returns.

    Returns
    -------
    DataFrame
        Columns: ``contact`` (phone, email), ``as_written``, ``as_used`` (null where it cannot be), ``code``
        (a key of CONTACT_VERDICTS), ``people``. The two are shapes: # is a digit, a is a run of small
        letters (in emails of digits, too) and A of letters with a capital, ␣ is a space at an end. Of a
        number as used the country code is shown.

    Examples
    --------
    >>> from toolkit.contacts import check_contacts
    >>> people = pd.DataFrame({"person": ["u:1"], "email": [" Ana@Mail.test"], "phone": ["(415) 555-0100"]})
    >>> spelling_table(check_contacts(people))[["as_written", "as_used"]].values.tolist()
    [['(###) ###-####', '+1##########'], ['␣A@A.a', 'a@a.a']]
    """
    both = [
        _counted(contacts, "phone", "phone_e164", _used_phones),
        _counted(contacts, "email", "email_clean", lambda used: shapes(used, digit="a")),
    ]
    order = ["people", "contact", "as_written", "as_used"]
    return pd.concat(both).sort_values(order, ascending=[False, False, True, True], ignore_index=True)


def contact_shapes(contacts: pd.DataFrame, contact: str) -> pd.Series:
    """Return the shapes of the phones or emails of *contacts* as they were written; null becomes empty."""
    digit = DIGIT if contact == "phone" else "a"
    shown = pd.Series(shapes(texts_of(contacts[contact]), digit=digit), contacts.index, "str")
    damaged = contacts[f"{contact}_code"] == "phone_spreadsheet_damage"
    return shown.where(~damaged, shown.str.replace(_SCIENTIFIC, r"\1E\2", regex=True))


def shapes(texts: pa.Array, *, digit: str) -> pa.Array:
    """Return the shapes of *texts* (large_string), *digit* standing for every digit; null becomes empty."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > LONGEST_SHAPE:
        long = pc.greater(pc.utf8_length(texts), LONGEST_SHAPE)
        cut = pc.binary_join_element_wise(
            pc.utf8_slice_codeunits(texts, 0, LONGEST_SHAPE), pa.scalar("…", _TEXT), pa.scalar("", _TEXT)
        )
        texts = pc.if_else(long, cut, texts)
    encoded = _without_ascii(texts, digit).dictionary_encode()
    shaped = pc.replace_substring_regex(encoded.dictionary, r"\p{Nd}", digit)
    for pattern, instead in _STEPS:
        shaped = pc.replace_substring_regex(shaped, pattern, instead)
    return shaped.take(encoded.indices)


def _counted(
    contacts: pd.DataFrame, contact: str, column: str, used_shapes: Callable[[pa.Array], pa.Array]
) -> pd.DataFrame:
    """Return the spellings of one contact and how many people have each."""
    given = contacts[contacts[f"{contact}_code"] != "absent"]
    after, codes = texts_of(given[column]), texts_of(given[f"{contact}_code"])
    shown = pc.if_else(after.is_valid(), used_shapes(after), pa.scalar(None, _TEXT))
    written = texts_of(contact_shapes(given, contact))
    table = pa.table({"as_written": written, "as_used": shown, "code": codes})
    counted = table.group_by(table.column_names).aggregate([([], "count_all")]).to_pandas()
    counted.insert(0, "contact", contact)
    return counted.rename(columns={"count_all": "people"}).astype(_COLUMNS)


def _used_phones(phones: pa.Array) -> pa.Array:
    """Return E.164 numbers with their country code and a # for every other digit."""
    digits = digits_of(phones.fill_null("+000"))
    codes, sizes = country_codes(digits), lengths(digits)
    kinds, places = np.unique(codes * 100 + sizes, return_inverse=True)
    shown = [f"+{kind // 100}" + DIGIT * (kind % 100 - len(str(kind // 100))) for kind in kinds.tolist()]
    return pa.array(shown, _TEXT).take(pa.array(places))


def _without_ascii(texts: pa.Array, digit: str) -> pa.Array:
    """Return *texts* with *digit*, A and a for ASCII digits and letters, all bytes taken as one row."""
    _, offsets, data = texts.buffers()
    if not data:
        return texts
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.arange(256, dtype=np.uint8)
    for alike, instead in (("0123456789", digit), (ascii_uppercase, "A"), (ascii_lowercase, "a")):
        letters[[*alike.encode()]] = ord(instead)
    shown = letters[np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]]
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds - bounds[0]), pa.py_buffer(shown))
