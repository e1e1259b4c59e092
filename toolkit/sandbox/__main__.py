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

from toolkit.errors import InputError
from toolkit.sandbox import Sandbox
from toolkit.sandbox.access import DEFAULT_SHOP_KEY
from toolkit.sandbox.instants import format_instant
from toolkit.sandbox.people import generate_people
from toolkit.sandbox.records import load_subscribers
from toolkit.settings import load_settings

DEFAULT_PEOPLE = 1000


def main(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Serve until interrupted; return 2, with a sentence on standard error, when that cannot begin."""
    options = _parser().parse_args(arguments)
    try:
        subscribers = _subscribers(options)
    except InputError as problem:
        return _failed(str(problem))
    # The environment's key too, so that notebooks set up for a real shop work here as they are.
    own_key = load_settings(environment).secret_key
    sandbox = Sandbox(
        subscribers,
        port=options.port,
        keys=tuple(filter(None, (DEFAULT_SHOP_KEY, *options.key, own_key))),
        rate=options.rate,
        latency_seconds=options.latency_ms / 1000,
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
    parser.add_argument("--profile", type=_profile, default="documented", help="only: documented")
    parser.add_argument(
        "--rate", type=_positive, default=15, help="requests accepted in any second (default: %(default)s)"
    )
    parser.add_argument(
        "--latency-ms", type=_count, default=50, help="time an answer takes (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="other invented people (default: %(default)s)")
    parser.add_argument("--key", action="append", default=[], help="one more accepted shop key; repeatable")
    return parser


def _profile(text: str) -> str:
    if text != "documented":
        message = "only 'documented' can be chosen; 'hostile' and 'official-mock' are not in this version"
        raise argparse.ArgumentTypeError(message)
    return text


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
