"""Archives: whatever lies in a bucket is read, and each line that is no event is counted with its place."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import re
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import PROJECT
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from toolkit.audiences.memberships import fold
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.segment.archive import Archive, read_events
from toolkit.segment.destination import Destination
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.segment.inputs import Unpacked

TORN = b'{"type": "identify", "userId"'


def event(number, *, member=True, **fields):
    """Return an Engage call about user *number* and the audience vip."""
    return {
        "type": "identify",
        "messageId": f"m{number}",
        "userId": f"u{number}",
        "timestamp": "2025-03-04T10:15:00.000Z",
        "receivedAt": "2025-03-04T10:15:01.000Z",
        "traits": {"vip": member, "email": f"u{number}@mail.test"},
        "context": {
            "personas": {
                "computation_class": "audience",
                "computation_id": "aud_1",
                "computation_key": "vip",
            }
        },
        **fields,
    }


def line(number, **fields):
    return json.dumps(event(number, **fields)).encode()


def lines(*numbers):
    return b"".join(line(number) + b"\n" for number in numbers)


def write(path, content):
    """Write *content*, and the folders above it; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(source):
    return read_events(source).payloads()


def ids(frame):
    return frame["message_id"].dropna().tolist()


def malformed(frame):
    """Return (file, line, reason) of the lines that could not be read."""
    bad = frame[frame["status"] == "malformed"]
    return list(zip(bad["file"].astype("str"), bad["line"].tolist(), bad["reason_code"], strict=True))


def many(count, *, seed=1):
    """Return whole lines that do not compress away, so that damage lies where it is put."""
    chance = random.Random(seed)
    return [line(number, salt=f"{chance.getrandbits(1024):x}") + b"\n" for number in range(count)]


# --- where events are found -------------------------------------------------------------------------------


def test_one_plain_file(tmp_path):
    """A single file is read, and its rows name it without its folder."""
    frame = read(write(tmp_path / "events.jsonl", lines(1, 2)))
    assert ids(frame) == ["m1", "m2"]
    assert frame["file"].astype("str").tolist() == ["events.jsonl"] * 2
    assert dict(frame.dtypes.astype("str")) == PAYLOAD_COLUMNS


def test_a_row_holds_what_the_event_says(tmp_path):
    """Every column of a row comes from the event and nothing is lost on the way."""
    call = event(
        1, member=False, userId=None, anonymousId="a-1", integrations={"All": False, "Postscript": True}
    )
    call["traits"]["phone"] = " +1 202 555 0143 "
    row = read(write(tmp_path / "e.jsonl", json.dumps(call).encode())).iloc[0].to_dict()
    assert pd.isna(row.pop("line"))
    assert pd.isna(row.pop("status"))
    assert pd.isna(row.pop("reason_code"))
    assert pd.isna(row.pop("event_name"))
    assert pd.isna(row.pop("trait_key"))
    assert pd.isna(row.pop("trait_value"))
    assert row == {
        "file": "e.jsonl",
        "message_id": "m1",
        "mapping": "Sync Audiences",
        "event_type": "identify",
        "person": "anonymous:a-1",
        "audience_key": "vip",
        "audience_id": "aud_1",
        "membership": False,
        "email": "u1@mail.test",
        "phone": "+1 202 555 0143",
        "timestamp": datetime(2025, 3, 4, 10, 15, tzinfo=UTC),
        "received_at": datetime(2025, 3, 4, 10, 15, 1, tzinfo=UTC),
    }


def test_a_folder_is_read_with_everything_below_it(tmp_path):
    """Files in a bucket's layout come in the order of their names, whatever their kind."""
    root = tmp_path / "segment-logs"
    write(root / "src" / "1700000000000" / "b.gz", gzip.compress(lines(2)))
    write(root / "src" / "1700000000000" / "a.jsonl", lines(1))
    write(root / "src" / "1700086400000" / "c.gz", gzip.compress(lines(3)))
    frame = read(root)
    assert ids(frame) == ["m1", "m2", "m3"]
    assert frame["file"].astype("str").tolist() == [
        "src/1700000000000/a.jsonl",
        "src/1700000000000/b.gz",
        "src/1700086400000/c.gz",
    ]


@pytest.mark.parametrize("pattern", ["*/x.jsonl", "**/x.jsonl", "d[12]/x.jsonl", "d?/x.jsonl"])
def test_a_glob(tmp_path, pattern):
    """A glob takes the files that match it and no other."""
    write(tmp_path / "d1" / "x.jsonl", lines(1))
    write(tmp_path / "d2" / "x.jsonl", lines(2))
    write(tmp_path / "d2" / "y.jsonl", lines(3))
    assert sorted(ids(read(str(tmp_path / pattern)))) == ["m1", "m2"]


@pytest.mark.parametrize(
    "ignored",
    [
        "dummy-object.txt",
        "src/day/dummy-object.txt",
        ".DS_Store",
        "_SUCCESS",
        "src/.hidden.jsonl",
        ".ipynb_checkpoints/events-checkpoint.jsonl",
    ],
)
def test_files_that_are_not_part_of_an_archive(tmp_path, ignored):
    """Segment's dummy object, and what tools hide beside the events, are passed over."""
    write(tmp_path / "logs" / "events.jsonl", lines(1))
    write(tmp_path / "logs" / ignored, lines(8, 9))
    assert ids(read(tmp_path / "logs")) == ["m1"]


def test_a_hidden_folder_above_the_archive_hides_nothing(tmp_path):
    """Only names below the folder that was asked for count."""
    assert ids(read(write(tmp_path / ".cache" / "logs" / "e.jsonl", lines(1)).parent)) == ["m1"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("events.json", gzip.compress(lines(1, 2)), id="gzip without its name"),
        pytest.param("events.gz", lines(1, 2), id="plain with gzip's name"),
        pytest.param("events.gz", gzip.compress(lines(1)) + gzip.compress(lines(2)), id="members in a row"),
        pytest.param(
            "events.gz",
            gzip.compress(lines(1)) + gzip.compress(b"") + gzip.compress(lines(2)),
            id="empty member",
        ),
        pytest.param("events", gzip.compress(line(1) + b"\n" + line(2)), id="no newline at the end"),
        pytest.param("events.jsonl", line(1) + b"\r\n" + line(2) + b"\r\n", id="windows newlines"),
    ],
)
def test_the_content_shows_the_kind(tmp_path, name, content):
    """Gzip is known by its first bytes, since buckets and browsers rename and unpack at will."""
    frame = read(write(tmp_path / name, content))
    assert ids(frame) == ["m1", "m2"]
    assert not malformed(frame)


@pytest.mark.parametrize(
    "name", ["events[1].jsonl", "a*b.jsonl", "a?b.jsonl", "it's (1).jsonl", "day=1.jsonl"]
)
def test_a_file_name_is_not_a_pattern(tmp_path, name):
    """A downloaded copy's brackets mean themselves, also beside a file that they would match."""
    write(tmp_path / name, lines(1))
    write(tmp_path / "events1.jsonl", lines(7))
    write(tmp_path / "axb.jsonl", lines(8))
    assert ids(read(tmp_path / name)) == ["m1"]
    assert sorted(ids(read(tmp_path))) == ["m1", "m7", "m8"]


FIELDS = (
    "type",
    "userId",
    "messageId",
    "timestamp",
    "receivedAt",
    "integrations",
    "number",
    "cut",
    "needs_python",
)
NAMES = st.one_of(
    st.builds(
        lambda key, cased, value: f"{cased(key)}={value}",
        st.sampled_from(FIELDS),
        st.sampled_from([str, str.upper, str.lower]),
        st.sampled_from(["raw", "2025-03-04", "[1]", ""]),
    ),
    st.text("ab[]*?!\\'\"~{}%# =:é\n\udcff", min_size=1, max_size=8).map(lambda text: "x" + text),
)
"""Names of folders and files: as data lakes have them, with every letter that means something to a reader."""


def check_names(above, names):
    """Lay events into folders and files of these names, and expect what the events say."""
    root = above / "logs"
    expected = []
    for number, name in enumerate(names):
        broken = event(number, timestamp="March 4") if number % 2 else event(number)
        expected.append(broken)
        content = json.dumps(broken).encode() + b"\n" + TORN
        packed = gzip.compress(content) if number % 3 else content
        write(root / names[number - 1] / f"{number}" / name, packed)
    columns = ["message_id", "person", "event_type", "membership", "timestamp", "received_at"]
    expected = read(expected)[columns].sort_values("message_id", ignore_index=True)
    whole = read(root)
    by_person = pd.concat(read_events(root).payloads_by_person(part_bytes=2_000))
    for frame in (whole, by_person):
        found = frame[frame["status"] != "malformed"].sort_values("message_id", ignore_index=True)
        pd.testing.assert_frame_equal(found[columns], expected)
    assert [place for _file, place, _reason in malformed(whole)] == [2] * len(names)
    whole.to_parquet(io.BytesIO())  # their names can be written


SEVERAL = st.lists(NAMES, min_size=6, max_size=8)
WITHOUT_SHRINKING = (Phase.explicit, Phase.generate)  # each try reads an archive


@settings(max_examples=1, phases=WITHOUT_SHRINKING)
@example(above="type=raw", names=["USERID=export1", "timestamp=2025-03-04", "x\\[b", "x*[", "?", "number=1"])
@given(above=NAMES, names=SEVERAL)
def test_a_path_is_never_data(tmp_path_factory, above, names):
    """Whatever folders and files are called, plain or gzip, whole or by person, the events say the same."""
    check_names(tmp_path_factory.mktemp("names") / above, names)


@pytest.mark.slow
@settings(max_examples=150, phases=WITHOUT_SHRINKING)
@given(above=NAMES, names=SEVERAL)
def test_a_path_is_never_data_at_length(tmp_path_factory, above, names):
    """The same, with many more names."""
    check_names(tmp_path_factory.mktemp("names") / above, names)


def test_the_folder_of_temporary_files_is_no_data_either(tmp_path, monkeypatch):
    """An archive that is cut on disk is cut in a folder that may be called anything."""
    folder = tmp_path / "it's[1]" / "status=malformed"
    folder.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = write(tmp_path / "e.jsonl", lines(1, 2, 3) + b"\xef\xbb\xbf")
    frame = pd.concat(read_events(path).payloads_by_person(part_bytes=100))
    assert sorted(ids(frame)) == ["m1", "m2", "m3"]
    assert frame["status"].isna().sum() == 3


def test_an_archive_of_blank_lines_holds_nothing(tmp_path):
    """No line is an event, and none is torn; so it is when the archive is cut into partitions."""
    path = write(tmp_path / "e.jsonl", b"\n" * 1000)
    (frame,) = read_events(path).payloads_by_person(part_bytes=100)
    assert frame.empty
    assert [*frame] == [*PAYLOAD_COLUMNS]


@pytest.mark.slow
def test_a_line_that_memory_does_not_hold(tmp_path, monkeypatch):
    """However it is read, the sentence says what to look for."""
    monkeypatch.setattr("toolkit.segment.archive.PARTITIONS_MEMORY", "150MB")
    monkeypatch.setattr("toolkit.segment.archive.WHOLE_MEMORY", "150MB")
    archive = read_events(write(tmp_path / "e.gz", gzip.compress(bytes(60 << 20), 1)))
    for act in (archive.payloads, lambda: [*archive.payloads_by_person()]):
        with pytest.raises(FileFormatError, match="look for a file without newlines"):
            act()


@pytest.mark.parametrize("path", ["logs", "logs/../logs/e.jsonl", "./logs//e.jsonl", "l*"])
def test_relative_paths(tmp_path, monkeypatch, path):
    """Paths are read from where the notebook runs."""
    write(tmp_path / "logs" / "e.jsonl", lines(1))
    monkeypatch.chdir(tmp_path)
    if path == "l*":
        path = "l*/*"
    assert ids(read(path)) == ["m1"]


def test_the_sample_is_found_from_any_folder(tmp_path, monkeypatch):
    """The path "sample" opens the bundled archive, wherever the notebook runs."""
    monkeypatch.chdir(tmp_path)
    frame = read("sample")
    assert frame["membership"].notna().sum() > 100
    assert frame["file"].cat.categories.str.endswith(".gz").all()


def test_links_to_folders_are_followed(tmp_path):
    """A day that lies on another disk is read, once, and a link back up does not go round."""
    root = tmp_path / "logs"
    write(root / "day1" / "e.jsonl", lines(1))
    write(tmp_path / "disk" / "day2" / "e.jsonl", lines(2))
    (root / "day2").symlink_to(tmp_path / "disk" / "day2")
    (root / "day1" / "up").symlink_to(root)
    (root / "_kept").symlink_to(root / "day1")
    for source in (root, f"{root}/**", f"{root}/**/*.jsonl"):
        frame = read(source)
        assert frame["status"].isna().tolist() == [True, True]
        assert ids(frame) == ["m1", "m2"]


def dangling(folder):
    (folder / "day2").symlink_to(folder / "gone")


def circular(folder):
    (folder / "day2").symlink_to(folder / "day2")


def pipe(folder):
    os.mkfifo(folder / "day2")


@pytest.mark.parametrize("pattern", ["", "/*", "/*/*.jsonl", "/**/*.jsonl"])
@pytest.mark.parametrize("made", [dangling, circular, pipe], ids=lambda made: made.__name__)
def test_what_cannot_be_looked_at_is_named(tmp_path, made, pattern):
    """A link to nothing, or a thing that is no file, is an error before anything is read."""
    write(tmp_path / "logs" / "day1" / "e.jsonl", lines(1))
    made(tmp_path / "logs")
    with pytest.raises(InputPathError, match="day2 ") as caught:
        read_events(f"{tmp_path}/logs{pattern}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", "/*/*", "/**/*.jsonl", "/day2/e.jsonl", "/*/e.jsonl"])
@pytest.mark.parametrize("mode", [0o000, 0o600], ids=["neither listed nor entered", "not entered"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path, pattern, mode):
    """A day without permission stops the reading: its exits would be missing."""
    write(tmp_path / "logs" / "day1" / "e.jsonl", lines(1))
    write(tmp_path / "logs" / "day2" / "e.jsonl", lines(2))
    (tmp_path / "logs" / "day2").chmod(mode)
    shown = without_rights(tmp_path, f"logs{pattern}")
    assert re.match("InputPathError: .*day2.*Permission denied", shown)


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    """So does one file without permission."""
    write(tmp_path / "logs" / "a.jsonl", lines(1))
    write(tmp_path / "logs" / "b.jsonl", lines(2)).chmod(0)
    shown = without_rights(tmp_path, "logs")
    assert re.match(r"InputPathError: b\.jsonl .*Permission denied", shown)


def without_rights(folder, path):
    """Return what read_events(path) raises in a child process that has no rights of its own."""
    for above in [folder, *folder.parents]:
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            os.chdir(folder)
            shown = f"nothing: {read_events(path)}"
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent looks at it
            shown = f"{type(error).__name__}: {error}"
        os.write(writing, shown.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize(
    "path", ["~nosuchuser/logs", "x" * 300, "a\0b", "\ud800"], ids=["user", "long", "NUL", "surrogate"]
)
def test_a_path_that_cannot_be_one(path):
    """It is refused with a sentence, not with the system's own error."""
    with pytest.raises(InputPathError, match="events_path"):
        read_events(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("nowhere/events.jsonl", "does not exist"),
        ("nothing-*.jsonl", "matches no file"),
        ("only-dummy", "holds no events"),
        ("only-dummy/dummy-object.txt", "holds no events"),
        ("blank.jsonl", "holds no events"),
        ("folder", "holds no events"),
    ],
)
def test_nothing_to_read(tmp_path, monkeypatch, path, message):
    """A path without events is refused with a sentence, never read as an empty archive."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "only-dummy" / "dummy-object.txt", b"dummy")
    write(tmp_path / "blank.jsonl", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputPathError, match=message) as caught:
        read_events(path)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("events.parquet", b"PAR1\x15\x04\x15PAR1", "a Parquet file", id="parquet"),
        pytest.param("events.zip", b"PK\x03\x04rest", "a zip file", id="zip"),
        pytest.param("events.zst", b"\x28\xb5\x2f\xfdrest", "a zstd file", id="zstd"),
        pytest.param("events.bz2", bz2.compress(lines(1)), "a bzip2 file", id="bzip2"),
        pytest.param("events.xz", lzma.compress(lines(1)), "an xz file", id="xz"),
        pytest.param("chart.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, "not an archive", id="png"),
        pytest.param("people.csv", b"email,phone\na@mail.test,+12025550143\n", "not an archive", id="csv"),
        pytest.param("a.json", json.dumps([event(1)], indent=1).encode(), "several lines", id="json list"),
        pytest.param("a.json", json.dumps([event(1)]).encode(), "one list", id="json list on a line"),
        pytest.param(
            "a.json", b"[\r\n" + line(1) + b",\r\n" + line(2) + b"]", "one list", id="list of lines"
        ),
        pytest.param(
            "a.json", b"\n" + json.dumps(event(1), indent=1).encode(), "several lines", id="indented"
        ),
        pytest.param(
            "a.gz", gzip.compress(b"\xef\xbb\xbf[" + line(1) + b"]", mtime=0), "one list", id="packed"
        ),
        pytest.param("page.html", b"<html>\n<body>Sign in</body>\n</html>\n", "not an archive", id="html"),
    ],
)
def test_a_file_of_another_kind(tmp_path, name, content, message):
    """Another kind of file is named for what it is, and the sentence says what to give."""
    with pytest.raises(FileFormatError, match=message) as caught:
        read(write(tmp_path / name, content))
    assert name in str(caught.value)
    assert "newline-delimited JSON" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\n\r\n  \n", id="plain"),
        # Ids are given: packed bytes hold the time they were packed at, and workers must collect the same.
        pytest.param(gzip.compress(b""), id="nothing, packed"),
        pytest.param(gzip.compress(b"\n"), id="a newline, packed"),
    ],
)
def test_a_file_of_blank_lines(tmp_path, content):
    """A file with nothing but blank lines is an archive without events."""
    frame = read(write(tmp_path / "e.jsonl", content))
    assert len(frame) == 0
    assert dict(frame.dtypes.astype("str")) == PAYLOAD_COLUMNS
    assert fold(frame).received == 0


def test_an_empty_file_beside_others(tmp_path):
    """Files of no length are no trouble and no rows."""
    write(tmp_path / "a.jsonl", b"")
    write(tmp_path / "b.jsonl", lines(1))
    assert ids(read(tmp_path)) == ["m1"]


# --- lines that are not events ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(TORN, id="torn"),
        pytest.param(b'{"type": "\xff\xfe"}', id="not UTF-8"),
        pytest.param(b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", id="200,000 lists deep"),
        pytest.param(b'{"a": ' * 200_000 + b"1" + b"}" * 200_000, id="200,000 objects deep"),
        pytest.param(b'{"userId": ' + b"9" * 5_000 + b"}", id="endless number"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"42", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="boolean"),
        pytest.param(b"\x00\x00", id="zero bytes"),
        pytest.param(b"{'type': 'identify'}", id="python"),
        pytest.param(lines(8).strip() + b" " + lines(9).strip(), id="two on a line"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_line_that_is_no_event(tmp_path, bad, packed):
    """It is one malformed row with its line number; its neighbours are read as if it were not there."""
    content = lines(1) + bad + b"\n" + lines(2)
    frame = read(write(tmp_path / "e.jsonl", gzip.compress(content) if packed else content))
    assert malformed(frame) == [("e.jsonl", 2, "NOT_JSON")]
    assert ids(frame) == ["m1", "m2"]
    assert frame["status"].tolist()[1] == "malformed"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"\n\n" + lines(1) + b"\n" + TORN + b"\n", [5], id="blank lines"),
        pytest.param(b"\r\n \t\r\n" + line(1) + b"\r\n" + TORN + b"\r\n" + line(2), [4], id="windows"),
        pytest.param(TORN + b"\n" + lines(1, 2) + TORN + b"\n\n" + TORN, [1, 4, 6], id="several"),
        pytest.param(lines(1) + TORN, [2], id="last, without newline"),
        pytest.param(
            line(1, a="\u2028\x85").replace(b"\\u2028", "\u2028".encode()) + b"\n" + TORN,
            [2],
            id="other line separators",
        ),
        pytest.param(lines(1) + b'{"type":"iden\ntify"}\n' + lines(2), [2, 3], id="newline inside a text"),
        pytest.param(lines(1) + b"\x0b\n\x0c\n" + TORN, [4], id="vertical tabs"),
    ],
)
def test_line_numbers_are_those_of_an_editor(tmp_path, content, expected):
    """Blank lines are no rows, but they count when lines are numbered."""
    write(tmp_path / "a.jsonl", lines(5))
    write(tmp_path / "b.jsonl", content)
    assert malformed(read(tmp_path)) == [("b.jsonl", number, "NOT_JSON") for number in expected]


@pytest.mark.parametrize("seed", range(12))
def test_every_line_is_accounted_for(tmp_path, seed):
    """However events, torn and blank lines are mixed over files, each line that is not blank is one row."""
    chance = random.Random(seed)
    events, torn = [], []
    for name in ("a.jsonl", "b.gz", "c.jsonl"):
        rows = []
        for number in range(1, chance.randrange(2, 30)):
            kind = chance.choice(["event", "event", "torn", "blank"])
            end = chance.choice([b"\n", b"\r\n"])
            if kind == "event":
                events.append(f"m{seed}-{name}-{number}")
                rows.append(line(0, messageId=events[-1]) + end)
            elif kind == "torn":
                torn.append((name, number, "NOT_JSON"))
                rows.append(chance.choice([TORN, b"[]", b"x", b'{"a": nil}', b"}"]) + end)
            else:
                rows.append(chance.choice([b"", b"  ", b"\t"]) + end)
        content = b"".join(rows)
        write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    write(tmp_path / "d.jsonl", lines(1))
    frame = read(tmp_path)
    assert malformed(frame) == torn
    assert ids(frame) == [*events, "m1"]


def test_an_unreadable_file_among_good_ones_is_counted(tmp_path):
    """A picture in the folder does not stop the others; its lines are malformed."""
    write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n\x00\x01")
    write(tmp_path / "b.jsonl", lines(1))
    frame = read(tmp_path)
    assert ids(frame) == ["m1"]
    assert {name for name, _line, _reason in malformed(frame)} == {"a.png"}


SURROGATES = [
    event(1, name="Ana \ud83d"),
    event(2, userId="\ud83d"),
    event(3, member=False, context=event(3)["context"] | {"\udc00": {"\ud800": ["\ud83d"]}}),
    event(4, event="😀"),
    event(5, messageId=None, traits={"vip": True, "email": "\ud83d@mail.test"}),
]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_lone_surrogate_loses_no_event(tmp_path, packed):
    """A cut emoji, in a trait that no rule uses or in an id, means the same in a file as in a dict."""
    rows = [json.dumps(one).encode() + b"\n" for one in SURROGATES]
    torn = rows[0][:-5] + b"\n"
    content = b"\n" + rows[0] + torn + b"\n".join(rows[1:]) + b'{"a": "\\ud83d\xff"}\n' + lines(6)
    write(tmp_path / "logs" / "a.jsonl", lines(7))
    path = write(tmp_path / "logs" / "b", gzip.compress(content) if packed else content)
    expected = read([*SURROGATES, event(6)]).drop(columns="file")
    frame = read(path)
    assert [place for _file, place, _reason in malformed(frame)] == [3, 11]
    whole = frame[frame["status"] != "malformed"].drop(columns="file").reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, expected)
    assert whole["person"][1] == "user:?"
    frame.to_parquet(tmp_path / "out.parquet")
    by_person = pd.concat(read_events(path.parent).payloads_by_person(part_bytes=100))
    assert sorted(ids(by_person)) == sorted([*ids(expected), "m7"])
    assert read_events(path).get_event("m1") == SURROGATES[0]


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_byte_order_mark_is_no_letter_of_the_first_event(tmp_path, packed, damaged):
    """What Notepad and PowerShell put in front of a file costs no event."""
    content = b"\xef\xbb\xbf" + lines(1, 2)
    content = gzip.compress(content) + b"junk" * damaged if packed else content + TORN * damaged
    frame = read(write(tmp_path / "e.jsonl", content))
    assert ids(frame) == ["m1", "m2"]
    assert len(malformed(frame)) == damaged


# --- damaged gzip files -----------------------------------------------------------------------------------


def whole_lines_before_damage(content):
    """Unpack byte by byte, member by member, until it fails; return the whole lines."""
    unpacked, unpacker = b"", zlib.decompressobj(wbits=31)
    for byte in range(len(content)):
        try:
            unpacked += unpacker.decompress(content[byte : byte + 1])
        except zlib.error:
            break
        if unpacker.eof:
            unpacker = zlib.decompressobj(wbits=31)
    return unpacked[: unpacked.rfind(b"\n") + 1].splitlines(keepends=True)


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


def damaged(name):
    packed = gzip.compress(b"".join(many(400)), mtime=0)
    second = gzip.compress(b"".join(many(50, seed=2)), mtime=0)
    return {
        "truncated": packed[: len(packed) // 2],
        "trailer cut": packed[:-5],
        "flipped in the middle": flipped(packed, len(packed) // 2),
        "flipped early": flipped(packed, 2_000),
        "second member flipped": packed + flipped(second, len(second) // 2),
        "second member truncated": packed + second[:100],
        "garbage after the end": packed + b"garbage",
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "truncated",
        "trailer cut",
        "flipped in the middle",
        "flipped early",
        "second member flipped",
        "second member truncated",
        "garbage after the end",
    ],
)
def test_a_damaged_file_is_read_up_to_the_damage(tmp_path, name):
    """Every whole line before the damage counts, and the damage itself is one row with its own reason."""
    content = damaged(name)
    expected = whole_lines_before_damage(content)
    write(tmp_path / "logs" / "a.gz", content)
    write(tmp_path / "logs" / "b.gz", gzip.compress(line(9_999)))
    frame = read(tmp_path / "logs")
    sound = frame[frame["file"] == "a.gz"]
    readable = [row for row in expected if _is_json(row)]
    assert len(readable) > 5
    assert len(sound) == len(expected) + 1
    assert [r for _f, _l, r in malformed(frame)].count("FILE_DAMAGED") == 1
    assert malformed(frame)[-1] == ("a.gz", len(expected) + 1, "FILE_DAMAGED")
    assert "m9999" in ids(frame)
    assert sorted(p.name for p in (tmp_path / "logs").iterdir()) == ["a.gz", "b.gz"]


def _is_json(row):
    try:
        return isinstance(json.loads(row), dict)
    except ValueError:
        return False


def test_damage_after_torn_lines_keeps_their_reason(tmp_path):
    """Only the row of the damage has its reason; torn lines before it stay torn lines."""
    content = gzip.compress(lines(1) + TORN + b"\n" + b"".join(many(200)), mtime=0)
    frame = read(write(tmp_path / "a.gz", content[: len(content) // 2]))
    assert malformed(frame)[0] == ("a.gz", 2, "NOT_JSON")
    assert malformed(frame)[1][2] == "FILE_DAMAGED"
    assert len(malformed(frame)) == 2


def test_salvaging_takes_no_longer_than_unpacking(tmp_path):
    """What is cut and unpacks to a line without end is written once: no piece is joined to all before."""
    content = gzip.compress(lines(1) + b"x" * (16 << 20), mtime=0)[:-8]
    chunks = list(Unpacked(io.BytesIO(content)))
    assert len(chunks) <= len(content) // 4096 + 1  # and not one a byte
    frame = read(write(tmp_path / "a.gz", content))
    assert malformed(frame) == [("a.gz", 2, "FILE_DAMAGED")]


def test_a_small_file_that_unpacks_to_much_is_cut_into_partitions(tmp_path):
    """How much is held depends on what a file unpacks to, not on its size."""
    path = write(tmp_path / "a.gz", gzip.compress(b"".join(lines(n % 7) for n in range(2_000))))
    parts = [*read_events(path).payloads_by_person(part_bytes=200_000)]
    assert path.stat().st_size < 20_000
    assert len(parts) > 1
    assert sum(map(len, parts)) == 2_000


@pytest.mark.parametrize("size", [2, 11])
def test_a_file_cut_in_its_first_bytes(tmp_path, size):
    """A file of which nothing is left is one malformed row beside the others, and alone it is refused."""
    path = write(tmp_path / "logs" / "a.gz", gzip.compress(lines(1), mtime=0)[:size])
    with pytest.raises(FileFormatError, match=r"a\.gz"):
        read(path)
    write(tmp_path / "logs" / "b.jsonl", lines(1))
    assert malformed(read(tmp_path / "logs")) == [("a.gz", 1, "FILE_DAMAGED")]


# --- duplicates -------------------------------------------------------------------------------------------


def statuses(frame):
    return list(zip(frame["message_id"], frame["status"].fillna(""), strict=True))


def test_a_message_counts_once_across_files(tmp_path):
    """The copy that was received first is the one that counts, wherever it lies."""
    write(tmp_path / "a.gz", gzip.compress(lines(1) + line(2, receivedAt="2025-03-04T11:00:00Z")))
    write(tmp_path / "b.jsonl", lines(2) + lines(3) + lines(3))
    frame = read(tmp_path)
    assert statuses(frame) == [("m1", ""), ("m2", "duplicate"), ("m2", ""), ("m3", ""), ("m3", "duplicate")]
    assert frame["membership"].isna().tolist() == [False, True, False, False, True]
    assert fold(frame).statuses == {"counted": 3, "duplicate": 2}


def test_a_copy_without_time_of_receipt_counts_last(tmp_path):
    """A copy that does not say when it was received yields to one that does."""
    untimed = json.dumps({k: v for k, v in event(1).items() if k != "receivedAt"}).encode()
    frame = read(write(tmp_path / "e.jsonl", untimed + b"\n" + lines(1)))
    assert statuses(frame) == [("m1", "duplicate"), ("m1", "")]


def test_copies_of_events_not_meant_for_postscript_are_duplicates_too():
    """A repeated message is a duplicate first and filtered second, so that totals tell copies apart."""
    filtered = event(1, integrations={"All": False})
    page = {"type": "page", "messageId": "p1", "userId": "u1"}
    frame = read([filtered, filtered, page, page])
    assert frame["status"].tolist() == [
        "filtered_integrations",
        "duplicate",
        "no_matching_mapping",
        "duplicate",
    ]


def test_events_without_message_id_differ_by_content():
    """The same content twice is one event; another value, person or time is another."""
    bare = {k: v for k, v in event(1).items() if k != "messageId"}
    others = [
        {**bare, "userId": "u2"},
        {**bare, "traits": {"vip": False}},
        {**bare, "timestamp": "2025-03-05T00:00:00Z"},
    ]
    frame = read([bare, dict(bare), *others])
    assert frame["status"].fillna("").tolist() == ["", "duplicate", "", "", ""]


@pytest.fixture
def two_mappings(tmp_path):
    """A destination in which identify calls are taken by two mappings, other calls by one."""
    mappings = [
        {"name": "All", "trigger": 'type = "identify" or type = "track"'},
        {"name": "Identify", "trigger": 'type = "identify"'},
    ]
    path = tmp_path / "destination.json"
    path.write_text(json.dumps({"mappings": mappings}))
    return Destination.from_file(path)


def test_several_mappings_give_several_rows(two_mappings):
    """An event that two mappings take is two rows and one message; only its copy is a duplicate."""
    track = event(2, type="track", event="Audience Entered", properties={"vip": True})
    frame = read_events([event(1), track, event(1)]).payloads(two_mappings)
    rows = list(zip(frame["message_id"], frame["mapping"], frame["status"].fillna(""), strict=True))
    assert rows == [
        ("m1", "All", ""),
        ("m1", "Identify", ""),
        ("m2", "All", ""),
        ("m1", "All", "duplicate"),
        ("m1", "Identify", "duplicate"),
    ]


# --- events that are not in files -------------------------------------------------------------------------


@pytest.fixture
def assorted():
    """Events of many kinds, as an archive holds them."""
    return [
        event(1),
        event(2, member=False, userId="c_2"),
        event(2, member=False, userId="c_2"),
        event(3, type="track", event="Audience Entered", properties={"vip": True, "n": 1.5}),
        event(4, integrations={"All": False}),
        event(5, member="true"),
        {"type": "page", "messageId": "p", "anonymousId": "a"},
        {"type": "identify"},
        {},
    ]


def test_given_events_are_read_like_a_file(tmp_path, assorted):
    """A list of events and a file with the same events lead to the same rows."""
    path = write(tmp_path / "e.jsonl", b"".join(json.dumps(e).encode() + b"\n" for e in assorted))
    expected = read(path).drop(columns="file")
    pd.testing.assert_frame_equal(read(assorted).drop(columns="file"), expected)
    pd.testing.assert_frame_equal(read(iter(assorted)).drop(columns="file"), expected)
    pd.testing.assert_frame_equal(read(pd.DataFrame(assorted)).drop(columns="file"), expected)


def test_a_frame_with_parsed_times_keeps_them(assorted):
    """Times that pandas or Parquet already parsed order the events just as well as text."""
    frame = pd.DataFrame(assorted)
    expected = read(frame)
    for name in ("timestamp", "receivedAt"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    pd.testing.assert_frame_equal(read(frame), expected)


def test_a_frame_with_lists_from_parquet(tmp_path):
    """A column of lists, which Parquet gives back as arrays, is no obstacle."""
    pd.DataFrame([event(1, tags=["a", "b"])]).to_parquet(tmp_path / "e.parquet")
    assert ids(read(pd.read_parquet(tmp_path / "e.parquet"))) == ["m1"]


def test_numpys_values_count_as_jsons(assorted):
    """Booleans, numbers and times as numpy and pandas have them mean what they mean in JSON, at any depth."""
    call = event(1, timestamp=pd.Timestamp("2025-03-04T10:15Z"), userId=np.int64(7))
    call["traits"] |= {"vip": np.bool_(False), "tags": np.array(["a"])}
    expected = read([event(1, member=False, userId=7)])
    pd.testing.assert_frame_equal(read([call]), expected)
    pd.testing.assert_frame_equal(read(pd.DataFrame([call])), expected)
    assert read_events([call]).get_event()["traits"]["vip"] is False


@pytest.mark.parametrize("source", [event(1), b"e.jsonl", 5, None], ids=["event", "bytes", "number", "none"])
def test_what_holds_no_events_is_refused(source):
    """One event is not a list of its keys."""
    with pytest.raises(ParameterError, match="list"):
        read_events(source)


def test_given_values_that_are_no_events():
    """What is no object is malformed, and is not a reason to refuse the rest."""
    frame = read([event(1), None, 3, [event(2)]])
    assert frame["status"].fillna("").tolist() == ["", "malformed", "malformed", "malformed"]
    assert frame["line"].isna().all()


@pytest.mark.parametrize("nothing", [[], pd.DataFrame()], ids=["list", "frame"])
def test_no_events_at_all(nothing):
    """No events give a frame without rows, and totals of nothing."""
    frame = read(nothing)
    assert len(frame) == 0
    assert dict(frame.dtypes.astype("str")) == PAYLOAD_COLUMNS


def test_opening_reads_no_events(tmp_path):
    """An archive is lazy, and can be read twice with the same result."""
    archive = read_events(write(tmp_path / "e.jsonl", lines(1) + TORN))
    assert isinstance(archive, Archive)
    pd.testing.assert_frame_equal(archive.payloads(), archive.payloads())


# --- size -------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from toolkit import read_events
read_events([{"type": "identify"}]).payloads()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = read_events(sys.argv[1]).payloads()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(rows), int(rows["membership"].notna().sum()), (after - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in kilobytes on Linux only")
def test_memory_is_bounded(tmp_path):
    """300,000 events in 30 files need less than 600 MB beyond an idle toolkit."""
    for part in range(30):
        first = part * 10_000
        content = b"".join(line(n, padding="x" * 300) + b"\n" for n in range(first, first + 10_000))
        write(tmp_path / "logs" / f"{part:02}.gz", gzip.compress(content, 1))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "logs")]
    root = PROJECT
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, timeout=300)
    rows, memberships, megabytes = map(int, done.stdout.split())
    assert (rows, memberships) == (300_000, 300_000)
    assert megabytes < 600


def test_people_known_only_by_contact_are_not_duplicates():
    """Without ids and messageId, the contact tells two events apart."""

    def entering(email):
        call = {key: value for key, value in event(1).items() if key not in {"userId", "messageId"}}
        return {**call, "traits": {**call["traits"], "email": email}}

    rows = read_events([entering("a@mail.test"), entering("b@mail.test"), entering("a@mail.test")]).payloads()
    assert rows["status"].eq("duplicate").tolist() == [False, False, True]


def test_the_copy_meant_for_postscript_is_the_one_that_counts():
    """A message first sent elsewhere and replayed to Postscript is not lost as a duplicate."""
    elsewhere = {**event(1), "integrations": {"All": False, "Other": True}}
    rows = read_events([elsewhere, event(1)]).payloads()
    assert rows["status"].fillna("").tolist() == ["duplicate", ""]


@pytest.mark.parametrize("zeros", [8, 512])
def test_a_gzip_file_padded_with_zeros_is_whole(tmp_path, zeros):
    """As gzip itself has it, and as a tape leaves it: nothing of it is damaged or missing."""
    write(tmp_path / "padded.gz", gzip.compress(lines(1, 2)) + bytes(zeros))
    write(tmp_path / "good.gz", gzip.compress(lines(3)))
    assert sorted(read(tmp_path)["message_id"]) == ["m1", "m2", "m3"]


def test_an_empty_gzip_file_is_no_trouble(tmp_path):
    """Its checksum and size are zeros, too."""
    write(tmp_path / "empty.gz", gzip.compress(b""))
    write(tmp_path / "good.gz", gzip.compress(lines(3)))
    assert read(tmp_path)["message_id"].tolist() == ["m3"]


def test_eight_megabytes_without_a_newline_are_one_torn_line(tmp_path):
    """A file that lost its newlines costs one line, not the archive."""
    write(tmp_path / "long.ndjson", lines(1) + b'{"type": "' + b"x" * 8_000_000 + b"\n" + lines(2))
    rows = read(tmp_path)
    assert rows["status"].eq("malformed").tolist() == [False, True, False]
