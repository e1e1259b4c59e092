"""The key: from the environment, the keyring, or a hidden prompt; and the connections made with it."""

from __future__ import annotations

import sys

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

import toolkit
from toolkit.errors import InvalidAuthenticationError, SettingsError
from toolkit.notebook import connections, settings
from toolkit.notebook.settings import DEFAULT_BASE_URL, load_settings
from toolkit.sandbox import Sandbox

KEY = "sk_typed_by_hand_7Qx3"
NAMES = ("POSTSCRIPT_SECRET_KEY", "POSTSCRIPT_BASE_URL", "POSTSCRIPT_SHOP_TOKEN", "TOOLKIT_LEDGER_URL")


class Drawer(KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.held = {}
        self.is_locked = False

    def get_password(self, service, username):
        if self.is_locked:
            raise KeyringLocked
        return self.held.get((service, username))

    def set_password(self, service, username, password):
        if self.is_locked:
            raise KeyringLocked
        self.held[service, username] = password


@pytest.fixture
def drawer(monkeypatch):
    """The system's keyring, empty; no key in the environment, and none typed in before."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings, "_GIVEN", {})
    before, found = keyring.get_keyring(), Drawer()
    keyring.set_keyring(found)
    yield found
    keyring.set_keyring(before)


@pytest.fixture
def answers(monkeypatch):
    """What a person answers to the hidden prompt and to the question after it; asked once each."""
    given = {}
    monkeypatch.setattr(connections, "getpass", lambda text: given.pop("key"))
    monkeypatch.setattr("builtins.input", lambda text: given.pop("save"))
    return given


@pytest.fixture
def shop(monkeypatch):
    """A shop that takes the key."""
    with Sandbox([], keys=(KEY,), rate=100_000) as running:
        monkeypatch.setenv("POSTSCRIPT_BASE_URL", running.base_url)
        yield running


def key_of(client):
    return client._session.headers["Authorization"].removeprefix("Bearer ")


def test_the_environment_comes_first_then_the_keyring(drawer, monkeypatch):
    """The keyring has a key for each address; another address, such as a sandbox's, has none."""
    drawer.held["audience-toolkit", DEFAULT_BASE_URL] = "sk_kept"
    with toolkit.connect() as client:
        assert key_of(client) == "sk_kept"
    monkeypatch.setenv("POSTSCRIPT_SECRET_KEY", "sk_of_the_environment")
    assert load_settings().secret_key == "sk_of_the_environment"
    monkeypatch.delenv("POSTSCRIPT_SECRET_KEY")
    monkeypatch.setenv("POSTSCRIPT_BASE_URL", "http://127.0.0.1:1")
    assert load_settings().secret_key == ""
    assert load_settings({}).secret_key == ""


@pytest.mark.parametrize("save", ["yes", " Y ", "no", ""])
def test_a_person_is_asked_once_and_the_key_is_saved_on_request(drawer, shop, answers, capsys, save):
    """A second connection of the process asks nothing; the key is never shown."""
    answers.update(key=f" {KEY}\n", save=save)
    for _ in range(2):
        with toolkit.connect(asks=True) as client:
            assert key_of(client) == KEY
    is_saved = save.strip().lower() in {"y", "yes"}
    assert drawer.held == ({("audience-toolkit", shop.base_url): KEY} if is_saved else {})
    assert capsys.readouterr().out == ("Saved.\n" if is_saved else "")
    assert KEY in load_settings().secrets  # so that no file of a run keeps it


def test_a_mistyped_key_is_not_kept(drawer, shop, answers):
    """It is tried first; the next connection asks again."""
    answers.update(key="sk_mistyped", save="yes")
    with pytest.raises(InvalidAuthenticationError):
        toolkit.connect(asks=True)
    assert (answers, drawer.held, load_settings().secret_key) == ({"save": "yes"}, {}, "")
    answers.update(key=KEY, save="no")
    with toolkit.connect(asks=True) as client:
        assert key_of(client) == KEY


@pytest.mark.parametrize("lacks", [True, False], ids=["no package", "locked"])
def test_without_a_keyring_the_key_is_used_all_the_same(drawer, shop, answers, monkeypatch, capsys, lacks):
    """Saving it fails with a sentence."""
    drawer.is_locked = True
    if lacks:
        monkeypatch.setitem(sys.modules, "keyring", None)
    answers.update(key=KEY, save="yes")
    with toolkit.connect(asks=True) as client:
        assert key_of(client) == KEY
    assert 'pip install "audience-toolkit[keyring]"' in capsys.readouterr().out


def test_a_scheduled_run_is_asked_nothing(drawer, answers):
    """A scheduled run, and a prompt that is left empty, end with what to do."""
    for asks in (None, False):
        with pytest.raises(SettingsError, match="POSTSCRIPT_SECRET_KEY is not set, and the system's keyring"):
            toolkit.connect(asks=asks)
    answers.update(key="  ")
    with pytest.raises(SettingsError, match="Create Security Key Pair"):
        toolkit.connect(asks=True)


def test_the_ledger_is_the_one_of_the_notebooks(drawer, monkeypatch, tmp_path):
    """By its URL, by the environment, or in the output folder."""
    for name, given, environment in [
        ("ledger.db", {"output_dir": tmp_path}, ""),
        ("team.db", {"output_dir": tmp_path}, f"sqlite:///{tmp_path}/team.db"),
        ("mine.db", {"ledger_url": f"sqlite:///{tmp_path}/mine.db"}, f"sqlite:///{tmp_path}/team.db"),
    ]:
        monkeypatch.setenv("TOOLKIT_LEDGER_URL", environment)
        (tmp_path / name).unlink(missing_ok=True)
        toolkit.open_ledger(**given).close()
        assert (tmp_path / name).is_file()
