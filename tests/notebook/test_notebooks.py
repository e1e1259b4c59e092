"""The notebooks as a schedule meets them: papermill in an empty folder, judged by what they leave behind."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd
import pytest
from conftest import NOTEBOOKS, PROJECT, SAMPLE, RunNotebook, files_with
from test_masking_notebooks import run_cells

import toolkit
from toolkit.audiences.memberships import empty_table, fold
from toolkit.errors import InputPathError, ParameterError, SettingsError
from toolkit.ledger import Ledger
from toolkit.notebook.parameters import PARAMETERS
from toolkit.notebook.run import question, start
from toolkit.postscript.api import Shop, write_properties
from toolkit.postscript.client import PostscriptClient
from toolkit.postscript.subscribers import SUBSCRIBER_COLUMNS
from toolkit.sandbox import Sandbox
from toolkit.sandbox.records import load_subscribers
from toolkit.segment.events import PAYLOAD_COLUMNS
from toolkit.sync.cost import estimate_cost
from toolkit.sync.plan import CHANGE_COLUMNS, Plan
from toolkit.sync.plan.writing import WRITE_COLUMNS

KEY = "sk_a_key_that_must_not_be_seen_7Qx"
SAMPLE_SUBSCRIBERS = SAMPLE / "subscribers.ndjson"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The sample's shop."""
    people = load_subscribers(SAMPLE_SUBSCRIBERS, "2026-11-01T00:00:00Z")
    with Sandbox(people, keys=(KEY,)) as shop:
        yield shop


def settings(sandbox: Sandbox, key: str = KEY) -> dict[str, str]:
    return {"POSTSCRIPT_BASE_URL": sandbox.base_url, "POSTSCRIPT_SECRET_KEY": key}


def summary(folder: Path, notebook: str) -> dict[str, Any]:
    return json.loads((folder / "output" / notebook / "summary.json").read_text("utf-8"))


def reconciles(figures: dict[str, Any]) -> bool:
    return sum(figures["event_statuses"].values()) == figures["received"]


@pytest.mark.slow
def test_the_notebooks_run_one_after_the_other(run_notebook: RunNotebook, sandbox, tmp_path):
    """On the sample: every summary has its figures, they add up, and no file holds the key or a contact."""
    for notebook in NOTEBOOKS:
        parameters = {"dry_run": "False"} if notebook.startswith("3") else {}
        done = run_notebook(notebook, parameters, **settings(sandbox))
        assert done.returncode == 0, done.stderr
        if notebook.startswith("4"):
            calls = len(sandbox.journal)

    synced = summary(tmp_path, "3_sync_audiences")
    assert set(synced) >= {
        "run_id",
        "mode",
        "status",
        "received",
        "event_statuses",
        "change_statuses",
        "planned_calls",
        "calls",
        "seconds",
    }
    assert (synced["mode"], synced["status"]) == ("live", "completed")
    assert all(reconciles(summary(tmp_path, notebook)) for notebook in NOTEBOOKS)
    assert sum(synced["change_statuses"].values()) == synced["memberships"]
    assert sum(synced["calls"].values()) == synced["planned_calls"] == calls
    assert synced["change_statuses"]["added"] + synced["change_statuses"]["removed"] == len(
        sandbox.custom_events
    )
    assert summary(tmp_path, "4_audit_report")["run_id"] == synced["run_id"]
    undo = summary(tmp_path, "5_repair_and_undo")
    assert (undo["kind"], undo["mode"], undo["adds"]) == ("undo", "dry_run", synced["removes"])

    events = pd.read_parquet(tmp_path / "output" / "3_sync_audiences" / "events.parquet")
    changes = pd.read_parquet(tmp_path / "output" / "3_sync_audiences" / "changes.parquet")
    assert events["status"].value_counts().to_dict() == synced["event_statuses"]
    assert changes["status"].value_counts().to_dict() == synced["change_statuses"]
    assert not changes.duplicated(["person", "audience_key"]).any()

    assert (tmp_path / "output" / "4_audit_report" / "report.html").stat().st_size > 10_000
    assert files_with(tmp_path, KEY) == []
    shown = [p for p in tmp_path.rglob("*") if not p.name.startswith("ledger.db")]
    contacts = [s["email"] for s in sandbox.subscribers.values() if s["email"]]
    text = "".join(p.read_bytes().decode("latin-1").casefold() for p in shown if p.is_file())
    assert not [email for email in contacts if email.casefold() in text]


@pytest.mark.slow
def test_a_dry_run_writes_nothing_to_postscript_and_remembers_nothing(run_notebook, sandbox, tmp_path):
    """The default: lookups only, `would_` statuses; a later live run finds no memberships remembered."""
    done = run_notebook("3_sync_audiences", **settings(sandbox))
    assert done.returncode == 0, done.stderr
    planned = summary(tmp_path, "3_sync_audiences")
    assert planned["mode"] == "dry_run"
    assert planned["change_statuses"]["would_add"] > 0
    assert {entry["method"] for entry in sandbox.journal} == {"GET"}
    assert sandbox.custom_events == []


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        pytest.param({"events_path": "nowhere"}, "does not exist", id="no such path"),
        pytest.param({"events_path": ""}, "events_path is empty", id="empty path", marks=pytest.mark.slow),
        pytest.param(
            {"events_path": "no-archive.png"},
            "is not an archive",
            id="not an archive",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"dry_runn": "False"},
            "has no parameter dry_runn",
            id="unknown parameter",
            marks=pytest.mark.slow,
        ),
        pytest.param({"dry_run": "perhaps"}, "give True or False", id="bad flag", marks=pytest.mark.slow),
        pytest.param(
            {"requests_per_second": "fast"}, "give a number", id="bad number", marks=pytest.mark.slow
        ),
        pytest.param(
            {"output_dir": "no-archive.png"},
            "not a folder",
            id="output_dir is a file",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"audience_keys": '["vip_custmers"]'},
            "No event names",
            id="unknown audience",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_bad_input_says_what_to_do_and_writes_nothing(run_notebook, sandbox, tmp_path, parameters, sentence):
    """A clear sentence, an exit code other than 0, no write to Postscript, no summary."""
    (tmp_path / "no-archive.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on\n")
    done = run_notebook("3_sync_audiences", {"dry_run": "False", **parameters}, **settings(sandbox))
    assert done.returncode != 0
    assert sentence in done.stderr
    ran = nbformat.read(tmp_path / "3_sync_audiences.ipynb", as_version=4)
    (error,) = (out for cell in ran.cells for out in cell.get("outputs", ()) if out.output_type == "error")
    assert error.traceback == [f"{error.ename}: {error.evalue}"], (
        "no frames: the sentence is all there is to know"
    )
    assert {entry["method"] for entry in sandbox.journal} <= {"GET"}
    assert not (tmp_path / "output" / "3_sync_audiences").exists()


@pytest.mark.slow
def test_without_a_key_papermill_fails_with_the_sentence(run_notebook, sandbox, tmp_path):
    """No key: nothing is asked of Postscript and nothing is left behind."""
    done = run_notebook("3_sync_audiences", POSTSCRIPT_BASE_URL=sandbox.base_url)
    assert done.returncode != 0
    assert "POSTSCRIPT_SECRET_KEY is not set" in done.stderr
    assert sandbox.journal == []
    assert not (tmp_path / "output").exists()


def test_without_a_key_the_sentence_says_where_to_find_one(sandbox, tmp_path, monkeypatch):
    """The cells themselves: nothing is asked of Postscript and nothing is left behind."""
    monkeypatch.setenv("POSTSCRIPT_BASE_URL", sandbox.base_url)
    monkeypatch.delenv("POSTSCRIPT_SECRET_KEY", raising=False)
    with pytest.raises(SettingsError, match="POSTSCRIPT_SECRET_KEY is not set"):
        run_cells("3_sync_audiences", {"output_dir": str(tmp_path / "output")})
    assert sandbox.journal == []
    assert not (tmp_path / "output").exists()


class _Forbidding(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"error":"You do not have permission to do that."}'
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.slow
def test_a_refused_key_fails_with_evidence_and_without_showing_it(run_notebook, sandbox, tmp_path, status):
    """401 and 403: exit code not 0, a summary with status failed, and the key in no file left behind."""
    wrong = "sk_wrong_but_secret_all_the_same"
    server = HTTPServer(("127.0.0.1", 0), _Forbidding)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        base_url = sandbox.base_url if status == 401 else f"http://127.0.0.1:{server.server_port}"
        done = run_notebook(
            "3_sync_audiences",
            {"dry_run": "False"},
            POSTSCRIPT_BASE_URL=base_url,
            POSTSCRIPT_SECRET_KEY=wrong,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode != 0
    assert "The key is not accepted" in done.stderr
    found = summary(tmp_path, "3_sync_audiences")
    assert found["status"] == "failed"
    assert str(status) in found["error"]
    assert reconciles(found)
    assert files_with(tmp_path, wrong) == []
    assert wrong not in done.stdout + done.stderr


@pytest.mark.slow
def test_an_unreachable_address_is_named(run_notebook, tmp_path, monkeypatch):
    """Nothing listens there: a sentence with the address, exit code not 0."""
    done = run_notebook(
        "3_sync_audiences", POSTSCRIPT_BASE_URL="http://127.0.0.1:9", POSTSCRIPT_SECRET_KEY=KEY
    )
    assert done.returncode != 0
    assert "http://127.0.0.1:9 does not answer" in done.stderr
    assert files_with(tmp_path, KEY) == []


@pytest.mark.slow
def test_too_many_removals_stop_the_run_before_its_first_write(run_notebook, sandbox, tmp_path):
    """The limit is passed: evidence saved, everything pending, nothing written, exit code not 0."""
    done = run_notebook(
        "3_sync_audiences", {"dry_run": "False", "max_removal_share": "0"}, **settings(sandbox)
    )
    assert done.returncode != 0
    assert "max_removal_share allows 0%" in done.stderr
    found = summary(tmp_path, "3_sync_audiences")
    assert found["status"] == "failed"
    assert found["change_statuses"]["pending"] == found["adds"] + found["removes"]
    assert {entry["method"] for entry in sandbox.journal} == {"GET"}
    assert (tmp_path / "output" / "3_sync_audiences" / "changes.parquet").exists()
    assert files_with(tmp_path, KEY) == []


@pytest.mark.slow
def test_two_live_runs_at_once_are_one(run_notebook, sandbox, tmp_path):
    """While another run writes to the shop, a live run reads nothing of it and ends with a sentence."""
    (tmp_path / "output").mkdir()
    with Ledger(f"sqlite:///{tmp_path / 'output' / 'ledger.db'}") as other:
        other.lock_shop("shop_sandbox")
        done = run_notebook("3_sync_audiences", {"dry_run": "False"}, **settings(sandbox))
    assert done.returncode != 0
    assert "has held this shop since" in done.stderr
    assert [entry["path"] for entry in sandbox.journal] == ["/api/v2/me"]


def cells(notebook: str, kind: str) -> list[Any]:
    read = nbformat.read(PROJECT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    return [cell for cell in read.cells if cell.cell_type == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_holds_no_logic_and_no_output(notebook):
    """No def, class, loop or try in any cell, no sys.path, and nothing saved from a run."""
    banned = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try, ast.Lambda, ast.With)
    for cell in cells(notebook, "code"):
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, banned)]
        assert "sys.path" not in cell.source
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_parameters_cell_is_what_the_toolkit_checks(notebook):
    """Exactly one tagged cell: typed literals, each explained, the names and order of PARAMETERS."""
    tagged = [c for c in cells(notebook, "code") if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    statements = ast.parse(tagged[0].source).body
    assert all(isinstance(s, ast.AnnAssign) and s.value is not None for s in statements)
    assert tuple(s.target.id for s in statements) == PARAMETERS[notebook]
    for statement, line in zip(statements, tagged[0].source.splitlines(), strict=True):
        ast.literal_eval(statement.value)
        code, _, help_text = line.partition("#")
        assert help_text.strip()
        assert code.count("=") == 1


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_defaults_are_good_values(notebook):
    """Every notebook's own defaults pass its own check."""
    assert vars(start(notebook, defaults(notebook)).parameters).keys() == set(PARAMETERS[notebook])


@pytest.mark.parametrize(
    "output_dir", ["~nosuchuser/x", "x" * 300, "a\0b", "\ud800"], ids=["user", "long", "NUL", "half"]
)
def test_a_folder_that_cannot_be_one_is_refused(output_dir):
    """It is one sentence that names the parameter, not the system's own error."""
    with pytest.raises(ParameterError, match="output_dir"):
        start("3_sync_audiences", defaults("3_sync_audiences", output_dir=output_dir))


def test_a_notebook_that_there_is_not_is_refused():
    """The sentence has the names of those there are."""
    with pytest.raises(ParameterError, match="3_sync_audiences"):
        start("3_sync", {})


def test_a_name_injected_by_papermill_that_no_cell_has_is_refused():
    """Papermill only warns of it; start() does not go on."""
    given = {
        "In": ["", "# Parameters\nrunid = 3\n"],
        "run_id": "",
        "verify": False,
        "ledger_url": "",
        "output_dir": "",
    }
    with pytest.raises(ParameterError, match="no parameter runid"):
        start("4_audit_report", given)


def test_a_summary_is_json_and_never_an_earlier_runs(tmp_path):
    """A number that JSON has not is null; from the start of a run on, the summary is this run's."""
    given = {"run_id": "", "verify": False, "ledger_url": "", "output_dir": str(tmp_path)}
    run = start("4_audit_report", given)
    path = tmp_path / "4_audit_report" / "summary.json"

    run.write_summary({"status": "completed", "shares": [{"with_phone": float("nan")}]})
    assert json.loads(path.read_text())["shares"] == [{"with_phone": None}]
    again = start("4_audit_report", given)
    again.note_start()
    assert json.loads(path.read_text())["status"] == "running"
    again.note_failure(ParameterError("No event names the audience x."))
    found = json.loads(path.read_text())
    assert (found["status"], found["error"]) == ("failed", "ParameterError: No event names the audience x.")


def defaults(notebook: str, **changed: Any) -> dict[str, Any]:
    """Return a notebook's own parameters, some of them changed."""
    source = next(c for c in cells(notebook, "code") if "parameters" in c.metadata.get("tags", [])).source
    given = {s.target.id: ast.literal_eval(s.value) for s in ast.parse(source).body}
    return given | changed


@pytest.mark.parametrize("notebook", NOTEBOOKS[:3])
def test_a_mapping_that_says_nothing_is_named_first(tmp_path, sandbox, monkeypatch, notebook):
    """No audience, no error: the banner says why, and what to write instead."""
    for variable, text in settings(sandbox).items():
        monkeypatch.setenv(variable, text)
    path = tmp_path / "destination.json"
    mapping = {"name": "VIPs", "dialect": "official", "trigger": "type = 'track'"}
    path.write_text(json.dumps({"mappings": [mapping]}), encoding="utf-8")
    run = start(notebook, defaults(notebook, mappings_path=str(path), output_dir=str(tmp_path / "out")))
    run.read()
    (run.plan if notebook.startswith("3") else run.preview)()
    misread, why = run.notes[:2]
    assert misread.endswith('Both read this alike: type = "track"')
    assert why.startswith(
        "0 audiences, because none of the 198 events counts. 179 ended as no_matching_mapping"
    )
    banner = run.banner("Nothing.", is_alert=True)
    assert 'role="alert"' in banner._repr_html_()
    assert escape(misread) in banner._repr_html_()
    assert misread in repr(banner)
    run.close()


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_banner_is_shown_first_and_the_next_step_last(notebook):
    """The first results of a notebook are a banner; its last cell names what to do, and the files."""
    shown = [
        source for cell in cells(notebook, "code") if "display" in (source := cell.source) or "run." in source
    ]
    first = next(source for source in shown if "toolkit.start" not in source)
    assert "run.banner(" in first or "run.outcome(" in first
    assert "run.end()" in shown[-1]


def test_a_cell_that_is_run_again_does_not_stand_in_its_own_way(tmp_path):
    """The ledger it opened before is closed, and with it the hold on the shop."""
    run = start("3_sync_audiences", defaults("3_sync_audiences", dry_run=False, output_dir=str(tmp_path)))
    for _ in range(2):
        run.open_ledger().lock_shop("shop_1")
    run.close()
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as other:
        other.lock_shop("shop_1")


@pytest.mark.parametrize(("name", "value"), [("dry_run", False), ("audience_keys", ("vip",))])
def test_a_parameter_that_changes_after_the_plan_is_refused(tmp_path, sandbox, monkeypatch, name, value):
    """A control was used, and the cells between were not run again: the plan does not fit them."""
    for variable, text in settings(sandbox).items():
        monkeypatch.setenv(variable, text)
    run = start("3_sync_audiences", defaults("3_sync_audiences", output_dir=str(tmp_path)))
    run.read()
    with pytest.raises(ParameterError, match=r"run\.plan\(\)"):
        asyncio.run(run.sync(None))
    plan = run.plan()
    setattr(run.parameters, name, value)
    with pytest.raises(ParameterError, match="changed since the plan"):
        asyncio.run(run.sync(plan))
    run.close()


@pytest.fixture
def synced(tmp_path, monkeypatch):
    """Return a function: parameters of the sync notebook → its run and result; ``.shop`` is the sandbox."""
    people = load_subscribers(SAMPLE_SUBSCRIBERS, "2026-11-01T00:00:00Z")
    faster = {"requests_per_second": 300}
    monkeypatch.setattr(toolkit, "PostscriptClient", lambda *a, **k: PostscriptClient(*a, **k | faster))
    with Sandbox(people, keys=(KEY,), rate=100_000) as shop:
        for variable, text in settings(shop).items():
            monkeypatch.setenv(variable, text)

        def sync(**given):
            run = start("3_sync_audiences", defaults("3_sync_audiences", output_dir=str(tmp_path), **given))
            run.read()
            result = asyncio.run(run.sync(run.plan()))
            run.close()
            return run, result

        sync.shop = shop
        yield sync


@pytest.mark.parametrize(
    ("given", "done", "left_out"),
    [
        ({"sync_mode": "add_only"}, {"added": 38}, {"NOT_IN_SYNC_MODE": 9}),
        ({"sync_mode": "remove_only"}, {"removed": 9}, {"NOT_IN_SYNC_MODE": 38}),
        ({"skip_opted_out": "True"}, {"added": 33, "removed": 9}, {"OPTED_OUT": 5}),
    ],
)
def test_half_of_a_sync(synced, given, done, left_out):
    """The mode and those who have opted out are chosen in the notebook; the rest is skipped, with why."""
    run, result = synced(dry_run=False, **given)
    assert {s: n for s, n in result.change_statuses.items() if s in {"added", "removed"}} == done
    skipped = result.changes[result.changes["status"] == "skipped"]
    assert skipped["reason_code"].value_counts().to_dict() == left_out
    assert run.plan_sentence.startswith(f"{done.get('added', 0)} adds, {done.get('removed', 0)} removes")


def test_the_canary_of_a_notebook(synced):
    """So many subscribers are read before and after their write; the plan has priced it."""
    run, result = synced(dry_run=False, canary="5")
    by_id = [
        e for e in synced.shop.journal if e["method"] == "GET" and re.search(r"/subscribers/s_", e["path"])
    ]
    assert len(by_id) >= 5
    assert sum(result.record.facts["calls"].values()) == sum(run.cost.calls.values())


def test_a_plan_is_reviewed_and_carried_out(synced, tmp_path):
    """A dry run writes the plan, a live run with the same path carries out that plan and nothing else."""
    path = tmp_path / "plans" / "monday.plan"
    given = {"plan_path": str(path), "audience_keys": ["vip_customers"]}
    planned, result = synced(**given)
    writes = len(result.plan.writes)
    assert result.record.mode == "dry_run"
    assert any("a live run with this plan_path carries it out" in note for note in planned.notes)
    before = path.read_bytes()
    # Another tool has changed one of them meanwhile.
    who = result.changes.loc[result.changes["status"] == "would_add", "subscriber_id"].iloc[0]
    with toolkit.connect() as client:
        client.send(write_properties(who, {"Segment Audiences": ["theirs"]}))
    given["audience_keys"] = []  # what the plan was made with stands
    run, done = synced(dry_run=False, **given)
    assert (done.record.kind, done.record.status) == ("saved_plan", "completed_with_errors")
    assert any(f"{writes - 1} of {writes} writes still hold" in note for note in run.notes)
    assert {*done.changes.loc[done.changes["status"] == "added", "audience_key"]} == {"vip_customers"}
    assert done.changes.set_index("subscriber_id")["reason_code"][who] == "PLAN_STALE"
    assert path.read_bytes() == before
    with pytest.raises(ParameterError, match=r"custom_events = 'transitions'\. Give the same"):
        synced(dry_run=False, plan_path=str(path), custom_events="none")
    with pytest.raises(InputPathError, match="tuesday"):
        synced(dry_run=False, plan_path=str(tmp_path / "tuesday.plan"))


def set_state(folder, state, *, first=1_000):
    """Leave the first custom events of a ledger in this state."""
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute("UPDATE transitions SET state = ? WHERE rowid <= ?", (state, first))
    connection.close()


def test_unknown_custom_events_are_posted_again_when_asked(synced, tmp_path):
    """The answer to one was lost; only a run that is asked to posts it again."""
    synced(dry_run=False)
    count = len(synced.shop.custom_events)
    set_state(tmp_path, "unknown", first=1)
    for repeat_unknown in (False, True):
        synced(dry_run=False, repeat_unknown=repeat_unknown)
        assert len(synced.shop.custom_events) == count + repeat_unknown


@pytest.fixture
def corrected(synced, tmp_path):
    """Return a function: parameters of the notebook for corrections → its run and result."""

    def correct(**given):
        run = start_correction(tmp_path, **given)
        result = asyncio.run(run.correct())
        run.end()
        return run, result

    return correct


def lists_of(shop):
    held = {who: row["properties"].get("Segment Audiences") for who, row in shop.subscribers.items()}
    return {who: sorted(keys or []) for who, keys in held.items()}


def test_a_run_is_taken_back_from_the_notebook(synced, corrected):
    """One audience live, then undone: the dry run says what, the live run gives every list back."""
    before = lists_of(synced.shop)
    _, done = synced(dry_run=False, audience_keys=["vip_customers"], custom_events="none")
    after = lists_of(synced.shop)
    assert after != before
    run, dry = corrected()
    assert dry.record.mode == "dry_run"
    assert run.plan_sentence.startswith("3 adds, 14 removes, 0 custom events")
    assert run.found.choices["run_id"].tolist() == [done.record.run_id]
    assert lists_of(synced.shop) == after
    with pytest.raises(ParameterError, match="run_id is empty"):
        corrected(dry_run=False)
    undone = corrected(dry_run=False, run_id=done.record.run_id)[1]
    assert (undone.record.kind, undone.record.status) == ("undo", "completed")
    assert lists_of(synced.shop) == before
    assert synced.shop.custom_events == []


def start_correction(tmp_path, **given):
    """Return a run of the notebook for corrections that was planned."""
    run = start("5_repair_and_undo", defaults("5_repair_and_undo", output_dir=str(tmp_path), **given))
    run.found = run.plan_correction()
    return run


def asked_by(monkeypatch, *answers):
    """Sit at the keyboard; return the questions that come, each answered by the next function."""
    questions, left = [], [*answers]

    async def confirm(question, **_):
        questions.append(question)
        return left.pop(0)()

    monkeypatch.setattr("toolkit.notebook.run.is_attended", lambda: True)
    monkeypatch.setattr("toolkit.notebook.widgets.confirm", confirm)
    return questions


def test_a_repair_reads_phones_as_the_sync_did(tmp_path, monkeypatch):
    """Whatever ran in between: a repair that read them elsewhere would take its people for others."""
    people = [{"id": "s_1", "phone_number": "+447911123456", "email": None}]
    for variable, text in {"POSTSCRIPT_SECRET_KEY": KEY}.items():
        monkeypatch.setenv(variable, text)
    personas = {"computation_class": "audience", "computation_id": "a", "computation_key": "vip"}
    event = {
        "type": "identify",
        "messageId": "m",
        "userId": "u1",
        "timestamp": "2026-11-01T00:00:00Z",
        "receivedAt": "2026-11-01T00:00:00Z",
        "traits": {"vip": True, "phone": "07911 123456"},
        "context": {"personas": personas},
    }
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event))
    listed = tmp_path / "people.ndjson"
    listed.write_text("".join(json.dumps(each) for each in people))
    with Sandbox(load_subscribers(listed, "2026-01-01T00:00:00Z"), keys=(KEY,), rate=100_000) as shop:
        monkeypatch.setenv("POSTSCRIPT_BASE_URL", shop.base_url)
        given = {"events_path": str(path), "default_region": "GB", "dry_run": False}
        run = start("3_sync_audiences", defaults("3_sync_audiences", output_dir=str(tmp_path / "o"), **given))
        run.read()
        assert asyncio.run(run.sync(run.plan())).change_statuses == {"added": 1}
        run.close()
        for _ in range(3):
            run = start_correction(tmp_path / "o", task="repair")
            assert (run.found.plan.adds, run.found.plan.removes) == (0, 0)
            asyncio.run(run.correct())
            run.close()


def test_a_correction_is_carried_out_once(synced, tmp_path):
    """The cell that carries it out asks for a new plan when it is run again."""
    _, done = synced(dry_run=False)
    run = start_correction(tmp_path, dry_run=False, run_id=done.record.run_id)
    asyncio.run(run.correct())
    for _ in range(2):
        with pytest.raises(ParameterError, match=r"run\.plan_correction\(\)"):
            asyncio.run(run.correct())
        run.end()


def test_what_earlier_runs_left_is_asked_for(synced, tmp_path, monkeypatch):
    """A repair with custom events posts them as well: it says so, and asks."""
    synced(dry_run=False)
    count = len(synced.shop.custom_events)
    set_state(tmp_path, "due", first=3)
    questions = asked_by(monkeypatch, lambda: False)
    run = start_correction(
        tmp_path, task="repair", drift_kinds=["missing"], custom_events="transitions", dry_run=False
    )
    assert asyncio.run(run.correct()).record.status == "canceled"
    run.close()
    assert "0 custom events and 3 left over from earlier runs" in questions[0]
    assert len(synced.shop.custom_events) == count
    with pytest.raises(ParameterError, match="event_ids is empty"):
        start_correction(tmp_path, task="resend", dry_run=False)


def test_an_undo_leaves_what_others_wrote_meanwhile(synced, tmp_path, monkeypatch):
    """Between the question and the answer another tool writes: its key stays."""
    _, done = synced(dry_run=False, audience_keys=["vip_customers"])
    who = done.changes.loc[done.changes["status"] == "added", "subscriber_id"].iloc[0]

    def write():
        held = lists_of(synced.shop)[who]
        with toolkit.connect() as client:
            client.send(write_properties(who, {"Segment Audiences": [*held, "theirs"]}))
        return True

    asked_by(monkeypatch, write)
    run = start_correction(tmp_path, dry_run=False, run_id=done.record.run_id)
    asyncio.run(run.correct())
    run.close()
    assert "theirs" in lists_of(synced.shop)[who]


def test_a_parameter_that_changes_while_the_question_is_open_is_refused(synced, tmp_path, monkeypatch):
    """The answer was given to another question."""
    before = lists_of(synced.shop)
    run = start("3_sync_audiences", defaults("3_sync_audiences", output_dir=str(tmp_path), dry_run=False))

    def change():
        run.parameters.repeat_unknown = True
        return True

    questions = asked_by(monkeypatch, change)
    run.read()
    plan = run.plan()
    with pytest.raises(ParameterError, match="changed since the plan"):
        asyncio.run(run.sync(plan))
    run.close()
    assert "from sample, all audiences: 38 adds" in questions[0]
    assert lists_of(synced.shop) == before


def test_a_saved_plan_leaves_out_who_has_opted_out_since(synced, tmp_path):
    """With skip_opted_out, as the plan itself would have."""
    given = {"plan_path": str(tmp_path / "monday.plan"), "skip_opted_out": True}
    _, planned = synced(**given)
    would = planned.changes[planned.changes["status"] == "would_add"]
    who = would["subscriber_id"].iloc[0]
    record = next(each for each in synced.shop.shop if each["id"] == who)
    record["subscriptions"]["promotional"]["can_send"] = False
    _, done = synced(dry_run=False, full_read=True, **given)
    assert "added" not in set(done.changes.loc[done.changes["subscriber_id"] == who, "status"])
    assert done.change_statuses["added"] == len(would) - (would["subscriber_id"] == who).sum()


def remembered(folder):
    """Return what a ledger has of memberships and custom events."""
    connection = sqlite3.connect(folder / "ledger.db")
    try:
        return [[*connection.execute(f"SELECT * FROM {name}")] for name in ("transitions", "memberships")]
    finally:
        connection.close()


@pytest.mark.parametrize("task", ["undo", "resend"])
def test_a_no_leaves_everything_as_it_was(synced, corrected, monkeypatch, tmp_path, task):
    """The question is refused: no list, no custom event, and nothing that a later run would do otherwise."""
    _, done = synced(dry_run=False)
    set_state(tmp_path, "unknown")
    unconfirmed = corrected(task="resend")[0].found.choices["external_id"].tolist()
    before, lists, count = remembered(tmp_path), lists_of(synced.shop), len(synced.shop.custom_events)

    async def no(*_args, **_named):
        return False

    monkeypatch.setattr("toolkit.notebook.run.is_attended", lambda: True)
    monkeypatch.setattr("toolkit.notebook.widgets.confirm", no)
    _, refused = corrected(task=task, dry_run=False, run_id=done.record.run_id, event_ids=unconfirmed)
    assert refused.record.status == "canceled"
    assert (lists_of(synced.shop), len(synced.shop.custom_events)) == (lists, count)
    assert remembered(tmp_path) == before


def test_without_a_live_run_there_is_nothing_to_undo(synced, corrected):
    """A sentence, an empty table, no error."""
    synced()
    run, result = corrected()
    assert run.found.caption == "There is no live run to undo"
    assert (result.record.status, len(result.changes)) == ("completed", 0)


def test_what_differs_is_repaired_from_the_notebook(synced, corrected):
    """Chosen by kind, and a ghost key by its name."""
    _, done = synced(dry_run=False)
    right = lists_of(synced.shop)
    lacking = done.changes.loc[done.changes["status"] == "added", "subscriber_id"].iloc[0]
    more = next(who for who, held in right.items() if not held)
    with toolkit.connect() as client:
        client.send(write_properties(lacking, {"Segment Audiences": ["old_campaign"]}))
        client.send(write_properties(more, {"Segment Audiences": [*right[more], "vip_customers"]}))
    run, result = corrected(task="repair", drift_kinds=["missing"], dry_run=False)
    assert {*run.found.choices["drift"]} == {"missing", "extra", "ghost key"}
    assert result.record.kind == "repair"
    assert lists_of(synced.shop)[lacking] == sorted([*right[lacking], "old_campaign"])
    assert "vip_customers" in lists_of(synced.shop)[more]
    limited = corrected(task="repair", drift_kinds=["extra"], ghost_keys=["old_campaign"], dry_run=False)[1]
    assert limited.record.facts["stopped_by"] == "removal_limit"
    given = {"drift_kinds": ["extra"], "ghost_keys": ["old_campaign"], "max_removal_share": 1}
    corrected(task="repair", dry_run=False, **given)
    assert [lists_of(synced.shop)[who] for who in (lacking, more)] == [right[lacking], right[more]]


def test_unconfirmed_custom_events_are_chosen_one_by_one(synced, corrected, tmp_path):
    """Only those that are named are posted again; one whose list says otherwise by now is closed."""
    synced(dry_run=False)
    count = len(synced.shop.custom_events)
    set_state(tmp_path, "unknown")
    run, _ = corrected(task="resend")
    choices = run.found.choices
    assert len(choices) == count
    assert not choices["chosen"].any()
    with pytest.raises(ParameterError, match="No unconfirmed custom event has the id nonsense"):
        corrected(task="resend", event_ids=["nonsense"])
    named = choices["external_id"].tolist()[:2]
    with toolkit.connect() as client:
        wrong = ["none"] if choices["entered"][1] else [choices["audience_key"][1]]
        client.send(write_properties(choices["subscriber_id"][1], {"Segment Audiences": wrong}))
    assert corrected(task="resend", event_ids=named)[1].record.mode == "dry_run"
    assert len(synced.shop.custom_events) == count
    run, sent = corrected(task="resend", event_ids=named, dry_run=False)
    assert run.plan_sentence.startswith(
        "0 adds, 0 removes, 0 custom events and 2 left over from earlier runs"
    )
    assert [event["external_id"] for event in [*synced.shop.custom_events][count:]] == named[:1]
    assert sent.record.facts["events"]["obsolete"] == 1
    assert len(corrected(task="resend")[0].found.choices) == count - 2


@pytest.mark.parametrize("named", [False, True], ids=["in output_dir", "by the environment"])
def test_looking_for_a_ledger_makes_none(tmp_path, monkeypatch, named):
    """A preview before the first sync leaves neither folder nor file; after one it finds the ledger."""
    path = tmp_path / "out" / "ledger.db"
    if named:
        path = tmp_path / "team" / "ledger.db"
        monkeypatch.setenv("TOOLKIT_LEDGER_URL", f"sqlite:///{path}")
    run = start("1_preview_audiences", defaults("1_preview_audiences", output_dir=str(tmp_path / "out")))
    assert run.find_ledger() is None
    assert [*tmp_path.iterdir()] == []
    Ledger(f"sqlite:///{path}").close()
    assert run.find_ledger() is not None
    run.close()


def test_a_run_is_asked_for_only_when_something_would_be_sent():
    """The question names what earlier runs left, too: a plan without changes may still post custom events."""
    plan = Plan(
        changes=empty_table(CHANGE_COLUMNS),
        writes=empty_table(WRITE_COLUMNS),
        subscribers=empty_table(SUBSCRIBER_COLUMNS),
        custom_events="transitions",
        max_removal_share=0.5,
    )
    left = estimate_cost(plan, fold(empty_table(PAYLOAD_COLUMNS)), requests_per_second=14, left_over=47)
    assert (left.left_over, left.calls["custom_events"]) == (47, 47)
    given = SimpleNamespace(events_path="sample", audience_keys=("vip",))
    asked = question(plan, left, Shop(shop_id="shop_1", name="Acme"), given)
    assert "0 custom events and 47 left over from earlier runs" in asked
    none = estimate_cost(
        replace(plan, custom_events="none"),
        fold(empty_table(PAYLOAD_COLUMNS)),
        requests_per_second=14,
        left_over=47,
    )
    assert none.left_over == 0
