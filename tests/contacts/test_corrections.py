"""Answers to contacts_to_fix.csv: found again by how they are masked, put in place, never guessed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import SAMPLE

from toolkit import check_contacts, correct, fold, read_corrections
from toolkit.audiences.memberships import PEOPLE_COLUMNS, State, empty_table
from toolkit.contacts.corrections import OUTCOME_COLUMNS, OUTCOMES, fix_table
from toolkit.contacts.masks import masked
from toolkit.errors import FileFormatError, InputPathError, ParameterError
from toolkit.files import csv_text
from toolkit.notebook.exit_codes import ExitCode, exit_code_of
from toolkit.notebook.secret_scan import CONTACT, cells_with_contacts
from toolkit.sandbox import Sandbox
from toolkit.sandbox.records import load_subscribers
from toolkit.segment.events import PAYLOAD_COLUMNS

COLUMNS = ["person", "contact", "code", "as_written", "shape", "suggestion", "why", "accept", "correction"]


def people(*rows):
    """Return a state of people: person, email, phone."""
    frame = pd.DataFrame(rows, columns=["person", "email", "phone"])
    at = pd.Timestamp("2026-11-02", tz="UTC")
    frame = frame.assign(email_at=at, phone_at=at)[[*PEOPLE_COLUMNS]].astype(PEOPLE_COLUMNS)
    return State(memberships=State.empty().memberships, people=frame)


def to_fix(state, region="US"):
    """Return what contacts_to_fix.csv holds for them."""
    return fix_table(check_contacts(state.people, default_region=region), default_region=region)


def answered(path: Path, fixes: pd.DataFrame, *answers, **look):
    """Write the file as notebook 2 does, put answers in by row (place, column, value), save it again."""
    table = pd.read_csv(io.StringIO(csv_text(masked(fixes))), dtype="str", keep_default_na=False)
    for place, column, value in answers:
        table.loc[place, column] = value
    table.to_csv(path, index=False, **{"encoding": "utf-8-sig", **look})
    return path


def outcomes_of(path, state, region="US"):
    """Return the people's contacts and what became of the answers."""
    after, outcomes = correct(state, read_corrections(path), default_region=region)
    assert [*outcomes.columns] == [*OUTCOME_COLUMNS]
    assert not CONTACT.search(outcomes.to_csv())
    contacts = after.people[["email", "phone"]].astype("object").fillna("").to_numpy().tolist()
    return contacts, outcomes.astype("object").fillna("")


TWO = (("user:1", "ana@gmail,com", "447400123456"), ("user:=2", None, "4.15555E+09"))


def test_answers_are_put_in_place(tmp_path):
    """What was accepted is computed anew, what was typed is cleaned; nothing else changes."""
    state = people(*TWO, ("user:3", "n/a", "+14155550123"))
    path = answered(
        tmp_path / "a.csv",
        to_fix(state),
        (0, "accept", "yes"),
        (1, "accept", "yes"),
        (2, "correction", "'+1 (212) 555-0100"),
    )
    contacts, outcomes = outcomes_of(path, state)
    assert contacts == [["ana@gmail.com", "+447400123456"], ["", "+12125550100"], ["n/a", "+14155550123"]]
    assert outcomes.to_numpy().tolist() == [
        [2, "user:1", "phone", "corrected", "Now •••56."],
        [3, "user:1", "email", "corrected", "Now a•••@gmail.com."],
        [4, "user:=2", "phone", "corrected", "Now •••00."],
    ]
    assert state.people["phone"].tolist() == ["447400123456", "4.15555E+09", "+14155550123"]


def test_of_fold_too(tmp_path):
    """Folded events keep their rows, and every column of the people but the contact its values."""
    folded = fold(
        pd.DataFrame(
            {
                **dict.fromkeys(PAYLOAD_COLUMNS),
                "person": ["user:1", "user:2"],
                "phone": ["447400123456", "4155550123"],
                "membership": [True, True],
                "audience_key": "vip",
                "timestamp": pd.Timestamp("2026-11-02", tz="UTC"),
                "message_id": ["a", "b"],
            }
        ).astype(PAYLOAD_COLUMNS)
    )
    path = answered(tmp_path / "a.csv", to_fix(folded.state), (0, "accept", "yes"))
    after, outcomes = correct(folded, read_corrections(path))
    assert outcomes["outcome"].tolist() == ["corrected"]
    assert after.events is folded.events
    assert after.state.memberships is folded.state.memberships
    assert after.state.people["phone"].tolist() == ["+447400123456", "4155550123"]
    assert after.state.people.dtypes.equals(folded.state.people.dtypes)
    rest = [name for name in PEOPLE_COLUMNS if name != "phone"]
    pd.testing.assert_frame_equal(after.state.people[rest], folded.state.people[rest])


def test_a_person_named_by_a_contact(tmp_path):
    """The name in the file is masked, and masked again on its way there; it is found all the same."""
    state = people(("user:ana@mail.test", None, "447400123456"), ("email:bo@mail.test", "bo@gmial.com", None))
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", "x"), (1, "accept", "x"))
    assert not CONTACT.search(path.read_text("utf-8-sig"))
    contacts, outcomes = outcomes_of(path, state)
    assert contacts == [["", "+447400123456"], ["bo@gmail.com", ""]]
    assert outcomes["outcome"].tolist() == ["corrected", "corrected"]


def test_cells_that_would_be_formulas(tmp_path):
    """The apostrophe that was put before them is taken off again."""
    state = people(("user:1", "+ana@gmial.com", None), ("user:2", "=bo@gmial.com", None))
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", "yes"), (1, "accept", "yes"))
    assert "'+•••@gmial.com" in path.read_text("utf-8-sig")
    contacts, outcomes = outcomes_of(path, state)
    assert outcomes["outcome"].tolist() == ["corrected", "corrected"]
    assert contacts == [["+ana@gmail.com", ""], ["=bo@gmail.com", ""]]


@pytest.mark.parametrize(
    ("answer", "region", "outcome"),
    [
        pytest.param(("accept", "perhaps"), "US", "unclear", id="neither yes nor no"),
        pytest.param(("accept", "bo@mail.test"), "US", "unclear", id="typed into the wrong column"),
        pytest.param(("correction", "1.2E+10"), "US", "unusable", id="damaged again"),
        pytest.param(("correction", "none"), "US", "unusable", id="no number"),
        pytest.param(("person", "user:9"), "US", "not_found", id="another person"),
        pytest.param(("contact", "fax"), "US", "not_found", id="another contact"),
        pytest.param(("code", "phone_too_short"), "US", "not_found", id="another verdict"),
        pytest.param(("as_written", "•••57"), "US", "not_found", id="written otherwise"),
        pytest.param(("suggestion", "•••57"), "US", "suggestion_changed", id="another suggestion"),
        pytest.param(("why", "letters for digits"), "US", "suggestion_changed", id="another reason"),
        pytest.param(("accept", "yes"), "GB", "in_place", id="good in another region"),
    ],
)
def test_what_is_not_beyond_doubt_is_left(tmp_path, answer, region, outcome):
    """Nothing is changed, and the sentence names no contact."""
    state = people(*TWO)
    fixes = to_fix(state)
    path = answered(tmp_path / "a.csv", fixes, (0, "accept", "yes"), (0, *answer))
    contacts, outcomes = outcomes_of(path, state, region)
    assert contacts == [["ana@gmail,com", "447400123456"], ["", "4.15555E+09"]]
    assert outcomes["outcome"].tolist() == [outcome]
    assert outcomes["sentence"][0].startswith(OUTCOMES[outcome].partition("{")[0])
    assert "bo@" not in outcomes.to_csv()


def test_without_a_suggestion_there_is_nothing_to_accept(tmp_path):
    """The outcome says why."""
    state = people(*TWO)
    contacts, outcomes = outcomes_of(answered(tmp_path / "a.csv", to_fix(state), (2, "accept", "yes")), state)
    assert contacts[1] == ["", "4.15555E+09"]
    assert outcomes["outcome"].tolist() == ["no_suggestion"]


def test_two_people_who_look_alike(tmp_path):
    """Their rows in the file are the same, so neither is touched."""
    state = people(("user:a  b", None, "447400123456"), ("user:a b", None, "447400124456"))
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", "yes"))
    contacts, outcomes = outcomes_of(path, state)
    assert outcomes["outcome"].tolist() == ["ambiguous"]
    assert contacts == [["", "447400123456"], ["", "447400124456"]]


@pytest.mark.parametrize(
    ("second", "outcome"), [("212 555 0100", "corrected"), ("2125550101", "contradicted")]
)
def test_two_answers_on_one_contact(tmp_path, second, outcome):
    """They may say the same; where they do not, neither counts."""
    state = people(*TWO)
    twice = pd.concat([to_fix(state).head(1)] * 2, ignore_index=True)
    path = answered(tmp_path / "a.csv", twice, (0, "correction", "2125550100"), (1, "correction", second))
    contacts, outcomes = outcomes_of(path, state)
    assert outcomes["outcome"].tolist() == [outcome, outcome]
    assert contacts[0][1] == ("+12125550100" if outcome == "corrected" else "447400123456")


@pytest.mark.parametrize("answer", [("accept", "yes"), ("correction", "+44 7400 123456")])
def test_a_second_run_finds_it_in_place(tmp_path, answer):
    """What the ledger remembers is corrected already; that is no problem, and no change."""
    state = people(*TWO)
    path = answered(tmp_path / "a.csv", to_fix(state), (0, *answer))
    after, _ = correct(state, read_corrections(path))
    contacts, outcomes = outcomes_of(path, after)
    assert outcomes["outcome"].tolist() == ["in_place"]
    assert contacts == [["ana@gmail,com", "+447400123456"], ["", "4.15555E+09"]]


def test_those_that_came_to_nothing_come_first(tmp_path):
    """A table that is cut shows them."""
    state = people(*TWO)
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", "yes"), (2, "accept", "yes"))
    assert outcomes_of(path, state)[1]["outcome"].tolist() == ["no_suggestion", "corrected"]


# --- the file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["yes", "YES ", "y", "true", "TRUE", "1", "x", "X", "ja", "WAHR", "✓"])
def test_yes(tmp_path, accept):
    """In several languages, and in any case."""
    state = people(*TWO)
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", accept))
    assert outcomes_of(path, state)[1]["outcome"].tolist() == ["corrected"]


@pytest.mark.parametrize("accept", ["", " ", "no", "NO", "n", "FALSE", "0", "nein", "-"])
def test_no(tmp_path, accept):
    """No, or nothing, is no answer to act on, nor to report."""
    path = answered(tmp_path / "a.csv", to_fix(people(*TWO)), (0, "accept", accept))
    assert read_corrections(path).empty


def as_utf8_of_windows(path):
    """Read as Windows text, for want of a mark, then saved as UTF-8: what a spreadsheet makes of it."""
    path.write_bytes(path.read_bytes().decode("cp1252").encode("utf-8-sig"))


def with_blank_lines(path):
    """Lines with nothing, and lines with nothing but separators."""
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0], "", *lines[1:], ",,,,,,,,", ""]), "utf-8")


def reordered(path):
    """Columns in another order, with one that is new."""
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    table.assign(note="mine")[["note", *reversed(COLUMNS)]].to_csv(path, index=False)


@pytest.mark.parametrize(
    ("look", "change"),
    [
        pytest.param({}, None, id="UTF-8 with mark"),
        pytest.param({"encoding": "utf-8"}, None, id="UTF-8"),
        pytest.param({"sep": ";", "lineterminator": "\r\n"}, None, id="semicolons, CRLF"),
        pytest.param({"sep": "\t", "encoding": "utf-16"}, None, id="Unicode text"),
        pytest.param({"encoding": "cp1252"}, None, id="Windows"),
        pytest.param({"encoding": "mac_roman", "lineterminator": "\r"}, None, id="Mac"),
        pytest.param({"quoting": 1}, None, id="all quoted"),
        pytest.param({"encoding": "utf-8"}, as_utf8_of_windows, id="read as Windows, saved as UTF-8"),
        pytest.param({"encoding": "utf-8"}, with_blank_lines, id="blank lines"),
        pytest.param({"encoding": "utf-8"}, reordered, id="other order"),
    ],
)
def test_however_a_spreadsheet_saves_it(tmp_path, look, change):
    """Both answers are found, whatever the marks, separators and line ends."""
    state = people(("user:1", None, "447400123456"), ('user:a,";\nb', "ana@gmail,com", None))
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", "yes"), (1, "accept", "yes"), **look)
    if change:
        change(path)
    contacts, outcomes = outcomes_of(path, state)
    assert outcomes["outcome"].tolist() == ["corrected", "corrected"]
    assert contacts == [["", "+447400123456"], ["ana@gmail.com", ""]]


def test_a_megabyte_of_a_name(tmp_path):
    """A cell may be longer than Python's csv likes."""
    state = people(("user:" + "x" * 1_000_000, None, "447400123456"))
    path = answered(tmp_path / "a.csv", to_fix(state), (0, "accept", "yes"))
    assert outcomes_of(path, state)[0] == [["", "+447400123456"]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"PK\x03\x04", "is a workbook", id="workbook"),
        pytest.param(b"", "lacks the column person", id="empty"),
        pytest.param(b"person,accept\nuser:1,yes\n", "lacks the column contact", id="columns lost"),
        pytest.param(b"\xff\xfea", "is not text", id="half a letter"),
        pytest.param(b"%PDF\x00\x00\xff", "lacks the column", id="something else"),
        pytest.param(",".join(COLUMNS).encode() + b'\n"user:1,yes\n', "is not CSV", id="open quote"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, sentence):
    """One sentence that says what to do; no cell is quoted."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=sentence) as caught:
        read_corrections(path)
    assert "user:1" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_path_that_leads_nowhere_is_refused(tmp_path, name):
    """No file, or a folder."""
    with pytest.raises(InputPathError, match="corrections_path"):
        read_corrections(tmp_path / name)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b", "a\ud800b"], ids=ascii)
def test_a_path_that_cannot_be_is_refused(path):
    """A user that there is not, or letters that no path can have; the sentence can be written anywhere."""
    with pytest.raises(InputPathError, match=r"corrections_path: .* cannot be read") as caught:
        read_corrections(path)
    assert "\0" not in str(caught.value)
    assert str(caught.value).encode("utf-8")


def test_answers_are_never_overwritten(tmp_path):
    """A file with answers where the notebook writes its own stops it, whether it is the one given or not."""
    fixes = to_fix(people(*TWO))
    path = answered(tmp_path / "contacts_to_fix.csv", fixes)
    assert read_corrections("", overwritten=path).empty
    answered(path, fixes, (0, "correction", "2125550100"))
    for given in ("", path):
        with pytest.raises(ParameterError, match="holds answers"):
            read_corrections(given, overwritten=path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"person,email,phone,email_code,phone_code\nuser:1,,,ok,ok\n", id="an earlier version"),
        pytest.param(b'"open', id="not CSV"),
        pytest.param(b"\xff\xfea", id="not text"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_file_of_another_form_is_overwritten(tmp_path, content):
    """It holds no answers; given as corrections_path it is refused all the same."""
    path = tmp_path / "contacts_to_fix.csv"
    path.write_bytes(content)
    assert read_corrections("", overwritten=path).empty
    with pytest.raises(FileFormatError):
        read_corrections(path, overwritten=path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"PK\x03\x04", id="a workbook"),
        pytest.param(b'person,accept,correction\nuser:1,yes,"open', id="a quote left open"),
        pytest.param("person,accept\nuser:1,yes".encode("utf-16"), id="a column taken out, in UTF-16"),
    ],
)
def test_a_file_that_may_hold_answers_is_not_overwritten(tmp_path, content):
    """Saved under the notebook's own name in a form that cannot be read: no answers are lost by it."""
    path = tmp_path / "contacts_to_fix.csv"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match="holds answers"):
        read_corrections("", overwritten=path)


def test_no_file_and_no_people():
    """No path: no answers, and all people as they were. No people: no person is found."""
    state = people(*TWO)
    after, outcomes = correct(state, read_corrections(""))
    assert after.people.equals(state.people)
    assert outcomes.dtypes.equals(empty_table(OUTCOME_COLUMNS).dtypes)
    with pytest.raises(ParameterError, match="default_region"):
        correct(state, read_corrections(""), default_region="UK")


# --- the notebooks -----------------------------------------------------------------------------------------


def summary(folder, notebook):
    return json.loads((folder / "output" / notebook / "summary.json").read_text("utf-8"))


@pytest.mark.slow
def test_from_the_list_to_the_plan(run_notebook, tmp_path):
    """Notebook 2 lists five people without a usable contact; answered for one, notebook 3 finds one more."""
    assert run_notebook("2_validate_contacts").returncode == 0
    fixes = pd.read_csv(tmp_path / "output/2_validate_contacts/contacts_to_fix.csv", dtype="str")
    assert fixes["person"].tolist() == [f"user:cus_{number:04}" for number in (5, 22, 39, 56, 73)]
    fixes.loc[0, "correction"] = "(503) 555-0100"
    fixes.to_csv(tmp_path / "answered.csv", index=False, sep=";", encoding="utf-8-sig")

    done = run_notebook("2_validate_contacts", {"corrections_path": "answered.csv"})
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path, "2_validate_contacts")
    assert (found["unusable"], found["to_fix"], found["corrections"]) == (4, 4, {"corrected": 1})
    assert cells_with_contacts(tmp_path / "2_validate_contacts.ipynb") == []

    subscribers = load_subscribers(SAMPLE / "subscribers.ndjson", "2026-11-01T00:00:00Z")
    waiting = []
    with Sandbox(subscribers) as sandbox:
        for parameters in ({}, {"corrections_path": "answered.csv"}):
            settings = {"POSTSCRIPT_BASE_URL": sandbox.base_url, "POSTSCRIPT_SECRET_KEY": "sk_sandbox"}
            done = run_notebook("3_sync_audiences", parameters, **settings)
            assert done.returncode == 0, done.stderr
            changes = pd.read_parquet(tmp_path / "output/3_sync_audiences/changes.parquet")
            waiting.append({*changes.loc[changes["subscriber_id"].isna(), "person"]})
    assert waiting[0] - waiting[1] == {"user:cus_0005"}
    assert cells_with_contacts(tmp_path / "3_sync_audiences.ipynb") == []


@pytest.mark.slow
def test_too_many_who_cannot_be_looked_up(run_notebook, tmp_path):
    """Above the limit the notebook leaves all its files, and then ends as a guard does."""
    done = run_notebook("2_validate_contacts", {"max_unusable_share": "0.05"})
    assert done.returncode != 0
    assert "max_unusable_share allows 5%" in done.stderr
    found = summary(tmp_path, "2_validate_contacts")
    assert (found["status"], found["stopped_by"], found["unusable"]) == ("failed", "guard", 5)
    assert sum(found["event_statuses"].values()) == found["received"]
    assert (tmp_path / "output/2_validate_contacts/contacts_to_fix.csv").exists()
    code = exit_code_of("RunFailedError", found, has_key=False, is_canceled=False)
    assert code is ExitCode.STOPPED_BY_GUARD
