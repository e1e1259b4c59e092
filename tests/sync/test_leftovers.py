"""What a run plans for the custom events that earlier runs left is what it then does."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from stores import SECOND, SHOP, Store, deliver, fold_events, make_plan, new_ledger, word

from toolkit.sync.cost import estimate_cost
from toolkit.sync.delivery.custom_events import LeftOver, expect
from toolkit.sync.runs import CallResult, Transition
from toolkit.sync.sync import sync

LEFT = (
    (),
    (("due", True),),
    (("due", False),),
    (("planned", True),),
    (("due", True), ("due", False)),
    (("due", True), ("planned", False)),
    (("due", False), ("planned", True), ("due", False)),
)
PEOPLE = [*enumerate(product(LEFT, [[], ["vip"]], [None, True, False]))]
"""Number, the custom events that were left about it, its list, and what its newest event says."""


def leave(number, left, ledger):
    """Let an earlier run leave custom events about one subscriber's audience; return them."""
    about = {"subscriber_id": f"s_{number}", "audience_key": "vip", "audience_id": None}
    chain = [
        Transition(**about, external_id=f"{number:03}-{place}", state=state, entered=entered)
        for place, (state, entered) in enumerate(left)
    ]
    for t in chain:
        write = {"before": "{}", "after": "{}", "due": [t]}
        call = ledger.start_write("earlier", SHOP.shop_id, t.subscriber_id, **write)
        due = [t.external_id] if t.state == "due" else []
        ledger.end_write(call, CallResult("ok" if due else "500", None, 1), due=due)
    return chain


@pytest.mark.parametrize("asked", ["transitions", "none"])
def test_planned_is_made(tmp_path, asked):
    """Reads, writes and custom events, by the notebook's price and the summary alike, whatever was left."""
    ledger, store = new_ledger(tmp_path), Store({number: [] for number, _ in PEOPLE})
    deliver([word(number, "vip") for number, _ in PEOPLE], store, ledger, custom_events="none")
    for number, (left, listed, _) in PEOPLE:
        store.set_list(number, listed)
        leave(number, left, ledger)
    words = [word(n, "vip", member=then, at=SECOND) for n, (*_, then) in PEOPLE if then is not None]
    folded = fold_events(words, ledger)
    plan = make_plan(folded, store, custom_events=asked)
    open_ = ledger.load_open_transitions(SHOP.shop_id)
    priced = estimate_cost(plan, folded, requests_per_second=14, left_over=open_)
    store.sent.clear()
    run = sync(plan, folded, shop=SHOP, postscript=store, ledger=ledger, dry_run=False, cost=priced)
    ledger.close()
    made = Counter(request.method for request in store.sent)
    assert run.record.status == "completed"
    assert priced.calls == run.summary()["planned_calls_by_kind"]
    assert priced.calls == {
        "reads": 0,
        "reads_again": made["GET"],
        "writes": made["PATCH"],
        "custom_events": made["POST"],
    }
    assert (0 < priced.left_over < len(open_)) is (asked == "transitions")


@pytest.mark.parametrize(
    ("left", "reads", "posted"),
    [
        ([("due", True)], 1, 1),
        ([("planned", True)], 1, 0),
        ([("due", True), ("planned", False)], 1, 1),
        ([("due", True), ("due", False)], 1, 0),
        ([("posting", True)], 0, 0),
        ([("unknown", True)], 1, 1),
        ([("refused", False)], 1, 1),
    ],
)
def test_a_list_that_the_plan_has_not_seen(tmp_path, left, reads, posted):
    """It is taken to be as the last write that went well left it."""
    plan = make_plan(fold_events([], ledger := new_ledger(tmp_path)), Store({}))
    ledger.close()
    about = {"subscriber_id": "s_1", "audience_key": "vip", "audience_id": None}
    chain = [
        Transition(**about, external_id=str(n), state=state, entered=entered)
        for n, (state, entered) in enumerate(left)
    ]
    assert expect(plan, chain) == LeftOver(reads=reads, posted=posted)


@pytest.mark.parametrize("is_asked", [True, False])
def test_custom_events_to_repeat_are_planned(tmp_path, is_asked):
    """What an earlier run had refused is read and posted again when asked for, and so planned."""
    ledger, store = new_ledger(tmp_path), Store({1: []})
    deliver([word(1, "vip")], store, ledger, custom_events="none")
    (left,) = leave(1, [("due", True)], ledger)
    ledger.mark_transitions([left.external_id], "refused")
    folded, store.sent = fold_events([], ledger), []
    run = sync(
        make_plan(folded, store),
        folded,
        shop=SHOP,
        postscript=store,
        ledger=ledger,
        dry_run=False,
        repeat_unknown=is_asked,
    )
    assert run.summary()["planned_calls"] == sum(run.record.facts["calls"].values()) == 2 * is_asked
    ledger.close()
