"""Shapes: how contacts are written, with no contact in them."""

from __future__ import annotations

import re
import string

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import check_contacts, spelling_table
from toolkit.contacts.tables import formats
from toolkit.notebook.runner.leaks import CONTACT


def judged(emails=(), phones=()):
    size = max(len(emails), len(phones))
    return check_contacts(
        pd.DataFrame(
            {
                "person": [f"u:{n}" for n in range(size)],
                "email": [*emails, *[None] * (size - len(emails))],
                "phone": [*phones, *[None] * (size - len(phones))],
            }
        )
    )


@pytest.mark.parametrize(
    ("phone", "as_written", "as_used"),
    [
        pytest.param("(415) 555-0100", "(###) ###-####", "+1##########", id="national"),
        pytest.param("+44 7911 123456", "+## #### ######", "+44##########", id="abroad"),
        pytest.param(" 4155550100\t", "␣##########␣", "+1##########", id="spaces around"),
        pytest.param("415\u00a0555\u20130100", "###␣###-####", "+1##########", id="other spaces and dashes"),
        pytest.param("٤١٥٥٥٥٠١٠٠", "##########", "+1##########", id="other digits"),
        pytest.param("4155550100.0", "##########.#", "+1##########", id="a float"),
        pytest.param("4.15555E+09", "#.#####E+##", None, id="damaged"),
        pytest.param("4.15555e9", "#.#####E#", None, id="damaged, small"),
        pytest.param("Mobile 12", "A ##", None, id="letters"),
        pytest.param("call ana", "a a", None, id="small letters"),
        pytest.param("😀\ufeff\x00ß", "□␣a", None, id="odd letters"),
        pytest.param("x1" * 500_000, "a#" * 20 + "…", None, id="a megabyte"),
    ],
)
def test_shapes_of_phones(phone, as_written, as_used):
    """Digits are #, letters a or A, spaces that nobody sees ␣; of the number as used the code is shown."""
    (row,) = spelling_table(judged(phones=[phone])).replace({float("nan"): None}).to_dict("records")
    assert (row["as_written"], row["as_used"], row["people"]) == (as_written, as_used, 1)


@pytest.mark.parametrize(
    ("email", "as_written", "as_used"),
    [
        pytest.param("Ana.Lee99@Mail.Example.COM", "A.A@A.A.A", "a.a@a.a.a", id="capitals"),
        pytest.param(" ana@mail.test\n", "␣a@a.a␣", "a@a.a", id="spaces around"),
        pytest.param("ana@bücher.example.com", "a@a.a.a", "a@a.a.a", id="umlaut"),
        pytest.param("Ä@mail.test", "A@a.a", "a@a.a", id="other capitals"),
        pytest.param("ana,lee", "a,a", None, id="none"),
    ],
)
def test_shapes_of_emails(email, as_written, as_used):
    """A run of letters and digits is one letter, a capital when it has one."""
    (row,) = spelling_table(judged([email])).replace({float("nan"): None}).to_dict("records")
    assert (row["as_written"], row["as_used"]) == (as_written, as_used)


@given(st.lists(st.text(max_size=50), max_size=5), st.sampled_from("#a"))
def test_a_shape_reveals_nothing(texts, digit):
    """No digit, no letter but a and A, no contact for those who search for one; and as many as were given."""
    given_ = pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.large_string())
    found = formats(given_, digit=digit).to_pylist()
    assert len(found) == len(texts)
    for shape in found:
        assert {*shape} <= {*string.punctuation, *"aA#□␣… "}
        assert not CONTACT.search(shape)


def test_usual_contacts_pass_for_none_either():
    """A table of shapes in a notebook is not taken for a leak."""
    found = spelling_table(judged(["Ana.Lee@Mail.COM", "ANA@x.Com"], ["+14155550100", "+447911123456"]))
    text = found.to_csv()
    assert not CONTACT.search(text)
    assert not re.search("[0-9]{4}", text)


def test_the_most_frequent_comes_first():
    """Alike ones are counted together, by what becomes of them; absent ones are left out."""
    found = spelling_table(judged(["", None], ["4155550100", "2125550100", "1115550100", "n/a", " "]))
    assert found[["as_written", "code", "people"]].to_numpy().tolist() == [
        ["##########", "ok", 3],
        ["a/a", "phone_not_a_number", 1],
    ]


def test_parts_of_a_column():
    """A column that is a piece of another gives the shapes of the piece."""
    column = pa.array(["Ana", "b1", "", "long " * 20], pa.large_string())
    assert formats(column.slice(1), digit="#").to_pylist() == ["a#", "", "a a a a a a a a …"]


def test_nobody_writes_nothing():
    """The same columns, and no rows."""
    found = spelling_table(judged())
    assert [*found.columns] == ["contact", "as_written", "as_used", "code", "people"]
    assert found.empty
