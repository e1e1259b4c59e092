"""The official side: the same events through the destination that Segment publishes, on Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "official"
COMPLEX = HERE / "complex.json"
"""A destination file that cleans both contacts; `toolkit.Destination.from_file` reads it too."""
BATCHES = (1, 100)
"""Events awaited at once: one by one or many; the quicker way is the one measured."""
TRIAL_EVENTS, TRIAL_PASSES = 50_000, 3
INSTALL_SECONDS = 300
RUN_SECONDS = 3600
_DESTINATION = "package/dist/destinations/postscript/"


class OfficialSideError(RuntimeError):
    """The official side cannot be measured here; the message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"official side not measured: {reason}")


def prepare(folder: Path) -> Path:
    """Install the official packages into *folder*, unless they are there, and return it.

    Raises
    ------
    OfficialSideError
        Node or npm is missing, or the packages cannot be had.
    """
    wanted = (HERE / "package.json").read_text(encoding="utf-8")
    done = folder / "installed.json"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(wanted, encoding="utf-8")
    _npm(folder, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
    # Only the files of one destination: the whole package wants the clients of all the others.
    archive = folder / _npm(folder, "pack", json.loads(wanted)["config"]["destination"]).split()[-1]
    _unpack(archive, folder / "postscript")
    archive.unlink()
    done.write_text(wanted, encoding="utf-8")
    return folder


def run(
    events: Path,
    *,
    packages: Path,
    mapping: dict[str, Any] | None = None,
    limit: int | None = None,
    passes: int = 1,
    timeout_seconds: float = RUN_SECONDS,
) -> dict[str, Any]:
    """Return how fast the official code turns *events* into payloads, in one process and in two at once.

    Parameters
    ----------
    events
        An NDJSON file.
    packages
        The folder that `prepare` returned.
    mapping
        The content of a destination file, such as `COMPLEX`; None takes Segment's defaults.
    limit
        Only so many lines; None takes all.
    passes
        How often each figure is measured; the best counts.
    timeout_seconds
        For one pass.

    Returns
    -------
    dict
        ``node`` (its version), ``batch`` (events awaited at once), ``one_process`` (counts of ``events``,
        ``payloads``, ``errors``, ``not_subscribed``, ``not_routed`` and ``unreadable``, then ``seconds``,
        ``parse_seconds``, ``events_per_second``, ``events_per_second_without_parse``) and ``two_processes``
        (both rates, summed over two processes with half of the file each).

    Raises
    ------
    OfficialSideError
        Node is missing, fails or takes too long.
    """
    options = _options(packages, mapping)
    end = _end_of(events, limit)
    middle = _line_start(events, end // 2)

    def best(batch: int, *bounds: int, passes: int = passes) -> list[dict[str, Any]]:
        chosen = (*options, f"--batch={batch}")
        return max((_passes(events, bounds, chosen, timeout_seconds) for _ in range(passes)), key=_rate)

    trial = min(end, _end_of(events, TRIAL_EVENTS))
    batch = max(BATCHES, key=lambda batch: _rate(best(batch, 0, trial, passes=TRIAL_PASSES)))
    (one,), two = best(batch, 0, end), best(batch, 0, middle, end)
    rates = ("events_per_second", "events_per_second_without_parse")
    return {
        "node": _node("--version", timeout_seconds=timeout_seconds).strip(),
        "batch": batch,
        "one_process": one,
        "two_processes": {rate: sum(half[rate] for half in two) for rate in rates},
    }


def record(
    events: Path,
    out: Path,
    *,
    packages: Path,
    mapping: dict[str, Any] | None = None,
    timeout_seconds: float = RUN_SECONDS,
) -> dict[str, int]:
    """Write to *out* what the official code makes of each event, a JSON object a line, and return the counts.

    An object has the one key ``payload`` (``payloads``, a list, with several mappings), ``discard`` (why) or
    ``error`` (``name``, ``message`` and perhaps the ``fields`` at fault). Blank lines of *events* have none.

    Raises
    ------
    OfficialSideError
        Node is missing, fails or takes too long.
    """
    options = (*_options(packages, mapping), f"--events={events}", f"--out={out}")
    counts: dict[str, int] = json.loads(_node(*options, timeout_seconds=timeout_seconds))
    return counts


# --- installing


def _npm(folder: Path, *words: str) -> str:
    command = [_program("npm"), *words, "--no-update-notifier"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OfficialSideError(f"npm {words[0]} took more than {INSTALL_SECONDS} seconds") from None
    if done.returncode:
        # Only npm's code: its sentences name the registry and folders of this machine.
        found = re.search(r"^npm (?:error|ERR!) code (\S+)", done.stderr, re.MULTILINE)
        raise OfficialSideError(f"npm {words[0]} failed ({found[1] if found else done.returncode})")
    return done.stdout


def _unpack(archive: Path, folder: Path) -> None:
    """Write the destination's code, and nothing else of the package, into *folder*."""
    with tarfile.open(archive) as package:
        for member in package:
            if member.name.startswith(_DESTINATION) and member.name.endswith(".js"):
                content = package.extractfile(member)
                if content is None:
                    continue
                path = folder / member.name.removeprefix(_DESTINATION)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise OfficialSideError(f"{name} is not installed")
    return found


# --- running


def _options(packages: Path, mapping: dict[str, Any] | None) -> tuple[str, ...]:
    options = (str(HERE / "run.cjs"), f"--packages={packages}", "--routed")
    if mapping is None:
        return options
    file = packages / "mapping.json"
    file.write_text(json.dumps(mapping), encoding="utf-8")
    return (*options, f"--mapping={file}")


def _end_of(events: Path, lines: int | None) -> int:
    """Return where the first so many *lines* end, in bytes."""
    if lines is None:
        return events.stat().st_size
    with events.open("rb") as file:
        return sum(map(len, islice(file, lines)))


def _line_start(events: Path, after: int) -> int:
    """Return where the next line begins, in bytes."""
    with events.open("rb") as file:
        file.seek(after)
        file.readline()
        return file.tell()


def _rate(measured: list[dict[str, Any]]) -> float:
    return sum(float(part["events_per_second"]) for part in measured)


def _passes(
    events: Path, bounds: tuple[int, ...], options: tuple[str, ...], timeout_seconds: float
) -> list[dict[str, Any]]:
    """Run the parts of the file between *bounds* at the same time, a process each."""
    parts = [(start, end) for start, end in pairwise(bounds) if start < end]
    started = [
        _start(*options, f"--events={events}", f"--start={start}", f"--end={end - 1}") for start, end in parts
    ]
    return [json.loads(answer) for answer in _answers(started, timeout_seconds)]


def _node(*words: str, timeout_seconds: float) -> str:
    (answer,) = _answers([_start(*words)], timeout_seconds)
    return answer


def _start(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([_program("node"), *words], stdout=pipe, stderr=pipe, text=True)


def _answers(started: list[subprocess.Popen[str]], timeout_seconds: float) -> list[str]:
    """Return what each process prints; none is left running."""
    try:
        ended = [process.communicate(timeout=timeout_seconds) for process in started]
    except subprocess.TimeoutExpired:
        raise OfficialSideError(f"Node took more than {timeout_seconds:,.0f} seconds") from None
    finally:
        for process in started:
            process.kill()
            process.wait()
    for process, (_, trouble) in zip(started, ended, strict=True):
        if process.returncode:
            found = re.search(r"^\w*Error: .*", trouble, re.MULTILINE)
            raise OfficialSideError(f"Node failed ({found[0] if found else process.returncode})")
    return [answer for answer, _ in ended]
