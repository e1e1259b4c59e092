"""Print the other Pythons of this machine that the toolkit supports, the newest of each minor version."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

OLDEST = (3, 11)


def supported(folders: Iterable[Path]) -> dict[tuple[int, int], Path]:
    """Return minor version → path of its newest Python in these folders, for every one that starts."""
    found: dict[tuple[int, int], tuple[tuple[int, ...], Path]] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("python3.*"))):
        if not re.fullmatch(r"python3\.[0-9]+", path.name):
            continue
        question = "import sys, venv, ensurepip; print(*sys.version_info[:3])"
        done = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False)
        version = tuple(map(int, done.stdout.split())) if done.returncode == 0 else (0, 0)
        if version >= OLDEST and version > found.get(version[:2], ((), path))[0]:
            found[version[:2]] = (version, path)
    return {minor: path for minor, (_, path) in sorted(found.items())}


if __name__ == "__main__":
    places = [*map(Path, os.get_exec_path()), *(Path.home() / ".pyenv/versions").glob("*/bin")]
    for minor, path in supported(places).items():
        if minor != sys.version_info[:2]:
            sys.stdout.write(f"{path}\n")
