"""No contact leaves for a file or a screen, in whatever format; ids stay readable, and apart."""

from __future__ import annotations

import csv
import io
import itertools
import json
import string
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from tables import every
from traitlets.config import Config

from toolkit.contacts.masks import (
    mask_all,
    mask_email,
    mask_emails,
    mask_phone,
    mask_phones,
    mask_table,
    mask_text,
    masked,
)
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import as_it_was, csv_text, without_formula
from toolkit.notebook.session import show_masked
from toolkit.report import bar_chart, styled_table

EMAIL, DIGITS = "dana.lee+vip@mail.test", "4155550123"
EMAILS = [
    EMAIL,
    EMAIL.upper(),
    quote(EMAIL, safe=""),
    quote(quote(EMAIL, safe=""), safe=""),
    f" {EMAIL} ",
    f"<{EMAIL}>",
    EMAIL.replace("@", "＠"),
    EMAIL.replace("@", "\u200b@"),
    '"dana lee"@mail.test',
]
PHONES = [
    *(DIGITS, f"1{DIGITS}", f"+1{DIGITS}", f"001{DIGITS}", "447700900123", "+44 7700 900123"),
    *("(415) 555-0123", "415-555-0123", "415.555.0123", "1 415 555 0123", "+1 (415) 555-0123"),
    *(
        "%2B14155550123",
        "%28415%29%20555-0123",
        "%2B1+415+555+0123",
        "+1\u202d4155550123",
        "４１５５５５０１２３",
    ),
    *("07700 900123", "06 12 34 56 78", "tel:4155550123", "4155550123 4155550124"),
]
IDS = [
    *("personas_9f2k", "20251126T101500Z-ab12cd34", "2026-11-02T10:00:00.123+01:00", "20251126-101500"),
    *("last_30days", "spend_over_1000", "1000-2000", "order-1000234567", "1000234567", "112-1234567-1234567"),
    *("1735689600123", "ajs-next-1735689600123-5f3a12cd", "cus_4155550123", "507f1f77bcf86cd799439011"),
    *("d41d8cd98f00b204e9800998ecf8427e", "123e4567-e89b-12d3-a456-426614174000", "192.168.100.200"),
    *("s_1234567", "1234567", "1234567.89", "1e+10000000", "02.11.2026", "50% off", "@handle", "Ölfarben"),
]
PLACES = [
    "{}",
    "user:{}",
    "anonymous:{}",
    "vip of {}",
    "'{}'",
    "m-1 ({})",
    "{} 15",
    "a-1 {} 2nd",
    '{{"a": "{}"}}',
    "x\n{}",
]


def digits_in(text: str) -> str:
    return "".join(letter for letter in text.partition("~")[0] if letter.isdecimal())


@every("contact, place", itertools.product([*EMAILS, *PHONES], PLACES))
def test_no_format_of_a_contact_is_shown(contact, place):
    """Wherever it stands, one letter or two digits of it are left; what is masked stays as it is."""
    shown = mask_text(place.format(contact))
    assert "•••" in shown
    assert "dana" not in shown.casefold()
    assert len(digits_in(shown)) <= 4
    assert mask_text(shown) == shown


@every("name, place", itertools.product(IDS, ["{}", "user:{}", "Person {}, found"]))
def test_an_id_stays_readable(name, place):
    """Ids of words and digits, times, hashes, order numbers and amounts are no contact."""
    if place == "user:{}" and "@" in name:
        return  # a person's name with an @ is hidden whole
    assert mask_text(place.format(name)) == place.format(name)


def test_what_is_masked_stays_apart_and_alike():
    """Ids that differ differ when they are masked, their format included; alike they stay alike."""
    ids = [f"{place}{n}@mail.test" for n in range(50) for place in ("user:d", "m-", "vip of d")]
    ids += [*EMAILS[:4], *(f"+1415555{n:02}23" for n in range(50))]
    table = mask_table(pd.DataFrame({"person": ids, "note": ids, "kept": pd.Series(ids, dtype="category")}))
    assert table["note"].nunique() == len(ids)
    assert (
        table["person"].tolist() == table["note"].tolist() == table["kept"].tolist() == [*map(mask_text, ids)]
    )


@every("dtype", ["str", "object"])
def test_every_text_of_a_table_is_masked(dtype):
    """Every column, and the name of one, in a file and on the screen; null stays null."""
    table = pd.DataFrame(
        {"audience_key": [EMAIL, None, "vip"], EMAIL: ["a", f"1{DIGITS}", "<b>"]}, dtype=dtype
    )
    table = table.assign(count=[1, 2, 3]).set_axis([5, 7, 9])
    shown = masked(table)
    assert shown.index.tolist() == [5, 7, 9]
    assert shown["audience_key"].isna().tolist() == [False, True, False]
    html = styled_table(table, caption=f"of {EMAIL}").to_html()
    for text in (csv_text(shown), html, bar_chart({EMAIL: 1}, title=DIGITS).alternative):
        assert "dana" not in text
        assert DIGITS not in text


def test_the_name_of_a_column_is_escaped():
    """A column is named by what events hold: its name is text like its cells."""
    html = styled_table(
        pd.DataFrame({"<script>x": ["<i>"], "share": [0.5], "n_<b>": [1]}), caption=""
    ).to_html()
    assert "<script>x" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;x" in html


def test_values_are_masked_inside_lists_and_objects():
    """What goes to summary.json is masked at whatever depth; numbers stay."""
    value = {"audiences": [{"audience_key": EMAIL, "members": 4155550123, "share": 0.5}], EMAIL: None}
    shown = json.dumps(mask_all(value))
    assert "dana" not in shown
    assert '"members": 4155550123, "share": 0.5' in shown


@every("kind", [ParameterError, InputPathError, FileFormatError])
def test_an_error_shows_no_contact(kind):
    """Its sentence, its repr, its notes and what a notebook shows of it are masked."""
    error = kind(f'"events/{EMAIL}" of +1{DIGITS} does not exist. Check the path.')
    error.add_note(f"note on {EMAIL}")
    for text in (str(error), repr(error), " ".join(error._render_traceback_())):
        assert "dana" not in text
        assert DIGITS not in text
        assert "does not exist" in text


@pytest.mark.parametrize("error", ["KeyError", "ValueError", "toolkit.errors.ParameterError"])
def test_the_traceback_of_any_error_is_masked(error, capsys, tmp_path):
    """In a notebook another's error, which may quote data, shows no contact either."""
    config = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell(config=config, ipython_dir=str(tmp_path))
    shell.set_custom_exc((Exception,), show_masked)
    done = shell.run_cell(f"import toolkit.errors\nraise {error}('no ' + 'Dana'.lower() + '@mail.test')")
    shown = capsys.readouterr().out
    assert done.error_in_exec is not None
    assert "d•••@mail.test" in shown
    assert "dana@" not in shown


# --- formulas ---------------------------------------------------------------------------------------------

FORMULAS = ["=cmd()", "+1", "-x", "@a", "\t=x", "\r=x", "\n=x", "＝x", "＋1", "－x", "＠a", "'=x", " =x"]
INSIDE = ["vip;=cmd()", "vip\t@x", "a\n=x", "a;'=x", "a; =x", "a;;+x", 'a";=x', "a;\t=x"]


@every("text, delimiter, dtype", itertools.product([*FORMULAS, *INSIDE], ",;\t", ["str", "object"]))
def test_no_cell_is_a_formula_in_any_locale(text, delimiter, dtype):
    """However a spreadsheet splits the lines, no cell is a formula; read back, it is as it was."""
    written = csv_text(pd.DataFrame({"a": ["x"], "b": [text], text: ["y"]}, dtype=dtype))
    for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter, quoting=csv.QUOTE_NONE):
        starts = row if delimiter != "," else row[:1]
        assert not [cell for cell in starts if cell.lstrip(" ").startswith(tuple("=+-@＝＋－＠"))]
    (header, cells) = csv.reader(io.StringIO(written, newline=""))
    assert (as_it_was(cells[1]), as_it_was(header[2])) == (text, text)


@every("text", ["-5", "-12.5", "1;2", "a;b", "x=1", "a-b", "o'brien", "'quoted'"])
def test_what_is_no_formula_stays(text):
    """Numbers, negative ones too, and ordinary text are written as they are."""
    assert without_formula(text) == as_it_was(text) == text
    assert csv_text(pd.DataFrame({"n": [-5, 2]})) == "n\r\n-5\r\n2\r\n"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(text=st.text(st.sampled_from([*"=+-@＝;|\t\r\n' a5.,"]), max_size=12))
def test_what_was_neutralised_is_read_back(text):
    """Whatever the text, it comes back as it was, and its cells never run."""
    out = without_formula(text)
    assert as_it_was(out) == text


# --- whatever surrounds them ------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    before=st.text(st.sampled_from([*" :;/<>(\n\"'=,.x-_%é•~"]), max_size=6),
    after=st.text(st.sampled_from([*" :;/<>)\n\"'=,.&?é•"]), max_size=6),
    contact=st.sampled_from([*EMAILS[:5], f"+1{DIGITS}", "+1 (415) 555-0123", "%2B14155550123"]),
)
def test_a_contact_in_any_text_is_hidden(before, after, contact):
    """Random text around a contact neither saves it nor makes a mask that is masked again."""
    shown = mask_text(before + contact + after)
    assert "dana.lee" not in shown.casefold()
    assert "555" not in shown.partition("~")[0]
    assert mask_text(shown) == shown


@settings(derandomize=True, deadline=None, max_examples=200)
@given(text=st.text(st.sampled_from([*string.printable, *"•～＠٣é\u200b"]), max_size=30))
def test_masks_are_final(text):
    """Whatever the text, masking it again changes nothing."""
    assert mask_text(mask_text(text)) == mask_text(text)


# --- by the column ------------------------------------------------------------------------------------------

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


@every(
    "email, masked",
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


@every(
    "value, is_shown",
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


@pytest.mark.parametrize("contact", ["x" * 1_000_000, "@" * 1_000_000, "1" * 1_000_000], ids=["x", "@", "1"])
def test_masks_of_a_megabyte(contact):
    """Size changes nothing."""
    column = pa.array([contact, "ana@mail.test"], TEXT)
    assert mask_emails(column).to_pylist() == [mask_email(contact), "a•••@mail.test"]
    assert mask_phones(column)[0].as_py() == mask_phone(contact)
