"""``python -m toolkit run``: what a schedule meets, judged by exit codes and by what is left behind."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from conftest import BUDGET_FOLDER, NOTEBOOKS, PROJECT, SAMPLE, files_with
from tables import every

from toolkit.__main__ import command_parser, given_parameters, main
from toolkit.ledger import Ledger
from toolkit.notebook import runner as order_runner
from toolkit.notebook.exit_codes import ExitCode, exit_code_of
from toolkit.notebook.runner import SYNC_TAG, Canceling
from toolkit.notebook.secret_scan import cells_with_contacts, forms_of, hide_secrets
from toolkit.sandbox import Fault, Sandbox
from toolkit.sandbox.records import load_subscribers

KEY = "sk_a_key_that_must_not_be_seen_7Qx"
SYNC = "3_sync_audiences"
LIVE = ("-p", "dry_run", "False")

# --- exit codes -------------------------------------------------------------------------------------------


@every(
    "error, summary, code",
    [
        ("", {}, 0),
        ("", {"status": "failed"}, 0),  # an audit of a failed run has itself gone well
        ("RunFailedError", {"status": "completed_with_errors"}, 3),
        ("RunFailedError", {"status": "failed", "stopped_by": "removal_limit"}, 4),
        ("RunFailedError", {"status": "failed", "stopped_by": "guard"}, 4),
        ("RunFailedError", {"status": "failed", "stopped_by": "authentication"}, 5),
        ("RunFailedError", {"status": "failed", "stopped_by": "transport"}, 7),
        ("RunFailedError", {"status": "canceled", "stopped_by": "canceled"}, 130),
        ("RunFailedError", {}, 7),
        ("ParameterError", {}, 2),
        ("InputPathError", {}, 2),
        ("SettingsError", {}, 2),
        ("InvalidAuthenticationError", {}, 5),
        ("ShopLockedError", {}, 6),
        ("IgnoredFilterError", {}, 4),
        ("LedgerError", {}, 7),
        ("UnreachableError", {}, 7),
        ("ReconciliationError", {}, 1),
        ("CellTimeoutError", {}, 7),
        ("DeadKernelError", {}, 1),
        ("KeyboardInterrupt", {}, 130),
        ("ZeroDivisionError", {}, 1),
        ("annotations", {}, 1),
    ],
)
def test_the_exit_code_follows_from_class_and_summary(error, summary, code):
    """Each way to end has its code, read from the error's class and the summary's fields."""
    assert exit_code_of(error, summary, has_key=True, is_canceled=False) == code


def test_without_a_key_a_wrong_setting_is_no_access():
    """The same error means another thing where there is no key."""
    assert exit_code_of("SettingsError", {}, has_key=False, is_canceled=False) == 5


@pytest.mark.parametrize(
    ("error", "code"),
    [("DeadKernelError", 130), ("InterruptException", 130), ("ShopLockedError", 6), ("", 0)],
)
def test_a_canceled_run_is_interrupted_unless_it_ended_for_a_reason_of_its_own(error, code):
    """Libraries have errors of their own for an interrupt; a run that had ended has ended."""
    assert exit_code_of(error, {}, has_key=True, is_canceled=True) == code


def test_help_and_the_guide_explain_every_exit_code(capsys):
    """Both quote each code with its meaning."""
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    guide = (PROJECT / "docs" / "how-to" / "schedule.md").read_text("utf-8")
    for code in ExitCode:
        assert f"{code.value:>3}  {code.__doc__}" in shown
        assert f"| {code.value} | {code.__doc__} |" in guide


# --- the command line -------------------------------------------------------------------------------------


def test_parameters_are_read_as_papermill_reads_them(tmp_path):
    """-p guesses, -r does not, -y and -f are YAML; the more specific stands above the general."""
    (tmp_path / "given.yaml").write_text("a: 1\nb: [x]\nc: file\n")
    words = [
        "run",
        "n",
        "-r",
        "d",
        "14",
        "-p",
        "e",
        "14",
        "-p",
        "f",
        "False",
        "-p",
        "g",
        "0.5",
        "-p",
        "h",
        "x",
    ]
    arguments = command_parser().parse_args([*words, "-f", str(tmp_path / "given.yaml"), "-y", "c: text"])
    found = {"a": 1, "b": ["x"], "c": "text", "e": 14, "f": False, "g": 0.5, "h": "x", "d": "14"}
    assert given_parameters(arguments) == found


@pytest.fixture
def no_kernel(monkeypatch, tmp_path):
    """An empty folder, and a runner that must not get as far as a kernel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTSCRIPT_SECRET_KEY", KEY)
    monkeypatch.setattr(order_runner, "execute", lambda *_: pytest.fail("a kernel was started"))
    return tmp_path


def notebook_path(name: str = SYNC) -> str:
    return str(PROJECT / "notebooks" / f"{name}.ipynb")


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["-p", "dry_runn", "False", "-p", "custom_events", "x"], ["no parameter dry_runn", "use one of"]),
        (["-p", "requests_per_second", "fast"], ["give a number"]),
        (["-y", "a: [", "-p", "x", "1"], ["YAML"]),
        (["-y", "- a"], ["YAML"]),
        (["-f", "nowhere.yaml"], ["nowhere.yaml"]),
        (["-r", "events_path", f"/{KEY}/"], ["holds the secret key"]),
        (["--output", notebook_path()], ["is the notebook itself"]),
        (["--output", "there.ipynb"], ["is there already"]),
        (["--output", "runs/{when}.ipynb"], ["no field when"]),
        (["--output", "there.ipynb/x.ipynb"], ["cannot be written"]),
        (["--output", "runs/x.html"], ["cannot be written"]),
        (["-p", "output_dir", "~nouser/x"], ["output_dir", "a user that this machine does not have"]),
        (["--output", "~nouser/x.ipynb"], ["--output", "a user that this machine does not have"]),
        (["--execution-timeout", "long"], ["invalid int"]),
    ],
    ids=lambda words: words[-1][-16:],
)
def test_bad_input_ends_before_a_kernel_starts(no_kernel, capsys, words, sentences):
    """Exit code 2, a sentence for each thing that is wrong, nothing written, and no key shown."""
    (no_kernel / "there.ipynb").write_text("mine")
    try:
        code = main(["run", notebook_path(), *words])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    shown = capsys.readouterr().err
    assert [s for s in sentences if s not in shown] == []
    assert KEY not in shown
    assert [path.name for path in no_kernel.iterdir()] == ["there.ipynb"]
    assert (no_kernel / "there.ipynb").read_text() == "mine"


@pytest.mark.parametrize("name", ["nowhere.ipynb", "notes.ipynb", "untagged.ipynb"])
def test_what_is_no_notebook_is_named(no_kernel, capsys, name):
    """A path to nothing, a text, a notebook without parameters."""
    (no_kernel / "notes.ipynb").write_text("not JSON")
    nbformat.write(nbformat.v4.new_notebook(), no_kernel / "untagged.ipynb")
    assert main(["run", name]) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_found_by_its_name(monkeypatch, name):
    """In ./notebooks: a run of it begins, and the output is named by notebook and time, braces and all."""
    monkeypatch.chdir(PROJECT)
    begun: list[Any] = []
    monkeypatch.setattr(
        order_runner, "execute", lambda order, _timeout: (begun.append(order), (None, False))[1]
    )
    monkeypatch.setattr(order_runner, "_compare", lambda *_: [])
    assert main(["run", name, "-p", "output_dir", "kept {here}"]) == 0
    [order] = begun
    assert order.notebook == name
    assert re.fullmatch(
        rf"kept {{here}}/runs/{name}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{6}}\.ipynb", str(order.output)
    )


def test_papermills_options_are_passed_on(monkeypatch, tmp_path, capsys):
    """Where the notebook runs, its relative output_dir begins; the rest is papermill's own."""
    begun: list[Any] = []
    monkeypatch.setattr(
        order_runner, "execute", lambda order, options: (begun.append((order, options)), (None, False))[1]
    )
    monkeypatch.setattr(order_runner, "_compare", lambda *_: [])
    words = ["run", "4_audit_report", "--cwd", str(tmp_path), "--log-output", "--autosave-cell-every", "5"]
    assert main(words) == 0
    [(order, options)] = begun
    assert order.folder == tmp_path / "output" / "4_audit_report"
    assert order.output.is_relative_to(tmp_path / "output" / "runs")
    assert options == {
        "cwd": str(tmp_path),
        "log_output": True,
        "autosave_cell_every": 5,
        "execution_timeout": None,
    }
    assert main(["run", "4_audit_report", "--cwd", str(tmp_path / "nowhere")]) == 2
    assert "--cwd" in capsys.readouterr().err


# --- runs -------------------------------------------------------------------------------------------------


@pytest.fixture
def shop() -> Iterator[Callable[..., Sandbox]]:
    """A function that opens the sample's shop."""
    opened: list[Sandbox] = []

    def open_shop(**options: Any) -> Sandbox:
        people = load_subscribers(SAMPLE / "subscribers.ndjson", "2026-11-01T00:00:00Z")
        opened.append(Sandbox(people, keys=(KEY,), **options).__enter__())
        return opened[-1]

    yield open_shop
    for each in opened:
        each.__exit__(None, None, None)


class Runner:
    """Starts the command in a folder of its own, as a schedule would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, notebook: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("POSTSCRIPT_", "TOOLKIT_"))}
        own = {"IPYTHONDIR": str(self.folder / ".ipython"), "TOOLKIT_BUDGET_FOLDER": BUDGET_FOLDER}
        return subprocess.Popen(
            [sys.executable, "-m", "toolkit", "run", notebook, *words],
            cwd=self.folder,
            env={**kept, **own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait for the end; no kernel may be left, and a line names where everything is."""
        out, err = process.communicate(timeout=300)
        assert self.kernels() == []
        assert len(out.splitlines()) == 1
        assert f"(exit code {process.returncode})" in out
        assert KEY not in out + err
        return process.returncode, out, err

    def __call__(self, notebook: str, *words: str, **environment: str) -> tuple[int, str, str]:
        return self.end(self.start(notebook, *words, **environment))

    def kernels(self) -> list[str]:
        """Return the kernels that run in the folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
                is_here = (process / "cwd").resolve() == self.folder.resolve()
            except OSError:
                continue
            found += [process.name] if b"ipykernel" in words and is_here else []
        return found

    def summary(self, notebook: str = SYNC) -> dict[str, Any]:
        return json.loads((self.folder / "output" / notebook / "summary.json").read_text("utf-8"))

    def saved(self) -> Any:
        """Return the only notebook that was saved."""
        [path] = (self.folder / "output" / "runs").glob("*.ipynb")
        return nbformat.read(path, as_version=4)


@pytest.fixture
def runner(tmp_path) -> Runner:
    return Runner(tmp_path)


def access(sandbox: Sandbox, key: str = KEY) -> dict[str, str]:
    return {"POSTSCRIPT_BASE_URL": sandbox.base_url, "POSTSCRIPT_SECRET_KEY": key}


def test_a_live_run(runner, shop):
    """Exit code 0, the list of members in the summary, the next run's comparison kept, the key in no file."""
    sandbox = shop()
    code, out, _ = runner(notebook_path(), *LIVE, "-r", "audience_keys", "vip_customers", **access(sandbox))
    found = runner.summary()
    assert (code, found["status"], found["stopped_by"]) == (0, "completed", "")
    assert out.startswith(f"completed (exit code 0): run {found['run_id']}, notebook output/runs/{SYNC}-")
    assert out.endswith("summary output/3_sync_audiences/summary.json\n")
    assert sandbox.custom_events
    kept = json.loads((runner.folder / "output" / "runs" / f"{SYNC}.json").read_text())
    assert kept == {"status": "completed", "members": found["members"]}
    assert sum(found["members"].values()) > 0
    assert files_with(runner.folder, KEY) == []


@pytest.mark.slow
def test_a_dry_run(runner, shop):
    """The default: exit code 0, and nothing is written to Postscript."""
    sandbox = shop()
    assert runner(notebook_path(), **access(sandbox))[0] == 0
    assert {entry["method"] for entry in sandbox.journal} == {"GET"}


@pytest.mark.slow
def test_the_removal_limit_is_exit_code_4(runner, shop):
    """The guard's own code, by the summary's field; nothing is written to Postscript."""
    sandbox = shop()
    code, out, err = runner(notebook_path(), *LIVE, "-p", "max_removal_share", "0", **access(sandbox))
    assert (code, runner.summary()["stopped_by"]) == (4, "removal_limit")
    assert out.startswith("failed (exit code 4): run ")
    assert "max_removal_share allows 0%" in err
    assert {entry["method"] for entry in sandbox.journal} == {"GET"}


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_cancels_a_sync_in_order(runner, shop, number):
    """What is under way finishes, the evidence is written, the kernel ends, exit code 130."""
    sandbox = shop()
    process = runner.start(notebook_path(), *LIVE, **access(sandbox))
    while not any(entry["method"] == "PATCH" for entry in sandbox.journal):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    code, out, _ = runner.end(process)
    found = runner.summary()
    assert (code, found["status"], found["stopped_by"]) == (130, "canceled", "canceled")
    assert found["change_statuses"]["pending"] > 0
    assert out.startswith(f"canceled (exit code 130): run {found['run_id']}, ")
    assert (runner.folder / "output" / SYNC / "changes.parquet").exists()
    assert any("RunFailedError" in str(cell.get("outputs")) for cell in runner.saved().cells)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "cause"),
    [
        (Fault(kind="status", status=400, route="POST *", nth=(1,)), 3, ""),
        (Fault(kind="status", status=401, route="PATCH *"), 5, "authentication"),
        (Fault(kind="status", status=500, route="PATCH *"), 7, "transport"),
    ],
    ids=["a refused event", "a key revoked on the way", "Postscript down"],
)
def test_trouble_on_the_way_has_its_code(runner, shop, fault, code, cause):
    """What the run kept of why it ended decides."""
    assert runner(notebook_path(), *LIVE, **access(shop(faults=[fault])))[0] == code
    assert runner.summary()["stopped_by"] == cause


@pytest.mark.slow
def test_a_refused_key_no_key_and_no_server(runner, shop):
    """5, 5 and 7; the refused key is in no file."""
    wrong = "sk_wrong_but_secret_all_the_same"
    assert runner(notebook_path(), **access(shop(), wrong))[0] == 5
    assert files_with(runner.folder, wrong) == []
    assert runner(notebook_path(), POSTSCRIPT_BASE_URL=shop().base_url)[0] == 5
    nowhere = {"POSTSCRIPT_BASE_URL": "http://127.0.0.1:9", "POSTSCRIPT_SECRET_KEY": KEY}
    assert runner(notebook_path(), **nowhere)[0] == 7


@pytest.mark.slow
def test_a_locked_shop_and_a_missing_archive(runner, shop):
    """6 while another run writes to the shop, 2 for a path to nothing; both keep the notebook."""
    (runner.folder / "output").mkdir()
    with Ledger(f"sqlite:///{runner.folder / 'output' / 'ledger.db'}") as other:
        other.lock_shop("shop_sandbox")
        assert runner(notebook_path(), *LIVE, **access(shop()))[0] == 6
    assert runner(notebook_path(), "-p", "events_path", "nowhere", **access(shop()))[0] == 2
    assert len([*(runner.folder / "output" / "runs").glob("*.ipynb")]) == 2


# --- notebooks of one's own, which need no toolkit and so start quickly -------------------------------------


def write_notebook(folder: Path, *sources: str) -> str:
    cells = [nbformat.v4.new_code_cell(source) for source in ('output_dir: str = "output"', *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "own.ipynb")
    return "own.ipynb"


@pytest.mark.slow
def test_a_killed_kernel(runner):
    """Exit code 1, the notebook is saved as far as it came, and an earlier run's summary does not speak."""
    (runner.folder / "output" / "own").mkdir(parents=True)
    early = runner.folder / "output" / "own" / "summary.json"
    early.write_text('{"status": "completed", "run_id": "an earlier one"}')
    name = write_notebook(runner.folder, "print('so far')", "import os; os.kill(os.getpid(), 9)", "1 / 0")
    code, out, err = runner(name)
    assert (code, "an earlier one" in out, "not written" in out) == (1, False, True)
    assert "DeadKernelError" in err
    assert "so far" in str(runner.saved().cells[1].outputs)


@pytest.mark.slow
def test_a_cell_that_runs_out_of_time(runner):
    """Exit code 7, and the kernel is gone; what was executed is in a file for this user alone."""
    name = write_notebook(runner.folder, "import time; time.sleep(600)")
    assert runner(name, "--execution-timeout", "2")[0] == 7
    runs = runner.folder / "output" / "runs"
    assert {path.stat().st_mode & 0o777 for path in (runs, *runs.iterdir())} == {0o700, 0o600}


def started(runner: Runner, sources: list[str]) -> subprocess.Popen[str]:
    """Start a notebook and wait for its first cell to leave its mark."""
    process = runner.start(write_notebook(runner.folder, "open('mark', 'w').close()", *sources))
    while not (runner.folder / "mark").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_notebook(runner, number):
    """The cell is interrupted, no further one begins, exit code 130."""
    process = started(runner, ["import time; time.sleep(600)", "print('further')"])
    process.send_signal(number)
    code, _, _ = runner.end(process)
    assert code == 130
    assert "KeyboardInterrupt" in str(runner.saved().cells)
    assert "further" not in str([cell.get("outputs") for cell in runner.saved().cells])


@pytest.mark.slow
def test_a_second_signal_ends_what_takes_no_notice(runner):
    """A cell that swallows the interrupt is killed with its kernel, and what it had shown is kept."""
    stubborn = (
        "import time\nwhile True:\n try: time.sleep(600)\n except KeyboardInterrupt: print('no', flush=True)"
    )
    process = started(runner, [stubborn])
    process.send_signal(signal.SIGTERM)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert runner.end(process)[0] == 130
    assert runner.saved()


def test_nothing_begins_after_a_signal_but_what_writes_down_a_syncs_end():
    """A signal between cells, or one a cell did not take, ends the run before the next cell."""
    canceling = Canceling(lambda: None)
    canceling.before_cell()
    canceling.after_cell({"metadata": {"tags": [SYNC_TAG]}})
    with pytest.raises(KeyboardInterrupt):
        canceling.on_signal()
    with pytest.raises(KeyboardInterrupt):
        canceling.before_cell()

    canceling = Canceling(lambda: None)
    canceling.is_asked = True  # while this cell ran
    canceling.after_cell({"metadata": {}})
    with pytest.raises(KeyboardInterrupt):
        canceling.before_cell()
    canceling.after_cell({"metadata": {"tags": [SYNC_TAG]}})
    canceling.before_cell()


# --- secrets and contacts -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_secret_in_a_notebook_is_taken_out_and_reported(runner):
    """The cell's output shows the key: it is replaced, exit code 1, the file is named; contacts by cell."""
    show = "import os; print(os.environ['POSTSCRIPT_SECRET_KEY'], os.environ['POSTSCRIPT_SHOP_TOKEN'])"
    name = write_notebook(runner.folder, show, "print('ana@example.com')")
    code, _, err = runner(name, POSTSCRIPT_SECRET_KEY=KEY, POSTSCRIPT_SHOP_TOKEN="st_a_shop_token_9")
    assert code == 1
    assert "output/runs/own-" in err
    assert "replaced by ***" in err
    assert files_with(runner.folder, KEY) == files_with(runner.folder, "st_a_shop_token_9") == []
    assert "*** ***" in str(runner.saved().cells[1].outputs)
    code, _, err = runner(write_notebook(runner.folder, "1", "print('ana@example.com')"))
    assert code == 0
    assert "shows contacts in clear text, in cell 3." in err
    assert "ana@" not in err


SECRET = 'sk_"quoted"/secret_???~~~7Qx'


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps({"key": SECRET}),
        "sk_%22quoted%22%2Fsecret_%3F%3F%3F~~~7Qx",
        *(base64.b64encode(f"{'x' * n}{SECRET}:yz".encode()).decode() for n in range(4)),
        *(base64.urlsafe_b64encode(f"{'?' * n}{SECRET}".encode()).decode() for n in range(3)),
    ],
    ids=["plain", "JSON", "URL", *(f"base64 {n}" for n in range(4)), *(f"URL base64 {n}" for n in range(3))],
)
def test_every_form_of_a_secret_is_taken_out_of_a_text(tmp_path, shown):
    """What stands around it stays."""
    path = tmp_path / "text.html"
    path.write_text(f"before é {shown} after")
    path.chmod(0o640)
    forms = forms_of([SECRET, ""])
    assert hide_secrets(path, forms) == "replaced by ***"
    left = path.read_text()
    assert left.startswith("before é ")
    assert left.endswith(" after")
    assert "***" in left
    assert not [form for form in forms if form in left.encode()]
    assert path.stat().st_mode & 0o777 == 0o640
    assert hide_secrets(path, forms) == ""


@pytest.mark.parametrize("cut", range(-1, len(KEY) + 2, 5))
@pytest.mark.parametrize("after", [0, 100])
def test_a_secret_across_two_pieces_is_found(tmp_path, monkeypatch, cut, after):
    """Wherever the border between two readings falls."""
    monkeypatch.setattr("toolkit.notebook.secret_scan.PIECE", 1000)
    path = tmp_path / "long.txt"
    path.write_text("x" * (3000 - cut) + KEY + "y" * after)
    assert hide_secrets(path, forms_of([KEY])) == "replaced by ***"
    assert path.read_text() == "x" * (3000 - cut) + "***" + "y" * after


@pytest.mark.parametrize(
    "column",
    [
        ["a", f"x{KEY}y", "z"],
        pd.Categorical(["a", KEY, "z"]),
        [["a"], ["b", KEY], ["z"]],
        [{"n": "a"}, {"n": KEY}, {"n": "z"}],
        [b"\0", KEY.encode(), b"z"],
    ],
    ids=["texts", "categories", "lists", "structures", "bytes"],
)
def test_a_parquet_file_with_a_secret_is_deleted(tmp_path, column):
    """Packed as it is, its bytes do not show the key; its columns do."""
    path = tmp_path / "packed.parquet"
    frame = pd.DataFrame({"n": [1, 2, 3], "text": column})
    pd.concat([frame] * 50).to_parquet(path, compression="gzip")
    assert KEY.encode() not in path.read_bytes()
    assert hide_secrets(path, forms_of(["sk_another_key"])) == ""
    assert hide_secrets(path, forms_of([KEY])) == "file deleted"
    assert not path.exists()


def test_other_files(tmp_path):
    """A binary file with the key is deleted, a torn Parquet file is searched too, a short key nowhere."""
    (tmp_path / "image.png").write_bytes(b"\0\1" + KEY.encode())
    (tmp_path / "torn.parquet").write_bytes(b"PAR1" + b"\0" * 50)
    assert hide_secrets(tmp_path / "image.png", forms_of([KEY])) == "file deleted"
    assert hide_secrets(tmp_path / "torn.parquet", forms_of([KEY])) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["torn.parquet"]
    assert forms_of(["sk_1", ""]) == ()


@pytest.mark.slow
def test_half_a_gigabyte_is_read_in_pieces(tmp_path):
    """The key at the end of a large text is taken out, and memory does not follow the size."""
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        for _ in range(500):
            file.write(b"x" * 1_000_000)
        file.write(KEY.encode())
    script = (
        "import resource, sys, pathlib\n"
        "from toolkit.notebook.secret_scan import forms_of, hide_secrets\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(hide_secrets(pathlib.Path(sys.argv[1]), forms_of([sys.argv[2]])))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), KEY], capture_output=True, text=True, check=True
    )
    done_to_it, kilobytes = done.stdout.splitlines()
    assert done_to_it == "replaced by ***"
    assert path.stat().st_size == 500_000_003
    assert int(kilobytes) < 100_000


@pytest.mark.parametrize(
    ("text", "is_contact"),
    [
        ("ana@example.com", True),
        ("to ana.b+c@mail.example.co.uk, please", True),
        ("+14155550123", True),
        ("phone=+447700900123;", True),
        ("a•••@example.com", False),
        ("•••23", False),
        ("2026-11-01T00:00:00+00:00", False),
        ("1e+10000000", False),
        ("14155550123", False),
        ("@dataclass", False),
        ("user:a•••@example.com~1f2e", False),
        pytest.param("x" * 1_000_000 + "." * 1_000_000, False, id="long"),
    ],
)
def test_contacts_are_found_by_cell(tmp_path, text, is_contact):
    """In a cell's output or source, by number; a masked one, a time and a number are none."""
    output = nbformat.v4.new_output("stream", text=f"first\n{text}\n")
    image = nbformat.v4.new_output("display_data", data={"image/png": "AAA=+14155550123"})
    cells = [nbformat.v4.new_markdown_cell("x"), nbformat.v4.new_code_cell("{}", outputs=[output, image])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    assert cells_with_contacts(tmp_path / "n.ipynb") == ([2] if is_contact else [])
