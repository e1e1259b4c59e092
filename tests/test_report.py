import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from toolkit.contacts import CONTACT_VERDICTS, check_contacts
from toolkit.memberships import MEMBERSHIP_COLUMNS, PAYLOAD_COLUMNS, PEOPLE_COLUMNS, State, empty_table
from toolkit.plan import CHANGE_COLUMNS, plan, subscribers_table
from toolkit.preview import count_audiences
from toolkit.price import Price
from toolkit.report import (
    ROWS_SHOWN,
    audience_table,
    bar_chart,
    change_table,
    funnel_counts,
    plan_table,
    reason_table,
    render_report,
    styled_table,
    verdict_table,
)
from toolkit.runs import Audit, RunRecord
from toolkit.statuses import REASONS
from toolkit.wire import Subscriber

GOLDEN = Path(__file__).parent / "golden"
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


def call_frame(*outcomes, route="POST /events"):
    return pd.DataFrame({"route": [route] * len(outcomes), "outcome": [*outcomes]}, dtype="object")


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
            subscriber_id="s_1",
            match_method="phone",
            phone_masked="•••00",
            email_masked="a•••@mail.test",
        ),
        change(
            "user:ana@mail.test", subscriber_id="s_2", match_method="email", email_masked="a•••@mail.test"
        ),
        change("user:3", status="removed", reason="EXITED", subscriber_id="s_3", match_method="phone"),
        change(
            "user:4",
            ATTACK,
            "rejected",
            "REJECTED_BY_POSTSCRIPT",
            subscriber_id="s_<4>",
            match_method="phone",
            status_message="PATCH /subscribers/{id} answered 400: <bad> & worse",
        ),
    ),
    calls=call_frame(*["ok"] * 201, "LostAnswerError: no answer", None),
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
        if tag not in ("meta", "img"):
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


def test_audience_table():
    """Each audience has its members, those who left, and of the members the share with a usable contact."""
    table = audience_table(count_audiences(STATE, check_contacts(STATE.people)))
    assert table.astype("object").where(table.notna(), None).to_numpy().tolist() == [
        ["vip", "aud_1", 3, 1, 0.3333, 0.6667, 0.3333],
        ["tiny", "aud_3", 1, 0, 0.0, 0.0, 1.0],  # nothing is known of its one member
        ["churn", None, 0, 1, None, None, None],
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


def test_tables_of_nobody():
    """Without people the tables have their columns and no rows."""
    contacts = check_contacts(State.empty().people)
    nobody = audience_table(count_audiences(State.empty(), contacts))
    assert len(nobody) == 0
    assert [*nobody] == [*audience_table(count_audiences(STATE, check_contacts(STATE.people)))]
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
        created_at="",
        updated_at="",
    )
    found = plan(STATE, check_contacts(STATE.people), subscribers_table([held]), max_removal_share=0.25)
    spent = Price(
        calls={"reads": 2, "reads_again": 1, **found.planned_calls},
        official={"reads": 9, "writes": 2, "custom_events": 7},
        requests_per_second=0.05,
    )
    table = plan_table(found, spent)
    ours = ["6", "1", "1", "2", "1", "2", "4", "2.0 minutes", "50.0% (limit 25%)"]
    assert [*table["value"]] == [*ours, "18", "7", "6.0 minutes"]
    assert [*plan_table(found, replace(spent, official=None))["value"]] == ours


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
    """A table without rows still shows its columns and caption."""
    page = Page(styled_table(reason_table(totals()), caption="Nothing").to_html())
    assert "what to do" in page.texts
    assert "Nothing" in page.texts


# --- charts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        pytest.param({"would_add": 1234, "failed": 0}, "T: would add 1,234, failed 0.", id="counts"),
        pytest.param({}, "T: nothing.", id="no bars"),
        pytest.param({"counted": 0}, "T: counted 0.", id="only zero"),
        pytest.param({"$5^$ or more": 1}, "T: $5^$ or more 1.", id="dollars are not a formula"),
        pytest.param({ATTACK: 1}, f"T: {ATTACK} 1.", id="as written"),
    ],
)
def test_chart(counts, said):
    """A chart is a PNG, and its words say every number it shows."""
    chart = bar_chart(counts, title="T")
    assert chart.png.startswith(b"\x89PNG\r\n\x1a\n")
    assert chart._repr_png_() == chart.png
    assert chart.data_uri().startswith("data:image/png;base64,iVBOR")
    assert chart.alternative == said


def test_chart_leaves_no_figure():
    """Drawing needs no screen and keeps nothing open for the notebook to show twice."""
    plt = pytest.importorskip("matplotlib.pyplot")
    bar_chart({"counted": 1}, title="T")
    assert plt.get_fignums() == []


def test_funnel():
    """Each step loses the statuses decided there, from what was received to what decided."""
    steps = funnel_counts(FULL)
    assert [*steps.items()] == [
        ("received", 1300),
        ("readable and once", 1195),
        ("meant for Postscript", 1195),
        ("taken by a mapping", 1195),
        ("valid audience events", 1195),
        ("say in or out", 1180),
        ("decide a membership", 1100),
    ]
    assert steps["decide a membership"] == FULL.statuses("event")["counted"]


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
            change(status="would_add"),
            change("user:2", status="would_add"),
            change("user:3", status="would_remove", reason="EXITED"),
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
    assert "Planned: 1.5 minutes for all calls. Took, after the reading: 1.5 minutes" in text


def test_custom_events_that_were_not_confirmed_are_listed():
    """Whoever may get a second text is named; what is nobody's is shown as such."""
    text = Page(document("live")).text
    assert "2 custom events of this shop, from this run or earlier ones" in text
    assert "entered answer lost, perhaps sent" in text
    assert "s_7 vip exited refused, not sent" in text
    assert "nobody known summer <2024> ghost key s_8" in text
    assert "nobody known the whole list malformed value s_9" in text


@pytest.mark.parametrize("name", AUDITS)
def test_report_is_as_agreed(name):
    """The whole document is the one that was looked at and kept; UPDATE_GOLDEN=1 keeps another."""
    html = re.sub(r"(?<=data:image/png;base64,)[A-Za-z0-9+/=]+", "PNG", document(name))
    golden = GOLDEN / f"report_{name}.html"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(html, encoding="utf-8", newline="\n")
    assert html == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", AUDITS)
def test_report_needs_nothing_else(name):
    """The document loads and runs nothing: no script, no link, pictures inside; its tags close."""
    html = document(name)
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "a", "form"} & {*page.tags}
    assert "http://" not in html
    assert "https://" not in html
    for tag, attribute, value in page.attributes:
        assert not attribute.startswith("on")
        if attribute in ("src", "href", "srcset", "action"):
            assert (tag, value[:22]) == ("img", "data:image/png;base64,")


@pytest.mark.parametrize("name", AUDITS)
def test_pictures_have_words(name):
    """Each picture has a text alternative that says its numbers."""
    page = Page(document(name))
    said = [value for tag, attribute, value in page.attributes if (tag, attribute) == ("img", "alt")]
    assert len(said) == page.tags.count("img") == 2
    assert said[0].startswith(f"From event to decision: received {AUDITS[name].record.received:,}, ")
    assert said[1].startswith("What became of each person × audience: ")


def test_report_escapes():
    """What came from events or from Postscript is shown as it was written, and is never markup."""
    html = document("live")
    page = Page(html)
    assert ATTACK not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert page.texts.count(ATTACK) == 4  # by audience, in the changes, the drift, and what is unknown
    assert page.texts.count(QUOTES) == 2
    for text in ("Acme & Söhne", '1 write was refused: <see "below">.', "s_<4>"):
        assert text in page.texts
    assert "PATCH /subscribers/{id} answered 400: <bad> & worse" in page.text


def test_report_masks_persons():
    """A person whose name is a contact is masked, in the changes and in the drift."""
    html = document("live")
    assert "ana@mail.test" not in html
    assert "user:a•••@mail.test~" in html
    assert "email:a•••@mail.test~" in html


def test_report_shows_check_sums():
    """The statuses of the events are added up in sight, to what was received."""
    assert (
        "Check sums: 1,100 counted + 80 superseded + 60 duplicate + 45 malformed + 15 no membership value "
        "= 1,300 events received."
    ) in Page(document("live")).text
    assert "Check sums: 0 = 0 events received." in Page(document("empty")).text


def test_report_lists_trouble_first():
    """The refused change comes before the others, which keep their order."""
    text = Page(document("live")).text
    listed = text[text.index("Changes by person; contacts masked") :]
    assert sorted(["s_<4>", "s_1", "s_2", "s_3"], key=listed.index) == ["s_<4>", "s_1", "s_2", "s_3"]


def test_report_lists_a_limited_number():
    """A large run lists its first changes, trouble first, and says how many more there are and where."""
    rows = [change(f"user:{n}") for n in range(ROWS_SHOWN + 1233)]
    rows.append(change("user:last", status="failed", reason="TRANSPORT_FAILED"))
    html = render_report(replace(EMPTY, changes=change_frame(*rows)))
    assert html.count('<th scope="row">user:') == ROWS_SHOWN
    assert "user:last" in html
    said = "The first 500 are listed, those that need attention first; 1,234 more are in changes.parquet."
    assert said in Page(html).text


@pytest.mark.parametrize(
    ("mode", "status", "heading"),
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
    ("drift", "said"),
    [
        (None, None),
        (FULL.drift.head(0), "No subscriber differs from what was asked for."),
        (FULL.drift, "1 × extra : the audience is on the list of"),
    ],
    ids=["not asked", "none", "some"],
)
def test_drift(drift, said):
    """Drift is shown when it was looked for, and that there is none is said too."""
    page = Page(render_report(replace(EMPTY, drift=drift)))
    assert ("Drift" in page.texts) == (said is not None)
    assert said is None or said in page.text


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        pytest.param([], "None was posted.", id="none"),
        pytest.param(["ok", "ok"], "2 sent.", id="sent"),
        pytest.param(
            ["ok", "LostAnswerError: a: b", "LostAnswerError: c", None, None, None],
            "3 no answer recorded, 2 LostAnswerError, 1 sent.",
            id="all kinds",
        ),
    ],
)
def test_custom_events(outcomes, said):
    """Custom events are counted as sent, or by what went wrong, and a crash in between shows too."""
    calls = pd.concat([call_frame(*outcomes), call_frame("ok", route="PATCH /subscribers/{id}")])
    assert f"Custom events {said}" in Page(render_report(replace(EMPTY, calls=calls))).text


def test_pace_counts_only_writes():
    """The pace is writes over seconds; reads came before, and a run without writes has none."""
    assert "1.5 minutes, 13.7 calls a second" in Page(document("live")).text
    assert "1.5 minutes, – calls a second" in Page(document("empty")).text


def test_run_that_never_ended():
    """A run that broke off has a report too."""
    record = replace(RECORD, status="running", finished_at=None, seconds=0.0, shop_name="")
    page = Page(render_report(replace(EMPTY, record=record)))
    assert "LIVE · running" in page.texts
    assert "Shop ? (shop_1)" in page.text


def test_report_changes_nothing():
    """Rendering leaves the audit as it was, and the same audit gives the same document."""
    copies = [frame.copy(deep=True) for frame in (FULL.totals, FULL.changes, FULL.calls, FULL.drift)]
    assert render_report(FULL) == document("live")
    for frame, copy in zip((FULL.totals, FULL.changes, FULL.calls, FULL.drift), copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy)
