"""Archives in SQL: its rows of a whole archive are those that the Python rules make of each event."""

from __future__ import annotations

import gzip
import itertools
import json
import random

import pandas as pd
import pytest
from made_events import some_destination, some_event

from toolkit.errors import FileFormatError, MappingError, ParameterError
from toolkit.segment.archive import read_events
from toolkit.segment.archive.json_columns import JsonColumns, NotInSQLError, quoted
from toolkit.segment.archive.reader import read_lines
from toolkit.segment.archive.row_sql import RowQuery
from toolkit.segment.destination import Destination
from toolkit.segment.events import PAYLOAD_COLUMNS


def packed(path, events, *, torn=()):
    """Write *events* as lines, gzip if the name says so, with *torn* among them; return the path."""
    lines = [json.dumps(event).encode() for event in events]
    for place, line in torn:
        lines.insert(place, line)
    content = b"\n".join([*lines, b""])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def assert_same_rows(bulk, single):
    """The two frames agree in every cell but those about files."""
    columns = [name for name in PAYLOAD_COLUMNS if name not in ("file", "line")]
    pd.testing.assert_frame_equal(bulk[columns], single[columns])


def made_destination(chance):
    """A destination that can be made; others are not what is tested here."""
    while True:
        try:
            return some_destination(chance)
        except MappingError:
            continue


def agree(tmp_path, seed, count):
    chance = random.Random(seed)
    events = [some_event(chance) for _ in range(count)]
    destination = made_destination(chance)
    bulk = read_events(packed(tmp_path / "events.jsonl", events)).payloads(destination)
    # What a line says, rather than what it was written from: numbers beyond JSON's are texts there.
    read = [json.loads(json.dumps(event)) for event in events]
    assert_same_rows(bulk, read_events(read).payloads(destination))


@pytest.mark.parametrize("seed", range(16))
def test_bulk_is_event_by_event(tmp_path, seed):
    """Whatever the events, the triggers and the mappings: the same rows in the same order."""
    agree(tmp_path, seed, 150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_060))
def test_bulk_is_event_by_event_at_length(tmp_path, seed):
    """The same, with more of everything."""
    agree(tmp_path, seed, 400)


def usual_event(number, **fields):
    """An Engage call as Segment writes them."""
    return {
        "type": "identify",
        "messageId": f"personas_{number}",
        "userId": f"cus_{number % 7}",
        "timestamp": f"2025-03-04T10:15:00.{number % 1000:03d}Z",
        "receivedAt": "2025-03-04T10:15:01.000Z",
        "integrations": {"All": False, "Warehouses": {"all": False}, "Postscript": True},
        "traits": {"vip": number % 3 > 0, "email": f" U{number}@Mail.test", "phone": "(415) 555-0100"},
        "context": {
            "library": {"name": "unknown"},
            "personas": {
                "computation_class": "audience",
                "computation_id": "aud_1",
                "computation_key": "vip",
            },
        },
        **fields,
    }


def left_to_python(tmp_path, events, destination):
    """Count the events that SQL does not decide."""
    path = packed(tmp_path / "events.jsonl", events)

    def count(reader):
        rows = reader.row_query()
        return reader.connection.execute(f"SELECT count(*) FROM ({rows}) WHERE needs_python").fetchone()[0]

    return read_lines(count, [path], destination, memory_limit="1GB", scratch=tmp_path)


COMPLEX = {
    "email": {"@case": {"operator": "lower", "value": {"@path": "$.traits.email"}}},
    "phone": {
        "@if": {
            "exists": {"@path": "$.traits.phone"},
            "then": {
                "@template": "+1{{traits.phone}}",
            },
            "else": {"@replace": {"pattern": "-", "value": {"@path": "$.context.traits.phone"}}},
        }
    },
}


@pytest.mark.parametrize("fields", [{}, COMPLEX], ids=["default fields", "fields of many directives"])
def test_usual_events_are_decided_by_sql(tmp_path, fields):
    """None of the calls that Engage writes needs the Python rules."""
    mapping = {"mappings": [{"name": "m", "fields": fields}]}
    (tmp_path / "destination.json").write_text(json.dumps(mapping))
    destination = Destination.from_file(tmp_path / "destination.json")
    browser = usual_event(1, integrations={}, context={"library": {"name": "a.js"}, "page": {"path": "/"}})
    track = usual_event(2, type="track", event="Audience Entered", properties={"vip": True})
    events = [
        *map(usual_event, range(20)),
        browser,
        track,
        usual_event(3, context={"library": {}, "traits": {}}),
    ]
    assert left_to_python(tmp_path, events, destination) == 0


def agree_on(tmp_path, events, destination=None):
    """SQL and Python make the same rows of *events*; return them."""
    bulk = read_events(packed(tmp_path / "events.jsonl", events)).payloads(destination)
    assert_same_rows(bulk, read_events(events).payloads(destination))
    return bulk


@pytest.mark.parametrize(
    "form", ["2026-09-13T18:23:11.962Z", "2024-02-29T00:09:59Z", "9999-12-31T23:59:59.999Z"]
)
def test_times_of_nearly_the_usual_form(tmp_path, form):
    """A time with a character changed, added or lost is read, or not, as the Python rules do."""
    texts = {form}
    for place in range(len(form)):
        texts |= {form[:place] + character + form[place + 1 :] for character in "059 -:.TZ+/\n\u0661a"}
        texts |= {form[:place] + character + form[place:] for character in "059 -:.TZ"}
        texts |= {form[:place] + form[place + 1 :], form[:place] + form[place + 1 :] + "0Z"}
        texts |= {form[:place] + form[place + 1 : -1] + "0Z"}
        texts |= {form[:place] + form[place + 1 :] + space for space in " \t\n\v\f\r"}
    rows = agree_on(tmp_path, [usual_event(n, timestamp=text) for n, text in enumerate(sorted(texts))])
    assert rows["timestamp"].nunique() > len(form)


@pytest.mark.parametrize(
    ("key", "traits", "membership"),
    [
        ("vip", {"email": "a@mail.test", "vip": True}, True),
        ("vip", {"vip": False}, False),
        ("vip", {"vip": True, "other": False}, True),
        ("vip", {"old_vip": False, "vip": True}, True),
        ("vip", {"vip": False, "old_vip": True}, False),
        ("vip", {"vip": False, 'old "vip': True}, False),
        ("vip", {"vip": False, "inside": {"a": 1, "vip": True}}, False),
        ("vip", {"vip": False, "note": 'x,"vip":true'}, False),
        ("vip", {"note": ',"vip":true'}, None),
        ("vip", {"a": 1, "vip": "true"}, None),
        ('b":1,"c', {"a": 0, "b": 1, "c": True}, None),
        ('a"b', {"x": 0, 'a"b': True}, True),
        ("a\\\\b", {"x": 0, "a\\b": True}, None),
        ("a\\b", {"x": 0, "a\\b": True}, True),
        ("a/b", {"x": {"y": 0}, "a": {"b": True}}, None),
        ("ключ", {"x": 0, "ключ": True}, True),
        ("a\nb", {"x": 0, "a\nb": True}, True),
        ("*", {"x": 0, "y": True}, None),
    ],
)
def test_where_a_membership_stands(tmp_path, key, traits, membership):
    """It is the value under the audience's key in the object itself, wherever it stands there."""
    event = usual_event(1, traits=traits)
    event["context"]["personas"]["computation_key"] = key
    (row,) = agree_on(tmp_path, [event]).to_dict("records")
    assert row["audience_key"] == key
    assert row["membership"] is membership or (membership is None and row["membership"] is pd.NA)


SPACES = ["", " ", "\t", "\n ", "\x1c", "\x7f", "\xa0", "\u2003 ", "\u3000", "\u200b", "é", "  "]


@pytest.mark.parametrize("name", ["email", "phone", "userId", "anonymousId"])
def test_space_around_texts(tmp_path, name):
    """Contacts and ids lose the space at their ends, of every kind Python knows, and nothing else."""
    events = []
    for before, after in itertools.product(SPACES, SPACES):
        for text in ("", "a", "a b", "+1 415", "ü"):
            event = usual_event(len(events))
            (event["traits"] if name in ("email", "phone") else event)[name] = before + text + after
            events.append(event)
    rows = agree_on(tmp_path, events)
    assert rows["person"].nunique() > 5 or rows[name].nunique() > 5


def test_a_directive_sql_lacks_takes_only_its_own_events_to_python(tmp_path):
    """A mapping with Liquid is Python's for what its trigger lets through, and for nothing else."""
    fields = {"email": {"@liquid": "{{ traits.email }}"}}
    mapping = {"name": "m", "trigger": 'type = "track"', "fields": fields}
    (tmp_path / "destination.json").write_text(json.dumps({"mappings": [mapping]}))
    destination = Destination.from_file(tmp_path / "destination.json")
    tracks = [usual_event(n, type="track", properties={"vip": True}) for n in range(3)]
    elsewhere = usual_event(9, type="track", integrations={"All": False})
    events = [*map(usual_event, range(20)), *tracks, elsewhere]
    assert left_to_python(tmp_path, events, destination) == 3


def sorted_rows(frames):
    """All rows of some frames in an order of their own."""
    columns = [name for name in PAYLOAD_COLUMNS if name != "line"]
    rows = pd.concat(frames)[columns].astype({"file": "str"})
    return rows.sort_values([*columns], ignore_index=True)


@pytest.mark.parametrize("seed", range(6))
def test_by_person_is_the_whole(tmp_path, seed):
    """Cut into parts an archive gives the same rows, each person's in one part, repetitions found across."""
    chance = random.Random(seed)
    events = [some_event(chance) for _ in range(120)]
    again = [{**chance.choice(events), "receivedAt": f"2025-05-0{n}T00:00:00.000Z"} for n in range(1, 6)]
    packed(tmp_path / "logs" / "a.jsonl", events[:60], torn=[(3, b'{"type": "tra')])
    packed(tmp_path / "logs" / "b.gz", [*events[60:], *again], torn=[(0, b"x"), (9, b"[1]")])
    destination = made_destination(chance)
    archive = read_events(tmp_path / "logs")
    whole = archive.payloads(destination)
    parts = [*archive.payloads_by_person(destination, part_bytes=6_000)]
    assert len(parts) > 5
    pd.testing.assert_frame_equal(sorted_rows(parts), sorted_rows([whole]))
    persons = pd.concat([part["person"].dropna().drop_duplicates() for part in parts])
    assert persons.is_unique
    assert dict(parts[0].dtypes.astype("str")) == dict(whole.dtypes.astype("str"))


def test_by_person_reads_on_while_it_writes(tmp_path, monkeypatch):
    """Events that Python decides are written in several steps, however many there are."""
    monkeypatch.setattr("toolkit.segment.payload_rows.ROWS_AT_A_TIME", 5)
    monkeypatch.setattr("toolkit.segment.archive.reader.ROWS_AT_A_TIME", 7)
    events = [
        usual_event(n, messageId=None, receivedAt=f"2025-03-04T10:{n % 60:02}:{n // 60:02}Z")
        for n in range(300)
    ]
    archive = read_events(packed(tmp_path / "e.jsonl", events))
    parts = [*archive.payloads_by_person(part_bytes=10_000)]
    assert len(parts) > 1
    pd.testing.assert_frame_equal(sorted_rows(parts), sorted_rows([archive.payloads()]))


def test_by_person_marks_where_a_file_is_damaged(tmp_path):
    """The last line of what could be salvaged stands for the damage, in parts too."""
    path = packed(tmp_path / "a.gz", [usual_event(n, salt=random.Random(n).random()) for n in range(400)])
    path.write_bytes(path.read_bytes()[:-2_000])
    frames = [*read_events(path).payloads_by_person(part_bytes=3_000)]
    codes = pd.concat(frames)["reason_code"]
    assert (codes == "FILE_DAMAGED").sum() == 1


def test_by_person_refuses_what_is_no_archive(tmp_path):
    """Not one event in it: the same refusal as for the whole."""
    path = tmp_path / "notes.txt"
    path.write_text("to do\n" * 5_000)
    with pytest.raises(FileFormatError, match="no line of it is a JSON object"):
        [*read_events(path).payloads_by_person(part_bytes=1_000)]


def test_one_event_is_found(tmp_path):
    """By its messageId, or the first; a sentence when no event has it."""
    archive = read_events(packed(tmp_path / "e.gz", map(usual_event, range(9)), torn=[(0, b"torn")]))
    assert archive.get_event("personas_4") == usual_event(4)
    assert archive.get_event() == usual_event(0)
    with pytest.raises(ParameterError, match='No event of the archive has the messageId "another\'s"'):
        archive.get_event("another's")
    assert read_events([usual_event(1), usual_event(2)]).get_event("personas_2") == usual_event(2)


@pytest.mark.parametrize(
    "key", ["a'b", 'a"b', "a b", "a.b", "ключ", "select", "x" * 500, "a\\b", "{}", "a:b", "a,b)", ";--"]
)
def test_any_key_can_be_asked_for(tmp_path, key):
    """A path of any characters is read, and is never SQL."""
    fields = (
        {"email": {"@path": f"$.traits.{key}"}} if "." not in key else {"email": {"@path": "$.traits.a.b"}}
    )
    traits = {"a": {"b": "x@mail.test"}} if "." in key else {key: "x@mail.test"}
    if "." not in key:
        fields |= {"phone": {"@path": f"$.context.personas.{key}"}}
    (tmp_path / "d.json").write_text(json.dumps({"mappings": [{"name": key, "fields": fields}]}))
    destination = Destination.from_file(tmp_path / "d.json")
    events = [usual_event(1, traits={**traits, "vip": True}), usual_event(2, messageId=None)]
    for each in events:
        each["context"]["personas"][key] = "+15550100"
    bulk = agree_on(tmp_path, events, destination)
    assert bulk["mapping"].tolist() == [key] * 2


@pytest.mark.parametrize("steps", [(), ("",), ("a", "0"), ("a\0",), ("\ud800",)])
def test_paths_that_sql_cannot_read(steps):
    """The whole event, items of lists and texts no query can hold are refused."""
    with pytest.raises(NotInSQLError):
        JsonColumns().text(steps)


def test_keys_that_differ_in_case_only():
    """SQL would take them for one."""
    columns = JsonColumns()
    columns.text(("traits", "Email"))
    with pytest.raises(NotInSQLError):
        columns.text(("traits", "email"))


def test_quotes_are_doubled():
    """A text cannot end its own quotation."""
    assert quoted("it's; DROP") == "'it''s; DROP'"


def test_a_name_that_no_query_can_hold(tmp_path):
    """Python decides every event of such a destination."""
    (tmp_path / "d.json").write_text(json.dumps({"mappings": [{"name": "m\0x"}]}))
    agree_on(tmp_path, [usual_event(n) for n in range(3)], Destination.from_file(tmp_path / "d.json"))


def test_fifty_mappings(tmp_path):
    """As many mappings as Segment allows become one query, and take each event fifty times."""
    mappings = [{"name": f"m{n}", "trigger": f'event != "E{n}"'} for n in range(50)]
    (tmp_path / "d.json").write_text(json.dumps({"mappings": mappings}))
    destination = Destination.from_file(tmp_path / "d.json")
    RowQuery(destination)
    events = [usual_event(n, type="track", event=f"E{n}", properties={"vip": True}) for n in range(4)]
    bulk = agree_on(tmp_path, events, destination)
    assert len(bulk) == 4 * 49


def path(text):
    return {"@path": text}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"email": path("$.traits.contact.email"), "phone": path("$.traits.contact")}, id="both ways"
        ),
        pytest.param({"phone": path("$.context")}, id="all of the context"),
        pytest.param({"email": path("$.context.Library.name")}, id="a companion in other letters"),
        *(
            pytest.param({"email": path(f"$.{name}")}, id=name)
            for name in ("file_index", "File_Index", "whole", "NUMBER", "line")
        ),
    ],
)
def test_paths_that_meet_in_sql(tmp_path, fields):
    """An object asked for whole and opened, and names that the queries use, are read like any other."""
    (tmp_path / "d.json").write_text(json.dumps({"mappings": [{"name": "m", "fields": fields}]}))
    destination = Destination.from_file(tmp_path / "d.json")
    named = {"whole": "w@mail.test", "file_index": "f@mail.test", "number": 5, "NUMBER": "n@mail.test"}
    contact = {"vip": True, "contact": {"email": "c@mail.test"}}
    events = [{**usual_event(1, traits=contact), **named}, usual_event(2, messageId=None), usual_event(3)]
    archive = read_events(packed(tmp_path / "e.jsonl", events))
    single = read_events(events).payloads(destination)
    assert_same_rows(archive.payloads(destination), single)
    parts = [*archive.payloads_by_person(destination, part_bytes=100)]
    pd.testing.assert_frame_equal(
        sorted_rows(parts).drop(columns="file"), sorted_rows([single]).drop(columns="file")
    )


def test_given_things_that_are_no_events():
    """They are passed over when an event is looked for."""
    assert read_events([None, usual_event(1)]).get_event() == usual_event(1)
