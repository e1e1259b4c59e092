"""The examples of schedules are good ones: what can be checked here without their platforms is checked."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest
import yaml
from conftest import PROJECT

from toolkit.__main__ import command_parser, given_parameters
from toolkit.notebook.parameters import PARAMETERS

GUIDE = PROJECT / "docs" / "how-to" / "schedule.md"
FILES = GUIDE.parent / "schedules"


def check_command(command: str) -> None:
    """Fail unless our parser takes the command, and its parameters are the notebook's."""
    words = shlex.split(command)
    names = [word.rpartition("/")[2] for word in words]
    arguments = command_parser().parse_args(words[names.index("audience-toolkit") + 1 :])
    assert {*given_parameters(arguments)} <= {*PARAMETERS[arguments.notebook]}


def commands_of(text: str) -> list[str]:
    """Return our commands in a text, one a line."""
    return [line for line in text.splitlines() if re.match(r"audience-toolkit run \d", line)]


def test_every_command_of_the_guide_is_accepted():
    """What is to be copied works as it stands."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text("utf-8"), flags=re.DOTALL)
    commands = [command for block in blocks for command in commands_of(block)]
    assert len(commands) == len("".join(blocks).splitlines()) >= 3
    for command in commands:
        check_command(command)


def test_the_guide_names_every_file_and_option():
    """A link to each example, and none to what is not there; the options that matter to a schedule."""
    guide = GUIDE.read_text("utf-8")
    linked = {*re.findall(r"\(schedules/([^)]+)\)", guide)}
    assert linked == {path.name for path in FILES.iterdir() if path.is_file()}
    for option in ("--output", "TOOLKIT_ALERT_URL", "--alert-command", "--alert-size-change"):
        assert option in guide


def cron_values(field: str, low: int, high: int) -> set[int]:
    """Return what a field of a cron line stands for; ValueError when it is none."""
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        if not match:
            raise ValueError(field)
        first, last, step = (None if text is None else int(text) for text in match.groups())
        start = low if first is None else first
        end = (
            high
            if first is None
            else start
            if last is None and step is None
            else high
            if last is None
            else last
        )
        if not low <= start <= end <= high or step == 0:
            raise ValueError(field)
        found |= {*range(start, end + 1, step or 1)}
    return found


def check_cron_times(fields: list[str]) -> list[set[int]]:
    bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
    return [cron_values(field, low, high) for field, (low, high) in zip(fields, bounds, strict=True)]


@pytest.mark.parametrize("field", ["60", "*/0", "5-1", "a", "", "1,", "-1", "1-", "*5"])
def test_the_cron_parser_is_strict(field):
    """It takes no field that cron would not."""
    with pytest.raises(ValueError, match=f"^{re.escape(field)}$"):
        cron_values(field, 0, 59)


def test_the_crontab():
    """Settings and one job: five fields, a command in one line that our parser takes, no percent sign."""
    lines = [
        line for line in (FILES / "crontab").read_text("utf-8").splitlines() if line[:1] not in {"", "#"}
    ]
    jobs = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    assert len(jobs) == 1
    *fields, command = jobs[0].split(None, 5)
    assert check_cron_times(fields) == [{17}, {*range(24)}, {*range(1, 32)}, {*range(1, 13)}, {*range(8)}]
    assert "%" not in command  # cron takes it for a line break
    *before, ours = command.split(" && ")
    assert before[0] == "cd /srv/audiences"
    check_command(ours.removesuffix(" >> sync.log 2>&1"))


def unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((FILES / name).read_text("utf-8"))
    return parser


def test_the_systemd_units():
    """The service's command is accepted, its stop is orderly, and the timer starts it."""
    service, timer = unit("postscript-sync.service"), unit("postscript-sync.timer")
    assert service.sections() == ["Unit", "Service"]
    check_command(service["Service"]["ExecStart"])
    assert service["Service"]["KillMode"] == "mixed"
    assert int(service["Service"]["TimeoutStopSec"]) > 60
    assert "Environment" not in service["Service"]
    assert timer.sections() == ["Unit", "Timer", "Install"]
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_systemd_finds_no_fault(tmp_path):
    """The units pass its own check, where there is one; the program is put where this machine has one."""
    program = shutil.which("systemd-analyze")
    if program is None:
        assert unit("postscript-sync.service")  # parsed above; there is no systemd to ask
        return
    for name in ("postscript-sync.service", "postscript-sync.timer"):
        text = (
            (FILES / name)
            .read_text("utf-8")
            .replace("/srv/audiences/.venv/bin/audience-toolkit", sys.executable)
        )
        (tmp_path / name).write_text(text)
    command = [program, "verify", "--man=no", "postscript-sync.service", "postscript-sync.timer"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    mine = [line for line in done.stderr.splitlines() if "postscript-sync" in line]
    assert mine == []
    calendar = unit("postscript-sync.timer")["Timer"]["OnCalendar"]
    assert subprocess.run([program, "calendar", calendar], capture_output=True, check=False).returncode == 0


# --- Airflow ----------------------------------------------------------------------------------------------


class Dag:
    """A stand-in that takes what airflow.DAG takes of it."""

    current: Dag | None = None

    def __init__(
        self,
        dag_id: str,
        *,
        schedule: str,
        start_date: datetime,
        catchup: bool,
        max_active_runs: int,
        dagrun_timeout: Any,
    ) -> None:
        self.dag_id, self.schedule, self.start_date = dag_id, schedule, start_date
        self.catchup, self.max_active_runs = catchup, max_active_runs
        self.tasks: list[Operator] = []

    def __enter__(self) -> Dag:
        Dag.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Dag.current = None


class Operator:
    """A stand-in with the keywords of the provider's PapermillOperator, and those of every operator."""

    def __init__(
        self,
        *,
        input_nb: str | None = None,
        output_nb: str | None = None,
        parameters: dict[str, Any] | None = None,
        kernel_name: str | None = None,
        language_name: str | None = None,
        kernel_conn_id: str | None = None,
        log_output: bool = False,
        nbconvert: bool = False,
        nbconvert_args: list[str] | None = None,
        task_id: str,
        retries: int | None = None,
        trigger_rule: str = "all_success",
    ) -> None:
        self.input_nb, self.output_nb, self.parameters = input_nb, output_nb, parameters
        self.kernel_name, self.task_id, self.trigger_rule = kernel_name, task_id, trigger_rule
        self.after: list[Operator] = []
        assert Dag.current is not None
        Dag.current.tasks.append(self)

    def __rshift__(self, other: Operator) -> Operator:
        self.after.append(other)
        return other


def test_the_airflow_dag(monkeypatch):
    """Carried out against stand-ins: known arguments, our notebooks, their parameters, no overwriting."""
    airflow, operators = ModuleType("airflow"), ModuleType("airflow.providers.papermill.operators.papermill")
    airflow.DAG, operators.PapermillOperator = Dag, Operator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", airflow)
    for parent in (
        "airflow.providers",
        "airflow.providers.papermill",
        "airflow.providers.papermill.operators",
    ):
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, operators.__name__, operators)

    dag = runpy.run_path(str(FILES / "airflow_dag.py"))["dag"]
    check_cron_times(dag.schedule.split())
    assert dag.start_date.tzinfo is not None
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    sync, report = dag.tasks
    assert sync.after == [report]
    assert report.trigger_rule == "all_done"
    for task in dag.tasks:
        notebook = task.input_nb.rpartition("/")[2].removesuffix(".ipynb")
        assert {*task.parameters} <= {*PARAMETERS[notebook]}
        assert task.output_nb != task.input_nb
        # Another for each time and each try, and no other braces: Airflow's template takes what it knows.
        assert re.findall(r"{{ (\S+) }}", task.output_nb) == ["ts_nodash", "ti.try_number"]
        assert task.output_nb.endswith(f"-{notebook}.ipynb")
        assert task.kernel_name == "python3"


# --- GitHub Actions ---------------------------------------------------------------------------------------


def test_the_github_workflow():
    """Known keys, a good time, one writer, the secrets from the store, and commands our parser takes."""
    text = (FILES / "github-actions.yml").read_text("utf-8")
    workflow = yaml.safe_load(text)
    started_by = workflow.pop(True)  # YAML 1.1 takes the key "on" for a truth value
    assert {*started_by} == {"schedule", "workflow_dispatch"}
    check_cron_times(started_by["schedule"][0]["cron"].split())
    assert {*workflow} == {"name", "concurrency", "permissions", "jobs"}
    assert workflow["concurrency"]["cancel-in-progress"] is False
    [job] = workflow["jobs"].values()
    assert {*job} == {"runs-on", "timeout-minutes", "env", "steps"}
    assert job["timeout-minutes"] < 360  # the longest a hosted machine runs
    assert all(re.fullmatch(r"\$\{\{ secrets\.\w+ \}\}", value) for value in job["env"].values())
    for step in job["steps"]:
        assert {*step} <= {"uses", "with", "run", "if"}
        assert ("uses" in step) != ("run" in step)
    # A tag can be moved to other code; a commit cannot. The version stands beside it.
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == 3
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)
    assert {"!output/**/*.db", "!output/**/*.db-*"} < {*job["steps"][-1]["with"]["path"].split()}
    runs = [step["run"] for step in job["steps"] if "run" in step]
    ours = [command for command in runs if "toolkit" in command]
    assert len(ours) == 2
    for command in ours:
        check_command(command)
    assert [*{*runs} - {*ours}] == ["python -m pip install -c constraints.txt -e '.[lab,postgresql]'"]
