"""Tables of contacts: formats with no contact in them, shared contacts, domains that look mistyped."""

from __future__ import annotations

import re
import string

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import every

from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.suggestions import USUAL_DOMAINS
from toolkit.contacts.tables import domain_table, format_table, formats, shared_table
from toolkit.notebook.secret_scan import CONTACT


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
def test_formats_of_phones(phone, as_written, as_used):
    """Digits are #, letters a or A, invisible spaces ␣; of the number as used the code is shown."""
    (row,) = format_table(judged(phones=[phone])).replace({float("nan"): None}).to_dict("records")
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
def test_formats_of_emails(email, as_written, as_used):
    """A run of letters and digits is one letter, a capital when it has one."""
    (row,) = format_table(judged([email])).replace({float("nan"): None}).to_dict("records")
    assert (row["as_written"], row["as_used"]) == (as_written, as_used)


@given(st.lists(st.text(max_size=50), max_size=5), st.sampled_from(["phone", "email"]))
def test_a_format_reveals_nothing(texts, contact):
    """No digit, no letter but a and A, no contact for those who search for one; and as many as were given."""
    given_ = pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.large_string())
    found = formats(given_, contact).to_pylist()
    assert len(found) == len(texts)
    for each in found:
        assert {*each} <= {*string.punctuation, *"aA#□␣… "}
        assert not CONTACT.search(each)


def test_usual_contacts_pass_for_none_either():
    """A table of formats in a notebook is not taken for a leak."""
    found = format_table(judged(["Ana.Lee@Mail.COM", "ANA@x.Com"], ["+14155550100", "+447911123456"]))
    text = found.to_csv()
    assert not CONTACT.search(text)
    assert not re.search("[0-9]{4}", text)


def test_the_most_frequent_comes_first():
    """Alike ones are counted together, by what becomes of them; absent ones are left out."""
    found = format_table(judged(["", None], ["4155550100", "2125550100", "1115550100", "n/a", " "]))
    assert found[["as_written", "code", "people"]].to_numpy().tolist() == [
        ["##########", "ok", 3],
        ["a/a", "phone_not_a_number", 1],
    ]


def test_parts_of_a_column():
    """A column that is a piece of another gives the formats of the piece."""
    column = pa.array(["Ana", "b1", "", "long " * 20], pa.large_string())
    assert formats(column.slice(1), "phone").to_pylist() == ["a#", "", "a a a a a a a a …"]


def test_no_people_write_nothing():
    """The same columns, and no rows."""
    found = format_table(judged())
    assert [*found.columns] == ["contact", "as_written", "as_used", "code", "people"]
    assert found.empty


# --- shared contacts and domains ---------------------------------------------------------------------------


def test_contacts_of_several_people_are_shown_masked():
    """The same number in three forms is one; bad contacts and those of one person are left out."""
    found = shared_table(
        judged(
            ["b@shop.test", "B@shop.test", "one@shop.test"],
            ["4155550100", "+1 415 555 0100", "(415) 555-0100", "n/a", "n/a", "4155550123"],
        )
    )
    assert found.to_numpy().tolist() == [["phone", "•••00", 3], ["email", "b•••@shop.test", 2]]


@every(
    "domain, suggestion",
    [
        ("gmial.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("gmal.com", "gmail.com"),
        ("hotmali.com", "hotmail.com"),
        ("yaho.com", "yahoo.com"),
        ("gmail.comm", "gmail.com"),
    ],
)
def test_one_slip_is_suspected(domain, suggestion):
    """A letter too many, too few, wrong, or two that changed places."""
    assert domain_table(judged([f"a@{domain}"])).to_numpy().tolist() == [[domain, suggestion, 1]]


@every("domain", [*sorted(USUAL_DOMAINS), "shop.test", "gmails.org", "g.com", "mail.example.com"])
def test_usual_and_other_domains_are_not(domain):
    """ymail.com is a letter from gmail.com, and a provider of its own; two slips are no slip."""
    assert domain_table(judged([f"a@{domain}"])).empty


def test_the_most_frequent_domain_comes_first():
    """Counted by people; the case of a domain does not matter."""
    found = domain_table(judged(["a@gnail.com", "a@gmial.com", "b@GMIAL.com"]))
    assert found["domain"].tolist() == ["gmial.com", "gnail.com"]
    assert found["people"].tolist() == [2, 1]


def test_no_people_no_oddities():
    """The same columns, and no rows."""
    assert [*shared_table(judged()).columns] == ["contact", "masked", "people"]
    assert [*domain_table(judged()).columns] == ["domain", "suggestion", "people"]
