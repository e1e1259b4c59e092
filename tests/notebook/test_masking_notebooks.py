"""The four notebooks on an archive whose names are contacts: no file and no screen shows one."""

from __future__ import annotations

import ast
import asyncio
import html
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stdout
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import nbformat
import pandas as pd
import pytest
from conftest import NOTEBOOKS, PROJECT, RunNotebook

from toolkit.sandbox import Sandbox

KEY = "sk_of_a_shop_whose_people_are_hidden"
PEOPLE = [(f"Dana.Lee{n}@Mail.test", f"415555{n:04}") for n in range(1, 9)]


def archive() -> list[dict[str, Any]]:
    """Events in which each name a text can have is a contact, in one spelling after the other."""
    events = []
    for place, (email, phone) in enumerate(PEOPLE):
        spellings = [email, quote(email, safe=""), email.upper(), phone, f"+1{phone}", f"1{phone}"]
        spellings += [f"({phone[:3]}) {phone[3:6]}-{phone[6:]}", f"%2B1{phone}"]
        name = spellings[place]
        for key in (f"vip_{email}", f"vip of {name}", "vip"):
            events.append(
                {
                    "type": "identify" if place % 2 else "track",
                    "event": f"entered {name}",
                    "userId": name,
                    "messageId": f"{name} {len(events)}",
                    "timestamp": f"2026-11-0{place + 1}T10:00:00Z",
                    "traits" if place % 2 else "properties": {key: True, f"of {name}": name},
                    "context": {
                        "traits": {"email": email, "phone": phone},
                        "personas": {
                            "computation_class": "audience",
                            "computation_key": key,
                            "computation_id": f"aud {name}",
                        },
                    },
                }
            )
    return [*events, {**events[0], "traits": {}, "properties": {}}, {"type": "track", "event": PEOPLE[0][0]}]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Sandbox]:
    """A shop to which some of them subscribe; the archive lies in a folder that is named by one."""
    folder = tmp_path / f"of {PEOPLE[0][0]}"
    folder.mkdir()
    lines = (json.dumps(event) for event in archive())
    (folder / "events.jsonl").write_text("\n".join(lines), "utf-8")
    people = [
        {
            "id": f"s_{place}",
            "email": email,
            "phone_number": f"+1{phone}",
            "properties": {"Segment Audiences": [f"old {email}"]},
        }
        for place, (email, phone) in enumerate(PEOPLE[:6])
    ]
    with Sandbox(people, keys=(KEY,)) as opened:
        yield opened


def run_cells(notebook: str, changed: dict[str, Any]) -> str:
    """Run the code cells of a notebook as they stand; return what they would have shown."""
    shown = io.StringIO()

    def display(*values: Any) -> None:
        for value in values:
            shown.write(value._repr_html_() if hasattr(value, "_repr_html_") else str(value))

    space: dict[str, Any] = {"__name__": "__main__", "display": display}
    read = nbformat.read(PROJECT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    with redirect_stdout(shown):
        for cell in (cell for cell in read.cells if cell.cell_type == "code"):
            *before, last = ast.parse(cell.source).body
            _run(ast.Module([*before, *([] if isinstance(last, ast.Expr) else [last])], []), "exec", space)
            if isinstance(last, ast.Expr):
                display(_run(ast.Expression(last.value), "eval", space))
            if "parameters" in cell.metadata.get("tags", ()):
                space |= changed
    return shown.getvalue()


def _run(tree: Any, mode: str, space: dict[str, Any]) -> Any:
    done = eval(compile(tree, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), space)
    return asyncio.run(done) if isawaitable(done) else done


def text_of(path: Path) -> str:
    """Return the text of a file, tables unpacked, pictures left out."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return table.to_csv() + "".join(map(str, table))
    text = path.read_bytes().decode("utf-8", "replace")
    return re.sub(r"[A-Za-z0-9+/=\\n]{200,}", "", text)


def contacts_in(text: str) -> set[str]:
    """Return the people's contacts that a text holds, in whatever spelling."""
    for _ in range(3):
        text = html.unescape(unquote(text))
    text = re.sub(r"\\u([0-9a-f]{4})", lambda letter: chr(int(letter[1], 16)), text)
    text = unicodedata.normalize("NFKC", text).casefold()
    digits = {re.sub(r"\D", "", run) for run in re.findall(r"\d[\d ().+-]{5,}\d", text)}
    found = {phone for _, phone in PEOPLE if any(phone in run for run in digits)}
    return found | {email for email, _ in PEOPLE if email.split("@")[0].casefold() in text}


def test_the_search_sees_every_spelling():
    """What the next tests rely on."""
    for text in ("DANA.LEE1%40mail.test", "dana.lee1\\u0040mail.test", "%2B1 (415) 555-0001", "14155550001"):
        assert len(contacts_in(text)) == 1


def left_by(folder: Path) -> dict[str, set[str]]:
    """Return the contacts in each file of a run but the ledger."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("ledger.db")]
    assert len(files) > 10
    return {path.name: found for path in files if (found := contacts_in(text_of(path)))}


@pytest.mark.parametrize("dry_run", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_cell_and_no_file_shows_a_contact(shop, tmp_path, monkeypatch, dry_run):
    """Names that are contacts are masked in each file and in all that the cells show; the totals stay."""
    monkeypatch.setenv("POSTSCRIPT_BASE_URL", shop.base_url)
    monkeypatch.setenv("POSTSCRIPT_SECRET_KEY", KEY)
    (events_path,) = tmp_path.rglob("events.jsonl")
    output = tmp_path / "output"
    for notebook in NOTEBOOKS:
        is_dry = dry_run or notebook.startswith("5")
        given = {"events_path": str(events_path), "output_dir": str(output), "dry_run": is_dry}
        shown = run_cells(notebook, given | {"look_up": True, "verify": True, "max_removal_share": 1.0})
        assert "•••" in shown or notebook[0] in "45"
        assert contacts_in(shown) == set()
    assert left_by(output) == {}
    changes = pd.read_parquet(output / "4_audit_report" / "changes.parquet")
    synced = pd.read_parquet(output / "3_sync_audiences" / "changes.parquet")
    assert {*changes["person"]} <= {*synced["person"]}
    assert synced["person"].nunique() == len(PEOPLE)


@pytest.mark.slow
def test_no_notebook_that_was_run_shows_a_contact(run_notebook: RunNotebook, shop, tmp_path):
    """The saved notebooks, as papermill leaves them; their parameters are the caller's own."""
    (events_path,) = tmp_path.rglob("events.jsonl")
    events_path = events_path.rename(tmp_path / "events.jsonl")
    for notebook in NOTEBOOKS:
        given = {"dry_run": "False"} if notebook.startswith("3") else {}
        given |= {} if notebook[0] in "45" else {"events_path": "events.jsonl"}
        done = run_notebook(notebook, given, POSTSCRIPT_BASE_URL=shop.base_url, POSTSCRIPT_SECRET_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert contacts_in(done.stdout + done.stderr) == set()
    events_path.unlink()
    assert left_by(tmp_path) == {}
