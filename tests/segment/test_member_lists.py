"""Member lists: what is recognised, what each row says, and what makes a list unfit for removals."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import PROJECT
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from tables import every, examples

from toolkit.audiences.memberships import fold
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.frames import TEXT
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.segment.member_lists import MemberList, read_member_list
from toolkit.segment.member_lists.profiles import follow_merges
from toolkit.segment.member_lists.tables import _read_rows

DATA = PROJECT / "tests" / "data" / "snapshots"
AT = "2025-03-04T10:15:00Z"


def read(source, **options) -> MemberList:
    return read_member_list(source, **{"audience_key": "vip", "taken_at": AT, **options})


def members(member_list: MemberList) -> dict[str, list[str]]:
    """Return who is in which audience."""
    rows = member_list.payloads
    listed = rows[rows["status"].isna() & rows["membership"].fillna(value=False)]
    return {key: rows["person"].tolist() for key, rows in listed.groupby("audience_key")}


def reasons(member_list: MemberList) -> list[str | None]:
    return member_list.payloads["reason_code"].astype("object").where(lambda s: s.notna(), None).tolist()


def contacts(member_list: MemberList, person: str) -> list[tuple[str | None, str | None]]:
    mine = member_list.candidates[member_list.candidates["person"] == person].astype("object")
    rows = mine.where(mine.notna(), None)
    return list(zip(rows["email"], rows["phone"], strict=True))


# --- formats -------------------------------------------------------------------------------------------

FORMATS = {
    "members.csv": (
        {},
        {"vip": ["user:c_001", "user:c_002", "user:0003", "user:c_004", "email:eve@shop.test"]},
    ),
    "semicolon_bom.csv": ({}, {"vip": ["user:c_001", "user:c_002"]}),
    "several_audiences.tsv": ({"audience_key": ""}, {"vip": ["user:c_001"], "churn": ["user:c_002"]}),
    "engage_unformatted.csv": (
        {},
        {"vip": ["user:c_001", "anonymous:a-2", "user:c_003", "profile:use_4"]},
    ),
    "engage_typographic.csv": ({}, {"vip": ["user:c_001", "user:c_002"]}),
    "engage_formatted.csv": ({}, {"vip": ["user:c_001", "user:c_002"]}),
    "torn.csv": ({}, {"vip": ["user:c_001", "user:c_006"]}),
    "users.csv": (
        {"audience_key": ""},
        {"vip_customers": ["user:c_001"], "churn_risk": ["user:c_002", "user:c_003"]},
    ),
    "profile_traits.csv": (
        {"audience_key": "vip_customers"},
        {"vip_customers": ["user:c_001", "user:c_005"]},
    ),
    "profiles_sync": (
        {"audience_key": ""},
        {"vip_customers": ["user:c_001", "profile:use_5"], "churn_risk": ["user:c_002"]},
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_members(name):
    """Each kind of source is recognised, and lists the people by the names that events give them."""
    options, expected = FORMATS[name]
    assert members(read(DATA / name, **options)) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_rows_reconcile_through_fold(name):
    """Every row ends in one status, in the columns of a payload frame, and members are folded to in."""
    member_list = read(DATA / name, **FORMATS[name][0])
    assert dict(member_list.payloads.dtypes.astype(str)) == PAYLOAD_COLUMNS
    folded = fold(member_list.payloads)
    assert sum(folded.statuses.values()) == len(member_list.payloads) == folded.received
    assert folded.state.memberships["member"].sum() == member_list.members
    assert (folded.state.memberships["timestamp"] == member_list.taken_at).all()


@pytest.mark.parametrize(
    ("name", "person", "expected"),
    [
        (
            "engage_unformatted.csv",
            "user:c_001",
            [("ana@shop.test", "+12025550101"), ("ana@home.test", "+12025550111")],
        ),
        ("engage_unformatted.csv", "user:c_003", [(None, "12025550103")]),
        (
            "engage_formatted.csv",
            "user:c_001",
            [("ana@shop.test", "+12025550101"), ("ana@home.test", "+12025550111")],
        ),
        ("engage_formatted.csv", "user:c_002", [("ben@home.test", None), ("ben@work.test", None)]),
        ("members.csv", "user:0003", [("cara@shop.test", None)]),
    ],
)
def test_all_contacts_are_kept_in_order(name, person, expected):
    """Contacts of JSON cells and of numbered columns are candidates, digit for digit, the first preferred."""
    assert contacts(read(DATA / name), person) == expected


def test_profiles_sync_joins_contacts_through_merges():
    """Identifiers of merged profiles are contacts of the profile of today; the one seen last goes first."""
    member_list = read(DATA / "profiles_sync", audience_key="vip_customers")
    assert contacts(member_list, "user:c_001") == [
        ("ana@shop.test", "+12025550101"),
        ("ana@old.test", "+12025550104"),
        ("cara@shop.test", "+12025550111"),
    ]
    assert member_list.names["name"].tolist() == ["user:c_004", "anonymous:anon-3"]
    assert reasons(member_list) == [None, None, "PROFILE_MERGED", "PROFILE_MERGED", None]


def test_merged_rows_of_a_wide_table_count_only_where_their_profile_is_absent():
    """A chain of merges ends at a profile with its own row; one whose profile is not there still counts."""
    member_list = read(DATA / "profile_traits.csv", audience_key="vip_customers")
    assert reasons(member_list) == [None, "PROFILE_MERGED", "PROFILE_MERGED", None, None]
    assert ("ben@old.test", "+12025550112") in contacts(member_list, "user:c_001")
    assert member_list.is_complete


def test_a_blank_id_is_no_id():
    """Profiles without a canonical id are not one person: a contact names each, or the row has none."""
    wide = pd.DataFrame(
        {
            "canonical_segment_id": [None, "", None, "p4", None],
            "merged_to": [None, None, None, None, "p4"],
            "email": ["ana@shop.test", "ben@shop.test", None, "dan@shop.test", "old@shop.test"],
            "vip": ["true", "false", "true", "true", "false"],
        }
    )
    member_list = read(wide)
    assert members(member_list) == {"vip": ["email:ana@shop.test", "email:dan@shop.test"]}
    assert reasons(member_list) == [None, None, "NO_PERSON", None, "PROFILE_MERGED"]
    assert contacts(member_list, "email:ana@shop.test") == [("ana@shop.test", None)]
    assert contacts(member_list, "email:dan@shop.test") == [("dan@shop.test", None), ("old@shop.test", None)]
    traits = pd.DataFrame({"canonical_segment_id": [None, "b", ""], "name": "vip", "value": "true"})
    identifiers = pd.DataFrame({"canonical_segment_id": ["", "b"], "type": "user_id", "value": ["1", "2"]})
    member_list = read({"user_traits": traits, "user_identifiers": identifiers})
    assert members(member_list) == {"vip": ["user:2"]}
    assert reasons(member_list) == ["NO_PERSON", None, "NO_PERSON"]


def test_a_circle_of_merges_ends():
    """Profiles merged into each other in a circle stay themselves."""
    merges = pd.DataFrame({"canonical_segment_id": ["b", "c", "a"], "segment_id": ["a", "b", "c"]})
    traits = pd.DataFrame({"canonical_segment_id": ["a", "b"], "name": "vip", "value": [True, "FALSE"]})
    identifiers = pd.DataFrame({"canonical_segment_id": ["a", "b"], "type": "user_id", "value": ["1", "2"]})
    tables = {"user_traits": traits, "user_identifiers": identifiers, "profile_merges": merges}
    assert members(read(tables)) == {"vip": ["user:1"]}


@pytest.mark.parametrize(
    ("away", "into", "expected"),
    [
        ("ab", "bc", "cccx"),
        ("abc", "bca", "abcx"),
        ("xabc", "abca", "abcx"),
        ("aab", "bcb", "cbcx"),
        ("", "", "abcx"),
    ],
    ids=["chain", "circle", "into a circle", "last one stands", "none"],
)
def test_merges_are_followed_to_their_end(away, into, expected):
    """An id means the profile at the end of its chain; where a chain has no end the id means itself."""
    found = follow_merges(pa.array([*"abcx"]), pa.array([*away], TEXT), pa.array([*into], TEXT))
    assert "".join(found.to_pylist()) == expected


def test_tables_of_a_mapping_may_be_paths_and_frames():
    """The two tables of Profiles Sync come as a mapping too, one from disk and one from memory."""
    folder = DATA / "profiles_sync"
    identifiers = pd.read_csv(folder / "user_identifiers.csv", dtype=str)
    tables = {"user_traits": folder / "user_traits.csv", "user_identifiers": identifiers}
    member_list = read(tables, audience_key="churn_risk")
    assert members(member_list) == {"churn_risk": ["user:c_002"]}


MEMBERS = pd.DataFrame(
    {"user_id": ["007", "c_2"], "email": ["ana@shop.test", None], "phone": ["+12025550101", "+12025550102"]}
)


def write_csv(frame, path):
    frame.to_csv(path, index=False)


def write_gzip(frame, path):
    path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))


def write_parquet(frame, path):
    frame.to_parquet(path)


@pytest.mark.parametrize("write", [write_csv, write_gzip, write_parquet], ids=["csv", "gzip", "parquet"])
def test_file_formats_say_the_same(tmp_path, write):
    """CSV, packed CSV, Parquet and a frame of the same members give the same; text stays text."""
    write(MEMBERS, tmp_path / "members")
    member_list = read(tmp_path / "members")
    assert members(member_list) == {"vip": ["user:007", "user:c_2"]}
    assert contacts(member_list, "user:007") == [("ana@shop.test", "+12025550101")]
    pd.testing.assert_frame_equal(member_list.candidates, read(MEMBERS).candidates)


LETTERS = st.text("ab[]*?!\\'\"~%# =:é\n\udcff", min_size=1, max_size=8).map(lambda text: "x" + text)
HIVE = st.sampled_from(["user_id", "EMAIL", "phone", "audience_key", "membership", "taken_at"]).map(
    lambda name: f"{name}=raw"
)


@settings(max_examples=5, phases=(Phase.explicit, Phase.generate))
@example(names=["phone=+1", "user_id=export1", "email=x", "MEMBERSHIP=false"])
@given(names=st.lists(st.one_of(HIVE, LETTERS), min_size=4, max_size=4))
def test_a_path_is_never_data(tmp_path_factory, names):
    """Whatever folders and files are called, CSV and Parquet list the same members."""
    above, below, csv_name, parquet_name = names
    root = tmp_path_factory.mktemp("names") / above / "lists"
    (root / below).mkdir(parents=True)
    write_csv(MEMBERS, root / below / f"{csv_name}.csv")
    write_parquet(MEMBERS, root.parent.parent / "members")
    (root.parent.parent / "members").rename(root / below / f"{parquet_name}.parquet")
    member_list = read(root)
    assert members(member_list) == members(read([MEMBERS, MEMBERS]))
    pd.testing.assert_frame_equal(member_list.candidates, read(MEMBERS).candidates)


def test_a_link_to_nothing_is_named(tmp_path):
    """A part of a list that is missing would be people who leave."""
    write_csv(MEMBERS, tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(InputPathError, match=r"b\.csv cannot be read: it is a link to nothing"):
        read(tmp_path)


def test_files_of_a_folder_are_one_list(tmp_path):
    """A folder and a list of its files give the members of all; what tools left behind is not read."""
    for number in (1, 2):
        write_csv(MEMBERS.assign(user_id=[f"a{number}", f"b{number}"]), tmp_path / f"part-{number}.csv")
    (tmp_path / "_SUCCESS").write_text("")
    expected = {"vip": ["user:a1", "user:b1", "user:a2", "user:b2"]}
    assert members(read(tmp_path)) == expected
    assert members(read([tmp_path / "part-1.csv", tmp_path / "part-2.csv"])) == expected


def test_files_of_a_wide_table_are_read_as_one(tmp_path):
    """A profile merged into one of another file has no membership of its own."""
    first = pd.DataFrame({"canonical_segment_id": ["a"], "merged_to": ["b"], "user_id": ["1"], "vip": [True]})
    second = pd.DataFrame(
        {"canonical_segment_id": ["b"], "merged_to": [None], "user_id": ["2"], "vip": [False]}
    )
    assert reasons(read([first, second])) == ["PROFILE_MERGED", None]


def test_columns_may_be_named():
    """`columns` gives the role of a column that its name does not show, several for one role too."""
    frame = pd.DataFrame(
        {"Customer": ["9"], "Mobile": ["+12025550101"], "Home": ["+12025550102"], "vip": ["x"]}
    )
    listed = read(frame, audience_key="gold", columns={"user_id": "customer", "phone": ["Mobile", "Home"]})
    assert members(listed) == {"gold": ["user:9"]}
    assert contacts(listed, "user:9") == [(None, "+12025550101"), (None, "+12025550102")]


def test_one_audience_of_several():
    """`audience_key` takes one audience of a list that names several."""
    member_list = read(DATA / "several_audiences.tsv", audience_key="vip")
    assert members(member_list) == {"vip": ["user:c_001"]}
    assert member_list.audience_keys == ("vip",)
    assert member_list.is_complete


# --- membership values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "complete"),
    [
        ("true", None, True),
        ("false", None, True),
        (True, None, True),
        (np.False_, None, True),
        ("True", "MEMBERSHIP_NOT_BOOLEAN", False),
        (1, "MEMBERSHIP_NOT_BOOLEAN", False),
        (None, "MEMBERSHIP_MISSING", False),
    ],
    ids=str,
)
def test_a_membership_column_takes_true_and_false_alone(value, expected, complete):
    """In a list anything else leaves open whether the row is a member: then no one may be removed."""
    frame = pd.DataFrame({"user_id": ["1"], "member": pd.Series([value], dtype="object")})
    member_list = read(frame)
    assert (reasons(member_list), member_list.is_complete) == ([expected], complete)


@pytest.mark.parametrize(
    ("value", "expected", "complete"),
    [
        ("TRUE", None, True),
        ("False", None, True),
        (None, "MEMBERSHIP_MISSING", True),
        ("perhaps", "MEMBERSHIP_NOT_BOOLEAN", False),
    ],
    ids=str,
)
def test_a_warehouse_may_write_true_in_its_own_way(value, expected, complete):
    """Warehouses write true in any case, and nothing for profiles that never had the trait."""
    frame = pd.DataFrame({"user_id": ["1"], "VIP": [value], "received_at": [AT]})
    member_list = read(frame)
    assert (reasons(member_list), member_list.is_complete) == ([expected], complete)
    assert member_list.audience_keys == ("vip",)


# --- contacts as text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([12025550101], dtype="int64"), "12025550101"),
        (pd.Series([12025550101.0], dtype="float64"), "12025550101"),
        (pd.Series(["+12025550101 "]), "+12025550101"),
        (pd.Series([12025550101, "x"], dtype="object").head(1), "12025550101"),
        (pd.Series(["0202"], dtype="category"), "0202"),
        (pd.Series([b"+1202"], dtype="object"), "+1202"),
        (pd.Series([float("nan")]), None),
        (pd.Series([r"\N"]), None),
    ],
    ids=["int", "float", "spaces", "object", "category", "bytes", "nan", "null of a database"],
)
def test_a_phone_is_text_whatever_type_it_came_in(column, expected):
    """Digits stay digits: no exponent, no point, no lost zero."""
    member_list = read(pd.DataFrame({"user_id": ["1"], "phone": column}))
    assert [phone for _email, phone in contacts(member_list, "user:1")] == ([expected] if expected else [])


def test_a_phone_that_a_spreadsheet_destroyed_is_counted():
    """Scientific notation is counted and unusable; where it was the only contact, no one may be removed."""
    frame = pd.DataFrame({"user_id": ["1", "2"], "email": [None, "b@shop.test"], "phone": ["1.5551E+10"] * 2})
    member_list = read(frame)
    assert any("2 phones" in note for note in member_list.notes)
    assert set(check_contacts(member_list.candidates)["phone_code"]) == {"phone_spreadsheet_damage"}
    assert not member_list.is_complete
    assert read(frame.tail(1)).is_complete


@pytest.mark.parametrize("name", ["email", "phone"])
def test_hashed_contacts_are_refused(name):
    """Digests find no subscriber: the sentence names the contact."""
    with pytest.raises(FileFormatError, match=f"{name}s in .* hashed"):
        read(pd.DataFrame({"user_id": ["1", "2"], name: ["ab" * 32, "CD" * 32]}))
    assert read(pd.DataFrame({"user_id": ["1", "2"], name: ["ab" * 32, "x"]})).members == 2


# --- damage -------------------------------------------------------------------------------------------


def test_a_torn_row_takes_no_other_row_with_it():
    """Ragged rows, an open quote and a cut last line are malformed with their line; the rest is read."""
    member_list = read(DATA / "torn.csv")
    torn = member_list.payloads[member_list.payloads["status"] == "malformed"]
    assert sorted(torn["line"].dropna()) == [3, 4, 5, 9]
    assert set(torn["reason_code"]) == {"ROW_TORN"}
    assert len(torn) == 5  # and the row with a line break within its email
    assert not member_list.is_complete


@pytest.mark.parametrize(
    ("text", "people", "torn"),
    [
        ('user_id,email\r\n1,"a@x.test"\r\n\r\n2,b@x.test', ["1", "2"], 0),
        ('user_id,email\n1,a@x.test\n2,"b@x.test', ["1"], 1),
        ("user_id,email\n1,a@x.test\n2", ["1"], 1),
        ('user_id,email,note\n1,a@x.test,"two\nlines"\n2,b@x.test,5" pipe\n3,,6" pipe\n', ["1", "2", "3"], 0),
        ("user_id,email\r1,a@x.test\r2,b@x.test\r", ["1", "2"], 0),
        ("\n\nuser_id,email\n1,a@x.test\n", ["1"], 0),
        ("user_id,email\n,\n1,a@x.test\n", ["1"], 0),
    ],
    ids=["crlf", "open quote", "cut", "lines in a cell", "cr alone", "blank lines", "blank cells"],
)
def test_csv_as_it_comes(tmp_path, text, people, torn):
    """Line ends, quotes and blanks of all sorts; only a broken row makes the list incomplete."""
    (tmp_path / "m.csv").write_bytes(text.encode())
    member_list = read(tmp_path / "m.csv")
    assert members(member_list) == {"vip": [f"user:{person}" for person in people]}
    assert (member_list.payloads["status"] == "malformed").sum() == torn
    assert member_list.is_complete == (not torn)


CELLS = st.text(alphabet='ab",;\t\n é“', max_size=6)


@examples(20, 100, st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8))
def test_what_pandas_writes_is_read_cell_by_cell(rows):
    """Any text in quotes comes back as it was, but for spaces around it."""
    frame = pd.DataFrame(
        [[f"u{n}", *row] for n, row in enumerate(rows)], columns=["user_id", "email", "note"]
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.csv"
        frame.to_csv(path, index=False, quoting=1)
        member_list = read(path)
    assert len(member_list.payloads) == len(rows)
    found = member_list.candidates["email"].tolist()
    assert found == [text for row in rows if (text := row[0].strip())]


ROWS = st.lists(st.lists(st.text('ab, "', max_size=4), min_size=1, max_size=4), min_size=1, max_size=12)


@examples(30, 300, ROWS)
def test_rows_of_one_line_are_read_as_python_reads_them(rows):
    """A row of the right width has the cells of csv.reader, whatever its quotes; others are torn alone."""
    written = [",".join(row) for row in rows]
    # A second line with an open quote may close the first one's: a row of several lines.
    is_open = [line.count('"') % 2 == 1 for line in written]
    lines = [line for place, line in enumerate(written) if not is_open[place] or place == is_open.index(True)]
    expected, torn = [], []
    for place, line in enumerate(lines):
        try:
            cells = next(csv.reader([line], strict=line.count('"') % 2 == 1), [])
        except csv.Error:
            cells = []
        if len(cells) == 2:
            expected.append(cells)
        elif line:
            torn.append(place)
    columns, found = _read_rows("\n".join(lines).encode(), ",", 2)
    assert [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)] == expected
    assert sorted(found) == torn


def test_a_quote_that_stays_open_takes_its_own_line_only(tmp_path):
    """Rows up to the next quote are whole rows, and the rows behind it as well."""
    (tmp_path / "m.csv").write_text('user_id,email\n1,"a@x.test\n2,b@x.test\n3,"c@x.test"\n4,d@x.test\n')
    member_list = read(tmp_path / "m.csv")
    assert members(member_list) == {"vip": ["user:2", "user:3", "user:4"]}
    assert member_list.payloads["line"].dropna().tolist() == [2]


@pytest.mark.parametrize("kept", [0.5, 0.98], ids=["half", "nearly all"])
def test_a_packed_file_that_is_cut_is_read_up_to_the_cut(tmp_path, kept):
    """Damage is one more malformed row, the rows before it are kept, and removals are not safe."""
    frame = pd.DataFrame({"user_id": [f"u{n * 7919 % 5000}" for n in range(5000)]})
    packed = gzip.compress(frame.to_csv(index=False).encode())
    (tmp_path / "m.csv.gz").write_bytes(packed[: int(len(packed) * kept)])
    member_list = read(tmp_path / "m.csv.gz")
    assert 0 < member_list.members < 5000
    assert set(members(member_list)["vip"]) <= {f"user:{name}" for name in frame["user_id"]}
    assert reasons(member_list)[-1] == "FILE_DAMAGED"
    assert not member_list.is_complete


@pytest.mark.parametrize("end", [None, -8], ids=["whole", "cut"])
def test_a_packed_file_that_unpacks_without_end_is_refused(tmp_path, end):
    """Forty megabytes in forty kilobytes list no members, and are not held."""
    (tmp_path / "m.csv").write_bytes(gzip.compress(b"user_id\n" + b"x" * (40 << 20), mtime=0)[:end])
    with pytest.raises(FileFormatError, match=r"m\.csv unpacks to more than 32 MB"):
        read(tmp_path / "m.csv")


def test_a_broken_byte_in_a_packed_file_is_damage(tmp_path):
    """A wrong checksum or a broken middle never passes for a whole list."""
    packed = bytearray(gzip.compress(b"user_id\n" + b"".join(b"u%d\n" % n for n in range(3000))))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "m.csv").write_bytes(bytes(packed))
    assert not read(tmp_path / "m.csv").is_complete


def test_bytes_that_are_no_utf8_spoil_only_what_they_are_in(tmp_path):
    """A Latin-1 first name is nothing to worry about; a spoilt id or contact makes its row malformed."""
    (tmp_path / "m.csv").write_bytes(
        "user_id,email,name\n1,a@x.test,José\n2,josé@x.test,J\n".encode("latin-1")
    )
    member_list = read(tmp_path / "m.csv")
    assert reasons(member_list) == [None, "ROW_TORN"]
    assert any("not UTF-8" in note for note in member_list.notes)


def test_typographic_quotes_are_repaired_and_counted():
    """JSON is read strictly first: quotes within a good text stay; what stays unreadable is malformed."""
    member_list = read(DATA / "engage_typographic.csv")
    assert reasons(member_list) == [None, None, "NOT_JSON"]
    assert contacts(member_list, "user:c_002") == [("o“neill”@shop.test", None)]
    assert any(note.startswith("1 rows") and "typographic" in note for note in member_list.notes)
    assert not member_list.is_complete


# --- what is refused ----------------------------------------------------------------------------------


@every(
    "source, options, error, match",
    [
        (DATA / "computed_trait.csv", {}, FileFormatError, "computed trait"),
        (DATA / "computed_trait_formatted.csv", {}, FileFormatError, "computed trait"),
        (DATA / "hashed.csv", {}, FileFormatError, "hashed"),
        (DATA / "members.csv", {"audience_key": ""}, ParameterError, "Give audience_key"),
        (DATA / "engage_formatted.csv", {"audience_key": ""}, ParameterError, "Give audience_key"),
        (DATA / "members.csv", {"taken_at": None}, ParameterError, "Give taken_at"),
        (DATA / "members.csv", {"taken_at": "yesterday-ish"}, ParameterError, "taken_at is no time"),
        (
            DATA / "users.csv",
            {"audience_key": "vip_customer"},
            ParameterError,
            '"vip_customers", "churn_risk"',
        ),
        (DATA / "profile_traits.csv", {}, ParameterError, "no column of the audience vip"),
        (DATA / "profiles_sync", {}, ParameterError, "No trait is named vip"),
        (DATA / "several_audiences.tsv", {"audience_key": "vpi"}, ParameterError, "churn, vip"),
        (DATA / "profiles_sync" / "user_traits.csv", {}, FileFormatError, "user_identifiers is missing"),
        (DATA / "profiles_sync" / "user_identifiers.csv", {}, FileFormatError, "user_traits is missing"),
        (DATA, {"audience_key": "vip_customers"}, FileFormatError, "computed trait"),
        ([DATA / "members.csv", DATA / "engage_formatted.csv"], {}, FileFormatError, "mixes"),
        (
            [DATA / "users.csv", DATA / "profile_traits.csv"],
            {"audience_key": ""},
            FileFormatError,
            "different",
        ),
        (DATA / "nowhere.csv", {}, InputPathError, "does not exist"),
        ("", {}, InputPathError, "does not exist"),
        (pd.DataFrame({"colour": ["red"]}), {}, FileFormatError, 'it has "colour"'),
        (pd.DataFrame({"user_id": ["1"]}), {"columns": {"email": "Mail"}}, ParameterError, "no such column"),
        (pd.DataFrame({"user_id": ["1"]}), {"columns": {"mail": "x"}}, ParameterError, "it can name"),
        ({"events": MEMBERS}, {}, ParameterError, "it can name user_traits"),
        ({"user_traits": MEMBERS}, {}, FileFormatError, "given as user_traits, is a plain member list"),
        (5, {}, FileFormatError, "not from int"),
        ([], {}, ParameterError, "has no tables"),
    ],
)
def test_what_is_no_member_list_is_refused_with_a_sentence(source, options, error, match):
    """Every refusal says what to do; a mistyped audience never passes for one without members."""
    with pytest.raises(error, match=match):
        read(source, **options)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("user_id\n1\n".encode("utf-16"), "UTF-16"),
        ("user_id\n1\n".encode("utf-16-le"), "UTF-16"),
        (b"", "is empty"),
        (b'{"type":"track"}\n', "read_events"),
        (b"PK\x03\x04....", "Excel"),
        (b"PAR1 and nothing else", "damaged Parquet"),
        (b"ana@shop.test,+12025550101\nben@shop.test,+12025550102\n", "no column of ids"),
    ],
    ids=["utf-16", "utf-16 without mark", "empty", "json", "excel", "parquet", "no header"],
)
def test_files_of_another_kind_are_named(tmp_path, data, match):
    """The sentence names the kind of file, and never a contact that stands where a header should."""
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(FileFormatError, match=match) as raised:
        read(tmp_path / "m.csv")
    assert "@shop.test" not in str(raised.value)
    assert "5550101" not in str(raised.value)


def test_a_member_list_without_rows_is_empty(tmp_path):
    """A header alone is an empty list, which mirror_member_list() does not take for granted."""
    (tmp_path / "m.csv").write_text("user_id,email\n")
    member_list = read(tmp_path / "m.csv")
    assert (member_list.members, member_list.audience_keys, member_list.is_complete) == (0, ("vip",), True)
    assert fold(member_list.payloads).received == 0


# --- time ---------------------------------------------------------------------------------------------


def test_the_time_is_the_newest_that_segment_put_there():
    """Without taken_at: the newest time of receipt; an event's own time, which may lie ahead, is no proof."""
    member_list = read_member_list(DATA / "profiles_sync", audience_key="vip_customers")
    assert member_list.taken_at == pd.Timestamp("2025-03-06T12:30:00Z")


@pytest.mark.parametrize(
    "taken_at",
    [AT, "2025-03-04 10:15:00", pd.Timestamp(AT), pd.Timestamp("2025-03-04T12:15:00+02:00").to_pydatetime()],
    ids=["text", "no zone", "pandas", "python"],
)
def test_taken_at_is_utc(taken_at):
    """A time given as text or value is the same moment in UTC."""
    assert read(MEMBERS, taken_at=taken_at).taken_at == pd.Timestamp(AT)


@pytest.mark.parametrize("taken_at", [1735689600, 1735689600.0, 1735689600000, np.int64(1735689600), True, 0])
def test_a_number_is_no_time(taken_at):
    """Seconds, milliseconds or nanoseconds: a guess could be 1970, when every membership would be newer."""
    with pytest.raises(ParameterError, match="taken_at is no time"):
        read(MEMBERS, taken_at=taken_at)


# --- hostile input ------------------------------------------------------------------------------------

DEEP = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        "\ud800",
        float("nan"),
        float("inf"),
        10**5000,
        json.loads("[" * 900 + "]" * 900),
        object(),
    ],
    ids=["1 MB", "lone surrogate", "nan", "infinity", "huge", "nested", "object"],
)
@pytest.mark.parametrize("column", ["user_id", "email", "phone", "member", "audience_key", "external_ids"])
def test_hostile_cells_end_in_a_status(column, value):
    """Whatever a cell holds, its row ends in a status and the other row counts."""
    frame = pd.DataFrame({"user_id": ["1", "2"], "member": ["true", "true"], "audience_key": ["vip", "vip"]})
    frame = frame.astype("object").reindex(columns=[*frame.columns, *({column} - {*frame.columns})])
    frame[column] = frame[column].astype("object")
    frame.at[0, column] = value
    member_list = read(frame, audience_key="")
    assert "user:2" in members(member_list)["vip"]
    assert fold(member_list.payloads).received == 2


@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        '{"email":' + DEEP + "}",
        '{"email":["\\ud800"]}',
        '{"phone":' + "9" * 9999 + "}",
        "{" * 99,
        "null",
    ],
    ids=["deep", "deep within", "lone surrogate", "huge", "torn", "null"],
)
def test_hostile_json_ends_in_a_status(text):
    """JSON of an export that cannot be read, or reads as something odd, is a status as well."""
    frame = pd.DataFrame({"key": ["a", "b"], "external_ids": [text, '{"user_id":["2"]}']})
    member_list = read(frame)
    assert "user:2" in members(member_list)["vip"]
    assert fold(member_list.payloads).received == 2


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_columns_and_contacts(count):
    """Many columns, and one member with many contacts, are read like any other."""
    wide = pd.DataFrame([[str(n) for n in range(count)]], columns=[f"email_{n}" for n in range(count)])
    assert len(read(wide).candidates) == count
    ids = json.dumps({"email": [f"a{n}@shop.test" for n in range(count)]})
    assert len(read(pd.DataFrame({"key": ["a"], "external_ids": [ids]})).candidates) == count
