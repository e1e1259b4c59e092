import base64
import hashlib
import io
import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from html.parser import HTMLParser

import pandas as pd
import pytest
from conftest import PROJECT
from matplotlib import image
from tables import every

from toolkit.audiences.memberships import MEMBERSHIP_COLUMNS, PEOPLE_COLUMNS, State, empty_table
from toolkit.audiences.preview import MOVEMENT_COLUMNS, count_audiences
from toolkit.contacts.bulk import check_contacts
from toolkit.contacts.checks import CONTACT_VERDICTS
from toolkit.postscript.api import Subscriber
from toolkit.postscript.subscribers import subscribers_table
from toolkit.report.charts import bar_chart, growth_chart
from toolkit.report.document import PAGE, ROWS_EMBEDDED, SAMPLE, render_report
from toolkit.report.figures import CHANGE_STEPS, EVENT_STEPS, next_steps, run_funnel_table, sizes_beside
from toolkit.report.rows import ROW_HEADINGS, newly_to_look_at, row_log
from toolkit.report.tables import (
    audience_table,
    change_table,
    plan_table,
    reason_table,
    styled_table,
    verdict_table,
)
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.statuses import REASONS, ChangeStatus, EventStatus
from toolkit.sync.cost import CostEstimate
from toolkit.sync.plan import CHANGE_COLUMNS, plan
from toolkit.sync.runs import HISTORY_COLUMNS, UNKNOWN_COLUMNS, Audit, Previous, RunRecord

GOLDEN = PROJECT / "tests" / "golden"
ATTACK = "<script>alert(1)</script>"
QUOTES = 'user:O\'Brien "Bob" & <b>sons</b>'
REASON_COLUMNS = ["status", "reason_code", "count", "share", "meaning", "what_to_do"]


def totals(*rows):
    """Return the totals of a run from (kind, audience key[, trait key], status, reason code, count)."""
    columns = ["kind", "audience_key", "trait_key", "status", "reason_code", "count"]
    whole = [row if len(row) == 6 else (*row[:2], "", *row[2:]) for row in rows]
    frame = pd.DataFrame(whole, columns=columns)
    return frame.astype({"count": "int64"} | dict.fromkeys(columns[:-1], "str")).fillna({"audience_key": ""})


def change(person="user:1", key="vip", status="added", reason="ENTERED", **other):
    return {"person": person, "audience_key": key, "status": status, "reason_code": reason, **other}


def change_frame(*rows):
    filled = [{"member": True, **row} for row in rows]
    return pd.DataFrame(filled, columns=[*CHANGE_COLUMNS]).astype(CHANGE_COLUMNS)


CALL_COLUMNS = (
    *("call_id", "run_id", "route", "subscriber_id", "external_id", "before", "after"),
    *("started_at", "finished_at", "outcome", "status_code", "tries"),
)


def call(outcome="ok", *, route="POST /events", **other):
    """Return a row of the journal: a custom event unless given otherwise; 0.25 seconds to its answer."""
    ended = {"finished_at": datetime(2026, 3, 1, 12, 0, 0, 250_000), "status_code": 200, "tries": 1}
    begun = {"started_at": datetime(2026, 3, 1, 12)}
    return {"route": route, "outcome": outcome, **begun, **(ended if outcome else {}), **other}


def write(subscriber_id, before, after, outcome="ok", **other):
    """Return the row of a write of a list."""
    lists = {"before": json.dumps(before), "after": json.dumps(after)}
    route = "PATCH /subscribers/{id}"
    return call(outcome, route=route, subscriber_id=subscriber_id, **lists, **other)


def listed(*keys):
    return {"Segment Audiences": [*keys]}


def call_frame(*rows):
    return pd.DataFrame(rows, columns=[*CALL_COLUMNS]).astype("object").infer_objects()


def posts(*outcomes):
    return call_frame(*map(call, outcomes))


def history(*rows):
    columns = ["started_at", "mode", "status", "adds", "removes"]
    frame = pd.DataFrame(rows, columns=columns).reindex(columns=[*HISTORY_COLUMNS])
    frame["run_id"] = [f"run_{n}" for n in range(len(frame))]
    frame["kind"] = "sync"
    return frame.fillna({name: 0 for name, kind in HISTORY_COLUMNS.items() if kind[-2:] == "64"}).astype(
        HISTORY_COLUMNS
    )


RECORD = RunRecord(
    run_id="20260301T120000-abc123",
    shop_id="shop_1",
    shop_name="Acme & Söhne",
    mode="live",
    status="completed",
    received=0,
    facts={},
    started_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    finished_at=datetime(2026, 3, 1, 12, 1, 30, tzinfo=UTC),
    seconds=90.0,
)
EMPTY = Audit(record=RECORD, totals=totals(), changes=change_frame(), calls=call_frame(), drift=None)
FULL = Audit(
    record=replace(
        RECORD,
        status="completed_with_errors",
        error='1 write was refused: <see "below">.',
        received=1300,
        facts={
            "planned_calls": 1276,
            "planned_calls_by_kind": {"reads": 43, "reads_again": 1, "writes": 1029, "custom_events": 203},
            "planned_minutes": 1.52,
            "official_calls_by_kind": {"reads": 1400, "writes": 1029, "custom_events": 1180},
            "calls": {"GET /subscribers": 44, "PATCH /subscribers/{id}": 1030, "POST /events": 203},
        },
    ),
    totals=totals(
        ("event", None, "counted", "DECIDED", 1100),
        ("event", None, "superseded", "NEWER_EVENT", 80),
        ("event", None, "duplicate", "DUPLICATE_MESSAGE_ID", 60),
        ("event", None, "malformed", "NOT_JSON", 40),
        ("event", None, "malformed", "FILE_DAMAGED", 5),
        ("event", None, "no_membership_value", "MEMBERSHIP_NOT_BOOLEAN", 15),
        ("change", "vip", "added", "ENTERED", 900),
        ("change", "vip", "removed", "EXITED", 129),
        ("change", "vip", "waiting", "SUBSCRIBER_NOT_FOUND", 60),
        ("change", ATTACK, "unchanged", "ALREADY_IN", 10),
        ("change", ATTACK, "rejected", "REJECTED_BY_POSTSCRIPT", 1),
    ),
    changes=change_frame(
        change(
            QUOTES,
            operation="add",
            external_id="e_1",
            subscriber_id="s_1",
            match_method="phone",
            phone_masked="•••00",
            email_masked="a•••@mail.test",
        ),
        change(
            "user:ana@mail.test",
            operation="add",
            external_id="e_2",
            subscriber_id="s_2",
            match_method="email",
            email_masked="a•••@mail.test",
        ),
        change(
            "user:3",
            status="removed",
            reason="EXITED",
            operation="remove",
            member=False,
            subscriber_id="s_3",
            match_method="phone",
        ),
        change(
            "user:4",
            ATTACK,
            "rejected",
            "REJECTED_BY_POSTSCRIPT",
            operation="add",
            subscriber_id="s_<4>",
            match_method="phone",
            status_message="PATCH /subscribers/{id} answered 400: <bad> & worse",
        ),
    ),
    calls=call_frame(
        write("s_1", listed("old", "bob@mail.test"), listed("old", "bob@mail.test", "vip"), tries=2),
        write("s_2", {}, listed("vip")),
        write("s_3", listed("vip"), listed()),
        write("s_<4>", listed("x"), listed("x", ATTACK), "RejectedError: <bad>", status_code=400),
        call(subscriber_id="s_1", external_id="e_1"),
        call("LostAnswerError: no answer", subscriber_id="s_2", external_id="e_2"),
        *map(call, ["ok"] * 200),
        call(None),
    ),
    drift=pd.DataFrame(
        {
            "person": [QUOTES, "email:ana@mail.test", None, None],
            "audience_key": [ATTACK, "vip", "summer <2024>", None],
            "trait_key": [None, None, None, None],
            "subscriber_id": ["s_1", "s_2", "s_8", "s_9"],
            "email_masked": [None, "a•••@mail.test", None, None],
            "phone_masked": ["•••00", None, "•••01", "•••02"],
            "drift": ["missing", "extra", "ghost key", "malformed value"],
        },
        dtype="str",
    ),
    unknown=pd.DataFrame(
        {"subscriber_id": ["s_1", "s_7"], "audience_key": [ATTACK, "vip"], "entered": [True, False]}
    ).assign(state=["unknown", "refused"]),
    history=history(
        (datetime(2026, 3, 1, 12), "live", "completed_with_errors", 900, 129),
        (datetime(2026, 2, 28, 12), "dry_run", "completed", 800, 0),
        (datetime(2026, 2, 27, 12), "live", "failed", 0, 0),
    ),
    previous=Previous(
        record=replace(RECORD, run_id="run_2", status="failed", received=1200),
        totals=totals(
            ("change", "vip", "added", "ENTERED", 50),
            ("change", "vip", "unchanged", "ALREADY_IN", 7),
            ("change", "gone", "unchanged", "ALREADY_IN", 3),
        ),
        to_look_at=change_frame(change("user:9", status="failed", reason="TRANSPORT_FAILED")),
    ),
)


class Page(HTMLParser):
    """A document's tags, attributes and text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


# --- tables ------------------------------------------------------------------------------------------------


def test_reason_table_counts_rows():
    """Statuses are counted by reason, the most frequent first, each with its share, sentence and remedy."""
    frame = pd.DataFrame(
        {
            "status": ["counted", "superseded", "counted", "malformed", "invalid_payload"],
            "reason_code": ["DECIDED", "NEWER_EVENT", "DECIDED", "NOT_JSON", None],
        }
    )
    before = frame.copy(deep=True)
    table = reason_table(frame)
    assert [*table.columns] == REASON_COLUMNS
    assert table[["status", "reason_code", "count", "share"]].to_numpy().tolist() == [
        ["counted", "DECIDED", 2, 0.4],
        ["invalid_payload", "", 1, 0.2],
        ["malformed", "NOT_JSON", 1, 0.2],
        ["superseded", "NEWER_EVENT", 1, 0.2],
    ]
    assert table["meaning"].tolist()[1:3] == ["", REASONS["NOT_JSON"].meaning]
    assert table["what_to_do"].tolist()[1:3] == ["", REASONS["NOT_JSON"].fix]
    pd.testing.assert_frame_equal(frame, before)


def test_reason_table_sums_totals():
    """Rows that are totals already are summed, over audiences too."""
    table = reason_table(
        totals(
            ("change", "a", "added", "ENTERED", 5),
            ("change", "b", "added", "ENTERED", 6),
            ("change", "b", "removed", "EXITED", 12),
        )
    )
    assert table[["status", "count"]].to_numpy().tolist() == [["removed", 12], ["added", 11]]
    assert table["share"].tolist() == [0.5217, 0.4783]


@pytest.mark.parametrize(
    "frame", [totals(), empty_table(PAYLOAD_COLUMNS), change_frame()], ids=["totals", "events", "changes"]
)
def test_reason_table_of_nothing(frame):
    """Nothing gives the same columns, of the same kinds, and no rows."""
    table = reason_table(frame)
    assert [*table.columns] == REASON_COLUMNS
    assert len(table) == 0
    assert [*table.dtypes.astype("str")] == ["str", "str", "int64", "float64", "str", "str"]


STATE = State(
    memberships=pd.DataFrame(
        [
            ("user:1", "vip", "aud_1", True),
            ("user:2", "vip", None, True),
            ("user:3", "vip", "aud_1", True),
            ("user:4", "vip", "aud_1", False),
            ("user:1", "churn", None, False),
            ("user:9", "tiny", "aud_3", True),
        ],
        columns=["person", "audience_key", "audience_id", "member"],
    )
    .reindex(columns=[*MEMBERSHIP_COLUMNS])
    .astype(MEMBERSHIP_COLUMNS),
    people=pd.DataFrame(
        [
            ("user:1", "ana@mail.test", "+14155550100"),
            ("user:2", "ben@mail.test", "n/a"),
            ("user:3", None, None),
            ("user:4", None, "+14155550101"),
        ],
        columns=["person", "email", "phone"],
    )
    .reindex(columns=[*PEOPLE_COLUMNS])
    .astype(PEOPLE_COLUMNS),
)


def previewed(state):
    """Return the audiences of a preview in which one person came and went everywhere."""
    return count_audiences(state, check_contacts(state.people)).assign(flapping=1)


def test_audience_table():
    """Each audience has its members, those who left, and of the members the share with a usable contact."""
    table = audience_table(previewed(STATE))
    assert table.astype("object").where(table.notna(), None).to_numpy().tolist() == [
        ["vip", "aud_1", 3, 1, 1, 0.3333, 0.6667, 0.3333, 0.3333],
        ["tiny", "aud_3", 1, 0, 1, 0.0, 0.0, 0.0, 1.0],  # nothing is known of its one member
        ["churn", None, 0, 1, 1, None, None, None, None],
    ]


def test_verdict_table():
    """Verdicts are counted for phones, then emails, with their share of the people."""
    table = verdict_table(check_contacts(STATE.people))
    assert table[["contact", "code", "people", "share"]].to_numpy().tolist() == [
        ["phone", "ok", 2, 0.5],
        ["phone", "phone_not_a_number", 1, 0.25],
        ["phone", "absent", 1, 0.25],
        ["email", "ok", 2, 0.5],
        ["email", "absent", 2, 0.5],
    ]
    assert (*table.loc[1, ["meaning", "what_to_do"]],) == CONTACT_VERDICTS["phone_not_a_number"]


def test_tables_without_people():
    """Without people the tables have their columns and no rows."""
    contacts = check_contacts(State.empty().people)
    empty = audience_table(previewed(State.empty()))
    assert len(empty) == 0
    assert [*empty] == [*audience_table(previewed(STATE))]
    assert len(verdict_table(contacts)) == 0
    assert [*change_table(totals())] == ["audience_key", "total"]


def test_plan_table():
    """The price of a plan: changes, events, writes, calls, time, and removals beside their limit."""
    held = Subscriber(
        subscriber_id="s_1",
        phone="14155550100",
        email="",
        properties={"Segment Audiences": ["churn"]},
        can_send=True,
        updated_at="",
    )
    found = plan(STATE, check_contacts(STATE.people), subscribers_table([held]), max_removal_share=0.25)
    spent = CostEstimate(
        calls={"reads": 2, "reads_again": 1, **found.planned_calls},
        official={"reads": 9, "writes": 2, "custom_events": 7},
        requests_per_second=0.05,
    )
    table = plan_table(found, spent)
    ours = ["6", "1", "1", "2", "1", "2", "4", "2.0 minutes", "50.0% (limit 25%)"]
    assert [*table["value"]] == [*ours, "18", "7", "6.0 minutes"]
    assert [*plan_table(found, replace(spent, official=None))["value"]] == ours
    most = replace(found, looked_at_beside={"churn": 9})
    row = plan_table(most, spent).set_index("what").at["Highest share of one audience", "value"]
    assert row == "10.0% of churn (the same limit)"


def test_change_table():
    """Each audience is a row, each status that occurred a column in its usual order, and the total last."""
    table = change_table(FULL.totals)
    assert [*table.columns] == [
        *("audience_key", "added", "removed", "unchanged", "waiting", "rejected", "total")
    ]
    assert table.to_numpy().tolist() == [[ATTACK, 0, 0, 10, 0, 1, 11], ["vip", 900, 129, 0, 60, 0, 1089]]


def test_styled_table():
    """Text is escaped, counts have their thousands apart, shares are per cent, and nothing is a dash."""
    table = pd.DataFrame(
        {"audience_key": [ATTACK, None], "reason_code": ["a & \"b\" 'c'", "d"], "count": [1234, 5]}
    ).assign(share=[0.123, None])
    before = table.copy(deep=True)
    html = styled_table(table, caption=f"Of {ATTACK} & co").to_html()
    page = Page(html)
    assert "script" not in page.tags
    assert page.texts.count(ATTACK) == 1
    assert "a & \"b\" 'c'" in page.texts
    assert f"Of {ATTACK} & co" in page.texts
    for text in ("audience key", "reason code", "1,234", "12.3%", "–"):
        assert text in page.texts
    assert page.texts.count("–") == 2
    pd.testing.assert_frame_equal(table, before)


def test_styled_table_of_nothing():
    """A table without rows is its caption."""
    page = Page(styled_table(reason_table(totals()), caption="Nothing").to_html())
    assert "what to do" not in page.texts  # a head without rows says nothing
    assert "Nothing" in page.texts


# --- charts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "shown_text"),
    [
        pytest.param({"would_add": 1234, "failed": 0}, "T: would add 1,234, failed 0.", id="counts"),
        pytest.param({}, "T: nothing.", id="no bars"),
        pytest.param({"counted": 0}, "T: counted 0.", id="only zero"),
        pytest.param({"$5^$ or more": 1}, "T: $5^$ or more 1.", id="dollars are not a formula"),
        pytest.param({ATTACK: 1}, f"T: {ATTACK} 1.", id="as written"),
    ],
)
def test_chart(counts, shown_text):
    """A chart is a PNG, and its words say every number it shows."""
    chart = bar_chart(counts, title="T")
    assert chart.png.startswith(b"\x89PNG\r\n\x1a\n")
    assert chart._repr_png_() == (chart.png, {"alt": shown_text})
    assert chart.alternative == shown_text


MOVED = pd.DataFrame(
    [("vip", pd.Timestamp("2026-01-30", tz="UTC"), 1200, 0)], columns=[*MOVEMENT_COLUMNS]
).astype(MOVEMENT_COLUMNS)


def test_times_in_a_styled_table():
    """To the minute, in UTC, with and without a zone; none is a dash."""
    at = pd.Timestamp("2026-11-01 04:17:12.345678")
    table = pd.DataFrame({"at": [at, None], "started": [None, at.tz_localize("UTC")]})
    page = Page(styled_table(table, caption="Runs").to_html())
    assert page.texts.count("2026-11-01 04:17 UTC") == 2
    assert page.texts.count("–") == 2


def test_charts_are_read_on_a_light_and_on_a_dark_page():
    """Transparent, and the words in a grey that stands out by 4.5 : 1 from both."""
    for png in (bar_chart({"added": 1200}, title="Outcomes").png, growth_chart(MOVED, title="Growth").png):
        picture = image.imread(io.BytesIO(png))
        assert picture[0, 0, 3] == picture[-1, -1, 3] == 0
        # Fully covered pixels in no colour: words and lines.
        ink = {tuple(p) for p in picture.reshape(-1, 4) if p[3] == 1 and p[0] == p[1] == p[2]}
        assert len(ink) == 1
        linear = ((next(iter(ink))[0] + 0.055) / 1.055) ** 2.4
        assert min(1.05 / (linear + 0.05), (linear + 0.05) / 0.05) > 4.5


def test_chart_leaves_no_figure():
    """Drawing needs no screen and keeps nothing open for the notebook to show twice."""
    plt = pytest.importorskip("matplotlib.pyplot")
    bar_chart({"counted": 1}, title="T")
    assert plt.get_fignums() == []


def test_funnel():
    """Events up to superseded, then changes; the counts of each part add up to its first line."""
    table = run_funnel_table(FULL)
    assert table[["of", "step", "count"]].to_numpy().tolist() == [
        ["events", "Received", 1300],
        ["events", "Filtered", 60],
        ["events", "Invalid", 60],
        ["events", "Superseded", 80],
        ["events", "Counted", 1100],
        ["changes", "To sync", 1100],
        ["changes", "Unmatched", 60],
        ["changes", "Unchanged", 10],
        ["changes", "Delivered", 1029],
        ["changes", "Rejected", 1],
        ["changes", "Pending retry", 0],
    ]
    assert table["statuses"].tolist()[2] == "45 malformed, 15 no membership value"
    for _of, part in table.groupby("of"):
        assert part["count"].iloc[1:].sum() == part["count"].iloc[0]


@pytest.mark.parametrize(
    ("statuses", "steps"),
    [(EventStatus, EVENT_STEPS), (ChangeStatus, CHANGE_STEPS)],
    ids=["events", "changes"],
)
def test_each_status_is_in_one_step(statuses, steps):
    """No status is lost between the steps of the funnel, and none is counted twice."""
    assert sorted(status for step in steps.values() for status in step) == sorted(statuses)


def test_funnel_of_a_dry_run():
    """What would be delivered is shown instead of what was."""
    steps = [*run_funnel_table(AUDITS["dry_run"])["step"]]
    assert "To deliver" in steps
    assert "Delivered" not in steps


# --- rows, comparison, next steps --------------------------------------------------------------------------


def rows_of(audit, limit=100):
    return row_log(audit, limit=limit).set_index("subscriber_id")


def test_row_log():
    """Each change has its reason, its write, its custom event and the list before and after, all masked."""
    rows = rows_of(FULL)
    assert [*row_log(FULL, limit=9)] == [*ROW_HEADINGS]
    assert {*rows.map(type).to_numpy().ravel()} == {str}
    assert rows.loc["s_1", ["before", "http_status", "attempts", "event"]].tolist() == [
        "old, b•••@mail.test~b14b",
        "200",
        "2",
        "Segment_Audience_Entered: sent",
    ]
    assert rows.loc["s_1", "after"] == "old, b•••@mail.test~b14b, vip"
    assert rows.loc["s_2", ["before", "event"]].tolist() == [
        "no list",
        "Segment_Audience_Entered: answer lost",
    ]
    assert rows.loc["s_3", ["before", "after", "event", "started_at"]].tolist() == [
        "vip",
        "empty",
        "",
        "2026-03-01 12:00:00",
    ]
    assert rows.loc["s_<4>", ["after", "http_status"]].tolist() == ["", "400"]
    assert rows.loc["s_1", "reason"] == "ENTERED: " + REASONS["ENTERED"].meaning


def test_who_is_held_by_an_event_dated_in_the_future_is_shown():
    """The row says so beside its reason, and the next steps count them."""
    ahead = FULL.record.started_at.replace(tzinfo=UTC) + timedelta(days=400)
    changes = change_frame(
        change(timestamp=pd.Timestamp(ahead)), change(timestamp=pd.Timestamp(ahead) - timedelta(days=400))
    )
    record = replace(FULL.record, facts={**FULL.record.facts, "dated_ahead": 1})
    audit = replace(FULL, changes=changes, record=record)
    held, other = row_log(audit, limit=9)["reason"]
    assert held.endswith(f"Decided by an event dated in the future: {ahead:%Y-%m-%d}.")
    assert "dated" not in other
    assert [(s.what, s.count) for s in next_steps(audit) if "dated" in s.what] == [
        ("Decided by an event dated in the future", 1)
    ]


def test_row_log_of_traits():
    """A trait's row has the trait's values, not the list; a contact in them is masked."""
    row = change(
        "user:1", None, "updated", "TRAIT_NEW_VALUE", operation="set", subscriber_id="s_1", member=None
    )
    changes = change_frame({**row, "trait_key": "mail", "trait_value": '"new@mail.test"'})
    calls = call_frame(write("s_1", {"mail": "old@mail.test"}, {"mail": "new@mail.test"}))
    found = rows_of(replace(EMPTY, changes=changes, calls=calls)).loc["s_1"]
    assert "old@" not in found["before"]
    assert found["before"].startswith("o•••@mail.test~")
    assert found["after"].startswith("n•••@mail.test~")
    assert found["about"].startswith("trait mail = ")
    assert "new@" not in found["about"]


def test_row_log_of_what_was_not_tried():
    """A row that asked for nothing shows nothing of the write that another row of the subscriber caused."""
    changes = change_frame(
        change("user:1", "vip", operation="add", subscriber_id="s_1"),
        change("user:1", "old", status="skipped", reason="OPTED_OUT", subscriber_id="s_1"),
    )
    audit = replace(EMPTY, changes=changes, calls=call_frame(write("s_1", listed(), listed("vip"))))
    rows = row_log(audit, limit=9).set_index("about")
    assert rows.loc["vip", "after"] == "vip"
    assert rows.loc["old", ["before", "after", "http_status", "started_at"]].tolist() == [""] * 4


def test_the_first_write_tells():
    """A second write to a subscriber only puts back what was lost by the first."""
    calls = call_frame(
        write("s_1", listed("a"), listed("a", "vip")), write("s_1", listed("a", "vip"), listed("a"))
    )
    changes = change_frame(change(operation="add", subscriber_id="s_1"))
    assert rows_of(replace(EMPTY, changes=changes, calls=calls)).loc["s_1", "after"] == "a, vip"


@every("wanted, shown_text", [("transitions", "would be posted"), ("none", "")])
def test_custom_events_of_a_dry_run(wanted, shown_text):
    """A dry run says which custom events would be posted; none where none are wanted."""
    audit = AUDITS["dry_run"]
    record = replace(audit.record, facts={"custom_events": wanted})
    rows = row_log(replace(audit, record=record), limit=9)
    assert [event.partition(": ")[2] for event in rows["event"]] == [shown_text] * 3
    text = Page(render_report(replace(audit, record=record))).text
    assert f"{3 if shown_text else 'None'} would be posted" in text


def test_whatever_put_an_audience_on_a_list_counts_there():
    """An undo puts back, and an addition whose event was sent before is one as well."""
    mine = totals(
        ("change", "vip", "added", "UNDO_ADDED", 2),
        ("change", "vip", "added", "EVENT_ALREADY_SENT", 3),
        ("change", "vip", "removed", "EVENT_ALREADY_SENT", 9),
    )
    before = Previous(record=RECORD, totals=totals(), to_look_at=EMPTY.changes)
    assert sizes_beside(replace(EMPTY, totals=mine, previous=before)) == [("vip", 5, 0)]


def test_members_beside_those_of_the_run_before():
    """Members on the list: entered or already in; an audience of one run only counts none in the other."""
    assert sizes_beside(FULL) == [(ATTACK, 10, 0), ("gone", 0, 3), ("vip", 900, 57)]


def test_what_was_not_chosen_is_not_shown():
    """An audience that one of two runs left out has neither a row by audience nor a size to compare."""
    one = totals(
        ("change", "vip", "unchanged", "ALREADY_IN", 5), ("change", "old", "skipped", "NOT_CHOSEN", 9)
    )
    before = Previous(
        record=RECORD, totals=totals(("change", "old", "added", "ENTERED", 9)), to_look_at=EMPTY.changes
    )
    assert change_table(one)["audience_key"].tolist() == ["vip"]
    assert sizes_beside(replace(EMPTY, totals=one, previous=before)) == [("vip", 5, 0)]


@every(
    "facts, banner, sentence",
    [
        ({}, "LIVE · completed", ""),
        ({"parameters": {"undo_of": "run_7"}}, "LIVE · Undo · completed", "It undoes run run_7 ."),
        ({"kind": "repair"}, "LIVE · Repair · completed", "brings subscribers who drifted back"),
        ({"kind": "saved_plan"}, "LIVE · Saved plan · completed", "a plan that was saved earlier"),
        ({"kind": "member_list"}, "LIVE · Member list · completed", "a list of members"),
    ],
)
def test_what_a_run_carried_out_is_named(facts, banner, sentence):
    """In the banner, in the history, and in the reasons of its rows: a repair comes from no event."""
    removed = change(status="removed", reason="EXITED", operation="remove", member=False)
    record = replace(RECORD, facts=facts)
    past = history((datetime(2026, 3, 1), "live", "completed", 0, 0)).assign(kind=record.kind)
    one = replace(EMPTY, record=record, changes=change_frame(removed), history=past)
    text = Page(render_report(one)).text
    shown = "live" if record.kind == "sync" else f"live {record.kind.replace('_', ' ')}"
    assert f"run_0 {shown} completed" in text
    assert banner in text
    assert sentence in text
    assert ("nothing says that it should be" in text) is (record.kind == "repair")


def test_obsolete_custom_events_are_explained():
    """They are listed with what it means; only the others are something to do."""
    rows = [("s_1", "vip", True, "e_1", "obsolete"), ("s_2", "vip", True, "e_2", "refused")]
    unknown = pd.DataFrame(rows, columns=[*UNKNOWN_COLUMNS]).astype(UNKNOWN_COLUMNS)
    one = replace(EMPTY, unknown=unknown)
    text = Page(render_report(one)).text
    assert "1 custom events became untrue before they could be posted" in text
    assert "s_1 vip entered obsolete, never sent" in text
    assert [step.count for step in next_steps(one)] == [1]
    assert next_steps(replace(EMPTY, unknown=unknown.head(1)))[0].what == "Nothing to do"


def test_what_earlier_runs_left_over_is_named():
    """Lists count where they were written, custom events where they were posted."""
    mine = history((datetime(2026, 3, 1, 12), "live", "completed", 178, 0))
    mine = mine.assign(run_id=RECORD.run_id, custom_events=12, left_over=12)
    text = Page(render_report(replace(EMPTY, history=mine))).text
    assert "Added 178" in text
    assert "12 custom events of earlier runs posted" in text


def test_who_newly_needs_attention():
    """Who did so in the run before is not new, another audience of the same person is."""
    now = change_frame(
        change("user:9", status="pending", reason="NOT_REACHED"),
        change("user:9", "old", "ambiguous", "AMBIGUOUS_MATCH"),
        change("user:1"),
    )
    assert newly_to_look_at(replace(FULL, changes=now))["audience_key"].tolist() == ["old"]
    assert len(newly_to_look_at(replace(FULL, changes=now, previous=None))) == 2


STEPS = {
    "waiting": (("SUBSCRIBER_NOT_FOUND", "live"), "Not subscribed yet: 4", "Nothing to do"),
    "failed": (("TRANSPORT_FAILED", "live"), "Could not be written: 4", "Run the sync again"),
    "rejected": (("REJECTED_BY_POSTSCRIPT", "live"), "Refused by Postscript: 4", "Read the message"),
    "would_remove": (("EXITED", "dry_run"), "Changes that would be sent: 4", "dry_run = False"),
    "pending": (("REMOVAL_LIMIT", "live"), "Held back by the limit on removals: 4", "max_removal_share"),
}


@every("status", STEPS)
def test_next_steps(status):
    """Each status that leaves something open has its step with its count, and nothing else is shown."""
    (reason, mode), what, text = STEPS[status]
    audit = replace(
        EMPTY, record=replace(RECORD, mode=mode), totals=totals(("change", "vip", status, reason, 4))
    )
    [step] = next_steps(audit)
    assert f"{step.what}: {step.count}" == what
    assert text in step.text


def test_next_steps_of_a_run_that_went_well():
    """Where nothing is open the step is that there is nothing to do."""
    assert [step.what for step in next_steps(EMPTY)] == ["Nothing to do"]


def test_next_steps_of_everything():
    """The most urgent comes first; drift and custom events have steps of their own."""
    record = replace(RECORD, status="failed")
    assert [(step.what, step.count) for step in next_steps(replace(FULL, record=record))] == [
        ("The run ended as failed", None),
        ("Refused by Postscript", 1),
        ("Not subscribed yet", 60),
        ("Custom events of the shop that were not confirmed", 2),
        ("Differences between Postscript and what was asked for", 4),
        ("Events that cannot be read", 45),
        ("Events that do not say in or out", 15),
    ]


# --- the document ------------------------------------------------------------------------------------------

AUDITS = {
    "live": FULL,
    "dry_run": replace(
        EMPTY,
        record=replace(RECORD, mode="dry_run", received=3, facts={"calls": {"GET /subscribers": 2}}),
        totals=totals(
            ("event", None, "counted", "DECIDED", 3),
            ("change", "vip", "would_add", "ENTERED", 2),
            ("change", "vip", "would_remove", "EXITED", 1),
        ),
        changes=change_frame(
            change(status="would_add", operation="add"),
            change("user:2", status="would_add", operation="add"),
            change("user:3", status="would_remove", reason="EXITED", operation="remove", member=False),
        ),
        drift=FULL.drift.head(0),
    ),
    "empty": EMPTY,
}


@cache
def document(name):
    """Return the report of one of AUDITS, rendered once."""
    return render_report(AUDITS[name])


def test_what_was_planned_stands_beside_what_happened():
    """A row a kind of call, the reads before writes among the reads; Segment's action beside them."""
    text = Page(document("live")).text
    for row in ("reads 44 44 1,400", "writes 1,029 1,030 1,029", "custom events 203 203 1,180"):
        assert row in text
    assert "all 1,276 1,277 3,609" in text
    assert "Planned: 1.5 minutes for all calls. Time after reading: 1.5 minutes" in text


def test_custom_events_that_were_not_confirmed_are_listed():
    """A person who may get a second text is named; one that matches no person is shown as such."""
    text = Page(document("live")).text
    assert "2 custom events of this shop, from this run or earlier ones" in text
    assert "entered answer lost, perhaps sent" in text
    assert "s_7 vip exited refused, not sent" in text
    assert "not known summer <2024> ghost key s_8" in text
    assert "not known the whole list malformed value s_9" in text


@every("name", AUDITS)
def test_report_is_as_agreed(name):
    """The whole document is the one that was looked at and kept; UPDATE_GOLDEN=1 keeps another."""
    html = document(name)
    golden = GOLDEN / f"report_{name}.html"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(html, encoding="utf-8", newline="\n")
    assert html == golden.read_text(encoding="utf-8")


@every("name", AUDITS)
def test_report_needs_nothing_else(name):
    """The document loads nothing and links only into itself; its tags close."""
    html = document(name)
    page = Page(html)
    assert page.open == []
    assert not {"link", "iframe", "object", "form", "img"} & {*page.tags}
    assert "http://" not in html
    assert "https://" not in html
    for tag, attribute, value in page.attributes:
        assert not attribute.startswith("on")
        assert attribute not in ("src", "srcset", "action")
        if attribute == "href":
            assert (tag, value[0]) == ("a", "#")
            assert f'id="{value[1:]}"' in html


def test_report_allows_its_own_script_only():
    """The policy names the digest of the one script there is, and lets nothing be loaded."""
    html = document("live")
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


@every("name", AUDITS)
def test_report_order(name):
    """Banner, then the nine parts in the order agreed upon, the contents in the same."""
    html = document(name)
    ids = re.findall(r'<h2 id="([^"]*)">', html)
    assert ids == [
        *("counts", "funnel", "rejections", "rows", "before-and-after", "custom-events", "timing"),
        *("since", "next"),
    ]
    assert re.findall(r'<li><a href="#([^"]*)">', html) == ids
    assert html.index("<h1>") < html.index("<nav") < html.index("<h2")


@every("name", AUDITS)
def test_report_tables_can_be_heard(name):
    """Each table has a caption, each heading says of what; bars are not read out, their numbers are."""
    html = document(name)
    assert html.count("<table>") == html.count("<caption>")
    assert "<th>" not in html
    assert html.count('class="scroll"') == html.count('" tabindex="0">\n') - 1  # and the row table
    assert html.count('class="bar') <= html.count('class="chart" aria-hidden="true"')


def test_report_escapes():
    """What came from events or from Postscript is shown as it was written, and is never markup."""
    html = document("live")
    page = Page(html)
    assert ATTACK not in html
    assert "<b>" not in html
    # By audience, rows, drift, unconfirmed, the sizes of the audiences, and who newly needs attention.
    assert page.texts.count(ATTACK) == 6
    assert page.texts.count(QUOTES) == 3
    for text in ("Acme & Söhne", '1 write was refused: <see "below">.', "s_<4>"):
        assert text in page.texts
    assert "PATCH /subscribers/{id} answered 400: <bad> & worse" in page.text


HOSTILE = {
    "end of the script": "</script><script>alert(1)</script>",
    "comment": "<!--<script>",
    "line separators": "a\u2028b\u2029c",
    "half a character": "a\ud800b",
    "other direction": "a\u202eb\u2066c",
    "no character": "a\x00b",
    "template": "{{ 7 * 7 }}{% raw %}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts(text):
    """Whatever a name holds, the document can be written, has two scripts, and its rows can be read."""
    name = text.replace("\ud800", "")  # a frame cannot hold it, a list of Postscript's can
    changes = change_frame(change(name, name, operation="add", subscriber_id="s_1"), change("user:2"))
    record = replace(RECORD, shop_name=text, error=text)
    calls = call_frame(write("s_1", listed(text), listed(text, f"@{text}")))
    html = render_report(replace(EMPTY, changes=changes, record=record, calls=calls))
    html.encode("utf-8")
    assert html.count("<script") == html.count("</script>") == 2
    assert "<!--" not in html
    assert not re.search("[\u2028\u2029\u202a-\u202e\u2066-\u2069]", embedded_text(html))
    shown = re.sub("[\ud800-\udfff\u202e\u2066]", "\ufffd", text)
    assert rows_in(html)["Before"] == [shown, ""]
    assert rows_in(html)["Person"][0] == re.sub("[\u202e\u2066]", "\ufffd", name)


def embedded_text(html):
    return re.search(r'id="row-data">(.*?)</script>', html, re.DOTALL)[1]


def rows_in(html):
    """Return heading → cells of the rows that can be searched."""
    data = json.loads(embedded_text(html))
    return {
        column["heading"]: [column["values"][at] for at in column["at"] or range(data["count"])]
        for column in data["columns"]
    }


def test_long_names_are_cut():
    """A name of a megabyte is shown by its beginning."""
    name = "W" * 1_000_000
    audit = replace(
        EMPTY,
        record=replace(RECORD, shop_name=name, error=name),
        totals=totals(("change", name, "added", "ENTERED", 1)),
        changes=change_frame(change(name, name, "failed", "TRANSPORT_FAILED", status_message=name)),
    )
    html = render_report(audit)
    assert len(html) < 100_000
    assert "W" * 150 in html


def test_report_masks_persons():
    """A person whose name is a contact is masked, in the changes and in the drift."""
    html = document("live")
    assert "ana@mail.test" not in html
    assert "user:a•••@mail.test~" in html
    assert "email:a•••@mail.test~" in html


def test_report_shows_check_sums():
    """The statuses of the events and of the changes are added up in sight."""
    assert (
        "Events add up: 1,100 counted + 80 superseded + 60 duplicate + 45 malformed "
        "+ 15 no membership value = 1,300 events received."
    ) in Page(document("live")).text
    assert (
        "Changes add up: 900 added + 129 removed + 60 waiting + 10 unchanged + 1 rejected "
        "= 1,100 memberships."
    ) in Page(document("live")).text
    assert "Events add up: 0 = 0 events received." in Page(document("empty")).text


def test_report_lists_trouble_first():
    """The refused change comes before the others, which keep their order."""
    assert rows_in(document("live"))["Subscriber"] == ["s_<4>", "s_1", "s_2", "s_3"]


def many_changes(count, **other):
    rows = [change(f"user:customer_{n:08}", subscriber_id=f"s_{n:08}", **other) for n in range(count)]
    return change_frame(*rows, change("user:last", status="failed", reason="TRANSPORT_FAILED"))


def test_report_holds_a_limited_number():
    """A large run has its first changes, trouble first, and says how many there are and where."""
    html = render_report(replace(EMPTY, changes=many_changes(ROWS_EMBEDDED + 1233)))
    rows = rows_in(html)
    assert len(rows["Person"]) == ROWS_EMBEDDED
    assert rows["Person"][0] == "user:last"
    assert html.count('<th scope="row">user:customer_') == PAGE - 1
    shown_text = (
        "This file holds the first 10,000 of 11,234; all of them are in changes.csv and changes.parquet."
    )
    assert shown_text in Page(html).text


def test_report_is_small():
    """With 10,000 changes that are all written, and no list like another, it has at most two megabytes."""
    changes = many_changes(ROWS_EMBEDDED - 1, operation="add", email_masked="a•••@mail.test")
    calls = [
        write(f"s_{n:08}", listed("newsletter", f"{n}"), listed("newsletter", f"{n}", "vip"))
        for n in range(ROWS_EMBEDDED)
    ]
    html = render_report(replace(EMPTY, changes=changes, calls=call_frame(*calls)))
    assert len(rows_in(html)["Person"]) == ROWS_EMBEDDED
    assert len(html.encode()) <= 2_000_000


def test_report_of_long_texts_is_small():
    """Where the texts are long fewer rows are in the document, so that it stays small."""
    rows = [change(f"user:{n} " + "é" * 300, f"{n} " + "é" * 300) for n in range(4000)]
    html = render_report(replace(EMPTY, changes=change_frame(*rows)))
    assert 1000 < len(rows_in(html)["Person"]) < 4000
    assert len(html.encode()) <= 2_000_000


def test_columns_that_say_nothing_are_left_out():
    """A dry run has no writes to show; person, audience and status are always there."""
    assert [*rows_in(document("empty"))] == ["Person", "Audience or trait", "Status"]
    assert not {"Before", "Tries", "HTTP status"} & {*rows_in(document("dry_run"))}


def test_before_and_after():
    """What the run wrote is shown by subscriber, what came and what went; a refused write is not."""
    text = Page(document("live")).text
    shown = text[text.index("“Segment Audiences” before and after") : text.index("Drift 1 ×")]
    assert "s_1 old, b•••@mail.test~b14b old, b•••@mail.test~b14b, vip + vip" in shown
    assert "s_2 empty vip + vip" in shown
    assert "user:3 s_3 vip empty − vip" in shown
    assert "s_<4>" not in shown
    assert "A dry run writes nothing" in Page(document("dry_run")).text
    assert "No list was written." in Page(document("empty")).text


def test_before_and_after_is_a_sample():
    """Of a large run the first fifty are shown."""
    calls = call_frame(*(write(f"s_{n}", listed(), listed("vip")) for n in range(SAMPLE + 9)))
    assert document_of(calls=calls).count("<ins>") == SAMPLE


def document_of(**fields):
    return render_report(replace(EMPTY, **fields))


def test_since_the_last_run():
    """Figures, audiences and people beside those of the run before; without one the report states it."""
    text = Page(document("live")).text
    assert "The live run before this one, run_2 , started 2026-03-01 12:00:00 UTC and ended as failed" in text
    assert "events received 1,300 1,200 +100" in text
    assert "removed 129 0 +129" in text
    assert "gone 0 3 -3" in text
    assert "Changes that need attention and did not in the run before: 1." in text
    assert "There is no earlier live run of this shop that ended." in Page(document("empty")).text
    assert "There is no earlier dry run of this shop that ended." in Page(document("dry_run")).text


def test_history():
    """The runs are a table, the latest first, and a chart, the latest on the right."""
    html = document("live")
    assert "2026-02-28 12:00:00 run_1 dry run completed 800 0" in Page(html).text
    heights = re.findall(r'class="(adds|removes)" style="height:([0-9.]+)%"( hidden)?', html)
    assert heights == [
        *(("removes", "0.0", " hidden"), ("adds", "0.0", "")),
        *(("removes", "0.0", " hidden"), ("adds", "77.7", "")),
        *(("removes", "12.5", ""), ("adds", "87.5", "")),
    ]


def test_answer_times():
    """The median and the slowest answer are shown, and how many calls were tried again."""
    shown_text = (
        "From request to answer: 0.25 seconds (median), 0.25 at most. Calls that needed more than one try: 1."
    )
    assert shown_text in Page(document("live")).text
    assert "From request" not in Page(document("empty")).text


@every(
    "mode, status, heading",
    [
        ("live", "completed", "LIVE · completed"),
        ("live", "completed_with_errors", "LIVE · completed with errors"),
        ("dry_run", "failed", "DRY RUN · failed"),
    ],
)
def test_heading(mode, status, heading):
    """The heading says at once whether anything was sent and how it ended; only completed is green."""
    page = Page(render_report(replace(EMPTY, record=replace(RECORD, mode=mode, status=status))))
    assert heading in page.texts
    assert ("Nothing was sent." in page.text) == (mode == "dry_run")
    assert ("header", "class", "good" if status == "completed" else "bad") in page.attributes


@pytest.mark.parametrize(
    ("drift", "shown_text"),
    [
        (None, None),
        (FULL.drift.head(0), "No subscriber differs from what was asked for."),
        (FULL.drift, "1 × extra : the audience is on the list of"),
    ],
    ids=["not asked", "none", "some"],
)
def test_drift(drift, shown_text):
    """Drift is shown when it was looked for, and so is that there is none."""
    page = Page(render_report(replace(EMPTY, drift=drift)))
    assert ("Drift" in page.texts) == (shown_text is not None)
    assert shown_text is None or shown_text in page.text


@pytest.mark.parametrize(
    ("outcomes", "shown_text"),
    [
        pytest.param([], "None was posted.", id="none"),
        pytest.param(["ok", "ok"], "2 sent.", id="sent"),
        pytest.param(
            ["ok", "LostAnswerError: a: b", "LostAnswerError: c", None, None, None],
            "3 no answer recorded, 2 answer lost, 1 sent.",
            id="all kinds",
        ),
    ],
)
def test_custom_events(outcomes, shown_text):
    """Custom events are counted as sent, or by what went wrong, and a crash in between shows too."""
    calls = call_frame(*map(call, outcomes), write("s_1", {}, {}))
    assert f"Custom events {shown_text}" in Page(document_of(calls=calls)).text


def test_pace_counts_only_writes():
    """The pace is writes over seconds; reads came before, and a run without writes has none."""
    assert "1.5 minutes, 13.7 calls a second" in Page(document("live")).text
    assert "1.5 minutes, – calls a second" in Page(document("empty")).text


def test_run_that_never_ended():
    """A run that broke off has a report too."""
    record = replace(RECORD, status="running", finished_at=None, seconds=0.0, shop_name="")
    page = Page(render_report(replace(EMPTY, record=record)))
    assert "LIVE · running" in page.texts
    assert "Shop shop_1 , started" in page.text


def test_report_changes_nothing():
    """Rendering leaves the audit as it was, and the same audit gives the same document."""
    copies = [frame.copy(deep=True) for frame in (FULL.totals, FULL.changes, FULL.calls, FULL.drift)]
    assert render_report(FULL) == document("live")
    for frame, copy in zip((FULL.totals, FULL.changes, FULL.calls, FULL.drift), copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy)
