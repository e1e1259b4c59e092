"""The sandbox from the command line: ``python -m toolkit.sandbox --port 8787 --people 1000``."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.errors import FileFormatError, InputError, InputPathError
from toolkit.notebook.settings import load_settings

from .door import DEFAULT_SHOP_KEY
from .options import PROFILES, Fault, Knobs, parse_faults
from .people import generate_people
from .records import load_subscribers
from .server import Sandbox
from .wire import format_timestamp, parse_body


def main(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Serve until interrupted; return 2, with a sentence on standard error, when that cannot begin."""
    options = _parser().parse_args(arguments)
    # The environment's key too, so that notebooks set up for a real shop work here as they are.
    own_key = load_settings(environment, with_keyring=False).secret_key
    try:
        if options.subscribers is None:
            people = [*generate_people(options.people, seed=options.seed)]
        else:
            people = load_subscribers(options.subscribers, format_timestamp(datetime.now(UTC)))
        sandbox = Sandbox(
            people,
            port=options.port,
            keys=tuple(filter(None, (DEFAULT_SHOP_KEY, *options.key, own_key))),
            knobs=_knobs(options),
            faults=_faults(options.faults),
            seed=options.seed,
        )
    except (InputError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 2
    try:
        _serve(sandbox, len(people))
    except (OSError, OverflowError) as problem:
        # The error of create_server() repeats the address.
        reason = os.strerror(problem.errno or 0) if isinstance(problem, OSError) else problem
        sentence = f"Port {options.port} cannot be used ({reason}); choose another with --port."
        print(sentence, file=sys.stderr)
        return 2
    return 0


def _serve(sandbox: Sandbox, people: int) -> None:
    with sandbox:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        # What is loaded by now stays: a collection that looks through it would hold answers up for 0.1 s
        # and more, and then let requests through in a bunch that came one by one.
        gc.collect()
        gc.freeze()
        # The default key only: a key of the reader's own is never printed.
        ready = f"Sandbox ready on {sandbox.base_url} with {people} subscribers"
        print(f"{ready}; key: {DEFAULT_SHOP_KEY}", flush=True)
        stop.wait()
        gc.unfreeze()  # extensions check at the end that everything was freed


def _knobs(options: argparse.Namespace) -> Knobs:
    """Take the profile, then what is set besides; a ValueError names what cannot be set."""
    changes: dict[str, Any] = {"latency_seconds": options.latency_ms / 1000}
    if options.rate is not None:
        changes["rate"] = options.rate
    for text in options.knob:
        name, _, value = text.partition("=")
        try:
            changes[name] = parse_body(value.encode())
        except ValueError:  # a text, such as comma
            changes[name] = value
    return PROFILES[options.profile].changed(changes)


def _faults(path: Path | None) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        return parse_faults(path.read_bytes())
    except OSError as problem:
        raise InputPathError(f"{path}: the faults file cannot be read ({problem.strerror}).") from None
    except ValueError as problem:
        raise FileFormatError(f"{path}: {problem}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m toolkit.sandbox",
        description="A local stand-in for the Postscript API. It listens on 127.0.0.1 and sends nothing.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--port", type=int, required=True, help="port to listen on; 0 takes a free one")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--subscribers", type=Path, metavar="FILE.ndjson", help="start with these subscribers")
    who.add_argument("--people", type=int, default=1000, metavar="N", help="invent so many (default: 1000)")
    add("--profile", choices=PROFILES, default="documented", help="set of knobs (default: documented)")
    add("--knob", action="append", default=[], metavar="NAME=VALUE", help="one other answer; repeatable")
    add("--faults", type=Path, metavar="FILE.json", help="a list of faults to make")
    add("--rate", type=int, help="requests accepted in any second (default: 15)")
    add("--latency-ms", type=int, default=50, help="time an answer takes (default: 50)")
    add("--seed", type=int, default=1, help="other invented people, another course of chance")
    add("--key", action="append", default=[], help="one more accepted shop key; repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
