"""What is installed from the wheel: a workspace of one's own, and the commands that need no checkout."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import NOTEBOOKS, PROJECT

from toolkit import Destination
from toolkit.__main__ import main
from toolkit.notebook import workspace
from toolkit.sandbox.records import load_subscribers


def test_a_workspace_has_the_notebooks_and_keeps_what_is_there(tmp_path, capsys):
    """The notebooks as they are shipped, a destination file that changes nothing, nothing overwritten."""
    folder = tmp_path / "my shop"
    assert main(["init", str(folder)]) == 0
    expected = {".env.example", ".gitignore", "destination.yaml", *(f"{name}.ipynb" for name in NOTEBOOKS)}
    assert {path.name for path in folder.iterdir()} == expected
    for name in NOTEBOOKS:
        original = PROJECT / "notebooks" / f"{name}.ipynb"
        assert (folder / f"{name}.ipynb").read_bytes() == original.read_bytes()
    found, default = Destination.from_file(folder / "destination.yaml"), Destination.default()
    assert (found, found.notes) == (default, ())
    (folder / "destination.yaml").write_text("mine")
    (folder / ".gitignore").unlink()
    assert main(["init", str(folder)]) == 0
    assert (folder / "destination.yaml").read_text() == "mine"
    assert str(folder / ".gitignore") in capsys.readouterr().out.splitlines()
    assert main(["init", str(folder)]) == 0
    assert "Everything is there already." in capsys.readouterr().out


def test_the_gitignore_of_a_workspace_keeps_data_and_keys_out(tmp_path):
    """What a run leaves, a ledger, a saved plan and the key are not offered to git."""
    main(["init", str(tmp_path)])
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    private = ["output/3_sync_audiences/changes.parquet", "ledger.db", "ledger.db-wal", "monday.plan", ".env"]
    for name in private:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    git = ["git", "ls-files", "--others", "--exclude-standard"]
    shown = subprocess.run(git, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {*shown.stdout.split()} == {
        *(".env.example", ".gitignore", "destination.yaml"),
        *(f"{name}.ipynb" for name in NOTEBOOKS),
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lab"], 'There are no notebooks here. Write them with "audience-toolkit init .".'),
        (["simulate", "nowhere"], "nowhere"),
        (["demo", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(tmp_path, monkeypatch, capsys, words, sentence):
    """It says what to do, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [("run", "papermill", "lab"), ("lab", "jupyterlab", "lab"), ("sandbox", "uvicorn", "sandbox")],
)
def test_a_missing_extra_is_named(monkeypatch, capsys, command, module, extra):
    """With the command that installs it."""
    monkeypatch.setattr("toolkit.__main__.find_spec", lambda name: None if name == module else name)
    with pytest.raises(SystemExit):
        main([command, *(["1_preview_audiences"] if command == "run" else [])])
    needed = f'{command} needs {module}: pip install "audience-toolkit[{extra}]"'
    assert needed in capsys.readouterr().err


def test_the_version():
    """As the installed package has it."""
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "audience-toolkit"


def test_the_subscribers_of_a_simulation_are_people_of_the_archive(tmp_path):
    """A share of those who can be looked up, each contact once, in no audience yet; always the same."""
    paths = [tmp_path / f"{n}.ndjson" for n in range(3)]
    counts = [
        workspace._write_subscribers(path, "sample", "", share)
        for path, share in zip(paths, (1.0, 0.5, 0.5), strict=True)
    ]
    assert counts[0] > counts[1] == counts[2] > 0
    assert paths[1].read_text() == paths[2].read_text()
    people = load_subscribers(paths[0], "2026-01-01T00:00:00Z")
    contacts = [(person["phone_number"], person["email"]) for person in people]
    for kind in zip(*contacts, strict=True):
        given = [contact for contact in kind if contact]
        assert len({*given}) == len(given) > 0
    assert all(json.loads(line).get("properties") is None for line in paths[0].read_text().splitlines())


@pytest.mark.parametrize("is_live", [False, True])
def test_undo_is_the_notebook_for_corrections(monkeypatch, is_live):
    """The command only names the run; dry first."""
    given = {}
    monkeypatch.setattr(
        "toolkit.notebook.runner.run", lambda notebook, values, **_: given.update(values) or 0
    )
    assert main(["undo", "r-1", "--output-dir", "out", *(["--live"] if is_live else [])]) == 0
    assert given == {
        "task": "undo",
        "run_id": "r-1",
        "dry_run": str(not is_live),
        "ledger_url": "",
        "output_dir": "out",
    }
