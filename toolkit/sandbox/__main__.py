"""The sandbox from the command line: ``python -m toolkit.sandbox --port 8787 --people 1000``."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.errors import FileFormatError, InputError, InputPathError
from toolkit.notebook.settings import load_settings

from . import PROFILES, Fault, Knobs, Sandbox
from .access import DEFAULT_SHOP_KEY
from .faults import parse_faults
from .instants import format_instant
from .people import generate_people
from .records import load_subscribers
from .strict_json import parse_json

DEFAULT_PEOPLE = 1000


def main(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Serve until interrupted; return 2, with a sentence on standard error, when that cannot begin."""
    options = _parser().parse_args(arguments)
    try:
        subscribers = _subscribers(options)
        knobs = _knobs(options)
        faults = _faults(options.faults)
    except (InputError, ValueError) as problem:
        return _failed(str(problem))
    # The environment's key too, so that notebooks set up for a real shop work here as they are.
    own_key = load_settings(environment).secret_key
    sandbox = Sandbox(
        subscribers,
        port=options.port,
        keys=tuple(filter(None, (DEFAULT_SHOP_KEY, *options.key, own_key))),
        knobs=knobs,
        faults=faults,
        seed=options.seed,
    )
    try:
        with sandbox:
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            count = sandbox.subscriber_count
            # The default key only: a key of the reader's own is never printed.
            ready = f"Sandbox ready on {sandbox.base_url} with {count} subscribers; key: {DEFAULT_SHOP_KEY}"
            # What is loaded by now stays: a collection that looks through it would hold answers up for 0.1 s
            # and more, and then let requests through in a bunch that came one by one.
            gc.collect()
            gc.freeze()
            print(ready, flush=True)
            stop.wait()
            gc.unfreeze()  # extensions check at the end that everything was freed
    except OSError as problem:
        return _failed(
            f"Port {options.port} cannot be used ({problem.strerror}); choose another with --port."
        )
    return 0


def _subscribers(options: argparse.Namespace) -> Iterable[Mapping[str, Any]]:
    if options.subscribers is not None:
        return load_subscribers(options.subscribers, format_instant(datetime.now(UTC)))
    return generate_people(options.people, seed=options.seed)


def _knobs(options: argparse.Namespace) -> Knobs:
    """Take the profile, then what else was said; a ValueError says what cannot be."""
    changes: dict[str, Any] = {"latency_seconds": options.latency_ms / 1000}
    if options.rate is not None:
        changes["rate"] = options.rate
    for text in options.knob:
        name, _, value = text.partition("=")
        changes[name] = _knob_value(value)
    return PROFILES[options.profile].changed(changes)


def _knob_value(text: str) -> Any:
    """Read ``25``, ``true``, ``null`` and ``[0.1, 2]`` as JSON, and ``comma`` as itself."""
    try:
        return parse_json(text.encode())
    except ValueError:
        return text


def _faults(path: Path | None) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        return parse_faults(parse_json(path.read_bytes()))
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
    parser.add_argument("--port", type=_port, required=True, help="port to listen on; 0 takes a free one")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--subscribers", type=Path, metavar="FILE.ndjson", help="start with these subscribers")
    who.add_argument(
        "--people",
        type=_count,
        default=DEFAULT_PEOPLE,
        metavar="N",
        help="start with so many invented ones (default: %(default)s)",
    )
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="documented",
        help="how open questions about Postscript are answered (default: %(default)s)",
    )
    parser.add_argument(
        "--knob", action="append", default=[], metavar="NAME=VALUE", help="answer one otherwise; repeatable"
    )
    parser.add_argument("--faults", type=Path, metavar="FILE.json", help="a list of faults to make")
    parser.add_argument("--rate", type=_positive, help="requests accepted in any second (default: 15)")
    parser.add_argument(
        "--latency-ms", type=_count, default=50, help="time an answer takes (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="other invented people, another course of chance (default: %(default)s)",
    )
    parser.add_argument("--key", action="append", default=[], help="one more accepted shop key; repeatable")
    return parser


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _count(text: str) -> int:
    return _whole(text, 0, 10_000_000)


def _positive(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
    return int(text)


def _failed(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
