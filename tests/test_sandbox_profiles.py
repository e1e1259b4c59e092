"""Whatever Postscript turns out to be like: the same final state, or a stop before anything is wrong."""

from __future__ import annotations

import pytest
from conftest import read_packed_lines
from test_truth import audiences_of, sync_round, wanted, writes

from toolkit.errors import IgnoredFilterError
from toolkit.sandbox import PROFILES, Fault, Sandbox


def sent_events(sandbox):
    """Return the custom events by subscriber and audience, however the shop names people and keys."""
    return sorted(
        (
            event["matched_subscriber_id"],
            event["type"],
            *(v for k, v in event["properties"].items() if k.casefold() == "segment audience key"),
        )
        for event in sandbox.custom_events
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.slow  # test_truth runs the documented shop every time
def test_the_same_final_state_under_every_profile(profile, truth, tmp_path):
    """Lists are the truth's, every transition is sent once, and a repeat writes nothing."""
    people = read_packed_lines("subscribers")
    with Sandbox(people, knobs=PROFILES[profile].changed({"rate": 100_000})) as sandbox:
        run = sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        assert run.record.status == "completed", run.record.error
        assert audiences_of(sandbox) == wanted(truth, "round-1")
        assert len(sent_events(sandbox)) == len({*sent_events(sandbox)}) == truth["round-1"]["transitions"]
        before = len(sandbox.journal)
        sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        assert writes(sandbox.journal[before:]) == []
        assert not any(entry["violation"] for entry in sandbox.journal)


@pytest.mark.parametrize("patch_bodies", ["full", "empty"])
def test_replacing_stops_after_the_first_write(patch_bodies, tmp_path):
    """A shop that replaces properties loses nothing: the first write is put back, and there is no other."""
    people = read_packed_lines("subscribers")
    with Sandbox(people, rate=100_000, writes="replace", patch_bodies=patch_bodies) as sandbox:
        before = {i: s["properties"] for i, s in sandbox.subscribers.items()}
        run = sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        assert run.record.status == "failed"
        assert "put back" in run.record.error
        assert {i: s["properties"] for i, s in sandbox.subscribers.items()} == before
        assert [entry["method"] for entry in writes(sandbox.journal)] == ["PATCH", "PATCH"]
        assert not sandbox.custom_events


def test_an_ignored_filter_stops_before_the_first_write(tmp_path):
    """A shop that answers lookups with all subscribers is not written to."""
    with (
        Sandbox(read_packed_lines("subscribers"), rate=100_000, in_encoding="ignored") as sandbox,
        pytest.raises(IgnoredFilterError, match="ignore the filter"),
    ):
        sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
    assert writes(sandbox.journal) == []


@pytest.mark.parametrize(
    "knobs",
    [
        {"empty_list": "drop"},
        {"property_limit": "drop"},
        {"algorithm": "fixed"},
        {"algorithm": "bucket"},
        {"bumps_updated_at": False},
        {"email_case": "sensitive"},
        {"unknown_person": 400},
        {"past_the_end": "404", "empty_total_pages": 0},
        {"page_size": 7, "max_in": 3},
        {"max_url_bytes": 300, "page_size": 25},
        {"event_dedupe": True, "event_keys": "lowercase"},
    ],
    ids=lambda knobs: ",".join(f"{k}={v}" for k, v in knobs.items()),
)
@pytest.mark.slow
def test_the_same_final_state_under_every_knob(knobs, truth, tmp_path):
    """Each open question, answered the other way, leads to the same lists and custom events."""
    with Sandbox(read_packed_lines("subscribers"), rate=100_000, **knobs) as sandbox:
        sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        assert audiences_of(sandbox) == wanted(truth, "round-1")
        assert len(sent_events(sandbox)) == truth["round-1"]["transitions"]
        before = len(sandbox.journal)
        sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        assert writes(sandbox.journal[before:]) == []


@pytest.mark.parametrize("kind", ["second_writer", "redact", "shrink"])
@pytest.mark.slow
def test_others_at_work(kind, tmp_path):
    """Another program writes, or people vanish, while a sync goes on: the next one leaves nothing to do."""
    people = read_packed_lines("subscribers")[:400]
    route = "GET /subscribers" if kind == "shrink" else "PATCH /subscribers/{id}"
    with Sandbox(people, rate=100_000, faults=[Fault(kind=kind, route=route, every=10)]) as sandbox:
        sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        sandbox.set_faults([])
        sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        before = len(sandbox.journal)
        again = sync_round(sandbox, "round-1", f"sqlite:///{tmp_path}/ledger.db")
        assert again.record.status == "completed"
        assert writes(sandbox.journal[before:]) == []
        assert len(sent_events(sandbox)) == len({*sent_events(sandbox)})
