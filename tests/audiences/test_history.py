"""Movements: who entered, left, went in and out, and was in two audiences, against a plain count by hand."""

from __future__ import annotations

import random
from collections import Counter

import pandas as pd
from tables import every

from toolkit.audiences.memberships import empty_table, fold
from toolkit.audiences.preview import (
    FLAPPING,
    count_flapping,
    count_movements,
    count_overlap,
    find_moves,
    sum_counts,
    sum_overlaps,
)
from toolkit.segment.events import PAYLOAD_COLUMNS


def words(rows):
    """Return folded events of (person, audience, membership, time)."""
    table = pd.DataFrame(rows, columns=["person", "audience_key", "membership", "timestamp"])
    table["message_id"] = [f"m{number:05}" for number in range(len(rows))]
    return fold(table.reindex(columns=[*PAYLOAD_COLUMNS]).astype(PAYLOAD_COLUMNS))


def at(day, hour):
    return None if day is None else pd.Timestamp(2026, 1, day, hour, tz="UTC")


def some_words(seed):
    """Return words that repeat, contradict, come out of order, and some without a time or a value."""
    chance = random.Random(seed)
    return [
        (
            f"u{chance.randrange(12)}",
            f"k{chance.randrange(4)}",
            chance.choice([True, True, False, None]),
            at(chance.choice([None, 1, 2, 3, 4]), chance.randrange(24)),
        )
        for _ in range(chance.randrange(1, 250))
    ]


def by_hand(rows):
    """Return (audience, day, entered or left) → count, (audience, person) → changes, and who is in what."""
    order = sorted(enumerate(rows), key=lambda r: (r[1][3] is not None, r[1][3] or at(1, 0), r[0]))
    held, moves, changes = {}, Counter(), Counter()
    for _, (person, key, member, time) in order:
        if member is None or member == held.get((person, key), False):
            held.setdefault((person, key), False) if member is not None else None
            continue
        held[person, key] = member
        moves[key, time and time.floor("D"), member] += 1
        changes[key, person] += 1
    return moves, changes, held


@every("seed", range(30), quick=10)
def test_as_by_hand(seed):
    """Movements by day, people who flap and the overlap are those of a plain loop over the words."""
    rows = some_words(seed)
    folded = words(rows)
    moves, changes, held = by_hand(rows)
    found = count_movements(find_moves(folded.events))
    counted = Counter()
    for row in found.itertuples():
        day = None if pd.isna(row.day) else row.day
        counted[row.audience_key, day, True] += row.entered
        counted[row.audience_key, day, False] += row.left
    assert +counted == moves
    flapping = Counter(key for (key, _), n in changes.items() if n >= FLAPPING)
    assert count_flapping(find_moves(folded.events)).to_dict() == flapping
    overlap = count_overlap(folded.state.memberships)
    for one in overlap.index:
        for other in overlap.columns:
            both = [p for p, key in held if key == one and held[p, one] and held.get((p, other))]
            assert overlap.loc[one, other] == len(both)


@every("seed", range(10))
def test_what_came_in_and_stayed_are_the_members(seed):
    """Over all days, entered less left is how many are in."""
    folded = words(some_words(seed))
    sums = count_movements(find_moves(folded.events)).groupby("audience_key")[["entered", "left"]].sum()
    members = folded.state.memberships.groupby("audience_key")["member"].sum()
    stayed = (sums["entered"] - sums["left"]).reindex(members.index, fill_value=0)
    assert stayed.to_dict() == members.to_dict()


def test_a_first_word_that_says_out_is_no_leaving():
    """No entry is known, so no person left."""
    folded = words(
        [("u1", "vip", False, at(1, 1)), ("u1", "vip", True, at(2, 1)), ("u1", "vip", True, at(3, 1))]
    )
    assert count_movements(find_moves(folded.events)).drop(columns="day").to_numpy().tolist() == [
        ["vip", 1, 0]
    ]


def test_parts_add_up():
    """Counted by halves of the people and summed, everything is as counted at once."""
    rows = some_words(5)
    whole = words(rows)
    halves = [words([r for r in rows if int(r[0][1:]) % 2 == half]) for half in (0, 1)]
    pd.testing.assert_frame_equal(
        sum_counts(
            pd.concat([count_movements(find_moves(half.events)) for half in halves]), "audience_key", "day"
        ),
        count_movements(find_moves(whole.events)),
    )
    pd.testing.assert_frame_equal(
        sum_overlaps(pd.concat([count_overlap(half.state.memberships) for half in halves])),
        count_overlap(whole.state.memberships),
    )


def test_of_very_many_audiences_the_largest_are_laid_over_each_other():
    """The work is bounded; which they are does not depend on how the people are cut."""
    rows = [
        (f"u{person}", f"k{key:04}", True, at(1, 1))
        for key in range(2_000)
        for person in range(1 + (key < 99))
    ]
    state = words(rows).state.memberships
    overlap = count_overlap(state)
    assert [*overlap.index] == [f"k{key:04}" for key in range(100)]
    assert overlap.loc["k0000", ["k0000", "k0098", "k0099"]].tolist() == [2, 2, 1]
    first, second = state[state["person"] == "u0"], state[state["person"] == "u1"]
    parts = [count_overlap(second), count_overlap(first, [*count_overlap(second).index])]
    pd.testing.assert_frame_equal(sum_overlaps(pd.concat(parts)), overlap)


def test_nothing_moves_without_words():
    """No events give the same columns, and no rows."""
    events = fold(empty_table(PAYLOAD_COLUMNS)).events
    assert count_movements(find_moves(events)).empty
    assert count_flapping(find_moves(events)).empty
    assert sum_overlaps(count_overlap(fold(events).state.memberships)).empty
