"""Masks by the column: the same as one by one, whatever stands in the column."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.contacts import mask_email, mask_emails, mask_phone, mask_phones, mask_text, masks

TEXT = pa.large_string()
LETTERS = st.sampled_from(
    [*"ab@@@ .+-()1234567890", "\t", "\n", "\x1c", "\x85", "\xa0", "\u2003", "é", "😀", "٣", "•"]
)
DOMAINS = st.lists(st.sampled_from([*"a1-.,@é•", "mail", "163", ".com", "123456", "x" * 54]), max_size=6)
CONTACTS = st.lists(
    st.one_of(
        st.none(),
        st.text(LETTERS, max_size=16),
        st.text(max_size=8),
        DOMAINS.map(lambda d: "a@" + "".join(d)),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("column", "one"), [(mask_emails, mask_email), (mask_phones, mask_phone)], ids=["email", "phone"]
)
@pytest.mark.parametrize("cut", [0, 2])
@settings(derandomize=True, deadline=None, max_examples=150)
@given(contacts=CONTACTS)
def test_masks_of_a_column(column, one, cut, contacts):
    """Each contact of a column, or of a part of one, is masked as it would be alone; null stays null."""
    given_ = pa.array([contact for contact in contacts if contact is None or _is_text(contact)], TEXT)
    masked = column(given_.slice(cut))
    assert masked.type == TEXT
    assert masked.to_pylist() == [None if c is None else one(c) for c in given_.slice(cut).to_pylist()]


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("ana@mail.test", "a•••@mail.test"),
        ("ana@163.com", "a•••@163.com"),
        ("ana@gmail.com,bob.jones", "•••"),
        ("x@612.345.678", "•••"),
        (f"x@{'m' * 55}.test", f"x•••@{'m' * 55}.test"),
        (f"x@{'m' * 56}.test", "•••"),
    ],
)
def test_domains_in_a_column(email, masked):
    """By the column, too, a domain is shown only where it looks like one."""
    assert mask_emails(pa.array([email, "ana@mail.test"], TEXT)).to_pylist() == [masked, "a•••@mail.test"]


@pytest.mark.parametrize(
    ("value", "is_shown"),
    [
        *(("1234.56789", True), ("-1234567", True), ("[1234567, 2345678]", True), ('"2026-11-02"', True)),
        *(
            ('"202.5550103"', False),
            ('"ana@mail.test"', False),
            ('"202-555-0103"', False),
            ('"call 2025550103 now"', False),
        ),
    ],
)
def test_numbers_among_values(value, is_shown):
    """A number is no phone, whatever its size; a text may be one. What is masked stays as it is."""
    masked = mask_text(value)
    assert (masked == value) is is_shown
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    "piece",
    ["1 ", "1-", "+", "((", "1234567a-", "2026-11-02", "1-2-3 a", "(1234567.-a ", "~", "1.1.1.1.1.1.b "],
)
@pytest.mark.parametrize("length", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_name_without_end(piece, length):
    """Hostile names are judged in the time of their length: done at all is the test."""
    name = f"user:{piece * (length // len(piece))}a"
    assert mask_text(mask_text(name)) == mask_text(name)


def _is_text(contact):
    return contact.isascii() or contact.encode("utf-8", "replace").decode() == contact


@pytest.mark.parametrize(("column", "one"), [(mask_emails, mask_email), (mask_phones, mask_phone)])
def test_masks_of_more_than_a_batch(column, one, monkeypatch):
    """A column that is masked in pieces is masked in its order."""
    contacts = [f"ana{n}@mail.test +1415555{n:04}" if n % 3 else f"b{n}@x.test" for n in range(100)]
    monkeypatch.setattr(masks, "_BATCH", 7)
    assert column(pa.array(contacts, TEXT)).to_pylist() == [one(contact) for contact in contacts]


@pytest.mark.parametrize("contact", ["x" * 1_000_000, "@" * 1_000_000, "1" * 1_000_000], ids=["x", "@", "1"])
def test_masks_of_a_megabyte(contact):
    """Size changes nothing."""
    column = pa.array([contact, "ana@mail.test"], TEXT)
    assert mask_emails(column).to_pylist() == [mask_email(contact), "a•••@mail.test"]
    assert mask_phones(column)[0].as_py() == mask_phone(contact)
