"""What was probably meant: only where one thing was, and never what cannot be used."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import every

from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import check_email, check_phone
from toolkit.contacts.corrections import FIX_COLUMNS, fix_table
from toolkit.contacts.masks import mask_contact, mask_text
from toolkit.contacts.suggestions import suggest_email, suggest_phone
from toolkit.contacts.tables import measure_coverage
from toolkit.errors import ParameterError, RunFailedError
from toolkit.notebook.secret_scan import CONTACT


@every(
    "raw, value",
    [
        ("ana@gmail,com", "ana@gmail.com"),
        ("ana@mail.co,uk", "ana@mail.co.uk"),
        ("ana@shop,co,uk", "ana@shop.co.uk"),
        ("ana @gmail.com", "ana@gmail.com"),
        ("ana@ mail. test", "ana@mail.test"),
        ("ana@g mail.com", "ana@gmail.com"),
        ("mailto:ana@mail.test", "ana@mail.test"),
        ("Ana Lee <Ana@mail.test>", "ana@mail.test"),
        ("<ana@mail.test>", "ana@mail.test"),
        ('"ana@mail.test"', "ana@mail.test"),
        ("ana@mail.test (work)", "ana@mail.test"),
        ("Email: ana@mail.test", "ana@mail.test"),
        ("Ana Lee (ana@mail.test)", "ana@mail.test"),
        ("Ana Lee, ana@mail.test", "ana@mail.test"),
        ("Ana | ana@mail.test", "ana@mail.test"),
        ("ana@mail.test; bo@", "ana@mail.test"),
        ("ana(at)mail.test", "ana@mail.test"),
        ("ana [AT] mail [dot] test", "ana@mail.test"),
        ("ana at mail dot test", "ana@mail.test"),
        ("ana@@mail.test", "ana@mail.test"),
        ("ana@mail..test", "ana@mail.test"),
        ("ana@mail.test.", "ana@mail.test"),
        ("ana@mail.test,", "ana@mail.test"),
        ("ana@gmail", "ana@gmail.com"),
        ("ana@gmailcom", "ana@gmail.com"),
        ("ana@mail.test\u200b", "ana@mail.test"),
        ("ana@gmial.com", "ana@gmail.com"),
        ("Ana <ana@gmial,com>", "ana@gmail.com"),
    ],
)
def test_an_email_that_was_meant(raw, value):
    """The slip is repaired, and a few words name it."""
    found = suggest_email(raw)
    assert found is not None
    assert found.value == value
    assert 0 < len(found.why) < 80


@every(
    "raw",
    [
        *("", "n/a", "ana", "@gmail.com", "ana@", "ana@home", "ana@.com", "a@b" * 200),
        *("ana lee@gmail.com", "ana@shop.co uk", "ana@mail.test lee"),
        *("ana@mail.test,bo", "ana@mail.test, bo@mail.test", "ana@mail.test bo@mail.test"),
        *("ana@mail.test; ana@mail.test", "ana@mail.test; bo@ana@mail.test"),
        *(f"ana{mark}smith@gmail.com" for mark in (*',;:[(</|="', ", ", " ,", ",(")),
        *(
            "Bo ana,smith@gmail.com",
            "(ana,smith@gmail.com)",
            "Bo <ana,smith@gmail.com>",
            "ana,smith@gmail,com",
        ),
        *("ana@mail.test", "ana@gmail.com", "ana@ymail.com"),
    ],
)
def test_emails_that_are_fine_or_not_clear(raw):
    """Of two addresses, or of a space that may be a dot, nothing is guessed."""
    assert suggest_email(raw) is None


@every(
    "raw, region, value, why",
    [
        ("447400123456", "US", "+447400123456", "lacks its plus; a number of GB"),
        ("+44 (0) 7400 123456 home", "GB", "+447400123456", "one number among other text"),
        ("0044 7400 123456", "US", "+447400123456", "begins as dialled abroad; a number of GB"),
        ("011 44 7400 123456", "FR", "+447400123456", "begins as dialled abroad; a number of GB"),
        ("+00447400123456", "US", "+447400123456", "begins as dialled abroad; a number of GB"),
        ("1.4155550123E+10", "US", "+14155550123", "scientific notation that has all digits"),
        ("4,155550123e9", "US", "+14155550123", "scientific notation that has all digits"),
        ("4.47400123456E+11", "GB", "+447400123456", "scientific notation that has all digits"),
        ("415-555-O123", "US", "+14155550123", "letters for digits"),
        ("4l5 555 oI23", "US", "+14155550123", "letters for digits"),
        ("+4155550123", "US", "+14155550123", "plus without a country code"),
        ("415-555-0123 (home)", "US", "+14155550123", "one number among other text"),
        ("415-555-0123 / 415.555.0123", "US", "+14155550123", "one number among other text"),
        ("Ana 415-555-0123 or 555-0123", "US", "+14155550123", "one number among other text"),
    ],
)
def test_a_phone_that_was_meant(raw, region, value, why):
    """One reading leads to a number that is given out; another country's is named."""
    found = suggest_phone(raw, region)
    assert found is not None
    assert (found.value, found.why) == (value, why)


@every(
    "raw",
    [
        *("", "n/a", "12345", "5550123", "555-0123", "1" * 60, "1" * 300, "x" * 100_000),
        *("4.15555E+09", "1.415555012E+10", "4.1555501234E+09", "1E+10"),
        *("415-555-0123 / 415-555-0199", "14155550123 14155550199", "+1 415 555 01234"),
        *("4155550123", "+14155550123", "1-800-FLOWERS"),
    ],
)
def test_phones_that_are_fine_or_not_clear(raw):
    """Digits that are lost stay lost, and of two numbers none is taken."""
    assert suggest_phone(raw, "US") is None


PIECES = [
    *"ab@@..,, <>()0144755ElO+-/\u200b\u00a0",
    "gmail",
    " at ",
    "(dot)",
    ".com",
    "415555",
    "447400123456",
]
LETTERS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(st.one_of(LETTERS, st.text(max_size=40)), st.sampled_from(["US", "GB", "DE"]))
def test_a_suggestion_can_be_used(raw, region):
    """Whatever is suggested is good as it stands, in its standard form."""
    if email := suggest_email(raw):
        assert check_email(email.value).value == email.value
    if phone := suggest_phone(raw, region):
        assert check_phone(phone.value, region).value == phone.value
        assert check_phone(raw, region).code != "ok"


# --- the table ---------------------------------------------------------------------------------------------


def judged(*people):
    """Return the verdicts on people: person, email, phone."""
    return check_contacts(pd.DataFrame(people, columns=["person", "email", "phone"]))


def test_the_table_of_what_to_fix():
    """One row a faulty or suspected contact, those with a suggestion first, room for answers, all masked."""
    contacts = judged(
        ("user:1", "none", "4.15555E+09"),
        ("user:bo@mail.test", "Bo@gmial.com", "447400123456"),
        ("user:3", "cy@mail.test", "4155550123"),
        ("user:4", None, None),
    )
    found = fix_table(contacts)
    assert [*found.columns] == [*FIX_COLUMNS]
    bo = mask_text("user:bo@mail.test")
    shown = found.drop(columns=["accept", "correction"]).astype("object").fillna("")
    assert shown.to_numpy().tolist() == [
        [bo, "phone", "phone_too_long", "•••56", "############", "•••56", "lacks its plus; a number of GB"],
        [bo, "email", "ok", "B•••@gmial.com", "A@a.a", "b•••@gmail.com", "gmial.com for gmail.com"],
        ["user:1", "phone", "phone_spreadsheet_damage", "•••09", "#.#####E+##", "", ""],
        ["user:1", "email", "email_invalid", "•••", "a", "", ""],
    ]
    assert {*found["accept"], *found["correction"]} == {""}
    assert not CONTACT.search(found.to_csv())


def test_the_table_without_people():
    """The same columns, and no rows, be there no people or none with a contact."""
    for empty in (judged(), judged(("user:1", None, None))):
        assert [*fix_table(empty).columns] == [*FIX_COLUMNS]
        assert fix_table(empty).empty


def test_an_unknown_region_is_refused():
    """Even where there is no phone."""
    with pytest.raises(ParameterError, match="default_region"):
        fix_table(judged(), default_region="UK")


@every(
    "raw, masked",
    [
        ("ana@gmail,com", "a•••@gmail,com"),
        ("ana@163.com", "a•••@163.com"),
        ("ana@gmail.com,bob.jones", "•••"),
        ("mail@gmail.com,Ana,Smith,Berlin", "•••"),
        ("x@612.345.678", "•••"),
        ("ana@4155550123", "•••"),
        ("shop@ana lee", "•••"),
        ("Ana <ana@mail.test>", "•••"),
        ("ana", "•••"),
    ],
)
def test_what_may_be_no_email_is_masked(raw, masked):
    """A domain is shown only where it looks like one."""
    assert mask_contact("email", raw) == masked


@given(
    st.one_of(st.emails(), st.text(max_size=20), st.sampled_from(["+1 415 555 0123", "•••@x", "a•••~12ab"]))
)
def test_a_masked_name_stays_as_it_is(name):
    """A table may be masked twice, when it is shown and when it is written."""
    name = name.encode("utf-8", "replace").decode()
    masked = mask_text(f"user:{name}")
    assert mask_text(masked) == masked


# --- the limits --------------------------------------------------------------------------------------------

FOUR = (("u:1", "a@b.test", "4155550123"), ("u:2", None, "4155550123"), ("u:3", "a@b.test", "x"))


@every(
    "warn, most, begins, status",
    [
        (0.25, 0.25, "1 of 4 people (25.0%) cannot be looked up.", "completed"),
        (0.25, 1, "1 of 4 people (25.0%) cannot be looked up.", "completed"),
        (0.24, 1, "Warning: 1 of 4 people", "completed"),
        (0, 0.25, "Warning: 1 of 4 people", "completed"),
        (1, 0.24, "Too many: 1 of 4 people", "failed"),
    ],
)
def test_how_many_can_be_looked_up(warn, most, begins, status):
    """By both, by one, by neither; a share above a limit is a warning or must not pass."""
    contacts = judged(*FOUR, ("u:4", "n/a", None))
    usable = measure_coverage(contacts, warn_unusable_share=warn, max_unusable_share=most)
    assert usable.ways == {"phone_and_email": 1, "phone_only": 1, "email_only": 1, "neither": 1}
    assert usable.sentence.startswith(begins)
    assert usable.summary()["status"] == status
    assert usable.summary()["warning"] == ("" if warn >= 0.25 else usable.sentence)
    assert usable.summary()["stopped_by"] == ("guard" if status == "failed" else "")
    if status == "failed":
        with pytest.raises(RunFailedError, match="max_unusable_share allows 24%"):
            usable.raise_if_failed()
    else:
        usable.raise_if_failed()


def test_no_people_are_not_too_many():
    """Without people there is no share, and nothing to stop for."""
    measure_coverage(judged(), max_unusable_share=0).raise_if_failed()
