"""Preview: an archive read part by part has the counts of the whole."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from toolkit import preview, read_events
from toolkit.audiences.memberships import fold
from toolkit.audiences.preview import (
    SAMPLE_SIZE,
    count_audiences,
    count_flapping,
    count_movements,
    count_overlap,
    find_moves,
)
from toolkit.contacts.bulk import check_contacts
from toolkit.errors import ParameterError
from toolkit.segment.destination import Destination

TWO_WORDS = {
    "mappings": [
        {"name": "first"},
        {
            "name": "second",
            "fields": {
                "phone": {"@path": "$.traits.mobile"},
                "traits_or_props": {"@path": "$.context.page"},
                "segment_audience_id": "aud_second",
            },
        },
        {"name": "third", "fields": {"email": {"@path": "$.traits.work"}}},
    ]
}
"""Three mappings that take the same events and disagree: the last one decides."""
BOTH = {"mappings": [{"name": "a"}, {"name": "t", "action": "syncTraits", "trigger": 'type = "identify"'}]}


def event(number):
    """One of several kinds of event about one of eleven people."""
    person = number % 11
    personas = {
        "computation_class": "audience" if number % 4 else "computed_trait",
        "computation_id": f"id_{number % 3}",
        "computation_key": f"key_{number % 3}",
    }
    contact = [{"email": f"p{person}@mail.test"}, {"phone": f"+1415555010{person % 10}"}, {}, {"phone": "5"}]
    value = number % 2 == 0 if number % 4 else number % 5
    return {
        "type": "identify",
        "messageId": f"m{number % 97}",
        "userId": f"u{person}",
        "timestamp": f"2025-03-04T10:{number % 60:02}:00.000Z",
        "traits": {f"key_{number % 3}": value, **contact[person % 4]},
        "context": {"personas": personas if number % 13 else {}},
        "integrations": {"Postscript": number % 17 > 0},
    }


class Parts:
    """An archive that comes in as many parts as it can."""

    def __init__(self, archive):
        self.archive = archive

    def payloads_by_person(self, destination=None):
        """Yield the parts."""
        parts = [*self.archive.payloads_by_person(destination, part_bytes=4_000)]
        assert len(parts) > 5
        yield from parts


@pytest.fixture
def archive(tmp_path):
    """Two hundred events, some of them twice, and a torn line."""
    lines = [json.dumps(event(number)) for number in range(200)]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, '{"torn'] * 2))
    return read_events(tmp_path / "events.jsonl")


@pytest.fixture
def destination(tmp_path):
    """A destination with both actions."""
    (tmp_path / "destination.json").write_text(json.dumps(BOTH))
    return Destination.from_file(tmp_path / "destination.json")


def check_sample(found, state):
    """The sample is as many members as there are, at most five, each once, with their contacts."""
    members = state.memberships[state.memberships["member"]]
    sizes = found.sample.groupby("audience_key").size()
    assert (sizes == members.groupby("audience_key").size().clip(upper=SAMPLE_SIZE)).all()
    known = members.merge(state.people, on="person").rename(columns={"timestamp": "since"})
    assert len(found.sample.merge(known, on=[*found.sample.columns])) == len(found.sample)
    assert not found.sample.duplicated(["audience_key", "person"]).any()


@pytest.mark.parametrize(
    "keys",
    [(), pytest.param(("key_1", "key_2"), marks=pytest.mark.slow), "key_1"],
    ids=["all", "two", "one"],
)
def test_parts_add_up_to_the_whole(archive, destination, keys):
    """Audiences, traits, people and totals are those that folding the whole archive gives."""
    folded = fold(archive.payloads(destination))
    state = folded.state.choose(keys)
    audiences = count_audiences(state, check_contacts(state.people))
    totals = folded.events.value_counts(["status", "reason_code"], dropna=False)
    for whole in (archive, Parts(archive)):
        found = preview(whole, destination, audience_keys=keys)
        words = folded.events[folded.events["audience_key"].isin(audiences["audience_key"])]
        flapping = audiences["audience_key"].map(count_flapping(find_moves(words))).fillna(0).astype("int64")
        pd.testing.assert_frame_equal(found.audiences, audiences.assign(flapping=flapping))
        pd.testing.assert_frame_equal(found.movements, count_movements(find_moves(words)))
        pd.testing.assert_frame_equal(found.overlap, count_overlap(state.memberships))
        check_sample(found, state)
        assert found.people == len(state.people) > 0
        assert found.received == folded.received
        assert found.statuses == folded.statuses
        assert sorted(found.totals["count"]) == sorted(totals)
        assert dict(zip(found.traits["trait_key"], found.traits["people"], strict=True)) == dict(
            state.traits.groupby("trait_key").size()
        )


def test_who_goes_in_and_out_is_counted(tmp_path):
    """One person enters, leaves and comes back; another only enters."""
    words = [("u1", True), ("u2", True), ("u1", False), ("u1", True)]
    lines = [
        json.dumps(
            {
                **event(1),
                "messageId": f"m{number}",
                "userId": user,
                "timestamp": f"2026-01-0{number + 1}T00:00:00Z",
                "traits": {"key_1": member},
            }
        )
        for number, (user, member) in enumerate(words)
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    found = preview(read_events(tmp_path / "events.jsonl"))
    assert found.audiences[["members", "flapping"]].to_numpy().tolist() == [[2, 1]]
    assert found.movements[["entered", "left"]].sum().tolist() == [3, 1]


@pytest.mark.parametrize("count", [5_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mappings_that_disagree_by_parts(tmp_path, count):
    """What the later mapping makes of an event has the last word in every part, too."""
    (tmp_path / "destination.json").write_text(json.dumps(TWO_WORDS))
    destination = Destination.from_file(tmp_path / "destination.json")
    events = []
    for number in range(count):
        key, phone = f"key_{number % 3}", f"+1415555{number % 1000:04}"
        made = event(number) | {"messageId": f"m{number}", "userId": f"u{number % 4999}"}
        made["context"] = {
            "personas": {"computation_class": "audience", "computation_key": key, "computation_id": "a"},
            "page": {key: number % 3 == 0, "x": 1},
        }
        made["traits"] = {key: number % 2 == 0, "phone": phone, "mobile": phone[::-1], "email": "a@x.test"}
        made["traits"]["work"] = f"w{number}@x.test"
        made["integrations"] = {}
        if number % 50 == 0:
            made["userId"] = f" u{number % 4999}"  # decided by Python
        events.append(made)
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    whole = fold(read_events(path).payloads(destination)).state
    parts = [*read_events(path).payloads_by_person(destination, part_bytes=path.stat().st_size // 12)]
    assert len(parts) > 10
    states = [fold(part).state for part in parts]
    for name in ("memberships", "people"):
        found = pd.concat([getattr(state, name) for state in states]).sort_values(
            ["person", *(["audience_key"] if name == "memberships" else [])]
        )
        pd.testing.assert_frame_equal(found.reset_index(drop=True), getattr(whole, name))


def test_a_preview_warns():
    """Events dated in the future are counted, and that overlaps are those of the largest audiences alone."""
    given = {
        "type": "track",
        "event": "Audience Entered",
        "userId": "u1",
        "timestamp": "2999-01-01T00:00:00Z",
    }
    events = [
        {
            **given,
            "properties": {f"k{number}": True},
            "context": {
                "personas": {
                    "computation_class": "audience",
                    "computation_id": "aud",
                    "computation_key": f"k{number}",
                }
            },
        }
        for number in range(101)
    ]
    found = preview(read_events(events))
    assert len(found.overlap) == 100
    assert found.notes[0].startswith("101 memberships")
    assert found.notes[1] == "Overlaps are those of the 100 largest audiences."
    (note,) = preview(read_events([])).notes
    assert note == "0 audiences, because the archive has no events. Check events_path."


def test_an_audience_that_no_part_has(archive):
    """It is refused, and the sentence lists the audiences there are."""
    with pytest.raises(ParameterError, match=r"the audience nope\. There are: key_0, key_1, key_2"):
        preview(Parts(archive), audience_keys=["key_1", "nope"])
