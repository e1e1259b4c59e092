"""Connections to Postscript and to the ledger: by the environment, the keyring, or a hidden prompt."""

from __future__ import annotations

import sys
from dataclasses import replace
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import toolkit

from .settings import Settings, load_settings, remember_key, write_keyring

if TYPE_CHECKING:
    from toolkit import Ledger, PostscriptClient


def connect(*, requests_per_second: float = 14, asks: bool | None = None) -> PostscriptClient:
    """Return a connection to Postscript; nothing is sent yet, unless a key that was typed in is tried.

    The key is that of the environment, ``POSTSCRIPT_SECRET_KEY``, else that of the system's keyring, where
    the package ``keyring`` is installed. Otherwise a person is asked for it: it is not shown, and saved in
    the keyring on request. *asks* says whether a person is there, by default whether this is a terminal.
    Raises SettingsError when there is no key, InvalidAuthenticationError when the one typed in is refused.
    """
    settings = load_settings()
    if settings.secret_key or not (sys.stdin.isatty() if asks is None else asks):
        return _client(settings, requests_per_second)
    key = getpass(f"Private key of the shop at {settings.base_url} (it is not shown): ").strip()
    client = _client(replace(settings, secret_key=key), requests_per_second)
    toolkit.connect_shop(client)  # a key that is mistyped is not kept
    remember_key(settings.base_url, key)
    _offer_keyring(settings.base_url, key)
    return client


def _client(settings: Settings, requests_per_second: float) -> PostscriptClient:
    return toolkit.PostscriptClient(
        settings.base_url,
        settings.get_secret_key(),
        shop_token=settings.shop_token or None,
        requests_per_second=requests_per_second,
    )


def open_ledger(ledger_url: str = "", *, output_dir: str | Path = "output") -> Ledger:
    """Return the ledger of *ledger_url*, else of ``TOOLKIT_LEDGER_URL``, else ledger.db in *output_dir*."""
    named = ledger_url or load_settings(with_keyring=False).ledger_url
    return toolkit.Ledger(named or f"sqlite:///{Path(output_dir).expanduser().resolve() / 'ledger.db'}")


def _offer_keyring(base_url: str, key: str) -> None:
    if input("Save it in this computer's keyring? yes or no: ").strip().lower() in ("y", "yes"):
        failed = 'Not saved: no keyring was found. pip install "audience-toolkit[keyring]" may add one.'
        sys.stdout.write("Saved.\n" if write_keyring(base_url, key) else f"{failed}\n")
