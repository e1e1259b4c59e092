"""Alerts: which runs send one, what is in it, and that sending it harms nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from conftest import PROJECT
from tables import every

from toolkit.__main__ import main
from toolkit.notebook import runner
from toolkit.notebook.alerts import (
    Baseline,
    alert_body,
    members_of,
    post_alert,
    reasons_for_alert,
    run_alert_command,
    send_alert,
    shown_url,
)

KEY = "sk_a_key_that_must_not_be_seen_7Qx"
OK, ERRORS, FAILED, CANCELED = "completed", "completed_with_errors", "failed", "canceled"


@every(
    "before, now, reasons",
    [
        (None, OK, []),
        (OK, OK, []),
        (None, FAILED, ["ended as failed"]),
        (OK, ERRORS, ["ended as completed_with_errors"]),
        (FAILED, FAILED, ["ended as failed"]),
        (FAILED, OK, ["recovered: the run before ended as failed"]),
        (ERRORS, OK, ["recovered: the run before ended as completed_with_errors"]),
        (CANCELED, OK, ["recovered: the run before ended as canceled"]),
        (FAILED, CANCELED, []),
        (OK, CANCELED, []),
    ],
)
def test_trouble_and_recovery_are_alerted(before, now, reasons):
    """Failed, completed with errors, and well again; a person canceled the run that was canceled."""
    earlier = before and Baseline(status=before)
    assert reasons_for_alert(earlier, Baseline(status=now), size_change=0.2) == reasons


@every(
    "before, now, is_alerted",
    [
        (100, 100, False),
        (100, 120, False),
        (100, 121, True),
        (100, 80, False),
        (100, 79, True),
        (100, 0, True),
        (0, 0, False),
        (0, 1, True),
        (None, 5, False),
    ],
)
def test_an_audience_whose_size_jumps_is_alerted(before, now, is_alerted):
    """By more than the share, up or down; a new one has no size to compare with."""
    earlier = Baseline(status=OK, members={} if before is None else {"vip": before})
    found = reasons_for_alert(earlier, Baseline(status=OK, members={"vip": now}), size_change=0.2)
    assert found == ([f"audience vip went from {before} to {now} members"] if is_alerted else [])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"status": "failed", "members": 3}', '{"status": "x", "members": {"a": []}}'],
)
def test_a_state_that_cannot_be_read_is_none(tmp_path, text):
    """Nothing there, torn, or another's file: as if there had been no run before."""
    path = tmp_path / "state.json"
    assert Baseline.load(path) is None
    path.write_text(text)
    assert Baseline.load(path) is None


def test_the_members_are_found_in_both_summaries():
    """The sync's by audience, the preview's as rows; others have none."""
    assert members_of({"members": {"vip": 2}}) == {"vip": 2}
    assert members_of({"audiences": [{"audience_key": "vip", "members": 2, "stated": 3}]}) == {"vip": 2}
    assert members_of({"status": OK}) == {}


def test_an_alert_holds_figures_only():
    """What a summary has beyond ids, words and figures is left out."""
    body = json.loads(alert_body({"run_id": "r", "people": ["ana@example.com"], "error": "e"}, ["x"]))
    assert body == {"text": "A run x. e.", "run_id": "r", "error": "e", "reasons": ["x"]}


def test_an_alert_says_in_words_what_happened():
    """What, in which mode and shop, why, the figures, and where to look: as Slack, Teams and mail show it."""
    facts = {
        "notebook": "3_sync_audiences",
        "mode": "dry_run",
        "shop": {"id": "shop_1", "name": "Acme Socks"},
        "error": "RunFailedError: The plan removes too much.",
        "change_statuses": {"would_add": 1200, "pending": 3},
        "executed": "out/runs/3.ipynb",
    }
    reasons = ["ended as failed", "audience vip went from 9 to 2 members"]
    assert json.loads(alert_body(facts, reasons))["text"] == (
        "3_sync_audiences (dry run, Acme Socks) ended as failed; audience vip went from 9 to 2 members. "
        "RunFailedError: The plan removes too much. 1,200 would add, 3 pending. See out/runs/3.ipynb."
    )


# --- sending ----------------------------------------------------------------------------------------------


class Hook(HTTPServer):
    """A webhook that answers with the given codes, one after the other, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes: list[int] = []
        self.received: list[bytes] = []
        self.authorizations: list[str | None] = []
        self.refuses = lambda message: False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/secret_token?key=other_token"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.authorizations.append(self.headers["Authorization"])
        code = self.server.codes.pop(0) if self.server.codes else 200
        if self.server.refuses(json.loads(self.server.received[-1])):
            code = 400
        self.send_response(code)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def hook(monkeypatch) -> Iterator[Hook]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Hook()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_slack_takes_an_alert(hook):
    """Its webhooks refuse a message without text."""
    hook.refuses = lambda message: not message.get("text")
    assert post_alert(hook.url, b'{"reasons": ["x"]}', pause_seconds=0).endswith("answered 400")
    assert post_alert(hook.url, alert_body({}, ["ended as failed"]).encode(), pause_seconds=0) == ""


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
def test_other_addresses_are_apprise_s(hook):
    """The message arrives there as text; a refusal, and an address that it does not know, are a sentence."""
    address = hook.url.replace("http://", "json://")
    body = alert_body({"notebook": "3_sync_audiences"}, ["ended as failed"]).encode()
    assert [*send_alert(body, url=address, command="")] == []
    assert json.loads(hook.received[0])["message"] == "3_sync_audiences ended as failed."
    hook.refuses = lambda message: True
    assert [*send_alert(body, url=address, command="")] == [
        "No alert was sent to json: it did not take the message."
    ]
    assert [*send_alert(body, url="nonsense://secret_token", command="")] == [
        "No alert was sent to nonsense: apprise does not know this address."
    ]


def test_without_apprise_the_command_that_installs_it_is_named(monkeypatch):
    """Of the address only the scheme is shown."""
    monkeypatch.setattr("toolkit.notebook.alerts.find_spec", lambda name: None)
    (problem,) = send_alert(b"{}", url="slack://T1/secret_token", command="")
    assert problem == 'No alert was sent to slack: pip install "audience-toolkit[alerts]" is needed for it.'


@pytest.mark.parametrize(
    ("codes", "tries", "is_sent"),
    [
        ([], 1, True),
        ([503, 429, 500], 4, True),
        ([500] * 9, 4, False),
        ([404], 1, False),
        ([302], 1, False),
    ],
)
def test_an_alert_is_posted_until_it_is_taken(hook, codes, tries, is_sent):
    """Faults that pass are tried again, a refusal and a redirection are not."""
    hook.codes += codes
    problem = post_alert(hook.url, b'{"status": "failed"}', pause_seconds=0)
    assert hook.received == [b'{"status": "failed"}'] * tries
    assert (problem == "") == is_sent
    assert "token" not in problem


def test_no_password_of_the_netrc_file_goes_with_an_alert(hook, tmp_path, monkeypatch):
    """An entry for the host, or for every host, is not used; a password in the URL itself is."""
    (tmp_path / "netrc").write_text("default login other password stolen\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert post_alert(hook.url, b"{}", pause_seconds=0) == ""
    assert post_alert(hook.url.replace("//", "//me:word@"), b"{}", pause_seconds=0) == ""
    assert hook.authorizations == [None, "Basic bWU6d29yZA=="]


def test_the_url_is_no_option():
    """A command line is seen by everyone who lists processes."""
    with pytest.raises(SystemExit):
        main(["run", "3_sync_audiences", "--alert-url", "https://hooks.test/secret"])


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/secret_token", "nonsense secret_token", "http://[secret_token", "x://secret@y/z"],
)
def test_an_alert_that_cannot_be_sent_shows_no_url(url):
    """No server, no address: a sentence with scheme and host at most."""
    problem = post_alert(url, b"{}", pause_seconds=0)
    assert problem
    assert "secret" not in problem + shown_url(url)


def test_a_command_gets_the_alert_without_a_shell(tmp_path, monkeypatch):
    """The words are split as a shell would, and nothing in them is carried out."""
    monkeypatch.chdir(tmp_path)
    script = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    assert run_alert_command(f'"{sys.executable}" -c "{script}" "a $(touch b); touch c"', b"alert") == ""
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a $(touch b); touch c": b"alert"
    }


@pytest.mark.parametrize("command", ["no-such-command-here", "", '"', f"{sys.executable} -c 'exit(3)'"])
def test_a_command_that_fails_is_only_reported(command):
    """There is no such command, there is none at all, it cannot be split, it ends with another code."""
    assert run_alert_command(command, b"{}").startswith("the alert command")


# --- around a run -------------------------------------------------------------------------------------------


@pytest.fixture
def end_run(monkeypatch, tmp_path, hook):
    """A function that runs the sync notebook without a kernel: it writes the summary and ends as given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTSCRIPT_SECRET_KEY", KEY)

    def end(summary, error=None, *words):
        def execute(order, _timeout):
            order.folder.mkdir(parents=True, exist_ok=True)
            (order.folder / "summary.json").write_text(json.dumps(summary))
            return error, False

        monkeypatch.setattr(runner, "execute", execute)
        notebook = str(PROJECT / "notebooks" / "3_sync_audiences.ipynb")
        monkeypatch.setenv("TOOLKIT_ALERT_URL", hook.url)
        return main(["run", notebook, *words])

    return end


def run_failed() -> Exception:
    """Return an error as papermill passes a notebook's on."""
    error = RuntimeError()
    error.ename, error.evalue = "RunFailedError", f"Run r ended. ana@example.com {KEY} +14155550123"
    return error


def test_a_failed_run_and_the_next_one_are_alerted(end_run, hook, capsys):
    """Once as failed, once as recovered, then no more; no contact and no key leaves the machine."""
    failed = {"run_id": "r1", "status": "failed", "stopped_by": "transport", "mode": "live", "received": 3}
    assert end_run(failed, run_failed()) == 7
    assert end_run({**failed, "run_id": "r2", "status": "completed"}) == 0
    assert end_run({**failed, "run_id": "r3", "status": "completed"}) == 0
    first, second = map(json.loads, hook.received)
    assert (first["run_id"], first["status"], first["exit_code"]) == ("r1", "failed", 7)
    assert first["reasons"] == ["ended as failed"]
    assert first["error"] == "RunFailedError: Run r ended. ••• *** •••"
    assert (first["notebook"], first["mode"], first["received"]) == ("3_sync_audiences", "live", 3)
    assert (second["run_id"], second["reasons"]) == ("r2", ["recovered: the run before ended as failed"])
    assert "token" not in "".join(capsys.readouterr())


def test_sizes_are_compared_with_the_run_before(end_run, hook):
    """A jump, a vanished audience; a run without figures keeps the earlier ones."""
    run = {"run_id": "r", "status": "completed"}
    end_run({**run, "members": {"vip": 100, "churn": 10}})
    end_run({"run_id": "r", "status": "canceled", "stopped_by": "canceled"}, run_failed())
    end_run({**run, "members": {"vip": 130}}, None, "--alert-size-change", "0.25")
    end_run({**run, "members": {"vip": 130}})
    [body] = map(json.loads, hook.received)
    assert body["reasons"] == [
        "recovered: the run before ended as canceled",
        "audience churn went from 10 to 0 members",
        "audience vip went from 100 to 130 members",
    ]


def test_audiences_that_were_left_out_are_not_gone(end_run, hook):
    """With audience_keys, what is not among them is not compared."""
    run = {"run_id": "r", "status": "completed"}
    end_run({**run, "members": {"vip": 100, "churn": 10}})
    end_run({**run, "members": {"vip": 100}}, None, "-r", "audience_keys", "vip")
    assert hook.received == []


def test_an_alert_that_fails_changes_no_exit_code(end_run, hook, capsys):
    """It is printed, with scheme and host, and that is all."""
    hook.codes += [404]
    assert end_run({"status": "completed_with_errors"}, run_failed(), "--alert-command", "no-such") == 3
    shown = capsys.readouterr().err
    assert "No alert was sent to http://127.0.0.1 answered 404" in shown
    assert "No alert was sent by the alert command" in shown
    assert "token" not in shown


def test_a_run_that_never_began_is_alerted(end_run, hook, tmp_path):
    """A schedule with a slip in it must not fail in silence; nothing is written."""
    assert end_run({}, None, "-p", "dry_runn", "False") == 2
    body = json.loads(hook.received[0])
    assert (body["status"], body["exit_code"], body["reasons"]) == ("failed", 2, ["ended as failed"])
    assert "no parameter dry_runn" in body["error"]
    assert [*tmp_path.iterdir()] == []
