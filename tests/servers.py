"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import lacking

_USER = "postgres"
"""The user that the server runs as where the tests run as root, which it refuses."""


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def find_programs() -> Path:
    """Return the folder of the newest installed server."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else [*Path("/usr/lib/postgresql").glob("*/bin")]
    if not folders:
        lacking("no PostgreSQL server is installed (apt-get install postgresql)")
    return max(folders, key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)


@contextmanager
def running_server() -> Iterator[str]:
    """Yield the URL of a new server, without its database; it ends with the block."""
    programs = find_programs()
    port = free_port()
    # Not below pytest's folder, into which only the tests' user may look.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        become = []
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
            become = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]

        def call(program: str, *options: str) -> None:
            command = [*become, str(programs / program), "-D", f"{folder}/data", *options]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        call("initdb", "-U", "toolkit", "-A", "trust", "--encoding=UTF8", "--locale=C")
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        call("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://toolkit@127.0.0.1:{port}/"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")


def make_database(server: str, name: str) -> str:
    """Return the URL of a new, empty database."""
    import psycopg

    with psycopg.connect(f"{server.replace('+psycopg', '')}postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server}{name}"
